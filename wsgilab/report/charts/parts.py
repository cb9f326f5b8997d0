"""What latencies consist of: where requests spend their time."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import altair as alt

from wsgilab.model import CellResult, Comparison, LatencyParts, by_conditions
from wsgilab.model.text import number
from wsgilab.report import tables
from wsgilab.report.charts.figure import (
    MOST_PANELS,
    Figure,
    Panel,
    figures_of,
    kept,
    kept_rows,
    labels,
    place,
    slug,
    telling,
    workloads,
)
from wsgilab.report.charts.marks import Row, data, saying_rows
from wsgilab.report.charts.theme import COLOURS, ROW, from_zero, name_rows

_BAR = 12
"""Pixels, of a row's."""

_PALE = 0.35
"""The opacity of what must not be compared: outlines of parts without length would look like parts."""

_PARTS = ("connect", "queue", "service", "back")
_COLOURS = (COLOURS[6], COLOURS[1], COLOURS[0], COLOURS[4])


def parts(comparison: Comparison) -> Iterable[Figure]:
    """For each workload the parts of the mean latency of each server; one panel for each of the conditions."""
    for workload in workloads(comparison):
        table = tables.parts(comparison, workload)
        if table is None:
            continue
        results = [each for each in comparison.cells if each.cell.workload == workload and _of(each) is not None]
        groups = list(by_conditions(sorted(results, key=lambda each: telling(each.cell))).values())
        pale = " Pale: not to be compared, see the warnings." if any(each.broken_gates for each in results) else ""
        drawn, left_out = kept(groups, MOST_PANELS, "panels", where="the table below")
        yield Figure(
            name=f"parts-{slug(workload)}",
            section="load",
            workload=workload,
            title=f"{table.title}: {tables.workload(comparison.run, workload)}",
            caption=f"{tables.PARTS}{pale}{left_out}",
            panels=tuple(map(_panel, drawn)),
            table=table,
        )


def _of(result: CellResult) -> LatencyParts | None:
    return None if result.figures is None else result.figures.parts


def _panel(results: Sequence[CellResult]) -> Panel:
    drawn, more = kept_rows(results)
    cell = drawn[0].cell
    names = labels(each.cell.server for each in drawn)
    rows = {names[each.cell.server]: each for each in drawn}
    return Panel(title=(cell.load, place(cell) + more), chart=partial(_chart, rows))


def of_server(comparison: Comparison, server: str) -> Panel | None:
    """The parts of one server's mean latency, under each of the conditions; None where they were not measured."""
    of = [each for each in comparison.cells if each.cell.server == server and _of(each) is not None]
    if not of:
        return None
    drawn, more = kept_rows(of)
    names = labels(tables.brief(comparison, each.cell) for each in drawn)
    rows = dict(zip(names.values(), drawn, strict=True))
    return Panel(title=(server, *filter(None, [more.strip()])), chart=partial(_chart, rows, columns=2), server=server)


def _chart(drawn: Mapping[str, CellResult], columns: int = len(_PARTS)) -> alt.TopLevelMixin:
    """A bar for each part, one after the other, and their sum; `drawn` by the name of the row. The legend has so many columns."""
    bars: list[Row] = []
    sums: list[Row] = []
    said: dict[str, Sequence[str]] = {}
    for name, each in drawn.items():
        found, begin = _of(each), 0.0
        assert found is not None, "only cells with parts are drawn"
        for part in _PARTS:
            end = begin + getattr(found, part).mean
            shade = _PALE if each.broken_gates else 1
            bars.append({"server": name, "part": part, "begin": begin, "end": end, "fill": shade})
            begin = end
        sums.append({"server": name, "end": begin, "text": number(found.latency_mean)})
        said[name] = (
            f"queue {number(found.queue.mean)} ms, service {number(found.service.mean)} ms",
            f"connect {number(found.connect.mean)} ms, back {number(found.back.mean)} ms",
            f"in all {number(found.latency_mean)} ms on average",
        )
    longest = max(found.latency_mean for each in drawn.values() if (found := figures_of(each).parts) is not None)
    axis, rows = from_zero("mean latency, ms", [longest]), name_rows(drawn)
    colours = {"domain": list(_PARTS), "range": list(_COLOURS)}
    legend = {"orient": "top", "columns": columns}
    return alt.layer(
        alt.Chart(data(bars))
        .mark_bar(height=_BAR)
        .encode(
            x=axis.x("begin"),
            x2=alt.X2("end:Q"),
            y=rows,
            fill=alt.Fill("part:N", scale=colours, legend=legend),
            fillOpacity=alt.FillOpacity("fill:Q", scale=None),
        ),
        alt.Chart(data(sums)).mark_text(align="left", dx=6).encode(x=axis.x("end"), y=rows, text=alt.Text("text:N")),
        saying_rows(said, axis, rows),
        height=alt.Step(ROW),
    )
