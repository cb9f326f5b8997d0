"""Bad input, and bad luck: one clear line, a non-zero exit code, no traceback, nothing lost, nothing left running.

What stands in one file alone is tested with its parser; here is what takes the whole lab to go wrong.
"""

import contextlib
import fcntl
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
from tests.e2e.conftest import HERE, Cli, Ended, end, make_cli, observations, wait_for
from tests.e2e.wire import Detour
from wsgilab import testing
from wsgilab.commands import Workspace
from wsgilab.model.errors import BuildError, TrialsFailed, UsageError
from wsgilab.results.store import Journal, Store
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import read_catalogue
from wsgilab.runtime import engine
from wsgilab.runtime.engine import Endpoint, Engine
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


def test_an_experiment_that_is_wrong(local: Cli, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(
        "name: wrong\nreference: gunicorn-sync-1\ncells: [{servers: [nginx], workloads: [hello], users: [1]}]\n"
    )
    ended = local("lab.run", "--runtime", "local", "--experiment", str(file))
    assert_one_line(
        ended, str(file), "cells[0].servers", "unknown server 'nginx'", "did you mean nginx-gunicorn-sync-1", code=USAGE
    )


def test_a_catalogue_that_is_wrong(local: Cli, tmp_path: Path) -> None:
    file = tmp_path / "servers.yaml"
    file.write_text(local.workspace.catalogue.read_text().replace("${LAB_BIND:-0.0.0.0:8000}", "${LAB_BNID}", 1))
    local.variables["LAB_CATALOGUE"] = str(file)
    assert_one_line(local.run(), str(file), "flask-default", "unknown placeholder LAB_BNID", "the lab sets", code=USAGE)


def test_a_results_folder_that_cannot_be_written(local: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    local.variables["LAB_RESULTS"] = str(tmp_path / "file" / "results")
    assert_one_line(local.run(), str(tmp_path / "file" / "results"), "cannot write results", "make the folder writable")


def stored(cli: Cli) -> Store:
    """A run of this very machine and catalogue, of which one trial is measured."""
    servers = read_catalogue(cli.workspace)
    experiment = testing.experiment(testing.cell("gunicorn-sync-4"))
    run = testing.run(experiment, servers["gunicorn-sync-4"], host=host.fingerprint(), runtime=cli.runtime)
    store = Store.create(cli.workspace.results, run)
    with Journal(store) as journal:
        journal.append(testing.observation(testing.cell("gunicorn-sync-4")))
    return store


def test_results_of_another_schema(local: Cli) -> None:
    store = stored(local)
    run = store.folder / "run.yaml"
    run.write_text(run.read_text().replace("schema: 1", "schema: 2", 1))
    before = observations(store.folder)
    for words in (("lab.report",), ("lab.run", "--resume", "latest")):
        assert_one_line(local(*words), str(run), "schema 2", "reads schema 1")
    assert observations(store.folder) == before


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
    file = tmp_path / "hang.yaml"
    file.write_text((HERE / "small.yaml").read_text().replace("patience_s: 2", "patience_s: 1"))
    child = local.start("lab.run", "--runtime", "local", "--experiment", str(file), "--blocks", "2")
    wait_for(lambda: len(observations(local.latest)) >= 2, "two trials")
    for each in processes(local.workspace):
        if "--worker-class=gevent" in each.info["cmdline"]:
            each.suspend()
    output, _ = child.communicate(timeout=100)
    assert child.returncode == TrialsFailed.exit_code, output
    rows = [json.loads(line) for line in observations(local.latest)]
    assert len(rows) == 4
    failed = [row for row in rows if row["status"] == "failed"]
    assert failed
    assert {row["cell"]["server"] for row in failed} == {"gunicorn-gevent"}


def test_a_generator_that_dies_ends_the_run_with_what_was_measured(local: Cli) -> None:
    child = local.start("lab.run", "--runtime", "local", "--experiment", str(HERE / "small.yaml"), "--blocks", "20")
    wait_for(lambda: len(observations(local.latest)) >= 2, "two trials")
    for each in processes(local.workspace):
        if "wsgilab.load.driver" in each.info["cmdline"]:
            each.send_signal(signal.SIGKILL)
    output, _ = child.communicate(timeout=60)
    assert_one_line(Ended(code=child.returncode, output=output), "the generator is lost: it has ended")
    assert "trials measured. Go on with: invoke lab.run --resume" in output
    assert local.comparison()["run"]["trials"]["measured"] == len(observations(local.latest))


@pytest.mark.parametrize("module", ["signal", "invoke.config", "pydantic", "wsgilab.commands"])
def test_an_interrupt_while_the_lab_is_imported_is_no_traceback(local: Cli, module: str) -> None:
    child = local.start("lab.list", python=["-X", "importtime"])
    assert child.stdout is not None
    assert any(line.rpartition("|")[2].strip() == module for line in child.stdout)
    ended = end(child, signal.SIGINT)
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
        child = cli.start("lab.run", "--runtime", "compose", "--experiment", str(HERE / "small.yaml"), "--blocks", "20")
        wait_for(lambda: len(observations(cli.latest)) >= 2, "two trials")
        reached.close()
        output, _ = child.communicate(timeout=60)
    assert_one_line(Ended(code=child.returncode, output=output), "the Docker engine stopped answering", "--resume")
    assert len(observations(cli.latest)) >= 2
    assert cli.comparison()["run"]["trials"]["measured"] == len(observations(cli.latest))
    # The engine runs on, out of the lab's reach, and so do the containers, until someone can reach it again.
    del cli.variables["DOCKER_HOST"]
    assert cli.leftovers()
    assert cli("lab.down").code == 0
    assert cli.leftovers() == []


def test_two_labs_in_one_checkout_do_not_measure_each_other(local: Cli) -> None:
    local.workspace.state.mkdir(parents=True, exist_ok=True)
    with (local.workspace.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_one_line(local.run(), "another lab is at work here")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["lab.run", "--runtime", "podman"], ["--runtime: unknown runtime 'podman'", "known are compose, local"]),
        (["lab.run", "--cores", "one"], ["--cores one", "whole numbers"]),
        (["lab.run", "--runtime", "local", "--servers", "nope"], ["--servers", "unknown server 'nope'"]),
        (["lab.run", "--resume", "no-such-run"], ["no run 'no-such-run'", "make one with invoke lab.run"]),
        (["lab.report", "--run", "no-such-run"], ["no run 'no-such-run'"]),
        (["lab.build", "--runtime", "local", "--servers", "nope"], ["unknown server 'nope'"]),
        (["lab.run", "--port", "8089"], ["--port 8089", "give --watch too"]),
        (["lab.up", "--runtime", "local", "--port", "0", "--servers", "nope"], ["--servers", "unknown server 'nope'"]),
        (["lab.up", "--port", "eighty"], ["--port eighty", "whole number"]),
    ],
)
def test_options_that_are_wrong(local: Cli, words: list[str], parts: list[str]) -> None:
    assert_one_line(local(*words), *parts, code=USAGE)


def test_more_cores_than_there_are(local: Cli) -> None:
    ended = local("lab.up", "--runtime", "local", "--port", "0", "--cores", "999")
    assert_one_line(ended, "999 server cores", "--share-generator")


def test_a_lab_that_is_not_up(local: Cli) -> None:
    assert_one_line(local("lab.logs", "gunicorn-sync-4"), "the interactive lab is not up", "invoke lab.up")


# --- no engine, which is a normal case

CONTEXT = '[{"Endpoints":{"docker":{"Host":"unix:///somewhere"}},"TLSMaterial":{},"Storage":{"TLSPath":""}}]'
"""What Docker's client tells of the current one."""


def fake_docker(folder: Path, script: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(folder)


def test_a_machine_without_docker_runs_locally_and_says_why(local: Cli, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    local.variables["PATH"] = str(empty)
    ended = local("lab.run", "--experiment", str(HERE / "small.yaml"), "--blocks", "1", "--servers", "gunicorn-sync-4")
    assert ended.code == 0, ended.output
    assert ended.lines[0] == "Runtime: local (no docker client on PATH)."
    assert_one_line(local("lab.run", "--runtime", "compose"), "no docker client on PATH", "use --runtime local")


def test_an_old_client_earlier_on_path_does_not_hide_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fake_docker(tmp_path / "old", "exit 1")
    answers = f"case $1 in compose) echo 2.26.1;; version) echo 26.1.5;; context) echo '{CONTEXT}';; esac"
    whole = fake_docker(tmp_path / "whole", answers)
    monkeypatch.setenv("PATH", f"{old}:{whole}:/usr/bin:/bin")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert engine.find() == Engine(
        docker=f"{whole}/docker",
        address="unix:///somewhere",
        endpoint=Endpoint(host="unix:///somewhere"),
        version="26.1.5",
        compose="2.26.1",
    )
