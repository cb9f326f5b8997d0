"""Workers of Locust's master in one process, and a target that only waits, for `benchmarks.scale_out`.

Run as `python -m benchmarks._scale_workers WORKERS PORT`: so many of the lab's own workers, each with its own
connection to the master at PORT of this machine. It writes one line, `{"target": ..., "clock": ...}`: the ports of
the target and of a clock server. It ends at the end of its input.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import functools
import json
import os
import sys
import time
from argparse import Namespace
from typing import Any

import gevent
from gevent.fileobject import FileObjectPosix
from gevent.server import StreamServer
from locust import argument_parser

from wsgilab.load.reachability import Reachability
from wsgilab.load.samples import LATE_PAGE
from wsgilab.load.worker import Worker
from wsgilab.system.clock_server import ClockServer

ANSWER_S = 0.1
PER_MACHINE = 4
"""Workers that pretend to be on one machine, where one of them looks at the link for all."""


def answer(connection: Any, _: Any) -> None:
    """Answer each request of a connection after ANSWER_S, stamped as if one thread served it."""
    thread = id(connection)
    while heard := connection.recv(1 << 16):
        if heard.startswith(f"GET {LATE_PAGE} ".encode()):
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            continue
        entered_ns = time.monotonic_ns()
        gevent.sleep(ANSWER_S)
        stamp = f"{os.getpid()} {thread} {thread} {entered_ns} {time.monotonic_ns()}"
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nLab-Stamp: {stamp}\r\n\r\nhello\n".encode())


def main(workers: int, port: int) -> None:
    # At each start Locust makes this anew for each of a worker's options. Workers with a core each do so side by side;
    # here they would keep the master waiting for one another.
    argument_parser.default_args_dict = functools.cache(argument_parser.default_args_dict)
    target = StreamServer(("127.0.0.1", 0), answer)
    target.start()
    clock = ClockServer(0, bind="127.0.0.1")
    gevent.spawn(clock.serve)
    for number in range(workers):
        options = Namespace(
            host="127.0.0.1",
            port=port,
            machine=f"machine {os.getpid()} {number // PER_MACHINE}",
            clock_server=Reachability(f"127.0.0.1:{clock.port}"),
        )
        gevent.spawn(Worker, options)
    sys.stdout.write(json.dumps({"target": target.server_port, "clock": clock.port}) + "\n")
    sys.stdout.flush()
    FileObjectPosix(sys.stdin.fileno(), "rb", closefd=False).read()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
