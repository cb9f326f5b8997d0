"""A Locust file of the user's own: loaded in a copy of its folder, and run with its own listeners and options, in one trial at a
time."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # isort: skip

import argparse
import atexit
import contextlib
import functools
import importlib.util
import io
import logging
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from locust import User, argument_parser
from locust.env import Environment
from locust.event import EventHook
from locust.util.load_locustfile import is_shape_class, is_user_class

from wsgilab.load.locustfiles import BadLocustfile, fault
from wsgilab.load.own_users import OwnUser
from wsgilab.model.application import LocustFile


class OwnLocustfile:
    """A file that is loaded, and its class of users."""

    def __init__(self, given: LocustFile, folder: Path) -> None:
        """`folder` has what was brought along with it. Raises BadLocustfile."""
        self.path = given.path
        self.file = folder / given.name
        self._place = _Place(folder, given)
        hooks = _hooks()
        before = _handlers(hooks)
        try:
            with self._place.used():
                _set_handlers(hooks, {})
                module = self._place.load()
            self._listeners = _handlers(hooks)
        finally:
            _set_handlers(hooks, before)
        found = _chosen(given, module)
        # Of both, so that the class and its own subclasses stay as they are.
        make: Any = type(found)
        self.user_class: type[User] = make(
            found.__name__, (OwnUser, found), {"__module__": found.__module__, "weight": 1, "fixed_count": 0}
        )
        shapes = [name for name, each in vars(module).items() if is_shape_class(each)]
        self.notes: Sequence[str] = [
            f"{self.path}: its load shape {name} is ignored; the experiment, or the web UI's form, says how many users there are."
            for name in shapes
        ]
        # What is wrong with them is wrong in each trial.
        self.options("", 1)

    def options(self, host: str, users: int) -> argparse.Namespace:
        """Locust's own options and those that the file adds, as by default. Raises BadLocustfile."""
        parser = argument_parser.get_empty_argument_parser(add_help=False, default_config_files=[])
        argument_parser.setup_parser_arguments(parser)  # type: ignore[no-untyped-call]

        def refuse(message: str) -> NoReturn:
            raise BadLocustfile(f"{self.path}: its own options have no default: {message}")

        parser.error = refuse  # type: ignore[method-assign]
        try:
            for listener in self._listeners.get("init_command_line_parser", ()):
                listener(parser=parser)
            found = parser.parse_args([])
        except BadLocustfile:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a file does
            raise BadLocustfile(fault(self.path, error, self.file)) from None
        vars(found).update(host=host, users=users, num_users=users, spawn_rate=users, headless=True)
        return argparse.Namespace(**vars(found))

    @contextlib.contextmanager
    def _running(self, environment: Environment, users: int) -> Iterator[None]:
        hooks = _hooks()
        before = _handlers(hooks)
        of_lab = _handlers(_hooks(environment.events))
        saved = environment.events, environment.user_classes, environment.parsed_options
        environment.parsed_options = self.options(environment.host or "", users)
        environment.user_classes = [self.user_class]
        try:
            _set_handlers(hooks, {name: [*of_lab.get(name, ()), *self._listeners.get(name, ())] for name in hooks})
            environment.events = locust.events
            with self._place.used():
                yield
        finally:
            OwnUser.wsgilab_recorder = None
            environment.events, environment.user_classes, environment.parsed_options = saved
            _set_handlers(hooks, before)


for _name in ("locust.user.task", "locust.user.users"):
    # They write a traceback for each exception in a task, which is a failure here.
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_folders: dict[str, Path] = {}
"""Folder, as the lab calls it -> where its copy is."""
_loaded: dict[object, OwnLocustfile] = {}
_under_way = contextlib.ExitStack()
"""What is to be undone when the trial is over."""


def unpack(folder: str, archive: bytes) -> Path:
    """Have a copy of a folder of Locust files, which the lab has packed, until this process ends."""
    # A process that was killed leaves it; by this name the lab finds it among the system's temporary files.
    copy = Path(tempfile.mkdtemp(prefix=f"wsgilab-{os.environ.get('WSGILAB_ID', '')}-locust-")).resolve()
    atexit.register(functools.partial(shutil.rmtree, copy, ignore_errors=True))
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(copy)  # noqa: S202 - the lab itself has packed it
    know(folder, copy)
    return copy


def know(folder: str, copy: Path) -> None:
    """Use a copy that is on this machine already."""
    _folders[folder] = copy


def loaded(given: LocustFile) -> OwnLocustfile:
    """A file, loaded once. Raises BadLocustfile."""
    key = given.path, given.user, tuple(sorted(given.files.items()))
    if key not in _loaded:
        if given.folder not in _folders:
            raise BadLocustfile(f"{given.path}: its folder was not brought along")
        _loaded[key] = OwnLocustfile(given, _folders[given.folder])
    return _loaded[key]


def begin(own: OwnLocustfile, environment: Environment, users: int) -> None:
    """Give `environment`, until `end`, the file's users, listeners and options. Raises BadLocustfile.

    The file's listeners are those of `locust.events`; those that the lab or the file itself add from now on are gone with the trial.
    """
    end()
    _under_way.enter_context(own._running(environment, users))


def end() -> None:
    """The trial is over: what Locust's events had before listens again. Nothing happens where none is under way."""
    _under_way.close()


# --- loading


class _Place:
    """Where a Locust file is: with `locust -f`, called in its folder, the working folder is that, and `import` looks there first."""

    def __init__(self, folder: Path, file: LocustFile) -> None:
        self._folder = folder
        self._file = folder / file.name
        self._shown = file.path
        stem = self._file.stem
        # As Locust itself has it.
        self._main = "locustfile" if stem == "locust" else stem
        self._path: Sequence[str] = ()
        """What `import` looks through, as the file's own code has left it; empty before it is loaded."""
        self._mine: dict[str, ModuleType] = {}

    def load(self) -> ModuleType:
        """The Locust file itself. Raises BadLocustfile."""
        spec = importlib.util.spec_from_file_location(self._main, self._file)
        if spec is None or spec.loader is None:
            raise BadLocustfile(f"{self._shown} is no Python file")
        module = sys.modules[self._main] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a file does when it is imported
            remedy = "; name its package in locust_requirements" if isinstance(error, ModuleNotFoundError) else ""
            raise BadLocustfile(fault(self._shown, error, self._file) + remedy) from None
        return module

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Be there. Modules of other places that have the same names, such as another workload's, are not found meanwhile."""
        before, path = Path.cwd(), sys.path[:]
        own = {self._main, *(each.stem for each in self._folder.iterdir() if each.suffix == ".py" or each.is_dir())}
        others = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_hidden(name, own)}
        sys.modules.update(self._mine)
        sys.path[:] = self._path or [str(self._folder), *path]
        os.chdir(self._folder)
        try:
            yield
        finally:
            os.chdir(before)
            self._path, sys.path[:] = sys.path[:], path
            here = [name for name, module in sys.modules.items() if self._has(module)]
            self._mine = {name: sys.modules.pop(name) for name in here}
            sys.modules.update(others)

    def _has(self, module: ModuleType | None) -> bool:
        known = getattr(module, "__dict__", {})
        # A folder without an __init__.py has no file.
        paths = [known["__file__"]] if known.get("__file__") else list(known.get("__path__") or ())
        return any(str(each).startswith(f"{self._folder}{os.sep}") for each in paths)


def _is_hidden(name: str, own: Collection[str]) -> bool:
    """Whether a module that is imported already is not the one that a Locust file means which has such modules of its `own`.

    What Locust itself has imported comes first with `locust -f` too.
    """
    first = name.partition(".")[0]
    if first not in own or first in sys.stdlib_module_names or first in ("wsgilab", "__main__"):
        return False
    file = getattr(sys.modules.get(first), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _chosen(given: LocustFile, module: ModuleType) -> type[User]:
    """The class of users that is meant. Raises BadLocustfile."""
    usable = [name for name, each in vars(module).items() if is_user_class(each)]
    there = f"it has {', '.join(usable)}" if usable else "it has none that could be"
    if given.user is None:
        if len(usable) != 1:
            what = "has several classes of users" if usable else "has no class of users"
            remedy = "name one with `user`" if usable else "derive one from HttpUser or FastHttpUser"
            raise BadLocustfile(f"{given.path}: {what}{': ' if usable else ''}{', '.join(usable)}; {remedy}")
        name = usable[0]
    else:
        name = given.user
    found = vars(module).get(name)
    if found is None:
        raise BadLocustfile(f"{given.path}: has no class {name}; {there}")
    if not isinstance(found, type) or not issubclass(found, User):
        raise BadLocustfile(f"{given.path}: {name} is no class of Locust users; {there}")
    if name not in usable:
        raise BadLocustfile(f"{given.path}: {name} is abstract; {there}")
    if not found.tasks:
        raise BadLocustfile(f"{given.path}: {name} has no tasks; decorate a method of it with @task")
    return found


# --- Locust's events

_Handlers = Mapping[str, Collection[Callable[..., Any]]]


def _hooks(events: Any = locust.events) -> Mapping[str, EventHook]:
    return {name: each for name, each in vars(events).items() if isinstance(each, EventHook)}


def _handlers(hooks: Mapping[str, EventHook]) -> _Handlers:
    return {name: list(hook._handlers) for name, hook in hooks.items()}


def _set_handlers(hooks: Mapping[str, EventHook], handlers: _Handlers) -> None:
    for name, hook in hooks.items():
        hook._handlers = list(handlers.get(name, ()))
