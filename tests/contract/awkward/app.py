"""An application with every awkwardness that WSGI allows, in a module that is called as the lab's own."""

import os
import socket
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

# It takes its time, where somebody wants to see that.
time.sleep(float(os.environ.get("START_S", "0")))

Start = Callable[..., Any]

PIECE_S = 0.02
PIECES = 4
LONG_PIECES = 150
"""More than connections hold of it while nobody reads."""
FILE = Path(__file__).with_name("file.bin")
WHERE = {
    "folder": os.getcwd(),  # noqa: PTH109
    "path": sys.path[0],
    # gevent and eventlet replace it.
    "socket": socket.socket.__module__.partition(".")[0],
}
CONSTANT = [("Content-Type", "text/plain")]
"""Passed each time: what is added to it would be sent again and again."""

closed: list[str] = []
made: Counter[str] = Counter()
"""Path -> how many pieces its bodies have made."""
ended_ns: defaultdict[str, list[int]] = defaultdict(list)
"""Path -> when there was nothing left of its bodies to make, CLOCK_MONOTONIC."""


class Body:
    """A body that notes when it is closed."""

    def __init__(self, path: str, pieces: Iterable[bytes]) -> None:
        self._path, self._pieces = path, iter(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        closed.append(self._path)


def pieces(path: str, number: int = PIECES, piece: bytes = b"piece\n", after_s: float = 0.0) -> Iterator[bytes]:
    for _ in range(number):
        time.sleep(PIECE_S)
        made[path] += 1
        yield piece
    time.sleep(after_s)
    ended_ns[path].append(time.monotonic_ns())


def hello(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", CONSTANT)
    return [b"hello\n"]


def stream(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", CONSTANT)
    return Body("/stream", pieces("/stream"))


def drip(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """It has a length, and goes on after that."""
    start_response("200 OK", [*CONSTANT, ("content-length", str(6 * PIECES))])
    return Body("/drip", pieces("/drip", after_s=0.2))


def written(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    write = start_response("200 OK", CONSTANT)
    for piece in pieces("/written"):
        write(piece)
    return [b"returned\n"]


def begun_anew(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", CONSTANT)
    try:
        raise ValueError("x")
    except ValueError:
        start_response("500 Internal Server Error", CONSTANT, sys.exc_info())
    return [b"an error\n"]


def begun_by_the_body(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", CONSTANT)
    try:
        raise ValueError("x")
    except ValueError:
        start_response("500 Internal Server Error", CONSTANT, sys.exc_info())
    yield b"an error\n"


def late(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", CONSTANT)
    time.sleep(PIECE_S)
    return [b"hello\n"]


def broken(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    def breaking() -> Iterator[bytes]:
        yield b"piece\n"
        raise KeyError("in the middle of a body, on purpose")

    start_response("200 OK", [*CONSTANT, ("Content-Length", "1000")])
    return Body("/broken", breaking())


def long(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", CONSTANT)
    return Body("/long", pieces("/long", LONG_PIECES, b"x" * 200_000))


def file(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [*CONSTANT, ("Content-Length", str(FILE.stat().st_size))])
    opened = FILE.open("rb")
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper(opened, 8192) if wrapper else Body("/file", iter(lambda: opened.read(8192), b""))


def told(_: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", CONSTANT)
    return [repr({"closed": closed, "made": dict(made), "ended_ns": dict(ended_ns), **WHERE}).encode()]


ROUTES = {
    "/hello": hello,
    "/stream": stream,
    "/drip": drip,
    "/written": written,
    "/begun-anew": begun_anew,
    "/begun-by-the-body": begun_by_the_body,
    "/late": late,
    "/broken": broken,
    "/long": long,
    "/file": file,
    "/told": told,
}


def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    return ROUTES[environ["PATH_INFO"]](environ, start_response)
