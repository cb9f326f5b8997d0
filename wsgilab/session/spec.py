"""What the interactive lab is to be: as the command line has it, and with every default filled in."""

import socket
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from wsgilab.experiment import workloads
from wsgilab.model import Application
from wsgilab.run.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What the command line asks of the interactive lab; None and empty: nothing was said."""

    servers: tuple[str, ...] = ()
    usual_servers: tuple[str, ...] = ()
    """Those that are up where `servers` names none; empty: all of the catalogue."""
    cores: int | None = None
    runtime: str | None = None
    site: str | None = None
    """A file of the machines to be up on; None: this one."""
    catalogue: str | None = None
    """A catalogue file of the user's own."""
    workers: int | None = None
    port: int | None = None
    """0: any that is free."""
    host: str | None = None
    share_generator: bool = False
    no_backends: bool = False
    application: Application | None = None
    """The user's own, whose requests are the workloads; None: the lab's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """What the daemon keeps up, every default filled in."""

    workspace: Workspace
    servers: tuple[str, ...]
    """Empty: all of the catalogue."""
    cores: int
    runtime: str | None
    """None: Compose where an engine answers."""
    site: Path | None
    """A file of the machines to be up on; None: this one."""
    workers: int
    host: str
    address: str
    """The address that `host` means."""
    port: int
    share_generator: bool
    no_backends: bool
    """Do without, and without the workloads that wait for them."""
    password: str | None
    """None: no login."""
    program: str
    """What the lab's tasks are called by, for messages that name one."""
    application: Application | None = None
    """The user's own, its `source` from the root; None: the lab's."""

    @property
    def workloads(self) -> Collection[str]:
        """Those that users of the web UI can choose."""
        there = workloads.of(self.application)
        return [name for name, each in there.items() if not (self.no_backends and each.backends)]

    @property
    def names(self) -> AbstractSet[str]:
        """What the web UI is reached by, beside loopback: as `host` says, and where that is everywhere, this machine's name."""
        anywhere = ip_address(self.address).is_unspecified
        return {self.host, self.address} | ({socket.gethostname()} if anywhere else set())
