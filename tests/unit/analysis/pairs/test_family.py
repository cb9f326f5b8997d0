"""One interval and one verdict a pair: verdicts, ranks, advice and the looks of a run never contradict each other."""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsgilab import testing
from wsgilab.analysis import stats
from wsgilab.analysis.compare import compare, unsettled
from wsgilab.analysis.pairs.family import Criterion, PairedComparisons, cost_share, paired_comparisons, shares
from wsgilab.analysis.pairs.ratios import by_conditions, grouped
from wsgilab.model import Cell, Comparison, Interval, Observation, Place, Verdict

NAMES = ("one", "two", "three", "four", "five")
CELLS = tuple(testing.cell(name) for name in NAMES)
Speeds = Mapping[str, Mapping[int, float]]
"""Server -> block -> requests a second."""


def observed(speeds: Speeds) -> list[Observation]:
    """Such a run, with costs that are in proportion to the throughput."""
    return [
        testing.observation(
            testing.cell(name),
            block=block,
            swarm=testing.trial_report(
                throughput_rps=rps,
                latency_mean_ms=32_000 / rps,
                latency_ms=dict.fromkeys(("p50", "p95", "p99", "max"), 32_000 / rps),
            ),
        )
        for name, by_block in speeds.items()
        for block, rps in by_block.items()
    ]


def compared(speeds: Speeds, blocks: int, **changes: Any) -> Comparison:
    cells = [testing.cell(name) for name in speeds]
    return compare(testing.run(testing.experiment(*cells, blocks=blocks, **changes)), observed(speeds))


def pairs_of(speeds: Speeds, blocks: int) -> PairedComparisons:
    cells = [testing.cell(name) for name in speeds]
    run = testing.run(testing.experiment(*cells, blocks=blocks))
    return paired_comparisons(run, grouped(observed(speeds)), dict.fromkeys(cells, ()))


def places(comparison: Comparison) -> Mapping[str, Place]:
    found = {result.cell.server: result.rank for result in comparison.cells}
    return {name: place for name, place in found.items() if place is not None}


def steady(blocks: int, **rps: float) -> Speeds:
    return {name: dict.fromkeys(range(blocks), each) for name, each in rps.items()}


# --- no contradiction, whatever was recorded

NEAR = st.sampled_from([80.0, 90.0, 99.0, 100.0, 100.7, 101.5, 103.0, 120.0])


@st.composite
def runs(draw: st.DrawFn) -> tuple[Speeds, int]:
    """Servers that are near each other, some with blocks that others lack: what makes verdicts intransitive."""
    blocks = draw(st.sampled_from([4, 6, 12, 20]))
    servers = draw(st.integers(2, 5))
    speeds: dict[str, dict[int, float]] = {}
    for name in NAMES[:servers]:
        level = draw(NEAR)
        noise = draw(st.sampled_from([0.0, 0.004, 0.02, 0.2]))
        source = random.Random(draw(st.integers(0, 2**32)))
        lacking = draw(st.sets(st.integers(0, blocks - 1), max_size=blocks // 2))
        speeds[name] = {
            block: level * math.exp(source.gauss(0, noise)) for block in range(blocks) if block not in lacking
        }
    return speeds, blocks


def contradictions(speeds: Speeds, blocks: int) -> list[str]:
    """Whatever one reading of the comparisons says against another."""
    comparison, pairs = compared(speeds, blocks), pairs_of(speeds, blocks)
    ranked, found = places(comparison), []

    def verdict(name: str, other: str) -> Verdict:
        return pairs.verdict(testing.cell(name), testing.cell(other))

    found += [
        f"{pair.cell.server} has another verdict in the table"
        for pair in comparison.pairs
        if pair.verdict != verdict(pair.cell.server, pair.reference)
    ]
    for name, other in itertools.permutations(ranked, 2):
        ours, theirs = ranked[name], ranked[other]
        if ours.last < theirs.first and verdict(name, other) != "faster":
            found.append(f"{name} is ranked before {other}, and the verdict is {verdict(name, other)}")
        if verdict(name, other) == "faster" and ours.first >= theirs.first:
            found.append(f"{name} is faster than {other}, and is not ranked before it")
    for advice in comparison.advice:
        for name, other in itertools.permutations(advice.tied, 2):
            if verdict(name, other) != "undecided":
                found.append(f"{name} and {other} are tied, and the verdict is {verdict(name, other)}")
        others = [name for name in ranked if name not in (*advice.tied, *advice.left_out)]
        if advice.tied == (advice.server,) and any(verdict(*advice.tied, name) != "faster" for name in others):
            found.append(f"{advice.server} is advised as the fastest, and is not faster than {others}")
        if any(all(verdict(name, each) != "slower" for each in advice.tied) for name in others):
            found.append("a server is neither tied nor slower than one that is")
        if advice.tied and ranked[advice.tied[0]].first != 1 and not advice.left_out:
            found.append(f"{advice.tied[0]} is the fastest, and its rank is {ranked[advice.tied[0]]}")
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs())
def test_verdicts_ranks_and_advice_never_contradict_each_other(measured: tuple[Speeds, int]) -> None:
    assert contradictions(*measured) == []


def test_a_server_that_is_told_from_none_by_a_third_shares_ranks_with_both() -> None:
    """Intransitive: one and two, and two and three, are not told apart; one is faster than three."""
    found = compared(steady(12, one=101.6, two=100.8, three=100.0), 12)

    assert places(found) == {
        "one": Place(first=1, last=2),
        "two": Place(first=1, last=3),
        "three": Place(first=2, last=3),
    }
    assert set(found.advice[0].tied) == {"one", "two"}


def test_who_is_only_faster_through_a_third_is_not_ranked_as_if_told_apart() -> None:
    """One is faster than two, two than three and four, these than five; one and five have no block in common."""
    speeds: Speeds = {
        "one": dict.fromkeys(range(12), 400.0),
        "two": dict.fromkeys(range(24), 300.0),
        "three": dict.fromkeys(range(24), 290.0),
        "five": dict.fromkeys(range(12, 24), 100.0),
    }

    assert contradictions(speeds, 24) == []
    found = places(compared(speeds, 24))
    assert found["one"].last >= found["five"].first


def test_verdicts_that_go_round_in_a_circle_are_none() -> None:
    """Blocks of which each pair has others: one beats two, two beats three, three beats one."""
    rounds = {"one": (2.0, None, 1.0), "two": (1.0, 2.0, None), "three": (None, 1.0, 2.0)}
    speeds: Speeds = {
        name: {
            block: 100 * rps
            for part, rps in enumerate(parts)
            if rps is not None
            for block in range(12 * part, 12 * part + 12)
        }
        for name, parts in rounds.items()
    }

    found = compared(speeds, 36)

    assert {pair.verdict for pair in found.pairs} == {"undecided"}
    assert set(places(found).values()) == {Place(first=1, last=3)}
    assert contradictions(speeds, 36) == []


def test_a_server_not_told_from_the_first_shares_its_rank_wherever_it_stands() -> None:
    """By its pairs the noisy one is told from nobody."""
    source = random.Random(5)
    noisy = {block: 105.0 * math.exp(source.gauss(0, 0.2)) for block in range(16)}

    found = places(compared({**steady(16, one=100.0, two=110.0), "three": noisy}, 16))

    assert found == {"one": Place(first=2, last=3), "two": Place(first=1, last=2), "three": Place(first=1, last=3)}


# --- one interval a pair


def test_a_pair_has_one_interval_either_way_round_and_in_every_reading() -> None:
    source = random.Random(1)
    speeds: Speeds = {
        name: {block: rps * math.exp(source.gauss(0, 0.05)) for block in range(5)}
        for name, rps in (("one", 100.0), ("two", 110.0), ("three", 300.0))
    }
    comparison, pairs = compared(speeds, 5), pairs_of(speeds, 5)
    one, two, three = CELLS[:3]

    (shown,) = (pair.ratio for pair in comparison.pairs if pair.cell == two)
    assert pairs.ratio("speed", two, one) == shown
    assert pairs.ratio("speed", one, two) == stats.turned(shown)
    runner_up = comparison.advice[0].runner_up
    assert runner_up is not None
    assert (runner_up.cell, runner_up.other) == (two, "three")
    assert runner_up.ratio == pairs.ratio("speed", two, three)


def test_a_server_with_a_broken_gate_lends_its_scatter_to_nobody() -> None:
    wild = observed({"three": {block: 100.0 * (block % 2 + 1) for block in range(5)}})
    wild = [replace(each, swarm=replace(each.swarm, failures=9)) for each in wild if each.swarm is not None]
    run = testing.run(testing.experiment(*CELLS[:3], blocks=5))

    two, three = compare(run, [*observed(steady(5, one=100.0, two=200.0)), *wild]).pairs

    assert two.ratio == Interval(median=2.0, low=2.0, high=2.0)
    assert (two.verdict, three.verdict) == ("faster", "undecided")


def test_a_server_that_scatters_more_than_others_reaches_as_far_as_it_does_itself() -> None:
    """Among many quiet pairs of the same workload its own scatter is not lost."""
    quiet = [testing.cell(name, users=users) for users in range(2, 14) for name in NAMES[:4]]
    times = dict.fromkeys(quiet, (1.0,) * 4) | {quiet[0]: (1.2, 1.9, 1.4, 1.2)}
    observations = [
        testing.observation(
            cell,
            block=block,
            swarm=testing.trial_report(
                throughput_rps=20 * each, latency_mean_ms=50 * (cell.users or 0) / each, window_s=9.0
            ),
        )
        for cell, factors in times.items()
        for block, each in enumerate(factors)
    ]

    found = compare(testing.run(testing.experiment(*quiet, blocks=4, reference="two")), observations)

    assert {pair.verdict for pair in found.pairs} == {"undecided"}
    assert {pair.ratio.high for pair in found.pairs if pair.cell.conditions != quiet[0].conditions} == {1.0}


# --- one family


@pytest.mark.parametrize(
    ("cells", "with_reference", "others"),
    [
        (CELLS[:2], 1, 0),
        (CELLS[:4], 3, 3),
        (CELLS[1:4], 0, 3),
        ((*CELLS[:2], *(replace(cell, users=8) for cell in CELLS[:3])), 3, 1),
    ],
)
def test_the_family_is_every_two_servers_under_the_same_conditions(
    cells: Sequence[Cell], with_reference: int, others: int
) -> None:
    run = testing.run(testing.experiment(*cells, blocks=10, reference=NAMES[0]))
    pairs = [pair for group in by_conditions(cells).values() for pair in itertools.combinations(group, 2)]

    by_speed, p95, cpu = ([shares(run, criterion)(*pair) for pair in pairs] for criterion in get_args(Criterion))
    assert math.fsum((*by_speed, *p95, *cpu)) == pytest.approx(1), "speed and costs together"
    assert math.fsum(by_speed) == pytest.approx(0.8)
    for_reference = [
        share for pair, share in zip(pairs, by_speed, strict=True) if NAMES[0] in {each.server for each in pair}
    ]
    assert len(for_reference) == with_reference, "and so few have half of it, or all where there are no others"
    assert math.fsum(for_reference) == pytest.approx(0.8 if not others else 0.4 if with_reference else 0)
    assert shares(run, "speed")(*pairs[0]) == shares(run, "speed")(*reversed(pairs[0]))

    # Where servers may be loaded at once, that has its part of what is for costs.
    run = replace(run, experiment=replace(run.experiment, budget_s=60.0))
    every = [shares(run, criterion)(*pair) for pair in pairs for criterion in get_args(Criterion)]
    assert math.fsum((*every, cost_share(run))) == pytest.approx(1)
    assert [shares(run, "speed")(*pair) for pair in pairs] == by_speed


def test_looks_of_a_run_read_the_verdicts_that_it_ends_with() -> None:
    source = random.Random(2)
    changes: dict[str, Any] = {"precision": 0.0001, "max_blocks": 12}
    for _ in range(8):
        speeds: Speeds = {
            name: {block: 100.0 * source.choice((1, 1, 1.4)) * math.exp(source.gauss(0, 0.03)) for block in range(12)}
            for name in NAMES[:3]
        }
        comparison = compared(speeds, 12, **changes)
        settled = {cell.server for cell in CELLS[:3]} - {
            cell.server for cell in unsettled(comparison.run, observed(speeds), 12)
        }
        told = {pair.cell.server for pair in comparison.pairs if pair.verdict != "undecided"}
        alone = {name for name, place in places(comparison).items() if place.first == place.last}
        assert settled <= alone
        assert settled - {"one"} <= told


# --- and all of it right together

SCATTER = (0.01, 0.01, 0.01, 0.02, 0.02, 0.3)
"""Deviations of a window: most are quiet, one in six is disturbed."""


@pytest.mark.parametrize("blocks", [4, 14])
def test_of_runs_of_equal_servers_hardly_one_tells_any_apart(blocks: int) -> None:
    """The whole of what a run says, ranks, verdicts and advice for what a server costs, errs in 5 % of runs at most."""
    source = random.Random(f"equal/{blocks}")
    wrong, tries = 0, 30
    for _ in range(tries):
        speeds: Speeds = {
            name: {block: 100.0 * math.exp(source.gauss(0, source.choice(SCATTER))) for block in range(blocks)}
            for name in NAMES
        }
        found = compared(speeds, blocks)
        told_apart = set(places(found).values()) != {Place(first=1, last=len(NAMES))}
        wrong += told_apart or found.advice[0].server is not None
    assert wrong <= 0.05 * tries
