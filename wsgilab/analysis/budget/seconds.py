"""How long trials took, and how much of a budget is used at each look. Pure."""

import math
import statistics
from collections.abc import Iterable, Mapping

from wsgilab.analysis.pairs.ratios import ByCell
from wsgilab.experiment import plan
from wsgilab.model import Cell, Duet, Observation, Run

_LEAST_S = 0.001
"""What a trial takes at least, as it is recorded."""


def used_s(observations: Iterable[Observation | Duet], lanes: int = 1) -> float:
    """How long trials took, on so many lanes side by side."""
    return math.fsum(each.took_s or 0.0 for each in observations) / lanes


def trial_s(by_cell: ByCell) -> Mapping[Cell, float]:
    """Seconds of a trial of each cell that was measured."""
    taken = {
        cell: [max(each.took_s, _LEAST_S) for each in observations if each.swarm and each.took_s is not None]
        for cell, observations in by_cell.items()
    }
    return {cell: statistics.fmean(each) for cell, each in taken.items() if each}


def end_s(run: Run, observations: Iterable[Observation | Duet], look: int, lanes: int = 1) -> float:
    """How much of the budget is used at a look. Each has a part of what the whole blocks, and duets, have left."""
    whole_s = used_s((each for each in observations if not each.look), lanes)
    budget_s = run.experiment.budget_s or 0.0
    return whole_s + max(0.0, budget_s - whole_s) * look / plan.BUDGET_LOOKS[-1]
