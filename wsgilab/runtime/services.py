"""Services of a Compose file of the user's own, as a Compose project of the lab's own.

What Compose reads in the file is the model. Of it the lab takes the services that are asked for and what they depend on, and leaves out
what would reach beyond the project: names of containers, published ports, restarts, networks, named volumes, writing to the user's
files. So it runs beside the user's own project, and goes with the lab.
"""

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker.errors

from wsgilab.model import Backend
from wsgilab.model.errors import BuildError, EngineError, TargetError, UsageError
from wsgilab.runtime.command import OWN, Compose, docker_client
from wsgilab.runtime.containers import POLL_S, ContainerBackend, engine_errors
from wsgilab.runtime.images import LABEL, pull
from wsgilab.runtime.protocol import Say
from wsgilab.runtime.removal import LAB_LABEL, containers_of
from wsgilab.runtime.starting import Address, wait_until_ready
from wsgilab.system import cpus as cpusets

READY_S = 60.0
"""How long a service may take until it is healthy, or runs where it has no health check."""

RUNS_S = 1.5
"""A service without a health check counts as ready once it has run so long: what cannot start ends sooner than that."""

_CONFIG_S = 30.0
_BUILD_S = 900.0
_UP_S = 120.0
_LEFT_OUT = frozenset(
    # Beyond the project, or against the pinning.
    {
        "container_name",
        "ports",
        "restart",
        "deploy",
        "scale",
        "profiles",
        "networks",
        "develop",
        "logging",
        "pull_policy",
    }
    | {"cpus", "cpuset", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime"}
)
_HEALTH = {
    # As with the lab's own backends: only the start is checked often.
    "interval": "1h",
    "start_period": f"{READY_S:.0f}s",
    "start_interval": "500ms",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What is started of a Compose file."""

    file: str
    """The user's."""
    document: Mapping[str, Any] = field(repr=False)
    """What Compose is given in its place. It may have secrets."""
    names: Collection[str]
    """The services that requests wait for; `document` has what they depend on too."""


def read(compose: Compose, backends: Collection[Backend]) -> Services:
    """Those of `backends` that a Compose file has: some, of one file. Raises UsageError and EngineError."""
    names = {each.name: each.compose for each in backends if each.compose}
    file = next(iter(names.values()))
    model = _model(compose, file)
    known = model.get("services") or {}
    for name in names:
        if name not in known:
            raise UsageError(f"{file}: has no service {name}; it has {', '.join(sorted(known)) or 'none'}")
    used: dict[str, Mapping[str, Any]] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name not in used and name in known:
            used[name] = known[name]
            waiting += known[name].get("depends_on") or {}
    document = {
        "services": {name: _service(compose, file, name, each, used) for name, each in used.items()},
        "networks": {"default": {}},
        # Those of the project, and empty: the user's own are never touched.
        "volumes": {name: {} for name in model.get("volumes") or {}},
        **{
            kind: {name: _kept(each) for name, each in (model.get(kind) or {}).items()}
            for kind in ("secrets", "configs")
        },
    }
    return Services(file=file, document=document, names=tuple(names))


def install(compose: Compose, services: Services, folder: Path, say: Say) -> Mapping[str, str]:
    """Build or pull the images. The digests of the file and of these, by name, as a run records them. Raises BuildError."""
    found: dict[str, Any] = dict(services.document["services"])
    built = [name for name, each in found.items() if "build" in each]
    compose.kept |= {found[name]["image"] for name in built}
    if built:
        say(f"Building {', '.join(built)} of {services.file} ...")
        with _written(services, folder) as file:
            words = ["--progress", "plain", "build", *built]
            finished = compose.run("build", [file], *words, cpus="0", timeout_s=_BUILD_S)
        if finished.code != 0:
            raise BuildError(
                f"{services.file}: {', '.join(built)}: does not build: {finished.last_line}; see its last lines below",
                detail=finished.last_lines,
            )
    digests = {f"({services.file})": hashlib.sha256(Path(services.file).read_bytes()).hexdigest()}
    for name, each in found.items():
        if name not in built:
            pull(compose, each["image"], f"of {name} in {services.file} ", "build it, or name another there", say)
        with engine_errors():
            image = compose.client.images.get(each["image"]).attrs
        if image["Config"].get("Healthcheck") and "healthcheck" not in each:
            each["healthcheck"] = dict(_HEALTH)
        layers = "\n".join(image["RootFS"]["Layers"])
        digests[f"(image of {name})"] = hashlib.sha256(layers.encode()).hexdigest()
    return digests


@contextlib.contextmanager
def up(
    compose: Compose, services: Services, project: str, folder: Path, cpus: frozenset[int]
) -> Iterator[Mapping[str, "ServiceContainer"]]:
    """Services that are up and pinned, by name. The caller removes the project. Raises TargetError with the last lines of the log of
    what does not come up."""
    try:
        with _written(services, folder) as file:
            words = ["up", "--detach", "--no-build", "--pull", "never", *services.names]
            finished = compose.run(project, [file], *words, cpus=cpusets.spell(cpus), timeout_s=_UP_S)
        failure = finished.last_line.removeprefix("Error response from daemon: ") if finished.code != 0 else ""
    except EngineError:
        failure = f"what they depend on did not get ready within {_UP_S:.0f} s"
    containers = containers_of(compose.client, project)
    if failure:
        raise TargetError(f"{services.file}: services did not start: {failure}", detail=_blamed(containers))
    found = {
        name: ServiceContainer(Backend(name=name, compose=services.file), cpus, containers[name])
        for name in services.names
    }
    wait_until_ready(found.values(), cpus, POLL_S, READY_S + POLL_S * 10)
    yield found


class ServiceContainer(ContainerBackend):
    """A service of the user's own as a container. Nobody knows where it listens: its health check says whether it can be used."""

    _start: tuple[str, float] = ("", 0.0)
    """Its start as the engine has it, and when that was first seen: the clock of the engine's machine may be wrong."""

    def is_ready(self) -> bool:
        state = self._container.attrs["State"]
        health = (state.get("Health") or {}).get("Status") or "none"
        if self._start[0] != state["StartedAt"]:
            self._start = state["StartedAt"], time.monotonic()
        age_s = time.monotonic() - self._start[1]
        if health == "none":
            return age_s > RUNS_S
        if health == "healthy":
            return True
        if health == "unhealthy" or age_s > READY_S:
            raise TargetError(
                f"{self.backend.compose}: {self.name} did not get healthy within {READY_S:.0f} s of its start; see its last lines "
                "below",
                detail=self.log_tail(),
            )
        return False

    def listening(self) -> Collection[Address]:
        return ()


# --- what the file says


def _model(compose: Compose, file: str) -> Mapping[str, Any]:
    """The file as Compose reads it, with what it includes and extends, its variables filled in, its paths absolute."""
    if not Path(file).is_file():
        raise UsageError(f"backends: {file}: is no file; name a Compose file, relative to the application file")
    words = ["compose", "--project-name", "wsgilab", "--file", file, "--profile", "*", "config", "--format", "json"]
    finished = docker_client(compose, *words, timeout_s=_CONFIG_S, COMPOSE_FILE="")
    if finished.code != 0:
        raise UsageError(f"backends: {file}: {finished.last_line}")
    found: Mapping[str, Any] = json.loads(finished.stdout)
    return found


def _service(
    compose: Compose, file: str, name: str, given: Mapping[str, Any], used: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """A service as it is started. Raises UsageError where it would reach beyond the project."""
    where = f"{file}: {name}"
    found = {key: value for key, value in given.items() if key not in _LEFT_OUT and value is not None}
    mode = found.pop("network_mode", None)
    if mode is not None and not mode.startswith(("service:", "none")):
        if mode not in ("bridge", "default"):
            raise UsageError(f"{where}: network_mode {mode}: is not the project's own network; leave it out")
        mode = None
    outside = [each for each in found.get("volumes_from") or () if str(each).startswith("container:")]
    for key, each in {"volumes_from": outside, "external_links": found.get("external_links")}.items():
        if each:
            raise UsageError(
                f"{where}: {key}: {each[0]}: is a container of another project; name a service of the file"
            )
    found["cpuset"] = "${LAB_BACKEND_CPUS}"
    found["restart"] = "no"
    found["labels"] = {**(found.get("labels") or {}), LAB_LABEL: compose.lab_id}
    if mode is not None:
        found["network_mode"] = mode
    else:
        networks = (given.get("networks") or {}).values()
        aliases = sorted({alias for each in networks for alias in (each or {}).get("aliases") or ()})
        found["networks"] = {"default": {"aliases": aliases} if aliases else {}}
    if depends_on := found.pop("depends_on", None):
        found["depends_on"] = {
            other: {"condition": each.get("condition", "service_started")}
            for other, each in depends_on.items()
            if other in used
        }
    if build := found.get("build"):
        place = hashlib.sha256(str(Path(file).absolute()).encode()).hexdigest()[:12]
        # Not by the user's own name for it, which may be another image.
        found["image"] = f"{OWN}/own-service-{name.lower()}:{place}-{compose.checkout}"
        kept = {key: value for key, value in build.items() if key != "tags"}
        found["build"] = {**kept, "labels": {**(kept.get("labels") or {}), LABEL: compose.checkout}}
    elif not found.get("image"):
        raise UsageError(f"{where}: has neither image nor build; give it one")
    if (health := found.get("healthcheck")) and not health.get("disable"):
        found["healthcheck"] = {**health, **_HEALTH}
    if volumes := found.get("volumes"):
        found["volumes"] = [_mount(each, where) for each in volumes]
    return found


def _mount(given: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """A mount that writes nothing of the user's. Raises UsageError where it cannot be one."""
    if given["type"] != "bind":
        return given
    source = str(given["source"])
    try:
        kind = os.stat(source).st_mode  # noqa: PTH116 - both kinds at once
    except OSError as error:
        raise UsageError(f"{where}: volumes: {source}: {error.strerror}; make it, or leave it out") from None
    if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
        raise UsageError(
            f"{where}: volumes: {source}: is neither a file nor a folder, and read-only would not keep it from harm; leave it out"
        )
    bind = {**(given.get("bind") or {}), "create_host_path": False}
    return {**given, "read_only": True, "bind": bind}


def _kept(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A secret or a config without its name in the user's own project."""
    return {key: value for key, value in given.items() if key != "name"}


@contextlib.contextmanager
def _written(services: Services, folder: Path) -> Iterator[Path]:
    """The document as a file, for as long as Compose reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "services.yaml"
    file.touch(mode=0o600)
    try:
        file.write_text(json.dumps(services.document))
        yield file
    finally:
        file.unlink()


# --- containers


def _blamed(containers: Mapping[str, Any]) -> str:
    """The last lines of the container that is to blame: one that has failed, or is not healthy."""
    for each in containers.values():
        state = each.attrs["State"]
        health = (state.get("Health") or {}).get("Status")
        if state.get("ExitCode") or health in ("starting", "unhealthy"):
            with contextlib.suppress(docker.errors.APIError):
                return str(each.logs(tail=10).decode(errors="replace")).strip("\n")
    return ""
