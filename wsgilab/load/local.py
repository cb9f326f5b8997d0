"""Users at work on one target, all in one process. Locust's own runner."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import contextlib
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import gevent
from locust import TaskSet, User
from locust.env import Environment
from locust.runners import STATE_STOPPED, LocalRunner
from locust.stats import RequestStats
from locust.util.load_locustfile import is_user_class

from wsgilab.load.reachability import Reachability, ReachReading, Unreached
from wsgilab.load.samples import Recorder, Sample
from wsgilab.model import TrialSpec
from wsgilab.system import cpus, host

LOCUSTFILES = Path("locustfiles")
POLL_S = 0.002
UP_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many users are at work, and how many of them have had an answer, or have failed."""

    users: int
    answered: int
    failed: int


class WindowMark(NamedTuple):
    """What the generator had used of its cores at a moment, and how long they had been idle."""

    at_ns: int
    """CLOCK_MONOTONIC, of its machine."""
    cpu_s: float
    idle_s: float
    """See `host.idle_s`."""

    def share(self, later: "WindowMark") -> float:
        """CPU seconds a second from here to there."""
        return (later.cpu_s - self.cpu_s) * 1e9 / (later.at_ns - self.at_ns)

    def others(self, later: "WindowMark", cores: int) -> float:
        """Share of so many cores that others used, or a hypervisor took away, from here to there."""
        passed_s = (later.at_ns - self.at_ns) / 1e9 * cores
        # The kernel counts idle time in 10 ms, so that a little less than nothing may come of it.
        return max(0.0, round(1 - (later.idle_s - self.idle_s + later.cpu_s - self.cpu_s) / passed_s, 6))


class TargetCores:
    """How busy a target's cores are between two marks, whoever uses them."""

    def __init__(self, cpuset: str, reach: Reachability | None) -> None:
        """`cpuset` is empty where they are not to be watched; `reach` is the way to the targets' machine, where that is
        another."""
        self._cpuset = cpuset
        self._cores = cpus.parse(cpuset) if cpuset else frozenset[int]()
        # A connection of its own: an answer may still be under way when the load asks something else.
        self._reach = None if reach is None else Reachability(str(reach))
        self._readings: list[gevent.Greenlet] = []

    def mark(self) -> None:
        """Read them now; an answer from afar is not waited for."""
        if self._cores:
            self._readings.append(gevent.spawn(self._read, self._readings[-1] if self._readings else None))

    def busy(self) -> float | None:
        """The share that was busy, or taken away by a hypervisor, between the two marks; None where they were not watched.

        Raises Unreached.
        """
        if not self._cores:
            return None
        readings = [reading.get() for reading in self._readings]
        if self._reach is not None:
            self._reach.close()
        for reading in readings:
            if isinstance(reading, Unreached):
                raise reading
        (begin_ns, begin_s), (end_ns, end_s) = readings
        idle: float = (end_s - begin_s) * 1e9 / (end_ns - begin_ns) / len(self._cores)
        return max(0.0, round(1 - idle, 6))

    def _read(self, before: gevent.Greenlet | None) -> tuple[int, float] | Unreached:
        """When, by the clock of the targets' machine, and for how long the cores had been idle by then; or why that cannot be
        told, for gevent writes down what a greenlet raises."""
        if before is not None:
            before.join()
        if self._reach is None:
            return time.monotonic_ns(), host.idle_s(self._cores)
        try:
            return self._reach.idle(self._cpuset)
        except Unreached as error:
            return error


class Load(Protocol):
    """All users of one trial."""

    def look(self, patience_s: float) -> Sequence[ReachReading]:
        """How things stand between each machine of users and the targets', this one first; nothing where all is one machine.

        Users count in the targets' machine's clock from then on. Raises Unreached.
        """

    def start(self) -> None:
        """Let them begin. Returns when all have."""

    def progress(self) -> Progress:
        """Raises BadLocustfile where a user has failed by itself."""

    def end_window(self, at_ns: int, void_ns: int) -> None:
        """Requests that users begin after `at_ns` (CLOCK_MONOTONIC of the target's machine) count for nothing; those that
        enter the application after `void_ns` need not be worked off either. May be told again, later each time."""

    def stop(self, patience_s: float) -> list[Sample]:
        """Let each user finish the request under way, give up those unanswered after `patience_s`, and hand in all."""

    def mark(self) -> None:
        """Note what is used of the generator's cores, at each of the window's ends."""

    def busiest(self) -> float:
        """The share used, between the two marks, of the core of which most was."""

    def used(self) -> float:
        """CPU seconds a second of all on this machine, between the two marks."""

    def others(self) -> float:
        """The share of the generator's cores that others used between the two marks, on the machine where that was most."""


class NoStats(RequestStats):
    """Locust's statistics, which nobody reads here, cost a tenth of what a user costs."""

    def log_request(self, *_: Any) -> None: ...


def environment(user_classes: Sequence[type[User]], order: TrialSpec | None = None) -> Environment:
    """A Locust environment, for `order` where there is one yet, without Locust's own statistics."""
    made = Environment(user_classes=list(user_classes))
    made.stats = NoStats()
    if order is not None:
        made.host = order.base_url
        made.parsed_options = argparse.Namespace(**order.options)
    return made


class BadLocustfile(Exception):
    """A Locust file of which there can be no users. The message is one line."""


_loaded: dict[str, list[type[User]]] = {}


def user_classes(locustfile: str) -> list[type[User]]:
    """The users of a workload's Locust file. Raises BadLocustfile."""
    if locustfile not in _loaded:
        path = LOCUSTFILES / f"{locustfile}.py"
        found = [each for each in vars(_module(path)).values() if is_user_class(each)]
        if not found:
            raise BadLocustfile(f"{path} has no user: a class that is derived from LabUser, and is not abstract")
        _loaded[locustfile] = found
    return list(_loaded[locustfile])


def every_user_class() -> list[type[User]]:
    """The users of all workloads. Of a Locust file that has none nothing is said before it is asked for."""
    found: dict[str, type[User]] = {}
    for path in sorted(LOCUSTFILES.glob("*.py")):
        with contextlib.suppress(BadLocustfile):
            for each in user_classes(path.stem):
                # Locust knows users by the names of their classes.
                found.setdefault(each.__name__, each)
    return list(found.values())


def _module(path: Path) -> ModuleType:
    """A Locust file, by its path: its name may be another module's too, such as one of the standard library's.

    Raises BadLocustfile.
    """
    if not path.is_file():
        raise BadLocustfile(f"there is no {path}")
    whole = path.resolve()
    if str(whole.parent) not in sys.path:
        # What these files import from each other is found, and hides nothing that others import.
        sys.path.append(str(whole.parent))
    try:
        spec = importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin != str(whole):
        spec = importlib.util.spec_from_file_location(f"{LOCUSTFILES.name}/{path.stem}", whole)
    if spec is None or spec.loader is None:
        raise BadLocustfile(f"{path} is no Python file")
    if spec.name in sys.modules:
        # Another Locust file has imported it.
        return sys.modules[spec.name]
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a file does when it is imported
        del sys.modules[spec.name]
        raise BadLocustfile(_fault(path, error)) from None
    return module


def _fault(path: Path, error: BaseException) -> str:
    """What is wrong with a Locust file, and in which line of which file."""
    where, line = str(path), None
    if isinstance(error, SyntaxError):
        what = error.msg
        line = error.lineno
        where = where if error.filename is None else str(path.with_name(Path(error.filename).name))
    else:
        what = (traceback.format_exception_only(error)[-1].splitlines() or [""])[0]
        lines = [
            each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path.resolve())
        ]
        line = lines[-1] if lines else None
    return f"{where}{'' if line is None else f', line {line}'}: {what}"


def tell_trouble(environment: Environment, tell: Callable[[str], None]) -> None:
    """Have `tell` hear, in a line, of each exception of a Locust file's own: Locust logs it, and the user begins no request."""

    def on_user_error(user_instance: User | TaskSet, exception: BaseException, **_: Any) -> None:
        user = user_instance.user if isinstance(user_instance, TaskSet) else user_instance
        path = Path(sys.modules[type(user).__module__].__file__ or "")
        tell(_fault(LOCUSTFILES / path.name, exception))

    environment.events.user_error.add_listener(on_user_error)


def stop_users(runner: Any, patience_s: float) -> None:
    """Stop `runner`'s users as Locust does, but give up after `patience_s` what is unanswered by then."""
    # Locust's own limit comes after ours: what it kills is not counted.
    runner.environment.stop_timeout = patience_s + 60
    stopping = gevent.spawn(runner.stop_users, runner.user_classes_count)
    gevent.sleep(0)
    runner.user_greenlets.join(timeout=patience_s)
    # Not the group's own kill(), which leaves out whom Locust has asked to stop, and then waits for them.
    gevent.killall(list(runner.user_greenlets))
    stopping.join()


def count_in(environment: Environment, recorder: Recorder, clock_offset_ns: int) -> None:
    """Let users and their recorder tell moments in a clock that is so much ahead of this machine's own."""
    vars(environment.parsed_options)["clock_offset_ns"] = clock_offset_ns
    recorder.clock_offset_ns = clock_offset_ns


def end_window(environment: Environment, at_ns: int, void_ns: int) -> None:
    """Let users know when the window ends, and from when on their requests are void."""
    vars(environment.parsed_options).update(window_end_ns=at_ns, void_after_ns=void_ns)


class LocalLoad:
    """All users in this process."""

    def __init__(self, order: TrialSpec, reach: Reachability | None) -> None:
        self._users = order.users
        self._reach = reach
        self._recorder = Recorder()
        self._marks: list[WindowMark] = []
        self._trouble: list[str] = []
        self._environment = environment(user_classes(order.locustfile), order)
        tell_trouble(self._environment, self._trouble.append)
        self._environment.events.request.add_listener(self._recorder.on_request)
        self._runner: LocalRunner = self._environment.create_local_runner()

    def look(self, patience_s: float) -> Sequence[ReachReading]:
        if self._reach is None:
            return ()
        seen = self._reach.look(patience_s)
        count_in(self._environment, self._recorder, seen.offset_ns)
        return (seen,)

    def start(self) -> None:
        self._runner.start(self._users, spawn_rate=self._users)
        deadline = time.monotonic() + UP_S
        while self.progress().users < self._users:
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {self._runner.user_count} of {self._users} users began within {UP_S:.0f} s")
            gevent.sleep(POLL_S)

    def progress(self) -> Progress:
        recorder = self._recorder
        if self._trouble:
            raise BadLocustfile(self._trouble[0])
        return Progress(users=self._runner.user_count, answered=len(recorder.answered), failed=len(recorder.failed))

    def end_window(self, at_ns: int, void_ns: int) -> None:
        end_window(self._environment, at_ns, void_ns)

    def stop(self, patience_s: float) -> list[Sample]:
        stop_users(self._runner, patience_s)
        # Nothing is left to stop; without this, quit() would look for that through the source of its callers.
        self._runner.update_state(STATE_STOPPED)
        self._runner.quit()
        return self._recorder.samples

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
    """Of this process alone, on the core that it is pinned to."""
    return WindowMark(time.monotonic_ns(), time.process_time(), host.idle_s(os.sched_getaffinity(0)))
