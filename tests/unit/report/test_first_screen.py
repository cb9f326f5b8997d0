"""What a report begins with: the answer in three sentences, and the verdicts."""

from dataclasses import replace

from tests.unit.queues import Queue, sought
from tests.unit.report.test_findings import ONE, THREE, TWO, of, trials
from tests.unit.report.test_versions import said
from tests.unit.runs import compared
from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.model import InFlight
from wsgilab.report import versions
from wsgilab.report.first_screen import answer, verdicts

ONE_SLOT = "it has one slot, so that a request that waits holds up all others"


def in_flight(peak: int) -> InFlight:
    return InFlight(peak=peak, mean=peak - 0.1, threads=peak, requests_per_process=(6,))


def test_of_one_workload_the_answer_is_the_best_how_many_at_once_and_how_sure() -> None:
    assert answer(of(trials(ONE), trials(TWO, throughput_rps=80.0))) == [
        f"For sleep 50 ms: two, with 80.0 requests/s, 4.00 times that of one, although {ONE_SLOT}.",
        "At once (sleep 50 ms, 32 users): two and one had as many as their slots (1).",
        "How sure: 1 of 1 comparison is decided, right with a chance of 95 %.",
    ]


def test_one_for_all_workloads_comes_before_one_for_each() -> None:
    (first, *_), (verdict, *_) = answer(compared()), verdicts(compared())

    assert first.startswith("For sleep 50 ms and cpu 2 ms together: gunicorn-gevent, which ")
    assert (verdict.where, verdict.verdict) == ("sleep 50 ms and cpu 2 ms together", "Run gunicorn-gevent,")
    assert verdict.why.startswith("although a request that computes holds up all others of its process")


def test_without_one_for_all_each_outcome_is_named_with_its_workloads() -> None:
    computing = [replace(each, workload="cpu") for each in (ONE, TWO)]
    few = [replace(each, users=4) for each in (ONE, TWO)]
    found = of(
        trials(ONE),
        trials(TWO, throughput_rps=80.0),
        trials(few[0], latency_mean_ms=200.0),
        trials(few[1], throughput_rps=60.0, latency_mean_ms=4000 / 60),
        trials(computing[0], throughput_rps=80.0),
        trials(computing[1]),
    )
    alone = replace(found, advice=tuple(each for each in found.advice if len(each.workloads) == 1))

    assert answer(alone)[0] == "Which to run: two for sleep 50 ms, 4 users, and for sleep 50 ms; one for cpu 2 ms."
    few_blocks = of(
        trials(ONE, blocks=2), trials(TWO, blocks=2), *(trials(each, blocks=2, latency_mean_ms=200.0) for each in few)
    )
    assert answer(few_blocks)[0] == (
        "Which to run: undecided between one and two for sleep 50 ms, and for sleep 50 ms, 32 users."
    )
    assert answer(few_blocks)[2] == "How sure: 0 of 2 comparisons are decided."


def test_what_was_in_flight_is_told_beside_what_was_declared() -> None:
    cells = {name: replace(ONE, server=name) for name in ("all", "slots", "more", "fewer", "also")}
    peaks = {"all": 32, "slots": 4, "more": 3, "fewer": 2, "also": 4}
    declared = {"all": None, "slots": 4, "more": 2, "fewer": 8, "also": 8}
    found = of(
        *(trials(cell, in_flight=in_flight(peaks[name])) for name, cell in cells.items()),
        servers={name: testing.server(name, slots=slots) for name, slots in declared.items()},
    )

    (said_at_once,) = [each for each in answer(found) if each.startswith("At once")]
    words = said_at_once.removeprefix("At once (sleep 50 ms, 32 users): ").removesuffix(".").split("; ")
    assert sorted(words) == [
        "all had all 32",
        "fewer and also had 2 to 4, with slots to spare",
        "more had more than declared (3)",
        "slots had as many as its slots (4)",
    ]


def test_one_server_alone_has_its_speed_and_is_compared_with_nothing() -> None:
    assert answer(of(trials(ONE))) == [
        "one has 20.0 (20.0 to 20.0) requests/s for sleep 50 ms, 32 users, 1 core, connection: close.",
        "At once (sleep 50 ms, 32 users): one had as many as its slots (1).",
        "How sure: nothing is compared; an interval holds the true median with a chance of 96.9%.",
    ]
    assert verdicts(of(trials(ONE))) == []


def test_where_nothing_was_measured_the_answer_says_so_with_what_failed() -> None:
    failed = testing.observation(ONE, status="failed", swarm=None, reason="it ended")

    assert answer(compare(testing.run(testing.experiment(ONE, blocks=1)), [failed])) == [
        "Nothing was measured: the warnings say why.",
        "How sure: nothing is compared; an interval holds the true median with a chance of 0.0%; 1 trial of 1 failed.",
    ]


def test_broken_gates_are_counted_where_the_answer_says_how_sure_it_is() -> None:
    found = of(trials(ONE), trials(TWO, throughput_rps=80.0), trials(THREE, generator_cpu=0.9))

    assert answer(found)[-1] == (
        "How sure: 1 of 1 comparison is decided, right with a chance of 95 %; of 1 more nothing is concluded, because of broken "
        "gates."
    )


def test_of_capacity_the_answer_is_who_has_most() -> None:
    eight = Queue(slots=8, held_s=0.05)
    first, _, sure = answer(sought({"eight": eight, "four": replace(eight, slots=4)}, budget_s=220).comparison())

    assert first.startswith("eight has the most capacity: ")
    assert sure.startswith("How sure: each interval holds the true capacity with a chance of 95 %")


def test_of_two_versions_the_answer_is_what_was_found_of_them() -> None:
    comparison = said()
    assert comparison.versions is not None

    assert answer(comparison) == [
        *versions.findings(comparison.versions)[:2],
        "How sure: all intervals hold together with a chance of 95 %.",
    ]


def test_what_speaks_against_a_server_is_said_with_its_first_verdict_alone() -> None:
    few = [replace(each, users=4) for each in (ONE, TWO)]
    found = verdicts(
        of(
            trials(ONE),
            trials(TWO, throughput_rps=80.0),
            trials(few[0], latency_mean_ms=200.0),
            trials(few[1], throughput_rps=60.0, latency_mean_ms=4000 / 60),
        )
    )

    assert [each.verdict for each in found] == ["Run two,", "Run two."]
    assert [each.why.startswith(f"although {ONE_SLOT}. ") for each in found] == [True, False]
    assert sorted(each.part for each in found) == ["advice-1", "advice-2"]


def test_where_any_will_do_the_verdict_names_them() -> None:
    (found,) = verdicts(of(trials(ONE), trials(TWO, throughput_rps=20.01)))

    assert found.verdict == "Any of these: two, one."


def test_of_many_conditions_those_with_most_servers_come_first_and_the_others_are_counted() -> None:
    few = [[replace(each, users=users) for each in (ONE, TWO)] for users in range(1, 6)]
    speeds = {1: (20.0, 80.0), 2: (80.0, 20.0)}
    observations = [
        trials(cell, throughput_rps=rps, latency_mean_ms=(cell.users or 0) * 1000 / rps)
        for number, cells in enumerate(few)
        for cell, rps in zip(cells, speeds[number % 2 + 1], strict=True)
    ]
    most = [trials(cell, throughput_rps=rps) for cell, rps in ((ONE, 20.0), (TWO, 30.0), (THREE, 40.0))]
    found = of(*observations, *most)

    assert answer(found)[0].startswith("Which to run: three for sleep 50 ms; ")
    assert answer(found)[1].startswith("At once (sleep 50 ms, 32 users): "), "though 5 users come first"
    ten = [replace(each, server=f"s{at}", users=at + 1) for at in range(6) for each in (ONE,)]
    beside = [replace(each, server="slow") for each in ten]
    many = of(
        *(trials(cell, throughput_rps=80.0, latency_mean_ms=(cell.users or 0) * 1000 / 80) for cell in ten),
        *(trials(cell, throughput_rps=20.0, latency_mean_ms=(cell.users or 0) * 1000 / 20) for cell in beside),
    )
    assert answer(many)[0].count(" for sleep 50 ms") == 4
    assert answer(many)[0].endswith("; 2 more are below.")
