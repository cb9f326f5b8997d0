"""How the machine changed in the course of a run: each block against the whole."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from wsgilab.analysis.cell.readings import Read, cpu_ms_per_request, throughput_rps
from wsgilab.analysis.pairs.ratios import by_block, grouped
from wsgilab.model import Drift, Interval, Observation


def drift(observations: Iterable[Observation]) -> Iterable[Drift]:
    """The trials of each block over the medians of their cells. A cell that only one block has is left out."""
    measured = sorted((each for each in observations if each.swarm is not None), key=lambda each: each.position)
    throughputs, cpu_times = _relative(measured, throughput_rps), _relative(measured, cpu_ms_per_request)
    for block in sorted(throughputs):
        trials = [each for each in measured if each.block == block]
        yield Drift(
            block=block,
            started=trials[0].started,
            trials=len(trials),
            throughput=_quartiles(throughputs[block]),
            cpu_time=_quartiles(cpu_times[block]) if block in cpu_times else None,
        )


def _relative(measured: Sequence[Observation], read: Read) -> Mapping[int, Sequence[float]]:
    """Each figure over the median of its cell, by block."""
    found: dict[int, list[float]] = defaultdict(list)
    for observations in grouped(measured).values():
        figures = {block: figure for block, figure in by_block(observations, read).items() if figure}
        if len(figures) > 1:
            median = statistics.median(figures.values())
            for block, figure in figures.items():
                found[block].append(figure / median)
    return found


def _quartiles(values: Sequence[float]) -> Interval:
    """The median and the quartiles."""
    if len(values) == 1:
        return Interval(median=values[0], low=None, high=None)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Interval(median=median, low=low, high=high)
