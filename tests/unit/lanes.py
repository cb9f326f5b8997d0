"""A run on two machines of targets, each loaded by others, as values: what a real one leaves, figure by figure."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wsgilab import testing
from wsgilab.experiment import plan
from wsgilab.model import Cell, Host, InFlight, LaneRecord, Machine, Observation, Run

BLOCKS = 8
GAMMA = 0.92
"""The second machine of targets is so fast as the first."""
ROUND_TRIPS_MS = {"alpha": 20.0, "gamma": 21.0}
LARGE_KIB = 256

SYNC, GTHREAD, GEVENT = "gunicorn-sync-1", "gunicorn-gthread-2x4", "gunicorn-gevent"
CELLS = (
    *(testing.cell(name) for name in (SYNC, GTHREAD, GEVENT)),
    *(testing.cell(name, workload="hello", connection="keep-alive") for name in (SYNC, GTHREAD, GEVENT)),
    *(testing.cell(name, workload="large") for name in (GTHREAD, GEVENT)),
    testing.cell(GEVENT, workload="hello", users=None, rate=200.0, arrivals="constant"),
)

Served = tuple[float, float]
"""Requests a second, and milliseconds inside the application."""
SERVED: dict[tuple[str, str, bool], Served] = {
    ("sleep", SYNC, False): (14.2, 50.0),  # 50 ms, and 20 more until its client closes
    ("sleep", GTHREAD, False): (156.0, 50.0),
    ("sleep", GEVENT, False): (355.0, 50.0),  # 50 ms, and twice 20 on the wire
    ("hello", SYNC, False): (48.0, 0.4),
    ("hello", GTHREAD, False): (1480.0, 0.4),
    ("hello", GEVENT, False): (1430.0, 0.5),
    ("hello", GEVENT, True): (200.0, 0.5),
    ("large", GTHREAD, False): (400.0, 2.0),
    ("large", GEVENT, False): (410.0, 2.0),
}


def machine(name: str, cpu: str = "A CPU", cpus: str = "0-3", **host: Any) -> Machine:
    plain = Host(
        cpu=cpu,
        architecture="x86_64",
        usable_cpus=cpus,
        siblings=("0-1", "2-3"),
        memory_bytes=2**33,
        kernel="6.1",
        python="3.11.7",
    )
    return Machine(name=name, host=replace(plain, **host), cpus=cpus)


def lane(targets: str = "alpha", *swarm: str, **changes: Any) -> LaneRecord:
    """A machine of targets, 20 ms and 940 megabits/s away from those that load it."""
    plain = LaneRecord(
        targets=machine(targets),
        swarm=tuple(machine(name, "Another CPU", "0-1") for name in swarm or (f"{targets}-users",)),
        round_trip_ms=ROUND_TRIPS_MS.get(targets, 20.0),
        bandwidth_mbps=940.0,
    )
    return replace(plain, **changes)


def run(**changes: Any) -> Run:
    """Two lanes; the second has two machines of users."""
    servers = (
        testing.server(SYNC),
        testing.server(GTHREAD, slots=8, processes=2, model="threads"),
        testing.server(GEVENT, slots=None, model="coroutines"),
    )
    experiment = testing.experiment(
        *CELLS,
        blocks=BLOCKS,
        name="apart",
        window_s=2.0,
        reference=SYNC,
        parameters={"sleep": {"ms": 50.0}, "hello": {}, "large": {"kib": float(LARGE_KIB)}},
    )
    lanes = (lane("alpha", "beta"), lane("gamma", "delta", "epsilon"))
    plain = testing.run(experiment, *servers, runtime="compose", generator_cpus="0-1", lanes=lanes)
    return replace(plain, host=lanes[0].targets.host, **changes)


def observations(of: Run) -> Sequence[Observation]:
    """Each block whole on one of the machines, figures scattered by a percent or two."""
    scatter = random.Random(7)
    names = [each.targets.name for each in of.lanes]
    return [
        _observation(trial.cell, trial.block, trial.position, plan.machine_of(trial.block, names, of.seed), scatter)
        for trial in plan.schedule(of.experiment, of.seed)
    ]


def _observation(cell: Cell, block: int, position: int, where: str, scatter: random.Random) -> Observation:
    base, service_ms = SERVED[cell.workload, cell.server, cell.rate is not None]
    factor = 1.0 if cell.rate else scatter.gauss(1, 0.015) * (GAMMA if where == "gamma" else 1)
    rps, window_s = base * factor, 2.0
    completed = round(rps * window_s)
    latency_ms = 1000 * cell.users / rps if cell.users else 42.0
    mean = rps * service_ms / 1000
    requests = (completed - completed // 2, completed // 2) if cell.server == GTHREAD else (completed,)
    body = LARGE_KIB * 1024 if cell.workload == "large" else 6
    connect_ms = ROUND_TRIPS_MS[where] if cell.connection == "close" else 0.0
    outside_ms = latency_ms - connect_ms - service_ms
    back_ms = min(ROUND_TRIPS_MS[where], outside_ms) / 2
    lossy = (cell.workload, cell.server) == ("large", GTHREAD)
    swarm = testing.trial_report(
        window_s=window_s,
        completed=completed,
        due=400 if cell.rate else 0,
        throughput_rps=rps,
        latency_mean_ms=latency_ms,
        latency_ms={"p50": latency_ms, "p95": latency_ms * 1.1, "p99": latency_ms * 1.2, "max": latency_ms * 1.5},
        latency_histogram=testing.histogram(*[latency_ms] * 9, latency_ms * 1.5),
        in_flight=InFlight(
            peak=max(1, round(min(mean * 1.1, 8 if cell.server == GTHREAD else 32))),
            mean=mean,
            threads=len(requests),
            requests_per_process=requests,
        ),
        service_ms=service_ms,
        parts=testing.latency_parts(connect_ms, outside_ms - back_ms, service_ms, back_ms),
        generator_cpu=0.1,
        round_trip_ms=ROUND_TRIPS_MS[where] * scatter.gauss(1, 0.005),
        received_bytes=completed * body,
        sent_segments=completed * 5,
        resent_segments=completed // 8 if lossy else completed // 500,
        slow_connections=3 if lossy else 0,
    )
    cpu_s = min(1.2, rps * 0.0003 * window_s / (GAMMA if where == "gamma" else 1))
    return testing.observation(
        cell, block=block, position=position, swarm=swarm, server_cpu_s=cpu_s, server_span_s=window_s, machine=where
    )
