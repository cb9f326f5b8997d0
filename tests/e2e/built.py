"""Servers built to have one trait each, and no other: `python built.py TRAIT`, from the folder of the door.

They serve the lab's own application, so stamps, pages and workloads are the real ones; what is built is what stands
between the socket and it. The address comes from LAB_BIND, as for every server of the catalogue.
"""

import io
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

STALL_EVERY_NS = 1_000_000_000
STALL_NS = 300_000_000
EVERY_EIGHTH = 8
CROWD = 64

_END = b"\r\n\r\n"


def application() -> Callable[..., Any]:
    """The application as every server has it: the lab starts its servers in services/door."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - nothing but text is needed
    from wsgilab_door.wsgi import app

    return app


def listener(*, nonblocking: bool = False) -> socket.socket:
    """A socket that listens at LAB_BIND."""
    host, _, port = os.environ["LAB_BIND"].rpartition(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, int(port)))
    made.listen(1024)
    made.setblocking(not nonblocking)
    return made


def heads(connection: socket.socket) -> Iterator[bytes]:
    """The heads of a connection's requests, which have no bodies, until its client closes it."""
    unread = b""
    while True:
        while _END not in unread:
            if not (chunk := connection.recv(1 << 16)):
                return
            unread += chunk
        head, _, unread = unread.partition(_END)
        yield head


def keeps(head: bytes) -> bool:
    """Whether the client wants its connection kept."""
    return b"connection: close" not in head.lower()


def answer(app: Callable[..., Any], head: bytes) -> tuple[bytes, bytes]:
    """What `app` answers, as head and body: WSGI, as far as the lab's requests need it."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    fields = {name.strip().upper().replace("-", "_"): value.strip() for name, _, value in _parted(lines)}
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **{f"HTTP_{name}": value for name, value in fields.items()},
    }
    said: list[Any] = []
    body = b"".join(app(environ, lambda *given: said.extend(given)))
    status, headers, *_ = said
    rows = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    rows.append(f"Connection: {'keep-alive' if keeps(head) else 'close'}")
    return "\r\n".join(rows).encode("latin-1") + _END, body


def _parted(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    return (line.partition(":") for line in lines)


Serve = Callable[[socket.socket], None]


def each_to_its_end(serve: Serve, threads: int, take: Callable[[], socket.socket]) -> None:
    """Serve connections with so many threads, each from its beginning to its end. Does not return."""

    def work() -> None:
        while True:
            with suppress(OSError), take() as connection:
                serve(connection)

    others = [threading.Thread(target=work, daemon=True) for _ in range(threads - 1)]
    for each in others:
        each.start()
    work()


def plainly(app: Callable[..., Any]) -> Serve:
    """Answer each request with one write."""

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for head in heads(connection):
            connection.sendall(b"".join(answer(app, head)))
            if not keeps(head):
                return

    return serve


def unbalanced() -> None:
    """Two processes of four threads; the second has every eighth connection, and the first all others."""
    near, far = socket.socketpair()
    if os.fork() == 0:
        near.close()

        def handed_over() -> socket.socket:
            _, descriptors, _, _ = socket.recv_fds(far, 1, 1)
            if not descriptors:
                os._exit(0)
            return socket.socket(fileno=descriptors[0])

        each_to_its_end(plainly(application()), 4, handed_over)
    far.close()
    waiting: SimpleQueue[socket.socket] = SimpleQueue()
    app, listening = application(), listener()

    def share_out() -> None:
        number = 0
        while True:
            connection, _ = listening.accept()
            number += 1
            if number % EVERY_EIGHTH:
                waiting.put(connection)
            else:
                with connection:
                    socket.send_fds(near, [b"."], [connection.fileno()])

    threading.Thread(target=share_out, daemon=True).start()
    each_to_its_end(plainly(app), 4, waiting.get)


def withholding() -> None:
    """One process of four threads that sends head and body apart, and leaves them to Nagle's algorithm.

    The body waits until the client has acknowledged the head, and the client's kernel delays that by 40 ms, in the
    hope of something to send with it: RFC 1122, section 4.2.3.2, and RFC 896.
    """
    app, listening = application(), listener()

    def serve(connection: socket.socket) -> None:
        for head in heads(connection):
            for part in answer(app, head):
                connection.sendall(part)
            if not keeps(head):
                return

    each_to_its_end(serve, 4, lambda: listening.accept()[0])


def stalling() -> None:
    """One process with a thread for everybody, which answers at once, but for 0.3 s of each second not at all."""
    app, listening = application(), listener()

    def serve(connection: socket.socket) -> None:
        for head in heads(connection):
            into_ns = time.monotonic_ns() % STALL_EVERY_NS
            if into_ns < STALL_NS:
                time.sleep((STALL_NS - into_ns) / 1e9)
            connection.sendall(b"".join(answer(app, head)))
            if not keeps(head):
                return

    each_to_its_end(serve, CROWD, lambda: listening.accept()[0])


def instant() -> None:
    """One process that answers `/hello` without an application, in less time than any client needs to ask again."""
    app, listening = application(), listener(nonblocking=True)
    poll = select.epoll()
    poll.register(listening, select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    lane = f"{os.getpid()} {threading.get_native_id()} {threading.get_ident()}"
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listening.fileno():
                connection, _ = listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                poll.register(connection, select.EPOLLIN)
                continue
            connection = connections[descriptor]
            entered_ns = time.monotonic_ns()
            head = b""
            with suppress(OSError):
                # A request is one segment, and the next one comes after its answer.
                head = connection.recv(1 << 16).removesuffix(_END)
            if head.startswith(b"GET /hello "):
                stamp = f"{lane} {entered_ns} {time.monotonic_ns()}"
                connection.send(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nLab-Stamp: %b\r\n\r\nhello\n" % stamp.encode()
                )
            elif head:
                connection.send(b"".join(answer(app, head)))
            if not head or not keeps(head):
                poll.unregister(connection)
                connections.pop(descriptor).close()


def tardy() -> None:
    """One process that has not begun to listen when the lab gives it up."""
    time.sleep(600)


TRAITS: dict[str, Callable[[], None]] = {
    function.__name__: function for function in (unbalanced, withholding, stalling, instant, tardy)
}


if __name__ == "__main__":
    TRAITS[sys.argv[1]]()
