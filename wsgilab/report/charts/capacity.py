"""Latency over the rate of requests, with the limit, and the capacity at which it breaks."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import cast

import altair as alt

from wsgilab.model import CapacityGroup, CapacityOutcome, CapacityWindow, Comparison, Interval, ServerCapacity
from wsgilab.model.text import number
from wsgilab.report import capacity as words
from wsgilab.report import tables
from wsgilab.report.charts.figure import MOST_PANELS, Figure, Panel, ends, kept, labels, place, slug, styles
from wsgilab.report.charts.marks import PADDING, Line, Point, data, lines, point
from wsgilab.report.charts.theme import HEIGHT, INK, NumberAxis
from wsgilab.report.tables import Column, Table

_TOGETHER = 1.04
"""Windows whose rates are within this factor are one point."""
_ROOM = 1.15
"""Between what is drawn and the ends of an axis."""

_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 1, numeric=False),
    Column("requests/s", 0),
    Column("block", 2),
    Column("p50 ms", 0),
    Column("p95 ms", 0),
    Column("p99 ms", 0),
    Column("requests", 1),
    Column("beyond the limit", 0),
    Column("failed", 1),
    Column("limit", 0, numeric=False),
    Column("counts", 1, numeric=False),
)


def capacity(comparison: Comparison) -> Iterable[Figure]:
    """For each of the conditions: p95 of all servers over the rate, and a panel with three percentiles for each server."""
    found = comparison.capacity
    if found is None:
        return
    for group in found.groups:
        servers = [each for each in found.servers if each.cell in group.cells and each.tried]
        if servers:
            yield _figure(comparison, found, group, servers)


def _figure(
    comparison: Comparison, found: CapacityOutcome, group: CapacityGroup, servers: Sequence[ServerCapacity]
) -> Figure:
    cell = group.cells[0]
    panels = [_together(comparison, found, servers)] if len(servers) > 1 else []
    panels += [_of_server(found, each) for each in servers]
    drawn, left_out = kept(panels, MOST_PANELS, "panels", where="the table below")
    return Figure(
        name=f"capacity-{slug(cell.workload)}",
        section="capacity",
        title=f"Latency over the rate: {tables.workload(comparison.run, cell.workload)}, {place(cell)}",
        caption=(
            "Each point is of the windows at about the same rate: their median, and the least and the most of them. The dashed line "
            "is the limit on p95; the upright line is the capacity, in the grey of its interval. Both axes are "
            f"logarithmic.{left_out}"
        ),
        panels=tuple(drawn),
        table=Table(
            title="Windows of the charts",
            columns=_COLUMNS,
            rows=tuple(_row(comparison, each, window) for each in servers for window in each.tried),
        ),
    )


def _together(comparison: Comparison, found: CapacityOutcome, servers: Sequence[ServerCapacity]) -> Panel:
    style, names = styles(comparison), labels(each.cell.server for each in servers)
    shown = [
        Line(name=names[each.cell.server], style=style[each.cell.server], points=_points(each.tried, "p95_ms"))
        for each in servers
    ]
    return Panel(title=("p95 of all servers", "latency by rate"), chart=partial(_chart, shown, found.p95_ms, None))


def _of_server(found: CapacityOutcome, each: ServerCapacity) -> Panel:
    shown = [
        Line(name=name, style=style, points=_points(each.tried, f"{name}_ms"))
        for style, name in enumerate(("p50", "p95", "p99"))
    ]
    rps = each.rps if each.status == "found" else None
    title = (
        "no capacity" if each.rps is None else f"capacity {'at least ' if rps is None else ''}{number(each.rps.median)}"
    )
    return Panel(
        title=(*labels([each.cell.server]).values(), f"{title} requests/s" if each.rps is not None else title),
        chart=partial(_chart, shown, found.p95_ms, rps),
    )


def _points(windows: Iterable[CapacityWindow], name: str) -> Mapping[float, Point]:
    """A point for each group of windows at about the same rate."""
    groups: list[list[CapacityWindow]] = []
    for each in windows:
        if groups and each.rate <= _TOGETHER * groups[-1][0].rate:
            groups[-1].append(each)
        else:
            groups.append([each])
    found = {}
    for group in groups:
        values = [getattr(each, name) for each in group]
        rate = math.exp(statistics.fmean(math.log(each.rate) for each in group))
        found[rate] = point(Interval(median=statistics.median(values), low=min(values), high=max(values)))
    return found


def _chart(shown: Sequence[Line], limit_ms: float, rps: Interval | None) -> alt.TopLevelMixin:
    rates = [rate for line in shown for rate in line.points]
    reach = [*rates, *(ends(rps) if rps is not None else ())]
    times = [each[end] for line in shown for each in line.points.values() for end in ("low", "high")] + [limit_ms]
    x = NumberAxis(title="requests/s, log scale", low=min(reach), high=max(reach) * 1.001, log=True, padding=PADDING)
    y = NumberAxis(title="latency, ms, log scale", low=max(1e-3, min(times)) / _ROOM, high=max(times) * _ROOM, log=True)
    drawn = cast("alt.LayerChart", lines(shown, x, y, [(x.low, limit_ms), (x.high, limit_ms)]))
    if rps is None:
        return drawn
    low, high = ends(rps)
    band = alt.Chart(data([{"low": low, "high": high}])).mark_rect(color=INK, opacity=0.14)
    knee = alt.Chart(data([{"at": rps.median}])).mark_rule(color=INK, opacity=0.6, strokeWidth=1.5)
    return alt.layer(band.encode(x=x.x("low"), x2=alt.X2("high:Q")), knee.encode(x=x.x("at")), drawn, height=HEIGHT)


def _row(comparison: Comparison, each: ServerCapacity, window: CapacityWindow) -> tuple[str, ...]:
    return (
        each.cell.server,
        words.conditions(comparison, each),
        f"{window.rate:g}",
        str(window.block),
        *(number(value) for value in (window.p50_ms, window.p95_ms, window.p99_ms)),
        str(window.requests),
        f"{window.beyond / window.requests:.1%}",
        str(window.failures),
        "held" if window.holds else "broken",
        "yes" if window.counts else "no",
    )
