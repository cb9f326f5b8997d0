"""The workload `slow-client`: users who send and read slowly, as over a poor connection.

`locust -f locustfiles/slow_client.py --host http://... --slow-client-send-ms 100 --slow-client-read-ms 100`

A request is sent in ten pieces, and its answer read in ten, with a pause before each. The client's kernel takes little
of the answer before it is read. The server's takes what it can, up to net.ipv4.tcp_wmem: where the worker does not wait
for the client to close the connection, as Gunicorn's sync worker does since 27, a small answer frees it early.
"""

import socket
from itertools import pairwise
from typing import Any

import gevent

import large
from lab_user import LabUser, Option
from reactor import RECEIVE_BYTES
from wire import Wire

SEND_MS = Option[float]("slow-client", "send_ms")
READ_MS = Option[float]("slow-client", "read_ms")
KIB = Option[int]("slow-client", "kib")

PIECES = 10
HEAD_BYTES = 512
"""An answer's status and headers are smaller."""
WINDOW_BYTES = 1 << 15


class SlowWire(Wire):
    """A connection of a user who pauses while sending and reading."""

    def __init__(self, *where: Any, send_s: float, read_s: float, answer_bytes: int) -> None:
        super().__init__(*where)
        self._send_s = send_s
        self._read_s = read_s
        self._piece_bytes = -(-(answer_bytes + HEAD_BYTES) // PIECES)
        self._left_bytes = 0
        self._paused_s = {"sending": 0.0, "reading": 0.0}

    def make_socket(self, family: int) -> gevent.socket.socket:
        made = super().make_socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _begin_request(self) -> None:
        self._paused_s, self._left_bytes = {"sending": 0.0, "reading": 0.0}, 0

    def send(self, connection: gevent.socket.socket, request: bytes) -> None:
        self._begin_request()
        cuts = [len(request) * piece // PIECES for piece in range(PIECES + 1)]
        for begin, end in pairwise(cuts):
            self._pause("sending", self._send_s / PIECES)
            connection.sendall(request[begin:end])

    def receive(self, connection: gevent.socket.socket) -> bytes:
        if self._left_bytes <= 0:
            self._pause("reading", self._read_s / PIECES)
            self._left_bytes = self._piece_bytes
        received: bytes = connection.recv(min(RECEIVE_BYTES, self._left_bytes))
        self._left_bytes -= len(received)
        return received

    def _pause(self, what: str, seconds: float) -> None:
        gevent.sleep(seconds)
        self._paused_s[what] += seconds
        passed = self._paused_s
        self.remarks |= {"client_ms": sum(passed.values()) * 1000, "reading_ms": passed["reading"] * 1000}


class SlowClient(LabUser):
    def on_start(self) -> None:
        self.get = large.get(KIB.of(self))

    def make_wire(self, *where: Any) -> Wire:
        return SlowWire(
            *where,
            send_s=SEND_MS.of(self) / 1000,
            read_s=READ_MS.of(self) / 1000,
            answer_bytes=len(self.get.answer),
        )
