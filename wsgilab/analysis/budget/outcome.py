"""What a run with a budget has decided, and what the rest would take. Pure."""

import itertools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from wsgilab.analysis.budget.needed import clean_share, needed, wanted
from wsgilab.analysis.budget.seconds import trial_s, used_s
from wsgilab.analysis.pairs.family import PairedComparisons
from wsgilab.analysis.pairs.ratios import ByCell, Pair
from wsgilab.experiment import plan
from wsgilab.model import BudgetOutcome, CostVerdict, Duet, OpenComparison, Run

NO_COSTS: Mapping[Pair, CostVerdict] = MappingProxyType({})


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
    costs, share, sought = trial_s(every), clean_share(run, by_cell, every), wanted(run)
    pairs = [pair for pair in sought if pair in known.verdicts]
    left_open = needed(run, known, plan.BUDGET_LOOKS[-1])
    left = []
    for pair, blocks in left_open.items():
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
            by_cost.get(pair, "undecided") != "undecided" for pair in sought if pair not in pairs or pair in left_open
        ),
    )
