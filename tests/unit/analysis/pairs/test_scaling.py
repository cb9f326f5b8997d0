"""What more cores bring, and how the machine changed: from observations whose figures are known."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from wsgilab import testing
from wsgilab.analysis.compare import compare, so_far
from wsgilab.model import Cell, Comparison, Interval, Observation
from wsgilab.testing import observation, trial_report

ONE, TWO, FOUR = (testing.cell("gunicorn-sync-4", workload="cpu", cores=cores) for cores in (1, 2, 4))


def observed(blocks: Sequence[Mapping[Cell, float]]) -> list[Observation]:
    """One observation for each cell and its throughput, block by block."""
    return [
        observation(
            cell,
            block=block,
            position=block * 10 + place,
            # As long as 32 users wait at that rate, by Little's law.
            swarm=trial_report(throughput_rps=rps, latency_mean_ms=32_000 / rps),
        )
        for block, figures in enumerate(blocks)
        for place, (cell, rps) in enumerate(figures.items())
    ]


def compared(blocks: Sequence[Mapping[Cell, float]], *cells: Cell) -> Comparison:
    run = testing.run(testing.experiment(*cells, blocks=len(blocks)))
    return compare(run, observed(blocks))


def test_a_cell_is_held_against_itself_with_the_fewest_cores_block_by_block() -> None:
    # Each block twice as fast as the one before: only paired do the ratios stand out.
    blocks = [{ONE: 100.0 * 2**block, TWO: 190.0 * 2**block, FOUR: 350.0 * 2**block} for block in range(8)]

    found = compared(blocks, ONE, TWO, FOUR).scaling

    assert [(each.cell.cores, each.over_cores, each.blocks) for each in found] == [(2, 1, 8), (4, 1, 8)]
    assert [each.ratio.median for each in found] == pytest.approx([1.9, 3.5])
    assert found[0].ratio.low == found[0].ratio.high == pytest.approx(1.9)


def test_the_fewest_cores_need_not_be_one_and_conditions_are_not_mixed() -> None:
    alone = replace(ONE, connection="keep-alive")
    blocks = [{alone: 50.0, TWO: 200.0, FOUR: 300.0}] * 8

    (found,) = compared(blocks, alone, TWO, FOUR).scaling

    assert (found.cell, found.over_cores, found.ratio.median) == (FOUR, 2, 1.5)


def test_at_a_fixed_rate_nothing_scales() -> None:
    cells = [replace(cell, users=None, rate=10.0, arrivals="constant") for cell in (ONE, TWO)]

    assert compared([dict.fromkeys(cells, 10.0)] * 8, *cells).scaling == ()


def test_a_cell_with_a_broken_gate_is_no_yardstick() -> None:
    run = testing.run(testing.experiment(ONE, TWO, FOUR, blocks=8))
    observations = [
        replace(each, swarm=replace(each.swarm, generator_cpu=0.95)) if each.cell == ONE and each.swarm else each
        for each in observed([{ONE: 100.0, TWO: 200.0, FOUR: 300.0}] * 8)
    ]

    (found,) = compare(run, observations).scaling

    assert (found.cell, found.over_cores) == (FOUR, 2)


def test_few_blocks_have_a_ratio_but_no_interval() -> None:
    (found,) = compared([{ONE: 100.0, TWO: 150.0}] * 2, ONE, TWO).scaling

    assert found.ratio == Interval(median=1.5, low=None, high=None)


# --- drift


def test_a_block_is_held_against_the_medians_of_its_cells() -> None:
    other = testing.cell("gunicorn-gevent", workload="cpu")
    blocks = [{ONE: 100.0 * pace, other: 1000.0 * pace} for pace in (1.0, 1.0, 0.5)]

    found = compared(blocks, ONE, other).drift

    assert [(each.block, each.trials, each.throughput.median) for each in found] == [
        (0, 2, 1.0),
        (1, 2, 1.0),
        (2, 2, 0.5),
    ]


def test_a_blocks_cells_are_summed_up_by_median_and_quartiles() -> None:
    cells = [testing.cell(f"server-{number}", workload="cpu") for number in range(5)]
    paces = (0.8, 0.9, 1.0, 1.1, 1.6)
    steady = dict.fromkeys(cells, 100.0)
    blocks = [steady, steady, {cell: 100.0 * pace for cell, pace in zip(cells, paces, strict=True)}]

    last = compared(blocks, *cells).drift[2].throughput

    low, median, high = statistics.quantiles(paces, n=4, method="inclusive")
    assert [last.low, last.median, last.high] == pytest.approx([low, median, high])


def test_cpu_time_a_request_rises_where_the_same_work_takes_longer() -> None:
    run = testing.run(testing.experiment(ONE, blocks=3))
    observations = [
        replace(each, server_cpu_s=cpu_s, server_span_s=1.0)
        for each, cpu_s in zip(observed([{ONE: 100.0}] * 3), (0.5, 0.5, 0.75), strict=True)
    ]

    found = [each.cpu_time for each in compare(run, observations).drift]

    assert [each and each.median for each in found] == [1.0, 1.0, pytest.approx(1.5)]


def test_where_cpu_time_was_not_read_there_is_none() -> None:
    run = testing.run(testing.experiment(ONE, blocks=3))
    observations = [replace(each, server_cpu_s=None) for each in observed([{ONE: 100.0}] * 3)]

    assert [each.cpu_time for each in compare(run, observations).drift] == [None] * 3


def test_a_cell_of_one_block_and_a_failed_trial_say_nothing_of_drift() -> None:
    run = testing.run(testing.experiment(ONE, TWO, blocks=3))
    kept = observed([{ONE: 100.0}, {ONE: 100.0, TWO: 7.0}])
    failed = Observation(
        block=2, position=30, cell=ONE, started="2026-01-02T03:04:05+00:00", status="failed", reason="it ended"
    )

    found = compare(run, [*kept, failed]).drift

    assert [(each.block, each.throughput.median) for each in found] == [(0, 1.0), (1, 1.0)]


def test_a_run_that_is_under_way_tells_neither() -> None:
    run = testing.run(testing.experiment(ONE, TWO, blocks=8))
    found = so_far(run, observed([{ONE: 100.0, TWO: 150.0}] * 5))

    assert (found.scaling, found.drift, found.advice) == ((), (), ())
