"""A quota, and what is done to a server in the middle of a trial, on fakes of the runtime and the swarm."""

import json
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.unit.run.test_trial import Lab, trial
from wsgilab import testing
from wsgilab.load.client import AtEnd
from wsgilab.model import Action, Cell, Circumstances, During, Memory, Observation, TrialReport, TrialSpec
from wsgilab.model.errors import EngineError, HostError, SpecError, SwarmError, TargetError
from wsgilab.run import circumstances
from wsgilab.run.circumstances import Deed, check
from wsgilab.testing import FakeSwarm, FakeTarget

AT_S = 0.01
LATE_S = 600.0
GUNICORN = testing.server("one")
DEEDS: list[Deed] = []
"""Of the test."""


@pytest.fixture(autouse=True)
def _deeds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noted(Deed):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            DEEDS.append(self)

    DEEDS.clear()
    monkeypatch.setattr(circumstances, "Deed", Noted)


def is_over() -> bool:
    """Whether what was to be done has been done, or never will be."""
    thread = DEEDS[-1]._thread
    return thread is not None and not thread.is_alive()


def cell(do: Action | None = None, quota: float | None = None, at_s: float = AT_S) -> Cell:
    during = None if do is None else During(at_s=at_s, do=do)
    return testing.cell("one", circumstances=Circumstances(during=during, quota=quota))


@dataclass
class Windows(FakeSwarm):
    """A swarm whose windows last until something was done, or until `closes`."""

    closes: threading.Event | None = None

    def load(self, spec: TrialSpec, at_window: AtEnd, at_close: AtEnd) -> TrialReport:
        self.specs.append(spec)
        at_window()
        if self.closes is not None:
            assert self.closes.wait(60)
        elif spec.acts_at_s is not None:
            thread = DEEDS[-1]._thread
            assert thread is not None
            thread.join(60)
        at_close()
        return self.answer(spec)


def lab_of(target: FakeTarget, swarm: FakeSwarm | None = None) -> Lab:
    every = testing.run(testing.experiment(cell("reload"), testing.cell("one")))
    return Lab(run=every, swarm=swarm or Windows(), targets={"one": target})


def carried_out(target: FakeTarget, of: Cell, swarm: FakeSwarm | None = None) -> tuple[Lab, Observation]:
    lab = lab_of(target, swarm)
    (saved,) = lab.execute(trial(of))
    return lab, saved


@pytest.mark.parametrize("do", ["reload", "stop"])
def test_it_is_done_when_the_window_has_been_open_for_so_long_and_the_swarm_knows_when(do: Action) -> None:
    target = FakeTarget(server=GUNICORN)

    lab, saved = carried_out(target, cell(do))

    assert target.acts == [(do, 0)]
    assert saved.acted_s is not None
    assert saved.acted_s >= AT_S
    assert (saved.status, saved.ended) == ("measured", False)
    assert [each.acts_at_s for each in lab.swarm.specs] == [AT_S]


def test_the_worker_that_is_killed_is_the_one_that_answers_before_the_load() -> None:
    target = FakeTarget(server=GUNICORN)
    swarm = Windows()
    facts = {"pid": 4711, "cpus": [0], "python": "3.11.7", "packages": {"gunicorn": "27.0.1"}}
    swarm.bodies = {**swarm.bodies, "__lab__/facts": json.dumps(facts)}

    carried_out(target, cell("kill-worker"), swarm)

    assert target.acts == [("kill-worker", 4711)]


def test_a_server_is_started_again_after_what_was_done_to_it_and_not_after_another_trial() -> None:
    target = FakeTarget(server=GUNICORN)
    lab = lab_of(target)

    lab.execute(trial(testing.cell("one")), trial(cell("reload"), 1), trial(testing.cell("one"), 2))

    assert target.restarts == 1
    assert all(each.restarted == () for each in lab.saved), "it had not ended by itself"


def test_a_server_that_ends_of_what_was_done_to_it_was_measured_all_the_same() -> None:
    target = FakeTarget(server=GUNICORN, dies_of="stop")

    _, saved = carried_out(target, cell("stop"))

    assert (saved.status, saved.ended, saved.memory) == ("measured", True, None)
    assert target.died is None, "it was started again"


def test_a_server_that_does_not_come_up_after_it_is_started_again_before_its_next_trial() -> None:
    @dataclass(slots=True, kw_only=True)
    class Stubborn(FakeTarget):
        def restart(self, on: frozenset[int] | None = None) -> None:
            self.restarts, self.on = self.restarts + 1, on
            if self.restarts == 1:
                self.died = "ended with exit code 1"
                raise TargetError("one did not start: ended with exit code 1")
            self.died = None

    target = Stubborn(server=GUNICORN)
    lab = lab_of(target)

    first, second = lab.execute(trial(cell("reload")), trial(testing.cell("one"), 1))

    assert (first.status, second.status, second.restarted) == ("measured", "measured", ("one",))
    assert (
        lab.observer.said[0] == "one was started again after the trial, but one did not start: ended with exit code 1"
    )


def test_what_cannot_be_done_fails_the_trial_and_what_is_no_matter_of_the_server_ends_the_run() -> None:
    def raises(error: Exception) -> FakeTarget:
        @dataclass(slots=True, kw_only=True)
        class Unable(FakeTarget):
            def act(self, do: Action, worker: int = 0) -> None:
                self.acts.append((do, worker))
                raise error

        return Unable(server=GUNICORN)

    _, saved = carried_out(raises(TargetError("one has no worker process 7 beside its first")), cell("kill-worker"))
    assert (saved.status, saved.reason) == ("failed", "one has no worker process 7 beside its first")

    with pytest.raises(EngineError, match="the engine is gone"):
        carried_out(raises(EngineError("the engine is gone")), cell("reload"))


def test_a_window_that_ends_before_has_nothing_done_in_it_and_nothing_is_done_later() -> None:
    target = FakeTarget(server=GUNICORN)

    closes = threading.Event()
    closes.set()

    _, saved = carried_out(target, cell("reload", at_s=LATE_S), Windows(closes=closes))

    assert saved.reason == "the window ended before it had been open for 600 s"
    assert is_over()
    assert target.acts == []


def test_what_takes_until_after_the_windows_end_was_not_done_in_it() -> None:
    begun = threading.Event()

    @dataclass(slots=True, kw_only=True)
    class Slow(FakeTarget):
        def act(self, do: Action, worker: int = 0) -> None:
            self.acts.append((do, worker))
            begun.set()
            assert DEEDS[-1]._is_over.wait(60), "the window has ended"

    _, saved = carried_out(Slow(server=GUNICORN), cell("reload"), Windows(closes=begun))

    assert (saved.status, saved.acted_s) == ("failed", None)
    assert saved.reason == "what was to be done 0.01 s into the window was not done by its end"


def test_nothing_is_done_after_a_trial_that_was_ended_in_the_middle() -> None:
    @dataclass
    class Lost(FakeSwarm):
        def load(self, spec: TrialSpec, at_window: AtEnd, at_close: AtEnd) -> TrialReport:  # noqa: ARG002
            at_window()
            raise SwarmError("the generator is lost")

    target = FakeTarget(server=GUNICORN)

    with pytest.raises(SwarmError, match="lost"):
        carried_out(target, cell("stop", quota=0.5, at_s=LATE_S), Lost())

    assert is_over()
    assert target.acts == []
    assert target.quotas == [0.5, None]


def test_processes_that_took_the_place_of_others_on_other_cores_fail_the_trial() -> None:
    @dataclass(slots=True, kw_only=True)
    class Moving(FakeTarget):
        def effective_cpus(self) -> frozenset[int]:
            return frozenset({0, 1}) if self.acts else frozenset({0})

    _, saved = carried_out(Moving(server=GUNICORN), cell("reload"))

    assert saved.reason == "one runs on cores 0-1, not on 0 as before"


def test_a_quota_holds_for_the_trial_alone_and_the_time_in_which_it_stopped_the_server_is_recorded() -> None:
    target = FakeTarget(server=GUNICORN, throttled=0, throttled_s=0.0)
    lab = lab_of(target)

    first, second = lab.execute(trial(cell(quota=0.5)), trial(testing.cell("one"), 1))

    assert target.quotas == [0.5, None]
    assert first.throttled == 1
    assert [each.throttled_s for each in (first, second)] == pytest.approx([0.1, 0.1])
    assert target.restarts == 0


def test_a_quota_that_cannot_be_set_fails_the_trial() -> None:
    @dataclass(slots=True, kw_only=True)
    class Gone(FakeTarget):
        def limited(self, quota: float) -> AbstractContextManager[None]:  # type: ignore[override] # noqa: ARG002
            raise TargetError("one was removed")

    _, saved = carried_out(Gone(server=GUNICORN), cell(quota=0.5))

    assert (saved.status, saved.reason) == ("failed", "one was removed")


def test_memory_is_read_before_the_first_trial_after_a_start_and_after_each_trial() -> None:
    @dataclass(slots=True, kw_only=True)
    class Growing(FakeTarget):
        read: list[int] = field(default_factory=list)

        def restart(self, on: frozenset[int] | None = None) -> None:
            self.on = on
            self.read.clear()

        def memory(self) -> Memory:
            self.read.append(0)
            return Memory(pss_bytes=len(self.read), private_bytes=0)

    lab = lab_of(Growing(server=GUNICORN))
    plain = testing.cell("one")

    saved = lab.execute(trial(plain), trial(plain, 1), trial(cell("reload"), 2), trial(plain, 3))

    found = [(each.memory_start, each.memory) for each in saved]
    assert [(start and start.pss_bytes, end and end.pss_bytes) for start, end in found] == [
        (1, 2),
        (1, 3),
        (1, 4),
        (1, 2),
    ]


def test_what_cannot_be_done_is_refused_before_anything_starts() -> None:
    @dataclass
    class Runtime:
        reason: str | None = None

        def quota_refusal(self) -> str | None:
            return self.reason

    waitress = replace(GUNICORN, command=("waitress-serve", "app:app"))
    told = "^one: during: reload: it is not known to have a master process that reloads at SIGHUP; name a server of"
    with pytest.raises(SpecError, match=told):
        check(testing.experiment(cell("reload")), {"one": waitress}, Runtime())  # type: ignore[arg-type]
    with pytest.raises(HostError, match=r"^one: quota: no root; run in containers$"):
        check(testing.experiment(cell(quota=0.5)), {"one": GUNICORN}, Runtime("no root; run in containers"))  # type: ignore[arg-type]
    check(testing.experiment(cell("reload", quota=0.5)), {"one": GUNICORN}, Runtime())  # type: ignore[arg-type]
