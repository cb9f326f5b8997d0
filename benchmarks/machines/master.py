"""What Locust's master uses of its core: for workers that are there, for a trial, and for each of its requests."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machines.found import Crewed, Gathered
from wsgilab import process
from wsgilab.errors import LabError
from wsgilab.model import Order
from wsgilab.places import PROJECT
from wsgilab.process import Conversation, Hushed, tail
from wsgilab.runtime.ports import free_ports

PER_MACHINE = 4
"""Workers that pretend to be of one machine, which has one of them look at the link."""
USERS_EACH = 4
WINDOW_S = 1.0
_START_S = 90.0
_ANSWER_S = 120.0


@contextmanager
def companion(module: str, *words: str, cpus: frozenset[int], folder: Path) -> Iterator[Conversation]:
    """A module of the benchmarks that takes orders, and has ended when this is left."""
    log = folder / f"{module}.log"
    argv = [sys.executable, "-m", f"benchmarks.machines.{module}", *words]
    conversation = Conversation(argv, cwd=PROJECT, env=os.environ, cpus=cpus, log=log)
    try:
        yield conversation
    finally:
        conversation.end()


def ask(conversation: Conversation, timeout_s: float, **order: Any) -> Mapping[str, Any]:
    """What a companion answers to an order; without one, what it says by itself. Raises LabError."""
    try:
        if order:
            conversation.say(order)
        told = conversation.hear(timeout_s)
    except Hushed as error:
        raise LabError(f"the benchmark's companion is lost: {error}", detail=tail(conversation.log, 10)) from None
    if not isinstance(told, dict) or "error" in told:
        raise LabError(f"the benchmark's companion failed: {told}", detail=tail(conversation.log, 10))
    return told


@contextmanager
def beacon(cpus: frozenset[int], folder: Path) -> Iterator[str]:
    """A beacon on this machine: its HOST:PORT."""
    [port] = free_ports(1, "")
    argv = [sys.executable, "-m", "wsgilab.beacon", "serve", str(port)]
    child = process.spawn(argv, cwd=PROJECT, env=os.environ, cpus=cpus, log=folder / "beacon.log")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        child.end()


def crews(
    counts: Sequence[int], processes: int, idle_s: float, trials: int, cores: tuple[frozenset[int], frozenset[int]]
) -> Iterator[Crewed]:
    """Crews of so many workers each, in one process; and one of `processes` workers that are a process each."""
    for workers in counts:
        yield crewed(workers, idle_s, trials, cores, processes=False)
    yield crewed(processes, idle_s, trials, cores, processes=True)


def crewed(
    workers: int, idle_s: float, trials: int, cores: tuple[frozenset[int], frozenset[int]], *, processes: bool
) -> Crewed:
    """`cores`: the master's, and everybody else's."""
    own, others = cores
    with ExitStack() as up:
        folder = Path(up.enter_context(tempfile.TemporaryDirectory(prefix="wsgilab-crew-")))
        address = up.enter_context(beacon(others, folder))
        [port] = free_ports(1, "")
        master = up.enter_context(companion("_master", str(port), str(workers), address, cpus=own, folder=folder))
        if processes:
            # The crowd's target serves without its workers too; one that is not expected would be one too many.
            crowd_words = [str(port), "0", str(PER_MACHINE), address]
            _start_workers(workers, port, address, others, folder, up)
        else:
            crowd_words = [str(port), str(workers), str(PER_MACHINE), address]
        crowd = up.enter_context(companion("_crowd", *crowd_words, cpus=others, folder=folder))
        target = ask(crowd, _START_S)["port"]
        ask(master, _START_S)
        # What the start has left to do is done by then.
        time.sleep(1.0)
        idle = ask(master, idle_s + _ANSWER_S, op="idle", seconds=idle_s)
        order = Order(
            locustfile="hello",
            base_url=f"http://127.0.0.1:{target}",
            users=USERS_EACH * workers,
            rate=None,
            window_s=WINDOW_S,
            patience_s=30.0,
            options={"connection": "keep-alive", "request_timeout": 0},
        )
        # The first makes the users' classes known to all.
        ask(master, _ANSWER_S, op="trial", **asdict(order))
        told = [ask(master, _ANSWER_S, op="trial", **asdict(order)) for _ in range(trials)]
        look = ask(master, _ANSWER_S, op="look")
    return Crewed(
        workers=workers,
        processes=processes,
        idle_cpu=idle["cpu_s"] / idle["wall_s"],
        cpu_ms=median(each["cpu_s"] for each in told) * 1000,
        window_cpu_ms=median(each["window_cpu_s"] for each in told) * 1000,
        look_us=look["cpu_s"] * 1e6,
        beyond_ms=median(each["wall_s"] - each["told_s"] for each in told) * 1000,
        trials=trials,
    )


def _start_workers(workers: int, port: int, address: str, cpus: frozenset[int], folder: Path, up: ExitStack) -> None:
    for number in range(workers):
        machine = f"machine-{number // PER_MACHINE}"
        argv = [sys.executable, "-m", "wsgilab.swarm.worker", "127.0.0.1", str(port), "--machine", machine]
        child = process.spawn(
            [*argv, "--beacon", address], cwd=PROJECT, env=os.environ, cpus=cpus, log=folder / "workers.log"
        )
        up.callback(child.end)


def gathered(counts: Sequence[int], workers: int, own: frozenset[int]) -> Iterator[Gathered]:
    """A fresh process for each count, so that none has the memory of another."""
    for requests in counts:
        with (
            tempfile.TemporaryDirectory(prefix="wsgilab-gather-") as folder,
            companion("_master", "0", "0", "-", cpus=own, folder=Path(folder)) as master,
        ):
            ask(master, _START_S)
            told = ask(master, _ANSWER_S, op="gather", requests=requests, workers=workers)
        count = told["requests"]
        yield Gathered(
            requests=count,
            bytes_each=told["bytes"] / count,
            receive_us=told["receive_s"] / count * 1e6,
            report_us=told["report_s"] / count * 1e6,
            memory_bytes=told["memory"] / count,
        )
