"""How numbers are written, how tasks are called, and how text from elsewhere is made safe to show. Pure."""

import math
import unicodedata

INVOKE, WSGILAB = "invoke", "wsgilab"
"""The programs that tasks are called by: Invoke in a checkout, and the lab's own command where it is installed."""

_called = {"by": INVOKE}

_KEPT = frozenset("\n\t")


def number(value: float) -> str:
    """Three significant digits at least, never an exponent: `0.61`, `78.9`, `1,534`."""
    for least, form in ((100, "{:,.0f}"), (10, "{:.1f}")):
        if value >= least:
            return form.format(value)
    return f"{value:.2f}"


_ANY = 1000
"""An interval that reaches so far bounds nothing."""


def times(ratio: float) -> str:
    """A ratio, or an end of its interval, such as `0.61` or `78.90`; of a few blocks that end may be beyond all bounds."""
    return f"{ratio:.2f}" if ratio < _ANY else f"over {_ANY:,}"


def percent(share: float) -> str:
    """A share in percent, rounded up to a tenth, so that a difference of so much does suffice: `5 %`, `10.8 %`."""
    return f"{math.ceil(round(1000 * share, 9)) / 10:g} %"


def counted(count: int, noun: str) -> str:
    """A count with its noun, such as `1 core` or `4 cores`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def call_tasks_by(name: str) -> None:
    """From now on, messages of this process name the tasks as the program `name` has them."""
    _called["by"] = name


def program() -> str:
    """The program that the tasks are called by."""
    return _called["by"]


def called(task: str) -> str:
    """What a person types for a task, such as `lab.run`: `invoke lab.run`, or `wsgilab run`."""
    return f"{INVOKE} {task}" if program() == INVOKE else f"{program()} {task.removeprefix('lab.')}"


def visible(text: str) -> str:
    r"""`text` with every character that does not print spelt as Python spells it, such as `\x1b` or `\u202e`.

    Those are control characters (an escape sequence can rewrite a terminal), characters that reverse, join or have no
    width (Unicode Technical Report 36, "Bidirectional Text Spoofing"), other line ends than `\n`, lone surrogates, and
    what Unicode does not define. Line ends, tabs and spaces stay; `\r\n` is a line end.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in _KEPT or unicodedata.category(each) == "Zs" else _spelt(each)
        for each in text.replace("\r\n", "\n")
    )


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
