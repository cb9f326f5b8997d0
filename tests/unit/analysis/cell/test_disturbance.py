"""What others took of a trial's cores, and what follows from it."""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.said import warned
from wsgilab import testing
from wsgilab.analysis import claims, stats
from wsgilab.analysis.cell.disturbance import NEIGHBOUR_LIMIT, RESOLUTION_S, disturbance, is_disturbed, taken
from wsgilab.analysis.compare import compare, unsettled
from wsgilab.analysis.pairs.cost import margin
from wsgilab.model import Cell, Claim, Condition, CostRatio, Interval, Observation, Run, RuntimeName

ONE, TWO = testing.cell("one"), testing.cell("two")
RUN = testing.run(testing.experiment(ONE, TWO, blocks=6))
USED = 0.0066 / 0.3
"""Of its core, by the server that `testing.observation` makes."""
SURELY = NEIGHBOUR_LIMIT + RESOLUTION_S / 0.3 + 0.001
"""What one window of 0.3 s must show."""

CLAIM = Claim(
    id="one",
    claim="It handles one.",
    met="here",
    holds=(Condition(figure="peak_in_flight", of=ONE, at_most=1),),
    explanation="",
    advice="",
)


def trial(
    of: Cell = ONE, block: int = 0, *, server: float = 0.0, generator: float = 0.0, **changes: Any
) -> Observation:
    """A trial of whose cores others had these shares."""
    busy = {"server_busy": min(1.0, USED + server), "generator_others": generator}
    swarm = testing.trial_report(**{**busy, **changes.pop("swarm", {})})
    return testing.observation(of, block=block, swarm=swarm, **changes)


def blocks(of: Cell = ONE, **changes: Any) -> list[Observation]:
    return [trial(of, block, **changes) for block in range(6)]


# What they took.


@pytest.mark.parametrize(
    ("changes", "run", "server", "generator"),
    [
        ({"server": 0.2, "generator": 0.1}, {}, 0.2, 0.1),
        # What the lab itself, or backends that share its core, used of the generator's core.
        ({"generator": 0.1, "lab_cpu": 0.08}, {}, 0.0, 0.02),
        ({"generator": 0.1, "lab_cpu": 0.2}, {}, 0.0, 0.0),
        ({"generator": 0.1, "backend_cpu_s": 0.03}, {"backend_cpus": "2"}, 0.0, 0.1),
        ({"generator": 0.1, "backend_cpu_s": 0.03}, {"backend_cpus": "1"}, 0.0, 0.0),
        # The use of the server was not read.
        ({"server": 0.5, "server_cpu_s": None}, {}, None, 0.0),
        ({"swarm": {"server_busy": None}}, {}, None, None),
        ({"swarm": {"generator_others": None}}, {}, None, None),
    ],
)
def test_others_have_what_is_neither_idle_nor_the_labs_own(
    changes: dict[str, Any], run: dict[str, Any], server: float | None, generator: float | None
) -> None:
    found = taken(testing.run(**run), trial(**changes))

    assert found.server == (server and pytest.approx(server))
    assert found.generator == (generator and pytest.approx(generator, abs=1e-12))


def test_on_several_cores_others_have_a_share_of_all_of_them() -> None:
    cell = testing.cell("one", cores=2)
    run = testing.run(testing.experiment(cell))
    busy = testing.trial_report(server_busy=0.5, generator_others=0.0)

    found = taken(run, testing.observation(cell, swarm=busy, server_cpu_s=0.24, server_span_s=0.3))

    assert found.server == pytest.approx(0.1), "0.8 of the two cores' worth of 1.0 were the server's"


def test_where_server_and_generator_share_a_core_neither_is_the_others_neighbour() -> None:
    run = testing.run(generator_cpus="0")
    busy = testing.trial_report(server_busy=0.9, generator_others=0.6, generator_cpu=0.3)

    found = taken(run, testing.observation(swarm=busy, server_cpu_s=0.15, server_span_s=0.3, lab_cpu=0.02))

    assert found.server == found.generator == pytest.approx(0.08)


# When that is too much.


def test_a_window_is_disturbed_by_more_than_the_limit_and_what_the_kernels_counting_makes_of_nothing() -> None:
    assert is_disturbed(RUN, trial(server=SURELY))
    assert is_disturbed(RUN, trial(generator=SURELY))
    assert not is_disturbed(RUN, trial(server=SURELY - 0.002, generator=SURELY - 0.002))
    assert not is_disturbed(RUN, trial(server=0.9, swarm={"generator_others": None})), "it is not known"
    assert not is_disturbed(RUN, testing.observation(swarm=None, status="failed", reason="it ended"))


def test_a_little_in_every_window_is_too_much_on_average() -> None:
    windows = blocks(server=NEIGHBOUR_LIMIT + 0.008)

    assert not any(is_disturbed(RUN, each) for each in windows)
    assert disturbance(RUN, ONE, windows) == "others took 3.8% of the server's core 0 (on average)"
    assert disturbance(RUN, ONE, blocks(server=NEIGHBOUR_LIMIT + 0.005)) == ""


def test_it_is_told_which_cores_how_much_when_and_who() -> None:
    windows = [
        trial(server=0.4, generator=0.01, neighbours=("yes (1)", "make (2)")),
        trial(block=1, server=0.5, generator=0.2, neighbours=("make (2)", "cc1 (3)", "ld (4)")),
        trial(block=2),
    ]

    assert disturbance(RUN, ONE, windows) == (
        "others took up to 50% of the server's core 0 (in 2 of 3 windows) and up to 20% of the generator's core 1 "
        "(in 1 of 3 windows), among them yes (1), make (2), cc1 (3)"
    )


# What follows.


def comparison(*, of_one: Sequence[Observation], run: Run = RUN) -> Any:
    faster = {"throughput_rps": 40.0, "latency_mean_ms": 800.0}
    return compare(run, [*of_one, *blocks(TWO, swarm=faster)])


def test_where_too_few_windows_are_clean_the_gate_breaks_and_nothing_is_concluded_of_speed() -> None:
    quiet = comparison(of_one=blocks())
    assert [pair.verdict for pair in quiet.pairs] == ["faster"]
    assert [result.rank and result.rank.first for result in quiet.cells] == [2, 1]

    noisy = [trial(block=block, generator=0.5, neighbours=("yes (1)",)) for block in (2, 3, 4, 5)]
    found = comparison(of_one=[*blocks()[:2], *noisy])

    one, two = found.cells
    assert (one.broken_gates, two.broken_gates) == (("neighbour",), ())
    assert one.figures is not None
    assert one.figures.bound_by == "neighbour"
    assert one.figures.because == one.figures.disturbed == one.warnings[0].text
    assert "yes (1)" in one.warnings[0].text
    assert one.rank is None
    (pair,) = found.pairs
    assert (pair.verdict, pair.broken_gates) == ("undecided", ("neighbour",))
    assert pair.cost is None, "the generator's core had a neighbour in all but two windows"
    (advice,) = found.advice
    assert advice.server != "one"
    assert "others took" in advice.left_out["one"]


def test_where_enough_windows_are_clean_figures_and_verdicts_are_of_these_alone() -> None:
    slow = {"throughput_rps": 9.0, "latency_mean_ms": 1600.0 * 20 / 9}
    noisy = [trial(block=block, server=0.5, neighbours=("yes (1)",), swarm=slow) for block in (1, 4)]
    found = comparison(of_one=[each for each in blocks() if each.block not in (1, 4)] + noisy)

    one, two = found.cells
    assert one.figures is not None
    assert one.figures.throughput_rps == Interval(median=20.0, low=20.0, high=20.0)
    assert (one.broken_gates, one.blocks, one.left_out, two.left_out) == ((), 6, 2, 0)
    (warning,) = warned(one)
    assert warning == (
        "figures are of 4 of 6 trials, without those in which others took up to 50% of the server's core 0 (in 2 of 6 windows), "
        "among them yes (1)"
    )
    (pair,) = found.pairs
    assert (pair.verdict, pair.blocks, pair.ratio.median) == ("faster", 4, 2.0)
    assert found.confidence == stats.confidence(4)
    claim = Condition(figure="throughput_rps", of=ONE, at_least=19.0)
    (judged,) = claims.judge(RUN, [*blocks()[:4], *noisy[1:]], [replace(CLAIM, holds=(claim,))])
    assert judged.verdict == "confirmed"


# Cost.


def costing(of: Cell, cpu_ms: float, **changes: Any) -> list[Observation]:
    """Blocks in which a request of the server took so much CPU time, while others took `server` of its core."""
    used, others = 20.0 * cpu_ms / 1000, changes.pop("server", 0.0)
    swarm = {"server_busy": min(1.0, used + others), **changes.pop("swarm", {})}
    return blocks(of, server_cpu_s=used * 0.3, swarm=swarm, **changes)


def cost(one: float, two: float, run: Run = RUN, **changes: Any) -> CostRatio:
    (pair,) = compare(run, [*costing(ONE, one, **changes), *costing(TWO, two, **changes)]).pairs
    assert pair.cost is not None
    return pair.cost


@pytest.mark.parametrize(
    ("two", "verdict"), [(9.0, "less"), (9.95, "undecided"), (10.0, "undecided"), (10.05, "undecided"), (11.0, "more")]
)
@pytest.mark.parametrize("rate", [None, 20.0], ids=["closed", "scheduled"])
def test_servers_are_compared_by_cost_whatever_else_they_are_compared_by(
    two: float, verdict: str, rate: float | None
) -> None:
    found = cost(10.0, two)
    assert (found.verdict, found.blocks, found.margin, found.because) == (verdict, 6, 0.01, "")
    assert found.ratio.median == pytest.approx(two / 10)

    cells = [replace(each, users=None, rate=rate, arrivals="constant") for each in (ONE, TWO)] if rate else [ONE, TWO]
    run = testing.run(testing.experiment(*cells, blocks=6))
    given = [each for cell, ms in zip(cells, (10.0, two), strict=True) for each in costing(cell, ms)]
    (pair,) = compare(run, given).pairs
    assert pair.cost is not None
    assert pair.cost.verdict == verdict


def test_beside_a_neighbour_the_cost_may_err_as_often_as_in_quiet() -> None:
    def ratio(**changes: Any) -> Interval:
        scattered = [
            replace(each, server_cpu_s=(each.server_cpu_s or 0.0) * (1 + 0.05 * (-1) ** each.block))
            for each in costing(TWO, 12.0, **changes)
        ]
        (pair,) = compare(RUN, [*costing(ONE, 10.0, **changes), *scattered]).pairs
        assert pair.cost is not None
        return pair.cost.ratio

    quiet, beside = ratio(), ratio(server=0.25)
    assert quiet.low is not None
    assert quiet.low < 1.2 < (quiet.high or 0)
    assert (beside.low, beside.high) == pytest.approx((quiet.low, quiet.high))


def test_beside_a_neighbour_on_the_servers_core_the_cost_decides_by_more_the_more_that_took() -> None:
    unlike = testing.run(RUN.experiment, testing.server("one"), testing.server("two", command=("waitress-serve",)))
    little, much = (cost(10.0, 12.0, unlike, server=share) for share in (0.25, 0.75))

    assert (little.verdict, much.verdict) == ("more", "undecided")
    assert [little.margin, much.margin] == pytest.approx([0.09, 0.25])
    assert little.because == (
        "by CPU time, because others used 25% of the cores of two and 25% of those of one; that raises CPU time too, so only more "
        "than 9.0% counts"
    )
    assert cost(10.0, 12.0, server=0.75).margin == pytest.approx(0.01), "they are the same program"


def test_others_tell_alike_on_the_same_program_and_by_what_they_took_more_of_one() -> None:
    assert margin(0.0, 0.0, alike=False) == stats.SAME
    assert margin(0.25, 0.25, alike=True) == stats.SAME
    assert margin(0.25, 0.05, alike=True) == margin(0.05, 0.25, alike=True) == pytest.approx(0.13)


def test_no_cost_decides_where_something_else_is_wrong_or_others_had_the_generators_core() -> None:
    for changes in ({"server": 0.5, "generator": 0.5}, {"server": 0.5, "swarm": {"failures": 9}}):
        (pair,) = compare(RUN, [*costing(ONE, 10.0, **changes), *costing(TWO, 12.0, **changes)]).pairs
        assert (pair.cost, pair.verdict) == (None, "undecided")


def test_a_pair_with_too_few_clean_windows_in_common_is_compared_by_cost_in_all() -> None:
    def half(of: Cell, cpu_ms: float, noisy: range) -> list[Observation]:
        clean, disturbed = costing(of, cpu_ms), costing(of, cpu_ms, server=0.2)
        return [disturbed[block] if block in noisy else clean[block] for block in range(6)]

    (pair,) = compare(RUN, [*half(ONE, 10.0, range(2)), *half(TWO, 13.0, range(4, 6))]).pairs
    assert (pair.blocks, pair.ratio.low, pair.verdict, pair.broken_gates) == (2, None, "undecided", ())
    assert pair.cost is not None
    assert (pair.cost.blocks, pair.cost.verdict) == (6, "more")


def test_like_servers_are_compared_by_cost_in_all_blocks_in_which_others_took_as_much_from_both() -> None:
    """Of both in blocks 4 and 5, of one alone in blocks 6 and 7: there its cost is raised, and has no part."""
    run = replace(RUN, experiment=testing.experiment(ONE, TWO, blocks=8))

    def given(of: Cell, cpu_ms: float, taken_in: Sequence[int]) -> list[Observation]:
        clean, disturbed = costing(of, cpu_ms), costing(of, cpu_ms * 1.4, server=0.2)
        return [replace((disturbed if block in taken_in else clean)[0], block=block) for block in range(8)]

    observations = [*given(ONE, 10.0, (4, 5)), *given(TWO, 11.0, (4, 5, 6, 7))]
    (pair,) = compare(run, observations).pairs
    assert pair.blocks == 4
    assert pair.cost is not None
    assert (pair.cost.blocks, pair.cost.verdict) == (6, "more")
    assert pair.cost.ratio.median == pytest.approx(1.1)

    unlike = replace(run, servers={**run.servers, "two": testing.server("two", stack="waitress")})
    (pair,) = compare(unlike, observations).pairs
    assert pair.cost is not None
    assert (pair.cost.blocks, pair.cost.margin) == (4, 0.01), "the clean ones"


def test_which_windows_are_clean_does_not_depend_on_what_the_server_itself_uses() -> None:
    """A core, a program that comes and goes, and two servers as fast as each other: one that never idles, and so has a share of the
    core while the program runs, and one that idles for a third of the time and leaves the program more."""
    source = random.Random(7)

    def windows(idles: float) -> Sequence[tuple[float, float]]:
        """What others took, and the requests of a window over those of a quiet one."""
        found = []
        for _ in range(6000):
            beside = source.choice((0.0, 0.0, source.random(), 1.0))
            used = 1 - idles
            theirs = max(0.5, idles) * beside
            served = min(used, 1 - max(0.5, idles)) / used * beside + 1 - beside
            found.append((theirs, served * math.exp(source.gauss(0, 0.04))))
        return found

    means = []
    for idles in (0.0, 1 / 3):
        kept = [served for theirs, served in windows(idles) if theirs <= NEIGHBOUR_LIMIT + RESOLUTION_S / 0.34]
        assert len(kept) > 3000, "of the half that is quiet, and those windows of which it had little"
        means.append(statistics.median(kept))

    assert means[0] / means[1] == pytest.approx(1, abs=0.005)
    assert statistics.fmean(means) == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize(
    ("runtime", "whose"), [("compose", "the server's container"), ("local", "the lab, which its servers")]
)
def test_a_quota_that_stopped_the_server_is_no_neighbour_and_says_what_to_do(runtime: RuntimeName, whose: str) -> None:
    stopped = [replace(each, throttled=2 if each.block == 3 else 0) for each in blocks()]
    (one, _) = (found := comparison(of_one=stopped, run=replace(RUN, runtime=runtime))).cells

    assert one.broken_gates == ("throttled",)
    assert warned(one)[0].startswith(f"a CPU quota stopped the server in 1 of 6 windows: take it from {whose}")
    assert one.figures is not None
    assert (one.figures.bound_by, one.figures.because) == ("throttled", warned(one)[0])
    (pair,) = found.pairs
    assert (pair.verdict, pair.cost) == ("undecided", None)


def test_the_generators_share_of_its_core_counts_what_others_took_of_it() -> None:
    (one, _) = comparison(of_one=blocks(generator=0.5, swarm={"generator_cpu": 0.33})).cells

    assert one.broken_gates == ("neighbour", "generator")
    assert "the generator and others used 83% of core 1: they may be what is measured" in warned(one)


def test_more_blocks_are_not_spent_on_a_disturbed_cell() -> None:
    run = testing.run(testing.experiment(ONE, TWO, blocks=2, precision=0.01, max_blocks=9))
    scattered = [trial(TWO, block, swarm={"throughput_rps": 20.0 + block}) for block in range(2)]

    assert unsettled(run, [*blocks()[:2], *scattered], 2) == {ONE, TWO}
    assert unsettled(run, [*blocks(server=0.5)[:2], *scattered], 2) == frozenset()


def test_a_claim_about_a_disturbed_cell_is_undecided() -> None:
    (quiet,) = claims.judge(RUN, blocks(), [CLAIM])
    (disturbed,) = claims.judge(RUN, blocks(generator=0.5), [CLAIM])

    assert (quiet.verdict, disturbed.verdict) == ("confirmed", "undecided")
    assert "others took" in disturbed.evidence[0].reason
