"""What it takes to repeat a run: the command, the machine, and what was installed."""

import re
import shlex
from collections.abc import Iterable, Sequence

from wsgilab.model import Run
from wsgilab.model.experiment import RELEASE
from wsgilab.model.text import INVOKE, called, counted, program
from wsgilab.report import machines, tables
from wsgilab.report.tables import Column, Table

_SERVER_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("stack", 1, numeric=False),
    Column("slots", 1),
    Column("processes", 1),
    Column("command", 0, numeric=False),
    Column("environment of its own", 2, numeric=False),
)
_STACK_COLUMNS = (
    Column("stack", 0, numeric=False),
    Column("Python", 1, numeric=False),
    Column("packages", 0, numeric=False),
    Column("digest", 2, numeric=False),
)


def command(run: Run) -> str:
    """What runs the same experiment again, from the file that the run's folder holds, in the same order of trials."""
    if (running := next((each for each in run.servers.values() if not each.is_started), None)) is not None:
        (path,) = (
            (each.path for each in run.experiment.application.requests.values()) if run.experiment.application else "/"
        )
        words = ["--url", *running.command, "--get", path]
        budget_s = run.experiment.budget_s
        words += ["--blocks", str(run.experiment.blocks)] if budget_s is None else ["--budget", f"{budget_s:g}s"]
        return f"{called('lab.run')} {shlex.join([*words, '--seed', str(run.seed)])}"
    words = ["--experiment", f"results/{run.id}/experiment.yaml"]
    if any(server.extends not in (None, server.like) and not server.has_release for server in run.servers.values()):
        # The file itself is not among the results: the table of servers says what its rows were.
        words += ["--catalogue", "mine.yaml"]
    return f"{called('lab.run')} {shlex.join([*words, *releases(run), *against(run), *where(run), '--seed', str(run.seed)])}"


def releases(run: Run) -> Sequence[str]:
    """The options that say which releases of a package a server had; none where it had its own."""
    found: dict[str, list[str]] = {}
    released = [server for server in run.servers.values() if server.has_release]
    for server in released:
        # The name of the stack has both, spelt otherwise.
        suffix = server.stack.partition(RELEASE)[2]
        packages = run.stacks[server.stack].packages if server.stack in run.stacks else {}
        for package, release in packages.items():
            if suffix == re.sub(r"[^a-z0-9]+", "-", f"{package}-{release}".lower()):
                found.setdefault(package, []).append(release)
    if not found:
        return []
    ((package, versions), *_) = found.items()
    return ["--servers", released[0].extends or released[0].name, "--release", f"{package}={','.join(versions)}"]


def place() -> str:
    """Where `command` can be given."""
    return "In a checkout of the lab" if program() == INVOKE else "With an installed lab"


def where(run: Run) -> Sequence[str]:
    """The options that say where to run it. Results do not hold the site file: a person who repeats the run names their own machines."""
    return ["--site", "sites.yaml"] if run.lanes else ["--runtime", run.runtime]


def against(run: Run) -> Sequence[str]:
    """The option that says what an application is compared with in the same run; none where it is measured alone."""
    application = run.experiment.application
    if application is None or application.against is None:
        return []
    return ["--against", application.against.revision or application.against.name]


def facts(run: Run) -> Iterable[tuple[str, str]]:
    """What it ran on, by name."""
    host = run.host
    yield "begun", run.started
    yield "lab", f"wsgilab {run.lab}, seed {run.seed}, runtime {run.runtime}"
    if run.origin is not None and run.origin.revision is not None:
        changes = {True: ", with changes of its own", None: ", perhaps with changes of its own"}.get(
            run.origin.dirty, ""
        )
        yield "checkout", f"git revision {run.origin.revision}{changes}"
    yield "machine", f"{host.cpu} ({host.architecture}), {host.memory_bytes / 2**30:.1f} GiB, Linux {host.kernel}"
    if state := machines.state(host):
        yield "state of the machine", state
    if run.lanes:
        yield "machines", machines.between(run)
    yield "cores", _cores(run)
    yield "Python of the lab", host.python
    if off := [name for name, is_on in run.gil.items() if not is_on]:
        yield "servers without a GIL", ", ".join(off)
    if run.cpu_iterations is not None:
        calibrated = f"{run.cpu_iterations} iterations for the time that was asked for; another run calibrates anew"
        yield "work of a cpu request", calibrated
    yield "packages of the lab", _packages(run.packages.items())
    if common := _common(run):
        yield "environment of all servers", _spelt(common)


def servers(run: Run) -> Table:
    """The command of each server, what it declares, and those environment variables that not all servers have."""
    common = dict(_common(run))
    return Table(
        title="Servers",
        columns=_SERVER_COLUMNS,
        rows=tuple(
            (
                each.name,
                each.stack or tables.MISSING,
                tables.slots(each.slots) if each.is_started else tables.MISSING,
                tables.slots(each.processes) if each.is_started else tables.MISSING,
                shlex.join(each.command),
                _spelt([pair for pair in each.environment.items() if pair[0] not in common]) or tables.MISSING,
            )
            for each in run.servers.values()
        ),
    )


def stacks(run: Run) -> Table:
    """The packages of each stack that were really installed."""
    return Table(
        title="Stacks",
        columns=_STACK_COLUMNS,
        rows=tuple(
            (name, each.python or tables.MISSING, _packages(each.packages.items()) or tables.MISSING, each.digest)
            for name, each in run.stacks.items()
        ),
    )


def _common(run: Run) -> Sequence[tuple[str, str]]:
    """The variables that all servers have with the same value; none where there is only one server."""
    first, *others = (each.environment for each in run.servers.values())
    if not others:
        return []
    return [(name, value) for name, value in first.items() if all(each.get(name) == value for each in others)]


def _spelt(variables: Iterable[tuple[str, str]]) -> str:
    """The variables as a shell takes them before a command."""
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in sorted(variables))


def _cores(run: Run) -> str:
    pinned = "".join(f"a server with {counted(count, 'core')}: {cpus}; " for count, cpus in run.server_cpus.items())
    backends = f"; backends: {run.backend_cpus}" if run.backend_cpus else ""
    siblings = ", ".join(run.host.siblings)
    return (
        f"usable: {run.host.usable_cpus}; {pinned}generator: {run.generator_cpus}{backends}; logical cores by "
        f"physical core: {siblings}"
    )


def _packages(packages: Iterable[tuple[str, str]]) -> str:
    named: Sequence[str] = [f"{name} {version}" for name, version in sorted(packages)]
    return ", ".join(named)
