"""One run in each runtime, broken again and again: what is lost is said in a line, what was measured is kept, and in the
end every trial is there.

Each test goes on with the run where the one before it was broken off, as its user would.
"""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RUNTIMES, require
from tests.e2e.conftest import (
    STARVED,
    Cli,
    at_a_terminal,
    end,
    kill_target,
    make_cli,
    observations,
    under_way,
    wait_for,
    with_servers,
)
from tests.e2e.containers import assert_confined
from tests.e2e.test_run import cells

pytestmark = pytest.mark.lab

ADDED = """
  gunicorn-sync-two:
    <<: *server
    command: [gunicorn, --workers=2, "wsgilab_door.wsgi:app"]
    x-lab: {slots: 2, processes: 2, model: process, summary: 2 sync workers}
"""
# So many blocks that trials are left after each fault, however late a busy machine lets the test see what to break next.
EXPERIMENT = """
name: broken
blocks: 6
window_s: 0.3
reference: gunicorn-sync-two
workloads: {db: {ms: 20}, upstream: {ms: 20}, sleep: {ms: 20}}
cells:
  - {servers: [gunicorn-sync-two], workloads: [sleep, upstream], users: [8], connections: [close]}
  - {servers: [gunicorn-sync-two, gunicorn-gevent], workloads: [db], users: [8], connections: [close]}
patience_s: 5
"""
TRIALS = 24


@pytest.fixture(scope="module", params=RUNTIMES)
def cli(request: pytest.FixtureRequest, state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    require(request.param)
    folder = tmp_path_factory.mktemp("broken")
    made = make_cli(request.param, state, folder / "results")
    with_servers(made, folder, ADDED)
    (folder / "broken.yaml").write_text(EXPERIMENT)
    yield made
    made.assert_nothing_left()


def restarted(cli: Cli) -> list[str]:
    """What has been started again so far, in order."""
    return [name for row in observations(cli.latest) for name in json.loads(row)["restarted"]]


def test_what_is_killed_is_started_again_and_a_signal_ends_the_run_with_what_was_measured(cli: Cli) -> None:
    # One signal in each runtime, the other time that of a terminal that is closed: all are handled in the same place.
    experiment = cli.workspace.results.parent / "broken.yaml"
    words = ("--runtime", cli.runtime, "--experiment", str(experiment), "--seed", "1")
    if cli.runtime == "local":
        code, said = killed_and_hung_up(cli, *words)
        assert code == 128 + signal.SIGHUP, said
    else:
        child = under_way(cli, *words)
        # A run is under way and its fleet is up: the containers are looked at too.
        assert_confined(cli, {"gunicorn-sync-two", "gunicorn-gevent", "postgres", "upstream", "swarm"})
        kill_two(cli)
        wait_for(lambda: len(restarted(cli)) == 2 or child.poll() is not None, "the two restarts")
        ended = end(child, signal.SIGINT)
        assert ended.code == 128 + signal.SIGINT, ended.output
        said = ended.output
        assert "ended by SIGINT" in ended.lines[-1]
    assert "Traceback" not in said
    assert cli.leftovers() == []
    rows = [json.loads(line) for line in observations(cli.latest)]
    assert sorted(restarted(cli)) == ["gunicorn-gevent", "postgres"]
    for name in ("gunicorn-gevent", "postgres"):
        told = rf"{name} ended (by signal 9|with exit code 137): starting it again \(1 of 3 times at most\)"
        assert re.search(told, " ".join(said.split())), said
        (first,) = (row for row in rows if name in row["restarted"])
        assert first["status"] == "measured", first["reason"]
    failed = [row for row in rows if row["status"] == "failed" and not row["reason"].startswith(STARVED)]
    how = r"the (backend postgres|server) ended (by signal 9|with exit code 137) during the trial"
    assert all(re.match(how, row["reason"]) for row in failed), failed
    assert len(failed) <= 2, "what it was killed in, at most"
    comparison = cli.comparison()
    measured = {row["position"] for row in rows if row["status"] == "measured"}
    assert comparison["run"]["trials"]["measured"] == len(measured) < TRIALS
    warned = [warning for cell in comparison["cells"] for warning in cell["warnings"] if "started again" in warning]
    assert {warning.split()[0] for warning in warned} == {"gunicorn-gevent", "postgres"}


def kill_two(cli: Cli) -> None:
    kill_target(cli, "postgres", "postgres.py")
    kill_target(cli, "gunicorn-gevent", "--worker-class=gevent")


def killed_and_hung_up(cli: Cli, *words: str) -> tuple[int, str]:
    """A run at a terminal that is closed after the two restarts: its code, and what was seen."""
    with at_a_terminal(cli, "lab.run", *words) as terminal:
        terminal.wait_for(lambda: observations(cli.latest), "a trial")
        kill_two(cli)
        terminal.wait_for(lambda: len(restarted(cli)) == 2, "the two restarts")
        terminal.hang_up()
        return terminal.child.wait(timeout=120), terminal.seen


def test_the_run_itself_is_killed(cli: Cli) -> None:
    end(under_way(cli, "--resume", "latest"), signal.SIGKILL)
    assert any("postgres" in each for each in cli.leftovers())


def test_every_trial_is_there_in_the_end_without_the_torn_line(cli: Cli) -> None:
    before = observations(cli.latest)
    with (cli.latest / "observations.jsonl").open("ab") as journal:
        journal.write(b'{"block": 2, "posi')
    again = cli.resume()
    assert "that an earlier run had left behind" in again.output
    again = cli.gone_on_with(again)
    assert again.code == 0, again.output
    assert observations(cli.latest)[: len(before)] == before
    rows = [json.loads(line) for line in observations(cli.latest)]
    assert all(row["status"] == "measured" or row["reason"].startswith(STARVED) for row in rows[len(before) :])
    measured = [(row["block"], json.dumps(row["cell"])) for row in rows if row["status"] == "measured"]
    assert len(measured) == len(set(measured)) == TRIALS, "each once"
    comparison = cli.comparison()
    assert comparison["run"]["trials"] == {"planned": TRIALS, "measured": TRIALS, "failed": 0}
    assert cli.leftovers() == []


def test_a_server_that_one_stanza_has_added_is_measured_like_any_other(cli: Cli) -> None:
    assert "gunicorn-sync-two" in cli("lab.list").output
    assert cells(cli.comparison(), workload="sleep")["gunicorn-sync-two"]["in_flight"]["peak"] == 2
