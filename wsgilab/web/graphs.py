"""The graphs of a test second by second, as coordinates of SVG. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from wsgilab.model.text import number
from wsgilab.web.view import Pulse

SECONDS = 60
"""How many the graphs show."""
SECOND_WIDTH = 10
"""Of a graph's own units; the page stretches it to the room there is."""
WIDTH = SECONDS * SECOND_WIDTH
HEIGHT = 100
HEADROOM = 1.25
"""A graph's top over its highest value, so that the label of the slots has room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A figure by second, newest at the right. Coordinates of SVG, in units of WIDTH and HEIGHT."""

    title: str
    last: str
    """The last second's value, in words."""
    description: str
    """The whole graph in words, for those who cannot see it."""
    bars: str
    """A path's data."""
    line: str = ""
    """A polyline's points."""
    limit: str = ""
    """What the dashed line shows; empty where there is none."""
    limit_y: float = 0.0
    width: int = WIDTH
    height: int = HEIGHT


def graphs(pulses: Sequence[Pulse], slots: int | None) -> Sequence[Graph]:
    """Requests in flight and answers over the last SECONDS; none where there are no pulses. `slots`: None is unbounded."""
    shown = pulses[-SECONDS:]
    if not shown:
        return ()
    peaks = [pulse.peak for pulse in shown]
    means = [pulse.mean for pulse in shown]
    rates = [pulse.throughput_rps for pulse in shown]
    top = max([*peaks, slots or 0, 1]) * HEADROOM
    limit = "" if slots is None else _counted(slots, "slot")
    of_slots = limit and f" of {limit}"
    last = f"at most {peaks[-1]}{of_slots}, {means[-1]:.1f} on average"
    rate = number(rates[-1])
    over = f"over the last {_counted(len(shown), 'second')}: at most"
    return (
        Graph(
            title="In flight, by second",
            last=last,
            description=f"Requests in flight {over} {max(peaks)}{of_slots}; in the last one {last}",
            bars=_bars(peaks, top),
            line=_line(means, top),
            limit=limit,
            limit_y=_y(slots or 0, top),
        ),
        Graph(
            title="Answers, by second",
            last=rate,
            description=f"Answers {over} {number(max(rates))} a second; in the last one {rate}",
            bars=_bars(rates, max([*rates, 1.0]) * HEADROOM),
        ),
    )


def _bars(values: Sequence[float], top: float) -> str:
    """One bar a second, with a gap between them."""
    left = WIDTH - len(values) * SECOND_WIDTH
    return "".join(
        f"M{left + index * SECOND_WIDTH},{HEIGHT}V{_y(value, top):g}h{SECOND_WIDTH - 1}V{HEIGHT}z"
        for index, value in enumerate(values)
    )


def _line(values: Sequence[float], top: float) -> str:
    """Through the middle of each second."""
    middle = WIDTH - len(values) * SECOND_WIDTH + (SECOND_WIDTH - 1) / 2
    return " ".join(f"{middle + index * SECOND_WIDTH:g},{_y(value, top):g}" for index, value in enumerate(values))


def _y(value: float, top: float) -> float:
    return round(HEIGHT * (1 - value / top), 1)


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"
