"""`lab.predict` on a stored run: what it prints, what it takes for granted, and what it refuses in one line."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.predicted import GRID, cell, recorded
from tests.unit.said import refusal
from wsgilab import commands, testing
from wsgilab.commands import Asked, Workspace
from wsgilab.model import Cell, Server
from wsgilab.model.errors import SpecError, UsageError
from wsgilab.results.store import Journal, Store

SYNC = testing.server()


def stored(folder: Path, *cells: tuple[Server, Cell]) -> Workspace:
    run, observations = recorded(*cells)
    workspace = commands.workspace({"LAB_RESULTS": str(folder)})
    with Journal(Store.create(workspace.results, run)) as journal:
        for each in observations:
            journal.append(each)
    return workspace


def said(workspace: Workspace, asked: Asked) -> Sequence[str]:
    console = Console(file=io.StringIO(), width=200)
    commands.predict(asked, "latest", console, workspace)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Of a run of gthread in two sizes with three numbers of users, and of one sync worker in another workload."""
    return stored(tmp_path_factory.mktemp("results"), *GRID, cell(SYNC, workload="hello", users=8))


def test_it_says_throughput_and_p95_with_intervals_and_how_far_it_was_off(workspace: Workspace) -> None:
    first, rps, p95, checked, *seams = said(workspace, Asked(users=24, workers=3, threads=4))

    assert first == ("Like gthread-2x4, with 3 workers of 4 slots: sleep 50 ms, 24 users, 1 core, connection: close")
    assert rps.split()[:1] == ["requests/s"]
    assert " to " in rps
    assert "bound by" in rps
    assert p95.split()[:2] == ["p95", "ms"]
    assert checked.startswith("Checked: the throughput of 6 cells was off by")
    assert any(line.startswith("A process takes requests before") for line in seams)


def test_what_is_not_named_is_as_in_the_servers_row_with_the_most_users(workspace: Workspace) -> None:
    lines = said(workspace, Asked(server="gthread-2x4"))

    assert lines[0].startswith("Like gthread-2x4, with 2 workers of 4 slots: sleep 50 ms, 32 users")
    assert lines[3].startswith("Measured under these very conditions (gthread-2x4): ")


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        (
            Asked(users=200),
            SpecError,
            "--users 200: the run has 4 to 32 users; checked is 2 to 64; measure 200 users too",
        ),
        (Asked(users=8, rate=5.0), UsageError, "--users and --rate: give one of them"),
        (Asked(rate=5.0), SpecError, "--rate: 20260102-030405-trial-run has no cell with a rate"),
        (Asked(workload="cpu"), SpecError, "--workload cpu: was not measured in 20260102-030405-trial-run"),
        (Asked(server="waitress"), SpecError, "--server waitress: was not measured in 20260102-030405-trial-run"),
        (Asked(server="gunicorn-sync-1"), SpecError, "gunicorn-sync-1, hello: was measured under one condition alone"),
        (Asked(workers=-1), UsageError, "--workers -1: must be more than 0"),
    ],
)
def test_it_refuses_in_one_line(workspace: Workspace, asked: Asked, kind: type[SpecError], message: str) -> None:
    assert refusal(kind, said, workspace, asked).startswith(message)


def test_of_several_kinds_or_workloads_one_must_be_named(tmp_path: Path) -> None:
    two = [cell(SYNC, users=users) for users in (4, 8)]
    workspace = stored(tmp_path, *GRID, *two)

    message = refusal(UsageError, said, workspace, Asked(users=8))

    assert message.endswith("has several: name one of gthread-1x8, gunicorn-sync-1")
