"""Choices in sentences: why a server is advised or none is, and what the next one costs."""

import math
from collections.abc import Sequence

from wsgilab.analysis import stats
from wsgilab.analysis.choice import COSTS, NEAR, Choice, Cost, costs_less, p95_at_most_ms, p95_ms, preferable
from wsgilab.analysis.figures import reports
from wsgilab.analysis.groups import ConditionGroup
from wsgilab.analysis.overall import Overall
from wsgilab.model import Interval

MEMORY_ALIKE = 0.95
"""Above this share of another's memory a server is not told to take less: the same one varies so much between starts."""
_MOST_NAMES = 4


# --- words


def number(value: float) -> str:
    """Three significant digits at least, never an exponent."""
    for least, form in ((100, "{:,.0f}"), (10, "{:.1f}")):
        if value >= least:
            return form.format(value)
    return f"{value:.2f}"


def names(servers: Sequence[str], conjunction: str = "and") -> str:
    """`a, b and c`; of many the first ones, and how many others."""
    shown = list(servers)
    if len(shown) > _MOST_NAMES:
        shown = [*shown[: _MOST_NAMES - 1], f"{len(shown) - _MOST_NAMES + 1} others"]
    *most, last = shown
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def factor(ratio: Interval) -> str:
    """A ratio with its interval, such as `x0.26 (0.24 to 0.28)`."""
    ends = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"x{ratio.median:.2f}{ends}"


def faster_by(group: ConditionGroup, server: str, other: str) -> str:
    """How many times another's throughput, or at a fixed rate mean latency, a server has."""
    ratio = group.over("speed", other).get(server)
    if ratio is None:
        return f"no block in common with {other}"
    if group.cell.rate is None:
        return f"{factor(ratio)} the throughput of {other}"
    return f"{factor(stats.turned(ratio))} the mean latency of {other}"


def speed(group: ConditionGroup, server: str) -> str:
    """Its throughput, or at a fixed rate its mean latency, with the interval."""
    if group.cell.rate is None:
        return f"{_ends(group.figures(server).throughput_rps)} requests/s"
    means = [each.latency_mean_ms for each in reports(group.observations[server])]
    return f"mean latency {_ends(stats.median_interval(means))} ms"


def _ends(interval: Interval) -> str:
    ends = (
        "" if interval.low is None or interval.high is None else f" ({number(interval.low)} to {number(interval.high)})"
    )
    return number(interval.median) + ends


def cost(group: ConditionGroup, what: Cost, server: str) -> float | None:
    """In megabytes, milliseconds of CPU time a request, or milliseconds; None where it is not known."""
    figures = group.figures(server)
    if what == "memory":
        return figures.resident_mb
    found = figures.cpu_ms_per_request if what == "cpu" else p95_ms(figures)
    return None if found is None else found.median


def _instead(what: Cost, ours: float, theirs: float) -> str:
    if what == "memory":
        return f"{number(ours)} MB instead of {number(theirs)}"
    if what == "cpu":
        return f"{number(ours)} ms of CPU time a request instead of {number(theirs)}"
    return f"p95 {number(ours)} ms instead of {number(theirs)}"


# --- why


def why(choice: Choice) -> str:
    """What decided a choice, or why nothing did and what would."""
    if choice.ground == "nobody":
        return _nobody(choice)
    if choice.server is None:
        return _undecided(choice)
    told = [_reason(choice, choice.server), *_state(choice.group, choice.server)]
    if choice.ground == "cheaper":
        told += _not_theirs(choice.group, choice.tied)
    return " ".join(told)


def _reason(choice: Choice, server: str) -> str:
    group = choice.group
    figures = speed(group, server)
    if choice.ground == "fastest":
        next_best = choice.candidates[1]
        told = "faster" + " than any other that may be advised" * (next_best != choice.candidates[-1])
        return f"{figures}, {faster_by(group, server, next_best)}: {told}."
    if choice.ground == "cheaper":
        others = [name for name in choice.tied if name != server]
        told = "; ".join(_cheaper(group, server, other) for other in others)
        return f"{figures}, not told apart from those of {names(others)}, but it costs less: {told}."
    kept = f" that keeps to {choice.wish.limits}" if choice.wish.limits else " measured that may be advised"
    return f"{figures}; it is the only one{kept}."


def _cheaper(group: ConditionGroup, server: str, other: str) -> str:
    """The first cost that is clearly less."""
    what = next(each for each in COSTS if costs_less(group, each, server, other))
    ours, theirs = cost(group, what, server), cost(group, what, other)
    assert ours is not None
    assert theirs is not None
    return f"{_instead(what, ours, theirs)} ({other})"


def _state(group: ConditionGroup, server: str) -> Sequence[str]:
    figures, slots = group.figures(server), group.results[server].slots
    of = "unbounded slots" if slots is None else f"{slots} slot{'s' * (slots != 1)}"
    told = f"Up to {figures.peak} in flight, of {of}; bound by {figures.bound_by}: {figures.because}."
    warnings = group.results[server].warnings
    return [told, *([f"Beware: {'; '.join(warnings)}."] if warnings else [])]


def _undecided(choice: Choice) -> str:
    group, tied = choice.group, choice.tied
    if choice.ground == "incomparable":
        return f"{tied[0]} has {speed(group, tied[0])}, and no other server's figures are to be relied on."
    if choice.ground == "blocks":
        return few_blocks([group], tied)
    ratios = (group.over("speed", other).get(name) for other in tied for name in tied if name != other)
    same = all(ratio is not None and stats.is_same(ratio) for ratio in ratios)
    alike = f"are the same within {100 * stats.ALIKE:g} %" if same else "cannot be told apart"
    told = [f"{names(tied)} {alike}: {_widest(group, tied)}."]
    if choice.ground == "alike":
        told += _alike(group, tied)
    else:
        told.append(_more_blocks(group, tied))
    return " ".join([*told, *_not_theirs(group, tied)])


def few_blocks(groups: Sequence[ConditionGroup], servers: Sequence[str]) -> str:
    """What to tell where these servers have too few blocks in common with the first, in any of the groups."""
    blocks = min(group.blocks((servers[0], name)) for group in groups for name in servers)
    had = f"{names(servers)} {'has' if len(servers) == 1 else 'have'} {blocks} block{'s' * (blocks != 1)}"
    common = " in common" * (len(servers) > 1)
    return f"{had}{common}, and to compare takes {stats.FEWEST_BLOCKS} (--blocks)."


def _alike(group: ConditionGroup, tied: Sequence[str]) -> list[str]:
    will_do = [name for name in tied if not any(preferable(group, other, name) for other in tied)] or list(tied)
    dearer = [name for name in tied if name not in will_do]
    if len(tied) == 2:  # noqa: PLR2004 - a pair has words of its own
        told = [f"Each has at least {NEAR:.0%} of the other's speed, and neither costs clearly less."]
    else:
        told = [f"Each has at least {NEAR:.0%} of any other's speed, and none costs clearly less than all others."]
    if dearer:
        told.append(f"{names(dearer)} cost{'s' * (len(dearer) == 1)} clearly more than another.")
    return [*told, f"{names(will_do, 'or')} will do."]


def _widest(group: ConditionGroup, tied: Sequence[str]) -> str:
    """The ratio of the pair that is least certain, the fastest being one of it."""
    ratios = group.over("speed", tied[0])
    other = max(tied[1:], key=lambda name: (ratios[name].high or 0.0) / (ratios[name].low or 1.0))
    return f"{other} has {faster_by(group, other, tied[0])}"


def _not_theirs(group: ConditionGroup, tied: Sequence[str]) -> list[str]:
    """What to tell where something else than the servers holds the throughput of all that are tied."""
    bound = {group.figures(name).bound_by for name in tied}
    if bound == {"backend"}:
        return ["All are bound by the backends: their own speed is not what was measured."]
    if bound == {"network"}:
        return ["All are bound by the network: their own speed is not what was measured."]
    if bound != {"demand"}:
        return []
    if group.cell.rate is not None:
        return [f"All keep up with {group.cell.rate:g} requests/s. A higher rate may tell."]
    return [f"All are bound by demand: {group.cell.users} users ask for no more. More users may tell."]


def _more_blocks(group: ConditionGroup, tied: Sequence[str]) -> str:
    blocks = min(group.results[name].blocks for name in tied)
    if blocks < group.blocks_needed:
        enough = group.blocks_needed
        return f"More than these {blocks} blocks may tell: from {enough} on intervals are exact (--blocks {enough})."
    return f"More than these {blocks} blocks may tell (--blocks {2 * blocks})."


def _nobody(choice: Choice) -> str:
    considered = [name for name in choice.group.sound if name not in choice.group.excluded]
    if not considered:
        return "None of those measured may be advised."
    told = f"None of those measured keeps to {choice.wish.limits}."
    asked: Sequence[tuple[Cost, float | None]] = (("p95", choice.wish.p95_ms), ("memory", choice.wish.memory_mb))
    least = (_least(choice.group, what, considered) for what, limit in asked if limit is not None)
    return " ".join([told, *(each for each in least if each is not None)])


def _least(group: ConditionGroup, what: Cost, servers: Sequence[str]) -> str | None:
    known = {name: value for name in servers if (value := _kept(group, what, name)) is not None}
    if not known:
        return None
    name = min(known, key=known.__getitem__)
    limit = rounded_up(known[name])
    return f"{name} takes the least memory: {limit:g} MB." if what == "memory" else f"{name} keeps to {limit:g} ms."


def _kept(group: ConditionGroup, what: Cost, name: str) -> float | None:
    return cost(group, what, name) if what == "memory" else p95_at_most_ms(group, name)


def rounded_up(limit: float) -> float:
    """To a tenth, so that what keeps to the one keeps to the other."""
    return math.ceil(limit * 10) / 10


# --- the runner-up


def costs(group: ConditionGroup, server: str, other: str) -> str:
    """What another server has instead of one: its speed, and of what it costs all that is told apart."""
    more: list[str] = []
    less: list[str] = []
    for what in COSTS:
        ours, theirs = cost(group, what, other), cost(group, what, server)
        if ours is not None and theirs is not None and _differ(group, what, other, server):
            (more if ours > theirs else less).append(_instead(what, ours, theirs))
    told = [f"{faster_by(group, other, server)}."]
    told += [f"Costs more: {'; '.join(more)}."] if more else []
    told += [f"Costs less: {'; '.join(less)}."] if less else []
    return " ".join(told)


def _differ(group: ConditionGroup, what: Cost, name: str, other: str) -> bool:
    if what == "memory":
        ours, theirs = cost(group, what, name), cost(group, what, other)
        return ours is not None and theirs is not None and not MEMORY_ALIKE <= ours / theirs <= 1 / MEMORY_ALIKE
    ratio = group.over(what, other).get(name)
    return ratio is not None and stats.verdict(ratio) != "undecided"


# --- several workloads


def why_overall(found: Overall) -> str:
    """The same for several workloads."""
    workloads = [each.group.cell.workload for each in found.choices]
    if found.ground == "nobody":
        return f"None may be advised with each of {names(workloads)}."
    if found.ground == "blocks":
        return few_blocks([each.group for each in found.choices], found.tied)
    if found.server is None:
        shares = "; ".join(f"{name} ({shares_of(found, name)})" for name in found.tied[:2])
        return f"{names(found.tied)} cannot be told apart by their worst share of the best speed: {shares}."
    shares = f"Share of the best speed: {shares_of(found, found.server)}."
    if found.ground == "alone":
        return f"It is the only one that may be advised with each of {names(workloads)}. {shares}"
    return f"{shares} No other's worst share is as high."


def shares_of(found: Overall, server: str) -> str:
    """Its share of the best speed in each workload, such as `the fastest with sleep, x0.98 (0.95 to 1.01) with cpu`."""
    workloads = list(found.shares[server])
    first = [each.group.cell.workload for each in found.choices if each.tied == (server,)]
    if first == workloads:
        return "the fastest with each"
    fastest = [f"the fastest with {names(first)}"] if first else []
    return ", ".join(
        [*fastest, *(f"{factor(found.shares[server][each])} with {each}" for each in workloads if each not in first)]
    )


def costs_overall(found: Overall, server: str, other: str) -> str:
    """What another server has instead of one in the workload in which it is worst."""
    worst = found.worst[other]
    group = next(each.group for each in found.choices if each.group.cell.workload == worst.workload)
    return f"at worst, with {worst.workload}, {costs(group, server, other)}"
