"""Who ran when: concurrency itself, request by request."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import altair as alt

from wsgilab.model import Cell, CellResult, Comparison, Conditions, RequestSpan, Server, Timeline
from wsgilab.report import tables
from wsgilab.report.charts.figure import Figure, Panel, kept, place, slug, telling, workloads
from wsgilab.report.charts.marks import SAYS, data
from wsgilab.report.charts.theme import COLOURS, INK, NumberAxis, Vega
from wsgilab.report.recommendation import names
from wsgilab.report.tables import Column, Table

MOST_SERVERS = 18
"""So many have a panel, for each workload."""

MOST_BARS = 160
"""So many requests are drawn of a server at most: the common span is as long as that allows."""

MOST_WORKERS = 48
"""Rows of a panel."""

MOST_REQUESTS = 1000
"""Of a server. Only where they are inside all at once, or around what was done to it, are there more than MOST_BARS."""

LABELLED_ROWS = 12
"""Up to so many rows have a label each where they are threads."""

_ROOMY, _HIGH, _THINNEST = 15, 216, 3
"""Pixels: of a row that may have a label, of all rows where there are more, and of a row at least."""
_BETWEEN = 9
"""Pixels between processes: each has room for its label, however thin its rows are."""
_LABEL = 148
"""Pixels for the longest usual label."""
_HEAD = 18
"""Pixels above the rows for the name of what was done to the server."""

_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 1, numeric=False),
    Column("row", 0, numeric=False),
    Column("requests", 0),
    Column("inside the application, ms", 0, numeric=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """Requests that were served one after the other."""

    process: int
    """Which of the chart's processes, from 0."""
    label: str
    """Its text in the chart; empty where the label above is for this row, too."""
    name: str
    """Its text in the table."""
    requests: tuple[RequestSpan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timeline:
    """A server's requests in the common span. Their times count from its beginning, or from what was done to the server in it."""

    result: CellResult
    low_us: int
    """Where the span begins: 0, or so much before what was done."""
    high_us: int
    """Where it ends."""
    rows: tuple[_Row, ...]
    cut: bool
    """Whether there were more requests than MOST_REQUESTS."""
    deed: str = ""
    """What was done, as an experiment has it, such as `reload`; empty where nothing was."""

    def inside_ms(self, request: RequestSpan) -> tuple[float, float]:
        """When it entered and when it left, as far as that is within the span."""
        return max(request.entered_us, self.low_us) / 1000, min(request.left_us, self.high_us) / 1000


def timeline(comparison: Comparison) -> Iterable[Figure]:
    """For each workload, the servers under its most telling conditions; then those to which something was done."""
    for workload in workloads(comparison):
        results = [each for each in comparison.cells if each.cell.workload == workload and each.timeline is not None]
        acted = [each for each in results if _acted_us(each) is not None]
        if others := [each for each in results if _acted_us(each) is None]:
            yield _figure(comparison, workload, others)
        if acted:
            yield _around(comparison, workload, acted)


def timeline_of(comparison: Comparison, cell: Cell, name: str) -> Figure | None:
    """Of one cell alone, for a file that is called so; None where its first block was not measured."""
    results = [each for each in comparison.cells if each.cell == cell and each.timeline is not None]
    if not results:
        return None
    made = _figure if _acted_us(results[0]) is None else _around
    return replace(made(comparison, cell.workload, results), name=name)


def _figure(comparison: Comparison, workload: str, results: Sequence[CellResult]) -> Figure:
    chosen, left_out = kept(_telling(results), MOST_SERVERS, "servers", where="observations.jsonl")
    span_us = common_span(chosen)
    drawn = [_timeline(comparison.run.servers[each.cell.server], each, span_us) for each in chosen]
    return _drawn(
        comparison,
        drawn,
        name=f"timeline-{slug(workload)}",
        title=f"Who ran when: {tables.workload(comparison.run, workload)}",
        shows=f"All panels show {span_us / 1000:.0f} ms, the end of the first measured block's window",
        left_out=left_out,
    )


def _around(comparison: Comparison, workload: str, results: Sequence[CellResult]) -> Figure:
    """The cells in which something was done to the server, around that moment."""
    chosen, left_out = kept(results, MOST_SERVERS, "cells", where="observations.jsonl")
    before_us, after_us = _common_part(chosen)
    drawn = [_around_deed(comparison.run.servers[each.cell.server], each, before_us, after_us) for each in chosen]
    deeds = names(list(dict.fromkeys(each.cell.during.deed for each in chosen if each.cell.during is not None)))
    return _drawn(
        comparison,
        drawn,
        name=f"timeline-{slug(workload)}-during",
        title=f"Who ran when, around {deeds}: {tables.workload(comparison.run, workload)}",
        shows=(
            "At the dashed line, which is 0, the lab did to the server what stands beside it. All panels show "
            f"{before_us / 1000:.0f} ms before and {after_us / 1000:.0f} ms after it, of the first measured block"
        ),
        left_out=left_out,
    )


def _drawn(
    comparison: Comparison, drawn: Sequence[_Timeline], *, name: str, title: str, shows: str, left_out: str
) -> Figure:
    cut = f" Of a server, {MOST_WORKERS} rows at most are drawn." * any(len(each.rows) > MOST_WORKERS for each in drawn)
    if any(each.cut for each in drawn):
        cut += f" Only the first {MOST_REQUESTS:,} requests of a server are looked at; all are in observations.jsonl."
    cells = [each.result.cell for each in drawn]
    usual = Counter(each.conditions for each in cells).most_common(1)[0][0]
    cell = next(each for each in cells if each.conditions == usual)
    otherwise = ", unless a panel says otherwise" if any(each.conditions != usual for each in cells) else ""
    return Figure(
        name=name,
        section="timeline",
        workload=cell.workload,
        title=title,
        caption=(
            "Each bar is one request inside the application. Bars above each other are in flight at once, and a row is one "
            f"process, thread or coroutine at a time. {shows}, with {cell.load}, {place(cell)}{otherwise}.{cut}{left_out}"
        ),
        panels=tuple(
            Panel(title=_title(each.result.cell, usual), chart=partial(_chart, each), server=each.result.cell.server)
            for each in drawn
        ),
        table=Table(
            title="Requests of the charts",
            columns=_COLUMNS,
            rows=tuple(row for each in drawn for row in _table_rows(comparison, each)),
        ),
    )


def _title(cell: Cell, usual: Conditions) -> tuple[str, ...]:
    """With the conditions where they are not the usual."""
    return (cell.server,) if cell.conditions == usual else (cell.server, f"{cell.load}, {place(cell)}")


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
    return min((_longest_span(each.timeline) for each in results if each.timeline is not None), default=1)


def _longest_span(recorded: Timeline) -> int:
    whole = recorded.span_us
    # How long before the end each left; with the first that is one too many the picture begins.
    ago = sorted(whole - request.left_us for request in recorded.stays if request.left_us <= whole)
    room = max(MOST_BARS // 2, MOST_BARS - (len(recorded.stays) - len(ago)))
    return min(whole, max(ago[room], ago[0] + 1)) if len(ago) > room else whole


def _acted_us(result: CellResult) -> int | None:
    """When in its timeline something was done to the server; None where nothing was, and in runs of a lab that did not record it."""
    return None if result.timeline is None or result.cell.during is None else result.timeline.acted_us


def _common_part(results: Iterable[CellResult]) -> tuple[int, int]:
    """Microseconds before what was done, and after it, that all have recorded."""
    known = [(each.timeline.span_us, _acted_us(each) or 0) for each in results if each.timeline is not None]
    return min(acted for _, acted in known), max(1, min(span - acted for span, acted in known))


def _timeline(server: Server, result: CellResult, span_us: int) -> _Timeline:
    assert result.timeline is not None, "only such are drawn"
    rows, cut = _rows(server, result.timeline, 0, span_us, zero=result.timeline.span_us - span_us)
    return _Timeline(result=result, low_us=0, high_us=span_us, rows=rows, cut=cut)


def _around_deed(server: Server, result: CellResult, before_us: int, after_us: int) -> _Timeline:
    assert result.timeline is not None, "only such are drawn"
    assert result.cell.during is not None, "something was done"
    rows, cut = _rows(server, result.timeline, -before_us, after_us, zero=_acted_us(result) or 0)
    return _Timeline(result=result, low_us=-before_us, high_us=after_us, rows=rows, cut=cut, deed=result.cell.during.do)


def _rows(server: Server, recorded: Timeline, low_us: int, high_us: int, zero: int) -> tuple[tuple[_Row, ...], bool]:
    """The rows of the requests that were inside between the two moments, which count from `zero`; whether there were too many."""
    counted = (
        request._replace(entered_us=request.entered_us - zero, left_us=request.left_us - zero)
        for request in recorded.stays
    )
    requests = [request for request in counted if request.left_us > low_us and request.entered_us < high_us]
    kept_ones = requests[:MOST_REQUESTS]
    rows = _of_any_process(kept_ones) if server.processes is None else _of_processes(server.processes, kept_ones)
    return tuple(rows), len(kept_ones) < len(requests)


def _of_any_process(requests: Sequence[RequestSpan]) -> Iterable[_Row]:
    """Where a request or a connection has a process of its own, processes share rows."""
    rows = packed(requests, lambda request: request.process)
    processes = len({request.process for request in requests})
    yield from _group(0, f"{processes} process{'es' * (processes != 1)}, {len(rows)} at once", rows)


def _of_processes(processes: int, requests: Sequence[RequestSpan]) -> Iterable[_Row]:
    """Each process with its threads or coroutines; those that did nothing meanwhile, too."""
    of_process: dict[int, list[RequestSpan]] = defaultdict(list)
    for request in requests:
        of_process[request.process].append(request)
    packed_rows = {process: _workers(of_process[process]) for process in sorted(of_process)}
    idle = range(len(packed_rows), processes)
    roomy = sum(map(len, packed_rows.values())) + len(idle) <= LABELLED_ROWS
    for number, (process, rows) in enumerate(packed_rows.items()):
        name, (threads, greenlets) = f"process {number + 1}", _served(of_process[process])
        if greenlets > threads:
            of = "one thread" if threads == 1 else f"{threads} threads"
            yield from _group(number, f"{name}: {greenlets} coroutines", rows, of=f" of {of}")
        elif greenlets > 1 and not (roomy and len(rows) == greenlets):
            yield from _group(number, f"{name}: {greenlets} threads", rows)
        else:
            labels = [name] if greenlets == 1 else [f"{name}, thread {thread}" for thread in range(1, greenlets + 1)]
            for label, row in zip(labels, rows, strict=True):
                yield _Row(process=number, label=label, name=label, requests=row)
    for number in idle:
        label = f"process {number + 1}: idle"
        yield _Row(process=number, label=label, name=label, requests=())


def _group(process: int, label: str, rows: Sequence[tuple[RequestSpan, ...]], of: str = "") -> Iterable[_Row]:
    """Rows that share a label, which the table continues with `of`; an empty one where nothing was served."""
    for number, row in enumerate(rows or [()]):
        yield _Row(process=process, label="" if number else label, name=f"{label}{of}, row {number + 1}", requests=row)


def _workers(requests: Sequence[RequestSpan]) -> Sequence[tuple[RequestSpan, ...]]:
    """The rows of a process: a thread keeps its row; coroutines come and go, and have one for as long as they are in."""
    threads, greenlets = _served(requests)
    return packed(requests, (lambda request: request) if greenlets > threads else (lambda request: request.thread))


def _served(requests: Iterable[RequestSpan]) -> tuple[int, int]:
    """How many threads served, and how many greenlets (a thread without any counts as one)."""
    greenlets = {(request.thread, request.greenlet_id) for request in requests}
    return len({thread for thread, _ in greenlets}), len(greenlets)


def packed(
    requests: Iterable[RequestSpan], key: Callable[[RequestSpan], Hashable]
) -> Sequence[tuple[RequestSpan, ...]]:
    """Rows of requests: those of one key share a row, and so do keys of which one left for good before the other came.

    First come, first placed, which needs the fewest rows that any packing does (interval partitioning: Kleinberg and
    Tardos 2005, Algorithm Design, section 4.1).
    """
    of_key: dict[Hashable, list[RequestSpan]] = defaultdict(list)
    for request in sorted(requests, key=lambda request: (request.entered_us, request.left_us)):
        of_key[key(request)].append(request)
    rows: list[list[RequestSpan]] = []
    ends: list[int] = []
    for lane in of_key.values():
        free = next((row for row, end in enumerate(ends) if end <= lane[0].entered_us), None)
        if free is None:
            free = len(rows)
            rows.append([])
            ends.append(0)
        rows[free] += lane
        ends[free] = max(request.left_us for request in lane)
    return [tuple(row) for row in rows]


def _chart(drawn: _Timeline) -> alt.TopLevelMixin:
    """A bar for each request, coloured by process; and a line where something was done to the server."""
    shown, low, high = drawn.rows[:MOST_WORKERS], drawn.low_us / 1000, drawn.high_us / 1000
    pitch = _ROOMY if len(shown) <= LABELLED_ROWS else max(_THINNEST, round(_HIGH / len(shown), 2))
    thick = pitch - (2 if pitch > 5 else 1)  # noqa: PLR2004 - pixels
    head = _HEAD if drawn.deed else 0
    rows, bars = [], []
    for number, row in enumerate(shown):
        top = head + number * pitch + row.process * _BETWEEN
        place_of = {"top": top, "middle": top + thick / 2, "bottom": top + thick}
        rows.append({**place_of, "begin": low, "end": high, "label": row.label})
        for begin, end in map(drawn.inside_ms, row.requests):
            colour, said = COLOURS[row.process % len(COLOURS)], f"{begin:.1f} to {end:.1f} ms"
            bars.append({**place_of, "begin": begin, "end": end, "colour": colour, "says": said})
    height = head + (len(shown) - 1) * pitch + shown[-1].process * _BETWEEN + thick
    x, downward = NumberAxis(title="ms", low=low, high=high), {"domain": [height, 0.0], "nice": False}
    # All panels have the same room for labels, so that a millisecond is as long in each.
    nothing = dict.fromkeys(("labels", "ticks", "domain", "grid"), False)
    beside = {"title": None, **nothing, "minExtent": _LABEL}
    of_rows = alt.Chart(data(rows)).encode(x=x.x("begin"), y=alt.Y("middle:Q", scale=downward, axis=beside))
    # A bar ends a pixel early, so that it is seen apart from the next.
    of_bars = alt.Chart(data(bars)).mark_rect(x2Offset=-1, aria=True)
    layers = [
        of_rows.mark_rule(color=INK, opacity=0.12).encode(x2=alt.X2("end:Q")),
        of_bars.encode(
            x=x.x("begin"),
            x2=alt.X2("end:Q"),
            y=alt.Y("top:Q", scale=downward, axis=beside),
            y2=alt.Y2("bottom:Q"),
            color=alt.Color("colour:N", scale=None),
            description=SAYS,
        ),
        of_rows.mark_text(align="right", dx=-8).encode(text=alt.Text("label:N")),
    ]
    if drawn.deed:
        # Its name stands where there is more room.
        beside_it: Vega = {"align": "right", "dx": -4} if -low > high else {"align": "left", "dx": 4}
        line = [{"at": 0.0, "top": 0.0, "middle": head / 2, "bottom": height, "deed": drawn.deed}]
        of_line = alt.Chart(data(line)).encode(x=x.x("at"), y=alt.Y("top:Q", scale=downward, axis=beside))
        layers += [
            of_line.mark_rule(color=INK, strokeDash=[4, 3], strokeWidth=1.5).encode(y2=alt.Y2("bottom:Q")),
            of_line.mark_text(fontWeight="bold", **beside_it).encode(
                y=alt.Y("middle:Q", scale=downward, axis=beside), text=alt.Text("deed:N")
            ),
        ]
    return alt.layer(*layers, height=round(height))


def _table_rows(comparison: Comparison, drawn: _Timeline) -> Iterable[tuple[str, ...]]:
    cell = drawn.result.cell
    where = tables.describe(comparison, cell)
    for row in drawn.rows:
        inside = ", ".join(f"{begin:.1f} to {end:.1f}" for begin, end in map(drawn.inside_ms, row.requests))
        yield cell.server, where, row.name, str(len(row.requests)), inside or tables.MISSING
