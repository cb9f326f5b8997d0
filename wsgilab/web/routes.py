"""Locust's web UI with the lab in it: drop-downs for what to test, the lab's tab, downloads, and a login."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import functools
import hmac
import io
import json
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from statistics import fmean
from typing import Any

import gevent
from flask import (
    Blueprint,
    Flask,
    Response,
    jsonify,
    make_response,
    redirect,
    request,
    send_file,
    send_from_directory,
    session,
    url_for,
)
from flask.json.provider import DefaultJSONProvider
from flask_login import UserMixin, login_user
from gevent.lock import Semaphore
from jinja2 import DictLoader
from locust import stats
from locust.env import Environment
from locust.html import DEFAULT_BUILD_PATH
from locust.runners import STATE_RUNNING, STATE_STOPPED, STATE_STOPPING
from locust.web import WebUI

from wsgilab.model import CellResult, TrialReport
from wsgilab.model.text import called
from wsgilab.report.comparison import comparison_yaml
from wsgilab.report.markdown import comparison_md
from wsgilab.web import tab
from wsgilab.web.access import USER
from wsgilab.web.form import for_page
from wsgilab.web.guard import Guard
from wsgilab.web.sources import ViewSource, WatchedRun

LOGIN = "login"
LAB_TAB = "?tab=lab"
HOST_SHOWN = "the target's"
STATIC = Path(__file__).parent / "static"
INTO_PAGE = '<link rel="stylesheet" href="./lab/lab.css" />\n<script type="module" src="./lab/lab.js"></script>\n'
WATCHING = "<script>document.documentElement.dataset.labWatching = ''</script>\n"

Stop = Callable[[], object]
"""Stops the test under way, as Locust's own button does."""
Prepare = Callable[[Mapping[str, str], Stop], str | None]
"""Prepares for the test that a form describes, and first stops the one under way where that is another. Why there can be
none, in one line; None where it can start."""


def _nothing_to_prepare(_: Mapping[str, str], __: Stop) -> None: ...


def _nothing_to_start(_: str) -> None: ...


def make_web_ui(
    environment: Environment,
    bind: str,
    port: int,
    *,
    source: ViewSource,
    names: Collection[str] = (),
    password: str | None,
    prepare: Prepare = _nothing_to_prepare,
    start_again: Callable[[str], None] = _nothing_to_start,
) -> WebUI:
    """Locust's web UI for `environment`, with the lab's pages, not started yet. With a password it requires a login.

    `source` is what the lab's pages show. `names` are what the UI is reached by, beside loopback's; see `Guard`. `prepare` is called
    whenever a test is to start, `start_again` with a server that somebody wants to be started again.
    """
    ui = environment.create_web_ui(bind, port, web_login=password is not None, delayed_start=True)
    app = ui.app
    assert app is not None, "made with the UI"
    # Locust's form has its fields in the order of its options, unless they are sorted on the way.
    assert isinstance(app.json, DefaultJSONProvider), "made so by Flask"
    app.json.sort_keys = False
    app.jinja_env.policies["json.dumps_kwargs"] = {}
    ui.template_args = {"extended_tabs": [{"title": "Lab", "key": "lab"}], "lab": for_page(source.run)}
    _show_no_host(ui)
    app.jinja_loader = DictLoader({"index.html": _index(watching=isinstance(source, WatchedRun))})
    app.register_blueprint(_pages(ui, source, start_again))
    _replace(ui, app, "locust.index", _at_lab)
    if password is not None:
        _require_login(ui, app, password)
    app.wsgi_app = Guard(app.wsgi_app, names)  # type: ignore[method-assign]
    if isinstance(source, WatchedRun):
        app.before_request(_read_only)
        _replace(ui, app, "locust.request_stats", lambda _: jsonify(_as_locust_stats(source)))
    else:
        _replace(ui, app, "locust.swarm", functools.partial(_swarm, app, prepare, Semaphore()))
        app.after_request(_running_until_stopped)
    return ui


def _replace(ui: WebUI, app: Flask, endpoint: str, view: Callable[[Callable[[], Any]], Any]) -> None:
    """Replace Locust's view of `endpoint` by `view`, which is called with Locust's own; the login is required as before."""
    app.view_functions[endpoint] = ui.auth_required_if_enabled(functools.partial(view, app.view_functions[endpoint]))


def _at_lab(index: Callable[[], Any]) -> Any:
    """Locust's page, at the lab's tab unless another is asked for: Locust itself would begin with one of its own."""
    return index() if "tab" in request.args else redirect(url_for("locust.index") + LAB_TAB)


def _show_no_host(ui: WebUI) -> None:
    """Hide the host, which Locust's page keeps from the test before: the lab's tab has the target's name."""
    update = ui.update_template_args

    def without_host() -> None:
        update()
        ui.template_args |= {"host": HOST_SHOWN, "missing_host_warning": False}

    ui.update_template_args = without_host  # type: ignore[method-assign]


def _index(*, watching: bool) -> str:
    """Locust's page, with the lab's style and script."""
    text = (Path(DEFAULT_BUILD_PATH) / "index.html").read_text()
    if text.count("</body>") != 1:
        raise RuntimeError("Locust's page is not as it was: the lab's tab cannot be put into it")
    return text.replace("</body>", (WATCHING if watching else "") + INTO_PAGE + "</body>")


def _pages(ui: WebUI, source: ViewSource, start_again: Callable[[str], None]) -> Blueprint:
    pages = Blueprint("lab", __name__, url_prefix="/lab")
    guarded = ui.auth_required_if_enabled

    @pages.get("")
    @guarded
    def whole() -> str:
        return tab.page(source.view())

    @pages.get("/figures")
    @guarded
    def figures() -> str:
        return tab.fragment(source.view())

    @pages.get("/<any('lab.css', 'lab.js'):name>")
    def asset(name: str) -> Response:
        return send_from_directory(STATIC, name)

    @pages.get("/<name>")
    @guarded
    def download(name: str) -> Response:
        comparison = source.view().comparison
        files = {**comparison_yaml(comparison), **comparison_md(comparison)}
        if name not in files:
            return make_response(f"{name}: there is no such file", HTTPStatus.NOT_FOUND)
        return send_file(io.BytesIO(files[name]), as_attachment=True, download_name=f"{source.run.id}-{name}")

    @pages.post("/start-again/<server>")
    @guarded
    def again(server: str) -> tuple[str, int]:
        if server not in source.targets:
            return f"{server}: no such server is up", HTTPStatus.NOT_FOUND
        start_again(server)
        return "", HTTPStatus.ACCEPTED

    return pages


# --- who may do what


class _User(UserMixin):  # type: ignore[misc]
    id = USER


def _require_login(ui: WebUI, app: Flask, password: str) -> None:
    """Serve Locust's own login page, with the check of user and password that Locust leaves to its users."""
    app.secret_key = secrets.token_bytes(32)
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    ui.login_manager.user_loader(lambda name: _User() if name == USER else None)
    ui.auth_args = {"username_password_callback": "./lab/login"}

    @app.post("/lab/login", endpoint=LOGIN)
    def login() -> Any:
        given, theirs = (request.form.get(name, "").encode() for name in ("username", "password"))
        # Compared in a time that reveals nothing.
        if hmac.compare_digest(given, USER.encode()) & hmac.compare_digest(theirs, password.encode()):
            login_user(_User())
            return redirect(url_for("locust.index") + LAB_TAB)
        session["auth_error"] = f"This is not the user and the password that {called('lab.up')} printed."
        return redirect(url_for("locust.login"))


# --- tests


def _swarm(app: Flask, prepare: Prepare, one_at_a_time: Semaphore, start: Callable[[], Any]) -> Any:
    """Answer the request by which Locust's page starts a test, or changes the one under way, as that page expects."""
    if not one_at_a_time.acquire(blocking=False):
        return jsonify({"success": False, "message": "wait a moment: another test is being started"})
    try:
        if (why := prepare(request.form, app.view_functions["locust.stop"])) is not None:
            return jsonify({"success": False, "message": why})
        answer = start()
        # Let it start, so that the next request finds it running.
        gevent.sleep(0)
        return answer
    finally:
        one_at_a_time.release()


def _running_until_stopped(response: Response) -> Response:
    """Report a test that is being stopped as running.

    Locust's page stops polling once it has received `stopping`, and would show that for ever.
    """
    if request.path == "/stats/requests" and response.is_json:
        figures = response.get_json()
        if figures["state"] == STATE_STOPPING:
            response.set_data(json.dumps(figures | {"state": STATE_RUNNING}))
    return response


# --- a run that is watched


def _read_only() -> Any:
    if request.method == "POST" and request.endpoint != LOGIN:
        return "this page watches a run, which nobody can change", HTTPStatus.FORBIDDEN
    return None


def _as_locust_stats(watched: WatchedRun) -> dict[str, Any]:
    """The run's figures as Locust's own tables and charts expect them: a row a cell, and the latest trial as the total."""
    rows = [
        _row(result, watched.reports(result.cell))
        for result in watched.comparison().cells
        if result.figures is not None
    ]
    last = watched.last
    requests, failures = sum(row["num_requests"] for row in rows), sum(row["num_failures"] for row in rows)
    total = _shown("Aggregated", requests, failures, {} if last is None else last.latency_ms) | {
        "current_rps": 0.0 if last is None else last.throughput_rps,
        "avg_response_time": 0.0 if last is None else last.latency_mean_ms,
    }
    return {
        "stats": [*rows, total],
        "errors": [],
        "current_rps": total["current_rps"],
        "current_fail_per_sec": 0.0,
        "total_rps": total["current_rps"],
        "total_fail_per_sec": 0.0,
        "total_avg_response_time": total["avg_response_time"],
        "fail_ratio": failures / (requests + failures) if requests + failures else 0.0,
        "current_response_time_percentiles": {
            f"response_time_percentile_{share}": None if last is None else last.latency_ms.get(f"p{share * 100:.0f}")
            for share in stats.PERCENTILES_TO_CHART
        },
        "state": STATE_STOPPED if watched.ended else STATE_RUNNING,
        "user_count": 0 if watched.cell is None or watched.ended else watched.cell.users or 1,
    }


def _row(result: CellResult, reports: Sequence[TrialReport]) -> dict[str, Any]:
    assert result.figures is not None, "chosen so"
    cell, figures = result.cell, result.figures
    name = f"{cell.server}, {cell.workload}, {cell.load}, {cell.connection}"
    completed = sum(report.completed for report in reports)
    return _shown(name, completed, figures.failures, figures.latency_ms) | {
        "current_rps": figures.throughput_rps.median,
        "avg_response_time": fmean(report.latency_mean_ms for report in reports),
    }


def _shown(name: str, requests: int, failures: int, latency_ms: Mapping[str, float]) -> dict[str, Any]:
    return {
        "method": "GET",
        "name": name,
        "safe_name": name,
        "num_requests": requests,
        "num_failures": failures,
        "min_response_time": None,
        "max_response_time": latency_ms.get("max"),
        "median_response_time": latency_ms.get("p50"),
        "current_fail_per_sec": 0.0,
        "total_rps": 0.0,
        "total_fail_per_sec": 0.0,
        "avg_content_length": None,
        **{
            f"response_time_percentile_{share}": latency_ms.get(f"p{share * 100:.0f}")
            for share in stats.PERCENTILES_TO_STATISTICS
        },
    }
