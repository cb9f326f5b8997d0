"""Servers and backends as processes of this machine."""

import contextlib
import http
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import psutil

from wsgilab.model import Action, Backend, Memory, Server, Usage
from wsgilab.model.errors import TargetError
from wsgilab.runtime import procfs
from wsgilab.runtime.application import NOT_PREPARED, UNPREPARED
from wsgilab.runtime.pages import READY, fetched, status
from wsgilab.runtime.starting import Address, check_cores, wait_until_ready
from wsgilab.system import host, process
from wsgilab.system import quota as quotas
from wsgilab.system.ports import http_url
from wsgilab.system.process import Child

HOST = "127.0.0.1"
"""The address that all of them listen at."""
POLL_S = 0.05
_READY_S = 5.0
"""How long one answer may take while a server starts."""

Spawn = Callable[[frozenset[int]], Child]
"""Starts it on these cores."""
Ready = Callable[[], bool]


class RunningProcess:
    """A server or a backend as a process group."""

    def __init__(
        self,
        name: str,
        cpus: frozenset[int],
        port: int,
        log: Path,
        spawn: Spawn,
        ready: Ready,
        start_s: float | None = None,
    ) -> None:
        """`start_s`: how long a restart may take; None: as long as anything."""
        self._group: quotas.Group | None = None
        """Its control group, while it has a quota."""
        self.name = name
        self._start_s = start_s
        self.wanted = Address(HOST, port)
        self._ready = ready
        self._cpus = cpus
        self._log = log
        self._spawn = spawn
        self._child = spawn(cpus)

    def failure(self) -> str | None:
        code = self._child.exit_code()
        if code is None:
            return None
        if code == UNPREPARED:
            return NOT_PREPARED
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def restart(self, on: frozenset[int] | None = None) -> None:
        # Workers may have outlived their master, and hold the port.
        self.end()
        cpus = on or self._cpus
        self._child = self._spawn(cpus)
        try:
            wait_until_ready([self], cpus, POLL_S, self._start_s)
        except TargetError:
            self.end()
            raise

    def pin(self) -> None:
        moved = set[int]()
        # Again until there are none: a thread that was not moved yet may have started another.
        while left := set(self._threads()) - moved:
            for thread in left:
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, self._cpus)
            moved |= left
        check_cores(self, self._cpus)

    def is_ready(self) -> bool:
        return self._ready()

    def listening(self) -> Collection[Address]:
        found = set()
        for each in self._processes():
            with contextlib.suppress(psutil.Error):
                sockets = each.net_connections("tcp")
                found |= {Address(*own.laddr) for own in sockets if own.status == psutil.CONN_LISTEN}
        return found

    def ask_to_end(self) -> None:
        self._child.ask_to_end()

    def end(self) -> None:
        self._child.end()

    def log_tail(self, lines: int = 10) -> str:
        return process.tail(self._log, lines)

    def effective_cpus(self) -> frozenset[int]:
        found = set()
        for thread in self._threads():
            with contextlib.suppress(ProcessLookupError):
                found.add(frozenset(os.sched_getaffinity(thread)))
        if len(found) > 1:
            raise TargetError(f"{self.name}: its processes run on different cores: {sorted(map(sorted, found))}")
        return found.pop() if found else frozenset()

    def usage(self) -> Usage:
        cpu_s, own_bytes, shared_bytes, os_threads = 0.0, 0, 0, 0
        processes = self._processes()
        # All of it at once, as nearly as can be: memory takes longer to read.
        began_s = time.monotonic()
        for each in processes:
            with contextlib.suppress(psutil.NoSuchProcess, OSError):
                # Children that have ended count for their parent; those that run count for themselves.
                ended = each.cpu_times()
                cpu_s += process.cpu_s(each.pid) + ended.children_user + ended.children_system
        at_s = (began_s + time.monotonic()) / 2
        for each in processes:
            with contextlib.suppress(psutil.NoSuchProcess, OSError), each.oneshot():
                memory = each.memory_full_info()
                own_bytes += memory.uss
                # Forked workers share pages with their parent and each other: those count once, as in a container.
                shared_bytes = max(shared_bytes, memory.rss - memory.uss)
                os_threads += each.num_threads()
        # A quota that the lab itself is under is theirs too; where they have one of their own, it is that which is counted.
        throttled, throttled_s = (host.throttled(), None) if self._group is None else self._group.throttled()
        return Usage(
            at_s=at_s,
            cpu_s=cpu_s,
            resident_bytes=own_bytes + shared_bytes,
            os_threads=os_threads,
            throttled=throttled,
            throttled_s=throttled_s,
        )

    def _processes(self) -> list[psutil.Process]:
        try:
            leader = psutil.Process(self._child.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _threads(self) -> Iterator[int]:
        for each in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                yield from (thread.id for thread in each.threads())


class LocalTarget(RunningProcess):
    """A server as a process group."""

    def __init__(
        self,
        server: Server,
        cpus: frozenset[int],
        port: int,
        log: Path,
        spawn: Spawn,
        ready: str | None = None,
        start_s: float | None = None,
        group: str = "",
    ) -> None:
        """`ready`: a page of a user's own application that is answered with a status below 500 once it can be used. `group`: the name of
        its control group, where it has a quota."""
        self.server = server
        self._group_name = group
        self._page = ready
        self.base_url = self.published_url = http_url(HOST, port)
        super().__init__(server.name, cpus, port, log, spawn, self._answers, start_s)

    def fetch(self, page: str) -> str:
        return fetched(self.published_url + page)

    def act(self, do: Action, worker: int = 0) -> None:
        if (failure := self.failure()) is not None:
            raise TargetError(f"{self.name} {failure}")
        if do != "kill-worker":
            self._child.send_signal(signal.SIGHUP if do == "reload" else signal.SIGTERM)
            return
        found = next((each for each in self._processes()[1:] if each.pid == worker), None)
        if found is None:
            raise TargetError(f"{self.name} has no worker process {worker} beside its first")
        with contextlib.suppress(psutil.NoSuchProcess):
            found.kill()

    @contextlib.contextmanager
    def limited(self, quota: float) -> Iterator[None]:
        def pids() -> Collection[int]:
            return [each.pid for each in self._processes()]

        with quotas.limited(self._group_name, quota, pids) as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None

    def memory(self) -> Memory | None:
        return procfs.total(procfs.rollups([each.pid for each in self._processes()]))

    def _answers(self) -> bool:
        try:
            if self._page is not None:
                return status(self.base_url + self._page, _READY_S) < http.HTTPStatus.INTERNAL_SERVER_ERROR
            fetched(self.base_url + READY, timeout_s=_READY_S)
        except TargetError:
            return False
        return True


class LocalBackend(RunningProcess):
    """A backend as a process group."""

    def __init__(
        self, backend: Backend, cpus: frozenset[int], port: int, log: Path, spawn: Spawn, ready: Ready
    ) -> None:
        self.backend = backend
        super().__init__(backend.name, cpus, port, log, spawn, ready)


@contextlib.contextmanager
def ended(started: Collection[RunningProcess]) -> Iterator[None]:
    """On exit, end all that is in `started` by then: first send each SIGTERM, then wait for each."""
    try:
        yield
    finally:
        for each in started:
            each.ask_to_end()
        for each in started:
            each.end()
