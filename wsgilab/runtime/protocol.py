"""What a runtime does, whichever it is."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from wsgilab.model import Backend, RuntimeName, Server, Usage
from wsgilab.model.errors import TargetError
from wsgilab.model.text import counted
from wsgilab.system.cpus import spell
from wsgilab.system.process import JsonChannel

Say = Callable[[str], None]

SWARM = "swarm"
"""The stack and image of what runs beside the fleets: the generator and the web UI."""
BEACON = "beacon"
"""The service and image of what the machines of a site ask about each other."""
SWARM_MODULE = "wsgilab.load.driver"
UI_MODULE = "wsgilab.web.server"
"""Started with the address and the port that it has to bind."""
OWN_ADDRESS = "own"
"""For that address: the one that its container has on its own network. On the fleets' it would be the servers' too."""


class Running(Protocol):
    """A server or a backend that was started, pinned to cores."""

    @property
    def name(self) -> str: ...

    def failure(self) -> str | None:
        """Why it runs no more, as what is said of it, such as `ended with exit code 3`; None while it runs.

        Somebody else may have started it again meanwhile: then this also finds where it listens now.
        """

    def restart(self) -> None:
        """Start it again after it has ended; where it listens may change.

        Returns when it answers, pinned as before. Raises TargetError where it does not, and then it has ended again.
        """

    def log_tail(self, lines: int = 10) -> str:
        """The last lines that it wrote."""

    def effective_cpus(self) -> frozenset[int]:
        """The cores that its processes may really use. Raises TargetError where they differ among themselves."""

    def usage(self) -> Usage:
        """What all its processes have consumed since its last start."""


class Target(Running, Protocol):
    """A running server."""

    @property
    def server(self) -> Server: ...

    @property
    def base_url(self) -> str:
        """Where the swarm reaches it, such as `http://172.18.0.5:8000`."""

    @property
    def published_url(self) -> str:
        """Where it is published: on 127.0.0.1, or where the machines of a site reach it."""

    def fetch(self, page: str) -> str:
        """The body of one plain GET of a page, such as `/lab`. Raises TargetError unless it is a 200."""


class RunningBackend(Running, Protocol):
    """A running backend, which only servers reach."""

    @property
    def backend(self) -> Backend: ...


Fleet = Mapping[str, Target]
"""All the targets that are up with the same number of cores, by server."""

Backends = Mapping[str, RunningBackend]
"""All the backends that are up, by name."""


class Runtime(Protocol):
    """Starts pinned fleets and backends, and the generator and the web UI beside them."""

    @property
    def name(self) -> RuntimeName: ...

    @property
    def versions(self) -> Mapping[str, str]:
        """What it runs on, such as the engine's version."""

    def prepare(self, servers: Collection[Server], backends: Collection[Backend], say: Say) -> Mapping[str, str]:
        """Install what the servers, the backends and the swarm need. Stack -> digest. Raises BuildError."""

    def backends(self, backends: Collection[Backend], cpus: frozenset[int]) -> AbstractContextManager[Backends]:
        """Backends that are up and pinned to `cpus`, their affinity read back. Leaving it leaves nothing behind.

        Fleets that are started meanwhile reach them. Raises TargetError with the backend's last log lines where one
        does not get ready.
        """

    def start(self, servers: Collection[Server], cpus: frozenset[int]) -> AbstractContextManager[Fleet]:
        """A fleet that is up, answering and pinned to `cpus`, its affinity read back. Leaving it leaves nothing behind.

        Raises TargetError with the server's last log lines where one does not start.
        """

    def swarm(self, cpus: frozenset[int]) -> AbstractContextManager[JsonChannel]:
        """The generator, pinned to `cpus`, able to reach every fleet that is up. Leaving it leaves nothing behind."""

    def ui(self, cpus: frozenset[int], host: str, port: int) -> AbstractContextManager[JsonChannel]:
        """The web UI's process, pinned and connected as the swarm is; once it serves, this machine does at `host:port`.

        Leaving it leaves nothing behind. Raises HostError where `host:port` is taken, or is not this machine's to give.
        """

    def log(self, name: str, cores: int | None, *, follow: bool) -> Iterator[str]:
        """The lines that a server with so many cores, or with None a backend, has written so far; of each start.

        Whichever process started it. With `follow` also those that it still writes, until it is gone for good or the
        caller stops asking for more. Raises TargetError, before the first line is asked for, where it is not up.
        """

    def is_here(self) -> bool:
        """Whether what it starts runs on this machine."""

    def owns(self, pid: int) -> bool:
        """Whether a process of this machine is one that it started. Raises OSError where that cannot be told."""

    def other_labs(self) -> Sequence[str]:
        """Other labs that run where this one does, each in a few words."""

    def sweep(self) -> int:
        """End whatever an earlier, killed run of this checkout left behind. How many processes or containers."""

    def clean(self) -> None:
        """Remove what `prepare` installed."""


def verify_pinning(started: Iterable[Running], cpus: frozenset[int]) -> None:
    """Raises TargetError unless everything in `started` really runs on `cpus`, whatever was asked of the system."""
    for each in started:
        effective = each.effective_cpus()
        if effective != cpus:
            raise TargetError(
                f"{each.name} runs on cores {spell(effective)}, not on {spell(cpus)} as asked; the engine does "
                "not honour cpusets, or something moves processes, so nothing here could be compared"
            )


def not_up(name: str, cores: int | None) -> TargetError:
    """That there is nothing whose log could be read."""
    if cores is None:
        return TargetError(f"{name}: is not up; invoke lab.up brings it up")
    return TargetError(f"{name}: is not up on {counted(cores, 'core')}; invoke lab.up --servers {name} brings it up")


def did_not_start(started: Running, cause: str) -> TargetError:
    """That something has ended before it was ready."""
    told, detail = last_words(started)
    return TargetError(f"{started.name} did not start: {cause}; {told}", detail=detail)


def last_words(started: Running) -> tuple[str, str]:
    """What to say of a log's last lines, and these."""
    lines = started.log_tail()
    return ("see its last lines below" if lines.strip() else "it has written nothing"), lines
