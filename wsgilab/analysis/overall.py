"""One server for several workloads: the one whose worst share of the best speed is highest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wsgilab.analysis import stats
from wsgilab.analysis.choice import Choice
from wsgilab.model import Interval

Ground = Literal["best", "alone", "blocks", "scatter", "nobody"]
"""Why an overall choice is what it is: the first two decide, the others do not."""

_ALL = Interval(median=1.0, low=1.0, high=1.0)
_UNKNOWN = Interval(median=0.0, low=None, high=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """A server's smallest share of a workload's best speed, and the workload in which that is so."""

    share: Interval
    workload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """What can be said of one server for all workloads (Wald 1945, doi:10.2307/1969022, decides by the worst case too)."""

    choices: tuple[Choice, ...]
    """One a workload, under otherwise equal conditions."""
    ground: Ground
    server: str | None
    shares: Mapping[str, Mapping[str, Interval]]
    """Server -> workload -> its speed over that of the fastest that may be advised there, 1 for that one itself; of
    those that may be advised in every workload, the best first."""
    worst: Mapping[str, Worst]
    """Of the same."""
    tied: tuple[str, ...]
    """All whose worst share cannot be told from the best."""
    left_out: Mapping[str, str]


def overall(choices: Sequence[Choice]) -> Overall:
    """The choice for several workloads, two at least, from the choice for each.

    The intervals of all ratios hold at once. So the least of the lower and the least of the upper ends of a server's
    ratios to the others hold its share of the best speed, whichever has that; and the least ends of its shares hold the
    worst one. A server is advised where the lower end of its worst share is above the upper end of every other's.
    """
    everywhere = [name for name in choices[0].candidates if all(name in each.candidates for each in choices)]
    shares = {name: {each.group.cell.workload: _share(each, name) for each in choices} for name in everywhere}
    worst = {name: _worst(each) for name, each in shares.items()}
    ranked = sorted(everywhere, key=lambda name: -worst[name].share.median)
    tied = tuple(name for name in ranked if name == ranked[0] or not _is_worse(worst[name], worst[ranked[0]]))
    return Overall(
        choices=tuple(choices),
        ground=(ground := _ground(choices, worst, tied)),
        server=tied[0] if ground in ("best", "alone") else None,
        shares={name: shares[name] for name in ranked},
        worst={name: worst[name] for name in ranked},
        tied=tied,
        left_out=_left_out(choices),
    )


def _share(choice: Choice, name: str) -> Interval:
    over = (choice.group.over("speed", other).get(name, _UNKNOWN) for other in choice.candidates if other != name)
    return _least([_ALL, *over])


def _least(ratios: Sequence[Interval]) -> Interval:
    """What the least of them is; without ends where one of them has none."""
    lows = [each.low for each in ratios if each.low is not None]
    highs = [each.high for each in ratios if each.high is not None]
    known = len(lows) == len(highs) == len(ratios)
    median = min(each.median for each in ratios)
    return Interval(median=median, low=min(lows) if known else None, high=min(highs) if known else None)


def _worst(shares: Mapping[str, Interval]) -> Worst:
    workload = min(shares, key=lambda each: shares[each].median)
    return Worst(share=_least(list(shares.values())), workload=workload)


def _is_worse(worst: Worst, best: Worst) -> bool:
    high, low = worst.share.high, best.share.low
    return high is not None and low is not None and high < low / (1 + stats.SAME)


def _ground(choices: Sequence[Choice], worst: Mapping[str, Worst], tied: Sequence[str]) -> Ground:
    if not tied:
        return "nobody"
    if any(
        choice.group.blocks((choice.candidates[0], name)) < stats.FEWEST_BLOCKS for choice in choices for name in tied
    ):
        return "blocks"
    if len(tied) > 1:
        return "scatter"
    return "best" if len(worst) > 1 else "alone"


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
