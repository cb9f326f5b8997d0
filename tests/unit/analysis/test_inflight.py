"""Requests in flight, the rate at which they leave, and who was in the application when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgilab.analysis import inflight
from wsgilab.model import InFlight, RequestSpan, Stamp

INTERVALS = st.lists(st.tuples(st.integers(-20, 60), st.integers(0, 40)).map(lambda each: (each[0], sum(each))))
WINDOWS = st.tuples(st.integers(0, 20), st.integers(1, 30)).map(lambda each: (each[0], sum(each)))
SECOND = 1_000_000_000


def stamp(entered_ns: int, left_ns: int, *, process: int = 1, thread: int = 1) -> Stamp:
    return Stamp(process=process, thread=thread, greenlet_id=thread, entered_ns=entered_ns, left_ns=left_ns)


def test_what_left_later_is_told_by_its_stamp() -> None:
    found = inflight.parse_late("1 2 3 40 50 60\n1 2 3 70 80 80\n1 2 3 40 50 55\n")

    def of(entered_ns: int, left_ns: int) -> Stamp:
        return Stamp(process=1, thread=2, greenlet_id=3, entered_ns=entered_ns, left_ns=left_ns)

    assert found == {of(40, 50): 60, of(70, 80): 80}, "of two moments of one request the last"
    assert inflight.parse_late("") == {}


@pytest.mark.parametrize("line", ["", "60", "1 2 3 40 50", "1 2 3 40 50 49", "1 2 3 40 50 -1", f"1 2 3 4 5 {'9' * 21}"])
def test_what_tells_no_stamp_and_later_moment_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"is no stamp|names no moment|names an earlier moment"):
        inflight.parse_late(f"1 2 3 40 50 60\n{line}\n")


@given(INTERVALS, WINDOWS)
def test_the_sweep_agrees_with_counting_at_every_moment(
    intervals: list[tuple[int, int]], window: tuple[int, int]
) -> None:
    counts = [sum(entered <= moment < left for entered, left in intervals) for moment in range(*window)]

    peak, mean = inflight.sweep(intervals, *window)

    assert peak == max(counts)
    assert mean == pytest.approx(sum(counts) / len(counts))


@given(INTERVALS, WINDOWS)
def test_the_mean_is_never_above_the_peak_nor_the_peak_above_the_number_of_intervals(
    intervals: list[tuple[int, int]], window: tuple[int, int]
) -> None:
    peak, mean = inflight.sweep(intervals, *window)

    assert 0 <= mean <= peak <= len(intervals)
    assert (mean > 0) == (peak > 0)


@given(INTERVALS, WINDOWS)
def test_the_order_of_the_intervals_does_not_matter(intervals: list[tuple[int, int]], window: tuple[int, int]) -> None:
    assert inflight.sweep(intervals[::-1], *window) == inflight.sweep(intervals, *window)


def test_one_that_leaves_as_another_enters_is_not_in_flight_with_it() -> None:
    assert inflight.sweep([(0, 5), (5, 10)], 0, 10) == (1, 1.0)


def test_an_interval_that_spans_the_window_counts_for_all_of_it() -> None:
    assert inflight.sweep([(-100, 100)], 0, 10) == (1, 1.0)


@pytest.mark.parametrize("end_ns", [5, 4])
def test_an_empty_window_has_neither_peak_nor_rate(end_ns: int) -> None:
    with pytest.raises(ValueError, match="the window is empty"):
        inflight.sweep([], 5, end_ns)
    with pytest.raises(ValueError, match="the window is empty"):
        inflight.rate([], 5, end_ns)


@given(events=st.integers(1, 400), gap_ns=st.integers(1, 10**7), begin_ns=st.integers(0, 10**12))
def test_evenly_dense_events_have_their_plain_rate(events: int, gap_ns: int, begin_ns: int) -> None:
    window_ns = 2 * gap_ns * events
    moments = [begin_ns + gap_ns * (2 * number + 1) for number in range(events)]

    found = inflight.rate(moments, begin_ns, begin_ns + window_ns)

    # The midpoint rule overestimates the parabola's area by 1 / 2 n^2, and by no more.
    assert found == pytest.approx(events / (window_ns / SECOND) * (1 + 1 / (2 * events**2)))


@given(period_ns=st.integers(1000, 10_000), phase=st.floats(0, 1, exclude_max=True), burst=st.integers(1, 16))
def test_events_in_bursts_miss_their_rate_by_the_square_of_period_over_window_at_most(
    period_ns: int, phase: float, burst: int
) -> None:
    window_ns = 30_000
    moments = [int(phase * period_ns) + period_ns * number for number in range(-1, 32) for _ in range(burst)]
    truth = burst / period_ns * SECOND

    error = abs(inflight.rate(moments, 0, window_ns) / truth - 1)

    # Euler-Maclaurin: (T / W)^2 and a small cubic term; a nanosecond's rounding besides.
    assert error <= 1.2 * (period_ns / window_ns) ** 2 + 1e-3


@pytest.mark.parametrize("periods", [4.5, 6.5, 9.5])
def test_the_bias_of_bursts_is_far_below_that_of_a_plain_count(periods: float) -> None:
    period_ns, burst = 1000, 8
    window_ns = int(periods * period_ns)
    truth = burst / period_ns
    worst_rate = worst_count = 0.0
    for phase in range(0, period_ns, 20):
        moments = [at for at in range(phase, window_ns, period_ns) for _ in range(burst)]
        worst_rate = max(worst_rate, abs(inflight.rate(moments, 0, window_ns) / SECOND - truth) / truth)
        worst_count = max(worst_count, abs(len(moments) / window_ns - truth) / truth)

    assert worst_rate < worst_count / 4


@given(st.lists(st.integers(-50, 150)))
def test_a_rate_is_never_negative_and_its_events_outside_the_window_count_for_nothing(moments: list[int]) -> None:
    found = inflight.rate(moments, 0, 100)

    assert found >= 0
    assert found == inflight.rate([at for at in moments if 0 <= at < 100], 0, 100)


def test_a_stamp_is_parsed_in_the_order_of_its_header() -> None:
    assert inflight.parse_stamp("10 20 30 40 50") == Stamp(
        process=10, thread=20, greenlet_id=30, entered_ns=40, left_ns=50
    )


def test_a_request_may_leave_in_the_nanosecond_in_which_it_entered() -> None:
    assert inflight.parse_stamp("1 2 3 40 40").left_ns == 40


@pytest.mark.parametrize("header", ["", "1 2 3 4", "1 2 3 4 5 6", "1 2 3 4 x", "1  2 3 4"])
def test_a_header_that_is_no_stamp_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="is no stamp"):
        inflight.parse_stamp(header)


def test_a_stamp_that_left_before_it_entered_is_refused() -> None:
    with pytest.raises(ValueError, match="'1 2 3 50 40': left before it was entered"):
        inflight.parse_stamp("1 2 3 50 40")


def test_a_measurement_counts_processes_and_threads_by_the_requests_that_left_in_the_window() -> None:
    stamps = [
        stamp(0, 20, process=1, thread=1),
        stamp(10, 30, process=2, thread=2),
        stamp(20, 40, process=2, thread=3),
        stamp(-50, 5, process=3, thread=4),  # left before
        stamp(90, 130, process=4, thread=5),  # leaves after, but is in flight
    ]

    assert inflight.measure(stamps, 10, 110) == InFlight(
        peak=2, mean=(10 + 20 + 20 + 20) / 100, threads=3, requests_per_process=(2, 1)
    )


def test_threads_of_the_same_number_in_two_processes_are_two() -> None:
    stamps = [stamp(0, 5, process=1, thread=7), stamp(5, 9, process=2, thread=7)]

    assert inflight.measure(stamps, 0, 10).threads == 2


def test_a_request_that_leaves_at_the_windows_begin_is_of_the_window_but_not_at_its_end() -> None:
    assert inflight.measure([stamp(-5, 0)], 0, 10).requests_per_process == (1,)
    assert inflight.measure([stamp(0, 10)], 0, 10).requests_per_process == ()


# Who was in the application when.

MS = 1_000_000
EVERYTHING = 10**6


def served(process: int, thread: int, lane: int, entered_ms: float, left_ms: float) -> Stamp:
    return Stamp(
        process=process, thread=thread, greenlet_id=lane, entered_ns=round(entered_ms * MS), left_ns=round(left_ms * MS)
    )


def stays(*stamps: Stamp, begin_ms: int = 0, end_ms: int = 100, most: int = EVERYTHING) -> tuple[RequestSpan, ...]:
    found = inflight.timeline(stamps, begin_ms * MS, end_ms * MS, most=most, longest_ns=100 * MS)
    return () if found is None else found.stays


def test_processes_threads_and_lanes_are_numbered_as_they_appear() -> None:
    found = stays(
        served(71, 900, 5, 10, 20),
        served(70, 900, 5, 0, 30),
        served(70, 901, 6, 5, 15),
        served(70, 900, 7, 12, 18),
    )

    assert found == (
        RequestSpan(process=0, thread=0, greenlet_id=0, entered_us=0, left_us=30_000),
        RequestSpan(process=0, thread=1, greenlet_id=0, entered_us=5_000, left_us=15_000),
        RequestSpan(process=1, thread=0, greenlet_id=0, entered_us=10_000, left_us=20_000),
        RequestSpan(process=0, thread=0, greenlet_id=1, entered_us=12_000, left_us=18_000),
    )


def test_what_was_inside_for_a_part_of_the_window_is_there_and_nothing_else() -> None:
    found = stays(
        served(1, 1, 1, 0, 50),
        served(1, 2, 1, 0, 51),
        served(1, 3, 1, 149, 400),
        served(1, 4, 1, 150, 151),
        begin_ms=50,
        end_ms=150,
    )

    assert [(each.entered_us, each.left_us) for each in found] == [(-50_000, 1_000), (99_000, 350_000)]


def test_no_more_than_so_many_departures_are_kept_and_the_span_says_from_when() -> None:
    stamps = [served(1, 1, 1, at, at + 1) for at in range(100)]

    found = inflight.timeline(stamps, 0, 100 * MS, most=10, longest_ns=100 * MS)

    assert found is not None
    # The last leaves at the window's end, which is not of the window; ten more left after the begin.
    assert found.span_us == 11_000
    assert [each.left_us for each in found.stays] == [1000 * number for number in range(1, 12)]


def test_it_is_no_longer_than_it_may_be() -> None:
    found = inflight.timeline([served(1, 1, 1, 0, 99)], 0, 100 * MS, most=10, longest_ns=40 * MS)

    assert found is not None
    assert found.span_us == 40_000
    assert found.stays == (RequestSpan(process=0, thread=0, greenlet_id=0, entered_us=-60_000, left_us=39_000),)


def test_where_nobody_was_inside_there_is_none() -> None:
    assert inflight.timeline([served(1, 1, 1, 0, 10)], 10 * MS, 20 * MS, most=10, longest_ns=MS) is None


requests = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), min_size=1, max_size=60)


@given(requests=requests, most=st.integers(1, 70))
def test_at_every_moment_of_it_as_many_are_shown_as_were_inside(requests: list[tuple[int, int]], most: int) -> None:
    stamps = [served(1, 1, number, entered, entered + length) for number, (entered, length) in enumerate(requests)]

    found = inflight.timeline(stamps, 50 * MS, 150 * MS, most=most, longest_ns=80 * MS)

    if found is None:
        return
    begin_ns = 150 * MS - found.span_us * 1000
    truth = inflight.sweep(((each.entered_ns, each.left_ns) for each in stamps), begin_ns, 150 * MS)
    shown = inflight.sweep(((each.entered_us, each.left_us) for each in found.stays), 0, found.span_us)
    assert shown == truth
    assert sum(each.left_us < found.span_us for each in found.stays) <= most
