"""`lab.tune`: from options to a space and its race, and what is wrong in a line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.said import refusal, table
from wsgilab import commands
from wsgilab.commands.options import seconds
from wsgilab.commands.tune import planned
from wsgilab.experiment import catalogue
from wsgilab.model import Experiment, Server, Tune
from wsgilab.model.errors import LabError
from wsgilab.run.options import RunOptions
from wsgilab.run.workspace import PROJECT, Workspace

SERVERS = catalogue.parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
CORES = 4


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgilab.system.host.usable_cpus", lambda: frozenset(range(CORES)))


def plan(**options: Any) -> tuple[Mapping[str, Server], Experiment]:
    of_run = {name: options.pop(name) for name in ("app", "budget_s", "share_generator") if name in options}
    run = RunOptions(task="lab.tune", **of_run)
    return planned(run, commands.TuneOptions(**{"workload": "sleep", "users": 64, **options}), SERVERS)


def test_the_usual_space_is_raced_on_all_cores_but_the_generators() -> None:
    servers, experiment = plan(p95_ms=200.0)

    assert len(servers) >= 24
    assert {(cell.workload, cell.users, cell.cores, cell.connection) for cell in experiment.cells} == {
        ("sleep", 64, 3, "close")
    }
    assert [cell.server for cell in experiment.cells] == list(servers)
    assert experiment.reference == "gunicorn-sync-7", "2n + 1, and in the race"
    assert "gunicorn-sync-7" in servers
    assert (experiment.tune, experiment.budget_s, experiment.blocks) == (Tune(p95_ms=200.0), 600.0, 3)
    assert plan(share_generator=True)[1].cells[0].cores == CORES
    assert plan(cores=1, users=None, rate=150.0)[1].cells[0].rate == 150


def test_a_space_of_ones_own_has_the_rule_of_thumb_too(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("servers: [gunicorn-gevent, {like: gunicorn-gthread, threads: [8, 16]}]\n")
    servers, _ = plan(space=str(file), cores=1)

    assert list(servers) == ["gunicorn-gevent", "gunicorn-gthread-8", "gunicorn-gthread-16", "gunicorn-sync-3"]
    assert list(plan(space=str(file), cores=1, most=2)[0]) == ["gunicorn-gevent", "gunicorn-sync-3"]


@pytest.mark.parametrize(
    ("options", "said"),
    table(
        """
        {"users": None} | --users or --rate: say how many users there are
        {"rate": 5.0} | one of the two
        {"users": 0} | --users: must be a whole number from 1
        {"users": None, "rate": -1.0} | --rate: must be a number above 0
        {"workload": None} | --workload: say which to tune for; there are hello, sleep
        {"workload": "slep"} | --workload: unknown workload 'slep'; did you mean sleep?
        {"workload": "stall", "users": None, "rate": 5.0} | are not sent at a rate; give users, not rate
        {"p95_ms": 0.0} | --p95-ms 0: must be a number above 0
        {"memory_mb": float("nan")} | --memory-mb nan: must be a number above 0
        {"budget_s": 0.5} | --budget: must be a number from 1
        {"cores": 0} | --cores: must be a whole number from 1
        {"most": 1} | --most: has gunicorn-sync-7 alone; a race needs two configurations at least
        {"space": "gone.yaml"} | space gone.yaml: cannot be read
        """
    ),
)
def test_what_is_wrong_is_said_in_a_line(options: str, said: str) -> None:
    assert said in refusal(LabError, plan, **eval(options))


def test_minutes_have_their_letter_too() -> None:
    assert [seconds(text, "--budget") for text in ("10m", "10min", "600s", "600")] == [600.0] * 4


def test_a_run_that_goes_on_takes_no_other_options(tmp_path: Path) -> None:
    there = Workspace(project=PROJECT, catalogue=PROJECT, results=tmp_path, state=tmp_path, ports="")
    options, wanted = RunOptions(task="lab.tune", resume="latest"), commands.TuneOptions(users=5)
    message = refusal(LabError, commands.tune, options, wanted, commands.console(), there)
    assert message.startswith("--resume latest: a resumed run keeps its space")
