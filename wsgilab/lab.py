"""The facade: one function a task. What `tasks.py` calls, and any program may."""

import shutil
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from wsgilab import analysis, grounds, interactive, scaffold
from wsgilab.doctor import Finding, examine, examine_site
from wsgilab.errors import LabError, UsageError
from wsgilab.model import Comparison, RunsComparison, Wish
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
    shown,
    signals_raise,
)
from wsgilab.progress import reporter_for
from wsgilab.render import terminal
from wsgilab.running import DEFAULT_CLAIMS, DEFAULT_EXPERIMENT, ClaimsRequest, Request, claims, run, site_file
from wsgilab.runtime.protocol import Say
from wsgilab.standing import USER, Standing, Wanted

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
    "claims",
    "places",
    "read_backends",
    "read_catalogue",
    "run",
    "signals_raise",
]

# --- reading what was measured


def report(name: str, console: Console, places: Places) -> Comparison:
    """Compare, write and print a stored run again, from its folder alone. Raises StoreError."""
    with signals_raise():
        return analysis.report(name, console, places)


def compare_runs(first: str, second: str, fail_on: str | None, console: Console, places: Places) -> RunsComparison:
    """Hold a stored run against an earlier one; raises LimitBreached where `fail_on`, such as `slower=5%`, is."""
    with signals_raise():
        return analysis.compare_runs(first, second, fail_on, console, places)


def recommend(wish: Wish, name: str, console: Console, places: Places) -> None:
    """Print which of the servers of a stored run to run. Raises LabError."""
    with signals_raise():
        analysis.recommend(wish, name, console, places)


# --- the other tasks


def new_experiment(name: str, places: Places) -> Path:
    """Write `experiments/NAME.yaml`, an experiment to begin with. Raises LabError where it is there, or cannot be."""
    text = scaffold.new_experiment(name, read_catalogue(places))
    file = places.project / "experiments" / f"{name}.yaml"
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise UsageError(f"{shown(file)}: is there already; choose another name, or edit it") from None
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
        grounds.opened(places, request.runtime, site_file(request.site), reporter.say) as found,
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
        file = site_file(site) or interactive.site_of(places)
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
            if (file := site_file(site)) is not None:
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
    console.print(terminal.grid(columns, rows, console.width))
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


def catalogue_table(places: Places, width: int) -> RenderableType:
    """The servers as a table."""
    rows = (
        (each.name, _slots(each.slots), each.model, each.stack, " ".join(each.command))
        for each in read_catalogue(places).values()
    )
    return terminal.grid(("server", "slots", "model", "stack", "command"), rows, width)


def doctor(places: Places, site: str | None = None) -> Sequence[Finding]:
    """Whether this machine, or those of a site, can run the lab, and what to do where they cannot. Raises LabError."""
    servers = len(read_catalogue(places))
    if (file := site_file(site)) is None:
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
