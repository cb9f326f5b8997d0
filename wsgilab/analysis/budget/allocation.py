"""With a budget: where the time goes until the next look at the comparisons. Pure.

What is sought are verdicts against the reference or, under conditions that it is not measured under, of every two servers.
From the blocks so far follows how many more would decide each comparison (`needed`), and from the seconds that its trials took
what that costs. What gives most decisions a second comes first, and what the rest of the budget cannot decide gets no more of it
(futility).

Time is given anew after each look alone, from what was measured by then. Were a comparison left as soon as it looks decided,
the looks would choose the moment at which chance has its way.

Only windows that the analysis will use count. Beside a neighbour speed is decided by clean ones alone, of which each cell must
have `stats.FEWEST_BLOCKS`; and of the blocks to come as large a share will be clean as was so far. What that cannot decide may
still be decided by cost, for which every window counts.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis.budget.needed import clean_share, common, needed
from wsgilab.analysis.budget.seconds import end_s, trial_s, used_s
from wsgilab.analysis.cell import disturbance
from wsgilab.analysis.pairs.family import PairedComparisons, paired_comparisons
from wsgilab.analysis.pairs.ratios import Pair, grouped
from wsgilab.experiment import plan
from wsgilab.model import Cell, Conditions, Duet, Gate, Observation, Run
from wsgilab.model.limits import MOST_BLOCKS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A comparison that may be worth more blocks, and how many."""

    pair: Pair
    blocks: int


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
        more = blocks - (common(pair, have) - common(pair, every))
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


def _more(
    run: Run, before: Sequence[Observation], broken: Mapping[Cell, Collection[Gate]], look: int, most: float
) -> Mapping[Pair, int]:
    """How many more blocks each comparison that is open needs, without those that need more than `most` in all."""
    every, clean = grouped(before), grouped(disturbance.clean(run, before))
    share = clean_share(run, clean, every)
    noisy = frozenset(cell for cell, gates in broken.items() if "neighbour" in gates)
    # A neighbour comes and goes. Of what is wrong with a server itself more blocks are no cure.
    sound: Mapping[Cell, Collection[Gate]] = {cell: () if cell in noisy else gates for cell, gates in broken.items()}
    known = rough = paired_comparisons(run, clean, sound)
    if share < 1:
        rough = paired_comparisons(run, every, sound)
        known = _with_unseen(known, rough)
    found = {
        pair: math.ceil(max(1, blocks - common(pair, clean)) / share)
        for pair, blocks in needed(run, known, look, most * share, noisy).items()
        if blocks is not None
    }
    if noisy:
        for pair, blocks in needed(run, rough, look, most).items():
            if blocks is not None and not noisy.isdisjoint(pair):
                found.setdefault(pair, max(1, blocks - common(pair, every)))
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
