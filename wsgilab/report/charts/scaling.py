"""What more cores bring."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from wsgilab.model import Comparison, Conditions, Interval, Scaling
from wsgilab.model.text import counted
from wsgilab.report import tables
from wsgilab.report.charts.figure import MOST_PANELS, Figure, Panel, ends, kept, labels, styles
from wsgilab.report.charts.marks import PADDING, Line, lines, point
from wsgilab.report.charts.theme import NumberAxis, from_zero
from wsgilab.report.tables import Column, Table

COLUMNS = (
    Column("server", 0, numeric=False),
    Column("workload", 0, numeric=False),
    Column("load", 0, numeric=False),
    Column("connection", 1, numeric=False),
    Column("cores", 0),
    Column("over cores", 0),
    Column("x throughput", 0),
    Column("its interval", 0),
    Column("ideal", 0),
)


def scaling(comparison: Comparison) -> Iterable[Figure]:
    """Throughput over that with the fewest cores, for each workload and load; none where cores were not varied."""
    if not comparison.scaling:
        return
    groups: dict[tuple[Conditions, int], list[Scaling]] = defaultdict(list)
    for each in comparison.scaling:
        groups[replace(each.cell, cores=1).conditions, each.over_cores].append(each)
    drawn, left_out = kept(list(groups.values()), MOST_PANELS, "panels", where="the table below")
    yield Figure(
        name="scaling",
        section="scaling",
        title="Scaling by cores",
        caption=(
            "Throughput over that with the fewest cores, the median of ratios paired by block, and its interval; all "
            f"intervals hold together with a chance of 95 %. The dashed line is twice as much from twice the cores.{left_out}"
        ),
        panels=tuple(_panel(comparison, each) for each in drawn),
        table=Table(title="Ratios of the chart", columns=COLUMNS, rows=tuple(_rows(comparison))),
    )


def _panel(comparison: Comparison, found: Sequence[Scaling]) -> Panel:
    fewest, cell = found[0].over_cores, found[0].cell
    cores = sorted({each.cell.cores for each in found} | {fewest})
    style = styles(comparison)
    itself = point(Interval(median=1.0, low=None, high=None))
    shown = [
        Line(
            name=name,
            style=style[server],
            points={float(fewest): itself}
            | {float(each.cell.cores): point(each.ratio) for each in found if each.cell.server == server},
        )
        for server, name in labels(each.cell.server for each in found).items()
    ]
    x = NumberAxis(title="cores", low=cores[0], high=cores[-1], ticks=tuple(cores), padding=PADDING)
    highest = (cores[-1] / fewest, *(ends(each.ratio)[1] for each in found))
    y = from_zero(f"throughput over that of {counted(fewest, 'core')}", highest)
    return Panel(
        title=(tables.workload(comparison.run, cell.workload), f"{cell.load}, connection: {cell.connection}"),
        chart=partial(lines, shown, x, y, [(fewest, 1.0), (cores[-1], cores[-1] / fewest)]),
    )


def _rows(comparison: Comparison) -> Iterable[tuple[str, ...]]:
    for each in comparison.scaling:
        cell = each.cell
        yield (
            cell.server,
            tables.workload(comparison.run, cell.workload),
            cell.load,
            cell.connection,
            str(cell.cores),
            str(each.over_cores),
            f"{each.ratio.median:.2f}",
            tables.ends(each.ratio, "{:.2f}".format),
            f"{cell.cores / each.over_cores:.2f}",
        )
