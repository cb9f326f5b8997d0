"""How often each kind of interval calls identical servers different, with the scatter of real windows.

Read from `recording.yaml`, round by round: its windows give the scatter (each server's requests a second over its
median there), from which whole runs of identical servers are drawn, a bounded number of times. Compared are the
lab's intervals, Student's t on the logarithms, and the percentile bootstrap of the median. No load is made.

A run counts as wrong when any of its comparisons is decided; at most 5 % of runs may be. The margin SAME is left out
here, so that it hides nothing. A figure is the share of runs that were wrong in the median round, with the interval
of that over rounds, because runs that are drawn from one round do not show what other rounds are like. Windows are
drawn one by one, so what neighbouring windows have in common is not in it.
"""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.outcome import Claim, Row
from benchmarks.protocols import Recorded, analyse_recording
from benchmarks.rounds import student as quantile
from wsgilab import testing
from wsgilab.analysis import stats
from wsgilab.analysis.pairs import Paired, intervals
from wsgilab.model import Interval

CASES = ((4, 1), (4, 12), (6, 1), (8, 1), (12, 1), (12, 12), (30, 1), (30, 12))
"""(blocks, comparisons) of a run."""
RUNS = 200
"""How many runs of each case are drawn from each round."""
RESAMPLED = 40
"""How many of these the bootstrap is tried on, which takes most of the time."""
RESAMPLES = 1000
SEED = 1

Logs = Sequence[Sequence[float]]
"""The logarithms of the ratios, comparison by comparison."""


def summary(rounds: Sequence[Recorded], runs: int = RUNS) -> tuple[Sequence[Row], Sequence[Claim]]:
    """A row for each case, and no claim."""
    scatters = [_scatter(each) for each in rounds]
    rows: list[Row] = []
    for blocks, comparisons in CASES:
        source = random.Random(f"{SEED}/{blocks}/{comparisons}")  # noqa: S311 - a simulation
        drawn = [[_run(source, scatter, blocks, comparisons) for _ in range(runs)] for scatter in scatters]
        uneven = [[_uneven(run) for run in each] for each in drawn]
        rows.append(
            {
                "blocks": str(blocks),
                "comparisons": str(comparisons),
                "rounds": str(len(rounds)),
                "wsgilab": wrong(lab, drawn),
                "wsgilab, one server 5 times as noisy": wrong(lab, uneven),
                "Student's t": wrong(student, drawn),
                "bootstrap": wrong(partial(bootstrap, source=source), [each[:RESAMPLED] for each in drawn]),
            }
        )
    return rows, ()


def lab(run: Logs) -> bool:
    """Whether the lab's intervals, as it works them out for a run, decide any comparison."""
    reference = testing.cell("reference")
    pairs = [
        Paired(
            cell=testing.cell(f"server-{number}"),
            other=reference,
            kin=(reference.workload,),
            ratios={block: math.exp(each) for block, each in enumerate(logs)},
        )
        for number, logs in enumerate(run)
    ]
    whole = testing.run(testing.experiment(reference, blocks=len(run[0])))
    found = [each for each in intervals(whole, pairs, len(pairs)) if each is not None]
    return any((each.low is not None and each.low > 1) or (each.high is not None and each.high < 1) for each in found)


def student(run: Logs) -> bool:
    """The same with Student's t interval of the mean logarithm, at Bonferroni's level."""
    level = stats.ERROR_RATE / len(run)
    return any(
        abs(statistics.fmean(logs)) > quantile(len(logs) - 1, level) * statistics.stdev(logs) / math.sqrt(len(logs))
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


def wrong(decides: Callable[[Logs], bool], drawn: Sequence[Sequence[Logs]]) -> Interval:
    """The share of wrong runs, the median over rounds."""
    return stats.median_interval([statistics.fmean(map(decides, runs)) for runs in drawn])


def _scatter(each: Recorded) -> Sequence[float]:
    """The logarithms of a round's windows over their server's median."""
    medians = {server: statistics.median(windows) for server, windows in each.interleaved.items()}
    return [math.log(rps / medians[server]) for server, windows in each.interleaved.items() for rps in windows]


def _run(source: random.Random, scatter: Sequence[float], blocks: int, comparisons: int) -> Logs:
    """Identical servers, one of them the reference that the others are compared with."""
    reference = source.choices(scatter, k=blocks)
    return [
        [ours - theirs for ours, theirs in zip(source.choices(scatter, k=blocks), reference, strict=True)]
        for _ in range(comparisons)
    ]


def _uneven(run: Logs) -> Logs:
    return [[5 * each for each in run[0]], *run[1:]]


if __name__ == "__main__":
    settings = {"runs_a_round": RUNS, "resampled_a_round": RESAMPLED}
    analyse_recording("calibration", __doc__, summary, settings)
