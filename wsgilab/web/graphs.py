"""The graphs of a test second by second, as coordinates of SVG. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wsgilab.model.text import counted, number
from wsgilab.web.view import Pulse

SECONDS = 60
"""How many the graphs show."""
SECOND_WIDTH = 10
"""Of a graph's own units; the page stretches it to the room there is."""
WIDTH = SECONDS * SECOND_WIDTH
HEIGHT = 100
MOST_STEPS = 4
"""Of the vertical axis."""
HEADROOM = 1.1
"""A graph's top over its highest value, at least, so that the label of the slots has room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on an axis that has a label."""

    label: str
    at: float
    """From the top or from the left, in units of HEIGHT or WIDTH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A figure by second, newest at the right. Coordinates of SVG, in units of WIDTH and HEIGHT."""

    title: str
    key: str
    """What bars and line are."""
    last: str
    """The last second's value, in words."""
    description: str
    """The whole graph in words, for those who cannot see it."""
    bars: str
    """A path's data."""
    ticks: Sequence[Tick]
    """Of the vertical axis, from 0 upward."""
    line: str = ""
    """A polyline's points."""
    limit: str = ""
    """What the dashed line shows; empty where there is none."""
    limit_y: float = 0.0
    width: int = WIDTH
    height: int = HEIGHT


def seconds(now: str) -> Sequence[Tick]:
    """The horizontal axis of every graph; `now` is what its right end is called."""
    quarters = [Tick(label=f"-{ago} s", at=WIDTH - ago * SECOND_WIDTH) for ago in (60, 45, 30, 15)]
    return [*quarters, Tick(label=now, at=WIDTH)]


def graphs(pulses: Sequence[Pulse], slots: int | None) -> Sequence[Graph]:
    """Requests in flight, answers and their latency over the last SECONDS; none where there are no pulses. `slots`: None is
    unbounded."""
    shown = pulses[-SECONDS:]
    if not shown:
        return ()
    over = f"over the last {counted(len(shown), 'second')}: at most"
    return _in_flight(shown, slots, over), _answers(shown, over), _latency(shown, over)


def _in_flight(shown: Sequence[Pulse], slots: int | None, over: str) -> Graph:
    peaks, means = [pulse.peak for pulse in shown], [pulse.mean for pulse in shown]
    ticks = _ticks([*peaks, slots or 0], least=1)
    limit = "" if slots is None else counted(slots, "slot")
    of_slots = limit and f" of {limit}"
    last = f"at most {peaks[-1]}{of_slots}, {means[-1]:.1f} on average"
    return Graph(
        title="Requests in flight",
        key="bars: at most, line: on average",
        last=last,
        description=f"Requests in flight {over} {max(peaks)}{of_slots}; in the last one {last}",
        bars=_bars(peaks, ticks),
        line=_line(means, ticks),
        ticks=_placed(ticks),
        limit=limit,
        limit_y=_y(slots or 0, ticks),
    )


def _answers(shown: Sequence[Pulse], over: str) -> Graph:
    rates = [pulse.throughput_rps for pulse in shown]
    ticks = _ticks(rates)
    last = number(rates[-1])
    return Graph(
        title="Answers a second",
        key="",
        last=last,
        description=f"Answers {over} {number(max(rates))} a second; in the last one {last}",
        bars=_bars(rates, ticks),
        ticks=_placed(ticks),
    )


def _latency(shown: Sequence[Pulse], over: str) -> Graph:
    p50s, p99s = [pulse.p50_ms for pulse in shown], [pulse.p99_ms for pulse in shown]
    ticks = _ticks([each or 0 for each in p99s])
    p50, p99 = p50s[-1], p99s[-1]
    last = "no answer" if p50 is None or p99 is None else f"p50 {number(p50)}, p99 {number(p99)}"
    return Graph(
        title="Latency, ms",
        key="bars: p99, line: p50",
        last=last,
        description=f"99th percentile of latency {over} {number(max(each or 0 for each in p99s))} ms; in the last one {last}",
        bars=_bars([each or 0 for each in p99s], ticks),
        line=_line(p50s, ticks),
        ticks=_placed(ticks),
    )


# --- axes


def _ticks(values: Sequence[float], least: float = 0.0) -> Sequence[float]:
    """Round numbers from 0 to beyond the highest value, MOST_STEPS and 0 at most. `least`: the smallest step."""
    top = max([*values, least]) * HEADROOM or 1.0
    magnitude = 10 ** math.floor(math.log10(top / MOST_STEPS))
    step = next(each * magnitude for each in (1, 2, 5, 10) if each * magnitude * MOST_STEPS >= top)
    step = max(step, least)
    return [step * count for count in range(math.ceil(top / step) + 1)]


def _placed(ticks: Sequence[float]) -> Sequence[Tick]:
    return [Tick(label=f"{each:,.6g}", at=_y(each, ticks)) for each in ticks]


def _bars(values: Sequence[float], ticks: Sequence[float]) -> str:
    """One bar a second, with a gap between them."""
    left = WIDTH - len(values) * SECOND_WIDTH
    return "".join(
        f"M{left + index * SECOND_WIDTH},{HEIGHT}V{_y(value, ticks):g}h{SECOND_WIDTH - 1}V{HEIGHT}z"
        for index, value in enumerate(values)
    )


def _line(values: Sequence[float | None], ticks: Sequence[float]) -> str:
    """Through the middle of each second that has a value."""
    middle = WIDTH - len(values) * SECOND_WIDTH + (SECOND_WIDTH - 1) / 2
    return " ".join(
        f"{middle + index * SECOND_WIDTH:g},{_y(value, ticks):g}"
        for index, value in enumerate(values)
        if value is not None
    )


def _y(value: float, ticks: Sequence[float]) -> float:
    return round(HEIGHT * (1 - value / ticks[-1]), 1)
