"""Which of the servers that were measured to run: the rule. `report.recommendation` puts it in words.

1. A server is considered if it was measured without a failed trial, broke no gate, is made for production, keeps up
   with its schedule where there is one, and keeps to the wish.
2. The fastest is advised if every other one is slower for sure. Else the tied are those of which none is faster or slower
   than any other for sure, the fastest among them; every other server is slower than one of the tied for sure.
3. One of the tied is advised if, against each other of them, it has at least NEAR of its speed for sure, costs clearly
   less (at most LESS) in one of memory, CPU time a request and p95 latency, and clearly more in none.
4. Otherwise it is undecided.
5. For several workloads, a server is as good as the worst of its shares of the best speed in each (Wald 1945,
   doi:10.2307/1969022, decides by the worst case too). The best is advised if every other one is worse for sure.

Speed is throughput; at a fixed rate, where all that keep up have the same, it is one over the mean latency.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import stats
from wsgilab.analysis.candidates import COSTS, NEAR, Candidates, candidates
from wsgilab.analysis.pairs import ByCell, PairedComparisons, blocks_needed
from wsgilab.model import (
    Advice,
    AdviceReason,
    Alternative,
    Cell,
    CellResult,
    Conditions,
    Cost,
    Interval,
    Run,
    ServerContrast,
    Wish,
)
from wsgilab.model.errors import SpecError

MOST_CHANGES = 5
"""The most changes that an advice names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the rule says of the servers under the same conditions."""

    group: Candidates
    wish: Wish
    reason: AdviceReason
    server: str | None
    eligible: tuple[str, ...]
    """Those that are considered, the fastest first."""
    tied: tuple[str, ...]
    left_out: Mapping[str, str]


def recommend(
    run: Run, by_cell: ByCell, results: Sequence[CellResult], pairs: PairedComparisons, wish: Wish
) -> Sequence[Advice]:
    """The advice for several workloads together, and then for each group of conditions in which two servers at least
    were measured, of `wish.workload` alone where that is given.

    Raises SpecError for a workload that was not measured, and for limits that are not positive numbers.
    """
    _check(wish, results)
    groups: dict[Conditions, list[CellResult]] = defaultdict(list)
    for result in results:
        groups[result.cell.conditions].append(result)
    choices = {
        conditions: choose(candidates(run, group, by_cell, pairs), wish)
        for conditions, group in groups.items()
        if sum(result.figures is not None for result in group) > 1
    }
    shown = [each for each in choices.values() if wish.workload in (None, each.group.cell.workload)]
    return [*_for_several_workloads(shown, wish), *(_advice(run, each, choices) for each in shown)]


def _check(wish: Wish, results: Sequence[CellResult]) -> None:
    for limit, option in ((wish.p95_ms, "p95-ms"), (wish.memory_mb, "memory-mb")):
        if limit is not None and not 0 < limit < math.inf:
            raise SpecError(f"--{option} {limit:g}: must be a number above 0")
    measured = list(dict.fromkeys(result.cell.workload for result in results if result.figures is not None))
    if wish.workload is not None and wish.workload not in measured:
        known = ", ".join(measured) or "none"
        raise SpecError(f"--workload {wish.workload}: not measured in this run; those that were: {known}")


# --- one group of conditions


def choose(group: Candidates, wish: Wish) -> Choice:
    """What the rule says of the group, for a wish (`wish.workload` does not matter)."""
    breaches = ((name, group.breach(name, wish)) for name in group.sound if name not in group.excluded)
    left_out = {**group.excluded, **{name: why for name, why in breaches if why is not None}}
    eligible = tuple(name for name in group.sound if name not in left_out)
    tied: list[str] = []
    for name in eligible:
        if all(group.is_undecided(name, other) for other in tied):
            tied.append(name)
    reason, server = _decide(group, eligible, tied)
    return Choice(
        group=group,
        wish=wish,
        reason=reason,
        server=server,
        eligible=eligible,
        tied=tuple(tied),
        left_out={name: left_out[name] for name in group.observations if name in left_out},
    )


def _decide(group: Candidates, eligible: Sequence[str], tied: Sequence[str]) -> tuple[AdviceReason, str | None]:
    if not eligible:
        return ("nobody" if group.excluded.keys() >= {*group.sound} else "limits"), None
    if any(group.blocks((tied[0], name)) < stats.FEWEST_BLOCKS for name in tied):
        return "blocks", None
    if len(eligible) == 1:
        return ("alone", eligible[0]) if len(group.sound) > 1 else ("incomparable", None)
    if len(tied) == 1:
        return "fastest", tied[0]
    pairs = [(name, other) for name in tied for other in tied if name != other]
    for name in tied:
        if all(group.is_preferable(name, other) for other in tied if other != name):
            return "cheaper", name
    if not all(group.is_near(*pair) for pair in pairs):
        return "scatter", None
    return ("same" if all(group.is_same(*pair) for pair in pairs) else "alike"), None


def _advice(run: Run, choice: Choice, choices: Mapping[Conditions, Choice]) -> Advice:
    group, tied = choice.group, choice.tied
    best = choice.server or next(iter(tied), None)
    others = [name for name in choice.eligible if name != best and (choice.server is not None or name not in tied)]
    return Advice(
        group=group.cell,
        workloads=(group.cell.workload,),
        wish=choice.wish,
        reason=choice.reason,
        server=choice.server,
        tied=tied,
        speed=None if best is None else group.speed(best),
        contrasts=tuple(_contrasts(choice)),
        suitable=tuple(_suitable(choice)),
        nearest=dict(_nearest(choice)),
        blocks=_common_blocks([choice], tied)
        if choice.reason == "blocks"
        else min((group.results[name].blocks for name in tied), default=0),
        blocks_needed=blocks_needed(run, max(result.blocks for result in group.results.values())),
        runner_up=None if best is None or not others else _beside(group, others[0], best),
        changes=tuple(_changes(choice, choices))[:MOST_CHANGES],
        left_out=choice.left_out,
    )


def _contrasts(choice: Choice) -> Iterable[ServerContrast]:
    """See `Advice.contrasts`."""
    group, server, tied = choice.group, choice.server, choice.tied
    if choice.reason == "fastest":
        yield from (group.contrast(tied[0], name) for name in choice.eligible[1:])
    elif server is not None:
        for other in (name for name in tied if name != server):
            yield group.contrast(server, other, [next(each for each in COSTS if group.costs_less(each, server, other))])
    elif choice.reason in ("same", "alike", "scatter"):
        beside_first = [group.contrast(name, tied[0]) for name in tied[1:]]
        yield max(beside_first, key=lambda each: _width(each.ratio))


def _width(ratio: Interval | None) -> float:
    return 0.0 if ratio is None else (ratio.high or 0.0) / (ratio.low or 1.0)


def _suitable(choice: Choice) -> Sequence[str]:
    """The tied that are not clearly dearer than another; all of them where each is dearer than another."""
    group, tied = choice.group, choice.tied
    if choice.reason not in ("same", "alike"):
        return ()
    return [name for name in tied if not any(group.is_preferable(other, name) for other in tied)] or tied


def _nearest(choice: Choice) -> Iterable[tuple[Cost, tuple[str, float]]]:
    """By each limit of a wish that nobody keeps to, the server that comes nearest."""
    group = choice.group
    limits: Sequence[tuple[Cost, float | None]] = (("p95", choice.wish.p95_ms), ("memory", choice.wish.memory_mb))
    for cost, limit in limits:
        known = {name: group.costs_at_most(cost, name) for name in group.sound if name not in group.excluded}
        kept = [(value, name) for name, value in known.items() if value is not None]
        if choice.reason == "limits" and limit is not None and kept:
            value, name = min(kept, key=lambda each: each[0])
            yield cost, (name, _rounded_up(value))


def _common_blocks(choices: Sequence[Choice], tied: Sequence[str]) -> int:
    """The fewest blocks that any of the tied has in common with the fastest, in any of the choices."""
    return min(choice.group.blocks((choice.eligible[0], name)) for choice in choices for name in tied)


def _beside(group: Candidates, runner_up: str, best: str) -> ServerContrast:
    """With all costs in which they differ for sure."""
    return group.contrast(runner_up, best, [cost for cost in COSTS if group.cost_differs(cost, runner_up, best)])


# --- when the advice would be another


def _changes(choice: Choice, choices: Mapping[Conditions, Choice]) -> Iterable[Alternative]:
    """Other conditions that decide otherwise, then limits, then conditions that leave it undecided."""
    others = [(_only_difference(choice.group.cell, other.group.cell), other) for other in choices.values()]
    elsewhere = [
        Alternative(group=other.group.cell, wish=other.wish, server=other.server, tied=other.tied)
        for at, other in sorted(others, key=lambda each: each[0])
        if at >= 0
        and choice.server != other.server
        and (other.server is not None or choice.server is None or choice.server in other.group.results)
    ]
    yield from (each for each in elsewhere if each.server is not None)
    for wish in (*_looser(choice.wish), *_tighter(choice)):
        other = choose(choice.group, wish)
        if (other.server, other.tied) != (choice.server, choice.tied):
            both = None not in (other.server, choice.server) and other.server != choice.server
            yield Alternative(
                group=choice.group.cell,
                wish=wish,
                server=other.server,
                tied=other.tied,
                ratio=choice.group.contrast(other.server or "", choice.server or "").ratio if both else None,
            )
    yield from (each for each in elsewhere if each.server is None)


def _only_difference(cell: Cell, other: Cell) -> int:
    """Which of workload, cores, load and connection is the only one that differs; -1 where none or several do."""
    pairs = enumerate(zip(_conditions(cell), _conditions(other), strict=True))
    different = [at for at, (ours, theirs) in pairs if ours != theirs]
    return different[0] if len(different) == 1 else -1


def _conditions(cell: Cell) -> tuple[object, ...]:
    return cell.workload, cell.cores, (cell.users, cell.rate, cell.arrivals), cell.connection


def _looser(wish: Wish) -> Iterable[Wish]:
    if wish.p95_ms is not None:
        yield replace(wish, p95_ms=None)
    if wish.memory_mb is not None:
        yield replace(wish, memory_mb=None)


def _tighter(choice: Choice) -> Iterable[Wish]:
    """The loosest limits of memory and of p95 that leave out the advised server, but not all that cost less for sure."""
    group, server = choice.group, choice.server
    if server is None:
        return
    memory = {name: group.figures(name).resident_mb for name in choice.eligible}
    smaller = [each for each in memory.values() if each is not None and each <= NEAR * (memory[server] or 0.0)]
    if smaller:
        yield replace(choice.wish, memory_mb=_rounded_up(max(smaller)))
    p95 = {name: (group.ratio("p95", name, server), group.costs_at_most("p95", name)) for name in choice.eligible}
    sooner = [upper for ratio, upper in p95.values() if ratio and upper and stats.verdict(ratio) == "slower"]
    if sooner:
        yield replace(choice.wish, p95_ms=_rounded_up(max(sooner)))


def _rounded_up(limit: float) -> float:
    """To a tenth, so that a server that keeps to the limit keeps to the rounded one."""
    return math.ceil(limit * 10) / 10


# --- several workloads

_ALL = Interval(median=1.0, low=1.0, high=1.0)
_UNKNOWN = Interval(median=0.0, low=None, high=None)


def _for_several_workloads(choices: Sequence[Choice], wish: Wish) -> Iterable[Advice]:
    """One for each of the conditions but the workload, where several workloads have two measured servers in common."""
    alike: dict[tuple[object, ...], list[Choice]] = defaultdict(list)
    for choice in choices:
        alike[_conditions(choice.group.cell)[1:]].append(choice)
    for several in alike.values():
        common = set[str].intersection(*(set(each.group.results) for each in several))
        if len(several) > 1 and len(common) > 1:
            yield _overall(several, wish)


def _overall(choices: Sequence[Choice], wish: Wish) -> Advice:
    """The advice for several workloads, two at least, from the choice for each.

    The intervals of all ratios hold together. So the least of the lower and the least of the upper ends of a server's
    ratios to the others contain its share of the best speed, whichever has that; and the least ends of its shares
    contain the worst one.
    """
    eligible = [name for name in choices[0].eligible if all(name in each.eligible for each in choices)]
    shares = {name: {each.group.cell.workload: _share(each, name) for each in choices} for name in eligible}
    worst = {name: _least(list(each.values())) for name, each in shares.items()}
    ranked = sorted(eligible, key=lambda name: -worst[name].median)
    tied = tuple(name for name in ranked if name == ranked[0] or not _is_worse(worst[name], worst[ranked[0]]))
    blocks = _common_blocks(choices, tied) if tied else 0
    reason: AdviceReason = "scatter" if len(tied) > 1 else "fastest" if len(ranked) > 1 else "alone"
    if blocks < stats.FEWEST_BLOCKS:
        reason = "blocks" if tied else "nobody"
    server = tied[0] if reason in ("fastest", "alone") else None
    others = [name for name in ranked if name not in tied]
    return Advice(
        group=choices[0].group.cell,
        workloads=tuple(each.group.cell.workload for each in choices),
        wish=wish,
        reason=reason,
        server=server,
        tied=tied,
        shares={
            name: {each.group.cell.workload: _share(each, name) for each in choices if each.tied != (name,)}
            for name in tied
        },
        blocks=blocks,
        runner_up=_beside(_worst_for(choices, shares[others[0]]), others[0], tied[0]) if others else None,
        changes=tuple(
            Alternative(group=each.group.cell, wish=wish, server=each.server, tied=each.tied)
            for each in choices
            if each.server not in (None, server)
        )[:MOST_CHANGES],
        left_out=_left_out(choices),
    )


def _share(choice: Choice, name: str) -> Interval:
    """The speed of a server over that of the fastest."""
    over = (choice.group.ratio("speed", name, other) or _UNKNOWN for other in choice.eligible if other != name)
    return _least([_ALL, *over])


def _least(ratios: Sequence[Interval]) -> Interval:
    """The least of several ratios; without ends where one of them has none."""
    lows = [each.low for each in ratios if each.low is not None]
    highs = [each.high for each in ratios if each.high is not None]
    known = len(lows) == len(highs) == len(ratios)
    median = min(each.median for each in ratios)
    return Interval(median=median, low=min(lows) if known else None, high=min(highs) if known else None)


def _is_worse(share: Interval, best: Interval) -> bool:
    return share.high is not None and best.low is not None and share.high < best.low / (1 + stats.SAME)


def _worst_for(choices: Sequence[Choice], shares: Mapping[str, Interval]) -> Candidates:
    """The group in which a server with these shares has the worst one."""
    return min((each.group for each in choices), key=lambda group: shares[group.cell.workload].median)


def _left_out(choices: Sequence[Choice]) -> Mapping[str, str]:
    """Why a server is not considered: by the first workload in which it is not, unless the reason is always the same."""
    found: dict[str, str] = {}
    for choice in choices:
        workload = choice.group.cell.workload
        for name in (name for each in choices for name in each.group.observations if name not in found):
            if name not in choice.group.observations:
                found[name] = f"not measured with {workload}"
            elif name in choice.left_out:
                reason = choice.left_out[name]
                always = all(each.left_out.get(name) == reason for each in choices)
                found[name] = reason if always else f"{workload}: {reason}"
    return found
