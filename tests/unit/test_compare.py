"""From observations to figures, reasons, warnings and ratios."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from wsgilab import stats, testing
from wsgilab.compare import compare
from wsgilab.model import Cell, CellFigures, CellResult, Comparison, InFlight, Observation, Server

ALIKE = InFlight(peak=1, mean=0.99, threads=1, requests_per_process=(6,))


def observed(
    of: Cell | None = None, *, blocks: int = 3, server_cpu_s: float | None = 0.0066, **swarm: Any
) -> list[Observation]:
    """The same observation in every block, its swarm's report with changes."""
    return [
        testing.observation(of, block=block, swarm=testing.swarm_report(**swarm), server_cpu_s=server_cpu_s)
        for block in range(blocks)
    ]


def failed(of: Cell | None = None, *, block: int, reason: str = "the server had ended") -> Observation:
    return testing.observation(of, block=block, status="failed", swarm=None, reason=reason)


def single(
    observations: Sequence[Observation], *, server: Server | None = None, cell: Cell | None = None, **run: Any
) -> CellResult:
    """The result of a run of one cell."""
    experiment = testing.experiment(cell or testing.cell())
    servers = [server] if server else []
    (result,) = compare(testing.run(experiment, *servers, **run), observations).cells
    return result


def figures(result: CellResult) -> CellFigures:
    assert result.figures is not None
    return result.figures


# Figures.


def test_figures_are_taken_over_the_blocks() -> None:
    blocks = [
        testing.observation(
            block=block,
            swarm=testing.swarm_report(
                throughput_rps=rps,
                service_ms=service_ms,
                generator_cpu=generator_cpu,
                failures=block,
                errors={"wrong": block} if block else {},
                cut_off=1,
                latency_histogram=testing.histogram(latency_ms),
                in_flight=InFlight(peak=peak, mean=mean, threads=threads, requests_per_process=(1,) * processes),
            ),
            server_cpu_s=cpu_s,
            resident_bytes=resident,
        )
        for block, (
            rps,
            service_ms,
            generator_cpu,
            latency_ms,
            peak,
            mean,
            threads,
            processes,
            cpu_s,
            resident,
        ) in enumerate(
            [
                (10.0, 40.0, 0.1, 100.0, 3, 2.0, 2, 1, 0.003, 5_000_000),
                (20.0, 50.0, 0.3, 200.0, 5, 3.0, 3, 2, 0.030, 9_000_000),
                (40.0, 90.0, 0.2, 300.0, 4, 2.5, 4, 2, 0.060, 7_000_000),
            ]
        )
    ]

    found = figures(single(blocks, server=testing.server(slots=8, processes=2)))

    assert found.peak == 5
    assert found.mean_in_flight == 2.5
    assert (found.processes, found.threads) == (2, 3)
    assert found.throughput_rps == stats.spread([10.0, 20.0, 40.0])
    assert found.latency_ms == stats.merged_latency_ms([testing.histogram(100.0, 200.0, 300.0)])
    assert found.service_ms == 50.0
    assert found.generator_cpu == 0.2
    assert found.server_cpu == pytest.approx(0.1)
    assert found.cpu_ms_per_request == pytest.approx(5.0)
    assert found.resident_mb == 9.0
    assert (found.failures, found.cut_off) == (3, 3)


def test_the_servers_share_is_of_all_its_cores() -> None:
    cell = testing.cell(cores=2)

    assert figures(single(observed(cell, server_cpu_s=0.3), cell=cell)).server_cpu == pytest.approx(0.5)


def test_a_server_whose_usage_was_not_read_has_no_cpu_figures() -> None:
    found = figures(single(observed(server_cpu_s=None)))

    assert (found.server_cpu, found.cpu_ms_per_request) == (None, None)


def test_the_limit_is_slots_over_service_time_where_that_is_lower() -> None:
    assert figures(single(observed(), server=testing.server(slots=4))).limit_rps == pytest.approx(80.0)


def test_the_limit_is_cores_over_cpu_time_where_that_is_lower() -> None:
    # 0.15 s of CPU time in 0.3 s, for 20 requests a second: 25 ms a request.
    cell = testing.cell(cores=2)
    found = figures(single(observed(cell, server_cpu_s=0.15), server=testing.server(slots=100), cell=cell))

    assert found.limit_rps == pytest.approx(2 / 0.025)


@pytest.mark.parametrize(("service_ms", "limit_rps"), [(0.5, 2000.0), (0.0, None)])
def test_slots_limit_nothing_where_requests_take_no_time(service_ms: float, limit_rps: float | None) -> None:
    assert figures(single(observed(server_cpu_s=None, service_ms=service_ms))).limit_rps == limit_rps


def test_there_is_no_limit_where_neither_slots_nor_cpu_time_are_known() -> None:
    assert figures(single(observed(server_cpu_s=None), server=testing.server(slots=None))).limit_rps is None


@pytest.mark.parametrize(
    ("processes", "requests", "share"),
    [(1, (6,), 1.0), (2, (3, 3), 1.0), (2, (6,), 2.0), (4, (6, 2), 3.0), (None, (3, 3), None), (2, (), None)],
)
def test_the_busiest_share_is_of_the_declared_processes(
    processes: int | None, requests: tuple[int, ...], share: float | None
) -> None:
    blocks = observed(in_flight=replace(ALIKE, requests_per_process=requests))

    assert figures(single(blocks, server=testing.server(processes=processes))).busiest_share == share


# What binds.


def bound(
    *,
    mean: float = 0.1,
    server_cpu_s: float = 0.003,
    generator_cpu: float = 0.02,
    requests: tuple[int, ...] = (6,),
    cores: int = 1,
    **server: Any,
) -> str:
    """What a cell of 32 users is bound by. Without changes, nothing explains it."""
    cell = testing.cell(cores=cores)
    blocks = observed(
        cell,
        server_cpu_s=server_cpu_s,
        generator_cpu=generator_cpu,
        in_flight=InFlight(peak=40, mean=mean, threads=1, requests_per_process=requests),
    )
    return figures(single(blocks, server=testing.server(**server), cell=cell)).bound_by


def test_nothing_that_applies_is_unexplained() -> None:
    assert bound() == "unexplained"


@pytest.mark.parametrize(("generator_cpu", "expected"), [(0.8, "generator"), (0.79, "unexplained")])
def test_a_generator_at_its_limit_binds(generator_cpu: float, expected: str) -> None:
    assert bound(generator_cpu=generator_cpu) == expected


@pytest.mark.parametrize(("server_cpu_s", "expected"), [(0.28, "cpu"), (0.26, "unexplained")])
def test_a_server_that_fills_its_cores_is_bound_by_them(server_cpu_s: float, expected: str) -> None:
    assert bound(server_cpu_s=server_cpu_s) == expected


@pytest.mark.parametrize(
    ("processes", "cores", "server_cpu_s", "expected"),
    [
        (1, 2, 0.29, "gil"),
        (2, 4, 0.58, "gil"),
        (1, 2, 0.26, "unexplained"),
        (2, 2, 0.29, "unexplained"),
        (None, 2, 0.29, "unexplained"),
    ],
)
def test_processes_that_fill_a_core_each_with_cores_left_over_are_bound_by_the_gil(
    processes: int | None, cores: int, server_cpu_s: float, expected: str
) -> None:
    requests = (3,) * (processes or 1)

    assert bound(processes=processes, cores=cores, server_cpu_s=server_cpu_s, requests=requests, slots=8) == expected


@pytest.mark.parametrize(("mean", "expected"), [(6.4, "slots"), (6.3, "unexplained")])
def test_a_server_that_fills_its_slots_is_bound_by_them(mean: float, expected: str) -> None:
    assert bound(mean=mean, slots=8) == expected


@pytest.mark.parametrize(
    ("slots", "mean", "expected"),
    [
        (None, 26.0, "demand"),
        (None, 25.0, "unexplained"),
        (64, 26.0, "demand"),
        (64, 25.0, "unexplained"),
        (32, 26.0, "slots"),
    ],
)
def test_a_server_that_holds_all_users_at_once_is_bound_by_demand(
    slots: int | None, mean: float, expected: str
) -> None:
    assert bound(slots=slots, mean=mean) == expected


@pytest.mark.parametrize(("requests", "expected"), [((5, 3), "balance"), ((49, 31), "unexplained"), ((6,), "balance")])
def test_a_server_with_one_process_busier_than_its_share_is_bound_by_balance(
    requests: tuple[int, ...], expected: str
) -> None:
    assert bound(requests=requests, slots=8, processes=2) == expected


def test_the_most_compelling_reason_is_the_one_that_is_given() -> None:
    everything: dict[str, Any] = {"mean": 8.0, "slots": 8, "processes": 2, "requests": (6,)}

    assert bound(**everything, generator_cpu=0.9, server_cpu_s=0.3) == "generator"
    assert bound(**everything, server_cpu_s=0.3) == "cpu"
    assert bound(**everything, server_cpu_s=0.6, cores=4) == "gil"
    assert bound(**everything) == "slots"
    assert bound(**{**everything, "mean": 4.0}) == "balance"


# Warnings.


def test_a_cell_in_order_has_no_warnings() -> None:
    result = single(observed())

    assert result.warnings == ()
    assert (result.blocks, result.slots) == (3, 1)


def warning(observations: Sequence[Observation], *, server: Server | None = None, **run: Any) -> str:
    (found,) = single(observations, server=server, **run).warnings
    return found


def test_failed_trials_are_told_with_the_first_line_of_the_last_reason() -> None:
    blocks = [*observed(blocks=1), failed(block=1, reason="no"), failed(block=2, reason="exited with 3\nlog line")]

    assert warning(blocks) == "2 of 3 trials failed: exited with 3"


def test_a_cell_that_failed_in_every_block_keeps_a_warning_and_no_figures() -> None:
    result = single([failed(block=block) for block in range(3)])

    assert result.figures is None
    assert result.blocks == 0
    assert result.warnings == ("3 of 3 trials failed: the server had ended",)


def test_a_failed_block_counts_for_no_figure() -> None:
    result = single([*observed(blocks=2), failed(block=2)])

    assert result.blocks == 2
    assert figures(result) == figures(single(observed(blocks=2)))


@pytest.mark.parametrize(("blocks", "missing"), [(2, 1), (0, 3)])
def test_blocks_that_were_not_run_are_told(blocks: int, missing: int) -> None:
    assert warning(observed(blocks=blocks)) == f"{missing} of 3 blocks were not run"


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ({"refused": 2}, "refused"),
        ({"timed out": 1, "refused": 1, "wrong body": 1}, "refused; timed out and others"),
        ({"x": 1, "refused": 1}, "refused; x"),
    ],
)
def test_failed_requests_are_told_with_what_they_were(errors: dict[str, int], told: str) -> None:
    assert warning(observed(failures=2, errors=errors)) == f"6 requests failed: {told}"


def test_requests_given_up_are_told() -> None:
    assert warning(observed(cut_off=2)).startswith("6 requests were given up unanswered")


def test_users_without_an_answer_are_told_by_the_worst_block() -> None:
    blocks = [*observed(blocks=2), testing.observation(block=2, swarm=testing.swarm_report(unanswered=5))]

    assert warning(blocks).startswith("up to 5 of 32 users had had no answer")


def test_a_busy_generator_is_told() -> None:
    assert warning(observed(generator_cpu=0.85)).startswith("the generator used 85% of its core")


def test_a_core_shared_with_the_generator_is_told() -> None:
    told = warning(observed(), server_cpus={1: "0-1"}, generator_cpus="1")

    assert told == "server and generator share a core: both are slower for it"


def test_more_requests_in_flight_than_slots_are_told() -> None:
    told = warning(observed(in_flight=replace(ALIKE, peak=3)), server=testing.server(slots=2))

    assert told == "3 requests in flight, but 2 slots declared: the declaration is wrong"


def test_more_processes_than_declared_are_told() -> None:
    told = warning(observed(in_flight=replace(ALIKE, requests_per_process=(3, 3))))

    assert told == "2 processes answered, but 1 are declared: the declaration is wrong"


def test_an_unbounded_server_is_never_above_its_declaration() -> None:
    blocks = observed(in_flight=replace(ALIKE, peak=99, requests_per_process=(1,) * 9))

    assert single(blocks, server=testing.server(slots=None, processes=None)).warnings == ()


def test_a_window_too_short_for_its_requests_is_told() -> None:
    told = warning(observed(service_ms=101.0))

    assert told == "a request takes 101 ms, the window 0.3 s: too short for a steady rate"


def test_a_window_of_three_service_times_is_long_enough() -> None:
    assert single(observed(service_ms=99.0)).warnings == ()


@pytest.mark.parametrize("latency_mean_ms", [1400.0, 1800.0])
def test_a_broken_law_of_little_is_told_on_either_side(latency_mean_ms: float) -> None:
    told = warning(observed(latency_mean_ms=latency_mean_ms))

    assert f"throughput x response time is {20 * latency_mean_ms / 1000:.1f}, not the 32 users" in told


@pytest.mark.parametrize("latency_mean_ms", [1450.0, 1750.0])
def test_a_law_of_little_within_its_tolerance_is_not_told(latency_mean_ms: float) -> None:
    assert single(observed(latency_mean_ms=latency_mean_ms)).warnings == ()


# Pairs.

ONE, TWO, THREE = (testing.cell(name) for name in ("one", "two", "three"))


def rates(of: Cell, by_block: dict[int, float]) -> list[Observation]:
    return [
        testing.observation(of, block=block, swarm=testing.swarm_report(throughput_rps=rps))
        for block, rps in by_block.items()
    ]


def compared(observations: Sequence[Observation], *cells: Cell) -> Comparison:
    return compare(testing.run(testing.experiment(*(cells or (ONE, TWO)), blocks=4)), observations)


def test_ratios_are_of_the_same_block() -> None:
    # The medians' ratio would be 2; the ratios are all 3 but for one.
    ours = {0: 30.0, 1: 60.0, 2: 90.0, 3: 40.0}
    theirs = {3: 20.0, 2: 30.0, 1: 20.0, 0: 10.0}

    (pair,) = compared(rates(TWO, ours) + rates(ONE, theirs)).pairs

    assert (pair.server, pair.reference) == ("two", "one")
    assert (pair.workload, pair.cores, pair.users, pair.connection) == ("sleep", 1, 32, "close")
    assert pair.ratio == stats.ratio([3.0, 3.0, 3.0, 2.0], comparisons=1)
    assert pair.verdict == "faster"


def test_a_block_missing_on_one_side_is_left_out() -> None:
    ours = {0: 20.0, 1: 999.0, 2: 40.0, 3: 60.0}
    theirs = {0: 10.0, 2: 10.0, 3: 10.0}

    (pair,) = compared([*rates(TWO, ours), *rates(ONE, theirs), failed(ONE, block=1)]).pairs

    assert pair.ratio == stats.ratio([2.0, 4.0, 6.0], comparisons=1)


def test_a_block_in_which_nothing_was_completed_is_left_out() -> None:
    nothing = testing.observation(TWO, block=3, swarm=testing.swarm_report(completed=0, throughput_rps=0.0))

    (pair,) = compared(
        [*rates(TWO, {0: 2.0, 1: 2.0, 2: 4.0}), nothing, *rates(ONE, dict.fromkeys(range(4), 1.0))]
    ).pairs

    assert pair.ratio == stats.ratio([2.0, 2.0, 4.0], comparisons=1)


def test_two_blocks_in_common_are_undecided() -> None:
    (pair,) = compared(rates(TWO, {0: 90.0, 1: 90.0, 2: 90.0}) + rates(ONE, {1: 1.0, 2: 1.0, 3: 1.0})).pairs

    assert (pair.ratio.median, pair.ratio.low, pair.verdict) == (90.0, None, "undecided")


def test_no_block_in_common_is_no_pair() -> None:
    assert compared(rates(TWO, {0: 2.0}) + rates(ONE, {1: 1.0})).pairs == ()


def test_intervals_hold_for_all_pairs_of_the_run_at_once() -> None:
    cells = (ONE, TWO, THREE)
    observations = [*rates(ONE, dict.fromkeys(range(3), 1.0)), *rates(TWO, {0: 2.0, 1: 3.0, 2: 4.0})]
    observations += rates(THREE, {0: 1.0, 1: 2.0, 2: 1.0})

    pairs = compared(observations, *cells).pairs

    assert [pair.server for pair in pairs] == ["two", "three"]
    assert pairs[0].ratio == stats.ratio([2.0, 3.0, 4.0], comparisons=2)


@pytest.mark.parametrize("change", [{"users": 8}, {"connection": "keep-alive"}, {"cores": 2}, {"workload": "hello"}])
def test_cells_under_other_conditions_are_no_pair(change: dict[str, Any]) -> None:
    other = replace(TWO, **change)
    observations = rates(ONE, dict.fromkeys(range(3), 1.0)) + rates(other, dict.fromkeys(range(3), 2.0))

    assert compared(observations, ONE, other).pairs == ()


# The whole.


def test_trials_are_counted_as_planned_measured_and_failed() -> None:
    comparison = compared([*rates(ONE, {0: 1.0, 1: 1.0}), failed(TWO, block=0)])

    assert (comparison.trials, comparison.measured, comparison.failed) == (8, 2, 1)


def test_cells_are_in_the_order_of_workload_cores_users_connection_and_server() -> None:
    cells = [
        testing.cell(server, workload=workload, cores=cores, users=users, connection=connection)
        for workload in ("sleep", "cpu")
        for cores in (1, 2)
        for users in (8, 32)
        for connection in ("close", "keep-alive")
        for server in ("one", "two")
    ]
    shuffled = [*cells[1::2], *cells[::2]]
    experiment = testing.experiment(*shuffled, parameters={"sleep": {"ms": 50.0}, "cpu": {"ms": 2.0}})
    servers = [testing.server("one"), testing.server("two")]

    assert [result.cell for result in compare(testing.run(experiment, *servers), []).cells] == cells


def test_a_failed_trial_without_a_reason_is_still_told() -> None:
    result = compare(testing.run(), [testing.observation(swarm=None, status="failed")]).cells[0]
    assert "1 of 1 trials failed: no reason recorded" in result.warnings


def test_a_window_whose_only_request_has_no_weight_has_no_cost_and_no_ratio() -> None:
    asked = testing.experiment(testing.cell(), testing.cell("gunicorn-gevent"))
    silent = testing.swarm_report(completed=1, throughput_rps=0.0)
    comparison = compare(
        testing.run(asked),
        [testing.observation(testing.cell()), testing.observation(testing.cell("gunicorn-gevent"), swarm=silent)],
    )
    figures = next(each.figures for each in comparison.cells if each.cell.server == "gunicorn-gevent")
    assert figures is not None
    assert figures.cpu_ms_per_request is None
    assert comparison.pairs == ()
