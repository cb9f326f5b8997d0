"""Time where it decides: an experiment with a budget, through the whole lab."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Cli, end, observations, wait_for, with_servers

pytestmark = pytest.mark.lab

# One of one slot, against one of four and its twin: four times as fast, and as fast.
TWIN = """
  twin:
    <<: *server
    command: [gunicorn, --workers=4, "wsgilab_door.wsgi:app"]
    x-lab: {slots: 4, processes: 4, model: process, summary: gunicorn-sync-4 once more}
"""
EXPERIMENT = """
name: budget
budget: 6s
window_s: 0.2
reference: gunicorn-sync-4
workloads: {sleep: {ms: 20}}
cells: [{servers: [gunicorn-sync-4, gunicorn-sync-1, twin], workloads: [sleep], users: [8]}]
"""


def start(cli: Cli, folder: Path) -> list[str]:
    """The words that begin a run of the experiment."""
    with_servers(cli, folder, TWIN)
    # Who else is at work need not be looked at first.
    cli.variables["LAB_SHARE_CORES"] = "1"
    experiment = folder / "budget.yaml"
    experiment.write_text(EXPERIMENT)
    return ["lab.run", "--runtime", "local", "--experiment", str(experiment)]


def is_disturbed(comparison: dict[str, Any]) -> bool:
    """Whether somebody else on this machine disturbed a cell, of which no verdict comes then."""
    return any("neighbour" in cell["broken_gates"] for cell in comparison["cells"])


def verdicts(comparison: dict[str, Any]) -> dict[str, str]:
    return {each["server"]: each["verdict"] for each in comparison["comparisons"]}


def test_a_budget_goes_to_what_it_can_decide_and_ends_in_time_also_after_an_interruption(
    local: Cli, tmp_path: Path
) -> None:
    child = local.start(*start(local, tmp_path))
    wait_for(lambda: len(observations(local.latest)) >= 4, "a trial of the second block")
    ended = end(child, signal.SIGTERM)
    assert ended.code == 128 + signal.SIGTERM, ended.output

    folder = local.latest
    again = local("lab.run", "--resume", folder.name)
    assert again.code == 0, again.output
    rows = list(map(json.loads, observations(folder)))
    assert sum(row["took_s"] for row in rows) <= 6.0 + 3.0, "a trial or two late at most"
    assert {row["look"] for row in rows if row["block"] < 2} == {0}
    assert {row["look"] for row in rows if row["block"] >= 2} <= {2, 3, 4}
    comparison = local.comparison()
    if not is_disturbed(comparison):
        assert "may still be decided: " in again.output
        assert verdicts(comparison)["gunicorn-sync-1"] == "slower"
    found = comparison["budget"]
    assert found["decided"] + len(found["left"]) == found["comparisons"]
    assert f"The budget of 6 s has decided {found['decided']} of {found['comparisons']} comparisons" in again.output
    report = local("lab.report")
    assert report.code == 0, report.output
    assert local.comparison()["comparisons"] == comparison["comparisons"], "the folder alone says the same"
