"""Beside a program that takes one of the lab's cores: how often a cell's gate breaks, and how often the lab is wrong.

The same small experiment is run again and again: by itself, and beside a program on the server's core or on the
generator's, all the time or in every other second. All runs by themselves, taken together, are the truth. A verdict
is wrong where their median ratio is on the other side of 1, or nearer to it than the 1 % that a verdict needs; an
advice is wrong where its server is more than 3 % slower than their fastest. Must show: no wrong verdict, rank or
advice; and, beside the program that runs all the time, every cell's gate broken.
"""

import itertools
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console

from benchmarks.bench import repeat, runtimes
from benchmarks.outcome import Outcome, Row, Scope
from wsgilab import commands
from wsgilab.model import Cell, CellResult, Comparison, Conditions, RuntimeName
from wsgilab.model.errors import LabError
from wsgilab.system import process

EXPERIMENT = Path(__file__).with_suffix(".yaml")
MARGIN = 0.01
ADVICE_MARGIN = 0.03

_NEIGHBOUR = """
import itertools, time
while True:
    until = time.monotonic() + 1
    while time.monotonic() < until: pass
    if {half}: time.sleep(1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What an experiment is run beside."""

    core: str | None
    """`server` or `generator`; None: by itself."""
    half: bool = False

    def __str__(self) -> str:
        return (
            f"{self.core}'s core, {'half of the time' if self.half else 'all the time'}" if self.core else "by itself"
        )


KINDS = (Kind(core=None), *(Kind(core=core, half=half) for core in ("server", "generator") for half in (False, True)))


def measure(runs: int) -> Outcome:
    """Run the experiment `runs` times beside each kind of neighbour, in turn. Runtimes take turns too."""
    known = runtimes()
    found: dict[tuple[RuntimeName, Kind], list[Comparison]] = {}
    for number, kind in itertools.product(range(runs), KINDS):
        name = known[number % len(known)]
        with beside(kind):
            found.setdefault((name, kind), []).append(_run(name))
    rows: list[Row] = []
    wrong: dict[str, list[str]] = {}
    for (name, kind), comparisons in found.items():
        truth = _truth(found[name, KINDS[0]])
        wrong[f"{name}, {kind}"] = [each for one in comparisons for each in _wrong(one, truth)]
    for name, kind in itertools.product(known[:runs], KINDS):
        rows.append(_row(name, kind, found[name, kind], len(wrong[f"{name}, {kind}"])))
    scope = Scope(
        rounds=f"{runs} runs of each kind, each a new start of all servers, the kinds in turn; the runtimes take turns",
        modes="`hello` and `cpu` of 2 ms; 4 servers; 32 users; a connection each request; 4 blocks of 340 ms",
        left_out="kept connections, other numbers of cores, neighbours that use memory or the network rather than a core",
    )
    return Outcome(settings={"wrong": wrong}, rows=rows, scope=scope)


@contextmanager
def beside(kind: Kind) -> Iterator[None]:
    """Run something beside a program of that kind, which ends with it."""
    if kind.core is None:
        yield
        return
    core = 0 if kind.core == "server" else 1
    argv = [sys.executable, "-c", _NEIGHBOUR.format(half=kind.half)]
    child = process.spawn(argv, cwd=commands.PROJECT, env={}, cpus={core}, log=Path(os.devnull))
    try:
        yield
    finally:
        child.end()


def _run(runtime: RuntimeName) -> Comparison:
    options = commands.RunOptions(task="lab.run", file=str(EXPERIMENT), runtime=runtime)
    return commands.run(options, Console(file=StringIO(), width=200), commands.workspace())


Truth = Mapping[Conditions, Mapping[str, float]]
"""Requests a second of each server, the median of all runs by themselves."""


def _truth(quiet: Sequence[Comparison]) -> Truth:
    figures: dict[Conditions, dict[str, list[float]]] = {}
    for result in itertools.chain.from_iterable(each.cells for each in quiet):
        if result.figures is not None:
            of = figures.setdefault(result.cell.conditions, {})
            of.setdefault(result.cell.server, []).append(result.figures.throughput_rps.median)
    return {
        conditions: {server: statistics.median(values) for server, values in of.items()}
        for conditions, of in figures.items()
    }


def _wrong(comparison: Comparison, truth: Truth) -> Iterator[str]:
    """The verdicts, ranks and advice of a comparison that are not true."""
    for pair in comparison.pairs:
        of = truth[pair.cell.conditions]
        ratio = of[pair.cell.server] / of[pair.reference]
        right = {"faster": ratio > 1 + MARGIN, "slower": ratio < 1 / (1 + MARGIN)}.get(pair.verdict, True)
        if not right:
            yield f"{_name(pair.cell)}: {pair.verdict}, truly {ratio:.3f}"
    ranked = [(result.cell, result.rank) for result in comparison.cells if result.rank is not None]
    for (one, first), (two, second) in itertools.permutations(ranked, 2):
        if one.conditions == two.conditions and first.last < second.first:
            ratio = truth[one.conditions][one.server] / truth[one.conditions][two.server]
            if ratio * (1 + MARGIN) < 1:
                yield f"{_name(one)}: ranks before {two.server}, truly {ratio:.3f} of it"
    for advice in comparison.advice:
        if advice.server is not None and len(advice.workloads) == 1:
            of = truth[advice.group.conditions]
            share = of[advice.server] / max(of.values())
            if share * (1 + ADVICE_MARGIN) < 1:
                yield f"{_name(advice.group)}: advised {advice.server}, truly {share:.3f} of the fastest"


def _name(cell: Cell) -> str:
    return f"{cell.workload}, {cell.server}"


def _row(runtime: RuntimeName, kind: Kind, comparisons: Sequence[Comparison], wrong: int) -> Row:
    cells = [result for each in comparisons for result in each.cells]
    broken = sum("neighbour" in result.broken_gates for result in cells)
    decided = sum(pair.verdict in ("faster", "slower") for each in comparisons for pair in each.pairs)
    return {
        "runtime": runtime,
        "neighbour": str(kind),
        "runs": str(len(comparisons)),
        "gate broken": f"{broken} of {len(cells)} cells",
        "others' share, median of cells": f"{statistics.median(map(_most, cells)):.1%}",
        "verdicts": str(decided),
        "wrong verdicts, ranks, advice": str(wrong),
    }


def _most(result: CellResult) -> float:
    """The share that other programs used of the servers' or the generator's core, whichever is more."""
    figures = result.figures
    if figures is None or figures.server_others is None or figures.generator_others is None:
        raise LabError(f"{result.cell.server}: the use of its cores by other programs was not measured")
    return max(figures.server_others.median, figures.generator_others.median)


if __name__ == "__main__":
    repeat("disturbed", __doc__, measure, runs=10)
