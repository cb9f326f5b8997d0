"""The benchmark of predictions, on a made-up run whose cells are as the model has them."""

import pytest

from benchmarks import prediction as benchmark
from tests.unit.predicted import GRID, ONE, cell, compared
from tests.unit.said import refusal
from wsgilab.analysis.prediction.anchors import kinds
from wsgilab.model import Comparison
from wsgilab.model.errors import StoreError


def checked(comparison: Comparison) -> benchmark.Checked:
    return benchmark.checked(kinds(comparison.run, comparison.cells))


def asked(comparison: Comparison) -> benchmark.Asked:
    return benchmark.asked(kinds(comparison.run, comparison.cells))


def test_cells_are_held_out_one_by_one_and_by_edges() -> None:
    found = checked(compared(*GRID))

    held = {how: {(each.cell.server, each.cell.users) for each in of} for (_, how), of in found.items()}
    every = {(each.server, each.users) for _, each in GRID}
    assert held[benchmark.ONE] == every
    assert held["the most users"] == {each for each in every if each[1] == 32}
    assert held["the fewest users"] == {each for each in every if each[1] == 4}
    assert held["the most workers"] == {each for each in every if each[0] == "gthread-2x4"}
    assert "the most cores" not in held
    assert {each.others for each in found["sleep", "the most users"]} == {4}


def test_the_claims_are_of_the_cells_that_were_held_out_one_by_one() -> None:
    comparison = compared(*GRID)

    outcome = benchmark.summary([(comparison.run, checked(comparison), asked(comparison))])

    assert [(claim.blocks, claim.at_least) for claim in outcome.claims] == [(6, 0.9), (6, 0.75)]
    medians = [1 - claim.ratio.median for claim in outcome.claims]
    assert medians[0] == pytest.approx(
        sorted(abs(each.throughput_error) for each in comparison.predictions)[3], abs=0.02
    )
    assert all(claim.ratio.median > claim.at_least for claim in outcome.claims)


def test_what_is_asked_for_is_held_by_its_interval_or_refused() -> None:
    far = cell(ONE, users=100)
    exact, odd = (asked(compared(*GRID, far, paces=paces)) for paces in ((1.0,), (1.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0)))

    # The one with 100 users is more than twice beyond the others.
    assert (exact.refused, len(exact.throughput_held)) == (1, 6)
    assert all(exact.throughput_held)
    assert not all(odd.throughput_held)
    assert asked(compared(cell(ONE))).refused == 1


def test_a_run_whose_cells_cannot_be_held_out_is_refused() -> None:
    alone = compared(cell(ONE))

    assert "no cell could be held out" in refusal(
        StoreError, benchmark.summary, [(alone.run, checked(alone), asked(alone))]
    )
