"""Cells against each other: ratios paired by block, their verdicts, and the ranks of a group."""

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
    Verdict,
)

ByCell = Mapping[Cell, Sequence[Observation]]

Read = Callable[[Observation], float | None]
"""A figure of one observation; None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A figure of a cell over the same of another, in the blocks that both have."""

    cell: Cell
    other: Cell
    kin: tuple[str, ...]
    """Ratios of the same kin scatter alike, and lend each other their scatter where blocks are few."""
    ratios: Mapping[int, float]
    """By block."""

    @property
    def reached(self) -> int:
        """After how many blocks of the run, those that either lacks included."""
        return max(self.ratios, default=0) + 1


def against_reference(
    run: Run,
    cells: Sequence[Cell],
    by_cell: ByCell,
    broken: Mapping[Cell, Collection[Gate]],
) -> Iterable[PairResult]:
    """Each of `cells` over the reference's under the same conditions, where the two have a block in common."""
    reference = run.experiment.reference
    references = {cell.conditions: cell for cell in cells if cell.server == reference}
    found = [
        _servers(cell, references[cell.conditions], by_cell)
        for cell in cells
        if cell.server != reference and cell.conditions in references
    ]
    for pair, interval in zip(found, intervals(run, found, len(found)), strict=True):
        if interval is not None:
            yield _judged(pair, interval, (*broken[pair.cell], *broken[pair.other]))


def grouped(observations: Iterable[Observation]) -> ByCell:
    """The observations of each cell; of one that has none, none."""
    found: dict[Cell, list[Observation]] = defaultdict(list)
    for observation in observations:
        found[observation.cell].append(observation)
    return found


def paired(cell: Cell, other: Cell, read: Read, kin: tuple[str, ...], by_cell: ByCell) -> Paired:
    """What `read` finds in `cell` over what it finds in `other`. A block in which either is nothing has no ratio."""
    ours, theirs = by_block(by_cell[cell], read), by_block(by_cell[other], read)
    common = sorted(block for block in ours.keys() & theirs.keys() if ours[block] and theirs[block])
    return Paired(cell=cell, other=other, kin=kin, ratios={block: ours[block] / theirs[block] for block in common})


def by_block(observations: Sequence[Observation], read: Read) -> Mapping[int, float]:
    """What `read` finds, of each block that has it."""
    figures = ((each.block, read(each)) for each in observations if each.swarm is not None)
    return {block: figure for block, figure in figures if figure is not None}


def metric_of(cell: Cell) -> Metric:
    """What cells under such a load are compared by."""
    return "throughput" if cell.rate is None else "latency"


def compared_figure(measured: Observation) -> float | None:
    """That of one observation; None where it has none."""
    if measured.swarm is None:
        return None
    return measured.swarm.latency_mean_ms if metric_of(measured.cell) == "latency" else measured.swarm.throughput_rps


def _servers(cell: Cell, other: Cell, by_cell: ByCell) -> Paired:
    """Two servers under the same conditions."""
    return paired(cell, other, compared_figure, (cell.workload,), by_cell)


def intervals(run: Run, pairs: Sequence[Paired], comparisons: int) -> Sequence[Interval | None]:
    """Each pair's ratio, so that all `comparisons` hold at once; None where the two have no block in common."""
    levels = [level_at(run, pair.reached) / comparisons for pair in pairs]
    strayed: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for pair, level in zip(pairs, levels, strict=True):
        if len(pair.ratios) < stats.blocks_needed(level):
            strayed[pair.kin] += stats.departures([math.log(ratio) for ratio in pair.ratios.values()])
    reaches = {kin: stats.reach(departures) for kin, departures in strayed.items()}
    return [
        stats.ratio(list(pair.ratios.values()), level, reaches.get(pair.kin, 0.0)) if pair.ratios else None
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


def _judged(pair: Paired, interval: Interval, gates: Iterable[Gate]) -> PairResult:
    broken = tuple(dict.fromkeys(gates))
    return PairResult(
        cell=pair.cell,
        reference=pair.other.server,
        metric=metric_of(pair.cell),
        blocks=len(pair.ratios),
        ratio=interval,
        # What a broken gate has spoilt is shown, but nothing is concluded from it.
        verdict="undecided" if broken else _verdict(pair.cell, interval),
        broken_gates=broken,
    )


def ranks(run: Run, results: Sequence[CellResult], by_cell: ByCell) -> Mapping[Cell, int]:
    """The place of each cell under its conditions; those that cannot be told from the first of their group share its.

    Ties are judged as one family of their own: every server against every other under the same conditions.
    """
    groups = sound(results)
    comparisons = every_pair(groups)
    found: dict[Cell, int] = {}
    for group in groups.values():
        rest = sorted((result.cell for result in group), key=lambda cell: _best_first(cell, by_cell))
        while rest:
            first, *others = rest
            rank = len(group) - len(rest) + 1
            pairs = [_servers(cell, first, by_cell) for cell in others]
            ratios = intervals(run, pairs, comparisons)
            behind = [
                interval is not None and _verdict(cell, interval) == "slower"
                for cell, interval in zip(others, ratios, strict=True)
            ]
            tied = behind.index(True) if True in behind else len(others)
            found |= dict.fromkeys([first, *others[:tied]], rank)
            rest = others[tied:]
    return found


def sound(results: Iterable[CellResult]) -> Mapping[Conditions, Sequence[CellResult]]:
    """The results that may be compared, by their conditions."""
    groups: dict[Conditions, list[CellResult]] = defaultdict(list)
    for result in results:
        if result.figures is not None and not result.broken_gates:
            groups[result.cell.conditions].append(result)
    return groups


def every_pair(groups: Mapping[Conditions, Sequence[CellResult]]) -> int:
    """How many comparisons there are of every server with every other under the same conditions."""
    return sum(math.comb(len(group), 2) for group in groups.values())


def _verdict(cell: Cell, interval: Interval) -> Verdict:
    """Of a ratio of what is compared: a lower latency is faster."""
    verdict = stats.verdict(interval)
    if metric_of(cell) == "throughput" or verdict == "undecided":
        return verdict
    return "slower" if verdict == "faster" else "faster"


def _best_first(cell: Cell, by_cell: ByCell) -> float:
    figures = [figure for figure in by_block(by_cell[cell], compared_figure).values() if figure]
    if not figures:
        return math.inf
    return statistics.median(figures) * (1 if metric_of(cell) == "latency" else -1)
