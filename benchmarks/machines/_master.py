"""The generator's own master, with workers that come from elsewhere, and what it uses of its core.

Run as `python -m benchmarks.machines._master PORT WORKERS BEACON`. It says `{"ready": true}` when they are there, and takes
orders, one JSON object a line, as the lab's agent does; 0 workers: only `gather`.

    in   {"op": "idle", "seconds": ...}           out  {"cpu_s": ..., "wall_s": ...}
    in   {"op": "trial", ...Order}                out  {"cpu_s": ..., "window_cpu_s": ..., "wall_s": ..., "told_s": ...}
    in   {"op": "look"}                           out  {"cpu_s": ...}   of one look at how far the last trial's workers are
    in   {"op": "gather", "requests": ..., "workers": ...}
                                                  out  {"bytes": ..., "receive_s": ..., "report_s": ..., "memory": ...}
                                                  out  {"error": ...}  in place of any of these
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import gc
import json
import os
import resource
import sys
import time
from typing import Any

import gevent
import psutil
from gevent.fileobject import FileObjectPosix
from locust.rpc import Message

from wsgilab.model import Order
from wsgilab.swarm.agent import trial
from wsgilab.swarm.crew import Crew
from wsgilab.swarm.load import TargetCores
from wsgilab.swarm.reach import Reach
from wsgilab.swarm.samples import Sample, Span, report

WINDOW_S = 1.0
LOOKS = 500


def idle(seconds: float) -> dict[str, float]:
    began_s, used_s = time.monotonic(), time.process_time()
    gevent.sleep(seconds)
    return {"cpu_s": time.process_time() - used_s, "wall_s": time.monotonic() - began_s}


class Marks:
    """Reads what the master itself has used."""

    reading_s = 0.0

    def __init__(self) -> None:
        self.cpu_s: list[float] = []

    def let_read(self, _: str) -> None:
        self.cpu_s.append(time.process_time())

    def wait_until_read(self, _: float) -> bool:
        return True


def one_trial(crew: Crew, order: Order) -> dict[str, float]:
    """`told_s`: window and drain, which are what was asked for."""
    marks = Marks()
    began_s, used_s = time.monotonic(), time.process_time()
    told = trial(order, crew.load(order), TargetCores("", None), marks)
    wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - used_s
    if told.failures or not told.completed:
        raise RuntimeError(f"{told.completed} requests were answered, {told.failures} were not: {dict(told.errors)}")
    return {
        "cpu_s": cpu_s,
        "window_cpu_s": marks.cpu_s[1] - marks.cpu_s[0],
        "wall_s": wall_s,
        "told_s": told.window_s + told.drain_s,
    }


def look(crew: Crew) -> dict[str, float]:
    """While a trial settles, the agent looks every few milliseconds."""
    used_s = time.process_time()
    for _ in range(LOOKS):
        crew.progress()
    return {"cpu_s": (time.process_time() - used_s) / LOOKS}


def gather(requests: int, workers: int) -> dict[str, float]:
    """What so many requests of one window cost that `workers` have kept evenly, all made up."""
    each = requests // workers
    step_ns = round(WINDOW_S * 1e9 / each)
    made_up = {"samples": [_made_up(number, step_ns) for number in range(each)]}
    blob = Message("lab_samples", made_up, "x" * 40).serialize()  # type: ignore[no-untyped-call]
    del made_up
    gc.collect()
    gc.disable()
    before = psutil.Process().memory_info().rss
    used_s = time.process_time()
    samples: list[Sample] = []
    for _ in range(workers):
        # As Locust's master and the crew take it in.
        message = Message.unserialize(blob)  # type: ignore[no-untyped-call]
        samples += [Sample(*row) for row in message.data["samples"]]
    received_s = time.process_time()
    # As in a trial.
    gc.enable()
    end_ns = round(WINDOW_S * 1e9)
    span = Span(started_ns=0, begin_ns=0, settled_ns=0, end_ns=end_ns, stopped_ns=end_ns, drained_ns=end_ns)
    told = report(samples, span, unanswered=0, generator_cpu=0.0)
    reported_s = time.process_time()
    if told.completed != each * workers:
        raise RuntimeError(f"{told.completed} requests of {each * workers} were counted")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "requests": each * workers,
        "bytes": len(blob) * workers,
        "receive_s": received_s - used_s,
        "report_s": reported_s - received_s,
        "memory": most - before,
    }


def _made_up(number: int, step_ns: int) -> tuple[Any, ...]:
    left_ns = number * step_ns
    entered_ns = max(0, left_ns - 50_123_456)
    thread = 140_234_567_890_000 + number % 8
    stamp = f"{1_234_567 + number % 4} {1_234_600 + number % 8} {thread} {entered_ns} {left_ns}"
    return (50.3 + number % 1000 / 997, stamp, None, False, 0, 0.0, False, 0.051 + number % 10 / 997, 0.021, 6)


def main(port: int, workers: int, beacon: str) -> None:
    """Take orders until the input ends."""
    # Nothing but messages may reach the real standard output.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(**told: Any) -> None:
        output.write(json.dumps(told) + "\n")
        output.flush()

    crew = Crew([], reach=Reach(beacon), port=port, elsewhere=workers) if workers else None
    gc.collect()
    gc.freeze()
    say(ready=True)
    for line in FileObjectPosix(sys.stdin.fileno(), "rb", closefd=False):
        order = json.loads(line)
        try:
            match order.pop("op"):
                case "idle":
                    say(**idle(**order))
                case "trial" if crew is not None:
                    say(**one_trial(crew, Order(**order)))
                case "look" if crew is not None:
                    say(**look(crew))
                case "gather":
                    say(**gather(**order))
        except Exception as error:  # noqa: BLE001 - told to the benchmark, which decides
            say(error=f"{type(error).__name__}: {error}")
    if crew is not None:
        crew.end()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
