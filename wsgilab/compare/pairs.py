"""Servers against each other: ratios paired by block, their verdicts, and the ranks of a group."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab import plan, stats
from wsgilab.model import (
    Cell,
    CellResult,
    Conditions,
    Gate,
    Interval,
    Metric,
    Observation,
    PairResult,
    Run,
    SwarmReport,
    Verdict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paired:
    """Two cells under the same conditions, and the ratios of the blocks that both have."""

    cell: Cell
    other: Cell
    ratios: Sequence[float]
    reached: int
    """After how many blocks of the run, those that either lacks included."""


def against_reference(
    run: Run,
    cells: Sequence[Cell],
    by_cell: Mapping[Cell, Sequence[Observation]],
    broken: Mapping[Cell, Collection[Gate]],
) -> Iterable[PairResult]:
    """Each of `cells` over the reference's under the same conditions, where the two have a block in common."""
    reference = run.experiment.reference
    references = {cell.conditions: cell for cell in cells if cell.server == reference}
    found = [
        _paired(cell, references[cell.conditions], by_cell)
        for cell in cells
        if cell.server != reference and cell.conditions in references
    ]
    for pair, interval in zip(found, _intervals(run, found, len(found)), strict=True):
        if interval is not None:
            yield _judged(pair, interval, (*broken[pair.cell], *broken[pair.other]))


def _paired(cell: Cell, other: Cell, by_cell: Mapping[Cell, Sequence[Observation]]) -> _Paired:
    ours, theirs = _by_block(by_cell[cell]), _by_block(by_cell[other])
    common = sorted(ours.keys() & theirs.keys())
    ratios = [ours[block] / theirs[block] for block in common]
    return _Paired(cell=cell, other=other, ratios=ratios, reached=max(common, default=0) + 1)


def _by_block(observations: Sequence[Observation]) -> Mapping[int, float]:
    """What is compared, of each block that has it."""
    figures = ((each.block, _compared(each.cell)(each.swarm)) for each in observations if each.swarm is not None)
    return {block: figure for block, figure in figures if figure}


def _metric(cell: Cell) -> Metric:
    return "throughput" if cell.rate is None else "latency"


def _compared(cell: Cell) -> Callable[[SwarmReport], float]:
    if _metric(cell) == "latency":
        return lambda swarm: swarm.latency_mean_ms
    return lambda swarm: swarm.throughput_rps


def _intervals(run: Run, pairs: Sequence[_Paired], comparisons: int) -> Sequence[Interval | None]:
    """Each pair's ratio, so that all `comparisons` hold at once; None where the two have no block in common."""
    levels = [level_at(run, pair.reached) / comparisons for pair in pairs]
    strayed: dict[str, list[float]] = defaultdict(list)
    for pair, level in zip(pairs, levels, strict=True):
        if len(pair.ratios) < stats.blocks_needed(level):
            strayed[pair.cell.workload] += stats.departures([math.log(ratio) for ratio in pair.ratios])
    reaches = {workload: stats.reach(departures) for workload, departures in strayed.items()}
    return [
        stats.ratio(pair.ratios, level, reaches.get(pair.cell.workload, 0.0)) if pair.ratios else None
        for pair, level in zip(pairs, levels, strict=True)
    ]


def level_at(run: Run, blocks: int) -> float:
    """The share of the error rate that a look after `blocks` blocks may spend, before it is split over comparisons.

    Without `precision` there is one look, and it has all. With it each look has what `stats.spent` allows beyond the
    look before, so that all together have no more than the whole.
    """
    looks = plan.looks(run.experiment)
    at = next((index for index, look in enumerate(looks) if blocks <= look), len(looks) - 1)
    previous = looks[at - 1] if at else 0
    return stats.spent(looks[at] / looks[-1]) - stats.spent(previous / looks[-1])


def blocks_needed(run: Run, cells: Sequence[Cell]) -> int:
    """From how many blocks on the ratios' intervals are exact, at whichever look."""
    compared = sum(
        replace(cell, server=run.experiment.reference) in run.experiment.cells
        and cell.server != run.experiment.reference
        for cell in cells
    )
    looks = plan.looks(run.experiment)
    return max(stats.blocks_needed(level_at(run, look) / max(1, compared)) for look in looks)


def _judged(pair: _Paired, interval: Interval, gates: Iterable[Gate]) -> PairResult:
    broken = tuple(dict.fromkeys(gates))
    return PairResult(
        cell=pair.cell,
        reference=pair.other.server,
        metric=_metric(pair.cell),
        blocks=len(pair.ratios),
        ratio=interval,
        # What a broken gate has spoilt is shown, but nothing is concluded from it.
        verdict="undecided" if broken else _verdict(pair.cell, interval),
        broken_gates=broken,
    )


def ranks(run: Run, results: Sequence[CellResult], by_cell: Mapping[Cell, Sequence[Observation]]) -> Mapping[Cell, int]:
    """The place of each cell under its conditions; those that cannot be told from the first of their group share its.

    Ties are judged as one family of their own: every server against every other under the same conditions.
    """
    groups: dict[Conditions, list[CellResult]] = defaultdict(list)
    for result in results:
        if result.figures is not None and not result.broken_gates:
            groups[result.cell.conditions].append(result)
    comparisons = sum(math.comb(len(group), 2) for group in groups.values())
    found: dict[Cell, int] = {}
    for group in groups.values():
        rest = sorted((result.cell for result in group), key=lambda cell: _best_first(cell, by_cell))
        while rest:
            first, *others = rest
            rank = len(group) - len(rest) + 1
            pairs = [_paired(cell, first, by_cell) for cell in others]
            intervals = _intervals(run, pairs, comparisons)
            behind = [
                interval is not None and _verdict(cell, interval) == "slower"
                for cell, interval in zip(others, intervals, strict=True)
            ]
            tied = behind.index(True) if True in behind else len(others)
            found |= dict.fromkeys([first, *others[:tied]], rank)
            rest = others[tied:]
    return found


def _verdict(cell: Cell, interval: Interval) -> Verdict:
    """Of a ratio of what is compared: a lower latency is faster."""
    verdict = stats.verdict(interval)
    if _metric(cell) == "throughput" or verdict == "undecided":
        return verdict
    return "slower" if verdict == "faster" else "faster"


def _best_first(cell: Cell, by_cell: Mapping[Cell, Sequence[Observation]]) -> float:
    figures = list(_by_block(by_cell[cell]).values())
    if not figures:
        return math.inf
    return statistics.median(figures) * (1 if _metric(cell) == "latency" else -1)
