"""What a finding is, and the words that findings have in common."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from wsgilab.model import CellFigures, CellResult, Comparison, Interval
from wsgilab.model.text import counted
from wsgilab.report import tables

FindingKind = Literal[
    "best",
    "bound",
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
