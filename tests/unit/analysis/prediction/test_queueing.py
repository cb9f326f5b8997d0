"""The queueing models against theory: formulas where there are any, and a simulation where there are none."""

import heapq
import math
import random
import statistics
from collections import deque
from dataclasses import replace
from itertools import pairwise

import pytest

from wsgilab.analysis.prediction.queueing import Expected, RequestModel, predict

EXPONENTIAL = RequestModel(wait_ms=0.0, cpu_ms=1000.0, spread=1.0)
"""A second of computing."""
WAITING = RequestModel(wait_ms=1000.0, cpu_ms=0.0, spread=1.0)


def seconds(expected: Expected) -> tuple[float, float]:
    """Mean and 95th percentile of the latency."""
    assert expected.latency_mean_ms is not None
    assert expected.p95_ms is not None
    return expected.latency_mean_ms / 1000, expected.p95_ms / 1000


def erlang_c(servers: int, load: float) -> float:
    """The chance to wait with so many Erlangs (1917)."""
    terms = [load**count / math.factorial(count) for count in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last)


def repairman(users: int, think: float, services: float = 1.0) -> float:
    """Throughput of one exponential server with so many users who think (Feller 1957, XVII.7)."""
    weights = [math.perm(users, count) * (services / think) ** count for count in range(users + 1)]
    return (1 - weights[0] / sum(weights)) / services


# --- open


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_one_slot_is_m_m_1(load: float) -> None:
    for model in (EXPONENTIAL, WAITING):
        mean, p95 = seconds(predict(model, rate=load, workers=1, threads=1, cores=1))

        assert mean == pytest.approx(1 / (1 - load), rel=1e-3)
        assert p95 == pytest.approx(-math.log(0.05) / (1 - load), rel=0.02)


@pytest.mark.parametrize(("slots", "load"), [(2, 1.4), (4, 3.6), (8, 4.0)])
def test_several_slots_are_m_m_c(slots: int, load: float) -> None:
    mean, _ = seconds(predict(WAITING, rate=load, workers=1, threads=slots, cores=1))

    assert mean == pytest.approx(1 + erlang_c(slots, load) / (slots - load), rel=1e-3)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_one_slot_with_less_spread_has_the_mean_of_pollaczek_and_khinchine(spread: float) -> None:
    model = replace(WAITING, spread=spread)

    mean, _ = seconds(predict(model, rate=0.8, workers=1, threads=1, cores=1))

    assert mean == pytest.approx(1 + 0.8 * (1 + spread**2) / (2 * 0.2), rel=1e-3)


@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_even_arrivals_are_d_m_1(load: float) -> None:
    waits = 0.5
    for _ in range(500):
        waits = math.exp(-(1 - waits) / load)

    mean, _ = seconds(predict(EXPONENTIAL, rate=load, arrivals="constant", workers=1, threads=1, cores=1))

    assert mean == pytest.approx(1 / (1 - waits), rel=0.05)


def test_even_arrivals_of_even_requests_never_wait() -> None:
    mean, p95 = seconds(
        predict(replace(WAITING, spread=0.0), rate=0.9, arrivals="constant", workers=1, threads=1, cores=1)
    )

    assert (mean, p95) == pytest.approx((1.0, 1.0), rel=1e-3)


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_unbounded_slots_share_the_cores(cores: int) -> None:
    model = replace(EXPONENTIAL, has_gil=False)
    load = 0.8 * cores

    mean, _ = seconds(predict(model, rate=load, workers=1, threads=None, cores=cores))

    # Processor sharing has the mean of M/M/c, whatever the distribution.
    assert mean == pytest.approx(1 + erlang_c(cores, load) / (cores - load), rel=1e-3)


def test_with_a_gil_more_cores_bring_one_process_nothing() -> None:
    found = [predict(EXPONENTIAL, users=8, workers=1, threads=4, cores=cores) for cores in (1, 2)]

    assert [each.throughput_rps for each in found] == pytest.approx([1.0, 1.0])
    assert [each.bound_by for each in found] == ["cpu", "gil"]


def test_a_rate_beyond_the_limit_has_no_latency() -> None:
    found = predict(WAITING, rate=9.0, workers=2, threads=4, cores=1)

    assert found.throughput_rps == pytest.approx(8.0)
    assert (found.latency_mean_ms, found.p95_ms, found.bound_by) == (None, None, "slots")


# --- closed


@pytest.mark.parametrize("think", [0.5, 5.0])
@pytest.mark.parametrize("users", [1, 4, 20])
def test_one_slot_is_the_machine_repairman(users: int, think: float) -> None:
    model = replace(EXPONENTIAL, pause_ms=think * 1000)

    found = predict(model, users=users, workers=1, threads=1, cores=1)

    assert found.throughput_rps == pytest.approx(repairman(users, think), rel=1e-6)
    assert found.latency_mean_ms == pytest.approx((users / repairman(users, think) - think) * 1000, rel=1e-6)


def test_waiting_and_computing_are_a_closed_network() -> None:
    model = RequestModel(wait_ms=3000.0, cpu_ms=1000.0, spread=1.0, has_gil=False)
    one = predict(model, users=6, workers=1, threads=6, cores=1)

    # Its wait is to its core as the thinking of users is to one server.
    assert one.throughput_rps == pytest.approx(repairman(6, 3.0), rel=1e-6)
    assert predict(model, users=1, workers=1, threads=6, cores=2).throughput_rps == pytest.approx(0.25)
    assert predict(model, users=600, workers=1, threads=600, cores=2).throughput_rps == pytest.approx(2.0, rel=1e-3)


def test_users_beyond_the_slots_queue() -> None:
    found = predict(replace(WAITING, spread=0.01), users=32, workers=1, threads=8, cores=1)

    assert (found.throughput_rps, found.latency_mean_ms, found.p95_ms) == pytest.approx((8.0, 4000.0, 4000.0), rel=0.02)
    assert found.bound_by == "slots"
    assert predict(WAITING, users=4, workers=1, threads=8, cores=1).bound_by == "demand"


def test_scattered_requests_leave_slots_free() -> None:
    scattered, pinned = (replace(WAITING, sharing=sharing) for sharing in ("scattered", "pinned"))

    # Of two requests in two processes of one slot: exponential services leave them in one of three states alike.
    assert predict(scattered, users=2, workers=2, threads=1, cores=1).throughput_rps == pytest.approx(4 / 3)
    # Tossed for once: both in one process with a chance of a half.
    assert predict(scattered, users=8, workers=2, threads=4, cores=1).bound_by == "balance"
    assert predict(pinned, users=2, workers=2, threads=1, cores=1).throughput_rps == pytest.approx(1.5)
    assert predict(scattered, users=400, workers=2, threads=4, cores=1).throughput_rps == pytest.approx(8.0, rel=0.02)


def test_factors_are_those_of_what_was_measured() -> None:
    scaled = replace(WAITING, throughput_factor=0.9, p95_factor=1.5)
    plain, found = (predict(each, users=32, workers=1, threads=8, cores=1) for each in (WAITING, scaled))

    assert found.throughput_rps == pytest.approx(0.9 * plain.throughput_rps)
    assert found.p95_ms == pytest.approx(1.5 * (plain.p95_ms or 0.0))


def test_either_users_or_a_rate_are_asked_for() -> None:
    with pytest.raises(ValueError, match="either users or a rate"):
        predict(WAITING, workers=1, threads=1, cores=1)
    with pytest.raises(ValueError, match="positive"):
        predict(WAITING, users=0, workers=1, threads=1, cores=1)


# --- against a simulation


def simulated(
    model: RequestModel, users: int, slots: int, cores: int, requests: int = 12_000
) -> tuple[float, float, float]:
    """Throughput a second, 95th percentile in milliseconds, and spread of the time in a slot, of one process without a GIL: gamma waits,
    then exponential computing on shared cores; slots are given in turn, and users come back at once."""
    source = random.Random(1)
    shape = 1 / model.spread**2
    waits: list[tuple[float, int, float, float]] = []
    queue = deque((0.0, user) for user in range(users))
    computing: list[tuple[float, int, float, float]] = []
    now = worked = 0.0
    held, latencies, stays = 0, list[float](), list[float]()
    while len(stays) < requests:
        while queue and held < slots:
            began, user = queue.popleft()
            held += 1
            wait = source.gammavariate(shape, model.wait_ms / shape) if model.wait_ms else 0.0
            heapq.heappush(waits, (now + wait, user, began, now))
        speed = min(1.0, cores / len(computing)) if computing else 0.0
        done_at = now + (computing[0][0] - worked) / speed if computing else math.inf
        if waits and waits[0][0] <= done_at:
            at, user, began, entered = heapq.heappop(waits)
            worked, now = worked + (at - now) * speed, at
            work = source.expovariate(1 / model.cpu_ms) if model.cpu_ms else 0.0
            heapq.heappush(computing, (worked + work, user, began, entered))
        else:
            work, user, began, entered = heapq.heappop(computing)
            worked, now = work, done_at
            latencies.append(now - began)
            stays.append(now - entered)
            held -= 1
            queue.append((now, user))
    steady = sorted(latencies[requests // 6 :])
    return requests / now * 1000, steady[int(0.95 * len(steady))], statistics.pstdev(stays) / statistics.fmean(stays)


@pytest.mark.parametrize(
    ("wait_ms", "cpu_ms", "spread", "users", "slots", "cores"),
    [
        (50.0, 2.0, 0.5, 32, 8, 1),
        (20.0, 5.0, 1.0, 16, 8, 1),
        (20.0, 5.0, 0.5, 64, 32, 2),
        (10.0, 1.0, 1.0, 6, 8, 2),
    ],
)
def test_it_agrees_with_a_simulation(
    wait_ms: float, cpu_ms: float, spread: float, users: int, slots: int, cores: int
) -> None:
    model = RequestModel(wait_ms=wait_ms, cpu_ms=cpu_ms, spread=spread, has_gil=False)

    throughput, p95_ms, spread = simulated(model, users, slots, cores)
    found = predict(replace(model, spread=spread), users=users, workers=1, threads=slots, cores=cores)

    assert found.throughput_rps == pytest.approx(throughput, rel=0.03)
    assert found.p95_ms == pytest.approx(p95_ms, rel=0.15)


def test_more_of_anything_is_never_less() -> None:
    model = RequestModel(wait_ms=20.0, cpu_ms=2.0, spread=0.5, sharing="scattered", outside_ms=0.3)
    by_users = [predict(model, users=users, workers=3, threads=4, cores=2) for users in range(1, 60, 3)]
    by_threads = [predict(model, users=40, workers=3, threads=threads, cores=2) for threads in range(1, 30, 3)]

    for found in (by_users, by_threads):
        assert all(b.throughput_rps >= a.throughput_rps * 0.999 for a, b in pairwise(found))
