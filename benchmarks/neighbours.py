"""What the idle rest of the fleet costs the server under load: its requests a second beside idle neighbours, over those
beside neighbours that are frozen.
"""

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial

import psutil

from benchmarks.bench import Bench, Claim, Outcome, Rate, Row, main, rates, ratio
from benchmarks.rivals import Wrk
from wsgilab import stats
from wsgilab.errors import HostError, TargetError
from wsgilab.model import Interval
from wsgilab.runtime.protocol import Fleet

LOADED = "gunicorn-gevent"
CONNECTIONS = 16
AT_LEAST = 0.99
IDLE_S = 20
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
        blocks = [bench.measure(number, groups) for number in range(bench.blocks)]
    share = ratio(blocks, _GROUP, "idle", "frozen")
    row: Row = {
        "server": LOADED,
        "beside idle, requests/s": rates(blocks, _GROUP, "idle"),
        "beside frozen, requests/s": rates(blocks, _GROUP, "frozen"),
        "idle/frozen": share,
        "core left over": left,
    }
    settings = {
        "wrk": wrk.version,
        "loaded": LOADED,
        "neighbours": len(neighbours),
        "connections": CONNECTIONS,
        "connection": "close",
    }
    claims = [
        Claim(what="beside idle/beside frozen", ratio=share, at_least=AT_LEAST, blocks=bench.blocks),
        Claim(what="share of the core that the idle fleet leaves over", ratio=left, at_least=AT_LEAST),
    ]
    return Outcome(settings=settings, blocks=blocks, rows=[row], claims=claims)


def _left_over(fleet: Fleet) -> Interval:
    """What the servers leave of their core when nobody asks them anything, second by second.

    Finer than the ratio of throughputs, which scatters by several percent: CPU clocks count nanoseconds.
    """
    shares = []
    for _ in range(IDLE_S):
        begin_s, before_s = time.monotonic(), sum(target.usage().cpu_s for target in fleet.values())
        time.sleep(1)
        used_s = sum(target.usage().cpu_s for target in fleet.values()) - before_s
        shares.append(1 - used_s / (time.monotonic() - begin_s))
    return stats.median_interval(shares)


if __name__ == "__main__":
    main("neighbours", __doc__, measure, blocks=40, window_s=1.0)
