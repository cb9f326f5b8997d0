"""The user that every workload's Locust file is made of.

A user sends one request after the other, without thinking, and checks each answer. A workload defines what to ask and what
the answer must be, once for all or anew for each request; it may use a slower wire of its own. With `--rate` a user
sends them on a schedule instead, whether or not earlier ones have been answered, and counts latency from the moment at
which each was due: a server that stalls cannot hide the requests that it kept from being sent.

It is a plain Locust `User`: each request fires Locust's own `request` event, so statistics, web UI and listeners
work as usual. Its connections are the reactor's (`reactor.py`) as long as nobody but the generator listens and all goes as it
should; else its own (`wire.py`).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, ClassVar, Generic, TypeVar
from urllib.parse import urlsplit

import gevent.socket
from gevent.pool import Group
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.user.task import LOCUST_STATE_RUNNING

from arrivals import CONSTANT, POISSON, schedule
from reactor import LONGEST_IN_PIECES, Exchange, Handed, Plain, reactor
from wire import Answer, Wire

# `wire` has seen to it that the package is found.
from wsgilab.experiment.workloads import ITERATIONS_PER_MS, SLOW_CONNECTION_S, UNCALIBRATED_PER_MS, option

CLOSE = "close"
KEEP_ALIVE = "keep-alive"

NOTE_HEADER = "Lab-Note"
"""Has the application note a request, because its user may give it up; see there."""
VOID_HEADER = "Lab-Void"
"""Marks the answer to a request that came too late to count; see services/door/wsgilab_door/stamp.py."""
VOID_WAITS = 3
VOID_NOTICE_NS = 20_000_000
"""A request carries the moment until which it counts only if it may still be waiting then: for VOID_WAITS times as long as
the one before took, and this. One more header costs Gunicorn and Flask 4 µs, nearly a fiftieth of a short request; wrk sends
none."""

# After a failed request, so that a dead target is not hammered in a busy loop.
PAUSE_AFTER_FAILURE_S = 0.1
SHOWN_BYTES = 200
"""Of a wrong answer's body."""
LONGEST_PLAIN = 4096
"""Bytes of a request that the reactor may send: a connection that waits for one takes them at once."""
GOLDEN = 0.6180339887498949
"""Any number of its first multiples are spread evenly over the circle: Knuth, The Art of Computer Programming, volume 3, section 6.4."""

Value = TypeVar("Value", int, float)


@events.init_command_line_parser.add_listener
def _add_arguments(parser: LocustArgumentParser) -> None:
    # Not in a group of their own: Locust's web UI shows only what is in the parser itself.
    parser.add_argument(
        "--connection", choices=[CLOSE, KEEP_ALIVE], default=CLOSE, help="a connection a request, or kept"
    )
    parser.add_argument(
        "--request-timeout", type=float, default=60.0, help="seconds after which a request has failed; 0: never"
    )
    parser.add_argument(
        "--rate", type=float, default=0.0, help="requests a second that a user sends on schedule; 0: one after another"
    )
    parser.add_argument(
        "--arrivals", choices=[CONSTANT, POISSON], default=CONSTANT, help="how a schedule's requests are spaced"
    )
    parser.add_argument("--arrivals-seed", type=int, default=0, help="makes a Poisson schedule repeatable")
    parser.add_argument(
        "--iterations-per-ms",
        type=float,
        default=UNCALIBRATED_PER_MS,
        help="of computing, in a millisecond on the target",
    )
    # Not in the web UI, whose figures would not say that they hold.
    parser.add_argument(
        "--gap-ms",
        type=float,
        default=0.0,
        include_in_web_ui=False,
        help="milliseconds that a user pauses between an answer and its next request",
    )
    parser.add_argument(
        "--abandon-ms",
        type=float,
        default=0.0,
        include_in_web_ui=False,
        help="milliseconds after which a user gives up a request, and asks again; 0: it waits",
    )


class Option(Generic[Value]):
    """A workload's parameter, as an option of Locust's command line and web UI; `int` where it is whole."""

    _flags: ClassVar[set[str]] = set()

    def __init__(self, workload: str, parameter: str) -> None:
        self._option = option(workload, parameter)
        # Once, also where Locust loads a file that another has imported.
        if self._option.flag not in self._flags:
            self._flags.add(self._option.flag)
            events.init_command_line_parser.add_listener(self._add)

    def _add(self, parser: LocustArgumentParser) -> None:
        this = self._option
        parser.add_argument(this.flag, type=this.kind, default=this.usual, help=this.about)

    def of(self, user: User) -> Value:
        """The value that `user` was given."""
        usual: Any = self._option.usual
        value: Value = getattr(user.environment.parsed_options, self._option.name, usual)
        return value


def iterations(user: User, ms: float) -> int:
    """How many iterations take so many milliseconds of CPU time, as the option says that was measured on the target."""
    per_ms: float = getattr(user.environment.parsed_options, ITERATIONS_PER_MS, UNCALIBRATED_PER_MS)
    return round(ms * per_ms)


@dataclass(frozen=True, slots=True, eq=False)
class Get:
    """One GET, and the answer that it must have, to the byte. Requests of another kind are derived from it."""

    path: str
    answer: bytes
    method: str = "GET"
    name: str = ""
    """By which figures of a mix are told; empty: they are not."""

    def fault(self, status: int, body: bytes) -> str | None:
        """None where the answer is right; else what is wrong, to be read before the status and what came."""
        return None if status == HTTPStatus.OK and body == self.answer else ""

    def spell(self, lines: list[str]) -> bytes:
        """The request's bytes, of its first line and the headers that every request has."""
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def last(self) -> bytes | None:
        """The end of the answer, where its body comes whole; None where it is not known before."""
        return b"\r\n\r\n" + self.answer

    def failure(self, answer: Answer) -> "WrongAnswer | None":
        """None where the answer is right."""
        status, body = answer.status_code, answer.body
        if (fault := self.fault(status, body)) is None:
            return None
        return WrongAnswer(f"{self.path}: {fault}status {status}, body {body[:SHOWN_BYTES]!r}")

    def request(self, user: int, begun_ns: int, ended_ns: int, connect_ns: int, received: bytes) -> dict[str, Any]:
        """What `event` says of a request whose answer the reactor has kept unread."""
        answer = Answer(self.method)
        failure: Exception | None = None
        try:
            answer.feed(received)
            if not answer.message_complete:
                # An answer without a length ends with its connection.
                answer.feed(b"")
            failure = self.failure(answer)
        except HTTPException as error:
            failure = error
        return self.event(user, begun_ns, ended_ns, connect_ns, answer, failure)

    def event(
        self, user: int, begun_ns: int, ended_ns: int, connect_ns: int, answer: Answer, failure: Exception | None
    ) -> dict[str, Any]:
        """What Locust's event would have said of a request that was sent by the reactor, with its answer."""
        context = {"user": user, "begun_ns": begun_ns}
        if connect_ns:
            context["connect_ns"] = connect_ns
        if connect_ns >= SLOW_CONNECTION_S * 1e9:
            context["slow_connection"] = True
        return {
            "response_time": (ended_ns - begun_ns) / 1e6,
            "response_length": len(answer.body),
            "response": answer,
            "context": {**context, "name": self.name} if self.name else context,
            "exception": failure,
        }


class Abandoned(Exception):
    """The user has waited for as long as it would."""


class WrongAnswer(Exception):
    """The target answered, but not as the workload demands."""


class LabUser(User):
    """A user that repeats one request. A workload sets `get`, here or in `on_start`, or overrides `choose`.

    The `request` event's context has `user` and `begun_ns` (CLOCK_MONOTONIC), for scheduled requests `due_ns`, where a
    connection was opened `connect_ns`, and where they apply `name`, `slow_connection`, `reopened`, and `client_ms`: how long the user
    itself paused while it sent and read (`reading_ms`: while it read). `pause_ns` is how long it will pause now, `abandoned` says that it
    has given up, and `reset` that the request was lost with a kept connection.
    A request that is given up because its user was killed has gevent's GreenletExit as its exception.
    """

    abstract = True
    get: Get
    _recorder: Any = None
    """The generator's, where nobody else listens to Locust's event: answers are kept for it, and parsed after the window."""
    _exchange: Exchange | None = None
    """Its connection, where the reactor may use it."""
    _chosen: Get | None = None
    """What to send next, where that was chosen already."""
    _usual: Plain | None = None
    """What it always sends, where that is one plain request."""
    pauses = False
    """Whether users pause between requests even if no option says so. What overrides it overrides `pause_s` and `first_pause_s` too."""
    _pauses = False
    _is_at_work = True
    """Its first pause, if any, is over."""
    _gap_s = 0.0
    _abandon_s: float | None = None
    """None: it waits for as long as it takes."""
    _clock_offset_ns = 0
    """The clock of the target's machine minus this one's, where these are two: `window_end_ns`, `void_after_ns` and the grids of
    schedules and bursts are in it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        address = urlsplit(self.host or "")
        if address.scheme != "http" or not address.hostname:
            raise ValueError(f"--host must be an http:// address, not {self.host!r}")
        self._options = self.environment.parsed_options
        name = f"[{address.hostname}]" if ":" in address.hostname else address.hostname
        self._host = f"{name}:{address.port or 80}"
        # Once, not for each connection: gevent looks names up in a pool of threads.
        found = gevent.socket.getaddrinfo(address.hostname, address.port or 80, type=gevent.socket.SOCK_STREAM)
        self._family, _, _, _, self._address = found[0]
        self._connection: str = getattr(self._options, "connection", CLOSE)
        # Each wait with a limit costs a timer; a generator that ends hanging users itself gives `0`.
        self._timeout_s: float | None = getattr(self._options, "request_timeout", 60.0) or None
        self._rate: float = getattr(self._options, "rate", 0.0)
        self._clock_offset_ns = getattr(self._options, "clock_offset_ns", 0)
        self._due: Iterator[int] = iter(())
        self._next_due_ns = 0
        self._under_way = Group()
        self._wires: list[Wire] = []
        self._id = id(self)
        self._context: dict[str, Any] = {"user": self._id}
        self._spelled: dict[Get, tuple[bytes, bytes | None]] = {}
        self._void_after_ns = 0
        """The moment in these; 0: none."""
        self._took_ns = 0
        self._recorder = getattr(self._options, "recorder", None)
        self._gap_s = getattr(self._options, "gap_ms", 0.0) / 1000
        self._abandon_s = getattr(self._options, "abandon_ms", 0.0) / 1000 or None
        self._pauses = (self.pauses or self._gap_s > 0) and not self._rate
        is_plain = not (self._rate or self._pauses or self._abandon_s) and type(self).make_wire is LabUser.make_wire
        if self._recorder is not None and is_plain:
            self._exchange = Exchange(self, (self._family, self._address), is_kept=self._connection != CLOSE)
        # Users are made one after the other, and those of the trial before have gone by then.
        part, parts = self._part()
        runner = self.environment.runner
        self.number = (len(runner.user_greenlets) if runner else 0) * parts + part
        """Which of the trial's users this is, from 0 on."""
        if self._pauses:
            self._is_at_work = False
            if self._recorder is not None:
                self._recorder.starting.add(self._id)

    def choose(self) -> Get:
        """What to ask next."""
        return self.get

    def make_wire(self, family: int, address: tuple[Any, ...], timeout_s: float | None) -> Wire:
        return Wire(family, address, timeout_s)

    def context(self) -> dict[str, Any]:
        return self._context

    def on_stop(self) -> None:
        try:
            # Requests of a schedule that are still unanswered.
            self._under_way.join()
        finally:
            self._under_way.kill()
            for wire in self._wires:
                wire.close()

    def wait_time(self) -> float:
        """Seconds until the next request is due; Locust calls it between tasks."""
        if self._rate:
            return max(0.0, (self._next_due_ns - time.monotonic_ns()) / 1e9)
        return self.pause_s() if self._pauses else 0.0

    def pause_s(self) -> float:
        """How long the user pauses now, in seconds, until its next request."""
        return self._gap_s

    def first_pause_s(self) -> float:
        """How long it pauses before its first request: users are not in step."""
        return self._gap_s * (self.number * GOLDEN % 1)

    @task
    def request(self) -> None:
        if self._exchange is not None:
            if (plain := self._plain()) is not None:
                self._repeat(self._exchange, plain)
            else:
                with reactor().beside():
                    self._ask(None)
            return
        if not self._is_at_work:
            self._is_at_work = True
            gevent.sleep(self.first_pause_s())
            if self._recorder is not None:
                self._recorder.starting.discard(self._id)
        if not self._rate:
            self._ask(None)
            return
        now_ns = time.monotonic_ns()
        if not self._next_due_ns:
            self._begin_schedule(now_ns)
        while self._next_due_ns <= now_ns:
            self._under_way.spawn(self._ask, self._next_due_ns)
            self._next_due_ns = next(self._due)

    def _repeat(self, exchange: Exchange, plain: Plain) -> None:
        """Have the reactor send requests as long as they are plain, and go on with the one that is not."""
        wire = self._take_wire()
        handed, connection = reactor().drive(exchange, plain, wire.lend())
        wire.take(handed.connection if handed else connection)
        self._wires.append(wire)
        if handed is not None:
            with reactor().beside():
                self._ask(None, handed)

    def _plain(self) -> Plain | None:
        get = self._chosen = self._chosen or self.choose()
        request, last = self._spell(get)
        if len(request) > LONGEST_PLAIN:
            return None
        self._chosen = None
        made = Plain(request, last, get)
        if type(self).choose is LabUser.choose and not self._void_after_ns:
            self._usual = made
        return made

    def after(self, took_ns: int) -> Plain | None:
        """The next request, after one that took so long; None where that is not plain, or Locust has stopped this user."""
        self._took_ns = took_ns
        if self._state != LOCUST_STATE_RUNNING:
            return None
        void_after_ns = self._options.void_after_ns
        if self._usual is not None and not (void_after_ns and self._may_wait_until(void_after_ns)):
            return self._usual
        return self._plain()

    def is_whole(self, plain: Plain, received: bytes) -> bool | None:
        """Whether that is the whole and the right answer, and the connection may go on; None where more of it is to come."""
        get: Get = plain.get
        answer = self._answer = Answer(get.method)
        try:
            answer.feed(received)
        except HTTPException:
            return False
        if not answer.message_complete:
            return None if len(received) <= LONGEST_IN_PIECES else False
        return (self._connection == CLOSE or not answer.should_close()) and get.failure(answer) is None

    def keep(self, plain: Plain, begun_ns: int, ended_ns: int, connect_ns: int, received: bytes) -> None:
        """Keep a request that was answered, for the generator's recorder."""
        get: Get = plain.get
        if plain.last is None:
            event = get.event(self._id, begun_ns, ended_ns, connect_ns, self._answer, None)
            self._recorder.on_request(**event)
        else:
            self._recorder.keep(self._id, get, begun_ns, ended_ns, connect_ns, received)

    def _begin_schedule(self, now_ns: int) -> None:
        part, parts = self._part()
        due_there = schedule(
            getattr(self._options, "arrivals", CONSTANT),
            self._rate,
            now_ns + self._clock_offset_ns,
            seed=getattr(self._options, "arrivals_seed", 0),
            part=part,
            parts=parts,
        )
        self._due = (at_ns - self._clock_offset_ns for at_ns in due_there)
        self._next_due_ns = next(self._due)

    def _part(self) -> tuple[int, int]:
        """Which of the generator's processes this is, from 0 on, of how many."""
        worker_index = getattr(self.environment.runner, "worker_index", 0)
        return max(0, worker_index), getattr(self._options, "arrivals_parts", 1)

    def _ask(self, due_ns: int | None, handed: Handed | None = None) -> None:
        """Send one request, and fire Locust's event for it. With `due_ns`, latency counts from then.

        With `handed`, one that the reactor has sent, and handed back.
        """
        wire = self._take_wire()
        get: Get = handed.plain.get if handed else self._chosen or self.choose()
        self._chosen = None
        response: Answer | None = None
        body = b""
        failure: BaseException | None = None
        start_time = time.time()
        begin_ns = handed.begun_ns if handed else time.monotonic_ns()
        try:
            response = self._exchanged(wire, get, due_ns, handed)
            body, failure = response.body, get.failure(response)
        except (OSError, HTTPException, Abandoned) as error:
            # HTTPException: what the parser raises.
            failure = error
        except gevent.GreenletExit as error:
            failure = error
        ended_ns = time.monotonic_ns()
        self._took_ns = ended_ns - begin_ns
        if failure is not None or response is None or self._connection == CLOSE or response.should_close():
            wire.close()
        self._wires.append(wire)
        is_void = self._was_dropped(get, failure) if response is None else response.get(VOID_HEADER) is not None
        # One that has waited for so long already asks again at once.
        rests = failure is not None and due_ns is None and not isinstance(failure, Abandoned)
        if failure is not None and (is_void or self._is_over(due_ns or begin_ns)):
            # Sent too late to count: it is neither an answer nor a failure, nor was it given up.
            if isinstance(failure, gevent.GreenletExit):
                raise failure
            if not is_void and rests:
                gevent.sleep(PAUSE_AFTER_FAILURE_S)
            return
        context = {**self._context, "begun_ns": begin_ns}
        if due_ns:
            context["due_ns"] = due_ns
        if wire.connect_ns:
            context["connect_ns"] = wire.connect_ns
        if wire.remarks:
            context.update(wire.remarks)
        if self._pauses:
            context["pause_ns"] = round(self.pause_s() * 1e9)
        if isinstance(failure, Abandoned):
            context["abandoned"] = True
        if get.name:
            context["name"] = get.name
        self.environment.events.request.fire(
            request_type=get.method,
            name=get.name or get.path,
            response_time=(ended_ns - (due_ns or begin_ns)) / 1e6,
            response_length=len(body),
            response=response,
            context=context,
            exception=failure,
            start_time=start_time,
            url=get.path,
        )
        if isinstance(failure, gevent.GreenletExit):
            raise failure
        if rests:
            gevent.sleep(PAUSE_AFTER_FAILURE_S)

    def _take_wire(self) -> Wire:
        """A connection that nobody uses."""
        if self._wires:
            return self._wires.pop()
        made = self.make_wire(self._family, self._address, self._timeout_s)
        made.is_kept_in_pauses = self._pauses
        return made

    def _exchanged(self, wire: Wire, get: Get, due_ns: int | None, handed: Handed | None) -> Answer:
        """The answer to a request. Raises Abandoned where the user has given it up, OSError and HTTPException."""
        request, last = handed.plain[:2] if handed else self._spell(get, due_ns)
        last = last if self._connection == CLOSE else None
        if self._abandon_s is None:
            return wire.exchange(request, last, get.method, handed)
        with gevent.Timeout(self._abandon_s, Abandoned(f"given up after {self._abandon_s * 1000:g} ms")):
            return wire.exchange(request, last, get.method, handed)

    def _is_over(self, at_ns: int) -> bool:
        """Whether the window has ended by then."""
        return 0 < getattr(self._options, "window_end_ns", 0) < at_ns + self._clock_offset_ns

    def _was_dropped(self, get: Get, failure: BaseException | None) -> bool:
        """Whether a request is void of which there is no answer: the application did not read its body, and the server closed the
        connection while more of that came."""
        is_void = 0 < self._void_after_ns < time.monotonic_ns() + self._clock_offset_ns
        return is_void and get.method != "GET" and isinstance(failure, BrokenPipeError | ConnectionResetError)

    def _spell(self, get: Get, due_ns: int | None = None) -> tuple[bytes, bytes | None]:
        """The request's bytes, made once, and the end of its answer."""
        void_after_ns = getattr(self._options, "void_after_ns", 0)
        if due_ns and not self._is_over(due_ns):
            # A request that was due in the window is never void, however late it is answered.
            void_after_ns = 0
        # What is given up stays in the server's queue, however long that is.
        if void_after_ns and self._abandon_s is None and not self._may_wait_until(void_after_ns):
            void_after_ns = 0
        if void_after_ns != self._void_after_ns:
            self._void_after_ns = void_after_ns
            self._spelled.clear()
        spelled = self._spelled.get(get)
        if spelled is None:
            lines = [f"{get.method} {get.path} HTTP/1.1", f"Host: {self._host}", f"Connection: {self._connection}"]
            if void_after_ns:
                lines.append(f"Lab-Void-After: {void_after_ns}")
            if self._abandon_s is not None:
                lines.append(f"{NOTE_HEADER}: 1")
            spelled = self._spelled[get] = get.spell(lines), get.last()
        return spelled

    def _may_wait_until(self, at_ns: int) -> bool:
        """Whether a request that is sent now may enter the application at a moment of its machine's clock, or later."""
        longest_ns = VOID_WAITS * self._took_ns + VOID_NOTICE_NS
        return at_ns < time.monotonic_ns() + self._clock_offset_ns + longest_ns
