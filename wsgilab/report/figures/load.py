"""Throughput and latency, by users or by rate, for each workload."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from wsgilab.model import Cell, CellFigures, CellResult, Comparison, Interval
from wsgilab.model.text import number
from wsgilab.report import tables
from wsgilab.report.figures.values import (
    MOST_PANELS,
    MOST_ROWS,
    Axis,
    Figure,
    Line,
    Lines,
    Mark,
    Panel,
    Rows,
    gated,
    kept,
    place,
    short,
    slug,
    styles,
    telling,
    workload_words,
    workloads,
)
from wsgilab.report.tables import Column, Table

MOST_LABELLED = 8
"""So many lines of a panel have a name and a colour; the others are grey."""

PERCENTILES = ("p50", "p95", "p99")

_NAME = Column("server", 0, numeric=False)
_WHERE = Column("conditions", 1, numeric=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """A figure of a cell that is drawn."""

    name: str
    title: str
    log: bool
    read: Callable[[CellFigures], Interval | None]


THROUGHPUT = _Measure(name="throughput", title="requests/s", log=False, read=lambda figures: figures.throughput_rps)


def _latency(name: str) -> _Measure:
    return _Measure(
        name=name, title=f"{name}, ms, log scale", log=True, read=lambda figures: figures.latency_blocks_ms.get(name)
    )


LATENCIES = tuple(map(_latency, PERCENTILES))


def load(comparison: Comparison) -> Iterable[Figure]:
    """For each workload its throughput and its latencies."""
    for workload in workloads(comparison):
        results = [each for each in comparison.cells if each.cell.workload == workload and each.figures is not None]
        if results:
            yield _throughput(comparison, workload, results)
            if any(measure.read(_figures(each)) for each in results for measure in LATENCIES):
                yield _latencies(comparison, workload, results)


def _throughput(comparison: Comparison, workload: str, results: Sequence[CellResult]) -> Figure:
    panels = _panels(comparison, results, "requests/s", (THROUGHPUT,))
    drawn, left_out = kept(panels, MOST_PANELS, "panels")
    return Figure(
        name=f"throughput-{slug(workload)}",
        section="load",
        workload=workload,
        title=f"Throughput: {workload_words(comparison, workload)}",
        caption=(
            "Correct answers a second: the median of the blocks, and the interval that holds the true median. "
            f"The axis begins at 0.{_rate_words(results)}{_grey(drawn)}{gated(results)}{left_out}"
        ),
        panels=tuple(drawn),
        table=_table(comparison, results, (THROUGHPUT,)),
    )


def _latencies(comparison: Comparison, workload: str, results: Sequence[CellResult]) -> Figure:
    panels = _panels(comparison, results, "latency, ms, log scale", LATENCIES)
    drawn, left_out = kept(panels, MOST_PANELS, "panels")
    return Figure(
        name=f"latency-{slug(workload)}",
        section="load",
        workload=workload,
        title=f"Latency: {workload_words(comparison, workload)}",
        caption=(
            "As users saw it, waiting in the server's queue included: percentiles of each block, their median and its "
            f"interval. The axis is logarithmic, and does not begin at 0.{_grey(drawn)}{gated(results)}{left_out}"
        ),
        panels=tuple(drawn),
        table=_table(comparison, results, LATENCIES),
    )


def _panels(
    comparison: Comparison, results: Sequence[CellResult], unit: str, measures: Sequence[_Measure]
) -> Sequence[Panel]:
    """For each measure its lines; of what has dots, all measures in one."""
    return [
        panel
        for lines, dots in _split(results)
        for panel in (
            *(panel for measure in measures for panel in _lines(comparison, lines, measure)),
            *(_dots(each, unit, measures) for each in dots),
        )
    ]


# --- which servers are lines, and which are dots


def _split(results: Sequence[CellResult]) -> Iterable[tuple[Sequence[CellResult], Sequence[Sequence[CellResult]]]]:
    """By cores, connection and manner of arrival, most telling first: the cells of servers with several loads, and
    for each load that a server without others has, all of its cells."""
    families: dict[Cell, list[CellResult]] = defaultdict(list)
    for each in sorted(results, key=lambda each: telling(each.cell)):
        families[_family(each.cell)].append(each)
    for family in families.values():
        loads = Counter(each.cell.server for each in family)
        lines = [each for each in family if loads[each.cell.server] > 1]
        lone = [each.cell.conditions for each in family if loads[each.cell.server] == 1]
        yield lines, [[each for each in family if each.cell.conditions == load] for load in dict.fromkeys(lone)]


def _family(cell: Cell) -> Cell:
    """A cell without server and load."""
    return replace(cell, server="", users=None if cell.users is None else 1, rate=None if cell.rate is None else 1.0)


def _dots(results: Sequence[CellResult], title: str, measures: Sequence[_Measure]) -> Panel:
    drawn = results[:MOST_ROWS]
    marks = [
        Mark(
            row=row,
            series=series,
            value=value.median,
            low=value.low,
            high=value.high,
            open=bool(each.broken_gates),
        )
        for row, each in enumerate(drawn)
        for series, measure in enumerate(measures)
        if (value := measure.read(_figures(each))) is not None
    ]
    more = f" ({MOST_ROWS} of {len(results)} servers)" if len(results) > MOST_ROWS else ""
    return Panel(
        title=f"{drawn[0].cell.load}, {place(drawn[0].cell)}{more}",
        drawing=Rows(
            names=tuple(short([each.cell.server for each in drawn])),
            axis=_axis(title, marks, log=measures[0].log),
            series=tuple(measure.name for measure in measures),
            marks=tuple(marks),
        ),
    )


def _lines(comparison: Comparison, results: Sequence[CellResult], measure: _Measure) -> Iterable[Panel]:
    """One panel; none where nothing of it was measured."""
    found: dict[str, list[Mark]] = defaultdict(list)
    for each in sorted(results, key=lambda each: _amount(each.cell)):
        if (value := measure.read(_figures(each))) is not None:
            mark = Mark(x=_amount(each.cell), value=value.median, low=value.low, high=value.high)
            found[each.cell.server].append(replace(mark, open=bool(each.broken_gates)))
    if not found:
        return
    cell = results[0].cell
    of_style = styles(comparison)
    servers = sorted(found, key=of_style.__getitem__)
    labelled = _labelled(comparison, results, servers)
    amounts = sorted({mark.x for marks in found.values() for mark in marks})
    schedule = cell.rate is not None
    every = [mark for marks in found.values() for mark in marks]
    guide = tuple((amount, amount) for amount in amounts) if schedule and measure is THROUGHPUT else ()
    y = _axis(measure.title, every, log=measure.log)
    if guide:
        y = replace(y, high=max(y.high, amounts[-1] * 1.04))
    yield Panel(
        title=f"{measure.name} by {'rate' if schedule else 'users'}, {place(cell)}"
        + (f", {cell.arrivals} arrivals" if schedule else ""),
        drawing=Lines(
            x=Axis(
                title="requests/s on schedule, log scale" if schedule else "users, log scale",
                low=amounts[0],
                high=amounts[-1],
                log=True,
                ticks=tuple(amounts),
            ),
            y=y,
            lines=tuple(
                Line(name=name, style=of_style[server], marks=tuple(found[server]), labelled=server in labelled)
                for server, name in zip(servers, short(servers), strict=True)
            ),
            guide=guide,
            guide_name="as asked" if guide else "",
        ),
    )


def _labelled(comparison: Comparison, results: Sequence[CellResult], servers: Sequence[str]) -> frozenset[str]:
    """The servers with a name beside their line: the reference, then the best by rank under the most load."""
    if len(servers) <= MOST_LABELLED:
        return frozenset(servers)
    most = max(_amount(each.cell) for each in results)
    ranks = {
        each.cell.server: each.rank.first for each in results if _amount(each.cell) == most and each.rank is not None
    }
    reference = comparison.run.experiment.reference
    ordered = sorted(servers, key=lambda name: (name != reference, ranks.get(name, len(servers) + 1)))
    return frozenset(ordered[:MOST_LABELLED])


def _axis(title: str, marks: Sequence[Mark], *, log: bool) -> Axis:
    """From 0; on a logarithmic axis from a little below the least."""
    ends = [end for mark in marks for end in (mark.value, mark.low, mark.high) if end is not None]
    if not log:
        return Axis(title=title, low=0.0, high=max(ends) * 1.04 or 1.0)
    above = [end for end in ends if end > 0] or [1.0]
    return Axis(title=title, low=min(above) / 1.25, high=max(above) * 1.25, log=True)


def _amount(cell: Cell) -> float:
    """Users, or requests a second."""
    return float(cell.users or 0) if cell.rate is None else cell.rate


def _figures(result: CellResult) -> CellFigures:
    assert result.figures is not None, "only such are drawn"
    return result.figures


# --- words and tables


def _grey(panels: Iterable[Panel]) -> str:
    drawn = (panel.drawing for panel in panels)
    grey = max((sum(not line.labelled for line in each.lines) for each in drawn if isinstance(each, Lines)), default=0)
    named = "Named are the reference and the best under the most load"
    return f" {named}; the {grey} other servers are grey, and their figures in the table." if grey else ""


def _rate_words(results: Iterable[CellResult]) -> str:
    scheduled = any(each.cell.rate is not None for each in results)
    return " Where requests come on a schedule, the dashed line is what was asked for." if scheduled else ""


def _table(comparison: Comparison, results: Sequence[CellResult], measures: Sequence[_Measure]) -> Table:
    """The medians and intervals of the measures, for each cell."""
    rows = []
    for each in results:
        values = [measure.read(_figures(each)) for measure in measures]
        rows.append((each.cell.server, tables.describe(comparison, each.cell), *_told(values)))
    headings = [heading for measure in measures for heading in (_heading(measure), f"{_heading(measure)}, interval")]
    return Table(
        title="Figures of the charts",
        columns=(_NAME, _WHERE, *(Column(heading, 0) for heading in headings)),
        rows=tuple(rows),
    )


def _heading(measure: _Measure) -> str:
    return measure.title.removesuffix(", log scale").replace(",", "")


def _told(values: Iterable[Interval | None]) -> Iterable[str]:
    for value in values:
        yield tables.MISSING if value is None else number(value.median)
        yield tables.MISSING if value is None else tables.ends(value, number)
