"""What a run has found of the capacity of its servers: the highest rate of arrivals at which a limit on latency holds. Pure.

`windows` has the fit. Comparisons are of every two servers under the same conditions, and one family, with the shares of the
error rate that a comparison by speed would have. All servers of a block have the same arrivals, only closer together, so their errors
are paired: what a block adds to the error of one is taken from what it adds to that of the other.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import paired_ratio, stats
from wsgilab.analysis.budget.seconds import used_s
from wsgilab.analysis.capacity.server import WIDER, of_server, takes
from wsgilab.analysis.capacity.windows import Fit
from wsgilab.analysis.pairs.family import shares
from wsgilab.analysis.pairs.ratios import by_conditions
from wsgilab.model import (
    CapacityGroup,
    CapacityOfRuns,
    CapacityOutcome,
    CapacityRatio,
    CapacityVerdict,
    Cell,
    Conditions,
    Interval,
    Observation,
    Run,
    ServerCapacity,
    Verdict,
)

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
    found = [of_server(run, cell, observations) for cell in run.experiment.cells]
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
            of_server(run, cell, of) for run, of in ((a, a_observations), (b, b_observations))
        )
        verdict: CapacityVerdict = "undecided" if unlike else _beside_none(in_a, in_b, of_request)
        refused = "" if verdict != "undecided" else unlike or _incomparable(in_a, in_b)
        ratio = None
        if not refused and in_a.rps is not None and in_b.rps is not None:
            first = _known(in_a.rps, fit_a)
            second = _known(in_b.rps, fit_b, of_request)
            # The same number is another block.
            second = replace(second, parts={-1 - block: part for block, part in second.parts.items()})
            ratio, _ = _ratio(second, first, level)
            verdict = _VERDICTS[stats.verdict(ratio)]
        yield CapacityOfRuns(
            cell=cell, a=in_a.rps, b=in_b.rps, work=of_request, ratio=ratio, verdict=verdict, refused=refused or None
        )


def _beside_none(a: ServerCapacity, b: ServerCapacity, work: float) -> CapacityVerdict:
    """What B can do as against A where one of them keeps the limit at no rate, and the other at a much higher one; else `undecided`."""
    if _is_none_beside(b, a, 1 / work):
        return "less"
    return "more" if _is_none_beside(a, b, work) else "undecided"


def _is_none_beside(each: ServerCapacity, other: ServerCapacity, times: float) -> bool:
    least = None if other.rps is None or other.broken else other.rps.low
    return each.rps is None and least is not None and takes(each, times * least) == "breached"


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
