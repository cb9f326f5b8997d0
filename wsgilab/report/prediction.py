"""Predictions in words and tables: beside what was measured, and of what was not."""

import statistics
from collections.abc import Iterable, Sequence

from wsgilab.analysis.prediction.predictions import Forecast
from wsgilab.model import Comparison, Interval, Prediction, Run, ScalabilityLaw
from wsgilab.model.text import called, counted, number
from wsgilab.report import tables
from wsgilab.report.tables import Column, Table

_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 0, numeric=False),
    Column("requests/s", 0),
    Column("predicted", 0),
    Column("off", 0),
    Column("p95 ms", 0),
    Column("p95 predicted", 0),
    Column("p95 off", 0),
)
HOW = (
    "Each cell as the queueing model predicts it from the other cells of the same kind of server, without its own figures: how far "
    "predictions of what was not measured may be off."
)


def predicted(comparison: Comparison) -> Table | None:
    """Every cell that was predicted, beside what was measured; None where there is none."""
    if not comparison.predictions:
        return None
    return Table(
        title="Predicted and measured",
        columns=_COLUMNS,
        rows=tuple(_row(comparison.run, each) for each in comparison.predictions),
        notes=(HOW, *sentences(comparison), *(law(comparison.run, each) for each in comparison.laws)),
    )


def sentences(comparison: Comparison) -> Iterable[str]:
    """How far the predictions of a run are off, in one sentence; none without any."""
    if comparison.predictions:
        how = f"docs/predict.md and {called('lab.predict')}"
        yield f"Predicted from each other ({how}): {off(comparison.predictions)}."


def off(predictions: Sequence[Prediction]) -> str:
    """How far they are off at the median, and at most."""
    rps = [abs(each.throughput_error) for each in predictions]
    p95 = [abs(each.p95_error) for each in predictions if each.p95_error is not None]
    words = f"the throughput of {counted(len(rps), 'cell')} was off by {_share(rps)}"
    return f"{words}, the 95th percentile by {_share(p95)}" if p95 else words


def _share(errors: Sequence[float]) -> str:
    return f"{statistics.median(errors):.1%} at the median and {max(errors):.1%} at most"


def _row(run: Run, each: Prediction) -> tuple[str, ...]:
    return (
        each.cell.server,
        tables.conditions(run, each.cell),
        number(each.measured_rps),
        number(each.throughput_rps),
        f"{each.throughput_error:+.1%}",
        number(each.measured_p95_ms),
        tables.MISSING if each.p95_ms is None else number(each.p95_ms),
        tables.MISSING if each.p95_error is None else f"{each.p95_error:+.0%}",
    )


def law(run: Run, found: ScalabilityLaw) -> str:
    """The scalability law of some cells, in a sentence."""
    cell = found.cell
    fixed = cell.on if found.over == "users" else cell.load
    peak = "it does not fall again" if found.most_at is None else f"most at {found.most_at:.0f} {found.over}"
    return (
        f"Scalability law over {found.over}: {cell.server}, {tables.workload(run, cell.workload)}, {fixed}, connection: "
        f"{cell.connection}: contention {found.contention:.3f}, coherency {found.coherency:.5f}, {number(found.one_rps)} requests/s "
        f"of one; {peak}; off by {found.error:.1%} at the median of its own {found.points} cells."
    )


def forecast(run: Run, found: Forecast, laws: Sequence[ScalabilityLaw], seams: Iterable[str]) -> Iterable[str]:
    """What is expected of some conditions, line by line."""
    size, kind = found.size, found.kind
    slots = "unbounded slots" if size.threads is None else counted(size.threads, "slot")
    load = counted(size.users, "user") if size.users else f"{size.rate:g} requests/s, {kind.arrivals}"
    yield (
        f"Like {found.nearest.cell.server}, with {counted(size.workers, 'worker')} of {slots}: {tables.workload(run, kind.workload)}, {load}, {counted(size.cores, 'core')}, "
        f"connection: {kind.connection}"
    )
    yield f"  requests/s  {_interval(found.throughput_rps)}, bound by {found.bound_by}"
    if found.p95_ms is None:
        yield "  p95 ms      none: the rate is more than the server takes, so its queue grows without end"
    else:
        yield f"  p95 ms      {_interval(found.p95_ms)}"
    if (same := found.measured) is not None:
        p95 = "no p95" if same.p95_ms is None else f"a p95 of {number(same.p95_ms)} ms"
        yield (
            f"Measured under these very conditions ({same.cell.server}): {number(same.measured_rps)} requests/s, p95 "
            f"{number(same.measured_p95_ms)} ms; without that cell, {number(same.throughput_rps)} requests/s and {p95} were predicted."
        )
    yield f"Checked: {off(found.checked)}, each predicted from the others."
    names = {each.cell.server for each in found.checked}
    for each in laws:
        if each.cell.server in names and (each.cell.workload, each.cell.connection) == (kind.workload, kind.connection):
            yield law(run, each)
    yield from seams


def _interval(found: Interval) -> str:
    ends = tables.ends(found, number)
    return f"{number(found.median)} ({ends})"
