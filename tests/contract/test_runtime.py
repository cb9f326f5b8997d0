"""What both runtimes promise, shown on each: pinned, answering, measured, and gone afterwards."""

import contextlib
import functools
import itertools
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec

import psutil
import pytest
import yaml

from tests.conftest import containers, copy_checkout, leftovers, processes, require
from wsgilab import commands
from wsgilab.analysis.cell.figures import cell_result
from wsgilab.commands import Workspace
from wsgilab.experiment.catalogue import interpolate
from wsgilab.load import client
from wsgilab.load.client import LocustSwarm
from wsgilab.load.samples import LATE_PAGE
from wsgilab.model import (
    Action,
    Cell,
    Circumstances,
    Duet,
    During,
    Observation,
    Server,
    Stack,
    Trial,
    TrialReport,
    TrialSpec,
    Usage,
)
from wsgilab.model.errors import BuildError, HostError, LabError, TargetError
from wsgilab.run.blocks import execute
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.trial import observe_both
from wsgilab.run.workspace import read_backends, read_catalogue
from wsgilab.runtime import engine, starting
from wsgilab.runtime.command import DEFAULT_BASE, DEFAULT_POSTGRES, OWN_BASE, OWN_POSTGRES, Compose
from wsgilab.runtime.containers import ContainerTarget, RunningContainer
from wsgilab.runtime.engine import Engine
from wsgilab.runtime.pages import FACTS, READY
from wsgilab.runtime.processes import LocalTarget
from wsgilab.runtime.protocol import UI_MODULE, Backends, Fleet, Running, Runtime, Target
from wsgilab.system import cpus as cpusets
from wsgilab.system import host
from wsgilab.system.ports import free_ports
from wsgilab.testing import cell, experiment, run
from wsgilab.web.client import LabUI

pytestmark = pytest.mark.lab

Given = ParamSpec("Given")

SERVERS = ("flask-processes-3", "gunicorn-sync-4", "gunicorn25-eventlet")
LONGER_S = (3.0, 12.0)
"""Windows for what a busy machine, on which a process may have no turn for seconds, keeps from showing in a short one."""
DROPPED = 3
DROPPING = f"""
import os, signal, socketserver
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgilab_door.wsgi import app
left = [0]
signal.signal(signal.SIGHUP, lambda *_: left.append({DROPPED}))
class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads, request_queue_size = True, 128
    def process_request(self, request, address):
        if not left[-1]:
            return super().process_request(request, address)
        left[-1] -= 1
        self.shutdown_request(request)
class Handler(WSGIRequestHandler):
    def log_message(self, *_): pass
make_server(os.environ["LAB_HOST"], int(os.environ["LAB_PORT"]), app, Server, Handler).serve_forever()
"""
"""A server that drops so many connections when it is told to reload, and has no other trait."""
SERVER_CORE = frozenset({min(host.usable_cpus())})
GENERATOR_CORE = frozenset({max(host.usable_cpus())})


@pytest.fixture(scope="module")
def catalogue(session_places: Workspace) -> Mapping[str, Server]:
    return read_catalogue(session_places)


@pytest.fixture(scope="module")
def backends(runtime: Runtime, session_places: Workspace) -> Iterator[Backends]:
    with runtime.backends(read_backends(session_places).values(), GENERATOR_CORE) as up:
        yield up


@pytest.fixture(scope="module")
def fleet(runtime: Runtime, catalogue: Mapping[str, Server], backends: Backends) -> Iterator[Fleet]:
    row = replace(
        catalogue["flask-threaded"], name="dropping", extends="flask-threaded", command=("python", "-c", DROPPING)
    )
    with runtime.start([*(catalogue[name] for name in SERVERS), row], SERVER_CORE) as up:
        yield up


@pytest.fixture(scope="module")
def wide(runtime: Runtime, catalogue: Mapping[str, Server], fleet: Fleet) -> Iterator[Fleet]:
    """Another fleet beside it, with more cores."""
    with runtime.start([catalogue["gunicorn-sync-4"]], SERVER_CORE | GENERATOR_CORE) as up:
        yield up


@pytest.fixture(scope="module")
def swarm(runtime: Runtime, fleet: Fleet, wide: Fleet) -> Iterator[LocustSwarm]:
    with runtime.swarm(GENERATOR_CORE) as channel, pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_GET_S", 60.0)
        yield LocustSwarm(channel, GENERATOR_CORE)


def order(target: Target, users: int = 8, window_s: float = 0.3) -> TrialSpec:
    return TrialSpec(
        locustfile="sleep",
        base_url=target.base_url,
        users=users,
        rate=None,
        window_s=window_s,
        patience_s=60.0,
        options={"connection": "close", "sleep_ms": 60.0},
    )


def loaded(
    swarm: LocustSwarm,
    target: Target,
    shows: Callable[[TrialReport], bool],
    at_end: Callable[[str], None] = lambda _: None,
) -> TrialReport:
    """What comes of a short window, or of a longer one if it does not show what it is to."""
    for window_s in (0.3, *LONGER_S):
        report = swarm.load(order(target, window_s=window_s), lambda: at_end("window"), lambda: at_end("closed"))
        if shows(report):
            break
    return report


def answered(get: Callable[Given, str], *given: Given.args, **named: Given.kwargs) -> str:
    """What is got, once it is: on a busy machine the seconds that an answer may take, or a connection to a backend, may be over first."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return get(*given, **named)
        except (TargetError, urllib.error.HTTPError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_every_server_answers_this_machine_and_the_swarm(fleet: Fleet, swarm: LocustSwarm) -> None:
    assert list(fleet) == [*SERVERS, "dropping"]
    for target in fleet.values():
        assert target.published_url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{target.published_url}/hello", timeout=60) as response:
            assert response.read() == b"hello\n"
        assert answered(swarm.get, f"{target.base_url}/hello") == "hello\n"
        assert answered(swarm.get, target.base_url + READY) == "ready\n"
        assert target.failure() is None


def test_every_process_is_pinned_to_the_cores_asked_for(fleet: Fleet, swarm: LocustSwarm) -> None:
    for target in fleet.values():
        assert target.effective_cpus() == SERVER_CORE
        assert frozenset(facts(swarm, target)["cpus"]) == SERVER_CORE


def facts(swarm: LocustSwarm, target: Target) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(answered(swarm.get, target.base_url + FACTS))
    return told


def test_a_runtime_knows_its_own_processes_from_those_of_others(
    runtime: Runtime, fleet: Fleet, session_places: Workspace
) -> None:
    assert fleet
    if runtime.name == "local":
        pids = [each.pid for each in processes(session_places)]
    else:
        with containers(session_places) as found:
            pids = [each.attrs["State"]["Pid"] for each in found]
    assert len(pids) >= len(SERVERS)
    assert all(map(runtime.owns, pids))
    assert not runtime.owns(os.getpid())


def test_each_stack_has_the_packages_of_its_lock(fleet: Fleet, swarm: LocustSwarm) -> None:
    old = facts(swarm, fleet["gunicorn25-eventlet"])["packages"]
    new = facts(swarm, fleet["gunicorn-sync-4"])["packages"]
    assert old["gunicorn"] == "25.3.0"
    assert "eventlet" in old
    assert int(new["gunicorn"].split(".")[0]) > 25
    assert "eventlet" not in new


@pytest.mark.parametrize("runtime", ["compose"], indirect=True)
def test_a_container_notes_in_its_memory_what_leaves_late(fleet: Fleet) -> None:
    target = fleet["gunicorn-sync-4"]
    assert isinstance(target, ContainerTarget)
    line = "1 1 1 1 2 3"
    # An answer to another test may have left late too.
    command = f'echo {line} >> "$LAB_LATE" && df --output=fstype "$LAB_LATE"'
    code, told = target._container.exec_run(["sh", "-c", command])
    assert (code, told.split()) == (0, [b"Type", b"tmpfs"])
    assert line in target.fetch(LATE_PAGE).splitlines()
    assert line not in target.fetch(LATE_PAGE).splitlines()


def test_a_loaded_target_is_measured_inside_and_outside(fleet: Fleet, swarm: LocustSwarm) -> None:
    target = fleet["gunicorn-sync-4"]
    seen: list[str] = []
    before = target.usage()
    report = loaded(
        swarm, target, lambda found: found.in_flight.peak == len(found.in_flight.requests_per_process) == 4, seen.append
    )
    after = target.usage()
    assert seen == ["window", "closed"] * (len(seen) // 2)
    assert report.in_flight.peak == 4
    assert len(report.in_flight.requests_per_process) == 4
    assert sum(report.in_flight.requests_per_process) == report.completed > 0
    assert report.failures == report.cut_off == 0
    assert after.cpu_s > before.cpu_s
    assert after.resident_bytes > 10_000_000


def test_two_servers_are_loaded_in_one_window_and_each_is_read_for_itself(
    runtime: Runtime, fleet: Fleet, swarm: LocustSwarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "gunicorn-sync-4", "gunicorn25-eventlet"
    one, other = (cell(name, workload="hello", users=8) for name in names)
    targets = [fleet[name] for name in names]
    read_s: dict[str, float] = defaultdict(float)
    usage = type(targets[0]).usage

    def timed(target: Target) -> Usage:
        began_s = time.monotonic()
        found = usage(target)
        read_s[target.name] += time.monotonic() - began_s
        return found

    monkeypatch.setattr(type(targets[0]), "usage", timed)
    for window_s in (0.2, *LONGER_S):
        read_s.clear()
        asked = run(experiment(one, other, window_s=window_s, patience_s=60.0))
        trial = Trial(block=0, position=0, cell=one, beside=other)
        duet = observe_both(trial, asked, targets, swarm, owns=runtime.owns)
        halves = [duet.one, duet.other]
        reports = [each.swarm for each in halves if each.swarm is not None]
        # In a short window of a busy machine hardly any has a turn.
        had_turns = len(reports) == 2 and all(each.read_completed for each in reports)
        if (
            had_turns
            and len(reports[0].in_flight.requests_per_process) > 1
            and all(each.server_cpu_s for each in halves)
        ):
            break

    assert [each.reason for each in halves] == ["", ""]
    assert reports[0].window_s == reports[1].window_s >= 2 * window_s
    assert reports[0].server_busy == reports[1].server_busy is not None
    # Each server's own processes served its requests, and each was read at moments of its own.
    assert len(reports[0].in_flight.requests_per_process) > len(reports[1].in_flight.requests_per_process) == 1
    for half, report in zip(halves, reports, strict=True):
        assert report.failures == report.cut_off == 0
        assert half.server_cpu_s
        assert report.read_completed
        # An engine reads some time between question and answer.
        longest_s = 0.001 if runtime.name == "local" else 0.01 + read_s[half.cell.server]
        assert report.read_span_s == pytest.approx(half.server_span_s, abs=longest_s)
    assert reports[0].read_span_s != reports[1].read_span_s


def test_what_holds_while_a_server_is_measured_shows_in_its_figures_and_is_over_afterwards(
    runtime: Runtime, fleet: Fleet, swarm: LocustSwarm
) -> None:
    assert runtime.quota_refusal() is None, "tests run as root"

    def of(server: str, do: Action | None = None, quota: float | None = None) -> Cell:
        during = None if do is None else During(at_s=0.1, do=do)
        given = None if do is None and quota is None else Circumstances(during=during, quota=quota)
        return cell(server, workload="cpu" if quota else "sleep", users=2 if quota else 8, circumstances=given)

    name = "gunicorn-sync-4"
    cells = [of("dropping", "reload"), of(name, "kill-worker"), of(name, "stop"), of(name, quota=0.05)]
    iterations = int(answered(swarm.get, f"{fleet[name].base_url}/calibrate?ms=5"))
    asked = run(
        experiment(*cells, patience_s=60.0), *(target.server for target in fleet.values()), cpu_iterations=iterations
    )
    told = facts(swarm, fleet[name])
    stacks = {each.server.installed_as: Stack(digest="", python=told["python"], packages={}) for each in fleet.values()}
    stacks["gunicorn"] = replace(stacks["gunicorn"], packages=told["packages"])
    asked = replace(
        asked,
        server_cpus={1: cpusets.spell(SERVER_CORE)},
        generator_cpus=cpusets.spell(GENERATOR_CORE),
        stacks=stacks,
    )
    seen = Seen()

    def carried_out(of: Cell, shows: Callable[[TrialReport, Observation], object]) -> Observation:
        """What comes of a short window; or of a longer one if nothing was done in it yet, or it does not show what it is to."""
        for window_s in (0.5, *LONGER_S):
            execute(
                [Trial(block=0, position=0, cell=of)],
                run=replace(asked, experiment=replace(asked.experiment, window_s=window_s)),
                fleets={1: fleet},
                backends={},
                swarm=swarm,
                observer=seen,
                owns=runtime.owns,
                repeats=False,
            )
            found = seen.saved[-1]
            if found.swarm is not None and shows(found.swarm, found):
                break
        return found

    def share(of: Observation) -> float:
        return (of.server_cpu_s or 0) / (of.server_span_s or 1)

    every = dropped, killed, stopped, held = [
        carried_out(cells[0], lambda report, _: report.failures == DROPPED),
        carried_out(cells[1], lambda report, _: len(report.in_flight.requests_per_process) >= 3),
        carried_out(cells[2], lambda report, _: report.failures and (report.longest_gap_ms or 0.0) > 200),
        carried_out(cells[3], lambda _, found: found.throttled and share(found) == pytest.approx(0.05, abs=0.03)),
    ]
    assert [(each.reason, each.restarted) for each in every] == [("", ())] * len(cells), seen.said
    reports = [each.swarm for each in every if each.swarm is not None]
    assert reports[0].failures == DROPPED, reports
    assert reports[1].failures <= 1, "what the worker had under way"
    assert reports[2].failures > 0
    assert (reports[2].longest_gap_ms or 0.0) > 200
    assert not any(each.ended for each in (dropped, killed, held))
    assert all(each.acted_s is not None and each.acted_s >= 0.1 for each in (dropped, killed, stopped))
    # Of four workers three went on; another may have come in time to answer.
    assert len(reports[1].in_flight.requests_per_process) >= 3
    # So small a quota that it shows on a busy machine too.
    assert held.throttled
    assert held.throttled_s
    assert share(held) == pytest.approx(0.05, abs=0.03)
    figures = cell_result(asked, held.cell, [held]).figures
    assert figures is not None
    assert figures.bound_by in ("quota", "neighbour"), figures.because
    assert not killed.throttled_s
    target = fleet[name]
    assert (target.failure(), target.effective_cpus()) == (None, SERVER_CORE)
    # What four processes share counts once, and what is private is less than that.
    assert held.memory is not None
    assert held.resident_bytes is not None
    assert 1_000_000 < held.memory.private_bytes < held.memory.pss_bytes < 2 * held.resident_bytes


@dataclass
class Seen:
    """An observer that remembers."""

    saved: list[Observation] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def begin(self, trial: Trial) -> None: ...

    def save(self, observation: Observation) -> None:
        self.saved.append(observation)

    def save_duet(self, duet: Duet) -> None: ...

    def advance(self, step: str) -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)


def test_usage_counts_the_processes_that_have_ended(fleet: Fleet, swarm: LocustSwarm) -> None:
    # A fork for each connection: were only living processes counted, next to nothing would remain.
    target = fleet["flask-processes-3"]
    before = target.usage()
    report = loaded(swarm, target, lambda found: found.completed > 0)
    assert report.in_flight.peak <= 3
    assert (target.usage().cpu_s - before.cpu_s) / report.completed > 0.001


def test_every_backend_is_pinned_and_reached_from_every_server(
    fleet: Fleet, backends: Backends, swarm: LocustSwarm
) -> None:
    assert {"postgres", "upstream"} <= set(backends)
    for name, backend in backends.items():
        assert (backend.name, backend.backend.name, backend.failure()) == (name, name, None)
        assert backend.effective_cpus() == GENERATOR_CORE
    for target in fleet.values():
        # 4e0740 begins the SHA-256 of `3`.
        assert answered(swarm.get, f"{target.base_url}/db?ms=1&item=3").startswith("read 4e07408562")
        assert answered(swarm.get, f"{target.base_url}/upstream?ms=1") == "waited 1 ms\n"


def test_a_backends_usage_is_what_requests_made_it_do(fleet: Fleet, backends: Backends, swarm: LocustSwarm) -> None:
    before = {name: each.usage() for name, each in backends.items()}
    page = f"{fleet['gunicorn-sync-4'].base_url}/db?ms=1&item=1"
    for _ in range(50):
        answered(swarm.get, page)
    after = {name: each.usage() for name, each in backends.items()}
    assert after["postgres"].cpu_s > before["postgres"].cpu_s
    assert after["upstream"].cpu_s - before["upstream"].cpu_s < after["postgres"].cpu_s - before["postgres"].cpu_s
    # A process for each connection, and several of its own.
    assert after["postgres"].os_threads > 3
    assert all(each.resident_bytes > 1_000_000 for each in after.values())


def test_a_wrong_answer_is_a_failure(fleet: Fleet, swarm: LocustSwarm) -> None:
    target = fleet["gunicorn-sync-4"]
    wrong = replace(order(target), locustfile="cpu", options={"connection": "close", "cpu_ms": -1.0})
    report = swarm.load(wrong, lambda: None, lambda: None)
    assert report.completed == 0
    assert report.failures > 0
    assert "status 400" in next(iter(report.errors))


def test_two_fleets_with_different_cores_are_up_together(fleet: Fleet, wide: Fleet, swarm: LocustSwarm) -> None:
    for up, cpus in ((wide, SERVER_CORE | GENERATOR_CORE), (fleet, SERVER_CORE)):
        target = up["gunicorn-sync-4"]
        assert target.effective_cpus() == cpus
        assert frozenset(facts(swarm, target)["cpus"]) == cpus


def test_the_web_ui_is_pinned_and_reached_from_here_alone(
    runtime: Runtime, fleet: Fleet, session_places: Workspace
) -> None:
    (port,) = free_ports(1, "")
    with runtime.ui(GENERATOR_CORE, "127.0.0.1", port) as channel:
        ui = LabUI(channel, GENERATOR_CORE)
        ui.open(run(experiment(*map(cell, SERVERS))), [fleet[name] for name in SERVERS], watching=False, password=None)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as response:
            assert response.status == 200
        if runtime.name == "compose":
            assert_hidden_from_servers(session_places)
        second = runtime.ui(GENERATOR_CORE, "127.0.0.1", port)
        told = f"--port {port}: is taken on 127.0.0.1; name another with --port"
        with pytest.raises(HostError, match=f"^{told}$"), second:
            pytest.fail("a second web UI came up at the same port")
        assert any(map(is_ui, leftovers(session_places)))
    assert not any(map(is_ui, leftovers(session_places)))


def is_ui(left: str) -> bool:
    return UI_MODULE in left or "-ui" in left


def assert_hidden_from_servers(workspace: Workspace) -> None:
    """The web UI's container can be reached by servers at none of its addresses, though it shares their network."""
    with containers(workspace) as found:
        (ui,) = (each for each in found if is_ui(each.name))
        server = next(each for each in found if "gunicorn" in each.name)
        addresses = {name: each["IPAddress"] for name, each in ui.attrs["NetworkSettings"]["Networks"].items()}
        assert set(server.attrs["NetworkSettings"]["Networks"]) < set(addresses)
        own = addresses[f"{ui.labels['com.docker.compose.project']}_default"]
        assert connects(ui, own, 60)
        assert not any(connects(server, address, 1) for address in addresses.values())


def connects(container: Any, address: str, within_s: float) -> bool:
    """Whether the web UI's port at `address` takes a connection from `container`."""
    script = f"import socket; socket.create_connection(({address!r}, 8089), {within_s})"
    return bool(container.exec_run(["python", "-c", script]).exit_code == 0)


def test_a_web_ui_needs_a_port_and_an_address_of_this_machine(runtime: Runtime) -> None:
    for host_name, port, told in (
        ("192.0.2.1", 8089, "--host 192.0.2.1: is no address of this machine"),
        ("nowhere.invalid", 8089, "--host nowhere.invalid: is no address of this machine"),
        ("127.0.0.1", 65536, "--port 65536: ports go from 1 to 65535"),
    ):
        with pytest.raises(LabError, match=told), runtime.ui(GENERATOR_CORE, host_name, port):
            pytest.fail("a web UI came up where there can be none")


@pytest.mark.parametrize("runtime", ["compose"], indirect=True)
def test_a_port_that_is_taken_at_the_last_moment_is_told_alike(
    fresh: Callable[[str], tuple[Workspace, Runtime]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, own = fresh("taken")
    monkeypatch.setattr("wsgilab.runtime.compose.check_free", lambda address, _: address)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = f"--port {port}: is taken on 127.0.0.1; name another with --port"
        with pytest.raises(HostError, match=f"^{told}$"), own.ui(GENERATOR_CORE, "127.0.0.1", port):
            pytest.fail("a web UI came up at a port that is taken")
    assert leftovers(workspace) == []


@pytest.fixture(scope="module")
def fresh(
    runtime: Runtime, session_places: Workspace, make_state: Callable[[str], Path]
) -> Callable[[str], tuple[Workspace, Runtime]]:
    """A lab of its own, so that what it leaves can be told from all else."""

    def make(name: str) -> tuple[Workspace, Runtime]:
        state = make_state(name)
        catalogue = state / "servers.yaml"
        catalogue.write_text(session_places.catalogue.read_text())
        workspace = replace(session_places, state=state, catalogue=catalogue)
        return workspace, choose_runtime(workspace, runtime.name)[0]

    return make


@dataclass(frozen=True, kw_only=True)
class Mortals:
    """Backends and a server of a lab of their own, which a test may kill."""

    workspace: Workspace
    runtime: Runtime
    backends: Backends
    target: Target

    def kill(self, *those: Running) -> None:
        """SIGKILL. In the local runtime to everything of this lab. Returns when it has been seen."""
        for each in those:
            if isinstance(each, RunningContainer):
                each._container.kill()
        for running in processes(self.workspace) if self.runtime.name == "local" else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                running.kill()
        deadline = time.monotonic() + 60
        while any(each.failure() is None for each in those):
            if time.monotonic() > deadline:
                pytest.fail("what was killed still runs")
            time.sleep(0.05)


class Deliberate(Exception):
    """Raised inside a fleet."""


@pytest.fixture(scope="module")
def mortals(catalogue: Mapping[str, Server], fresh: Callable[[str], tuple[Workspace, Runtime]]) -> Iterator[Mortals]:
    """In the end they are left by an exception, which leaves nothing behind."""
    workspace, own = fresh("mortals")
    with (
        contextlib.suppress(Deliberate),
        own.backends(read_backends(workspace).values(), GENERATOR_CORE) as backends,
        own.start([catalogue["flask-single"]], SERVER_CORE) as fleet,
    ):
        assert leftovers(workspace)
        yield Mortals(workspace=workspace, runtime=own, backends=backends, target=fleet["flask-single"])
        raise Deliberate
    assert leftovers(workspace) == []


def test_backends_and_a_server_that_died_say_how_keep_their_logs_and_can_be_started_again(mortals: Mortals) -> None:
    target = mortals.target
    everything = [*mortals.backends.values(), target]
    # As processes all of them are killed in any case.
    for those in (everything,) if mortals.runtime.name == "local" else (everything, [target]):
        mortals.kill(*those)
        for each in those:
            assert each.failure() in ("ended by signal 9", "ended with exit code 137")
            assert isinstance(each.log_tail(), str)
            each.restart()
            assert each.failure() is None
            assert each.effective_cpus() == (SERVER_CORE if each is target else GENERATOR_CORE)
        assert answered(get, target, "/db?ms=1&item=3").startswith("read 4e07408562")
        assert answered(get, target, "/upstream?ms=1") == "waited 1 ms\n"
    (log, *_) = mortals.runtime.log("postgres", None, follow=False)
    assert log


def test_one_that_was_ended_can_be_started_on_other_cores_and_then_be_moved_to_its_own(mortals: Mortals) -> None:
    target = mortals.target
    target.end()
    assert target.failure() is not None
    target.restart(GENERATOR_CORE)
    assert target.effective_cpus() == GENERATOR_CORE
    target.pin()
    assert target.effective_cpus() == SERVER_CORE
    assert get(target, "/hello") == "hello\n"
    target.end()
    target.restart()
    assert target.effective_cpus() == SERVER_CORE


@pytest.mark.parametrize("runtime", ["compose"], indirect=True)
def test_a_container_that_the_user_brought_back_is_found(mortals: Mortals) -> None:
    target = mortals.target
    assert isinstance(target, ContainerTarget)
    before = target.published_url
    mortals.kill(target)
    container = target._container
    container.start()
    while container.health != "healthy":
        time.sleep(0.1)
        container.reload()
    assert target.failure() is None
    # A port that the engine chooses is another one at each start.
    assert target.published_url != before
    assert get(target, "/hello") == "hello\n"


def test_a_target_that_does_not_come_up_again_has_ended(mortals: Mortals) -> None:
    target = mortals.target
    with contextlib.ExitStack() as spoilt:
        mortals.kill(target)
        if isinstance(target, LocalTarget):
            spoilt.enter_context(socket.create_server(target.wanted))
            told = "flask-single did not start: ended with exit code 1"
        else:
            assert isinstance(target, ContainerTarget)
            target._container.update(cpuset_cpus=str(min(GENERATOR_CORE)))
            told = f"flask-single runs on cores {min(GENERATOR_CORE)}, not on {min(SERVER_CORE)} as asked"
        with pytest.raises(TargetError, match=told):
            target.restart()
        assert target.failure() is not None


@pytest.mark.parametrize("runtime", ["compose"], indirect=True)
def test_a_container_that_was_removed_has_failed(mortals: Mortals) -> None:
    target = mortals.target
    assert isinstance(target, ContainerTarget)
    target._container.remove(force=True)
    assert target.failure() == "was removed"
    assert target.log_tail() == ""
    with pytest.raises(TargetError, match="flask-single was removed"):
        target.usage()
    with pytest.raises(TargetError, match=r"it was removed; invoke lab\.down, then invoke lab\.up"):
        target.restart()


def test_a_server_that_dies_at_start_shows_its_last_lines(
    catalogue: Mapping[str, Server], fresh: Callable[[str], tuple[Workspace, Runtime]]
) -> None:
    workspace, own = fresh("dies")
    # In containers the file says what runs, so the command that fails has to stand in a file.
    workspace.catalogue.write_text(
        workspace.catalogue.read_text().replace(
            '[gunicorn, --workers=4, "wsgilab_door.wsgi:app"]', '[gunicorn, "wsgilab_door.wsgi:nothing"]'
        )
    )
    broken = read_catalogue(workspace)["gunicorn-sync-4"]
    assert broken.command == ("gunicorn", "wsgilab_door.wsgi:nothing")
    start = own.start([catalogue["gunicorn-sync-1"], broken], SERVER_CORE)
    with pytest.raises(TargetError, match=r"gunicorn-sync-4 did not start: ended with exit code \d") as caught, start:
        pytest.fail("a fleet with a dead server came up")
    assert "Failed to find attribute 'nothing' in 'wsgilab_door.wsgi'" in caught.value.detail
    assert leftovers(workspace) == []


def changed(workspace: Workspace, name: str, command: str) -> Server:
    """The server `name` with another command. In containers the file says what runs, so it is changed there."""
    # At this level Gunicorn says more: that it listens, once in each start.
    text = workspace.catalogue.read_text().replace("--log-level=warning", "--log-level=info")
    before, stanza, after = text.partition(f"  {name}:\n")
    old, _, rest = after.partition("    x-lab:")
    anchor = old.splitlines()[0]
    workspace.catalogue.write_text(f"{before}{stanza}{anchor}\n    command: {command}\n    x-lab:{rest}")
    return read_catalogue(workspace)[name]


def test_a_server_that_listens_elsewhere_is_told_where_with_what_it_must_bind_and_its_last_lines(
    fresh: Callable[[str], tuple[Workspace, Runtime]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "LOOK_S", 1.0)
    workspace, own = fresh("misplaced")
    # In a container nobody else would reach it at 127.0.0.1, though its own health check does; as a process it is to be there.
    for bind in ("0.0.0.0:0",) if own.name == "local" else ("0.0.0.0:0", "127.0.0.1:${LAB_PORT:-8000}"):
        server = changed(workspace, "gunicorn-sync-1", f'[gunicorn, "--bind={bind}", "wsgilab_door.wsgi:app"]')
        start = own.start([server], SERVER_CORE)
        host = bind.partition(":")[0].replace(".", r"\.")
        wanted = r"127\.0\.0\.1:\d+" if own.name == "local" else r"0\.0\.0\.0:8000"
        told = (
            rf"^gunicorn-sync-1 listens at {host}:\d+, not at {wanted} as asked; "
            "have it bind LAB_BIND, or LAB_HOST and LAB_PORT; see its last lines below$"
        )
        with pytest.raises(TargetError, match=told) as caught, start:
            pytest.fail("a fleet that listens elsewhere came up")
        assert listens(caught.value.detail)
        assert leftovers(workspace) == []


@pytest.mark.parametrize("runtime", ["compose"], indirect=True)
def test_a_container_that_nobody_can_reach_is_told_with_the_remedy(
    fresh: Callable[[str], tuple[Workspace, Runtime]],
) -> None:
    workspace, own = fresh("unpublished")
    stanza = "  gunicorn-sync-1:\n    <<: *server\n"
    workspace.catalogue.write_text(workspace.catalogue.read_text().replace(stanza, f"{stanza}    ports: []\n"))
    start = own.start([read_catalogue(workspace)["gunicorn-sync-1"]], SERVER_CORE)
    told = r"^gunicorn-sync-1 does not publish its port 8000, .*; begin its stanza in the catalogue with <<: \*server$"
    with pytest.raises(TargetError, match=told), start:
        pytest.fail("a server that nobody can reach came up")
    assert leftovers(workspace) == []


def test_a_server_on_other_cores_than_asked_for_is_an_error(fresh: Callable[[str], tuple[Workspace, Runtime]]) -> None:
    workspace, own = fresh("elsewhere")
    other = min(GENERATOR_CORE)
    # As a process a server can move itself; in a container it takes a file that does not do as it is told.
    text = workspace.catalogue.read_text().replace("cpuset: ${LAB_SERVER_CPUS:-0}", f'cpuset: "{other}"')
    if own.name == "local":
        text = text.replace("[gunicorn, --workers=4,", f'[taskset, -c, "{other}", gunicorn, --workers=4,')
    workspace.catalogue.write_text(text)
    start = own.start([read_catalogue(workspace)["gunicorn-sync-4"]], SERVER_CORE)
    told = rf"gunicorn-sync-4 runs on cores {other}, not on {min(SERVER_CORE)} as asked"
    with pytest.raises(TargetError, match=told), start:
        pytest.fail("a fleet on the wrong cores came up")
    assert leftovers(workspace) == []


def get(target: Target, page: str) -> str:
    with urllib.request.urlopen(target.published_url + page, timeout=60) as response:
        return str(response.read().decode())


def test_a_backend_that_cannot_start_shows_its_last_lines(
    fresh: Callable[[str], tuple[Workspace, Runtime]], tmp_path: Path
) -> None:
    workspace, own = fresh("backends-broken")
    file = copy_checkout(tmp_path) / "compose" / "backends.yaml"
    assert "[python, upstream.py]" in file.read_text()
    file.write_text(file.read_text().replace("[python, upstream.py]", "[python, nothing.py]"))
    workspace = replace(workspace, project=tmp_path)
    own, _ = choose_runtime(workspace, own.name)
    own.prepare([], read_backends(workspace).values(), print)
    start = own.backends(read_backends(workspace).values(), GENERATOR_CORE)
    told = r"^upstream did not start: ended with exit code 2; see"
    with pytest.raises(TargetError, match=told) as caught, start:
        pytest.fail("a backend that cannot start came up")
    if own.name == "compose":
        # Images are of a checkout, and this one is gone after the test.
        own.clean()
    assert "nothing.py" in caught.value.detail
    assert leftovers(workspace) == []


@pytest.mark.parametrize("runtime", ["compose"], indirect=True)
def test_an_image_of_postgresql_that_cannot_be_had_is_told_with_the_remedy(
    fresh: Callable[[str], tuple[Workspace, Runtime]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_POSTGRES_IMAGE", "registry.invalid/postgres:17")
    workspace, own = fresh("backends-image")
    with pytest.raises(BuildError) as caught:
        own.prepare([], read_backends(workspace).values(), print)
    told = caught.value.message
    assert told.startswith(
        "the image registry.invalid/postgres:17 of the backend postgres is neither here nor to be had"
    )
    assert "name another with LAB_POSTGRES_IMAGE (wsgilab/postgres: one built from Debian's package)" in told
    assert "\n" not in told


IMAGES_OF_POSTGRESQL: tuple[tuple[str, AbstractSet[str], str | None], ...] = (
    # named, present -> taken; None: the lab's own
    ("", {OWN_BASE}, None),
    (OWN_POSTGRES, set(), None),
    ("", {OWN_BASE, DEFAULT_POSTGRES}, DEFAULT_POSTGRES),
    ("", {OWN_BASE, DEFAULT_BASE}, DEFAULT_POSTGRES),
    ("", set(), DEFAULT_POSTGRES),
    ("mine:1", {OWN_BASE, DEFAULT_POSTGRES}, "mine:1"),
)


def test_the_image_of_postgresql_is_the_users_or_dockers_and_our_own_only_where_no_registry_is_in_reach(
    session_places: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("compose")
    monkeypatch.delenv("LAB_BASE_IMAGE", raising=False)
    with compose_of(session_places) as compose:
        for named, present, taken in IMAGES_OF_POSTGRESQL:
            monkeypatch.setenv("LAB_POSTGRES_IMAGE", named)
            monkeypatch.setattr(Compose, "has", lambda _, image, present=present: image in present)
            expected = taken or compose.image("postgres")
            given = compose.environment("0")["LAB_POSTGRES_IMAGE"]
            assert compose.postgres_image() == given == expected, (named, present)
    services = composes_reading(session_places, LAB_POSTGRES_IMAGE="mine:1")
    assert services["postgres"]["image"] == "mine:1"


def test_a_log_is_read_and_followed_from_elsewhere_over_a_restart(
    fresh: Callable[[str], tuple[Workspace, Runtime]],
) -> None:
    workspace, own = fresh("log")
    # It listens where it is told to, in one word and in two.
    word = "exec gunicorn --bind=$$LAB_HOST:$$LAB_PORT wsgilab_door.wsgi:app"
    server = changed(workspace, "gunicorn-sync-1", f"[sh, -c, '[ $$LAB_HOST:$$LAB_PORT = $$LAB_BIND ] && {word}']")
    elsewhere, _ = choose_runtime(workspace, own.name)
    with own.start([server], SERVER_CORE) as fleet:
        assert get(fleet["gunicorn-sync-1"], "/hello") == "hello\n"
        so_far = list(elsewhere.log("gunicorn-sync-1", 1, follow=False))
        assert [listens(line) for line in so_far].count(True) == 1
        following = elsewhere.log("gunicorn-sync-1", 1, follow=True)
        assert [next(following) for _ in so_far] == so_far
        # Whoever has seen enough just stops.
        assert next(elsewhere.log("gunicorn-sync-1", 1, follow=True)) == so_far[0]
        target = fleet["gunicorn-sync-1"]
        Mortals(workspace=workspace, runtime=own, backends={}, target=target).kill(target)
        fleet["gunicorn-sync-1"].restart()
        again = list(itertools.takewhile(lambda line: not listens(line), following))
        assert not set(again) & set(so_far)
    # It ends with the fleet.
    assert not any(map(listens, following))
    for name, cores in (("gunicorn-sync-1", 1), ("gunicorn-sync-1", 2), ("nothing", 1)):
        with pytest.raises(TargetError, match=f"{name}: is not up on {cores} core"):
            elsewhere.log(name, cores, follow=False)
    with pytest.raises(TargetError, match=r"^postgres: is not up; invoke lab\.up brings it up$"):
        elsewhere.log("postgres", None, follow=False)
    assert leftovers(workspace) == []


def listens(line: str) -> bool:
    return "Listening at" in line


@contextlib.contextmanager
def compose_of(workspace: Workspace) -> Iterator[Compose]:
    found = engine.find()
    assert isinstance(found, Engine)
    made = Compose(workspace.project, found, workspace.lab_id, None, "")
    with contextlib.closing(made.client):
        yield made


def image_of(workspace: Workspace, stack: str) -> str:
    """What the image is called that a checkout would build now."""
    with compose_of(workspace) as compose:
        return compose.image(stack)


# Images, of which one engine may have those of several checkouts.


@pytest.fixture
def checkouts(runtime: Runtime, tmp_path: Path) -> Iterator[tuple[Workspace, Workspace]]:
    """Two that are alike, on the same engine; nothing is left of their images."""
    made = []
    for name in ("first", "second"):
        project = copy_checkout(tmp_path / name)
        workspace = commands.workspace({"LAB_STATE": str(tmp_path / f"{name}-state")})
        made.append(replace(workspace, project=project, catalogue=project / "compose" / "servers.yaml"))
    first, second = made
    yield first, second
    for each in made:
        choose_runtime(each, runtime.name)[0].clean()


def images_of(workspace: Workspace) -> dict[str, str]:
    """Stack -> image, of what a checkout has built from what it holds now."""
    with compose_of(workspace) as compose:
        # Not `images.list`, which asks for each by itself: another test's may be gone by then.
        tags = [(tag, str(image["Id"])) for image in compose.client.api.images() for tag in image["RepoTags"] or ()]
    mine = {tag: image for tag, image in tags if tag.endswith(f"-{compose.checkout}")}
    assert all(tag.endswith(f":{compose.tag}") for tag in mine), "of what it held before there is nothing left"
    return {tag.partition("/")[2].partition(":")[0]: image for tag, image in mine.items()}


def answer_otherwise(workspace: Workspace, body: str) -> None:
    """Edit the application."""
    file = workspace.project / "services" / "app" / "app.py"
    text = file.read_text()
    assert HELLO in text
    file.write_text(text.replace(HELLO, body))


HELLO = "hello\\n"


@pytest.mark.parametrize("runtime", ["compose"], indirect=True)
def test_images_go_when_newer_ones_supersede_them_but_not_those_in_use_nor_another_checkouts(
    catalogue: Mapping[str, Server], checkouts: tuple[Workspace, Workspace]
) -> None:
    first, second = checkouts
    server = catalogue["gunicorn-sync-1"]
    own, other = (choose_runtime(each, "compose")[0] for each in checkouts)
    digests = own.prepare([server], [], print)
    before, superseded = images_of(first), image_of(first, "gunicorn")
    assert before.keys() == {"gunicorn", "swarm"}

    def is_there(image: str) -> bool:
        with compose_of(first) as compose:
            return compose.has(image)

    with own.start([server], SERVER_CORE) as fleet, containers(first) as (container,):
        # Nothing tells their images apart but by whom they were built.
        assert other.prepare([server], [], print) == digests
        answer_otherwise(second, "goodbye\\n")
        other = choose_runtime(second, "compose")[0]
        assert other.prepare([server], [], print)["gunicorn"] != digests["gunicorn"]
        assert images_of(first) == before
        assert container.attrs["Image"] == before["gunicorn"]

        answer_otherwise(first, "farewell\\n")
        edited = choose_runtime(first, "compose")[0]
        edited.prepare([server], [], print)
        assert is_there(superseded)
        assert is_there(image_of(first, "gunicorn"))
        edited.clean()
        assert is_there(superseded), "nor are those removed, by whatever"
        assert get(fleet[server.name], "/hello") == "hello\n"
    edited.prepare([server], [], print)
    assert not is_there(superseded)
    left = images_of(first)
    assert left.keys() == {"gunicorn", "swarm"}
    with edited.start([server], SERVER_CORE) as fleet:
        assert get(fleet[server.name], "/hello") == "farewell\n"

    other.clean()
    assert images_of(second) == {}
    assert images_of(first) == left
    edited.clean()
    assert images_of(first) == {}


@pytest.mark.parametrize("runtime", ["compose"], indirect=True)
def test_a_server_without_the_image_of_its_stack_is_told_what_to_name(
    checkouts: tuple[Workspace, Workspace], runtime: Runtime
) -> None:
    workspace, _ = checkouts
    text = workspace.catalogue.read_text()
    workspace.catalogue.write_text(text.replace("wsgilab/gunicorn:${LAB_TAG:-latest}", "wsgilab/gunicorn-of-mine"))
    own = choose_runtime(workspace, runtime.name)[0]
    with pytest.raises(BuildError, match=r"stack gunicorn: .* wsgilab/gunicorn:\$\{LAB_TAG:-latest\}") as caught:
        own.prepare([read_catalogue(workspace)["gunicorn-sync-1"]], [], print)
    assert "\n" not in caught.value.message


def test_by_hand_images_are_the_newest_that_were_built_by_hand(session_places: Workspace) -> None:
    services = composes_reading(session_places)
    assert services["gunicorn-sync-4"]["image"] == "wsgilab/gunicorn:latest"
    for name in ("swarm", "gunicorn-sync-4", "upstream"):
        assert services[name]["image"].endswith(":latest")
        assert services[name]["build"]["labels"] == {"wsgilab.checkout": "by-hand"}


@functools.cache
def composes_reading(workspace: Workspace, **variables: str) -> dict[str, Any]:
    """The services as `docker compose config` resolves them."""
    require("compose")
    found = engine.find()
    assert isinstance(found, Engine)
    file = workspace.project / "compose" / "compose.yaml"
    # As YAML: Compose leaves extensions such as x-lab out of its JSON.
    text = subprocess.run(
        [found.docker, "compose", "-f", str(file), "--profile", "swarm", "config"],
        env={**os.environ, "LAB_PORTS": "", **variables},
        capture_output=True,
        check=True,
    ).stdout
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


def test_our_reading_of_the_catalogue_is_composes(session_places: Workspace) -> None:
    variables = {"LAB_BIND": "127.0.0.1:8123"}
    theirs = composes_reading(session_places, **variables)
    ours = read_catalogue(session_places)
    assert set(ours) == set(theirs) - {"swarm"} - set(read_backends(session_places))
    for name, server in ours.items():
        service = theirs[name]
        assert [interpolate(word, variables) for word in server.command] == service["command"]
        assert {key: interpolate(value, variables) for key, value in server.environment.items()} == service[
            "environment"
        ]
        assert server.stack == service["build"]["args"]["STACK"]
        assert service["x-lab"] == {
            "slots": server.slots or "unbounded",
            "processes": server.processes or "unbounded",
            "model": server.model,
            "summary": server.summary,
        }


def test_our_reading_of_the_backends_is_composes(session_places: Workspace) -> None:
    theirs = composes_reading(session_places)
    for name, backend in read_backends(session_places).items():
        service = theirs[name]
        assert [interpolate(word, {}) for word in backend.command] == service["command"]
        assert ["CMD", *(interpolate(word, {}) for word in backend.health)] == service["healthcheck"]["test"]
        environment = {key: interpolate(value, {}) for key, value in backend.environment.items()}
        assert environment == service.get("environment", {})
        assert service["x-lab"] == {
            "stack": backend.stack,
            "entrypoint": list(backend.entrypoint),
            "port": backend.port,
        }
        assert "ports" not in service


def test_every_service_is_confined(session_places: Workspace) -> None:
    services = composes_reading(session_places)
    assert "swarm" in services
    for name, service in services.items():
        # An official image may have a user of its own, who has no privileges either.
        assert service["user"].partition(":")[0] not in ("", "0", "root"), name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"] > 0
        assert int(service["mem_limit"]) > 0
        assert service["cpuset"]
        assert not service.get("volumes")
        assert not service.get("privileged")
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
