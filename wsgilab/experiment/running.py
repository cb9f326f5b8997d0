"""A server that runs already, at a URL: what is measured of it, and what is not known. Pure."""

from dataclasses import replace
from urllib.parse import urlsplit

from wsgilab.experiment import application as applications
from wsgilab.model import Application, Cell, Experiment, Server
from wsgilab.model.errors import UsageError

NAME = "url"
"""What it is called, as a server and as the experiment."""
USERS = (1, 8, 32)
_BLOCKS = 4
"""As many as a verdict takes, and as experiments/application.yaml has."""
_WINDOW_S = 1.0
_PATIENCE_S = 10.0


def split(url: str, get: str | None) -> tuple[str, str]:
    """The address of the server that `--url` names, such as `http://127.0.0.1:5000`, and the path that users GET.

    `get`: the path where the URL has none; None: /. Raises UsageError.
    """
    shown = f"--url {url!r}" if not url.isprintable() or not url.isascii() else f"--url {url}"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise UsageError(f"{shown}: is no URL ({error}); name one such as http://127.0.0.1:5000") from None
    if parts.scheme != "http" or not host or not url.isascii() or not url.isprintable() or " " in url or port == 0:
        raise UsageError(f"{shown}: must be one of http, such as http://127.0.0.1:5000")
    if parts.username is not None or parts.password is not None:
        raise UsageError("--url: has a user name or a password, which results would record; leave them out")
    if parts.fragment:
        raise UsageError(f"{shown}: has a #, which is no part of a request; leave it out")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if get is not None and path not in ("", "/"):
        raise UsageError(f"--get {get}: {shown} has a path already; leave one of them out")
    return f"http://{parts.netloc}", get or path or "/"


def server(address: str) -> Server:
    """The server at `address`, of which nothing is declared."""
    return Server(
        name=NAME,
        stack="",
        command=(address,),
        environment={},
        slots=None,
        processes=None,
        model=None,
        summary=f"runs already, at {address}",
    )


def application(address: str, path: str) -> Application:
    """What its users send. Raises SpecError."""
    return replace(applications.of_get("running:app", ".", path), entry=address)


def experiment(application: Application) -> Experiment:
    """One cell for each of USERS."""
    (workload,) = application.requests
    cells = (Cell(server=NAME, cores=0, workload=workload, users=users, connection="close") for users in USERS)
    return Experiment(
        name=NAME,
        cells=tuple(cells),
        blocks=_BLOCKS,
        window_s=_WINDOW_S,
        patience_s=_PATIENCE_S,
        reference=NAME,
        generator="own",
        parameters={workload: {}},
        application=application,
    )
