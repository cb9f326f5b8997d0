"""The generator: one long-lived Locust, used as a library, that takes one order after the other.

Run as `python -m wsgilab.swarm.agent` from the folder that holds `locustfiles/`. One JSON object a line:

    in   {"op": "trial", ...Order}      out  {"event": "window"}   when every user has had an answer
                                             {"event": "closed"}   when the window has ended
                                             {"event": "report", ...SwarmReport}  when it is drained
    in   {"op": "get", "url": ...}      out  {"event": "answer", "status": ..., "body": ...}
                                        out  {"event": "error", "message": ...}  in place of any of these

It ends at the end of its input, so it never outlives the lab.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import gc
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

import gevent
from gevent.fileobject import FileObjectPosix
from hdrh.histogram import HdrHistogram
from locust import User
from locust.env import Environment
from locust.util.load_locustfile import load_locustfile

from wsgilab.inflight import measure, parse_stamp, rate
from wsgilab.model import Order, Stamp, SwarmReport

LOCUSTFILES = Path("locustfiles")
STAMP_HEADER = "Lab-Stamp"
POLL_S = 0.005
GET_TIMEOUT_S = 5.0

# As in wsgilab.stats, which the generator's stack has not the packages for.
LOWEST_US, HIGHEST_US, DIGITS = 1, 600_000_000, 3


Sample = tuple[float, Any, Exception | None]
"""Latency in milliseconds, response, failure."""


class Recorder:
    """Listens to Locust's `request` event. It only keeps what it hears: what that means is worked out after the trial."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.answered: set[int] = set()
        self.failed: set[int] = set()

    def on_request(
        self,
        response_time: float,
        response: Any = None,
        context: Mapping[str, Any] | None = None,
        exception: Exception | None = None,
        **_: Any,
    ) -> None:
        self.samples.append((response_time, response, exception))
        if context:
            (self.answered if exception is None else self.failed).add(context["user"])

    def is_settled(self, users: int) -> bool:
        """Whether a window can begin: every user has had an answer, or every one has failed and none has had any."""
        return len(self.answered) == users or (not self.answered and len(self.failed) == users)


class Agent:
    """Carries out orders."""

    def __init__(self) -> None:
        self._user_classes: dict[str, list[type[User]]] = {}

    def trial(self, order: Order, announce: Any) -> SwarmReport:
        """Load one target; `announce` is called with `window` and `closed` at the window's ends."""
        recorder = Recorder()
        environment = Environment(
            user_classes=self._load(order.locustfile),
            host=order.base_url,
            parsed_options=argparse.Namespace(**order.options),
            # The drain is waited for below, where what is cut off can be counted.
            stop_timeout=order.patience_s + 60,
        )
        environment.events.request.add_listener(recorder.on_request)
        runner = environment.create_local_runner()
        gc.collect()
        gc.disable()
        try:
            started = time.monotonic()
            runner.start(order.users, spawn_rate=order.users)
            while not recorder.is_settled(order.users) and time.monotonic() - started < order.patience_s:
                gevent.sleep(POLL_S)
            warmup_s = time.monotonic() - started
            unanswered = order.users - len(recorder.answered)

            announce("window")
            begin_ns, begin_cpu = time.monotonic_ns(), time.process_time()
            gevent.sleep(order.window_s)
            end_ns, end_cpu = time.monotonic_ns(), time.process_time()
            announce("closed")

            stopping = gevent.spawn(runner.stop)
            gevent.sleep(0)
            runner.user_greenlets.join(timeout=order.patience_s)
            drain_s = (time.monotonic_ns() - end_ns) / 1e9
            cut_off = len(runner.user_greenlets)
            runner.user_greenlets.kill()
            stopping.join()
        finally:
            gc.enable()
            runner.quit()
        return _report(
            recorder.samples,
            begin_ns,
            end_ns,
            warmup_s=warmup_s,
            drain_s=drain_s,
            unanswered=unanswered,
            cut_off=cut_off,
            generator_cpu=(end_cpu - begin_cpu) / ((end_ns - begin_ns) / 1e9),
        )

    def _load(self, locustfile: str) -> list[type[User]]:
        if locustfile not in self._user_classes:
            user_classes, _ = load_locustfile(str(LOCUSTFILES / f"{locustfile}.py"))
            self._user_classes[locustfile] = list(user_classes.values())
        return list(self._user_classes[locustfile])


def _report(
    samples: list[Sample],
    begin_ns: int,
    end_ns: int,
    *,
    warmup_s: float,
    drain_s: float,
    unanswered: int,
    cut_off: int,
    generator_cpu: float,
) -> SwarmReport:
    answered: list[tuple[Stamp, float]] = []
    errors: Counter[str] = Counter()
    for latency_ms, response, exception in samples:
        try:
            if exception is not None:
                raise exception
            answered.append((_stamp(response), latency_ms))
        except Exception as error:  # noqa: BLE001 - whatever a Locust file may raise
            errors[f"{type(error).__name__}: {error}"[:200]] += 1

    stamps = [stamp for stamp, _ in answered]
    counted = [(stamp, latency_ms) for stamp, latency_ms in answered if begin_ns <= stamp.left_ns < end_ns]
    histogram = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for _, latency_ms in counted:
        histogram.record_value(max(LOWEST_US, round(latency_ms * 1000)))
    return SwarmReport(
        window_s=(end_ns - begin_ns) / 1e9,
        warmup_s=warmup_s,
        drain_s=drain_s,
        unanswered=unanswered,
        completed=len(counted),
        throughput_rps=rate((stamp.left_ns for stamp in stamps), begin_ns, end_ns),
        failures=errors.total(),
        errors=dict(errors.most_common(10)),
        cut_off=cut_off,
        latency_mean_ms=fmean(latency_ms for _, latency_ms in counted) if counted else 0.0,
        latency_histogram=histogram.encode().decode("ascii"),
        in_flight=measure(stamps, begin_ns, end_ns),
        service_ms=median((stamp.left_ns - stamp.entered_ns) / 1e6 for stamp, _ in counted) if counted else 0.0,
        generator_cpu=generator_cpu,
    )


def _stamp(response: Any) -> Stamp:
    header = response.get(STAMP_HEADER)
    if header is None:
        raise ValueError(f"the answer has no {STAMP_HEADER} header")
    return parse_stamp(header)


def fetch(url: str) -> dict[str, Any]:
    """One plain GET, answered whatever the status; 0 where there was no answer."""
    try:
        with urllib.request.urlopen(url, timeout=GET_TIMEOUT_S) as response:  # noqa: S310 - the lab's own targets
            return {"status": response.status, "body": response.read().decode()}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode(errors="replace")}
    except OSError as error:
        return {"status": 0, "body": str(error)}


def main() -> None:
    """Take orders until the input ends."""
    # Nothing but messages may reach the real standard output.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def announce(event: str, **fields: Any) -> None:
        output.write(json.dumps({"event": event, **fields}) + "\n")
        output.flush()

    agent = Agent()
    announce("ready", cpus=sorted(os.sched_getaffinity(0)))
    for line in FileObjectPosix(sys.stdin.fileno(), "rb", closefd=False):
        order = json.loads(line)
        try:
            match order.pop("op"):
                case "trial":
                    announce("report", **asdict(agent.trial(Order(**order), announce)))
                case "get":
                    announce("answer", **fetch(order["url"]))
        except Exception as error:  # noqa: BLE001 - told to the lab, which decides
            announce("error", message=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
