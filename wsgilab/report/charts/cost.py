"""What throughput costs: CPU time a request, and memory; and which servers nothing else beats in both."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import altair as alt

from wsgilab.model import Cell, CellFigures, CellResult, Comparison, Conditions, Interval, by_conditions
from wsgilab.model.text import number
from wsgilab.report import tables
from wsgilab.report.charts.figure import (
    MOST_PANELS,
    Figure,
    Panel,
    ends,
    figures_of,
    kept,
    labels,
    place,
    says,
    styles,
    telling,
)
from wsgilab.report.charts.marks import SAYS, data, point, server_look, spelt
from wsgilab.report.charts.theme import HEIGHT, INK, from_zero
from wsgilab.report.tables import Column, Table

MOST_NAMED = 14
"""With more servers, the legend names only the reference and those on the frontier."""

_FEWEST = 2
"""Servers, for there to be a choice."""

_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 1, numeric=False),
    Column("requests/s", 0),
    Column("CPU ms a request", 0),
    Column("frontier by CPU", 0, numeric=False),
    Column("MB", 0),
    Column("frontier by memory", 0, numeric=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """What is to be little."""

    name: str
    title: str
    read: Callable[[CellFigures], Interval | None]


def _memory(figures: CellFigures) -> Interval | None:
    return None if figures.resident_mb is None else Interval(median=figures.resident_mb, low=None, high=None)


CPU = _Cost(name="CPU time", title="CPU ms a request", read=lambda figures: figures.cpu_ms_per_request)
MEMORY = _Cost(name="memory", title="memory of the whole server, MB", read=_memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """A server's throughput, and what it costs."""

    cell: Cell
    rps: Interval
    cost: Interval
    best: bool
    """On the frontier."""


def frontier(points: Sequence[tuple[float, float]]) -> Sequence[bool]:
    """Whether no other dominates it, for each (throughput, cost).

    One dominates another that has no more throughput and no less cost, and is not its equal in both: the Pareto
    frontier. Points that are equal are both on it, or neither is.
    """
    return [
        not any(other[0] >= point[0] and other[1] <= point[1] and other != point for other in points)
        for point in points
    ]


def cost(comparison: Comparison) -> Iterable[Figure]:
    """A pair of panels for the most load of each workload, number of cores and connection mode."""
    groups = [each for each in _groups(comparison) if len(each) >= _FEWEST]
    drawable = [(of, points) for each in groups for of in (CPU, MEMORY) if len(points := _points(each, of)) >= _FEWEST]
    if not drawable:
        return
    drawn, left_out = kept(drawable, MOST_PANELS, "panels", where="the table below")
    yield Figure(
        name="cost",
        section="cost",
        title="Cost: CPU time and memory against throughput",
        caption=(
            "To the right is more throughput, down is less cost. The line connects the servers that no other beats in both, "
            "by the medians; bars are intervals, and where they overlap the order is not settled. Memory is the most that "
            f"any block saw. Under the most users of each workload; cells with a broken gate are left out.{left_out}"
        ),
        panels=tuple(_panel(comparison, of, points) for of, points in drawn),
        table=Table(
            title="Figures of the charts",
            columns=_COLUMNS,
            rows=tuple(row for each in groups for row in _rows(comparison, each)),
        ),
    )


def _groups(comparison: Comparison) -> Sequence[Sequence[CellResult]]:
    """Sound cells under the most users of each workload, cores and connection. At a fixed rate throughput is given."""
    sound = [
        each
        for each in comparison.cells
        if each.figures is not None and not each.broken_gates and each.cell.users is not None
    ]
    conditions: dict[tuple[str, int, str], Conditions] = {}
    for each in sorted(sound, key=lambda each: telling(each.cell)):
        conditions.setdefault((each.cell.workload, each.cell.cores, each.cell.connection), each.cell.conditions)
    return [group for chosen, group in by_conditions(sound).items() if chosen in conditions.values()]


def _points(results: Sequence[CellResult], of: _Cost) -> Sequence[_Point]:
    """Of the cells whose cost was read."""
    known = [(each, value) for each in results if (value := of.read(figures_of(each))) is not None]
    best = frontier([(figures_of(each).throughput_rps.median, value.median) for each, value in known])
    return [
        _Point(cell=each.cell, rps=figures_of(each).throughput_rps, cost=value, best=on_it)
        for (each, value), on_it in zip(known, best, strict=True)
    ]


def _panel(comparison: Comparison, of: _Cost, points: Sequence[_Point]) -> Panel:
    cell, style = points[0].cell, styles(comparison)
    names = labels(each.cell.server for each in points)
    # The legend has the names from the top of the chart down.
    named = [
        names[each.cell.server]
        for each in sorted(points, key=lambda each: -each.cost.median)
        if len(points) <= MOST_NAMED or each.best or each.cell.server == comparison.run.experiment.reference
    ]
    unnamed = f"{len(points) - len(named)} of {len(points)} without a name; see the table"
    title = (f"{of.name}: {tables.workload(comparison.run, cell.workload)}", f"{cell.load}, {place(cell)}")
    return Panel(
        title=(*title, unnamed) if len(named) < len(points) else title,
        chart=partial(_chart, of, points, {label: style[server] for server, label in names.items()}, named),
    )


def _chart(of: _Cost, points: Sequence[_Point], style: Mapping[str, int], named: Sequence[str]) -> alt.TopLevelMixin:
    """A point with its intervals for each server, and a line through those on the frontier.

    `style` has the style of each label, in the order of `points`; the legend has those in `named`.
    """
    rows, best, look = [], [], server_look(style, named)
    for each, label in zip(points, style, strict=True):
        (left, right), (low, high) = ends(each.rps), ends(each.cost)
        across = {"rps": each.rps.median, "left": left, "right": right}
        upward = {"cost": each.cost.median, "low": low, "high": high}
        said = says(label, spelt("requests/s", point(each.rps)), spelt(of.title, point(each.cost)))
        rows.append({"server": label, **across, **upward, "size": 80 if each.best else 36, "says": said})
        best += rows[-1:] * each.best
    x = from_zero("requests/s", (ends(each.rps)[1] for each in points))
    y = from_zero(of.title, (ends(each.cost)[1] for each in points))
    base = alt.Chart(data(rows))
    bars = base.mark_rule(strokeWidth=2, opacity=0.6).encode(stroke=look["stroke"])
    frontier_line = alt.Chart(data(best)).mark_line(color=INK, strokeWidth=1.25, strokeDash=[4, 3], opacity=0.7)
    return alt.layer(
        frontier_line.encode(x=x.x("rps"), y=y.y("cost")),
        bars.encode(x=x.x("left"), x2=alt.X2("right:Q"), y=y.y("cost")),
        bars.encode(x=x.x("rps"), y=y.y("low"), y2=alt.Y2("high:Q")),
        base.mark_point(strokeWidth=1.5, opacity=1, fillOpacity=1, aria=True).encode(
            x=x.x("rps"), y=y.y("cost"), size=alt.Size("size:Q", scale=None), description=SAYS, **look
        ),
        height=HEIGHT,
    )


def _rows(comparison: Comparison, results: Sequence[CellResult]) -> Iterable[tuple[str, ...]]:
    by_cpu = {each.cell: each for each in _points(results, CPU)}
    by_memory = {each.cell: each for each in _points(results, MEMORY)}
    for each in results:
        yield (
            each.cell.server,
            tables.describe(comparison, each.cell),
            number(figures_of(each).throughput_rps.median),
            *_spelt(by_cpu.get(each.cell), "{:.2f}"),
            *_spelt(by_memory.get(each.cell), "{:.0f}"),
        )


def _spelt(point: _Point | None, form: str) -> tuple[str, str]:
    """The cost, and whether it is on the frontier."""
    if point is None:
        return tables.MISSING, tables.MISSING
    return form.format(point.cost.median), "yes" if point.best else "no"
