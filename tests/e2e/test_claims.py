"""Claims under test, as a user has them: in both runtimes, on one core, and where a backend fails."""

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Cli, end, kill_target, observations, wait_for
from tests.e2e.test_bad_input import assert_one_line
from wsgilab import commands
from wsgilab.model.errors import TrialsFailed, UsageError
from wsgilab.system import host, process

USAGE = UsageError.exit_code

pytestmark = pytest.mark.lab

PHYSICS = {
    "threaded": "confirmed",
    "coroutines-not-threads": "confirmed",
    "sync-with-threads": "refuted",
    "blocking-driver": "confirmed",
}
"""Claims that waiting alone decides, and so any machine."""
IN_CONTAINERS = ("sync-with-threads", "blocking-driver")

DATABASE = """
name: claims
blocks: 4
window_s: 0.3
workloads: {db: {ms: 20}, sleep: {ms: 20}}
cells:
  waits: {server: gunicorn-gevent, workload: sleep, users: 8}
  asks: {server: gunicorn-gevent, workload: db, users: 8}
claims:
  - id: sleeping
    claim: A gevent worker sleeps many times at once.
    met: in a test
    holds: [{figure: peak_in_flight, of: waits, at_least: 6}]
    explanation: It does.
    advice: None.
  - id: asking
    claim: A gevent worker handles one query at a time.
    met: in a test
    holds: [{figure: peak_in_flight, of: asks, at_most: 1}]
    explanation: It does not.
    advice: None.
"""


CORES = """
name: cores
generator: shared
blocks: 4
window_s: 0.5
workloads: {sleep: {ms: 20}}
cells:
  many: &waiting {server: gunicorn-gevent, workload: sleep, users: 8}
  four: {<<: *waiting, server: gunicorn-sync-4}
  wide: {<<: *waiting, cores: 2}
claims:
  - id: sleeping
    claim: A gevent worker sleeps many times at once.
    met: in a test
    holds: [{figure: peak_in_flight, of: many, at_least: 6}]
    explanation: It does.
    advice: None.
  - id: fewer
    claim: Four sync workers handle three requests at once.
    met: in a test
    holds: [{figure: peak_in_flight, of: four, at_most: 3}]
    explanation: They handle four.
    advice: None.
  - id: faster
    claim: Another core makes it faster.
    met: in a test
    holds: [{figure: throughput_rps, of: wide, over: many, at_least: 1.3}]
    explanation: It does not.
    advice: None.
"""


def verdicts(folder: Path) -> dict[str, Any]:
    """What claims.yaml says, by id."""
    told = yaml.safe_load((folder / "claims.yaml").read_text())
    assert told["schema"] == 1
    return {each["id"]: each for each in told["claims"]}


@pytest.fixture
def shipped(tmp_path: Path) -> str:
    """The claims that the lab comes with, in half the time: whoever waits at once does so within 0.2 s."""
    text = (commands.PROJECT / "experiments" / "claims.yaml").read_text()
    assert text.count("window_s: 0.4\n") == 1
    file = tmp_path / "claims.yaml"
    file.write_text(text.replace("window_s: 0.4\n", "window_s: 0.2\n"))
    return str(file)


@pytest.fixture
def cores(tmp_path: Path) -> str:
    """Claims about cores, of few trials."""
    file = tmp_path / "cores.yaml"
    file.write_text(CORES)
    return str(file)


def test_claims_have_the_same_verdicts_in_both_runtimes(cli: Cli, shipped: str) -> None:
    # Verdicts are judged in one place: in containers one that is refuted, and one that asks a backend.
    expected = PHYSICS if cli.runtime == "local" else {name: PHYSICS[name] for name in IN_CONTAINERS}
    words = ("--claims", shipped, "--only", ",".join(expected))
    ended = cli("lab.claims", "--runtime", cli.runtime, *words, "--blocks", "4")

    assert ended.code == 0, ended.output
    found = verdicts(cli.latest)
    assert found.keys() == expected.keys()
    for name, each in found.items():
        # What somebody else on this machine disturbs is undecided; it is never decided wrongly.
        is_disturbed = each["verdict"] == "undecided" and "others took" in str(each)
        assert each["verdict"] == expected[name] or is_disturbed, each
    assert any(line.endswith("/claims.md") for line in ended.lines)
    markdown = (cli.latest / "claims.md").read_text()
    assert all(each["claim"].replace("`", "") in markdown.replace("\\`", "") for each in found.values())
    assert (cli.latest / "comparison.yaml").exists()

    before = (cli.latest / "claims.yaml").read_bytes()
    (cli.latest / "claims.yaml").unlink()
    again = cli("lab.claims", "--run", "latest", *words)
    assert again.code == 0, again.output
    assert (cli.latest / "claims.yaml").read_bytes() == before, "a verdict follows from what is stored"


def test_on_one_core_what_needs_two_says_so(local: Cli, cores: str) -> None:
    with process.pinned({min(host.usable_cpus())}):
        ended = local("lab.claims", "--runtime", "local", "--claims", cores, "--only", "faster,sleeping")

    assert ended.code == 0, ended.output
    assert "needs 2 cores, and this machine has 1 that can be used" in " ".join(ended.output.split())
    found = verdicts(local.latest)
    assert found["sleeping"]["verdict"] == "confirmed" or "others took" in str(found["sleeping"])
    assert found["faster"]["verdict"] == "not tested"
    run = yaml.safe_load((local.latest / "run.yaml").read_text())
    assert {cell["cores"] for cell in run["experiment"]["cells"]} == {1}


def test_a_backend_that_fails_leaves_its_claims_undecided_and_no_others(local: Cli, tmp_path: Path) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text(DATABASE)
    child = local.start("lab.claims", "--runtime", "local", "--claims", str(file), "--seed", "1")
    wait_for((local.workspace.results / "latest" / "run.yaml").exists, "the first trial")
    # Again and again, until it is not started any more.
    while child.poll() is None:
        with contextlib.suppress(AssertionError):
            kill_target(local, "postgres", "postgres.py")
        time.sleep(0.1)
    output, _ = child.communicate(timeout=100)

    assert child.returncode == TrialsFailed.exit_code, output
    assert "trials failed, as the warnings say" in output.splitlines()[-1]
    assert "Traceback" not in output
    found = verdicts(local.latest)
    # Who looks for something to kill is a neighbour, by which it may be undecided.
    assert "the backend postgres" not in str(found["sleeping"]["conditions"])
    assert found["asking"]["verdict"] == "undecided"
    assert "the backend postgres ended" in found["asking"]["conditions"][0]["reason"]


def test_claims_that_are_interrupted_can_be_gone_on_with(local: Cli, cores: str) -> None:
    words = ("--claims", cores, "--only", "sleeping,fewer")
    child = local.start("lab.claims", "--runtime", "local", *words)
    wait_for(lambda: observations(local.latest), "the first trial")
    ended = end(child, signal.SIGINT)
    assert ended.code == 130
    assert "Go on with: invoke lab.claims --resume" in ended.output

    again = local("lab.claims", *words, "--resume", "latest")
    assert again.code == 0, again.output
    for name, expected in (("sleeping", "confirmed"), ("fewer", "refuted")):
        found = verdicts(local.latest)[name]
        assert found["verdict"] == expected or "others took" in str(found)


def test_what_cannot_be_tested_is_refused_in_one_line(local: Cli) -> None:
    ended = local("lab.claims", "--only", "nonsense")
    assert_one_line(ended, "--only: unknown claim 'nonsense'", "known are development-server-single", code=USAGE)
    ended = local("lab.claims", "--claims", "nowhere.yaml")
    assert_one_line(ended, "claims nowhere.yaml: cannot be read", code=USAGE)
    ended = local("lab.claims", "--run", "latest", "--blocks", "3")
    told = "--run latest: judges what is stored, and measures nothing; give no other option"
    assert_one_line(ended, told, code=USAGE)
    ended = local("lab.claims", "--run", "latest")
    assert_one_line(ended, "no run 'latest'", "make one with invoke lab.run", code=USAGE)


REPORT = """
name: mine
generator: shared
blocks: 4
window_s: 0.3
workloads: {sleep: {ms: 20}}
cells:
  one: {server: {like: gunicorn-sync-1, options: [--keep-alive=1], name: gunicorn-sync-1-kept}, workload: sleep, users: 4}
claims:
  - id: gunicorn-1
    claim: A sync worker handles one request at a time.
    thread: {project: benoitc/gunicorn, number: 1}
    reported: One at a time.
    holds: [{figure: peak_in_flight, of: one, at_most: 1}]
    releases: [gunicorn23-sync-1]
    picture: one
    explanation: It does.
    advice: Use threads.
  - id: gunicorn-2
    claim: Two of them do not start.
    thread: {project: benoitc/gunicorn, number: 2}
    reported: Nothing starts.
    holds: [{figure: failures, of: one, at_least: 1}]
    explanation: They do.
    advice: None.
"""


def test_a_report_is_found_by_its_number_and_tested_with_another_release(local: Cli, tmp_path: Path) -> None:
    """About eight seconds, and a stack that other tests have too."""
    file = tmp_path / "mine.yaml"
    file.write_text(REPORT)

    ended = local("lab.reports", "--runtime", "local", "--reports", str(file), "--only", "gunicorn-1")

    assert ended.code == 0, ended.output
    for words in ("reported: One at a time.", "figure: peak in flight 1", "what to do: Use threads.", "23.0.0 it"):
        assert words in ended.output
    told = yaml.safe_load((local.latest / "reports.yaml").read_text())
    (found,) = told["claims"]
    assert found["verdict"] == "confirmed" or "others took" in str(found)
    assert (found["releases"][0]["version"], found["thread"]["number"]) == ("23.0.0", 1)
    assert (local.latest / "plots" / "report-gunicorn-1.svg").is_file()
