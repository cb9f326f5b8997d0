"""Runs whose requests wait for backends, and the end of those that have not begun to measure."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import HERE, Cli, end, is_disturbed, observations
from wsgilab.experiment.workloads import WORKLOADS

pytestmark = pytest.mark.lab

UNREACHED = "registry.invalid/postgres:17"
EVERYTHING = """
name: everything
blocks: 1
window_s: 0.3
reference: gunicorn-gevent
workloads:
  cpu: {ms: 2}
  stall: {ms: 60}
  upload: {kib: 64, send_ms: 50}
  stream: {s: 0.1, every_ms: 50}
  burst: {every_ms: 200, ms: 10}
cells:
  - {servers: [gunicorn-gevent], workloads: [WORKLOADS], users: [8], connections: [keep-alive]}
  - {servers: [gunicorn-sync-4], workloads: [CLOSED], users: [8], connections: [close]}
  - {servers: [gunicorn25-eventlet], workloads: [db, upstream], users: [8], connections: [close]}
  - {servers: [gunicorn-sync-4], workloads: [sleep], users: [8], connections: [close], idle: 2}
  - {servers: [gunicorn-gevent], workloads: [sleep], users: [8], connections: [keep-alive], gap_ms: 100}
  - {servers: [gunicorn-sync-4], workloads: [sleep], users: [24], connections: [close], abandon_ms: 150}
"""


@pytest.fixture
def everything(cli: Cli, tmp_path: Path) -> Path:
    file = tmp_path / "everything.yaml"
    # In containers they are the same programs: each workload once, and the slow clients of a server that has few slots.
    closed = WORKLOADS if cli.runtime == "local" else ["slow-client"]
    file.write_text(EVERYTHING.replace("WORKLOADS", ", ".join(WORKLOADS)).replace("CLOSED", ", ".join(closed)))
    return file


def check_circumstances(silent: dict[str, Any], pausing: dict[str, Any], giving_up: dict[str, Any]) -> None:
    """Each of them is what a server of four sync workers, or gevent, makes of it."""
    # A sync worker waits for what a connection has to say.
    assert (silent["in_flight"]["peak"], silent["idle_closed"], silent["failures"]) == (2, 0, 0)
    assert is_disturbed(pausing) or pausing["pausing"]["median"] > 2, "of 8: each waits 50 ms, and pauses 100 ms"
    assert pausing["failures"] == pausing["reset"] == 0
    # Four slots answer 80 requests a second, and 24 users ask 160 times.
    assert giving_up["abandoned"] > 0
    assert 0 < giving_up["wasted_work"]["median"] <= 1
    assert (giving_up["in_flight"]["peak"], giving_up["failures"], giving_up["cut_off"]) == (4, 0, 0)


def test_every_workload_is_answered_rightly_over_connections_of_either_kind(cli: Cli, everything: Path) -> None:
    if cli.runtime == "local":
        # Processes need no image.
        cli.variables["LAB_POSTGRES_IMAGE"] = UNREACHED
    ended = cli.run(experiment=str(everything))
    assert ended.code == 0, ended.output
    assert any(
        re.fullmatch(r"Cores: servers on \S+, generator on \S+, backends on \S+\.", each) for each in ended.lines
    )
    run = yaml.safe_load((cli.latest / "run.yaml").read_text())
    assert run["backend_cpus"]
    assert {"postgres", "upstream"} <= run["stacks"].keys()
    for row in map(json.loads, observations(cli.latest)):
        workload = row["cell"]["workload"]
        assert (row["backend_cpu_s"] is None) == (not WORKLOADS[workload].backends), workload
        assert workload != "db" or row["backend_cpu_s"] > 0
    every = cli.comparison()["cells"]
    silent, pausing, giving_up = (
        next(each for each in every if key in each) for key in ("idle", "gap_ms", "abandon_ms")
    )
    check_circumstances(silent, pausing, giving_up)
    found = [each for each in every if each not in (silent, pausing, giving_up)]
    assert {cell["workload"] for cell in found} == WORKLOADS.keys()
    for cell in found:
        name = f"{cell['server']}, {cell['workload']}"
        assert cell["failures"] == cell["cut_off"] == 0, name
        assert cell["throughput_rps"]["median"] > 0, name
    by_name = {(cell["server"], cell["workload"]): cell for cell in found}
    assert by_name["gunicorn-sync-4", "slow-client"]["bound_by"] in ("slots", "demand", "neighbour"), (
        "held by its clients"
    )
    for workload in ("db", "upstream"):
        for server in ("gunicorn-gevent", "gunicorn25-eventlet"):
            # By how many depends on the machine; else it would be one.
            assert by_name[server, workload]["in_flight"]["peak"] > 1, "its driver gives way while the backend waits"
    assert by_name["gunicorn-gevent", "mixed"]["in_flight"]["peak"] > 1


@pytest.mark.parametrize("with_backends", [False, True])
def test_an_interrupt_while_all_starts_leaves_nothing(cli: Cli, everything: Path, *, with_backends: bool) -> None:
    experiment = everything if with_backends else HERE / "small.yaml"
    child = cli.start("lab.run", "--runtime", cli.runtime, "--experiment", str(experiment))
    assert child.stdout is not None
    while not child.stdout.readline().startswith(
        f"Starting {'3 servers and postgres' if with_backends else '2 servers ...'}"
    ):
        assert child.poll() is None
    ended = end(child, signal.SIGINT)
    assert ended.code == 130, ended.output
    assert "Traceback" not in ended.output
    assert cli.leftovers() == []
