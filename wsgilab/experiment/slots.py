"""How many requests a command processes at once, worked out from its options and settings. Pure: nothing of them is executed.

Known are the servers of the catalogue whose command says it, with what the lab puts before them.
"""

import argparse
import ast
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Never

from wsgilab.model import ExecutionModel

GUNICORN_SETTINGS = "LAB_GUNICORN_CONF"
"""The environment variable with the text of a configuration file of Gunicorn's, as JSON. `wsgilab_door.gunicorn_settings` has it
executed by Gunicorn."""
LAB_SETTINGS = "python:wsgilab_door.gunicorn_settings"
"""What the lab's rows name as Gunicorn's configuration."""

_TELLING = ("workers", "threads", "worker_class", "worker_connections")
"""Settings of Gunicorn's that say how many requests it processes at once."""
_OF_NONE = "UWSGI_BINARY_PATH"
"""Says which Python runs again at a reload, and nothing of how many requests there are at once."""


class NotKnown(ValueError):
    """That cannot be worked out; the message says why, as the end of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the catalogue declares of a server."""

    slots: int | None
    """How many requests at once; None: unbounded."""
    processes: int | None
    """In how many processes; None: unbounded."""
    model: ExecutionModel


def work_out(command: Sequence[str], environment: Mapping[str, str]) -> Declared:
    """What `command` in `environment` comes to. Raises NotKnown."""
    words = list(command)
    if words[:3] == ["python", "-m", "wsgilab_door.behind_nginx"]:
        words = words[3:]
    if words[:2] == ["python", "-m"]:
        words = words[2:]
    name, *rest = words or [""]
    if name == "gunicorn":
        return _gunicorn(rest, environment)
    if name not in _SERVERS:
        known = ["gunicorn", *(each for each in _SERVERS if "." not in each)]
        raise NotKnown(f"{name} is none of {', '.join(known)} and the development server")
    if variables := sorted(each for each in environment if each.startswith(f"{name.upper()}_") and each != _OF_NONE):
        raise NotKnown(f"{variables[0]} is not read")
    return _SERVERS[name](rest)


def named_config(words: Sequence[str]) -> str | None:
    """What Gunicorn's words name with `-c` or `--config`; None: nothing. Raises NotKnown where they are none of Gunicorn's."""
    found: str | None = getattr(_parsed(words), "config", None)
    return found


# --- the development server


def _dev_server(words: Sequence[str]) -> Declared:
    parser = _Parser()
    parser.add_argument("--threaded", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args(words)
    if given.processes > 1:
        return Declared(slots=given.processes, processes=None, model="process")
    return Declared(slots=None if given.threaded else 1, processes=1, model="threads")


# --- servers with threads


def _waitress(words: Sequence[str]) -> Declared:
    parser = _Parser()
    parser.add_argument("--threads", type=int, default=4)
    given, _ = parser.parse_known_args(words)
    return Declared(slots=given.threads, processes=1, model="threads")


def _cheroot(words: Sequence[str]) -> Declared:
    parser = _Parser()
    parser.add_argument("--threads", type=int, default=10)
    given, _ = parser.parse_known_args(words)
    return Declared(slots=given.threads, processes=1, model="threads")


def _granian(words: Sequence[str]) -> Declared:
    parser = _Parser()
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--blocking-threads", type=int)
    parser.add_argument("--backlog", type=int, default=1024)
    parser.add_argument("--backpressure", type=int)
    given, _ = parser.parse_known_args(words)
    # Half as many threads as the connections that a worker takes (granian/server/common.py of 2.8).
    threads = given.blocking_threads or max(1, (given.backpressure or given.backlog // max(1, given.workers)) // 2)
    return Declared(slots=given.workers * threads, processes=given.workers, model="threads")


def _uwsgi(words: Sequence[str]) -> Declared:
    parser = _Parser()
    parser.add_argument("-p", "--processes", "--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gevent", "--async", type=int)
    given, others = parser.parse_known_args(words)
    for each in others:
        if each.startswith(("--ini", "--yaml", "--json", "--xml")) or each.endswith(
            (".ini", ".yaml", ".yml", ".json", ".xml")
        ):
            raise NotKnown(f"{each} is not read")
    if given.gevent is not None:
        return Declared(slots=given.processes * given.gevent, processes=given.processes, model="coroutines")
    model: ExecutionModel = "process" if given.threads == 1 else "threads"
    return Declared(slots=given.processes * given.threads, processes=given.processes, model=model)


_SERVERS: Mapping[str, Callable[[Sequence[str]], Declared]] = {
    "wsgilab_door.dev_server": _dev_server,
    "wsgilab_door.pywsgi": lambda _: Declared(slots=None, processes=1, model="coroutines"),
    "waitress-serve": _waitress,
    "cheroot": _cheroot,
    "granian": _granian,
    "uwsgi": _uwsgi,
}


# --- Gunicorn


def _gunicorn(words: Sequence[str], environment: Mapping[str, str]) -> Declared:
    """As Gunicorn has it: WEB_CONCURRENCY, then the configuration file, then GUNICORN_CMD_ARGS, and the command's own options."""
    settings: dict[str, Any] = {
        "workers": environment.get("WEB_CONCURRENCY") or 1,
        "threads": 1,
        "worker_class": "sync",
    }
    if (text := environment.get(GUNICORN_SETTINGS)) is not None:
        settings |= _settings(json.loads(text))
    for more in (shlex.split(environment.get("GUNICORN_CMD_ARGS", "")), words):
        settings |= vars(_parsed(more))
    if (config := settings.get("config", LAB_SETTINGS)) != LAB_SETTINGS:
        raise NotKnown(f"{config} is not read")
    try:
        workers, threads = int(str(settings["workers"]), 0), int(str(settings["threads"]), 0)
        connections = int(str(settings["worker_connections"]), 0) if "worker_connections" in settings else None
    except ValueError as error:
        raise NotKnown(f"a setting is no whole number ({error})") from None
    kind = str(settings["worker_class"])
    is_sync = kind == "sync" or kind.endswith("SyncWorker")
    if kind == "gthread" or (is_sync and threads > 1):
        each = threads if connections is None else min(threads, connections)
        return Declared(slots=workers * each, processes=workers, model="threads")
    if is_sync or kind == "tornado":
        return Declared(slots=workers, processes=workers, model="process" if is_sync else "event-loop")
    if kind in ("gevent", "gevent_wsgi", "gevent_pywsgi", "eventlet"):
        slots = None if connections is None else workers * connections
        return Declared(slots=slots, processes=workers, model="coroutines")
    raise NotKnown(f"of the worker class {kind} the lab does not know it")


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(argument_default=argparse.SUPPRESS)
    parser.add_argument("-w", "--workers")
    parser.add_argument("--threads")
    parser.add_argument("-k", "--worker-class")
    parser.add_argument("--worker-connections")
    parser.add_argument("-c", "--config")
    return parser.parse_known_args(list(words))[0]


def _settings(text: str) -> dict[str, object]:
    """Those settings of a configuration file that say how many requests there are at once, where each is a literal of its own."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise NotKnown("the configuration file is no Python") from None
    found: dict[str, object] = {}
    plain: set[ast.expr] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name) and isinstance(statement.value, ast.Constant):
                    found[target.id] = statement.value.value
                    plain.add(target)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in plain and node.id in _TELLING:
            raise NotKnown(f"the configuration file computes {node.id} in line {node.lineno}")
        if isinstance(node, ast.alias) and (node.name == "*" or (node.asname or node.name) in _TELLING):
            raise NotKnown(f"the configuration file imports {node.name} in line {node.lineno}")
    return {name: value for name, value in found.items() if name in _TELLING}


class _Parser(argparse.ArgumentParser):
    """Raises NotKnown where argparse would end the process."""

    def __init__(self, **more: Any) -> None:
        super().__init__(add_help=False, **more)

    def error(self, message: str) -> Never:
        raise NotKnown(message)
