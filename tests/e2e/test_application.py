"""A user's own application, unchanged, from its file to what the comparison says of it."""

from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Cli
from tests.e2e.test_bad_input import assert_one_line
from tests.e2e.test_run import cells
from wsgilab.results.store import Store

pytestmark = pytest.mark.lab

SHOP = """
import time

from flask import Flask, request

app = Flask(__name__)


@app.get("/orders")
def orders():
    time.sleep(0.15)
    return {"orders": [1, 2]}


@app.post("/orders")
def buy():
    return {"bought": request.get_json()["sku"]}, 201


@app.get("/stream")
def stream():
    def pieces():
        for piece in range(3):
            time.sleep(0.1)
            yield f"{piece}\\n"

    return pieces(), {"Content-Type": "text/plain"}
"""
FILE = """
application: {entry: "shop:app", source: shop}
requests:
  orders: {get: /orders, expect: {json: {orders: [1, 2]}}}
  buy: {post: /orders, json: {sku: 7}, expect: {status: 201, contains: "7"}}
  stream: {get: /stream, expect: {contains: "2"}}
  shop: {mix: {orders: 3, buy: 1}}
"""
EXPERIMENT = """
name: shop
application: shop.yaml
blocks: 1
window_s: 1.0
reference: gunicorn-sync-1
cells:
  - {servers: [gunicorn-sync-1, gunicorn-gthread-8], workloads: [orders, stream], users: [16], connections: [close]}
  - {servers: [gunicorn-gthread-8], workloads: [shop], users: [16], connections: [keep-alive]}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with the application, its file and an experiment."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.py").write_text(SHOP)
    (tmp_path / "shop" / "requirements.txt").write_text("flask\n")
    (tmp_path / "shop.yaml").write_text(FILE)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    return tmp_path


def test_it_is_measured_as_the_labs_own(cli: Cli, shop: Path) -> None:
    ended = cli.run("--seed", "7", experiment=str(shop / "experiment.yaml"))
    assert ended.code == 0, ended.output

    comparison = cli.comparison()
    assert comparison["run"]["trials"]["failed"] == 0
    for workload in ("orders", "stream"):
        found = cells(comparison, workload=workload)
        peaks = {name: cell["in_flight"]["peak"] for name, cell in found.items()}
        assert peaks == {"gunicorn-sync-1": 1, "gunicorn-gthread-8": 8}, workload
        for cell in found.values():
            assert cell["failures"] == 0
    for each in Store(cli.latest).observations():
        assert each.swarm is not None
        assert each.swarm.parts is not None
        parts = each.swarm.parts
        means = [part.mean for part in (parts.connect, parts.queue, parts.service, parts.back)]
        assert sum(means) == pytest.approx(each.swarm.latency_mean_ms, rel=0.01)
    # A stream is in the application for as long as it takes, not only until its headers are sent.
    for name, cell in cells(comparison, workload="stream").items():
        assert cell["service_ms"] >= 300, name
        assert cell["in_flight"]["mean"] > 0.8 * cell["slots"], name

    mix = cells(comparison, workload="shop")["gunicorn-gthread-8"]
    assert mix["failures"] == 0
    assert mix["by_request"].keys() == {"orders", "buy"}
    recorded = yaml.safe_load((cli.latest / "experiment.yaml").read_text())
    assert recorded["application"]["application"]["entry"] == "shop:app"
    assert (cli.latest / "locks" / "gunicorn.txt").is_file()


def test_what_cannot_be_served_or_answers_wrongly_is_told_in_one_line(local: Cli, shop: Path) -> None:
    words = ("lab.run", "--runtime", "local", "--servers", "gunicorn-sync-1", "--blocks", "1")
    entry = local(*words, "--app", "shop:nothing", "--source", str(shop / "shop"))
    assert_one_line(entry, "gunicorn-sync-1", "shop:nothing")
    wrong = local(*words, "--app", "shop:app", "--source", str(shop / "shop"), "--get", "/orders/7")
    assert wrong.code == 3, wrong.output
    assert "status 404" in wrong.output
