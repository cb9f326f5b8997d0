"""A generator of several cores: Locust's master and a worker on each, which measure what one core measures."""

import json
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import yaml

from tests.e2e.conftest import Cli, Ended, fetch, filled, wait_for, web_ui
from tests.e2e.test_bad_input import assert_one_line
from tests.e2e.test_run import cells
from wsgilab.commands import Workspace
from wsgilab.load.client import LocustSwarm
from wsgilab.model import TrialSpec
from wsgilab.model.errors import SwarmError
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import read_catalogue
from wsgilab.runtime.local import MARK
from wsgilab.runtime.protocol import Runtime, Target
from wsgilab.system import cpus, host

pytestmark = pytest.mark.lab

CORES = sorted(host.usable_cpus())
ONE, TWO = frozenset(CORES[-1:]), frozenset(CORES[-2:])
two_cores = pytest.mark.skipif(len(CORES) < 2, reason="one usable core: no second one for a second worker")


@pytest.fixture(scope="module")
def workspace(session_places: Workspace, make_state: Callable[[str], Path]) -> Workspace:
    """A lab of its own, whose processes can be told from all others."""
    return replace(session_places, state=make_state("workers"))


@pytest.fixture(scope="module")
def runtime(workspace: Workspace) -> Iterator[Runtime]:
    made, _ = choose_runtime(workspace, "local")
    made.prepare([read_catalogue(workspace)["gunicorn-sync-4"]], [], print)
    yield made
    assert made.sweep() == 0


@pytest.fixture(scope="module")
def target(workspace: Workspace, runtime: Runtime) -> Iterator[Target]:
    """Four slots."""
    with runtime.start([read_catalogue(workspace)["gunicorn-sync-4"]], frozenset(CORES[:1])) as up:
        yield up["gunicorn-sync-4"]


def sleeping(target: Target) -> TrialSpec:
    return TrialSpec(
        locustfile="sleep",
        base_url=target.base_url,
        users=16,
        rate=None,
        window_s=0.5,
        patience_s=5,
        options={"connection": "close", "sleep_ms": 50.0, "request_timeout": 0},
    )


def at_100(target: Target) -> TrialSpec:
    """Requests that do next to nothing, a hundred a second."""
    options: Mapping[str, str | float | int] = {
        "connection": "close",
        "request_timeout": 0,
        "rate": 100.0,
        "arrivals": "constant",
    }
    return replace(sleeping(target), locustfile="hello", users=1, rate=100.0, options=options)


def generators(workspace: Workspace) -> Mapping[str, list[psutil.Process]]:
    """This lab's agents and workers that run, by module."""
    found: dict[str, list[psutil.Process]] = {"wsgilab.load.driver": [], "wsgilab.load.worker": []}
    for each in psutil.process_iter(["environ", "cmdline", "status"]):
        if (each.info["environ"] or {}).get(MARK) == workspace.lab_id and each.info["status"] != psutil.STATUS_ZOMBIE:
            for module, members in found.items():
                if module in (each.info["cmdline"] or []):
                    members.append(each)
    return found


def nothing() -> None:
    """What a trial without a meter does at its window's ends."""


@pytest.mark.alone
@two_cores
def test_two_cores_measure_what_one_measures(workspace: Workspace, runtime: Runtime, target: Target) -> None:
    seen: list[str] = []
    reports = []
    for cores in (ONE, TWO):
        with runtime.swarm(cores) as channel:
            swarm = LocustSwarm(channel, cores)
            workers = generators(workspace)["wsgilab.load.worker"]
            assert {core for each in workers for core in each.cpu_affinity()} == (TWO if cores == TWO else set())
            assert len(workers) == (2 if cores == TWO else 0)
            assert swarm.get(f"{target.base_url}/hello") == "hello\n"
            if cores == TWO:
                # The same workers, for another workload before, and at a rate that they share.
                scheduled = swarm.load(at_100(target), nothing, nothing)
            reports.append(swarm.load(sleeping(target), lambda: seen.append("window"), lambda: seen.append("closed")))
    assert seen == ["window", "closed"] * 2
    assert scheduled.failures == scheduled.cut_off == 0
    assert scheduled.completed == pytest.approx(50, abs=10)
    assert scheduled.throughput_rps == pytest.approx(100, rel=0.1)
    for report in reports:
        assert report.in_flight.peak == 4
        assert report.failures == report.cut_off == report.unanswered == 0
        assert len(report.in_flight.requests_per_process) == 4
        assert sum(report.in_flight.requests_per_process) == report.completed
        # Four slots of 50 ms: never more, and on a busy machine not much less.
        assert 0.7 * 80 < report.throughput_rps <= 80 * 1.02
        # Sixteen users before four slots: four rounds of 50 ms, at least.
        assert report.latency_ms["p50"] > 190
        assert report.throughput_rps * report.latency_mean_ms / 1000 == pytest.approx(16, rel=0.15)
        assert 0 < report.generator_cpu < 1
    assert not any(generators(workspace).values())


@two_cores
def test_in_the_web_ui_two_workers_say_together_what_is_so(local: Cli) -> None:
    # A generator of two cores leaves none for the server where there are two: its core is shared then.
    url = web_ui(local, "--servers", "gunicorn-gthread-8", "--workers", "2", "--share-generator")
    try:
        lab = urlsplit(url)._replace(path="", query="").geturl()
        form = {"target": "gunicorn-gthread-8", "workload": "sleep", "user_count": "32", "spawn_rate": "32"}
        assert fetch(f"{lab}/swarm", form=form).status == 200
        # On a busy machine the next look may find the load unsettled again, and a worker may stand still for a second: its users
        # ask for nothing then, and the others wait for less.
        cell = wait_for(lambda: only_cell(lab), "seconds of a settled load that fills eight slots")
        assert len(json.loads(fetch(f"{lab}/stats/requests").body)["workers"]) == 2
    finally:
        assert local("lab.down").code == 0
    # What the workers have measured apart is one: eight slots, of one process.
    assert cell["in_flight"]["peak"] == 8
    assert (cell["in_flight"]["processes"], cell["in_flight"]["threads"]) == (1, 8)
    assert cell["throughput_rps"]["median"] <= 160 * 1.02
    assert cell["failures"] == 0


def only_cell(lab: str) -> dict[str, Any]:
    """What the web UI knows of the only cell; empty before eight slots were full, and each request had waited for the three before it."""
    cells: list[dict[str, Any]] = yaml.safe_load(fetch(f"{lab}/lab/comparison.yaml").body)["cells"]
    if not cells or not cells[0]["throughput_rps"]:
        return {}
    is_full = cells[0]["in_flight"]["peak"] >= 8 and cells[0]["in_flight"]["threads"] >= 8
    return cells[0] if is_full and cells[0]["latency_ms"]["p50"] > 190 else {}


@two_cores
@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("wsgilab.load.worker", r"the generator failed: .*a worker of the generator ended with exit code -9"),
        ("wsgilab.load.driver", r"the generator is lost: it has ended"),
    ],
)
def test_a_part_of_the_generator_that_dies_in_mid_trial_ends_the_trial_and_leaves_nothing(
    workspace: Workspace, runtime: Runtime, target: Target, module: str, told: str
) -> None:
    def kill() -> None:
        generators(workspace)[module][0].send_signal(signal.SIGKILL)

    with runtime.swarm(TWO) as channel:
        swarm = LocustSwarm(channel, TWO)
        with pytest.raises(SwarmError, match=told) as caught:
            swarm.load(sleeping(target), kill, nothing)
        assert "\n" not in caught.value.message
    # The kernel ends workers with their master, when it gets to it.
    wait_for(lambda: not any(generators(workspace).values()), "the end of all parts", seconds=60)


# --- the whole lab


def run(cli: Cli, *words: str) -> Ended:
    return cli.run("--servers", "gunicorn-sync-4", *words)


@two_cores
def test_the_lab_with_two_generator_cores(local: Cli) -> None:
    def measure(_: Sequence[str] = ()) -> Mapping[str, dict[str, Any]]:
        ended = run(local, "--generator-cores", "2", "--share-generator", "--blocks", "1")
        assert ended.code == 0, ended.output
        return cells(local.comparison())

    found = measure()
    comparison = local.comparison()
    assert cpus.parse(comparison["run"]["generator_cpus"]) == TWO
    (cell,) = found.values()
    assert cell["failures"] == cell["cut_off"] == 0
    assert 0 < cell["generator_cpu"] < 1
    shares = TWO & cpus.parse(comparison["run"]["server_cpus"][1])
    assert any("share a core" in warning for warning in cell["warnings"]) == bool(shares)
    slots = {"gunicorn-sync-4": 4}
    assert filled(found, slots, measure) == slots


@pytest.mark.parametrize(
    ("too_many", "told"),
    [
        (lambda count: count + 1, r"cores: \d+ generator cores asked for, but .* ask for fewer with --generator-cores"),
        (lambda count: count, r"cores: 1 server cores asked for, but .* let them share with --share-generator"),
    ],
)
def test_more_generator_cores_than_there_are_to_spare_are_refused(
    local: Cli, too_many: Callable[[int], int], told: str
) -> None:
    physical = len({frozenset(group) & host.usable_cpus() for group in host.siblings()} - {frozenset()}) or len(CORES)
    ended = run(local, "--generator-cores", str(too_many(physical)))
    assert_one_line(ended)
    assert re.search(f"error: {told}", ended.output), ended.output
