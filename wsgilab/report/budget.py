"""What a run with a budget has decided, what it left, and what that would take: the sentences of every format."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from wsgilab.analysis.stats import FEWEST_PAIRED, SAME
from wsgilab.model import BudgetOutcome, Comparison, OpenComparison, PairResult
from wsgilab.report import tables

_NAMED = 4
"""How many comparisons a line names at most."""
_LONGEST_S = 3600
"""What takes longer is not worth a figure."""

_IN_SECONDS = 95
"""Longer times are in minutes."""
_OVER_S = 5
"""The last block may end so much later than the budget."""


def sentences(comparison: Comparison) -> Sequence[str]:
    """Empty without a budget."""
    found = comparison.budget
    if found is None:
        return ()
    first = f"The budget of {found.budget_s:g} s has decided {found.decided} of {found.comparisons} comparisons."
    if found.spoilt:
        first += f" Of {found.spoilt} more nothing is concluded, because of broken gates."
    if found.by_cost:
        first += (
            f" {found.by_cost} of the others {'is' if found.by_cost == 1 else 'are'} decided by CPU time a request, though not by speed: "
            "both servers are bound by CPU."
        )
    if found.used_s > found.budget_s + _OVER_S:
        first += f" Two whole blocks come first in any case; all trials took {found.used_s:.0f} s."
    by_conditions: dict[str, list[OpenComparison]] = defaultdict(list)
    for each in found.left:
        by_conditions[tables.describe(comparison, each.cell)].append(each)
    return (first, *(f"Left open: {described}: {_each(left)}." for described, left in by_conditions.items()))


def _each(left: Sequence[OpenComparison]) -> str:
    words = list(_words(left[:_NAMED]))
    if more := left[_NAMED:]:
        words.append(f"and {len(more)} more")
    return "; ".join(words)


def _words(left: Iterable[OpenComparison]) -> Iterable[str]:
    for each in left:
        pair = f"{each.cell.server} against {each.other}"
        cost = "" if each.cost == "undecided" else f"a request takes {each.cost} CPU time"
        if each.more_s is None or each.more_s > _LONGEST_S:
            yield f"{pair} (too close for any reasonable time{cost and f'; {cost}'})"
        else:
            yield f"about {_time(each.more_s)} more for {pair}{cost and f' ({cost})'}"


def _time(seconds: float) -> str:
    """In words, no more exact than such a forecast is."""
    if seconds < _IN_SECONDS:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{round(seconds / 60)} min"


# --- what is open, in short


def open_questions(comparison: Comparison) -> Sequence[str]:
    """How many comparisons are decided, what is open, and what it would take to settle that: three sentences at most. Empty where
    nothing is compared."""
    if comparison.budget is not None:
        return tuple(_of_budget(comparison, comparison.budget))
    return tuple(_of_blocks(comparison))


def _of_budget(comparison: Comparison, found: BudgetOutcome) -> Iterable[str]:
    yield sentences(comparison)[0]
    near = [each for each in found.left if each.more_s is not None and each.more_s <= _LONGEST_S]
    if near:
        nearest, more_s = near[0], math.fsum(each.more_s or 0.0 for each in near)
        where = tables.brief(comparison, nearest.cell)
        settle = "settle it" if len(near) == 1 else f"settle {len(near)}"
        yield (
            f"Open: {len(found.left)}. About {_time(more_s)} more may {settle} "
            f"(--budget {_rounded(found.budget_s + more_s)}); the nearest is {nearest.cell.server} against {nearest.other} "
            f"({where}): {_time(nearest.more_s or 0.0)}."
        )
    if far := len(found.left) - len(near):
        yield f"Too close to tell in any reasonable time: {far}."


def _rounded(seconds: float) -> str:
    """A budget, as the option takes it."""
    return f"{10 * math.ceil(seconds / 10)}s" if seconds < _IN_SECONDS else f"{math.ceil(seconds / 60)}min"


def _of_blocks(comparison: Comparison) -> Iterable[str]:
    """Without a budget: the same in blocks, of which a run has the same number for all cells."""
    sound = [pair for pair in comparison.pairs if not pair.broken_gates]
    left = [pair for pair in sound if pair.verdict == "undecided" and not pair.same]
    spoilt = len(comparison.pairs) - len(sound)
    if comparison.pairs:
        first = f"{len(sound) - len(left)} of {len(sound)} comparisons are decided."
        yield first + (f" Of {spoilt} more nothing is concluded, because of broken gates." if spoilt else "")
    blocks = max((pair.blocks for pair in left), default=0)
    needed = [(_blocks(pair), pair) for pair in left]
    near = sorted(((many, pair) for many, pair in needed if many is not None), key=lambda each: each[0])
    if near:
        most, (fewest, nearest) = near[-1][0], near[0]
        where = tables.brief(comparison, nearest.cell)
        settle = "settle it" if len(near) == 1 else f"settle {len(near)}"
        yield (
            f"Open: {len(left)}. With --blocks {most}, {most / blocks:.2g} times as long, a run may {settle}; the nearest is "
            f"{nearest.cell.server} against {nearest.reference} ({where}): {fewest} blocks."
        )
    if far := len(left) - len(near):
        yield f"Too close to tell in any reasonable time: {far}."


_MOST_TIMES = 16
"""A run that is so many times as long is not worth its time."""


def _blocks(pair: PairResult) -> int | None:
    """How many blocks may decide a comparison, were its ratio what it seems: the interval shrinks with the root of their number.
    None where that is too many."""
    ratio, blocks = pair.ratio, pair.blocks
    if ratio.low is None or ratio.high is None or not ratio.low > 0:
        # Below the fewest that a comparison needs, there is no interval.
        return max(2 * blocks, FEWEST_PAIRED)
    away, reach = abs(math.log(ratio.median)) - math.log(1 + SAME), math.log(ratio.high / ratio.low) / 2
    if away <= 0 or (reach / away) ** 2 > _MOST_TIMES:
        return None
    return max(blocks + 1, math.ceil(blocks * (reach / away) ** 2))
