"""What a person sees while the lab works."""

import io
import re
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from wsgilab.system.progress import LineReporter, Progress, TerminalReporter


def at(done: int, **changes: Any) -> Progress:
    """So many of 9 trials."""
    of = {"total": 9, "share": done / 9, "left_s": 10.0 * (9 - done), "now": f"step {done}", **changes}
    return Progress(done=done, **of)


def lines(shown: Sequence[tuple[float, Progress]]) -> list[str]:
    """What is written of what is shown at these moments."""
    written: list[str] = []
    clock = iter([moment for moment, _ in shown])
    with LineReporter(written.append, clock=lambda: next(clock)).bar("Trials") as show:
        for _, progress in shown:
            show(progress)
    return written


def test_lines_are_said_as_they_are() -> None:
    written: list[str] = []

    LineReporter(written.append).say("[red]failed[/red]")

    assert written == ["[red]failed[/red]"]


def test_the_first_and_the_last_are_always_a_line() -> None:
    assert lines([(0, at(0)), (1, at(1)), (2, at(9))]) == [
        "Trials: 0 of 9, 90 s left (step 0)",
        "Trials: 9 of 9, 0 s left (step 9)",
    ]


def test_between_them_there_is_a_line_every_five_seconds() -> None:
    written = lines([(moment, at(done)) for done, moment in enumerate((0, 1, 4, 6, 10, 11, 12))])

    assert [line.partition(",")[0] for line in written] == ["Trials: 0 of 9", "Trials: 3 of 9", "Trials: 5 of 9"]


def test_a_note_is_a_line_of_its_own_when_it_changes_and_not_more_often_than_every_half_minute() -> None:
    noted = [
        (moment, at(done, note=note))
        for done, (moment, note) in enumerate([(0, ""), (6, "1 of 3"), (12, "2 of 3"), (40, "2 of 3"), (80, "2 of 3")])
    ]

    assert [line for line in lines(noted) if not line.startswith("Trials")] == ["1 of 3", "2 of 3"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "3 of 9, 60 s left"),
        ({"total": None}, "3 done, 60 s left"),
        ({"left_s": None}, "3 of 9"),
        ({"left_s": 185.2}, "3 of 9, 3:05 min left"),
        ({"more": True}, "3 of 9, at least 60 s left"),
    ],
)
def test_how_far_it_is_is_said_as_far_as_it_is_known(changes: dict[str, Any], words: str) -> None:
    assert at(3, **changes).words == words


@pytest.fixture
def terminal() -> tuple[TerminalReporter, io.StringIO]:
    file = io.StringIO()
    return TerminalReporter(Console(file=file, width=120, force_terminal=True, color_system=None)), file


def test_a_terminal_shows_a_line_as_it_is(terminal: tuple[TerminalReporter, io.StringIO]) -> None:
    reporter, file = terminal

    reporter.say("[red]failed[/red] [/]")

    assert "[red]failed[/red] [/]" in file.getvalue()


def test_a_bar_shows_its_title_what_is_measured_and_the_note(terminal: tuple[TerminalReporter, io.StringIO]) -> None:
    reporter, file = terminal

    with reporter.bar("Trials") as show:
        show(at(1, now="[one]", note="2 of 3 decided"))
        for words in ("Trials", "1 of 9, 80 s left", "[one]", "2 of 3 decided"):
            assert words in file.getvalue()
        show(at(2))
        assert "2 of 9" in file.getvalue()


def test_a_bar_leaves_nothing_behind(terminal: tuple[TerminalReporter, io.StringIO]) -> None:
    reporter, file = terminal

    with reporter.bar("Trials") as show:
        show(at(1))

    assert file.getvalue().endswith("\x1b[1A\x1b[2K"), "up a line, and erase it"


@pytest.mark.parametrize("width", [60, 200])
def test_a_bar_has_count_and_time_however_long_the_other_lines_are(width: int) -> None:
    file = io.StringIO()
    reporter = TerminalReporter(Console(file=file, width=width, force_terminal=True, color_system=None))
    step = "block 40, gunicorn-gthread-behind-nginx, slow-client, 1000 users, keep-alive, 16 cores"

    with reporter.bar("Trials") as show:
        show(at(3, now=step, note=f"noted {step}"))
        drawn = [re.sub(r"\x1b\[[?\dA-Za-z]*", "", line) for line in file.getvalue().split("\n")]

    assert "3 of 9, 60 s left" in drawn[0]
    assert all(len(line.rstrip("\r")) <= width for line in drawn)
    assert (step in drawn[1]) == (width == 200)


def test_a_bar_draws_nothing_between_two_steps(terminal: tuple[TerminalReporter, io.StringIO]) -> None:
    """It has no thread of its own, which would run beside the windows."""
    reporter, _ = terminal
    # Of other tests some may end meanwhile.
    before = set(threading.enumerate())
    with reporter.bar("Trials") as show:
        show(at(1))
        assert set(threading.enumerate()) <= before
