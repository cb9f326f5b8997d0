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
SLOTS_LIMIT = 0.8
"""From this share of its slots on, on average over the window, a server counts as slot-bound."""
DEMAND_LIMIT = 0.8
"""From this share of the users inside the application on, there is no more demand to serve."""
RATE_LIMIT = 0.95
"""From this share of the requests that were due on, a server keeps up with a fixed rate."""
BALANCE_LIMIT = 1.25
"""From this many times its even share on, the busiest process marks a server as unevenly balanced."""
FEWEST_SERVICE_TIMES = 3
"""A window should hold so many service times, one after the other, at least."""
LITTLE_TOLERANCE = 0.1
"""How far throughput x response time may be from the number of users: J. D. C. Little 1961, doi:10.1287/opre.9.3.383."""
FAILURES_LIMIT = 0.01
"""Above this share of failed, late or cut-off requests, a cell is not compared with others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The figures that decide what a server is bound by."""

    mean_in_flight: Interval
    server_cpu: Interval | None
    generator_cpu: Interval
    busiest_share: float | None
    answered: int
    due: int


def bound_by(server: Server, cell: Cell, state: State) -> tuple[BoundBy, str]:
    """What holds the throughput where it is, and the figures that say so. The first that applies, from the most to the
    least compelling."""
    mean, generator = state.mean_in_flight.median, state.generator_cpu.median
    used = None if state.server_cpu is None else state.server_cpu.median
    cores = "its core" if cell.cores == 1 else f"its {cell.cores} cores"
    if generator >= GENERATOR_LIMIT:
        return "generator", f"the generator used {generator:.0%} of its core"
    if used is not None and used >= CPU_LIMIT:
        return "cpu", f"it used {used:.0%} of {cores}"
    processes = server.processes
    if (
        used is not None
        and processes is not None
        and processes < cell.cores
        and used * cell.cores >= CPU_LIMIT * processes
    ):
        return "gil", f"{processes} process(es) used {used * cell.cores:.2f} of {cell.cores} cores"
    if cell.rate is not None and state.answered >= RATE_LIMIT * state.due:
        return "demand", f"it answered {state.answered} requests of {state.due} that were due"
    slots = math.inf if server.slots is None else server.slots
    demand = math.inf if cell.users is None else cell.users
    filled = (
        f"{mean:.1f} requests were in flight on average, with {_spelt(slots, 'slots')} and {_spelt(demand, 'users')}"
    )
    if slots <= demand and mean >= SLOTS_LIMIT * slots:
        return "slots", filled
    if demand < slots and mean >= DEMAND_LIMIT * demand:
        return "demand", filled
    busiest = state.busiest_share
    if busiest is not None and busiest >= BALANCE_LIMIT:
        return "balance", f"{filled}; the busiest process had {busiest:.2f} times its even share"
    idle = "its CPU use is unknown" if used is None else f"it used {used:.0%} of {cores}"
    return "unexplained", f"{filled}; {idle}, and the generator {generator:.0%} of its core"


def _spelt(count: float, what: str) -> str:
    if count == math.inf:
        return {"slots": "unbounded slots", "users": "an open load"}[what]
    return f"{count:g} {what.removesuffix('s') if count == 1 else what}"


# --- gates


def failed_trials(observations: Sequence[Observation], planned: int, unit: str) -> Iterable[str]:
    """What is missing of a cell of which so many blocks were planned. `unit` is what an observation is called."""
    failed = [observation for observation in observations if observation.swarm is None]
    if failed:
        yield f"{len(failed)} of {len(observations)} {unit} failed: {_first_line(failed[-1].reason)}"
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
    if any(swarm.unanswered for swarm in swarms):
        most = max(swarm.unanswered for swarm in swarms)
        yield None, f"up to {most} of {cell.users} users had no answer within the window; latencies may be too low"
    generator = figures.generator_cpu.median
    if generator >= GENERATOR_LIMIT:
        yield "generator", f"the generator used {generator:.0%} of its core: it may be what is measured"
    if cpus.parse(run.server_cpus[cell.cores]) & cpus.parse(run.generator_cpus):
        yield None, "server and generator share a core: both are slower for it"
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
    little = _little(swarms)
    if cell.users is not None and abs(little / cell.users - 1) > LITTLE_TOLERANCE:
        told = f"throughput x response time is {little:.1f}, not the {cell.users} users: the window was no steady state"
        yield "little", told


def flow(swarms: Sequence[SwarmReport]) -> tuple[int, int]:
    """Requests answered in the windows, and those that were due in them on a schedule."""
    return sum(swarm.completed for swarm in swarms), sum(swarm.due for swarm in swarms)


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _first_line(reason: str) -> str:
    """The summary of a failed trial's reason; log lines follow it."""
    return (reason.splitlines() or ["no reason recorded"])[0]


def _little(swarms: Sequence[SwarmReport]) -> float:
    """Mean number of requests in the system, by Little's law: the median of the blocks."""
    return statistics.median(swarm.throughput_rps * swarm.latency_mean_ms / 1000 for swarm in swarms)
