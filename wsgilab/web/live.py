"""A load test second by second: from workers' reports to figures. Pure: clocks and readings are given.

A test is cut into windows of a second each. Each is measured as the window of a trial is, by the same code, so that the
same word means the same in the tab and in a run. A window counts for a cell where as many users were at work as were wanted
and each of them had had an answer before: the load is settled then, as in a trial.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from wsgilab.load.recorder import Sample, error_text
from wsgilab.load.samples import EVER, Span, read_stamp, report
from wsgilab.model import Cell, Observation, Stamp, TrialReport, Usage
from wsgilab.web.meter import Meter
from wsgilab.web.view import Now, Phase, Pulse

WINDOW_NS = 1_000_000_000
KEPT = 60
"""Windows that a cell's figures are made from: its last minute."""
OPEN = 10
"""The latest windows, to which late answers are still added; an answer that is later yet counts for these alone."""
MOST_OPEN = 3 * OPEN
"""As many stay open where the target is still to tell what left in them later than its stamp says."""
DELAY_NS = 300_000_000
"""A window is evaluated when every worker has reported this much beyond its end: by then most requests that were under way
in it have been answered."""
SILENCE_NS = 5_000_000_000
"""A worker that has been silent for so long is not waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """What a worker sends a few times a second."""

    worker: str
    at_ns: int
    """CLOCK_MONOTONIC of the targets' machine."""
    cpu_s: float
    """CPU seconds it has used so far."""
    users: int
    """At work at this moment."""
    answered: int
    """Users that have had an answer since their number last changed."""
    failed: int
    """Users that have had a failure since."""
    samples: Sequence[Sample]
    """Of the requests that have ended since the report before."""


@dataclass(slots=True, kw_only=True)
class _Window:
    """The samples of one second, and the report made from them."""

    begin_ns: int
    samples: list[Sample] = field(default_factory=list)
    report: TrialReport | None = None
    """None where samples have been added since. Without the generator's CPU, which comes from readings."""

    @property
    def end_ns(self) -> int:
        return self.begin_ns + WINDOW_NS


@dataclass(slots=True, kw_only=True)
class _Stage:
    """A period with one number of users."""

    users: int
    settled_ns: int | None = None
    ended_ns: int | None = None

    def holds(self, window: _Window) -> bool:
        """Whether the load was settled throughout the window."""
        if self.settled_ns is None or window.begin_ns < self.settled_ns:
            return False
        return self.ended_ns is None or window.end_ns <= self.ended_ns


class LiveTest:
    """One test of one target, from its start to its end."""

    def __init__(self, cell: Cell, *, users_wanted: int, began_ns: int, epoch_ns: int) -> None:
        """`epoch_ns` is the Unix time of the moment 0 of the targets' machine's CLOCK_MONOTONIC, in which all moments are."""
        self._cell = cell
        self._epoch_ns = epoch_ns
        self._began_ns = began_ns
        self._windows: deque[_Window] = deque([_Window(begin_ns=began_ns)])
        self._latest: dict[str, WorkerReport] = {}
        self._generator: dict[str, Meter] = {}
        self._target = Meter()
        self._usage: Usage | None = None
        self._usage_lag_ns = 0
        """The shortest time from a reading of usage, by its own clock, until it arrived."""
        self._stage = _Stage(users=0)
        self._stages = [self._stage]
        self._done: dict[Cell, deque[Observation]] = {}
        self._pulses: deque[Pulse] = deque(maxlen=KEPT)
        self._users_wanted = users_wanted
        self._stopped = False
        self._late: dict[Stamp, int] = {}
        """When those requests left that did so later than their stamp says, as far as a window is still open for them."""
        self._has_late = False
        self._asked_ns: int | None = None
        """Until when that is known; None: nobody asks."""
        self._placed: dict[Stamp, tuple[Sample, int]] = {}
        """Samples of which it is not known yet, and when they were reported."""

    # --- what arrives

    def add_report(self, report: WorkerReport) -> None:
        """Add a worker's report."""
        self._latest[report.worker] = report
        self._generator.setdefault(report.worker, Meter()).read(report.at_ns, report.cpu_s)
        for sample in report.samples:
            self._place(sample, report.at_ns)
        if self._working != self._stage.users or self._stage.ended_ns is not None:
            self._end_stage(report.at_ns)
            self._stage = _Stage(users=self._working)
            self._stages.append(self._stage)
        latest = self._latest.values()
        done = max(sum(each.answered for each in latest), sum(each.failed for each in latest))
        if self._stage.settled_ns is None and done >= self._working == self._users_wanted:
            self._stage.settled_ns = report.at_ns

    def add_usage(self, arrived_ns: int, usage: Usage) -> None:
        """Add a reading of what the target had consumed.

        Readings are timed by a clock of which only the rate is known. The distances between them are exact, and each was
        taken before it arrived: the one that took the shortest way dates all others best.
        """
        read_ns = round(usage.at_s * 1e9)
        lag_ns = arrived_ns - read_ns
        self._usage_lag_ns = lag_ns if self._usage is None else min(lag_ns, self._usage_lag_ns)
        self._target.read(read_ns, usage.cpu_s)
        self._usage = usage

    def add_late(self, late: Mapping[Stamp, int], asked_ns: int) -> None:
        """Add when requests left that did so later than their stamp says: of all of them that had by `asked_ns`."""
        self._asked_ns = asked_ns
        self._late.update(late)
        self._has_late |= bool(late)
        for stamp in late.keys() & self._placed.keys():
            sample, _ = self._placed.pop(stamp)
            self._put(sample, stamp.entered_ns, late[stamp], known_ns=stamp.left_ns)
        # An answer is reported after it has left: of those that were by then, nothing more will be heard.
        self._placed = {stamp: placed for stamp, placed in self._placed.items() if placed[1] >= asked_ns}

    def set_users(self, users: int, at_ns: int) -> None:
        """Another number of users is wanted. Windows count again once the load has settled."""
        self._users_wanted = users
        self._end_stage(at_ns)

    def stop(self, at_ns: int) -> None:
        """Users are being stopped. Nothing later counts."""
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

    def _place(self, sample: Sample, reported_ns: int) -> None:
        """Add a sample to every window in which its request was in the application; a failure, to the one it ended in."""
        entered_ns = left_ns = reported_ns
        if sample.error is None:
            try:
                # A redirect, and what it led to, are two stays in the application.
                stays = [
                    read_stamp(sample._replace(stamp=each), (self._began_ns, reported_ns))
                    for each in (*sample.redirects, sample.stamp)
                ]
                stamp = stays[-1]
                entered_ns, left_ns = stays[0].entered_ns, self._late.get(stamp, stamp.left_ns)
                if self._asked_ns is not None and stamp not in self._late:
                    self._placed[stamp] = sample, reported_ns
            except ValueError as error:
                sample = sample._replace(error=error_text(error))
        self._put(sample, entered_ns, left_ns)

    def _put(self, sample: Sample, entered_ns: int, left_ns: int, known_ns: int | None = None) -> None:
        """Add a sample to the windows in which its request was in the application; those until `known_ns` have it by then."""
        self._reach(left_ns)
        for window in self._windows:
            if window.begin_ns <= left_ns and entered_ns < window.end_ns:
                if known_ns is None or window.begin_ns > known_ns:
                    window.samples.append(sample)
                window.report = None

    def _reach(self, at_ns: int) -> None:
        """Make windows up to the one that holds a moment."""
        while self._windows[-1].end_ns <= at_ns:
            self._windows.append(_Window(begin_ns=self._windows[-1].end_ns))

    # --- what there is to show

    def state(self, now_ns: int) -> "LiveTestState":
        """The test as it is at a moment."""
        if not self._stopped:
            self._reach(now_ns)
        known_ns = self._known_until(now_ns)
        closed = [window for window in self._windows if window.end_ns + DELAY_NS <= known_ns]
        while len(closed) > OPEN and (
            self._asked_ns is None or self._asked_ns >= closed[0].end_ns or len(closed) > MOST_OPEN
        ):
            self._finish(closed.pop(0))
        windows = {cell: list(done) for cell, done in self._done.items()}
        for window in closed:
            if (observation := self._observation(window)) is not None:
                windows.setdefault(observation.cell, []).append(observation)
        working = self._users_wanted if self._stopped else self._working
        return LiveTestState(
            now=Now(
                cell=replace(self._cell, users=working),
                phase=self._phase,
                users_wanted=self._users_wanted,
                pulses=(*self._pulses, *map(self._pulse, closed))[-KEPT:],
            ),
            windows={
                cell: [replace(each, block=block, position=block) for block, each in enumerate(found[-KEPT:])]
                for cell, found in windows.items()
            },
        )

    def _known_until(self, now_ns: int) -> int:
        """The moment up to which every worker has reported, and the target has said what left late, if anything did."""
        reported_ns = min((each.at_ns for each in self._latest.values()), default=now_ns)
        if self._stopped and not self._working:
            reported_ns = now_ns
        asked_ns = self._asked_ns if self._has_late and self._asked_ns is not None else now_ns
        return max(now_ns - SILENCE_NS, min(reported_ns, asked_ns))

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
        self._late = {stamp: left_ns for stamp, left_ns in self._late.items() if left_ns >= window.end_ns}

    def _pulse(self, window: _Window) -> Pulse:
        made = self._report(window)
        return Pulse(
            peak=made.in_flight.peak,
            mean=made.in_flight.mean,
            throughput_rps=made.throughput_rps,
            p50_ms=made.latency_ms.get("p50"),
            p99_ms=made.latency_ms.get("p99"),
        )

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
            window.report = report(window.samples, span, unanswered=0, generator_cpu=0.0, stamped=EVER, late=self._late)
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
class LiveTestState:
    """A test at one moment."""

    now: Now
    """Without a result. Its pulses are of all seconds, also of those that count for no cell."""
    windows: Mapping[Cell, Sequence[Observation]]
    """Those that count, oldest first, at most KEPT for each number of users. The last OPEN may still change."""
