"""Which of the servers that were measured to run: the rule. `report.recommendation` puts it in words.

1. A server is considered if it was measured without a failed trial, broke no gate (in a race, none but those of SLOWED), is made
   for production, keeps up with its schedule where there is one, and keeps to the wish.
2. The fastest is advised if every other one is slower for sure. Else the tied are those of which none is faster or slower
   than any other for sure, the fastest among them; every other server is slower than one of the tied for sure.
3. One of the tied is advised if, against each other of them, it has at least NEAR of its speed for sure, costs clearly
   less (at most LESS) in one of memory, CPU time a request and p95 latency, and clearly more in none.
4. Otherwise it is undecided.
5. For several workloads, `several_workloads` has the rule.

Speed is throughput; at a fixed rate, where all that keep up have the same, it is one over the mean latency.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wsgilab.analysis import stats
from wsgilab.analysis.advice.candidates import COSTS, NEAR, Candidates, Choice, candidates
from wsgilab.analysis.advice.several_workloads import MOST_CHANGES, common_blocks, conditions_of, for_several_workloads
from wsgilab.analysis.pairs.family import PairedComparisons
from wsgilab.analysis.pairs.ratios import ByCell
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
    by_conditions,
)
from wsgilab.model.errors import SpecError


def recommend(
    run: Run, by_cell: ByCell, results: Sequence[CellResult], pairs: PairedComparisons, wish: Wish
) -> Sequence[Advice]:
    """The advice for several workloads together, and then for each group of conditions in which two servers at least
    were measured, of `wish.workload` alone where that is given.

    Raises SpecError for a workload that was not measured, and for limits that are not positive numbers.
    """
    _check(wish, results)
    choices = {
        conditions: choose(candidates(run, group, by_cell, pairs), wish)
        for conditions, group in by_conditions(results).items()
        if sum(result.figures is not None for result in group) > 1
    }
    shown = [each for each in choices.values() if wish.workload in (None, each.group.cell.workload)]
    return [*for_several_workloads(shown, wish), *(_advice(each, choices) for each in shown)]


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
    if any(group.blocks((tied[0], name)) < stats.FEWEST_PAIRED for name in tied):
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


def _advice(choice: Choice, choices: Mapping[Conditions, Choice]) -> Advice:
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
        blocks=common_blocks([choice], tied)
        if choice.reason == "blocks"
        else min((group.results[name].blocks for name in tied), default=0),
        runner_up=None if best is None or not others else group.beside(others[0], best),
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
    pairs = enumerate(zip(conditions_of(cell), conditions_of(other), strict=True))
    different = [at for at, (ours, theirs) in pairs if ours != theirs]
    return different[0] if len(different) == 1 else -1


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
