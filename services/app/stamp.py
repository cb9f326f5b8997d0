"""The stamp: who served a request, and when it was inside the application.

Every response carries a header

    Lab-Stamp: <process id> <OS thread id> <thread or greenlet id> <entered ns> <left ns>

with the times read from CLOCK_MONOTONIC, which all processes of one machine share. From these intervals the
swarm counts exactly how many requests were in flight at once, whatever the server is made of: no shared
memory, no lock, nothing that the server could get wrong.

The OS thread id and the thread-or-greenlet id differ where requests run in coroutines: there one OS thread
serves them all.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

HEADER = "Lab-Stamp"

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class StampMiddleware:
    """A WSGI middleware that stamps each response of `application`.

    A request has left when the application has returned its response, before the body is sent. The workloads
    answer with a body that is complete by then; what a streamed body does later would not be counted.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered_ns = time.monotonic_ns()
        began: list[Any] = []

        def hold(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., None]:
            began[:] = status, headers, exc_info
            return _refuse_write

        body = self.application(environ, hold)
        status, headers, exc_info = began
        # Looked up at each request: gevent and eventlet replace these functions after import.
        stamp = f"{os.getpid()} {threading.get_native_id()} {threading.get_ident()} {entered_ns}"
        headers.append((HEADER, f"{stamp} {time.monotonic_ns()}"))
        start_response(status, headers, exc_info)
        return body


def _refuse_write(_: bytes) -> None:
    raise RuntimeError("the stamping middleware does not serve WSGI's write(); return the body instead")
