"""What a runtime does, whichever it is."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from wsgilab.cpus import spell
from wsgilab.errors import TargetError
from wsgilab.model import RuntimeName, Server, Usage
from wsgilab.process import Conversation

Say = Callable[[str], None]


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
        """Why it runs no more, in a few words; None while it runs."""

    def log_tail(self, lines: int = 10) -> str:
        """The last lines that it wrote."""

    def effective_cpus(self) -> frozenset[int]:
        """The cores that its processes may really use. Raises TargetError where they differ among themselves."""

    def usage(self) -> Usage:
        """What all its processes have consumed so far."""


Fleet = Mapping[str, Target]
"""All the targets that are up with the same number of cores, by server."""


class Runtime(Protocol):
    """Starts pinned fleets, and the generator beside them."""

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
