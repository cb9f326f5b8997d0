"""`report.html`, one file that needs no other and runs no script, and `plots/*.svg`: the same charts by themselves.

Everything is computed here or before; the template lays out. Whatever comes from a run passes `page`, which escapes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from markupsafe import Markup

from wsgilab.model import Comparison, by_conditions
from wsgilab.report import (
    budget,
    capacity,
    machines,
    markdown,
    prediction,
    recommendation,
    reproduce,
    tables,
    tune,
    versions,
)
from wsgilab.report.charts import svg
from wsgilab.report.charts.figure import Figure, Panel, Section, one_line, workloads
from wsgilab.report.charts.figures import figures
from wsgilab.report.findings import Finding, findings, question, unless
from wsgilab.report.legend import legend
from wsgilab.report.page import page
from wsgilab.report.tables import Column, Table

PLOTS = "plots"
"""The folder of the charts' files."""

_BRIEF = ("rank", "server", "in flight", "requests/s", "x reference", "x cost", "bound by", "because")
"""Columns that are in sight; the others are behind a click."""

_SENTENCE = 30
"""From more characters on a column needs room to be folded in."""

_WARNING_COLUMNS = (
    Column("server", 0, numeric=False),
    Column("conditions", 1, numeric=False),
    Column("broken gates", 0, numeric=False),
    Column("warnings", 0, numeric=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """A table, which of its columns is the rows' heading, and what each column is: `number`, `words`, or `long` where it
    holds sentences."""

    table: Table
    heading: int
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A figure with its drawings and its table."""

    figure: Figure
    drawings: tuple[Markup, ...]
    sheet: _Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReportGroup:
    """Servers under the same conditions: what is in sight, and everything."""

    brief: _Sheet
    whole: _Sheet
    by_request: _Sheet | None
    """Where users send several requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workload:
    """Everything about one workload."""

    name: str
    title: str
    anchor: str
    """Where the page has it."""
    shown: tuple[_Shown, ...]
    groups: tuple[_ReportGroup, ...]


def report(comparison: Comparison) -> Mapping[str, bytes]:
    """The page and the charts' files; none for an interactive session, which compares nothing."""
    if not comparison.interleaved:
        return {}
    drawn = [(figure, [svg.draw(panel) for panel in figure.panels]) for figure in figures(comparison)]
    files = {f"{PLOTS}/{figure.name}.svg": svg.as_file(figure, panels) for figure, panels in drawn}
    shown = [_shown(figure, panels) for figure, panels in drawn]
    return {"report.html": _page(comparison, shown).encode(), **files}


def _page(comparison: Comparison, shown: Sequence[_Shown]) -> str:
    def of(section: Section, workload: str = "") -> tuple[_Shown, ...]:
        return tuple(each for each in shown if (each.figure.section, each.figure.workload) == (section, workload))

    run = comparison.run
    answer, effects = tables.answer(comparison), machines.effects(comparison)
    predicted = prediction.predicted(comparison)
    capacities = capacity.table(comparison)
    by_request = (tables.by_request(comparison, each) for each in by_conditions(comparison.cells))
    grouped = dict(
        zip(by_conditions(comparison.cells), map(_group, tables.groups(comparison), by_request), strict=True)
    )
    named = list(workloads(comparison))
    of_workloads = [
        _Workload(
            name=name,
            title=tables.workload(run, name),
            anchor=f"load-{number}",
            shown=of("load", name),
            groups=tuple(group for (workload, *_), group in grouped.items() if workload == name),
        )
        for number, name in enumerate(named, 1)
    ]
    parts = [
        ("balance", "Balance", of("balance")),
        ("scaling", "Scaling", of("scaling")),
        ("cost", "Cost", of("cost")),
        ("drift", "Drift", of("drift")),
    ]
    evident = {"advice": "Which server to run", **{name: title for name, title, drawn in parts if drawn}}
    tuned = tune.tuned(comparison)
    return page(
        "report.html",
        title=question(comparison),
        unless=unless(comparison),
        run=run,
        trials=f"{comparison.measured} of {comparison.trials} trials measured",
        machine=machines.machine(run),
        windows=markdown.windows(comparison),
        statistics=markdown.statistics(comparison),
        versions=versions.findings(comparison.versions) if comparison.versions else (),
        open=budget.open_questions(comparison),
        budget=budget.sentences(comparison)[1:],
        failed=comparison.failed,
        tuned=tuned,
        tuned_lines=[] if tuned is None else list(tune.lines(tuned)),
        answer=None if answer is None else _sheet(answer),
        answer_shown=of("answer"),
        capacity=None if capacities is None else _sheet(capacities),
        capacity_words=capacity.sentences(comparison),
        capacity_shown=of("capacity"),
        rule=recommendation.RULE,
        advice=recommendation.recommendations(comparison),
        findings=[(each.text, *_evidence(each, of_workloads, evident)) for each in findings(comparison)],
        workloads=of_workloads,
        timelines=[each for name in named for each in of("timeline", name)],
        predicted=None if predicted is None else _sheet(predicted),
        parts=parts,
        machines=None if effects is None else _sheet(effects),
        warnings=_sheet(_warnings(comparison)),
        place=reproduce.place(),
        command=reproduce.command(run),
        facts=list(reproduce.facts(run)),
        servers=_sheet(reproduce.servers(run)),
        stacks=_sheet(reproduce.stacks(run)),
        legend=list(legend(comparison)),
    )


def _evidence(finding: Finding, workloads: Sequence[_Workload], parts: Mapping[str, str]) -> tuple[str, str]:
    """Where the page has the evidence of a finding, and what is there: a part with charts, a workload, or all workloads."""
    if finding.part in parts:
        return finding.part, parts[finding.part]
    of_workload = next((each for each in workloads if finding.workload and each.name == finding.workload), None)
    return ("load", "Throughput and latency") if of_workload is None else (of_workload.anchor, of_workload.title)


def _shown(figure: Figure, drawn: Sequence[str]) -> _Shown:
    drawings = tuple(_named(each, figure, panel) for each, panel in zip(drawn, figure.panels, strict=True))
    return _Shown(figure=figure, drawings=drawings, sheet=_sheet(figure.table))


def _named(drawn: str, figure: Figure, panel: Panel) -> Markup:
    """A drawing that says what it shows, to those who do not see it."""
    label = one_line(f"{figure.title}. {', '.join(panel.title)}. The table below has its figures.")
    # Vega has escaped what comes from the run, and here the label is.
    return Markup(drawn).replace("<svg ", Markup('<svg role="img" aria-label="{}" ').format(label), 1)  # noqa: S704


def _sheet(table: Table) -> _Sheet:
    heading = next((index for index, column in enumerate(table.columns) if not column.numeric), 0)
    kinds = tuple(
        "number" if column.numeric else "long" if any(len(row[index]) > _SENTENCE for row in table.rows) else "words"
        for index, column in enumerate(table.columns)
    )
    return _Sheet(table=table, heading=heading, kinds=kinds)


def _group(table: Table, by_request: Table | None) -> _ReportGroup:
    chosen = [column.heading in _BRIEF for column in table.columns]
    brief = Table(
        title=table.title,
        columns=tuple(compress(table.columns, chosen)),
        rows=tuple(tuple(compress(row, chosen)) for row in table.rows),
        notes=table.notes,
    )
    of_requests = None if by_request is None else _sheet(by_request)
    return _ReportGroup(brief=_sheet(brief), whole=_sheet(table), by_request=of_requests)


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
