"""The question itself: requests in flight against slots."""

from collections.abc import Iterable

from wsgilab.model import CellResult, Comparison
from wsgilab.report import tables
from wsgilab.report.figures.values import MOST_ROWS, Axis, Extent, Figure, Mark, Panel, Rows, kept, short


def answer(comparison: Comparison) -> Iterable[Figure]:
    """Slots declared, and the peak and the mean of requests in flight, for each server."""
    table = tables.answer(comparison)
    measured = [result for result in tables.waiting(comparison) if result.figures is not None]
    if table is None or not measured:
        return
    drawn, left_out = kept(measured, MOST_ROWS, "servers")
    yield Figure(
        name="answer",
        section="answer",
        workload="",
        title="Requests in flight, and slots declared",
        caption=(
            "The light bar is what the server declares to process at once (to the edge and ∞: no limit declared); the dot "
            "is the most requests ever measured inside the application at one moment, the upright stroke their mean over "
            "time, with its interval." + left_out
        ),
        panels=(Panel(title=tables.describe(comparison, measured[0].cell), drawing=_rows(drawn)),),
        table=table,
    )


def _rows(drawn: Iterable[CellResult]) -> Rows:
    drawn = list(drawn)
    marks, texts = [], []
    for row, result in enumerate(drawn):
        figures = result.figures
        assert figures is not None, "chosen so"
        mean = figures.mean_in_flight
        marks += [
            Mark(row=row, series=0, value=figures.peak),
            Mark(row=row, series=1, value=mean.median, low=mean.low, high=mean.high),
        ]
        texts.append(f"{figures.peak} of {tables.slots(result.slots)}")
    ends = [result.slots for result in drawn if result.slots is not None]
    highest = max([*(mark.high or mark.value for mark in marks), *ends])
    return Rows(
        names=tuple(short([result.cell.server for result in drawn])),
        axis=Axis(title="requests in flight", low=0.0, high=highest * 1.04 or 1.0),
        series=("peak", "mean"),
        marks=tuple(marks),
        extents=tuple(Extent(row=row, end=result.slots) for row, result in enumerate(drawn)),
        texts=tuple(texts),
    )
