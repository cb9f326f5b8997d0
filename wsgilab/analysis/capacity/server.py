"""What a run has found of the capacity of one server: its rate, with an interval, and what keeps it from a higher one. Pure."""

import math
import statistics
from collections.abc import Iterable, Sequence

from wsgilab.analysis import paired_ratio, stats
from wsgilab.analysis.capacity.windows import SATURATED, Fit, Seen, Window, seen
from wsgilab.analysis.cell.figures import cell_result
from wsgilab.analysis.cell.validity import first_line
from wsgilab.model import (
    CapacityStatus,
    CapacityWindow,
    Cell,
    CellFigures,
    CheckOutcome,
    Interval,
    Observation,
    Run,
    ServerCapacity,
)
from wsgilab.model.text import counted, number

WIDER = 1.7
"""So many times as far as the jackknife says an interval reaches: which rates are tried depends on what came before, and a run that
happened to see no burst knows nothing of those that it did not see. Found by simulation (`tests/unit/run/test_capacity.py`)."""
BIAS = 0.01
"""As a logarithm: so much too high a capacity may be because a window begins with a queue that is shorter than it will be, and because
the curve of the fit is another than the server's. Simulated queues of one to eight slots were 0 to 1 % too high. In a ratio it cancels."""
_HALF = 0.08
"""A window within this share of half the capacity shows what latency is like there."""
_TWICE = 2.0
"""Where the limit breaks at every rate down to one of these, it breaks at twice as much, whatever the scatter of a window."""


def of_server(run: Run, cell: Cell, observations: Iterable[Observation]) -> tuple[ServerCapacity, Fit | None]:
    """What `observations` say of the capacity of a cell's server, with the fit where that found it."""
    of = seen(run, cell, observations)
    status: CapacityStatus = "none" if of.kept else "unknown"
    near, rps, fitted = of.kept, None, None
    if of.held:
        fitted = of.fit()
        if not of.broke or math.exp(fitted.at) > of.busy:
            highest = max((rate for rate in of.held if rate < of.busy), default=min(of.held))
            status, fitted, rps = "at-least", None, Interval(median=highest, low=highest, high=None)
            near = [each for each in of.kept if each.rate == highest]
        else:
            status, near, rps = "found", fitted.windows, _interval(fitted, stats.ERROR_RATE, of.most)
    figures = cell_result(run, cell, [each.observation for each in near]).figures if near else None
    rates = [each.rate for each in of.windows]
    found = ServerCapacity(
        cell=cell,
        status=status,
        rps=rps,
        windows=len(near) if rps is not None else 0,
        lowest_rps=min(rates, default=None),
        highest_rps=max(rates, default=None),
        limited_by=_limited_by(run, cell, of, status, figures, fitted),
        half_p95_ms=None if rps is None else _half_p95_ms(of.windows, rps.median),
        tried=tuple(_tried(each, near) for each in sorted(of.windows, key=lambda each: (each.rate, each.block))),
        warnings=tuple(_warnings(of, figures)),
        broken=figures is not None and bool(figures.disturbed or figures.throttled),
    )
    return found, fitted


def takes(each: ServerCapacity, rate: float) -> CheckOutcome:
    """Whether a server keeps the limit at `rate`, in requests/s: `kept` where it does for sure, `breached` where it does not for sure,
    and else `inconclusive`."""
    if each.broken:
        return "inconclusive"
    if each.rps is None:
        lowest = min((window.rate for window in each.tried if window.counts), default=math.inf)
        return "breached" if rate >= _TWICE * lowest else "inconclusive"
    if each.rps.low is not None and rate <= each.rps.low:
        return "kept"
    return "breached" if each.rps.high is not None and rate > each.rps.high else "inconclusive"


def _interval(of: Fit, level: float, most: float | None) -> Interval:
    """The capacity, and an interval that does not hold the true one with a chance of `level`; without ends where it is of too few
    windows. More than the server can answer, it is not."""
    if of.freedom < 1:
        return Interval(median=math.exp(of.at), low=None, high=None)
    spread = math.sqrt(math.fsum(part**2 for part in of.parts().values()))
    reach = WIDER * paired_ratio.student(of.freedom, level) * spread + BIAS
    reach = min(paired_ratio.FURTHEST, max(of.gap, reach))
    high = math.exp(of.at + reach)
    if most is not None:
        high = max(math.exp(of.at), min(high, most * math.exp(BIAS)))
    return Interval(median=math.exp(of.at), low=math.exp(of.at - reach), high=high)


def _tried(each: Window, near: Sequence[Window]) -> CapacityWindow:
    swarm = each.observation.swarm
    assert swarm is not None, "a window was measured"
    return CapacityWindow(
        block=each.block,
        rate=each.rate,
        p50_ms=swarm.latency_ms["p50"],
        p95_ms=swarm.latency_ms["p95"],
        p99_ms=swarm.latency_ms["p99"],
        requests=each.requests,
        beyond=each.beyond,
        failures=each.failures,
        holds=each.holds,
        counts=each in near,
    )


def _half_p95_ms(found: Iterable[Window], capacity: float) -> float | None:
    """The median of the windows that were measured at half of the capacity."""
    p95_ms = [
        each.observation.swarm.latency_ms["p95"]
        for each in found
        if each.observation.swarm is not None and abs(2 * each.rate / capacity - 1) <= _HALF
    ]
    return statistics.median(p95_ms) if p95_ms else None


def _limited_by(
    run: Run,
    cell: Cell,
    of: Seen,
    status: CapacityStatus,
    figures: CellFigures | None,
    fitted: Fit | None,
) -> str:
    """What keeps a server from a higher rate, and how much of it was in use near its capacity; empty where nothing is known."""
    if figures is None:
        return ""
    if status == "at-least":
        of_core = f"{figures.generator_cpu.median:.0%} of its core"
        return f"the generator, which used {of_core} there" if of.busy < math.inf else "the budget"
    if fitted is not None and fitted.is_failures:
        return "failed requests"
    saturated = None if of.closed is None else cell_result(run, cell, [of.closed]).figures
    by = saturated.bound_by if saturated is not None and saturated.bound_by in SATURATED else None
    used = []
    if figures.mean_in_flight is not None:
        slots = run.servers[cell.server].slots
        used.append(f"{number(figures.mean_in_flight.median)} of {'∞' if slots is None else slots} slots")
    if figures.server_cpu is not None:
        used.append(f"{figures.server_cpu.median:.0%} of its {'core' if cell.cores == 1 else 'cores'}")
    return " ".join(filter(None, (by and f"{by};", f"{' and '.join(used)} in use" if used else "")))


def _warnings(of: Seen, figures: CellFigures | None) -> Iterable[str]:
    if of.closed is None:
        yield "its closed loop, which shows where to begin, was not measured"
    failed = [each for each in of.trials if each.swarm is None]
    if failed:
        yield f"{len(failed)} of {counted(len(of.trials), 'trial')} at rates failed: {first_line(failed[-1].reason)}"
    if figures is not None:
        yield from filter(None, (figures.disturbed, figures.throttled))
    if of.held and len(of.kept) < stats.FEWEST_BLOCKS:
        yield f"{counted(len(of.kept), 'window')} at rates: an interval needs {stats.FEWEST_BLOCKS}, so give a longer budget"
