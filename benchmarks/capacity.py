"""The capacity that the lab finds against the one that follows from theory, of servers that hold every request for the same time.

One slot under Poisson arrivals is the queue M/D/1, whose waiting times Erlang found (1909, "The theory of probabilities and telephone
conversations"; as Crommelin has them for any number of slots: 1932, Post Office Electrical Engineers' Journal 25, 41-50). Eight are
M/D/8, which is simulated: a million requests at each rate, in the order of their arrival; with one slot the simulation is held against
the formula (`tests/unit/run/test_capacity.py`). How long a slot is held is measured: slots over the throughput of the run's own
closed loop, because a server holds it for some tenths of a millisecond longer than the request waits. Each run starts all servers
anew. Must show: capacities within 5 % of theory, as the mean of
the runs, and any two runs no further apart than their intervals allow.
"""

import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console

from benchmarks.bench import repeat, runtimes
from benchmarks.outcome import Claim, Outcome, Row, Scope
from wsgilab import commands
from wsgilab.model import Comparison, Interval, RuntimeName, ServerCapacity
from wsgilab.model.errors import LabError

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
    """How long each of so many requests waits, from an empty server on.

    Where all are held equally long and begin in the order of their arrival, each takes the slot of the request that came `slots`
    before it (Lindley 1952, doi:10.1017/S0305004100027638, of every `slots`-th request).
    """
    source = random.Random(seed)  # noqa: S311 - a load, not a secret
    free_s = deque([0.0] * slots)
    at_s, found = 0.0, []
    for _ in range(requests):
        at_s += source.expovariate(rate)
        wait_s = max(0.0, free_s.popleft() - at_s)
        found.append(wait_s)
        free_s.append(at_s + wait_s + held_s)
    return found


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
    found = [(number, _run(name, known[number % len(known)])) for number in range(runs) for name in EXPERIMENTS]
    rows: list[Row] = []
    claims: list[Claim] = []
    by_server: dict[str, list[ServerCapacity]] = {}
    errors: dict[str, list[float]] = {}
    for number, comparison in found:
        assert comparison.capacity is not None, "it was looked for"
        closed = {
            each.cell: each.figures.throughput_rps.median for each in comparison.cells if each.figures is not None
        }
        for each in comparison.capacity.servers:
            server = each.cell.server
            slots = comparison.run.servers[server].slots or 1
            held_s = slots / closed[each.cell]
            true = theory(held_s, slots, comparison.capacity.p95_ms / 1000)
            if each.rps is None or each.rps.low is None or each.rps.high is None:
                raise LabError(
                    f"{server}: no capacity between two rates was found, but {each.status}; is the machine quiet?"
                )
            rps = each.rps
            by_server.setdefault(server, []).append(each)
            rows.append(
                {
                    "run": f"{number + 1}, {comparison.run.runtime}",
                    "server": server,
                    "slot held, ms": 1000 * held_s,
                    "theory, requests/s": true,
                    "found": rps,
                    "found/theory": rps.median / true,
                    "theory within interval": "yes" if each.rps.low <= true <= each.rps.high else "no",
                    "windows": str(each.windows),
                }
            )
            errors.setdefault(server, []).append(math.log(rps.median / true))
    claims += [_within(server, of) for server, of in errors.items()]
    claims += [_alike(server, of) for server, of in by_server.items() if len(of) > 1]
    scope = Scope(
        rounds=f"{runs} runs, each a new start of the servers",
        modes="`sleep` of 5 ms, p95 within 50 ms (one slot), and of 50 ms, p95 within 200 ms (eight); Poisson arrivals; a connection each request",
        left_out="service times that scatter, servers that compute, kept connections",
    )
    return Outcome(settings={}, rows=rows, claims=claims, scope=scope)


def _run(name: str, runtime: RuntimeName) -> Comparison:
    file = Path(__file__).with_name(f"{name}.yaml")
    options = commands.RunOptions(task="lab.run", file=str(file), runtime=runtime)
    return commands.run(options, Console(file=StringIO(), width=200), commands.workspace())


def _within(server: str, errors: Sequence[float]) -> Claim:
    """That the capacity is within 5 % of theory, as the geometric mean of the runs."""
    near = math.exp(-abs(math.fsum(errors) / len(errors)))
    return Claim(
        what=f"{server}: capacity within 5 % of theory, over {len(errors)} runs",
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
