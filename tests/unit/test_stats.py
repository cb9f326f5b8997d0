"""Medians, intervals and histograms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgilab import stats, testing
from wsgilab.model import Interval

# Student's t for two degrees of freedom, from the tables: two-sided 5 %, and 5 % over five comparisons (1 %).
T_TWO_AT_5 = 4.30265
T_TWO_AT_1 = 9.92484


def test_a_spread_is_the_median_with_the_lowest_and_the_highest_block() -> None:
    assert stats.spread([3.0, 1.0, 2.0, 10.0]) == Interval(median=2.5, low=1.0, high=10.0)


def test_two_blocks_have_a_spread() -> None:
    assert stats.spread([3.0, 1.0]) == Interval(median=2.0, low=1.0, high=3.0)


def test_one_block_has_no_spread() -> None:
    assert stats.spread([3.0]) == Interval(median=3.0, low=None, high=None)


@pytest.mark.parametrize(("comparisons", "student"), [(1, T_TWO_AT_5), (5, T_TWO_AT_1)])
def test_the_interval_of_a_ratio_is_students_for_its_logarithms(comparisons: int, student: float) -> None:
    # The logarithms of 1, 2 and 4 to the base 2 are 0, 1 and 2: mean 1, standard deviation 1.
    interval = stats.ratio([4.0, 1.0, 2.0], comparisons)

    reach = student / math.sqrt(3)
    assert interval.median == 2.0
    assert interval.low == pytest.approx(2 ** (1 - reach), rel=1e-5)
    assert interval.high == pytest.approx(2 ** (1 + reach), rel=1e-5)


def test_the_reversed_ratio_has_the_reversed_interval() -> None:
    ahead, behind = stats.ratio([1.2, 1.3, 1.5], 3), stats.ratio([1 / 1.2, 1 / 1.3, 1 / 1.5], 3)

    assert ahead.low is not None
    assert behind.high == pytest.approx(1 / ahead.low)


@pytest.mark.parametrize("ratios", [[5.0], [5.0, 5.1]])
def test_too_few_blocks_have_a_median_but_no_interval(ratios: list[float]) -> None:
    interval = stats.ratio(ratios, 1)

    assert interval.median == pytest.approx(sum(ratios) / len(ratios))
    assert (interval.low, interval.high) == (None, None)
    assert stats.verdict(interval) == "undecided"


def test_three_blocks_are_enough_for_a_verdict() -> None:
    assert stats.verdict(stats.ratio([5.0, 5.1, 5.2], 1)) == "faster"


@given(st.lists(st.floats(0.5, 2), min_size=3, max_size=10), st.integers(1, 50))
def test_more_comparisons_never_narrow_an_interval(ratios: list[float], comparisons: int) -> None:
    one, many = stats.ratio(ratios, comparisons), stats.ratio(ratios, comparisons + 1)

    assert one.low is not None
    assert one.high is not None
    assert many.low is not None
    assert many.high is not None
    assert many.low <= one.low <= one.high <= many.high


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.01, 1.5, "faster"),
        (0.5, 0.99, "slower"),
        (0.9, 1.1, "undecided"),
        (1.0, 1.5, "undecided"),
        (0.5, 1.0, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(low: float | None, high: float | None, verdict: str) -> None:
    assert stats.verdict(Interval(median=1.2, low=low, high=high)) == verdict


def test_merged_histograms_are_the_histogram_of_all_their_latencies() -> None:
    parts = [testing.histogram(*range(1, 51)), testing.histogram(*range(51, 91)), testing.histogram(*range(91, 101))]

    figures = stats.merged_latency_ms(parts)

    assert figures == stats.merged_latency_ms([testing.histogram(*range(1, 101))])
    assert figures == pytest.approx({"p50": 50, "p95": 95, "p99": 99, "max": 100}, rel=5e-4)


def test_a_latency_keeps_three_digits_whatever_its_size() -> None:
    assert stats.merged_latency_ms([testing.histogram(0.123)])["p50"] == pytest.approx(0.123)
    assert stats.merged_latency_ms([testing.histogram(123_456.0)])["p50"] == pytest.approx(123_456, rel=1e-3)


def test_an_interval_holds_its_median_however_the_ratios_scatter() -> None:
    interval = stats.ratio([1.0] * 11 + [2.0] * 9, 1)
    assert interval.median == 1.0
    assert interval.low is not None
    assert interval.low <= interval.median
    assert stats.verdict(interval) == "undecided"
