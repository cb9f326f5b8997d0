"""A user's connection, and HTTP on it: one request is sent and one answer read, by a greenlet.

HTTP is spoken over a socket with geventhttpclient's parser, not through a client library, for two reasons. One request is
exactly one request: HTTP clients resend silently when a server drops a connection, which would hide what is being measured. And
it costs a fraction, so that the generator is not what is measured.

A request is sent again in one case only, and that is reported: on a kept connection that the server closed after its last
answer, without announcing it there, and before the request arrived (RFC 9112, section 9.3.1).
"""

import fcntl
import struct
import sys
import termios
import time
from pathlib import Path
from socket import IPPROTO_TCP, TCP_INFO
from typing import Any

import gevent.socket
from geventhttpclient.response import HTTPResponse

from reactor import RECEIVE_BYTES, Handed

# The package has what all parts of the lab agree on. A Locust file may be loaded from any folder.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from wsgilab.experiment.workloads import SLOW_CONNECTION_S

# A server may drop a connection that was idle for long (Gunicorn: 2 s). Reusing it then would count a failure that
# is none, so a connection that was idle this long is replaced.
LONGEST_IDLE_S = 1.0
"""Seconds; of a user who does not pause, and would never leave a connection idle of its own will."""
RESET_S = 0.1
POLL_S = 0.001
"""How long to wait for a reset, and how often to poll for it, where a kept connection ended in place of an answer."""
TCP_CLOSE = 7
"""The state of a connection that was reset, in Linux's tcp_states.h."""
TCP_ESTABLISHED = 1
"""That of one which is open on both sides."""


class Answer(HTTPResponse):
    """A response, as far as its bytes have arrived."""

    @property
    def body(self) -> bytes:
        return bytes(self._body_buffer)


class Wire:
    """One connection, opened when it is needed."""

    is_kept_in_pauses = False
    """Its user pauses between requests, and keeps it meanwhile for as long as the server does, as other clients do."""

    def __init__(self, family: int, address: tuple[Any, ...], timeout_s: float | None) -> None:
        self._family = family
        self._address = address
        self._timeout_s = timeout_s
        self._socket: gevent.socket.socket | None = None
        self._idle_since = 0.0
        self.remarks: dict[str, Any] = {}
        """What was unusual about the last exchange; see `LabUser`."""
        self.connect_ns = 0
        """How long its connection took to open; 0 where it was open."""

    def exchange(self, request: bytes, last: bytes | None, method: str = "GET", handed: Handed | None = None) -> Answer:
        """Send one request, and read its answer; or go on with one that the reactor has handed back. Raises OSError and
        HTTPException.

        With `last`, the end of an answer whose body comes whole, the connection is closed the moment that it is read,
        before it is parsed: a server may wait for its client to close, as Gunicorn's sync worker does, and would wait
        for the parser.
        """
        if self.remarks:
            self.remarks = {}
        self.connect_ns = 0
        if handed is None and self._socket is not None and not self._is_fit(self._socket):
            self.close()
        connection, received = self._begin(request, handed)
        answer = Answer(method)
        while True:
            ended = not received
            if last is not None and received.endswith(last):
                self.close()
                ended = True
            answer.feed(received)
            if ended and received and not answer.message_complete:
                # An answer without a length ends with its connection.
                answer.feed(b"")
            if ended and not answer.message_complete:
                raise ConnectionError("the connection was closed before the answer's end")
            if answer.message_complete:
                self._idle_since = time.monotonic()
                return answer
            received = self.receive(connection)

    def _begin(self, request: bytes, handed: Handed | None) -> tuple[gevent.socket.socket, bytes]:
        """Send a request, again on another connection where the server had closed this one. That connection, and its first bytes."""
        kept = self._socket
        if handed is not None and (handed.connect_ns or isinstance(handed.error, gevent.GreenletExit)):
            self._note_opening(handed.connect_ns)
            if handed.error is not None or kept is None:
                raise handed.error or ConnectionError("the connection was lost")
            return kept, handed.received
        if kept is not None:
            try:
                if handed is None:
                    self.send(kept, request)
                    received = self.receive(kept)
                elif handed.error is not None:
                    raise handed.error
                else:
                    received = handed.received
                if received:
                    return kept, received
                if self.was_received(kept):
                    self.remarks = {**self.remarks, "reset": True}
                    return kept, received
            except (BrokenPipeError, ConnectionResetError):
                # The kernel's answer for a connection that is closed, or was closed with bytes unread.
                pass
            self.close()
            self.remarks = {**self.remarks, "reopened": True, "reset": True}
        connection = self._open()
        self.send(connection, request)
        return connection, self.receive(connection)

    def _is_fit(self, connection: gevent.socket.socket) -> bool:
        """Whether the next request is sent on a kept connection. Where users pause, that is looked at as other clients do: one that the
        server has closed meanwhile is replaced, and no request is lost with it."""
        if not self.is_kept_in_pauses:
            return time.monotonic() - self._idle_since <= LONGEST_IDLE_S
        if connection.getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0] == TCP_ESTABLISHED:
            return True
        self.remarks = {**self.remarks, "reopened": True}
        return False

    def was_received(self, connection: gevent.socket.socket) -> bool:
        """Whether the server had read what was sent, on a connection that it has closed without an answer.

        A FIN also acknowledges what came before it: ioctl SIOCOUTQ counts the bytes that are unacknowledged, tcp(7). Bytes that
        arrived and were not read are answered with a reset (RFC 2525, section 2.17), even after one half was closed.
        """
        if struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
            return False
        deadline = time.monotonic() + RESET_S
        while connection.getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0] != TCP_CLOSE:
            if time.monotonic() > deadline:
                return True
            gevent.sleep(POLL_S)
        return False

    def _open(self) -> gevent.socket.socket:
        self._socket = connection = self.make_socket(self._family)
        connection.settimeout(self._timeout_s)
        begin_ns = time.monotonic_ns()
        try:
            connection.connect(self._address)
        finally:
            # Also where it could not be opened.
            self._note_opening(time.monotonic_ns() - begin_ns)
        return connection

    def _note_opening(self, connect_ns: int) -> None:
        self.connect_ns = connect_ns
        if connect_ns >= SLOW_CONNECTION_S * 1e9:
            self.remarks = {**self.remarks, "slow_connection": True}

    def lend(self) -> gevent.socket.socket | None:
        """The connection, if one is open: it is not this wire's any more."""
        if self._socket is not None and not self._is_fit(self._socket):
            self.close()
        lent, self._socket = self._socket, None
        return lent

    def take(self, connection: gevent.socket.socket | None) -> None:
        """Have a connection back that was lent, or another one."""
        self._socket, self._idle_since = connection, time.monotonic()
        if connection is not None:
            connection.settimeout(self._timeout_s)

    # What a wire of another kind overrides.

    def make_socket(self, family: int) -> gevent.socket.socket:
        return gevent.socket.socket(family, gevent.socket.SOCK_STREAM)

    def send(self, connection: gevent.socket.socket, request: bytes) -> None:
        connection.sendall(request)

    def receive(self, connection: gevent.socket.socket) -> bytes:
        """Some of the answer; nothing at its end."""
        received: bytes = connection.recv(RECEIVE_BYTES)
        return received

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
