"""Servers and backends as containers."""

import contextlib
import http
import os
import re
import signal
import textwrap
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

import docker.errors
import requests

from wsgilab.model import Action, Backend, Memory, Server, Usage
from wsgilab.model.circumstances import PERIOD_MS
from wsgilab.model.errors import EngineError, TargetError
from wsgilab.model.text import called
from wsgilab.runtime import procfs
from wsgilab.runtime.application import NOT_PREPARED, UNPREPARED
from wsgilab.runtime.pages import fetched
from wsgilab.runtime.starting import NO_MEMORY, Address, check_cores, check_listening, listeners, wait_until_ready
from wsgilab.system import cpus as cpusets
from wsgilab.system.ports import http_url

PORT = 8000
"""Where a server listens in its container."""
POLL_S = 0.2

_GONE = (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.CONFLICT)
"""The engine's status codes for a container that was removed, is being removed, or does not run."""
_NO_SHELL = (126, 127)
"""The exit codes of a command that an image does not have: one of the user's own may lack sh or cat, and then it may have Python."""
_READ = """
import glob, sys
for pattern in sys.argv[1:]:
    for path in glob.glob(pattern):
        try:
            print(open(path).read())
        except OSError:
            pass
"""
_KILL = "import os, sys; os.kill(int(sys.argv[1]), 9)"
"""Where there is no shell either."""
_PERIOD_US = round(PERIOD_MS * 1000)
_NO_QUOTA_US = -1
_LONGEST_CAUSE = 300
_POLL_S = 0.1


class RunningContainer:
    """A server or a backend as a container."""

    def __init__(
        self, name: str, cpus: frozenset[int], port: int, container: Any, start_s: float | None = None
    ) -> None:
        """`start_s`: how long a restart may take; None: as long as anything."""
        self.name = name
        self._start_s = start_s
        self.wanted = Address("0.0.0.0", port)  # noqa: S104 - of its own network, to be reached from without
        self._cpus = cpus
        self._container = container
        self._is_away = False
        """On other cores than its own."""
        self._state()

    def failure(self) -> str | None:
        state = self._state()
        if state is None:
            return "was removed"
        if state["Running"]:
            return None
        if state["ExitCode"] == UNPREPARED:
            return NOT_PREPARED
        return f"was killed {NO_MEMORY}" if state.get("OOMKilled") else f"ended with exit code {state['ExitCode']}"

    def _state(self) -> Mapping[str, Any] | None:
        """The container's state now; None where it was removed. Its addresses are read too: another process may have started it."""
        with engine_errors():
            try:
                self._container.reload()
            except docker.errors.NotFound:
                return None
            state: Mapping[str, Any] = self._container.attrs["State"]
            settings = self._container.attrs["NetworkSettings"]
        if state["Running"]:
            self._locate(settings)
        return state

    def _locate(self, settings: Mapping[str, Any]) -> None:
        """Note the addresses. A backend has none: servers reach it by its name."""

    def restart(self, on: frozenset[int] | None = None) -> None:
        with engine_errors():
            try:
                if on or self._is_away:
                    self._container.update(cpuset_cpus=cpusets.spell(on or self._cpus))
                    self._is_away = on is not None
                # Whatever runs of it is ended at once.
                self._container.restart(timeout=0)
            except docker.errors.APIError as error:
                cause = "it was removed" if self._state() is None else " ".join(str(error.explanation).split())
                raise TargetError(
                    f"{self.name} cannot be started again: {cause}; {called('lab.down')}, then {called('lab.up')}"
                ) from None
        try:
            wait_until_ready([self], on or self._cpus, POLL_S, self._start_s)
        except TargetError:
            self.end()
            raise

    def end(self) -> None:
        with engine_errors(), contextlib.suppress(docker.errors.APIError):
            self._container.kill()

    def pin(self) -> None:
        with engine_errors(), self._alive():
            self._container.update(cpuset_cpus=cpusets.spell(self._cpus))
            self._is_away = False
        check_cores(self, self._cpus)

    def is_ready(self) -> bool:
        """Whether it is healthy; where the catalogue has no health check, whether it listens."""
        health = self._container.attrs["State"].get("Health", {}).get("Status")
        if health is None:
            return any(each.serves(self.wanted) for each in self.listening())
        if health != "healthy":
            return False
        # The health check runs inside the container: it passes also for a server that nobody outside reaches.
        check_listening(self)
        return True

    def listening(self) -> Collection[Address]:
        with engine_errors(), contextlib.suppress(TargetError), self._alive():
            code, output = self._read("/proc/net/tcp", "/proc/net/tcp6")
            return () if code in _NO_SHELL else listeners(output)
        return ()

    def log_tail(self, lines: int = 10) -> str:
        with engine_errors():
            try:
                return str(self._container.logs(tail=lines).decode(errors="replace")).strip("\n")
            except docker.errors.NotFound:
                return ""

    def effective_cpus(self) -> frozenset[int]:
        """Read inside the container, so that it works for an engine on another machine."""
        with engine_errors(), self._alive():
            code, output = self._read("/proc/[0-9]*/task/[0-9]*/status")
        if code in _NO_SHELL:
            return cpusets.parse(self._container.attrs["HostConfig"]["CpusetCpus"])
        found = set(re.findall(r"^Cpus_allowed_list:\s*(\S+)$", output, re.MULTILINE))
        if len(found) != 1:
            raise TargetError(f"{self.name}: its processes run on different cores: {sorted(found) or 'unknown'}")
        return cpusets.parse(found.pop())

    def _read(self, *patterns: str) -> tuple[int, str]:
        """The text of files in the container, and an exit code: one of _NO_SHELL where it has nothing to read them with."""
        code, output = self._container.exec_run(["sh", "-c", f"cat {' '.join(patterns)} 2>/dev/null"])
        if code in _NO_SHELL:
            code, output = self._container.exec_run(["python", "-S", "-E", "-c", _READ, *patterns])
        return code, output.decode(errors="replace")

    def usage(self) -> Usage:
        with engine_errors(), self._alive():
            stats = self._container.client.api.stats(self._container.id, stream=False, one_shot=True)
        stopped = stats["cpu_stats"].get("throttling_data", {})
        memory = stats.get("memory_stats", {})
        details = memory.get("stats", {})
        # As `docker stats` counts it: without the page cache that can be dropped (cgroup v1, then v2).
        cache = details.get("total_inactive_file", details.get("inactive_file", 0))
        return Usage(
            # By the engine's own clock: its machine may be far away.
            at_s=_seconds(stats["read"]),
            cpu_s=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
            resident_bytes=max(0, memory.get("usage", 0) - cache),
            # The pids controller counts tasks, which are threads (kernel.org, cgroup-v2, "PID").
            os_threads=stats.get("pids_stats", {}).get("current", 0),
            throttled=stopped.get("throttled_periods"),
            throttled_s=None if "throttled_time" not in stopped else stopped["throttled_time"] / 1e9,
        )

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        """Turn what the engine refuses because the container does not run into a TargetError: the engine is well."""
        try:
            yield
        except docker.errors.APIError as error:
            if error.status_code not in _GONE:
                raise
            raise TargetError(f"{self.name} {self.failure() or 'does not run'}") from None


def _seconds(moment: str) -> float:
    """Seconds since midnight of the epoch, of an RFC 3339 time in UTC. Raises ValueError."""
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


_FETCH = (
    "import sys,urllib.request as r;"
    "print(r.build_opener(r.ProxyHandler({})).open(sys.argv[1],timeout=15).read().decode())"
)
"""Prints a page, run in a target's container with the URL as its argument; ignores the proxy that its environment may name."""


class ContainerTarget(RunningContainer):
    """A server as a container."""

    def __init__(
        self,
        server: Server,
        cpus: frozenset[int],
        container: Any,
        network: str,
        address: str | None = None,
        start_s: float | None = None,
        *,
        asks_inside: bool = False,
    ) -> None:
        """`address`: its machine's, where the swarm runs on other machines; else both are connected to `network`. `asks_inside`:
        whether this machine may not reach what is published, so that the container itself is asked."""
        self.server = server
        self.base_url = self.published_url = ""
        self._network = network
        self._address = address
        self._asks_inside = asks_inside
        super().__init__(server.name, cpus, PORT, container, start_s)

    def _locate(self, settings: Mapping[str, Any]) -> None:
        # One entry for each address at which it is published.
        published = next(iter(settings["Ports"].get(f"{PORT}/tcp") or ()), None)
        if published is None or self._network not in settings["Networks"]:
            raise TargetError(
                f"{self.name} does not publish its port {PORT}, or has a network of its own; begin its stanza in the "
                "catalogue with <<: *server"
            )
        if self._address is not None:
            self.base_url = self.published_url = http_url(self._address, published["HostPort"])
            return
        self.base_url = http_url(settings["Networks"][self._network]["IPAddress"], PORT)
        self.published_url = http_url(published["HostIp"], published["HostPort"])

    def fetch(self, page: str) -> str:
        if not self._asks_inside:
            return fetched(self.published_url + page)
        with engine_errors(), self._alive():
            code, output = self._container.exec_run(["python", "-c", _FETCH, http_url("127.0.0.1", PORT) + page])
        text = str(output.decode(errors="replace")).strip()
        if code != 0:
            raise TargetError(f"{self.name} answered {page} with nothing: {(text.splitlines() or ['?'])[-1]}")
        return text

    def act(self, do: Action, worker: int = 0) -> None:
        with engine_errors(), self._alive():
            if do == "kill-worker":
                self._kill(worker)
            elif do == "reload":
                self._container.kill(signal="SIGHUP")
            else:
                # Python, for one, ignores SIGTERM as the first process.
                self._container.kill(signal=self._container.attrs["Config"].get("StopSignal") or "SIGTERM")

    def _kill(self, process: int) -> None:
        # Where the engine is this machine's, at once: another process in a container takes a while to start.
        here = procfs.numbered(self._processes_here(), process)
        if here is not None:
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.kill(here, signal.SIGKILL)
                return
        code, output = self._container.exec_run(["sh", "-c", f"kill -9 {process}"])
        if code in _NO_SHELL:
            code, output = self._container.exec_run(["python", "-S", "-E", "-c", _KILL, str(process)])
        if code != 0:
            cause = (output.decode(errors="replace").strip().splitlines() or [f"exit code {code}"])[-1]
            raise TargetError(f"{self.name}: its process {process} cannot be killed: {cause}")

    def _processes_here(self) -> Collection[int]:
        """Its processes as this machine numbers them; none where the engine is another machine's."""
        return procfs.processes_here(self._container.id, self._container.attrs["State"]["Pid"])

    @contextlib.contextmanager
    def limited(self, quota: float) -> Iterator[None]:
        self._limit(round(quota * _PERIOD_US))
        try:
            yield
        finally:
            # One that was removed has none.
            with contextlib.suppress(TargetError):
                self._limit(_NO_QUOTA_US)

    def _limit(self, quota_us: int) -> None:
        with engine_errors(), self._alive():
            self._container.update(cpu_period=_PERIOD_US, cpu_quota=quota_us)

    def memory(self) -> Memory | None:
        if self._state() is None:
            return None
        # Where the engine is this machine's: without a process beside it on the cores that are measured.
        here = self._processes_here()
        rollups = procfs.rollups(here) if here else None
        if rollups is None:
            with engine_errors(), contextlib.suppress(TargetError), self._alive():
                code, output = self._container.exec_run(["sh", "-c", procfs.EVERY_ROLLUP])
                rollups = None if code in _NO_SHELL else output.decode(errors="replace")
        return procfs.total(rollups)


class ContainerBackend(RunningContainer):
    """A backend as a container."""

    def __init__(self, backend: Backend, cpus: frozenset[int], container: Any) -> None:
        self.backend = backend
        super().__init__(backend.name, cpus, backend.port, container)


def written(container: Any, *, follow: bool) -> Iterator[bytes]:
    """A container's log, and with `follow` what it still writes, in later starts too, until it is removed."""
    since = None
    with engine_errors():
        try:
            while True:
                container.reload()
                started = container.attrs["State"]["StartedAt"]
                stream = container.logs(stream=True, follow=follow, since=since)
                # A stream that is closed leaves its response open, and with it the connection.
                with contextlib.closing(stream._response):
                    yield from stream
                if not follow:
                    return
                # The stream has ended because the container has.
                while container.attrs["State"]["StartedAt"] == started:
                    time.sleep(_POLL_S)
                    container.reload()
                since = datetime.fromisoformat(container.attrs["State"]["StartedAt"]).timestamp()
        except docker.errors.APIError as error:
            if error.status_code not in _GONE:
                raise


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Turn the Docker library's errors into the lab's own."""
    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        cause = textwrap.shorten(str(error), _LONGEST_CAUSE, placeholder=" ...")
        raise EngineError(
            f"the Docker engine stopped answering, or refused: {cause}; see that it runs, and try again (a run goes on with --resume)"
        ) from None
