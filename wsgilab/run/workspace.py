"""Where a lab's files are, that it is the only one at work there, and which signals end it. Knows no runtime."""

import contextlib
import fcntl
import hashlib
import os
import signal
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from wsgilab.experiment import catalogue, own_catalogue
from wsgilab.experiment.parsing import alternatives, check_known
from wsgilab.experiment.workloads import backends as backends_of
from wsgilab.model import Application, Backend, Server
from wsgilab.model.errors import Interrupted, LabError, SpecError, UsageError
from wsgilab.run import layout

PROJECT = layout.project()
"""The checkout; or where the lab is installed, the folder that its files are laid out in by `workspace`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where the lab's files are."""

    project: Path
    catalogue: Path
    results: Path
    state: Path
    """Environments and logs; two labs with different states know nothing of each other."""
    ports: str
    """A range of ports to publish servers at; empty for any."""
    own_catalogue: Path | None = None
    """A catalogue file of the user's own, whose rows are there beside those of `catalogue`."""
    rows: Mapping[str, Server] = field(default_factory=dict, hash=False)
    """Servers that an experiment or a space makes of others, by name; they are there too."""
    share_cores: bool = False
    """Whether other labs may use the same cores at the same time; their figures are disturbed then, and say so."""

    @property
    def lab_id(self) -> str:
        """Tells this lab's processes and containers from any other's."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]


def workspace(environment: Mapping[str, str] = os.environ) -> Workspace:
    """The checkout's own folders, or those that LAB_CATALOGUE, LAB_RESULTS, LAB_STATE and LAB_PORTS name; with LAB_SHARE_CORES
    cores are shared with other labs.

    Of an installed lab: its files are laid out, results are in the current folder, and the state in the user's cache folder.
    Raises LabError where they cannot be laid out.
    """

    def named(variable: str, default: Path) -> Path:
        return Path(environment.get(variable) or default).absolute()

    results, state = PROJECT / "results", PROJECT / ".lab"
    if layout.is_installed():
        layout.lay_out(PROJECT)
        results, state = Path("results"), PROJECT.with_name("state")

    return Workspace(
        project=PROJECT,
        catalogue=named("LAB_CATALOGUE", PROJECT / "compose" / "servers.yaml"),
        results=named("LAB_RESULTS", results),
        state=named("LAB_STATE", state),
        ports=environment.get("LAB_PORTS", ""),
        share_cores=bool(environment.get("LAB_SHARE_CORES")),
    )


def with_catalogue(workspace: Workspace, file: str | None) -> Workspace:
    """`workspace` with the rows of a catalogue file of the user's own; None: without."""
    return replace(workspace, own_catalogue=None if file is None else Path(file).absolute())


def versions(workspace: Workspace) -> Collection[Workspace]:
    """`workspace` as each version of an installed lab has it that was laid out, for what is theirs by that folder: images."""
    folders = layout.laid_out(workspace.project) if layout.is_installed() else [workspace.project]
    return [replace(workspace, project=folder) for folder in folders]


# --- what is read there


def read_catalogue(workspace: Workspace) -> Mapping[str, Server]:
    """The servers, by name, the user's own after them, and then those that are made of others. Raises SpecError."""
    servers = catalogue.parse(read_text(workspace.catalogue, "catalogue"), shown(workspace.catalogue))
    if (own := workspace.own_catalogue) is None:
        return {**servers, **workspace.rows}
    text = read_text(own, "catalogue")
    return {
        **servers,
        **own_catalogue.parse(text, shown(own), servers, folder=os.path.relpath(own.parent), read_file=read_file),
        **workspace.rows,
    }


def read_backends(workspace: Workspace) -> Mapping[str, Backend]:
    """The backends, by name. Raises SpecError."""
    file = workspace.project / "compose" / "backends.yaml"
    return catalogue.parse_backends(read_text(file, "backends"), shown(file))


def choose_backends(
    workspace: Workspace, workloads: Iterable[str], application: Application | None = None
) -> Collection[Backend]:
    """Those that requests of `workloads` wait for: the lab's in its file's order, then those of the user's own. Raises SpecError."""
    own = {} if application is None else application.services
    wanted = backends_of(workloads, application)
    services = [Backend(name=name, compose=own[name]) for name in wanted if name in own]
    if not (names := [name for name in wanted if name not in own]):
        return services
    known = read_backends(workspace)
    if missing := [name for name in names if name not in known]:
        raise SpecError(f"compose/backends.yaml: has no {missing[0]}, which a workload waits for; put it back")
    return [*(backend for name, backend in known.items() if name in names), *services]


def choose_servers(workspace: Workspace, names: Collection[str]) -> dict[str, Server]:
    """The servers of the catalogue, or those of them that are named. Raises SpecError."""
    servers = read_catalogue(workspace)
    check_known(list(names), servers, "--servers", "server")
    return {name: server for name, server in servers.items() if not names or name in names}


def given(name: str) -> Path:
    """A file that a user names: from the current folder, or else one of the lab's own, such as experiments/workers.yaml."""
    own = PROJECT / name
    return own if own.is_file() and not Path(name).exists() else Path(name)


def read_text(path: Path, what: str) -> str:
    """A YAML file that a user names. Raises UsageError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        meant = alternatives(path.stem, _files_beside(path)) if isinstance(error, FileNotFoundError) else None
        remedy = meant or "name a YAML file that is there"
        raise UsageError(f"{what} {path}: cannot be read ({cause}); {remedy}") from None


_LARGEST_FILE = 2**24
"""Bytes of an application file, or of what a request sends."""


def read_file(path: str) -> bytes:
    """A file that an application, an experiment or a catalogue names. Raises UsageError."""
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise UsageError(f"{path}: is no file; name one")
        if file.stat().st_size > _LARGEST_FILE:
            raise UsageError(f"{path}: is larger than the {_LARGEST_FILE >> 20} MiB that such a file may have")
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a file that is there") from None


def _files_beside(path: Path) -> Mapping[str, str]:
    """YAML files that may have been meant, where there is none at `path`: name without its ending -> as one would type it."""
    own = {file.stem: str(file.relative_to(PROJECT)) for file in sorted(PROJECT.glob("experiments/*.yaml"))}
    return own | {file.stem: shown(file) for file in sorted(path.absolute().parent.glob("*.yaml"))}


def shown(path: Path) -> str:
    """A path as a user would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# --- at work


AT_WORK = "another lab is at work here; wait for it, or stop it"


@contextlib.contextmanager
def alone(workspace: Workspace, refusal: str = AT_WORK) -> Iterator[None]:
    """One lab at a time in a checkout, because each ends what an earlier one has left. Raises LabError.

    `refusal` is the message for another one meanwhile, with the remedy.
    """
    make_state(workspace)
    with (workspace.state / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise LabError(f"{workspace.state}: {lock.read() or AT_WORK}") from None
        lock.truncate(0)
        lock.write(refusal)
        lock.flush()
        yield


def make_state(workspace: Workspace) -> None:
    """Make the folder of the lab's state, unless it is there. Raises LabError where nothing can be written to it."""
    try:
        workspace.state.mkdir(parents=True, exist_ok=True)
        (workspace.state / "lock").touch()
    except OSError as error:
        raise LabError(
            f"{workspace.state}: cannot be written ({error.strerror}); name another folder with LAB_STATE"
        ) from None


# --- what ends it

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Ctrl-C, `kill`, a terminal that was closed or an ssh connection that was lost, and Ctrl-backslash."""


class _Raise:
    """A handler that raises Interrupted for the first signal; more are ignored, for the cleaning up is under way."""

    def __init__(self) -> None:
        self._raised = False
        self.cause: int | None = None
        """The signal that the next one is raised in place of, if any."""

    def __call__(self, signum: int, _: FrameType | None) -> None:
        if not self._raised:
            self._raised = True
            raise Interrupted(self.cause or signum)


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Within, the first signal that is to end the lab raises Interrupted in the main thread. Within another, it does nothing.

    SIGHUP stays ignored where it is, as under nohup.
    """
    if isinstance(signal.getsignal(signal.SIGTERM), _Raise):
        yield
        return
    handler = _Raise()
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set[signal.Signals]()
    before = {signum: signal.signal(signum, handler) for signum in ENDING if signum not in ignored}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


def output_is_gone() -> None:
    """Nobody reads what the lab says any more. From any thread: ends what is within `signals_raise`, as SIGPIPE ends others.

    Where a hang-up is ignored, so is this.
    """
    handler = signal.getsignal(signal.SIGHUP)
    if isinstance(handler, _Raise):
        # SIGPIPE itself cannot be handled: it would also come of a server that hangs up.
        handler.cause = signal.SIGPIPE
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGHUP)
