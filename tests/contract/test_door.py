"""An application with every awkwardness, through the door, under the servers that there are."""

import ast
import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
import pytest

from tests.conftest import leftovers
from wsgilab.analysis import inflight
from wsgilab.commands import Workspace
from wsgilab.load.samples import LATE_PAGE
from wsgilab.model import Server
from wsgilab.model.errors import TargetError
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import read_catalogue
from wsgilab.runtime.local import MARK
from wsgilab.runtime.pages import FACTS, READY
from wsgilab.runtime.protocol import Fleet, Runtime
from wsgilab.system import host

pytestmark = pytest.mark.lab

AWKWARD = Path(__file__).parent / "awkward"
SYNC, GTHREAD, GEVENT, PRELOADED, EVENTLET, TORNADO, DEV = SERVERS = (
    "gunicorn-sync-1",
    "gunicorn-gthread-8",
    "gunicorn-gevent",
    "gevent-preloaded",
    "gunicorn25-eventlet",
    "gunicorn-tornado",
    "flask-threaded",
)
CORE = frozenset({min(host.usable_cpus())})
PIECE_MS, PIECES, LONG_PIECES = 20, 4, 150
FILE = os.urandom(300_000)

Found = TypeVar("Found")


def once(look: Callable[[], Found]) -> Found:
    """What is found, once anything is."""
    deadline = time.monotonic() + 60
    while not (found := look()):
        if time.monotonic() > deadline:
            pytest.fail("nothing was found")
        time.sleep(0.05)
    return found


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a request, as far as it came."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stamps: list[str] = field(default_factory=list)
    body: bytes = b""
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Door:
    """A server of the awkward application."""

    name: str
    url: str

    def connect(self, timeout_s: float = 60.0) -> "contextlib.closing[http.client.HTTPConnection]":
        return contextlib.closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=timeout_s))

    def get(self, path: str, method: str = "GET", timeout_s: float = 60.0) -> Answer:
        with self.connect(timeout_s) as connection:
            connection.request(method, path, headers={"Connection": "close"})
            try:
                answer = connection.getresponse()
            except (TimeoutError, http.client.HTTPException):
                return Answer()
            stamps = answer.headers.get_all("Lab-Stamp") or []
            try:
                body, whole = answer.read(), True
            except http.client.IncompleteRead as error:
                body, whole = error.partial, False
            return Answer(status=answer.status, headers=dict(answer.headers), stamps=stamps, body=body, whole=whole)

    def late_ns(self) -> dict[str, int]:
        """Stamp -> when the request has left, of those that left late since this was last asked: on a busy machine others may be among
        them, that were held up between two lines of code."""
        lines = [line.rpartition(" ") for line in self.get(LATE_PAGE).body.decode().splitlines()]
        return {told: int(left_ns) for told, _, left_ns in lines}

    def closed(self) -> list[str]:
        closed: list[str] = self.told()["closed"]
        return closed

    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = ast.literal_eval(self.get("/told").body.decode())
        return told


def through_the_door(server: Server, source: Path, entry: str = "app:app") -> Server:
    return replace(server, environment={**server.environment, "LAB_SOURCE": str(source), "LAB_APP": entry})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("awkward") / "source"
    shutil.copytree(AWKWARD, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "file.bin").write_bytes(FILE)
    return copy


@pytest.fixture(scope="module")
def local(stacks: Path, session_places: Workspace) -> Runtime:
    """What serves it is the same in a container."""
    made, _ = choose_runtime(session_places, "local")
    return made


@pytest.fixture(scope="module")
def fleet(local: Runtime, session_places: Workspace, source: Path) -> Iterator[Fleet]:
    known = read_catalogue(session_places)
    *words, app = known[GEVENT].command
    servers = {**known, PRELOADED: replace(known[GEVENT], name=PRELOADED, command=(*words, "--preload", app))}
    with local.start([through_the_door(servers[name], source) for name in SERVERS], CORE) as up:
        yield up
    assert leftovers(session_places) == []


@pytest.fixture(params=SERVERS)
def door(request: pytest.FixtureRequest, fleet: Fleet) -> Door:
    made = Door(name=request.param, url=fleet[request.param].published_url)
    made.late_ns()
    return made


def test_it_is_served_from_its_folder_and_imported_after_the_patches_as_in_production(door: Door, source: Path) -> None:
    told = door.told()

    assert (told["folder"], told["path"]) == (str(source), str(source))
    assert told["socket"] == {GEVENT: "gevent", EVENTLET: "eventlet"}.get(door.name, "socket")


def test_the_labs_questions_are_answered_beside_it(door: Door) -> None:
    assert door.get(READY).body == b"ready\n"
    assert b'"packages"' in door.get(FACTS).body


@pytest.mark.parametrize(
    "path", ["/hello", "/stream", "/drip", "/written", "/begun-anew", "/begun-by-the-body", "/late"]
)
def test_whatever_it_does_its_answer_is_whole_with_one_stamp(door: Door, path: str) -> None:
    bodies = {
        "/hello": b"hello\n",
        "/late": b"hello\n",
        "/written": b"piece\n" * PIECES + b"returned\n",
        "/begun-anew": b"an error\n",
        "/begun-by-the-body": b"an error\n",
    }
    for _ in range(2):
        found = door.get(path)
        assert (found.status, found.body) == (
            500 if path.startswith("/begun") else 200,
            bodies.get(path, b"piece\n" * PIECES),
        )
        assert len(found.stamps) == 1, "and those of earlier answers are not sent again"
        assert found.headers["Content-Type"] == "text/plain"
        stamp = inflight.parse_stamp(found.stamps[0])
        assert stamp.entered_ns <= stamp.left_ns <= time.monotonic_ns()


@pytest.mark.parametrize(
    ("path", "least_ms"),
    [
        ("/stream", PIECE_MS * PIECES),
        ("/drip", PIECE_MS * PIECES),
        ("/written", PIECE_MS * PIECES),
        ("/late", PIECE_MS),
    ],
)
def test_what_leaves_late_is_told_by_its_stamp_with_when_it_left(door: Door, path: str, least_ms: float) -> None:
    before = len(door.told()["ended_ns"].get(path, ()))
    (stamp,) = door.get(path).stamps
    left_ns = once(lambda: door.late_ns().get(stamp))

    assert left_ns is not None
    assert left_ns - inflight.parse_stamp(stamp).left_ns >= least_ms * 1e6
    assert left_ns < time.monotonic_ns()
    assert stamp not in door.late_ns()
    if path == "/drip":
        # With its last byte, after which it goes on for 200 ms.
        assert left_ns < once(lambda: door.told()["ended_ns"].get(path, ())[before:])[0]


def test_a_hello_leaves_when_its_stamp_says(door: Door) -> None:
    found = [door.get("/hello") for _ in range(20)]
    late = door.late_ns()

    assert any(each.stamps[0] not in late for each in found)


def test_an_answer_to_head_has_a_stamp_and_is_not_held_up(door: Door) -> None:
    if door.name == TORNADO:
        pytest.skip("it answers no HEAD for which an application returns a body")
    found = door.get("/stream", method="HEAD")

    assert (found.status, len(found.stamps), found.body) == (200, 1, b"")


def test_a_body_that_breaks_is_cut_as_without_the_lab_and_told(door: Door) -> None:
    before = len(door.closed())
    # Tornado never answers where an application raises.
    found = door.get("/broken", timeout_s=1.0 if door.name == TORNADO else 60.0)

    assert not found.whole
    if door.name == TORNADO:
        assert once(door.late_ns)
    else:
        assert found.body == b"piece\n"
        (stamp,) = found.stamps
        assert once(lambda: door.late_ns().get(stamp))
    assert once(lambda: door.closed()[before:]) == ["/broken"]


def test_bodies_are_closed_once(door: Door) -> None:
    before = len(door.closed())
    for path in ("/stream", "/drip"):
        door.get(path)
    once(lambda: len(door.closed()) >= before + 2)

    assert sorted(door.closed()[before:]) == ["/drip", "/stream"]


def test_a_client_that_goes_away_ends_its_request_there(door: Door) -> None:
    if door.name == TORNADO:
        pytest.skip("it holds the whole body back, and does not see who went away")
    before = door.told()["made"].get("/long", 0)
    with socket.create_connection((urlsplit(door.url).hostname or "", urlsplit(door.url).port or 0)) as connection:
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = connection.recv(1 << 12).decode("latin-1")
    (stamp,) = (line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("Lab-Stamp: "))

    assert once(lambda: door.late_ns().get(stamp))
    assert door.told()["made"]["/long"] - before < LONG_PIECES, "that would be the whole of it"


def test_a_file_is_sent_as_the_server_does_it(door: Door) -> None:
    found = door.get("/file")

    assert (found.status, found.body == FILE, len(found.stamps)) == (200, True, 1)


def test_what_left_late_is_gone_with_the_fleet_and_after_a_lab_that_was_killed(
    session_places: Workspace, make_state: Callable[[str], Path], source: Path
) -> None:
    # A lab of its own, because what is swept is all that it has.
    workspace = replace(session_places, state=make_state("late"))
    own, _ = choose_runtime(workspace, "local")
    server = through_the_door(read_catalogue(workspace)[SYNC], source)

    def noted() -> list[str]:
        return [path.name for path in Path("/dev/shm").glob(f"*{workspace.lab_id}*")]

    with own.start([server], CORE) as up:
        (scratch,) = Path(tempfile.gettempdir()).glob(f"wsgilab-{workspace.lab_id}-servers-*")
        environments = [each.info["environ"] or {} for each in psutil.process_iter(["environ"])]
        served = [each["TMPDIR"] for each in environments if each.get(MARK) == workspace.lab_id]
        assert set(served) == {str(scratch)}, "what servers leave there goes with them"
        for _ in range(2):
            Door(name=SYNC, url=up[SYNC].published_url).get("/stream")
            assert noted() == [f"wsgilab-{workspace.lab_id}-{SYNC}-1-late"]
            up[SYNC].restart()
            assert noted() == [], "it was that of processes that have ended"
        Door(name=SYNC, url=up[SYNC].published_url).get("/stream")
    assert noted() == []
    assert not scratch.exists()
    Path(f"/dev/shm/wsgilab-{workspace.lab_id}-{SYNC}-1-late").touch()
    own.sweep()
    assert noted() == []


def test_what_left_late_of_a_lab_that_does_not_run_is_gone_with_the_next_start_of_any(
    session_places: Workspace, make_state: Callable[[str], Path]
) -> None:
    """Its own may never come: the folder of its state is gone, as that of a test is that was killed."""
    own, _ = choose_runtime(replace(session_places, state=make_state("any")), "local")
    gone, running = (Path(f"/dev/shm/wsgilab-{lab_id}-{SYNC}-1-late") for lab_id in ("00000000", "ffffffff"))
    argv = [sys.executable, "-c", "input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env={**os.environ, MARK: "ffffffff"}) as process:
        gone.touch()
        running.touch()
        own.sweep()
        assert (gone.exists(), running.exists()) == (False, True)
        process.communicate(b"\n")
    own.sweep()
    assert not running.exists()


MISSING = "lacking:app does not import: ModuleNotFoundError: No module named 'no_such' (lacking.py, line 1)"


@pytest.mark.parametrize(
    ("name", "entry", "told"),
    [
        # The door says why, whatever the server; each server shows what the door says, whatever that is.
        *((name, "lacking:app", MISSING) for name in (SYNC, EVENTLET, DEV)),
        (SYNC, "app:nothing", "app:nothing: app has no 'nothing'"),
        (DEV, "asgi:app", "asgi:app is an ASGI application (asgi.App), and these servers serve WSGI"),
    ],
)
def test_why_it_cannot_be_served_is_told_in_one_line(
    local: Runtime, session_places: Workspace, source: Path, name: str, entry: str, told: str
) -> None:
    (source / "lacking.py").write_text("import no_such\n")
    (source / "asgi.py").write_text(
        "class App:\n    async def __call__(self, scope, receive, send): ...\n\napp = App()\n"
    )
    server = through_the_door(read_catalogue(session_places)[name], source, entry)
    start = local.start([replace(server, name="unserved")], CORE)
    with pytest.raises(TargetError) as caught, start:
        pytest.fail("it came up")

    # Gunicorn itself may have written something before.
    said, _, _ = caught.value.message.partition("; see")
    assert said == f"unserved did not start: {told}"
    assert ("import no_such" in caught.value.detail) is entry.startswith("lacking")
