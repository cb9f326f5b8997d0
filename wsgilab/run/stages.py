"""What a run measures next, from what it has measured so far: a part of it at a time."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from wsgilab.analysis import budget
from wsgilab.analysis.compare import broken_gates, unsettled
from wsgilab.analysis.pairs import grouped
from wsgilab.experiment import plan
from wsgilab.model import Cell, Run, Trial
from wsgilab.model.text import counted
from wsgilab.results.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Trials until the comparisons are looked at again."""

    trials: Sequence[Trial]
    done: int
    """How many trials the run had before."""
    words: str
    """What to say of it; empty: nothing."""
    until_s: float | None = None
    """No block begins after this moment of `time.monotonic`."""


def stages(
    run: Run, store: Store, lanes: int, *, repeats: bool, clock: Callable[[], float] = time.monotonic
) -> Iterator[Stage]:
    """The stages of a run, or of what is left of it. Each must have been carried out before the next is asked for.

    With `repeats`, trials that others disturbed in an earlier session are carried out again.
    """
    if run.experiment.budget_s is None:
        return _by_blocks(run, store, repeats)
    return _by_budget(run, store, lanes, repeats, clock)


def _by_blocks(run: Run, store: Store, repeats: bool) -> Iterator[Stage]:
    """Blocks of all cells; with `precision`, of the unsettled ones alone, until there are none."""
    cells: Collection[Cell] = run.experiment.cells
    for first, last in pairwise((0, *plan.looks(run.experiment))):
        done = store.done(disturbed=not repeats)
        trials = plan.remaining(plan.schedule(run.experiment, run.seed, range(first, last)), done, cells)
        words = _begins(run, trials)
        if first:
            words = (
                f"{len(cells)} cells are not settled by {first} blocks: {len(trials)} trials more." if trials else ""
            )
        yield Stage(trials=trials, done=len(done), words=words)
        cells = unsettled(run, store.observations(), last)
        if not cells:
            return


def _by_budget(run: Run, store: Store, lanes: int, repeats: bool, clock: Callable[[], float]) -> Iterator[Stage]:
    """Two blocks of all cells, and then of those that are worth it, from look to look."""
    earlier = store.observations()
    begin_s = clock() - budget.used_s(earlier, lanes)
    done = store.done(disturbed=not repeats)
    later = [
        Trial(block=each.block, position=each.position, cell=each.cell, look=each.look) for each in earlier if each.look
    ]
    trials = plan.remaining((*plan.schedule(run.experiment, run.seed), *later), done)
    yield Stage(trials=trials, done=len(done), words=_begins(run, trials))
    for look in plan.BUDGET_LOOKS:
        observations = store.observations()
        if look < max((each.look for each in observations), default=0):
            # In an earlier session.
            continue
        chosen = budget.allocate(run, observations, broken_gates(run, grouped(observations)), look, lanes)
        first = 1 + max((each.block for each in observations), default=0)
        trials = plan.passes(run.experiment, run.seed, first, chosen, look)
        until_s = begin_s + budget.end_s(run, observations, look, lanes)
        cells = len({each.cell for each in trials})
        words = (
            f"{counted(cells, 'cell')} may still be decided: {counted(len(trials), 'trial')} more." if trials else ""
        )
        yield Stage(trials=trials, done=len(store.done(disturbed=True)), words=words, until_s=until_s)


def _begins(run: Run, trials: Sequence[Trial]) -> str:
    return f"Run {run.id}: {len(trials)} trials, seed {run.seed}."
