"""Distributions of counts and of latencies, as the queueing models need them. Pure."""

import math
from collections.abc import Sequence

MOST_PARTS = 150
"""A mixture has no more parts."""
_TINY = 1e-12

Part = tuple[float, float, float]
"""Of a mixture: weight, mean and variance."""


def interpolated(counted: Sequence[float], place: float, limit: float) -> float:
    """The value at `place`, between the counted ones, or beyond them: what it lacks of `limit` falls with the number."""
    last = len(counted) - 1
    if place > last:
        even = counted[last] * place / last
        return even if limit == math.inf else min(even, limit - (limit - counted[last]) * last / place)
    low = math.floor(place)
    high = min(low + 1, last)
    return counted[low] + (place - low) * (counted[high] - counted[low])


def normalised(weights: Sequence[float]) -> Sequence[float]:
    total = math.fsum(weights)
    return [each / total for each in weights]


def likely(logs: Sequence[float]) -> Sequence[tuple[int, float]]:
    """The numbers from 0 that are worth counting, with their chances, from logarithms of what these are in proportion to."""
    highest = max(logs)
    weights = [math.exp(each - highest) for each in logs]
    total = math.fsum(weights)
    return [(number, each / total) for number, each in enumerate(weights) if each > _TINY * total]


def percentile(share: float, parts: Sequence[Part], mean: float) -> float:
    """Where `share` of a mixture of gamma distributions lies below, once they are scaled to have `mean` together.

    The cube root of a gamma variable is nearly normal (Wilson and Hilferty 1931, doi:10.1073/pnas.17.12.684).
    """
    few = _merged(parts)
    total = math.fsum(weight for weight, _, _ in few)
    scale = mean * total / math.fsum(weight * each for weight, each, _ in few)
    roots = []
    for weight, each, variance in few:
        ninth = max(variance / each**2 / 9, 1e-9)
        deviation = math.sqrt(2 * ninth)
        roots.append((weight / total / 2, (1 - ninth) / deviation, each ** (-1 / 3) / deviation))

    def below(value: float) -> float:
        root = value ** (1 / 3)
        return sum(half * math.erfc(middle - root * slope) for half, middle, slope in roots)

    low, high = 0.0, max(each for _, each, _ in few)
    while below(high) < share:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < share else (low, middle)
    return high * scale


def _merged(parts: Sequence[Part]) -> Sequence[Part]:
    """No more parts than MOST_PARTS, those with neighbouring means taken together."""
    every = math.ceil(len(parts) / MOST_PARTS)
    if every == 1:
        return parts
    ordered = sorted(parts, key=lambda part: part[1])
    found = []
    for at in range(0, len(ordered), every):
        alike = ordered[at : at + every]
        weight = sum(part[0] for part in alike)
        mean = sum(part[0] * part[1] for part in alike) / weight
        found.append((weight, mean, sum(part[0] * (part[2] + (part[1] - mean) ** 2) for part in alike) / weight))
    return found
