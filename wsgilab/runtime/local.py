"""The runtime `local`: the catalogue's commands as local processes, in a virtual environment for each stack.

For machines without a Docker engine. Same file, same argv, same pinning; what is missing is the isolation.
"""

import contextlib
import functools
import hashlib
import http.client
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import psutil
from uv import find_uv_bin

from wsgilab import catalogue, process
from wsgilab.errors import BuildError, TargetError
from wsgilab.model import RuntimeName, Server, Usage
from wsgilab.process import Child, Conversation
from wsgilab.runtime import logs
from wsgilab.runtime.ports import check_free, free_ports
from wsgilab.runtime.protocol import SWARM, SWARM_MODULE, UI_MODULE, Fleet, Say, not_up, verify_pinning

MARK = "WSGILAB_ID"
"""The environment variable by which a later lab knows its own processes, even after a crash."""

_INSTALL_S = 300.0
_START_S = 60.0
_POLL_S = 0.05
# All that a target inherits: the user's own GUNICORN_CMD_ARGS, WEB_CONCURRENCY or PYTHON* must not change it.
_INHERITED = ("HOME", "LANG", "TMPDIR")


class LocalTarget:
    """A server as a process group."""

    def __init__(self, server: Server, cpus: frozenset[int], port: int, log: Path, spawn: Callable[[], Child]) -> None:
        self.server = server
        self.base_url = self.published_url = f"http://127.0.0.1:{port}"
        self.port = port
        self._cpus = cpus
        self._log = log
        self._spawn = spawn
        self._child = spawn()

    def failure(self) -> str | None:
        code = self._child.exit_code()
        if code is None:
            return None
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def restart(self) -> None:
        # Workers may have outlived their master, and hold the port.
        self.end()
        self._child = self._spawn()
        try:
            _wait_until_up([self])
            verify_pinning({self.server.name: self}, self._cpus)
        except TargetError:
            self.end()
            raise

    def ask_to_end(self) -> None:
        self._child.ask_to_end()

    def end(self) -> None:
        self._child.end()

    def log_tail(self, lines: int = 10) -> str:
        return process.tail(self._log, lines)

    def effective_cpus(self) -> frozenset[int]:
        found = {frozenset(os.sched_getaffinity(thread)) for thread in self._threads()}
        if len(found) > 1:
            raise TargetError(f"{self.server.name}: its processes run on different cores: {sorted(map(sorted, found))}")
        return found.pop() if found else frozenset()

    def usage(self) -> Usage:
        cpu_s, own_bytes, shared_bytes = 0.0, 0, 0
        for each in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, OSError), each.oneshot():
                memory = each.memory_full_info()
                own_bytes += memory.uss
                # Forked workers share pages with their parent and each other: those count once, as in a container.
                shared_bytes = max(shared_bytes, memory.rss - memory.uss)
                # Children that have ended count for their parent; those that run count for themselves.
                ended = each.cpu_times()
                cpu_s += process.cpu_s(each.pid) + ended.children_user + ended.children_system
        return Usage(cpu_s=cpu_s, resident_bytes=own_bytes + shared_bytes)

    def answers(self) -> bool:
        """Whether `/hello` is answered with 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/hello", headers={"Connection": "close"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

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


class LocalRuntime:
    """Targets as processes of this machine."""

    name: RuntimeName = "local"

    def __init__(self, project: Path, state: Path, lab_id: str, ports: str = "") -> None:
        self._project = project
        self._stacks = state / "stacks"
        self._logs = state / "logs"
        self._lab_id = lab_id
        self._ports = ports
        self.versions: Mapping[str, str] = {"python": platform.python_version()}

    def prepare(self, servers: Collection[Server], say: Say) -> Mapping[str, str]:
        digests = {}
        for stack in sorted({server.stack for server in servers} | {SWARM}):
            digests[stack] = self._digest(stack)
            if not (self._environment(stack) / ".complete").exists():
                say(f"Installing the stack {stack} ...")
                self._install(stack)
        return digests

    def _lock(self, stack: str) -> Path:
        lock = self._project / "services" / "stacks" / stack / "requirements.txt"
        if not lock.is_file():
            known = ", ".join(sorted(path.parent.name for path in lock.parent.parent.glob("*/requirements.txt")))
            raise BuildError(f"stack {stack!r} has no {lock.relative_to(self._project)}; the stacks are {known}")
        return lock

    def _digest(self, stack: str) -> str:
        content = self._lock(stack).read_bytes() + f"\n{platform.python_implementation()} {sys.version}".encode()
        return "sha256:" + hashlib.sha256(content).hexdigest()

    def _environment(self, stack: str) -> Path:
        return self._stacks / f"{stack}-{self._digest(stack).removeprefix('sha256:')[:12]}"

    def _install(self, stack: str) -> None:
        environment, uv = self._environment(stack), find_uv_bin()
        # An environment without its mark was not finished; environments cannot be moved, so it begins anew.
        shutil.rmtree(environment, ignore_errors=True)
        options = ("--quiet", "--require-hashes", "--compile-bytecode")
        for argv in (
            [uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(environment)],
            [uv, "pip", "sync", *options, "--python", str(environment / "bin" / "python"), str(self._lock(stack))],
        ):
            try:
                finished = process.run(argv, timeout_s=_INSTALL_S)
            except process.TooSlow as error:
                raise BuildError(f"stack {stack} does not install: {error}; is the package index in reach?") from None
            if finished.code != 0:
                raise BuildError(
                    f"stack {stack} does not install: {finished.last_line}; is the package index in reach, "
                    f"and {self._lock(stack).relative_to(self._project)} unchanged?",
                    detail=finished.stderr,
                )
        (environment / ".complete").touch()

    @contextlib.contextmanager
    def start(self, servers: Collection[Server], cpus: frozenset[int]) -> Iterator[Fleet]:
        ports = free_ports(len(servers), self._ports)
        fleet: dict[str, LocalTarget] = {}
        with contextlib.ExitStack() as kept:
            try:
                for server, port in zip(servers, ports, strict=True):
                    log = kept.enter_context(logs.kept(self._logs, _log_name(server.name, len(cpus))))
                    spawn = functools.partial(self._spawn, server, port, cpus, log)
                    fleet[server.name] = LocalTarget(server, cpus, port, log, spawn)
                _wait_until_up(fleet.values())
                verify_pinning(fleet, cpus)
                yield fleet
            finally:
                for target in fleet.values():
                    target.ask_to_end()
                for target in fleet.values():
                    target.end()

    def _spawn(self, server: Server, port: int, cpus: frozenset[int], log: Path) -> Child:
        variables = {"LAB_BIND": f"127.0.0.1:{port}"}
        environment = self._base_environment(server.stack) | {
            name: catalogue.interpolate(value, variables) for name, value in server.environment.items()
        }
        argv = [catalogue.interpolate(word, variables) for word in server.command]
        try:
            return process.spawn(argv, cwd=self._project / "services" / "app", env=environment, cpus=cpus, log=log)
        except OSError as error:
            raise TargetError(f"{server.name} cannot be started: {argv[0]}: {error.strerror}") from None

    def _base_environment(self, stack: str) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {
            **inherited,
            "PATH": f"{self._environment(stack) / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            MARK: self._lab_id,
        }

    def swarm(self, cpus: frozenset[int]) -> contextlib.AbstractContextManager[Conversation]:
        return self._beside("swarm", [SWARM_MODULE], cpus)

    @contextlib.contextmanager
    def ui(self, cpus: frozenset[int], host: str, port: int) -> Iterator[Conversation]:
        check_free(host, port)
        with self._beside("ui", [UI_MODULE, host, str(port)], cpus) as conversation:
            yield conversation

    @contextlib.contextmanager
    def _beside(self, name: str, module: list[str], cpus: frozenset[int]) -> Iterator[Conversation]:
        """A module of ours, with its arguments, as a process beside the fleets."""
        with logs.kept(self._logs, name) as log:
            conversation = Conversation(
                [str(self._environment(SWARM) / "bin" / "python"), "-m", *module],
                cwd=self._project,
                env=self._base_environment(SWARM),
                cpus=cpus,
                log=log,
            )
            try:
                yield conversation
            finally:
                conversation.end()

    def log(self, server: str, cores: int, *, follow: bool) -> Iterator[str]:
        log = self._logs / f"{_log_name(server, cores)}.log"
        if not log.is_file():
            raise not_up(server, cores)
        return logs.lines(logs.read(log, follow=follow))

    def sweep(self) -> int:
        left = [each for each in psutil.process_iter(["environ"]) if self._is_ours(each)]
        # A group has no members of anybody else's: each target was started in a session of its own.
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=5)
        shutil.rmtree(self._logs, ignore_errors=True)
        return len(left)

    def _is_ours(self, each: psutil.Process) -> bool:
        environment = each.info["environ"] or {}
        return bool(environment.get(MARK) == self._lab_id) and each.pid != os.getpid()

    def clean(self) -> None:
        shutil.rmtree(self._stacks, ignore_errors=True)


def _log_name(server: str, cores: int) -> str:
    return f"{server}-{cores}"


def _wait_until_up(targets: Collection[LocalTarget]) -> None:
    deadline = time.monotonic() + _START_S
    waiting = list(targets)
    while waiting:
        for target in list(waiting):
            if (failure := target.failure()) is not None:
                raise TargetError(
                    f"{target.server.name} did not start: {failure}; see its last lines below", detail=target.log_tail()
                )
            if target.answers():
                waiting.remove(target)
        if waiting and time.monotonic() > deadline:
            name = waiting[0].server.name
            raise TargetError(
                f"{name} did not answer within {_START_S:.0f} s of its start", detail=waiting[0].log_tail()
            )
        time.sleep(_POLL_S)
