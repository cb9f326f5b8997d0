"""How many blocks would decide each comparison that is open, were its ratio and its scatter what they seem. Pure."""

import functools
import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from wsgilab.analysis import stats
from wsgilab.analysis.pairs.family import PairedComparisons, of_versions, paired_comparisons, shares
from wsgilab.analysis.pairs.ratios import ByCell, Pair, Paired, by_conditions, grouped, intervals
from wsgilab.experiment import plan
from wsgilab.model import Cell, Gate, Observation, Run

_LADDER = (*range(3, 13), *(round(12 * 1.15**step) for step in range(1, 28)))
"""Numbers of blocks that are tried, up to some 500."""
_BORROWED = 4
"""A scatter that few blocks show counts together with so many degrees of freedom of what is typical of the workload."""


def wanted(run: Run) -> Sequence[Pair]:
    """The comparisons that time is given for."""
    if run.experiment.counterparts:
        return of_versions(run)
    found: list[Pair] = []
    for group in by_conditions(run.experiment.cells).values():
        references = [cell for cell in group if cell.server == run.experiment.reference]
        if references:
            found += [(cell, references[0]) for cell in group if cell not in references]
        else:
            found += itertools.combinations(group, 2)
    return found


def open_speeds(
    run: Run, observations: Sequence[Observation], broken: Mapping[Cell, Collection[Gate]]
) -> Mapping[Pair, int | None]:
    """How many blocks, all told, would decide the speed of each comparison in which that is open; None where more than are tried
    would."""
    return needed(run, paired_comparisons(run, grouped(observations), broken), plan.BUDGET_LOOKS[-1])


def needed(
    run: Run, known: PairedComparisons, look: int, most: float = math.inf, noisy: Collection[Cell] = ()
) -> Mapping[Pair, int | None]:
    """How many blocks would decide each comparison that is open, all told, at this look; None where more than `most`, or than
    are tried.

    Those with a cell of `noisy` are open whatever they say, and need `stats.FEWEST_BLOCKS` at least.
    """
    share = shares(run, "speed")
    kin: dict[tuple[str, ...], list[Paired]] = defaultdict(list)
    for pair in wanted(run):
        if pair in known.verdicts:
            kin[known.measured[pair][0].kin].append(known.measured[pair][0])
    found: dict[Pair, int | None] = {}
    for pairs in kin.values():
        scatters = spreads(pairs)
        unsettled = {(each.cell, each.other) for each in pairs if each.cell in noisy or each.other in noisy}
        is_open = unsettled | {
            (each.cell, each.other)
            for each in pairs
            if known.verdicts[each.cell, each.other] == "undecided"
            and not stats.is_same(known.measured[each.cell, each.other][1])
        }
        found |= dict.fromkeys(is_open)
        for blocks in _LADDER:
            if not is_open or blocks > most:
                break
            likely = [drawn(each, spread, blocks, look) for each, spread in zip(pairs, scatters, strict=True)]
            for each, interval in zip(likely, intervals(run, likely, share), strict=True):
                pair = each.cell, each.other
                if pair in is_open and interval is not None and stats.verdict(interval) != "undecided":
                    found[pair] = max(blocks, stats.FEWEST_BLOCKS) if pair in unsettled else blocks
                    is_open.remove(pair)
    return found


def drawn(pair: Paired, spread: float, blocks: int, look: int) -> Paired:
    """The comparison as it may well look after so many blocks."""
    middle = statistics.median(map(math.log, pair.ratios.values()))
    ratios = {at: math.exp(middle + spread * score) for at, score in enumerate(_scores(blocks))}
    return replace(pair, ratios=ratios, look=look)


@functools.cache
def _scores(blocks: int) -> Sequence[float]:
    """So many values evenly spread over the normal distribution, with a standard deviation of 1."""
    normal = statistics.NormalDist()
    scores = [normal.inv_cdf((number + 0.5) / blocks) for number in range(blocks)]
    scale = statistics.stdev(scores)
    return [score / scale for score in scores]


def spreads(pairs: Sequence[Paired]) -> Sequence[float]:
    """The standard deviation of each comparison's log ratios, drawn towards what is typical of its kin."""
    logs = [[math.log(ratio) for ratio in pair.ratios.values()] for pair in pairs]
    own = [(len(each) - 1, statistics.variance(each) if len(each) > 1 else 0.0) for each in logs]
    # The median of chi-square with d degrees of freedom is about d (1 - 2 / 9d)^3 (Wilson and Hilferty 1931).
    typical = statistics.median([v / (1 - 2 / (9 * d)) ** 3 for d, v in own if d] or [0.0])
    return [math.sqrt((d * v + _BORROWED * typical) / (d + _BORROWED)) for d, v in own]


def clean_share(run: Run, clean: ByCell, every: ByCell) -> float:
    """The share of the blocks of all comparisons that both cells have a clean window in. One clean block more counts with them, so that
    the few blocks of a small run may all be disturbed, and leave hope."""
    blocks, left = (sum(common(pair, each) for pair in wanted(run)) for each in (every, clean))
    return (left + 1) / (blocks + 1)


def common(pair: Pair, by_cell: ByCell) -> int:
    """How many blocks have both cells."""
    return len(frozenset.intersection(*(frozenset(each.block for each in by_cell[cell]) for cell in pair)))
