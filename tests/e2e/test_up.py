"""The interactive lab while it is up: one for all tests of this file, in each runtime."""

import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import RUNTIMES, require
from tests.e2e.conftest import Cli, Ended, end, fetch, kill_target, make_cli, wait_for, with_servers
from tests.e2e.test_bad_input import assert_one_line

pytestmark = pytest.mark.lab

TALKS = """
  talks:
    <<: *server
    command: [gunicorn, --access-logfile=-, --log-level=info, "wsgilab_door.wsgi:app"]
    x-lab: {slots: 1, processes: 1, model: process, summary: says what it does}
"""
SERVERS = "gunicorn-gevent,talks"


@dataclass(kw_only=True)
class Up:
    """A lab that is up, and what it said when it came up."""

    cli: Cli
    said: Ended

    @property
    def table(self) -> list[str]:
        """The table, and what is below it."""
        return self.said.lines[self.said.lines.index(next(each for each in self.said.lines if "address" in each)) :]

    @property
    def ui(self) -> str:
        """The web UI's address, without a path."""
        return f"http://127.0.0.1:{self.cli.session().port}"


@pytest.fixture(scope="module", params=RUNTIMES)
def up(request: pytest.FixtureRequest, state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    require(request.param)
    folder = tmp_path_factory.mktemp("up")
    cli = make_cli(request.param, state, folder / "results")
    with_servers(cli, folder, TALKS)
    said = cli.up(servers=SERVERS)
    assert said.code == 0, said.output
    yield Up(cli=cli, said=said)
    ended = cli("lab.down")
    assert ended.lines == ["Ended 5 processes or containers."]
    cli.assert_nothing_left()
    assert_one_line(cli("lab.status"), "the interactive lab is not up; invoke lab.up")


def test_it_says_what_it_does_and_where_everything_is(up: Up) -> None:
    stands = up.cli.session()
    assert up.said.lines[0].startswith(f"Runtime: {up.cli.runtime} (")
    cores_told = r"Cores: servers on \S+, generator on \S+, backends on \S+\."
    assert any(re.fullmatch(cores_told, line) for line in up.said.lines)
    assert "Starting 2 servers and postgres and upstream ..." in up.said.lines
    assert up.table[0].split() == ["server", "address", "cores", "slots"]
    rows = {row.split()[0]: row.split()[1:] for row in up.table[1:3]}
    cores = stands.server_cpus
    assert rows == {
        "talks": [stands.servers["talks"].address, cores, "1"],
        "gunicorn-gevent": [stands.servers["gunicorn-gevent"].address, cores, "∞"],
    }
    assert f"Web UI: http://127.0.0.1:{stands.port}/?tab=lab" in up.table
    assert "Login" not in up.said.output
    assert "lab.down" in up.table[-1]

    for address, *_ in rows.values():
        assert fetch(f"{address}/hello").body == "hello\n"
    assert fetch(up.ui).status == 200
    figures = fetch(f"{up.ui}/lab")
    assert figures.status == 200
    assert "talks" in figures.body


def test_status_and_a_second_up_say_the_same_and_change_nothing(up: Up) -> None:
    before = up.cli.session()
    status = up.cli("lab.status")
    assert (status.code, status.lines) == (0, up.table)
    again = up.cli("lab.up", "--servers", "talks,gunicorn-gevent", "--port", "0", "--cores", "1")
    assert again.code == 0, again.output
    assert again.lines[1:] == up.table
    after = up.cli.session()
    assert (after.pid, after.servers, after.port) == (before.pid, before.servers, before.port)


def test_what_does_not_go_together_with_it_is_refused(up: Up) -> None:
    ended = up.cli("lab.up", "--cores", "2", "--servers", "talks")
    told = "is up with --cores 1, --servers gunicorn-gevent,talks, not with --cores 2, --servers talks"
    assert_one_line(ended, told, "invoke lab.down first")
    ended = up.cli("lab.run", "--runtime", "local")
    assert_one_line(ended, "the interactive lab is up here", "invoke lab.down")


def test_only_this_machine_reaches_it_and_only_its_user_reads_the_file(up: Up) -> None:
    assert (up.cli.workspace.state / "up.json").stat().st_mode & 0o777 == 0o600
    own = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family is socket.AF_INET and not address.address.startswith("127.")
    ]
    assert own, "this machine has no address but loopback"
    for address in own:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, up.cli.session().port), timeout=5)


def test_logs_are_shown_and_followed(up: Up) -> None:
    address = up.cli.session().servers["talks"].address
    fetch(f"{address}/first")
    child = up.cli.start("lab.logs", "talks", "--follow")
    assert child.stdout is not None
    told = iter(child.stdout.readline, "")
    assert any("GET /first" in line for line in told)
    fetch(f"{address}/second")
    assert any("GET /second" in line for line in told)
    ended = end(child, signal.SIGINT)
    assert ended.code == 130
    assert "ended by SIGINT" in ended.lines
    assert "Traceback" not in ended.output

    shown = up.cli("lab.logs", "talks")
    assert shown.code == 0
    assert "Booting worker" in shown.output
    assert "GET /second" in shown.output


def test_a_server_that_ended_is_seen_and_a_second_up_brings_it_back(up: Up) -> None:
    before = up.cli.session()
    kill_target(up.cli, "gunicorn-gevent", "--worker-class=gevent")
    # At once, whatever the daemon knows by then.
    status = up.cli("lab.status")
    assert_one_line(status, "gunicorn-gevent: ", "invoke lab.logs gunicorn-gevent", "invoke lab.up starts it again")
    assert "state" in next(line for line in status.lines if "address" in line)
    # The web UI says the same of it.
    told = status.lines[-1].partition("gunicorn-gevent: ")[2].partition(";")[0]
    assert told.startswith("ended ")
    wait_for(lambda: told in fetch(f"{up.ui}/lab/figures").body, f"{told!r} in the web UI", seconds=10)

    again = up.cli("lab.up")
    assert again.code == 0, again.output
    assert "state" not in again.output
    stands = up.cli.session()
    assert stands.pid == before.pid
    assert stands.servers["talks"] == before.servers["talks"]
    assert fetch(f"{stands.servers['gunicorn-gevent'].address}/hello").body == "hello\n"


def test_the_web_ui_is_told_of_a_server_that_ended_and_has_it_started_again(up: Up) -> None:
    kill_target(up.cli, "gunicorn-gevent", "--worker-class=gevent")
    wait_for(lambda: up.cli.session().servers["gunicorn-gevent"].failure, "the daemon's notice", seconds=15)
    wait_for(lambda: "ended" in fetch(f"{up.ui}/lab/figures").body, "the UI's notice", seconds=5)
    assert fetch(f"{up.ui}/lab/start-again/gunicorn-gevent", form={}).status == 202
    wait_for(lambda: up.cli.session().servers["gunicorn-gevent"].failure is None, "the start", seconds=30)
    assert fetch(f"{up.cli.session().servers['gunicorn-gevent'].address}/hello").body == "hello\n"


def test_a_backend_that_ended_is_seen_and_a_second_up_brings_it_back(up: Up) -> None:
    backends = f"Backends, on core {up.cli.session().backend_cpus}: postgres; upstream"
    assert backends in up.table
    assert_one_line(up.cli("lab.up", "--no-backends"), "is up with backends, not with --no-backends")

    kill_target(up.cli, "upstream", "upstream.py")
    wait_for(lambda: up.cli.session().backends["upstream"], "the daemon's notice", seconds=15)
    assert_one_line(
        up.cli("lab.status"), "upstream: ended ", "see invoke lab.logs upstream", "invoke lab.up starts it again"
    )
    assert up.cli("lab.logs", "postgres").code == 0
    again = up.cli("lab.up")
    assert again.code == 0, again.output
    assert backends in again.lines
