"""Why a cell's figures are what they are, and what a reader must know beside them: what binds, and the gates."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsgilab import cpus
from wsgilab.model import BoundBy, Cell, CellFigures, Gate, Interval, Observation, Run, Server, SwarmReport

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
"""From this many times its even share on, the busiest process marks a server as unevenly balanced."""
FEWEST_SERVICE_TIMES = 3
"""A window should hold so many service times, one after the other, at least."""
SLOW_CONNECTION_S = 0.9
"""What users call slow: Linux sends a dropped SYN again after 1 s (RFC 6298, section 2.1)."""
LITTLE_TOLERANCE = 0.1
"""How far throughput x response time may be from the number of users: J. D. C. Little 1961, doi:10.1287/opre.9.3.383."""
FAILURES_LIMIT = 0.01
"""Above this share of failed, late or cut-off requests, a cell is not compared with others."""


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
    backend_cpu: Interval | None
    busiest_share: float | None
    answered: int
    due: int


def bound_by(run: Run, server: Server, cell: Cell, state: State) -> tuple[BoundBy, str]:
    """What holds the throughput where it is, and the figures that say so. The first that applies, from the most to the
    least compelling."""
    return (
        _by_cores(run, server, cell, state) or _by_load(server, cell, state) or _unexplained(run, server, cell, state)
    )


def _by_cores(run: Run, server: Server, cell: Cell, state: State) -> tuple[BoundBy, str] | None:
    """What binds, where somebody's cores are full."""
    generator = _generator(run, state.generator_cpu, state.backend_cpu)
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
        return "backend", f"the backends used {backend:.0%} of {_cores(run.backend_cpus)}"
    return None


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
    busiest = state.busiest_share
    if busiest is not None and busiest >= BALANCE_LIMIT:
        told = f"the busiest process had {busiest:.2f} times its even share"
        return "balance", f"{_filled(server, cell, state)}; {told}"
    return None


def _unexplained(run: Run, server: Server, cell: Cell, state: State) -> tuple[BoundBy, str]:
    used = state.server_cpu
    idle = "its CPU use is unknown" if used is None else f"it used {used.median:.0%} of {_own_cores(cell)}"
    generator = _generator(run, state.generator_cpu, state.backend_cpu)
    told = f"and {generator.who} {generator.share:.0%} of {generator.core}"
    return "unexplained", f"{_filled(server, cell, state)}; {idle}, {told}"


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
class _Generator:
    """How much of the generator's core is used, and by whom."""

    share: float
    who: str
    it: str
    core: str

    def __str__(self) -> str:
        return f"{self.who} used {self.share:.0%} of {self.core}"


def _generator(run: Run, generator: Interval, backend: Interval | None) -> _Generator:
    """Of the generator alone, or of it and the backends where they share its core: that is then full for both."""
    shared = _shared_cores(run)
    if backend is None or not shared:
        return _Generator(share=generator.median, who="the generator", it="it", core="its core")
    both = generator.median + backend.median
    return _Generator(share=both, who="the generator and the backends", it="they", core=_cores(cpus.spell(shared)))


def _shared_cores(run: Run) -> frozenset[int]:
    """The cores that the generator and the backends share."""
    backends = cpus.parse(run.backend_cpus) if run.backend_cpus else frozenset[int]()
    return backends & cpus.parse(run.generator_cpus)


def _cores(cpuset: str) -> str:
    """A cpuset list in words, such as `core 1` or `cores 2-3`."""
    return f"core{'s' * (len(cpus.parse(cpuset)) > 1)} {cpuset}"


def _spelt(count: float, what: str) -> str:
    if count == math.inf:
        return {"slots": "unbounded slots", "users": "an open load"}[what]
    return f"{count:g} {what.removesuffix('s') if count == 1 else what}"


# --- gates


def failed_trials(observations: Sequence[Observation], planned: int, unit: str) -> Iterable[str]:
    """What is missing of a cell of which so many blocks were planned. `unit` is what an observation is called."""
    failed = [observation for observation in observations if observation.swarm is None]
    if failed:
        yield f"{len(failed)} of {len(observations)} {unit} failed: {first_line(failed[-1].reason)}"
    if len(observations) < planned:
        yield f"{planned - len(observations)} of {planned} blocks were not run"


def gates(
    run: Run, server: Server, cell: Cell, swarms: Sequence[SwarmReport], figures: CellFigures
) -> Iterable[tuple[Gate | None, str]]:
    """What a reader must know beside the figures; with the gate that is broken, where they are not to be compared."""
    asked = sum(swarm.completed + swarm.failures + swarm.cut_off for swarm in swarms)

    def above(count: int, gate: Gate) -> Gate | None:
        return gate if count > FAILURES_LIMIT * asked else None

    if figures.failures:
        kinds = sorted({error for swarm in swarms for error in swarm.errors})
        told = f"{_requests(figures.failures)} failed: {'; '.join(kinds[:2])}" + (" and others" if kinds[2:] else "")
        yield above(figures.failures, "failures"), told
    if figures.cut_off:
        told = "latencies may be higher" if cell.rate else "requests in flight may be undercounted"
        yield above(figures.cut_off, "cut-off"), f"{_requests(figures.cut_off)} given up unanswered; {told}"
    if figures.late:
        told = f"{_requests(figures.late)} begun late: the generator could not keep to its schedule"
        yield above(figures.late, "late"), told
    if (missed := unanswered(cell, swarms)) is not None:
        yield None, missed
    if figures.slow_connections:
        many = figures.slow_connections
        told = "1 connection" if many == 1 else f"{many} connections"
        yield None, f"{told} took {SLOW_CONNECTION_S:g} s or more to open: the backlog was full"
    generator = _generator(run, figures.generator_cpu, figures.backend_cpu)
    if generator.share >= GENERATOR_LIMIT:
        yield "generator", f"{generator}: {generator.it} may be what is measured"
    if cpus.parse(run.server_cpus[cell.cores]) & cpus.parse(run.generator_cpus):
        yield None, "server and generator share a core: both are slower for it"
    if figures.backend_cpu is not None and cpus.parse(run.server_cpus[cell.cores]) & cpus.parse(run.backend_cpus):
        yield None, "server and backends share a core: both are slower for it"
    if server.slots is not None and figures.peak > server.slots:
        yield "slots", f"{figures.peak} requests in flight, but {server.slots} slots declared: the declaration is wrong"
    if server.processes is not None and figures.processes > server.processes:
        told = f"{figures.processes} processes answered, but {server.processes} are declared: the declaration is wrong"
        yield "processes", told
    window_s = run.experiment.window_s
    if figures.service_ms.median / 1000 * FEWEST_SERVICE_TIMES > window_s:
        told = f"a request takes {figures.service_ms.median:.0f} ms, the window {window_s:g} s: too short for a steady rate"
        yield None, told
    answered, due = flow(swarms)
    if answered < RATE_LIMIT * due:
        told = f"{answered} requests answered of {due} that were due"
        yield None, f"{told}: it does not keep up, and its latencies grow for as long as the window lasts"
    little = statistics.median(map(in_system, swarms))
    if cell.users is not None and abs(little / cell.users - 1) > LITTLE_TOLERANCE:
        told = f"throughput x response time is {little:.1f}, not the {cell.users} users: the window was no steady state"
        yield "little", told


def flow(swarms: Sequence[SwarmReport]) -> tuple[int, int]:
    """Requests answered in the windows, and those that were due in them on a schedule."""
    return sum(swarm.completed for swarm in swarms), sum(swarm.due for swarm in swarms)


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def first_line(reason: str) -> str:
    """The summary of a failed trial's reason; log lines follow it."""
    return (reason.splitlines() or ["no reason recorded"])[0]


def in_system(swarm: SwarmReport) -> float:
    """Mean number of requests that users had under way, by Little's law."""
    return swarm.throughput_rps * swarm.latency_mean_ms / 1000


def unanswered(cell: Cell, swarms: Sequence[SwarmReport]) -> str | None:
    """What to tell of users that never had an answer in a window; None where there were none."""
    most = max(swarm.unanswered for swarm in swarms)
    if not most:
        return None
    return f"up to {most} of {cell.users} users had no answer within the window; latencies may be too low"
