"""Charts with names at the left: figures beside them, shares, and who ran when."""

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from wsgilab.report.charts.style import (
    INK,
    ROW,
    TEXT,
    WIDTH,
    Canvas,
    along,
    at_x,
    at_y,
    colour,
    pixels_x,
    pixels_y,
    scale,
    shape,
    text_width,
    to_x,
    x_axis,
)
from wsgilab.report.figures.values import Axis, Gantt, RowGroup, Rows, Stacks

_RIGHT, _BOTTOM, _TOP = 14, 40, 6
_STACK, _TICK = 24, 5
"""Pixels of a row of shares, and of the strokes above and below its bar."""
_LEGEND = 20
"""Pixels of the line above a chart that says what its marks are."""


def rows(of: Rows) -> dict[str, Any]:
    """Names, and figures with their intervals."""
    canvas = Canvas()
    left = text_width(of.names) + 12
    right = max(_RIGHT, text_width(of.texts) + 10 if of.texts else 0)
    height, width = len(of.names) * ROW, WIDTH - left - right
    across = alt.X("value:Q", scale=scale(of.axis), axis=x_axis(of.axis))
    middles = [{"y": (row + 0.5) * ROW, "name": name} for row, name in enumerate(of.names)]
    layers = [
        *_extents(canvas, of, width),
        canvas.on(middles).mark_rule(opacity=0.12, color=INK).encode(x=at_x(0), x2=to_x(width), y=pixels_y("y")),
        canvas.on(middles)
        .mark_text(align="right", baseline="middle")
        .encode(x=at_x(-8), y=pixels_y("y"), text=alt.Text("name:N")),
    ]
    if of.texts:
        texts = [{"y": (row + 0.5) * ROW, "name": text} for row, text in enumerate(of.texts)]
        right_hand = canvas.on(texts).mark_text(align="left", baseline="middle")
        layers.append(right_hand.encode(x=at_x(width + 8), y=pixels_y("y"), text=alt.Text("name:N")))
    several = len(of.series) > 1
    for series, name in enumerate(of.series):
        marks = [
            {
                "y": (mark.row + 0.5) * ROW,
                "value": mark.value,
                "low": mark.value if mark.low is None else mark.low,
                "high": mark.value if mark.high is None else mark.high,
                "fill": 0.0 if mark.open else 1.0,
            }
            for mark in of.marks
            if mark.series == series
        ]
        layers += [
            canvas.on(marks)
            .mark_rule(color=colour(series), strokeWidth=3, opacity=0.55)
            .encode(x=alt.X("low:Q", scale=scale(of.axis)), x2=alt.X2("high:Q"), y=pixels_y("y")),
            canvas.on(marks).mark_point(**_point(name, series)).encode(x=across, y=pixels_y("y"), fillOpacity=_fill()),
        ]
    if several:
        layers += _legend(canvas, of.series, width)
    top = _TOP + _LEGEND * several
    return canvas.chart(layers, height=height, left=left, right=right, top=top, bottom=_BOTTOM)


def _point(name: str, series: int) -> dict[str, Any]:
    """A mean is a stroke through the row; whatever else there is has a shape by its place."""
    form = "stroke" if name == "mean" else shape(series)
    return {
        "shape": "M0,-1.1V1.1" if form == "stroke" else form,
        "size": 60,
        "fill": colour(series),
        "stroke": colour(series),
        "strokeWidth": 3 if form == "stroke" else 1.5,
        "opacity": 1,
    }


def _legend(canvas: Canvas, series: Sequence[str], width: int) -> Iterable[alt.Chart]:
    """Marks and their names on a line above the chart."""
    step = width / len(series)
    for at, name in enumerate(series):
        one = canvas.on([{"name": name}])
        y = at_y(-_LEGEND / 2 - 2)
        yield one.mark_point(**_point(name, at)).encode(x=at_x(at * step + 6), y=y)
        yield one.mark_text(align="left", baseline="middle").encode(
            x=at_x(at * step + 16), y=y, text=alt.Text("name:N")
        )


def _extents(canvas: Canvas, of: Rows, width: int) -> Iterable[alt.Chart]:
    """Light bars from 0; one without end reaches the edge, dashed."""
    if not of.extents:
        return
    bounded = [
        {**_place(each.row), "end": along(of.axis, each.end) * width} for each in of.extents if each.end is not None
    ]
    endless = [{**_place(each.row), "end": float(width)} for each in of.extents if each.end is None]
    for found, dashes in ((bounded, [1, 0]), (endless, [3, 3])):
        yield (
            canvas.on(found)
            .mark_rect(fill=INK, fillOpacity=0.1, stroke=INK, strokeOpacity=0.6, strokeDash=dashes)
            .encode(
                x=pixels_x("begin"),
                x2=alt.X2("end:Q"),
                y=pixels_y("top"),
                y2=alt.Y2("bottom:Q"),
            )
        )


def _place(row: int) -> dict[str, float]:
    return {"begin": 0.0, "top": row * ROW + 3.0, "bottom": (row + 1) * ROW - 3.0}


def stacks(of: Stacks) -> dict[str, Any]:
    """Shares side by side, from 0 to 100 %."""
    canvas = Canvas()
    left = text_width(of.names) + 12
    height, width = len(of.names) * _STACK, WIDTH - left - _RIGHT
    names = [{"y": (row + 0.5) * _STACK, "name": name} for row, name in enumerate(of.names)]
    segments, words, evens = [], [], []
    for row, shares in enumerate(of.shares):
        top, bottom, begun = row * _STACK + _TICK, (row + 1) * _STACK - _TICK, 0.0
        for place, share in enumerate(shares):
            ends = {"begin": begun, "end": begun + share, "top": top, "bottom": bottom}
            segments.append({**ends, "shade": 0.4 if place % 2 == 0 else 0.15})
            if share * width > text_width(["100%"]):
                words.append({"y": (row + 0.5) * _STACK, "x": begun + share / 2, "name": f"{share:.0%}"})
            begun += share
        for place in range(1, len(shares)):
            at = place / len(shares)
            evens.append({"x": at, "top": row * _STACK + 1, "bottom": top})
            evens.append({"x": at, "top": bottom, "bottom": (row + 1) * _STACK - 1})
    axis = Axis(title="share of the requests", low=0.0, high=1.0, percent=True, ticks=(0.0, 0.25, 0.5, 0.75, 1.0))
    across = alt.X("begin:Q", scale=scale(axis), axis=x_axis(axis))
    blue = colour(0)
    layers = [
        canvas.on(names)
        .mark_text(align="right", baseline="middle")
        .encode(x=at_x(-8), y=pixels_y("y"), text=alt.Text("name:N")),
        canvas.on(segments)
        .mark_rect(fill=blue, stroke=blue, strokeWidth=1.5)
        .encode(
            x=across,
            x2=alt.X2("end:Q"),
            y=pixels_y("top"),
            y2=alt.Y2("bottom:Q"),
            fillOpacity=alt.FillOpacity("shade:Q", scale=None),
        ),
        canvas.on(evens)
        .mark_rule(color=colour(1), strokeWidth=2)
        .encode(x=alt.X("x:Q", scale=scale(axis)), y=pixels_y("top"), y2=alt.Y2("bottom:Q")),
        canvas.on(words)
        .mark_text(baseline="middle", fontSize=TEXT - 1)
        .encode(x=alt.X("x:Q", scale=scale(axis)), y=pixels_y("y"), text=alt.Text("name:N")),
    ]
    return canvas.chart(layers, height=height, left=left, right=_RIGHT, top=_TOP, bottom=_BOTTOM)


# --- who ran when

_GANTT_LEFT = 124
_GANTT_HIGH = 216
"""Pixels that many rows share; few rows have ROOMY each."""
_ROOMY = 15
_ROOMY_ROWS = 12
_BETWEEN = 6
"""Pixels between processes."""
_LINE = 13
"""Pixels of a line of a label."""
_GAP = 1.0
"""Pixels by which a bar ends early, so that it is told from the next."""
_THINNEST = 0.6


def gantt(of: Gantt) -> dict[str, Any]:
    """A bar for each request, coloured by process."""
    canvas = Canvas()
    pitch = _pitch(sum(group.rows for group in of.groups))
    width = WIDTH - _GANTT_LEFT - _RIGHT
    tops: list[float] = []
    colours: list[str] = []
    labels: list[dict[str, str | float]] = []
    begun = 0.0
    for number, group in enumerate(of.groups):
        high = max(group.rows * pitch, len(group.labels) * _LINE)
        tops += [begun + row * pitch for row in range(group.rows)]
        colours += [colour(number)] * group.rows
        labels += _labels(group, begun, high, pitch)
        begun += high + _BETWEEN
    height = begun - _BETWEEN
    thick = pitch - (2 if pitch > 5 else 1)  # noqa: PLR2004 - pixels
    bars = []
    for bar in of.bars:
        begin, end = bar.entered_ms / of.span_ms * width, bar.left_ms / of.span_ms * width
        end = max(end - _GAP, begin + _THINNEST)
        bars.append(
            {"x": begin, "end": end, "top": tops[bar.row], "bottom": tops[bar.row] + thick, "colour": colours[bar.row]}
        )
    guides = [{"y": top + thick / 2} for top in tops]
    axis = Axis(title="ms", low=0.0, high=of.span_ms)
    # An invisible point carries the axis; bars are placed in pixels, where they can be kept apart.
    carrier = canvas.on([{"value": 0.0}]).mark_point(opacity=0, size=0)
    layers = [
        carrier.encode(x=alt.X("value:Q", scale=scale(axis), axis=x_axis(axis)), y=at_y(0)),
        canvas.on(guides).mark_rule(opacity=0.12, color=INK).encode(x=at_x(0), x2=to_x(width), y=pixels_y("y")),
        canvas.on(bars)
        .mark_rect()
        .encode(
            x=pixels_x("x"),
            x2=alt.X2("end:Q"),
            y=pixels_y("top"),
            y2=alt.Y2("bottom:Q"),
            color=alt.Color("colour:N", scale=None),
        ),
        canvas.on(labels)
        .mark_text(align="right", baseline="middle")
        .encode(x=at_x(-8), y=pixels_y("y"), text=alt.Text("name:N")),
    ]
    return canvas.chart(layers, height=round(height), left=_GANTT_LEFT, right=_RIGHT, top=_TOP, bottom=_BOTTOM)


def _pitch(count: int) -> float:
    return _ROOMY if count <= _ROOMY_ROWS else max(3.0, round(_GANTT_HIGH / count, 2))


def _labels(group: RowGroup, top: float, high: float, pitch: float) -> Iterable[dict[str, str | float]]:
    """Each beside its row, or all in the middle of the group's."""
    if group.each:
        return [{"y": top + (row + 0.45) * pitch, "name": label} for row, label in enumerate(group.labels)]
    begin = top + high / 2 - len(group.labels) * _LINE / 2
    return [{"y": begin + (line + 0.5) * _LINE, "name": label} for line, label in enumerate(group.labels)]


def _fill() -> alt.FillOpacity:
    return alt.FillOpacity("fill:Q", scale=None)
