"""What a person sees while the lab works: a bar on a terminal, plain lines elsewhere. Never inside a window."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wsgilab.model.text import visible

_LINE_EVERY_S = 5.0
_NOTE_EVERY_S = 30.0
_BAR = 20
_IN_SECONDS = 120
"""Longer times are in minutes and seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is."""

    done: int
    """Trials."""
    total: int | None
    """None: how many there will be is not known."""
    share: float
    """How much of the time is over, from 0 to 1."""
    left_s: float | None
    """Seconds that are left. None: not known yet."""
    more: bool = False
    """Whether it may go on after that."""
    now: str
    """What is measured, or was last."""
    note: str = ""
    """What more there is to know; empty: nothing."""

    @property
    def words(self) -> str:
        """Such as `57 of 203, 72 s left`."""
        done = f"{self.done} done" if self.total is None else f"{self.done} of {self.total}"
        if self.left_s is None:
            return done
        return f"{done}, {'at least ' if self.more else ''}{_time(self.left_s)} left"


Show = Callable[[Progress], None]


class Reporter(Protocol):
    """Where the lab says what it does."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def bar(self, title: str) -> AbstractContextManager[Show]:
        """A bar, as a context manager that yields the function to move it on."""


class TerminalReporter:
    """A bar, drawn only when it is moved on: a thread that redraws would run beside the windows."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(visible(text), markup=False, highlight=False, emoji=False)

    @contextmanager
    def bar(self, title: str) -> Iterator[Show]:
        with Live(console=self._console, transient=True, auto_refresh=False) as live:
            yield lambda progress: live.update(_drawn(title, progress), refresh=True)


def _drawn(title: str, progress: Progress) -> RenderableType:
    """The bar, and below it what is measured and what more there is to know, each cut to its line."""
    bar = Table.grid(padding=(0, 1, 0, 0))
    bar.add_column(no_wrap=True)
    bar.add_column()
    bar.add_column(no_wrap=True)
    bar.add_row(Text(title), ProgressBar(total=1.0, completed=progress.share, width=_BAR), Text(progress.words))
    lines = (
        Text(f"  {visible(line)}", "dim", no_wrap=True, overflow="ellipsis")
        for line in (progress.now, progress.note)
        if line
    )
    return Group(bar, *lines)


class LineReporter:
    """Plain lines, for logs and pipes: one every few seconds, with what is left."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock

    def say(self, text: str) -> None:
        self._write(text)

    @contextmanager
    def bar(self, title: str) -> Iterator[Show]:
        last_s = last_note_s = -math.inf
        noted = ""

        def show(progress: Progress) -> None:
            nonlocal last_s, last_note_s, noted
            now_s = self._clock()
            if progress.done == progress.total or now_s - last_s >= _LINE_EVERY_S:
                last_s = now_s
                self._write(f"{title}: {progress.words} ({progress.now})")
            if progress.note not in ("", noted) and now_s - last_note_s >= _NOTE_EVERY_S:
                last_note_s, noted = now_s, progress.note
                self._write(progress.note)

        yield show


def _time(seconds: float) -> str:
    """Such as `72 s` or `3:05 min`."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < _IN_SECONDS else f"{whole // 60}:{whole % 60:02} min"


def reporter_for(console: Console) -> Reporter:
    """A bar where `console` is a terminal, lines elsewhere."""
    if console.is_terminal:
        return TerminalReporter(console)
    return LineReporter(lambda text: print(visible(text), file=console.file, flush=True))
