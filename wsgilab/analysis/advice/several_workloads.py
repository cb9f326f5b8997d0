"""One advice for several workloads, from what the rule of `recommend` says of each.

A server is as good as the worst of its shares of the best speed in each (Wald 1945, doi:10.2307/1969022, decides by the worst
case too). The best is advised if every other one is worse for sure.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from wsgilab.analysis import stats
from wsgilab.analysis.advice.candidates import Candidates, Choice
from wsgilab.model import Advice, AdviceReason, Alternative, Cell, Interval, Wish

MOST_CHANGES = 5
"""The most changes that an advice names."""
_ALL = Interval(median=1.0, low=1.0, high=1.0)
_UNKNOWN = Interval(median=0.0, low=None, high=None)


def conditions_of(cell: Cell) -> tuple[object, ...]:
    """Workload, cores, load, connection and circumstances."""
    return cell.workload, cell.cores, (cell.users, cell.rate, cell.arrivals), cell.connection, cell.circumstances


def common_blocks(choices: Sequence[Choice], tied: Sequence[str]) -> int:
    """The fewest blocks that any of the tied has in common with the fastest, in any of the choices."""
    return min(choice.group.blocks((choice.eligible[0], name)) for choice in choices for name in tied)


def for_several_workloads(choices: Sequence[Choice], wish: Wish) -> Iterable[Advice]:
    """One for each of the conditions but the workload, where several workloads have two measured servers in common."""
    alike: dict[tuple[object, ...], list[Choice]] = defaultdict(list)
    for choice in choices:
        alike[conditions_of(choice.group.cell)[1:]].append(choice)
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
    blocks = common_blocks(choices, tied) if tied else 0
    reason: AdviceReason = "scatter" if len(tied) > 1 else "fastest" if len(ranked) > 1 else "alone"
    if blocks < stats.FEWEST_PAIRED:
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
        runner_up=_worst_for(choices, shares[others[0]]).beside(others[0], tied[0]) if others else None,
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
