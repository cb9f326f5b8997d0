"""The generator's workers on a machine that has no master of theirs: one on each core that this process may use.

Run as `python -m wsgilab.load.remote_workers swarm|ui HOST PORT [--beacon HOST:PORT] [--machine NAME]` from the folder that holds
`locustfiles/`: for `swarm.agent` or `ui.server`, whose Locust master is reached at that address. NAME is what the lab calls
this machine; else it is what it calls itself. One JSON object a line:

    out  {"event": "ready", "cpus": [...]}     when all are started; they tell their master when they work
         {"event": "error", "message": ...}    when one has ended, and so all

It ends at the end of its input, so it never outlives the lab.
"""

import argparse
import json
import os
import select
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from wsgilab.system import process

MODULES = {"swarm": "wsgilab.load.worker", "ui": "wsgilab.web.worker"}
TICK_S = 0.5


def main() -> None:
    """Keep workers up until the input ends, or one of them."""
    parser = argparse.ArgumentParser(description="workers for a generator on another machine")
    parser.add_argument("kind", choices=list(MODULES))
    parser.add_argument("host")
    parser.add_argument("port")
    parser.add_argument("--beacon", metavar="HOST:PORT", help="on the targets' machine")
    parser.add_argument("--machine", default=socket.gethostname(), help="this machine's name")
    told = parser.parse_args()
    argv = [sys.executable, "-m", MODULES[told.kind], told.host, told.port, "--machine", told.machine]
    if told.beacon:
        argv += ["--beacon", told.beacon]

    # In memory: it needs no folder that can be written to, and is gone with this process.
    log = Path(f"/proc/self/fd/{os.memfd_create('workers')}")
    cpus = sorted(os.sched_getaffinity(0))
    with ExitStack() as ending:
        workers = []
        for cpu in cpus:
            workers.append(process.spawn(argv, cwd=Path.cwd(), env=os.environ, cpus={cpu}, log=log))
            ending.callback(workers[-1].end)
        _say("ready", cpus=cpus)
        while not _is_at_end():
            for worker in workers:
                if (code := worker.exit_code()) is not None:
                    _say("error", message=f"a worker ended with exit code {code}: {process.tail(log, 1)}")
                    sys.exit(1)


def _is_at_end() -> bool:
    """Whether the input has ended. Waits for that, a moment."""
    readable, _, _ = select.select([sys.stdin], [], [], TICK_S)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1 << 16)


def _say(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
