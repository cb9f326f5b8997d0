"""How many requests at once: the slots that each server declares, and the requests in flight measured."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress

from wsgilab.model import CellResult, Comparison, by_conditions
from wsgilab.model.text import number
from wsgilab.report import tables
from wsgilab.report.tables import MISSING, Column, Table

COLUMNS = (
    Column("rank", 1, interleaved=True),
    Column("server", 0, numeric=False),
    Column("what it is", 3, numeric=False),
    Column("slots", 0),
    Column("peak in flight", 0),
    Column("mean", 1),
    Column("processes", 2),
    Column("requests/s", 0),
    Column("bound by", 0, numeric=False),
)


def answer(comparison: Comparison) -> Table | None:
    """The answer to the lab's question: the slots that each server declares, and the requests in flight measured, the fastest first.

    Under the conditions that show it best: waiting requests, most servers and most users. None where no request waits; of a user's own
    application the first request is taken for one that does.
    """
    chosen = waiting(comparison)
    seen = any(each.figures is not None and each.figures.peak is not None for each in chosen)
    if not chosen or not (seen or chosen[0].cell.cores):
        return None
    return _table(comparison, chosen, "How many requests at once?")


def overview(comparison: Comparison) -> Table | None:
    """The same of `primary`, whether or not its requests wait; None without cells."""
    chosen = primary(comparison)
    return answer(comparison) or (_table(comparison, chosen, "Requests in flight and throughput") if chosen else None)


def _table(comparison: Comparison, chosen: Sequence[CellResult], title: str) -> Table:
    servers = comparison.run.servers
    shown = [comparison.interleaved or not column.interleaved for column in COLUMNS]
    rows = []
    for result in chosen:
        figures = result.figures
        measured = (MISSING,) * 5
        if figures is not None:
            mean, rps = tables.median(figures.mean_in_flight, "{:.1f}"), number(figures.throughput_rps.median)
            peak, processes = tables.optional(figures.peak, "{}"), tables.optional(figures.processes, "{}")
            measured = (peak, mean, processes, rps, figures.bound_by)
        name = result.cell.server
        declared = tables.slots(result.slots) if result.cell.cores else MISSING
        row = (tables.rank(result), name, servers[name].summary, declared, *measured)
        rows.append(tuple(compress(row, shown)))
    return Table(
        title=f"{title} ({tables.describe(comparison, chosen[0].cell)})",
        columns=tuple(compress(COLUMNS, shown)),
        rows=tuple(rows),
    )


def primary(comparison: Comparison) -> Sequence[CellResult]:
    """The cells that say most of a run, by rank: those of `waiting` or else, of the conditions with most servers, the first."""
    most: Sequence[CellResult] = max(by_conditions(comparison.cells).values(), key=len, default=())
    return waiting(comparison) or sorted(most, key=tables.by_rank)


def waiting(comparison: Comparison) -> Sequence[CellResult]:
    """The cells of `answer`, by rank: of `sleep` or, with a user's own application, of its first request; empty where there are
    none."""
    application = comparison.run.experiment.application
    measured = {result.cell.workload for result in comparison.cells}
    own = () if application is None else (*application.requests, *application.locust_files)
    asked = "sleep" if application is None else next((name for name in own if name in measured), "")
    return of_workload(comparison.cells, asked)


def of_workload(results: Iterable[CellResult], workload: str) -> Sequence[CellResult]:
    """The cells of a workload under the conditions that show concurrency best, by rank: those of most servers, a connection for each
    request, the fewest cores, and the most users."""
    found = [result for result in results if result.cell.workload == workload]
    servers = Counter(result.cell.conditions for result in found)
    best = min(
        (result.cell for result in found),
        key=lambda cell: (-servers[cell.conditions], cell.connection, cell.cores, -(cell.users or 0)),
        default=None,
    )
    return sorted(
        (result for result in found if best is not None and result.cell.conditions == best.conditions),
        key=tables.by_rank,
    )
