"""The interactive lab as somebody uses it: in a browser, in each runtime."""

import contextlib
import functools
import itertools
import json
import re
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from tests.conftest import RUNTIMES, require
from tests.e2e.browser import LabPage, launched
from tests.e2e.conftest import Cli, kill_target, make_cli, wait_for, with_servers

pytestmark = pytest.mark.lab

TALKATIVE = """
  talkative:
    <<: *server
    command: [gunicorn, --workers=2, --log-level=info, "wsgilab_door.wsgi:app"]
    x-lab: {slots: 2, processes: 2, model: process, summary: writes what it does}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Names that stand for this machine, as anybody's can who owns a name.
    with launched("--host-resolver-rules=MAP *.example 127.0.0.1") as found:
        yield found


def up(cli: Cli, *words: str) -> str:
    """Bring the lab up, without backends; the URL of its UI."""
    ended = cli.in_own_process("lab.up", "--runtime", cli.runtime, "--no-backends", "--port", "0", *words)
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


@pytest.mark.alone
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
    assert swarm(rate=5) == "rate: is for experiments, not for the web UI"
    # As Locust's Edit does, which sends every parameter, as the page writes it: the test goes on with fewer users.
    assert swarm(user_count=2, sleep_ms=50) == ""
    cells = settled_cells(lab, 2)
    assert cells["gunicorn-sync-4", "sleep", 2]["in_flight"]["peak"] == 2
    assert cells["gunicorn-sync-4", "sleep", 8]["in_flight"]["peak"] == 4
    # Anything else is another test, for which the one under way is stopped; but not for what cannot be.
    assert swarm(target="nginx").startswith("target: must be one of")
    assert swarm(target="gunicorn-gevent", spawn_rate=0) == "spawn rate: must be a number from 0.01 to 10000, not '0'"
    assert json.loads(ask(f"{lab}/stats/requests"))["user_count"] == 2
    assert swarm(sleep_ms=20) == ""
    cells = settled_cells(lab, 3)
    assert 20 <= cells["gunicorn-sync-4", "sleep-20-ms", 8]["service_ms"] < 40
    assert swarm(target="gunicorn-gevent", connection="keep-alive") == ""
    cells = settled_cells(lab, 4)
    assert cells["gunicorn-gevent", "sleep-20-ms", 8]["connection"] == "keep-alive"
    ask(f"{lab}/stop", stop=1)
    # Requests of 1.5 seconds: it takes as long to stop, and another browser may not wait.
    assert swarm(sleep_ms=1500) == ""
    wait_for(lambda: json.loads(ask(f"{lab}/stats/requests"))["user_count"] == 8, "eight users")
    with ThreadPoolExecutor() as elsewhere:
        changing = elsewhere.submit(swarm, sleep_ms=10)
        wait_for(lambda: 'data-phase="stopping"' in ask(f"{lab}/lab/figures"), "the stop")
        assert swarm(sleep_ms=20) == "wait a moment: another test is being started"
        assert changing.result() == ""
    cells = settled_cells(lab, 5)
    assert 10 <= cells["gunicorn-sync-4", "sleep-10-ms", 8]["service_ms"] < 20
    ask(f"{lab}/stop", stop=1)
    assert swarm(sleep_ms=1500) == ""
    wait_for(lambda: json.loads(ask(f"{lab}/stats/requests"))["user_count"] == 8, "eight users")
    with ThreadPoolExecutor() as elsewhere:
        stopping = elsewhere.submit(ask, f"{lab}/stop", stop=1)
        # Nobody has to wait for somebody else's stop.
        wait_for(lambda: 'data-phase="stopping"' in ask(f"{lab}/lab/figures"), "the stop")
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


in_one_runtime = pytest.mark.parametrize("lab_up", ["local"], indirect=True)


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


@in_one_runtime
def test_the_form_changes_a_test_under_way_or_says_why_not(lab_up: Up, browser: Browser) -> None:
    lab = LabPage.open(browser, lab_up.url)
    page = lab.page
    # The lab knows where its targets are.
    expect(page.locator("input[name=host]")).to_be_hidden()
    lab.start("gunicorn-sync-4", users=6)
    lab.expect_measuring("gunicorn-sync-4")

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


# A page of somebody else's, and all that such a page can make a browser ask of the web UI at `there`.
ELSEWHERE = "<!doctype html><title>somebody else's</title>"
ATTACK = """
async ([there, changing, form]) => {
  const read = [];
  const tries = async (path, options) => {
    try {
      const answer = await fetch(there + path, { signal: AbortSignal.timeout(5000), ...options });
      if (answer.type !== "opaque") read.push([path, answer.status, await answer.text()]);
    } catch {}
  };
  for (const path of ["/", "/lab", "/lab/figures", "/stats/requests", "/logs", "/exceptions", "/tasks"]) {
    await tries(path);
  }
  const body = () => new URLSearchParams(form);
  for (const path of changing) {
    await tries(path, { method: "POST", body: body() });
    await tries(path, { method: "POST", body: body(), mode: "no-cors" });
    await tries(path, { method: "POST", body: JSON.stringify(form), headers: { "Content-Type": "application/json" } });
    navigator.sendBeacon(there + path, body());
  }
  for (const [kind, path] of [["img", "/stop"], ["img", "/stats/reset"], ["script", "/stats/requests"], ["iframe", "/"]]) {
    const made = document.createElement(kind);
    const ended = new Promise((done) => setTimeout((made.onload = made.onerror = done), 5000));
    made.src = there + path;
    document.body.append(made);
    await ended;
    try {
      if (kind === "iframe") read.push([path, 0, made.contentDocument.body.innerText]);
    } catch {}
  }
  return read;
}
"""
POST_A_FORM = """
([action, fields]) => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = action;
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), { name, value }));
  }
  document.body.append(form);
  form.submit();
}
"""
CHANGING = ("/swarm", "/stop", "/stats/reset", "/lab/start-again/gunicorn-gevent")


@in_one_runtime
@pytest.mark.parametrize("host", ["localhost", "elsewhere.example", "rebound.example"])
def test_a_page_of_another_site_starts_nothing_stops_nothing_and_reads_nothing(
    lab_up: Up, browser: Browser, host: str, tmp_path: Path
) -> None:
    """Of another port, of another site, and of a name that was made to stand for the web UI's own address."""
    ui = f"http://{urlsplit(lab_up.url).netloc}"
    port = urlsplit(lab_up.url).port
    (tmp_path / "index.html").write_text(ELSEWHERE)
    form = {"target": "gunicorn-gevent", "workload": "hello", "user_count": "7", "spawn_rate": "7"}
    before = known_cells(ui)
    with serving(tmp_path) as other:
        rebound = host == "rebound.example"
        page = browser.new_page()
        url = f"http://{host}:{port if rebound else other}/"
        there = f"http://{host}:{port}" if rebound else ui
        read = attack(page, url, there, form)
        # A page that was led here by another name reads that it is not answered.
        assert {status for _, status, _ in read} <= ({403, 0} if rebound else set()), read
        assert not any("gunicorn" in text for _, _, text in read)
        assert users(ui) == 0
        assert known_cells(ui) == before

        ask(f"{ui}/swarm", target="gunicorn-sync-4", workload="sleep", user_count=2, spawn_rate=2)
        wait_for(lambda: users(ui) == 2, "two users")
        attack(page, url, there, form)
        assert users(ui) == 2
        # Nothing was reset either.
        assert json.loads(ask(f"{ui}/stats/requests"))["stats"][-1]["num_requests"] > 0
        ask(f"{ui}/stop", stop=1)
    assert {server for server, *_ in known_cells(ui)} <= {server for server, *_ in before} | {"gunicorn-sync-4"}


def attack(page: Page, url: str, there: str, form: Mapping[str, str]) -> list[tuple[str, int, str]]:
    """Have a page of `url` try; what it read: path, status (0: in a frame) and text."""
    # A page of data: keeps back whose it is.
    for path, origin in itertools.product(CHANGING, (url, f"data:text/html,{ELSEWHERE}")):
        page.goto(origin)
        with page.expect_navigation() as answer:
            page.evaluate(POST_A_FORM, [there + path, form])
        assert answer.value.status == HTTPStatus.FORBIDDEN, (path, origin)
    page.goto(url)
    return [(path, status, text) for path, status, text in page.evaluate(ATTACK, [there, CHANGING, form])]


@in_one_runtime
def test_a_link_on_another_site_leads_to_the_lab(lab_up: Up, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f'{ELSEWHERE}<a href="{lab_up.url}">the lab</a>')
    with serving(tmp_path) as other:
        page = browser.new_page()
        page.goto(f"http://localhost:{other}/")
        page.get_by_text("the lab").click()
        expect(page.get_by_text("Catalogue").first).to_be_visible()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Somebody else's web site; its port."""
    handler = functools.partial(SilentHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def users(lab: str) -> int:
    return int(json.loads(ask(f"{lab}/stats/requests"))["user_count"])


def known_cells(lab: str) -> set[tuple[str, str, int]]:
    return set(settled_cells(lab, 0))


# What the page is told, and that it is told alike in containers, is in test_up.py.
@in_one_runtime
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
