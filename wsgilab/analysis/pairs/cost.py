"""The cost of a request, which is the server's CPU time, of one server over that of another: quiet, or beside a neighbour. Pure.

A neighbour takes throughput, and hardly CPU time a request. That rises too, since caches are shared, and not alike for all servers:
so where others were at work, an interval must be the further from 1, the more they took.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import stats
from wsgilab.analysis.cell import disturbance
from wsgilab.analysis.cell.figures import broken
from wsgilab.analysis.cell.readings import cpu_ms_per_request
from wsgilab.analysis.pairs.family import PairedComparisons, shares
from wsgilab.analysis.pairs.ratios import ByCell, Paired, by_block, grouped, intervals, paired
from wsgilab.model import Cell, CostOfRuns, CostRatio, CostVerdict, Interval, Observation, PairResult, Run

RAISED = 0.6
"""By how much CPU time a request rises, at most, for each share of the server's cores that others take. Measured twice, beside a
program on the server's core: by 2 to 15 % where that took a quarter of it, and where it took half by 13, 20 and 29 % of three servers
(means of 18 blocks, give or take 6 to 10 %; `benchmarks/recording`, read by `benchmarks/noise`)."""
RAISED_UNLIKE = 0.32
"""By how much more it rises, at most, of one server than of another one, for each share that others take of both: 8 % where they took
a quarter, and 15 % (4 to 27 %) where they took half, beside the same."""

MATCHED = 0.05
"""Others have taken about as much from two servers where their shares of core differ by this at most."""


def margin(ours: float, theirs: float, *, alike: bool) -> float:
    """By what share the costs of two servers must differ, beyond doubt, to be told apart, where others took the shares `ours` and
    `theirs` of their cores. `alike`: they are the same program, on which others tell alike."""
    unlike = 0.0 if alike else RAISED_UNLIKE * min(ours, theirs)
    return stats.SAME + RAISED * abs(ours - theirs) + unlike


def verdict(ratio: Interval, margin: float) -> CostVerdict:
    """`less` or `more` where the whole interval lies on one side of 1, by more than `margin`; else `undecided`."""
    if ratio.low is not None and ratio.low > 1 + margin:
        return "more"
    if ratio.high is not None and ratio.high < 1 / (1 + margin):
        return "less"
    return "undecided"


def with_costs(
    comparisons: PairedComparisons, cells: Iterable[Cell], by_cell: ByCell, every: ByCell
) -> Iterable[PairResult]:
    """The comparisons of `cells` with the reference, with their costs.

    Two that may be compared have the cost that advice reads, from the same windows as their speed, `by_cell`. Others have it from
    `every` window in which nobody disturbed the generator: those that a neighbour keeps from being compared, or leaves too few
    clean windows in common; and servers that are alike, if any window was left out. On these a neighbour tells alike, so that more
    windows tell more.
    """
    pairs = list(comparisons.against_reference(cells))
    quiet = {pair.cell: _quiet(comparisons, pair, by_cell) for pair in pairs}
    left = [pair for pair in pairs if _is_beside(comparisons.run, pair, quiet[pair.cell], every)]
    noisy = _beside(comparisons.run, left, every)
    return [replace(pair, cost=noisy.get(pair.cell) or quiet[pair.cell]) for pair in pairs]


def _reference(pair: PairResult) -> Cell:
    return replace(pair.cell, server=pair.reference)


def _quiet(comparisons: PairedComparisons, pair: PairResult, by_cell: ByCell) -> CostRatio | None:
    ratio = comparisons.ratio("cpu", pair.cell, _reference(pair))
    if pair.broken_gates or ratio is None:
        return None
    blocks = len(paired(pair.cell, _reference(pair), cpu_ms_per_request, (), by_cell).ratios)
    return CostRatio(blocks=blocks, ratio=ratio, verdict=verdict(ratio, stats.SAME), margin=stats.SAME, because="")


def _is_beside(run: Run, pair: PairResult, quiet: CostRatio | None, every: ByCell) -> bool:
    """Whether the two are compared in windows in which others were at work."""
    if quiet is None or quiet.ratio.low is None:
        return pair.broken_gates in ((), ("neighbour",))
    all_blocks = paired(pair.cell, _reference(pair), cpu_ms_per_request, (), every).ratios
    return is_alike(run, pair.cell.server, pair.reference) and len(all_blocks) > quiet.blocks


def _beside(run: Run, pairs: Sequence[PairResult], every: ByCell) -> Mapping[Cell, CostRatio]:
    """The costs of those pairs that have enough windows in which nobody disturbed the generator: in the blocks in which others took
    about as much from both servers, unless there are too few of these."""
    cells = dict.fromkeys(cell for pair in pairs for cell in (pair.cell, _reference(pair)))
    # Whatever was chosen for the speed: with more windows there is more to tell by.
    windows = grouped(each for cell in cells for each in disturbance.beside(run, every[cell]))
    found = [
        _matched(
            run,
            paired(pair.cell, _reference(pair), cpu_ms_per_request, (pair.cell.workload, "cpu, beside"), windows),
            windows,
        )
        for pair in pairs
    ]
    costs = {}
    for pair, each, ratio in zip(pairs, found, intervals(run, found, shares(run, "cpu")), strict=True):
        if ratio is None or ratio.low is None:
            continue
        ours, theirs = (
            disturbance.mean_share(run, (one for one in windows[cell] if one.block in each.ratios))
            for cell in (pair.cell, _reference(pair))
        )
        least = margin(ours, theirs, alike=is_alike(run, pair.cell.server, pair.reference))
        costs[pair.cell] = CostRatio(
            blocks=len(each.ratios),
            ratio=ratio,
            verdict=verdict(ratio, least),
            margin=least,
            because=_because(pair, ours, theirs, least),
        )
    return costs


def _matched(run: Run, pair: Paired, windows: ByCell) -> Paired:
    """The pair in those blocks in which others took about as much from both, where there are enough: they raise the cost alike."""
    ours, theirs = (
        by_block(windows[cell], lambda one: disturbance.taken(run, one).server) for cell in (pair.cell, pair.other)
    )
    kept = {
        block: ratio
        for block, ratio in pair.ratios.items()
        if abs(ours.get(block, 0.0) - theirs.get(block, 0.0)) <= MATCHED
    }
    return replace(pair, ratios=kept) if len(kept) >= stats.FEWEST_BLOCKS else pair


def is_alike(run: Run, server: str, other: str) -> bool:
    """Whether two servers are the same program, started by the same command."""
    ours, theirs = run.servers[server], run.servers[other]
    return (ours.stack, ours.command) == (theirs.stack, theirs.command)


def _because(pair: PairResult, ours: float, theirs: float, least: float) -> str:
    return (
        f"by CPU time, because others used {ours:.0%} of the cores of {pair.cell.server} and {theirs:.0%} of those of "
        f"{pair.reference}; that raises CPU time too, so only more than {least:.1%} counts"
    )


# --- two runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Those of a cell in one run by which its cost is known."""

    cpu_ms: Sequence[float]
    """CPU milliseconds a request, of each block; one at least."""
    others: float
    """The share of the server's cores that others took."""
    is_quiet: bool
    """Others took no more than they may."""


def windows(run: Run, cell: Cell, observations: Sequence[Observation]) -> Windows | None:
    """Without the disturbed ones, where enough others are left; else those in which nobody disturbed the generator. None where the
    cost must not be compared, or was not read."""
    gates = broken(run, cell, observations)
    if gates.keys() - {"neighbour"}:
        return None
    chosen = disturbance.beside(run, observations) if gates else disturbance.undisturbed(run, observations)
    cpu_ms = [each for each in by_block(chosen, cpu_ms_per_request).values() if each]
    if not cpu_ms:
        return None
    return Windows(cpu_ms=cpu_ms, others=disturbance.mean_share(run, chosen), is_quiet=not gates)


def of_runs(a: Windows, b: Windows, ratio: Interval) -> CostOfRuns:
    """What the ratio of a cell's costs says. Others may not have been the same in both runs, nor tell alike."""
    is_quiet = a.is_quiet and b.is_quiet
    least = stats.SAME if is_quiet else margin(a.others, b.others, alike=False)
    return CostOfRuns(
        a=stats.median_interval(a.cpu_ms),
        b=stats.median_interval(b.cpu_ms),
        ratio=ratio,
        verdict=verdict(ratio, least),
        margin=least,
        detectable=stats.detectable(ratio, least),
        because=""
        if is_quiet
        else f"others used {a.others:.0%} of the server's cores in A and {b.others:.0%} in B; that raises CPU time too, so only more "
        f"than {least:.1%} counts",
    )
