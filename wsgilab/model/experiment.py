"""What can be measured, and what is to be: servers, backends, workloads, cells and experiments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Protocol, TypeVar

from wsgilab.model.application import Application
from wsgilab.model.circumstances import Circumstances, During
from wsgilab.model.limits import (
    STRICT,
    Blocks,
    Budget,
    Cores,
    Duration,
    Failures,
    LatencyLimit,
    Length,
    Milliseconds,
    Must,
    Name,
    Precision,
    Processes,
    Range,
    Rate,
    ServerName,
    Slots,
    Users,
)
from wsgilab.model.text import counted

Connection = Literal["keep-alive", "close"]
Arrivals = Literal["constant", "poisson"]
ExecutionModel = Literal["process", "threads", "coroutines", "event-loop"]
GeneratorCores = Literal["own", "shared"]

AGAINST = "-against"
"""What the name of a row ends with that runs the version which an application is compared with, and that of what it is installed
with."""

RELEASE = "-at-"
"""In the name of a stack that has another release of one of its packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A named server configuration: one Compose service of the catalogue."""

    name: ServerName
    stack: str
    """What it runs on; empty: it is not the lab's, but runs already at the URL that is its command."""
    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Values may hold `${...}` placeholders; see `catalogue.interpolate`."""
    slots: Slots | None
    """How many requests it declares to process at once; None is unbounded."""
    processes: Processes | None
    """In how many processes; None where a request or a connection gets a process of its own."""
    model: ExecutionModel | None
    """None where it is not the lab's."""
    summary: str
    extends: ServerName | None = None
    """Of a row of the user's own, and of one that runs another version: the one of the lab's catalogue that it is made from."""
    like: ServerName | None = None
    """Of a row that an experiment or a space makes of another one: that one."""
    options: tuple[str, ...] = ()
    """Of such a row: the words of its command that differ."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """And its environment variables that do."""
    is_against: bool = False
    """It runs the version that an application is compared with."""

    @property
    def installed_as(self) -> str:
        """What a run calls that which it is installed with: its stack, of which there is another with the other version."""
        return f"{self.stack}{AGAINST}" if self.is_against else self.stack

    @property
    def has_release(self) -> bool:
        """Whether it is there because of another release of one of its packages, which its stack has."""
        return RELEASE in self.stack

    @property
    def is_started(self) -> bool:
        """Whether the lab starts it, on cores of its choice."""
        return bool(self.stack)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What requests wait for, and runs beside the servers, on other cores: a service of `compose/backends.yaml`, or of a Compose
    file of the user's own, which alone knows more of it."""

    name: str
    compose: str = ""
    """The user's own Compose file; empty: `compose/backends.yaml`."""
    stack: str = ""
    """What it runs on where it is a local process; a folder of services/stacks."""
    entrypoint: tuple[str, ...] = ()
    """What the words of `command` and `health` are appended to where it is a local process, as an image's entrypoint."""
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    """Exits with 0 once it can be used."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Values may hold `${...}` placeholders; see `catalogue.interpolate`."""
    port: int = 0
    """Where it listens in a container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A number that says how much of something a workload's request does."""

    usual: float
    """The default."""
    least: float = 0.0
    most: float
    about: str
    """What it is, with its unit: `how long a request waits, in milliseconds`."""
    is_whole: bool = False
    is_computing: bool = False
    """It is CPU time in milliseconds, of which users are given the calibration too. The workload is `cpu`, or has it for a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What one request does."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    backends: tuple[str, ...] = ()
    """Those that its requests wait for."""
    parts: tuple[str, ...] = ()
    """Other workloads whose requests, with their parameters, it is made of."""
    needs_users: bool = False
    """Its users do different things, so that a rate, which has one, is not it."""
    is_locust_file: bool = False
    """Its users are of a Locust file of the user's own: they send when that says, over connections that they keep."""
    has_shares: bool = False
    """Its parameters are shares, of which one at least must be more than 0."""


_Reference = Annotated[ServerName | Literal[""], Must("be the name of a server, or empty")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination that is measured: server x cores x workload x users x connection mode."""

    __pydantic_config__: ClassVar = STRICT

    server: ServerName
    cores: Annotated[int, Range(0, 100_000)]
    """How many the server is pinned to; 0: it is not the lab's, and on which cores it runs is not known."""
    workload: str
    users: Users | None = None
    """So many at a time, each waiting for its answer: a closed loop. None where requests come on a schedule."""
    rate: Rate | None = None
    """Requests a second on a schedule, whether or not the server keeps up: an open loop. None with `users`."""
    arrivals: Arrivals | None = None
    """How the schedule is spaced; None with `users`."""
    connection: Connection
    circumstances: Circumstances | None = None
    """What else holds; None: nothing does."""

    @property
    def conditions(self) -> "Conditions":
        """All but the server: cells under the same conditions can be compared."""
        return self.workload, self.cores, self.users, self.rate, self.arrivals, self.connection, self.circumstances

    @property
    def during(self) -> During | None:
        """What is done to the server in the middle of each trial; None: nothing is."""
        return self.circumstances.during if self.circumstances else None

    @property
    def quota(self) -> float | None:
        """CPU seconds that the server gets a second; None: as many as it has cores."""
        return self.circumstances.quota if self.circumstances else None

    @property
    def on(self) -> str:
        """Where its server runs, such as `2 cores`, and what happens to it."""
        cores = counted(self.cores, "core") if self.cores else "cores unknown"
        return _with(cores, self.circumstances.of_server if self.circumstances else "")

    @property
    def load(self) -> str:
        """In words, such as `32 users` or `200 requests/s, poisson`, and what else users do."""
        load = f"{self.users} users" if self.rate is None else f"{self.rate:g} requests/s, {self.arrivals}"
        return _with(load, self.circumstances.of_users if self.circumstances else "")


def _with(words: str, others: str) -> str:
    return f"{words}, {others}" if others else words


Conditions = tuple[str, int, int | None, float | None, Arrivals | None, Connection, Circumstances | None]


class OfCell(Protocol):
    """Anything that is about one cell, such as an observation or a result."""

    @property
    def cell(self) -> Cell: ...


Of = TypeVar("Of", bound=OfCell)


def by_conditions(items: Iterable[Of]) -> Mapping[Conditions, Sequence[Of]]:
    """Those about cells under the same conditions together, in the order of the first of each."""
    found: dict[Conditions, list[Of]] = {}
    for each in items:
        found.setdefault(each.cell.conditions, []).append(each)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One cell in one block. `position` counts from 0 over the whole run; with a budget some numbers are left out."""

    block: int
    position: int
    cell: Cell
    look: int = 0
    """As of an observation."""
    beside: Cell | None = None
    """Of the server that is loaded at once, in a duet; None in a trial of one alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityLimit:
    """What holds at every rate up to a server's capacity, which is the highest such rate."""

    __pydantic_config__: ClassVar = STRICT

    p95_ms: LatencyLimit
    """95 of 100 requests are answered within so many milliseconds of when they were due."""
    failures: Failures = 0.001
    """The share of requests that may fail."""
    arrivals: Arrivals = "poisson"
    """How the requests are spaced."""


_Limit = Annotated[float, Range(0, 10**9, above=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune:
    """A race for the best server, in place of a comparison of all: those leave that cannot be the best any more."""

    __pydantic_config__: ClassVar = STRICT

    p95_ms: _Limit | None = None
    """95 of 100 requests must be answered within so many milliseconds."""
    memory_mb: _Limit | None = None
    """The whole server must keep to so many megabytes (10^6 bytes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What an experiment file asks for, resolved: every cell spelled out, every default filled in."""

    __pydantic_config__: ClassVar = STRICT

    name: Name
    cells: Annotated[tuple[Cell, ...], Length(0, 10_000)]
    """Empty in the interactive lab alone, where a person chooses what is measured."""
    blocks: Blocks
    window_s: Duration
    """How long one trial is observed once every user has had an answer."""
    patience_s: Duration
    """How long to wait, at most, until every user has had an answer, and after the window until the requests under
    way are answered."""
    reference: _Reference
    """The server that the others are compared with; it need not be in a cell, or there is none: then nothing is compared."""
    generator: GeneratorCores
    """`own`: servers and generator never share a core. `shared`: they may, and every number says so."""
    parameters: Mapping[str, Mapping[str, Milliseconds]]
    """Workload -> parameter -> value, such as `{"sleep": {"ms": 50.0}}`."""
    precision: Precision | None = None
    """Go on beyond `blocks` until each comparison is decided or its interval is within so much of its median."""
    max_blocks: Blocks | None = None
    """Where to stop all the same; None without `precision`."""
    budget_s: Budget | None = None
    """How long trials go on: after `blocks`, which is 2 then, each takes the cells that are worth it. Not with `precision`."""
    tune: Tune | None = None
    """The time of the budget is for a race, whose first round has `blocks`, which is 3 then."""
    generator_cores: Cores = 1
    application: Application | None = None
    """The user's own, whose requests are the workloads; None: the lab's, with the lab's workloads."""
    counterparts: Mapping[ServerName, ServerName] = field(default_factory=dict)
    """Server -> the same with the version that the application is compared with. With these, each is compared with that alone."""
    capacity: CapacityLimit | None = None
    """What limits the rates that are looked for; then `cells` are closed loops, which show where to begin. With `budget_s` alone."""
