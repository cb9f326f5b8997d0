"""What `lab.run` and the interactive lab do before load begins: install, start, and ask every server what it runs on."""

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wsgilab import __version__
from wsgilab.model import SCHEMA, Backend, Experiment, Host, Origin, Run, Server, Stack
from wsgilab.model.application import Application
from wsgilab.model.errors import TargetError
from wsgilab.model.text import called
from wsgilab.runtime.pages import FACTS, facts
from wsgilab.runtime.protocol import NO_LOCKS, Backends, Fleet, Runtime, Say, Target
from wsgilab.system import cpus
from wsgilab.system.host import now, package_versions

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
        able = {count: [each for each in fleet if each.stack in digests] for count, fleet in servers.items()}
        servers = {count: fleet for count, fleet in able.items() if fleet}
    beside = f" and {' and '.join(each.name for each in backends)}" if backends else ""
    count = sum(map(len, servers.values()))
    say(f"Starting {count} server{'' if count == 1 else 's'}{beside} ...")
    with contextlib.ExitStack() as up:
        # First, so that a server finds them, and last to end, so that none loses them.
        running = up.enter_context(runtime.backends(backends, layout.backends)) if backends else {}
        fleets = {
            count: up.enter_context(runtime.start(fleet, layout.servers[count])) for count, fleet in servers.items()
        }
        yield Started(runtime=runtime, layout=layout, fleets=fleets, backends=running, digests=digests)


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
        server_cpus={count: cpus.spell(cores) for count, cores in layout.servers.items()},
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
