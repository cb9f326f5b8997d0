"""From observations to figures, reasons, warnings and ratios."""

import json
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.unit.said import warned
from wsgilab import testing
from wsgilab.analysis import stats
from wsgilab.analysis.compare import compare, survey, unsettled
from wsgilab.analysis.pairs.ratios import Paired, level_at
from wsgilab.experiment import plan
from wsgilab.model import (
    Cell,
    CellFigures,
    CellResult,
    Circumstances,
    Comparison,
    Idle,
    IdleReport,
    InFlight,
    Interval,
    Observation,
    PairResult,
    PartTimes,
    Run,
    Server,
    Timeline,
)
from wsgilab.report import tables

ALIKE = InFlight(peak=1, mean=0.99, threads=1, requests_per_process=(6,))


def observed(
    of: Cell | None = None, *, blocks: int = 3, server_cpu_s: float | None = 0.0066, **swarm: Any
) -> list[Observation]:
    """The same observation in every block, its swarm's report with changes."""
    return [
        testing.observation(of, block=block, swarm=testing.trial_report(**swarm), server_cpu_s=server_cpu_s)
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


def near(found: Interval | None, median: float, low: float, high: float) -> bool:
    assert found is not None
    return bool([found.median, found.low, found.high] == pytest.approx([median, low, high]))


# Figures.


def test_figures_are_taken_over_the_blocks() -> None:
    blocks = [
        testing.observation(
            block=block,
            swarm=testing.trial_report(
                throughput_rps=rps,
                service_ms=service_ms,
                generator_cpu=generator_cpu,
                failures=block,
                errors={"wrong": block} if block else {},
                cut_off=1,
                late=2,
                latency_histogram=testing.histogram(latency_ms),
                latency_ms={"p50": latency_ms, "p95": latency_ms, "p99": latency_ms + 1, "max": latency_ms + 2},
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
    assert found.mean_in_flight == Interval(median=2.5, low=2.0, high=3.0)
    assert (found.processes, found.threads) == (2, 3)
    assert found.throughput_rps == Interval(median=20.0, low=10.0, high=40.0)
    assert found.latency_ms == stats.merged_latency_ms([testing.histogram(100.0, 200.0, 300.0)])
    assert found.latency_blocks_ms.keys() == {"p50", "p95", "p99", "max"}
    assert found.latency_blocks_ms["p99"] == Interval(median=201.0, low=101.0, high=301.0)
    assert found.service_ms == Interval(median=50.0, low=40.0, high=90.0)
    assert found.generator_cpu == Interval(median=0.2, low=0.1, high=0.3)
    assert near(found.server_cpu, 0.1, 0.01, 0.2)
    assert near(found.cpu_ms_per_request, 5.0, 1.0, 5.0)
    assert found.resident_mb == 9.0
    assert (found.failures, found.cut_off, found.late) == (3, 3, 6)


def test_the_parts_of_latencies_are_means_over_all_requests_and_medians_of_the_blocks_percentiles() -> None:
    """So that the means add up to the mean latency, whichever block had more requests."""

    def times(mean: float, p99: float) -> PartTimes:
        return PartTimes(mean=mean, p50=mean, p95=mean, p99=p99)

    blocks = [
        testing.observation(
            block=block,
            swarm=testing.trial_report(
                latency_histogram=testing.histogram(*[200.0] * requests),
                parts=replace(testing.latency_parts(connect=1.0, service=50.0, back=2.0), queue=times(queue, p99)),
            ),
        )
        for block, (requests, queue, p99) in enumerate([(10, 100.0, 900.0), (30, 300.0, 700.0), (60, 500.0, 800.0)])
    ]
    unmeasured = testing.observation(block=3, swarm=testing.trial_report(latency_histogram=testing.histogram(9.0)))

    found = figures(single([*blocks, unmeasured])).parts

    assert found is not None
    assert found.queue == PartTimes(mean=400.0, p50=300.0, p95=300.0, p99=800.0)
    assert (found.connect.mean, found.service.mean, found.back.mean) == (1.0, 50.0, 2.0)
    assert found.latency_mean == 453.0


def test_there_are_no_parts_where_none_were_measured() -> None:
    assert figures(single(observed())).parts is None
    nothing = testing.trial_report(latency_histogram=testing.histogram(), parts=testing.latency_parts())
    assert figures(single([testing.observation(swarm=nothing)])).parts is None


def test_the_servers_share_is_of_all_its_cores_and_unknown_where_it_was_not_read() -> None:
    cell = testing.cell(cores=2)
    unread = figures(single(observed(server_cpu_s=None)))

    assert near(figures(single(observed(cell, server_cpu_s=0.3), cell=cell)).server_cpu, 0.5, 0.5, 0.5)
    assert (unread.server_cpu, unread.cpu_ms_per_request) == (None, None)


def test_cpu_time_a_request_is_over_the_requests_that_left_between_its_readings() -> None:
    """Eight threads that answer in step: the readings hold one step more than the window does."""
    in_step = observed(server_cpu_s=0.32, throughput_rps=150.0, completed=24, read_completed=32, read_span_s=0.3)
    before = observed(server_cpu_s=0.32, throughput_rps=150.0, completed=24)

    assert near(figures(single(in_step)).cpu_ms_per_request, 10.0, 10.0, 10.0)
    assert near(figures(single(before)).cpu_ms_per_request, *[1000 * 0.32 / 0.3 / 150] * 3), "an earlier lab's"


def test_blocks_in_which_nothing_had_settled_take_no_latency_from_the_others() -> None:
    """A window may have answers, but none that counts for latency: those due in it came after it, for instance."""
    latencies = stats.merged_latency_ms([testing.histogram()])
    silent = testing.trial_report(latency_histogram=testing.histogram(), latency_ms=latencies, latency_mean_ms=0.0)
    for number in range(3):
        blocks = observed()
        blocks[number] = replace(blocks[number], swarm=silent)
        found = figures(single(blocks))

        assert found.latency_ms["p50"] == pytest.approx(1600.0, rel=1e-3)
        assert found.latency_blocks_ms["p50"].median == 1600.0


def test_one_block_has_figures_without_intervals_and_without_a_latency_the_others() -> None:
    one = figures(single(observed(blocks=1)))
    assert one.throughput_rps == Interval(median=20.0, low=None, high=None)
    assert one.latency_blocks_ms["p50"] == Interval(median=1600.0, low=None, high=None)
    latencies = stats.merged_latency_ms([testing.histogram()])
    found = figures(single(observed(latency_histogram=testing.histogram(), latency_ms=latencies, latency_mean_ms=0.0)))

    assert found.throughput_rps.median == 20.0
    assert (found.latency_ms, found.latency_blocks_ms) == ({}, {})


@pytest.mark.parametrize(
    ("observations", "server", "limit_rps", "share"),
    [
        (observed(), {"slots": 4}, 80.0, 0.25),
        # 0.15 s of CPU time in 0.3 s, for 20 requests a second: 25 ms a request.
        (observed(testing.cell(cores=2), server_cpu_s=0.15), {"slots": 100}, 2 / 0.025, 0.25),
        (observed(server_cpu_s=None), {}, 20.0, 1.0),
        (observed(server_cpu_s=None, throughput_rps=15.0), {}, 20.0, 0.75),
        (observed(server_cpu_s=None, service_ms=0.5), {}, 2000.0, 0.01),
        (observed(server_cpu_s=None, service_ms=0.0), {}, None, None),
        (observed(server_cpu_s=None), {"slots": None}, None, None),
    ],
)
def test_the_limit_is_what_slots_and_service_time_or_cores_and_cpu_time_allow(
    observations: list[Observation], server: dict[str, Any], limit_rps: float | None, share: float | None
) -> None:
    found = figures(single(observations, server=testing.server(**server), cell=observations[0].cell))

    assert found.limit_rps == (limit_rps and pytest.approx(limit_rps))
    assert found.limit_share == (share and pytest.approx(share))


@pytest.mark.parametrize(
    ("processes", "requests", "share"),
    [(1, (6,), 1.0), (2, (3, 3), 1.0), (2, (6,), 2.0), (4, (6, 2), 3.0), (None, (3, 3), None), (2, (), None)],
)
def test_the_busiest_share_is_of_the_declared_processes(
    processes: int | None, requests: tuple[int, ...], share: float | None
) -> None:
    blocks = observed(in_flight=replace(ALIKE, requests_per_process=requests))

    assert figures(single(blocks, server=testing.server(processes=processes))).busiest_share == share


@pytest.mark.parametrize(
    ("users", "completed", "busiest", "share"),
    [(32, 640, 20, 1.0), (32, 640, 320, 16.0), (32, 639, 320, None), (32, 640, None, None), (1, 640, 640, None)],
)
def test_the_busiest_users_share_is_over_an_even_one_where_users_had_some_answers_each(
    users: int, completed: int, busiest: int | None, share: float | None
) -> None:
    cell = testing.cell(users=users)
    blocks = observed(cell, completed=completed, busiest_user=busiest)

    assert figures(single(blocks, cell=cell)).busiest_user_share == share


@pytest.mark.parametrize(
    ("processes", "windows", "shares"),
    [
        (2, [(3, 1)], (0.75, 0.25)),
        (2, [(6, 2), (4, 4), (10,)], (0.75, 0.25)),  # the mean of 0.75, 0.5 and 1
        (4, [(6, 2)], (0.75, 0.25, 0.0, 0.0)),
        (2, [(), (4, 4)], (0.5, 0.5)),
        (2, [()], (0.0, 0.0)),
        (None, [(3, 3)], ()),
    ],
)
def test_the_share_of_each_process_is_the_mean_over_the_windows_idle_ones_included(
    processes: int | None, windows: list[tuple[int, ...]], shares: tuple[float, ...]
) -> None:
    blocks = [
        testing.observation(
            block=block,
            swarm=testing.trial_report(in_flight=replace(ALIKE, requests_per_process=requests)),
        )
        for block, requests in enumerate(windows)
    ]

    assert figures(single(blocks, server=testing.server(processes=processes))).process_shares == shares


def test_a_cell_has_the_timeline_of_its_first_block_that_has_one() -> None:
    first, second = (Timeline(span_us=span_us, stays=()) for span_us in (1, 2))
    blocks = [
        testing.observation(block=block, swarm=testing.trial_report(timeline=timeline))
        for block, timeline in enumerate((None, first, second))
    ]

    assert single(blocks).timeline == first


def test_the_backends_share_is_of_all_their_cores() -> None:
    blocks = [replace(each, backend_cpu_s=0.12 + each.block / 100) for each in observed()]

    found = figures(single(blocks, backend_cpus="1,3"))

    assert near(found.backend_cpu, 0.13 / 0.6, 0.12 / 0.6, 0.14 / 0.6)


@pytest.mark.parametrize(
    ("changes", "run"),
    [
        ({}, {"backend_cpus": "1"}),
        ({"backend_cpu_s": 0.1, "server_span_s": None}, {"backend_cpus": "1"}),
        ({"backend_cpu_s": 0.1}, {}),
    ],
)
def test_backends_that_were_not_read_have_no_share(changes: dict[str, Any], run: dict[str, Any]) -> None:
    assert figures(single([replace(each, **changes) for each in observed()], **run)).backend_cpu is None


def test_threads_as_the_operating_system_counts_them_are_the_median_of_the_blocks_that_told() -> None:
    counts = [3, 9, 4, None]
    blocks = [replace(each, os_threads=count) for each, count in zip(observed(blocks=4), counts, strict=True)]

    assert figures(single(blocks)).os_threads == 4
    assert figures(single(observed())).os_threads is None


def test_connections_are_counted_over_all_blocks_that_counted_them() -> None:
    blocks = observed(reopened=2, slow_connections=2)
    before = replace(blocks[0], swarm=testing.trial_report(reopened=None))

    assert (figures(single(blocks)).reopened, figures(single(blocks)).slow_connections) == (6, 6)
    assert figures(single([before, *blocks[1:]])).reopened == 4
    assert figures(single([before])).reopened is None


def test_what_was_recorded_before_there_were_backends_is_compared_all_the_same() -> None:
    run, blocks = testing.run(), observed()
    kept = json.loads(TypeAdapter(Run).dump_json(run))
    lines = [json.loads(TypeAdapter(Observation).dump_json(each)) for each in blocks]
    del kept["backend_cpus"]
    for line in lines:
        del line["os_threads"], line["backend_cpu_s"], line["swarm"]["slow_connections"], line["swarm"]["client_ms"]

    old = compare(
        TypeAdapter(Run).validate_python(kept), [TypeAdapter(Observation).validate_python(line) for line in lines]
    )

    assert old == compare(run, blocks)


def test_what_users_met_is_added_up_where_it_was_counted() -> None:
    silent = IdleReport(opened=6, refused=0, closed=2, held_s=2.0, longest_s=2.5, open=4.0)
    blocks = observed(reset=1, refused=2, abandoned=30, wasted_work=0.5, idle=silent, first_event_ms=7.0)
    patient = replace(silent, closed=0, held_s=None, longest_s=9.0)
    blocks[0] = replace(blocks[0], swarm=testing.trial_report(idle=patient))

    found = figures(single(blocks))

    assert (found.reset, found.refused, found.abandoned, found.idle_closed) == (2, 4, 60, 4)
    assert (found.idle_longest_s, found.event_gap_ms, found.pausing) == (9.0, None, None)
    for each, median in ((found.wasted_work, 0.5), (found.idle_held_s, 2.0), (found.first_event_ms, 7.0)):
        assert each is not None
        assert each.median == median


# What binds.


def reasons(
    *,
    mean: float = 0.1,
    server_cpu_s: float | None = 0.003,
    generator_cpu: float = 0.02,
    requests: tuple[int, ...] = (6,),
    cores: int = 1,
    due: int = 0,
    completed: int = 6,
    swarm: Mapping[str, Any] | None = None,
    **server: Any,
) -> CellFigures:
    """Of a cell of 32 users, or where so many requests were due. Without changes, nothing explains it."""
    load: dict[str, Any] = {"users": None, "rate": 200.0, "arrivals": "constant"} if due else {"users": 32}
    cell = testing.cell(cores=cores, **load)
    blocks = observed(
        cell,
        server_cpu_s=server_cpu_s,
        generator_cpu=generator_cpu,
        completed=completed,
        due=due,
        in_flight=InFlight(peak=math.ceil(mean), mean=mean, threads=1, requests_per_process=requests),
        **(swarm or {}),
    )
    return figures(single(blocks, server=testing.server(**server), cell=cell))


SILENT = {"idle": IdleReport(opened=3, refused=0, closed=0, held_s=None, longest_s=1.0, open=3.0)}
SILENT_LESS = {"idle": replace(SILENT["idle"], open=2.9)}


def bound(**changes: Any) -> str:
    return reasons(**changes).bound_by


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "unexplained"),
        ({"generator_cpu": 0.8}, "generator"),
        ({"generator_cpu": 0.79}, "unexplained"),
        ({"server_cpu_s": 0.28}, "cpu"),
        ({"server_cpu_s": 0.26}, "unexplained"),
        ({"mean": 6.4, "slots": 8}, "slots"),
        ({"mean": 6.3, "slots": 8}, "unexplained"),
        # All users at once in the application.
        ({"mean": 26.0, "slots": None}, "demand"),
        ({"mean": 25.0, "slots": None}, "unexplained"),
        ({"mean": 26.0, "slots": 64}, "demand"),
        ({"mean": 25.0, "slots": 64}, "unexplained"),
        ({"mean": 26.0, "slots": 32}, "slots"),
        # A rate that is kept up with, and one that is not.
        ({"due": 200, "completed": 200, "slots": 8}, "demand"),
        ({"due": 200, "completed": 190, "slots": 8}, "demand"),
        ({"due": 200, "completed": 189, "slots": 8}, "unexplained"),
        ({"due": 200, "completed": 100, "slots": 8, "mean": 6.4}, "slots"),
        ({"due": 200, "completed": 100, "slots": 8, "mean": 6.3}, "unexplained"),
        ({"due": 200, "completed": 100, "slots": None, "mean": 99.0}, "unexplained"),
        # One process busier than its share, and by chance.
        ({"requests": (500, 300), "slots": 8, "processes": 2}, "balance"),
        ({"requests": (490, 310), "slots": 8, "processes": 2}, "unexplained"),
        ({"requests": (60,), "slots": 8, "processes": 2}, "balance"),
        ({"requests": (9, 7, 6, 4), "slots": 8, "processes": 4}, "unexplained"),
        ({"requests": (5, 3), "slots": 8, "processes": 2}, "unexplained"),
        ({"requests": (3,), "slots": 8, "processes": 2}, "unexplained"),
        # Slots that silent connections hold; where there is no end of slots, they hold none.
        ({"mean": 3.4, "slots": 8, "swarm": SILENT}, "slots"),
        ({"mean": 3.3, "slots": 8, "swarm": SILENT_LESS}, "unexplained"),
        ({"mean": 3.4, "slots": None, "swarm": SILENT}, "unexplained"),
        # Users who pause.
        ({"mean": 2.0, "slots": 8, "swarm": {"pausing": 24.0, "latency_mean_ms": 400.0}}, "demand"),
        ({"mean": 2.0, "slots": 8, "swarm": {"pausing": 23.0, "latency_mean_ms": 450.0}}, "unexplained"),
    ],
)
def test_what_binds_is_found_from_its_limit_on(changes: dict[str, Any], expected: str) -> None:
    assert bound(**changes) == expected


@pytest.mark.parametrize(
    ("processes", "cores", "server_cpu_s", "expected"),
    [
        (1, 2, 0.29, "gil"),
        (2, 4, 0.58, "gil"),
        (2, 4, 0.5, "unexplained"),
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


@pytest.mark.parametrize(
    ("gil", "expected"), [({"gunicorn-sync-1": True}, "gil"), ({"gunicorn-sync-1": False}, "unexplained")]
)
def test_a_server_whose_gil_is_off_is_never_bound_by_it(gil: dict[str, bool], expected: str) -> None:
    cell, server = testing.cell(cores=2), testing.server(slots=8)
    blocks = observed(cell, server_cpu_s=0.29, in_flight=replace(ALIKE, peak=3, mean=0.1))

    assert figures(single(blocks, server=server, cell=cell, gil=gil)).bound_by == expected


@pytest.mark.parametrize(
    ("queue_ms", "mean", "told"),
    [
        (400.0, 6.3, ", and requests queued for 400 ms on average while slots were free"),
        (5.7, 6.3, ", and requests queued for 5.70 ms on average while slots were free"),
        # A tenth of the latency is too little to speak of.
        (5.6, 6.3, ""),
        (None, 6.3, ""),
    ],
)
def test_balance_says_how_long_requests_queue_while_slots_are_free(
    queue_ms: float | None, mean: float, told: str
) -> None:
    parts = None if queue_ms is None else testing.latency_parts(queue=queue_ms)
    of = InFlight(peak=8, mean=mean, threads=1, requests_per_process=(500, 300))
    result = single(observed(in_flight=of, parts=parts), server=testing.server(slots=8, processes=2))

    found = figures(result)

    assert found.bound_by == "balance"
    assert found.because.endswith(f"times its even share{told}")


def test_servers_whose_requests_go_to_any_process_alike_are_never_bound_by_balance() -> None:
    """26 requests over 4 processes give the busiest 1.38 times its even share at the median, by chance alone."""
    source = random.Random(4)
    told, shares = set(), []
    for _ in range(60):
        taken = [source.choices(range(4), k=26) for _ in range(6)]
        windows = [sorted((each.count(process) for process in range(4)), reverse=True) for each in taken]
        shares += [each[0] / 26 * 4 for each in windows]
        blocks = [
            testing.observation(
                block=block,
                swarm=testing.trial_report(
                    in_flight=InFlight(peak=4, mean=2.0, threads=1, requests_per_process=tuple(each))
                ),
            )
            for block, each in enumerate(windows)
        ]
        told.add(figures(single(blocks, server=testing.server(slots=8, processes=4))).bound_by)

    assert statistics.median(shares) == pytest.approx(1.38, abs=0.01)
    assert told == {"unexplained"}


BROKEN_BEFORE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "failures": ({"failures": 259, "errors": {"500": 259}}, {}, "777 requests failed: 500"),
    "cut-off": ({"cut_off": 9}, {}, "27 requests given up unanswered; requests in flight may be undercounted"),
    "little": ({"latency_mean_ms": 99.0}, {}, "throughput x response time is 2.0, not the 32 users"),
    "declaration": ({}, {"slots": 3}, "4 requests in flight, but 3 slots declared: the declaration is wrong"),
}


@pytest.mark.parametrize("expected", sorted(BROKEN_BEFORE))
@pytest.mark.parametrize("requests", [(60,), (30, 30)])
def test_where_a_broken_gate_spoils_the_reason_it_is_told_what_broke(expected: str, requests: tuple[int, ...]) -> None:
    swarm, server, because = BROKEN_BEFORE[expected]
    blocks = observed(in_flight=InFlight(peak=4, mean=1.0, threads=1, requests_per_process=requests), **swarm)

    found = figures(single(blocks, server=testing.server(**{"slots": 8, "processes": 2, **server})))

    assert found.bound_by == expected
    assert found.because.startswith(because)


@pytest.mark.parametrize(("failures", "expected"), [(6, "cpu"), (7, "failures")])
def test_full_cores_are_no_reason_once_most_requests_came_to_nothing(failures: int, expected: str) -> None:
    blocks = observed(server_cpu_s=0.29, completed=6, failures=failures, errors={"500": failures})

    assert figures(single(blocks)).bound_by == expected


def test_more_processes_than_declared_leave_no_gil_to_tell_of() -> None:
    blocks = observed(
        testing.cell(cores=4), server_cpu_s=0.58, in_flight=replace(ALIKE, requests_per_process=(3, 2, 1))
    )

    found = figures(single(blocks, cell=testing.cell(cores=4), server=testing.server(processes=2)))

    assert (found.bound_by, found.because) == (
        "declaration",
        "3 processes answered, but 2 are declared: the declaration is wrong",
    )


def test_a_busy_generator_is_the_reason_whatever_else_broke() -> None:
    assert figures(single(observed(generator_cpu=0.9, failures=99, errors={"500": 99}))).bound_by == "generator"


IDLE = "0.1 requests were in flight on average, with 8 slots and 32 users"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"generator_cpu": 0.85}, "the generator used 85% of its core"),
        ({"server_cpu_s": 0.282}, "it used 94% of its core"),
        ({"server_cpu_s": 0.564, "cores": 2, "processes": 2}, "it used 94% of its 2 cores"),
        ({"server_cpu_s": 0.582, "cores": 4, "processes": 2}, "2 process(es) used 1.94 of 4 cores"),
        ({"due": 200, "completed": 199}, "it answered 597 requests of 600 that were due"),
        ({"mean": 7.84, "slots": 8}, "7.8 requests were in flight on average, with 8 slots and 32 users"),
        (
            {"mean": 31.0, "slots": None},
            "31.0 requests were in flight on average, with unbounded slots and 32 users",
        ),
        (
            {"mean": 7.0, "slots": 8, "due": 200, "completed": 100},
            "7.0 requests were in flight on average, with 8 slots and an open load",
        ),
        (
            {"slots": 8, "processes": 2, "requests": (50, 10)},
            f"{IDLE}; the busiest process had 1.67 times its even share",
        ),
        (
            {"slots": 8, "server_cpu_s": 0.06, "generator_cpu": 0.12},
            f"{IDLE}; it used 20% of its core, and the generator 12% of its core",
        ),
        (
            {"slots": 8, "server_cpu_s": None},
            f"{IDLE}; its CPU use is unknown, and the generator 2% of its core",
        ),
    ],
)
def test_a_reason_is_told_with_the_figures_that_decided_it(changes: dict[str, Any], told: str) -> None:
    assert reasons(**changes).because == told


def test_the_most_compelling_reason_is_the_one_that_is_given() -> None:
    everything: dict[str, Any] = {"mean": 8.0, "slots": 8, "processes": 2, "requests": (60,)}

    assert bound(**everything, generator_cpu=0.9, server_cpu_s=0.3) == "generator"
    assert bound(**everything, server_cpu_s=0.3) == "cpu"
    assert bound(**everything, server_cpu_s=0.6, cores=4) == "gil"
    assert bound(**everything) == "slots"
    assert bound(**{**everything, "mean": 4.0}) == "balance"
    assert bound(**everything, generator_cpu=0.9, due=6) == "generator"
    assert bound(**everything, server_cpu_s=0.3, due=6) == "cpu"
    assert bound(**everything, due=6) == "demand"


def waiting(
    *, backend: float, generator: float = 0.1, backend_cpus: str = "2", cell: Cell | None = None, **changes: Any
) -> CellResult:
    """A cell whose backends used such a share of their core, and the generator of its own, core 1."""
    plain: dict[str, Any] = {"in_flight": replace(ALIKE, peak=3, mean=0.1), "completed": 100, **changes}
    blocks = observed(cell, generator_cpu=generator, **plain)
    return single(
        [replace(each, backend_cpu_s=0.3 * backend) for each in blocks],
        server=testing.server(slots=8),
        cell=cell,
        backend_cpus=backend_cpus,
    )


@pytest.mark.parametrize(("backend", "expected"), [(0.91, "backend"), (0.89, "unexplained")])
def test_backends_that_fill_their_own_cores_bind(backend: float, expected: str) -> None:
    result = waiting(backend=backend)

    assert figures(result).bound_by == expected
    assert result.broken_gates == ()


@pytest.mark.parametrize(
    ("backend", "generator", "expected"),
    [(0.5, 0.31, "generator"), (0.5, 0.29, "unexplained"), (0.95, 0.1, "generator")],
)
def test_backends_that_share_the_generators_core_fill_it_together(
    backend: float, generator: float, expected: str
) -> None:
    result = waiting(backend=backend, generator=generator, backend_cpus="1")

    assert figures(result).bound_by == expected
    assert result.broken_gates == (("generator",) if expected == "generator" else ())


def test_backends_are_named_with_their_cores_and_with_whom_they_share_them() -> None:
    result = waiting(backend=0.5, generator=0.43, backend_cpus="1")

    assert figures(waiting(backend=0.95)).because == "the backends used 95% of core 2"
    assert figures(waiting(backend=1.9, backend_cpus="2-3")).because == "the backends used 95% of cores 2-3"
    assert figures(result).because == "the generator and the backends used 93% of core 1"
    assert warned(result) == ("the generator and the backends used 93% of core 1: they may be what is measured",)
    assert figures(waiting(backend=0.5, generator=0.1, backend_cpus="1")).because.endswith(
        "it used 2% of its core, and the generator and the backends 60% of core 1"
    )
    assert warned(waiting(backend=0.5, backend_cpus="0")) == (
        "server and backends share a core: both are slower for it",
    )
    unused = figures(single(observed(generator_cpu=0.5), backend_cpus="1"))
    assert (unused.bound_by, unused.backend_cpu) == ("slots", None)


def test_what_is_more_compelling_than_backends_goes_before_them() -> None:
    full = [replace(each, backend_cpu_s=0.3) for each in observed(server_cpu_s=0.3)]
    slots = [replace(each, backend_cpu_s=0.3) for each in observed()]
    kept_up = at_rate()

    assert figures(single(full, backend_cpus="2")).bound_by == "cpu"
    assert figures(single(slots, backend_cpus="2")).bound_by == "backend", "full slots are what it leads to"
    assert figures(waiting(backend=0.95, generator=0.9)).bound_by == "generator"
    assert figures(waiting(backend=0.95, cell=kept_up, due=100)).bound_by == "backend"
    assert figures(waiting(backend=0.5, cell=kept_up, due=100)).bound_by == "demand"


def slow_clients(
    held: float, *, slots: int | None = 4, users: int | None = 32, mean: float = 0.5, reading: float = 1.0
) -> CellFigures:
    """So many requests held, by Little's law, of which `mean` are in the application: 200 ms of a client, each.

    `reading` is the share of these that it reads.
    """
    load: dict[str, Any] = {"users": users} if users else {"users": None, "rate": 200.0, "arrivals": "constant"}
    cell = testing.cell(**load)
    blocks = observed(
        cell,
        client_ms=200.0,
        reading_ms=200.0 * reading,
        throughput_rps=(held - mean) / 0.2,
        # By Little's law, so that no gate is broken.
        latency_mean_ms=(users or 1) / (held - mean) * 200,
        due=0 if users else 1000,
        in_flight=replace(ALIKE, mean=mean),
    )
    return figures(single(blocks, server=testing.server(slots=slots), cell=cell))


@pytest.mark.parametrize(
    ("held", "more", "expected"),
    [
        (3.19, {}, "unexplained"),
        (3.21, {}, "slots"),
        (4.0, {}, "slots"),
        (4.39, {}, "slots"),
        (4.41, {}, "unexplained"),
        (8.2, {"reading": 0.5}, "slots"),
        (8.4, {"reading": 0.5}, "unexplained"),
        (8.2, {"reading": 0.6}, "unexplained"),
        (25.7, {"reading": 0.1}, "demand"),
        (25.5, {}, "unexplained"),
        (25.7, {}, "demand"),
        (32.0, {}, "demand"),
        (32.0, {"slots": None}, "demand"),
        (4.0, {"users": 3}, "demand"),
        (4.0, {"users": 5}, "demand"),
        (3.21, {"users": 5}, "slots"),
        (4.0, {"users": None}, "slots"),
        (25.7, {"users": None}, "unexplained"),
    ],
)
def test_slots_that_slow_clients_hold_are_what_binds(held: float, more: dict[str, Any], expected: str) -> None:
    assert slow_clients(held, **more).bound_by == expected


def test_what_slow_clients_hold_is_told() -> None:
    assert slow_clients(4.0).because == (
        "0.5 requests were in flight on average, and 4 slots were held by 3.5 clients that read slowly and up to 0.0 "
        "that sent slowly"
    )
    assert "and 1 slot was held by" in slow_clients(1.0, slots=1).because
    assert slow_clients(32.0, slots=None).because == (
        "0.5 requests were in flight on average, and 31.5 of 32 users sent or read slowly"
    )
    assert slow_clients(4.5, mean=3.5).because == "3.5 requests were in flight on average, with 4 slots and 32 users"


# Warnings.


def test_a_cell_in_order_has_no_warnings() -> None:
    result = single(observed())

    assert warned(result) == ()
    assert result.broken_gates == ()
    assert (result.blocks, result.slots) == (3, 1)


def test_what_was_started_again_is_told_with_how_often() -> None:
    blocks = [
        replace(each, restarted=names)
        for each, names in zip(observed(), [(), ("one",), ("one", "postgres")], strict=True)
    ]

    assert [told for told in warned(single(blocks)) if "again" in told] == [
        "one had ended and was started again before 2 of 3 trials",
        "postgres had ended and was started again before 1 of 3 trials",
    ]
    assert figures(single(blocks)) == figures(single(observed())), "they are measured all the same"


def test_a_cell_that_failed_in_every_block_keeps_a_warning_and_no_figures() -> None:
    result = single([failed(block=block) for block in range(3)])

    assert result.figures is None
    assert (result.blocks, result.broken_gates) == (0, ())
    assert warned(result) == ("3 of 3 trials failed: the server had ended",)
    partly = single([*observed(blocks=2), failed(block=2)])
    assert (partly.blocks, figures(partly)) == (2, figures(single(observed(blocks=2)))), "it counts for no figure"


LITTLE = "throughput x response time is {:.1f}, not the 32 users: the window was no steady state"


@pytest.mark.parametrize(
    ("observations", "server", "expected"),
    [
        (
            [*observed(blocks=1), failed(block=1, reason="no"), failed(block=2, reason="exited with 3\nlog line")],
            {},
            "2 of 3 trials failed: exited with 3",
        ),
        ([failed(block=block, reason="") for block in range(3)], {}, "3 of 3 trials failed: no reason recorded"),
        (observed(blocks=2), {}, "1 of 3 blocks were not run"),
        ([], {}, "3 of 3 blocks were not run"),
        (observed(failures=2, errors={"refused": 2}), {}, "6 requests failed: refused"),
        (
            observed(failures=2, errors={"timed out": 1, "refused": 1, "wrong body": 1}),
            {},
            "6 requests failed: refused; timed out and others",
        ),
        (observed(failures=2, errors={"x": 1, "refused": 1}), {}, "6 requests failed: refused; x"),
        (observed(cut_off=2), {}, "6 requests given up unanswered; requests in flight may be undercounted"),
        (
            [*observed(blocks=2), testing.observation(block=2, swarm=testing.trial_report(unanswered=5))],
            {},
            "up to 5 of 32 users had no answer within the window; latencies may be too low",
        ),
        (observed(generator_cpu=0.85), {}, "the generator used 85% of its core: it may be what is measured"),
        (
            observed(in_flight=replace(ALIKE, peak=3)),
            {"slots": 2},
            "3 requests in flight, but 2 slots declared: the declaration is wrong",
        ),
        (
            observed(in_flight=replace(ALIKE, peak=3)),
            {"slots": 1, "model": "event-loop"},
            (
                "3 requests in flight, but 1 slot declared: between the pieces of a body an event loop goes on with other requests; "
                "where no body comes in pieces, the declaration is wrong"
            ),
        ),
        (
            observed(in_flight=replace(ALIKE, requests_per_process=(3, 3))),
            {},
            "2 processes answered, but 1 is declared: the declaration is wrong",
        ),
        (observed(service_ms=101.0), {}, "a request takes 101 ms, the window 0.3 s: too short for a steady rate"),
        (observed(latency_mean_ms=1400.0), {}, LITTLE.format(28)),
        (observed(latency_mean_ms=1800.0), {}, LITTLE.format(36)),
        (observed(blocks=3, slow_connections=1), {}, "3 connections took 0.9 s or more to open: the backlog was full"),
        (
            observed(reset=1),
            {},
            "3 requests were lost with a kept connection that the server closed, and sent again if it had not read them; 18 were answered in the windows",
        ),
        (
            observed(reset=3, reopened=2),
            {},
            "9 requests were lost with a kept connection that the server closed, and sent again if it had not read them; 18 were answered in the windows",
        ),
        (observed(refused=1), {}, "3 connections were refused: nobody listened, or the backlog was full"),
        (observed(reset=0, refused=0), {}, None),
        (observed(reopened=1), {}, "3 kept connections were closed by the server unannounced, and opened anew"),
        (
            observed(completed=640, busiest_user=40),
            {},
            (
                "users were served unevenly: the busiest of 32 had 2.0 times an even share of the answers, while others waited as "
                "long as p99 says"
            ),
        ),
        (observed(completed=640, busiest_user=39), {}, None),
        (observed(reopened=0), {}, None),
        (observed(service_ms=99.0), {}, None),
        (observed(latency_mean_ms=1450.0), {}, None),
        (observed(latency_mean_ms=1750.0), {}, None),
        (
            observed(in_flight=replace(ALIKE, peak=99, requests_per_process=(1,) * 9)),
            {"slots": None, "processes": None},
            None,
        ),
    ],
)
def test_a_warning_says_what_a_reader_must_know(
    observations: list[Observation], server: dict[str, Any], expected: str | None
) -> None:
    found = warned(single(observations, server=testing.server(**server) if server else None))

    assert found == (() if expected is None else (expected,))


def test_a_core_shared_with_the_generator_is_warned_about() -> None:
    (found,) = warned(single(observed(), server_cpus={1: "0-1"}, generator_cpus="1"))

    assert found == "server and generator share a core: both are slower for it"


# Loads at a fixed rate.


def at_rate(server: str = "gunicorn-sync-1", rate: float = 20.0) -> Cell:
    return testing.cell(server, users=None, rate=rate, arrivals="constant")


def of_rate(**swarm: Any) -> CellResult:
    """The result of 20 requests a second on schedule."""
    cell = at_rate()
    return single(observed(cell, **swarm), cell=cell)


@pytest.mark.parametrize("latency_mean_ms", [50.0, 1e6])
def test_a_schedule_has_no_number_of_users_that_the_law_of_little_could_give(latency_mean_ms: float) -> None:
    assert warned(of_rate(latency_mean_ms=latency_mean_ms)) == ()


@pytest.mark.parametrize(("completed", "keeps_up"), [(19, True), (18, False)])
def test_a_server_that_does_not_keep_up_with_its_rate_is_told(completed: int, keeps_up: bool) -> None:
    result = of_rate(completed=completed, due=20)

    told = (
        "54 requests answered of 60 that were due: it does not keep up, "
        "and its latencies grow for as long as the window lasts"
    )
    assert warned(result) == (() if keeps_up else (told,))
    assert result.broken_gates == (), "that it is slow is what the comparison is to say"


@pytest.mark.parametrize(
    ("swarm", "expected"),
    [
        # What counts is what was due, not what would be due on average.
        ({"completed": 2, "due": 2, "throughput_rps": 7.0}, ()),
        ({"late": 1}, ("3 requests begun late: the generator could not keep to its schedule",)),
        ({"cut_off": 1}, ("3 requests given up unanswered; latencies may be higher",)),
    ],
)
def test_a_schedule_has_warnings_of_its_own(swarm: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert warned(of_rate(**swarm)) == expected


def test_one_request_is_told_as_one() -> None:
    cell = at_rate()
    counts: dict[str, Any] = {"late": 1, "cut_off": 1, "failures": 1, "slow_connections": 1, "reopened": 1}
    result = single(observed(cell, blocks=1, completed=1000, **counts), cell=cell)

    assert [each.partition(":")[0].partition(";")[0] for each in warned(result)[1:]] == [
        "1 request failed",
        "1 request given up unanswered",
        "1 request begun late",
        "1 connection took 0.9 s or more to open",
        "1 kept connection was closed by the server unannounced, and opened anew",
    ]
    assert result.broken_gates == ()


@pytest.mark.parametrize(
    ("changes", "kind", "amount"),
    [
        ({"failures": 2, "errors": {"refused": 2}}, "failures", 6),
        ({"cut_off": 1}, "cut-off", 3),
        ({"late": 1}, "late", 3),
        ({"unanswered": 5}, "unanswered", 5),
        ({"slow_connections": 2}, "slow-connections", 6),
        ({"reset": 2}, "reset", 6),
        ({"refused": 2}, "refused", 6),
        ({"reopened": 1}, "reopened", 3),
        ({"generator_cpu": 0.9}, "generator", 0.9),
        ({"in_flight": replace(ALIKE, peak=7)}, "slots", 7),
        ({"in_flight": replace(ALIKE, requests_per_process=(3, 3))}, "processes", 2),
        ({"service_ms": 101.0}, "short-window", 101.0),
        ({"latency_mean_ms": 2400.0}, "little", 0.5),
    ],
)
def test_a_warning_has_its_kind_and_how_much_there_was_of_it(changes: dict[str, Any], kind: str, amount: float) -> None:
    (found,) = single(observed(**changes)).warnings

    assert found.kind == kind
    assert found.amount == pytest.approx(amount)


# Gates.


def gates_of(result: CellResult) -> tuple[tuple[str, ...], int]:
    return result.broken_gates, len(result.warnings)


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"generator_cpu": 0.8}, "generator"),
        ({"latency_mean_ms": 1900.0}, "little"),
        ({"in_flight": replace(ALIKE, peak=2)}, "slots"),
        ({"in_flight": replace(ALIKE, requests_per_process=(3, 3))}, "processes"),
        ({"failures": 1, "errors": {"refused": 1}}, "failures"),
        ({"cut_off": 1}, "cut-off"),
        ({"late": 1}, "late"),
        ({"unanswered": 5}, None),
        ({"service_ms": 101.0}, None),
        ({"slow_connections": 1}, None),
        ({"reopened": 1}, None),
    ],
)
def test_each_gate_is_broken_by_itself_and_other_warnings_break_none(changes: dict[str, Any], gate: str | None) -> None:
    assert gates_of(single(observed(**changes))) == ((gate,) if gate else (), 1)


def test_several_broken_gates_are_all_named_once() -> None:
    result = single(observed(generator_cpu=0.9, latency_mean_ms=1900.0, failures=1, cut_off=1, late=1))

    assert result.broken_gates == ("failures", "cut-off", "late", "generator", "little")
    assert len(result.warnings) == 5


@pytest.mark.parametrize(("kind", "gate"), [("failures", "failures"), ("cut_off", "cut-off"), ("late", "late")])
@pytest.mark.parametrize(("count", "broken"), [(1, False), (2, True)])
def test_one_request_in_a_hundred_breaks_no_gate_but_is_told(kind: str, gate: str, count: int, broken: bool) -> None:
    # Late requests are among those that completed; the others are not.
    completed = 100 if kind == "late" else 100 - count

    counts: dict[str, Any] = {kind: count}

    result = single(observed(completed=completed, **counts))

    assert gates_of(result) == ((gate,) if broken else (), 1)


# Pairs.

ONE, TWO, THREE, FOUR = (testing.cell(name) for name in ("one", "two", "three", "four"))
BLOCKS = 7
"""Of most runs here."""


def rates(of: Cell, by_block: Mapping[int, float], **swarm: Any) -> list[Observation]:
    """So many requests a second in each block, and latencies to match."""
    return [
        testing.observation(
            of,
            block=block,
            swarm=testing.trial_report(**{"throughput_rps": rps, "latency_mean_ms": 32_000 / rps, **swarm}),
        )
        for block, rps in by_block.items()
    ]


def steady(of: Cell, rps: float, blocks: int = BLOCKS, **swarm: Any) -> list[Observation]:
    """About so many requests a second in every block: each by a tenth of a percent more than the one before."""
    return rates(of, {block: rps * (1 + block / 1000) for block in range(blocks)}, **swarm)


def compared(observations: Sequence[Observation], *cells: Cell, **changes: Any) -> Comparison:
    experiment = testing.experiment(*(cells or (ONE, TWO)), **{"blocks": BLOCKS, **changes})
    return compare(testing.run(experiment), observations)


def only_pair(observations: Sequence[Observation], *cells: Cell, **changes: Any) -> PairResult:
    (pair,) = compared(observations, *cells, **changes).pairs
    return pair


def test_ratios_are_of_the_same_block() -> None:
    # The medians' ratio would be 2; the ratios are all 3.
    ours = {0: 30.0, 1: 60.0, 2: 90.0, 3: 60.0, 4: 30.0, 5: 30.0, 6: 30.0}
    theirs = {3: 20.0, 2: 30.0, 1: 20.0, 0: 10.0, 5: 10.0, 4: 10.0, 6: 10.0}

    pair = only_pair(rates(TWO, ours) + rates(ONE, theirs))

    assert (pair.cell, pair.reference, pair.metric, pair.blocks) == (TWO, "one", "throughput", 7)
    assert near(pair.ratio, 3.0, 3.0, 3.0)
    assert (pair.verdict, pair.broken_gates) == ("faster", ())


def test_a_block_missing_on_one_side_is_left_out() -> None:
    ours = {0: 20.0, 1: 999.0, 2: 40.0, 3: 60.0, 4: 50.0, 5: 30.0, 6: 20.0, 7: 35.0}
    theirs = dict.fromkeys([0, 2, 3, 4, 5, 6, 7], 10.0)

    nothing = testing.observation(ONE, block=8, swarm=testing.trial_report(completed=0, throughput_rps=0.0))
    pair = only_pair([*rates(TWO, {**ours, 8: 1.0}), *rates(ONE, theirs), failed(ONE, block=1), nothing])

    assert (pair.ratio.median, pair.blocks) == (3.5, 7)


@pytest.mark.parametrize(("blocks", "reached"), [([2, 7], 8), ([0], 1), ([], 1)])
def test_a_pair_reaches_as_far_as_its_last_block(blocks: list[int], reached: int) -> None:
    pair = Paired(cell=TWO, other=ONE, kin=("sleep",), ratios=dict.fromkeys(blocks, 1.0))

    assert pair.reached == reached


def test_two_blocks_in_common_are_undecided_however_far_apart() -> None:
    pair = only_pair(rates(TWO, dict.fromkeys(range(3), 90.0)) + rates(ONE, dict.fromkeys(range(1, 4), 1.0)))

    assert pair.blocks == 2
    assert (pair.ratio, pair.verdict) == (Interval(median=90.0, low=None, high=None), "undecided")
    assert compared(rates(TWO, {0: 2.0}) + rates(ONE, {1: 1.0})).pairs == (), "no block in common"


def test_an_interval_is_widened_by_the_scatter_of_the_other_comparisons_of_its_workload() -> None:
    observations = [*rates(ONE, dict.fromkeys(range(4), 10.0)), *rates(TWO, dict.fromkeys(range(4), 20.0))]
    alone = only_pair(observations, blocks=4)
    observations += rates(THREE, {0: 10.0, 1: 10.0, 2: 10.0, 3: 5.0})

    two, three = compared(observations, ONE, TWO, THREE, blocks=4).pairs

    assert near(alone.ratio, 2.0, 2.0, 2.0)
    assert two.ratio.low is not None
    assert three.ratio.low is not None
    assert three.ratio.low < two.ratio.low < 1.5
    assert (alone.verdict, two.verdict, three.verdict) == ("faster", "faster", "undecided")


def test_another_workloads_scatter_widens_no_interval() -> None:
    cells = [ONE, TWO, replace(ONE, workload="cpu"), replace(TWO, workload="cpu")]
    observations = [*rates(ONE, dict.fromkeys(range(4), 10.0)), *rates(TWO, dict.fromkeys(range(4), 20.0))]
    observations += rates(cells[2], dict.fromkeys(range(4), 10.0)) + rates(
        cells[3], {0: 10.0, 1: 10.0, 2: 10.0, 3: 5.0}
    )

    quiet, restless = compared(observations, *cells, blocks=4).pairs

    assert near(quiet.ratio, 2.0, 2.0, 2.0)
    assert (quiet.verdict, restless.verdict) == ("faster", "undecided")


def test_comparisons_of_a_run_may_have_different_numbers_of_blocks() -> None:
    """Two, which decide nothing, three and eight; ONE is in all of them, and TWO and THREE have two in common."""
    observations = steady(ONE, 10.0, 8) + steady(TWO, 20.0, 8) + steady(THREE, 30.0, 3) + steady(FOUR, 40.0, 2)

    two, three, four = compared(observations, ONE, TWO, THREE, FOUR, blocks=8).pairs

    assert [pair.blocks for pair in (two, three, four)] == [8, 3, 2]
    assert [pair.verdict for pair in (two, three, four)] == ["faster", "faster", "undecided"]
    assert (four.ratio.low, four.ratio.high) == (None, None)


def test_intervals_hold_for_all_pairs_of_the_run_at_once() -> None:
    """Of one pair the interval has the whole error rate, of the three of three servers each has a third."""
    few = [*steady(ONE, 10.0), *rates(TWO, {0: 5.0, 1: 10.0, 2: 20.0, 3: 10.0, 4: 10.0, 5: 10.0, 6: 10.0})]

    alone = only_pair(few)
    together, _ = compared([*few, *steady(THREE, 10.0)], ONE, TWO, THREE).pairs

    assert alone.ratio.low is not None
    assert together.ratio.low is not None
    assert together.ratio.low < alone.ratio.low


@pytest.mark.parametrize(
    "change",
    [
        {"users": 8},
        {"connection": "keep-alive"},
        {"cores": 2},
        {"workload": "hello"},
        {"users": None, "rate": 20.0, "arrivals": "constant"},
    ],
)
def test_cells_under_other_conditions_are_no_pair(change: dict[str, Any]) -> None:
    other = replace(TWO, **change)

    assert compared(steady(ONE, 10.0) + steady(other, 20.0), ONE, other).pairs == ()
    one, two, random = at_rate("one"), at_rate("two", 10.0), replace(at_rate("three"), arrivals="poisson")
    scheduled = [each for cell in (one, two, random) for each in steady(cell, 20.0)]
    assert compared(scheduled, one, two, random).pairs == ()


@pytest.mark.parametrize(
    ("times", "verdict"), [(0.5, "slower"), (0.9, "slower"), (1.0, "undecided"), (1.1, "faster"), (2.0, "faster")]
)
def test_more_requests_a_second_or_at_a_fixed_rate_lower_latency_is_faster(times: float, verdict: str) -> None:
    one, two = at_rate("one"), at_rate("two")
    observations = rates(one, dict.fromkeys(range(6), 20.0), latency_mean_ms=100.0)
    observations += rates(two, dict.fromkeys(range(6), 20.0), latency_mean_ms=100.0 / times)

    throughput = only_pair(steady(ONE, 10.0) + steady(TWO, 10.0 * times))
    latency = only_pair(observations, one, two)

    assert (throughput.metric, latency.metric) == ("throughput", "latency")
    assert latency.ratio.median == pytest.approx(1 / times)
    assert throughput.verdict == latency.verdict == verdict


@pytest.mark.parametrize("spoilt", ["one", "two", "both"])
def test_nothing_is_concluded_from_a_pair_with_a_broken_gate_on_either_side(spoilt: str) -> None:
    broken: dict[str, Any] = {"generator_cpu": 0.9}
    observations = steady(ONE, 10.0, **(broken if spoilt != "two" else {}))
    observations += steady(TWO, 20.0, **(broken if spoilt != "one" else {}))

    comparison = compared(observations)

    (pair,) = comparison.pairs
    assert pair.ratio.median == pytest.approx(2.0), "it is shown all the same"
    assert (pair.verdict, pair.broken_gates) == ("undecided", ("generator",))
    both = steady(ONE, 10.0, failures=9, errors={"x": 9}) + steady(TWO, 20.0, generator_cpu=0.9, failures=9)
    assert only_pair(both).broken_gates == ("failures", "generator")


# Ranks.


def ranks(comparison: Comparison) -> dict[str, str]:
    """As they are shown."""
    return {result.cell.server: tables.rank(result) for result in comparison.cells}


MANY = 12


def ranked(*rps: float, **changes: Any) -> list[str]:
    """The ranks of so many servers with so many requests a second each."""
    cells = [ONE, TWO, THREE, FOUR][: len(rps)]
    observations = [each for cell, figure in zip(cells, rps, strict=True) for each in steady(cell, figure, MANY)]
    return list(ranks(compared(observations, *cells, **{"blocks": MANY, **changes})).values())


@pytest.mark.parametrize(
    ("rps", "expected"),
    [
        ((10.0,), ["1"]),
        ((10.0, 20.0, 40.0, 30.0), ["4", "3", "1", "2"]),
        ((10.0, 10.0, 10.0, 10.0), ["1 to 4"] * 4),
        ((10.0, 20.0, 20.0, 10.0), ["3 to 4", "1 to 2", "1 to 2", "3 to 4"]),
        ((20.0, 10.0, 10.0, 10.0), ["1", "2 to 4", "2 to 4", "2 to 4"]),
        ((20.0, 20.0, 20.0, 10.0), ["1 to 3", "1 to 3", "1 to 3", "4"]),
    ],
)
def test_a_rank_counts_those_that_are_faster_and_those_that_are_slower(
    rps: tuple[float, ...], expected: list[str]
) -> None:
    assert ranked(*rps) == expected


def test_servers_that_only_a_third_links_have_ranks_that_meet() -> None:
    """Each is within the margin of the one before, and beyond that of those before it."""
    found = ranked(10.0, 10.0 / 1.008, 10.0 / 1.008**2, 10.0 / 1.008**3)

    assert found == ["1 to 2", "1 to 3", "2 to 4", "3 to 4"]


def test_cells_under_other_conditions_have_ranks_of_their_own() -> None:
    others = [replace(cell, users=8) for cell in (ONE, TWO)]
    observations = steady(ONE, 20.0, MANY) + steady(TWO, 10.0, MANY)
    observations += steady(others[0], 10.0, MANY, latency_mean_ms=800.0)
    observations += steady(others[1], 20.0, MANY, latency_mean_ms=400.0)

    comparison = compared(observations, ONE, TWO, *others, blocks=MANY)

    assert {(result.cell.users, result.cell.server): tables.rank(result) for result in comparison.cells} == {
        (8, "one"): "2",
        (8, "two"): "1",
        (32, "one"): "1",
        (32, "two"): "2",
    }


def test_cells_that_failed_or_broke_a_gate_have_no_rank_and_take_none() -> None:
    observations = steady(ONE, 10.0, MANY) + steady(TWO, 40.0, MANY, generator_cpu=0.9)
    observations += [failed(THREE, block=block) for block in range(MANY)] + steady(FOUR, 20.0, MANY)

    comparison = compared(observations, ONE, TWO, THREE, FOUR, blocks=MANY)

    assert ranks(comparison) == {"one": "2", "two": "–", "three": "–", "four": "1"}
    few = compared(steady(ONE, 10.0, 2) + steady(TWO, 90.0, 2), blocks=2)
    assert ranks(few) == {"one": "1 to 2", "two": "1 to 2"}, "too few blocks"


def test_ranks_are_judged_so_that_all_of_a_runs_hold_at_once() -> None:
    """What decides one pair does not decide the ten that five servers have among themselves."""
    cells = [testing.cell(f"server-{number}") for number in range(5)]
    observations = rates(cells[0], dict.fromkeys(range(4), 10.0))
    for at, cell in enumerate(cells[1:]):
        observations += rates(cell, {block: (9.0, 8.0, 8.5, 8.8)[(block + at) % 4] for block in range(4)})

    alone = compared(observations[:8], *cells[:2], blocks=4)
    together = compared(observations, *cells, blocks=4)

    assert list(ranks(alone).values()) == ["1", "2"]
    assert list(ranks(together).values()) == ["1 to 5"] * 5


def test_ranks_at_a_fixed_rate_go_by_the_latency_that_verdicts_go_by() -> None:
    """A server with a long tail: half of its requests are fast, but on average they take longer."""
    one, two = at_rate("one"), at_rate("two")
    observations = rates(
        one,
        dict.fromkeys(range(BLOCKS), 20.0),
        latency_mean_ms=100.0,
        latency_ms={"p50": 10.0, "p95": 190.0, "p99": 190.0, "max": 190.0},
        latency_histogram=testing.histogram(10.0, 10.0, 190.0, 190.0),
    )
    observations += rates(
        two,
        dict.fromkeys(range(BLOCKS), 20.0),
        latency_mean_ms=20.0,
        latency_ms=dict.fromkeys(("p50", "p95", "p99", "max"), 20.0),
        latency_histogram=testing.histogram(20.0),
    )

    comparison = compared(observations, one, two)

    assert comparison.pairs[0].verdict == "faster"
    assert ranks(comparison) == {"one": "2", "two": "1"}


def test_a_server_is_never_ranked_behind_one_that_it_was_told_to_be_faster_than() -> None:
    """Where trials failed, medians over other blocks may say otherwise than the blocks that both have."""
    slower = rates(ONE, {block: 100.0 if block < 7 else 10.0 for block in range(14)})
    faster = rates(TWO, dict.fromkeys(range(7, 14), 15.0))

    comparison = compared(slower + faster, blocks=14)

    assert comparison.pairs[0].verdict == "faster"
    assert ranks(comparison) == {"one": "2", "two": "1"}
    assert comparison.advice[0].server == "two"


# With precision: until each comparison is settled.

SEQUENTIAL: dict[str, Any] = {"blocks": BLOCKS, "precision": 0.05, "max_blocks": BLOCKS}
"""With a single look."""


def open_cells(observations: Sequence[Observation], *cells: Cell, blocks: int = BLOCKS, **changes: Any) -> set[str]:
    run = testing.run(testing.experiment(*(cells or (ONE, TWO)), **{**SEQUENTIAL, **changes}))
    return {cell.server for cell in unsettled(run, observations, blocks)}


RESTLESS = {0: 10.0, 1: 11.0, 2: 12.0, 3: 9.0, 4: 8.0, 5: 10.0, 6: 10.0}


def test_a_comparison_that_is_neither_decided_nor_tight_is_unsettled_and_so_are_both_of_its_cells() -> None:
    observations = rates(TWO, RESTLESS) + steady(ONE, 10.0)

    assert open_cells(observations) == {"one", "two"}


def test_a_comparison_that_is_decided_or_tight_is_settled() -> None:
    wide = rates(TWO, {block: 3 * rps for block, rps in RESTLESS.items()})

    assert open_cells(wide + steady(ONE, 10.0)) == set()
    assert open_cells(rates(TWO, RESTLESS) + steady(ONE, 10.0), precision=None, max_blocks=None) == set()
    assert open_cells(steady(ONE, 10.0) + steady(TWO, 10.01)) == set()


def test_tight_is_what_the_precision_asks_for() -> None:
    ratios = {0: 10.0, 1: 10.0, 2: 11.999, 3: 8.001, 4: 10.0, 5: 10.0, 6: 10.0}
    observations = rates(TWO, ratios) + rates(ONE, dict.fromkeys(range(BLOCKS), 10.0))
    ratio = only_pair(observations).ratio
    assert ratio.low is not None
    assert ratio.high is not None
    reach = max(1 - ratio.low, ratio.high - 1)

    assert open_cells(observations, precision=reach + 0.001) == set()
    assert open_cells(observations, precision=reach - 0.001) == {"one", "two"}


def test_a_cell_that_fails_or_has_a_broken_gate_is_not_worth_more_blocks() -> None:
    assert open_cells(rates(TWO, RESTLESS, generator_cpu=0.9) + steady(ONE, 10.0)) == set()
    assert open_cells(rates(TWO, RESTLESS) + steady(ONE, 10.0, generator_cpu=0.9)) == set()
    assert open_cells([*(failed(TWO, block=block) for block in range(BLOCKS)), *steady(ONE, 10.0)]) == set()


@pytest.mark.parametrize("blocks", [1, 2])
def test_too_few_blocks_settle_nothing(blocks: int) -> None:
    observations = steady(ONE, 10.0, blocks) + steady(TWO, 90.0, blocks)

    assert open_cells(observations, blocks=blocks) == {"one", "two"}


def test_only_the_first_blocks_are_looked_at() -> None:
    observations = rates(TWO, {**RESTLESS, 7: 999.0, 8: 999.0}) + steady(ONE, 10.0, 9)

    assert open_cells(observations) == open_cells(rates(TWO, RESTLESS) + steady(ONE, 10.0))
    calm = steady(TWO, 10.0) + rates(TWO, {7: 99.0}) + steady(ONE, 10.0, 8)
    assert open_cells(calm) == set()


def test_a_settled_comparison_beside_an_unsettled_one_needs_no_more_blocks() -> None:
    observations = steady(ONE, 10.0, 9) + steady(TWO, 90.0, 9)
    observations += rates(THREE, {**RESTLESS, 7: 8.0, 8: 12.0})

    assert open_cells(observations, ONE, TWO, THREE, blocks=9, max_blocks=9) == {"one", "three"}


def test_two_servers_that_only_the_reference_tells_apart_are_not_settled() -> None:
    """Ranks and advice are about them too."""
    observations = steady(ONE, 10.0, 9) + steady(TWO, 90.0, 9)
    observations += rates(THREE, {**{block: 9 * rps for block, rps in RESTLESS.items()}, 7: 72.0, 8: 108.0})

    assert open_cells(observations, ONE, TWO, THREE, blocks=9, max_blocks=9) == {"two", "three"}


@given(st.integers(1, 200), st.integers(0, 200))
def test_all_looks_together_spend_the_error_rate_and_no_more(blocks: int, more: int) -> None:
    experiment = testing.experiment(blocks=blocks, precision=0.05, max_blocks=blocks + more)
    run = testing.run(experiment)
    spent = [level_at(run, look) for look in plan.looks(experiment)]

    assert all(level > 0 for level in spent)
    assert math.fsum(spent) == pytest.approx(stats.ERROR_RATE)


@given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 300))
def test_blocks_between_two_looks_are_those_of_the_later_one(blocks: int, more: int, found: int) -> None:
    experiment = testing.experiment(blocks=blocks, precision=0.05, max_blocks=blocks + more)
    run, looks = testing.run(experiment), plan.looks(experiment)

    at = next((look for look in looks if found <= look), looks[-1])
    assert level_at(run, found) == level_at(run, at)


def test_each_look_has_what_may_be_spent_by_then_and_was_not_before() -> None:
    experiment = testing.experiment(blocks=10, precision=0.05, max_blocks=20)
    run = testing.run(experiment)

    assert plan.looks(experiment) == (10, 15, 20)
    assert [level_at(run, look) for look in (10, 15, 20)] == pytest.approx([0.05 / 4, 0.05 * 5 / 16, 0.05 * 7 / 16])
    assert level_at(testing.run(testing.experiment(blocks=4)), 4) == stats.ERROR_RATE, "without a precision"


def test_a_verdict_with_precision_is_as_strict_as_its_look() -> None:
    """Seven blocks of seven have the whole error rate; seven of many more have a share of it."""
    observations = steady(ONE, 10.0) + rates(TWO, {0: 11.0, 1: 30.0, 2: 20.0, 3: 20.0, 4: 20.0, 5: 20.0, 6: 20.0})

    assert only_pair(observations).verdict == "faster"
    assert only_pair(observations, precision=0.05, max_blocks=7).verdict == "faster"
    assert only_pair(observations, precision=0.05, max_blocks=60).verdict == "undecided"


# What the comparison says of itself.


def test_windows_are_summed_over_the_measured_trials() -> None:
    comparison = compared([*steady(ONE, 10.0, 2), *steady(TWO, 10.0, 1, window_s=0.5), failed(TWO, block=1)])

    assert comparison.window_s == pytest.approx(0.3 + 0.3 + 0.5)


def test_the_confidence_is_that_of_the_cell_with_the_fewest_blocks_that_has_any() -> None:
    observations = [*steady(ONE, 10.0, 6), *steady(TWO, 10.0, 4), failed(THREE, block=0)]

    assert compared(observations, ONE, TWO, THREE).confidence == stats.confidence(4)
    assert compared([], ONE, TWO).confidence == 0.0


# The whole.


def test_trials_are_counted_as_planned_measured_and_failed() -> None:
    comparison = compared([*rates(ONE, {0: 1.0, 1: 1.0}), failed(TWO, block=0)], blocks=4)

    assert (comparison.trials, comparison.measured, comparison.failed) == (8, 2, 1)
    assert comparison.interleaved


def test_with_precision_the_trials_of_later_blocks_are_planned_once_they_are_there() -> None:
    observations = [*steady(ONE, 10.0, 7), *steady(TWO, 10.0, 6), failed(TWO, block=6), *rates(TWO, {8: 10.0})]

    comparison = compared(observations, precision=0.05, max_blocks=50)

    assert (comparison.trials, comparison.measured, comparison.failed) == (12 + 3, 14, 1)


def test_cells_are_in_the_order_of_workload_cores_load_connection_and_server() -> None:
    """Of a run, and of a session, where workloads that the run does not name come last."""
    loads: list[dict[str, Any]] = [
        {"users": 8},
        {"users": 32},
        {"users": None, "rate": 9.0, "arrivals": "constant"},
        {"users": None, "rate": 9.0, "arrivals": "poisson"},
        {"users": None, "rate": 10.0, "arrivals": "constant"},
    ]
    cells = [
        testing.cell(server, workload=workload, cores=cores, connection=connection, **load)
        for workload in ("sleep", "cpu", "a-file", "b-file")
        for cores in (1, 2)
        for load in loads
        for connection in ("close", "keep-alive")
        for server in ("one", "two")
    ]
    shuffled = [*cells[1::2], *cells[::2]]
    asked = testing.experiment(
        *(cell for cell in shuffled if "file" not in cell.workload),
        parameters={"sleep": {"ms": 50.0}, "cpu": {"ms": 2.0}},
    )
    run = testing.run(asked, testing.server("one"), testing.server("two"))

    assert [result.cell for result in compare(run, []).cells] == [cell for cell in cells if "file" not in cell.workload]
    session = survey(replace(run, experiment=replace(asked, cells=())), map(testing.observation, shuffled))
    assert [result.cell for result in session.cells] == cells


def test_a_window_whose_only_request_has_no_weight_has_no_cost_and_no_ratio() -> None:
    asked = testing.experiment(testing.cell(), testing.cell("gunicorn-gevent"))
    silent = testing.trial_report(completed=1, throughput_rps=0.0)
    comparison = compare(
        testing.run(asked),
        [testing.observation(testing.cell()), testing.observation(testing.cell("gunicorn-gevent"), swarm=silent)],
    )
    figures = next(each.figures for each in comparison.cells if each.cell.server == "gunicorn-gevent")
    assert figures is not None
    assert figures.cpu_ms_per_request is None
    assert comparison.pairs == ()


# Interactive sessions.


def surveyed(observations: Sequence[Observation], *servers: Server, **changes: Any) -> Comparison:
    """Of an experiment without cells, on the servers of the observations unless they are given."""
    asked = testing.experiment(*dict.fromkeys(each.cell for each in observations), **changes)
    return survey(testing.run(asked, *servers, experiment=replace(asked, cells=())), observations)


def without_intervals(figure: Any) -> Any:
    if isinstance(figure, Interval):
        return replace(figure, low=None, high=None)
    if isinstance(figure, Mapping):
        return {name: without_intervals(each) for name, each in figure.items()}
    return figure


def test_a_session_has_the_figures_of_a_run_but_claims_no_interval() -> None:
    seconds = [
        testing.observation(
            block=block,
            swarm=testing.trial_report(
                throughput_rps=20.0 + block,
                service_ms=50.0 + block,
                generator_cpu=0.01 * (block + 1),
                latency_ms=dict.fromkeys(("p50", "p95", "p99", "max"), 1600.0 + block),
                in_flight=replace(ALIKE, mean=0.9 + block / 100),
            ),
            server_cpu_s=0.01 * (block + 1),
        )
        for block in range(3)
    ]

    (result,) = surveyed(seconds).cells
    found, of_a_run = figures(result), figures(single(seconds))

    assert found.throughput_rps == Interval(median=21.0, low=None, high=None)
    for field in fields(CellFigures):
        assert getattr(found, field.name) == without_intervals(getattr(of_a_run, field.name)), field.name
    assert (result.blocks, result.slots) == (3, 1)


def test_nothing_is_compared_in_a_session_however_far_apart_its_servers_are() -> None:
    observations = steady(ONE, 10.0) + steady(TWO, 90.0)
    comparison = surveyed(observations)

    assert compared(observations).pairs[0].verdict == "faster"
    assert comparison.pairs == ()
    assert ranks(comparison) == {"one": "–", "two": "–"}
    assert (comparison.confidence, comparison.interleaved) == (0.0, False)


@pytest.mark.parametrize(
    "changes", [{"generator_cpu": 0.85}, {"latency_mean_ms": 1900.0}, {"failures": 1, "errors": {"refused": 1}}]
)
def test_a_session_has_the_reasons_and_gates_of_a_run(changes: dict[str, Any]) -> None:
    (result,) = surveyed(observed(**changes)).cells
    of_a_run = single(observed(**changes))

    assert result.broken_gates
    assert (result.broken_gates, result.warnings) == (of_a_run.broken_gates, of_a_run.warnings)


def test_seconds_of_a_session_without_figures_are_told_and_counted() -> None:
    observations = [*observed(ONE, blocks=2, window_s=1.0), failed(ONE, block=2), failed(TWO, block=0)]
    comparison = surveyed(observations)

    one, two = comparison.cells
    assert warned(one) == ("1 of 3 seconds failed: the server had ended",)
    assert (two.figures, warned(two)) == (None, ("1 of 1 seconds failed: the server had ended",))
    assert (comparison.trials, comparison.measured, comparison.failed) == (2, 2, 2)
    assert comparison.window_s == 2.0
    (alone,) = surveyed(observed(blocks=1), blocks=3).cells
    assert (alone.blocks, alone.warnings) == (1, ()), "none is missing, whatever the experiment says of blocks"


def test_a_session_without_a_second_of_load_has_no_cells() -> None:
    comparison = surveyed([])

    assert (comparison.cells, comparison.trials, comparison.window_s) == ((), 0, 0.0)


# What users did but wait for answers.


def under(given: Circumstances, **swarm: Any) -> CellResult:
    """A cell under such circumstances, each of whose trials has such a report."""
    cell = testing.cell(circumstances=given)
    return single(observed(cell, **swarm), cell=cell)


def texts(result: CellResult, kind: str) -> list[str]:
    return [each.text for each in result.warnings if each.kind == kind]


def test_silence_is_told_with_how_many_the_server_closed_and_how_long_after() -> None:
    four = Circumstances(idle=Idle(connections=4))
    closed = IdleReport(opened=8, refused=0, closed=4, held_s=2.04, longest_s=2.1, open=4.0)
    held = IdleReport(opened=4, refused=0, closed=0, held_s=None, longest_s=3.44, open=4.0)

    assert texts(under(four, idle=closed), "idle") == [
        "4 silent connections: the server closed 12 in all, each after 2 s (median)"
    ]
    assert texts(under(four, idle=held), "idle") == [
        "4 silent connections: the server closed none, and held one for 3.4 s, until a trial ended"
    ]
    assert texts(single(observed()), "idle") == []


def test_giving_up_is_told_with_what_was_done_for_nobody() -> None:
    impatient = Circumstances(abandon_ms=50)

    assert texts(under(impatient, abandoned=7, completed=20, wasted_work=0.25), "abandoned") == [
        (
            "users gave up 21 of 81 requests after 50 ms; 25% of the work inside the application was for nobody; "
            "latencies are of those that were answered"
        )
    ]
    assert texts(under(impatient, abandoned=7, completed=20), "abandoned") == [
        "users gave up 21 of 81 requests after 50 ms; latencies are of those that were answered"
    ]
    assert texts(under(impatient, abandoned=0, wasted_work=0.0), "abandoned") == []


@pytest.mark.parametrize(("every_ms", "is_warned"), [(75.0, False), (76.0, True)])
def test_a_window_with_fewer_than_four_bursts_is_warned_of(every_ms: float, is_warned: bool) -> None:
    cell = testing.cell(workload="burst")
    other = testing.cell(workload="sleep")
    parameters = {"burst": {"every_ms": every_ms, "ms": 10.0}, "sleep": {"ms": 50.0}}
    experiment = testing.experiment(cell, other, parameters=parameters)
    run = testing.run(experiment, testing.server(cell.server))

    result, beside = compare(run, [*observed(cell), *observed(other)]).cells

    assert texts(beside, "short-window") == []
    assert texts(result, "short-window") == (
        [
            "users ask at once every 76 ms, the window is 0.3 s: with fewer than 4 bursts in it, throughput depends on when they fall"
        ]
        if is_warned
        else []
    )


def test_users_who_pause_or_wait_in_vain_are_accounted_for() -> None:
    """Throughput x response time is that of 16 users."""
    half: dict[str, Any] = {"latency_mean_ms": 800.0}

    assert under(Circumstances(gap_ms=100), **half, pausing=16.0).broken_gates == ()
    assert under(Circumstances(abandon_ms=100), **half, in_vain=16.0).broken_gates == ()
    away = under(Circumstances(gap_ms=100), **half, pausing=8.0)
    assert away.broken_gates == ("little",)
    assert texts(away, "little")[0].startswith(
        "throughput x response time is 24.0 with those that paused or gave up, not the 32 users"
    )


def test_users_without_an_answer_wait_for_slots_that_silence_holds() -> None:
    starving: dict[str, Any] = {"throughput_rps": 0.0, "completed": 0, "unanswered": 32}
    idle = IdleReport(opened=1, refused=0, closed=0, held_s=None, longest_s=3.4, open=1.0)
    free = InFlight(peak=0, mean=0.0, threads=0, requests_per_process=())

    silent = under(Circumstances(idle=Idle(connections=1)), **starving, idle=idle, in_flight=free)
    assert (silent.broken_gates, figures(silent).bound_by) == ((), "slots")
    assert figures(silent).because == (
        "0.0 requests were in flight on average, and silent connections held up to 1.0 of 1 slot"
    )
    assert under(Circumstances(abandon_ms=50), **starving, in_flight=free).broken_gates == ("little",)


@pytest.mark.parametrize(
    ("connections", "closed", "peak", "mean", "bound_by", "held"),
    [
        (4, 0, 4, 3.9, "slots", "4.0 of 8 slots"),
        (4, 0, 5, 3.9, "unexplained", ""),
        (4, 9, 8, 4.9, "slots", "3.1 of 8 slots"),
        (99, 0, 1, 0.9, "unexplained", ""),
        (2, 0, 4, 3.9, "unexplained", ""),
    ],
)
def test_silent_connections_hold_slots_only_where_no_more_requests_were_in_flight_than_they_left(
    connections: int, closed: int, peak: int, mean: float, bound_by: str, held: str
) -> None:
    cell = testing.cell(circumstances=Circumstances(idle=Idle(connections=connections)))
    idle = IdleReport(opened=99, refused=0, closed=closed, held_s=None, longest_s=1.0, open=float(connections))
    inside = replace(ALIKE, peak=peak, mean=mean)

    found = figures(
        single(observed(cell, idle=idle, in_flight=inside), server=testing.server(slots=8, processes=None), cell=cell)
    )

    assert found.bound_by == bound_by
    assert found.because.endswith(f"silent connections held up to {held}") == (bound_by == "slots")


def test_cells_under_the_same_circumstances_stand_together() -> None:
    silent = Circumstances(idle=Idle(connections=1))
    cells = [replace(each, circumstances=given) for each in (ONE, TWO) for given in (None, silent)]

    found = compared([each for cell in cells for each in observed(cell)], *cells)

    assert [(each.cell.circumstances, each.cell.server) for each in found.cells] == [
        (None, "one"),
        (None, "two"),
        (silent, "one"),
        (silent, "two"),
    ]


@pytest.mark.parametrize(("pausing", "bound_by"), [(10.0, "demand"), (9.0, "unexplained")])
def test_users_who_pause_and_those_who_send_slowly_are_demand_together(pausing: float, bound_by: str) -> None:
    """Of 32 users six are in flight and ten send slowly: 20 a second, each for half a second."""
    cell = testing.cell(circumstances=Circumstances(gap_ms=300))
    inside = replace(ALIKE, peak=8, mean=6.0)
    observations = observed(cell, latency_mean_ms=1100.0, client_ms=500.0, pausing=pausing, in_flight=inside)

    found = figures(single(observations, server=testing.server(slots=99, processes=None), cell=cell))

    assert found.bound_by == bound_by
    assert found.because.endswith("10.0 of 32 users paused") == (bound_by == "demand")


@pytest.mark.parametrize(("gap_ms", "told"), [(300, []), (301, ["users pause for 0.301 s, the window is 0.3 s"])])
def test_a_window_that_is_shorter_than_a_pause_is_told(gap_ms: float, told: list[str]) -> None:
    found = texts(under(Circumstances(gap_ms=gap_ms), pausing=30.0), "short-window")

    assert [each.partition(":")[0] for each in found] == told
