"""The Flask application under test, its stamp and its work."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

import app as application
import stamp
import work
from dev_server import parser
from stamp import HEADER, StampMiddleware
from waits import Down
from wsgilab.analysis import inflight


@pytest.fixture
def client() -> FlaskClient:
    return application.app.test_client()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the application would have slept."""
    seconds: list[float] = []
    monkeypatch.setattr(application, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


# Routes.


def test_hello_is_a_fixed_text(client: FlaskClient) -> None:
    answer = client.get("/hello")

    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"hello\n", "text/plain")


@pytest.mark.parametrize(
    ("query", "seconds", "body"),
    [
        ("", 0.05, b"slept 50 ms\n"),
        ("?ms=20", 0.02, b"slept 20 ms\n"),
        ("?ms=1.5", 0.0015, b"slept 1.5 ms\n"),
        ("?ms=0", 0.0, b"slept 0 ms\n"),
        ("?ms=60000", 60.0, b"slept 60000 ms\n"),
    ],
)
def test_sleep_waits_as_long_as_asked_for(
    client: FlaskClient, slept: list[float], query: str, seconds: float, body: bytes
) -> None:
    answer = client.get(f"/sleep{query}")

    assert (answer.status_code, answer.data) == (200, body)
    assert slept == [pytest.approx(seconds)]


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("?iterations=0", b"state 0 after 0 iterations\n"),
        ("?iterations=1", b"state 1013904223 after 1 iterations\n"),
        ("?iterations=3", b"state 3519870697 after 3 iterations\n"),
        ("", f"state {work.state_after(50_000)} after 50000 iterations\n".encode()),
    ],
)
def test_cpu_computes_as_many_steps_as_asked_for(client: FlaskClient, query: str, body: bytes) -> None:
    answer = client.get(f"/cpu{query}")

    assert (answer.status_code, answer.data) == (200, body)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the application would have asked its backends."""
    seen: list[Any] = []

    def read_item(item: int, ms: float) -> str:
        seen.append((item, ms))
        return "content"

    def ask_upstream(ms: float) -> str:
        seen.append(ms)
        return f"waited {ms:g} ms\n"

    monkeypatch.setattr(application, "read_item", read_item)
    monkeypatch.setattr(application, "ask_upstream", ask_upstream)
    return seen


@pytest.mark.parametrize(
    ("path", "question", "body"),
    [
        ("/db", (0, 50.0), b"read content after 50 ms\n"),
        ("/db?item=7&ms=2.5", (7, 2.5), b"read content after 2.5 ms\n"),
        ("/db?item=9999", (9999, 50.0), b"read content after 50 ms\n"),
        ("/upstream", 50.0, b"waited 50 ms\n"),
        ("/upstream?ms=2.5", 2.5, b"waited 2.5 ms\n"),
    ],
)
def test_backends_are_asked_what_a_request_says(
    client: FlaskClient, asked: list[Any], path: str, question: object, body: bytes
) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.data, answer.mimetype) == (200, body, "text/plain")
    assert asked == [question]


@pytest.mark.parametrize(("path", "name"), [("/db", "read_item"), ("/upstream", "ask_upstream")])
def test_a_backend_that_is_down_is_told_in_one_line_with_a_stamp(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    def down(*_: object) -> str:
        raise Down("PostgreSQL", "no\n\tsuch   luck")

    monkeypatch.setattr(application, name, down)

    answer = client.get(path)

    assert (answer.status_code, answer.data) == (503, b"PostgreSQL is down: no such luck\n")
    assert HEADER in answer.headers
    assert "Lab-Void" not in answer.headers, "it is a failure"


@pytest.mark.parametrize(("query", "kib"), [("", 1024), ("?kib=0", 0), ("?kib=1", 1), ("?kib=100", 100)])
def test_a_large_answer_has_so_many_kib_in_lines_that_all_differ(client: FlaskClient, query: str, kib: int) -> None:
    answer = client.get(f"/large{query}")

    assert (answer.status_code, len(answer.data)) == (200, kib * 1024)
    lines = answer.data.splitlines()
    assert len(set(lines)) == len(lines) == kib * 16


def test_a_large_answer_is_made_once() -> None:
    assert application._lines(8) is application._lines(8)


def test_calibrate_tells_the_iterations_for_so_many_milliseconds(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "iterations_for", lambda cpu_ms: round(cpu_ms * 1000))

    assert client.get("/calibrate?ms=2.5").data == b"2500\n"
    assert client.get("/calibrate").data == b"5000\n"


def test_lab_tells_what_the_server_is_in_effect(client: FlaskClient) -> None:
    told = client.get("/lab").get_json()

    assert told["pid"] == os.getpid()
    assert told["cpus"] == sorted(os.sched_getaffinity(0))
    assert told["python"].count(".") == 2
    assert told["packages"]["flask"] == metadata.version("flask")
    assert told["packages"]["typing-extensions"] == metadata.version("typing_extensions"), "whatever is installed"
    assert "eventlet" not in told["packages"], "it is not installed beside the tests"
    assert "pip" not in told["packages"], "which only made the environment"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/sleep?ms=-1", b"ms must be a number from 0 to 60000"),
        ("/sleep?ms=60001", b"ms must be a number from 0 to 60000"),
        ("/sleep?ms=long", b"ms must be a number from 0 to 60000"),
        ("/sleep?ms=", b"ms must be a number from 0 to 60000"),
        ("/sleep?ms=nan", b"ms must be a number from 0 to 60000"),
        ("/sleep?ms=inf", b"ms must be a number from 0 to 60000"),
        ("/cpu?iterations=-1", b"iterations must be a number from 0 to 1e+09"),
        ("/cpu?iterations=1000000001", b"iterations must be a number from 0 to 1e+09"),
        ("/cpu?iterations=1.5", b"iterations must be a whole number"),
        ("/calibrate?ms=10001", b"ms must be a number from 0 to 10000"),
        ("/db?ms=60001", b"ms must be a number from 0 to 60000"),
        ("/db?item=10000", b"item must be a number from 0 to 9999"),
        ("/db?item=1.5", b"item must be a whole number"),
        ("/upstream?ms=60001", b"ms must be a number from 0 to 60000"),
        ("/large?kib=65537", b"kib must be a number from 0 to 65536"),
        ("/large?kib=0.5", b"kib must be a whole number"),
    ],
)
def test_a_bad_argument_is_answered_with_400_and_what_would_be_right(
    client: FlaskClient, slept: list[float], asked: list[Any], path: str, message: bytes
) -> None:
    answer = client.get(path)

    assert answer.status_code == 400
    assert message in answer.data
    assert slept == asked == []


# The stamp.


@pytest.mark.parametrize("path", ["/hello", "/cpu?iterations=5", "/lab", "/large?kib=1", "/sleep?ms=bad", "/nowhere"])
def test_every_answer_carries_one_stamp_of_who_served_it_and_when(client: FlaskClient, path: str) -> None:
    before_ns = time.monotonic_ns()
    (header,) = client.get(path).headers.getlist("Lab-Stamp")
    after_ns = time.monotonic_ns()

    found = inflight.parse_stamp(header)
    assert (found.process, found.thread, found.greenlet_id) == (
        os.getpid(),
        threading.get_native_id(),
        threading.get_ident(),
    )
    assert before_ns <= found.entered_ns <= found.left_ns <= after_ns


def test_a_stamp_spans_what_the_application_does(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    monkeypatch.setattr(application, "time", SimpleNamespace(sleep=lambda _: inside.append(time.monotonic_ns())))

    found = inflight.parse_stamp(client.get("/sleep").headers["Lab-Stamp"])

    assert found.entered_ns <= inside[0] <= found.left_ns


def test_two_threads_have_two_stamps(client: FlaskClient) -> None:
    headers = [client.get("/hello").headers["Lab-Stamp"]]
    other = threading.Thread(
        target=lambda: headers.append(application.app.test_client().get("/hello").headers["Lab-Stamp"])
    )
    other.start()
    other.join()

    here, there = map(inflight.parse_stamp, headers)
    assert here.process == there.process
    assert here.thread != there.thread


def test_the_middleware_passes_on_environment_status_headers_and_body() -> None:
    body = [b"one", b"two"]
    seen: list[dict[str, Any]] = []
    answered: list[Any] = []

    def inner(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.append(environ)
        start_response("418 I'm a teapot", [("X-Kept", "yes")])
        return body

    environ = {"PATH_INFO": "/x"}
    returned = StampMiddleware(inner)(environ, lambda *given: answered.extend(given))

    assert returned is body
    assert seen == [environ]
    status, headers, exc_info = answered
    assert (status, headers[0], exc_info) == ("418 I'm a teapot", ("X-Kept", "yes"), None)
    assert [name for name, _ in headers[1:]] == [HEADER]


def test_the_headers_that_an_application_passes_stay_its_own() -> None:
    """It may pass the same list each time."""
    headers = [("X-Kept", "yes")]
    answered: list[list[tuple[str, str]]] = []

    def inner(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return []

    for _ in range(2):
        StampMiddleware(inner)({}, lambda _status, given, _exc_info: answered.append(given))

    assert headers == [("X-Kept", "yes")]
    assert [[name for name, _ in given] for given in answered] == [["X-Kept", HEADER]] * 2


def test_a_response_that_is_begun_again_after_an_error_is_passed_on_as_such_with_a_stamp_of_its_own() -> None:
    answered: list[Any] = []
    trouble = (ValueError, ValueError(), None)

    def inner(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("500 Oh", [], trouble)
        return []

    StampMiddleware(inner)({}, lambda *given: answered.append(given))

    assert [(status, exc_info) for status, _, exc_info in answered] == [("200 OK", None), ("500 Oh", trouble)]
    assert all([name for name, _ in headers] == [HEADER] for _, headers, _ in answered)


def test_an_application_that_raises_is_not_answered_for() -> None:
    def inner(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise KeyError("x")

    with pytest.raises(KeyError):
        StampMiddleware(inner)({}, lambda *_: pytest.fail("no response was begun"))


def test_the_application_is_given_what_the_server_gives_for_beginning_a_response() -> None:
    written: list[bytes] = []

    def inner(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])(b"written")
        return []

    StampMiddleware(inner)({}, lambda *_: written.append)

    assert written == [b"written"]


# Requests that came too late to count.


def void_after(at_ns: object) -> dict[str, str]:
    return {"Lab-Void-After": str(at_ns)}


def test_a_request_that_enters_too_late_to_count_is_answered_at_once_and_marked(
    client: FlaskClient, slept: list[float]
) -> None:
    answer = client.get("/sleep", headers=void_after(time.monotonic_ns() - 1))

    assert (answer.status_code, answer.data) == (503, b"")
    assert answer.headers["Lab-Void"] == "1"
    assert answer.headers["Content-Length"] == "0"
    assert HEADER not in answer.headers
    assert slept == [], "the application was not asked"


def test_the_application_never_sees_a_request_that_is_void() -> None:
    answered: list[Any] = []

    body = StampMiddleware(lambda *_: pytest.fail("the application was asked"))(
        {"HTTP_LAB_VOID_AFTER": "1"}, lambda *given: answered.append(given)
    )

    # Hypercorn answers 500 for a body without a single chunk.
    assert list(body) == [b""]
    assert answered == [("503 Service Unavailable", [("Lab-Void", "1"), ("Content-Length", "0")])]


def test_the_headers_of_one_void_answer_are_not_those_of_the_next() -> None:
    """Servers may add to the list that they are given."""
    middleware = StampMiddleware(lambda *_: [])
    given: list[list[tuple[str, str]]] = []
    for _ in range(2):
        middleware({"HTTP_LAB_VOID_AFTER": "1"}, lambda _, headers: given.append(headers))
        given[-1].append(("Server", "x"))

    assert len(given[1]) == 3


def test_a_request_that_enters_in_time_is_served_however_long_it_then_takes(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = 1000
    monkeypatch.setattr(stamp, "time", SimpleNamespace(monotonic_ns=lambda: now_ns))

    def sleep(_: float) -> None:
        nonlocal now_ns
        now_ns = 2000

    monkeypatch.setattr(application, "time", SimpleNamespace(sleep=sleep))

    answer = client.get("/sleep", headers=void_after(1000))

    assert (answer.status_code, answer.data) == (200, b"slept 50 ms\n")
    assert answer.headers[HEADER].endswith(" 1000 2000")


@pytest.mark.parametrize(("entered_ns", "status"), [(999, 200), (1000, 200), (1001, 503)])
def test_a_request_is_void_only_after_the_moment_that_it_names(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, entered_ns: int, status: int
) -> None:
    monkeypatch.setattr(stamp, "time", SimpleNamespace(monotonic_ns=lambda: entered_ns))

    assert client.get("/hello", headers=void_after(1000)).status_code == status


@pytest.mark.parametrize("malformed", ["", " ", "soon", "-1", "1.5", "1e3", "0x1", "1 2", "1,2"])
def test_a_header_that_names_no_moment_voids_nothing(client: FlaskClient, malformed: str) -> None:
    answer = client.get("/hello", headers=void_after(malformed))

    assert (answer.status_code, answer.data) == (200, b"hello\n")
    assert "Lab-Void" not in answer.headers
    inflight.parse_stamp(answer.headers[HEADER])


@pytest.mark.parametrize("malformed", ["²", "\xff", "9" * 5000])
def test_a_header_as_hostile_as_wsgi_allows_is_no_error(malformed: str) -> None:
    """A server hands headers over as Latin-1 text, of whatever length it takes."""
    answered: list[Any] = []

    def inner(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return []

    StampMiddleware(inner)({"HTTP_LAB_VOID_AFTER": malformed}, lambda *given: answered.append(given[0]))

    assert len(answered) == 1


# The work.


def test_the_work_is_the_published_sequence() -> None:
    """The first states from 0, as Numerical Recipes prints them (2nd ed., section 7.1, "Quick and dirty")."""
    published = [0x3C6EF35F, 0x47502932, 0xD1CCF6E9, 0xAAF95334, 0x6252E503, 0x9F2EC686, 0x57FE6C2D, 0xA3D95FA8]

    assert [work.state_after(steps) for steps in range(1, 9)] == published


class Clock:
    """CPU time that passes only while work is done: 2 microseconds an iteration, more when disturbed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        self.tried: list[int] = []
        monkeypatch.setattr(work, "time", SimpleNamespace(thread_time_ns=lambda: self.now_ns))
        monkeypatch.setattr(work, "state_after", self.work)

    def work(self, iterations: int) -> None:
        """Every third round is undisturbed."""
        self.now_ns += iterations * (2000 if len(self.tried) % 3 == 0 else 3400)
        self.tried.append(iterations)


@pytest.mark.parametrize(("cpu_ms", "iterations"), [(2.0, 1000), (5.0, 2500), (0.0001, 1)])
def test_calibration_goes_by_the_fastest_round(monkeypatch: pytest.MonkeyPatch, cpu_ms: float, iterations: int) -> None:
    Clock(monkeypatch)

    assert work.iterations_for(cpu_ms) == iterations


def test_calibration_takes_several_rounds_each_long_enough_for_the_clock_and_not_much_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)

    work.iterations_for(1.0)

    chosen = clock.tried[-1]
    assert 4.0 <= chosen * 3400 / 1e6 < 4.0 * 2 * 1.7
    assert clock.tried.count(chosen) >= 9
    assert all(iterations < chosen for iterations in clock.tried[: -clock.tried.count(chosen)])


# The development server.


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["--threaded"], {"threaded": True}),
        (["--no-threaded"], {"threaded": False}),
        (["--no-threaded", "--processes=3"], {"threaded": False, "processes": 3}),
    ],
)
def test_the_development_server_passes_on_only_what_it_was_given(words: list[str], given: dict[str, Any]) -> None:
    assert vars(parser.parse_args(words)) == given
