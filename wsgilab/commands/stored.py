"""What stored runs say: compared and written in every format, held against each other, and what to run because of it.

Nothing here measures anything.
"""

from pathlib import Path

from rich.console import Console

from wsgilab.analysis.ab import breaches, parse_limit
from wsgilab.analysis.ab import runs as compare_two
from wsgilab.analysis.compare import compare
from wsgilab.model import Comparison, RunsComparison, Wish
from wsgilab.model.errors import LimitBreached
from wsgilab.model.text import visible
from wsgilab.report import terminal
from wsgilab.results.store import Store
from wsgilab.run.workspace import Workspace, shown, signals_raise

REPORT = "report.html"


def write(store: Store) -> Comparison:
    """The run's comparison, written in every format into its folder. Raises StoreError."""
    # Charts take a moment to import, which other tasks need not wait for.
    from wsgilab.report.formats import FORMATS

    comparison = compare(store.run(), store.observations(), duets=store.duets())
    for render in FORMATS.values():
        store.write(render(comparison))
    return comparison


def conclude(store: Store, console: Console) -> Comparison:
    """Write the comparison, and print it; of a user's own application with what to run at the end."""
    comparison = write(store)
    console.print(terminal.comparison(comparison, console.width))
    say(
        console,
        f"Results, with every column, the warnings of each cell, and how to read them: {shown(store.folder)}/comparison.md",
    )
    say(console, f"To look at, in a browser: {shown(store.folder)}/{REPORT}")
    if comparison.run.experiment.application is not None:
        console.print()
        console.print(terminal.advice(comparison))
    return comparison


def report(name: str, console: Console, workspace: Workspace) -> Comparison:
    """Compare, write and print a stored run again, from its folder alone. Raises StoreError."""
    with signals_raise():
        return conclude(Store.find(workspace.results, name), console)


def compare_runs(
    first: str, second: str, fail_on: str | None, console: Console, workspace: Workspace
) -> RunsComparison:
    """Hold a run against an earlier one; write that into its folder, and print it.

    Raises StoreError, SpecError where there is nothing to compare, and LimitBreached where `fail_on`, such as
    `slower=5%`, is.
    """
    with signals_raise():
        from wsgilab.report import ab as render

        limit = None if fail_on is None else parse_limit(fail_on)
        a, b = Store.find(workspace.results, first), Store.find(workspace.results, second)
        found = compare_two(a.run(), a.observations(), b.run(), b.observations())
        for write_as in (render.runs_md, render.runs_yaml, render.runs_html):
            written = write_as(found)
            b.write({f"against-{a.folder.name}{Path(name).suffix}": content for name, content in written.items()})
        console.print(render.on_terminal(found, console.width))
        say(console, f"What differs between them, and how to read it: {shown(b.folder)}/against-{a.folder.name}.html")
        if limit is not None and (breached := breaches(found, limit)):
            # As the detail of the error, one line each, it is the last thing in a log of continuous integration.
            raise LimitBreached(
                f"--fail-on {fail_on}: breached by {len(breached)} of {len(found.cells)} cells",
                detail="\n".join(render.breached(found, breached, limit)),
            )
        say(console, render.outcome(found))
        if limit is not None:
            say(console, f"--fail-on {fail_on}: {render.kept(found, limit)}")
        return found


def recommend(wish: Wish, name: str, console: Console, workspace: Workspace) -> None:
    """Print which of the servers of a stored run to run. Raises StoreError, and SpecError for what cannot be wished."""
    with signals_raise():
        store = Store.find(workspace.results, name)
        console.print(terminal.advice(compare(store.run(), store.observations(), wish, store.duets())))


def say(console: Console, text: str) -> None:
    """One line, as it is; what a terminal would act on is spelt out."""
    console.print(visible(text), markup=False, highlight=False, soft_wrap=True)
