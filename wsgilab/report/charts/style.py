"""What all charts have in common: sizes, colours that are told apart on white and on near-black, shapes and axes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from wsgilab.report.figures.values import Axis

WIDTH = 376
"""Of a panel, in pixels, labels included: one has room on a phone, three on a desk."""

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The first is in the renderer itself, so that the same values become the same bytes on every machine."""

TEXT = 12
"""Pixels."""

LETTER = 6.9
"""Pixels, of an average letter at that size in a wide font: a browser may have another than ours."""

INK = "currentColor"
"""Axes and words take the colour of the page's text."""

COLOURS = ("#0072b2", "#d55e00", "#00906a", "#c0619a", "#a37a00", "#3a8fc4", "#808080")
"""After Okabe and Ito's palette for all kinds of colour vision (2008), each darkened or lightened until it has a contrast
of at least 3 to 1 with PAPER, as WCAG 2.1 asks of graphics (success criterion 1.4.11)."""

PAPER = ("#ffffff", "#16181b")
"""The pages' backgrounds: light and dark."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down")
DASHES: Sequence[Sequence[int]] = ((1, 0), (6, 3), (2, 2))
"""Colours, shapes and dashes are coprime in number: no two of 105 servers look alike."""

GREY = 0.35
"""Opacity of what is only there to be held against."""

ROW = 18
"""Pixels of a row with a name."""

MARGIN_LEFT = 50
"""Pixels of a chart whose left axis has numbers."""


def colour(style: int) -> str:
    return COLOURS[style % len(COLOURS)]


def shape(style: int) -> str:
    return SHAPES[style % len(SHAPES)]


def dash(style: int) -> Sequence[int]:
    return DASHES[style % len(DASHES)]


# --- a chart


Data = Sequence[Mapping[str, object]]
"""Under names of ours: whatever is not ours is a value there, never a part of the specification."""


class Canvas:
    """The data of one chart's layers; Altair, which would copy and check them at every step, has but their names."""

    def __init__(self) -> None:
        self._data: dict[str, list[dict[str, object]]] = {}

    def on(self, rows: Data) -> alt.Chart:
        """A layer that shows `rows`, without a mark yet."""
        name = f"rows-{len(self._data)}"
        self._data[name] = [dict(row) for row in rows]
        return alt.Chart(alt.NamedData(name=name))

    def chart(
        self, layers: Sequence[alt.Chart], *, height: int, left: int, right: int, top: int, bottom: int
    ) -> dict[str, Any]:
        """The specification of a chart that is WIDTH wide, with so many pixels beside its `height` for words."""
        # Layers are put together here: Altair would copy all of them several times.
        made = [layer.to_dict(validate=False) for layer in layers]
        return {
            "$schema": alt.SCHEMA_URL,
            "width": WIDTH - left - right,
            "height": height,
            "autosize": {"type": "none"},
            "padding": {"left": left, "right": right, "top": top, "bottom": bottom},
            "layer": [{key: each[key] for key in ("data", "mark", "encoding")} for each in made],
            "datasets": self._data,
            "config": _CONFIG,
        }


_CONFIG = {
    # Vega would describe each mark in attributes, with its data.
    "aria": False,
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "text": {"color": INK, "fontSize": TEXT},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "tickColor": INK,
        "domainColor": INK,
        "gridColor": INK,
        "gridOpacity": 0.12,
        "domainOpacity": 0.5,
        "tickOpacity": 0.5,
        "labelFontSize": TEXT,
        "titleFontSize": TEXT,
        "titleFontWeight": "normal",
    },
}


# --- places


def at_x(pixels: float) -> alt.XValue:
    """So many pixels from the left, whatever the data."""
    return alt.XValue(pixels)  # type: ignore[no-untyped-call]


def to_x(pixels: float) -> alt.X2Value:
    """As far as so many pixels from the left."""
    return alt.X2Value(pixels)  # type: ignore[no-untyped-call]


def at_y(pixels: float) -> alt.YValue:
    """So many pixels from the top, whatever the data."""
    return alt.YValue(pixels)  # type: ignore[no-untyped-call]


def pixels_x(field: str) -> alt.X:
    """A field of pixels from the left."""
    return alt.X(f"{field}:Q", scale=None, axis=None)


def pixels_y(field: str) -> alt.Y:
    """A field of pixels from the top."""
    return alt.Y(f"{field}:Q", scale=None, axis=None)


def along(axis: Axis, value: float) -> float:
    """How far along the axis a value lies: 0 at its low end, 1 at its high end."""
    if axis.high == axis.low:
        return 0.5
    if axis.log:
        return math.log(value / axis.low) / math.log(axis.high / axis.low)
    return (value - axis.low) / (axis.high - axis.low)


def text_width(texts: Sequence[str]) -> int:
    """Pixels that the longest of them needs, as a good guess."""
    return math.ceil(max((len(text) for text in texts), default=0) * LETTER)


def apart(wanted: Sequence[float], *, gap: float, low: float, high: float) -> Sequence[float]:
    """Places as near to `wanted` as can be, in the same order, `gap` apart and from `low` to `high`.

    Where there is no room for so many, they are nearer to each other.
    """
    order = sorted(range(len(wanted)), key=lambda at: (wanted[at], at))
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    places = [0.0] * len(wanted)
    last = low - gap
    for at in order:
        last = places[at] = max(wanted[at], last + gap)
    following = high + gap
    for at in reversed(order):
        following = places[at] = min(places[at], following - gap)
    return places


# --- axes


def scale(axis: Axis, *, ends: tuple[float, float] | None = None) -> alt.Scale:
    """As far as `axis` says, and not a step further; between `ends` in pixels, where they are given."""
    return alt.Scale(
        domain=[axis.low, axis.high],
        range=alt.Undefined if ends is None else list(ends),
        type="log" if axis.log else "linear",
        nice=False,
        zero=False,
    )


def x_axis(axis: Axis) -> alt.Axis:
    return _axis(axis, count=4)


def y_axis(axis: Axis) -> alt.Axis:
    """Its title lies flat above it."""
    made = _axis(axis, count=5)
    made.titleAngle, made.titleAlign, made.titleAnchor = 0, "left", "end"
    made.titleX, made.titleY, made.titleBaseline = 6 - MARGIN_LEFT, -10, "bottom"
    return made


def _axis(axis: Axis, count: int) -> alt.Axis:
    ticks = list(axis.ticks) or (_log_ticks(axis) if axis.log else [])
    return alt.Axis(
        title=axis.title,
        values=ticks or alt.Undefined,
        # Vega leaves chosen ticks out where it was told of fewer.
        tickCount=alt.Undefined if ticks else count,
        # Vega's own format leaves labels of a logarithmic axis out.
        labelExpr=f"format(datum.value, '{'.0%' if axis.percent else ',.10~g'}')",
        labelOverlap="greedy",
        labelSeparation=5,
        labelFlush=False,
    )


_DIGITS: Sequence[Sequence[float]] = (
    (1,),
    (1, 2, 5),
    (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9),
)
_FEWEST_TICKS = 4


def _log_ticks(axis: Axis) -> list[float]:
    """Powers of ten; with others between them where those are few."""
    powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    ticks: list[float] = []
    for digits in _DIGITS:
        every = (float(f"{digit}e{power}") for power in powers for digit in digits)
        ticks = [tick for tick in every if axis.low <= tick <= axis.high]
        if len(ticks) >= _FEWEST_TICKS:
            break
    return ticks
