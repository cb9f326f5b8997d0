"""The stamp: who served a request, and when it was inside the application.

Every response carries a header

    Lab-Stamp: <process id> <OS thread id> <thread or greenlet id> <entered ns> <left ns>

with the times read from CLOCK_MONOTONIC, which all processes of one machine share. From these intervals the
swarm counts exactly how many requests were in flight at once, whatever the server is made of: no shared
memory, no lock, nothing that depends on the server.

The OS thread id and the thread-or-greenlet id differ where requests run in coroutines: there one OS thread
serves them all.

A request may carry the moment until which it counts:

    Lab-Void-After: <ns>

One that enters the application later is answered at once with 503 and a `Lab-Void` header. It came after the window
of its trial, so its answer counts for nothing; but 31 such requests, waiting 50 ms each in the queue of a server that
takes one at a time, would keep the next trial waiting for a second and a half. What entered before is not touched.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

HEADER = "Lab-Stamp"
VOID = [("Lab-Void", "1"), ("Content-Length", "0")]
MOST_DIGITS = 20

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class StampMiddleware:
    """A WSGI middleware that stamps each response of `application`.

    A request has left when the application hands over its response, by calling `start_response`, before the body is
    sent. The workloads' bodies are complete by then; the later work of a streamed body would not be counted.

    An answer that is begun anew after an error is stamped anew. Servers should drop the headers of the first beginning
    (PEP 3333), but Gunicorn and cheroot send them too; the swarm then takes the last stamp, of when the request left in the end.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered_ns = time.monotonic_ns()
        void_after = environ.get("HTTP_LAB_VOID_AFTER")
        if void_after is not None and _is_passed(void_after, entered_ns):
            start_response("503 Service Unavailable", list(VOID))
            # One empty chunk: Hypercorn takes a body without any chunk for an error of the application.
            return [b""]

        # Every microsecond here is counted as the server's own.
        def stamped(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            # Looked up at each request: gevent and eventlet replace these functions after import.
            who = f"{os.getpid()} {threading.get_native_id()} {threading.get_ident()}"
            # In a list of its own: that of the application may be one that it passes each time.
            return start_response(status, [*headers, (HEADER, f"{who} {entered_ns} {time.monotonic_ns()}")], exc_info)

        return self.application(environ, stamped)


def _is_passed(moment: str, now_ns: int) -> bool:
    return len(moment) < MOST_DIGITS and moment.isdecimal() and now_ns > int(moment)
