"""What fits into a given time: users, windows and blocks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgilab import testing
from wsgilab.analysis import stats
from wsgilab.experiment import sizing
from wsgilab.experiment.sizing import Taken, size
from wsgilab.model import Cell, Server

ROWS: dict[str, Server] = {
    "sync-1": testing.server("sync-1"),
    "sync-2": testing.server("sync-2", slots=2, processes=2),
    "sync-4": testing.server("sync-4", slots=4, processes=4),
    "gthread-8": testing.server("gthread-8", slots=8, model="threads"),
    "gthread-2x4": testing.server("gthread-2x4", slots=8, processes=2, model="threads"),
    "gevent": testing.server("gevent", slots=None, model="coroutines"),
    "gevent-4": testing.server("gevent-4", slots=None, processes=4, model="coroutines"),
    "tornado": testing.server("tornado", slots=1, model="event-loop"),
}
"""Those of experiments/application.yaml."""
BUDGET_S = 150.0


def cells(*workloads: str) -> list[Cell]:
    return [testing.cell(name, workload=workload) for name in ROWS for workload in workloads]


def waiting(service_s: float, cpu_s: float = 0.001) -> Taken:
    return Taken(service_s=service_s, cpu_s=min(cpu_s, service_s))


@given(
    st.floats(0.0002, 10.0),
    st.floats(0.0, 1.0),
    st.sampled_from([None, 1, 4, 12]),
    st.lists(st.sampled_from(sorted(ROWS)), min_size=1, unique=True),
)
def test_a_plan_is_kept_within_its_time_or_is_the_least_that_there_is(
    service_s: float, computing: float, blocks: int | None, names: list[str]
) -> None:
    taken = {"nap": Taken(service_s=service_s, cpu_s=service_s * computing)}
    chosen = [each for each in cells("nap") if each.server in names]

    found = size(chosen, ROWS, taken, BUDGET_S, blocks, {names[0]})

    left = [name for name in names if name not in found.left_out]
    users, enough = found.users["nap"], max(sizing.FEWEST_USERS, sizing.slots(ROWS[name] for name in left))
    assert enough <= users <= sizing.USERS, "no limit is missed for want of users"
    assert found.blocks == blocks or (blocks is None and 1 <= found.blocks <= sizing.MOST_BLOCKS)
    assert names[0] in left
    assert len(left) >= min(len(names), sizing.FEWEST_SERVERS)
    # What theory says of each trial, by itself: it takes no less.
    least_s = 0.0
    for name in left:
        gap_s = max(service_s / min(users, ROWS[name].slots or users), service_s * computing)
        least_s += users * gap_s + found.window_s
        assert found.window_s >= max(gap_s, service_s), "an answer at least"
        assert found.patience_s >= users * gap_s + service_s
    assert found.lasts_s >= found.blocks * least_s
    if found.lasts_s > BUDGET_S:
        assert len(left) <= sizing.FEWEST_SERVERS
        assert users == enough
        assert found.blocks == (blocks or 1)
    if len(left) > sizing.FEWEST_SERVERS or (found.left_out and not blocks and found.blocks > sizing.FEWEST_BLOCKS):
        assert found.blocks >= (blocks or sizing.FEWEST_BLOCKS)


@pytest.mark.parametrize(
    ("service_s", "users", "window_s", "blocks"),
    [(0.0002, 32, 0.5, 8), (0.002, 32, 0.5, 8), (0.05, 32, 0.5, 8)],
)
def test_short_requests_are_measured_with_all_users(service_s: float, users: int, window_s: float, blocks: int) -> None:
    found = size(cells("nap"), ROWS, {"nap": waiting(service_s)}, BUDGET_S)
    assert (found.users["nap"], found.window_s, found.blocks) == (users, window_s, blocks)


def test_slow_requests_have_fewer_users() -> None:
    found = [size(cells("nap"), ROWS, {"nap": waiting(seconds)}, BUDGET_S) for seconds in (0.1, 0.3, 0.5, 1.0)]

    assert [each.users["nap"] for each in found] == [32, 16, 8, 8]
    assert all(each.lasts_s <= BUDGET_S for each in found)


@pytest.mark.parametrize(
    ("service_s", "left_out", "blocks"),
    [
        (0.6, (), 4),
        (1.0, ("tornado",), 4),
        (1.3, ("tornado", "sync-2", "sync-4"), 4),
        # One of each kind is left, and no fewer.
        (2.0, ("tornado", "sync-2", "sync-4", "gevent-4", "gthread-2x4"), 4),
        (3.0, ("tornado", "sync-2", "sync-4", "gevent-4", "gthread-2x4"), 2),
        (10.0, ("tornado", "sync-2", "sync-4", "gevent-4", "gthread-2x4"), 1),
    ],
)
def test_slower_ones_are_measured_under_fewer_servers_and_then_in_fewer_blocks(
    service_s: float, left_out: tuple[str, ...], blocks: int
) -> None:
    found = size(cells("nap"), ROWS, {"nap": waiting(service_s)}, BUDGET_S, None, {"sync-1"})

    assert (found.left_out, found.blocks, found.users["nap"]) == (left_out, blocks, 8)
    assert (found.lasts_s > BUDGET_S) == (service_s == 10.0)


def test_what_the_user_has_named_is_not_left_out() -> None:
    found = size(cells("nap"), ROWS, {"nap": waiting(1.0)}, BUDGET_S, None, ROWS)
    assert (found.left_out, found.blocks) == ((), 2)


def test_of_several_requests_the_slow_ones_have_fewer_users() -> None:
    taken = {"quick": waiting(0.002), "slow": waiting(0.4)}
    found = size(cells("quick", "slow"), ROWS, taken, BUDGET_S)
    assert found.users["quick"] == 32
    assert found.users["slow"] < 32
    assert found.lasts_s <= BUDGET_S


def test_a_server_of_many_slots_has_as_many_users() -> None:
    rows = {**ROWS, "gthread-100": testing.server("gthread-100", slots=100, model="threads")}
    asked = [*cells("nap"), testing.cell("gthread-100", workload="nap")]
    assert size(asked, rows, {"nap": waiting(0.002)}, BUDGET_S).users == {"nap": 100}


def test_an_experiment_is_carried_out_as_planned_and_goes_on_where_it_was_to() -> None:
    own = testing.application()
    asked = testing.experiment(*cells("orders"), precision=0.03, max_blocks=5, application=own)
    found = replace(size(asked.cells, ROWS, {"orders": waiting(1.0)}, BUDGET_S), blocks=8)

    planned = sizing.sized(asked, found)

    assert {each.users for each in planned.cells} == {found.users["orders"]}
    assert (planned.blocks, planned.max_blocks, planned.precision) == (8, 8, 0.03)
    assert (planned.window_s, planned.patience_s) == (found.window_s, found.patience_s)


def test_as_many_blocks_as_a_verdict_needs() -> None:
    assert sizing.FEWEST_BLOCKS == stats.FEWEST_BLOCKS
