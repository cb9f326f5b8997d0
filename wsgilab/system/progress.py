"""What a person sees while the lab works: bars on a terminal, plain lines elsewhere. Never inside a window."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from wsgilab.model.text import visible

_LINE_EVERY_S = 5.0
_BAR = 20
_REST = Column(ratio=1, no_wrap=True, overflow="ellipsis")

Advance = Callable[[str], None]
"""One step of a bar is done; the text says which."""


class Reporter(Protocol):
    """Where the lab says what it does."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """A bar of `total` steps, as a context manager that yields the function to advance it."""


class TerminalReporter:
    """Bars, drawn only when a step is done: a thread that redraws would run beside the windows."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(visible(text), markup=False, highlight=False, emoji=False)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=_BAR),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=2 * len(str(total)) + 1)),
            TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=len("0:00:00"))),
            # It has what the others leave of the line.
            TextColumn("{task.fields[step]}", style="dim", markup=False, table_column=_REST),
        )
        with Progress(*columns, console=self._console, transient=True, auto_refresh=False, expand=True) as progress:
            task = progress.add_task(title, total=total, step="")
            progress.refresh()

            def advance(step: str) -> None:
                progress.update(task, advance=1, step=step, refresh=True)

            yield advance


class LineReporter:
    """Plain lines, for logs and pipes: one every few seconds, with what is left."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock

    def say(self, text: str) -> None:
        self._write(text)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        begin = last = self._clock()
        done = 0

        def advance(step: str) -> None:
            nonlocal done, last
            done += 1
            now = self._clock()
            if done in (1, total) or now - last >= _LINE_EVERY_S:
                last = now
                left_s = (now - begin) / done * (total - done)
                self._write(f"{title}: {done} of {total}, {left_s:.0f} s left ({step})")

        yield advance


def reporter_for(console: Console) -> Reporter:
    """Bars where `console` is a terminal, lines elsewhere."""
    if console.is_terminal:
        return TerminalReporter(console)
    return LineReporter(lambda text: print(visible(text), file=console.file, flush=True))
