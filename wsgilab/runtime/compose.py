"""The runtime `compose`: the catalogue's services as containers, by Docker Compose and the engine's own API."""

import contextlib
import http
import itertools
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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
from wsgilab.runtime.engine import Engine
from wsgilab.runtime.protocol import Fleet, Say, verify_pinning

LABEL = "wsgilab.lab"
IMAGE_LABEL = "wsgilab.image"
_PROJECT_LABEL = "com.docker.compose.project"
PORT = "8000/tcp"
OWN_BASE = "wsgilab-base:trixie"
"""A base image of the user's own; taken where no other is named and no registry image is at hand."""
DEFAULT_BASE = "python:3.13-slim-trixie"
SWARM = "swarm"

_RUN_SWARM = ("--profile", SWARM, "run", "--rm", "--no-TTY", "--no-deps", SWARM)
_API_S = 30
_BUILD_S = 900.0
_UP_S = 180.0
_DOWN_S = 60.0


class ContainerTarget:
    """A server as a container."""

    def __init__(self, server: Server, container: Any, address: str, published_url: str) -> None:
        self.server = server
        self.base_url = f"http://{address}:8000"
        self.published_url = published_url
        self._container = container

    def failure(self) -> str | None:
        with _engine_errors():
            self._container.reload()
            state = self._container.attrs["State"]
        if state["Running"]:
            return None
        return "killed for lack of memory" if state.get("OOMKilled") else f"ended with exit code {state['ExitCode']}"

    def log_tail(self, lines: int = 10) -> str:
        with _engine_errors():
            return str(self._container.logs(tail=lines).decode(errors="replace")).strip("\n")

    def effective_cpus(self) -> frozenset[int]:
        """Read from inside the container, so that it works whichever machine the engine runs on."""
        with _engine_errors():
            _, output = self._container.exec_run(["sh", "-c", "cat /proc/[0-9]*/task/[0-9]*/status 2>/dev/null"])
        found = set(re.findall(r"^Cpus_allowed_list:\s*(\S+)$", output.decode(), re.MULTILINE))
        if len(found) != 1:
            raise TargetError(f"{self.server.name}: its processes run on different cores: {sorted(found) or 'unknown'}")
        return cpusets.parse(found.pop())

    def usage(self) -> Usage:
        with _engine_errors():
            stats = self._container.client.api.stats(self._container.id, stream=False, one_shot=True)
        memory = stats.get("memory_stats", {})
        details = memory.get("stats", {})
        # As `docker stats` counts it: without the page cache that can be dropped (cgroup v1, then v2).
        cache = details.get("total_inactive_file", details.get("inactive_file", 0))
        return Usage(
            cpu_s=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
            resident_bytes=max(0, memory.get("usage", 0) - cache),
        )


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
        self._swarms = itertools.count(1)
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
        project = f"wsgilab-{self._lab_id}-{len(cpus)}c"
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
            fleet = {server.name: self._target(server, containers[server.name], network) for server in servers}
            verify_pinning(fleet, cpus)
            self._networks.append(network)
            try:
                yield fleet
            finally:
                self._networks.remove(network)

    def _target(self, server: Server, container: Any, network: str) -> ContainerTarget:
        with _engine_errors():
            container.reload()
            settings = container.attrs["NetworkSettings"]
        published = settings["Ports"][PORT][0]
        return ContainerTarget(
            server,
            container,
            settings["Networks"][network]["IPAddress"],
            f"http://{published['HostIp']}:{published['HostPort']}",
        )

    def _start_error(self, up: Finished, containers: Mapping[str, Any]) -> LabError:
        if re.search(r"port is already allocated|address already in use|all ports are allocated", up.stderr):
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

    @contextlib.contextmanager
    def swarm(self, cpus: frozenset[int]) -> Iterator[Conversation]:
        project = f"wsgilab-{self._lab_id}-swarm-{next(self._swarms)}"
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._torn_down(project):
            conversation = Conversation(
                [*self._argv(project, self._swarm_files()), *_RUN_SWARM],
                cwd=self._project,
                env=self._environment(cpusets.spell(cpus)),
                cpus=None,
                log=self._logs / "swarm.log",
            )
            try:
                self._join_networks(project)
                yield conversation
            finally:
                conversation.end()
                (self._logs / "swarm.log").unlink(missing_ok=True)

    def _join_networks(self, project: str) -> None:
        """Connect the swarm's container to every fleet's network; each fleet has one of its own."""
        for _ in range(200):
            container = self._containers(project).get(SWARM)
            if container is not None and container.status == "running":
                break
            time.sleep(0.1)
        else:
            raise EngineError(
                "the generator's container did not start within 20 s",
                detail=process.tail(self._logs / "swarm.log", 10),
            )
        with _engine_errors():
            for network in self._networks:
                self._client.networks.get(network).connect(container)

    # --- leaving nothing behind

    @contextlib.contextmanager
    def _torn_down(self, project: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # The first failure is the one to report, not that of cleaning up after it.
            with contextlib.suppress(EngineError):
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
            while containers := self._client.containers.list(all=True, filters={"label": label}):
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
            found = self._client.containers.list(all=True, filters={"label": f"{_PROJECT_LABEL}={project}"})
            return {container.labels["com.docker.compose.service"]: container for container in found}

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
            f"the Docker engine stopped answering, or refused: {cause}; see that it runs, then go on with --resume"
        ) from None
