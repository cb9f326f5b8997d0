"""Which rate of each server is worth a window next, where capacity is looked for. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

from wsgilab.analysis.capacity.windows import Seen, seen
from wsgilab.experiment import plan
from wsgilab.model import Cell, Observation, Run, Trial, TrialReport
from wsgilab.model.limits import MOST_BLOCKS

_FIRST = 0.7
"""Of a closed loop's throughput that is not the most that the server can do."""
_LEAST_FIRST = 0.3
"""Of one that is."""
_MOST = 1.05
"""And of one that is, unless the limit held at more."""
_UP, _UP_SATURATED, _DOWN = 1.5, 1.15, 0.6
"""The furthest steps, beyond what was tried, while the limit has held everywhere, or nowhere."""
_UP_LEAST, _DOWN_LEAST = 1.05, 0.95
"""And the nearest."""
_NEAR_BUSY = 0.85
"""From this share on of a rate at which the generator was too busy, no more is tried."""
_AFTER_FAILURE = 0.8
LOWEST = 0.1
"""Of the closed loop's throughput: a server that does not keep the limit at this rate keeps it at none."""
_IDLE = 0.5
"""Up to this share of it requests do not take much longer because others are beside them: if they exceed the limit by themselves, they do
at any rate."""
_STEPS = (-1.2, 0.0, 1.2)
"""In turn: how far from the capacity the rates are that come next, in the logit of the share of late requests."""
_FURTHEST_STEP = 0.12
_ELSEWHERE: Mapping[int, float] = {5: 0.5, 15: 0.75}
"""Blocks that show what latency is like at a part of the capacity."""
_ALIKE = 1.01
"""Rates are rounded."""
_MOST_FAILED = 3
"""After so many failed trials at rates, and no more that were measured, a server is given up."""
_AHEAD = 1.5
"""In heavy traffic the share that waits for longer than t is exp(-2 (most - rate) t) where arrivals are random and service times are
alike (Kingman); it is 5 % if (most - rate) t is this."""


def next_trials(run: Run, observations: Sequence[Observation], blocks: int) -> tuple[Trial, ...]:
    """The trials of so many blocks that come next; of a block that was begun, what is left of it. None where there is nothing more
    to learn, or no room for more blocks."""
    last = max((each.block for each in observations), default=0)
    begun = {plan.closed_loop(run.experiment, each.cell) for each in observations if each.block == last}
    trials: list[Trial] = []
    for number in range(max(1, last), min(MOST_BLOCKS, last + 1 + blocks)):
        rates = next_rates(run, observations, number)
        left = {cell: rate for cell, rate in rates.items() if number != last or cell not in begun}
        trials += plan.at_rates(run.experiment, run.seed, number, left)
        if len({each.block for each in trials}) == blocks:
            break
    return tuple(trials)


def next_rates(run: Run, observations: Iterable[Observation], number: int) -> Mapping[Cell, float]:
    """The rate of each cell in the block of this number, by what blocks before it say. Cells of which nothing more can be learnt
    have none."""
    before = [each for each in observations if each.block < number]
    rates = {cell: _next_rate(seen(run, cell, before), number) for cell in run.experiment.cells}
    return {cell: float(f"{rate:.4g}") for cell, rate in rates.items() if rate is not None}


def _next_rate(of: Seen, number: int) -> float | None:
    failed = len(of.trials) - len(of.windows)
    if of.closed is None or of.closed.swarm is None or (failed >= _MOST_FAILED and failed > len(of.windows)):
        return None
    lowest = LOWEST * of.closed.swarm.throughput_rps
    if of.trials and of.trials[-1].swarm is None:
        return max(lowest, _AFTER_FAILURE * (of.trials[-1].cell.rate or 0.0))
    if not of.windows:
        return _first(of.closed.swarm, of)
    if not of.broke and (of.most is None or of.busy < math.inf):
        return _above(of)
    return _near_capacity(of, number) if of.held else _below(of, lowest)


def _near_capacity(of: Seen, number: int) -> float:
    """A rate close to the capacity, or at a part of it."""
    at = of.fit()
    if number in _ELSEWHERE:
        return _ELSEWHERE[number] * math.exp(at.at)
    step = 0.0 if at.is_failures else _STEPS[number % len(_STEPS)] * min(_FURTHEST_STEP, 1 / at.slope)
    furthest = _UP if of.most is None or not of.broke else _UP_SATURATED
    most = math.inf if of.most is None else _MOST * of.most
    return min(math.exp(at.at + step), of.busy, furthest * max(of.held), max(most, _UP_LEAST * max(of.held)))


def _first(closed: TrialReport, of: Seen) -> float:
    """The rate to begin with."""
    if of.most is None:
        return _FIRST * closed.throughput_rps
    # Its requests are held for as long as this at least, and for longer where many of them compute side by side.
    wait_s = max(0.0, of.limit.p95_ms / 1000 - 1 / of.most)
    return of.most - min((1 - _LEAST_FIRST) * of.most, _AHEAD / wait_s if wait_s else math.inf)


def _above(of: Seen) -> float | None:
    """A rate above all at which the limit held, which it has everywhere; None where the generator cannot make more."""
    if not of.held:
        # The generator was too busy wherever the limit broke.
        return _DOWN * of.busy
    highest = max(of.held)
    if highest >= _NEAR_BUSY * of.busy:
        return None
    furthest = (_UP if of.most is None else _UP_SATURATED) * highest
    wanted = min(furthest, max(_UP_LEAST * highest, math.exp(of.fit().at)))
    return min(wanted, math.sqrt(highest * of.busy))


def _below(of: Seen, lowest: float) -> float | None:
    """A rate below all at which the limit broke, which it has everywhere; None where it will at any."""
    tried = min(of.broke)
    idle = [each for each in of.kept if each.rate <= _IDLE * lowest / LOWEST]
    if tried <= _ALIKE * lowest or any(each.service_ms > of.limit.p95_ms for each in idle):
        return None
    at = of.fit()
    wanted = _DOWN * tried if at.is_failures else math.exp(at.at)
    return max(lowest, min(_DOWN_LEAST * tried, max(_DOWN * tried, wanted)))
