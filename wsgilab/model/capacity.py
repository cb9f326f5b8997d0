"""What a run has found of the capacity of servers. `comparison.yaml` is written with these values, as with those of `comparison`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from wsgilab.model.experiment import Arrivals, Cell
from wsgilab.model.rounding import Digits, Interval

CapacityStatus = Literal["found", "at-least", "none", "unknown"]
"""`found`: between rates at which the limit holds and rates at which it does not. `at-least`: no rate was too much that the
generator could make. `none`: the limit held at no rate that was tried. `unknown`: there was no window to conclude from."""
CapacityVerdict = Literal["more", "less", "undecided"]
"""What a ratio of two capacities says of the first server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityWindow:
    """One window at a rate."""

    block: int
    """Its number."""
    rate: float
    """Requests a second that were asked for."""
    p50_ms: Annotated[float, Digits(1)]
    """Half of the requests that were due in the window were answered within so many milliseconds of when they were due."""
    p95_ms: Annotated[float, Digits(1)]
    """95 % of them were."""
    p99_ms: Annotated[float, Digits(1)]
    """99 % of them were."""
    requests: int
    """So many were due."""
    beyond: int
    """So many of them took longer than the limit."""
    failures: int
    """So many failed, over the whole trial."""
    holds: bool
    """Whether the limit held in this window."""
    counts: bool
    """Whether the window is one of those that the capacity follows from: near it, with nobody else on the cores, and with a
    generator that kept to its schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCapacity:
    """The highest rate of arrivals at which a server keeps the limit."""

    cell: Cell
    """The closed loop that showed where to begin."""
    status: CapacityStatus
    """What could be found."""
    rps: Annotated[Interval | None, Digits(2)]
    """Requests a second, with an interval that holds the true capacity with a chance of 95 %. With `at-least` the median is the
    highest rate at which the limit held. Null where there is none."""
    windows: int
    """So many are near it and count."""
    lowest_rps: float | None
    """The lowest rate that was tried."""
    highest_rps: float | None
    """And the highest."""
    limited_by: str
    """What the server lacks for a higher rate, in words."""
    half_p95_ms: Annotated[float | None, Digits(1)]
    """95 % of requests are answered within so many milliseconds at half of the capacity; null where that was not measured."""
    tried: tuple[CapacityWindow, ...]
    """Every window, from the lowest rate to the highest."""
    warnings: tuple[str, ...]
    """What a reader must know beside it."""
    broken: bool = False
    """Whether it is compared with nothing: too many of its windows were disturbed by others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityRatio:
    """The capacity of a server over that of another one, everything else equal."""

    cell: Cell
    """Of the server that is compared."""
    other: str
    """The server that it is compared with."""
    blocks: int
    """So many windows that count have both together, each block once."""
    ratio: Annotated[Interval, Digits(3)]
    """All of these intervals of a run hold together with a chance of 95 %."""
    verdict: CapacityVerdict
    """What the interval says of the server: `more`, `less` or `undecided`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityGroup:
    """Servers under the same conditions, and which of them has the most capacity."""

    cells: tuple[Cell, ...]
    """Their closed loops."""
    best: tuple[str, ...]
    """The server whose capacity is greater than every other one's; several, where that is not decided between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityOfRuns:
    """The capacity of a server in two runs that both have looked for it."""

    cell: Cell
    """The closed loop that showed where to begin."""
    a: Annotated[Interval | None, Digits(2)]
    """Requests a second in A; null where none was found."""
    b: Annotated[Interval | None, Digits(2)]
    """And in B."""
    work: Annotated[float, Digits(3)]
    """The work of a request of B over that of one of A, where requests do nothing else; else 1."""
    ratio: Annotated[Interval | None, Digits(3)]
    """What B can do over what A can, of all servers together right with a chance of 95 %; null where that is refused, and where one
    of them keeps the limit at no rate."""
    verdict: CapacityVerdict
    """What the interval says of B; or that one of them keeps the limit at no rate, and the other at rates far above those that were
    tried of it."""
    refused: str | None
    """Why they are not compared; null where they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityOutcome:
    """What a run that looks for capacity has found."""

    p95_ms: float
    """The limit: 95 of 100 requests are answered within so many milliseconds of when they were due."""
    failures: float
    """And no more than this share fails."""
    arrivals: Arrivals
    """How requests were spaced."""
    budget_s: float
    """Seconds that trials may take."""
    used_s: Annotated[float, Digits(1)]
    """And that they took."""
    servers: tuple[ServerCapacity, ...]
    """In the order of the experiment's cells."""
    ratios: tuple[CapacityRatio, ...]
    """Of every two servers under the same conditions of which both have a capacity."""
    groups: tuple[CapacityGroup, ...]
    """One for each of the conditions under which servers were compared."""
