"""What `comparison.yaml` says, schema 1: its keys and their units. Keys may be added; those that are there stay.

The JSON Schema that `make schemas` writes follows from these types, descriptions included.
"""

from typing import Literal, NotRequired

from typing_extensions import TypedDict  # typing's own tells pydantic too little before Python 3.12

from wsgilab.model import Arrivals, BoundBy, Connection, Gate, Metric, Verdict
from wsgilab.report.identity import Identity


class IntervalEntry(TypedDict):
    """The median of the blocks, and an interval that holds the true one."""

    median: float
    """In the unit of the figure."""
    low: float | None
    """The lower end; null where there are too few blocks to say."""
    high: float | None
    """The upper end; null where there are too few blocks to say."""


class TrialCounts(TypedDict):
    """How many trials there were: one cell in one block each."""

    planned: int
    """As far as it is known: with `precision`, those of the blocks that were begun."""
    measured: int
    """Those that have figures."""
    failed: int
    """Those that have none; the cells' warnings say why."""


class RunEntry(Identity):
    """The run, and what its intervals are worth."""

    interleaved: bool
    """False for an interactive session, one test after the other: figures, but no comparison."""
    trials: TrialCounts
    """How many were planned, measured and failed."""
    window_s: float
    """Seconds of windows, over all measured trials."""
    confidence: float
    """The chance that the interval of a cell's figure holds its true median: less than 0.95 with few blocks."""
    blocks_needed: int
    """From so many blocks on the ratios' intervals are exact; with fewer they are widened."""
    notes: list[str]
    """What a reader must know of the machine, such as shared physical cores."""


class InFlightEntry(TypedDict):
    """Requests inside the application at one moment, and who served them."""

    peak: int
    """The most, in any block's window."""
    mean: float
    """Weighted by time."""
    processes: int
    """Processes that finished a request in a window."""
    threads: int
    """OS threads that finished a request in a window."""
    busiest_share: float | None
    """The busiest process' requests over its even share: 1.0 is even. Null where processes are not declared in
    number."""


class LatencyEntry(TypedDict, total=False):
    """Milliseconds from a request's begin, or when it was due, to its whole answer, over all blocks together."""

    p50: float
    """Half of the requests took so many milliseconds at most."""
    p95: float
    """95 % of the requests did."""
    p99: float
    """99 % of the requests did."""
    max: float
    """The longest."""


class Intervals(TypedDict):
    """The intervals of figures that stand beside them as medians alone."""

    mean_in_flight: IntervalEntry
    """Of `in_flight.mean`."""
    latency_p50_ms: NotRequired[IntervalEntry]
    """Of each block's own median."""
    latency_p95_ms: NotRequired[IntervalEntry]
    """Of each block's own 95th percentile."""
    latency_p99_ms: NotRequired[IntervalEntry]
    """Of each block's own 99th percentile."""
    latency_max_ms: NotRequired[IntervalEntry]
    """Of each block's longest."""
    service_ms: IntervalEntry
    """Milliseconds."""
    generator_cpu: IntervalEntry
    """A share of the generator's busiest core."""
    server_cpu: NotRequired[IntervalEntry]
    """A share of the pinned cores; absent where it was not read."""
    backend_cpu: NotRequired[IntervalEntry]
    """A share of the backends' cores; absent where there are none."""
    cpu_ms_per_request: NotRequired[IntervalEntry]
    """Milliseconds; absent where it was not read."""
    round_trip_ms: NotRequired[IntervalEntry]
    """Milliseconds; absent where users and targets share a machine."""
    received_mbps: NotRequired[IntervalEntry]
    """Megabits a second; absent where it was not counted."""


class Figures(TypedDict):
    """What was measured of a cell; each is null where no block could be measured."""

    rank: int | None
    """The first place that it may have under its conditions, 1 being that of the fastest: as many servers before it as
    are faster for sure. Null where the cell is not compared."""
    rank_last: int | None
    """The last place that it may have. Servers that cannot be told apart have a place in common, from `rank` to here."""
    in_flight: InFlightEntry | None
    """Measured concurrency."""
    process_shares: list[float] | None
    """What share of the requests each declared process finished, most first; empty where processes are not declared in
    number."""
    throughput_rps: IntervalEntry | None
    """Requests a second, completed and correct."""
    latency_ms: LatencyEntry | None
    """Milliseconds."""
    service_ms: float | None
    """Median time of a request inside the application, in milliseconds."""
    limit_rps: float | None
    """Requests a second: slots over service time, or cores over CPU time, whichever is lower. Null where neither is
    known."""
    limit_share: float | None
    """Throughput over `limit_rps`."""
    cpu_ms_per_request: float | None
    """CPU time of all the server's processes, in milliseconds a request."""
    server_cpu: float | None
    """Share of the pinned cores that the server used."""
    generator_cpu: float | None
    """Share of the generator's busiest core that it used."""
    server_others: float | None
    """Share of the server's cores that others than the lab used; null where it was not measured."""
    generator_others: float | None
    """Share of the generator's cores that others than the lab used; null where it was not measured."""
    backend_cpu: float | None
    """Share of the backends' cores that they used; null where the workload has none."""
    resident_mb: float | None
    """Resident memory of all the server's processes, in megabytes (10^6 bytes)."""
    os_threads: int | None
    """Threads of all the server's processes, as the operating system counts them."""
    failures: int | None
    """Requests answered wrongly or not at all, over all trials."""
    cut_off: int | None
    """Requests given up because they were unanswered when a trial's patience ended."""
    late: int | None
    """Scheduled requests that the generator began noticeably after they were due."""
    slow_connections: int | None
    """Connections that took so long to open that the first attempt must have been dropped."""
    reopened: int | None
    """Kept connections that the server had closed without saying so in its last answer, so that users opened others; null where
    they were not counted."""
    round_trip_ms: float | None
    """Milliseconds for a small message to the targets' machine and its answer, just before the trials; null where users and
    targets share a machine."""
    received_mbps: float | None
    """Megabits of answers' bodies a second; null where they were not counted."""
    resent_share: float | None
    """Of all TCP segments that the users' machines sent, those that they sent again; null where users and targets share a
    machine."""
    bound_by: BoundBy | None
    """What keeps the throughput from being higher."""
    because: str | None
    """The figures that decided `bound_by`."""
    intervals: Intervals | None
    """Of the figures that are single numbers here."""


class Conditions(TypedDict):
    """All of a cell but its server: cells under the same conditions can be compared."""

    workload: str
    """What one request does."""
    cores: int
    """To how many cores the server was pinned."""
    users: NotRequired[int | None]
    """A closed loop: so many users at a time, each waiting for its answer. Absent where there is a rate."""
    rate: NotRequired[float | None]
    """An open loop: so many requests a second, due on a schedule. Absent where there are users."""
    arrivals: NotRequired[Arrivals | None]
    """How a rate is spaced. Absent where there are users."""
    connection: Connection
    """A connection for each request (`close`), or for each user (`keep-alive`)."""


class CellEntry(Conditions, Figures):
    """A server under some conditions: what it declares, what was measured, and what a reader must know beside it."""

    server: str
    """The server's name in the catalogue."""
    slots: int | Literal["unbounded"]
    """How many requests it declares to process at once."""
    blocks: int
    """In how many blocks it was measured."""
    broken_gates: list[Gate]
    """Why no comparison is drawn from these figures; each has a warning too."""
    warnings: list[str]
    """What a reader must know beside the figures."""


class PairEntry(Conditions):
    """A server's figure over the reference's, everything else equal, paired by block."""

    server: str
    """The server that is compared."""
    reference: str
    """The server that it is compared with."""
    metric: Metric
    """Throughput; at a fixed rate, where all that keep up have the same, the mean latency."""
    blocks: int
    """So many that both have."""
    ratio: IntervalEntry
    """The server's figure over the reference's. The intervals of all ratios hold at once, with a chance of 95 %, and with
    them those that ranks and advice read."""
    verdict: Verdict
    """What the interval says of the server."""
    same: bool
    """Undecided, because the whole interval is within 2 % of 1: whatever the difference is, it is less than that."""
    broken_gates: list[Gate]
    """Why nothing is concluded from the ratio, where either of the two must not be compared."""


class ScalingEntry(Conditions):
    """A cell's throughput over that of the same with the fewest cores, paired by block."""

    server: str
    """The server's name."""
    over_cores: int
    """The fewest cores that it was measured with under these conditions."""
    blocks: int
    """So many that both have."""
    ratio: IntervalEntry
    """Throughput with `cores` over throughput with `over_cores`."""


class DriftEntry(TypedDict):
    """One block against the whole run: how the machine changed meanwhile. Each trial's figure counts as a ratio to the
    median of its cell; of these, `median` is the median, `low` and `high` are the quartiles."""

    block: int
    """Its number, from 0."""
    started: str
    """When its first trial began: ISO 8601, with the offset from UTC."""
    trials: int
    """Measured ones."""
    throughput: IntervalEntry
    """Requests a second: below 1, the machine was slower in this block."""
    cpu_time: IntervalEntry | None
    """CPU time a request: above 1, the same work took the machine longer. Null where it was not read."""


class MachineEffectEntry(TypedDict):
    """A machine of targets against the others that took blocks of the same run."""

    machine: str
    """Its name in `run.lanes`."""
    blocks: int
    """So many were measured on it."""
    throughput: IntervalEntry
    """The speed of its blocks over that of the others': a block's speed is the geometric mean, over its cells, of throughput
    over the cell's median. The intervals of all machines hold at once, with a chance of 95 %."""


class WishEntry(TypedDict):
    """What a server must keep to, to be advised; null: nothing."""

    workload: str | None
    """Under this workload alone."""
    p95_ms: float | None
    """The 95th percentile of latency, in milliseconds, at most."""
    memory_mb: float | None
    """Resident memory of all the server's processes, in megabytes (10^6 bytes), at most."""


class AdviceEntry(Conditions):
    """Which of the servers that were measured under these conditions to run."""

    workloads: list[str]
    """The `workload` alone; or several, where one server is sought for all of them under otherwise equal conditions."""
    wish: WishEntry
    """What the server must keep to."""
    server: str | None
    """The one to run. Null where it is undecided and, where none is `tied`, where none may be advised."""
    tied: list[str]
    """All that cannot be told from the fastest that may be advised, that one first."""
    why: str
    """Why this one."""
    runner_up: str | None
    """The fastest other one that may be advised; where it is undecided, of those that were not tied."""
    costs: str
    """What the runner-up costs, and saves; empty without one."""
    changes: list[str]
    """When the advice would be another, the most telling first."""
    left_out: dict[str, str]
    """Server -> why it was not considered."""


class ComparisonFile(TypedDict):
    """What a run of wsgilab says: the figures of every cell, and the comparisons that follow from them."""

    schema: int
    """The version of this file's shape: 1."""
    run: RunEntry
    """Which run it was, and on what machine."""
    cells: list[CellEntry]
    """Every combination that was measured."""
    comparisons: list[PairEntry]
    """Every server against the reference, under each of the conditions."""
    scaling: list[ScalingEntry]
    """What more cores brought, for every cell that was measured with fewer cores too."""
    drift: list[DriftEntry]
    """How the machine changed from block to block."""
    machines: list[MachineEffectEntry]
    """What difference the machines of targets make; empty unless two of them have blocks."""
    advice: list[AdviceEntry]
    """Which server to run, for each of the conditions under which servers were compared."""
