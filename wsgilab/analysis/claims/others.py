"""How far a figure may be from what it would have been without the others that took a little of the cores. Pure."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis.cell.disturbance import SLIGHT_LIMIT, most_taken
from wsgilab.analysis.cell.readings import reports
from wsgilab.analysis.pairs.cost import RAISED
from wsgilab.model import Interval, Observation, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """The most that others than the lab took in any window of a cell."""

    server: float
    """Share of the server's cores."""
    generator: float
    """Share of the generator's cores."""
    window_s: float

    @property
    def is_slight(self) -> bool:
        """Whether what they took still bounds figures."""
        return max(self.server, self.generator) <= SLIGHT_LIMIT


Without = Callable[[float, Others], tuple[float, float]]
"""The ends between which a figure would have been without others that took little."""


def others_in(run: Run, trials: Sequence[Observation]) -> Others:
    """Those of a cell's windows, of which one at least was measured."""
    server, generator = most_taken(run, trials)
    return Others(server=server, generator=generator, window_s=max(each.window_s for each in reports(trials)))


def same(value: float, _: Others) -> tuple[float, float]:
    """What is counted: the load arrived all the same."""
    return value, value


def faster(value: float, others: Others) -> tuple[float, float]:
    """Server and users would have had that time too, and more answers in it at most by its share."""
    return value, value / (1 - others.server - others.generator)


def busier(value: float, others: Others) -> tuple[float, float]:
    """The server would have used what others took at most, and had more to do by what they took from the users."""
    return value, max(value, min(1.0, (value + others.server) / (1 - others.generator)))


def cheaper(value: float, others: Others) -> tuple[float, float]:
    """CPU time rises beside others, since caches are shared."""
    return value / (1 + RAISED * others.server), value


def sooner_or_later(value: float, others: Others) -> tuple[float, float]:
    """A time in ms: all that others took in a window may have come before one answer; and users who had not been held up might
    have asked, and queued, sooner."""
    server_ms, generator_ms = (1000 * others.window_s * share for share in (others.server, others.generator))
    return max(0.0, value - server_ms - generator_ms), value + generator_ms


def factors(without: Without, values: Iterable[float], others: Others) -> tuple[float, float]:
    """The least and the most times that any of the values may have been of itself."""
    ends = [(value, *without(value, others)) for value in values if value]
    return min((low / value for value, low, _ in ends), default=1.0), max(
        (high / value for value, _, high in ends), default=1.0
    )


def widened(ratio: Interval, ours: tuple[float, float], theirs: tuple[float, float]) -> Interval:
    """The interval of a ratio of figures that may have been other by these factors."""
    if ratio.low is None or ratio.high is None:
        return ratio
    high = ratio.high * ours[1] / theirs[0] if theirs[0] else math.inf
    return replace(ratio, low=ratio.low * ours[0] / theirs[1], high=high)
