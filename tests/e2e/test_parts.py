"""What latencies consist of, against theory: requests that queue for one slot, through the whole lab."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, observations

pytestmark = [pytest.mark.lab, pytest.mark.alone]

USERS, SLEEP_MS = 32, 50
QUEUE_MS = (USERS - 1) * SLEEP_MS
"""A request that is answered is followed at once by that of the same user, which has all others before it."""
EXPERIMENT = f"""
name: parts
blocks: 1
window_s: 1
reference: gunicorn-sync-1
workloads: {{sleep: {{ms: {SLEEP_MS}}}}}
cells: [{{servers: [gunicorn-sync-1], workloads: [sleep], users: [{USERS}]}}]
"""


def test_with_one_slot_a_request_queues_for_all_other_users_and_the_parts_add_up_to_its_latency(
    local: Cli, tmp_path: Path
) -> None:
    # Nobody else is at work, and it need not be looked at first.
    local.variables["LAB_SHARE_CORES"] = "1"
    experiment = tmp_path / "parts.yaml"
    experiment.write_text(EXPERIMENT)

    ended = local("lab.run", "--runtime", "local", "--experiment", str(experiment))

    assert ended.code == 0, ended.output
    for row in map(json.loads, observations(local.latest)):
        means = {part: times["mean"] for part, times in row["swarm"]["parts"].items()}
        assert sum(means.values()) == pytest.approx(row["swarm"]["latency_mean_ms"], rel=0.01)
    [cell] = local.comparison()["cells"]
    parts = {part: times["mean"] for part, times in cell["parts"].items()}
    assert list(parts) == ["connect", "queue", "service", "back"]
    assert min(parts.values()) >= 0
    told = [line for line in (local.latest / "comparison.md").read_text().splitlines() if "Where the time" in line]
    assert len(told) == 1
    if "neighbour" not in cell["broken_gates"]:
        # What a request costs besides, of which there are 31, is a millisecond or so.
        assert QUEUE_MS - SLEEP_MS < parts["queue"] < 1.1 * QUEUE_MS, parts
        assert SLEEP_MS <= parts["service"] < 1.1 * SLEEP_MS, parts
        assert parts["connect"] + parts["back"] < 0.2 * SLEEP_MS, parts
        # By Little's law.
        assert sum(parts.values()) == pytest.approx(1000 * USERS / cell["throughput_rps"]["median"], rel=0.05)
