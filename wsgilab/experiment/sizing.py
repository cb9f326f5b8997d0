"""How many users, how long a window and how many blocks fit into a given time, from what one request takes. Pure.

A trial takes until every user has had an answer, then the window, then as long as what is under way by then. With U users
on a server that takes min(U, slots) requests at once, of S seconds each, an answer comes every S / min(U, slots) seconds,
and no sooner than its cores can compute it. So a slow request is measured with fewer users, down to the most that a server
of the experiment takes at once: with fewer than that no limit would be met. Where that does not fit either, it is measured under
fewer servers, without those that take longest, and after that in fewer blocks than a verdict needs.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.model import Cell, Experiment, Server

USERS = 32
"""As many as there are at most, but for servers that take more at once."""
FEWEST_USERS = 2
"""Fewer would not tell one server from another."""
FEWEST_SERVERS = 3
"""So many are not left out: of the lab's, one whose processes take a request each, one of threads, and one of coroutines."""
FEWEST_BLOCKS = 4
"""With fewer, only servers that differ by a lot could be told apart."""
MOST_BLOCKS = 8
MOST_BLOCKS_OF_VERSIONS = 24
"""Two versions of an application differ by less than servers do."""
SHORTEST_S = 0.5
"""A window is as long at least, for requests that take next to no time."""
ANSWERS = (9.5, 8.5, 7.5, 6.5, 5.5, 4.5)
"""A window holds so many answers of the slowest server, beside those that it begins with. It ends halfway between two, so
that it is the same whether requests take a little longer or shorter."""
FEWER_ANSWERS = (3.5, 2.5, 1.5)
"""And so many where there are no more users than the most that a server takes at once."""
FORECAST = 1.1
"""A trial's window is set to begin so much later than every user is expected to have had an answer (load/window.py)."""
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
    left_out: tuple[str, ...] = ()
    """Servers that are not to be measured."""


def size(
    cells: Sequence[Cell],
    servers: Mapping[str, Server],
    taken: Mapping[str, Taken],
    budget_s: float,
    blocks: int | None = None,
    keep: Collection[str] = (),
    most_blocks: int = MOST_BLOCKS,
) -> Size:
    """What `cells`, of a closed loop, are best measured with in `budget_s`; where nothing fits, what takes the shortest.

    `taken` has every workload of the cells. `blocks`: as the user says; None: as many as fit, from FEWEST_BLOCKS to
    `most_blocks`, and fewer only where no FEWEST_SERVERS fit. `keep`: servers that are not left out.
    """
    left_out: list[str] = []
    while True:
        left = [cell for cell in cells if cell.server not in left_out]
        users, window_s, lasts_s = _fitted(left, servers, taken, budget_s, blocks or FEWEST_BLOCKS)
        names = list(dict.fromkeys(cell.server for cell in left))
        may_go = [name for name in names if name not in keep]
        if lasts_s <= budget_s or len(names) <= FEWEST_SERVERS or not may_go:
            break
        left_out.append(_longest(may_go, left, servers, taken, users, window_s))
    block_s = sum(_trial_s(cell, servers, taken, users, window_s) for cell in left)
    chosen = blocks or min(most_blocks, max(1, int(budget_s // block_s)))
    longest_s = max(_trial_s(cell, servers, taken, users, 0.0) for cell in left)
    return Size(
        users=users,
        window_s=window_s,
        blocks=chosen,
        patience_s=max(PATIENCE_S, math.ceil(2 * longest_s)),
        lasts_s=chosen * block_s,
        left_out=tuple(left_out),
    )


def window_s(taken: Taken) -> float:
    """A window that holds several answers of a server that takes one request at a time."""
    return max(SHORTEST_S, _plain(ANSWERS[-1] * taken.service_s))


def _longest(
    names: Sequence[str],
    cells: Sequence[Cell],
    servers: Mapping[str, Server],
    taken: Mapping[str, Taken],
    users: Mapping[str, int],
    window_s: float,
) -> str:
    """Which of the servers `names` is first to be left out: the one that takes longest; of several, one that another is like."""
    models = [servers[name].model for name in dict.fromkeys(cell.server for cell in cells)]

    def rank(name: str) -> tuple[float, bool, int]:
        lasts_s = sum(_trial_s(cell, servers, taken, users, window_s) for cell in cells if cell.server == name)
        return round(lasts_s, 3), models.count(servers[name].model) > 1, names.index(name)

    return max(names, key=rank)


def _fitted(
    cells: Sequence[Cell],
    servers: Mapping[str, Server],
    taken: Mapping[str, Taken],
    budget_s: float,
    blocks: int,
) -> tuple[Mapping[str, int], float, float]:
    """Users by workload and the window with which so many blocks fit into `budget_s`, or else take the shortest, and how long they
    take, in seconds."""
    enough = max(FEWEST_USERS, slots(servers[cell.server] for cell in cells))
    users = dict.fromkeys((cell.workload for cell in cells), max(USERS, enough))

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
        slowest, *others = sorted(users, key=lambda name: block_s(0.0, name), reverse=True)
        ladder = ANSWERS if users[slowest] > enough else (*ANSWERS, *FEWER_ANSWERS)
        fitting = (window_s for window_s in windows_s(ladder) if blocks * block_s(window_s) <= budget_s)
        found_s = next(fitting, None)
        fewer = next((name for name in (slowest, *others) if users[name] > enough), None)
        if found_s is not None or fewer is None:
            break
        users[fewer] = max(enough, users[fewer] // 2)
    window_s = min(windows_s(FEWER_ANSWERS)) if found_s is None else found_s
    return users, window_s, blocks * block_s(window_s)


def sized(experiment: Experiment, found: Size) -> Experiment:
    """The experiment, carried out so."""
    return replace(
        experiment,
        cells=tuple(
            replace(cell, users=found.users[cell.workload])
            for cell in experiment.cells
            if cell.server not in found.left_out
        ),
        window_s=found.window_s,
        # A budget has blocks of its own, of which fewer fit as well.
        blocks=found.blocks if experiment.budget_s is None else experiment.blocks,
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
