"""Medians, their intervals, verdicts, and latency histograms. Pure.

The block is the sampling unit, never the request: all requests of a window share its moment on a noisy machine. There
the scatter between blocks has long tails (a window that a neighbour disturbs is half as fast). So intervals of single
figures, of two runs and of paired ratios in many blocks follow from ranks alone, whatever the distribution. In few blocks
ranks decide nothing; what paired ratios have there is in `paired_ratio`.
"""

import functools
import math
import operator
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from hdrh.histogram import HdrHistogram

from wsgilab.model import Interval, Verdict

LOWEST_US, HIGHEST_US, DIGITS = 1, 600_000_000, 3
"""The histograms' range in microseconds, and their significant digits."""

ERROR_RATE = 0.05
"""The chance, at most, that any verdict of a run is wrong, and that an interval of a single figure is."""

FEWEST_BLOCKS = 4
"""With fewer, of either, no ratio of two unpaired samples has an interval, and no claim a verdict."""

FEWEST_PAIRED = 3
"""With fewer, no paired ratio has an interval."""

REACH = 0.95
"""The share of blocks that the reach of few blocks covers."""

MOST_COUNTED = 8_000_000
"""Samples of `unpaired_ratio` up to this size, as blocks of the smaller squared times those of the larger, have the orders
of their blocks counted: 200 blocks each take half a second."""

SAME = 0.01
"""Two processes of the very same server differ by so much, for good (`benchmarks/twins`): memory layout and hash seeds
differ from start to start (Mytkowicz, Diwan, Hauswirth, Sweeney 2009, doi:10.1145/1508244.1508275)."""

ALIKE = 0.02
"""Two servers are the same within this share if the whole interval of their ratio lies so near to 1."""

OPPOSITE: Mapping[Verdict, Verdict] = {"faster": "slower", "slower": "faster", "undecided": "undecided"}
"""The verdict on the second of two servers, from that on the first; or on speed, from that on latency."""


@functools.cache
def _rank(blocks: int, level: float) -> int:
    """The rank of the interval's ends, from either end of the values; 0 where `blocks` are too few for `level`.

    The true median lies below the k-th smallest of n values when fewer than k of them fall below it, which has the
    chance of fewer than k heads in n tosses. The largest k for which that is at most level / 2.
    """
    rank, below = 0, 0
    while 2 * (below + math.comb(blocks, rank)) <= level * 2**blocks:
        below += math.comb(blocks, rank)
        rank += 1
    return rank


def confidence(blocks: int, level: float = ERROR_RATE) -> float:
    """The chance that `median_interval` holds the true median. With five blocks or fewer it is less than 95 %."""
    if blocks <= 1:
        return 0.0
    rank = max(1, _rank(blocks, level))
    outside: int = 2 * sum(math.comb(blocks, tails) for tails in range(rank))
    return 1 - outside / int(2**blocks)


def blocks_needed(level: float) -> int:
    """The fewest blocks whose range holds the true median with a chance of 1 - `level`: all on one side of it has the
    chance 2 / 2^n."""
    return math.ceil(1 - math.log2(level))


def median_interval(values: Sequence[float], level: float = ERROR_RATE) -> Interval:
    """The median, and the order statistics between which the true median lies with a chance of 1 - `level`.

    Exact for whatever distribution, because it is the sign test turned round (Thompson 1936,
    doi:10.1214/aoms/1177732502). Where the values are too few for `level` it is their range, which holds the median
    less often, as `confidence` says; both ends are None below two values. Needs at least one value.
    """
    ordered = sorted(values)
    median = statistics.median(ordered)
    if len(ordered) == 1:
        return Interval(median=median, low=None, high=None)
    rank = max(1, _rank(len(ordered), level))
    return Interval(median=median, low=ordered[rank - 1], high=ordered[-rank])


def departures(logs: Sequence[float]) -> Sequence[float]:
    """The distance of each block from the median of the others; empty below two blocks."""
    others = ([*logs[:at], *logs[at + 1 :]] for at in range(len(logs)))
    return [abs(each - statistics.median(rest)) for each, rest in zip(logs, others, strict=True) if rest]


def reach(departures: Sequence[float]) -> float:
    """The departure within which all but one in twenty are; 0 where there are none."""
    ordered = sorted(departures)
    return ordered[min(len(ordered) - 1, math.floor(REACH * len(ordered)))] if ordered else 0.0


def unpaired_ratio(figures: Sequence[float], others: Sequence[float], level: float, reach: float) -> Interval:
    """The ratio of `figures` to `others`, two samples whose blocks are not paired: positive, at least one each.

    The median of the ratios of every figure to every other one, and the order statistics of these between which the
    true ratio lies with a chance of 1 - `level` (Hodges and Lehmann 1963, doi:10.1214/aoms/1177704172): the test of
    Mann and Whitney (1947, doi:10.1214/aoms/1177730491) turned round. Whatever the distribution, an interval without 1
    is wrong no more often than `level` where both samples come from the same one. That it holds the true ratio as often
    assumes that what differs multiplies every figure by the same factor.

    Where `orders_suffice` is false the interval is the range of all these ratios, widened on both sides by the factor
    e^`reach`, where `reach` is that of the departures of both samples, or of all under the same workload if that is more.
    That this errs no more often than it may is not a theorem. Below FEWEST_BLOCKS in either sample there is none.
    """
    ratios = sorted(figure / other for figure in figures for other in others)
    median = statistics.median(ratios)
    if min(len(figures), len(others)) < FEWEST_BLOCKS:
        return Interval(median=median, low=None, high=None)
    if orders_suffice(len(figures), len(others), level):
        rank = _rank_of_pairs(len(figures), len(others), level)
        return Interval(median=median, low=ratios[rank - 1], high=ratios[-rank])
    return Interval(median=median, low=ratios[0] * math.exp(-reach), high=ratios[-1] * math.exp(reach))


def orders_suffice(blocks: int, other_blocks: int, level: float) -> bool:
    """Whether samples of so many blocks suffice for a verdict at `level`: that all blocks of one are below all of the
    other, or above, has the chance of two in all orders."""
    return 2 / level <= math.comb(blocks + other_blocks, blocks)


@functools.cache
def _rank_of_pairs(blocks: int, other_blocks: int, level: float) -> int:
    """The rank of the interval's ends among all pairs, from either end, where `orders_suffice`.

    The largest k for which fewer than k pairs upside down, of samples from one distribution, have a chance of at most
    level / 2. Beyond MOST_COUNTED it is that of the normal distribution, whose tails are the heavier: it errs on the
    safe side.
    """
    fewer, more = sorted((blocks, other_blocks))
    if fewer * fewer * more > MOST_COUNTED:
        deviation = math.sqrt(blocks * other_blocks * (blocks + other_blocks + 1) / 12)
        quantile = statistics.NormalDist().inv_cdf(level / 2)
        return math.floor((blocks * other_blocks + 1) / 2 + quantile * deviation)
    orders = level * math.comb(blocks + other_blocks, blocks)
    return sum(2 * below <= orders for below in accumulate(_upside_down(fewer, more)))


def _upside_down(fewer: int, more: int) -> Sequence[int]:
    """The number of orders of two samples in which 0, 1, ... and up to half of all their pairs are upside down.

    The first coefficients of Gauss' binomial: the product of (1 - q^(more + i)) / (1 - q^i) over i = 1 to `fewer`.
    """
    counts = [1] + [0] * (fewer * more // 2)
    for each in range(1, fewer + 1):
        counts[more + each :] = map(operator.sub, counts[more + each :], counts[: -(more + each)])
        for start in range(each):
            counts[start::each] = list(accumulate(counts[start::each]))
    return counts


def spent(progress: float) -> float:
    """The part of ERROR_RATE that looks may have spent once this share of the most blocks is measured.

    The error of all looks together is then ERROR_RATE, however many there are (Lan and DeMets 1983,
    doi:10.1093/biomet/70.3.659). The square leaves most of it to the later looks, which decide the close cases (Kim and
    DeMets 1987, doi:10.1093/biomet/74.1.149).
    """
    return ERROR_RATE * progress**2


def chance_of_busiest(windows: Iterable[Sequence[int]], processes: int) -> float:
    """The chance, at most, that requests which go to any of `processes` alike make one as busy as in `windows`, each of
    which has the requests that each process finished. 1 where nothing was finished.

    Of one window: that a certain process has so many of n requests has a binomial chance, and that any of them has, at
    most so many times that as there are (Boole's inequality; one minus the distribution of a multinomial's maximum:
    Levin 1981, doi:10.1214/aos/1176345593). Of all windows together by the product of their chances, whose logarithm
    then has a gamma distribution at most (Fisher 1925, Statistical Methods for Research Workers, section 21.1).
    """
    found = [min(1.0, processes * _heads(sum(each), max(each), 1 / processes)) for each in windows if sum(each)]
    if not all(found):
        return 0.0
    evidence = -math.fsum(map(math.log, found))
    terms = (math.exp(count * math.log(evidence) - math.lgamma(count + 1) - evidence) for count in range(len(found)))
    return min(1.0, math.fsum(terms)) if evidence else 1.0


def _heads(tosses: int, least: int, chance: float) -> float:
    """The chance of at least so many heads in so many tosses."""
    return 1.0 if chance >= 1 else math.fsum(binomial(tosses, chance)[least:])


def binomial(tosses: int, chance: float) -> Sequence[float]:
    """The chance of 0, 1, ... heads, where that of each is above 0 and below 1."""
    ways = math.lgamma(tosses + 1)
    return [
        math.exp(
            ways
            - math.lgamma(heads + 1)
            - math.lgamma(tosses - heads + 1)
            + heads * math.log(chance)
            + (tosses - heads) * math.log1p(-chance)
        )
        for heads in range(tosses + 1)
    ]


def verdict(interval: Interval) -> Verdict:
    """`faster` or `slower` where the whole interval lies on one side of 1, by more than SAME; else `undecided`."""
    if interval.low is not None and interval.low > 1 + SAME:
        return "faster"
    if interval.high is not None and interval.high < 1 / (1 + SAME):
        return "slower"
    return "undecided"


def is_same(interval: Interval) -> bool:
    """Whether the whole interval of a ratio lies within ALIKE of 1: whatever the difference is, it is less than that."""
    if interval.low is None or interval.high is None:
        return False
    return interval.low >= 1 / (1 + ALIKE) and interval.high <= 1 + ALIKE


def turned(ratio: Interval) -> Interval:
    """The ratio the other way round, of positive figures."""
    return Interval(
        median=1 / ratio.median,
        low=None if ratio.high is None else 1 / ratio.high,
        high=None if ratio.low is None else 1 / ratio.low,
    )


def detectable(ratio: Interval, beyond: float = SAME) -> float | None:
    """The smallest difference, as a share, that these blocks with this scatter could have shown to be more than `beyond`.

    Were one of the two faster by a factor, every ratio of blocks would be larger by it, and both ends of the interval
    with them: it would be decided from the factor on that takes the end on that side beyond 1 + `beyond`. The larger of
    both ways; None without an interval.
    """
    if ratio.low is None or ratio.high is None:
        return None
    return (1 + beyond) * max(ratio.median / ratio.low, ratio.high / ratio.median) - 1


def is_within(interval: Interval, precision: float) -> bool:
    """Whether the interval reaches no further from its median than `precision` of it, on either side."""
    if interval.low is None or interval.high is None:
        return False
    return max(interval.high - interval.median, interval.median - interval.low) <= precision * interval.median


def merged_latency_ms(histograms: Iterable[str]) -> Mapping[str, float]:
    """`p50`, `p95`, `p99` and `max` in milliseconds over encoded histograms; merging them loses nothing.

    Empty where they hold nothing.
    """
    merged = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for encoded in histograms:
        merged.decode_and_add(encoded)
    return latency_ms(merged)


@functools.lru_cache(maxsize=4096)
def count(histogram: str) -> int:
    """How many latencies an encoded histogram holds."""
    return int(HdrHistogram.decode(histogram).get_total_count())


@functools.lru_cache(maxsize=4096)
def count_above(histogram: str, limit_ms: float) -> int:
    """How many latencies of an encoded histogram are longer than a limit, as exactly as its digits are."""
    found = HdrHistogram.decode(histogram)
    if not found.get_total_count():
        return 0
    first, last = (found.get_counts_array_index(us) for us in (round(limit_ms * 1000), found.get_max_value()))
    return sum(int(found.get_count_at_index(index)) for index in range(first + 1, last + 1))


def latency_ms(histogram: HdrHistogram) -> Mapping[str, float]:
    """`p50`, `p95`, `p99` and `max` of a histogram of microseconds, in milliseconds; empty where it holds nothing."""
    if not histogram.get_total_count():
        return {}
    at = histogram.get_percentile_to_value_dict((50, 95, 99))
    return {**{f"p{percent}": value / 1000 for percent, value in at.items()}, "max": histogram.get_max_value() / 1000}
