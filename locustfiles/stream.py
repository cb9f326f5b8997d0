"""The workload `stream`: users who read a stream of server-sent events to its end.

`locust -f locustfiles/stream.py --host http://... --stream-s 2 --stream-every-ms 100`

Every event is checked, and when it arrived: how long the first one took, and the longest time between two of them. A stream that
the server holds back, or sends in one piece, shows in these; one that ends too early has failed.
"""

import time
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from itertools import takewhile
from typing import Any

import gevent.socket

from lab_user import Get, LabUser, Option
from wire import Wire

S = Option[float]("stream", "s")
EVERY_MS = Option[float]("stream", "every_ms")

END = b"\n\n"
"""Of an event."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Stream(Get):
    """One request for a stream, whose answer is that to the byte."""

    def fault(self, status: int, body: bytes) -> str | None:
        if status == HTTPStatus.OK and body == self.answer:
            return None
        wanted, came = self.answer.split(END)[:-1], body.split(END)[:-1]
        right = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(wanted, came, strict=False)))
        return f"{right} of {len(wanted)} events came right, "

    def last(self) -> bytes | None:
        return None


@lru_cache(maxsize=4)
def stream(s: float, every_ms: float) -> Stream:
    """A request for a stream that is so many seconds long, with an event at its beginning and one after so many milliseconds each."""
    count = 1 + int(s * 1000 / every_ms)
    answer = b"".join(b"id: %d\ndata: event %d of %d\n\n" % (number, number, count) for number in range(1, count + 1))
    return Stream(path=f"/stream?events={count}&every_ms={every_ms:g}", answer=answer)


class StreamWire(Wire):
    """A connection that knows when events have arrived on it."""

    _sent_ns = _last_ns = _longest_ns = 0
    _seen = b""
    """The last byte received: the end of an event may come in two pieces."""

    def send(self, connection: gevent.socket.socket, request: bytes) -> None:
        super().send(connection, request)
        self._sent_ns, self._last_ns, self._longest_ns, self._seen = time.monotonic_ns(), 0, 0, b""

    def receive(self, connection: gevent.socket.socket) -> bytes:
        received = super().receive(connection)
        now_ns = time.monotonic_ns()
        if END in self._seen + received:
            if self._last_ns:
                self._longest_ns = max(self._longest_ns, now_ns - self._last_ns)
                self.remarks = {**self.remarks, "event_gap_ms": self._longest_ns / 1e6}
            else:
                self.remarks = {**self.remarks, "first_event_ms": (now_ns - self._sent_ns + self.connect_ns) / 1e6}
            self._last_ns = now_ns
        self._seen = received[-1:]
        return received


class Streaming(LabUser):
    def on_start(self) -> None:
        self.get = stream(S.of(self), EVERY_MS.of(self))

    def make_wire(self, *where: Any) -> Wire:
        return StreamWire(*where)
