"""What a run of two versions of an application has found, in sentences, which every format begins with."""

from collections.abc import Sequence

from wsgilab.analysis.stats import ALIKE, is_same, turned
from wsgilab.model import CellOfRuns, CostOfRuns, Interval, RunsComparison, Versions
from wsgilab.model.text import times
from wsgilab.report import tables


def findings(comparison: RunsComparison) -> Sequence[str]:
    """What was found of two versions, a sentence for each cell: speed, and the CPU time of a request. None for two runs."""
    named = comparison.versions
    if named is None:
        return ()
    b = f"{named.application} {_as_of(named.b, named.b_revision)}"
    a = _as_of(named.a, named.a_revision)
    return [
        f"{b} {_found(cell, a, f'{cell.cell.server} ({tables.conditions(comparison.b, cell.cell)})')}."
        for cell in comparison.cells
    ]


def question(named: Versions) -> str:
    """Such as `Is shop.wsgi:app at HEAD (B) faster or slower than at v1 (A)?`."""
    b, a = _as_of(named.b, named.b_revision), _as_of(named.a, named.a_revision)
    return f"Is {named.application} {b} (B) faster or slower than {a} (A)?"


def _found(cell: CellOfRuns, a: str, where: str) -> str:
    """The predicate of a sentence about the version B."""
    gates = ", ".join(dict.fromkeys((*cell.a.broken_gates, *cell.b.broken_gates)))
    if not gates or cell.ratio is None:
        return f"{_speed(cell, a)} under {where}{_and_cost(cell)}"
    if cell.cost is None or cell.cost.ratio.low is None:
        return f"is compared with that {a} neither by speed nor by CPU time under {where}: {gates}"
    takes = f"takes {_span(cell.cost.ratio)} times as much CPU time a request as {a}, {_certainty(cell.cost)},"
    return f"{takes} under {where}; its speed is not compared: {gates}"


def _as_of(name: str, revision: str | None) -> str:
    return f"as {name} has it" if revision is None else f"at {name}"


def _speed(cell: CellOfRuns, a: str) -> str:
    ratio = cell.ratio
    if ratio is None:
        return f"is not compared with that {a} ({cell.refused})"
    speed = turned(ratio) if cell.metric == "latency" else ratio
    if cell.verdict != "undecided":
        return f"is {_span(turned(speed) if cell.verdict == 'slower' else speed)} times {cell.verdict} than {a}"
    if cell.same:
        return f"is as fast as {a}, within {100 * ALIKE:g} %,"
    if speed.low is None or speed.high is None:
        return f"is not decided against that {a}: there are too few blocks"
    return f"is {_span(speed)} times as fast as {a}, which decides nothing,"


def _and_cost(cell: CellOfRuns) -> str:
    if cell.cost is None or cell.cost.ratio.low is None:
        return ""
    if is_same(cell.cost.ratio):
        return f"; a request takes the same CPU time, within {100 * ALIKE:g} %"
    return f"; a request takes {_span(cell.cost.ratio)} times the CPU time, {_certainty(cell.cost)}"


def _certainty(cost: CostOfRuns) -> str:
    return "which decides nothing" if cost.verdict == "undecided" else "beyond doubt"


def _span(ratio: Interval) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.median:.2f}"
    return f"{times(ratio.median)} ({times(ratio.low)} to {times(ratio.high)})"
