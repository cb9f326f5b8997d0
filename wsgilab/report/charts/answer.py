"""The question itself: slots declared, requests in flight measured, and throughput, a row for each server."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import altair as alt

from wsgilab.model import CellResult, Comparison, Interval, PairResult
from wsgilab.model.text import counted, number
from wsgilab.report import at_once, tables
from wsgilab.report.charts.figure import MOST_ROWS, Figure, Panel, ends, figures_of, gated, kept, labels, one_line
from wsgilab.report.charts.marks import Row, data, dots, point, saying_rows, spelt
from wsgilab.report.charts.theme import INK, PAGE, ROW, TEXT, WIDTH, NumberAxis, Vega, from_zero, name_rows

MOST_WORKLOADS = 3
"""So many columns of throughput, on the whole width of a page."""

_SHAPES = {"peak": "circle", "mean": "M-0.2,-1.1H0.2V1.1H-0.2Z"}
"""The mean is a stroke across the row."""

_NAMES = (158, 300)
"""Pixels for the servers' names at least, which is what a phone has room for, and at most."""
_LONGEST = 22
"""Letters of a name on a phone."""
_LETTER = 7
"""Pixels of a name's letter."""
_BESIDE = (56, 76)
"""Pixels for the figure beside a plot, on a phone, and beside the next plot."""
_FEW = 6
"""With fewer requests in flight the axis has a tick for each."""
_MARGINS = 28
"""Pixels at the ends of a drawing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One of the plots that have their rows in common."""

    title: str
    layers: tuple[alt.Chart, ...]
    """Without the rows."""


def answer(comparison: Comparison) -> Iterable[Figure]:
    """Slots declared, the peak and the mean of requests in flight, and throughput, of the servers of `at_once.primary`; on the
    whole width of a page the throughput for other workloads, too."""
    table = at_once.overview(comparison)
    measured = [result for result in at_once.primary(comparison) if result.figures is not None]
    if table is None or not measured:
        return
    drawn, left_out = kept(measured, MOST_ROWS, "servers")
    declared = any(each.cell.cores for each in drawn)
    is_stamped = any(figures_of(each).peak is not None for each in drawn)
    caption = "Requests/s: correct answers a second, the median of the blocks, with its interval."
    if declared or is_stamped:
        caption = (
            "In flight: the light bar is what the server declares to process at once (to the edge and ∞: no limit declared), the "
            "dot the most requests ever measured inside the application at one moment, the upright stroke their mean over time. "
            f"{caption}"
        )
    yield Figure(
        name="answer",
        section="answer",
        title="Slots declared, requests in flight, and throughput",
        caption=caption + gated(drawn) + left_out,
        panels=(
            Panel(
                title=(tables.describe(comparison, measured[0].cell),),
                chart=partial(_stacked, comparison, drawn),
                wide=partial(_side_by_side, comparison, drawn),
            ),
        ),
        table=table,
    )


def _stacked(comparison: Comparison, drawn: Sequence[CellResult]) -> alt.TopLevelMixin:
    """Below each other, for a phone: without other workloads."""
    names = _cut(labels(each.cell.server for each in drawn))
    room = WIDTH - _MARGINS - _NAMES[0] - _BESIDE[0]
    columns = [*_in_flight(comparison, drawn, names), _throughput(comparison, drawn, names)]
    return _apart(alt.vconcat(*(_plot(each, names, room, _NAMES[0]) for each in columns), spacing=16))


def _cut(names: Mapping[str, str]) -> Mapping[str, str]:
    """Names without the middle of those that are too long for a phone: what tells servers apart is mostly at the end."""
    cut = {
        server: name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[-_LONGEST // 2 :]}"
        for server, name in names.items()
    }
    return cut if len(set(cut.values())) == len(names) else names


def _side_by_side(comparison: Comparison, drawn: Sequence[CellResult]) -> alt.TopLevelMixin:
    names = labels(each.cell.server for each in drawn)
    columns = [*_in_flight(comparison, drawn, names), _throughput(comparison, drawn, names)]
    columns += [_throughput(comparison, each, names) for each in _others(comparison, drawn)]
    beside = min(_NAMES[1], max(_NAMES[0], _LETTER * max(map(len, names.values()))))
    room = (PAGE - _MARGINS - beside - _BESIDE[1] * len(columns)) // len(columns)
    plots = [_plot(each, names, room, 0 if at else beside) for at, each in enumerate(columns)]
    # The figures beside a plot are no part of it, so that all plots are as wide.
    return _apart(alt.hconcat(*plots, spacing=_BESIDE[1], bounds="flush"))


def _apart(plots: alt.VConcatChart | alt.HConcatChart) -> alt.TopLevelMixin:
    """Each with colours and a legend of its own."""
    made: alt.TopLevelMixin = plots.resolve_scale(stroke="independent", fill="independent", shape="independent")
    return made


def _others(comparison: Comparison, drawn: Sequence[CellResult]) -> Sequence[Sequence[CellResult]]:
    """The cells of these servers under other workloads, for which two of them at least were measured."""
    servers = {each.cell.server for each in drawn}
    workloads = dict.fromkeys(each.cell.workload for each in comparison.cells)
    found = (
        [
            each
            for each in at_once.of_workload(comparison.cells, workload)
            if each.figures is not None and each.cell.server in servers
        ]
        for workload in workloads
        if workload != drawn[0].cell.workload
    )
    several = sorted((each for each in found if len(each) > 1), key=len, reverse=True)
    return several[: MOST_WORKLOADS - 1]


def _plot(column: _Column, names: Mapping[str, str], width: int, beside: int) -> alt.LayerChart | alt.FacetChart:
    rows = name_rows(names.values(), beside, beside)
    title: Vega = {"text": one_line(column.title), "limit": width + _BESIDE[0], "fontSize": TEXT}
    layers = [each.encode(y=rows) for each in column.layers]
    return alt.layer(*layers, width=width, height=alt.Step(ROW), title=title)


def _in_flight(comparison: Comparison, drawn: Sequence[CellResult], names: Mapping[str, str]) -> Iterable[_Column]:
    """None where nothing is declared, and nothing was measured inside the application."""
    reach: list[float] = [end for each in drawn for end in (each.slots or 0, figures_of(each).peak or 0)]
    reach += [ends(mean)[1] for each in drawn if (mean := figures_of(each).mean_in_flight) is not None]
    if not any(each.cell.cores or figures_of(each).peak is not None for each in drawn):
        return
    axis = from_zero("requests in flight, and slots", reach)
    if axis.high < _FEW:
        axis = replace(axis, ticks=tuple(range(_FEW)))
    points: list[Row] = []
    bars: dict[bool, list[Row]] = {True: [], False: []}
    said: dict[str, Sequence[str]] = {}
    for each in drawn:
        server, figures = names[each.cell.server], figures_of(each)
        if figures.peak is not None and figures.mean_in_flight is not None:
            peak = Interval(median=figures.peak, low=None, high=None)
            points.append({"server": server, "series": "peak", **point(peak)})
            points.append({"server": server, "series": "mean", **point(figures.mean_in_flight)})
        # Of a server that is not the lab's, nothing is declared.
        end = (axis.high if each.slots is None else each.slots) if each.cell.cores else 0
        text = tables.in_flight(each)
        bars[each.slots is None].append({"server": server, "begin": 0, "end": end, "edge": axis.high, "text": text})
        said[server] = list(_said_in_flight(each))
    extents = [
        alt.Chart(data(bars[unbounded]))
        .mark_bar(height=12, fill=INK, fillOpacity=0.1, stroke=INK, strokeOpacity=0.6, strokeDash=dashes)
        .encode(x=axis.x("begin"), x2=alt.X2("end:Q"))
        for unbounded, dashes in ((False, [1, 0]), (True, [3, 3]))
    ]
    rows = name_rows(names.values())
    yield _Column(
        title=f"in flight: {tables.workload(comparison.run, drawn[0].cell.workload)}",
        layers=(
            *extents,
            *dots(points, axis, rows, _SHAPES),
            _beside(bars[False] + bars[True], axis),
            saying_rows(said, axis, rows),
        ),
    )


def _said_in_flight(result: CellResult) -> Iterable[str]:
    figures = figures_of(result)
    if result.cell.cores:
        yield "declares no limit" if result.slots is None else f"declares {counted(result.slots, 'slot')}"
    if figures.peak is None:
        yield "in flight is not known"
        return
    yield f"in flight: {figures.peak} at most"
    if figures.mean_in_flight is not None:
        yield spelt("on average", point(figures.mean_in_flight))
    yield f"bound by {figures.bound_by}"
    yield spelt("requests/s", point(figures.throughput_rps, hollow=bool(result.broken_gates)))


def _throughput(comparison: Comparison, drawn: Sequence[CellResult], names: Mapping[str, str]) -> _Column:
    """Of servers under the same conditions, in the rows of `names`."""
    axis = from_zero("requests/s", [ends(figures_of(each).throughput_rps)[1] for each in drawn])
    pairs = {pair.cell: pair for pair in comparison.pairs}
    points: list[Row] = []
    texts: list[Row] = []
    said: dict[str, Sequence[str]] = {}
    for each in drawn:
        server, rps = names[each.cell.server], figures_of(each).throughput_rps
        shown = point(rps, hollow=bool(each.broken_gates))
        points.append({"server": server, "series": "throughput", **shown})
        texts.append({"server": server, "edge": axis.high, "text": number(rps.median)})
        said[server] = (spelt("requests/s", shown), *_said_of_pair(pairs.get(each.cell)))
    rows = name_rows(names.values())
    cell = drawn[0].cell
    return _Column(
        title=f"{tables.workload(comparison.run, cell.workload)}, {cell.load}",
        layers=(
            *dots(points, axis, rows, {"throughput": "circle"}),
            _beside(texts, axis),
            saying_rows(said, axis, rows),
        ),
    )


def _said_of_pair(pair: PairResult | None) -> Iterable[str]:
    """Beside the reference; nothing where it is not compared."""
    if pair is not None and not pair.broken_gates:
        what = "speed" if pair.metric == "throughput" else "mean latency"
        yield f"{pair.ratio.median:.2f} times the {what} of {one_line(pair.reference)[:30]}:"
        yield f"{tables.ends(pair.ratio, '{:.2f}'.format)}, {tables.verdict(pair)}"


def _beside(texts: Sequence[Row], axis: NumberAxis) -> alt.Chart:
    """What is written at the right of each row."""
    made: alt.Chart = (
        alt.Chart(data(texts)).mark_text(align="left", dx=8).encode(x=axis.x("edge"), text=alt.Text("text:N"))
    )
    return made
