"""The stamp, and when a request has really left."""

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client

import app as lab
from wsgilab.analysis import inflight
from wsgilab_door import stamp
from wsgilab_door.late import LateFile
from wsgilab_door.stamp import HEADER, LATE_NS, StampMiddleware

Environ = dict[str, Any]
Start = Callable[..., Any]
Application = Callable[[Environ, Start], Iterable[bytes]]
KEEPING, DROPPING = "gunicorn/27.0.1", "Werkzeug/3.1.9"


class Clock:
    """CLOCK_MONOTONIC as the stamp reads it, which passes only when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 10**15

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wait(self, ms: float) -> None:
        self.now_ns += round(ms * 1e6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(stamp, "time", made)
    return made


class Server:
    """A server that serves one request after the other, as PEP 3333 has it."""

    def __init__(self, application: Application, late: LateFile, clock: Clock, **environ: Any) -> None:
        self._application = StampMiddleware(application, late)
        self._late = late
        self._clock = clock
        self._environ = {"REQUEST_METHOD": "GET", "SERVER_SOFTWARE": DROPPING, **environ}
        self.begun: list[tuple[str, list[tuple[str, str]], Any]] = []
        self.written: list[bytes] = []

    def begin(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        assert not self.begun or exc_info, "a response is begun once"
        self.begun.append((status, headers, exc_info))
        return self.written.append

    def ask(self) -> Iterable[bytes]:
        return self._application(dict(self._environ), self.begin)

    def serve(self) -> list[bytes]:
        """The pieces of a body. It is closed, whatever happens."""
        body = self.ask()
        try:
            return list(body)
        finally:
            if hasattr(body, "close"):
                body.close()

    def stamps(self) -> list[str]:
        """Those of the header, of all beginnings."""
        return [value for _, headers, _ in self.begun for name, value in headers if name == HEADER]

    def late_ms(self) -> list[float]:
        """How long after its stamp what left late did leave."""
        (expected,) = set(self.stamps()[-1:]) or {""}
        found = []
        lines = self._late.take().decode().splitlines()
        if "HTTP_LAB_NOTE" in self._environ:
            *who, entered_ns = expected.split()[:-1]
            assert lines.pop(0).split() == [*who, *[entered_ns] * 3], "first, that it has entered"
        for line in lines:
            told, _, left_ns = line.rpartition(" ")
            assert told == expected
            found.append((int(left_ns) - int(told.split()[-1])) / 1e6)
        return found


@pytest.fixture
def served(tmp_path: Path, clock: Clock) -> Callable[..., Server]:
    """Makes a server of an application."""
    late = LateFile(str(tmp_path / "late"))
    return lambda application, **environ: Server(application, late, clock, **environ)


Served = Callable[..., Server]


def answering(body: Callable[[], Iterable[bytes]], *headers: tuple[str, str]) -> Application:
    """An application that begins its response and returns a body."""

    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", list(headers))
        return body()

    return application


def length(number: int) -> tuple[str, str]:
    return ("Content-Length", str(number))


# The header.


@pytest.mark.parametrize("path", ["/hello", "/cpu?iterations=5", "/large?kib=1", "/sleep?ms=bad", "/nowhere"])
def test_every_answer_carries_one_stamp_of_who_served_it_and_when(path: str, tmp_path: Path) -> None:
    client = Client(StampMiddleware(lab.app, LateFile(str(tmp_path / "late"))))
    before_ns = time.monotonic_ns()
    (header,) = client.get(path).headers.getlist(HEADER)
    after_ns = time.monotonic_ns()

    found = inflight.parse_stamp(header)
    assert (found.process, found.thread, found.greenlet_id) == (
        os.getpid(),
        threading.get_native_id(),
        threading.get_ident(),
    )
    assert before_ns <= found.entered_ns <= found.left_ns <= after_ns


def test_a_stamp_spans_what_the_application_does(served: Served, clock: Clock) -> None:
    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        clock.wait(50)
        start_response("200 OK", [])
        return []

    server = served(application)
    before_ns = clock.now_ns
    server.serve()

    (found,) = map(inflight.parse_stamp, server.stamps())
    assert (found.entered_ns, found.left_ns) == (before_ns, before_ns + 50_000_000)


def test_two_threads_have_two_stamps_and_one_thread_with_two_greenlets_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, found = served(answering(list)), []

    def ask() -> None:
        server.begun.clear()
        server.serve()
        found.append(inflight.parse_stamp(server.stamps()[0]))

    ask()
    other = threading.Thread(target=ask)
    other.start()
    other.join()
    monkeypatch.setattr(threading, "get_ident", lambda: 7)
    ask()

    first, second, third = found
    assert first.process == second.process == third.process
    assert first.thread == third.thread != second.thread
    assert third.greenlet_id == 7 != first.greenlet_id


def test_a_fork_has_a_stamp_of_its_own(served: Served) -> None:
    server = served(answering(list))
    server.serve()
    server.begun.clear()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            server.serve()
            os.write(writing, server.stamps()[0].encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    found = inflight.parse_stamp(os.read(reading, 1000).decode())

    assert found.process == child == found.thread, "the main thread of a process has its id"


def test_the_application_and_the_server_see_each_other_as_they_are(served: Served) -> None:
    body = [b"one", b"two"]
    seen: list[Environ] = []

    def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
        seen.append(environ)
        start_response("418 I'm a teapot", [("X-Kept", "yes")])
        return body

    server = served(application, PATH_INFO="/x")

    assert server.ask() is body
    ((status, headers, exc_info),) = server.begun
    assert (status, headers[0], exc_info) == ("418 I'm a teapot", ("X-Kept", "yes"), None)
    assert [name for name, _ in headers[1:]] == [HEADER]
    assert seen == [{"REQUEST_METHOD": "GET", "SERVER_SOFTWARE": DROPPING, "PATH_INFO": "/x"}]


def test_the_headers_that_an_application_passes_stay_its_own(served: Served) -> None:
    """It may pass the same list each time, and tornado adds to the one that it is given."""
    headers = [("X-Kept", "yes")]

    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return []

    for _ in range(2):
        server = served(application)
        server.serve()
        assert [name for name, _ in server.begun[0][1]] == ["X-Kept", HEADER]
        server.begun[0][1].append(("Server", "x"))

    assert headers == [("X-Kept", "yes")]


def begins_anew(_: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("X-First", "1")])
    try:
        raise ValueError("x")
    except ValueError:
        start_response("500 Oh", [("X-Second", "1")], sys.exc_info())
    return []


@pytest.mark.parametrize(("software", "stamped"), [(KEEPING, [True, False]), (DROPPING, [True, True])])
def test_an_answer_that_is_begun_anew_after_an_error_has_one_stamp_whether_or_not_the_server_keeps_the_first_headers(
    served: Served, software: str, stamped: list[bool]
) -> None:
    server = served(begins_anew, SERVER_SOFTWARE=software)
    server.serve()

    assert [(status, exc_info is not None) for status, _, exc_info in server.begun] == [
        ("200 OK", False),
        ("500 Oh", True),
    ]
    assert [HEADER in dict(headers) for _, headers, _ in server.begun] == stamped
    assert dict(server.begun[1][1])["X-Second"] == "1"


def test_an_answer_whose_first_beginning_the_server_refused_has_a_stamp_all_the_same(served: Served) -> None:
    server = served(begins_anew, SERVER_SOFTWARE=KEEPING)
    begin = server.begin

    def refusing(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if not exc_info:
            raise ValueError("no such status")
        return begin(status, headers, exc_info)

    def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
        try:
            start_response("", [])
        except ValueError:
            start_response("500 Oh", [], sys.exc_info())
        return []

    StampMiddleware(application, LateFile(os.devnull))({"SERVER_SOFTWARE": KEEPING}, refusing)

    assert len(server.stamps()) == 1


def test_an_application_that_raises_is_not_answered_for(served: Served) -> None:
    def application(_: Environ, __: Start) -> Iterable[bytes]:
        raise KeyError("x")

    server = served(application)
    with pytest.raises(KeyError):
        server.ask()

    assert server.begun == []
    assert server.late_ms() == [], "nothing has a stamp that could tell what is meant"


def test_what_is_written_reaches_the_server_at_once(served: Served) -> None:
    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"written")
        assert server.written == [b"written"]
        return [b"returned"]

    server = served(application)

    assert server.serve() == [b"returned"]


# What is not wrapped, so that servers keep their shortcuts.


class Sized:
    """Neither list nor tuple, but a body whose length a server may ask for."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"x"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("body", [[b"x"], (b"x",), Sized(), FileWrapper(io.BytesIO(b"x"))])
def test_what_a_server_knows_a_shorter_way_for_is_not_wrapped(served: Served, body: Iterable[bytes]) -> None:
    server = served(answering(lambda: body), **{"wsgi.file_wrapper": FileWrapper})

    assert server.ask() is body


def test_a_body_for_head_is_not_wrapped(served: Served) -> None:
    body = iter([b"x"])

    assert served(answering(lambda: body), REQUEST_METHOD="HEAD").ask() is body


def test_a_file_is_not_wrapped_where_the_wrapper_is_a_function_as_that_of_uwsgi_and_anything_else_is(
    served: Served,
) -> None:
    file = io.BytesIO(b"x")

    def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 8192)
        return wrapped if environ["PATH_INFO"] == "/file" else iter([b"y"])

    wrapper = {"wsgi.file_wrapper": lambda given, _: given}

    assert served(application, PATH_INFO="/file", **wrapper).ask() is file
    other = served(application, PATH_INFO="/other", **wrapper).ask()
    assert hasattr(other, "close"), "it is wrapped"
    assert list(other) == [b"y"]


def test_where_nothing_is_recorded_nothing_is_wrapped() -> None:
    body = iter([b"x"])

    assert StampMiddleware(answering(lambda: body))({}, lambda *_: None) is body


# When it has left.


def pieces(clock: Clock, *waits_ms: float, after_ms: float = 0.0) -> Iterator[bytes]:
    """A body of one byte after each of the waits, and a last wait."""
    for wait_ms in waits_ms:
        clock.wait(wait_ms)
        yield b"x"
    clock.wait(after_ms)


def test_what_leaves_soon_after_it_was_begun_is_not_recorded(served: Served, clock: Clock) -> None:
    soon = LATE_NS / 1e6
    for headers in ([], [length(1)]):
        server = served(answering(lambda: pieces(clock, soon), *headers))
        assert server.serve() == [b"x"]
        assert server.late_ms() == []


def test_a_body_without_a_length_has_left_when_it_ends(served: Served, clock: Clock) -> None:
    server = served(answering(lambda: pieces(clock, 1, 2, after_ms=4)))

    assert server.serve() == [b"x"] * 2
    assert server.late_ms() == [7]


def test_a_body_with_a_length_has_left_with_the_piece_that_completes_it(served: Served, clock: Clock) -> None:
    server = served(answering(lambda: pieces(clock, 1, 2, after_ms=4), ("content-length", "2")))

    assert server.serve() == [b"x"] * 2
    assert server.late_ms() == [3]


def test_it_is_recorded_before_the_server_has_that_piece(served: Served, clock: Clock) -> None:
    server = served(answering(lambda: pieces(clock, 1), length(1)))
    body = iter(server.ask())

    assert next(body) == b"x"
    assert server.late_ms() == [1]


def test_what_is_whole_in_time_is_not_late_however_long_the_rest_takes(served: Served, clock: Clock) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        clock.wait(5)
        yield b""
        raise ValueError("a fault in the logging after it")

    server = served(answering(body, length(1)))
    with pytest.raises(ValueError, match="a fault"):
        server.serve()

    assert server.late_ms() == []


@pytest.mark.parametrize("given", ["3", "soon", "", "-1", "9" * 5000])
def test_a_body_that_never_reaches_its_length_has_left_when_it_ends(served: Served, clock: Clock, given: str) -> None:
    server = served(answering(lambda: pieces(clock, 1, 2, after_ms=4), ("Content-Length", given)))
    server.serve()

    assert server.late_ms() == [7]


@pytest.mark.parametrize(("piece_ms", "left_ms"), [(0.0, []), (30.0, [530.0])])
def test_a_wait_in_which_its_thread_serves_others_is_the_servers(
    served: Served, clock: Clock, piece_ms: float, left_ms: list[float]
) -> None:
    """As in tornado, which asks for a body that is made only when it has taken the requests that came meanwhile."""

    def pieces() -> Iterator[bytes]:
        clock.wait(piece_ms)
        yield b"made"

    first = served(answering(pieces, ("Content-Length", "4")))
    body = first.ask()
    clock.wait(1)
    served(answering(lambda: iter([b"other"]))).ask()
    clock.wait(499)
    assert list(body) == [b"made"]
    body.close()  # type: ignore[attr-defined]

    # What was made of it only then is the application's all the same.
    assert first.late_ms() == left_ms


def test_a_wait_in_which_its_thread_serves_nobody_is_the_requests(served: Served, clock: Clock) -> None:
    server = served(answering(lambda: iter([b"made"])))
    body = server.ask()
    clock.wait(500)
    assert list(body) == [b"made"]
    assert server.late_ms() == [500.0]


def test_a_body_that_raises_has_left_then_and_the_exception_passes(served: Served, clock: Clock) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        clock.wait(0.01)
        raise KeyError("in the middle")

    server = served(answering(body, length(5)))
    with pytest.raises(KeyError, match="in the middle"):
        server.serve()

    assert server.late_ms() == [0.01], "recorded once, however soon"


def test_a_body_that_cannot_be_iterated_over_has_left_then(served: Served) -> None:
    class Broken:
        def __iter__(self) -> Iterator[bytes]:
            raise KeyError("at once")

    server = served(answering(Broken))
    with pytest.raises(KeyError):
        server.serve()

    assert server.late_ms() == [0]


@pytest.mark.parametrize("asked", [0, 1])
def test_a_body_that_is_closed_early_has_left_then(served: Served, clock: Clock, asked: int) -> None:
    server = served(answering(lambda: pieces(clock, 1, 2, 4)))
    body = server.ask()
    if asked:
        next(iter(body))
    clock.wait(0.1)
    body.close()  # type: ignore[attr-defined]

    assert server.late_ms() == [pytest.approx(0.1 + asked)]


@pytest.mark.parametrize("asked", [0, 1])
def test_one_that_is_closed_early_while_its_thread_serves_others_has_left_when_it_was_begun(
    served: Served, clock: Clock, asked: int
) -> None:
    """Nobody has worked on it since: the moment of that is never before the answer was begun."""
    first = served(answering(lambda: iter([b"made", b"not asked for"])))
    body = first.ask()
    clock.wait(1)
    served(answering(lambda: iter([b"other"]))).ask()
    if asked:
        next(iter(body))
    body.close()  # type: ignore[attr-defined]

    assert first.late_ms() == [0.0]


def test_a_server_that_does_not_ask_for_an_empty_body_has_not_closed_it_early(served: Served) -> None:
    server = served(answering(lambda: iter([]), length(0)))
    server.ask().close()  # type: ignore[attr-defined]

    assert server.late_ms() == []


@pytest.mark.parametrize("more", [{}, {"REQUEST_METHOD": "HEAD"}])
def test_a_list_has_left_when_the_application_returns_it(served: Served, clock: Clock, more: dict[str, str]) -> None:
    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [length(1)])
        clock.wait(3)
        return [b"x"]

    server = served(application, **more)

    assert server.serve() == [b"x"]
    assert server.late_ms() == [3]


def test_an_application_that_raises_after_it_began_has_left_then(served: Served, clock: Clock) -> None:
    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        clock.wait(0.1)
        raise KeyError("x")

    server = served(application)
    with pytest.raises(KeyError):
        server.serve()

    assert server.late_ms() == [pytest.approx(0.1)]


def test_what_is_written_has_left_when_the_application_returns(served: Served, clock: Clock) -> None:
    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        for piece in (b"x", b"x", b"x"):
            clock.wait(1)
            write(piece)
        return []

    server = served(application)
    server.serve()

    assert server.written == [b"x"] * 3
    assert server.late_ms() == [3]


def test_a_response_may_be_begun_by_the_body(served: Served, clock: Clock) -> None:
    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        clock.wait(5)
        start_response("200 OK", [length(2)])
        yield from pieces(clock, 1, 2, after_ms=4)

    server = served(application)

    assert server.serve() == [b"x"] * 2
    assert len(server.stamps()) == 1
    assert server.late_ms() == [3]


@pytest.mark.parametrize("software", [KEEPING, DROPPING])
def test_an_answer_that_is_begun_anew_within_its_body_is_late_by_the_stamp_that_is_sent(
    served: Served, clock: Clock, software: str
) -> None:
    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [length(9)])
        clock.wait(5)
        try:
            raise ValueError("x")
        except ValueError:
            start_response("500 Oh", [length(1)], sys.exc_info())
        clock.wait(1)
        yield b"x"

    server = served(application, SERVER_SOFTWARE=software)
    server.serve()

    assert len(server.stamps()) == (1 if software == KEEPING else 2)
    assert server.late_ms() == [6 if software == KEEPING else 1]


# The body, as the server has it.


class Watched:
    """A body that notes what is done to it."""

    def __init__(self, *given: bytes) -> None:
        self.seen: list[str] = []
        self._given = iter(given)

    def __iter__(self) -> Iterator[bytes]:
        self.seen.append("iter")
        return self

    def __next__(self) -> bytes:
        self.seen.append("next")
        return next(self._given)

    def close(self) -> None:
        self.seen.append("close")


def test_a_body_is_asked_and_closed_exactly_when_the_server_asks_and_closes(served: Served) -> None:
    watched = Watched(b"a", b"b")
    body: Any = served(answering(lambda: watched)).ask()
    assert watched.seen == []

    found = iter(body)
    assert next(found) == b"a"
    assert watched.seen == ["iter", "next"], "nothing is read ahead"
    body.close()
    body.close()
    assert watched.seen == ["iter", "next", "close", "close"]


def test_a_body_that_the_server_does_not_close_is_not_closed(served: Served) -> None:
    watched = Watched(b"a")
    assert list(served(answering(lambda: watched)).ask()) == [b"a"]

    assert "close" not in watched.seen


def test_a_body_without_close_need_not_be_closed(served: Served) -> None:
    served(answering(lambda: iter([b"x"]))).serve()


def test_an_exception_of_close_passes(served: Served) -> None:
    class Broken(Watched):
        def close(self) -> None:
            raise KeyError("while closing")

    with pytest.raises(KeyError, match="while closing"):
        served(answering(Broken)).serve()


@given(
    body=st.lists(st.tuples(st.binary(max_size=3), st.floats(0, 1))),
    declared=st.none() | st.integers(0, 12),
    taken=st.none() | st.integers(0, 4),
)
def test_any_body_passes_unchanged_and_leaves_when_it_is_whole_ends_or_is_closed(
    body: list[tuple[bytes, float]],
    declared: int | None,
    taken: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """`taken`: after so many pieces the server closes; None: at the end."""
    clock = Clock()

    def made() -> Iterator[bytes]:
        for piece, wait_ms in body:
            clock.wait(wait_ms)
            yield piece

    headers = () if declared is None else (length(declared),)
    late = LateFile(str(tmp_path_factory.mktemp("late") / "late"))
    server = Server(answering(made, *headers), late, clock)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stamp, "time", clock)
        answer: Any = server.ask()
        passed, found = iter(answer), []
        for _ in range(len(body) + 1 if taken is None else taken):
            try:
                found.append(next(passed))
            except StopIteration:
                break
        answer.close()
        lines = server.late_ms()

    asked = body if taken is None else body[:taken]
    assert found == [piece for piece, _ in asked]
    sent, at_ms, whole_ms = 0, 0.0, 0.0 if declared == 0 else None
    for piece, wait_ms in asked:
        at_ms += wait_ms
        sent += len(piece)
        if whole_ms is None and declared is not None and sent >= declared:
            whole_ms = at_ms
    early = whole_ms is None and taken is not None and taken <= len(body)
    left_ms = at_ms if whole_ms is None else whole_ms
    if early or left_ms > LATE_NS / 1e6 + 1e-5:
        assert lines == [pytest.approx(left_ms, abs=1e-4)]
    elif left_ms < LATE_NS / 1e6 - 1e-5:
        assert lines == []


# Requests that ask to be noted.


def pieces_and_more(clock: Clock) -> Iterator[bytes]:
    """A body that is whole at once, and goes on for 5 ms."""
    yield b"x"
    clock.wait(5)
    yield b""


@pytest.mark.parametrize(
    ("body", "headers", "left_ms"),
    [
        (lambda _: [b"x"], [length(1)], 0),
        (lambda clock: pieces(clock, LATE_NS / 2e6), [], 0),
        (lambda clock: pieces(clock, LATE_NS / 2e6), [length(1)], 0),
        (lambda clock: pieces(clock, 1, 2, after_ms=4), [], 7),
        (lambda clock: pieces(clock, 1, 2, after_ms=4), [length(2)], 3),
        (pieces_and_more, [length(1)], 0),
    ],
)
def test_a_request_that_asks_for_it_is_noted_when_it_leaves_also_in_time(
    served: Served, clock: Clock, body: Callable[[Clock], Iterable[bytes]], headers: list[Any], left_ms: float
) -> None:
    server = served(answering(lambda: body(clock), *headers), HTTP_LAB_NOTE="1")
    server.serve()

    assert max(server.late_ms()) == left_ms


def test_a_request_is_noted_also_where_its_client_has_gone_or_its_application_raises(
    served: Served, clock: Clock
) -> None:
    gone = served(answering(lambda: pieces(clock, 1, 2)), HTTP_LAB_NOTE="1")
    body: Any = gone.ask()
    next(iter(body))
    body.close()
    assert max(gone.late_ms()) == 1
    dropped = served(answering(lambda: pieces(clock, 1, 2)), HTTP_LAB_NOTE="1")
    iterated: Any = iter(dropped.ask())
    next(iterated)
    iterated.close()
    assert max(dropped.late_ms()) == 1, "though the server does not close it"

    def application(_: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        raise ValueError("a fault")

    raising = served(application, HTTP_LAB_NOTE="1")
    with pytest.raises(ValueError, match="a fault"):
        raising.ask()
    assert raising.late_ms() == [0]


def test_a_request_that_is_still_inside_or_ends_without_a_response_is_noted_by_its_entry(
    served: Served, clock: Clock, tmp_path: Path
) -> None:
    def moments() -> list[tuple[int, int, int]]:
        known = inflight.parse_late(LateFile(str(tmp_path / "late")).take().decode())
        return [(stamp.entered_ns, stamp.left_ns, left_ns) for stamp, left_ns in known.items()]

    entered_ns, inside = clock.now_ns, []

    def application(*_: Any) -> Iterable[bytes]:
        inside.extend(moments())
        clock.wait(3)
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        served(application, HTTP_LAB_NOTE="1").ask()

    assert inside == [(entered_ns, entered_ns, entered_ns)]
    assert moments() == [(entered_ns, entered_ns, entered_ns + 3_000_000)]


# Requests that came too late to count.


@pytest.fixture
def client() -> Client:
    return Client(StampMiddleware(lab.app))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the application would have slept."""
    seconds: list[float] = []
    monkeypatch.setattr(lab, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


def void_after(at_ns: object) -> dict[str, str]:
    return {"Lab-Void-After": str(at_ns)}


def test_a_request_that_enters_too_late_to_count_is_answered_at_once_and_marked(
    client: Client, slept: list[float]
) -> None:
    answer = client.get("/sleep", headers=void_after(time.monotonic_ns() - 1))

    assert (answer.status_code, answer.data) == (503, b"")
    assert answer.headers["Lab-Void"] == "1"
    assert answer.headers["Content-Length"] == "0"
    assert HEADER not in answer.headers
    assert slept == [], "the application was not asked"


def test_the_application_never_sees_a_request_that_is_void() -> None:
    answered: list[Any] = []

    body = StampMiddleware(lambda *_: pytest.fail("the application was asked"))(
        {"HTTP_LAB_VOID_AFTER": "1"}, lambda *given: answered.append(given)
    )

    # Hypercorn answers 500 for a body without a single chunk.
    assert list(body) == [b""]
    assert answered == [("503 Service Unavailable", [("Lab-Void", "1"), ("Content-Length", "0")])]


def test_the_headers_of_one_void_answer_are_not_those_of_the_next() -> None:
    """Servers may add to the list that they are given."""
    middleware = StampMiddleware(lambda *_: [])
    given: list[list[tuple[str, str]]] = []
    for _ in range(2):
        middleware({"HTTP_LAB_VOID_AFTER": "1"}, lambda _, headers: given.append(headers))
        given[-1].append(("Server", "x"))

    assert len(given[1]) == 3


def test_a_request_that_enters_in_time_is_served_however_long_it_then_takes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = 1000
    monkeypatch.setattr(stamp, "time", SimpleNamespace(monotonic_ns=lambda: now_ns))

    def sleep(_: float) -> None:
        nonlocal now_ns
        now_ns = 2000

    monkeypatch.setattr(lab, "time", SimpleNamespace(sleep=sleep))

    answer = client.get("/sleep", headers=void_after(1000))

    assert (answer.status_code, answer.data) == (200, b"slept 50 ms\n")
    assert answer.headers[HEADER].endswith(" 1000 2000")


@pytest.mark.parametrize(("entered_ns", "status"), [(999, 200), (1000, 200), (1001, 503)])
def test_a_request_is_void_only_after_the_moment_that_it_names(
    client: Client, monkeypatch: pytest.MonkeyPatch, entered_ns: int, status: int
) -> None:
    monkeypatch.setattr(stamp, "time", SimpleNamespace(monotonic_ns=lambda: entered_ns))

    assert client.get("/hello", headers=void_after(1000)).status_code == status


@pytest.mark.parametrize("malformed", ["", " ", "soon", "-1", "1.5", "1e3", "0x1", "1 2", "1,2"])
def test_a_header_that_names_no_moment_voids_nothing(client: Client, malformed: str) -> None:
    answer = client.get("/hello", headers=void_after(malformed))

    assert (answer.status_code, answer.data) == (200, b"hello\n")
    assert "Lab-Void" not in answer.headers
    inflight.parse_stamp(answer.headers[HEADER])


@pytest.mark.parametrize("malformed", ["²", "\xff", "9" * 5000])
def test_a_header_as_hostile_as_wsgi_allows_is_no_error(malformed: str) -> None:
    """A server hands headers over as Latin-1 text, of whatever length it takes."""
    answered: list[Any] = []

    def inner(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return []

    StampMiddleware(inner)({"HTTP_LAB_VOID_AFTER": malformed}, lambda *given: answered.append(given[0]))

    assert len(answered) == 1
