"""How the interactive lab ends, or does not even begin: nothing is left of it, whatever ended it."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import processes
from tests.e2e.conftest import HERE, Cli, at_a_terminal, built, end, fetch, observations, wait_for, with_servers
from tests.e2e.test_bad_input import assert_one_line
from tests.unit.session.test_state_file import own
from wsgilab.model.errors import TrialsFailed
from wsgilab.session import state_file

pytestmark = pytest.mark.lab


@pytest.fixture
def tardy(local: Cli, tmp_path: Path) -> Cli:
    """With a server that takes so long to start that a test is never too late to end a lab that comes up."""
    with_servers(local, tmp_path, built("tardy", 1))
    return local


def begun(cli: Cli, *words: str) -> "subprocess.Popen[str]":
    """`lab.up` while its server is being started."""
    child = cli.start("lab.up", "--runtime", cli.runtime, "--servers", "tardy", "--port", "0", *words)
    assert child.stdout is not None
    while not child.stdout.readline().startswith("Starting 1 server"):
        assert child.poll() is None
    return child


def test_when_the_command_is_killed_while_it_comes_up_the_keeper_ends_too(tardy: Cli) -> None:
    """With backends, of which there may be most."""
    end(begun(tardy), signal.SIGKILL)
    wait_for(lambda: tardy.leftovers() == [], "the daemon's end")


def test_a_terminal_that_is_closed_while_it_comes_up_ends_it(tardy: Cli) -> None:
    """As any other signal that is to end it does."""
    words = ("--runtime", "local", "--servers", "tardy", "--no-backends", "--port", "0")
    with at_a_terminal(tardy, "lab.up", *words) as terminal:
        terminal.wait_for(lambda: "Starting 1 server" in terminal.seen, "its start")
        terminal.hang_up()
        assert terminal.child.wait(timeout=120) == 128 + signal.SIGHUP
    assert "Traceback" not in terminal.seen
    assert tardy.leftovers() == []


def test_down_ends_one_that_comes_up(tardy: Cli) -> None:
    child = begun(tardy, "--no-backends")
    assert tardy("lab.down").code == 0
    assert tardy.leftovers() == []
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "ended by SIGTERM" in output


def test_what_it_outlives_and_what_it_does_not(local: Cli) -> None:
    """The terminal at which it was brought up; but not its web UI, and what is left of a daemon that was killed is ended."""
    # Beyond this machine, too: it takes a login then.
    words = ("--runtime", "local", "--servers", "gunicorn-sync-4", "--no-backends", "--port", "0", "--host", "0.0.0.0")
    local.variables["LAB_PASSWORD"] = PASSWORD
    with at_a_terminal(local, "lab.up", *words) as terminal:
        terminal.wait_for(lambda: "End it all with" in terminal.seen, "the lab")
        terminal.hang_up()
        terminal.child.wait(timeout=60)
    assert_it_takes_a_login(local, terminal.seen)

    daemon = local.session().pid
    kill_ui(local)
    wait_for(lambda: state_file.started_ticks(daemon) is None, "the daemon's end", seconds=60)
    assert local.session().servers == {}
    told = "the interactive lab has ended: the web UI is lost"
    assert_one_line(local("lab.status"), told, "lab.up brings it up again")

    # So it does.
    assert local.up("--no-backends").code == 0
    daemon = local.session().pid
    psutil.Process(daemon).kill()
    wait_for(lambda: state_file.started_ticks(daemon) is None, "the daemon's end", seconds=60)
    assert_one_line(local("lab.status"), "what kept it up was killed", "lab.down ends", "lab.up brings it up anew")
    assert local.leftovers()
    ended = local("lab.down")
    assert ended.code == 0, ended.output
    assert int(ended.output.split()[1]) > 0
    assert local.leftovers() == []
    assert local("lab.down").lines == ["Ended 0 processes or containers."]


PASSWORD = "open sesame"


def assert_it_takes_a_login(local: Cli, seen: str) -> None:
    """It is up with PASSWORD, and has said `seen` at a terminal."""
    session, said = local.session(), [line.rstrip() for line in seen.splitlines()]
    assert f"Web UI: http://0.0.0.0:{session.port}/?tab=lab" in said
    login = f"Login: user lab, password {PASSWORD}"
    assert login in said
    assert "http is not encrypted" in " ".join(seen.split())
    status = local("lab.status")
    assert status.code == 0
    assert login in status.lines

    ui = f"http://127.0.0.1:{session.port}"
    for page in ("/", "/lab", "/stats/requests"):
        refused = fetch(ui + page)
        assert (refused.status, refused.headers.get("Location", "").rpartition("/")[2][:5]) == (302, "login"), page
    assert fetch(f"{ui}/swarm", form={"user_count": "1"}).status == 302
    wrong = fetch(f"{ui}/lab/login", form={"username": "lab", "password": "wrong"})
    assert wrong.headers["Location"].endswith("/login")
    right = fetch(f"{ui}/lab/login", form={"username": "lab", "password": PASSWORD})
    assert "tab=lab" in right.headers["Location"]
    assert fetch(f"{ui}/lab", Cookie=right.headers["Set-Cookie"].partition(";")[0]).status == 200


def kill_ui(local: Cli) -> None:
    (ui,) = (each for each in processes(local.workspace) if "wsgilab.web.server" in each.info["cmdline"])
    ui.kill()


def test_a_file_of_another_start_of_the_machine_harms_nobody(local: Cli) -> None:
    """The pid in it may have been taken by a process of anybody's."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as somebody:
        ticks = state_file.started_ticks(somebody.pid)
        assert ticks is not None
        stale = own(pid=somebody.pid, started_ticks=ticks, boot="00000000-0000-0000-0000-000000000000")
        local.workspace.state.mkdir(parents=True, exist_ok=True)
        state_file.write(local.workspace.state, stale)
        assert_one_line(local("lab.status"), "this machine was started again since", "lab.down", "lab.up")
        assert local("lab.down").lines == ["Ended 0 processes or containers."]
        assert somebody.poll() is None
        somebody.kill()


# --- a run that is watched


def test_a_run_is_watched_by_whoever_cannot_change_it(local: Cli) -> None:
    # So many that some are left when the pages were looked at.
    words = ("--experiment", str(HERE / "small.yaml"), "--blocks", "6", "--watch", "--port", "0")
    child = local.start("lab.run", "--runtime", "local", *words)
    assert child.stdout is not None
    said = next(line for line in child.stdout if line.startswith("Watch it at "))
    found = re.fullmatch(r"Watch it at (http://127\.0\.0\.1:\d+)/\?tab=lab\n", said)
    assert found, said
    wait_for(lambda: len(observations(local.latest)) >= 1, "a trial")
    watched = fetch(f"{found[1]}/lab")
    assert watched.status == 200
    assert " of 12 trials" in watched.body
    assert "gunicorn-sync-4" in watched.body
    assert fetch(f"{found[1]}/swarm", form={"user_count": "1", "spawn_rate": "1"}).status == 403
    kill_ui(local)
    output, _ = child.communicate(timeout=120)
    assert child.returncode in (0, TrialsFailed.exit_code), output
    assert output.count("the run goes on without it") == 1
    assert len(observations(local.latest)) >= 12
