"""What throughput costs: CPU time a request, and memory; and which servers nothing else beats in both."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wsgilab.model import CellFigures, CellResult, Comparison, Conditions, Interval
from wsgilab.model.text import number
from wsgilab.report import tables
from wsgilab.report.figures.values import (
    MOST_PANELS,
    Axis,
    Dot,
    Figure,
    Panel,
    Scatter,
    kept,
    short,
    spread,
    styles,
    telling,
)
from wsgilab.report.tables import Column, Table

MOST_LABELLED = 14
"""With more servers, only those on the frontier and the reference have their names."""

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


def frontier(points: Sequence[tuple[float, float]]) -> Sequence[int]:
    """The indices of the (throughput, cost) points that no other dominates, by rising throughput.

    One dominates another that has no more throughput and no less cost, and is not its equal in both: the Pareto
    frontier. Points that are equal are both on it, or neither is.
    """
    best: list[int] = []
    least: tuple[float, float] | None = None
    # From the highest throughput down, the cheapest first: a point is on it if it costs less than all before it.
    for index in sorted(range(len(points)), key=lambda index: (-points[index][0], points[index][1], index)):
        point = points[index]
        if least is None or point[1] < least[1] or point == least:
            best.append(index)
            least = point
    return best[::-1]


def cost(comparison: Comparison) -> Iterable[Figure]:
    """A pair of panels for the most load of each workload, number of cores and connection mode."""
    groups = [each for each in _groups(comparison) if len(each) >= _FEWEST]
    panels = [panel for each in groups for panel in (_panel(comparison, each, CPU), _panel(comparison, each, MEMORY))]
    found = [panel for panel in panels if panel is not None]
    if not found:
        return
    drawn, left_out = kept(found, MOST_PANELS, "panels", where="the table below")
    yield Figure(
        name="cost",
        section="cost",
        workload="",
        title="Cost: CPU time and memory against throughput",
        caption=(
            "To the right is more throughput, down is less cost. The line connects the servers that no other beats in both, "
            "by the medians; bars are intervals, and where they overlap the order is not settled. Memory is the most that "
            f"any block saw. Under the most users of each workload; cells with a broken gate are left out.{left_out}"
        ),
        panels=tuple(drawn),
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
    return [
        [each for each in sound if each.cell.conditions == chosen]
        for chosen in dict.fromkeys(each.cell.conditions for each in sound)
        if chosen in conditions.values()
    ]


def _known(results: Iterable[CellResult], of: _Cost) -> Sequence[tuple[CellResult, Interval, Interval]]:
    """The cells whose cost was read, with throughput and cost."""
    return [
        (each, each.figures.throughput_rps, value)
        for each in results
        if each.figures is not None and (value := of.read(each.figures)) is not None
    ]


def _best(known: Sequence[tuple[CellResult, Interval, Interval]]) -> frozenset[str]:
    """The servers on the frontier."""
    return frozenset(
        known[at][0].cell.server for at in frontier([(rps.median, value.median) for _, rps, value in known])
    )


def _panel(comparison: Comparison, results: Sequence[CellResult], of: _Cost) -> Panel | None:
    known = _known(results, of)
    if len(known) < _FEWEST:
        return None
    best, of_style = _best(known), styles(comparison)
    named = {comparison.run.experiment.reference, *best}
    dots = tuple(
        Dot(
            name=name,
            style=of_style[each.cell.server],
            x=rps,
            y=value,
            best=each.cell.server in best,
            labelled=len(known) <= MOST_LABELLED or each.cell.server in named,
        )
        for (each, rps, value), name in zip(known, short([each.cell.server for each, _, _ in known]), strict=True)
    )
    unnamed = sum(not dot.labelled for dot in dots)
    more = f" ({unnamed} of {len(dots)} without a name; see the table)" if unnamed else ""
    highest = max(spread(dot.x)[1] for dot in dots), max(spread(dot.y)[1] for dot in dots)
    return Panel(
        title=f"{of.name}: {tables.describe(comparison, known[0][0].cell)}{more}",
        drawing=Scatter(
            x=Axis(title="requests/s", low=0.0, high=highest[0] * 1.04 or 1.0),
            y=Axis(title=of.title, low=0.0, high=highest[1] * 1.04 or 1.0),
            dots=dots,
        ),
    )


def _rows(comparison: Comparison, results: Sequence[CellResult]) -> Iterable[tuple[str, ...]]:
    by_cpu, by_memory = _known(results, CPU), _known(results, MEMORY)
    cpu_ms = {each.cell.server: f"{value.median:.2f}" for each, _, value in by_cpu}
    memory = {each.cell.server: f"{value.median:.0f}" for each, _, value in by_memory}
    best_by_cpu, best_by_memory = _best(by_cpu), _best(by_memory)
    for each in results:
        server, figures = each.cell.server, each.figures
        assert figures is not None, "chosen so"
        yield (
            server,
            tables.describe(comparison, each.cell),
            number(figures.throughput_rps.median),
            cpu_ms.get(server, tables.MISSING),
            "yes" if server in best_by_cpu else "no" if server in cpu_ms else tables.MISSING,
            memory.get(server, tables.MISSING),
            "yes" if server in best_by_memory else "no" if server in memory else tables.MISSING,
        )
