"""The figures of a comparison: what is worth seeing, and in which order. Pure, and without a drawing library: whoever
only names or embeds them need not wait for one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from wsgilab.model import Comparison
from wsgilab.report.figures.answer import answer
from wsgilab.report.figures.balance import balance
from wsgilab.report.figures.cost import cost
from wsgilab.report.figures.drift import drift
from wsgilab.report.figures.load import load
from wsgilab.report.figures.scaling import scaling
from wsgilab.report.figures.timeline import timeline
from wsgilab.report.figures.values import Figure, Panel, Section

__all__ = ["Figure", "Panel", "Section", "figures"]


def figures(comparison: Comparison) -> Sequence[Figure]:
    """Every figure that has something to show, in the order of the report.

    None of an interactive session, which compares nothing.
    """
    if not comparison.interleaved:
        return ()
    parts = (answer, load, timeline, balance, scaling, cost, drift)
    return list(_named_apart(each for part in parts for each in part(comparison)))


def _named_apart(found: Iterable[Figure]) -> Iterable[Figure]:
    """Workloads whose names make the same file name have a number behind it."""
    seen: set[str] = set()
    for each in found:
        name, number = each.name, 1
        while name in seen:
            number += 1
            name = f"{each.name}-{number}"
        seen.add(name)
        yield replace(each, name=name)
