"""The workloads' Locust files: loading the user classes that they define, and reporting what is wrong with one."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from locust import TaskSet, User
from locust.env import Environment
from locust.util.load_locustfile import is_user_class

LOCUSTFILES = Path("locustfiles")


class BadLocustfile(Exception):
    """A Locust file from which no users can be made. The message is one line."""


_loaded: dict[str, list[type[User]]] = {}


def user_classes(locustfile: str) -> list[type[User]]:
    """The users of a workload's Locust file. Raises BadLocustfile."""
    if locustfile not in _loaded:
        path = LOCUSTFILES / f"{locustfile}.py"
        found = [each for each in vars(_module(path)).values() if is_user_class(each)]
        if not found:
            raise BadLocustfile(f"{path} has no user: a class that is derived from LabUser, and is not abstract")
        _loaded[locustfile] = found
    return list(_loaded[locustfile])


def every_user_class() -> list[type[User]]:
    """The users of all workloads. A Locust file that is broken is skipped: `user_classes` reports it when it is needed."""
    found: dict[str, type[User]] = {}
    for path in sorted(LOCUSTFILES.glob("*.py")):
        with contextlib.suppress(BadLocustfile):
            for each in user_classes(path.stem):
                # Locust knows users by the names of their classes.
                found.setdefault(each.__name__, each)
    return list(found.values())


def _module(path: Path) -> ModuleType:
    """Import a Locust file by its path: its name may also be another module's, such as one of the standard library's.

    Raises BadLocustfile.
    """
    if not path.is_file():
        raise BadLocustfile(f"there is no {path}")
    whole = path.resolve()
    if str(whole.parent) not in sys.path:
        # At the end: Locust files find each other there, and hide no other module.
        sys.path.append(str(whole.parent))
    try:
        spec = importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin != str(whole):
        spec = importlib.util.spec_from_file_location(f"{LOCUSTFILES.name}/{path.stem}", whole)
    if spec is None or spec.loader is None:
        raise BadLocustfile(f"{path} is no Python file")
    if spec.name in sys.modules:
        # Another Locust file has imported it.
        return sys.modules[spec.name]
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a file does when it is imported
        del sys.modules[spec.name]
        raise BadLocustfile(fault(path, error)) from None
    return module


def fault(path: Path | str, error: BaseException, file: Path | None = None) -> str:
    """What is wrong with a Locust file, and in which line of which file. `file` is where it is, if that is not `path`."""
    where, line = str(path), None
    if isinstance(error, SyntaxError):
        what = error.msg
        line = error.lineno
        where = where if error.filename is None else str(Path(path).with_name(Path(error.filename).name))
    else:
        what = (traceback.format_exception_only(error)[-1].splitlines() or [""])[0]
        frames = traceback.extract_tb(error.__traceback__)
        lines = [each.lineno for each in frames if each.filename == str(file or Path(path).resolve())]
        line = lines[-1] if lines else None
    return f"{where}{'' if line is None else f', line {line}'}: {what}"


def report_user_errors(environment: Environment, report: Callable[[str], object]) -> None:
    """Call `report` with one line for each exception in a Locust file's own code.

    Locust only logs such an exception, and the user sends no request.
    """

    def on_user_error(user_instance: User | TaskSet, exception: BaseException, **_: Any) -> None:
        user = user_instance.user if isinstance(user_instance, TaskSet) else user_instance
        path = Path(sys.modules[type(user).__module__].__file__ or "")
        report(fault(LOCUSTFILES / path.name, exception))

    environment.events.user_error.add_listener(on_user_error)
