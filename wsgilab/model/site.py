"""More machines than one: those that an experiment is to run on, and those that a run ran on."""

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from wsgilab.model.host import Host
from wsgilab.model.limits import STRICT, CpuSet, Length, Milliseconds, Name, Range
from wsgilab.model.rounding import Digits

HIGHEST_PORT = 65535
MASTER_PORT = 5557
"""Locust's own, where workers of other machines reach their master; published at the first of the machine's ports, where it
names any."""
PORT_TAKEN = re.compile(r"port is already allocated|address already in use|all ports are allocated", re.IGNORECASE)
"""How a Docker engine says that somebody else has a port."""
PORTS_BESIDE = 1
"""What a machine of targets publishes beside its servers: the clock server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteMachine:
    """A machine to run on: its Docker engine, and where the others reach it."""

    name: str
    """By which results know it."""
    engine: str
    """A Docker context's name, or an engine's address: `unix://`, `ssh://`, or `tcp://`."""
    address: str
    """Where machines of the swarm reach what is published here: a name or an IP address."""
    publish: str
    """The address, of this machine's own, to publish at; another than `address` behind a translating router."""
    ports: str
    """A range such as `8100-8199` to publish in; empty for any free ports."""
    cores: str
    """A cpuset list of the cores to use; empty for all that its engine has."""
    tls: str
    """A folder with `ca.pem`, `cert.pem` and `key.pem`, for `tcp://`; empty for none."""
    plain_tcp: bool
    """Whether an engine without TLS is accepted, with all that this means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The machines of a site file."""

    targets: tuple[SiteMachine, ...]
    """With several, blocks run side by side, each whole on one of them."""
    swarm: tuple[SiteMachine, ...]
    """As many for each of the targets' machines, the first ones for the first: `lanes` deals them out."""

    @property
    def lanes(self) -> tuple[tuple[SiteMachine, tuple[SiteMachine, ...]], ...]:
        """Each machine of targets, with those that load it; the first of these has Locust's master."""
        each = len(self.swarm) // len(self.targets)
        return tuple(
            (machine, self.swarm[index * each : (index + 1) * each]) for index, machine in enumerate(self.targets)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine of several that a run ran on. Its address is not kept: results are passed on."""

    __pydantic_config__: ClassVar = STRICT

    name: Name
    """As the site file had it."""
    host: Host
    """What it is."""
    cpus: CpuSet
    """The cores that the lab could use there, as a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRecord:
    """A machine of targets, those that loaded it, and what lay between them when the run began."""

    __pydantic_config__: ClassVar = STRICT

    targets: Machine
    """Where the servers ran, and the backends."""
    swarm: Annotated[tuple[Machine, ...], Length(1, 10_000)]
    """Where the users were; the first had Locust's master."""
    round_trip_ms: Annotated[Milliseconds, Digits(3)]
    """Milliseconds for a small message and its answer, both machines idle: the median."""
    bandwidth_mbps: Annotated[float, Range(0, 10**9, above=True), Digits(1)]
    """Megabits a second that one connection brought from the targets' machine to the first of the users'."""
