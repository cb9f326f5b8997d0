"""The order of trials: blocks, each a pass over every cell, shuffled by the run's seed. Pure."""

import random
from collections.abc import Collection, Sequence

from wsgilab.model import Cell, Experiment, Trial


def schedule(experiment: Experiment, seed: int) -> tuple[Trial, ...]:
    """Every cell once in every block. Each block has an order of its own, from `seed` and its number alone.

    So a run with more blocks begins with the same trials as one with fewer.
    """
    trials: list[Trial] = []
    for block in range(experiment.blocks):
        cells = list(experiment.cells)
        # A text seeds through SHA-512, the same on every platform and Python (random.seed, version 2).
        random.Random(f"{seed}/{block}").shuffle(cells)  # noqa: S311 - an order, not a secret
        trials += [Trial(block=block, position=len(trials) + index, cell=cell) for index, cell in enumerate(cells)]
    return tuple(trials)


def remaining(trials: Sequence[Trial], done: Collection[tuple[int, Cell]]) -> tuple[Trial, ...]:
    """The trials whose (block, cell) is not in `done`, in order."""
    return tuple(trial for trial in trials if (trial.block, trial.cell) not in done)
