"""The capacity of servers in words and as a table: every format of a comparison has the same."""

from collections.abc import Iterable, Sequence

from wsgilab.model import (
    CapacityGroup,
    CapacityOutcome,
    CapacityRatio,
    Cell,
    CheckOutcome,
    Comparison,
    ServerCapacity,
)
from wsgilab.model.text import number, times
from wsgilab.report import tables
from wsgilab.report.tables import Column, Table

_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 3, numeric=False),
    Column("capacity, requests/s", 0),
    Column("interval", 0),
    Column("x reference", 1, numeric=False),
    Column("its interval", 2),
    Column("limited by", 0, numeric=False),
    Column("p95 ms at half", 1),
    Column("windows", 2),
)


def sentences(comparison: Comparison) -> Sequence[str]:
    """What capacity is here, who has most of it, and what a reader must know; empty where it was not looked for."""
    found = comparison.capacity
    if found is None:
        return ()
    return (
        _definition(found),
        *most(comparison),
        *(sentence for each in found.servers for sentence in _of_server(comparison, found, each)),
        f"Trials took {found.used_s:.0f} s of the budget of {found.budget_s:g} s.",
    )


def most(comparison: Comparison) -> Sequence[str]:
    """Who has most of it, a sentence for each of the conditions; empty where it was not looked for."""
    found = comparison.capacity
    return () if found is None else [_most(comparison, found, group) for group in found.groups]


def _definition(found: CapacityOutcome) -> str:
    spaced = "at random (Poisson arrivals)" if found.arrivals == "poisson" else "evenly"
    return (
        f"Capacity is the highest rate of requests, spaced {spaced}, at which 95 of 100 are answered within {found.p95_ms:g} ms of "
        f"when they were due and no more than {100 * found.failures:g} % fail."
    )


def _most(comparison: Comparison, found: CapacityOutcome, group: CapacityGroup) -> str:
    where = (
        f"{tables.workload(comparison.run, group.cells[0].workload)}, {group.cells[0].on}: "
        if len(found.groups) > 1
        else ""
    )
    servers = {each.cell.server: each for each in found.servers if each.cell in group.cells}
    best = [servers[name] for name in group.best]
    if not best:
        if any(each.broken for each in servers.values()):
            return f"{where}Which of them has the most capacity is not known, because of what disturbed them."
        return f"{where}No server keeps the limit at any rate that was tried."
    if len(best) > 1:
        return f"{where}Any of these: {_listed(map(_named, best))}. Which of them has the most capacity is undecided."
    if len(servers) == 1:
        return f"{where}{_named(best[0])}."
    others = [servers[name] for name in servers if servers[name].rps is not None and name != group.best[0]]
    if not others:
        return f"{where}{_named(best[0])}; no other server keeps the limit."
    second = max(others, key=lambda each: each.rps.median if each.rps is not None else 0.0)
    ratio = _ratio(found, best[0].cell, second.cell)
    than = "" if ratio is None else f", {ratio} that of {second.cell.server}"
    return f"{where}{best[0].cell.server} has the most capacity: {_figure(best[0])}{than}."


def _ratio(found: CapacityOutcome, cell: Cell, other: Cell) -> str | None:
    """How many times the capacity of another server a server has."""
    for each in found.ratios:
        if (each.cell, each.other) == (cell, other.server):
            return _times(each.ratio.median, each.ratio.low, each.ratio.high)
        if each.cell == other and each.other == cell.server:
            low, high = (None if end is None else 1 / end for end in (each.ratio.high, each.ratio.low))
            return _times(1 / each.ratio.median, low, high)
    return None


def _times(median: float, low: float | None, high: float | None) -> str:
    if low is None:
        return f"x{times(median)}" if high is None else f"at most x{times(high)}"
    if high is None:
        return f"at least x{times(low)}"
    return f"x{times(median)} ({times(low)} to {times(high)})"


def _named(each: ServerCapacity) -> str:
    return f"{each.cell.server} with {_figure(each)}"


def _figure(each: ServerCapacity) -> str:
    """Requests a second, with the interval."""
    if each.rps is None:
        return "none"
    if each.status == "at-least":
        return f"at least {number(each.rps.median)} requests/s"
    ends = tables.ends(each.rps, number)
    return f"{number(each.rps.median)} requests/s" + ("" if ends == tables.MISSING else f" ({ends})")


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _of_server(comparison: Comparison, found: CapacityOutcome, each: ServerCapacity) -> Iterable[str]:
    server = each.cell.server
    if len(found.groups) > 1:
        server += f" ({tables.workload(comparison.run, each.cell.workload)}, {each.cell.on})"
    if each.status == "none" and each.tried:
        lowest = each.tried[0]
        yield (
            f"{server} does not keep the limit at any rate that was tried: at {lowest.rate:g} requests/s, the lowest, 95 % took up to "
            f"{number(lowest.p95_ms)} ms" + (f", and {lowest.failures} failed." if lowest.failures else ".")
        )
    if each.status == "unknown":
        yield f"{server}: no capacity, because none of its windows can be used."
    if each.status == "at-least" and each.rps is not None:
        why = (
            "it had no more time; a longer --budget goes on"
            if each.limited_by == "the budget"
            else "the generator can make no more; --generator-cores 2 loads from two cores"
        )
        yield f"{server} keeps the limit at {number(each.rps.median)} requests/s, the highest rate that was measured: {why}."
    if each.broken:
        yield f"{server} is not compared with others, because of what disturbed it."
    yield from (f"{server}: {warning}." for warning in each.warnings)


def beside_need(comparison: Comparison, each: ServerCapacity, outcome: CheckOutcome) -> str:
    """Of a server that cannot take as much as is needed, or of which that is not known: its capacity, with the interval."""
    why = ""
    if outcome == "inconclusive":
        why = "; others disturbed it" if each.broken else "; a longer --budget may tell"
        if each.status == "at-least" and each.limited_by != "the budget":
            why = "; the generator can make no more: --generator-cores 2"
    return f"{each.cell.server}: {conditions(comparison, each)}: {_figure(each)}{why}"


def conditions(comparison: Comparison, each: ServerCapacity) -> str:
    """Those of a server, without a load."""
    cell = each.cell
    return f"{tables.workload(comparison.run, cell.workload)}, {cell.on}, connection: {cell.connection}"


def table(comparison: Comparison) -> Table | None:
    """A row for each server; None where capacity was not looked for."""
    found = comparison.capacity
    if found is None:
        return None
    ratios = {each.cell: each for each in found.ratios if each.other == comparison.run.experiment.reference}
    return Table(
        title=f"Capacity: p95 within {found.p95_ms:g} ms, {found.arrivals} arrivals",
        columns=_COLUMNS,
        rows=tuple(_row(comparison, each, ratios.get(each.cell)) for each in found.servers),
    )


def _row(comparison: Comparison, each: ServerCapacity, ratio: CapacityRatio | None) -> tuple[str, ...]:
    cell, rps = each.cell, each.rps
    capacity = {"none": "none", "unknown": tables.MISSING}.get(each.status, "")
    if rps is not None:
        capacity = f"at least {number(rps.median)}" if each.status == "at-least" else number(rps.median)
    return (
        cell.server,
        conditions(comparison, each),
        capacity,
        tables.MISSING if rps is None else tables.ends(rps, number),
        tables.MISSING if ratio is None else f"{ratio.ratio.median:.2f} {ratio.verdict}",
        tables.MISSING if ratio is None else tables.ends(ratio.ratio, times),
        each.limited_by or tables.MISSING,
        tables.MISSING if each.half_p95_ms is None else number(each.half_p95_ms),
        str(each.windows) if each.windows else tables.MISSING,
    )
