"""The comparison on a terminal, as values that rich prints."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from wsgilab.model import Comparison
from wsgilab.render import tables


def comparison(comparison: Comparison) -> RenderableType:
    """The answer, then one table for each workload and its conditions."""
    parts: list[RenderableType] = []
    answer = tables.answer(comparison)
    for table in ([answer] if answer else []) + list(tables.groups(comparison)):
        parts += [_table(table), *_notes(table.notes), Text()]
    return Group(*parts)


def grid(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> RenderableType:
    """A plain table of text."""
    table = RichTable(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _table(source: tables.Table) -> RichTable:
    table = RichTable(
        title=Text(source.title, "bold"), title_justify="left", box=None, pad_edge=False, header_style="dim"
    )
    for index, column in enumerate(source.columns):
        # The first column names the row: it must never be what a narrow terminal cuts.
        table.add_column(column, justify="right" if index in source.numeric else "left", no_wrap=index == 0)
    for row in source.rows:
        table.add_row(*map(Text, row))
    return table


def _notes(notes: Iterable[str]) -> list[Text]:
    return [Text(f"  ! {note}", "yellow") for note in notes]
