"""The tab as HTML: a fragment for Locust's page, and a page of its own. Pure.

Figures become strings here; templates/ lay them out with the view that they are of. `static/lab.css` and `static/lab.js`
belong to both pages. Every link is relative to the folder that the lab is served from, which is the same for Locust's page
and for ours: `/` and `/lab`.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from wsgilab.model import Cell, CellFigures, CellResult, Interval, PairResult, Run, Server, by_conditions
from wsgilab.model.text import called, number
from wsgilab.report import tables
from wsgilab.report.legend import LEGEND
from wsgilab.report.tables import MISSING, optional, slots
from wsgilab.system import cpus
from wsgilab.web.advice import NOT_YET, advice_so_far
from wsgilab.web.graphs import graphs, seconds
from wsgilab.web.view import Now, TargetState, View

_TEMPLATES = Environment(
    loader=PackageLoader("wsgilab.web"),
    # Log lines, reasons and commands come from servers and files.
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"slots": slots, "quoted": shlex.quote}
_TEMPLATES.globals["called"] = called


@dataclass(frozen=True, slots=True)
class TabColumn:
    """A column of the measured cells. lab.css has the headings once more, for where there is no room for a table."""

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
    TabColumn("rank", "rank", compared=True),
    TabColumn("ratio", "x reference", compared=True),
    TabColumn("slots", "slots", "in flight", "in flight"),
    TabColumn("peak", "peak", "in flight", "in flight"),
    TabColumn("mean", "mean", "in flight", "in flight"),
    TabColumn("processes", "processes", "served by"),
    TabColumn("threads", "threads", "served by"),
    TabColumn("busiest", "busiest", "served by"),
    TabColumn("rps", "requests/s"),
    TabColumn("p50", "p50", "latency, ms", "p50 ms, p99 ms"),
    TabColumn("p95", "p95", "latency, ms", "p50 ms, p99 ms"),
    TabColumn("p99", "p99", "latency, ms", "p50 ms, p99 ms"),
    TabColumn("max", "max", "latency, ms", "p50 ms, p99 ms"),
    TabColumn("cpu", "target", "CPU", "CPU"),
    TabColumn("generator", "generator", "CPU"),
    TabColumn("failures", "failures"),
    TabColumn("bound", "bound by"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TabRow:
    """One server under the conditions of its group."""

    server: Server
    cell: Cell | None
    """None for a server that ended before there was a figure."""
    figures: Mapping[str, str]
    """By columns' keys."""
    because: str = ""
    notes: tuple[str, ...] = ()
    ended: TargetState | None
    """None while its target runs."""
    details: bool
    """The first row of an ended target, which has its log and the button to start it again."""


def fragment(view: View) -> str:
    """The tab's inside, for a page whose folder is the lab's."""
    return _render("fragment.html", view)


def page(view: View) -> str:
    """The same as a page of its own, to be served beside Locust's. It needs no script."""
    return _render("page.html", view)


def _render(template: str, view: View) -> str:
    comparison, now = view.comparison, view.now
    compared = bool(comparison.pairs) or any(result.rank is not None for result in comparison.cells)
    columns = [column for column in COLUMNS if compared or not column.compared]
    ended = {each.server.name: each for each in view.targets if each.ended}
    current = {}
    if now is not None:
        server = view.run.servers[now.cell.server]
        current = {
            "server": server,
            "conditions": tables.describe(comparison, now.cell),
            "phase": _phase(now),
            "figures": _texts(now.result.figures if now.result else None, server.slots),
            "graphs": graphs(now.pulses, server.slots),
            "seconds": seconds("the end" if now.phase == "stopped" else "now"),
        }
    return _TEMPLATES.get_template(template).render(
        view=view,
        ended=ended,
        current=current,
        columns=columns,
        headings=[(text, list(each)) for text, each in groupby(columns, key=lambda each: each.group or each.heading)],
        groups=_groups(view, ended),
        advice=() if view.advised is None else advice_so_far(view.advised),
        not_yet=NOT_YET,
        places=_places(view.run),
        legend=_legend(columns),
    )


# --- now

_PHASES: Mapping[str, str] = {
    "settling": "waiting until every user has had an answer",
    "measuring": "measuring",
    "stopping": "stopping",
    "stopped": "stopped",
}


def _phase(now: Now) -> str:
    """The phase in words."""
    if now.phase == "ramping":
        return f"{now.cell.users or 0} of {now.users_wanted} users at work"
    return _PHASES[now.phase]


# --- what has been tried


def _groups(view: View, ended: Mapping[str, TargetState]) -> Mapping[str, Sequence[TabRow]]:
    """Heading -> rows: servers under the same conditions, and last those that ended before there was a figure."""
    comparison = view.comparison
    pairs = {pair.cell: pair for pair in comparison.pairs}
    groups: dict[str, list[TabRow]] = {}
    detailed: set[str] = set()
    for found in by_conditions(comparison.cells).values():
        rows = groups.setdefault(tables.title(comparison, found, pairs), [])
        for result in found:
            name = result.cell.server
            rows.append(_row(view.run, result, pairs.get(result.cell), ended.get(name), details=name not in detailed))
            detailed.add(name)
    untried = [
        TabRow(server=each.server, cell=None, figures=_texts(None, each.server.slots), ended=each, details=True)
        for name, each in ended.items()
        if name not in detailed
    ]
    return groups | ({"Ended, with no figures yet": untried} if untried else {})


def _row(run: Run, result: CellResult, pair: PairResult | None, ended: TargetState | None, *, details: bool) -> TabRow:
    ratio = MISSING if pair is None else f"{pair.ratio.median:.2f} {tables.verdict(pair)}"
    return TabRow(
        server=run.servers[result.cell.server],
        cell=result.cell,
        figures={**_texts(result.figures, result.slots), "rank": tables.rank(result), "ratio": ratio},
        because="" if result.figures is None else result.figures.because,
        notes=tuple(each.text for each in tables.warnings(result, pair)),
        ended=ended,
        details=details,
    )


def _texts(figures: CellFigures | None, declared: int | None) -> Mapping[str, str]:
    """Every figure as the lab's other tables write it, by its column's key. `declared`: the server's slots."""
    texts = {**dict.fromkeys((column.key for column in COLUMNS), MISSING), "slots": slots(declared)}
    if figures is None:
        return texts
    uneven = (figures.busiest_share or 1) != 1
    return {
        **texts,
        "peak": optional(figures.peak, "{}"),
        "mean": MISSING if figures.mean_in_flight is None else f"{figures.mean_in_flight.median:.1f}",
        "processes": optional(figures.processes, "{}"),
        "threads": optional(figures.threads, "{}"),
        "busiest": optional(figures.busiest_share, "{:.2f}") if uneven else MISSING,
        "rps": number(figures.throughput_rps.median),
        **{
            name: number(figures.latency_ms[name])
            for name in ("p50", "p95", "p99", "max")
            if name in figures.latency_ms
        },
        "cpu": _share(figures.server_cpu),
        "generator": _share(figures.generator_cpu),
        "failures": f"{figures.failures:,}",
        "bound": figures.bound_by,
    }


def _share(interval: Interval | None) -> str:
    return MISSING if interval is None else f"{interval.median:.0%}"


def _legend(columns: Sequence[TabColumn]) -> Sequence[tuple[str, str]]:
    """The legend of the lab's tables, as far as it is of these columns."""
    shown = {column.term or column.heading for column in columns} | {"because"}
    return [(term, meaning) for term, meaning in LEGEND if term in shown]


# --- the catalogue


def _places(run: Run) -> str:
    """Where servers and generator run."""
    runtime = {"compose": "Containers", "local": "Local processes"}[run.runtime]
    pinned = " or ".join(map(cpus.named, run.server_cpus.values()))
    return f"{runtime}; servers on {pinned}, generator on {cpus.named(run.generator_cpus)}."
