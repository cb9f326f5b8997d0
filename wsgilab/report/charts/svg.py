"""From charts to SVG, by Vega: each panel is drawn once for each width, for the page and for its figure's file.

What a mark says (`figure.says`) is hidden in the drawing, right beside the mark, and `STYLE` shows it while the pointer or the
focus is on that: no script is needed.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode

from wsgilab.report.charts.figure import Figure, Panel, one_line
from wsgilab.report.charts.theme import BETWEEN, CONFIG, FONT, PAGE, PAPER, TEXT, WIDTH

FOCUSABLE = 'tabindex="0"'
"""What a drawing has where the Tab key goes through its marks."""

COLUMNS = 3
_BETWEEN = 28
"""Pixels between the panels of a file, and around them."""
_DARK_TEXT = "#1a1a1a"

STYLE = (
    "svg{overflow:visible}.tip{visibility:hidden;pointer-events:none}.tip>path{fill:var(--paper,#fff);stroke:currentColor;"
    "stroke-opacity:.4}.says:hover>.tip,.says:focus>.tip{visibility:visible}"
    ".says:hover,.says:focus{outline:none}.hit{fill:none;pointer-events:all}.says:focus-visible>.hit{stroke:currentColor;stroke-width:1.5px}"
)
"""What a page with drawings needs, or an SVG file."""

_LINE = 15
"""Pixels from a line of what a mark says to the next."""
_LETTER = 6.8
"""Pixels of a wide letter."""
_INSET = 6
"""Pixels between the lines and the box that they are in."""
_ABOVE = 10
"""Pixels between a mark and what it says."""
_HIT = 9
"""Pixels around a point in which the pointer is on it."""


def specification(panel: Panel, width: int = WIDTH) -> dict[str, object]:
    """The panel in Vega-Lite's terms."""
    chart = panel.wide if panel.wide is not None and width >= PAGE else panel.chart
    return _fitted(panel, _made(chart), width)


def _made(chart: Callable[[], alt.TopLevelMixin]) -> dict[str, object]:
    # Altair would check every part of a chart, which takes longer than drawing. The tests do that.
    with debug_mode(False):
        made: dict[str, object] = chart().to_dict(validate=False)
    return made


def _fitted(panel: Panel, made: Mapping[str, object], width: int) -> dict[str, object]:
    if "layer" not in made:
        # Plots side by side have widths and titles of their own.
        return {**made, "config": CONFIG}
    heading, *rest = map(one_line, panel.title)
    text = {"text": heading, "subtitle": rest} if rest else {"text": heading}
    fit = {"type": "fit-x", "contains": "padding"}
    return {**made, "width": width, "autosize": fit, "title": {**text, "limit": width}, "config": CONFIG}


def draw(panel: Panel, width: int = WIDTH) -> str:
    """The panel as an SVG element so many pixels wide. Its words take the colour of the text around it."""
    return _drawn(panel, specification(panel, width), width)


def draw_both(panel: Panel, widths: Sequence[int]) -> Sequence[str]:
    """The same for each of the widths. The chart is made once, unless it is laid out otherwise for a whole page."""
    if panel.wide is not None:
        return [draw(panel, width) for width in widths]
    made = _made(panel.chart)
    return [_drawn(panel, _fitted(panel, made, width), width) for width in widths]


def _drawn(panel: Panel, specified: dict[str, object], width: int) -> str:
    drawn: str = vl_convert.vegalite_to_svg(specified)
    return _slim(_saying(_as_wide(drawn, width), focusable=panel.wide is not None))


def _as_wide(drawn: str, width: int) -> str:
    """Plots side by side, with room at the right for want of which they would be drawn larger than others."""
    own, high = _size(drawn)
    if own >= width:
        return drawn
    head = f'width="{own:g}" height="{high:g}" viewBox="0 0 {own:g} {high:g}"'
    return drawn.replace(head, f'width="{width}" height="{high:g}" viewBox="0 0 {width} {high:g}"', 1)


def widths(count: int) -> Sequence[int]:
    """In how many pixels each of so many panels of a figure is drawn: for a phone and, where fewer than COLUMNS fill a row, for a
    desk."""
    columns = {1: 1, 2: 2, 4: 2}.get(count, COLUMNS)
    return (WIDTH,) if columns == COLUMNS else (WIDTH, (PAGE - (columns - 1) * BETWEEN) // columns)


def as_file(figure: Figure, panels: Sequence[str]) -> bytes:
    """The drawn panels of a figure on white, side by side."""
    columns = min(COLUMNS, len(panels))
    # A single panel has a second's room beside it, which its figure's title may need.
    rows = [panels[begin : begin + columns] for begin in range(0, len(panels), columns)]
    width = max(2 * (WIDTH + _BETWEEN), *(sum(_size(each)[0] + _BETWEEN for each in row) for row in rows)) + _BETWEEN
    title = html.escape(one_line(figure.title))
    parts, y = [], 2.0 * _BETWEEN
    for row in rows:
        x = float(_BETWEEN)
        for panel in row:
            parts.append(f'<g transform="translate({x:g},{y:g})">{panel}</g>')
            x += _size(panel)[0] + _BETWEEN
        y += max(_size(each)[1] for each in row) + _BETWEEN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{y:g}" viewBox="0 0 {width:g} {y:g}" '
        f'role="img" aria-labelledby="title" color="{_DARK_TEXT}"><title id="title">{title}</title>'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="{PAPER[0]}"/><text x="{_BETWEEN}" y="{_BETWEEN + 6}" fill="currentColor" '
        f'font-family="{FONT}" font-size="{TEXT + 4}px" font-weight="bold">{title}</text>{"".join(parts)}</svg>\n'
    ).encode()


def _size(drawn: str) -> tuple[float, float]:
    """Width and height in pixels, as the drawing's first tag has them."""
    found = re.search(r' width="([\d.]+)" height="([\d.]+)"', drawn)
    assert found is not None, "every drawing has a size"
    return float(found[1]), float(found[2])


# --- what marks say

_TOKEN = re.compile(
    r'<g fill="none"[^>]*transform="translate\((?P<root_x>[-\d.e]+),(?P<root_y>[-\d.e]+)\)">'
    r'|<g transform="translate\((?P<x>[-\d.e]+),(?P<y>[-\d.e]+)\)"><path class="background"[^>]* d="M0,0h(?P<wide>[\d.]+)v'
    r'|<path aria-label="(?P<says>[^"]*)" role="graphics-symbol" aria-roledescription="[^"]*"(?P<rest>[^>]*)/>'
)
"""The drawing itself; the beginning of a plot (or of an axis, which is nothing wide); and a mark that says something, in which Vega
has escaped what it says."""
_AT = re.compile(r' transform="translate\(([-\d.e]+),([-\d.e]+)\)"')
_RECTANGLE = re.compile(r' d="M([-\d.e]+),([-\d.e]+)h')
_NEW_LINE = "&#xA;"


def _saying(drawn: str, *, focusable: bool) -> str:
    """The drawing, over which lies what its marks say; what is one line is a title of its mark alone, since there are many."""
    said: list[str] = []
    root, plot, width = (0.0, 0.0), (0.0, 0.0), _size(drawn)[0]
    first: tuple[float, float] | None = None

    def replaced(token: re.Match[str]) -> str:
        nonlocal root, plot, first
        if token["root_x"] is not None:
            root = float(token["root_x"]), float(token["root_y"])
        elif token["x"] is not None:
            if float(token["wide"]):
                plot = root[0] + float(token["x"]), root[1] + float(token["y"])
        else:
            lines, rest = token["says"].split(_NEW_LINE), token["rest"]
            if len(lines) == 1:
                return f"<path{rest}><title>{lines[0]}</title></path>"
            first = first or plot
            # Of plots with rows in common, one has what the Tab key goes through.
            said.append(_said(lines, rest, plot, width, focusable=focusable and plot == first))
            return "" if ' opacity="0"' in rest else f"<path{rest}/>"
        return token[0]

    body = _TOKEN.sub(replaced, drawn)
    if not said:
        return body
    over = f'<g fill="currentColor" font-size="{TEXT}px">{"".join(said)}</g>'
    return body.removesuffix("</svg>") + over + "</svg>"


def _said(lines: Sequence[str], rest: str, plot: tuple[float, float], width: float, *, focusable: bool) -> str:
    """Something unseen where a mark is, and its lines, which lie within the drawing."""
    if (at := _AT.search(rest)) is not None:
        x, y = plot[0] + float(at[1]), plot[1] + float(at[2])
        hit, above = f'<circle class="hit" r="{_HIT}" transform="translate({x:.4g},{y:.4g})"/>', y
    else:
        found, outline = _RECTANGLE.search(rest), re.search(r' d="[^"]*"', rest)
        assert found is not None, "what says something is a point or a rectangle"
        assert outline is not None, "a rectangle has an outline"
        x, above = plot[0] + float(found[1]), plot[1] + float(found[2])
        hit = f'<path class="hit" transform="translate({plot[0]:.4g},{plot[1]:.4g})"{outline[0]}/>'
    longest = _LETTER * max(len(html.unescape(line)) for line in lines)
    left = max(0.0, min(x + _ABOVE, width - longest - 2 * _INSET))
    high = _LINE * len(lines) + _INSET
    top = above - _ABOVE - high
    if top < 0:
        top = above + 2 * _ABOVE
    more = "".join(f'<tspan x="{_INSET}" dy="{_LINE}">{line}</tspan>' for line in lines[1:])
    # An image has no parts with names: only where the Tab key goes through them they have.
    named = f'{FOCUSABLE} role="img" aria-label="{", ".join(lines)}"' if focusable else 'tabindex="-1"'
    return (
        f'<g class="says" {named}>{hit}'
        f'<g class="tip" transform="translate({left:.4g},{top:.4g})"><path d="M0,0h{longest + 2 * _INSET:.0f}v{high}H0Z"/>'
        f'<text x="{_INSET}" y="{_LINE}"><tspan font-weight="bold">{lines[0]}</tspan>{more}</text></g></g>'
    )


# --- what a drawing can do without

_TAG = re.compile(r"<[^>]*>")
_NOTHING = re.compile(r'<path class="(?:background|foreground)"[^>]*/>')
"""What lies behind and before a group: nothing that is seen."""
_IDLE = re.compile(
    r' (?:aria-hidden="true"|pointer-events="none"|role="graphics-object"|aria-label="[^"]*"|aria-roledescription="[^"]*"|opacity="1"'
    r'|fill-opacity="1"|role="graphics-symbol"|transform="translate\(0,0\)"|stroke-width="1"|font-family="[^"]*"|xmlns:xlink="[^"]*"|version="1.1")'
)
"""What is so anyway, or of no use in a page."""
_ROLE = re.compile(r'class="(mark-\w+) [^"]*"')
_LONG = re.compile(r"\d+\.\d{3,}")


def _slim(drawn: str) -> str:
    """The same drawing in fewer bytes. Only tags are changed: in texts of a run no tag begins, for Vega has escaped them."""
    font = f'<svg font-family="{FONT}" '
    return _TAG.sub(_slim_tag, _NOTHING.sub("", drawn)).replace("<svg ", font, 1)


def _slim_tag(tag: re.Match[str]) -> str:
    if FOCUSABLE in tag[0]:
        return tag[0]
    return _LONG.sub(lambda found: f"{float(found[0]):.2f}", _ROLE.sub(r'class="\1"', _IDLE.sub("", tag[0])))
