"""What a stored run says: compared and written in every format, and what to run because of it.

Nothing here measures anything.
"""

from rich.console import Console

from wsgilab.analysis.versions import whole
from wsgilab.model import Comparison, Wish
from wsgilab.model.text import visible
from wsgilab.report import terminal
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


def conclude(store: Store, console: Console) -> Comparison:
    """Write the comparison, and print it; of a user's own application with what to run at the end."""
    comparison = write(store)
    if comparison.versions is None:
        console.print(terminal.comparison(comparison, console.width))
    else:
        from wsgilab.report import ab

        console.print(ab.on_terminal(comparison.versions, console.width))
        say(console, f"The two versions, and how to read it: {shown(store.folder)}/against.html")
    say(
        console,
        f"Results, with every column, the warnings of each cell, and how to read them: {shown(store.folder)}/comparison.md",
    )
    say(console, f"To look at, in a browser: {shown(store.folder)}/{REPORT}")
    if (
        comparison.run.experiment.application is not None
        and comparison.versions is None
        and comparison.capacity is None
    ):
        console.print()
        console.print(terminal.advice(comparison))
    return comparison


def report(name: str, console: Console, workspace: Workspace) -> Comparison:
    """Compare, write and print a stored run again, from its folder alone. Raises StoreError."""
    with signals_raise():
        return conclude(Store.find(workspace.results, name), console)


def recommend(wish: Wish, name: str, console: Console, workspace: Workspace) -> None:
    """Print which of the servers of a stored run to run. Raises StoreError, and SpecError for what cannot be wished."""
    with signals_raise():
        store = Store.find(workspace.results, name)
        found = whole(store.run(), store.observations(), wish, store.duets())
        console.print(terminal.advice(found) if found.capacity is None else terminal.comparison(found, console.width))


def say(console: Console, text: str) -> None:
    """One line, as it is; what a terminal would act on is spelt out."""
    console.print(visible(text), markup=False, highlight=False, soft_wrap=True)
