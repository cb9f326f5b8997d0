"""What a finding is, and the words that findings have in common."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from wsgilab.analysis.cell.bottleneck import SLOTS_LIMIT
from wsgilab.model import CellFigures, CellResult, Comparison, Idle, Interval
from wsgilab.model.text import counted
from wsgilab.report import tables

FindingKind = Literal[
    "best",
    "bound",
    "silence",
    "given-up",
    "lost",
    "during",
    "declaration",
    "slots-not-filled",
    "uneven-processes",
    "backlog",
    "stall",
    "held-back",
    "uneven-users",
    "scaling",
    "cost",
]
Part = Literal["advice", "load", "balance", "scaling", "cost"]
"""A part of the report, as its page names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence, and where its evidence is."""

    kind: FindingKind
    text: str
    """With its figure."""
    part: Part
    """The part of the report that has the evidence."""
    workload: str = ""
    """The workload in the part `load`; else empty."""


Findings = Iterable[Finding]


def measured(comparison: Comparison) -> Iterable[tuple[CellResult, CellFigures]]:
    """The cells that have figures."""
    return ((each, each.figures) for each in comparison.cells if each.figures is not None)


def figures_of(result: CellResult) -> CellFigures:
    """The figures of a measured cell."""
    assert result.figures is not None, "findings are of measured cells"
    return result.figures


def named(comparison: Comparison, result: CellResult) -> str:
    """Server and conditions, such as `gunicorn-gevent (sleep 50 ms, 8 users)`."""
    return f"{result.cell.server} ({tables.brief(comparison, result.cell)})"


def idle_of(result: CellResult) -> Idle | None:
    """The silent connections of a cell; None without any."""
    return None if result.cell.circumstances is None else result.cell.circumstances.idle


def held_by_silence(result: CellResult, figures: CellFigures) -> float:
    """How many slots silent connections hold, where that is what a cell is bound by; else 0."""
    idle, slots = idle_of(result), result.slots
    if (
        idle is None
        or not slots
        or figures.bound_by != "slots"
        or median(figures.mean_in_flight) >= SLOTS_LIMIT * slots
    ):
        return 0.0
    return min(idle.connections, slots - median(figures.mean_in_flight))


def more(found: Sequence[object]) -> str:
    """How many cells there are beside the one that is named; empty where there are none."""
    return f"; the same with {counted(len(found) - 1, 'more cell')}" if len(found) > 1 else ""


def median(interval: Interval | None) -> float:
    """0 where it is not known."""
    return 0.0 if interval is None else interval.median


def spread(values: Sequence[float], spelt: Callable[[float], str]) -> str:
    """Such as `97% to 99%`; one alone where both ends are spelt alike."""
    low, high = spelt(min(values)), spelt(max(values))
    return low if low == high else f"{low} to {high}"


def percent(share: float) -> str:
    """Such as `97%`."""
    return f"{share:.0%}"
