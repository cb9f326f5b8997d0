"""What a figure shows, as values: titles, figures and where they lie. How it is drawn is `render.charts`' affair.

Nothing here is statistics: every number is one of the comparison's, or a difference or a sum of such.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from wsgilab.model import Cell, CellResult, Comparison, Interval
from wsgilab.model.text import counted, visible
from wsgilab.report import tables

T = TypeVar("T")

MOST_PANELS = 12
"""So many are drawn of a figure; the others are named."""

MOST_ROWS = 40
"""So many servers have a row in a panel."""

LONGEST_NAME = 24
"""Characters of a name in a chart; tables have it whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What an axis measures, and from where to where."""

    title: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] = ()
    """Empty: wherever they are best."""
    percent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A figure with its interval, in a row or at an `x`."""

    value: float
    low: float | None = None
    high: float | None = None
    row: int = 0
    series: int = 0
    """Which of the panel's series it is of."""
    x: float = 0.0
    open: bool = False
    """A broken gate: shown, not to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A light bar from 0, such as the slots declared; None: without end."""

    row: int
    end: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Names at the left, and figures with their intervals beside each."""

    names: tuple[str, ...]
    axis: Axis
    series: tuple[str, ...]
    """What tells marks in a row apart; a legend names them where there are several."""
    marks: tuple[Mark, ...]
    extents: tuple[Extent, ...] = ()
    texts: tuple[str, ...] = ()
    """At the right of each row; empty where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through marks, from left to right."""

    name: str
    style: int
    """Its colour, shape and dashes: the same number looks the same everywhere."""
    marks: tuple[Mark, ...]
    labelled: bool = True
    """Else it is grey, and has no name beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Figures along an axis, a line for each server, named where it ends."""

    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    guide: tuple[tuple[float, float], ...] = ()
    """(x, y) of a dashed line to hold the others against; empty where there is none."""
    guide_name: str = ""
    band: bool = False
    """Intervals are a band about the line rather than a bar at each mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A request inside the application, in milliseconds; what began or ended outside of the picture is cut."""

    row: int
    entered_ms: float
    left_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """The rows of one process, or of all where each request has its own."""

    rows: int
    labels: tuple[str, ...]
    """One for each row, or the lines of one for all; see `each`."""
    each: bool
    """Whether every row has its label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gantt:
    """Who ran when: a bar for each request, a row for each that can run one at a time."""

    span_ms: float
    groups: tuple[RowGroup, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """Names at the left, and shares of 1 side by side, largest first."""

    names: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A server in a scatter plot."""

    name: str
    style: int
    x: Interval
    y: Interval
    best: bool
    """On the frontier."""
    labelled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """One figure against another, a point for each server; those on the frontier are connected."""

    x: Axis
    y: Axis
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One chart of a figure."""

    title: str
    drawing: Rows | Lines | Gantt | Stacks | Scatter


Section = Literal["answer", "load", "timeline", "balance", "scaling", "cost", "drift"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Charts that are read together, and everything they show as a table."""

    name: str
    """The stem of its file: a-z, 0-9 and `-` alone."""
    section: Section
    workload: str
    """Whose it is; empty where it is of all."""
    title: str
    caption: str
    """How to read it, and what is not drawn."""
    panels: tuple[Panel, ...]
    table: tables.Table


def slug(text: str) -> str:
    """`text` as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "x"


def one_line(text: str) -> str:
    """`text` as a chart or a page may show it: on one line, and with what does not print spelt out."""
    return " ".join(visible(text).split())


def short(names: Sequence[str]) -> Sequence[str]:
    """Each name as there is room for it in a chart; names that differ stay different."""
    cut = [one_line(name) for name in names]
    cut = [name if len(name) <= LONGEST_NAME else f"{name[:12]}…{name[-11:]}" for name in cut]
    return cut if len(set(cut)) == len(cut) else [f"{name[:20]} #{at}" for at, name in enumerate(cut, 1)]


def styles(comparison: Comparison) -> dict[str, int]:
    """The style of each server: its place in the run."""
    return {name: at for at, name in enumerate(comparison.run.servers)}


def kept(items: Sequence[T], most: int, what: str, where: str = "the tables") -> tuple[Sequence[T], str]:
    """The first `most` of `items`, and a sentence about the others; empty where there are none."""
    if len(items) <= most:
        return items, ""
    return items[:most], f" Not drawn for want of room: {len(items) - most} of {len(items)} {what}; see {where}."


def workloads(comparison: Comparison) -> Iterable[str]:
    """In the order in which the comparison has them."""
    return dict.fromkeys(result.cell.workload for result in comparison.cells)


def workload_words(comparison: Comparison, workload: str) -> str:
    """With its parameters, such as `sleep 50 ms`."""
    return tables.workload(comparison.run, workload)


def place(cell: Cell) -> str:
    """Cores and connection mode in words."""
    return f"{counted(cell.cores, 'core')}, connection: {cell.connection}"


def telling(cell: Cell) -> tuple[object, ...]:
    """What cells of a workload are sorted by, where there is no room for all: users rather than a rate, fresh
    connections, which spread evenly, few cores, and much load."""
    return cell.users is None, cell.connection, cell.cores, -(cell.users or 0), -(cell.rate or 0.0), cell.arrivals or ""


def spread(interval: Interval) -> tuple[float, float]:
    """From where to where an interval reaches; its median alone where it has no ends."""
    low = interval.median if interval.low is None else interval.low
    return low, interval.median if interval.high is None else interval.high


def gated(results: Iterable[CellResult]) -> str:
    """What the caption says of hollow marks; empty where there are none."""
    return " Hollow: not to be compared, see the warnings." if any(each.broken_gates for each in results) else ""
