"""What `lab.run` and the interactive lab do before load begins: install, start, and ask every server what it runs on."""

import contextlib
import functools
import itertools
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wsgilab import __version__
from wsgilab.model import SCHEMA, Backend, Experiment, Host, Origin, Run, Server, Stack
from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError, HostError, TargetError
from wsgilab.model.text import called, counted
from wsgilab.run.room import Room
from wsgilab.runtime import versions
from wsgilab.runtime.pages import FACTS, facts
from wsgilab.runtime.protocol import NO_LOCKS, Backends, BeforeMore, Fleet, Running, Runtime, Say, Target
from wsgilab.system import cpus
from wsgilab.system.host import now, package_versions

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
    room: Room | None = None,
) -> Iterator[Started]:
    """Backends, and a fleet for each number of cores in `servers`, after all is installed. Leaving it leaves nothing behind.

    Of a user's own `application` without the servers that do not go with it, and of a race without those for which there is no `room`;
    `locks`: those of a run that goes on. What an earlier run left is to be swept first.
    """
    used = {each.name: each for fleet in servers.values() for each in fleet}
    digests = runtime.prepare(list(used.values()), backends, say, application, locks)
    # Not all go with an application, and not every machine has what a server is compiled with, or its Python.
    able = {
        count: [each for each in fleet if each.installed_as in digests or not each.is_started]
        for count, fleet in servers.items()
    }
    is_compared = application is not None and application.against is not None
    if is_compared:
        able = {count: versions.with_both(fleet, [each.name for each in fleet]) for count, fleet in able.items()}
    servers = {count: fleet for count, fleet in able.items() if fleet}
    if not servers:
        raise BuildError("none of these servers can be installed here; name others with --servers")
    beside = f" and {' and '.join(each.name for each in backends)}" if backends else ""
    count = sum(map(len, servers.values()))
    if all(each.is_started for each in used.values()):
        say(f"Starting {count} server{'' if count == 1 else 's'}{beside} ...")
    began_s = time.monotonic()
    with contextlib.ExitStack() as up:
        # First, so that a server finds them, and last to end, so that none loses them.
        running = up.enter_context(runtime.backends(backends, layout.backends)) if backends else {}
        # How the lab's own servers start is known. With another application some may not, nor may all of a space of them, and the
        # others are worth measuring. A run that goes on has measured these, and needs all of them.
        may_lack = room.may_lack if room is not None else application is not None and not locks
        out: dict[str, TargetError] = {}

        def leave_out(name: str, error: TargetError) -> None:
            out[name] = error
            if room is not None:
                room.left_out[name] = "does not start"
            if not is_compared:
                _say_left_out(error, say)

        before_more: BeforeMore | None = None
        if room is not None:
            before_more = room.admit
        elif application is not None and may_lack and count > 1:
            before_more = functools.partial(_all_or_none, servers, application, runtime)
        fleets: dict[int, Fleet] = {}
        for cores, fleet in servers.items():
            # The smallest first, which tells what others take.
            ordered = sorted(fleet, key=lambda each: each.processes or 1) if before_more else fleet
            start = runtime.start(ordered, layout.servers[cores], leave_out if may_lack else None, before_more)
            fleets[cores] = up.enter_context(start)
            if room is not None:
                fleets[cores] = room.settle(fleets[cores], say)
            else:
                before_more = None
        fleets = {
            cores: {
                each.name: fleets[cores][each.name] for each in fleet if each.name in fleets[cores].keys() - out.keys()
            }
            for cores, fleet in servers.items()
        }
        if is_compared:
            fleets = _compared(fleets, servers, out, say)
        yield Started(
            runtime=runtime,
            layout=layout,
            fleets=fleets,
            backends=running,
            digests=digests,
            start_s=time.monotonic() - began_s,
        )


def _say_left_out(error: TargetError, say: Say) -> None:
    say(f"Left out: {error.message}")
    for line in error.detail.splitlines()[-_LAST_LINES:]:
        say(f"  | {line}")


def _compared(
    fleets: Mapping[int, Fleet], servers: Mapping[int, Collection[Server]], out: Mapping[str, TargetError], say: Say
) -> dict[int, Fleet]:
    """`fleets` with those servers of which both versions are up: what one of them is not has nothing to be compared with. Raises the
    first cause in `out` where there are none."""
    both = {
        cores: {each.name: fleets[cores][each.name] for each in versions.with_both(fleet, fleets[cores])}
        for cores, fleet in servers.items()
    }
    if not any(both.values()) and out:
        raise next(iter(out.values()))
    for error in out.values():
        _say_left_out(error, say)
    return {cores: fleet for cores, fleet in both.items() if fleet}


def _all_or_none(
    servers: Mapping[int, Collection[Server]],
    application: Application,
    runtime: Runtime,
    up: Sequence[Target],
    rest: Sequence[Server],
) -> int:
    """As `BeforeMore`: all the `rest`, once the first was looked at by `check_memory`."""
    if len(up) == 1:
        check_memory(servers, application, up[0], runtime.available_bytes(), confined=runtime.name == "compose")
    return len(rest)


def check_memory(
    servers: Mapping[int, Collection[Server]],
    application: Application,
    first: Running,
    available: int,
    *,
    confined: bool,
) -> None:
    """Raises HostError where all `servers` of a user's own `application` would take more memory than there is, by what `first` of them takes,
    which is up alone, beside `available` bytes. `confined`: whether memory_mb holds for each."""
    every = [each for fleet in servers.values() for each in fleet]
    own = next(each.processes or 1 for each in every if each.name == first.name)
    used = first.usage().resident_bytes
    free = available + used
    processes = sum(each.processes or 1 for each in every)
    needed = used // own * processes
    if application.memory_mb is not None and confined:
        needed = min(needed, application.memory_mb * 2**20 * len(every))
    if needed > free:
        fit = _fitting(every, used // own, free, application.memory_mb if confined else None)
        raise HostError(
            f"{counted(len(every), 'server')} would take about {needed / 2**30:.1f} GiB of memory together, as "
            f"{first.name} takes {used / 2**20:.0f} MiB and they have {processes} processes, but {free / 2**30:.1f} GiB are "
            f"available, enough for {fit} of them; measure fewer, with --servers"
        )


def _fitting(servers: Collection[Server], each_bytes: int, free: int, memory_mb: int | None) -> int:
    """How many of `servers` fit into so much memory, those with the fewest processes first."""
    took, fit = 0, 0
    for processes in sorted(each.processes or 1 for each in servers):
        took += min(each_bytes * processes, sys.maxsize if memory_mb is None else memory_mb * 2**20)
        fit += took <= free
    return fit


def on_all(lanes: Sequence[Started]) -> Sequence[Started]:
    """What is up on each of the lanes, without the servers that another has left out: any lane may get any block.

    Raises TargetError where nothing remains.
    """
    common = frozenset[str].intersection(*(each.names for each in lanes))
    if not common:
        raise TargetError("no server is up on all machines of targets; see above which were left out, and why")
    return [
        replace(
            each,
            fleets={
                cores: {name: fleet[name] for name in fleet if name in common} for cores, fleet in each.fleets.items()
            },
        )
        for each in lanes
    ]


def narrowed(run: Run, up: Collection[str], say: Say) -> Run:
    """`run` with those of its servers that are `up`, and what they run on. As it is resumed, it has no others."""
    servers = {name: server for name, server in run.servers.items() if name in up}
    gone = {each.installed_as for each in run.servers.values()} - {each.installed_as for each in servers.values()}
    stacks = {name: stack for name, stack in run.stacks.items() if name not in gone}
    gil = {name: is_on for name, is_on in run.gil.items() if name in servers}
    experiment = without_missing(run.experiment, up, say)
    return replace(run, experiment=experiment, servers=servers, stacks=stacks, gil=gil)


def without_missing(experiment: Experiment, up: Collection[str], say: Say) -> Experiment:
    """`experiment` with those of its servers that are `up`. Where the reference is not, the first of the others takes its place."""
    cells = tuple(cell for cell in experiment.cells if cell.server in up)
    reference = experiment.reference
    if len(cells) == len(experiment.cells):
        return experiment
    if reference and reference not in up:
        reference = cells[0].server
        say(f"The reference {experiment.reference} is left out; the others are compared with {reference}.")
    counterparts = {name: there for name, there in experiment.counterparts.items() if {name, there} <= set(up)}
    return replace(experiment, cells=cells, reference=reference, counterparts=counterparts)


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
    stacks, gil = _reported(started, get)
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
        stacks=stacks,
        packages={**package_versions(), **started.runtime.versions},
        notes=layout.notes,
        origin=origin,
        gil=gil,
    )


def _reported(started: Started, get: Get) -> tuple[Mapping[str, Stack], Mapping[str, bool]]:
    """What each stack really runs, as one of its servers reports, and server -> whether its GIL is on; every server must answer,
    and from its cores."""
    gil = {}
    stacks = {stack: Stack(digest=digest, packages={}) for stack, digest in started.digests.items()}
    for count, fleet in started.fleets.items():
        asked = started.layout.servers[count]
        for target in fleet.values():
            if not target.server.is_started:
                continue
            reported = facts(target.name, get(target, FACTS), asked)
            stack = target.server.installed_as
            stacks[stack] = replace(stacks[stack], python=reported.python, packages=reported.packages, is_complete=True)
            gil[target.name] = reported.has_gil
    return stacks, gil


def check_same_packages(run: Run, started: Started, get: Get, whose: str) -> None:
    """Raises TargetError unless the servers of another lane run on the same packages as those of `run`."""
    for stack, each in _reported(started, get)[0].items():
        known = run.stacks.get(stack)
        # Where one lane has left out all servers of a stack, it is measured on none.
        if known is not None and (each.python, dict(each.packages)) != (known.python, dict(known.packages)):
            raise TargetError(
                f"{whose}: stack {stack} has other packages on one than on the other; {called('lab.clean')} and build anew, "
                "from the same base image"
            )


def first_of(started: Started, experiment: Experiment) -> Target:
    """The reference, or else the first, on the fewest cores: what is looked at before the first trial."""
    fleet = started.fleets[min(started.fleets)]
    return fleet.get(experiment.reference) or next(iter(fleet.values()))


def _calibrate(experiment: Experiment, started: Started, get: Get) -> int | None:
    """How many iterations the fixed work of `cpu` has, from the reference server or else the first."""
    if experiment.application is not None or "cpu" not in experiment.parameters:
        return None
    target = first_of(started, experiment)
    return int(get(target, f"/calibrate?ms={experiment.parameters['cpu']['ms']:g}"))


def _run_id(name: str, results: Path) -> str:
    """The time and the experiment's name; where two runs begin within one second, a number too."""
    plain = now()[:19].replace("-", "").replace(":", "").replace("T", "-") + f"-{name}"
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([plain], numbered) if not (results / each).exists())
