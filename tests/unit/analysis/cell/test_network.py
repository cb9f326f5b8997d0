"""When the network is what binds, from observations whose round trip, bodies and lost segments are known."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.unit import lanes
from tests.unit.said import warned
from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.model import Cell, CellFigures, CellResult, InFlight, Interval, Observation, Run
from wsgilab.testing import observation, trial_report

USERS = 32
CLOSE = testing.cell("gunicorn-gevent", workload="hello", users=USERS)
KEPT = replace(CLOSE, connection="keep-alive")
AT_RATE = replace(CLOSE, users=None, rate=200.0, arrivals="constant")

Changes = Mapping[str, Any]


def run(cell: Cell = CLOSE, slots: int | None = None, *of_lanes: Any, **server: Any) -> Run:
    """Of one cell on one lane, 940 megabits/s wide, unless there are others."""
    known = testing.server(cell.server, slots=slots, **server)
    return testing.run(testing.experiment(cell, window_s=1.0), known, lanes=of_lanes or (lanes.lane(),))


def result(
    cell: Cell = CLOSE,
    *,
    slots: int | None = None,
    rps: float = 400.0,
    mean: float = 0.4,
    server_cpu: float = 0.1,
    requests: tuple[int, ...] = (400,),
    server: Changes | None = None,
    **swarm: Any,
) -> CellResult:
    """Of three blocks of a second each: so many requests a second, `mean` of them in flight."""
    told: dict[str, Any] = {
        "window_s": 1.0,
        "warmup_s": 0.0,
        "drain_s": 0.0,
        "completed": round(rps),
        "throughput_rps": rps,
        "latency_mean_ms": 1000 * USERS / rps,
        "in_flight": InFlight(peak=math.ceil(mean), mean=mean, threads=1, requests_per_process=requests),
        "service_ms": 1000 * mean / rps,
        "round_trip_ms": 0.1,
        "received_bytes": 6 * round(rps),
        "sent_segments": 2000,
        "resent_segments": 0,
        **swarm,
    }
    blocks = [
        observation(cell, block=block, swarm=trial_report(**told), server_cpu_s=server_cpu, server_span_s=1.0)
        for block in range(3)
    ]
    (found,) = compare(run(cell, slots, **(server or {})), [replace(each, machine="alpha") for each in blocks]).cells
    return found


def figures(found: CellResult) -> CellFigures:
    assert found.figures is not None
    return found.figures


def bound(*of: Any, **changes: Any) -> str:
    return figures(result(*of, **changes)).bound_by


def because(*of: Any, **changes: Any) -> str:
    return figures(result(*of, **changes)).because


# Figures.


def test_the_round_trip_has_its_interval_over_the_blocks_and_losses_are_added_up() -> None:
    blocks = [
        replace(
            observation(
                CLOSE,
                block=block,
                swarm=trial_report(
                    window_s=2.0,
                    round_trip_ms=round_trip_ms,
                    received_bytes=received,
                    sent_segments=sent,
                    resent_segments=resent,
                ),
            ),
            machine="alpha",
        )
        for block, (round_trip_ms, received, sent, resent) in enumerate(
            [(0.2, 500_000, 990, 10), (0.4, 1_000_000, 900, 0), (0.3, 250_000, 100, 0)]
        )
    ]

    (found,) = compare(run(), blocks).cells

    assert figures(found).round_trip_ms == Interval(median=0.3, low=0.2, high=0.4)
    assert figures(found).received_mbps == Interval(median=2.0, low=1.0, high=4.0)
    assert figures(found).resent_share == 10 / 2000


def test_on_one_machine_there_is_no_round_trip_and_no_loss() -> None:
    one = compare(testing.run(), [observation(swarm=trial_report(received_bytes=37_500))])
    (uncounted,) = compare(testing.run(), [observation()]).cells

    (found,) = one.cells
    assert (figures(found).round_trip_ms, figures(found).resent_share) == (None, None)
    assert figures(found).received_mbps == Interval(median=1.0, low=None, high=None)
    assert figures(uncounted).received_mbps is None
    assert one.machines == ()


# The link.

MEGABIT = 125_000
"""In bytes."""


@pytest.mark.parametrize(
    ("mbps", "expected"),
    [(751.0, "unexplained"), (753.0, "network"), (940.0, "network"), (1174.0, "network"), (1176.0, "unexplained")],
)
def test_a_link_that_answers_fill_binds_unless_it_plainly_carries_more(mbps: float, expected: str) -> None:
    assert bound(received_bytes=round(mbps * MEGABIT)) == expected


@pytest.mark.parametrize(
    ("cell", "changes", "expected"),
    [
        (CLOSE, {"slots": 8, "mean": 7.9}, "network"),
        (CLOSE, {"mean": 31.0}, "network"),
        (AT_RATE, {"due": 400}, "network"),
        (CLOSE, {"server_cpu": 0.95}, "cpu"),
        (CLOSE, {"generator_cpu": 0.9}, "generator"),
        # With room on the link.
        (AT_RATE, {"due": 400, "received_bytes": 700 * MEGABIT}, "demand"),
    ],
)
def test_a_full_link_goes_before_slots_and_demand_and_after_cores(cell: Cell, changes: Changes, expected: str) -> None:
    assert bound(cell, **{"received_bytes": 800 * MEGABIT, **changes}) == expected


def test_each_block_is_held_against_the_link_of_its_own_lane() -> None:
    wide, narrow = lanes.lane("alpha"), lanes.lane("gamma", bandwidth_mbps=100.0)

    def blocks(on_gamma: float) -> list[Observation]:
        return [
            observation(
                CLOSE,
                block=block,
                machine=where,
                swarm=trial_report(window_s=1.0, received_bytes=round(mbps * MEGABIT), in_flight=IDLE),
            )
            for block, (where, mbps) in enumerate([("alpha", 500.0), ("gamma", on_gamma), ("gamma", on_gamma)])
        ]

    (full,) = compare(run(CLOSE, None, wide, narrow), blocks(90.0)).cells
    (free,) = compare(run(CLOSE, None, wide, narrow), blocks(50.0)).cells
    assert (figures(full).bound_by, figures(free).bound_by) == ("network", "unexplained")
    assert "90% of the link: 90.0 megabits/s of bodies, where one connection brought 100" in figures(full).because


IDLE = InFlight(peak=1, mean=0.1, threads=1, requests_per_process=(6,))


# Users on the wire: throughput x round trips x round trip.


@pytest.mark.parametrize(
    ("cell", "round_trip_ms", "expected"),
    [
        # 400 a second, two round trips each, and 0.4 in the application: 80 % of 32 users are 25.6.
        (CLOSE, 31.4, "unexplained"),
        (CLOSE, 31.6, "network"),
        # One round trip each.
        (KEPT, 31.6, "unexplained"),
        (KEPT, 62.9, "unexplained"),
        (KEPT, 63.1, "network"),
        # Nobody waits for answers before the next request is due.
        (AT_RATE, 500.0, "unexplained"),
    ],
)
def test_users_that_are_on_the_wire_most_of_the_time_are_bound_by_the_network(
    cell: Cell, round_trip_ms: float, expected: str
) -> None:
    due = 1000 if cell is AT_RATE else 0

    assert bound(cell, round_trip_ms=round_trip_ms, due=due) == expected


@pytest.mark.parametrize(
    ("kib", "round_trips"), [(1, 2), (14, 2), (15, 3), (42, 3), (43, 4), (98, 4), (99, 5), (256, 6)]
)
def test_an_answer_larger_than_a_connections_first_window_takes_more_round_trips(kib: int, round_trips: int) -> None:
    """14,480 bytes in the first, twice as many in each that follows: 43,440 after two, 101,360 after three."""
    needed_ms = 1000 * (0.8 * USERS - 0.4) / 40 / round_trips
    large: Changes = {"rps": 40.0, "received_bytes": 40 * kib * 1024}

    assert bound(round_trip_ms=needed_ms * 1.01, **large) == "network"
    assert bound(round_trip_ms=needed_ms * 0.99, **large) == "unexplained"
    assert bound(KEPT, round_trip_ms=needed_ms * 1.01, **large) == "unexplained", "it has found out how much it may"


@pytest.mark.parametrize(
    ("mean", "round_trip_ms", "expected"),
    [
        # All of them in the application: the wire has none to speak of.
        (31.5, 0.1, "demand"),
        (26.0, 7.5, "demand"),
        # 12.8 on the wire: the most users are in the application, so more of them would bring more.
        (19.0, 16.0, "demand"),
        (13.0, 16.0, "demand"),
        (12.81, 16.0, "demand"),
        # And here they are not.
        (12.6, 16.3, "network"),
        # Eight of 32 users are on the wire, and the others wait for something else.
        (0.4, 10.0, "unexplained"),
    ],
)
def test_where_users_are_in_the_application_rather_than_on_the_wire_it_is_demand(
    mean: float, round_trip_ms: float, expected: str
) -> None:
    assert bound(mean=mean, round_trip_ms=round_trip_ms) == expected


def test_slow_clients_are_added_to_those_on_the_wire() -> None:
    slow: Changes = {"round_trip_ms": 20.0, "client_ms": 25.0, "reading_ms": 25.0}

    assert because(**slow) == (
        "0.4 of 32 users were in flight on average, 10.0 sent or read slowly, and 16.0 on the wire, with a round trip of 20.0 ms"
    )
    assert bound(**slow) == "network"
    assert bound(**{**slow, "round_trip_ms": 12.5, "client_ms": 40.0}) == "demand"
    assert bound(**{**slow, "client_ms": 22.0, "reading_ms": 22.0}) == "unexplained"


# Slots that wait for their client's next word.


@pytest.mark.parametrize(
    ("rps", "mean", "expected"),
    [
        (49.0, 0.02, "network"),
        (39.1, 0.02, "network"),
        (38.9, 0.02, "unexplained"),
        (53.9, 0.02, "network"),
        (54.1, 0.02, "unexplained"),
        # 50 ms of work and 20 for the way: the slot is the application's more than the network's.
        (14.2, 0.71, "slots"),
        (25.1, 0.49, "network"),
        (24.9, 0.51, "slots"),
    ],
)
def test_a_slot_that_waits_for_round_trips_is_accounted_for_by_them(rps: float, mean: float, expected: str) -> None:
    """On one slot with a round trip of 20.0 ms, as a worker has it that waits for its client to close."""
    assert bound(slots=1, rps=rps, mean=mean, round_trip_ms=20.0) == expected


def test_slots_wait_for_round_trips_on_a_schedule_too_and_not_where_there_are_more_of_them_than_users() -> None:
    assert bound(AT_RATE, slots=1, rps=49.0, mean=0.02, round_trip_ms=20.0, due=200) == "network"
    assert bound(slots=64, rps=400.0, round_trip_ms=10.0) == "unexplained"
    assert bound(slots=None, rps=400.0, round_trip_ms=10.0) == "unexplained"


# Segments that were lost.


@pytest.mark.parametrize(("resent", "expected"), [(19, "unexplained"), (21, "network")])
def test_what_was_lost_binds_where_nothing_else_does(resent: int, expected: str) -> None:
    """Of 2,000 segments, those that were sent again apart."""
    assert bound(resent_segments=resent) == expected


def test_what_was_lost_may_be_what_broke_the_steady_state() -> None:
    found = result(resent_segments=21, latency_mean_ms=1.2 * 1000 * USERS / 400)

    assert found.broken_gates == ("little",)
    assert figures(found).bound_by == "network"
    assert bound(resent_segments=19, latency_mean_ms=1.2 * 1000 * USERS / 400) == "little"


UNEVEN: Changes = {"slots": 16, "server": {"processes": 2}, "requests": (350, 50)}


def test_an_uneven_balance_is_more_telling_than_loss_until_most_users_wait_for_it() -> None:
    """126 a second wait for 0.2 s each, that is 25.2, and of 150 that are sent again 24 are of connections: 0.9 s each."""
    assert bound(**UNEVEN, resent_segments=40) == "balance"
    assert bound(**UNEVEN, resent_segments=125) == "balance"
    assert bound(**UNEVEN, resent_segments=127) == "network"


@pytest.mark.parametrize(
    ("cell", "changes", "expected"),
    [
        (
            CLOSE,
            {"received_bytes": 800 * MEGABIT},
            "answers took 85% of the link: 800 megabits/s of bodies, where one connection brought 940",
        ),
        (
            KEPT,
            {"rps": 1500.0, "round_trip_ms": 20.0, "mean": 0.6},
            "0.6 of 32 users were in flight on average, and 30.0 on the wire, with a round trip of 20.0 ms",
        ),
        (
            CLOSE,
            {"slots": 4, "rps": 190.0, "mean": 0.1, "round_trip_ms": 20.0},
            "0.1 requests were in flight on average, and round trips of 20.0 ms held 3.8 more of 4 slots",
        ),
        (
            CLOSE,
            {"resent_segments": 61},
            (
                "0.4 requests were in flight on average, with unbounded slots and 32 users; 3.0% of the users' segments had to "
                "be sent again"
            ),
        ),
        (
            CLOSE,
            {"resent_segments": 45, "slow_connections": 24, "mean": 0.5},
            (
                "0.5 of 32 users were in flight on average, and 0.1 on the wire, with a round trip of 0.10 ms and 25.8 waiting "
                "for what had to be sent again"
            ),
        ),
    ],
)
def test_the_figures_that_show_what_the_network_does_are_given(cell: Cell, changes: Changes, expected: str) -> None:
    assert because(cell, **changes) == expected


def test_a_little_loss_makes_nobody_wait() -> None:
    """As where a backlog is full: connections are slow, and few segments are lost in comparison."""
    assert bound(resent_segments=400, sent_segments=100_000, slow_connections=28) == "unexplained"


def test_more_may_be_sent_again_than_was_sent_for_the_first_time() -> None:
    found = result(sent_segments=100, resent_segments=300)

    assert figures(found).resent_share == 0.75
    assert warned(found)[-1].startswith("75.0% of the users' segments had to be sent again")


def test_slots_and_demand_are_more_telling_than_loss() -> None:
    assert bound(slots=8, mean=7.9, resent_segments=100) == "slots"
    assert bound(mean=31.0, resent_segments=100) == "demand"
    assert bound(AT_RATE, due=400, resent_segments=100) == "demand"


# Warnings.


def test_much_loss_is_told_whatever_binds_and_breaks_no_gate() -> None:
    found = result(slots=8, mean=7.9, resent_segments=50)

    assert figures(found).bound_by == "slots"
    assert warned(found) == (
        "2.4% of the users' segments had to be sent again: each of them makes a request wait for 200 ms or more",
    )
    assert found.broken_gates == ()
    assert warned(result(slots=8, mean=7.9, resent_segments=15)) == ()


def test_a_slow_connection_may_be_the_networks_where_there_is_one() -> None:
    (told,) = warned(result(slow_connections=3))

    assert (
        told
        == "9 connections took 0.9 s or more to open: the backlog was full, or the first segment was lost on the way"
    )


def test_cores_of_different_machines_are_not_shared() -> None:
    of = replace(run(), generator_cpus="0", backend_cpus="0-1", server_cpus={1: "0"})
    blocks = [
        replace(each, backend_cpu_s=0.0, machine="alpha", server_span_s=0.3)
        for each in (observation(CLOSE, block=block) for block in range(3))
    ]

    told = [warning for result in compare(of, blocks).cells for warning in warned(result)]
    assert told == ["server and backends share a core: both are slower for it"]
    busy = [replace(each, backend_cpu_s=0.5) for each in blocks]
    (found,) = compare(of, busy).cells
    assert "generator" not in found.broken_gates, "the backends' cores are not its own"
