"""The JSON Schemas: they are what the parsers hold files against, and what `comparison.yaml` is written with."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.unit.queues import Queue, sought
from tests.unit.runs import compared, stored
from wsgilab import testing
from wsgilab.analysis import claims
from wsgilab.analysis.ab.runs import runs
from wsgilab.analysis.compare import compare
from wsgilab.commands import schemas
from wsgilab.experiment import application, catalogue, own_catalogue, parsing, resolve
from wsgilab.experiment.site import parse_site
from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model import Advice, Alternative, Comparison, Drift, Interval, Scaling, ServerContrast, Wish
from wsgilab.model.errors import SpecError
from wsgilab.report.ab import runs_yaml
from wsgilab.report.comparison import comparison_yaml

ROOT = Path(__file__).parents[3]
SERVERS = catalogue.parse((ROOT / "compose" / "servers.yaml").read_text(), "servers.yaml")
WRITTEN = schemas.schemas()
FILES = {name: json.loads(content) for name, content in WRITTEN.items()}
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in FILES.items()}
RECORDED = ("recorded/answer", "unit/recorded/claims")


def refuses(schema: str, document: object) -> bool:
    return not VALIDATORS[schema].is_valid(document)


def a_file(path: str) -> bytes:
    return APPLICATION.encode() if path == "shop.yaml" else b"bytes"


def parser_refuses(schema: str, text: str) -> bool:
    parsers: Mapping[str, Callable[[], object]] = {
        "application.json": lambda: application.parse(text, "a.yaml", folder=".", read_file=lambda _: b"bytes"),
        "experiment.json": lambda: resolve.parse(text, "e.yaml", SERVERS, cores=4, read_file=a_file),
        "catalogue.json": lambda: own_catalogue.parse(text, "c.yaml", SERVERS, folder=".", read_file=lambda _: b""),
        "claims.json": lambda: claims.parse(text, "c.yaml", SERVERS),
        "servers.json": lambda: catalogue.parse(text, "s.yaml"),
        "backends.json": lambda: catalogue.parse_backends(text, "b.yaml"),
        "site.json": lambda: parse_site(text, "s.yaml"),
    }
    try:
        parsers[schema]()
    except SpecError:
        return True
    return False


# What is in the folder.


def test_the_schemas_in_the_folder_are_those_of_the_code() -> None:
    found = {file.name: file.read_bytes() for file in (ROOT / "schemas").iterdir()}

    assert found == WRITTEN, "renew them with: make schemas"


def test_schemas_are_written_into_a_folder_of_any_name(tmp_path: Path) -> None:
    schemas.write(tmp_path / "a" / "b")

    assert {file.name: file.read_bytes() for file in (tmp_path / "a" / "b").iterdir()} == WRITTEN


@pytest.mark.parametrize("name", FILES)
def test_each_is_a_schema_of_draft_2020_12(name: str) -> None:
    assert FILES[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(FILES[name])


def objects(schema: object) -> Iterator[dict[str, Any]]:
    """Every schema of an object within a schema; what only narrows another says nothing of its own."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


BY_NAME = ("services", *WORKLOADS)
"""Keys that are names, and need no words of their own."""


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_described(name: str) -> None:
    found = [(key, value) for each in objects(FILES[name]) for key, value in each.get("properties", {}).items()]
    silent = [key for key, value in found if not value.get("description") and key not in BY_NAME and key != "x-lab"]

    assert len(found) >= 4
    assert not silent
    assert FILES[name]["description"]
    assert all("\n" not in value.get("description", "") for _, value in found)


def test_editors_are_told_defaults_workloads_parameters_and_figures() -> None:
    experiment, group = FILES["experiment.json"], FILES["experiment.json"]["$defs"]["CellGroup"]
    figure = FILES["claims.json"]["$defs"]["Limits"]["properties"]["figure"]

    assert experiment["properties"]["window_s"]["default"] == 1
    assert group["properties"]["connections"]["default"] == ["close"]
    assert group["properties"]["cores"]["default"] == [1]
    (without,) = (each["then"] for each in experiment["allOf"] if "application" in each["if"]["properties"])
    in_groups = without["properties"]["cells"]["items"]["properties"]["workloads"]["items"]
    assert in_groups["enum"] == ["all", *WORKLOADS]
    parameters = experiment["properties"]["workloads"]["properties"]
    assert {
        name: {key: each["default"] for key, each in known["properties"].items()} for name, known in parameters.items()
    } == {
        name: {key: parameter.usual for key, parameter in each.parameters.items()} for name, each in WORKLOADS.items()
    }
    told = [parameters[name]["properties"][key]["description"] for name, key in (("sleep", "ms"), ("large", "kib"))]
    assert told == ["How long a request waits, in milliseconds.", "Size of the answer, in KiB."]
    assert figure["enum"] == list(claims.FIGURES)


def test_keys_that_come_from_a_base_class_are_described_as_there() -> None:
    for name in ("experiment.json", "claims.json"):
        assert FILES[name]["properties"]["window_s"]["description"].startswith("How long one trial is observed")
    parts, described = FILES["comparison.json"]["properties"], FILES["comparison.json"]["$defs"]
    for of_cell in (
        described["CellEntry"],
        described["AdviceEntry"],
        parts["comparisons"]["items"],
        parts["scaling"]["items"],
    ):
        assert (
            of_cell["properties"]["cores"]["description"]
            == "To how many cores the server was pinned. Null where it is not the lab's."
        )
    assert described["CellEntry"]["properties"]["server_cpu"]["description"] == (
        "Share of the pinned cores that the server used."
    ), "as at the value"
    assert FILES["claims.json"]["properties"]["blocks"]["description"] == (
        "Passes over every cell, each in an order of its own."
    ), "a class' own words go before its base's"


# The files that are there.


def schema_of(file: Path) -> str:
    """The schema that a file's first line names."""
    start, _, path = file.read_text().splitlines()[0].partition("$schema=")
    assert start == "# yaml-language-server: "
    named = (file.parent / path).resolve()
    assert named.parent == ROOT / "schemas"
    return named.name


EDITED = [
    *sorted((ROOT / "experiments").glob("*.yaml")),
    *(ROOT / "compose" / f"{n}.yaml" for n in ("servers", "backends")),
    *(ROOT / "tests" / "e2e").glob("mine.yaml"),
]


@pytest.mark.parametrize("file", EDITED, ids=lambda file: file.name)
def test_every_file_that_people_edit_names_its_schema_and_is_valid_by_it(file: Path) -> None:
    schema = schema_of(file)

    VALIDATORS[schema].validate(yaml.safe_load(file.read_text()))
    assert not parser_refuses(schema, file.read_text())


# comparison.yaml


ONE, TWO = testing.cell("one"), testing.cell("two")
AT_RATE = testing.cell("one", users=None, rate=20.0, arrivals="poisson")
INTERVAL = Interval(median=1.0, low=None, high=2.0)
LOOKED_FOR = sought({"one": Queue(slots=1, held_s=0.02), "two": Queue(slots=2, held_s=0.3)}, budget_s=140)
EVERYTHING = Comparison(
    run=testing.run(testing.experiment(ONE)),
    trials=1,
    measured=0,
    failed=1,
    window_s=0.0,
    cells=(),
    pairs=(),
    confidence=0.0,
    scaling=(Scaling(cell=testing.cell("one", cores=2), over_cores=1, blocks=4, ratio=INTERVAL),),
    drift=(
        Drift(block=0, started="2026-01-02T03:04:05+00:00", trials=2, throughput=INTERVAL, cpu_time=INTERVAL),
        Drift(block=1, started="2026-01-02T03:04:06+00:00", trials=2, throughput=INTERVAL, cpu_time=None),
    ),
    advice=(
        Advice(
            group=AT_RATE,
            workloads=("sleep", "cpu"),
            wish=Wish(p95_ms=100.0),
            server="one",
            reason="fastest",
            tied=("one",),
            shares={"one": {"cpu": INTERVAL}},
            runner_up=ServerContrast(cell=replace(AT_RATE, server="two"), other="one", ratio=INTERVAL),
            changes=(Alternative(group=replace(AT_RATE, workload="cpu"), wish=Wish(), server="two", tied=("two",)),),
            left_out={"three": "its gates are broken"},
        ),
    ),
)
COMPARISONS: Mapping[str, Callable[[], Comparison]] = {
    **{name: partial(compared, name) for name in RECORDED},
    "a failed cell": lambda: compare(
        testing.run(testing.experiment(ONE, TWO)),
        [testing.observation(ONE), testing.observation(TWO, status="failed", swarm=None, reason="it had ended")],
    ),
    "a rate": lambda: compare(testing.run(testing.experiment(AT_RATE)), [testing.observation(AT_RATE)]),
    "no latency": lambda: compare(
        testing.run(testing.experiment(ONE)),
        [testing.observation(ONE, swarm=testing.trial_report(latency_ms={}, latency_histogram=testing.histogram()))],
    ),
    "everything": lambda: EVERYTHING,
    "capacity": LOOKED_FOR.comparison,
}


def written(comparison: Comparison) -> Any:
    return yaml.safe_load(comparison_yaml(comparison)["comparison.yaml"])


@pytest.fixture(scope="module")
def recorded() -> Any:
    """The document of a recorded run; not to be changed."""
    return written(compared())


def closed(schema: Any) -> Any:
    """The schema with no other keys than those that it describes."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    return {"additionalProperties": False, **found} if "properties" in schema and "type" in schema else found


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_is_valid_and_every_key_of_it_is_known(name: str) -> None:
    document = written(COMPARISONS[name]())

    Draft202012Validator(closed(FILES["comparison.json"])).validate(document)


@pytest.mark.parametrize(("a", "b"), [("before", "after"), ("before", "before")])
def test_two_runs_beside_each_other_are_valid_and_every_key_is_known(a: str, b: str) -> None:
    of_a, of_b = stored(f"recorded/{a}"), stored(f"recorded/{b}")
    found = runs(of_a.run(), of_a.observations(), of_b.run(), of_b.observations())
    document = yaml.safe_load(runs_yaml(found)["against.yaml"])

    Draft202012Validator(closed(FILES["against.json"])).validate(document)
    document["cells"][0]["verdict"] = "better"
    assert refuses("against.json", document)


def test_other_keys_may_be_added_to_a_comparison(recorded: Any) -> None:
    document = {**recorded, "more": 1, "cells": [{**recorded["cells"][0], "more": 1}]}

    assert not refuses("comparison.json", document)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("schema",), "1"),
        (("run", "id"), None),
        (("run", "runtime"), "cloud"),
        (("cells", 0, "slots"), "many"),
        (("cells", 0, "bound_by"), "luck"),
        (("cells", 0, "in_flight", "peak"), 1.5),
        (("cells", 0, "throughput_rps", "median"), None),
        (("cells", 0, "warnings"), "none"),
        (("comparisons", 0, "verdict"), "better"),
        (("comparisons", 0, "ratio"), 2.0),
        (("scaling", 0, "over_cores"), None),
        (("drift", 0, "throughput"), None),
    ],
)
def test_a_comparison_that_says_something_else_is_refused(
    place: tuple[str | int, ...], value: object, recorded: Any
) -> None:
    # One entry of each list is enough.
    document: Any = copy.deepcopy({key: each[:1] if isinstance(each, list) else each for key, each in recorded.items()})
    assert not refuses("comparison.json", document)
    *way, last = place
    inner = document
    for key in way:
        inner = inner[key]
    assert inner[last] != value
    inner[last] = value
    assert refuses("comparison.json", document)
    del inner[last]
    assert refuses("comparison.json", document) or isinstance(last, int)


CAPACITY = """\
name: mine
capacity: {p95_ms: 200, failures: 0.1%, arrivals: constant}
budget: 10m
reference: gunicorn-sync-1
cells: [{servers: [gunicorn-gevent], workloads: [hello], connections: [keep-alive], cores: [1, 2]}]
"""


def test_a_search_for_capacity_is_accepted_by_schema_and_parser_alike() -> None:
    assert not refuses("experiment.json", yaml.safe_load(CAPACITY))
    assert not parser_refuses("experiment.json", CAPACITY)
    for more in ("users: [8]", "rate: [9]", "arrivals: poisson"):
        text = CAPACITY.replace("cores: [1, 2]", more)
        assert refuses("experiment.json", yaml.safe_load(text)), more
        assert parser_refuses("experiment.json", text), more


# Files that are wrong: the schema and the parser refuse them alike.

EXPERIMENT = """\
name: mine
blocks: 4
window_s: 0.5
patience_s: 5
generator: own
generator_cores: 1
reference: gunicorn-sync-1
precision: 0.05
max_blocks: 20
workloads: {sleep: {ms: 20}, mixed: {hello: 1}}
cells:
  - {servers: all, workloads: [hello, sleep], users: [1, 32], connections: [close, keep-alive], cores: all}
  - {servers: [gunicorn-gevent], workloads: [mixed], rate: [0.5, 20], arrivals: poisson, cores: [1, 2]}
"""
APPLICATION = """\
application:
  entry: "shop:create_app('prod')"
  source: ../shop
  requirements: pyproject.toml
  extras: [postgres]
  python: "3.12"
  env: {SHOP_DB: "sqlite:///{LAB_DATA}/shop.db"}
  env_file: .env
  writable: [instance]
  prepare: [python, -m, shop.seed]
  ready: /healthz
  start_s: 60
  memory_mb: 512
  backends: [postgres]
requests:
  orders: {get: "/orders?page=1", expect: {status: 200, contains: '"orders"', matches: "o.*s", json: {a: 1}}}
  buy: {post: /orders, json: {sku: 7}, headers: {X-Key: k}, expect: 201}
  upload: {put: /files/x, body_file: fixtures/1m.bin}
  shop: {mix: {orders: 8, buy: 1}}
"""
CLAIMS = """\
name: mine
blocks: 6
window_s: 0.4
reference: gunicorn-sync-1
workloads: {sleep: {ms: 20}}
cells:
  single: {server: flask-single, workload: sleep, users: 32, connection: close, cores: 1}
  scheduled: {server: gunicorn-sync-1, workload: cpu, rate: 10, arrivals: constant}
claims:
  - id: one
    claim: One at a time.
    met: here
    holds:
      - {figure: peak_in_flight, of: single, at_most: 1}
      - {figure: throughput_rps, of: single, over: scheduled, at_least: 0.5, at_most: 2}
    shows: [{figure: os_threads, of: single}]
    explanation: It is.
    advice: Do.
"""
CATALOGUE = """\
services:
  one:
    build: {args: {STACK: gunicorn}}
    command: [gunicorn, "app:app"]
    environment: {A: b}
    x-lab: {slots: 1, processes: unbounded, model: process, summary: as it comes}
"""
BACKENDS = """\
services:
  store:
    command: [store]
    healthcheck: {test: [CMD, is_ready]}
    x-lab: {stack: store, entrypoint: [python, store.py], port: 5432}
"""
SITE = """\
targets:
  - name: alpha
    engine: tcp://10.0.0.2:2376
    address: alpha.example
    publish: 10.0.0.2
    ports: 8100-8199
    cores: 0-3
    tls: certificates
swarm:
  - {engine: "ssh://lab@10.0.0.3", address: 10.0.0.3, ports: 5557, cores: 0}
"""
RIGHT = {
    "site.json": SITE,
    "application.json": APPLICATION,
    "experiment.json": EXPERIMENT,
    "claims.json": CLAIMS,
    "servers.json": CATALOGUE,
    "backends.json": BACKENDS,
}


@pytest.mark.parametrize("schema", RIGHT)
def test_what_is_right_is_accepted_by_schema_and_parser_alike(schema: str) -> None:
    assert not refuses(schema, yaml.safe_load(RIGHT[schema]))
    assert not parser_refuses(schema, RIGHT[schema])


@pytest.mark.parametrize(
    ("schema", "before", "after"),
    [
        ("application.json", "entry:", "entri:"),
        ("application.json", "  entry: \"shop:create_app('prod')\"\n", ""),
        ("application.json", 'python: "3.12"', "python: 3.12"),
        ("application.json", 'python: "3.12"', 'python: "2.7"'),
        ("application.json", "{SHOP_DB: ", "{SHOP DB: "),
        ("application.json", "extras: [postgres]", "extras: postgres"),
        ("application.json", "ready: /healthz", "ready: healthz"),
        ("application.json", "start_s: 60", "start_s: 0"),
        ("application.json", "memory_mb: 512", "memory_mb: 1.5"),
        ("application.json", "backends: [postgres]", "backends: [redis]"),
        ("application.json", "backends: [postgres]", "backends: [postgres]\n  image: shop"),
        ("application.json", "backends: [postgres]", "backends: [postgres]\n  build: ../shop"),
        ("application.json", "backends: [postgres]", "backends: [postgres]\n  picture: shop"),
        ("application.json", "backends: [postgres]", "backends: [{compose: compose.yaml}]"),
        ("application.json", "backends: [postgres]", "backends: [{compose: compose.yaml, services: []}]"),
        ("application.json", "backends: [postgres]", "backends: [{compose: compose.yaml, services: [-x]}]"),
        ("application.json", "requests:", "request:"),
        ("application.json", APPLICATION[APPLICATION.index("requests:") :], "requests: {}\n"),
        ("application.json", "orders: {get", "Orders: {get"),
        ("application.json", 'get: "/orders?page=1"', 'get: "orders"'),
        ("application.json", 'get: "/orders?page=1"', 'got: "/orders"'),
        ("application.json", 'get: "/orders?page=1"', 'get: "/orders", post: /orders'),
        ("application.json", 'get: "/orders?page=1", ', ""),
        ("application.json", "status: 200", "status: 99"),
        ("application.json", "expect: 201", "expect: 600"),
        ("application.json", "expect: 201", "expect: yes"),
        ("application.json", "contains: '\"orders\"'", "contains: 7"),
        ("application.json", "headers: {X-Key: k}", "headers: {X Key: k}"),
        ("application.json", "headers: {X-Key: k}", 'headers: {X-Key: "a\\nb"}'),
        ("application.json", "body_file: fixtures/1m.bin", "body_base64: '!'"),
        ("application.json", "{mix: {orders: 8, buy: 1}}", "{mix: {orders: -1}}"),
        ("application.json", "{mix: {orders: 8, buy: 1}}", "{mix: {orders: 8}, get: /}"),
        ("experiment.json", "name: mine", "name: mine\napplication: [shop]"),
        ("experiment.json", "name: mine", "name: mine\napplication: {entry: 'shop:app'}"),
        ("experiment.json", "[hello, sleep]", "some"),
        ("experiment.json", "blocks: 4", "block: 4"),
        ("experiment.json", "name: mine", "name: A Name"),
        ("experiment.json", "name: mine\n", ""),
        ("experiment.json", "blocks: 4", "blocks: 0"),
        ("experiment.json", "blocks: 4", "budget: 60s"),
        ("experiment.json", "name: mine", "name: mine\ncapacity: {p95_ms: 200}"),
        ("experiment.json", "blocks: 4", "capacity: {p95_ms: 200}"),
        ("experiment.json", "name: mine", "name: mine\ncapacity: {failures: 0.1%}"),
        ("experiment.json", "precision: 0.05\nmax_blocks: 20\n", "budget: 60s\n"),
        ("experiment.json", "blocks: 4\n", "budget: 60 seconds\n"),
        ("experiment.json", "blocks: 4", "blocks: yes"),
        ("experiment.json", "window_s: 0.5", "window_s: 0"),
        ("experiment.json", "patience_s: 5", "patience_s: 3601"),
        ("experiment.json", "generator: own", "generator: mine"),
        ("experiment.json", "precision: 0.05", "precision: 1"),
        ("experiment.json", "precision: 0.05\n", ""),
        ("experiment.json", "sleep: {ms: 20}", "nap: {ms: 20}"),
        ("experiment.json", "sleep: {ms: 20}", "sleep: {s: 20}"),
        ("experiment.json", "sleep: {ms: 20}", "sleep: {ms: 60001}"),
        ("experiment.json", "sleep: {ms: 20}", "large: {kib: 1.5}"),
        ("experiment.json", "sleep: {ms: 20}", "sleep: 20"),
        ("experiment.json", "servers: all", "servers: gunicorn"),
        ("experiment.json", "servers: all, ", ""),
        ("experiment.json", "[hello, sleep]", "[helo]"),
        ("experiment.json", "users: [1, 32]", "users: [0]"),
        ("experiment.json", "users: [1, 32], ", ""),
        ("experiment.json", "users: [1, 32]", "users: []"),
        ("experiment.json", "users: [1, 32]", "users: [1], rate: [1]"),
        ("experiment.json", "users: [1, 32]", "users: [1], arrivals: poisson"),
        ("experiment.json", "rate: [0.5, 20]", "rate: [0]"),
        ("experiment.json", "arrivals: poisson", "arrivals: bursts"),
        ("experiment.json", "[close, keep-alive]", "[open]"),
        ("experiment.json", "cores: all", "cores: [all]"),
        ("experiment.json", "cores: [1, 2]", "cores: [0]"),
        ("site.json", "name: alpha", "name: Alpha"),
        ("site.json", "name: alpha", "nam: alpha"),
        ("site.json", "tcp://10.0.0.2:2376", "http://10.0.0.2:2376"),
        ("site.json", "tcp://10.0.0.2:2376", "ssh://-oProxyCommand=true"),
        ("site.json", "tcp://10.0.0.2:2376", "ssh://10.0.0.2"),
        ("site.json", "    tls: certificates\n", ""),
        ("site.json", "tls: certificates", "plain_tcp: I know"),
        ("site.json", "tls: certificates", "tls: c\n    plain_tcp: whoever reaches it is root there"),
        ("site.json", "address: alpha.example", "address: alpha example"),
        ("site.json", "    address: alpha.example\n", ""),
        ("site.json", "publish: 10.0.0.2", "publish: -h"),
        ("site.json", "ports: 5557", "ports: 0"),
        ("site.json", "cores: 0-3", "cores: all"),
        ("site.json", "cores: 0}", "cores: -1}"),
        ("site.json", "swarm:\n  - {engine", "swarm: []\nmore:\n  - {engine"),
        ("claims.json", "blocks: 6", "blocks: 3"),
        ("claims.json", "window_s: 0.4", "windows: 0.4"),
        ("claims.json", "users: 32, ", ""),
        ("claims.json", "users: 32", "users: 32, rate: 1"),
        ("claims.json", "users: 32", "users: 32, arrivals: poisson"),
        ("claims.json", "connection: close", "connection: open"),
        ("claims.json", "id: one", "id: One Claim"),
        ("claims.json", "met: here", "met: ''"),
        ("claims.json", "    advice: Do.\n", ""),
        ("claims.json", "figure: peak_in_flight", "figure: speed"),
        ("claims.json", "of: single, at_most: 1", "of: single"),
        ("claims.json", "of: single, at_most: 1", "of: single, at_most: -1"),
        ("claims.json", "{figure: os_threads, of: single}", "{figure: os_threads, of: single, at_most: 1}"),
        ("claims.json", "[{figure: os_threads, of: single}]", "{figure: os_threads, of: single}"),
        ("servers.json", "services:", "service:"),
        ("servers.json", "  one:", "  One:"),
        ("servers.json", "x-lab:", "x-label:"),
        ("servers.json", '[gunicorn, "app:app"]', "[]"),
        ("servers.json", '[gunicorn, "app:app"]', "gunicorn app:app"),
        ("servers.json", "slots: 1", "slots: 0"),
        ("servers.json", "slots: 1", "slots: yes"),
        ("servers.json", "slots: 1, ", ""),
        ("servers.json", "slots: 1", "slot: 1"),
        ("servers.json", "processes: unbounded", "processes: many"),
        ("servers.json", "model: process", "model: fibre"),
        ("servers.json", "summary: as it comes", "summary: ' '"),
        ("servers.json", "summary: as it comes", 'summary: "\\x1c"'),
        ("servers.json", CATALOGUE, "services: {}"),
        ("backends.json", "port: 5432", "port: 65536"),
        ("backends.json", "port: 5432", "port: 5432, slots: 1"),
    ],
)
def test_what_is_wrong_is_refused_by_schema_and_parser_alike(schema: str, before: str, after: str) -> None:
    assert RIGHT[schema].count(before) == 1
    text = RIGHT[schema].replace(before, after)

    assert parser_refuses(schema, text)
    assert refuses(schema, yaml.safe_load(text))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("arrivals: poisson", "arrivals: null"),
        ("users: [1, 32]", "users: [1, 32], rate: []"),
        ("users: [1, 32]", "users: [1, 32], arrivals: null"),
        ("precision: 0.05\nmax_blocks: 20\n", "precision: null\nmax_blocks: null\n"),
        ("max_blocks: 20\n", ""),
        ("blocks: 4\n", ""),
        ("blocks: 4\n", "blocks: null\nbudget: null\n"),
        ("servers: all", "servers: [all]"),
        ("cores: all", "cores: [1]"),
        ("window_s: 0.5", "window_s: 1"),
        ("sleep: {ms: 20}", "sleep: {}"),
        ("sleep: {ms: 20}", "large: {kib: 8.0}"),
        ("mixed: {hello: 1}", "mixed: {hello: 0}"),
    ],
)
def test_what_can_be_said_in_another_way_is_accepted_by_schema_and_parser_alike(before: str, after: str) -> None:
    assert EXPERIMENT.count(before) == 1
    text = EXPERIMENT.replace(before, after)

    assert not parser_refuses("experiment.json", text)
    assert not refuses("experiment.json", yaml.safe_load(text))


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-1, 3),
    st.floats(),
    st.sampled_from(["all", "", " ", "\x1c", "hello", "close", "constant", "own", "unbounded", "one", "x\n", "1"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["ms", "users", "one", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)
KEYS = sorted(
    {key for schema in FILES.values() for each in objects(schema) for key in each.get("properties", {})} | {"x", ""}
)


def containers(document: Any) -> list[Any]:
    """Every mapping and list in a document that holds something, itself first."""
    if not isinstance(document, dict | list) or not document:
        return []
    values = document.values() if isinstance(document, dict) else document
    return [document, *(each for value in values for each in containers(value))]


@st.composite
def mutated(draw: st.DrawFn, text: str) -> Any:
    """A document in which one to three values were taken out, put in, or replaced."""
    document = copy.deepcopy(yaml.safe_load(text))
    for _ in range(draw(st.integers(1, 3))):
        if not (found := containers(document)):
            break
        inner = draw(st.sampled_from(found))
        at = draw(st.sampled_from(list(inner) if isinstance(inner, dict) else list(range(len(inner)))))
        match draw(st.sampled_from(["take out", "replace", "put in"])):
            case "take out":
                del inner[at]
            case "replace":
                inner[at] = draw(VALUES)
            case _ if isinstance(inner, dict):
                inner[draw(st.sampled_from(KEYS))] = draw(VALUES)
            case _:
                inner.insert(at, draw(VALUES))
    return document


OF_SHOP = """\
name: mine
reference: gunicorn-sync-1
application: shop.yaml
cells: [{servers: all, workloads: [orders, shop], users: [1]}]
"""


def test_an_experiment_of_an_application_names_its_requests_alone_and_gives_the_lab_no_parameters() -> None:
    for text in (OF_SHOP, OF_SHOP.replace("[orders, shop]", "all"), OF_SHOP.replace("[orders, shop]", "[all]")):
        assert not parser_refuses("experiment.json", text)
        assert not refuses("experiment.json", yaml.safe_load(text))
    assert parser_refuses("experiment.json", OF_SHOP.replace("[orders, shop]", "[hello]"))
    for text in (
        OF_SHOP + "workloads: {sleep: {ms: 1}}\n",
        OF_SHOP.replace("application: shop.yaml\n", ""),
        OF_SHOP.replace("application: shop.yaml", "application: null"),
    ):
        assert parser_refuses("experiment.json", text)
        assert refuses("experiment.json", yaml.safe_load(text))


@given(st.sampled_from(sorted(RIGHT)).flatmap(lambda name: st.tuples(st.just(name), mutated(RIGHT[name]))))
def test_whatever_a_schema_refuses_its_parser_refuses_too(case: tuple[str, Any]) -> None:
    schema, document = case
    text = yaml.safe_dump(document, allow_unicode=True)
    document = parsing.load_yaml(text, "again.yaml")
    assume(refuses(schema, document))

    assert parser_refuses(schema, text)


@pytest.mark.parametrize("schema", ["experiment.json", "claims.json"])
def test_a_key_that_is_no_text_is_refused_in_a_line(schema: str) -> None:
    for key in ("1", "null", "2026-01-02", "[a]"):
        assert parser_refuses(schema, f"{RIGHT[schema]}? {key}\n: 1\n")


def test_what_yaml_has_and_json_has_not_is_no_list_and_no_text() -> None:
    for before, after in (("users: [1, 32]", "users: !!set {1, 32}"), ("name: mine", "name: !!binary bWluZQ==")):
        assert before in EXPERIMENT
        assert parser_refuses("experiment.json", EXPERIMENT.replace(before, after))
