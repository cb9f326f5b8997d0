"""What one request does, and what its Locust file is told."""

from collections import Counter

import pytest

from wsgilab import testing
from wsgilab.experiment import workloads


def test_the_options_of_a_workload_are_its_parameters_and_computing_goes_with_its_calibration() -> None:
    given = workloads.parameters({"slow-client", "stall"}, {"stall": {"ms": 200.0}, "slow-client": {"kib": 64.0}})

    assert workloads.options("slow-client", given, 100) == {
        "slow_client_send_ms": 100.0,
        "slow_client_read_ms": 100.0,
        "slow_client_kib": 64.0,
    }
    assert workloads.options("cpu", given, 100) == {"cpu_ms": 5.0, "iterations_per_ms": 20.0}
    assert workloads.options("stall", given, 100) == {"stall_ms": 200.0, "iterations_per_ms": 20.0}
    assert workloads.options("cpu", given, None) == {"cpu_ms": 5.0}
    assert workloads.options("sleep", given, 100) == {"sleep_ms": 50.0}


# Requests in shares.


@pytest.mark.parametrize(
    ("shares", "cards"),
    [
        ({"a": 50.0, "b": 25.0, "c": 15.0, "d": 5.0, "e": 5.0}, {"a": 10, "b": 5, "c": 3, "d": 1, "e": 1}),
        ({"a": 1.0, "b": 1.0}, {"a": 1, "b": 1}),
        ({"a": 0.1, "b": 0.2}, {"a": 1, "b": 2}),
        ({"a": 7.0, "b": 0.0}, {"a": 1}),
        ({"a": 33.3, "b": 66.7}, {"a": 333, "b": 667}),
    ],
)
def test_a_deck_is_the_smallest_that_has_each_kind_in_its_share(
    shares: dict[str, float], cards: dict[str, int]
) -> None:
    assert Counter(workloads.deck(shares)) == cards
    assert workloads.deck_size(shares) == sum(cards.values())


@pytest.mark.parametrize("shares", [{"a": 0.0, "b": 0.0}, {"a": 1.0, "b": -1.0}, {}])
def test_shares_of_nothing_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares must be 0 or more"):
        workloads.deck(shares)


def test_each_user_goes_through_the_whole_deck_again_and_again_in_an_order_of_its_own() -> None:
    cards = workloads.deck({"a": 3.0, "b": 2.0, "c": 1.0})
    source = workloads.shuffled(cards, 7)
    passes = [[next(source) for _ in cards] for _ in range(20)]

    assert all(sorted(each) == sorted(cards) for each in passes)
    assert len({tuple(each) for each in passes}) > 5, "shuffled anew each time"
    again, other = workloads.shuffled(cards, 7), workloads.shuffled(cards, 8)
    assert [[next(again) for _ in cards] for _ in range(20)] == passes
    assert [[next(other) for _ in cards] for _ in range(20)] != passes


# A user's own application.


def test_of_an_application_its_requests_and_mixes_are_the_workloads_and_no_others() -> None:
    own = testing.application(backends=("postgres",))

    assert list(workloads.of(own)) == ["orders", "buy", "shop"]
    assert workloads.of(None) is workloads.WORKLOADS
    assert workloads.parameters({"shop"}, {}, own) == {"shop": {}}
    assert workloads.backends(["orders"], own) == ["postgres"]
    assert workloads.backends(["orders"], testing.application()) == []
