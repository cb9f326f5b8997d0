"""A load test second by second, from what workers tell; on samples recorded from two processes x four threads."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgilab import testing
from wsgilab.analysis.compare import survey
from wsgilab.analysis.inflight import parse_stamp
from wsgilab.load.recorder import Sample
from wsgilab.model import Cell, Observation, Run, Stamp, Usage
from wsgilab.web.live import KEPT, MOST_OPEN, OPEN, SILENCE_NS, WINDOW_NS, LiveTest, LiveTestState, WorkerReport
from wsgilab.web.meter import Meter
from wsgilab.web.view import Phase

RECORDED = Path(__file__).parents[1] / "recorded" / "gthread-2x4-sleep-16-users.json"
"""16 users with kept connections, 50 ms of sleep: latency in ms, process, thread, lane, entered and left in ns."""
USERS = 16
S = WINDOW_NS
LATER = 5 * S + S // 2 + SILENCE_NS
"""Nobody who was silent for the last five and a half seconds is waited for."""
CELL = Cell(server="gunicorn-gthread-2x4", cores=1, workload="sleep", connection="keep-alive")


def sample(latency_ms: float, *stamp: int) -> Sample:
    return Sample(latency_ms, " ".join(map(str, stamp)), None, False, 0, 0.0)


@pytest.fixture(scope="module")
def recorded() -> list[Sample]:
    return [sample(*row) for row in json.loads(RECORDED.read_text())]


def worker_report(
    at_ns: int, samples: Sequence[Sample] = (), *, users: int = USERS, worker: str = "a", **changes: float
) -> WorkerReport:
    plain = WorkerReport(
        worker=worker, at_ns=at_ns, cpu_s=at_ns / 1e9 * 0.2, users=users, answered=users, failed=0, samples=samples
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def load_test(*messages: WorkerReport, users: int = USERS) -> LiveTest:
    made = LiveTest(CELL, users_wanted=users, began_ns=0, epoch_ns=0)
    for message in messages:
        made.add_report(message)
    return made


def windows(seen: LiveTestState, users: int = USERS) -> Sequence[Observation]:
    return seen.windows.get(replace(CELL, users=users), ())


def left_s(each: Sample) -> float:
    assert each.stamp is not None
    return int(each.stamp.split()[-1]) / 1e9


def split(samples: Iterable[Sample], workers: int, chooser: random.Random) -> Iterable[WorkerReport]:
    """The same samples in the reports of `workers`: each has some of the users, and reports at moments of its own."""
    shares: list[list[Sample]] = [[] for _ in range(workers)]
    for each in samples:
        chooser.choice(shares).append(each)
    for number, share in enumerate(shares):
        users = USERS // workers + (number < USERS % workers)
        yield worker_report(0, users=users, worker=str(number))
        at_s = 0.0
        while at_s < 5:
            next_s = at_s + chooser.uniform(0.05, 0.9)
            sent = [each for each in share if at_s <= left_s(each) < next_s]
            chooser.shuffle(sent)
            yield worker_report(round(next_s * 1e9), sent, users=users, worker=str(number))
            at_s = next_s


def without_generator(seen: LiveTestState) -> Sequence[Observation]:
    return [
        each if each.swarm is None else replace(each, swarm=replace(each.swarm, generator_cpu=0.0))
        for each in windows(seen)
    ]


@settings(deadline=None, max_examples=25)
@given(workers=st.integers(2, 5), seed=st.integers(0, 2**32))
def test_the_reports_of_several_workers_add_up_to_exactly_that_of_one(workers: int, seed: int) -> None:
    samples = [sample(*row) for row in json.loads(RECORDED.read_text())]
    alone = load_test(worker_report(0), worker_report(5 * S, samples)).state(LATER)
    # In the order of the clock, as messages arrive.
    messages = sorted(split(samples, workers, random.Random(seed)), key=lambda each: each.at_ns)
    merged = load_test(*messages).state(LATER)
    assert len(windows(alone)) == 5
    assert without_generator(merged) == without_generator(alone)
    assert merged.now.pulses == alone.now.pulses


def test_figures_are_those_of_the_recorded_requests(recorded: list[Sample]) -> None:
    seen = load_test(worker_report(0), worker_report(5 * S, recorded)).state(LATER)
    completed = [each.swarm.completed for each in windows(seen)[:4] if each.swarm]
    assert completed == [sum(second <= left_s(each) < second + 1 for each in recorded) for second in range(4)]
    (result,) = survey(run(), windows(seen)[:4]).cells
    assert result.figures is not None
    # 16 users, 8 slots, and five of them filled: most of the connections went to one of the processes.
    assert result.figures.peak == 5
    assert result.figures.mean_in_flight is not None
    assert 4 < result.figures.mean_in_flight.median < 5
    assert result.figures.processes == 2
    assert result.figures.bound_by == "balance"
    assert result.figures.latency_ms["max"] == pytest.approx(max(each.latency_ms for each in recorded), rel=1e-3)


def run() -> Run:
    server = testing.server(CELL.server, slots=8, processes=2, model="threads")
    return testing.run(testing.experiment(CELL), server)


# --- what left later than its stamp says


def streamed(samples: Iterable[Sample]) -> tuple[list[Sample], dict[Stamp, int]]:
    """The same samples, stamped when their answers were begun, a millisecond after they entered; and when they really left."""
    begun, late = [], dict[Stamp, int]()
    for each in samples:
        stamp = parse_stamp(each.stamp or "")
        began = replace(stamp, left_ns=stamp.entered_ns + 10**6)
        late[began] = stamp.left_ns
        begun.append(
            sample(each.latency_ms, began.process, began.thread, began.greenlet_id, began.entered_ns, began.left_ns)
        )
    return begun, late


@pytest.mark.parametrize("late_first", [True, False])
def test_a_stream_counts_until_it_has_left_whenever_that_becomes_known(
    recorded: list[Sample], late_first: bool
) -> None:
    known = load_test(worker_report(0), worker_report(5 * S, recorded)).state(LATER)
    samples, late = streamed(recorded)
    test = load_test(worker_report(0))
    test.add_late({}, 0)
    if late_first:
        test.add_late(late, 5 * S)
    test.add_report(worker_report(5 * S, samples))
    if not late_first:
        by_stamp = windows(test.state(LATER))[0].swarm
        assert by_stamp is not None
        assert by_stamp.in_flight.mean < 1
        # In two answers, as it is asked all the time.
        half = dict(list(late.items())[::2])
        test.add_late(half, 5 * S)
        test.add_late({stamp: left_ns for stamp, left_ns in late.items() if stamp not in half}, 5 * S)
    assert windows(test.state(LATER)) == windows(known)
    assert test.state(LATER).now.pulses == known.now.pulses


def test_a_second_with_streams_is_not_shown_before_its_target_has_told_of_it() -> None:
    test = load_test(worker_report(0), worker_report(5 * S))

    def shown() -> int:
        return len(test.state(5 * S).now.pulses)

    test.add_late({}, 2 * S)
    assert shown() == 4, "ordinary answers wait for nothing"
    test.add_late({Stamp(process=1, thread=1, greenlet_id=1, entered_ns=S, left_ns=S): 2 * S}, 3 * S)
    assert shown() == 2
    assert len(test.state(20 * S).now.pulses) == 4 + 10, "nor for one that does not answer"


def test_a_second_stays_open_until_its_target_has_told_of_it_but_not_for_ever() -> None:
    entered_ns, left_ns = S // 2, S // 2 + S // 10
    one = Stamp(process=1, thread=1, greenlet_id=1, entered_ns=entered_ns, left_ns=entered_ns)

    def mean_of_first(seconds: int) -> float:
        test = load_test(worker_report(0, users=1), users=1)
        test.add_late({}, 0)
        for second in range(1, seconds + 1):
            samples = [sample(100.0, 1, 1, 1, entered_ns, entered_ns)] if second == 1 else []
            test.add_report(worker_report(second * S, samples, users=1))
            test.state(second * S)
        test.add_late({one: left_ns}, seconds * S)
        (mean, *_) = (each.mean for each in test.state(seconds * S).now.pulses)
        return mean

    assert mean_of_first(OPEN + 5) == pytest.approx(0.1)
    assert mean_of_first(MOST_OPEN + 5) == 0


# --- what counts


def test_nothing_counts_before_every_user_has_had_an_answer(recorded: list[Sample]) -> None:
    test = load_test(
        worker_report(S // 4, users=4),
        worker_report(S // 2, users=USERS, answered=0),
        worker_report(2 * S - S // 10, [each for each in recorded if left_s(each) < 1.9], answered=USERS - 1),
        worker_report(2 * S + S // 10, [each for each in recorded if 1.9 <= left_s(each) < 2.1]),
        worker_report(5 * S, [each for each in recorded if left_s(each) >= 2.1]),
    )
    seen = test.state(LATER)
    assert [each.started for each in windows(seen)] == [f"1970-01-01T00:00:0{second}+00:00" for second in (3, 4)]
    # The graph shows all of it.
    assert len(seen.now.pulses) == 5
    assert seen.now.pulses[0].throughput_rps > 0


@pytest.mark.parametrize(
    ("messages", "phase"),
    [
        ([], "ramping"),
        ([worker_report(S, users=4)], "ramping"),
        ([worker_report(S, answered=3)], "settling"),
        ([worker_report(S)], "measuring"),
        ([worker_report(S, answered=0, failed=USERS)], "measuring"),
    ],
)
def test_the_phase_is_what_the_test_waits_for(messages: list[WorkerReport], phase: Phase) -> None:
    assert load_test(*messages).state(2 * S).now.phase == phase


def test_another_number_of_users_is_another_cell(recorded: list[Sample]) -> None:
    test = load_test(worker_report(0), worker_report(2 * S + S // 2, [each for each in recorded if left_s(each) < 2.5]))
    test.set_users(8, 2 * S + S // 2)
    assert test.state(2 * S + S // 2).now.phase == "ramping"
    test.add_report(worker_report(2 * S + 3 * S // 4, users=12))
    test.add_report(worker_report(3 * S - S // 5, users=8))
    test.add_report(worker_report(5 * S, [each for each in recorded if left_s(each) >= 2.5], users=8))
    seen = test.state(LATER)
    assert len(windows(seen, 16)) == 2
    assert len(windows(seen, 8)) == 2
    assert windows(seen, 12) == ()
    assert seen.now.cell.users == 8


def test_nothing_counts_after_the_stop(recorded: list[Sample]) -> None:
    test = load_test(worker_report(0), worker_report(3 * S - S // 5, [each for each in recorded if left_s(each) < 2.8]))
    test.stop(3 * S - S // 10)
    assert test.state(3 * S).now.phase == "stopping"
    test.add_report(worker_report(4 * S, [each for each in recorded if left_s(each) >= 2.8], users=0))
    seen = test.state(LATER)
    assert seen.now.phase == "stopped"
    assert len(windows(seen)) == 2
    assert seen.now.cell.users == USERS


def test_a_late_answer_still_counts_for_the_second_that_it_was_served_in() -> None:
    test = load_test(worker_report(0), worker_report(3 * S, [sample(10, 1, 1, 1, S + 1, S + 2)]))
    early = windows(test.state(4 * S))[1].swarm
    test.add_report(worker_report(4 * S, [sample(2500, 1, 1, 2, S, 3 * S)]))
    late = windows(test.state(4 * S))[1].swarm
    assert early is not None
    assert late is not None
    assert (early.in_flight.peak, late.in_flight.peak) == (1, 2)
    assert late.in_flight.mean == pytest.approx(1, abs=0.01)
    # It left in another.
    assert (early.completed, late.completed) == (1, 1)


def test_a_request_that_was_redirected_counts_for_each_second_in_which_the_application_had_it() -> None:
    redirected = Sample(
        2500.0, f"1 1 1 {3 * S} {3 * S + 2}", None, False, 0, 0.0, redirects=(f"1 1 1 {S + 1} {S + S // 2}",)
    )
    others = [sample(10, 1, 1, 1, second * S + 3, second * S + 4) for second in range(4)]
    seen = load_test(worker_report(0), worker_report(4 * S, [redirected, *others])).state(LATER)

    served = [0 if each.swarm is None else each.swarm.completed for each in windows(seen)]
    assert served == [1, 2, 1, 2, 0]


def test_a_failure_counts_once_in_the_second_in_which_it_was_reported() -> None:
    wrong = Sample(5.0, "1 1 1 100 2500000000", "WrongAnswer: no", False, 0, 0.0)
    refused = Sample(0.2, None, "ConnectionRefusedError: no", False, 0, 0.0)
    good = [sample(10, 1, 1, 1, second * S + 1, second * S + 2) for second in range(4)]
    seen = load_test(worker_report(0), worker_report(2 * S + 1, [wrong, refused]), worker_report(4 * S, good)).state(
        LATER
    )
    failures = [0 if each.swarm is None else each.swarm.failures for each in windows(seen)]
    assert failures == [0, 0, 2, 0, 0]


@pytest.mark.parametrize(
    "odd", ["1 1 1 1", "1 1 1 1 x", f"1 1 1 {10**18} {10**18 + 1}", "1 1 1 0 1, 1 1 2 0 1", "1 1 1 0 " + "9" * 5000]
)
def test_a_stamp_that_is_none_of_this_test_is_a_failure_whatever_moment_it_names(odd: str) -> None:
    """One of a clock far ahead would else stand for more seconds than memory holds."""
    good = [sample(10, 1, 1, 1, second * S + 1, second * S + 2) for second in range(3)]
    test = load_test(worker_report(0), worker_report(3 * S - 1, [*good, Sample(5.0, odd, None, False, 0, 0.0)]))

    third = windows(test.state(LATER))[2].swarm

    assert len(test._windows) <= OPEN + 3
    assert third is not None
    assert (third.completed, third.failures) == (1, 1)
    assert next(iter(third.errors)).startswith("ValueError: ")


def test_a_second_without_an_answer_failed_and_says_why() -> None:
    refused = Sample(0.2, None, "ConnectionRefusedError: refused", False, 0, 0.0)
    seen = load_test(worker_report(0), worker_report(S // 2, [refused]), worker_report(3 * S - 1)).state(3 * S)
    first, second = windows(seen)
    assert (first.status, second.status) == ("failed", "failed")
    assert "ConnectionRefusedError" in first.reason
    assert "none at all" in second.reason


def test_a_second_is_shown_when_every_worker_has_reported_beyond_it() -> None:
    test = load_test(worker_report(0, users=8), worker_report(0, users=8, worker="b"), worker_report(4 * S, users=8))
    assert len(windows(test.state(4 * S))) == 0
    test.add_report(worker_report(2 * S + S // 2, users=8, worker="b"))
    assert len(windows(test.state(4 * S))) == 2
    # A worker that stays silent is not waited for: then it is the generator that has failed.
    assert len(windows(test.state(4 * S + SILENCE_NS))) == 3


def test_only_the_last_minute_is_kept_and_nothing_piles_up() -> None:
    test = load_test(worker_report(0))
    for second in range(3 * KEPT):
        test.add_report(worker_report((second + 1) * S, [sample(1.0, 1, 1, 1, second * S + 5, second * S + 9)]))
        seen = test.state((second + 1) * S)
    assert len(windows(seen)) == len(seen.now.pulses) == KEPT
    assert [each.block for each in windows(seen)] == list(range(KEPT))
    assert len(test._windows) <= OPEN + 3


# --- CPU


@pytest.mark.parametrize(
    ("readings", "begin_s", "end_s", "used_s"),
    [
        (((1, 10.0), (2, 10.5), (4, 12.5)), 1, 4, 2.5),
        (((1, 10.0), (2, 10.5), (4, 12.5)), 1.5, 3, 1.25),
        ((), 0, 1, None),
        (((1, 1.0), (2, 2.0)), 0.5, 2, None),
        (((1, 1.0), (2, 2.0)), 1, 3, None),
        (((1, 1.0), (2, 2.0)), 1, 2, 1.0),
        # A target that was started again counts from nothing.
        (((1, 10.0), (2, 11.0), (3, 0.25), (4, 0.75)), 2, 3, None),
        (((1, 10.0), (2, 11.0), (3, 0.25), (4, 0.75)), 3, 4, 0.5),
    ],
)
def test_cpu_between_readings_lies_on_straight_lines_and_is_unknown_beyond_them(
    readings: Sequence[tuple[float, float]], begin_s: float, end_s: float, used_s: float | None
) -> None:
    meter = Meter()
    for at_s, cpu_s in readings:
        meter.read(round(at_s * S), cpu_s)

    assert meter.used_s(round(begin_s * S), round(end_s * S)) == pytest.approx(used_s)


def test_cpu_of_target_and_generator_are_shares_of_a_core(recorded: list[Sample]) -> None:
    test = load_test(worker_report(0), worker_report(0, worker="b", users=0), worker_report(5 * S, recorded, cpu_s=1.0))
    test.add_report(worker_report(5 * S, worker="b", users=0, cpu_s=2.0))
    # Of a clock that began long ago; heard of a while later, once soon and once late.
    test.add_usage(S // 10, Usage(at_s=10_000.0, cpu_s=3.0, resident_bytes=1, os_threads=1))
    test.add_usage(7 * S, Usage(at_s=10_005.0, cpu_s=5.5, resident_bytes=7_000_000, os_threads=9))
    before, first, *_, last = windows(test.state(LATER))
    assert before.server_cpu_s is None, "the first reading lies a tenth of a second within it"
    assert last.server_cpu_s == pytest.approx(0.5), "the last reaches beyond it, as it was heard of late"
    assert first.swarm is not None
    # The busiest worker's.
    assert first.swarm.generator_cpu == pytest.approx(0.4)
    assert first.server_cpu_s == pytest.approx(0.5)
    assert first.server_span_s == 1.0
    assert first.resident_bytes == 7_000_000
    assert first.os_threads == 9
