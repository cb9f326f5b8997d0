"""What a stored run lets expect of conditions that it did not measure. Nothing here measures anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from wsgilab.analysis.compare import figures_alone
from wsgilab.analysis.prediction import predictions, scalability
from wsgilab.analysis.prediction.anchors import Anchor, Kind, Size, kinds
from wsgilab.commands.stored import say
from wsgilab.experiment import workloads
from wsgilab.model import Run
from wsgilab.model.errors import SpecError, UsageError
from wsgilab.report import prediction as words
from wsgilab.results.store import Store
from wsgilab.run.workspace import Workspace, signals_raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The conditions to predict; what is None is as in the run."""

    users: int | None = None
    rate: float | None = None
    workers: int | None = None
    threads: int | None = None
    cores: int | None = None
    server: str | None = None
    """A row of the run, which is taken with other workers and threads."""
    workload: str | None = None


def predict(asked: Asked, name: str, console: Console, workspace: Workspace) -> None:
    """Print what a stored run lets expect, and how far such predictions are off. Raises StoreError, UsageError where the run
    does not say which server or workload is meant, and SpecError where the model was never checked."""
    with signals_raise():
        store = Store.find(workspace.results, name)
        run = store.run()
        # Figures take a while where there are thousands of trials.
        observations = [each for each in store.observations() if asked.workload in (None, each.cell.workload)]
        results = figures_alone(run, observations)
        found = kinds(run, results)
        kind, base = _base(run, found, asked)
        forecast = predictions.forecast(found, kind, _size(base.size, asked))
        backends = workloads.backends([kind.workload], run.experiment.application)
        laws = list(scalability.laws(results))
        for line in words.forecast(run, forecast, laws, predictions.seams(forecast, backends)):
            say(console, line)


def _base(run: Run, found: Mapping[Kind, Sequence[Anchor]], asked: Asked) -> tuple[Kind, Anchor]:
    """The kind of cells that is meant, and the one of them that says what is not given."""
    if asked.users is not None and asked.rate is not None:
        raise UsageError("--users and --rate: give one of them; users wait for their answers, a rate does not")
    for option, name, known in (
        ("--workload", asked.workload, run.experiment.parameters),
        ("--server", asked.server, run.servers),
    ):
        if name is not None and name not in known:
            raise SpecError(f"{option} {name}: was not measured in {run.id}; it has {', '.join(known)}")
    fitting = {
        kind: anchors
        for kind, anchors in found.items()
        if asked.workload in (None, kind.workload)
        and (asked.server is None or any(each.cell.server == asked.server for each in anchors))
    }
    if asked.rate is not None or asked.users is not None:
        is_open = asked.rate is not None
        if fitting and not any((kind.arrivals is not None) == is_open for kind in fitting):
            option, other, what = (
                ("--rate", "rate: [..]", "rate") if is_open else ("--users", "users: [..]", "number of users")
            )
            raise SpecError(f"{option}: {run.id} has no cell with a {what}; measure two of them, with {other}")
        fitting = {kind: anchors for kind, anchors in fitting.items() if (kind.arrivals is not None) == is_open}
    if not fitting:
        raise SpecError(
            f"{run.id}: has no such cell that a prediction could rest on; a cell needs figures, stamps, CPU time and no broken gate"
        )
    if asked.server is None:
        several = {kind: anchors for kind, anchors in fitting.items() if len({each.size for each in anchors}) > 1}
        fitting = several or fitting
    for option, names in (
        ("--workload", list(dict.fromkeys(kind.workload for kind in fitting))),
        ("--server", list(dict.fromkeys(anchors[0].cell.server for anchors in fitting.values()))),
    ):
        if len(names) > 1:
            raise UsageError(f"{option}: {run.id} has several: name one of {', '.join(names)}")
    kind = min(fitting, key=lambda each: (each.arrivals or "", each.connection))
    anchors = [each for each in fitting[kind] if asked.server in (None, each.cell.server)]
    return kind, max(anchors, key=lambda each: (each.size.load, -each.size.cores))


def _size(base: Size, asked: Asked) -> Size:
    given = {
        name: value
        for name in ("users", "rate", "workers", "threads", "cores")
        if (value := getattr(asked, name)) is not None
    }
    for name, value in given.items():
        if value <= 0:
            raise UsageError(f"--{name} {value:g}: must be more than 0")
    if base.threads is None and asked.threads is not None:
        raise SpecError(f"--threads {asked.threads}: its slots are unbounded; leave it out")
    return replace(base, **given)
