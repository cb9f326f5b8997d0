"""Workers of Locust's without a machine of their own, and a target for them that only waits.

Run as `python -m benchmarks.machines._crowd PORT WORKERS EACH BEACON`: so many of the lab's own workers in one process, each
with its own connection to the master at PORT of this machine, EACH on every machine that they pretend to be. It says
`{"port": ...}`, which is the target's, once all have connected, and ends at the end of its input.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import functools
import gc
import json
import os
import sys
import time
from typing import Any

import gevent
from gevent.fileobject import FileObjectPosix
from gevent.server import StreamServer
from locust import argument_parser

from wsgilab.swarm.reach import Reach
from wsgilab.swarm.worker import Worker

ANSWER_S = 0.1
_BODY = b"hello\n"


def answer(connection: Any, _: Any) -> None:
    """Answer each request of a connection after ANSWER_S, stamped as if served by one thread each."""
    thread = id(connection)
    while connection.recv(1 << 16):
        entered_ns = time.monotonic_ns()
        gevent.sleep(ANSWER_S)
        stamp = f"{os.getpid()} {thread} {thread} {entered_ns} {time.monotonic_ns()}"
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(_BODY)}\r\nLab-Stamp: {stamp}\r\n\r\n"
        connection.sendall(head.encode() + _BODY)


def main(port: int, workers: int, each: int, beacon: str) -> None:
    # At each start Locust makes this anew for each option that a worker is told. Workers that have cores of their own do so
    # side by side; here they would keep the master waiting for one another, and it looks at them all the while.
    argument_parser.default_args_dict = functools.cache(argument_parser.default_args_dict)
    target = StreamServer(("127.0.0.1", 0), answer)
    target.start()
    # As on each machine, the workers share nothing but their outpost.
    made = [
        gevent.spawn(Worker, "127.0.0.1", port, f"machine-{number // each}", Reach(beacon)) for number in range(workers)
    ]
    gevent.joinall(made, raise_error=True)
    # Each worker collects garbage before a trial: here in one heap, which is not what is measured.
    gc.collect()
    gc.freeze()
    sys.stdout.write(json.dumps({"port": target.server_port}) + "\n")
    sys.stdout.flush()
    FileObjectPosix(sys.stdin.fileno(), "rb", closefd=False).read()
    os._exit(0)


if __name__ == "__main__":
    port, workers, each, beacon = sys.argv[1:]
    main(int(port), int(workers), int(each), beacon)
