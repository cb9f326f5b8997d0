"""What a request costs over the reference's, under the conditions in which that decides something, or others were on the cores."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

import altair as alt

from wsgilab.model import Comparison, Conditions, CostRatio, Interval, PairResult
from wsgilab.model.text import counted
from wsgilab.report import tables
from wsgilab.report.charts.figure import MOST_PANELS, Figure, Panel, ends, kept, kept_rows, labels, place
from wsgilab.report.charts.marks import data, dots, point, saying_rows
from wsgilab.report.charts.theme import INK, ROW, NumberAxis, name_rows
from wsgilab.report.tables import Column, Table

MOST = 4.0
"""The axis goes to so many times the reference's cost, and down to one over it, unless a median lies beyond."""
_LEAST = 1.1
"""And so far at least: servers that cost the same look so."""

_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 1, numeric=False),
    Column("x cost", 0),
    Column("its interval", 0),
    Column("verdict", 0, numeric=False),
    Column("margin", 0),
    Column("blocks", 0),
)

_Drawn = tuple[PairResult, CostRatio]


def cost_ratio(comparison: Comparison) -> Iterable[Figure]:
    """A panel for each of these conditions, with a row for each server."""
    groups: dict[Conditions, list[_Drawn]] = defaultdict(list)
    for pair in comparison.pairs:
        if pair.cost is not None:
            groups[pair.cell.conditions].append((pair, pair.cost))
    telling = [each for each in groups.values() if any(cost.verdict != "undecided" or cost.because for _, cost in each)]
    if not telling:
        return
    drawn, left_out = kept(telling, MOST_PANELS, "panels", where="the table below")
    yield Figure(
        name="cost-ratio",
        section="cost",
        title="Cost against the reference: CPU time a request",
        caption=(
            "A server's CPU time a request over the reference's, and its interval; all intervals hold together with a chance of "
            "95 %. Filled: the interval lies on one side of the grey bar, so it costs less or more. The bar is what does not "
            f"count, and wider where others were on the cores.{left_out}"
        ),
        panels=tuple(_panel(comparison, each) for each in drawn),
        table=Table(
            title="Ratios of the charts",
            columns=_COLUMNS,
            rows=tuple(_row(comparison, *each) for group in telling for each in group),
        ),
    )


def _panel(comparison: Comparison, group: Sequence[_Drawn]) -> Panel:
    shown, more = kept_rows(group)
    (first, _), *_ = group
    title = f"over {first.reference}: {tables.workload(comparison.run, first.cell.workload)}{more}"
    return Panel(title=(title, f"{first.cell.load}, {place(first.cell)}"), chart=partial(_chart, shown))


def _chart(shown: Sequence[_Drawn]) -> alt.TopLevelMixin:
    names = labels(pair.cell.server for pair, _ in shown)
    furthest = max(max(cost.ratio.median, 1 / cost.ratio.median, 1 + cost.margin) for _, cost in shown)
    widest = max(furthest, *(max(high, 1 / low) for low, high in (ends(cost.ratio) for _, cost in shown)))
    high = max(_LEAST, 1.02 * min(widest, max(MOST, furthest)))
    axis, rows = NumberAxis(title="x cost", low=1 / high, high=high, log=True), name_rows(names.values())
    points, bars = [], []
    said: dict[str, Sequence[str]] = {}
    for pair, cost in shown:
        server, (begin, end) = names[pair.cell.server], ends(cost.ratio)
        within = Interval(median=cost.ratio.median, low=max(begin, axis.low), high=min(end, axis.high))
        points.append({"server": server, "series": "cost", **point(within, hollow=cost.verdict == "undecided")})
        edge = min(1 + cost.margin, axis.high)
        bars.append({"server": server, "begin": 1 / edge, "end": edge})
        spelt = "{:.2f}".format
        said[server] = (f"x cost: {spelt(cost.ratio.median)} ({tables.ends(cost.ratio, spelt)})", cost.verdict)
    uncounted = alt.Chart(data(bars)).mark_bar(height=12, fill=INK, fillOpacity=0.15)
    return alt.layer(
        uncounted.encode(x=axis.x("begin"), x2=alt.X2("end:Q"), y=rows),
        *dots(points, axis, rows, {"cost": "circle"}),
        saying_rows(said, axis, rows),
        height=alt.Step(ROW),
    )


def _row(comparison: Comparison, pair: PairResult, cost: CostRatio) -> tuple[str, ...]:
    return (
        pair.cell.server,
        tables.describe(comparison, pair.cell),
        f"{cost.ratio.median:.2f}",
        tables.ends(cost.ratio, "{:.2f}".format),
        cost.verdict,
        f"{cost.margin:.1%}",
        f"{counted(cost.blocks, 'window')} with both at once" if cost.duet else str(cost.blocks),
    )
