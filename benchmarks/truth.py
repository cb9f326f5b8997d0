"""Throughput and percentiles of servers as the lab's swarm measures them, over what wrk measures, in turn.

Both send the same requests for `hello` over as many connections, in either connection mode that the server supports. A
percentile is of what was measured: wrk prints others, with requests added that nobody sent (`uncorrected` in `rivals.py`); its
printed p99 has a column too. wrk counts from when a request is sent, the lab also how long the connection took to open. The
server's CPU time for a request shows where a difference comes from: from what the server does for a request, or from times at
which it has nothing to do. Must show, in each connection mode by itself, wherever the lab's reason is not `generator`:
throughput within 3 % of each other, and percentiles within 10 %. Servers of which a median is not are listed with the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from statistics import geometric_mean, median
from typing import Any

from benchmarks.bench import Bench, generator_cpu, main, modes, rates
from benchmarks.outcome import MODES, Block, Claim, Outcome, Rate, Row, Scope, connections
from benchmarks.rivals import Wrk, percentile_ms
from wsgilab.analysis import stats
from wsgilab.analysis.cell.generator import GENERATOR_LIMIT
from wsgilab.load.client import LocustSwarm
from wsgilab.model import Connection, Interval, TrialReport, TrialSpec, Usage
from wsgilab.model.errors import SwarmError
from wsgilab.runtime.protocol import Target

USERS = 16
PATIENCE_S = 10.0
RPS, PERCENTILES = "requests/s", ("p50", "p95", "p99")
AT_LEAST: Mapping[str, float] = {RPS: 0.97, **dict.fromkeys(PERCENTILES, 0.9)}
"""How near 1 the ratio of each figure must be, whichever of the two is above."""
UNEVEN = 1.5
"""From this many times its even share on, the busiest user explains other percentiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served(Rate):
    """What was measured, and the server's CPU time for it."""

    server_cpu_ms: float
    """CPU milliseconds a request: of the swarm's window, and of all that wrk sent, its beginning included."""
    latency_ms: Mapping[str, float]
    """By PERCENTILES; with wrk also `p99 printed`."""
    busiest_user_share: float | None = None
    """The answers of the swarm's user who had most, over an even share."""
    slow_connections: int = 0
    """Of the swarm's connections, those that took so long to open that the first attempt must have been dropped."""


def nothing() -> None:
    """Do nothing at an end of the window."""


def swarm_report(
    swarm: LocustSwarm, base_url: str, connection: Connection, window_s: float, at_end: Callable[[], None] = nothing
) -> TrialReport:
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
    return report


def by_swarm(swarm: LocustSwarm, target: Target, connection: Connection, window_s: float) -> Served:
    """Raises SwarmError where any request failed."""
    usages: list[Usage] = []
    report = swarm_report(swarm, target.base_url, connection, window_s, lambda: usages.append(target.usage()))
    before, after = usages
    used = (after.cpu_s - before.cpu_s) / (after.at_s - before.at_s)
    return Served(
        rps=report.throughput_rps,
        generator_cpu=report.generator_cpu,
        server_cpu_ms=1000 * used / report.throughput_rps,
        latency_ms={name: report.latency_ms[name] for name in PERCENTILES},
        busiest_user_share=None if report.busiest_user is None else report.busiest_user / report.completed * USERS,
        slow_connections=report.slow_connections,
    )


def by_wrk(wrk: Wrk, target: Target, connection: Connection, window_s: float) -> Served:
    """Raises SwarmError where any request failed."""
    before = target.usage()
    load = wrk.load(target.base_url, connection=connection, connections=USERS, window_s=window_s)
    used_s = target.usage().cpu_s - before.cpu_s
    return Served(
        **asdict(load.rate),
        server_cpu_ms=1000 * used_s / load.requests,
        latency_ms={
            **{name: percentile_ms(load.took_us, float(name[1:])) for name in PERCENTILES},
            "p99 printed": percentile_ms(load.printed_us, 99),
        },
    )


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
    """Rows of each server, and of all servers together in each connection mode; claims of these."""
    groups = sorted(blocks[0])
    quiet = [group for group in groups if generator_cpu(blocks, group, "swarm") < GENERATOR_LIMIT]
    by_mode = {mode: [group for group in quiet if group.endswith(f", {mode}")] for mode in MODES}
    together = {mode: of_mode for mode, of_mode in by_mode.items() if of_mode}
    rows = [_row(blocks, group) for group in groups]
    rows += [
        {**dict.fromkeys(rows[0], ""), "server": f"all {len(of_mode)}, {mode}", **_ratios(blocks, of_mode)}
        for mode, of_mode in together.items()
    ]
    level = stats.ERROR_RATE / (len(together) * len(AT_LEAST))
    claims = [
        Claim(
            what=f"{mode}, all {len(of_mode)} together: agreement of {figure}",
            ratio=agreement(all_together(blocks, of_mode, of(figure), level)),
            at_least=at_least,
            blocks=len(blocks),
            level=level,
        )
        for mode, of_mode in together.items()
        for figure, at_least in AT_LEAST.items()
    ]
    scope = Scope(
        rounds=f"1 start of the servers, in which all were measured {len(blocks)} times in turn",
        modes=f"local processes; `hello`; {connections(groups)}; {USERS} users",
        left_out="other starts of the same servers, other workloads, containers",
    )
    return Outcome(settings=settings, blocks=blocks, rows=rows, claims=claims, scope=scope)


def _row(blocks: Sequence[Block], group: str) -> Row:
    def typical(contender: str, of: Callable[[Served], float]) -> float:
        return median(of(_served(block, group, contender)) for block in blocks)

    ratios = _ratios(blocks, [group])
    shares = [_served(block, group, "swarm").busiest_user_share for block in blocks]
    known = [share for share in shares if share is not None]
    return {
        "server": group,
        "wrk, requests/s": rates(blocks, group, "wrk"),
        **{f"wrk {name}, ms": typical("wrk", of(name)) for name in PERCENTILES},
        "wrk p99 printed, ms": typical("wrk", of("p99 printed")),
        **ratios,
        "busiest user": median(known) if known else "",
        "generator CPU": generator_cpu(blocks, group, "swarm"),
        "wrk CPU": generator_cpu(blocks, group, "wrk"),
        "differs": differs(blocks, group),
    }


def _ratios(blocks: Sequence[Block], groups: Sequence[str]) -> dict[str, Interval]:
    """Swarm over wrk."""
    figures = {f"{figure}, swarm/wrk": of(figure) for figure in AT_LEAST}
    figures["CPU a request, swarm/wrk"] = lambda served: served.server_cpu_ms
    return {name: all_together(blocks, groups, of_figure) for name, of_figure in figures.items()}


def differs(blocks: Sequence[Block], group: str) -> str:
    """The figures of which the median ratio is too far from 1, and why; empty where none is."""
    ratios = {figure: agreement(all_together(blocks, [group], of(figure))) for figure in AT_LEAST}
    apart = {figure: ratio for figure, ratio in ratios.items() if ratio.median < AT_LEAST[figure]}
    if not apart:
        return ""
    swarm = [_served(block, group, "swarm") for block in blocks]
    share = median(each.busiest_user_share or 1.0 for each in swarm)
    if generator_cpu(blocks, group, "swarm") >= GENERATOR_LIMIT:
        why = "the generator was busy"
    elif any(each.slow_connections for each in swarm):
        why = "connections were slow to open, which wrk does not count"
    elif all(ratio.high is None or ratio.high >= AT_LEAST[figure] for figure, ratio in apart.items()):
        why = "within the scatter of the blocks"
    elif share >= UNEVEN:
        why = f"it serves connections unevenly, one of them {share:.1f} times its even share"
    else:
        why = "unexplained"
    return f"{', '.join(apart)}: {why}"


def _served(block: Block, group: str, contender: str) -> Served:
    served = block[group][contender]
    assert isinstance(served, Served)
    return served


def of(figure: str) -> Callable[[Served], float]:
    """How a figure of AT_LEAST, or a percentile, is read."""
    return lambda served: served.rps if figure == RPS else served.latency_ms[figure]


def all_together(
    blocks: Sequence[Block],
    groups: Sequence[str],
    of_figure: Callable[[Served], float],
    level: float = stats.ERROR_RATE,
) -> Interval:
    """Swarm over wrk, as the geometric mean over `groups`. A block is one sample, however many servers are in it."""

    def ratio(block: Block, group: str) -> float:
        return of_figure(_served(block, group, "swarm")) / of_figure(_served(block, group, "wrk"))

    return stats.median_interval([geometric_mean([ratio(block, group) for group in groups]) for block in blocks], level)


def agreement(ratio: Interval) -> Interval:
    """The ratio or its inverse, whichever is below 1: 1 is agreement, 0.95 is 5 % apart in either direction."""
    median = min(ratio.median, 1 / ratio.median)
    if ratio.low is None or ratio.high is None:
        return Interval(median=median, low=None, high=None)
    low, high = sorted(min(end, 1 / end) for end in (ratio.low, ratio.high))
    return Interval(median=median, low=low, high=1.0 if ratio.low <= 1 <= ratio.high else high)


if __name__ == "__main__":
    main("truth", __doc__, measure, blocks=10, window_s=1.0, rows=True)
