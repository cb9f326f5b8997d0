"""Time where it decides: an experiment with a budget, through the whole lab."""

import functools
import itertools
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import STARVED_AT_MOST, Cli, Ended, end, is_disturbed, observations, wait_for, with_servers

pytestmark = pytest.mark.lab

# One of one slot, against one of four and its twin: four times as fast, and as fast.
TWIN = """
  twin:
    <<: *server
    command: [gunicorn, --workers=4, "wsgilab_door.wsgi:app"]
    x-lab: {slots: 4, processes: 4, model: process, summary: gunicorn-sync-4 once more}
"""
BUDGET_S = 6
EXPERIMENT = f"""
name: budget
budget: {BUDGET_S}s
window_s: 0.2
reference: gunicorn-sync-4
workloads: {{sleep: {{ms: 20}}}}
cells: [{{servers: [gunicorn-sync-4, gunicorn-sync-1, twin], workloads: [sleep], users: [8]}}]
"""


def start(cli: Cli, folder: Path) -> list[str]:
    """The words that begin a run of the experiment."""
    with_servers(cli, folder, TWIN)
    # Who else is at work need not be looked at first.
    cli.variables["LAB_SHARE_CORES"] = "1"
    experiment = folder / "budget.yaml"
    experiment.write_text(EXPERIMENT)
    return ["lab.run", "--runtime", "local", "--experiment", str(experiment)]


def is_in_second_block(cli: Cli, before: Path, child: "subprocess.Popen[str]") -> bool:
    """Or has ended by itself. `before` is where the latest results were."""
    return child.poll() is not None or (cli.latest != before and len(observations(cli.latest)) >= 4)


def interrupted(cli: Cli, words: list[str]) -> Ended:
    """The run when a signal has ended it in its second block; another one where it had ended before the signal came."""
    for _ in range(STARVED_AT_MOST):
        before = cli.latest
        child = cli.start(*words)
        wait_for(functools.partial(is_in_second_block, cli, before, child), "a trial of the second block")
        ended = end(child, signal.SIGTERM)
        if ended.code != 0:
            break
    return ended


def begins(last: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether the row is the first of a block of those that the budget is for."""
    return bool(row["look"]) and row["block"] > last["block"]


def verdicts(comparison: dict[str, Any]) -> dict[str, str]:
    return {each["server"]: each["verdict"] for each in comparison["comparisons"]}


def test_a_budget_goes_to_what_it_can_decide_and_ends_in_time_also_after_an_interruption(
    local: Cli, tmp_path: Path
) -> None:
    ended = interrupted(local, start(local, tmp_path))
    assert ended.code == 128 + signal.SIGTERM, ended.output

    folder = local.latest
    again = local("lab.run", "--resume", folder.name)
    assert again.code == 0, again.output
    rows = list(map(json.loads, observations(folder)))
    used_s = itertools.accumulate(row["took_s"] for row in rows)
    begun_s = [each for each, (last, row) in zip(used_s, itertools.pairwise(rows), strict=False) if begins(last, row)]
    assert all(each <= BUDGET_S for each in begun_s), "a block late at most"
    assert {row["look"] for row in rows if row["block"] < 2} == {0}
    assert {row["look"] for row in rows if row["block"] >= 2} <= {2, 3, 4}
    comparison = local.comparison()
    # Where that took nearly all of it, nothing is left to decide with.
    whole_s = sum(row["took_s"] for row in rows if not row["look"])
    if whole_s < 0.8 * BUDGET_S and not any(map(is_disturbed, comparison["cells"])):
        assert "may still be decided: " in again.output
        assert verdicts(comparison)["gunicorn-sync-1"] == "slower"
    found = comparison["budget"]
    assert found["decided"] + len(found["left"]) == found["comparisons"]
    assert (
        f"The budget of {BUDGET_S} s has decided {found['decided']} of {found['comparisons']} comparisons"
        in again.output
    )
    report = local("lab.report")
    assert report.code == 0, report.output
    assert local.comparison()["comparisons"] == comparison["comparisons"], "the folder alone says the same"
