"""Throughput and latency, by users or by rate, for each workload."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import altair as alt

from wsgilab.model import Cell, CellFigures, CellResult, Comparison, Interval, by_conditions
from wsgilab.model.text import number
from wsgilab.report import tables
from wsgilab.report.charts.figure import (
    MOST_PANELS,
    Figure,
    Panel,
    figures_of,
    gated,
    kept,
    kept_rows,
    labels,
    place,
    slug,
    styles,
    telling,
    workloads,
)
from wsgilab.report.charts.marks import PADDING, Line, Point, Row, dots, lines, point, saying_rows, spelt
from wsgilab.report.charts.theme import ROW, SHAPES, NumberAxis, from_zero, name_rows
from wsgilab.report.tables import Column, Table

MOST_NAMED = 8
"""So many lines of a panel have a name and a colour; the others are grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """A figure of a cell that is drawn."""

    name: str
    title: str
    read: Callable[[CellFigures], Interval | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Measures that a figure shows: lines of each in a panel of its own, dots of all in one."""

    name: str
    unit: str
    measures: tuple[_Measure, ...]
    caption: str
    log: bool


def _percentile(name: str) -> _Measure:
    return _Measure(name=name, title=f"{name}, ms, log scale", read=lambda figures: figures.latency_blocks_ms.get(name))


THROUGHPUT = _Kind(
    name="throughput",
    unit="requests/s",
    measures=(_Measure(name="throughput", title="requests/s", read=lambda figures: figures.throughput_rps),),
    caption=(
        "Correct answers a second: the median of the blocks, and the interval that holds the true median. "
        "The axis begins at 0."
    ),
    log=False,
)
LATENCY = _Kind(
    name="latency",
    unit="latency, ms, log scale",
    measures=tuple(map(_percentile, ("p50", "p95", "p99"))),
    caption=(
        "As users saw it, waiting in the server's queue included: percentiles of each block, their median and its "
        "interval. The axis is logarithmic, and does not begin at 0."
    ),
    log=True,
)


def load(comparison: Comparison) -> Iterable[Figure]:
    """For each workload its throughput and its latencies."""
    for workload in workloads(comparison):
        results = [each for each in comparison.cells if each.cell.workload == workload and each.figures is not None]
        for kind in (THROUGHPUT, LATENCY):
            if any(measure.read(figures_of(each)) for each in results for measure in kind.measures):
                yield _figure(comparison, workload, results, kind)


def _figure(comparison: Comparison, workload: str, results: Sequence[CellResult], kind: _Kind) -> Figure:
    panels, most_grey = [], 0
    for of_lines, of_dots in _split(results):
        for measure in kind.measures:
            if courses := _courses(of_lines, measure):
                named = _named(comparison, of_lines, list(courses))
                panels.append(_lines(comparison, of_lines[0].cell, kind, measure, courses, named))
                most_grey = max(most_grey, len(courses) - len(named))
        panels += [_dots(each, kind) for each in of_dots]
    drawn, left_out = kept(panels, MOST_PANELS, "panels")
    caption = kind.caption
    if kind is THROUGHPUT and any(each.cell.rate is not None for each in results):
        caption += " Where requests come on a schedule, the dashed line is what was asked for."
    if most_grey:
        caption += " Named are the reference and the best under the most load; "
        caption += f"the {most_grey} other servers are grey, and their figures in the table."
    return Figure(
        name=f"{kind.name}-{slug(workload)}",
        section="load",
        workload=workload,
        title=f"{kind.name.capitalize()}: {tables.workload(comparison.run, workload)}",
        caption=caption + gated(results) + left_out,
        panels=tuple(drawn),
        table=_table(comparison, results, kind.measures),
    )


# --- which servers are lines, and which are dots


def _split(results: Sequence[CellResult]) -> Iterable[tuple[Sequence[CellResult], Sequence[Sequence[CellResult]]]]:
    """By cores, connection and manner of arrival, most telling first: the cells of servers with several loads, and
    for each load that a server without others has, all of its cells."""
    families: dict[Cell, list[CellResult]] = defaultdict(list)
    for each in sorted(results, key=lambda each: telling(each.cell)):
        families[_family(each.cell)].append(each)
    for family in families.values():
        loads = Counter(each.cell.server for each in family)
        several = [each for each in family if loads[each.cell.server] > 1]
        lone = {each.cell.conditions for each in family if loads[each.cell.server] == 1}
        yield several, [group for conditions, group in by_conditions(family).items() if conditions in lone]


def _family(cell: Cell) -> Cell:
    """A cell without server and load."""
    return replace(cell, server="", users=None if cell.users is None else 1, rate=None if cell.rate is None else 1.0)


def _amount(cell: Cell) -> float:
    """Users, or requests a second."""
    return float(cell.users or 0) if cell.rate is None else cell.rate


_Courses = Mapping[str, Mapping[float, Point]]
"""The points of each server by their load, from little to much."""


def _courses(results: Iterable[CellResult], measure: _Measure) -> _Courses:
    found: dict[str, dict[float, Point]] = defaultdict(dict)
    for each in sorted(results, key=lambda each: _amount(each.cell)):
        if (value := measure.read(figures_of(each))) is not None:
            found[each.cell.server][_amount(each.cell)] = point(value, hollow=bool(each.broken_gates))
    return found


def _named(comparison: Comparison, results: Sequence[CellResult], servers: Sequence[str]) -> frozenset[str]:
    """The servers that the legend names: the reference, then the best by rank under the most load."""
    most = max(_amount(each.cell) for each in results)
    ranks = {
        each.cell.server: each.rank.first for each in results if _amount(each.cell) == most and each.rank is not None
    }
    place_in_run, reference = styles(comparison), comparison.run.experiment.reference
    ordered = sorted(
        servers, key=lambda name: (name != reference, ranks.get(name, len(servers) + 1), place_in_run[name])
    )
    return frozenset(ordered[:MOST_NAMED])


# --- charts


def _lines(
    comparison: Comparison, cell: Cell, kind: _Kind, measure: _Measure, courses: _Courses, named: frozenset[str]
) -> Panel:
    style = styles(comparison)
    shown = [
        Line(name=name, style=style[server], points=courses[server], named=server in named)
        for server, name in labels(sorted(courses, key=style.__getitem__)).items()
    ]
    amounts = sorted({amount for course in courses.values() for amount in course})
    asked = amounts if kind is THROUGHPUT and cell.rate is not None else []
    by, arrivals, title = "users", "", "users, log scale"
    if cell.rate is not None:
        by, arrivals, title = "rate", f", {cell.arrivals} arrivals", "requests/s on schedule, log scale"
    x = NumberAxis(title=title, low=amounts[0], high=amounts[-1], log=True, ticks=amounts, padding=PADDING)
    y = _axis(measure.title, kind, (each for course in courses.values() for each in course.values()), asked)
    return Panel(
        title=(f"{measure.name} by {by}", place(cell) + arrivals),
        chart=partial(lines, shown, x, y, [(amount, amount) for amount in asked]),
    )


def _dots(results: Sequence[CellResult], kind: _Kind) -> Panel:
    drawn, more = kept_rows(results)
    names = labels(each.cell.server for each in drawn)
    rows, points, said = [], [], defaultdict[str, list[str]](list)
    for each in drawn:
        for measure in kind.measures:
            if (value := measure.read(figures_of(each))) is not None:
                server = names[each.cell.server]
                points.append(point(value, hollow=bool(each.broken_gates)))
                rows.append({"server": server, "series": measure.name, **points[-1]})
                said[server].append(spelt(measure.title.removesuffix(", log scale"), points[-1]))
    shapes = dict(zip((measure.name for measure in kind.measures), SHAPES, strict=False))
    axis = _axis(kind.unit, kind, points)
    return Panel(
        title=(drawn[0].cell.load, place(drawn[0].cell) + more),
        chart=partial(_dotted, names.values(), rows, axis, shapes, said),
    )


def _dotted(
    names: Iterable[str],
    points: Sequence[Row],
    axis: NumberAxis,
    shapes: Mapping[str, str],
    said: Mapping[str, Sequence[str]],
) -> alt.TopLevelMixin:
    rows = name_rows(names)
    return alt.layer(*dots(points, axis, rows, shapes), saying_rows(said, axis, rows), height=alt.Step(ROW))


def _axis(title: str, kind: _Kind, points: Iterable[Point], asked: Sequence[float] = ()) -> NumberAxis:
    """From 0, or from a little below the least where it is logarithmic; `asked` has to fit in, too."""
    reach = [each[end] for each in points for end in ("low", "high")] + list(asked)
    if not kind.log:
        return from_zero(title, reach)
    above = [end for end in reach if end > 0] or [1.0]
    return NumberAxis(title=title, low=min(above) / 1.25, high=max(above) * 1.25, log=True)


# --- table


def _table(comparison: Comparison, results: Sequence[CellResult], measures: Sequence[_Measure]) -> Table:
    """The medians and intervals of the measures, for each cell."""
    columns, rows = [Column("server", 0, numeric=False), Column("conditions", 1, numeric=False)], []
    for measure in measures:
        heading = measure.title.removesuffix(", log scale").replace(",", "")
        columns += [Column(heading, 0), Column(f"{heading}, interval", 0)]
    for each in results:
        row = [each.cell.server, tables.describe(comparison, each.cell)]
        for measure in measures:
            value = measure.read(figures_of(each))
            row.append(tables.MISSING if value is None else number(value.median))
            row.append(tables.MISSING if value is None else tables.ends(value, number))
        rows.append(tuple(row))
    return Table(title="Figures of the charts", columns=tuple(columns), rows=tuple(rows))
