"""From what was measured to what it would come to: lines through the measurements, costs of a run, and where it ends. Pure."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import linear_regression, median

from benchmarks.machines.found import Crewed, Found
from benchmarks.machines.simulation import Costs, Faults, Machines, Took, Way, Work, simulate
from wsgilab.model import Experiment

SWARM_EACH = 1
MOST = 100
"""Machines of targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is used by itself, and with each one more."""

    alone: float
    each: float

    def reaches(self, value: float) -> float:
        """With how many it comes to `value`."""
        return (value - self.alone) / self.each


def through(crews: Sequence[Crewed], of: Callable[[Crewed], float]) -> Line:
    """The least-squares line over the number of workers, of those crews whose workers share a process."""
    shared = [each for each in crews if not each.processes]
    slope, intercept = linear_regression([each.workers for each in shared], [of(each) for each in shared])
    return Line(alone=intercept, each=slope)


def idle(found: Found) -> Line:
    """CPU seconds a second of the master, over its workers."""
    return through(found.crews, lambda each: each.idle_cpu)


def trial_ms(found: Found) -> Line:
    """CPU milliseconds of the master a trial, over its workers."""
    return through(found.crews, lambda each: each.cpu_ms)


def window_ms(found: Found) -> Line:
    """The part of it that falls into the window."""
    return through(found.crews, lambda each: each.window_cpu_ms)


def look_us(found: Found) -> Line:
    """CPU microseconds of the master a look at how far its workers are."""
    return through(found.crews, lambda each: each.look_us)


def request_us(found: Found) -> float:
    """CPU time of the master a request, where there were most."""
    most = max(found.gathered, key=lambda each: each.requests)
    return most.receive_us + most.report_us


def lab_s(found: Found) -> float:
    """What a trial takes of the lab process that no two lanes can take at once: CPU time, of which Python gives out one
    second a second, and the wait for the disk, as if it held up everybody."""
    most = max(found.lanes, key=lambda each: each.lanes)
    return (most.cpu_ms + max(0.0, found.journaled.wall_ms - found.journaled.cpu_ms)) / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An experiment to run on many machines."""

    name: str
    work: Work
    servers: int
    window_s: float

    @property
    def trials(self) -> int:
        return self.work.cells * self.work.blocks


def cases(answer: Experiment) -> Sequence[Case]:
    """The default experiment, the same with more blocks, and one of 10,000 trials."""
    own = Case(
        name=f"`{answer.name}`: {len(answer.cells)} cells, {answer.blocks} blocks",
        work=Work(cells=len(answer.cells), blocks=answer.blocks),
        servers=len({cell.server for cell in answer.cells}),
        window_s=answer.window_s,
    )
    more = replace(
        own,
        name=f"`{answer.name}` with 100 blocks",
        work=Work(cells=own.work.cells, blocks=100),
    )
    large = Case(name="250 cells, 40 blocks, windows of 1 s", work=Work(cells=250, blocks=40), servers=25, window_s=1.0)
    return own, more, large


def costs(found: Found, case: Case, build_s: float | None = None) -> Costs:
    """As measured, for an experiment's servers and windows; `build_s` a machine where images are not there yet."""
    sited = found.sited
    return Costs(
        reach_s=sited.reach_s,
        build_s=sited.build_s if build_s is None else build_s,
        start_s=sited.start_s(case.servers),
        stop_s=sited.down_s(case.servers),
        # The lab's own part comes after it.
        trial_s=case.window_s + sited.beyond_s - sited.lab_cpu_ms / 1000,
        lab_s=lab_s(found),
        conclude_s=found.concluded.seconds / found.concluded.trials,
    )


def without_faults(case: Case, targets: int, costs: Costs, way: Way) -> Took:
    machines = Machines(targets=targets, swarm_each=SWARM_EACH)
    return simulate(case.work, machines, costs, way, Faults(), random.Random(0))  # noqa: S311 - nothing fails


def with_faults(
    case: Case, targets: int, costs: Costs, way: Way, faults: Faults, seeds: int
) -> tuple[float, float] | None:
    """Median wall time in seconds, and median number of legs, over so many seeds; None where it would never end."""
    machines = Machines(targets=targets, swarm_each=SWARM_EACH)
    took: list[Took] = []
    for seed in range(seeds):
        try:
            took.append(simulate(case.work, machines, costs, way, faults, random.Random(seed)))  # noqa: S311 - made-up faults
        except ValueError:
            return None
    return median(each.wall_s for each in took), median(each.legs for each in took)


def fastest(case: Case, costs: Costs, way: Way) -> tuple[int, float]:
    """With how many machines of targets it is over first, and after how many seconds."""
    walls = {targets: without_faults(case, targets, costs, way).wall_s for targets in range(1, MOST + 1)}
    targets = min(walls, key=lambda each: walls[each])
    return targets, walls[targets]


def lane_s(costs: Costs) -> float:
    """What each lane adds to the wall time of a run that brings one up after the other."""
    return (1 + SWARM_EACH) * (costs.reach_s + costs.build_s) + costs.start_s + costs.stop_s
