"""Which server to run, in sentences: every format of a comparison has the same."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis.advice.candidates import NEAR
from wsgilab.analysis.stats import ALIKE, FEWEST_PAIRED
from wsgilab.model import (
    Advice,
    Alternative,
    BoundBy,
    Cell,
    CellResult,
    Comparison,
    Cost,
    CostContrast,
    Interval,
    Run,
    ServerContrast,
)
from wsgilab.model.text import counted, number, times
from wsgilab.report import tables
from wsgilab.report.objections import objections_to

RULE = (
    "A server is advised if it is faster than every other one for sure. Where several cannot be told apart, one of them is "
    "advised if it has at least 90 % of each other's speed for sure, costs at least a fifth less in memory, CPU time a "
    "request or p95 latency, and a fifth more in none of these. Advice, ranks and verdicts use the same intervals, which "
    "hold together with a chance of 95 %. The advice is for what was measured here, under the load that is named."
)
NOTHING = "No two servers were measured under the same conditions, so there is nothing to advise."
_MOST_NAMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """One advice in sentences."""

    advice: Advice
    title: str
    """The conditions and the wish."""
    verdict: str
    """`Run gunicorn-gevent, although ...`, `Any of these: a, b.`, `Undecided.` or `No server qualifies.`"""
    why: str
    short: str
    """The first of it: the figures that decided, or why nothing did."""
    costs: str
    """What the runner-up costs, and saves; empty without one."""
    changes: tuple[str, ...]

    @property
    def is_decided(self) -> bool:
        """Whether it names one server to run, or several of which any will do."""
        return self.advice.server is not None or bool(self.advice.suitable)

    @property
    def points(self) -> Sequence[tuple[str, Sequence[str]]]:
        """What follows the verdict: headings, each with one sentence at least. Servers that were left out for the same
        reason share a sentence."""
        runner_up = self.advice.runner_up
        servers: dict[str, list[str]] = {}
        for server, reason in self.advice.left_out.items():
            servers.setdefault(reason, []).append(server)
        points = (
            ("Runner-up", () if runner_up is None else (f"{runner_up.cell.server}: {self.costs}",)),
            ("Changes", self.changes),
            ("Left out", [f"{', '.join(left_out)}: {reason}" for reason, left_out in servers.items()]),
        )
        return [(heading, sentences) for heading, sentences in points if sentences]


def recommendations(comparison: Comparison) -> Sequence[Recommendation]:
    """Every advice of a comparison."""
    return [recommendation(comparison, advice) for advice in comparison.advice]


def recommendation(comparison: Comparison, advice: Advice) -> Recommendation:
    """One advice of a comparison."""
    results = _results(comparison, advice.group)
    why = [_why_overall(advice)] if len(advice.workloads) > 1 else list(_why(advice, results))
    return Recommendation(
        advice=advice,
        title=_title(comparison, advice),
        verdict=_verdict(comparison.run, advice),
        why=" ".join(why),
        short=why[0],
        costs=_costs(advice),
        changes=tuple(_change(comparison, advice, each) for each in advice.changes),
    )


def _verdict(run: Run, advice: Advice) -> str:
    if advice.server is not None:
        against = objections_to(run, advice.server)
        return f"Run {advice.server}{f', although {names(against)}' if against else ''}."
    if len(advice.suitable) > 1:
        return f"Any of these: {', '.join(advice.suitable)}."
    if advice.suitable:
        return f"{advice.suitable[0]} will do."
    return "Undecided." if advice.tied else "No server qualifies."


def _title(comparison: Comparison, advice: Advice) -> str:
    """Such as `sleep 50 ms, 32 users, 1 core, connection: close; p95 at most 60 ms`."""
    run, cell = comparison.run, advice.group
    conditions = tables.conditions(run, cell).removeprefix(tables.workload(run, cell.workload))
    limits = f"; {advice.wish.limits}" if advice.wish.limits else ""
    return names([tables.workload(run, name) for name in advice.workloads]) + conditions + limits


def _results(comparison: Comparison, group: Cell) -> Mapping[str, CellResult]:
    """Those of the measured servers under the same conditions."""
    found = (each for each in comparison.cells if each.cell.conditions == group.conditions)
    return {each.cell.server: each for each in found if each.figures is not None}


# --- words


def names(names: Sequence[str], conjunction: str = "and") -> str:
    """`a, b and c`; of many the first ones, and how many others."""
    shown = list(names)
    if len(shown) > _MOST_NAMES:
        shown = [*shown[: _MOST_NAMES - 1], f"{len(shown) - _MOST_NAMES + 1} others"]
    *most, last = shown
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def _interval(ratio: Interval) -> str:
    """A ratio with its interval, such as `0.26 (0.24 to 0.28)`."""
    ends = "" if ratio.low is None or ratio.high is None else f" ({times(ratio.low)} to {times(ratio.high)})"
    return f"{times(ratio.median)}{ends}"


def _factor(ratio: Interval) -> str:
    """Such as `x0.26 (0.24 to 0.28)`."""
    return f"x{_interval(ratio)}"


def _times(ratio: Interval | None, cell: Cell, other: str) -> str:
    """How many times another's throughput, or at a fixed rate mean latency, a server has."""
    if ratio is None:
        return f"no block in common with {other}"
    return f"{_factor(ratio)} the {'throughput' if cell.rate is None else 'mean latency'} of {other}"


def beside(contrast: ServerContrast) -> str:
    """How many times the speed of the other one a server has, in words."""
    return _times(contrast.ratio, contrast.cell, contrast.other)


def _speed(advice: Advice) -> str:
    """Throughput, or at a fixed rate mean latency, with its interval."""
    speed = advice.speed
    assert speed is not None, "there is a speed where there is a server"
    ends = "" if speed.low is None or speed.high is None else f" ({number(speed.low)} to {number(speed.high)})"
    figure = number(speed.median) + ends
    return f"{figure} requests/s" if advice.group.rate is None else f"mean latency {figure} ms"


def instead(of: CostContrast) -> str:
    """What one costs and the other does, in words."""
    units: Mapping[Cost, str] = {"memory": "{} MB", "cpu": "{} ms of CPU time a request", "p95": "p95 {} ms"}
    return f"{units[of.cost].format(number(of.ours))} instead of {number(of.theirs)}"


# --- why


def _why(advice: Advice, results: Mapping[str, CellResult]) -> Sequence[str]:
    """What decided, or why nothing did and what would, in sentences."""
    if advice.reason == "nobody":
        return ["None of those measured may be advised."]
    if advice.reason == "limits":
        return [f"None of those measured keeps to {advice.wish.limits}.", *_nearest(advice)]
    if advice.server is None:
        return _undecided(advice, results)
    sentences = [_decision(advice), *_state(results[advice.server])]
    return [*sentences, *(_bound_elsewhere(advice, results) if advice.reason == "cheaper" else [])]


def _nearest(advice: Advice) -> Iterable[str]:
    for cost, (server, limit) in advice.nearest.items():
        yield (
            f"{server} takes the least memory: {limit:g} MB."
            if cost == "memory"
            else f"{server} keeps to {limit:g} ms."
        )


def _decision(advice: Advice) -> str:
    speed, contrasts = _speed(advice), advice.contrasts
    if advice.reason == "fastest":
        faster = "faster than any other that may be advised" if len(contrasts) > 1 else "faster"
        return f"{speed}, {beside(contrasts[0])}: {faster}."
    if advice.reason == "cheaper":
        others = names([each.other for each in contrasts])
        less = "; ".join(f"{instead(each.costs[0])} ({each.other})" for each in contrasts)
        return f"{speed}, which cannot be told from the speed of {others}, but it costs less: {less}."
    limits = advice.wish.limits
    return f"{speed}; it is the only one {f'that keeps to {limits}' if limits else 'measured that may be advised'}."


def _state(result: CellResult) -> Iterable[str]:
    figures = result.figures
    assert figures is not None, "an advised server was measured"
    slots = "unbounded slots" if result.slots is None else counted(result.slots, "slot")
    yield f"Up to {figures.peak} in flight, of {slots}; bound by {figures.bound_by}: {figures.because}."
    if result.warnings:
        yield f"Beware: {'; '.join(each.text for each in result.warnings)}."


def _undecided(advice: Advice, results: Mapping[str, CellResult]) -> Sequence[str]:
    tied = names(advice.tied)
    if advice.reason == "incomparable":
        return [f"{tied} has {_speed(advice)}, and no other server's figures are to be relied on."]
    if advice.reason == "blocks":
        return [_few_blocks(advice)]
    widest = advice.contrasts[0]
    alike = f"are the same within {100 * ALIKE:g} %" if advice.reason == "same" else "cannot be told apart"
    sentences = [f"{tied} {alike}: {widest.cell.server} has {beside(widest)}."]
    sentences += (
        [f"More than these {advice.blocks} blocks may tell (--blocks {2 * advice.blocks})."]
        if advice.reason == "scatter"
        else _alike(advice)
    )
    return [*sentences, *_bound_elsewhere(advice, results)]


def _few_blocks(advice: Advice) -> str:
    several = len(advice.tied) > 1
    has = f"{'have' if several else 'has'} {counted(advice.blocks, 'block')}{' in common' * several}"
    return f"{names(advice.tied)} {has}, and to compare takes {FEWEST_PAIRED} (--blocks)."


def _alike(advice: Advice) -> Iterable[str]:
    if len(advice.tied) == 2:  # noqa: PLR2004 - two servers have words of their own
        yield f"Each has at least {NEAR:.0%} of the other's speed, and neither costs clearly less."
    else:
        yield f"Each has at least {NEAR:.0%} of any other's speed, and none costs clearly less than all others."
    dearer = [name for name in advice.tied if name not in advice.suitable]
    if dearer:
        yield f"{names(dearer)} cost{'s' * (len(dearer) == 1)} clearly more than another."


def _bound_elsewhere(advice: Advice, results: Mapping[str, CellResult]) -> Iterable[str]:
    """Where something else than the servers limits the throughput of all that are tied."""
    group = advice.group
    bound: set[BoundBy] = {figures.bound_by for name in advice.tied if (figures := results[name].figures) is not None}
    if bound in ({"backend"}, {"network"}):
        what = "backends" if bound == {"backend"} else "network"
        yield f"All are bound by the {what}: their own speed is not what was measured."
    elif bound == {"demand"} and group.rate is not None:
        yield f"All keep up with {group.rate:g} requests/s. A higher rate may tell them apart."
    elif bound == {"demand"}:
        yield f"All are bound by demand: {group.users} users send no more. More users may tell them apart."


def _why_overall(advice: Advice) -> str:
    """The same for several workloads."""
    workloads, tied = names(advice.workloads), names(advice.tied or ("none",))
    if advice.reason == "nobody":
        return f"None may be advised with each of {workloads}."
    if advice.reason == "blocks":
        return _few_blocks(advice)
    if advice.server is None:
        each = "; ".join(f"{name} {shares(advice, name)}" for name in advice.tied[:2])
        return f"{tied} cannot be told apart by the workload with which each does worst: {each}."
    if advice.reason == "alone":
        return f"It is the only one that may be advised with each of {workloads}: it {shares(advice, advice.server)}."
    best = f"It {shares(advice, advice.server)}."
    return f"{best} Each of the others has less where it does worst." if advice.shares[advice.server] else best


def shares(advice: Advice, server: str) -> str:
    """Such as `is the fastest for sleep, and has about 0.98 (0.95 to 1.01) of the best one's speed for cpu`."""
    found = advice.shares[server]
    fastest = [name for name in advice.workloads if name not in found]
    if not found:
        return "is the fastest for each"
    has = names([f"{_interval(share)} of the best one's speed for {name}" for name, share in found.items()])
    return f"is the fastest for {names(fastest)}, and has about {has}" if fastest else f"has about {has}"


# --- the runner-up


def _costs(advice: Advice) -> str:
    """The speed of the runner-up, and what it costs more and less; empty without one."""
    runner_up = advice.runner_up
    if runner_up is None:
        return ""
    worst = f"at worst, with {runner_up.cell.workload}, " if len(advice.workloads) > 1 else ""
    more = "; ".join(instead(each) for each in runner_up.costs if each.ours > each.theirs)
    less = "; ".join(instead(each) for each in runner_up.costs if each.ours <= each.theirs)
    sentences = [
        f"{worst}{beside(runner_up)}.",
        f"Costs more: {more}." if more else "",
        f"Costs less: {less}." if less else "",
    ]
    return " ".join(filter(None, sentences))


# --- when the advice would be another


def _change(comparison: Comparison, advice: Advice, other: Alternative) -> str:
    if len(advice.workloads) > 1:
        return f"for {other.group.workload} alone: {other.server}"
    if other.wish != advice.wish:
        than = "" if other.ratio is None else f", {_times(other.ratio, other.group, advice.server or '')}"
        return f"{_for_wish(advice, other)}: {_outcome(other)}{than}"
    here, there = _results(comparison, advice.group), _results(comparison, other.group)
    when, server = _under(advice.group, other.group), advice.server
    if other.server is None and server is not None and len(other.tied) > 1 and server in other.tied:
        return f"{when}: undecided, {server} is one of {len(other.tied)} that cannot be told apart"
    note = "" if other.server is None or other.server in here else " (not measured here)"
    if other.server is not None and server is not None and server not in there:
        note = f" ({server} was not measured there)"
    return f"{when}: {_outcome(other)}{note}"


def _for_wish(advice: Advice, other: Alternative) -> str:
    if other.wish.p95_ms != advice.wish.p95_ms:
        limit, name = replace(other.wish, memory_mb=None).limits, "p95"
    else:
        limit, name = replace(other.wish, p95_ms=None).limits, "memory"
    return f"with {limit}" if limit else f"without the limit of {name}"


def _under(here: Cell, there: Cell) -> str:
    """The only condition that differs."""
    if there.workload != here.workload:
        return f"for {there.workload}"
    if there.cores != here.cores:
        return f"with {counted(there.cores, 'core')}"
    if there.connection != here.connection:
        return "with connections kept" if there.connection == "keep-alive" else "with a connection for each request"
    # What else holds is in words beside users or cores.
    return f"with {there.load}" if there.load != here.load else f"on {there.on}"


def _outcome(other: Alternative) -> str:
    if other.server is not None:
        return other.server
    if not other.tied:
        return "none may be advised"
    return f"undecided between {names(other.tied)}" if len(other.tied) > 1 else "undecided"
