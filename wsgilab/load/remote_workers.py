"""The generator's workers on a machine without Locust's master: one on each core that this process may use.

Run as `python -m wsgilab.load.remote_workers swarm|ui HOST PORT [--clock-server HOST:PORT] [--machine NAME]` from the folder
that holds `locustfiles/`. HOST and PORT are where `load.driver` (swarm) or `web.server` (ui) has its Locust master. NAME is
what the lab calls this machine; by default it is the host name. One JSON object a line:

    out  {"event": "ready", "cpus": [...]}     when all workers are started; they tell the master themselves when they work
         {"event": "error", "message": ...}    when one has ended; then all end

The process ends at the end of its input, so it never outlives the lab.
"""

import argparse
import os
import select
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from wsgilab.load.events import EventWriter
from wsgilab.system import process

MODULES = {"swarm": "wsgilab.load.worker", "ui": "wsgilab.web.worker"}
TICK_S = 0.5


def main() -> None:
    """Keep the workers up until the input ends, or one of them does."""
    parser = argparse.ArgumentParser(description="workers for a generator on another machine")
    parser.add_argument("kind", choices=list(MODULES))
    parser.add_argument("host")
    parser.add_argument("port")
    parser.add_argument("--clock-server", metavar="HOST:PORT", help="on the targets' machine")
    parser.add_argument("--machine", default=socket.gethostname(), help="this machine's name")
    options = parser.parse_args()
    argv = [sys.executable, "-m", MODULES[options.kind], options.host, options.port, "--machine", options.machine]
    if options.clock_server:
        argv += ["--clock-server", options.clock_server]

    send = EventWriter()
    # In memory: it needs no folder that can be written to, and is gone with this process.
    log = Path(f"/proc/self/fd/{os.memfd_create('workers')}")
    cpus = sorted(os.sched_getaffinity(0))
    with ExitStack() as ending:
        workers = []
        for cpu in cpus:
            workers.append(process.spawn(argv, cwd=Path.cwd(), env=os.environ, cpus={cpu}, log=log))
            ending.callback(workers[-1].end)
        send("ready", cpus=cpus)
        while not _input_has_ended():
            for worker in workers:
                if (code := worker.exit_code()) is not None:
                    send("error", message=f"a worker ended with exit code {code}: {process.tail(log, 1)}")
                    sys.exit(1)


def _input_has_ended() -> bool:
    """Wait up to TICK_S for the input's end."""
    readable, _, _ = select.select([sys.stdin], [], [], TICK_S)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1 << 16)


if __name__ == "__main__":
    main()
