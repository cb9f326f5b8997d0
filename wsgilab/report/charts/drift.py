"""How the machine changed in the course of the run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import altair as alt

from wsgilab.model import Comparison, Drift, Interval
from wsgilab.report import tables
from wsgilab.report.charts.figure import Figure, Panel, ends, says
from wsgilab.report.charts.marks import SAYS, data, guide_line, point, spelt
from wsgilab.report.charts.theme import COLOURS, HEIGHT, NumberAxis
from wsgilab.report.tables import Column, Table

_COLUMNS = (
    Column("block", 0),
    Column("begun", 1, numeric=False),
    Column("trials", 1),
    Column("throughput", 0),
    Column("its quartiles", 0),
    Column("CPU time a request", 0),
    Column("its quartiles", 0),
)
_FEWEST = 2
"""Blocks, for there to be a course."""


def drift(comparison: Comparison) -> Iterable[Figure]:
    """Throughput and CPU time of each block, over the medians of their cells."""
    if len(comparison.drift) < _FEWEST:
        return
    panels = (
        _panel("Throughput of each block", comparison.drift, lambda each: each.throughput),
        _panel("CPU time a request, of each block", comparison.drift, lambda each: each.cpu_time),
    )
    several = " Blocks ran on several machines, which may differ: see there." if comparison.machines else ""
    yield Figure(
        name="drift",
        section="drift",
        title="Drift: each block against the whole run",
        caption=(
            "Each trial's figure over the median of its cell: the line is the median over a block's trials, the band their "
            "quartiles; 1 is the run as a whole. Every block holds every cell once, so a block that strays is the machine's "
            "doing, and no server's; comparisons are paired by block and cancel it. CPU time above 1: the same work took the "
            f"machine longer. The axes do not begin at 0.{several}"
        ),
        panels=tuple(panel for panel in panels if panel is not None),
        table=Table(title="Figures of the charts", columns=_COLUMNS, rows=tuple(map(_row, comparison.drift))),
    )


def _panel(title: str, blocks: Sequence[Drift], read: Callable[[Drift], Interval | None]) -> Panel | None:
    found = {float(each.block + 1): value for each in blocks if (value := read(each)) is not None}
    return None if len(found) < _FEWEST else Panel(title=(title,), chart=partial(_chart, found))


def _chart(found: Mapping[float, Interval]) -> alt.TopLevelMixin:
    """A line through the blocks' medians, in a band from quartile to quartile."""
    reach = [end for value in found.values() for end in ends(value)]
    first, *_, last = found
    x = NumberAxis(title="block", low=first, high=last)
    # A calm run looks calm: the axis is never tighter than this.
    low, high = min(0.9, min(reach) - 0.02), max(1.1, max(reach) + 0.02)
    y = NumberAxis(title="over the cell's median", low=low, high=high)
    points = {block: point(value) for block, value in found.items()}
    rows = (
        {"x": block, **each, "says": says(f"block {block:g}", spelt("median, and quartiles", each))}
        for block, each in points.items()
    )
    base = alt.Chart(data(rows)).encode(x=x.x("x"))
    dots = base.mark_point(color=COLOURS[0], filled=True, size=18, opacity=1, aria=True)
    return alt.layer(
        guide_line([(first, 1.0), (last, 1.0)], x, y),
        base.mark_area(color=COLOURS[0], opacity=0.25).encode(y=y.y("low"), y2=alt.Y2("high:Q")),
        base.mark_line(color=COLOURS[0], strokeWidth=1.75).encode(y=y.y("value")),
        dots.encode(y=y.y("value"), description=SAYS),
        height=HEIGHT,
    )


def _row(each: Drift) -> tuple[str, ...]:
    ratio = "{:.3f}".format
    return (
        str(each.block + 1),
        each.started,
        str(each.trials),
        ratio(each.throughput.median),
        tables.ends(each.throughput, ratio),
        tables.MISSING if each.cpu_time is None else ratio(each.cpu_time.median),
        tables.MISSING if each.cpu_time is None else tables.ends(each.cpu_time, ratio),
    )
