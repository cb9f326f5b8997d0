"""Why a cell's figures are what they are: what binds, and the figures that say so."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.analysis import stats
from wsgilab.analysis.disturbance import LIMIT, cores
from wsgilab.analysis.network import Network, away, full, longer, lossy
from wsgilab.model import BoundBy, Cell, CellFigures, Gate, Interval, Run, Server, TrialReport
from wsgilab.system import cpus

GENERATOR_LIMIT = 0.8
"""Above this share of its core the generator may be what is measured."""
CPU_LIMIT = 0.9
"""From this share of its pinned cores on, a server counts as CPU-bound."""
BACKEND_LIMIT = 0.9
"""From this share of their own cores on, the backends count as what binds."""
SLOTS_LIMIT = 0.8
"""From this share of its slots on, on average over the window, a server counts as slot-bound."""
HELD_LIMIT = 1.1
"""Up to this many times its slots may slow clients hold by Little's law, which is about as exact as that, for the slots
to be what they hold. Where it is more, something else holds them, such as a proxy."""
DEMAND_LIMIT = 0.8
"""From this share of the users inside the application on, there is no more demand to serve."""
RATE_LIMIT = 0.95
"""From this share of the requests that were due on, a server keeps up with a fixed rate."""
BALANCE_LIMIT = 1.25
"""From this many times its even share on, the busiest process marks a server as unevenly balanced..."""
CHANCE_LIMIT = 0.001
"""... unless requests that go to any process alike would have made one so busy with more than this chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The figures that decide what a server is bound by."""

    mean_in_flight: Interval
    slow: float
    """Requests outside the application, on average, because their client was slow to send or to read."""
    reading: float
    """Those of them that were slow to read. Who sends slowly may do so in the queue, and hold no slot meanwhile."""
    server_cpu: Interval | None
    generator_cpu: Interval
    generator_others: Interval | None
    backend_cpu: Interval | None
    disturbed: str
    """What others took of the cores, where that was too much; else empty."""
    busiest_share: float | None
    per_process: Sequence[Sequence[int]]
    """Requests that each process finished, window by window."""
    answered: int
    due: int
    network: Network


def bound_by(run: Run, server: Server, cell: Cell, state: State) -> tuple[BoundBy, str]:
    """What holds the throughput where it is, and the figures that say so. The first that applies, from the most to the
    least compelling."""
    if state.disturbed:
        return "neighbour", state.disturbed
    return (
        _by_cores(run, server, cell, state)
        or _by_link(state)
        or _by_load(server, cell, state)
        or _by_distance(server, cell, state)
        or _by_balance(server, cell, state)
        or _by_loss(server, cell, state)
        or _unexplained(run, server, cell, state)
    )


def _by_cores(run: Run, server: Server, cell: Cell, state: State) -> tuple[BoundBy, str] | None:
    """What binds, where somebody's cores are full."""
    generator = generator_used(run, state.generator_cpu, state.generator_others, state.backend_cpu)
    if generator.share >= GENERATOR_LIMIT:
        return "generator", str(generator)
    used = None if state.server_cpu is None else state.server_cpu.median
    if used is not None and used >= CPU_LIMIT:
        return "cpu", f"it used {used:.0%} of {_own_cores(cell)}"
    processes = server.processes
    if (
        used is not None
        and processes is not None
        and processes < cell.cores
        and used * cell.cores >= CPU_LIMIT * processes
    ):
        return "gil", f"{processes} process(es) used {used * cell.cores:.2f} of {cell.cores} cores"
    backend = None if state.backend_cpu is None else state.backend_cpu.median
    if backend is not None and backend >= BACKEND_LIMIT and not _shared_cores(run):
        return "backend", f"the backends used {backend:.0%} of {cores(run.backend_cpus)}"
    return None


def _by_link(state: State) -> tuple[BoundBy, str] | None:
    """The network, where answers fill it. As with cores, full slots and a schedule kept are no other reason then: with more
    of them not a byte more would pass. Nor do full slots lead to it, since a request has left the application, and its
    slot is counted as free, before its answer is on the way."""
    return ("network", told) if (told := full(state.network)) else None


def _by_load(server: Server, cell: Cell, state: State) -> tuple[BoundBy, str] | None:
    """What binds, where slots are full or there is no more to serve."""
    if cell.rate is not None and state.answered >= RATE_LIMIT * state.due:
        return "demand", f"it answered {state.answered} requests of {state.due} that were due"
    slots, demand, mean = _slots(server), _demand(cell), state.mean_in_flight.median
    if slots <= demand and mean >= SLOTS_LIMIT * slots:
        return "slots", _filled(server, cell, state)
    if demand < slots and mean >= DEMAND_LIMIT * demand:
        return "demand", _filled(server, cell, state)
    if state.slow:
        told = f"{mean:.1f} requests were in flight on average, and"
        if mean + state.slow >= DEMAND_LIMIT * demand:
            return "demand", f"{told} {state.slow:.1f} of {_spelt(demand, 'users')} sent or read slowly"
        if slots <= demand and mean + state.slow >= SLOTS_LIMIT * slots and mean + state.reading <= HELD_LIMIT * slots:
            held = f"{state.reading:.1f} clients that read slowly and up to {state.slow - state.reading:.1f} that sent slowly"
            return "slots", f"{told} {_spelt(slots, 'slots')} {'was' if slots == 1 else 'were'} held by {held}"
    return None


def _by_distance(server: Server, cell: Cell, state: State) -> tuple[BoundBy, str] | None:
    """What binds, where users or slots are accounted for only together with what the network keeps of them: the network
    where it has the most of them, and else demand or slots."""
    network, mean = state.network, state.mean_in_flight.median
    demand, slots = _demand(cell), _slots(server)
    gone = network.on_wire + network.stalled
    if gone and mean + state.slow + gone >= DEMAND_LIMIT * demand:
        slowly = f", {state.slow:.1f} sent or read slowly" if state.slow else ""
        told = f"{mean:.1f} of {_spelt(demand, 'users')} were in flight on average{slowly}, and {away(network)}"
        return "network" if gone > mean + state.slow else "demand", told
    if network.held and slots <= demand and SLOTS_LIMIT * slots <= mean + network.held <= HELD_LIMIT * slots:
        told = f"{mean:.1f} requests were in flight on average, and {longer(network)} of {_spelt(slots, 'slots')}"
        return "network" if network.held > mean else "slots", told
    return None


def _by_balance(server: Server, cell: Cell, state: State) -> tuple[BoundBy, str] | None:
    """One process, where it has more than its share of the work."""
    busiest, processes = state.busiest_share, server.processes
    if busiest is None or processes is None or busiest < BALANCE_LIMIT:
        return None
    if stats.chance_of_busiest(state.per_process, processes) <= CHANCE_LIMIT:
        told = f"the busiest process had {busiest:.2f} times its even share"
        return "balance", f"{_filled(server, cell, state)}; {told}"
    return None


def _by_loss(server: Server, cell: Cell, state: State) -> tuple[BoundBy, str] | None:
    """The network, where it loses much and nothing else is known that binds."""
    lost = lossy(state.network.resent_share)
    return ("network", f"{_filled(server, cell, state)}; {lost}") if lost else None


def _unexplained(run: Run, server: Server, cell: Cell, state: State) -> tuple[BoundBy, str]:
    used = state.server_cpu
    idle = "its CPU use is unknown" if used is None else f"it used {used.median:.0%} of {_own_cores(cell)}"
    generator = generator_used(run, state.generator_cpu, state.generator_others, state.backend_cpu)
    told = f"and {generator.who} {generator.share:.0%} of {generator.core}"
    return "unexplained", f"{_filled(server, cell, state)}; {idle}, {told}"


# --- what broke in place of a reason

_BY_CORES: Collection[BoundBy] = ("generator", "cpu", "gil", "backend")
"""Reasons that rest on CPU time, which the operating system counts whatever becomes of the requests."""
_IN_PLACE: Mapping[Gate, BoundBy] = {
    "failures": "failures",
    "cut-off": "cut-off",
    "late": "late",
    "little": "little",
    "slots": "declaration",
    "processes": "declaration",
}


def unless_spoilt(
    figures: CellFigures, swarms: Sequence[TrialReport], told: Iterable[tuple[Gate | None, str]]
) -> tuple[BoundBy, str]:
    """What the figures are bound by; where a broken gate, each with its warning, spoils that, the gate and the warning.

    Reasons other than by cores rest on requests in flight, of which a gate tells that not all of them were seen, that
    their number was not steady, or that what was declared is wrong. Where most requests came to nothing, CPU time was
    spent on these, and tells no more of the others.
    """
    bound_by, answered = figures.bound_by, sum(swarm.completed for swarm in swarms)
    if bound_by == "neighbour":
        # Whatever else went wrong may have gone wrong for that.
        return bound_by, figures.because
    by_cores = bound_by in _BY_CORES and (bound_by == "generator" or answered >= figures.failures + figures.cut_off)
    for gate, warning in told:
        # That users waited for segments to be sent again is what breaks the steady state.
        stands = (by_cores and (bound_by, gate) != ("gil", "processes")) or (bound_by, gate) == ("network", "little")
        if gate is not None and gate in _IN_PLACE and not stands:
            return _IN_PLACE[gate], warning
    return bound_by, figures.because


def _slots(server: Server) -> float:
    return math.inf if server.slots is None else server.slots


def _demand(cell: Cell) -> float:
    return math.inf if cell.users is None else cell.users


def _filled(server: Server, cell: Cell, state: State) -> str:
    mean, slots, users = state.mean_in_flight.median, _spelt(_slots(server), "slots"), _spelt(_demand(cell), "users")
    return f"{mean:.1f} requests were in flight on average, with {slots} and {users}"


def _own_cores(cell: Cell) -> str:
    return "its core" if cell.cores == 1 else f"its {cell.cores} cores"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorUse:
    """How much of the generator's core is used, and by whom."""

    share: float
    who: str
    it: str
    core: str

    def __str__(self) -> str:
        return f"{self.who} used {self.share:.0%} of {self.core}"


def generator_used(run: Run, generator: Interval, others: Interval | None, backend: Interval | None) -> GeneratorUse:
    """Of the generator and of others on its core; and of the backends, where they share that core, which is then full for
    both."""
    shared = _shared_cores(run)
    used, who = generator.median, ["the generator"]
    if others is not None:
        used += others.median
        who += ["others"] if others.median > LIMIT else []
    if backend is None or not shared:
        core = "its core" if len(who) == 1 else cores(run.generator_cpus)
        return GeneratorUse(share=used, who=" and ".join(who), it="it" if len(who) == 1 else "they", core=core)
    return GeneratorUse(
        share=used + backend.median,
        who=" and ".join([*who, "the backends"]),
        it="they",
        core=cores(cpus.spell(shared)),
    )


def _shared_cores(run: Run) -> frozenset[int]:
    """The cores that the generator and the backends share: none where they are on machines of their own."""
    if run.lanes:
        return frozenset()
    backends = cpus.parse(run.backend_cpus) if run.backend_cpus else frozenset[int]()
    return backends & cpus.parse(run.generator_cpus)


def _spelt(count: float, what: str) -> str:
    if count == math.inf:
        return {"slots": "unbounded slots", "users": "an open load"}[what]
    return f"{count:g} {what.removesuffix('s') if count == 1 else what}"


def flow(swarms: Sequence[TrialReport]) -> tuple[int, int]:
    """Requests answered in the windows, and those that were due in them on a schedule."""
    return sum(swarm.completed for swarm in swarms), sum(swarm.due for swarm in swarms)
