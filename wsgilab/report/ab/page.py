"""`against.html`: two runs beside each other."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from wsgilab.model import CellOfRuns, RunsComparison
from wsgilab.report.ab import first_screen, words
from wsgilab.report.ab.ratios import ratios
from wsgilab.report.charts import svg
from wsgilab.report.drawn import Drawn
from wsgilab.report.page import page
from wsgilab.report.tables import Table


def runs_html(comparison: RunsComparison) -> Mapping[str, bytes]:
    """The two as a page that needs no other file and runs no script."""
    figure, verdicts = ratios(comparison), first_screen.verdicts(comparison)
    more = len(verdicts) - first_screen.MOST_VERDICTS
    text = page(
        "runs.html",
        title=words.title(comparison),
        question=first_screen.question(comparison),
        first=first_screen.answer(comparison),
        shown=None if figure is None else Drawn.of(figure),
        verdicts=verdicts[: first_screen.MOST_VERDICTS],
        more_verdicts=f"{more} more are in the tables." if more > 0 else "",
        drawing_style=Markup(svg.STYLE),  # noqa: S704 - ours
        anchors={},
        identities=words.identities(comparison),
        notes=list(words.notes(comparison)),
        groups=[_group(group, cells) for group, cells in words.groups(comparison)],
        alike=words.alike(comparison),
        differences=words.differences(comparison),
        only=list(words.only(comparison)),
        legend=words.legend(comparison),
    )
    return {"against.html": text.encode()}


def _group(group: Table, cells: Sequence[CellOfRuns]) -> Mapping[str, object]:
    """A group as the template takes it."""
    return {
        "title": group.title,
        "columns": group.columns,
        "rows": [(row, cell.verdict) for row, cell in zip(group.rows, cells, strict=True)],
        "lower_is_faster": cells[0].metric == "latency",
        "notes": group.notes,
    }
