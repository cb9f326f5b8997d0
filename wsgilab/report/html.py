"""`report.html`, one file that needs no other and runs no script, and `plots/*.svg`: the same charts by themselves.

Everything is computed here or before; the template lays out. Whatever comes from a run passes `page`, which escapes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from markupsafe import Markup

from wsgilab.model import Comparison, by_conditions
from wsgilab.report import (
    at_once,
    budget,
    capacity,
    first_screen,
    machines,
    markdown,
    prediction,
    recommendation,
    reproduce,
    tables,
    tune,
)
from wsgilab.report.ab.ratios import ratios
from wsgilab.report.charts import svg
from wsgilab.report.charts.figure import Section, workloads
from wsgilab.report.charts.figures import figures
from wsgilab.report.charts.parts import of_server
from wsgilab.report.drawn import Drawn, Sheet, named, sheet
from wsgilab.report.findings import Finding, findings, question, unless
from wsgilab.report.legend import legend
from wsgilab.report.page import page
from wsgilab.report.servers import ServerPage, server_pages
from wsgilab.report.tables import Column, Table

PLOTS = "plots"
"""The folder of the charts' files."""

_BRIEF = ("rank", "server", "in flight", "requests/s", "x reference", "x cost", "bound by", "because")
"""Columns that are in sight; the others are behind a click."""

_WARNING_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 1, numeric=False),
    Column("broken gates", 0, numeric=False),
    Column("warnings", 0, numeric=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReportGroup:
    """Servers under the same conditions: what is in sight, and everything."""

    brief: Sheet
    whole: Sheet
    by_request: Sheet | None
    """Where users send several requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workload:
    """Everything about one workload."""

    name: str
    title: str
    anchor: str
    """Where the page has it."""
    shown: tuple[Drawn, ...]
    groups: tuple[_ReportGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """Everything about one server."""

    page: ServerPage
    measured: Sheet
    drawings: tuple[tuple[str, Markup], ...]
    """The parts of its latency, and who ran when in it, each below its caption."""


def report(comparison: Comparison) -> Mapping[str, bytes]:
    """The page and the charts' files; none for an interactive session, which compares nothing."""
    if not comparison.interleaved:
        return {}
    shown = [Drawn.of(figure) for figure in figures(comparison)]
    files = {f"{PLOTS}/{each.figure.name}.svg": svg.as_file(each.figure, each.for_file) for each in shown}
    return {"report.html": _page(comparison, shown).encode(), **files}


def _page(comparison: Comparison, shown: Sequence[Drawn]) -> str:
    def of(section: Section, workload: str = "") -> tuple[Drawn, ...]:
        return tuple(each for each in shown if (each.figure.section, each.figure.workload) == (section, workload))

    run = comparison.run
    effects, predicted = machines.effects(comparison), prediction.predicted(comparison)
    capacities, tuned = capacity.table(comparison), tune.tuned(comparison)
    by_request = (tables.by_request(comparison, each) for each in by_conditions(comparison.cells))
    grouped = dict(
        zip(by_conditions(comparison.cells), map(_group, tables.groups(comparison), by_request), strict=True)
    )
    named_workloads = list(workloads(comparison))
    of_workloads = [
        _Workload(
            name=name,
            title=tables.workload(run, name),
            anchor=f"load-{number}",
            shown=of("load", name),
            groups=tuple(group for (workload, *_), group in grouped.items() if workload == name),
        )
        for number, name in enumerate(named_workloads, 1)
    ]
    parts = [
        ("balance", "Balance", of("balance")),
        ("scaling", "Scaling", of("scaling")),
        ("cost", "Cost", of("cost")),
        ("drift", "Drift", of("drift")),
    ]
    evident = {"advice": "Which server to run", **{name: title for name, title, drawn in parts if drawn}}
    timelines = [each for name in named_workloads for each in of("timeline", name)]
    servers = list(_servers(comparison, timelines))
    verdicts = first_screen.verdicts(comparison)
    more = len(verdicts) - first_screen.MOST_VERDICTS
    return page(
        "report.html",
        title=question(comparison),
        first=first_screen.answer(comparison),
        verdicts=verdicts[: first_screen.MOST_VERDICTS],
        more_verdicts=f"Under other conditions: {more} more" if more > 0 else "",
        unless=unless(comparison),
        drawing_style=Markup(svg.STYLE),  # noqa: S704 - ours
        anchors={each.page.name: f"server-{number}" for number, each in enumerate(servers, 1)},
        run=run,
        trials=f"{comparison.measured} of {comparison.trials} trials measured",
        machine=machines.machine(run),
        windows=markdown.windows(comparison),
        statistics=markdown.statistics(comparison),
        versions=comparison.versions is not None,
        open=budget.open_questions(comparison),
        budget=budget.sentences(comparison)[1:],
        failed=comparison.failed,
        tuned=tuned,
        tuned_lines=[] if tuned is None else list(tune.lines(tuned)),
        answer_shown=[*_of_versions(comparison), *of("answer")],
        capacity=None if capacities is None else sheet(capacities),
        capacity_words=capacity.sentences(comparison),
        capacity_shown=of("capacity"),
        rule=recommendation.RULE,
        advice=recommendation.recommendations(comparison),
        findings=[(each.text, *_evidence(each, of_workloads, evident)) for each in findings(comparison)],
        workloads=of_workloads,
        timelines=timelines,
        predicted=None if predicted is None else sheet(predicted),
        parts=parts,
        machines=None if effects is None else sheet(effects),
        servers=servers,
        warnings=sheet(_warnings(comparison)),
        place=reproduce.place(),
        command=reproduce.command(run),
        facts=list(reproduce.facts(run)),
        server_rows=sheet(reproduce.servers(run)),
        stacks=sheet(reproduce.stacks(run)),
        legend=list(legend(comparison)),
    )


def _of_versions(comparison: Comparison) -> Iterable[Drawn]:
    """The chart of two versions; none of a run of one."""
    if comparison.versions is not None and (figure := ratios(comparison.versions)) is not None:
        yield Drawn.of(figure)


def _evidence(finding: Finding, workloads: Sequence[_Workload], parts: Mapping[str, str]) -> tuple[str, str]:
    """Where the page has the evidence of a finding, and what is there: a part with charts, a workload, or all workloads."""
    if finding.part in parts:
        return finding.part, parts[finding.part]
    of_workload = next((each for each in workloads if finding.workload and each.name == finding.workload), None)
    return ("load", "Throughput and latency") if of_workload is None else (of_workload.anchor, of_workload.title)


def _servers(comparison: Comparison, timelines: Sequence[Drawn]) -> Iterable[_Server]:
    """Each with the chart of its latency's parts, and a timeline of those that the page has: that of the answer, or the first."""
    first = [each.cell.workload for each in at_once.primary(comparison)[:1]]
    timelines = sorted(timelines, key=lambda each: each.figure.workload not in first)
    for each in server_pages(comparison):
        parts = of_server(comparison, each.name)
        drawings = [] if parts is None else [_captioned(each.name, "Where the time of a request goes", svg.draw(parts))]
        of_it = (
            _captioned(each.name, shown.figure.title, drawn)
            for shown in timelines
            for panel, drawn in zip(shown.figure.panels, shown.narrow, strict=True)
            if panel.server == each.name
        )
        drawings += list(of_it)[:1]
        yield _Server(page=each, measured=sheet(each.measured), drawings=tuple(drawings))


def _captioned(server: str, caption: str, drawn: str) -> tuple[str, Markup]:
    return caption, named(drawn, f"{server}: {caption}")


def _group(table: Table, by_request: Table | None) -> _ReportGroup:
    chosen = [column.heading in _BRIEF for column in table.columns]
    brief = Table(
        title=table.title,
        columns=tuple(compress(table.columns, chosen)),
        rows=tuple(tuple(compress(row, chosen)) for row in table.rows),
        notes=table.notes,
    )
    of_requests = None if by_request is None else sheet(by_request)
    return _ReportGroup(brief=sheet(brief), whole=sheet(table), by_request=of_requests)


def _warnings(comparison: Comparison) -> Table:
    """Every warning and every broken gate, with its cell."""
    return Table(
        title="Warnings",
        columns=_WARNING_COLUMNS,
        rows=tuple(
            (
                result.cell.server,
                tables.describe(comparison, result.cell),
                ", ".join(result.broken_gates) or tables.MISSING,
                "; ".join(each.text for each in result.warnings),
            )
            for result in comparison.cells
            if result.warnings or result.broken_gates
        ),
    )
