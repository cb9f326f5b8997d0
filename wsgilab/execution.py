"""One run, from what is asked for to what its observations say: everything up, block after block, and down again."""

import contextlib
import itertools
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from wsgilab import campaign, host, interactive, launch, plan, process, watch
from wsgilab.compare import unsettled
from wsgilab.errors import HostError, Interrupted, LabError, StoreError
from wsgilab.launch import Started
from wsgilab.model import Cell, Comparison, Experiment, Observation, Run, Server
from wsgilab.places import (
    Places,
    alone,
    choose_backends,
    choose_runtime,
    read_catalogue,
    signals_raise,
)
from wsgilab.progress import Reporter, reporter_for
from wsgilab.standing import ui_url
from wsgilab.store import Journal, Store, check_writable
from wsgilab.swarm.client import LocustSwarm, Swarm
from wsgilab.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a run is carried out, whatever it measures; None: as it comes."""

    task: str
    """By which the user goes on with it."""
    runtime: str | None = None
    seed: int | None = None
    resume: str | None = None
    """The id of a run to go on with, or `latest`."""
    watch: bool = False
    port: int | None = None
    """Of the web UI, with `watch`."""


Choose = Callable[[Mapping[str, Server]], Experiment]
"""What to measure, on servers of a catalogue."""

Conclude = Callable[[Store, Console], Comparison]
"""Writes and prints what a run says that has ended, early or not."""


def run(manner: Manner, choose: Choose, conclude: Conclude, console: Console, places: Places) -> Comparison:
    """Execute what `choose` says, or go on with a run, and conclude it.

    Whatever ends it early, what was measured by then is concluded. Raises LabError or Interrupted.
    """
    resumed = Store.find(places.results, manner.resume) if manner.resume is not None else None
    earlier = resumed.run() if resumed else None
    watched_at = _watched_at(manner)
    runtime, reason = choose_runtime(places, manner.runtime or (earlier.runtime if earlier else None))
    if earlier and earlier.runtime != runtime.name:
        raise StoreError(f"--resume {earlier.id}: it ran in {earlier.runtime}, not {runtime.name}; resume it there")
    reporter = reporter_for(console)
    reporter.say(f"Runtime: {runtime.name} ({reason}).")

    servers = read_catalogue(places)
    experiment = earlier.experiment if earlier else choose(servers)
    used = _used(experiment, servers)
    backends = choose_backends(places, {cell.workload for cell in experiment.cells})
    layout = launch.lay_out(
        {cell.cores for cell in experiment.cells},
        share=experiment.generator == "shared",
        generator_cores=experiment.generator_cores,
        option="--generator-cores",
        say=reporter.say,
        backends=bool(backends),
    )
    if earlier:
        # Before anything is installed or started for nothing.
        _check_same(earlier, replace(earlier, servers=used, host=host.fingerprint()), *_AT_START)

    with signals_raise(), alone(places):
        check_writable(places.results)
        fleets = {count: _with_cores(experiment, used, count) for count in layout.servers}
        with contextlib.ExitStack() as up:
            started = up.enter_context(launch.started(runtime, layout, fleets, backends, reporter.say))
            swarm = LocustSwarm(up.enter_context(runtime.swarm(layout.generator)), layout.generator)
            current = launch.describe(
                experiment,
                started,
                lambda target, page: swarm.get(target.base_url + page),
                servers=used,
                seed=secrets.randbelow(2**31) if manner.seed is None else manner.seed,
                results=places.results,
                cpu_iterations=earlier.cpu_iterations if earlier else None,
            )
            if earlier:
                _check_same(earlier, current, *_AT_START, *_ONCE_UP)
            executed = earlier or current
            watched = Watch(None, reporter.say)
            if watched_at:
                known = resumed.observations() if resumed else ()
                watched = up.enter_context(watch.opened(started, executed, known, *watched_at, reporter.say))
                reporter.say(f"Watch it at {ui_url(*watched_at)}")
            store = resumed or Store.create(places.results, current)
            try:
                # The lab itself must not run on the servers' cores while they are measured.
                with process.pinned(layout.generator):
                    _execute(executed, store, started, swarm, reporter, watched)
            except (LabError, Interrupted) as error:
                _conclude_early(error, store, manner.task, conclude, console)
                raise
        return conclude(store, console)


def _watched_at(manner: Manner) -> tuple[str, int] | None:
    """Address and port of the web UI, where one is asked for."""
    if manner.watch:
        return interactive.choose_port(interactive.HOST, interactive.PORT if manner.port is None else manner.port)
    if manner.port is not None:
        raise HostError(f"--port {manner.port}: is where the web UI is to be; give --watch too")
    return None


def _execute(run: Run, store: Store, started: Started, swarm: Swarm, reporter: Reporter, watched: Watch) -> None:
    """Block after block; with `precision`, until every comparison is settled."""
    wanted: Collection[Cell] | None = None
    begun = 0
    with Journal(store) as journal:

        def save(observation: Observation) -> None:
            journal.append(observation)
            watched.observe(observation)

        for blocks in plan.looks(run.experiment):
            scheduled = plan.schedule(run.experiment, run.seed, range(begun, blocks))
            done = store.done()
            trials = plan.remaining(scheduled, done, wanted)
            if wanted is None:
                reporter.say(f"Run {run.id}: {len(trials)} trials, seed {run.seed}.")
            elif trials:
                reporter.say(f"{len(wanted)} cells are not settled by {begun} blocks: {len(trials)} trials more.")
            campaign.execute(
                trials,
                run=run,
                fleets=started.fleets,
                backends=started.backends,
                swarm=swarm,
                save=save,
                reporter=reporter,
                begin=_numbered(watched, len(done), len(trials)),
            )
            wanted, begun = unsettled(run, store.observations(), blocks), blocks
            if not wanted:
                break


def _numbered(watched: Watch, done: int, planned: int) -> campaign.Begin:
    """Tells of each of `planned` trials, after those that are `done`."""
    numbers = itertools.count(done + 1)
    return lambda trial: watched.begin(trial.cell, f"{next(numbers)} of {done + planned} trials")


def _conclude_early(
    error: LabError | Interrupted, store: Store, task: str, conclude: Conclude, console: Console
) -> None:
    """What was measured is worth reading, whatever ended the run; but it must not hide what did."""
    with contextlib.suppress(LabError):
        if not store.done():
            return
        comparison = conclude(store, console)
        cause = f"by {error}" if isinstance(error, Interrupted) else "by an error"
        console.print(
            f"Ended early {cause}: {comparison.measured} of {comparison.trials} trials measured. "
            f"Go on with: invoke {task} --resume {comparison.run.id}",
            markup=False,
            highlight=False,
        )


def _used(experiment: Experiment, servers: Mapping[str, Server]) -> dict[str, Server]:
    names = {cell.server for cell in experiment.cells}
    if missing := sorted(names - servers.keys()):
        raise StoreError(f"server {missing[0]} of this run is no longer in the catalogue; start a new run")
    return {name: server for name, server in servers.items() if name in names}


def _with_cores(experiment: Experiment, used: Mapping[str, Server], cores: int) -> Collection[Server]:
    names = {cell.server for cell in experiment.cells if cell.cores == cores}
    return [server for name, server in used.items() if name in names]


_Part = tuple[str, Callable[[Run], object]]
_AT_START: Sequence[_Part] = (
    ("the machine", lambda run: (run.host.cpu, run.host.architecture, run.host.usable_cpus, run.host.kernel)),
    ("the servers in the catalogue", lambda run: dict(run.servers)),
)
_ONCE_UP: Sequence[_Part] = (
    ("the cores", lambda run: (dict(run.server_cpus), run.generator_cpus, run.backend_cpus)),
    (
        "the installed packages",
        lambda run: {name: (each.python, dict(each.packages)) for name, each in run.stacks.items()},
    ),
)


def _check_same(earlier: Run, current: Run, *parts: _Part) -> None:
    """Trials of one run must be comparable. Raises StoreError where a part of what they ran on has changed."""
    for what, part in parts:
        if part(earlier) != part(current):
            raise StoreError(f"--resume {earlier.id}: {what} changed since it began; start a new run")
