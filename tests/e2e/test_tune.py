"""Searches through the whole lab, interrupted: a race of a small space, which is gone on with, and one for capacity."""

import json
import math
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, end, observations, wait_for

pytestmark = pytest.mark.lab

SPACE = """
servers:
  - {like: gunicorn-gthread, workers: [1, 2], threads: [4]}
"""


def test_a_race_ends_with_a_command_to_copy_also_after_an_interruption(local: Cli, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    asked = ["--workload", "sleep", "--users", "8", "--cores", "1", "--space", str(space), "--budget", "6s"]
    child = local.start("lab.tune", "--runtime", "local", *asked, "--memory-mb", "2000")
    wait_for(lambda: len(observations(local.latest)) >= 2, "a trial")
    ended = end(child, signal.SIGINT)
    assert ended.code == 128 + signal.SIGINT, ended.output
    assert "Go on with: invoke lab.tune --resume " in ended.output

    again = local("lab.tune", "--resume", local.latest.name)
    assert again.code == 0, again.output
    found = local.comparison()["tune"]
    assert found["rounds"][0] == 3, "the two of the space, and the rule of thumb"
    assert sorted({*found["left"], *found["gone"]}) == [
        *("gunicorn-gthread-1x4", "gunicorn-gthread-2x4", "gunicorn-sync-3"),
    ]
    neighbours = any("neighbour" in cell["broken_gates"] for cell in local.comparison()["cells"])
    if not neighbours:
        assert found["server"] == "gunicorn-gthread-2x4", "8 slots for 8 users, where the others have 4 and 3"
        assert "gunicorn --bind=0.0.0.0:8000 --worker-class=gthread --workers=2 --threads=4 app:app" in again.output
    assert "Tuned for sleep 50 ms, 8 users, 1 core, connection: close; memory at most 2000 MB" in again.output
    assert local("lab.report").output.count("Tuned for sleep 50 ms, 8 users") == 1


def test_a_search_for_capacity_that_is_interrupted_says_what_it_knows_and_how_to_go_on(local: Cli) -> None:
    asked = [
        "lab.capacity",
        "--servers",
        "gunicorn-gthread-8",
        "--workload",
        "hello",
        "--p95-ms",
        "50",
        "--budget",
        # Of which an interruption leaves most: the search must not end by itself before, however slow the machine is.
        "600s",
    ]
    child = local.start(*asked, "--runtime", "local")
    wait_for(lambda: len(observations(local.latest)) >= 3, "a second window at a rate")
    ended = end(child, signal.SIGTERM)
    assert ended.code == 128 + signal.SIGTERM, ended.output

    assert "Requests/s next: gunicorn-gthread-8 " in ended.output
    assert f"Go on with: invoke lab.capacity --resume {local.latest.name}" in ended.output
    assert (
        "Capacity is the highest rate of requests, spaced at random (Poisson arrivals), at which 95 of 100"
        in ended.output
    )
    closed, *at_rates = map(json.loads, observations(local.latest))
    assert closed["cell"]["users"] == 32
    for row in at_rates:
        assert row["cell"]["arrivals"] == "poisson"
        # Forty times the limit, and longer where that is too short for 200 requests: how fast the server is says the machine.
        rate, window_s = row["cell"]["rate"], row["swarm"]["window_s"]
        assert window_s == pytest.approx(min(30, max(2, 200 / rate)), abs=0.01)
        due = rate * window_s
        assert row["swarm"]["due"] == pytest.approx(due, abs=5 * math.sqrt(due))
    report = local("lab.report")
    assert report.code == 0, report.output
    (server,) = local.comparison()["capacity"]["servers"]
    assert len(server["tried"]) == len(at_rates)
