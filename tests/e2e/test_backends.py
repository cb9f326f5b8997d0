"""Runs whose requests wait for backends, and what comes of it where a backend fails."""

import json
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Cli, Ended, end, observations
from tests.e2e.test_bad_input import assert_one_line
from wsgilab import commands
from wsgilab.experiment.workloads import WORKLOADS

pytestmark = [pytest.mark.lab, pytest.mark.beside]

UNREACHED = "registry.invalid/postgres:17"
WAITING = """
name: waiting
blocks: 1
window_s: 0.3
reference: gunicorn-gevent
workloads: {db: {ms: 20}, upstream: {ms: 20}, sleep: {ms: 20}}
cells:
  - {servers: [gunicorn-gevent], workloads: [db, upstream, sleep], users: [8], connections: [close]}
patience_s: 5
"""
EVERYTHING = """
name: everything
blocks: 1
window_s: 0.3
reference: gunicorn-gevent
workloads: {cpu: {ms: 2}, stall: {ms: 60}}
cells:
  - {servers: [gunicorn-gevent], workloads: [WORKLOADS], users: [8], connections: [keep-alive]}
  - {servers: [gunicorn-sync-4], workloads: [WORKLOADS], users: [8], connections: [close]}
"""


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    file = tmp_path / "waiting.yaml"
    file.write_text(WAITING)
    return file


def test_every_workload_is_answered_rightly_over_connections_of_either_kind(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "everything.yaml"
    file.write_text(EVERYTHING.replace("WORKLOADS", ", ".join(WORKLOADS)))
    if cli.runtime == "local":
        # Processes need no image.
        cli.variables["LAB_POSTGRES_IMAGE"] = UNREACHED
    ended = cli.run(experiment=str(file))
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
    found = cli.comparison()["cells"]
    assert {cell["workload"] for cell in found} == WORKLOADS.keys()
    for cell in found:
        name = f"{cell['server']}, {cell['workload']}"
        assert cell["failures"] == cell["cut_off"] == 0, name
        assert cell["throughput_rps"]["median"] > 0, name
    by_name = {(cell["server"], cell["workload"]): cell for cell in found}
    assert by_name["gunicorn-sync-4", "slow-client"]["bound_by"] in ("slots", "demand", "neighbour"), (
        "held by its clients"
    )
    for workload in ("db", "upstream", "sleep"):
        assert by_name["gunicorn-gevent", workload]["in_flight"]["peak"] > 4, "the backend keeps them waiting"
    assert by_name["gunicorn-gevent", "mixed"]["in_flight"]["peak"] > 1


def test_an_interrupt_while_backends_start_leaves_nothing(cli: Cli, waiting: Path) -> None:
    for wait_s in (0.0, 0.5):
        child = cli.start("lab.run", "--runtime", cli.runtime, "--experiment", str(waiting))
        assert child.stdout is not None
        while not child.stdout.readline().startswith("Starting 1 server and postgres and upstream"):
            assert child.poll() is None
        time.sleep(wait_s)
        ended = end(child, signal.SIGINT)
        assert ended.code == 130, ended.output
        assert "Traceback" not in ended.output
        assert cli.leftovers() == []


def test_a_backend_that_cannot_start_is_an_error(local: Cli, waiting: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for folder in ("compose", "services", "locustfiles", "wsgilab"):
        shutil.copytree(commands.PROJECT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(commands.PROJECT / "tasks.py", project)
    file = project / "compose" / "backends.yaml"
    text = file.read_text()
    assert "max_connections=1000" in text
    file.write_text(text.replace("max_connections=1000", "max_connections=many"))
    with local.start("lab.run", "--runtime", "local", "--experiment", str(waiting), project=project) as child:
        output, _ = child.communicate(timeout=100)
    ended = Ended(code=child.returncode, output=output)
    assert_one_line(ended, "postgres did not start: ended with exit code 1; see its last lines below")
    assert any("many" in line for line in ended.lines if line.startswith("  | "))


@pytest.mark.parametrize("cli", ["compose"], indirect=True)
def test_an_image_of_postgresql_that_cannot_be_had_is_an_error(cli: Cli, waiting: Path) -> None:
    cli.variables["LAB_POSTGRES_IMAGE"] = UNREACHED
    ended = cli.run(experiment=str(waiting))
    assert_one_line(ended, f"the image {UNREACHED}", "neither here nor to be had", "LAB_POSTGRES_IMAGE")
