"""The capacity that the lab finds against the one that follows from theory, of servers that hold every request for the same time.

One slot under Poisson arrivals is the queue M/D/1, whose waiting times Erlang found (1909, "The theory of probabilities and telephone
conversations"; as Crommelin has them for any number of slots: 1932, Post Office Electrical Engineers' Journal 25, 41-50). Eight are
M/D/8, which is simulated: a million requests at each rate, in the order of their arrival; with one slot the simulation is held against
the formula (`tests/unit/run/test_capacity.py`). How long a slot is held is measured: slots over the throughput of the run's own
closed loop, because a server holds it for some tenths of a millisecond longer than the request waits. Beside it stands what theory gives
for the time that the request waits alone. Each run starts all servers anew.

In the minutes of a run a queue with one slot has some dozen bursts, and by chance more or fewer of them than it has in the long run: so
two runs on a perfect queue differ by some 5 %. What chance that was is known, since the lab makes the arrivals from a seed: in the very
windows of the run a perfect queue of slots of so many milliseconds (*late as a slot of*) would have answered as many requests late. Its
capacity by theory has that chance no more. Must show, as means of the runs: that within 5 % of theory, and what the lab finds within 5 % of
theory; and any two runs no further apart than their intervals allow.
"""

import itertools
import math
import random
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console

from benchmarks.bench import repeat, runtimes
from benchmarks.outcome import Claim, Outcome, Row, Scope
from wsgilab import commands
from wsgilab.analysis.capacity.windows import seen
from wsgilab.model import Cell, Comparison, Interval, Observation, Run, RuntimeName, ServerCapacity
from wsgilab.model.errors import LabError
from wsgilab.results.store import Store

EXPERIMENTS = ("capacity_one", "capacity_eight")
WITHIN = 0.95
REQUESTS = 1_000_000
_SHARE = 0.95


def waits_at_most(rate: float, held_s: float, wait_s: float) -> float:
    """The share of requests that wait no longer than `wait_s` for one slot, which holds each for `held_s`: Erlang's formula.

    Its terms alternate: it is exact to six digits while `wait_s` is no more than some ten times `held_s`.
    """
    load = rate * held_s
    if load >= 1:
        return 0.0
    terms = []
    for count in range(math.floor(wait_s / held_s + 1e-9) + 1):
        ahead = rate * (count * held_s - wait_s)
        terms.append(ahead**count / math.factorial(count) * math.exp(-ahead))
    return (1 - load) * math.fsum(terms)


def waits(rate: float, held_s: float, slots: int, requests: int, seed: int = 1) -> Sequence[float]:
    """How long each of so many requests waits, from an empty server on."""
    return list(itertools.islice(_waits(poisson(rate, seed), held_s, slots), requests))


def poisson(rate: float, seed: object) -> Iterator[float]:
    """When requests come, in seconds: as the users of the lab send them from such a seed."""
    source, at_s = random.Random(seed if isinstance(seed, int) else str(seed)), 0.0  # noqa: S311 - a load, not a secret
    while True:
        at_s += source.expovariate(rate)
        yield at_s


def _waits(arrivals: Iterable[float], held_s: float, slots: int) -> Iterator[float]:
    """Where all are held equally long and begin in the order of their arrival, each takes the slot of the request that came `slots`
    before it (Lindley 1952, doi:10.1017/S0305004100027638, of every `slots`-th request)."""
    free_s = deque([0.0] * slots)
    for at_s in arrivals:
        wait_s = max(0.0, free_s.popleft() - at_s)
        yield wait_s
        free_s.append(at_s + wait_s + held_s)


def late_as_often(run: Run, observations: Sequence[Observation], cell: Cell, held_s: float) -> float:
    """For how long a perfect queue would hold each request, in seconds, that is late as often in these very windows as the server of `cell`
    was; between half and twice of `held_s`."""
    limit = run.experiment.capacity
    assert limit is not None, "capacity was looked for"
    windows = seen(run, cell, observations).kept
    late = sum(each.beyond for each in windows)
    slots, low, high = run.servers[cell.server].slots or 1, 0.5 * held_s, 2 * held_s
    while high - low > 1e-3 * held_s:
        middle = (low + high) / 2
        found = sum(_late(run, each.observation, middle, slots, limit.p95_ms / 1000) for each in windows)
        low, high = (middle, high) if found <= late else (low, middle)
    return (low + high) / 2


def _late(run: Run, observed: Observation, held_s: float, slots: int, limit_s: float) -> int:
    """How many requests of a window a perfect queue would answer after more than the limit."""
    swarm, rate = observed.swarm, observed.cell.rate
    assert swarm is not None
    assert rate is not None
    # `trial.trial_spec` has the seed, and the only process of the generator is number 0.
    seed = f"{zlib.crc32(f'{run.seed}/{observed.block}'.encode())}/0"
    end_s = swarm.warmup_s + swarm.window_s
    arrivals = list(itertools.takewhile(lambda at_s: at_s < end_s, poisson(rate, seed)))
    waiting = zip(arrivals, _waits(arrivals, held_s, slots), strict=True)
    return sum(held_s + wait_s > limit_s for at_s, wait_s in waiting if at_s >= swarm.warmup_s)


def rate_that_keeps(share_within: Callable[[float], float], most: float) -> float:
    """The highest rate below `most` at which the share within a limit is _SHARE, by bisection."""
    low, high = 0.0, most
    while high - low > 1e-4 * most:
        middle = (low + high) / 2
        low, high = (middle, high) if share_within(middle) >= _SHARE else (low, middle)
    return low


def theory(held_s: float, slots: int, limit_s: float, requests: int | None = None) -> float:
    """The highest rate of Poisson arrivals at which 95 of 100 requests are answered within `limit_s`."""
    wait_s, count = limit_s - held_s, requests or REQUESTS

    def simulated(rate: float) -> float:
        found = waits(rate, held_s, slots, count)
        return sum(each <= wait_s for each in found) / count

    if slots == 1:
        return rate_that_keeps(lambda rate: waits_at_most(rate, held_s, wait_s), 1 / held_s)
    return rate_that_keeps(simulated, slots / held_s)


def measure(runs: int) -> Outcome:
    """Look for the capacities `runs` times."""
    known = runtimes()
    found = [(number, *_run(name, known[number % len(known)])) for number in range(runs) for name in EXPERIMENTS]
    rows: list[Row] = []
    by_server: dict[str, list[ServerCapacity]] = {}
    errors: dict[str, list[float]] = {}
    of_arrivals: dict[str, list[float]] = {}
    for number, comparison, observations in found:
        assert comparison.capacity is not None, "it was looked for"
        run, limit_s = comparison.run, comparison.capacity.p95_ms / 1000
        slots = {name: server.slots or 1 for name, server in run.servers.items()}
        held_s = {
            each.cell: slots[each.cell.server] / each.figures.throughput_rps.median
            for each in comparison.cells
            if each.figures is not None
        }
        for each in comparison.capacity.servers:
            server, held = each.cell.server, held_s[each.cell]
            true = theory(held, slots[server], limit_s)
            if each.rps is None or each.rps.low is None or each.rps.high is None:
                raise LabError(
                    f"{server}: no capacity between two rates was found, but {each.status}; is the machine quiet?"
                )
            rps, waits_s = each.rps, run.experiment.parameters[each.cell.workload]["ms"] / 1000
            alike_s = late_as_often(run, observations, each.cell, held)
            without_chance = theory(alike_s, slots[server], limit_s) / true
            by_server.setdefault(server, []).append(each)
            rows.append(
                {
                    "run": f"{number + 1}, {run.runtime}",
                    "server": server,
                    "slot held, ms": 1000 * held,
                    "theory, requests/s": true,
                    "theory without what the server adds": theory(waits_s, slots[server], limit_s),
                    "late as a slot of, ms": 1000 * alike_s,
                    "found": rps,
                    "found/theory": rps.median / true,
                    "its theory/theory": without_chance,
                    "theory within interval": "yes" if each.rps.low <= true <= each.rps.high else "no",
                    "windows": str(each.windows),
                }
            )
            errors.setdefault(server, []).append(math.log(rps.median / true))
            of_arrivals.setdefault(server, []).append(math.log(without_chance))
    claims = [_within(server, "theory, without the chance of arrivals", of) for server, of in of_arrivals.items()]
    claims += [_within(server, "theory", of) for server, of in errors.items()]
    claims += [_alike(server, of) for server, of in by_server.items() if len(of) > 1]
    scope = Scope(
        rounds=f"{runs} runs, each a new start of the servers",
        modes="`sleep` of 50 ms, p95 within 400 ms (one slot) and 200 ms (eight); Poisson arrivals; a connection each request",
        left_out="service times that scatter, servers that compute, kept connections",
    )
    return Outcome(settings={}, rows=rows, claims=claims, scope=scope)


def _run(name: str, runtime: RuntimeName) -> tuple[Comparison, Sequence[Observation]]:
    file = Path(__file__).with_name(f"{name}.yaml")
    options = commands.RunOptions(task="lab.run", file=str(file), runtime=runtime)
    places = commands.workspace()
    comparison = commands.run(options, Console(file=StringIO(), width=200), places)
    return comparison, Store.find(places.results, comparison.run.id).observations()


def _within(server: str, of: str, errors: Sequence[float]) -> Claim:
    """That the capacity is within 5 % of another, as the geometric mean of the runs."""
    near = math.exp(-abs(math.fsum(errors) / len(errors)))
    return Claim(
        what=f"{server}: capacity within 5 % of {of}, over {len(errors)} runs",
        ratio=Interval(median=near, low=near, high=near),
        at_least=WITHIN,
    )


def _alike(server: str, found: Sequence[ServerCapacity]) -> Claim:
    """That two runs agree: how far their intervals reach together, over how far apart they are; the least of every two."""
    least = math.inf
    for one, two in itertools.combinations([each.rps for each in found if each.rps is not None], 2):
        reach = math.hypot(*(math.log((each.high or math.inf) / each.median) for each in (one, two)))
        apart = abs(math.log(one.median / two.median))
        least = min(least, reach / max(apart, reach / 99))
    return Claim(
        what=f"{server}: intervals over the difference of two runs",
        ratio=Interval(median=least, low=least, high=least),
        at_least=1.0,
    )


if __name__ == "__main__":
    repeat("capacity", __doc__, measure, runs=2)
