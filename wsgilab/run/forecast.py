"""How long a run will go on, from how long its trials took so far. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from wsgilab.experiment import plan
from wsgilab.model import Cell, Run, Trial


class Forecast:
    """Of one command: what an earlier one measured of the run counts for how long trials take, and not for the time that is over.

    A trial is expected to take as long as those of its cell have; else as those of its workload; else as all. What lies between
    trials, what is repeated, and lanes side by side follow from how long the trials of this command took together and how much
    time is over.
    """

    def __init__(self, run: Run, *, began_s: float, used_s: float = 0.0) -> None:
        """`began_s`: a moment of the clock that all other moments are of. `used_s`: how much of its budget it has used before."""
        self._run = run
        self._began_s = began_s
        budget_s = run.experiment.budget_s
        self._end_s = None if budget_s is None else began_s + budget_s - used_s
        self._took: dict[Cell, list[float]] = defaultdict(list)
        self._own_s = 0.0

    def learn(self, cell: Cell, took_s: float | None, *, own: bool = True) -> None:
        """How long a trial took; `own`: it was one of this command. None: nobody knows."""
        if took_s is not None:
            self._took[cell].append(took_s)
            self._own_s += took_s if own else 0.0

    def left_s(self, now_s: float, ahead: Sequence[Trial]) -> float | None:
        """Seconds until the run, or with `precision` this part of it, has ended; `ahead` are the trials of this part that have not.
        None where that is not known."""
        trials_s = self._trials_s(now_s, ahead)
        if self._end_s is None:
            return trials_s
        end_s = max(0.0, self._end_s - now_s)
        if trials_s is None:
            return end_s
        look = max((each.look for each in ahead), default=0)
        if not look:
            # The whole blocks come first in any case.
            return max(trials_s, end_s)
        # A block that was begun is measured to its end.
        block_s = self._trials_s(now_s, [each for each in ahead if each.block == ahead[0].block]) or 0.0
        return max(block_s, min(trials_s, end_s) if look == plan.BUDGET_LOOKS[-1] else end_s)

    def _trials_s(self, now_s: float, ahead: Iterable[Trial]) -> float | None:
        if not self._own_s:
            return None
        of_workloads: dict[str, list[float]] = defaultdict(list)
        for cell, took in self._took.items():
            of_workloads[cell.workload] += took
        every = [each for took in of_workloads.values() for each in took]
        expected = (
            statistics.fmean(self._took.get(each.cell) or of_workloads.get(each.cell.workload) or every)
            for each in ahead
        )
        return sum(expected) * (now_s - self._began_s) / self._own_s

    def share(self, now_s: float, ahead: Sequence[Trial]) -> float:
        """How much of the time is over, from 0 to 1."""
        over_s, left_s = now_s - self._began_s, self.left_s(now_s, ahead)
        return over_s / (over_s + left_s) if left_s is not None and over_s + left_s > 0 else 0.0
