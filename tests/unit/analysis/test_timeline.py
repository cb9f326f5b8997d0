"""Who was in the application when, as it is recorded."""

from hypothesis import given
from hypothesis import strategies as st

from wsgilab.analysis import inflight
from wsgilab.model import RequestSpan, Stamp

MS = 1_000_000
EVERYTHING = 10**6


def stamp(process: int, thread: int, lane: int, entered_ms: float, left_ms: float) -> Stamp:
    return Stamp(
        process=process, thread=thread, lane=lane, entered_ns=round(entered_ms * MS), left_ns=round(left_ms * MS)
    )


def stays(*stamps: Stamp, begin_ms: int = 0, end_ms: int = 100, most: int = EVERYTHING) -> tuple[RequestSpan, ...]:
    found = inflight.timeline(stamps, begin_ms * MS, end_ms * MS, most=most, longest_ns=100 * MS)
    return () if found is None else found.stays


def test_processes_threads_and_lanes_are_numbered_as_they_appear() -> None:
    found = stays(
        stamp(71, 900, 5, 10, 20),
        stamp(70, 900, 5, 0, 30),
        stamp(70, 901, 6, 5, 15),
        stamp(70, 900, 7, 12, 18),
    )

    assert found == (
        RequestSpan(process=0, thread=0, lane=0, entered_us=0, left_us=30_000),
        RequestSpan(process=0, thread=1, lane=0, entered_us=5_000, left_us=15_000),
        RequestSpan(process=1, thread=0, lane=0, entered_us=10_000, left_us=20_000),
        RequestSpan(process=0, thread=0, lane=1, entered_us=12_000, left_us=18_000),
    )


def test_what_was_inside_for_a_part_of_the_window_is_there_and_nothing_else() -> None:
    found = stays(
        stamp(1, 1, 1, 0, 50),
        stamp(1, 2, 1, 0, 51),
        stamp(1, 3, 1, 149, 400),
        stamp(1, 4, 1, 150, 151),
        begin_ms=50,
        end_ms=150,
    )

    assert [(each.entered_us, each.left_us) for each in found] == [(-50_000, 1_000), (99_000, 350_000)]


def test_no_more_than_so_many_departures_are_kept_and_the_span_says_from_when() -> None:
    stamps = [stamp(1, 1, 1, at, at + 1) for at in range(100)]

    found = inflight.timeline(stamps, 0, 100 * MS, most=10, longest_ns=100 * MS)

    assert found is not None
    # The last leaves at the window's end, which is not of the window; ten more left after the begin.
    assert found.span_us == 11_000
    assert [each.left_us for each in found.stays] == [1000 * number for number in range(1, 12)]


def test_it_is_no_longer_than_it_may_be() -> None:
    found = inflight.timeline([stamp(1, 1, 1, 0, 99)], 0, 100 * MS, most=10, longest_ns=40 * MS)

    assert found is not None
    assert found.span_us == 40_000
    assert found.stays == (RequestSpan(process=0, thread=0, lane=0, entered_us=-60_000, left_us=39_000),)


def test_where_nobody_was_inside_there_is_none() -> None:
    assert inflight.timeline([stamp(1, 1, 1, 0, 10)], 10 * MS, 20 * MS, most=10, longest_ns=MS) is None


requests = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), min_size=1, max_size=60)


@given(requests=requests, most=st.integers(1, 70))
def test_at_every_moment_of_it_as_many_are_shown_as_were_inside(requests: list[tuple[int, int]], most: int) -> None:
    stamps = [stamp(1, 1, number, entered, entered + length) for number, (entered, length) in enumerate(requests)]

    found = inflight.timeline(stamps, 50 * MS, 150 * MS, most=most, longest_ns=80 * MS)

    if found is None:
        return
    begin_ns = 150 * MS - found.span_us * 1000
    truth = inflight.sweep(((each.entered_ns, each.left_ns) for each in stamps), begin_ns, 150 * MS)
    shown = inflight.sweep(((each.entered_us, each.left_us) for each in found.stays), 0, found.span_us)
    assert shown == truth
    assert sum(each.left_us < found.span_us for each in found.stays) <= most
