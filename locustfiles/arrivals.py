"""When requests are due at a fixed rate: an endless schedule of moments, known in advance.

Due moments do not depend on how fast the server answers: that is what makes the load open, and what lets latency
be counted from when a request was meant to start (Schroeder, Wierman, Harchol-Balter 2006, "Open versus closed").
"""

import itertools
import random
from collections.abc import Iterator

CONSTANT = "constant"
POISSON = "poisson"


def schedule(kind: str, rate: float, begin_ns: int, *, seed: int = 0, part: int = 0, parts: int = 1) -> Iterator[int]:
    """The nanoseconds, from `begin_ns` on, at which requests are due, `rate` a second over all `parts` together.

    `constant` arrivals lie on a grid from the clock's own beginning; part number `part` of `parts` takes every
    `parts`-th of them, so that several generators make one even stream. `poisson` arrivals have independent
    exponential gaps, from `seed` and `part`; Poisson streams add up to one (Kingman 1993, Poisson Processes, 2.2).
    """
    if kind == CONSTANT:
        first = -(-begin_ns * rate // 1e9)
        first += (part - first) % parts
        return (round(number * 1e9 / rate) for number in itertools.count(int(first), parts))
    return _poisson(rate / parts, begin_ns, random.Random(f"{seed}/{part}"))  # noqa: S311 - a load, not a secret


def _poisson(rate: float, begin_ns: int, source: random.Random) -> Iterator[int]:
    at_s = 0.0
    while True:
        at_s += source.expovariate(rate)
        yield begin_ns + round(at_s * 1e9)
