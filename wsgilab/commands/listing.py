"""`lab.runs`: the stored runs, the newest first."""

import functools
import json
import math
from datetime import datetime

from rich.console import Console

from wsgilab.analysis.budget.seconds import used_s
from wsgilab.commands.stored import say
from wsgilab.experiment.parsing import check_known
from wsgilab.model import Observation
from wsgilab.model.errors import StoreError
from wsgilab.model.text import called
from wsgilab.report.runs import StoredRun, entry, on_terminal
from wsgilab.results.store import Store
from wsgilab.run.stages import stages
from wsgilab.run.workspace import Workspace, shown, signals_raise

TERMINAL, JSON = "terminal", "json"
FORMATS = (TERMINAL, JSON)


def runs(form: str, console: Console, workspace: Workspace) -> None:
    """Print every run of the results folder, as one of FORMATS; of one that cannot be read, why. Raises SpecError."""
    check_known([form], FORMATS, "--format", "format")
    with signals_raise():
        found = sorted(map(_look, Store.every(workspace.results)), key=_begun, reverse=True)
        if form == JSON:
            console.out(json.dumps([entry(each) for each in found], indent=2), highlight=False)
        elif found:
            console.print(on_terminal(found, console.width))
        else:
            say(console, f"{shown(workspace.results)}: no runs; make one with {called('lab.run')}")


class _ReadOnce(Store):
    """A run whose observations are read once, however often they are asked for: here nothing is added to them."""

    @functools.cached_property
    def _read(self) -> list[Observation]:
        return super().observations()

    def observations(self) -> list[Observation]:
        return self._read


def _look(found: Store) -> StoredRun:
    store = _ReadOnce(found.folder)
    try:
        run, observations = store.run(), store.observations()
    except StoreError as error:
        return StoredRun(name=store.folder.name, run=None, problem=error.message)
    failed = sum(each.status == "failed" for each in observations)
    lanes = max(1, len(run.lanes))
    # What a budget has left is time, and the clock decides what of it is used.
    coming = [] if run.experiment.budget_s else stages(run, store, lanes, repeats=False)
    return StoredRun(
        name=store.folder.name,
        run=run,
        measured=len(observations) - failed,
        failed=failed,
        left=next((len(stage.trials) for stage in coming if stage.trials), 0),
        used_s=used_s(observations, lanes),
    )


def _begun(of: StoredRun) -> float:
    """When a run began, to sort by; of one that cannot be read, before all others."""
    return -math.inf if of.run is None else datetime.fromisoformat(of.run.started).timestamp()
