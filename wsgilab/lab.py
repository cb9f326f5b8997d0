"""The facade: one function a task. What `tasks.py` calls, and any program may."""

import shutil
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console, RenderableType

from wsgilab import analysis, execution, grounds, interactive, scaffold, spec
from wsgilab import claims as claims_under_test
from wsgilab.claims import ClaimSet
from wsgilab.doctor import Finding, examine, examine_site
from wsgilab.errors import LabError, StoreError
from wsgilab.execution import Manner
from wsgilab.grounds import Ground
from wsgilab.model import Comparison, Experiment, RunsComparison, Server, Wish
from wsgilab.places import (
    PROJECT,
    Places,
    all_runtimes,
    alone,
    choose_runtime,
    choose_servers,
    places,
    read_backends,
    read_catalogue,
    read_text,
    shown,
    signals_raise,
)
from wsgilab.progress import reporter_for
from wsgilab.render import terminal
from wsgilab.render.claims import claims_md, claims_yaml
from wsgilab.runtime.protocol import Say
from wsgilab.standing import USER, Standing, Wanted
from wsgilab.store import Store

__all__ = [
    "DEFAULT_CLAIMS",
    "DEFAULT_EXPERIMENT",
    "PROJECT",
    "ClaimsRequest",
    "Comparison",
    "Places",
    "Request",
    "RunsComparison",
    "Wanted",
    "Wish",
    "alone",
    "choose_runtime",
    "places",
    "read_backends",
    "read_catalogue",
    "signals_raise",
]

DEFAULT_EXPERIMENT = "experiments/answer.yaml"
DEFAULT_CLAIMS = "experiments/claims.yaml"


# --- running


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asks of a run; None and empty mean: as the experiment says."""

    experiment: str | None = None
    runtime: str | None = None
    site: str | None = None
    """A file of the machines to run on; None: this one."""
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


def run(request: Request, console: Console, places: Places) -> Comparison:
    """Execute an experiment, or go on with one; write its comparison, and print it.

    Whatever ends it early, what was measured by then is compared. Raises LabError or Interrupted.
    """
    given = replace(request, resume=None, runtime=None, site=None, watch=False, port=None)
    if request.resume is not None and given != Request():
        raise StoreError(
            f"--resume {request.resume}: a resumed run keeps its experiment and seed; give no other option"
        )
    manner = Manner(
        task="lab.run",
        runtime=request.runtime,
        site=_file(request.site),
        seed=request.seed,
        resume=request.resume,
        watch=request.watch,
        port=request.port,
    )
    return execution.run(
        manner, lambda servers, ground: _experiment(request, servers, ground), analysis.conclude, console, places
    )


def _file(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _experiment(request: Request, servers: Mapping[str, Server], ground: Ground) -> Experiment:
    path = Path(request.experiment or PROJECT / DEFAULT_EXPERIMENT)
    experiment = spec.parse(
        read_text(path, "experiment"),
        shown(path),
        servers,
        cores=len(ground.usable),
        share_generator=request.share_generator,
        generator_cores=request.generator_cores,
        apart=ground.apart is not None,
    )
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


# --- reading what was measured


def report(name: str, console: Console, places: Places) -> Comparison:
    """Compare, write and print a stored run again, from its folder alone. Raises StoreError."""
    with signals_raise():
        return analysis.report(name, console, places)


def compare_runs(first: str, second: str, fail_on: str | None, console: Console, places: Places) -> RunsComparison:
    """Hold a stored run against an earlier one; raises LabError where `fail_on`, such as `slower=5%`, is breached."""
    with signals_raise():
        return analysis.compare_runs(first, second, fail_on, console, places)


def recommend(wish: Wish, name: str, console: Console, places: Places) -> None:
    """Print which of the servers of a stored run to run. Raises LabError."""
    with signals_raise():
        analysis.recommend(wish, name, console, places)


# --- claims


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsRequest:
    """What the command line asks of a run for claims; None and empty mean: as the file says."""

    claims: str | None = None
    """The file."""
    only: tuple[str, ...] = ()
    """Ids of the claims to test."""
    run: str | None = None
    """A stored run to judge again; nothing is measured."""
    runtime: str | None = None
    site: str | None = None
    """A file of the machines to run on; None: this one."""
    blocks: int | None = None
    seed: int | None = None
    resume: str | None = None


def claims(request: ClaimsRequest, console: Console, places: Places) -> Comparison:
    """Test claims; write their verdicts beside the run's comparison, and print them.

    Whatever ends it early, what was measured by then is judged. Raises LabError or Interrupted.
    """
    path = Path(request.claims or PROJECT / DEFAULT_CLAIMS)
    asked = claims_under_test.parse(read_text(path, "claims"), shown(path), read_catalogue(places))
    asked = claims_under_test.only(asked, request.only)

    def judged(store: Store, console: Console) -> Comparison:
        return _judged(store, asked, console)

    again = replace(request, claims=None, only=())
    if request.run is not None:
        if again != ClaimsRequest(run=request.run):
            raise StoreError(f"--run {request.run}: judges what is stored, and measures nothing; give no other option")
        return judged(Store.find(places.results, request.run), console)
    if request.resume is not None and replace(again, resume=None, runtime=None, site=None) != ClaimsRequest():
        raise StoreError(f"--resume {request.resume}: a resumed run keeps its blocks and seed; give no other option")
    manner = Manner(
        task="lab.claims",
        runtime=request.runtime,
        site=_file(request.site),
        seed=request.seed,
        resume=request.resume,
    )

    def choose(servers: Mapping[str, Server], ground: Ground) -> Experiment:
        return _testing(asked, request.blocks, servers, ground)

    return execution.run(manner, choose, judged, console, places)


def _testing(asked: ClaimSet, blocks: int | None, servers: Mapping[str, Server], ground: Ground) -> Experiment:
    """The experiment that tests claims, as far as the machine has the cores."""
    elsewhere = 0 if ground.apart is None else asked.experiment.generator_cores
    return spec.narrow(claims_under_test.feasible(asked, len(ground.usable) + elsewhere), servers, blocks=blocks)


def _judged(store: Store, asked: ClaimSet, console: Console) -> Comparison:
    """Write comparison and verdicts, and print the verdicts."""
    comparison = analysis.write(store)
    results = claims_under_test.judge(comparison.run, store.observations(), asked.claims)
    store.write({**claims_md(comparison.run, results), **claims_yaml(comparison.run, results)})
    console.print(terminal.verdicts(results))
    analysis.say(console, f"The evidence, and what to do about it: {shown(store.folder)}/claims.md")
    return comparison


# --- the other tasks


def new_experiment(name: str, places: Places) -> Path:
    """Write `experiments/NAME.yaml`, an experiment to begin with. Raises LabError where it is there, or cannot be."""
    text = scaffold.new_experiment(name, read_catalogue(places))
    file = places.project / "experiments" / f"{name}.yaml"
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise LabError(f"{shown(file)}: is there already; choose another name, or edit it") from None
    except OSError as error:
        raise LabError(f"{shown(file)}: cannot be written ({error.strerror})") from None
    return file


def build(request: Request, console: Console, places: Places) -> None:
    """Install the stacks or build the images of all servers, or of those asked for, and of the backends. Of a site: on each
    machine what it needs."""
    reporter = reporter_for(console)
    chosen = choose_servers(places, request.servers)
    with (
        signals_raise(),
        alone(places),
        grounds.opened(places, request.runtime, _file(request.site), reporter.say) as found,
    ):
        for ground in found:
            digests = ground.runtime.prepare(chosen.values(), read_backends(places).values(), reporter.say)
            for stack, digest in digests.items():
                reporter.say(f"{stack}: {digest}")


def down(places: Places, site: str | None, say: Say) -> int:
    """End every process and container of this checkout's lab, on this machine and on those of a site. How many that were.

    Raises LabError, at the end, where a machine of the site cannot be reached.
    """
    with signals_raise():
        file = _file(site) or interactive.site_of(places)
        ended = interactive.end(places) + sum(runtime.sweep() for runtime in all_runtimes(places))
        return ended + (0 if file is None else sum(grounds.on_each(places, file, lambda each: each.sweep(), say)))


def clean(places: Places, site: str | None, say: Say) -> None:
    """End the interactive lab and what is left of others, and remove images and virtual environments; of a site too, where
    one is named. Results stay.

    Raises LabError where another lab is at work.
    """
    with signals_raise():
        interactive.end(places)
        with alone(places):
            for runtime in all_runtimes(places):
                runtime.sweep()
                runtime.clean()
            if (file := _file(site)) is not None:
                grounds.on_each(places, file, lambda each: each.sweep(), say)
                grounds.on_each(places, file, lambda each: each.clean(), say)
        shutil.rmtree(places.state, ignore_errors=True)


# --- the interactive lab


def up(wanted: Wanted, console: Console, places: Places) -> None:
    """Bring the interactive lab up, or what of it has ended; print what is up and where. Raises LabError."""
    with signals_raise():
        stands = interactive.up(wanted, reporter_for(console).say, places)
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
    backends = "; ".join(name + (f" ({failure})" if failure else "") for name, failure in stands.backends.items())
    columns = ("server", "address", "cores", "slots", *(["state"] if ended else []))
    rows = (
        (name, each.address, stands.server_cpus, _slots(each.slots), *([each.failure or "up"] if ended else []))
        for name, each in stands.servers.items()
    )
    console.print(terminal.grid(columns, rows))
    say("")
    if backends:
        say(f"Backends, on core {stands.backend_cpus}: {backends}")
    say(f"Web UI: {stands.url}")
    if stands.password is not None:
        say(f"Login: user {USER}, password {stands.password}")
        say("http is not encrypted: whoever listens on the network can read both. Use a tunnel where that matters.")
    say("End it all with: invoke lab.down")


def _raise_for_ended(stands: Standing, remedy: str) -> None:
    if ended := stands.failures:
        told = "; ".join(f"{name}: {failure}" for name, failure in ended.items())
        raise LabError(f"{told}; see invoke lab.logs {next(iter(ended))}{remedy}")


def logs(name: str, places: Places, *, follow: bool) -> Iterator[str]:
    """The lines that a server or backend of the interactive lab has written; with `follow`, on and on.

    Raises LabError.
    """
    with signals_raise():
        yield from interactive.log(name, places, follow=follow)


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


def doctor(places: Places, site: str | None = None) -> Sequence[Finding]:
    """Whether this machine, or those of a site, can run the lab, and what to do where they cannot. Raises LabError."""
    servers = len(read_catalogue(places))
    if (file := _file(site)) is None:
        return examine(servers=servers, results=places.results, ports=places.ports)
    with signals_raise(), alone(places):
        return examine_site(
            grounds.read_site(file),
            project=places.project,
            state=places.state,
            lab_id=places.lab_id,
            servers=servers,
        )


def console() -> Console:
    """The standard output. In a pipe or a log there is no width to fold tables to."""
    found = Console(soft_wrap=False)
    return found if found.is_terminal else Console(width=200)
