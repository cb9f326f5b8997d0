"""The throughput of every server of the catalogue as the lab's swarm sees it, over what wrk sees, measured in turn.

Both send the same requests for `hello` over as many connections, in either connection mode that the server supports.
"""

from contextlib import ExitStack
from functools import partial

from benchmarks.bench import Bench, Outcome, Rate, Row, generator_cpu, main, modes, rates, ratio
from benchmarks.rivals import Wrk
from wsgilab.compare import GENERATOR_LIMIT
from wsgilab.errors import SwarmError
from wsgilab.model import Connection, Order
from wsgilab.swarm.client import LocustSwarm

USERS = 16
PATIENCE_S = 10.0


def swarm_rate(swarm: LocustSwarm, base_url: str, connection: Connection, window_s: float) -> Rate:
    """One trial of `hello`, ordered as a campaign orders it. Raises SwarmError where any request failed."""
    order = Order(
        locustfile="hello",
        base_url=base_url,
        users=USERS,
        rate=None,
        window_s=window_s,
        patience_s=PATIENCE_S,
        options={"connection": connection, "request_timeout": 0},
    )
    report = swarm.load(order, lambda: None, lambda: None)
    if report.failures or report.cut_off:
        raise SwarmError(f"the swarm: {base_url} ({connection}): cut off {report.cut_off}, failed {report.errors}")
    return Rate(rps=report.throughput_rps, generator_cpu=report.generator_cpu)


def measure(bench: Bench) -> Outcome:
    """The swarm and wrk in pairs, one for each server and connection mode."""
    wrk = Wrk()
    with ExitStack() as up:
        fleet = up.enter_context(bench.runtime.start(bench.servers.values(), bench.server_cpus))
        swarm = LocustSwarm(up.enter_context(bench.runtime.swarm(bench.generator_cpus)), bench.generator_cpus)
        groups = {
            f"{name}, {mode}": {
                "swarm": partial(swarm_rate, swarm, target.base_url, mode, bench.window_s),
                "wrk": partial(wrk.rate, target.base_url, connection=mode, connections=USERS, window_s=bench.window_s),
            }
            for name, target in fleet.items()
            for mode in modes(target.base_url)
        }
        blocks = [bench.measure(number, groups) for number in range(bench.blocks)]
    rows: list[Row] = []
    for group in groups:
        busy = generator_cpu(blocks, group, "swarm")
        rows.append(
            {
                "server": group,
                "swarm, requests/s": rates(blocks, group, "swarm"),
                "wrk, requests/s": rates(blocks, group, "wrk"),
                "swarm/wrk": ratio(blocks, group, "swarm", "wrk"),
                "generator CPU": busy,
                "bound by": "generator" if busy >= GENERATOR_LIMIT else "server",
            }
        )
    return Outcome(
        settings={"wrk": wrk.version, "users": USERS, "generator_limit": GENERATOR_LIMIT}, blocks=blocks, rows=rows
    )


if __name__ == "__main__":
    main("truth", __doc__, measure, blocks=10, window_s=1.0)
