"""The workloads' Locust files against the application: the answer that users expect is the answer they get."""

import errno
import importlib
import os
from http.client import HTTPException
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locust.argument_parser import LocustArgumentParser

import app as application
import work

MASK = 2**32 - 1


def locustfile(name: str) -> ModuleType:
    """A Locust file as a module."""
    return importlib.import_module(name)


CPU = locustfile("cpu")


def user(of: str, name: str, **options: object) -> Any:
    """A user that has started, but has neither a connection nor an environment beyond its options."""
    made = object.__new__(getattr(locustfile(of), name))
    made.environment = SimpleNamespace(parsed_options=SimpleNamespace(**options))
    made.on_start()
    return made


@given(st.integers(0, 3000))
def test_the_closed_form_is_what_the_loop_computes(iterations: int) -> None:
    assert CPU.state_after(iterations) == work.state_after(iterations)


@given(st.integers(0, 10**9))
def test_one_step_more_is_one_step_of_the_loop(iterations: int) -> None:
    step = (CPU.state_after(iterations) * work.MULTIPLIER + work.INCREMENT) & MASK

    assert CPU.state_after(iterations + 1) == step


def test_the_generator_has_its_full_period() -> None:
    assert CPU.state_after(2**32) == 0
    assert CPU.state_after(2**31) != 0


@pytest.mark.parametrize(
    ("of", "name", "options"),
    [
        ("hello", "Hello", {}),
        ("cpu", "Cpu", {"cpu_iterations": 777}),
        ("cpu", "Cpu", {}),
        ("sleep", "Sleep", {"sleep_ms": 0.25}),
        ("sleep", "Sleep", {"sleep_ms": 1234.5678}),
    ],
)
def test_a_user_expects_the_answer_that_the_application_gives(
    monkeypatch: pytest.MonkeyPatch, of: str, name: str, options: dict[str, object]
) -> None:
    monkeypatch.setattr(application, "time", SimpleNamespace(sleep=lambda _: None))
    made = user(of, name, **options)

    answer = application.app.test_client().get(made.path)

    assert (answer.status_code, answer.data) == (200, made.answer)


@pytest.mark.parametrize(
    ("name", "words", "option", "value"),
    [
        ("cpu", ["--cpu-iterations", "777"], "cpu_iterations", 777),
        ("cpu", [], "cpu_iterations", 50_000),
        ("sleep", ["--sleep-ms", "12.5"], "sleep_ms", 12.5),
        ("sleep", [], "sleep_ms", 50.0),
        ("lab_user", ["--connection", "keep-alive"], "connection", "keep-alive"),
        ("lab_user", [], "connection", "close"),
        ("lab_user", ["--request-timeout", "0"], "request_timeout", 0.0),
        ("lab_user", ["--rate", "12.5"], "rate", 12.5),
        ("lab_user", [], "rate", 0.0),
        ("lab_user", ["--arrivals", "poisson"], "arrivals", "poisson"),
        ("lab_user", [], "arrivals", "constant"),
        ("lab_user", ["--arrivals-seed", "7"], "arrivals_seed", 7),
    ],
)
def test_a_locust_file_adds_its_options(name: str, words: list[str], option: str, value: object) -> None:
    parser = LocustArgumentParser()
    locustfile(name)._add_arguments(parser)

    assert getattr(parser.parse_args(words), option) == value
    # Locust's web UI has a field for it.
    assert option in parser.args_included_in_web_ui


def test_users_ask_for_what_the_options_say() -> None:
    assert user("cpu", "Cpu", cpu_iterations=777).path == "/cpu?iterations=777"
    assert user("sleep", "Sleep", sleep_ms=12.5).path == "/sleep?ms=12.5"
    assert user("cpu", "Cpu").path == "/cpu?iterations=50000"
    assert user("sleep", "Sleep").path == "/sleep?ms=50"


# What a user sends, and when.

LAB_USER = locustfile("lab_user")


class Clock:
    """CLOCK_MONOTONIC as a user sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 10**9
        monkeypatch.setattr(LAB_USER, "time", SimpleNamespace(monotonic_ns=lambda: self.now_ns))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class UnderWay:
    """Remembers for when the requests were due that would be under way."""

    def __init__(self) -> None:
        self.due_ns: list[int] = []

    def spawn(self, _: object, due_ns: int) -> None:
        self.due_ns.append(due_ns)


def ready(rate: float = 0.0, runner: object = None, **options: object) -> Any:
    """A user that has started, with all but its connections."""
    made = user("hello", "Hello", rate=rate, **options)
    made.environment.runner = runner
    made._options = made.environment.parsed_options
    made._host = "127.0.0.1:8000"
    made._connection = "close"
    made._rate = rate
    made._due = iter(())
    made._next_due_ns = 0
    made._under_way = UnderWay()
    made._family, made._address, made._timeout_s = 2, ("127.0.0.1", 8000), None
    made._wires = []
    made._context = {"user": 7}
    made._bytes = b""
    made._void_after_ns = 0
    return made


def sent(by: Any) -> list[str]:
    text = by._request().decode("ascii")
    assert text.endswith("\r\n\r\n")
    return list(text.removesuffix("\r\n\r\n").split("\r\n"))


def test_a_request_is_one_get_that_says_nothing_but_what_it_must() -> None:
    assert sent(ready()) == ["GET /hello HTTP/1.1", "Host: 127.0.0.1:8000", "Connection: close"]


def test_a_request_says_until_when_it_counts_as_soon_as_that_is_known() -> None:
    made = ready()
    before = sent(made)

    vars(made._options)["void_after_ns"] = 123
    assert sent(made) == [*before, "Lab-Void-After: 123"]
    vars(made._options)["void_after_ns"] = 456
    assert sent(made) == [*before, "Lab-Void-After: 456"]
    del vars(made._options)["void_after_ns"]
    assert sent(made) == before


def test_the_application_takes_what_a_user_says_of_when_it_counts() -> None:
    (name, _, value) = sent(ready(void_after_ns=1))[-1].partition(": ")

    answer = application.app.test_client().get("/hello", headers={name: value})

    assert answer.status_code == 503
    assert LAB_USER.VOID_HEADER in answer.headers


def test_a_request_is_not_spelled_anew_each_time() -> None:
    made = ready(void_after_ns=123)

    assert made._request() is made._request()


def test_users_without_a_schedule_do_not_wait() -> None:
    assert ready().wait_time() == 0.0


@pytest.mark.parametrize(("now_ns", "wait_s"), [(10**9, 0.25), (10**9 + 2 * 10**8, 0.05), (2 * 10**9, 0.0)])
def test_users_with_a_schedule_wait_until_the_next_request_is_due(clock: Clock, now_ns: int, wait_s: float) -> None:
    made = ready(rate=4)
    made._next_due_ns = 10**9 + 25 * 10**7
    clock.now_ns = now_ns

    assert made.wait_time() == pytest.approx(wait_s)


def test_every_scheduled_request_is_begun_once_when_it_is_due_or_as_soon_after_as_it_can_be(clock: Clock) -> None:
    made = ready(rate=4)
    clock.now_ns += 1
    seen = []
    for now_ns in (clock.now_ns, 125 * 10**7 - 1, 125 * 10**7, 2 * 10**9, 2 * 10**9, 3 * 10**9 - 1):
        clock.now_ns = now_ns
        made.request()
        seen.append(len(made._under_way.due_ns))

    # Nothing before it is due; what fell due while the user was held up, all at once.
    assert seen == [0, 0, 1, 4, 4, 7]
    assert made._under_way.due_ns == [at * 25 * 10**7 for at in range(5, 12)]
    assert made.wait_time() == pytest.approx(1e-9)


@pytest.mark.parametrize(("worker_index", "due_ns"), [(0, 2 * 10**9), (1, 2_250_000_000), (3, 1_750_000_000)])
def test_each_worker_takes_its_part_of_a_schedule(clock: Clock, worker_index: int, due_ns: int) -> None:
    # The grid's next moment, number 5 from the clock's beginning, is of worker 1 of 4; 7 of worker 3, 8 of worker 0.
    clock.now_ns = 10**9 + 25 * 10**7 + 1
    made = ready(rate=4, runner=SimpleNamespace(worker_index=worker_index), arrivals_parts=4)

    made.request()

    assert made._next_due_ns == due_ns
    assert next(made._due) == due_ns + 10**9


@pytest.mark.parametrize("runner", [None, SimpleNamespace(), SimpleNamespace(worker_index=-1)])
def test_a_user_that_is_no_workers_takes_the_first_part(clock: Clock, runner: object) -> None:
    made = ready(rate=4, runner=runner)

    made.request()

    assert made._under_way.due_ns == [10**9]


def test_arrivals_are_as_the_options_say(clock: Clock) -> None:
    one, same, other = (ready(rate=100, arrivals="poisson", arrivals_seed=seed) for seed in (1, 1, 2))
    for each in (one, same, other):
        each.request()

    assert one._next_due_ns == same._next_due_ns != other._next_due_ns
    assert one._next_due_ns % 10**7, "not on the grid"


# A connection.


class Server:
    """A socket to a server that answers in these pieces, and then closes the connection."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent: list[bytes] = []
        self.closed = False

    def __call__(self, *_: object) -> "Server":
        return self

    def settimeout(self, _: object) -> None: ...

    def connect(self, _: object) -> None: ...

    def sendall(self, request: bytes) -> None:
        self.sent.append(request)

    def recv(self, _: int) -> bytes:
        if self.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None:
        self.closed = True


def exchanged(server: Server, last: bytes | None) -> Any:
    """The answer that a user gets from `server`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LAB_USER.gevent.socket, "socket", server)
        return LAB_USER.Wire(2, ("127.0.0.1", 8000), None).exchange(b"GET / HTTP/1.1\r\n\r\n", last)


SPELLINGS = {
    "with its length": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n",
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello\n\r\n0\r\n\r\n",
    "until the connection's end": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello\n",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("last", [None, b"\r\n\r\nhello\n"])
def test_an_answer_is_the_same_wherever_it_is_cut(spelling: str, last: bytes | None) -> None:
    whole = SPELLINGS[spelling]
    for cut in range(1, len(whole)):
        answer = exchanged(Server(whole[:cut], whole[cut:]), last)

        assert (answer.status_code, answer.body) == (200, b"hello\n"), f"cut after {whole[:cut]!r}"


def test_a_connection_of_one_request_is_closed_as_soon_as_its_answer_is_there() -> None:
    """Before it is asked for more: a server may wait for its client to close."""
    kept, closed = Server(SPELLINGS["with its length"]), Server(SPELLINGS["with its length"])

    exchanged(kept, None)
    exchanged(closed, b"\r\n\r\nhello\n")

    assert (kept.closed, closed.closed) == (False, True)
    assert closed.sent == [b"GET / HTTP/1.1\r\n\r\n"]


@pytest.mark.parametrize("kept", [0, 1, 20, 43])
def test_an_answer_that_ends_too_early_is_an_error(kept: int) -> None:
    with pytest.raises((OSError, ValueError, HTTPException)):
        exchanged(Server(SPELLINGS["with its length"][:kept]), b"hello\n")


# What a user tells of a request.


def told(by: Any, server: Server, due_ns: int | None = None) -> list[dict[str, Any]]:
    """What Locust's listeners hear of one request that `server` answers."""
    heard: list[dict[str, Any]] = []
    by.environment.events = SimpleNamespace(request=SimpleNamespace(fire=lambda **event: heard.append(event)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LAB_USER.gevent.socket, "socket", server)
        patch.setattr(LAB_USER.gevent, "sleep", lambda _: None)
        by._get(due_ns)
    return heard


def test_a_right_answer_is_told_with_who_asked_and_how_long_it_took() -> None:
    (event,) = told(ready(), Server(SPELLINGS["with its length"]))

    assert event["exception"] is None
    assert event["context"] == {"user": 7}
    assert event["response_length"] == 6
    assert event["response_time"] >= 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhallo\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nhello\n",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"220 mail.invalid ESMTP\r\n",
        b"",
    ],
)
@pytest.mark.parametrize("due_ns", [None, 10**9])
def test_every_other_answer_is_told_as_a_failure(answer: bytes, due_ns: int | None) -> None:
    made = ready()
    server = Server(*([answer] if answer else []))

    (event,) = told(made, server, due_ns)

    assert isinstance(event["exception"], Exception)
    assert server.closed, "the next request has a connection of its own"


def test_the_answer_to_a_request_that_came_too_late_to_count_is_not_told() -> None:
    void = b"HTTP/1.1 503 Service Unavailable\r\nLab-Void: 1\r\nContent-Length: 0\r\n\r\n"

    assert told(ready(), Server(void)) == []


def test_a_scheduled_request_is_told_with_when_it_was_due_and_its_latency_counts_from_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        LAB_USER, "time", SimpleNamespace(monotonic_ns=lambda: 5_000_000, monotonic=lambda: 0.005, time=lambda: 1.0)
    )

    (event,) = told(ready(rate=4), Server(SPELLINGS["with its length"]), due_ns=2_000_000)

    assert event["context"] == {"user": 7, "due_ns": 2_000_000, "begun_ns": 5_000_000}
    assert event["response_time"] == 3.0


def test_a_request_that_is_given_up_is_told_as_such_and_ends_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Server):
        def recv(self, _: int) -> bytes:
            raise LAB_USER.gevent.GreenletExit

    made, server = ready(), Killed()
    heard: list[dict[str, Any]] = []
    made.environment.events = SimpleNamespace(request=SimpleNamespace(fire=lambda **event: heard.append(event)))
    monkeypatch.setattr(LAB_USER.gevent.socket, "socket", server)

    with pytest.raises(LAB_USER.gevent.GreenletExit):
        made._get(None)

    assert [type(event["exception"]) for event in heard] == [LAB_USER.gevent.GreenletExit]
    assert server.closed


def test_a_kept_connection_serves_the_next_request_too() -> None:
    made = ready()
    made._connection = "keep-alive"
    server = Server(SPELLINGS["with its length"], SPELLINGS["with its length"])

    events = told(made, server) + told(made, server)

    assert [event["exception"] for event in events] == [None, None]
    assert len(server.sent) == 2
    assert not server.closed
    assert len(made._wires) == 1
