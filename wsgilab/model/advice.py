"""Which of the servers that were measured to run, and why. `comparison.yaml` is written with these values, as with those of
`comparison`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wsgilab.model.experiment import Cell
from wsgilab.model.rounding import Digits, Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a server must keep to, to be advised; null: nothing."""

    workload: str | None = None
    """Under this workload alone."""
    p95_ms: float | None = None
    """The 95th percentile of latency, in milliseconds, at most; the upper end of its interval must keep to it."""
    memory_mb: float | None = None
    """Resident memory of all the server's processes, in megabytes (10^6 bytes), at most."""

    @property
    def limits(self) -> str:
        """In words, such as `p95 at most 60 ms and memory at most 70 MB`; empty where there are none."""
        p95 = "" if self.p95_ms is None else f"p95 at most {self.p95_ms:g} ms"
        memory = "" if self.memory_mb is None else f"memory at most {self.memory_mb:g} MB"
        return " and ".join(filter(None, (p95, memory)))


Cost = Literal["memory", "cpu", "p95"]
"""What a server costs: resident memory in megabytes, CPU time a request in milliseconds, p95 latency in milliseconds."""
AdviceReason = Literal[
    "fastest", "cheaper", "alone", "same", "alike", "scatter", "blocks", "incomparable", "limits", "nobody"
]
"""Why an advice is what it is; `analysis.advice.recommend` has the rule. The first three name a server, the others do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostContrast:
    """What one server costs and what another one does."""

    cost: Cost
    ours: float
    theirs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerContrast:
    """A server beside another one under the same conditions."""

    cell: Cell
    other: str
    ratio: Interval | None
    """The throughput of the cell's server over that of `other` or, at a fixed rate, its mean latency; None where they
    have no block in common."""
    costs: tuple[CostContrast, ...] = ()
    """Those that decide or, for a runner-up, those that differ for sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """What is advised under other conditions or for another wish."""

    group: Cell
    """Any cell under the conditions."""
    wish: Wish
    server: str | None
    tied: tuple[str, ...]
    ratio: Interval | None = None
    """The throughput of its server over that of the advised one or, at a fixed rate, its mean latency, where both were
    measured under the same conditions; else None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Which of the servers that were measured under the same conditions to run. `report.recommendation` has the words."""

    group: Cell
    """Any cell under the conditions that it is for."""
    workloads: tuple[str, ...]
    """The group's alone; or several, where one server is sought for all of them under otherwise equal conditions."""
    wish: Wish = Wish()
    """What the server must keep to."""
    reason: AdviceReason
    server: str | None
    """None: undecided, or, where none is `tied`, none may be advised."""
    tied: tuple[str, ...]
    """All that cannot be told from the fastest that may be advised, that one first."""
    speed: Interval | None = None
    """Of `server`, or else of the first of `tied`: throughput in requests/s or, at a fixed rate, mean latency in ms. None
    for several workloads."""
    contrasts: tuple[ServerContrast, ...] = ()
    """What decided: the server beside every other candidate (`fastest`), or beside each that it is tied with (`cheaper`).
    Where it is undecided, the least certain of the tied beside the first."""
    suitable: tuple[str, ...] = ()
    """Those of `tied` that do not cost clearly more than another of them, where all of `tied` are alike."""
    nearest: Mapping[Cost, tuple[str, float]] = field(default_factory=dict)
    """By each limit that no server keeps to: which server comes nearest, and what it keeps to."""
    shares: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """For several workloads, of each of `tied`: workload -> its speed over that of the fastest that may be advised there.
    A workload with which it is the fastest for sure is left out."""
    blocks: int = 0
    """The fewest blocks that the tied servers have: in common where `reason` is `blocks`, else by themselves."""
    runner_up: ServerContrast | None = None
    """The fastest other one that may be advised; where it is undecided, of those that are not tied. It stands beside
    `server` or the first of `tied`; for several workloads, in the workload where it has its worst share."""
    changes: tuple[Alternative, ...] = ()
    """When the advice would be another, what matters most first."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Server -> why it was not considered."""


TuneEnd = Literal["one", "alike", "budget", "early"]
"""How a race has ended: one was left; those that were left are equally fast for sure; its time was used up; or it was ended before."""
TieBreak = Literal["memory", "simplicity"]
"""What decides between configurations that are as fast: the least memory, or the fewest processes and then threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOutcome:
    """Which of a space of configurations to run, by the race of `lab.tune`. `report.tune` has the words."""

    budget_s: float
    """Seconds that trials may take."""
    used_s: Annotated[float, Digits(1)]
    """And that they took."""
    rounds: tuple[int, ...]
    """How many configurations began, and how many were left after each round."""
    ended: TuneEnd
    """How the race has ended: `one` was left; those left are `alike` within 3 % for sure; its `budget` was used up; or `early`."""
    server: str | None
    """The configuration to run; null where none may be advised, or too little was measured."""
    tied: tuple[str, ...]
    """All that will do as well by what was measured, the fastest first."""
    decides: AdviceReason | TieBreak
    """Why this one of them."""
    left: tuple[str, ...]
    """Those that may be the best, by what was decided beyond doubt."""
    gone: Mapping[str, str]
    """Configuration -> why it left the race."""
    speed: Annotated[Interval | None, Digits(1)]
    """Of `server`: throughput in requests/s or, at a fixed rate, mean latency in ms."""
    p95_ms: Annotated[Interval | None, Digits(1)]
    """Of `server`, in milliseconds: of each block's own 95th percentile."""
    memory_mb: Annotated[float | None, Digits(1)]
    """Of `server`: resident memory of all its processes, in megabytes (10^6 bytes)."""
    runners_up: tuple[ServerContrast, ...]
    """Others beside `server`: those that will do as well, those that were left, the fastest of those that have gone."""
    rule_of_thumb: ServerContrast | None
    """The configuration of the rule of thumb beside `server`; null where it is that one, or nothing is known of it."""
