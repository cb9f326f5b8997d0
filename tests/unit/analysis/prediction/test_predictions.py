"""Predictions from made-up runs whose truth is known: what they say, how far they reach, and what they refuse."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.unit.predicted import GRID, ONE, TRUE, cell, compared
from tests.unit.said import refusal
from wsgilab import testing
from wsgilab.analysis.prediction import predictions
from wsgilab.analysis.prediction.anchors import Anchor, Kind, Size, kind, kinds
from wsgilab.analysis.prediction.predictions import Forecast
from wsgilab.analysis.prediction.queueing import predict
from wsgilab.model import Circumstances, Comparison
from wsgilab.model.errors import SpecError


def by_kind(comparison: Comparison) -> dict[Kind, Sequence[Anchor]]:
    return dict(kinds(comparison.run, comparison.cells))


def asked(comparison: Comparison, **changes: object) -> Forecast:
    """Of a server of 1 x 8 with 32 users, with `changes`."""
    found = by_kind(comparison)
    size = replace(Size(workers=1, threads=8, cores=1, users=32), **changes)  # type: ignore[arg-type]
    return predictions.forecast(found, next(iter(found)), size)


def test_workers_and_threads_of_one_command_are_one_kind() -> None:
    shapes = (
        ("gunicorn", "-w", "3", "app:app"),
        ("gunicorn", "--workers", "2", "--threads=4", "app:app"),
        ("gunicorn", "app:app"),
    )
    found = {kind(testing.server(command=shape), testing.cell()).command for shape in shapes}

    assert found == {("gunicorn", "app:app")}


def test_each_cell_is_predicted_from_the_others() -> None:
    found = compared(*GRID).predictions

    assert {each.cell for each in found} == {cell for _, cell in GRID}
    assert {each.others for each in found} == {5}
    assert max(abs(each.throughput_error) for each in found) < 0.1


def test_its_own_figures_take_no_part() -> None:
    odd = compared(*GRID, paces=(1.0, 1.0, 1.0, 1.0, 1.0, 2.0)).predictions[-1]

    assert odd.throughput_error == pytest.approx(-0.5, abs=0.1)


def test_a_cell_alone_and_one_with_a_broken_gate_are_not_predicted() -> None:
    assert compared(cell(ONE, users=16)).predictions == ()
    comparison = compared(*GRID)
    broken = [replace(each, broken_gates=("little",)) for each in comparison.cells]
    assert list(predictions.predictions(comparison.run, broken)) == []


def test_a_cell_beside_which_something_else_holds_takes_no_part() -> None:
    pausing = cell(ONE, users=24, circumstances=Circumstances(gap_ms=100))

    assert compared(*GRID, pausing).predictions == compared(*GRID).predictions


def test_a_cell_of_more_requests_than_can_be_counted_takes_no_part() -> None:
    assert compared(*GRID, cell(ONE, users=6000)).predictions == compared(*GRID).predictions


def test_what_was_not_measured_is_as_the_truth_has_it() -> None:
    found = asked(compared(*GRID), workers=3, threads=4, users=48)

    truth = predict(TRUE, workers=3, threads=4, cores=1, users=48)
    assert found.throughput_rps.median == pytest.approx(truth.throughput_rps, rel=0.05)
    assert found.p95_ms is not None
    assert found.p95_ms.median == pytest.approx(truth.p95_ms, rel=0.2)
    assert found.measured is None
    assert found.bound_by == truth.bound_by


def test_the_interval_is_as_wide_as_the_model_errs_on_the_run() -> None:
    def width(comparison: Comparison) -> float:
        interval = asked(comparison, users=24).throughput_rps
        assert interval.low is not None
        assert interval.high is not None
        return interval.high / interval.low

    assert width(compared(*GRID, paces=(1.0, 1.3, 0.8, 1.1))) > 1.5 > width(compared(*GRID))


def test_what_was_measured_is_beside_it() -> None:
    comparison = compared(*GRID)

    found = asked(comparison)

    (held_out,) = (each for each in comparison.predictions if each.cell == GRID[2][1])
    assert found.measured == held_out
    assert found.throughput_rps.median == pytest.approx(held_out.measured_rps, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"users": 65}, "--users 65: the run has 4 to 32 users; checked is 2 to 64; measure 65 users too"),
        ({"users": 1}, "--users 1: the run has 4 to 32 users"),
        ({"workers": 5}, "--workers 5: the run has 1 to 2 workers; checked is 0.5 to 4"),
        ({"threads": 1}, "--threads 1: the run has 4 to 8 threads"),
        ({"cores": 2}, "--cores 2: the run has 1 alone cores; measure 2 cores too"),
    ],
)
def test_it_goes_nowhere_that_was_not_checked(changes: dict[str, int], message: str) -> None:
    def ask() -> Forecast:
        return asked(compared(*GRID), **changes)

    assert refusal(SpecError, ask).startswith(message)


def test_one_cell_checks_nothing() -> None:
    assert "one condition alone" in refusal(SpecError, lambda: asked(compared(cell(ONE))))


def test_a_rate_is_predicted_from_rates_and_may_be_too_much() -> None:
    comparison = compared(
        *(cell(ONE, users=None, rate=rate, arrivals="poisson") for rate in (100.0, 200.0, 300.0)), *GRID
    )
    found = {kind: anchors for kind, anchors in by_kind(comparison).items() if kind.arrivals}
    (kind,) = found

    def at(rate: float) -> Forecast:
        return predictions.forecast(found, kind, Size(workers=1, threads=8, cores=1, rate=rate))

    assert at(250.0).throughput_rps.median == pytest.approx(250.0)
    assert at(250.0).p95_ms is not None
    assert at(500.0).p95_ms is None
    assert at(500.0).bound_by == "slots"
