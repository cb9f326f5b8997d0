"""When requests are due at a fixed rate."""

import random
from collections.abc import Sequence
from heapq import merge
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrivals import CONSTANT, POISSON, schedule

SECOND = 10**9
BEGINS = st.integers(0, 10**15)
RATES = st.integers(1, 10_000)
PARTS = st.integers(1, 8)


def first(count: int, kind: str, rate: float, begin_ns: int, **more: int) -> Sequence[int]:
    return list(islice(schedule(kind, rate, begin_ns, **more), count))


# Evenly spaced.


@given(RATES, BEGINS)
def test_an_even_schedule_has_a_request_every_so_often(rate: int, begin_ns: int) -> None:
    gaps = [later - earlier for earlier, later in pairwise(first(50, CONSTANT, rate, begin_ns))]

    assert all(abs(gap - SECOND / rate) <= 2 for gap in gaps), "each moment is rounded to a nanosecond"


@given(RATES, BEGINS)
def test_an_even_schedule_begins_at_the_first_moment_of_its_grid(rate: int, begin_ns: int) -> None:
    (due_ns,) = first(1, CONSTANT, rate, begin_ns)

    assert begin_ns <= due_ns <= begin_ns + SECOND / rate + 1


@pytest.mark.parametrize(
    ("begin_ns", "due_ns"), [(0, 0), (1, 2_500_000), (2_500_000, 2_500_000), (2_500_001, 5_000_000)]
)
def test_the_grid_stands_on_the_clocks_own_beginning(begin_ns: int, due_ns: int) -> None:
    assert first(2, CONSTANT, 400, begin_ns) == [due_ns, due_ns + 2_500_000]


def test_a_rate_may_be_less_than_one_a_second() -> None:
    assert first(3, CONSTANT, 0.25, 1) == [4 * SECOND, 8 * SECOND, 12 * SECOND]


@given(RATES, BEGINS, PARTS)
def test_the_parts_of_an_even_schedule_make_one_stream(rate: int, begin_ns: int, parts: int) -> None:
    streams = [schedule(CONSTANT, rate, begin_ns, part=part, parts=parts) for part in range(parts)]

    assert list(islice(merge(*streams), 100)) == first(100, CONSTANT, rate, begin_ns)


@given(RATES, BEGINS, PARTS, st.randoms())
def test_parts_that_begin_at_different_moments_make_one_stream_from_the_last_of_them_on(
    rate: int, begin_ns: int, parts: int, source: random.Random
) -> None:
    begins = [begin_ns + source.randrange(SECOND) for _ in range(parts)]
    streams = [schedule(CONSTANT, rate, begins[part], part=part, parts=parts) for part in range(parts)]
    latest = max(begins)

    together = (due_ns for due_ns in merge(*streams) if due_ns >= latest)

    assert list(islice(together, 50)) == first(50, CONSTANT, rate, latest)


@given(RATES, BEGINS, PARTS)
def test_a_part_takes_every_so_manyth_request(rate: int, begin_ns: int, parts: int) -> None:
    for part in range(parts):
        gaps = [
            later - earlier for earlier, later in pairwise(first(20, CONSTANT, rate, begin_ns, part=part, parts=parts))
        ]
        assert all(abs(gap - parts * SECOND / rate) <= 2 for gap in gaps)


# Poisson.


@given(RATES, BEGINS, st.integers(0, 2**32), PARTS)
def test_random_arrivals_begin_after_their_beginning_and_go_on(rate: int, begin_ns: int, seed: int, parts: int) -> None:
    due = first(50, POISSON, rate, begin_ns, seed=seed, part=parts - 1, parts=parts)

    assert due[0] >= begin_ns
    assert list(due) == sorted(due)


@given(RATES, BEGINS, st.integers(0, 2**32))
def test_random_arrivals_are_the_same_for_the_same_seed_wherever_they_begin(
    rate: int, begin_ns: int, seed: int
) -> None:
    found = first(20, POISSON, rate, begin_ns, seed=seed)

    assert found == first(20, POISSON, rate, begin_ns, seed=seed)
    assert [due_ns - begin_ns for due_ns in found] == first(20, POISSON, rate, 0, seed=seed)


def test_every_seed_and_every_part_has_random_arrivals_of_its_own() -> None:
    streams = {
        tuple(first(5, POISSON, 100, 0, seed=seed, part=part, parts=3)) for seed in range(20) for part in range(3)
    }

    assert len(streams) == 60


@pytest.mark.parametrize("parts", [1, 4])
def test_random_arrivals_of_all_parts_together_have_the_rate_and_the_scatter_of_a_poisson_stream(parts: int) -> None:
    rate, seconds = 200, 50
    streams = [schedule(POISSON, rate, 0, seed=1, part=part, parts=parts) for part in range(parts)]
    due = list(takewhile(lambda due_ns: due_ns < seconds * SECOND, merge(*streams)))
    gaps = [(later - earlier) / SECOND for earlier, later in pairwise(due)]

    # Ten thousand of them: a standard deviation is 1 % of the mean, and about 2 % of the variance.
    assert len(due) == pytest.approx(rate * seconds, rel=0.03)
    mean = sum(gaps) / len(gaps)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.08)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.3679, rel=0.05), "1 / e of them"
