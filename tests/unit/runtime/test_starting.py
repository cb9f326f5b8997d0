"""Waiting for what was started, on fakes and a clock that passes only while it is waited; and who listens where."""

import os
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsgilab.model import Server
from wsgilab.model.errors import TargetError
from wsgilab.runtime import starting
from wsgilab.runtime.processes import RunningProcess
from wsgilab.runtime.protocol import Target
from wsgilab.runtime.starting import START_S, TOLD, Address, Starting, bring_up, listeners, wait_until_ready
from wsgilab.system import process
from wsgilab.system.process import Child
from wsgilab.testing import FakeTarget, server
from wsgilab_door import loader

CPUS = frozenset({0})
WANTED = Address("127.0.0.1", 8100)
ELSEWHERE = Address("0.0.0.0", 8080)
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:A30D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3281 1 0000000000000000 100
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3282 1 0000000000000000 100
   2: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3283 1 0000000000000000 100
   3: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3284 1 0000000000000000 100
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:1F41 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   1: 00000000000000000000000001000000:1F42 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   2: 0000000000000000FFFF00000100007F:1F43 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


# Who listens.


def test_who_listens_is_read_from_the_kernels_tables_but_for_dockers_own() -> None:
    assert {str(each) for each in listeners(TABLE)} == {
        "127.0.0.1:8080",
        "0.0.0.0:8000",
        "[::]:8001",
        "[::1]:8002",
        "127.0.0.1:8003",
    }


@pytest.mark.parametrize("text", ["", "\n", "no such file", "0: x:y z 01", "a b c"])
def test_of_no_table_nobody_listens(text: str) -> None:
    assert listeners(text) == frozenset()


def test_a_socket_of_this_machine_is_found_while_it_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        own = Address(*listening.getsockname())
        assert own in listeners(Path("/proc/self/net/tcp").read_text())
    assert own not in listeners(Path("/proc/self/net/tcp").read_text())


@pytest.mark.parametrize(
    ("host", "port", "wanted", "serves"),
    [
        ("127.0.0.1", 8100, "127.0.0.1", True),
        ("0.0.0.0", 8100, "127.0.0.1", True),
        ("::", 8100, "127.0.0.1", True),
        ("::ffff:127.0.0.1", 8100, "127.0.0.1", True),
        ("127.0.0.2", 8100, "127.0.0.1", False),
        ("::1", 8100, "127.0.0.1", False),
        ("127.0.0.1", 8000, "127.0.0.1", False),
        ("127.0.0.1", 8100, "0.0.0.0", False),
        ("::1", 8100, "0.0.0.0", False),
        ("0.0.0.0", 8100, "0.0.0.0", True),
        ("::", 8100, "0.0.0.0", True),
        ("172.18.0.5", 8100, "0.0.0.0", True),
    ],
)
def test_who_listens_serves_those_that_reach_it(host: str, port: int, wanted: str, serves: bool) -> None:
    assert Address(host, port).serves(Address(wanted, 8100)) is serves


# Waiting.


@dataclass(slots=True, kw_only=True)
class Fake(FakeTarget):
    """A server that is ready, and listens, as it is told."""

    wanted: Address = WANTED
    ready: Callable[[], bool] = lambda: False
    sockets: Callable[[], Collection[Address]] = lambda: ()
    looks: int = 0
    ended: bool = False

    def end(self) -> None:
        self.ended = True

    def is_ready(self) -> bool:
        return self.ready()

    def listening(self) -> Collection[Address]:
        self.looks += 1
        return self.sockets()


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, in a list of one; who sleeps lets it pass."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(starting, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def refusal(*started: Starting, how: tuple[Any, ...] = ()) -> TargetError:
    with pytest.raises(TargetError) as caught:
        wait_until_ready(started, CPUS, 0.05, *how)
    return caught.value


def test_who_listens_elsewhere_alone_is_told_so_long_before_patience_ends(now_s: list[float]) -> None:
    fake = Fake(server=server("own"), sockets=lambda: [ELSEWHERE, Address("::1", 9)], log="Serving on 8080\n")

    error = refusal(Fake(server=server("good"), ready=lambda: True), fake)

    assert error.message == (
        "own listens at 0.0.0.0:8080 and [::1]:9, not at 127.0.0.1:8100 as asked; have it bind LAB_BIND, or LAB_HOST and "
        "LAB_PORT; see its last lines below"
    )
    assert error.detail == "Serving on 8080"
    assert now_s[0] - 1000 < START_S / 4
    assert fake.looks == 2, "at the second look that finds it there"


def test_who_listens_elsewhere_first_and_then_as_asked_is_waited_for(now_s: list[float]) -> None:
    fake = Fake(
        server=server("own"),
        ready=lambda: now_s[0] > 1030,
        sockets=lambda: [ELSEWHERE] if now_s[0] < 1008 else [ELSEWHERE, WANTED],
    )

    soon = Fake(server=server("own"), ready=lambda: now_s[0] > 1002)
    wait_until_ready([soon], CPUS, 0.05)
    assert soon.looks == 0, "it is ready before the first look"
    wait_until_ready([fake], CPUS, 0.05)


def test_what_runs_on_other_cores_than_asked_is_refused(now_s: list[float]) -> None:
    error = refusal(Fake(server=server("own"), ready=lambda: True, cpus=frozenset({0, 1})))

    assert error.message.startswith("own runs on cores 0-1, not on 0 as asked; ")
    assert now_s[0] - 1000 < 1


@pytest.mark.parametrize(
    ("sockets", "told"),
    [
        ([], ": it listens nowhere, not at 127.0.0.1:8100 either; have it bind LAB_BIND, or LAB_HOST and LAB_PORT"),
        ([WANTED], ", though it listens at 127.0.0.1:8100 as asked"),
    ],
)
def test_who_is_never_ready_is_told_with_where_it_listens(
    now_s: list[float], sockets: list[Address], told: str
) -> None:
    error = refusal(Fake(server=server("own"), sockets=lambda: sockets))

    assert error.message == f"own did not answer within 60 s of its start{told}; it has written nothing"
    assert now_s[0] - 1000 > START_S


def test_an_application_that_is_never_ready_is_told_with_its_page_and_the_time_that_it_has(now_s: list[float]) -> None:
    fake = Fake(server=server("own"), sockets=lambda: [WANTED])
    message = refusal(fake, how=(90.0, "/healthz")).message
    told = "own did not answer /healthz with a status below 500 within 90 s of its start, though it listens at "
    assert message.startswith(told)
    assert "where it needs longer, say so with start_s in the application's file" in message
    assert now_s[0] - 1000 > 90


def test_an_application_that_has_too_little_memory_is_told_how_it_gets_more() -> None:
    for page, remedy in (("/", "; say how much it may have with memory_mb in the application's file"), (None, "")):
        fake = Fake(server=server("own"), died="was killed for lack of memory")
        told = f"own did not start: was killed for lack of memory{remedy}; it has written nothing"
        assert refusal(fake, how=(None, page)).message == told


def test_where_some_may_be_left_out_the_others_are_waited_for(now_s: list[float]) -> None:
    dead = Fake(server=server("dead"), died="ended with exit code 3", log="KeyError: 'X'")
    never = Fake(server=server("never"), sockets=lambda: [WANTED])
    good = Fake(server=server("good"), ready=lambda: now_s[0] > 1030)
    out: dict[str, TargetError] = {}

    ready = wait_until_ready([dead, never, good], CPUS, 0.05, leave_out=out.__setitem__)

    assert ready == ["good"]
    assert {name: error.message.split(";")[0] for name, error in out.items()} == {
        "dead": "dead did not start: ended with exit code 3",
        # 60 s after the good one got ready, with which it was started on the same cores.
        "never": "never did not answer within 90 s of its start, though it listens at 127.0.0.1:8100 as asked",
    }
    assert [each.ended for each in (dead, never, good)] == [True, True, False]
    with pytest.raises(TargetError, match="dead did not start"):
        wait_until_ready([dead, never], CPUS, 0.05, leave_out=out.__setitem__)


def test_those_that_start_on_the_same_slow_cores_have_their_time_from_when_the_one_before_got_ready(
    now_s: list[float],
) -> None:
    """Sixteen of which one gets ready every 50 s are all waited for; one that hangs is told 60 s after the last of them."""

    def ready_after(seconds: float) -> Callable[[], bool]:
        return lambda: now_s[0] > 1000 + seconds

    fakes = [Fake(server=server(f"slow-{number}"), ready=ready_after(50 * number)) for number in range(1, 17)]
    assert len(wait_until_ready(fakes, CPUS, 0.05)) == 16
    assert 800 < now_s[0] - 1000 < 801

    begun_s = now_s[0]
    never = Fake(server=server("never"))
    good = Fake(server=server("good"), ready=lambda: now_s[0] > begun_s + 10)
    assert refusal(never, good).message.startswith("never did not answer within 70 s of its start")
    assert 70 < now_s[0] - begun_s < 71


class Begun:
    """Starts servers, and says which of them together."""

    def __init__(self, *fakes: Fake) -> None:
        self._fakes = {each.name: each for each in fakes}
        self.seen: list[str] = []

    def begin(self, servers: Collection[Server]) -> Collection[Fake]:
        self.seen.append(" ".join(each.name for each in servers))
        return [self._fakes[each.name] for each in servers]

    def looked_at(self, up: Sequence[Target], rest: Sequence[Server]) -> int:
        if len(up) == 1:
            self.seen.append(f"{up[0].name}?")
        return len(rest)

    def up(self, out: dict[str, TargetError]) -> Sequence[str]:
        servers = [each.server for each in self._fakes.values()]
        return bring_up(servers, self.begin, CPUS, 0.05, None, None, out.__setitem__, self.looked_at)


def test_the_first_server_is_looked_at_before_the_others_are_started_and_stays_up() -> None:
    one, two, three = (Fake(server=server(name), ready=lambda: True) for name in ("one", "two", "three"))
    begun, out = Begun(one, two, three), dict[str, TargetError]()

    assert begun.up(out) == ["one", "two", "three"]
    assert (begun.seen, out, one.ended) == (["one", "one?", "two three"], {}, False)


def test_of_many_servers_some_are_started_at_a_time() -> None:
    fakes = [Fake(server=server(f"server-{at}"), ready=lambda: True) for at in range(34)]
    begun = Begun(*fakes)

    assert begun.up({}) == [each.name for each in fakes]
    assert [len(each.split()) for each in begun.seen] == [1, 1, 16, 16, 1]


def test_before_more_are_started_it_is_asked_how_many_and_may_end_some_or_want_none() -> None:
    fakes = [Fake(server=server(f"server-{at}"), ready=lambda: True) for at in range(6)]
    begun, asked = Begun(*fakes), list[tuple[int, int]]()

    def two_at_a_time(up: Sequence[Target], rest: Sequence[Server]) -> int:
        asked.append((len(up), len(rest)))
        for each in up:
            each.end()
        return min(2, len(rest) - 1)

    ready = bring_up([each.server for each in fakes], begun.begin, CPUS, 0.05, before_more=two_at_a_time)
    assert begun.seen == ["server-0", "server-1 server-2", "server-3 server-4"]
    assert ready == [f"server-{at}" for at in range(5)], "those that it has ended too, but none that was not started"
    assert asked == [(1, 5), (3, 3), (5, 1)]


def test_a_first_server_that_has_ended_is_left_out_and_the_next_takes_its_place(now_s: list[float]) -> None:
    dead = Fake(server=server("dead"), died="ended with exit code 3")
    two, three = (Fake(server=server(name), ready=lambda: True) for name in ("two", "three"))
    begun, out = Begun(dead, two, three), dict[str, TargetError]()

    assert begun.up(out) == ["two", "three"]
    assert (begun.seen, list(out)) == (["dead", "two", "two?", "three"], ["dead"])


def test_a_first_server_that_is_never_ready_is_looked_at_too_and_ended_before_the_others_are_started(
    now_s: list[float],
) -> None:
    never = Fake(server=server("never"))
    two = Fake(server=server("two"), ready=lambda: never.ended)
    begun, out = Begun(never, two), dict[str, TargetError]()

    assert begun.up(out) == ["two"]
    assert (begun.seen, list(out)) == (["never", "never?", "two"], ["never"])


def test_who_listens_is_prepared_and_has_no_more_than_its_time_to_start_from_then_on(now_s: list[float]) -> None:
    begun_s = now_s[0]
    wrong = Fake(server=server("wrong"), sockets=lambda: (WANTED,) if now_s[0] > begun_s + 100 else ())
    with pytest.raises(TargetError, match=r"^wrong did not answer / with a status below 500 within 20 s .* listens at"):
        bring_up([wrong.server], Begun(wrong).begin, CPUS, 0.05, 320, "/", prepare_s=300)
    assert begun_s + 120 < now_s[0] < begun_s + 130

    # One that never listens may still be preparing.
    begun_s = now_s[0]
    slow = Fake(server=server("slow"), ready=lambda: now_s[0] > begun_s + 310)
    assert bring_up([slow.server], Begun(slow).begin, CPUS, 0.05, 320, "/", prepare_s=300) == ["slow"]


def test_where_two_have_ended_the_others_are_started_together_and_where_all_have_the_first_is_told() -> None:
    fakes = [Fake(server=server(name), died="ended with exit code 3") for name in ("one", "two", "three", "four")]
    begun, out = Begun(*fakes), dict[str, TargetError]()
    with pytest.raises(TargetError, match=r"^one did not start"):
        begun.up(out)
    assert (begun.seen, out) == (["one", "two", "three four"], {})

    begun = Begun(*fakes[:2], Fake(server=server("three"), ready=lambda: True))
    assert begun.up(out) == ["three"]
    assert list(out) == ["one", "two"]


def test_who_ends_is_told_at_once_with_its_last_lines(now_s: list[float]) -> None:
    error = refusal(Fake(server=server("own"), died="ended with exit code 3", log="KeyError: 'LAB_BIND'"))

    assert error.message == "own did not start: ended with exit code 3; see its last lines below"
    assert error.detail == "KeyError: 'LAB_BIND'"
    assert now_s[0] == 1000


@pytest.mark.parametrize("cause", ["[Errno 30] Read-only file system: 'x.db'", "[Errno 13] Permission denied: 'x.db'"])
def test_an_application_that_may_not_write_is_told_how_it_may(cause: str) -> None:
    fake = Fake(server=server("own"), died="ended with exit code 3", log=f"{TOLD}shop:app does not import: {cause}\n")
    writable = "; name the folders that it writes to with writable in the application's file"
    for page, remedy in (("/", writable), (None, "")):
        told = f"own did not start: shop:app does not import: {cause}{remedy}"
        assert refusal(fake, how=(None, page)).message == told


def test_where_the_door_says_why_that_is_told_with_the_traceback_of_the_application_alone(now_s: list[float]) -> None:
    line = "wsgilab_door: shop:app does not import: KeyError: 'X' (shop.py, line 2)"
    traceback = "Traceback (most recent call last):\n  File 'shop.py', line 2\nKeyError: 'X'"
    log = f"{traceback}\n{line}\n[ERROR] Exception in worker process\n{line}\n" + "[ERROR] and so on\n" * 20
    error = refusal(Fake(server=server("own"), died="ended with exit code 3", log=log))

    assert error.message == (
        "own did not start: shop:app does not import: KeyError: 'X' (shop.py, line 2); see its last lines below"
    )
    assert error.detail == traceback


def test_where_there_is_no_traceback_none_is_promised(now_s: list[float]) -> None:
    error = refusal(Fake(server=server("own"), died="ended with exit code 3", log=f"{TOLD}shop has no 'apq'\nmore\n"))

    assert (error.message, error.detail) == ("own did not start: shop has no 'apq'", "")


def test_the_doors_lines_are_known_by_what_it_begins_them_with() -> None:
    assert loader.TOLD == TOLD


def test_processes_of_this_machine_are_found_to_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole tree: it may be a child that listens."""
    monkeypatch.setattr(starting, "LOOK_S", 0.1)
    script = (
        "import os, socket, time\nif os.fork() == 0: kept = socket.create_server(('127.0.0.1', 0))\ntime.sleep(60)\n"
    )
    cpus = frozenset(os.sched_getaffinity(0))

    def spawn(cpus: frozenset[int]) -> Child:
        log = tmp_path / "log"
        return process.spawn([sys.executable, "-c", script], cwd=tmp_path, env=os.environ, cpus=cpus, log=log)

    running = RunningProcess("own", cpus, WANTED.port, tmp_path / "log", spawn, lambda: False)
    try:
        with pytest.raises(TargetError, match=r"^own listens at 127\.0\.0\.1:\d+, not at 127\.0\.0\.1:8100 as asked"):
            wait_until_ready([running], cpus, 0.01)
    finally:
        running.end()
