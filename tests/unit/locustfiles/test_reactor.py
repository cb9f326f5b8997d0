"""The reactor: the same requests, answers and findings as when users do all of it themselves."""

import _socket
import socket
import struct
import threading
import time
from http.client import HTTPException
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

import application
import lab_user
import mixed
import reactor
from lab_user import Get
from tests.unit.locustfiles.test_locustfiles import (
    SENT,
    SPELLINGS,
    WIRE,
    Conduct,
    answer_once,
    answer_once_and_begin_to_again,
    answer_once_and_close_by_halves_without_reading_what_came,
    answer_once_and_close_without_reading_what_came,
    answer_once_and_hear_more,
    answer_once_and_reset,
    close_at_once,
    hear,
    hear_and_close,
    listening,
    ready,
    remarks,
    serving,
)
from wsgilab.load.recorder import Recorder

WHOLE = SPELLINGS["with its length"]
HEAD, BODY = WHOLE[:-6], WHOLE[-6:]


class Kept:
    """A recorder that has its user stopped once it has so many requests, kept or fired."""

    def __init__(self, by: Any, most: int) -> None:
        self.by, self.most = by, most
        self.events: list[dict[str, Any]] = []
        self.whole = 0
        """How many were kept: the plain case."""

    def keep(self, user: int, get: Get, *known: Any) -> None:
        self.whole += 1
        self.add(**get.request(user, *known))

    def on_request(self, **event: Any) -> None:
        """One whose answer was read at once."""
        self.whole += 1
        self.add(**event)

    def add(self, **event: Any) -> None:
        self.events.append(event)
        if len(self.events) == self.most:
            self.by._state = "stopping"


def lent(where: socket.socket, *, kept: bool, most: int, **options: Any) -> tuple[Any, Kept]:
    """A user of `hello` who lends its connections to the reactor, and what is recorded of it."""
    made = ready(**{"void_after_ns": 0, "window_end_ns": 0, **options})
    made._connection = "keep-alive" if kept else "close"
    made._address, made._timeout_s = where.getsockname(), 60.0
    made._id, made._state = 7, "running"
    made._recorder = Kept(made, most)
    made._exchange = reactor.Exchange(made, (made._family, made._address), is_kept=kept)
    listening(made)
    made.environment.events.request.fire = made._recorder.add
    return made, made._recorder


def answered(made: Any) -> None:
    """Have a user send requests, as Locust does, until it is stopped."""
    try:
        while made._state == "running":
            made.request()
    finally:
        for wire in made._wires:
            wire.close()


def sent_by(made: Any) -> None:
    """The same in a greenlet, of which a reactor hands nothing over that it should not."""
    with gevent.Timeout(60):
        gevent.spawn(answered, made).get()
    assert not reactor.reactor()._exchanges
    assert not reactor.reactor()._beside


def twice(where: socket.socket) -> tuple[list[dict[str, Any]], Kept]:
    """What is recorded of two requests on a connection that is to be kept."""
    made, kept = lent(where, kept=True, most=2)
    sends = reactor.Reactor._send

    def send(self: reactor.Reactor, exchange: Any, *given: Any) -> None:
        sends(self, exchange, *given)
        if kept.whole:
            SENT.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reactor.Reactor, "_send", send)
        sent_by(made)
    return kept.events, kept


def answer(*answers: bytes) -> Conduct:
    """A server that answers one request after the other on a connection."""

    def conduct(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for each in answers:
            hear(connection)
            connection.sendall(each)

    return conduct


@pytest.mark.parametrize("kept", [True, False])
def test_answers_that_come_whole_are_kept_and_parsed_later(kept: bool) -> None:
    conducts = [answer(*[WHOLE] * 5)] if kept else [answer(WHOLE)] * 5
    with serving(*conducts) as (where, opened):
        made, found = lent(where, kept=kept, most=5)
        sent_by(made)

    assert found.whole == 5
    assert opened == [len(conducts)]
    assert [event["exception"] for event in found.events] == [None] * 5
    assert all(event["response_length"] == 6 for event in found.events)
    assert all(event["response"].status_code == 200 for event in found.events)
    begun = [event["context"]["begun_ns"] for event in found.events]
    took = [round(event["response_time"] * 1e6) for event in found.events]
    # One after the other: the next is begun when the answer is here.
    assert all(at + passed <= following for at, passed, following in zip(begun, took, begun[1:], strict=False))
    opening = [event["context"].get("connect_ns", 0) > 0 for event in found.events]
    assert opening == [True, *[not kept] * 4]


def test_an_answer_in_pieces_is_its_users_to_read_and_the_next_request_the_reactors_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed, takes = threading.Semaphore(0), reactor.Reactor._taken

    def taken(self: reactor.Reactor, *given: Any) -> Any:
        handed.release()
        return takes(self, *given)

    def in_pieces(connection: socket.socket) -> None:
        for _ in range(2):
            hear(connection)
            connection.sendall(WHOLE[:20])
            # More only when the first piece was read by itself.
            assert handed.acquire(timeout=60)
            for at in range(20, len(WHOLE), 20):
                time.sleep(0.02)
                connection.sendall(WHOLE[at : at + 20])

    monkeypatch.setattr(reactor.Reactor, "_taken", taken)
    with serving(in_pieces) as (where, opened):
        made, found = lent(where, kept=True, most=2)
        sent_by(made)

    assert (found.whole, opened) == (0, [1])
    assert [event["exception"] for event in found.events] == [None, None]
    assert all(event["response_time"] >= 20 for event in found.events), "from when it was begun"


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhallo\n", lab_user.WrongAnswer),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nhello\n", lab_user.WrongAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\nhello\n", OSError),
        (b"220 mail.invalid\r\n\r\nhello\n", HTTPException),
        (b"HTTP/1.1 200 OK\r\nContent-Le", OSError),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_every_other_answer_is_a_failure(wrong: bytes, kind: type[Exception], kept: bool) -> None:
    """Also one that ends as the right one would: that it is another is found when it is parsed."""
    with serving(answer(wrong), answer(WHOLE)) as (where, _):
        made, found = lent(where, kept=kept, most=1)
        sent_by(made)

    (event,) = found.events
    assert isinstance(event["exception"], kind | HTTPException)


@pytest.mark.parametrize("spelling", ["Connection: close", "connection: Close"])
def test_a_connection_that_the_server_announces_to_close_is_not_used_again(spelling: str) -> None:
    last = WHOLE.replace(b"\r\n\r\n", f"\r\n{spelling}\r\n\r\n".encode(), 1)
    with serving(answer(WHOLE, last), answer(WHOLE)) as (where, opened):
        made, found = lent(where, kept=True, most=3)
        sent_by(made)

    assert opened == [2]
    assert list(map(remarks, found.events)) == [{"user": 7}] * 3


@pytest.mark.parametrize(
    "conduct",
    [
        answer_once,
        answer_once_and_close_without_reading_what_came,
        answer_once_and_close_by_halves_without_reading_what_came,
        answer_once_and_reset,
    ],
)
def test_a_kept_connection_that_the_server_closes_unannounced_is_opened_anew_and_reported(
    conduct: Conduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server may take its time between its two halves.
    monkeypatch.setattr(WIRE, "RESET_S", 60.0)
    with serving(conduct, answer_once) as (where, opened):
        events, _ = twice(where)

    assert [event["exception"] for event in events] == [None, None]
    assert list(map(remarks, events)) == [{"user": 7}, {"user": 7, "reopened": True, "reset": True}]
    assert opened == [2]


def answer_once_and_reset_after_a_head(connection: socket.socket) -> None:
    answer_once_and_hear_more(connection)
    connection.sendall(HEAD)
    time.sleep(0.02)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "conduct", [answer_once_and_hear_more, answer_once_and_begin_to_again, answer_once_and_reset_after_a_head]
)
def test_a_server_that_has_heard_a_request_and_does_not_answer_it_has_failed(conduct: Conduct) -> None:
    with serving(conduct, answer_once) as (where, opened):
        events, _ = twice(where)

    assert events[0]["exception"] is None
    assert isinstance(events[1]["exception"], (ConnectionError, HTTPException))
    assert all("reopened" not in event["context"] for event in events)
    assert opened == [1]


@pytest.mark.parametrize("conduct", [close_at_once, hear_and_close])
@pytest.mark.parametrize("kept", [True, False])
def test_a_new_connection_that_is_closed_without_an_answer_is_a_failure(conduct: Conduct, kept: bool) -> None:
    with serving(conduct, answer_once) as (where, opened):
        made, found = lent(where, kept=kept, most=2)
        sent_by(made)

    assert [isinstance(event["exception"], OSError) for event in found.events] == [True, False]
    assert all("reopened" not in event["context"] for event in found.events)
    assert opened == [2]


def test_a_server_that_refuses_connections_has_failed_and_is_not_hammered() -> None:
    listening_socket = socket.create_server(("127.0.0.1", 0))
    made, found = lent(listening_socket, kept=False, most=2)
    listening_socket.close()

    began = time.monotonic()
    sent_by(made)

    assert [type(event["exception"]) for event in found.events] == [ConnectionRefusedError] * 2
    assert time.monotonic() - began >= lab_user.PAUSE_AFTER_FAILURE_S
    assert all(event["context"]["connect_ns"] > 0 for event in found.events)


def test_a_connection_that_takes_long_to_open_is_waited_for_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network, where the connection is not open yet when the first bytes could be sent."""
    opened = _socket.socket

    class Distant(opened):  # type: ignore[misc, valid-type]
        tries = 0

        def send(self, request: bytes) -> int:
            self.tries += 1
            if self.tries == 1:
                raise BlockingIOError
            return int(super().send(request))

    monkeypatch.setattr(_socket, "socket", Distant)
    with serving(answer(WHOLE)) as (where, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab_user, "SLOW_CONNECTION_S", 0.0)
        made, found = lent(where, kept=False, most=1)
        sent_by(made)

    (event,) = found.events
    assert (found.whole, event["exception"]) == (1, None)
    assert event["context"]["slow_connection"]


@pytest.mark.parametrize(("window_end_ns", "counts"), [(0, 1), (10**30, 1), (1, 0)])
def test_a_request_whose_user_is_killed_is_given_up_unless_it_is_of_after_the_window(
    window_end_ns: int, counts: int
) -> None:
    heard = threading.Event()

    def silent(connection: socket.socket) -> None:
        hear(connection)
        heard.set()
        connection.settimeout(60)
        connection.recv(1)

    with serving(silent) as (where, _):
        made, found = lent(where, kept=True, most=9, window_end_ns=window_end_ns)
        greenlet = gevent.spawn(answered, made)
        with gevent.Timeout(60):
            while not heard.is_set():
                gevent.sleep(0.01)
        greenlet.kill()

    assert [type(event["exception"]) for event in found.events] == [gevent.GreenletExit] * counts
    assert not reactor.reactor()._exchanges


def test_a_request_carries_until_when_it_counts_where_it_may_wait_for_so_long() -> None:
    heard: list[bytes] = []
    void = b"HTTP/1.1 503 No\r\nLab-Void: 1\r\nContent-Length: 0\r\n\r\n"

    def answering(*answers: bytes) -> Conduct:
        def conduct(connection: socket.socket) -> None:
            for each in answers:
                heard.append(connection.recv(1000))
                connection.sendall(each)

        return conduct

    with serving(answering(WHOLE, WHOLE, void), answering(WHOLE)) as (where, _):
        made, found = lent(where, kept=True, most=3)
        add = found.add

        def end_window(**event: Any) -> None:
            add(**event)
            made._options.void_after_ns = 1

        found.add = end_window  # type: ignore[method-assign]
        sent_by(made)

    assert [b"Lab-Void-After: 1\r\n" in each for each in heard] == [False, True, True, True]
    # An answer that says so counts for nothing.
    assert [event["exception"] for event in found.events] == [None] * 3


class Open(Get):
    """A request whose answer's end is not known before."""

    def last(self) -> bytes | None:
        return None


@pytest.mark.parametrize("kind", [Get, Open])
def test_users_of_mixed_requests_send_all_of_them_in_order(kind: type[Get]) -> None:
    gets = {"one": Get("/one", b"one\n"), "two": kind("/two", b"two\n")}
    order = ["one", "two", "two", "one", "two"]
    heard: list[str] = []

    def conduct(connection: socket.socket) -> None:
        for _ in order:
            path = connection.recv(1000).split()[1].decode()
            heard.append(path[1:])
            body = f"{path[1:]}\n"
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    with serving(conduct) as (where, _):
        made, found = lent(where, kept=True, most=len(order))
        made.__class__ = mixed.Mixed
        made._gets, made._cards = gets, iter(order * 2)
        sent_by(made)

    assert heard == order
    assert found.whole == len(order)


def one_after_the_other(*parts: bytes, reset: bool = False) -> Conduct:
    """A server that answers in these parts, each by itself."""

    def conduct(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hear(connection)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.02)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return conduct


@pytest.mark.parametrize("kind", [Get, Open])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("parts", [(HEAD, BODY), (HEAD + BODY[:1], BODY[1:3], BODY[3:])])
def test_a_short_answer_whose_body_comes_after_its_head_is_plain_too(
    parts: tuple[bytes, ...], kept: bool, kind: type[Get]
) -> None:
    with serving(one_after_the_other(*parts)) as (where, _):
        made, found = lent(where, kept=kept, most=1)
        made.get = kind("/hello", b"hello\n")
        sent_by(made)

    (event,) = found.events
    assert (found.whole, event["exception"], event["response_length"]) == (1, None, 6)
    assert event["response_time"] >= 20 * (len(parts) - 1)


@pytest.mark.parametrize("kind", [Get, Open])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    ("parts", "reset", "failure"),
    [
        ((HEAD,), False, OSError),
        ((HEAD, BODY[:2]), True, OSError),
        ((HEAD, b"hallo\n"), False, lab_user.WrongAnswer),
        ((HEAD.replace(b"200", b"500"), BODY), False, lab_user.WrongAnswer),
        ((HEAD.replace(b": 6", b": 0"),), False, lab_user.WrongAnswer),
        ((HEAD.replace(b": 6", b": 3"), BODY[:3]), False, lab_user.WrongAnswer),
    ],
)
def test_a_wrong_answer_in_parts_is_a_failure(
    parts: tuple[bytes, ...], reset: bool, failure: type[Exception], kept: bool, kind: type[Get]
) -> None:
    with serving(one_after_the_other(*parts, reset=reset), answer_once) as (where, _):
        made, found = lent(where, kept=kept, most=1)
        made.get = kind("/hello", b"hello\n")
        sent_by(made)

    (event,) = found.events
    assert isinstance(event["exception"], failure | HTTPException)
    assert "reopened" not in event["context"]


CHUNKED = SPELLINGS["in chunks"]


@pytest.mark.parametrize(
    ("method", "given", "whole", "right"),
    [
        ("GET", WHOLE, True, True),
        ("GET", CHUNKED, True, True),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", True, True),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n", True, True),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", True, True),
        # The server closes the connection after its answer.
        ("GET", WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), False, True),
        ("GET", SPELLINGS["until the connection's end"], False, True),
        ("GET", WHOLE[:-1], False, False),
        ("GET", CHUNKED[:-5], False, False),
        ("GET", WHOLE.replace(b"200", b"500"), False, False),
        ("GET", b"220 mail.invalid\r\n\r\nhello\n", False, False),
    ],
)
def test_an_answer_whose_end_is_not_known_before_is_read_as_it_comes(
    method: str, given: bytes, whole: bool, right: bool
) -> None:
    """What is not whole or not right is its user's, who pauses after a failure."""
    with serving(answer(given)) as (where, _):
        made, found = lent(where, kept=True, most=1)
        made.get = application.ask({"method": method, "path": "/"})
        sent_by(made)

    (event,) = found.events
    assert (found.whole, event["exception"] is None) == (whole, right)
    assert event["context"]["connect_ns"] > 0


def test_a_request_that_a_connection_may_not_take_at_once_is_its_users() -> None:
    with serving(answer(WHOLE, WHOLE)) as (where, _):
        made, found = lent(where, kept=True, most=2)
        made.get = Get("/hello?" + "x" * lab_user.LONGEST_PLAIN, b"hello\n")
        sent_by(made)

    assert [event["exception"] for event in found.events] == [None, None]
    assert found.whole == 0


def test_the_reactor_waits_by_itself_only_while_no_user_waits_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = reactor.Reactor()
    waited_s: list[float] = []

    def poll(seconds: float) -> list[tuple[int, int]]:
        waited_s.append(seconds)
        return []

    monkeypatch.setattr(made, "_epoll", SimpleNamespace(poll=poll))

    made._turn()
    with made.beside():
        made._turn()
    made._turn()

    assert waited_s == [reactor.LONGEST_WAIT_S, 0, reactor.LONGEST_WAIT_S]


def test_a_recorder_makes_samples_of_what_it_kept() -> None:
    recorder = Recorder(clock_offset_ns=5)
    stamped = WHOLE.replace(b"\r\n\r\n", b"\r\nLab-Stamp: 1 2 3 4 5\r\n\r\n", 1)
    get = Get("/hello", b"hello\n", name="greet")

    recorder.keep(7, get, 1_000_000, 3_000_000, 400, stamped)
    recorder.keep(8, get, 1_000_000, 2_000_000, 0, WHOLE.replace(b"200", b"404"))
    assert (len(recorder), recorder.samples, recorder.answered) == (2, [], {7, 8})
    recorder.parse_kept()

    right, wrong = recorder.samples
    assert len(recorder) == 2
    assert (right.latency_ms, right.stamp, right.error, right.name) == (2.0, "1 2 3 4 5", None, "greet")
    assert (right.begun_ns, right.connect_ns, right.received_bytes) == (1_000_005, 400, 6)
    assert wrong.error is not None
    assert "status 404" in wrong.error
