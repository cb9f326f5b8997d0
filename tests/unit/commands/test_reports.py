"""`lab.reports` on a stored run: which reports it judges, what it writes, and what is refused before anything is measured."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from wsgilab import commands, testing
from wsgilab.analysis.compare import compare
from wsgilab.commands import RunOptions, Workspace, stored
from wsgilab.model import RequestSpan, Timeline
from wsgilab.model.errors import LabError, SpecError, UsageError
from wsgilab.results.store import Journal, Store

ONE, TWO = testing.cell("gunicorn-sync-1", users=4), testing.cell("gunicorn-sync-2", users=4)
FILE = """
name: mine
blocks: 4
cells:
  one: {server: gunicorn-sync-1, workload: sleep, users: 4}
  two: {server: gunicorn-sync-2, workload: sleep, users: 4}
claims:
  - &report
    id: gunicorn-1
    claim: It handles one at a time.
    thread: {project: benoitc/gunicorn, number: 1}
    reported: One at a time.
    holds: [{figure: peak_in_flight, of: one, at_most: 1}]
    picture: one
    explanation: It does.
    advice: Use threads.
  - {<<: *report, id: gunicorn-2, holds: [{figure: peak_in_flight, of: two, at_most: 1}], picture: null}
groups: {first: [gunicorn-1], second: [gunicorn-2]}
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Of which the comparison of a run is not written; a run of the first cell is stored there."""
    monkeypatch.setattr(stored, "write", lambda store: compare(store.run(), store.observations()))
    there = commands.workspace({"LAB_RESULTS": str(tmp_path / "results")})
    store = Store.create(there.results, testing.run(testing.experiment(ONE, name="mine", blocks=4)))
    timeline = Timeline(span_us=100_000, stays=(RequestSpan(0, 0, 0, 10_000, 60_000),))
    with Journal(store) as journal:
        for block in range(4):
            swarm = testing.trial_report(timeline=timeline if block == 0 else None)
            journal.append(testing.observation(ONE, block=block, position=block, swarm=swarm))
    (tmp_path / "mine.yaml").write_text(FILE)
    return there


def reported(workspace: Workspace, tmp_path: Path, **options: Any) -> tuple[str, Mapping[str, Any]]:
    """What is printed of the stored run, and what is written of it: id -> entry."""
    said = io.StringIO()
    asked = RunOptions(task="lab.reports", file=str(tmp_path / "mine.yaml"), run="latest", **options)
    commands.reports(asked, Console(file=said, width=160), workspace)
    folder = Store.find(workspace.results, "latest").folder
    return said.getvalue(), {
        each["id"]: each for each in yaml.safe_load((folder / "reports.yaml").read_text())["claims"]
    }


def test_a_stored_run_is_judged_by_the_reports_that_it_has_something_of(workspace: Workspace, tmp_path: Path) -> None:
    said, found = reported(workspace, tmp_path)

    assert list(found) == ["gunicorn-1"]
    assert found["gunicorn-1"]["verdict"] == "confirmed"
    assert "gunicorn-1  holds today" in said
    assert "what to do: Use threads." in said
    folder = Store.find(workspace.results, "latest").folder
    page = (folder / "reports.md").read_text()
    assert "(plots/report-gunicorn-1.svg)" in page
    assert (folder / "plots" / "report-gunicorn-1.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("options", [{"only": ("gunicorn-2",)}, {"group": "second"}])
def test_what_is_asked_for_by_name_is_judged_whether_the_run_has_it_or_not(
    workspace: Workspace, tmp_path: Path, options: Mapping[str, Any]
) -> None:
    _, found = reported(workspace, tmp_path, **options)

    assert {name: each["verdict"] for name, each in found.items()} == {"gunicorn-2": "not tested"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"only": ("gunicorn-3",)}, "--only: unknown report 'gunicorn-3'"),
        ({"group": "third"}, "--group: unknown group 'third'; known are first, second"),
        ({"group": "first", "only": ("gunicorn-1",)}, "--group first: says which reports to test, and so does --only"),
        ({"blocks": 4}, "--run latest: judges what is stored, and measures nothing; give no other option"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(
    workspace: Workspace, tmp_path: Path, options: Mapping[str, Any], told: str
) -> None:
    with pytest.raises((SpecError, UsageError)) as caught:
        reported(workspace, tmp_path, **options)
    assert str(caught.value).startswith(told)


def test_a_file_of_reports_that_is_not_there_is_named() -> None:
    asked = RunOptions(task="lab.reports", file="nowhere.yaml")
    with pytest.raises(LabError, match=r"reports nowhere\.yaml: cannot be read"):
        commands.reports(asked, Console(file=io.StringIO()), commands.workspace())
