"""What the tab shows at one moment, as values. No logic, no I/O."""

from dataclasses import dataclass
from typing import Literal

from wsgilab.model import Cell, CellResult, Comparison, Run, Server

STARTING_AGAIN = "starting again"
"""The state of a server that has ended, once somebody has asked for it to be started again."""

Phase = Literal["ramping", "settling", "measuring", "stopping", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """One second of a test."""

    peak: int
    mean: float
    """Requests in flight, weighted by time."""
    throughput_rps: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    """Of the latency of its answers; None where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The test under way, or the last one."""

    cell: Cell
    """Its `users` are those at work so far; once the test is stopped, those that were wanted."""
    phase: Phase
    """`ramping`: users are being started. `settling`: not every one has had an answer yet. Figures count from
    `measuring` on."""
    users_wanted: int
    pulses: tuple[Pulse, ...] = ()
    """The last minute, oldest first. Empty for a watched run, of which nothing is known by second."""
    result: CellResult | None = None
    """None before the first second that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """One server of the catalogue that is up, or has ended."""

    server: Server
    url: str
    """Where this machine reaches it."""
    failure: str | None = None
    """Why it no longer runs; None while it runs."""
    log: str = ""
    """Its last lines, where it no longer runs."""
    restarting: bool = False

    @property
    def ended(self) -> bool:
        return self.failure is not None

    @property
    def state(self) -> str:
        """In a few words."""
        return STARTING_AGAIN if self.restarting else self.failure or "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All of it."""

    run: Run
    watching: bool
    """A run that is watched: nothing can be changed. Otherwise an interactive session."""
    now: Now | None
    """None before the first test."""
    comparison: Comparison
    """Everything tried so far."""
    advised: Comparison | None = None
    """Which server to run by what is known; None where nothing can be advised yet."""
    targets: tuple[TargetState, ...]
    progress: str = ""
    """Of a watched run, such as `12 of 45 trials`."""
