"""A machine's clock and network, for whoever asks over TCP: its time, the round trip, the bandwidth. Standard library alone.

    python3 -m wsgilab.beacon serve PORT         answer, on all addresses
    python3 -m wsgilab.beacon host               what this machine is, as one JSON line
    python3 -m wsgilab.beacon probe HOST PORT    what lies between this machine and a beacon, as one JSON line

One request a line: `clock` is answered with the nanoseconds of CLOCK_MONOTONIC, a line; `bytes N` with so many bytes and
the connection's end. Whatever else is said ends the connection. A beacon tells nothing that is secret.
"""

import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import NoReturn

from wsgilab import host

FEWEST_EXCHANGES, MOST_EXCHANGES = 5, 9
ENOUGH_S = 1.0
"""No further exchange begins after this time, if there were enough."""
BANDWIDTH_S = 1.0
MOST_BYTES = 1 << 26
"""Of one measurement of bandwidth."""

_CHUNK = os.urandom(1 << 16)
"""Not zeroes: some links compress."""
_LONGEST_LINE = 32
_LONGEST_SENDING_S = 5.0
_MOST_CONNECTIONS = 64
_CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


# --- answering


class Server:
    """Answers whoever asks, one event after the other. Where too many are connected, the longest silent one is dropped."""

    def __init__(self, port: int, *, bind: str = "0.0.0.0", clock_ns: Callable[[], int] = time.monotonic_ns) -> None:  # noqa: S104 - it is asked from elsewhere
        self._clock_ns = clock_ns
        self._listener = socket.create_server((bind, port), backlog=_MOST_CONNECTIONS)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._asking: OrderedDict[socket.socket, _Asking] = OrderedDict()
        """The longest silent first."""

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def serve(self) -> NoReturn:
        while True:
            self.step(timeout_s=None)

    def step(self, timeout_s: float | None) -> None:
        """Answer what has come, or comes within `timeout_s`."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            elif (asking := self._asking.get(key.data)) is not None:
                self._attend(asking)

    def close(self) -> None:
        for asking in list(self._asking.values()):
            self._drop(asking)
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It has gone again, or there are too many files open.
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self._asking) >= _MOST_CONNECTIONS:
            self._drop(next(iter(self._asking.values())))
        self._asking[connection] = _Asking(connection)
        self._selector.register(connection, selectors.EVENT_READ, connection)

    def _attend(self, asking: "_Asking") -> None:
        self._asking.move_to_end(asking.connection)
        try:
            if asking.left_bytes:
                asking.send()
            else:
                asking.hear(self._clock_ns)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            # It has gone, or has said what nobody says who is meant to ask.
            self._drop(asking)
            return
        if asking.left_bytes:
            self._selector.modify(asking.connection, selectors.EVENT_WRITE, asking.connection)
        elif asking.is_done:
            self._drop(asking)

    def _drop(self, asking: "_Asking") -> None:
        del self._asking[asking.connection]
        self._selector.unregister(asking.connection)
        asking.connection.close()


class _Asking:
    """One who asks."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.left_bytes = 0
        """To be sent."""
        self.is_done = False
        self._until = 0.0
        self._unread = b""

    def hear(self, clock_ns: Callable[[], int]) -> None:
        """Take in and answer a line, if it has all come. Raises OSError and ValueError where that is the end of it."""
        received = self.connection.recv(_LONGEST_LINE)
        if not received:
            raise ConnectionError("closed")
        line, newline, beyond = (self._unread + received).partition(b"\n")
        if beyond or len(line) > _LONGEST_LINE:
            raise ValueError("says more than is asked for")
        self._unread = b"" if newline else line
        match line.split(b" ") if newline else ():
            case ():
                pass
            case (b"clock",):
                # Whoever does not read the answer, and so lets it fill the buffers, is dropped.
                self.connection.sendall(b"%d\n" % clock_ns())
            case (b"bytes", count) if count.isdigit():
                self.left_bytes = min(int(count), MOST_BYTES)
                self.is_done = not self.left_bytes
                self._until = time.monotonic() + _LONGEST_SENDING_S
            case _:
                raise ValueError("nonsense")

    def send(self) -> None:
        """Some of what is to be sent. Raises OSError where that takes too long."""
        if time.monotonic() > self._until:
            raise TimeoutError
        self.left_bytes -= self.connection.send(_CHUNK[: self.left_bytes])
        self.is_done = self.left_bytes == 0


# --- asking


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A beacon's clock beside this machine's own, and how long asking took."""

    offset_ns: int
    """Their CLOCK_MONOTONIC minus ours, on the assumption that the fastest exchange took as long there as back (RFC 5905,
    section 8). It is wrong by half of `fastest_ns` at most."""
    round_trip_ns: int
    """Median of the exchanges."""
    fastest_ns: int

    @property
    def round_trip_ms(self) -> float:
        return self.round_trip_ns / 1e6


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[HOST]:PORT`. Raises ValueError for anything else."""
    found, colon, port = text.rpartition(":")
    found = found.removeprefix("[").removesuffix("]")
    if not colon or not found or not port.isdecimal():
        raise ValueError(f"{text!r} is not HOST:PORT")
    return found, int(port)


class Link:
    """A connection to a beacon, opened when it is needed and kept. `timeout_s` is for each answer."""

    def __init__(self, address: str, port: int, timeout_s: float) -> None:
        self._address = address, port
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __str__(self) -> str:
        address, port = self._address
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def read(self) -> Reading:
        """Some exchanges, in about a second at most where the link is not slower than 200 ms.

        Raises OSError where the beacon is not reached, or not any more; another call tries anew.
        """
        try:
            self._socket = self._socket or self._connect()
            return self._read(self._socket)
        except OSError:
            self.close()
            raise

    def _read(self, connection: socket.socket) -> Reading:
        enough = time.monotonic() + ENOUGH_S
        exchanges: list[tuple[int, int]] = []
        while len(exchanges) < FEWEST_EXCHANGES or (len(exchanges) < MOST_EXCHANGES and time.monotonic() < enough):
            asked_ns = time.monotonic_ns()
            connection.sendall(b"clock\n")
            told_ns = _number(connection)
            heard_ns = time.monotonic_ns()
            exchanges.append((heard_ns - asked_ns, told_ns - (asked_ns + heard_ns) // 2))
        fastest_ns, offset_ns = min(exchanges)
        round_trip_ns = round(median(taken_ns for taken_ns, _ in exchanges))
        return Reading(offset_ns=offset_ns, round_trip_ns=round_trip_ns, fastest_ns=fastest_ns)

    def bandwidth_mbps(self) -> float:
        """Megabits a second that one connection brings from there, in the second half of what came: it begins slowly.

        Takes BANDWIDTH_S or little more. Raises OSError.
        """
        # A connection of its own: what is still under way at the end would come before the next answer.
        with self._connect() as connection:
            connection.sendall(b"bytes %d\n" % MOST_BYTES)
            total = 0
            came: list[tuple[float, int]] = []
            buffer = bytearray(len(_CHUNK))
            until = time.monotonic() + self._timeout_s
            while (received := connection.recv_into(buffer)) and time.monotonic() < until:
                if not came:
                    until = time.monotonic() + BANDWIDTH_S
                total += received
                came.append((time.monotonic(), total))
        return _rate(came) * 8 / 1e6

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=self._timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _number(connection: socket.socket) -> int:
    """A line with a number. Raises OSError where something else comes, or nothing."""
    line = b""
    while not line.endswith(b"\n"):
        received = connection.recv(_LONGEST_LINE)
        if not received or len(line) > _LONGEST_LINE:
            raise ConnectionError("the connection was closed" if not received else "what answers is no beacon")
        line += received
    if not line.strip().isdigit():
        raise ConnectionError("what answers is no beacon")
    return int(line)


def _rate(came: list[tuple[float, int]]) -> float:
    """Bytes a second, from moments and how many had come by then. Raises OSError where that were too few."""
    half = next((at for at, (_, total) in enumerate(came) if total * 2 >= came[-1][1]), 0)
    (begin, before), (end, after) = (came[half], came[-1]) if came else ((0.0, 0), (0.0, 0))
    if end <= begin:
        raise TimeoutError("too little came to tell the bandwidth")
    return (after - before) / (end - begin)


# --- as a command


def about() -> dict[str, object]:
    """This machine, its time (seconds since 1970), what its clocks are read from, and which start of it this is."""
    try:
        clocksource = _CLOCKSOURCE.read_text().strip()
    except OSError:
        clocksource = ""
    told = {"host": asdict(host.fingerprint()), "time": time.time(), "clocksource": clocksource}
    return {**told, "boot": host.boot_id()}


def probe(address: str, port: int, timeout_s: float = 5.0) -> dict[str, float]:
    """What lies between this machine and a beacon. Raises OSError."""
    link = Link(address, port, timeout_s)
    reading = link.read()
    link.close()
    return {
        "round_trip_ms": reading.round_trip_ms,
        "offset_ns": reading.offset_ns,
        "bandwidth_mbps": link.bandwidth_mbps(),
    }


def main(argv: list[str]) -> int:
    match argv:
        case ["serve", port]:
            # The first process of a container has no default for it.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            Server(int(port)).serve()
        case ["host"]:
            told: object = about()
        case ["probe", address, port]:
            try:
                told = probe(address, int(port))
            except OSError as error:
                told = {"error": f"{Link(address, int(port), 0)} is not reached: {error}"}
        case _:
            told = {"error": "to be called with: serve PORT, host, or probe HOST PORT"}
    sys.stdout.write(json.dumps(told) + "\n")
    return int(isinstance(told, dict) and "error" in told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
