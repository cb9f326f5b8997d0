"""The universal scalability law: its coefficients are found again, and only where there are points enough."""

import random

import pytest

from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.analysis.prediction.scalability import Coefficients, fit
from wsgilab.testing import observation, trial_report

COUNTS = (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(("contention", "coherency"), [(0.0, 0.0), (0.05, 0.0), (0.02, 0.0005), (0.0, 0.001)])
def test_coefficients_are_found_again(contention: float, coherency: float) -> None:
    law = Coefficients(one=120.0, contention=contention, coherency=coherency)

    found = fit({count: law.at(count) for count in COUNTS})

    assert (found.one, found.contention, found.coherency) == pytest.approx((120.0, contention, coherency), abs=1e-6)
    assert (found.most_at is None) == (coherency == 0)


def test_noise_does_not_make_them_negative() -> None:
    source = random.Random(1)

    found = fit({count: 100.0 * count * source.uniform(0.97, 1.03) for count in COUNTS})

    assert found.one == pytest.approx(100.0, rel=0.05)
    assert 0 <= found.contention < 0.01
    assert 0 <= found.coherency < 0.001


def test_a_run_has_the_law_of_every_four_cells_that_differ_in_users_alone() -> None:
    law = Coefficients(one=20.0, contention=0.1, coherency=0.001)
    few, many = ("gunicorn-sync-1", (1, 2, 4)), ("gunicorn-gthread-8", (1, 2, 4, 8, 16))
    cells = [testing.cell(name, users=users) for name, counts in (few, many) for users in counts]
    observations = [
        observation(
            cell,
            position=place,
            swarm=trial_report(
                throughput_rps=law.at(cell.users or 0),
                latency_mean_ms=(cell.users or 0) / law.at(cell.users or 0) * 1000,
            ),
        )
        for place, cell in enumerate(cells)
    ]

    (found,) = compare(testing.run(testing.experiment(*cells)), observations).laws

    assert (found.cell.server, found.over, found.points) == ("gunicorn-gthread-8", "users", 5)
    assert (found.contention, found.coherency) == pytest.approx((0.1, 0.001))
    assert found.most_at == pytest.approx(30.0)


def test_a_cell_that_answered_nothing_is_no_point() -> None:
    cells = [testing.cell(users=users) for users in (1, 2, 4, 8)]
    observations = [
        observation(each, position=place, swarm=trial_report(throughput_rps=0.0, completed=0))
        for place, each in enumerate(cells)
    ]

    assert compare(testing.run(testing.experiment(*cells)), observations).laws == ()
