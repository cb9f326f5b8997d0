"""Silent connections: opened beside the users, before they begin, and never asking for anything.

They come from the same processes as the users do, so that a server cannot tell which connection will ask.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import resource
import socket
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent
import gevent.socket

from wsgilab.analysis.inflight import sweep
from wsgilab.load.samples import Span
from wsgilab.model import Idle, IdleReport

OPEN_S = 2.0
"""How long users wait, at most, until all are open: what does not fit a server's backlog may never be."""
POLL_S = 0.005
PAUSE_S = 0.1
"""Before one is opened anew, so that a server that closes or refuses them at once is not hammered."""
_RECEIVE_BYTES = 1 << 16


class Stay(NamedTuple):
    """One silent connection, from when it was open until it was closed: CLOCK_MONOTONIC of the targets' machine, nanoseconds."""

    opened_ns: int
    closed_ns: int
    by_server: bool
    """The server has closed it; else the trial had ended."""


class Silence(NamedTuple):
    """What became of the silent connections of a trial."""

    stays: Sequence[Stay] = ()
    refused: int = 0
    """Attempts to open one that failed."""

    @classmethod
    def merged(cls, parts: Iterable["Silence"]) -> "Silence":
        """Those of several processes."""
        known = list(parts)
        return cls([stay for each in known for stay in each.stays], sum(each.refused for each in known))

    @classmethod
    def sent(cls, row: Sequence[Any]) -> "Silence":
        """As a worker has sent it."""
        stays, refused = row
        return cls([Stay(*each) for each in stays], refused)


class SilentConnections:
    """Connections to one target that are held for a trial; one that the server closes is opened anew."""

    def __init__(self, idle: Idle, base_url: str) -> None:
        address = urlsplit(base_url)
        port = address.port or 80
        found = gevent.socket.getaddrinfo(address.hostname, port, type=socket.SOCK_STREAM)
        self._family, _, _, _, self._address = found[0]
        self._count = idle.connections
        host = f"[{address.hostname}]" if ":" in (address.hostname or "") else address.hostname
        # The empty line that ends a request's headers never comes.
        self._sent = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n".encode() if idle.send == "half" else b""
        self._holding: list[gevent.Greenlet] = []
        self._stays: list[Stay] = []
        self._refused = self._open = 0

    def open(self) -> None:
        """Open all; wait until they are, or OPEN_S have passed."""
        # Each is an open file, of which a shell allows 1024 by default.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._holding = [gevent.spawn(self._hold) for _ in range(self._count)]
        deadline = time.monotonic() + OPEN_S
        while self._open < self._count and time.monotonic() < deadline:
            gevent.sleep(POLL_S)

    def close(self, clock_offset_ns: int = 0) -> Silence:
        """Close all; what became of them, in a clock that is so much ahead of this machine's."""
        gevent.killall(self._holding)
        stays = [
            each._replace(opened_ns=each.opened_ns + clock_offset_ns, closed_ns=each.closed_ns + clock_offset_ns)
            for each in self._stays
        ]
        return Silence(stays, self._refused)

    def _hold(self) -> None:
        while True:
            try:
                # To make one may fail, too, such as where this process may not open so many.
                with gevent.socket.socket(self._family, socket.SOCK_STREAM) as connection:
                    connection.connect(self._address)
                    self._stay(connection)
            except OSError:
                self._refused += 1
            gevent.sleep(PAUSE_S)

    def _stay(self, connection: gevent.socket.socket) -> None:
        opened_ns, by_server = time.monotonic_ns(), False
        self._open += 1
        try:
            if self._sent:
                connection.sendall(self._sent)
            # It may say something first, such as 408.
            while connection.recv(_RECEIVE_BYTES):
                pass
            by_server = True
        except OSError:
            # A reset.
            by_server = True
        finally:
            self._open -= 1
            self._stays.append(Stay(opened_ns, time.monotonic_ns(), by_server))


def share(idle: Idle | None, part: int, parts: int) -> Idle | None:
    """What process number `part`, from 0 on, of `parts` opens of all connections; None where that is nothing."""
    if idle is None:
        return None
    count = idle.connections // parts + (part < idle.connections % parts)
    return Idle(connections=count, send=idle.send) if count else None


def idle_report(silence: Silence, span: Span) -> IdleReport:
    """What became of silent connections, by the moments of their trial."""
    held_s = [(each.closed_ns - each.opened_ns) / 1e9 for each in silence.stays]
    closed_s = [seconds for seconds, each in zip(held_s, silence.stays, strict=True) if each.by_server]
    _, mean_open = sweep(((each.opened_ns, each.closed_ns) for each in silence.stays), span.begin_ns, span.end_ns)
    return IdleReport(
        opened=len(held_s),
        refused=silence.refused,
        closed=len(closed_s),
        held_s=statistics.median(closed_s) if closed_s else None,
        longest_s=max(held_s, default=0.0),
        open=mean_open,
    )
