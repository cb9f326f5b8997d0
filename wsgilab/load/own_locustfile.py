"""A Locust file of the user's own: loaded from its text, and run with its own listeners and options, in one trial at a time."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # isort: skip

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import PurePosixPath
from types import CodeType, ModuleType
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

    def __init__(self, given: LocustFile) -> None:
        """Raises BadLocustfile."""
        self.path = given.path
        self._modules = _Modules(given)
        hooks = _hooks()
        before = _handlers(hooks)
        try:
            with self._modules.used():
                _set_handlers(hooks, {})
                module = self._modules.load()
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
            f"{self.path}: its load shape {name} is ignored; the experiment says how many users there are."
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
            raise BadLocustfile(fault(self.path, error)) from None
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
            with self._modules.used():
                yield
        finally:
            OwnUser.wsgilab_recorder = None
            environment.events, environment.user_classes, environment.parsed_options = saved
            _set_handlers(hooks, before)


for _name in ("locust.user.task", "locust.user.users"):
    # They write a traceback for each exception in a task, which is a failure here.
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_loaded: dict[object, OwnLocustfile] = {}
_under_way = contextlib.ExitStack()
"""What is to be undone when the trial is over."""


def loaded(given: LocustFile) -> OwnLocustfile:
    """A file, loaded once. Raises BadLocustfile."""
    key = given.path, given.user, tuple(sorted(given.files.items()))
    if key not in _loaded:
        _loaded[key] = OwnLocustfile(given)
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


class _Modules(MetaPathFinder, InspectLoader):
    """The modules of a Locust file: it and those beside it, from their texts alone."""

    def __init__(self, given: LocustFile) -> None:
        stem = PurePosixPath(given.path).stem
        # As Locust itself has it.
        self._main = "locustfile" if stem == "locust" else stem
        self._paths = {self._main: given.path}
        self._texts = given.files
        self._packages: set[str] = set()
        for path in given.files:
            if path == given.path:
                continue
            parts = PurePosixPath(path).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
                self._packages.add(".".join(parts))
            self._paths[".".join(parts)] = path
            self._packages |= {".".join(parts[:count]) for count in range(1, len(parts))}
        self._mine: dict[str, ModuleType] = {}

    def load(self) -> ModuleType:
        """The Locust file itself. Raises BadLocustfile."""
        spec = self.find_spec(self._main)
        assert spec is not None
        module = sys.modules[self._main] = module_from_spec(spec)
        try:
            self.exec_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a file does when it is imported
            remedy = "; name its package in locust_requirements" if isinstance(error, ModuleNotFoundError) else ""
            raise BadLocustfile(fault(self._paths[self._main], error) + remedy) from None
        return module

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Have `import` find them, and not what has the same names, such as another workload's."""
        names = {*self._paths, *self._packages}
        others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
        sys.modules.update(self._mine)
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)
            self._mine = {name: sys.modules.pop(name) for name in names if name in sys.modules}
            sys.modules.update(others)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        is_package = fullname in self._packages
        if fullname in self._paths:
            spec = ModuleSpec(fullname, self, origin=self._paths[fullname], is_package=is_package)
            spec.has_location = True
            return spec
        return ModuleSpec(fullname, None, is_package=True) if is_package else None

    def get_source(self, fullname: str) -> str:
        return self._texts[self._paths[fullname]]

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.get_source(fullname), self._paths[fullname], "exec", dont_inherit=True)

    def is_package(self, fullname: str) -> bool:
        return fullname in self._packages


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
