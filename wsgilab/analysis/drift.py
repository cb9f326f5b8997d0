"""How the machine changed in the course of a run: each block against the whole."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from wsgilab.analysis.figures import cpu_ms_per_request
from wsgilab.model import Cell, Drift, Interval, Observation

_QUARTERS = 4


def drift(observations: Iterable[Observation]) -> Iterable[Drift]:
    """Each block's trials over the medians of their cells. A cell that only one block has tells nothing."""
    measured = sorted((each for each in observations if each.swarm is not None), key=lambda each: each.position)
    throughputs = _relative(measured, lambda each: None if each.swarm is None else each.swarm.throughput_rps)
    cpu_times = _relative(measured, cpu_ms_per_request)
    for block in sorted({each.block for each in measured}):
        trials = [each for each in measured if each.block == block]
        if block in throughputs:
            yield Drift(
                block=block,
                started=trials[0].started,
                trials=len(trials),
                throughput=_quartiles(throughputs[block]),
                cpu_time=_quartiles(cpu_times[block]) if block in cpu_times else None,
            )


def _relative(
    measured: Sequence[Observation], read: Callable[[Observation], float | None]
) -> Mapping[int, Sequence[float]]:
    """Each figure over the median of its cell, by block."""
    cells: dict[Cell, list[tuple[int, float]]] = defaultdict(list)
    for each in measured:
        if value := read(each):
            cells[each.cell].append((each.block, value))
    found: dict[int, list[float]] = defaultdict(list)
    for figures in cells.values():
        if len(figures) > 1:
            median = statistics.median(value for _, value in figures)
            for block, value in figures:
                found[block].append(value / median)
    return found


def _quartiles(values: Sequence[float]) -> Interval:
    """The median and the quartiles."""
    if len(values) == 1:
        return Interval(median=values[0], low=None, high=None)
    low, median, high = statistics.quantiles(values, n=_QUARTERS, method="inclusive")
    return Interval(median=median, low=low, high=high)
