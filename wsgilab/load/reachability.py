"""The network between a machine of the swarm and the targets' machine, where these are two. Reads the clock server there."""

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


class Unreachable(Exception):
    """The targets' machine cannot be reached. The message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReading:
    """The clock of the targets' machine and the network to it, as one machine of the swarm finds them."""

    offset_ns: int
    """CLOCK_MONOTONIC there minus here."""
    round_trip_ms: float
    namespace: str
    """The network namespace that the segments were counted in: workers of one machine share it."""
    sent_segments: int
    resent_segments: int
    """TCP, since the namespace was made (RFC 4022, tcpOutSegs and tcpRetransSegs)."""


class Reachability:
    """The connection from a machine of the swarm to the clock server on the targets' machine."""

    def __init__(self, address: str) -> None:
        """`address` is `HOST:PORT` of the clock server. Connects at the first reading. Raises ValueError for anything else."""
        self._client = ClockClient(*parse_address(address), _ANSWER_S)
        self._was_reached = False

    def __str__(self) -> str:
        return str(self._client)

    def read(self, patience_s: float) -> NetworkReading:
        """Measure now. Raises Unreachable where there is no answer for `patience_s`, or little longer."""
        reading = self._read_clock(patience_s)
        sent, resent = _segments(_SNMP.read_text())
        return NetworkReading(
            offset_ns=reading.offset_ns,
            round_trip_ms=reading.round_trip_ms,
            namespace=f"{socket.gethostname()} {_NAMESPACE.readlink()}",
            sent_segments=sent,
            resent_segments=resent,
        )

    def idle(self, cpuset: str) -> tuple[int, float]:
        """A moment of the clock there (CLOCK_MONOTONIC, nanoseconds), and for how many seconds those cores there had been
        idle by then; see `host.idle_s`. Raises Unreachable."""
        try:
            at_ns, idle_ns = self._client.idle(cpuset)
        except OSError as error:
            raise self._unreachable(error) from None
        return at_ns, idle_ns / 1e9

    def bandwidth_mbps(self) -> float:
        """Megabits a second that one connection brings from there. Raises Unreachable."""
        try:
            return self._client.bandwidth_mbps()
        except OSError as error:
            raise self._unreachable(error) from None

    def close(self) -> None:
        self._client.close()

    def _read_clock(self, patience_s: float) -> ClockReading:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                reading = self._client.read()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise self._unreachable(error) from None
                time.sleep(_PAUSE_S)
            else:
                self._was_reached = True
                return reading

    def _unreachable(self, error: OSError) -> Unreachable:
        any_more = " any more" if self._was_reached else ""
        return Unreachable(f"the targets' machine is not reached{any_more} at {self._client}: {error}")


def segments_between(before: Iterable[NetworkReading], after: Iterable[NetworkReading]) -> tuple[int, int]:
    """TCP segments sent, and sent again, on all machines between two readings; each network namespace counted once."""
    first, last = ({each.namespace: each for each in readings} for readings in (before, after))
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
