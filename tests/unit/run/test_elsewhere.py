"""Runs on an engine that has a machine of its own, by a lab that cannot pin anything where it is itself."""

import contextlib
import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from wsgilab import commands, testing
from wsgilab.commands import Workspace, stored
from wsgilab.model import Backend, Comparison, Server
from wsgilab.model.errors import HostError, LabError
from wsgilab.report import formats
from wsgilab.report.comparison import comparison_yaml
from wsgilab.results.store import Store
from wsgilab.run import prepare, runner, startup, testbed
from wsgilab.run.lane import Lane
from wsgilab.run.options import RunOptions
from wsgilab.run.testbed import OWN_MACHINE, Testbed, open_testbeds
from wsgilab.runtime import engine
from wsgilab.runtime.clock_servers import MachineFacts
from wsgilab.runtime.engine import Endpoint, Engine, NoEngine
from wsgilab.system import host
from wsgilab.system.cpus import Layout

HOST = testing.run().host
ENGINE = Engine(
    docker="docker",
    address="unix:///run/d.sock",
    endpoint=Endpoint(host="unix:///run/d.sock"),
    version="27",
    compose="2",
)
NO_ENGINE = NoEngine(reason="no Docker engine answers at unix:///run/d.sock", remedy="start it")


@dataclass(kw_only=True)
class FakeComposeRuntime:
    """What of an engine's runtime is asked for beside its fleets. Cores 0-1 of its machine are the lab's, and core 1 is busy."""

    name: str = "compose"
    versions: Mapping[str, str] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)
    elsewhere: MachineFacts | None = field(
        default_factory=lambda: MachineFacts(host=HOST, time=0.0, clocksource="tsc", boot="another")
    )
    looked: list[Collection[int]] = field(default_factory=list)

    def is_here(self) -> bool:
        return False

    def other_labs(self) -> list[str]:
        return []

    def sweep(self) -> int:
        return 0

    def busy(self, cores: Collection[int], seconds: float) -> Mapping[int, float]:
        assert seconds > 0
        self.looked.append(cores)
        return {0: 0.0, 1: 0.97}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return commands.workspace({"LAB_STATE": str(tmp_path / "state"), "LAB_RESULTS": str(tmp_path / "results")})


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeComposeRuntime:
    made = FakeComposeRuntime()
    monkeypatch.setattr(engine, "find", lambda: ENGINE)
    monkeypatch.setattr(testbed, "compose_runtime", lambda *_: made)
    return made


def lay_out(there: Testbed, said: list[str]) -> Layout:
    return there.lay_out({1}, share=False, generator_cores=1, option="", say=said.append, backends=False)


@pytest.mark.usefixtures("not_linux")
def test_cores_are_those_of_the_engines_machine_and_it_is_asked_how_busy_they_are(
    runtime: FakeComposeRuntime, workspace: Workspace
) -> None:
    said: list[str] = []
    with open_testbeds(workspace, None, None, said.append) as [there]:
        layout = lay_out(there, said)
        with there.reserved(layout, workspace, said.append):
            assert runtime.looked == [{0, 1}]

    assert (there.usable, there.host, there.machine) == (frozenset({0, 1}), HOST, "")
    assert (layout.servers, layout.generator) == ({1: frozenset({0})}, frozenset({1}))
    assert there.own_cpus(layout) is None, "these cores are not this process'"
    assert said[1] == (
        "The engine has a machine of its own: A CPU, x86_64, cores 0-1, 8.0 GiB, kernel 6.1. Servers and users are there."
    )
    assert said[2:] == [
        "Cores: servers on 0, generator on 1.",
        f"Note: {OWN_MACHINE}.",
        "Note: others use 97% of core 1; windows that this disturbs are not compared by speed.",
    ]


def test_an_engine_of_this_machine_changes_nothing(runtime: FakeComposeRuntime, workspace: Workspace) -> None:
    runtime.elsewhere = None
    with open_testbeds(workspace, None, None, print) as [there]:
        assert there.usable == host.usable_cpus()
        layout = there.lay_out({1}, share=True, generator_cores=1, option="", say=print, backends=False)

    assert OWN_MACHINE not in layout.notes
    assert there.own_cpus(layout) == layout.generator


@pytest.mark.usefixtures("not_linux")
@pytest.mark.parametrize(
    ("wanted", "found", "told"),
    [
        (
            "local",
            ENGINE,
            "--runtime local: macOS cannot keep processes on cores of their own, as Linux can; measure in",
        ),
        (None, NO_ENGINE, "no Docker engine answers at unix:///run/d.sock; start it (macOS cannot keep processes on"),
        ("compose", NO_ENGINE, "--runtime compose: no Docker engine answers at unix:///run/d.sock; start it"),
    ],
)
def test_processes_of_this_machine_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, wanted: str | None, found: Engine | NoEngine, told: str
) -> None:
    monkeypatch.setattr(engine, "find", lambda: found)
    with pytest.raises(LabError) as caught, open_testbeds(workspace, wanted, None, print):
        pytest.fail("was opened")
    assert caught.value.message.startswith(told)
    assert "use --runtime local" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.usefixtures("not_linux")
def test_a_server_that_runs_already_is_refused_before_an_engine_is_asked(workspace: Workspace) -> None:
    options = RunOptions(task="lab.run", url="http://127.0.0.1:5000")
    with contextlib.ExitStack() as held, pytest.raises(HostError, match=r"--url: .*macOS .*--app"):
        prepare.prepare(options, lambda *_: testing.experiment(), workspace, held, print)


@pytest.mark.usefixtures("not_linux", "runtime")
def test_a_whole_run_asks_nothing_of_the_machine_that_the_lab_runs_on(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    own_cpus: list[object] = []

    @contextlib.contextmanager
    def start_lane(
        there: Testbed, layout: Layout, fleets: dict[int, list[Server]], _backends: Collection[Backend], *_: Any
    ) -> Iterator[Lane]:
        own_cpus.append(there.own_cpus(layout))
        with testing.fake_fleet(fleets[1]) as fleet:
            started = startup.Started(
                runtime=there.runtime, layout=layout, fleets={1: fleet}, digests={"gunicorn": "sha256:0"}
            )
            yield Lane(started=started, swarm=testing.FakeSwarm(), is_here=there.runtime.is_here())

    def conclude(store: Store, console: Console) -> Comparison:
        return stored.conclude(store, console)

    monkeypatch.setattr(runner, "start_lane", start_lane)
    # Others take longer, and are nothing that a run knows of.
    monkeypatch.setattr(formats, "FORMATS", {"yaml": comparison_yaml})
    experiment = testing.experiment(testing.cell("gunicorn-sync-4"), blocks=2)
    said = io.StringIO()
    options = RunOptions(task="lab.run", seed=1)
    comparison = runner.run(options, lambda *_: experiment, conclude, Console(file=said, width=200), workspace)

    assert (comparison.measured, comparison.failed) == (2, 0), said.getvalue()
    assert own_cpus == [None]
    run = comparison.run
    assert (run.host, run.lanes, run.runtime) == (HOST, (), "compose")
    assert (run.server_cpus, run.generator_cpus) == ({1: "0"}, "1")
    assert OWN_MACHINE in run.notes
