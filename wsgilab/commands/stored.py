"""What a stored run says: compared and written in every format, and what to run because of it.

Nothing here measures anything.
"""

from collections.abc import Sequence

from rich.console import Console

from wsgilab.analysis.ab.versions import whole
from wsgilab.experiment.parsing import check_known
from wsgilab.model import Comparison, Wish
from wsgilab.model.errors import UsageError
from wsgilab.model.text import called, visible
from wsgilab.report import markdown, terminal
from wsgilab.report.comparison import comparison_json
from wsgilab.report.tune import tuned
from wsgilab.results.store import Store
from wsgilab.run.workspace import Workspace, shown, signals_raise

REPORT = "report.html"


def write(store: Store) -> Comparison:
    """The run's comparison, written in every format into its folder; of two versions of an application, that of the two as well.
    Raises StoreError."""
    # Charts take a moment to import, which other tasks need not wait for.
    from wsgilab.report.formats import FORMATS

    comparison = whole(store.run(), store.observations(), duets=store.duets())
    for render in FORMATS.values():
        store.write(render(comparison))
    if comparison.versions is not None:
        from wsgilab.report import ab

        for write_as in (ab.runs_md, ab.runs_yaml, ab.runs_html):
            store.write(write_as(comparison.versions))
    return comparison


def conclude(store: Store, console: Console, *, verbose: bool = False) -> Comparison:
    """Write the comparison, and print its summary or, with `verbose`, every table; of a user's own application then with the advice."""
    comparison = write(store)
    if comparison.versions is None:
        shown_as = terminal.comparison if verbose else terminal.summary
        console.print(shown_as(comparison, console.width))
    else:
        from wsgilab.report import ab

        console.print(ab.on_terminal(comparison.versions, console.width))
        say(console, f"The two versions, and how to read it: {shown(store.folder)}/against.html")
    folder = shown(store.folder)
    say(console, f"Every table and warning: {folder}/comparison.md")
    if not verbose:
        say(console, f"The same here: {called('lab.report')} --run {folder} --verbose")
    say(console, f"To look at, in a browser: {folder}/{REPORT}")
    if comparison.versions is not None or comparison.capacity is not None:
        return comparison
    if (words := tuned(comparison)) is not None:
        console.print()
        console.print(terminal.tuned(words), crop=False)
        return comparison
    if comparison.advice:
        say(console, f"Which server to run, and why: {called('lab.recommend')} --run {folder}")
    if verbose and comparison.run.experiment.application is not None:
        console.print()
        console.print(terminal.advice(comparison))
    return comparison


FORMATS = ("terminal", "markdown", "json")
"""What a stored run can be printed as."""


def report(
    name: str,
    console: Console,
    workspace: Workspace,
    *,
    form: str | None = None,
    columns: Sequence[str] = (),
    verbose: bool = False,
) -> Comparison:
    """Compare, write and print a stored run again, from its folder alone.

    With a `form` of FORMATS, or with `columns`, it is only printed. Raises StoreError, and SpecError for what cannot be printed.
    """
    if form is not None:
        check_known([form], FORMATS, "--format", "format")
    if verbose and (columns or form not in (None, "terminal")):
        raise UsageError(
            "--verbose: prints every table on a terminal; leave out --columns and --format, or leave this out"
        )
    with signals_raise():
        store = Store.find(workspace.results, name)
        if form is None and not columns:
            return conclude(store, console, verbose=verbose)
        comparison = whole(store.run(), store.observations(), duets=store.duets())
        if form == "json":
            say(console, comparison_json(comparison, columns))
        elif form == "markdown":
            say(console, markdown.printed(comparison, columns))
        elif columns:
            console.print(terminal.chosen(comparison, columns, console.width))
        else:
            shown_as = terminal.comparison if verbose else terminal.summary
            console.print(shown_as(comparison, console.width))
        return comparison


def recommend(wish: Wish, name: str, console: Console, workspace: Workspace) -> None:
    """Print which of the servers of a stored run to run. Raises StoreError, and SpecError for what cannot be wished."""
    with signals_raise():
        store = Store.find(workspace.results, name)
        found = whole(store.run(), store.observations(), wish, store.duets())
        console.print(terminal.advice(found) if found.capacity is None else terminal.comparison(found, console.width))


def say(console: Console, text: str) -> None:
    """One line, as it is; what a terminal would act on is spelt out."""
    console.print(visible(text), markup=False, highlight=False, soft_wrap=True)
