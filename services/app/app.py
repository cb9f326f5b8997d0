"""The Flask application under test: one route a workload, the same for every server.

Every answer is a fixed text, so that the swarm can check it to the byte.
"""

import os
import platform
import time
from importlib import metadata

from flask import Flask, Response, abort, jsonify, request

from stamp import StampMiddleware
from work import iterations_for, state_after

# What /lab tells of the stack a server really runs on.
PACKAGES = ("flask", "werkzeug", "gunicorn", "gevent", "eventlet", "tornado")
LONGEST_SLEEP_MS = 60_000.0
MOST_ITERATIONS = 1e9

app = Flask(__name__)
app.wsgi_app = StampMiddleware(app.wsgi_app)  # type: ignore[method-assign]


def text(body: str) -> Response:
    return Response(body, mimetype="text/plain")


def argument(name: str, default: float, most: float) -> float:
    """The query argument `name` as a number in 0..most; anything else is answered with 400."""
    given = request.args.get(name, type=float, default=default if name not in request.args else None)
    if given is None or not 0 <= given <= most:
        abort(400, f"{name} must be a number from 0 to {most:g}")
    return given


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
    iterations = argument("iterations", default=50_000.0, most=MOST_ITERATIONS)
    if not iterations.is_integer():
        abort(400, "iterations must be a whole number")
    return text(f"state {state_after(int(iterations))} after {iterations:.0f} iterations\n")


@app.get("/calibrate")
def calibrate() -> Response:
    """How many iterations of `/cpu` take `ms` milliseconds of CPU time in this very process."""
    return text(f"{iterations_for(argument('ms', default=5.0, most=10_000.0))}\n")


@app.get("/lab")
def lab() -> Response:
    """What this server is in effect: the process that answers, its cores, its Python and packages."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return jsonify(
        pid=os.getpid(),
        cpus=sorted(os.sched_getaffinity(0)),
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        packages=versions,
    )
