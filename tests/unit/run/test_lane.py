"""Lanes side by side, on fakes."""

import threading

import pytest

from tests.unit.run.test_trial import Recorder
from wsgilab import testing
from wsgilab.experiment import plan
from wsgilab.model import TrialReport, TrialSpec, Usage
from wsgilab.model.errors import EngineError, Interrupted, SwarmError
from wsgilab.run.lane import Lane, carry_out
from wsgilab.run.startup import Started
from wsgilab.system.cpus import Layout
from wsgilab.testing import FakeSwarm, FakeTarget

RUN = testing.run(testing.experiment(testing.cell("one"), blocks=8))
TRIALS = plan.schedule(RUN.experiment, RUN.seed)
LAYOUT = Layout(servers={1: frozenset({0})}, generator=frozenset({1}), notes=())


class Unreachable(FakeTarget):
    """Its engine has stopped."""

    def usage(self) -> Usage:
        raise EngineError("the Docker engine stopped answering")


def lane(machine: str, swarm: FakeSwarm, target: type[FakeTarget] = FakeTarget) -> Lane:
    fleet = {"one": target(server=testing.server("one"))}
    started = Started(runtime=None, layout=LAYOUT, fleets={1: dict(fleet)}, digests={})  # type: ignore[arg-type]
    return Lane(started=started, swarm=swarm, machine=machine)


MACHINES = ("alpha", "beta")
BLOCKS = {
    machine: [block for block in range(8) if plan.machine_of(block, MACHINES, RUN.seed) == machine]
    for machine in MACHINES
}
"""Machine -> the blocks that it takes."""


def test_lanes_work_at_the_same_time_each_on_its_own_trials() -> None:
    together = threading.Barrier(2, timeout=60)

    def answer(_: TrialSpec) -> TrialReport:
        # Neither gets on without the other.
        together.wait()
        return testing.trial_report()

    heard = Recorder()
    lanes = [lane("alpha", FakeSwarm(answer=answer)), lane("beta", FakeSwarm(answer=answer))]
    carry_out(RUN, lanes, TRIALS, heard, repeats=True)

    assert {machine: [each.block for each in heard.saved if each.machine == machine] for machine in MACHINES} == BLOCKS
    assert (len(heard.begun), len(heard.steps)) == (8, 8)


def test_one_lane_works_in_this_thread_so_that_a_signal_reaches_it() -> None:
    threads = set()

    def answer(_: TrialSpec) -> TrialReport:
        threads.add(threading.current_thread())
        return testing.trial_report()

    heard = Recorder()
    carry_out(RUN, [lane("", FakeSwarm(answer=answer))], TRIALS, heard, repeats=True)
    assert threads == {threading.current_thread()}
    assert [each.machine for each in heard.saved] == [""] * 8


def test_a_lane_that_is_lost_does_not_end_the_others_and_is_raised_in_the_end() -> None:
    def lost(_: TrialSpec) -> TrialReport:
        raise SwarmError("the generator is lost: it has ended")

    heard = Recorder()
    lanes = [lane("alpha", FakeSwarm(answer=lost)), lane("beta", FakeSwarm())]
    with pytest.raises(SwarmError, match="the generator is lost"):
        carry_out(RUN, lanes, TRIALS, heard, repeats=True)
    assert [(each.block, each.machine) for each in heard.saved] == [(block, "beta") for block in BLOCKS["beta"]]


def test_an_engine_that_is_lost_is_named() -> None:
    for machine, told in (("alpha", "^alpha: the Docker engine"), ("", "^the Docker engine")):
        with pytest.raises(EngineError, match=told):
            carry_out(RUN, [lane(machine, FakeSwarm(), Unreachable)], TRIALS, Recorder(), repeats=True)


def test_an_interrupt_ends_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = threading.Event()

    class Waiting(FakeSwarm):
        """Loads until it is cancelled."""

        def cancel(self) -> None:
            cancelled.set()

    def answer(_: TrialSpec) -> TrialReport:
        assert cancelled.wait(60)
        raise SwarmError("the generator is lost: nobody is to listen to it any more")

    def interrupted(*_: object, **__: object) -> object:
        raise Interrupted(2)

    monkeypatch.setattr("wsgilab.run.lane.wait", interrupted)
    heard = Recorder()
    lanes = [lane("alpha", Waiting(answer=answer)), lane("beta", Waiting(answer=answer))]
    with pytest.raises(Interrupted):
        carry_out(RUN, lanes, TRIALS, heard, repeats=True)
    assert heard.saved == []


def test_what_ends_on_a_lane_is_started_again_three_times_in_all_parts_of_a_run_and_on_no_other_lane() -> None:
    def answer(_: TrialSpec) -> TrialReport:
        target = lanes[0].started.fleets[1]["one"]
        assert isinstance(target, FakeTarget)
        target.died = "ended by signal 9"
        return testing.trial_report()

    heard = Recorder()
    lanes = [lane("alpha", FakeSwarm(answer=answer)), lane("beta", FakeSwarm())]
    first_four = [each for each in TRIALS if each.block < 4]
    on_alpha = [each for each in TRIALS if each.block in BLOCKS["alpha"]]
    for part in (first_four[:2], first_four[2:], on_alpha[2:], on_alpha[:1]):
        carry_out(RUN, lanes, part, heard, repeats=True)

    restarted = [each.restarted for each in heard.saved if each.machine == "alpha"]
    assert restarted == [(), ("one",), ("one",), ("one",), ()]
    assert [each.status for each in heard.saved if each.machine == "beta"] == ["measured"] * 2
