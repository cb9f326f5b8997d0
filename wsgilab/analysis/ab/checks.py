"""What two runs say of each figure where a limit is set, and whether they could have shown a difference at all. Pure."""

import itertools
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from wsgilab.analysis.ab.runs import breaches
from wsgilab.analysis.cell.readings import metric_of
from wsgilab.analysis.stats import FEWEST_BLOCKS, SAME
from wsgilab.model import CellOfRuns, CheckOutcome, Limit, LimitCheck, Metric, RunsComparison
from wsgilab.model.errors import SpecError
from wsgilab.model.text import percent

_SHARE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)\s*")


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


def checks(
    comparison: RunsComparison, limit: Limit | None, need: float | None, absent: Collection[str] = ()
) -> Sequence[LimitCheck]:
    """One for the speed of each cell of either run, and one for its cost where that is compared or the limit is of it. `absent` are
    servers that were asked for, and of which there is no cell: as if one run alone had theirs.

    `breached`: the cell is one of `breaches`. `inconclusive`, with a `need`: it could not have shown a difference of that
    share, either way, because its interval is too wide, a gate is broken, it was not compared, only one run has it, or A
    and B are one run. `skipped`: it could have shown no difference at all, and there is no `need`; or the limit is of the
    other figure. `kept`: none of these.
    """
    breached = set() if limit is None else {cell.cell for cell in breaches(comparison, limit)}
    is_cost = limit is not None and limit.cost
    found = []
    for cell in comparison.cells:
        figures: list[Metric | Literal["cost"]] = [cell.metric]
        if cell.cost is not None or is_cost:
            figures.append("cost")
        for figure in figures:
            outcome: CheckOutcome
            if cell.cell in breached and (figure == "cost") == is_cost:
                outcome, because = "breached", ""
            elif (figure == "cost") == is_cost:
                outcome, because = _could(_unable(comparison, cell, need, of_cost=is_cost), need)
            else:
                outcome, because = "skipped", "the limit is of cost" if is_cost else "no limit is of cost"
            found.append(LimitCheck(cell=cell.cell, figure=figure, of_both=cell, outcome=outcome, because=because))
    for run, cells in (("A", comparison.only_a), ("B", comparison.only_b)):
        outcome, because = _could(f"only {run} has it", need)
        found += [
            LimitCheck(
                cell=cell,
                figure="cost" if is_cost else metric_of(cell),
                of_both=None,
                outcome=outcome,
                because=because,
            )
            for cell in cells
        ]
    outcome, because = _could("it is not up in both versions; see above which was left out, and why", need)
    under = {each.cell.conditions: each.cell for each in comparison.cells}
    for one, server in itertools.product(under.values(), absent):
        found.append(
            LimitCheck(
                cell=replace(one, server=server),
                figure="cost" if is_cost else metric_of(one),
                of_both=None,
                outcome=outcome,
                because=because,
            )
        )
    return found


def _could(unable: str, need: float | None) -> tuple[CheckOutcome, str]:
    """The outcome where nothing is breached; `unable` says why it could not have been."""
    if not unable:
        return "kept", ""
    return "skipped" if need is None else "inconclusive", unable


def _unable(comparison: RunsComparison, cell: CellOfRuns, need: float | None, *, of_cost: bool) -> str:
    """Why a figure of a cell could not have shown a difference of `need`, or any; empty where it could."""
    if comparison.versions is None and (comparison.same or comparison.a.id == comparison.b.id):
        return "A and B are the same run"
    if of_cost:
        if cell.cost is None:
            return cell.refused or "its cost was not read in A and in B, or must not be compared"
        return _too_coarse(cell, cell.cost.detectable, cell.cost.margin, need)
    return cell.refused or "; ".join(_broken(cell)) or _too_coarse(cell, cell.detectable, SAME, need)


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
