"""What a budget decides in the same time as whole blocks, with the scatter of real windows; and how often it errs.

Read from `recording.yaml`: its windows give the scatter (each server's requests a second over its median in its round),
from which whole runs of 13 servers are drawn, with what trials of the default experiment take. `hello` scatters two fifths as
much, as it does there on a quiet machine, `cpu` half of that, and `sleep` an eighth. Servers scatter alike, or unlike each
other by up to four times; in some rows the reference is the one that scatters most, or least, or is measured several times in each
block, which then takes as much longer. The differences from the reference are made up; or there are none at all, and then a run with
any verdict, on speed or cost, is a wrong one. With a budget the lab gives the time as it does in a run; without, it measures whole
blocks for as long. No load is made. Windows are drawn by blocks of the recording, so what is common to a block is in it.

*Beside a neighbour* a program comes and goes on the servers' core, at work half of the time, for half a second to three seconds.
While it is at work, windows are those of the recording's twins beside such a program, with their cost and what the program took of
the core, and the lab leaves out what was disturbed, as in a run. What it would repeat is not repeated. *By cost* are differences that
cost alone has decided. Must show: of runs of identical servers at most 5 % with a verdict.
"""

import functools
import math
import random
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, product

from benchmarks.outcome import Claim, Row
from benchmarks.protocols import Beside, Recorded, analyse_recording
from benchmarks.rounds import share
from wsgilab import testing
from wsgilab.analysis.budget.allocation import allocate
from wsgilab.analysis.budget.needed import wanted
from wsgilab.analysis.cell import disturbance
from wsgilab.analysis.pairs.cost import with_costs
from wsgilab.analysis.pairs.family import paired_comparisons
from wsgilab.analysis.pairs.ratios import grouped
from wsgilab.experiment import plan
from wsgilab.model import Cell, Gate, Observation, Run, Trial

BUDGET_S = 125.0
SEED = 1
LEAST = 0.05
"""Differences from here on are sought."""


DIFFERENCES = (-0.25, -0.15, -0.1, -0.07, -0.05, -0.02, 0.0, 0.02, 0.05, 0.07, 0.1, 0.2)
"""Of twelve servers from the reference, in `hello` and `cpu`."""
SLOTS = (1, 1, 1, 3, 4, 8, 8, 31, 31, 31, 31, 31)
"""And how many times as fast these are in `sleep`."""
SCATTER = {"hello": 0.4, "cpu": 0.2, "sleep": 0.05}
"""Of the recording's."""
TRIAL_S = {"hello": 0.48, "cpu": 0.5, "sleep": 0.75}
"""How long a trial takes, in `sleep` with SLOW_S more over the slots."""
SLOW_S = 2.0
UNLIKE = math.log(2)
"""Where servers scatter unlike each other, the furthest do so by this above and below what is usual, as a logarithm."""

_RPS = 1000.0
_USED = 0.5
"""Of the core, by every server."""
_STAYS_S = (0.5, 3.0)
"""For so long a neighbour is at work, or rests."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a run is like."""

    whole_blocks: bool = False
    """In place of a budget."""
    alike: bool = False
    """All servers scatter as much."""
    reference: float | None = None
    """What the reference scatters over what is usual; None: as it comes."""
    often: int = 1
    """How often the reference is measured in each block."""
    beside: bool = False
    """A neighbour comes and goes."""
    runs: int = 26


CASES: Mapping[tuple[str, str], Case] = {
    ("budget", "alike"): Case(alike=True),
    ("blocks", "alike"): Case(whole_blocks=True, alike=True),
    ("budget", "unlike"): Case(runs=200),
    ("blocks", "unlike"): Case(whole_blocks=True),
    ("budget, the reference twice", "alike"): Case(alike=True, often=2),
    ("budget", "unlike, the reference most"): Case(reference=2.0),
    ("budget, the reference twice", "unlike, the reference most"): Case(reference=2.0, often=2),
    ("budget, the reference 3 times", "unlike, the reference most"): Case(reference=2.0, often=3),
    ("budget", "unlike, the reference least"): Case(reference=0.5),
    ("budget, beside a neighbour", "unlike"): Case(beside=True, runs=200),
}
"""How runs are measured and how their servers scatter, in words, and what that is."""


@dataclass(kw_only=True)
class Neighbour:
    """A program that comes and goes on the servers' core."""

    source: random.Random
    windows: Sequence[Beside]
    at_s: float = 0.0
    changes_s: float = 0.0
    works: bool = False

    @functools.cached_property
    def usual(self) -> Beside:
        """What a window beside it is like."""
        rps, cost, others = zip(*((each.rps, each.cost, each.others) for each in self.windows), strict=True)
        return Beside(rps=statistics.median(rps), cost=statistics.median(cost), others=statistics.median(others))

    def during(self, took_s: float) -> Beside | None:
        """A window beside it at this time; None while it rests. The time goes on."""
        while self.at_s >= self.changes_s:
            self.works = not self.works
            self.changes_s += self.source.uniform(*_STAYS_S)
        self.at_s += took_s
        return self.source.choice(self.windows) if self.works else None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One run's: how fast and how steady each cell is, and how long its trials take."""

    run: Run
    logs: Mapping[Cell, float]
    scatter: Mapping[Cell, float]
    took_s: Mapping[Cell, float]
    often: Mapping[Cell, int] = field(default_factory=dict)
    """How often each is measured in a block; once where it is not named."""
    windows: Sequence[Sequence[float]]
    """By block of the recording."""
    source: random.Random
    neighbour: Neighbour | None = None

    def measure(self, trials: Sequence[Trial]) -> Iterator[Observation]:
        """What the trials record."""
        for _, of_block in groupby(trials, key=lambda trial: trial.block):
            drawn = chain.from_iterable(iter(lambda: self.source.choice(self.windows), None))
            for trial in of_block:
                cell = trial.cell
                strays = [next(drawn) for _ in range(self.often.get(cell, 1))]
                yield self._observed(trial, self.scatter[cell] * statistics.fmean(strays))

    def _observed(self, trial: Trial, stray: float) -> Observation:
        cell = trial.cell
        # The core is full either way: what takes longer costs more.
        log, cost, others = stray, -stray, 0.0
        beside = self.neighbour and self.neighbour.during(self.took_s[cell])
        if self.neighbour and beside:
            usual = self.neighbour.usual
            log, cost = (
                math.log(middle) + self.scatter[cell] * math.log(found / middle)
                for found, middle in ((beside.rps, usual.rps), (beside.cost, usual.cost))
            )
            others = beside.others
        used = _USED * math.exp(log + cost)
        rps = _RPS * math.exp(self.logs[cell] + log)
        made = testing.observation(cell, block=trial.block, look=trial.look, took_s=self.took_s[cell])
        swarm = replace(_REPORT, throughput_rps=rps, server_busy=min(1.0, used + others), generator_others=0.0)
        return replace(made, swarm=swarm, server_cpu_s=used * _REPORT.window_s, server_span_s=_REPORT.window_s)


_REPORT = testing.trial_report()


def machine(
    windows: Sequence[Sequence[float]],
    source: random.Random,
    case: Case,
    *,
    differ: bool,
    beside: Sequence[Beside] = (),
) -> Machine:
    """A run of 13 servers under three workloads, on what one round was like."""
    servers = [f"server-{number:02}" for number in range(13)]
    cells = [testing.cell(name, workload=workload) for workload in SCATTER for name in servers]
    experiment = testing.experiment(*cells, blocks=plan.WHOLE_BLOCKS, budget_s=BUDGET_S)
    noise = {name: 1.0 if case.alike else math.exp(source.uniform(-UNLIKE, UNLIKE)) for name in servers}
    if case.reference is not None:
        noise[servers[0]] = case.reference
    logs, took_s = dict.fromkeys(cells, 0.0), {}
    for workload in SCATTER:
        order = source.sample(DIFFERENCES, len(DIFFERENCES))
        of_workload = [cell for cell in cells if cell.workload == workload]
        for cell, difference, slots in zip(of_workload, (0.0, *order), (1, *SLOTS), strict=True):
            log = math.log(slots) if workload == "sleep" else math.log1p(difference)
            logs[cell] = log if differ else 0.0
            took_s[cell] = TRIAL_S[workload] + (SLOW_S / slots if workload == "sleep" else 0.0)
    often = {cell: case.often for cell in cells if cell.server == servers[0]}
    scatter = {cell: SCATTER[cell.workload] * noise[cell.server] for cell in cells}
    run = testing.run(experiment, seed=source.randrange(2**31))
    neighbour = Neighbour(source=source, windows=beside) if case.beside else None
    return Machine(
        run=run,
        logs=logs,
        scatter=scatter,
        took_s={cell: took_s[cell] * often.get(cell, 1) for cell in cells},
        often=often,
        windows=windows,
        source=source,
        neighbour=neighbour,
    )


def gates(run: Run, observations: Sequence[Observation]) -> Mapping[Cell, Collection[Gate]]:
    """Of all gates, the one that a neighbour breaks."""
    noisy: tuple[Gate, ...] = ("neighbour",)
    return {
        cell: noisy if disturbance.disturbance(run, cell, disturbance.undisturbed(run, each)) else ()
        for cell, each in grouped(observations).items()
    }


def with_budget(of: Machine) -> tuple[Run, Sequence[Observation]]:
    """As `wsgilab.run.stages` carries it out."""
    found = list(of.measure(plan.schedule(of.run.experiment, of.run.seed)))
    for look in plan.BUDGET_LOOKS:
        chosen = allocate(of.run, found, gates(of.run, found), look)
        first = 1 + max(each.block for each in found)
        found += of.measure(plan.passes(of.run.experiment, of.run.seed, first, chosen, look))
    return of.run, found


def with_blocks(of: Machine) -> tuple[Run, Sequence[Observation]]:
    """Whole blocks for as long."""
    experiment = of.run.experiment
    blocks = int(BUDGET_S / math.fsum(of.took_s.values()))
    run = replace(of.run, experiment=replace(experiment, blocks=blocks, budget_s=None))
    return run, list(of.measure(plan.schedule(run.experiment, run.seed)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a run has made of the differences that are sought."""

    sought: int
    decided: int
    by_cost: int
    """Of those that are not decided by speed."""
    wrong: bool
    """Any verdict, on speed or on cost."""


def judged(of: Machine, run: Run, observations: Sequence[Observation]) -> Judged:
    """What the lab concludes from the run."""
    by_cell = grouped(disturbance.undisturbed(run, observations))
    known = paired_comparisons(run, by_cell, gates(run, observations))
    costs = {
        pair.cell: pair.cost.verdict
        for pair in with_costs(known, run.experiment.cells, by_cell, grouped(observations))
        if pair.cost is not None
    }
    reference = run.experiment.reference
    differing = [cell for cell, _ in wanted(run) if abs(math.expm1(of.logs[cell])) > LEAST - 1e-9]
    sought = [cell for cell in differing if cell.workload != "sleep"]
    by_speed = [cell for cell in sought if known.verdict(cell, replace(cell, server=reference)) != "undecided"]
    true = {"less": 1, "more": -1}
    wrong = any(
        of.logs[cell] <= of.logs[other] for (cell, other), verdict in known.verdicts.items() if verdict == "faster"
    ) or any(true[verdict] * of.logs[cell] <= 0 for cell, verdict in costs.items() if verdict in true)
    return Judged(
        sought=len(sought),
        decided=len(by_speed),
        by_cost=sum(costs.get(cell) in true for cell in sought if cell not in by_speed),
        wrong=wrong,
    )


def summary(
    rounds: Sequence[Recorded], cases: Mapping[tuple[str, str], Case] = CASES
) -> tuple[Sequence[Row], Sequence[Claim]]:
    """A row for each case, and no claim."""
    windows, rows = [_windows(each) for each in rounds], []
    # A round has few windows beside a neighbour, so a run has those of all rounds.
    beside = [window for each in rounds for window in each.beside]
    for (measured_by, scatters), case in cases.items():
        if case.beside and not beside:
            continue
        found: dict[bool, list[Judged]] = {True: [], False: []}
        for differ, number in product(found, range(case.runs)):
            # Whatever they are measured by, they are the same servers.
            source = random.Random(f"{SEED}/{scatters}/{differ}/{number}")  # noqa: S311 - a simulation
            of = machine(windows[number % len(windows)], source, case, differ=differ, beside=beside)
            found[differ].append(judged(of, *(with_blocks if case.whole_blocks else with_budget)(of)))
        sought = sum(each.sought for each in found[True])
        of_rounds = [[each.wrong for each in found[False][first :: len(windows)]] for first in range(len(windows))]
        row: Row = {
            "measured by": measured_by,
            "servers scatter": scatters,
            "runs": str(case.runs),
            "5 % and more, decided": f"{sum(each.decided for each in found[True]) / sought:.0%}",
            "by cost": f"{sum(each.by_cost for each in found[True]) / sought:.0%}",
            "runs with a wrong verdict": f"{sum(each.wrong for each in found[True]) / case.runs:.1%}",
            "of identical servers": share([each for each in of_rounds if each]),
        }
        rows.append(row)
    return rows, ()


def _windows(each: Recorded) -> Sequence[Sequence[float]]:
    """The logarithms of a round's windows over their server's median, block by block."""
    servers = [(statistics.median(windows), windows) for windows in each.interleaved.values()]
    logs = [[math.log(rps / median) for rps in windows] for median, windows in servers]
    return list(zip(*logs, strict=True))


if __name__ == "__main__":
    analyse_recording("budget", __doc__, summary)
