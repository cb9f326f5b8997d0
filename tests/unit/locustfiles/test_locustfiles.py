"""The workloads' Locust files against the application: the answer that users expect is the answer they get."""

import errno
import hashlib
import importlib
import math
import os
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.dispatch import UsersDispatcher
from locust.runners import WorkerNode
from werkzeug.test import Client

import app as application
import work
from wsgilab.experiment.workloads import WORKLOADS, option
from wsgilab_door.stamp import StampMiddleware

MASK = 2**32 - 1


def parser() -> LocustArgumentParser:
    """Locust's, with the options of all files that are loaded."""
    made = LocustArgumentParser()
    events.init_command_line_parser.fire(parser=made)  # type: ignore[no-untyped-call]
    return made


def locustfile(name: str) -> ModuleType:
    """A Locust file as a module."""
    return importlib.import_module(name)


CPU = locustfile("cpu")


def asked(get: Any) -> tuple[int, bytes]:
    """What the application answers to a request of a user."""
    answer = application.app.test_client().open(get.path, method=get.method, data=getattr(get, "body", None))
    return answer.status_code, answer.data


def user(of: str, name: str, *, number: int = 0, **options: Any) -> Any:
    """A user that has started, but has neither a connection nor an environment beyond its options."""
    made = object.__new__(getattr(locustfile(of), name))
    made.environment = SimpleNamespace(parsed_options=SimpleNamespace(**options))
    made.number = number
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


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the application waits for, without the waits: the row's content as PostgreSQL would compute it."""
    monkeypatch.setattr(application, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(application, "read_item", lambda item, _: hashlib.sha256(f"{item}".encode()).hexdigest())
    monkeypatch.setattr(application, "ask_upstream", lambda ms: f"waited {ms:g} ms\n")


@pytest.mark.usefixtures("backends")
@pytest.mark.parametrize(
    ("of", "name", "options"),
    [
        ("hello", "Hello", {}),
        ("cpu", "Cpu", {"cpu_ms": 0.5, "iterations_per_ms": 1554.0}),
        ("cpu", "Cpu", {}),
        ("sleep", "Sleep", {"sleep_ms": 0.25}),
        ("sleep", "Sleep", {"sleep_ms": 1234.5678}),
        ("db", "Db", {}),
        ("db", "Db", {"db_ms": 0.5}),
        ("upstream", "Upstream", {}),
        ("upstream", "Upstream", {"upstream_ms": 12.5}),
        ("large", "Large", {}),
        ("large", "Large", {"large_kib": 3.0}),
        ("slow_client", "SlowClient", {}),
        ("slow_client", "SlowClient", {"slow_client_kib": 64}),
        ("stall", "Stall", {"stall_ms": 0.5, "iterations_per_ms": 1554.0}),
        ("stall", "Stalled", {"sleep_ms": 20.0}),
        ("upload", "Uploading", {}),
        ("upload", "Uploading", {"upload_kib": 3}),
        ("stream", "Streaming", {}),
        ("stream", "Streaming", {"stream_s": 0.07, "stream_every_ms": 10.0}),
        ("burst", "Burst", {"burst_ms": 7.0}),
    ],
)
@pytest.mark.parametrize("number", [0, 7, 9_999, 10_000, 123_456])
def test_a_user_expects_the_answer_that_the_application_gives(
    of: str, name: str, number: int, options: dict[str, object]
) -> None:
    get = user(of, name, number=number, **options).choose()

    assert asked(get) == (200, get.answer)


@pytest.mark.usefixtures("backends")
def test_a_user_of_mixed_requests_expects_the_answer_to_each() -> None:
    made = user("mixed", "Mixed", number=7, large_kib=1.0)
    gets = {get.path: get for get in (made.choose() for _ in range(40))}

    assert {path.partition("?")[0] for path in gets} == {"/hello", "/db", "/upstream", "/cpu", "/large"}
    for path, get in gets.items():
        assert application.app.test_client().get(path).data == get.answer


OPTIONS: list[tuple[str, list[str], str, object]] = [
    ("cpu", ["--cpu-ms", "0.5"], "cpu_ms", 0.5),
    ("sleep", ["--sleep-ms", "12.5"], "sleep_ms", 12.5),
    ("db", ["--db-ms", "12.5"], "db_ms", 12.5),
    ("upstream", ["--upstream-ms", "12.5"], "upstream_ms", 12.5),
    ("large", ["--large-kib", "1"], "large_kib", 1),
    ("slow_client", ["--slow-client-send-ms", "7"], "slow_client_send_ms", 7.0),
    ("stall", ["--stall-ms", "7"], "stall_ms", 7.0),
    ("mixed", ["--mixed-db", "0"], "mixed_db", 0.0),
    ("lab_user", ["--connection", "keep-alive"], "connection", "keep-alive"),
    ("lab_user", [], "connection", "close"),
    ("lab_user", ["--request-timeout", "0"], "request_timeout", 0.0),
    ("lab_user", ["--rate", "12.5"], "rate", 12.5),
    ("lab_user", [], "rate", 0.0),
    ("lab_user", ["--arrivals", "poisson"], "arrivals", "poisson"),
    ("lab_user", [], "arrivals", "constant"),
    ("lab_user", ["--arrivals-seed", "7"], "arrivals_seed", 7),
    ("lab_user", ["--iterations-per-ms", "1234.5"], "iterations_per_ms", 1234.5),
    ("upload", ["--upload-kib", "7"], "upload_kib", 7),
    ("stream", ["--stream-s", "0.5"], "stream_s", 0.5),
    ("burst", ["--burst-every-ms", "500"], "burst_every_ms", 500.0),
]


@pytest.mark.parametrize(("name", "words", "option", "value"), OPTIONS)
def test_a_locust_file_adds_its_options(name: str, words: list[str], option: str, value: object) -> None:
    locustfile(name)
    known = parser()

    found = getattr(known.parse_args(words), option)
    assert (found, type(found)) == (value, type(value))
    # Locust's web UI has a field for it.
    assert option in known.args_included_in_web_ui


@pytest.mark.parametrize("option", ["gap_ms", "abandon_ms"])
def test_what_the_web_ui_would_not_record_is_an_option_of_the_command_line_alone(option: str) -> None:
    locustfile("lab_user")
    known = parser()

    assert getattr(known.parse_args([]), option) == 0.0
    assert getattr(known.parse_args([f"--{option.replace('_', '-')}", "12.5"]), option) == 12.5
    assert option not in known.args_included_in_web_ui


def test_a_file_that_is_loaded_twice_adds_its_options_once() -> None:
    """As Locust does with a file that another has imported."""
    importlib.reload(locustfile("sleep"))

    assert parser().parse_args([]).sleep_ms == 50.0


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_workload_is_a_file_with_its_parameters_as_options_and_what_is_usual_as_defaults(workload: str) -> None:
    locustfile(workload.replace("-", "_"))
    options = vars(parser().parse_args([]))
    for parameter in WORKLOADS[workload].parameters:
        told = option(workload, parameter)
        assert (options[told.name], type(options[told.name])) == (told.usual, told.kind)


def test_what_computes_has_the_workload_by_which_it_is_calibrated() -> None:
    for name, each in WORKLOADS.items():
        if any(parameter.is_computing for parameter in each.parameters.values()):
            assert "cpu" in (name, *each.parts)


@pytest.mark.usefixtures("backends")
@pytest.mark.parametrize("end", ["usual", "least", "most"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_application_takes_what_a_workloads_parameters_can_be(workload: str, end: str) -> None:
    file = locustfile(workload.replace("-", "_"))
    # As many iterations as can be asked for would take a minute.
    options: dict[str, float] = {"iterations_per_ms": 1e-4}
    for key in WORKLOADS[workload].parameters:
        told = option(workload, key)
        options[told.name] = told.kind(getattr(told, end))
    if WORKLOADS[workload].has_shares and end == "least":
        options["mixed_hello"] = 1.0
    users = [each for each in vars(file).values() if isinstance(each, type) and each.__module__ == file.__name__]
    users = [each for each in users if issubclass(each, LAB_USER.LabUser)]
    assert users
    for each in users:
        get = user(file.__name__, each.__name__, number=7, **options).choose()
        assert asked(get) == (200, get.answer), get.path
    # Some are large.
    application._lines.cache_clear()
    locustfile("large").get.cache_clear()


def test_a_locust_file_is_loaded_by_hand_from_anywhere(tmp_path: Path) -> None:
    file = Path(__file__).parents[3] / "locustfiles" / "mixed.py"
    # Without any of the folders that the tests have on their path.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LOCUST_SKIP_MONKEY_PATCH")
    }
    argv = [sys.executable, "-m", "locust", "-f", str(file), "--list"]

    told = subprocess.run(argv, check=True, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert told.stdout.split()[-1] == "Mixed"


def test_users_ask_for_what_the_options_say() -> None:
    assert user("cpu", "Cpu", cpu_ms=2.5, iterations_per_ms=310.8).get.path == "/cpu?iterations=777"
    assert user("sleep", "Sleep", sleep_ms=12.5).get.path == "/sleep?ms=12.5"
    assert user("cpu", "Cpu").get.path == "/cpu?iterations=50000"
    assert user("sleep", "Sleep").get.path == "/sleep?ms=50"
    assert user("db", "Db", number=10_003, db_ms=20.0).get.path == "/db?ms=20&item=3"
    assert user("upstream", "Upstream", upstream_ms=20.0).get.path == "/upstream?ms=20"
    assert user("large", "Large", large_kib=2.0).get.path == "/large?kib=2"
    assert user("slow_client", "SlowClient", slow_client_kib=2.0).get.path == "/large?kib=2"
    assert user("stall", "Stall", stall_ms=0.0005).get.path == "/cpu?iterations=5"
    assert user("stall", "Stalled", sleep_ms=7.0).get.path == "/sleep?ms=7"


def test_large_answers_are_kept_once_for_all_users() -> None:
    one, other = user("large", "Large"), user("slow_client", "SlowClient")

    assert one.get.answer is other.get.answer
    assert len(one.get.answer) == 1024 * 1024


# One computes, the others wait.


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("users", [1, 2, 8, 33])
def test_of_all_users_exactly_one_computes_on_however_many_workers(workers: int, users: int) -> None:
    stall = locustfile("stall")
    dispatcher = UsersDispatcher(
        [WorkerNode(f"worker {number}") for number in range(workers)],
        [stall.Stall, stall.Stalled],
    )
    dispatcher.new_dispatch(users, spawn_rate=users)

    spawned = Counter[str]()
    for asked in dispatcher:
        spawned = sum((Counter(counts) for counts in asked.values()), Counter[str]())

    assert spawned == Counter({"Stall": 1, "Stalled": users - 1})


# Requests of several kinds.


def test_the_shares_are_those_of_the_options() -> None:
    made = user("mixed", "Mixed", mixed_hello=1.0, mixed_db=0.0, mixed_upstream=3.0, mixed_cpu=0.0, mixed_large=0.0)

    assert Counter(made.choose().path for _ in range(40)) == {"/hello": 10, "/upstream?ms=50": 30}


# What a user sends, and when.

LAB_USER, WIRE = locustfile("lab_user"), locustfile("wire")


def set_clock(monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace) -> None:
    """Give users and their connections another clock."""
    for module in (LAB_USER, WIRE):
        monkeypatch.setattr(module, "time", clock)


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


def ready(rate: float = 0.0, runner: object = None, **options: Any) -> Any:
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
    made._spelled = {}
    made._void_after_ns = 0
    made._took_ns = 0
    made._clock_offset_ns = options.get("clock_offset_ns", 0)
    return made


def sent(by: Any, due_ns: int | None = None) -> list[str]:
    text = by._spell(by.choose(), due_ns)[0].decode("ascii")
    assert text.endswith("\r\n\r\n")
    return list(text.removesuffix("\r\n\r\n").split("\r\n"))


def test_a_request_is_one_get_with_no_header_but_the_necessary() -> None:
    assert sent(ready()) == ["GET /hello HTTP/1.1", "Host: 127.0.0.1:8000", "Connection: close"]


def test_a_request_carries_until_when_it_counts_as_soon_as_that_is_known() -> None:
    made = ready()
    before = sent(made)

    vars(made._options)["void_after_ns"] = 123
    assert sent(made) == [*before, "Lab-Void-After: 123"]
    vars(made._options)["void_after_ns"] = 456
    assert sent(made) == [*before, "Lab-Void-After: 456"]
    del vars(made._options)["void_after_ns"]
    assert sent(made) == before


@pytest.mark.parametrize("offset_ns", [0, 7 * 10**9])
@pytest.mark.parametrize(
    ("took_ms", "left_ms", "says"), [(0, 19, True), (0, 21, False), (10, 49, True), (10, 51, False)]
)
def test_a_request_carries_until_when_it_counts_only_if_it_may_wait_for_so_long(
    clock: Clock, took_ms: int, left_ms: int, says: bool, offset_ns: int
) -> None:
    """To read a header is a hundredth of what a short request costs a server."""
    at_ns = clock.now_ns + offset_ns + left_ms * 10**6
    made = ready(void_after_ns=at_ns, clock_offset_ns=offset_ns)
    made._took_ns = took_ms * 10**6

    assert sent(made)[3:] == ([f"Lab-Void-After: {at_ns}"] if says else [])


def test_how_long_a_request_took_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 10**9, 7))
    set_clock(monkeypatch, SimpleNamespace(monotonic_ns=lambda: next(ticks), monotonic=lambda: 0.0, time=lambda: 1.0))
    made = ready()

    (event,) = fired_by(made, Server(SPELLINGS["with its length"]))

    # From the first look to the last; those between are of the connection.
    assert made._took_ns == 21
    assert event["context"]["connect_ns"] == 7


def test_what_was_due_in_the_window_is_worked_off_however_late_and_what_is_due_after_it_need_not_be() -> None:
    made = ready(window_end_ns=1000, void_after_ns=2000, clock_offset_ns=500)
    before = sent(ready())

    assert [sent(made, due_ns) == before for due_ns in (1, 500, 501, 1500)] == [True, True, False, False]
    assert sent(made, 501) == [*before, "Lab-Void-After: 2000"]


def test_the_application_takes_what_a_user_says_of_when_it_counts() -> None:
    (name, _, value) = sent(ready(void_after_ns=1))[-1].partition(": ")

    answer = Client(StampMiddleware(application.app)).get("/hello", headers={name: value})

    assert answer.status_code == 503
    assert LAB_USER.VOID_HEADER in answer.headers


def test_a_request_is_not_spelled_anew_each_time() -> None:
    made = ready(void_after_ns=123)

    assert made._spell(made.get)[0] is made._spell(made.get)[0]


@pytest.mark.parametrize(
    ("users", "worker_index", "parts", "number"),
    [(0, 0, None, 0), (3, 0, None, 3), (0, 1, 2, 1), (3, 0, 2, 6), (3, 1, 2, 7), (3, -1, None, 3)],
)
def test_users_are_numbered_over_all_of_the_generators_processes(
    monkeypatch: pytest.MonkeyPatch, users: int, worker_index: int, parts: int | None, number: int
) -> None:
    monkeypatch.setattr(LAB_USER.LabUser, "host", "http://127.0.0.1:8000")
    runner = SimpleNamespace(user_greenlets=[None] * users, worker_index=worker_index)
    options = SimpleNamespace(**({} if parts is None else {"arrivals_parts": parts}))

    made = LAB_USER.LabUser(SimpleNamespace(runner=runner, parsed_options=options))

    assert made.number == number


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "[::1]:8000"])
def test_a_request_names_its_host_as_a_url_does(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(LAB_USER.LabUser, "host", f"http://{host}")
    runner = SimpleNamespace(user_greenlets=[], worker_index=0)

    made = LAB_USER.LabUser(SimpleNamespace(runner=runner, parsed_options=SimpleNamespace()))

    assert f"Host: {host}\r\n".encode() in made._spell(LAB_USER.Get("/hello", b"hello\n"))[0]


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


@pytest.mark.parametrize("offset_ns", [0, 10**8, -(10**8), 10**15 + 7])
def test_the_grid_of_a_schedule_is_that_of_the_targets_machines_clock(clock: Clock, offset_ns: int) -> None:
    """So that workers on several machines, each with a clock of its own, make one even stream."""
    clock.now_ns = 10**9 + 1
    made = ready(rate=4, clock_offset_ns=offset_ns)

    made.request()
    clock.now_ns += 2 * 10**9
    made.request()

    due_there = [due_ns + offset_ns for due_ns in made._under_way.due_ns]
    assert len(due_there) == 8
    assert [due_ns % (25 * 10**7) for due_ns in due_there] == [0] * 8
    assert 0 < made._under_way.due_ns[0] - (10**9 + 1) < 25 * 10**7, "and begun by this machine's own"


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
        return WIRE.Wire(2, ("127.0.0.1", 8000), None).exchange(b"GET / HTTP/1.1\r\n\r\n", last)


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


# The events that a user fires.


def listening(to: Any) -> list[dict[str, Any]]:
    """The events of requests that a user will fire."""
    fired: list[dict[str, Any]] = []
    to.environment.events = SimpleNamespace(request=SimpleNamespace(fire=lambda **event: fired.append(event)))
    return fired


class Killed(Server):
    """A server whose user is killed while it waits."""

    def recv(self, _: int) -> bytes:
        raise LAB_USER.gevent.GreenletExit


def fired_by(by: Any, server: Server, due_ns: int | None = None) -> list[dict[str, Any]]:
    """The events that a user fires for one request that `server` answers."""
    fired = listening(by)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LAB_USER.gevent.socket, "socket", server)
        patch.setattr(LAB_USER.gevent, "sleep", lambda _: None)
        by._ask(due_ns)
    return fired


def remarks(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event's context but for moments, which every request has."""
    return {key: value for key, value in event["context"].items() if key not in ("begun_ns", "connect_ns")}


def test_a_right_answer_fires_an_event_with_its_user_and_how_long_it_took() -> None:
    (event,) = fired_by(ready(), Server(SPELLINGS["with its length"]))

    assert event["exception"] is None
    assert remarks(event) == {"user": 7}
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
def test_every_other_answer_fires_a_failure(answer: bytes, due_ns: int | None) -> None:
    made = ready()
    server = Server(*([answer] if answer else []))

    (event,) = fired_by(made, server, due_ns)

    assert isinstance(event["exception"], Exception)
    assert server.closed, "the next request has a connection of its own"


def test_the_answer_to_a_request_that_came_too_late_to_count_fires_nothing() -> None:
    void = b"HTTP/1.1 503 Service Unavailable\r\nLab-Void: 1\r\nContent-Length: 0\r\n\r\n"

    assert fired_by(ready(), Server(void)) == []


def test_a_scheduled_request_fires_when_it_was_due_and_its_latency_counts_from_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_clock(monkeypatch, SimpleNamespace(monotonic_ns=lambda: 5_000_000, monotonic=lambda: 0.005, time=lambda: 1.0))

    (event,) = fired_by(ready(rate=4), Server(SPELLINGS["with its length"]), due_ns=2_000_000)

    assert event["context"] == {"user": 7, "due_ns": 2_000_000, "begun_ns": 5_000_000}
    assert event["response_time"] == 3.0


def test_a_request_fires_when_it_was_begun_and_how_long_its_connection_took_to_open_if_it_opened_one(
    now_s: list[float],
) -> None:
    kept = ready()
    kept._connection = "keep-alive"
    opened = Opening(*[SPELLINGS["with its length"]] * 2, seconds=0.25, clock=now_s)

    events = fired_by(kept, opened) + fired_by(kept, opened)
    events += fired_by(ready(), Opening(seconds=0.5, clock=now_s, error=TimeoutError("timed out")))

    moments = [(event["context"]["begun_ns"], event["context"].get("connect_ns")) for event in events]
    assert moments == [(1000 * 10**9, 250_000_000), (1000_250_000_000, None), (1000_250_000_000, 500_000_000)]


def test_a_request_that_is_given_up_fires_its_exception_and_ends_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    made, server = ready(), Killed()
    fired = listening(made)
    monkeypatch.setattr(LAB_USER.gevent.socket, "socket", server)

    with pytest.raises(LAB_USER.gevent.GreenletExit):
        made._ask(None)

    assert [type(event["exception"]) for event in fired] == [LAB_USER.gevent.GreenletExit]
    assert server.closed


def test_a_kept_connection_serves_the_next_request_too() -> None:
    made = ready()
    made._connection = "keep-alive"
    server = Server(SPELLINGS["with its length"], SPELLINGS["with its length"])

    events = fired_by(made, server) + fired_by(made, server)

    assert [event["exception"] for event in events] == [None, None]
    assert len(server.sent) == 2
    assert not server.closed
    assert len(made._wires) == 1


def test_a_request_of_after_the_window_that_is_given_up_fires_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locust ends users between two requests, but may find one in the next by then."""

    monkeypatch.setattr(LAB_USER.gevent.socket, "socket", Killed())
    # The last two are of targets on a machine whose clock is far ahead.
    for window_end_ns, offset_ns, counts in ((1, 0, 0), (10**30, 0, 1), (10**30, 10**31, 0), (10**30, 10**29, 1)):
        made = ready(window_end_ns=window_end_ns, clock_offset_ns=offset_ns)
        fired = listening(made)
        with pytest.raises(LAB_USER.gevent.GreenletExit):
            made._ask(None)

        assert len(fired) == counts


# Kept connections that the server closes unannounced.


Conduct = Callable[[socket.socket], None]
"""What a server does with one connection."""
SENT = threading.Event()
"""The second request has been sent."""


def hear(connection: socket.socket) -> None:
    """A request, or what there is of it."""
    heard = b""
    while not heard.endswith(b"\r\n\r\n") and (some := connection.recv(1000)):
        heard += some


def answer_once(connection: socket.socket) -> None:
    hear(connection)
    connection.sendall(SPELLINGS["with its length"])


def answer_once_and_close_without_reading_what_came(connection: socket.socket) -> None:
    answer_once(connection)
    SENT.wait(60)


def answer_once_and_close_by_halves_without_reading_what_came(connection: socket.socket) -> None:
    """As `socketserver` does."""
    answer_once_and_close_without_reading_what_came(connection)
    connection.shutdown(socket.SHUT_WR)


def answer_once_and_reset(connection: socket.socket) -> None:
    answer_once(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answer_once_and_hear_more(connection: socket.socket) -> None:
    answer_once(connection)
    hear(connection)


def answer_once_and_begin_to_again(connection: socket.socket) -> None:
    answer_once_and_hear_more(connection)
    connection.sendall(SPELLINGS["with its length"][:20])


def close_at_once(_: socket.socket) -> None: ...


def hear_and_close(connection: socket.socket) -> None:
    hear(connection)


@contextmanager
def serving(*conducts: Conduct) -> Iterator[tuple[socket.socket, list[int]]]:
    """A server that treats each connection as the next of `conducts` says, and closes it; and how many there were.

    A moment of a busy machine may be any time: of no connection it is said that it was slow to open, or idle for long.
    """
    listening, opened = socket.create_server(("127.0.0.1", 0)), [0]
    closed = threading.Event()
    SENT.clear()

    def serve() -> None:
        for conduct in conducts:
            connection, _ = listening.accept()
            with connection:
                if closed.is_set():
                    return
                opened[0] += 1
                conduct(connection)

    server = threading.Thread(target=serve)
    server.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for module in (LAB_USER, WIRE):
                patch.setattr(module, "SLOW_CONNECTION_S", math.inf)
            patch.setattr(WIRE, "LONGEST_IDLE_S", math.inf)
            yield listening, opened
    finally:
        closed.set()
        SENT.set()
        # Whom it still waits for.
        socket.create_connection(listening.getsockname()).close()
        server.join()
        listening.close()


def twice(where: socket.socket) -> tuple[list[dict[str, Any]], Any]:
    """What is told of two requests, and of the user who sent them over a connection that is to be kept."""
    made = ready()
    made._connection = "keep-alive"
    made._address, made._timeout_s = where.getsockname(), 60.0
    wires: list[Any] = []

    class Telling(WIRE.Wire):  # type: ignore[misc, name-defined]
        requests = 0

        def send(self, connection: Any, request: bytes) -> None:
            super().send(connection, request)
            self.requests += 1
            if self.requests == 2:
                SENT.set()

    def make_wire(*given: Any) -> Any:
        wires.append(Telling(*given))
        return wires[-1]

    made.make_wire = make_wire
    fired = listening(made)
    try:
        for _ in range(2):
            made._ask(None)
    finally:
        for wire in wires:
            wire.close()
    return fired, wires[0]


@pytest.mark.parametrize(
    "conduct",
    [
        answer_once,
        answer_once_and_close_without_reading_what_came,
        answer_once_and_close_by_halves_without_reading_what_came,
        answer_once_and_reset,
    ],
)
def test_a_kept_connection_that_the_server_closes_unannounced_is_opened_anew_and_reported(
    conduct: Conduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server may take its time between its two halves.
    monkeypatch.setattr(WIRE, "RESET_S", 60.0)
    with serving(conduct, answer_once) as (where, opened):
        events, _ = twice(where)

    assert [event["exception"] for event in events] == [None, None]
    assert list(map(remarks, events)) == [{"user": 7}, {"user": 7, "reopened": True, "reset": True}]
    assert all(event["context"]["connect_ns"] > 0 for event in events)
    assert opened == [2]


@pytest.mark.parametrize("conduct", [answer_once_and_hear_more, answer_once_and_begin_to_again])
def test_a_server_that_has_heard_a_request_and_does_not_answer_it_has_failed(conduct: Conduct) -> None:
    """It may have done what was asked, or have died of it."""
    with serving(conduct, answer_once) as (where, opened):
        events, _ = twice(where)

    assert events[0]["exception"] is None
    assert isinstance(events[1]["exception"], (ConnectionError, HTTPException))
    assert all("reopened" not in event["context"] for event in events)
    assert opened == [1]


@pytest.mark.parametrize("conduct", [close_at_once, hear_and_close])
def test_a_new_connection_that_is_closed_without_an_answer_is_a_failure(conduct: Conduct) -> None:
    with serving(conduct, answer_once) as (where, opened):
        events, _ = twice(where)

    assert [isinstance(event["exception"], OSError) for event in events] == [True, False]
    assert all("reopened" not in event["context"] for event in events)
    assert opened == [2]


def test_a_request_is_sent_again_once_at_most() -> None:
    with serving(answer_once, close_at_once, answer_once) as (where, opened):
        events, wire = twice(where)

    assert [isinstance(event["exception"], OSError) for event in events] == [False, True]
    assert events[1]["context"]["reopened"]
    assert (opened, wire.requests) == ([2], 3)


def test_a_connection_that_is_opened_anew_may_be_slow_to_open() -> None:
    with serving(answer_once, answer_once) as (where, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(WIRE, "SLOW_CONNECTION_S", -1.0)
        events, _ = twice(where)

    assert remarks(events[1]) == {"user": 7, "slow_connection": True, "reopened": True, "reset": True}


@pytest.mark.parametrize(
    ("window_end_ns", "due_ns", "counts"), [(1, None, 0), (10**30, None, 1), (1000, 999, 1), (1000, 1001, 0)]
)
def test_a_request_of_after_the_window_that_fails_fires_nothing_and_no_dead_target_is_hammered_meanwhile(
    monkeypatch: pytest.MonkeyPatch, window_end_ns: int, due_ns: int | None, counts: int
) -> None:
    """Load goes on for a while then. One that was due in the window is of the window, whenever it was begun."""
    slept: list[float] = []
    monkeypatch.setattr(LAB_USER.gevent.socket, "socket", Server())
    monkeypatch.setattr(LAB_USER.gevent, "sleep", slept.append)
    made = ready(window_end_ns=window_end_ns)
    fired = listening(made)

    made._ask(due_ns)

    assert len(fired) == counts
    assert slept == ([LAB_USER.PAUSE_AFTER_FAILURE_S] if due_ns is None else [])


# Connections that are slow to open.


class Opening(Server):
    """Its connection takes so long to open, or to fail."""

    def __init__(self, *pieces: bytes, seconds: float, clock: list[float], error: BaseException | None = None) -> None:
        super().__init__(*pieces)
        self.seconds, self.clock, self.error = seconds, clock, error

    def connect(self, _: object) -> None:
        self.clock[0] += self.seconds
        if self.error is not None:
            raise self.error


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, in a list of one."""
    now = [1000.0]
    clock = SimpleNamespace(
        monotonic=lambda: now[0], monotonic_ns=lambda: round(now[0] * 1e9), time=lambda: now[0], sleep=None
    )
    set_clock(monkeypatch, clock)
    return now


@pytest.mark.parametrize(("seconds", "slow"), [(0.0, False), (0.89, False), (0.91, True), (3.0, True)])
def test_a_connection_whose_first_syn_was_dropped_is_reported(now_s: list[float], seconds: float, slow: bool) -> None:
    (event,) = fired_by(ready(), Opening(SPELLINGS["with its length"], seconds=seconds, clock=now_s))

    assert event["exception"] is None
    assert remarks(event) == ({"user": 7, "slow_connection": True} if slow else {"user": 7})


def test_a_slow_connection_counts_once_also_where_it_fails_in_the_end(now_s: list[float]) -> None:
    kept = ready()
    kept._connection = "keep-alive"
    opened = Opening(SPELLINGS["with its length"], SPELLINGS["with its length"], seconds=1.0, clock=now_s)
    events = fired_by(kept, opened) + fired_by(kept, opened)
    (failed,) = fired_by(ready(), Opening(seconds=7.0, clock=now_s, error=TimeoutError("timed out")))

    assert [event["context"].get("slow_connection", False) for event in events] == [True, False]
    assert isinstance(failed["exception"], TimeoutError)
    assert failed["context"]["slow_connection"]


# Slow users.

SLOW = locustfile("slow_client")


class Slept:
    """Remembers how long a user let pass, and does not wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        monkeypatch.setattr(SLOW.gevent, "sleep", self.seconds.append)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> Slept:
    return Slept(monkeypatch)


class Slowly(Server):
    """A server that is asked slowly, and gives no more at once than it is asked for."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer
        self.set: dict[int, int] = {}
        self.asked_for: list[int] = []

    def setsockopt(self, _: int, option: int, value: int) -> None:
        self.set[option] = value

    def recv(self, most: int) -> bytes:
        self.asked_for.append(most)
        some, self.answer = self.answer[:most], self.answer[most:]
        return some


def test_a_slow_client_sends_and_reads_in_ten_pieces_with_a_pause_before_each(
    monkeypatch: pytest.MonkeyPatch, slept: Slept
) -> None:
    body = b"x" * 200_000
    server = Slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + body)
    monkeypatch.setattr(LAB_USER.gevent.socket, "socket", lambda *_: server)
    wire = SLOW.SlowWire(2, ("127.0.0.1", 1), None, send_s=0.5, read_s=2.0, answer_bytes=len(body))
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"

    answer = wire.exchange(request, None)

    assert answer.body == body
    assert b"".join(server.sent) == request
    assert len(server.sent) == 10
    assert slept.seconds == pytest.approx([0.05] * 10 + [0.2] * 10)
    assert wire.remarks == {"client_ms": pytest.approx(2500.0), "reading_ms": pytest.approx(2000.0)}
    assert max(server.asked_for) <= len(body) // 10 + 100


def test_a_slow_clients_kernel_takes_little_in_advance_and_sends_each_piece_at_once(
    monkeypatch: pytest.MonkeyPatch, slept: Slept
) -> None:
    server = Slowly(SPELLINGS["with its length"])
    monkeypatch.setattr(LAB_USER.gevent.socket, "socket", lambda *_: server)

    SLOW.SlowWire(2, ("127.0.0.1", 1), None, send_s=0.0, read_s=0.0, answer_bytes=6).exchange(b"GET", None)

    assert server.set == {socket.SO_RCVBUF: SLOW.WINDOW_BYTES, socket.TCP_NODELAY: 1}


def test_what_a_slow_client_let_pass_is_told_for_each_request_anew(
    monkeypatch: pytest.MonkeyPatch, slept: Slept
) -> None:
    made = user("slow_client", "SlowClient", slow_client_send_ms=70.0, slow_client_read_ms=30.0, slow_client_kib=0.0)
    wire = made.make_wire(2, ("127.0.0.1", 1), None)
    for _ in range(2):
        monkeypatch.setattr(LAB_USER.gevent.socket, "socket", lambda *_: Slowly(SPELLINGS["with its length"]))
        wire.exchange(b"0123456789", None)
        wire.close()

        assert wire.remarks["client_ms"] == pytest.approx(70.0 + 3.0)
        assert wire.remarks["reading_ms"] == pytest.approx(3.0)


def test_a_slow_client_over_a_real_connection_gets_the_whole_answer(slept: Slept) -> None:
    body = os.urandom(300_000)
    listening = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            while b"\r\n\r\n" not in b"".join(heard):
                heard.append(connection.recv(1000))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + body)

    server = threading.Thread(target=serve)
    server.start()
    wire = SLOW.SlowWire(socket.AF_INET, listening.getsockname(), 60.0, send_s=0, read_s=0, answer_bytes=len(body))
    try:
        answer = wire.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None)
    finally:
        wire.close()
        server.join()
        listening.close()

    assert answer.body == body
