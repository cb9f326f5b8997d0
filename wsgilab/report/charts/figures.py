"""Every figure of a comparison, in the order of the report."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from wsgilab.model import Comparison
from wsgilab.report.charts.answer import answer
from wsgilab.report.charts.balance import balance
from wsgilab.report.charts.capacity import capacity
from wsgilab.report.charts.cost import cost
from wsgilab.report.charts.cost_ratio import cost_ratio
from wsgilab.report.charts.drift import drift
from wsgilab.report.charts.figure import Figure
from wsgilab.report.charts.load import load
from wsgilab.report.charts.parts import parts as latency_parts
from wsgilab.report.charts.scaling import scaling
from wsgilab.report.charts.timeline import timeline


def figures(comparison: Comparison) -> Sequence[Figure]:
    """Every figure that has something to show. An interactive session has none, because it compares nothing."""
    if not comparison.interleaved:
        return ()
    parts = (answer, capacity, load, latency_parts, timeline, balance, scaling, cost, cost_ratio, drift)
    return list(_with_own_names(figure for part in parts for figure in part(comparison)))


def _with_own_names(found: Iterable[Figure]) -> Iterable[Figure]:
    """Number the figures whose workloads make the same file name."""
    taken: set[str] = set()
    for figure in found:
        name, number = figure.name, 1
        while name in taken:
            number += 1
            name = f"{figure.name}-{number}"
        taken.add(name)
        yield replace(figure, name=name)
