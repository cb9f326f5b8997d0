"""The comparison as tables of text: what the terminal and Markdown have in common."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsgilab.model import Cell, CellResult, Comparison, PairResult

MISSING = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A titled table; `numeric` columns are aligned right. `notes` are printed below it."""

    title: str
    columns: tuple[str, ...]
    numeric: frozenset[int]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


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
        columns=("server", "what it is", "slots", "peak in flight", "mean", "processes", "requests/s", "bound by"),
        numeric=frozenset({2, 3, 4, 5, 6}),
        rows=tuple(rows),
        notes=(),
    )


def groups(comparison: Comparison) -> Iterable[Table]:
    """One table for each workload and its conditions, with every figure and every warning."""
    pairs = {(pair.server, _pair_conditions(pair)): pair for pair in comparison.pairs}
    conditions = dict.fromkeys(_conditions(result.cell) for result in comparison.cells)
    for each in conditions:
        results = [result for result in comparison.cells if _conditions(result.cell) == each]
        yield Table(
            title=describe(comparison, results[0].cell),
            columns=(
                "server",
                "in flight",
                "busiest",
                "requests/s",
                "(blocks)",
                f"x {comparison.run.experiment.reference}",
                "p50 ms",
                "p99 ms",
                "CPU ms",
                "CPU",
                "generator",
                "MB",
                "bound by",
            ),
            numeric=frozenset(range(1, 12)),
            rows=tuple(_row(result, pairs.get((result.cell.server, each))) for result in results),
            notes=tuple(f"{result.cell.server}: {warning}" for result in results for warning in result.warnings),
        )


def _row(result: CellResult, pair: PairResult | None) -> tuple[str, ...]:
    figures = result.figures
    if figures is None:
        return (result.cell.server, *[MISSING] * 12)
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
        optional(figures.cpu_ms_per_request, "{:.2f}"),
        optional(figures.server_cpu, "{:.0%}"),
        f"{figures.generator_cpu:.0%}",
        optional(figures.resident_mb, "{:.0f}"),
        figures.bound_by,
    )


def _ratio(pair: PairResult | None) -> str:
    if pair is None:
        return MISSING
    sign = {"faster": " faster", "slower": " slower", "undecided": " undecided"}[pair.verdict]
    return f"{pair.ratio.median:.2f}{sign}"


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
    ("requests/s", "correct answers a second, median over blocks, and the lowest and highest block"),
    ("x reference", "median of the ratios paired by block, and the verdict at 5 % for all comparisons together"),
    ("CPU ms", "CPU time of all the server's processes, a request"),
    ("CPU", "share of the server's pinned cores"),
    ("generator", "share of the generator's core; from 80 % on it may be what is measured"),
    ("MB", "resident memory of the whole server"),
    ("bound by", "slots, cpu, gil, balance, generator, demand (no more users to serve) or unexplained"),
)
