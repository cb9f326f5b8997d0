"""Which servers of a race are up at a time, by the memory that fakes take."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from wsgilab import testing
from wsgilab.model import Server
from wsgilab.model.errors import HostError, Interrupted, TargetError
from wsgilab.run.room import Room
from wsgilab.run.testbed import Testbed
from wsgilab.runtime.local import LocalRuntime
from wsgilab.runtime.protocol import Fleet
from wsgilab.system.cpus import Layout
from wsgilab.testing import FakeTarget

MIB = 2**20
SPARE = frozenset({3})


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is really pinned."""
    monkeypatch.setattr("wsgilab.run.room.process.pinned", contextlib.nullcontext)


@dataclass(kw_only=True)
class Machine:
    """Memory in MiB, which is what its servers do not take: so many a process."""

    memory: int
    servers: dict[str, int]
    """Server -> its processes."""
    each: int = 40
    spare: frozenset[int] = frozenset()
    fleet: dict[str, FakeTarget] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    most: int = 0
    """MiB that were taken at once at most."""

    def __post_init__(self) -> None:
        self.room = Room(self.free, spare=self.spare)

    def free(self) -> int:
        used = sum(each.resident_bytes for each in self.fleet.values() if each.died is None)
        self.most = max(self.most, used // MIB)
        return self.memory * MIB - used

    def start(self, is_new: bool = True) -> Fleet:
        """As a runtime does, from the fewest processes to the most."""
        self.room = Room(self.free, may_lack=is_new, spare=self.spare)
        rest = [testing.server(name, processes=count) for name, count in self.servers.items()]
        rest.sort(key=lambda server: server.processes or 0)
        self._begin(rest.pop(0))
        while rest:
            running = [each for each in self.fleet.values() if each.died is None]
            count = self.room.admit(running, rest)
            if not count:
                break
            for server in rest[:count]:
                self._begin(server)
            del rest[:count]
        return self.room.settle({name: self.fleet[name] for name in self.servers if name in self.fleet}, self.say)

    def _begin(self, server: Server) -> None:
        self.fleet[server.name] = Page(server=server, resident_bytes=self.each * MIB * (server.processes or 1))
        self.free()

    def say(self, text: str) -> None:
        self.said.append(text)

    @property
    def up(self) -> list[str]:
        return [name for name, each in self.fleet.items() if each.died is None]


class Page(FakeTarget):
    """One that has a page while it runs."""

    def fetch(self, page: str) -> str:
        if self.died is not None:
            raise TargetError(f"{self.name}: connection refused")
        return f"{self.name}{page}"


def machine(memory: int, **servers: int) -> Machine:
    return Machine(memory=memory, servers=servers)


def test_where_memory_holds_all_they_are_up_together_and_those_that_leave_are_ended() -> None:
    seen = machine(1000, a=1, b=2, c=4)
    fleet = seen.start()
    assert (list(fleet), seen.up) == (["a", "b", "c"], ["a", "b", "c"])
    assert seen.room.heat(fleet, ["c", "a", "b"]) == ["c", "a", "b"]

    seen.room.turn(fleet, ["a", "c"], ["b"], seen.say)
    assert seen.up == ["a", "c"]
    with seen.room.ahead(fleet, ["a"], ["b"]):
        assert seen.up == ["a", "c"]
    assert seen.said == []


def test_all_are_started_once_though_memory_holds_some_and_take_turns() -> None:
    seen = machine(220, a=1, b=1, c=1, d=2, e=2)
    fleet = seen.start()

    assert list(fleet) == list("abcde")
    assert seen.most <= 220
    ended = [name for name in fleet if name not in seen.up]
    assert ended, "those that were started last make room for the next"
    assert [seen.room.facts(fleet[name]) for name in ended] == [f"{name}/__lab__/facts" for name in ended]
    assert seen.room.facts(fleet["e"]) is None, "it is up"

    # 220 MiB, and each counts with a quarter more than it takes.
    assert seen.room.heat(fleet, ["a", "d", "e", "b"]) == ["a", "d", "b"]
    seen.room.turn(fleet, ["a", "d", "b"], (), seen.say)
    assert set(seen.up) >= {"a", "d", "b"}
    assert seen.most <= 220
    assert any(each.endswith("again, whose turn it is ...") for each in seen.said)
    seen.room.turn(fleet, ["a", "e"], ["d"], seen.say)
    assert {"a", "e"} <= set(seen.up)
    assert "d" not in seen.up
    assert seen.most <= 220


@pytest.mark.parametrize("memory", [90, 60])
def test_memory_that_holds_one_is_a_line(memory: int) -> None:
    with pytest.raises(HostError) as caught:
        machine(memory, a=1, b=1, c=2).start()
    message = caught.value.message
    assert message.startswith(
        "memory holds one configuration at a time: a takes 40 MiB and b about 40 MiB, under load up"
    )
    assert message.endswith("a race measures two beside each other: free memory, or name smaller ones with --space")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("memory", "servers", "left", "said"),
    [
        (200, {"a": 1, "b": 1, "c": 8, "d": 9}, ["a", "b"], "Left out: c, d: c takes about 320 MiB, for which, beside"),
        # By itself it fits.
        (
            260,
            {"a": 1, "b": 1, "large": 5},
            ["a", "b"],
            "Left out: large: large takes about 200 MiB, for which, beside",
        ),
    ],
)
def test_what_does_not_fit_beside_another_is_left_out_and_never_started_where_it_does_not_fit_at_all(
    memory: int, servers: dict[str, int], left: list[str], said: str
) -> None:
    seen = machine(memory, **servers)
    assert list(seen.start()) == left
    assert seen.most <= memory
    assert [each[: len(said)] for each in seen.said] == [said]
    assert seen.room.left_out.keys() == servers.keys() - set(left)
    again = machine(memory, **servers)
    with pytest.raises(HostError, match=r"of memory are not enough; free memory, and go on$"):
        again.start(is_new=False)


# --- ahead


@dataclass(slots=True, kw_only=True)
class Slow(FakeTarget):
    """One that takes until it is let."""

    may_start: Callable[[], object] = lambda: None

    def restart(self, on: frozenset[int] | None = None) -> None:
        self.may_start()
        if self.died == "was ended twice":
            raise TargetError("it was ended while it started")
        self.died, self.on = None, on


def test_with_cores_to_spare_half_of_memory_is_for_those_that_start_meanwhile() -> None:
    seen = Machine(memory=440, spare=SPARE, servers=dict.fromkeys("abcdefghijklmn", 1))
    fleet, room = seen.start(), seen.room
    waiting, moved = list(fleet), set[str]()
    while waiting:
        heat = room.heat(fleet, list(dict.fromkeys(("a", *waiting))))
        assert len(heat) == (4 if len({"a", *waiting}) > 8 else len({"a", *waiting})), (
            "half of memory, or all that is left"
        )
        before = {name for name in heat if fleet[name].effective_cpus() == SPARE}
        room.turn(fleet, heat, (), seen.say)
        assert set(heat) <= set(seen.up)
        assert {fleet[name].effective_cpus() for name in heat} == {frozenset({0})}, "on their own cores"
        moved |= before
        waiting = [name for name in waiting if name not in heat]
        with room.ahead(fleet, heat, waiting):
            _wait(lambda: len(seen.up) >= min(8, len(heat) + len(waiting)))  # noqa: B023 - at once
    assert moved, "some were started elsewhere"
    assert seen.most <= 440


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_one_that_is_being_started_is_not_waited_for_when_the_run_is_interrupted() -> None:
    seen = Machine(memory=440, spare=SPARE, servers=dict.fromkeys("abcdefghij", 1))
    fleet = dict(seen.start())
    first = ["a", "b"]
    seen.room.turn(fleet, first, (), seen.say)
    begun, ended = threading.Event(), threading.Event()

    def start() -> None:
        begun.set()
        ended.wait(60)

    class Stuck(Slow):
        def end(self) -> None:
            self.died = "was ended twice"
            ended.set()

    rest = [name for name in fleet if fleet[name].failure()]

    for name in rest:
        old = seen.fleet[name]
        stuck = Stuck(server=old.server, died="was ended", resident_bytes=old.resident_bytes)
        stuck.may_start = start
        fleet[name] = seen.fleet[name] = stuck

    def interrupted() -> None:
        with seen.room.ahead(fleet, first, rest):
            assert begun.wait(60)
            raise Interrupted(signal.SIGINT)

    with pytest.raises(Interrupted):
        interrupted()
    assert ended.is_set()
    assert all(fleet[name].failure() for name in rest)


def test_cores_to_spare_are_as_many_as_servers_have_and_share_none_with_them() -> None:
    host = replace(testing.run().host, siblings=("0,4", "1,5", "2,6", "3,7"))
    bed = Testbed(runtime=object.__new__(LocalRuntime), host=host)

    def spare(usable: range, servers: frozenset[int]) -> frozenset[int]:
        layout = Layout(servers={len(servers): servers}, generator=frozenset({1}), backends=frozenset(), notes=())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Testbed, "usable", frozenset(usable))
            return bed.spare(layout)

    assert spare(range(8), frozenset({0})) == {2}
    assert spare(range(8), frozenset({0, 4})) == {2, 3}
    assert spare(range(2), frozenset({0})) == frozenset()
    assert spare(range(8), frozenset({0, 2, 3})) == frozenset(), "there is none"
