"""The interactive lab's tasks: open it, see what is up, read its logs. `installation.down` ends it."""

import webbrowser
from collections.abc import Iterator

from rich.console import Console

from wsgilab.model.errors import LabError
from wsgilab.model.text import called
from wsgilab.report import terminal
from wsgilab.report.tables import slots
from wsgilab.run.workspace import Workspace, signals_raise, with_catalogue
from wsgilab.session import control
from wsgilab.session.spec import SessionOptions
from wsgilab.session.state_file import SessionState
from wsgilab.system.progress import reporter_for
from wsgilab.web.access import USER


def up(options: SessionOptions, console: Console, workspace: Workspace) -> None:
    """Bring the interactive lab up, or what of it has ended; print what is up and where. Raises LabError."""
    with signals_raise():
        workspace = with_catalogue(workspace, options.catalogue)
        session = control.up(options, reporter_for(console).say, workspace)
        _show_up(session, console)
    _raise_for_ended(session, "")


def status(console: Console, workspace: Workspace) -> None:
    """Print what is up and where. Raises LabError, with the remedy, where something is not."""
    with signals_raise():
        session = control.look(workspace)
        _show_up(session, console)
    _raise_for_ended(session, f"; {called('lab.up')} starts it again")


def _show_up(session: SessionState, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    ended = any(each.failure for each in session.servers.values())
    backends = "; ".join(name + (f" ({failure})" if failure else "") for name, failure in session.backends.items())
    columns = ("server", "address", "cores", "slots", *(["state"] if ended else []))
    rows = (
        (name, each.address, session.server_cpus, slots(each.slots), *([each.failure or "up"] if ended else []))
        for name, each in session.servers.items()
    )
    console.print(terminal.grid(columns, rows, console.width))
    say("")
    if session.application is not None:
        say(f"Application: {session.application.entry}, from {session.application.source}")
    if backends:
        say(f"Backends, on core {session.backend_cpus}: {backends}")
    say(f"Web UI: {session.url}")
    if session.password is not None:
        say(f"Login: user {USER}, password {session.password}")
        say("http is not encrypted: anybody on the network can read both. Use a tunnel where that matters.")
    say(f"End it all with: {called('lab.down')}")


def _raise_for_ended(session: SessionState, remedy: str) -> None:
    if ended := session.failures:
        failures = "; ".join(f"{name}: {failure}" for name, failure in ended.items())
        raise LabError(f"{failures}; see {called('lab.logs')} {next(iter(ended))}{remedy}")


def logs(name: str, workspace: Workspace, *, follow: bool) -> Iterator[str]:
    """The lines that a server or backend of the interactive lab has written; with `follow`, on and on.

    Raises LabError.
    """
    with signals_raise():
        yield from control.log(name, workspace, follow=follow)


def open_browser(workspace: Workspace) -> str:
    """Show the web UI in a browser. What came of it, in a line. Raises LabError where nothing is up."""
    with signals_raise():
        session = control.check(workspace)
        login = "" if session.password is None else f" (user {USER}, password {session.password})"
        if webbrowser.open(session.url):
            return f"Opened {session.url}{login}"
        return f"There is no browser to be opened here; the web UI is at {session.url}{login}"
