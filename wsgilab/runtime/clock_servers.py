"""The beacon's container on a machine of a site: asked once for what machine that is, or there for others to ask."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from wsgilab.model import Host
from wsgilab.model.errors import EngineError
from wsgilab.runtime import images
from wsgilab.runtime.command import Compose
from wsgilab.runtime.containers import engine_errors
from wsgilab.runtime.protocol import BEACON
from wsgilab.system.ports import bracketed
from wsgilab.system.process import Finished

PORT = 9000
"""Where it listens in its container."""

_MODULE = ("python3", "-S", "-E", "-m", "wsgilab.system.clock_server")
_ONCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What a machine tells of itself, from within a container that may use all of its engine's cores."""

    host: Host
    time: float
    """Its wall clock, seconds of the epoch."""
    clocksource: str
    boot: str
    """Another one after each start of the machine; the same for all engines of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What lies between two machines. `error` says why nothing is known, and is empty otherwise."""

    round_trip_ms: float = 0.0
    offset_ns: int = 0
    bandwidth_mbps: float = 0.0
    error: str = ""


_FACTS = TypeAdapter(MachineFacts)
_PROBED = TypeAdapter(Probed)


def build(compose: Compose) -> None:
    """Build the beacon's image, a matter of a second or two. Raises BuildError."""
    images.build(compose, BEACON, BEACON, compose.lab_files)


def facts(compose: Compose, project: str) -> MachineFacts:
    """What machine the engine runs on. Raises EngineError."""
    try:
        return _FACTS.validate_json(_once(compose, project, ["host"]))
    except ValidationError as error:
        raise EngineError(f"the beacon said what was not agreed: {error.errors()[0]['msg']}") from None


def probe(compose: Compose, project: str, host: str, port: int) -> Probed:
    """What lies between the engine's machine and a beacon at `host:port`. Raises EngineError where it cannot ask."""
    try:
        return _PROBED.validate_json(_once(compose, project, ["probe", host, str(port)]))
    except ValidationError as error:
        raise EngineError(f"the beacon said what was not agreed: {error.errors()[0]['msg']}") from None


def serve(compose: Compose, project: str, publish: str, ports: str) -> int:
    """Start a beacon that serves until its project is removed; the port at which it is published. Raises EngineError."""
    options = ["--detach", "--publish", f"{bracketed(publish)}:{ports}:{PORT}"]
    finished = compose.run(
        project,
        compose.lab_files,
        *_run(options),
        *("serve", str(PORT)),
        cpus="0",
        timeout_s=_ONCE_S,
    )
    if finished.code != 0:
        raise EngineError(f"the beacon did not start: {_refusal(finished)}", detail=finished.stderr)
    with engine_errors():
        label = f"com.docker.compose.project={project}"
        [container] = compose.client.containers.list(filters={"label": label})
        return int(container.attrs["NetworkSettings"]["Ports"][f"{PORT}/tcp"][0]["HostPort"])


def _refusal(finished: Finished) -> str:
    """What the engine has against it, where it says so; Compose's last words are but that it failed."""
    said = "Error response from daemon: "
    refusals = [line.strip() for line in finished.stderr.splitlines() if line.strip().startswith(said)]
    return refusals[-1].removeprefix(said).rpartition("): ")[2] if refusals else finished.last_line


def _run(options: Sequence[str]) -> list[str]:
    return ["--profile", BEACON, "run", "--no-deps", "--no-TTY", *options, BEACON, *_MODULE]


def _once(compose: Compose, project: str, words: Sequence[str]) -> str:
    """What it prints, in a line; also where it says that there is an error."""
    finished = compose.run(project, compose.lab_files, *_run(["--rm"]), *words, cpus="0", timeout_s=_ONCE_S)
    lines = finished.stdout.strip().splitlines()
    if not lines or not _is_object(lines[-1]):
        raise EngineError(f"the beacon did not run: {finished.last_line}", detail=finished.stderr)
    return lines[-1]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
