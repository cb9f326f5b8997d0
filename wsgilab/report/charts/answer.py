"""The question itself: requests in flight against slots."""

from collections.abc import Iterable, Sequence
from functools import partial

import altair as alt

from wsgilab.model import CellResult, Comparison, Interval
from wsgilab.report import tables
from wsgilab.report.charts.figure import MOST_ROWS, Figure, Panel, ends, figures_of, kept, labels
from wsgilab.report.charts.marks import Row, data, dots, point
from wsgilab.report.charts.theme import INK, ROW, from_zero, name_rows

_SHAPES = {"peak": "circle", "mean": "M-0.2,-1.1H0.2V1.1H-0.2Z"}
"""The mean is a stroke across the row."""


def answer(comparison: Comparison) -> Iterable[Figure]:
    """Slots declared, and the peak and the mean of requests in flight, for each server."""
    table = tables.answer(comparison)
    measured = [result for result in tables.waiting(comparison) if result.figures is not None]
    if table is None or not measured:
        return
    drawn, left_out = kept(measured, MOST_ROWS, "servers")
    yield Figure(
        name="answer",
        section="answer",
        title="Requests in flight, and slots declared",
        caption=(
            "The light bar is what the server declares to process at once (to the edge and ∞: no limit declared); the dot "
            "is the most requests ever measured inside the application at one moment, the upright stroke their mean over "
            "time, with its interval." + left_out
        ),
        panels=(Panel(title=(tables.describe(comparison, measured[0].cell),), chart=partial(_chart, drawn)),),
        table=table,
    )


def _chart(drawn: Sequence[CellResult]) -> alt.TopLevelMixin:
    names = labels(each.cell.server for each in drawn)
    points: list[Row] = []
    bars: dict[bool, list[Row]] = {True: [], False: []}
    reach: list[float] = [end for each in drawn for end in (each.slots or 0, figures_of(each).peak or 0)]
    reach += [ends(mean)[1] for each in drawn if (mean := figures_of(each).mean_in_flight) is not None]
    axis, rows = from_zero("requests in flight", reach), name_rows(names.values())
    for each in drawn:
        server, figures = names[each.cell.server], figures_of(each)
        if figures.peak is not None and figures.mean_in_flight is not None:
            peak = Interval(median=figures.peak, low=None, high=None)
            points.append({"server": server, "series": "peak", **point(peak)})
            points.append({"server": server, "series": "mean", **point(figures.mean_in_flight)})
        text = tables.in_flight(each)
        # Of a server that is not the lab's, nothing is declared.
        end = (axis.high if each.slots is None else each.slots) if each.cell.cores else 0
        bars[each.slots is None].append({"server": server, "begin": 0, "end": end, "edge": axis.high, "text": text})
    extents = [
        alt.Chart(data(bars[unbounded]))
        .mark_bar(height=12, fill=INK, fillOpacity=0.1, stroke=INK, strokeOpacity=0.6, strokeDash=dashes)
        .encode(x=axis.x("begin"), x2=alt.X2("end:Q"), y=rows)
        for unbounded, dashes in ((False, [1, 0]), (True, [3, 3]))
    ]
    texts = alt.Chart(data(bars[False] + bars[True])).mark_text(align="left", dx=8)
    return alt.layer(
        *extents,
        *dots(points, axis, rows, _SHAPES),
        texts.encode(x=axis.x("edge"), y=rows, text=alt.Text("text:N")),
        height=alt.Step(ROW),
    )
