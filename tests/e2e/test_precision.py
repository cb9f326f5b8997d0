"""Blocks until the comparisons are settled: `--precision`, through the whole lab."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Cli, end, observations, wait_for, with_servers

pytestmark = [pytest.mark.lab, pytest.mark.alone]

# One of one slot, against one of four and its twin: four times as fast, and as fast.
TWIN = """
  twin:
    <<: *server
    command: [gunicorn, --workers=4, "wsgilab_door.wsgi:app"]
    x-lab: {slots: 4, processes: 4, model: process, summary: gunicorn-sync-4 once more}
"""
EXPERIMENT = """
name: precision
blocks: 4
window_s: 0.2
reference: gunicorn-sync-4
workloads: {sleep: {ms: 20}}
cells: [{servers: [gunicorn-sync-4, gunicorn-sync-1, twin], workloads: [sleep], users: [8]}]
"""


def start(cli: Cli, folder: Path) -> list[str]:
    """The words that begin a run of the experiment."""
    with_servers(cli, folder, TWIN)
    experiment = folder / "precision.yaml"
    experiment.write_text(EXPERIMENT)
    return ["lab.run", "--runtime", "local", "--experiment", str(experiment)]


def blocks(cli: Cli) -> dict[str, list[int]]:
    """Server -> the blocks in which it was measured, in the order of time."""
    found: dict[str, list[int]] = {}
    for row in map(json.loads, observations(cli.latest)):
        assert row["status"] == "measured", row
        found.setdefault(row["cell"]["server"], []).append(row["block"])
    return found


def is_disturbed(comparison: dict[str, Any]) -> bool:
    """Whether somebody else on this machine disturbed a cell, of which no verdict comes then."""
    return any("neighbour" in cell["broken_gates"] for cell in comparison["cells"])


def verdicts(comparison: dict[str, Any]) -> dict[str, str]:
    return {each["server"]: each["verdict"] for each in comparison["comparisons"]}


def test_twins_are_measured_on_and_what_is_settled_is_not_also_after_an_interruption(
    local: Cli, tmp_path: Path
) -> None:
    # Nothing tells twins apart, and no four blocks of them agree to a ten-thousandth.
    child = local.start(*start(local, tmp_path), "--precision", "0.0001", "--max-blocks", "8")
    wait_for(lambda: len(observations(local.latest)) >= 13, "a trial after the first look")
    ended = end(child, signal.SIGTERM)
    assert ended.code == 128 + signal.SIGTERM, ended.output
    assert "2 cells are not settled by 4 blocks: 4 trials more." in ended.output
    measured = observations(local.latest)
    assert 13 <= len(measured) < 20

    folder = local.latest
    again = local("lab.run", "--resume", folder.name)
    assert again.code == 0, again.output
    assert observations(folder)[: len(measured)] == measured
    assert "2 cells are not settled by 6 blocks: 4 trials more." in again.output
    found = blocks(local)
    # Each block once, in order: all four to begin with, then those of the twins, up to the most.
    assert found == {
        "gunicorn-sync-1": list(range(4)),
        "gunicorn-sync-4": list(range(8)),
        "twin": list(range(8)),
    }
    comparison = local.comparison()
    assert verdicts(comparison) == {"gunicorn-sync-1": "slower", "twin": "undecided"} or is_disturbed(comparison)
    assert Counter(each["blocks"] for each in comparison["comparisons"]) == {4: 1, 8: 1}
    assert comparison["run"]["trials"] == {"planned": 20, "measured": 20, "failed": 0}
