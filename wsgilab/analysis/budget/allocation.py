"""With a budget: where the time goes until the next look at the comparisons, and what they leave open in the end. Pure.

What is sought are verdicts against the reference or, under conditions that it is not measured under, of every two servers.
From the blocks so far follows how many more would decide each comparison, were its ratio and its scatter what they seem,
and from the seconds that its trials took what that costs. What gives most decisions a second comes first, and what the rest
of the budget cannot decide gets no more of it (futility).

Time is given anew after each look alone, from what was measured by then. Were a comparison left as soon as it looks decided,
the looks would choose the moment at which chance has its way.

Only windows that the analysis will use count. Beside a neighbour speed is decided by clean ones alone, of which each cell must
have `stats.FEWEST_BLOCKS`; and of the blocks to come as large a share will be clean as was so far. What that cannot decide may
still be decided by cost, for which every window counts.
"""

import functools
import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from wsgilab.analysis import stats
from wsgilab.analysis.cell import disturbance
from wsgilab.analysis.pairs.family import (
    ByCell,
    Pair,
    Paired,
    PairedComparisons,
    by_conditions,
    grouped,
    intervals,
    of_versions,
    paired_comparisons,
    shares,
)
from wsgilab.experiment import plan
from wsgilab.model import (
    BudgetOutcome,
    Cell,
    Conditions,
    CostVerdict,
    Duet,
    Gate,
    Observation,
    OpenComparison,
    Run,
)
from wsgilab.model.limits import MOST_BLOCKS

_LADDER = (*range(3, 13), *(round(12 * 1.15**step) for step in range(1, 28)))
"""Numbers of blocks that are tried, up to some 500."""
_LEAST_S = 0.001
"""What a trial takes at least, as it is recorded."""
_BORROWED = 4
"""A scatter that few blocks show counts together with so many degrees of freedom of what is typical of the workload."""
NO_COSTS: Mapping[Pair, CostVerdict] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A comparison that may be worth more blocks, and how many."""

    pair: Pair
    blocks: int


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


def used_s(observations: Iterable[Observation | Duet], lanes: int = 1) -> float:
    """How long trials took, on so many lanes side by side."""
    return math.fsum(each.took_s or 0.0 for each in observations) / lanes


def end_s(run: Run, observations: Iterable[Observation | Duet], look: int, lanes: int = 1) -> float:
    """How much of the budget is used at a look. Each has a part of what the whole blocks, and duets, have left."""
    whole_s = used_s((each for each in observations if not each.look), lanes)
    budget_s = run.experiment.budget_s or 0.0
    return whole_s + max(0.0, budget_s - whole_s) * look / plan.BUDGET_LOOKS[-1]


def allocate(
    run: Run,
    observations: Sequence[Observation],
    broken: Mapping[Cell, Collection[Gate]],
    look: int,
    lanes: int = 1,
    duets: Sequence[Duet] = (),
) -> Sequence[Collection[Cell]]:
    """The cells of each block that is to be measured until `look`; none where nothing more can be decided. `duets` have taken their
    time.

    A run that goes on has trials for this look already. They count, but what they say does not.
    """
    before = [each for each in observations if each.look < look]
    until_s, whole_s = (end_s(run, [*before, *duets], each, lanes) for each in (look, plan.BUDGET_LOOKS[-1]))
    gone_s = used_s([*observations, *duets], lanes)
    capacity_s, left_s = lanes * max(0.0, until_s - gone_s), lanes * max(0.0, whole_s - gone_s)
    every, have = grouped(before), grouped(observations)
    costs, items = trial_s(every), []
    most = max((each.block for each in observations), default=0) + left_s / (2 * min(costs.values(), default=math.inf))
    for pair, blocks in _more(run, before, broken, look, most).items():
        more = blocks - (_common(pair, have) - _common(pair, every))
        if more > 0 and costs.keys() >= set(pair):
            items.append(_Open(pair=pair, blocks=more))
    chosen = _chosen(items, costs, capacity_s, left_s)
    room = MOST_BLOCKS - 1 - max((each.block for each in observations), default=0)
    fitting, at_s = [], 0.0
    for cells in chosen[:room]:
        took_s = math.fsum(costs[cell] for cell in cells)
        # The look may be a block late, but the end may not.
        if at_s < capacity_s and at_s + took_s <= left_s:
            fitting.append(cells)
            at_s += took_s
    return fitting


def outcome(
    run: Run,
    by_cell: ByCell,
    every: ByCell,
    known: PairedComparisons,
    duets: Sequence[Duet] = (),
    by_cost: Mapping[Pair, CostVerdict] = NO_COSTS,
) -> BudgetOutcome | None:
    """What a run with a budget has decided by the observations `by_cell`, of `every` one, and what the rest would take; None
    without a budget. `by_cost`: what the CPU time a request says of servers that are bound by CPU."""
    if run.experiment.budget_s is None or run.experiment.tune is not None:
        return None
    costs, share, sought = trial_s(every), _clean_share(run, by_cell, every), wanted(run)
    pairs = [pair for pair in sought if pair in known.verdicts]
    needed = _needed(run, known, plan.BUDGET_LOOKS[-1])
    left = []
    for pair, blocks in needed.items():
        more = None if blocks is None else max(1, blocks - len(known.measured[pair][0].ratios)) / share
        cost_s = None if more is None else more * math.fsum(costs.get(cell, 0.0) for cell in pair)
        cost = by_cost.get(pair, "undecided")
        left.append(OpenComparison(cell=pair[0], other=pair[1].server, more_s=cost_s, cost=cost))
    left.sort(key=lambda each: math.inf if each.more_s is None else each.more_s)
    return BudgetOutcome(
        budget_s=run.experiment.budget_s,
        used_s=used_s([*itertools.chain.from_iterable(every.values()), *duets], max(1, len(run.lanes))),
        comparisons=len(pairs),
        spoilt=sum(bool(known.broken[one] or known.broken[two]) for one, two in sought),
        decided=len(pairs) - len(left),
        left=tuple(left),
        by_cost=sum(
            by_cost.get(pair, "undecided") != "undecided" for pair in sought if pair not in pairs or pair in needed
        ),
    )


def open_speeds(
    run: Run, observations: Sequence[Observation], broken: Mapping[Cell, Collection[Gate]]
) -> Mapping[Pair, int | None]:
    """How many blocks, all told, would decide the speed of each comparison in which that is open; None where more than are tried
    would."""
    return _needed(run, paired_comparisons(run, grouped(observations), broken), plan.BUDGET_LOOKS[-1])


def _more(
    run: Run, before: Sequence[Observation], broken: Mapping[Cell, Collection[Gate]], look: int, most: float
) -> Mapping[Pair, int]:
    """How many more blocks each comparison that is open needs, without those that need more than `most` in all."""
    every, clean = grouped(before), grouped(disturbance.clean(run, before))
    share = _clean_share(run, clean, every)
    noisy = frozenset(cell for cell, gates in broken.items() if "neighbour" in gates)
    # A neighbour comes and goes. Of what is wrong with a server itself more blocks are no cure.
    sound: Mapping[Cell, Collection[Gate]] = {cell: () if cell in noisy else gates for cell, gates in broken.items()}
    known = rough = paired_comparisons(run, clean, sound)
    if share < 1:
        rough = paired_comparisons(run, every, sound)
        known = _with_unseen(known, rough)
    found = {
        pair: math.ceil(max(1, blocks - _common(pair, clean)) / share)
        for pair, blocks in _needed(run, known, look, most * share, noisy).items()
        if blocks is not None
    }
    if noisy:
        for pair, blocks in _needed(run, rough, look, most).items():
            if blocks is not None and not noisy.isdisjoint(pair):
                found.setdefault(pair, max(1, blocks - _common(pair, every)))
    return found


def _with_unseen(known: PairedComparisons, rough: PairedComparisons) -> PairedComparisons:
    """With the comparisons that have no clean block yet: of these the middle of all blocks is a first guess, and their scatter
    is unknown."""
    unseen = {
        pair: (replace(each, ratios={0: ratio.median}), replace(ratio, low=None, high=None))
        for pair, (each, ratio) in rough.measured.items()
        if pair in rough.verdicts and pair not in known.measured
    }
    return replace(
        known,
        measured={**known.measured, **unseen},
        verdicts={**known.verdicts, **dict.fromkeys(unseen, "undecided")},
    )


def _clean_share(run: Run, clean: ByCell, every: ByCell) -> float:
    """The share of the blocks of all comparisons that both cells have a clean window in. One clean block more counts with them, so that
    the few blocks of a small run may all be disturbed, and leave hope."""
    blocks, left = (sum(_common(pair, each) for pair in wanted(run)) for each in (every, clean))
    return (left + 1) / (blocks + 1)


def _common(pair: Pair, by_cell: ByCell) -> int:
    """How many blocks have both cells."""
    return len(frozenset.intersection(*(frozenset(each.block for each in by_cell[cell]) for cell in pair)))


def trial_s(by_cell: ByCell) -> Mapping[Cell, float]:
    """Seconds of a trial of each cell that was measured."""
    taken = {
        cell: [max(each.took_s, _LEAST_S) for each in observations if each.swarm and each.took_s is not None]
        for cell, observations in by_cell.items()
    }
    return {cell: statistics.fmean(each) for cell, each in taken.items() if each}


def _needed(
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


def _chosen(
    items: Iterable[_Open], costs: Mapping[Cell, float], capacity_s: float, left_s: float
) -> Sequence[frozenset[Cell]]:
    """The cells of each block. What decides most a second comes first: under some conditions, the comparisons that need the
    fewest blocks, beside those that were chosen before. No more is chosen than fits `left_s`, or than fills `capacity_s`."""
    groups: dict[Conditions, list[_Open]] = defaultdict(list)
    for each in sorted(items, key=lambda each: (each.blocks, costs[each.pair[0]])):
        groups[each.pair[0].conditions].append(each)
    counts = dict.fromkeys(groups, 0)
    planned_s = 0.0

    def more_s(conditions: Conditions, count: int) -> float:
        group = groups[conditions]
        return _cost_s(group[:count], costs) - _cost_s(group[: counts[conditions]], costs)

    while planned_s < capacity_s:
        offers = [(each, count) for each in groups for count in range(counts[each] + 1, len(groups[each]) + 1)]
        fitting = [offer for offer in offers if planned_s + more_s(*offer) <= left_s]
        if not fitting:
            break
        conditions, count = max(fitting, key=lambda offer: (offer[1] - counts[offer[0]]) / more_s(*offer))
        planned_s += more_s(conditions, count)
        # What was chosen last is what may not fit before the look: its group comes last.
        counts[conditions] = count
        groups[conditions] = groups.pop(conditions)
    return [cells for conditions, group in groups.items() for cells in _passes(group[: counts[conditions]])]


def _cost_s(items: Sequence[_Open], costs: Mapping[Cell, float]) -> float:
    """How long it takes to decide these together."""
    blocks: dict[Cell, int] = {}
    for each in items:
        for cell in each.pair:
            blocks[cell] = max(each.blocks, blocks.get(cell, 0))
    return math.fsum(costs[cell] * count for cell, count in blocks.items())


def _passes(items: Sequence[_Open]) -> Iterable[frozenset[Cell]]:
    """The cells of each block: every comparison until it has what it needs."""
    for number in range(max((each.blocks for each in items), default=0)):
        yield frozenset(itertools.chain.from_iterable(each.pair for each in items if each.blocks > number))
