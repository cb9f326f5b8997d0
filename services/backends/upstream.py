"""The slow service behind `/upstream`: GET /wait?ms=50 is answered after that time.

Every wait is a timer of one event loop, so that thousands of them fit into it and it is never what is measured.
LAB_BIND (host:port) is where it listens.
"""

import asyncio
import os
import resource
import sys

from aiohttp import web

LONGEST_WAIT_MS = 60_000.0
BACKLOG = 4096
"""Connections that wait to be accepted: a burst of them must not be dropped. The kernel's somaxconn may be less."""
LONGEST_IDLE_S = 3600.0
"""Clients keep their connections between trials; whoever closed them would make the next request fail."""


async def wait(request: web.Request) -> web.Response:
    """Answer after `ms` milliseconds."""
    try:
        ms = float(request.query.get("ms", "50"))
    except ValueError:
        ms = -1.0
    if not 0 <= ms <= LONGEST_WAIT_MS:
        return web.Response(status=400, text=f"ms must be a number from 0 to {LONGEST_WAIT_MS:g}\n")
    await asyncio.sleep(ms / 1000)
    return web.Response(text=f"waited {ms:g} ms\n")


def service() -> web.Application:
    made = web.Application()
    made.router.add_get("/wait", wait)
    return made


def main() -> int | str:
    """Serve until told to end. The exit code, or why it cannot be."""
    host, _, port = os.environ.get("LAB_BIND", "0.0.0.0:8000").rpartition(":")
    # A connection needs a file descriptor, and the usual limit is for programs that select().
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        web.run_app(
            service(),
            host=host,
            port=int(port),
            backlog=BACKLOG,
            keepalive_timeout=LONGEST_IDLE_S,
            access_log=None,
            print=None,
        )
    except OSError as error:
        return f"upstream.py: {error.strerror}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
