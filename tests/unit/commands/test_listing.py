"""`lab.runs`: what it says of each stored run, and of what is none."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.unit import two_versions
from wsgilab import commands, testing
from wsgilab.commands import Workspace
from wsgilab.model import Observation, Run
from wsgilab.model.errors import SpecError
from wsgilab.results.store import RUN_FILE, Journal, Store

ONE, TWO = testing.cell("one"), testing.cell("two", workload="hello")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return commands.workspace({"LAB_RESULTS": str(tmp_path / "results")})


def kept(workspace: Workspace, run: Run, *observations: Observation) -> Store:
    store = Store.create(workspace.results, run)
    with Journal(store) as journal:
        for observation in observations:
            journal.append(observation)
    return store


def made(number: int, **asked: Any) -> Run:
    """A run of two cells in two blocks that began so many minutes after the hour."""
    experiment = testing.experiment(ONE, TWO, **{"blocks": 2, **asked})
    started = f"2026-01-02T03:{number:02}:05.123+01:00"
    return testing.run(experiment, id=f"20260102-03{number:02}05-{experiment.name}", started=started)


def trials(blocks: int = 2, **changes: Any) -> list[Observation]:
    return [testing.observation(cell, block=block, **changes) for block in range(blocks) for cell in (ONE, TWO)]


def failed(of: Observation) -> Observation:
    return replace(of, status="failed", reason="the server ended", swarm=None)


def said(workspace: Workspace, width: int = 80, form: str = "terminal") -> str:
    console = Console(file=io.StringIO(), width=width)
    commands.runs(form, console, workspace)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def ended(workspace: Workspace) -> dict[str, str]:
    """How each run ended, by its experiment's name."""
    return {each["experiment"]: each["ended"] for each in json.loads(said(workspace, form="json"))}


def test_how_each_run_ended_is_what_its_folder_says(workspace: Workspace) -> None:
    first, *others = trials()
    kept(workspace, made(1, name="whole"), *trials())
    kept(workspace, made(2, name="stopped"), *trials(1))
    kept(workspace, made(3, name="failing"), failed(first), *others)
    kept(workspace, made(4, name="both"), failed(first), others[0])
    kept(workspace, made(5, name="empty"))
    kept(workspace, made(6, name="budgeted", budget_s=60.0), *trials(took_s=10.4))

    assert ended(workspace) == {
        "budgeted": "4 trials in 42 of 60 s",
        "empty": "nothing measured",
        "both": "only 1 of 4 trials, 1 failed",
        "failing": "1 of 4 trials failed",
        "stopped": "only 2 of 4 trials",
        "whole": "complete: 4 trials",
    }


def test_a_run_with_precision_is_complete_where_resume_would_measure_nothing(workspace: Workspace) -> None:
    """Its comparisons are settled, or its most blocks are measured."""
    cells = ONE, replace(ONE, server="two")
    experiment = testing.experiment(*cells, blocks=4, precision=0.01, max_blocks=8)
    unlike = [
        testing.observation(cell, block=block, swarm=testing.trial_report(throughput_rps=20.0 + 40 * at + block % 2))
        for block in range(4)
        for at, cell in enumerate(cells)
    ]
    noisy = [
        testing.observation(cell, block=block, swarm=testing.trial_report(throughput_rps=20.0 + (7 * block + at) % 5))
        for block in range(8)
        for at, cell in enumerate(cells)
    ]
    for name, observations in (("settled", unlike), ("open", noisy[:8]), ("at-its-end", noisy)):
        kept(workspace, testing.run(replace(experiment, name=name), id=name), *observations)

    assert ended(workspace) == {
        "settled": "complete: 8 trials",
        "open": "only 8 of 12 trials",
        "at-its-end": "complete: 16 trials",
    }


def test_the_newest_run_comes_first_by_when_it_began(workspace: Workspace) -> None:
    kept(workspace, replace(made(1, name="later"), id="a", started="2026-01-02T03:04:05+00:00"), *trials())
    kept(workspace, replace(made(1, name="sooner"), id="b", started="2026-01-02T04:00:00+02:00"), *trials())

    assert list(ended(workspace)) == ["later", "sooner"]


def test_each_run_is_a_line_where_there_is_room_and_two_where_there_is_none(workspace: Workspace) -> None:
    kept(workspace, made(1), *trials())
    kept(workspace, made(22, name="a-longer-name"), *trials(1))

    assert said(workspace).splitlines() == [
        "20260102-032205-a-longer-name  2026-01-02 03:22  only 2 of 4 trials",
        "  2 servers under sleep, hello; local, cores 0-1 of A CPU",
        "20260102-030105-trial-run      2026-01-02 03:01  complete: 4 trials",
        "  2 servers under sleep, hello; local, cores 0-1 of A CPU",
    ]
    assert said(workspace, 200).splitlines() == [
        (
            "20260102-032205-a-longer-name  2026-01-02 03:22  only 2 of 4 trials  "
            "2 servers under sleep, hello; local, cores 0-1 of A CPU"
        ),
        (
            "20260102-030105-trial-run      2026-01-02 03:01  complete: 4 trials  "
            "2 servers under sleep, hello; local, cores 0-1 of A CPU"
        ),
    ]


def test_an_application_of_ones_own_is_named(workspace: Workspace) -> None:
    cell = testing.cell("one", workload="shop")
    run = testing.run(testing.experiment(cell, application=testing.application()))
    kept(workspace, run, testing.observation(cell))

    assert "  shop.wsgi:app: 1 server under shop" in said(workspace)
    (entry,) = json.loads(said(workspace, form="json"))
    assert (entry["application"], entry["workloads"]) == ("shop.wsgi:app", ["shop"])


def test_the_document_has_what_a_program_needs(workspace: Workspace) -> None:
    kept(workspace, made(1), *trials(1))

    (entry,) = json.loads(said(workspace, form="json"))
    assert entry == {
        "run": "20260102-030105-trial-run",
        "started": "2026-01-02T03:01:05.123+01:00",
        "experiment": "trial-run",
        "application": None,
        "servers": ["one", "two"],
        "workloads": ["sleep", "hello"],
        "runtime": "local",
        "machines": ["A CPU"],
        "measured": 2,
        "failed": 0,
        "left": 2,
        "ended": "only 2 of 4 trials",
        "problem": "",
    }


def test_what_cannot_be_read_is_last_and_says_why(workspace: Workspace) -> None:
    kept(workspace, made(1), *trials())
    broken = workspace.results / "zzz"
    broken.mkdir()
    (broken / RUN_FILE).write_text("schema: 99\nhostile: \x1b[2J\n")
    (workspace.results / "no-run").mkdir()

    _, _, heading, problem, *_ = said(workspace).splitlines()
    assert heading.split() == ["zzz", "cannot", "be", "read"]
    assert problem.startswith("  ")
    assert "no-run" not in said(workspace)
    assert json.loads(said(workspace, form="json"))[-1]["started"] is None


def test_where_there_are_no_runs_it_says_how_to_make_one(workspace: Workspace) -> None:
    assert said(workspace, 300).endswith("results: no runs; make one with invoke lab.run\n")
    assert json.loads(said(workspace, form="json")) == []


def test_a_format_that_there_is_not_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SpecError, match="--format: unknown format 'jsn'; did you mean json"):
        said(workspace, form="jsn")


def test_two_versions_of_an_application_are_named(workspace: Workspace) -> None:
    run = two_versions.made()
    kept(workspace, run, *two_versions.observed(run, {}))

    assert "  shop.wsgi:app against v1: 2 servers under orders" in said(workspace)
    (entry,) = json.loads(said(workspace, form="json"))
    assert (entry["servers"], entry["measured"], entry["left"]) == (["one", "two"], 48, 0)
