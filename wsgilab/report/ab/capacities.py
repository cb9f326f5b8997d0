"""The capacities of servers in two runs, in sentences: every format of a comparison of runs has the same."""

from collections.abc import Iterable

from wsgilab.model import CapacityOfRuns, Interval, RunsComparison
from wsgilab.model.text import number
from wsgilab.report import tables


def sentences(comparison: RunsComparison) -> Iterable[str]:
    """One for each server that both have; none unless both runs look for capacity."""
    for each in comparison.capacities:
        server, where = each.cell.server, tables.workload(comparison.b, each.cell.workload)
        figures = f"{_figure(each.a)} in A, {_figure(each.b)} in B"
        yield f"Capacity of {server} ({where}, {each.cell.on}, connection: {each.cell.connection}): {figures}; {_verdict(each)}."


def fallen(each: CapacityOfRuns) -> str:
    """By how much the capacity of B is less, such as `capacity 0.781 times A's (0.702 to 0.853)`."""
    if each.ratio is None:
        return f"capacity {_figure(each.a)} in A, and in B it keeps the limit at no rate that was tried"
    what = "capacity" if each.work == 1 else "capacity for work"
    return f"{what} {each.ratio.median:.3f} times A's ({tables.ends(each.ratio, '{:.3f}'.format)})"


def counts(comparison: RunsComparison) -> str:
    """Of how many servers it is less and more; empty where the runs do not look for it."""
    if not comparison.capacities:
        return ""
    verdicts = [each.verdict for each in comparison.capacities]
    return f"by capacity {verdicts.count('less')} less, {verdicts.count('more')} more"


def _verdict(each: CapacityOfRuns) -> str:
    if each.refused is not None:
        return f"not compared: {each.refused}"
    if each.ratio is None:
        return f"{each.verdict}, because {'B' if each.b is None else 'A'} keeps the limit at no rate that was tried"
    what = "" if each.work == 1 else f" of work, of which a request of B has {each.work:.3f} times as much"
    ends = tables.ends(each.ratio, "{:.3f}".format)
    return f"B has x{each.ratio.median:.3f} ({ends}){what}: {each.verdict}"


def _figure(rps: Interval | None) -> str:
    if rps is None:
        return "none"
    return (
        f"at least {number(rps.median)} requests/s"
        if rps.high is None and rps.low is not None
        else f"{number(rps.median)} requests/s"
    )
