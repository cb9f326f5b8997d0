"""Bad input, and bad luck: one clear line, a non-zero exit code, no traceback, nothing lost, nothing left running.

What stands in one file alone is tested with its parser; here is what takes the whole lab to go wrong.
"""

import contextlib
import json
import re
import signal
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import RUNTIMES, copy_checkout, processes, require
from tests.e2e.conftest import HERE, STARVED_AT_MOST, Cli, Ended, end, make_cli, observations, under_way
from tests.e2e.wire import Detour
from wsgilab import testing
from wsgilab.commands import Workspace
from wsgilab.model.errors import BuildError, TrialsFailed, UsageError
from wsgilab.results.store import Journal, Store
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import read_catalogue
from wsgilab.runtime import engine
from wsgilab.runtime.engine import Engine
from wsgilab.system import host

pytestmark = pytest.mark.lab

USAGE = UsageError.exit_code


def assert_one_line(ended: Ended, *parts: str, code: int = 1) -> None:
    """The command failed with one line of error, last, that says all of `parts`."""
    assert ended.code == code, ended.output
    assert "Traceback" not in ended.output
    errors = [line for line in ended.lines if line.startswith("error: ")]
    assert len(errors) == 1, ended.output
    for part in parts:
        assert part in errors[0], errors[0]


def assert_nothing_measured_is_lost(cli: Cli) -> None:
    """A trial that others disturbed may have been measured again, and one of a busy machine may have failed."""
    rows = [json.loads(row) for row in observations(cli.latest)]
    measured = {row["position"] for row in rows if row["status"] == "measured"}
    assert cli.comparison()["run"]["trials"]["measured"] == len(measured) > 0


def stored(cli: Cli) -> Store:
    """A run of this very machine and catalogue, of which one trial is measured."""
    servers = read_catalogue(cli.workspace)
    experiment = testing.experiment(testing.cell("gunicorn-sync-4"))
    run = testing.run(experiment, servers["gunicorn-sync-4"], host=host.fingerprint(), runtime=cli.runtime)
    store = Store.create(cli.workspace.results, run)
    with Journal(store) as journal:
        journal.append(testing.observation(testing.cell("gunicorn-sync-4")))
    return store


def test_a_catalogue_that_changed_since_the_run_began(local: Cli, tmp_path: Path) -> None:
    stored(local)
    file = tmp_path / "servers.yaml"
    file.write_text(local.workspace.catalogue.read_text().replace("--workers=4", "--workers=5"))
    local.variables["LAB_CATALOGUE"] = str(file)
    ended = local("lab.run", "--resume", "latest")
    assert_one_line(ended, "the servers in the catalogue changed", "start a new run")


def test_fewer_ports_than_servers(local: Cli) -> None:
    """Told before anything is installed or started, and not as ports that are taken."""
    local.variables["LAB_PORTS"] = "8100"
    ended = local.run("--servers", "gunicorn-sync-4,gunicorn-gevent")
    assert_one_line(ended, "LAB_PORTS=8100: 2 ports are needed", "the range has 1", "--servers", "unset LAB_PORTS")
    assert "Starting" not in ended.output


def test_a_port_that_is_taken(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cli.variables["LAB_PORTS"] = str(port)
        assert_one_line(cli.run("--servers", "gunicorn-sync-4"), f"LAB_PORTS={port}", "unset LAB_PORTS")


@pytest.mark.parametrize("words", [["lab.up", "--servers", "gunicorn-sync-4"], ["lab.run", "--watch"]])
def test_a_web_ui_whose_port_is_taken(local: Cli, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = local(*words, "--runtime", "local", "--port", str(port))
    assert_one_line(ended, f"--port {port}: is taken on 127.0.0.1", "name another with --port")


def test_a_state_file_that_is_damaged(local: Cli) -> None:
    local.workspace.state.mkdir(parents=True, exist_ok=True)
    file = local.workspace.state / "up.json"
    file.write_text('{"pid": 1')
    for words in (["lab.up", "--runtime", "local"], ["lab.status"]):
        assert_one_line(local(*words), str(file), "clean up with invoke lab.down")
    assert local("lab.down").code == 0
    assert not file.exists()


def test_a_server_that_dies_when_the_lab_comes_up(local: Cli, tmp_path: Path) -> None:
    file = tmp_path / "servers.yaml"
    file.write_text(
        local.workspace.catalogue.read_text().replace("[gunicorn, --workers=4,", "[gunicorn, --workers=none,")
    )
    local.variables["LAB_CATALOGUE"] = str(file)
    ended = local.up()
    assert_one_line(ended, "gunicorn-sync-4 did not start: ended with exit code 2")
    assert any("--workers: invalid int value: 'none'" in line for line in ended.lines if line.startswith("  | "))


@pytest.mark.parametrize("runtime_name", RUNTIMES)
def test_a_stack_that_does_not_install(runtime_name: str, session_places: Workspace, tmp_path: Path) -> None:
    require(runtime_name)
    project = copy_checkout(tmp_path / "project")
    lock = project / "services" / "stacks" / "gunicorn" / "requirements.txt"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, lock.read_text()))
    workspace = replace(
        session_places,
        project=project,
        catalogue=project / "compose" / "servers.yaml",
        state=tmp_path / "state",
    )
    broken, _ = choose_runtime(workspace, runtime_name)
    servers = [read_catalogue(workspace)["gunicorn-sync-1"]]
    with pytest.raises(BuildError, match="stack gunicorn does not install: ") as caught:
        broken.prepare(servers, [], print)
    assert "hash" in (caught.value.message + caught.value.detail).lower()
    assert "\n" not in caught.value.message


def test_a_server_that_hangs_fails_its_trials_and_the_run_goes_on(local: Cli, tmp_path: Path) -> None:
    # Windows so long that the last ones are still to come, however late this test sees the first; and more patience than a busy
    # machine needs.
    file = tmp_path / "hang.yaml"
    text = (HERE / "small.yaml").read_text().replace("patience_s: 2", "patience_s: 5")
    file.write_text(text.replace("window_s: 0.3", "window_s: 1.5"))
    child = under_way(local, "--runtime", "local", "--experiment", str(file), "--blocks", "2")
    for each in processes(local.workspace):
        if "--worker-class=gevent" in each.info["cmdline"]:
            each.suspend()
    output, _ = child.communicate(timeout=240)
    assert child.returncode == TrialsFailed.exit_code, output
    rows = [json.loads(line) for line in observations(local.latest)]
    assert len({row["position"] for row in rows}) == 4
    failed = [row for row in rows if row["status"] == "failed"]
    assert failed
    assert {row["cell"]["server"] for row in failed} == {"gunicorn-gevent"}


def test_a_generator_that_dies_ends_the_run_with_what_was_measured(local: Cli) -> None:
    words = ("--runtime", "local", "--experiment", str(HERE / "small.yaml"), "--blocks", "20")
    child = under_way(local, *words, trials=2)
    for each in processes(local.workspace):
        if "wsgilab.load.driver" in each.info["cmdline"]:
            each.send_signal(signal.SIGKILL)
    output, _ = child.communicate(timeout=120)
    assert_one_line(Ended(code=child.returncode, output=output), "the generator is lost: it has ended")
    assert "trials measured. Go on with: invoke lab.run --resume" in output
    assert_nothing_measured_is_lost(local)


@pytest.mark.parametrize("module", ["signal", "invoke.config", "pydantic", "wsgilab.commands"])
def test_an_interrupt_while_the_lab_is_imported_is_no_traceback(local: Cli, module: str) -> None:
    for _ in range(STARVED_AT_MOST):
        child = local.start("lab.list", python=["-X", "importtime"])
        assert child.stdout is not None
        assert any(line.rpartition("|")[2].strip() == module for line in child.stdout)
        ended = end(child, signal.SIGINT)
        # On a busy machine the command may have ended before the signal comes.
        if ended.code != 0:
            break
    assert ended.code in (-signal.SIGINT, 128 + signal.SIGINT), ended.output
    assert "Traceback" not in ended.output


def test_an_engine_that_stops_ends_the_run_and_nothing_measured_is_lost(state: Path, tmp_path: Path) -> None:
    require("compose")
    found = engine.find()
    assert isinstance(found, Engine)
    cli = make_cli("compose", state, tmp_path / "results")
    # Not below tmp_path: a socket's path may have 107 bytes at most.
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as reached:
        reached.enter_context(Detour(f"{folder}/s", urlsplit(found.address).path, [0]).open())
        cli.variables["DOCKER_HOST"] = f"unix://{folder}/s"
        words = ("--runtime", "compose", "--experiment", str(HERE / "small.yaml"), "--blocks", "20")
        child = under_way(cli, *words, trials=2)
        reached.close()
        output, _ = child.communicate(timeout=120)
    assert_one_line(Ended(code=child.returncode, output=output), "the Docker engine stopped answering", "--resume")
    assert len(observations(cli.latest)) >= 2
    assert_nothing_measured_is_lost(cli)
    # The engine runs on, out of the lab's reach, and so do the containers, until someone can reach it again.
    del cli.variables["DOCKER_HOST"]
    assert cli.leftovers()
    assert cli("lab.down").code == 0
    assert cli.leftovers() == []


def test_more_cores_than_there_are(local: Cli) -> None:
    ended = local("lab.up", "--runtime", "local", "--port", "0", "--cores", "999")
    assert_one_line(ended, "999 server cores", "--share-generator")


def test_a_machine_without_docker_runs_locally_and_says_why(local: Cli, tmp_path: Path) -> None:
    """That is a normal case."""
    empty = tmp_path / "empty"
    empty.mkdir()
    local.variables["PATH"] = str(empty)
    ended = local("lab.run", "--experiment", str(HERE / "small.yaml"), "--blocks", "1", "--servers", "gunicorn-sync-4")
    assert ended.code == 0, ended.output
    assert ended.lines[0] == "Runtime: local (no docker client on PATH)."
    assert_one_line(local("lab.run", "--runtime", "compose"), "no docker client on PATH", "use --runtime local")
