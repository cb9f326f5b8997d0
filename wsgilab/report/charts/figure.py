"""What a figure is: charts that are read together, and a table of everything that they show.

Nothing here draws: code that only names or embeds figures need not wait for the drawing library.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from wsgilab.model import Cell, CellFigures, CellResult, Comparison, Interval
from wsgilab.model.text import visible
from wsgilab.report import tables

if TYPE_CHECKING:
    import altair as alt

T = TypeVar("T")

_LONGEST_NAME = 40
"""Characters of a name beside a point."""

MOST_PANELS = 12
"""A figure has so many panels at most; its caption counts the others."""

MOST_ROWS = 40
"""A panel has so many rows of servers at most."""

Section = Literal["answer", "capacity", "load", "timeline", "balance", "scaling", "cost", "drift"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One chart of a figure."""

    title: tuple[str, ...]
    """Its lines; the first is the heading."""
    chart: "Callable[[], alt.TopLevelMixin]"
    """Makes it, which takes a while: not every reader of a figure draws it."""
    wide: "Callable[[], alt.TopLevelMixin] | None" = None
    """The same for the whole width of a page, where that is laid out otherwise."""
    server: str = ""
    """The server that it is of; empty where it is of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Charts that are read together, and everything that they show as a table."""

    name: str
    """The stem of its file, of a-z, 0-9 and `-` alone."""
    section: Section
    workload: str = ""
    """The workload that it shows; empty where it shows all."""
    title: str
    caption: str
    """How to read it, and what is not drawn."""
    panels: tuple[Panel, ...]
    table: tables.Table


def slug(text: str) -> str:
    """`text` as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "x"


def one_line(text: str) -> str:
    """`text` as a chart or a page may show it: on one line, with every character that does not print spelt out."""
    return " ".join(visible(text).split())


def labels(servers: Iterable[str]) -> Mapping[str, str]:
    """The label of each server in a chart. Names that would look alike are numbered; Vega cuts those that are long."""
    shown = {server: one_line(server) for server in servers}
    if len(set(shown.values())) == len(shown):
        return shown
    return {server: f"#{number} {label}" for number, (server, label) in enumerate(shown.items(), 1)}


def says(name: str, *lines: str) -> str:
    """What a mark says where the pointer or the focus is on it: whose it is, and its figures, line by line."""
    whole = one_line(name)
    cut = whole if len(whole) <= _LONGEST_NAME else f"{whole[:_LONGEST_NAME]}…"
    return "\n".join((cut, *lines))


def styles(comparison: Comparison) -> Mapping[str, int]:
    """The style of each server, which is its place in the run: a server looks the same in every chart."""
    return {name: place for place, name in enumerate(comparison.run.servers)}


def kept(items: Sequence[T], most: int, what: str, where: str = "the tables") -> tuple[Sequence[T], str]:
    """The first `most` of `items`, and a sentence about the others; empty where there are none."""
    if len(items) <= most:
        return items, ""
    return items[:most], f" Not drawn for want of room: {len(items) - most} of {len(items)} {what}; see {where}."


def kept_rows(results: Sequence[T]) -> tuple[Sequence[T], str]:
    """The first MOST_ROWS of a panel's cells, and the words for its title where there are more."""
    more = f" ({MOST_ROWS} of {len(results)} servers)" if len(results) > MOST_ROWS else ""
    return results[:MOST_ROWS], more


def workloads(comparison: Comparison) -> Iterable[str]:
    """Each workload once, in the order of the comparison."""
    return dict.fromkeys(result.cell.workload for result in comparison.cells)


def place(cell: Cell) -> str:
    """Cores and connection mode in words."""
    return f"{cell.on}, connection: {cell.connection}"


def telling(cell: Cell) -> tuple[object, ...]:
    """The key by which the cells of a workload are sorted where there is no room for all.

    Users come before a rate, fresh connections (which spread evenly) before kept ones, then few cores, then much load.
    """
    return cell.users is None, cell.connection, cell.cores, -(cell.users or 0), -(cell.rate or 0.0), cell.arrivals or ""


def ends(interval: Interval) -> tuple[float, float]:
    """Where an interval begins and ends: at its median where it has no ends."""
    low = interval.median if interval.low is None else interval.low
    return low, interval.median if interval.high is None else interval.high


def figures_of(result: CellResult) -> CellFigures:
    """The figures of a measured cell."""
    assert result.figures is not None, "only measured cells are drawn"
    return result.figures


def gated(results: Iterable[CellResult]) -> str:
    """The sentence about hollow marks in a caption; empty where there are none."""
    return " Hollow: not to be compared, see the warnings." if any(each.broken_gates for each in results) else ""
