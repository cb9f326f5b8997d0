"""What the stamping middleware costs a server: requests a second with it, over those without it.

Each round starts its servers anew: two processes of one and the same configuration differ for good by more than the
stamp costs, so that one pair of processes, however often measured, would show that difference and not the stamp's.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, main, modes, rates, ratio, ratios
from benchmarks.outcome import Block, Claim, Outcome, Row, Scope, median_claims
from benchmarks.rivals import Wrk
from wsgilab.model import Server

SERVERS = ("gunicorn-sync-1", "gunicorn-gthread-8", "gunicorn-gevent")
CONNECTIONS = 16
AT_LEAST = 0.98
_APPLICATION = "wsgilab_door.wsgi:app"
_WSGI = Path(__file__).resolve().parent / "wsgi"


def unstamped(server: Server) -> Server:
    """The same server of the application without its stamp."""
    *words, application = server.command
    assert application == _APPLICATION
    return replace(server, name=f"{server.name}-unstamped", command=(*words, f"--pythonpath={_WSGI}", "unstamped:app"))


def _round(bench: Bench, wrk: Wrk, number: int) -> Block:
    stamped = [bench.servers[name] for name in SERVERS]
    pairs = [server for each in stamped for server in (each, unstamped(each))]
    random.Random(f"{bench.seed}/{number}/start").shuffle(pairs)  # noqa: S311 - an order, no secret
    with bench.runtime.start(pairs, bench.server_cpus) as fleet:
        rate = partial(wrk.rate, connections=CONNECTIONS, window_s=bench.window_s)
        groups = {
            f"{name}, {mode}": {
                "stamped": partial(rate, fleet[name].base_url, connection=mode),
                "unstamped": partial(rate, fleet[f"{name}-unstamped"].base_url, connection=mode),
            }
            for name in SERVERS
            for mode in modes(fleet[name].base_url)
        }
        return bench.measure(number, groups)


def measure(bench: Bench) -> Outcome:
    """Pairs of servers that differ in the stamp alone, loaded by wrk, which needs no stamps."""
    wrk = Wrk()
    blocks: Sequence[Block] = [_round(bench, wrk, number) for number in range(bench.rounds)]
    rows, claims = summary(blocks)
    scope = Scope(
        rounds=f"{bench.rounds} rounds, each a new start of all servers",
        modes=f"local processes; `hello`; either connection mode by itself; {CONNECTIONS} connections of wrk",
        left_out="servers of other kinds, containers, workloads that do more, of which the stamp is a smaller part",
    )
    settings = {"wrk": wrk.version, "connections": CONNECTIONS}
    return Outcome(settings=settings, blocks=blocks, rows=rows, claims=claims, scope=scope)


def summary(blocks: Sequence[Block]) -> tuple[Sequence[Row], Sequence[Claim]]:
    """Rows and claims. Each round is a block."""
    groups = sorted(blocks[0])
    rows: list[Row] = [
        {
            "server": group,
            "rounds": str(len(blocks)),
            "stamped, requests/s": rates(blocks, group, "stamped"),
            "unstamped, requests/s": rates(blocks, group, "unstamped"),
            "stamped/unstamped": ratio(blocks, group, "stamped", "unstamped"),
        }
        for group in groups
    ]
    shares = {f"{group}: stamped/unstamped": ratios(blocks, group, "stamped", "unstamped") for group in groups}
    return rows, median_claims(shares, AT_LEAST)


if __name__ == "__main__":
    main("stamp", __doc__, measure, rounds=12, window_s=1.0)
