"""Requests at a fixed rate, on real servers: who keeps up, who does not, and what a closed loop would have hidden. And what the
latencies of a closed loop consist of, against theory."""

import contextlib
import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from arrivals import POISSON, schedule
from tests.e2e.built import CROWD, STALL_NS
from tests.e2e.conftest import Cli, built, make_cli, observations, with_servers
from wsgilab import commands
from wsgilab.load.client import LocustSwarm
from wsgilab.model import TrialSpec
from wsgilab.run.testbed import choose_runtime
from wsgilab.system import host

pytestmark = [pytest.mark.lab, pytest.mark.alone]

RATE = 100
TOO_FAST = 40
SLEEP_MS = 50

# One block of a whole second, which holds 0.3 s of the stall wherever it begins. With this seed the Poisson schedule
# has 101 arrivals due in it.
EXPERIMENT = f"""
name: rate
blocks: 1
window_s: 1
patience_s: 0.8
reference: gunicorn-gthread-8
workloads: {{sleep: {{ms: {SLEEP_MS}}}}}
cells:
  - {{servers: [gunicorn-gthread-8], workloads: [hello], rate: [{RATE}]}}
  - {{servers: [gunicorn-gthread-8], workloads: [hello], rate: [{RATE}], arrivals: poisson}}
  - {{servers: [stalling], workloads: [hello], rate: [{RATE}]}}
  - {{servers: [stalling], workloads: [hello], users: [1]}}
  - {{servers: [gunicorn-sync-1], workloads: [sleep], rate: [{TOO_FAST}]}}
  - {{servers: [gunicorn-sync-1], workloads: [sleep], users: [32]}}
"""
SEED = 8

Cells = Mapping[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def run(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command line after one run of all."""
    folder = tmp_path_factory.mktemp("rate")
    cli = make_cli("local", state, folder / "results")
    with_servers(cli, folder, built("stalling", CROWD))
    # Nobody else is at work, and it need not be looked at first.
    cli.variables["LAB_SHARE_CORES"] = "1"
    experiment = folder / "rate.yaml"
    experiment.write_text(EXPERIMENT)
    ended = cli("lab.run", "--runtime", "local", "--experiment", str(experiment), "--seed", str(SEED))
    assert ended.code == 0, ended.output
    yield cli
    assert cli.leftovers() == []


@pytest.fixture(scope="module")
def cells(run: Cli) -> Cells:
    """Server and load -> the cell."""
    return {(cell["server"], cell.get("arrivals", "users")): cell for cell in run.comparison()["cells"]}


def _numbers(pattern: str, text: str) -> tuple[int, int]:
    found = re.search(pattern, text)
    assert found is not None, text
    return int(found[1]), int(found[2])


@pytest.mark.parametrize(("arrivals", "tolerance"), [("constant", 0.05), ("poisson", 0.25)])
def test_a_server_that_keeps_up_answers_at_the_rate(cells: Cells, arrivals: str, tolerance: float) -> None:
    cell = cells["gunicorn-gthread-8", arrivals]
    assert cell["throughput_rps"]["median"] == pytest.approx(RATE, rel=tolerance)
    # The machine may keep the generator from its core for a moment: some requests are late then, and that is told.
    bound = "demand", "neighbour", "late"
    assert (cell["bound_by"] in bound, cell["failures"], cell["cut_off"]) == (True, 0, 0), cell
    if cell["bound_by"] == "demand":
        answered, due = _numbers(r"it answered (\d+) requests of (\d+) that were due", cell["because"])
        assert answered >= 0.95 * due > 0
    assert cell["late"] <= RATE / 4


def test_a_stall_is_in_the_latencies_at_a_fixed_rate(cells: Cells) -> None:
    # Three in ten requests wait for what is left of the stall when they arrive: from 0 to all of it, evenly.
    # So one in twenty waits for five sixths of it or more.
    latency_ms = cells["stalling", "constant"]["latency_ms"]
    stall_ms = STALL_NS / 1e6
    assert latency_ms["p95"] > 0.6 * stall_ms
    assert latency_ms["max"] > 0.8 * stall_ms


def test_a_stall_is_not_in_the_latencies_of_a_closed_loop(cells: Cells) -> None:
    # Its one user asks but once or twice during the stall, and at least some fifty times outside it.
    assert cells["stalling", "users"]["latency_ms"]["p95"] < 0.3 * STALL_NS / 1e6


def test_a_server_that_does_not_keep_up_is_shown_to(cells: Cells, run: Cli) -> None:
    cell = cells["gunicorn-sync-1", "constant"]
    answered = cell["throughput_rps"]["median"]
    assert answered <= 1000 / SLEEP_MS * 1.02
    # Not all that was due was seen, so that no reason is drawn from what was in flight.
    assert (cell["bound_by"] in ("cut-off", "neighbour"), cell["failures"]) == (True, 0), cell
    assert "given up unanswered" in cell["because"] or cell["bound_by"] == "neighbour"
    pattern = r"(\d+) requests answered of (\d+) that were due: it does not keep up, and its latencies grow"
    done, due = _numbers(pattern, "\n".join(cell["warnings"]))
    assert done < 0.95 * due
    # In the half second before the window twenty were due, and ten could be answered: the window's first waits for
    # half a second already, its last longer than the patience of 0.8 s.
    assert cell["latency_ms"]["p50"] > 500
    assert cell["latency_ms"]["max"] > 800
    assert cell["cut_off"] > 5
    assert "cut-off" in cell["broken_gates"]
    # Nobody is told apart by a figure that a broken gate has spoilt.
    assert cell["rank"] is None


def test_the_queue_of_a_full_server_is_no_part_of_the_next_trial(cells: Cells, run: Cli) -> None:
    cell = cells["gunicorn-sync-1", "users"]
    rows = [json.loads(row) for row in observations(run.latest)]
    (swarm,) = [row["swarm"] for row in rows if row["cell"]["server"] == "gunicorn-sync-1" and row["cell"]["users"]]
    # 31 requests of 50 ms stood before the slot when the window ended. They are not worked off.
    assert swarm["drain_s"] < 0.5
    assert cell["failures"] == cell["cut_off"] == swarm["unanswered"] == 0
    # Everybody waits for everybody else's 50 ms: that no user had had an answer from the window's begin on is settled.
    assert swarm["settling_s"] > 30 * SLEEP_MS / 1000
    assert swarm["window_s"] > swarm["settling_s"] + 0.5
    assert cell["latency_ms"]["p50"] >= 31 * SLEEP_MS
    assert cell["throughput_rps"]["median"] <= 1000 / SLEEP_MS * 1.02
    # Little's law, which a latency from before the load had settled would break.
    assert cell["throughput_rps"]["median"] * swarm["latency_mean_ms"] / 1000 == pytest.approx(32, rel=0.1)


def test_the_parts_of_a_latency_add_up_to_it_and_a_request_queues_for_all_other_users(cells: Cells, run: Cli) -> None:
    for row in map(json.loads, observations(run.latest)):
        if row["cell"]["users"]:
            means = {part: times["mean"] for part, times in row["swarm"]["parts"].items()}
            assert sum(means.values()) == pytest.approx(row["swarm"]["latency_mean_ms"], rel=0.01)
    cell = cells["gunicorn-sync-1", "users"]
    parts = {part: times["mean"] for part, times in cell["parts"].items()}
    assert list(parts) == ["connect", "queue", "service", "back"]
    assert min(parts.values()) >= 0
    told = [line for line in (run.latest / "comparison.md").read_text().splitlines() if "Where the time" in line]
    assert len(told) == 1
    if "neighbour" not in cell["broken_gates"]:
        # A request that is answered is followed at once by that of the same user, which has all others before it; what a request
        # costs besides, of which there are 31, is a millisecond or so.
        queue_ms = 31 * SLEEP_MS
        assert queue_ms - SLEEP_MS < parts["queue"] < 1.1 * queue_ms, parts
        assert SLEEP_MS <= parts["service"] < 1.1 * SLEEP_MS, parts
        assert parts["connect"] + parts["back"] < 0.2 * SLEEP_MS, parts
        # By Little's law.
        assert sum(parts.values()) == pytest.approx(1000 * 32 / cell["throughput_rps"]["median"], rel=0.05)


# --- the generator alone, on servers of this process


@pytest.fixture(scope="module")
def swarm(state: Path) -> Iterator[LocustSwarm]:
    cpus = frozenset({max(host.usable_cpus())})
    runtime, _ = choose_runtime(commands.workspace({"LAB_STATE": str(state)}), "local")
    runtime.prepare([], [], print)
    with runtime.swarm(cpus) as channel:
        yield LocustSwarm(channel, cpus)
    # A conversation without a fleet leaves its log.
    assert runtime.sweep() == 0


def order(address: tuple[str, int], patience_s: float, seed: int = 0) -> TrialSpec:
    return TrialSpec(
        locustfile="hello",
        base_url=f"http://{address[0]}:{address[1]}",
        users=1,
        rate=RATE,
        window_s=0.6,
        patience_s=patience_s,
        options={
            "connection": "close",
            "request_timeout": 0,
            "rate": RATE,
            "arrivals": POISSON,
            "arrivals_seed": seed,
        },
    )


def nothing() -> None:
    """What a trial without a meter does at its window's ends."""


def listen(listener: socket.socket, moments_ns: list[int]) -> None:
    """Note when each request came, and answer it, until a connection comes without one."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\nLab-Stamp: 1 1 1 1 1\r\n\r\nhello\n"
    while True:
        connection, _ = listener.accept()
        at_ns = time.monotonic_ns()
        with connection, contextlib.suppress(OSError):
            if not connection.recv(1 << 16):
                return
            moments_ns.append(at_ns)
            connection.sendall(answer)


def arrivals_ms(swarm: LocustSwarm, seed: int) -> list[float]:
    """When a server has heard the requests of one trial, from the first on."""
    moments_ns: list[int] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listening = threading.Thread(target=listen, args=(listener, moments_ns))
        listening.start()
        try:
            swarm.load(order(listener.getsockname(), patience_s=1, seed=seed), nothing, nothing)
        finally:
            socket.create_connection(listener.getsockname()).close()
            listening.join()
    return offsets_ms(moments_ns)


def offsets_ms(moments_ns: Sequence[int]) -> list[float]:
    return [(each - moments_ns[0]) / 1e6 for each in moments_ns]


def apart_ms(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How far the same arrivals of two schedules are from each other, most of them."""
    return statistics.median(abs(one - other) for one, other in zip(ours, theirs, strict=False))


def test_the_same_seed_gives_the_same_arrivals(swarm: LocustSwarm) -> None:
    first, again, other = arrivals_ms(swarm, 5), arrivals_ms(swarm, 5), arrivals_ms(swarm, 6)
    assert len(first) > RATE / 2
    due = schedule(POISSON, RATE, 0, seed=5)
    assert apart_ms(first, again) < 5
    assert apart_ms(first, offsets_ms([next(due) for _ in first])) < 5
    assert apart_ms(first, other) > 20


def test_a_server_that_answers_nothing_is_given_up_when_patience_ends(swarm: LocustSwarm) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as mute:
        report = swarm.load(order(mute.getsockname(), patience_s=0.3), nothing, nothing)
    assert report.completed == report.failures == 0
    assert report.cut_off > RATE / 2
    assert 0.3 <= report.drain_s < 5
    # What was due at the window's begin has waited for the window and for as long as patience lasted.
    assert report.latency_ms["max"] > 0.8 * 900
