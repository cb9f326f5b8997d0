"""Asks a clock server on another machine: its time, the round trip to it and the bandwidth. Standard library alone."""

import socket
import time
from dataclasses import dataclass
from statistics import median

FEWEST_EXCHANGES, MOST_EXCHANGES = 5, 9
ENOUGH_S = 1.0
"""No further exchange begins after this time, if there were enough."""
BANDWIDTH_S = 1.0
MOST_BYTES = 1 << 26
"""Of one measurement of bandwidth."""
LONGEST_LINE = 1024
"""Bytes of a question, or of an answer that is a line: a list of cores may be long."""
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """A clock server's time beside this machine's own, and how long asking took."""

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


class ClockClient:
    """A connection to a clock server, opened when it is needed and kept. `timeout_s` is for each answer."""

    def __init__(self, address: str, port: int, timeout_s: float) -> None:
        self._address = address, port
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __str__(self) -> str:
        address, port = self._address
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def read(self) -> ClockReading:
        """Some exchanges, in about a second at most where the link is not slower than 200 ms.

        Raises OSError where the clock server is not reached, or no longer; another call tries anew.
        """
        try:
            self._socket = self._socket or self._connect()
            return self._read(self._socket)
        except OSError:
            self.close()
            raise

    def _read(self, connection: socket.socket) -> ClockReading:
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
        return ClockReading(offset_ns=offset_ns, round_trip_ns=round_trip_ns, fastest_ns=fastest_ns)

    def idle(self, cpuset: str) -> tuple[int, int]:
        """When the answer was made there (CLOCK_MONOTONIC) and how long those cores had been idle by then; nanoseconds.

        Raises OSError.
        """
        try:
            self._socket = self._socket or self._connect()
            self._socket.sendall(b"idle %s\n" % cpuset.encode())
            at_ns, idle_ns = _numbers(self._socket, 2)
        except OSError:
            self.close()
            raise
        return at_ns, idle_ns

    def bandwidth_mbps(self) -> float:
        """Megabits a second that one connection brings from there, in the second half of what came: it begins slowly.

        Takes BANDWIDTH_S or little more. Raises OSError.
        """
        # A connection of its own: what is still under way at the end would come before the next answer.
        with self._connect() as connection:
            connection.sendall(b"bytes %d\n" % MOST_BYTES)
            total = 0
            came: list[tuple[float, int]] = []
            buffer = bytearray(_READ_BYTES)
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
    (number,) = _numbers(connection, 1)
    return number


def _numbers(connection: socket.socket, count: int) -> list[int]:
    """A line with so many numbers. Raises OSError where something else comes, or nothing."""
    line = b""
    while not line.endswith(b"\n"):
        received = connection.recv(LONGEST_LINE)
        if not received or len(line) > LONGEST_LINE:
            raise ConnectionError("the connection was closed" if not received else "what answers is no clock server")
        line += received
    words = line.split()
    if len(words) != count or not all(word.isdigit() for word in words):
        raise ConnectionError("what answers is no clock server")
    return [int(word) for word in words]


def _rate(came: list[tuple[float, int]]) -> float:
    """Bytes a second, from moments and how many had come by then. Raises OSError where that were too few."""
    half = next((at for at, (_, total) in enumerate(came) if total * 2 >= came[-1][1]), 0)
    (begin, before), (end, after) = (came[half], came[-1]) if came else ((0.0, 0), (0.0, 0))
    if end <= begin:
        raise TimeoutError("too little came to measure the bandwidth")
    return (after - before) / (end - begin)
