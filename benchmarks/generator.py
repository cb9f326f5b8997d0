"""Requests a second that one core can generate: the lab's users on their reactor, the same with a greenlet each, Locust's
FastHttpUser and HttpUser, and wrk.

All load the same server, nginx, which costs less than they do. In the same rounds wrk and the lab's users load the fastest servers of
the catalogue, because a generator is fast enough when it outruns the fastest server on an equal core. The fastest is
the one of the highest median in these very rounds, which makes it seem faster than it is, never slower. What a request of it costs
wrk, most of it in the kernel, is the least that any generator can need for it.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from benchmarks.bench import Bench, generator_cpu, main, modes, rates, ratios
from benchmarks.outcome import MODES, Block, Claim, Outcome, Rate, Row, Scope, median_claims
from benchmarks.rivals import Wrk, nginx
from wsgilab.analysis import stats
from wsgilab.model import Connection
from wsgilab.model.errors import SwarmError
from wsgilab.system.process import ChannelClosed, JsonChannel, tail

USERS = 32
SERVER_WINDOW_S = 1.0
CANDIDATES = 3
OURS, GREENLETS, FAST, HTTP, WRK = "ours", "greenlets", "FastHttpUser", "HttpUser", "wrk"
OVER_GREENLETS: Mapping[Connection, float] = {"close": 2.0, "keep-alive": 5.0}
OVER_WRK = 0.75
OVER_SERVER = 2.0
_MARGIN_S = 30.0


def locust_rate(channel: JsonChannel, users: str, base_url: str, connection: Connection, window_s: float) -> Rate:
    """One measurement of Locust users. Raises SwarmError where any request failed."""
    order = {"users": users, "base_url": base_url, "connection": connection, "count": USERS, "window_s": window_s}
    try:
        channel.send(order)
        answer = channel.receive(window_s + _MARGIN_S)
    except ChannelClosed as error:
        raise SwarmError(f"the contender is lost: {error}", detail=tail(channel.log, 10)) from None
    match answer:
        case {"rps": float(rps), "generator_cpu": float(cpu), "failures": 0} if rps:
            return Rate(rps=rps, generator_cpu=cpu)
    raise SwarmError(f"{users} ({connection}): {answer}", detail=tail(channel.log, 10))


def measure(bench: Bench) -> Outcome:
    """In each connection mode five generators of load on nginx, and beside them the fastest servers under wrk's load."""
    wrk = Wrk()
    candidates = _fastest(bench, wrk)
    found = [_round(bench, wrk, candidates, number) for number in range(bench.rounds)]
    blocks = [block for block, _ in found]
    rows, claims = summary(blocks)
    settings = {
        "wrk": wrk.version,
        "nginx": found[0][1],
        "users": USERS,
        "server_window_s": SERVER_WINDOW_S,
        "fastest": {mode: list(names) for mode, names in candidates.items()},
    }
    scope = Scope(
        rounds=f"{bench.rounds} rounds, each a new start of nginx, servers and generators",
        modes=f"local processes; `hello`; either connection mode by itself; {USERS} users",
        left_out=(
            f"longer answers, containers, and servers that were not among the {CANDIDATES} fastest of their mode in one "
            "window each beforehand"
        ),
    )
    return Outcome(settings=settings, blocks=blocks, rows=rows, claims=claims, scope=scope)


def _fastest(bench: Bench, wrk: Wrk) -> Mapping[Connection, Sequence[str]]:
    """The fastest servers of the catalogue in each mode, by one window each: those that are worth a measurement."""
    with bench.runtime.start(bench.servers.values(), bench.server_cpus) as fleet:
        supported = {name: modes(target.base_url) for name, target in fleet.items()}
        found = {
            mode: {
                name: wrk.rate(target.base_url, connection=mode, connections=USERS, window_s=SERVER_WINDOW_S).rps
                for name, target in fleet.items()
                if mode in supported[name]
            }
            for mode in MODES
        }
    return {mode: heapq.nlargest(CANDIDATES, rps, key=rps.__getitem__) for mode, rps in found.items()}


def _round(bench: Bench, wrk: Wrk, candidates: Mapping[Connection, Sequence[str]], number: int) -> tuple[Block, str]:
    """Everything once, started anew; and nginx's version."""
    names = dict.fromkeys(name for fastest in candidates.values() for name in fastest)
    with ExitStack() as up:
        null_url, nginx_version = up.enter_context(nginx(bench))
        fleet = up.enter_context(bench.runtime.start([bench.servers[name] for name in names], bench.server_cpus))
        companion = up.enter_context(bench.runtime.companion("benchmarks._locust_contender", bench.generator_cpus))
        rate = partial(wrk.rate, connections=USERS)
        groups: dict[str, dict[str, Callable[[], Rate]]] = {}
        for mode, fastest in candidates.items():
            groups[mode] = {
                users: partial(locust_rate, companion, users, null_url, mode, bench.window_s)
                for users in (OURS, GREENLETS, FAST, HTTP)
            }
            groups[mode][WRK] = partial(rate, null_url, connection=mode, window_s=bench.window_s)
            groups[_servers(mode)] = {
                name: partial(rate, fleet[name].base_url, connection=mode, window_s=SERVER_WINDOW_S) for name in fastest
            }
            groups[_servers(mode, OURS)] = {
                name: partial(locust_rate, companion, OURS, fleet[name].base_url, mode, SERVER_WINDOW_S)
                for name in fastest
            }
        return bench.measure(number, groups), nginx_version


def summary(blocks: Sequence[Block]) -> tuple[Sequence[Row], Sequence[Claim]]:
    """Rows and claims. Each round is a block."""
    rows: list[Row] = []
    over: dict[str, Sequence[float]] = {}
    least: list[float] = []
    for mode in MODES:
        group = _servers(mode)
        fastest = max(blocks[0][group], key=lambda name: rates(blocks, group, name).median)
        rows += [_row(blocks, mode, contender, mode) for contender in (OURS, GREENLETS, FAST, HTTP, WRK)]
        rows += [_row(blocks, mode, fastest, _servers(mode, by), by) for by in (WRK, OURS)]
        for contender, beside, times in (
            (GREENLETS, mode, OVER_GREENLETS[mode]),
            (WRK, mode, OVER_WRK),
            (fastest, group, OVER_SERVER),
        ):
            over[f"{mode}: ours/{contender}"] = ratios(blocks, mode, OURS, contender, below_group=beside)
            least.append(times)
    return rows, median_claims(over, *least)


def _servers(mode: str, by: str = WRK) -> str:
    """The group of the servers, which are no rivals of the generators measured on nginx, and whose load they were under."""
    return f"{mode}, servers by {by}"


def _row(blocks: Sequence[Block], mode: str, contender: str, group: str, by: str = "") -> Row:
    cpu_us = [1e6 * block[group][contender].generator_cpu / block[group][contender].rps for block in blocks]
    return {
        "connection": mode,
        "contender": f"{contender}, the fastest server, by {by}" if by else contender,
        "rounds": str(len(blocks)),
        "requests/s": rates(blocks, group, contender),
        "ours over it": stats.median_interval(ratios(blocks, mode, OURS, contender, below_group=group)),
        "generator CPU": generator_cpu(blocks, group, contender),
        "generator CPU, µs a request": stats.median_interval(cpu_us),
    }


if __name__ == "__main__":
    main("generator", __doc__, measure, rounds=8, window_s=1.0)
