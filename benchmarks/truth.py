"""The throughput of every server of the catalogue as the lab's swarm measures it, over what wrk measures, in turn.

Both send the same requests for `hello` over as many connections, in either connection mode that the server supports.
The server's CPU time for a request shows where a difference comes from: from what the server does for a request, or
from times at which it has nothing to do. Must show: within 5 % of each other, in each connection mode by itself,
wherever the lab's reason is not `generator`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from statistics import geometric_mean
from typing import Any

from benchmarks.bench import Bench, generator_cpu, main, modes, rates, ratio
from benchmarks.outcome import MODES, Block, Claim, Outcome, Rate, Row, Scope, connections
from benchmarks.rivals import Wrk
from wsgilab.analysis import stats
from wsgilab.analysis.bottleneck import GENERATOR_LIMIT
from wsgilab.load.client import LocustSwarm
from wsgilab.model import Connection, Interval, TrialSpec, Usage
from wsgilab.model.errors import SwarmError
from wsgilab.runtime.protocol import Target

USERS = 16
PATIENCE_S = 10.0
AT_LEAST = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Served(Rate):
    """What was measured, and the server's CPU time for it."""

    server_cpu_ms: float
    """CPU milliseconds a request: of the swarm's window, and of all that wrk sent, its beginning included."""


def nothing() -> None:
    """Do nothing at an end of the window."""


def swarm_rate(
    swarm: LocustSwarm, base_url: str, connection: Connection, window_s: float, at_end: Callable[[], None] = nothing
) -> Rate:
    """One trial of `hello`, ordered as a campaign orders it, with `at_end` at either end of the window.

    Raises SwarmError where any request failed.
    """
    order = TrialSpec(
        locustfile="hello",
        base_url=base_url,
        users=USERS,
        rate=None,
        window_s=window_s,
        patience_s=PATIENCE_S,
        options={"connection": connection, "request_timeout": 0},
    )
    report = swarm.load(order, at_end, at_end)
    if report.failures or report.cut_off:
        raise SwarmError(f"the swarm: {base_url} ({connection}): cut off {report.cut_off}, failed {report.errors}")
    return Rate(rps=report.throughput_rps, generator_cpu=report.generator_cpu)


def by_swarm(swarm: LocustSwarm, target: Target, connection: Connection, window_s: float) -> Served:
    """Raises SwarmError where any request failed."""
    usages: list[Usage] = []
    rate = swarm_rate(swarm, target.base_url, connection, window_s, lambda: usages.append(target.usage()))
    before, after = usages
    used = (after.cpu_s - before.cpu_s) / (after.at_s - before.at_s)
    return Served(**asdict(rate), server_cpu_ms=1000 * used / rate.rps)


def by_wrk(wrk: Wrk, target: Target, connection: Connection, window_s: float) -> Served:
    """Raises SwarmError where any request failed."""
    before = target.usage()
    rate, requests = wrk.counted(target.base_url, connection=connection, connections=USERS, window_s=window_s)
    used_s = target.usage().cpu_s - before.cpu_s
    return Served(**asdict(rate), server_cpu_ms=1000 * used_s / requests)


def measure(bench: Bench) -> Outcome:
    """The swarm and wrk in pairs, one for each server and connection mode."""
    wrk = Wrk()
    with ExitStack() as up:
        fleet = up.enter_context(bench.runtime.start(bench.servers.values(), bench.server_cpus))
        swarm = LocustSwarm(up.enter_context(bench.runtime.swarm(bench.generator_cpus)), bench.generator_cpus)
        groups = {
            f"{name}, {mode}": {
                "swarm": partial(by_swarm, swarm, target, mode, bench.window_s),
                "wrk": partial(by_wrk, wrk, target, mode, bench.window_s),
            }
            for name, target in fleet.items()
            for mode in modes(target.base_url)
        }
        blocks = [bench.measure(number, groups) for number in range(bench.blocks)]
    return summary(blocks, {"wrk": wrk.version, "users": USERS, "generator_limit": GENERATOR_LIMIT})


def summary(blocks: Sequence[Block], settings: Mapping[str, Any]) -> Outcome:
    """Rows and claims: server by server, and all servers together in each connection mode."""
    groups = sorted(blocks[0])
    busy = {group: generator_cpu(blocks, group, "swarm") for group in groups}
    quiet = [group for group in groups if busy[group] < GENERATOR_LIMIT]
    by_mode = {mode: [group for group in quiet if group.endswith(f", {mode}")] for mode in MODES}
    together = {mode: of_mode for mode, of_mode in by_mode.items() if of_mode}
    rows: list[Row] = [
        {
            "server": group,
            "swarm, requests/s": rates(blocks, group, "swarm"),
            "wrk, requests/s": rates(blocks, group, "wrk"),
            "swarm/wrk": ratio(blocks, group, "swarm", "wrk"),
            "CPU a request, swarm/wrk": all_together(blocks, [group], cpu_ms),
            "generator CPU": busy[group],
            "bound by": "server" if group in quiet else "generator",
        }
        for group in groups
    ]
    rows += [
        {
            **dict.fromkeys(rows[0], ""),
            "server": f"all {len(of_mode)}, {mode}",
            "swarm/wrk": all_together(blocks, of_mode),
            "CPU a request, swarm/wrk": all_together(blocks, of_mode, cpu_ms),
            "bound by": "server",
        }
        for mode, of_mode in together.items()
    ]
    level = stats.ERROR_RATE / (len(quiet) + len(together))
    claimed: dict[str, Interval] = {}
    for mode, of_mode in together.items():
        below = sum(ratio(blocks, group, "swarm", "wrk").median < 1 for group in of_mode)
        what = f"{mode}, all {len(of_mode)} together, {below} of them below 1"
        claimed[what] = all_together(blocks, of_mode, level=level)
    claimed |= {group: ratio(blocks, group, "swarm", "wrk", level=level) for group in quiet}
    claims = [
        Claim(what=f"{what}: agreement", ratio=agreement(each), at_least=AT_LEAST, blocks=len(blocks), level=level)
        for what, each in claimed.items()
    ]
    scope = Scope(
        rounds=f"1 start of the servers, in which all were measured {len(blocks)} times in turn",
        modes=f"local processes; `hello`; {connections(groups)}; {USERS} users",
        left_out="other starts of the same servers, other workloads, containers",
    )
    return Outcome(settings=settings, blocks=blocks, rows=rows, claims=claims, scope=scope)


def rps(rate: Rate) -> float:
    return rate.rps


def cpu_ms(rate: Rate) -> float:
    assert isinstance(rate, Served)
    return rate.server_cpu_ms


def all_together(
    blocks: Sequence[Block], groups: Sequence[str], of: Callable[[Rate], float] = rps, level: float = stats.ERROR_RATE
) -> Interval:
    """Swarm over wrk, as the geometric mean over `groups`. A block is one sample, however many servers are in it."""
    return stats.median_interval(
        [geometric_mean([of(block[group]["swarm"]) / of(block[group]["wrk"]) for group in groups]) for block in blocks],
        level,
    )


def agreement(ratio: Interval) -> Interval:
    """The ratio or its inverse, whichever is below 1: 1 is agreement, 0.95 is 5 % apart in either direction."""
    median = min(ratio.median, 1 / ratio.median)
    if ratio.low is None or ratio.high is None:
        return Interval(median=median, low=None, high=None)
    low, high = sorted(min(end, 1 / end) for end in (ratio.low, ratio.high))
    return Interval(median=median, low=low, high=1.0 if ratio.low <= 1 <= ratio.high else high)


if __name__ == "__main__":
    main("truth", __doc__, measure, blocks=12, window_s=0.6)
