"""Sites: the machines that an experiment is to run on, as a YAML file names them. Pure.

    targets:
      - {name: alpha, engine: "ssh://lab@10.0.0.2", address: 10.0.0.2, ports: 8100-8199, cores: 0-3}
    swarm:
      - {name: beta, engine: "ssh://lab@10.0.0.3", address: 10.0.0.3}

With several targets, blocks run side by side; the machines of the swarm are dealt out to them in order.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import combinations
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from wsgilab.experiment.parsing import read
from wsgilab.model import STRICT
from wsgilab.model.errors import SpecError
from wsgilab.model.limits import CpuSet, Must, Name
from wsgilab.model.site import HIGHEST_PORT, MASTER_PORT, Site, SiteMachine
from wsgilab.system import cpus

PLAIN_TCP = "whoever reaches it is root there"
"""What a site file has to say of an engine that it reaches without SSH or TLS."""


# No value may begin with a hyphen, which would make it an option of a command, or hold what a shell or a terminal acts on.
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_HOST = rf"(?:{_NAME}|\[[0-9A-Fa-f:.]+\])"
_PATH = r"/[A-Za-z0-9_.+@/-]+"
_SSH = rf"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?(?P<path>{_PATH})?/?"
_CONTEXT = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
_ENGINE = rf"^(?:{_CONTEXT}|unix://{_PATH}|{re.sub(r'[?]P<[a-z]+>', '?:', _SSH)}|tcp://{_HOST}:[0-9]{{1,5}}/?)$"
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAddress:
    """An engine's address that begins with `ssh://`, taken apart."""

    user: str
    """Empty: the one that ssh chooses."""
    host: str
    port: str
    """Empty: the one that ssh chooses."""
    path: str
    """Of the engine's socket there; empty for the usual one."""


def ssh_address(text: str) -> SshAddress:
    """The parts of `ssh://user@host:port/path/to/socket`. Raises ValueError for anything else."""
    found = re.fullmatch(_SSH, text)
    if found is None:
        raise ValueError(f"{text!r} is no address such as ssh://user@host")
    parts = {key: value or "" for key, value in found.groupdict().items()}
    return SshAddress(**{**parts, "host": parts["host"].strip("[]")})


def _port_in_range(text: str) -> str:
    """The address of an engine, if its port is one."""
    port = re.search(r"^(?:ssh|tcp)://.*:([0-9]+)(?:/|$)", text)
    if port and not 1 <= int(port[1]) <= HIGHEST_PORT:
        raise ValueError(f"must have a port from 1 to {HIGHEST_PORT}")
    return text


def _address(text: str) -> str:
    if _is_ip(text):
        return str(ip_address(text))
    # What ends in a number is no name, but an address with a slip in it.
    if len(text) <= 253 and _HOST_NAME.fullmatch(text) and not text.rpartition(".")[2].isdecimal():  # noqa: PLR2004 - RFC 1035
        return text
    raise ValueError("must be a name or an IP address such as 10.0.0.2")


def _is_ip(text: str) -> bool:
    try:
        # An address with a zone means something on one machine alone.
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


def _ip(text: str) -> str:
    if not _is_ip(text):
        raise ValueError("must be an IP address of that machine's own, such as 10.0.0.2")
    return str(ip_address(text))


def _ports(text: str) -> str:
    first, dash, last = text.partition("-")
    if not 1 <= int(first) <= int(last if dash else first) <= HIGHEST_PORT:
        raise ValueError(f"must be a port or a range from 1 to {HIGHEST_PORT}, the lower one first")
    return text


def _number(given: object) -> object:
    """A single port or core, which YAML reads as a number, as the text that a list of them is."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


_Engine = Annotated[
    str,
    Field(pattern=_ENGINE),
    Must("be a Docker context's name, or unix:///path, ssh://user@host or tcp://host:port"),
    AfterValidator(_port_in_range),
]
_PortsText = Annotated[str, Field(pattern=r"^[0-9]{1,5}(?:-[0-9]{1,5})?$")]
_Ports = Annotated[
    _PortsText,
    Must("be a port or a range such as 8100-8199"),
    AfterValidator(_ports),
    BeforeValidator(_number, json_schema_input_type=_PortsText | Annotated[int, Field(ge=1, le=HIGHEST_PORT)]),
]
_Cores = Annotated[
    CpuSet,
    AfterValidator(lambda text: cpus.spell(cpus.parse(text))),
    BeforeValidator(_number, json_schema_input_type=CpuSet | Annotated[int, Field(ge=0, le=9999)]),
]
_AddressText = Annotated[str, Field(json_schema_extra={"pattern": "^[0-9A-Za-z:][0-9A-Za-z.:-]*$"})]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineEntry:
    """A machine: its Docker engine, and where the others reach it."""

    __pydantic_config__: ClassVar = {
        **STRICT,
        # `_machine` checks this.
        "json_schema_extra": {
            "if": {"properties": {"engine": {"pattern": "^tcp://"}}},
            "then": {
                "oneOf": [
                    {"required": ["tls"], "properties": {"tls": {"type": "string"}}},
                    {"required": ["plain_tcp"], "properties": {"plain_tcp": {"type": "string"}}},
                ]
            },
            "else": {"properties": {"tls": {"type": "null"}}},
        },
    }

    name: Name | None = None
    """By which results know it: lower-case letters, digits and hyphens; by default target-1, swarm-1 and so on."""
    engine: _Engine
    """A Docker context's name such as `default`, or an engine's address: `ssh://user@host`, `tcp://host:port` with
    `tls`, `unix:///path`."""
    address: Annotated[_AddressText, AfterValidator(_address)]
    """Where machines of the swarm reach what is published here: a name or an IP address."""
    publish: Annotated[_AddressText, AfterValidator(_ip)] | None = None
    """The IP address, of this machine's own, to publish at, where it is another than `address`."""
    ports: _Ports | None = None
    """A port or a range to publish in: by default any that are free. Of a machine of the swarm the first is where
    workers of other machines reach Locust's master, by default 5557."""
    cores: _Cores | None = None
    """A cpuset list of the cores to use; by default all that its engine has."""
    tls: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    """For `tcp://`: a folder with `ca.pem`, `cert.pem` and `key.pem`, relative to this file."""
    plain_tcp: Annotated[str, Field(json_schema_extra={"const": PLAIN_TCP})] | None = None
    """This very sentence accepts an engine without SSH or TLS, with all that it means."""


_Machines = Annotated[list[MachineEntry], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFile:
    """A site of wsgilab: the machines that an experiment runs on."""

    __pydantic_config__: ClassVar = STRICT

    targets: _Machines
    """Where servers and backends run. With several, blocks run side by side, each whole on one of them."""
    swarm: _Machines
    """Where the load is made: as many machines for each of the targets', the first ones for the first."""


def parse_site(text: str, source: str) -> Site:
    """Read a site file. Raises SpecError naming `source`, the key and what would be right.

    Folders of certificates stay as the file names them, relative to it.
    """
    file = read(text, source, SiteFile, "a site", begins="targets and swarm")
    site = Site(
        targets=tuple(
            _machine(entry, f"target-{index + 1}", "", f"{source}: targets[{index}]")
            for index, entry in enumerate(file.targets)
        ),
        swarm=tuple(
            _machine(entry, f"swarm-{index + 1}", str(MASTER_PORT), f"{source}: swarm[{index}]")
            for index, entry in enumerate(file.swarm)
        ),
    )
    _check_each_is_another(site, source)
    if len(site.swarm) % len(site.targets):
        raise SpecError(
            f"{source}: swarm: {len(site.swarm)} machines cannot be dealt out evenly to {len(site.targets)} of targets; "
            f"name {len(site.targets)}, or a multiple"
        )
    _check_reached(site, source)
    return site


def plain_tcp_refusal(address: str) -> str:
    """Why the engine at `address`, a `tcp://` without TLS, is not spoken with, and what to do instead."""
    return (
        f"{address} has no TLS: whoever reaches it is root there; use ssh://user@host, or tls: with a folder of "
        f'certificates; or accept that with plain_tcp: "{PLAIN_TCP}"'
    )


def _machine(entry: MachineEntry, name: str, ports: str, where: str) -> SiteMachine:
    """The machine of an entry; `name` and `ports` are its defaults. Raises SpecError."""
    tcp = entry.engine.startswith("tcp://")
    if entry.plain_tcp not in (None, PLAIN_TCP):
        raise SpecError(f'{where}.plain_tcp: must be the sentence "{PLAIN_TCP}", not {entry.plain_tcp!r}')
    if entry.tls and not tcp:
        raise SpecError(f"{where}.tls: is for an engine at tcp://, and {entry.engine} is none; leave it out")
    if entry.plain_tcp and (entry.tls or entry.engine.startswith(("unix://", "ssh://"))):
        raise SpecError(f"{where}.plain_tcp: accepts an engine without SSH or TLS, which this one is not; leave it out")
    if tcp and not entry.tls and not entry.plain_tcp:
        raise SpecError(f"{where}.engine: {plain_tcp_refusal(entry.engine)}")
    if entry.publish is None and not _is_ip(entry.address):
        raise SpecError(
            f"{where}: lacks the key 'publish', an IP address of that machine's own: nothing can be published at a "
            f"name such as {entry.address}"
        )
    return SiteMachine(
        name=entry.name or name,
        engine=entry.engine.rstrip("/"),
        address=entry.address,
        publish=entry.publish or entry.address,
        ports=entry.ports or ports,
        cores=entry.cores or "",
        tls=entry.tls or "",
        plain_tcp=entry.plain_tcp is not None,
    )


def _check_each_is_another(site: Site, source: str) -> None:
    """Raises SpecError where two entries have one name, or would get in each other's way on one engine."""
    for one, other in combinations([*site.targets, *site.swarm], 2):
        if one.name == other.name:
            raise SpecError(f"{source}: two machines are called {one.name!r}; results tell them apart by their names")
        if one.engine != other.engine:
            continue
        both = f"{source}: {one.name} and {other.name} are the same engine, {one.engine}"
        if other in site.targets:
            raise SpecError(f"{both}: blocks on both would measure each other; name it once")
        if not one.cores or not other.cores:
            raise SpecError(f"{both}: give cores of both, with none in common")
        if shared := cpus.parse(one.cores) & cpus.parse(other.cores):
            raise SpecError(f"{both}, and share its cores {cpus.spell(shared)}; give each its own")


def _check_reached(site: Site, source: str) -> None:
    """Raises SpecError for an address that leads nowhere from another machine, or to two masters."""
    masters: dict[tuple[str, str], SiteMachine] = {}
    for targets, (master, *others) in site.lanes:
        for machine in [targets, master] if others else [targets]:
            if machine.address == "localhost" or (_is_ip(machine.address) and _is_of_one_machine(machine.address)):
                raise SpecError(
                    f"{source}: {machine.name}: address {machine.address} leads every container to itself; name one "
                    "where other machines reach this one"
                )
        port = master.ports.partition("-")[0]
        if others and (other := masters.setdefault((master.engine, port), master)) is not master:
            raise SpecError(
                f"{source}: {other.name} and {master.name} are the same engine, and both have Locust's master at port "
                f"{port}; give one another with ports"
            )


def _is_of_one_machine(address: str) -> bool:
    return ip_address(address).is_loopback or ip_address(address).is_unspecified
