"""One run, from what is asked for to what its observations say: everything up, block after block, and down again."""

import contextlib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from wsgilab import campaign, cpus, grounds, interactive, launch, origin, plan, sides, watch
from wsgilab.compare import is_disturbed, unsettled
from wsgilab.errors import Interrupted, LabError, StoreError, UsageError
from wsgilab.grounds import Ground
from wsgilab.model import Cell, Comparison, Experiment, Host, Observation, Origin, Run, Server, Trial
from wsgilab.model import Lane as RecordedLane
from wsgilab.places import (
    Places,
    alone,
    choose_backends,
    read_catalogue,
    signals_raise,
)
from wsgilab.plain import visible
from wsgilab.progress import Reporter, reporter_for
from wsgilab.runtime.protocol import SWARM, Say
from wsgilab.sides import Lane, Listener
from wsgilab.store import Journal, Store, check_writable
from wsgilab.swarm.client import LinkReading
from wsgilab.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a run is carried out, whatever it measures; None: as it comes."""

    task: str
    """By which the user goes on with it."""
    runtime: str | None = None
    site: Path | None = None
    """A file of the machines to run on; None: this one."""
    seed: int | None = None
    resume: str | None = None
    """The id of a run to go on with, or `latest`."""
    watch: bool = False
    port: int | None = None
    """Of the web UI, with `watch`."""

    def go_on(self, run: Run) -> str:
        """The command that measures what is left of a run."""
        site = "" if self.site is None else f" --site {self.site}"
        return f"invoke {self.task} --resume {run.id}{site}"

    def again(self, run: Run) -> str:
        """The command that writes what comes of a run, from what is stored of it."""
        return f"invoke {'lab.report' if self.task == 'lab.run' else self.task} --run {run.id}"


Choose = Callable[[Mapping[str, Server], Ground], Experiment]
"""What to measure, on servers of a catalogue, where there is such ground."""

Conclude = Callable[[Store, Console], Comparison]
"""Writes and prints what a run says that has ended, early or not."""


def run(manner: Manner, choose: Choose, conclude: Conclude, console: Console, places: Places) -> Comparison:
    """Execute what `choose` says, or go on with a run, and conclude it.

    Whatever ends it early, what was measured by then is concluded. Raises LabError or Interrupted.
    """
    resumed = Store.find(places.results, manner.resume) if manner.resume is not None else None
    earlier = resumed.run() if resumed else None
    _check_manner(manner, earlier)
    watched_at = _watched_at(manner)
    reporter = reporter_for(console)
    servers = read_catalogue(places)
    with contextlib.ExitStack() as whole:
        whole.enter_context(signals_raise())
        if manner.site is not None:
            # A site's machines are asked by containers, which no other lab of this checkout may sweep away.
            whole.enter_context(alone(places))
        runtime = manner.runtime or (earlier.runtime if earlier else None)
        found = whole.enter_context(grounds.opened(places, runtime, manner.site, reporter.say))
        if earlier and earlier.runtime != found[0].runtime.name:
            raise UsageError(
                f"--resume {earlier.id}: it ran in {earlier.runtime}, not {found[0].runtime.name}; resume it there"
            )
        experiment = earlier.experiment if earlier else choose(servers, found[0])
        used = _used(experiment, servers)
        backends = choose_backends(places, {cell.workload for cell in experiment.cells})
        stacks = {SWARM, *(each.stack for each in used.values()), *(each.stack for each in backends)}
        files = origin.read(places.project, stacks, backends=bool(backends))
        layouts = [_layout(ground, experiment, bool(backends), reporter.say) for ground in found]
        if earlier:
            # Before anything is installed or started for nothing.
            _check_same(earlier, _begun_now(earlier, used, found), *_AT_START)
            _check_origin(earlier, files, reporter.say)
        if manner.site is None:
            whole.enter_context(alone(places))
        check_writable(places.results)
        fleets = {count: _with_cores(experiment, used, count) for count in layouts[0].servers}
        whole.enter_context(_held(found, layouts, fleets, places, reporter.say))
        store = resumed
        try:
            with contextlib.ExitStack() as up:
                lanes = [
                    up.enter_context(sides.brought_up(ground, layout, fleets, backends, reporter.say))
                    for ground, layout in zip(found, layouts, strict=True)
                ]
                current = _describe(
                    experiment,
                    found,
                    lanes,
                    servers=used,
                    seed=secrets.randbelow(2**31) if manner.seed is None else manner.seed,
                    results=places.results,
                    files=files,
                    cpu_iterations=earlier.cpu_iterations if earlier else None,
                )
                if earlier:
                    _check_same(earlier, current, *_AT_START, *_ONCE_UP)
                executed = earlier or current
                known = resumed.observations() if watched_at and resumed else ()
                opened = watch.opened(found[0], lanes[0].started, executed, known, watched_at, reporter.say)
                watched = up.enter_context(opened)
                store = resumed or Store.create(places.results, current)
                open_cells = _execute(executed, store, lanes, reporter, watched, repeats=not places.share_cores)
        except (LabError, Interrupted) as error:
            # When all has been ended: whatever takes its time now, nothing runs meanwhile.
            if store is not None:
                _conclude_early(error, store, manner, conclude, console)
            raise
        comparison = _concluded(executed, store, manner, conclude, console)
        say_unsettled(executed.experiment, open_cells, reporter.say)
        say_disturbed(store, manner, reporter.say)
        return comparison


@contextlib.contextmanager
def _held(
    found: Sequence[Ground],
    layouts: Sequence[cpus.Layout],
    fleets: Mapping[int, Collection[Server]],
    places: Places,
    say: Say,
) -> Iterator[None]:
    """All cores, for this run alone, with nothing on them of an earlier one. Raises HostError."""
    for ground in found:
        ground.check_ports(places.ports, sum(map(len, fleets.values())))
    launch.sweep((ground.runtime for ground in found), say)
    with contextlib.ExitStack() as holding:
        for ground, layout in zip(found, layouts, strict=True):
            holding.enter_context(ground.held(layout, places, say))
        yield


def _begun_now(earlier: Run, servers: Mapping[str, Server], found: Sequence[Ground]) -> Run:
    """An earlier run as it would be if it began now, as far as that is known before anything is up."""
    return replace(earlier, servers=servers, host=found[0].host, lanes=_unlinked(found, earlier))


def _describe(
    experiment: Experiment,
    found: Sequence[Ground],
    lanes: Sequence[Lane],
    *,
    servers: Mapping[str, Server],
    seed: int,
    results: Path,
    files: Origin,
    cpu_iterations: int | None,
) -> Run:
    """A run that begins now. Raises TargetError where the servers of two lanes run on other packages."""
    first, *others = lanes

    def asked_by(lane: Lane) -> launch.Get:
        return lambda target, page: lane.swarm.get(target.base_url + page)

    run = launch.describe(
        experiment,
        first.started,
        asked_by(first),
        servers=servers,
        seed=seed,
        results=results,
        cpu_iterations=cpu_iterations,
        host=found[0].host,
        origin=files,
    )
    for other in others:
        launch.check_same_packages(run, other.started, asked_by(other), f"{first.machine} and {other.machine}")
    return replace(run, lanes=tuple(lane.recorded for lane in lanes if lane.recorded is not None))


def _check_manner(manner: Manner, earlier: Run | None) -> None:
    """A run goes on where it began. Raises UsageError."""
    if earlier is None:
        return
    if earlier.lanes and manner.site is None:
        names = ", ".join(lane.targets.name for lane in earlier.lanes)
        raise UsageError(
            f"--resume {earlier.id}: its targets ran on {names}; give the site file that has them, with --site"
        )
    if manner.site is not None and not earlier.lanes:
        raise UsageError(f"--resume {earlier.id}: it ran on one machine, without a site; leave out --site")


def _layout(ground: Ground, experiment: Experiment, backends: bool, say: Say) -> cpus.Layout:
    return ground.lay_out(
        {cell.cores for cell in experiment.cells},
        share=experiment.generator == "shared",
        generator_cores=experiment.generator_cores,
        option="--generator-cores",
        say=say,
        backends=backends,
    )


def _unlinked(found: Sequence[Ground], earlier: Run) -> tuple[RecordedLane, ...]:
    """The machines of today with the links of then, which may differ."""
    links = (
        LinkReading(round_trip_ms=lane.round_trip_ms, bandwidth_mbps=lane.bandwidth_mbps) for lane in earlier.lanes
    )
    lanes = (ground.lane(link) for ground, link in zip(found, links, strict=False))
    return tuple(lane for lane in lanes if lane is not None)


def _watched_at(manner: Manner) -> tuple[str, int] | None:
    """Address and port of the web UI, where one is asked for."""
    if manner.watch:
        return interactive.choose_port(interactive.HOST, interactive.PORT if manner.port is None else manner.port)
    if manner.port is not None:
        raise UsageError(f"--port {manner.port}: is where the web UI is to be; give --watch too")
    return None


def _execute(
    run: Run, store: Store, lanes: Sequence[Lane], reporter: Reporter, watched: Watch, *, repeats: bool
) -> Collection[Cell]:
    """Block after block, or one on each lane at a time; with `precision`, until every comparison is settled; with `repeats`,
    what others disturbed once more.

    The cells of those that are not, where it ends all the same.
    """
    wanted: Collection[Cell] | None = None
    begun = 0
    machines = [lane.machine for lane in lanes]
    with Journal(store) as journal:

        def save(observation: Observation) -> None:
            journal.append(observation)
            watched.observe(observation)

        for blocks in plan.looks(run.experiment):
            scheduled = plan.schedule(run.experiment, run.seed, range(begun, blocks))
            done = store.done(disturbed=not repeats)
            trials = plan.remaining(scheduled, done, wanted)
            if wanted is None:
                reporter.say(f"Run {run.id}: {len(trials)} trials, seed {run.seed}.")
            elif trials:
                reporter.say(f"{len(wanted)} cells are not settled by {begun} blocks: {len(trials)} trials more.")
            dealt = {
                machine: [each for each in trials if _taker(each, machines, run) == machine] for machine in machines
            }
            begin = _numbered(watched, len(done), len(trials))
            with reporter.bar("Trials", len(trials)) as advance:
                listener = Listener(begin=begin, save=save, advance=advance, say=reporter.say)
                sides.side_by_side(run, lanes, dealt, listener, repeats=repeats)
            wanted, begun = unsettled(run, store.observations(), blocks), blocks
            if not wanted:
                break
    return wanted or ()


def say_disturbed(store: Store, manner: Manner, say: Say) -> None:
    """Say how what others disturbed can be measured once more."""
    run = store.run()
    if disturbed := sum(is_disturbed(run, each) for each in store.observations()):
        trials = "1 trial" if disturbed == 1 else f"{disturbed} trials"
        say(f"Others disturbed {trials}. Once they have ended, {manner.go_on(run)} measures these again.")


def say_unsettled(experiment: Experiment, cells: Collection[Cell], say: Say) -> None:
    """That a run has ended at `max_blocks`, and what is not settled by then, if anything."""
    if not cells:
        return
    of = [cell for cell in cells if cell.server != experiment.reference] or cells
    named = sorted(map(campaign.describe, of))
    more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    say(
        f"Ended at max_blocks, {experiment.max_blocks}, with what is neither decided nor known to "
        f"{experiment.precision:.3g} yet: {'; '.join(named[:_NAMED])}{more}. "
        "A new run with a higher --max-blocks, or longer windows, may tell."
    )


_NAMED = 6


def _taker(trial: Trial, machines: Sequence[str], run: Run) -> str:
    return plan.machine_of(trial.block, machines, run.seed)


def _numbered(watched: Watch, done: int, planned: int) -> campaign.Begin:
    """Tells of each of `planned` trials, after those that are `done`; one that is repeated keeps its number."""
    numbers: dict[Trial, int] = {}

    def begin(trial: Trial) -> None:
        number = numbers.setdefault(trial, done + 1 + len(numbers))
        watched.begin(trial.cell, f"{number} of {done + planned} trials")

    return begin


def _conclude_early(
    error: LabError | Interrupted, store: Store, manner: Manner, conclude: Conclude, console: Console
) -> None:
    """What was measured is worth reading, whatever ended the run; but it must not hide what did."""

    def say(text: str) -> None:
        console.print(visible(text), markup=False, highlight=False)

    with contextlib.suppress(LabError):
        if not store.done(disturbed=True):
            return
        run = store.run()
        cause = f"by {error}" if isinstance(error, Interrupted) else "by an error"
        go_on = f"Go on with: {manner.go_on(run)}"
        try:
            comparison = conclude(store, console)
        except LabError as unwritten:
            say(f"What comes of it is not written: {unwritten.message}. Once it can be: {manner.again(run)}")
            say(f"Ended early {cause}. {go_on}")
        else:
            say(f"Ended early {cause}: {comparison.measured} of {comparison.trials} trials measured. {go_on}")


def _concluded(run: Run, store: Store, manner: Manner, conclude: Conclude, console: Console) -> Comparison:
    """What comes of a run that went to its end. Raises StoreError where it cannot be written, with how to do so later."""
    try:
        try:
            return conclude(store, console)
        except Interrupted:
            # All is measured, and this takes no more than moments. More signals are ignored by now.
            conclude(store, console)
            raise
    except StoreError as error:
        raise StoreError(
            f"{error.message}; all is measured and nothing is lost: once it can be written, {manner.again(run)} finishes it"
        ) from None


def _used(experiment: Experiment, servers: Mapping[str, Server]) -> dict[str, Server]:
    names = {cell.server for cell in experiment.cells}
    if missing := sorted(names - servers.keys()):
        raise StoreError(f"server {missing[0]} of this run is no longer in the catalogue; start a new run")
    return {name: server for name, server in servers.items() if name in names}


def _with_cores(experiment: Experiment, used: Mapping[str, Server], cores: int) -> Collection[Server]:
    names = {cell.server for cell in experiment.cells if cell.cores == cores}
    return [server for name, server in used.items() if name in names]


def _identity(host: Host) -> object:
    """What makes a machine the same one; its memory may differ a little from one start to the next."""
    return host.cpu, host.architecture, host.usable_cpus, host.kernel


_Part = tuple[str, Callable[[Run], object]]
_AT_START: Sequence[_Part] = (
    ("the machine", lambda run: _identity(run.host)),
    (
        "the machines of the site",
        lambda run: [
            [(each.name, each.cpus, _identity(each.host)) for each in (lane.targets, *lane.swarm)] for lane in run.lanes
        ],
    ),
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


def _check_origin(earlier: Run, now: Origin, say: Say) -> None:
    """And they must be of the same files. Raises StoreError where one that the run began with has changed, or is gone."""
    if earlier.origin is None:
        say(f"Note: what files {earlier.id} began with is not recorded, so whether they have changed is not known.")
        return
    for part, files in earlier.origin.files.items():
        found = now.files.get(part, {})
        # A file that is new is nothing that those of then know of.
        if changed := [path for path, digest in files.items() if found.get(path) != digest]:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise StoreError(
                f"--resume {earlier.id}: {part}: {changed[0]}{more} changed since it began; put it back, or start a new run"
            )
