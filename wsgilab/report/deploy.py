"""A server of a run as people start it outside the lab: a command line, and the same in the files that name one. Pure.

What is the lab's own is left out: its door (`wsgilab_door`) makes place for the application, and where to listen is
`0.0.0.0:8000`.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.experiment import catalogue
from wsgilab.experiment.slots import GUNICORN_SETTINGS
from wsgilab.model import Run, Server

DOOR, DOOR_APP = "wsgilab_door", "wsgilab_door.wsgi:app"
ADDRESS = "0.0.0.0:8000"
_LABS_OWN = ("--bind", "--config", "--worker-tmp-dir", "--log-level")
"""Gunicorn's options in the environment of the lab's rows."""
_SETTINGS = {"preload": "preload_app"}
"""Options of Gunicorn's that its configuration file calls otherwise."""
_PACKAGES: Mapping[str, Sequence[str]] = {
    "gunicorn": ("gunicorn", "gevent", "eventlet", "tornado"),
    "waitress-serve": ("waitress",),
    "uwsgi": ("uwsgi",),
    "granian": ("granian",),
    "cheroot": ("cheroot",),
}
"""Program -> the packages that it may need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """How a server is started outside the lab."""

    command: str
    """A line for a shell."""
    packages: str
    """What it was measured with, as pip takes it: `gunicorn==26.0.0 gevent==25.9.1`. Empty where that is not known."""
    files: tuple[tuple[str, str], ...]
    """The same for a file that names a command: which file, and what it says."""


def deployment(run: Run, server: Server, cores: int) -> Deployment | None:
    """None where it has no command line of its own, since the lab starts it from Python."""
    application = run.experiment.application
    entry = "app:app" if application is None else application.entry
    words = [entry if word == DOOR_APP else catalogue.interpolate(word, {}) for word in server.command]
    words = [word.replace(DOOR_APP, entry) for word in words]
    if any(DOOR in word for word in words):
        return None
    program, text = words[0], ""
    if program == "gunicorn":
        more = [word for word in _environment_words(server) if word.partition("=")[0] not in _LABS_OWN]
        words = [program, f"--bind={ADDRESS}", *more, *words[1:]]
        text = json.loads(server.environment.get(GUNICORN_SETTINGS, '""').replace("$$", "$"))
    quoted = json.dumps(words)
    compose = f'services:\n  web:\n    command: {quoted}\n    ports: ["8000:8000"]\n    cpus: {cores}\n'
    on_port = shlex.join(words).replace(":8000", ":$PORT").replace("--port=8000", "--port=$PORT")
    files = [
        ("Procfile", f"web: {on_port}\n"),
        ("Dockerfile", f"CMD {quoted}\n"),
        ("compose.yaml", compose),
    ]
    if program == "gunicorn":
        files.insert(0, ("gunicorn.conf.py", text + "".join(f"{line}\n" for line in _settings(words[1:]))))
    return Deployment(command=shlex.join(words), packages=_packages(run, server, program), files=tuple(files))


def _environment_words(server: Server) -> Sequence[str]:
    return shlex.split(catalogue.interpolate(server.environment.get("GUNICORN_CMD_ARGS", ""), {}))


def _settings(words: Sequence[str]) -> Iterable[str]:
    """The lines of Gunicorn's configuration file for its long options. The application is its command's to name, or `wsgi_app`'s."""
    for word in words:
        option, is_given, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--"):
            yield f"wsgi_app = {word!r}"
        elif is_given:
            yield f"{_SETTINGS.get(name, name)} = {value if value.isdigit() else repr(value)}"
        else:
            yield f"{_SETTINGS.get(name, name)} = True"


def _packages(run: Run, server: Server, program: str) -> str:
    stack = run.stacks.get(server.stack)
    found = {} if stack is None else {name.lower(): version for name, version in stack.packages.items()}
    return " ".join(f"{name}=={found[name]}" for name in _PACKAGES.get(program, ()) if name in found)
