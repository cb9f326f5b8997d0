"""What a run says of what was done to its servers, of quotas, and of workers that end by themselves."""

from dataclasses import replace
from typing import Any

import pytest

from wsgilab import testing
from wsgilab.analysis import inflight
from wsgilab.analysis.compare import compare
from wsgilab.model import Cell, CellResult, Circumstances, During, InFlight, Memory, Observation, Server

RELOADED = testing.cell("one", circumstances=Circumstances(during=During(at_s=0.1, do="reload")))
HALF = testing.cell("one", circumstances=Circumstances(quota=0.5))
REPLACED = InFlight(peak=3, mean=0.9, threads=3, requests_per_process=(4, 1, 1))
HURT: dict[str, Any] = {
    "failures": 3,
    "errors": {"ConnectionResetError: reset": 3},
    "longest_gap_ms": 120.4,
    "lost_capacity": 0.25,
    "in_flight": REPLACED,
    # Far from the law of Little.
    "latency_mean_ms": 900.0,
}


def result(cell: Cell, *observations: Observation, server: Server | None = None) -> CellResult:
    run = testing.run(testing.experiment(cell, blocks=len(observations)), server or testing.server("one"))
    (found,) = compare(run, observations).cells
    return found


def blocks(cell: Cell, count: int = 6, **swarm: Any) -> list[Observation]:
    return [testing.observation(cell, block=block, swarm=testing.trial_report(**swarm)) for block in range(count)]


def texts(found: CellResult, kind: str) -> list[str]:
    return [each.text for each in found.warnings if each.kind == kind]


def test_what_was_done_to_a_server_breaks_no_gate_and_is_what_is_reported() -> None:
    hurt = blocks(RELOADED, **HURT)
    hurt[0] = replace(hurt[0], ended=True)

    found = result(RELOADED, *hurt)

    assert found.broken_gates == ()
    (text,) = texts(found, "during")
    assert text == (
        "a reload 0.1 s into the window: 18 requests failed (ConnectionResetError: reset), no answer came for up to 120 ms, "
        "25% of the capacity was lost from then until the end of the window, the server had ended by the end of 1 of 6 trials"
    )
    assert found.figures is not None
    assert found.figures.longest_gap_ms is not None
    assert found.figures.lost_capacity is not None
    assert (found.figures.longest_gap_ms.median, found.figures.lost_capacity.median) == (120.4, 0.25)
    assert found.figures.busiest_share is None, "of processes that took the place of others"


def test_the_same_without_it_breaks_them() -> None:
    plain = testing.cell("one")

    found = result(plain, *blocks(plain, **HURT))

    assert set(found.broken_gates) == {"failures", "little", "slots", "processes"}


def test_a_reload_that_nobody_noticed_says_so() -> None:
    found = result(RELOADED, *blocks(RELOADED, longest_gap_ms=51.0, lost_capacity=0.0))

    (text,) = texts(found, "during")
    assert text.startswith(
        "a reload 0.1 s into the window: no request failed, no answer came for up to 51 ms, 0% of the"
    )


def test_a_server_that_its_quota_stops_is_bound_by_that() -> None:
    stopped = [
        replace(each, throttled=3, throttled_s=0.15, server_cpu_s=0.147, server_span_s=0.3)
        for each in blocks(HALF, latency_mean_ms=1600.0)
    ]

    found = result(HALF, *stopped, server=testing.server("one", slots=4))

    assert found.figures is not None
    assert (found.broken_gates, found.figures.throttled) == ((), "")
    assert found.figures.bound_by == "quota"
    assert found.figures.because == "it used 0.49 cores of its quota of 0.5, which stopped it for 50% of the time"
    assert texts(found, "quota")[0].startswith(
        "its quota of 0.5 cores stopped it for 50% of the time, in steps of up to 100"
    )
    # 24.5 ms of CPU time a request, of half a second in each.
    assert found.figures.limit_rps == pytest.approx(0.5 / 0.0245)


@pytest.mark.parametrize(("cpu_s", "throttled_s"), [(0.1, 0.15), (0.147, 0.0)])
def test_a_quota_that_is_not_used_up_or_stopped_nobody_is_no_reason(cpu_s: float, throttled_s: float) -> None:
    idle = [
        replace(each, throttled=1, throttled_s=throttled_s, server_cpu_s=cpu_s, server_span_s=0.3)
        for each in blocks(HALF)
    ]

    found = result(HALF, *idle)

    assert found.figures is not None
    assert found.figures.bound_by == "slots"


def test_a_quota_that_no_cell_has_is_still_a_broken_gate() -> None:
    plain = testing.cell("one")

    found = result(plain, *(replace(each, throttled=3, throttled_s=0.1) for each in blocks(plain)))

    assert found.broken_gates == ("throttled",)
    assert found.figures is not None
    assert found.figures.throttled_share is None


def test_workers_that_end_by_themselves_are_no_wrong_declaration() -> None:
    plain = testing.cell("one")
    server = testing.server("one", command=("gunicorn", "--max-requests=9", "app:app"))
    in_turn = replace(REPLACED, peak=1)

    found = result(plain, *blocks(plain, in_flight=in_turn, longest_gap_ms=310.0), server=server)

    assert found.broken_gates == ()
    (text,) = texts(found, "workers-replaced")
    assert text.startswith(
        "its workers end by themselves and others take their place: 3 processes answered in a window, "
    )
    assert text.endswith("no answer came for up to 310 ms")
    assert result(plain, *blocks(plain, in_flight=in_turn)).broken_gates == ("processes",)


def test_memory_is_that_of_the_trial_that_had_most() -> None:
    plain = testing.cell("one")
    grown = [
        replace(
            each,
            memory_start=Memory(pss_bytes=40 * 10**6, private_bytes=10**7),
            memory=Memory(pss_bytes=(50 + each.block) * 10**6, private_bytes=2 * 10**7),
        )
        for each in blocks(plain)
    ]

    figures = result(plain, *grown).figures

    assert figures is not None
    assert (figures.memory_start_pss_mb, figures.memory_start_private_mb) == (40.0, 10.0)
    assert (figures.memory_pss_mb, figures.memory_private_mb) == (55.0, 20.0)
    unread = result(plain, *blocks(plain)).figures
    assert unread is not None
    assert unread.memory_pss_mb is unread.memory_start_pss_mb is None


def test_of_connections_that_were_closed_under_users_each_is_told_once() -> None:
    plain, pausing = testing.cell("one"), testing.cell("one", circumstances=Circumstances(gap_ms=20.0))

    def told(cell: Cell, **counts: int) -> list[str]:
        found = result(cell, *blocks(cell, **counts))
        return [each.text for each in found.warnings if each.kind in ("reset", "reopened")]

    lost = "were lost with a kept connection that the server closed, and sent again if it had not read them; 36 were answered in the windows"
    assert told(plain, reset=3, reopened=2) == [f"18 requests {lost}"]
    # Some were closed between two requests, and none was lost with them.
    assert told(pausing, reset=3, reopened=5) == [
        f"18 requests {lost}; 30 kept connections were opened anew, with those that it closed while users paused"
    ]
    assert told(pausing, reset=0, reopened=5) == [
        "30 kept connections were closed by the server unannounced, and opened anew"
    ]
    assert told(pausing, reset=3, reopened=0) == [f"18 requests {lost}"]


# The moments of answers.


@pytest.mark.parametrize(
    ("moments", "gap"),
    [((), 100), ((0, 50), 50), ((10, 30, 95), 65), ((95, 10, 30), 65), ((80,), 80), ((-5, 10, 120), 90)],
)
def test_the_longest_gap_counts_from_the_windows_begin_and_to_its_end(moments: tuple[int, ...], gap: int) -> None:
    assert inflight.longest_gap_ns(moments, 0, 100) == gap


@pytest.mark.parametrize(
    ("moments", "acted", "lost"),
    [
        # Ten in 20 before, and none, as many a second, half, and more than that in the 80 after.
        (range(0, 20, 2), 20, 1.0),
        (range(0, 100, 2), 20, 0.0),
        ((*range(0, 20, 2), *range(20, 100, 4)), 20, 0.5),
        ((*range(0, 20, 2), *range(20, 100)), 20, 0.0),
        ((), 20, None),
        (range(50, 100), 20, None),
        (range(100), 0, None),
        (range(100), 100, None),
    ],
)
def test_lost_capacity_is_of_the_rates_after_and_before(moments: Any, acted: int, lost: float | None) -> None:
    assert inflight.lost_capacity(moments, 0, acted, 100) == lost
