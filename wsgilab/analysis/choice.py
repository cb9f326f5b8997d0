"""Which of the servers under the same conditions to run: the rule, and what it goes by. Sentences are made elsewhere.

1. Considered is what was measured without a failed trial, broke no gate, is made for production, keeps up with its
   schedule where there is one, and keeps to what is wished.
2. The fastest is advised where every other one is slower for sure. Else those are tied of which none is told from any
   other by speed, the fastest among them; every server that is not tied is slower than one of them for sure.
3. Of those that are tied one may still be advised: the one that, against each other of them, has at least NEAR of its
   speed for sure, costs clearly less (at most LESS) in one of memory, CPU time a request and p95 latency, and clearly
   more in none.
4. Otherwise it is undecided.

Speed is throughput; at a fixed rate, where all that keep up have the same, it is one over the mean latency.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wsgilab.analysis import stats
from wsgilab.analysis.groups import ConditionGroup
from wsgilab.model import CellFigures, Interval, Wish

NEAR = 0.9
"""From this share of another's speed on, for sure, a server may be preferred to it for what it costs less."""
LESS = 0.8
"""Up to this share of another's memory, CPU time or latency, for sure, a server costs clearly less."""

Cost = Literal["memory", "cpu", "p95"]
COSTS: Sequence[Cost] = ("memory", "cpu", "p95")
"""In the order in which they are told."""
Ground = Literal["fastest", "cheaper", "alone", "blocks", "scatter", "alike", "incomparable", "nobody"]
"""Why a choice is what it is: the first three decide, the others do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the rule says of a group."""

    group: ConditionGroup
    wish: Wish
    ground: Ground
    server: str | None
    candidates: tuple[str, ...]
    """The fastest first."""
    tied: tuple[str, ...]
    left_out: Mapping[str, str]


def breach(group: ConditionGroup, server: str, wish: Wish) -> str | None:
    """What of the wish the server does not keep to for sure; None where it keeps to all."""
    figures = group.figures(server)
    if wish.memory_mb is not None:
        if figures.resident_mb is None:
            return "its memory was not read"
        if figures.resident_mb > wish.memory_mb:
            return f"takes {figures.resident_mb:.1f} MB, more than {wish.memory_mb:g}"
    if wish.p95_ms is None:
        return None
    if server in group.understated:
        return f"its p95 is not known: {group.understated[server]}"
    p95 = p95_ms(figures)
    if p95 is None:
        return "its p95 is not known: no request that counts for latency was answered"
    upper = p95.median if p95.high is None else p95.high
    if upper <= wish.p95_ms:
        return None
    lower = p95.median if p95.low is None else p95.low
    told = f"p95 {p95.median:.1f} ms" + ("" if p95.high is None else f" ({lower:.1f} to {upper:.1f})")
    return f"{told}, more than {wish.p95_ms:g}" if lower > wish.p95_ms else f"{told} may exceed {wish.p95_ms:g}"


def p95_ms(figures: CellFigures) -> Interval | None:
    """The 95th percentile of latency in milliseconds: the blocks' own with its interval, or that of all together."""
    found = figures.latency_blocks_ms.get("p95")
    if (found is None or found.high is None) and "p95" in figures.latency_ms:
        return Interval(median=figures.latency_ms["p95"], low=None, high=None)
    return found


def p95_at_most_ms(group: ConditionGroup, server: str) -> float | None:
    """What its p95 latency keeps to; None where it is not known, or may be higher than was seen."""
    p95 = p95_ms(group.figures(server))
    if p95 is None or server in group.understated:
        return None
    return p95.median if p95.high is None else p95.high


# --- the rule


def choose(group: ConditionGroup, wish: Wish) -> Choice:
    """What the rule says of the group, for what is wished of a server (`wish.workload` is not looked at)."""
    breaches = ((name, breach(group, name, wish)) for name in group.sound if name not in group.excluded)
    left_out = {**group.excluded, **{name: why for name, why in breaches if why is not None}}
    candidates = tuple(name for name in group.sound if name not in left_out)
    tied = _tied(group, candidates)
    ground, server = _decide(group, candidates, tied)
    return Choice(
        group=group,
        wish=wish,
        ground=ground,
        server=server,
        candidates=candidates,
        tied=tied,
        left_out={name: left_out[name] for name in group.observations if name in left_out},
    )


def _decide(group: ConditionGroup, candidates: Sequence[str], tied: Sequence[str]) -> tuple[Ground, str | None]:
    if not candidates:
        return "nobody", None
    if any(group.blocks((tied[0], name)) < stats.FEWEST_BLOCKS for name in tied):
        return "blocks", None
    if len(candidates) == 1:
        return ("alone", candidates[0]) if len(group.sound) > 1 else ("incomparable", None)
    if len(tied) == 1:
        return "fastest", tied[0]
    for name in tied:
        if all(preferable(group, name, other) for other in tied if other != name):
            return "cheaper", name
    near = all(_is_near(group, name, other) for name in tied for other in tied if other != name)
    return "alike" if near else "scatter", None


def _tied(group: ConditionGroup, candidates: Sequence[str]) -> tuple[str, ...]:
    """The fastest, and all that are told from none of those before them."""
    tied: list[str] = []
    for name in candidates:
        if all(group.verdict(name, other) == "undecided" for other in tied):
            tied.append(name)
    return tuple(tied)


def _is_near(group: ConditionGroup, name: str, other: str) -> bool:
    ratio = group.over("speed", other).get(name)
    return ratio is not None and ratio.low is not None and ratio.low >= NEAR


def preferable(group: ConditionGroup, name: str, other: str) -> bool:
    """Whether a server may be preferred to one that it cannot be told from by speed."""
    clearly_less = any(costs_less(group, cost, name, other) for cost in COSTS)
    clearly_more = any(costs_less(group, cost, other, name) for cost in COSTS)
    return _is_near(group, name, other) and clearly_less and not clearly_more


def costs_less(group: ConditionGroup, cost: Cost, name: str, other: str) -> bool:
    """Whether a server costs clearly less than another: of memory, which hardly varies, by the most that was seen."""
    if cost == "memory":
        ours, theirs = group.figures(name).resident_mb, group.figures(other).resident_mb
        return ours is not None and theirs is not None and ours <= LESS * theirs
    ratio = group.over(cost, other).get(name)
    return ratio is not None and ratio.high is not None and ratio.high <= LESS
