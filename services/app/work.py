"""The fixed amount of work behind `/cpu`: n steps of a linear congruential generator.

Constants: Press et al., Numerical Recipes, 2nd ed., section 7.1 (a = 1664525, c = 1013904223, m = 2**32).
Each step needs the one before it, so the loop can neither be skipped nor shared between requests; and a
closed form exists (see `locustfiles/cpu.py`), so the swarm can check the answer without doing the work.
"""

import time

MULTIPLIER = 1664525
INCREMENT = 1013904223
MASK = 2**32 - 1

_ROUNDS = 9
_ROUND_MS = 4.0


def state_after(iterations: int) -> int:
    """The generator's state after `iterations` steps from 0."""
    state = 0
    for _ in range(iterations):
        state = (state * MULTIPLIER + INCREMENT) & MASK
    return state


def _cpu_ms(iterations: int) -> float:
    begin = time.thread_time_ns()
    state_after(iterations)
    return (time.thread_time_ns() - begin) / 1e6


def iterations_for(cpu_ms: float) -> int:
    """How many iterations take `cpu_ms` milliseconds of this thread's CPU time, at least 1.

    The fastest of several rounds counts: on a shared machine interference only ever adds time.
    """
    iterations = 1000
    while _cpu_ms(iterations) < _ROUND_MS:
        iterations *= 2
    best_ms = min(_cpu_ms(iterations) for _ in range(_ROUNDS))
    return max(1, round(iterations * cpu_ms / best_ms))
