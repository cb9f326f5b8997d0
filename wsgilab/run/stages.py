"""What a run measures next, from what it has measured so far: a part of it at a time."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from wsgilab.analysis.budget import duets, seconds
from wsgilab.analysis.budget.allocation import allocate
from wsgilab.analysis.capacity.rates import next_trials
from wsgilab.analysis.compare import broken_gates, unsettled
from wsgilab.analysis.pairs.family import can_have_duets
from wsgilab.analysis.pairs.ratios import grouped
from wsgilab.analysis.tune import race
from wsgilab.experiment import plan
from wsgilab.model import Cell, Run, Trial
from wsgilab.model.errors import HostError
from wsgilab.model.limits import MOST_BLOCKS
from wsgilab.model.text import counted
from wsgilab.results.store import Store

_PAIR = 2
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
    servers: Collection[str] = ()
    """Of a race, those that must be up."""
    next: Collection[str] = ()
    """Those whose turn is next, where memory does not hold all."""
    gone: Collection[str] = ()
    """And those that have left it, or have no part in the round."""


Fitting = Callable[[Sequence[Cell]], Sequence[Cell]]
"""Those of some cells, from the first on, whose servers can be up at once."""


def stages(
    run: Run,
    store: Store,
    lanes: int,
    *,
    repeats: bool,
    clock: Callable[[], float] = time.monotonic,
    fitting: Fitting = list,
) -> Iterator[Stage]:
    """The stages of a run, or of what is left of it. Each must have been carried out before the next is asked for.

    With `repeats`, trials that others disturbed in an earlier session are carried out again. A race is among as many at a time as are
    `fitting`.
    """
    if run.experiment.capacity is not None:
        return _by_rates(run, store, lanes, repeats, clock)
    if run.experiment.tune is not None:
        return _by_race(run, store, lanes, repeats, clock, fitting)
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
    begin_s = clock() - seconds.used_s([*earlier, *store.duets()], lanes)
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
        chosen = allocate(run, observations, broken_gates(run, grouped(observations)), look, lanes, made)
        first = 1 + max((each.block for each in observations), default=0)
        trials = plan.passes(run.experiment, run.seed, first, chosen, look)
        until_s = begin_s + seconds.end_s(run, [*observations, *made], look, lanes)
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
    end_s = clock() - seconds.used_s(earlier, lanes) + (run.experiment.budget_s or 0.0)
    done = store.done(disturbed=not repeats)
    later = [Trial(block=each.block, position=each.position, cell=each.cell) for each in earlier if each.block]
    trials = plan.remaining((*plan.schedule(run.experiment, run.seed), *later), done)
    yield Stage(trials=trials, done=len(done), words=_begins(run, trials))
    while trials := next_trials(run, store.observations(), lanes):
        if clock() + plan.at_rates_s(run.experiment, trials) / lanes > end_s:
            return
        rates = ", ".join(f"{each.cell.server} {each.cell.rate:g}" for each in trials)
        yield Stage(trials=trials, done=len(store.done(disturbed=True)), words=f"Requests/s next: {rates}.")


def _by_race(
    run: Run, store: Store, lanes: int, repeats: bool, clock: Callable[[], float], fitting: Fitting
) -> Iterator[Stage]:
    """Rounds of those that may still be the best. What an earlier session has measured is counted in its round."""
    done = store.done(disturbed=not repeats)
    # What is carried out again has its time again.
    kept = [each for each in store.observations() if (each.block, each.cell) in done]
    until_s = clock() - seconds.used_s(kept, lanes) + (run.experiment.budget_s or 0.0)
    left, every, first = run.experiment.cells, len(run.experiment.cells), 0
    for look, (before, after) in enumerate(pairwise((0, *plan.RACE_BLOCKS)), start=1):
        earlier = [each for each in store.observations() if each.look < look]
        running = race.runners(run, left, earlier, after - before, lanes)
        names = f" ({', '.join(cell.server for cell in left)})" if len(left) <= _NAMED else ""
        fastest = f", and the time is for the {len(running)} fastest so far" if len(running) < len(left) else ""
        begins = f"Round {look}: {len(left)} of {every} may be the best{names}{fastest}"
        gone = frozenset(cell.server for cell in run.experiment.cells if cell not in running)
        turns = _heats(store, running, range(first, first + after - before), fitting)
        for number, (heat, new, waiting) in enumerate(turns):
            first += after - before
            if first > MOST_BLOCKS:
                return
            blocks = [heat] * (after - before)
            passes = plan.passes(run.experiment, run.seed, first - len(blocks), blocks, look)
            trials = plan.remaining(passes, store.done(disturbed=not repeats))
            words = f"{begins}: {counted(len(trials), 'trial')} more."
            if number:
                beside = ", beside the fastest so far" if len(new) < len(heat) else ""
                words = f"Round {look}, the next {len(new)}{beside}: {counted(len(trials), 'trial')}."
            elif look == 1:
                words = _begins(run, trials)
            if not number and len(heat) < len(running):
                words += f" Memory holds {len(heat)} of {len(running)} at once, so they take turns."
            yield Stage(
                trials=trials,
                done=len(store.done(disturbed=True)),
                words=words if trials else "",
                until_s=until_s,
                servers=frozenset(cell.server for cell in heat) if trials else frozenset(),
                next=[cell.server for cell in waiting],
                gone=gone,
            )
            if clock() >= until_s:
                return
        found = race.after(run, left, [each for each in store.observations() if each.look <= look], look)
        if found.is_last:
            return
        left = found.left


def _heats(
    store: Store, running: Sequence[Cell], blocks: range, fitting: Fitting
) -> Iterator[tuple[Sequence[Cell], Sequence[Cell], Sequence[Cell]]]:
    """`running` in groups that are up at once, one after the other, with those of each that were in none before and those that wait. The first
    has `blocks`, and each other one as many after those. Every group but the first has the fastest so far among it, whom all are
    compared with. A group that an earlier session has begun is as it was.
    """
    waiting = list(running)
    while waiting:
        known = store.observations()
        begun = [each for each in known if each.block in blocks]
        had = {each.cell for each in begun}
        heat: Sequence[Cell]
        fastest = race.fastest(running, [each for each in known if each.block < blocks.stop])
        if had and len({(each.block, each.cell) for each in begun}) == len(had) * len(blocks):
            heat = [cell for cell in running if cell in had]
        else:
            # Those of a group that was begun, who have blocks already, and as many more as there is room for.
            in_order = dict.fromkeys((*(cell for cell in running if cell in had), *fastest, *waiting))
            heat = fitting([cell for cell in in_order if cell in running])
            if len(heat) < _PAIR <= len(running) or not set(heat) & set(waiting):
                # It does not fit beside the fastest.
                heat = fitting(list(dict.fromkeys((waiting[0], *running))))
            if len(heat) < _PAIR <= len(running):
                raise HostError(
                    f"memory no longer holds {waiting[0].server} beside another configuration; free memory, and go on"
                )
        new = [cell for cell in heat if cell in waiting]
        waiting = [cell for cell in waiting if cell not in new]
        yield [cell for cell in running if cell in heat], new, waiting
        blocks = range(blocks.stop, blocks.stop + len(blocks))


def _begins(run: Run, trials: Sequence[Trial]) -> str:
    return f"Run {run.id}: {len(trials)} trials, seed {run.seed}."
