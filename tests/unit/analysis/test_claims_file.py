"""The twenty claims of experiments/claims.yaml: each confirmed, refuted and left undecided by recorded observations.

`recorded/claims/` holds eight blocks of a real run. What does not come from it is the same run with the one figure changed
that a condition is about.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wsgilab.analysis import claims
from wsgilab.analysis.claims.file import cells_of
from wsgilab.experiment import catalogue
from wsgilab.model import Cell, Claim, ClaimResult, ClaimVerdict, Condition, Observation, TrialReport
from wsgilab.model.errors import SpecError
from wsgilab.results.store import Store
from wsgilab.run.workspace import PROJECT

FILE = PROJECT / "experiments" / "claims.yaml"
SERVERS = catalogue.parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
ASKED = claims.parse(FILE.read_text(), "claims.yaml", SERVERS)
BY_ID = {claim.id: claim for claim in ASKED.claims}

RECORDED = Store(Path(__file__).parents[1] / "recorded" / "claims")
RUN = RECORDED.run()
OBSERVATIONS = RECORDED.observations()
BLOCKS = RUN.experiment.blocks

REFUTED = {
    "development-server-default",
    "sync-workers-fire-threads",
    "sync-with-threads",
    "twice-cores-plus-one",
}
"""What the recorded run says; all others it confirms."""


def judge(observations: Sequence[Observation], claim: Claim) -> ClaimResult:
    cells = tuple(cells_of(replace(claim, shows=())))
    run = replace(RUN, experiment=replace(RUN.experiment, cells=cells))
    (found,) = claims.judge(run, [each for each in observations if each.cell in cells], [claim])
    return found


# --- observations with another figure

Change = Callable[[TrialReport, float], Mapping[str, Any]]


def _throughput(swarm: TrialReport, value: float) -> Mapping[str, Any]:
    """With the latency that as many users have at that rate, by Little's law."""
    return {
        "throughput_rps": value,
        "latency_mean_ms": swarm.latency_mean_ms * swarm.throughput_rps / value,
    }


CHANGES: Mapping[str, Change] = {
    "peak_in_flight": lambda swarm, value: {"in_flight": replace(swarm.in_flight, peak=round(value))},
    "processes": lambda swarm, value: {"in_flight": replace(swarm.in_flight, requests_per_process=(1,) * round(value))},
    "threads": lambda swarm, value: {"in_flight": replace(swarm.in_flight, threads=round(value))},
    "throughput_rps": _throughput,
    "latency_p50_ms": lambda swarm, value: {"latency_ms": {**swarm.latency_ms, "p50": value}},
    "slow_connections": lambda _, value: {"slow_connections": round(value)},
}


def changed(observation: Observation, figure: str, value: float) -> Observation:
    """The observation with another value of the figure."""
    if figure == "os_threads":
        return replace(observation, os_threads=round(value))
    assert observation.swarm is not None
    return replace(observation, swarm=replace(observation.swarm, **CHANGES[figure](observation.swarm, value)))


def _throughput_of(cell: Cell, block: int, observations: Sequence[Observation]) -> float:
    (found,) = (each for each in observations if each.cell == cell and each.block == block)
    assert found.swarm is not None
    return found.swarm.throughput_rps


def _value(condition: Condition, *, holds: bool) -> float:
    """What the figure or the ratio has to be for the condition to hold, or not to."""
    least, most = condition.at_least, condition.at_most
    if condition.over is not None:
        # Clear of the limit by more than blocks scatter.
        return least * (1.5 if holds else 0.5) if least is not None else (most or 0.0) * (0.5 if holds else 1.5)
    if holds:
        return least if least is not None else most or 0.0
    return most + 1 if most is not None else (least or 0.0) - 1


def altered(
    condition: Condition, holds: Callable[[int], bool], observations: Sequence[Observation] = OBSERVATIONS
) -> list[Observation]:
    """The observations, but that the condition holds in just the blocks that `holds` says."""

    def value(block: int) -> float:
        base = 1.0 if condition.over is None else _throughput_of(condition.over, block, observations)
        return base * _value(condition, holds=holds(block))

    return [
        changed(each, condition.figure, value(each.block)) if each.cell == condition.of else each
        for each in observations
    ]


def made_true(claim: Claim) -> Sequence[Observation]:
    observations: Sequence[Observation] = OBSERVATIONS
    for condition in claim.holds:
        observations = altered(condition, lambda _: True, observations)
    return observations


# --- the file


def test_there_are_twenty_claims() -> None:
    assert len(ASKED.claims) == 20


def test_every_claim_says_where_it_is_met_and_what_to_do() -> None:
    for claim in ASKED.claims:
        assert "http" in claim.met, claim.id
        assert claim.advice.endswith((".", "--experiment.")), claim.id


def test_only_some_claims_take_only_their_cells() -> None:
    some = claims.only(ASKED, ["blocking-driver", "tornado-worker"])

    assert [claim.id for claim in some.claims] == ["tornado-worker", "blocking-driver"]
    assert set(some.experiment.cells) == {cell for claim in some.claims for cell in cells_of(claim)}
    assert set(some.experiment.parameters) == {"sleep", "db"}
    assert some.experiment.reference in {cell.server for cell in some.experiment.cells}
    assert claims.only(ASKED, []).experiment.cells == ASKED.experiment.cells
    with pytest.raises(SpecError, match="--only: unknown claim 'nonsense'; known are development-server-single,"):
        claims.only(ASKED, ["gil", "nonsense"])


def test_on_one_core_all_but_what_needs_two_is_measured() -> None:
    experiment = claims.feasible(ASKED, 1)

    assert {cell.cores for cell in experiment.cells} == {1}
    assert len(experiment.cells) == len(ASKED.experiment.cells) - 4
    assert {cell.cores for cell in claims.feasible(ASKED, 2).cells} == {1, 2}


# --- verdicts


def test_the_recorded_run_has_every_cell_in_every_block() -> None:
    assert {(each.cell, each.block) for each in OBSERVATIONS if each.swarm is not None} == {
        (cell, block) for cell in ASKED.experiment.cells for block in range(BLOCKS)
    }


@pytest.mark.parametrize("claim_id", BY_ID)
def test_what_was_recorded_decides_it(claim_id: str) -> None:
    found = judge(OBSERVATIONS, BY_ID[claim_id])

    expected: ClaimVerdict = "refuted" if claim_id in REFUTED else "confirmed"
    assert found.verdict == expected, [each.reason for each in found.evidence]


@pytest.mark.parametrize("claim_id", BY_ID)
def test_it_is_confirmed_where_all_conditions_hold_in_every_block(claim_id: str) -> None:
    found = judge(made_true(BY_ID[claim_id]), BY_ID[claim_id])

    assert found.verdict == "confirmed", [each.reason for each in found.evidence]


CONDITIONS = [(claim.id, number) for claim in ASKED.claims for number in range(len(claim.holds))]


@pytest.mark.parametrize(("claim_id", "number"), CONDITIONS)
def test_it_is_refuted_where_any_condition_is_missed_in_every_block(claim_id: str, number: int) -> None:
    claim = BY_ID[claim_id]

    found = judge(altered(claim.holds[number], lambda _: False), claim)

    assert found.verdict == "refuted", found.evidence[number].reason
    assert found.evidence[number].verdict == "refuted"


@pytest.mark.parametrize(("claim_id", "number"), CONDITIONS)
def test_it_is_undecided_where_a_condition_holds_in_half_of_the_blocks(claim_id: str, number: int) -> None:
    claim = replace(BY_ID[claim_id], holds=(BY_ID[claim_id].holds[number],))

    found = judge(altered(claim.holds[0], lambda block: block % 2 == 0), claim)

    assert found.verdict == "undecided"
    assert found.evidence[0].reason


@pytest.mark.parametrize("claim_id", BY_ID)
def test_it_is_undecided_where_too_few_blocks_were_measured(claim_id: str) -> None:
    found = judge([each for each in OBSERVATIONS if each.block < 3], BY_ID[claim_id])

    assert found.verdict == "undecided"
    assert all("blocks have it" in each.reason for each in found.evidence)


@pytest.mark.parametrize("claim_id", BY_ID)
def test_it_is_undecided_where_a_backend_has_failed(claim_id: str) -> None:
    claim = BY_ID[claim_id]
    reason = "the backend postgres ended with exit code 1 during the trial"
    hit = set(cells_of(claim))
    failed = [
        replace(each, status="failed", reason=reason, swarm=None) if each.cell in hit and each.block else each
        for each in OBSERVATIONS
    ]

    found = judge(failed, claim)

    assert found.verdict == "undecided"
    assert all(reason in each.reason for each in found.evidence)


def test_what_needs_two_cores_says_so_on_one() -> None:
    ids = ["gil", "single-core-overlap"]
    one = replace(
        RUN,
        host=replace(RUN.host, usable_cpus="0"),
        experiment=replace(RUN.experiment, cells=claims.feasible(claims.only(ASKED, ids), 1).cells),
    )
    observations = [each for each in OBSERVATIONS if each.cell.cores == 1]

    (gil,) = claims.judge(one, observations, [BY_ID["gil"]])
    (overlap,) = claims.judge(one, observations, [BY_ID["single-core-overlap"]])

    assert gil.verdict == "undecided"
    needs = "needs 2 cores, and this machine has 1 that can be used"
    assert [each.reason for each in gil.evidence] == ["", "", needs, needs]
    assert overlap.verdict == "confirmed"


# --- what claims say of their limits

SPELT = {1.05: "1.05", 1.1: "a tenth more", 1.3: "1.3", 2.0: "twice"}
"""How a claim says the limit of a ratio."""


@pytest.mark.parametrize("claim_id", BY_ID)
def test_a_claim_says_the_limits_that_its_ratios_are_tested_by(claim_id: str) -> None:
    claim = BY_ID[claim_id]
    limits = {limit for each in claim.holds if each.over is not None for limit in (each.at_least, each.at_most)}

    assert [limit for limit in limits if limit is not None and SPELT[limit] not in claim.claim] == []
