"""The order of trials: blocks, each a pass over the cells, shuffled by the run's seed, and who takes each. Pure."""

import math
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from wsgilab.model import CapacityLimit, Cell, Conditions, Experiment, Trial
from wsgilab.model.circumstances import FEWEST_PERIODS, PERIOD_MS

GROWTH = 1.5
"""With `precision`, so many times the blocks are measured before the comparisons are looked at again."""

LAST_GROWTH = 1.25
"""The last look comes so much later than the one before at least: sooner, it would have next to no error to spend."""


BUDGET_LOOKS = (2, 3, 4)
"""With a budget, after how many quarters of it the comparisons are looked at. What the whole blocks take that come first
is not counted, because they decide nothing."""

RACE_BLOCKS = (3, 5, 8, 12, 18, 27, 40, 60)
"""Of a race, the blocks that those which are left have after each round."""
RACE_LOOKS = tuple(range(1, 1 + len(RACE_BLOCKS)))
"""Its rounds."""
_PAIR = 2
WHOLE_BLOCKS = 2
"""With a budget, so many blocks of all cells come first. They show what is worth more of them."""

CAPACITY_REQUESTS = 200
"""A window that looks for capacity has so many requests at least: ten of them take longer than p95."""
CAPACITY_LIMITS = 40
"""And it is so many times as long as the limit on p95 at least. A window begins with a server that has been loaded for a second
at most, so that its queue is shorter than it will be. In an M/M/1 queue whose p95 is the limit L, what that changes is worth less
than 0.44 L / W of the rate in a window W: the queue comes to its length within 4 L / 3 (1 - r) at a utilization r, and near r the share
of late requests grows with the power 3 r / (1 - r) of the rate."""
CAPACITY_SHORTEST_S = 2.0
CAPACITY_LONGEST_S = 30.0
"""But no longer than this, unless the limit asks for it."""
CAPACITY_TRIAL_S = 1.5
"""What a trial at a rate takes beside its window: requests before it, and what is left after it."""
_CAPACITY_BLOCKS = 6
"""So many windows at rates are worth a run: some to come near, and the four that an interval needs."""
_CLOSED_LOOP_S = 3.0


def looks(experiment: Experiment) -> tuple[int, ...]:
    """After how many blocks the comparisons are looked at: the experiment's, and with `precision` on to its most. With a
    budget, after how many quarters of it. Of a race, its rounds."""
    if experiment.tune is not None:
        return RACE_LOOKS
    if experiment.budget_s is not None:
        return BUDGET_LOOKS
    found = [experiment.blocks]
    if experiment.max_blocks is not None:
        while found[-1] < experiment.max_blocks:
            following = math.ceil(found[-1] * GROWTH)
            found.append(following if following * LAST_GROWTH < experiment.max_blocks else experiment.max_blocks)
    return tuple(found)


def is_sequential(experiment: Experiment) -> bool:
    """Whether it depends on what is measured how much more is."""
    return experiment.precision is not None or experiment.budget_s is not None


def schedule(experiment: Experiment, seed: int, blocks: range | None = None) -> tuple[Trial, ...]:
    """Every cell once in every block, of the blocks to begin with or of those given.

    Each block has an order of its own, from `seed` and its number alone. So a run with more blocks begins with the
    same trials as one with fewer.
    """
    numbers = range(experiment.blocks) if blocks is None else blocks
    return tuple(trial for block in numbers for trial in _block(experiment, seed, block, experiment.cells))


def passes(
    experiment: Experiment, seed: int, first: int, chosen: Sequence[Collection[Cell]], look: int
) -> tuple[Trial, ...]:
    """Blocks from number `first` on, each of the cells that are `chosen` for it alone, for this look."""
    numbered = enumerate(chosen, start=first)
    return tuple(trial for block, cells in numbered for trial in _block(experiment, seed, block, cells, look))


def duets(seed: int, counts: Mapping[tuple[Cell, Cell], int]) -> tuple[Trial, ...]:
    """So many duets of each two cells, numbered from 0 like blocks: each has all that are still wanted, in an order of its own."""
    trials = []
    for number in range(max(counts.values(), default=0)):
        of_number = [pair for pair, count in counts.items() if count > number]
        random.Random(f"{seed}/duets/{number}").shuffle(of_number)  # noqa: S311 - an order, not a secret
        trials += [
            Trial(block=number, position=index, cell=cell, beside=other)
            for index, (cell, other) in enumerate(of_number)
        ]
    return tuple(trials)


def _block(experiment: Experiment, seed: int, block: int, cells: Collection[Cell], look: int = 0) -> Iterable[Trial]:
    """Cells in the order of a block. What is compared is measured close together, since noise changes within seconds: all
    cells under the same conditions one after the other. Of two alone, each comes first in every other block. So does each of two
    versions under a server, which are side by side."""
    # A text seeds through SHA-512, the same on every platform and Python (random.seed, version 2).
    source = random.Random(f"{seed}/{block}")  # noqa: S311 - an order, not a secret
    groups: dict[Conditions, list[Cell]] = defaultdict(list)
    for cell in experiment.cells:
        if cell in cells:
            groups[cell.conditions].append(cell)
    in_turn = list(groups.values())
    source.shuffle(in_turn)
    for group in in_turn:
        if experiment.counterparts:
            group[:] = _in_pairs(group, experiment.counterparts, source, seed + block)
        elif len(group) > _PAIR:
            source.shuffle(group)
        elif (seed + block) % 2:
            group.reverse()
    begin = block * len(experiment.cells)
    for index, cell in enumerate(chain.from_iterable(in_turn)):
        yield Trial(block=block, position=begin + index, cell=cell, look=look)


def _in_pairs(
    group: Collection[Cell], counterparts: Mapping[str, str], source: random.Random, turn: int
) -> Iterable[Cell]:
    """The cells of a group with each beside its counterpart. Of a pair, each comes first in every other block; and in a block the one
    in half of the pairs."""
    of = {there: name for name, there in counterparts.items()}
    places = {name: place for place, name in enumerate(counterparts)}
    pairs: dict[str, list[Cell]] = defaultdict(list)
    for cell in group:
        pairs[of.get(cell.server, cell.server)].append(cell)
    shuffled = source.sample(list(pairs), len(pairs))
    return [cell for name in shuffled for cell in (reversed(pairs[name]) if (turn + places[name]) % 2 else pairs[name])]


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


# --- capacity


def rate_window_s(limit: CapacityLimit, rate: float) -> float:
    """How long a window at a rate is, where capacity is looked for."""
    enough_s = max(CAPACITY_SHORTEST_S, CAPACITY_LIMITS * limit.p95_ms / 1000)
    return max(enough_s, min(CAPACITY_LONGEST_S, CAPACITY_REQUESTS / rate))


def window_s(experiment: Experiment, cell: Cell) -> float:
    """How long a window of the cell is."""
    if experiment.capacity is None or cell.rate is None:
        # Under a quota the rate is a step of each of its periods.
        least_s = 0.0 if cell.quota is None else FEWEST_PERIODS * PERIOD_MS / 1000
        return max(experiment.window_s, least_s)
    return rate_window_s(experiment.capacity, cell.rate)


def at_rates_s(experiment: Experiment, trials: Iterable[Trial]) -> float:
    """About how long trials at rates take, one after the other."""
    return math.fsum(window_s(experiment, each.cell) + CAPACITY_TRIAL_S for each in trials)


def capacity_least_s(limit: CapacityLimit, servers: int) -> float:
    """The shortest budget in which the capacity of so many servers can be found, if they are fast."""
    window_s = rate_window_s(limit, math.inf) + CAPACITY_TRIAL_S
    return servers * (_CLOSED_LOOP_S + _CAPACITY_BLOCKS * window_s)


def at_rate(limit: CapacityLimit, cell: Cell, rate: float) -> Cell:
    """A closed loop's cell under requests that come at a rate instead."""
    return replace(cell, users=None, rate=rate, arrivals=limit.arrivals)


def closed_loop(experiment: Experiment, cell: Cell) -> Cell | None:
    """The experiment's own cell, of which `cell` is one at a rate, or which it is itself; None where it is neither."""
    if cell.rate is not None and experiment.capacity is not None and cell.arrivals == experiment.capacity.arrivals:
        alike = replace(cell, rate=None, arrivals=None)
        return next((each for each in experiment.cells if replace(each, users=None) == alike), None)
    return cell if cell in experiment.cells else None


def at_rates(experiment: Experiment, seed: int, block: int, rates: Mapping[Cell, float]) -> tuple[Trial, ...]:
    """A block in which each of these cells has requests at a rate, in place of its users."""
    limit = experiment.capacity
    assert limit is not None, "rates are chosen where capacity is looked for"
    trials = _block(experiment, seed, block, rates)
    return tuple(replace(each, cell=at_rate(limit, each.cell, rates[each.cell])) for each in trials)
