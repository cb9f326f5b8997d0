"""Locust users against a server that costs next to nothing: the lab's own, on its reactor or with a greenlet each, and Locust's own two.

Runs as `python -m benchmarks._locust_contender` with the swarm's packages. One JSON object a line:

    in   {"users": "ours", "base_url": ..., "connection": ..., "count": ..., "window_s": ...}
    out  {"rps": ..., "generator_cpu": ..., "failures": ...}, or {"error": ...}

The lab's users (`ours`, and `greenlets` without the reactor) run as in a trial: without Locust's statistics, every sample kept, and no garbage collection. Locust's
run with all that Locust does.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gevent
from locust import FastHttpUser, HttpUser, User, task
from locust.env import Environment

from benchmarks._companion import take_orders
from wsgilab.load.local import POLL_S, end_window, environment, keep_for, stop_users
from wsgilab.load.locustfiles import user_classes
from wsgilab.load.recorder import Recorder
from wsgilab.model import TrialSpec

WARMUP_S = 0.3
PATIENCE_S = 10.0
STOCK: Mapping[str, type[User]] = {"FastHttpUser": FastHttpUser, "HttpUser": HttpUser}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A Locust environment, ready to be started."""

    environment: Environment
    answered: Callable[[], int]
    """How many requests have been right so far."""
    failures: Callable[[], int]
    end_window: Callable[[int], None] = lambda _: None
    """Is called with the moment at which the window will end, in nanoseconds of CLOCK_MONOTONIC."""


def ours(base_url: str, connection: str, count: int, window_s: float, *, reactor: bool) -> Contender:
    """The lab's users of `hello`, whose connections the reactor drives, or who do so themselves."""
    order = TrialSpec(
        locustfile="hello",
        base_url=base_url,
        users=count,
        rate=None,
        window_s=window_s,
        patience_s=PATIENCE_S,
        options={"connection": connection, "request_timeout": 0},
    )
    made, recorder = environment(user_classes("hello"), order), Recorder()
    made.events.request.add_listener(recorder.on_request)  # type: ignore[no-untyped-call]
    if reactor:
        keep_for(made, recorder)

    def failures() -> int:
        recorder.parse_kept()
        return sum(sample.error is not None and not sample.cut_off for sample in recorder.samples)

    return Contender(
        environment=made,
        answered=lambda: len(recorder),
        failures=failures,
        end_window=lambda at_ns: end_window(made, at_ns, at_ns),
    )


def stock(kind: type[User], base_url: str, connection: str) -> Contender:
    """A user as Locust's documentation has it. It looks at the answer's status only."""

    class Hello(kind):  # type: ignore[misc, valid-type]
        @task
        def hello(self) -> None:
            self.client.get("/hello", headers={"Connection": connection})

    made = Environment(user_classes=[Hello], host=base_url)
    # Looked up each time: a start replaces `total`.
    return Contender(
        environment=made,
        answered=lambda: int(made.stats.total.num_requests),
        failures=lambda: int(made.stats.total.num_failures),
    )


def measure(contender: Contender, count: int, window_s: float) -> dict[str, float]:
    """Requests a second, and CPU seconds a second of this process, over one window."""
    runner = contender.environment.create_local_runner()
    runner.start(count, spawn_rate=count)
    while runner.user_count < count:
        gevent.sleep(POLL_S)
    contender.end_window(time.monotonic_ns() + round((WARMUP_S + window_s) * 1e9))
    gevent.sleep(WARMUP_S)
    begin, begin_cpu_s, begin_answered = time.monotonic(), time.process_time(), contender.answered()
    gevent.sleep(window_s)
    span_s = time.monotonic() - begin
    used_s, answered = time.process_time() - begin_cpu_s, contender.answered() - begin_answered
    stop_users(runner, PATIENCE_S)
    runner.quit()
    return {"rps": answered / span_s, "generator_cpu": used_s / span_s, "failures": contender.failures()}


def obey(users: str, base_url: str, connection: str, count: int, window_s: float) -> dict[str, float]:
    """Measure `users`: `ours`, `greenlets`, `FastHttpUser` or `HttpUser`."""
    if users in STOCK:
        return measure(stock(STOCK[users], base_url, connection), count, window_s)
    gc.collect()
    gc.disable()
    try:
        return measure(ours(base_url, connection, count, window_s, reactor=users == "ours"), count, window_s)
    finally:
        gc.enable()


if __name__ == "__main__":
    take_orders(obey)
