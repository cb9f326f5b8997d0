"""What the windows of a run say of a server's capacity, which is the rate at which a limit on latency begins to break. Pure.

The share of requests that take longer than the limit grows with the rate. Near the rate at which it is 5 %, which is the capacity,
its logit is as good as linear in the logarithm of the rate: in an M/M/1 queue at a utilization r that share is a power 3 r / (1 - r)
of the rate. So a logistic curve is fitted to the requests of the windows near it (`crossing`). Each window counts with all of its
requests, and a p95 of one window, which two hundred requests hardly know, with nothing.

Windows are independent of each other, and requests of one window are not: those that wait, wait together. So how well the result is
known follows from windows: each is left out in turn (the jackknife: Efron and Stein 1981, doi:10.1214/aos/1176345462).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import stats
from wsgilab.analysis.capacity.crossing import Crossing, Slope, between, crossing
from wsgilab.analysis.cell.disturbance import is_disturbed
from wsgilab.analysis.cell.figures import cell_result
from wsgilab.analysis.cell.generator import GENERATOR_LIMIT
from wsgilab.analysis.cell.validity import FAILURES_LIMIT
from wsgilab.experiment import plan
from wsgilab.model import BoundBy, CapacityLimit, Cell, Observation, Run

BEYOND = 0.05
"""The share of requests that may take longer than the limit on p95."""
NEAR = math.log(1.25)
"""Windows within this factor of the capacity decide it; further away the curve is another."""
SATURATED: frozenset[BoundBy] = frozenset(("slots", "quota", "cpu", "gil", "balance", "backend", "network"))
"""What a closed loop is bound by that shows a server's limit, and not its users'."""

# What is likely of the slope.
_ANY_SLOPE = Slope(mean=15.0, spread=15.0)
_SPREAD = 0.4
"""Of the likely slope."""
_STEEPER = 1.25
"""The slopes of M/D/1 to M/D/8 are so much steeper than in heavy traffic, or more."""
_LEAST_LIKELY, _MOST_LOAD = 3.0, 0.98
_BEYOND_TRIED = 0.1
"""So much further than between the rates at which the limit held and broke, as a logarithm, a curve leads to no capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a window at a rate says of a limit."""

    observation: Observation
    rate: float
    requests: int
    """That were due in it, without those that failed."""
    beyond: int
    """So many of them took longer than the limit."""
    sent: int
    """In the whole trial."""
    failures: int
    """Of these."""
    holds: bool
    is_busy: bool
    """Whether the generator itself was too busy to keep to its schedule: what is late may be so because of it."""
    is_disturbed: bool
    service_ms: float
    """Of half of the requests, inside the application."""

    @property
    def block(self) -> int:
        return self.observation.block


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A capacity, and how well it is known."""

    windows: Sequence[Window]
    """Those that it follows from."""
    limit: CapacityLimit
    at: float
    """The logarithm of the rate."""
    slope: float
    is_failures: bool
    """Whether failures, and not latency, limit it."""
    gap: float
    """How far `at` may be from the rates that were tried, where the limit held at all below it and at none above it."""
    likely: Slope
    dispersion: float

    @property
    def freedom(self) -> int:
        """Degrees of freedom; with too few windows for an interval there are none."""
        blocks = len({each.block for each in self.windows})
        return blocks - 2 if blocks >= stats.FEWEST_BLOCKS else 0

    def parts(self) -> Mapping[int, float]:
        """Block -> its part of the error of `at`: the sum of their squares is the variance. Empty with too few windows."""
        blocks = sorted({each.block for each in self.windows})
        if not self.freedom:
            return {}
        without = {}
        for block in blocks:
            kept = [each for each in self.windows if each.block != block]
            without[block] = _capacity(kept, self.limit, self.likely, self.dispersion)[0].at
        mean, count = math.fsum(without.values()) / len(blocks), len(blocks)
        return {block: math.sqrt((count - 1) / count) * (mean - each) for block, each in without.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a run has seen of a server under some conditions."""

    limit: CapacityLimit
    closed: Observation | None
    """The closed loop; None where it was not measured."""
    most: float | None
    """Requests a second that the server can answer; None where the closed loop does not show it."""
    trials: Sequence[Observation]
    """At rates, by their blocks; those that failed too."""
    windows: Sequence[Window]
    """Of those that were measured."""
    kept: Sequence[Window]
    """Those to conclude from."""

    @property
    def held(self) -> Sequence[float]:
        """The rates at which the limit held."""
        return [each.rate for each in self.kept if each.holds]

    @property
    def broke(self) -> Sequence[float]:
        """And those at which it did not."""
        return [each.rate for each in self.kept if not each.holds]

    @property
    def busy(self) -> float:
        """The lowest rate at which the limit may have broken because of the generator."""
        return min((each.rate for each in self.windows if each.is_busy and not each.holds), default=math.inf)

    def fit(self) -> Fit:
        """Raises ValueError where there is no window to conclude from."""
        return fit(self.kept, self.limit, self.most)


def seen(run: Run, cell: Cell, observations: Iterable[Observation]) -> Seen:
    """What `observations` say of a cell of the run."""
    limit = run.experiment.capacity
    assert limit is not None, "capacity is looked for"
    of_cell = [each for each in observations if plan.closed_loop(run.experiment, each.cell) == cell]
    closed = next((each for each in of_cell if each.cell == cell and each.swarm is not None), None)
    trials = sorted((each for each in of_cell if each.cell != cell), key=lambda each: each.block)
    windows = [found for each in trials if (found := window(run, limit, each)) is not None]
    most = closed.swarm.throughput_rps if closed is not None and closed.swarm is not None else None
    return Seen(
        limit=limit,
        closed=closed,
        most=most if closed is not None and _is_saturated(run, cell, closed) else None,
        trials=trials,
        windows=windows,
        kept=_usable(windows),
    )


def window(run: Run, limit: CapacityLimit, observation: Observation) -> Window | None:
    """None where the trial failed, or nothing was due."""
    swarm, rate = observation.swarm, observation.cell.rate
    if swarm is None or rate is None or not (requests := stats.count(swarm.latency_histogram)):
        return None
    beyond = stats.count_above(swarm.latency_histogram, limit.p95_ms)
    disturbed = is_disturbed(run, observation)
    sent = max(1, swarm.completed + swarm.failures + swarm.cut_off)
    return Window(
        observation=observation,
        rate=rate,
        requests=requests,
        beyond=beyond,
        sent=sent,
        failures=swarm.failures,
        holds=beyond <= BEYOND * requests and swarm.failures <= limit.failures * sent,
        is_busy=not disturbed and (swarm.generator_cpu >= GENERATOR_LIMIT or swarm.late > FAILURES_LIMIT * requests),
        is_disturbed=disturbed,
        service_ms=swarm.service_ms,
    )


def _usable(found: Sequence[Window]) -> Sequence[Window]:
    """Those to conclude from: without those that others disturbed, where enough are left, and without those that may have broken
    the limit because of the generator."""
    clean = [each for each in found if not each.is_disturbed]
    kept = clean if len(clean) >= stats.FEWEST_BLOCKS else found
    return [each for each in kept if each.holds or not each.is_busy]


def fit(found: Sequence[Window], limit: CapacityLimit, most: float | None) -> Fit:
    """The capacity that usable windows show, of which there is one at least, of a server that can answer `most` a second; None:
    nobody knows how many."""
    near, likely = found, _ANY_SLOPE
    at, is_failures = _capacity(found, limit, likely)
    for _ in range(3):
        near, likely = _near(found, at.at), _likely(at.at, most)
        at, is_failures = _capacity(near, limit, likely)
    return Fit(
        windows=near,
        limit=limit,
        at=at.at,
        slope=at.slope,
        is_failures=is_failures,
        gap=_gap(near, at.at),
        likely=likely,
        dispersion=at.dispersion,
    )


def _near(found: Sequence[Window], at: float) -> Sequence[Window]:
    """Those within NEAR of `at`; where these are too few, those that are nearest."""
    ordered = sorted(found, key=lambda each: abs(math.log(each.rate) - at))
    close = [each for each in ordered if abs(math.log(each.rate) - at) <= NEAR]
    return close if len(close) >= stats.FEWEST_BLOCKS else ordered[: stats.FEWEST_BLOCKS]


def _capacity(
    found: Sequence[Window], limit: CapacityLimit, likely: Slope, dispersion: float | None = None
) -> tuple[Crossing, bool]:
    """Where the limit breaks, and whether it is that on failures."""
    late = [(math.log(each.rate), float(each.beyond), float(each.requests)) for each in found]
    by_latency = crossing(late, BEYOND, likely, dispersion)
    low, high = between(late, BEYOND)
    by_latency = replace(by_latency, at=min(max(by_latency.at, low - _BEYOND_TRIED), high + _BEYOND_TRIED))
    low, high = between(
        [(math.log(each.rate), float(each.failures), float(each.sent)) for each in found], limit.failures
    )
    by_failures = high - _BEYOND_TRIED if low == -math.inf else (low + high) / 2
    if by_failures < by_latency.at:
        # Failures begin at once, where they do.
        return replace(by_latency, at=by_failures), True
    return by_latency, False


def _likely(at: float, most: float | None) -> Slope:
    """What is likely of the slope at a rate, of a server that can answer `most` a second; None: nobody knows how many.

    The share that waits for longer than a time falls with it exponentially, and how fast is proportional to what is left of the
    server (Kingman 1962, doi:10.1111/j.2517-6161.1962.tb00465.x). So at the rate at which the share is 5 %, its logarithm, -3, is
    proportional to 1 - rate / most.
    """
    if most is None:
        return _ANY_SLOPE
    load = min(_MOST_LOAD, math.exp(at) / most)
    mean = max(_LEAST_LIKELY, -_STEEPER * math.log(BEYOND) * load / (1 - load))
    return Slope(mean=mean, spread=_SPREAD * mean)


def _gap(found: Sequence[Window], at: float) -> float:
    held = [math.log(each.rate) for each in found if each.holds]
    broke = [math.log(each.rate) for each in found if not each.holds]
    if not held or not broke or max(held) >= min(broke):
        return 0.0
    return max(at - max(held), min(broke) - at)


def _is_saturated(run: Run, cell: Cell, closed: Observation) -> bool:
    """Whether a closed loop shows the most that a server can do."""
    figures = cell_result(run, cell, [closed]).figures
    return figures is not None and figures.bound_by in SATURATED
