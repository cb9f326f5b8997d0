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


def _verdict(each: CapacityOfRuns) -> str:
    if each.ratio is None:
        return f"not compared: {each.refused}"
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
