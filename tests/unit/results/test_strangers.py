"""Results from a stranger: whatever a folder holds, the answer is a comparison or one line that says what is wrong."""

import base64
import copy
import dataclasses
import functools
import itertools
import json
import re
import struct
import tempfile
import tracemalloc
import typing
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import TypeAdapter, ValidationError

from tests.unit import lanes, said, two_versions
from wsgilab import testing
from wsgilab.analysis import claims, stats
from wsgilab.analysis.compare import compare
from wsgilab.model import Claim, Comparison, Condition, Experiment, Observation, Run, Timeline, errors
from wsgilab.model.errors import LabError, StoreError
from wsgilab.model.limits import Range
from wsgilab.model.text import visible
from wsgilab.report import terminal
from wsgilab.report.claims import claims_md, claims_yaml
from wsgilab.report.formats import FORMATS
from wsgilab.report.markdown import escape
from wsgilab.results import histogram, reading
from wsgilab.results.store import OBSERVATIONS_FILE, RUN_FILE, Store

RECORDED = Path(__file__).parents[2] / "recorded" / "answer"
Document = Any
"""What a file holds, as plain values."""
Place = tuple[str | int, ...]
"""Where in a document something stands."""
GONE: Any = object()
"""In place of a value: the key is not there."""


@functools.cache
def recorded() -> tuple[Document, Sequence[Document]]:
    """A run on real servers, cut to seven of its cells and four blocks."""
    run = yaml.safe_load((RECORDED / RUN_FILE).read_text())
    wanted = [
        cell
        for cell in run["experiment"]["cells"]
        if cell["users"] == 32
        and (cell["server"], cell["workload"], cell["cores"], cell["connection"])
        in {
            ("flask-processes-3", "sleep", 1, "close"),
            ("gunicorn-sync-1", "sleep", 1, "close"),
            ("gunicorn-gthread-2x4", "sleep", 1, "close"),
            ("gunicorn-gthread-2x4", "sleep", 1, "keep-alive"),
            ("gunicorn-gevent", "cpu", 1, "close"),
            ("gunicorn-sync-1", "cpu", 1, "close"),
            ("gunicorn-sync-1", "cpu", 2, "close"),
        }
    ]
    run["experiment"] |= {"cells": wanted, "blocks": 4}
    run["servers"] = {name: run["servers"][name] for name in sorted({cell["server"] for cell in wanted})}
    lines = map(json.loads, (RECORDED / OBSERVATIONS_FILE).read_bytes().splitlines())
    kept = [line for line in lines if line["cell"] in wanted and line["block"] < 4]
    kept.sort(key=lambda line: (line["block"], line["position"]))
    for position, line in enumerate(kept):
        line["position"] = position
    return run, kept


@functools.cache
def on_lanes() -> tuple[Document, Sequence[Document]]:
    """A run on two lanes, cut to three of its cells."""
    run = lanes.run()
    cells = tuple(cell for cell in run.experiment.cells if cell.server == lanes.GEVENT and cell.users)
    cut = replace(run, experiment=replace(run.experiment, cells=cells))
    given = [json.loads(reading.dump_observation(each)) for each in lanes.observations(cut)]
    return reading.dump_run(cut), given


class Spelt(yaml.SafeDumper):
    """Without aliases, which the lab writes none of."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as PyYAML calls it
        return True


def dumped(run: Document) -> bytes:
    text: str = yaml.dump(run, Dumper=Spelt, sort_keys=False, allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


def written(run: Document, observations: Sequence[Document], folder: Path) -> Store:
    (folder / RUN_FILE).write_bytes(dumped(run))
    (folder / OBSERVATIONS_FILE).write_text("".join(json.dumps(each) + "\n" for each in observations))
    return Store(folder)


def changed(given: Document, place: Place, value: Any) -> Document:
    """A copy with `value` at `place`."""
    copied = copy.deepcopy(given)
    *way, last = place
    parent = functools.reduce(lambda within, key: within[key], way, copied)
    if value is GONE:
        del parent[last]
    else:
        parent[last] = value
    return copied


Given = Callable[[], tuple[Document, Sequence[Document]]]


def refused_run(run: Document) -> str:
    """Why such a `run.yaml` is refused."""
    with pytest.raises(StoreError, match=f"^{RUN_FILE}: ") as caught:
        reading.run(dumped(run), RUN_FILE)
    assert len(caught.value.message) < 400
    return caught.value.message


@functools.cache
def reader(of: Given) -> Callable[[bytes, str], Observation]:
    return reading.observations(reading.run(dumped(of()[0]), RUN_FILE))


def read_trial(line: bytes, of: Given = recorded) -> Observation:
    return reader(of)(line, "lines:1")


def refused_trial(trial: Document | bytes, of: Given = recorded) -> str:
    """Why such a line is refused, in a run that is sound."""
    with pytest.raises(StoreError, match=r"^lines:1: is no observation: ") as caught:
        read_trial(trial if isinstance(trial, bytes) else json.dumps(trial).encode(), of)
    assert caught.value.message.endswith(f"; {reading.DAMAGED}")
    assert len(caught.value.message) < 400
    return caught.value.message.removeprefix("lines:1: is no observation: ")


def at(text: str) -> Place:
    return tuple(int(part) if part.isdecimal() else part for part in text.split("/"))


# What shape does not tell.

CELL_0, SYNC, SLEEP = "experiment/cells/0", "servers/gunicorn-sync-1", "experiment/parameters/sleep/ms"

RUNS: Sequence[tuple[str, Any, str]] = [
    ("id", "../../x", "id: must be the id of a run, not '../../x'"),
    ("id", "x" * 151, "id: "),
    ("id", "x\n", "id: must be the id of a run, not 'x\\n'"),
    ("started", "yesterday", "started: must be a time, in ISO 8601, with its offset from UTC, not 'yesterday'"),
    ("schema", 2, "has results of schema 2"),
    ("schema", "x" * 10**5, "has results of schema 'xxxxx"),
    ("seed", 2**129, "seed: "),
    ("cpu_iterations", 0, "cpu_iterations: must be a whole number from 1 to 1000000000000, not 0"),
    ("experiment/name", "../x", "experiment.name: must be lower-case letters, digits and hyphens, 64 at most"),
    ("experiment/reference", "no!", "experiment.reference: must be the name of a server, or empty, not 'no!'"),
    ("experiment/blocks", 0, "experiment.blocks: must be a whole number from 1 to 1000, not 0"),
    ("experiment/window_s", 1e-300, "experiment.window_s: "),
    ("experiment/generator_cores", 0, "experiment.generator_cores: "),
    ("experiment/precision", 0.1, "experiment.max_blocks: goes with precision"),
    ("experiment/budget_s", 0.5, "experiment.budget_s: must be a number from 1 to 86400"),
    ("experiment/cells", [], "experiment.cells: is empty"),
    ("experiment/reference", "", "experiment.reference: is empty"),
    (f"{CELL_0}/server", "nobody", "experiment.cells[0].server: 'nobody' is none of servers"),
    (f"{CELL_0}/workload", "db", "experiment.cells[0].workload: 'db' is none of experiment.parameters"),
    (f"{CELL_0}/cores", 7, "experiment.cells[0].cores: 7 is none of server_cpus"),
    (f"{CELL_0}/cores", 0, "experiment.cells[0].cores: 0 does not go with"),
    (f"{CELL_0}/users", -1, "experiment.cells[0].users: must be a whole number from 1 to 100000, not -1"),
    (f"{CELL_0}/rate", 5.0, "experiment.cells[0].users: needs users or rate, and not both"),
    (f"{CELL_0}/arrivals", "poisson", "experiment.cells[0].arrivals: goes with rate"),
    ("experiment/parameters", {"sleep": {"ms": 50.0}}, "'cpu' is none of experiment.parameters"),
    ("experiment/parameters/nap", {}, "experiment.parameters.nap: is no workload of this lab; a newer one may have it"),
    ("experiment/parameters/sleep/zz", 1.0, "experiment.parameters.sleep.zz: is no parameter of sleep"),
    (SLEEP, -1.0, "experiment.parameters.sleep.ms: must be a number from 0 to 1000000000, not -1.0"),
    ("server_cpus", {}, "experiment.cells[0].cores: 1 is none of server_cpus"),
    ("server_cpus/1", "0-1", "server_cpus[1]: '0-1' is not so many cores"),
    ("gil", {"stranger": True}, "gil.stranger: is none of servers"),
    ("server_cpus/1", "0-99999999999", "server_cpus[1]: must be a list of cores such as 0,2-3, not '0-99999999999'"),
    ("generator_cpus", "", "generator_cpus: must be a list of cores such as 0,2-3, not ''"),
    ("backend_cpus", "x", "backend_cpus: must be a list of cores such as 0,2-3, or empty, not 'x'"),
    ("host/usable_cpus", "0-", "host.usable_cpus: must be a list of cores such as 0,2-3, not '0-'"),
    ("host/siblings/1", "," * 100, "host.siblings[1]: "),
    ("host/memory_bytes", -1, "host.memory_bytes: "),
    (f"{SYNC}/name", "other", "servers.gunicorn-sync-1.name: is 'other', not its key in servers"),
    (f"{SYNC}/slots", 0, "servers.gunicorn-sync-1.slots: must be a whole number from 1 to 1000000000, not 0"),
    ("notes", ["  "], "notes[0]: must be a few words, not '  '"),
    ("origin", {"files": {"": {}}}, "origin.files..[key]: must be a part of what is measured, not ''"),
    (
        "origin",
        {"files": {"locks": {"/etc/passwd": "0" * 64}}},
        "origin.files.locks./etc/passwd.[key]: must be a path within the checkout, not '/etc/passwd'",
    ),
    ("origin", {"files": {"locks": {"a.txt": "0" * 63}}}, "origin.files.locks.a.txt: "),
    ("origin", {"files": {}, "revision": "main"}, "origin.revision: must be a revision of git, not 'main'"),
    ("lab", GONE, "lacks the key 'lab'"),
    ("colour", "red", "unknown key 'colour'; known are schema, id, lab, "),
    ("host/colour", "red", "unknown key 'host.colour'; known are cpu, architecture, "),
]


@pytest.mark.parametrize(("place", "value", "told"), RUNS)
def test_a_run_that_cannot_be_is_refused_with_file_and_key(place: str, value: Any, told: str) -> None:
    run, _ = recorded()
    message = refused_run(changed(run, at(place), value))

    assert told in message
    assert "get it again" in message or "use the version of the lab that wrote it" in message


def test_a_run_that_cannot_be_is_refused_with_its_observations_too(tmp_path: Path) -> None:
    run, observations = recorded()
    store = written(changed(run, ("id",), "../../x"), observations, tmp_path)

    for read in store.run, store.observations:
        assert said.refusal(StoreError, read).startswith(f"{tmp_path / RUN_FILE}: id: must be the id of a run")


def test_a_cell_that_stands_there_twice_is_refused() -> None:
    run, _ = recorded()
    cells = run["experiment"]["cells"]

    assert "experiment.cells[7]: is there twice" in refused_run(changed(run, at("experiment/cells"), [*cells, *cells]))


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("experiment/application/against", None, "experiment.counterparts: goes with application.against, which is"),
        ("experiment/counterparts/one", "two", "counterparts.one: 'two' is none of servers with that version"),
        (
            "experiment/counterparts/gone",
            "two-against",
            "counterparts.gone: 'gone' is none of servers with that version",
        ),
        (
            "servers/one-against/is_against",
            False,
            "counterparts.one: 'one-against' is none of servers with that version",
        ),
        ("experiment/counterparts", {"one": "one-against"}, "counterparts: not every cell is there with both versions"),
        ("experiment/application/against/revision", "main", "revision: must be a revision of git, not 'main'"),
    ],
)
def test_versions_that_do_not_go_with_each_other_are_refused(place: str, value: Any, told: str) -> None:
    # As it is read of a file.
    run = yaml.safe_load(yaml.safe_dump(reading.dump_run(two_versions.made())))

    assert reading.run(yaml.safe_dump(run).encode(), RUN_FILE).experiment.counterparts
    assert told in refused_run(changed(run, at(place), value))


LANE_0, HOST_0 = "lanes/0", "lanes/0/targets/host"

RUNS_ON_LANES: Sequence[tuple[str, Any, str]] = [
    (f"{LANE_0}/targets/name", "Alpha!", "lanes[0].targets.name: must be lower-case letters, digits and hyphens"),
    (f"{LANE_0}/targets/name", "x" * 101, "lanes[0].targets.name: "),
    (f"{LANE_0}/targets/name", "beta", "lanes[0]: 'beta' is another machine's name too"),
    ("lanes/1/swarm/1/name", "delta", "lanes[1]: 'delta' is another machine's name too"),
    ("lanes/1/swarm/1/cpus", "", "lanes[1].swarm[1].cpus: must be a list of cores such as 0,2-3, not ''"),
    (f"{HOST_0}/usable_cpus", "x", "lanes[0].targets.host.usable_cpus: must be a list of cores such as 0,2-3, not 'x'"),
    (f"{HOST_0}/siblings/0", "", "lanes[0].targets.host.siblings[0]: "),
    ("lanes/1/swarm/0/host/memory_bytes", -1, "lanes[1].swarm[0].host.memory_bytes: must be a whole number from 0"),
    (f"{LANE_0}/swarm", [], "lanes[0].swarm: tuple should have at least 1 item"),
    (f"{LANE_0}/round_trip_ms", -1.0, "lanes[0].round_trip_ms: must be a number from 0"),
    (f"{LANE_0}/bandwidth_mbps", 0.0, "lanes[0].bandwidth_mbps: must be a number above 0"),
    (f"{LANE_0}/bandwidth_mbps", GONE, "lacks the key 'lanes[0].bandwidth_mbps'"),
    (f"{LANE_0}/engine", "ssh://lab@10.0.0.2", "unknown key 'lanes[0].engine'; known are targets, swarm, "),
]


@pytest.mark.parametrize(("place", "value", "told"), RUNS_ON_LANES)
def test_machines_that_cannot_be_are_refused_with_their_key(place: str, value: Any, told: str) -> None:
    run, _ = on_lanes()

    assert refused_run(changed(run, at(place), value)).startswith(f"{RUN_FILE}: {told}")


OBSERVED_ON_LANES: Sequence[tuple[str, Any, str]] = [
    ("machine", "", "machine: '' is no lane's machine of targets"),
    ("machine", GONE, "machine: '' is no lane's machine of targets"),
    # It loads alpha, and has no targets.
    ("machine", "beta", "machine: 'beta' is no lane's machine of targets"),
    ("restarted", ["<b>"], "restarted[0]: must be the name of a server or a backend, not '<b>'"),
    ("swarm/round_trip_ms", -1.0, "swarm.round_trip_ms: must be a number from 0"),
    ("swarm/received_bytes", -1, "swarm.received_bytes: must be a whole number from 0"),
    ("swarm/sent_segments", None, "swarm.resent_segments: goes with sent_segments; one of the two is missing"),
    ("swarm/resent_segments", GONE, "swarm.resent_segments: goes with sent_segments; one of the two is missing"),
]


@pytest.mark.parametrize(("place", "value", "told"), OBSERVED_ON_LANES)
def test_a_trial_on_lanes_that_cannot_be_is_refused_with_its_key(place: str, value: Any, told: str) -> None:
    assert refused_trial(changed(on_lanes()[1][0], at(place), value), on_lanes).startswith(told)


def test_a_machine_is_refused_where_the_run_has_none() -> None:
    told = refused_trial({**recorded()[1][0], "machine": "alpha"})

    assert told.startswith("machine: 'alpha' is named, but the run has no lanes")


def test_more_segments_may_be_sent_again_than_for_the_first_time() -> None:
    """As where a link is cut in the middle of a trial."""
    (_, (first, *_)) = on_lanes()
    swarm = {**first["swarm"], "sent_segments": 40, "resent_segments": 200}

    assert read_trial(json.dumps({**first, "swarm": swarm}).encode(), on_lanes).swarm is not None


def test_a_run_from_before_there_were_lanes_is_read(tmp_path: Path) -> None:
    run, observations = recorded()
    new = ("round_trip_ms", "received_bytes", "sent_segments", "resent_segments")
    assert "lanes" not in run
    assert not any("machine" in each or set(new) & each["swarm"].keys() for each in observations)
    store = written(run, observations, tmp_path)

    assert store.run().lanes == ()
    assert {each.machine for each in store.observations()} == {""}
    assert {getattr(each.swarm, name) for each in store.observations() for name in new} == {None}


@pytest.mark.parametrize(
    ("kind", "key", "most"), [(Run, "lanes", 1000), (Experiment, "cells", 10_000), (Timeline, "stays", 200_000)]
)
def test_more_than_anybody_has_is_refused(kind: type, key: str, most: int) -> None:
    timeline = {"span_us": 1, "stays": [[0, 0, 0, 1, 2]]}
    given: Document = {Run: on_lanes()[0], Experiment: recorded()[0]["experiment"], Timeline: timeline}[kind]
    full = {**given, key: given[key][:1] * most}
    assert len(getattr(TypeAdapter(kind).validate_python(full), key)) == most

    with pytest.raises(ValidationError, match=f"{key}\n  Tuple should have at most {most} items"):
        TypeAdapter(kind).validate_python({**full, key: [*full[key], *full[key][:1]]})


def test_a_look_is_refused_without_a_budget_and_a_budget_beside_a_precision(tmp_path: Path) -> None:
    run, observations = recorded()
    looked = [{**each, "look": 2} for each in observations]
    with pytest.raises(StoreError, match=r"look: is 2, but the run has no budget"):
        written(run, looked, tmp_path).observations()
    budgeted = {**run["experiment"], "budget_s": 60.0}
    assert written({**run, "experiment": budgeted}, looked, tmp_path).observations()[0].look == 2
    both = {**budgeted, "precision": 0.03, "max_blocks": 6}
    with pytest.raises(StoreError, match=r"experiment.budget_s: does not go with precision"):
        written({**run, "experiment": both}, observations, tmp_path).run()


def test_blocks_beyond_the_last_are_refused_where_a_run_has_a_precision(tmp_path: Path) -> None:
    run, observations = recorded()
    experiment = {**run["experiment"], "precision": 0.03, "max_blocks": 6}
    late = [*observations, *({**each, "block": 5} for each in observations[:2])]
    assert len(written({**run, "experiment": experiment}, late, tmp_path).observations()) == len(late)

    with pytest.raises(StoreError, match=r"block: 5 is none of the run's 4, counted from 0"):
        written(run, late, tmp_path).observations()
    with pytest.raises(StoreError, match=r"max_blocks: is less than the 4 blocks to begin with"):
        written({**run, "experiment": {**experiment, "max_blocks": 3}}, late, tmp_path).run()


def test_a_reference_may_be_a_server_that_the_run_has_not(tmp_path: Path) -> None:
    run, observations = recorded()
    store = written(changed(run, at("experiment/reference"), "gunicorn-other"), observations, tmp_path)

    assert compare(store.run(), store.observations()).pairs == ()


def in_parts(**times_ms: float) -> Document:
    """The parts of latencies, as a line has them."""
    return dataclasses.asdict(testing.latency_parts(**times_ms))


SERVED, STAY = "swarm/in_flight/requests_per_process", "swarm/timeline/stays/0"
OBSERVED: Sequence[tuple[str, Any, str]] = [
    ("block", -1, "block: must be a whole number from 0"),
    ("block", 4, "block: 4 is none of the run's 4"),
    ("position", -1, "position: must be a whole number from 0"),
    ("position", 28, "position: 28 is beyond the run's 28 trials"),
    ("cell/users", 5, "cell: "),
    ("cell/server", "nobody", "cell: 'nobody' so is no cell of the experiment"),
    ("started", "", "started: must be a time"),
    ("status", "failed", "status: is failed, with figures"),
    ("swarm", None, "status: is measured, without figures"),
    ("server_cpu_s", -1.0, "server_cpu_s: "),
    ("server_span_s", 1e-300, "server_span_s: "),
    ("swarm/window_s", 0.0, "swarm.window_s: must be a number above 0"),
    ("swarm/completed", -1, "swarm.completed: "),
    ("swarm/throughput_rps", 5e-324, "swarm.throughput_rps: "),
    ("swarm/unanswered", 33, "swarm.unanswered: 33 is more than the 32 users"),
    ("swarm/errors", {"x" * 500: -1}, "swarm.errors.xxxx"),
    ("swarm/latency_ms", {"p50": 1.0}, "swarm.latency_ms: must have max, p50, p95, p99, or nothing"),
    ("swarm/latency_histogram", "", "swarm.latency_histogram: is no compressed HdrHistogram V2"),
    ("swarm/parts", in_parts(queue=1.0), "swarm.parts: add up to 51.6 ms, not to latency_mean_ms"),
    ("swarm/parts", in_parts() | {"back": {"mean": 0.0}}, "lacks the key 'swarm.parts.back.p50'"),
    (SERVED, [0], "swarm.in_flight.requests_per_process[0]: must be a whole number from 1"),
    (SERVED, [1, 2], "swarm.in_flight.requests_per_process: does not begin with"),
    ("swarm/timeline/span_us", 0, "swarm.timeline.span_us: "),
    ("swarm/timeline/acted_us", 10**9, "swarm.timeline.acted_us: is after the timeline's end"),
    (STAY, [0, 0, 0, 5, 4], "swarm.timeline.stays[0]: left before it entered"),
    (STAY, [-1, 0, 0, 5, 6], "swarm.timeline.stays[0][0]: must be a whole number from 0"),
    (STAY, [0, 0], "lacks the key 'swarm.timeline.stays[0][2]'"),
    (STAY, {"x": 1}, "unknown key 'swarm.timeline.stays[0].x'; known are process, thread, greenlet_id, "),
    ("swarm/completed", "6", "swarm.completed: must be a whole number from 0 to 1000000000000, not '6'"),
    ("swarm/server_busy", True, "swarm.server_busy: must be a number from 0 to 1000000, not True"),
    ("x" * 10**6, 1, "unknown key 'xxxx"),
]


@pytest.mark.parametrize(("place", "value", "told"), OBSERVED)
def test_a_trial_that_cannot_be_is_refused_with_its_key(place: str, value: Any, told: str) -> None:
    assert refused_trial(changed(recorded()[1][0], at(place), value)).startswith(told)


def test_a_trial_that_cannot_be_is_refused_with_file_and_line(tmp_path: Path) -> None:
    run, (first, second, *_) = recorded()
    store = written(run, [first, changed(second, ("block",), 4)], tmp_path)

    told = f"{tmp_path / OBSERVATIONS_FILE}:2: is no observation: block: 4 is none"
    assert said.refusal(StoreError, store.observations).startswith(told)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("position", 27),
        ("swarm/unanswered", 32),
        ("swarm/latency_ms", {}),
        ("swarm/throughput_rps", 0.0),
        ("swarm/service_ms", 1e-9),
        (SERVED, [2, 2, 1]),
        (SERVED, []),
        ("swarm/timeline", None),
        (STAY, [0, 0, 0, -5, -5]),
        ("server_cpu_s", None),
        ("server_cpu_s", 0.0),
        ("resident_bytes", 2**60),
    ],
)
def test_a_trial_that_can_just_be_is_read(place: str, value: Any) -> None:
    assert read_trial(json.dumps(changed(recorded()[1][0], at(place), value)).encode()).block == 0


@pytest.mark.parametrize(
    "place",
    ["server_cpu_s", "cell/rate", "swarm/window_s", "swarm/latency_ms/p50", "swarm/in_flight/mean", "swarm/errors/x"],
)
def test_what_is_no_number_is_none_anywhere_in_a_line(place: str) -> None:
    line = json.dumps(changed(recorded()[1][0], at(place), "NUMBER"))
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        with pytest.raises(StoreError, match=r": is no observation: "):
            read_trial(line.replace('"NUMBER"', number).encode())


@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("experiment/window_s", ".nan"),
        ("experiment/precision", "-.inf"),
        (SLEEP, ".inf"),
        (f"{CELL_0}/rate", "1.0e+999"),
        ("seed", "1e999"),
        ("seed", ".nan"),
    ],
)
def test_what_is_no_number_is_none_anywhere_in_a_run(place: str, number: str) -> None:
    text = dumped(changed(recorded()[0], at(place), "NUMBER")).replace(b"NUMBER", number.encode())

    with pytest.raises(StoreError, match=r"^run\.yaml: [a-z.0-9_\[\]]+: "):
        reading.run(text, RUN_FILE)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"block": 0, "block": 1}', "cannot be read as JSON (the key 'block' is given twice)"),
        (b"[" * 10**6, "cannot be read as JSON ("),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "cannot be read as JSON (nested too deeply)"),
        (b'{"block": ' + b"9" * 5000 + b"}", "cannot be read as JSON (Exceeds the limit"),
        (b'{"block": 0}'.decode().encode("utf-16"), "cannot be read as JSON ('utf-8' codec can't decode"),
        (b"\xef\xbb\xbf{}", "cannot be read as JSON ("),
        (b"", "cannot be read as JSON ("),
        (b"0" * 10**6, "cannot be read as JSON ("),
    ],
)
def test_a_line_that_is_no_json_of_ours_is_refused(line: bytes, told: str) -> None:
    assert refused_trial(line).startswith(told)


def laughs(levels: int) -> str:
    anchored = "\n".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, levels))
    return f"a0: &a0 [lol]\n{anchored}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (laughs(12), "run.yaml:1: has an anchor or an alias, which no run of the lab has"),
        ("x: &a [*a]\n", "run.yaml:1: has an anchor or an alias"),
        ("a: 1\nx: " + "[" * 10**5, "run.yaml:2: is nested more than 30 deep"),
        ("schema: 1\nschema: 1\n", "run.yaml:2: the key 'schema' is given twice"),
        ("seed: " + "9" * 5000, "run.yaml:1: '999"),
        ("seed: " + ":".join(["59"] * 10**5), "is too long a number"),
        ("seed: " + ":".join(["59"] * 33) + ".5", "run.yaml: has results of schema None"),
        (
            "x: !!python/object/apply:os.system [id]",
            "has the tag 'tag:yaml.org,2002:python/object/apply:os.system', and only plain",
        ),
        ("x: !!timestamp never", "has the tag 'tag:yaml.org,2002:"),
        ("x: 2026-13-40\n", "run.yaml:1: '2026-13-40' must be in quotes"),
        ("x: {<<: {a: 1}}\n", "run.yaml:1: '<<' must be in quotes"),
        ("x: " + "y" * 10**6 + ": z", "run.yaml:1: "),
        ("\x1b[31m: [", "run.yaml: not valid YAML: unacceptable character #x001b"),
    ],
    ids=itertools.count(),
)
def test_yaml_that_is_a_trap_is_refused(text: str, told: str) -> None:
    message = said.refusal(StoreError, reading.run, text.encode(), RUN_FILE)

    assert told in message
    assert len(message) < 400


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "shift-jis"])
def test_a_run_in_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    run, _ = recorded()
    word = "été" if encoding == "latin-1" else "日本"
    (tmp_path / RUN_FILE).write_bytes(dumped({**run, "notes": [word]}).decode().encode(encoding))

    with pytest.raises(StoreError, match=r"run\.yaml: is not UTF-8 text"):
        Store(tmp_path).run()


def parts(of: Any) -> Iterator[Any]:
    """A type and all that a value of it can have in it; a number or a text with its limits, if it has any."""
    yield of
    kind = of.__origin__ if typing.get_origin(of) is typing.Annotated else of
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        for inner in typing.get_type_hints(kind, include_extras=True).values():
            yield from parts(inner)
    elif kind not in (int, float):
        for inner in typing.get_args(kind):
            yield from parts(inner)


@pytest.mark.parametrize("of", [Run, Observation])
def test_every_number_that_is_stored_has_its_range(of: type) -> None:
    numbers = [each for each in parts(of) if each in (int, float) or getattr(each, "__origin__", None) in (int, float)]
    bare = [
        each for each in numbers if not any(isinstance(limit, Range) for limit in getattr(each, "__metadata__", ()))
    ]

    assert len(numbers) > 20
    # How many cores servers have in `server_cpus`: as many as the list beside it.
    assert bare == ([int] if of is Run else [])


# Histograms.

OUTER, HEADER = struct.Struct(">II"), struct.Struct(">IIIIQQd")


def packed(counts: bytes, *, length: int | None = None, **changes: float) -> str:
    """A histogram with the header of this lab's, but for `changes`."""
    header: dict[str, float] = {
        "cookie": 0x1C849313,
        "length": len(counts) if length is None else length,
        "offset": 0,
        "digits": 3,
    }
    header |= {"lowest": 1, "highest": 600_000_000, "ratio": 1.0}
    inner = HEADER.pack(*{**header, **changes}.values()) + counts
    return wrapped(zlib.compress(inner))


def wrapped(compressed: bytes, cookie: int = 0x1C849314, length: int | None = None) -> str:
    outer = OUTER.pack(cookie, len(compressed) if length is None else length)
    return base64.b64encode(outer + compressed).decode()


def varint(value: int) -> bytes:
    """LEB128 of the ZigZag of a number, nine bytes at most."""
    left = (value << 1) ^ (value >> 63)
    found = bytearray()
    while left > 0x7F and len(found) < 8:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*found, left])


@pytest.mark.parametrize(
    ("encoded", "told"),
    [
        ("é", "is not base64"),
        ("HIST!", "is not base64"),
        ("", "is no compressed HdrHistogram V2"),
        (wrapped(b"x", cookie=0x1C849303), "is no compressed HdrHistogram V2"),
        (wrapped(zlib.compress(b""), length=3), "is no compressed HdrHistogram V2"),
        (wrapped(b"not compressed"), "cannot be decompressed"),
        (wrapped(zlib.compress(b"x" * 39)), "has no header"),
        (wrapped(zlib.compress(b"x" * 99)[:-6]), "is cut, or larger"),
        (wrapped(zlib.compress(b"x" * 99) + b"more"), "is cut, or larger"),
        (wrapped(zlib.compress(bytes(10**8), 9)), "is cut, or larger than any of this lab"),
        (packed(b"", digits=5), "another range or other digits"),
        (packed(b"", highest=2**63), "another range or other digits"),
        (packed(b"", ratio=float("nan")), "another range or other digits"),
        (packed(b"", length=9), "another range or other digits"),
        (packed(b"\x80"), "is cut within a count"),
        (packed(varint(10**12 + 1)), "holds more than such a histogram can"),
        (packed(b"\x80" * 9), "holds more than such a histogram can"),
        (packed(varint(-(2**62))), "holds more than such a histogram can"),
        (packed(varint(-25_000) + varint(1)), "holds more than such a histogram can"),
        (packed(varint(1) * 30_000), "holds more than such a histogram can"),
        (packed(varint(10**12)), None),
        (packed(b""), None),
    ],
    ids=itertools.count(),
)
def test_a_histogram_that_is_none_of_ours_is_refused_before_it_is_decoded(encoded: str, told: str | None) -> None:
    if told is None:
        histogram.check(encoded, "key")
        stats.merged_latency_ms([encoded])
        return
    with pytest.raises(ValueError, match=f"^key: .*{told}"):
        histogram.check(encoded, "key")


def test_of_a_decompression_bomb_no_more_is_decompressed_than_a_histogram_is() -> None:
    bomb = wrapped(zlib.compress(bytes(10**8), 9))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="is cut, or larger"):
            histogram.check(bomb, "key")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 4_000_000


@given(st.lists(st.tuples(st.integers(1, stats.HIGHEST_US), st.integers(1, 10**9)), max_size=30))
def test_every_histogram_of_ours_is_one(recorded_values: Sequence[tuple[int, int]]) -> None:
    made = HdrHistogram(stats.LOWEST_US, stats.HIGHEST_US, stats.DIGITS)
    for value, count in recorded_values:
        made.record_value(value, count)

    histogram.check(made.encode().decode("ascii"), "key")


@given(st.binary(max_size=80), st.booleans())
def test_whatever_is_no_histogram_is_refused_or_can_be_decoded(content: bytes, whole: bool) -> None:
    encoded = packed(content) if whole else wrapped(zlib.compress(content))
    try:
        histogram.check(encoded, "key")
    except ValueError:
        return
    stats.merged_latency_ms([encoded])


# Names and log lines with markup and control characters in them.

HIDING = (
    "\x1b[31m\x1b]0;x\x07\x08\x7f\x85\x9b\r\u200b\u200e\u202a\u202b\u202d\u202e\u2028\u2029\u2066\u2067\u2069\ufeff\x00"
)
"""Colours, a title, backspaces, directions, no widths, other line ends."""
MARKUP = [
    "[bold]x[/bold] [link=https://evil.invalid]y[/link]",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "![x](https://evil.invalid/x.png) [y](javascript:alert(1)) [z]: https://evil.invalid",
    "https://evil.invalid www.evil.invalid WWW.EVIL.invalid <https://evil.invalid> http://x",
    "`code` ``` ~~~ **bold** _it_ ~~gone~~ $x^2$ $$y$$",
    "a | b |\n| --- | --- |\n| c | d |",
    "&lt;b&gt; &#x202e; &amp;",
    "---",
    "===",
    "- - -",
    "- x",
    "+ x",
    "* x",
    "1. x",
    "1) x",
    "# x #",
    "> x",
    ":-:",
    "    code",
    "\tcode",
    "x\n===\n",
    "y\n\n    code\n\n# y",
    "ends with \\",
    "[ ] task",
    "x[^1] [^1]: y",
    "{{ x }} {% x %} @someone #1",
    "<!-- x",
    "plain",
]


def texts(pick: Callable[[], str]) -> Comparison:
    """The comparison of a run whose every free text is picked."""
    document, observations = copy.deepcopy(recorded())
    document["host"] |= {"cpu": pick(), "kernel": pick(), "architecture": pick(), "python": pick()}
    document["notes"] = [pick() for _ in range(6)]
    document |= {"lab": pick(), "packages": {pick(): pick()}}
    document["stacks"] = {"gunicorn": {"digest": pick(), "python": pick(), "packages": {pick(): pick()}}}
    for server in document["servers"].values():
        server |= {"summary": pick(), "command": [pick(), pick()], "environment": {"X": pick()}}
    for number, observation in enumerate(observations):
        if number % 7 == 0:
            observation |= {"status": "failed", "swarm": None, "reason": f"{pick()}\n{pick()}"}
        elif number % 7 == 1:
            observation["swarm"] |= {"failures": 2, "errors": {pick(): 1, pick() + "2": 1}}
    with tempfile.TemporaryDirectory() as folder:
        store = written(document, observations, Path(folder))
        return compare(store.run(), store.observations())


def picking(words: Sequence[str]) -> Callable[[], str]:
    return functools.partial(next, itertools.cycle(words))


WORDS: Mapping[str, Sequence[str]] = {
    **{f"markup from {at}": [*MARKUP[at:], *MARKUP[:at]] for at in (0, 5, 11)},
    "hidden": [f"a{HIDING}b"],
    "harmless": ["plain"],
    "harmless and many": [f"plain {number}" for number in range(len(MARKUP))],
}


@functools.cache
def wordy(kind: str) -> Comparison:
    return texts(picking(WORDS[kind]))


def parsed(text: str) -> Iterator[tuple[str, str]]:
    """What Markdown makes of it: the type and the tag of each token, those within lines and cells included."""
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        yield token.type, token.tag
        yield from ((child.type, child.tag) for child in token.children or ())


@pytest.mark.parametrize("kind", ["hidden", *(kind for kind in WORDS if kind.startswith("markup"))])
def test_markup_in_a_run_changes_nothing_of_its_markdown(kind: str) -> None:
    # The same words are told once.
    alike = "harmless" if len(WORDS[kind]) == 1 else "harmless and many"
    ((_, harmless),) = FORMATS["markdown"](wordy(alike)).items()
    ((_, text),) = FORMATS["markdown"](wordy(kind)).items()

    assert list(parsed(text.decode())) == list(parsed(harmless.decode()))


def claimed(words: Callable[[], str], comparison: Comparison) -> str:
    """A run's verdicts on a claim whose every text is picked."""
    cell = comparison.cells[0].cell
    holds = Condition(figure="peak_in_flight", of=cell, at_most=8)
    claim = Claim(id="one", claim=words(), met=words(), holds=(holds,), explanation=words(), advice=words())
    results = claims.judge(comparison.run, (), [claim] * 8)
    ((_, content),) = claims_md(comparison.run, results).items()
    return content.decode()


def test_markup_in_claims_changes_nothing_of_their_markdown() -> None:
    harmless = list(parsed(claimed(lambda: "plain", wordy("harmless"))))

    for word in (*MARKUP, HIDING):
        assert list(parsed(claimed(lambda word=word: word, wordy("markup from 0")))) == harmless, word  # type: ignore[misc]


def test_what_begins_a_line_as_only_github_reads_it_is_escaped_too() -> None:
    """GFM, "Tables (extension)": a row of delimiters, which may be a single one without a pipe."""
    assert escape(":-:") == "\\:-:"


FRAMES = ["{}", "# {}", "- {}", "- x\n- {}\n- y", "x\n\n{}\n\ny", "x\n{}", "| a |\n| - |\n| {} |"]
"""Where an escaped text stands; a lone one is looked at more closely."""


def is_text(text: str, frame: str) -> None:
    """Nothing comes of it but the text itself."""
    escaped = escape(text)
    kinds = {kind for kind, _ in parsed(frame.format(escaped))}

    assert kinds <= {kind for kind, _ in parsed(frame.format("plain"))}
    if frame == FRAMES[0] and escaped:
        inline = MarkdownIt("commonmark").parse(escaped)[1].children or []
        assert "".join(each.content for each in inline) == " ".join(visible(text).split())


@pytest.mark.parametrize("frame", FRAMES)
def test_escaped_markup_is_text_wherever_it_stands(frame: str) -> None:
    for text in MARKUP:
        is_text(text, frame)


@given(st.text(min_size=1), st.sampled_from(FRAMES))
def test_an_escaped_text_is_text_wherever_it_stands(text: str, frame: str) -> None:
    # Below a line, nothing at all is a line end.
    is_text(text, frame if escape(text) else FRAMES[0])


@pytest.mark.parametrize(
    "text", ["https://evil.invalid", "HTTP://x", "www.evil.invalid", "Www.evil.invalid", "x ftp://y"]
)
def test_an_address_is_not_made_a_link(text: str) -> None:
    """GitHub links `https://` and `www.` where no backslash stands within them (GFM, "Autolinks (extension)")."""
    escaped = escape(text)

    assert not re.search(r"(?<!\\)://|www(?<!\\)\.", escaped, re.IGNORECASE)
    assert [each.content for each in MarkdownIt("commonmark").parse(escaped) if each.type == "inline"] == [escaped]


def printed(*parts: Any, width: int = 120) -> str:
    """What a terminal is sent, colours left out."""
    return said.printed(*parts, width=width, force_terminal=True, color_system=None)


def raw(text: str) -> set[str]:
    """The characters of `text` that do not print, line ends and spaces left out."""
    return {each for each in text if not each.isprintable() and each not in "\n\xa0"}


@pytest.mark.parametrize("render", FORMATS)
def test_no_control_character_of_a_run_reaches_a_file(render: str) -> None:
    for name, content in FORMATS[render](wordy("hidden")).items():
        assert not raw(content.decode().replace("\t", "")), name


@pytest.mark.parametrize("width", [60, 120, 250])
def test_no_control_character_reaches_the_terminal(width: int) -> None:
    word = f"a{HIDING}b"
    cell = wordy("hidden").cells[0].cell
    claim = Claim(
        id="one", claim=word, met=word, holds=(Condition(figure="threads", of=cell),), explanation=word, advice=word
    )
    results = claims.judge(wordy("hidden").run, (), [claim])
    unread = compare(
        testing.run(servers={"gunicorn-sync-1": testing.server(summary=word)}),
        [testing.observation(swarm=None, status="failed", reason=word)],
    )

    text = printed(
        terminal.comparison(wordy("hidden"), width),
        terminal.comparison(unread, width),
        terminal.verdicts(results),
        terminal.grid(("a", "b"), [(word, word)], 80),
        terminal.grid(("a", "b"), [(word, word)], 1),
        width=width,
    )

    assert "\\x1b" in text
    assert not raw(text)


def test_an_error_shows_what_it_quotes_and_stays_on_one_line() -> None:
    error = LabError(f"x{HIDING}\ny\r\nz", detail=f"one{HIDING}\n\ttwo")

    assert not raw(error.message)
    assert error.message.startswith("x\\x1b[31m\\x1b]0;x\\x07\\x08\\x7f\\x85\\x9b\\r\\u200b")
    assert error.message.endswith(" y z")
    assert str(error) == error.message
    assert error.detail.splitlines()[1] == "\ttwo"
    assert not raw(error.detail.replace("\t", ""))


@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, LabError)]
)
def test_every_error_spells_out_what_does_not_print(kind: type[LabError]) -> None:
    assert kind("\x1b", detail="\x1b").message == kind("\x1b", detail="\x1b").detail == "\\x1b"


def test_what_is_read_of_a_run_is_to_be_seen(tmp_path: Path) -> None:
    run, observations = recorded()
    summary = f"été\t∞ 日本\n\xa0\ud800{HIDING}"
    store = written(changed(run, at(f"{SYNC}/summary"), summary.replace("\ud800", "")), observations, tmp_path)
    failed = {**observations[0], "status": "failed", "swarm": None, "reason": summary}
    erring = changed(observations[1], at("swarm/errors"), {"\x1b[31m": 1})
    (tmp_path / OBSERVATIONS_FILE).write_text(f"{json.dumps(failed)}\n{json.dumps(erring)}\n")

    observation, other = store.observations()

    expected = "été\t∞ 日本\n\xa0" + "".join(each.encode("unicode_escape").decode() for each in HIDING)
    assert store.run().servers["gunicorn-sync-1"].summary == expected
    assert observation.reason == expected.replace("\xa0", "\xa0\\ud800")
    assert other.swarm is not None
    assert other.swarm.errors == {"\\x1b[31m": 1}


@given(st.text())
def test_visible_text_prints_and_stays_as_it_is(text: str) -> None:
    shown = visible(text)

    assert visible(shown) == shown
    assert not raw(shown.replace("\t", "").replace("\n", "")) - {each for each in text if each.isspace()}
    if text.isprintable():
        assert shown == text


@settings(max_examples=8)
@given(st.text())
def test_any_text_survives_the_documents(text: str) -> None:
    """PyYAML reads U+0085 back as a space; of what a run holds, that one is spelt out before."""
    told = visible(text)
    comparison = replace(wordy("harmless"), run=replace(wordy("harmless").run, notes=(told,)))
    found = yaml.safe_load(FORMATS["yaml"](comparison)["comparison.yaml"])
    assert found["run"]["notes"] == [told]
    assert yaml.safe_load(claims_yaml(comparison.run, ())["claims.yaml"])["run"]["notes"] == [told]


def test_no_free_text_of_a_machine_becomes_markup() -> None:
    """A machine's name is a name; its processor is what it says it is."""
    word = "<script>alert(1)</script> | `x` [y](z)\x1b[31m\n# z"
    run, observations = on_lanes()

    def comparison(cpu: str) -> Comparison:
        with tempfile.TemporaryDirectory() as folder:
            store = written(changed(run, at(f"{HOST_0}/cpu"), cpu), observations, Path(folder))
            return compare(store.run(), store.observations())

    spoken = comparison(word)
    for render in FORMATS:
        for name, content in FORMATS[render](spoken).items():
            assert not raw(content.decode().replace("\t", "")), name
            assert b"<script>alert" not in content or name.endswith((".yaml", ".md")), name
    texts_of = [FORMATS["markdown"](each)["comparison.md"].decode() for each in (comparison("A CPU"), spoken)]
    assert list(parsed(texts_of[0])) == list(parsed(texts_of[1]))


# Anything at all.


def places(of: Document, here: Place = ()) -> Iterator[Place]:
    if here:
        yield here
    if isinstance(of, dict | list):
        for key in of if isinstance(of, dict) else range(len(of)):
            yield from places(of[key], (*here, key))


NUMBER = st.sampled_from([0, -1, 1, 2, 3, 32, 33, 10**6, 10**12, 2**63, 10**30, 0.0, -0.0, 0.5, -0.5, 1.5, 1e-6, 1e-9])
FLOAT = st.sampled_from([5e-324, 1e-300, 1e6, 1e9, 1e12, 1e300, float("inf"), float("nan")])
WORD = st.sampled_from(["", *MARKUP, HIDING, "../../x", "0-1", "0-999999999", "keep-alive", "failed", "p50", "\ud800"])
VALUE = st.one_of(
    NUMBER, FLOAT, WORD, st.none(), st.booleans(), st.just([]), st.just({}), st.just([[1]]), st.text(max_size=9)
)
SCALE = st.sampled_from([0, -1, 1e-9, 1e-6, 0.5, 2, 1e6, 1e9])
CHANGE = st.one_of(
    st.tuples(st.just("set"), VALUE),
    st.tuples(st.just("scale"), SCALE),
    st.tuples(st.just("add"), WORD),
    st.tuples(st.just("remove"), st.none()),
    st.tuples(st.just("copy"), st.integers(0, 2**30)),
)
Change = tuple[str, Any]


def mutated(document: Document, where: int, change: Change) -> Document:
    """The document, changed at one of its places; it may be the same where the change does not fit the place."""
    every = list(places(document))
    place = every[where % len(every)]
    kind, how = change
    before = functools.reduce(lambda within, key: within[key], place, document)
    if kind == "set":
        return changed(document, place, how)
    if kind == "scale" and isinstance(before, int | float):
        return changed(document, place, type(before)(before * how))
    if kind == "add" and isinstance(before, dict):
        return changed(document, place, {**before, how: 1})
    if kind == "add" and isinstance(before, list):
        return changed(document, place, [*before, *before])
    if kind == "remove":
        return changed(document, place, GONE)
    if kind == "copy":
        other = functools.reduce(lambda within, key: within[key], every[how % len(every)], document)
        return changed(document, place, other)
    return document


MUTATION = st.tuples(
    st.sampled_from(["run", "one", "every", "some"]), st.integers(0, 2**30), st.integers(0, 27), CHANGE
)


GIVEN = st.sampled_from([recorded, on_lanes])


def spoilt(given: Given, mutations: Sequence[tuple[str, int, int, Change]]) -> tuple[Document, Sequence[Document]]:
    """A sound run with changes: of the run, of one trial, or the same of all trials or of each other."""
    run, observations = given()
    lines = list(observations)
    for which, where, line, change in mutations:
        if which == "run":
            run = mutated(run, where, change)
        for number in range(len(lines)):
            if which == "every" or (which == "one" and number == line) or (which == "some" and (number + line) % 2):
                lines[number] = mutated(lines[number], where, change)
    return run, lines


def every_claim(run: Run) -> Sequence[Claim]:
    """Every figure of two cells, and of them over others."""
    cells = run.experiment.cells
    conditions = [
        Condition(figure=figure, of=of, over=over, at_least=0.5, at_most=most)
        for figure in claims.FIGURES
        for of, other in itertools.pairwise(cells[:3])
        for over, most in ((None, 4), (None, None), (other, None), (other, 2))
    ]
    return [
        Claim(id=str(number), claim="a", met="b", holds=(each,), explanation="c", advice="d")
        for number, each in enumerate(conditions)
    ]


def everything(store: Store, formats: Mapping[str, Callable[[Comparison], Mapping[str, bytes]]]) -> None:
    """What is done with a results folder: it is read, compared, rendered, printed and judged."""
    run, observations = store.run(), store.observations()
    comparison = compare(run, observations)
    store.write({name: content for render in formats.values() for name, content in render(comparison).items()})
    printed(terminal.comparison(comparison, 120))
    results = claims.judge(run, observations, every_claim(run))
    store.write({**claims_md(run, results), **claims_yaml(run, results)})
    printed(terminal.verdicts(results))


QUICK = {name: render for name, render in FORMATS.items() if name in ("yaml", "markdown", "experiment")}
"""Charts take a second each."""


def refusal(store: Store, formats: Mapping[str, Any]) -> str | None:
    """Why nothing is done with it, on one line; None where all was. Nothing but a LabError may say so."""
    try:
        everything(store, formats)
    except LabError as error:
        told = error.message
    else:
        return None
    assert "\n" not in told
    return told


def try_everything(given: Given, mutations: Sequence[tuple[str, int, int, Change]], formats: Mapping[str, Any]) -> bool:
    """Whether the spoilt run is still one."""
    run, observations = spoilt(given, mutations)
    with tempfile.TemporaryDirectory() as name:
        return refusal(written(run, observations, Path(name)), formats) is None


@pytest.mark.parametrize("sound", [recorded, on_lanes])
def test_a_sound_run_is_not_refused(sound: Given) -> None:
    assert try_everything(sound, [], QUICK)


@settings(max_examples=30)
@given(GIVEN, st.lists(MUTATION, min_size=1, max_size=3))
def test_a_run_that_was_tampered_with_is_reported_or_refused_in_one_line(sound: Given, mutations: list[Any]) -> None:
    try_everything(sound, mutations, QUICK)


@settings(max_examples=2)
@given(GIVEN, st.lists(MUTATION, min_size=1, max_size=2))
def test_charts_of_a_run_that_was_tampered_with_are_drawn_or_it_is_refused(sound: Given, mutations: list[Any]) -> None:
    try_everything(sound, mutations, FORMATS)


@settings(max_examples=15)
@given(st.sampled_from([RUN_FILE, OBSERVATIONS_FILE]), st.floats(0, 1), st.binary(max_size=5), st.integers(0, 50))
def test_files_whose_bytes_were_damaged_are_reported_or_refused(
    name: str, where: float, inserted: bytes, cut: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written(*recorded(), Path(folder))
        path = Path(folder) / name
        content = path.read_bytes()
        begin = round(where * len(content))
        path.write_bytes(content[:begin] + inserted + content[begin + cut :])
        refusal(Store(Path(folder)), QUICK)


def test_a_search_for_capacity_has_rates_that_nobody_knew_before_and_others_have_none(tmp_path: Path) -> None:
    run, observations = recorded()
    limit = {"p95_ms": 200.0, "failures": 0.001, "arrivals": "poisson"}
    sought = {**run["experiment"], "budget_s": 60.0, "capacity": limit}
    at_rate = [
        {**each, "cell": {**each["cell"], "users": None, "rate": 12.5, "arrivals": "poisson"}} for each in observations
    ]

    assert written({**run, "experiment": sought}, at_rate, tmp_path).observations()[0].cell.rate == 12.5
    with pytest.raises(StoreError, match=r"so is no cell of the experiment"):
        written(run, at_rate, tmp_path).observations()
    evenly = [{**each, "cell": {**each["cell"], "arrivals": "constant"}} for each in at_rate]
    with pytest.raises(StoreError, match=r"so is no cell of the experiment"):
        written({**run, "experiment": sought}, evenly, tmp_path).observations()
    with pytest.raises(StoreError, match=r"experiment.capacity: goes with budget_s, which is missing"):
        written({**run, "experiment": {**sought, "budget_s": None}}, at_rate, tmp_path).run()
