"""The loop, on fakes of the runtime and the swarm."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from pydantic import TypeAdapter

from wsgilab import testing
from wsgilab.experiment import plan
from wsgilab.model import (
    Cell,
    Circumstances,
    Duet,
    Idle,
    Observation,
    Run,
    Timeline,
    Trial,
    TrialReport,
    TrialSpec,
    Usage,
)
from wsgilab.model.application import LocustFile
from wsgilab.model.errors import EngineError, SwarmError, TargetError
from wsgilab.run.blocks import execute
from wsgilab.run.trial import WARM_UP_S, describe, trial_spec
from wsgilab.runtime.protocol import Fleet
from wsgilab.runtime.restarts import Restarts
from wsgilab.system import neighbours
from wsgilab.testing import FakeBackend, FakeSwarm, FakeTarget

ONE, TWO = testing.cell("one"), testing.cell("two")
BOTH = testing.run(testing.experiment(ONE, TWO))
DATABASE = testing.cell("one", workload="db")
MANY = testing.run(
    testing.experiment(*(testing.cell("one", workload=name) for name in ("sleep", "db", "upstream", "mixed")))
)


@dataclass
class Recorder:
    """An observer that remembers."""

    begun: list[Trial] = field(default_factory=list)
    saved: list[Observation] = field(default_factory=list)
    duets: list[Duet] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def begin(self, trial: Trial) -> None:
        self.begun.append(trial)

    def save(self, observation: Observation) -> None:
        self.saved.append(observation)

    def save_duet(self, duet: Duet) -> None:
        self.duets.append(duet)

    def advance(self, step: str) -> None:
        self.steps.append(step)

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class Lab:
    """A run of both servers on one core, with everything that can be seen of it."""

    run: Run = BOTH
    swarm: FakeSwarm = field(default_factory=FakeSwarm)
    targets: Mapping[str, FakeTarget] = field(
        default_factory=lambda: {
            name: FakeTarget(server=testing.server(name), base_url=f"http://{name}.invalid") for name in ("one", "two")
        }
    )
    backends: Mapping[str, FakeBackend] = field(
        default_factory=lambda: {name: FakeBackend(backend=testing.backend(name)) for name in ("postgres", "upstream")}
    )
    owns: neighbours.Owns | None = None
    clock_s: float = 0.0
    observer: Recorder = field(default_factory=Recorder)

    @property
    def saved(self) -> list[Observation]:
        return self.observer.saved

    def execute(self, *trials: Trial, until_s: float | None = None) -> list[Observation]:
        fleet: Fleet = dict(self.targets)
        execute(
            trials,
            run=self.run,
            fleets={1: fleet},
            backends=dict(self.backends),
            swarm=self.swarm,
            observer=self.observer,
            owns=self.owns,
            until_s=until_s,
            clock=lambda: self.clock_s,
        )
        return self.saved

    def answer(self, answer: Callable[[TrialSpec], TrialReport]) -> "Lab":
        self.swarm.answer = answer
        return self


def scheduled(server: str) -> Cell:
    return testing.cell(server, users=None, rate=200.0, arrivals="poisson")


def trial(cell: Cell, block: int = 0) -> Trial:
    return Trial(block=block, position=0, cell=cell)


def trials(*servers: str) -> list[Trial]:
    """One trial after the other, each in a block of its own."""
    return [Trial(block=number, position=number, cell=testing.cell(server)) for number, server in enumerate(servers)]


# The order.


def test_trials_are_carried_out_in_order_and_each_is_saved_before_the_next() -> None:
    lab = Lab()
    seen: list[tuple[str, int]] = []

    def answer(order: TrialSpec) -> TrialReport:
        seen.append((order.base_url, len(lab.saved)))
        return testing.trial_report()

    planned = plan.schedule(BOTH.experiment, seed=1)
    saved = lab.answer(answer).execute(*planned)

    assert [(each.block, each.position, each.cell) for each in saved] == [
        (trial.block, trial.position, trial.cell) for trial in planned
    ]
    assert seen == [(f"http://{trial.cell.server}.invalid", number) for number, trial in enumerate(planned)]


def test_only_the_first_block_keeps_its_timelines() -> None:
    timeline = Timeline(span_us=1, stays=())
    lab = Lab().answer(lambda _: testing.trial_report(timeline=timeline))

    saved = lab.execute(trial(ONE, block=0), trial(TWO, block=0), trial(ONE, block=1))

    assert [each.swarm and each.swarm.timeline for each in saved] == [timeline, timeline, None]


def test_an_order_is_the_cell_in_locusts_terms() -> None:
    run = testing.run(testing.experiment(ONE, window_s=0.7, patience_s=9.0))

    order = trial_spec(trial(testing.cell("one", users=8, connection="keep-alive")), run, "http://one.invalid")

    assert order == TrialSpec(
        locustfile="sleep",
        base_url="http://one.invalid",
        server_cpus="0",
        users=8,
        rate=None,
        window_s=0.7,
        patience_s=9.0,
        options={"connection": "keep-alive", "request_timeout": 0, "sleep_ms": 50.0},
    )


def test_an_order_for_cpu_has_the_calibration_of_the_run() -> None:
    cell = testing.cell("one", workload="cpu")
    run = testing.run(testing.experiment(cell), cpu_iterations=12345)

    assert trial_spec(trial(cell), run, "").options == {
        "connection": "close",
        "request_timeout": 0,
        "cpu_ms": 2.0,
        "iterations_per_ms": 6172.5,
    }


def test_an_order_for_an_application_has_what_its_users_send_and_nothing_of_the_labs_own_workloads() -> None:
    own = testing.application()
    cells = [testing.cell("one", workload=name) for name in ("orders", "shop")]
    run = testing.run(testing.experiment(*cells, application=own), cpu_iterations=12345)
    orders, shop = (trial_spec(trial(cell), run, "") for cell in cells)

    assert orders.locustfile == "application"
    assert orders.options.keys() == {"connection", "request_timeout", "application"}
    told = [json.loads(str(each.options["application"])) for each in (orders, shop)]
    assert [each["shares"] for each in told] == [None, {"orders": 3.0, "buy": 1.0}]
    assert [list(each["requests"]) for each in told] == [["orders"], ["orders", "buy"]]
    assert told[1]["requests"]["buy"]["body"] == "line\r\nline"


def test_an_order_for_a_locust_file_has_that_file_and_no_options_of_the_labs_own_users() -> None:
    file = LocustFile(path="a.py", user="Shopper", files={"a.py": ""})
    cell = testing.cell("one", workload="browse", connection="keep-alive")
    run = testing.run(testing.experiment(cell, application=testing.application(locust_files={"browse": file})))
    order = trial_spec(trial(cell), run, "")

    assert (order.locustfile, order.own, order.options) == ("", file, {})


def test_requests_of_an_application_wait_for_its_backends() -> None:
    cell = testing.cell("one", workload="orders")
    run = testing.run(testing.experiment(cell, application=testing.application(backends=("postgres",))))
    observer = Recorder()

    with pytest.raises(KeyError, match="postgres"):
        execute(
            [trial(cell)],
            run=run,
            fleets={1: {"one": FakeTarget(server=testing.server("one"), base_url="")}},
            backends={},
            swarm=FakeSwarm(),
            observer=observer,
        )


def test_the_calibration_is_for_what_computes_alone() -> None:
    cell = testing.cell(workload="hello")
    run = testing.run(testing.experiment(cell), cpu_iterations=12345)

    assert trial_spec(trial(cell), run, "").options.keys() == {"connection", "request_timeout"}


def test_a_workload_made_of_others_brings_their_parameters_and_a_locust_file_without_hyphens() -> None:
    def options(workload: str, iterations: int | None = None) -> tuple[str, Mapping[str, str | float | int]]:
        cell = testing.cell(workload=workload)
        run = testing.run(testing.experiment(cell), cpu_iterations=iterations)
        order = trial_spec(trial(cell), run, "")
        return order.locustfile, {
            name: value for name, value in order.options.items() if name not in ("connection", "request_timeout")
        }

    assert options("slow-client") == (
        "slow_client",
        {"slow_client_send_ms": 100.0, "slow_client_read_ms": 100.0, "slow_client_kib": 1024.0},
    )
    # 12345 iterations are 2 ms.
    assert options("stall", 12345) == (
        "stall",
        {"sleep_ms": 50.0, "cpu_ms": 2.0, "stall_ms": 300.0, "iterations_per_ms": 6172.5},
    )
    assert options("mixed", 7) == (
        "mixed",
        {
            "mixed_hello": 50.0,
            "mixed_db": 25.0,
            "mixed_upstream": 15.0,
            "mixed_cpu": 5.0,
            "mixed_large": 5.0,
            "db_ms": 50.0,
            "upstream_ms": 50.0,
            "cpu_ms": 2.0,
            "iterations_per_ms": 3.5,
            "large_kib": 1024.0,
        },
    )


def test_an_order_at_a_rate_is_one_user_with_a_schedule() -> None:
    cell = scheduled("one")
    run = testing.run(testing.experiment(cell))

    order = trial_spec(trial(cell), run, "")

    assert (order.users, order.rate) == (1, 200.0)
    assert (order.options["rate"], order.options["arrivals"]) == (200.0, "poisson")
    assert order.options["sleep_ms"] == 50.0


def test_every_server_of_a_block_meets_the_same_arrivals_and_every_block_and_run_others() -> None:
    one, two = scheduled("one"), scheduled("two")
    experiment = testing.experiment(one, two)

    seeds = [
        [trial_spec(trial(cell, block), testing.run(experiment, seed=seed), "").options["arrivals_seed"]]
        for seed in (1, 2)
        for block in range(3)
        for cell in (one, two)
    ]

    assert seeds[::2] == seeds[1::2]
    assert len({seed for (seed,) in seeds}) == 6


def test_the_arrivals_of_a_seed_are_the_same_on_every_machine() -> None:
    """Recorded once: a run that is resumed elsewhere must meet the same arrivals."""
    cell = scheduled("one")

    options = trial_spec(trial(cell, block=2), testing.run(testing.experiment(cell), seed=1), "").options

    assert options["arrivals_seed"] == 2309976


def test_a_cell_is_described_in_one_line() -> None:
    assert describe(ONE) == "one, sleep, 32 users, close, 1 core"
    assert describe(testing.cell("one", cores=2)).endswith("2 cores")
    assert describe(scheduled("one")) == "one, sleep, 200 requests/s, poisson, close, 1 core"


# What is measured.


def test_a_measured_trial_has_the_swarms_report_and_what_the_target_used_in_the_window() -> None:
    lab = Lab()
    (saved,) = lab.execute(*trials("one"))

    assert saved.status == "measured"
    assert saved.reason == ""
    assert saved.swarm == testing.trial_report()
    assert saved.server_cpu_s == pytest.approx(0.01), "the fake uses 10 ms from one reading to the next"
    assert saved.server_span_s is not None
    assert saved.server_span_s >= 0
    assert saved.resident_bytes == 50_000_000
    assert saved.started


def test_the_periods_in_which_a_quota_stopped_the_target_are_counted_between_the_readings() -> None:
    lab = Lab()
    lab.targets["two"].throttled = 7

    assert [each.throttled for each in lab.execute(*trials("one", "two"))] == [None, 1]


def test_the_swarm_hears_when_the_target_was_read() -> None:
    lab = Lab()
    asked_ns = time.monotonic_ns()
    lab.execute(*trials("one"))

    first_ns, last_ns = lab.swarm.read_ns
    assert first_ns is not None
    assert last_ns is not None
    assert asked_ns <= first_ns <= last_ns <= time.monotonic_ns()


def test_a_target_is_metered_at_the_ends_of_the_window_alone() -> None:
    lab = Lab()
    lab.execute(*trials("one"))

    assert lab.targets["one"].cpu_s == pytest.approx(0.02), "two readings of the fake"
    assert lab.targets["two"].cpu_s == 0


def test_backends_are_metered_together_where_the_workload_waits_for_them() -> None:
    lab = Lab(run=MANY)
    cells = (ONE, DATABASE, testing.cell("one", workload="mixed"))
    saved = lab.execute(*(trial(cell, block) for block, cell in enumerate(cells)))

    assert [each.backend_cpu_s for each in saved] == [None, pytest.approx(0.01), pytest.approx(0.02)]
    assert lab.backends["postgres"].cpu_s == pytest.approx(0.04), "two readings in each of two trials"
    assert lab.backends["upstream"].cpu_s == pytest.approx(0.02)


def test_what_was_read_after_the_users_had_left_is_not_what_the_target_used_under_load() -> None:
    lab = Lab(run=MANY).answer(lambda _: testing.trial_report(read_late=True))
    (saved,) = lab.execute(trial(DATABASE))

    assert saved.status == "measured"
    assert saved.server_cpu_s is saved.server_span_s is saved.backend_cpu_s is saved.resident_bytes is None


def test_each_trial_advances_the_bar() -> None:
    lab = Lab()
    lab.execute(*trials("one", "two"))

    assert lab.observer.steps == [f"block 1, {describe(ONE)}", f"block 2, {describe(TWO)}"]
    assert lab.observer.said == []


# What fails.


def test_a_target_that_dies_makes_its_trial_a_failed_one_with_its_last_words_and_the_run_goes_on() -> None:
    lab = Lab()

    def answer(order: TrialSpec) -> TrialReport:
        if "one" in order.base_url:
            lab.targets["one"].died = "exited with 3"
            lab.targets["one"].log = "Traceback\nKeyError: 'x'"
        return testing.trial_report()

    first, second = lab.answer(answer).execute(*trials("one", "two"))

    assert (first.status, second.status) == ("failed", "measured")
    assert first.reason == "the server exited with 3 during the trial\nTraceback\nKeyError: 'x'"
    assert first.swarm is None
    assert (first.server_cpu_s, first.server_span_s, first.resident_bytes) == (None, None, None)
    assert lab.observer.said == [f"failed: {describe(ONE)}: the server exited with 3 during the trial"]
    assert len(lab.observer.steps) == 2


@dataclass(slots=True, kw_only=True)
class Dying(FakeTarget):
    """A target that dies between the check before its trial and the beginning of the window."""

    asked: int = 0

    def failure(self) -> str | None:
        self.asked += 1
        return "exited with 3" if self.asked > 1 else None

    def usage(self) -> Usage:
        raise AssertionError("a target that has died was metered")


def test_a_target_that_has_died_is_not_metered() -> None:
    lab = Lab(targets={"one": Dying(server=testing.server("one"))})

    (saved,) = lab.execute(*trials("one"))

    assert saved.reason == "the server exited with 3 during the trial"


@dataclass(slots=True, kw_only=True)
class Vanishing(FakeBackend):
    """A backend that dies between being looked at and being metered."""

    def usage(self) -> Usage:
        self.died = "was removed"
        raise TargetError("postgres was removed")


def test_a_backend_that_dies_while_it_is_metered_fails_its_trial_and_not_the_run() -> None:
    lab = Lab(run=MANY, backends={"postgres": Vanishing(backend=testing.backend())})

    first, second = lab.execute(trial(DATABASE), trial(ONE, 1))

    assert (first.reason, second.status) == ("the backend postgres was removed during the trial", "measured")


def test_a_trial_without_an_answer_is_failed_with_what_the_users_saw() -> None:
    lab = Lab().answer(lambda _: testing.trial_report(completed=0, errors={"connection refused": 9}, failures=9))

    (saved,) = lab.execute(*trials("one"))

    assert (saved.status, saved.swarm) == ("failed", None)
    assert saved.reason == "no correct answer in the window: connection refused"


def test_a_window_too_short_for_an_answer_is_failed_with_the_remedy() -> None:
    (saved,) = Lab().answer(lambda _: testing.trial_report(completed=0)).execute(*trials("one"))

    assert saved.reason == "no answer within the window of 0.3 s; a longer window_s may hold one"


@pytest.mark.parametrize("given", [Circumstances(idle=Idle(connections=1)), Circumstances(abandon_ms=50)])
def test_that_silence_or_work_for_nobody_lets_no_request_be_answered_is_a_result(given: Circumstances) -> None:
    starved = testing.trial_report(completed=0, throughput_rps=0.0, unanswered=32)

    (saved,) = Lab().answer(lambda _: starved).execute(trial(testing.cell("one", circumstances=given)))

    assert (saved.status, saved.swarm) == ("measured", starved)


def test_users_are_told_under_which_circumstances_they_ask() -> None:
    given = Circumstances(idle=Idle(connections=4, send="half"), gap_ms=2100, abandon_ms=50)
    lab = Lab()
    lab.execute(trial(testing.cell("one", circumstances=given)), trial(testing.cell("one"), block=1))

    under, plain = lab.swarm.specs
    assert (under.idle, under.options["gap_ms"], under.options["abandon_ms"]) == (given.idle, 2100, 50)
    assert plain.idle is None
    assert not {"gap_ms", "abandon_ms"} & plain.options.keys()


def test_a_suspect_that_answers_is_loaded_again_and_then_no_suspect() -> None:
    lab = Lab()

    def answer(_: TrialSpec) -> TrialReport:
        if not lab.saved:
            return testing.trial_report(completed=0)
        # From here on a suspect's `/__lab__/ready` would fail; one that is none is not asked.
        lab.swarm.bodies = {}
        return testing.trial_report()

    saved = lab.answer(answer).execute(*trials("one", "one", "one"))

    assert [each.status for each in saved] == ["failed", "measured", "measured"]


def test_a_suspect_that_does_not_answer_is_not_loaded() -> None:
    lab = Lab().answer(lambda _: testing.trial_report(completed=0))
    lab.swarm.bodies = {}

    first, second = lab.execute(*trials("one", "one"))

    assert first.status == second.status == "failed"
    assert second.reason.startswith("the server does not answer: http://one.invalid/__lab__/ready")
    assert len(lab.swarm.specs) == 1


def test_a_target_is_under_suspicion_for_itself_alone() -> None:
    lab = Lab()
    lab.swarm.bodies = {}

    saved = lab.answer(lambda order: testing.trial_report(completed=int("two" in order.base_url))).execute(
        *trials("one", "two", "one", "two")
    )

    assert [each.status for each in saved] == ["failed", "measured", "failed", "measured"]


def test_requests_cut_off_by_a_target_that_still_answers_are_measured_all_the_same() -> None:
    (saved,) = Lab().answer(lambda _: testing.trial_report(cut_off=3)).execute(*trials("one"))

    assert saved.status == "measured"


def test_requests_cut_off_by_a_target_that_answers_no_more_make_a_failed_trial() -> None:
    lab = Lab().answer(lambda _: testing.trial_report(cut_off=3))
    lab.swarm.bodies = {}

    (saved,) = lab.execute(*trials("one"))

    assert saved.status == "failed"
    assert saved.reason.startswith("3 requests were cut off, and then the server does not answer")


def test_a_backend_that_dies_makes_its_trial_a_failed_one_with_its_last_words() -> None:
    lab = Lab(run=MANY)

    def answer(_: TrialSpec) -> TrialReport:
        lab.backends["postgres"].died = "ended with exit code 1"
        lab.backends["postgres"].log = "PANIC"
        # What its server makes of that is not the cause.
        return testing.trial_report(completed=0, errors={"status 503": 9})

    (saved,) = lab.answer(answer).execute(trial(DATABASE))

    assert (saved.status, saved.swarm, saved.backend_cpu_s) == ("failed", None, None)
    assert saved.reason == "the backend postgres ended with exit code 1 during the trial\nPANIC"


def test_a_server_is_warmed_up_before_its_first_trial_with_a_workload_that_needs_backends() -> None:
    lab = Lab(run=MANY)
    upstream = testing.cell("one", workload="upstream")

    saved = lab.execute(trial(ONE), trial(DATABASE, 1), trial(DATABASE, 2), trial(upstream, 3))

    assert len(saved) == 4
    window_s = MANY.experiment.window_s
    assert [(spec.locustfile, spec.window_s) for spec in lab.swarm.specs] == [
        ("sleep", window_s),
        ("db", WARM_UP_S),
        ("db", window_s),
        ("db", window_s),
        ("upstream", WARM_UP_S),
        ("upstream", window_s),
    ]


def test_a_server_is_warmed_up_again_after_a_trial_that_failed() -> None:
    lab = Lab(run=MANY).answer(lambda _: testing.trial_report(completed=int(len(lab.swarm.specs) > 2)))

    saved = lab.execute(trial(DATABASE), trial(DATABASE, 1))

    assert [each.status for each in saved] == ["failed", "measured"]
    assert [spec.window_s == WARM_UP_S for spec in lab.swarm.specs] == [True, False, True, False]


def test_a_server_whose_backend_died_is_under_suspicion() -> None:
    """It may have a queue left of requests that wait for what is gone."""
    lab = Lab(run=MANY)
    lab.swarm.bodies = {}

    def answer(_: TrialSpec) -> TrialReport:
        lab.backends["postgres"].died = "ended with exit code 1"
        return testing.trial_report()

    _, second = lab.answer(answer).execute(trial(DATABASE), trial(ONE, 1))

    assert second.reason.startswith("the server does not answer")


@dataclass(slots=True, kw_only=True)
class Engineless(FakeTarget):
    """A target of an engine that stops once `gone` is set."""

    gone: bool = False

    def failure(self) -> str | None:
        if self.gone:
            raise EngineError("the Docker engine stopped answering")
        return None


def test_where_the_engine_has_stopped_that_is_what_is_said_not_that_the_generator_went_with_it() -> None:
    target = Engineless(server=testing.server("one"))
    lab = Lab(targets={"one": target})

    def answer(_: TrialSpec) -> TrialReport:
        target.gone = True
        raise SwarmError("the generator is lost")

    # The window's end reads the target too; here the engine is gone only after that.
    with pytest.raises(EngineError, match="the Docker engine stopped answering"):
        lab.answer(answer).execute(*trials("one"))

    assert lab.saved == []


def test_a_generator_that_fails_ends_the_run_with_what_was_finished_saved() -> None:
    lab = Lab()

    def answer(_: TrialSpec) -> TrialReport:
        if lab.saved:
            raise SwarmError("the generator is lost")
        return testing.trial_report()

    with pytest.raises(SwarmError, match="the generator is lost"):
        lab.answer(answer).execute(*trials("one", "two", "one"))

    assert [each.block for each in lab.saved] == [0]
    assert len(lab.swarm.specs) == 2


# What has ended is started again.


def mortal(lab: Lab, *deaths: int) -> Lab:
    """The target `one` dies in its trials with these numbers, from 0 on."""

    def answer(order: TrialSpec) -> TrialReport:
        if order.window_s != WARM_UP_S and len(lab.saved) in deaths:
            lab.targets["one"].died = "ended with exit code 3"
        return testing.trial_report()

    return lab.answer(answer)


def test_a_target_that_has_died_is_started_again_before_its_next_trial_which_records_it() -> None:
    lab = mortal(Lab(), 0)
    saved = lab.execute(*trials("one", "two", "one", "one"))

    assert [each.status for each in saved] == ["failed", "measured", "measured", "measured"]
    assert [each.restarted for each in saved] == [(), (), ("one",), ()]
    assert lab.observer.said[1:] == ["one ended with exit code 3: starting it again (1 of 3 times at most)"]


def test_a_target_is_started_again_three_times_in_a_run_and_then_no_more() -> None:
    lab = mortal(Lab(), *range(9))
    restarts = Restarts()
    fleet: Fleet = dict(lab.targets)
    for planned in (trials("one", "one"), trials("one", "one", "one"), trials("one")):
        # A run may go through its trials in several parts.
        execute(
            planned,
            run=BOTH,
            fleets={1: fleet},
            backends={},
            swarm=lab.swarm,
            observer=lab.observer,
            restarts=restarts,
        )

    assert [each.restarted for each in lab.saved] == [(), ("one",), ("one",), ("one",), (), ()]
    assert {each.status for each in lab.saved} == {"failed"}
    assert lab.saved[-1].reason == (
        "the server ended with exit code 3 before the trial, after it had been started again 3 times"
    )
    assert len(lab.swarm.specs) == 4, "it is not loaded when it does not run"


def test_each_server_with_each_number_of_cores_is_counted_by_itself() -> None:
    lab, restarts = Lab(), Restarts()
    run = testing.run(testing.experiment(*(testing.cell("one", cores=cores) for cores in (1, 2))))

    def revive(name: str, cores: int) -> tuple[str, ...]:
        target = lab.targets[name]
        target.died = "ended with exit code 3"
        told = {"cpus": list(range(cores)), "python": "3.11.7", "packages": {"gunicorn": "27.0.1"}}
        lab.swarm.bodies = {"__lab__/facts": json.dumps(told)}
        return restarts.revive(run, cores, target, [], lab.swarm.get, lab.observer.say).names

    assert [revive("one", 1) for _ in range(4)] == [("one",), ("one",), ("one",), ()]
    assert [revive("two", 1), revive("one", 2)] == [("two",), ("one",)]


@dataclass(slots=True, kw_only=True)
class Stubborn(FakeTarget):
    """A target that does not come up again."""

    asked: int = 0

    def restart(self, on: frozenset[int] | None = None) -> None:  # noqa: ARG002 - it does not start
        self.asked += 1
        raise TargetError("one did not start: ended with exit code 1; see its last lines below", detail="KeyError: 'x'")


def test_a_target_that_does_not_come_up_again_fails_its_trial_with_its_last_lines_and_is_tried_three_times() -> None:
    stubborn = Stubborn(server=testing.server("one"), died="ended by signal 9")
    lab = Lab(targets={"one": stubborn})

    saved = lab.execute(*trials(*["one"] * 5))

    assert saved[0].reason == (
        "the server ended by signal 9 before the trial, and then one did not start: ended with exit code 1; see its last "
        "lines below\nKeyError: 'x'"
    )
    assert {(each.status, each.restarted) for each in saved} == {("failed", ())}
    assert stubborn.asked == 3


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (
            {"cpus": [0], "python": "3.11.7", "packages": {"gunicorn": "28"}},
            "one runs on other packages than before; start a new run",
        ),
        ({"cpus": [0], "python": "3.12", "packages": {"gunicorn": "27.0.1"}}, "one runs on other packages than before"),
        (
            {"cpus": [1], "python": "3.11.7", "packages": {"gunicorn": "27.0.1"}},
            "one answers from cores 1, not from 0 as asked; it moved itself",
        ),
    ],
)
def test_a_target_that_is_another_after_its_restart_is_never_loaded(told: dict[str, object], why: str) -> None:
    lab = Lab()
    lab.targets["one"].died = "ended by signal 9"
    lab.swarm.bodies = {**lab.swarm.bodies, "__lab__/facts": json.dumps(told)}

    first, second, other = lab.execute(*trials("one", "one", "two"))

    assert first.reason.startswith(f"the server was started again, but {why}")
    assert second.reason == first.reason
    assert (first.restarted, second.restarted, other.status) == (("one",), (), "measured")
    assert len(lab.swarm.specs) == 1


def test_a_backend_that_has_died_is_started_again_for_what_waits_for_it_and_servers_are_warmed_up_anew() -> None:
    lab = Lab(run=MANY)
    lab.execute(trial(DATABASE), trial(DATABASE, 1))
    lab.backends["postgres"].died = "ended with exit code 1"
    lab.swarm.specs.clear()
    upstream = testing.cell("one", workload="upstream")

    saved = lab.execute(trial(upstream, 2), trial(ONE, 3), trial(DATABASE, 4), trial(DATABASE, 5))[2:]

    assert [(each.status, each.restarted) for each in saved] == [
        ("measured", ()),
        ("measured", ()),
        ("measured", ("postgres",)),
        ("measured", ()),
    ]
    warm_ups = [spec.locustfile for spec in lab.swarm.specs if spec.window_s == WARM_UP_S]
    assert warm_ups == ["upstream", "db"], "once before the first with each, and after the restart"


@dataclass(slots=True, kw_only=True)
class Gone(FakeBackend):
    """A backend that cannot be started again."""

    def restart(self, on: frozenset[int] | None = None) -> None:  # noqa: ARG002 - it does not start
        raise TargetError("postgres cannot be started again: it was removed")


def test_only_what_waits_for_a_backend_that_does_not_come_up_again_is_not_loaded() -> None:
    gone = Gone(backend=testing.backend(), died="was removed")
    lab = Lab(run=MANY, backends={"postgres": gone, "upstream": FakeBackend(backend=testing.backend("upstream"))})
    cells = (DATABASE, testing.cell("one", workload="upstream"), ONE, testing.cell("two", workload="mixed"))

    saved = lab.execute(*(trial(cell, block) for block, cell in enumerate(cells)))

    reason = (
        "the backend postgres was removed before the trial, and then postgres cannot be started again: it was removed"
    )
    assert [each.reason for each in saved] == [reason, "", "", reason]
    # The first of its server with a backend is a warm-up.
    assert [spec.locustfile for spec in lab.swarm.specs] == ["upstream", "upstream", "sleep"]


def test_a_trial_of_an_earlier_lab_knows_of_no_restarts() -> None:
    recorded = TypeAdapter(Observation).dump_python(testing.observation(), mode="json")
    del recorded["restarted"]

    assert TypeAdapter(Observation).validate_python(recorded) == testing.observation()


# Beside others.

DISTURBED, QUIET = 3.0, 0.0
"""More than this process itself can have used meanwhile."""


def answering(lab: Lab, *others: float, takes_s: float = 1.0) -> Lab:
    """A lab whose trials, one after the other, have such shares of the generator's core taken by others; the last for good.

    Each takes so long."""
    shares = iter(others)
    share = QUIET

    def answer(_: TrialSpec) -> TrialReport:
        nonlocal share
        lab.clock_s += takes_s
        share = next(shares, share)
        return testing.trial_report(server_busy=0.0, generator_others=share)

    return lab.answer(answer)


def blocks_of(count: int, *cells: Cell) -> list[Trial]:
    return [Trial(block=block, position=block, cell=cell) for block in range(count) for cell in cells]


def test_no_block_begins_once_the_time_is_over_and_one_that_was_begun_is_finished() -> None:
    saved = answering(Lab(), QUIET).execute(*blocks_of(4, ONE, TWO), until_s=3.0)

    assert [(each.block, each.cell, each.took_s) for each in saved] == [
        (block, cell, 1.0) for block in range(2) for cell in (ONE, TWO)
    ]


def test_a_disturbed_trial_is_repeated_at_the_end_of_its_block() -> None:
    lab = answering(Lab(), *[QUIET] * 4, DISTURBED, QUIET, QUIET, QUIET)

    saved = lab.execute(*blocks_of(4, ONE, TWO))

    assert [(each.block, each.cell) for each in saved] == [
        *[(block, cell) for block in range(3) for cell in (ONE, TWO)],
        (2, ONE),
        (3, ONE),
        (3, TWO),
    ]
    assert lab.observer.said == ["others disturbed 1 trial of block 3; repeated undisturbed: 1"]
    assert len(lab.observer.steps) == 8, "a repeated trial is no further step"


def test_a_trial_that_is_disturbed_again_is_repeated_again_three_times_at_most() -> None:
    lab = answering(Lab(), *[QUIET] * 38, DISTURBED, QUIET, DISTURBED, DISTURBED, QUIET)
    assert len(lab.execute(*blocks_of(20, ONE, TWO))) == 43
    assert lab.observer.said == ["others disturbed 1 trial of block 20; repeated undisturbed: 1"]

    lab = answering(Lab(), *[QUIET] * 38, DISTURBED)
    assert len(lab.execute(*blocks_of(20, ONE, TWO))) == 46
    assert lab.observer.said == ["others disturbed 2 trials of block 20; repeated undisturbed: 0"]


def test_repeating_takes_no_more_than_a_fifth_of_the_time() -> None:
    lab = answering(Lab(), DISTURBED)

    saved = lab.execute(*blocks_of(20, ONE, TWO))

    assert len(saved) == 50, "40 trials, and a fifth of all again"
    assert "repeated undisturbed: 0" in lab.observer.said[-1]


def test_a_quiet_run_repeats_nothing_and_says_nothing() -> None:
    lab = answering(Lab(), QUIET)

    assert len(lab.execute(*blocks_of(5, ONE, TWO))) == 10
    assert lab.observer.said == []


def test_who_disturbed_a_trial_is_noted_and_what_the_lab_itself_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def owns(_: int) -> bool:
        return False

    asked: list[object] = []

    def programs(*told: object) -> list[str]:
        asked.append(told[2:])
        return ["yes (4711)"]

    monkeypatch.setattr(neighbours, "programs", programs)
    lab = answering(Lab(owns=owns), QUIET, DISTURBED)

    quiet, disturbed = lab.execute(trial(ONE), trial(TWO))[:2]

    assert (quiet.neighbours, disturbed.neighbours) == ((), ("yes (4711)",))
    assert quiet.lab_cpu is not None
    assert quiet.lab_cpu >= 0
    assert asked[0] == ({0, 1}, owns)


def test_where_the_targets_are_elsewhere_nobody_here_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "snapshot", pytest.fail)
    lab = answering(Lab(), DISTURBED)

    (observation, *_) = lab.execute(trial(ONE))

    assert (observation.neighbours, observation.lab_cpu) == ((), None)


def test_where_the_kernel_tells_the_lab_to_the_nanosecond_that_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([(10.0, (1.0, 5.0)), (12.0, (2.5, 5.84)), (20.0, (None, 7.0)), (22.0, (3.0, 8.0))])

    def snapshot(*_: object) -> neighbours.Snapshot:
        at_s, cores_s = next(moments)
        return neighbours.Snapshot(at_s=at_s, cpu_s={}, own_s=0.0, cores_s=cores_s)

    monkeypatch.setattr(neighbours, "snapshot", snapshot)
    lab = Lab(owns=lambda _: False).answer(
        lambda _: testing.trial_report(server_busy=0.5, generator_used=0.4, generator_others=0.01)
    )

    told, untold = lab.execute(trial(ONE), trial(ONE, 1))

    assert told.swarm is not None
    assert untold.swarm is not None
    assert told.swarm.server_busy == 0.75
    assert told.swarm.generator_others == pytest.approx(0.02)
    assert (untold.swarm.server_busy, untold.swarm.generator_others) == (0.5, 0.01)


# Two servers at once.

DUET = Trial(block=3, position=0, cell=ONE, beside=TWO)


def test_in_a_duet_both_servers_are_loaded_at_once_each_by_all_of_its_users_for_two_windows() -> None:
    lab = Lab()
    assert lab.execute(DUET) == [], "it is no trial of either"

    alone = [trial_spec(trial(cell), BOTH, f"http://{cell.server}.invalid") for cell in (ONE, TWO)]
    assert lab.swarm.specs == [replace(each, window_s=0.6) for each in alone]
    (duet,) = lab.observer.duets
    assert [(each.block, each.cell, each.status) for each in (duet.one, duet.other)] == [
        (3, ONE, "measured"),
        (3, TWO, "measured"),
    ]
    assert duet.took_s is not None
    assert lab.observer.steps == [f"duet 4, {describe(ONE)}, with two"]


def test_both_are_read_at_both_ends_of_the_window_each_at_a_moment_of_its_own() -> None:
    lab = Lab()
    lab.targets["two"].cpu_s = 7.0
    asked_ns = time.monotonic_ns()
    lab.execute(DUET)

    (duet,) = lab.observer.duets
    assert [each.server_cpu_s for each in (duet.one, duet.other)] == pytest.approx([0.01, 0.01])
    one_begin, other_begin, one_end, other_end = (each or 0 for each in lab.swarm.read_ns)
    assert asked_ns <= one_begin < other_begin <= other_end < one_end <= time.monotonic_ns()
    spans_s = [(one_end - one_begin) / 1e9, (other_end - other_begin) / 1e9]
    assert [each.server_span_s for each in (duet.one, duet.other)] == pytest.approx(spans_s, abs=1e-6)


def test_a_server_that_dies_in_a_duet_fails_alone_and_is_started_again_before_the_next() -> None:
    lab = Lab()

    def answer(spec: TrialSpec) -> TrialReport:
        if not lab.observer.duets:
            lab.targets["one"].died = "exited with 3"
        return testing.trial_report()

    lab.answer(answer).execute(DUET, replace(DUET, block=4))

    first, second = lab.observer.duets
    assert (first.one.status, first.other.status) == ("failed", "measured")
    assert first.one.reason == "the server exited with 3 during the trial"
    assert (second.one.status, second.other.status) == ("measured", "measured")
    assert lab.observer.said[0] == f"failed: {describe(ONE)}: the server exited with 3 during the trial"


def test_where_one_server_cannot_be_loaded_there_is_no_duet() -> None:
    stubborn = Stubborn(server=testing.server("one"), died="ended by signal 9")
    lab = Lab(targets={"one": stubborn, "two": FakeTarget(server=testing.server("two"))})
    lab.execute(DUET)

    (duet,) = lab.observer.duets
    assert lab.swarm.specs == []
    assert duet.one.reason.startswith("the server ended by signal 9 before the trial, and then one did not start")
    assert duet.other.reason == "the other server of the duet cannot be loaded"


def test_what_was_read_of_a_duet_after_its_users_had_left_does_not_count() -> None:
    lab = Lab().answer(lambda _: testing.trial_report(read_late=True))
    lab.execute(DUET)

    (duet,) = lab.observer.duets
    assert [each.server_cpu_s for each in (duet.one, duet.other)] == [None, None]


def test_what_others_used_in_a_duet_is_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([(10.0, (1.0, 5.0)), (12.0, (2.5, 5.84))])

    def snapshot(*_: object) -> neighbours.Snapshot:
        at_s, cores_s = next(moments)
        return neighbours.Snapshot(at_s=at_s, cpu_s={}, own_s=at_s / 10, cores_s=cores_s)

    monkeypatch.setattr(neighbours, "snapshot", snapshot)
    lab = Lab(owns=lambda _: False).answer(
        lambda _: testing.trial_report(server_busy=0.5, generator_used=0.4, generator_others=0.01)
    )
    lab.execute(DUET)

    (duet,) = lab.observer.duets
    for each in (duet.one, duet.other):
        assert each.swarm is not None
        assert (each.swarm.server_busy, each.swarm.generator_others) == pytest.approx((0.75, 0.02))
        assert each.lab_cpu == pytest.approx(0.1)
