"""Findings about the machines of a site, from the facts that were collected. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from wsgilab.model import Host, Site, SiteMachine
from wsgilab.model.site import PORT_TAKEN, PORTS_BESIDE
from wsgilab.model.text import called
from wsgilab.system import cpus

MOST_CLOCK_OFF_S = 1.0
"""How far apart two wall clocks may be."""

_FAST_CLOCKS = frozenset({"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"})
"""Clock sources of Linux that are read without a system call: those of x86 and its hypervisors, and of ARM."""
_NO_ADDRESS = re.compile(r"cannot assign requested address", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that `doctor` has checked. `remedy` is empty where all is well."""

    subject: str
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedMachine:
    """A machine of a site, and the facts that it has given."""

    machine: SiteMachine
    engine: str = ""
    """Its version and address; empty where it was not reached."""
    compose: str = ""
    failure: str = ""
    """Why facts are missing: what is wrong, and after a semicolon the remedy."""
    host: Host | None = None
    clocksource: str = ""
    boot: str = ""
    """The same for all engines of one machine; empty where that is not known."""
    engine_id: str = ""
    clock_off_s: float = 0.0
    """How far its wall clock is at least from this machine's: above zero ahead of it."""

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def cores(self) -> frozenset[int]:
        """Those that the lab would use: those of the site file that exist, or all."""
        has = cpus.parse(self.host.usable_cpus) if self.host else frozenset()
        return has & cpus.parse(self.machine.cores) if self.machine.cores else has

    @property
    def physical(self) -> Sequence[frozenset[int]]:
        """These cores, grouped by the physical core that they are on."""
        groups = [cpus.parse(group) & self.cores for group in (self.host.siblings if self.host else ())]
        alone = self.cores - frozenset[int]().union(*groups)
        return [group for group in groups if group] + [frozenset({core}) for core in alone]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPath:
    """The network from a machine to a port that another one publishes."""

    origin: SiteMachine
    """The other machine itself, where that could not publish anything."""
    to: SiteMachine
    port: int = 0
    round_trip_ms: float = 0.0
    bandwidth_mbps: float = 0.0
    error: str = ""
    """Why the port is not reached; empty where it is."""


def judge(
    site: Site, examined: Mapping[str, ExaminedMachine], paths: Sequence[NetworkPath], servers: int
) -> Sequence[Finding]:
    """The findings about each machine, in the site's order, and then about the network. `examined` is by machines' names;
    `servers` is how many are up on a machine at once."""
    findings: list[Finding] = []
    for machine in (*site.targets, *site.swarm):
        findings += _of_machine(examined[machine.name])
        if machine in site.targets:
            findings += _of_ports(machine, servers)
    findings += _of_targets([examined[machine.name] for machine in site.targets])
    findings += _of_shared(list(examined.values()), {machine.name for machine in site.targets})
    for targets, swarm in site.lanes:
        findings += _of_strength(examined[targets.name], [examined[machine.name] for machine in swarm])
    return [*findings, *map(_of_path, paths)]


def _of_machine(examined: ExaminedMachine) -> Iterator[Finding]:
    name, host = examined.name, examined.host
    found, _, remedy = examined.failure.removeprefix(f"{name}: ").partition("; ")
    failure = Finding(subject=f"{name}: engine", found=found, remedy=remedy or "see that it runs, and try again")
    if not examined.engine:
        yield failure
        return
    yield Finding(subject=f"{name}: engine", found=examined.engine)
    yield Finding(subject=f"{name}: compose", found=examined.compose)
    if host is None:
        yield failure
        return
    yield Finding(subject=f"{name}: machine", found=f"{host.cpu}, {host.architecture}, kernel {host.kernel}")
    yield _cores(examined, host)
    yield clock(f"{name}: clock", examined.clock_off_s)
    yield clocksource(f"{name}: clocksource", examined.clocksource)


def _cores(examined: ExaminedMachine, host: Host) -> Finding:
    wanted = cpus.parse(examined.machine.cores or host.usable_cpus)
    missing = wanted - examined.cores
    remedy = f"there is no core {cpus.spell(missing)}; name others in the site file, or leave cores out"
    shared = "; ".join(cpus.spell(group) for group in examined.physical if len(group) > 1)
    return Finding(
        subject=f"{examined.name}: cores",
        found=f"{cpus.spell(wanted)} of {host.usable_cpus}" + (f", sharing physical cores: {shared}" if shared else ""),
        remedy=remedy if missing else "",
    )


def clock_off_s(moment: float, before_s: float, after_s: float) -> float:
    """How far a wall clock that said `moment` is at least from this machine's, which said `before_s` and `after_s` around it: above
    zero ahead of it."""
    return max(0.0, moment - after_s) + min(0.0, moment - before_s)


def clock(subject: str, off_s: float) -> Finding:
    """About a wall clock that is so far ahead of this machine's."""
    if abs(off_s) <= MOST_CLOCK_OFF_S:
        return Finding(subject=subject, found="agrees with this machine's")
    return Finding(
        subject=subject,
        found=f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} this machine's",
        remedy="set both by NTP (timedatectl set-ntp true); certificates and records go by it, measured times do not",
    )


def clocksource(subject: str, source: str) -> Finding:
    """About what a machine's kernel reads its clock from; empty: that is not known."""
    if source in _FAST_CLOCKS or not source:
        return Finding(subject=subject, found=source or "unknown")
    return Finding(
        subject=subject,
        found=source,
        remedy="each stamp asks the kernel, which costs time in every request; choose another type of machine, or see whether "
        "/sys/devices/system/clocksource/clocksource0/available_clocksource has tsc",
    )


def _of_ports(machine: SiteMachine, servers: int) -> Iterator[Finding]:
    if not machine.ports:
        return
    first, _, last = machine.ports.partition("-")
    count, needed = int(last or first) - int(first) + 1, servers + PORTS_BESIDE
    yield Finding(
        subject=f"{machine.name}: ports",
        found=f"{count} in {machine.ports}",
        remedy="" if count >= needed else f"name {needed} for all {servers} servers, or measure fewer with --servers",
    )


def _of_targets(targets: Sequence[ExaminedMachine]) -> Iterator[Finding]:
    """Whether blocks that are measured on these machines can be compared."""
    known = [(examined, examined.host) for examined in targets if examined.host is not None]
    for other, another in known[1:]:
        first, one = known[0]
        differences = [
            f"{what} ({this} and {that})"
            for what, this, that in (
                ("architecture", one.architecture, another.architecture),
                ("CPU", one.cpu, another.cpu),
                ("cores", cpus.spell(first.cores), cpus.spell(other.cores)),
                ("physical cores", str(len(first.physical)), str(len(other.physical))),
            )
            if this != that
        ]
        yield Finding(
            subject=f"{other.name}: like {first.name}",
            found=f"they differ in {', '.join(differences)}" if differences else "of one kind",
            remedy="blocks on machines of two kinds cannot be compared: run the experiment on each, and hold the runs "
            f"against each other with {called('lab.compare')}"
            if differences
            else "",
        )


def _of_shared(examined: Sequence[ExaminedMachine], targets: set[str]) -> Iterator[Finding]:
    """Two machines of the site that are one, under whatever names."""
    for one, other in combinations([each for each in examined if each.boot and each.host], 2):
        if one.boot != other.boot:
            continue
        subject = f"{one.name}, {other.name}: machine"
        if one.engine_id == other.engine_id and {one.name, other.name} <= targets:
            yield Finding(
                subject=subject, found="one and the same engine", remedy="blocks side by side need a machine each"
            )
        elif shared := one.cores & other.cores:
            yield Finding(
                subject=subject,
                found=f"one and the same, and both would use core {cpus.spell(shared)}",
                remedy="give each cores of its own in the site file",
            )
        elif groups := _halved(one, other):
            yield Finding(
                subject=subject,
                found=f"one and the same, and both would use one physical core (logical cores {groups})",
                remedy="figures will be noisier; give each physical cores of its own in the site file",
            )


def _halved(one: ExaminedMachine, other: ExaminedMachine) -> str:
    """The physical cores of which each machine uses a logical one."""
    groups = map(cpus.parse, one.host.siblings if one.host else ())
    return "; ".join(cpus.spell(group) for group in groups if group & one.cores and group & other.cores)


def _of_strength(targets: ExaminedMachine, swarm: Sequence[ExaminedMachine]) -> Iterator[Finding]:
    if targets.host is None or not all(each.host for each in swarm):
        return
    has, against = sum(len(each.cores) for each in swarm), len(targets.cores)
    yield Finding(
        subject=f"{', '.join(each.name for each in swarm)}: strength",
        found=f"{has} for the {against} of {targets.name}, in cores",
        # As docs/measured.md has it: a core of the generator outruns the fastest server on an equal core, and no more.
        remedy=""
        if has >= against
        else f"servers on more than {has} cores may outrun the swarm, and results then say bound by generator; measure them "
        "on fewer, or name more machines",
    )


def _of_path(path: NetworkPath) -> Finding:
    name, address = path.to.name, path.to.address
    if path.origin == path.to:
        return Finding(
            subject=f"{name}: publish", found=path.error.partition("; ")[0], remedy=_publishing(path.to, path.error)
        )
    origin = path.origin.name
    if not path.error:
        found = f"round trip {path.round_trip_ms:.2f} ms, {path.bandwidth_mbps:.0f} Mbit/s from {address}:{path.port}"
        return Finding(subject=f"{origin} to {name}", found=found)
    ports = "all TCP ports from 32768 to 60999, or name ports in the site file"
    if path.to.ports:
        ports = f"TCP ports {path.to.ports}"
    return Finding(
        subject=f"{origin} to {name}",
        found=path.error,
        remedy=f"let {origin} through the firewalls of {name} to {ports}; see that address {address} is where "
        f"{origin} reaches {name}, and publish {path.to.publish} an address of its own",
    )


def _publishing(machine: SiteMachine, error: str) -> str:
    if _NO_ADDRESS.search(error):
        return f"{machine.publish} is no address of that machine's own; name one with publish"
    if PORT_TAKEN.search(error):
        return f"a port of {machine.ports} is taken there; name others with ports"
    return f"see that its engine can publish at {machine.publish}:{machine.ports or '(any port)'}"
