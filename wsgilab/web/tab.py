"""The tab as HTML: a fragment for Locust's page, and a page of its own. Pure.

A view becomes strings and coordinates here; templates/ lay them out, and know of no figure what it means.
`static/lab.css` and `static/lab.js` belong to both. Every link is relative to the folder that the lab is served from,
which is the same for Locust's page and for ours: `/` and `/lab`.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from wsgilab.analysis.stats import FEWEST_BLOCKS
from wsgilab.model import CellFigures, CellResult, Interval, PairResult, Run
from wsgilab.model.text import counted, number
from wsgilab.report import tables
from wsgilab.report.tables import MISSING, optional, slots
from wsgilab.system import cpus
from wsgilab.web.view import STARTING_AGAIN, Now, Pulse, TargetState, View

SECONDS = 60
"""How many the graphs show."""
SECOND_WIDTH = 10
"""Of a graph's own units; the page stretches it to the room there is."""
GRAPH_WIDTH = SECONDS * SECOND_WIDTH
GRAPH_HEIGHT = 100
HEADROOM = 1.25
"""A graph's top over its highest value, so that the label of the slots has room."""

_TEMPLATES = Environment(
    loader=PackageLoader("wsgilab.web"),
    # Log lines, reasons and commands come from servers and files.
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TabColumn:
    """A column of what has been tried. lab.css names the figures once more, for where there is no room for a table."""

    key: str
    """What tests and lab.css know it by."""
    heading: str
    group: str = ""
    """The heading above the headings of several columns."""
    term: str = ""
    """The legend's word for it, where that is not its heading."""
    compared: bool = False
    """Only where servers are compared."""


COLUMNS = (
    TabColumn(key="rank", heading="rank", compared=True),
    TabColumn(key="ratio", heading="x reference", compared=True),
    TabColumn(key="slots", heading="slots", group="in flight", term="in flight"),
    TabColumn(key="peak", heading="peak", group="in flight", term="in flight"),
    TabColumn(key="mean", heading="mean", group="in flight", term="in flight"),
    TabColumn(key="processes", heading="processes", group="served by"),
    TabColumn(key="threads", heading="threads", group="served by"),
    TabColumn(key="busiest", heading="busiest", group="served by"),
    TabColumn(key="rps", heading="requests/s"),
    TabColumn(key="p50", heading="p50", group="latency, ms", term="p50 ms, p99 ms"),
    TabColumn(key="p95", heading="p95", group="latency, ms", term="p50 ms, p99 ms"),
    TabColumn(key="p99", heading="p99", group="latency, ms", term="p50 ms, p99 ms"),
    TabColumn(key="max", heading="max", group="latency, ms", term="p50 ms, p99 ms"),
    TabColumn(key="cpu", heading="target", group="CPU", term="CPU"),
    TabColumn(key="generator", heading="generator", group="CPU"),
    TabColumn(key="failures", heading="failures"),
    TabColumn(key="bound", heading="bound by"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The columns that share a heading, or one that has its own."""

    text: str
    columns: tuple[TabColumn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Something by second, newest at the right. Coordinates of SVG, in units of GRAPH_WIDTH and GRAPH_HEIGHT."""

    title: str
    last: str
    """The last second's value, in words."""
    told: str
    """All of it in words, for those who do not see it."""
    bars: str
    """A path's data."""
    line: str = ""
    """A polyline's points."""
    limit: str = ""
    """What the dashed line stands for; empty where there is none."""
    limit_y: float = 0.0
    width: int = GRAPH_WIDTH
    height: int = GRAPH_HEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The test under way, or the last one."""

    title: str
    server: str
    summary: str
    conditions: str
    phase: str
    told: str
    """The phase in words."""
    figures: Mapping[str, str]
    because: str
    warnings: tuple[str, ...]
    ended: str
    """Why its target runs no more; empty while it runs."""
    graphs: tuple[Graph, ...]
    """None where nothing is known by second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TabCondition:
    """How a target fares."""

    state: str
    """In a few words."""
    ended: bool
    log: str = ""
    can_start: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server under the conditions of its group."""

    server: str
    summary: str
    attributes: Mapping[str, str]
    """Its cell, for those who look for it in the page."""
    figures: tuple[tuple[str, str], ...]
    """Columns' keys, and texts."""
    because: str
    notes: tuple[str, ...]
    current: bool
    """Under way at this moment."""
    ended: TabCondition | None
    """None while its target runs."""
    details: bool
    """The first row of an ended target: its log and how to start it again are said once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TabGroup:
    """Servers under the same conditions, or those that ended before there was a figure."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A target in the catalogue."""

    server: str
    summary: str
    slots: str
    model: str
    command: tuple[str, ...]
    """Words as a shell needs them."""
    url: str
    condition: TabCondition


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything the templates lay out."""

    title: str
    watching: str
    """The run that is watched, and how far it is; empty in a session of one's own."""
    advice: str
    """What to do before there is a test."""
    now: Moment | None
    headings: tuple[Heading, ...]
    columns: tuple[TabColumn, ...]
    groups: tuple[TabGroup, ...]
    can_download: bool
    single: bool
    """Figures are of single tests: nothing is compared."""
    catalogue: tuple[Entry, ...]
    places: str
    """Where servers and generator run."""
    remarks: tuple[str, ...]
    """What a reader must know of the machine."""
    legend: tuple[tuple[str, str], ...]


def fragment(view: View) -> str:
    """The tab's inside, for a page whose folder is the lab's."""
    return _TEMPLATES.get_template("fragment.html").render(lab=_content(view))


def page(view: View) -> str:
    """The same as a page of its own, to be served beside Locust's. It needs no script."""
    return _TEMPLATES.get_template("page.html").render(lab=_content(view))


def _content(view: View) -> Content:
    comparison = view.comparison
    conditions = {each.server.name: _condition(each, watching=view.watching) for each in view.targets}
    compared = bool(comparison.pairs) or any(result.rank is not None for result in comparison.cells)
    columns = tuple(column for column in COLUMNS if compared or not column.compared)
    groups = tuple(_groups(view, columns, conditions))
    return Content(
        title=view.run.experiment.name,
        watching=": ".join(filter(None, (view.run.id, view.progress))) if view.watching else "",
        advice=(
            "The first trial has not begun yet."
            if view.watching
            else "Choose a target, a workload and a connection in Locust's form, and press Start."
        ),
        now=None if view.now is None else _moment(view, view.now, conditions),
        headings=tuple(_headings(columns)),
        columns=columns,
        groups=groups,
        can_download=bool(comparison.cells),
        single=bool(comparison.cells) and not comparison.interleaved,
        catalogue=tuple(_entry(each, conditions[each.server.name]) for each in view.targets),
        places=_places(view.run),
        remarks=view.run.notes,
        legend=tuple(_legend(columns)),
    )


# --- now

_PHASES: Mapping[str, str] = {
    "settling": "waiting until every user has had an answer",
    "measuring": "measuring",
    "stopping": "stopping",
    "stopped": "stopped",
}


def _moment(view: View, now: Now, conditions: Mapping[str, TabCondition]) -> Moment:
    cell, result = now.cell, now.result
    server = view.run.servers[cell.server]
    figures = None if result is None else result.figures
    condition = conditions.get(cell.server)
    return Moment(
        title=f"Last {'trial' if view.watching else 'test'}" if now.phase == "stopped" else "Now",
        server=cell.server,
        summary=server.summary,
        conditions=tables.describe(view.comparison, cell),
        phase=now.phase,
        told=_told(now),
        figures={**_texts(figures), "slots": slots(server.slots)},
        because="" if figures is None else figures.because,
        warnings=() if result is None else result.warnings,
        ended=condition.state if condition is not None and condition.ended else "",
        graphs=_graphs(now.pulses[-SECONDS:], server.slots),
    )


def _told(now: Now) -> str:
    if now.phase == "ramping":
        return f"{now.cell.users or 0} of {now.users_wanted} users at work"
    return _PHASES[now.phase]


def _graphs(pulses: Sequence[Pulse], declared: int | None) -> tuple[Graph, ...]:
    if not pulses:
        return ()
    peaks = [pulse.peak for pulse in pulses]
    means = [pulse.mean for pulse in pulses]
    rates = [pulse.throughput_rps for pulse in pulses]
    top = max([*peaks, declared or 0, 1]) * HEADROOM
    of_slots = "" if declared is None else f" of {counted(declared, 'slot')}"
    last = f"at most {peaks[-1]}{of_slots}, {means[-1]:.1f} on average"
    rate = number(rates[-1])
    return (
        Graph(
            title="In flight, by second",
            last=last,
            told=(
                f"Requests in flight over the last {counted(len(pulses), 'second')}: "
                f"at most {max(peaks)}{of_slots}; in the last one {last}"
            ),
            bars=_bars(peaks, top),
            line=_line(means, top),
            limit="" if declared is None else counted(declared, "slot"),
            limit_y=0.0 if declared is None else _y(declared, top),
        ),
        Graph(
            title="Answers, by second",
            last=rate,
            told=(
                f"Answers over the last {counted(len(pulses), 'second')}: "
                f"at most {number(max(rates))} a second; in the last one {rate}"
            ),
            bars=_bars(rates, max([*rates, 1.0]) * HEADROOM),
        ),
    )


def _bars(values: Sequence[float], top: float) -> str:
    """One bar a second, with a gap between them."""
    left = GRAPH_WIDTH - len(values) * SECOND_WIDTH
    return "".join(
        f"M{left + index * SECOND_WIDTH},{GRAPH_HEIGHT}V{_y(value, top):g}h{SECOND_WIDTH - 1}V{GRAPH_HEIGHT}z"
        for index, value in enumerate(values)
    )


def _line(values: Sequence[float], top: float) -> str:
    """Through the middle of each second."""
    middle = GRAPH_WIDTH - len(values) * SECOND_WIDTH + (SECOND_WIDTH - 1) / 2
    return " ".join(f"{middle + index * SECOND_WIDTH:g},{_y(value, top):g}" for index, value in enumerate(values))


def _y(value: float, top: float) -> float:
    return round(GRAPH_HEIGHT * (1 - value / top), 1)


# --- what has been tried


def _groups(view: View, columns: Sequence[TabColumn], conditions: Mapping[str, TabCondition]) -> Iterable[TabGroup]:
    comparison = view.comparison
    pairs = {pair.cell: pair for pair in comparison.pairs}
    now = view.now
    under_way = now.cell if now is not None and now.phase != "stopped" else None
    told: set[str] = set()
    for each in dict.fromkeys(result.cell.conditions for result in comparison.cells):
        results = [result for result in comparison.cells if result.cell.conditions == each]
        rows = []
        for result in results:
            pair = pairs.get(result.cell)
            texts = {
                **_texts(result.figures),
                "slots": slots(result.slots),
                "rank": tables.rank(result),
                "ratio": MISSING if pair is None else f"{pair.ratio.median:.2f} {tables.verdict(pair)}",
            }
            rows.append(
                _row(
                    comparison.run,
                    result,
                    tuple((column.key, texts[column.key]) for column in columns),
                    notes=(*result.warnings, *_against(pair)),
                    current=result.cell == under_way,
                    condition=conditions.get(result.cell.server),
                    details=result.cell.server not in told,
                )
            )
            told.add(result.cell.server)
        compared = any(result.cell in pairs for result in results)
        reference = f"; reference: {comparison.run.experiment.reference}" if compared else ""
        yield TabGroup(title=tables.describe(comparison, results[0].cell) + reference, rows=tuple(rows))
    untried = [each for each in view.targets if each.server.name not in told and conditions[each.server.name].ended]
    if untried:
        yield TabGroup(
            title="Ended, with no figures yet",
            rows=tuple(_untried(each, conditions[each.server.name], columns) for each in untried),
        )


def _row(
    run: Run,
    result: CellResult,
    figures: tuple[tuple[str, str], ...],
    *,
    notes: tuple[str, ...],
    current: bool,
    condition: TabCondition | None,
    details: bool,
) -> Row:
    cell = result.cell
    named = {
        "server": cell.server,
        "workload": cell.workload,
        "users": cell.users,
        "rate": None if cell.rate is None else f"{cell.rate:g}",
        "arrivals": cell.arrivals,
        "cores": cell.cores,
        "connection": cell.connection,
    }
    return Row(
        server=cell.server,
        summary=run.servers[cell.server].summary,
        attributes={name: str(value) for name, value in named.items() if value is not None},
        figures=figures,
        because="" if result.figures is None else result.figures.because,
        notes=notes,
        current=current,
        ended=condition if condition is not None and condition.ended else None,
        details=details,
    )


def _untried(target: TargetState, condition: TabCondition, columns: Sequence[TabColumn]) -> Row:
    server = target.server
    texts = {**dict.fromkeys((column.key for column in columns), MISSING), "slots": slots(server.slots)}
    return Row(
        server=server.name,
        summary=server.summary,
        attributes={"server": server.name},
        figures=tuple(texts.items()),
        because="",
        notes=(),
        current=False,
        ended=condition,
        details=True,
    )


def _against(pair: PairResult | None) -> Iterable[str]:
    """Why nothing is concluded from a server's ratio, where that is so."""
    if pair is None:
        return
    if pair.broken_gates:
        yield f"not compared with {pair.reference}, because of: {', '.join(pair.broken_gates)}"
    elif pair.ratio.low is None:
        told = f"{pair.blocks} of the {FEWEST_BLOCKS} blocks that a comparison needs at least"
        yield f"undecided against {pair.reference}, with {told}"


def _texts(figures: CellFigures | None) -> Mapping[str, str]:
    """Every figure as the lab's other tables write it, by its column's key."""
    if figures is None:
        return dict.fromkeys((column.key for column in COLUMNS), MISSING)
    latency_ms = figures.latency_ms
    uneven = (figures.busiest_share or 1) != 1
    return {
        "peak": str(figures.peak),
        "mean": f"{figures.mean_in_flight.median:.1f}",
        "processes": str(figures.processes),
        "threads": str(figures.threads),
        "busiest": optional(figures.busiest_share, "{:.2f}") if uneven else MISSING,
        "rps": number(figures.throughput_rps.median),
        **{name: _known(latency_ms.get(name), number) for name in ("p50", "p95", "p99", "max")},
        "cpu": _share(figures.server_cpu),
        "generator": _share(figures.generator_cpu),
        "failures": f"{figures.failures:,}",
        "bound": figures.bound_by,
    }


def _share(interval: Interval | None) -> str:
    return MISSING if interval is None else f"{interval.median:.0%}"


def _known(value: float | None, spelt: Callable[[float], str]) -> str:
    return MISSING if value is None else spelt(value)


def _headings(columns: Sequence[TabColumn]) -> Iterable[Heading]:
    for text, several in groupby(columns, key=lambda column: column.group or column.heading):
        yield Heading(text=text, columns=tuple(several))


def _legend(columns: Sequence[TabColumn]) -> Iterable[tuple[str, str]]:
    """The legend of the lab's tables, as far as it is of these columns."""
    shown = {column.term or column.heading for column in columns} | {"because"}
    return [(term, meaning) for term, meaning in tables.LEGEND if term in shown]


# --- the catalogue


def _condition(target: TargetState, *, watching: bool) -> TabCondition:
    if target.restarting:
        return TabCondition(state=STARTING_AGAIN, ended=target.failure is not None)
    if target.failure is None:
        return TabCondition(state="running", ended=False)
    return TabCondition(state=target.failure, ended=True, log=target.log, can_start=not watching)


def _entry(target: TargetState, condition: TabCondition) -> Entry:
    server = target.server
    return Entry(
        server=server.name,
        summary=server.summary,
        slots=slots(server.slots),
        model=server.model,
        command=tuple(shlex.quote(word) for word in server.command),
        url=target.url,
        condition=condition,
    )


def _places(run: Run) -> str:
    runtime = {"compose": "Containers", "local": "Local processes"}[run.runtime]
    pinned = " or ".join(map(cpus.named, run.server_cpus.values()))
    return f"{runtime}; servers on {pinned}, generator on {cpus.named(run.generator_cpus)}."
