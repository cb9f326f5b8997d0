"""What a run can be carried out on: this machine in one of its runtimes, or the lanes of a site, each reached and checked."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wsgilab.analysis.cell.disturbance import NEIGHBOUR_LIMIT
from wsgilab.experiment.parsing import unknown
from wsgilab.experiment.site import parse_site
from wsgilab.load.client import LinkReading
from wsgilab.model import Host, LaneRecord, Site, SiteMachine
from wsgilab.model.errors import EngineError, HostError, LabError, UsageError
from wsgilab.model.site import PORTS_BESIDE
from wsgilab.model.text import called
from wsgilab.run.workspace import Workspace, read_text, shown
from wsgilab.runtime import engine as engines
from wsgilab.runtime.engine import Engine, NoEngine, reach
from wsgilab.runtime.local import LocalRuntime
from wsgilab.runtime.protocol import CLOCK_SERVER, SWARM, Runtime, Say
from wsgilab.runtime.remote import RemoteHost, RemoteRuntime
from wsgilab.system import cpus, host, neighbours
from wsgilab.system.neighbours import CoreUse
from wsgilab.system.ports import check_enough, port_range

if TYPE_CHECKING:
    from wsgilab.runtime.compose import ComposeRuntime

Done = TypeVar("Done")

OWN_MACHINE = (
    "servers and users are on the Docker engine's own machine; what takes its cores from outside, as other programs of this "
    "computer may, is not noticed"
)
"""Noted where an engine has a machine of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Testbed:
    """What one fleet and its swarm can be started on."""

    runtime: Runtime
    host: Host
    """Of the targets."""
    remote: RemoteRuntime | None = None
    """The runtime, where it is a lane of a site."""
    elsewhere: "ComposeRuntime | None" = None
    """The runtime, where its engine has a machine of its own that no site names, such as Docker Desktop's virtual one: servers and
    swarm are there, and the engine's own containers answer what is asked of it."""

    @property
    def machine(self) -> str:
        """The name of the targets' machine; empty where all is on one machine."""
        return "" if self.remote is None else self.remote.targets.machine.name

    @property
    def usable(self) -> frozenset[int]:
        """The cores of the targets' machine that the lab may use."""
        if self.remote is not None:
            return self.remote.targets.cpus
        return host.usable_cpus() if self.elsewhere is None else cpus.parse(self.host.usable_cpus)

    def ui_host(self, host: str) -> str:
        """The host at which a web UI for `host` is reached: `host` itself, or the swarm's machine where nothing forwards to this one."""
        return host if self.remote is None else self.remote.ui_host(host)

    def lay_out(
        self, counts: Collection[int], *, share: bool, generator_cores: int, option: str, say: Say, backends: bool
    ) -> cpus.Layout:
        """Who runs on which cores, said to `say`; with `backends`, these too.

        Raises HostError where it does not fit; `option` is what the user calls the number of the generator's cores.
        """
        siblings = [cpus.parse(group) for group in self.host.siblings]
        try:
            if self.remote is None:
                layout = cpus.layout(
                    usable=self.usable,
                    siblings=siblings,
                    counts=counts,
                    share=share,
                    generator_cores=generator_cores,
                    backends=backends,
                )
            else:
                layout = cpus.layout_remote(
                    usable=self.usable,
                    siblings=siblings,
                    counts=counts,
                    generator=self.remote.swarm_hosts[0].cpus,
                    backends=backends,
                )
        except cpus.DoesNotFit as error:
            named = f"{self.machine}: " if self.machine else ""
            raise HostError(f"{named}cores: {str(error).replace('--generator-cores', option)}") from None
        if self.elsewhere is not None:
            layout = replace(layout, notes=(*layout.notes, OWN_MACHINE))
        spelt = "; ".join(cpus.spell(cores) for cores in layout.servers.values())
        beside = f", backends on {cpus.spell(layout.backends)}" if layout.backends else ""
        if self.remote is None:
            servers = f"servers on {spelt}, " if spelt else ""
            say(f"Cores: {servers}generator on {cpus.spell(layout.generator)}{beside}.")
        else:
            each = " and ".join(f"{cpus.spell(one.cpus)} of {one.machine.name}" for one in self.remote.swarm_hosts)
            say(f"Cores of {self.machine}: servers on {spelt}{beside}; generator on {each}.")
        for note in layout.notes:
            say(f"Note: {note}.")
        return layout

    def check_ports(self, named: str, servers: int) -> None:
        """Raises HostError where `servers` need more ports than the range has from which they are published.

        `named` is the range of this machine, empty for any; a site's machine has its own.
        """
        if self.remote is None:
            check_enough(named, servers, f"LAB_PORTS={named}", "unset LAB_PORTS to take any")
        else:
            machine = self.remote.targets.machine
            where = f"{machine.name}: ports {machine.ports}"
            check_enough(machine.ports, servers + PORTS_BESIDE, where, "leave ports out of the site file to take any")

    def own_cpus(self, layout: cpus.Layout) -> frozenset[int] | None:
        """The cores of this machine that the lab itself may use while it measures; None: as it comes."""
        if self.elsewhere is not None:
            return None
        if self.remote is None:
            return layout.generator
        servers = frozenset[int]().union(*layout.servers.values())
        return (host.usable_cpus() - servers or None) if self.remote.targets.is_this_machine else None

    def spare(self, layout: cpus.Layout) -> frozenset[int]:
        """As many cores as the servers have, which share no physical core with those that the run is on; empty where there are fewer, or
        the machine is another one."""
        if self.remote is not None or self.elsewhere is not None:
            return frozenset()
        used = layout.generator.union(layout.backends, *layout.servers.values())
        busy = used.union(*(group for group in map(cpus.parse, self.host.siblings) if group & used))
        free, count = sorted(self.usable - busy), max(map(len, layout.servers.values()), default=0)
        return frozenset(free[:count] if len(free) >= count else ())

    @contextlib.contextmanager
    def reserved(self, layout: cpus.Layout, workspace: Workspace, say: Say) -> Iterator[None]:
        """Hold the cores against other labs, and say what other programs use of them. Raises HostError where a lab has them."""
        for other in self.runtime.other_labs():
            say(f"Note: {other}; it may disturb this one.")
        cores = layout.generator.union(*layout.servers.values())
        if workspace.share_cores:
            yield
        elif self.elsewhere is not None:
            busy = self.elsewhere.busy(cores, neighbours.LOOK_S)
            _say_busy([CoreUse(core=core, share=share, who=()) for core, share in busy.items()], say)
            yield
        elif self.runtime.is_here():
            with neighbours.held(cores | layout.backends):
                _say_busy(neighbours.look(cores, self.runtime.owns), say)
                yield
        else:
            yield

    def lost(self) -> str | None:
        """Why a lane's targets are out of reach; None where they are not, or nobody knows."""
        why = None if self.remote is None else self.remote.targets.runtime.lost()
        return None if why is None else f"the connection to its engine is lost: {why}; restore it, and --resume"

    def lane_record(self, link: LinkReading | None) -> LaneRecord | None:
        """What results record of a lane, with the link between its machines; None where all is on one machine."""
        if self.remote is None or link is None:
            return None
        return LaneRecord(
            targets=self.remote.targets.recorded,
            swarm=tuple(each.recorded for each in self.remote.swarm_hosts),
            round_trip_ms=link.round_trip_ms,
            bandwidth_mbps=link.bandwidth_mbps,
        )


@contextlib.contextmanager
def open_testbeds(
    workspace: Workspace, runtime: str | None, site_file: Path | None, say: Say
) -> Iterator[Sequence[Testbed]]:
    """This machine, or the lanes of a site file, in its order. Raises LabError where one cannot be reached, or used."""
    if site_file is None:
        chosen, reason = choose_runtime(workspace, runtime)
        say(f"Runtime: {chosen.name} ({reason}).")
        yield [_without_site(chosen, say)]
        return
    if runtime not in (None, "compose"):
        raise UsageError(f"--runtime {runtime}: a site has Docker engines; leave it out, or leave out --site")
    site = read_site(site_file)
    with contextlib.ExitStack() as reached:
        found = [
            _remote_host(workspace, machine, machine in site.targets, reached, say)
            for machine in (*site.targets, *site.swarm)
        ]
        _check_distinct(found, len(site.targets))
        hosts = {found_host.machine.name: found_host for found_host, _ in found}
        _check_alike([hosts[machine.name] for machine in site.targets])
        lanes = [RemoteRuntime(hosts[one.name], [hosts[each.name] for each in others]) for one, others in site.lanes]
        yield [Testbed(runtime=lane, host=lane.targets.host, remote=lane) for lane in lanes]


def _without_site(chosen: "ComposeRuntime | LocalRuntime", say: Say) -> Testbed:
    """This machine in that runtime, or its engine's, where that is another."""
    if isinstance(chosen, LocalRuntime) or (machine := chosen.elsewhere) is None:
        return Testbed(runtime=chosen, host=host.fingerprint())
    there = machine.host
    say(
        f"The engine has a machine of its own: {there.cpu}, {there.architecture}, cores {there.usable_cpus}, {there.memory_bytes / 2**30:.1f} GiB, kernel "
        f"{there.kernel}. Servers and users are there."
    )
    return Testbed(runtime=chosen, host=there, elsewhere=chosen)


def _say_busy(uses: Sequence[CoreUse], say: Say) -> None:
    for use in uses:
        if use.share > NEIGHBOUR_LIMIT:
            say(f"Note: {use}; windows that this disturbs are not compared by speed.")


@contextlib.contextmanager
def first_targets(workspace: Workspace, site_file: Path) -> "Iterator[ComposeRuntime]":
    """The runtime of the first machine of targets. Raises LabError."""
    machine = read_site(site_file).targets[0]
    with reach(machine) as engine:
        yield compose_runtime(workspace, engine, machine)


def on_each(workspace: Workspace, site_file: Path, do: "Callable[[ComposeRuntime], Done]", say: Say) -> list[Done]:
    """Have something done on each machine of a site. Raises LabError, at the end, for the first that cannot be reached."""
    site = read_site(site_file)
    done: list[Done] = []
    failed: list[LabError] = []
    for machine in (*site.targets, *site.swarm):
        try:
            with reach(machine) as engine:
                done.append(do(compose_runtime(workspace, engine, machine)))
        except LabError as error:
            failed.append(error)
            say(f"not done: {error.message}")
    if failed:
        raise failed[0]
    return done


def read_site(file: Path) -> Site:
    """The machines of a site file, its folders of certificates as seen from it. Raises LabError."""
    site = parse_site(read_text(file, "site"), shown(file.absolute()))

    def placed(machine: SiteMachine) -> SiteMachine:
        return replace(machine, tls=str(file.absolute().parent / machine.tls)) if machine.tls else machine

    return replace(site, targets=tuple(map(placed, site.targets)), swarm=tuple(map(placed, site.swarm)))


def _remote_host(
    workspace: Workspace, machine: SiteMachine, has_targets: bool, reached: contextlib.ExitStack, say: Say
) -> tuple[RemoteHost, str]:
    """A machine that was reached, and what identifies its engine."""
    engine = reached.enter_context(reach(machine))
    runtime = compose_runtime(
        workspace, engine, machine, needs=[CLOCK_SERVER] if has_targets else [SWARM, CLOCK_SERVER]
    )
    try:
        facts = runtime.facts()
        identity = f"{facts.boot} {runtime.engine_id()}"
    except LabError as error:
        raise type(error)(f"{machine.name}: {error.message}", detail=error.detail) from None
    has = cpus.parse(facts.host.usable_cpus)
    asked = cpus.parse(machine.cores) if machine.cores else has
    if not asked <= has:
        raise HostError(
            f"{machine.name}: cores: {machine.cores} asked for, but its engine has {facts.host.usable_cpus}; "
            "name some of these"
        )
    what = "targets" if has_targets else "swarm"
    say(f"{machine.name} ({what}): Docker Engine {engine.version}, {facts.host.cpu}, cores {cpus.spell(asked)}.")
    here = bool(facts.boot) and facts.boot == host.boot_id()
    return RemoteHost(machine=machine, runtime=runtime, host=facts.host, cpus=asked, is_this_machine=here), identity


def _check_distinct(hosts: Sequence[tuple[RemoteHost, str]], targets: int) -> None:
    """Whatever engines are called: raises HostError where two of the first `targets` are one, or any two share a core."""
    for (at, (one, identity)), (beyond, (another, same)) in combinations(enumerate(hosts), 2):
        names = f"{one.machine.name} and {another.machine.name}"
        if identity != same:
            continue
        if at < targets and beyond < targets:
            raise HostError(f"targets: {names} are one engine; blocks side by side need a machine each")
        if shared := one.cpus & another.cpus:
            raise HostError(
                f"cores: {names} are one engine, and both would use core {cpus.spell(shared)}; give each cores of its own"
            )


def _check_alike(targets: Sequence[RemoteHost]) -> None:
    """Blocks are measured side by side on machines of one kind only. Raises HostError."""
    first, *others = targets
    for other in others:
        for what, one, another in (
            ("CPU", first.host.cpu, other.host.cpu),
            ("architecture", first.host.architecture, other.host.architecture),
            ("cores", cpus.spell(first.cpus), cpus.spell(other.cpus)),
            ("sibling cores", first.host.siblings, other.host.siblings),
        ):
            if one != another:
                raise HostError(
                    f"targets: {first.machine.name} and {other.machine.name} differ in {what} ({one}, {another}); "
                    "blocks of one run need machines of one kind: run the experiment on each, and hold the runs against "
                    f"each other with {called('lab.compare')}"
                )


# --- runtimes

RUNTIMES = ("compose", "local")


def choose_runtime(workspace: Workspace, wanted: str | None) -> "tuple[ComposeRuntime | LocalRuntime, str]":
    """The runtime, and why that one. `wanted` is `compose`, `local`, or None for compose where an engine answers.

    Raises LabError where there is none: processes are pinned on Linux alone."""
    if workspace.ports:
        port_range(workspace.ports)
    if wanted not in (None, *RUNTIMES):
        raise UsageError(f"--runtime: {unknown('runtime', str(wanted), RUNTIMES)}")
    why = host.cannot_pin()
    if wanted == "local":
        if why:
            raise HostError(f"--runtime local: {why}; {host.IN_CONTAINERS}")
        return LocalRuntime(workspace.project, workspace.state, workspace.lab_id, workspace.ports), "as asked"
    found = engines.find()
    if isinstance(found, NoEngine):
        if wanted == "compose":
            otherwise = "" if why else ", or use --runtime local"
            raise EngineError(f"--runtime compose: {found.reason}; {found.remedy}{otherwise}")
        if why:
            raise EngineError(f"{found.reason}; {found.remedy} ({why})")
        return LocalRuntime(workspace.project, workspace.state, workspace.lab_id, workspace.ports), found.reason
    runtime = compose_runtime(workspace, found)
    answers = f"Docker Engine {found.version} with Compose {found.compose} answers at {found.address}"
    return runtime, "as asked; " + answers if wanted else answers


def compose_runtime(
    workspace: Workspace, engine: Engine, machine: SiteMachine | None = None, needs: Collection[str] = (SWARM,)
) -> "ComposeRuntime":
    """The runtime of an engine; `machine`: which of a site's it is, None for this one. `needs`: what runs there beside
    servers and backends."""
    # Here, because Docker's library takes a third of a second to import, and most tasks do without.
    from wsgilab.runtime.compose import ComposeRuntime

    file = None if workspace.catalogue == workspace.project / "compose" / "servers.yaml" else workspace.catalogue
    ports = workspace.ports if machine is None else machine.ports
    return ComposeRuntime(workspace.project, workspace.state, engine, workspace.lab_id, file, ports, machine, needs)


def all_runtimes(workspace: Workspace) -> Iterator[Runtime]:
    """Every runtime that something may have been started in."""
    if not host.cannot_pin():
        yield choose_runtime(workspace, "local")[0]
    if isinstance(found := engines.find(), Engine):
        yield compose_runtime(workspace, found)
