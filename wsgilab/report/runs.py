"""Stored runs as a list: what each was, when, where, and how it ended."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypedDict

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding

from wsgilab.model import Application, Run
from wsgilab.model.text import counted
from wsgilab.report.terminal import text

_GAP = 2
_MINUTE = len("2026-01-02T03:04")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run's folder, and what was found in it."""

    name: str
    """The folder's, which a run is called by."""
    run: Run | None
    """None where it cannot be read."""
    problem: str = ""
    """Why it cannot be."""
    measured: int = 0
    """Trials."""
    failed: int = 0
    """Trials, of those that were carried out last."""
    left: int = 0
    """Trials that `--resume` would carry out before it looks again. Of a run with a budget, none."""
    used_s: float = 0.0
    """How long trials took."""


class RunEntry(TypedDict):
    """A stored run, for a program."""

    run: str
    """What it is called by: its id, unless its folder was renamed."""
    started: str | None
    """ISO 8601, with the offset from UTC; null where the run cannot be read, as in what follows."""
    experiment: str | None
    application: str | None
    """The entry of a user's own; null for the lab's."""
    servers: list[str]
    workloads: list[str]
    runtime: str | None
    machines: list[str]
    """What has targets: the processor, or the names of a site's machines."""
    measured: int
    """Trials."""
    failed: int
    left: int
    """Trials that are still to come before `--resume` looks again."""
    ended: str
    """In words."""
    problem: str
    """Why it cannot be read; else empty."""


def entry(of: StoredRun) -> RunEntry:
    """The run for a program."""
    run = of.run
    return {
        "run": of.name,
        "started": None if run is None else run.started,
        "experiment": None if run is None else run.experiment.name,
        "application": None if run is None or run.experiment.application is None else run.experiment.application.entry,
        "servers": [] if run is None else list(_servers(run)),
        "workloads": [] if run is None else list(_workloads(run)),
        "runtime": None if run is None else run.runtime,
        "machines": [] if run is None else list(_machines(run)),
        "measured": of.measured,
        "failed": of.failed,
        "left": of.left,
        "ended": ended(of),
        "problem": of.problem,
    }


def on_terminal(runs: Sequence[StoredRun], width: int) -> RenderableType:
    """A line for each run where they fit `width`; else two, the second with what it was and where."""
    names, moments, ends = ([each(of) for of in runs] for each in (lambda of: of.name, when, ended))
    columns = [max(map(cell_len, column)) for column in (names, moments, ends)]
    abouts = [about(of) for of in runs]
    is_wide = sum(columns) + _GAP * len(columns) + max(map(cell_len, abouts)) <= width
    lines: list[RenderableType] = []
    for name, moment, end, about_it in zip(names, moments, ends, abouts, strict=True):
        row = [
            _padded(name, columns[0]),
            _padded(moment, columns[1]),
            _padded(end, columns[2]),
            *([about_it] if is_wide else []),
        ]
        lines.append(text((" " * _GAP).join(row).rstrip()))
        if not is_wide:
            lines.append(Padding(text(about_it, "dim"), (0, 0, 0, _GAP), expand=False))
    return Group(*lines)


def _padded(content: str, width: int) -> str:
    return content + " " * (width - cell_len(content))


def when(of: StoredRun) -> str:
    """The minute in which it began, by the clock where it ran; empty where that is not known."""
    return "" if of.run is None else of.run.started[:_MINUTE].replace("T", " ")


def about(of: StoredRun) -> str:
    """What it was, and where; or why it cannot be read."""
    if (run := of.run) is None:
        return of.problem
    application, name = run.experiment.application, run.experiment.name
    # A run is mostly called by its experiment.
    what = [*([] if name in of.name else [name]), *([] if application is None else [_versions(application)])]
    where = " and ".join(_machines(run)) if run.lanes else f"cores {run.host.usable_cpus} of {run.host.cpu}"
    what.append(f"{counted(len(_servers(run)), 'server')} under {', '.join(_workloads(run))}; {run.runtime}, {where}")
    return ": ".join(what)


def _versions(application: Application) -> str:
    return (
        application.entry if application.against is None else f"{application.entry} against {application.against.name}"
    )


def ended(of: StoredRun) -> str:
    """How it ended, as far as its folder says: a run that is under way looks like one that was stopped."""
    if of.run is None:
        return "cannot be read"
    if not of.measured and not of.failed:
        return "nothing measured"
    total = of.measured + of.left
    failed = f", {of.failed} failed" if of.failed else ""
    budget_s = of.run.experiment.budget_s
    if budget_s is not None:
        return f"{counted(of.measured, 'trial')} in {of.used_s:.0f} of {budget_s:g} s{failed}"
    # What failed is among those that are left, for --resume tries it again.
    if of.left > of.failed:
        return f"only {of.measured} of {counted(total, 'trial')}{failed}"
    return f"{of.failed} of {counted(total, 'trial')} failed" if of.failed else f"complete: {counted(total, 'trial')}"


def _servers(run: Run) -> Collection[str]:
    """Each once, though two versions of an application are measured under it."""
    twins = set(run.experiment.counterparts.values())
    return dict.fromkeys(cell.server for cell in run.experiment.cells if cell.server not in twins)


def _workloads(run: Run) -> Collection[str]:
    return dict.fromkeys(cell.workload for cell in run.experiment.cells)


def _machines(run: Run) -> Sequence[str]:
    return [lane.targets.name for lane in run.lanes] or [run.host.cpu]
