"""Finding a Docker engine and a client with Compose. That there is none is a normal case, and has a reason."""

import os
from dataclasses import dataclass
from pathlib import Path

from wsgilab import process

OLDEST_ENGINE = 25
"""The first with `start_interval` for health checks, which the catalogue uses."""

_ANSWER_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A Docker engine that answers, and how to speak with it."""

    docker: str
    """The client's path: the first on PATH that has Compose."""
    address: str
    version: str
    compose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoEngine:
    """Why there is none, and what to do about it."""

    reason: str
    remedy: str


def find() -> Engine | NoEngine:
    """The engine of the current Docker context, or why it cannot be used. Never raises."""
    clients = _clients()
    if not clients:
        return NoEngine(reason="no docker client on PATH", remedy="install Docker Engine with its Compose plug-in")
    docker, compose = next(((each, found) for each in clients if (found := _compose(each))), ("", ""))
    if not docker:
        return NoEngine(
            reason=f"the docker client {clients[0]} has no Compose plug-in",
            remedy="install Compose v2, in Debian the package docker-compose, elsewhere docker-compose-plugin",
        )
    address = os.environ.get("DOCKER_HOST") or _say(
        docker, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"
    )
    version = _say(docker, "version", "--format", "{{.Server.Version}}")
    if not address or not version:
        return NoEngine(
            reason=f"no Docker engine answers at {address or 'the current context'}",
            remedy="start it (systemctl start docker), or point DOCKER_HOST or docker context at one that runs",
        )
    if int(version.split(".")[0]) < OLDEST_ENGINE:
        return NoEngine(
            reason=f"Docker Engine {version} is older than {OLDEST_ENGINE}", remedy="install a newer Docker Engine"
        )
    return Engine(docker=docker, address=address, version=version, compose=compose)


def _clients() -> list[str]:
    """Every docker client on PATH: an old one without plug-ins may stand before a whole one."""
    found = (Path(folder) / "docker" for folder in os.environ.get("PATH", os.defpath).split(os.pathsep))
    return list(dict.fromkeys(str(path) for path in found if path.is_file() and os.access(path, os.X_OK)))


def _compose(docker: str) -> str:
    return _say(docker, "compose", "version", "--short")


def _say(*argv: str) -> str:
    """What a command prints; empty where it fails."""
    try:
        finished = process.run(argv, timeout_s=_ANSWER_S)
    except (OSError, process.TooSlow):
        return ""
    return finished.stdout.strip() if finished.code == 0 else ""
