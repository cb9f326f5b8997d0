"""What a run measures next, from what it has measured so far: a part of it at a time."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from wsgilab.analysis import budget, capacity_rates, duets, race
from wsgilab.analysis.compare import broken_gates, unsettled
from wsgilab.analysis.pairs import can_have_duets, grouped
from wsgilab.experiment import plan
from wsgilab.model import Cell, Run, Trial
from wsgilab.model.text import counted
from wsgilab.results.store import Store

_NAMED = 4
"""So many are named at most."""


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
    if run.experiment.capacity is not None:
        return _by_rates(run, store, lanes, repeats, clock)
    if run.experiment.tune is not None:
        return _by_race(run, store, lanes, repeats, clock)
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
    """Two blocks of all cells, duets of some, and then blocks of those that are worth it, from look to look."""
    earlier = store.observations()
    begin_s = clock() - budget.used_s([*earlier, *store.duets()], lanes)
    done = store.done(disturbed=not repeats)
    later = [
        Trial(block=each.block, position=each.position, cell=each.cell, look=each.look) for each in earlier if each.look
    ]
    trials = plan.remaining((*plan.schedule(run.experiment, run.seed), *later), done)
    yield Stage(trials=trials, done=len(done), words=_begins(run, trials))
    yield from _duets(run, store, lanes, begin_s)
    for look in plan.BUDGET_LOOKS:
        observations = store.observations()
        if look < max((each.look for each in observations), default=0):
            # In an earlier session.
            continue
        made = store.duets()
        chosen = budget.allocate(run, observations, broken_gates(run, grouped(observations)), look, lanes, made)
        first = 1 + max((each.block for each in observations), default=0)
        trials = plan.passes(run.experiment, run.seed, first, chosen, look)
        until_s = begin_s + budget.end_s(run, [*observations, *made], look, lanes)
        cells = len({each.cell for each in trials})
        words = (
            f"{counted(cells, 'cell')} may still be decided: {counted(len(trials), 'trial')} more." if trials else ""
        )
        yield Stage(trials=trials, done=len(store.done(disturbed=True)), words=words, until_s=until_s)


def _duets(run: Run, store: Store, lanes: int, begin_s: float) -> Iterator[Stage]:
    """The first duets, and the rest of them."""
    observations = store.observations()
    # Once a look was begun it is too late: the time is given away.
    if not can_have_duets(run) or any(each.look for each in observations):
        return
    until_s = begin_s + duets.until_s(run, observations, lanes)
    counts = duets.first(run, observations, broken_gates(run, grouped(observations)), lanes)
    for is_first in (True, False):
        if not is_first:
            counts = duets.rest(run, observations, store.duets(), lanes)
        trials = plan.remaining(plan.duets(run.seed, counts), store.done_duets())
        if trials:
            words = (
                f"{counted(len(counts), 'comparison')} may be decided by CPU time a request: "
                f"{counted(len(trials), 'window')} with both servers at once."
            )
            yield Stage(trials=trials, done=len(observations) + len(store.duets()), words=words, until_s=until_s)


def _by_rates(run: Run, store: Store, lanes: int, repeats: bool, clock: Callable[[], float]) -> Iterator[Stage]:
    """A closed loop of each server, and then a block at a time, with a rate for each, as long as whole blocks fit into the budget."""
    earlier = store.observations()
    end_s = clock() - budget.used_s(earlier, lanes) + (run.experiment.budget_s or 0.0)
    done = store.done(disturbed=not repeats)
    later = [Trial(block=each.block, position=each.position, cell=each.cell) for each in earlier if each.block]
    trials = plan.remaining((*plan.schedule(run.experiment, run.seed), *later), done)
    yield Stage(trials=trials, done=len(done), words=_begins(run, trials))
    while trials := capacity_rates.next_trials(run, store.observations(), lanes):
        if clock() + plan.at_rates_s(run.experiment, trials) / lanes > end_s:
            return
        rates = ", ".join(f"{each.cell.server} {each.cell.rate:g}" for each in trials)
        yield Stage(trials=trials, done=len(store.done(disturbed=True)), words=f"Requests/s next: {rates}.")


def _by_race(run: Run, store: Store, lanes: int, repeats: bool, clock: Callable[[], float]) -> Iterator[Stage]:
    """Rounds of those that may still be the best. What an earlier session has measured is counted in its round."""
    done = store.done(disturbed=not repeats)
    # What is carried out again has its time again.
    kept = [each for each in store.observations() if (each.block, each.cell) in done]
    until_s = clock() - budget.used_s(kept, lanes) + (run.experiment.budget_s or 0.0)
    left, every = run.experiment.cells, len(run.experiment.cells)
    for look, (first, last) in enumerate(pairwise((0, *plan.RACE_BLOCKS)), start=1):
        before = [each for each in store.observations() if each.block < first]
        running = race.runners(run, left, before, last - first, lanes)
        passes = plan.passes(run.experiment, run.seed, first, [running] * (last - first), look)
        trials = plan.remaining(passes, store.done(disturbed=not repeats))
        names = f" ({', '.join(cell.server for cell in left)})" if len(left) <= _NAMED else ""
        fastest = f", and the time is for the {len(running)} fastest so far" if len(running) < len(left) else ""
        words = f"Round {look}: {len(left)} of {every} may be the best{names}{fastest}: {counted(len(trials), 'trial')} more."
        words = words if first else _begins(run, trials)
        yield Stage(trials=trials, done=len(store.done(disturbed=True)), words=words if trials else "", until_s=until_s)
        if clock() >= until_s:
            return
        found = race.after(run, left, [each for each in store.observations() if each.block < last], look)
        if found.is_last:
            return
        left = found.left


def _begins(run: Run, trials: Sequence[Trial]) -> str:
    return f"Run {run.id}: {len(trials)} trials, seed {run.seed}."
