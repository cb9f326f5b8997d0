"""From observations to a comparison: figures by cell, why each is what it is, and ratios paired by block. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from wsgilab import cpus, stats
from wsgilab.model import (
    BoundBy,
    Cell,
    CellFigures,
    CellResult,
    Comparison,
    Observation,
    PairResult,
    Run,
    Server,
    SwarmReport,
)

GENERATOR_LIMIT = 0.8
"""Above this share of its core the generator may be what is measured."""
CPU_LIMIT = 0.9
"""From this share of its pinned cores on, a server counts as CPU-bound."""
SLOTS_LIMIT = 0.8
"""From this share of its slots on, on average over the window, a server counts as slot-bound."""
DEMAND_LIMIT = 0.8
"""From this share of the users inside the application on, there is no more demand to serve."""
BALANCE_LIMIT = 1.25
"""From this many times its even share on, the busiest process marks a server as unevenly balanced."""
FEWEST_SERVICE_TIMES = 3
"""A window should hold so many service times, one after the other, at least."""
LITTLE_TOLERANCE = 0.1
"""How far throughput x response time may be from the number of users: J. D. C. Little 1961, doi:10.1287/opre.9.3.383."""


def compare(run: Run, observations: Iterable[Observation]) -> Comparison:
    """Everything that `observations` say about `run`. A cell without a measured block has warnings but no figures."""
    by_cell: dict[Cell, list[Observation]] = defaultdict(list)
    for observation in observations:
        by_cell[observation.cell].append(observation)
    cells = sorted(run.experiment.cells, key=lambda cell: _order(run, cell))
    return Comparison(
        run=run,
        trials=len(run.experiment.cells) * run.experiment.blocks,
        measured=sum(_is_measured(each) for given in by_cell.values() for each in given),
        failed=sum(not _is_measured(each) for given in by_cell.values() for each in given),
        cells=tuple(_result(run, cell, by_cell[cell]) for cell in cells),
        pairs=tuple(_pairs(run, cells, by_cell)),
    )


def _order(run: Run, cell: Cell) -> tuple[object, ...]:
    workloads, servers = list(run.experiment.parameters), list(run.servers)
    return workloads.index(cell.workload), cell.cores, cell.users, cell.connection, servers.index(cell.server)


def _is_measured(observation: Observation) -> bool:
    return observation.swarm is not None


def _result(run: Run, cell: Cell, observations: Sequence[Observation]) -> CellResult:
    server = run.servers[cell.server]
    measured = [observation for observation in observations if observation.swarm is not None]
    figures = _figures(server, cell, measured) if measured else None
    return CellResult(
        cell=cell,
        slots=server.slots,
        blocks=len(measured),
        figures=figures,
        warnings=tuple(_warnings(run, server, cell, observations, measured, figures)),
    )


def _figures(server: Server, cell: Cell, measured: Sequence[Observation]) -> CellFigures:
    swarms = [observation.swarm for observation in measured if observation.swarm is not None]
    in_flight = [swarm.in_flight for swarm in swarms]
    service_ms = statistics.median(swarm.service_ms for swarm in swarms)
    cpu_ms = _cpu_ms_per_request(measured)
    server_cpu = _server_cpu(cell, measured)
    memory = [each.resident_bytes for each in measured if each.resident_bytes is not None]
    mean_in_flight = statistics.median(each.mean for each in in_flight)
    busiest = _busiest_share(server, swarms)
    generator_cpu = statistics.median(swarm.generator_cpu for swarm in swarms)
    return CellFigures(
        peak=max(each.peak for each in in_flight),
        mean_in_flight=mean_in_flight,
        processes=round(statistics.median(len(each.requests_per_process) for each in in_flight)),
        threads=round(statistics.median(each.threads for each in in_flight)),
        busiest_share=busiest,
        throughput_rps=stats.spread([swarm.throughput_rps for swarm in swarms]),
        latency_ms=stats.merged_latency_ms(swarm.latency_histogram for swarm in swarms),
        service_ms=service_ms,
        limit_rps=_limit_rps(server, cell, service_ms, cpu_ms),
        cpu_ms_per_request=cpu_ms,
        server_cpu=server_cpu,
        generator_cpu=generator_cpu,
        resident_mb=max(memory) / 1e6 if memory else None,
        failures=sum(swarm.failures for swarm in swarms),
        cut_off=sum(swarm.cut_off for swarm in swarms),
        bound_by=_bound_by(server, cell, mean_in_flight, server_cpu, generator_cpu, busiest),
    )


def _server_cpu(cell: Cell, measured: Sequence[Observation]) -> float | None:
    """Share of the pinned cores that the target used; None where no block recorded it."""
    shares = [
        each.server_cpu_s / each.server_span_s / cell.cores
        for each in measured
        if each.server_cpu_s is not None and each.server_span_s
    ]
    return statistics.median(shares) if shares else None


def _cpu_ms_per_request(measured: Sequence[Observation]) -> float | None:
    costs = [
        each.server_cpu_s / each.server_span_s / each.swarm.throughput_rps * 1000
        for each in measured
        if each.server_cpu_s is not None and each.server_span_s and each.swarm is not None and each.swarm.throughput_rps
    ]
    return statistics.median(costs) if costs else None


def _limit_rps(server: Server, cell: Cell, service_ms: float, cpu_ms: float | None) -> float | None:
    """The lower of what slots and what cores allow; None where neither is bounded or known.

    The utilization law: at most one busy slot (core) a slot (core) (Denning and Buzen 1978, doi:10.1145/356733.356735).
    """
    limits: list[float] = []
    if server.slots is not None and service_ms > 0:
        limits.append(server.slots / service_ms * 1000)
    if cpu_ms:
        limits.append(cell.cores / cpu_ms * 1000)
    return min(limits, default=None)


def _busiest_share(server: Server, swarms: Sequence[SwarmReport]) -> float | None:
    """The busiest process' requests over its even share, of the declared processes: between 1 and their number."""
    if server.processes is None:
        return None
    shares = [
        swarm.in_flight.requests_per_process[0] / sum(swarm.in_flight.requests_per_process) * server.processes
        for swarm in swarms
        if swarm.in_flight.requests_per_process
    ]
    return statistics.median(shares) if shares else None


def _bound_by(
    server: Server,
    cell: Cell,
    mean_in_flight: float,
    server_cpu: float | None,
    generator_cpu: float,
    busiest: float | None,
) -> BoundBy:
    """What holds the throughput where it is. The first that applies, from the most to the least compelling."""
    if generator_cpu >= GENERATOR_LIMIT:
        return "generator"
    if server_cpu is not None and server_cpu >= CPU_LIMIT:
        return "cpu"
    if (
        server_cpu is not None
        and server.processes is not None
        and server.processes < cell.cores
        and server_cpu * cell.cores >= CPU_LIMIT * server.processes
    ):
        return "gil"
    if server.slots is not None and mean_in_flight >= SLOTS_LIMIT * min(server.slots, cell.users):
        return "slots" if server.slots <= cell.users else "demand"
    if server.slots is None and mean_in_flight >= DEMAND_LIMIT * cell.users:
        return "demand"
    if busiest is not None and busiest >= BALANCE_LIMIT:
        return "balance"
    return "unexplained"


def _warnings(
    run: Run,
    server: Server,
    cell: Cell,
    observations: Sequence[Observation],
    measured: Sequence[Observation],
    figures: CellFigures | None,
) -> Iterable[str]:
    """What a reader must know beside the figures: every gate that is broken."""
    failed = [observation for observation in observations if observation.swarm is None]
    if failed:
        yield f"{len(failed)} of {len(observations)} trials failed: {first_line(failed[-1].reason)}"
    if len(observations) < run.experiment.blocks:
        yield f"{run.experiment.blocks - len(observations)} of {run.experiment.blocks} blocks were not run"
    if figures is None:
        return
    swarms = [observation.swarm for observation in measured if observation.swarm is not None]
    if figures.failures:
        kinds = sorted({error for swarm in swarms for error in swarm.errors})
        yield f"{figures.failures} requests failed: {'; '.join(kinds[:2])}" + (" and others" if kinds[2:] else "")
    if figures.cut_off:
        yield f"{figures.cut_off} requests were given up unanswered; requests in flight may be undercounted"
    if any(swarm.unanswered for swarm in swarms):
        most = max(swarm.unanswered for swarm in swarms)
        yield f"up to {most} of {cell.users} users had had no answer when the window began; latencies may be too low"
    if figures.generator_cpu >= GENERATOR_LIMIT:
        yield f"the generator used {figures.generator_cpu:.0%} of its core: it may be what is measured"
    if cpus.parse(run.server_cpus[cell.cores]) & cpus.parse(run.generator_cpus):
        yield "server and generator share a core: both are slower for it"
    if server.slots is not None and figures.peak > server.slots:
        yield f"{figures.peak} requests in flight, but {server.slots} slots declared: the declaration is wrong"
    if server.processes is not None and figures.processes > server.processes:
        yield f"{figures.processes} processes answered, but {server.processes} are declared: the declaration is wrong"
    window_s = run.experiment.window_s
    if figures.service_ms / 1000 * FEWEST_SERVICE_TIMES > window_s:
        yield f"a request takes {figures.service_ms:.0f} ms, the window {window_s:g} s: too short for a steady rate"
    little = _little(swarms)
    if abs(little / cell.users - 1) > LITTLE_TOLERANCE:
        yield f"throughput x response time is {little:.1f}, not the {cell.users} users: the window was no steady state"


def first_line(reason: str) -> str:
    """The summary of a failed trial's reason; log lines follow it."""
    return (reason.splitlines() or ["no reason recorded"])[0]


def _little(swarms: Sequence[SwarmReport]) -> float:
    """Mean number of requests in the system, by Little's law: the median of the blocks."""
    return statistics.median(swarm.throughput_rps * swarm.latency_mean_ms / 1000 for swarm in swarms)


def _pairs(run: Run, cells: Sequence[Cell], by_cell: Mapping[Cell, Sequence[Observation]]) -> Iterable[PairResult]:
    reference = run.experiment.reference
    references = {_conditions(cell): cell for cell in cells if cell.server == reference}
    pairs = [
        (cell, references[_conditions(cell)])
        for cell in cells
        if cell.server != reference and _conditions(cell) in references
    ]
    for cell, other in pairs:
        ours, theirs = _by_block(by_cell[cell]), _by_block(by_cell[other])
        ratios = [ours[block] / theirs[block] for block in sorted(ours.keys() & theirs.keys())]
        if not ratios:
            continue
        interval = stats.ratio(ratios, comparisons=len(pairs))
        yield PairResult(
            workload=cell.workload,
            cores=cell.cores,
            users=cell.users,
            connection=cell.connection,
            server=cell.server,
            reference=reference,
            ratio=interval,
            verdict=stats.verdict(interval),
        )


def _conditions(cell: Cell) -> tuple[str, int, int, str]:
    return cell.workload, cell.cores, cell.users, cell.connection


def _by_block(observations: Sequence[Observation]) -> Mapping[int, float]:
    return {
        each.block: each.swarm.throughput_rps
        for each in observations
        if each.swarm is not None and each.swarm.throughput_rps
    }
