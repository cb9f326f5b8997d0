"""Marks that several figures share: points in rows, lines through points, and the look of a server."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt

from wsgilab.model import Interval
from wsgilab.model.text import number
from wsgilab.report.charts.figure import ends, says
from wsgilab.report.charts.theme import COLOURS, DASHES, HEIGHT, INK, SHAPES, NumberAxis, Vega

PADDING = 14
"""Pixels between the ends of a bottom axis and the lines."""

_BESIDE = 0.018
"""From one line to the next where both are at the same place of the bottom axis, as a share of its length."""

_CROWD = 0.5
"""The share of the room between two places of that axis that all lines may take together."""

Row = Mapping[str, object]
"""One datum. Whatever comes from the run is a value here or in a scale's domain, and never a part of an expression."""

Point = Mapping[str, float]
"""What `point` makes: the fields `value`, `low`, `high`, and `fill`, which is 0 where it must not be compared."""

FILLED = alt.FillOpacity("fill:Q", scale=None)
"""The channel of a point's field `fill`."""

SAYS = alt.Description("says:N")
"""The channel of the field `says`, which `figure.says` makes, of a mark that is made with `aria=True`."""


class _Data(alt.InlineData):
    """Data that Altair does not copy at each step to a chart."""

    def __deepcopy__(self, memo: object) -> "_Data":
        return self


def data(rows: Iterable[Row]) -> alt.InlineData:
    """Rows as Altair takes them, to six digits: the last bits of a float may differ from machine to machine."""
    return _Data([{field: _rounded(value) for field, value in row.items()} for row in rows])


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def point(value: Interval, *, hollow: bool = False) -> Point:
    """A figure with its interval, both ends of which are the median where it has none."""
    low, high = ends(value)
    return {"value": value.median, "low": low, "high": high, "fill": 0 if hollow else 1}


def spelt(label: str, of: Point) -> str:
    """A figure with its interval, and whether it must not be compared: a line of what a mark says."""
    interval = f" ({number(of['low'])} to {number(of['high'])})" if of["low"] < of["high"] else ""
    return f"{label}: {number(of['value'])}{interval}{'' if of['fill'] else ', not to be compared'}"


def server_look(styles: Mapping[str, int], named: Sequence[str]) -> dict[str, Any]:
    """The channels `stroke`, `fill` and `shape` of the field `server`, whose labels have these styles.

    One legend for all has the labels in `named`, in that order.
    """
    legend = {"values": list(named)} if named else None
    order = sorted(styles, key=lambda label: named.index(label) if label in named else len(named))
    colours = _scale(order, [COLOURS[styles[label] % len(COLOURS)] for label in order])
    return {
        "stroke": alt.Stroke("server:N", scale=colours, legend=legend),
        "fill": alt.Fill("server:N", scale=colours, legend=legend),
        "shape": alt.Shape(
            "server:N", scale=_scale(order, [SHAPES[styles[label] % len(SHAPES)] for label in order]), legend=legend
        ),
    }


def _scale(domain: Sequence[str], shown: Sequence[object]) -> Vega:
    return {"domain": list(domain), "range": list(shown)}


def dots(
    points: Iterable[Row], axis: NumberAxis, rows: alt.Y, shapes: Mapping[str, str]
) -> tuple[alt.Chart, alt.Chart]:
    """Points with their intervals in the rows of servers.

    `points` have the fields of `point`, `server` and `series`; `shapes` has the shape of each series, such as `p50`.
    """
    legend = {"orient": "top"} if len(shapes) > 1 else None
    colours = _scale(list(shapes), COLOURS[: len(shapes)])
    base = alt.Chart(data(points)).encode(y=rows, stroke=alt.Stroke("series:N", scale=colours, legend=legend))
    return (
        base.mark_rule(strokeWidth=3, opacity=0.55).encode(x=axis.x("low"), x2=alt.X2("high:Q")),
        base.mark_point(size=60, opacity=1, strokeWidth=1.5).encode(
            x=axis.x("value"),
            fill=alt.Fill("series:N", scale=colours, legend=legend),
            shape=alt.Shape("series:N", scale=_scale(list(shapes), list(shapes.values())), legend=legend),
            fillOpacity=FILLED,
        ),
    )


def saying_rows(said: Mapping[str, Sequence[str]], axis: NumberAxis, rows: alt.Y) -> alt.Chart:
    """Over the whole row of each server something unseen that says these lines."""
    whole = [
        {"server": server, "begin": axis.low, "end": axis.high, "says": says(server, *lines)}
        for server, lines in said.items()
    ]
    unseen = alt.Chart(data(whole)).mark_rect(opacity=0, aria=True)
    made: alt.Chart = unseen.encode(x=axis.x("begin"), x2=alt.X2("end:Q"), y=rows, description=SAYS)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A server's points by where they are on the bottom axis, from left to right."""

    name: str
    style: int
    points: Mapping[float, Point]
    named: bool = True
    """Otherwise it is grey, and the legend does not have it."""


def lines(
    shown: Sequence[Line], x: NumberAxis, y: NumberAxis, guide: Sequence[tuple[float, float]] = ()
) -> alt.TopLevelMixin:
    """Lines through points with their intervals, and a dashed line through the (x, y) of `guide`."""
    layers = [guide_line(guide, x, y)] if guide else []
    grey = [
        {"server": line.name, "x": at, **row} for line in shown if not line.named for at, row in line.points.items()
    ]
    if grey:
        thin = alt.Chart(data(grey)).mark_line(color=INK, opacity=0.35, strokeWidth=1)
        layers.append(thin.encode(x=x.x("x"), y=y.y("value"), detail=alt.Detail("server:N")))
    named = [line for line in shown if line.named]
    rows = [
        {"server": line.name, "x": at, **row, "says": says(line.name, f"{x.name}: {true:g}", spelt(y.name, row))}
        for line, places in zip(named, _side_by_side(named, x), strict=True)
        for at, (true, row) in zip(places, line.points.items(), strict=True)
    ]
    # The legend has the names in the order of the lines' right ends, from the top down.
    last = {line.name: list(line.points.values())[-1]["value"] for line in named}
    look = server_look({line.name: line.style for line in named}, sorted(last, key=lambda name: -last[name]))
    dashes = _scale(list(last), [DASHES[line.style % len(DASHES)] for line in named])
    base = alt.Chart(data(rows)).encode(x=x.x("x"), stroke=look["stroke"])
    dashed = alt.StrokeDash("server:N", scale=dashes, legend=None)
    layers += [
        base.mark_rule(strokeWidth=3, opacity=0.6).encode(y=y.y("low"), y2=alt.Y2("high:Q")),
        base.mark_line(strokeWidth=1.75).encode(y=y.y("value"), strokeDash=dashed),
        base.mark_point(size=42, opacity=1, strokeWidth=1.5, aria=True).encode(
            y=y.y("value"), fillOpacity=FILLED, description=SAYS, **look
        ),
    ]
    return alt.layer(*layers, height=HEIGHT)


def guide_line(guide: Iterable[tuple[float, float]], x: NumberAxis, y: NumberAxis) -> alt.Chart:
    """A dashed line that others are held against."""
    base = alt.Chart(data({"x": at, "value": value} for at, value in guide)).encode(x=x.x("x"), y=y.y("value"))
    dashed: alt.Chart = base.mark_line(color=INK, strokeDash=[4, 4], opacity=0.6, strokeWidth=1.5)
    return dashed


def _side_by_side(shown: Sequence[Line], x: NumberAxis) -> Iterable[Sequence[float]]:
    """Where the points of each line are drawn: a little apart from those of the other lines, so that none hides another."""
    into, back = (math.log, math.exp) if x.log else (float, float)
    length = into(x.high) - into(x.low)
    places = sorted({into(at) for line in shown for at in line.points})
    closest = min((after - before for before, after in pairwise(places)), default=length)
    step = min(_BESIDE * length, closest * _CROWD / max(1, len(shown) - 1))
    for place, line in enumerate(shown):
        shift = (place - (len(shown) - 1) / 2) * step
        yield [back(into(at) + shift) for at in line.points]
