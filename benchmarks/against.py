"""Two commits of a small application in one run: how often a tenth more CPU time is found, and how often one against itself is taken for another.

A repository is made anew, in which one commit computes a tenth more for each request than the one before. That is run against the
commit before, beside a program that takes half of the servers' core: it must be found in each run. A commit is run against itself
four times as often, half of the times beside the same program: one finding in twenty may be. A finding is a verdict by speed or by
CPU time a request.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

from rich.console import Console

from benchmarks.bench import repeat
from benchmarks.disturbed import Kind, beside
from benchmarks.outcome import Outcome, Row, Scope
from wsgilab import commands
from wsgilab.analysis import stats
from wsgilab.model import CellOfRuns
from wsgilab.model.errors import LabError
from wsgilab.system import process

EXPERIMENT = Path(__file__).with_suffix(".yaml")
BEFORE, AFTER = "before", "after"
STEPS = {BEFORE: 30_000, AFTER: 33_400}
"""About 2 ms of computing; of a whole request, what is added is a tenth."""
_APP = """
def app(environ, start_response):
    number = 1
    for _ in range({steps}):
        number = number * 1103515245 + 12345 & 0x7FFFFFFF
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % number]
"""
_GIT_S = 20.0
_FILE = 'application: {entry: "shop:app"}\nrequests: {orders: {get: /orders}}\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Runs of one kind: what they were run beside, and what each has found."""

    what: str
    kind: Kind
    cells: Sequence[CellOfRuns]

    @property
    def by_cost(self) -> int:
        """How many of them have a verdict by CPU time a request."""
        return sum(each.cost is not None and each.cost.verdict != "undecided" for each in self.cells)

    @property
    def by_speed(self) -> int:
        """How many of them have a verdict by speed."""
        return sum(each.verdict != "undecided" for each in self.cells)

    @property
    def found(self) -> int:
        """How many of them have either."""
        return sum(
            each.verdict != "undecided" or (each.cost is not None and each.cost.verdict != "undecided")
            for each in self.cells
        )


def repository(folder: Path) -> Path:
    """A repository in `folder` with two commits and their tags; the path of the application file."""
    file = folder / "shop.yaml"
    folder.mkdir()
    file.write_text(_FILE)
    _git(folder, "init", "--quiet")
    for tag, steps in STEPS.items():
        (folder / "shop.py").write_text(_APP.format(steps=steps))
        _git(folder, "add", ".")
        _git(folder, "-c", "user.name=lab", "-c", "user.email=lab@example.com", "commit", "--quiet", "-m", tag)
        _git(folder, "tag", tag)
    return file


def _git(folder: Path, *words: str) -> None:
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    finished = process.run(["git", "-C", str(folder), *words], timeout_s=_GIT_S, env={**os.environ, **plain})
    if finished.code != 0:
        raise LabError(f"git {words[0]}: {finished.last_line}")


def measure(runs: int) -> Outcome:
    """A tenth more against what was before, `runs` times; and the same commit against itself, four times as often."""
    busy, quiet = Kind(core="server"), Kind(core=None)
    with tempfile.TemporaryDirectory(prefix="wsgilab-against-") as folder:
        file = repository(Path(folder, "shop"))
        results = Path(folder, "results")
        found = [
            Series(what=what, kind=kind, cells=[_run(file, against, kind, results) for _ in range(count)])
            for what, against, kind, count in (
                ("a tenth more", BEFORE, busy, runs),
                ("the same", AFTER, busy, 2 * runs),
                ("the same", AFTER, quiet, 2 * runs),
            )
        ]
    scope = Scope(
        rounds=f"{runs} runs with a difference, {4 * runs} without, each a new start of all servers; 12 blocks of 0.3 s",
        modes="local processes; gunicorn-gthread-8 on one core, 4 users, a connection each request; 2 ms of computing",
        left_out="differences in waiting, several servers or requests, containers, other kinds of neighbours",
    )
    return Outcome(settings={"steps": STEPS}, rows=[_row(each) for each in found], scope=scope)


def _run(file: Path, against: str, kind: Kind, results: Path) -> CellOfRuns:
    options = commands.RunOptions(task="lab.run", file=str(EXPERIMENT), app=str(file), against=against, runtime="local")
    with beside(kind):
        comparison = commands.run(
            options, Console(file=StringIO(), width=200), replace(commands.workspace(), results=results)
        )
    if comparison.versions is None or not comparison.versions.cells:
        raise LabError(f"{against}: nothing was compared")
    return comparison.versions.cells[0]


def _row(series: Series) -> Row:
    costs = [each.cost.ratio.median for each in series.cells if each.cost is not None]
    speeds = [each.ratio.median for each in series.cells if each.ratio is not None]
    return {
        "difference": series.what,
        "beside": str(series.kind),
        "runs": str(len(series.cells)),
        "found": str(series.found),
        "by CPU time": str(series.by_cost),
        "by speed": str(series.by_speed),
        "CPU time": stats.median_interval(costs) if costs else "–",
        "speed": stats.median_interval(speeds) if speeds else "–",
    }


if __name__ == "__main__":
    repeat("against", __doc__, measure, runs=5)
