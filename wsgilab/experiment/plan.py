"""The order of trials: blocks, each a pass over every cell, shuffled by the run's seed, and who takes each. Pure."""

import math
import random
from collections.abc import Collection, Sequence

from wsgilab.model import Cell, Experiment, Trial

GROWTH = 1.5
"""With `precision`, so many times the blocks are measured before the comparisons are looked at again."""

LAST_GROWTH = 1.25
"""The last look comes so much later than the one before at least: sooner, it would have next to no error to spend."""


def looks(experiment: Experiment) -> tuple[int, ...]:
    """After how many blocks the comparisons are looked at: the experiment's, and with `precision` on to its most."""
    found = [experiment.blocks]
    if experiment.max_blocks is not None:
        while found[-1] < experiment.max_blocks:
            following = math.ceil(found[-1] * GROWTH)
            found.append(following if following * LAST_GROWTH < experiment.max_blocks else experiment.max_blocks)
    return tuple(found)


def schedule(experiment: Experiment, seed: int, blocks: range | None = None) -> tuple[Trial, ...]:
    """Every cell once in every block, of the blocks to begin with or of those given.

    Each block has an order of its own, from `seed` and its number alone. So a run with more blocks begins with the
    same trials as one with fewer.
    """
    trials: list[Trial] = []
    for block in range(experiment.blocks) if blocks is None else blocks:
        cells = list(experiment.cells)
        # A text seeds through SHA-512, the same on every platform and Python (random.seed, version 2).
        random.Random(f"{seed}/{block}").shuffle(cells)  # noqa: S311 - an order, not a secret
        first = block * len(cells)
        trials += [Trial(block=block, position=first + index, cell=cell) for index, cell in enumerate(cells)]
    return tuple(trials)


def machine_of(block: int, machines: Sequence[str], seed: int) -> str:
    """Which of `machines`, at least one, takes a block.

    In each round of so many blocks as there are machines every machine takes one, in an order from `seed` and the round
    alone. So all have equally many, within one, whenever the run ends, and none has all the early ones.
    """
    round_, place = divmod(block, len(machines))
    order = list(machines)
    random.Random(f"{seed}/machines/{round_}").shuffle(order)  # noqa: S311 - an order, not a secret
    return order[place]


def remaining(
    trials: Sequence[Trial], done: Collection[tuple[int, Cell]], wanted: Collection[Cell] | None = None
) -> tuple[Trial, ...]:
    """The trials of `wanted` cells (None: of all) whose (block, cell) is not in `done`, in order."""
    return tuple(
        trial for trial in trials if (trial.block, trial.cell) not in done and (wanted is None or trial.cell in wanted)
    )
