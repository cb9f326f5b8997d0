"""The ratio of a figure of two cells, block by block, and its interval. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from wsgilab.analysis import paired_ratio, stats
from wsgilab.analysis.cell.readings import Read
from wsgilab.experiment import plan
from wsgilab.model import Cell, Conditions, Interval, Observation, Run

ByCell = Mapping[Cell, Sequence[Observation]]

Pair = tuple[Cell, Cell]
"""Two cells, of which the first is divided by the second. The reference is the second, where it is one of the two."""

Share = Callable[[Cell, Cell], float]
"""The share of the error rate that the comparison of two cells may spend, whichever of them is named first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A figure of a cell over the same figure of another cell, in the blocks that both have."""

    cell: Cell
    other: Cell
    kin: tuple[str, ...]
    """Ratios of the same kin scatter more or less alike, and lend each other their scatter."""
    ratios: Mapping[int, float]
    """By block."""
    look: int = 0
    """With a budget, the look that the last ratio was measured for."""

    @property
    def reached(self) -> int:
        """The number of blocks of the run up to the last ratio, including those that either cell lacks. With a budget, the
        look, as `plan.looks` has it."""
        return self.look or max(self.ratios, default=0) + 1


def grouped(observations: Iterable[Observation]) -> ByCell:
    """The observations of each cell; an empty sequence for a cell without any."""
    found: dict[Cell, list[Observation]] = defaultdict(list)
    for observation in observations:
        found[observation.cell].append(observation)
    return found


def by_conditions(cells: Iterable[Cell]) -> Mapping[Conditions, Sequence[Cell]]:
    """The cells under the same conditions."""
    groups: dict[Conditions, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.conditions].append(cell)
    return groups


def by_block(observations: Sequence[Observation], read: Read) -> Mapping[int, float]:
    """The figure of each block that has it."""
    figures = ((each.block, read(each)) for each in observations if each.swarm is not None)
    return {block: figure for block, figure in figures if figure is not None}


def paired(cell: Cell, other: Cell, read: Read, kin: tuple[str, ...], by_cell: ByCell) -> Paired:
    """The figure of `cell` over that of `other`. A block in which either is 0 or missing has no ratio."""
    ours, theirs = by_block(by_cell[cell], read), by_block(by_cell[other], read)
    common = sorted(block for block in ours.keys() & theirs.keys() if ours[block] and theirs[block])
    look = max((each.look for each in by_cell[cell] if each.block in common), default=0)
    ratios = {block: ours[block] / theirs[block] for block in common}
    return Paired(cell=cell, other=other, kin=kin, ratios=ratios, look=look)


def intervals(
    run: Run, pairs: Sequence[Paired], share: Share, spoilt: Set[Cell] = frozenset()
) -> Sequence[Interval | None]:
    """The ratio of each pair, wrong with a chance of its share of the error rate at most; None where the two have no block
    in common.

    Pairs may have different numbers of blocks. Each lends its scatter to the others of its kin. A pair with a cell of
    `spoilt` lends none, unless its kin has no other pair.
    """
    lenders: dict[tuple[bool, tuple[str, ...]], dict[frozenset[Cell], Sequence[float]]] = defaultdict(dict)
    for pair in pairs:
        # The other way round, as in claims, it is the same comparison.
        both = frozenset((pair.cell, pair.other))
        lenders[not spoilt.isdisjoint(both), pair.kin][both] = list(pair.ratios.values())
    scatters = {
        kin: paired_ratio.scatter((lenders[False, kin] or lenders[True, kin]).values())
        for kin in {pair.kin for pair in pairs}
    }
    return [
        paired_ratio.interval(
            list(pair.ratios.values()),
            level_at(run, pair.reached) * share(pair.cell, pair.other),
            scatters[pair.kin],
        )
        if pair.ratios
        else None
        for pair in pairs
    ]


def level_at(run: Run, blocks: int) -> float:
    """The share of the error rate that a look after `blocks` blocks may spend, before it is split over comparisons.

    A run without `precision` has one look, which may spend all of it. With `precision` each look may spend what
    `stats.spent` allows beyond the look before it, so that all looks together spend no more than the whole.
    """
    looks = plan.looks(run.experiment)
    at = next((index for index, look in enumerate(looks) if blocks <= look), len(looks) - 1)
    previous = looks[at - 1] if at else 0
    return stats.spent(looks[at] / looks[-1]) - stats.spent(previous / looks[-1])
