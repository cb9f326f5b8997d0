"""Lanes side by side, on fakes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from wsgilab import plan, testing
from wsgilab.cpus import Layout
from wsgilab.errors import EngineError, Interrupted, SwarmError
from wsgilab.launch import Started
from wsgilab.model import Observation, Order, SwarmReport, Trial, Usage
from wsgilab.sides import Lane, Listener, side_by_side
from wsgilab.testing import FakeSwarm, FakeTarget

RUN = testing.run(testing.experiment(testing.cell("one"), blocks=8))
TRIALS = plan.schedule(RUN.experiment, seed=1)
LAYOUT = Layout(servers={1: frozenset({0})}, generator=frozenset({1}), notes=())


class Unreachable(FakeTarget):
    """Its engine has stopped."""

    def usage(self) -> Usage:
        raise EngineError("the Docker engine stopped answering")


def lane(machine: str, swarm: FakeSwarm, target: type[FakeTarget] = FakeTarget) -> Lane:
    fleet = {"one": target(server=testing.server("one"))}
    started = Started(runtime=None, layout=LAYOUT, fleets={1: dict(fleet)}, digests={})  # type: ignore[arg-type]
    return Lane(started=started, swarm=swarm, machine=machine)


@dataclass
class Heard:
    """All that is told, and whether ever by two at a time."""

    saved: list[Observation] = field(default_factory=list)
    begun: list[Trial] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def one(self, append: Callable[[object], None]) -> Callable[[object], None]:
        def told(what: object) -> None:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            threading.Event().wait(0.001)
            append(what)
            self.at_once -= 1

        return told

    @property
    def listener(self) -> Listener:
        return Listener(
            begin=self.one(self.begun.append),  # type: ignore[arg-type]
            save=self.one(self.saved.append),  # type: ignore[arg-type]
            advance=self.one(self.steps.append),  # type: ignore[arg-type]
            say=self.one(self.said.append),  # type: ignore[arg-type]
        )


def dealt(*machines: str) -> dict[str, list[Trial]]:
    """Block after block, in turn."""
    return {name: list(TRIALS[at :: len(machines)]) for at, name in enumerate(machines)}


def test_lanes_work_at_the_same_time_each_on_its_own_trials() -> None:
    together = threading.Barrier(2, timeout=60)

    def answer(_: Order) -> SwarmReport:
        # Neither gets on without the other.
        together.wait()
        return testing.swarm_report()

    heard = Heard()
    lanes = [lane("alpha", FakeSwarm(answer=answer)), lane("beta", FakeSwarm(answer=answer))]
    side_by_side(RUN, lanes, dealt("alpha", "beta"), heard.listener)

    assert {(each.block, each.machine) for each in heard.saved} == {
        (block, "alpha" if block % 2 == 0 else "beta") for block in range(8)
    }
    for machine in ("alpha", "beta"):
        blocks = [each.block for each in heard.saved if each.machine == machine]
        assert blocks == sorted(blocks)
    assert (len(heard.begun), len(heard.steps), heard.most_at_once) == (8, 8, 1)


def test_one_lane_works_in_this_thread_so_that_a_signal_reaches_it() -> None:
    threads = set()

    def answer(_: Order) -> SwarmReport:
        threads.add(threading.current_thread())
        return testing.swarm_report()

    heard = Heard()
    side_by_side(RUN, [lane("", FakeSwarm(answer=answer))], {"": TRIALS}, heard.listener)
    assert threads == {threading.current_thread()}
    assert [each.machine for each in heard.saved] == [""] * 8


def test_a_lane_that_is_lost_does_not_end_the_others_and_is_raised_in_the_end() -> None:
    def lost(_: Order) -> SwarmReport:
        raise SwarmError("the generator is lost: it has ended")

    heard = Heard()
    lanes = [lane("alpha", FakeSwarm(answer=lost)), lane("beta", FakeSwarm())]
    with pytest.raises(SwarmError, match="the generator is lost"):
        side_by_side(RUN, lanes, dealt("alpha", "beta"), heard.listener)
    assert [(each.block, each.machine) for each in heard.saved] == [(block, "beta") for block in (1, 3, 5, 7)]


def test_an_engine_that_is_lost_is_named() -> None:
    for machine, told in (("alpha", "^alpha: the Docker engine"), ("", "^the Docker engine")):
        with pytest.raises(EngineError, match=told):
            side_by_side(RUN, [lane(machine, FakeSwarm(), Unreachable)], {machine: TRIALS}, Heard().listener)


def test_an_interrupt_ends_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    hushed = threading.Event()

    class Waiting(FakeSwarm):
        """Loads until it is hushed."""

        def hush(self) -> None:
            hushed.set()

    def answer(_: Order) -> SwarmReport:
        assert hushed.wait(60)
        raise SwarmError("the generator is lost: nobody is to listen to it any more")

    def interrupted(*_: object, **__: object) -> object:
        raise Interrupted(2)

    monkeypatch.setattr("wsgilab.sides.wait", interrupted)
    heard = Heard()
    lanes = [lane("alpha", Waiting(answer=answer)), lane("beta", Waiting(answer=answer))]
    with pytest.raises(Interrupted):
        side_by_side(RUN, lanes, dealt("alpha", "beta"), heard.listener)
    assert heard.saved == []


def test_what_ends_on_a_lane_is_started_again_three_times_in_all_parts_of_a_run_and_on_no_other_lane() -> None:
    def answer(_: Order) -> SwarmReport:
        target = lanes[0].started.fleets[1]["one"]
        assert isinstance(target, FakeTarget)
        target.died = "ended by signal 9"
        return testing.swarm_report()

    heard = Heard()
    lanes = [lane("alpha", FakeSwarm(answer=answer)), lane("beta", FakeSwarm())]
    shares = dealt("alpha", "beta")
    for part in (slice(0, 2), slice(2, 4)):
        side_by_side(RUN, lanes, {machine: share[part] for machine, share in shares.items()}, heard.listener)
    side_by_side(RUN, lanes, {"alpha": shares["alpha"][:1], "beta": []}, heard.listener)

    on_alpha = [each.restarted for each in heard.saved if each.machine == "alpha"]
    assert on_alpha == [(), ("one",), ("one",), ("one",), ()]
    assert [each.status for each in heard.saved if each.machine == "beta"] == ["measured"] * 4
