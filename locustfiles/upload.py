"""The workload `upload`: users who send a body slowly, as over a poor connection.

`locust -f locustfiles/upload.py --host http://... --upload-kib 256 --upload-send-ms 500`

The head of a request is sent at once, and its body in ten pieces, with a pause before each. A server that reads bodies by itself
has the request enter its application once all is there; with any other the application waits for it, in a slot.
"""

import zlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import gevent.socket

import large
from lab_user import Get, LabUser, Option
from slow_client import PIECES, SlowWire
from wire import Wire

KIB = Option[int]("upload", "kib")
SEND_MS = Option[float]("upload", "send_ms")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Upload(Get):
    """A request with a body."""

    body: bytes

    def spell(self, lines: list[str]) -> bytes:
        length = f"Content-Length: {len(self.body)}"
        return ("\r\n".join([*lines, length]) + "\r\n\r\n").encode("ascii") + self.body


@lru_cache(maxsize=4)
def upload(kib: int) -> Upload:
    """A request with a body of so many KiB. One for all users, who would have a copy of it each."""
    body = large.get(kib).answer
    answer = f"read {len(body)} bytes, checksum {zlib.crc32(body):08x}\n".encode()
    return Upload(path="/upload", answer=answer, method="POST", body=body)


class UploadWire(SlowWire):
    """A connection of a user who pauses while it sends a body."""

    def send(self, connection: gevent.socket.socket, request: bytes) -> None:
        head = request.index(b"\r\n\r\n") + 4
        self._begin_request()
        connection.sendall(request[:head])
        cuts = [head + (len(request) - head) * piece // PIECES for piece in range(PIECES + 1)]
        for begin, end in pairwise(cuts):
            self._pause("sending", self._send_s / PIECES)
            connection.sendall(request[begin:end])


class Uploading(LabUser):
    def on_start(self) -> None:
        self.get = upload(int(KIB.of(self)))

    def make_wire(self, *where: Any) -> Wire:
        return UploadWire(*where, send_s=SEND_MS.of(self) / 1000, read_s=0.0, answer_bytes=len(self.get.answer))
