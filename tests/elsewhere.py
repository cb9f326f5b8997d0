"""Another machine, as far as it can be told from this one: its clock is ahead, and the way there takes a while."""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from wsgilab.system.clock_server import ClockServer

DAY_NS = 86_400 * 10**9
BEHIND_NS = -time.monotonic_ns() // 2
"""As far ahead as this is another machine's clock that is behind. CLOCK_MONOTONIC is never below zero, and this machine may
have been started a minute ago."""
_PIECE = 1 << 14


@contextmanager
def clock_server(ahead_ns: int = 0, port: int = 0) -> Iterator[int]:
    """The port of a clock server whose clock is so much ahead."""
    server = ClockServer(port, bind="127.0.0.1", clock_ns=lambda: time.monotonic_ns() + ahead_ns)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            server.step(timeout_s=0.02)

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield server.port
    finally:
        ended.set()
        serving.join()
        server.close()


@contextmanager
def delayed(port: int, one_way_s: float, *, bytes_per_s: float | None = None) -> Iterator[int]:
    """A port from which everything goes to `port`, and back, each way a while later; back no faster than is said."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = []
    joining: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            open_sockets.append(here)
            joining.append(threading.Thread(target=join, args=(here,)))
            joining[-1].start()

    def join(here: socket.socket) -> None:
        # The way there takes a while too.
        time.sleep(2 * one_way_s)
        try:
            there = socket.create_connection(("127.0.0.1", port))
        except OSError:
            with contextlib.suppress(OSError):
                here.shutdown(socket.SHUT_RDWR)
            return
        open_sockets.append(there)
        for each in (here, there):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _pump(here, there, one_way_s, None)
        _pump(there, here, one_way_s, bytes_per_s)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for thread in joining:
            thread.join()
        listener.close()
        for each in open_sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _pump(source: socket.socket, sink: socket.socket, one_way_s: float, bytes_per_s: float | None) -> None:
    """Carry what comes, each piece at its time: a thread that reads and one that writes."""
    under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(maxsize=10_000 if bytes_per_s is None else 2)

    def read() -> None:
        piece = b"."
        while piece:
            try:
                piece = source.recv(_PIECE if bytes_per_s is None else max(1, min(_PIECE, int(bytes_per_s / 100))))
            except OSError:
                piece = b""
            under_way.put((time.monotonic() + one_way_s, piece))

    def write() -> None:
        free_at = 0.0
        while True:
            at, piece = under_way.get()
            time.sleep(max(0.0, at - time.monotonic(), free_at - time.monotonic()))
            if bytes_per_s is not None:
                free_at = max(free_at, time.monotonic()) + len(piece) / bytes_per_s
            try:
                if not piece:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(piece)
            except OSError:
                return

    for each in (read, write):
        threading.Thread(target=each, daemon=True).start()
