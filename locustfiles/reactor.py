"""One epoll loop for the connections of all users of a process: the plain case, in which an answer comes whole and is right.

A greenlet, a parser and an event for each request cost more than most servers do. So users lend their connections to the
reactor, which sends the next request in the moment that the answer to the one before is here. It keeps an answer's bytes and
moments, which are read after the window. Whatever is not the plain case, such as a long answer in pieces or an error, it hands
back to its user, who goes on from there.

It runs in gevent's hub, whose own loop watches the epoll as one more file. As long as no user goes on by itself, it waits for
the next answer in its own epoll, for a millisecond at most: the hub's loop costs more than that of an answer.
"""

import _socket
import contextlib
import errno
import functools
import os
import re
import select
import time
from collections.abc import Iterator
from socket import SOCK_NONBLOCK, SOCK_STREAM
from typing import Any, NamedTuple, Protocol

import gevent
import gevent.socket
from gevent.hub import Waiter
from gevent.monkey import get_original

RECEIVE_BYTES = 1 << 16
LONGEST_TURN_NS = 1_000_000
"""How long it goes on before others of the process have a turn."""
LONGEST_IN_PIECES = 4096
"""Bytes of an answer that it gathers where it comes in pieces."""
LONGEST_WAIT_S = 0.001
"""How long it waits in its own epoll, while others have no turn."""

Address = tuple[int, tuple[Any, ...]]
"""A socket's family, and what it connects to."""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d{1,9})\r\n")
_now = time.monotonic_ns


class Plain(NamedTuple):
    """A request whose answer should come whole."""

    request: bytes
    last: bytes | None
    """What the whole answer ends with; None where that is not known before."""
    get: Any
    """What it is, as its user knows it."""


class Client(Protocol):
    """What a user does for the reactor."""

    def after(self, took_ns: int) -> Plain | None:
        """The next request, after one that took so long; None where that is not plain, or there is none."""

    def is_whole(self, plain: Plain, received: bytes) -> bool | None:
        """Whether that is the whole and the right answer to a request without `last`, and its connection may go on; None where
        more of it is to come."""

    def keep(self, plain: Plain, begun_ns: int, ended_ns: int, connect_ns: int, received: bytes) -> None:
        """Keep a request that was answered."""


class Handed(NamedTuple):
    """A request that its user goes on with."""

    plain: Plain
    begun_ns: int
    connect_ns: int
    """How long its connection took to open; 0 where it was open before."""
    connection: gevent.socket.socket | None
    received: bytes
    """What has come of the answer; nothing with an error, and where the connection has ended."""
    error: BaseException | None


class Exchange:
    """The connection of a user, and the request under way on it."""

    __slots__ = (
        "address",
        "begun_ns",
        "client",
        "connect_ns",
        "fd",
        "is_kept",
        "is_opening",
        "plain",
        "received",
        "socket",
        "waiter",
    )

    def __init__(self, client: Client, address: Address, *, is_kept: bool) -> None:
        """With `is_kept`, a connection is used for one request after the other."""
        self.client = client
        self.address = address
        self.is_kept = is_kept
        self.is_opening = False
        self.socket: Any = None
        self.fd = -1
        self.begun_ns = self.connect_ns = 0
        self.plain: Any = None
        self.received = b""
        """What has come of the answer, where more is to come."""
        self.waiter = Waiter()


class Reactor:
    """That of this process."""

    def __init__(self) -> None:
        # gevent's patches take it away from the module.
        self._epoll = get_original("select", "epoll")()
        self._exchanges: dict[int, Exchange] = {}
        self._watcher = gevent.get_hub().loop.io(self._epoll.fileno(), 1)
        self._beside = 0

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """A user goes on by itself meanwhile, and waits in gevent's hub: the reactor must not hold that up."""
        self._beside += 1
        try:
            yield
        finally:
            self._beside -= 1

    def drive(
        self, exchange: Exchange, plain: Plain, connection: gevent.socket.socket | None
    ) -> tuple[Handed | None, gevent.socket.socket | None]:
        """Send requests, `plain` first, until there is one for its user to go on with, or none to send.

        The first goes on `connection`, where one is open. Returns the request to go on with, or else the connection that is open.
        Called by the user's greenlet; if that is killed meanwhile, its GreenletExit is the error of the request under way.
        """
        if not self._watcher.active:
            self._watcher.start(self._turn)
        exchange.waiter.clear()
        if connection is not None:
            lent = _socket.socket(exchange.address[0], SOCK_STREAM, 0, connection.detach())
            lent.setblocking(False)
            self._add(exchange, lent)
            self._epoll.register(exchange.fd, select.EPOLLIN)
        self._send(exchange, plain, _now())
        try:
            handed: Handed | None = exchange.waiter.get()
        except gevent.GreenletExit as error:
            handed = self._taken(exchange, b"", error)
        return handed, None if handed else self._released(exchange)

    def _send(self, exchange: Exchange, plain: Plain, now_ns: int) -> None:
        """Begin a request. One that fails at once is handed back."""
        exchange.plain, exchange.begun_ns, exchange.connect_ns, exchange.received = plain, now_ns, 0, b""
        try:
            if exchange.socket is None:
                self._open(exchange)
            else:
                exchange.socket.send(plain.request)
        except OSError as error:
            exchange.waiter.switch(self._taken(exchange, b"", error))

    def _open(self, exchange: Exchange) -> None:
        """Open a connection and send the request on it, or once it is open."""
        family, address = exchange.address
        connection = _socket.socket(family, SOCK_STREAM | SOCK_NONBLOCK)
        self._add(exchange, connection)
        problem = connection.connect_ex(address)
        exchange.connect_ns = _now() - exchange.begun_ns
        # On loopback it is open by then all the same.
        if problem not in (0, errno.EINPROGRESS):
            raise OSError(problem, os.strerror(problem))
        try:
            connection.send(exchange.plain.request)
        except BlockingIOError:
            exchange.is_opening = True
            self._epoll.register(exchange.fd, select.EPOLLOUT)
        else:
            self._epoll.register(exchange.fd, select.EPOLLIN)

    def _add(self, exchange: Exchange, connection: Any) -> None:
        exchange.socket, exchange.fd = connection, connection.fileno()
        self._exchanges[exchange.fd] = exchange

    def _turn(self) -> None:
        poll, exchanges = self._epoll.poll, self._exchanges
        until_ns = _now() + LONGEST_TURN_NS
        now_ns = 0
        while now_ns < until_ns and (events := poll(0 if self._beside else LONGEST_WAIT_S)):
            for fd, _ in events:
                exchange = exchanges.get(fd)
                # It may have been handed back in the course of this very turn.
                if exchange is not None:
                    now_ns = self._ready(exchange)

    def _ready(self, exchange: Exchange) -> int:
        if exchange.is_opening:
            return self._opened(exchange)
        try:
            received = exchange.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return _now()
        except OSError as error:
            # After a part of the answer, its user finds the connection ended.
            exchange.waiter.switch(self._taken(exchange, exchange.received, None if exchange.received else error))
            return _now()
        plain, client, has_ended = exchange.plain, exchange.client, not received
        if exchange.received:
            received = exchange.received + received
        if plain.last is None:
            is_whole = client.is_whole(plain, received)
        elif received.endswith(plain.last):
            # Not on a kept connection that the server is about to close: `Connection: close`, in whatever letters.
            is_whole = not (exchange.is_kept and b"lose\r\n" in received)
        else:
            is_whole = None if _goes_on(plain.last, received) else False
        if is_whole is None and not has_ended:
            exchange.received = received
            return _now()
        if not is_whole:
            exchange.waiter.switch(self._taken(exchange, received, None))
            return _now()
        if not exchange.is_kept:
            self._close(exchange)
        ended_ns = _now()
        client.keep(plain, exchange.begun_ns, ended_ns, exchange.connect_ns, received)
        following = client.after(ended_ns - exchange.begun_ns)
        if following is None:
            exchange.waiter.switch(None)
        else:
            self._send(exchange, following, ended_ns)
        return ended_ns

    def _opened(self, exchange: Exchange) -> int:
        now_ns = _now()
        exchange.is_opening, exchange.connect_ns = False, now_ns - exchange.begun_ns
        try:
            # One that could not be opened says so here.
            exchange.socket.send(exchange.plain.request)
        except OSError as error:
            exchange.waiter.switch(self._taken(exchange, b"", error))
        else:
            self._epoll.modify(exchange.fd, select.EPOLLIN)
        return now_ns

    def _close(self, exchange: Exchange) -> None:
        """Before the answer is looked at: a server may wait for its client to close, as Gunicorn's sync worker does."""
        del self._exchanges[exchange.fd]
        exchange.socket.close()
        exchange.socket = None

    def _taken(self, exchange: Exchange, received: bytes, error: BaseException | None) -> Handed:
        """A request with its connection, which is not the reactor's any more."""
        return Handed(exchange.plain, exchange.begun_ns, exchange.connect_ns, self._released(exchange), received, error)

    def _released(self, exchange: Exchange) -> gevent.socket.socket | None:
        """The connection of an exchange, without it; None where it has none."""
        if exchange.socket is None:
            return None
        del self._exchanges[exchange.fd]
        with contextlib.suppress(FileNotFoundError):
            # Of one that could not even be opened.
            self._epoll.unregister(exchange.fd)
        family, _ = exchange.address
        released = gevent.socket.socket(family, SOCK_STREAM, fileno=exchange.socket.detach())
        exchange.socket, exchange.is_opening = None, False
        return released


def _goes_on(last: bytes, received: bytes) -> bool:
    """Whether that is the beginning of a short right answer which ends with `last`, as it says itself: then the rest will come.

    Many servers send an answer's head and its body one after the other.
    """
    if len(last) > LONGEST_IN_PIECES or not received.startswith(b"HTTP/1.1 200 "):
        return False
    head_bytes = received.find(b"\r\n\r\n")
    length = _LENGTH.search(received, 0, head_bytes + 2) if head_bytes > 0 else None
    return length is not None and int(length[1]) == len(last) - 4 and last.startswith(received[head_bytes:])


@functools.cache
def reactor() -> Reactor:
    """That of this process."""
    return Reactor()
