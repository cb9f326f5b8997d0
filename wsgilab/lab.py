"""The facade: one function a task. What `tasks.py` calls, and any program may."""

import contextlib
import itertools
import secrets
import shutil
import webbrowser
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console, RenderableType

from wsgilab import campaign, host, interactive, launch, plan, process, spec, watch
from wsgilab.compare import compare, unsettled
from wsgilab.doctor import Finding, examine
from wsgilab.errors import HostError, Interrupted, LabError, StoreError
from wsgilab.launch import Started
from wsgilab.model import Cell, Comparison, Experiment, Observation, Run, Server
from wsgilab.places import (
    PROJECT,
    Places,
    all_runtimes,
    alone,
    choose_runtime,
    choose_servers,
    places,
    read_catalogue,
    read_text,
    shown,
    signals_raise,
)
from wsgilab.progress import LineReporter, Reporter, TerminalReporter
from wsgilab.render import FORMATS, terminal
from wsgilab.standing import USER, Standing, Wanted, ui_url
from wsgilab.store import Journal, Store, check_writable
from wsgilab.swarm.client import LocustSwarm, Swarm
from wsgilab.watch import Watch

__all__ = [
    "DEFAULT_EXPERIMENT",
    "PROJECT",
    "Places",
    "Request",
    "Wanted",
    "alone",
    "choose_runtime",
    "places",
    "read_catalogue",
    "signals_raise",
]

DEFAULT_EXPERIMENT = "experiments/answer.yaml"


# --- running


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asks of a run; None and empty mean: as the experiment says."""

    experiment: str | None = None
    runtime: str | None = None
    servers: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    blocks: int | None = None
    precision: float | None = None
    max_blocks: int | None = None
    seed: int | None = None
    share_generator: bool = False
    generator_cores: int | None = None
    resume: str | None = None
    watch: bool = False
    port: int | None = None
    """Of the web UI, with `watch`."""


def run(request: Request, console: Console, places: Places) -> tuple[Comparison, Path]:
    """Execute an experiment, or go on with one, and write its comparison.

    Whatever ends it early, what was measured by then is compared and written. Raises LabError or Interrupted.
    """
    resumed = _resumed(request, places)
    earlier = resumed.run() if resumed else None
    watched_at = _watched_at(request)
    runtime, reason = choose_runtime(places, request.runtime or (earlier.runtime if earlier else None))
    if earlier and earlier.runtime != runtime.name:
        raise StoreError(f"--resume {earlier.id}: it ran in {earlier.runtime}, not {runtime.name}; resume it there")
    reporter = _reporter(console)
    reporter.say(f"Runtime: {runtime.name} ({reason}).")

    servers = read_catalogue(places)
    experiment = earlier.experiment if earlier else _experiment(request, servers)
    used = _used(experiment, servers)
    layout = launch.lay_out(
        {cell.cores for cell in experiment.cells},
        share=experiment.generator == "shared",
        generator_cores=experiment.generator_cores,
        option="--generator-cores",
        say=reporter.say,
    )
    if earlier:
        # Before anything is installed or started for nothing.
        _check_same(earlier, replace(earlier, servers=used, host=host.fingerprint()), *_AT_START)

    with signals_raise(), alone(places):
        check_writable(places.results)
        fleets = {count: _with_cores(experiment, used, count) for count in layout.servers}
        with contextlib.ExitStack() as up:
            started = up.enter_context(launch.started(runtime, layout, fleets, reporter.say))
            swarm = LocustSwarm(up.enter_context(runtime.swarm(layout.generator)), layout.generator)
            current = launch.describe(
                experiment,
                started,
                lambda target, page: swarm.get(target.base_url + page),
                servers=used,
                seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
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
                _report_early_end(error, store, console)
                raise
        return _write(store), store.folder


def _watched_at(request: Request) -> tuple[str, int] | None:
    """Address and port of the web UI, where one is asked for."""
    if request.watch:
        return interactive.choose_port(interactive.HOST, interactive.PORT if request.port is None else request.port)
    if request.port is not None:
        raise HostError(f"--port {request.port}: is where the web UI is to be; give --watch too")
    return None


def _resumed(request: Request, places: Places) -> Store | None:
    """The run to go on with, if one is asked for. Raises StoreError where other options would change it."""
    if request.resume is None:
        return None
    if replace(request, resume=None, runtime=None, watch=False, port=None) != Request():
        raise StoreError(
            f"--resume {request.resume}: a resumed run keeps its experiment and seed; give no other option"
        )
    return Store.find(places.results, request.resume)


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


def _report_early_end(error: LabError | Interrupted, store: Store, console: Console) -> None:
    """What was measured is worth reading, whatever ended the run; but it must not hide what did."""
    with contextlib.suppress(LabError):
        comparison = _write(store)
        if comparison.measured:
            show(comparison, console, store.folder)
            cause = f"by {error}" if isinstance(error, Interrupted) else "by an error"
            console.print(
                f"Ended early {cause}: {comparison.measured} of {comparison.trials} trials measured. "
                f"Go on with: invoke lab.run --resume {comparison.run.id}",
                markup=False,
                highlight=False,
            )


def _experiment(request: Request, servers: Mapping[str, Server]) -> Experiment:
    path = Path(request.experiment or PROJECT / DEFAULT_EXPERIMENT)
    experiment = spec.parse(read_text(path, "experiment"), shown(path), servers)
    return spec.narrow(
        experiment,
        servers,
        servers=request.servers,
        cores=request.cores,
        blocks=request.blocks,
        precision=request.precision,
        max_blocks=request.max_blocks,
        share_generator=request.share_generator,
        generator_cores=request.generator_cores,
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
    ("the cores", lambda run: (dict(run.server_cpus), run.generator_cpus)),
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


def _write(store: Store) -> Comparison:
    comparison = compare(store.run(), store.observations())
    for render in FORMATS.values():
        store.write(render(comparison))
    return comparison


# --- the other tasks


def report(name: str | None, places: Places) -> tuple[Comparison, Path]:
    """Compare and render a stored run again, from its folder alone. Raises StoreError."""
    store = Store.find(places.results, name or "latest")
    return _write(store), store.folder


def build(request: Request, console: Console, places: Places) -> None:
    """Install the stacks or build the images of all servers, or of those asked for."""
    runtime, reason = choose_runtime(places, request.runtime)
    reporter = _reporter(console)
    reporter.say(f"Runtime: {runtime.name} ({reason}).")
    chosen = choose_servers(places, request.servers)
    with signals_raise(), alone(places):
        for stack, digest in runtime.prepare(chosen.values(), reporter.say).items():
            reporter.say(f"{stack}: {digest}")


def down(places: Places) -> int:
    """End every process and container of this checkout's lab. How many that were."""
    with signals_raise():
        return interactive.end(places) + sum(runtime.sweep() for runtime in all_runtimes(places))


def clean(places: Places) -> None:
    """End the interactive lab and what is left of others, and remove images and virtual environments. Results stay.

    Raises LabError where another lab is at work.
    """
    with signals_raise():
        interactive.end(places)
        with alone(places):
            for runtime in all_runtimes(places):
                runtime.sweep()
                runtime.clean()
        shutil.rmtree(places.state, ignore_errors=True)


# --- the interactive lab


def up(wanted: Wanted, console: Console, places: Places) -> None:
    """Bring the interactive lab up, or what of it has ended; print what is up and where. Raises LabError."""
    with signals_raise():
        stands = interactive.up(wanted, _reporter(console).say, places)
        _show_up(stands, console)
    _raise_for_ended(stands, "")


def status(console: Console, places: Places) -> None:
    """Print what is up and where. Raises LabError, with the remedy, where something is not."""
    with signals_raise():
        stands = interactive.look(places)
        _show_up(stands, console)
    _raise_for_ended(stands, "; invoke lab.up starts it again")


def _show_up(stands: Standing, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    ended = any(each.failure for each in stands.servers.values())
    columns = ("server", "address", "cores", "slots", *(["state"] if ended else []))
    rows = (
        (name, each.address, stands.server_cpus, _slots(each.slots), *([each.failure or "up"] if ended else []))
        for name, each in stands.servers.items()
    )
    console.print(terminal.grid(columns, rows))
    say("")
    say(f"Web UI: {stands.url}")
    if stands.password is not None:
        say(f"Login: user {USER}, password {stands.password}")
        say("http is not encrypted: whoever listens on the network can read both. Use a tunnel where that matters.")
    say("End it all with: invoke lab.down")


def _raise_for_ended(stands: Standing, remedy: str) -> None:
    if ended := {name: each.failure for name, each in stands.servers.items() if each.failure}:
        told = "; ".join(f"{name}: {failure}" for name, failure in ended.items())
        raise LabError(f"{told}; see invoke lab.logs {next(iter(ended))}{remedy}")


def logs(server: str, places: Places, *, follow: bool) -> Iterator[str]:
    """The lines that a server of the interactive lab has written; with `follow`, on and on. Raises LabError."""
    with signals_raise():
        yield from interactive.log(server, places, follow=follow)


def open_browser(places: Places) -> str:
    """Show the web UI in a browser. What came of it, in a line. Raises LabError where nothing is up."""
    with signals_raise():
        stands = interactive.check(places)
        login = "" if stands.password is None else f" (user {USER}, password {stands.password})"
        if webbrowser.open(stands.url):
            return f"Opened {stands.url}{login}"
        return f"There is no browser to be opened here; the web UI is at {stands.url}{login}"


# --- what the tasks print


def _slots(slots: int | None) -> str:
    return "∞" if slots is None else str(slots)


def catalogue_table(places: Places) -> RenderableType:
    """The servers as a table."""
    rows = (
        (each.name, _slots(each.slots), each.model, each.stack, " ".join(each.command))
        for each in read_catalogue(places).values()
    )
    return terminal.grid(("server", "slots", "model", "stack", "command"), rows)


def doctor(places: Places) -> Sequence[Finding]:
    """Whether this machine can run the lab, and what to do where it cannot."""
    return examine(servers=len(read_catalogue(places)), results=places.results, ports=places.ports)


def console() -> Console:
    """The standard output. In a pipe or a log there is no width to fold tables to."""
    found = Console(soft_wrap=False)
    return found if found.is_terminal else Console(width=200)


def show(comparison: Comparison, console: Console, folder: Path) -> None:
    """Print a comparison and where it is stored."""
    console.print(terminal.comparison(comparison, console.width))
    console.print(
        f"Results, with every column and how to read them: {shown(folder)}/comparison.md",
        markup=False,
        highlight=False,
    )


# --- small matters of this module


def _reporter(console: Console) -> Reporter:
    if console.is_terminal:
        return TerminalReporter(console)
    return LineReporter(lambda text: print(text, file=console.file, flush=True))
