"""The lab's questions to a server, which the application never sees: `/__lab__/ready`, `/__lab__/facts`, `/__lab__/late`."""

import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

from wsgilab_door.late import LateFile

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Pages:
    """A WSGI application that answers the lab's pages, and passes all else on to `application`.

    - `ready`: the application is loaded.
    - `facts`: JSON of what this server is in effect: `pid`, `cpus`, `python`, `implementation`, `gil`, `packages`.
    - `late`: the lines of `late` (see late.py), which empties it; nothing where it is None.
    """

    def __init__(self, application: WSGIApplication, late: LateFile | None) -> None:
        self._application = application
        self._pages: dict[str | None, tuple[str, Callable[[], bytes]]] = {
            "/__lab__/ready": ("text/plain", lambda: b"ready\n"),
            "/__lab__/facts": ("application/json", lambda: json.dumps(facts()).encode()),
            "/__lab__/late": ("text/plain", lambda: b"" if late is None else late.take()),
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        page = self._pages.get(environ.get("PATH_INFO"))
        if page is None:
            return self._application(environ, start_response)
        kind, answer = page
        body = answer()
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]


def facts() -> dict[str, Any]:
    """What this server is in effect: the process that answers, its cores, its Python, whether that has its GIL on, and every package
    beside it."""
    return {
        "pid": os.getpid(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "gil": has_gil(),
        "packages": installed(),
    }


def has_gil() -> bool:
    """Whether the threads of this process take turns. A free-threaded Python turns its GIL on for a module that needs it."""
    asked = getattr(sys, "_is_gil_enabled", None)
    return asked is None or bool(asked())


def installed() -> dict[str, str]:
    """The versions of all packages of this environment, by their names as package indexes spell them."""
    found = {re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(): each.version for each in metadata.distributions()}
    # It made the environment of a container, and nothing that serves needs it.
    found.pop("pip", None)
    return found
