"""One run on three machines, broken again and again: what is lost is said in a line, what was measured is kept, nothing
that can be reached is left running, and in the end every trial is there.

Each test goes on with the run where the one before it was broken off, as its user would.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.conftest import require
from tests.e2e import conftest
from tests.e2e.conftest import HERE, Ended, observations, wait_for
from tests.e2e.keys import Ssh
from tests.e2e.machines import Machine, left_running
from tests.e2e.sites import LAST, SECONDS, SiteCli, entry, first, site_cli

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

BLOCKS = 6
"""So many that trials are left after each fault."""


@pytest.fixture(scope="module")
def ssh(beta: Machine) -> Iterator[Ssh]:
    with beta.sshd() as reached:
        yield reached


@pytest.fixture(scope="module")
def cli(
    state: Path, tmp_path_factory: pytest.TempPathFactory, beta: Machine, gamma: Machine, ssh: Ssh
) -> Iterator[SiteCli]:
    """The targets on beta, which is reached through ssh; Locust's master where the tests run, more workers on gamma."""
    require("compose")
    with site_cli(state, tmp_path_factory.mktemp("broken"), beta, gamma) as made:
        made.variables["PATH"] = ssh.path()
        yield made.on([entry(beta, engine=beta.by_ssh)], [first(beta), entry(gamma, cores=LAST)])


def under_way(cli: SiteCli) -> "subprocess.Popen[str]":
    """The run, when it has measured more than before."""
    again = observations(cli.latest)
    how = ("--resume", "latest") if again else ("--experiment", str(HERE / "small.yaml"), "--blocks", str(BLOCKS))
    return conftest.under_way(cli, "--site", str(cli.file), *how, seconds=SECONDS)


def assert_broken_off(cli: SiteCli, child: "subprocess.Popen[str]", *told: str) -> None:
    """It has ended with one clear line, and nothing is left on the engines that answer."""
    output, _ = child.communicate(timeout=SECONDS)
    ended = Ended(code=child.returncode, output=output)
    assert ended.code == 1, output
    assert "Traceback" not in output
    [error] = [line for line in ended.lines if line.startswith("error: ")]
    assert all(each in error for each in told), output
    assert any("Go on with: " in line and "--resume" in line for line in ended.lines), output
    rows = [json.loads(line) for line in observations(cli.latest)]
    assert 1 <= len(rows) < 2 * BLOCKS
    # A trial that others disturbed is measured again, and its last row counts.
    measured = {row["position"] for row in rows if row["status"] == "measured"}
    assert cli.comparison()["run"]["trials"]["measured"] == len(measured)


def on_this(cli: SiteCli) -> list[str]:
    return left_running(docker.from_env(), cli.workspace.lab_id)


# A worker that is lost on another machine: test_generator.py.
def test_the_cable_is_pulled(cli: SiteCli, beta: Machine, gamma: Machine, ssh: Ssh) -> None:
    """ssh notices, and ends: how it ends otherwise is no matter."""
    child = under_way(cli)
    measured = observations(cli.latest)
    with beta.unplugged():
        assert_broken_off(cli, child)
        assert on_this(cli) == gamma.names(cli.workspace.lab_id) == []
        assert ssh.clients() == []
    assert observations(cli.latest)[: len(measured)] == measured


def test_the_engine_is_killed_and_what_it_leaves_is_ended_later(cli: SiteCli, beta: Machine, gamma: Machine) -> None:
    child = under_way(cli)
    beta.kill()
    assert_broken_off(cli, child, "beta")
    assert on_this(cli) == gamma.names(cli.workspace.lab_id) == []
    down = cli.task("lab.down")
    assert down.code == 1, down.output
    assert "beta" in down.lines[-1]
    beta.start()
    assert beta.names(cli.workspace.lab_id) != []
    down = cli.task("lab.down")
    assert down.code == 0, down.output
    assert cli.leftovers() == []


def test_the_run_itself_is_killed(cli: SiteCli, beta: Machine, ssh: Ssh) -> None:
    """After a server that was killed before it, on another machine, has been started again."""
    child = under_way(cli)
    [server] = beta.containers(cli.workspace.lab_id, "gunicorn-gevent")
    server.kill()
    told = b'"restarted":["gunicorn-gevent"]'
    wait_for(
        lambda: any(told in row for row in observations(cli.latest)) or child.poll() is not None,
        "the server's restart",
        seconds=SECONDS,
    )
    assert child.poll() is None, child.communicate()[0]
    child.kill()
    child.communicate()
    wait_for(lambda: not ssh.clients(), "the end of ssh")
    assert beta.names(cli.workspace.lab_id) != []


def test_every_trial_is_there_in_the_end(cli: SiteCli) -> None:
    measured = observations(cli.latest)
    again = cli.resume()
    assert "that an earlier run had left behind" in again.output
    again = cli.gone_on_with(again)
    assert again.code == 0, again.output
    assert observations(cli.latest)[: len(measured)] == measured
    comparison = cli.comparison()
    assert comparison["run"]["trials"] == {"planned": 2 * BLOCKS, "measured": 2 * BLOCKS, "failed": 0}
    peaks = {cell["server"]: cell["in_flight"]["peak"] for cell in comparison["cells"]}
    # All eight users are inside at once only where the machine lets them.
    assert peaks["gunicorn-sync-4"] == 4 < peaks["gunicorn-gevent"] <= 8
    assert cli.leftovers() == []
