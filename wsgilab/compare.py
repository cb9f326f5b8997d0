"""From observations to a comparison: figures by cell, why each is what it is, and ratios paired by block. Pure."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab import cpus, plan, stats
from wsgilab.model import (
    BoundBy,
    Cell,
    CellFigures,
    CellResult,
    Comparison,
    Conditions,
    Gate,
    Interval,
    Metric,
    Observation,
    PairResult,
    Run,
    Server,
    SwarmReport,
    Verdict,
)

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


def compare(run: Run, observations: Iterable[Observation]) -> Comparison:
    """Everything that `observations` say about `run`. A cell without a measured block has warnings but no figures."""
    given = list(observations)
    by_cell = _by_cell(given)
    cells = sorted(run.experiment.cells, key=lambda cell: _order(run, cell))
    results = [_result(run, cell, by_cell[cell]) for cell in cells]
    broken = {result.cell: result.broken_gates for result in results}
    ranks = _ranks(run, results, by_cell)
    measured = [each.swarm for each in given if each.swarm is not None]
    begun = _planned(run, given)
    return Comparison(
        run=run,
        trials=begun,
        measured=len(measured),
        failed=len(given) - len(measured),
        window_s=math.fsum(each.window_s for each in measured),
        cells=tuple(replace(result, rank=ranks.get(result.cell)) for result in results),
        pairs=tuple(_pairs(run, cells, by_cell, broken)),
        confidence=stats.confidence(min((result.blocks for result in results if result.blocks), default=0)),
        blocks_needed=_blocks_needed(run, cells),
    )


def unsettled(run: Run, observations: Iterable[Observation], blocks: int) -> frozenset[Cell]:
    """The cells that need more than the first `blocks` blocks, for a run with `precision`.

    A comparison is settled once it is decided, or its interval is as tight as `precision` asks. A cell is unsettled as
    long as a comparison that it takes part in is. A cell with a broken gate, or that fails, is not worth more blocks.
    """
    precision = run.experiment.precision
    if precision is None:
        return frozenset()
    by_cell = _by_cell(each for each in observations if each.block < blocks)
    cells = run.experiment.cells
    broken = {cell: _result(run, cell, by_cell[cell]).broken_gates for cell in cells}
    open_pairs = [
        pair
        for pair in _pairs(run, cells, by_cell, broken)
        if pair.verdict == "undecided" and not pair.broken_gates and not stats.is_within(pair.ratio, precision)
    ]
    return frozenset(cell for pair in open_pairs for cell in (pair.cell, replace(pair.cell, server=pair.reference)))


def _blocks_needed(run: Run, cells: Sequence[Cell]) -> int:
    """From how many blocks on the ratios' intervals are exact, at whichever look."""
    compared = sum(
        replace(cell, server=run.experiment.reference) in run.experiment.cells
        and cell.server != run.experiment.reference
        for cell in cells
    )
    looks = plan.looks(run.experiment)
    return max(stats.blocks_needed(_level(run, look) / max(1, compared)) for look in looks)


def _planned(run: Run, given: Sequence[Observation]) -> int:
    """How many trials there were to be: with `precision`, beyond the first blocks, as many as there were."""
    later = sum(each.block >= run.experiment.blocks for each in given)
    return len(run.experiment.cells) * run.experiment.blocks + later


def _by_cell(observations: Iterable[Observation]) -> Mapping[Cell, Sequence[Observation]]:
    found: dict[Cell, list[Observation]] = defaultdict(list)
    for observation in observations:
        found[observation.cell].append(observation)
    return found


def _order(run: Run, cell: Cell) -> tuple[object, ...]:
    workloads, servers = list(run.experiment.parameters), list(run.servers)
    load = (cell.rate is not None, cell.users or 0, cell.rate or 0.0, cell.arrivals or "")
    return workloads.index(cell.workload), cell.cores, load, cell.connection, servers.index(cell.server)


# --- one cell


def _result(run: Run, cell: Cell, observations: Sequence[Observation]) -> CellResult:
    server = run.servers[cell.server]
    measured = [observation for observation in observations if observation.swarm is not None]
    figures = _figures(server, cell, measured) if measured else None
    told = [] if figures is None else list(_gates(run, server, cell, measured, figures))
    return CellResult(
        cell=cell,
        slots=server.slots,
        blocks=len(measured),
        figures=figures,
        rank=None,
        broken_gates=tuple(dict.fromkeys(gate for gate, _ in told if gate is not None)),
        warnings=(*_failed_trials(run, observations), *(warning for _, warning in told)),
    )


def _swarms(measured: Iterable[Observation]) -> Sequence[SwarmReport]:
    return [observation.swarm for observation in measured if observation.swarm is not None]


def _figures(server: Server, cell: Cell, measured: Sequence[Observation]) -> CellFigures:
    swarms = _swarms(measured)
    in_flight = [swarm.in_flight for swarm in swarms]
    service_ms = stats.median_interval([swarm.service_ms for swarm in swarms])
    cpu_ms = _interval(map(_cpu_ms_per_request, measured))
    memory = [each.resident_bytes for each in measured if each.resident_bytes is not None]
    throughput = stats.median_interval([swarm.throughput_rps for swarm in swarms])
    limit = _limit_rps(server, cell, service_ms.median, None if cpu_ms is None else cpu_ms.median)
    answered, due = _flow(swarms)
    state = _State(
        mean_in_flight=stats.median_interval([each.mean for each in in_flight]),
        server_cpu=_interval(_server_cpu(cell, each) for each in measured),
        generator_cpu=stats.median_interval([swarm.generator_cpu for swarm in swarms]),
        busiest_share=_busiest_share(server, swarms),
        answered=answered,
        due=due,
    )
    bound_by, because = _bound_by(server, cell, state)
    percentiles = {name: None for swarm in swarms for name in swarm.latency_ms}
    return CellFigures(
        peak=max(each.peak for each in in_flight),
        mean_in_flight=state.mean_in_flight,
        processes=round(statistics.median(len(each.requests_per_process) for each in in_flight)),
        threads=round(statistics.median(each.threads for each in in_flight)),
        busiest_share=state.busiest_share,
        throughput_rps=throughput,
        latency_ms=stats.merged_latency_ms(swarm.latency_histogram for swarm in swarms),
        latency_blocks_ms={
            name: stats.median_interval([swarm.latency_ms[name] for swarm in swarms if swarm.latency_ms])
            for name in percentiles
        },
        service_ms=service_ms,
        limit_rps=limit,
        limit_share=throughput.median / limit if limit else None,
        cpu_ms_per_request=cpu_ms,
        server_cpu=state.server_cpu,
        generator_cpu=state.generator_cpu,
        resident_mb=max(memory) / 1e6 if memory else None,
        failures=sum(swarm.failures for swarm in swarms),
        cut_off=sum(swarm.cut_off for swarm in swarms),
        late=sum(swarm.late for swarm in swarms),
        bound_by=bound_by,
        because=because,
    )


def _interval(values: Iterable[float | None]) -> Interval | None:
    """Of the values that were measured; None where none was."""
    known = [value for value in values if value is not None]
    return stats.median_interval(known) if known else None


def _server_cpu(cell: Cell, measured: Observation) -> float | None:
    """Share of the pinned cores that the target used; None where that was not read."""
    if measured.server_cpu_s is None or not measured.server_span_s:
        return None
    return measured.server_cpu_s / measured.server_span_s / cell.cores


def _cpu_ms_per_request(measured: Observation) -> float | None:
    if measured.server_cpu_s is None or not measured.server_span_s or measured.swarm is None:
        return None
    rps = measured.swarm.throughput_rps
    return measured.server_cpu_s / measured.server_span_s / rps * 1000 if rps else None


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


# --- why it is what it is


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """The figures that decide what a server is bound by."""

    mean_in_flight: Interval
    server_cpu: Interval | None
    generator_cpu: Interval
    busiest_share: float | None
    answered: int
    due: int


def _bound_by(server: Server, cell: Cell, state: _State) -> tuple[BoundBy, str]:
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


def _failed_trials(run: Run, observations: Sequence[Observation]) -> Iterable[str]:
    failed = [observation for observation in observations if observation.swarm is None]
    if failed:
        yield f"{len(failed)} of {len(observations)} trials failed: {first_line(failed[-1].reason)}"
    if len(observations) < run.experiment.blocks:
        yield f"{run.experiment.blocks - len(observations)} of {run.experiment.blocks} blocks were not run"


def _gates(
    run: Run, server: Server, cell: Cell, measured: Sequence[Observation], figures: CellFigures
) -> Iterable[tuple[Gate | None, str]]:
    """What a reader must know beside the figures; with the gate that is broken, where they are not to be compared."""
    swarms = _swarms(measured)
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
    answered, due = _flow(swarms)
    if answered < RATE_LIMIT * due:
        told = f"{answered} requests answered of {due} that were due"
        yield None, f"{told}: it does not keep up, and its latencies grow for as long as the window lasts"
    little = _little(swarms)
    if cell.users is not None and abs(little / cell.users - 1) > LITTLE_TOLERANCE:
        told = f"throughput x response time is {little:.1f}, not the {cell.users} users: the window was no steady state"
        yield "little", told


def _flow(swarms: Sequence[SwarmReport]) -> tuple[int, int]:
    """Requests answered in the windows, and those that were due in them on a schedule."""
    return sum(swarm.completed for swarm in swarms), sum(swarm.due for swarm in swarms)


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def first_line(reason: str) -> str:
    """The summary of a failed trial's reason; log lines follow it."""
    return (reason.splitlines() or ["no reason recorded"])[0]


def _little(swarms: Sequence[SwarmReport]) -> float:
    """Mean number of requests in the system, by Little's law: the median of the blocks."""
    return statistics.median(swarm.throughput_rps * swarm.latency_mean_ms / 1000 for swarm in swarms)


# --- servers against each other


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paired:
    """Two cells under the same conditions, and the ratios of the blocks that both have."""

    cell: Cell
    other: Cell
    ratios: Sequence[float]
    reached: int
    """After how many blocks of the run, those that either lacks included."""


def _pairs(
    run: Run,
    cells: Sequence[Cell],
    by_cell: Mapping[Cell, Sequence[Observation]],
    broken: Mapping[Cell, Collection[Gate]],
) -> Iterable[PairResult]:
    reference = run.experiment.reference
    references = {cell.conditions: cell for cell in cells if cell.server == reference}
    found = [
        _paired(cell, references[cell.conditions], by_cell)
        for cell in cells
        if cell.server != reference and cell.conditions in references
    ]
    for pair, interval in zip(found, _intervals(run, found, len(found)), strict=True):
        if interval is not None:
            yield _judged(pair, interval, (*broken[pair.cell], *broken[pair.other]))


def _paired(cell: Cell, other: Cell, by_cell: Mapping[Cell, Sequence[Observation]]) -> _Paired:
    ours, theirs = _by_block(by_cell[cell]), _by_block(by_cell[other])
    common = sorted(ours.keys() & theirs.keys())
    ratios = [ours[block] / theirs[block] for block in common]
    return _Paired(cell=cell, other=other, ratios=ratios, reached=max(common, default=0) + 1)


def _by_block(observations: Sequence[Observation]) -> Mapping[int, float]:
    """What is compared, of each block that has it."""
    figures = ((each.block, _compared(each.cell)(each.swarm)) for each in observations if each.swarm is not None)
    return {block: figure for block, figure in figures if figure}


def _metric(cell: Cell) -> Metric:
    return "throughput" if cell.rate is None else "latency"


def _compared(cell: Cell) -> Callable[[SwarmReport], float]:
    if _metric(cell) == "latency":
        return lambda swarm: swarm.latency_mean_ms
    return lambda swarm: swarm.throughput_rps


def _intervals(run: Run, pairs: Sequence[_Paired], comparisons: int) -> Sequence[Interval | None]:
    """Each pair's ratio, so that all `comparisons` hold at once; None where the two have no block in common."""
    levels = [_level(run, pair.reached) / comparisons for pair in pairs]
    strayed: dict[str, list[float]] = defaultdict(list)
    for pair, level in zip(pairs, levels, strict=True):
        if len(pair.ratios) < stats.blocks_needed(level):
            strayed[pair.cell.workload] += stats.departures([math.log(ratio) for ratio in pair.ratios])
    reaches = {workload: stats.reach(departures) for workload, departures in strayed.items()}
    return [
        stats.ratio(pair.ratios, level, reaches.get(pair.cell.workload, 0.0)) if pair.ratios else None
        for pair, level in zip(pairs, levels, strict=True)
    ]


def _level(run: Run, blocks: int) -> float:
    """The share of the error rate that a look after `blocks` blocks may spend, before it is split over comparisons.

    Without `precision` there is one look, and it has all. With it each look has what `stats.spent` allows beyond the
    look before, so that all together have no more than the whole.
    """
    looks = plan.looks(run.experiment)
    at = next((index for index, look in enumerate(looks) if blocks <= look), len(looks) - 1)
    previous = looks[at - 1] if at else 0
    return stats.spent(looks[at] / looks[-1]) - stats.spent(previous / looks[-1])


def _judged(pair: _Paired, interval: Interval, gates: Iterable[Gate]) -> PairResult:
    broken = tuple(dict.fromkeys(gates))
    return PairResult(
        cell=pair.cell,
        reference=pair.other.server,
        metric=_metric(pair.cell),
        blocks=len(pair.ratios),
        ratio=interval,
        # What a broken gate has spoilt is shown, but nothing is concluded from it.
        verdict="undecided" if broken else _verdict(pair.cell, interval),
        broken_gates=broken,
    )


def _ranks(
    run: Run, results: Sequence[CellResult], by_cell: Mapping[Cell, Sequence[Observation]]
) -> Mapping[Cell, int]:
    """The place of each cell under its conditions; those that cannot be told from the first of their group share its.

    Ties are judged as one family of their own: every server against every other under the same conditions.
    """
    groups: dict[Conditions, list[CellResult]] = defaultdict(list)
    for result in results:
        if result.figures is not None and not result.broken_gates:
            groups[result.cell.conditions].append(result)
    comparisons = sum(math.comb(len(group), 2) for group in groups.values())
    ranks: dict[Cell, int] = {}
    for group in groups.values():
        rest = sorted((result.cell for result in group), key=lambda cell: _best_first(cell, by_cell))
        while rest:
            first, *others = rest
            rank = len(group) - len(rest) + 1
            pairs = [_paired(cell, first, by_cell) for cell in others]
            intervals = _intervals(run, pairs, comparisons)
            behind = [
                interval is not None and _verdict(cell, interval) == "slower"
                for cell, interval in zip(others, intervals, strict=True)
            ]
            tied = behind.index(True) if True in behind else len(others)
            ranks |= dict.fromkeys([first, *others[:tied]], rank)
            rest = others[tied:]
    return ranks


def _verdict(cell: Cell, interval: Interval) -> Verdict:
    """Of a ratio of what is compared: a lower latency is faster."""
    verdict = stats.verdict(interval)
    if _metric(cell) == "throughput" or verdict == "undecided":
        return verdict
    return "slower" if verdict == "faster" else "faster"


def _best_first(cell: Cell, by_cell: Mapping[Cell, Sequence[Observation]]) -> float:
    figures = list(_by_block(by_cell[cell]).values())
    if not figures:
        return math.inf
    return statistics.median(figures) * (1 if _metric(cell) == "latency" else -1)
