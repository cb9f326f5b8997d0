"""What the machines of a site have told, judged: facts in, findings out. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from wsgilab.doctor.finding import Finding
from wsgilab.model import Host, Site, SiteMachine
from wsgilab.model.site import PORT_TAKEN, PORTS_BESIDE
from wsgilab.system import cpus

MOST_CLOCK_OFF_S = 1.0
"""How far apart two clocks of the wall may be."""

_FAST_CLOCKS = frozenset({"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"})
"""Clocks of Linux that are read without asking the kernel: x86 and its hypervisors, and ARM."""
_NO_ADDRESS = re.compile(r"cannot assign requested address", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A machine of a site, and what came of asking it."""

    machine: SiteMachine
    engine: str = ""
    """Its version and address; empty where it was not reached."""
    compose: str = ""
    failure: str = ""
    """Why it did not tell all: what is wrong, and after a semicolon the remedy."""
    host: Host | None = None
    clocksource: str = ""
    boot: str = ""
    """The same for all engines of one machine; empty where that is not known."""
    engine_id: str = ""
    clock_off_s: float = 0.0
    """How far its wall clock is at least from this machine's: above zero ahead of it."""

    @property
    def cores(self) -> frozenset[int]:
        """Those that the lab would use: what the site file asks for, of what there is."""
        has = cpus.parse(self.host.usable_cpus) if self.host else frozenset()
        return has & cpus.parse(self.machine.cores) if self.machine.cores else has


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What lies between a machine and what another publishes."""

    origin: SiteMachine
    """The other itself, where that could not publish anything."""
    to: SiteMachine
    port: int = 0
    round_trip_ms: float = 0.0
    bandwidth_mbps: float = 0.0
    error: str = ""
    """Why there is none; empty where all is well."""


def judge(site: Site, asked: Mapping[str, Asked], ways: Sequence[Way], servers: int) -> Sequence[Finding]:
    """What is found of each machine, in the site's order, and then of the ways between them. `asked` is by names;
    `servers`: how many of them stand on a machine at once."""
    findings: list[Finding] = []
    for machine in (*site.targets, *site.swarm):
        findings += _of_machine(asked[machine.name])
        if machine in site.targets:
            findings += _of_ports(machine, servers)
    findings += _of_targets([asked[machine.name] for machine in site.targets])
    findings += _of_shared(list(asked.values()), {machine.name for machine in site.targets})
    for targets, swarm in site.lanes:
        findings += _of_strength(asked[targets.name], [asked[machine.name] for machine in swarm])
    return [*findings, *map(_of_way, ways)]


def _of_machine(asked: Asked) -> Iterator[Finding]:
    name = asked.machine.name
    found, _, remedy = asked.failure.removeprefix(f"{name}: ").partition("; ")
    trouble = Finding(subject=f"{name}: engine", found=found, remedy=remedy or "see that it runs, and try again")
    if not asked.engine:
        yield trouble
        return
    yield Finding(subject=f"{name}: engine", found=asked.engine)
    yield Finding(subject=f"{name}: compose", found=asked.compose)
    if asked.host is None:
        yield trouble
        return
    yield Finding(
        subject=f"{name}: machine", found=f"{asked.host.cpu}, {asked.host.architecture}, kernel {asked.host.kernel}"
    )
    yield _cores(asked, asked.host)
    yield _clock(asked)
    yield _clocksource(asked)


def _cores(asked: Asked, host: Host) -> Finding:
    wanted = cpus.parse(asked.machine.cores or host.usable_cpus)
    missing = wanted - asked.cores
    shared = "; ".join(cpus.spell(group) for group in _physical(asked, host) if len(group) > 1)
    return Finding(
        subject=f"{asked.machine.name}: cores",
        found=f"{cpus.spell(wanted)} of {host.usable_cpus}" + (f", sharing physical cores: {shared}" if shared else ""),
        remedy=f"there is no core {cpus.spell(missing)}; name others in the site file, or leave cores out"
        if missing
        else "",
    )


def _clock(asked: Asked) -> Finding:
    off_s = asked.clock_off_s
    if abs(off_s) <= MOST_CLOCK_OFF_S:
        return Finding(subject=f"{asked.machine.name}: clock", found="agrees with this machine's")
    return Finding(
        subject=f"{asked.machine.name}: clock",
        found=f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} this machine's",
        remedy="set both by NTP (timedatectl set-ntp true); certificates and records go by it, measured times do not",
    )


def _clocksource(asked: Asked) -> Finding:
    source = asked.clocksource
    return Finding(
        subject=f"{asked.machine.name}: clocksource",
        found=source or "not told",
        remedy=""
        if source in _FAST_CLOCKS or not source
        else "each stamp asks the kernel, which costs time in every request; choose another type of machine, or see whether "
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


def _of_targets(targets: Sequence[Asked]) -> Iterator[Finding]:
    """Whether blocks that are measured on these machines can be compared."""
    told = [(asked, asked.host) for asked in targets if asked.host is not None]
    if not told:
        return
    (first, one), *others = told
    for other, another in others:
        differences = [
            f"{what} ({this} and {that})"
            for what, this, that in (
                ("architecture", one.architecture, another.architecture),
                ("CPU", one.cpu, another.cpu),
                ("cores", cpus.spell(first.cores), cpus.spell(other.cores)),
                ("physical cores", str(len(_physical(first, one))), str(len(_physical(other, another)))),
            )
            if this != that
        ]
        yield Finding(
            subject=f"{other.machine.name}: like {first.machine.name}",
            found=f"they differ in {', '.join(differences)}" if differences else "of one kind",
            remedy="blocks on machines of two kinds cannot be compared: run the experiment on each, and lab.compare them"
            if differences
            else "",
        )


def _physical(asked: Asked, host: Host) -> Sequence[frozenset[int]]:
    """The lab's cores by the physical ones that they are on."""
    groups = [cpus.parse(group) & asked.cores for group in host.siblings]
    alone = asked.cores - frozenset[int]().union(*groups)
    return [group for group in groups if group] + [frozenset({core}) for core in alone]


def _of_shared(asked: Sequence[Asked], targets: set[str]) -> Iterator[Finding]:
    """Machines that are one, whatever they are called."""
    for one, other in combinations([each for each in asked if each.boot and each.host], 2):
        if one.boot != other.boot:
            continue
        subject = f"{one.machine.name}, {other.machine.name}: machine"
        if one.engine_id == other.engine_id and {one.machine.name, other.machine.name} <= targets:
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


def _halved(one: Asked, other: Asked) -> str:
    """The physical cores of which each has a logical one."""
    assert one.host is not None
    groups = map(cpus.parse, one.host.siblings)
    return "; ".join(cpus.spell(group) for group in groups if group & one.cores and group & other.cores)


def _of_strength(targets: Asked, swarm: Sequence[Asked]) -> Iterator[Finding]:
    if targets.host is None or not all(each.host for each in swarm):
        return
    has, against = sum(len(each.cores) for each in swarm), len(targets.cores)
    yield Finding(
        subject=f"{', '.join(each.machine.name for each in swarm)}: strength",
        found=f"{has} for the {against} of {targets.machine.name}, in cores",
        # As docs/measured.md has it: a core of the generator outruns the fastest server on an equal core, and no more.
        remedy=""
        if has >= against
        else f"servers on more than {has} cores may outrun the swarm, and results then say bound by generator; measure them "
        "on fewer, or name more machines",
    )


def _of_way(way: Way) -> Finding:
    name, address = way.to.name, way.to.address
    if way.origin == way.to:
        return Finding(
            subject=f"{name}: publish", found=way.error.partition("; ")[0], remedy=_publishing(way.to, way.error)
        )
    subject = f"{way.origin.name} to {name}"
    if not way.error:
        return Finding(
            subject=subject,
            found=f"round trip {way.round_trip_ms:.2f} ms, {way.bandwidth_mbps:.0f} Mbit/s from {address}:{way.port}",
        )
    ports = (
        f"TCP ports {way.to.ports}"
        if way.to.ports
        else "all TCP ports from 32768 to 60999, or name ports in the site file"
    )
    return Finding(
        subject=subject,
        found=way.error,
        remedy=f"let {way.origin.name} through the firewalls of {name} to {ports}; see that address {address} is where "
        f"{way.origin.name} reaches {name}, and publish {way.to.publish} an address of its own",
    )


def _publishing(machine: SiteMachine, error: str) -> str:
    if _NO_ADDRESS.search(error):
        return f"{machine.publish} is no address of that machine's own; name one with publish"
    if PORT_TAKEN.search(error):
        return f"a port of {machine.ports} is taken there; name others with ports"
    return f"see that its engine can publish at {machine.publish}:{machine.ports or '(any port)'}"
