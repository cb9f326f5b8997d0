"""Charts with two axes of numbers: lines, and points."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt

from wsgilab.report.charts.style import (
    GREY,
    INK,
    MARGIN_LEFT,
    TEXT,
    WIDTH,
    Canvas,
    along,
    apart,
    at_x,
    colour,
    dash,
    pixels_x,
    pixels_y,
    scale,
    shape,
    text_width,
    x_axis,
    y_axis,
)
from wsgilab.report.figures.values import Axis, Line, Lines, Scatter, spread

_HEIGHT = 210
_TOP, _BOTTOM, _RIGHT = 28, 40, 14
_LABEL = 14
"""Pixels from one name to the next."""
_LEADER = 16
"""Pixels from a chart's edge to the names beside it."""


_PAD = 14
"""Pixels between the ends of a chart's bottom axis and what is measured there."""
_NUDGE = 3.5
"""Pixels from a line to the next where both are at the same place of that axis: none hides another."""
_NUDGED = 0.5
"""What share of the room between two places all lines may take together."""


def lines(of: Lines) -> dict[str, Any]:
    """Lines through figures with their intervals, each named at its end."""
    canvas = Canvas()
    chosen = [line for line in of.lines if line.labelled]
    guide_named = bool(of.guide and of.guide_name)
    names = [line.name for line in chosen if line.name] + [of.guide_name] * guide_named
    right = text_width(names) + _LEADER + 4 if names else _RIGHT
    width = WIDTH - MARGIN_LEFT - right
    pad = 0.0 if of.band else _PAD
    drawn: list[alt.Chart] = []

    def across(x: float, nudge: float = 0.0) -> float:
        return pad + along(of.x, x) * (width - 2 * pad) + nudge

    if of.guide:
        points = [{"x": across(x), "value": y} for x, y in of.guide]
        drawn.append(
            canvas.on(points).mark_line(color=INK, strokeDash=[4, 4], opacity=0.6, strokeWidth=1.5).encode(**_xy(of))
        )
    grey = [line for line in of.lines if not line.labelled]
    if grey:
        points = [
            {"x": across(mark.x), "value": mark.value, "line": at}
            for at, line in enumerate(grey)
            for mark in line.marks
        ]
        drawn.append(
            canvas.on(points)
            .mark_line(color=INK, opacity=GREY, strokeWidth=1)
            .encode(detail=alt.Detail("line:N"), **_xy(of))
        )
    nudges = _nudges(of, chosen, width - 2 * pad)
    drawn += _lines(
        canvas,
        of,
        chosen,
        [[across(mark.x, nudge) for mark in line.marks] for line, nudge in zip(chosen, nudges, strict=True)],
    )
    if names:
        ends = [
            (across(line.marks[-1].x, nudge), line.marks[-1].value, line.name, line.style)
            for line, nudge in zip(chosen, nudges, strict=True)
            if line.name
        ]
        if guide_named:
            ends.append((across(of.guide[-1][0]), of.guide[-1][1], of.guide_name, -1))
        drawn += _names(canvas, of.y, ends, width)
    # At least one layer has the axes, whatever else is drawn.
    corners = [{"x": of.x.low, "value": of.y.high}]
    axes = (
        canvas.on(corners)
        .mark_point(opacity=0, size=0)
        .encode(x=alt.X("x:Q", scale=scale(of.x, ends=(pad, width - pad)), axis=x_axis(of.x)), y=_value(of))
    )
    return canvas.chart([axes, *drawn], height=_HEIGHT, left=MARGIN_LEFT, right=right, top=_TOP, bottom=_BOTTOM)


def _nudges(of: Lines, chosen: Sequence[Line], width: float) -> Sequence[float]:
    """By how many pixels each line is moved to the right: less where the places along the axis are close together."""
    places = sorted({along(of.x, mark.x) * width for line in chosen for mark in line.marks})
    closest = min((after - before for before, after in pairwise(places)), default=width)
    step = min(_NUDGE, closest * _NUDGED / max(1, len(chosen) - 1))
    return [(at - (len(chosen) - 1) / 2) * step for at in range(len(chosen))]


def _lines(canvas: Canvas, of: Lines, chosen: Sequence[Line], across: Sequence[Sequence[float]]) -> Iterable[alt.Chart]:
    """Each line in the look of its style, and its intervals; `across` has the pixels from the left of their marks."""
    points = [
        {
            "line": at,
            "x": x,
            "value": mark.value,
            "low": mark.value if mark.low is None else mark.low,
            "high": mark.value if mark.high is None else mark.high,
            "fill": 0.0 if mark.open else 1.0,
        }
        for at, (line, places) in enumerate(zip(chosen, across, strict=True))
        for mark, x in zip(line.marks, places, strict=True)
    ]
    look = _look([line.style for line in chosen])
    low, high = alt.Y("low:Q", scale=scale(of.y)), alt.Y2("high:Q")
    made = canvas.on(points)
    if of.band:
        yield made.mark_area(opacity=0.25).encode(x=_x(of), y=low, y2=high, color=look.colour)
    else:
        yield made.mark_rule(strokeWidth=3, opacity=0.6).encode(x=_x(of), y=low, y2=high, color=look.colour)
    yield made.mark_line(strokeWidth=1.75).encode(
        color=look.colour, strokeDash=look.dash, detail=alt.Detail("line:N"), **_xy(of)
    )
    yield made.mark_point(strokeWidth=1.5, size=18 if of.band else 42, opacity=1).encode(
        stroke=look.stroke,
        fill=look.fill,
        shape=look.shape,
        fillOpacity=alt.FillOpacity("fill:Q", scale=None),
        **_xy(of),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """How the field `line`, a number from 0, is drawn."""

    colour: alt.Color
    stroke: alt.Stroke
    fill: alt.Fill
    dash: alt.StrokeDash
    shape: alt.Shape


def _look(styles: Sequence[int]) -> _Look:
    numbers = list(range(len(styles)))
    colours = alt.Scale(domain=numbers, range=[colour(style) for style in styles])
    return _Look(
        colour=alt.Color("line:N", scale=colours, legend=None),
        stroke=alt.Stroke("line:N", scale=colours, legend=None),
        fill=alt.Fill("line:N", scale=colours, legend=None),
        dash=alt.StrokeDash(
            "line:N", scale=alt.Scale(domain=numbers, range=[list(dash(style)) for style in styles]), legend=None
        ),
        shape=alt.Shape(
            "line:N", scale=alt.Scale(domain=numbers, range=[shape(style) for style in styles]), legend=None
        ),
    )


def _names(
    canvas: Canvas, axis: Axis, ends: Sequence[tuple[float, float, str, int]], width: int
) -> Iterable[alt.Chart]:
    """The names of points in a column at the right, each with a thin line to its own.

    Of each point: its pixels from the left, its value, its name and its style, or -1 for the colour of the text.
    """
    wanted = [(1 - along(axis, y)) * _HEIGHT for _, y, _, _ in ends]
    places = apart(wanted, gap=_LABEL, low=0.0, high=float(_HEIGHT))
    rows = [
        {
            "x": x,
            "y": at,
            "edge": width + _LEADER - 3,
            "place": place,
            "name": name,
            "colour": INK if style < 0 else colour(style),
        }
        for (x, _, name, style), at, place in zip(ends, wanted, places, strict=True)
    ]
    yield (
        canvas.on(rows)
        .mark_rule(strokeWidth=0.75, opacity=0.7)
        .encode(
            x=pixels_x("x"),
            x2=alt.X2("edge:Q"),
            y=pixels_y("y"),
            y2=alt.Y2("place:Q"),
            color=alt.Color("colour:N", scale=None),
        )
    )
    yield (
        canvas.on(rows)
        .mark_text(align="left", baseline="middle", fontSize=TEXT)
        .encode(x=at_x(width + _LEADER), y=pixels_y("place"), text=alt.Text("name:N"))
    )


def scatter(of: Scatter) -> dict[str, Any]:
    """Points with intervals both ways; those on the frontier are connected."""
    canvas = Canvas()
    named = [dot for dot in of.dots if dot.labelled]
    right = text_width([dot.name for dot in named]) + _LEADER + 4 if named else _RIGHT
    width = WIDTH - MARGIN_LEFT - right
    best = sorted((dot for dot in of.dots if dot.best), key=lambda dot: (dot.x.median, dot.y.median))
    steps = [{"x": dot.x.median, "value": dot.y.median} for dot in best]
    layers = [
        canvas.on(steps)
        .mark_line(color=INK, strokeWidth=1.25, strokeDash=[4, 3], opacity=0.7)
        .encode(
            x=alt.X("x:Q", scale=scale(of.x), axis=x_axis(of.x)),
            y=alt.Y("value:Q", scale=scale(of.y), axis=y_axis(of.y)),
        )
    ]
    points = [
        {
            "line": at,
            "x": dot.x.median,
            "value": dot.y.median,
            "left": spread(dot.x)[0],
            "right": spread(dot.x)[1],
            "low": spread(dot.y)[0],
            "high": spread(dot.y)[1],
            "size": 80.0 if dot.best else 36.0,
        }
        for at, dot in enumerate(of.dots)
    ]
    look, made = _look([dot.style for dot in of.dots]), canvas.on(points)
    whisker = made.mark_rule(strokeWidth=2, opacity=0.6)
    across, upward = alt.X("left:Q", scale=scale(of.x)), alt.Y("low:Q", scale=scale(of.y))
    layers += [
        whisker.encode(x=across, x2=alt.X2("right:Q"), y=_value(of), color=look.colour),
        whisker.encode(x=_x(of), y=upward, y2=alt.Y2("high:Q"), color=look.colour),
        made.mark_point(strokeWidth=1.5, opacity=1, fillOpacity=1).encode(
            stroke=look.stroke,
            fill=look.fill,
            shape=look.shape,
            size=alt.Size("size:Q", scale=None),
            **_xy(of),
        ),
    ]
    if named:
        layers += _names(
            canvas,
            of.y,
            [(along(of.x, dot.x.median) * width, dot.y.median, dot.name, dot.style) for dot in named],
            width,
        )
    return canvas.chart(layers, height=_HEIGHT, left=MARGIN_LEFT, right=right, top=_TOP, bottom=_BOTTOM)


def _x(of: Lines | Scatter) -> alt.X:
    """Of lines in pixels; the chart's axes are drawn by themselves."""
    if isinstance(of, Lines):
        return pixels_x("x")
    return alt.X("x:Q", scale=scale(of.x), axis=x_axis(of.x))


def _value(of: Lines | Scatter) -> alt.Y:
    return alt.Y("value:Q", scale=scale(of.y), axis=y_axis(of.y))


def _xy(of: Lines | Scatter) -> dict[str, Any]:
    return {"x": _x(of), "y": _value(of)}
