"""The runtime `local`: the catalogue's commands as local processes, in a virtual environment for each stack.

For machines without a Docker engine. Same file, same argv, same pinning; what is missing is the isolation.
"""

import contextlib
import hashlib
import http.client
import os
import platform
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import psutil
from uv import find_uv_bin

from wsgilab import catalogue, process
from wsgilab.errors import BuildError, TargetError
from wsgilab.model import RuntimeName, Server, Usage
from wsgilab.process import Child, Conversation
from wsgilab.runtime.ports import free_ports
from wsgilab.runtime.protocol import Fleet, Say, verify_pinning

MARK = "WSGILAB_ID"
"""The environment variable by which a later lab knows its own processes, even after a crash."""

SWARM_STACK = "swarm"
_INSTALL_S = 300.0
_START_S = 60.0
_POLL_S = 0.05
# All that a target inherits: the user's own GUNICORN_CMD_ARGS, WEB_CONCURRENCY or PYTHON* must not change it.
_INHERITED = ("HOME", "LANG", "TMPDIR")


class LocalTarget:
    """A server as a process group."""

    def __init__(self, server: Server, child: Child, port: int, log: Path) -> None:
        self.server = server
        self.base_url = self.published_url = f"http://127.0.0.1:{port}"
        self.port = port
        self._child = child
        self._log = log

    def failure(self) -> str | None:
        code = self._child.exit_code()
        if code is None:
            return None
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

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
        for stack in sorted({server.stack for server in servers} | {SWARM_STACK}):
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
        children: list[Child] = []
        try:
            fleet: dict[str, LocalTarget] = {}
            for server, port in zip(servers, ports, strict=True):
                log = self._new_log(f"{server.name}-{len(cpus)}")
                child = self._spawn(server, port, cpus, log)
                children.append(child)
                fleet[server.name] = LocalTarget(server, child, port, log)
            _wait_until_up(fleet.values())
            verify_pinning(fleet, cpus)
            yield fleet
        finally:
            for child in children:
                child.ask_to_end()
            for child in children:
                child.end()
            shutil.rmtree(self._logs, ignore_errors=True)

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

    def _new_log(self, name: str) -> Path:
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name}.log"
        log.write_bytes(b"")
        return log

    @contextlib.contextmanager
    def swarm(self, cpus: frozenset[int]) -> Iterator[Conversation]:
        conversation = Conversation(
            [str(self._environment(SWARM_STACK) / "bin" / "python"), "-m", "wsgilab.swarm.agent"],
            cwd=self._project,
            env=self._base_environment(SWARM_STACK),
            cpus=cpus,
            log=self._new_log("swarm"),
        )
        try:
            yield conversation
        finally:
            conversation.end()

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
