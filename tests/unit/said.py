"""What a person reads: the line of a refusal, and what a console prints."""

import io
import re
from collections.abc import Callable
from typing import Any, ParamSpec

import pytest
from rich.console import Console, RenderableType

from wsgilab.model import CellResult
from wsgilab.model.errors import LabError

Given = ParamSpec("Given")


def refusal(
    kind: type[LabError] | tuple[type[LabError], ...],
    call: Callable[Given, object],
    *given: Given.args,
    **named: Given.kwargs,
) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(kind) as caught:
        call(*given, **named)
    assert "\n" not in caught.value.message
    return caught.value.message


def printed(*parts: RenderableType, width: int, **options: Any) -> str:
    """What a console so many characters wide prints; `options` are rich's own."""
    console = Console(file=io.StringIO(), width=width, **options)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table(text: str) -> list[tuple[str, ...]]:
    """The rows of a table, a line each, with ` | ` between their cells; a backslash and an n are a new line."""
    rows = (re.split(r"(?:^| )\|(?= |$)", line.strip()) for line in text.strip().splitlines())
    return [tuple(cell.strip().replace(r"\n", "\n") for cell in row) for row in rows]


def warned(result: CellResult) -> tuple[str, ...]:
    """The words of a cell's warnings."""
    return tuple(each.text for each in result.warnings)
