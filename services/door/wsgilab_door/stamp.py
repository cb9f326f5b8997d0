"""The stamp: who served a request, and when it was inside the application.

Every response carries a header

    Lab-Stamp: <process id> <OS thread id> <thread or greenlet id> <entered ns> <left ns>

with the times read from CLOCK_MONOTONIC, which all processes of one machine share. From these intervals the
swarm counts exactly how many requests were in flight at once, whatever the server is made of: no shared
memory, no lock, nothing that depends on the server.

The OS thread id and the thread-or-greenlet id differ where requests run in coroutines: there one OS thread
serves them all.

A header is sent before the body. So `left` is when the response was begun, and what leaves later than that is written to a
file (late.py), with its stamp and the moment at which it really left: when the last byte was handed to the server. That is the
piece of the body that completes its Content-Length, else the end of the body, or its `close()`. A server may let a body that is
made wait while it serves others on the same thread, as tornado does. That wait is the server's: the request has left when the
application last worked on it.

A request may carry the moment until which it counts:

    Lab-Void-After: <ns>

One that enters the application later is answered at once with 503 and a `Lab-Void` header. It came after the window
of its trial, so its answer counts for nothing; but 31 such requests, waiting 50 ms each in the queue of a server that
takes one at a time, would keep the next trial waiting for a second and a half. What entered before is not touched.

A request may ask to be noted, because whoever sent it may give it up:

    Lab-Note: 1

Then it is written to that file when it enters, as if it left at that very moment, and again when it leaves, late or not. So the swarm
knows of the work that was done for nobody, and of that which is not done yet.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from wsgilab_door.late import LateFile

HEADER = "Lab-Stamp"
VOID = [("Lab-Void", "1"), ("Content-Length", "0")]
MOST_DIGITS = 20
LATE_NS = 200_000
"""What leaves no later than this after its response was begun has left when its header says so."""

_KEEP_HEADERS = ("gunicorn/", "Cheroot/")
"""Servers, by SERVER_SOFTWARE, that send the headers of a response also where it is begun anew (PEP 3333 has them dropped)."""
_NO_LENGTH = -1
_LENGTHY = len("content-length")

_latest: dict[int, int] = {}
"""Thread or greenlet id -> when the request that it took last has entered."""
_thread: Any = next(
    each for each in object.__subclasses__() if (each.__module__, each.__name__) == ("_thread", "_local")
)()
"""Who an OS thread has served a request as last: `who`, and the thread or greenlet id in it, `ident`. Of the type itself, because gevent
and eventlet replace its name, by one of what each greenlet has."""


def _forget() -> None:
    _thread.ident = None


# A new process has another id. To ask for that at each request would be a system call more.
os.register_at_fork(after_in_child=_forget)

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class StampMiddleware:
    """A WSGI middleware that stamps each response of `application`, and writes what leaves late to `late`, unless that is None.

    The application sees nothing of it, and its answer has one header more. A body that a server knows a shorter way for stays
    itself: a list or tuple, or whatever else has a length; one from `wsgi.file_wrapper`; and that of a HEAD request. Such a
    request has left when the application returns. Any other body is handed over piece by piece as the server asks for it, and
    is closed when the server closes it. What is sent by `write()` has left when the application returns, or its body ends.
    """

    def __init__(self, application: WSGIApplication, late: LateFile | None = None) -> None:
        self.application = application
        self._late = late
        self._unsized: set[type] = set()
        """Types of bodies that have no length."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered_ns = time.monotonic_ns()
        void_after = environ.get("HTTP_LAB_VOID_AFTER")
        if void_after is not None and _is_passed(void_after, entered_ns):
            start_response("503 Service Unavailable", list(VOID))
            # One empty chunk: Hypercorn takes a body without any chunk for an error of the application.
            return [b""]

        # Looked up at each request: gevent and eventlet replace this function after import.
        ident = threading.get_ident()
        _latest[ident] = entered_ns
        answer = _Answer(environ, start_response, entered_ns, ident, self._late)
        if self._late is None:
            return self.application(environ, answer.begin)
        if answer.is_noted:
            self._late.append(f"{_who(ident)} {entered_ns} {entered_ns} {entered_ns}")
        wrapper = environ.get("wsgi.file_wrapper")
        if wrapper is not None and type(wrapper) is not type:
            # uWSGI's is a function, and what it makes is of no type of its own.
            environ["wsgi.file_wrapper"] = answer.noting_files(wrapper)
        try:
            body = self.application(environ, answer.begin)
        except BaseException:
            answer.works()
            answer.note(early=True)
            raise
        if time.monotonic_ns() - answer.left_ns > LATE_NS:
            answer.works()
        if (
            (type(body) not in self._unsized and self._is_sized(body))
            or environ.get("REQUEST_METHOD") == "HEAD"
            or (wrapper is not None and (body is answer.file or (type(wrapper) is type and isinstance(body, wrapper))))
        ):
            answer.note(early=False)
            return body
        answer.body = body
        return answer

    def _is_sized(self, body: Iterable[bytes]) -> bool:
        if hasattr(body, "__len__"):
            return True
        self._unsized.add(type(body))
        return False


class _Answer:
    """A response, from its beginning to its end; and its body, where that is handed over piece by piece.

    Every microsecond here is counted as the server's own.
    """

    __slots__ = (
        *("environ", "start_response", "entered_ns", "ident", "late", "body", "file", "is_noted"),
        *("_headers", "_stamp", "left_ns", "_worked_ns", "_sent", "_has_left"),
    )

    def __init__(
        self,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        entered_ns: int,
        ident: int,
        late: LateFile | None,
    ) -> None:
        self.environ = environ
        self.start_response = start_response
        self.entered_ns = entered_ns
        self.ident = ident
        """Of the thread or greenlet that it entered on."""
        self.late = late
        self.body: Iterable[bytes] = ()
        self.file: object = None
        """What `wsgi.file_wrapper` made, where that is no class."""
        self.is_noted = "HTTP_LAB_NOTE" in environ
        """Whether it is written to the file in any case."""
        self._headers: Iterable[tuple[str, str]] = ()
        self._stamp = ""
        self.left_ns = 0
        """By the stamp; 0 until the response is begun."""
        self._worked_ns = 0
        """Until when the application has worked on it, as far as that is later than LATE_NS after it was begun."""
        self._sent = 0
        """Bytes."""
        self._has_left = False

    def begin(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """What the application is given as `start_response`."""
        self._headers = headers
        if self.left_ns and self.environ.get("SERVER_SOFTWARE", "").startswith(_KEEP_HEADERS):
            # The server still has the first stamp.
            return self.start_response(status, list(headers), exc_info)
        who = _who(self.ident)
        left_ns = time.monotonic_ns()
        stamp = f"{who} {self.entered_ns} {left_ns}"
        # In a list of its own: that of the application may be one that it passes each time.
        write = self.start_response(status, [*headers, (HEADER, stamp)], exc_info)
        # Not before, because the server may have refused it.
        self._stamp, self.left_ns = stamp, left_ns
        return write

    def noting_files(self, wrapper: Callable[..., Any]) -> Callable[..., Any]:
        """A `wsgi.file_wrapper` that notes what it made."""

        def wrapped(*given: Any, **named: Any) -> Any:
            self.file = wrapper(*given, **named)
            return self.file

        return wrapped

    def works(self, since_ns: int = 0) -> None:
        """The application has worked on it until now, since the server asked it to."""
        now_ns = time.monotonic_ns()
        # What takes no time, once the thread has served others, was done before.
        if now_ns - since_ns > LATE_NS or _latest.get(self.ident) == self.entered_ns:
            self._worked_ns = now_ns

    def note(self, *, early: bool) -> None:
        """It has left: late if that is some time after it was begun, or `early`, before its end."""
        if early or self._worked_ns - self.left_ns > LATE_NS:
            self._write(max(self._worked_ns, self.left_ns))
        elif self.is_noted:
            self._write(self.left_ns)

    def _write(self, left_ns: int) -> None:
        if self.late is None:
            return
        if self.left_ns:
            self.late.append(f"{self._stamp} {left_ns}")
        elif self.is_noted:
            # It ended before a response was begun, so that it has no stamp; it has entered, however.
            self.late.append(f"{_who(self.ident)} {self.entered_ns} {self.entered_ns} {max(left_ns, self.entered_ns)}")

    # --- as a body

    def __iter__(self) -> Iterator[bytes]:
        length: int | None = None
        # Until then nothing can be late, and there is nothing to look at.
        in_time_ns = self.left_ns + LATE_NS
        asked_ns = time.monotonic_ns()
        try:
            for piece in self.body:
                before = self._sent
                self._sent = before + len(piece)
                if time.monotonic_ns() > in_time_ns:
                    self.works(asked_ns)
                    if self._worked_ns - self.left_ns > LATE_NS:
                        length = _length(self._headers) if length is None else length
                        if before < length <= self._sent:
                            self.note(early=False)
                yield piece
                asked_ns = time.monotonic_ns()
        except GeneratorExit:
            # The server has dropped it. Whether it closes the body is another matter.
            if self.is_noted:
                self._write(time.monotonic_ns())
            raise
        except BaseException:
            self.works(asked_ns)
            self._leave(early=True)
            raise
        if time.monotonic_ns() > in_time_ns:
            self.works(asked_ns)
            self._leave(early=False)
        elif self.is_noted:
            self._leave(early=False)
        else:
            self._has_left = True

    def close(self) -> None:
        """What the server calls, if it does."""
        if not self._has_left:
            self.works(time.monotonic_ns())
            self._leave(early=True)
        close = getattr(self.body, "close", None)
        if close is not None:
            close()

    def _leave(self, *, early: bool) -> None:
        """It has ended, or was closed: unless it had left before, it has left now."""
        if self._has_left:
            return
        self._has_left = True
        if (early or self._worked_ns - self.left_ns > LATE_NS) and not self._is_whole():
            self.note(early=early)
        elif self.is_noted:
            self._write(self.left_ns)

    def _is_whole(self) -> bool:
        """Whether all of its Content-Length was handed over: then in time, or it was noted."""
        return 0 <= _length(self._headers) <= self._sent


def _who(ident: int) -> str:
    """The first three numbers of a stamp, of what this OS thread serves as the thread or greenlet `ident`."""
    if getattr(_thread, "ident", None) != ident:
        # To spell this takes as long as all the rest.
        _thread.ident, _thread.who = ident, f"{os.getpid()} {threading.get_native_id()} {ident}"
    who: str = _thread.who
    return who


def _length(headers: Iterable[tuple[str, str]]) -> int:
    """The Content-Length, or _NO_LENGTH."""
    for name, value in headers:
        if len(name) == _LENGTHY and name.lower() == "content-length":
            return int(value) if value.isdecimal() and len(value) < MOST_DIGITS else _NO_LENGTH
    return _NO_LENGTH


def _is_passed(moment: str, now_ns: int) -> bool:
    return len(moment) < MOST_DIGITS and moment.isdecimal() and now_ns > int(moment)
