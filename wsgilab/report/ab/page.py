"""`against.html`: two runs beside each other, with the ratios drawn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsgilab.analysis.stats import SAME
from wsgilab.model import CellOfRuns, Interval, RunsComparison
from wsgilab.report.ab import words
from wsgilab.report.page import page
from wsgilab.report.tables import Table
from wsgilab.report.versions import findings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """Where a ratio is drawn, in percent of the axis' length."""

    at: str
    low: str
    width: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """A logarithmic axis that all ratios share: a half is as far from 1 as the double."""

    low: float
    high: float

    def at(self, ratio: float) -> float:
        """In percent of its length."""
        return 100 * math.log(ratio / self.low) / math.log(self.high / self.low)

    def mark(self, ratio: Interval) -> _Mark:
        low, high = self.at(ratio.low or ratio.median), self.at(ratio.high or ratio.median)
        return _Mark(at=_percent(self.at(ratio.median)), low=_percent(low), width=_percent(high - low))

    def ticks(self) -> Sequence[tuple[str, str]]:
        """Where each is, and what is written there: as many as have room."""
        chosen: list[float] = []
        for ratio in _TICKS:
            inside = self.low <= ratio <= self.high
            if inside and all(abs(self.at(ratio) - self.at(other)) >= _ROOM for other in chosen):
                chosen.append(ratio)
        return [(_percent(self.at(ratio)), f"{ratio:g}") for ratio in sorted(chosen)]


_TICKS = (1.0, 1000.0, 0.001, 100.0, 0.01, 10.0, 0.1, 5.0, 0.2, 2.0, 0.5, 1.5, 0.7, 1.2, 0.8, 1.1, 0.9, 1.05, 0.95)
"""Those that matter most first."""
_ROOM = 15.0
"""Percent of the axis that a tick's figure needs."""

_LEAST_REACH = 1.1
"""The axis goes so far at least, so that what is next to nothing looks like it."""


def _axis(comparison: RunsComparison) -> _Axis:
    ratios = [cell.ratio for cell in comparison.cells if cell.ratio is not None]
    ends = [end for ratio in ratios for end in (ratio.low, ratio.median, ratio.high) if end]
    return _Axis(low=min(1 / _LEAST_REACH, 1.0, *ends), high=max(_LEAST_REACH, 1.0, *ends))


def _percent(value: float) -> str:
    return f"{value:.2f}%"


def runs_html(comparison: RunsComparison) -> Mapping[str, bytes]:
    """The two as a page that needs no other file and runs no script."""
    axis = _axis(comparison)
    margin = Interval(median=1.0, low=1 / (1 + SAME), high=1 + SAME)
    text = page(
        "runs.html",
        title=words.title(comparison),
        heading=words.heading(comparison),
        findings=findings(comparison),
        outcome=words.outcome(comparison),
        identities=words.identities(comparison),
        notes=list(words.notes(comparison)),
        groups=[_drawn(group, cells, axis) for group, cells in words.groups(comparison)],
        ticks=axis.ticks(),
        margin=axis.mark(margin),
        alike=words.alike(comparison),
        differences=words.differences(comparison),
        only=list(words.only(comparison)),
        legend=(*words.legend(comparison), *_LEGEND),
    )
    return {"against.html": text.encode()}


_LEGEND = (
    (
        "the drawing",
        (
            "a point for the ratio and a bar for its interval, on an axis that all share, on which a half is as far from "
            "1 as the double; the grey band is as far as two starts of one server may differ"
        ),
    ),
)


def _drawn(group: Table, cells: Sequence[CellOfRuns], axis: _Axis) -> Mapping[str, object]:
    """A group as the template takes it."""
    return {
        "title": group.title,
        "columns": group.columns,
        "rows": [
            (row, cell.verdict, None if cell.ratio is None else axis.mark(cell.ratio))
            for row, cell in zip(group.rows, cells, strict=True)
        ],
        "lower_is_faster": cells[0].metric == "latency",
        "notes": group.notes,
    }
