"""The network between users and targets on machines of their own, and whether it is what binds."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsgilab.experiment.workloads import SLOW_CONNECTION_S
from wsgilab.model import Cell, Observation, Run, TrialReport
from wsgilab.model.text import number

LINK_LIMIT = 0.8
"""From this share of its bandwidth on, the link is full: only bodies are counted, while headers, acknowledgements and
requests take their part too."""
LINK_UNKNOWN = 1.25
"""Above this multiple of the bandwidth that was measured, that was not the bandwidth of the link: it was measured with one
connection, and many may have more."""
LOSS_LIMIT = 0.01
"""From this share of segments that are sent again on, loss matters to latencies. At a loss of 1 % TCP's mean window,
sqrt(1.5 / loss), is 12 segments, hardly more than each connection begins with (Mathis, Semke, Mahdavi, Ott 1997,
doi:10.1145/263932.264023); within a data centre it is 0.01 % and less (Guo and others 2015,
doi:10.1145/2785956.2787496)."""
SENT_AGAIN_S = 0.2
"""The least that a lost segment costs a request: an exchange is too short for duplicate acknowledgements to reveal the
loss, and Linux waits so long before it sends again (TCP_RTO_MIN)."""
INITIAL_WINDOW_BYTES = 10 * 1448
"""What a new connection may send before it is acknowledged (RFC 6928): ten segments of the 1500 bytes that a network of
containers carries, less 52 of headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The network in a cell's windows, as medians of the blocks. None: it was not measured."""

    received_mbps: float | None
    """Megabits of bodies a second."""
    link_mbps: float | None
    """The bandwidth of one connection when the run began."""
    link_share: float | None
    """The share of it that bodies took, each block's on its own lane."""
    round_trip_ms: float | None
    on_wire: float
    """Users whose request or answer was on its way, at least, by Little's law: throughput x round trips x round trip."""
    held: float
    """Slots held on average by a server that keeps each until its client's next message arrives, a round trip after the
    answer, whether that ends the connection or is another request."""
    resent_share: float | None
    stalled: float
    """Users that waited for a segment to be sent again."""

    @property
    def full(self) -> str:
        """The figures that show that the link is full; empty where it is not, or where that is not known."""
        share, link, received = self.link_share, self.link_mbps, self.received_mbps
        if share is None or link is None or received is None or not LINK_LIMIT <= share <= LINK_UNKNOWN:
            return ""
        return (
            f"answers took {share:.0%} of the link: {number(received)} megabits/s of bodies, where one connection "
            f"brought {number(link)}"
        )

    @property
    def away(self) -> str:
        """The users outside of the server, such as `21.3 on the wire, with a round trip of 20.0 ms`."""
        parts = []
        if self.on_wire:
            parts.append(f"{self.on_wire:.1f} on the wire, with a round trip of {number(self.round_trip_ms or 0.0)} ms")
        if self.stalled:
            parts.append(f"{self.stalled:.1f} waiting for what had to be sent again")
        return " and ".join(parts)

    @property
    def longer(self) -> str:
        """What kept slots from the next request."""
        return f"round trips of {number(self.round_trip_ms or 0.0)} ms held {self.held:.1f} more"


def network(run: Run, cell: Cell, measured: Sequence[Observation]) -> Network:
    """From the measured trials of a cell, one at least."""
    swarms = [each.swarm for each in measured if each.swarm is not None]
    links = {lane.targets.name: lane.bandwidth_mbps for lane in run.lanes}
    linked = [
        (links[each.machine], received)
        for each in measured
        if each.machine in links and each.swarm is not None and (received := received_mbps(each.swarm)) is not None
    ]
    far = [(swarm, swarm.round_trip_ms) for swarm in swarms if swarm.round_trip_ms is not None]
    return Network(
        received_mbps=_median(mbps for swarm in swarms if (mbps := received_mbps(swarm)) is not None),
        link_mbps=_median(link for link, _ in linked),
        link_share=_median(received / link for link, received in linked),
        round_trip_ms=_median(round_trip_ms for _, round_trip_ms in far),
        on_wire=_median(_under_way(swarm, ms, _round_trips(cell, swarm)) for swarm, ms in far) or 0.0,
        held=_median(_under_way(swarm, ms, _answer_round_trips(cell, swarm)) for swarm, ms in far) or 0.0,
        resent_share=resent_share(swarms),
        stalled=_median(map(_stalled, swarms)) or 0.0,
    )


def received_mbps(swarm: TrialReport) -> float | None:
    """Megabits of bodies a second; None where they were not counted."""
    return None if swarm.received_bytes is None else swarm.received_bytes * 8e-6 / swarm.window_s


def resent_share(swarms: Iterable[TrialReport]) -> float | None:
    """The share of all segments sent that were sent again; None where that was not counted."""
    counts = [
        (swarm.sent_segments, swarm.resent_segments)
        for swarm in swarms
        if swarm.sent_segments and swarm.resent_segments is not None
    ]
    resent = sum(resent for _, resent in counts)
    return resent / (resent + sum(sent for sent, _ in counts)) if counts else None


def lossy(share: float | None) -> str:
    """How much was lost, from the share of segments that were sent again; empty where it was little or is not known."""
    if share is None or share < LOSS_LIMIT:
        return ""
    return f"{share:.1%} of the users' segments had to be sent again"


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None


def _under_way(swarm: TrialReport, round_trip_ms: float, round_trips: int) -> float:
    return swarm.throughput_rps * round_trips * round_trip_ms / 1000


def _round_trips(cell: Cell, swarm: TrialReport) -> int:
    """The fewest that a request takes: one to connect, where it does, and those of its answer."""
    return (cell.connection == "close") + _answer_round_trips(cell, swarm)


def _answer_round_trips(cell: Cell, swarm: TrialReport) -> int:
    """One for request and answer. What a new connection cannot send at once takes more of them, each with twice as much as
    the one before (slow start: RFC 5681, section 3.1); a kept connection has long found out how much it may send."""
    if cell.connection != "close" or not swarm.received_bytes or not swarm.completed:
        return 1
    each = swarm.received_bytes / swarm.completed
    return math.ceil(math.log2(1 + max(each, INITIAL_WINDOW_BYTES) / INITIAL_WINDOW_BYTES))


def _stalled(swarm: TrialReport) -> float:
    """Users that waited, on average over the trial, for a segment to be sent again; longer for the first of a connection.

    A full backlog drops segments too. But where it is full there is a queue, and the cores or slots that the queue waits
    for are considered first.
    """
    share = resent_share([swarm])
    if share is None or share < LOSS_LIMIT:
        return 0.0
    others = max(0, (swarm.resent_segments or 0) - swarm.slow_connections)
    waited_s = swarm.slow_connections * SLOW_CONNECTION_S + others * SENT_AGAIN_S
    return waited_s / (swarm.warmup_s + swarm.window_s + swarm.held_s + swarm.drain_s)
