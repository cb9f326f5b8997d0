"""Users who pause, give up, upload, read streams and ask all at once, each against a server that has just the trait it is about."""

import importlib
import select
import socket
import struct
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from tests.unit.locustfiles.test_locustfiles import (
    LAB_USER,
    SPELLINGS,
    Server,
    answer_once,
    fired_by,
    hear,
    listening,
    ready,
    remarks,
    serving,
    user,
)

BURST, STREAM, UPLOAD, WIRE = map(importlib.import_module, ("burst", "stream", "upload", "wire"))
WHOLE = SPELLINGS["with its length"]


def at(where: socket.socket, made: Any, **attributes: Any) -> list[dict[str, Any]]:
    """Have a user send its requests there; the events that it will fire."""
    attributes = {"_address": where.getsockname(), "_timeout_s": 60.0, "_connection": "keep-alive", **attributes}
    vars(made).update(attributes)
    return listening(made)


def asking(made: Any, times: int, pause: Callable[[Any], object] = lambda _: None) -> None:
    """Have a user ask so often, and do that after each answer."""
    try:
        with gevent.Timeout(60):
            for _ in range(times):
                made._ask(None)
                pause(made)
    finally:
        for wire in made._wires:
            wire.close()


# Pauses.


def answering(connection: socket.socket) -> None:
    """A server that answers on a connection for as long as its client has it open."""
    while connection.recv(1, socket.MSG_PEEK):
        hear(connection)
        connection.sendall(WHOLE)


def until_the_server_closes(made: Any) -> None:
    """A pause for as long as that takes."""
    (wire,) = made._wires
    assert select.select([wire._socket], [], [], 60)[0]


def test_a_user_who_pauses_keeps_its_connection_for_longer_than_one_who_does_not() -> None:
    for pauses, opened_in_all in ((True, 1), (False, 2)):
        made = ready()
        with serving(answering, answering) as (where, opened), pytest.MonkeyPatch.context() as patch:
            patch.setattr(WIRE, "LONGEST_IDLE_S", 0.01)
            events = at(where, made, _pauses=pauses, _gap_s=0.05)
            asking(made, 2, lambda _: gevent.sleep(0.05))

        assert [event["exception"] for event in events] == [None, None]
        assert opened == [opened_in_all]


def test_a_connection_that_the_server_closes_in_a_pause_is_opened_anew_and_no_request_is_lost_with_it() -> None:
    made = ready()
    with serving(answer_once, answer_once) as (where, opened):
        events = at(where, made, _pauses=True, _gap_s=0.1)
        asking(made, 2, until_the_server_closes)

    assert [remarks(event) for event in events] == [
        {"user": 7, "pause_ns": 10**8},
        {"user": 7, "pause_ns": 10**8, "reopened": True},
    ]
    assert [event["exception"] for event in events] == [None, None]
    assert opened == [2]


def test_a_request_that_meets_the_end_of_its_connection_is_lost_with_it_and_says_so() -> None:
    """The server takes it, and closes: it may have done what was asked."""

    def conduct(connection: socket.socket) -> None:
        hear(connection)
        connection.sendall(WHOLE)
        hear(connection)

    made = ready()
    with serving(conduct) as (where, _):
        events = at(where, made, _pauses=True, _gap_s=0.01)
        asking(made, 2)

    assert [type(event["exception"]) for event in events] == [type(None), ConnectionError]
    assert remarks(events[1]) == {"user": 7, "pause_ns": 10**7, "reset": True}


def test_users_who_pause_are_not_in_step_and_at_work_after_their_first_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(LAB_USER.gevent, "sleep", slept.append)
    starting = {7}
    for number in range(5):
        made = ready()
        vars(made).update(number=number, _pauses=True, _gap_s=2.0, _is_at_work=False, _recorder=None, _id=7)
        made._recorder = SimpleNamespace(starting=starting)
        made._ask = lambda _: None
        made.request()
        made.request()
        assert made.wait_time() == 2.0

    assert starting == set()
    assert [round(each, 3) for each in slept] == [0.0, 1.236, 0.472, 1.708, 0.944]


# Giving up.


def silent(connection: socket.socket) -> None:
    """A server that works for as long as its client stays."""
    hear(connection)
    connection.settimeout(60)
    connection.recv(1)


def test_a_user_who_gives_up_closes_its_connection_says_so_and_asks_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It is no server's failure, after which it would rest; whoever rested so long would not be waited for.
    monkeypatch.setattr(LAB_USER, "PAUSE_AFTER_FAILURE_S", 600.0)
    made = ready()
    with serving(silent, silent, answering) as (where, opened):
        events = at(where, made, _abandon_s=0.05)
        asking(made, 2)
        # Whoever does answer may be slow.
        made._abandon_s = 60.0
        asking(made, 1)

    assert [event["context"].get("abandoned", False) for event in events] == [True, True, False]
    assert [str(event["exception"]) for event in events] == ["given up after 50 ms"] * 2 + ["None"]
    assert all(event["response_time"] >= 50 for event in events[:2])
    assert opened == [3]


@pytest.mark.parametrize("left_ms", [1, 10**6])
def test_a_request_that_may_be_given_up_is_noted_and_says_until_when_it_counts_however_soon_its_answer(
    left_ms: int,
) -> None:
    made = ready(void_after_ns=time.monotonic_ns() + left_ms * 10**6)
    made._abandon_s = 0.05

    lines = made._spell(made.choose())[0].decode().splitlines()

    assert "Lab-Note: 1" in lines
    assert any(line.startswith("Lab-Void-After: ") for line in lines)
    assert not any(line.startswith("Lab-Note") for line in ready()._spell(made.choose())[0].decode().splitlines())


# Uploads.


def test_an_upload_sends_its_head_at_once_and_its_body_in_ten_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(gevent, "sleep", slept.append)
    made = user("upload", "Uploading", upload_kib=10, upload_send_ms=500.0)
    sent: list[bytes] = []
    wire = made.make_wire(2, ("127.0.0.1", 1), None)

    wire.send(SimpleNamespace(sendall=sent.append), made.get.spell(["POST /upload HTTP/1.1"]))

    assert sent[0] == b"POST /upload HTTP/1.1\r\nContent-Length: 10240\r\n\r\n"
    assert [len(piece) for piece in sent[1:]] == [1024] * 10
    assert slept == pytest.approx([0.05] * 10)
    assert wire.remarks == {"client_ms": pytest.approx(500.0), "reading_ms": 0.0}


@pytest.mark.parametrize(
    ("void_after_ns", "is_upload", "counts"), [(1, True, 0), (10**30, True, 1), (0, True, 1), (1, False, 1)]
)
def test_an_upload_that_the_server_drops_because_it_came_too_late_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, void_after_ns: int, is_upload: bool, counts: int
) -> None:
    """It is answered before its body is there, and so the connection is closed while users send."""

    def drop(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    monkeypatch.setattr(LAB_USER, "PAUSE_AFTER_FAILURE_S", 0.0)
    made = ready(void_after_ns=void_after_ns)
    if is_upload:
        made.get = UPLOAD.upload(64)
        made.make_wire = lambda *where: UPLOAD.UploadWire(*where, send_s=0.2, read_s=0.0, answer_bytes=99)
    # It may wait for as long as the one before took.
    made._took_ns = 10**30
    with serving(drop) as (where, _):
        events = at(where, made)
        asking(made, 1)

    assert len(events) == counts
    assert all(isinstance(event["exception"], OSError) for event in events)


# Streams.


class Streamed(Server):
    """A socket to a server that sends each piece so many milliseconds after the one before, and then closes the connection."""

    def __init__(self, *pieces: tuple[float, bytes]) -> None:
        super().__init__(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", *(piece for _, piece in pieces))
        self.waits_ms, self.now_ns = [0.0, *(wait_ms for wait_ms, _ in pieces)], 10**9

    def recv(self, most: int) -> bytes:
        self.now_ns += round(self.waits_ms.pop(0) * 1e6) if self.waits_ms else 0
        return super().recv(most)


def read(*pieces: tuple[float, bytes], connection: str = "close") -> dict[str, Any]:
    """The event of a user that reads four events from a stream of these pieces."""
    made, server = ready(), Streamed(*pieces)
    made.get, made.make_wire, made._connection = STREAM.stream(0.09, 30.0), STREAM.StreamWire, connection
    with pytest.MonkeyPatch.context() as patch:
        clock = SimpleNamespace(monotonic_ns=lambda: server.now_ns, monotonic=lambda: server.now_ns / 1e9)
        for module in (STREAM, WIRE):
            patch.setattr(module, "time", clock)
        (event,) = fired_by(made, server)
    return event


EVENTS = [event + b"\n\n" for event in STREAM.stream(0.09, 30.0).answer.split(b"\n\n")[:-1]]


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_stream_tells_how_long_its_first_event_took_and_the_longest_time_between_two(connection: str) -> None:
    event = read(*zip([30, 20, 90, 40], EVENTS, strict=True), connection=connection)

    assert event["exception"] is None
    assert event["context"]["first_event_ms"] == 30
    assert event["context"]["event_gap_ms"] == 90


def test_a_stream_that_a_server_holds_back_has_its_first_event_late_and_nothing_between() -> None:
    event = read((120, b"".join(EVENTS)))

    assert event["exception"] is None
    assert event["context"]["first_event_ms"] == 120
    assert "event_gap_ms" not in event["context"], "it came in one piece"


def test_the_end_of_an_event_may_come_in_two_pieces() -> None:
    ends_later = (EVENTS[0][:-1], EVENTS[0][-1:] + EVENTS[1][:-1], EVENTS[1][-1:] + EVENTS[2], EVENTS[3])
    event = read(*zip([30, 50, 20, 10], ends_later, strict=True))

    assert event["exception"] is None
    assert event["context"]["first_event_ms"] == 80
    assert event["context"]["event_gap_ms"] == 20


@pytest.mark.parametrize(
    ("pieces", "right"),
    [
        (EVENTS[:2], "2 of 4"),
        ([*EVENTS[:2], EVENTS[2][:-1]], "2 of 4"),
        ([EVENTS[0], EVENTS[2], EVENTS[1], EVENTS[3]], "1 of 4"),
        ([], "0 of 4"),
    ],
)
def test_a_stream_that_ends_early_or_skips_an_event_has_failed_and_says_how_far_it_came(
    pieces: list[bytes], right: str
) -> None:
    event = read(*((1, piece) for piece in pieces))

    assert f"{right} events came right" in str(event["exception"])


# Bursts.


def test_all_users_ask_at_the_same_instants_and_those_who_wait_longer_leave_one_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_ns = [10_300 * 10**6]
    monkeypatch.setattr(BURST, "time", SimpleNamespace(monotonic_ns=lambda: now_ns[0]))
    made = user("burst", "Burst", burst_every_ms=1000.0, burst_ms=0.0)
    asked: list[int] = []

    def ask(takes_ms: int, early_ms: float = 0.0) -> None:
        now_ns[0] += round(made.pause_s() * 1e9 - early_ms * 1e6)
        made.choose()
        asked.append(round(now_ns[0] / 1e6))
        now_ns[0] += takes_ms * 10**6

    # One that wakes a little early, and has its answer at once, does not ask twice.
    for takes_ms, early_ms in ((10, 0), (1500, 0), (0, 0.2), (10, 0)):
        ask(takes_ms, early_ms)

    assert asked == [11_000, 12_000, 14_000, 15_000]
    # A pause of its own comes first: 990 ms are left until the next instant.
    made._gap_s = 1.5
    assert made.pause_s() == pytest.approx(1.99)
    made._gap_s = 0.0
    # The grid is that of the targets' machine's clock.
    made._clock_offset_ns = 400 * 10**6
    assert (now_ns[0] + made.pause_s() * 1e9 + 400 * 10**6) % 1e9 == pytest.approx(0, abs=1)
