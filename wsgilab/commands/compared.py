"""`lab.compare`: two stored runs held against each other, printed as what reads it wants it, with a limit or a need or neither."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from rich.console import Console

from wsgilab.analysis.ab.checks import checks, parse_limit, parse_need
from wsgilab.analysis.ab.runs import runs as compare_two
from wsgilab.analysis.ab.versions import current
from wsgilab.commands.stored import say
from wsgilab.experiment.parsing import check_known
from wsgilab.model import Limit, RunsComparison
from wsgilab.model.errors import Inconclusive, LabError, LimitBreached, SpecError
from wsgilab.results.store import Store
from wsgilab.run.workspace import Workspace, shown, signals_raise

TERMINAL, JUNIT, GITHUB = "terminal", "junit", "github"
FORMATS = (TERMINAL, JUNIT, GITHUB)

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable by which GitHub Actions names the file of a step's summary."""


def compare_runs(
    first: str,
    second: str,
    fail_on: str | None,
    console: Console,
    workspace: Workspace,
    *,
    need: str | None = None,
    form: str = TERMINAL,
    environment: Mapping[str, str] = os.environ,
) -> RunsComparison:
    """Hold a run against an earlier one; write that into its folder, and print it as one of FORMATS.

    Raises StoreError, SpecError where there is nothing to compare, LimitBreached where `fail_on`, such as `slower=5%`, is,
    and Inconclusive where a cell could not have shown a difference of `need`, such as `5%`.
    """
    with signals_raise():
        check_known([form], FORMATS, "--format", "format")
        try:
            limit = None if fail_on is None else parse_limit(fail_on)
            least = None if need is None else parse_need(need)
            a, b = Store.find(workspace.results, first), Store.find(workspace.results, second)
            return _compare(a, b, limit, least, form, console, environment)
        except LabError as error:
            raise as_printed(error, form) from None


def as_printed(error: LabError, form: str) -> LabError:
    """An error as its message may stand in a log that is read for commands."""
    if form != GITHUB:
        return error
    from wsgilab.report.ab.github import harmless

    return type(error)(harmless(error.message), detail=harmless(error.detail))


def _compare(
    a: Store,
    b: Store,
    limit: Limit | None,
    need: float | None,
    form: str,
    console: Console,
    environment: Mapping[str, str],
) -> RunsComparison:
    from wsgilab.report import ab as render
    from wsgilab.report.ab import checks as words

    read = (*current(a.run(), a.observations()), *current(b.run(), b.observations()))
    try:
        found = compare_two(*read)
    except SpecError as error:
        print_nothing(error.message, form, console, environment)
        if need is None:
            raise
        raise Inconclusive(f"{words.need_option(need)}: {error.message}") from None
    for write_as in (render.runs_md, render.runs_yaml, render.runs_html):
        written = write_as(found)
        b.write({f"against-{a.folder.name}{Path(name).suffix}": content for name, content in written.items()})
    if form == TERMINAL:
        console.print(render.on_terminal(found, console.width))
        page = f"{shown(b.folder)}/against-{a.folder.name}.html"
        say(console, f"What differs between them, and how to read it: {page}")
    judge(found, limit, need, console, form=form, environment=environment)
    return found


def judge(
    found: RunsComparison,
    limit: Limit | None,
    need: float | None,
    console: Console,
    *,
    form: str = TERMINAL,
    environment: Mapping[str, str] = os.environ,
    absent: Collection[str] = (),
) -> None:
    """Print what a limit and a need say of two runs, or of two versions in one run: as one of FORMATS, which on a terminal is a few lines below their tables.

    `absent` are servers that were asked for, and are not up in both versions. Raises LimitBreached or Inconclusive where one of
    the two is not kept.
    """
    from wsgilab.report.ab import checks as words
    from wsgilab.report.ab import github, junit, outcome

    checked = checks(found, limit, need, absent)
    failure = words.failure(checked, limit, need)
    if form == JUNIT:
        _out(console, junit.runs_junit(found, checked, limit, need))
    elif form == GITHUB:
        for line in github.annotations(found, checked, limit, need):
            _out(console, line)
        _summarize(github.summary(found, checked, limit, need), console, environment)
    elif not failure:
        for line in (outcome(found), *words.kept(found, checked, limit, need)):
            say(console, line)
    if failure:
        is_breached = any(check.outcome == "breached" for check in checked)
        # As the detail of the error, one line each, it is the last thing in a log of continuous integration.
        kind = LimitBreached if is_breached else Inconclusive
        raise as_printed(kind(failure, detail="\n".join(words.lines(found, checked, limit))), form)


def print_nothing(
    reason: str, form: str, console: Console, environment: Mapping[str, str] = os.environ, *, task: str = "lab.compare"
) -> None:
    """What a reader of the format gets where the two cannot be compared; on a terminal the error alone."""
    from wsgilab.report.ab import github, junit

    if form == JUNIT:
        _out(console, junit.nothing_junit(reason, task))
    elif form == GITHUB:
        _out(console, github.nothing_annotated(reason))
        _summarize(github.nothing_summarized(reason), console, environment)


def _summarize(text: str, console: Console, environment: Mapping[str, str]) -> None:
    """Append it to the file that GitHub names, or print it. Raises LabError."""
    if not (file := environment.get(SUMMARY)):
        _out(console, text)
        return
    try:
        with Path(file).open("a", encoding="utf-8") as summary:
            summary.write(text)
    except OSError as error:
        raise LabError(
            f"{SUMMARY}={file}: cannot be written ({error.strerror}); name a file that can be, or unset it"
        ) from None


def _out(console: Console, text: str) -> None:
    """As it is: neither folded nor coloured."""
    console.out(text.rstrip("\n"), highlight=False)
