"""A user's own application, unchanged, from its file to what the comparison says of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.test_application import REQUIREMENTS
from tests.e2e.conftest import Cli, fetch, filled, is_disturbed, wait_for
from tests.e2e.test_bad_input import assert_one_line
from tests.unit.checkout import git
from wsgilab.results.store import Store

pytestmark = pytest.mark.lab

SHOP = """
import time

from flask import Flask, request

app = Flask(__name__)


@app.get("/orders")
def orders():
    time.sleep(0.1)
    return {"orders": [1, 2]}


@app.post("/orders")
def buy():
    return {"bought": request.get_json()["sku"]}, 201


@app.get("/stream")
def stream():
    def pieces():
        for piece in range(3):
            time.sleep(0.05)
            yield f"{piece}\\n"

    return pieces(), {"Content-Type": "text/plain"}
"""
FILE = """
application: {entry: "shop:app", source: shop, locust_requirements: [inflection]}
requests:
  orders: {get: /orders, expect: {json: {orders: [1, 2]}}}
  buy: {post: /orders, json: {sku: 7}, expect: {status: 201, contains: "7"}}
  stream: {get: /stream, expect: {contains: "2"}}
  shop: {mix: {orders: 3, buy: 1}}
  browse: {locustfile: locustfile.py}
"""
LOCUST_FILE = """
import inflection
from locust import FastHttpUser, task

from paths import ORDERS

PASSWORD = "held-by-nobody"
with open("users.csv") as file:
    USERS = file.read().split()


class Shopper(FastHttpUser):
    @task(3)
    def orders(self):
        self.client.get(ORDERS, name=f"orders of {USERS[0]}")

    @task
    def buy(self):
        with self.client.post(ORDERS, json={"sku": 7}, catch_response=True) as answer:
            if answer.status_code != 201:
                answer.failure("not bought")
"""
EXPERIMENT = """
name: shop
application: shop.yaml
blocks: 1
window_s: 0.5
reference: gunicorn-sync-1
cells:
  - {servers: [gunicorn-sync-1, gunicorn-gthread-8], workloads: [orders, stream], users: [10], connections: [close]}
  - {servers: [gunicorn-gthread-8], workloads: [shop, browse], users: [10], connections: [keep-alive]}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with the application, its file and an experiment."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.py").write_text(SHOP)
    (tmp_path / "shop" / "requirements.txt").write_text(REQUIREMENTS)
    (tmp_path / "shop.yaml").write_text(FILE)
    (tmp_path / "locustfile.py").write_text(LOCUST_FILE)
    (tmp_path / "users.csv").write_text("bob\n")
    (tmp_path / "paths.py").write_text('ORDERS = "/orders"\n')
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    return tmp_path


SLOTS = {
    **{f"gunicorn-sync-1, {workload}": 1 for workload in ("orders", "stream")},
    **{f"gunicorn-gthread-8, {workload}": 8 for workload in ("orders", "stream", "browse")},
}


def test_it_is_measured_as_the_labs_own(cli: Cli, shop: Path) -> None:
    def measure(_: Sequence[str] = ()) -> Mapping[str, dict[str, Any]]:
        ended = cli.run("--seed", "7", experiment=str(shop / "experiment.yaml"))
        assert ended.code == 0, ended.output
        return {f"{each['server']}, {each['workload']}": each for each in cli.comparison()["cells"]}

    found = measure()
    comparison = cli.comparison()
    assert comparison["run"]["trials"]["failed"] == 0
    assert found.keys() == {*SLOTS, "gunicorn-gthread-8, shop"}
    assert {name: cell["failures"] for name, cell in found.items()} == dict.fromkeys(found, 0)
    trials = {f"{each.cell.server}, {each.cell.workload}": each.swarm for each in Store(cli.latest).observations()}
    of_parts = 0
    for name, swarm in trials.items():
        assert swarm is not None, name
        # On a busy machine a load may settle only as its window ends, and then no request has a latency.
        if swarm.parts is not None:
            of_parts += 1
            parts = swarm.parts
            means = [part.mean for part in (parts.connect, parts.queue, parts.service, parts.back)]
            assert sum(means) == pytest.approx(swarm.latency_mean_ms, rel=0.01), name
        if name.endswith(", stream"):
            # It is in the application for as long as it takes, not only until its headers are sent. All that have left were so in
            # this window, but for those that were inside before.
            assert swarm.service_ms >= 150, name
            assert swarm.in_flight.mean * swarm.window_s >= 0.150 * (swarm.completed - SLOTS[name]), name
    assert of_parts

    assert found["gunicorn-gthread-8, shop"]["by_request"].keys() == {"orders", "buy"}
    assert found["gunicorn-gthread-8, browse"]["by_request"].keys() == {"orders of bob", "POST /orders"}
    assert not [each for each in cli.latest.rglob("*") if each.is_file() and b"held-by-nobody" in each.read_bytes()]
    recorded = yaml.safe_load((cli.latest / "experiment.yaml").read_text())
    assert recorded["application"]["application"]["entry"] == "shop:app"
    assert {path.name for path in (cli.latest / "locks").iterdir()} == {"gunicorn.txt", "locust.txt"}
    assert filled(found, SLOTS, measure) == SLOTS


def test_what_cannot_be_served_or_answers_wrongly_is_told_in_one_line(local: Cli, shop: Path) -> None:
    words = ("lab.run", "--runtime", "local", "--servers", "gunicorn-sync-1", "--blocks", "1")
    entry = local(*words, "--app", "shop:nothing", "--source", str(shop / "shop"))
    assert_one_line(entry, "gunicorn-sync-1", "shop:nothing")
    wrong = local(*words, "--app", "shop:app", "--source", str(shop / "shop"), "--get", "/orders/7")
    assert_one_line(wrong, "orders-7 has no right answer from gunicorn-sync-1", "status 404", "correct the request")
    assert not list(local.workspace.results.glob("*"))


def test_the_interactive_lab_has_its_requests_for_workloads(cli: Cli, shop: Path) -> None:
    words = ("--app", str(shop / "shop.yaml"), "--runtime", cli.runtime)
    if cli.runtime == "local":
        # It is the same for images, and takes longer.
        built = cli("lab.build", *words, "--servers", "gunicorn-gthread-8")
        assert built.code == 0, built.output
    up = cli.up("--app", str(shop / "shop.yaml"), servers="gunicorn-gthread-8")
    assert up.code == 0, up.output
    assert "Installing" not in up.output, "nothing is left to install"
    assert f"Application: shop:app, from {shop / 'shop'}" in up.lines

    lab = f"http://127.0.0.1:{cli.session().port}"
    form = {"target": "gunicorn-gthread-8", "user_count": "16", "spawn_rate": "16"}
    refused = json.loads(fetch(f"{lab}/swarm", form | {"workload": "sleep"}).body)
    assert refused["message"] == "workload: must be one of orders, buy, stream, shop, browse, not 'sleep'"
    asked = {"shop": {"orders", "buy"}, "browse": {"orders of bob", "POST /orders"}}
    if cli.runtime == "compose":
        # The same programs, but for an image that has what the Locust file imports. A stream is in the test above.
        del asked["shop"]
    for workload, names in asked.items():
        assert json.loads(fetch(f"{lab}/swarm", form | {"workload": workload}).body)["success"]

        def found(workload: str = workload) -> list[Any]:
            measured = yaml.safe_load(fetch(f"{lab}/lab/comparison.yaml").body)["cells"]
            return [
                cell
                for cell in measured
                if cell["throughput_rps"] and cell["workload"] == workload and cell["in_flight"]["peak"] >= 8
            ]

        # On a busy machine the next look may find the load unsettled again, and a second may leave slots empty.
        (cell,) = wait_for(found, "a second that counts, and fills the slots")
        assert (cell["users"], cell["in_flight"]["peak"], cell["failures"]) == (16, 8, 0)
        assert cell["by_request"].keys() == names

    if cli.runtime == "local":
        assert json.loads(fetch(f"{lab}/swarm", form | {"workload": "stream"}).body)["success"]
        # By its stamp a stream has left with its first byte. When it really had is known a little later.
        (cell,) = wait_for(lambda: [each for each in found("stream") if each["service_ms"] > 140], "a stream in full")
        assert (cell["in_flight"]["peak"], cell["failures"]) == (8, 0)
    assert cli("lab.down").code == 0


COMPUTES = """
from importlib.metadata import version

def app(environ, start_response):
    number = 1
    for _ in range({steps}):
        number = number * 1103515245 + 12345 & 0x7FFFFFFF
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{{number}} {{version('itsdangerous')}}".encode()]
"""


def test_two_commits_are_measured_side_by_side_each_with_packages_of_its_own(local: Cli, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "shop.yaml").write_text('application: {entry: "shop:app"}\nrequests: {orders: {get: /}}\n')
    git(shop, "init", "-q")
    for tag, steps, pinned in (("v1", 10_000, "2.1.2"), ("v2", 100_000, "2.2.0")):
        (shop / "shop.py").write_text(COMPUTES.format(steps=steps))
        (shop / "requirements.txt").write_text(f"itsdangerous=={pinned}\n")
        git(shop, "add", ".")
        git(shop, "commit", "-q", "-m", tag)
        git(shop, "tag", tag)
    words = ("lab.run", "--runtime", "local", "--app", str(shop / "shop.yaml"), "--servers", "gunicorn-sync-1")
    ended = local(*words, "--experiment", "experiments/application.yaml", "--blocks", "3", "--against", "v1")
    assert ended.code == 0, ended.output

    run = Store(local.latest).run()
    packages = {name: stack.packages.get("itsdangerous") for name, stack in run.stacks.items() if name != "swarm"}
    assert packages == {"gunicorn": "2.2.0", "gunicorn-against": "2.1.2"}
    found = yaml.safe_load((local.latest / "against.yaml").read_text())
    (cell,) = found["cells"]
    assert (cell["server"], cell["a"]["blocks"], cell["b"]["blocks"]) == ("gunicorn-sync-1", 3, 3)
    disturbed = is_disturbed(cell["a"]) or is_disturbed(cell["b"])
    assert cell["ratio"]["median"] < (1 if disturbed else 0.5), "v2 computes ten times as much"
    assert {"stack gunicorn: itsdangerous", "your application: shop.py"} <= {
        each["what"] for each in found["differences"]
    }
    assert "shop:app at HEAD" in ended.output.replace("\n", " ")
    assert not (local.workspace.state / "revision").exists()
