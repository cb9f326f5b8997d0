"""The user that every workload's Locust file is made of.

A user sends one GET after the other, without thinking, and checks each answer to the byte. It is a plain Locust
`User`: each request fires Locust's own `request` event, so statistics, web UI and listeners work as ever.

It speaks HTTP over a socket of its own with geventhttpclient's parser, not through a client library, for two
reasons. One request is exactly one request: HTTP clients resend silently when a server drops a connection, which
would hide what is being measured. And it costs a fraction, so that the generator is not what is measured.
"""

import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import gevent.socket
from geventhttpclient.response import HTTPSocketResponse
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser

CLOSE = "close"
KEEP_ALIVE = "keep-alive"

# A server may drop a connection that was idle for long (Gunicorn: 2 s). Reusing it then would count a failure that
# is none, so a connection that was idle this long is replaced.
LONGEST_IDLE_S = 1.0
# After a failed request, so that a dead target is not hammered in a busy loop.
PAUSE_AFTER_FAILURE_S = 0.1


@events.init_command_line_parser.add_listener
def _add_arguments(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("wsgilab")
    group.add_argument(
        "--connection", choices=[CLOSE, KEEP_ALIVE], default=CLOSE, help="a connection a request, or kept"
    )
    group.add_argument(
        "--request-timeout", type=float, default=60.0, help="seconds after which a request has failed; 0: never"
    )


class WrongAnswer(Exception):
    """The target answered, but not with the status and body that the workload demands."""


class LabUser(User):
    """A user that repeats one GET. A workload sets `path` and `answer`, here or in `on_start`."""

    abstract = True
    path: str
    answer: bytes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        address = urlsplit(self.host or "")
        if address.scheme != "http" or not address.hostname:
            raise ValueError(f"--host must be an http:// address, not {self.host!r}")
        options = self.environment.parsed_options
        self._host = f"{address.hostname}:{address.port or 80}"
        # Once, not for each connection: gevent looks names up in a pool of threads.
        found = gevent.socket.getaddrinfo(address.hostname, address.port or 80, type=gevent.socket.SOCK_STREAM)
        self._family, _, _, _, self._address = found[0]
        self._connection: str = getattr(options, "connection", CLOSE)
        # Each wait with a limit costs a timer, so `0` is for a generator that ends hanging users itself.
        self._timeout_s: float | None = getattr(options, "request_timeout", 60.0) or None
        self._socket: gevent.socket.socket | None = None
        self._idle_since = 0.0
        self._context = {"user": id(self)}
        self._bytes = b""

    def context(self) -> dict[str, Any]:
        return self._context

    def on_stop(self) -> None:
        self._disconnect()

    @task
    def request(self) -> None:
        self._bytes = self._bytes or self._compose()
        response: HTTPSocketResponse | None = None
        body = b""
        failure: Exception | None = None
        start_time = time.time()
        begin = time.perf_counter()
        try:
            connected = self._connect()
            connected.sendall(self._bytes)
            response = HTTPSocketResponse(connected, method="GET")
            body = bytes(response.read())
            if response.status_code != HTTPStatus.OK or body != self.answer:
                failure = WrongAnswer(f"{self.path}: status {response.status_code}, body {body[:60]!r}")
        except (OSError, ValueError) as error:
            # ValueError: HTTPParseError, which a connection closed before its answer raises too.
            failure = error
        ended = time.perf_counter()
        if failure is not None or response is None or self._connection == CLOSE or response.should_close():
            self._disconnect()
        self._idle_since = ended
        self.environment.events.request.fire(
            request_type="GET",
            name=self.path,
            response_time=(ended - begin) * 1000,
            response_length=len(body),
            response=response,
            context=self._context,
            exception=failure,
            start_time=start_time,
            url=self.path,
        )
        if failure is not None:
            gevent.sleep(PAUSE_AFTER_FAILURE_S)

    def _compose(self) -> bytes:
        lines = f"GET {self.path} HTTP/1.1", f"Host: {self._host}", f"Connection: {self._connection}"
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def _connect(self) -> gevent.socket.socket:
        if self._socket is not None and time.perf_counter() - self._idle_since > LONGEST_IDLE_S:
            self._disconnect()
        if self._socket is None:
            self._socket = gevent.socket.socket(self._family, gevent.socket.SOCK_STREAM)
            self._socket.settimeout(self._timeout_s)
            self._socket.connect(self._address)
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
