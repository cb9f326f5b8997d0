"""Requests a second that one core can generate: the lab's users, Locust's FastHttpUser and HttpUser, and wrk.

All load the same server, nginx, which costs less than they do. In the same blocks wrk loads every server of the
catalogue, because a generator is fast enough when it outruns the fastest server on an equal core.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from benchmarks.bench import MODES, Bench, Block, Claim, Outcome, Rate, Row, generator_cpu, main, modes, rates, ratio
from benchmarks.rivals import Wrk, nginx
from wsgilab.errors import SwarmError
from wsgilab.model import Connection
from wsgilab.process import Conversation, Hushed, tail

USERS = 32
SERVER_WINDOW_S = 1.0
OURS, FAST, HTTP, WRK = "ours", "FastHttpUser", "HttpUser", "wrk"
OVER_FAST = 1.5
OVER_SERVER = 2.0
_MARGIN_S = 30.0


def locust_rate(conversation: Conversation, users: str, base_url: str, connection: Connection, window_s: float) -> Rate:
    """One measurement of Locust users. Raises SwarmError where any request failed."""
    order = {"users": users, "base_url": base_url, "connection": connection, "count": USERS, "window_s": window_s}
    try:
        conversation.say(order)
        told = conversation.hear(window_s + _MARGIN_S)
    except Hushed as error:
        raise SwarmError(f"the contender is lost: {error}", detail=tail(conversation.log, 10)) from None
    match told:
        case {"rps": float(rps), "generator_cpu": float(cpu), "failures": 0} if rps:
            return Rate(rps=rps, generator_cpu=cpu)
    raise SwarmError(f"{users} ({connection}): {told}", detail=tail(conversation.log, 10))


def measure(bench: Bench) -> Outcome:
    """In each connection mode four generators of load on nginx, and beside them each server under wrk's load."""
    wrk = Wrk()
    with ExitStack() as up:
        null_url, nginx_version = up.enter_context(nginx(bench))
        fleet = up.enter_context(bench.runtime.start(bench.servers.values(), bench.server_cpus))
        companion = up.enter_context(bench.runtime.companion("benchmarks._locust_contender", bench.generator_cpus))
        rate = partial(wrk.rate, connections=USERS)
        groups: dict[str, dict[str, Callable[[], Rate]]] = {}
        for mode in MODES:
            groups[mode] = {
                users: partial(locust_rate, companion, users, null_url, mode, bench.window_s)
                for users in (OURS, FAST, HTTP)
            }
            groups[mode][WRK] = partial(rate, null_url, connection=mode, window_s=bench.window_s)
            groups[_servers(mode)] = {
                name: partial(rate, target.base_url, connection=mode, window_s=SERVER_WINDOW_S)
                for name, target in fleet.items()
                if mode in modes(target.base_url)
            }
        blocks = [bench.measure(number, groups) for number in range(bench.blocks)]

    rows: list[Row] = []
    claims: list[Claim] = []
    for mode in MODES:
        fastest = max(groups[_servers(mode)], key=lambda name: rates(blocks, _servers(mode), name).median)
        rows += [_row(blocks, mode, contender, mode) for contender in (OURS, FAST, HTTP, WRK)]
        rows.append(_row(blocks, mode, fastest, _servers(mode)))
        for contender, group, at_least in ((FAST, mode, OVER_FAST), (fastest, _servers(mode), OVER_SERVER)):
            share = ratio(blocks, mode, OURS, contender, below_group=group)
            claims.append(Claim(what=f"{mode}: ours/{contender}", ratio=share, at_least=at_least, blocks=bench.blocks))
    settings = {"wrk": wrk.version, "nginx": nginx_version, "users": USERS, "server_window_s": SERVER_WINDOW_S}
    return Outcome(settings=settings, blocks=blocks, rows=rows, claims=claims)


def _servers(mode: str) -> str:
    """The group of the servers, which are no rivals of the generators measured on nginx."""
    return f"{mode}, servers"


def _row(blocks: Sequence[Block], mode: str, contender: str, group: str) -> Row:
    return {
        "connection": mode,
        "contender": contender if group == mode else f"{contender}, the fastest server",
        "requests/s": rates(blocks, group, contender),
        "ours over it": ratio(blocks, mode, OURS, contender, below_group=group),
        "generator CPU": generator_cpu(blocks, group, contender),
    }


if __name__ == "__main__":
    main("generator", __doc__, measure, blocks=10, window_s=1.5)
