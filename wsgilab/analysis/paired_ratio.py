"""The interval of a paired ratio: in few blocks Student's, of a trimmed mean, with the scatter of the other comparisons of
its workload beside its own. Pure.
"""

import functools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wsgilab.analysis import stats
from wsgilab.model import Interval

MANY_BLOCKS = 50
"""From so many on, the interval of a paired ratio is from ranks alone. By then it is hardly wider than the other even if
the scatter is normal, narrower if the tails are long, and exact in any case."""

TRIMMED = 0.2
"""The share of the blocks that a trimmed mean leaves out at either end."""

FEWEST_TRIMMED = 8
"""With fewer blocks nothing is trimmed."""

LENT_FREEDOM = 4
"""As many degrees of freedom, at most, has the scatter that the other comparisons of a workload lend to one of them."""

FURTHEST = 100.0
"""The logarithm of a ratio reaches no further from its mean: e^100 and more is no bound, and soon no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """How the comparisons of a workload scatter, as the variance of the logarithm of a ratio from block to block."""

    typical: float
    largest: float
    comparisons: int
    """How many of them have stats.FEWEST_PAIRED blocks at least. Where it is 0, so are the variances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trimmed:
    """The trimmed mean of the logarithms of some ratios over their median, and its scatter."""

    mean: float
    variance: float
    """Of a block; that of the mean is this over the number of blocks."""
    freedom: int


def _trimmed(ratios: Sequence[float]) -> _Trimmed:
    """Of two ratios at least. The variance of a trimmed mean is that of the winsorised values, in which those that are left
    out stand where the last that is kept does (Yuen 1974, doi:10.1093/biomet/61.1.165)."""
    median, blocks = statistics.median(ratios), len(ratios)
    ordered = sorted(math.log(each / median) for each in ratios)
    out = math.floor(TRIMMED * blocks) if blocks >= FEWEST_TRIMMED else 0
    kept = ordered[out : blocks - out]
    winsorised = [kept[0]] * out + kept + [kept[-1]] * out
    middle, freedom = statistics.fmean(winsorised), len(kept) - 1
    squares = math.fsum((each - middle) ** 2 for each in winsorised)
    return _Trimmed(mean=statistics.fmean(kept), variance=blocks * squares / (len(kept) * freedom), freedom=freedom)


def scatter(comparisons: Iterable[Sequence[float]]) -> Scatter:
    """The scatter of a workload's comparisons, of each of which the paired ratios are given, as many as it has.

    Those with fewer than stats.FEWEST_PAIRED are left out. An estimate of a variance from few blocks is too small more often
    than too large; so each is divided by the median of what such estimates are of the true one, and the median of these
    is typical.
    """
    known = [_trimmed(ratios) for ratios in comparisons if len(ratios) >= stats.FEWEST_PAIRED]
    if not known:
        return Scatter(typical=0.0, largest=0.0, comparisons=0)
    return Scatter(
        typical=statistics.median(each.variance * each.freedom / chi_square_median(each.freedom) for each in known),
        largest=max(each.variance for each in known),
        comparisons=len(known),
    )


def interval(ratios: Sequence[float], level: float, scatter: Scatter) -> Interval:
    """The median of paired ratios, and an interval that is wrong with a chance of at most `level`.

    From MANY_BLOCKS on it is `stats.median_interval`, which is exact. With fewer it is Student's interval of the trimmed
    mean of the logarithms. Few blocks hardly know how much they scatter. So their variance is averaged with the `scatter`
    of their workload, which counts for LENT_FREEDOM degrees of freedom, or for as many as there are other comparisons if
    these are fewer (moderated variances: Smyth 2004, doi:10.2202/1544-6115.1027). But servers differ in how much they
    scatter; so it is never taken to be less than the comparison's own. With stats.FEWEST_PAIRED it is the largest of the
    workload. With fewer there is no interval.

    That this errs no more often than it may is not a theorem; `benchmarks/calibration` tests it.
    """
    median = statistics.median(ratios)
    if len(ratios) < stats.FEWEST_PAIRED:
        return Interval(median=median, low=None, high=None)
    if len(ratios) >= max(MANY_BLOCKS, stats.blocks_needed(level)):
        return stats.median_interval(ratios, level)
    own = _trimmed(ratios)
    lent = min(LENT_FREEDOM, max(0, scatter.comparisons - 1))
    moderated = (lent * scatter.typical + own.freedom * own.variance) / (lent + own.freedom)
    variance = max(own.variance, scatter.largest if len(ratios) == stats.FEWEST_PAIRED else moderated)
    reach = min(FURTHEST, student(lent + own.freedom, level) * math.sqrt(variance / len(ratios)))
    low, high = (median * math.exp(own.mean + way) for way in (-reach, reach))
    # The median lies between the blocks in the middle, which are nearly always well within; else they are the ends.
    ends = min(low, statistics.median_low(ratios)), max(high, statistics.median_high(ratios))
    return Interval(median=median, low=ends[0], high=ends[1])


@functools.cache
def student(freedom: int, level: float) -> float:
    """The quantile of Student's t that `level` / 2 lies above."""
    return _crossing(lambda t: _above_t(freedom, t) <= level / 2, 1e6)


def _above_t(freedom: int, t: float) -> float:
    """P(T > t), in closed form for whole degrees of freedom (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (cosine, 0.0) if freedom % 2 else (1.0, 0.0)
    for number in range(1 + freedom % 2, freedom, 2):
        total += term
        term *= number / (number + 1) * cosine * cosine
    within = 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total
    return (1 - within) / 2


@functools.cache
def chi_square_median(freedom: int) -> float:
    """The median of chi-square with so many degrees of freedom, which is less than their number."""
    return _crossing(lambda value: _below_chi_square(freedom, value) >= 1 / 2, freedom)


def _below_chi_square(freedom: int, value: float) -> float:
    """P(chi-square < value), in closed form for whole degrees of freedom (Abramowitz and Stegun 1964, 26.4.4 and
    26.4.5). `value` is positive."""
    half = value / 2
    first = 1 / 2 if freedom % 2 else 1.0
    terms = (
        math.exp((first + at) * math.log(half) - half - math.lgamma(first + at + 1)) for at in range((freedom - 1) // 2)
    )
    return (math.erf(math.sqrt(half)) if freedom % 2 else -math.expm1(-half)) - math.fsum(terms)


def _crossing(is_beyond: Callable[[float], bool], most: float) -> float:
    """From where on between 0 and `most` something holds, by bisection."""
    low, high = 0.0, most
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if is_beyond(middle) else (middle, high)
    return high
