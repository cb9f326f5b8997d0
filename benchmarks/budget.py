"""What a budget decides in the same time as whole blocks, with the scatter of real windows; and how often it errs.

Read from `recording.yaml`: its windows give the scatter (each server's requests a second over its median in its round),
from which whole runs of 13 servers are drawn, with what trials of the default experiment take. `hello` scatters two fifths as
much, as it does there on a quiet machine, `cpu` half of that, and `sleep` an eighth. Servers scatter alike, or unlike each
other by up to four times. The differences from the reference are made up; or there are none at all, and then a run with any
verdict is a wrong one. With a budget the lab gives the time as it does in a run; without, it measures whole blocks for as
long. No load is made. Windows are drawn by blocks of the recording, so what is common to a block is in it.
"""

import math
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, product

from benchmarks.outcome import Claim, Row
from benchmarks.protocols import Recorded, analyse_recording
from wsgilab import testing
from wsgilab.analysis import budget
from wsgilab.analysis.pairs import grouped, paired_comparisons
from wsgilab.experiment import plan
from wsgilab.model import Cell, Observation, Run, Trial

BUDGET_S = 125.0
RUNS = 100  # of each case
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


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One run's: how fast and how steady each cell is, and how long its trials take."""

    run: Run
    logs: Mapping[Cell, float]
    scatter: Mapping[Cell, float]
    took_s: Mapping[Cell, float]
    windows: Sequence[Sequence[float]]
    """By block of the recording."""
    source: random.Random

    def measure(self, trials: Sequence[Trial]) -> Iterator[Observation]:
        """What the trials record."""
        for _, of_block in groupby(trials, key=lambda trial: trial.block):
            drawn = chain.from_iterable(iter(lambda: self.source.choice(self.windows), None))
            for trial, stray in zip(of_block, drawn, strict=False):
                cell, look = trial.cell, trial.look
                rps = 1000 * math.exp(self.logs[cell] + self.scatter[cell] * stray)
                made = testing.observation(cell, block=trial.block, look=look, took_s=self.took_s[cell])
                yield replace(made, swarm=replace(_REPORT, throughput_rps=rps))


_REPORT = testing.trial_report()


def machine(windows: Sequence[Sequence[float]], source: random.Random, *, differ: bool, alike: bool) -> Machine:
    """A run of 13 servers under three workloads, on what one round was like."""
    servers = [f"server-{number:02}" for number in range(13)]
    cells = [testing.cell(name, workload=workload) for workload in SCATTER for name in servers]
    experiment = testing.experiment(*cells, blocks=plan.WHOLE_BLOCKS, budget_s=BUDGET_S)
    noise = {name: 1.0 if alike else math.exp(source.uniform(-math.log(2), math.log(2))) for name in servers}
    logs, took_s = dict.fromkeys(cells, 0.0), {}
    for workload in SCATTER:
        order = source.sample(DIFFERENCES, len(DIFFERENCES))
        of_workload = [cell for cell in cells if cell.workload == workload]
        for cell, difference, slots in zip(of_workload, (0.0, *order), (1, *SLOTS), strict=True):
            log = math.log(slots) if workload == "sleep" else math.log1p(difference)
            logs[cell] = log if differ else 0.0
            took_s[cell] = TRIAL_S[workload] + (SLOW_S / slots if workload == "sleep" else 0.0)
    scatter = {cell: SCATTER[cell.workload] * noise[cell.server] for cell in cells}
    run = testing.run(experiment, seed=source.randrange(2**31))
    return Machine(run=run, logs=logs, scatter=scatter, took_s=took_s, windows=windows, source=source)


def with_budget(of: Machine) -> tuple[Run, Sequence[Observation]]:
    """As `wsgilab.run.stages` carries it out."""
    found = list(of.measure(plan.schedule(of.run.experiment, of.run.seed)))
    sound: Mapping[Cell, tuple[()]] = dict.fromkeys(of.run.experiment.cells, ())
    for look in plan.BUDGET_LOOKS:
        chosen = budget.allocate(of.run, found, sound, look)
        first = 1 + max(each.block for each in found)
        found += of.measure(plan.passes(of.run.experiment, of.run.seed, first, chosen, look))
    return of.run, found


def with_blocks(of: Machine) -> tuple[Run, Sequence[Observation]]:
    """Whole blocks for as long."""
    experiment = of.run.experiment
    blocks = int(BUDGET_S / math.fsum(of.took_s.values()))
    run = replace(of.run, experiment=replace(experiment, blocks=blocks, budget_s=None))
    return run, list(of.measure(plan.schedule(run.experiment, run.seed)))


def judged(of: Machine, run: Run, observations: Sequence[Observation]) -> tuple[int, int, bool]:
    """How many of the differences that are sought are decided, how many there are, and whether any verdict is wrong."""
    known = paired_comparisons(run, grouped(observations), dict.fromkeys(run.experiment.cells, ()))
    differing = [cell for cell, _ in budget.wanted(run) if abs(math.expm1(of.logs[cell])) > LEAST - 1e-9]
    sought = [cell for cell in differing if cell.workload != "sleep"]
    decided = sum(known.verdict(cell, replace(cell, server=run.experiment.reference)) != "undecided" for cell in sought)
    wrong = any(
        of.logs[cell] <= of.logs[other] for (cell, other), verdict in known.verdicts.items() if verdict == "faster"
    )
    return decided, len(sought), wrong


def summary(rounds: Sequence[Recorded], runs: int = RUNS) -> tuple[Sequence[Row], Sequence[Claim]]:
    """A row for each way of measuring, and no claim."""
    windows = [_windows(each) for each in rounds]
    rows: list[Row] = []
    for alike, (name, carried_out) in product((True, False), (("budget", with_budget), ("blocks", with_blocks))):
        found: dict[bool, list[tuple[int, int, bool]]] = {True: [], False: []}
        for differ, number in product(found, range(runs)):
            source = random.Random(f"{SEED}/{alike}/{differ}/{number}")  # noqa: S311 - a simulation
            of = machine(windows[number % len(windows)], source, differ=differ, alike=alike)
            found[differ].append(judged(of, *carried_out(of)))
        decided, sought = (sum(each[at] for each in found[True]) for at in (0, 1))
        row: Row = {
            "measured by": f"{name} of {BUDGET_S:g} s",
            "servers scatter": "alike" if alike else "unlike",
            "runs": str(runs),
            "5 % and more, decided": f"{decided / sought:.0%}",
            "runs with a wrong verdict": f"{sum(each[2] for each in found[True]) / runs:.1%}",
            "of identical servers": f"{sum(each[2] for each in found[False]) / runs:.1%}",
        }
        rows.append(row)
    return rows, ()


def _windows(each: Recorded) -> Sequence[Sequence[float]]:
    """The logarithms of a round's windows over their server's median, block by block."""
    servers = [(statistics.median(windows), windows) for windows in each.interleaved.values()]
    logs = [[math.log(rps / median) for rps in windows] for median, windows in servers]
    return list(zip(*logs, strict=True))


if __name__ == "__main__":
    analyse_recording("budget", __doc__, summary, {"runs": RUNS})
