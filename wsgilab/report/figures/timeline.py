"""Who ran when: concurrency itself, request by request."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from wsgilab.model import Cell, CellResult, Comparison, Conditions, RequestSpan, Server
from wsgilab.report import tables
from wsgilab.report.figures.values import (
    Bar,
    Figure,
    Gantt,
    Panel,
    RowGroup,
    kept,
    place,
    slug,
    telling,
    workload_words,
    workloads,
)
from wsgilab.report.tables import Column, Table

MOST_SERVERS = 18
"""So many have a panel, for each workload."""

MOST_BARS = 160
"""So many requests are drawn of a server at most: the common span is as long as that allows."""

MOST_WORKERS = 48
"""Rows of a panel."""

MOST_REQUESTS = 1000
"""Of a server. Only where they are inside all at once are there more than MOST_BARS."""

LABELLED_ROWS = 12
"""Up to so many rows have a label each."""

_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 1, numeric=False),
    Column("row", 0, numeric=False),
    Column("requests", 0),
    Column("inside the application, ms", 0, numeric=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One after the other."""

    stays: tuple[RequestSpan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """The rows of a process, or of all where each request has its own."""

    labels: tuple[str, ...]
    each: bool
    """Whether every row has its label."""
    rows: tuple[_Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """A server's part of the common span, cut and begun from 0."""

    result: CellResult
    span_us: int
    processes: tuple[_Process, ...]
    cut: bool
    """Whether there were more requests than MOST_REQUESTS."""

    @property
    def rows(self) -> int:
        return sum(len(process.rows) for process in self.processes)


def timeline(comparison: Comparison) -> Iterable[Figure]:
    """For each workload, the servers under its most telling conditions."""
    for workload in workloads(comparison):
        results = [each for each in comparison.cells if each.cell.workload == workload and each.timeline is not None]
        if results:
            yield _figure(comparison, workload, results)


def _figure(comparison: Comparison, workload: str, results: Sequence[CellResult]) -> Figure:
    shown = _telling(results)
    chosen, left_out = kept(shown, MOST_SERVERS, "servers", where="observations.jsonl")
    span_us = common_span(chosen)
    drawn = [_drawn(comparison.run.servers[each.cell.server], each, span_us) for each in chosen]
    cut = f" Of a server, {MOST_WORKERS} rows at most are drawn." * any(each.rows > MOST_WORKERS for each in drawn)
    if any(each.cut for each in drawn):
        cut += f" Only the first {MOST_REQUESTS:,} requests of a server are looked at; all are in observations.jsonl."
    usual = Counter(each.cell.conditions for each in chosen).most_common(1)[0][0]
    cell = next(each.cell for each in chosen if each.cell.conditions == usual)
    otherwise = ", unless a panel says otherwise" if any(each.cell.conditions != usual for each in chosen) else ""
    return Figure(
        name=f"timeline-{slug(workload)}",
        section="timeline",
        workload=workload,
        title=f"Who ran when: {workload_words(comparison, workload)}",
        caption=(
            "Each bar is one request inside the application. Bars above each other are in flight at once, and a row is one "
            f"process, thread or coroutine at a time. All panels show {span_us / 1000:.0f} ms, the end of the first "
            f"measured block's window, with {cell.load}, {place(cell)}{otherwise}.{cut}{left_out}"
        ),
        panels=tuple(Panel(title=_title(each.result.cell, usual), drawing=_gantt(each)) for each in drawn),
        table=Table(
            title="Requests of the charts",
            columns=_COLUMNS,
            rows=tuple(row for each in drawn for row in _table_rows(comparison, each)),
        ),
    )


def _title(cell: Cell, usual: Conditions) -> str:
    return cell.server if cell.conditions == usual else f"{cell.server} ({cell.load}, {place(cell)})"


def _telling(results: Sequence[CellResult]) -> Sequence[CellResult]:
    """Each server once, under the most telling of the conditions that it has a timeline of."""
    sizes: dict[Conditions, int] = defaultdict(int)
    for each in results:
        sizes[each.cell.conditions] += 1
    first: dict[str, CellResult] = {}
    for each in sorted(results, key=lambda each: (-sizes[each.cell.conditions], telling(each.cell))):
        first.setdefault(each.cell.server, each)
    return [each for each in results if first[each.cell.server] is each]


def common_span(results: Iterable[CellResult]) -> int:
    """Microseconds before the end of the window that all have recorded, and in which none has more than MOST_BARS.

    Where that many are inside at the very end, half as many departures are in it; what leaves in one microsecond is never
    parted.
    """
    span_us: int | None = None
    for each in results:
        if each.timeline is not None:
            whole = each.timeline.span_us
            # How long before the end each left; with the first that is one too many the picture begins.
            ago = sorted(whole - stay.left_us for stay in each.timeline.stays if stay.left_us <= whole)
            room = max(MOST_BARS // 2, MOST_BARS - (len(each.timeline.stays) - len(ago)))
            most = min(whole, max(ago[room], ago[0] + 1)) if len(ago) > room else whole
            span_us = most if span_us is None else min(span_us, most)
    return span_us or 1


def _drawn(server: Server, result: CellResult, span_us: int) -> _Drawn:
    assert result.timeline is not None, "chosen so"
    begin = result.timeline.span_us - span_us
    stays = [
        stay._replace(entered_us=stay.entered_us - begin, left_us=stay.left_us - begin)
        for stay in result.timeline.stays
        if stay.left_us > begin
    ]
    seen = stays[:MOST_REQUESTS]
    groups = [_one_each(seen)] if server.processes is None else list(_declared(server.processes, seen))
    return _Drawn(result=result, span_us=span_us, processes=tuple(groups), cut=len(seen) < len(stays))


def _one_each(stays: Sequence[RequestSpan]) -> _Process:
    """Where a request or a connection has a process of its own, processes are what shares rows."""
    rows = packed(stays, lambda stay: stay.process)
    processes = len({stay.process for stay in stays})
    labels = (f"{_count(processes, 'process', 'processes')},", f"{len(rows)} at once")
    return _Process(labels=labels, each=False, rows=tuple(_Row(stays=row) for row in rows))


def _declared(processes: int, stays: Sequence[RequestSpan]) -> Iterable[_Process]:
    """Each process with its threads and coroutines; those that did nothing meanwhile too."""
    of_process: dict[int, list[RequestSpan]] = defaultdict(list)
    for stay in stays:
        of_process[stay.process].append(stay)
    rows = {process: _workers(of_process[process]) for process in sorted(of_process)}
    idle = range(len(rows) + 1, processes + 1)
    roomy = sum(map(len, rows.values())) + len(idle) <= LABELLED_ROWS
    for number, (process, found) in enumerate(rows.items(), 1):
        yield _process(f"process {number}", of_process[process], found, roomy=roomy)
    for number in idle:
        yield _Process(labels=(f"process {number}: idle",), each=True, rows=(_Row(stays=()),))


def _workers(stays: Sequence[RequestSpan]) -> Sequence[tuple[RequestSpan, ...]]:
    """The rows of a process: a thread keeps its row; coroutines come and go, and have one for as long as they are in."""
    threads, lanes = _served(stays)
    return packed(stays, (lambda stay: stay) if lanes > threads else (lambda stay: stay.thread))


def _served(stays: Iterable[RequestSpan]) -> tuple[int, int]:
    """How many threads and how many lanes."""
    lanes = {(stay.thread, stay.greenlet_id) for stay in stays}
    return len({thread for thread, _ in lanes}), len(lanes)


def _process(
    name: str, stays: Sequence[RequestSpan], rows: Sequence[tuple[RequestSpan, ...]], *, roomy: bool
) -> _Process:
    threads, lanes = _served(stays)
    each = len(rows) == lanes and (lanes == 1 or (lanes == threads and roomy))
    if lanes == 1:
        labels: tuple[str, ...] = (name,)
    elif each:
        labels = tuple(f"{name}, thread {number}" for number in range(1, lanes + 1))
    elif lanes == threads:
        labels = (f"{name}:", _count(lanes, "thread", "threads"))
    else:
        of = "one thread" if threads == 1 else f"{threads} threads"
        labels = (f"{name}:", _count(lanes, "coroutine", "coroutines"), f"of {of}")
    return _Process(labels=labels, each=each, rows=tuple(_Row(stays=row) for row in rows))


def packed(stays: Iterable[RequestSpan], key: Callable[[RequestSpan], Hashable]) -> Sequence[tuple[RequestSpan, ...]]:
    """Rows of stays: those of one key share a row, and so do keys of which the one left for good before the other came.

    First come, first placed, which needs the fewest rows that any packing does (interval partitioning: Kleinberg and
    Tardos 2005, Algorithm Design, section 4.1).
    """
    of_key: dict[Hashable, list[RequestSpan]] = defaultdict(list)
    for stay in sorted(stays, key=lambda stay: (stay.entered_us, stay.left_us)):
        of_key[key(stay)].append(stay)
    rows: list[list[RequestSpan]] = []
    ends: list[int] = []
    for lane in of_key.values():
        free = next((row for row, end in enumerate(ends) if end <= lane[0].entered_us), None)
        if free is None:
            free = len(rows)
            rows.append([])
            ends.append(0)
        rows[free] += lane
        ends[free] = max(stay.left_us for stay in lane)
    return [tuple(row) for row in rows]


def _gantt(drawn: _Drawn) -> Gantt:
    groups: list[RowGroup] = []
    bars: list[Bar] = []
    begun = 0
    for process in drawn.processes:
        rows = process.rows[: MOST_WORKERS - begun]
        if not rows:
            break
        labels = process.labels[: len(rows)] if process.each else process.labels
        groups.append(RowGroup(rows=len(rows), labels=labels, each=process.each))
        bars += [
            Bar(
                row=begun + number,
                entered_ms=max(stay.entered_us, 0) / 1000,
                left_ms=min(stay.left_us, drawn.span_us) / 1000,
            )
            for number, row in enumerate(rows)
            for stay in row.stays
        ]
        begun += len(rows)
    return Gantt(span_ms=drawn.span_us / 1000, groups=tuple(groups), bars=tuple(bars))


def _table_rows(comparison: Comparison, drawn: _Drawn) -> Iterable[tuple[str, ...]]:
    cell = drawn.result.cell
    where = tables.describe(comparison, cell)
    for process in drawn.processes:
        for number, row in enumerate(process.rows, 1):
            label = process.labels[number - 1] if process.each else f"{' '.join(process.labels)}, row {number}"
            inside = ", ".join(
                f"{max(stay.entered_us, 0) / 1000:.1f} to {min(stay.left_us, drawn.span_us) / 1000:.1f}"
                for stay in row.stays
            )
            yield cell.server, where, label, str(len(row.stays)), inside or tables.MISSING


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
