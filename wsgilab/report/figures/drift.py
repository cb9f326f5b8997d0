"""How the machine changed in the course of the run."""

from collections.abc import Callable, Iterable, Sequence

from wsgilab.model import Comparison, Drift, Interval
from wsgilab.report import tables
from wsgilab.report.figures.values import Axis, Figure, Line, Lines, Mark, Panel, spread
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
        workload="",
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
    marks = tuple(
        Mark(x=each.block + 1, value=value.median, low=value.low, high=value.high)
        for each in blocks
        if (value := read(each)) is not None
    )
    if len(marks) < _FEWEST:
        return None
    ends = [end for each in blocks if (value := read(each)) is not None for end in spread(value)]
    # A calm run looks calm: the axis is never tighter than this.
    low, high = min(0.9, min(ends) - 0.02), max(1.1, max(ends) + 0.02)
    last = marks[-1].x
    return Panel(
        title=title,
        drawing=Lines(
            x=Axis(title="block", low=marks[0].x, high=last),
            y=Axis(title="over the cell's median", low=low, high=high),
            lines=(Line(name="", style=0, marks=marks),),
            guide=((marks[0].x, 1.0), (last, 1.0)),
            band=True,
        ),
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
