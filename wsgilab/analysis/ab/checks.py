"""What two runs say of each figure where a limit is set, and whether they could have shown a difference at all. Pure."""

import itertools
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from wsgilab.analysis import stats
from wsgilab.analysis.cell.readings import metric_of
from wsgilab.analysis.stats import FEWEST_BLOCKS, SAME
from wsgilab.model import (
    CapacityOfRuns,
    Cell,
    CellOfRuns,
    CheckFigure,
    CheckOutcome,
    Limit,
    LimitCheck,
    RunsComparison,
)
from wsgilab.model.errors import SpecError
from wsgilab.model.text import percent

_LIMIT = re.compile(r"\s*(slower|faster|different|cost|capacity)\s*=\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)\s*")
_SHARE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)\s*")


def parse_limit(text: str) -> Limit:
    """Parse a limit such as `slower=5%` or `slower=0.05`; also `faster`, `different`, which is either, `cost`, of which more is too
    much, and `capacity`, of which less is.

    Raises SpecError for any other text, and for 100 % or more.
    """
    if found := _LIMIT.fullmatch(text):
        way, number, percent = found.groups()
        share = float(number) / 100 if percent else float(number)
        if share < 1:
            slower, faster = way in ("slower", "different"), way in ("faster", "different")
            return Limit(slower=slower, faster=faster, share=share, cost=way == "cost", capacity=way == "capacity")
    raise SpecError(
        f"--fail-on {text!r}: must be slower, faster, different, cost or capacity, and a share, such as slower=5%"
    )


def parse_need(text: str) -> float:
    """Parse the difference that every cell must be able to show, such as `5%` or `0.05`.

    Raises SpecError for any other text, for 100 % or more, and for what no comparison can show.
    """
    found = _SHARE.fullmatch(text)
    share = float(found[1]) / (100 if found[2] else 1) if found else 1.0
    if share >= 1:
        raise SpecError(f"--need {text!r}: must be a share, such as 5%")
    if share <= SAME:
        raise SpecError(
            f"--need {text!r}: must be more than {percent(SAME)}, by which two starts of one server may differ"
        )
    return share


def breaches(comparison: RunsComparison, limit: Limit) -> Sequence[CellOfRuns]:
    """The cells that differ by at least the limit, beyond doubt.

    A cell is slower by `share` where its verdict is `slower` and the whole interval of its ratio is below
    1 / (1 + `share`); faster where it is `faster` and the whole interval is above 1 + `share`. Of a latency, which is
    the lower the faster, the other way round. Its cost is more by `share` where that is the verdict and the whole interval is
    above 1 + `share`. Undecided cells, such as those with a broken gate, breach no limit.
    """
    return [cell for cell in comparison.cells if _breaches(cell, limit)]


def _breaches(cell: CellOfRuns, limit: Limit) -> bool:
    if limit.cost:
        low = cell.cost.ratio.low if cell.cost is not None and cell.cost.verdict == "more" else None
        return low is not None and low > 1 + limit.share
    if cell.ratio is None or cell.ratio.low is None or cell.ratio.high is None:
        return False
    beyond = cell.ratio.low > 1 + limit.share or cell.ratio.high < 1 / (1 + limit.share)
    return beyond and ((cell.verdict == "slower" and limit.slower) or (cell.verdict == "faster" and limit.faster))


def checks(
    comparison: RunsComparison, limit: Limit | None, need: float | None, absent: Collection[str] = ()
) -> Sequence[LimitCheck]:
    """One for the speed of each cell of either run, one for its cost where that is compared or the limit is of it, and one for its
    capacity where both runs look for that or the limit is of it. `absent` are servers that were asked for, and of which there is no
    cell: as if one run alone had theirs.

    `breached`: the cell is one of `breaches`, or its capacity `is_less`. `inconclusive`, with a `need`: it could not have shown a
    difference of that share, either way, because its interval is too wide, a gate is broken, it was not compared, only one run has
    it, or A and B are one run. `skipped`: it could have shown no difference at all, and there is no `need`; or what is asked is
    another figure: that of the limit and, without one, capacity of runs that look for it, and else speed. `kept`: none of these.
    """
    breached = set() if limit is None else {cell.cell for cell in breaches(comparison, limit)}
    capacities = {each.cell: each for each in comparison.capacities}
    asked = _asked(comparison, limit)
    found = []
    for cell in comparison.cells:
        capacity = capacities.get(cell.cell)
        figures: list[CheckFigure] = [cell.metric]
        if cell.cost is not None or asked == "cost":
            figures.append("cost")
        if capacity is not None or asked == "capacity":
            figures.append("capacity")
        for figure in figures:
            outcome: CheckOutcome
            if figure != (asked or cell.metric):
                outcome, because = "skipped", _not_asked(figure, asked, limit)
            elif cell.cell in breached or (limit is not None and capacity is not None and is_less(capacity, limit)):
                outcome, because = "breached", ""
            else:
                outcome, because = _could(_unable(comparison, cell, capacity, need, asked), need)
            found.append(
                LimitCheck(
                    cell=cell.cell,
                    figure=figure,
                    of_both=cell,
                    outcome=outcome,
                    because=because,
                    capacity=capacity if figure == "capacity" else None,
                )
            )
    for run, cells in (("A", comparison.only_a), ("B", comparison.only_b)):
        found += _alone(cells, asked, f"only {run} has it", need)
    under = {each.cell.conditions: each.cell for each in comparison.cells}
    without = [replace(one, server=server) for one, server in itertools.product(under.values(), absent)]
    found += _alone(without, asked, "it is not up in both versions; see above which was left out, and why", need)
    return found


_Asked = Literal["cost", "capacity"] | None
"""None: speed."""


def _asked(comparison: RunsComparison, limit: Limit | None) -> _Asked:
    if limit is None:
        # Closed loops of such runs have a block each, which show nothing.
        return "capacity" if comparison.capacities else None
    return "cost" if limit.cost else "capacity" if limit.capacity else None


def _not_asked(figure: CheckFigure, asked: _Asked, limit: Limit | None) -> str:
    if asked is None or (limit is None and figure == "cost"):
        return f"no limit is of {figure}"
    return f"the limit is of {asked}" if limit is not None else f"these runs look for {asked}"


def _alone(cells: Iterable[Cell], asked: _Asked, because: str, need: float | None) -> Iterable[LimitCheck]:
    """Of cells that only one has."""
    outcome, because = _could(because, need)
    for cell in cells:
        yield LimitCheck(cell=cell, figure=asked or metric_of(cell), of_both=None, outcome=outcome, because=because)


def is_less(found: CapacityOfRuns, limit: Limit) -> bool:
    """Whether a limit is of capacity, and that of B is less than that of A by at least so much, beyond doubt: by verdict, and with the
    whole interval of their ratio below 1 / (1 + the limit's share)."""
    if not limit.capacity or found.verdict != "less":
        return False
    # There is no ratio where B keeps to its limits at no rate.
    return found.ratio is None or (found.ratio.high is not None and found.ratio.high < 1 / (1 + limit.share))


def _could(unable: str, need: float | None) -> tuple[CheckOutcome, str]:
    """The outcome where nothing is breached; `unable` says why it could not have been."""
    if not unable:
        return "kept", ""
    return "skipped" if need is None else "inconclusive", unable


def _unable(
    comparison: RunsComparison, cell: CellOfRuns, capacity: CapacityOfRuns | None, need: float | None, asked: _Asked
) -> str:
    """Why a figure of a cell could not have shown a difference of `need`, or any; empty where it could."""
    if comparison.versions is None and (comparison.same or comparison.a.id == comparison.b.id):
        return "A and B are the same run"
    if asked == "capacity":
        if capacity is None:
            return cell.refused or "its capacity was not looked for in A and in B"
        return _capacity_too_coarse(capacity, need)
    if asked == "cost":
        if cell.cost is None:
            return cell.refused or "its cost was not read in A and in B, or must not be compared"
        return _too_coarse(cell, cell.cost.detectable, cell.cost.margin, need)
    if capacity is not None:
        return "where capacity is looked for, nothing but that is compared: --fail-on capacity=5%"
    return cell.refused or "; ".join(_broken(cell)) or _too_coarse(cell, cell.detectable, SAME, need)


def _capacity_too_coarse(found: CapacityOfRuns, need: float | None) -> str:
    if found.refused:
        return found.refused
    # What is more, by however much, is not less; and of what is none at all there is no ratio.
    if found.verdict == "more" or found.ratio is None:
        return ""
    least = stats.detectable(found.ratio)
    if least is None:
        return "too few windows of A or B are near it, or a higher rate was not tried; a longer --budget may tell"
    if need is None or least <= need:
        return ""
    return f"its windows scatter too much to show less than {percent(least)}; a longer --budget might"


def _broken(cell: CellOfRuns) -> Iterable[str]:
    for name, side in (("A", cell.a), ("B", cell.b)):
        if side.broken_gates:
            yield f"nothing is concluded, because of {name}: {', '.join(side.broken_gates)}"


_FEWEST_TO_GUESS = 8
"""From so many blocks on, how many more would do is guessed within a factor of 1.6 in four of five cases, as simulated."""
_MOST_GUESSED = 1000


def _too_coarse(cell: CellOfRuns, detectable: float | None, beyond: float, need: float | None) -> str:
    """`beyond`: by how much more than nothing a difference must be shown to be."""
    if detectable is None:
        return (
            f"a comparison needs {FEWEST_BLOCKS} blocks of each run at least, and A has {cell.a.blocks} and B has "
            f"{cell.b.blocks}"
        )
    if need is None or detectable <= need:
        return ""
    too_coarse = f"its blocks scatter too much to show less than {percent(detectable)}"
    blocks = _enough(min(cell.a.blocks, cell.b.blocks), detectable, beyond, need)
    return f"{too_coarse}; about {blocks} blocks of each run might" if blocks else too_coarse


def _enough(blocks: int, detectable: float, beyond: float, need: float) -> int | None:
    """How many blocks of each run may suffice: an interval is the narrower by the square root of them. None where that is not
    known."""
    if blocks < _FEWEST_TO_GUESS or need <= beyond:
        return None
    times = (math.log((1 + detectable) / (1 + beyond)) / math.log((1 + need) / (1 + beyond))) ** 2
    return math.ceil(round(blocks * times, 6)) if blocks * times <= _MOST_GUESSED else None
