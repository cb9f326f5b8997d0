"""Servers whose master process replaces their workers: what may be done to one in the middle of a trial, and whether its workers end
by themselves. Pure.

Only what the master's documentation says is done to it: Gunicorn ("Signal Handling", docs.gunicorn.org), Granian (README,
"Workers and threads") and uWSGI with `--master` ("Signals for controlling uWSGI", uwsgi-docs.readthedocs.io) take SIGHUP for a reload,
and start another worker in place of one that was killed, or end, which is to be found out too.
"""

import shlex
from collections.abc import Iterable

from wsgilab.experiment.slots import GUNICORN_SETTINGS
from wsgilab.model import Action, Server

_WITH_MASTER = ("gunicorn", "granian", "uwsgi")
_ENDING = ("--max-requests", "--workers-lifetime", "--workers-max-rss", "--max-worker-lifetime", "--reload-on-rss")
"""Options with which workers end by themselves, and others take their place."""
_SETTING = "max_requests"
"""The same in a configuration file of Gunicorn's."""


def refusal(server: Server, do: Action) -> str | None:
    """Why that cannot be done to a server, with the remedy; None where it can."""
    if not server.is_started:
        return "it is not the lab's to act on; name a server of the catalogue"
    program = server.command[0].rpartition("/")[2]
    if do == "stop":
        return None
    if program not in _WITH_MASTER:
        does = "reloads at SIGHUP" if do == "reload" else "starts another worker in place of one"
        return f"it is not known to have a master process that {does}; name a server of {', '.join(_WITH_MASTER)}"
    if program == "uwsgi" and not {"--master", "-M"}.intersection(server.command):
        return "without --master uWSGI has no process for that; add the option"
    return None


def replaces_workers(server: Server) -> bool:
    """Whether workers of a server end by themselves, so that more processes answer than there are at a time."""
    words = [*server.command, *_split(server.environment.get("GUNICORN_CMD_ARGS", ""))]
    ends = any(word.partition("=")[0] in _ENDING for word in words)
    return ends or _SETTING in server.environment.get(GUNICORN_SETTINGS, "")


def _split(words: str) -> Iterable[str]:
    try:
        return shlex.split(words)
    except ValueError:
        return ()
