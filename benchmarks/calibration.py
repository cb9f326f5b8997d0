"""How often a run of identical servers has a wrong verdict, with the scatter of real windows and with worse.

Read from `recording.yaml`, round by round: its windows give the scatter (each server's requests a second over its
median there), from which whole runs of identical servers are drawn, a bounded number of times. Compared are the lab's
intervals of paired ratios, those that it had before (from ranks alone or, where blocks are too few for that, their range,
widened), and Student's t of the logarithms. No load is made, so it does not matter what else the machine does.

A run is wrong if any of its comparisons is decided; at most 5 % of runs may be. `comparisons` are every two of a workload's
servers, or some with one reference. They share four fifths of the 5 %, as comparisons by speed do. A figure is the share of
wrong runs in the median round, with its interval over rounds, of runs with the numbers of blocks that its column names, in
equal parts. In the column `mixed` each comparison has a number of its own, from 3 to 20. The lab decides nothing within 1 % of
1; what it would decide without that margin, at all numbers of blocks, is beside it, and what the others decide with it. The
conditions are the scatter as it was recorded, window by window, and

- one server that scatters 5 times as much;
- each server with a scatter of its own, some 4 times that of others;
- position: a server that comes later in a block is faster, in the end by the deviation of a window;
- heavy tails: one window in six strays ten times as far;
- skew: windows are never above what is usual, and one in six is ten times as far below it;
- noise that lasts: windows as they followed each other.
"""

import itertools
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from benchmarks.outcome import Claim, Row
from benchmarks.protocols import Recorded, analyse_recording
from wsgilab import testing
from wsgilab.analysis import paired_ratio, stats
from wsgilab.analysis.pairs.family import SPEED_SHARE
from wsgilab.analysis.pairs.ratios import Paired, intervals
from wsgilab.model import Cell, Interval

Pair = tuple[int, int]
Logs = Mapping[Pair, Sequence[float]]
"""Two servers of a run -> the logarithms of their ratios, block by block."""

Windows = Sequence[Sequence[float]]
"""The logarithms of windows over what is usual, server by server."""

RUNS = 60
"""How many runs are drawn from each round for each number of blocks."""
SEED = 1
MIXED = (3, 4, 6, 8, 12, 20)
"""Of a run in which each comparison has another number of blocks."""
BLOCKS: Mapping[str, Sequence[Sequence[int]]] = {
    "3 or 4 blocks": ((3,), (4,)),
    "6, 8 or 12": ((6,), (8,), (12,)),
    "20 or 50": ((20,), (50,)),
    "mixed": (MIXED, MIXED),
}


def every_two(servers: int) -> Sequence[Pair]:
    """All comparisons of so many servers."""
    return [(other, one) for one, other in itertools.combinations(range(servers), 2)]


def with_reference(servers: int) -> Sequence[Pair]:
    """Those with the first of them alone."""
    return [(server, 0) for server in range(1, servers)]


FAMILIES: Mapping[str, Sequence[Pair]] = {
    "1": every_two(2),
    "2, with a reference": with_reference(3),
    "3": every_two(3),
    "6": every_two(4),
    "12, with a reference": with_reference(13),
    "36": every_two(9),
}


def summary(rounds: Sequence[Recorded], runs: int = RUNS) -> tuple[Sequence[Row], Sequence[Claim]]:
    """A row for each condition and number of comparisons, and no claim."""
    rows: list[Row] = []
    for (condition, draw), (comparisons, family) in itertools.product(CONDITIONS.items(), FAMILIES.items()):
        found: dict[str, list[float]] = defaultdict(list)
        for number, each in enumerate(rounds):
            source = random.Random(f"{SEED}/{condition}/{comparisons}/{number}")  # noqa: S311 - a simulation
            scatter = scatter_of(each)
            known: dict[str, list[bool]] = defaultdict(list)
            for blocks, several in BLOCKS.items():
                for counts in several:
                    drawn = [draw_run(source, draw, scatter, family, counts) for _ in range(runs)]
                    of_lab = [lab(run) for run in drawn]
                    known[blocks] += [decides(found_by_lab, stats.SAME) for found_by_lab in of_lab]
                    known["without the margin"] += [decides(found_by_lab, 0.0) for found_by_lab in of_lab]
                    known["before"] += [decides(before(run), stats.SAME) for run in drawn]
                    known["Student's t"] += [decides(student(run), stats.SAME) for run in drawn]
            for column, wrong in known.items():
                found[column].append(statistics.fmean(wrong))
        columns = (*BLOCKS, "without the margin", "before", "Student's t")
        shares = {column: stats.median_interval(found[column]) for column in columns}
        rows.append({"condition": condition, "comparisons": comparisons, "rounds": str(len(rounds)), **shares})
    return rows, ()


def decides(found: Iterable[Interval], margin: float) -> bool:
    """Whether any of the intervals is beyond 1 by more than `margin`."""
    ends = ((each.low, each.high) for each in found if each.low is not None and each.high is not None)
    return any(low > 1 + margin or high < 1 / (1 + margin) for low, high in ends)


# --- intervals


def lab(run: Logs) -> Sequence[Interval]:
    """The lab's, as it works them out for a run."""
    pairs = [
        Paired(
            cell=_cell(one),
            other=_cell(other),
            kin=("hello",),
            ratios={block: math.exp(each) for block, each in enumerate(logs)},
        )
        for (one, other), logs in run.items()
    ]
    whole = testing.run(testing.experiment(_cell(0), blocks=max(map(len, run.values()))))
    return [each for each in intervals(whole, pairs, lambda _, __: SPEED_SHARE / len(pairs)) if each is not None]


@cache
def _cell(server: int) -> Cell:
    return testing.cell(f"server-{server}")


def before(run: Logs) -> Sequence[Interval]:
    """The lab's until November 2026: exact, from ranks; with fewer blocks than that takes, the range of the blocks,
    widened by the distance within which 95 % of all blocks are from the others of their comparison, or 95 % of those with
    either server."""
    level = SPEED_SHARE * stats.ERROR_RATE / len(run)
    strayed: dict[int | None, list[float]] = defaultdict(list)
    for pair, logs in run.items():
        if len(logs) < stats.blocks_needed(level):
            for server in (None, *pair):
                strayed[server] += stats.departures(logs)
    reaches = {server: stats.reach(away) for server, away in strayed.items()}

    def interval(pair: Pair, logs: Sequence[float]) -> Interval:
        ratios = list(map(math.exp, logs))
        if len(ratios) < stats.FEWEST_BLOCKS:
            return Interval(median=statistics.median(ratios), low=None, high=None)
        if len(ratios) >= stats.blocks_needed(level):
            return stats.median_interval(ratios, level)
        wider = math.exp(max(reaches[server] for server in (None, *pair)))
        return Interval(median=statistics.median(ratios), low=min(ratios) / wider, high=max(ratios) * wider)

    return [interval(pair, logs) for pair, logs in run.items()]


def student(run: Logs) -> Sequence[Interval]:
    """Student's t intervals of the mean logarithms, at Bonferroni's level."""
    level = SPEED_SHARE * stats.ERROR_RATE / len(run)

    def interval(logs: Sequence[float]) -> Interval:
        mean, blocks = statistics.fmean(logs), len(logs)
        error = math.sqrt(math.fsum((each - mean) ** 2 for each in logs) / (blocks - 1) / blocks)
        reach = paired_ratio.student(blocks - 1, level) * error
        return Interval(median=math.exp(mean), low=math.exp(mean - reach), high=math.exp(mean + reach))

    return [interval(logs) for logs in run.values()]


# --- runs

Draw = Callable[[random.Random, Windows, int, int], Windows]
"""Draws the windows of so many identical servers in so many blocks from those of a round."""


def alone(source: random.Random, recorded: Windows, servers: int, blocks: int) -> Windows:
    """Window by window, from those of all servers."""
    every = [each for windows in recorded for each in windows]
    return [source.choices(every, k=blocks) for _ in range(servers)]


def _one_wild(source: random.Random, recorded: Windows, servers: int, blocks: int) -> Windows:
    wild, *others = alone(source, recorded, servers, blocks)
    return [[5 * each for each in wild], *others]


def _unequal(source: random.Random, recorded: Windows, servers: int, blocks: int) -> Windows:
    factors = [math.exp(source.gauss(0, 0.7)) for _ in range(servers)]
    drawn = alone(source, recorded, servers, blocks)
    return [[factor * each for each in windows] for factor, windows in zip(factors, drawn, strict=True)]


def _position(source: random.Random, recorded: Windows, servers: int, blocks: int) -> Windows:
    deviation = statistics.pstdev(each for windows in recorded for each in windows)
    orders = [source.sample(range(servers), k=servers) for _ in range(blocks)]
    return [
        [each + deviation * order[server] / (servers - 1) for each, order in zip(windows, orders, strict=True)]
        for server, windows in enumerate(alone(source, recorded, servers, blocks))
    ]


def _heavy(source: random.Random, recorded: Windows, servers: int, blocks: int) -> Windows:
    drawn = alone(source, recorded, servers, blocks)
    return [[each * (1, 1, 1, 1, 1, 10)[source.randrange(6)] for each in windows] for windows in drawn]


def _skewed(source: random.Random, recorded: Windows, servers: int, blocks: int) -> Windows:
    return [[-abs(each) for each in windows] for windows in _heavy(source, recorded, servers, blocks)]


def _lasting(source: random.Random, recorded: Windows, servers: int, blocks: int) -> Windows:
    return [list(itertools.islice(_stretches(source, recorded), blocks)) for _ in range(servers)]


def _stretches(source: random.Random, recorded: Windows) -> Iterable[float]:
    """The windows of one server after the other, each from somewhere on and once round."""
    while True:
        windows = source.choice(recorded)
        first = source.randrange(len(windows))
        yield from (*windows[first:], *windows[:first])


CONDITIONS: Mapping[str, Draw] = {
    "as recorded": alone,
    "one server 5 times as noisy": _one_wild,
    "each server with a scatter of its own": _unequal,
    "position": _position,
    "heavy tails": _heavy,
    "skew": _skewed,
    "noise that lasts": _lasting,
}


def draw_run(
    source: random.Random, draw: Draw, recorded: Windows, family: Sequence[Pair], counts: Sequence[int]
) -> Logs:
    """A run of identical servers. Of several `counts`, each comparison has one, from the first block on."""
    windows = draw(source, recorded, 1 + max(map(max, family)), max(counts))
    return {
        (one, other): [a - b for a, b in zip(windows[one], windows[other], strict=True)][: source.choice(counts)]
        for one, other in family
    }


def scatter_of(each: Recorded) -> Windows:
    """The logarithms of a round's windows over their server's median."""
    medians = {server: statistics.median(windows) for server, windows in each.interleaved.items()}
    return [[math.log(rps / medians[server]) for rps in windows] for server, windows in each.interleaved.items()]


if __name__ == "__main__":
    analyse_recording("calibration", __doc__, summary, {"runs_a_round": RUNS})
