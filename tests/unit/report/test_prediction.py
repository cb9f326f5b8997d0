"""Predictions beside what was measured, in every format, and none where there are none."""

import pytest
import yaml

from tests.unit.predicted import GRID, ONE, cell, compared
from tests.unit.said import printed
from wsgilab.report import html, prediction, terminal
from wsgilab.report.comparison import comparison_yaml
from wsgilab.report.markdown import comparison_md

MEASURED = compared(*GRID, cell(ONE, users=8))
ALONE = compared(cell(ONE, users=8))


@pytest.mark.parametrize("of", [MEASURED, ALONE])
def test_every_format_has_them_where_there_are_any(of: object) -> None:
    comparison = MEASURED if of is MEASURED else ALONE
    page = html.report(comparison)["report.html"].decode()
    table = comparison_md(comparison)["comparison.md"].decode()
    lines = printed(terminal.comparison(comparison, 200), width=400)
    document = yaml.safe_load(comparison_yaml(comparison)["comparison.yaml"])

    has_any = comparison is MEASURED
    assert ("Predicted and measured" in page) == has_any
    assert ("## Predicted and measured" in table) == has_any
    assert ("the throughput of 7 cells was off by" in lines) == has_any
    assert len(document.get("predictions", ())) == 7 * has_any
    assert ("laws" in document) == has_any


def test_a_row_has_both_figures_and_how_far_they_differ() -> None:
    table = prediction.predicted(MEASURED)
    assert table is not None
    first = MEASURED.predictions[0]

    row = dict(zip((column.heading for column in table.columns), table.rows[0], strict=True))

    assert row["server"] == first.cell.server
    assert (row["requests/s"], row["predicted"]) == (f"{first.measured_rps:.0f}", f"{first.throughput_rps:.0f}")
    assert row["off"] == f"{first.throughput_error:+.1%}"
    assert any(note.startswith("Scalability law over users: gthread-1x8, sleep 50 ms, 1 core") for note in table.notes)
