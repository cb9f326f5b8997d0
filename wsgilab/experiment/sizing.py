"""How many users, how long a window and how many blocks fit into a given time, from what one request takes. Pure.

A trial takes until every user has had an answer, then the window, then as long as what is under way by then. With U users
on a server that takes min(U, slots) requests at once, of S seconds each, an answer comes every S / min(U, slots) seconds,
and no sooner than its cores can compute it. So a slow request is measured with fewer users, down to the most that a server
of the experiment takes at once, and where that does not fit either, with fewer than that.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.model import Cell, Experiment, Server

USERS = 32
"""As many as there are at most, but for servers that take more at once."""
FEWEST_USERS = 2
"""Fewer would not tell one server from another."""
FEWEST_BLOCKS = 4
"""A verdict needs as many."""
MOST_BLOCKS = 8
SHORTEST_S = 0.5
"""A window is as long at least, for requests that take next to no time."""
ANSWERS = (9.5, 8.5, 7.5, 6.5, 5.5, 4.5)
"""A window holds so many answers of the slowest server, beside those that it begins with. It ends halfway between two, so
that it is the same whether requests take a little longer or shorter."""
FEWER_ANSWERS = (3.5, 2.5, 1.5)
"""And so many where there are no more users than the most that a server takes at once."""
FORECAST = 1.1
"""A trial's window is set to begin so much later than every user is expected to have had an answer (load/driver.py)."""
TRIAL_S = 0.3
"""What a trial takes beside that: users are started, usage is read, the observation is saved."""
PATIENCE_S = 10.0
"""Of the experiment, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one request takes of a server that has no other, in seconds."""

    service_s: float
    """In the application."""
    cpu_s: float
    """Of CPU time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What an experiment is to be carried out with."""

    users: Mapping[str, int]
    """By workload."""
    window_s: float
    blocks: int
    patience_s: float
    lasts_s: float
    """How long all trials take, as far as that can be known before."""


def size(
    cells: Sequence[Cell],
    servers: Mapping[str, Server],
    taken: Mapping[str, Taken],
    budget_s: float,
    blocks: int | None = None,
) -> Size:
    """What `cells`, of a closed loop, are best measured with in `budget_s`; where nothing fits, what takes the shortest.

    `taken` has every workload of the cells. `blocks`: as the user says; None: as many as fit, from FEWEST_BLOCKS to
    MOST_BLOCKS.
    """
    enough = max(FEWEST_USERS, slots(servers[cell.server] for cell in cells))
    users = dict.fromkeys((cell.workload for cell in cells), max(USERS, enough))
    fewest = blocks or FEWEST_BLOCKS

    def block_s(window_s: float, workload: str | None = None) -> float:
        """How long a block takes, or its trials of one workload."""
        chosen = (cell for cell in cells if workload in (None, cell.workload))
        return sum(_trial_s(cell, servers, taken, users, window_s) for cell in chosen)

    def windows_s(ladder: Sequence[float]) -> Iterator[float]:
        longest_gap_s = max(_gap_s(cell, servers, taken, users) for cell in cells)
        # Also where many are answered at once every answer has its place in it.
        least_s = max(SHORTEST_S, _plain(FEWER_ANSWERS[-1] * max(taken[name].service_s for name in users)))
        return (max(least_s, _plain(answers * longest_gap_s)) for answers in ladder)

    while True:
        slowest = max(users, key=lambda name: block_s(0.0, name))
        ladder = ANSWERS if users[slowest] > enough else (*ANSWERS, *FEWER_ANSWERS)
        fitting = (window_s for window_s in windows_s(ladder) if fewest * block_s(window_s) <= budget_s)
        found_s = next(fitting, None)
        if found_s is not None or users[slowest] <= FEWEST_USERS:
            break
        least = enough if users[slowest] > enough else FEWEST_USERS
        users[slowest] = max(least, users[slowest] // 2)
    window_s = min(windows_s(FEWER_ANSWERS)) if found_s is None else found_s
    chosen = blocks or min(MOST_BLOCKS, max(FEWEST_BLOCKS, int(budget_s // block_s(window_s))))
    longest_s = max(_trial_s(cell, servers, taken, users, 0.0) for cell in cells)
    return Size(
        users=users,
        window_s=window_s,
        blocks=chosen,
        patience_s=max(PATIENCE_S, math.ceil(2 * longest_s)),
        lasts_s=chosen * block_s(window_s),
    )


def sized(experiment: Experiment, found: Size) -> Experiment:
    """The experiment, carried out so."""
    return replace(
        experiment,
        cells=tuple(replace(cell, users=found.users[cell.workload]) for cell in experiment.cells),
        window_s=found.window_s,
        blocks=found.blocks,
        patience_s=found.patience_s,
        max_blocks=None if experiment.max_blocks is None else max(experiment.max_blocks, found.blocks),
    )


def slots(servers: Iterable[Server]) -> int:
    """The most requests that one of these servers takes at once, of those that have a limit; 1 at least."""
    return max((each.slots or 1 for each in servers), default=1)


def _gap_s(cell: Cell, servers: Mapping[str, Server], taken: Mapping[str, Taken], users: Mapping[str, int]) -> float:
    """How long it is from one answer to the next while all users are at work."""
    request = taken[cell.workload]
    return max(request.service_s / _at_once(cell, servers, users), request.cpu_s / _cores(cell, servers))


def _trial_s(
    cell: Cell, servers: Mapping[str, Server], taken: Mapping[str, Taken], users: Mapping[str, int], window_s: float
) -> float:
    request, at_once = taken[cell.workload], _at_once(cell, servers, users)
    every_s = users[cell.workload] * _gap_s(cell, servers, taken, users)
    settled_s = FORECAST * every_s + window_s
    # An event loop takes all that wait, and answers none of them before it has worked off the last.
    together = servers[cell.server].model == "event-loop"
    each_s = every_s if together else max(request.service_s, at_once * request.cpu_s / _cores(cell, servers))
    # What is under way when the window ends: half of it is over, unless all requests were begun together.
    under_way_s = max(0.5, math.ceil(window_s / each_s) - window_s / each_s) * each_s
    return TRIAL_S + settled_s + under_way_s


def _at_once(cell: Cell, servers: Mapping[str, Server], users: Mapping[str, int]) -> int:
    limit = servers[cell.server].slots
    return users[cell.workload] if limit is None else min(users[cell.workload], limit)


def _cores(cell: Cell, servers: Mapping[str, Server]) -> int:
    """How many it can compute on: a process of Python's has one."""
    return min(cell.cores, servers[cell.server].processes or cell.cores)


def _plain(seconds: float) -> float:
    """Two digits, for people to read."""
    return round(seconds, 1 - math.floor(math.log10(seconds)))
