"""Runs whose requests wait for backends, and what comes of it where a backend fails."""

import json
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Cli, Ended, end, observations, wait_for
from tests.e2e.test_bad_input import assert_one_line
from tests.e2e.test_run import kill_target
from wsgilab import lab
from wsgilab.workloads import WORKLOADS

pytestmark = pytest.mark.lab

WAITING = """
name: waiting
blocks: {blocks}
window_s: 0.3
reference: gunicorn-gevent
workloads: {{db: {{ms: 20}}, upstream: {{ms: 20}}, sleep: {{ms: 20}}}}
cells:
  - {{servers: [gunicorn-gevent], workloads: [db, upstream, sleep], users: [8], connections: [close]}}
patience_s: 5
"""


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    file = tmp_path / "waiting.yaml"
    file.write_text(WAITING.format(blocks=6))
    return file


def test_requests_that_wait_for_backends_are_measured(cli: Cli, waiting: Path) -> None:
    ended = cli.run("--blocks", "2", experiment=str(waiting))
    assert ended.code == 0, ended.output
    assert any(
        re.fullmatch(r"Cores: servers on \S+, generator on \S+, backends on \S+\.", each) for each in ended.lines
    )
    run = yaml.safe_load((cli.latest / "run.yaml").read_text())
    assert run["backend_cpus"]
    assert {"postgres", "upstream"} <= run["stacks"].keys()
    rows = [json.loads(line) for line in observations(cli.latest)]
    assert len(rows) == 6
    for row in rows:
        assert row["swarm"]["in_flight"]["peak"] > 4, "the backend keeps them waiting, not the server"
        assert (row["backend_cpu_s"] is None) == (row["cell"]["workload"] == "sleep")
    assert all(row["backend_cpu_s"] > 0 for row in rows if row["cell"]["workload"] == "db")


EVERYTHING = """
name: everything
blocks: 1
window_s: 0.5
reference: gunicorn-gevent
workloads: {cpu: {ms: 2}, stall: {ms: 60}}
cells:
  - {servers: [gunicorn-gevent], workloads: [WORKLOADS], users: [8], connections: [keep-alive]}
  - {servers: [gunicorn-sync-4], workloads: [WORKLOADS], users: [8], connections: [close]}
"""


def test_every_workload_is_answered_rightly_over_connections_of_either_kind(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "everything.yaml"
    file.write_text(EVERYTHING.replace("WORKLOADS", ", ".join(WORKLOADS)))
    ended = cli.run(experiment=str(file))
    assert ended.code == 0, ended.output
    found = cli.comparison()["cells"]
    assert {cell["workload"] for cell in found} == WORKLOADS.keys()
    for cell in found:
        name = f"{cell['server']}, {cell['workload']}"
        assert cell["failures"] == cell["cut_off"] == 0, name
        assert cell["throughput_rps"]["median"] > 0, name
    by_name = {(cell["server"], cell["workload"]): cell for cell in found}
    assert by_name["gunicorn-sync-4", "slow-client"]["bound_by"] in ("slots", "demand"), "held by its clients"
    assert by_name["gunicorn-gevent", "mixed"]["in_flight"]["peak"] > 1


def test_a_backend_killed_in_a_run_fails_the_trials_that_wait_for_it_and_no_others(cli: Cli, waiting: Path) -> None:
    child = cli.start("lab.run", "--runtime", cli.runtime, "--experiment", str(waiting), "--seed", "1")
    # The run has its folder: from now on there are trials.
    wait_for((cli.places.results / "latest" / "run.yaml").exists, "the first trial")
    kill_target(cli, "postgres", "postgres.py")
    output, _ = child.communicate(timeout=100)
    assert child.returncode == 1, output
    assert "trials failed, as the warnings say; try them again with --resume" in output.splitlines()[-1]
    assert "Traceback" not in output
    rows = [json.loads(line) for line in observations(cli.latest)]
    assert len(rows) == 18
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["cell"]["workload"] for row in failed} == {"db"}
    assert len(failed) >= 5, "all but the first, where that was soon enough"
    how = r"the backend postgres ended (by signal 9|with exit code 137) (before|during) the trial"
    assert all(re.match(how, row["reason"]) for row in failed)
    assert failed[-1]["reason"].endswith("before the trial")
    (cell,) = (each for each in cli.comparison()["cells"] if each["workload"] == "db")
    measured = [row for row in rows if row["cell"]["workload"] == "db" and row["status"] == "measured"]
    assert cell.get("blocks", 0) == len(measured), "what has failed takes part in no figure"

    again = cli("lab.run", "--resume", "latest")
    assert again.code == 0, again.output
    assert cli.comparison()["run"]["trials"] == {"planned": 18, "measured": 18, "failed": 0}


def test_a_killed_run_leaves_no_backend_to_the_next(cli: Cli, waiting: Path) -> None:
    child = cli.start("lab.run", "--runtime", cli.runtime, "--experiment", str(waiting))
    wait_for(lambda: len(observations(cli.latest)) >= 1, "a trial")
    end(child, signal.SIGKILL)
    again = cli.run("--blocks", "1", experiment=str(waiting))
    assert again.code == 0, again.output
    assert "that an earlier run had left behind" in again.output


def test_an_interrupt_while_backends_start_leaves_nothing(cli: Cli, waiting: Path) -> None:
    for wait_s in (0.0, 0.3, 0.6):
        child = cli.start("lab.run", "--runtime", cli.runtime, "--experiment", str(waiting))
        assert child.stdout is not None
        while not child.stdout.readline().startswith("Starting 1 server and postgres and upstream"):
            assert child.poll() is None
        time.sleep(wait_s)
        ended = end(child, signal.SIGINT)
        assert ended.code == 130, ended.output
        assert "Traceback" not in ended.output
        assert cli.leftovers() == []


def test_a_backend_that_cannot_start_is_an_error(cli: Cli, waiting: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for folder in ("compose", "services", "locustfiles", "wsgilab"):
        shutil.copytree(lab.PROJECT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(lab.PROJECT / "tasks.py", project)
    file = project / "compose" / "backends.yaml"
    text = file.read_text()
    assert "max_connections=1000" in text
    file.write_text(text.replace("max_connections=1000", "max_connections=many"))
    with cli.start("lab.run", "--runtime", cli.runtime, "--experiment", str(waiting), project=project) as child:
        output, _ = child.communicate(timeout=100)
    ended = Ended(code=child.returncode, output=output)
    assert_one_line(ended, "postgres did not start: ended with exit code 1; see its last lines below")
    assert any("many" in line for line in ended.lines if line.startswith("  | "))


def test_an_image_of_postgresql_that_cannot_be_had_is_an_error(cli: Cli, waiting: Path) -> None:
    cli.variables["LAB_POSTGRES_IMAGE"] = "registry.invalid/postgres:17"
    ended = cli.run("--blocks", "1", experiment=str(waiting))
    if cli.runtime == "local":
        assert ended.code == 0, "processes need no image"
        return
    assert_one_line(ended, "the image registry.invalid/postgres:17", "neither here nor to be had", "LAB_POSTGRES_IMAGE")


def test_the_interactive_lab_has_backends_unless_told_otherwise(cli: Cli) -> None:
    up = cli.up(servers="gunicorn-gevent")
    assert up.code == 0, up.output
    cores = cli.standing().backend_cpus
    assert f"Backends, on core {cores}: postgres; upstream" in up.lines
    assert_one_line(cli("lab.up", "--no-backends"), "is up with backends, not with --no-backends")

    kill_target(cli, "upstream", "upstream.py")
    wait_for(lambda: cli.standing().backends["upstream"], "the keeper's notice", seconds=15)
    assert_one_line(
        cli("lab.status"), "upstream: ended ", "see invoke lab.logs upstream", "invoke lab.up starts it again"
    )
    assert cli("lab.logs", "postgres").code == 0
    again = cli("lab.up")
    assert again.code == 0, again.output
    assert f"Backends, on core {cores}: postgres; upstream" in again.lines
    assert cli("lab.down").lines == ["Ended 4 processes or containers."]
    assert cli.leftovers() == []

    without = cli.up("--no-backends", servers="gunicorn-gevent")
    assert without.code == 0, without.output
    assert "ackends" not in without.output
    assert cli("lab.down").lines == ["Ended 2 processes or containers."]
