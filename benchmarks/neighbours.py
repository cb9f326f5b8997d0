"""What the idle rest of the fleet costs the server under load: its requests a second beside idle neighbours, over those
beside neighbours that are frozen.

Each round starts all servers anew. How much of the core the idle fleet leaves over is read from its CPU clocks, before
any load.
"""

import os
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psutil

from benchmarks.bench import Bench, generator_cpu, main, rates, ratio
from benchmarks.outcome import Block, Claim, Outcome, Rate, Row, Scope, median_claims
from benchmarks.rivals import Wrk
from wsgilab.analysis import stats
from wsgilab.model.errors import HostError, TargetError
from wsgilab.runtime.protocol import Fleet

LOADED = "gunicorn-gevent"
CONNECTIONS = 16
AT_LEAST = 0.99
IDLE_S = 4
LONGEST_WINDOW_S = 3.0
"""Gunicorn's arbiters kill workers that have shown no life for 30 s, and a freeze must stay far below that."""

_SETTLE_S = 0.2
_GROUP = "idle fleet"


class Neighbours:
    """All servers but one, as process groups. Each group is led by a child of this process."""

    def __init__(self, loaded_url: str) -> None:
        loaded = loaded_url.removeprefix("http://")
        binds = {child.pid: child.environ().get("LAB_BIND") for child in psutil.Process().children()}
        self._groups = [pid for pid, bind in binds.items() if bind not in (None, loaded)]

    def __len__(self) -> int:
        return len(self._groups)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop them all for a while, arbiters and workers in one call. Raises TargetError where one did not survive."""
        before = self._current_members()
        try:
            self._signal(signal.SIGSTOP)
            time.sleep(_SETTLE_S)
            if awake := [pid for pid in before if psutil.Process(pid).status() != psutil.STATUS_STOPPED]:
                raise TargetError(f"processes {awake} run on although they were stopped")
            yield
        finally:
            self._signal(signal.SIGCONT)
        if self._current_members() != before:
            raise TargetError("a neighbour lost or gained processes over a freeze, so nothing here could be compared")

    def _signal(self, signum: signal.Signals) -> None:
        for group in self._groups:
            os.killpg(group, signum)

    def _current_members(self) -> Collection[int]:
        leaders = [psutil.Process(pid) for pid in self._groups]
        everybody = [each for leader in leaders for each in (leader, *leader.children(recursive=True))]
        return {each.pid for each in everybody if _lives(each)}


def _lives(each: psutil.Process) -> bool:
    """False for what has ended; a server that forks for each connection may not have noticed that of a child yet."""
    try:
        return each.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def measure(bench: Bench) -> Outcome:
    """One loaded server, in turn beside idle and beside frozen neighbours on its core."""
    if bench.window_s > LONGEST_WINDOW_S:
        raise HostError(
            f"--window {bench.window_s:g}: at most {LONGEST_WINDOW_S:g}; servers do not outlive long freezes"
        )
    wrk = Wrk()
    rounds = [_round(bench, wrk, number) for number in range(bench.rounds)]
    left = [each.left_over for each in rounds]
    rows, claims = summary([each.blocks for each in rounds], left)
    settings = {
        "wrk": wrk.version,
        "loaded": LOADED,
        "neighbours": rounds[0].neighbours,
        "connections": CONNECTIONS,
        "connection": "close",
        "left_over": left,
    }
    scope = Scope(
        rounds=(
            f"{bench.rounds} rounds, each a new start of all servers; in a round {IDLE_S} s without load, and "
            f"{bench.blocks} windows of either kind, of which the median pair counts"
        ),
        modes=f"local processes; `hello` on {LOADED}; a connection each request; {CONNECTIONS} connections of wrk",
        left_out="other loaded servers, kept connections, containers, neighbours that are not idle",
    )
    blocks = [block for each in rounds for block in each.blocks]
    return Outcome(settings=settings, blocks=blocks, rows=rows, claims=claims, scope=scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """One start of all servers."""

    blocks: Sequence[Block]
    left_over: float
    """The share of their core that the idle servers leave over."""
    neighbours: int


def _round(bench: Bench, wrk: Wrk, number: int) -> _Round:
    with bench.runtime.start(bench.servers.values(), bench.server_cpus) as fleet:
        url = fleet[LOADED].base_url
        neighbours = Neighbours(url)
        rate = partial(wrk.rate, url, connection="close", connections=CONNECTIONS, window_s=bench.window_s)

        def beside_idle() -> Rate:
            # Until the wake of an earlier freeze has passed.
            time.sleep(_SETTLE_S)
            return rate()

        def beside_frozen() -> Rate:
            with neighbours.frozen():
                return rate()

        left = _left_over(fleet)
        groups = {_GROUP: {"idle": beside_idle, "frozen": beside_frozen}}
        first = number * bench.blocks
        blocks = [bench.measure(first + block, groups) for block in range(bench.blocks)]
    return _Round(blocks=blocks, left_over=left, neighbours=len(neighbours))


def summary(rounds: Sequence[Sequence[Block]], left_over: Sequence[float]) -> tuple[Sequence[Row], Sequence[Claim]]:
    """Rows and claims. Each round counts by its median."""
    medians = [{_GROUP: {kind: _median(blocks, kind) for kind in ("idle", "frozen")}} for blocks in rounds]
    shares = [ratio(blocks, _GROUP, "idle", "frozen").median for blocks in rounds]
    row: Row = {
        "server": LOADED,
        "rounds": str(len(rounds)),
        "beside idle, requests/s": rates(medians, _GROUP, "idle"),
        "beside frozen, requests/s": rates(medians, _GROUP, "frozen"),
        "idle/frozen": stats.median_interval(shares),
        "core left over": stats.median_interval(left_over),
    }
    figures = {"beside idle/beside frozen": shares, "share of the core that the idle fleet leaves over": left_over}
    return [row], median_claims(figures, AT_LEAST)


def _median(blocks: Sequence[Block], kind: str) -> Rate:
    return Rate(rps=rates(blocks, _GROUP, kind).median, generator_cpu=generator_cpu(blocks, _GROUP, kind))


def _left_over(fleet: Fleet) -> float:
    """The share of their core that the servers leave over while they have no requests.

    Finer than the ratio of throughputs, which scatters by several percent: CPU clocks count nanoseconds.
    """
    begin_s, before_s = time.monotonic(), sum(target.usage().cpu_s for target in fleet.values())
    time.sleep(IDLE_S)
    used_s = sum(target.usage().cpu_s for target in fleet.values()) - before_s
    return 1 - used_s / (time.monotonic() - begin_s)


if __name__ == "__main__":
    main("neighbours", __doc__, measure, rounds=7, blocks=3, window_s=1.0)
