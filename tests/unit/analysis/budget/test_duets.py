"""What two servers that are loaded at once say of each other's cost, and which comparisons get such windows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from wsgilab import testing
from wsgilab.analysis.ab.versions import whole
from wsgilab.analysis.budget import duets
from wsgilab.analysis.compare import compare
from wsgilab.analysis.pairs.family import can_have_duets, cost_share
from wsgilab.analysis.pairs.ratios import Paired, intervals
from wsgilab.experiment import plan
from wsgilab.model import (
    CapacityLimit,
    Cell,
    Circumstances,
    CostRatio,
    Duet,
    Gate,
    InFlight,
    LaneRecord,
    Machine,
    Observation,
    Run,
    Tune,
)

ONE, TWO, THREE = (testing.cell(name, workload="hello") for name in ("one", "two", "three"))
UNLIKE = [testing.server(name, command=(name,)) for name in ("one", "two", "three")]


def run_of(*cells: Cell, budget_s: float = 120.0, **changes: Any) -> Run:
    experiment = testing.experiment(*cells, blocks=2, budget_s=budget_s, reference="one")
    return testing.run(experiment, **changes)


RUN = run_of(ONE, TWO)
PAIR = TWO, ONE
REPORT = testing.trial_report(
    completed=600, in_flight=InFlight(peak=1, mean=0.99, threads=1, requests_per_process=(600,))
)
COSTLY = {"two": 1.3}


def half(cell: Cell, number: int, cost_ms: float, share: float, busy: float = 1.0, **changes: Any) -> Observation:
    """A server that had a share of the core for 0.6 s, of which all and others used `busy`."""
    figures = {
        "window_s": 0.6,
        "read_completed": round(600 * share / cost_ms),
        "read_span_s": 0.6,
        # In no way what the costs say.
        "throughput_rps": 100.0 if cell == ONE else 900.0,
        "server_busy": busy,
        "generator_others": 0.0,
    }
    swarm = replace(REPORT, **{**figures, **changes.pop("swarm", {})})
    return testing.observation(
        cell, block=number, swarm=swarm, server_cpu_s=0.6 * share, server_span_s=0.6, took_s=1.0, **changes
    )


def duet(number: int, ratio: float, *, cell: Cell = TWO, used: float = 1.0, **changes: Any) -> Duet:
    """Both together used so much of the core, a third of that the reference, and others the rest of what was busy."""
    ours = half(cell, number, 0.01 * ratio, 2 * used / 3, **changes)
    return Duet(one=ours, other=half(replace(cell, server="one"), number, 0.01, used / 3, **changes))


def some(count: int, ratio: float, scatter: float = 0.01, **changes: Any) -> list[Duet]:
    return [duet(number, ratio * math.exp(scatter * (-1) ** number), **changes) for number in range(count)]


def alone(*cells: Cell, cost: Mapping[str, float] = {}, busy: float = 0.95, look: int = 0) -> list[Observation]:
    """Two whole blocks, in which each server is loaded alone, and no speed differs by more than chance."""
    return [
        replace(
            each,
            took_s=1.0,
            look=look,
            swarm=replace(each.swarm, throughput_rps=100.0 + block, latency_mean_ms=32_000 / (100 + block)),
        )
        for block in range(2)
        for cell in cells
        for each in [half(cell, block, 0.01 * cost.get(cell.server, 1.0), busy - 0.01, busy)]
        if each.swarm is not None
    ]


def cost_of(given: Sequence[Duet], run: Run = RUN, observations: Sequence[Observation] | None = None) -> CostRatio:
    (pair,) = compare(run, alone(ONE, TWO) if observations is None else observations, duets=given).pairs
    assert pair.cost is not None
    return pair.cost


# What they say.


def test_a_stored_run_of_one_version_is_read_with_its_duets() -> None:
    given = some(6, 1.3)
    assert whole(RUN, alone(ONE, TWO), duets=given) == compare(RUN, alone(ONE, TWO), duets=given)
    assert whole(RUN, alone(ONE, TWO)) != whole(RUN, alone(ONE, TWO), duets=given)


@pytest.mark.parametrize(("ratio", "verdict"), [(1.3, "more"), (1 / 1.3, "less"), (1.0, "undecided")])
def test_the_cost_is_that_of_duets_where_there_are_enough(ratio: float, verdict: str) -> None:
    found = cost_of(some(6, ratio))

    assert (found.verdict, found.blocks, found.margin, found.duet) == (verdict, 6, 0.01, True)
    assert found.ratio.median == pytest.approx(ratio, rel=0.002)
    assert found.because == "by 6 windows with both at once"
    assert not cost_of(some(3, ratio)).duet, "too few"


def test_they_say_nothing_of_speed_and_enter_no_other_figure() -> None:
    without, found = (compare(RUN, alone(ONE, TWO), duets=given) for given in ([], some(8, 2.0)))

    assert found.cells == without.cells
    assert found.pairs[0].verdict == "undecided"
    assert replace(found.pairs[0], cost=None) == replace(without.pairs[0], cost=None)
    assert found.advice == without.advice


def test_a_cost_that_windows_one_after_the_other_have_decided_stays() -> None:
    apart = alone(ONE, TWO, cost={"two": 1.3})
    later = [replace(each, block=each.block + 2 * number, look=4) for number in range(1, 5) for each in apart]
    found = cost_of(some(6, 1.0), observations=[*apart, *later])

    assert (found.duet, found.verdict, found.blocks) == (False, "more", 10)


def test_requests_count_that_either_server_finished_between_its_own_readings() -> None:
    given = [
        replace(each, one=replace(each.one, server_cpu_s=0.8 * (each.one.server_cpu_s or 0.0), server_span_s=0.48))
        for each in some(4, 1.5, scatter=0.0)
    ]

    assert cost_of(given).ratio.median == pytest.approx(1.5, rel=0.001)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"swarm": {"failures": 1}}, "not every request of two was answered"),
        ({"swarm": {"cut_off": 1}}, "not every request of two was answered"),
        ({"swarm": {"unanswered": 1}}, "not every request of two was answered"),
        ({"throttled": 2}, "a CPU quota stopped two"),
        ({"swarm": {"generator_others": 0.2}}, "others took 20% of the generator's core"),
        ({"swarm": {"generator_cpu": 0.85}}, "the generator used 85% of its core"),
        ({"swarm": {"read_completed": 0}}, "what they used of the cores was not read"),
        ({"used": 0.8, "busy": 0.9}, "both together, with others, used 90% of the cores, so these did not bind"),
    ],
)
def test_those_that_do_not_count_are_left_out_with_the_reason(changes: dict[str, Any], problem: str) -> None:
    found = cost_of([duet(number, 2.0, **changes) for number in range(5)])

    assert (found.duet, found.verdict) == (False, "undecided")
    assert found.because == f"5 windows with both at once left out: {problem}"


def test_what_spoils_some_of_them_leaves_the_others() -> None:
    failed = replace(duet(4, 9.0), one=testing.observation(TWO, block=4, status="failed", reason="it died", swarm=None))
    found = cost_of([*some(4, 1.3), failed, duet(5, 9.0, swarm={"failures": 1})])

    assert (found.duet, found.blocks, found.verdict) == (True, 4, "more")
    (pair,) = compare(RUN, alone(ONE, TWO), duets=[failed] * 4).pairs
    assert pair.cost is not None
    assert pair.cost.because == "4 windows with both at once left out: two: it died"


def test_beside_a_neighbour_unlike_servers_must_differ_by_more_the_more_that_had() -> None:
    run = replace(RUN, servers={each.name: each for each in UNLIKE})
    beside, little = some(8, 1.2, used=0.5), some(8, 1.2, used=0.98)
    assert (cost_of(beside, run).verdict, cost_of(little, run).verdict) == ("undecided", "more")
    assert cost_of(beside, run).margin == pytest.approx(0.27)
    assert cost_of(beside, run).because == (
        "by 8 windows with both at once, in which others had 50% of the cores; of servers that are unlike only more than 27.0% counts"
    )
    assert cost_of(little, run).margin == pytest.approx(0.11)
    assert (
        cost_of(little, run).because
        == "by 8 windows with both at once; of servers that are unlike only more than 11.0% counts"
    )
    assert (cost_of(beside).verdict, cost_of(beside).margin) == ("more", 0.01), "they are the same program"


def test_a_broken_gate_other_than_a_neighbours_leaves_no_cost() -> None:
    broken = [replace(each, swarm=each.swarm and replace(each.swarm, failures=9)) for each in alone(ONE, TWO)]
    (pair,) = compare(RUN, broken, duets=some(8, 2.0)).pairs

    assert pair.broken_gates
    assert pair.cost is None


def test_the_first_ones_have_a_look_of_their_own_and_all_of_them_the_last() -> None:
    few, many = some(duets.FIRST, 1.3), some(duets.FIRST + 1, 1.3)
    for given, look in ((few, plan.BUDGET_LOOKS[0]), (many, plan.BUDGET_LOOKS[-1])):
        ratios = duets.ratios_of(RUN, given).by_number
        pair = Paired(cell=TWO, other=ONE, kin=("hello",), ratios=ratios, look=look)
        assert cost_of(given).ratio == intervals(RUN, [pair], lambda _one, _other: cost_share(RUN))[0]


def test_only_the_comparisons_that_have_duets_share_what_those_may_err() -> None:
    run, cells = run_of(ONE, TWO, THREE), (ONE, TWO, THREE)
    ours, theirs = some(6, 1.3), some(6, 1.3, cell=THREE)
    single, both = (compare(run, alone(*cells), duets=given).pairs[0].cost for given in (ours, ours + theirs))
    ratios = [
        Paired(cell=cell, other=ONE, kin=("hello",), ratios=duets.ratios_of(run, given).by_number, look=4)
        for cell, given in ((TWO, ours), (THREE, theirs))
    ]
    assert single is not None
    assert both is not None
    assert single.ratio == intervals(run, ratios[:1], lambda _one, _other: cost_share(run))[0]
    assert both.ratio == intervals(run, ratios, lambda _one, _other: cost_share(run) / 2)[0]


# What a budget has decided.


def test_a_speed_that_is_open_may_have_a_cost_that_is_decided_where_both_are_bound_by_cpu() -> None:
    found = compare(RUN, alone(ONE, TWO), duets=some(6, 1.3)).budget
    assert found is not None
    assert (found.decided, found.by_cost, [each.cost for each in found.left]) == (0, 1, ["more"])
    assert found.used_s == 4 + 6, "duets take their part of the budget"

    same = compare(RUN, alone(ONE, TWO), duets=some(6, 1.0)).budget
    assert same is not None
    assert (same.by_cost, [each.cost for each in same.left]) == (0, ["undecided"])


# Which comparisons get some.

SOUND: Mapping[Cell, tuple[Gate, ...]] = dict.fromkeys((ONE, TWO, THREE), ())


def chosen(run: Run, observations: Sequence[Observation], broken: Mapping[Cell, Sequence[Gate]] = SOUND) -> list[str]:
    found = duets.first(run, observations, broken)
    assert set(found.values()) <= {duets.FIRST}
    assert all(other == replace(cell, server="one") for cell, other in found)
    return [cell.server for cell, _ in found]


def test_what_seems_to_differ_most_in_cost_comes_first_as_far_as_a_third_of_the_rest_goes() -> None:
    run, costs = run_of(ONE, TWO, THREE), {"two": 1.1, "three": 0.7}

    assert chosen(run, alone(ONE, TWO, THREE, cost=costs)) == ["three", "two"]
    # Six seconds are for the two blocks, and each comparison is taken to need six duets of two.
    assert chosen(run_of(ONE, TWO, THREE, budget_s=6 + 3 * 12), alone(ONE, TWO, THREE, cost=costs)) == ["three"]
    assert chosen(run_of(ONE, TWO, THREE, budget_s=6 + 3 * 11), alone(ONE, TWO, THREE, cost=costs)) == []


def test_what_seems_to_differ_by_no_more_than_the_margin_gets_none() -> None:
    run = run_of(
        ONE, TWO, THREE, servers={each.name: each for each in (*UNLIKE[:2], testing.server("three", command=("one",)))}
    )

    assert chosen(run, alone(ONE, TWO, THREE, cost={"two": 1.1, "three": 1.1})) == ["three"]
    assert chosen(run, alone(ONE, TWO, THREE, cost={"two": 1.2, "three": 1.005})) == ["two"]


def test_servers_with_other_numbers_of_processes_get_none() -> None:
    for processes in ((1, 4), (None, None)):
        one, two = (testing.server(name, processes=each) for name, each in zip(("one", "two"), processes, strict=True))
        assert chosen(run_of(ONE, TWO, servers={"one": one, "two": two}), alone(ONE, TWO, cost=COSTLY)) == []


def test_a_speed_that_is_as_good_as_decided_needs_none() -> None:
    fast = [
        replace(each, swarm=each.swarm and replace(each.swarm, throughput_rps=each.swarm.throughput_rps * 3))
        if each.cell == TWO
        else each
        for each in alone(ONE, TWO, THREE, cost={"two": 1.3, "three": 1.3})
    ]
    assert chosen(run_of(ONE, TWO, THREE), fast) == ["three"]


@pytest.mark.parametrize(
    ("cell", "changes"),
    [
        (replace(TWO, users=None, rate=20.0, arrivals="constant"), {}),
        (replace(TWO, workload="db"), {}),
        (TWO, {"busy": 0.85}),
    ],
    ids=["at a rate", "with a backend", "not bound by CPU"],
)
def test_only_closed_loops_of_servers_that_are_bound_by_cpu_get_any(cell: Cell, changes: dict[str, Any]) -> None:
    cells = replace(cell, server="one"), cell
    broken = dict.fromkeys(cells, ())

    assert chosen(run_of(*cells), alone(*cells, cost=COSTLY, **changes), broken) == []


def test_a_neighbour_on_the_core_is_no_hindrance_but_other_gates_are() -> None:
    gates: list[tuple[tuple[Gate, ...], list[str]]] = [(("neighbour",), ["two"]), (("neighbour", "failures"), [])]
    for broken, expected in gates:
        assert chosen(RUN, alone(ONE, TWO, cost=COSTLY), {ONE: (), TWO: broken}) == expected


def test_without_a_budget_or_with_several_processes_or_a_shared_core_there_are_none() -> None:
    assert can_have_duets(RUN)
    assert not can_have_duets(testing.run(testing.experiment(ONE, TWO)))
    assert not can_have_duets(run_of(ONE, TWO, generator_cpus="1-2"))
    assert not can_have_duets(run_of(ONE, replace(TWO, circumstances=Circumstances(gap_ms=100))))
    for other in ({"counterparts": {"one": "two"}}, {"tune": Tune()}, {"capacity": CapacityLimit(p95_ms=200)}):
        run = run_of(ONE, TWO)
        assert not can_have_duets(replace(run, experiment=replace(run.experiment, **other))), "it compares otherwise"
    assert not can_have_duets(run_of(ONE, TWO, generator_cpus="0"))
    assert can_have_duets(run_of(ONE, TWO, generator_cpus="0", lanes=(lane("targets", "users"),)))
    assert not can_have_duets(run_of(ONE, TWO, generator_cpus="0", lanes=(lane("targets", "users", "more"),)))


def lane(targets: str, *swarm: str) -> LaneRecord:
    def machine(name: str) -> Machine:
        return Machine(name=name, host=RUN.host, cpus="0-1")

    return LaneRecord(
        targets=machine(targets), swarm=tuple(map(machine, swarm)), round_trip_ms=0.2, bandwidth_mbps=1000.0
    )


def test_more_of_them_follow_as_many_as_the_first_ones_scatter_and_whatever_they_say() -> None:
    observations = alone(ONE, TWO)

    def wanted(ratio: float, scatter: float, apart: float = 1.0) -> int | None:
        seems = alone(ONE, TWO, cost={"two": apart})
        return duets.rest(RUN, seems, some(duets.FIRST, ratio, scatter)).get(PAIR)

    quiet, rough = wanted(1.0, 0.005), wanted(1.0, 0.015)
    assert quiet is not None
    assert rough is not None
    assert duets.FIRST < quiet < rough <= duets.MOST
    assert wanted(1.02, 0.015) == rough
    assert wanted(1.0, 0.2) is None, "they could not decide it"
    further = wanted(1.0, 0.015, apart=1.1)
    assert further is not None
    assert further < rough, "what the whole blocks show is easier to decide"
    assert wanted(1.0, 0.015, apart=1.02) == rough
    assert wanted(2.0, 0.005) is None, "it is decided"
    # What is measured meanwhile does not change it: a run that goes on asks for the same ones.
    more = [*some(duets.FIRST, 1.0, 0.015), *[duet(number, 3.0) for number in range(duets.FIRST, 9)]]
    assert duets.rest(RUN, observations, more) == {PAIR: rough}


def test_more_of_them_must_fit_a_third_of_the_rest_of_the_budget() -> None:
    observations, first = alone(ONE, TWO), some(duets.FIRST, 1.0, 0.01)
    count = duets.rest(RUN, observations, first)[PAIR]

    # Each took a second, and the two blocks four.
    assert duets.rest(run_of(ONE, TWO, budget_s=4 + 3 * count), observations, first) == {PAIR: count}
    assert duets.rest(run_of(ONE, TWO, budget_s=3 + 3 * count), observations, first) == {}
    assert duets.until_s(run_of(ONE, TWO, budget_s=34), observations) == pytest.approx(4 + 10)
