"""Users at work on one target, all in one process. Locust's own runner."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import gevent
from locust import User
from locust.env import Environment
from locust.runners import STATE_STOPPED, LocalRunner, Runner
from locust.stats import RequestStats

from wsgilab.load import own_locustfile
from wsgilab.load.idle import Silence, SilentConnections
from wsgilab.load.locustfiles import BadLocustfile, report_user_errors, user_classes
from wsgilab.load.own_users import OwnRecorder
from wsgilab.load.reachability import NetworkReading, Reachability, Unreachable
from wsgilab.load.recorder import Recorder, Sample
from wsgilab.model import TrialSpec
from wsgilab.system import cpus, host

POLL_S = 0.002
UP_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many users are at work, and how many of them have had an answer, or have failed."""

    users: int
    answered: int
    failed: int
    starting: int = 0
    """See `Recorder.starting`."""

    @classmethod
    def of(cls, runner: Runner, recorder: Recorder) -> "Progress":
        """The progress of the users in this process."""
        return cls(
            users=runner.user_count,
            answered=len(recorder.answered),
            failed=len(recorder.failed),
            starting=len(recorder.starting),
        )


class WindowMark(NamedTuple):
    """What the generator had used of its cores at a moment, and how long they had been idle."""

    at_ns: int
    """CLOCK_MONOTONIC, of its machine."""
    cpu_s: float
    idle_s: float
    """See `host.idle_s`."""

    def share(self, later: "WindowMark") -> float:
        """CPU seconds a second between the two marks."""
        return (later.cpu_s - self.cpu_s) * 1e9 / (later.at_ns - self.at_ns)

    def others(self, later: "WindowMark", cores: int) -> float:
        """Share of so many cores that other programs used, or a hypervisor took away, between the two marks."""
        passed_s = (later.at_ns - self.at_ns) / 1e9 * cores
        # The kernel counts idle time in steps of 10 ms, so the result may be slightly negative.
        return max(0.0, round(1 - (later.idle_s - self.idle_s + later.cpu_s - self.cpu_s) / passed_s, 6))


class TargetCores:
    """How busy a target's cores are between two marks, whatever uses them."""

    def __init__(self, cpuset: str, reachability: Reachability | None) -> None:
        """`cpuset` is empty where they are not to be watched; `reachability` is for targets on another machine."""
        self._cpuset = cpuset
        self._cores = cpus.parse(cpuset) if cpuset else frozenset[int]()
        # A connection of its own: an answer may still be under way when the load reads the clock.
        self._reachability = None if reachability is None else Reachability(str(reachability))
        self._readings: list[gevent.Greenlet] = []

    def mark(self) -> None:
        """Begin to read them now, without waiting for the answer of another machine."""
        if self._cores:
            self._readings.append(gevent.spawn(self._read, self._readings[-1] if self._readings else None))

    def busy(self) -> float | None:
        """The share that was busy, or taken away by a hypervisor, between the two marks; None where they were not watched.

        Raises Unreachable.
        """
        if not self._cores:
            return None
        readings = [reading.get() for reading in self._readings]
        if self._reachability is not None:
            self._reachability.close()
        for reading in readings:
            if isinstance(reading, Unreachable):
                raise reading
        (begin_ns, begin_s), (end_ns, end_s) = readings
        idle: float = (end_s - begin_s) * 1e9 / (end_ns - begin_ns) / len(self._cores)
        return max(0.0, round(1 - idle, 6))

    def _read(self, before: gevent.Greenlet | None) -> tuple[int, float] | Unreachable:
        """A moment of the targets' machine's clock, and for how many seconds the cores had been idle by then.

        An error is returned, not raised: gevent prints what a greenlet raises.
        """
        if before is not None:
            before.join()
        if self._reachability is None:
            return time.monotonic_ns(), host.idle_s(self._cores)
        try:
            return self._reachability.idle(self._cpuset)
        except Unreachable as error:
            return error


class Users(Protocol):
    """Users who work at once."""

    def read_network(self, patience_s: float) -> Sequence[NetworkReading]:
        """The network between each machine of users and the targets, this one first; empty where all is one machine.

        Users count in the targets' machine's clock from then on. Raises Unreachable.
        """

    def start(self) -> None:
        """Start all users. Returns when all are at work, or after the trial's patience, where they have something to do first."""

    def progress(self) -> Progress:
        """Raises BadLocustfile where a Locust file's own code has failed."""

    def end_window(self, at_ns: int, void_ns: int) -> None:
        """Requests that users begin after `at_ns` (CLOCK_MONOTONIC of the targets' machine) count for nothing; those that
        enter the application after `void_ns` need not be worked off either. Both may be set again."""

    def mark(self) -> None:
        """Note what is used of the generator's cores; called at each end of the window."""

    def busiest(self) -> float:
        """The share used, between the two marks, of the busiest core."""

    def used(self) -> float:
        """CPU seconds a second of all processes on this machine, between the two marks."""

    def others(self) -> float:
        """The share of the generator's cores that others used between the two marks, on the machine where that was most."""


class Load(Users, Protocol):
    """All users of one target."""

    def stop(self, patience_s: float) -> list[Sample]:
        """Let each user finish the request under way, give up those unanswered after `patience_s`, and return all samples."""

    def silence(self) -> Silence:
        """What became of the silent connections of the trial, which `stop` closes."""


def wait_until_at_work(load: Load, patience_s: float) -> None:
    """Wait until no user of `load` is starting any more, or `patience_s` have passed."""
    deadline = time.monotonic() + patience_s
    while load.progress().starting and time.monotonic() < deadline:
        gevent.sleep(POLL_S)


class NoStats(RequestStats):
    """Locust's statistics, which nobody reads here, cost a tenth of what a user costs."""

    def log_request(self, *_: Any) -> None: ...


def environment(user_classes: Sequence[type[User]], spec: TrialSpec | None = None) -> Environment:
    """A Locust environment without Locust's own statistics; for one trial, where `spec` is given."""
    made = Environment(user_classes=list(user_classes))
    made.stats = NoStats()
    if spec is not None:
        made.host = spec.base_url
        made.parsed_options = argparse.Namespace(**spec.options)
    return made


def stop_users(runner: Any, patience_s: float) -> None:
    """Stop `runner`'s users as Locust does, but give up after `patience_s` what is unanswered by then."""
    # Locust's own limit comes after ours: what it kills is not counted.
    runner.environment.stop_timeout = patience_s + 60
    stopping = gevent.spawn(runner.stop_users, runner.user_classes_count)
    gevent.sleep(0)
    runner.user_greenlets.join(timeout=patience_s)
    # Not the group's own kill(), which leaves out those that Locust has already asked to stop, and then waits for them.
    gevent.killall(list(runner.user_greenlets))
    stopping.join()


def keep_for(environment: Environment, recorder: Recorder) -> None:
    """Have the lab's own users hand their answers to `recorder` unparsed, as nobody else wants to know of each."""
    vars(environment.parsed_options).update(recorder=recorder, window_end_ns=0, void_after_ns=0)


def use_clock(environment: Environment, recorder: Recorder, offset_ns: int) -> None:
    """Make users and their recorder use a clock that is `offset_ns` ahead of this machine's own."""
    vars(environment.parsed_options)["clock_offset_ns"] = offset_ns
    recorder.clock_offset_ns = offset_ns


def end_window(environment: Environment, at_ns: int, void_ns: int) -> None:
    """Set when the window ends, and from when on requests are void, for all users of `environment`."""
    vars(environment.parsed_options).update(window_end_ns=at_ns, void_after_ns=void_ns)


class LocalLoad:
    """All users in this process."""

    def __init__(self, spec: TrialSpec, reachability: Reachability | None) -> None:
        self._users = spec.users
        self._patience_s = spec.patience_s
        self._reachability = reachability
        self._marks: list[WindowMark] = []
        self._errors: list[str] = []
        self._silent = None if spec.idle is None else SilentConnections(spec.idle, spec.base_url)
        self._silence = Silence()
        self._is_own = spec.own is not None
        if spec.own is None:
            self._environment = environment(user_classes(spec.locustfile), spec)
            self._recorder = Recorder()
            report_user_errors(self._environment, self._errors.append)
            keep_for(self._environment, self._recorder)
        else:
            self._environment = environment((), spec)
            own = own_locustfile.loaded(spec.own)
            own_locustfile.begin(own, self._environment, spec.users)
            self._recorder = OwnRecorder(self._environment, own.path, own.file)
        self._environment.events.request.add_listener(self._recorder.on_request)
        self._runner: LocalRunner = self._environment.create_local_runner()
        if self._is_own:
            self._environment.events.init.fire(environment=self._environment, runner=self._runner, web_ui=None)

    def read_network(self, patience_s: float) -> Sequence[NetworkReading]:
        if self._reachability is None:
            return ()
        reading = self._reachability.read(patience_s)
        use_clock(self._environment, self._recorder, reading.offset_ns)
        return (reading,)

    def start(self) -> None:
        if self._silent is not None:
            self._silent.open()
        self._runner.start(self._users, spawn_rate=self._users)
        deadline = time.monotonic() + UP_S
        while self.progress().users < self._users:
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {self._runner.user_count} of {self._users} users began within {UP_S:.0f} s")
            gevent.sleep(POLL_S)
        wait_until_at_work(self, self._patience_s)

    def progress(self) -> Progress:
        if self._errors:
            raise BadLocustfile(self._errors[0])
        return Progress.of(self._runner, self._recorder)

    def end_window(self, at_ns: int, void_ns: int) -> None:
        end_window(self._environment, at_ns, void_ns)

    def stop(self, patience_s: float) -> list[Sample]:
        if self._is_own:
            self._environment.events.test_stopping.fire(environment=self._environment)
        # First: what waits behind them need not be waited for.
        if self._silent is not None:
            self._silence = self._silent.close(self._recorder.clock_offset_ns)
        stop_users(self._runner, patience_s)
        if self._is_own:
            self._environment.events.test_stop.fire(environment=self._environment)
        # Nothing is left to stop; without this, quit() would look for that through the source of its callers.
        self._runner.update_state(STATE_STOPPED)
        self._runner.quit()
        own_locustfile.end()
        self._recorder.parse_kept()
        return self._recorder.samples

    def silence(self) -> Silence:
        return self._silence

    def mark(self) -> None:
        self._marks.append(mark())

    def busiest(self) -> float:
        begin, end = self._marks
        return begin.share(end)

    def used(self) -> float:
        return self.busiest()

    def others(self) -> float:
        begin, end = self._marks
        return begin.others(end, cores=1)


def mark() -> WindowMark:
    """The mark of this process alone, on the core that it is pinned to."""
    return WindowMark(time.monotonic_ns(), time.process_time(), host.idle_s(os.sched_getaffinity(0)))
