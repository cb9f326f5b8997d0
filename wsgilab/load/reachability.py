"""What lies between a machine of the swarm and the targets' machine, where these are two. Asks the beacon there."""

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wsgilab.system.clock_client import ClockClient, ClockReading, parse_address

RETRY_S = 10.0
"""How long the targets' machine may be out of reach before a trial."""
AFTER_S = 3.0
"""And after it: what was measured meanwhile is of a broken link."""

_ANSWER_S = 5.0
_PAUSE_S = 0.2
_SNMP = Path("/proc/net/snmp")
_NAMESPACE = Path("/proc/self/ns/net")


class Unreached(Exception):
    """The targets' machine is not reached. The message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachReading:
    """The targets' machine, and this one's own network, from one machine of the swarm."""

    offset_ns: int
    """CLOCK_MONOTONIC there minus here."""
    round_trip_ms: float
    namespace: str
    """The network namespace that the segments were counted in: workers of one machine share it."""
    sent_segments: int
    resent_segments: int
    """TCP, since the namespace was made (RFC 4022, tcpOutSegs and tcpRetransSegs)."""


class Reachability:
    """A machine's way to the targets' machine."""

    def __init__(self, beacon: str) -> None:
        """`beacon` is `HOST:PORT`. Nothing is asked yet. Raises ValueError where it is something else."""
        self._link = ClockClient(*parse_address(beacon), _ANSWER_S)
        self._was_reached = False

    def __str__(self) -> str:
        return str(self._link)

    def look(self, patience_s: float) -> ReachReading:
        """How things stand. Raises Unreached where they cannot be told for `patience_s`, or little longer."""
        reading = self._read(patience_s)
        sent, resent = _segments(_SNMP.read_text())
        return ReachReading(
            offset_ns=reading.offset_ns,
            round_trip_ms=reading.round_trip_ms,
            namespace=f"{socket.gethostname()} {_NAMESPACE.readlink()}",
            sent_segments=sent,
            resent_segments=resent,
        )

    def idle(self, cpuset: str) -> tuple[int, float]:
        """When, by the clock there (CLOCK_MONOTONIC, nanoseconds), and for how many seconds those cores there had been idle
        by then; see `host.idle_s`. Raises Unreached."""
        try:
            at_ns, idle_ns = self._link.idle(cpuset)
        except OSError as error:
            raise self._unreached(error) from None
        return at_ns, idle_ns / 1e9

    def bandwidth_mbps(self) -> float:
        """Megabits a second that one connection brings from there. Raises Unreached."""
        try:
            return self._link.bandwidth_mbps()
        except OSError as error:
            raise self._unreached(error) from None

    def close(self) -> None:
        self._link.close()

    def _read(self, patience_s: float) -> ClockReading:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                reading = self._link.read()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise self._unreached(error) from None
                time.sleep(_PAUSE_S)
            else:
                self._was_reached = True
                return reading

    def _unreached(self, error: OSError) -> Unreached:
        any_more = " any more" if self._was_reached else ""
        return Unreached(f"the targets' machine is not reached{any_more} at {self._link}: {error}")


def segments_between(before: Iterable[ReachReading], after: Iterable[ReachReading]) -> tuple[int, int]:
    """TCP segments sent, and sent again, on all machines between two looks; each network namespace counted once."""
    first, last = ({each.namespace: each for each in looks} for looks in (before, after))
    both = first.keys() & last.keys()
    return (
        sum(last[name].sent_segments - first[name].sent_segments for name in both),
        sum(last[name].resent_segments - first[name].resent_segments for name in both),
    )


def _segments(snmp: str) -> tuple[int, int]:
    """OutSegs and RetransSegs of /proc/net/snmp: a line of names for each protocol, then one of numbers. See proc(5)."""
    names, numbers = (line.split()[1:] for line in snmp.splitlines() if line.startswith("Tcp:"))
    counted = dict(zip(names, numbers, strict=True))
    return int(counted["OutSegs"]), int(counted["RetransSegs"])
