"""Two identical servers, one that is 5 % slower and one that is 10 % slower, measured in turn and one after another.

The raw material of `twins`, `power`, `calibration` and `noise`. Each round starts these four servers anew, and two that are unlike
them, so that what differs from start to start is part of it. Then it measures:

- `interleaved`, as the lab does: `--blocks` blocks of short windows, each block every one of the four once, shuffled;
- `off` and `on`, by turns: the twins and the unlike servers, while a program of the round's kind is stopped, and while it runs. It
  takes the server's core, the generator's, or the memory bus: the last from a core of its own, or where there is none from the
  generator's for a twentieth of the time;
- `length`, every third round: the twins in windows of other lengths, shuffled;
- `sequential`, in the first three rounds, as most published comparisons do: each of the four for three runs in a row, then the
  next. Best of three, and one run as long as all three, are both read from it. They have as many seconds as the blocks.

A round takes some 24 s. Written to `recording.yaml`: a block of one of these groups, with the round's number, for each pass, and of
each window what was counted, the CPU time between its two readings, and what others had of the cores. What ends it early leaves the
rounds that were finished by then.
"""

import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, main, rates
from benchmarks.outcome import Block, Outcome, Rate, Row, Scope
from benchmarks.truth import PATIENCE_S, USERS
from wsgilab import testing
from wsgilab.analysis.cell import disturbance
from wsgilab.load.client import LocustSwarm
from wsgilab.model import Run, Server, Trial
from wsgilab.model.errors import Interrupted, LabError, SwarmError
from wsgilab.run.trial import observe
from wsgilab.runtime.protocol import Fleet
from wsgilab.system import host, process

TWINS = ("twin-1", "twin-2")
SLOWER = {"slower-5": 0.05, "slower-10": 0.10}
"""Server -> by what share its throughput is lower, by construction."""
UNLIKE = ("gunicorn-sync-1", "gunicorn-gevent")
KINDS = ("server", "generator", "memory")
"""What a neighbour takes, in rounds 0, 1, 2, 3, 6 and so on: round number modulo their count."""
LENGTHS_S = (0.1, 0.2, 0.35, 0.7, 1.4)

SEQUENTIAL_RUNS = 3
_SEQUENTIAL_ROUNDS = 3
_LENGTHS_EVERY = 3
_BESIDE_BLOCKS = 4
_TRIAL_BURDEN = 5000
_TRIALS = 20
_TRIAL_S = 0.3
_MODEL = "gunicorn-gthread-8"
_SETTLE_S = 0.05

_COMPUTES = "while True: pass"
_STREAMS = """
import time
source, target = bytearray(1 << 26), bytearray(1 << 26)
view, until = memoryview(target), 0
while True:
    view[:] = source
    if {rests}: time.sleep(0.3)
"""
"""64 MiB, which no cache holds: 15 ms at 5 GB/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Rate):
    """One window, with what tells how it came about."""

    window_s: float
    completed: int
    read_completed: int
    """Requests that left between the two readings of the CPU time."""
    read_span_s: float
    cpu_ms: float
    """CPU time of the server between the two readings."""
    server_others: float | None
    """The share of the server's core that others had."""
    generator_others: float | None
    at_s: float
    """When it ended, in seconds of the round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lab:
    """One start of all servers, and the lab's own swarm."""

    bench: Bench
    fleet: Fleet
    swarm: LocustSwarm
    began_s: float

    def window(self, name: str, window_s: float) -> Window:
        """One window of `hello`, measured as a run measures it. Raises SwarmError where any request failed."""
        run = _run(self.bench, self.fleet[name].server, window_s)
        (cell,) = run.experiment.cells
        trial = Trial(block=0, position=0, cell=cell)
        found = observe(trial, run, self.fleet[name], [], self.swarm, owns=self.bench.runtime.owns)
        swarm, others = found.swarm, disturbance.taken(run, found)
        if swarm is None or swarm.failures or swarm.cut_off or found.server_cpu_s is None or not swarm.read_span_s:
            raise SwarmError(f"the swarm: {name}: {found.reason or (swarm and swarm.errors) or 'it was not read'}")
        return Window(
            rps=swarm.throughput_rps,
            generator_cpu=swarm.generator_cpu,
            window_s=swarm.window_s,
            completed=swarm.completed,
            read_completed=swarm.read_completed or 0,
            read_span_s=swarm.read_span_s,
            cpu_ms=1000 * found.server_cpu_s,
            server_others=others.server,
            generator_others=others.generator,
            at_s=time.monotonic() - self.began_s,
        )

    def windows(self, *names: str, window_s: float) -> Mapping[str, Callable[[], Window]]:
        return {name: partial(self.window, name, window_s) for name in names}


def measure(bench: Bench) -> Outcome:
    """All rounds."""
    burdens = _burdens(bench)
    blocks: list[Block] = []
    done, ended = 0, ""
    for number in range(bench.rounds):
        try:
            blocks += _round(bench, burdens, number)
        except (Interrupted, LabError) as error:
            if not done:
                raise
            ended = f"; ended early by: {error}"
            break
        done += 1
        bench.console.print(f"Round {done} of {bench.rounds} is done.", highlight=False)
    first = [block for block in blocks if "interleaved 0" in block]
    rows: list[Row] = [
        {"server": name, "requests/s, first round": rates(first, "interleaved 0", name)} for name in burdens
    ]
    settings = {
        "rounds": done,
        "run_s": _run_s(bench),
        "users": USERS,
        "burdens": dict(burdens),
        "neighbours": [KINDS[number % len(KINDS)] for number in range(done)],
        "memory_from": "the generator's core, a twentieth of the time"
        if _spare(bench) is None
        else "a core of its own",
    }
    scope = Scope(
        rounds=f"{done} rounds, each a new start of all servers{ended}",
        modes=f"local processes; `hello` on {_MODEL}, and beside neighbours on {' and '.join(UNLIKE)}; a connection each request; "
        f"{USERS} users",
        left_out="kept connections, other servers and workloads, containers",
    )
    return Outcome(settings=settings, blocks=blocks, rows=rows, scope=scope)


def _run_s(bench: Bench) -> float:
    return bench.blocks * bench.window_s / SEQUENTIAL_RUNS


def _round(bench: Bench, burdens: Mapping[str, int], number: int) -> list[Block]:
    with _up(bench, burdens) as lab:
        four = lab.windows(*burdens, window_s=bench.window_s)
        blocks = [
            bench.measure(number * bench.blocks + block, {f"interleaved {number}": four})
            for block in range(bench.blocks)
        ]
        blocks += _beside(lab, number)
        if number % _LENGTHS_EVERY == 0:
            blocks.append(_lengths(lab, number))
        if number < _SEQUENTIAL_ROUNDS:
            blocks.append(_in_sequence(lab, burdens, number))
    return blocks


def _beside(lab: _Lab, number: int) -> Iterator[Block]:
    """Blocks without and with a neighbour by turns."""
    windows = lab.windows(*TWINS, *UNLIKE, window_s=lab.bench.window_s)
    with _neighbour(lab.bench, KINDS[number % len(KINDS)]) as child:
        for block in range(_BESIDE_BLOCKS):
            runs = block % 2 == 1
            os.killpg(child.pid, signal.SIGCONT if runs else signal.SIGSTOP)
            time.sleep(_SETTLE_S)
            order = _shuffled(lab.bench, f"{number}/beside/{block}", list(windows))
            yield {f"{'on' if runs else 'off'} {number}": {name: windows[name]() for name in order}}


@contextmanager
def _neighbour(bench: Bench, kind: str) -> Iterator[process.Child]:
    """A program that takes what its kind says, as long as it is not stopped."""
    program, cpus = _COMPUTES, bench.server_cpus if kind == "server" else bench.generator_cpus
    if kind == "memory":
        spare = _spare(bench)
        program, cpus = _STREAMS.format(rests=spare is None), cpus if spare is None else frozenset({spare})
    argv = [sys.executable, "-c", program]
    child = process.spawn(argv, cwd=bench.project, env={}, cpus=cpus, log=Path(os.devnull))
    try:
        yield child
    finally:
        os.killpg(child.pid, signal.SIGCONT)
        child.end()


def _spare(bench: Bench) -> int | None:
    """A core that neither servers nor generator have."""
    return max(host.usable_cpus() - bench.server_cpus - bench.generator_cpus, default=None)


def _lengths(lab: _Lab, number: int) -> Block:
    """The twins next to each other in windows of each length. `twin-1 #0.1` is the first in 0.1 s."""
    found = {}
    for length_s in _shuffled(lab.bench, f"{number}/lengths", list(map(str, LENGTHS_S))):
        for name in _shuffled(lab.bench, f"{number}/{length_s}", list(TWINS)):
            found[f"{name} #{length_s}"] = lab.window(name, float(length_s))
    return {f"length {number}": found}


def _shuffled(bench: Bench, key: str, names: list[str]) -> list[str]:
    return random.Random(f"{bench.seed}/{key}").sample(names, len(names))  # noqa: S311 - an order, no secret


def _in_sequence(lab: _Lab, burdens: Mapping[str, int], number: int) -> Block:
    """Server after server, always in the same order, as it is done. `twin-1 #2` is the second run of the first."""
    return {
        f"sequential {number}": {
            f"{name} #{run}": lab.window(name, _run_s(lab.bench))
            for name in burdens
            for run in range(1, SEQUENTIAL_RUNS + 1)
        }
    }


def _run(bench: Bench, server: Server, window_s: float) -> Run:
    cell = testing.cell(server.name, workload="hello", users=USERS)
    experiment = testing.experiment(cell, window_s=window_s, patience_s=PATIENCE_S)
    servers, generator = (",".join(map(str, sorted(each))) for each in (bench.server_cpus, bench.generator_cpus))
    return testing.run(experiment, server, server_cpus={1: servers}, generator_cpus=generator)


def _server(bench: Bench, name: str, burden: int) -> Server:
    model = bench.servers[_MODEL]
    here = str(bench.project / "benchmarks" / "wsgi")
    more = {"LAB_APP": "burdened:app", "PYTHONPATH": here, "BURDEN_ITERATIONS": str(burden)}
    return replace(model, name=name, environment={**model.environment, **more})


@contextmanager
def _up(bench: Bench, burdens: Mapping[str, int]) -> Iterator[_Lab]:
    """The servers, those that are unlike them too, and the lab's own swarm."""
    servers = [_server(bench, name, burden) for name, burden in burdens.items()]
    servers += [bench.servers[name] for name in UNLIKE]
    with (
        bench.runtime.start(servers, bench.server_cpus) as fleet,
        bench.runtime.swarm(bench.generator_cpus) as channel,
    ):
        swarm = LocustSwarm(channel, bench.generator_cpus)
        yield _Lab(bench=bench, fleet=fleet, swarm=swarm, began_s=time.monotonic())


def _burdens(bench: Bench) -> Mapping[str, int]:
    """Server -> iterations more in each request.

    At a CPU-bound server that needs c of CPU time a request, p c / (1 - p) more lowers the throughput by p. What an
    iteration costs inside a request is measured there, on a twin with about twice the work.
    """
    with _up(bench, {"plain": 0, "laden": _TRIAL_BURDEN}) as lab:
        seconds: dict[str, list[float]] = {"plain": [], "laden": []}
        for _ in range(_TRIALS):
            for name, known in seconds.items():
                known.append(1 / lab.window(name, _TRIAL_S).rps)
    plain, laden = (statistics.median(seconds[name]) for name in ("plain", "laden"))
    iteration = (laden - plain) / _TRIAL_BURDEN
    slower = {name: round(plain / iteration * share / (1 - share)) for name, share in SLOWER.items()}
    return {**dict.fromkeys(TWINS, 0), **slower}


if __name__ == "__main__":
    main("recording", __doc__, measure, rounds=30, blocks=10, window_s=0.2)
