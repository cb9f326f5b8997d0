"""What `benchmarks.scale_out` has measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from wsgilab.model import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Crewed:
    """Locust's master with so many workers."""

    workers: int
    processes: bool
    """Whether each worker was a process of its own; else all were in one, each with its own connection."""
    idle_cpu: float
    """CPU seconds a second that the master uses while nothing is asked of it."""
    cpu_ms: float
    """Of the master, a trial; median."""
    window_cpu_ms: float
    """The part of it that falls into the window, settling included."""
    look_us: float
    """CPU time of one look at how far the workers are, which it takes every `load.POLL_S` until a trial has settled."""
    beyond_ms: float
    """Wall time of a trial beyond its window and the drain; median."""
    trials: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What the master does with the requests of one trial."""

    requests: int
    bytes_each: float
    """On the way from worker to master."""
    receive_us: float
    """CPU time a request, until it is one of the master's own samples."""
    report_us: float
    """And until it is part of the report."""
    memory_bytes: float
    """Of the master, a request, at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journaled:
    """An observation put on the disk."""

    bytes_each: float
    cpu_ms: float
    wall_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Laned:
    """The lab process with so many lanes, whose swarms answer at once."""

    lanes: int
    trials: int
    cpu_ms: float
    """CPU time of the lab process, a trial."""
    wall_ms: float
    """Wall time over trials, all lanes together; engine and swarms, which are fakes here, share the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sited:
    """A lane of a real site, one engine being both of its machines: medians of `rounds`, each with so many `trials`."""

    reach_s: float
    """A machine, reached and asked what it is."""
    build_s: float
    """A machine, its images there already; mean of the targets' and the swarm's."""
    fleet_s: float
    """A fleet of `few` servers."""
    few: int
    more_fleet_s: float
    """A fleet of `more` servers."""
    more: int
    swarm_s: float
    """Beacon and generator."""
    link_s: float
    """The look at round trip and bandwidth."""
    stop_s: float
    """Generator and beacon, down again."""
    fleet_stop_s: float
    """A fleet of `few` servers, down again."""
    more_fleet_stop_s: float
    rounds: int
    trials: int
    window_s: float
    trial_s: float
    """Wall time of a trial, from one to the next; median."""
    lab_cpu_ms: float
    """CPU time of the lab process, a trial."""
    clients: int
    """Processes of the Docker client that the lab keeps for the lane."""
    clients_cpu_ms: float
    """Their CPU time, a trial."""
    clients_mb: float
    """Memory of their own, unshared."""

    @property
    def server_s(self) -> float:
        """A server more in the fleet."""
        return max(0.0, (self.more_fleet_s - self.fleet_s) / (self.more - self.few))

    @property
    def server_stop_s(self) -> float:
        return max(0.0, (self.more_fleet_stop_s - self.fleet_stop_s) / (self.more - self.few))

    def start_s(self, servers: int) -> float:
        """A lane with so many servers, its images there already."""
        return self.fleet_s + (servers - self.few) * self.server_s + self.swarm_s + self.link_s

    def down_s(self, servers: int) -> float:
        return self.fleet_stop_s + (servers - self.few) * self.server_stop_s + self.stop_s

    @property
    def beyond_s(self) -> float:
        """What a trial takes beyond its window."""
        return self.trial_s - self.window_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    """What `benchmarks.scale` has found, and when: a large run compared and rendered."""

    date: str
    trials: int
    seconds: float
    megabytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What `benchmarks.efficiency` has found, and when: the default experiment in containers of one machine, no site."""

    date: str
    seconds: float
    windows_s: float
    """Settling included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All of it."""

    date: str
    host: Host
    engine: str
    quick: bool
    crews: Sequence[Crewed]
    gathered: Sequence[Gathered]
    journaled: Journaled
    lanes: Sequence[Laned]
    sited: Sited
    concluded: Concluded
    ran: Ran
