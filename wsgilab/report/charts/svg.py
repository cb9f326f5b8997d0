"""From charts to SVG, by Vega: each panel is drawn once, for the page and for its figure's file."""

import html
import re
from collections.abc import Sequence

import vl_convert
from altair.utils.schemapi import debug_mode

from wsgilab.report.charts.figure import Figure, Panel, one_line
from wsgilab.report.charts.theme import CONFIG, FONT, PAPER, TEXT, WIDTH

COLUMNS = 3
_BETWEEN = 28
"""Pixels between the panels of a file, and around them."""
_DARK_TEXT = "#1a1a1a"


def specification(panel: Panel) -> dict[str, object]:
    """The panel in Vega-Lite's terms."""
    heading, *rest = map(one_line, panel.title)
    # Altair would check every part of a chart, which takes longer than drawing. The tests do that.
    with debug_mode(False):
        made: dict[str, object] = panel.chart().to_dict(validate=False)
    title = {"text": heading, "subtitle": rest} if rest else {"text": heading}
    fit = {"type": "fit-x", "contains": "padding"}
    return {**made, "width": WIDTH, "autosize": fit, "title": title, "config": CONFIG}


def draw(panel: Panel) -> str:
    """The panel as an SVG element. Its words take the colour of the text around it."""
    drawn: str = vl_convert.vegalite_to_svg(specification(panel))
    return drawn


def as_file(figure: Figure, panels: Sequence[str]) -> bytes:
    """The drawn panels of a figure on white, side by side."""
    columns = min(COLUMNS, len(panels))
    # A single panel has a second's room beside it, which its figure's title may need.
    width = max(2, columns) * (WIDTH + _BETWEEN) + _BETWEEN
    title = html.escape(one_line(figure.title))
    parts, y = [], 2.0 * _BETWEEN
    for row in (panels[begin : begin + columns] for begin in range(0, len(panels), columns)):
        for column, panel in enumerate(row):
            x = _BETWEEN + column * (WIDTH + _BETWEEN)
            parts.append(f'<g transform="translate({x},{y:g})">{panel}</g>')
        y += max(map(_height, row)) + _BETWEEN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y:g}" viewBox="0 0 {width} {y:g}" '
        f'role="img" aria-labelledby="title" color="{_DARK_TEXT}"><title id="title">{title}</title>'
        f'<style>svg {{ overflow: visible }}</style><rect width="100%" height="100%" fill="{PAPER[0]}"/><text x="{_BETWEEN}" y="{_BETWEEN + 6}" fill="currentColor" '
        f'font-family="{FONT}" font-size="{TEXT + 4}px" font-weight="bold">{title}</text>{"".join(parts)}</svg>\n'
    ).encode()


def _height(drawn: str) -> float:
    """Pixels, as the drawing's first tag has them."""
    found = re.search(r' height="([\d.]+)"', drawn)
    assert found is not None, "every drawing has a height"
    return float(found[1])
