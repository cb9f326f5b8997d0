"""Where the web pages get what they show: the tests of an interactive session, or a run that is watched."""

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from wsgilab.analysis.compare import advised_so_far, compare, order, so_far, survey
from wsgilab.model import Cell, CellResult, Comparison, Observation, Run, Stamp, TrialReport, Usage
from wsgilab.web.live import WINDOW_NS, LiveTest, LiveTestState, WorkerReport
from wsgilab.web.view import Now, TargetState, View

FEWEST_SECONDS = 5
"""A test that has ended counts for the advice where so many of its seconds do."""


class ViewSource(Protocol):
    """What the web pages read from."""

    @property
    def run(self) -> Run: ...

    @property
    def targets(self) -> dict[str, TargetState]: ...

    def view(self) -> View:
        """Everything that there is to show at this moment."""


class InteractiveTests:
    """The tests of an interactive session, one after the other. A new test of a cell replaces the figures of the old one."""

    def __init__(self, run: Run, targets: Mapping[str, TargetState], clock_ns: Callable[[], int] = time.monotonic_ns):
        """`clock_ns` is CLOCK_MONOTONIC of the targets' machine."""
        self.run = run
        self.targets = dict(targets)
        self._clock_ns = clock_ns
        self._epoch_ns = time.time_ns() - clock_ns()
        self._test: LiveTest | None = None
        self._earlier: Mapping[Cell, Sequence[Observation]] = {}
        """Of all tests but the last one."""
        self._earlier_comparison = survey(run, ())
        self._earlier_tests: list[Observation] = []
        """For the advice: each test as one observation, also those whose figures others have replaced."""
        self._advised: tuple[int, Comparison | None] = 0, None
        """What so many tests that have ended let advise."""

    # --- what happens

    def begin(self, cell: Cell, users_wanted: int) -> None:
        """A test of `cell` (without its users) starts."""
        if self._test is not None:
            windows = self._test.state(self._clock_ns()).windows
            self._earlier = {**self._earlier, **windows}
            self._earlier_tests += _tests(windows)
            self._earlier_comparison = survey(self.run, itertools.chain.from_iterable(self._earlier.values()))
        self._test = LiveTest(cell, users_wanted=users_wanted, began_ns=self._clock_ns(), epoch_ns=self._epoch_ns)

    def add_report(self, report: WorkerReport) -> None:
        """A worker has reported; before the first test that is ignored."""
        if self._test is not None:
            self._test.add_report(report)

    def add_usage(self, server: str, usage: Usage) -> None:
        """What a target has consumed, as it arrives now; ignored for a target that is not under test."""
        if self._test is not None and self._test.server == server:
            self._test.add_usage(self._clock_ns(), usage)

    def late_from(self, read: Callable[[], Mapping[Stamp, int]]) -> None:
        """Add to the test under way, or the last one, what its target says now of requests that left later than their stamp says.

        Raises what `read` does.
        """
        test, asked_ns = self._test, self._clock_ns()
        late = read()
        if test is not None:
            test.add_late(late, asked_ns)

    def set_users(self, users: int) -> None:
        """The test under way is to have another number of users."""
        if self._test is not None:
            self._test.set_users(users, self._clock_ns())

    def stop(self) -> None:
        """The users are being stopped."""
        if self._test is not None:
            self._test.stop(self._clock_ns())

    # --- what there is to show

    def state(self) -> LiveTestState | None:
        """Of the test under way, or the last one. To be called every second or so, so that nothing piles up."""
        return None if self._test is None else self._test.state(self._clock_ns())

    def view(self) -> View:
        state = self.state()
        comparison = self._comparison(state)
        now = None
        if state is not None:
            now = replace(state.now, result=_result(comparison, state.now.cell))
        return View(
            run=self.run,
            watching=False,
            now=now,
            comparison=comparison,
            advised=self._advice(state),
            targets=tuple(self.targets.values()),
        )

    def _advice(self, state: LiveTestState | None) -> Comparison | None:
        """What is known of which server to run. Made anew only where another test has ended: users are at work on the same core."""
        has_ended = state is not None and state.now.phase == "stopped"
        tests = [*self._earlier_tests, *(_tests(state.windows) if state is not None and has_ended else ())]
        if len(tests) != self._advised[0]:
            self._advised = len(tests), advised_so_far(self.run, tests)
        return self._advised[1]

    def _comparison(self, state: LiveTestState | None) -> Comparison:
        """Of all tests. Only the last one can still change."""
        if state is None:
            return self._earlier_comparison
        latest = survey(self.run, itertools.chain.from_iterable(state.windows.values()))
        kept = [result for result in self._earlier_comparison.cells if result.cell not in state.windows]
        results = sorted([*kept, *latest.cells], key=lambda result: order(self.run, result.cell))
        observations = list(itertools.chain.from_iterable({**self._earlier, **state.windows}.values()))
        measured = sum(each.swarm is not None for each in observations)
        return replace(
            latest,
            cells=tuple(results),
            trials=measured,
            measured=measured,
            failed=len(observations) - measured,
            window_s=measured * WINDOW_NS / 1e9,
        )


class WatchedRun:
    """A run that another process executes."""

    def __init__(self, run: Run, targets: Mapping[str, TargetState]) -> None:
        self.run = run
        self.targets = dict(targets)
        self.cell: Cell | None = None
        """Of the trial under way."""
        self.last: TrialReport | None = None
        """Of the latest measured trial."""
        self.ended = False
        self._progress = ""
        self._observations: dict[tuple[int, Cell], Observation] = {}
        """By block and cell: of a trial that was repeated, the last."""
        self._comparison: Comparison | None = None

    def begin_trial(self, cell: Cell, progress: str) -> None:
        """A trial begins."""
        self.cell, self._progress = cell, progress

    def add(self, observation: Observation) -> None:
        """A trial has ended."""
        self._observations[observation.block, observation.cell] = observation
        self._comparison = None
        if observation.swarm is not None:
            self.last = observation.swarm

    def end(self) -> None:
        """The run has ended."""
        self.ended = True
        self._comparison = None

    def reports(self, cell: Cell) -> Sequence[TrialReport]:
        """The reports of a cell's measured trials."""
        found = (each.swarm for (_, of), each in self._observations.items() if of == cell)
        return [swarm for swarm in found if swarm is not None]

    def comparison(self) -> Comparison:
        """Of the trials so far. Computed only when it is needed: a trial is under way, on a core nearby."""
        if self._comparison is None:
            self._comparison = (compare if self.ended else so_far)(self.run, self._observations.values())
        return self._comparison

    def view(self) -> View:
        comparison = self.comparison()
        now = None
        if self.cell is not None:
            result = _result(comparison, self.cell)
            now = Now(
                cell=self.cell,
                phase="stopped" if self.ended else "measuring",
                users_wanted=self.cell.users or 1,
                result=result if result is not None and result.figures else None,
            )
        return View(
            run=self.run,
            watching=True,
            now=now,
            comparison=comparison,
            advised=comparison if self.ended else None,
            targets=tuple(self.targets.values()),
            progress=self._progress,
        )


def _tests(windows: Mapping[Cell, Sequence[Observation]]) -> Sequence[Observation]:
    """Each number of users in a test as one observation, where enough seconds count."""
    measured = ([each for each in seconds if each.swarm is not None] for seconds in windows.values())
    return [_as_one(seconds) for seconds in measured if len(seconds) >= FEWEST_SECONDS]


def _as_one(seconds: Sequence[Observation]) -> Observation:
    """Measured seconds of one cell as one observation: the one with the median throughput, but failures and peak of all."""
    swarms = [each.swarm for each in seconds if each.swarm is not None]
    middle = sorted(swarms, key=lambda swarm: swarm.throughput_rps)[len(swarms) // 2]
    errors: Counter[str] = Counter()
    for swarm in swarms:
        errors.update(swarm.errors)
    whole = replace(
        middle,
        completed=sum(swarm.completed for swarm in swarms),
        failures=sum(swarm.failures for swarm in swarms),
        errors=dict(errors),
        cut_off=sum(swarm.cut_off for swarm in swarms),
        # Which belongs to the median throughput: users that wait for their answers have the one by the other.
        latency_mean_ms=statistics.median(swarm.latency_mean_ms for swarm in swarms),
        in_flight=replace(middle.in_flight, peak=max(swarm.in_flight.peak for swarm in swarms)),
        # Of single seconds, these say nothing beside sums.
        busiest_user=None,
        received_bytes=None,
    )
    return replace(next(each for each in seconds if each.swarm is middle), swarm=whole)


def _result(comparison: Comparison, cell: Cell) -> CellResult | None:
    return next((result for result in comparison.cells if result.cell == cell), None)
