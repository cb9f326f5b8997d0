"""What a run found, in sentences: each kind, of small runs that are made up, and never too many."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.runs import compared
from wsgilab import testing
from wsgilab.analysis.compare import compare, survey
from wsgilab.model import Cell, Circumstances, Comparison, During, Idle, IdleReport, InFlight, Observation, Server
from wsgilab.report import tables
from wsgilab.report.findings import KINDS, MOST, findings, question, unless
from wsgilab.report.findings.finding import FindingKind

ONE, TWO, THREE = (testing.cell(name) for name in ("one", "two", "three"))
BLOCKS = 6


def trials(
    cell: Cell, *, blocks: int = BLOCKS, cpu_s: float = 0.0066, memory: int = 56_000_000, **swarm: Any
) -> list[Observation]:
    """Blocks of a cell that scatter by a thousandth."""
    rps = swarm.pop("throughput_rps", 20.0)
    latency_ms = swarm.pop("latency_mean_ms", 32 / rps * 1000 if rps else 0.0)
    made = []
    for block in range(blocks):
        factor = 1 + (block % 3 - 1) / 1000
        report = testing.trial_report(throughput_rps=rps * factor, latency_mean_ms=latency_ms / factor, **swarm)
        made.append(testing.observation(cell, block=block, swarm=report, server_cpu_s=cpu_s, resident_bytes=memory))
    return made


def of(*measured: Sequence[Observation], servers: Mapping[str, Server] | None = None, **experiment: Any) -> Comparison:
    cells = list(dict.fromkeys(each.cell for observations in measured for each in observations))
    blocks = max(each.block for observations in measured for each in observations) + 1
    known = {cell.server: testing.server(cell.server) for cell in cells} | dict(servers or {})
    run = testing.run(testing.experiment(*cells, blocks=blocks, **experiment), *known.values())
    return compare(run, [each for observations in measured for each in observations])


def only(comparison: Comparison, kind: FindingKind) -> list[str]:
    return [each.text for each in findings(comparison) if each.kind == kind]


def slots(count: int | None, **changes: Any) -> Mapping[str, Server]:
    return {"one": testing.server("one", slots=count, **changes)}


# Silence, giving up, and lost connections.


def silent(cell: Cell, connections: int, mean: float, held_s: float | None = None, **swarm: Any) -> list[Observation]:
    """Trials beside so many silent connections, in which so many requests were in flight on average."""
    report = IdleReport(
        opened=9, refused=0, closed=0 if held_s is None else 5, held_s=held_s, longest_s=3.0, open=connections
    )
    inside = InFlight(peak=math.ceil(mean), mean=mean, threads=8, requests_per_process=(6,))
    beside = replace(cell, circumstances=Circumstances(idle=Idle(connections=connections)))
    return trials(beside, in_flight=inside, idle=report, **swarm)


def test_silent_connections_are_named_with_the_slots_that_they_hold() -> None:
    eight = slots(8)

    assert only(of(silent(ONE, 4, 3.7, throughput_rps=79.0), servers=eight), "silence") == [
        "Silence: 4 silent connections hold 4 of 8 slots of one (sleep 50 ms) for as long as they last."
    ]
    assert only(of(silent(ONE, 9, 4.5, 2.04, throughput_rps=90.0), servers=eight), "silence") == [
        "Silence: 9 silent connections hold 3.5 of 8 slots of one (sleep 50 ms) until the server closes them, after 2.04 s."
    ]
    starved = silent(ONE, 1, 0.0, throughput_rps=0.0, completed=0, unanswered=32)
    assert only(of(starved, silent(TWO, 1, 0.99)), "silence") == [
        "Silence: 1 silent connection holds the only slot of one (sleep 50 ms) for as long as it lasts; no request was answered."
    ]


def test_slots_that_requests_fill_are_held_by_no_silence_nor_those_of_a_server_whose_core_is_full() -> None:
    assert only(of(silent(ONE, 4, 3.96, cpu_s=0.3), servers=slots(8)), "silence") == []
    assert only(of(silent(ONE, 4, 7.9), servers=slots(8)), "silence") == []
    assert "; one is bound" not in only(of(silent(ONE, 4, 7.9), servers=slots(8)), "bound")[0]
    assert only(of(silent(ONE, 4, 3.96), servers=slots(8)), "bound") == [
        "For sleep 50 ms: one is bound by slots (50% filled; silent connections hold others)."
    ]


def test_work_for_users_who_had_left_is_named_with_its_share() -> None:
    impatient = replace(ONE, circumstances=Circumstances(abandon_ms=200))
    waits = replace(TWO, circumstances=Circumstances(abandon_ms=200))
    given_up: dict[str, Any] = {"abandoned": 300, "wasted_work": 0.96}

    assert only(of(trials(impatient, **given_up), trials(waits, abandoned=0, wasted_work=0.0)), "given-up") == [
        "Given up: 96% of the work of one (sleep 50 ms) was for users who had left, after 200 ms."
    ]
    assert only(of(trials(impatient, abandoned=0, wasted_work=0.0)), "given-up") == []
    assert only(of(trials(impatient, abandoned=9)), "given-up") == [], "it is not known"
    assert only(of(trials(impatient, **given_up, latency_mean_ms=9.0)), "given-up") == [], "a gate is broken"


def test_requests_that_were_lost_with_their_connection_are_counted() -> None:
    (found,) = only(of(trials(ONE, reset=2)), "lost")

    assert found.startswith("one (sleep 50 ms): 12 requests were lost with a kept connection that the server closed")


RELOADED = replace(ONE, circumstances=Circumstances(during=During(at_s=0.1, do="reload")))
HURT: dict[str, Any] = {
    "failures": 2,
    "cut_off": 1,
    "errors": {"reset": 2},
    "longest_gap_ms": 348.2,
    "lost_capacity": 0.2,
}


def test_what_a_reload_cost_is_told_beside_the_same_server_without_it() -> None:
    assert only(of(trials(RELOADED, **HURT), trials(ONE, longest_gap_ms=51.0)), "during") == [
        (
            "A reload 0.1 s into the window: with one (sleep 50 ms), 18 requests failed in 6 trials, no answer came for 348 ms "
            "and 20% of the capacity was lost until the window's end; without it, no request failed and no answer came for 51.0 ms."
        )
    ]
    assert only(of(trials(RELOADED, longest_gap_ms=51.0, lost_capacity=0.0)), "during") == [
        (
            "A reload 0.1 s into the window: with one (sleep 50 ms), no request failed in 6 trials, no answer came for 51.0 ms "
            "and 0% of the capacity was lost until the window's end."
        )
    ]


def test_of_every_kind_of_deed_the_dearest_is_told_and_how_many_others_there_are() -> None:
    killed = replace(THREE, circumstances=Circumstances(during=During(at_s=0.2, do="kill-worker")))
    idle = Circumstances(during=During(at_s=0.1, do="reload"), abandon_ms=9000)
    found = only(
        of(
            trials(replace(RELOADED, server="two"), longest_gap_ms=90.0, lost_capacity=0.5),
            trials(RELOADED, **HURT),
            # Not the same: its users give up.
            trials(replace(TWO, circumstances=idle), longest_gap_ms=80.0, lost_capacity=0.1, abandoned=0),
            trials(killed, longest_gap_ms=70.0),
        ),
        "during",
    )

    assert [text.partition(":")[0] for text in found] == [
        "A reload 0.1 s into the window",
        "The kill of a worker 0.2 s into the window",
    ]
    assert "with one (sleep 50 ms), 18 requests failed" in found[0]
    assert found[0].endswith("until the window's end; it cost 2 other cells no more.")
    assert found[1].endswith("no request failed in 6 trials and no answer came for 70.0 ms.")


def test_what_others_disturbed_says_nothing_of_what_a_reload_cost() -> None:
    assert only(of(trials(RELOADED, **HURT, generator_cpu=0.9), trials(ONE)), "during") == []
    (alone,) = only(of(trials(RELOADED, **HURT), trials(ONE, generator_cpu=0.9)), "during")
    assert "without it" not in alone


# Who is best for what, and by how much.

ONE_SLOT = "although it has one slot, so that a request that waits holds up all others"


def test_the_fastest_is_named_with_its_speed_and_how_far_it_is_ahead() -> None:
    assert only(of(trials(ONE), trials(TWO, throughput_rps=80.0)), "best") == [
        f"For sleep 50 ms: two, with 80.0 requests/s, 4.00 times that of one, {ONE_SLOT}."
    ]
    assert only(of(trials(ONE), trials(TWO, throughput_rps=25.0)), "best") == [
        f"For sleep 50 ms: two, with 25.0 requests/s, 25% more than one, {ONE_SLOT}."
    ]


def test_several_that_will_do_are_named_with_the_next() -> None:
    found = of(trials(ONE, throughput_rps=80.0), trials(TWO, throughput_rps=80.1), trials(THREE))

    assert only(found, "best") == [
        "For sleep 50 ms: any of two or one will do, with 80.0 to 80.1 requests/s; next is three, 0.25 times that of two."
    ]


def test_one_that_is_cheaper_is_named_as_that() -> None:
    found = of(trials(ONE, memory=100_000_000), trials(TWO))

    assert only(found, "best") == [
        f"For sleep 50 ms: two, with 20.0 requests/s, as fast as one, and cheaper, {ONE_SLOT}."
    ]


def test_what_too_few_blocks_leave_undecided_is_said_to_be() -> None:
    found = of(trials(ONE, blocks=2), trials(TWO, blocks=2, throughput_rps=80.0))

    assert only(found, "best") == [
        "For sleep 50 ms: undecided between two and one (20.0 to 80.0 requests/s), with 2 blocks in common."
    ]


def test_where_no_server_qualifies_it_is_said() -> None:
    development = testing.server("one", command=("flask", "run"))

    found = of(
        trials(ONE),
        trials(TWO),
        servers={"one": development, "two": replace(development, name="two")},
    )

    assert only(found, "best") == ["For sleep 50 ms: no server qualifies; the advice says why."]


def test_for_several_workloads_together_the_worst_share_is_named_with_its_workload() -> None:
    computing = [replace(each, workload="cpu") for each in (ONE, TWO, THREE)]
    speeds = ((100.0, 30.0), (60.0, 70.0), (20.0, 100.0))
    found = of(
        *(trials(cell, throughput_rps=speed) for cell, (speed, _) in zip((ONE, TWO, THREE), speeds, strict=True)),
        *(trials(cell, throughput_rps=speed) for cell, (_, speed) in zip(computing, speeds, strict=True)),
    )

    assert only(found, "best")[0].startswith(
        "For sleep 50 ms and cpu 2 ms together: two, which has about 0.60 (0.60 to 0.60) of the best one's speed for sleep and 0.70"
    )


def test_what_speaks_against_a_server_is_said_once() -> None:
    few = [replace(each, users=4) for each in (ONE, TWO)]
    found = of(
        trials(ONE),
        trials(TWO, throughput_rps=80.0),
        trials(few[0], latency_mean_ms=200.0),
        trials(few[1], throughput_rps=60.0, latency_mean_ms=4000 / 60),
    )

    assert [ONE_SLOT in text for text in only(found, "best")] == [True, False]


def test_of_undecided_servers_those_are_counted_that_are_faster_than_the_reference_for_sure() -> None:
    slow = trials(ONE, throughput_rps=10.0)
    fast = [trials(TWO, throughput_rps=80.0), trials(THREE, throughput_rps=80.1)]
    few = [replace(each, block=each.block + 20) for each in fast[1][:2]]
    found = of(slow, fast[0], few, [replace(each, block=each.block + 20) for each in slow[:2]])

    assert "; faster than one for sure: two (8.00 times)" in only(found, "best")[0]


# What bound whom.


def test_what_binds_is_counted_with_its_figure() -> None:
    free = InFlight(peak=32, mean=30.5, threads=32, requests_per_process=(6,))
    found = of(
        trials(ONE),
        trials(TWO, throughput_rps=600.0, in_flight=free),
        servers={"two": testing.server("two", slots=None)},
    )

    assert only(found, "bound") == [
        "For sleep 50 ms: one is bound by slots (99% filled); two by nothing but demand (30.5 of 32 users in flight)."
    ]


def test_a_full_core_binds_with_its_share() -> None:
    found = of(trials(ONE, cpu_s=0.291), trials(TWO, cpu_s=0.3), trials(THREE, cpu_s=0.297))

    assert only(found, "bound") == ["For sleep 50 ms: 3 servers are bound by their cores (97% to 100% used)."]
    assert only(of(trials(ONE, cpu_s=0.297)), "bound") == ["For sleep 50 ms: one is bound by its cores (99% used)."]


def test_where_a_gate_is_broken_nothing_is_said_to_bind() -> None:
    (text,) = only(of(trials(ONE, failures=3, errors={"refused": 3})), "bound")

    assert text == "For sleep 50 ms: one is bound by what is not known (failures)."


# Surprises.


def test_more_in_flight_than_declared_is_a_finding() -> None:
    found = of(trials(ONE, in_flight=InFlight(peak=5, mean=0.99, threads=5, requests_per_process=(6,))))

    assert only(found, "declaration") == [
        "one (sleep 50 ms): 5 requests in flight, but 1 slot declared: the declaration is wrong."
    ]


STALLED = testing.histogram(*[10.0] * 90, *[60.0] * 10)
HALF = InFlight(peak=8, mean=5.0, threads=8, requests_per_process=(300, 100))


def test_slots_that_stay_free_although_users_wait_are_a_finding_with_the_reason() -> None:
    few = testing.cell("one", users=8)
    found = of(trials(few, throughput_rps=80.0, latency_mean_ms=100.0, in_flight=HALF), servers=slots(8, processes=2))

    assert only(found, "slots-not-filled") == [
        (
            "Slots not filled: one (sleep 50 ms) had 5.0 of its 8 in flight on average, with 8 users; "
            "its busiest process had 1.50 times its even share."
        )
    ]
    full = replace(HALF, mean=7.9)
    assert not only(
        of(trials(few, throughput_rps=80.0, latency_mean_ms=100.0, in_flight=full), servers=slots(8)),
        "slots-not-filled",
    )
    computing = trials(few, throughput_rps=80.0, latency_mean_ms=100.0, in_flight=HALF, cpu_s=0.2)
    assert not only(of(computing, servers=slots(8, processes=2)), "slots-not-filled"), "it is the core that is short"
    reloaded = trials(
        replace(RELOADED, users=8),
        throughput_rps=80.0,
        latency_mean_ms=100.0,
        in_flight=HALF,
        latency_histogram=STALLED,
    )
    found = of(reloaded, servers=slots(8, processes=2))
    assert not only(found, "slots-not-filled") + only(found, "stall"), "what was done is why"


def test_processes_that_have_more_than_their_share_are_a_finding() -> None:
    found = of(
        trials(ONE, in_flight=HALF, throughput_rps=160.0, latency_mean_ms=200.0), servers=slots(None, processes=2)
    )

    assert only(found, "uneven-processes") == [
        "Uneven: the busiest process of one (sleep 50 ms) had 1.50 times its even share of requests."
    ]


def test_a_backlog_that_overflowed_is_a_finding_with_the_worst_and_how_many_others() -> None:
    found = of(trials(ONE, slow_connections=1), trials(TWO, slow_connections=4))

    assert only(found, "backlog") == [
        "two (sleep 50 ms): 24 connections took 0.9 s or more to open: the backlog was full; the same with 1 more cell."
    ]


def test_a_stall_is_a_finding_and_answers_that_are_all_slow_are_none() -> None:
    assert only(of(trials(ONE, latency_histogram=STALLED)), "stall") == [
        "A stall: with one (sleep 50 ms), one answer in a hundred took 60.0 ms or more, 6 times the median of 10.0."
    ]
    assert not only(of(trials(ONE)), "stall")
    quick = testing.histogram(*[0.5] * 90, *[5.0] * 10)
    assert not only(of(trials(ONE, latency_histogram=quick)), "stall"), "too short to matter"


def test_answers_that_are_held_back_are_a_finding_but_not_where_they_are_long() -> None:
    late = testing.latency_parts(queue=700.0, service=50.0, back=849.9)
    found = of(trials(ONE, parts=late))

    assert only(found, "held-back") == [
        "Held back: one (sleep 50 ms) kept finished answers for 850 ms on average, of 1,600 in all."
    ]
    long = trials(replace(ONE, workload="large"), parts=late)
    assert not only(of(long), "held-back")


def test_users_who_are_served_unevenly_are_a_finding() -> None:
    uneven = trials(ONE, completed=640, busiest_user=100)

    assert only(of(uneven), "uneven-users") == [
        "Unfair: the busiest of 32 users of one (sleep 50 ms) had 5.0 times an even share of the answers."
    ]


def test_what_more_cores_bring_is_a_finding_with_the_most_and_the_least() -> None:
    more = [replace(each, cores=2) for each in (ONE, TWO)]
    found = of(
        trials(ONE),
        trials(TWO),
        trials(more[0], throughput_rps=38.0),
        trials(more[1], throughput_rps=21.0),
        generator="shared",
    )

    assert only(found, "scaling") == [
        "More cores, for sleep 50 ms: 2 cores in place of 1 bring one 1.90 times the throughput, and two 1.05 times."
    ]


def test_what_a_request_costs_is_a_finding_where_it_is_much_more_or_less_than_the_references() -> None:
    found = of(trials(ONE), trials(TWO, cpu_s=0.033), trials(THREE, cpu_s=0.0022))

    assert only(found, "cost") == [
        "CPU time: a request takes two (sleep 50 ms) 5.00 times what it takes one.",
        "CPU time: a request takes three (sleep 50 ms) 0.33 times what it takes one.",
    ]
    assert not only(of(trials(ONE), trials(TWO, cpu_s=0.0072)), "cost")


# All together.


def test_there_are_never_more_than_twelve_and_none_of_a_kind_keeps_another_kind_out() -> None:
    cells = [testing.cell(name, users=users) for users in range(2, 22) for name in ("one", "two")]
    found = of(
        *(
            trials(
                cell,
                blocks=3,
                latency_mean_ms=(cell.users or 0) / 20 * 1000,
                slow_connections=1,
                latency_histogram=STALLED,
            )
            for cell in cells
        )
    )
    kinds = [each.kind for each in findings(found)]

    assert len(kinds) == MOST
    assert {"best", "bound", "backlog", "stall"} <= set(kinds)
    order = list(dict.fromkeys(kinds))
    assert kinds == [kind for kind in order for _ in range(kinds.count(kind))], "those of a kind are together"
    assert min(kinds.count("best"), kinds.count("bound")) > 3, "what room there is, is used"


def test_real_runs_have_findings_of_which_each_ends_as_a_sentence() -> None:
    found = findings(compared())

    assert 6 <= len(found) <= MOST
    assert all(each.text.endswith(".") and "\n" not in each.text for each in found)
    assert {"best", "bound", "slots-not-filled", "scaling", "cost"} <= {each.kind for each in found}


def test_where_nothing_was_measured_nothing_is_found() -> None:
    failed = [testing.observation(ONE, swarm=None, status="failed", reason="it ended")]
    nothing = compare(testing.run(testing.experiment(ONE)), failed)

    assert list(findings(nothing)) == []
    assert all(list(kind(nothing)) == [] for kind in KINDS)


def test_of_the_conditions_those_are_named_that_most_cells_do_not_have() -> None:
    kept = replace(THREE, connection="keep-alive", users=8)
    found = of(trials(ONE), trials(TWO), trials(kept, latency_mean_ms=400.0))

    assert unless(found) == "32 users, 1 core, connection: close, unless it says otherwise"
    assert [tables.brief(found, cell) for cell in (ONE, kept)] == [
        "sleep 50 ms",
        "sleep 50 ms, 8 users, connection: keep-alive",
    ]


# The question.


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([ONE, TWO], "How many requests at once, and which of 2 servers to run for sleep 50 ms?"),
        ([replace(each, workload="hello") for each in (ONE, TWO)], "Which of 2 servers to run for hello?"),
        ([ONE, replace(ONE, workload="hello")], "What does one do with hello and sleep 50 ms?"),
    ],
)
def test_the_question_follows_from_what_is_measured(cells: Sequence[Cell], words: str) -> None:
    assert question(of(*(trials(cell, blocks=1) for cell in cells))) == words


def test_an_interactive_session_has_its_name_in_place_of_a_question() -> None:
    asked = replace(testing.experiment(ONE), cells=())
    found = survey(testing.run(testing.experiment(ONE), experiment=asked), [testing.observation(ONE)])

    assert question(found) == "trial-run"
