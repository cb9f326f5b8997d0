"""What a measured cell says of its requests: the model with which others of its kind are predicted. Pure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis.prediction.queueing import Expected, RequestModel, Sharing, predict, stay_ms
from wsgilab.model import Arrivals, Cell, CellResult, Connection, ExecutionModel, Interval, Run, Server

_SIZES = re.compile(r"^(?:--(?:workers|threads|processes|blocking-threads)|-w)(?P<value>=.*)?$")
"""The words of a command that say how many workers and threads there are."""
MOST_CELLS = 300
"""Of one kind so many take part, the first of them."""
MOST_IN_FLIGHT = 5000
"""A model counts the requests at a server one by one. Cells with more of them have none."""
ROUNDS = 4
"""So often is the wait corrected by what the model makes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A load, and the server that it meets."""

    workers: int
    threads: int | None
    """Of each worker; None: unbounded."""
    cores: int
    users: int | None = None
    rate: float | None = None

    @property
    def load(self) -> float:
        return self.users or self.rate or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What cells must have in common to predict each other."""

    command: tuple[str, ...]
    """Of the server, without how many workers and threads it has."""
    stack: str
    execution: ExecutionModel | None
    environment: tuple[tuple[str, str], ...]
    workload: str
    connection: Connection
    arrivals: Arrivals | None
    """None with users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A measured cell, and the model that follows from it."""

    cell: Cell
    size: Size
    model: RequestModel
    throughput_rps: Interval
    p95_ms: Interval


def kinds(run: Run, results: Iterable[CellResult]) -> Mapping[Kind, Sequence[Anchor]]:
    """The cells that may predict each other, by what they have in common. Those with a broken gate take no part."""
    found: dict[Kind, list[Anchor]] = {}
    for result in results:
        if (anchor := anchored(run, result)) is not None:
            found.setdefault(kind(run.servers[result.cell.server], result.cell), []).append(anchor)
    return {kind: anchors[:MOST_CELLS] for kind, anchors in found.items()}


def kind(server: Server, cell: Cell) -> Kind:
    """What a cell must have in common with others."""
    words: list[str] = []
    is_value = False
    for word in server.command:
        matched = _SIZES.match(word)
        if matched is None and not is_value:
            words.append(word)
        is_value = matched is not None and matched["value"] is None
    return Kind(
        command=tuple(words),
        stack=server.stack,
        execution=server.model,
        environment=tuple(sorted(server.environment.items())),
        workload=cell.workload,
        connection=cell.connection,
        arrivals=cell.arrivals,
    )


def anchored(run: Run, result: CellResult) -> Anchor | None:
    """A cell with its model; None where its figures do not suffice, or a gate is broken."""
    server, figures = run.servers[result.cell.server], result.figures
    if figures is None or result.broken_gates or not server.is_started:
        return None
    if result.cell.circumstances is not None:
        # The model knows nothing of these.
        return None
    if server.processes is None:
        # Each request starts one of its own, which costs more than the request.
        return None
    p95 = figures.latency_blocks_ms.get("p95")
    if figures.parts is None or figures.cpu_ms_per_request is None or p95 is None:
        return None
    if min(figures.throughput_rps.median, p95.median, figures.parts.latency_mean) <= 0:
        return None
    size = size_of(server, result.cell)
    if (size.users or (size.rate or 0.0) * figures.parts.latency_mean / 1000) > MOST_IN_FLIGHT:
        return None
    return Anchor(
        cell=result.cell,
        size=size,
        model=request_model(run, result, size),
        throughput_rps=figures.throughput_rps,
        p95_ms=p95,
    )


def size_of(server: Server, cell: Cell) -> Size:
    """The size of a cell, whose server has a number of processes."""
    workers = server.processes or 1
    threads = None if server.slots is None else max(1, server.slots // workers)
    return Size(workers=workers, threads=threads, cores=cell.cores, users=cell.users, rate=cell.rate)


def request_model(run: Run, result: CellResult, size: Size) -> RequestModel:
    """What the requests of a measured cell ask of its server. It has figures with parts and CPU time.

    CPU time a request is measured, and so is the time inside the application: what of that is neither computing nor waiting for a
    core is the wait. The factors make the model say of this very cell what was measured.
    """
    server, cell, figures = run.servers[result.cell.server], result.cell, result.figures
    if figures is None or figures.parts is None or figures.cpu_ms_per_request is None:
        raise ValueError("a cell without parts of its latency, or without CPU time, has no model")
    parts = figures.parts
    between_ms = 0.0 if cell.users is None else cell.users / figures.throughput_rps.median * 1000
    model = RequestModel(
        wait_ms=parts.service.mean,
        cpu_ms=figures.cpu_ms_per_request.median,
        spread=_spread(parts.service.p50, parts.service.p95),
        outside_ms=parts.connect.mean + parts.back.mean,
        pause_ms=max(0.0, between_ms - parts.latency_mean),
        has_gil=run.gil.get(server.name, True),
        sharing=_sharing(server, cell.connection),
    )
    model = _waiting(model, size, parts.service.mean)
    found = expected(model, size, cell.arrivals)
    p95 = figures.latency_blocks_ms["p95"].median
    return replace(
        model,
        throughput_factor=1.0 if cell.users is None else figures.throughput_rps.median / found.throughput_rps,
        p95_factor=p95 / found.p95_ms if found.p95_ms else 1.0,
    )


def _spread(p50: float, p95: float) -> float:
    """Of a lognormal distribution with such percentiles; that of the exponential one at most, as what is more is a few requests."""
    deviation = math.log(max(p95, p50, 1e-9) / max(p50, 1e-9)) / 1.645
    return min(1.0, math.sqrt(math.expm1(deviation**2)))


def _sharing(server: Server, connection: Connection) -> Sharing:
    """Gunicorn's threaded and cooperative workers accept connections before they have a slot for them, and so does each worker
    with a socket of its own; others were found to take what the next free slot takes."""
    accepts = server.stack.startswith("gunicorn") and server.model in ("threads", "coroutines")
    if accepts and connection == "keep-alive":
        return "pinned"
    return "scattered" if accepts or "--reuse-port" in server.command else "shared"


def _waiting(model: RequestModel, size: Size, service_ms: float) -> RequestModel:
    """The model with the wait with which a request is as long in a slot as it was measured to be."""
    model = replace(model, wait_ms=max(0.0, service_ms - model.cpu_ms))
    if size.users is None:
        return model
    for _ in range(ROUNDS):
        stay = stay_ms(model, workers=size.workers, threads=size.threads, cores=size.cores, users=size.users)
        model = replace(model, wait_ms=max(0.0, model.wait_ms + service_ms - stay))
    return model


def expected(model: RequestModel, size: Size, arrivals: Arrivals | None) -> Expected:
    """What the model lets expect of a size; `arrivals` are None with users."""
    return predict(
        model,
        workers=size.workers,
        threads=size.threads,
        cores=size.cores,
        users=size.users,
        rate=size.rate,
        arrivals=arrivals or "poisson",
    )
