"""How evenly requests fall to a server's processes."""

from collections.abc import Iterable, Sequence

from wsgilab.model import CellResult, Comparison
from wsgilab.report import tables
from wsgilab.report.figures.values import MOST_PANELS, MOST_ROWS, Figure, Panel, Stacks, kept, short, telling
from wsgilab.report.tables import Column, Table

_FEWEST = 2
"""Processes; a single one does it all."""


def balance(comparison: Comparison) -> Iterable[Figure]:
    """The shares of the processes, for every server that has several; one panel for each of the conditions."""
    results = [each for each in comparison.cells if len(_shares(each)) >= _FEWEST]
    if not results:
        return
    groups = [
        [each for each in results if each.cell.conditions == conditions]
        for conditions in dict.fromkeys(each.cell.conditions for each in results)
    ]
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
        workload="",
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
    drawn = results[:MOST_ROWS]
    more = f" ({MOST_ROWS} of {len(results)} servers)" if len(results) > MOST_ROWS else ""
    return Panel(
        title=tables.describe(comparison, drawn[0].cell) + more,
        drawing=Stacks(names=tuple(short([each.cell.server for each in drawn])), shares=tuple(map(_shares, drawn))),
    )


def _shares(result: CellResult) -> tuple[float, ...]:
    return () if result.figures is None else result.figures.process_shares
