"""The claims and reports that the lab comes with: each confirmed, refuted and left undecided by observations.

For the group `flask` `recorded/claims/` holds eight blocks of a real run. What does not come from it is the same run with the one
figure changed that a condition is about. For the group `servers` and the reports all figures are made up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from wsgilab import testing
from wsgilab.analysis import claims
from wsgilab.analysis.claims.file import cells_of
from wsgilab.commands import CLAIM_GROUPS, REPORTS
from wsgilab.experiment import catalogue
from wsgilab.model import Cell, Claim, ClaimResult, ClaimVerdict, Condition, Memory, Observation, Run
from wsgilab.model.errors import SpecError
from wsgilab.results.store import Store
from wsgilab.run.workspace import PROJECT

SERVERS = catalogue.parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")


def asked(group: str) -> claims.ClaimSet:
    name = f"{CLAIM_GROUPS[group]}.yaml"
    return claims.parse((PROJECT / "experiments" / name).read_text(), name, SERVERS)


ASKED = asked("flask")
ABOUT_SERVERS = asked("servers")
REPORTED = claims.parse((PROJECT / REPORTS).read_text(), REPORTS, SERVERS)
BY_ID = {claim.id: claim for claim in (*ASKED.claims, *ABOUT_SERVERS.claims, *REPORTED.claims)}
ROWS = {**SERVERS, **REPORTED.rows}
OF_FLASK = [claim.id for claim in ASKED.claims]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A run and its observations."""

    run: Run
    observations: Sequence[Observation]


def of_the_recording() -> Evidence:
    store = Store(Path(__file__).parents[2] / "recorded" / "claims")
    return Evidence(run=store.run(), observations=store.observations())


def made_up() -> Evidence:
    """Of every cell eight blocks, in which each user has an answer after 50 ms."""
    cells = dict.fromkeys((*ABOUT_SERVERS.experiment.cells, *REPORTED.experiment.cells))
    run = testing.run(replace(ABOUT_SERVERS.experiment, cells=tuple(cells), blocks=8), *ROWS.values())
    observations = [
        testing.observation(
            cell,
            block=block,
            swarm=testing.trial_report(completed=600, throughput_rps=(cell.users or 0) * 20.0, latency_mean_ms=50.0),
            memory=Memory(pss_bytes=90_000_000, private_bytes=30_000_000),
        )
        for cell in run.experiment.cells
        for block in range(run.experiment.blocks)
    ]
    return Evidence(run=run, observations=observations)


RECORDED, MADE_UP = of_the_recording(), made_up()
RUN, OBSERVATIONS = RECORDED.run, RECORDED.observations
BLOCKS = RUN.experiment.blocks

REFUTED = {
    "development-server-default",
    "sync-workers-fire-threads",
    "sync-with-threads",
    "twice-cores-plus-one",
}
"""What the recorded run says; all others it confirms."""


def evidence_for(claim: Claim) -> Evidence:
    return RECORDED if claim.id in OF_FLASK else MADE_UP


def judge(observations: Sequence[Observation], claim: Claim) -> ClaimResult:
    cells, run = tuple(cells_of(replace(claim, shows=()))), evidence_for(claim).run
    run = replace(run, experiment=replace(run.experiment, cells=cells))
    (found,) = claims.judge(run, [each for each in observations if each.cell in cells], [claim])
    return found


# --- observations with another figure

Change = Callable[[Observation, float], Mapping[str, Any]]


def _of_swarm(change: Callable[[Any, float], Mapping[str, Any]]) -> Change:
    return lambda observation, value: {
        "swarm": replace(observation.swarm, **change(observation.swarm, value))  # type: ignore[type-var]
    }


def _cpu_s(observation: Observation, value: float) -> float:
    assert observation.swarm is not None
    return value / 1000 * observation.swarm.throughput_rps * (observation.server_span_s or 0)


CHANGES: Mapping[str, Change] = {
    "peak_in_flight": _of_swarm(lambda swarm, value: {"in_flight": replace(swarm.in_flight, peak=round(value))}),
    "processes": _of_swarm(
        lambda swarm, value: {"in_flight": replace(swarm.in_flight, requests_per_process=(1,) * round(value))}
    ),
    "threads": _of_swarm(lambda swarm, value: {"in_flight": replace(swarm.in_flight, threads=round(value))}),
    # With the latency that as many users have at that rate, by Little's law.
    "throughput_rps": _of_swarm(
        lambda swarm, value: {
            "throughput_rps": value,
            "latency_mean_ms": swarm.latency_mean_ms * swarm.throughput_rps / value,
        }
    ),
    "latency_p50_ms": _of_swarm(lambda swarm, value: {"latency_ms": {**swarm.latency_ms, "p50": value}}),
    "latency_max_ms": _of_swarm(lambda swarm, value: {"latency_ms": {**swarm.latency_ms, "max": value}}),
    **{
        figure: _of_swarm(lambda _, value, figure=figure: {figure: round(value)})  # type: ignore[misc]
        for figure in ("slow_connections", "failures", "unanswered", "reopened")
    },
    # Of a thousand requests, which four processes finished.
    "busiest_share": _of_swarm(
        lambda swarm, value: {
            "in_flight": replace(swarm.in_flight, requests_per_process=(round(250 * value), 1000 - round(250 * value)))
        }
    ),
    "server_cpu": lambda observation, value: {
        "server_cpu_s": max(0.0, value) * observation.cell.cores * (observation.server_span_s or 0)
    },
    "os_threads": lambda _, value: {"os_threads": round(value)},
    "longest_gap_ms": _of_swarm(lambda _, value: {"longest_gap_ms": value}),
    "wasted_work": _of_swarm(lambda _, value: {"wasted_work": max(0.0, value)}),
    "memory_mb": lambda _, value: {"resident_bytes": round(value * 1e6)},
    "memory_pss_mb": lambda _, value: {"memory": Memory(pss_bytes=round(value * 1e6), private_bytes=0)},
    "throttled_share": lambda observation, value: {
        "throttled_s": max(0.0, value) * observation.cell.cores * (observation.server_span_s or 0)
    },
    "cpu_ms_per_request": lambda observation, value: {"server_cpu_s": _cpu_s(observation, value)},
}


def changed(observation: Observation, figure: str, value: float) -> Observation:
    """The observation with another value of the figure."""
    return replace(observation, **CHANGES[figure](observation, value))


def _figure_of(figure: str, cell: Cell, block: int, observations: Sequence[Observation]) -> float:
    (found,) = (each for each in observations if each.cell == cell and each.block == block)
    value = claims.FIGURES[figure].read(ROWS[cell.server], found)
    assert value is not None
    return value


def _value(condition: Condition, *, holds: bool) -> float:
    """What the figure or the ratio has to be for the condition to hold, or not to."""
    least, most = condition.at_least, condition.at_most
    if condition.over is not None:
        # Clear of the limit by more than blocks scatter.
        if least is not None and most is not None:
            return (least + most) / 2 if holds else least / 2
        return least * (1.5 if holds else 0.5) if least is not None else (most or 0.0) * (0.5 if holds else 1.5)
    if holds:
        # Less than the limit by what a quotient is rounded to.
        return least if least is not None else (most or 0.0) * (1 - 1e-12)
    return most + 1 if most is not None else (least or 0.0) - 1


def altered(
    claim: Claim, number: int, holds: Callable[[int], bool], observations: Sequence[Observation] | None = None
) -> list[Observation]:
    """The observations, but that a condition of the claim holds in just the blocks that `holds` says."""
    condition = claim.holds[number]
    given = evidence_for(claim).observations if observations is None else observations

    def value(block: int) -> float:
        base = 1.0 if condition.over is None else _figure_of(condition.figure, condition.over, block, given)
        return base * _value(condition, holds=holds(block))

    return [changed(each, condition.figure, value(each.block)) if each.cell == condition.of else each for each in given]


def made_true(claim: Claim) -> Sequence[Observation]:
    observations = evidence_for(claim).observations
    for number in range(len(claim.holds)):
        observations = altered(claim, number, lambda _: True, observations)
    return observations


# --- the files


def test_how_many_claims_there_are() -> None:
    assert {group: len(asked(group).claims) for group in CLAIM_GROUPS} == {"flask": 20, "servers": 15}
    assert len(REPORTED.claims) >= 20
    assert len(BY_ID) == 35 + len(REPORTED.claims), "an id for each"


@pytest.mark.parametrize("group", CLAIM_GROUPS)
def test_a_groups_experiment_is_called_as_its_file(group: str) -> None:
    assert asked(group).experiment.name == CLAIM_GROUPS[group], "by which a stored run is known"


def test_every_claim_says_where_it_is_met_and_what_to_do() -> None:
    for claim in BY_ID.values():
        assert "http" in claim.met, claim.id
        assert claim.advice.endswith((".", "--experiment.")), claim.id


def test_every_report_is_called_as_its_project_and_number_and_is_in_a_group() -> None:
    for claim in REPORTED.claims:
        assert claim.thread is not None
        assert claim.id.endswith(f"-{claim.thread.number}")
        assert claim.id.removesuffix(f"-{claim.thread.number}") in claim.thread.project.lower().replace("/", "-")
    assert sorted(each for group in REPORTED.groups.values() for each in group) == sorted(
        claim.id for claim in REPORTED.claims
    )


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


@pytest.mark.parametrize("claim_id", OF_FLASK)
def test_what_was_recorded_decides_it(claim_id: str) -> None:
    found = judge(OBSERVATIONS, BY_ID[claim_id])

    expected: ClaimVerdict = "refuted" if claim_id in REFUTED else "confirmed"
    assert found.verdict == expected, [each.reason for each in found.evidence]


@pytest.mark.parametrize("claim_id", BY_ID)
def test_it_is_confirmed_where_all_conditions_hold_in_every_block(claim_id: str) -> None:
    found = judge(made_true(BY_ID[claim_id]), BY_ID[claim_id])

    assert found.verdict == "confirmed", [each.reason for each in found.evidence]


CONDITIONS = [(claim.id, number) for claim in BY_ID.values() for number in range(len(claim.holds))]


@pytest.mark.parametrize(("claim_id", "number"), CONDITIONS)
def test_it_is_refuted_where_any_condition_is_missed_in_every_block(claim_id: str, number: int) -> None:
    claim = BY_ID[claim_id]

    found = judge(altered(claim, number, lambda _: False), claim)

    assert found.verdict == "refuted", found.evidence[number].reason
    assert found.evidence[number].verdict == "refuted"


@pytest.mark.parametrize(("claim_id", "number"), CONDITIONS)
def test_it_is_undecided_where_a_condition_holds_in_half_of_the_blocks(claim_id: str, number: int) -> None:
    claim = replace(BY_ID[claim_id], holds=(BY_ID[claim_id].holds[number],))

    found = judge(altered(claim, 0, lambda block: block % 2 == 0), claim)

    assert found.verdict == "undecided"
    assert found.evidence[0].reason


@pytest.mark.parametrize("claim_id", BY_ID)
def test_it_is_undecided_where_too_few_blocks_were_measured(claim_id: str) -> None:
    observations = evidence_for(BY_ID[claim_id]).observations
    found = judge([each for each in observations if each.block < 3], BY_ID[claim_id])

    assert found.verdict == "undecided"
    assert all("blocks have it" in each.reason for each in found.evidence)


@pytest.mark.parametrize("claim_id", BY_ID)
def test_it_is_undecided_where_a_backend_has_failed(claim_id: str) -> None:
    claim = BY_ID[claim_id]
    reason = "the backend postgres ended with exit code 1 during the trial"
    hit = set(cells_of(claim))
    failed = [
        replace(each, status="failed", reason=reason, swarm=None) if each.cell in hit and each.block else each
        for each in evidence_for(claim).observations
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

    assert gil.verdict == "not tested"
    needs = "needs 2 cores, and this machine has 1 that can be used"
    assert [each.reason for each in gil.evidence] == ["", "", needs, needs]
    assert overlap.verdict == "confirmed"


def test_a_server_that_cannot_be_had_leaves_the_claims_about_it_untested_and_no_others() -> None:
    run = MADE_UP.run
    cells = tuple(cell for cell in run.experiment.cells if cell.server != "bjoern")
    run = replace(run, experiment=replace(run.experiment, cells=cells))
    observations = [each for each in MADE_UP.observations if each.cell in cells]

    results = claims.judge(run, observations, ABOUT_SERVERS.claims, {"bjoern": "as it needs a compiler"})

    (untested,) = (each for each in results if each.verdict == "not tested")
    assert untested.claim.id == "bjoern-fastest"
    assert {each.reason for each in untested.evidence} == {"bjoern was left out, as it needs a compiler"}


# --- what claims say of their limits

SPELT = {
    **{limit: f"{limit:g}" for limit in (0.8, 0.85, 0.9, 0.95, 1.05, 1.2, 1.3)},
    0.75: "three quarters",
    1.0: "at least as many",
    1.1: "a tenth more",
    1.25: "a quarter more",
    2.0: "twice",
    3.0: "three times",
}
"""How a claim says the limit of a ratio."""


@pytest.mark.parametrize("claim_id", BY_ID)
def test_a_claim_says_the_limits_that_its_ratios_are_tested_by(claim_id: str) -> None:
    claim = BY_ID[claim_id]
    limits = {limit for each in claim.holds if each.over is not None for limit in (each.at_least, each.at_most)}

    assert [limit for limit in limits if limit is not None and SPELT[limit] not in claim.claim] == []
