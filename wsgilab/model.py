"""The lab's values: frozen dataclasses, one for each word of the vocabulary. No logic, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

Connection = Literal["keep-alive", "close"]
Arrivals = Literal["constant", "poisson"]
ExecutionModel = Literal["process", "threads", "coroutines", "event-loop"]
GeneratorCores = Literal["own", "shared"]
RuntimeName = Literal["compose", "local"]
TrialStatus = Literal["measured", "failed"]
Metric = Literal["throughput", "latency"]
BoundBy = Literal["slots", "cpu", "gil", "balance", "generator", "backend", "demand", "unexplained"]
Gate = Literal["generator", "little", "slots", "processes", "failures", "cut-off", "late"]
Verdict = Literal["faster", "slower", "undecided"]
ClaimVerdict = Literal["confirmed", "refuted", "undecided"]

SCHEMA = 1
"""The version of what `results/<run>/` holds."""

STRICT = {"extra": "forbid"}
"""Read by pydantic where files are parsed: a key that is not a field is an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A named server configuration: one Compose service of the catalogue."""

    name: str
    stack: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Values may hold `${...}` placeholders; see `catalogue.interpolate`."""
    slots: int | None
    """How many requests it declares to process at once; None is unbounded."""
    processes: int | None
    """In how many processes; None where a request or a connection gets a process of its own."""
    model: ExecutionModel
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What requests wait for: a service of `compose/backends.yaml` that runs beside the servers, on other cores."""

    name: str
    stack: str
    """What it runs on where it is a local process; a folder of services/stacks."""
    entrypoint: tuple[str, ...]
    """What the words of `command` and `health` are appended to where it is a local process, as an image's entrypoint."""
    command: tuple[str, ...]
    health: tuple[str, ...]
    """Exits with 0 once it can be used."""
    environment: Mapping[str, str]
    """Values may hold `${...}` placeholders; see `catalogue.interpolate`."""
    port: int
    """Where it listens in a container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What one request does."""

    parameters: Mapping[str, float]
    """And their defaults."""
    backends: tuple[str, ...] = ()
    """Those that its requests wait for."""
    parts: tuple[str, ...] = ()
    """Other workloads whose requests, with their parameters, it is made of."""
    needs_users: bool = False
    """Its users do different things, so that a rate, which has one, is not it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination that is measured: server x cores x workload x users x connection mode."""

    __pydantic_config__: ClassVar = STRICT

    server: str
    cores: int
    workload: str
    users: int | None = None
    """So many at a time, each waiting for its answer: a closed loop. None where requests come on a schedule."""
    rate: float | None = None
    """Requests a second on a schedule, whether or not the server keeps up: an open loop. None with `users`."""
    arrivals: Arrivals | None = None
    """How the schedule is spaced; None with `users`."""
    connection: Connection

    @property
    def conditions(self) -> "Conditions":
        """All but the server: cells under the same conditions can be compared."""
        return self.workload, self.cores, self.users, self.rate, self.arrivals, self.connection

    @property
    def load(self) -> str:
        """In words, such as `32 users` or `200 requests/s, poisson`."""
        return f"{self.users} users" if self.rate is None else f"{self.rate:g} requests/s, {self.arrivals}"


Conditions = tuple[str, int, int | None, float | None, Arrivals | None, Connection]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One cell in one block. `position` counts from 0 over the whole run."""

    block: int
    position: int
    cell: Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What an experiment file asks for, resolved: every cell spelled out, every default filled in."""

    __pydantic_config__: ClassVar = STRICT

    name: str
    cells: tuple[Cell, ...]
    blocks: int
    window_s: float
    """How long one trial is observed once every user has had an answer."""
    patience_s: float
    """How long to wait, at most, until every user has had an answer, and after the window until the requests under
    way are answered."""
    reference: str
    """The server that the others are compared with."""
    generator: GeneratorCores
    """`own`: servers and generator never share a core. `shared`: they may, and every number says so."""
    parameters: Mapping[str, Mapping[str, float]]
    """Workload -> parameter -> value, such as `{"sleep": {"ms": 50.0}}`."""
    precision: float | None = None
    """Go on beyond `blocks` until each comparison is decided or its interval is within so much of its median."""
    max_blocks: int | None = None
    """Where to stop all the same; None without `precision`."""
    generator_cores: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine, as far as it matters for a comparison."""

    __pydantic_config__: ClassVar = STRICT

    cpu: str
    architecture: str
    usable_cpus: str
    """A cpuset list such as `0-3`."""
    siblings: tuple[str, ...]
    """Cpuset lists of the logical cores that share one physical core."""
    memory_bytes: int
    kernel: str
    python: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A set of locked packages that servers run on, as it was really installed."""

    __pydantic_config__: ClassVar = STRICT

    digest: str
    """The image's id, or a SHA-256 over lock and interpreter."""
    python: str = ""
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of an experiment: all that is needed to repeat it, and to read its observations."""

    __pydantic_config__: ClassVar = STRICT

    schema: int
    id: str
    lab: str
    """The lab's own version."""
    started: str
    """ISO 8601, with the offset from UTC."""
    runtime: RuntimeName
    seed: int
    experiment: Experiment
    server_cpus: Mapping[int, str]
    """Number of cores -> the cpuset list that servers were pinned to."""
    generator_cpus: str
    backend_cpus: str = ""
    """Empty where no workload needs a backend."""
    cpu_iterations: int | None
    """The fixed work of a `cpu` request, calibrated once for this run; None where no cell needs it."""
    servers: Mapping[str, Server]
    host: Host
    stacks: Mapping[str, Stack]
    packages: Mapping[str, str]
    """The lab's own packages and tools, by name."""
    notes: tuple[str, ...]
    """What a reader must know of the machine, such as shared physical cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Who served one request, and when it was inside the application (CLOCK_MONOTONIC, nanoseconds)."""

    process: int
    thread: int
    """The operating system's thread id."""
    lane: int
    """The thread's or greenlet's id as Python sees it."""
    entered_ns: int
    left_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Requests inside the application during one window."""

    __pydantic_config__: ClassVar = STRICT

    peak: int
    mean: float
    """Weighted by time."""
    threads: int
    """OS threads that finished a request in the window."""
    requests_per_process: tuple[int, ...]
    """For each process that finished a request in the window, how many; most first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a target has consumed so far, over all its processes."""

    cpu_s: float
    resident_bytes: int
    os_threads: int
    """Threads that there are now, as the operating system counts them: one at least for each process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the swarm is told to do: one trial, in the generator's terms."""

    locustfile: str
    base_url: str
    users: int
    """One, where requests come on a schedule."""
    rate: float | None
    window_s: float
    patience_s: float
    options: Mapping[str, str | float | int]
    """Locust's parsed options, such as `{"connection": "close", "sleep_ms": 50.0}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmReport:
    """What the swarm saw in one trial.

    A request counts for the window in which it left the application, if its answer was right in the end; one that
    was due on a schedule has its latency counted in the window in which it was due.
    """

    __pydantic_config__: ClassVar = STRICT

    window_s: float
    warmup_s: float
    """Before the window: until all users were at work, or while a schedule's first requests arrived."""
    settling_s: float = 0.0
    """The window's first part, until every user had had an answer; latencies are of the rest."""
    drain_s: float
    unanswered: int
    """Users that never had an answer within the window."""
    completed: int
    """Requests of the window."""
    throughput_rps: float
    """How often a request left, as `inflight.rate` has it: `completed / window_s`, but for what the ends cut."""
    failures: int
    """Requests answered wrongly or not at all, over the whole trial."""
    errors: Mapping[str, int]
    """What the failures were, and how often."""
    cut_off: int
    """Requests given up because they were unanswered when the drain ended."""
    due: int = 0
    """Scheduled requests that were due in the window."""
    late: int = 0
    """Scheduled requests that the generator began noticeably after they were due."""
    slow_connections: int = 0
    """Connections, over the whole trial, that took so long to open that the first attempt must have been dropped."""
    client_ms: float = 0.0
    """Median time, of a request of the window, that its user itself let pass while it sent and read."""
    reading_ms: float = 0.0
    """The part of it that passed while the user read: until then it may have stood in a queue, and held nobody up."""
    latency_mean_ms: float
    latency_ms: Mapping[str, float]
    """`p50`, `p95`, `p99` and `max`."""
    latency_histogram: str
    """Microseconds; HdrHistogram V2, compressed, base64."""
    in_flight: InFlight
    service_ms: float
    """Median time of a request inside the application."""
    generator_cpu: float
    """CPU time of the generator over the window, on the busiest of its cores: 1.0 is all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one trial recorded; one line of `observations.jsonl`.

    A failed trial has a reason and no figures. It is no zero: it says nothing about speed.
    """

    __pydantic_config__: ClassVar = STRICT

    block: int
    position: int
    cell: Cell
    started: str
    status: TrialStatus
    reason: str = ""
    swarm: SwarmReport | None = None
    server_cpu_s: float | None = None
    """CPU time of all the target's processes over `server_span_s`."""
    server_span_s: float | None = None
    resident_bytes: int | None = None
    os_threads: int | None = None
    """The more of what the window's two ends saw."""
    backend_cpu_s: float | None = None
    """CPU time of the workload's backends over `server_span_s`; None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A median with a lower and an upper end. None: too few blocks to say."""

    median: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFigures:
    """The figures of a cell over the blocks in which it was measured."""

    peak: int
    """The highest of any block."""
    mean_in_flight: Interval
    processes: int
    threads: int
    busiest_share: float | None
    """The busiest process' requests over its even share: 1.0 is even, 2.0 of 2 processes is one doing it all.

    None where processes are not declared in number.
    """
    throughput_rps: Interval
    latency_ms: Mapping[str, float]
    """`p50`, `p95`, `p99`, `max`, over the merged histograms of all blocks."""
    latency_blocks_ms: Mapping[str, Interval]
    """The same of each block by itself, with the interval of their median."""
    service_ms: Interval
    limit_rps: float | None
    limit_share: float | None
    """Throughput over `limit_rps`."""
    cpu_ms_per_request: Interval | None
    server_cpu: Interval | None
    generator_cpu: Interval
    resident_mb: float | None
    os_threads: int | None
    """Threads of all its processes, as the operating system counts them: the median of the blocks."""
    backend_cpu: Interval | None
    """Share of the backends' cores that they used; None where the workload has none."""
    failures: int
    cut_off: int
    late: int
    slow_connections: int
    bound_by: BoundBy
    because: str
    """The figures that decided `bound_by`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """A cell, its figures (None where no block could be measured), and what a reader must know beside them."""

    cell: Cell
    slots: int | None
    blocks: int
    figures: CellFigures | None
    rank: int | None
    """1 is the fastest under its conditions; servers that cannot be told from the first of their group share its rank."""
    broken_gates: tuple[Gate, ...]
    """Why no comparison is drawn from these figures; each has a warning too."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """A server's figure over the reference's, everything else equal, paired by block."""

    cell: Cell
    reference: str
    metric: Metric
    """At a fixed rate all that keep up have the same throughput, so there it is the mean latency."""
    blocks: int
    """So many that both have."""
    ratio: Interval
    verdict: Verdict
    broken_gates: tuple[Gate, ...]
    """Why nothing is concluded from the ratio, where either of the two must not be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a run says: the source of every rendering."""

    run: Run
    trials: int
    """Planned, as far as it is known: with `precision`, those of the blocks that were begun."""
    measured: int
    failed: int
    window_s: float
    """Seconds of windows, over all measured trials."""
    cells: tuple[CellResult, ...]
    pairs: tuple[PairResult, ...]
    confidence: float
    """The chance that the interval of a cell's figure holds its true median: less than 95 % with few blocks."""
    blocks_needed: int
    """From so many blocks on the ratios' intervals are exact; with fewer they are widened."""
    interleaved: bool = True
    """False: an interactive session, one test after the other: figures, but no comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must hold of one figure of a cell, or of its ratio to another cell's, for a claim to be true."""

    figure: str
    """A key of `claims.FIGURES`."""
    of: Cell
    over: Cell | None = None
    """With it, the figure is a ratio, paired by block."""
    at_least: float | None = None
    at_most: float | None = None
    """Neither limit: the figure is told beside the verdict, and decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence about servers that is met in the wild, and what would make it true."""

    id: str
    claim: str
    met: str
    """Where such a claim is commonly met."""
    holds: tuple[Condition, ...]
    """It is true if all of these are."""
    shows: tuple[Condition, ...] = ()
    """Figures that are told beside them."""
    explanation: str
    advice: str
    """What a reader should do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the blocks say of a condition."""

    condition: Condition
    blocks: int
    """So many that have the figure."""
    value: Interval | None
    """None where nothing was measured."""
    verdict: ClaimVerdict
    reason: str
    """Why it is undecided, or what a figure that is only told suffers from; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """A claim under test."""

    claim: Claim
    verdict: ClaimVerdict
    evidence: tuple[Evidence, ...]
    """Of `holds`, in order."""
    shown: tuple[Evidence, ...]
    """Of `shows`, in order."""
