"""Of what a long run says differs by 5 % or more, how much short runs of the same decide, and how much of it wrongly.

`python -m benchmarks.decided LONG SHORT...`, with the folders of runs: one of many blocks, which is taken for the truth, and as many
short ones as there are. Compared are the servers of `hello` and `cpu` with the reference. Counted as differing is what the long run
has decided, by a median ratio of at least 1.05 or at most 1 / 1.05. A verdict of a short run is wrong if the long run's median is on
the other side of 1, or nearer to 1 than the 1 % that a verdict needs, whether or not the two differ by 5 %. A comparison that the
short run could not make, because of a broken gate or since a server was left out, counts as not decided. *By CPU time alone* are
differences that the short run has not decided by speed, but whose CPU time a request it has, of servers that are both bound by CPU:
that is no verdict on speed, and such a verdict is wrong if the long run's median of CPU time is on the other side of 1, or nearer
to 1 than 1 %. *The lab before* is what its
intervals of before November 2026 decide in every four successive blocks of the long run, as many as a run of the default experiment
had then (134 s of trials). Must show: at least 80 % decided.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bench import of_runs
from benchmarks.calibration import Logs, before, decides
from benchmarks.outcome import Claim, Outcome, Row, Scope
from benchmarks.rounds import share
from wsgilab.analysis import stats
from wsgilab.analysis.cell.disturbance import undisturbed
from wsgilab.analysis.cell.readings import throughput_rps
from wsgilab.analysis.compare import compare, costs_if_bound_by_cpu
from wsgilab.analysis.pairs.ratios import by_block, by_conditions, grouped
from wsgilab.model import Cell, Comparison, Observation
from wsgilab.model.errors import StoreError
from wsgilab.results.store import Store

WORKLOADS = ("hello", "cpu")
LEAST = math.log(1.05)
MUST = 0.8
BEFORE_BLOCKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a run has made of the differences of a long one."""

    decided: Sequence[bool]
    """Of each difference."""
    wrong: int
    """Verdicts, of any comparison."""
    by_cost: int
    """Of the differences that are not decided, those whose CPU time a request is."""
    wrong_costs: int
    """Verdicts on CPU time a request, of any comparison."""


def differences(long: Comparison) -> Mapping[Cell, float]:
    """The logarithm of the ratio to the reference, of each cell that surely differs from it by 5 % or more."""
    return {cell: log for cell, (log, decided) in _logs(long).items() if decided and abs(log) >= LEAST}


def judged(long: Comparison, short: Comparison) -> Judged:
    """What the short run says of the long one's differences."""
    truth, sought = _logs(long), differences(long)
    said = {
        pair.cell: pair.verdict
        for pair in short.pairs
        if pair.cell in truth and pair.verdict != "undecided" and pair.reference == _reference(long)
    }
    margin = math.log1p(stats.SAME)
    wrong = sum((truth[cell][0] if verdict == "faster" else -truth[cell][0]) < margin for cell, verdict in said.items())
    costs = {
        cell: verdict
        for (cell, other), verdict in costs_if_bound_by_cpu(short.pairs, short.cells).items()
        if cell in truth and verdict != "undecided" and other.server == _reference(long)
    }
    true_costs = {pair.cell: math.log(pair.cost.ratio.median) for pair in long.pairs if pair.cost is not None}
    wrong_costs = sum(
        (true_costs[cell] if verdict == "more" else -true_costs[cell]) < margin
        for cell, verdict in costs.items()
        if cell in true_costs
    )
    return Judged(
        decided=[cell in said for cell in sought],
        wrong=wrong,
        by_cost=sum(cell in costs for cell in sought if cell not in said),
        wrong_costs=wrong_costs,
    )


def _logs(comparison: Comparison) -> Mapping[Cell, tuple[float, bool]]:
    """The logarithm of each cell's ratio to the reference, and whether it is decided."""
    return {
        pair.cell: (math.log(pair.ratio.median), pair.verdict != "undecided")
        for pair in comparison.pairs
        if pair.cell.workload in WORKLOADS and pair.metric == "throughput" and not pair.broken_gates
    }


def _reference(comparison: Comparison) -> str:
    return comparison.run.experiment.reference


def before_decided(long: Comparison, observations: Sequence[Observation]) -> Sequence[Sequence[bool]]:
    """Whether the lab before decides each of the differences, of every four successive blocks."""
    sought = differences(long)
    kept = undisturbed(long.run, observations)
    blocks = 1 + max((each.block for each in kept), default=-1)
    return [
        [
            decided
            for cells in by_conditions(long.run.experiment.cells).values()
            for decided in _before(cells, sought, _reference(long), [each for each in kept if each.block in chosen])
        ]
        for first in range(0, blocks - BEFORE_BLOCKS + 1, BEFORE_BLOCKS)
        for chosen in [range(first, first + BEFORE_BLOCKS)]
    ]


def _before(
    cells: Sequence[Cell], sought: Mapping[Cell, float], reference: str, observations: Iterable[Observation]
) -> Iterable[bool]:
    """Of the differences among these cells, by comparisons of every two of them, as it made them."""
    by_cell = grouped(observations)
    figures = [by_block(by_cell[cell], throughput_rps) for cell in cells]
    logs: Logs = {
        (one, two): [math.log(ours[block] / theirs[block]) for block in sorted(ours.keys() & theirs.keys())]
        for one, ours in enumerate(figures)
        for two, theirs in enumerate(figures)
        if one > two and ours.keys() & theirs.keys()
    }
    found = dict(zip(logs, before(logs), strict=True))
    names = [cell.server for cell in cells]
    for number, cell in enumerate(cells):
        if cell in sought:
            other = names.index(reference)
            interval = found.get((max(number, other), min(number, other)))
            yield interval is not None and decides([interval], stats.SAME)


def summary(long: Comparison, observations: Sequence[Observation], shorts: Iterable[Comparison]) -> Outcome:
    """A row for each short run, and one for the lab before. Raises StoreError where the long run has no difference to seek."""
    sought = differences(long)
    if not sought:
        raise StoreError(
            f"{long.run.id}: it has decided no difference of 5 % from {_reference(long)} in {' or '.join(WORKLOADS)}; name a "
            "long run of both first"
        )
    found = [(each, judged(long, each)) for each in shorts]
    earlier = before_decided(long, observations)
    rows: list[Row] = [
        {
            "run": each.run.id,
            "trials, s": "–" if each.budget is None else f"{each.budget.used_s:.0f}",
            "differences": str(len(of.decided)),
            "decided": f"{sum(of.decided)} ({sum(of.decided) / len(of.decided):.0%})",
            "wrong verdicts": str(of.wrong),
            "by CPU time alone": str(of.by_cost),
            "wrong ones of CPU time": str(of.wrong_costs),
        }
        for each, of in found
    ]
    if earlier:
        rows.append(
            {
                "run": f"the lab before, {len(earlier)} times {BEFORE_BLOCKS} blocks of the long run",
                "trials, s": "134",
                "differences": str(len(sought)),
                "decided": share(earlier),
                "wrong verdicts": "–",
                "by CPU time alone": "–",
                "wrong ones of CPU time": "–",
            }
        )
    claim = Claim(
        what="5% and more, decided",
        ratio=share([of.decided for _, of in found]),
        at_least=MUST,
        rounds=len(found),
    )
    cells = ", ".join(f"{sum(cell.workload == name for cell in sought)} in {name}" for name in WORKLOADS)
    scope = Scope(
        rounds=f"{len(found)} short runs, each a new start of all servers; one long run ({long.measured} trials), with {cells}",
        modes=f"runtime {long.run.runtime}; {', '.join(WORKLOADS)}; {len(long.run.servers)} servers against {_reference(long)}",
        left_out=f"other workloads; comparisons without {_reference(long)}; what the long run has not decided",
    )
    recording = {"date": long.run.started, "machine": asdict(long.run.host)}
    return Outcome(settings={}, rows=rows, claims=[claim], scope=scope, recording=recording)


def _read(folder: Path) -> Comparison:
    store = Store(folder)
    return compare(store.run(), store.observations(), duets=store.duets())


def measure(folders: Sequence[Path]) -> Outcome:
    """Read the runs. No load is made."""
    if len(folders) < 2:  # noqa: PLR2004 - a long one and a short one
        raise StoreError("a long run alone says nothing of short ones: name a short one's folder too")
    observations = Store(folders[0]).observations()
    return summary(_read(folders[0]), observations, [_read(each) for each in folders[1:]])


if __name__ == "__main__":
    of_runs("decided", __doc__, measure)
