"""What a runtime does, whichever it is."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from wsgilab.cpus import spell
from wsgilab.errors import TargetError
from wsgilab.model import RuntimeName, Server, Usage
from wsgilab.process import Conversation

Say = Callable[[str], None]

SWARM = "swarm"
"""The stack and image of what runs beside the fleets: the generator and the web UI."""
SWARM_MODULE = "wsgilab.swarm.agent"
UI_MODULE = "wsgilab.ui.server"
"""Started with the address and the port that it has to bind."""
OWN_ADDRESS = "own"
"""For that address: the one that its container has on its own network. On the fleets' it would be the servers' too."""


class Target(Protocol):
    """A running server, pinned to cores."""

    @property
    def server(self) -> Server: ...

    @property
    def base_url(self) -> str:
        """Where the swarm reaches it, such as `http://172.18.0.5:8000`."""

    @property
    def published_url(self) -> str:
        """Where this machine reaches it, on 127.0.0.1."""

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


Fleet = Mapping[str, Target]
"""All the targets that are up with the same number of cores, by server."""


class Runtime(Protocol):
    """Starts pinned fleets, and the generator and the web UI beside them."""

    @property
    def name(self) -> RuntimeName: ...

    @property
    def versions(self) -> Mapping[str, str]:
        """What it runs on, such as the engine's version."""

    def prepare(self, servers: Collection[Server], say: Say) -> Mapping[str, str]:
        """Install what the servers and the swarm need. Stack -> digest. Raises BuildError."""

    def start(self, servers: Collection[Server], cpus: frozenset[int]) -> AbstractContextManager[Fleet]:
        """A fleet that is up, answering and pinned to `cpus`, its affinity read back. Leaving it leaves nothing behind.

        Raises TargetError with the server's last log lines where one does not start.
        """

    def swarm(self, cpus: frozenset[int]) -> AbstractContextManager[Conversation]:
        """The generator, pinned to `cpus`, able to reach every fleet that is up. Leaving it leaves nothing behind."""

    def ui(self, cpus: frozenset[int], host: str, port: int) -> AbstractContextManager[Conversation]:
        """The web UI's process, pinned and connected as the swarm is; once it serves, this machine does at `host:port`.

        Leaving it leaves nothing behind. Raises HostError where `host:port` is taken, or is not this machine's to give.
        """

    def log(self, server: str, cores: int, *, follow: bool) -> Iterator[str]:
        """The lines that a target, started by this or any other process, has written so far; of each start, if several.

        With `follow` also those that it still writes, until its fleet is gone or the caller stops asking for more.
        Raises TargetError, before the first line is asked for, where no such target is up.
        """

    def sweep(self) -> int:
        """End whatever an earlier, killed run of this checkout left behind. How many targets that were."""

    def clean(self) -> None:
        """Remove what `prepare` installed."""


def verify_pinning(fleet: Fleet, cpus: frozenset[int]) -> None:
    """Raises TargetError unless every target really runs on `cpus`, whatever was asked of the system."""
    for target in fleet.values():
        effective = target.effective_cpus()
        if effective != cpus:
            raise TargetError(
                f"{target.server.name} runs on cores {spell(effective)}, not on {spell(cpus)} as asked; the engine does "
                "not honour cpusets, or something moves processes, so nothing here could be compared"
            )


def not_up(server: str, cores: int) -> TargetError:
    """That there is no target whose log could be read."""
    return TargetError(
        f"{server}: is not up on {cores} core{'s' if cores > 1 else ''}; invoke lab.up --servers {server} brings it up"
    )
