"""What the UI knows: the tests of an interactive session, one after the other, or the run that it watches."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from wsgilab.analysis.compare import compare, order, so_far, survey
from wsgilab.model import Cell, Comparison, Observation, Run, TrialReport, Usage
from wsgilab.web.live import WINDOW_NS, LoadTest, Seen, Told
from wsgilab.web.view import Now, TargetState, View


class Knowing(Protocol):
    """What the web pages ask, in a session and of a watched run."""

    @property
    def run(self) -> Run: ...

    @property
    def targets(self) -> dict[str, TargetState]: ...

    def view(self) -> View:
        """All that there is to see by now."""


class Session:
    """An interactive session. A test of a cell that was tried before takes the place of what was known of it."""

    def __init__(self, run: Run, targets: Mapping[str, TargetState], clock_ns: Callable[[], int] = time.monotonic_ns):
        """`clock_ns` is CLOCK_MONOTONIC of the targets' machine."""
        self.run = run
        self.targets = dict(targets)
        self._clock_ns = clock_ns
        self._epoch_ns = time.time_ns() - clock_ns()
        self._test: LoadTest | None = None
        self._earlier: Mapping[Cell, Sequence[Observation]] = {}
        self._earlier_said = survey(run, ())

    # --- what happens

    def begin(self, cell: Cell, users_wanted: int) -> None:
        """A test of `cell` (without its users) starts."""
        if self._test is not None:
            self._earlier = {**self._earlier, **self._test.look(self._clock_ns()).windows}
            self._earlier_said = survey(self.run, itertools.chain.from_iterable(self._earlier.values()))
        self._test = LoadTest(cell, users_wanted=users_wanted, began_ns=self._clock_ns(), epoch_ns=self._epoch_ns)

    def hear(self, told: Told) -> None:
        """What a worker tells. Before the first test there is nothing to tell of."""
        if self._test is not None:
            self._test.hear(told)

    def read_usage(self, server: str, usage: Usage) -> None:
        """What a target has consumed, as heard now; of interest is the one under test."""
        if self._test is not None and self._test.server == server:
            self._test.read_usage(self._clock_ns(), usage)

    def want(self, users: int) -> None:
        """The test under way is to have another number of users."""
        if self._test is not None:
            self._test.want(users, self._clock_ns())

    def stop(self) -> None:
        """The users are asked to stop."""
        if self._test is not None:
            self._test.stop(self._clock_ns())

    # --- what there is to see

    def look(self) -> Seen | None:
        """The test under way, or the last one. To be called every second or so, so that nothing piles up."""
        return None if self._test is None else self._test.look(self._clock_ns())

    def view(self) -> View:
        seen = self.look()
        comparison = self._comparison(seen)
        return View(
            run=self.run,
            watching=False,
            now=None if seen is None else _now(seen, comparison),
            comparison=comparison,
            targets=tuple(self.targets.values()),
        )

    def _comparison(self, seen: Seen | None) -> Comparison:
        """Of all tests. Only the last one can still change."""
        if seen is None:
            return self._earlier_said
        said = survey(self.run, itertools.chain.from_iterable(seen.windows.values()))
        kept = [result for result in self._earlier_said.cells if result.cell not in seen.windows]
        results = sorted([*kept, *said.cells], key=lambda result: order(self.run, result.cell))
        every = list(itertools.chain.from_iterable({**self._earlier, **seen.windows}.values()))
        measured = sum(each.swarm is not None for each in every)
        return replace(
            said,
            cells=tuple(results),
            trials=measured,
            measured=measured,
            failed=len(every) - measured,
            window_s=measured * WINDOW_NS / 1e9,
        )


def _now(seen: Seen, comparison: Comparison) -> Now:
    return Now(
        cell=seen.cell,
        phase=seen.phase,
        users_wanted=seen.users_wanted,
        pulses=tuple(seen.pulses),
        result=next((result for result in comparison.cells if result.cell == seen.cell), None),
    )


class Watch:
    """A run that somebody else executes."""

    def __init__(self, run: Run, targets: Mapping[str, TargetState]) -> None:
        self.run = run
        self.targets = dict(targets)
        self.cell: Cell | None = None
        """Of the trial under way."""
        self.last: TrialReport | None = None
        """What the latest measured trial said."""
        self.ended = False
        self._progress = ""
        self._observations: dict[tuple[int, Cell], Observation] = {}
        """By block and cell: of a trial that was repeated, the last."""
        self._said: Comparison | None = None

    def trial(self, cell: Cell, progress: str) -> None:
        """A trial begins."""
        self.cell, self._progress = cell, progress

    def observe(self, observation: Observation) -> None:
        """A trial has ended."""
        self._observations[observation.block, observation.cell] = observation
        self._said = None
        if observation.swarm is not None:
            self.last = observation.swarm

    def end(self) -> None:
        """The run has ended."""
        self.ended = True
        self._said = None

    def reports(self, cell: Cell) -> Sequence[TrialReport]:
        """What the measured trials of a cell said."""
        found = (each.swarm for (_, of), each in self._observations.items() if of == cell)
        return [swarm for swarm in found if swarm is not None]

    def comparison(self) -> Comparison:
        """By now. Made when it is asked for: a trial is under way, on a core nearby."""
        if self._said is None:
            self._said = (compare if self.ended else so_far)(self.run, self._observations.values())
        return self._said

    def view(self) -> View:
        comparison = self.comparison()
        now = None
        if self.cell is not None:
            now = Now(
                cell=self.cell,
                phase="stopped" if self.ended else "measuring",
                users_wanted=self.cell.users or 1,
                pulses=(),
                result=next(
                    (result for result in comparison.cells if result.cell == self.cell and result.figures), None
                ),
            )
        return View(
            run=self.run,
            watching=True,
            now=now,
            comparison=comparison,
            targets=tuple(self.targets.values()),
            progress=self._progress,
        )
