"""The runtime `local`: the catalogue's and the backends' commands as local processes, one environment for each stack.

For machines without a Docker engine. Same file, same argv, same pinning; only the isolation is missing.
"""

import contextlib
import functools
import os
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from wsgilab.experiment import catalogue
from wsgilab.experiment.workloads import backend_variable
from wsgilab.model import Backend, RuntimeName, Server
from wsgilab.model.application import Application
from wsgilab.model.errors import TargetError
from wsgilab.model.experiment import AGAINST
from wsgilab.runtime import application as applications
from wsgilab.runtime import logs, versions
from wsgilab.runtime import source as sources
from wsgilab.runtime.application import Installed, Place
from wsgilab.runtime.environments import Environments
from wsgilab.runtime.processes import HOST, POLL_S, LocalBackend, LocalTarget, ended
from wsgilab.runtime.protocol import (
    NO_LOCKS,
    SWARM,
    SWARM_MODULE,
    UI_MODULE,
    Backends,
    BeforeMore,
    Fleet,
    LeaveOut,
    Say,
    not_up,
)
from wsgilab.runtime.starting import bring_up, wait_until_ready
from wsgilab.system import host, process, quota
from wsgilab.system.ports import check_free, free_ports, listens
from wsgilab.system.process import Child, JsonChannel

MARK = "WSGILAB_ID"
"""The environment variable by which a later lab recognizes its own processes, even after a crash."""

_HEALTH_S = 10.0
_MEMORY = Path("/dev/shm")  # noqa: S108 - a tmpfs, and the files are the owner's alone
"""Where servers note what leaves late."""
# Nothing else is inherited: the user's own GUNICORN_CMD_ARGS, WEB_CONCURRENCY, PYTHON* or PG* must not change anything.
_INHERITED = ("HOME", "LANG", "TMPDIR")
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


class LocalRuntime:
    """Targets as processes of this machine."""

    name: RuntimeName = "local"

    def __init__(self, project: Path, state: Path, lab_id: str, ports: str = "") -> None:
        self._project = project
        self._state = state
        self._environments = Environments(project, state)
        self._against = Environments(project, state)
        """Of what the application is compared with."""
        self._places = state / "servers"
        """What such servers have of their own, while they are up."""
        self._at: dict[tuple[str, int], Place] = {}
        """(server, number of cores) -> where it is, of those that are up."""
        self._logs = state / "logs"
        self._lab_id = lab_id
        self._ports = ports
        self._backends: dict[str, str] = {}
        """The address of each backend that is up, by the environment variable that servers read."""
        self.versions: Mapping[str, str] = {"python": platform.python_version()}

    @property
    def locks(self) -> Mapping[str, str]:
        return versions.beside(self._environments.locks, self._against.locks)

    def prepare(
        self,
        servers: Collection[Server],
        backends: Collection[Backend],
        say: Say,
        application: Application | None = None,
        locks: Mapping[str, str] = NO_LOCKS,
    ) -> Mapping[str, str]:
        applications.check_processes(application, backends)
        mine, theirs = versions.of_either(servers)
        known = versions.known_locks(locks, is_against=False)
        digests = self._environments.prepare(mine, backends, say, application, known)
        self._against = Environments(self._project, self._state)
        if application is None:
            return digests
        if application.against is not None:
            with versions.the_other(application, say) as (other, tell):
                applications.check_processes(other, backends)
                known = versions.known_locks(locks, is_against=True)
                found = self._against.prepare(theirs, (), tell, other, known)
            stacks = {each.stack for each in theirs}
            digests = versions.beside(digests, {stack: found[stack] for stack in found if stack in stacks})
        # Both have the same, where they need the same packages.
        self._environments.remove_others(self._environments.own | self._against.own)
        return digests

    def identify(
        self,
        application: Application,
        backends: Collection[Backend],
        say: Say,  # noqa: ARG002 - nothing takes long
    ) -> Mapping[str, str]:
        applications.check_processes(application, backends)
        return sources.recorded(sources.read(application))

    @contextlib.contextmanager
    def backends(self, backends: Collection[Backend], cpus: frozenset[int]) -> Iterator[Backends]:
        # Not from the user's range: that is for published ports, and backends in containers publish none.
        ports = free_ports(len(backends), "")
        up: dict[str, LocalBackend] = {}
        with contextlib.ExitStack() as kept, ended(up.values()):
            kept.callback(self._remove_scratch)
            for backend, port in zip(backends, ports, strict=True):
                log = kept.enter_context(logs.kept(self._logs, backend.name))
                spawn = functools.partial(self._spawn_backend, backend, port, log=log)
                ready = functools.partial(self._is_healthy, backend, port)
                up[backend.name] = LocalBackend(backend, cpus, port, log, spawn, ready)
            wait_until_ready(up.values(), cpus, POLL_S)
            self._backends = {
                backend_variable(backend.name): f"{HOST}:{port}" for backend, port in zip(backends, ports, strict=True)
            }
            kept.callback(self._backends.clear)
            yield up

    @contextlib.contextmanager
    def start(
        self,
        servers: Collection[Server],
        cpus: frozenset[int],
        leave_out: LeaveOut | None = None,
        before_more: BeforeMore | None = None,
    ) -> Iterator[Fleet]:
        ports = dict(zip((each.name for each in servers), free_ports(len(servers), self._ports), strict=True))
        fleet: dict[str, LocalTarget] = {}
        own = self._environments.installed
        installed = [each for each in (own, self._against.installed) if each]
        page = own.ready if own else None
        start_s = max((each.start_s for each in installed), default=None)
        prepare_s = max((each.prepare_s for each in installed), default=0.0)
        with contextlib.ExitStack() as kept, ended(fleet.values()):
            for each in installed:
                kept.enter_context(self._laid_out(each, servers, cpus))
            # Apache leaves its configuration there, for one.
            scratch = kept.enter_context(
                tempfile.TemporaryDirectory(prefix=f"wsgilab-{self._lab_id}-servers-", ignore_cleanup_errors=True)
            )

            def begin(some: Collection[Server]) -> Collection[LocalTarget]:
                for server in some:
                    port, name = ports[server.name], _log_name(server.name, len(cpus))
                    log = kept.enter_context(logs.kept(self._logs, name))
                    late = _MEMORY / f"wsgilab-{self._lab_id}-{name}-late"
                    kept.callback(late.unlink, missing_ok=True)
                    spawn = functools.partial(self._spawn_server, server, port, log=log, late=late, scratch=scratch)
                    version = self._of(server).installed
                    fleet[server.name] = LocalTarget(
                        server,
                        cpus,
                        port,
                        log,
                        spawn,
                        version.ready if version else None,
                        start_s,
                        group=f"{self._own_prefix}{name}",
                    )
                return [fleet[each.name] for each in some]

            ready = bring_up(servers, begin, cpus, POLL_S, start_s, page, leave_out, before_more, prepare_s)
            yield {name: fleet[name] for name in ready}

    def _spawn_server(
        self, server: Server, port: int, cpus: frozenset[int], log: Path, late: Path, scratch: str
    ) -> Child:
        argv, environment = self._filled_in(server, server.command, {**_address(port), **self._backends})
        services = self._project / "services"
        # As services/Dockerfile sets them. A stanza may name others.
        door = {"LAB_APP": "app:app", "LAB_SOURCE": str(services / "app"), "LAB_LATE": str(late), "TMPDIR": scratch}
        place, own = self._at.get((server.name, len(cpus))), self._of(server).installed
        if place is not None and own is not None:
            argv = [*own.prepare(place), *argv]
            environment |= own.environment(server, place)
        late.unlink(missing_ok=True)
        return _spawn(server.name, argv, services / "door", door | environment, cpus, log)

    def _spawn_backend(self, backend: Backend, port: int, cpus: frozenset[int], log: Path) -> Child:
        argv, environment = self._filled_in(backend, [*backend.entrypoint, *backend.command], _address(port))
        folder = self._project / "services" / "backends"
        return _spawn(backend.name, argv, folder, _address(port) | environment, cpus, log)

    def _is_healthy(self, backend: Backend, port: int) -> bool:
        # Before it listens it is not healthy, and a check takes a tenth of a second of computing.
        if not listens(f"http://{HOST}:{port}"):
            return False
        argv, environment = self._filled_in(backend, [*backend.entrypoint, *backend.health], _address(port))
        folder = self._project / "services" / "backends"
        try:
            return process.run(argv, cwd=folder, env=_address(port) | environment, timeout_s=_HEALTH_S).code == 0
        except process.TooSlow:
            return False
        except OSError as error:
            raise TargetError(f"{backend.name}: its health check cannot run: {argv[0]}: {error.strerror}") from None

    def _filled_in(
        self, part: Server | Backend, words: Sequence[str], variables: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """`words` and the environment of a stanza with `variables` filled in, in the environment of its stack."""
        own = {name: catalogue.interpolate(value, variables) for name, value in part.environment.items()}
        return [catalogue.interpolate(word, variables) for word in words], self._base_environment(
            self._of(part), part.stack
        ) | own

    def _of(self, part: Server | Backend) -> Environments:
        """Those that it runs in one of."""
        return self._against if isinstance(part, Server) and part.is_against else self._environments

    def _base_environment(self, environments: Environments, stack: str) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {
            **inherited,
            "PATH": f"{environments.folder(stack) / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            _NO_BYTECODE: "1",
            MARK: self._lab_id,
        }

    @contextlib.contextmanager
    def _laid_out(self, own: Installed, servers: Collection[Server], cpus: frozenset[int]) -> Iterator[None]:
        """Places of those servers that have a version of a user's own application."""
        mine, theirs = versions.of_either(servers)
        is_other = own is self._against.installed
        servers, folder = (theirs, f"{len(cpus)}c{AGAINST}") if is_other else (mine, f"{len(cpus)}c")
        with applications.laid_out(own, [each.name for each in servers], self._places / folder) as places:
            self._at |= {(name, len(cpus)): place for name, place in places.items()}
            try:
                yield
            finally:
                for name in places:
                    self._at.pop((name, len(cpus)), None)

    def swarm(self, cpus: frozenset[int]) -> contextlib.AbstractContextManager[JsonChannel]:
        return self._beside("swarm", [SWARM_MODULE], cpus)

    @contextlib.contextmanager
    def ui(self, cpus: frozenset[int], host: str, port: int) -> Iterator[JsonChannel]:
        check_free(host, port)
        with self._beside("ui", [UI_MODULE, host, str(port)], cpus) as channel:
            yield channel

    @contextlib.contextmanager
    def _beside(self, name: str, module: list[str], cpus: frozenset[int]) -> Iterator[JsonChannel]:
        """A module of the lab's own, with its arguments, as a process beside the fleets."""
        beside = self._environments.locust_packages
        # Some modules run nowhere else: unless the user wants none, their bytecode is kept for the next time.
        kept = {_NO_BYTECODE: os.environ.get(_NO_BYTECODE, "")}
        with logs.kept(self._logs, name) as log:
            channel = JsonChannel(
                [str(self._environments.folder(SWARM) / "bin" / "python"), "-m", *module],
                cwd=self._project,
                env=self._base_environment(self._environments, SWARM)
                | kept
                | ({"PYTHONPATH": str(beside)} if beside else {}),
                cpus=cpus,
                log=log,
            )
            try:
                yield channel
            finally:
                channel.end()

    def log(self, name: str, cores: int | None, *, follow: bool) -> Iterator[str]:
        log = self._logs / f"{_log_name(name, cores)}.log"
        if not log.is_file():
            raise not_up(name, cores)
        return logs.lines(logs.read(log, follow=follow))

    def quota_refusal(self) -> str | None:
        return quota.refusal()

    def is_here(self) -> bool:
        return True

    def available_bytes(self) -> int:
        # Its servers are in the lab's own control group, as those of an engine are not.
        of_group = host.group_available_bytes()
        return host.available_bytes() if of_group is None else min(of_group, host.available_bytes())

    def owns(self, pid: int) -> bool:
        return f"{MARK}={self._lab_id}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()

    def other_labs(self) -> Sequence[str]:
        marked = ((each.info["environ"] or {}).get(MARK) for each in psutil.process_iter(["environ"]))
        found = Counter(mark for mark in marked if mark not in (None, self._lab_id))
        return [f"another lab runs here, with {count} processes ({MARK}={mark})" for mark, count in found.items()]

    def sweep(self) -> int:
        # In this order: whoever has noted something by now is among those that run, or has ended.
        noted = list(_MEMORY.glob("wsgilab-*-late"))
        others = {(each.info["environ"] or {}).get(MARK) for each in psutil.process_iter(["environ"])} - {self._lab_id}
        ended = set[psutil.Process]()
        # Again until there are none: a server may have started another process meanwhile.
        while left := self._left() - ended:
            for each in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            psutil.wait_procs(left, timeout=5)
            ended |= left
        quota.sweep(self._own_prefix)
        shutil.rmtree(self._logs, ignore_errors=True)
        sources.removed(self._places)
        self._environments.sweep()
        self._remove_scratch()
        # Also of labs that were killed and will not start again, such as those of tests.
        for late in (*noted, *_MEMORY.glob(f"wsgilab-{self._lab_id}-*-late")):
            if late.name.split("-")[1] not in others:
                with contextlib.suppress(PermissionError):
                    late.unlink(missing_ok=True)
        return len(ended)

    def _left(self) -> set[psutil.Process]:
        """All processes of this lab."""
        ours = [each for each in psutil.process_iter(["environ"]) if self._is_ours(each)]
        # Also those that have lost their mark: PostgreSQL's processes write their titles over their environment. Each of ours was
        # started in a session of its own, so no other program's process is among the children.
        return {*ours, *(child for each in ours for child in _children(each))} - {psutil.Process()}

    def _is_ours(self, each: psutil.Process) -> bool:
        environment = each.info["environ"] or {}
        return bool(environment.get(MARK) == self._lab_id) and each.pid != os.getpid()

    @property
    def _own_prefix(self) -> str:
        """How the names of this lab's control groups begin."""
        return f"wsgilab-{self._lab_id}-"

    def _remove_scratch(self) -> None:
        """Remove the folders of backends that were killed from among the system's temporary ones."""
        for folder in Path(tempfile.gettempdir()).glob(f"wsgilab-{self._lab_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def clean(self) -> None:
        self._environments.clean()


def _spawn(
    name: str, argv: Sequence[str], folder: Path, environment: Mapping[str, str], cpus: frozenset[int], log: Path
) -> Child:
    try:
        return process.spawn(argv, cwd=folder, env=environment, cpus=cpus, log=log)
    except OSError as error:
        raise TargetError(f"{name} cannot be started: {argv[0]}: {error.strerror}") from None


def _address(port: int) -> dict[str, str]:
    """The variables by which a server or a backend learns where to listen."""
    return {"LAB_BIND": f"{HOST}:{port}", "LAB_HOST": HOST, "LAB_PORT": str(port)}


def _log_name(name: str, cores: int | None) -> str:
    """The name of a server's log; a backend's has no number of cores."""
    return name if cores is None else f"{name}-{cores}"


def _children(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
