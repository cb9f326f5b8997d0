"""A user's own application as servers get it: copies of its source, its packages' locks, its environment, and its preparation."""

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from wsgilab.model import Backend, Server
from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError, StoreError, TargetError, UsageError
from wsgilab.runtime import lock_text, packages
from wsgilab.runtime import source as sources
from wsgilab.runtime.packages import Locked
from wsgilab.runtime.pages import READY
from wsgilab.runtime.protocol import SWARM, Say
from wsgilab.runtime.resolving import Target
from wsgilab.runtime.source import Source
from wsgilab.runtime.starting import START_S

UNPREPARED = 81
"""The exit code of a server whose preparation failed."""
NOT_PREPARED = "its command `prepare` failed"
INDEXES = "indexes.txt"
"""Beside the copy of the source, and removed with it: `Installed.indexes`."""
LOCUST_INDEXES = "locust-indexes.txt"
SECRETS = "LAB_SECRET_"
PREPARE_S = 300.0
"""How long `prepare` may take."""

_LARGEST_ENV_FILE = 2**20


_PREPARED = f"""
import os, subprocess, sys
count = int(sys.argv[1])
words, command = sys.argv[2 : 2 + count], sys.argv[2 + count :]
try:
    code = subprocess.call(words, cwd=os.environ["LAB_SOURCE"])
except OSError as error:
    code = f"{{words[0]}}: {{error.strerror}}"
if code:
    print(code, file=sys.stderr)
    sys.exit({UNPREPARED})
os.execvp(command[0], command)
"""
"""Runs a command of so many words, then becomes the one that follows. In Python, since an image may have no shell."""


LOCUST = "locust"
"""The name of the lock of what a Locust file imports beside Locust, among those of the stacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server has what is its own."""

    source: str
    """Where the application is imported from."""
    data: str
    home: str = ""
    """Empty: as its image has it."""

    def filled_in(self, text: str) -> str:
        """`text` with these folders where it says `{LAB_SOURCE}` and `{LAB_DATA}`."""
        return text.replace("{LAB_SOURCE}", self.source).replace("{LAB_DATA}", self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An application whose packages are settled."""

    application: Application
    source: Source
    locks: Mapping[str, str]
    """Stack -> lock, of the stacks that go with it."""
    secrets: Mapping[str, str] = field(repr=False)
    """What its env_file says."""
    indexes: str = field(default="", repr=False)
    """Lines of a requirements file that say where its packages are from, passwords included."""
    prefix: str = SECRETS
    """What the variables begin with by which a file for Compose has its secrets."""

    @property
    def ready(self) -> str:
        """The page that is answered with a status below 500 once a server can be used."""
        return ready_page(self.application)

    @property
    def start_s(self) -> float:
        """How long a server may take until then, its preparation included."""
        return (self.application.start_s or START_S) + self.prepare_s

    @property
    def prepare_s(self) -> float:
        """How long that alone may take."""
        return PREPARE_S if self.application.prepare else 0.0

    @property
    def writable(self) -> Collection[str]:
        """Folders of the source that each server has a copy of, of its own, in their plain spelling."""
        return [PurePosixPath(each).as_posix() for each in self.application.writable]

    def prepare(self, place: Place) -> Sequence[str]:
        """The words before the command of a server that prepare it first; none where there is nothing to prepare."""
        words = [place.filled_in(each) for each in self.application.prepare]
        return ["python", "-S", "-E", "-c", _PREPARED, str(len(words)), *words] if words else []

    def environment(self, server: Server, place: Place) -> dict[str, str]:
        """What the application adds to the environment of a server. What its row sets itself, the row knows better."""
        given = {**self.secrets, **self.application.env}
        own = {
            name: place.filled_in(value) if name in self.application.env else value
            for name, value in given.items()
            if name not in server.environment and not name.startswith("LAB_") and name != "PATH"
        }
        return {
            **own,
            "LAB_APP": self.application.entry,
            "LAB_SOURCE": place.source,
            "LAB_DATA": place.data,
            **({"HOME": place.home} if place.home else {}),
        }


def settle(
    application: Application,
    servers: Collection[Server],
    stacks: Path,
    target: Target,
    known: Mapping[str, str],
    folder: Path,
    say: Say,
) -> Installed:
    """Copy the source to `folder`/source, and settle what is installed beside it. `known`: locks of a run that goes on.

    Servers whose stack does not go with the application are named to `say`, and have no lock. Raises LabError where the application
    cannot be used, or where no server goes with it.
    """
    source = sources.read(application)
    _check_folders(application, source)
    secrets = read_secrets(application, source.folder)
    sources.removed(folder)
    source.copy(folder / "source")
    names = {each.stack for each in servers}
    work = folder / "work"
    if known:
        locks = known_locks(known, names)
        indexes = packages.indexes(application, folder / "source", target, work)
        found = Locked(locks=locks, left_out={}, indexes=indexes)
    else:
        say("Locking your application's packages ...")
        found = packages.lock(application, folder / "source", stacks, names, target, work, say)
    say_left_out(found, servers, say)
    (folder / "locks").mkdir()
    for name, text in found.locks.items():
        (folder / "locks" / f"{name}.txt").write_text(text)
    (folder / INDEXES).touch(mode=0o600)
    (folder / INDEXES).write_text(lock_text.placed(found.indexes, str(folder / "source")))
    return Installed(application=application, source=source, locks=found.locks, secrets=secrets, indexes=found.indexes)


def known_locks(known: Mapping[str, str], names: Collection[str]) -> Mapping[str, str]:
    """The locks of the stacks `names` of a run that goes on. Raises StoreError where one is gone."""
    if missing := sorted(set(names) - known.keys()):
        raise StoreError(f"locks/{missing[0]}.txt of this run is gone; put it back, or start a new run")
    return {name: known[name] for name in names}


def say_left_out(found: Locked, servers: Collection[Server], say: Say) -> None:
    """Which servers do not go with the application's packages, and why. Raises BuildError where none does."""
    for name, cause in found.left_out.items():
        rows = ", ".join(each.name for each in servers if each.stack == name)
        say(f"Left out: {rows}: the stack {name} does not go with your application's packages: {cause}.")
    if servers and not found.locks:
        causes = "; ".join(found.left_out.values())
        raise BuildError(f"none of the servers goes with your application's packages: {causes}")


def check_processes(application: Application | None, backends: Collection[Backend]) -> None:
    """Raises UsageError where they need containers."""
    needs = [f"{each.compose}: {each.name} is a service" for each in backends if each.compose]
    if application is not None and application.has_image:
        key = "build" if application.image is None else "image"
        needs.insert(0, f"{key}: {getattr(application, key)} is an image")
    if needs:
        raise UsageError(
            f"{needs[0]}, and the runtime local has no containers; use --runtime compose, or name a source"
        )


def locust_lock(
    application: Application, stacks: Path, target: Target, known: Mapping[str, str], folder: Path
) -> tuple[str, str]:
    """The lock of the application's `locust_requirements`, for the Python of the load generator, and lines that say where it is
    all from; both empty where there are none. Both are kept in `folder` too. `known`: locks of a run that goes on. Raises LabError."""
    needs = application.locust_requirements
    if not needs:
        return "", ""
    text, indexes = packages.lock_more(
        needs, (stacks / SWARM / "requirements.txt").read_text(), target, folder / "work"
    )
    if text and known:
        if LOCUST not in known:
            raise StoreError(f"locks/{LOCUST}.txt of this run is gone; put it back, or start a new run")
        text = known[LOCUST]
    (folder / "locks" / f"{LOCUST}.txt").write_text(text)
    (folder / LOCUST_INDEXES).touch(mode=0o600)
    (folder / LOCUST_INDEXES).write_text(indexes)
    return text, indexes


def ready_page(application: Application) -> str:
    """The page that says that a server can be used: the one that is named, else that of the first GET, else the door's."""
    gets = (each.path for each in application.requests.values() if each.method == "GET")
    return application.ready or next(gets, READY)


@contextlib.contextmanager
def laid_out(installed: Installed, names: Collection[str], folder: Path) -> Iterator[Mapping[str, Place]]:
    """Server -> its place, in a new `folder` of this machine. Removed on exit.

    They share one copy of the source, which is read-only, unless they write to it.
    """
    application = installed.application
    shared = None if application.writable or application.prepare else folder / "source"
    try:
        yield _places(installed, names, folder, shared)
    finally:
        sources.removed(folder)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def _places(installed: Installed, names: Collection[str], folder: Path, shared: Path | None) -> Mapping[str, Place]:
    places = {}
    try:
        if shared is not None:
            _copy(installed, shared)
        for name in names:
            own = folder / name
            source = own / "source" if shared is None else shared
            if shared is None:
                _copy(installed, source)
            for each in ("data", "home"):
                (own / each).mkdir(parents=True)
            places[name] = Place(source=str(source), data=str(own / "data"), home=str(own / "home"))
    except OSError as error:
        raise TargetError(f"{error.filename}: cannot be written ({error.strerror}); is the disk full?") from None
    return places


def _copy(installed: Installed, into: Path) -> None:
    installed.source.copy(into)
    for each in installed.writable:
        (into / each).mkdir(parents=True, exist_ok=True)
    sources.closed(into, installed.writable)


# --- what is read of it


def _check_folders(application: Application, source: Source) -> None:
    for each in application.writable:
        path = PurePosixPath(each)
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"writable: {each}: must be a folder within the source")
        if path.as_posix() in source.files:
            raise UsageError(
                f"writable: {each}: is a file; name the folder that it is in, or `.` for the source itself"
            )


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_secrets(application: Application, folder: Path) -> Mapping[str, str]:
    """What the env_file says, a path in `folder`. Raises UsageError, without any of its values."""
    if application.env_file is None:
        return {}
    where = f"env_file: {application.env_file}"
    try:
        file = folder / application.env_file
        if file.stat().st_size > _LARGEST_ENV_FILE:
            raise UsageError(f"{where}: is larger than 1 MB; it must have lines of NAME=value")
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        there = "relative to the application file" if application.has_image else "in the source"
        raise UsageError(f"{where}: cannot be read ({error.strerror}); it is looked for {there}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{where}: is not UTF-8 text") from None
    found = {}
    for number, line in enumerate(lines, start=1):
        stated = line.strip().removeprefix("export ").strip()
        if not stated or stated.startswith("#"):
            continue
        name, equals, value = stated.partition("=")
        if not equals or not _NAME.fullmatch(name.strip()):
            raise UsageError(f"{where}:{number}: must be NAME=value")
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> str:
    """A value with or without quotes; without, a comment may follow it. Nothing is filled in."""
    for quote in "'\"":
        if text.startswith(quote) and (end := text.find(quote, 1)) > 0:
            return text[1:end]
    return re.split(r"\s#", text, maxsplit=1)[0].rstrip()
