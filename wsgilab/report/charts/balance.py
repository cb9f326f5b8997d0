"""How evenly requests fall to a server's processes."""

from collections.abc import Iterable, Sequence
from functools import partial

import altair as alt

from wsgilab.model import CellResult, Comparison, by_conditions
from wsgilab.report import tables
from wsgilab.report.charts.figure import MOST_PANELS, Figure, Panel, kept, kept_rows, labels, place, telling
from wsgilab.report.charts.marks import Row, data, saying_rows
from wsgilab.report.charts.theme import COLOURS, TEXT, NumberAxis, name_rows
from wsgilab.report.tables import Column, Table

_FEWEST = 2
"""Processes; a single one does it all."""

_ROW, _BAR = 24, 14
"""Pixels of a row, and of the bar in it; the strokes of even shares are longer than the bar."""

_LEGIBLE = 0.15
"""The least share whose bar has room for its figure."""

_NAMED = 4
"""So many shares are spelt out beside a row."""

_AXIS = NumberAxis(title="share of the requests", low=0.0, high=1.0, percent=True, ticks=(0.0, 0.25, 0.5, 0.75, 1.0))


def balance(comparison: Comparison) -> Iterable[Figure]:
    """The shares of the processes, for every server that has several; one panel for each of the conditions."""
    results = [each for each in comparison.cells if len(_shares(each)) >= _FEWEST]
    if not results:
        return
    groups = list(by_conditions(results).values())
    # Where there is no room for all, the first of each workload, then the second of each, and so on.
    order = dict.fromkeys(dict.fromkeys(each.cell.workload for each in results), 0)
    turns: dict[int, int] = {}
    for at in sorted(range(len(groups)), key=lambda at: telling(groups[at][0].cell)):
        workload = groups[at][0].cell.workload
        turns[at] = order[workload]
        order[workload] += 1
    first = sorted(range(len(groups)), key=lambda at: (turns[at], at))
    kept_groups, left_out = kept(first, MOST_PANELS, "panels", where="the table below")
    yield Figure(
        name="balance",
        section="balance",
        title="Balance across processes",
        caption=(
            "What share of the requests each process finished, the busiest first; the strokes are where the borders would "
            f"be if all were busy alike. Only servers that declare {_FEWEST} processes or more.{left_out}"
        ),
        panels=tuple(_panel(comparison, groups[at]) for at in sorted(kept_groups)),
        table=Table(
            title="Shares of the processes",
            columns=(
                Column("server", 0, numeric=False),
                Column("conditions", 1, numeric=False),
                Column("processes", 0),
                Column("even share", 0),
                Column("shares", 0, numeric=False),
            ),
            rows=tuple(
                (
                    each.cell.server,
                    tables.describe(comparison, each.cell),
                    str(len(_shares(each))),
                    f"{1 / len(_shares(each)):.0%}",
                    ", ".join(f"{share:.0%}" for share in _shares(each)),
                )
                for each in results
            ),
        ),
    )


def _panel(comparison: Comparison, results: Sequence[CellResult]) -> Panel:
    drawn, more = kept_rows(results)
    cell = drawn[0].cell
    workload = tables.workload(comparison.run, cell.workload)
    return Panel(title=(workload, f"{cell.load}, {place(cell)}{more}"), chart=partial(_chart, drawn))


def _chart(drawn: Sequence[CellResult]) -> alt.TopLevelMixin:
    """A bar for each share of a server, and strokes where the borders would be if all were even."""
    names = labels(each.cell.server for each in drawn)
    bars: list[Row] = []
    evens: list[Row] = []
    for each in drawn:
        server, shares, begin = names[each.cell.server], _shares(each), 0.0
        for number, share in enumerate(shares):
            text = f"{share:.0%}" if share >= _LEGIBLE else ""
            place_of = {"begin": begin, "end": begin + share, "middle": begin + share / 2}
            bars.append({"server": server, **place_of, "shade": (0.4, 0.15)[number % 2], "text": text})
            begin += share
        evens += [{"server": server, "even": number / len(shares)} for number in range(1, len(shares))]
    said = {names[each.cell.server]: _shares_in_lines(each) for each in drawn}
    rows, blue = name_rows(names.values()), COLOURS[0]
    base = alt.Chart(data(bars)).encode(y=rows)
    strokes = alt.Chart(data(evens)).mark_tick(color=COLOURS[1], thickness=2, size=_ROW - 2)
    return alt.layer(
        strokes.encode(x=_AXIS.x("even"), y=rows),
        base.mark_bar(height=_BAR, fill=blue, stroke=blue, strokeWidth=1.5).encode(
            x=_AXIS.x("begin"), x2=alt.X2("end:Q"), fillOpacity=alt.FillOpacity("shade:Q", scale=None)
        ),
        base.mark_text(fontSize=TEXT - 1).encode(x=_AXIS.x("middle"), text=alt.Text("text:N")),
        saying_rows(said, _AXIS, rows),
        height=alt.Step(_ROW),
    )


def _shares_in_lines(result: CellResult) -> Sequence[str]:
    """Those of the busiest, and what an even share is."""
    shares = _shares(result)
    more = f" and {len(shares) - _NAMED} less busy" if len(shares) > _NAMED else ""
    named = ", ".join(f"{share:.0%}" for share in shares[:_NAMED])
    return (f"{named}{more}", f"of {len(shares)} processes; {1 / len(shares):.0%} each is even")


def _shares(result: CellResult) -> tuple[float, ...]:
    return () if result.figures is None else result.figures.process_shares
