"""What a run has found of the capacity of its servers: the highest rate of arrivals at which a limit on latency holds. Pure.

`windows` has the fit. Comparisons are of every two servers under the same conditions, and one family, with the shares of the
error rate that a comparison by speed would have. All servers of a block have the same arrivals, only closer together, so their errors
are paired: what a block adds to the error of one is taken from what it adds to that of the other.
"""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import paired_ratio, stats
from wsgilab.analysis.budget.allocation import used_s
from wsgilab.analysis.capacity.windows import SATURATED, Fit, Seen, Window, seen
from wsgilab.analysis.cell.figures import cell_result
from wsgilab.analysis.cell.validity import first_line
from wsgilab.analysis.pairs.family import by_conditions, shares
from wsgilab.model import (
    CapacityGroup,
    CapacityOfRuns,
    CapacityOutcome,
    CapacityRatio,
    CapacityStatus,
    CapacityVerdict,
    CapacityWindow,
    Cell,
    CellFigures,
    Conditions,
    Interval,
    Observation,
    Run,
    ServerCapacity,
    Verdict,
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
_VERDICTS: Mapping[Verdict, CapacityVerdict] = {"faster": "more", "slower": "less", "undecided": "undecided"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A server's capacity as it is compared."""

    at: float
    """The logarithm of the capacity, or of the rate that it is at least."""
    fit: Fit | None
    """None where it is at least that."""
    parts: Mapping[int, float]
    """Of its error, by block."""


def outcome(run: Run, observations: Sequence[Observation]) -> CapacityOutcome:
    """What `observations` say of a run that looks for capacity."""
    limit = run.experiment.capacity
    assert limit is not None, "capacity is looked for"
    found = [_server(run, cell, observations) for cell in run.experiment.cells]
    servers = tuple(each for each, _ in found)
    known = {each.cell: _known(each.rps, fitted) for each, fitted in found if each.rps is not None and not each.broken}
    ratios = tuple(_ratios(run, known))
    return CapacityOutcome(
        p95_ms=limit.p95_ms,
        failures=limit.failures,
        arrivals=limit.arrivals,
        budget_s=run.experiment.budget_s or 0.0,
        used_s=used_s(observations, max(1, len(run.lanes))),
        servers=servers,
        ratios=ratios,
        groups=tuple(_groups(servers, ratios)),
    )


# --- one server


def _server(run: Run, cell: Cell, observations: Iterable[Observation]) -> tuple[ServerCapacity, Fit | None]:
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


# --- servers beside each other


def _ratios(run: Run, known: Mapping[Cell, _Known]) -> Iterable[CapacityRatio]:
    share, reference = shares(run, "speed"), run.experiment.reference
    for group in by_conditions(run.experiment.cells).values():
        for one, two in itertools.combinations([cell for cell in group if cell in known], 2):
            cell, other = (two, one) if one.server == reference else (one, two)
            ratio, blocks = _ratio(known[cell], known[other], stats.ERROR_RATE * share(cell, other))
            verdict = _VERDICTS[stats.verdict(ratio)]
            yield CapacityRatio(cell=cell, other=other.server, blocks=blocks, ratio=ratio, verdict=verdict)


def _ratio(one: _Known, two: _Known, level: float) -> tuple[Interval, int]:
    """The capacity of one over that of the other, and how many blocks it is of."""
    middle = one.at - two.at
    known = [each.fit for each in (one, two) if each.fit is not None]
    blocks = {*one.parts, *two.parts}
    freedom = _freedom([each for each in (one, two) if each.fit is not None])
    if freedom < 1:
        return Interval(median=math.exp(middle), low=None, high=None), len(blocks)
    spread = math.sqrt(math.fsum((one.parts.get(block, 0.0) - two.parts.get(block, 0.0)) ** 2 for block in blocks))
    reach = WIDER * paired_ratio.student(freedom, level) * spread
    reach = min(paired_ratio.FURTHEST, max(reach, math.fsum(each.gap for each in known)))
    return (
        Interval(
            median=math.exp(middle),
            # Of a capacity that is at least so much, or more.
            low=None if two.fit is None else math.exp(middle - reach),
            high=None if one.fit is None else math.exp(middle + reach),
        ),
        len(blocks),
    )


def _freedom(known: Sequence[_Known]) -> int:
    """Degrees of freedom of a difference of two, whose errors may differ in size (Welch 1947, doi:10.1093/biomet/34.1-2.28)."""
    pairs = [
        (math.fsum(part**2 for part in each.parts.values()), each.fit.freedom) for each in known if each.fit is not None
    ]
    if not pairs or min(freedom for _, freedom in pairs) < 1:
        return 0
    total = math.fsum(variance for variance, _ in pairs)
    if not total:
        return min(freedom for _, freedom in pairs)
    return max(1, math.floor(total**2 / math.fsum(variance**2 / freedom for variance, freedom in pairs) + 1e-9))


# --- two runs


def of_runs(
    a: Run,
    a_observations: Sequence[Observation],
    b: Run,
    b_observations: Sequence[Observation],
    work: Mapping[Cell, float],
) -> Iterable[CapacityOfRuns]:
    """The capacities of B as against those of A, of the closed loops that are in `work`, with the work of a request of B over that of one of
    A. None where one of the runs does not look for it.

    Windows of two runs are independent of each other. All of these intervals hold together with a chance of 95 %.
    """
    limits = [run.experiment.capacity for run in (a, b)]
    if None in limits:
        return
    unlike = "" if limits[0] == limits[1] else "its limits or arrivals are others in A and in B"
    level = stats.ERROR_RATE / max(1, len(work))
    for cell, of_request in work.items():
        (in_a, fit_a), (in_b, fit_b) = (
            _server(run, cell, of) for run, of in ((a, a_observations), (b, b_observations))
        )
        refused = unlike or _incomparable(in_a, in_b)
        ratio = None
        if not refused and in_a.rps is not None and in_b.rps is not None:
            first = _known(in_a.rps, fit_a)
            second = _known(in_b.rps, fit_b, of_request)
            # The same number is another block.
            second = replace(second, parts={-1 - block: part for block, part in second.parts.items()})
            ratio, _ = _ratio(second, first, level)
        verdict = "undecided" if ratio is None else _VERDICTS[stats.verdict(ratio)]
        yield CapacityOfRuns(
            cell=cell, a=in_a.rps, b=in_b.rps, work=of_request, ratio=ratio, verdict=verdict, refused=refused or None
        )


def _incomparable(a: ServerCapacity, b: ServerCapacity) -> str:
    """Why two capacities cannot be compared; empty where they can."""
    for name, each in (("A", a), ("B", b)):
        if each.broken:
            return f"in {name}, others disturbed it"
        if each.rps is None:
            return f"in {name}, {'it keeps the limit at no rate that was tried' if each.status == 'none' else 'none was found'}"
    return ""


def _known(rps: Interval, fitted: Fit | None, times: float = 1.0) -> _Known:
    """A capacity, or so many times as much, as it is compared."""
    return _Known(at=math.log(times * rps.median), fit=fitted, parts={} if fitted is None else fitted.parts())


def _groups(servers: Sequence[ServerCapacity], ratios: Sequence[CapacityRatio]) -> Iterable[CapacityGroup]:
    """Which servers have the most capacity: all of which none has less for sure, of those that keep the limit at all."""
    behind = {
        (each.cell.conditions, each.cell.server if each.verdict == "less" else each.other)
        for each in ratios
        if each.verdict != "undecided"
    }
    groups: dict[Conditions, list[ServerCapacity]] = defaultdict(list)
    for each in servers:
        groups[each.cell.conditions].append(each)
    for group in groups.values():
        able = [each for each in group if each.rps is not None and not each.broken]
        best = [each for each in able if (each.cell.conditions, each.cell.server) not in behind]
        yield CapacityGroup(
            cells=tuple(each.cell for each in group),
            best=tuple(each.cell.server for each in sorted(best, key=_rps, reverse=True)),
        )


def _rps(each: ServerCapacity) -> float:
    return 0.0 if each.rps is None else each.rps.median
