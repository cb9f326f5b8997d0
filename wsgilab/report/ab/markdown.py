"""`against.md`: two runs beside each other, for a reader."""

from collections.abc import Iterable, Mapping

from wsgilab.model import RunsComparison
from wsgilab.report.ab import words
from wsgilab.report.markdown import escape, table


def runs_md(comparison: RunsComparison) -> Mapping[str, bytes]:
    """The two as Markdown (GitHub's flavour, for its tables)."""
    return {"against.md": ("\n".join(_lines(comparison)).rstrip() + "\n").encode()}


def _lines(comparison: RunsComparison) -> Iterable[str]:
    yield f"# {escape(words.title(comparison))}"
    yield ""
    yield from _listed(words.notes(comparison))
    for group, _ in words.groups(comparison):
        yield f"## {escape(group.title)}"
        yield ""
        numeric = {index for index, column in enumerate(group.columns) if column.numeric}
        yield from table([column.heading for column in group.columns], group.rows, numeric)
        yield from _listed(group.notes)
    yield "## What differs"
    yield ""
    yield from _listed(filter(None, [words.alike(comparison)]))
    if comparison.differences:
        yield from table(words.DIFFERENCE_COLUMNS, words.differences(comparison.differences), numeric=())
    yield "## The two runs"
    yield ""
    yield from table(("", "A", "B"), words.identities(comparison), numeric=())
    for where, cells in words.only(comparison):
        yield f"## {where}"
        yield ""
        yield from _listed(cells)
    yield "## How to read it"
    yield ""
    yield from (f"- **{term}**: {meaning}" for term, meaning in words.LEGEND)


def _listed(lines: Iterable[str]) -> Iterable[str]:
    listed = [f"- {escape(line)}" for line in lines]
    return [*listed, ""] if listed else []
