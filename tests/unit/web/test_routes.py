"""Locust's web UI with the lab in it, as a browser asks for it; no users, no server."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_STOPPED, STATE_STOPPING

from wsgilab import testing
from wsgilab.model import Run
from wsgilab.web.live import Told
from wsgilab.web.routes import USER, make_web_ui
from wsgilab.web.session import Knowing, Session, Watch
from wsgilab.web.view import TargetState

PASSWORD = "a password"
CELL = testing.cell("gunicorn-sync-4", users=2)
PAGES = ("/lab", "/lab/figures", "/lab/comparison.yaml", "/lab/comparison.md")


def run() -> Run:
    return testing.run(testing.experiment(CELL), testing.server("gunicorn-sync-4", slots=4, processes=4))


def targets() -> dict[str, TargetState]:
    return {name: TargetState(server=server, url="http://127.0.0.1:1") for name, server in run().servers.items()}


@pytest.fixture
def session() -> Session:
    """One second of a test of two users."""
    clock = iter([0, 0, *[10**9 * second for second in range(2, 50)]])
    made = Session(run(), targets(), clock_ns=lambda: next(clock))
    made.begin(CELL, 2)
    stamped = testing.samples([(0.1, 0.4), (0.2, 0.5)])
    made.hear(Told(worker="a", at_ns=0, cpu_s=0.0, users=2, answered=2, failed=0, samples=[]))
    made.hear(Told(worker="a", at_ns=15 * 10**8, cpu_s=0.1, users=2, answered=2, failed=0, samples=stamped))
    return made


@pytest.fixture
def watch() -> Watch:
    made = Watch(run(), targets())
    made.trial(CELL, "1 of 3 trials")
    made.observe(testing.observation(CELL))
    return made


def client(known: Knowing, password: str | None = None, **options: Any) -> FlaskClient:
    environment = Environment(user_classes=[], parsed_options=get_parser().parse_args([]))
    environment.create_local_runner()
    ui = make_web_ui(environment, "127.0.0.1", 0, known=known, password=password, **options)
    assert ui.app is not None
    return ui.app.test_client()


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    # Locust reads it for its form.
    monkeypatch.setattr("sys.argv", ["locust"])


def test_locusts_page_has_the_labs_tab_style_and_script(session: Session) -> None:
    text = client(session).get("/").text
    arguments = json.loads(text.partition("window.templateArgs = ")[2].partition("\n")[0])
    assert arguments["extended_tabs"] == [{"title": "Lab", "key": "lab"}]
    assert './lab/lab.js"></script>' in text
    for name in ("lab.js", "lab.css"):
        with client(session).get(f"/lab/{name}") as answer:
            assert answer.status_code == 200
    assert "labWatching" not in text


def test_the_tab_shows_what_was_tried(session: Session) -> None:
    text = client(session).get("/lab/figures").text
    assert 'data-server="gunicorn-sync-4"' in text
    assert "<html" not in text
    assert "<html" in client(session).get("/lab").text


def test_downloads_are_the_comparison_in_every_format(session: Session) -> None:
    answer = client(session).get("/lab/comparison.yaml")
    assert "attachment" in answer.headers["Content-Disposition"]
    document = yaml.safe_load(answer.text)
    assert document["run"]["interleaved"] is False
    assert document["cells"][0]["in_flight"]["peak"] == 2
    assert document["cells"][0]["users"] == 2
    assert "gunicorn-sync-4" in client(session).get("/lab/comparison.md").text
    assert client(session).get("/lab/passwords.txt").status_code == 404


def test_a_refusal_is_told_as_locusts_page_shows_it(session: Session) -> None:
    asked: list[dict[str, str]] = []

    def prepare(form: Any, _: object) -> str:
        asked.append(form.to_dict())
        return "there is no such server"

    answer = client(session, prepare=prepare).post("/swarm", data={"target": "nope"})
    assert answer.json == {"success": False, "message": "there is no such server"}
    assert asked == [{"target": "nope"}]


def test_a_test_under_way_is_stopped_before_another_starts(session: Session) -> None:
    environment = Environment(user_classes=[], parsed_options=get_parser().parse_args([]))
    runner = environment.create_local_runner()
    runner.state = STATE_RUNNING
    states: list[str] = []

    def prepare(_: object, stop: Callable[[], object]) -> None:
        stop()
        states.append(runner.state)

    ui = make_web_ui(environment, "127.0.0.1", 0, known=session, password=None, prepare=prepare)
    assert ui.app is not None
    answer = ui.app.test_client().post("/swarm", data={"user_count": 1, "spawn_rate": 1})
    assert answer.json is not None
    assert answer.json["success"]
    assert states == [STATE_STOPPED]


def test_who_asks_for_a_test_while_another_is_prepared_is_told_so(session: Session) -> None:
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


def test_a_server_can_be_started_again_by_name(session: Session) -> None:
    asked: list[str] = []
    pages = client(session, start_again=asked.append)
    assert pages.post("/lab/start-again/gunicorn-sync-4").status_code == 202
    assert pages.post("/lab/start-again/nginx").status_code == 404
    assert asked == ["gunicorn-sync-4"]


@pytest.mark.parametrize("headers", [{"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}])
def test_another_sites_page_can_start_nothing_and_read_nothing(session: Session, headers: dict[str, str]) -> None:
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


def test_what_a_link_may_ask_for_changes_nothing(session: Session) -> None:
    """A GET needs no more than a link, or a picture. Whatever a newer Locust lets it do has to be looked at first."""
    environment = Environment(user_classes=[], parsed_options=get_parser().parse_args([]))
    environment.create_local_runner()
    app = make_web_ui(environment, "127.0.0.1", 0, known=session, password=None).app
    assert app is not None
    assert {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())} == {
        *("/", "/login", "/assets/<path:path>", "/static/<path:filename>", "/tasks", "/logs", "/worker-count"),
        *("/stats/report", "/stats/requests", "/stats/requests/csv", "/stats/requests_full_history/csv"),
        *("/stats/failures/csv", "/exceptions", "/exceptions/csv"),
        *("/lab", "/lab/figures", "/lab/<any('lab.css', 'lab.js'):name>", "/lab/<name>"),
    }


@pytest.mark.parametrize(("state", "told"), [(STATE_STOPPING, "running"), (STATE_STOPPED, "stopped")])
def test_locusts_page_asks_on_until_a_test_has_stopped(session: Session, state: str, told: str) -> None:
    environment = Environment(user_classes=[], parsed_options=get_parser().parse_args([]))
    environment.create_local_runner().state = state
    ui = make_web_ui(environment, "127.0.0.1", 0, known=session, password=None)
    assert ui.app is not None
    answer = ui.app.test_client().get("/stats/requests").json
    assert answer is not None
    assert answer["state"] == told


# --- the login


@pytest.mark.parametrize("path", ["/", "/stats/requests", "/logs", *PAGES])
def test_with_a_password_nothing_is_shown_without_a_login(session: Session, path: str) -> None:
    answer = client(session, PASSWORD).get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/login")


@pytest.mark.parametrize("path", ["/swarm", "/stop", "/lab/start-again/gunicorn-sync-4"])
def test_with_a_password_nothing_is_done_without_a_login(session: Session, path: str) -> None:
    asked: list[object] = []
    pages = client(session, PASSWORD, prepare=lambda *form: asked.append(form), start_again=asked.append)
    answer = pages.post(path, data={"user_count": 1, "spawn_rate": 1})
    assert answer.status_code == 302
    assert asked == []


@pytest.mark.parametrize(("user", "password"), [(USER, "another"), ("root", PASSWORD), (USER, ""), ("", "")])
def test_a_wrong_login_is_told_and_lets_nobody_in(session: Session, user: str, password: str) -> None:
    pages = client(session, PASSWORD)
    answer = pages.post("/lab/login", data={"username": user, "password": password}, follow_redirects=True)
    assert "not the user and the password" in answer.text
    assert pages.get("/lab").status_code == 302


def test_the_right_login_opens_everything(session: Session) -> None:
    pages = client(session, PASSWORD)
    answer = pages.post("/lab/login", data={"username": USER, "password": PASSWORD})
    assert answer.headers["Location"] == "/?tab=lab"
    assert all(pages.get(path).status_code == 200 for path in ("/", *PAGES))


def test_a_login_is_worth_nothing_to_another_lab(session: Session) -> None:
    pages, other = client(session, PASSWORD), client(session, PASSWORD)
    pages.post("/lab/login", data={"username": USER, "password": PASSWORD})
    cookie = pages.get_cookie("session")
    assert cookie is not None
    other.set_cookie("session", cookie.value)
    assert other.get("/lab").status_code == 302


# --- a run that is watched


@pytest.mark.parametrize("path", ["/swarm", "/stop", "/stats/reset", "/user", "/lab/start-again/gunicorn-sync-4"])
def test_a_watched_run_cannot_be_changed(watch: Watch, path: str) -> None:
    answer = client(watch).post(path, data={"user_count": 1, "spawn_rate": 1})
    assert answer.status_code == 403
    assert "which nobody can change" in answer.text


def test_a_watched_run_can_have_a_login_too(watch: Watch) -> None:
    pages = client(watch, PASSWORD)
    assert pages.get("/stats/requests").status_code == 302
    pages.post("/lab/login", data={"username": USER, "password": PASSWORD})
    assert pages.get("/stats/requests").status_code == 200
    assert pages.post("/stop").status_code == 403


def test_locusts_own_tables_show_the_figures_of_the_run(watch: Watch) -> None:
    told = client(watch).get("/stats/requests").json
    assert told is not None
    row, total = told["stats"]
    assert row["name"] == "gunicorn-sync-4, sleep, 2 users, close"
    assert row["num_requests"] == total["num_requests"] == 6
    assert row["current_rps"] == told["current_rps"] == 20.0
    assert row["median_response_time"] == pytest.approx(1600, rel=1e-3)
    assert told["user_count"] == 2
    assert told["state"] == "running"
    watch.end()
    told = client(watch).get("/stats/requests").json
    assert told is not None
    assert (told["state"], told["user_count"]) == ("stopped", 0)


def test_before_the_first_trial_there_is_nothing_but_the_catalogue() -> None:
    pages = client(Watch(run(), targets()))
    told = pages.get("/stats/requests").json
    assert told is not None
    assert told["user_count"] == 0
    assert "gunicorn-sync-4" in pages.get("/lab/figures").text
    assert "labWatching" in pages.get("/").text
