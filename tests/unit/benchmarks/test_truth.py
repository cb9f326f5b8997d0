"""What the benchmark `truth` makes of its blocks, and of what wrk prints."""

import socketserver
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import clients
from benchmarks.outcome import Block, Rate
from benchmarks.rivals import percentile_ms, uncorrected
from benchmarks.truth import PERCENTILES, USERS, Served, summary
from wsgilab.model import Interval

BLOCKS = 10


def served(share: float = 1.0, **changes: Any) -> Served:
    plain = Served(
        rps=1000.0 * share,
        generator_cpu=0.5,
        server_cpu_ms=0.25 / share,
        latency_ms={**dict.fromkeys(PERCENTILES, 16.0), "p99 printed": 32.0},
    )
    return replace(plain, **changes)


def block(number: int, ratios: dict[str, float], **changes: Any) -> Block:
    """A block in which the swarm sees these shares of what wrk sees, give or take a little."""
    scatter = 1 + 0.001 * (number % 3 - 1)
    return {
        group: {"swarm": served(share * scatter, **changes), "wrk": served(generator_cpu=0.1)}
        for group, share in ratios.items()
    }


def test_neither_connection_mode_hides_what_is_wrong_with_the_other() -> None:
    """Seven servers with kept connections, all of them too low, between nine with a connection a request."""
    low = {f"{name}, keep-alive": 0.93 for name in "abcdefg"}
    right = {f"{name}, close": 1.01 for name in "abcdefghi"}
    found = summary([block(number, low | right) for number in range(BLOCKS)], {})

    close, kept = found.claims[0], found.claims[4]
    assert close.what == "close, all 9 together: agreement of requests/s"
    assert kept.what == "keep-alive, all 7 together: agreement of requests/s"
    assert (close.verdict, kept.verdict) == ("holds", "fails")
    assert kept.ratio.median == pytest.approx(0.93, abs=0.002)
    assert [claim.verdict for claim in found.claims[5:]] == ["holds"] * 3
    assert [row["server"] for row in found.rows[-2:]] == ["all 9, close", "all 7, keep-alive"]
    kept_cpu = found.rows[-1]["CPU a request, swarm/wrk"]
    assert isinstance(kept_cpu, Interval)
    assert kept_cpu.median == pytest.approx(1 / 0.93)
    assert all(row.keys() == found.rows[0].keys() for row in found.rows)


def test_a_block_is_one_sample_however_many_servers_it_measured() -> None:
    ratios = {f"{number}, close": 0.9 + number / 100 for number in range(20)}
    few = summary([block(number, ratios) for number in range(3)], {})

    assert few.claims[0].blocks == 3
    assert few.claims[0].verdict == "undecided"


def test_a_server_that_was_too_fast_for_the_generator_takes_no_part() -> None:
    blocks = [block(number, {"a, close": 1.0, "b, close": 0.5}) for number in range(BLOCKS)]
    busy = served(0.5, generator_cpu=0.99)
    found = summary([{**each, "b, close": {**each["b, close"], "swarm": busy}} for each in blocks], {})

    assert found.claims[0].what == "close, all 1 together: agreement of requests/s"
    assert [row["differs"] for row in found.rows] == ["", "requests/s: the generator was busy", ""]


SLOW = {**dict.fromkeys(PERCENTILES, 16.0), "p95": 20.0, "p99": 160.0}


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"latency_ms": dict.fromkeys(PERCENTILES, 17.0)}, ""),
        ({"latency_ms": SLOW}, "p95, p99: unexplained"),
        (
            {"latency_ms": SLOW, "busiest_user_share": 9.0},
            "p95, p99: it serves connections unevenly, one of them 9.0 times its even share",
        ),
        (
            {"latency_ms": SLOW, "slow_connections": 1},
            "p95, p99: connections were slow to open, which wrk does not count",
        ),
    ],
)
def test_a_server_whose_percentiles_differ_is_listed_with_the_reason(changes: dict[str, Any], differs: str) -> None:
    found = summary([block(number, {"a, keep-alive": 1.0}, **changes) for number in range(BLOCKS)], {})

    assert found.rows[0]["differs"] == differs


def test_a_difference_that_blocks_do_not_agree_on_is_none_to_explain() -> None:
    apart = [{**dict.fromkeys(PERCENTILES, 16.0), "p99": 16.0 * (1.3 if number % 3 else 0.9)} for number in range(8)]
    found = summary([block(number, {"a, close": 1.0}, latency_ms=each) for number, each in enumerate(apart)], {})

    assert found.rows[0]["differs"] == "p99: within the scatter of the blocks"


# What wrk prints.


def corrected(took_us: dict[int, int], expected_us: int) -> dict[int, int]:
    """As wrk's `stats_correct` has it."""
    found = Counter(took_us)
    for us in range(2 * expected_us, max(took_us) + 1):
        added_us = us - expected_us
        while took_us.get(us) and added_us > expected_us:
            found[added_us] += took_us[us]
            added_us -= expected_us
    return dict(found)


@given(st.dictionaries(st.integers(1, 400), st.integers(1, 9), min_size=1), st.integers(1, 100))
def test_what_wrk_has_measured_follows_from_what_it_prints(took_us: dict[int, int], expected_us: int) -> None:
    assert uncorrected(corrected(took_us, expected_us), expected_us) == took_us


def test_a_percentile_is_of_the_requests_in_order() -> None:
    took_us = {3000: 5, 1000: 90, 2000: 5}

    assert [percentile_ms(took_us, percent) for percent in (50, 90, 95, 99)] == [1.0, 1.0, 2.0, 3.0]


# A client that takes a moment.


@pytest.mark.parametrize("think_us", [0, 20_000])
def test_a_client_sends_a_connections_next_request_so_long_after_its_answer(think_us: int) -> None:
    """The server sends its answers in two parts, as many do."""

    class Greeter(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                if line == b"\r\n":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
                    self.wfile.write(b"hello\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        seen = clients.thinking(f"http://127.0.0.1:{server.server_address[1]}", think_us, 0.1)
        server.shutdown()

    assert seen.busiest_user_share is not None
    assert seen.busiest_user_share >= 1
    assert 0 < seen.latency_ms["p50"] <= seen.latency_ms["p99"]
    if think_us:
        # At the beginning of each 20 ms of 100.
        assert seen.rps <= 5 * USERS / 0.1


def test_the_table_of_clients_has_what_each_has_seen() -> None:
    seen = clients.Seen(
        rps=10.0, generator_cpu=0.5, latency_ms={"p50": 1.0, "p95": 2.0, "p99": 3.0}, busiest_user_share=2.5
    )
    names = ["the lab's users", "wrk", *(f"after {us} µs" for us in clients.THINKING_US)]
    of_all: dict[str, Rate] = {**dict.fromkeys(names, seen), "wrk": replace(seen, busiest_user_share=None)}
    rows = clients.summary([dict.fromkeys(clients.SERVERS, of_all)])

    assert len(rows) == len(clients.SERVERS) * len(names)
    assert (rows[0]["server"], rows[0]["next request"], rows[0]["p99, ms"]) == (
        "gunicorn-gevent",
        "the lab's users",
        3.0,
    )
    assert rows[0]["busiest user"] == Interval(median=2.5, low=None, high=None)
    assert rows[1]["busiest user"] == ""
