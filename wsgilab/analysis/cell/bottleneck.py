"""Why a cell's figures are what they are: what binds, and the figures that show it."""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.analysis import stats
from wsgilab.analysis.cell.generator import GENERATOR_LIMIT, RATE_LIMIT, flow, generator_used, shared_cores
from wsgilab.analysis.cell.network import Network, lossy
from wsgilab.model import BoundBy, Cell, CellFigures, CellWarning, Gate, Run, Server, TrialReport
from wsgilab.model.text import counted, number
from wsgilab.system import cpus

CPU_LIMIT = 0.9
"""From this share of its pinned cores on, a server is CPU-bound."""
QUOTA_LIMIT = 0.9
"""From this share of its quota on, a server that the quota stops is bound by it."""
BACKEND_LIMIT = 0.9
"""From this share of their own cores on, the backends are what binds."""
SLOTS_LIMIT = 0.8
"""From this share of its slots on, on average over the window, a server is slot-bound."""
HELD_LIMIT = 1.1
"""Slow clients hold slots up to this many times their number, by Little's law, which is about as exact as that. Where it
is more, something else holds the clients, such as a proxy."""
DEMAND_LIMIT = 0.8
"""From this share of the users inside the application on, there is no more demand to serve."""
BALANCE_LIMIT = 1.25
"""From this many times its even share on, the busiest process makes a server unevenly balanced..."""
CHANCE_LIMIT = 0.001
"""... unless requests that go to any process alike would make one so busy with more than this chance."""
QUEUE_LIMIT = 0.1
"""Requests that spend more than this share of their latency in the queue are said to, where slots are free."""

Reason = tuple[BoundBy, str]
"""What binds, and the figures that show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellState:
    """The figures of a cell from which follows what it is bound by."""

    run: Run
    server: Server
    cell: Cell
    figures: CellFigures
    swarms: Sequence[TrialReport]
    network: Network

    @property
    def mean(self) -> float:
        """Requests in flight, on average; none where that is not known."""
        return self.figures.mean_in_flight.median if self.figures.mean_in_flight is not None else 0.0

    @property
    def slow(self) -> float:
        """Requests outside the application, on average, because their client was slow to send or to read."""
        return statistics.median(swarm.throughput_rps * swarm.client_ms / 1000 for swarm in self.swarms)

    @property
    def reading(self) -> float:
        """Those of them that were slow to read. A client that sends slowly may wait in the queue, and hold no slot."""
        return statistics.median(swarm.throughput_rps * swarm.reading_ms / 1000 for swarm in self.swarms)

    @property
    def silent(self) -> float:
        """Silent connections that were open, on average."""
        return statistics.median(swarm.idle.open if swarm.idle is not None else 0.0 for swarm in self.swarms)

    @property
    def leaves_room(self) -> bool:
        """Whether silent connections may hold slots: there were never so many requests in flight that there was no room for both. One that
        the server closes leaves its slot for a while."""
        closed = any(swarm.idle is not None and swarm.idle.closed for swarm in self.swarms)
        return closed or (self.figures.peak or 0) <= self.slots - min(round(self.silent), self.slots)

    @property
    def pausing(self) -> float:
        """Users who paused between requests, on average."""
        return statistics.median(swarm.pausing for swarm in self.swarms)

    @property
    def slots(self) -> float:
        """Infinite where they are unbounded."""
        return math.inf if self.server.slots is None else self.server.slots

    @property
    def demand(self) -> float:
        """The number of users; infinite at a fixed rate."""
        return math.inf if self.cell.users is None else self.cell.users

    @property
    def slots_named(self) -> str:
        if not self.server.is_started:
            return "slots unknown"
        return "unbounded slots" if self.server.slots is None else counted(self.server.slots, "slot")

    @property
    def users_named(self) -> str:
        return "an open load" if self.cell.users is None else counted(self.cell.users, "user")

    @property
    def cores_named(self) -> str:
        return "its core" if self.cell.cores == 1 else f"its {self.cell.cores} cores"

    @property
    def filled(self) -> str:
        """Requests in flight beside the slots and the users."""
        return f"{self.mean:.1f} requests were in flight on average, with {self.slots_named} and {self.users_named}"


def bound_by(state: CellState) -> Reason:
    """What holds the throughput where it is. The first reason that applies, from the most to the least compelling."""
    if state.figures.disturbed:
        return "neighbour", state.figures.disturbed
    if state.figures.throttled:
        return "throttled", state.figures.throttled
    if state.figures.mean_in_flight is None:
        return _by_cores(state) or ("unexplained", "what is inside it is not known, because its answers have no stamps")
    return (
        _by_cores(state)
        or _by_link(state)
        or _by_load(state)
        or _by_conduct(state)
        or _by_distance(state)
        or _by_balance(state)
        or _by_loss(state)
        or _unexplained(state)
    )


def _by_cores(state: CellState) -> Reason | None:
    """The generator, the server or the backends, where their cores are full."""
    generator = generator_used(state.run, state.figures)
    if generator.share >= GENERATOR_LIMIT:
        return "generator", str(generator)
    used, processes, cores = state.figures.server_cpu, state.server.processes, state.cell.cores
    if (quota := _by_quota(state)) is not None:
        return quota
    if used is not None and used.median >= CPU_LIMIT:
        return "cpu", f"it used {used.median:.0%} of {state.cores_named}"
    if (
        used is not None
        and processes is not None
        and processes < cores
        and used.median * cores >= CPU_LIMIT * processes
        # A run of a lab that did not ask had no server without one.
        and state.run.gil.get(state.server.name, True)
    ):
        return "gil", f"{processes} process(es) used {used.median * cores:.2f} of {cores} cores"
    backend = state.figures.backend_cpu
    if backend is not None and backend.median >= BACKEND_LIMIT and not shared_cores(state.run):
        return "backend", f"the backends used {backend.median:.0%} of {cpus.named(state.run.backend_cpus)}"
    return None


def _by_quota(state: CellState) -> Reason | None:
    """The quota that the cell has for its server, where that used it up and was stopped for it."""
    quota, used, stopped = state.cell.quota, state.figures.server_cpu, state.figures.throttled_share
    if quota is None or used is None or stopped is None or not stopped.median:
        return None
    cores = used.median * state.cell.cores
    if cores < QUOTA_LIMIT * quota:
        return None
    return (
        "quota",
        f"it used {cores:.2f} cores of its quota of {quota:g}, which stopped it for {stopped.median:.0%} of the time",
    )


def _by_link(state: CellState) -> Reason | None:
    """The network, where answers fill it.

    As with full cores, full slots or a schedule that is kept are no better reason then: with more of them, not a byte
    more would pass. Full slots do not lead to a full link either, since a request has left the application, and its slot
    counts as free, before its answer is on the way.
    """
    return ("network", state.network.full) if state.network.full else None


def _by_load(state: CellState) -> Reason | None:
    """Slots, where they are full, or demand, where there is no more to serve."""
    answered, due = flow(state.swarms)
    if state.cell.rate is not None and answered >= RATE_LIMIT * due:
        return "demand", f"it answered {answered} requests of {due} that were due"
    slots, demand, mean = state.slots, state.demand, state.mean
    if slots <= demand and mean >= SLOTS_LIMIT * slots:
        return "slots", state.filled
    if demand < slots and mean >= DEMAND_LIMIT * demand:
        return "demand", state.filled
    if not state.slow:
        return None
    in_flight = f"{mean:.1f} requests were in flight on average, and"
    if mean + state.slow >= DEMAND_LIMIT * demand:
        return "demand", f"{in_flight} {state.slow:.1f} of {state.users_named} sent or read slowly"
    if slots <= demand and mean + state.slow >= SLOTS_LIMIT * slots and mean + state.reading <= HELD_LIMIT * slots:
        held = (
            f"{state.reading:.1f} clients that read slowly and up to {state.slow - state.reading:.1f} that sent slowly"
        )
        return "slots", f"{in_flight} {state.slots_named} {'was' if slots == 1 else 'were'} held by {held}"
    return None


def _by_conduct(state: CellState) -> Reason | None:
    """Slots, where silent connections account for those that no request fills; demand, where users pause."""
    slots, mean = state.slots, state.mean
    in_flight = f"{mean:.1f} requests were in flight on average, and"
    if state.silent and not math.isinf(slots) and mean + state.silent >= SLOTS_LIMIT * slots and state.leaves_room:
        held = min(state.silent, slots - mean)
        return "slots", f"{in_flight} silent connections held up to {held:.1f} of {state.slots_named}"
    if state.pausing and mean + state.slow + state.pausing >= DEMAND_LIMIT * state.demand:
        return "demand", f"{in_flight} {state.pausing:.1f} of {state.users_named} paused"
    return None


def _by_distance(state: CellState) -> Reason | None:
    """The network, where it accounts for most of the users or slots; demand or slots, where it accounts for the rest."""
    network, mean, slots = state.network, state.mean, state.slots
    gone = network.on_wire + network.stalled
    if gone and mean + state.slow + gone >= DEMAND_LIMIT * state.demand:
        slowly = f", {state.slow:.1f} sent or read slowly" if state.slow else ""
        because = f"{mean:.1f} of {state.users_named} were in flight on average{slowly}, and {network.away}"
        return "network" if gone > mean + state.slow else "demand", because
    if network.held and slots <= state.demand and SLOTS_LIMIT * slots <= mean + network.held <= HELD_LIMIT * slots:
        because = f"{mean:.1f} requests were in flight on average, and {network.longer} of {state.slots_named}"
        return "network" if network.held > mean else "slots", because
    return None


def _by_balance(state: CellState) -> Reason | None:
    """One process, where it has more than its share of the work."""
    busiest, processes = state.figures.busiest_share, state.server.processes
    if busiest is None or processes is None or busiest < BALANCE_LIMIT:
        return None
    windows = [swarm.in_flight.requests_per_process for swarm in state.swarms]
    if stats.chance_of_busiest(windows, processes) <= CHANCE_LIMIT:
        because = f"{state.filled}; the busiest process had {busiest:.2f} times its even share"
        return "balance", because + _queued(state)
    return None


def _queued(state: CellState) -> str:
    """How long requests queue, where they do while slots are free."""
    parts = state.figures.parts
    if parts is None or state.mean >= SLOTS_LIMIT * state.slots:
        return ""
    if parts.queue.mean <= QUEUE_LIMIT * parts.latency_mean:
        return ""
    return f", and requests queued for {number(parts.queue.mean)} ms on average while slots were free"


def _by_loss(state: CellState) -> Reason | None:
    """The network, where it loses much and nothing else is known that binds."""
    lost = lossy(state.network.resent_share)
    return ("network", f"{state.filled}; {lost}") if lost else None


def _unexplained(state: CellState) -> Reason:
    used, generator = state.figures.server_cpu, generator_used(state.run, state.figures)
    server = "its CPU use is unknown" if used is None else f"it used {used.median:.0%} of {state.cores_named}"
    return (
        "unexplained",
        f"{state.filled}; {server}, and {generator.who} {generator.share:.0%} of {generator.core}",
    )


# --- what broke in place of a reason

_BY_CORES: Collection[BoundBy] = ("generator", "quota", "cpu", "gil", "backend")
"""Reasons that rest on CPU time, which the operating system counts whatever becomes of the requests."""
_IN_PLACE: Mapping[Gate, BoundBy] = {
    "failures": "failures",
    "cut-off": "cut-off",
    "late": "late",
    "little": "little",
    "slots": "declaration",
    "processes": "declaration",
}


def unless_spoilt(figures: CellFigures, swarms: Sequence[TrialReport], warnings: Iterable[CellWarning]) -> Reason:
    """What the figures are bound by, unless a broken gate spoils that: then the gate and its warning.

    Reasons other than cores rest on requests in flight. Each of these gates means that not all of them were counted,
    that their number was not steady, or that the declaration is wrong. Where most requests failed, CPU time was spent on
    these, and explains nothing about the others.
    """
    bound_by, answered = figures.bound_by, sum(swarm.completed for swarm in swarms)
    if bound_by in ("neighbour", "throttled"):
        # Whatever else went wrong may have gone wrong because of that.
        return bound_by, figures.because
    by_cores = bound_by in _BY_CORES and (bound_by == "generator" or answered >= figures.failures + figures.cut_off)
    for each in warnings:
        # Users that waited for segments to be sent again are what breaks the steady state.
        holds = (by_cores and (bound_by, each.gate) != ("gil", "processes")) or (bound_by, each.gate) == (
            "network",
            "little",
        )
        if each.gate is not None and each.gate in _IN_PLACE and not holds:
            return _IN_PLACE[each.gate], each.text
    return bound_by, figures.because
