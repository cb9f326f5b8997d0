"""Claims under test, as a user has them: also on one core, and interrupted."""

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Cli, end, observations, wait_for
from tests.e2e.test_bad_input import assert_one_line
from wsgilab import commands
from wsgilab.model.errors import UsageError
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


# That containers handle as many requests at once: test_run.py and, with a backend, test_backends.py.
def test_claims_have_the_verdicts_of_physics(local: Cli, shipped: str) -> None:
    words = ("--claims", shipped, "--only", ",".join(PHYSICS))
    ended = local("lab.claims", "--runtime", "local", *words, "--blocks", "4")

    assert ended.code == 0, ended.output
    found = verdicts(local.latest)
    assert found.keys() == PHYSICS.keys()
    for name, each in found.items():
        # What somebody else on this machine disturbs is undecided; it is never decided wrongly.
        is_disturbed = each["verdict"] == "undecided" and "others took" in str(each)
        assert each["verdict"] == PHYSICS[name] or is_disturbed, each
    assert any(line.endswith("/claims.md") for line in ended.lines)
    markdown = (local.latest / "claims.md").read_text()
    assert all(each["claim"].replace("`", "") in markdown.replace("\\`", "") for each in found.values())
    assert (local.latest / "comparison.yaml").exists()

    before = (local.latest / "claims.yaml").read_bytes()
    (local.latest / "claims.yaml").unlink()
    again = local("lab.claims", "--run", "latest", *words)
    assert again.code == 0, again.output
    assert (local.latest / "claims.yaml").read_bytes() == before, "a verdict follows from what is stored"


def test_on_one_core_what_needs_two_says_so_and_what_is_interrupted_can_be_gone_on_with(local: Cli, cores: str) -> None:
    words = ("--claims", cores, "--only", "sleeping,fewer,faster")
    with process.pinned({min(host.usable_cpus())}):
        child = local.start("lab.claims", "--runtime", "local", *words)
        wait_for(lambda: observations(local.latest), "the first trial")
        ended = end(child, signal.SIGINT)
        again = local("lab.claims", *words, "--resume", "latest")
    assert ended.code == 130
    assert "Go on with: invoke lab.claims --resume" in ended.output
    assert "needs 2 cores, and this machine has 1 that can be used" in " ".join(ended.output.split())

    assert again.code == 0, again.output
    found = verdicts(local.latest)
    for name, expected in (("sleeping", "confirmed"), ("fewer", "refuted")):
        assert found[name]["verdict"] == expected or "others took" in str(found[name])
    assert found["faster"]["verdict"] == "not tested"
    run = yaml.safe_load((local.latest / "run.yaml").read_text())
    assert {cell["cores"] for cell in run["experiment"]["cells"]} == {1}


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
