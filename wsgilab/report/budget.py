"""What a run with a budget has decided, what it left, and what that would take: the sentences of every format."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from wsgilab.model import Comparison, OpenComparison
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
