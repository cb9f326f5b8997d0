"""What happens at every trial of a run: it is kept, shown in the web UI, and counted at the terminal."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from wsgilab.analysis.budget import seconds
from wsgilab.analysis.compare import decided_so_far
from wsgilab.model import Cell, Duet, Observation, Run, Trial
from wsgilab.results.store import Journal
from wsgilab.run.forecast import Forecast
from wsgilab.run.watch import Watch
from wsgilab.system.progress import Progress, Reporter

LOOKING_SHARE = 0.01
"""So much of the time, at most, is for counting what is decided so far."""


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
    """Keeps every observation, shows it in the web UI, and moves the bar on: for one lane at a time.

    The bar has what is measured, how much time is left and, of a `run` that compares, how many comparisons are decided so far. That
    is a look before the end, at which some difference seems real sooner or later even where there is none: so it counts them and
    names none, and nothing follows from it.
    """

    def __init__(
        self,
        journal: Journal,
        watch: Watch,
        reporter: Reporter,
        run: Run | None = None,
        earlier: Iterable[Observation] = (),
        lanes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._watch = watch
        self._reporter = reporter
        self._run = run
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers: dict[Trial, int] = {}
        self._ahead: dict[tuple[int, Cell], Trial] = {}
        self._counted = self._blocks = 0
        self._note, self._counting_s, self._began_s = "", 0.0, clock()
        self._saved = {(each.block, each.cell): each for each in earlier}
        self._forecast: Forecast | None = None
        if run is not None:
            used_s = seconds.used_s(self._saved.values(), lanes)
            self._forecast = Forecast(run, began_s=self._began_s, used_s=used_s)
            for each in self._saved.values():
                self._forecast.learn(each.cell, each.took_s, own=False)

    @contextlib.contextmanager
    def expecting(self, trials: Sequence[Trial], done: int) -> Iterator[None]:
        """A bar of `trials`, which come after those that are `done`."""
        self._numbers, self._counted = {}, 0
        self._ahead = {(trial.block, trial.cell): trial for trial in trials}
        self._blocks = len({trial.block for trial in trials})
        self._done, self._last = done, done + len(trials)
        with self._reporter.bar("Trials") as self._show:
            yield

    def begin(self, trial: Trial) -> None:
        with self._lock:
            # One that is repeated keeps its number.
            number = self._numbers.setdefault(trial, self._done + 1 + len(self._numbers))
            self._watch.begin(trial.cell, f"{number} of {self._last} trials")
            cell = trial.cell
            self._show(self._progress(f"block {trial.block + 1}, {cell.server}, {cell.workload}, {cell.load}"))

    def save(self, observation: Observation) -> None:
        with self._lock:
            self._journal.append(observation)
            self._watch.observe(observation)
            self._saved[observation.block, observation.cell] = observation
            self._ahead.pop((observation.block, observation.cell), None)
            if self._forecast is not None:
                self._forecast.learn(observation.cell, observation.took_s)

    def save_duet(self, duet: Duet) -> None:
        with self._lock:
            self._journal.append_duet(duet)

    def advance(self, step: str) -> None:
        with self._lock:
            self._counted += 1
            blocks = {block for block, _ in self._ahead}
            if len(blocks) != self._blocks:
                self._blocks = len(blocks)
                self._look()
            if not self._ahead:
                self._show(self._progress(step))

    def say(self, text: str) -> None:
        with self._lock:
            self._reporter.say(text)

    def _progress(self, step: str) -> Progress:
        now_s, run = self._clock(), self._run
        forecast, ahead = self._forecast, list(self._ahead.values())
        is_open = run is not None and run.experiment.budget_s is not None
        return Progress(
            done=self._done + self._counted,
            total=None if is_open else self._last,
            share=0.0 if forecast is None else forecast.share(now_s, ahead),
            left_s=None if forecast is None else forecast.left_s(now_s, ahead),
            more=run is not None and run.experiment.precision is not None,
            now=step,
            note=self._note,
        )

    def _look(self) -> None:
        """Count what is decided, unless that would take more than its share of the time."""
        begin_s = self._clock()
        if self._run is None or self._counting_s > LOOKING_SHARE * (begin_s - self._began_s):
            return
        decided, comparisons = decided_so_far(self._run, self._saved.values())
        self._counting_s += self._clock() - begin_s
        if comparisons:
            self._note = f"{decided} of {comparisons} comparisons decided so far; an early look, only the end counts"
