"""The runtime `compose`: the catalogue's services as containers, by Docker Compose and the engine's own API."""

import contextlib
import http
import itertools
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from wsgilab import cpus as cpusets
from wsgilab import process
from wsgilab.errors import BuildError, EngineError, HostError, LabError, TargetError
from wsgilab.model import RuntimeName, Server, Usage
from wsgilab.process import Conversation, Finished
from wsgilab.runtime import logs
from wsgilab.runtime.engine import Engine
from wsgilab.runtime.ports import check_free, taken
from wsgilab.runtime.protocol import OWN_ADDRESS, SWARM, SWARM_MODULE, UI_MODULE, Fleet, Say, not_up, verify_pinning

LABEL = "wsgilab.lab"
IMAGE_LABEL = "wsgilab.image"
_PROJECT_LABEL = "com.docker.compose.project"
_SERVICE_LABEL = "com.docker.compose.service"
PORT = "8000/tcp"
OWN_BASE = "wsgilab-base:trixie"
"""A base image of the user's own; taken where no other is named and no registry image is at hand."""
DEFAULT_BASE = "python:3.13-slim-trixie"
UI_PORT = 8089
"""The web UI's port in its container; on this machine it is the one that the user names."""

_RUN = ("--profile", SWARM, "run", "--rm", "--no-TTY", "--no-deps")
_PORT_TAKEN = re.compile(r"port is already allocated|address already in use|all ports are allocated")
_GONE = (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.CONFLICT)
"""What the engine answers about a container that was removed, is being removed, or does not run."""
_API_S = 30
_BUILD_S = 900.0
_UP_S = 180.0
_AFTERMATH_S = 0.5
_RESTART_S = 60.0
_BESIDE_S = 20.0
_POLL_S = 0.1


class ContainerTarget:
    """A server as a container."""

    def __init__(self, server: Server, cpus: frozenset[int], container: Any, network: str) -> None:
        self.server = server
        self.base_url = self.published_url = ""
        self._cpus = cpus
        self._container = container
        self._network = network
        self._state()

    def failure(self) -> str | None:
        state = self._state()
        if state is None:
            return "was removed"
        if state["Running"]:
            return None
        return (
            "was killed for lack of memory" if state.get("OOMKilled") else f"ended with exit code {state['ExitCode']}"
        )

    def _state(self) -> Mapping[str, Any] | None:
        """The container's state now; None where it was removed. Whoever started it last, its addresses are read too."""
        with _engine_errors():
            try:
                self._container.reload()
            except docker.errors.NotFound:
                return None
            state: Mapping[str, Any] = self._container.attrs["State"]
            settings = self._container.attrs["NetworkSettings"]
        if state["Running"]:
            published = settings["Ports"][PORT][0]
            self.base_url = f"http://{settings['Networks'][self._network]['IPAddress']}:8000"
            self.published_url = f"http://{published['HostIp']}:{published['HostPort']}"
        return state

    def restart(self) -> None:
        with _engine_errors():
            try:
                self._container.start()
            except docker.errors.APIError as error:
                cause = "it was removed" if self._state() is None else " ".join(str(error.explanation).split())
                raise TargetError(
                    f"{self.server.name} cannot be started again: {cause}; invoke lab.down, then lab.up"
                ) from None
        try:
            self._wait_until_healthy()
            verify_pinning({self.server.name: self}, self._cpus)
        except TargetError:
            with _engine_errors(), contextlib.suppress(docker.errors.APIError):
                self._container.kill()
            raise

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + _RESTART_S
        while (failure := self.failure()) is None:
            health = self._container.attrs["State"].get("Health", {}).get("Status", "healthy")
            if health == "healthy":
                return
            if time.monotonic() > deadline:
                raise TargetError(
                    f"{self.server.name} did not answer within {_RESTART_S:.0f} s of its start", detail=self.log_tail()
                )
            time.sleep(_POLL_S)
        raise TargetError(
            f"{self.server.name} did not start: {failure}; see its last lines below", detail=self.log_tail()
        )

    def log_tail(self, lines: int = 10) -> str:
        with _engine_errors():
            try:
                return str(self._container.logs(tail=lines).decode(errors="replace")).strip("\n")
            except docker.errors.NotFound:
                return ""

    def effective_cpus(self) -> frozenset[int]:
        """Read from inside the container, so that it works whichever machine the engine runs on."""
        with _engine_errors(), self._alive():
            _, output = self._container.exec_run(["sh", "-c", "cat /proc/[0-9]*/task/[0-9]*/status 2>/dev/null"])
        found = set(re.findall(r"^Cpus_allowed_list:\s*(\S+)$", output.decode(), re.MULTILINE))
        if len(found) != 1:
            raise TargetError(f"{self.server.name}: its processes run on different cores: {sorted(found) or 'unknown'}")
        return cpusets.parse(found.pop())

    def usage(self) -> Usage:
        with _engine_errors(), self._alive():
            stats = self._container.client.api.stats(self._container.id, stream=False, one_shot=True)
        memory = stats.get("memory_stats", {})
        details = memory.get("stats", {})
        # As `docker stats` counts it: without the page cache that can be dropped (cgroup v1, then v2).
        cache = details.get("total_inactive_file", details.get("inactive_file", 0))
        return Usage(
            cpu_s=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
            resident_bytes=max(0, memory.get("usage", 0) - cache),
        )

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        """What the engine refuses because the container does not run is the target's failure, not the engine's."""
        try:
            yield
        except docker.errors.APIError as error:
            if error.status_code not in _GONE:
                raise
            raise TargetError(f"{self.server.name} {self.failure() or 'does not run'}") from None


class ComposeRuntime:
    """Targets as containers of a Docker engine."""

    name: RuntimeName = "compose"

    def __init__(
        self,
        project: Path,
        state: Path,
        engine: Engine,
        lab_id: str,
        catalogue_file: Path | None = None,
        ports: str = "",
    ) -> None:
        self._project = project
        self._engine = engine
        self._lab_id = lab_id
        self._catalogue = catalogue_file
        self._ports = ports
        self._logs = state / "logs"
        self._networks: list[str] = []
        self._runs = itertools.count(1)
        self.versions: Mapping[str, str] = {"docker engine": engine.version, "docker compose": engine.compose}
        with _engine_errors():
            self._client = docker.DockerClient(base_url=engine.address, timeout=_API_S)

    # --- building

    def prepare(self, servers: Collection[Server], say: Say) -> Mapping[str, str]:
        by_stack = {server.stack: server for server in servers}
        say(f"Building images for {', '.join(sorted({*by_stack, SWARM}))} on {self._base_image()} ...")
        builds = [(stack, server.name, self._files(), "build") for stack, server in sorted(by_stack.items())]
        builds.append((SWARM, SWARM, self._swarm_files(), "build"))
        digests = {}
        for stack, service, files, project in builds:
            finished = self._compose(
                project, files, ["--progress", "plain", "build", service], cpus="0", timeout_s=_BUILD_S
            )
            if finished.code != 0:
                raise self._build_error(stack, finished)
            with _engine_errors():
                digests[stack] = str(self._client.images.get(f"wsgilab/{stack}").id)
        self._prune()
        return digests

    def _prune(self) -> None:
        """Remove the lab's images that lost their names to newer ones, and that no container uses."""
        with _engine_errors():
            self._client.images.prune(filters={"dangling": True, "label": IMAGE_LABEL})

    def _base_image(self) -> str:
        named = os.environ.get("LAB_BASE_IMAGE")
        if named:
            return named
        with _engine_errors():
            present = {tag for image in self._client.images.list() for tag in image.tags}
        return OWN_BASE if OWN_BASE in present and DEFAULT_BASE not in present else DEFAULT_BASE

    def _build_error(self, stack: str, finished: Finished) -> BuildError:
        if "failed to resolve source metadata" in finished.stderr or "pull access denied" in finished.stderr:
            return BuildError(
                f"stack {stack} does not build: the base image {self._base_image()} is neither here nor to be had; "
                "name one with LAB_BASE_IMAGE (docs/engine.md makes one from Debian's packages), or use --runtime local"
            )
        errors = [line for line in finished.stderr.splitlines() if re.search(r"\bERROR\b", line)]
        cause = re.sub(r"^#\d+\s+[\d.]*\s*", "", errors[0]) if errors else finished.last_line
        return BuildError(
            f"stack {stack} does not install: {cause}; is the package index in reach (LAB_CA_FILE for a private "
            "certificate authority)?",
            detail="\n".join(finished.stderr.splitlines()[-15:]),
        )

    # --- running

    @contextlib.contextmanager
    def start(self, servers: Collection[Server], cpus: frozenset[int]) -> Iterator[Fleet]:
        project = self._fleet_project(len(cpus))
        names = [server.name for server in servers]
        network = f"{project}_default"
        with self._torn_down(project):
            up = self._compose(
                project,
                self._files(),
                ["up", "--detach", "--wait", "--no-build", *names],
                cpus=cpusets.spell(cpus),
                timeout_s=_UP_S,
            )
            containers = self._containers(project)
            if up.code != 0:
                raise self._start_error(up, containers)
            fleet = {each.name: ContainerTarget(each, cpus, containers[each.name], network) for each in servers}
            verify_pinning(fleet, cpus)
            self._networks.append(network)
            try:
                yield fleet
            finally:
                self._networks.remove(network)

    def _start_error(self, up: Finished, containers: Mapping[str, Any]) -> LabError:
        if _PORT_TAKEN.search(up.stderr):
            return HostError(
                f"LAB_PORTS={self._ports}: a port is taken ({up.last_line.rpartition('): ')[2]}); name a free range, or unset LAB_PORTS"
            )
        for name, container in containers.items():
            with _engine_errors():
                container.reload()
                state = container.attrs["State"]
            if state["Status"] in ("exited", "dead") or state.get("Health", {}).get("Status") == "unhealthy":
                ended = f"ended with exit code {state['ExitCode']}" if not state["Running"] else "did not answer"
                return TargetError(
                    f"{name} did not start: {ended}; see its last lines below",
                    detail=container.logs(tail=10).decode(errors="replace"),
                )
        return TargetError(f"the fleet did not start: {up.last_line}", detail=up.stderr)

    def swarm(self, cpus: frozenset[int]) -> contextlib.AbstractContextManager[Conversation]:
        return self._beside("swarm", [SWARM_MODULE], cpus)

    @contextlib.contextmanager
    def ui(self, cpus: frozenset[int], host: str, port: int) -> Iterator[Conversation]:
        address = check_free(host, port)
        published = f"{f'[{address}]' if ':' in address else address}:{port}:{UI_PORT}"
        with contextlib.ExitStack() as up:
            try:
                conversation = up.enter_context(
                    self._beside("ui", [UI_MODULE, OWN_ADDRESS, str(UI_PORT)], cpus, ["--publish", published])
                )
            except EngineError as error:
                if _PORT_TAKEN.search(error.detail):
                    raise taken(host, port) from None
                raise
            yield conversation

    @contextlib.contextmanager
    def _beside(
        self, name: str, module: list[str], cpus: frozenset[int], options: Collection[str] = ()
    ) -> Iterator[Conversation]:
        """A module of ours, with its arguments, in a container beside the fleets."""
        # Ports are published on the first of a container's networks by name. So that this is its own, and stays so
        # when it joins the fleets', the name sorts before theirs.
        project = f"wsgilab-{self._lab_id}-0-{name}-{next(self._runs)}"
        with self._torn_down(project), logs.kept(self._logs, name) as log:
            conversation = Conversation(
                [*self._argv(project, self._swarm_files()), *_RUN, *options, SWARM, "python", "-m", *module],
                cwd=self._project,
                env=self._environment(cpusets.spell(cpus)),
                cpus=None,
                log=log,
            )
            try:
                self._join_networks(project, name, conversation)
                yield conversation
            finally:
                conversation.end()

    def _join_networks(self, project: str, name: str, conversation: Conversation) -> None:
        """Connect a container beside the fleets to every fleet's network; each fleet has one of its own."""
        deadline = time.monotonic() + _BESIDE_S
        while (container := self._containers(project).get(SWARM)) is None or container.status != "running":
            if conversation.exit_code() is not None or time.monotonic() > deadline:
                raise EngineError(
                    f"the container {name} did not start; see its last lines below",
                    detail=process.tail(conversation.log, 10),
                )
            time.sleep(_POLL_S)
        with _engine_errors():
            for network in self._networks:
                self._client.networks.get(network).connect(container)

    def log(self, server: str, cores: int, *, follow: bool) -> Iterator[str]:
        container = self._containers(self._fleet_project(cores)).get(server)
        if container is None:
            raise not_up(server, cores)
        return logs.lines(_written(container, follow=follow))

    # --- leaving nothing behind

    @contextlib.contextmanager
    def _torn_down(self, project: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # The first failure is the one to report, not that of cleaning up after it.
            with contextlib.suppress(EngineError):
                self._remove(f"{_PROJECT_LABEL}={project}", project)
                # An interrupted command may have asked for a network that the engine makes only now.
                time.sleep(_AFTERMATH_S)
                self._remove(f"{_PROJECT_LABEL}={project}", project)
            raise
        self._remove(f"{_PROJECT_LABEL}={project}", project)

    def sweep(self) -> int:
        return self._remove(f"{LABEL}={self._lab_id}", f"wsgilab-{self._lab_id}-")

    def _remove(self, label: str, project_prefix: str) -> int:
        """Remove all containers with `label`, and the networks of projects that begin so. How many containers."""
        removed = 0
        with _engine_errors(), ThreadPoolExecutor(max_workers=8) as pool:
            # Again until there are none: the engine may still be making one that an interrupted command asked for.
            while containers := self._client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
                removed += sum(pool.map(_remove_container, containers))
            for network in self._client.networks.list(filters={"label": _PROJECT_LABEL}):
                if network.attrs["Labels"][_PROJECT_LABEL].startswith(project_prefix):
                    with contextlib.suppress(docker.errors.NotFound):
                        network.remove()
        return removed

    def clean(self) -> None:
        with _engine_errors():
            for image in self._client.images.list():
                if any(tag.startswith("wsgilab/") for tag in image.tags):
                    image.remove(force=True)
        self._prune()

    # --- speaking with the engine

    def _containers(self, project: str) -> dict[str, Any]:
        """Service -> container."""
        with _engine_errors():
            label = f"{_PROJECT_LABEL}={project}"
            found = self._client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
            return {container.labels[_SERVICE_LABEL]: container for container in found}

    def _fleet_project(self, cores: int) -> str:
        """The Compose project of the fleet with so many cores."""
        return f"wsgilab-{self._lab_id}-{cores}c"

    def _files(self) -> list[Path]:
        return [self._catalogue or self._project / "compose" / "compose.yaml"]

    def _swarm_files(self) -> list[Path]:
        return [self._project / "compose" / "compose.yaml"]

    def _argv(self, project: str, files: list[Path]) -> list[str]:
        argv = [self._engine.docker, "compose", "--project-name", project]
        argv += ["--project-directory", str(self._project / "compose")]
        for file in files:
            argv += ["--file", str(file)]
        return argv

    def _environment(self, cpus: str) -> dict[str, str]:
        return {
            **os.environ,
            "LAB_ID": self._lab_id,
            "LAB_SERVER_CPUS": cpus,
            "LAB_SWARM_CPUS": cpus,
            "LAB_PORTS": self._ports,
            "LAB_BASE_IMAGE": self._base_image(),
            "LAB_BIND": "",
            "COMPOSE_FILE": "",
        }

    def _compose(self, project: str, files: list[Path], words: list[str], *, cpus: str, timeout_s: float) -> Finished:
        try:
            return process.run(
                self._argv(project, files) + words,
                cwd=self._project,
                env=self._environment(cpus),
                timeout_s=timeout_s,
            )
        except (OSError, process.TooSlow) as error:
            raise EngineError(f"docker compose {words[0]}: {error}; does the engine still answer?") from None


def _written(container: Any, *, follow: bool) -> Iterator[bytes]:
    """What a container has written, and with `follow` what it still writes, in later starts too, until it is removed."""
    since = None
    with _engine_errors():
        try:
            while True:
                container.reload()
                started = container.attrs["State"]["StartedAt"]
                with contextlib.closing(container.logs(stream=True, follow=follow, since=since)) as stream:
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


def _remove_container(container: Any) -> bool:
    """Remove a container; False where it went by itself meanwhile, or is being removed already."""
    try:
        container.remove(force=True, v=True)
    except docker.errors.NotFound:
        return False
    except docker.errors.APIError as error:
        if error.status_code != http.HTTPStatus.CONFLICT:
            raise
        time.sleep(0.1)
        return False
    return True


@contextlib.contextmanager
def _engine_errors() -> Iterator[None]:
    """Turn the Docker library's errors into the lab's own."""
    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        cause = " ".join(str(error).split())[:200]
        raise EngineError(
            f"the Docker engine stopped answering, or refused: {cause}; see that it runs, and try again (a run goes on with --resume)"
        ) from None
