"""What more cores bring."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from wsgilab.model import Comparison, Conditions, Scaling
from wsgilab.model.text import counted
from wsgilab.report import tables
from wsgilab.report.figures.values import (
    MOST_PANELS,
    Axis,
    Figure,
    Line,
    Lines,
    Mark,
    Panel,
    kept,
    short,
    spread,
    styles,
    workload_words,
)
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
        workload="",
        title="Scaling by cores",
        caption=(
            "Throughput over that with the fewest cores, the median of ratios paired by block, and its interval; all "
            f"intervals hold together with a chance of 95 %. The dashed line is twice as much from twice the cores.{left_out}"
        ),
        panels=tuple(_panel(comparison, each) for each in drawn),
        table=Table(title="Ratios of the chart", columns=COLUMNS, rows=tuple(_rows(comparison))),
    )


def _panel(comparison: Comparison, found: Sequence[Scaling]) -> Panel:
    fewest = found[0].over_cores
    of_style = styles(comparison)
    servers = list(dict.fromkeys(each.cell.server for each in found))
    cores = sorted({each.cell.cores for each in found} | {fewest})
    highest = max(cores[-1] / fewest, *(spread(each.ratio)[1] for each in found))
    cell = found[0].cell
    lines = []
    for server, name in zip(servers, short(servers), strict=True):
        marks = [
            Mark(x=each.cell.cores, value=each.ratio.median, low=each.ratio.low, high=each.ratio.high)
            for each in found
            if each.cell.server == server
        ]
        lines.append(Line(name=name, style=of_style[server], marks=(Mark(x=fewest, value=1.0), *marks)))
    return Panel(
        title=f"{workload_words(comparison, cell.workload)}, {cell.load}, connection: {cell.connection}",
        drawing=Lines(
            x=Axis(title="cores", low=cores[0], high=cores[-1], ticks=tuple(cores)),
            y=Axis(title=f"throughput over that of {counted(fewest, 'core')}", low=0.0, high=highest * 1.04),
            lines=tuple(lines),
            guide=((fewest, 1.0), (cores[-1], cores[-1] / fewest)),
            guide_name="ideal",
        ),
    )


def _rows(comparison: Comparison) -> Iterable[tuple[str, ...]]:
    for each in comparison.scaling:
        cell = each.cell
        yield (
            cell.server,
            workload_words(comparison, cell.workload),
            cell.load,
            cell.connection,
            str(cell.cores),
            str(each.over_cores),
            f"{each.ratio.median:.2f}",
            tables.ends(each.ratio, "{:.2f}".format),
            f"{cell.cores / each.over_cores:.2f}",
        )
