"""What lies between users and targets, where these stand on machines of their own, and when it is what binds."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsgilab.model import Cell, Observation, Run, TrialReport

LINK_LIMIT = 0.8
"""From this share of the link's bandwidth on, it is full: bodies alone are counted, while headers, acknowledgements and
requests take their part too."""
LINK_UNKNOWN = 1.25
"""Above this many times the bandwidth that was measured, that was plainly not the link's: one connection had it, and
many may have more."""
LOSS_LIMIT = 0.01
"""From this share of segments that are sent again on, latencies are the network's too. At a loss of 1 % TCP's mean window,
sqrt(1.5 / loss), is 12 segments, hardly more than each connection begins with (Mathis, Semke, Mahdavi, Ott 1997,
doi:10.1145/263932.264023); within a data centre it is 0.01 % and less (Guo and others 2015,
doi:10.1145/2785956.2787496)."""
SENT_AGAIN_S = 0.2
"""What a lost segment costs a request at least: an exchange is too short for duplicate acknowledgements to tell of it, and
Linux waits so long before it sends again (TCP_RTO_MIN)."""
SLOW_CONNECTION_S = 0.9
"""What users call slow: Linux sends a dropped SYN again after 1 s (RFC 6298, section 2.1)."""
INITIAL_WINDOW_BYTES = 10 * 1448
"""What a new connection may send before it is acknowledged (RFC 6928): ten segments of the 1500 bytes that a network of
containers carries, less 52 of headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What is known of the network in a cell's windows: medians of the blocks. None: it was not measured."""

    received_mbps: float | None
    """Megabits of bodies a second."""
    link_mbps: float | None
    """What one connection brought when the run began."""
    link_share: float | None
    """Of that, what bodies took, each block's on its own lane."""
    round_trip_ms: float | None
    on_wire: float
    """Users whose request or answer was on its way, at least, by Little's law: throughput x round trips x round trip."""
    held: float
    """Slots that are held on average where a server keeps each until its client's next word comes, a round trip after the
    answer, be it the end of the connection or another request."""
    resent_share: float | None
    stalled: float
    """Users that waited for a segment to be sent again."""


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
    """Of all segments that were sent, those that were sent again; None where that was not counted."""
    counted = [
        (swarm.sent_segments, swarm.resent_segments)
        for swarm in swarms
        if swarm.sent_segments and swarm.resent_segments is not None
    ]
    resent = sum(resent for _, resent in counted)
    return resent / (resent + sum(sent for sent, _ in counted)) if counted else None


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None


def _under_way(swarm: TrialReport, round_trip_ms: float, round_trips: int) -> float:
    return swarm.throughput_rps * round_trips * round_trip_ms / 1000


def _round_trips(cell: Cell, swarm: TrialReport) -> int:
    """How many a request takes at least: one to connect, where it does, and those of its answer."""
    return (cell.connection == "close") + _answer_round_trips(cell, swarm)


def _answer_round_trips(cell: Cell, swarm: TrialReport) -> int:
    """One for request and answer. What a new connection cannot send at once takes further ones, each with twice as much as
    the one before (slow start: RFC 5681, section 3.1); a kept one has long found out how much it may."""
    if cell.connection != "close" or not swarm.received_bytes or not swarm.completed:
        return 1
    each = swarm.received_bytes / swarm.completed
    return math.ceil(math.log2(1 + max(each, INITIAL_WINDOW_BYTES) / INITIAL_WINDOW_BYTES))


def _stalled(swarm: TrialReport) -> float:
    """Users that waited, on average over the trial, for a segment to be sent again: for a connection's first one longer.

    A full backlog drops segments too. But where it is full there is a queue, and what that waits for, cores or slots, is
    looked at first.
    """
    share = resent_share([swarm])
    if share is None or share < LOSS_LIMIT:
        return 0.0
    others = max(0, (swarm.resent_segments or 0) - swarm.slow_connections)
    waited_s = swarm.slow_connections * SLOW_CONNECTION_S + others * SENT_AGAIN_S
    return waited_s / (swarm.warmup_s + swarm.window_s + swarm.held_s + swarm.drain_s)


# --- in words


def full(network: Network) -> str:
    """The figures that say that the link is full; empty where it is not, or that is not known."""
    share, link, received = network.link_share, network.link_mbps, network.received_mbps
    if share is None or link is None or received is None or not LINK_LIMIT <= share <= LINK_UNKNOWN:
        return ""
    return (
        f"answers took {share:.0%} of the link: {three_digits(received)} megabits/s of bodies, where one connection "
        f"brought {three_digits(link)}"
    )


def away(network: Network) -> str:
    """The users outside of the server, such as `21.3 on the wire, with a round trip of 20.0 ms`."""
    told = []
    if network.on_wire:
        told.append(
            f"{network.on_wire:.1f} on the wire, with a round trip of {three_digits(network.round_trip_ms or 0.0)} ms"
        )
    if network.stalled:
        told.append(f"{network.stalled:.1f} waiting for what had to be sent again")
    return " and ".join(told)


def longer(network: Network) -> str:
    """What kept slots from the next request."""
    return f"round trips of {three_digits(network.round_trip_ms or 0.0)} ms held {network.held:.1f} more"


def lossy(share: float | None) -> str:
    """How much was lost, from the share of segments that were sent again; empty where it was little, or is not known."""
    if share is None or share < LOSS_LIMIT:
        return ""
    return f"{share:.1%} of the users' segments had to be sent again"


def three_digits(value: float) -> str:
    """Never an exponent, of whatever is measured here."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - from here on no decimals are needed
