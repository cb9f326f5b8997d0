"""The look that all charts share: sizes, colours, shapes, axes, and the Vega configuration of each."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

WIDTH = 376
"""Pixels of a panel with its axes and legend: one has room on a phone, three on a desk."""

PAGE = 1216
"""Pixels of a page on a desk."""

BETWEEN = 24
"""Pixels between two panels of a page."""

HEIGHT = 210
"""Pixels of a plot with two axes of numbers."""

ROW = 18
"""Pixels of a row with a name."""

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""vl-convert brings the first, so that the same values become the same bytes on every machine."""

TEXT = 12
"""Pixels."""

INK = "currentColor"
"""Axes and words take the colour of the page's text, be it light or dark."""

COLOURS = ("#0072b2", "#d55e00", "#00906a", "#c0619a", "#a37a00", "#3a8fc4", "#808080")
"""After Okabe and Ito's palette for all kinds of colour vision (2008), each darkened or lightened until it has a contrast
of at least 3 to 1 with PAPER, as WCAG 2.1 asks of graphics (success criterion 1.4.11)."""

PAPER = ("#ffffff", "#16181b")
"""The pages' backgrounds: light and dark."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down")
DASHES = ([1, 0], [6, 3], [2, 2])
"""The numbers of colours, shapes and dashes are coprime: no two of 105 servers look alike."""

Vega = dict[str, Any]
"""A part of a specification. Altair copies its own classes, with all that they could say, at each step to a chart."""

CONFIG: Vega = {
    # Vega would describe each mark in attributes, with its data.
    "aria": False,
    "background": "transparent",
    "font": FONT,
    # A browser's font may be wider than the one that Vega measures.
    "padding": {"left": 12, "right": 12, "top": 2, "bottom": 2},
    "view": {"stroke": None},
    "text": {"color": INK, "fontSize": TEXT},
    "title": {
        "anchor": "start",
        "frame": "bounds",
        "offset": 8,
        "color": INK,
        "fontSize": TEXT + 1,
        "subtitleColor": INK,
        "subtitleFontSize": TEXT,
    },
    "legend": {
        "title": None,
        "labelColor": INK,
        "labelFontSize": TEXT,
        "labelLimit": 130,
        "offset": 8,
        "symbolSize": 60,
        "symbolDash": [1, 0],
        "symbolOpacity": 1,
    },
    "axis": {
        "labelColor": INK,
        "labelFontSize": TEXT,
        "labelLimit": 150,
        "titleColor": INK,
        "titleFontSize": TEXT,
        "titleFontWeight": "normal",
        "tickColor": INK,
        "tickOpacity": 0.5,
        "domainColor": INK,
        "domainOpacity": 0.5,
        "gridColor": INK,
        "gridOpacity": 0.12,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberAxis:
    """What an axis measures, and its range."""

    title: str
    low: float
    high: float
    log: bool = False
    ticks: Sequence[float] = ()
    """Empty: Vega chooses those of a linear axis."""
    percent: bool = False
    padding: int = 0
    """Pixels between the ends of the axis and what is drawn."""

    @property
    def name(self) -> str:
        """What it measures, however it is drawn."""
        return self.title.removesuffix(", log scale")

    def x(self, field: str) -> alt.X:
        """The channel that shows `field` along the axis at the bottom."""
        return alt.X(f"{field}:Q", scale=self._scale(), axis=self._axis(tickCount=4))

    def y(self, field: str) -> alt.Y:
        """The channel that shows `field` along the axis at the left, whose title lies flat above it."""
        flat = {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleBaseline": "bottom"}
        return alt.Y(f"{field}:Q", scale=self._scale(), axis=self._axis(tickCount=5, titleX=-30, titleY=-10, **flat))

    def _scale(self) -> Vega:
        kind = "log" if self.log else "linear"
        return {"domain": [self.low, self.high], "type": kind, "nice": False, "zero": False, "padding": self.padding}

    def _axis(self, **look: Any) -> Vega:
        if ticks := list(self.ticks) or (log_ticks(self.low, self.high) if self.log else []):
            # Vega leaves chosen ticks out where it is to make fewer.
            look["values"] = ticks
            del look["tickCount"]
        # Vega's own format leaves labels of a logarithmic axis out.
        label = f"format(datum.value, '{'.0%' if self.percent else ',.10~g'}')"
        labels = {"labelExpr": label, "labelOverlap": "greedy", "labelSeparation": 5, "labelFlush": False}
        return {"title": self.title, **labels, **look}


def from_zero(title: str, values: Iterable[float]) -> NumberAxis:
    """An axis from 0 to a little above the highest of `values`."""
    return NumberAxis(title=title, low=0.0, high=max(values) * 1.04 or 1.0)


_DIGITS: Sequence[Sequence[float]] = (
    (1,),
    (1, 2, 5),
    (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9),
)
_FEWEST_TICKS = 4


def log_ticks(low: float, high: float) -> list[float]:
    """The powers of ten from `low` to `high`, with other round figures between them where those are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in _DIGITS:
        ticks = [tick for power in powers for digit in digits if low <= (tick := float(f"{digit}e{power}")) <= high]
        if len(ticks) >= _FEWEST_TICKS:
            break
    return ticks


def name_rows(names: Iterable[str], room: int | None = None, most: int | None = None) -> alt.Y:
    """A row for each of the field `server`, from the top down, with its name at the left.

    `room`: pixels for the names, if that is not for Vega to choose; with 0 they are left out. `most`: pixels of a name at most.
    """
    axis: Vega = {"title": None, "grid": True, "ticks": False, "domain": False, "labelPadding": 8}
    if room is not None:
        axis |= {"minExtent": room, "maxExtent": room, "labels": room > 0}
    if most is not None:
        axis["labelLimit"] = most
    return alt.Y("server:N", scale={"domain": list(names)}, axis=axis)
