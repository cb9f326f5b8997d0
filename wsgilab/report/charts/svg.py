"""From panels to SVG: each is drawn once, and stands both in the page and in the figure's file."""

import html
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert
from altair.utils.schemapi import debug_mode

from wsgilab.report.charts.bars import gantt, rows, stacks
from wsgilab.report.charts.style import FONT, LETTER, PAPER, WIDTH
from wsgilab.report.charts.xy import lines, scatter
from wsgilab.report.figures.values import Figure, Gantt, Lines, Panel, Rows, Scatter, Stacks, one_line

COLUMNS = 3
_BETWEEN = 28
"""Pixels between panels of a file, and around them."""
_LINE = 17
_TITLE_LETTERS = int(WIDTH / (LETTER * 1.12))
"""Of a line above a panel, in bold."""
_DARK_TEXT = "#1a1a1a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A panel as SVG elements, without their root."""

    title: str
    width: float
    height: float
    elements: str


def specification(panel: Panel) -> dict[str, Any]:
    """A panel in Vega-Lite's terms. Text that is not ours is a value in its data, and nowhere else."""
    match panel.drawing:
        case Rows() as drawing:
            return rows(drawing)
        case Lines() as drawing:
            return lines(drawing)
        case Gantt() as drawing:
            return gantt(drawing)
        case Stacks() as drawing:
            return stacks(drawing)
        case Scatter() as drawing:
            return scatter(drawing)


def draw(panel: Panel) -> Drawn:
    """The panel as SVG."""
    # Each part that Altair makes is ours, and checked by the tests; checking them all again would take most of the time.
    with debug_mode(False):
        drawing = specification(panel)
    made: str = vl_convert.vegalite_to_svg(drawing)
    begin = made.index(">") + 1
    root = dict(re.findall(r'(width|height)="([\d.]+)"', made[:begin]))
    return Drawn(
        title=one_line(panel.title),
        width=float(root["width"]),
        height=float(root["height"]),
        elements=_TAG.sub(_slim, made[begin : made.rindex("</svg>")]),
    )


# Vega writes `<` of texts as an entity, so that a tag is what begins with it; attributes have no `>` in them.
_TAG = re.compile(r"<[^>]*>")
_EMPTY = re.compile(r'<path class="(?:back|fore)ground"[^>]*/>')
_IDLE = re.compile(
    r' (?:role|aria-[a-z]+|pointer-events|font-family|stroke-miterlimit)="[^"]*"|'
    r' (?:(?:fill-|stroke-)?opacity="1"|font-size="12px"|font-weight="normal"|stroke-width="1")(?=[ />])'
)
_CLASS = re.compile(r' class="(?:(mark-(?!group)[a-z]+)[^"]*|[^"]*)"')
"""What kind of marks a group holds stays, for whoever looks for them."""
_LONG = re.compile(r"-?\d+\.\d{3,}")


def _slim(tag: re.Match[str]) -> str:
    """A tag without what the root says for all, or nothing needs; coordinates to a hundredth of a pixel."""
    text = tag[0]
    if _EMPTY.fullmatch(text):
        return ""
    text = _CLASS.sub(lambda found: f' class="{found[1]}"' if found[1] else "", text)
    return _LONG.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), _IDLE.sub("", text))


def inline(drawn: Drawn, number: int, label: str) -> str:
    """An `svg` element for a page of which it is the panel of that number; it takes the colour of the text.

    `label` says what it shows, to those who do not see it.
    """
    return (
        f'<svg viewBox="0 0 {drawn.width:g} {drawn.height:g}" width="{drawn.width:g}" height="{drawn.height:g}" '
        f'role="img" aria-label="{html.escape(one_line(label))}" {_TEXT}>{_own(drawn.elements, f"panel-{number}")}</svg>'
    )


_TEXT = f'font-family="{FONT}" font-size="12px"'


def _own(elements: str, name: str) -> str:
    """Elements whose ids, such as those of clip paths, are no other panel's."""

    def renamed(tag: re.Match[str]) -> str:
        return re.sub(r'(\bid="|url\(#|href="#)', lambda begin: f"{begin[0]}{name}-", tag[0])

    return _TAG.sub(renamed, elements)


def as_file(figure: Figure, panels: Sequence[Drawn]) -> bytes:
    """A figure by itself: its panels with their titles, on white."""
    columns = min(COLUMNS, len(panels))
    width = columns * WIDTH + (columns + 1) * _BETWEEN
    title = one_line(figure.title)
    parts = [_words(_folded(title, int(width / (LETTER * 1.4))), _BETWEEN, _BETWEEN + 4, 16)]
    y = _BETWEEN + 4.0 + _LINE * len(_folded(title, int(width / (LETTER * 1.4))))
    number = 0
    for row in (panels[at : at + columns] for at in range(0, len(panels), columns)):
        titles = [_folded(each.title, _TITLE_LETTERS) for each in row]
        deepest = max(map(len, titles)) * _LINE
        for column, (each, told) in enumerate(zip(row, titles, strict=True)):
            x = _BETWEEN + column * (WIDTH + _BETWEEN)
            parts.append(_words(told, x, y + 14, 13))
            parts.append(
                f'<g transform="translate({x},{y + deepest + 4:g})">{_own(each.elements, f"panel-{number}")}</g>'
            )
            number += 1
        y += deepest + 4 + max(each.height for each in row) + _BETWEEN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" '
        f'height="{y:g}" viewBox="0 0 {width} {y:g}" role="img" aria-labelledby="title" color="{_DARK_TEXT}" {_TEXT}>'
        f'<title id="title">{html.escape(title)}</title><rect width="100%" height="100%" fill="{PAPER[0]}"/>'
        f"{''.join(parts)}</svg>\n"
    ).encode()


def _folded(text: str, letters: int) -> Sequence[str]:
    return textwrap.wrap(text, letters, break_on_hyphens=False) or [""]


def _words(told: Sequence[str], x: float, y: float, size: int) -> str:
    return "".join(
        f'<text x="{x:g}" y="{y + at * _LINE:g}" font-size="{size}px" font-weight="bold" fill="currentColor">'
        f"{html.escape(line)}</text>"
        for at, line in enumerate(told)
    )
