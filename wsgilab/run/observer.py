"""What happens at every trial of a run: it is kept, shown in the web UI, and counted at the terminal."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from wsgilab.model import Duet, Observation, Trial
from wsgilab.results.store import Journal
from wsgilab.run.watch import Watch
from wsgilab.system.progress import Reporter


class Observer(Protocol):
    """Is called for every trial, in the order in which they are carried out, from any thread."""

    def begin(self, trial: Trial) -> None:
        """It begins now; one that is repeated begins again."""

    def save(self, observation: Observation) -> None:
        """It has ended. It is kept when this returns."""

    def save_duet(self, duet: Duet) -> None:
        """The same of two servers that were loaded at once."""

    def advance(self, step: str) -> None:
        """It counts as done; `step` says which it was."""

    def say(self, text: str) -> None:
        """Something that a person should know."""


class RunObserver:
    """Keeps every observation, shows it in the web UI, and moves the bar on: for one lane at a time."""

    def __init__(self, journal: Journal, watch: Watch, reporter: Reporter) -> None:
        self._journal = journal
        self._watch = watch
        self._reporter = reporter
        self._lock = threading.Lock()
        self._numbers: dict[Trial, int] = {}
        self._last = 0

    @contextlib.contextmanager
    def expecting(self, trials: Sequence[Trial], done: int) -> Iterator[None]:
        """A bar of `trials`, which come after those that are `done`."""
        self._numbers = {}
        self._done, self._last = done, done + len(trials)
        with self._reporter.bar("Trials", len(trials)) as self._advance:
            yield

    def begin(self, trial: Trial) -> None:
        with self._lock:
            # One that is repeated keeps its number.
            number = self._numbers.setdefault(trial, self._done + 1 + len(self._numbers))
            self._watch.begin(trial.cell, f"{number} of {self._last} trials")

    def save(self, observation: Observation) -> None:
        with self._lock:
            self._journal.append(observation)
            self._watch.observe(observation)

    def save_duet(self, duet: Duet) -> None:
        with self._lock:
            self._journal.append_duet(duet)

    def advance(self, step: str) -> None:
        with self._lock:
            self._advance(step)

    def say(self, text: str) -> None:
        with self._lock:
            self._reporter.say(text)
