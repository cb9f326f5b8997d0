"""Finding a Docker engine and a client with Compose, on this machine or another.

A machine without one is a normal case, and gets a reason. The client, Compose and Docker's library are always given the
engine's endpoint explicitly: nothing depends on which context is the current one.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from wsgilab.experiment.site import plain_tcp_refusal, ssh_address
from wsgilab.model import SiteMachine
from wsgilab.model.errors import EngineError
from wsgilab.runtime.tunnel import Tunnel, tunnel
from wsgilab.system import process

OLDEST_ENGINE = 25
"""The first with `start_interval` for health checks, which the catalogue uses."""

CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")
"""The files of a folder for TLS, as Docker's client expects them."""

_ANSWER_S = 15.0
_IN_MEMORY = "<IN MEMORY>"
"""What the client prints for the folder of the context `default`, which is made from variables."""
_CHOICE = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
"""The variables with which a user chooses an engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an engine is reached, and with which certificates."""

    host: str
    """`unix://` or `tcp://`."""
    tls: str = ""
    """The folder of its CERTIFICATES; empty where there are none."""

    def environment(self) -> dict[str, str]:
        """This process' variables, changed so that Docker's client and Compose use this engine and no other."""
        kept = {key: value for key, value in os.environ.items() if key not in _CHOICE}
        with_tls = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": self.tls} if self.tls else {}
        return {**kept, "DOCKER_HOST": self.host, **with_tls, **self._not_by_proxy(kept)}

    def _not_by_proxy(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Variables that keep Docker's client from using a proxy for the engine; it may still use one for registries."""
        address = urlsplit(self.host)
        if address.scheme != "tcp" or not address.hostname:
            return {}
        given = variables.get("NO_PROXY") or variables.get("no_proxy") or ""
        without = ",".join([*filter(None, [given]), address.hostname])
        return {"NO_PROXY": without, "no_proxy": without}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A Docker engine that answers, and how to use it."""

    docker: str
    """The client's path: the first on PATH that has Compose."""
    address: str
    """As the user gave it; `ssh://...` where it is reached so."""
    endpoint: Endpoint
    version: str
    compose: str
    tunnel: Tunnel | None = None
    """What forwards it here, where it is reached by SSH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoEngine:
    """Why there is no engine, and what to do about it."""

    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """A Docker context, as its client describes it."""

    host: str
    tls: str
    """The folder of all the CERTIFICATES; empty where there is none."""
    verified: bool
    """Whether its client would verify the engine's certificate."""


def find() -> Engine | NoEngine:
    """The engine of the current Docker context, or why it cannot be used. Never raises."""
    client = _client()
    if isinstance(client, NoEngine):
        return client
    docker, compose = client
    context = _context(docker)
    # DOCKER_HOST counts, even where the client cannot make sense of it.
    address = context.host if isinstance(context, _Context) else os.environ.get("DOCKER_HOST", "")
    if address.startswith("ssh://"):
        return NoEngine(
            reason=f"{address} is the engine of another machine", remedy="name it in a site file, and that with --site"
        )
    endpoint = Endpoint(host=address, tls=context.tls if isinstance(context, _Context) else "")
    version = _version(docker, endpoint)[0] if address else ""
    if not version:
        return NoEngine(
            reason=f"no Docker engine answers at {address or 'the current context'}",
            remedy="start it (Docker Desktop, or systemctl start docker), or point DOCKER_HOST or docker context at one that runs",
        )
    if _too_old(version):
        return NoEngine(reason=_too_old(version), remedy="install a newer Docker Engine")
    return Engine(docker=docker, address=address, endpoint=endpoint, version=version, compose=compose)


@contextlib.contextmanager
def reach(machine: SiteMachine) -> Iterator[Engine]:
    """The engine of a machine of a site. Raises EngineError with the machine's name and the remedy."""
    client = _client()
    if isinstance(client, NoEngine):
        raise EngineError(f"{machine.name}: {client.reason}; {client.remedy}")
    docker, compose = client
    named = _named(docker, machine)
    with contextlib.ExitStack() as up:
        through = up.enter_context(tunnel(machine.name, named.host)) if named.host.startswith("ssh://") else None
        endpoint = Endpoint(host=f"unix://{through.socket}") if through else named
        version, cause = _version(docker, endpoint)
        if not version:
            raise _unanswered(machine.name, named.host, cause, through)
        if _too_old(version):
            raise EngineError(f"{machine.name}: {_too_old(version)}; install a newer Docker Engine there")
        yield Engine(
            docker=docker, address=named.host, endpoint=endpoint, version=version, compose=compose, tunnel=through
        )


def _named(docker: str, machine: SiteMachine) -> Endpoint:
    """The endpoint that a machine's `engine` names; its host may begin with `ssh://`. Raises EngineError."""
    if "://" in machine.engine:
        context = _Context(host=machine.engine, tls=machine.tls, verified=True)
    else:
        found = _context(docker, machine.engine)
        if isinstance(found, str):
            raise EngineError(
                f"{machine.name}: no Docker context {machine.engine!r} ({found}); make one with docker context create, "
                "or name the engine by its address"
            )
        context = found
    kind = context.host.partition("://")[0]
    if kind == "tcp" and not (context.tls and context.verified) and not machine.plain_tcp:
        raise EngineError(f"{machine.name}: {plain_tcp_refusal(context.host)}")
    if kind not in ("unix", "ssh", "tcp"):
        raise EngineError(
            f"{machine.name}: the engine of context {machine.engine!r} is at {context.host}, which cannot be used; "
            "name one at unix://, ssh:// or tcp://"
        )
    if kind == "ssh":
        try:
            ssh_address(context.host)
        except ValueError as error:
            raise EngineError(f"{machine.name}: {error}; change the Docker context {machine.engine!r}") from None
    tls = str(Path(context.tls).absolute()) if context.tls and context.verified else ""
    for name in CERTIFICATES if tls else ():
        if not Path(tls, name).is_file():
            raise EngineError(
                f"{machine.name}: the folder {context.tls} lacks {name}; tls needs {', '.join(CERTIFICATES)}"
            )
    return Endpoint(host=context.host, tls=tls)


def _unanswered(name: str, address: str, cause: str, through: Tunnel | None) -> EngineError:
    remedy = "start it there, and let this machine reach it"
    if through:
        cause = through.complaint() or cause
        remedy = "start it there; the user has to be in its group docker, and ssh to be allowed to forward sockets"
    return EngineError(f"{name}: no Docker engine answers at {address} ({cause}); {remedy}")


def _context(docker: str, *name: str) -> _Context | str:
    """The context of that name, or the current one without a name; where there is none, the client's error."""
    try:
        finished = process.run([docker, "context", "inspect", *name, "--format", "json"], timeout_s=_ANSWER_S)
        if finished.code != 0:
            return finished.last_line
        # An older client gives a line for each, a newer one a list of them.
        found = json.loads(finished.stdout)
        (context,) = found if isinstance(found, list) else [found]
        endpoint, material, storage = context["Endpoints"]["docker"], context["TLSMaterial"], context["Storage"]
        host, verified = str(endpoint["Host"]), not endpoint.get("SkipTLSVerify")
        has_all = set(CERTIFICATES) <= set((material or {}).get("docker", []))
        tls = str(storage["TLSPath"]) if has_all else ""
    except (OSError, process.TooSlow) as error:
        return str(error)
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its client does not show its address"
    return _Context(host=host, tls=_folder(tls) if tls else "", verified=verified)


def _folder(tls: str) -> str:
    """The folder of a context's certificates, where its client names `tls` as the folder above."""
    if tls != _IN_MEMORY:
        return str(Path(tls, "docker"))
    usual = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    return os.environ.get("DOCKER_CERT_PATH") or usual


def _version(docker: str, endpoint: Endpoint) -> tuple[str, str]:
    """An engine's version, or else why there is none."""
    try:
        finished = process.run(
            [docker, "version", "--format", "{{.Server.Version}}"], timeout_s=_ANSWER_S, env=endpoint.environment()
        )
    except (OSError, process.TooSlow) as error:
        return "", str(error)
    if finished.code != 0:
        return "", finished.last_line
    return finished.stdout.strip(), "it does not report its version"


def _too_old(version: str) -> str:
    """What is wrong with an engine of that version; empty where nothing is."""
    first = version.partition(".")[0]
    if first.isdecimal() and int(first) >= OLDEST_ENGINE:
        return ""
    return f"Docker Engine {version} is older than {OLDEST_ENGINE}"


def _client() -> tuple[str, str] | NoEngine:
    """The first docker client on PATH that has Compose, and its version."""
    clients = _clients()
    if not clients:
        return NoEngine(reason="no docker client on PATH", remedy="install Docker Engine with its Compose plug-in")
    for each in clients:
        if compose := _compose_version(each):
            return each, compose
    return NoEngine(
        reason=f"the docker client {clients[0]} has no Compose plug-in",
        remedy="install Compose v2, in Debian the package docker-compose, elsewhere docker-compose-plugin",
    )


def _compose_version(client: str) -> str:
    """The version of a client's Compose; empty where it has none. A client that has one is asked once: it takes three processes
    and longer than any other question to it."""
    key = client, Path(client).stat().st_mtime_ns
    if key not in _KNOWN and (found := _output(client, "compose", "version", "--short")):
        _KNOWN[key] = found
    return _KNOWN.get(key, "")


_KNOWN: dict[tuple[str, int], str] = {}
"""A client's path, and when it was written -> the version of its Compose."""


def _clients() -> list[str]:
    """Every docker client on PATH: an old one without plug-ins may come before a complete one."""
    found = (Path(folder) / "docker" for folder in os.environ.get("PATH", os.defpath).split(os.pathsep))
    return list(dict.fromkeys(str(path) for path in found if path.is_file() and os.access(path, os.X_OK)))


def _output(*argv: str) -> str:
    """The output of a command; empty where it fails."""
    try:
        finished = process.run(argv, timeout_s=_ANSWER_S)
    except (OSError, process.TooSlow):
        return ""
    return finished.stdout.strip() if finished.code == 0 else ""
