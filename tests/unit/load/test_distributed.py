"""What the master makes of its workers' messages, without any workers."""

import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from locust.runners import STATE_INIT, STATE_MISSING, STATE_RUNNING

from wsgilab.load import distributed
from wsgilab.load.distributed import DistributedLoad, WorkerLost, Workers
from wsgilab.load.local import Progress
from wsgilab.load.locustfiles import BadLocustfile
from wsgilab.load.reachability import NetworkReading, Unreachable
from wsgilab.system import host

S = 10**9


class Clients(dict[str, Any]):
    """Locust's, as far as it is used."""

    @property
    def ready(self) -> list[Any]:
        return [each for each in self.values() if each.state == STATE_INIT]


class Runner:
    """Locust's master, which only keeps what it sends."""

    def __init__(self) -> None:
        self.clients = Clients()
        self.server = SimpleNamespace(port=5557)
        self.sent: list[tuple[str, Any, str | None]] = []

    def send_message(self, kind: str, data: Any = None, client_id: str | None = None) -> None:
        self.sent.append((kind, data, client_id))


def workers(runner: Runner, *machines: str) -> Workers:
    """Workers `0`, `1` and so on, on these machines; an empty name is the master's."""
    made = object.__new__(Workers)
    vars(made).update(_runner=runner, _here=[], _expected=len(machines), _origins={}, _unlisted_since={}, _log=None)
    for number, machine in enumerate(machines):
        name, _, starter = machine.partition("/")
        made._on_hello(message(number, machine=name, starter=starter))
        runner.clients[str(number)] = SimpleNamespace(state=STATE_INIT)
    return made


def message(worker: int, **data: Any) -> Any:
    return SimpleNamespace(node_id=str(worker), data=data)


def load(*machines: str, reachability: object = None) -> tuple[DistributedLoad, Runner]:
    runner = Runner()
    made = object.__new__(DistributedLoad)
    vars(made).update(
        _cpus={0},
        _reachability=reachability,
        _state=distributed._TrialState(),
        _runner=runner,
        _workers=workers(runner, *machines),
    )
    return made, runner


# Workers.


def test_a_folder_of_locust_files_goes_to_other_machines_and_on_this_one_its_copy_is_enough() -> None:
    runner = Runner()
    workers(runner, "", "beta").share("../load", b"packed", Path("/tmp/copy"))

    assert runner.sent == [
        ("lab_folder", {"folder": "../load", "at": "/tmp/copy"}, "0"),
        ("lab_folder", {"folder": "../load", "archive": b"packed"}, "1"),
    ]


def test_workers_are_known_by_machine_and_by_starter() -> None:
    made = workers(Runner(), "", "beta/1", "beta/1", "gamma/1", "beta/2")

    assert made.here == ["0"]
    assert made.remote == {"1": "beta", "2": "beta", "3": "gamma", "4": "beta"}
    assert made.by_starter == [["1", "2"], ["3"], ["4"]]
    assert len(made) == 5
    assert made.are_ready


def test_a_worker_is_lost_when_its_heartbeat_is_missing_or_it_stays_unlisted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(distributed, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    runner = Runner()
    made = workers(runner, "", "beta")
    # One that has just stopped its users is not listed for a moment.
    for _ in range(2):
        listed = runner.clients.pop("1")
        made.check()
        clock[0] += distributed._UNLISTED_S - 0.1
        made.check()
        runner.clients["1"] = listed
        made.check()
    listed.state = STATE_MISSING
    with pytest.raises(WorkerLost, match="on beta no longer answers"):
        made.check()
    listed.state = STATE_INIT
    made.check()
    del runner.clients["1"]
    made.check()
    clock[0] += distributed._UNLISTED_S + 0.1
    with pytest.raises(WorkerLost, match="on beta no longer answers"):
        made.check()


def test_strangers_are_not_given_work() -> None:
    runner = Runner()
    made = workers(runner, "", "beta")
    runner.clients["stranger"] = SimpleNamespace(state=STATE_RUNNING)

    with pytest.raises(WorkerLost, match="more workers than the 2 expected have connected to port 5557"):
        made.check()


# A trial.


def test_the_busiest_core_is_found_on_whatever_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    made, runner = load("", "beta", "beta")
    used_s = [1.0]
    monkeypatch.setattr(Workers, "cpu_s", lambda _: used_s)
    # Between the two marks this process may do nothing but compute.
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    made.mark()
    used_s[0] += 1e-9
    made.mark()
    # Each by a clock of its own, and not for as long: the messages took their time.
    for worker, begin_ns, share in ((1, 5 * S, 0.7), (2, 900 * S, 0.4)):
        made._on_marked(message(worker, at_ns=begin_ns, cpu_s=10.0, idle_s=5.0))
        made._on_marked(message(worker, at_ns=begin_ns + 2 * S, cpu_s=10.0 + 2 * share, idle_s=5.0))

    assert made.busiest() == pytest.approx(0.7)
    assert runner.sent == [("lab_mark", None, worker) for worker in ("1", "2")] * 2


def test_what_others_use_is_what_neither_idles_nor_is_the_generators_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = load("", "beta", "beta")
    monkeypatch.setattr(Workers, "cpu_s", lambda _: [1.0])
    # On this machine the core idles all the time.
    now_s = [100.0]
    clock = {"monotonic_ns": lambda: round(now_s[0] * 1e9), "monotonic": lambda: now_s[0], "process_time": lambda: 0.0}
    monkeypatch.setattr(distributed, "time", SimpleNamespace(**clock))
    monkeypatch.setattr(host, "idle_s", lambda _: now_s[0])
    made.mark()
    now_s[0] += 2
    made.mark()
    for worker, idle_s in ((1, 0.5), (2, 1.2)):
        made._on_marked(message(worker, at_ns=5 * S, cpu_s=10.0, idle_s=7.0))
        made._on_marked(message(worker, at_ns=7 * S, cpu_s=10.7, idle_s=7.0 + idle_s))

    assert made.others() == pytest.approx(0.4), "of two seconds 0.5 were idle, and 0.7 its own"


def reading(offset_ns: int) -> NetworkReading:
    return NetworkReading(
        offset_ns=offset_ns, round_trip_ms=1.0, namespace=f"{offset_ns}", sent_segments=1, resent_segments=0
    )


def reading_load(answer: dict[str, Any], *machines: str) -> tuple[DistributedLoad, Runner]:
    """A load whose own offset is 7, and whose workers send `answer` when they are to read the network."""
    made, runner = load(*machines, reachability=SimpleNamespace(read=lambda _: reading(7)))
    send = runner.send_message

    def send_and_answer(kind: str, data: Any = None, client_id: str | None = None) -> None:
        send(kind, data, client_id)
        if kind == "lab_read_network":
            made._on_network(message(int(client_id or 0), **answer))

    vars(runner)["send_message"] = send_and_answer
    return made, runner


def test_each_worker_counts_in_its_own_machines_view_of_the_targets_clock() -> None:
    made, runner = reading_load(asdict(reading(9)), "", "beta", "beta")

    assert made.read_network(10) == [reading(7), reading(9)]
    assert [each for each in runner.sent if each[0] == "lab_read_network"] == [
        ("lab_read_network", {"patience_s": 10}, "1")
    ]
    clocks = {worker: data["offset_ns"] for kind, data, worker in runner.sent if kind == "lab_clock"}
    assert clocks == {"0": 7, "1": 9, "2": 9}


def test_a_machine_from_which_the_targets_are_not_reached_is_named() -> None:
    made, _ = reading_load({"error": "not reached at 10.0.0.2:9: refused"}, "", "beta")

    with pytest.raises(Unreachable, match=r"^on beta, not reached at 10\.0\.0\.2:9: refused$"):
        made.read_network(10)


def test_where_all_is_one_machine_nothing_is_looked_for() -> None:
    made, runner = load("", "")

    assert made.read_network(10) == ()
    assert runner.sent == []


def test_a_user_that_fails_by_itself_ends_the_trial_with_what_its_worker_tells() -> None:
    made, _ = load("", "beta")
    made._on_progress(message(1, users=3, answered=2, failed=1))
    assert made.progress() == Progress(users=3, answered=2, failed=1)

    made._on_user_error(message(1, message="locustfiles/mine.py, line 4: ZeroDivisionError: division by zero"))

    with pytest.raises(BadLocustfile, match=r"^locustfiles/mine\.py, line 4: ZeroDivisionError: division by zero$"):
        made.progress()
