"""Examining each machine of a site, and the network between them. Nothing stays running on any of them."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsgilab.doctor.findings import ExaminedMachine, Finding, NetworkPath, clock_off_s, judge
from wsgilab.model import Site, SiteMachine
from wsgilab.model.errors import LabError
from wsgilab.runtime.engine import Engine, reach

if TYPE_CHECKING:
    from wsgilab.runtime.compose import ComposeRuntime


def examine_site(site: Site, *, project: Path, state: Path, lab_id: str, servers: int) -> Sequence[Finding]:
    """Examine each machine of a site, and the network from the swarm to the targets and to Locust's master.

    `servers`: how many are up on a machine of targets at once. The clock server's image, which is built there, stays.
    """
    examined: dict[str, ExaminedMachine] = {}
    runtimes: dict[str, ComposeRuntime] = {}
    with contextlib.ExitStack() as reached:
        for machine in (*site.targets, *site.swarm):
            try:
                engine = reached.enter_context(reach(machine))
            except LabError as error:
                examined[machine.name] = ExaminedMachine(machine=machine, failure=error.message)
                continue
            examined[machine.name], runtime = _examine(machine, engine, project, state, lab_id)
            if runtime is not None:
                runtimes[machine.name] = runtime
        paths = list(_paths(site, runtimes))
    return judge(site, examined, paths, servers)


def _examine(
    machine: SiteMachine, engine: Engine, project: Path, state: Path, lab_id: str
) -> "tuple[ExaminedMachine, ComposeRuntime | None]":
    """The facts of a machine, and its runtime where there are all of them."""
    # Here, because Docker's library takes a third of a second to import, and most tasks do without.
    from wsgilab.runtime.compose import ComposeRuntime

    version = f"Docker Engine {engine.version} at {engine.address}"
    compose = f"Compose {engine.compose} ({engine.docker})"
    try:
        runtime = ComposeRuntime(project, state, engine, lab_id, ports=machine.ports, machine=machine)
        # The first time its image may have to be built, which would make the moment of the second uncertain.
        runtime.facts()
        before_s = time.time()
        facts = runtime.facts()
        after_s = time.time()
        engine_id = runtime.engine_id()
    except LabError as error:
        return ExaminedMachine(machine=machine, engine=version, compose=compose, failure=error.message), None
    examined = ExaminedMachine(
        machine=machine,
        engine=version,
        compose=compose,
        host=facts.host,
        clocksource=facts.clocksource,
        boot=facts.boot,
        engine_id=engine_id,
        clock_off_s=clock_off_s(facts.time, before_s, after_s),
    )

    return examined, runtime


def _paths(site: Site, runtimes: "dict[str, ComposeRuntime]") -> Iterator[NetworkPath]:
    for targets, (master, *others) in site.lanes:
        for to, origins in ((targets, [master, *others]), (master, others)):
            if origins and to.name in runtimes:
                yield from _paths_to(to, [each for each in origins if each.name in runtimes], runtimes)


def _paths_to(
    to: SiteMachine, origins: Sequence[SiteMachine], runtimes: "dict[str, ComposeRuntime]"
) -> Sequence[NetworkPath]:
    found: list[NetworkPath] = []
    try:
        with runtimes[to.name].clock_server() as port:
            found += [_path(origin, to, port, runtimes[origin.name]) for origin in origins]
    except LabError as error:
        found.append(NetworkPath(origin=to, to=to, error=error.message))
    return found


def _path(origin: SiteMachine, to: SiteMachine, port: int, runtime: "ComposeRuntime") -> NetworkPath:
    try:
        probed = runtime.probe(to.address, port)
    except LabError as error:
        return NetworkPath(origin=origin, to=to, port=port, error=error.message)
    return NetworkPath(
        origin=origin,
        to=to,
        port=port,
        round_trip_ms=probed.round_trip_ms,
        bandwidth_mbps=probed.bandwidth_mbps,
        error=probed.error,
    )
