"""How often each kind of interval calls identical servers different, with the scatter of real windows.

Read from `recording.yaml`: the twins' windows give the scatter (each twin's requests a second over its median, round by
round), from which whole runs of identical servers are drawn, a bounded number of times. Compared are the lab's
intervals, Student's t on the logarithms, and the percentile bootstrap of the median. No load is made.

A run counts as wrong when any of its comparisons is decided; at most 5 % of runs may be. The margin SAME is left out
here, so that it hides nothing.
"""

import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence

from benchmarks.bench import Outcome, Row, analyse
from benchmarks.protocols import Round, recorded, share
from benchmarks.recording import TWINS
from wsgilab import stats
from wsgilab.model import Interval

CASES = ((4, 1), (4, 12), (6, 1), (8, 1), (12, 1), (12, 12), (30, 1), (30, 12))
"""(blocks, comparisons) of a run."""
RUNS = 400
RESAMPLES = 1000
SEED = 1

Logs = Sequence[Sequence[float]]
"""The logarithms of the ratios, comparison by comparison."""


def measure() -> Outcome:
    """The share of runs with a false verdict, by method."""
    rounds, document = recorded()
    scatter = _scatter(rounds)
    rows: list[Row] = []
    for blocks, comparisons in CASES:
        source = random.Random(f"{SEED}/{blocks}/{comparisons}")  # noqa: S311 - a simulation
        runs = [_run(source, scatter, blocks, comparisons) for _ in range(RUNS)]
        uneven = [_uneven(run) for run in runs]
        rows.append(
            {
                "blocks": str(blocks),
                "comparisons": str(comparisons),
                "wsgilab": _wrong(lab, runs),
                "wsgilab, one server 5 times as noisy": _wrong(lab, uneven),
                "Student's t": _wrong(student, runs),
                "bootstrap": _wrong(lambda run, source=source: bootstrap(run, source), runs),  # type: ignore[misc]
            }
        )
    return Outcome(settings={"recording": document["date"], "runs": RUNS}, blocks=(), rows=rows)


def lab(run: Logs) -> bool:
    """Whether the lab's intervals decide any comparison."""
    level = stats.ERROR_RATE / len(run)
    reach = stats.reach([departure for logs in run for departure in stats.departures(logs)])
    intervals = (stats.ratio([math.exp(each) for each in logs], level, reach) for logs in run)
    return any(
        (each.low is not None and each.low > 1) or (each.high is not None and each.high < 1) for each in intervals
    )


def student(run: Logs) -> bool:
    """The same with Student's t interval of the mean logarithm, at Bonferroni's level."""
    level = stats.ERROR_RATE / len(run)
    return any(
        abs(statistics.fmean(logs)) > _t(len(logs) - 1, level) * statistics.stdev(logs) / math.sqrt(len(logs))
        for logs in run
    )


def bootstrap(run: Logs, source: random.Random) -> bool:
    """The same with the percentile bootstrap of the median (Efron 1979, doi:10.1214/aos/1176344552)."""
    level = stats.ERROR_RATE / len(run)
    tail = math.floor(RESAMPLES * level / 2)
    for logs in run:
        medians = sorted(statistics.median(source.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
        if medians[tail] > 0 or medians[-1 - tail] < 0:
            return True
    return False


def _wrong(decides: Callable[[Logs], bool], runs: Sequence[Logs]) -> Interval:
    return share(sum(map(decides, runs)), len(runs))


def _scatter(rounds: Sequence[Round]) -> Sequence[float]:
    """The logarithms of windows over their server's median in the round."""
    return [
        math.log(rps / statistics.median(each.interleaved[twin]))
        for each, twin in itertools.product(rounds, TWINS)
        for rps in each.interleaved[twin]
    ]


def _run(source: random.Random, scatter: Sequence[float], blocks: int, comparisons: int) -> Logs:
    """Identical servers, one of them the reference that the others are compared with."""
    reference = source.choices(scatter, k=blocks)
    return [
        [ours - theirs for ours, theirs in zip(source.choices(scatter, k=blocks), reference, strict=True)]
        for _ in range(comparisons)
    ]


def _uneven(run: Logs) -> Logs:
    return [[5 * each for each in run[0]], *run[1:]]


def _t(freedom: int, level: float) -> float:
    """The quantile of Student's t that `level` / 2 lies above, by bisection."""
    low, high = 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tail(freedom, middle) > level / 2 else (low, middle)
    return high


def _t_tail(freedom: int, t: float) -> float:
    """P(T > t), in closed form for whole degrees of freedom (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (cosine, 0.0) if freedom % 2 else (1.0, 0.0)
    for number in range(1 + freedom % 2, freedom, 2):
        total += term
        term *= number / (number + 1) * cosine * cosine
    within = 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total
    return (1 - within) / 2


if __name__ == "__main__":
    analyse("calibration", __doc__, measure)
