"""How evenly a server serves kept connections, by how soon its clients send their next request.

A greenlet that finds its next request already there goes on with the same connection, and others wait. wrk and the lab's users
send it as soon as they have read an answer; a client that is a program of its own, across a network, or a proxy whose own clients
take a moment, does not. So the same load is made by a client that lets so many microseconds pass between an answer and the next
request of its connection. All have as many connections to the same server, in turn. A percentile is of what was measured; what wrk
prints is another (see `truth`).
"""

import heapq
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from urllib.parse import urlsplit

from benchmarks.bench import Bench, main, rates
from benchmarks.outcome import Block, Outcome, Rate, Row, Scope
from benchmarks.rivals import Wrk, percentile_ms
from benchmarks.truth import PATIENCE_S, USERS, swarm_report
from wsgilab.analysis import stats
from wsgilab.load.client import LocustSwarm
from wsgilab.model.errors import SwarmError

SERVERS = ("gunicorn-gevent", "gunicorn-gthread-8")
THINKING_US = (0, 20, 50, 100, 200, 500, 1000)
PERCENTILES = (50, 95, 99)
_LAST = b"\r\n\r\nhello\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(Rate):
    """What a client has seen."""

    latency_ms: Mapping[str, float]
    """`p50`, `p95`, `p99`."""
    busiest_user_share: float | None
    """The answers of the connection that had most, over an even share; None where the client does not say."""


def thinking(base_url: str, think_us: int, window_s: float) -> Seen:
    """The load of a client that lets so much time pass between an answer and its connection's next request.

    Raises SwarmError where a connection is lost, or nothing is answered.
    """
    address = urlsplit(base_url)
    where = address.hostname or "", address.port or 80
    request = f"GET /hello HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: keep-alive\r\n\r\n".encode()
    took_us: dict[int, int] = {}
    counts, sent_ns, received = [0] * USERS, [0] * USERS, [b""] * USERS
    due: list[tuple[int, int]] = []
    with ExitStack() as up:
        ready = up.enter_context(selectors.DefaultSelector())
        connections = [up.enter_context(socket.create_connection(where)) for _ in range(USERS)]
        for number, connection in enumerate(connections):
            ready.register(connection, selectors.EVENT_READ, number)
            heapq.heappush(due, (0, number))
        used_s, begin_ns = time.process_time(), time.monotonic_ns()
        end_ns = begin_ns + round(window_s * 1e9)
        # On a busy machine a server may have no turn in a whole window.
        while (now_ns := time.monotonic_ns()) < end_ns + (0 if took_us else PATIENCE_S * 1e9):
            while due and due[0][0] <= now_ns:
                _, number = heapq.heappop(due)
                sent_ns[number], received[number] = time.monotonic_ns(), b""
                connections[number].sendall(request)
            # It does not sleep: to be woken takes longer than the times that are to be kept.
            for key, _ in ready.select(0):
                number = key.data
                some = connections[number].recv(1 << 16)
                if not some:
                    raise SwarmError(f"{base_url} has closed a connection")
                received[number] += some
                if received[number].endswith(_LAST):
                    answered_ns = time.monotonic_ns()
                    counts[number] += 1
                    us = (answered_ns - sent_ns[number]) // 1000
                    took_us[us] = took_us.get(us, 0) + 1
                    heapq.heappush(due, (answered_ns + think_us * 1000, number))
        passed_s = (now_ns - begin_ns) / 1e9
    if not took_us:
        raise SwarmError(f"{base_url} has answered nothing within {passed_s:.0f} s")
    return Seen(
        rps=sum(counts) / passed_s,
        generator_cpu=(time.process_time() - used_s) / passed_s,
        latency_ms={f"p{percent}": percentile_ms(took_us, percent) for percent in PERCENTILES},
        busiest_user_share=max(counts) / sum(counts) * USERS,
    )


def by_swarm(swarm: LocustSwarm, base_url: str, window_s: float) -> Seen:
    """The lab's users. Raises SwarmError where any request failed."""
    report = swarm_report(swarm, base_url, "keep-alive", window_s)
    return Seen(
        rps=report.throughput_rps,
        generator_cpu=report.generator_cpu,
        latency_ms={f"p{percent}": report.latency_ms[f"p{percent}"] for percent in PERCENTILES},
        busiest_user_share=None if report.busiest_user is None else report.busiest_user / report.completed * USERS,
    )


def by_wrk(wrk: Wrk, base_url: str, window_s: float) -> Seen:
    """Raises SwarmError where any request failed."""
    load = wrk.load(base_url, connection="keep-alive", connections=USERS, window_s=window_s)
    latency_ms = {f"p{percent}": percentile_ms(load.took_us, percent) for percent in PERCENTILES}
    return Seen(**asdict(load.rate), latency_ms=latency_ms, busiest_user_share=None)


def measure(bench: Bench) -> Outcome:
    """All clients in turn, on a server of greenlets and one of threads."""
    wrk = Wrk()
    with ExitStack() as up:
        fleet = up.enter_context(bench.runtime.start([bench.servers[name] for name in SERVERS], bench.server_cpus))
        swarm = LocustSwarm(up.enter_context(bench.runtime.swarm(bench.generator_cpus)), bench.generator_cpus)
        groups: dict[str, dict[str, Callable[[], Rate]]] = {
            name: {
                "the lab's users": partial(by_swarm, swarm, target.base_url, bench.window_s),
                "wrk": partial(by_wrk, wrk, target.base_url, bench.window_s),
                **{
                    f"after {think_us} µs": partial(thinking, target.base_url, think_us, bench.window_s)
                    for think_us in THINKING_US
                },
            }
            for name, target in fleet.items()
        }
        blocks = [bench.measure(number, groups) for number in range(bench.blocks)]
    scope = Scope(
        rounds=f"1 start of the servers, in which all were measured {len(blocks)} times in turn",
        modes=f"local processes; `hello`; kept connections; {USERS} of them",
        left_out="other servers, containers, clients across a network",
    )
    return Outcome(settings={"wrk": wrk.version, "users": USERS}, blocks=blocks, rows=summary(blocks), scope=scope)


def summary(blocks: Sequence[Block]) -> Sequence[Row]:
    """A row for each server and client."""
    clients = ["the lab's users", "wrk", *(f"after {think_us} µs" for think_us in THINKING_US)]
    return [_row(blocks, server, client) for server in SERVERS for client in clients]


def _row(blocks: Sequence[Block], server: str, client: str) -> Row:
    seen = [each for block in blocks if isinstance(each := block[server][client], Seen)]
    shares = [each.busiest_user_share for each in seen if each.busiest_user_share is not None]
    return {
        "server": server,
        "next request": client,
        "requests/s": rates(blocks, server, client),
        **{f"p{percent}, ms": median(each.latency_ms[f"p{percent}"] for each in seen) for percent in PERCENTILES},
        "busiest user": stats.median_interval(shares) if shares else "",
    }


if __name__ == "__main__":
    main("clients", __doc__, measure, blocks=6, window_s=1.0)
