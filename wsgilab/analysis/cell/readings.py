"""Figures of one observation, or of one report; None where it has none. Pure."""

from collections.abc import Callable, Iterable, Sequence

from wsgilab.model import Cell, Metric, Observation, Run, Server, TrialReport
from wsgilab.system import cpus

Read = Callable[[Observation], float | None]
"""Reads a figure of one observation; None where the observation has none."""
FEWEST_ANSWERS = 20
"""Of fewer than so many answers, one more or less is much of a share: chance alone would make a user seem favoured."""


def reports(observations: Iterable[Observation]) -> Sequence[TrialReport]:
    """The reports of the observations that were measured."""
    return [observation.swarm for observation in observations if observation.swarm is not None]


def metric_of(cell: Cell) -> Metric:
    """The figure by which cells under such a load are compared."""
    return "throughput" if cell.rate is None else "latency"


def compared_figure(measured: Observation) -> float | None:
    """Throughput in requests/s or, at a fixed rate, mean latency in ms; None where there is none."""
    if measured.swarm is None:
        return None
    return measured.swarm.latency_mean_ms if metric_of(measured.cell) == "latency" else measured.swarm.throughput_rps


def throughput_rps(measured: Observation) -> float | None:
    """None where the trial failed."""
    return None if measured.swarm is None else measured.swarm.throughput_rps


def p95_ms(measured: Observation) -> float | None:
    """None where the trial failed, or no request counts."""
    return None if measured.swarm is None else measured.swarm.latency_ms.get("p95")


def server_cpu(measured: Observation) -> float | None:
    """Share of the pinned cores that the target used; None where that was not read."""
    if measured.server_cpu_s is None or not measured.server_span_s:
        return None
    return measured.server_cpu_s / measured.server_span_s / measured.cell.cores


def throttled_share(measured: Observation) -> float | None:
    """Share of the time, on average over its cores, in which a quota stopped the target; None where that was not read."""
    if measured.throttled_s is None or not measured.server_span_s or not measured.cell.cores:
        return None
    return measured.throttled_s / measured.server_span_s / measured.cell.cores


def backend_cpu(run: Run, measured: Observation) -> float | None:
    """Share of their cores that the backends used; None where there were none, or it was not read."""
    if measured.backend_cpu_s is None or not measured.server_span_s or not run.backend_cpus:
        return None
    return measured.backend_cpu_s / measured.server_span_s / len(cpus.parse(run.backend_cpus))


def cpu_ms_per_request(measured: Observation) -> float | None:
    """CPU time of the target, over the requests that left between the two readings of it; None where that was not read.

    Requests often leave in step, and a server works when they do: counted between the very same moments, both have the step or
    neither. Throughput, whose slope weighs the window's middle, is noise to a plain mean of CPU time; only in runs of a lab that
    did not count between the readings it has to do.
    """
    swarm = measured.swarm
    if measured.server_cpu_s is None or not measured.server_span_s or swarm is None:
        return None
    rps = swarm.throughput_rps
    if swarm.read_completed is not None and swarm.read_span_s:
        rps = swarm.read_completed / swarm.read_span_s
    return measured.server_cpu_s / measured.server_span_s / rps * 1000 if rps else None


def busiest_share(server: Server, swarm: TrialReport) -> float | None:
    """The busiest process' requests over its even share, of the declared processes: between 1 and their number."""
    requests = swarm.in_flight.requests_per_process
    if server.processes is None or not requests:
        return None
    return requests[0] / sum(requests) * server.processes


def busiest_user_share(cell: Cell, swarm: TrialReport) -> float | None:
    """The answers of the user who had most, over an even share: between 1 and the number of users.

    None with one user, on a schedule, and where users had fewer than FEWEST_ANSWERS each on average.
    """
    users = cell.users or 1
    if users == 1 or swarm.busiest_user is None or swarm.completed < FEWEST_ANSWERS * users:
        return None
    return swarm.busiest_user / swarm.completed * users
