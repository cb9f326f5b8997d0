"""The result of one cell: its figures over the windows in which it was measured, its bottleneck and its gates."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from wsgilab.analysis import stats
from wsgilab.analysis.cell import bottleneck, disturbance, validity
from wsgilab.analysis.cell.network import network, received_mbps, resent_share
from wsgilab.analysis.cell.readings import (
    backend_cpu,
    busiest_share,
    busiest_user_share,
    cpu_ms_per_request,
    reports,
    server_cpu,
    throttled_share,
)
from wsgilab.experiment.masters import replaces_workers
from wsgilab.model import (
    Cell,
    CellFigures,
    CellResult,
    CellWarning,
    Gate,
    Interval,
    LatencyParts,
    Observation,
    PartTimes,
    RequestFigures,
    Run,
    Server,
    TrialReport,
)

Summary = Callable[[Sequence[float]], Interval]
"""Makes a median, with an interval where one can be had, of a figure's values: one a window, one at least."""


def median_alone(values: Sequence[float]) -> Interval:
    """The median without an interval: for windows that are not independent of each other."""
    return Interval(median=statistics.median(values), low=None, high=None)


def cell_result(
    run: Run,
    cell: Cell,
    observations: Sequence[Observation],
    *,
    planned: int = 0,
    summary: Summary = stats.median_interval,
    unit: str = "trials",
) -> CellResult:
    """The result of `cell` by itself, without a rank, from its observations.

    It has a warning where these are fewer than the `planned`; `unit` is what warnings call an observation. Disturbed windows take
    no part where enough others are left (`disturbance.undisturbed`).
    """
    measured = [each for each in observations if each.swarm is not None]
    kept = disturbance.undisturbed(run, measured)
    server, swarms = run.servers[cell.server], reports(kept)
    figures = _figures(run, cell, kept, summary) if swarms else None
    found = [] if figures is None else list(validity.gates(run, server, cell, swarms, figures))
    if figures is not None:
        bound_by, because = bottleneck.unless_spoilt(figures, swarms, found)
        figures = replace(figures, bound_by=bound_by, because=because)
    return CellResult(
        cell=cell,
        slots=server.slots,
        blocks=len(measured),
        left_out=len(measured) - len(kept),
        figures=figures,
        rank=None,
        broken_gates=tuple(dict.fromkeys(each.gate for each in found if each.gate is not None)),
        warnings=(
            *validity.failed_trials(observations, planned, unit),
            *validity.started_again(observations, unit),
            *(() if figures is None else validity.acted(server, cell, kept, figures)),
            *found,
            *_left_out(run, cell, measured, kept, unit),
        ),
        timeline=next((swarm.timeline for swarm in reports(measured) if swarm.timeline is not None), None),
    )


def broken(run: Run, cell: Cell, observations: Sequence[Observation]) -> Mapping[Gate, str]:
    """The gates that `observations` of `cell` break, each with its warning."""
    kept = disturbance.undisturbed(run, observations)
    swarms = reports(kept)
    if not swarms:
        return {}
    figures = _figures(run, cell, kept, stats.median_interval)
    found = validity.gates(run, run.servers[cell.server], cell, swarms, figures)
    return {each.gate: each.text for each in found if each.gate is not None}


def _left_out(
    run: Run, cell: Cell, measured: Sequence[Observation], kept: Sequence[Observation], unit: str
) -> Iterable[CellWarning]:
    """A warning about the windows that took no part."""
    if len(kept) < len(measured):
        without = (
            f"figures are of {len(kept)} of {len(measured)} {unit}, without those in which "
            f"{disturbance.disturbance(run, cell, measured)}"
        )
        yield CellWarning(kind="left-out", text=without, amount=len(measured) - len(kept))


def _figures(run: Run, cell: Cell, observations: Sequence[Observation], summary: Summary) -> CellFigures:
    """The figures of the measured observations, of which there is one at least."""
    server, measured = run.servers[cell.server], [each for each in observations if each.swarm is not None]
    swarms = reports(measured)
    in_flight = [swarm.in_flight for swarm in swarms if swarm.is_stamped]
    service_ms = _known((swarm.service_ms for swarm in swarms if swarm.is_stamped), summary)
    throughput = summary([swarm.throughput_rps for swarm in swarms])
    cpu_ms = _known(map(cpu_ms_per_request, measured), summary)
    limit = _limit_rps(server, cell, service_ms, cpu_ms)
    os_threads = [each.os_threads for each in measured if each.os_threads is not None]
    # Of processes that take the place of others, each has but a part of the window.
    in_turn = cell.during is not None or replaces_workers(server)
    shares = [share for swarm in swarms if not in_turn and (share := busiest_share(server, swarm)) is not None]
    of_users = [share for swarm in swarms if (share := busiest_user_share(cell, swarm)) is not None]
    before = [each.memory_start for each in measured if each.memory_start is not None]
    after = [each.memory for each in measured if each.memory is not None]
    others = [disturbance.taken(run, each) for each in measured]
    percentiles = {name: None for swarm in swarms for name in swarm.latency_ms}
    idle = [swarm.idle for swarm in swarms if swarm.idle is not None]
    found = CellFigures(
        peak=max((each.peak for each in in_flight), default=None),
        mean_in_flight=_known((each.mean for each in in_flight), summary),
        processes=_median(len(each.requests_per_process) for each in in_flight),
        threads=_median(each.threads for each in in_flight),
        busiest_share=statistics.median(shares) if shares else None,
        busiest_user_share=statistics.median(of_users) if of_users else None,
        process_shares=_process_shares(server, swarms),
        throughput_rps=throughput,
        latency_ms=stats.merged_latency_ms(swarm.latency_histogram for swarm in swarms),
        latency_blocks_ms={
            name: summary([swarm.latency_ms[name] for swarm in swarms if swarm.latency_ms]) for name in percentiles
        },
        service_ms=service_ms,
        parts=_parts(swarms),
        limit_rps=limit,
        limit_share=throughput.median / limit if limit else None,
        cpu_ms_per_request=cpu_ms,
        server_cpu=_known(map(server_cpu, measured), summary),
        generator_cpu=summary([swarm.generator_cpu for swarm in swarms]),
        server_others=_known((each.server for each in others), summary),
        generator_others=_known((each.generator for each in others), summary),
        disturbed=disturbance.disturbance(run, cell, measured),
        resident_mb=_most_mb(each.resident_bytes for each in measured),
        os_threads=_median(os_threads),
        backend_cpu=_known((backend_cpu(run, each) for each in measured), summary),
        failures=sum(swarm.failures for swarm in swarms),
        cut_off=sum(swarm.cut_off for swarm in swarms),
        late=sum(swarm.late for swarm in swarms),
        slow_connections=sum(swarm.slow_connections for swarm in swarms),
        reopened=_total(swarm.reopened for swarm in swarms),
        round_trip_ms=_known((swarm.round_trip_ms for swarm in swarms), summary),
        received_mbps=_known(map(received_mbps, swarms), summary),
        resent_share=resent_share(swarms),
        bound_by="unexplained",
        because="",
        by_request=_by_request(swarms, summary),
        throttled=disturbance.throttling(run, measured),
        reset=_total(swarm.reset for swarm in swarms),
        refused=_total(swarm.refused for swarm in swarms),
        pausing=_known((swarm.pausing or None for swarm in swarms), summary),
        abandoned=_total(swarm.abandoned for swarm in swarms),
        wasted_work=_known((swarm.wasted_work for swarm in swarms), summary),
        first_event_ms=_known((swarm.first_event_ms for swarm in swarms), summary),
        event_gap_ms=_known((swarm.event_gap_ms for swarm in swarms), summary),
        idle_closed=_total(each.closed for each in idle),
        idle_held_s=_known((each.held_s for each in idle), summary),
        idle_longest_s=max((each.longest_s for each in idle), default=None),
        throttled_share=_known(map(throttled_share, measured), summary) if cell.quota else None,
        longest_gap_ms=_known((swarm.longest_gap_ms for swarm in swarms), summary),
        lost_capacity=_known((swarm.lost_capacity for swarm in swarms), summary),
        memory_pss_mb=_most_mb(each.pss_bytes for each in after),
        memory_private_mb=_most_mb(each.private_bytes for each in after),
        memory_start_pss_mb=_most_mb(each.pss_bytes for each in before),
        memory_start_private_mb=_most_mb(each.private_bytes for each in before),
    )
    state = bottleneck.CellState(
        run=run, server=server, cell=cell, figures=found, swarms=swarms, network=network(run, cell, measured)
    )
    bound_by, because = bottleneck.bound_by(state)
    return replace(found, bound_by=bound_by, because=because)


def _by_request(swarms: Sequence[TrialReport], summary: Summary) -> Mapping[str, RequestFigures]:
    """Of each request of a mix, by name."""
    found = {}
    for name in sorted({name for swarm in swarms for name in swarm.by_request}):
        known = [swarm.by_request[name] for swarm in swarms if name in swarm.by_request]
        found[name] = RequestFigures(
            completed=sum(each.completed for each in known),
            throughput_rps=summary([each.throughput_rps for each in known]),
            latency_mean_ms=_known((each.latency_mean_ms for each in known), summary),
            latency_p50_ms=_known((each.latency_p50_ms for each in known), summary),
            latency_p95_ms=_known((each.latency_p95_ms for each in known), summary),
        )
    return found


def _known(values: Iterable[float | None], summary: Summary) -> Interval | None:
    """The summary of the values that were measured; None where none was."""
    known = [value for value in values if value is not None]
    return summary(known) if known else None


def _median(counts: Iterable[int]) -> int | None:
    """The median over the trials; None where there is none."""
    known = list(counts)
    return round(statistics.median(known)) if known else None


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum over the trials that counted; None where none did."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _most_mb(values: Iterable[int | None]) -> float | None:
    """The most over the trials in which it was read, in megabytes; None where that is none."""
    known = [value for value in values if value is not None]
    return max(known) / 1e6 if known else None


def _parts(swarms: Iterable[TrialReport]) -> LatencyParts | None:
    """The parts over the trials in which they were measured; None where that is none."""
    known = [(stats.count(swarm.latency_histogram), swarm.parts) for swarm in swarms if swarm.parts is not None]
    weights = [weight for weight, _ in known]
    if not sum(weights):
        return None

    def pooled(of_trials: Sequence[PartTimes]) -> PartTimes:
        return PartTimes(
            mean=math.fsum(weight * each.mean for weight, each in zip(weights, of_trials, strict=True)) / sum(weights),
            p50=statistics.median(each.p50 for each in of_trials),
            p95=statistics.median(each.p95 for each in of_trials),
            p99=statistics.median(each.p99 for each in of_trials),
        )

    return LatencyParts(
        connect=pooled([parts.connect for _, parts in known]),
        queue=pooled([parts.queue for _, parts in known]),
        service=pooled([parts.service for _, parts in known]),
        back=pooled([parts.back for _, parts in known]),
    )


def _limit_rps(server: Server, cell: Cell, service_ms: Interval | None, cpu_ms: Interval | None) -> float | None:
    """The throughput that slots, and cores or a quota, allow, whichever is lower; None where neither is bounded or known.

    By the utilization law, no slot and no core is busy for more than all of the time (Denning and Buzen 1978,
    doi:10.1145/356733.356735).
    """
    limits: list[float] = []
    if server.slots is not None and service_ms is not None and service_ms.median > 0:
        limits.append(server.slots / service_ms.median * 1000)
    if cpu_ms is not None and cpu_ms.median:
        limits.append((cell.quota or cell.cores) / cpu_ms.median * 1000)
    return min(limits, default=None)


def _process_shares(server: Server, swarms: Sequence[TrialReport]) -> tuple[float, ...]:
    """The share of each declared process, the busiest first, as the mean over the windows; idle processes have 0."""
    if server.processes is None:
        return ()
    windows = [swarm.in_flight.requests_per_process for swarm in swarms if swarm.in_flight.requests_per_process]
    if any(len(requests) > server.processes for requests in windows):
        return ()
    of_each = zip_longest(*([each / sum(requests) for each in requests] for requests in windows), fillvalue=0.0)
    means = [math.fsum(shares) / len(windows) for shares in of_each]
    return (*means, *[0.0] * (server.processes - len(means)))
