"""A race on a machine whose memory does not hold all of its servers at once, as processes and in containers."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from rich.console import Console

from tests.conftest import leftovers
from tests.memory import LittleMemory, of_containers, of_processes
from wsgilab import commands
from wsgilab.commands import Workspace
from wsgilab.commands.tune import TuneOptions
from wsgilab.experiment import plan
from wsgilab.report import formats
from wsgilab.report.comparison import comparison_yaml
from wsgilab.run.options import RunOptions
from wsgilab.runtime.protocol import Runtime
from wsgilab.system import host

pytestmark = pytest.mark.lab

SPACE = """
servers:
  - {like: gunicorn-gthread, workers: [1], threads: [2, 4, 8]}
"""
SERVERS = ["gunicorn-gthread-1x2", "gunicorn-gthread-1x4", "gunicorn-gthread-1x8", "gunicorn-sync-3"]
"""And the rule of thumb."""
HOLDS = 5.0
"""Servers of one process that memory holds: each counts with a quarter more than it takes, and the rule of thumb has three."""


@pytest.fixture
def memory(runtime: Runtime, session_places: Workspace) -> Iterator[LittleMemory]:
    if runtime.name == "local":
        yield LittleMemory(lambda: of_processes(session_places), HOLDS)
        return
    with contextlib.closing(docker.from_env()) as client:
        yield LittleMemory(lambda: of_containers(client, session_places), HOLDS)


def test_a_race_has_never_more_servers_up_than_memory_holds_and_measures_all(
    runtime: Runtime, session_places: Workspace, memory: LittleMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "available_bytes", memory.available_bytes)
    # One round: which is the fastest is no matter here.
    monkeypatch.setattr(plan, "RACE_BLOCKS", (2,))
    # Others take longer.
    monkeypatch.setattr(formats, "FORMATS", {"yaml": comparison_yaml})
    space, said = tmp_path / "space.yaml", io.StringIO()
    space.write_text(SPACE)
    options = RunOptions(task="lab.tune", runtime=runtime.name, budget_s=300.0, seed=1)
    wanted = TuneOptions(workload="sleep", users=8, cores=1, space=str(space))
    with memory.watched():
        found = commands.tune(
            options,
            wanted,
            Console(file=said, width=200),
            replace(session_places, results=tmp_path / "results", share_cores=True),
        )

    assert memory.most <= memory.whole
    assert 2 <= memory.most_up <= 3
    assert len(memory.seen) == len(SERVERS)
    assert " of 4 at once, so they take turns." in said.getvalue()
    assert " again, whose turn it is ..." in said.getvalue()
    assert sorted(each.cell.server for each in found.cells if each.figures is not None) == SERVERS
    assert leftovers(session_places) == []
