"""At which rate a share rises above what is allowed, from windows whose truth is known."""

import math
import random

import pytest

from wsgilab.analysis.capacity.crossing import Slope, between, crossing

LIKELY = Slope(mean=15.0, spread=15.0)
AT, SLOPE = math.log(100), 12.0


def share(x: float) -> float:
    return 1 / (1 + 19 * math.exp(-SLOPE * (x - AT)))


def points(*rates: float, of: float = 1000.0) -> list[tuple[float, float, float]]:
    return [(math.log(rate), of * share(math.log(rate)), of) for rate in rates]


def test_the_rate_and_the_slope_of_a_logistic_curve_are_found() -> None:
    found = crossing(points(80, 95, 105, 120, of=100_000), 0.05, LIKELY)
    assert found.at == pytest.approx(AT, abs=1e-3)
    assert found.slope == pytest.approx(SLOPE, rel=0.02)
    assert found.dispersion == 1


def test_windows_that_scatter_more_than_their_requests_would_count_for_less() -> None:
    source = random.Random(1)
    scattered = [(x, min(of, bad * source.expovariate(1)), of) for x, bad, of in points(*[90, 100, 110] * 8)]
    found = crossing(scattered, 0.05, LIKELY)
    assert found.dispersion > 20
    assert found.at == pytest.approx(AT, abs=0.06)


def test_where_none_is_bad_it_is_above_all_rates_and_where_all_are_below() -> None:
    none = [(math.log(rate), 0.0, 500.0) for rate in (90, 100)]
    every = [(x, of, of) for x, _, of in none]
    assert math.log(101) < crossing(none, 0.05, LIKELY).at < math.log(300)
    assert math.log(30) < crossing(every, 0.05, LIKELY).at < math.log(90)


def test_rates_at_which_all_held_and_others_at_which_none_did_have_it_between_them() -> None:
    parted = [(math.log(rate), 400.0 * (rate > 100), 400.0) for rate in (80, 95, 105, 120)]
    assert math.log(90) < crossing(parted, 0.05, LIKELY).at < math.log(105)


def test_a_share_that_falls_by_chance_still_rises() -> None:
    assert (
        crossing([(math.log(90), 90.0, 400.0), (math.log(110), 0.0, 400.0)], 0.05, Slope(mean=3.0, spread=9.0)).slope
        >= 2
    )


def test_whatever_the_curve_it_is_between_the_last_rate_that_holds_and_the_first_that_does_not() -> None:
    """The second and the third, whose shares fall, are one of 6 %."""
    assert between([(1, 0, 100), (2, 8, 100), (3, 4, 100), (4, 30, 100)], 0.05) == (1, 2)
    assert between([(1, 0, 100), (2, 6, 100), (3, 3, 100), (4, 30, 100)], 0.05) == (3, 4)
    assert between([(1, 0, 100)], 0.05) == (1, math.inf)
    assert between([(2, 9, 100), (1, 8, 100)], 0.05) == (-math.inf, 1)
