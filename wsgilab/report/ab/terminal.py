"""Two runs beside each other on a terminal, as values that rich prints."""

from collections.abc import Mapping

from rich.console import Group, RenderableType

from wsgilab.model import RunsComparison
from wsgilab.report import tables
from wsgilab.report.ab import words
from wsgilab.report.terminal import notes, text, titled
from wsgilab.report.versions import findings

_STYLES: Mapping[str, str] = {"faster": "green", "slower": "red", "undecided": "yellow"}
"""By what is said of a cell; the others have none."""


def on_terminal(comparison: RunsComparison, width: int) -> RenderableType:
    """What a reader must know, a table for each workload and its conditions, and what differs."""
    found = [*findings(comparison), *words.notes(comparison)]
    parts: list[RenderableType] = [text(words.title(comparison), "bold"), *map(text, found), text("")]
    for group, cells in words.groups(comparison):
        styles = [{"verdict": _STYLES.get(tables.verdict(cell), "")} for cell in cells]
        parts += [titled(group, width, styles), *notes(group.notes), text("")]
    if alike := words.alike(comparison):
        parts.append(text(alike))
    if comparison.differences:
        parts.append(titled(words.differences(comparison), width))
    parts += [text(f"{where}: {'; '.join(cells)}") for where, cells in words.only(comparison)]
    return Group(*parts)
