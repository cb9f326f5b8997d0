"""The clock server's container on a machine of a site: run once for one answer, or kept up for other machines."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from wsgilab.model import Host
from wsgilab.model.errors import EngineError
from wsgilab.runtime import images
from wsgilab.runtime.command import CONFINED, Compose
from wsgilab.runtime.containers import engine_errors
from wsgilab.runtime.protocol import CLOCK_SERVER
from wsgilab.runtime.removal import LAB_LABEL, PROJECT_LABEL, SERVICE_LABEL, containers_of
from wsgilab.system import cpus
from wsgilab.system.ports import bracketed
from wsgilab.system.process import Finished

PORT = 9000
"""Where it listens in its container."""

_MODULE = ("python3", "-S", "-E", "-m", "wsgilab.system.clock_server")
_ONCE_S = 60.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """Facts of a machine, read within a container that may use all of its engine's cores."""

    host: Host
    time: float
    """Its wall clock, seconds of the epoch."""
    clocksource: str
    boot: str
    """Another one after each start of the machine; the same for all engines of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The network between two machines. `error` says why nothing is known, and is empty otherwise."""

    round_trip_ms: float = 0.0
    offset_ns: int = 0
    bandwidth_mbps: float = 0.0
    error: str = ""


def build(compose: Compose) -> None:
    """Build the clock server's image if it is not built yet, a matter of a second or two. Raises BuildError."""
    images.build(compose, CLOCK_SERVER, CLOCK_SERVER, compose.lab_files)


def facts(compose: Compose, project: str) -> MachineFacts:
    """The facts of the machine that the engine runs on. Raises EngineError."""
    return _answer(_asked(compose, project, "host"), TypeAdapter(MachineFacts))


def busy(compose: Compose, project: str, cores: Collection[int], seconds: float) -> Mapping[int, float]:
    """As `host.busy`, of cores of the machine that the engine runs on. Raises EngineError."""
    words = ("busy", cpus.spell(cores), f"{seconds:g}")
    return _answer(_asked(compose, project, *words), TypeAdapter(dict[int, float]))


def available_bytes(compose: Compose, project: str) -> int:
    """As `host.available_bytes`, of the machine that the engine runs on. Raises EngineError."""
    return _answer(_asked(compose, project, "memory"), TypeAdapter(dict[str, int]))["available_bytes"]


def _asked(compose: Compose, project: str, *words: str) -> Finished:
    """What a clock server prints that is called with `words`, in a container that is nobody's but its own."""
    # Not by Compose: it would first make a network, which takes longer than the answer, and for which there is no use.
    with engine_errors():
        container = compose.client.containers.create(
            compose.image(CLOCK_SERVER),
            [*_MODULE, *words],
            labels={LAB_LABEL: compose.lab_id, PROJECT_LABEL: project, SERVICE_LABEL: CLOCK_SERVER},
            name=f"{project}-{words[0]}",
            **CONFINED,
        )
        container.start()
        code = container.wait(timeout=_ONCE_S)["StatusCode"]
        stdout, stderr = (container.logs(stdout=out, stderr=not out).decode(errors="replace") for out in (True, False))
    return Finished(code=code, stdout=stdout, stderr=stderr)


def probe(compose: Compose, project: str, host: str, port: int) -> Probed:
    """Measure the network between the engine's machine and a clock server at `host:port`.

    Raises EngineError where the container does not run; an unreachable clock server is part of the answer.
    """
    return _answer(_run(compose, project, ["--rm"], ["probe", host, str(port)]), TypeAdapter(Probed))


def serve(compose: Compose, project: str, publish: str, ports: str) -> int:
    """Start a clock server that runs until its project is removed; the port at which it is published. Raises EngineError."""
    options = ["--detach", "--publish", f"{bracketed(publish)}:{ports}:{PORT}"]
    finished = _run(compose, project, options, ["serve", str(PORT)])
    if finished.code != 0:
        raise EngineError(f"the clock server did not start: {_refusal(finished)}", detail=finished.stderr)
    for container in containers_of(compose.client, project).values():
        if container.status == "running":
            return int(container.attrs["NetworkSettings"]["Ports"][f"{PORT}/tcp"][0]["HostPort"])
    raise EngineError("the clock server has ended right after its start", detail=finished.stderr)


def _refusal(finished: Finished) -> str:
    """The engine's error, where it reports one; Compose's own last line only says that it failed."""
    begin = "Error response from daemon: "
    refusals = [line.strip() for line in finished.stderr.splitlines() if line.strip().startswith(begin)]
    return refusals[-1].removeprefix(begin).rpartition("): ")[2] if refusals else finished.last_line


def _answer(finished: Finished, adapter: "TypeAdapter[Answer]") -> Answer:
    """The JSON object in the last line that it has printed, an error included."""
    lines = finished.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1] if lines else "")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EngineError(f"the clock server did not run: {finished.last_line}", detail=finished.stderr)
    try:
        return adapter.validate_json(lines[-1])
    except ValidationError as error:
        raise EngineError(f"the clock server's answer is not as agreed: {error.errors()[0]['msg']}") from None


def _run(compose: Compose, project: str, options: Sequence[str], words: Sequence[str]) -> Finished:
    argv = ["--profile", CLOCK_SERVER, "run", "--no-deps", "--no-TTY", *options, CLOCK_SERVER, *_MODULE, *words]
    return compose.run(project, compose.lab_files, *argv, cpus="0", timeout_s=_ONCE_S)
