"""Medians, intervals and latency histograms. Pure.

The block is the sampling unit, never the request: requests of one window share its moment on a noisy machine.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from hdrh.histogram import HdrHistogram

from wsgilab.model import Interval, Verdict

LOWEST_US, HIGHEST_US, DIGITS = 1, 600_000_000, 3
"""The histograms' range in microseconds, and their significant digits."""

ERROR_RATE = 0.05
"""How often, at most, any verdict of a run may be wrong."""

FEWEST_BLOCKS = 3


def spread(values: Sequence[float]) -> Interval:
    """Median, and the lowest and highest block; both ends None below two blocks. Needs at least one value."""
    several = len(values) > 1
    return Interval(
        median=statistics.median(values),
        low=min(values) if several else None,
        high=max(values) if several else None,
    )


def ratio(ratios: Sequence[float], comparisons: int) -> Interval:
    """The median of paired ratios, and an interval that holds for `comparisons` of its kind at once.

    Student's t interval for the mean of the ratios' logarithms, at the level that Bonferroni's inequality asks for
    when so many are read (Student 1908; Dunn 1961, doi:10.1080/01621459.1961.10482090). It assumes that the logs
    scatter about normally from block to block; where they do not, the interval is
    stretched to hold the median, which makes a verdict rarer, never bolder. Below `FEWEST_BLOCKS` there is none.
    """
    # Here, because it takes about as long to import as all else together, and most tasks compare nothing.
    from scipy.special import stdtrit

    median = statistics.median(ratios)
    if len(ratios) < FEWEST_BLOCKS:
        return Interval(median=median, low=None, high=None)
    logs = [math.log(value) for value in ratios]
    centre = statistics.fmean(logs)
    tail = ERROR_RATE / comparisons / 2
    reach = float(stdtrit(len(logs) - 1, 1 - tail)) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, high = math.exp(centre - reach), math.exp(centre + reach)
    return Interval(median=median, low=min(low, median), high=max(high, median))


def verdict(interval: Interval) -> Verdict:
    """`faster` or `slower` where the whole interval lies on one side of 1, else `undecided`."""
    if interval.low is not None and interval.low > 1:
        return "faster"
    if interval.high is not None and interval.high < 1:
        return "slower"
    return "undecided"


def merged_latency_ms(histograms: Iterable[str]) -> Mapping[str, float]:
    """`p50`, `p95`, `p99` and `max` in milliseconds over encoded histograms; merging them loses nothing."""
    merged = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for encoded in histograms:
        merged.decode_and_add(encoded)
    figures = {f"p{percent}": merged.get_value_at_percentile(percent) / 1000 for percent in (50, 95, 99)}
    return {**figures, "max": merged.get_max_value() / 1000}
