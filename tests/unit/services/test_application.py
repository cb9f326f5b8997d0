"""The Flask application under test and its work."""

import zlib
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

import app as application
import work
from waits import Down


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
def test_a_backend_that_is_down_is_told_in_one_line(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    def down(*_: object) -> str:
        raise Down("PostgreSQL", "no\n\tsuch   luck")

    monkeypatch.setattr(application, name, down)

    answer = client.get(path)

    assert (answer.status_code, answer.data) == (503, b"PostgreSQL is down: no such luck\n")
    assert "Lab-Void" not in answer.headers, "it is a failure"


@pytest.mark.parametrize(("query", "kib"), [("", 1024), ("?kib=0", 0), ("?kib=1", 1), ("?kib=100", 100)])
def test_a_large_answer_has_so_many_kib_in_lines_that_all_differ(client: FlaskClient, query: str, kib: int) -> None:
    answer = client.get(f"/large{query}")

    assert (answer.status_code, len(answer.data)) == (200, kib * 1024)
    lines = answer.data.splitlines()
    assert len(set(lines)) == len(lines) == kib * 16


def test_a_stream_has_its_first_event_at_once_and_a_pause_before_each_other_one(
    client: FlaskClient, slept: list[float]
) -> None:
    answer = client.get("/stream?events=3&every_ms=40")

    assert answer.data.split(b"\n\n") == [b"id: %d\ndata: event %d of 3" % (each, each) for each in (1, 2, 3)] + [b""]
    assert answer.mimetype == "text/event-stream"
    assert slept == [0.04, 0.04]


def test_an_upload_is_read_whole_and_answered_with_its_size_and_checksum(client: FlaskClient) -> None:
    answer = client.post("/upload", data=b"x" * 200_000)

    assert answer.data == b"read 200000 bytes, checksum %08x\n" % zlib.crc32(b"x" * 200_000)


def test_a_large_answer_is_made_once() -> None:
    assert application._lines(8) is application._lines(8)


def test_calibrate_tells_the_iterations_for_so_many_milliseconds(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "iterations_for", lambda cpu_ms: round(cpu_ms * 1000))

    assert client.get("/calibrate?ms=2.5").data == b"2500\n"
    assert client.get("/calibrate").data == b"5000\n"


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
