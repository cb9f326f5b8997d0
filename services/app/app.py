"""The Flask application under test: one route a workload, the same for every server.

Every answer is a fixed text, so that the swarm can check it to the byte.
"""

import functools
import time
import zlib
from collections.abc import Iterator

from flask import Flask, Response, abort, request

from waits import ITEMS, Down, ask_upstream, read_item
from work import iterations_for, state_after

LONGEST_SLEEP_MS = 60_000.0
LARGEST_KIB = 65_536.0
MOST_ITERATIONS = 1e9
MOST_EVENTS = 100_000
PIECE_BYTES = 1 << 16

app = Flask(__name__)


def text(body: str | bytes) -> Response:
    return Response(body, mimetype="text/plain")


def argument(name: str, default: float, most: float) -> float:
    """The query argument `name` as a number in 0..most; anything else is answered with 400."""
    given = request.args.get(name, type=float, default=default if name not in request.args else None)
    if given is None or not 0 <= given <= most:
        abort(400, f"{name} must be a number from 0 to {most:g}")
    return given


def whole(name: str, default: int, most: float) -> int:
    """The query argument `name` as a whole number in 0..most; anything else is answered with 400."""
    given = argument(name, float(default), most)
    if not given.is_integer():
        abort(400, f"{name} must be a whole number")
    return int(given)


@app.errorhandler(Down)
def down(error: Down) -> Response:
    """A backend that is down is no fault of the application's, and the next request may well be answered."""
    return Response(f"{error}\n", status=503, mimetype="text/plain")


@app.get("/hello")
def hello() -> Response:
    """What a server costs by itself: no waiting, next to no work."""
    return text("hello\n")


@app.get("/sleep")
def sleep() -> Response:
    """A request that waits `ms` milliseconds without using the CPU, as for a database or another service."""
    ms = argument("ms", default=50.0, most=LONGEST_SLEEP_MS)
    time.sleep(ms / 1000)
    return text(f"slept {ms:g} ms\n")


@app.get("/cpu")
def cpu() -> Response:
    """A request that computes: a fixed number of iterations, never "until time has passed".

    Spinning until a deadline would take the same time however many requests share the core, and so
    hide the very contention that this workload is there to show.
    """
    iterations = whole("iterations", default=50_000, most=MOST_ITERATIONS)
    return text(f"state {state_after(iterations)} after {iterations} iterations\n")


@app.get("/db")
def db() -> Response:
    """A request that reads the row `item` by a statement that waits `ms` milliseconds in PostgreSQL."""
    ms = argument("ms", default=50.0, most=LONGEST_SLEEP_MS)
    item = whole("item", default=0, most=ITEMS - 1)
    return text(f"read {read_item(item, ms)} after {ms:g} ms\n")


@app.get("/upstream")
def upstream() -> Response:
    """A request that waits for another service, which answers after `ms` milliseconds."""
    return text(ask_upstream(argument("ms", default=50.0, most=LONGEST_SLEEP_MS)))


@app.get("/large")
def large() -> Response:
    """A request with a large answer: `kib` KiB."""
    return text(_lines(whole("kib", default=1024, most=LARGEST_KIB)))


@functools.lru_cache(maxsize=4)
def _lines(kib: int) -> bytes:
    """So many KiB, in lines of 64 bytes. Made once, not for each request: to send it is what costs."""
    return b"".join(b"%063d\n" % line for line in range(kib * 16))


@app.post("/upload")
def upload() -> Response:
    """A request with a body, which is read here as far as the server has not read it before."""
    size, checksum = 0, 0
    while piece := request.stream.read(PIECE_BYTES):
        size, checksum = size + len(piece), zlib.crc32(piece, checksum)
    return text(f"read {size} bytes, checksum {checksum:08x}\n")


@app.get("/stream")
def stream() -> Response:
    """A stream of `events` server-sent events, the first at once, and each other one `every_ms` milliseconds after the one before."""
    count = whole("events", default=21, most=MOST_EVENTS)
    every_ms = argument("every_ms", default=100.0, most=LONGEST_SLEEP_MS)
    return Response(_events(count, every_ms), mimetype="text/event-stream")


def _events(count: int, every_ms: float) -> Iterator[bytes]:
    for number in range(1, count + 1):
        if number > 1:
            time.sleep(every_ms / 1000)
        yield b"id: %d\ndata: event %d of %d\n\n" % (number, number, count)


@app.get("/calibrate")
def calibrate() -> Response:
    """How many iterations of `/cpu` take `ms` milliseconds of CPU time in this very process."""
    return text(f"{iterations_for(argument('ms', default=5.0, most=10_000.0))}\n")
