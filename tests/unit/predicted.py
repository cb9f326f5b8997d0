"""Made-up runs of Gunicorn's gthread worker, whose cells are as a model of requests has them."""

from collections.abc import Sequence
from dataclasses import replace

from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.analysis.prediction.queueing import RequestModel, predict, stay_ms
from wsgilab.model import Cell, Comparison, Observation, Run, Server
from wsgilab.testing import observation, trial_report

TRUE = RequestModel(wait_ms=20.0, cpu_ms=2.0, spread=0.5, outside_ms=0.2, sharing="scattered")


def gthread(workers: int, threads: int) -> Server:
    return testing.server(
        f"gthread-{workers}x{threads}",
        command=("gunicorn", "--worker-class=gthread", f"--workers={workers}", f"--threads={threads}", "app:app"),
        slots=workers * threads,
        processes=workers,
        model="threads",
    )


def observed(server: Server, cell: Cell, block: int, truth: RequestModel = TRUE, pace: float = 1.0) -> Observation:
    """What a trial would find if the truth were as the model has it, at so many times its speed."""
    workers = server.processes or 1
    threads = (server.slots or workers) // workers
    size = {"workers": workers, "threads": threads, "cores": cell.cores, "users": cell.users, "rate": cell.rate}
    expected = predict(truth, **size)  # type: ignore[arg-type]
    rps, mean = expected.throughput_rps * pace, (expected.latency_mean_ms or 0.0) / pace
    service = truth.wait_ms + truth.cpu_ms
    if cell.users is not None:
        service = stay_ms(truth, workers=workers, threads=threads, cores=cell.cores, users=cell.users)
    service = min(service, mean - 0.2)
    parts = testing.latency_parts(connect=0.1, queue=mean - 0.2 - service, service=service, back=0.1)
    spread = replace(parts.service, p50=service * 0.9, p95=service * 2.0)
    return observation(
        cell,
        block=block,
        position=block,
        swarm=trial_report(
            throughput_rps=rps,
            completed=round(rps * 0.3),
            due=0 if cell.rate is None else round(rps * 0.3),
            latency_mean_ms=mean,
            latency_ms=dict.fromkeys(("p50", "p95", "p99", "max"), expected.p95_ms or 0.0),
            parts=replace(parts, service=spread),
        ),
        server_cpu_s=truth.cpu_ms / 1000 * rps,
        server_span_s=1.0,
    )


def recorded(*cells: tuple[Server, Cell], paces: Sequence[float] = (1.0,)) -> tuple[Run, Sequence[Observation]]:
    """A run of three blocks; `paces` has how many times as fast as the model each cell is, again and again."""
    servers = {server.name: server for server, _ in cells}
    run = testing.run(testing.experiment(*(cell for _, cell in cells)), *servers.values())
    return run, [
        observed(server, cell, block, pace=paces[place % len(paces)])
        for block in range(3)
        for place, (server, cell) in enumerate(cells)
    ]


def compared(*cells: tuple[Server, Cell], paces: Sequence[float] = (1.0,)) -> Comparison:
    """What such a run says."""
    return compare(*recorded(*cells, paces=paces))


def cell(server: Server, **changes: object) -> tuple[Server, Cell]:
    return server, testing.cell(server.name, **changes)


ONE, TWO = gthread(1, 8), gthread(2, 4)
GRID = [cell(server, users=users) for server in (ONE, TWO) for users in (4, 16, 32)]
