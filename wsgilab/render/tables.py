"""The comparison as tables of text: what the terminal and Markdown have in common."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.model import Cell, CellResult, Comparison, PairResult

MISSING = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading; how much it matters where there is no room for all, 0 most; whether it holds numbers."""

    heading: str
    rank: int
    numeric: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A titled table. `notes` are printed below it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


ANSWER_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("what it is", 3, numeric=False),
    Column("slots", 0),
    Column("peak in flight", 0),
    Column("mean", 1),
    Column("processes", 2),
    Column("requests/s", 0),
    Column("bound by", 0, numeric=False),
)
GROUP_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("in flight", 0),
    Column("busiest", 3),
    Column("requests/s", 0),
    Column("blocks", 5),
    Column("x reference", 1),
    Column("p50 ms", 2),
    Column("p99 ms", 2),
    Column("CPU", 4),
    Column("CPU ms", 6),
    Column("MB", 6),
    Column("generator", 7),
    Column("bound by", 0, numeric=False),
)


def answer(comparison: Comparison) -> Table | None:
    """The question itself: slots declared against requests in flight measured, for each server.

    From the conditions that show it best: waiting requests and the most users. None where nothing waits.
    """
    sleeping = [result for result in comparison.cells if result.cell.workload == "sleep"]
    if not sleeping:
        return None
    conditions = min((_conditions(result.cell) for result in sleeping), key=lambda each: (each[3], each[1], -each[2]))
    chosen = [result for result in sleeping if _conditions(result.cell) == conditions]
    servers = comparison.run.servers
    rows = []
    for result in chosen:
        figures = result.figures
        rows.append(
            (
                result.cell.server,
                servers[result.cell.server].summary,
                slots(result.slots),
                MISSING if figures is None else str(figures.peak),
                MISSING if figures is None else f"{figures.mean_in_flight:.1f}",
                MISSING if figures is None else str(figures.processes),
                MISSING if figures is None else number(figures.throughput_rps.median),
                MISSING if figures is None else figures.bound_by,
            )
        )
    return Table(
        title=f"How many requests at once? ({describe(comparison, chosen[0].cell)})",
        columns=ANSWER_COLUMNS,
        rows=tuple(rows),
    )


def groups(comparison: Comparison) -> Iterable[Table]:
    """One table for each workload and its conditions, with every figure and every warning."""
    pairs = {(pair.server, _pair_conditions(pair)): pair for pair in comparison.pairs}
    conditions = dict.fromkeys(_conditions(result.cell) for result in comparison.cells)
    for each in conditions:
        results = [result for result in comparison.cells if _conditions(result.cell) == each]
        yield Table(
            title=_title(comparison, results, pairs),
            columns=GROUP_COLUMNS,
            rows=tuple(_row(result, pairs.get((result.cell.server, each))) for result in results),
            notes=tuple(f"{result.cell.server}: {warning}" for result in results for warning in result.warnings),
        )


def _title(
    comparison: Comparison,
    results: Sequence[CellResult],
    pairs: Mapping[tuple[str, tuple[str, int, int, str]], PairResult],
) -> str:
    described = describe(comparison, results[0].cell)
    compared = any((result.cell.server, _conditions(result.cell)) in pairs for result in results)
    return described + (f"; reference: {comparison.run.experiment.reference}" if compared else "")


def _row(result: CellResult, pair: PairResult | None) -> tuple[str, ...]:
    figures = result.figures
    if figures is None:
        return (result.cell.server, *[MISSING] * (len(GROUP_COLUMNS) - 1))
    rps = figures.throughput_rps
    return (
        result.cell.server,
        f"{figures.peak} of {slots(result.slots)}",
        optional(figures.busiest_share, "{:.2f}") if (figures.busiest_share or 1) != 1 else MISSING,
        number(rps.median),
        MISSING if rps.low is None or rps.high is None else f"{number(rps.low)} to {number(rps.high)}",
        _ratio(pair),
        number(figures.latency_ms["p50"]),
        number(figures.latency_ms["p99"]),
        optional(figures.server_cpu, "{:.0%}"),
        optional(figures.cpu_ms_per_request, "{:.2f}"),
        optional(figures.resident_mb, "{:.0f}"),
        f"{figures.generator_cpu:.0%}",
        figures.bound_by,
    )


def _ratio(pair: PairResult | None) -> str:
    if pair is None:
        return MISSING
    return f"{pair.ratio.median:.2f} {pair.verdict}"


def describe(comparison: Comparison, cell: Cell) -> str:
    """The conditions of a cell in words, such as `sleep 50 ms, 32 users, 1 core, connection: close`."""
    parameters = comparison.run.experiment.parameters.get(cell.workload, {})
    amount = "".join(f" {value:g} {name}" for name, value in parameters.items())
    cores = "1 core" if cell.cores == 1 else f"{cell.cores} cores"
    return f"{cell.workload}{amount}, {cell.users} users, {cores}, connection: {cell.connection}"


def slots(count: int | None) -> str:
    return "∞" if count is None else str(count)


def number(value: float) -> str:
    """Three significant digits at least, never an exponent: `0.61`, `78.9`, `1,534`."""
    for least, form in ((100, "{:,.0f}"), (10, "{:.1f}")):
        if value >= least:
            return form.format(value)
    return f"{value:.2f}"


def optional(value: float | None, form: str) -> str:
    return MISSING if value is None else form.format(value)


def _conditions(cell: Cell) -> tuple[str, int, int, str]:
    return cell.workload, cell.cores, cell.users, cell.connection


def _pair_conditions(pair: PairResult) -> tuple[str, int, int, str]:
    return pair.workload, pair.cores, pair.users, pair.connection


LEGEND: Sequence[tuple[str, str]] = (
    ("in flight", "the most requests inside the application at one moment, of the slots declared (∞: unbounded)"),
    ("busiest", "requests of the busiest process over its even share: 1 is even, 2 of 2 processes is one doing it all"),
    ("requests/s", "correct answers a second, the median of the blocks"),
    ("blocks", "the slowest and the fastest block's requests/s"),
    ("x reference", "throughput over the reference's, the median of ratios paired by block, with the verdict at 5 %"),
    ("p50 ms, p99 ms", "latency as users saw it, waiting in the server's queue included"),
    ("CPU", "share of the server's pinned cores"),
    ("CPU ms", "CPU time of all the server's processes, a request"),
    ("MB", "resident memory of the whole server"),
    ("generator", "share of the generator's core; from 80 % on the generator may be what is measured"),
    ("bound by", "slots, cpu, gil, balance, generator, demand (no more users to serve) or unexplained"),
)
