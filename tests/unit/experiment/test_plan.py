"""The order of trials."""

from collections import Counter
from dataclasses import replace
from itertools import groupby, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgilab import testing
from wsgilab.experiment import plan
from wsgilab.model import CapacityLimit, Cell, Circumstances, Experiment

CELLS = st.lists(
    st.builds(
        testing.cell,
        st.sampled_from(["gunicorn-sync-1", "gunicorn-sync-4", "flask-single"]),
        users=st.integers(1, 3),
        connection=st.sampled_from(["close", "keep-alive"]),
    ),
    min_size=1,
    unique=True,
)
EXPERIMENTS = st.builds(
    lambda cells, blocks: testing.experiment(*cells, blocks=blocks), CELLS, st.integers(min_value=1, max_value=6)
)
SEEDS = st.integers()
EIGHT = testing.experiment(*(testing.cell(users=users) for users in range(1, 9)), blocks=4)


@given(EXPERIMENTS, SEEDS)
def test_every_cell_is_exactly_once_in_every_block_one_block_after_the_other(experiment: Experiment, seed: int) -> None:
    trials = plan.schedule(experiment, seed)

    assert Counter((trial.block, trial.cell) for trial in trials) == {
        (block, cell): 1 for block in range(experiment.blocks) for cell in experiment.cells
    }

    assert [trial.position for trial in trials] == list(range(len(trials)))
    assert [trial.block for trial in trials] == sorted(trial.block for trial in trials)


@given(EXPERIMENTS, SEEDS, st.integers(0, 6), st.integers(0, 6))
def test_later_blocks_are_the_same_slice_of_a_longer_run(
    experiment: Experiment, seed: int, begin: int, more: int
) -> None:
    longer = plan.schedule(replace(experiment, blocks=begin + more), seed)
    cells = len(experiment.cells)

    assert plan.schedule(experiment, seed, range(begin, begin + more)) == longer[begin * cells :]


@given(EXPERIMENTS, SEEDS, st.data())
def test_what_remains_is_what_is_not_done_in_order(experiment: Experiment, seed: int, data: st.DataObject) -> None:
    trials = plan.schedule(experiment, seed)
    finished = data.draw(st.sets(st.sampled_from(trials)))

    left = plan.remaining(trials, {(trial.block, trial.cell) for trial in finished})

    assert set(left) == set(trials) - finished
    assert [trial.position for trial in left] == sorted(trial.position for trial in left)


@given(EXPERIMENTS, SEEDS, st.data())
def test_of_what_is_left_only_the_wanted_cells_remain(experiment: Experiment, seed: int, data: st.DataObject) -> None:
    trials = plan.schedule(experiment, seed)
    finished = data.draw(st.sets(st.sampled_from(trials)))
    done = {(trial.block, trial.cell) for trial in finished}
    wanted = data.draw(st.frozensets(st.sampled_from(experiment.cells)))

    left = plan.remaining(trials, done, wanted)

    assert left == tuple(trial for trial in plan.remaining(trials, done) if trial.cell in wanted)
    assert plan.remaining(trials, done, experiment.cells) == plan.remaining(trials, done)


def test_what_was_done_but_is_not_planned_changes_nothing() -> None:
    trials = plan.schedule(EIGHT, seed=1)
    stranger: Cell = testing.cell("flask-single")

    assert plan.remaining(trials, {(0, stranger), (99, EIGHT.cells[0])}) == trials


def order_of_block(block: int, seed: int) -> list[int | None]:
    return [trial.cell.users for trial in plan.schedule(EIGHT, seed) if trial.block == block]


def test_the_cells_are_shuffled_differently_in_each_block_and_by_each_seed() -> None:
    orders = {tuple(order_of_block(block, seed)) for block in range(4) for seed in (1, 2)}

    assert len(orders) == 8


def test_the_order_of_a_seed_is_the_same_on_every_machine() -> None:
    """Recorded once: a run that is resumed elsewhere, or by a later version, must find the same order."""
    assert order_of_block(0, seed=1) == [2, 6, 5, 3, 8, 1, 4, 7]


THREE = [testing.cell(server, workload=workload) for workload in ("hello", "cpu") for server in ("one", "two", "three")]
TWO = [testing.cell(server, workload="db") for server in ("one", "two")]


def test_cells_under_the_same_conditions_follow_each_other_in_an_order_of_each_block() -> None:
    experiment = testing.experiment(*THREE, *TWO, blocks=20)
    orders = []
    for _, block in groupby(plan.schedule(experiment, seed=1), lambda trial: trial.block):
        groups = [
            (workload, [each.cell.server for each in trials])
            for workload, trials in groupby(block, lambda trial: trial.cell.workload)
        ]
        assert [len(servers) for _, servers in sorted(groups)] == [3, 2, 3]
        orders.append(dict(groups))

    assert {tuple(each) for each in orders} == set(permutations(("hello", "cpu", "db")))
    assert {tuple(each["cpu"]) for each in orders} == set(permutations(("one", "two", "three")))


@pytest.mark.parametrize("seed", [1, 2])
def test_of_two_alone_each_comes_first_in_turn(seed: int) -> None:
    experiment = testing.experiment(*THREE, *TWO)
    pair = {THREE[1], THREE[2]}
    trials = plan.passes(experiment, seed, 7, [pair] * 4, look=3)

    assert [(trial.block, trial.look) for trial in trials] == [(7 + number // 2, 3) for number in range(8)]
    first = [trial.cell for trial in trials[::2]]
    assert (first[0], first[1]) == (first[2], first[3])
    assert {first[0], first[1]} == pair


def test_blocks_of_some_cells_are_the_seeds_and_the_blocks_own() -> None:
    experiment = testing.experiment(*THREE, *TWO)
    whole = plan.passes(experiment, 1, 2, [experiment.cells] * 2, look=0)

    assert whole == plan.schedule(experiment, 1, range(2, 4))
    some = plan.passes(experiment, 1, 2, [TWO, THREE[:3]], look=2)
    assert {trial.cell for trial in some if trial.block == 2} == set(TWO)
    assert len({trial.position for trial in some}) == len(some)
    assert [trial.position for trial in some] == sorted(trial.position for trial in some)


# When the comparisons are looked at.


def test_with_a_budget_looks_are_after_so_many_quarters_of_it() -> None:
    assert plan.looks(testing.experiment(blocks=2, budget_s=60.0)) == (2, 3, 4)


def test_without_precision_there_is_one_look() -> None:
    assert plan.looks(testing.experiment(blocks=7)) == (7,)


@pytest.mark.parametrize(
    ("blocks", "most", "looks"),
    [
        (4, 50, (4, 6, 9, 14, 21, 32, 50)),
        (1, 6, (1, 2, 3, 6)),
        (10, 15, (10, 15)),
        (10, 11, (10, 11)),
        (10, 10, (10,)),
    ],
)
def test_with_precision_each_look_has_half_as_many_blocks_again(blocks: int, most: int, looks: tuple[int, ...]) -> None:
    assert plan.looks(testing.experiment(blocks=blocks, precision=0.03, max_blocks=most)) == looks


@given(st.integers(1, 1000), st.integers(0, 999))
def test_looks_go_from_the_first_blocks_to_the_most_and_always_on(blocks: int, more: int) -> None:
    looks = plan.looks(testing.experiment(blocks=blocks, precision=0.03, max_blocks=blocks + more))

    assert (looks[0], looks[-1]) == (blocks, blocks + more)
    longest = plan.GROWTH * plan.LAST_GROWTH
    assert all(earlier < later <= (earlier + 1) * longest + 1 for earlier, later in pairwise(looks))


def test_the_blocks_between_two_looks_make_the_whole_run() -> None:
    """As they are carried out: block after block, look after look."""
    sequential = replace(EIGHT, precision=0.03, max_blocks=20)
    looks = (0, *plan.looks(sequential))

    parts = [plan.schedule(sequential, 1, range(begin, end)) for begin, end in pairwise(looks)]

    assert tuple(trial for part in parts for trial in part) == plan.schedule(replace(EIGHT, blocks=20), 1)


# Blocks on several machines.

MACHINES = st.lists(st.sampled_from(["alpha", "gamma", "eta", "iota", "mu"]), min_size=1, unique=True)


@given(MACHINES, SEEDS, st.integers(0, 100))
def test_in_each_round_every_machine_takes_one_block(machines: list[str], seed: int, round_: int) -> None:
    blocks = range(round_ * len(machines), (round_ + 1) * len(machines))

    assert Counter(plan.machine_of(block, machines, seed) for block in blocks) == Counter(machines)


@given(MACHINES, SEEDS, st.integers(1, 50))
def test_whenever_a_run_ends_no_machine_had_two_blocks_more_than_another(
    machines: list[str], seed: int, blocks: int
) -> None:
    taken = Counter(plan.machine_of(block, machines, seed) for block in range(blocks))

    counts = [taken[machine] for machine in machines]
    assert max(counts) - min(counts) <= 1


def test_the_order_within_a_round_is_the_seeds_and_the_rounds_own() -> None:
    machines = ["alpha", "gamma", "eta"]

    def rounds(seed: int) -> list[tuple[str, ...]]:
        return [
            tuple(plan.machine_of(3 * round_ + place, machines, seed) for place in range(3)) for round_ in range(40)
        ]

    assert rounds(1) == rounds(1)
    assert rounds(1) != rounds(2)
    firsts = Counter(first for first, *_ in rounds(1))
    assert firsts.keys() == set(machines), "each comes first some time"
    assert len(set(rounds(1))) == 6, "in every order"


def test_who_takes_a_block_is_the_same_on_every_platform() -> None:
    """Of a run that is resumed elsewhere, or with another Python."""
    assert [plan.machine_of(block, ["alpha", "gamma"], 1) for block in range(8)] == [
        "alpha",
        "gamma",
        "gamma",
        "alpha",
        "gamma",
        "alpha",
        "gamma",
        "alpha",
    ]


# --- capacity

LIMIT = CapacityLimit(p95_ms=200)
CLOSED = [testing.cell(name, workload="hello") for name in ("one", "two")]
SOUGHT = testing.experiment(*CLOSED, blocks=1, window_s=1.0, budget_s=60, capacity=LIMIT)


@pytest.mark.parametrize(
    ("p95_ms", "rate", "window_s"), [(200, 1000, 8), (200, 20, 10), (200, 1, 30), (10, 1000, 2), (2000, 1, 80)]
)
def test_a_window_at_a_rate_has_two_hundred_requests_and_forty_times_the_limit_within_reason(
    p95_ms: float, rate: float, window_s: float
) -> None:
    experiment = replace(SOUGHT, capacity=CapacityLimit(p95_ms=p95_ms))
    assert plan.window_s(experiment, plan.at_rate(LIMIT, CLOSED[0], rate)) == window_s
    assert plan.window_s(experiment, CLOSED[0]) == 1


def test_a_block_of_rates_has_a_trial_for_each_and_each_is_known_by_its_closed_loop() -> None:
    first, second = plan.at_rates(SOUGHT, 1, 3, {CLOSED[0]: 40.0, CLOSED[1]: 80.0})
    assert {(each.block, each.cell.rate, each.cell.arrivals, each.cell.users) for each in (first, second)} == {
        (3, 40.0, "poisson", None),
        (3, 80.0, "poisson", None),
    }
    assert {first.position, second.position} == {6, 7}
    for each in (first, second):
        assert plan.closed_loop(SOUGHT, each.cell) == replace(each.cell, users=32, rate=None, arrivals=None)
        assert plan.closed_loop(SOUGHT, replace(each.cell, arrivals="constant")) is None
        assert plan.closed_loop(SOUGHT, replace(each.cell, workload="cpu")) is None
    assert plan.closed_loop(SOUGHT, CLOSED[1]) == CLOSED[1]


def test_a_window_under_a_quota_has_ten_of_its_periods_at_least() -> None:
    held = testing.cell(circumstances=Circumstances(quota=0.5))
    experiment = testing.experiment(held, testing.cell(), window_s=0.4)

    assert [plan.window_s(experiment, each) for each in experiment.cells] == [1.0, 0.4]
    assert plan.window_s(replace(experiment, window_s=3.0), held) == 3.0
