"""Asking each machine of a site what it is, and what lies between them. Nothing stays running on any of them."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsgilab.doctor.finding import Finding
from wsgilab.doctor.judged import Asked, Way, judge
from wsgilab.model import Site, SiteMachine
from wsgilab.model.errors import LabError
from wsgilab.runtime.engine import Engine, reach

if TYPE_CHECKING:
    from wsgilab.runtime.compose import ComposeRuntime


def examine_site(site: Site, *, project: Path, state: Path, lab_id: str, servers: int) -> Sequence[Finding]:
    """Look at each machine of a site, and at the ways from the swarm to the targets and to Locust's master.

    `servers`: how many stand on a machine of targets at once. What is built there, the beacon's image, stays.
    """
    asked: dict[str, Asked] = {}
    runtimes: dict[str, ComposeRuntime] = {}
    with contextlib.ExitStack() as reached:
        for machine in (*site.targets, *site.swarm):
            try:
                engine = reached.enter_context(reach(machine))
            except LabError as error:
                asked[machine.name] = Asked(machine=machine, failure=error.message)
                continue
            asked[machine.name], runtime = _ask(machine, engine, project, state, lab_id)
            if runtime is not None:
                runtimes[machine.name] = runtime
        ways = list(_ways(site, runtimes))
    return judge(site, asked, ways, servers)


def _ask(
    machine: SiteMachine, engine: Engine, project: Path, state: Path, lab_id: str
) -> "tuple[Asked, ComposeRuntime | None]":
    """What a machine says of itself, and its runtime where it said all."""
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
        return Asked(machine=machine, engine=version, compose=compose, failure=error.message), None
    told = Asked(
        machine=machine,
        engine=version,
        compose=compose,
        host=facts.host,
        clocksource=facts.clocksource,
        boot=facts.boot,
        engine_id=engine_id,
        # It was told somewhere in between.
        clock_off_s=max(0.0, facts.time - after_s) + min(0.0, facts.time - before_s),
    )
    return told, runtime


def _ways(site: Site, runtimes: "dict[str, ComposeRuntime]") -> Iterator[Way]:
    for targets, (master, *others) in site.lanes:
        for to, origins in ((targets, [master, *others]), (master, others)):
            if origins and to.name in runtimes:
                yield from _ways_to(to, [each for each in origins if each.name in runtimes], runtimes)


def _ways_to(to: SiteMachine, origins: Sequence[SiteMachine], runtimes: "dict[str, ComposeRuntime]") -> Sequence[Way]:
    found: list[Way] = []
    try:
        with runtimes[to.name].beacon() as port:
            found += [_way(origin, to, port, runtimes[origin.name]) for origin in origins]
    except LabError as error:
        found.append(Way(origin=to, to=to, error=error.message))
    return found


def _way(origin: SiteMachine, to: SiteMachine, port: int, runtime: "ComposeRuntime") -> Way:
    try:
        probed = runtime.probe(to.address, port)
    except LabError as error:
        return Way(origin=origin, to=to, port=port, error=error.message)
    return Way(
        origin=origin,
        to=to,
        port=port,
        round_trip_ms=probed.round_trip_ms,
        bandwidth_mbps=probed.bandwidth_mbps,
        error=probed.error,
    )
