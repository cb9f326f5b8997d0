"""Two runs beside each other: B over A, a row for each cell."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import altair as alt

from wsgilab.analysis.stats import SAME
from wsgilab.model import Cell, CellOfRuns, Interval, RunsComparison
from wsgilab.report import tables
from wsgilab.report.ab import words
from wsgilab.report.charts.figure import MOST_ROWS, Figure, Panel, ends, kept, labels
from wsgilab.report.charts.marks import FILLED, Row, data, point, saying_rows
from wsgilab.report.charts.theme import COLOURS, INK, ROW, NumberAxis, Vega, name_rows
from wsgilab.report.tables import Column, Table

_LEAST = 1.1
"""The axis goes so far at least, and to one over it: what is next to nothing looks like it."""

_LOOKS: Mapping[str, tuple[str, str]] = {
    "slower": (COLOURS[1], "triangle-down"),
    "faster": (COLOURS[0], "triangle-up"),
    tables.SAME_WITHIN: (COLOURS[6], "square"),
    "undecided": (COLOURS[6], "circle"),
}
"""By verdict: colour and shape."""

_TICKS = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    0.8,
    0.9,
    0.95,
    1.0,
    1.05,
    1.1,
    1.2,
    1.4,
    2.0,
    3.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
)
"""Of which Vega draws those that have room."""

_NAMES = {"narrow": 150, "wide": 460}
"""Pixels for the cells' names."""

_COLUMNS = (
    Column("cell", 0, numeric=False),
    Column("B/A", 0),
    Column("interval", 0),
    Column("verdict", 0, numeric=False),
)


def ratios(comparison: RunsComparison) -> Figure | None:
    """The ratio of each cell with its interval, those first that are decided, then those that are furthest from 1; None where nothing is compared."""
    compared = [each for each in comparison.cells if each.ratio is not None]
    if not compared:
        return None
    ordered = sorted(
        compared, key=lambda each: (each.verdict == "undecided", -abs(math.log(_ratio(each).median or 1.0)))
    )
    drawn, left_out = kept(ordered, MOST_ROWS, "cells", where="the tables below")
    refused = len(comparison.cells) - len(compared)
    more = f" Not compared, and not drawn: {refused}." if refused else ""
    slow = " Of a latency, less is faster." if any(each.metric == "latency" for each in drawn) else ""
    names = words.short_names(comparison)
    return Figure(
        name="ratios",
        section="answer",
        title="B over A",
        caption=(
            "The ratio of B to A of each cell, and the interval in which the true one lies, on a logarithmic axis. The grey band is "
            f"as far as two starts of one server may differ ({100 * SAME:g} %). Filled: decided.{slow}{more}{left_out}"
        ),
        panels=(
            Panel(
                title=(", ".join(dict.fromkeys(words.UNITS[each.metric] for each in drawn)) + ", B over A",),
                chart=partial(_chart, drawn, names, _NAMES["narrow"]),
                wide=partial(_chart, drawn, names, _NAMES["wide"]),
            ),
        ),
        table=Table(
            title="Ratios of the chart",
            columns=_COLUMNS,
            rows=tuple(
                (
                    words.whole(comparison.b, each.cell),
                    words.times(_ratio(each).median),
                    tables.ends(_ratio(each), words.times),
                    tables.verdict(each),
                )
                for each in ordered
            ),
        ),
    )


def _ratio(cell: CellOfRuns) -> Interval:
    assert cell.ratio is not None, "only what is compared is drawn"
    return cell.ratio


def _chart(drawn: Sequence[CellOfRuns], names: Mapping[Cell, str], room: int) -> alt.TopLevelMixin:
    shown = labels(names[each.cell] for each in drawn)
    reach = [end for each in drawn for end in (*ends(_ratio(each)), _ratio(each).median) if end > 0]
    low, high = min(1 / _LEAST, *reach), max(_LEAST, *reach)
    ticks = tuple(tick for tick in _TICKS if low <= tick <= high)
    axis = NumberAxis(title="B over A", low=low, high=high, log=True, ticks=ticks, padding=8)
    rows = name_rows(shown.values(), most=room)
    points: list[Row] = []
    texts: list[Row] = []
    said: dict[str, Sequence[str]] = {}
    for each in drawn:
        name, verdict, ratio = shown[names[each.cell]], tables.verdict(each), _ratio(each)
        points.append({"server": name, "verdict": verdict, **point(ratio, hollow=each.verdict == "undecided")})
        texts.append({"server": name, "edge": high, "text": words.times(ratio.median)})
        said[name] = (
            f"B over A: {words.times(ratio.median)} ({tables.ends(ratio, words.times)}), {verdict}",
            f"{words.UNITS[each.metric]}: {words.figure(each.a.figure)} in A, {words.figure(each.b.figure)} in B",
        )
    found = [verdict for verdict in _LOOKS if any(tables.verdict(each) == verdict for each in drawn)]
    band = alt.Chart(data([{"low": 1 / (1 + SAME), "high": 1 + SAME}])).mark_rect(color=INK, opacity=0.12)
    one = alt.Chart(data([{"at": 1.0}])).mark_rule(color=INK, opacity=0.6, strokeDash=[4, 4])
    base = alt.Chart(data(points)).encode(
        y=rows, stroke=alt.Stroke("verdict:N", scale=_scale(found, 0), legend=_LEGEND)
    )
    return alt.layer(
        band.encode(x=axis.x("low"), x2=alt.X2("high:Q")),
        one.encode(x=axis.x("at")),
        base.mark_rule(strokeWidth=3, opacity=0.55).encode(x=axis.x("low"), x2=alt.X2("high:Q")),
        base.mark_point(size=60, opacity=1, strokeWidth=1.5).encode(
            x=axis.x("value"),
            fill=alt.Fill("verdict:N", scale=_scale(found, 0), legend=_LEGEND),
            shape=alt.Shape("verdict:N", scale=_scale(found, 1), legend=_LEGEND),
            fillOpacity=FILLED,
        ),
        alt.Chart(data(texts)).mark_text(align="left", dx=16).encode(x=axis.x("edge"), y=rows, text="text:N"),
        saying_rows(said, axis, rows),
        height=alt.Step(ROW),
    )


_LEGEND: Vega = {"orient": "top", "columnPadding": 20}


def _scale(verdicts: Sequence[str], of: int) -> Vega:
    return {"domain": list(verdicts), "range": [_LOOKS[each][of] for each in verdicts]}
