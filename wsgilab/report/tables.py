"""The comparison as tables of text, for every format but YAML."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from wsgilab.analysis.stats import ALIKE, FEWEST_PAIRED
from wsgilab.model import (
    Cell,
    CellOfRuns,
    CellResult,
    CellWarning,
    Comparison,
    Conditions,
    Interval,
    PairResult,
    Run,
    by_conditions,
)
from wsgilab.model.errors import SpecError
from wsgilab.model.text import number, times

MISSING = "–"
SAME_WITHIN = f"same within {100 * ALIKE:g} %"
PARTS = (
    "Connect: until the connection was open. Queue: from then until the request entered the application, and on a schedule "
    "what it was begun late. Service: until it left the application. Back: until its user had read the whole answer. "
    "nginx, waitress and tornado read a request's body before they enter the application, so that a slow one is queue with "
    "them, and service with others; tornado holds finished answers back and sends them together, and that wait is back."
)
"""What the parts of a latency are, and what they mean for servers that stand apart."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    heading: str
    rank: int
    """Where there is no room for all columns, those with the lowest ranks are shown; 0 always is."""
    numeric: bool = True
    interleaved: bool = False
    """Only interleaved trials have such figures."""
    optional: bool = False
    """It is left out where no cell has such a figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A titled table. `notes` are printed below it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


GROUP_COLUMNS = (
    Column("rank", 2, interleaved=True),
    Column("server", 0, numeric=False),
    Column("in flight", 0),
    Column("busiest", 4),
    Column("busiest user", 4, optional=True),
    Column("requests/s", 0),
    Column("interval", 5, interleaved=True),
    Column("of limit", 6),
    Column("x reference", 1, numeric=False, interleaved=True),
    Column("its interval", 5, interleaved=True),
    Column("x cost", 4, numeric=False, interleaved=True, optional=True),
    Column("cost interval", 9, interleaved=True, optional=True),
    Column("p50 ms", 3),
    Column("p99 ms", 3),
    Column("round trip ms", 4, optional=True),
    Column("CPU", 5),
    Column("CPU ms", 7),
    Column("MB", 7),
    Column("PSS MB", 9, optional=True),
    Column("private MB", 9, optional=True),
    Column("OS threads", 8, optional=True),
    Column("failed", 3, optional=True),
    Column("longest gap ms", 3, optional=True),
    Column("lost capacity", 3, optional=True),
    Column("throttled", 4, optional=True),
    Column("generator", 8),
    Column("backends", 8, optional=True),
    Column("lost", 4, optional=True),
    Column("given up", 3, optional=True),
    Column("for nobody", 3, optional=True),
    Column("first event ms", 3, optional=True),
    Column("event gap ms", 4, optional=True),
    Column("silent closed", 3, optional=True),
    Column("after s", 3, optional=True),
    Column("bound by", 0, numeric=False),
    Column("because", 9, numeric=False),
)
REQUEST_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("request", 0, numeric=False),
    Column("requests/s", 0),
    Column("mean ms", 0),
    Column("p50 ms", 0),
    Column("p95 ms", 0),
)
"""Medians of the blocks."""


PARTS_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 1, numeric=False),
    Column("connect ms", 1),
    Column("queue ms", 0),
    Column("service ms", 0),
    Column("back ms", 1),
    Column("mean latency ms", 0),
)


def by_rank(result: CellResult) -> tuple[bool, int, float]:
    """The key that sorts by rank. Of servers that cannot be told apart the faster comes first; what has no rank comes last."""
    if result.rank is None or result.figures is None:
        return True, 0, 0.0
    # At a fixed rate all that keep up are as fast.
    first = 0 if result.cell.rate is None else result.rank.first
    return False, first, -result.figures.throughput_rps.median


def groups(comparison: Comparison) -> Iterable[Table]:
    """One table for each workload and its conditions, with every figure and every warning."""
    for results in by_conditions(comparison.cells).values():
        yield _group(comparison, results)


def largest(comparison: Comparison) -> Table | None:
    """Of `groups`, the one with most servers, sorted by rank, which is always shown; None without cells."""
    most: Sequence[CellResult] = max(by_conditions(comparison.cells).values(), key=len, default=())
    if not most:
        return None
    found = _group(comparison, sorted(most, key=by_rank))
    columns = (replace(column, rank=0) if column.heading == "rank" else column for column in found.columns)
    return replace(found, columns=tuple(columns))


def _group(comparison: Comparison, results: Sequence[CellResult]) -> Table:
    pairs = {pair.cell: pair for pair in comparison.pairs}
    shown = _shown(comparison)
    return Table(
        title=title(comparison, results, pairs),
        columns=tuple(compress(GROUP_COLUMNS, shown)),
        rows=tuple(tuple(compress(_row(result, pairs.get(result.cell)), shown)) for result in results),
        notes=tuple(_notes(results, pairs)),
    )


def parts(comparison: Comparison, workload: str | None = None, server: str | None = None) -> Table | None:
    """What the mean latency of each cell consists of, of one workload, of one server or of all. None where that was not measured."""
    found = [
        (result.cell, result.figures.parts)
        for result in comparison.cells
        if result.figures is not None and result.figures.parts is not None
    ]
    rows = [
        (
            cell.server,
            describe(comparison, cell),
            *(number(each.mean) for each in (of.connect, of.queue, of.service, of.back)),
            number(of.latency_mean),
        )
        for cell, of in found
        if workload in (None, cell.workload) and server in (None, cell.server)
    ]
    if not rows:
        return None
    return Table(title="Where the time of a request goes", columns=PARTS_COLUMNS, rows=tuple(rows))


def by_request(comparison: Comparison, conditions: Conditions) -> Table | None:
    """The figures of each request of a mix or a Locust file under these conditions; None where users send one request alone."""
    results = [result for result in comparison.cells if result.cell.conditions == conditions]
    rows = tuple(
        (
            result.cell.server,
            name,
            number(each.throughput_rps.median),
            *(
                median(each_ms, "{:.1f}")
                for each_ms in (each.latency_mean_ms, each.latency_p50_ms, each.latency_p95_ms)
            ),
        )
        for result in results
        if result.figures is not None
        for name, each in result.figures.by_request.items()
    )
    if len({name for _, name, *_ in rows}) <= 1:
        return None
    return Table(title=f"{describe(comparison, results[0].cell)}: by request", columns=REQUEST_COLUMNS, rows=rows)


_OF_SERVER = (
    "rank",
    "in flight",
    "requests/s",
    "interval",
    "x reference",
    "x cost",
    "p50 ms",
    "p99 ms",
    "CPU ms",
    "MB",
    "bound by",
)
"""The columns of GROUP_COLUMNS that one server's table has."""


def of_server(comparison: Comparison, server: str) -> Table:
    """What was measured of one server, under each of the conditions."""
    pairs = {pair.cell: pair for pair in comparison.pairs}
    chosen = [
        is_shown and column.heading in _OF_SERVER
        for is_shown, column in zip(_shown(comparison), GROUP_COLUMNS, strict=True)
    ]
    return Table(
        title=f"{server}: what was measured",
        columns=(Column("conditions", 0, numeric=False), *compress(GROUP_COLUMNS, chosen)),
        rows=tuple(
            (describe(comparison, each.cell), *compress(_row(each, pairs.get(each.cell)), chosen))
            for each in comparison.cells
            if each.cell.server == server
        ),
    )


def group_columns(comparison: Comparison) -> Sequence[Column]:
    """The columns that its groups have."""
    return tuple(compress(GROUP_COLUMNS, _shown(comparison)))


def check_columns(given: Iterable[str], known: Collection[str]) -> None:
    """Raises SpecError for the first of `given` that there is not, with all that there are."""
    for name in given:
        if name not in known:
            raise SpecError(f"--columns {name}: there is no such column; there are {', '.join(known)}")


def with_columns(shown: Iterable[Table], columns: Sequence[str]) -> Iterable[Table]:
    """The tables with these of their columns alone, by heading and in this order. Raises SpecError for one that there is not."""
    for table in shown:
        headings = [column.heading for column in table.columns]
        check_columns(columns, headings)
        chosen = [headings.index(name) for name in columns]
        yield replace(
            table,
            columns=tuple(replace(table.columns[at], rank=0) for at in chosen),
            rows=tuple(tuple(row[at] for at in chosen) for row in table.rows),
        )


def _shown(comparison: Comparison) -> Sequence[bool]:
    """Whether a group has the column, for each of GROUP_COLUMNS."""
    pairs = {pair.cell: pair for pair in comparison.pairs}
    rows = [_row(result, pairs.get(result.cell)) for result in comparison.cells]
    return [
        (comparison.interleaved or not column.interleaved)
        and (not column.optional or any(row[index] != MISSING for row in rows))
        for index, column in enumerate(GROUP_COLUMNS)
    ]


def _notes(results: Sequence[CellResult], pairs: Mapping[Cell, PairResult]) -> Iterable[str]:
    """The warnings of the cells; one that several servers share is there once."""
    servers: dict[str, list[str]] = {}
    for result in results:
        for note in warnings(result, pairs.get(result.cell)):
            servers.setdefault(note.text, []).append(result.cell.server)
    return (f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in servers.items())


def warnings(result: CellResult, pair: PairResult | None) -> Sequence[CellWarning]:
    """All that a reader must know beside the figures of a cell and its comparison with the reference."""
    return (*result.warnings, *_uncompared(pair))


def _uncompared(pair: PairResult | None) -> Iterable[CellWarning]:
    """Why nothing is concluded from a ratio, unless the ratio itself is undecided."""
    if pair is None:
        return
    if pair.broken_gates:
        how = "not compared" if pair.cost is None else "not compared by speed"
        why = f"{how} with {pair.reference}, because of: {', '.join(pair.broken_gates)}"
        yield CellWarning(kind="not-compared", text=why)
    if pair.cost is not None and pair.cost.because:
        cost = f"cost against {pair.reference}: {pair.cost.verdict}, {pair.cost.because}"
        yield CellWarning(kind="cost", text=cost, amount=pair.cost.margin)
    if not pair.broken_gates and pair.ratio.low is None:
        few = f"{pair.blocks} of the {FEWEST_PAIRED} blocks that a comparison needs at least"
        yield CellWarning(kind="few-blocks", text=f"undecided against {pair.reference}, with {few}")


def title(comparison: Comparison, results: Sequence[CellResult], pairs: Mapping[Cell, PairResult]) -> str:
    """The conditions of a group, and the reference that it is compared with, if it is."""
    described = describe(comparison, results[0].cell)
    compared = any(result.cell in pairs for result in results)
    return described + (f"; reference: {comparison.run.experiment.reference}" if compared else "")


def _row(result: CellResult, pair: PairResult | None) -> tuple[str, ...]:
    figures = result.figures
    if figures is None:
        return (MISSING, result.cell.server, *[MISSING] * (len(GROUP_COLUMNS) - 2))
    acted = result.cell.during is not None
    is_replaced = any(each.kind == "workers-replaced" for each in result.warnings)
    rps = figures.throughput_rps
    return (
        rank(result),
        result.cell.server,
        in_flight(result),
        optional(figures.busiest_share, "{:.2f}") if (figures.busiest_share or 1) != 1 else MISSING,
        optional(figures.busiest_user_share, "{:.2f}"),
        number(rps.median),
        ends(rps, number),
        optional(figures.limit_share, "{:.0%}"),
        MISSING if pair is None else f"{pair.ratio.median:.2f} {verdict(pair)}",
        MISSING if pair is None else ends(pair.ratio, times),
        MISSING if pair is None or pair.cost is None else f"{pair.cost.ratio.median:.2f} {pair.cost.verdict}",
        MISSING if pair is None or pair.cost is None else ends(pair.cost.ratio, times),
        _known(figures.latency_ms, "p50"),
        _known(figures.latency_ms, "p99"),
        MISSING if figures.round_trip_ms is None else number(figures.round_trip_ms.median),
        median(figures.server_cpu, "{:.0%}"),
        median(figures.cpu_ms_per_request, "{:.2f}"),
        optional(figures.resident_mb, "{:.0f}"),
        _grown(figures.memory_start_pss_mb, figures.memory_pss_mb),
        _grown(figures.memory_start_private_mb, figures.memory_private_mb),
        optional(figures.os_threads, "{}"),
        str(figures.failures) if acted else MISSING,
        median(figures.longest_gap_ms, "{:.0f}") if acted or is_replaced else MISSING,
        median(figures.lost_capacity, "{:.0%}"),
        median(figures.throttled_share, "{:.0%}"),
        f"{figures.generator_cpu.median:.0%}",
        median(figures.backend_cpu, "{:.0%}"),
        optional(figures.reset or None, "{}"),
        optional(figures.abandoned, "{}"),
        median(figures.wasted_work, "{:.0%}"),
        median(figures.first_event_ms, "{:.1f}"),
        median(figures.event_gap_ms, "{:.1f}"),
        optional(figures.idle_closed, "{}"),
        median(figures.idle_held_s, "{:.2g}"),
        figures.bound_by,
        figures.because,
    )


def _grown(start_mb: float | None, mb: float | None) -> str:
    """At start and after load, such as `41 to 55`."""
    known = [f"{each:.0f}" for each in (start_mb, mb) if each is not None]
    return " to ".join(dict.fromkeys(known)) or MISSING


def in_flight(result: CellResult) -> str:
    """The peak, of the slots where they are declared."""
    if result.figures is None or result.figures.peak is None:
        return MISSING
    return f"{result.figures.peak} of {slots(result.slots)}" if result.cell.cores else str(result.figures.peak)


def rank(result: CellResult) -> str:
    """The places that the server may have, such as `2` or `1 to 3`."""
    if result.rank is None:
        return MISSING
    first, last = result.rank.first, result.rank.last
    return str(first) if first == last else f"{first} to {last}"


def verdict(compared: PairResult | CellOfRuns) -> str:
    """In words."""
    return SAME_WITHIN if compared.same else compared.verdict


def _known(figures: Mapping[str, float], name: str) -> str:
    return number(figures[name]) if name in figures else MISSING


def ends(interval: Interval, spelt: Callable[[float], str]) -> str:
    """`2.40 to 3.10`; a dash where there are none."""
    if interval.low is None or interval.high is None:
        return MISSING
    return f"{spelt(interval.low)} to {spelt(interval.high)}"


def median(interval: Interval | None, form: str) -> str:
    """The median as `form` spells it; a dash where there is none."""
    return MISSING if interval is None else form.format(interval.median)


def describe(comparison: Comparison, cell: Cell) -> str:
    """The conditions of a cell of a comparison."""
    return conditions(comparison.run, cell)


def brief(comparison: Comparison, cell: Cell, workloads: str = "") -> str:
    """The workload of a cell and, of its other conditions, those that are not the `usual` ones, such as `sleep 50 ms, 8 users`.

    `workloads`: in words, in place of its own.
    """
    known = usual(comparison)
    unlike = [words for words, most in zip(_conditions(cell), known, strict=True) if words != most]
    return ", ".join([workloads or workload(comparison.run, cell.workload), *unlike])


def usual(comparison: Comparison) -> tuple[str, ...]:
    """Load, cores and connection that most cells have; empty texts without cells."""
    every = [_conditions(each.cell) for each in comparison.cells]
    return tuple(Counter(words).most_common(1)[0][0] for words in zip(*every, strict=True)) or ("", "", "")


def _conditions(cell: Cell) -> tuple[str, str, str]:
    return cell.load, cell.on, f"connection: {cell.connection}"


def conditions(run: Run, cell: Cell) -> str:
    """The conditions of a cell, such as `sleep 50 ms, 32 users, 1 core, connection: close`."""
    return ", ".join((workload(run, cell.workload), *_conditions(cell)))


def workload(run: Run, name: str) -> str:
    """A workload with its parameters, such as `sleep 50 ms`."""
    parameters = run.experiment.parameters.get(name, {})
    return name + "".join(f" {_amount(parameter, value)}" for parameter, value in parameters.items())


def _amount(parameter: str, value: float) -> str:
    """A workload's parameter in words, such as `50 ms`, `send 100 ms` or `hello 50`."""
    what, _, unit = parameter.rpartition("_")
    if unit in ("ms", "s"):
        return f"{what} {value:g} {unit}".lstrip()
    return f"{value:g} KiB" if parameter == "kib" else f"{parameter} {value:g}"


def slots(count: int | None) -> str:
    return "∞" if count is None else str(count)


def optional(value: float | None, form: str) -> str:
    """A value as `form` spells it; a dash where there is none."""
    return MISSING if value is None else form.format(value)
