"""`against.md`: two runs beside each other, for a reader."""

from collections.abc import Iterable, Mapping

from wsgilab.model import RunsComparison
from wsgilab.report.ab import words
from wsgilab.report.markdown import escape, titled, untitled
from wsgilab.report.versions import findings


def runs_md(comparison: RunsComparison) -> Mapping[str, bytes]:
    """The two as Markdown (GitHub's flavour, for its tables)."""
    return {"against.md": ("\n".join(_lines(comparison)).rstrip() + "\n").encode()}


def _lines(comparison: RunsComparison) -> Iterable[str]:
    yield f"# {escape(words.title(comparison))}"
    yield ""
    yield from _listed(findings(comparison))
    yield from _listed(words.notes(comparison))
    for group, _ in words.groups(comparison):
        yield from titled(group)
    yield "## What differs"
    yield ""
    yield from _listed(filter(None, [words.alike(comparison)]))
    if comparison.differences:
        yield from untitled(words.differences(comparison))
    yield from titled(words.identities(comparison))
    for where, cells in words.only(comparison):
        yield f"## {where}"
        yield ""
        yield from _listed(cells)
    yield "## How to read it"
    yield ""
    yield from (f"- **{term}**: {meaning}" for term, meaning in words.legend(comparison))


def _listed(lines: Iterable[str]) -> Iterable[str]:
    listed = [f"- {escape(line)}" for line in lines]
    return [*listed, ""] if listed else []
