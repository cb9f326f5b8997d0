"""What a run says: figures, ratios, and what follows from them.

`comparison.yaml` is written with these values: a field's docstring describes its key in the JSON Schema, so that None is
called null there, or absent, as the key is of what only some cells have.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from wsgilab.model.advice import Advice, TuneOutcome
from wsgilab.model.capacity import CapacityOutcome
from wsgilab.model.experiment import Cell
from wsgilab.model.observation import LatencyParts, Timeline
from wsgilab.model.prediction import Prediction, ScalabilityLaw
from wsgilab.model.rounding import Digits, Interval
from wsgilab.model.run import Run

if TYPE_CHECKING:
    from wsgilab.model.ab import RunsComparison

Metric = Literal["throughput", "latency"]
BoundBy = Literal[
    "neighbour",
    "throttled",
    "quota",
    "slots",
    "cpu",
    "gil",
    "balance",
    "generator",
    "backend",
    "network",
    "demand",
    "unexplained",
    "failures",
    "cut-off",
    "late",
    "little",
    "declaration",
]
"""`neighbour`, `throttled`, and from `failures` on: no reason is known, because that gate broke. `declaration` stands for `slots` and
`processes`."""
Gate = Literal["neighbour", "throttled", "generator", "little", "slots", "processes", "failures", "cut-off", "late"]
WarningKind = Literal[
    "failed-trials",
    "not-run",
    "restarted",
    "failures",
    "cut-off",
    "late",
    "unanswered",
    "slow-connections",
    "during",
    "workers-replaced",
    "reopened",
    "reset",
    "refused",
    "idle",
    "abandoned",
    "uneven-users",
    "loss",
    "neighbour",
    "throttled",
    "quota",
    "generator",
    "shared-core",
    "no-stamps",
    "slots",
    "processes",
    "short-window",
    "behind-schedule",
    "little",
    "left-out",
    "not-compared",
    "cost",
    "few-blocks",
]
"""What a warning is about. Those that break a gate have its name. The last three are about a comparison, not about a cell."""
Verdict = Literal["faster", "slower", "undecided"]
CostVerdict = Literal["less", "more", "undecided"]
"""A request takes less CPU time than one of the reference, or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellWarning:
    """What a reader must know beside the figures of a cell."""

    kind: WarningKind
    text: str
    gate: Gate | None = None
    """The one that is broken, so that the figures are not to be compared; None where none is."""
    amount: float = 0.0
    """How much there was of it, in any unit: of the warnings of a kind, the worst has most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFigures:
    """The figures of a cell for one of the requests of a mix or a Locust file, over the blocks in which it was measured."""

    completed: int
    """Requests of all windows."""
    throughput_rps: Annotated[Interval, Digits(1)]
    """Its part of the cell's throughput, in requests a second."""
    latency_mean_ms: Annotated[Interval | None, Digits(1)]
    """Milliseconds, of each block's mean; null where none was answered once the load had settled."""
    latency_p50_ms: Annotated[Interval | None, Digits(1)]
    """Milliseconds, of each block's own median."""
    latency_p95_ms: Annotated[Interval | None, Digits(1)]
    """Milliseconds, of each block's own 95th percentile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFigures:
    """The figures of a cell over the blocks in which it was measured. Where answers have no stamps, what they would tell is None."""

    peak: int | None
    """The most requests in flight, in any block's window."""
    mean_in_flight: Interval | None
    """Requests in flight, weighted by time."""
    processes: int | None
    """Processes that finished a request in a window."""
    threads: int | None
    """OS threads that finished a request in a window."""
    busiest_share: float | None
    """The busiest process' requests over its even share: 1.0 is even, 2.0 of 2 processes is one doing it all. Null where
    processes are not declared in number."""
    busiest_user_share: float | None
    """The answers of the user who had most, over an even share: 1.0 is even, 8.0 of 8 users is one who had all. With kept
    connections a user is a connection. Absent where that was not counted, or users had too few answers each."""
    process_shares: tuple[float, ...]
    """What share of the requests each declared process finished, most first: the mean over the blocks, each with its
    processes in that order. Empty where processes are not declared in number."""
    throughput_rps: Interval
    """Requests a second, completed and correct."""
    latency_ms: Mapping[str, float]
    """Milliseconds from a request's begin, or when it was due, to its whole answer, over all blocks together. The keys are
    `p50`, `p95`, `p99` and `max`."""
    latency_blocks_ms: Mapping[str, Interval]
    """The same of each block by itself, with the interval of their median."""
    service_ms: Interval | None
    """Median time of a request inside the application, in milliseconds; null where answers have no stamps."""
    parts: LatencyParts | None
    """What latencies consist of, in milliseconds: means over the requests of all blocks, and the medians of the blocks' own
    percentiles. Null where it was not measured."""
    limit_rps: float | None
    """Requests a second: slots over service time, or cores over CPU time, whichever is lower. Null where neither is
    known."""
    limit_share: float | None
    """Throughput over `limit_rps`."""
    cpu_ms_per_request: Interval | None
    """CPU time of all the server's processes, in milliseconds a request."""
    server_cpu: Interval | None
    """Share of the pinned cores that the server used."""
    generator_cpu: Interval
    """Share of the generator's busiest core that it used."""
    server_others: Interval | None
    """Share of the server's cores that others than the lab used, or that a hypervisor took away; null where it was not
    measured."""
    generator_others: Interval | None
    """Share of the generator's cores that others than the lab used, or that a hypervisor took away; null where it was not
    measured."""
    disturbed: str
    """What others took in the disturbed windows, and who, in words; empty where none was disturbed."""
    resident_mb: float | None
    """Resident memory of all the server's processes, in megabytes (10^6 bytes)."""
    os_threads: int | None
    """Threads of all the server's processes, as the operating system counts them: the median of the blocks."""
    backend_cpu: Interval | None
    """Share of the backends' cores that they used; null where the workload has none."""
    failures: int
    """Requests answered wrongly or not at all, over all trials."""
    cut_off: int
    """Requests given up because they were unanswered when a trial's patience ended."""
    late: int
    """Scheduled requests that the generator began noticeably after they were due."""
    slow_connections: int
    """Connections that took so long to open that the first attempt must have been dropped."""
    reopened: int | None
    """Kept connections that the server had closed without saying so in its last answer, so that users opened others; null
    where they were not counted."""
    round_trip_ms: Interval | None
    """Milliseconds for a small message to the targets' machine and its answer, just before the trials; null where users and
    targets share a machine."""
    received_mbps: Interval | None
    """Megabits of answers' bodies a second; null where they were not counted."""
    resent_share: float | None
    """Of all TCP segments that the users' machines sent, those that they sent again; null where users and targets share a
    machine."""
    bound_by: BoundBy
    """What keeps the throughput from being higher."""
    because: str
    """The figures that decided `bound_by`."""
    by_request: Mapping[str, RequestFigures] = field(default_factory=dict)
    """By name, where users send an application's requests in a mix, or as a Locust file says; else absent."""
    throttled: str = ""
    """In which windows a CPU quota that the cell does not have stopped the server, and what to do about it, in words; empty where
    none did."""
    throttled_share: Interval | None = None
    """Share of the time in which its own quota stopped the server; absent without one, and where it was not counted."""
    longest_gap_ms: Interval | None = None
    """Milliseconds: the longest time of each block's window in which no user had an answer; absent where it was not looked for."""
    lost_capacity: Interval | None = None
    """By which share fewer requests a second were answered after what was done to the server than before; absent where nothing was."""
    memory_pss_mb: float | None = None
    """Megabytes (10^6 bytes) that all the server's processes take, pages that they share counted once, after a trial, at most; absent
    where it was not read."""
    memory_private_mb: float | None = None
    """The part of it that is of pages which one process has alone."""
    memory_start_pss_mb: float | None = None
    """As `memory_pss_mb`, before the first trial after a start of the server."""
    memory_start_private_mb: float | None = None
    """The part of that which is of pages which one process has alone."""
    reset: int | None = None
    """Requests lost with a kept connection that the server closed: sent again, or failed. Absent where they were not counted."""
    refused: int | None = None
    """Connections that were refused. Absent where they were not counted."""
    pausing: Interval | None = None
    """Users who paused between requests, on average. Absent where users do not."""
    abandoned: int | None = None
    """Requests that users gave up in the windows. Absent where users do not."""
    wasted_work: Interval | None = None
    """Of the time that requests were inside the application, the share of those that nobody waited for in the end. Absent where users
    do not give up, or it is not known."""
    first_event_ms: Interval | None = None
    """Milliseconds until the first event of a stream, each block's median. Absent without streams."""
    event_gap_ms: Interval | None = None
    """Milliseconds, the longest between two events of a stream, each block's median."""
    idle_closed: int | None = None
    """Silent connections that the server closed. Absent without any connections of that kind."""
    idle_held_s: Interval | None = None
    """Seconds for which it held those that it closed, each block's median. Absent where it closed none."""
    idle_longest_s: float | None = None
    """Seconds for which one was open, until the server closed it or the trial ended: the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which places a server may have under its conditions, 1 being that of the fastest: as many before it as are faster
    for sure, as many behind it as are slower for sure. Servers that are not told apart have a place in common."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """A cell, its figures (None where no block could be measured), and what a reader must know beside them."""

    cell: Cell
    slots: int | None
    blocks: int
    figures: CellFigures | None
    rank: Place | None
    """None where nothing is compared, or nothing may be concluded from its figures."""
    broken_gates: tuple[Gate, ...]
    """Why no comparison is drawn from these figures; each has a warning too."""
    warnings: tuple[CellWarning, ...]
    timeline: Timeline | None = None
    """Of its first block that has one."""
    left_out: int = 0
    """So many of its blocks take no part in its figures, because others disturbed them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRatio:
    """A server's cost, which is its CPU time a request, over the reference's, everything else equal, paired by block."""

    blocks: int
    """So many that both have; with `duet`, windows in which both were loaded at once."""
    ratio: Annotated[Interval, Digits(3)]
    """CPU time a request over the reference's. The intervals of all costs hold at once with those of speed, with a chance of
    95 %."""
    verdict: CostVerdict
    """What the interval says of the server: `less`, `more` or `undecided`."""
    margin: Annotated[float, Digits(3)]
    """By more than this share of 1 the whole interval must differ for a verdict: 0.01, and more beside a neighbour."""
    because: str
    """Why the servers are compared by cost although their figures are not, why the margin is what it is, and whether both were loaded
    at once; empty where none of this is the case."""
    duet: bool = False
    """Both were loaded at once, each by all of its users, on the same cores and in windows of their own; else one after the other,
    paired by block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """A server's figure over the reference's, everything else equal, paired by block."""

    cell: Cell
    """Of the server that is compared."""
    reference: str
    """The server that it is compared with."""
    metric: Metric
    """Throughput; at a fixed rate, where all that keep up have the same, the mean latency."""
    blocks: int
    """So many that both have."""
    ratio: Annotated[Interval, Digits(3)]
    """The server's figure over the reference's. The intervals of all ratios hold at once, with a chance of 95 %, and with
    them those that ranks and advice read."""
    verdict: Verdict
    """What the interval says of the server."""
    same: bool
    """Undecided, because the whole interval is within 2 % of 1: whatever the difference is, it is less than that."""
    broken_gates: tuple[Gate, ...]
    """Why nothing is concluded from the ratio, where either of the two must not be compared."""
    cost: CostRatio | None = None
    """The two by their CPU time a request; null where that was not read, or must not be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A cell's throughput over that of the same with the fewest cores, paired by block."""

    cell: Cell
    """The one with more cores."""
    over_cores: int
    """The fewest cores that it was measured with under these conditions."""
    blocks: int
    """So many that both have."""
    ratio: Annotated[Interval, Digits(3)]
    """Throughput with `cores` over throughput with `over_cores`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One block against the whole run: how the machine changed meanwhile. Each trial's figure counts as a ratio to the
    median of its cell; of these, `median` is the median, `low` and `high` are the quartiles."""

    block: int
    """Its number, from 0."""
    started: str
    """When its first trial began: ISO 8601, with the offset from UTC."""
    trials: int
    """Measured ones."""
    throughput: Annotated[Interval, Digits(3)]
    """Requests a second: below 1, the machine was slower in this block."""
    cpu_time: Annotated[Interval | None, Digits(3)]
    """CPU time a request: above 1, the same work took the machine longer. Null where it was not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineEffect:
    """A machine of targets against the others that took blocks of the same run."""

    machine: str
    """Its name in `run.lanes`."""
    blocks: int
    """So many were measured on it."""
    throughput: Annotated[Interval, Digits(3)]
    """The speed of its blocks over that of the others': a block's speed is the geometric mean, over its cells, of throughput
    over the cell's median. The intervals of all machines hold at once, with a chance of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenComparison:
    """A comparison that a budget has not decided."""

    cell: Cell
    other: str
    """The server that it is compared with."""
    more_s: Annotated[float | None, Digits(0)]
    """Seconds of trials of the two that may decide it, if its ratio is what it seems. Null where it is so close to 1 that no
    reasonable time would."""
    cost: CostVerdict = "undecided"
    """What its CPU time a request says, where both are bound by CPU: `less`, `more` or `undecided`. It is no verdict on speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetOutcome:
    """What a run with a budget has decided, of the comparisons that its time is for: with the reference or, under conditions
    without it, of every two servers."""

    budget_s: float
    """Seconds that trials may take, on all machines side by side."""
    used_s: Annotated[float, Digits(1)]
    """And that they took."""
    comparisons: int
    """Without those of which a broken gate lets nothing be concluded."""
    spoilt: int
    """So many are these."""
    decided: int
    """With those that are the same within 2 %."""
    left: tuple[OpenComparison, ...]
    """The others, those that need the least time first."""
    by_cost: int = 0
    """Of all that are not decided, spoilt ones too, so many are decided by their CPU time a request, where both are bound by CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a run says: the source of every rendering."""

    run: Run
    trials: int
    """Planned, as far as it is known: with `precision` or a budget, those of the blocks that were begun."""
    measured: int
    failed: int
    window_s: float
    """Seconds of windows, over all measured trials."""
    cells: tuple[CellResult, ...]
    pairs: tuple[PairResult, ...]
    confidence: float
    """The chance that the interval of a cell's figure holds its true median: less than 95 % with few blocks."""
    scaling: tuple[Scaling, ...] = ()
    """Of every cell that was measured with fewer cores too."""
    drift: tuple[Drift, ...] = ()
    machines: tuple[MachineEffect, ...] = ()
    """Where blocks ran side by side on several machines."""
    advice: tuple[Advice, ...] = ()
    """For each group of conditions in which servers were compared."""
    budget: BudgetOutcome | None = None
    """None without a budget."""
    predictions: tuple[Prediction, ...] = ()
    """Of every cell that others of its kind predict."""
    laws: tuple[ScalabilityLaw, ...] = ()
    """Of every four cells or more that differ in users, or in cores, alone."""
    capacity: CapacityOutcome | None = None
    """Of a run that looks for it; else None."""
    tune: TuneOutcome | None = None
    """None of any run but one of `lab.tune`."""
    interleaved: bool = True
    """False: an interactive session, one test after the other: figures, but no comparison."""
    versions: "RunsComparison | None" = None
    """Of a run of two versions of an application, what it says of them; all else is of the application itself then."""
