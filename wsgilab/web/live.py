"""A load test second by second: from what workers tell to figures. Pure: clocks and readings are given.

A test is cut into windows of a second each. Each is measured as the window of a trial is, by the same code, so that the
tab and a run mean the same by the same word. What counts for a cell are the windows in which as many users were at work
as were asked for and each of them had had an answer before: the load is settled then, as in a trial.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from wsgilab.load.samples import EVER, Sample, Span, read_stamp, report, said
from wsgilab.model import Cell, Observation, TrialReport, Usage
from wsgilab.web.meter import Meter
from wsgilab.web.view import Phase, Pulse

WINDOW_NS = 1_000_000_000
KEPT = 60
"""Windows that a cell's figures are made of: its last minute."""
OPEN = 10
"""Windows that late answers are still added to; an answer that comes later counts only for those."""
DELAY_NS = 300_000_000
"""A window is looked at when every worker has told of this much beyond its end: until then most requests that were under
way there have been answered."""
SILENCE_NS = 5_000_000_000
"""A worker that has been silent for so long is not waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a worker tells a few times a second."""

    worker: str
    at_ns: int
    """CLOCK_MONOTONIC of the targets' machine."""
    cpu_s: float
    """CPU seconds it has used so far."""
    users: int
    """At work by now."""
    answered: int
    """Users that have had an answer since their number last changed."""
    failed: int
    """Users that have had a failure since."""
    samples: Sequence[Sample]
    """What has ended since it told last."""


@dataclass(slots=True, kw_only=True)
class _Window:
    """The samples of one second, and what was made of them."""

    begin_ns: int
    samples: list[Sample] = field(default_factory=list)
    report: TrialReport | None = None
    """None: to be made, or made anew. Without the generator's CPU, which comes from readings."""

    @property
    def end_ns(self) -> int:
        return self.begin_ns + WINDOW_NS


@dataclass(slots=True, kw_only=True)
class _Stage:
    """A time in which the number of users was the same."""

    users: int
    settled_ns: int | None = None
    ended_ns: int | None = None

    def holds(self, window: _Window) -> bool:
        """Whether the load was settled throughout the window."""
        if self.settled_ns is None or window.begin_ns < self.settled_ns:
            return False
        return self.ended_ns is None or window.end_ns <= self.ended_ns


class LoadTest:
    """One test of one target, from its start to its end."""

    def __init__(self, cell: Cell, *, users_wanted: int, began_ns: int, epoch_ns: int) -> None:
        """`epoch_ns` is the Unix time of the moment 0 of the targets' machine's CLOCK_MONOTONIC, in which all moments are."""
        self._cell = cell
        self._epoch_ns = epoch_ns
        self._began_ns = began_ns
        self._windows: deque[_Window] = deque([_Window(begin_ns=began_ns)])
        self._latest: dict[str, Told] = {}
        self._generator: dict[str, Meter] = {}
        self._target = Meter()
        self._usage: Usage | None = None
        self._usage_lag_ns = 0
        """The least time from a reading of usage, by its own clock, until it was heard of."""
        self._stage = _Stage(users=0)
        self._stages = [self._stage]
        self._done: dict[Cell, deque[Observation]] = {}
        self._pulses: deque[Pulse] = deque(maxlen=KEPT)
        self._users_wanted = users_wanted
        self._stopped = False

    # --- hearing

    def hear(self, told: Told) -> None:
        """Take in what a worker tells."""
        self._latest[told.worker] = told
        self._generator.setdefault(told.worker, Meter()).read(told.at_ns, told.cpu_s)
        for sample in told.samples:
            self._place(sample, told.at_ns)
        if self._working != self._stage.users or self._stage.ended_ns is not None:
            self._end_stage(told.at_ns)
            self._stage = _Stage(users=self._working)
            self._stages.append(self._stage)
        everyone = self._latest.values()
        heard = max(sum(each.answered for each in everyone), sum(each.failed for each in everyone))
        if self._stage.settled_ns is None and heard >= self._working == self._users_wanted:
            self._stage.settled_ns = told.at_ns

    def read_usage(self, heard_ns: int, usage: Usage) -> None:
        """What the target had consumed, heard at a moment.

        Readings tell when they were taken by a clock of which only the rate is known. They lie as far apart as it
        says, and no later than they were heard of: the quickest tells best where they lie.
        """
        read_ns = round(usage.at_s * 1e9)
        lag_ns = heard_ns - read_ns
        self._usage_lag_ns = lag_ns if self._usage is None else min(lag_ns, self._usage_lag_ns)
        self._target.read(read_ns, usage.cpu_s)
        self._usage = usage

    def want(self, users: int, at_ns: int) -> None:
        """Another number of users is asked for. What comes counts again once it has settled."""
        self._users_wanted = users
        self._end_stage(at_ns)

    def stop(self, at_ns: int) -> None:
        """Users are asked to stop. Nothing later counts."""
        self._stopped = True
        self._end_stage(at_ns)

    @property
    def server(self) -> str:
        return self._cell.server

    @property
    def _working(self) -> int:
        return sum(each.users for each in self._latest.values())

    def _end_stage(self, at_ns: int) -> None:
        if self._stage.ended_ns is None:
            self._stage.ended_ns = at_ns

    def _place(self, sample: Sample, heard_ns: int) -> None:
        """Add a sample to every window in which its request was in the application; a failure, to the one it ended in."""
        entered_ns = left_ns = heard_ns
        if sample.error is None:
            try:
                stamp = read_stamp(sample, (self._began_ns, heard_ns))
                entered_ns, left_ns = stamp.entered_ns, stamp.left_ns
            except ValueError as error:
                sample = sample._replace(error=said(error))
        self._reach(left_ns)
        for window in self._windows:
            if window.begin_ns <= left_ns and entered_ns < window.end_ns:
                window.samples.append(sample)
                window.report = None

    def _reach(self, at_ns: int) -> None:
        """Make windows up to the one that holds a moment."""
        while self._windows[-1].end_ns <= at_ns:
            self._windows.append(_Window(begin_ns=self._windows[-1].end_ns))

    # --- telling

    def look(self, now_ns: int) -> "Seen":
        """What there is to see by now."""
        if not self._stopped:
            self._reach(now_ns)
        known_ns = self._known_until(now_ns)
        closed = [window for window in self._windows if window.end_ns + DELAY_NS <= known_ns]
        while len(closed) > OPEN:
            self._finish(closed.pop(0))
        windows = {cell: list(done) for cell, done in self._done.items()}
        for window in closed:
            if (observation := self._observation(window)) is not None:
                windows.setdefault(observation.cell, []).append(observation)
        working = self._users_wanted if self._stopped else self._working
        return Seen(
            cell=replace(self._cell, users=working),
            phase=self._phase,
            users_wanted=self._users_wanted,
            windows={
                cell: [replace(each, block=block, position=block) for block, each in enumerate(found[-KEPT:])]
                for cell, found in windows.items()
            },
            pulses=(*self._pulses, *map(self._pulse, closed))[-KEPT:],
        )

    def _known_until(self, now_ns: int) -> int:
        """The moment up to which every worker has told what happened."""
        if self._stopped and not self._working:
            return now_ns
        return max(now_ns - SILENCE_NS, min((each.at_ns for each in self._latest.values()), default=now_ns))

    @property
    def _phase(self) -> Phase:
        if self._stopped:
            return "stopping" if self._working else "stopped"
        if self._working != self._users_wanted:
            return "ramping"
        return "settling" if self._stage.settled_ns is None or self._stage.ended_ns is not None else "measuring"

    def _finish(self, window: _Window) -> None:
        """The oldest window changes no more."""
        if (observation := self._observation(window)) is not None:
            self._done.setdefault(observation.cell, deque(maxlen=KEPT)).append(observation)
        self._pulses.append(self._pulse(window))
        self._windows.popleft()

    def _pulse(self, window: _Window) -> Pulse:
        made = self._report(window)
        return Pulse(peak=made.in_flight.peak, mean=made.in_flight.mean, throughput_rps=made.throughput_rps)

    def _report(self, window: _Window) -> TrialReport:
        if window.report is None:
            begin_ns, end_ns = window.begin_ns, window.end_ns
            span = Span(
                started_ns=begin_ns,
                begin_ns=begin_ns,
                settled_ns=begin_ns,
                end_ns=end_ns,
                stopped_ns=end_ns,
                drained_ns=end_ns,
            )
            window.report = report(window.samples, span, unanswered=0, generator_cpu=0.0, stamped=EVER)
        return window.report

    def _observation(self, window: _Window) -> Observation | None:
        """None where the window does not count."""
        stage = next((stage for stage in self._stages if stage.holds(window)), None)
        if stage is None:
            return None
        made = self._report(window)
        begin_ns, end_ns = window.begin_ns, window.end_ns
        observation = Observation(
            block=0,
            position=0,
            cell=replace(self._cell, users=stage.users),
            started=datetime.fromtimestamp((self._epoch_ns + begin_ns) / 1e9, UTC).isoformat(timespec="seconds"),
            status="failed",
            reason=f"no correct answer: {next(iter(made.errors), 'none at all')}",
        )
        if made.completed == 0:
            return observation
        shares = [used_s * 1e9 / WINDOW_NS for used_s in self._generator_s(window) if used_s is not None]
        used_s = self._target.used_s(begin_ns - self._usage_lag_ns, end_ns - self._usage_lag_ns)
        return replace(
            observation,
            status="measured",
            reason="",
            swarm=replace(made, generator_cpu=max(shares, default=0.0)),
            server_cpu_s=used_s,
            server_span_s=None if used_s is None else WINDOW_NS / 1e9,
            resident_bytes=None if self._usage is None else self._usage.resident_bytes,
            os_threads=None if self._usage is None else self._usage.os_threads,
        )

    def _generator_s(self, window: _Window) -> Sequence[float | None]:
        return [meter.used_s(window.begin_ns, window.end_ns) for meter in self._generator.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A test at one moment."""

    cell: Cell
    """With the users at work; those asked for, once it is stopped."""
    phase: Phase
    users_wanted: int
    windows: Mapping[Cell, Sequence[Observation]]
    """Those that count, oldest first, at most KEPT for each number of users. The last OPEN may still change."""
    pulses: Sequence[Pulse]
    """All seconds, also those that count for no cell; at most KEPT."""
