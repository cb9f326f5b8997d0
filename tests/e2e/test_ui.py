"""The interactive lab as somebody uses it: in a browser, in each runtime."""

import json
import re
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import yaml
from playwright.sync_api import Browser, expect

from tests.conftest import RUNTIMES, require
from tests.e2e.browser import LabPage, launched
from tests.e2e.conftest import Cli, kill_target, make_cli, wait_for, with_servers

pytestmark = pytest.mark.lab

TALKATIVE = """
  talkative:
    <<: *server
    command: [gunicorn, --workers=2, --log-level=info, "app:app"]
    x-lab: {slots: 2, processes: 2, model: process, summary: writes what it does}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


def up(cli: Cli, *words: str) -> str:
    """Bring the lab up, without backends; the URL of its UI."""
    ended = cli("lab.up", "--runtime", cli.runtime, "--no-backends", "--port", "0", *words)
    assert ended.code == 0, ended.output
    assert "ackends" not in ended.output
    found = re.search(r"http://127\.0\.0\.1:\d+/\?tab=lab", ended.output)
    assert found, ended.output
    return found[0]


@pytest.fixture
def local(local: Cli) -> Iterator[Cli]:
    """The command line, and whatever the test leaves up is ended."""
    yield local
    local("lab.down")


def test_two_workers_say_together_what_one_says(local: Cli) -> None:
    said = {}
    for workers in (1, 2):
        # A generator of two cores leaves none for the server where there are two: its core is shared then.
        url = up(local, "--servers", "gunicorn-gthread-8", "--workers", str(workers), "--share-generator")
        lab = urlsplit(url)._replace(path="", query="").geturl()
        ask(f"{lab}/swarm", target="gunicorn-gthread-8", workload="sleep", user_count=32, spawn_rate=32)
        said[workers] = settled(lab)
        assert len(json.loads(ask(f"{lab}/stats/requests"))["workers"]) == workers
        ask(f"{lab}/stop", stop=1)
        # For the next one.
        assert local("lab.down").code == 0
    one, two = said[1], said[2]
    assert one["in_flight"]["peak"] == two["in_flight"]["peak"] == 8
    for name in ("mean", "processes", "threads"):
        assert one["in_flight"][name] == pytest.approx(two["in_flight"][name], rel=0.1), name
    assert one["throughput_rps"]["median"] == pytest.approx(two["throughput_rps"]["median"], rel=0.1)
    for name in ("p50", "p95"):
        assert one["latency_ms"][name] == pytest.approx(two["latency_ms"][name], rel=0.1), name
    assert one["bound_by"] == two["bound_by"] == "slots"
    assert one["failures"] == two["failures"] == 0


def settled(lab: str) -> dict[str, Any]:
    """What is known of the only cell once three seconds of it count."""
    wait_for(lambda: cell(lab).get("blocks", 0) >= 3, "three seconds of a settled load")
    return cell(lab)


def ask(url: str, **form: object) -> str:
    """One GET, or a POST where there is a form."""
    data = urlencode(form).encode() if form else None
    with urllib.request.urlopen(url, data, timeout=10) as answer:
        body: str = answer.read().decode()
    return body


def cell(lab: str) -> dict[str, Any]:
    """What is known of the only cell; empty before there is any."""
    cells: list[dict[str, Any]] = yaml.safe_load(ask(f"{lab}/lab/comparison.yaml"))["cells"]
    return cells[0] if cells and cells[0]["throughput_rps"] else {}


def test_what_the_form_asks_is_done_or_refused_in_one_line(local: Cli) -> None:
    url = up(local, "--servers", "gunicorn-sync-4,gunicorn-gevent")
    lab = urlsplit(url)._replace(path="", query="").geturl()
    plain = {"target": "gunicorn-sync-4", "workload": "sleep", "user_count": 8, "spawn_rate": 8}

    def swarm(**changes: object) -> str:
        """What Locust's page would show; empty where the test has started."""
        told = json.loads(ask(f"{lab}/swarm", **{**plain, **changes}))
        return "" if told["success"] else str(told["message"])

    assert swarm(target="nginx") == "target: must be one of gunicorn-sync-4, gunicorn-gevent, not 'nginx'"
    assert swarm(workload="rm").startswith("workload: must be one of hello, sleep, cpu, large,")
    assert swarm(connection="half") == "connection: must be one of keep-alive, close, not 'half'"
    assert swarm(sleep_ms="long") == "sleep ms: must be a number from 0 to 60000, not 'long'"
    assert swarm(user_count=0) == "user count: must be a number from 1 to 10000, not '0'"
    assert settled_cells(lab, 0) == {}

    # Whatever host is asked for, the load goes to the target.
    assert swarm(host="http://127.0.0.1:1") == ""
    assert settled_cells(lab, 1).keys() == {("gunicorn-sync-4", "sleep", 8)}
    assert swarm(target="gunicorn-gevent") == "stop the test first: target cannot change while it runs"
    assert swarm(sleep_ms=20) == "stop the test first: sleep_ms cannot change while it runs"
    # As Locust's Edit does.
    assert json.loads(ask(f"{lab}/swarm", user_count=2, spawn_rate=8))["success"]
    cells = settled_cells(lab, 2)
    assert cells["gunicorn-sync-4", "sleep", 2]["in_flight"]["peak"] == 2
    assert cells["gunicorn-sync-4", "sleep", 8]["in_flight"]["peak"] == 4
    ask(f"{lab}/stop", stop=1)
    assert swarm(sleep_ms=20) == ""
    cells = settled_cells(lab, 3)
    assert cells["gunicorn-sync-4", "sleep-20-ms", 8]["service_ms"] == pytest.approx(20, rel=0.3)
    ask(f"{lab}/stop", stop=1)
    # Requests of three seconds: it takes as long to stop, and another browser may not wait.
    assert swarm(sleep_ms=3000) == ""
    wait_for(lambda: json.loads(ask(f"{lab}/stats/requests"))["user_count"] == 8, "eight users")
    with ThreadPoolExecutor() as elsewhere:
        stopping = elsewhere.submit(ask, f"{lab}/stop", stop=1)
        wait_for(lambda: "stop the test first" not in swarm(sleep_ms=20), "the stop")
        assert swarm(sleep_ms=20) == "wait a moment: the test before is still being stopped"
        stopping.result()


def settled_cells(lab: str, count: int) -> dict[tuple[str, str, int], dict[str, Any]]:
    """What is known, by server, workload and users, once there are so many cells."""

    def known() -> dict[tuple[str, str, int], dict[str, Any]]:
        cells = yaml.safe_load(ask(f"{lab}/lab/comparison.yaml"))["cells"]
        return {(each["server"], each["workload"], each["users"]): each for each in cells}

    wait_for(lambda: len(known()) >= count, f"{count} cells")
    return known()


# --- in a browser; below what brings up labs of its own, which would be in each other's way


@dataclass(kw_only=True)
class Up:
    """A lab that is up, and the URL of its UI."""

    cli: Cli
    url: str


@pytest.fixture(scope="module", params=RUNTIMES)
def lab_up(request: pytest.FixtureRequest, state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One lab in each runtime, for all who look at it in a browser."""
    require(request.param)
    folder = tmp_path_factory.mktemp("ui")
    cli = make_cli(request.param, state, folder / "results")
    with_servers(cli, folder, TALKATIVE)
    yield Up(cli=cli, url=up(cli, "--servers", "gunicorn-sync-4,gunicorn-gevent,talkative"))
    assert cli("lab.down").lines == ["Ended 4 processes or containers."]
    cli.assert_nothing_left()


def test_what_a_server_handles_at_once_is_seen_in_the_tab(lab_up: Up, browser: Browser, tmp_path: Path) -> None:
    lab = LabPage.open(browser, lab_up.url, accept_downloads=True)
    page = lab.page

    lab.start("gunicorn-sync-4")
    lab.expect_measuring("gunicorn-sync-4")
    sync = lab.row("gunicorn-sync-4")
    assert sync.figure("peak") == sync.figure("slots") == 4
    expect(page.locator("[data-now] [data-figure=peak]")).to_have_text("4")
    expect(page.locator("[data-now] [data-figure=bound]")).to_have_text("slots")
    # Live: the target's CPU comes from the lab, the generator's from the worker.
    expect(page.locator(f"{sync.selector} [data-figure=cpu]")).to_have_text(re.compile(r"^\d+%$"))
    assert sync.figure("generator") < 80
    lab.stop()

    lab.start("gunicorn-gevent", connection="keep-alive")
    lab.expect_measuring("gunicorn-gevent")
    assert lab.row("gunicorn-gevent").figure("peak") > 24
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
    assert document["run"]["runtime"] == lab_up.cli.runtime
    assert document["run"]["interleaved"] is False
    assert cells["gunicorn-sync-4"]["in_flight"]["peak"] == 4
    assert cells["gunicorn-sync-4"]["bound_by"] == "slots"
    assert cells["gunicorn-gevent"]["in_flight"]["peak"] > 24
    assert (cells["gunicorn-gevent"]["connection"], cells["gunicorn-sync-4"]["connection"]) == ("keep-alive", "close")
    assert cells["gunicorn-sync-4"]["throughput_rps"]["median"] <= 4 / 0.050 * 1.02
    assert document["comparisons"] == []
    assert re.search(r"^\| gunicorn\\?-sync\\?-4 \|", files["comparison.md"], re.MULTILINE)

    assert lab.hosts == {lab_up.url.removeprefix("http://").partition("/")[0]}
    assert lab.errors == []


# What the page is told, and that it is told alike in containers, is in test_up.py.
@pytest.mark.parametrize("lab_up", ["local"], indirect=True)
def test_a_target_that_is_killed_turns_red_and_comes_back(lab_up: Up, browser: Browser) -> None:
    lab = LabPage.open(browser, lab_up.url)
    page = lab.page
    lab.start("talkative")
    lab.expect_measuring("talkative")
    assert lab.row("talkative").figure("peak") == 2

    kill_target(lab_up.cli, "talkative", "--log-level=info")
    ended = page.locator("tr.ended[data-server=talkative]")
    expect(ended).to_be_visible()
    assert "rgb(0, 0, 0)" != ended.evaluate("each => getComputedStyle(each).backgroundColor") != "rgba(0, 0, 0, 0)"
    expect(page.locator("pre", has_text="Booting worker").first).to_be_visible()

    # The test goes on meanwhile, and so does the lab: nothing is started anew but the server.
    page.locator("[data-start-again=talkative]").first.click()
    expect(ended).not_to_be_visible()
    lab.stop()
    lab.start("talkative", users=8)
    lab.expect_measuring("talkative")
    assert page.locator("tr[data-server=talkative][data-users='8'] [data-figure=peak]").inner_text() == "2"
