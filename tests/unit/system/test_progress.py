"""What a person sees while the lab works."""

import io
import re
import threading
from collections.abc import Sequence

import pytest
from rich.console import Console

from wsgilab.system.progress import LineReporter, TerminalReporter


def lines(total: int, moments: Sequence[float]) -> list[str]:
    """What a bar of `total` steps writes when it begins, and then goes on, at `moments`."""
    written: list[str] = []
    clock = iter(moments)
    reporter = LineReporter(written.append, clock=lambda: next(clock))
    with reporter.bar("Trials", total) as advance:
        for step in range(1, len(moments)):
            advance(f"step {step}")
    return written


def test_lines_are_said_as_they_are() -> None:
    written: list[str] = []

    LineReporter(written.append).say("[red]failed[/red]")

    assert written == ["[red]failed[/red]"]


def test_the_first_and_the_last_step_are_always_a_line() -> None:
    assert lines(3, [0, 1, 2, 3]) == ["Trials: 1 of 3, 2 s left (step 1)", "Trials: 3 of 3, 0 s left (step 3)"]


def test_between_them_there_is_a_line_every_five_seconds() -> None:
    written = lines(9, [0, 1, 4, 6, 10, 11, 12])

    assert [line.partition(",")[0] for line in written] == ["Trials: 1 of 9", "Trials: 3 of 9", "Trials: 5 of 9"]


def test_what_is_left_goes_by_the_mean_step_so_far() -> None:
    assert lines(10, [100, 110, 120])[-1] == "Trials: 2 of 10, 80 s left (step 2)"


def test_the_only_step_is_one_line() -> None:
    assert lines(1, [0, 5]) == ["Trials: 1 of 1, 0 s left (step 1)"]


@pytest.fixture
def terminal() -> tuple[TerminalReporter, io.StringIO]:
    file = io.StringIO()
    return TerminalReporter(Console(file=file, width=120, force_terminal=True, color_system=None)), file


def test_a_terminal_shows_a_line_as_it_is(terminal: tuple[TerminalReporter, io.StringIO]) -> None:
    reporter, file = terminal

    reporter.say("[red]failed[/red] [/]")

    assert "[red]failed[/red] [/]" in file.getvalue()


def test_a_bar_shows_its_title_and_each_step(terminal: tuple[TerminalReporter, io.StringIO]) -> None:
    reporter, file = terminal

    with reporter.bar("Trials", 2) as advance:
        assert "Trials" in file.getvalue()
        assert "0/2" in file.getvalue()
        advance("[one]")
        assert "1/2" in file.getvalue()
        assert "[one]" in file.getvalue()
        advance("two")
        assert "2/2" in file.getvalue()


def test_a_bar_leaves_nothing_behind(terminal: tuple[TerminalReporter, io.StringIO]) -> None:
    reporter, file = terminal

    with reporter.bar("Trials", 1) as advance:
        advance("one")

    assert file.getvalue().endswith("\x1b[1A\x1b[2K"), "up a line, and erase it"


@pytest.mark.parametrize("width", [60, 200])
def test_a_bar_has_count_and_time_however_long_its_step_is_told(width: int) -> None:
    file = io.StringIO()
    reporter = TerminalReporter(Console(file=file, width=width, force_terminal=True, color_system=None))
    step = "block 40, gunicorn-gthread-behind-nginx, slow-client, 1000 users, keep-alive, 16 cores"

    with reporter.bar("Trials", 400) as advance:
        for _ in range(12):
            advance(step)
        line = re.split(r"[\r\n]", file.getvalue())[-1]

    assert "12/400" in line
    assert re.search(r" \d:\d\d:\d\d ", line)
    assert "block 40, " in line
    assert (step in line) == (width == 200)


def test_a_bar_draws_nothing_between_two_steps(terminal: tuple[TerminalReporter, io.StringIO]) -> None:
    """It has no thread of its own, which would run beside the windows."""
    reporter, _ = terminal
    before = threading.active_count()
    with reporter.bar("Trials", 2) as advance:
        advance("one")
        assert threading.active_count() == before
