"""Configurations that cannot be among the best of a race, by what one request takes of a server that has no other: none of these is worth
any of its time. Pure.

The queueing model says what each may answer at most. It has been off by less than FAR wherever it was held against what was measured
(docs/predict.md), and most configurations that are too small are so by far: 32 users whose requests wait for 50 ms fill 32 slots, and a
server of four has an eighth of that.
"""

from collections.abc import Mapping

from wsgilab.analysis.prediction.anchors import expected, size_of
from wsgilab.analysis.prediction.queueing import Expected, RequestModel
from wsgilab.model import Cell, Run
from wsgilab.model.text import number

FAR = 0.5
"""With less than this share of what the best may answer, a configuration cannot be the best."""


def hopeless(run: Run, service_ms: float, cpu_ms: float) -> Mapping[str, str]:
    """Those of a race that the model leaves out, and why: server -> reason. The reference stays.

    `service_ms`: how long a request is in the application; `cpu_ms`: how much of that is CPU time.
    """
    found = {
        cell: _expected(run, cell, service_ms, cpu_ms)
        for cell in run.experiment.cells
        # Of one that starts a process for each request nobody knows.
        if run.servers[cell.server].processes is not None
    }
    if not found:
        return {}
    best = max(found, key=lambda cell: found[cell].throughput_rps)
    most = found[best].throughput_rps
    return {
        cell.server: _why(each, service_ms, cpu_ms, f"where {best.server} may have {number(most)} requests/s")
        for cell, each in found.items()
        if each.throughput_rps < FAR * most and cell.server != run.experiment.reference
    }


def _expected(run: Run, cell: Cell, service_ms: float, cpu_ms: float) -> Expected:
    model = RequestModel(
        wait_ms=max(0.0, service_ms - cpu_ms), cpu_ms=cpu_ms, spread=0.0, has_gil=run.gil.get(cell.server, True)
    )
    return expected(model, size_of(run.servers[cell.server], cell), cell.arrivals)


def _why(expected: Expected, service_ms: float, cpu_ms: float, beside: str) -> str:
    what = (
        f"too few slots for requests of {number(service_ms)} ms"
        if expected.bound_by == "slots"
        else f"too few processes for requests that compute for {number(cpu_ms)} ms"
    )
    return f"{what}, by the queueing model, {beside}: {number(expected.throughput_rps)} requests/s"
