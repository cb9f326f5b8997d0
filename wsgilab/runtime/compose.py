"""The runtime `compose`: the catalogue's services and the backends as containers, by Docker Compose."""

import contextlib
import functools
import itertools
import re
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsgilab.model import Backend, RuntimeName, Server, SiteMachine
from wsgilab.model.application import Application
from wsgilab.model.errors import EngineError, HostError, LabError, TargetError
from wsgilab.model.site import PORT_TAKEN
from wsgilab.runtime import clock_servers, images, logs, services, versions
from wsgilab.runtime import source as sources
from wsgilab.runtime.application import LOCUST
from wsgilab.runtime.clock_servers import MachineFacts, Probed
from wsgilab.runtime.command import LOOPBACK, Compose
from wsgilab.runtime.containers import POLL_S, ContainerBackend, ContainerTarget, engine_errors, written
from wsgilab.runtime.engine import Engine
from wsgilab.runtime.installation import Installation
from wsgilab.runtime.protocol import (
    CLOCK_SERVER,
    NO_LOCKS,
    OWN_ADDRESS,
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
from wsgilab.runtime.removal import LAB_LABEL, containers_of, remove, torn_down
from wsgilab.runtime.starting import bring_up, wait_until_ready
from wsgilab.system import cpus as cpusets
from wsgilab.system import host, process
from wsgilab.system.host import boot_id, cannot_pin
from wsgilab.system.ports import bracketed, check_free, taken
from wsgilab.system.process import Finished, JsonChannel

UI_PORT = 8089
"""The web UI's port in its container; on this machine it is the one that the user names."""

_FOLDER_LABEL = "com.docker.compose.project.working_dir"
_RUN = ("--progress", "quiet", "--profile", SWARM, "run", "--rm", "--no-TTY", "--no-deps")
_PORTS_GONE = re.compile(r"all ports are allocated")
_UP_S = 180.0
_BESIDE_S = 20.0
_POLL_S = 0.1


class ComposeRuntime:
    """Targets and backends as containers of a Docker engine."""

    name: RuntimeName = "compose"

    def __init__(
        self,
        project: Path,
        state: Path,
        engine: Engine,
        lab_id: str,
        catalogue_file: Path | None = None,
        ports: str = "",
        machine: SiteMachine | None = None,
        needs: Collection[str] = (SWARM,),
    ) -> None:
        """`machine`: the machine of a site that the engine runs on, None for this machine. `needs`: services that run there
        beside the servers."""
        self._project = project
        self._machine = machine
        self._engine = engine
        self._lab_id = lab_id
        self._ports = ports
        self._logs = state / "logs"
        self._files = state / "generated" / ("here" if machine is None else machine.name)
        """What is generated for a user's own application."""
        self._networks: list[str] = []
        """Of the fleets that are up."""
        self._backends: Mapping[str, Any] = {}
        """Name -> container, of those that are up."""
        self._runs = itertools.count(1)
        self.versions: Mapping[str, str] = {"docker engine": engine.version, "docker compose": engine.compose}
        publish = LOOPBACK if machine is None else machine.publish
        self._compose = Compose(project, engine, lab_id, catalogue_file, ports, publish)
        self._client = self._compose.client
        self._installation = Installation(self._compose, self._files, needs)

    @property
    def locks(self) -> Mapping[str, str]:
        own, against = (
            NO_LOCKS if each is None else each.installed.locks for each in (self._compose.own, self._compose.against)
        )
        own = versions.beside(own, against)
        return {**own, LOCUST: self._compose.locust.lock} if self._compose.locust else own

    def prepare(
        self,
        servers: Collection[Server],
        backends: Collection[Backend],
        say: Say,
        application: Application | None = None,
        locks: Mapping[str, str] = NO_LOCKS,
    ) -> Mapping[str, str]:
        return self._installation.prepare(servers, backends, say, application, locks, self._services_project)

    def prepare_users(self, application: Application, say: Say, locks: Mapping[str, str]) -> Mapping[str, str]:
        """As `prepare`, on a machine that has no servers: what runs there, with what the Locust files of `application` import."""
        return self._installation.prepare_users(application, say, locks)

    def identify(self, application: Application, backends: Collection[Backend], say: Say) -> Mapping[str, str]:
        return self._installation.identify(application, backends, say)

    def facts(self) -> MachineFacts:
        """What machine the engine runs on. Raises BuildError and EngineError."""
        clock_servers.build(self._compose)
        with self._clock_server_project() as project:
            return clock_servers.facts(self._compose, project)

    def busy(self, cores: Collection[int], seconds: float) -> Mapping[int, float]:
        """How busy cores of the engine's machine are in so many seconds from now; after `facts`. Raises EngineError."""
        with self._clock_server_project() as project:
            return clock_servers.busy(self._compose, project, cores, seconds)

    @functools.cached_property
    def elsewhere(self) -> MachineFacts | None:
        """What machine the engine runs on, where that has a kernel of its own and no site names it, such as the virtual machine of
        Docker Desktop; None where it runs on this very machine. Raises BuildError and EngineError."""
        if self._machine is not None or self.is_here():
            return None
        found = self.facts()
        # An engine of this kernel may have another name: where the lab itself is in a container, or in WSL.
        return None if found.boot and found.boot == boot_id() else found

    def probe(self, host: str, port: int) -> Probed:
        """Measure the network from the engine's machine to a clock server elsewhere. Raises EngineError."""
        with self._clock_server_project() as project:
            return clock_servers.probe(self._compose, project, host, port)

    @contextlib.contextmanager
    def _clock_server_project(self) -> Iterator[str]:
        project = self._beside_project(CLOCK_SERVER)
        with self._torn_down(project):
            yield project

    def lost(self) -> str | None:
        """Why the connection to the engine is lost; None while it is not, or where that is unknown."""
        return None if self._engine.tunnel is None else self._engine.tunnel.failure()

    def engine_id(self) -> str:
        """Identifies the engine, whatever name it is reached by."""
        with engine_errors():
            return str(self._client.info()["ID"])

    # --- what is up

    @contextlib.contextmanager
    def backends(self, backends: Collection[Backend], cpus: frozenset[int]) -> Iterator[Backends]:
        labs = [each for each in backends if not each.compose]
        with self._services_up(cpus) as found, self._labs_up(labs, cpus) as up:
            yield {**up, **found}

    @contextlib.contextmanager
    def _labs_up(self, backends: Collection[Backend], cpus: frozenset[int]) -> Iterator[Backends]:
        names = [backend.name for backend in backends]
        if not names:
            yield {}
            return
        with self._torn_down(self._backend_project):
            containers = self._bring_up(self._backend_project, self._compose.lab_files, names, cpus)
            up = {each.name: ContainerBackend(each, cpus, containers[each.name]) for each in backends}
            wait_until_ready(up.values(), cpus, POLL_S)
            self._backends = {name: containers[name] for name in names}
            try:
                yield up
            finally:
                self._backends = {}

    @contextlib.contextmanager
    def _services_up(self, cpus: frozenset[int]) -> Iterator[Backends]:
        """Those of a Compose file of the user's own, if there are any. Servers join their network when they start."""
        own, project = self._installation.services, self._services_project
        if own is None:
            yield {}
            return
        with self._torn_down(project), services.up(self._compose, own, project, self._files, cpus) as found:
            yield found

    @contextlib.contextmanager
    def start(
        self,
        servers: Collection[Server],
        cpus: frozenset[int],
        leave_out: LeaveOut | None = None,
        before_more: BeforeMore | None = None,
    ) -> Iterator[Fleet]:
        project = self._fleet_project(len(cpus))
        network = f"{project}_default"
        self._compose.know(servers, self._files / "rows.yaml")
        installed = [each.installed for each in (self._compose.own, self._compose.against) if each]
        page = installed[0].ready if installed else None
        start_s = max((each.start_s for each in installed), default=None)
        prepare_s = max((each.prepare_s for each in installed), default=0.0)
        address = None if self._machine is None else self._machine.address
        asks_inside = address is not None or self.elsewhere is not None
        fleet: dict[str, ContainerTarget] = {}

        def begin(some: Collection[Server]) -> Collection[ContainerTarget]:
            names = [each.name for each in some]
            containers = self._bring_up(project, self._compose.server_files, names, cpus)
            new = [
                ContainerTarget(each, cpus, containers[each.name], network, address, start_s, asks_inside=asks_inside)
                for each in some
            ]
            fleet.update(zip(names, new, strict=True))
            return new

        with self._torn_down(project):
            ready = bring_up(servers, begin, cpus, POLL_S, start_s, page, leave_out, before_more, prepare_s)
            with engine_errors():
                for name, backend in self._backends.items():
                    self._client.networks.get(network).connect(backend, aliases=[name])
            self._networks.append(network)
            try:
                yield {name: fleet[name] for name in ready}
            finally:
                self._networks.remove(network)

    def _bring_up(
        self, project: str, files: Collection[Path], names: Collection[str], cpus: frozenset[int]
    ) -> Mapping[str, Any]:
        """Start services, beside those of the project that are up: service -> container."""
        # Without --wait, which would wait a minute for a server at a wrong address, and not report that.
        words = ["up", "--detach", "--no-build", *names]
        up = self._compose.run(project, files, *words, cpus=cpusets.spell(cpus), timeout_s=_UP_S)
        if up.code != 0:
            raise self._start_error(up, len(names))
        return containers_of(self._client, project)

    def _start_error(self, up: Finished, count: int) -> LabError:
        where, otherwise = f"LAB_PORTS={self._ports}", "or unset LAB_PORTS"
        if self._machine is not None:
            where, otherwise = f"ports {self._machine.ports}", "or leave ports out of the site file"
        if _PORTS_GONE.search(up.stderr):
            return HostError(
                f"{where}: {count} ports are needed, one for each server, but fewer of these are free; name a wider range, "
                f"{otherwise} to take any"
            )
        if PORT_TAKEN.search(up.stderr):
            cause = up.last_line.rpartition("): ")[2]
            return HostError(f"{where}: a port is taken ({cause}); name a free range, {otherwise} to take any")
        return TargetError(f"containers did not start: {up.last_line}", detail=up.stderr)

    def swarm(self, cpus: frozenset[int]) -> contextlib.AbstractContextManager[JsonChannel]:
        return self.beside("swarm", [SWARM_MODULE], cpus)

    @contextlib.contextmanager
    def ui(self, cpus: frozenset[int], host: str, port: int) -> Iterator[JsonChannel]:
        with self.serving_ui(cpus, host, port, []) as channel:
            yield channel

    @contextlib.contextmanager
    def serving_ui(
        self, cpus: frozenset[int], host: str, port: int, words: Collection[str], options: Collection[str] = ()
    ) -> Iterator[JsonChannel]:
        """The web UI's container, reached at `ui_host(host)` and `port`. `words` are more of its arguments, `options` Compose's."""
        module = [UI_MODULE, OWN_ADDRESS, str(UI_PORT), *words]
        with contextlib.ExitStack() as up:
            published = f"{self._ui_address(host, port, up)}:{port}:{UI_PORT}"
            try:
                channel = up.enter_context(self.beside("ui", module, cpus, ["--publish", published, *options]))
            except EngineError as error:
                if PORT_TAKEN.search(error.detail):
                    raise taken(host, port) from None
                raise
            yield channel

    def ui_host(self, host: str) -> str:
        """The host at which a web UI for `host` is reached: `host` itself, or the engine's machine where nothing forwards to
        this one."""
        far = self._machine is not None and self._engine.endpoint.host.startswith("tcp:")
        return self._machine.address if self._machine is not None and far else host

    def _ui_address(self, host: str, port: int, up: contextlib.ExitStack) -> str:
        """The address to publish the web UI at on the engine's machine. `up` gets what forwards it from there, if anything."""
        if self._engine.tunnel is not None:
            check_free(host, port)
            up.enter_context(self._engine.tunnel.forward(host, port, port))
            return LOOPBACK
        if self._machine is not None and self.ui_host(host) != host:
            return bracketed(self._machine.publish)
        return bracketed(check_free(host, port))

    @contextlib.contextmanager
    def clock_server(self) -> Iterator[int]:
        """A clock server on a machine of a site; the port at which it is published."""
        assert self._machine is not None, "only a site has clock servers"
        with self._clock_server_project() as project:
            yield clock_servers.serve(self._compose, project, self._machine.publish, self._machine.ports)

    @contextlib.contextmanager
    def beside(
        self, name: str, module: list[str], cpus: frozenset[int], options: Collection[str] = ()
    ) -> Iterator[JsonChannel]:
        """A module of ours, with its arguments, in a container beside the fleets."""
        project = self._beside_project(name)
        with self._torn_down(project), logs.kept(self._logs, project.removeprefix(f"wsgilab-{self._lab_id}-0-")) as log:
            argv = self._compose.argv(project, self._compose.swarm_files)
            channel = JsonChannel(
                [*argv, *_RUN, *options, SWARM, "python", "-m", *module],
                cwd=self._project,
                env=self._compose.environment(cpusets.spell(cpus)),
                cpus=None,
                log=log,
            )
            try:
                self._join_networks(project, name, channel)
                yield channel
            finally:
                channel.end()

    def _join_networks(self, project: str, name: str, channel: JsonChannel) -> None:
        """Connect a container beside the fleets to every fleet's network; each fleet has one of its own."""
        deadline = time.monotonic() + _BESIDE_S
        while (container := containers_of(self._client, project).get(SWARM)) is None or container.status != "running":
            if channel.exit_code() is not None or time.monotonic() > deadline:
                raise EngineError(
                    f"the container {name} did not start; see its last lines below",
                    detail=process.tail(channel.log, 10),
                )
            time.sleep(_POLL_S)
        with engine_errors():
            for network in self._networks:
                self._client.networks.get(network).connect(container)

    def log(self, name: str, cores: int | None, *, follow: bool) -> Iterator[str]:
        projects = [self._backend_project, self._services_project] if cores is None else [self._fleet_project(cores)]
        found = {
            service: each for project in projects for service, each in containers_of(self._client, project).items()
        }
        container = found.get(name)
        if container is None:
            raise not_up(name, cores)
        return logs.lines(written(container, follow=follow))

    # --- beside others

    def quota_refusal(self) -> str | None:
        # The engine gives it.
        return None

    def is_here(self) -> bool:
        if self._machine is not None or cannot_pin():
            return False
        with engine_errors():
            return bool(self._client.info()["Name"] == socket.gethostname())

    def available_bytes(self) -> int:
        if self.is_here():
            return host.available_bytes()
        clock_servers.build(self._compose)
        with self._clock_server_project() as project:
            return clock_servers.available_bytes(self._compose, project)

    def owns(self, pid: int) -> bool:
        cgroup = Path(f"/proc/{pid}/cgroup").read_text()
        return any(container.id in cgroup for container in self._running(f"{LAB_LABEL}={self._lab_id}"))

    def other_labs(self) -> Sequence[str]:
        others = [each for each in self._running(LAB_LABEL) if each.labels[LAB_LABEL] != self._lab_id]
        found = Counter(each.labels.get(_FOLDER_LABEL, "an unknown folder") for each in others)
        return [f"another lab runs here, with {count} containers, from {folder}" for folder, count in found.items()]

    def _running(self, label: str) -> Sequence[Any]:
        with engine_errors():
            return list(self._client.containers.list(filters={"label": label}, ignore_removed=True))

    # --- leaving nothing behind

    def _torn_down(self, project: str) -> contextlib.AbstractContextManager[None]:
        return torn_down(self._client, project)

    def sweep(self) -> int:
        sources.removed(self._files)
        return remove(self._client, f"{LAB_LABEL}={self._lab_id}", f"wsgilab-{self._lab_id}-")

    def clean(self) -> None:
        images.clean(self._compose)

    # --- names

    def _beside_project(self, name: str) -> str:
        """A name for a Compose project of its own, for what runs beside the fleets."""
        # Ports are published on the first of a container's networks by name. So that this is its own, and stays so
        # when it joins the fleets', the name sorts before theirs.
        where = "" if self._machine is None else f"{self._machine.name}-"
        return f"wsgilab-{self._lab_id}-0-{name}-{where}{next(self._runs)}"

    def _fleet_project(self, cores: int) -> str:
        """The Compose project of the fleet with so many cores."""
        return f"wsgilab-{self._lab_id}-{cores}c"

    @property
    def _backend_project(self) -> str:
        return f"wsgilab-{self._lab_id}-backends"

    @property
    def _services_project(self) -> str:
        """Of a Compose file of the user's own."""
        return f"wsgilab-{self._lab_id}-services"
