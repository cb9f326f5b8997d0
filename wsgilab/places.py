"""Where a lab's files are, which runtime it has there, and that it is the only one at work."""

import contextlib
import fcntl
import hashlib
import os
import signal
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from wsgilab import catalogue, standing
from wsgilab.errors import EngineError, HostError, Interrupted, LabError, SpecError
from wsgilab.model import Backend, Server, SiteMachine
from wsgilab.runtime import engine as engines
from wsgilab.runtime.engine import Engine, NoEngine
from wsgilab.runtime.local import LocalRuntime
from wsgilab.runtime.ports import port_range
from wsgilab.runtime.protocol import SWARM, Runtime
from wsgilab.workloads import backends as backends_of

if TYPE_CHECKING:
    from wsgilab.runtime.compose import ComposeRuntime

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the lab's files are."""

    project: Path
    catalogue: Path
    results: Path
    state: Path
    """Environments and logs; two labs with different states know nothing of each other."""
    ports: str
    """A range of ports to publish servers at; empty for any."""
    share_cores: bool = False
    """Whether other labs may use the same cores at the same time; their figures are disturbed then, and say so."""

    @property
    def lab_id(self) -> str:
        """Tells this lab's processes and containers from any other's."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]


def places(environment: Mapping[str, str] = os.environ) -> Places:
    """The checkout's own places, or those that LAB_CATALOGUE, LAB_RESULTS, LAB_STATE and LAB_PORTS name; with LAB_SHARE_CORES
    cores are shared with other labs."""

    def named(variable: str, default: Path) -> Path:
        return Path(environment.get(variable) or default).absolute()

    return Places(
        project=PROJECT,
        catalogue=named("LAB_CATALOGUE", PROJECT / "compose" / "servers.yaml"),
        results=named("LAB_RESULTS", PROJECT / "results"),
        state=named("LAB_STATE", PROJECT / ".lab"),
        ports=environment.get("LAB_PORTS", ""),
        share_cores=bool(environment.get("LAB_SHARE_CORES")),
    )


# --- what is read there


def read_catalogue(places: Places) -> Mapping[str, Server]:
    """The servers, by name. Raises SpecError."""
    return catalogue.parse(read_text(places.catalogue, "catalogue"), shown(places.catalogue))


def read_backends(places: Places) -> Mapping[str, Backend]:
    """The backends, by name. Raises SpecError."""
    file = places.project / "compose" / "backends.yaml"
    return catalogue.parse_backends(read_text(file, "backends"), shown(file))


def choose_backends(places: Places, workloads: Iterable[str]) -> Collection[Backend]:
    """Those that requests of `workloads` wait for, in the file's order. Raises SpecError."""
    if not (names := backends_of(workloads)):
        return ()
    known = read_backends(places)
    if missing := [name for name in names if name not in known]:
        raise SpecError(f"compose/backends.yaml: has no {missing[0]}, which a workload waits for; put it back")
    return [backend for name, backend in known.items() if name in names]


def choose_servers(places: Places, names: Collection[str]) -> dict[str, Server]:
    """The servers of the catalogue, or those of them that are named. Raises SpecError, and HostError for other names."""
    servers = read_catalogue(places)
    for name in names:
        if name not in servers:
            raise HostError(f"--servers: unknown server {name!r}; known are {', '.join(servers)}")
    return {name: server for name, server in servers.items() if not names or name in names}


def read_text(path: Path, what: str) -> str:
    """A YAML file that a user names. Raises LabError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise LabError(f"{what} {path}: cannot be read ({cause}); name a YAML file that is there") from None


def shown(path: Path) -> str:
    """A path as a user would type it from the project's folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# --- runtimes


def choose_runtime(places: Places, wanted: str | None) -> tuple[Runtime, str]:
    """The runtime, and why that one. `wanted` is `compose`, `local`, or None for compose where an engine answers."""
    if places.ports:
        port_range(places.ports)
    if wanted not in (None, "compose", "local"):
        raise HostError(f"--runtime {wanted}: unknown runtime; known are compose, local")
    if wanted == "local":
        return LocalRuntime(places.project, places.state, places.lab_id, places.ports), "as asked"
    found = engines.find()
    if isinstance(found, NoEngine):
        if wanted == "compose":
            raise EngineError(f"--runtime compose: {found.reason}; {found.remedy}, or use --runtime local")
        return LocalRuntime(places.project, places.state, places.lab_id, places.ports), found.reason
    runtime = compose_runtime(places, found)
    answers = f"Docker Engine {found.version} with Compose {found.compose} answers at {found.address}"
    return runtime, "as asked; " + answers if wanted else answers


def compose_runtime(
    places: Places, engine: Engine, machine: SiteMachine | None = None, needs: Collection[str] = (SWARM,)
) -> "ComposeRuntime":
    """The runtime of an engine; `machine`: which of a site's it is, None for this one. `needs`: what runs there beside
    servers and backends."""
    # Here, because Docker's library takes a third of a second to import, and most tasks do without.
    from wsgilab.runtime.compose import ComposeRuntime

    file = None if places.catalogue == places.project / "compose" / "servers.yaml" else places.catalogue
    ports = places.ports if machine is None else machine.ports
    return ComposeRuntime(places.project, places.state, engine, places.lab_id, file, ports, machine, needs)


def all_runtimes(places: Places) -> Iterator[Runtime]:
    """Every runtime that something may have been started in."""
    yield choose_runtime(places, "local")[0]
    if isinstance(engines.find(), Engine):
        yield choose_runtime(places, "compose")[0]


# --- at work


@contextlib.contextmanager
def alone(places: Places) -> Iterator[None]:
    """One lab at a time in a checkout, where each ends what an earlier one has left. Raises LabError."""
    make_state(places)
    with (places.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(_occupied(places)) from None
        yield


def make_state(places: Places) -> None:
    """Make the folder of the lab's state, unless it is there. Raises LabError where nothing can be written to it."""
    try:
        places.state.mkdir(parents=True, exist_ok=True)
        (places.state / "lock").touch()
    except OSError as error:
        raise LabError(
            f"{places.state}: cannot be written ({error.strerror}); name another folder with LAB_STATE"
        ) from None


def _occupied(places: Places) -> str:
    with contextlib.suppress(LabError):
        found = standing.read(places.state)
        if found is not None and found.lives():
            return f"{places.state}: the interactive lab is up in this checkout; end it with invoke lab.down"
    return f"{places.state}: another lab is at work in this checkout; wait for it, or stop it"


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Within, the first SIGINT or SIGTERM raises Interrupted; more are ignored, for the cleaning up is under way."""
    raised = False

    def handle(signum: int, _: FrameType | None) -> None:
        nonlocal raised
        if not raised:
            raised = True
            raise Interrupted(signum)

    before = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
