"""Medians, intervals, verdicts and histograms."""

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgilab import testing
from wsgilab.analysis import paired_ratio, stats
from wsgilab.model import Interval

VALUES = st.lists(st.floats(0.1, 10), min_size=1, max_size=30)
RATIOS = st.lists(st.floats(0.5, 2), min_size=stats.FEWEST_BLOCKS, max_size=20)
LEVELS = st.floats(1e-6, 0.5)
REACHES = st.floats(0, 1)


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


def outside(blocks: int, rank: int) -> Fraction:
    """The chance that a fair coin shows fewer than `rank` heads, or fewer than `rank` tails, in so many tosses."""
    return Fraction(2 * sum(math.comb(blocks, heads) for heads in range(rank)), 2**blocks)


# Intervals of single figures.


@pytest.mark.parametrize("level", [0.5, 0.2, 0.05, 0.05 / 12])
@pytest.mark.parametrize("blocks", range(2, 13))
def test_an_interval_holds_the_true_median_as_often_as_its_confidence_says(blocks: int, level: float) -> None:
    """Tried on every way in which so many blocks can lie on the two sides of a true median of 0."""
    held = 0
    for signs in itertools.product((-1, 1), repeat=blocks):
        low, high = ends(stats.median_interval([sign * (at + 1) for at, sign in enumerate(signs)], level))
        held += low <= 0 <= high

    assert stats.confidence(blocks, level) == pytest.approx(held / 2**blocks, abs=1e-12)


ROUNDING = 1e-12
"""Of a level as a float."""


@given(st.integers(2, 120), LEVELS)
def test_an_interval_is_the_narrowest_that_its_level_allows(blocks: int, level: float) -> None:
    low, high = ends(stats.median_interval(range(1, blocks + 1), level))
    rank = int(low)

    assert high == blocks + 1 - rank
    assert outside(blocks, rank + 1) > level, "one further in would be wrong too often"
    if blocks >= stats.blocks_needed(level):
        assert outside(blocks, rank) <= level * (1 + ROUNDING)
    else:
        assert rank == 1


@given(VALUES, LEVELS)
def test_the_ends_are_blocks_of_the_sample_and_hold_its_median(values: list[float], level: float) -> None:
    interval = stats.median_interval(values, level)

    assert interval.median == statistics.median(values)
    if len(values) == 1:
        assert (interval.low, interval.high) == (None, None)
        return
    low, high = ends(interval)
    assert {low, high} <= set(values)
    assert low <= interval.median <= high


@given(VALUES.filter(lambda values: len(values) > 1), LEVELS, st.randoms())
def test_an_interval_is_symmetrical_and_knows_no_order(
    values: list[float], level: float, source: random.Random
) -> None:
    low, high = ends(stats.median_interval(values, level))
    shuffled = [-value for value in values]
    source.shuffle(shuffled)

    assert ends(stats.median_interval(shuffled, level)) == (-high, -low)


@given(LEVELS)
def test_the_blocks_needed_are_the_fewest_whose_range_is_right_often_enough(level: float) -> None:
    needed = stats.blocks_needed(level)

    assert outside(needed, 1) <= level * (1 + 1e-12)
    assert outside(needed - 1, 1) > level * (1 - 1e-12)
    assert [stats.blocks_needed(each) for each in (0.5, 0.05, 0.05 / 12, 0.0625, 0.06)] == [2, 6, 9, 5, 6]


@pytest.mark.parametrize(
    ("blocks", "chance"),
    [(0, 0.0), (1, 0.0), (2, 0.5), (3, 0.75), (4, 0.875), (5, 0.9375), (6, 0.96875), (9, 1 - 20 / 512)],
)
def test_the_confidence_of_few_blocks_is_what_their_range_can_tell(blocks: int, chance: float) -> None:
    assert stats.confidence(blocks) == chance


# How far blocks stray.


@pytest.mark.parametrize(
    ("logs", "found"),
    [
        ([], []),
        ([3.0], []),
        ([3.0, 5.0], [2.0, 2.0]),
        # The others' medians: 2, 1, 1 and 1.
        ([0.0, 1.0, 2.0, 10.0], [2.0, 1.0, 1.0, 9.0]),
    ],
)
def test_a_departure_is_the_distance_from_the_median_of_the_other_blocks(logs: list[float], found: list[float]) -> None:
    assert stats.departures(logs) == found


@given(st.lists(st.integers(-100, 100), min_size=2), st.integers(-100, 100))
def test_departures_are_the_same_wherever_the_blocks_lie(logs: list[int], by: int) -> None:
    assert stats.departures([each + by for each in logs]) == stats.departures(logs)
    assert all(each >= 0 for each in stats.departures(logs))


@given(st.lists(st.floats(0, 5), min_size=1, max_size=100))
def test_all_but_one_in_twenty_stay_within_the_reach(departures: list[float]) -> None:
    reach = stats.reach(departures)

    assert reach in departures
    assert sum(each > reach for each in departures) * 20 <= len(departures)
    assert sum(each >= reach for each in departures) * 20 >= len(departures)


@pytest.mark.parametrize(("count", "reach"), [(0, 0), (1, 0), (19, 18), (20, 19), (21, 19), (40, 38), (100, 95)])
def test_the_reach_of_so_many_departures(count: int, reach: int) -> None:
    assert stats.reach(random.Random(count).sample(range(count), count)) == reach


# Ratios.

ALONE = paired_ratio.Scatter(typical=0.0, largest=0.0, comparisons=1)
"""Of a workload without other comparisons."""

SCATTERS = st.builds(
    paired_ratio.Scatter, typical=st.floats(0, 1), largest=st.floats(0, 1), comparisons=st.integers(0, 10)
)

WAVE = [math.exp(each) for each in (0.1, -0.1, 0.1, -0.1)]
"""Four blocks whose logarithms have the mean 0 and the variance 0.04 / 3."""


def reach(interval: Interval) -> float:
    """How far it goes, in logarithms, to either side alike."""
    low, high = ends(interval)
    assert math.log(high) == pytest.approx(-math.log(low))
    return math.log(high)


@pytest.mark.parametrize(
    ("freedom", "level", "quantile"),
    [(1, 0.05, 12.706205), (2, 0.05, 4.302653), (6, 0.05, 2.446912), (30, 0.05, 2.042272), (7, 0.001, 5.407883)],
)
def test_students_quantile_is_that_of_the_tables(freedom: int, level: float, quantile: float) -> None:
    """Abramowitz and Stegun 1964, table 26.10, with more digits."""
    assert paired_ratio.student(freedom, level) == pytest.approx(quantile, abs=1e-6)


@pytest.mark.parametrize(
    ("freedom", "median"),
    [(1, 0.454936), (2, 1.386294), (3, 2.365974), (4, 3.356694), (5, 4.351460), (10, 9.341818), (31, 30.335942)],
)
def test_the_median_of_chi_square_is_that_of_the_tables(freedom: int, median: float) -> None:
    """Abramowitz and Stegun 1964, table 26.8, with more digits."""
    assert paired_ratio.chi_square_median(freedom) == pytest.approx(median, abs=1e-6)


@pytest.mark.parametrize("ratios", [[5.0], [5.0, 5.1]])
def test_too_few_blocks_have_a_median_but_no_interval(ratios: list[float]) -> None:
    interval = paired_ratio.interval(ratios, 0.05, ALONE)

    assert interval == Interval(median=statistics.median(ratios), low=None, high=None)
    assert stats.verdict(interval) == "undecided"
    assert paired_ratio.scatter([ratios, ratios]) == paired_ratio.Scatter(typical=0.0, largest=0.0, comparisons=0)


def test_a_comparison_by_itself_has_students_interval() -> None:
    """3.182446 standard errors, for three degrees of freedom."""
    alone = paired_ratio.interval(WAVE, 0.05, paired_ratio.scatter([WAVE]))

    assert reach(alone) == pytest.approx(3.182446 * math.sqrt(0.04 / 3 / 4))
    assert alone.median == pytest.approx(statistics.median(WAVE))


@pytest.mark.parametrize(("comparisons", "quantile"), [(2, 2.776445), (4, 2.446912), (5, 2.364624), (9, 2.364624)])
def test_other_comparisons_lend_their_scatter_by_their_number(comparisons: int, quantile: float) -> None:
    """They count for 1 to 4 degrees of freedom beside the three of four blocks."""
    lent = min(4, comparisons - 1)
    rough = paired_ratio.Scatter(typical=0.1, largest=0.2, comparisons=comparisons)

    moderated = (lent * 0.1 + 3 * 0.04 / 3) / (lent + 3)
    assert reach(paired_ratio.interval(WAVE, 0.05, rough)) == pytest.approx(quantile * math.sqrt(moderated / 4))


def test_its_scatter_is_never_taken_to_be_less_than_its_own() -> None:
    calm = paired_ratio.Scatter(typical=0.0, largest=0.04 / 3, comparisons=9)

    assert reach(paired_ratio.interval(WAVE, 0.05, calm)) == pytest.approx(2.364624 * math.sqrt(0.04 / 3 / 4))


def test_three_blocks_have_the_largest_scatter_of_their_workload() -> None:
    three = [math.exp(each) for each in (0.01, 0.0, -0.01)]
    rough = paired_ratio.scatter([three, WAVE])
    found = paired_ratio.interval(three, 0.05, rough)

    assert rough.comparisons == 2
    assert rough.largest == pytest.approx(0.04 / 3)
    assert reach(found) == pytest.approx(3.182446 * math.sqrt(0.04 / 3 / 3))
    assert reach(
        paired_ratio.interval(three, 0.05, paired_ratio.Scatter(typical=0.0, largest=0.0, comparisons=2))
    ) == pytest.approx(3.182446 * math.sqrt(0.0001 / 3)), "or its own, where that is larger"


def test_the_typical_scatter_is_the_median_of_the_comparisons_each_for_its_number_of_blocks() -> None:
    calm, wild = [[math.exp(times * math.log(each)) for each in WAVE] for times in (0.1, 10)]
    longer = [*WAVE, *WAVE[:2]]
    of_four, of_six = 0.04 / 3 * 3 / paired_ratio.chi_square_median(3), 0.06 / 5 * 5 / paired_ratio.chi_square_median(5)

    assert paired_ratio.scatter([calm, WAVE, wild, [1.0, 9.0]]).typical == pytest.approx(of_four)
    assert paired_ratio.scatter([calm, calm, longer, WAVE, wild, wild]).typical == pytest.approx((of_four + of_six) / 2)


def test_blocks_that_are_worlds_apart_have_an_interval_of_numbers() -> None:
    low, high = ends(paired_ratio.interval([1e-6, 1.0, 1e6], 1e-6, ALONE))

    assert 0 < low < 1e-40
    assert 1e40 < high < math.inf


def test_from_eight_blocks_on_the_furthest_fifth_counts_for_no_more_than_the_next() -> None:
    """Yuen's by hand: of ten, two at either end stand where the third does; a variance of 10 x 1.7 / (6 x 5)."""
    logs = [-99.0, -50.0, -0.5, -0.3, -0.1, 0.1, 0.3, 0.5, 7.0, 88.0]
    squares = 2 * (3 * 0.5**2 + 0.3**2 + 0.1**2)
    error = math.sqrt(10 * squares / (6 * 5) / 10)

    found = paired_ratio.interval([math.exp(each) for each in logs], 0.05, ALONE)

    assert reach(found) == pytest.approx(2.570582 * error)
    seven = paired_ratio.interval([math.exp(each) for each in logs[2:9]], 0.05, ALONE)
    assert ends(seven)[1] > math.exp(2), "of seven none is left out"


@pytest.mark.parametrize("level", [0.05, 0.05 / 78])
def test_from_many_blocks_on_the_interval_is_from_ranks_however_others_scatter(level: float) -> None:
    ratios = [1 + number / 100 for number in range(paired_ratio.MANY_BLOCKS)]
    rough = paired_ratio.Scatter(typical=9.0, largest=9.0, comparisons=9)

    assert paired_ratio.interval(ratios, level, rough) == stats.median_interval(ratios, level)
    assert paired_ratio.interval(ratios[1:], level, rough) != stats.median_interval(ratios[1:], level)
    assert paired_ratio.interval(ratios, 1e-20, rough) != stats.median_interval(ratios, 1e-20), (
        "too few for ranks at this level"
    )


# Ratios of two samples whose blocks are not paired.

SAMPLES = st.lists(st.floats(0.5, 2), min_size=stats.FEWEST_BLOCKS, max_size=12)


def pairwise(figures: Sequence[float], others: Sequence[float]) -> list[float]:
    return sorted(figure / other for figure in figures for other in others)


def end_at(blocks: int, other_blocks: int, level: float) -> int:
    """Which of the ordered pairwise ratios, counted from 1 and from either end, the interval's ends are."""
    source = random.Random(f"{blocks}/{other_blocks}")
    figures, others = ([source.uniform(1, 2) for _ in range(count)] for count in (blocks, other_blocks))
    low, high = ends(stats.unpaired_ratio(figures, others, level, 0.0))
    ratios = pairwise(figures, others)
    assert len(set(ratios)) == blocks * other_blocks, "every ratio has one place"
    assert ratios[::-1].index(high) == ratios.index(low)
    return ratios.index(low) + 1


@pytest.mark.parametrize("level", [0.5, 0.2, 0.05])
@pytest.mark.parametrize(("blocks", "other_blocks"), [(4, 4), (4, 6), (6, 4), (5, 5), (7, 5)])
def test_an_interval_of_unpaired_samples_holds_1_as_often_as_it_should(
    blocks: int, other_blocks: int, level: float
) -> None:
    """Tried on every order in which the blocks of two samples of one distribution can lie."""
    values = [math.exp(value) for value in range(blocks + other_blocks)]
    orders = list(itertools.combinations(values, blocks))
    rank = end_at(blocks, other_blocks, level)
    held, narrower = 0, 0
    for figures in orders:
        others = [value for value in values if value not in figures]
        low, high = ends(stats.unpaired_ratio(figures, others, level, 0.0))
        held += low <= 1 <= high
        ratios = pairwise(figures, others)
        narrower += ratios[rank] <= 1 <= ratios[-rank - 1]

    assert held / len(orders) >= 1 - level
    assert narrower / len(orders) < 1 - level, "one further in would be wrong too often"


@pytest.mark.parametrize(
    ("blocks", "other_blocks", "level", "critical"),
    [
        (5, 5, 0.05, 2),
        (8, 8, 0.05, 13),
        (10, 10, 0.05, 23),
        (10, 10, 0.01, 16),
        (10, 12, 0.05, 29),
        (20, 20, 0.05, 127),
        (20, 20, 0.01, 105),
    ],
)
def test_its_ends_are_next_to_the_tabled_critical_values_of_mann_and_whitney(
    blocks: int, other_blocks: int, level: float, critical: int
) -> None:
    assert end_at(blocks, other_blocks, level) == critical + 1


@pytest.mark.parametrize("level", [0.05, 0.05 / 12, 0.05 / 57, 1e-4])
@pytest.mark.parametrize(("blocks", "other_blocks"), [(30, 30), (24, 60), (90, 70)])
def test_samples_too_large_to_be_counted_have_intervals_that_are_a_little_wider(
    blocks: int, other_blocks: int, level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = end_at(blocks, other_blocks, level)
    stats._rank_of_pairs.cache_clear()
    monkeypatch.setattr(stats, "MOST_COUNTED", 0)
    approximate = end_at(blocks, other_blocks, level)
    stats._rank_of_pairs.cache_clear()

    assert 0.93 * counted < approximate <= counted


def test_the_largest_samples_have_an_interval_too() -> None:
    source = random.Random("large")
    figures, others = ([math.exp(source.gauss(0, 0.05)) for _ in range(500)] for _ in range(2))
    low, high = ends(stats.unpaired_ratio(figures, others, 0.05 / 57, 0.0))

    assert 0.97 < low < 1 < high < 1.03


@given(SAMPLES, LEVELS, REACHES)
def test_a_sample_is_exactly_once_itself(figures: list[float], level: float, reach: float) -> None:
    interval = stats.unpaired_ratio(figures, figures, level, reach)
    low, high = ends(interval)

    assert interval.median == 1.0
    assert low <= 1 <= high
    assert stats.verdict(interval) == "undecided"


@given(SAMPLES, SAMPLES, LEVELS, REACHES, SCATTERS)
def test_turned_round_an_interval_is_that_of_the_other_over_the_one(
    figures: list[float], others: list[float], level: float, reach: float, scatter: paired_ratio.Scatter
) -> None:
    reversed_figures = [1 / figure for figure in figures]
    for there, back in (
        (paired_ratio.interval(figures, level, scatter), paired_ratio.interval(reversed_figures, level, scatter)),
        (stats.unpaired_ratio(figures, others, level, reach), stats.unpaired_ratio(others, figures, level, reach)),
    ):
        low, high = ends(there)
        assert low <= there.median <= high
        assert ends(back) == pytest.approx(ends(stats.turned(there)))
        assert ends(stats.turned(there)) == (1 / high, 1 / low)


@given(SAMPLES, SAMPLES, LEVELS, LEVELS, REACHES, SCATTERS)
def test_a_stricter_level_never_narrows_an_interval(
    figures: list[float], others: list[float], one: float, other: float, reach: float, scatter: paired_ratio.Scatter
) -> None:
    levels = sorted((one, other))
    for strict, lenient in (
        [ends(stats.median_interval(figures, level)) for level in levels],
        [ends(paired_ratio.interval(figures, level, scatter)) for level in levels],
        [ends(stats.unpaired_ratio(figures, others, level, reach)) for level in levels],
    ):
        assert strict[0] <= lenient[0]
        assert lenient[1] <= strict[1]


@given(SAMPLES, SAMPLES, st.floats(0.1, 10))
def test_a_factor_on_one_sample_is_one_on_the_ratio(figures: list[float], others: list[float], factor: float) -> None:
    plain = stats.unpaired_ratio(figures, others, 0.05, 0.0)
    scaled = stats.unpaired_ratio([factor * figure for figure in figures], others, 0.05, 0.0)

    assert scaled.median == pytest.approx(factor * plain.median)
    assert ends(scaled) == pytest.approx(tuple(factor * end for end in ends(plain)))


@pytest.mark.parametrize(("blocks", "other_blocks"), [(3, 20), (20, 3), (1, 1)])
def test_below_four_blocks_in_either_sample_there_is_no_interval(blocks: int, other_blocks: int) -> None:
    assert stats.unpaired_ratio([2.0] * blocks, [1.0] * other_blocks, 0.05, 0.0) == Interval(
        median=2.0, low=None, high=None
    )


def test_too_few_orders_have_the_range_of_all_ratios_widened_by_the_reach() -> None:
    interval = stats.unpaired_ratio([2.0, 3.0, 4.0, 6.0], [1.0, 2.0, 1.0, 2.0], 0.01, math.log(1.5))

    assert not stats.orders_suffice(4, 4, 0.01)
    assert interval.median == 2.5
    assert ends(interval) == pytest.approx((1 / 1.5, 6 * 1.5))


@pytest.mark.parametrize(
    ("blocks", "other_blocks", "level", "suffice"),
    [
        (4, 4, 0.05, True),
        (4, 4, 2 / 70, True),
        (4, 4, 0.028, False),
        (5, 5, 0.008, True),
        (5, 5, 0.0079, False),
        (4, 12, 0.05 / 40, True),
        (1000, 1000, 1e-6, True),
    ],
)
def test_so_many_blocks_have_orders_enough(blocks: int, other_blocks: int, level: float, suffice: bool) -> None:
    assert stats.orders_suffice(blocks, other_blocks, level) is suffice


# Verdicts.

MARGIN = 1 + stats.SAME


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (MARGIN + 1e-6, 1.5, "faster"),
        (MARGIN, 1.5, "undecided"),
        (1.0, 1.5, "undecided"),
        (0.5, 1 / MARGIN - 1e-6, "slower"),
        (0.5, 1 / MARGIN, "undecided"),
        (0.5, 1.0, "undecided"),
        (0.9, 1.1, "undecided"),
        (0.995, 1.005, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side_by_more_than_two_starts_of_one_server_differ(
    low: float | None, high: float | None, verdict: str
) -> None:
    assert stats.verdict(Interval(median=1.2, low=low, high=high)) == verdict


@given(st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)).map(sorted))
def test_the_verdict_of_the_reversed_interval_is_reversed(ends: Sequence[float]) -> None:
    low, high = ends
    verdict = stats.verdict(Interval(median=low, low=low, high=high))
    back = stats.verdict(Interval(median=1 / low, low=1 / high, high=1 / low))

    assert back == stats.OPPOSITE[verdict]


@pytest.mark.parametrize(
    ("low", "high", "within"),
    [
        (1.95, 2.05, True),
        (1.9, 2.1, True),
        (1.89, 2.0, False),
        (2.0, 2.11, False),
        (2.0, 2.0, True),
        (None, None, False),
        (None, 2.0, False),
        (2.0, None, False),
    ],
)
def test_an_interval_is_within_a_precision_where_both_ends_are(
    low: float | None, high: float | None, within: bool
) -> None:
    # A hair more than 5 %, because 2.1 - 2.0 is not 0.1.
    assert stats.is_within(Interval(median=2.0, low=low, high=high), 0.05 + 1e-9) is within
    assert not stats.is_within(Interval(median=1.0, low=low, high=high), 0.05), "it is a share of the median"


# How often identical servers are called different: never more often than promised.


def windows(source: random.Random, count: int, scatter: float) -> list[float]:
    """Throughputs of one and the same server: one window in ten was disturbed, and is half as fast."""
    return [math.exp(source.gauss(0, scatter)) * (0.5 if source.random() < 0.1 else 1.0) for _ in range(count)]


def ratios_to(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


@pytest.mark.parametrize(
    ("blocks", "comparisons"), [(3, 1), (4, 1), (9, 1), (17, 1), (60, 1), (4, 2), (4, 3), (4, 12), (8, 12)]
)
@pytest.mark.parametrize("wild", [1.0, 5.0])
def test_hardly_any_of_identical_servers_is_called_different(blocks: int, comparisons: int, wild: float) -> None:
    """Also where one comparison scatters five times as much. The scatter is so wide that the margin hides no error. Four
    fifths of the error rate are for speed, as in a run."""
    source = random.Random(f"identical/{blocks}/{comparisons}/{wild}")
    runs, wrong = 1000 // comparisons, 0
    for _ in range(runs):
        reference = windows(source, blocks, 0.3)
        pairs = [ratios_to(windows(source, blocks, 0.3), reference) for _ in range(comparisons)]
        pairs[0] = [each**wild for each in pairs[0]]
        scatter = paired_ratio.scatter(pairs)
        found = [paired_ratio.interval(ratios, 0.8 * stats.ERROR_RATE / comparisons, scatter) for ratios in pairs]
        wrong += any(stats.verdict(interval) != "undecided" for interval in found)

    assert wrong <= stats.ERROR_RATE * runs


def test_ten_percent_more_is_seen_in_eight_blocks_among_twelve_comparisons() -> None:
    source = random.Random("power")
    decided = 0
    for _ in range(100):
        reference = [math.exp(source.gauss(0, 0.02)) for _ in range(8)]
        pairs = [ratios_to([math.exp(source.gauss(0, 0.02)) for _ in range(8)], reference) for _ in range(11)]
        pairs.append(ratios_to([1.1 * math.exp(source.gauss(0, 0.02)) for _ in range(8)], reference))
        decided += (
            stats.verdict(paired_ratio.interval(pairs[-1], stats.ERROR_RATE / 12, paired_ratio.scatter(pairs)))
            == "faster"
        )

    assert decided >= 90


@pytest.mark.parametrize(("blocks", "other_blocks"), [(20, 20), (8, 24)])
def test_two_runs_of_identical_servers_are_seldom_called_different(blocks: int, other_blocks: int) -> None:
    source = random.Random(f"unpaired/{blocks}/{other_blocks}")
    runs, wrong, comparisons = 500, 0, 5
    for _ in range(runs):
        intervals = [
            stats.unpaired_ratio(
                windows(source, blocks, 0.3), windows(source, other_blocks, 0.3), stats.ERROR_RATE / comparisons, 0.0
            )
            for _ in range(comparisons)
        ]
        wrong += any(stats.verdict(interval) != "undecided" for interval in intervals)

    assert 0 < wrong <= stats.ERROR_RATE * runs


def test_with_few_blocks_hardly_any_of_twelve_servers_is_called_different_in_two_runs() -> None:
    source = random.Random("unpaired/pooled")
    runs, wrong, comparisons, blocks = 300, 0, 12, stats.FEWEST_BLOCKS
    for _ in range(runs):
        pairs = [(windows(source, blocks, 0.3), windows(source, blocks, 0.3)) for _ in range(comparisons)]
        logs = [[math.log(value) for value in sample] for pair in pairs for sample in pair]
        reach = stats.reach([each for sample in logs for each in stats.departures(sample)])
        intervals = [stats.unpaired_ratio(*pair, stats.ERROR_RATE / comparisons, reach) for pair in pairs]
        wrong += any(stats.verdict(interval) != "undecided" for interval in intervals)

    assert wrong <= stats.ERROR_RATE * runs


def test_ten_percent_less_is_seen_in_twenty_blocks_of_each_run() -> None:
    source = random.Random("unpaired/power")
    decided = 0
    for _ in range(200):
        before, after = ([math.exp(source.gauss(0, 0.05)) for _ in range(20)] for _ in range(2))
        interval = stats.unpaired_ratio([0.9 * value for value in after], before, stats.ERROR_RATE / 5, 0.0)
        decided += stats.verdict(interval) == "slower"

    assert decided >= 190


# Histograms.


def test_merged_histograms_are_the_histogram_of_all_their_latencies() -> None:
    parts = [testing.histogram(*range(1, 51)), testing.histogram(*range(51, 91)), testing.histogram(*range(91, 101))]

    figures = stats.merged_latency_ms(parts)

    assert figures == stats.merged_latency_ms([testing.histogram(*range(1, 101))])
    assert figures == pytest.approx({"p50": 50, "p95": 95, "p99": 99, "max": 100}, rel=5e-4)


def test_a_latency_keeps_three_digits_whatever_its_size() -> None:
    assert stats.merged_latency_ms([testing.histogram(0.123)])["p50"] == pytest.approx(0.123)
    assert stats.merged_latency_ms([testing.histogram(123_456.0)])["p50"] == pytest.approx(123_456, rel=1e-3)


def test_histograms_without_a_latency_have_no_figures_and_change_none() -> None:
    some = testing.histogram(1.0, 2.0)

    assert stats.merged_latency_ms([testing.histogram()]) == {}
    assert stats.merged_latency_ms([testing.histogram(), some]) == stats.merged_latency_ms([some])


# Equal, and what could have been found.


@pytest.mark.parametrize(
    ("low", "high", "same"),
    [
        (0.990, 1.016, True),
        (1 / 1.02, 1.02, True),
        (0.98, 1.01, False),
        (0.99, 1.021, False),
        (1.0, 1.0, True),
        (None, None, False),
    ],
)
def test_two_are_the_same_where_the_whole_interval_is_within_two_percent(
    low: float | None, high: float | None, same: bool
) -> None:
    assert stats.is_same(Interval(median=1.0, low=low, high=high)) is same
    assert (stats.detectable(Interval(median=1.0, low=low, high=high)) is None) == (low is None)


@given(RATIOS, RATIOS, st.sampled_from([stats.SAME, 0.05]))
def test_from_what_could_have_been_found_on_a_difference_is_found(
    ours: Sequence[float], theirs: Sequence[float], beyond: float
) -> None:
    """Blocks that scatter as these do about a ratio further off are decided, either way, and none much nearer is both."""

    def decided(difference: float) -> list[bool]:
        both = []
        for times in (1 + difference, 1 / (1 + difference)):
            low, high = ends(stats.unpaired_ratio([each * times / middle for each in ours], theirs, 0.05, 0.1))
            both.append(low > 1 + beyond or high < 1 / (1 + beyond))
        return both

    seen = stats.unpaired_ratio(ours, theirs, 0.05, 0.1)
    middle, found = seen.median, stats.detectable(seen, beyond)

    assert found is not None
    assert found >= beyond
    assert all(decided(found * 1.0001 + 1e-9))
    assert not all(decided(found * 0.9999 - 1e-9))


# Requests over processes.


def _exactly(requests: int, processes: int, most: int) -> float:
    """That one of the processes at least has so many, of all ways that requests may go."""
    ways = itertools.product(range(processes), repeat=requests)
    busy = sum(max(map(each.count, range(processes))) >= most for each in ways)
    return float(busy / processes**requests)


@pytest.mark.parametrize(("requests", "processes"), [(7, 2), (9, 2), (8, 3), (6, 4)])
def test_the_chance_of_a_busiest_process_is_never_below_the_true_one(requests: int, processes: int) -> None:
    for most in range(math.ceil(requests / processes), requests + 1):
        exact = _exactly(requests, processes, most)
        window = [most]
        while len(window) < processes:
            window.append(min(most, requests - sum(window)))
        found = stats.chance_of_busiest([window], processes)
        assert exact <= found * (1 + 1e-9)
        if 2 * most > requests:
            assert found == pytest.approx(min(1.0, exact)), "no two have more than half"


def test_the_chance_over_windows_is_that_of_all_together() -> None:
    one = stats.chance_of_busiest([(20, 8)], 2)

    assert stats.chance_of_busiest([(20, 8)] * 2, 2) == pytest.approx(one**2 * (1 - 2 * math.log(one)))
    assert stats.chance_of_busiest([(20, 8), ()], 2) == one, "a window with nothing in it tells nothing"
    assert stats.chance_of_busiest([], 2) == 1.0
    assert stats.chance_of_busiest([(14, 14)] * 9, 2) == 1.0
    assert stats.chance_of_busiest([(9,)], 1) == 1.0
    assert stats.chance_of_busiest([(20_000,)] * 3, 4) == pytest.approx(0.0, abs=1e-300)
    assert stats.chance_of_busiest([(26_000, 24_000)], 2) < 1e-6


def test_windows_of_a_random_assignment_hardly_seem_uneven() -> None:
    source = random.Random(7)
    seeming = 0
    for _ in range(400):
        taken = [source.choices(range(4), k=26) for _ in range(6)]
        seeming += stats.chance_of_busiest([[each.count(process) for process in range(4)] for each in taken], 4) <= 0.05
    assert seeming <= 0.05 * 400
