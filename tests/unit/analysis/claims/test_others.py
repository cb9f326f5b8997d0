"""How far a figure may be from what it would have been without others."""

import math

import pytest

from wsgilab.analysis.claims.others import Others, factors, sooner_or_later, widened
from wsgilab.model import Interval


@pytest.mark.parametrize(("server", "generator", "slight"), [(0.1, 0.1, True), (0.11, 0.0, False), (0.0, 0.11, False)])
def test_others_are_slight_while_they_take_little_of_either_sides_cores(
    server: float, generator: float, slight: bool
) -> None:
    assert Others(server=server, generator=generator, window_s=1.0).is_slight is slight


def test_a_ratio_is_as_much_wider_as_either_figure_may_be_another() -> None:
    ratio = Interval(median=1.0, low=0.9, high=1.1)

    found = widened(ratio, ours=(0.5, 2.0), theirs=(0.8, 1.25))
    assert (found.low, found.high) == pytest.approx((0.9 * 0.5 / 1.25, 1.1 * 2.0 / 0.8))
    assert widened(ratio, ours=(1.0, 1.0), theirs=(0.0, 1.0)).high == math.inf, "the other may have been nothing"
    assert widened(Interval(median=1.0, low=None, high=None), (0.5, 2.0), (0.5, 2.0)).low is None


def test_the_furthest_of_all_blocks_counts() -> None:
    others = Others(server=0.05, generator=0.02, window_s=1.0)

    # 70 ms less or 20 ms more, which is most of the shortest.
    assert factors(sooner_or_later, [100.0, 400.0, 0.0], others) == pytest.approx((0.3, 1.2))
    assert factors(sooner_or_later, [], others) == (1.0, 1.0)
