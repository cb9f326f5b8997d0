"""What a run says: figures, ratios, and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wsgilab.model.experiment import Cell
from wsgilab.model.observation import Timeline
from wsgilab.model.run import Run

Metric = Literal["throughput", "latency"]
BoundBy = Literal[
    "neighbour",
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
"""`neighbour`, and from `failures` on: no reason is known, because that gate broke. `declaration` stands for `slots` and
`processes`."""
Gate = Literal["neighbour", "generator", "little", "slots", "processes", "failures", "cut-off", "late"]
Verdict = Literal["faster", "slower", "undecided"]


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
    process_shares: tuple[float, ...]
    """What share of the requests each declared process finished, most first: the mean over the blocks, each with its
    processes in that order. Empty where processes are not declared in number."""
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
    server_others: Interval | None
    """Share of the server's cores that others than the lab used, or that a hypervisor took away; None: not measured."""
    generator_others: Interval | None
    """The same of the generator's cores."""
    disturbed: str
    """What others took in the disturbed windows, and who, in words; empty where none was disturbed."""
    resident_mb: float | None
    os_threads: int | None
    """Threads of all its processes, as the operating system counts them: the median of the blocks."""
    backend_cpu: Interval | None
    """Share of the backends' cores that they used; None where the workload has none."""
    failures: int
    cut_off: int
    late: int
    slow_connections: int
    reopened: int | None
    """Kept connections that the server had closed without saying so; None where they were not counted."""
    round_trip_ms: Interval | None
    """To the targets' machine and back, all idle; None where users and targets share a machine."""
    received_mbps: Interval | None
    """Megabits of bodies a second; None where they were not counted."""
    resent_share: float | None
    """Of all TCP segments that the swarm sent, those that it sent again; None where users and targets share a machine."""
    bound_by: BoundBy
    because: str
    """The figures that decided `bound_by`."""


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
    warnings: tuple[str, ...]
    timeline: Timeline | None = None
    """Of its first block that has one."""


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
    same: bool
    """Undecided, because they are the same within `stats.ALIKE`: the whole interval is."""
    broken_gates: tuple[Gate, ...]
    """Why nothing is concluded from the ratio, where either of the two must not be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A cell's throughput over that of the same with the fewest cores, paired by block."""

    cell: Cell
    over_cores: int
    """The fewest."""
    blocks: int
    """So many that both have."""
    ratio: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One block against the whole run: how the machine changed meanwhile.

    Each trial's figure over the median of its cell; an `Interval` here is the median of those and their quartiles.
    """

    block: int
    started: str
    trials: int
    """Measured ones."""
    throughput: Interval
    cpu_time: Interval | None
    """CPU time a request: above 1, the same work took the machine longer. None where that was not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineEffect:
    """A machine of targets against the others that took blocks of the same run."""

    machine: str
    blocks: int
    throughput: Interval
    """The speed of its blocks over that of the others'. A block's speed is the geometric mean, over its cells, of
    throughput over the cell's median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a server must keep to, to be advised; None: nothing."""

    workload: str | None = None
    p95_ms: float | None = None
    """The 95th percentile of latency; the upper end of its interval must keep to it."""
    memory_mb: float | None = None
    """Resident memory of the whole server, in megabytes, at most."""

    @property
    def limits(self) -> str:
        """In words, such as `p95 at most 60 ms and memory at most 70 MB`; empty where there are none."""
        p95 = "" if self.p95_ms is None else f"p95 at most {self.p95_ms:g} ms"
        memory = "" if self.memory_mb is None else f"memory at most {self.memory_mb:g} MB"
        return " and ".join(filter(None, (p95, memory)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Which of the servers that were measured under the same conditions to run."""

    group: Cell
    """Any cell under the conditions that it is for."""
    workloads: tuple[str, ...]
    """The group's alone; or several, where one server is sought for all of them under otherwise equal conditions."""
    wish: Wish = Wish()
    """What the server must keep to."""
    server: str | None
    """None: undecided, or, where none is `tied`, none may be advised."""
    tied: tuple[str, ...]
    """All that cannot be told from the fastest that may be advised, that one first."""
    why: str
    runner_up: str | None
    """The fastest other one that may be advised; where it is undecided, of those that were not tied."""
    costs: str
    """What the runner-up costs, and saves; empty without one."""
    changes: tuple[str, ...]
    """When the advice would be another, the most telling first."""
    left_out: Mapping[str, str]
    """Server -> why it was not considered."""


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
    scaling: tuple[Scaling, ...] = ()
    """Of every cell that was measured with fewer cores too."""
    drift: tuple[Drift, ...] = ()
    machines: tuple[MachineEffect, ...] = ()
    """Where blocks ran side by side on several machines."""
    advice: tuple[Advice, ...] = ()
    """For each group of conditions in which servers were compared."""
    interleaved: bool = True
    """False: an interactive session, one test after the other: figures, but no comparison."""
