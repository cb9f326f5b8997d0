"""How far off predictions are on cells that were held out, of the queueing model behind `lab.predict`.

`python -m benchmarks.prediction` measures a grid of its own: five sizes of Gunicorn's gthread worker, with 4 to 32 users, of
requests that wait, compute, and read from a database; and two of these sizes at a rate. `python -m benchmarks.prediction RUN...`
reads the folders of runs in its place. Held out is one cell after the other, or all with the most users, workers or threads at once,
or all with the fewest users, which are then predicted from what is left: twice beyond it, in the benchmark's own grid. *Held by
intervals* are the cells whose figures are within the interval of `lab.predict`, asked for each as if it had not been measured, without
those that it refuses. Must show: throughput within 10 % at the median of the cells that are held out one by one, and the 95th
percentile within 25 %.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console

from benchmarks.bench import of_runs
from benchmarks.outcome import Claim, Outcome, Row, Scope
from wsgilab import commands
from wsgilab.analysis import stats
from wsgilab.analysis.compare import figures_alone
from wsgilab.analysis.prediction import predictions
from wsgilab.analysis.prediction.anchors import Anchor, Kind, Size, kinds
from wsgilab.model import Interval, Prediction, Run
from wsgilab.model.errors import SpecError, StoreError
from wsgilab.results.store import Store

EXPERIMENT = Path(__file__).with_suffix(".yaml")
SERVERS = EXPERIMENT.with_name("prediction-servers.yaml")
MUST = {"throughput": 0.10, "p95": 0.25}
"""The relative error at the median, at most."""
ONE = "each cell by itself"
EDGES: Mapping[str, tuple[Callable[[Size], float], bool]] = {
    "the most users": (lambda size: size.load, True),
    "the fewest users": (lambda size: size.load, False),
    "the most workers": (lambda size: size.workers, True),
    "the most threads": (lambda size: size.threads or 0, True),
    "the most cores": (lambda size: size.cores, True),
}
"""What is held out at once, by what of a cell, and whether those are the highest."""

Checked = Mapping[tuple[str, str], Sequence[Prediction]]
"""Workload and what was held out -> the cells as the others predict them."""


def checked(found: Mapping[Kind, Sequence[Anchor]]) -> Checked:
    """Every cell that was held out in some way."""
    kept: dict[tuple[str, str], list[Prediction]] = {}
    for kind, anchors in found.items():
        workload = kind.workload if kind.arrivals is None else f"{kind.workload}, {kind.arrivals} arrivals"
        kept.setdefault((workload, ONE), []).extend(predictions.held_out(anchors))
        for name, (read, highest) in EDGES.items():
            values = {read(each.size) for each in anchors}
            if len(values) > 1:
                edge = max(values) if highest else min(values)
                others = [each for each in anchors if read(each.size) != edge]
                kept.setdefault((workload, name), []).extend(
                    predictions.predicted(each, others) for each in anchors if read(each.size) == edge
                )
    return {key: of for key, of in kept.items() if of}


def errors(of: Iterable[Prediction]) -> Mapping[str, Sequence[float]]:
    """The relative errors of throughput and 95th percentile, without their signs."""
    each = list(of)
    return {
        "throughput": [abs(one.throughput_error) for one in each],
        "p95": [abs(one.p95_error) for one in each if one.p95_error is not None],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What `lab.predict` says of cells, asked for each as if it had not been measured."""

    refused: int
    throughput_held: Sequence[bool]
    """Whether the interval has what was measured, of each that is not refused."""
    p95_held: Sequence[bool]


def asked(found: Mapping[Kind, Sequence[Anchor]]) -> Asked:
    """Of all cells; those that are alone in their kind are refused."""
    refused, throughput, p95 = 0, list[bool](), list[bool]()
    for kind, anchors in found.items():
        for anchor in anchors:
            others = [each for each in anchors if each.size != anchor.size]
            try:
                forecast = predictions.forecast({**found, kind: others or [anchor]}, kind, anchor.size)
            except SpecError:
                refused += 1
                continue
            throughput.append(_holds(forecast.throughput_rps, anchor.throughput_rps.median))
            if forecast.p95_ms is not None:
                p95.append(_holds(forecast.p95_ms, anchor.p95_ms.median))
    return Asked(refused=refused, throughput_held=throughput, p95_held=p95)


def _holds(interval: Interval, value: float) -> bool:
    return (interval.low or 0.0) <= value <= (interval.high or math.inf)


def summary(of_runs: Sequence[tuple[Run, Checked, Asked]]) -> Outcome:
    """A row for each workload and what was held out. Raises StoreError where no cell could be."""
    every: dict[tuple[str, str], list[Prediction]] = {}
    for _, of_run, _ in of_runs:
        for key, found in of_run.items():
            every.setdefault(key, []).extend(found)
    singly = errors(one for (_, how), of in every.items() if how == ONE for one in of)
    if not singly["throughput"]:
        raise StoreError(
            "no cell could be held out: the runs need two of one server that differ in users, workers or threads"
        )
    rows: list[Row] = [_row(workload, how, of) for (workload, how), of in sorted(every.items())]
    claims = [
        Claim(
            what=f"{what}: 1 less the relative error at the median",
            ratio=stats.median_interval([1 - each for each in found]),
            at_least=1 - MUST[what],
            blocks=len(found),
        )
        for what, found in singly.items()
        if found
    ]
    runs, answers = [run for run, _, _ in of_runs], [of for _, _, of in of_runs]
    held = {
        "throughput": [each for of in answers for each in of.throughput_held],
        "p95": [each for of in answers for each in of.p95_held],
    }
    scope = Scope(
        rounds=(
            f"{len(runs)} run{'s' if len(runs) > 1 else ''}, each one start of its servers; {len(singly['throughput'])} cells, which are "
            "no independent samples within a run"
        ),
        modes=f"runtime {', '.join(dict.fromkeys(run.runtime for run in runs))}; cells without a broken gate",
        left_out="what the runs did not vary; other machines",
    )
    recording = {"date": runs[0].started, "machine": asdict(runs[0].host)}
    settings = {
        "run_names": [run.id for run in runs],
        "held_by_intervals": ", ".join(f"{what} of {sum(each)} of {len(each)} cells" for what, each in held.items()),
        "refused": sum(each.refused for each in answers),
    }
    return Outcome(settings=settings, rows=rows, claims=claims, scope=scope, recording=recording)


def _row(workload: str, how: str, of: Sequence[Prediction]) -> Row:
    found = errors(of)
    return {
        "workload": workload,
        "held out": how,
        "cells": str(len(of)),
        **{
            f"{what}, {name}": f"{read(found[what]):.1%}" if found[what] else "–"
            for what in MUST
            for name, read in (("median error", statistics.median), ("most", max))
        },
    }


def _run() -> Path:
    options = commands.RunOptions(task="lab.run", file=str(EXPERIMENT), catalogue=str(SERVERS))
    run = commands.run(options, Console(file=StringIO(), width=200), commands.workspace()).run
    return commands.workspace().results / run.id


def measure(folders: Sequence[Path]) -> Outcome:
    """Read the runs, or measure one where there are none."""
    found = []
    for store in map(Store, folders or [_run()]):
        run = store.run()
        of_kinds = kinds(run, figures_alone(run, store.observations()))
        found.append((run, checked(of_kinds), asked(of_kinds)))
    return summary(found)


if __name__ == "__main__":
    of_runs("prediction", __doc__, measure, least=0)
