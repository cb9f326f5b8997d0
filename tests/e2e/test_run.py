"""A whole experiment in each runtime, from the command line to the results."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Cli, Ended, filled, is_disturbed
from wsgilab import commands
from wsgilab.analysis import inflight
from wsgilab.analysis.cell import disturbance
from wsgilab.experiment import resolve
from wsgilab.experiment.catalogue import parse
from wsgilab.model import Observation, Run
from wsgilab.results.store import Store
from wsgilab.system import cpus, host

pytestmark = pytest.mark.lab

PEAKS = {
    "flask-single": 1,
    "flask-processes-3": 3,
    "gunicorn-sync-1": 1,
    "gunicorn-sync-2": 2,
    "gunicorn-sync-3": 3,
    "gunicorn-sync-4": 4,
    "gunicorn-sync-5": 5,
    "gunicorn-sync-threads-4": 4,
    "nginx-gunicorn-sync-1": 1,
    "nginx-gunicorn-sync-4": 4,
    "gunicorn-gthread-8": 8,
    "gunicorn-gthread-2x4": 8,
    "gunicorn-tornado": 1,
    "gunicorn25-sync-1": 1,
    # Of the user's own catalogue file, as worked out.
    "mine-by-file": 6,
    "mine-by-connections": 7,
}
UNBOUNDED = {
    "flask-default",
    "flask-threaded",
    "gunicorn-gevent",
    "gunicorn-gevent-4",
    "gunicorn-gevent-blocking",
    "gunicorn25-gevent",
    "gunicorn25-eventlet",
}
MORE_PEAKS = {
    "gunicorn-gthread-2x1": 2,
    "gunicorn-preload-4": 4,
    "gunicorn-max-requests": 1,
    "gunicorn-reuse-port-4": 4,
    "gunicorn20-sync-1": 1,
    "gunicorn20-gthread-8": 8,
    "gunicorn23-sync-1": 1,
    "gunicorn23-gthread-8": 8,
    "waitress": 4,
    "waitress-8": 8,
    "uwsgi": 1,
    "uwsgi-2x4": 8,
    "uwsgi-http-2x4": 8,
    "granian-8": 8,
    "granian-2x4": 8,
    "cheroot": 10,
    "cheroot-8": 8,
    "cheroot-backlog": 10,
    "uvicorn-a2wsgi": 10,
    "gunicorn-asgi-a2wsgi": 10,
    # As many threads as Python's default executor has; until 3.13 it counts the machine's cores, and not those that it may use.
    "hypercorn": min(12, 4 + (1 if sys.version_info >= (3, 13) else os.cpu_count() or 1)),
}
FOUR_ON_ANOTHER_PYTHON = {
    *("gunicorn-gthread-4-python313", "gunicorn-gthread-4-freethreaded", "gunicorn-gthread-4-freethreaded-gil"),
}
"""Left out where that is not here."""
WIDE = {"gevent-pywsgi": "unbounded", "gunicorn-gthread-8x4": 32, "uwsgi-gevent": 100, "granian": 512}
"""Those with more slots than there are users."""


ONE_OF_EACH = {
    *("flask-threaded", "flask-processes-3", "gunicorn-sync-1", "gunicorn-sync-threads-4", "nginx-gunicorn-sync-4"),
    *("gunicorn-gthread-8", "gunicorn-gthread-2x4", "gunicorn-tornado", "gunicorn-gevent", "gunicorn25-eventlet"),
    *("mine-by-file", "mine-by-connections"),
}
"""A server of each stack and model. In containers they are the same programs, with the same words."""

STORED = ("run.yaml", "observations.jsonl")
"""What a run leaves behind; all else is made of it."""


def cells(comparison: dict[str, Any], **conditions: object) -> dict[str, dict[str, Any]]:
    """Server -> cell, of the cells under `conditions`."""
    chosen = [each for each in comparison["cells"] if all(each[key] == value for key, value in conditions.items())]
    return {each["server"]: each for each in chosen}


def measured(cli: Cli, *words: str, experiment: str) -> Callable[[Collection[str]], Ended]:
    """Measures servers as the experiment says."""

    def measure(servers: Collection[str]) -> Ended:
        ended = cli.run(*words, "--servers", ",".join(sorted(servers)), experiment=experiment)
        assert ended.code == 0, ended.output
        return ended

    return measure


def test_how_many_requests_each_server_handles_at_once(cli: Cli) -> None:
    mine = Path(__file__).with_name("mine.yaml")
    expected = PEAKS.keys() | UNBOUNDED if cli.runtime == "local" else ONE_OF_EACH
    measure = measured(cli, "--seed", "7", "--catalogue", str(mine), experiment="table.yaml")
    ended = measure(expected)
    assert ended.lines[0].startswith(f"Runtime: {cli.runtime} (")

    comparison = cli.comparison()
    assert comparison["schema"] == 1
    assert comparison["run"]["runtime"] == cli.runtime
    assert comparison["run"]["seed"] == 7
    sleeping = cells(comparison, workload="sleep", connection="close")
    assert set(sleeping) == expected
    for name in UNBOUNDED & expected:
        assert sleeping[name]["slots"] == "unbounded"
    for name, cell in sleeping.items():
        assert cell["failures"] == cell["cut_off"] == 0, name
        # A server never has more answers than its slots allow: 50 ms of sleep a request, a slot.
        assert name in UNBOUNDED or cell["throughput_rps"]["median"] <= PEAKS[name] / 0.050 * 1.02, name
        assert cell["generator_cpu"] < 0.8 or is_disturbed(cell), name

    computing = cells(comparison, workload="cpu")
    assert computing["gunicorn-gevent"]["in_flight"]["peak"] == 1
    # All that its core has to spare: how much that is where others spare it all is in test_reasons.py.
    assert computing["gunicorn-gevent"]["server_cpu"] > 0.4 or is_disturbed(computing["gunicorn-gevent"])
    kept = cells(comparison, connection="keep-alive")["gunicorn-gthread-2x4"]
    assert 1 <= kept["in_flight"]["busiest_share"] <= 2

    markdown = (cli.latest / "comparison.md").read_text()
    assert "How many requests at once?" in markdown
    assert "gunicorn25-eventlet" in ended.output
    run = yaml.safe_load((cli.latest / "run.yaml").read_text())
    assert run["stacks"]["gunicorn25-eventlet"]["packages"]["gunicorn"] == "25.3.0"
    assert run["cpu_iterations"] > 1000
    assert run["gil"] == dict.fromkeys(expected, True)

    schema = json.loads((commands.PROJECT / "schemas" / "comparison.json").read_text())
    Draft202012Validator(schema).validate(comparison)
    catalogue = parse((commands.PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
    stored = Store(cli.latest).run()
    repeated = resolve.parse(
        (cli.latest / "experiment.yaml").read_text(), "experiment.yaml", {**catalogue, **stored.servers}, cores=2
    )
    assert repeated == stored.experiment
    (of_gthread,) = [each for each in Store(cli.latest).observations() if each.cell.server == "gunicorn-gthread-8"]
    assert_seen_as_counted(stored, of_gthread)

    # And all of it again from the folder alone, to the byte.
    assert_made_of_what_is_stored(cli)

    def again(short: Sequence[str]) -> dict[str, dict[str, Any]]:
        measure(short)
        return cells(cli.comparison(), workload="sleep", connection="close")

    slots = {name: PEAKS.get(name, max(PEAKS.values()) + 1) for name in expected}
    peaks = filled(sleeping, slots, again)
    assert {name: peaks[name] for name in expected - UNBOUNDED} == {name: slots[name] for name in expected - UNBOUNDED}
    assert all(peaks[name] >= slots[name] for name in expected & UNBOUNDED), peaks


def test_so_do_servers_beyond_the_default_ones(local: Cli) -> None:
    """Without those that are compiled, and without Apache, which is run in containers alone. On another Python where that is here."""
    expected = MORE_PEAKS.keys() | WIDE.keys()
    servers = parse((commands.PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
    assert expected | FOUR_ON_ANOTHER_PYTHON | PEAKS.keys() | UNBOUNDED | {"bjoern", "mod-wsgi"} == servers.keys() | {
        "mine-by-file",
        "mine-by-connections",
    }
    measure = measured(local, experiment="beyond.yaml")
    ended = measure(expected | FOUR_ON_ANOTHER_PYTHON)

    out = [line for line in ended.lines if re.match(r"Left out: .*: stack \S+ is for Python ", line)]
    found = cells(local.comparison(), workload="sleep")
    of_another = {name for name in FOUR_ON_ANOTHER_PYTHON if not any(name in line for line in out)}
    expected |= of_another
    assert found.keys() == expected
    assert {name: cell["failures"] for name, cell in found.items()} == dict.fromkeys(expected, 0)
    assert {name: found[name]["slots"] for name in WIDE} == WIDE

    def again(short: Sequence[str]) -> dict[str, dict[str, Any]]:
        measure(short)
        return cells(local.comparison(), workload="sleep")

    # Twelve users hardly fill more than eight slots of a server whose core others are busy on.
    few = {name: slots for name, slots in MORE_PEAKS.items() if slots <= 8} | dict.fromkeys(of_another, 4)
    many = {name: slots for name, slots in MORE_PEAKS.items() if name not in few}
    peaks = filled(found, few | {name: slots // 2 + 1 for name, slots in many.items()} | dict.fromkeys(WIDE, 9), again)
    assert {name: peaks[name] for name in few} == few
    for name, slots in many.items():
        assert slots / 2 < peaks[name] <= slots, name
    assert all(peaks[name] > 8 for name in WIDE), peaks


# From a wheel it would run a Python without its packages.
RELOADED = """
name: reloaded
blocks: 1
window_s: 2
reference: uwsgi-2x4
workloads: {sleep: {ms: 50}}
cells:
  - {servers: [uwsgi-2x4], workloads: [sleep], users: [4], connections: [close], during: {at_s: 0.1, do: reload}}
"""


def test_uwsgi_goes_on_after_a_reload(local: Cli, tmp_path: Path) -> None:
    file = tmp_path / "reloaded.yaml"
    file.write_text(RELOADED)
    ended = local.run(experiment=str(file))
    assert ended.code == 0, ended.output

    (reloaded,) = Store(local.latest).observations()
    assert (reloaded.status, reloaded.ended) == ("measured", False)
    assert reloaded.acted_s is not None
    # Requests that came meanwhile waited in the socket, which it keeps.
    assert cells(local.comparison())["uwsgi-2x4"]["failures"] == 0


def assert_seen_as_counted(run: Run, of_gthread: Observation) -> None:
    """What was seen of who ran when, in a server of eight threads, is what was counted."""
    assert of_gthread.swarm is not None
    timeline = of_gthread.swarm.timeline
    assert timeline is not None
    threads = {(stay.process, stay.thread) for stay in timeline.stays}
    at_once, _ = inflight.sweep(((stay.entered_us, stay.left_us) for stay in timeline.stays), 0, timeline.span_us)
    assert 1 < at_once <= min(of_gthread.swarm.in_flight.peak, len(threads)) <= 8
    # It is of the window's last part alone, in which others may have kept some threads from running.
    assert at_once == 8 or disturbance.is_disturbed(run, of_gthread)


def assert_made_of_what_is_stored(cli: Cli) -> None:
    def written() -> dict[str, bytes]:
        made = [path for path in cli.latest.rglob("*") if path.is_file() and path.name not in STORED]
        return {str(path.relative_to(cli.latest)): path.read_bytes() for path in made}

    before = written()
    assert set(before) >= {"comparison.yaml", "comparison.md", "experiment.yaml"}
    for path in before:
        (cli.latest / path).unlink()
    ended = cli("lab.report")
    assert ended.code == 0, ended.output
    assert written() == before


def test_more_cores_share_the_generators_only_when_told_to(local: Cli) -> None:
    count = len(host.usable_cpus())
    refused = local.run("--cores", str(count))
    assert refused.code == 1
    assert f"error: cores: {count} server cores asked for" in refused.lines[-1]
    assert "--share-generator" in refused.lines[-1]
    words = ("--cores", f"1,{count}", "--share-generator", "--blocks", "1", "--servers", "gunicorn-sync-4")
    ended = local.run(*words)
    assert ended.code == 0, ended.output
    comparison = local.comparison()
    assert comparison["run"]["server_cpus"][count] == cpus.spell(host.usable_cpus())
    for name, cell in cells(comparison, cores=count).items():
        assert any("share a core" in warning for warning in cell["warnings"]), name
    assert len(cells(comparison, cores=1)) == len(cells(comparison, cores=count)) == 1


def test_the_docs_run_a_locust_file_by_a_command_that_works() -> None:
    """With what `make run` has left, whatever this test's own environment has."""
    text = (commands.PROJECT / "docs" / "start.md").read_text()
    [command] = re.findall(r"^    (uv run .*\\\n.* --host) ", text, re.MULTILINE)
    words = command.replace("\\\n", " ").replace("--host", "--list").split()
    asked = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    listed = subprocess.run(
        words, cwd=commands.PROJECT, env=asked, capture_output=True, text=True, timeout=240, check=False
    )
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.split() == ["Available", "Users:", "Sleep"]
