"""Locust's web UI with the lab in it, as a browser asks for it; no users, no server."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.runners import STATE_INIT, STATE_RUNNING, STATE_STOPPED, STATE_STOPPING

from wsgilab import testing
from wsgilab.model import Run
from wsgilab.web.access import USER
from wsgilab.web.live import WorkerReport
from wsgilab.web.routes import make_web_ui
from wsgilab.web.sources import InteractiveTests, ViewSource, WatchedRun
from wsgilab.web.view import TargetState

PASSWORD = "a password"
CELL = testing.cell("gunicorn-sync-4", users=2)
PAGES = ("/lab", "/lab/figures", "/lab/comparison.yaml", "/lab/comparison.md")


def run() -> Run:
    return testing.run(testing.experiment(CELL), testing.server("gunicorn-sync-4", slots=4, processes=4))


def targets() -> dict[str, TargetState]:
    return {name: TargetState(server=server, url="http://127.0.0.1:1") for name, server in run().servers.items()}


@pytest.fixture
def session() -> InteractiveTests:
    """One second of a test of two users."""
    clock = iter([0, 0, *[10**9 * second for second in range(2, 50)]])
    made = InteractiveTests(run(), targets(), clock_ns=lambda: next(clock))
    made.begin(CELL, 2)
    stamped = testing.samples([(0.1, 0.4), (0.2, 0.5)])
    made.add_report(WorkerReport(worker="a", at_ns=0, cpu_s=0.0, users=2, answered=2, failed=0, samples=[]))
    made.add_report(
        WorkerReport(worker="a", at_ns=15 * 10**8, cpu_s=0.1, users=2, answered=2, failed=0, samples=stamped)
    )
    return made


@pytest.fixture
def watch() -> WatchedRun:
    made = WatchedRun(run(), targets())
    made.begin_trial(CELL, "1 of 3 trials")
    made.add(testing.observation(CELL))
    return made


def client(source: ViewSource, password: str | None = None, state: str = STATE_INIT, **options: Any) -> FlaskClient:
    environment = Environment(user_classes=[], parsed_options=get_parser().parse_args([]))
    environment.create_local_runner().state = state
    ui = make_web_ui(environment, "127.0.0.1", 0, source=source, password=password, **options)
    assert ui.app is not None
    return ui.app.test_client()


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    # Locust reads it for its form.
    monkeypatch.setattr("sys.argv", ["locust"])


def test_locusts_page_has_the_labs_tab_style_and_script(session: InteractiveTests) -> None:
    text = client(session).get("/?tab=lab").text
    arguments = json.loads(text.partition("window.templateArgs = ")[2].partition("\n")[0])
    assert arguments["extended_tabs"] == [{"title": "Lab", "key": "lab"}]
    assert arguments["lab"]["fields"] == {"sleep": ["sleep_ms"]}
    assert arguments["lab"]["presets"][0]["fields"]["workload"] == "sleep"
    assert './lab/lab.js"></script>' in text
    for name in ("lab.js", "lab.css"):
        with client(session).get(f"/lab/{name}") as answer:
            assert answer.status_code == 200
    assert "labWatching" not in text


def test_the_page_begins_with_the_labs_tab_unless_another_is_asked_for(session: InteractiveTests) -> None:
    answer = client(session).get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/?tab=lab")
    assert client(session).get("/?tab=charts").status_code == 200


def test_the_tab_shows_what_was_tried(session: InteractiveTests) -> None:
    text = client(session).get("/lab/figures").text
    assert 'data-server="gunicorn-sync-4"' in text
    assert "<html" not in text
    assert "<html" in client(session).get("/lab").text


def test_downloads_are_the_comparison_in_every_format(session: InteractiveTests) -> None:
    answer = client(session).get("/lab/comparison.yaml")
    assert "attachment" in answer.headers["Content-Disposition"]
    document = yaml.safe_load(answer.text)
    assert document["run"]["interleaved"] is False
    assert document["cells"][0]["in_flight"]["peak"] == 2
    assert document["cells"][0]["users"] == 2
    assert "gunicorn-sync-4" in client(session).get("/lab/comparison.md").text
    assert client(session).get("/lab/passwords.txt").status_code == 404


def test_a_refusal_is_told_as_locusts_page_shows_it(session: InteractiveTests) -> None:
    asked: list[dict[str, str]] = []

    def prepare(form: Any, _: object) -> str:
        asked.append(form.to_dict())
        return "there is no such server"

    answer = client(session, prepare=prepare).post("/swarm", data={"target": "nope"})
    assert answer.json == {"success": False, "message": "there is no such server"}
    assert asked == [{"target": "nope"}]


def test_a_test_under_way_is_stopped_before_another_starts(session: InteractiveTests) -> None:
    states: list[str] = []

    def prepare(_: object, stop: Callable[[], object]) -> None:
        stop()
        states.append(pages.get("/stats/requests").get_json()["state"])

    pages = client(session, state=STATE_RUNNING, prepare=prepare)
    answer = pages.post("/swarm", data={"user_count": 1, "spawn_rate": 1})
    assert answer.json is not None
    assert answer.json["success"]
    assert states == [STATE_STOPPED]


def test_a_second_request_is_refused_while_a_test_is_being_prepared(session: InteractiveTests) -> None:
    told: list[object] = []

    def prepare(form: Mapping[str, str], _: object) -> str:
        if form["target"] == "first":
            told.append(pages.post("/swarm", data={"target": "second"}).json)
        return "no"

    pages = client(session, prepare=prepare)
    pages.post("/swarm", data={"target": "first"})
    assert told == [{"success": False, "message": "wait a moment: another test is being started"}]
    # And it is not kept waiting for ever.
    answer = pages.post("/swarm", data={"target": "second"}).json
    assert answer == {"success": False, "message": "no"}


def test_a_server_can_be_started_again_by_name(session: InteractiveTests) -> None:
    asked: list[str] = []
    pages = client(session, start_again=asked.append)
    assert pages.post("/lab/start-again/gunicorn-sync-4").status_code == 202
    assert pages.post("/lab/start-again/nginx").status_code == 404
    assert asked == ["gunicorn-sync-4"]


@pytest.mark.parametrize("headers", [{"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}])
def test_another_sites_page_can_start_nothing_and_read_nothing(
    session: InteractiveTests, headers: dict[str, str]
) -> None:
    asked: list[str] = []
    pages = client(session, start_again=asked.append)
    for path in ("/", "/logs", "/exceptions", "/stats/requests", "/lab/lab.js", *PAGES):
        assert pages.get(path, headers=headers).status_code == 403
    for path in ("/swarm", "/stop", "/stats/reset", "/lab/start-again/gunicorn-sync-4"):
        assert pages.post(path, headers=headers).status_code == 403
    assert asked == []
    own = pages.post("/lab/start-again/gunicorn-sync-4", headers={"Origin": "http://localhost"})
    assert own.status_code == 202
    assert "Access-Control-Allow-Origin" not in own.headers


def test_what_a_link_may_ask_for_changes_nothing(session: InteractiveTests) -> None:
    """A GET needs no more than a link, or a picture. Whatever a newer Locust offers by GET has to be checked first."""
    app = client(session).application
    assert {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())} == {
        *("/", "/login", "/assets/<path:path>", "/static/<path:filename>", "/tasks", "/logs", "/worker-count"),
        *("/stats/report", "/stats/requests", "/stats/requests/csv", "/stats/requests_full_history/csv"),
        *("/stats/failures/csv", "/exceptions", "/exceptions/csv"),
        *("/lab", "/lab/figures", "/lab/<any('lab.css', 'lab.js'):name>", "/lab/<name>"),
    }


@pytest.mark.parametrize(("state", "shown"), [(STATE_STOPPING, "running"), (STATE_STOPPED, "stopped")])
def test_locusts_page_polls_until_a_test_has_stopped(session: InteractiveTests, state: str, shown: str) -> None:
    answer = client(session, state=state).get("/stats/requests").json
    assert answer is not None
    assert answer["state"] == shown


# --- the login


def login(pages: FlaskClient, user: str = USER, password: str = PASSWORD) -> Any:
    return pages.post("/lab/login", data={"username": user, "password": password})


def test_with_a_password_nothing_is_shown_or_done_without_a_login(session: InteractiveTests) -> None:
    asked: list[object] = []
    pages = client(session, PASSWORD, prepare=lambda *form: asked.append(form), start_again=asked.append)
    for path in ("/", "/stats/requests", "/logs", *PAGES):
        answer = pages.get(path)
        assert (answer.status_code, answer.headers["Location"][:6]) == (302, "/login"), path
    for path in ("/swarm", "/stop", "/lab/start-again/gunicorn-sync-4"):
        assert pages.post(path, data={"user_count": 1, "spawn_rate": 1}).status_code == 302, path
    assert asked == []


@pytest.mark.parametrize(("user", "password"), [(USER, "another"), ("root", PASSWORD), (USER, ""), ("", "")])
def test_only_the_right_login_opens_everything(session: InteractiveTests, user: str, password: str) -> None:
    pages = client(session, PASSWORD)
    assert "not the user and the password" in pages.get(login(pages, user, password).headers["Location"]).text
    assert pages.get("/lab").status_code == 302
    assert login(pages).headers["Location"] == "/?tab=lab"
    assert all(pages.get(path).status_code == 200 for path in ("/?tab=lab", *PAGES))


def test_a_login_is_worth_nothing_to_another_lab(session: InteractiveTests) -> None:
    pages, other = client(session, PASSWORD), client(session, PASSWORD)
    login(pages)
    cookie = pages.get_cookie("session")
    assert cookie is not None
    other.set_cookie("session", cookie.value)
    assert other.get("/lab").status_code == 302


# --- a run that is watched


def test_a_watched_run_cannot_be_changed(watch: WatchedRun) -> None:
    for path in ("/swarm", "/stop", "/stats/reset", "/user", "/lab/start-again/gunicorn-sync-4"):
        answer = client(watch).post(path, data={"user_count": 1, "spawn_rate": 1})
        assert answer.status_code == 403, path
        assert "which nobody can change" in answer.text


def test_a_watched_run_can_have_a_login_too(watch: WatchedRun) -> None:
    pages = client(watch, PASSWORD)
    assert pages.get("/stats/requests").status_code == 302
    login(pages)
    assert pages.get("/stats/requests").status_code == 200
    assert pages.post("/stop").status_code == 403


def test_locusts_own_tables_show_the_figures_of_the_run(watch: WatchedRun) -> None:
    stats = client(watch).get("/stats/requests").json
    assert stats is not None
    row, total = stats["stats"]
    assert row["name"] == "gunicorn-sync-4, sleep, 2 users, close"
    assert row["num_requests"] == total["num_requests"] == 6
    assert row["current_rps"] == stats["current_rps"] == 20.0
    assert row["median_response_time"] == pytest.approx(1600, rel=1e-3)
    assert stats["user_count"] == 2
    assert stats["state"] == "running"
    watch.end()
    stats = client(watch).get("/stats/requests").json
    assert stats is not None
    assert (stats["state"], stats["user_count"]) == ("stopped", 0)


def test_before_the_first_trial_there_is_nothing_but_the_catalogue() -> None:
    pages = client(WatchedRun(run(), targets()))
    stats = pages.get("/stats/requests").json
    assert stats is not None
    assert stats["user_count"] == 0
    assert "gunicorn-sync-4" in pages.get("/lab/figures").text
    assert "labWatching" in pages.get("/?tab=lab").text
