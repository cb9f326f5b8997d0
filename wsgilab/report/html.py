"""`report.html`, one file that needs no other and runs no script, and `plots/*.svg`: the same charts by themselves.

Everything is computed here or before; the template lays out. Whatever comes from a run passes `page`, which escapes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from markupsafe import Markup

from wsgilab.model import Comparison
from wsgilab.report import charts, machines, markdown, recommendation, reproduce, tables
from wsgilab.report.figures import Figure, Section, figures
from wsgilab.report.figures.values import workload_words, workloads
from wsgilab.report.page import page
from wsgilab.report.tables import Column, Table

PLOTS = "plots"
"""The folder of the charts' files."""

_BRIEF = ("rank", "server", "in flight", "requests/s", "x reference", "bound by", "because")
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

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    heading: int
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    """A panel, drawn."""

    title: str
    svg: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A figure, drawn, with its table."""

    title: str
    caption: str
    charts: tuple[_Chart, ...]
    sheet: _Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Servers under the same conditions: what is in sight, and everything."""

    title: str
    brief: _Sheet
    whole: _Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workload:
    """Everything about one workload."""

    title: str
    shown: tuple[_Shown, ...]
    groups: tuple[_Group, ...]


def report(comparison: Comparison) -> Mapping[str, bytes]:
    """The page and the charts' files; none for an interactive session, which compares nothing."""
    if not comparison.interleaved:
        return {}
    found = figures(comparison)
    drawn = {each.name: [charts.draw(panel) for panel in each.panels] for each in found}
    files = {f"{PLOTS}/{each.name}.svg": charts.as_file(each, drawn[each.name]) for each in found}
    return {"report.html": _page(comparison, found, drawn).encode(), **files}


def _page(comparison: Comparison, found: Sequence[Figure], drawn: Mapping[str, Sequence[charts.Drawn]]) -> str:
    shown = dict(zip((each.name for each in found), _shown(found, drawn), strict=True))

    def of(section: Section, workload: str = "") -> tuple[_Shown, ...]:
        return tuple(shown[each.name] for each in found if each.section == section and each.workload == workload)

    run = comparison.run
    answer, effects = tables.answer(comparison), machines.effects(comparison)
    grouped = dict(zip(_conditions(comparison), map(_group, tables.groups(comparison)), strict=True))
    named = list(workloads(comparison))
    return page(
        "report.html",
        run=run,
        trials=f"{comparison.measured} of {comparison.trials} trials measured",
        machine=machines.machine(run),
        windows=markdown.windows(comparison),
        statistics=markdown.statistics(comparison),
        failed=comparison.failed,
        answer=None if answer is None else _sheet(answer),
        answer_shown=of("answer"),
        rule=recommendation.RULE,
        advice=recommendation.recommendations(comparison),
        workloads=[
            _Workload(
                title=workload_words(comparison, name),
                shown=of("load", name),
                groups=tuple(group for (workload, _), group in grouped.items() if workload == name),
            )
            for name in named
        ],
        timelines=[each for name in named for each in of("timeline", name)],
        parts=[
            ("balance", "Balance", of("balance")),
            ("scaling", "Scaling", of("scaling")),
            ("cost", "Cost", of("cost")),
            ("drift", "Drift", of("drift")),
        ],
        machines=None if effects is None else _sheet(effects),
        warnings=_sheet(_warnings(comparison)),
        command=reproduce.command(run),
        facts=list(reproduce.facts(run)),
        servers=_sheet(reproduce.servers(run)),
        stacks=_sheet(reproduce.stacks(run)),
        legend=list(tables.legend(comparison)),
    )


def _shown(found: Iterable[Figure], drawn: Mapping[str, Sequence[charts.Drawn]]) -> Iterable[_Shown]:
    """Each figure, with its panels numbered over the whole page."""
    number = 0
    for figure in found:
        panels = []
        for panel in drawn[figure.name]:
            label = f"{figure.title}. {panel.title}. The table below has its figures."
            # Vega has escaped what comes from the run, and the rest is ours.
            panels.append(_Chart(title=panel.title, svg=Markup(charts.inline(panel, number, label))))  # noqa: S704
            number += 1
        yield _Shown(title=figure.title, caption=figure.caption, charts=tuple(panels), sheet=_sheet(figure.table))


def _sheet(table: Table) -> _Sheet:
    heading = next((index for index, column in enumerate(table.columns) if not column.numeric), 0)
    kinds = tuple(
        "number" if column.numeric else "long" if any(len(row[index]) > _SENTENCE for row in table.rows) else "words"
        for index, column in enumerate(table.columns)
    )
    return _Sheet(
        title=table.title, columns=table.columns, rows=table.rows, notes=table.notes, heading=heading, kinds=kinds
    )


def _conditions(comparison: Comparison) -> Iterable[tuple[str, int]]:
    """Workload and number of each group, in the order of `tables.groups`."""
    groups = dict.fromkeys(result.cell.conditions for result in comparison.cells)
    return [(conditions[0], index) for index, conditions in enumerate(groups)]


def _group(table: Table) -> _Group:
    chosen = [column.heading in _BRIEF for column in table.columns]
    brief = Table(
        title=table.title,
        columns=tuple(compress(table.columns, chosen)),
        rows=tuple(tuple(compress(row, chosen)) for row in table.rows),
        notes=table.notes,
    )
    return _Group(title=table.title, brief=_sheet(brief), whole=_sheet(table))


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
                "; ".join(result.warnings),
            )
            for result in comparison.cells
            if result.warnings or result.broken_gates
        ),
    )
