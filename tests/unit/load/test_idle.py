"""Silent connections, against servers that treat them in one way each."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import pytest

from wsgilab.load.idle import PAUSE_S, Silence, SilentConnections, Stay, idle_report, share
from wsgilab.load.samples import Span
from wsgilab.model import Idle, IdleReport

S = 10**9
SPAN = Span(started_ns=0, begin_ns=S, settled_ns=S, end_ns=3 * S, stopped_ns=3 * S, drained_ns=4 * S)

Conduct = Callable[[socket.socket], None]


@contextmanager
def serving(conduct: Conduct) -> Iterator[str]:
    """A server that does this with each connection, at once with all, and closes it then."""
    listener, threads = socket.create_server(("127.0.0.1", 0), backlog=64), []
    closed = threading.Event()

    def treat(connection: socket.socket) -> None:
        with connection:
            conduct(connection)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            if closed.is_set():
                connection.close()
                return
            threads.append(threading.Thread(target=treat, args=(connection,)))
            threads[-1].start()

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        closed.set()
        socket.create_connection(listener.getsockname()).close()
        server.join()
        listener.close()
        for each in threads:
            each.join()


@pytest.fixture(autouse=True)
def _all_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr("wsgilab.load.idle.OPEN_S", 60.0)


def held(
    idle: Idle,
    base_url: str,
    seconds: float = 0.0,
    offset_ns: int = 0,
    until: Callable[[list[Stay]], bool] = lambda _: True,
) -> Silence:
    """What becomes of silent connections within so many seconds, and until that is so of those that are closed."""
    silent = SilentConnections(idle, base_url)
    with gevent.Timeout(60):
        silent.open()
        gevent.sleep(seconds)
        while not until(silent._stays):
            gevent.sleep(0.01)
        return silent.close(offset_ns)


def wait(connection: socket.socket) -> None:
    """For as long as the client is silent."""
    while connection.recv(1000):
        pass


def test_a_server_that_waits_for_ever_holds_all_of_them_until_the_trial_ends() -> None:
    with serving(wait) as base_url:
        silence = held(Idle(connections=3), base_url, 0.1)

    assert [stay.by_server for stay in silence.stays] == [False] * 3
    assert all(stay.closed_ns - stay.opened_ns >= 0.1 * S for stay in silence.stays)
    assert silence.refused == 0


def test_one_that_loses_patience_closes_them_and_they_are_opened_anew() -> None:
    def impatient(connection: socket.socket) -> None:
        connection.settimeout(0.05)
        try:
            wait(connection)
        except TimeoutError:
            # As servers do that are polite.
            connection.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    with serving(impatient) as base_url:
        # It counts from its own side, which may be a little later, and on a busy machine much later.
        silence = held(
            Idle(connections=2),
            base_url,
            until=lambda stays: len(stays) >= 4 and max(map(length_ns, stays)) >= 0.04 * S,
        )

    assert len(silence.stays) >= 4
    assert all(stay.by_server for stay in silence.stays[:4])


def length_ns(stay: Stay) -> int:
    return stay.closed_ns - stay.opened_ns


@pytest.mark.parametrize(("send", "heard"), [("nothing", b""), ("half", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n")])
def test_they_send_nothing_or_half_of_a_request(send: str, heard: bytes) -> None:
    received: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        pieces = []
        while piece := connection.recv(1000):
            pieces.append(piece)
        received.append(b"".join(pieces))

    with serving(listen) as base_url:
        held(Idle(connections=1, send="half" if send == "half" else "nothing"), base_url, 0.05)

    assert received == [heard.replace(b"PORT", base_url.rpartition(":")[2].encode())]


def test_where_nobody_listens_attempts_are_counted_and_nobody_is_hammered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        base_url = "http://{}:{}".format(*taken.getsockname())
    silent, began_s = SilentConnections(Idle(connections=2), base_url), time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsgilab.load.idle.OPEN_S", 0.15)
        silent.open()
    found = silent.close()

    assert found.stays == []
    assert 2 <= found.refused <= most_attempts(2, began_s)


def most_attempts(connections: int, began_s: float) -> float:
    """How often so many connections may have been tried since then."""
    return connections * (1 + (time.monotonic() - began_s) / PAUSE_S)


def test_there_may_be_more_than_the_shell_allows_open_files() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener, socket.socket() as lowest:
        silent = SilentConnections(Idle(connections=40), "http://{}:{}".format(*listener.getsockname()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 20, before[1]))
        try:
            silent.open()
            found = silent.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert (len(found.stays), found.refused) == (40, 0)


def test_one_that_cannot_be_made_is_counted_and_tried_again() -> None:
    tried: list[object] = []

    def none_left(*given: object) -> None:
        tried.append(given)
        raise OSError(24, "Too many open files")

    silent, began_s = SilentConnections(Idle(connections=1), "http://127.0.0.1:1"), time.monotonic()
    with pytest.MonkeyPatch.context() as patch, gevent.Timeout(60):
        patch.setattr("wsgilab.load.idle.gevent.socket.socket", none_left)
        opening = gevent.spawn(silent.open)
        while len(tried) < 2:
            gevent.sleep(0.01)
        opening.kill()
        found = silent.close()

    assert found.stays == []
    assert found.refused == len(tried) <= most_attempts(1, began_s)


def test_their_moments_are_of_the_targets_clock() -> None:
    with serving(wait) as base_url:
        began_ns = time.monotonic_ns()
        (there,) = held(Idle(connections=1), base_url, offset_ns=10**6 * S).stays
        ended_ns = time.monotonic_ns()

    assert began_ns < there.opened_ns - 10**6 * S < there.closed_ns - 10**6 * S < ended_ns


def test_several_processes_open_as_many_together() -> None:
    parts = [share(Idle(connections=5, send="half"), part, 3) for part in range(3)]

    assert [each and (each.connections, each.send) for each in parts] == [(2, "half"), (2, "half"), (1, "half")]
    assert share(Idle(connections=1), 1, 2) is share(None, 0, 1) is None
    one, other = Silence([Stay(1, 2, True)], 3), Silence([Stay(1, 2, False)], 4)
    assert Silence.merged([one, Silence.sent([[list(other.stays[0])], 4])]) == Silence([*one.stays, *other.stays], 7)


def test_the_report_has_how_many_the_server_closed_after_how_long_and_how_many_were_open_in_the_window() -> None:
    stays = [Stay(0, 2 * S, True), Stay(2 * S, 3 * S, True), Stay(0, 4 * S, False)]

    assert idle_report(Silence(stays, 2), SPAN) == IdleReport(
        opened=3, refused=2, closed=2, held_s=1.5, longest_s=4.0, open=2.0
    )
    assert idle_report(Silence(stays[2:], 0), SPAN).held_s is None
    assert idle_report(Silence(), SPAN) == IdleReport(
        opened=0, refused=0, closed=0, held_s=None, longest_s=0.0, open=0.0
    )
