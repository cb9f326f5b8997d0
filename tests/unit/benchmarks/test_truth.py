"""What the benchmark `truth` makes of its blocks."""

import pytest

from benchmarks.truth import Served, summary
from wsgilab.model import Interval

BLOCKS = 10


def block(number: int, ratios: dict[str, float]) -> dict[str, dict[str, Served]]:
    """A block in which the swarm sees these shares of what wrk sees, give or take a little."""
    wrk = Served(rps=1000.0, generator_cpu=0.1, server_cpu_ms=0.25)
    return {
        group: {
            "swarm": Served(
                rps=1000.0 * share * (1 + 0.001 * (number % 3 - 1)), generator_cpu=0.5, server_cpu_ms=0.25 / share
            ),
            "wrk": wrk,
        }
        for group, share in ratios.items()
    }


def test_neither_connection_mode_hides_what_is_wrong_with_the_other() -> None:
    """Seven servers with kept connections, all of them too low, between nine with a connection a request."""
    low = {f"{name}, keep-alive": 0.93 for name in "abcdefg"}
    right = {f"{name}, close": 1.01 for name in "abcdefghi"}
    found = summary([block(number, low | right) for number in range(BLOCKS)], {})

    close, kept, *single = found.claims
    assert close.what == "close, all 9 together, 0 of them below 1: agreement"
    assert kept.what == "keep-alive, all 7 together, 7 of them below 1: agreement"
    assert (close.verdict, kept.verdict) == ("holds", "fails")
    assert kept.ratio.median == pytest.approx(0.93, abs=0.002)
    assert len(single) == 16
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
    for each in blocks:
        each["b, close"]["swarm"] = Served(rps=500.0, generator_cpu=0.99, server_cpu_ms=0.5)

    found = summary(blocks, {})

    assert [claim.what for claim in found.claims] == [
        "close, all 1 together, 0 of them below 1: agreement",
        "a, close: agreement",
    ]
