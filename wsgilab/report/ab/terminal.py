"""Two runs beside each other on a terminal, as values that rich prints."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table as RichTable

from wsgilab.model import CellOfRuns, RunsComparison, Verdict
from wsgilab.report.ab import words
from wsgilab.report.tables import Table
from wsgilab.report.terminal import text

_STYLES: Mapping[Verdict, str] = {"faster": "green", "slower": "red", "undecided": "yellow"}
_ROOMY = 120
"""From so many columns on a terminal shows everything."""


def on_terminal(comparison: RunsComparison, width: int) -> RenderableType:
    """What a reader must know, a table for each workload and its conditions, and what differs."""
    parts: list[RenderableType] = [text(words.title(comparison), "bold"), *map(text, words.notes(comparison)), text("")]
    for group, cells in words.groups(comparison):
        parts += [_table(group, cells, width), *(text(f"  ! {note}", "yellow") for note in group.notes), text("")]
    if alike := words.alike(comparison):
        parts.append(text(alike))
    if comparison.differences:
        found = RichTable(box=None, pad_edge=False, header_style="dim", title_justify="left")
        found.title = text("What differs", "bold")
        for heading in words.DIFFERENCE_COLUMNS:
            found.add_column(heading, overflow="fold")
        for row in words.differences(comparison.differences):
            found.add_row(*map(text, row))
        parts.append(found)
    parts += [text(f"{where}: {'; '.join(cells)}") for where, cells in words.only(comparison)]
    return Group(*parts)


def _table(group: Table, cells: Sequence[CellOfRuns], width: int) -> RichTable:
    shown = [index for index, column in enumerate(group.columns) if column.rank == 0 or width >= _ROOMY]
    made = RichTable(box=None, pad_edge=False, header_style="dim", title_justify="left", title_style="bold")
    made.title = text(group.title)
    for index in shown:
        column = group.columns[index]
        made.add_column(column.heading, justify="right" if column.numeric else "left", overflow="fold")
    for row, cell in zip(group.rows, cells, strict=True):
        styles = {"verdict": "" if cell.same else _STYLES[cell.verdict]}
        made.add_row(*(text(row[index], styles.get(group.columns[index].heading, "")) for index in shown))
    return made
