"""The generator as it runs, against a small target on a "machine" whose clock is days ahead, or that is far away.

Processes of their own, on this machine: what two machines have of their own is a clock, a delay and a name.
"""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import psutil
import pytest
import yaml

from tests.elsewhere import BEHIND_NS, DAY_NS, clock_server, delayed
from wsgilab import testing
from wsgilab.load.client import START_S, LocustSwarm
from wsgilab.load.samples import LATE_PAGE
from wsgilab.model import Idle, TrialReport, TrialSpec, Usage
from wsgilab.model.errors import EngineError, SwarmError
from wsgilab.system.process import JsonChannel
from wsgilab.web.client import LabUI, Loading
from wsgilab_door import stamp
from wsgilab_door.late import LateFile
from wsgilab_door.pages import Pages

pytestmark = pytest.mark.lab

PROJECT = Path(__file__).resolve().parents[2]
CORES = sorted(os.sched_getaffinity(0))
SLOTS = 4
SLEEP_S = 0.05
ENDS_S = 60.0
"""What is to end at once may take so long on a busy machine."""
MOST_S = 4.0
"""A reading that took longer than LONGEST_READING_S would be late."""
OTHER_TIME = "the Lab-Stamp header is of another time: the answer comes from a cache, or the server has another clock"


# --- a target


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def target(ahead_ns: int, monkeypatch: pytest.MonkeyPatch, worked: Callable[[], None] = lambda: None) -> Iterator[int]:
    """The port of a target of four slots, on a machine whose clock is so much ahead. `worked` is told of each request that
    it has done something for."""
    monkeypatch.setattr(stamp, "time", SimpleNamespace(monotonic_ns=lambda: time.monotonic_ns() + ahead_ns))
    slots = threading.Semaphore(SLOTS)

    def application(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == LATE_PAGE:
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        sleeps = environ["PATH_INFO"] == "/sleep"
        if sleeps:
            time.sleep(SLEEP_S)
        worked()
        body = b"slept 50 ms\n" if sleeps else b"hello\n"
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    stamped = stamp.StampMiddleware(application)

    def limited(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        with slots:
            return stamped(environ, start_response)

    server = _Server(("127.0.0.1", 0), _Handler)
    server.set_app(limited)
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def sleeping(port: int, users: int = 12) -> TrialSpec:
    return TrialSpec(
        locustfile="sleep",
        base_url=f"http://127.0.0.1:{port}",
        users=users,
        rate=None,
        window_s=0.6,
        patience_s=30,
        options={"connection": "close", "sleep_ms": 50.0, "request_timeout": 0},
    )


def at_40(port: int) -> TrialSpec:
    options: Mapping[str, str | float | int] = {
        "connection": "close",
        "request_timeout": 0,
        "rate": 40.0,
        "arrivals": "constant",
    }
    return replace(sleeping(port), locustfile="hello", users=1, rate=40.0, options=options)


# --- generators


def python(log: Path, core: int, *words: str) -> JsonChannel:
    environment = {**os.environ, "PYTHONWARNINGS": ""}
    return JsonChannel([sys.executable, *words], cwd=PROJECT, env=environment, cpus={core}, log=log)


def channel(log: Path, core: int, *words: str) -> JsonChannel:
    return python(log, core, "-m", *words)


@contextmanager
def generator(log: Path, *words: str) -> Iterator[LocustSwarm]:
    started = channel(log, CORES[0], "wsgilab.load.driver", *words)
    try:
        yield LocustSwarm(started, frozenset(CORES[:1]))
    finally:
        started.end()


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocustSwarm]:
    """One for all tests in which nothing but the target is odd."""
    with generator(tmp_path_factory.mktemp("generator") / "log") as started:
        yield started


@pytest.fixture(scope="module", params=["one-process", "two-machines"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocustSwarm]:
    """A generator of one process, and one with a worker on another machine too."""
    if request.param == "one-process":
        yield request.getfixturevalue("swarm")
    else:
        with two_machines(tmp_path_factory.mktemp("machines") / "log", free_port()) as (started, _, _):
            yield started


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def nothing() -> None:
    """What happens at a window's ends."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def loaded(
    swarm: LocustSwarm,
    order: TrialSpec,
    at_window: Callable[[], None] = nothing,
    at_close: Callable[[], None] = nothing,
    fewest: int = 12,
    unanswered: int = 2,
) -> TrialReport:
    """A trial in whose window so many answers were given, and no more than so many users had none: on a busy machine target or
    generator may have no CPU for longer than a window lasts, and then the next one counts."""
    for _ in range(5):
        report = swarm.load(order, at_window, at_close)
        if report.completed >= fewest and report.unanswered <= unanswered:
            break
    return report


def check_counts(report: TrialReport) -> None:
    """What holds of a target of four slots on a busy machine too, of a trial that was `loaded`."""
    assert report.in_flight.peak == SLOTS
    # One or two of twelve may have to wait for their first answer until so short a window has ended.
    assert (report.failures, report.cut_off) == (0, 0)
    assert report.unanswered <= 2
    assert report.received_bytes == report.completed * len("slept 50 ms\n")
    # Users of two processes are two.
    assert report.busiest_user is not None
    assert report.busiest_user <= report.completed / 2
    # On a busy machine the load may settle only as a short window ends, and then no request has a latency.
    if report.parts is not None:
        assert report.parts.latency_mean == pytest.approx(report.latency_mean_ms, rel=0.001)
        assert SLEEP_S * 1000 <= report.parts.service.mean < report.parts.latency_mean


def check_four_slots(report: TrialReport, users: int = 12) -> None:
    check_counts(report)
    assert report.parts is not None
    assert 0.5 * SLOTS / SLEEP_S < report.throughput_rps <= SLOTS / SLEEP_S * 1.05
    assert report.in_flight.mean > 0.8 * SLOTS
    assert report.throughput_rps * report.latency_mean_ms / 1000 == pytest.approx(users, rel=0.2)
    assert 0 < report.generator_cpu < 1


# --- servers that answer as they should not


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """The port of a server that gives one answer after the other, a connection each, and closes it without having said so."""
    turn = itertools.cycle(answers)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard = self.request.recv(1 << 16)
            if heard.startswith(f"GET {LATE_PAGE} ".encode()):
                self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            elif heard:
                now_ns = time.monotonic_ns()
                self.request.sendall(next(turn).replace(b"NOW", b"1 1 1 %d %d" % (now_ns, now_ns + 1)))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

        def shutdown_request(self, request: Any) -> None:
            # In one step: between its two halves a busy machine may pass for a server that has read the next request.
            self.close_request(request)

    with Server(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join()


@contextmanager
def streaming(told: bool = True) -> Iterator[int]:
    """The port of a server of four slots that sends a body SLEEP_S after its head, and tells that, unless it fails to."""
    slots, late = threading.Semaphore(SLOTS), SimpleNamespace(lines=[])

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard = self.request.recv(1 << 16)
            if heard.startswith(f"GET {LATE_PAGE} ".encode()):
                body, late.lines = "".join(late.lines).encode(), []
                status = b"200 OK" if told else b"500 Internal Server Error"
                self.request.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
            elif heard:
                with slots:
                    self.stream()

        def stream(self) -> None:
            now_ns, thread = time.monotonic_ns(), threading.get_native_id()
            stamp = f"1 {thread} {thread} {now_ns} {now_ns + 1}"
            self.request.sendall(hello(stamp).removesuffix(b"hello\n"))
            time.sleep(SLEEP_S)
            late.lines.append(f"{stamp} {time.monotonic_ns()}\n")
            self.request.sendall(b"hello\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join()


def hello(stamps: str) -> bytes:
    """An answer to `/hello` with these stamps, one a line; `NOW` is a right one."""
    lines = "".join(f"Lab-Stamp: {stamp}\r\n" for stamp in stamps.splitlines())
    return f"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n{lines}\r\nhello\n".encode("latin-1")


def greeting(port: int, **options: str | float | int) -> TrialSpec:
    plain: Mapping[str, str | float | int] = {"connection": "close", "request_timeout": 0}
    return replace(sleeping(port, users=8), locustfile="hello", window_s=0.3, options={**plain, **options})


def test_an_answer_with_whatever_stamps_is_a_failed_request_and_the_generator_goes_on(
    monkeypatch: pytest.MonkeyPatch, swarm: LocustSwarm
) -> None:
    odd = ("", "1 1 1 1", "\xff\xb2", "NOW\n1 2 3 4 5", "1 1 1 9223372036854775807 9223372036854775807", "NOW, NOW")
    with ExitStack() as up:
        port = up.enter_context(answering(*map(hello, [*odd, "NOW\nNOW"])))
        report = loaded(swarm, greeting(port), fewest=1, unanswered=8)
        check_counts(loaded(swarm, sleeping(up.enter_context(target(0, monkeypatch)))))

    assert set(report.errors) == {
        "ValueError: the answer has no Lab-Stamp header",
        "ValueError: '1 1 1 1' is no stamp",
        "ValueError: 'ÿ²' is no stamp",
        "ValueError: the answer has Lab-Stamp headers of 2 requests",
        f"ValueError: {OTHER_TIME}",
    }
    assert report.completed > 0, "two stamps of one request are those of an answer that was begun anew"


@pytest.mark.alone
def test_a_stream_is_in_flight_until_its_last_byte_because_its_target_tells(either: LocustSwarm) -> None:
    with streaming() as port:
        reports = [either.load(replace(greeting(port), window_s=0.6), nothing, nothing) for _ in range(2)]

    for report in reports:
        assert report.failures == report.cut_off == 0
        assert report.in_flight.peak == SLOTS
        assert report.in_flight.mean == pytest.approx(SLOTS, rel=0.1)
        assert report.service_ms == pytest.approx(SLEEP_S * 1000, rel=0.1)
        assert report.parts is not None
        # Eight users of four slots: each waits once for another.
        assert report.parts.queue.mean == pytest.approx(SLEEP_S * 1000, rel=0.2)
        assert report.parts.latency_mean == pytest.approx(report.latency_mean_ms, rel=0.001)


def test_where_a_target_does_not_tell_what_left_later_nothing_is_concluded_from_its_answers(
    swarm: LocustSwarm,
) -> None:
    with streaming(told=False) as port:
        report = swarm.load(greeting(port), nothing, nothing)

    [(error, count)] = report.errors.items()
    assert error.startswith(f"{LATE_PAGE}, which tells what left later, cannot be read: it answered with status 500")
    assert count == report.failures > report.completed == 0


def test_a_server_that_closes_kept_connections_unannounced_fails_no_request(swarm: LocustSwarm) -> None:
    with answering(hello("NOW")) as port:
        kept, closed = (loaded(swarm, greeting(port, connection=mode), fewest=1) for mode in ("keep-alive", "close"))

    assert kept.failures == closed.failures == 0
    assert kept.completed > 0
    # All but the first request of each user, at least of those that counted.
    assert kept.reopened is not None
    assert kept.reopened >= kept.completed - 8
    assert closed.reopened == 0


@contextmanager
def holding(folder: Path) -> Iterator[int]:
    """The port of a server of four slots, of which a connection has one from when it is accepted; requests are noted."""
    slots, late = threading.Semaphore(SLOTS), LateFile(str(folder / "late"))

    def application(_: Mapping[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        time.sleep(SLEEP_S)
        start_response("200 OK", [("Content-Length", "12")])
        return [b"slept 50 ms\n"]

    class Handler(_Handler):
        def handle(self) -> None:
            with slots:
                super().handle()

    server = _Server(("127.0.0.1", 0), Handler)
    server.set_app(Pages(stamp.StampMiddleware(application, late), late))
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.alone
def test_silence_and_giving_up_are_those_of_all_processes_together(either: LocustSwarm, tmp_path: Path) -> None:
    with holding(tmp_path) as port:
        plain = sleeping(port)
        silent = either.load(replace(plain, idle=Idle(connections=2)), nothing, nothing)
        impatient = either.load(replace(plain, options={**plain.options, "abandon_ms": 80.0}), nothing, nothing)
        patient = either.load(plain, nothing, nothing)

    assert silent.idle is not None
    assert (silent.idle.opened, silent.idle.closed, silent.idle.refused) == (2, 0, 0)
    assert silent.idle.open == pytest.approx(2, abs=0.01)
    assert (silent.in_flight.peak, silent.failures) == (SLOTS - 2, 0)
    # Twelve users of four slots: some wait for 150 ms.
    assert impatient.abandoned
    assert impatient.failures == impatient.cut_off == 0
    assert impatient.in_flight.peak == SLOTS
    assert impatient.wasted_work is not None
    assert 0 < impatient.wasted_work <= 1
    # And nothing of it is left over for the next trial.
    check_counts(patient)
    assert (patient.idle, patient.abandoned, patient.wasted_work) == (None, None, None)


# --- Locust files


@contextmanager
def generator_in(folder: Path, log: Path, cores: Sequence[int]) -> Iterator[LocustSwarm]:
    """One that finds its Locust files there."""
    started = JsonChannel(
        [sys.executable, "-m", "wsgilab.load.driver"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": ""},
        cpus=set(cores),
        log=log,
    )
    try:
        yield LocustSwarm(started, frozenset(cores))
    finally:
        started.end()


@pytest.mark.skipif(len(CORES) < 2, reason="a generator on several cores needs them")
@pytest.mark.parametrize(
    ("cores", "body", "told"),
    [
        (CORES[:1], "    pass\n", "mine.py: AttributeError: 'Mine' object has no attribute 'get'"),
        (
            CORES[:2],
            "    def on_start(self):\n        self.get = 1 / 0\n",
            "mine.py, line 4: ZeroDivisionError: division by zero",
        ),
    ],
    ids=["one-core", "two-cores"],
)
def test_a_locust_file_is_loaded_by_its_path_and_what_is_wrong_with_it_or_its_users_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, log: Path, tmp_path: Path, cores: Sequence[int], body: str, told: str
) -> None:
    folder = tmp_path / "locustfiles"
    shutil.copytree(PROJECT / "locustfiles", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, first in (("json", ""), ("fractions", ""), ("shares", "from fractions import Fraction\n")):
        text = f"import sleep\nfrom lab_user import LabUser\n\n\nclass {name.title()}(LabUser):\n    get = sleep.get(50.0)\n"
        (folder / f"{name}.py").write_text(first + text)
    (folder / "broken.py").write_text("import json\n\njson.dumps(object())\n")
    (folder / "copied.py").write_text("from lab_user import LabUser\n\n\nclass Hello(LabUser):\n    pass\n")
    (folder / "mine.py").write_text(f"from lab_user import LabUser\nclass Mine(LabUser):\n{body}")
    with target(0, monkeypatch) as port, generator_in(tmp_path, log, cores) as swarm:
        order = sleeping(port)
        broken = r"the generator failed: locustfiles/broken\.py, line 3: TypeError: Object of type object is not "
        with pytest.raises(SwarmError, match=broken):
            swarm.load(replace(order, locustfile="broken"), nothing, nothing)
        for locustfile in ("json", "fractions", "shares", "sleep"):
            check_counts(loaded(swarm, replace(order, locustfile=locustfile)))
        if len(cores) > 1:
            twice = r"locustfiles/hello\.py: another Locust file has a Hello too: rename one$"
            with pytest.raises(SwarmError, match=twice):
                swarm.load(replace(order, locustfile="hello"), nothing, nothing)
        with pytest.raises(SwarmError) as caught:
            swarm.load(replace(order, locustfile="mine", patience_s=60), nothing, nothing)
    assert caught.value.message == f"the generator failed: locustfiles/{told}"


# --- another clock


@pytest.mark.alone
@pytest.mark.parametrize("ahead_ns", [3 * DAY_NS, BEHIND_NS], ids=["ahead", "behind"])
def test_a_trial_measures_the_same_whatever_the_clock_of_the_targets_machine(
    monkeypatch: pytest.MonkeyPatch, log: Path, ahead_ns: int
) -> None:
    with ExitStack() as up:
        port, asked = up.enter_context(target(ahead_ns, monkeypatch)), up.enter_context(clock_server(ahead_ns))
        swarm = up.enter_context(generator(log, "--clock-server", f"127.0.0.1:{asked}"))
        closed, scheduled = (swarm.load(order, nothing, nothing) for order in (sleeping(port), at_40(port)))
        crowded = swarm.load(replace(sleeping(port, users=40), window_s=0.3), nothing, nothing)

    check_four_slots(closed)
    assert closed.window_s == pytest.approx(0.6, abs=0.3)
    assert 0 <= closed.settling_s < 1
    assert scheduled.failures == scheduled.cut_off == 0
    assert scheduled.due == pytest.approx(24, abs=1)
    assert scheduled.throughput_rps == pytest.approx(40, rel=0.15)
    assert 0 < scheduled.latency_ms["p50"] < 100
    for report in (closed, scheduled):
        assert report.round_trip_ms is not None
        assert 0 < report.round_trip_ms < 20
        assert report.sent_segments is not None
        assert report.sent_segments > report.completed
        assert report.resent_segments is not None
    # Requests after the window are void by the clock there. Else all requests would be, or none, and the queue would be
    # worked off for nothing: ten rounds of the four slots would be 0.5 s.
    assert crowded.failures == 0
    assert crowded.drain_s < 0.35


# --- far away


@pytest.mark.alone
def test_measured_concurrency_is_right_however_far_away_the_target_is(
    monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    with ExitStack() as up:
        port = up.enter_context(target(DAY_NS, monkeypatch))
        far = up.enter_context(delayed(port, 0.02))
        asked = up.enter_context(delayed(up.enter_context(clock_server(DAY_NS)), 0.02))
        swarm = up.enter_context(generator(log, "--clock-server", f"127.0.0.1:{asked}"))
        link = swarm.link()
        # Each slot needs a new request every 50 ms, and each user brings one every 130 at best.
        report = swarm.load(sleeping(far, users=16), nothing, nothing)

    assert report.in_flight.peak == SLOTS
    assert report.failures == report.cut_off == report.unanswered == 0
    assert report.throughput_rps > 0.5 * SLOTS / SLEEP_S
    assert report.latency_ms["p50"] > 130
    for round_trip_ms in (report.round_trip_ms, link.round_trip_ms):
        assert round_trip_ms == pytest.approx(40, rel=0.5)
        assert round_trip_ms is not None
        assert round_trip_ms >= 40
    assert link.bandwidth_mbps > 1


def test_without_a_clock_server_there_is_no_link_to_tell_of(
    monkeypatch: pytest.MonkeyPatch, swarm: LocustSwarm
) -> None:
    with target(0, monkeypatch) as port:
        report = loaded(swarm, sleeping(port))
        with pytest.raises(SwarmError, match="there is no clock server to read"):
            swarm.link()
    check_counts(report)
    assert report.round_trip_ms is report.sent_segments is report.resent_segments is None


# Less patient than the generator is.
IMPATIENT = """
import wsgilab.load.reachability as reachability
reachability.RETRY_S, reachability.AFTER_S = 1.0, 0.5
import wsgilab.load.driver as driver
driver.main()
"""


def test_a_targets_machine_that_is_lost_fails_the_trial_in_a_line_and_the_next_may_succeed(
    monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    """Before a trial, and during one."""
    asked = free_port()
    lost = rf"the generator failed: the targets' machine is not reached any more at 127\.0\.0\.1:{asked}: "
    with ExitStack() as up:
        port = up.enter_context(target(0, monkeypatch))
        started = python(log, CORES[0], "-c", IMPATIENT, "--clock-server", f"127.0.0.1:{asked}")
        up.callback(started.end)
        swarm = LocustSwarm(started, frozenset(CORES[:1]))
        link = up.enter_context(ExitStack())
        link.enter_context(clock_server(port=asked))
        swarm.load(sleeping(port), nothing, nothing)
        with pytest.raises(SwarmError, match=lost):
            swarm.load(sleeping(port), nothing, link.close)
        begin = time.monotonic()
        with pytest.raises(SwarmError, match=lost) as caught:
            swarm.load(sleeping(port), nothing, nothing)
        assert "\n" not in caught.value.message
        assert time.monotonic() - begin > 0.9
        link.enter_context(clock_server(port=asked))
        check_counts(loaded(swarm, sleeping(port)))


# --- workers on another machine


@contextmanager
def remote_workers(log: Path, port: int, *words: str, kind: str = "swarm") -> Iterator[JsonChannel]:
    """Remote workers: one, on one core."""
    argv = ["wsgilab.load.remote_workers", kind, "127.0.0.1", str(port), "--machine", "beta", *words]
    started = channel(log, CORES[-1], *argv)
    try:
        assert started.receive(START_S) == {"event": "ready", "cpus": CORES[-1:]}
        yield started
    finally:
        started.end()


def workers(of: int) -> list[psutil.Process]:
    return psutil.Process(of).children(recursive=True)


def connections(to: int, of: psutil.Process) -> int:
    """The most that a process has open at once, of several looks: between two requests a user has none."""
    looks = []
    for _ in range(10):
        looks.append(sum(bool(each.raddr) and each.raddr.port == to for each in of.net_connections("tcp")))
        time.sleep(0.02)
    return max(looks)


@contextmanager
def two_machines(
    log: Path, port: int, words: Sequence[str] = (), others_port: int | None = None, others_words: Sequence[str] = ()
) -> Iterator[tuple[LocustSwarm, JsonChannel, JsonChannel]]:
    """The generator with a worker of its own, and a remote one, which may have to come another way."""
    argv = ["--listen", str(port), "--workers", "1", *words]
    started = channel(log, CORES[0], "wsgilab.load.driver", *argv)
    try:
        with remote_workers(log, others_port or port, *(others_words or words)) as other:
            yield LocustSwarm(started, frozenset(CORES[:1])), started, other
    finally:
        started.end()


def test_load_goes_on_until_the_lab_has_read_what_the_target_used(
    monkeypatch: pytest.MonkeyPatch, either: LocustSwarm
) -> None:
    """Over a slow link, that takes a while: always, or only this time."""
    reading_s = 0.4
    worked: list[float] = []
    while_read: list[int] = []

    def read() -> None:
        begin = time.monotonic()
        time.sleep(reading_s)
        # What was in the queue when the window ended is worked off in any case. On a busy machine nobody may have asked by now:
        # the load goes on.
        while not (later := sum(begin + reading_s / 2 <= at for at in worked)) and time.monotonic() < begin + MOST_S:
            time.sleep(0.05)
        while_read.append(later)

    with target(0, monkeypatch, lambda: worked.append(time.monotonic())) as port:
        for order in (sleeping(port), at_40(port)):
            for at_window in (nothing, read):
                report = loaded(either, order, at_window, read)

                assert while_read[-1] > 0
                assert report.held_s >= reading_s
                assert not report.read_late
                # And it counts for nothing: there would be two thirds more.
                assert report.failures == report.cut_off == 0
                if order.rate:
                    assert 0 < report.due <= 25
                    # What comes late comes in a crowd.
                    if report.latency_ms["max"] < 100:
                        assert report.throughput_rps < 1.4 * order.rate
                else:
                    assert report.throughput_rps < 1.4 * SLOTS / SLEEP_S
                    check_counts(report)


# It would wait for longer than the test does.
PATIENT = "import wsgilab.load.window as window, wsgilab.load.driver as driver; window.LONGEST_READING_S = 600.0; driver.main()"


def test_a_generator_whose_lab_goes_while_it_reads_ends(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    with ExitStack() as up:
        port = up.enter_context(target(0, monkeypatch))
        started = python(log, CORES[0], "-c", PATIENT)
        up.callback(started.end)
        swarm = LocustSwarm(started, frozenset(CORES[:1]))

        def go() -> None:
            started._input.close()
            raise EngineError("as where the lab is killed: nothing more is said")

        with pytest.raises(EngineError):
            swarm.load(sleeping(port), nothing, go)

        assert started._popen.wait(timeout=ENDS_S) == 0


@pytest.mark.alone
def test_users_are_spread_over_machines_and_what_they_saw_is_merged(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """Also where one of the machines is far away from both others."""
    one_way_s = 0.05
    seen: list[int] = []
    with ExitStack() as up:
        port, listened = up.enter_context(target(DAY_NS, monkeypatch)), free_port()
        asked = up.enter_context(clock_server(DAY_NS))
        far, far_asked = ((up.enter_context(delayed(each, one_way_s))) for each in (listened, asked))
        words, others_words = (["--clock-server", f"127.0.0.1:{each}"] for each in (asked, far_asked))
        swarm, master, other = up.enter_context(two_machines(log, listened, words, far, others_words))
        every = [*workers(master._popen.pid), *workers(other._popen.pid)]
        assert len(every) == 2
        report = swarm.load(sleeping(port), lambda: seen.extend(connections(port, each) for each in every), nothing)
        check_four_slots(report)
        assert report.round_trip_ms == pytest.approx(1000 * one_way_s, abs=20), "the median of the two machines"
        scheduled = swarm.load(at_40(port), nothing, nothing)
    assert seen == [6] * 2
    assert scheduled.due == pytest.approx(24, abs=1)
    assert scheduled.failures == 0
    assert scheduled.throughput_rps == pytest.approx(40, rel=0.15)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in every)


def test_a_worker_that_is_lost_is_noticed_and_its_machine_named(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    with ExitStack() as up:
        port = up.enter_context(target(0, monkeypatch))
        swarm, master, other = up.enter_context(two_machines(log, free_port()))
        (lost,) = workers(other._popen.pid)
        (own,) = workers(master._popen.pid)
        check_counts(loaded(swarm, sleeping(port)))

        def lose() -> None:
            # One that is stopped is as silent as one whose link is down.
            other._popen.send_signal(signal.SIGSTOP)
            lost.send_signal(signal.SIGSTOP)

        told = "the generator failed: a worker of the generator on beta no longer answers"
        with pytest.raises(SwarmError, match=told) as caught:
            swarm.load(sleeping(port), lose, nothing)
        assert "\n" not in caught.value.message
        # After this it is of no use, and ends by itself.
        assert master._popen.wait(timeout=ENDS_S) == 0
        for each in (psutil.Process(other._popen.pid), lost):
            each.send_signal(signal.SIGCONT)
    assert not psutil.wait_procs([lost, own], timeout=ENDS_S)[1]


def test_remote_workers_end_with_their_input_and_when_a_worker_does(log: Path) -> None:
    with remote_workers(log, free_port()) as ended:
        (worker,) = workers(ended._popen.pid)
        # It has the time to end by itself.
        ended.end(grace_s=ENDS_S)
        assert not worker.is_running()
    with remote_workers(log, free_port()) as ended:
        (worker,) = workers(ended._popen.pid)
        worker.kill()
        assert ended.receive(ENDS_S) == {"event": "error", "message": "a worker ended with exit code -9: "}
        assert ended._popen.wait(timeout=ENDS_S) == 1


def test_a_port_that_is_taken_is_said_to_be(log: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        taken = channel(log, CORES[0], "wsgilab.load.driver", "--listen", str(port), "--workers", "1")
        try:
            with pytest.raises(SwarmError, match=f"the generator failed: cannot listen on port {port} for workers of"):
                LocustSwarm(taken, frozenset(CORES[:1]))
        finally:
            taken.end()


def test_workers_that_do_not_come_are_said_to_be_missing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    late = "import wsgilab.load.distributed as w, wsgilab.load.driver as a; w.ARRIVE_S = 3.0; a.main()"
    with remote_workers(log, port):
        # On a busy machine the one that comes may be late too. It goes on trying.
        for _ in range(10):
            waiting = python(log, CORES[0], "-c", late, "--listen", str(port), "--workers", "2")
            try:
                with pytest.raises(SwarmError) as caught:
                    LocustSwarm(waiting, frozenset(CORES[:1]))
            finally:
                waiting.end()
            if "only 0 of 2" not in caught.value.message:
                break
    assert re.search(f"only 1 of 2 workers .* to port {port} within 3 s", caught.value.message)


# --- the web UI


def receive_all(ui: LabUI) -> None:
    """Receive all that it sends, until nothing comes for long."""
    while ui.receive(20) is not None:
        pass


@pytest.mark.alone
def test_the_web_ui_measures_the_same_over_two_machines(
    monkeypatch: pytest.MonkeyPatch, log: Path, tmp_path: Path
) -> None:
    listened, port = free_port(), free_port()
    cell = testing.cell("gunicorn-sync-4", users=12)
    up_there = testing.FakeTarget(server=testing.server("gunicorn-sync-4", slots=SLOTS), cpus=frozenset(CORES))
    with ExitStack() as up:
        base_url = f"http://127.0.0.1:{up.enter_context(target(DAY_NS, monkeypatch))}"
        words = ["--clock-server", f"127.0.0.1:{up.enter_context(clock_server(DAY_NS))}"]
        argv = ["127.0.0.1", str(port), *words, "--listen", str(listened), "--workers", "1"]
        served = channel(log, CORES[0], "wsgilab.web.server", *argv)
        up.callback(served.end)
        other = up.enter_context(remote_workers(tmp_path / "other", listened, *words, kind="ui"))
        ui = LabUI(served, frozenset(CORES[:1]))
        run = testing.run(testing.experiment(cell), up_there.server)
        ui.open(run, [replace(up_there, base_url=base_url)], watching=False, password=None)
        every = [*workers(served._popen.pid), *workers(other._popen.pid)]
        form = b"user_count=12&spawn_rate=12&target=gunicorn-sync-4&workload=sleep&connection=close&sleep_ms=50"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/swarm", form, timeout=10) as response:
            assert json.load(response)["success"]
        assert ui.receive(5) == Loading(server="gunicorn-sync-4")
        seconds = 4
        for second in range(seconds):
            ui.send_usage(
                "gunicorn-sync-4", Usage(at_s=1e6 + second, cpu_s=second * 0.3, resident_bytes=1, os_threads=1)
            )
            time.sleep(1)
        assert [connections(int(base_url.rpartition(":")[2]), each) for each in every] == [6, 6]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/lab/comparison.yaml", timeout=10) as response:
            comparison = yaml.safe_load(response)
        # The one here: that one there is lost takes longer to notice, for the web UI as for the generator.
        every[0].kill()
        with pytest.raises(SwarmError, match="the web UI failed: a worker of the generator ended with exit code -9"):
            receive_all(ui)
    assert comparison["run"]["trials"]["measured"] >= seconds - 3, "seconds count soon after they have passed"
    (found,) = comparison["cells"]
    assert found["in_flight"]["peak"] == SLOTS
    assert found["in_flight"]["mean"] == pytest.approx(SLOTS, rel=0.2)
    assert found["failures"] == found["cut_off"] == 0
    assert found["bound_by"] == "slots"
    assert found["server_cpu"] == pytest.approx(0.3, rel=0.2)
    assert 0.5 * SLOTS / SLEEP_S < found["throughput_rps"]["median"] <= SLOTS / SLEEP_S * 1.1
