"""The interactive lab: a terminal brings it up, other terminals and a browser go on with it, and one ends it. In each runtime."""

import json
import re
import signal
import socket
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil
import pytest
import yaml
from playwright.sync_api import Browser, expect

from tests.conftest import RUNTIMES, require
from tests.e2e.attack import ELSEWHERE, attack, web_site
from tests.e2e.browser import LabPage, launched, new_page
from tests.e2e.conftest import Cli, Ended, end, fetch, kill_target, make_cli, wait_for, with_servers
from tests.e2e.test_bad_input import assert_one_line

pytestmark = pytest.mark.lab

TALKS = """
  talks:
    <<: *server
    command: [gunicorn, --workers=2, --access-logfile=-, --log-level=info, "wsgilab_door.wsgi:app"]
    x-lab: {slots: 2, processes: 2, model: process, summary: says what it does}
"""
SERVERS = "gunicorn-sync-4,gunicorn-gevent,talks"
in_one_runtime = pytest.mark.parametrize("up", ["local"], indirect=True)


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

    @property
    def url(self) -> str:
        """The lab's tab there."""
        return f"{self.ui}/?tab=lab"

    def wait_until_reached(self) -> None:
        """On a busy machine one of its parts may not have been reached at the last look."""
        wait_for(lambda: not self.cli.session().failures, "the next look")


@pytest.fixture(scope="module", params=RUNTIMES)
def up(request: pytest.FixtureRequest, state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    require(request.param)
    folder = tmp_path_factory.mktemp("up")
    cli = make_cli(request.param, state, folder / "results")
    with_servers(cli, folder, TALKS)
    said = cli.up(servers=SERVERS)
    assert said.code == 0, said.output
    brought_up = Up(cli=cli, said=said)
    yield brought_up
    brought_up.wait_until_reached()
    ended = cli("lab.down")
    assert ended.lines == ["Ended 6 processes or containers."]
    cli.assert_nothing_left()
    assert_one_line(cli("lab.status"), "the interactive lab is not up; invoke lab.up")


def test_it_says_what_it_does_and_where_everything_is(up: Up) -> None:
    stands = up.cli.session()
    assert up.said.lines[0].startswith(f"Runtime: {up.cli.runtime} (")
    cores_told = r"Cores: servers on \S+, generator on \S+, backends on \S+\."
    assert any(re.fullmatch(cores_told, line) for line in up.said.lines)
    assert "Starting 3 servers and postgres and upstream ..." in up.said.lines
    assert up.table[0].split() == ["server", "address", "cores", "slots"]
    rows = {row.split()[0]: row.split()[1:] for row in up.table[1:4]}
    cores = stands.server_cpus
    assert rows == {
        "gunicorn-sync-4": [stands.servers["gunicorn-sync-4"].address, cores, "4"],
        "gunicorn-gevent": [stands.servers["gunicorn-gevent"].address, cores, "∞"],
        "talks": [stands.servers["talks"].address, cores, "2"],
    }
    assert f"Web UI: http://127.0.0.1:{stands.port}/?tab=lab" in up.table
    assert f"Backends, on core {stands.backend_cpus}: postgres; upstream" in up.table
    assert up.cli("lab.logs", "postgres").code == 0
    assert "Login" not in up.said.output
    assert "lab.down" in up.table[-1]

    for address, *_ in rows.values():
        assert fetch(f"{address}/hello").body == "hello\n"
    assert fetch(up.ui).headers["Location"] == "/?tab=lab"
    figures = fetch(f"{up.ui}/lab")
    assert figures.status == 200
    assert "talks" in figures.body


def test_status_and_a_second_up_say_the_same_and_change_nothing(up: Up) -> None:
    up.wait_until_reached()
    before = up.cli.session()
    status = up.cli("lab.status")
    assert (status.code, status.lines) == (0, up.table)
    again = up.cli("lab.up", "--servers", "talks,gunicorn-gevent,gunicorn-sync-4", "--port", "0", "--cores", "1")
    assert again.code == 0, again.output
    assert again.lines[1:] == up.table
    after = up.cli.session()
    assert (after.pid, after.servers, after.port) == (before.pid, before.servers, before.port)


def test_what_does_not_go_together_with_it_is_refused(up: Up) -> None:
    ended = up.cli("lab.up", "--cores", "2", "--servers", "talks")
    told = "is up with --cores 1, --servers gunicorn-sync-4,gunicorn-gevent,talks, not with --cores 2, --servers talks"
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
    wait_for(lambda: told in fetch(f"{up.ui}/lab/figures").body, f"{told!r} in the web UI")

    again = up.cli("lab.up")
    assert again.code == 0, again.output
    assert "state" not in again.output
    stands = up.cli.session()
    assert stands.pid == before.pid
    assert stands.servers["talks"] == before.servers["talks"]
    assert fetch(f"{stands.servers['gunicorn-gevent'].address}/hello").body == "hello\n"


# Starting a backend again in each runtime: test_faults.py.
@in_one_runtime
def test_a_backend_that_ended_is_seen_and_a_second_up_brings_it_back(up: Up) -> None:
    backends = f"Backends, on core {up.cli.session().backend_cpus}: postgres; upstream"
    assert_one_line(up.cli("lab.up", "--no-backends"), "is up with backends, not with --no-backends")

    kill_target(up.cli, "upstream", "upstream.py")
    wait_for(lambda: up.cli.session().backends["upstream"], "the daemon's notice")
    assert_one_line(
        up.cli("lab.status"), "upstream: ended ", "see invoke lab.logs upstream", "invoke lab.up starts it again"
    )
    again = up.cli("lab.up")
    assert again.code == 0, again.output
    assert backends in again.lines


# --- in a browser


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    # Names that stand for this machine, as anybody's can who owns a name.
    with launched("--host-resolver-rules=MAP *.example 127.0.0.1") as found:
        yield found


@pytest.fixture
def browser(started: Browser) -> Iterator[Browser]:
    """Without the pages of other tests, which would ask for figures and draw them until the browser ends."""
    yield started
    for context in started.contexts:
        context.close()


@in_one_runtime
def test_what_a_server_handles_at_once_is_seen_in_the_tab(up: Up, browser: Browser, tmp_path: Path) -> None:
    lab = LabPage.open(browser, up.url, accept_downloads=True)
    page = lab.page

    lab.start("gunicorn-sync-4")
    lab.expect_measuring("gunicorn-sync-4")
    sync = lab.row("gunicorn-sync-4")
    sync.expect_peak(4)
    assert sync.figure("slots") == 4
    expect(page.locator("[data-now] [data-figure=peak]")).to_have_text("4")
    # Others on this machine may keep slots empty; test_generator.py has it alone.
    expect(page.locator("[data-now] [data-figure=bound]")).to_have_text(re.compile("slots|unexplained"))
    # Live: the target's CPU comes from the lab, the generator's from the worker.
    expect(page.locator(f"{sync.selector} [data-figure=cpu]")).to_have_text(re.compile(r"^\d+%$"))
    assert sync.figure("generator") < 80
    lab.stop()

    lab.start("gunicorn-gevent", connection="keep-alive")
    lab.expect_measuring("gunicorn-gevent")
    wait_for(lambda: lab.row("gunicorn-gevent").figure("peak") > 12, "more than twelve requests at once")
    # What was tried before is still there.
    assert sync.figure("peak") == 4
    lab.stop()
    expect(page.locator("[data-now][data-phase=stopped]")).to_be_visible()

    files = {}
    for name in ("comparison.yaml", "comparison.md"):
        with page.expect_download() as waiting:
            page.locator(f'a[href$="{name}"]').first.click()
        waiting.value.save_as(tmp_path / name)
        files[name] = (tmp_path / name).read_text()
    document = yaml.safe_load(files["comparison.yaml"])
    cells = {each["server"]: each for each in document["cells"]}
    assert document["schema"] == 1
    assert document["run"]["runtime"] == up.cli.runtime
    assert document["run"]["interleaved"] is False
    assert cells["gunicorn-sync-4"]["in_flight"]["peak"] == 4
    assert cells["gunicorn-sync-4"]["bound_by"] in ("slots", "unexplained")
    assert cells["gunicorn-gevent"]["in_flight"]["peak"] > 12
    assert (cells["gunicorn-gevent"]["connection"], cells["gunicorn-sync-4"]["connection"]) == ("keep-alive", "close")
    assert cells["gunicorn-sync-4"]["throughput_rps"]["median"] <= 4 / 0.050 * 1.02
    assert document["comparisons"] == []
    assert re.search(r"^\| gunicorn\\?-sync\\?-4 \|", files["comparison.md"], re.MULTILINE)

    assert lab.hosts == {up.url.removeprefix("http://").partition("/")[0]}
    assert lab.errors == []


@in_one_runtime
def test_the_form_changes_a_test_under_way_or_says_why_not(up: Up, browser: Browser) -> None:
    lab = LabPage.open(browser, up.url)
    page = lab.page
    start = lab.open_form()
    # The lab knows where its targets are.
    expect(page.locator("input[name=host]")).to_be_hidden()
    expect(page.locator("input[name=sleepMs]")).to_be_visible()
    page.locator("input[name=sleepMs]").fill("long")
    # A preset fills in the form, which shows what the workload has, and forgets what it shows no more.
    page.get_by_role("button", name="8 users who compute 5 ms").click()
    expect(page.locator("input[name=cpuMs]")).to_have_value("5")
    expect(page.locator("input[name=cpuMs]")).to_be_visible()
    expect(page.locator("input[name=sleepMs]")).to_be_hidden()
    expect(page.get_by_label("Number of users")).to_have_value("8")
    # Nothing leads away from it.
    expect(page.locator("main a[href^=http]:visible").filter(has_not_text="127.0.0.1")).to_have_count(0)
    start.click()
    expect(page.locator("[data-now][data-phase=measuring]")).to_contain_text("cpu 5 ms, 8 users")
    lab.stop()
    lab.start("gunicorn-sync-4", users=6)
    lab.expect_measuring("gunicorn-sync-4")
    boxes = {each.inner_text(): each.bounding_box() for each in page.get_by_role("tab").all()}
    assert min((box["x"], name) for name, box in boxes.items() if box)[1].lower() == "lab"

    lab.change(workload="hello")
    expect(page.locator("[data-now][data-phase=measuring]")).to_contain_text("hello, 6 users")
    lab.change(users=3)
    expect(page.locator("[data-now][data-phase=measuring]")).to_contain_text("hello, 3 users")
    lab.change(users=0)
    told = page.get_by_role("alert")
    expect(told).to_contain_text("user count: must be a number from 1 to 10000, not '0'")
    told.get_by_role("button").click()
    expect(told).not_to_be_visible()
    expect(page.locator("[data-now][data-phase=measuring]")).to_contain_text("hello, 3 users")
    lab.stop()
    assert lab.errors == []


@in_one_runtime
def test_a_page_of_another_site_starts_nothing_stops_nothing_and_reads_nothing(
    up: Up, browser: Browser, tmp_path: Path
) -> None:
    """Of another port, of another site, and of a name that was made to stand for the web UI's own address."""
    (tmp_path / "index.html").write_text(ELSEWHERE)
    port = urlsplit(up.ui).port
    # What it would start: another server, and more users.
    form = {"target": "gunicorn-gevent", "workload": "hello", "user_count": "7", "spawn_rate": "7"}
    before = known_cells(up.ui).keys()
    ask(f"{up.ui}/swarm", target="gunicorn-sync-4", workload="sleep", user_count=2, spawn_rate=2)
    wait_for(lambda: users(up.ui) == 2, "two users")
    with web_site(tmp_path) as other:
        for host in ("localhost", "elsewhere.example", "rebound.example"):
            rebound = host == "rebound.example"
            page = new_page(browser)
            url = f"http://{host}:{port if rebound else other}/"
            there = f"http://{host}:{port}" if rebound else up.ui
            # To the same address one that keeps back whose it is sends the same from everywhere.
            read = attack(page, url, there, form, hidden=host != "elsewhere.example")
            # A page that was led here by another name reads that it is not answered.
            assert {status for _, status, _ in read} <= ({403, 0} if rebound else set()), (host, read)
            assert not any("gunicorn" in text for _, _, text in read), host
            assert users(up.ui) == 2, host
            # Nothing was reset either.
            assert json.loads(ask(f"{up.ui}/stats/requests"))["stats"][-1]["num_requests"] > 0, host
            page.close()
    ask(f"{up.ui}/stop", stop=1)
    assert known_cells(up.ui).keys() <= before | {("gunicorn-sync-4", "sleep", 2)}


@in_one_runtime
def test_a_link_on_another_site_leads_to_the_lab(up: Up, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f'{ELSEWHERE}<a href="{up.url}">the lab</a>')
    with web_site(tmp_path) as other:
        page = new_page(browser)
        page.goto(f"http://localhost:{other}/")
        page.get_by_text("the lab").click()
        expect(page.get_by_text("Catalogue").first).to_be_visible()


@in_one_runtime
def test_a_target_that_is_killed_turns_red_and_comes_back(up: Up, browser: Browser) -> None:
    lab = LabPage.open(browser, up.url)
    page = lab.page
    lab.start("talks")
    lab.expect_measuring("talks")
    lab.row("talks").expect_peak(2)

    kill_target(up.cli, "talks", "--log-level=info")
    ended = page.locator("tr.ended[data-server=talks]")
    expect(ended).to_be_visible()
    assert "rgb(0, 0, 0)" != ended.evaluate("each => getComputedStyle(each).backgroundColor") != "rgba(0, 0, 0, 0)"
    expect(page.locator("pre", has_text="GET /sleep").first).to_be_visible()

    # The test goes on meanwhile, and so does the lab: nothing is started anew but the server.
    page.locator("[data-start-again=talks]").first.click()
    expect(ended).not_to_be_visible()
    lab.expect_measuring("talks")
    lab.stop()
    assert fetch(f"{up.cli.session().servers['talks'].address}/hello").body == "hello\n"


# --- as its form asks, without a browser


@in_one_runtime
def test_what_the_form_asks_is_done_or_refused_in_one_line(up: Up) -> None:
    lab = up.ui
    usual = {"target": "gunicorn-sync-4", "workload": "sleep", "user_count": 8, "spawn_rate": 8}
    usual |= {"connection": "close", "sleep_ms": 50}

    def swarm(**changes: object) -> str:
        """What Locust's page would show; empty where the test has started."""
        told = json.loads(ask(f"{lab}/swarm", **{**usual, **changes}))
        return "" if told["success"] else str(told["message"])

    assert swarm(target="nginx") == "target: must be one of gunicorn-sync-4, gunicorn-gevent, talks, not 'nginx'"
    assert swarm(workload="rm").startswith("workload: must be one of hello, sleep, cpu,")
    assert swarm(connection="half") == "connection: must be one of keep-alive, close, not 'half'"
    assert swarm(sleep_ms="long") == "sleep ms: must be a number from 0 to 60000, not 'long'"
    assert swarm(user_count=0) == "user count: must be a number from 1 to 10000, not '0'"
    assert users(lab) == 0

    # Whatever host is asked for, the load goes to the target.
    assert swarm(host="http://127.0.0.1:1") == ""
    assert settled(lab, "gunicorn-sync-4", "sleep", 8, peak=4)["in_flight"]["peak"] == 4
    assert swarm(rate=5) == "rate: is for experiments, not for the web UI"
    # As Locust's Edit does, which sends every parameter: the test goes on with fewer users.
    assert swarm(user_count=3) == ""
    assert settled(lab, "gunicorn-sync-4", "sleep", 3, peak=3)["in_flight"]["peak"] == 3
    # Anything else is another test, for which the one under way is stopped; but not for what cannot be.
    assert swarm(target="nginx").startswith("target: must be one of")
    assert swarm(target="gunicorn-gevent", spawn_rate=0) == "spawn rate: must be a number from 0.01 to 10000, not '0'"
    assert users(lab) == 3
    assert swarm(target="gunicorn-gevent", sleep_ms=20, connection="keep-alive") == ""
    cell = settled(lab, "gunicorn-gevent", "sleep-20-ms", 8)
    assert cell["connection"] == "keep-alive"
    assert cell["service_ms"] >= 20
    # Requests of some seconds: it takes as long to stop, so that a busy machine does not miss it, and another browser may not wait.
    assert swarm(sleep_ms=4500) == ""
    wait_for(lambda: users(lab) == 8, "eight users")
    with ThreadPoolExecutor() as elsewhere:
        changing = elsewhere.submit(swarm, sleep_ms=4400)
        wait_for(lambda: 'data-phase="stopping"' in ask(f"{lab}/lab/figures"), "the stop")
        assert swarm(sleep_ms=20) == "wait a moment: another test is being started"
        assert changing.result() == ""
        wait_for(lambda: users(lab) == 8, "eight users")
        stopping = elsewhere.submit(ask, f"{lab}/stop", stop=1)
        # Nobody has to wait for somebody else's stop.
        wait_for(lambda: 'data-phase="stopping"' in ask(f"{lab}/lab/figures"), "the stop")
        assert swarm(sleep_ms=20) == "wait a moment: the test before is still being stopped"
        stopping.result()


@pytest.mark.parametrize("up", ["compose"], indirect=True)
def test_what_is_measured_in_containers_has_the_targets_figures_too(up: Up) -> None:
    asked = {"target": "gunicorn-sync-4", "workload": "sleep", "user_count": 16, "spawn_rate": 16}
    assert json.loads(ask(f"{up.ui}/swarm", **asked))["success"]
    # Its CPU comes from the lab, all else from the worker.
    cell = "gunicorn-sync-4", "sleep", 16
    found = wait_for(
        lambda: with_figure(up.ui, cell, "server_cpu", peak=4), "the server's CPU, and four requests at once"
    )
    assert found["in_flight"]["peak"] == 4
    assert yaml.safe_load(ask(f"{up.ui}/lab/comparison.yaml"))["run"]["runtime"] == "compose"
    ask(f"{up.ui}/stop", stop=1)


def ask(url: str, **form: object) -> str:
    """One GET, or a POST where there is a form."""
    data = urlencode(form).encode() if form else None
    with urllib.request.urlopen(url, data, timeout=60) as answer:
        body: str = answer.read().decode()
    return body


def users(lab: str) -> int:
    return int(json.loads(ask(f"{lab}/stats/requests"))["user_count"])


def known_cells(lab: str) -> dict[tuple[str, str, int], dict[str, Any]]:
    """What is known, by server, workload and users."""
    cells = yaml.safe_load(ask(f"{lab}/lab/comparison.yaml"))["cells"]
    return {(each["server"], each["workload"], each["users"]): each for each in cells}


def settled(lab: str, server: str, workload: str, count: int, peak: int = 0) -> dict[str, Any]:
    """What is known of a cell with so many users, once a second of it counts, and one with so many requests at once."""
    cell = server, workload, count
    return wait_for(lambda: with_figure(lab, cell, "throughput_rps", peak), f"a settled load of {cell}")


def with_figure(lab: str, cell: tuple[str, str, int], figure: str, peak: int = 0) -> dict[str, Any]:
    """What is known of a cell, once it has a figure, and so many requests at once; empty before. On a busy machine a second may leave slots
    empty, and the next look may find the load unsettled again."""
    found = known_cells(lab).get(cell, {})
    return found if found.get(figure) and found["in_flight"]["peak"] >= peak else {}
