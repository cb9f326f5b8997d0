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
from wsgilab.load.samples import Sample
from wsgilab.model import Cell, Observation, Run, Usage
from wsgilab.web.live import KEPT, OPEN, SILENCE_NS, WINDOW_NS, LoadTest, Seen, Told
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


def told(
    at_ns: int, samples: Sequence[Sample] = (), *, users: int = USERS, worker: str = "a", **changes: float
) -> Told:
    plain = Told(
        worker=worker, at_ns=at_ns, cpu_s=at_ns / 1e9 * 0.2, users=users, answered=users, failed=0, samples=samples
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def load_test(*messages: Told, users: int = USERS) -> LoadTest:
    made = LoadTest(CELL, users_wanted=users, began_ns=0, epoch_ns=0)
    for message in messages:
        made.hear(message)
    return made


def windows(seen: Seen, users: int = USERS) -> Sequence[Observation]:
    return seen.windows.get(replace(CELL, users=users), ())


def left_s(each: Sample) -> float:
    assert each.stamp is not None
    return int(each.stamp.split()[-1]) / 1e9


def split(samples: Iterable[Sample], workers: int, chooser: random.Random) -> Iterable[Told]:
    """The same samples as `workers` tell them: each has some of the users, and speaks at moments of its own."""
    shares: list[list[Sample]] = [[] for _ in range(workers)]
    for each in samples:
        chooser.choice(shares).append(each)
    for number, share in enumerate(shares):
        users = USERS // workers + (number < USERS % workers)
        yield told(0, users=users, worker=str(number))
        at_s = 0.0
        while at_s < 5:
            next_s = at_s + chooser.uniform(0.05, 0.9)
            heard = [each for each in share if at_s <= left_s(each) < next_s]
            chooser.shuffle(heard)
            yield told(round(next_s * 1e9), heard, users=users, worker=str(number))
            at_s = next_s


def without_generator(seen: Seen) -> Sequence[Observation]:
    return [
        each if each.swarm is None else replace(each, swarm=replace(each.swarm, generator_cpu=0.0))
        for each in windows(seen)
    ]


@settings(deadline=None, max_examples=25)
@given(workers=st.integers(2, 5), seed=st.integers(0, 2**32))
def test_what_several_workers_tell_adds_up_to_exactly_what_one_tells(workers: int, seed: int) -> None:
    samples = [sample(*row) for row in json.loads(RECORDED.read_text())]
    alone = load_test(told(0), told(5 * S, samples)).look(LATER)
    # In the order of the clock, as messages arrive.
    messages = sorted(split(samples, workers, random.Random(seed)), key=lambda each: each.at_ns)
    merged = load_test(*messages).look(LATER)
    assert len(windows(alone)) == 5
    assert without_generator(merged) == without_generator(alone)
    assert merged.pulses == alone.pulses


def test_figures_are_those_of_the_recorded_requests(recorded: list[Sample]) -> None:
    seen = load_test(told(0), told(5 * S, recorded)).look(LATER)
    completed = [each.swarm.completed for each in windows(seen)[:4] if each.swarm]
    assert completed == [sum(second <= left_s(each) < second + 1 for each in recorded) for second in range(4)]
    (result,) = survey(run(), windows(seen)[:4]).cells
    assert result.figures is not None
    # 16 users, 8 slots, and five of them filled: most of the connections went to one of the processes.
    assert result.figures.peak == 5
    assert 4 < result.figures.mean_in_flight.median < 5
    assert result.figures.processes == 2
    assert result.figures.bound_by == "balance"
    assert result.figures.latency_ms["max"] == pytest.approx(max(each.latency_ms for each in recorded), rel=1e-3)


def run() -> Run:
    server = testing.server(CELL.server, slots=8, processes=2, model="threads")
    return testing.run(testing.experiment(CELL), server)


# --- what counts


def test_nothing_counts_before_every_user_has_had_an_answer(recorded: list[Sample]) -> None:
    test = load_test(
        told(S // 4, users=4),
        told(S // 2, users=USERS, answered=0),
        told(2 * S - S // 10, [each for each in recorded if left_s(each) < 1.9], answered=USERS - 1),
        told(2 * S + S // 10, [each for each in recorded if 1.9 <= left_s(each) < 2.1]),
        told(5 * S, [each for each in recorded if left_s(each) >= 2.1]),
    )
    seen = test.look(LATER)
    assert [each.started for each in windows(seen)] == [f"1970-01-01T00:00:0{second}+00:00" for second in (3, 4)]
    # The graph shows all of it.
    assert len(seen.pulses) == 5
    assert seen.pulses[0].throughput_rps > 0


@pytest.mark.parametrize(
    ("messages", "phase"),
    [
        ([], "ramping"),
        ([told(S, users=4)], "ramping"),
        ([told(S, answered=3)], "settling"),
        ([told(S)], "measuring"),
        ([told(S, answered=0, failed=USERS)], "measuring"),
    ],
)
def test_the_phase_says_what_is_waited_for(messages: list[Told], phase: Phase) -> None:
    assert load_test(*messages).look(2 * S).phase == phase


def test_another_number_of_users_is_another_cell(recorded: list[Sample]) -> None:
    test = load_test(told(0), told(2 * S + S // 2, [each for each in recorded if left_s(each) < 2.5]))
    test.want(8, 2 * S + S // 2)
    assert test.look(2 * S + S // 2).phase == "ramping"
    test.hear(told(2 * S + 3 * S // 4, users=12))
    test.hear(told(3 * S - S // 5, users=8))
    test.hear(told(5 * S, [each for each in recorded if left_s(each) >= 2.5], users=8))
    seen = test.look(LATER)
    assert len(windows(seen, 16)) == 2
    assert len(windows(seen, 8)) == 2
    assert windows(seen, 12) == ()
    assert seen.cell.users == 8


def test_nothing_counts_after_the_stop(recorded: list[Sample]) -> None:
    test = load_test(told(0), told(3 * S - S // 5, [each for each in recorded if left_s(each) < 2.8]))
    test.stop(3 * S - S // 10)
    assert test.look(3 * S).phase == "stopping"
    test.hear(told(4 * S, [each for each in recorded if left_s(each) >= 2.8], users=0))
    seen = test.look(LATER)
    assert seen.phase == "stopped"
    assert len(windows(seen)) == 2
    assert seen.cell.users == USERS


def test_a_late_answer_still_counts_for_the_second_that_it_was_served_in() -> None:
    test = load_test(told(0), told(3 * S, [sample(10, 1, 1, 1, S + 1, S + 2)]))
    early = windows(test.look(4 * S))[1].swarm
    test.hear(told(4 * S, [sample(2500, 1, 1, 2, S, 3 * S)]))
    late = windows(test.look(4 * S))[1].swarm
    assert early is not None
    assert late is not None
    assert (early.in_flight.peak, late.in_flight.peak) == (1, 2)
    assert late.in_flight.mean == pytest.approx(1, abs=0.01)
    # It left in another.
    assert (early.completed, late.completed) == (1, 1)


def test_a_failure_counts_once_in_the_second_in_which_it_was_heard_of() -> None:
    wrong = Sample(5.0, "1 1 1 100 2500000000", "WrongAnswer: no", False, 0, 0.0)
    refused = Sample(0.2, None, "ConnectionRefusedError: no", False, 0, 0.0)
    good = [sample(10, 1, 1, 1, second * S + 1, second * S + 2) for second in range(4)]
    seen = load_test(told(0), told(2 * S + 1, [wrong, refused]), told(4 * S, good)).look(LATER)
    failures = [0 if each.swarm is None else each.swarm.failures for each in windows(seen)]
    assert failures == [0, 0, 2, 0, 0]


@pytest.mark.parametrize(
    "odd", ["1 1 1 1", "1 1 1 1 x", f"1 1 1 {10**18} {10**18 + 1}", "1 1 1 0 1, 1 1 2 0 1", "1 1 1 0 " + "9" * 5000]
)
def test_a_stamp_that_is_none_of_this_test_is_a_failure_whatever_moment_it_names(odd: str) -> None:
    """One of a clock far ahead would else stand for more seconds than memory holds."""
    good = [sample(10, 1, 1, 1, second * S + 1, second * S + 2) for second in range(3)]
    test = load_test(told(0), told(3 * S - 1, [*good, Sample(5.0, odd, None, False, 0, 0.0)]))

    third = windows(test.look(LATER))[2].swarm

    assert len(test._windows) <= OPEN + 3
    assert third is not None
    assert (third.completed, third.failures) == (1, 1)
    assert next(iter(third.errors)).startswith("ValueError: ")


def test_a_second_without_an_answer_failed_and_says_why() -> None:
    refused = Sample(0.2, None, "ConnectionRefusedError: refused", False, 0, 0.0)
    seen = load_test(told(0), told(S // 2, [refused]), told(3 * S - 1)).look(3 * S)
    first, second = windows(seen)
    assert (first.status, second.status) == ("failed", "failed")
    assert "ConnectionRefusedError" in first.reason
    assert "none at all" in second.reason


def test_a_second_is_shown_when_every_worker_has_told_of_it() -> None:
    test = load_test(told(0, users=8), told(0, users=8, worker="b"), told(4 * S, users=8))
    assert len(windows(test.look(4 * S))) == 0
    test.hear(told(2 * S + S // 2, users=8, worker="b"))
    assert len(windows(test.look(4 * S))) == 2
    # One that does not come back is not waited for: it was the generator that failed then.
    assert len(windows(test.look(4 * S + SILENCE_NS))) == 3


def test_only_the_last_minute_is_kept_and_nothing_piles_up() -> None:
    test = load_test(told(0))
    for second in range(3 * KEPT):
        test.hear(told((second + 1) * S, [sample(1.0, 1, 1, 1, second * S + 5, second * S + 9)]))
        seen = test.look((second + 1) * S)
    assert len(windows(seen)) == len(seen.pulses) == KEPT
    assert [each.block for each in windows(seen)] == list(range(KEPT))
    assert len(test._windows) <= OPEN + 3


# --- CPU


def test_cpu_between_readings_lies_on_straight_lines() -> None:
    meter = Meter()
    for at_s, cpu_s in ((1, 10.0), (2, 10.5), (4, 12.5)):
        meter.read(at_s * S, cpu_s)
    assert meter.used_s(1 * S, 4 * S) == 2.5
    assert meter.used_s(S + S // 2, 3 * S) == pytest.approx(1.25)


def test_cpu_is_unknown_where_the_readings_do_not_reach() -> None:
    meter = Meter()
    assert meter.used_s(0, S) is None
    meter.read(S, 1.0)
    meter.read(2 * S, 2.0)
    assert meter.used_s(S // 2, 2 * S) is None
    assert meter.used_s(S, 3 * S) is None
    assert meter.used_s(S, 2 * S) == 1.0


def test_a_target_that_was_started_again_counts_from_nothing() -> None:
    meter = Meter()
    for at_s, cpu_s in ((1, 10.0), (2, 11.0), (3, 0.25), (4, 0.75)):
        meter.read(at_s * S, cpu_s)
    assert meter.used_s(2 * S, 3 * S) is None
    assert meter.used_s(3 * S, 4 * S) == 0.5


def test_cpu_of_target_and_generator_are_shares_of_a_core(recorded: list[Sample]) -> None:
    test = load_test(told(0), told(0, worker="b", users=0), told(5 * S, recorded, cpu_s=1.0))
    test.hear(told(5 * S, worker="b", users=0, cpu_s=2.0))
    # Of a clock that began long ago; heard of a while later, once soon and once late.
    test.read_usage(S // 10, Usage(at_s=10_000.0, cpu_s=3.0, resident_bytes=1, os_threads=1))
    test.read_usage(7 * S, Usage(at_s=10_005.0, cpu_s=5.5, resident_bytes=7_000_000, os_threads=9))
    before, first, *_, last = windows(test.look(LATER))
    assert before.server_cpu_s is None, "the first reading lies a tenth of a second within it"
    assert last.server_cpu_s == pytest.approx(0.5), "the last reaches beyond it, as it was heard of late"
    assert first.swarm is not None
    # The busiest worker's.
    assert first.swarm.generator_cpu == pytest.approx(0.4)
    assert first.server_cpu_s == pytest.approx(0.5)
    assert first.server_span_s == 1.0
    assert first.resident_bytes == 7_000_000
    assert first.os_threads == 9
