"""The facade: one function a task. What `tasks.py` calls, and any program may."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from rich.console import Console, RenderableType

from wsgilab import __version__, campaign, catalogue, cpus, host, plan, process, spec
from wsgilab.compare import compare, unsettled
from wsgilab.doctor import Finding, examine
from wsgilab.errors import EngineError, HostError, Interrupted, LabError, StoreError, TargetError
from wsgilab.model import SCHEMA, Cell, Comparison, Experiment, Run, Server, Stack
from wsgilab.progress import LineReporter, Reporter, TerminalReporter
from wsgilab.render import FORMATS, terminal
from wsgilab.runtime import engine as engines
from wsgilab.runtime.engine import Engine, NoEngine
from wsgilab.runtime.local import LocalRuntime
from wsgilab.runtime.ports import port_range
from wsgilab.runtime.protocol import Fleet, Runtime
from wsgilab.store import Journal, Store, check_writable
from wsgilab.swarm.client import LocustSwarm, Swarm

PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_EXPERIMENT = "experiments/answer.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the lab's files are."""

    project: Path
    catalogue: Path
    results: Path
    state: Path
    """Environments and logs; two labs with different states know nothing of each other."""
    ports: str
    """A range of ports to publish servers at; empty for any."""

    @property
    def lab_id(self) -> str:
        """Tells this lab's processes and containers from any other's."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]


def places(environment: Mapping[str, str] = os.environ) -> Places:
    """The checkout's own places, or those that LAB_CATALOGUE, LAB_RESULTS, LAB_STATE and LAB_PORTS name."""

    def named(variable: str, default: Path) -> Path:
        return Path(environment.get(variable) or default).absolute()

    return Places(
        project=PROJECT,
        catalogue=named("LAB_CATALOGUE", PROJECT / "compose" / "servers.yaml"),
        results=named("LAB_RESULTS", PROJECT / "results"),
        state=named("LAB_STATE", PROJECT / ".lab"),
        ports=environment.get("LAB_PORTS", ""),
    )


def read_catalogue(places: Places) -> Mapping[str, Server]:
    """The servers, by name. Raises SpecError."""
    return catalogue.parse(_text(places.catalogue, "catalogue"), _shown(places.catalogue))


def choose_runtime(places: Places, wanted: str | None) -> tuple[Runtime, str]:
    """The runtime, and why that one. `wanted` is `compose`, `local`, or None for compose where an engine answers."""
    if places.ports:
        port_range(places.ports)
    if wanted not in (None, "compose", "local"):
        raise HostError(f"--runtime {wanted}: unknown runtime; known are compose, local")
    if wanted == "local":
        return LocalRuntime(places.project, places.state, places.lab_id, places.ports), "as asked"
    found = engines.find()
    if isinstance(found, NoEngine):
        if wanted == "compose":
            raise EngineError(f"--runtime compose: {found.reason}; {found.remedy}, or use --runtime local")
        return LocalRuntime(places.project, places.state, places.lab_id, places.ports), found.reason
    # Here, because Docker's library takes a third of a second to import, and most tasks do without.
    from wsgilab.runtime.compose import ComposeRuntime

    file = None if places.catalogue == places.project / "compose" / "servers.yaml" else places.catalogue
    runtime = ComposeRuntime(places.project, places.state, found, places.lab_id, file, places.ports)
    answers = f"Docker Engine {found.version} with Compose {found.compose} answers at {found.address}"
    return runtime, "as asked; " + answers if wanted else answers


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


def run(request: Request, console: Console, places: Places) -> tuple[Comparison, Path]:
    """Execute an experiment, or go on with one, and write its comparison.

    Whatever ends it early, what was measured by then is compared and written. Raises LabError or Interrupted.
    """
    resumed = _resumed(request, places)
    earlier = resumed.run() if resumed else None
    runtime, reason = choose_runtime(places, request.runtime or (earlier.runtime if earlier else None))
    if earlier and earlier.runtime != runtime.name:
        raise StoreError(f"--resume {earlier.id}: it ran in {earlier.runtime}, not {runtime.name}; resume it there")
    reporter = _reporter(console)
    reporter.say(f"Runtime: {runtime.name} ({reason}).")

    servers = read_catalogue(places)
    experiment = earlier.experiment if earlier else _experiment(request, servers)
    layout = _layout(experiment)
    used = _used(experiment, servers)
    spelt = "; ".join(f"{cpus.spell(cores)}" for cores in layout.servers.values())
    reporter.say(f"Cores: servers on {spelt}, generator on {cpus.spell(layout.generator)}.")
    for note in layout.notes:
        reporter.say(f"Note: {note}.")

    if earlier:
        # Before anything is installed or started for nothing.
        _check_same(earlier, replace(earlier, servers=used, host=host.fingerprint()), *_AT_START)

    with signals_raise(), alone(places):
        check_writable(places.results)
        if left := runtime.sweep():
            reporter.say(f"Ended {left} processes or containers that an earlier run had left behind.")
        digests = runtime.prepare(used.values(), reporter.say)
        reporter.say(f"Starting {len(used) * len(layout.servers)} servers ...")
        with contextlib.ExitStack() as up:
            fleets = {
                count: up.enter_context(runtime.start(_with_cores(experiment, used, count), cores))
                for count, cores in layout.servers.items()
            }
            swarm = LocustSwarm(up.enter_context(runtime.swarm(layout.generator)), layout.generator)
            current = Run(
                schema=SCHEMA,
                id=_run_id(experiment.name, places.results),
                lab=__version__,
                started=host.now(),
                runtime=runtime.name,
                seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
                experiment=experiment,
                server_cpus={count: cpus.spell(cores) for count, cores in layout.servers.items()},
                generator_cpus=cpus.spell(layout.generator),
                cpu_iterations=earlier.cpu_iterations if earlier else _calibrate(experiment, fleets, swarm),
                servers=used,
                host=host.fingerprint(),
                stacks=_stacks(fleets, swarm, digests, layout.servers),
                packages={**host.package_versions(), **runtime.versions},
                notes=layout.notes,
            )
            if earlier:
                _check_same(earlier, current, *_AT_START, *_ONCE_UP)
            store = resumed or Store.create(places.results, current)
            try:
                # The lab itself must not run on the servers' cores while they are measured.
                with process.pinned(layout.generator):
                    _execute(earlier or current, store, fleets, swarm, reporter)
            except (LabError, Interrupted) as error:
                _report_early_end(error, store, console)
                raise
        return _write(store), store.folder


def _resumed(request: Request, places: Places) -> Store | None:
    """The run to go on with, if one is asked for. Raises StoreError where other options would change it."""
    if request.resume is None:
        return None
    if replace(request, resume=None, runtime=None) != Request():
        raise StoreError(
            f"--resume {request.resume}: a resumed run keeps its experiment and seed; give no other option"
        )
    return Store.find(places.results, request.resume)


def _execute(run: Run, store: Store, fleets: Mapping[int, Fleet], swarm: Swarm, reporter: Reporter) -> None:
    """Block after block; with `precision`, until every comparison is settled."""
    wanted: Collection[Cell] | None = None
    begun = 0
    with Journal(store) as journal:
        for blocks in plan.looks(run.experiment):
            scheduled = plan.schedule(run.experiment, run.seed, range(begun, blocks))
            trials = plan.remaining(scheduled, store.done(), wanted)
            if wanted is None:
                reporter.say(f"Run {run.id}: {len(trials)} trials, seed {run.seed}.")
            elif trials:
                reporter.say(f"{len(wanted)} cells are not settled by {begun} blocks: {len(trials)} trials more.")
            campaign.execute(trials, run=run, fleets=fleets, swarm=swarm, save=journal.append, reporter=reporter)
            wanted, begun = unsettled(run, store.observations(), blocks), blocks
            if not wanted:
                break


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
    experiment = spec.parse(_text(path, "experiment"), _shown(path), servers)
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


def _layout(experiment: Experiment) -> cpus.Layout:
    try:
        return cpus.layout(
            usable=host.usable_cpus(),
            siblings=host.siblings(),
            counts={cell.cores for cell in experiment.cells},
            share=experiment.generator == "shared",
            generator_cores=experiment.generator_cores,
        )
    except cpus.DoesNotFit as error:
        raise HostError(f"cores: {error}") from None


def _used(experiment: Experiment, servers: Mapping[str, Server]) -> dict[str, Server]:
    names = {cell.server for cell in experiment.cells}
    if missing := sorted(names - servers.keys()):
        raise StoreError(f"server {missing[0]} of this run is no longer in the catalogue; start a new run")
    return {name: server for name, server in servers.items() if name in names}


def _with_cores(experiment: Experiment, used: Mapping[str, Server], cores: int) -> Collection[Server]:
    names = {cell.server for cell in experiment.cells if cell.cores == cores}
    return [server for name, server in used.items() if name in names]


def _stacks(
    fleets: Mapping[int, Fleet], swarm: Swarm, digests: Mapping[str, str], asked: Mapping[int, frozenset[int]]
) -> Mapping[str, Stack]:
    """What each stack really runs, as one of its servers tells; every server must answer, from the cores asked for."""
    stacks = {stack: Stack(digest=digest, packages={}) for stack, digest in digests.items()}
    for count, fleet in fleets.items():
        for target in fleet.values():
            facts = json.loads(swarm.get(f"{target.base_url}/lab"))
            if frozenset(facts["cpus"]) != asked[count]:
                raise TargetError(
                    f"{target.server.name} answers from cores {cpus.spell(facts['cpus'])}, not from "
                    f"{cpus.spell(asked[count])} as asked; it moved itself"
                )
            stack = target.server.stack
            stacks[stack] = replace(stacks[stack], python=facts["python"], packages=facts["packages"])
    return stacks


def _calibrate(experiment: Experiment, fleets: Mapping[int, Fleet], swarm: Swarm) -> int | None:
    """How many iterations the fixed work of `cpu` has, from the reference server while everything is idle."""
    if "cpu" not in experiment.parameters:
        return None
    fleet = fleets[min(fleets)]
    target = fleet.get(experiment.reference) or next(iter(fleet.values()))
    return int(swarm.get(f"{target.base_url}/calibrate?ms={experiment.parameters['cpu']['ms']:g}"))


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


def _run_id(name: str, results: Path) -> str:
    """The time and the experiment's name; where two runs begin within one second, a number too."""
    plain = host.now()[:19].replace("-", "").replace(":", "").replace("T", "-") + f"-{name}"
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([plain], numbered) if not (results / each).exists())


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
    servers = read_catalogue(places)
    for name in request.servers:
        if name not in servers:
            raise HostError(f"--servers: unknown server {name!r}; known are {', '.join(servers)}")
    chosen = [server for name, server in servers.items() if not request.servers or name in request.servers]
    with signals_raise(), alone(places):
        for stack, digest in runtime.prepare(chosen, reporter.say).items():
            reporter.say(f"{stack}: {digest}")


def down(places: Places) -> int:
    """End every process and container of this checkout's lab. How many that were."""
    return sum(runtime.sweep() for runtime in _runtimes(places))


def clean(places: Places) -> None:
    """`down`, and remove images and virtual environments. Results stay."""
    with alone(places):
        for runtime in _runtimes(places):
            runtime.sweep()
            runtime.clean()
    shutil.rmtree(places.state, ignore_errors=True)


def _runtimes(places: Places) -> Iterator[Runtime]:
    yield choose_runtime(places, "local")[0]
    if isinstance(engines.find(), Engine):
        yield choose_runtime(places, "compose")[0]


def catalogue_table(places: Places) -> RenderableType:
    """The servers as a table."""
    rows = (
        (each.name, "∞" if each.slots is None else str(each.slots), each.model, each.stack, " ".join(each.command))
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
        f"Results, with every column and how to read them: {_shown(folder)}/comparison.md",
        markup=False,
        highlight=False,
    )


# --- small matters of this module


def _reporter(console: Console) -> Reporter:
    if console.is_terminal:
        return TerminalReporter(console)
    return LineReporter(lambda text: print(text, file=console.file, flush=True))


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise LabError(f"{what} {path}: cannot be read ({cause}); name a YAML file that is there") from None


def _shown(path: Path) -> str:
    """A path as a user would type it from the project's folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextlib.contextmanager
def alone(places: Places) -> Iterator[None]:
    """One lab at a time in a checkout: two would measure each other. Raises LabError."""
    try:
        places.state.mkdir(parents=True, exist_ok=True)
        with (places.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise LabError(f"{places.state}: another lab is at work in this checkout; wait for it, or stop it") from None


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Within, the first SIGINT or SIGTERM raises Interrupted; more are ignored, for the cleaning up is under way."""
    raised = False

    def handle(signum: int, _: FrameType | None) -> None:
        nonlocal raised
        if not raised:
            raised = True
            raise Interrupted(signum)

    before = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
