"""A machine's clock and network, as a clock server tells them over a real socket of this machine."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.elsewhere import BEHIND_NS, DAY_NS, clock_server, delayed
from wsgilab.system import clock_client as links
from wsgilab.system import host
from wsgilab.system.clock_client import FEWEST_EXCHANGES, MOST_EXCHANGES, ClockClient, parse_address
from wsgilab.system.clock_server import ClockServer

PROJECT = Path(__file__).resolve().parents[3]
MS = 10**6


opened: list[ClockClient] = []


def link(port: int, timeout_s: float = 60.0) -> ClockClient:
    opened.append(ClockClient("127.0.0.1", port, timeout_s))
    return opened[-1]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


# What is told.


@pytest.mark.parametrize("ahead_ns", [0, 3 * DAY_NS, BEHIND_NS], ids=["one-clock", "ahead", "behind"])
def test_the_offset_is_how_far_the_clock_servers_clock_is_ahead(ahead_ns: int) -> None:
    with clock_server(ahead_ns) as port:
        reading = link(port).read()

    assert abs(reading.offset_ns - ahead_ns) <= reading.fastest_ns / 2
    assert 0 < reading.fastest_ns <= reading.round_trip_ns
    assert reading.round_trip_ms == reading.round_trip_ns / 1e6


def test_how_long_cores_were_idle_is_told_with_the_time_of_it() -> None:
    with clock_server(3 * DAY_NS) as port:
        before_ns, before = time.monotonic_ns(), host.idle_s([0])
        at_ns, idle_ns = link(port).idle("0")
        after, after_ns = host.idle_s([0]), time.monotonic_ns()

    assert before <= idle_ns / 1e9 <= after
    assert before_ns < at_ns - 3 * DAY_NS < after_ns


@pytest.mark.parametrize("cpuset", ["", "zero", "0-99999", "3-1", "0 1"])
def test_whoever_asks_for_no_cores_is_not_answered(cpuset: str) -> None:
    with clock_server(0) as port, pytest.raises(ConnectionError):
        link(port).idle(cpuset)


def test_a_round_trip_takes_as_long_as_the_way_there_and_back() -> None:
    with clock_server(DAY_NS) as port, delayed(port, 0.02) as far:
        reading = link(far).read()

    assert 40 * MS <= reading.fastest_ns <= reading.round_trip_ns
    assert abs(reading.offset_ns - DAY_NS) <= reading.fastest_ns / 2


class Way:
    """A connection to a clock server whose clock is a day ahead. Each exchange takes so long there, and as long back."""

    def __init__(self, *one_way_ns: int) -> None:
        self.now_ns = 0
        self._one_way_ns = iter(one_way_ns)
        self._under_way_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.now_ns / 1e9

    def sendall(self, _: bytes) -> None:
        self._under_way_ns = next(self._one_way_ns)
        self.now_ns += self._under_way_ns

    def recv(self, _: int) -> bytes:
        told = b"%d\n" % (self.now_ns + DAY_NS)
        self.now_ns += self._under_way_ns
        return told

    def close(self) -> None: ...


def test_the_fastest_exchange_tells_the_clock_and_the_median_the_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    way = Way(90 * MS, 20 * MS, 70 * MS, 30 * MS, 60 * MS, 40 * MS, 80 * MS, 50 * MS, 100 * MS)
    asking = link(0)
    monkeypatch.setattr(links, "time", way)
    monkeypatch.setattr(asking, "_connect", lambda: way)

    reading = asking.read()

    assert reading.offset_ns == DAY_NS
    assert reading.fastest_ns == 40 * MS
    # The eighth ends after 880 ms, so that the ninth is asked too.
    assert reading.round_trip_ns == 120 * MS


def test_one_connection_is_kept_for_many_readings_and_opened_anew_when_it_is_lost() -> None:
    with counting() as (port, connections):
        asking = link(port)
        for _ in range(3):
            asking.read()
        assert len(connections) == 1
        connections[0].close()
        with pytest.raises(OSError, match=r"closed|reset"):
            asking.read()
        asking.read()
        assert len(connections) == 2


@pytest.mark.parametrize(
    ("one_way_ns", "exchanges"), [(MS, MOST_EXCHANGES), (62 * MS, MOST_EXCHANGES), (63 * MS, 8), (300 * MS, 5)]
)
def test_of_a_slow_link_fewer_exchanges_are_asked(
    monkeypatch: pytest.MonkeyPatch, one_way_ns: int, exchanges: int
) -> None:
    way = Way(*[one_way_ns] * 20)
    asking = link(0)
    monkeypatch.setattr(links, "time", way)
    monkeypatch.setattr(asking, "_connect", lambda: way)

    asking.read()

    assert exchanges >= FEWEST_EXCHANGES
    assert way.now_ns == 2 * one_way_ns * exchanges


@contextmanager
def counting() -> Iterator[tuple[int, list[socket.socket]]]:
    """Something that answers as a clock server does; and its connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        try:
            while connection.recv(64):
                connection.sendall(b"7\n")
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                connections.append(listener.accept()[0])
            except OSError:
                return
            threading.Thread(target=answer, args=connections[-1:], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for each in connections:
            each.close()


class Narrow(Way):
    """One that lets so many bytes a second through."""

    def __init__(self, bytes_per_s: int) -> None:
        super().__init__(0)
        self._bytes_per_s = bytes_per_s

    def __enter__(self) -> "Narrow":
        return self

    def __exit__(self, *_: object) -> None: ...

    def recv_into(self, buffer: bytearray) -> int:
        self.now_ns += len(buffer) * 10**9 // self._bytes_per_s
        return len(buffer)


def test_bandwidth_is_what_the_link_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, asking = Narrow(2_000_000), link(0)
    monkeypatch.setattr(links, "time", narrow)
    monkeypatch.setattr(asking, "_connect", lambda: narrow)

    assert asking.bandwidth_mbps() == pytest.approx(16)
    assert narrow.now_ns / 1e9 == pytest.approx(links.BANDWIDTH_S, abs=0.1), "and no longer than it takes to know"


def test_bandwidth_is_measured_over_a_real_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    # All bytes that are asked for come in much less, unless the machine is busy.
    monkeypatch.setattr(links, "BANDWIDTH_S", 60.0)
    with clock_server() as port:
        assert link(port).bandwidth_mbps() > 1


def test_bandwidth_is_that_of_the_second_half_for_a_connection_begins_slowly() -> None:
    begins_slowly = [(0.0, 100), (1.0, 200), (2.0, 500), (2.5, 750), (3.0, 1000)]

    assert links._rate(begins_slowly) == 500
    for nothing in ([], [(1.0, 100)]):
        with pytest.raises(TimeoutError, match="too little came"):
            links._rate(nothing)


def test_a_link_over_which_next_to_nothing_comes_is_given_up_in_time() -> None:
    with (
        clock_server() as port,
        # The second byte would come after a minute.
        delayed(port, 0.0, bytes_per_s=1 / 60) as stuck,
        pytest.raises(OSError, match=r"too little|timed out"),
    ):
        link(stuck, 0.5).bandwidth_mbps()


# What is not there, or is something else.


def test_where_nobody_listens_it_says_so_and_a_later_call_tries_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    asking = link(port)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            asking.read()
    with pytest.raises(ConnectionRefusedError):
        asking.bandwidth_mbps()


def test_who_never_answers_is_waited_for_no_longer_than_was_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(TimeoutError):
        link(mute.getsockname()[1], 0.2).read()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"12x\n", b"1" * 1000])
def test_who_answers_otherwise_is_no_clock_server(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def tell() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)

        threading.Thread(target=tell, daemon=True).start()
        with pytest.raises(OSError, match=r"no clock server|closed"):
            link(listener.getsockname()[1]).read()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"clock",
        b"clock\nclock\n",
        b"GET / HTTP/1.1\r\n",
        b"clock clock\n",
        b"bytes\n",
        b"bytes -1\n",
        b"bytes x\n",
        b"bytes 0\n",
        b"\xff\xfe\x00",
        b"x" * 100_000,
        b"bytes 99999999999999999999999\n",
    ],
)
def test_a_stranger_does_no_harm(said: bytes) -> None:
    with clock_server() as port:
        asking = link(port)
        asking.read()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as stranger:
            with suppress(OSError):
                stranger.sendall(said)
            # Within the link's own limit, or it would be an error.
            asking.read()
            link(port).read()


@pytest.mark.parametrize("count", [0, 1000, 300_000])
def test_so_many_bytes_are_sent_as_are_asked_for_and_then_the_connection_ends(count: int) -> None:
    with clock_server() as port, socket.create_connection(("127.0.0.1", port), timeout=60) as asking:
        asking.sendall(b"bytes %d\n" % count)
        received = b""
        while chunk := asking.recv(1 << 16):
            received += chunk
        assert len(received) == count


def test_where_too_many_are_connected_the_longest_silent_are_dropped_and_who_asks_is_answered() -> None:
    with clock_server() as port:
        strangers = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(30)]
        asking = link(port)
        asking.read()
        kept = asking._socket
        for _ in range(5):
            strangers += [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(30)]
            asking.read()
        assert asking._socket is kept
        assert strangers[0].recv(1) == b""
        for each in strangers:
            each.close()


def test_one_who_asks_for_much_and_does_not_read_it_does_not_hold_up_others() -> None:
    with clock_server() as port, socket.create_connection(("127.0.0.1", port), timeout=60) as greedy:
        greedy.sendall(b"bytes 60000000\n")
        assert greedy.recv(1), "it is being served"
        link(port).read()


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.2:9", ("10.0.0.2", 9)), ("[fd00::2]:80", ("fd00::2", 80)), ("alpha:5557", ("alpha", 5557))],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert str(ClockClient(*address, 1.0)) == text


@pytest.mark.parametrize("text", ["", "alpha", "alpha:", ":9", "alpha:x", "[]:9"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)


# As a command, where there is nothing but the standard library.


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-S", "-E", "-m", "wsgilab.system.clock_server", *words]
    return subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)


def test_it_tells_what_its_machine_is() -> None:
    before = time.time()
    ended = command("host")
    told = json.loads(ended.stdout)

    assert ended.returncode == 0
    assert told.keys() == {"host", "time", "clocksource", "boot"}
    assert before <= told["time"] <= time.time()
    assert told["host"]["memory_bytes"] > 1 << 24
    assert told["host"]["siblings"]


def test_it_tells_how_busy_cores_are() -> None:
    ended = command("busy", "0", "0.1")

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout).keys() == {"0"}
    assert 0 <= json.loads(ended.stdout)["0"] <= 1


def test_it_tells_what_memory_programs_can_still_have() -> None:
    before = host.available_bytes()
    ended = command("memory")
    least, most = sorted((before, host.available_bytes()))

    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told.keys() == {"available_bytes"}
    # It changes while programs run.
    assert 0.7 * least <= told["available_bytes"] <= 1.3 * most


def test_it_is_served_and_probed_as_containers_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    served = subprocess.Popen(
        [sys.executable, "-S", "-E", "-m", "wsgilab.system.clock_server", "serve", str(port)], cwd=PROJECT
    )
    try:
        deadline = time.monotonic() + 120
        while (probed := command("probe", "127.0.0.1", str(port))).returncode and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        served.terminate()
        assert served.wait(timeout=60) == 0, "SIGTERM is how a container is stopped"
    told = json.loads(probed.stdout)
    assert told.keys() == {"round_trip_ms", "offset_ns", "bandwidth_mbps"}
    assert abs(told["offset_ns"]) < told["round_trip_ms"] * 1e6

    gone = command("probe", "127.0.0.1", str(port))
    assert gone.returncode == 1
    assert json.loads(gone.stdout)["error"].startswith(f"127.0.0.1:{port} is not reached: ")


@pytest.mark.parametrize("words", [(), ("serve",), ("probe", "127.0.0.1"), ("dance",)])
def test_what_it_does_not_know_it_refuses_in_a_line(words: tuple[str, ...]) -> None:
    ended = command(*words)

    assert ended.returncode == 1
    assert "serve PORT" in json.loads(ended.stdout)["error"]


def test_a_server_that_is_closed_lets_go_of_its_port() -> None:
    server = ClockServer(0, bind="127.0.0.1")
    port = server.port
    server.close()
    ClockServer(port, bind="127.0.0.1").close()
