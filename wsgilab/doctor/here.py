"""What this machine has and lacks for the lab, each finding with its remedy."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsgilab.analysis.cell.disturbance import NEIGHBOUR_LIMIT
from wsgilab.doctor.findings import Finding, clock, clock_off_s, clocksource
from wsgilab.model.errors import LabError
from wsgilab.results.store import check_writable
from wsgilab.runtime import engine as engines
from wsgilab.runtime.engine import Engine
from wsgilab.system import cpus, host, neighbours
from wsgilab.system.neighbours import CoreUse
from wsgilab.system.ports import free_ports

if TYPE_CHECKING:
    from wsgilab.runtime.compose import ComposeRuntime


def examine(
    *, servers: int, results: Path, ports: str, runtime: "Callable[[Engine], ComposeRuntime]"
) -> Sequence[Finding]:
    """Examine Python, engine, cores, ports for so many servers, and the results folder. `runtime` makes that of an engine, which is
    asked where the engine has a machine of its own."""
    findings = [_python_finding()]
    found = engines.find()
    if isinstance(found, Engine):
        findings.append(Finding(subject="engine", found=f"Docker Engine {found.version} at {found.address}"))
        findings.append(Finding(subject="compose", found=f"Compose {found.compose} ({found.docker})"))
        findings += _machine_findings(runtime, found)
    elif why := host.cannot_pin():
        findings.append(Finding(subject="engine", found=found.reason, remedy=found.remedy))
        findings.append(Finding(subject="cores", found=why, remedy=host.IN_CONTAINERS))
    else:
        findings.append(
            Finding(subject="engine", found=found.reason, remedy=f"{found.remedy}; till then --runtime local")
        )
        findings += _own_findings()
    return [*findings, _port_finding(servers, ports), _results_finding(results)]


def _own_findings() -> Iterator[Finding]:
    """About this machine's cores."""
    yield from _core_findings(host.usable_cpus(), host.siblings())
    yield _neighbour_finding(neighbours.look(host.usable_cpus(), lambda _: False))


def _machine_findings(runtime: "Callable[[Engine], ComposeRuntime]", engine: Engine) -> Iterator[Finding]:
    """About the cores of the machine that the engine runs on, which may be this one."""
    try:
        made = runtime(engine)
        if made.elsewhere is None:
            yield from _own_findings()
            return
        before_s = time.time()
        facts = made.facts()
        after_s = time.time()
        there = facts.host
        memory = f"{there.memory_bytes / 2**30:.1f} GiB"
        yield Finding(
            subject="machine",
            found=f"the engine's own, where servers and users run: {there.cpu}, {there.architecture}, {memory}, kernel {there.kernel}",
        )
        usable = cpus.parse(there.usable_cpus)
        yield from _core_findings(usable, [cpus.parse(group) for group in there.siblings])
        yield clock("clock", clock_off_s(facts.time, before_s, after_s))
        yield clocksource("clocksource", facts.clocksource)
        busy = made.busy(usable, neighbours.LOOK_S)
        yield _neighbour_finding([CoreUse(core=core, share=share, who=()) for core, share in busy.items()])
    except LabError as error:
        found, _, remedy = error.message.partition("; ")
        yield Finding(subject="machine", found=found, remedy=remedy or "see that the engine runs, and try again")


def _neighbour_finding(uses: Sequence[CoreUse]) -> Finding:
    """What others use of the cores."""
    if busy := [use for use in uses if use.share > NEIGHBOUR_LIMIT]:
        return Finding(
            subject="neighbours",
            found="; ".join(map(str, busy)),
            remedy="end them, or wait until they have ended: windows that they disturb are not compared by speed",
        )
    most = max(use.share for use in uses)
    return Finding(subject="neighbours", found=f"others use {most:.0%} of a core at most")


def _python_finding() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        subject="python", found=version, remedy="" if sys.version_info >= (3, 11) else "install Python 3.11 or newer"
    )


def _core_findings(usable: frozenset[int], siblings: Sequence[frozenset[int]]) -> Iterator[Finding]:
    groups = "; ".join(cpus.spell(group) for group in siblings if len(group) > 1)
    yield Finding(
        subject="cores",
        found=f"{cpus.spell(usable)} usable" + (f", sharing physical cores: {groups}" if groups else ""),
        remedy="" if len(usable) > 1 else "with one core servers and generator must share it: --share-generator",
    )
    if len(usable) > 1:
        layout = cpus.layout(usable=usable, siblings=siblings, counts=[1], share=False)
        backends = cpus.layout(usable=usable, siblings=siblings, counts=[1], share=False, backends=True).backends
        yield Finding(
            subject="layout",
            found=f"a 1-core server on {cpus.spell(layout.servers[1])}, generator on {cpus.spell(layout.generator)}, "
            f"backends on {cpus.spell(backends)}",
            remedy="".join(f"{note}: figures will be noisier" for note in layout.notes),
        )


def _port_finding(servers: int, ports: str) -> Finding:
    try:
        free_ports(servers, ports)
    except LabError as error:
        return Finding(subject="ports", found=f"not enough for all servers in {ports}", remedy=error.message)
    return Finding(subject="ports", found=f"{servers} free on 127.0.0.1" + (f" in {ports}" if ports else ""))


def _results_finding(results: Path) -> Finding:
    try:
        check_writable(results)
    except LabError as error:
        return Finding(subject="results", found=f"{results} is not writable", remedy=error.message)
    return Finding(subject="results", found=f"{results} is writable")
