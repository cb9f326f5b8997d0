"""Users at work on one target, from one process or from one for each of the generator's cores. Locust's own runners."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import gevent
from locust import User
from locust.env import Environment
from locust.runners import STATE_STOPPED, LocalRunner, MasterRunner
from locust.stats import RequestStats
from locust.util.load_locustfile import load_locustfile

from wsgilab import process
from wsgilab.model import Order
from wsgilab.swarm.samples import Recorder, Sample

LOCUSTFILES = Path("locustfiles")
POLL_S = 0.002
_UP_S = 20.0
_FOR_MASTER: Mapping[str, Any] = {"enable_rebalancing": False, "headless": True}
"""What Locust's master reads of its options."""
_AT_REST: Mapping[str, Any] = {"rate": 0.0, "void_after_ns": 0}
"""What must not be left over from the trial before: workers keep options that they are not told anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many users are at work, and how many of them have had an answer, or have failed."""

    users: int
    answered: int
    failed: int


class Load(Protocol):
    """All users of one trial."""

    def start(self) -> None:
        """Let them begin. Returns when all have."""

    def progress(self) -> Progress: ...

    def void_after(self, at_ns: int) -> None:
        """Requests that enter the application after this moment count for nothing, and need not be worked off."""

    def stop(self, patience_s: float) -> list[Sample]:
        """Let each user finish the request under way, give up those unanswered after `patience_s`, and hand in all."""

    def cpu_s(self) -> Sequence[float]:
        """CPU seconds used so far on each of the generator's cores."""


class NoStats(RequestStats):
    """Locust's statistics, which nobody reads here, cost a tenth of what a user costs."""

    def log_request(self, *_: Any) -> None: ...


def environment(user_classes: Sequence[type[User]], order: Order | None = None) -> Environment:
    """A Locust environment, for `order` where there is one yet, without Locust's own statistics."""
    made = Environment(user_classes=list(user_classes))
    made.stats = NoStats()
    if order is not None:
        made.host = order.base_url
        made.parsed_options = argparse.Namespace(**order.options)
    return made


_loaded: dict[str, list[type[User]]] = {}


def user_classes(locustfile: str) -> list[type[User]]:
    """The users of a workload's Locust file."""
    if locustfile not in _loaded:
        found, _ = load_locustfile(str(LOCUSTFILES / f"{locustfile}.py"))
        _loaded[locustfile] = list(found.values())
    return list(_loaded[locustfile])


def every_user_class() -> list[type[User]]:
    """The users of all workloads."""
    names = sorted(path.stem for path in LOCUSTFILES.glob("*.py"))
    return list(dict.fromkeys(found for name in names for found in user_classes(name)))


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


class LocalLoad:
    """All users in this process."""

    def __init__(self, order: Order) -> None:
        self._users = order.users
        self._recorder = Recorder()
        self._environment = environment(user_classes(order.locustfile), order)
        self._environment.events.request.add_listener(self._recorder.on_request)
        self._runner: LocalRunner = self._environment.create_local_runner()

    def start(self) -> None:
        self._runner.start(self._users, spawn_rate=self._users)
        deadline = time.monotonic() + _UP_S
        while self._runner.user_count < self._users:
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {self._runner.user_count} of {self._users} users began within {_UP_S:.0f} s")
            gevent.sleep(POLL_S)

    def progress(self) -> Progress:
        recorder = self._recorder
        return Progress(users=self._users, answered=len(recorder.answered), failed=len(recorder.failed))

    def void_after(self, at_ns: int) -> None:
        vars(self._environment.parsed_options)["void_after_ns"] = at_ns

    def stop(self, patience_s: float) -> list[Sample]:
        stop_users(self._runner, patience_s)
        # Nothing is left to stop; without this, quit() would look for that through the source of its callers.
        self._runner.update_state(STATE_STOPPED)
        self._runner.quit()
        return self._recorder.samples

    def cpu_s(self) -> Sequence[float]:
        return [time.process_time()]


@dataclass(slots=True)
class _Heard:
    """What the workers have told of a trial, by worker."""

    progress: dict[str, Progress] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)


class Crew:
    """Locust's master in this process, and a worker pinned to each of `cpus`; for many trials."""

    def __init__(self, cpus: Sequence[int]) -> None:
        self._heard = _Heard()
        self._environment = environment(every_user_class())
        self._runner: MasterRunner = self._environment.create_master_runner("127.0.0.1", 0)
        self._runner.register_message("lab_progress", self._on_progress)
        self._runner.register_message("lab_samples", self._on_samples)
        port = self._runner.server.port
        argv = [sys.executable, "-m", "wsgilab.swarm.worker", str(port)]
        # In memory: it needs no folder that can be written to, and is gone with this process.
        self._log = Path(f"/proc/self/fd/{os.memfd_create('workers')}")
        self._workers = [
            process.spawn(argv, cwd=Path.cwd(), env=os.environ, cpus={cpu}, log=self._log) for cpu in sorted(cpus)
        ]
        self._wait(lambda: len(self._runner.clients.ready) == len(self._workers), _UP_S)

    def load(self, order: Order) -> "DistributedLoad":
        """Users for one trial, spread evenly over the workers."""
        self._heard = _Heard()
        classes = user_classes(order.locustfile)
        self._environment.host = order.base_url
        # Locust sends these to its workers with each start.
        options: Mapping[str, Any] = {**_FOR_MASTER, **_AT_REST, **order.options, "arrivals_parts": len(self._workers)}
        self._environment.parsed_options = argparse.Namespace(**options)
        self._environment.user_classes = classes
        self._environment.stop_timeout = 0
        users = order.users if not order.rate else len(self._workers)
        return DistributedLoad(self, users)

    def start(self, users: int) -> None:
        self._runner.start(users, spawn_rate=users)
        self._wait(lambda: self.progress().users == users, _UP_S)

    def progress(self) -> Progress:
        told = self._heard.progress.values()
        return Progress(
            users=sum(each.users for each in told),
            answered=sum(each.answered for each in told),
            failed=sum(each.failed for each in told),
        )

    def void_after(self, at_ns: int) -> None:
        self._runner.send_message("lab_void_after", {"at_ns": at_ns})

    def stop(self, patience_s: float) -> list[Sample]:
        self._runner.send_message("lab_stop", {"patience_s": patience_s})
        self._wait(lambda: len(self._heard.samples) == len(self._workers), patience_s + _UP_S)
        self._runner.stop()
        self._wait(lambda: len(self._runner.clients.ready) == len(self._workers), _UP_S)
        return [sample for each in self._heard.samples.values() for sample in each]

    def cpu_s(self) -> Sequence[float]:
        # The master runs on the workers' cores: what it uses is added to each.
        self._check()
        own_s = time.process_time()
        return [process.cpu_s(worker.pid) + own_s for worker in self._workers]

    def end(self) -> None:
        self._runner.quit()
        for worker in self._workers:
            worker.end()

    def _on_progress(self, msg: Any, **_: Any) -> None:
        self._heard.progress[msg.node_id] = Progress(**msg.data)

    def _on_samples(self, msg: Any, **_: Any) -> None:
        self._heard.samples[msg.node_id] = [Sample(*row) for row in msg.data["samples"]]

    def _wait(self, until: Callable[[], bool], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while not until():
            self._check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the generator's workers did not do as told within {limit_s:.0f} s")
            gevent.sleep(POLL_S)

    def _check(self) -> None:
        for worker in self._workers:
            if (code := worker.exit_code()) is not None:
                last = process.tail(self._log, 1)
                raise RuntimeError(f"a worker of the generator ended with exit code {code}: {last}")


class DistributedLoad:
    """The users of one trial on a crew."""

    def __init__(self, crew: Crew, users: int) -> None:
        self._crew = crew
        self._users = users
        self.progress = crew.progress
        self.void_after = crew.void_after
        self.stop = crew.stop
        self.cpu_s = crew.cpu_s

    def start(self) -> None:
        self._crew.start(self._users)
