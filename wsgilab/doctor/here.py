"""What this machine has and lacks for the lab, each finding with its remedy."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsgilab.analysis.disturbance import NEIGHBOUR_LIMIT
from wsgilab.doctor.findings import Finding
from wsgilab.model.errors import LabError
from wsgilab.results.store import check_writable
from wsgilab.runtime import engine as engines
from wsgilab.runtime.engine import Engine
from wsgilab.system import cpus, host, neighbours
from wsgilab.system.ports import free_ports


def examine(*, servers: int, results: Path, ports: str) -> Sequence[Finding]:
    """Examine Python, engine, cores, ports for so many servers, and the results folder."""
    findings = [_python_finding()]
    found = engines.find()
    if isinstance(found, Engine):
        findings.append(Finding(subject="engine", found=f"Docker Engine {found.version} at {found.address}"))
        findings.append(Finding(subject="compose", found=f"Compose {found.compose} ({found.docker})"))
    else:
        findings.append(
            Finding(subject="engine", found=found.reason, remedy=f"{found.remedy}; till then --runtime local")
        )
    findings += [*_core_findings(), _neighbour_finding(), _port_finding(servers, ports), _results_finding(results)]
    return findings


def _neighbour_finding() -> Finding:
    """What others use of the cores, over two seconds."""
    uses = neighbours.look(host.usable_cpus(), lambda _: False)
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


def _core_findings() -> Iterator[Finding]:
    usable, siblings = host.usable_cpus(), host.siblings()
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
