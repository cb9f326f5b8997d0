"""Cells against each other: ratios paired by block, and intervals that hold at once."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.analysis import stats
from wsgilab.experiment import plan
from wsgilab.model import Cell, Interval, Metric, Observation, Run

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


def intervals(
    run: Run, pairs: Sequence[Paired], comparisons: float, spoilt: Collection[Cell] = ()
) -> Sequence[Interval | None]:
    """Each pair's ratio, so that all `comparisons` hold at once; None where the two have no block in common.

    Where blocks are few, a pair reaches as far as those of its kin do, or those of its kin with either of its cells if
    that is further: a server that scatters more than others does so in all of its pairs. A pair with a cell of `spoilt`
    lends its scatter to no other, unless its kin has no pair without.
    """
    levels = [level_at(run, pair.reached) / comparisons for pair in pairs]
    strayed: dict[tuple[bool, tuple[str, ...], Cell | None], list[float]] = defaultdict(list)
    for pair, level in zip(pairs, levels, strict=True):
        if len(pair.ratios) < stats.blocks_needed(level):
            away = stats.departures([math.log(ratio) for ratio in pair.ratios.values()])
            for cell in (None, pair.cell, pair.other):
                strayed[pair.cell in spoilt or pair.other in spoilt, pair.kin, cell] += away
    reaches = {of: stats.reach(away) for of, away in strayed.items()}

    def reach(pair: Paired) -> float:
        of_kin = ((pair.kin, cell) for cell in (None, pair.cell, pair.other))
        return max(reaches.get((False, *each), reaches.get((True, *each), 0.0)) for each in of_kin)

    return [
        stats.ratio(list(pair.ratios.values()), level, reach(pair)) if pair.ratios else None
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
