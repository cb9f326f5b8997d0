"""Two identical servers, one that is 5 % slower and one that is 10 % slower, measured in turn and one after another.

The raw material of `twins`, `power` and `calibration`. Each round starts the four servers anew, so that what differs
from start to start is part of it, and then measures all of them twice, for as many seconds:

- `interleaved`, as the lab does: `--blocks` blocks of short windows, each block every server once, shuffled;
- `sequential`, as most published comparisons do: each server for three runs in a row, then the next. Best of three, and
  one run as long as all three, are both read from it.

Rounds are independent, and windows within one are not: time is better spent on `--rounds` than on more servers or
blocks. With 20 blocks of 0.45 s a round takes about 85 s. Written to `recording.yaml`: a block of group
`interleaved` or `sequential`, with the round's number, for each pass.
"""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from benchmarks.bench import Bench, main, rates
from benchmarks.outcome import Block, Outcome, Rate, Row, Scope
from benchmarks.truth import USERS, swarm_rate
from wsgilab.load.client import LocustSwarm
from wsgilab.model import Server

TWINS = ("twin-1", "twin-2")
SLOWER = {"slower-5": 0.05, "slower-10": 0.10}
"""Server -> by what share its throughput is lower, by construction."""

SEQUENTIAL_RUNS = 3
_TRIAL_BURDEN = 5000
_TRIALS = 20
_MODEL = "gunicorn-gthread-8"


def measure(bench: Bench) -> Outcome:
    """All rounds."""
    burdens = _burdens(bench)
    run_s = bench.blocks * bench.window_s / SEQUENTIAL_RUNS
    blocks: list[Block] = []
    for number in range(bench.rounds):
        with _up(bench, burdens) as (swarm, urls):
            contenders = {name: lambda url=url: _observe(swarm, url, bench.window_s) for name, url in urls.items()}
            blocks += [
                bench.measure(number * bench.blocks + block, {f"interleaved {number}": contenders})
                for block in range(bench.blocks)
            ]
            blocks.append(_in_sequence(swarm, urls, number, run_s))
        bench.console.print(f"Round {number + 1} of {bench.rounds} is done.", highlight=False)
    first = [block for block in blocks if "interleaved 0" in block]
    rows: list[Row] = [
        {"server": name, "requests/s, first round": rates(first, "interleaved 0", name)} for name in burdens
    ]
    settings = {"run_s": run_s, "users": USERS, "burdens": dict(burdens)}
    scope = Scope(
        rounds=f"{bench.rounds} rounds, each a new start of all servers",
        modes=f"local processes; `hello` on {_MODEL}; a connection each request; {USERS} users",
        left_out="kept connections, other servers and workloads, containers",
    )
    return Outcome(settings=settings, blocks=blocks, rows=rows, scope=scope)


def _in_sequence(swarm: LocustSwarm, urls: Mapping[str, str], number: int, run_s: float) -> Block:
    """Server after server, always in the same order, as it is done. `twin-1 #2` is the second run of the first."""
    return {
        f"sequential {number}": {
            f"{name} #{run}": _observe(swarm, url, run_s)
            for name, url in urls.items()
            for run in range(1, SEQUENTIAL_RUNS + 1)
        }
    }


def _server(bench: Bench, name: str, burden: int) -> Server:
    model = bench.servers[_MODEL]
    here = str(bench.project / "benchmarks" / "wsgi")
    more = {"LAB_APP": "burdened:app", "PYTHONPATH": here, "BURDEN_ITERATIONS": str(burden)}
    return replace(model, name=name, environment={**model.environment, **more})


@contextmanager
def _up(bench: Bench, burdens: Mapping[str, int]) -> Iterator[tuple[LocustSwarm, Mapping[str, str]]]:
    """The servers, and the lab's own swarm. Server -> URL."""
    servers = [_server(bench, name, burden) for name, burden in burdens.items()]
    with (
        bench.runtime.start(servers, bench.server_cpus) as fleet,
        bench.runtime.swarm(bench.generator_cpus) as channel,
    ):
        yield LocustSwarm(channel, bench.generator_cpus), {name: each.base_url for name, each in fleet.items()}


def _observe(swarm: LocustSwarm, url: str, window_s: float) -> Rate:
    return swarm_rate(swarm, url, "close", window_s)


def _burdens(bench: Bench) -> Mapping[str, int]:
    """Server -> iterations more in each request.

    At a CPU-bound server that needs c of CPU time a request, p c / (1 - p) more lowers the throughput by p. What an
    iteration costs inside a request is measured there, on a twin with about twice the work.
    """
    with _up(bench, {"plain": 0, "laden": _TRIAL_BURDEN}) as (swarm, urls):
        seconds: dict[str, list[float]] = {name: [] for name in urls}
        for _ in range(_TRIALS):
            for name, url in urls.items():
                seconds[name].append(1 / _observe(swarm, url, bench.window_s).rps)
    plain, laden = (statistics.median(seconds[name]) for name in ("plain", "laden"))
    iteration = (laden - plain) / _TRIAL_BURDEN
    slower = {name: round(plain / iteration * share / (1 - share)) for name, share in SLOWER.items()}
    return {**dict.fromkeys(TWINS, 0), **slower}


if __name__ == "__main__":
    main("recording", __doc__, measure, rounds=8, blocks=20, window_s=0.45)
