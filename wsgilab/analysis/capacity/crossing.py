"""At which rate a share of requests rises above what is allowed: a logistic curve that rises with the rate. Pure.

Near the rate that is sought, the share's logit is as good as linear in the logarithm of the rate. Requests of one window are far from
independent of each other, since those that wait, wait together; so their number counts less by as much as windows scatter more than
independent requests would (quasi-likelihood: Wedderburn 1974, doi:10.1093/biomet/61.3.439). Few windows hardly know how steep the
curve is, and a rate that they extrapolate to with a slope of their own may be anywhere. So the slope has a value that is likely before
anything was seen, with a spread: a normal prior, which many windows overrule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float, float]]
"""Of each window the logarithm of its rate, how many of its requests were bad, and of how many."""

_LEVEL_SPREAD = 4.0
"""Of the share's logit in the middle of the rates, which is likely to be what is allowed: so there is a rate also where all windows
have none that is bad, or nothing else."""
_LEAST_SLOPE = 2.0
_USUAL_DISPERSION = 30.0
"""To begin with."""
_STEPS, _SMALLEST_STEP = 60, 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """What is likely of the slope of a share's logit over the logarithm of the rate."""

    mean: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where a share exceeds what is allowed."""

    at: float
    """The logarithm of the rate."""
    slope: float
    """Of the share's logit there, over the logarithm of the rate."""
    dispersion: float
    """How many times as much windows scatter as independent requests would, as a variance."""


def crossing(points: Points, allowed: float, likely: Slope, dispersion: float | None = None) -> Crossing:
    """Where the share rises above what is allowed, of one window at least; `dispersion`: where it is known from more of them."""
    if dispersion is None:
        first = crossing(points, allowed, likely, _USUAL_DISPERSION)
        dispersion = _dispersion(points, allowed, first)
    counted = [(x, bad / dispersion, of / dispersion) for x, bad, of in points]
    middle = sum(x * of for x, _, of in counted) / sum(of for _, _, of in counted)
    usual = _logit(allowed)
    places = [(x - middle, bad, of) for x, bad, of in counted]
    level, slope = _fitted(places, usual, likely, (usual, likely.mean), is_free=True)
    if slope < _LEAST_SLOPE:
        level, slope = _fitted(places, usual, likely, (usual, _LEAST_SLOPE), is_free=False)
    return Crossing(at=middle + (usual - level) / slope, slope=slope, dispersion=dispersion)


def between(points: Points, allowed: float) -> tuple[float, float]:
    """The rates, as logarithms, between which the share rises above what is allowed, whatever the curve: the last one at which it is
    not above, and the first one at which it is. Infinite where there is none.

    Isotonic regression: windows whose shares fall with the rate are taken together (Ayer, Brunk, Ewing, Reid, Silverman 1955,
    doi:10.1214/aoms/1177728423).
    """
    pools: list[tuple[float, float, float, float]] = []
    """First and last rate, bad ones, and of how many."""
    for x, bad, of in sorted(points):
        pools.append((x, x, bad, of))
        while len(pools) > 1 and pools[-2][2] * pools[-1][3] >= pools[-1][2] * pools[-2][3]:
            (first, _, bad_before, of_before), (_, last, bad_after, of_after) = pools[-2:]
            pools[-2:] = [(first, last, bad_before + bad_after, of_before + of_after)]
    return (
        max((last for _, last, bad, of in pools if bad <= allowed * of), default=-math.inf),
        min((first for first, _, bad, of in pools if bad > allowed * of), default=math.inf),
    )


def _dispersion(points: Points, allowed: float, known: Crossing) -> float:
    """Pearson's chi-square over its degrees of freedom, and 1 at least."""
    squares = []
    for x, bad, of in points:
        share = _logistic(_logit(allowed) + known.slope * (x - known.at))
        squares.append((bad - of * share) ** 2 / max(of * share * (1 - share), 1e-3))
    return min(max(1.0, math.fsum(squares) / max(1, len(points) - 1)), max(of for _, _, of in points))


def _fitted(
    places: Points, usual: float, likely: Slope, begin: tuple[float, float], *, is_free: bool
) -> tuple[float, float]:
    """Level and slope that are most likely, by Newton's method; the slope stays as it is where it is not free."""
    level, slope = begin
    least = _loss(places, usual, likely, level, slope)
    for _ in range(_STEPS):
        down, down_slope = (usual - level) / _LEVEL_SPREAD**2, (likely.mean - slope) / likely.spread**2
        curve, both, curve_slope = 1 / _LEVEL_SPREAD**2, 0.0, 1 / likely.spread**2
        for x, bad, of in places:
            share = _logistic(level + slope * x)
            rest, weight = bad - of * share, of * share * (1 - share)
            down, down_slope = down + rest, down_slope + rest * x
            curve, both, curve_slope = curve + weight, both + weight * x, curve_slope + weight * x * x
        step = down / curve, 0.0
        if is_free:
            size = curve * curve_slope - both * both
            step = (curve_slope * down - both * down_slope) / size, (curve * down_slope - both * down) / size
        while (loss := _loss(places, usual, likely, level + step[0], slope + step[1])) > least:
            step = step[0] / 2, step[1] / 2
            if max(map(abs, step)) < _SMALLEST_STEP:
                return level, slope
        level, slope, least = level + step[0], slope + step[1], loss
        if max(map(abs, step)) < _SMALLEST_STEP:
            break
    return level, slope


def _loss(places: Points, usual: float, likely: Slope, level: float, slope: float) -> float:
    """The negative logarithm of the likelihood."""
    found = ((level - usual) / _LEVEL_SPREAD) ** 2 / 2 + ((slope - likely.mean) / likely.spread) ** 2 / 2
    for x, bad, of in places:
        logit = level + slope * x
        found += of * (max(logit, 0.0) + math.log1p(math.exp(-abs(logit)))) - bad * logit
    return found


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1 + math.exp(logit))
