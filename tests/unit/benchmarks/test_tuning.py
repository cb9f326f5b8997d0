"""Races replayed on an exhaustive run that is made up; and that the space which is recorded is the one that `lab.tune` has."""

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from benchmarks import tuning
from tests.unit.analysis.tune.test_race import REPORT, Machine
from wsgilab import testing
from wsgilab.experiment import catalogue, plan, resolve, space
from wsgilab.model import Interval, Observation, Run
from wsgilab.model.errors import StoreError
from wsgilab.run.workspace import PROJECT

SPEED = {"gunicorn-sync-3": 60.0, **{f"server-{at:02}": 100.0 - at for at in range(12)}}


def recorded(
    blocks: int = 12,
    servers: Iterable[str] = SPEED,
    workloads: Iterable[str] = ("sleep", "cpu"),
    slow: float = 1.0,
    scatter: float = 0.01,
    speed: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Run, list[Observation]]:
    """`slow`: the speed of the machine in every other block; `scatter`: that of the logarithm of a window's speed."""
    cells = [testing.cell(name, workload=workload) for workload in workloads for name in servers]
    run = testing.run(testing.experiment(*cells, blocks=blocks, reference="gunicorn-sync-3"))
    source = random.Random(7)
    found = []
    for trial in plan.schedule(run.experiment, run.seed):
        rate = (
            {**SPEED, **speed}[trial.cell.server]
            * math.exp(source.gauss(0, scatter))
            * (slow if trial.block % 2 else 1.0)
        )
        swarm = replace(REPORT, throughput_rps=rate, latency_mean_ms=32_000 / rate)
        made = testing.observation(trial.cell, block=trial.block, position=trial.position, took_s=1.0)
        found.append(replace(made, swarm=swarm))
    return run, found


def test_a_replay_is_the_race_on_recorded_trials_and_is_judged_by_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # Percentiles of all requests together take most of the time.
    monkeypatch.setattr("wsgilab.analysis.stats.merged_latency_ms", lambda _: {"p95": 320.0})
    sleep, (run, observations) = recorded(workloads=["sleep"]), recorded(workloads=["cpu"])
    tuned = Machine(speed=SPEED, budget_s=45.0)
    tuned.measure()
    race = tuned.run, tuned.observations()

    with pytest.raises(StoreError, match=r"is a race; name an exhaustive run too, of benchmarks/tuning\.yaml"):
        tuning.summary([race])
    outcome = tuning.summary([race, sleep, (run, observations)])

    assert [(row["workload"], row["races"]) for row in outcome.rows] == [
        ("sleep", "5 replays"),
        ("sleep", "1 live runs"),
        ("cpu", "5 replays"),
    ]
    assert all(row["best"] == "server-00" for row in outcome.rows)
    assert {row["rule of thumb, of the best"] for row in outcome.rows} <= {"59%", "60%", "61%"}
    quality, time = outcome.claims[:2]
    assert quality.ratio.median >= 0.97 == quality.at_least
    assert time.ratio.median >= 1 / 0.3
    for seed in (2, 3):
        replay = tuning.replayed(tuning.measured(run, observations, "cpu"), seed)
        assert {each.cell.workload for each in replay.found} == {"cpu"}
        assert [each.cell for each in replay.found[:13]] != [each.cell for each in observations[:13]]


def test_what_is_not_the_best_has_the_interval_of_its_paired_blocks() -> None:
    truth = tuning.measured(*recorded(), "cpu")
    other = next(name for name in SPEED if name != truth.best)

    share = truth.of_the_best(other)
    assert share.low is not None
    assert share.high is not None
    assert share.low < share.median < share.high
    assert share.median == pytest.approx(truth.speed[other] / truth.speed[truth.best], rel=0.02)
    assert truth.of_the_best(truth.best) == Interval(median=1.0, low=1.0, high=1.0)
    assert truth.of_the_best(None) == Interval(median=0.0, low=0.0, high=0.0)


def test_a_final_judges_in_place_of_the_exhaustive_run_and_must_have_what_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wsgilab.analysis.stats.merged_latency_ms", lambda _: {"p95": 320.0})
    run, observations = recorded(workloads=["cpu"])
    few = ["gunicorn-sync-3", *(f"server-{at:02}" for at in range(4))]
    outcome = tuning.summary([recorded(60, few, ["cpu"], slow=0.5), (run, observations)])

    (row,) = outcome.rows
    assert (row["best"], row["judged by"]) == ("server-00", "a final of 60 blocks")
    rule = row["rule of thumb, of the best"]
    assert rule in ("59%", "60%", "61%"), "whatever speed the machine has in a block"
    assert row["blocks to know"] == "3"
    for lacking in (few[:3], [few[0], *few[2:]]):
        with pytest.raises(StoreError, match=r"has no figure of server-0\d; measure a final with them"):
            tuning.summary([(run, observations), recorded(20, lacking, ["cpu"])])
    with pytest.raises(StoreError, match="is another final of cpu; name one"):
        tuning.summary([(run, observations), *[recorded(20, few, ["cpu"])] * 2])


def test_who_has_no_figure_while_the_machine_is_fast_is_not_slower_for_it() -> None:
    slow, fast = {0: 50.0, 2: 50.0}, {1: 100.0, 3: 100.0}
    others = {block: 0.9 * rate for block, rate in (slow | fast).items()}
    speed = tuning._beside_each_other({"best": slow, "other": others, "third": others})

    assert speed["best"] > speed["other"] == speed["third"]


def test_a_machine_that_scatters_needs_more_blocks_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "DRAWS", 100)
    alike = dict.fromkeys(("server-01", "server-02"), 96.0)
    steady, restless, hopeless = (
        tuning.blocks_to_know(tuning.measured(*recorded(40, SPEED, ["cpu"], scatter=scatter, speed=alike), "cpu"))
        for scatter in (0.002, 0.05, 0.5)
    )

    assert (steady, hopeless) == ("3", "more than 20")
    assert 3 < int(restless) <= 18


def test_the_space_that_is_recorded_is_the_one_that_is_tuned() -> None:
    servers = catalogue.parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
    text = (PROJECT / "benchmarks" / "tuning.yaml").read_text()
    experiment = resolve.parse(text, "tuning.yaml", servers, cores=1)

    usual = {*space.rows(space.usual(1, 32), servers, ""), "gunicorn-sync-3"}
    by_workload = {cell.workload: set[str]() for cell in experiment.cells}
    for cell in experiment.cells:
        by_workload[cell.workload].add(cell.server)
    assert by_workload == dict.fromkeys(("sleep", "cpu", "mixed"), usual)
    assert len(usual) >= 24
