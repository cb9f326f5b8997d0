"""Claims: from a file to conditions, and from observations to verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest

from wsgilab import testing
from wsgilab.analysis import claims, stats
from wsgilab.analysis.claims.figures import busy_users
from wsgilab.analysis.compare import compare
from wsgilab.model import (
    Cell,
    Claim,
    ClaimResult,
    Condition,
    Evidence,
    Gate,
    IdleReport,
    InFlight,
    Interval,
    Memory,
    Observation,
    Run,
)
from wsgilab.model.errors import SpecError
from wsgilab.report.claims import WORDS

BLOCKS = 6
SERVERS = {name: testing.server(name, slots=64, processes=4) for name in ("one", "two", "three")}
ONE, TWO = testing.cell("one"), testing.cell("two")
ALIKE = InFlight(peak=1, mean=0.99, threads=1, requests_per_process=(6,))

# A file.

FILE = """
name: claims
workloads: {sleep: {ms: 20}}
cells:
  single: {server: one, workload: sleep, users: 32}
  double: {server: two, workload: cpu, rate: 200, arrivals: poisson, connection: keep-alive, cores: 2}
claims:
  - id: first
    claim: One thing is so.
    met: everywhere
    holds:
      - {figure: peak_in_flight, of: single, at_least: 1, at_most: 2}
      - {figure: throughput_rps, of: double, over: single, at_least: 1.5}
    shows:
      - {figure: failures, of: single}
    explanation: Because.
    advice: Do so.
  - id: second
    claim: Another is so.
    met: nowhere
    holds: [{figure: latency_p99_ms, of: single, at_most: 100}]
    explanation: Why not.
    advice: Do not.
"""
DOUBLE = testing.cell(
    "two", workload="cpu", users=None, rate=200.0, arrivals="poisson", connection="keep-alive", cores=2
)


def parse(text: str) -> claims.ClaimSet:
    return claims.parse(text, "c.yaml", SERVERS)


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert caught.value.message.startswith("c.yaml: ")
    return caught.value.message.removeprefix("c.yaml: ")


def test_a_file_is_an_experiment_of_its_cells_and_what_is_claimed_of_them() -> None:
    found = parse(FILE)

    assert found.experiment.cells == (ONE, DOUBLE)
    assert found.experiment.parameters == {"sleep": {"ms": 20.0}, "cpu": {"ms": 5.0}}
    first, second = found.claims
    assert (first.id, first.claim, first.met) == ("first", "One thing is so.", "everywhere")
    assert (first.explanation, first.advice) == ("Because.", "Do so.")
    assert first.holds == (
        Condition(figure="peak_in_flight", of=ONE, at_least=1.0, at_most=2.0),
        Condition(figure="throughput_rps", of=DOUBLE, over=ONE, at_least=1.5),
    )
    assert first.shows == (Condition(figure="failures", of=ONE),)
    assert (second.holds, second.shows) == ((Condition(figure="latency_p99_ms", of=ONE, at_most=100.0),), ())


def test_what_a_file_leaves_out_has_a_default() -> None:
    experiment = parse(FILE).experiment

    assert (experiment.blocks, experiment.window_s, experiment.patience_s) == (6, 1.0, 10.0)
    assert (experiment.generator, experiment.generator_cores) == ("own", 1)
    assert experiment.reference == "one", "the first cell's"


def test_what_a_file_says_goes_before_the_defaults() -> None:
    experiment = parse(FILE + "blocks: 9\nwindow_s: 0.4\ngenerator: shared\nreference: three\n").experiment

    assert (experiment.blocks, experiment.window_s, experiment.generator) == (9, 0.4, "shared")
    assert experiment.reference == "three"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("server: one", "server: four", "cells.single.server: unknown server 'four'; known are one, two, three"),
        ("workload: sleep", "workload: nap", "cells.single.workload: unknown workload 'nap'; known are hello, sleep"),
        ("{sleep: {ms: 20}}", "{nap: {ms: 20}}", "workloads: unknown workload 'nap'; known are hello, sleep"),
        ("{sleep: {ms: 20}}", "{sleep: {s: 20}}", "workloads.sleep: unknown parameter 's'; known are ms"),
        ("sleep, users: 32", "sleep", "cells.single: needs users (a closed loop) or rate"),
        ("users: 32", "users: 32, rate: 5", "cells.single: needs users (a closed loop) or rate"),
        (
            "users: 32",
            "users: 32, arrivals: poisson",
            "cells.single.arrivals: says how a rate is spaced, but there are",
        ),
        ("users: 32", "users: 0", "cells.single.users: must be a whole number from 1 to 100000, not 0"),
        ("users: 32", "user: 32", "unknown key 'cells.single.user'; known are server, workload, users, rate"),
        (
            "{server: one, workload: sleep, users: 32}",
            "one",
            "cells.single: must be a mapping with keys such as server",
        ),
        (
            "{server: two, workload: cpu, rate: 200, arrivals: poisson, connection: keep-alive, cores: 2}",
            "{server: one, workload: sleep, users: 32}",
            "cells.double: is the same as single; one name is enough",
        ),
        ("claims:\n", "  idle: {server: two, workload: sleep, users: 1}\nclaims:\n", "cells.idle: no claim uses it"),
        ("id: second", "id: first", "claims[0].id: 'first' is given to 2 claims"),
        ("id: second", "id: Second one", "claims[1].id: must be lower-case letters, digits and hyphens"),
        ("id: second", "ids: second", "unknown key 'claims[1].ids'; known are id, claim, met, holds, shows"),
        (
            "    met: nowhere\n",
            "",
            "claims[1]: needs met (where it is said) or thread and reported (who reported it), and not both",
        ),
        (
            "figure: failures",
            "figure: failure",
            "claims[0].shows[0].figure: unknown figure 'failure'; did you mean failures?",
        ),
        (
            "failures, of: single",
            "failures, of: else",
            "claims[0].shows[0].of: unknown cell 'else'; known are single, double",
        ),
        ("over: single", "over: else", "claims[0].holds[1].over: unknown cell 'else'; known are single, double"),
        ("over: single", "over: double", "claims[0].holds[1].over: 'double' is the cell itself"),
        (", at_least: 1.5", "", "claims[0].holds[1]: needs a limit, at_least or at_most"),
        ("failures, of: single", "failures, of: single, at_most: 1", "claims[0].shows[0]: has a limit, but shows"),
        ("at_least: 1, at_most: 2", "at_least: 2.5, at_most: 2", "claims[0].holds[0]: nothing is at least 2.5 and at"),
        (
            "at_least: 1.5",
            "at_least: -1",
            "claims[0].holds[1].at_least: must be a number from 0 to 1000000000000, not -1",
        ),
        (
            "at_least: 1.5",
            "at_least: .nan",
            "claims[0].holds[1].at_least: must be a number from 0 to 1000000000000, not nan",
        ),
        ("at_least: 1.5", "least: 1.5", "unknown key 'claims[0].holds[1].least'; known are figure, of, over, at_least"),
        ("[{figure: latency_p99_ms, of: single, at_most: 100}]", "[]", "claims[1].holds: list should have at least 1"),
        ("advice: Do not.", "advice: ''", "claims[1].advice: string should have at least 1 character"),
        ("name: claims", "name: claims\nblocks: 3", "blocks: must be a whole number from 4 to 1000, not 3"),
        (
            "name: claims",
            "name: claims\nreference: four",
            "reference: unknown server 'four'; known are one, two, three",
        ),
        ("name: claims", "name: claims\nprecision: 0.1", "unknown key 'precision'; known are name, blocks, window_s"),
        ("name: claims\n", "", "lacks the key 'name'"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_what_would_be_right(before: str, after: str, told: str) -> None:
    assert FILE.count(before) == 1

    assert refusal(FILE.replace(before, after)).startswith(told)


@pytest.mark.parametrize("text", ["", "[]"])
def test_a_file_without_keys_is_no_file_of_claims(text: str) -> None:
    assert refusal(text) == "is not a file of claims; it must begin with keys such as name and cells"


def test_a_range_may_be_one_value() -> None:
    ((condition, _),) = [
        claim.holds for claim in parse(FILE.replace("at_least: 1, at_most: 2", "at_least: 2, at_most: 2")).claims[:1]
    ]

    assert (condition.at_least, condition.at_most) == (2.0, 2.0)


# What the machine can measure.


@pytest.mark.parametrize(
    ("generator", "usable", "cells"),
    [
        ("own", 3, (ONE, DOUBLE)),
        ("own", 2, (ONE,)),
        ("shared", 2, (ONE, DOUBLE)),
        ("shared", 1, (ONE,)),
    ],
)
def test_cells_that_need_more_cores_than_there_are_are_left_out(
    generator: str, usable: int, cells: tuple[Cell, ...]
) -> None:
    experiment = claims.feasible(parse(f"{FILE}generator: {generator}\n"), usable)

    assert experiment.cells == cells
    assert list(experiment.parameters) == list(dict.fromkeys(cell.workload for cell in cells))
    assert experiment.parameters["sleep"] == {"ms": 20.0}


def test_every_core_of_the_generators_own_counts() -> None:
    assert claims.feasible(parse(FILE + "generator_cores: 2\n"), 3).cells == (ONE,)


def test_the_reference_is_among_what_is_measured() -> None:
    wanting = parse(FILE + "reference: two\n")

    assert claims.feasible(wanting, 3).reference == "two"
    assert claims.feasible(wanting, 2).reference == "one"


def test_a_machine_that_can_measure_nothing_is_told_what_would_be_needed() -> None:
    with pytest.raises(SpecError) as caught:
        claims.feasible(parse(FILE), 1)

    assert caught.value.message == (
        "experiment claims: needs 2 cores at least, and of this machine's 1 can be used; "
        "let servers and generator share with --share-generator"
    )


# Figures.


def trial(of: Cell = ONE, block: int = 0, **changes: Any) -> Observation:
    """A trial whose report has changes; those of the observation itself are named so."""
    own = {
        name: changes.pop(name)
        for name in (
            "os_threads",
            "server_cpu_s",
            "resident_bytes",
            "throttled",
            "throttled_s",
            "memory",
            "memory_start",
        )
        if name in changes
    }
    return testing.observation(of, block=block, swarm=testing.trial_report(**{"completed": 600, **changes}), **own)


def changes(figure: str, value: float) -> dict[str, Any]:
    """What makes a trial have such a figure."""
    in_flight: dict[str, Any] = {
        "peak_in_flight": {"peak": value},
        "mean_in_flight": {"mean": value},
        "processes": {"requests_per_process": (9,) * int(value)},
        "threads": {"threads": value},
        "busiest_share": {"requests_per_process": (value, 4 - value)},
    }
    if figure in in_flight:
        return {"in_flight": replace(ALIKE, **in_flight[figure])}
    if figure.startswith("latency"):
        return {"latency_ms": {figure.split("_")[1]: value}}
    if figure == "throughput_rps":
        return {figure: value, "latency_mean_ms": 32_000 / value}
    if figure.startswith("idle_"):
        closed, held_s = (int(value), 2.0) if figure == "idle_closed" else (1, value)
        return {"idle": IdleReport(opened=99, refused=0, closed=closed, held_s=held_s, longest_s=99.0, open=4.0)}
    of_observation: dict[str, dict[str, Any]] = {
        "server_cpu": {"server_cpu_s": value * 0.3},
        "cpu_ms_per_request": {"server_cpu_s": value / 1000 * 20.0 * 0.3},
        "memory_mb": {"resident_bytes": round(value * 1e6)},
        "throttled_share": {"throttled_s": value * 0.3},
    }
    if figure in of_observation:
        return of_observation[figure]
    if figure.startswith("memory_"):
        count = round(value * 1e6)
        parts = (
            {"pss_bytes": count, "private_bytes": count // 2}
            if "pss" in figure
            else {"pss_bytes": 2 * count, "private_bytes": count}
        )
        return {"memory_start" if "start" in figure else "memory": Memory(**parts)}
    return {figure: value}


VALUES = {
    "peak_in_flight": (4, 9),
    "mean_in_flight": (3.5, 9.5),
    "processes": (2, 4),
    "threads": (4, 8),
    "os_threads": (5, 9),
    "throughput_rps": (20.0, 80.0),
    "latency_p50_ms": (50.0, 90.0),
    "latency_p99_ms": (60.0, 99.0),
    "latency_max_ms": (70.0, 700.0),
    "service_ms": (5.0, 50.0),
    "server_cpu": (0.25, 0.75),
    "cpu_ms_per_request": (0.25, 0.5),
    "memory_mb": (40.0, 90.0),
    "memory_pss_mb": (40.0, 90.0),
    "memory_private_mb": (20.0, 90.0),
    "memory_start_pss_mb": (40.0, 90.0),
    "memory_start_private_mb": (20.0, 90.0),
    "throttled_share": (0.1, 0.5),
    "busiest_share": (2, 3),
    "slow_connections": (1, 30),
    "failures": (2, 4),
    "unanswered": (1, 8),
    "refused": (1, 30),
    "reopened": (1, 30),
    "reset": (1, 30),
    "idle_closed": (1, 8),
    "idle_held_s": (1.5, 30.0),
    "abandoned": (1, 90),
    "wasted_work": (0.1, 0.9),
    "first_event_ms": (5.0, 900.0),
    "event_gap_ms": (100.0, 300.0),
    "longest_gap_ms": (50.0, 300.0),
    "lost_capacity": (0.1, 0.5),
}
"""A low and a high value of each figure."""


def near(found: Interval | None, median: float, low: float, high: float) -> bool:
    assert found is not None
    return bool([found.median, found.low, found.high] == pytest.approx([median, low, high]))


OF_SOME = {
    *("reopened", "reset", "refused", "idle_closed", "idle_held_s", "abandoned", "wasted_work"),
    *("first_event_ms", "event_gap_ms"),
}
"""Figures that not every trial has."""


def test_every_figure_is_tested_and_has_words() -> None:
    assert claims.FIGURES.keys() == VALUES.keys() == WORDS.keys()


@pytest.mark.parametrize("figure", VALUES)
def test_a_figure_is_read_from_one_trial(figure: str) -> None:
    for value in VALUES[figure]:
        assert claims.FIGURES[figure].read(SERVERS["one"], trial(**changes(figure, value))) == pytest.approx(value)


@pytest.mark.parametrize("figure", VALUES)
def test_a_failed_trial_has_no_figure(figure: str) -> None:
    assert claims.FIGURES[figure].read(SERVERS["one"], failed(ONE, 0)) is None


def test_what_was_not_read_is_no_figure() -> None:
    blank = trial(latency_ms={}, server_cpu_s=None, resident_bytes=None)

    for figure in ("latency_p99_ms", "server_cpu", "cpu_ms_per_request", "memory_mb", "os_threads", *OF_SOME):
        assert claims.FIGURES[figure].read(SERVERS["one"], blank) is None, figure


# Verdicts.


def failed(of: Cell, block: int, reason: str = "the backend postgres ended\nlog") -> Observation:
    return testing.observation(of, block=block, status="failed", swarm=None, server_cpu_s=None, reason=reason)


def claim(*holds: Condition, shows: tuple[Condition, ...] = ()) -> Claim:
    return Claim(id="x", claim="x", met="x", holds=holds, shows=shows, explanation="x", advice="x")


def run_of(*cells: Cell, **more: Any) -> Run:
    experiment = testing.experiment(*(cells or (ONE, TWO)), **{"blocks": BLOCKS, **more})
    return testing.run(experiment, *SERVERS.values())


def judged(observations: Sequence[Observation], *holds: Condition, run: Run | None = None) -> ClaimResult:
    (result,) = claims.judge(run or run_of(), observations, [claim(*holds)])
    return result


def evidence(observations: Sequence[Observation], condition: Condition, run: Run | None = None) -> Evidence:
    result = judged(observations, condition, run=run)
    (found,) = result.evidence
    assert result.verdict == found.verdict
    assert bool(found.reason) == (found.verdict in ("undecided", "not tested"))
    return found


def of_figure(figure: str, values: Sequence[float], of: Cell = ONE) -> list[Observation]:
    return [trial(of, block, **changes(figure, value)) for block, value in enumerate(values)]


@pytest.mark.parametrize("figure", VALUES)
@pytest.mark.parametrize("side", ["at_least", "at_most"])
def test_a_figures_condition_is_confirmed_or_refuted_by_every_block_and_else_undecided(figure: str, side: str) -> None:
    low, high = VALUES[figure]
    limit: dict[str, Any] = {side: high if side == "at_least" else low}
    condition = Condition(figure=figure, of=ONE, **limit)
    met, missed = (high, low) if side == "at_least" else (low, high)

    confirmed = evidence(of_figure(figure, [met] * BLOCKS), condition)
    refuted = evidence(of_figure(figure, [missed] * BLOCKS), condition)
    undecided = evidence(of_figure(figure, [met] * (BLOCKS - 1) + [missed]), condition)

    assert (confirmed.verdict, refuted.verdict, undecided.verdict) == ("confirmed", "refuted", "undecided")
    assert near(undecided.value, met, low, high)
    assert undecided.reason == f"from {low:g} to {high:g} over the blocks"
    assert (confirmed.condition, confirmed.blocks) == (condition, BLOCKS)


@pytest.mark.parametrize(
    ("peaks", "verdict"),
    [
        ([8] * 6, "confirmed"),
        ([7] * 6, "refuted"),
        ([9] * 6, "refuted"),
        ([7, 9] * 3, "refuted"),
        ([7, 8] * 3, "undecided"),
        ([8, 9] * 3, "undecided"),
    ],
)
def test_a_range_is_left_on_either_side(peaks: list[int], verdict: str) -> None:
    condition = Condition(figure="peak_in_flight", of=ONE, at_least=8, at_most=8)

    assert evidence(of_figure("peak_in_flight", peaks), condition).verdict == verdict


def test_the_range_is_of_all_blocks_however_many_there_are() -> None:
    values = [5, *[10] * 18, 20]
    found = evidence(of_figure("threads", values), Condition(figure="threads", of=ONE, at_most=19), run_of(blocks=20))

    assert found.verdict == "undecided", "one block in twenty"
    assert found.value == Interval(median=10, low=5, high=20)
    assert evidence(of_figure("threads", [5]), YES).value == Interval(median=1, low=None, high=None), "of one block"


YES = Condition(figure="peak_in_flight", of=ONE, at_most=4)
NO = Condition(figure="peak_in_flight", of=ONE, at_least=5)
MAYBE = Condition(figure="peak_in_flight", of=TWO, at_most=4)
ABSENT = Condition(figure="peak_in_flight", of=testing.cell("three"), at_most=4)


@pytest.mark.parametrize(
    ("holds", "verdict"),
    [
        ([YES], "confirmed"),
        ([NO], "refuted"),
        ([MAYBE], "undecided"),
        ([YES, YES], "confirmed"),
        ([YES, NO], "refuted"),
        ([YES, MAYBE], "undecided"),
        ([MAYBE, NO], "refuted"),
        ([YES, ABSENT], "not tested"),
        ([MAYBE, ABSENT], "not tested"),
        ([NO, ABSENT], "refuted"),
    ],
)
def test_a_claim_holds_if_all_of_it_does_and_not_if_any_of_it_does_not(holds: list[Condition], verdict: str) -> None:
    observations = of_figure("peak_in_flight", [4] * 6) + of_figure("peak_in_flight", [4, 5] * 3, TWO)

    result = judged(observations, *holds)

    assert result.verdict == verdict
    assert [each.condition for each in result.evidence] == holds


def test_what_is_shown_decides_nothing() -> None:
    shown = Condition(figure="throughput_rps", of=ONE)
    (result,) = claims.judge(
        run_of(), of_figure("throughput_rps", [20, 21, 22, 23, 24, 25]), [claim(YES, shows=(shown,))]
    )

    assert result.verdict == "confirmed"
    (told,) = result.shown
    assert (told.value, told.blocks, told.reason) == (Interval(median=22.5, low=20, high=25), 6, "")
    observations = [trial(ONE, block, in_flight=replace(ALIKE, peak=99)) for block in range(6)]
    (result,) = claims.judge(run_of(), observations, [claim(YES, shows=(shown,))])
    assert result.shown[0].value is not None
    assert result.shown[0].reason == "99 requests in flight, but 64 slots declared: the declaration is wrong"


# What spoils a figure.

BROKEN: dict[Gate, dict[str, Any]] = {
    "neighbour": {"server_busy": 1.0, "generator_others": 0.5},
    "throttled": {"throttled": 1},
    "generator": {"generator_cpu": 0.8},
    "little": {"latency_mean_ms": 1900.0, "throughput_rps": 20.0},
    "slots": {"in_flight": replace(ALIKE, peak=65)},
    "processes": {"in_flight": replace(ALIKE, requests_per_process=(1,) * 5)},
    "failures": {"failures": 10, "errors": {"refused": 10}},
    "cut-off": {"cut_off": 10},
    "late": {"late": 10},
}
DISTURBED = {"neighbour", "throttled"}
MEMORY = ("memory_pss_mb", "memory_private_mb", "memory_start_pss_mb", "memory_start_private_mb")
UNSEEN = {"neighbour", "throttled", "generator", "failures", "cut-off", "late"}
SPOILT_BY: dict[str, set[str]] = {
    **dict.fromkeys(("peak_in_flight", "processes", "threads", "os_threads", "memory_mb", *MEMORY), UNSEEN),
    "throttled_share": UNSEEN | {"little"},
    "longest_gap_ms": {"neighbour", "throttled", "generator"},
    "lost_capacity": {"neighbour", "throttled", "generator"},
    **dict.fromkeys(("mean_in_flight", "service_ms", "server_cpu", "cpu_ms_per_request"), UNSEEN | {"little"}),
    "busiest_share": UNSEEN | {"little", "processes"},
    **{figure: set(BROKEN) for figure in ("throughput_rps", "latency_p50_ms", "latency_p99_ms", "latency_max_ms")},
    **dict.fromkeys(("slow_connections", "failures", "unanswered", "refused", "reopened", "reset"), DISTURBED),
    **dict.fromkeys(("idle_closed", "idle_held_s", "abandoned", "wasted_work"), DISTURBED),
    **dict.fromkeys(("first_event_ms", "event_gap_ms"), UNSEEN | {"little"}),
}


READ: Mapping[str, Any] = {
    "os_threads": 7,
    "throttled_s": 0.1,
    "memory": Memory(pss_bytes=2 * 10**6, private_bytes=10**6),
    "memory_start": Memory(pss_bytes=2 * 10**6, private_bytes=10**6),
    "longest_gap_ms": 70.0,
    "lost_capacity": 0.1,
}
"""What only some trials have."""


@pytest.mark.parametrize("gate", BROKEN)
@pytest.mark.parametrize("figure", VALUES)
def test_a_broken_gate_spoils_the_figures_that_it_makes_doubtful_and_no_other(figure: str, gate: Gate) -> None:
    """Whatever the limit is: far below every figure, so that it would hold."""
    assert BROKEN.keys() == set(get_args(Gate))
    # Those that a trial has only under some circumstances, or of a lab that counts them.
    of_some = {} if figure not in OF_SOME else changes(figure, VALUES[figure][1])
    broken = [trial(ONE, block, **{**READ, **of_some, **BROKEN[gate]}) for block in range(6)]

    found = evidence(broken, Condition(figure=figure, of=ONE, at_least=0.001))

    if gate in SPOILT_BY[figure]:
        assert found.verdict == "undecided"
        assert found.reason, "the gate's warning"
        assert found.value is not None, "a doubtful figure is shown all the same"
    else:
        assert found.verdict in ("confirmed", "refuted")


BESIDE = {"server_busy": 0.0066 / 0.3 + 0.08, "generator_others": 0.0}
"""Others take 8 % of the server's core, and nothing of the generator's."""
BESIDE_BOTH = {**BESIDE, "generator_others": 0.05}


@pytest.mark.parametrize("figure", VALUES)
def test_others_that_take_a_little_spoil_what_has_no_bound_without_them(figure: str) -> None:
    of_some = {} if figure not in OF_SOME else changes(figure, VALUES[figure][1])
    beside = [trial(ONE, block, **{**READ, **of_some, **BESIDE_BOTH}) for block in range(6)]

    # Wherever any other may be without them, it is at least 0.
    found = evidence(beside, Condition(figure=figure, of=ONE, at_least=0.0))

    spoilt = {"mean_in_flight", "throttled_share", "lost_capacity"}
    assert (found.verdict == "undecided") == (figure in spoilt), found.reason


@pytest.mark.parametrize(
    ("figure", "value", "low", "high"),
    [
        # 8 % of the server's core and 5 % of the generator's, of windows of 300 ms.
        ("peak_in_flight", 4.0, 4.0, 4.0),
        ("throughput_rps", 100.0, 100.0, 114.9),
        ("server_cpu", 0.5, 0.5, 0.611),
        ("server_cpu", 0.95, 0.95, 1.0),
        ("cpu_ms_per_request", 2.0, 1.908, 2.0),
        ("latency_p99_ms", 90.0, 51.0, 105.0),
        ("longest_gap_ms", 20.0, 0.0, 35.0),
    ],
)
def test_beside_others_a_condition_holds_where_the_figure_may_have_been_without_them(
    figure: str, value: float, low: float, high: float
) -> None:
    changed = changes(figure, value)
    busy = changed.get("server_cpu_s", 0.0066) / 0.3 + 0.08
    beside = [trial(ONE, block, **{**changed, **BESIDE_BOTH, "server_busy": busy}) for block in range(6)]
    near = 0.002 * value

    def verdict(**limit: Any) -> str:
        return evidence(beside, Condition(figure=figure, of=ONE, **limit)).verdict

    assert (verdict(at_least=low - near), verdict(at_most=low - near)) == ("confirmed", "refuted")
    assert (verdict(at_most=high + near), verdict(at_least=high + near)) == ("confirmed", "refuted")
    if low < high:
        assert verdict(at_least=low + near) == verdict(at_most=high - near) == "undecided"


@pytest.mark.parametrize(
    ("disturbed", "limit", "verdict"),
    [
        (None, {"at_most": 0.91}, "confirmed"),
        # 0.9, and 0.978 where two had all of its core.
        (TWO, {"at_most": 0.97}, "undecided"),
        (TWO, {"at_most": 0.98}, "confirmed"),
        (TWO, {"at_least": 0.9}, "confirmed"),
        (TWO, {"at_least": 0.98}, "refuted"),
        # 0.828 where one had.
        (ONE, {"at_least": 0.84}, "undecided"),
        (ONE, {"at_least": 0.82}, "confirmed"),
        (ONE, {"at_most": 0.9}, "confirmed"),
    ],
)
def test_beside_others_a_ratio_of_throughputs_may_be_another_by_what_they_take(
    disturbed: Cell | None, limit: dict[str, Any], verdict: str
) -> None:
    # What they take of a machine that is called quiet.
    usual = {"server_busy": 0.0066 / 0.3 + 0.02, "generator_others": 0.02}
    speed = {ONE: 100.0, TWO: 90.0}
    observations = [
        trial(of, block, **changes("throughput_rps", speed[of]), **(BESIDE if of == disturbed else usual))
        for of in speed
        for block in range(6)
    ]

    found = evidence(observations, Condition(figure="throughput_rps", of=TWO, over=ONE, **limit))

    assert found.verdict == verdict, found.reason
    assert found.value == Interval(median=0.9, low=0.9, high=0.9), "as measured"


def test_who_the_others_were_is_not_said_of_a_claim() -> None:
    observations = [replace(trial(ONE, block, **BROKEN["neighbour"]), neighbours=("mail (7)",)) for block in range(6)]

    reason = evidence(observations, YES).reason

    assert reason.startswith("others took up to ")
    assert "mail" not in reason


def test_a_spoilt_figure_gives_the_gates_warning_and_a_ratio_the_cell_that_it_is_about() -> None:
    ratio = Condition(figure="throughput_rps", of=TWO, over=ONE, at_least=0.1)
    good = {cell: [trial(cell, block) for block in range(6)] for cell in (ONE, TWO)}
    bad = {cell: [trial(cell, block, generator_cpu=0.85) for block in range(6)] for cell in (ONE, TWO)}

    assert evidence(bad[ONE], YES).reason == "the generator used 85% of its core: it may be what is measured"
    assert evidence(good[TWO] + bad[ONE], ratio).reason.startswith("one: the generator used 85%")
    assert evidence(bad[TWO] + good[ONE], ratio).reason.startswith("two: the generator used 85%")


@pytest.mark.parametrize(("figure", "verdict"), [("latency_p99_ms", "undecided"), ("throughput_rps", "confirmed")])
def test_users_without_an_answer_make_latencies_doubtful(figure: str, verdict: str) -> None:
    observations = [trial(ONE, block, unanswered=1 if block == 2 else 0) for block in range(6)]

    found = evidence(observations, Condition(figure=figure, of=ONE, at_most=5000))

    assert found.verdict == verdict
    if verdict == "undecided":
        assert found.reason.startswith("up to 1 of 32 users had no answer")


# What the load could not have shown.


def quiet(of: Cell, users: float, **changes: Any) -> list[Observation]:
    """Blocks in which only so many users were really at it, by Little's law, each after 50 ms."""
    more = {"throughput_rps": users * 20, "latency_mean_ms": 50.0, **changes}
    return [trial(of, block, **more) for block in range(6)]


@pytest.mark.parametrize(
    ("observation", "busy"),
    [
        *(
            (quiet(testing.cell(users=users), answering)[0], busy)
            for users, answering, busy in (
                *((32, 32.0, 32), (32, 28.9, 32), (32, 28.5, 28), (32, 1.05, 1), (32, 0.98, 0), (1, 1.08, 1)),
                (32, 40.0, 32),
            )
        ),
        (trial(unanswered=5), 27),
        (quiet(ONE, 20, unanswered=5)[0], 20),
        (quiet(ONE, 20, unanswered=15)[0], 17),
        # Others waited for an answer that they gave up.
        (quiet(ONE, 20, in_vain=12.0)[0], 32),
        (quiet(ONE, 20, in_vain=3.5)[0], 23),
        # At a fixed rate, the requests under way.
        (quiet(DOUBLE, 2.5)[0], 2.5),
    ],
)
def test_users_are_busy_whose_requests_take_up_their_time(observation: Observation, busy: float) -> None:
    assert busy_users(observation) == pytest.approx(busy)


OF_LOAD = ("peak_in_flight", "mean_in_flight", "processes", "threads", "os_threads")


@pytest.mark.parametrize(
    ("users", "figure", "value", "limit", "verdict"),
    [
        # That a server holds few requests is only known where more users sent requests.
        *((1, figure, 1, {"at_most": 1}, "undecided") for figure in OF_LOAD),
        *((2, figure, 1, {"at_most": 1}, "confirmed") for figure in OF_LOAD),
        *((1, figure, 1, {"at_least": 2}, "undecided") for figure in OF_LOAD),
        *((2, figure, 1, {"at_least": 2}, "refuted") for figure in OF_LOAD),
        # That it holds many needs no more users than those.
        (4, "peak_in_flight", 4, {"at_least": 4}, "confirmed"),
        (4, "peak_in_flight", 4, {"at_least": 5}, "undecided"),
        (4, "peak_in_flight", 4, {"at_most": 3}, "refuted"),
        # A range must have load beyond either end.
        (8, "peak_in_flight", 6, {"at_least": 4, "at_most": 7}, "confirmed"),
        (8, "peak_in_flight", 6, {"at_least": 4, "at_most": 8}, "undecided"),
        # Other figures do not grow with the users.
        (1, "service_ms", 50, {"at_most": 60}, "confirmed"),
    ],
)
def test_a_condition_is_decided_where_the_load_would_have_let_it_come_out_otherwise(
    users: int, figure: str, value: float, limit: dict[str, Any], verdict: str
) -> None:
    of = testing.cell("one", users=users)
    observations = quiet(of, users, **changes(figure, value))

    assert evidence(observations, Condition(figure=figure, of=of, **limit), run_of(of)).verdict == verdict


def test_one_block_without_its_load_is_enough_to_tell_nothing() -> None:
    """All but one of the users failed, seldom enough to break no gate."""
    observations = quiet(ONE, 32)
    observations[3] = quiet(ONE, 1)[3]

    found = evidence(observations, YES)

    assert (found.verdict, found.reason) == (
        "undecided",
        "too few users were really sending requests for it to come out otherwise",
    )
    assert evidence(quiet(ONE, 32), YES).verdict == "confirmed"
    ratio = Condition(figure="peak_in_flight", of=TWO, over=ONE, at_most=1)
    ours = quiet(TWO, 32)
    assert evidence(ours + quiet(ONE, 32), ratio).verdict == "confirmed"
    ours[3] = quiet(TWO, 1)[3]
    assert evidence(ours + quiet(ONE, 32), ratio).verdict == "undecided"


@pytest.mark.parametrize(
    ("ours", "theirs", "limit", "verdict"),
    [
        ((8, 32), (1, 32), {"at_least": 8}, "confirmed"),
        ((8, 32), (1, 1), {"at_least": 8}, "undecided"),
        ((1, 1), (1, 32), {"at_most": 1}, "undecided"),
        ((1, 32), (1, 32), {"at_most": 1}, "confirmed"),
        ((8, 32), (1, 32), {"at_most": 1}, "refuted"),
        ((1, 32), (8, 32), {"at_least": 4}, "refuted"),
        ((1, 32), (8, 32), {"at_least": 5}, "undecided"),
        ((1, 1), (8, 32), {"at_least": 8}, "undecided"),
    ],
)
def test_a_ratio_of_requests_in_flight_needs_load_on_both_sides(
    ours: tuple[int, int], theirs: tuple[int, int], limit: dict[str, Any], verdict: str
) -> None:
    observations = [
        each
        for cell, (peak, users) in ((TWO, ours), (ONE, theirs))
        for each in quiet(cell, users, **changes("peak_in_flight", peak))
    ]

    assert evidence(observations, Condition(figure="peak_in_flight", of=TWO, over=ONE, **limit)).verdict == verdict


# Ratios.


def rates(of: Cell, values: Sequence[float]) -> list[Observation]:
    return of_figure("throughput_rps", values, of)


RATIO = Condition(figure="throughput_rps", of=TWO, over=ONE)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ({"at_least": 2.0}, "confirmed"),
        ({"at_least": 2.3}, "refuted"),
        ({"at_least": 2.1}, "undecided"),
        ({"at_most": 2.3}, "confirmed"),
        ({"at_most": 1.9}, "refuted"),
        ({"at_most": 2.1}, "undecided"),
        ({"at_least": 2.0, "at_most": 2.3}, "confirmed"),
        ({"at_least": 1.0, "at_most": 1.9}, "refuted"),
        ({"at_least": 2.3, "at_most": 3.0}, "refuted"),
        ({"at_least": 2.1, "at_most": 2.1}, "undecided"),
        ({"at_least": 1.0, "at_most": 2.1}, "undecided"),
        ({"at_least": 2.1, "at_most": 9.0}, "undecided"),
    ],
)
def test_a_ratio_is_decided_by_its_whole_interval(limit: dict[str, Any], verdict: str) -> None:
    ours, theirs = [20.0, 22.0, 44.0, 21.0, 20.0, 22.0, 21.5], [10.0, 10.0, 20.0, 10.0, 10.0, 10.0, 10.0]

    found = evidence(rates(TWO, ours) + rates(ONE, theirs), replace(RATIO, **limit))

    assert found.value is not None
    assert found.value.median == pytest.approx(2.15)
    assert 2.0 < (found.value.low or 0) < 2.1 < (found.value.high or 0) < 2.3
    assert found.blocks == 7
    assert found.verdict == verdict
    if verdict == "undecided":
        assert found.reason == "its interval, 2.03 to 2.21, holds the limit"


def test_a_ratio_is_paired_by_block_and_its_cells_may_differ_in_anything() -> None:
    """The medians' ratio would be about 1."""
    observations = rates(TWO, [20, 200, 20, 200, 20, 200]) + rates(ONE, [10, 100, 10, 100, 10, 100])
    other = testing.cell("one", workload="cpu", users=8, cores=2, connection="keep-alive")
    unlike = [trial(other, block, throughput_rps=20.0, latency_mean_ms=400.0) for block in range(6)]
    condition = replace(RATIO, of=ONE, over=other, at_least=2)

    assert evidence(observations, replace(RATIO, at_least=2)).verdict == "confirmed"
    assert evidence(rates(ONE, [40] * 6) + unlike, condition, run_of(ONE, other)).verdict == "confirmed"


@pytest.mark.parametrize("figure", ["failures", "slow_connections"])
def test_a_block_without_any_has_no_ratio(figure: str) -> None:
    condition = Condition(figure=figure, of=TWO, over=ONE, at_least=2)
    ours, theirs = of_figure(figure, [4, 4, 4, 4, 0, 4], TWO), of_figure(figure, [2, 0, 2, 2, 2, 2])

    found = evidence(ours + theirs, condition)

    assert (found.blocks, found.verdict) == (4, "confirmed")


def test_the_ratios_that_decide_hold_all_at_once() -> None:
    """Two ratios have half of the error rate each, so their intervals are wider than that of one."""
    observations = of_figure("service_ms", [20, 22, 20, 22, 20, 22], TWO) + of_figure("service_ms", [10] * 6, ONE)
    first, same, other = (
        replace(RATIO, figure="service_ms", at_least=1.9),
        replace(RATIO, figure="service_ms", at_most=9),
        replace(RATIO, figure="service_ms", of=ONE, over=TWO, at_most=9),
    )

    def low(holds: list[Condition], shows: tuple[Condition, ...] = ()) -> float:
        (result,) = claims.judge(run_of(), observations, [claim(*holds, shows=shows)])
        value = result.evidence[0].value
        assert value is not None
        assert value.low is not None
        return value.low

    one = low([first])
    assert low([first, same]) == one, "the same ratio"
    assert low([first], (replace(other, at_most=None),)) == one, "it decides nothing"
    assert low([first, other]) < one
    both = claims.judge(run_of(), observations, [claim(first), claim(other)])
    assert both[0].evidence[0].value is not None
    assert both[0].evidence[0].value.low == low([first, other]), "over all claims"


def servers_of(observations: Sequence[Observation], *named: Cell) -> Mapping[str, Interval]:
    """What the run's own comparison says of the two servers, by their name."""
    found = compare(run_of(*named), observations).pairs
    return {pair.cell.server: pair.ratio for pair in found}


def test_a_ratio_that_the_comparison_of_the_run_has_too_has_one_interval() -> None:
    three = testing.cell("three")
    observations = rates(TWO, [20, 22, 20, 22, 20, 23, 21, 22]) + rates(ONE, [10] * 8) + rates(three, [30, 31] * 4)
    run = run_of(ONE, TWO, three)
    condition = replace(RATIO, at_least=1.9)

    (result,) = claims.judge(run, observations, [claim(condition, replace(condition, of=ONE, over=TWO))])

    there, back = (each.value for each in result.evidence)
    assert there == servers_of(observations, ONE, TWO, three)["two"]
    assert there is not None
    assert back == stats.turned(there)


def test_what_the_runs_own_comparisons_spend_is_not_left_to_other_ratios() -> None:
    shared = replace(RATIO, at_least=1.9)
    other = Condition(figure="service_ms", of=TWO, over=ONE, at_most=9)
    observations = [
        trial(cell, block, throughput_rps=rps, latency_mean_ms=32_000 / rps, service_ms=service_ms)
        for cell, rps, times in ((TWO, 20.0, (20, 22, 20, 22, 20, 22)), (ONE, 10.0, (10,) * 6))
        for block, service_ms in enumerate(times)
    ]

    alone = judged(observations, other).evidence[0].value
    beside = judged(observations, other, shared).evidence[0].value

    assert alone is not None
    assert beside is not None
    assert (beside.low or 0) < (alone.low or 0)


def test_another_figures_scatter_widens_no_interval() -> None:
    first = replace(RATIO, at_least=1.9)
    wild = Condition(figure="service_ms", of=TWO, over=ONE, at_least=1)
    observations = [
        trial(cell, block, throughput_rps=rps, latency_mean_ms=32_000 / rps, service_ms=service_ms * (1 + block))
        for cell, rps, service_ms in ((TWO, 20.0, 5.0), (ONE, 10.0, 50.0))
        for block in range(6)
    ]

    assert judged(observations, first, wild).evidence[0].value == Interval(median=2.0, low=2.0, high=2.0)


# Too little to judge by.


@pytest.mark.parametrize(
    ("blocks", "verdict"), [(stats.FEWEST_BLOCKS, "confirmed"), (stats.FEWEST_BLOCKS - 1, "undecided")]
)
@pytest.mark.parametrize("over", [None, ONE])
def test_few_blocks_decide_nothing(blocks: int, verdict: str, over: Cell | None) -> None:
    condition = Condition(figure="throughput_rps", of=TWO, over=over, at_least=2)

    found = evidence(rates(TWO, [40] * blocks) + rates(ONE, [10] * 6), condition)

    assert (found.blocks, found.verdict) == (blocks, verdict)
    if verdict == "undecided":
        assert found.reason == "only 3 of 6 blocks have it, and a verdict needs 4"


@pytest.mark.parametrize(
    ("observations", "condition", "blocks", "reason"),
    [
        (
            of_figure("peak_in_flight", [1] * 6),
            Condition(figure="os_threads", of=ONE, at_most=5),
            0,
            "only 0 of 6 blocks have it, and a verdict needs 4",
        ),
        (
            [*of_figure("peak_in_flight", [1] * 3), *(failed(ONE, block) for block in (3, 4, 5))],
            YES,
            3,
            "only 3 of 6 blocks have it, and a verdict needs 4: the backend postgres ended",
        ),
        (
            rates(TWO, [40] * 6) + [failed(ONE, block) for block in range(6)],
            replace(RATIO, at_least=2),
            0,
            "6 of 6 trials of one failed: the backend postgres ended",
        ),
        ([], YES, 0, "only 0 of 6 blocks have it, and a verdict needs 4"),
    ],
)
def test_where_too_little_was_measured_the_reason_says_so(
    observations: Sequence[Observation], condition: Condition, blocks: int, reason: str
) -> None:
    found = evidence(observations, condition)

    assert (found.verdict, found.blocks, found.reason) == ("undecided", blocks, reason)
    assert (found.value is None) == (blocks == 0)


@pytest.mark.parametrize(("failures", "verdict"), [(6, "confirmed"), (7, "undecided")])
def test_a_cell_of_which_more_than_half_failed_decides_nothing(failures: int, verdict: str) -> None:
    observations = of_figure("peak_in_flight", [1] * (12 - failures))
    observations += [failed(ONE, 11 - block) for block in range(failures)]

    found = evidence(observations, YES, run_of(blocks=12))

    assert found.verdict == verdict
    if verdict == "undecided":
        assert found.reason == "7 of 12 trials of one failed: the backend postgres ended"


@pytest.mark.parametrize("over", [None, ONE])
def test_a_cell_that_is_not_the_runs_was_not_measured(over: Cell | None) -> None:
    absent = testing.cell("three")
    condition = Condition(figure="throughput_rps", of=absent, over=over, at_least=2)

    found = evidence(rates(ONE, [10] * 6), condition)

    assert (found.verdict, found.value, found.blocks) == ("not tested", None, 0)
    assert found.reason == "three was not measured so in this run"


def test_a_server_that_the_machine_cannot_have_says_why_beside_whatever_else_it_lacks() -> None:
    absent = testing.cell("three", cores=64)
    observations = of_figure("peak_in_flight", [1] * 6)

    (found, other) = claims.judge(
        run_of(), observations, [claim(replace(YES, of=absent)), claim(YES)], {"three": "as it needs a compiler"}
    )

    assert (found.verdict, found.evidence[0].reason) == ("not tested", "three was left out, as it needs a compiler")
    assert other.verdict == "confirmed"


@pytest.mark.parametrize(
    ("generator", "usable", "told"),
    [
        ("shared", "0", "needs 2 cores, and this machine has 1 that can be used"),
        ("own", "0-1", "needs 3 cores, the generator's included, and this machine has 2 that can be used"),
        ("own", "0-2", "two was not measured so in this run"),
    ],
)
def test_a_cell_that_the_machine_has_not_the_cores_for_says_so(generator: str, usable: str, told: str) -> None:
    run = run_of(ONE, generator=generator)
    run = replace(run, host=replace(run.host, usable_cpus=usable))

    assert evidence([], Condition(figure="throughput_rps", of=DOUBLE, at_least=2), run).reason == told


def test_one_usable_core_leaves_the_claims_that_need_two_untested_and_decides_the_others() -> None:
    wanting = parse(FILE + "generator: shared\n")
    experiment = claims.feasible(wanting, 1)
    run = testing.run(experiment, *SERVERS.values())
    run = replace(run, host=replace(run.host, usable_cpus="0"))

    first, second = claims.judge(run, of_figure("latency_p99_ms", [90] * 6), wanting.claims)

    assert (first.verdict, [each.verdict for each in first.evidence]) == ("not tested", ["confirmed", "not tested"])
    assert second.verdict == "confirmed"
