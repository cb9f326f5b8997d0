"""Two runs for GitHub Actions: annotations, which are workflow commands in a log, and a summary of the job in Markdown.

A log is read for commands: a line that begins with `::`, and any line with `##[` in it. What comes from a results folder
must be neither.
"""

from collections.abc import Iterable, Sequence

from wsgilab.model import Limit, LimitCheck, RunsComparison
from wsgilab.model.text import visible
from wsgilab.report.ab import checks as words
from wsgilab.report.ab.words import alike, differences, groups, heading, identities, notes, only, outcome
from wsgilab.report.markdown import escape, titled

MOST_ANNOTATIONS = 10
"""GitHub shows so many errors of a step, and no more."""

LARGEST_SUMMARY = 2**20
"""Bytes. GitHub refuses a step's summary that is larger."""


def annotations(
    comparison: RunsComparison, checks: Sequence[LimitCheck], limit: Limit | None, need: float | None
) -> Sequence[str]:
    """A line for each breach and then for each figure that could not tell, as many as are shown, or one that all was kept."""
    failed = [check for each in ("breached", "inconclusive") for check in checks if check.outcome == each]
    if not failed:
        said = "; ".join([outcome(comparison), *words.kept(comparison, checks, limit, need)])
        return [_command("notice", heading(comparison), said)]
    shown = failed if len(failed) <= MOST_ANNOTATIONS else failed[: MOST_ANNOTATIONS - 1]
    lines = [
        _command(
            "error",
            f"{check.cell.server}: {check.figure} {'breaches the limit' if check.outcome == 'breached' else 'could not tell'}",
            words.line(comparison, check, limit),
        )
        for check in shown
    ]
    if left := len(failed) - len(shown):
        lines.append(_command("error", f"{left} more", f"{words.failure(checks, limit, need)}: the summary names all"))
    return lines


def nothing_annotated(reason: str) -> str:
    """The annotation where the two cannot be compared."""
    return _command("error", "Nothing was compared", reason)


def nothing_summarized(reason: str) -> str:
    """The summary there."""
    return f"# Nothing was compared\n\n{escape(reason)}\n"


def _command(name: str, title: str, message: str) -> str:
    """As @actions/core writes it: in a property colons and commas are escaped too."""
    escaped = _data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{name} title={escaped}::{_data(message)}"


def _data(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def harmless(text: str) -> str:
    """`text` as it is to be printed beside commands, where it does not begin a line: none of it is a command."""
    return text.replace("##[", "# #[")


def summary(comparison: RunsComparison, checks: Sequence[LimitCheck], limit: Limit | None, need: float | None) -> str:
    """The two as Markdown: what was asked and what came of it, and every cell; without the tables where GitHub would refuse it."""
    begin = "\n".join([f"# {escape(_title(comparison))}", "", *_result(comparison, checks, limit, need)])
    whole = "\n".join([begin, *_tables(comparison)])
    return (whole if len(whole.encode()) < LARGEST_SUMMARY else begin[: LARGEST_SUMMARY // 4]).rstrip() + "\n"


def _title(comparison: RunsComparison) -> str:
    return f"{comparison.b.experiment.name}: {outcome(comparison)}"


def _result(
    comparison: RunsComparison, checks: Sequence[LimitCheck], limit: Limit | None, need: float | None
) -> Iterable[str]:
    if failure := words.failure(checks, limit, need):
        yield f"**Failed.** {_within(failure)}"
        yield ""
        yield from (f"- {escape(line)}" for line in words.lines(comparison, checks, limit))
    else:
        kept = words.kept(comparison, checks, limit, need)
        yield "**Passed.**" if kept else "No limit was asked for."
        yield ""
        yield from (f"- {_within(line)}" for line in kept)
    yield ""


def _within(text: str) -> str:
    """Escaped for a place where it does not begin a line, so that `--fail-on` stays as it is typed."""
    return escape(f"x{text}")[1:]


def _tables(comparison: RunsComparison) -> Iterable[str]:
    for group, _ in groups(comparison):
        yield from titled(group)
    for where, cells in only(comparison):
        yield f"## {where}"
        yield ""
        yield from (f"- {escape(cell)}" for cell in cells)
        yield ""
    two = "runs" if comparison.versions is None else "versions"
    yield f"<details><summary>What differs between the two {two}, and how to read the figures</summary>"
    yield ""
    yield from (f"- {escape(note)}" for note in filter(None, (*notes(comparison), alike(comparison))))
    yield ""
    if comparison.differences:
        yield from titled(differences(comparison))
    yield from titled(identities(comparison))
    yield "</details>"
