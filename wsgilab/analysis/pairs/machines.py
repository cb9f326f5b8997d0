"""What difference a machine of targets makes, where blocks ran side by side on several machines."""

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from wsgilab.analysis import stats
from wsgilab.analysis.pairs.ratios import ByCell
from wsgilab.model import Cell, Gate, MachineEffect, Run

_FEWEST = 2
"""The fewest machines between which there is a difference, and which must have a cell for it to show one."""


def machine_effects(run: Run, by_cell: ByCell, broken: Mapping[Cell, Collection[Gate]]) -> Iterable[MachineEffect]:
    """One for each machine of the run's lanes that has blocks; none unless two have. The intervals hold together.

    Blocks of different machines are independent samples, compared as those of two runs are (`stats.unpaired_ratio`).
    """
    speeds = _speeds(by_cell, broken)
    machines = [lane.targets.name for lane in run.lanes if lane.targets.name in speeds]
    if len(machines) < _FEWEST:
        return
    # Of two machines one ratio is the other turned round.
    level = stats.ERROR_RATE / (len(machines) if len(machines) > _FEWEST else 1)
    logs = [[math.log(speed) for speed in speeds[machine]] for machine in machines]
    reach = stats.reach([each for of_machine in logs for each in stats.departures(of_machine)])
    for machine in machines:
        others = [speed for other in machines if other != machine for speed in speeds[other]]
        yield MachineEffect(
            machine=machine,
            blocks=len(speeds[machine]),
            throughput=stats.unpaired_ratio(speeds[machine], others, level, reach),
        )


def _speeds(by_cell: ByCell, broken: Mapping[Cell, Collection[Gate]]) -> Mapping[str, Sequence[float]]:
    """The speed of each block, by machine: the geometric mean, over its cells, of throughput over the cell's median.

    Cells at a fixed rate and those with a broken gate are left out, as in scaling. So are cells that only one machine
    has, which could only be compared with themselves.
    """
    logs: dict[tuple[str, int], list[float]] = defaultdict(list)
    for cell, observations in by_cell.items():
        found = [
            (each.machine, each.block, each.swarm.throughput_rps)
            for each in observations
            if each.swarm is not None and each.swarm.throughput_rps
        ]
        if cell.rate is not None or broken[cell] or len({machine for machine, _, _ in found}) < _FEWEST:
            continue
        median = statistics.median(rps for _, _, rps in found)
        for machine, block, rps in found:
            logs[machine, block].append(math.log(rps / median))
    speeds: dict[str, list[float]] = defaultdict(list)
    for (machine, _), each in logs.items():
        speeds[machine].append(math.exp(statistics.fmean(each)))
    return speeds
