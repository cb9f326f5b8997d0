"""Trials in order, block by block: each is saved before the next begins, and what others disturbed is repeated at its block's end."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from wsgilab.analysis.cell.disturbance import is_disturbed
from wsgilab.experiment import workloads
from wsgilab.load.client import Swarm
from wsgilab.model import Duet, Observation, Run, Trial
from wsgilab.model.text import counted
from wsgilab.run.observer import Observer
from wsgilab.run.trial import describe, observe, observe_both, why_unfit
from wsgilab.runtime.protocol import Backends, Fleet, Target
from wsgilab.runtime.restarts import Restarts
from wsgilab.system import neighbours

REPEATED_SHARE = 0.2
"""Of the time that a run takes, what repeating disturbed trials may have at most."""
MOST_REPEATS = 3
"""How often a disturbed trial is repeated at most."""


def execute(
    trials: Sequence[Trial],
    *,
    run: Run,
    fleets: Mapping[int, Fleet],
    backends: Backends,
    swarm: Swarm,
    observer: Observer,
    machine: str = "",
    restarts: Restarts | None = None,
    owns: neighbours.Owns | None = None,
    repeats: bool = True,
    until_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Carry out `trials` in order. A target's or a backend's failure makes a trial a failed one, and the run goes on. A trial with a
    cell beside its own is a duet: both are loaded at once.

    What has ended is started again before its next trial, as often as `restarts`, which is one run's, allow. A trial that
    others disturbed is repeated at the end of its block, MOST_REPEATS times at most, as long as that takes no more than
    REPEATED_SHARE of the time.

    `machine` is that of the targets; empty where all is on one. `owns` says which processes of this machine are the lab's, so
    that others can be named; None: it all runs elsewhere. `repeats`: whether disturbed trials are repeated.
    `until_s`: a moment of `clock` after which no block begins.

    Whatever else fails (the generator, the engine, the disk) ends the run: it is raised, with every trial that was
    finished already saved.
    """
    known = restarts or Restarts()
    suspects: set[tuple[str, int]] = set()
    warm: set[tuple[str, int, str]] = set()

    def carry_out(trial: Trial) -> Observation:
        cell = trial.cell
        target = fleets[cell.cores][cell.server]
        waits_for = [backends[name] for name in workloads.backends([cell.workload], run.experiment.application)]
        observer.begin(trial)
        revived = known.revive(run, cell.cores, target, waits_for, swarm.get, observer.say)
        if revived.names:
            # What they had opened to each other is gone.
            warm.clear()
        memory_start = known.memory_at_start(cell.cores, target) if revived.reason is None else None
        ordered_s = clock()
        observation = observe(
            trial,
            run,
            target,
            waits_for,
            swarm,
            unfit=revived.reason,
            suspect=(cell.server, cell.cores) in suspects,
            warm=not waits_for or (cell.server, cell.cores, cell.workload) in warm,
            owns=owns,
        )
        if cell.during is not None and revived.reason is None:
            known.renew(run, cell.cores, target, swarm.get, observer.say)
        took_s = clock() - ordered_s
        kept = replace(
            observation,
            machine=machine,
            restarted=revived.names,
            took_s=round(took_s, 3),
            look=trial.look,
            memory_start=memory_start if observation.swarm else None,
        )
        observer.save(kept)
        _note(observation, suspects, observer)
        if cell.during is not None:
            warm.difference_update([each for each in warm if each[:2] == (cell.server, cell.cores)])
        elif observation.status == "measured":
            warm.add((cell.server, cell.cores, cell.workload))
        return observation

    began_s, repeated_s = clock(), 0.0
    for block, of_block in itertools.groupby(trials, key=lambda trial: trial.block):
        if until_s is not None and clock() >= until_s:
            break
        disturbed = []
        for trial in of_block:
            if trial.beside is not None:
                _carry_out_both(
                    trial,
                    [fleets[each.cores][each.server] for each in (trial.cell, trial.beside)],
                    run=run,
                    swarm=swarm,
                    observer=observer,
                    machine=machine,
                    restarts=known,
                    suspects=suspects,
                    owns=owns,
                    clock=clock,
                )
                continue
            trial_began_s = clock()
            observation = carry_out(trial)
            if is_disturbed(run, observation):
                disturbed.append((trial, clock() - trial_began_s))
            observer.advance(f"block {block + 1}, {describe(trial.cell)}")
        left = disturbed if repeats else []
        for _ in range(MOST_REPEATS):
            # A neighbour that comes and goes may be back for a repeated trial.
            again = []
            for trial, took_s in left:
                repeat_began_s = clock()
                if repeated_s + took_s <= REPEATED_SHARE * (repeat_began_s - began_s + took_s):
                    if is_disturbed(run, carry_out(trial)):
                        again.append((trial, took_s))
                    repeated_s += clock() - repeat_began_s
                else:
                    again.append((trial, took_s))
            left = again
        mended = len(disturbed) - len(left)
        if disturbed and repeats:
            observer.say(
                f"others disturbed {counted(len(disturbed), 'trial')} of block {block + 1}; repeated undisturbed: {mended}"
            )


def _carry_out_both(
    trial: Trial,
    targets: Sequence[Target],
    *,
    run: Run,
    swarm: Swarm,
    observer: Observer,
    machine: str,
    restarts: Restarts,
    suspects: set[tuple[str, int]],
    owns: neighbours.Owns | None,
    clock: Callable[[], float],
) -> None:
    """Carry out a duet of these targets."""
    observer.begin(trial)
    unfit = []
    for target in targets:
        revived = restarts.revive(run, trial.cell.cores, target, (), swarm.get, observer.say)
        is_suspect = (target.name, trial.cell.cores) in suspects
        unfit.append(revived.reason or (why_unfit(target, swarm) if is_suspect else None))
    ordered_s = clock()
    duet = observe_both(trial, run, targets, swarm, unfit=unfit, owns=owns)
    took_s = round(clock() - ordered_s, 3)
    one, other = (replace(each, machine=machine, took_s=took_s) for each in (duet.one, duet.other))
    observer.save_duet(Duet(one=one, other=other))
    for each in (one, other):
        _note(each, suspects, observer)
    observer.advance(f"duet {trial.block + 1}, {describe(one.cell)}, with {other.cell.server}")


def _note(observation: Observation, suspects: set[tuple[str, int]], observer: Observer) -> None:
    """Say that a trial failed. Before the next one of its server it is looked whether that answers."""
    cell = observation.cell
    if observation.status == "failed":
        suspects.add((cell.server, cell.cores))
        observer.say(f"failed: {describe(cell)}: {observation.reason.splitlines()[0]}")
    else:
        suspects.discard((cell.server, cell.cores))
