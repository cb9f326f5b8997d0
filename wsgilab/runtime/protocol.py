"""What every runtime offers."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Protocol

from wsgilab.model import Action, Backend, Memory, RuntimeName, Server, Usage
from wsgilab.model.application import Application
from wsgilab.model.errors import TargetError
from wsgilab.model.text import called, counted
from wsgilab.system.process import JsonChannel

Say = Callable[[str], None]
NO_LOCKS: Mapping[str, str] = MappingProxyType({})

SWARM = "swarm"
"""The stack and image of what runs beside the fleets: the generator and the web UI."""
CLOCK_SERVER = "clock-server"
"""The service and image of the clock server, which runs on a site's machines of targets."""
SWARM_MODULE = "wsgilab.load.driver"
UI_MODULE = "wsgilab.web.server"
"""Its arguments are the address and the port that it has to bind."""
OWN_ADDRESS = "own"
"""As that address: the one of its container on its own network. Bound to those of the fleets' networks, it would be open to
the servers."""


class Running(Protocol):
    """A server or a backend that was started, pinned to cores."""

    @property
    def name(self) -> str: ...

    def failure(self) -> str | None:
        """Why it no longer runs, as the predicate of a sentence, such as `ended with exit code 3`; None while it runs.

        Where another process has started it again, this also finds where it listens now.
        """

    def restart(self, on: frozenset[int] | None = None) -> None:
        """Start it again, whether or not it has ended, on its own cores, or `on` others until `pin`; where it listens may change.

        Returns when it answers, pinned so. Raises TargetError where it does not, and then it has ended again.
        """

    def pin(self) -> None:
        """Move it to its own cores. Raises TargetError where its processes may use others then."""

    def end(self) -> None:
        """End it, unless it has ended; `restart` starts it again."""

    def log_tail(self, lines: int = 10) -> str:
        """The last lines of its log."""

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
        """Where it is published: on 127.0.0.1, or at an address that the machines of a site reach."""

    def fetch(self, page: str) -> str:
        """The body of one plain GET of a page, such as `/__lab__/facts`. Raises TargetError unless it is a 200."""

    def act(self, do: Action, worker: int = 0) -> None:
        """Do it: send SIGHUP, or what ends it, to its first process, or SIGKILL to the process `worker`, by the number that it has for
        itself. Returns at once. Raises TargetError where that cannot be done."""

    def limited(self, quota: float) -> AbstractContextManager[None]:
        """Within, it has so many CPU seconds a second, beside being pinned. Raises TargetError where it does not run, and HostError
        where the machine does not let the lab."""

    def memory(self) -> Memory | None:
        """What its processes take of memory now; None where it does not run, or that cannot be read."""


class RunningBackend(Running, Protocol):
    """A running backend, which only servers reach."""

    @property
    def backend(self) -> Backend: ...


Fleet = Mapping[str, Target]
"""All the targets that are up with the same number of cores, by server."""

LeaveOut = Callable[[str, TargetError], None]
"""Called with the name of a server that cannot be used, and why."""

BeforeMore = Callable[[Sequence[Target], Sequence[Server]], int]
"""Called with the servers of a fleet that run, before more of the others are started, which are given in order: so many of these may be
started next, and with 0 none is any more. It may end some that run, which are started again when they are needed. What it raises ends the
start."""

Backends = Mapping[str, RunningBackend]
"""All the backends that are up, by name."""


class Runtime(Protocol):
    """Starts pinned fleets and backends, and the generator and the web UI beside them."""

    @property
    def name(self) -> RuntimeName: ...

    @property
    def versions(self) -> Mapping[str, str]:
        """What it runs on, such as the engine's version."""

    @property
    def locks(self) -> Mapping[str, str]:
        """Stack -> lock, of the user's own application that was prepared last; empty where that was the lab's own."""

    def prepare(
        self,
        servers: Collection[Server],
        backends: Collection[Backend],
        say: Say,
        application: Application | None = None,
        locks: Mapping[str, str] = NO_LOCKS,
    ) -> Mapping[str, str]:
        """Install what the servers, the backends and the swarm need. Stack -> digest.

        `application`: the user's own; None: the lab's. `locks`: those of a run that goes on. Stacks that do not go with it are named to `say`,
        and left out. Raises LabError, BuildError above all.
        """

    def identify(self, application: Application, backends: Collection[Backend], say: Say) -> Mapping[str, str]:
        """What is measured of a user's own application, before anything is started: digests of the files of its source, or of its
        image, and of the services among `backends`. Images are pulled or built. Raises LabError where it cannot be used here.
        """

    def backends(self, backends: Collection[Backend], cpus: frozenset[int]) -> AbstractContextManager[Backends]:
        """Backends that are up and pinned to `cpus`, their affinity read back. Leaving it leaves nothing behind.

        Fleets that are started meanwhile reach them. Raises TargetError with the backend's last log lines where one
        does not get ready.
        """

    def start(
        self,
        servers: Collection[Server],
        cpus: frozenset[int],
        leave_out: LeaveOut | None = None,
        before_more: BeforeMore | None = None,
    ) -> AbstractContextManager[Fleet]:
        """A fleet that is up, answering and pinned to `cpus`, its affinity read back. Leaving it leaves nothing behind.

        Raises TargetError with the server's last log lines where one does not start. With `leave_out`, which is called with each
        such server, only where none does.

        With `before_more`, the first server is started by itself, or the second where that has ended, and the others in groups of as many as
        it allows, which is called before each.
        """

    def swarm(self, cpus: frozenset[int]) -> AbstractContextManager[JsonChannel]:
        """The generator, pinned to `cpus`, able to reach every fleet that is up. Leaving it leaves nothing behind."""

    def ui(self, cpus: frozenset[int], host: str, port: int) -> AbstractContextManager[JsonChannel]:
        """The web UI's process, pinned and connected as the swarm is; once it serves, this machine does at `host:port`.

        Leaving it leaves nothing behind. Raises HostError where `host:port` is taken, or is not this machine's to give.
        """

    def log(self, name: str, cores: int | None, *, follow: bool) -> Iterator[str]:
        """The lines that a server with so many cores, or with None a backend, has written so far, in all its starts.

        It may have been started by another process. With `follow` also the lines that it still writes, until it is gone for
        good or the caller stops iterating. Raises TargetError at once, not with the first line, where it is not up.
        """

    def quota_refusal(self) -> str | None:
        """Why its servers cannot be given a CPU quota, as the end of a sentence with the remedy; None where they can."""

    def is_here(self) -> bool:
        """Whether what it starts runs on this machine."""

    def available_bytes(self) -> int:
        """The memory that programs can still have where what it starts runs. Raises EngineError."""

    def owns(self, pid: int) -> bool:
        """Whether it has started this process of this machine. Raises OSError where that cannot be found out."""

    def other_labs(self) -> Sequence[str]:
        """Other labs that run where this one does, each in a few words."""

    def sweep(self) -> int:
        """End whatever an earlier, killed run of this checkout left behind. How many processes or containers."""

    def clean(self) -> None:
        """Remove what `prepare` installed."""


def not_up(name: str, cores: int | None) -> TargetError:
    """The error for a server, or with None a backend, whose log cannot be read because it is not up."""
    if cores is None:
        return TargetError(f"{name}: is not up; {called('lab.up')} brings it up")
    up = f"{called('lab.up')} --servers {name}"
    return TargetError(f"{name}: is not up on {counted(cores, 'core')}; {up} brings it up")
