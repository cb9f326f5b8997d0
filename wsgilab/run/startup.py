"""What `lab.run` and the interactive lab do before load begins: install, start, and ask every server what it runs on."""

import contextlib
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wsgilab import __version__
from wsgilab.model import SCHEMA, Backend, Experiment, Host, Origin, Run, Server, Stack
from wsgilab.model.application import Application
from wsgilab.model.errors import HostError, TargetError
from wsgilab.model.text import called, counted
from wsgilab.runtime.pages import FACTS, facts
from wsgilab.runtime.protocol import NO_LOCKS, Backends, Fleet, Runtime, Say, Target
from wsgilab.system import cpus
from wsgilab.system.host import available_bytes, now, package_versions

_LAST_LINES = 5
"""Of what a server wrote that is left out."""

Get = Callable[[Target, str], str]
"""The body of one plain GET of a page, such as `/__lab__/facts`, of a target. Raises TargetError unless it is a 200."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Fleets and backends that are up, and what they run on."""

    runtime: Runtime
    layout: cpus.Layout
    fleets: Mapping[int, Fleet]
    """Number of cores -> fleet."""
    backends: Backends = field(default_factory=dict)
    digests: Mapping[str, str]
    """Stack -> digest."""
    start_s: float = 0.0
    """How long servers and backends took to start."""

    @property
    def names(self) -> frozenset[str]:
        """Of the servers that are up."""
        return frozenset(name for fleet in self.fleets.values() for name in fleet)

    @property
    def targets(self) -> tuple[Target, ...]:
        """All of them, of the fewest cores first."""
        return tuple(target for fleet in self.fleets.values() for target in fleet.values())


def sweep(runtimes: Iterable[Runtime], say: Say) -> None:
    """End what an earlier, killed run has left. Of all lanes before any starts: two of them may share an engine."""
    if left := sum(runtime.sweep() for runtime in runtimes):
        say(f"Ended {left} processes or containers that an earlier run had left behind.")


@contextlib.contextmanager
def started(
    runtime: Runtime,
    layout: cpus.Layout,
    servers: Mapping[int, Collection[Server]],
    backends: Collection[Backend],
    say: Say,
    application: Application | None = None,
    locks: Mapping[str, str] = NO_LOCKS,
) -> Iterator[Started]:
    """Backends, and a fleet for each number of cores in `servers`, after all is installed. Leaving it leaves nothing behind.

    Of a user's own `application` without the servers that do not go with it; `locks`: those of a run that goes on. What an earlier
    run left is to be swept first.
    """
    used = {each.name: each for fleet in servers.values() for each in fleet}
    digests = runtime.prepare(list(used.values()), backends, say, application, locks)
    if application is not None:
        able = {
            count: [each for each in fleet if each.stack in digests or not each.is_started]
            for count, fleet in servers.items()
        }
        servers = {count: fleet for count, fleet in able.items() if fleet}
    beside = f" and {' and '.join(each.name for each in backends)}" if backends else ""
    count = sum(map(len, servers.values()))
    if all(each.is_started for each in used.values()):
        say(f"Starting {count} server{'' if count == 1 else 's'}{beside} ...")
    began_s = time.monotonic()
    with contextlib.ExitStack() as up:
        # First, so that a server finds them, and last to end, so that none loses them.
        running = up.enter_context(runtime.backends(backends, layout.backends)) if backends else {}
        if application is not None and count > 1 and not locks:
            check_memory(runtime, layout, servers, application)
        out: set[str] = set()

        def leave_out(name: str, error: TargetError) -> None:
            out.add(name)
            say(f"Left out: {error.message}")
            for line in error.detail.splitlines()[-_LAST_LINES:]:
                say(f"  | {line}")

        # How the lab's own servers start is known. With another application some may not, and the others are worth measuring.
        fleets = {
            count: up.enter_context(
                runtime.start(fleet, layout.servers[count], None if application is None else leave_out)
            )
            for count, fleet in servers.items()
        }
        fleets = {count: {name: fleet[name] for name in fleet if name not in out} for count, fleet in fleets.items()}
        yield Started(
            runtime=runtime,
            layout=layout,
            fleets=fleets,
            backends=running,
            digests=digests,
            start_s=time.monotonic() - began_s,
        )


def check_memory(
    runtime: Runtime,
    layout: cpus.Layout,
    servers: Mapping[int, Collection[Server]],
    application: Application,
    available: Callable[[], int] = available_bytes,
) -> None:
    """Start the smallest of the servers of a user's own `application` by itself, and raise HostError where all of them together
    would take more memory than is `available` then, in bytes. On another machine, nothing is known of that."""
    if not runtime.is_here():
        return
    every = [(count, each) for count, fleet in servers.items() for each in fleet]
    cores, first = min(every, key=lambda each: each[1].processes or 1)
    with runtime.start([first], layout.servers[cores]) as fleet:
        used = fleet[first.name].usage().resident_bytes
        free = available() + used
    processes = sum(each.processes or 1 for _, each in every)
    needed = used // (first.processes or 1) * processes
    if application.memory_mb is not None and runtime.name == "compose":
        needed = min(needed, application.memory_mb * 2**20 * len(every))
    if needed > free:
        raise HostError(
            f"{counted(len(every), 'server')} would take about {needed / 2**30:.1f} GiB of memory together, as "
            f"{first.name} takes {used / 2**20:.0f} MiB and they have {processes} processes, but {free / 2**30:.1f} GiB are "
            "available; measure fewer with --servers"
        )


def without_missing(experiment: Experiment, up: Collection[str], say: Say) -> Experiment:
    """`experiment` with those of its servers that are `up`. Where the reference is not, the first of the others takes its place."""
    cells = tuple(cell for cell in experiment.cells if cell.server in up)
    reference = experiment.reference
    if len(cells) == len(experiment.cells):
        return experiment
    if reference and reference not in up:
        reference = cells[0].server
        say(f"The reference {experiment.reference} is left out; the others are compared with {reference}.")
    return replace(experiment, cells=cells, reference=reference)


def describe(
    experiment: Experiment,
    started: Started,
    get: Get,
    *,
    servers: Mapping[str, Server],
    seed: int,
    results: Path,
    host: Host,
    origin: Origin | None = None,
    cpu_iterations: int | None = None,
) -> Run:
    """A run of `experiment` that begins now: with what every target reports of itself.

    `cpu_iterations` of a run that is resumed; else they are calibrated, for which everything must be idle.
    """
    layout = started.layout
    return Run(
        schema=SCHEMA,
        id=_run_id(experiment.name, results),
        lab=__version__,
        started=now(),
        runtime=started.runtime.name,
        seed=seed,
        experiment=experiment,
        server_cpus={count: cpus.spell(cores) for count, cores in layout.servers.items() if cores},
        generator_cpus=cpus.spell(layout.generator),
        backend_cpus=cpus.spell(layout.backends),
        cpu_iterations=_calibrate(experiment, started, get) if cpu_iterations is None else cpu_iterations,
        servers=servers,
        host=host,
        stacks=_stacks(started, get),
        packages={**package_versions(), **started.runtime.versions},
        notes=layout.notes,
        origin=origin,
    )


def _stacks(started: Started, get: Get) -> Mapping[str, Stack]:
    """What each stack really runs, as one of its servers reports; every server must answer, and from its cores."""
    stacks = {stack: Stack(digest=digest, packages={}) for stack, digest in started.digests.items()}
    for count, fleet in started.fleets.items():
        asked = started.layout.servers[count]
        for target in fleet.values():
            if not target.server.is_started:
                continue
            reported = facts(target.name, get(target, FACTS), asked)
            stack = target.server.stack
            stacks[stack] = replace(stacks[stack], python=reported.python, packages=reported.packages, is_complete=True)
    return stacks


def check_same_packages(run: Run, started: Started, get: Get, whose: str) -> None:
    """Raises TargetError unless the servers of another lane run on the same packages as those of `run`."""
    for stack, each in _stacks(started, get).items():
        known = run.stacks[stack]
        if (each.python, dict(each.packages)) != (known.python, dict(known.packages)):
            raise TargetError(
                f"{whose}: stack {stack} has other packages on one than on the other; {called('lab.clean')} and build anew, "
                "from the same base image"
            )


def _calibrate(experiment: Experiment, started: Started, get: Get) -> int | None:
    """How many iterations the fixed work of `cpu` has, from the reference server or else the first."""
    if experiment.application is not None or "cpu" not in experiment.parameters:
        return None
    fleet = started.fleets[min(started.fleets)]
    target = fleet.get(experiment.reference) or next(iter(fleet.values()))
    return int(get(target, f"/calibrate?ms={experiment.parameters['cpu']['ms']:g}"))


def _run_id(name: str, results: Path) -> str:
    """The time and the experiment's name; where two runs begin within one second, a number too."""
    plain = now()[:19].replace("-", "").replace(":", "").replace("T", "-") + f"-{name}"
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([plain], numbered) if not (results / each).exists())
