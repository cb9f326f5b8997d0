"""The benchmarks' own statistics, tried on made-up rounds whose truth is known, and the page that shows their figures."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import budget, calibration, document, neighbours, noise, power, protocols, rounds, stamp, twins
from benchmarks.outcome import Block, Claim, Rate, read
from benchmarks.protocols import Recorded
from wsgilab import commands
from wsgilab.analysis import stats
from wsgilab.analysis.budget.seconds import used_s
from wsgilab.analysis.cell.disturbance import is_disturbed
from wsgilab.model import Interval
from wsgilab.model.errors import StoreError

RUNS = 400


def drawn(source: random.Random, share: float, likeness: float, count: int, tries: int = 15) -> Sequence[rounds.Tries]:
    """Rounds whose tries are alike: `likeness` is their correlation, and `share` what a try hits in the long run."""
    size = 1 / likeness - 1
    chances = (source.betavariate(share * size, (1 - share) * size) for _ in range(count))
    return [[source.random() < chance for _ in range(tries)] for chance in chances]


def held(interval: Callable[[Sequence[rounds.Tries]], Interval], share: float, likeness: float, count: int) -> float:
    """How often the interval holds the true share."""
    source = random.Random(f"{share}/{likeness}/{count}")
    found = [interval(drawn(source, share, likeness, count)) for _ in range(RUNS)]
    return sum((each.low or 0.0) <= share <= (each.high or 0.0) for each in found) / RUNS


def pooled(given: Sequence[rounds.Tries]) -> Interval:
    """What takes every try for a round of its own: Wilson's interval of them all."""
    return rounds.share([[each] for tries in given for each in tries])


def bootstrap(given: Sequence[rounds.Tries]) -> Interval:
    """The percentile bootstrap over rounds (Efron 1979)."""
    source, shares = random.Random(1), [sum(tries) / len(tries) for tries in given]
    means = sorted(sum(source.choices(shares, k=len(shares))) / len(shares) for _ in range(200))
    return Interval(median=means[100], low=means[4], high=means[-5])


# --- shares over rounds


@pytest.mark.parametrize("count", [2, 7, 12])
@pytest.mark.parametrize("likeness", [0.02, 0.3, 0.6])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_the_interval_of_a_share_holds_the_true_one_though_tries_of_a_round_are_alike(
    share: float, likeness: float, count: int
) -> None:
    assert held(rounds.share, share, likeness, count) >= 0.9


def test_neither_pooled_tries_nor_resampled_rounds_would_hold_it() -> None:
    assert held(pooled, 0.1, 0.3, 7) < 0.8
    assert held(bootstrap, 0.1, 0.3, 7) < 0.85
    assert held(rounds.share, 0.1, 0.3, 7) >= 0.9


def test_rounds_that_all_agree_count_as_one_try_each() -> None:
    none = rounds.share([[False] * 15] * 7)
    assert none.low == 0.0
    # Wilson's for 0 of 7, where that for 0 of 105 would be 0.035.
    assert none.high == pytest.approx(0.354, abs=0.001)
    assert rounds.share([[True] * 15] * 7).low == pytest.approx(1 - 0.354, abs=0.001)


def test_a_round_of_one_try_is_a_try() -> None:
    interval = rounds.share([[True], [False], [True], [True]])
    assert rounds.effective_tries([[True], [False], [True], [True]]) == 4
    # Wilson's for 3 of 4.
    assert interval.low == pytest.approx(0.301, abs=0.001)
    assert interval.high == pytest.approx(0.954, abs=0.001)


def test_one_round_has_no_interval() -> None:
    assert rounds.share([[True, False]]) == Interval(median=0.5, low=None, high=None)


def test_tries_never_count_for_more_than_there_were() -> None:
    even = [[True, False, False, False], [False, True, False, False], [False, False, True, True]]
    assert 3 <= rounds.effective_tries(even) <= 12


# --- protocols


def recorded(source: random.Random, *, drift: float = 0.0, twins: int = 6) -> Recorded:
    """A round of twins whose runs drift by `drift` from one server to the next, and one server that is 10 % slower."""
    speeds = {**{f"twin-{number}": 1000.0 for number in range(twins)}, "slower-10": 900.0}
    return Recorded(
        interleaved={
            name: [speed * source.lognormvariate(0, 0.02) for _ in range(20)] for name, speed in speeds.items()
        },
        sequential={
            name: [speed * moment * source.lognormvariate(0, 0.01) for _ in range(3)]
            for name, speed in speeds.items()
            for moment in [source.lognormvariate(0, drift)]
        },
        window_s=0.45,
        run_s=3.0,
    )


def session(count: int, **changes: Any) -> Sequence[Recorded]:
    source = random.Random(count)
    return [recorded(source, **changes) for _ in range(count)]


def test_rounds_are_counted_not_pairs_of_twins() -> None:
    rows, claims = twins.summary(session(7))
    assert {row["rounds"] for row in rows} == {"7"}
    assert {row["pairs"] for row in rows} == {"105"}
    assert {claim.samples for claim in claims} == {"7 rounds"}
    # Not one false verdict in 105 pairs of 7 rounds proves no rate of 5 %, as none in 150 rounds would.
    precise = claims[1]
    assert precise.ratio.median == 1.0
    assert precise.verdict == "undecided"
    assert twins.summary(session(150, twins=2))[1][1].verdict == "holds"


def test_one_round_of_one_pair_can_be_read() -> None:
    rows, claims = twins.summary(session(1, twins=2))
    assert {row["pairs"] for row in rows} == {"1"}
    assert {claim.verdict for claim in claims} == {"undecided"}


def test_a_protocol_counts_only_the_rounds_that_have_what_it_reads() -> None:
    mixed = [*session(2), *(replace(each, sequential={}) for each in session(5))]
    counted = {row["measured by"]: row["rounds"] for row in twins.summary(mixed)[0]}
    assert counted == {
        "wsgilab, fixed blocks": "7",
        "wsgilab, precision": "7",
        "wsgilab before, fixed blocks": "7",
        "wsgilab's blocks, their medians": "7",
        "best of 3 x 3 s in a row": "2",
        "one run of 9 s": "2",
        "the same 3 x 3 s": "2",
    }


def test_either_rule_is_tried_on_either_way_to_measure() -> None:
    rules = {(protocol.in_a_row, protocol.rule) for protocol in protocols.protocols(session(1))}
    assert rules == set(itertools.product((False, True), (protocols.THREE, protocols.GREATER)))


def test_runs_in_a_row_are_undecided_where_their_interval_holds_one() -> None:
    interval = protocols.welch([100, 110, 120], [100, 112, 118], 0.05)
    assert stats.verdict(interval) == "undecided"
    assert stats.verdict(protocols.welch([100, 101, 102], [200, 201, 202], 0.05)) == "slower"
    # By hand: logarithms apart by 0.1762, with a standard error of 0.0552 and 2.39 degrees of freedom, so 4.303 of it.
    interval = protocols.welch([100, 110, 120], [90, 91, 95], 0.05)
    assert interval.median == pytest.approx(1.1927, abs=0.0002)
    assert interval.low == pytest.approx(0.9406, abs=0.001)
    assert interval.high == pytest.approx(1.5122, abs=0.001)


def test_welchs_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    source = random.Random(3)
    found = [
        protocols.welch(
            [1000 * source.lognormvariate(0, 0.02) for _ in range(3)],
            [900 * source.lognormvariate(0, 0.06) for _ in range(3)],
            0.05,
        )
        for _ in range(RUNS)
    ]
    assert sum((each.low or 0) <= 1000 / 900 <= (each.high or 0) for each in found) >= 0.94 * RUNS


def test_the_slower_server_is_tried_against_the_twins_of_its_own_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "SLOWER", {"slower-10": 0.1})
    rows, claims = power.summary(session(4))
    tries = {(row["measured by"], row["rounds"], row["tries"]) for row in rows}
    assert ("wsgilab, fixed blocks", "4", "24") in tries
    assert ("wsgilab, fixed blocks, two rounds together", "2", "12") in tries
    assert {claim.samples for claim in claims} == {"2 rounds"}
    # Found in all of 12 tries, but in two rounds only.
    assert {claim.verdict for claim in claims} == {"undecided"}


def test_slower_servers_are_drawn_for_the_lab_and_for_the_lab_before() -> None:
    found = {
        (row["slower by"], row["measured by"]): row["found"]
        for row in power.drawn(session(2), 1)
        if row["tries"] == "24"
    }
    assert len(found) == 18
    new, old = (found["20%", f"{name}, 12 comparisons in 12 blocks, drawn"] for name in ("wsgilab", "wsgilab before"))
    assert isinstance(new, Interval)
    assert isinstance(old, Interval)
    assert new.median >= old.median > 0


def still(of: protocols.Recorded) -> protocols.Recorded:
    """A round without any scatter."""
    return replace(of, interleaved={name: [1000.0] * 20 for name in of.interleaved})


def test_runs_are_drawn_from_the_scatter_of_their_own_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "FAMILIES", {"1": calibration.every_two(2)})
    monkeypatch.setattr(calibration, "BLOCKS", {"8": [(8,)]})
    monkeypatch.setattr(calibration, "CONDITIONS", {"as recorded": calibration.alone})
    monkeypatch.setattr(calibration, "decides", lambda found, _: any(each.low != each.high for each in found))

    (row,), claims = calibration.summary([still(session(1)[0]), session(1)[0]], 5)

    # None of the five runs of the first round scatters, and all of the second do.
    assert row["8"] == Interval(median=0.5, low=0.0, high=1.0)
    assert claims == ()


@pytest.mark.parametrize("condition", calibration.CONDITIONS)
def test_every_condition_has_a_window_of_every_server_in_every_block(condition: str) -> None:
    recorded = calibration.scatter_of(session(1)[0])
    windows = calibration.CONDITIONS[condition](random.Random(1), recorded, 3, 50)

    assert [len(each) for each in windows] == [50] * 3
    assert len({tuple(each) for each in windows}) == 3


def test_in_a_mixed_run_comparisons_have_different_numbers_of_blocks() -> None:
    recorded = calibration.scatter_of(session(1)[0])
    run = calibration.draw_run(
        random.Random(1), calibration.alone, recorded, calibration.FAMILIES["12, with a reference"], calibration.MIXED
    )

    assert len(run) == 12
    assert len({len(logs) for logs in run.values()}) > 3
    assert {len(logs) for logs in run.values()} <= {*calibration.MIXED}


def test_the_contenders_decide_what_they_should() -> None:
    """Twice as fast in every block, but for a thousandth, among comparisons of as little scatter; and no difference."""
    twice: calibration.Logs = {
        (server, 0): [0.001 * (block % 2) + (0.7 if server == 1 else 0.0) for block in range(6)] for server in (1, 2, 3)
    }
    alike = {pair: [0.001 * (-1) ** block for block in range(6)] for pair in twice}
    for judge in (calibration.lab, calibration.before, calibration.student):
        assert calibration.decides(judge(twice), stats.SAME)
        assert not calibration.decides(judge(alike), 0.0)


def test_with_a_budget_and_with_blocks_the_same_is_sought_in_as_much_time() -> None:
    source = random.Random(1)
    quiet = [[source.gauss(0, 0.05) for _ in range(4)] for _ in range(20)]
    of = budget.machine(quiet, source, budget.Case(alike=True), differ=True)
    judged = []
    for carried_out in (budget.with_budget, budget.with_blocks):
        run, observations = carried_out(of)
        assert used_s(observations) <= budget.BUDGET_S
        judged.append(budget.judged(of, run, observations))

    by_budget, by_blocks = judged
    assert by_budget.sought == by_blocks.sought == 18
    assert by_blocks.decided < by_budget.decided <= 18
    assert (by_budget.wrong, by_blocks.wrong) == (False, False)
    few = {("budget", ""): budget.Case(runs=1), ("beside", ""): budget.Case(beside=True, runs=1)}
    assert [row["runs"] for row in budget.summary(session(1), few)[0]] == ["1"], "it has no windows beside a neighbour"


def test_beside_a_neighbour_windows_are_left_out_and_cost_decides_what_speed_does_not() -> None:
    source = random.Random(1)
    quiet = [[source.gauss(0, 0.05) for _ in range(4)] for _ in range(20)]
    halved = [protocols.Beside(rps=source.uniform(0.4, 0.6), cost=1.1, others=0.5) for _ in range(20)]
    of = budget.machine(quiet, source, budget.Case(beside=True), differ=True, beside=halved)
    run, observations = budget.with_budget(of)
    disturbed = sum(is_disturbed(run, each) for each in observations)

    assert 0.3 < disturbed / len(observations) < 0.7
    found = budget.judged(of, run, observations)
    assert (found.sought, found.wrong) == (18, False)
    assert found.decided > 0
    always = budget.machine(quiet, source, budget.Case(beside=True), differ=True, beside=halved)
    always.neighbour.works, always.neighbour.changes_s = True, math.inf  # type: ignore[union-attr]
    found = budget.judged(always, *budget.with_budget(always))
    assert (found.decided, found.wrong) == (0, False)
    assert found.by_cost > 0


# --- claims, and the page


def claim(*figures: float, level: float = 0.05, **changes: Any) -> Claim:
    interval = stats.median_interval(figures, level)
    return Claim(what="it", ratio=interval, at_least=1.0, blocks=len(figures), level=level, **changes)


def test_a_claim_needs_as_many_blocks_as_its_share_of_the_error_takes() -> None:
    assert claim(*[2.0] * 6).verdict == "holds"
    # One of five claims.
    assert claim(*[2.0] * 6, level=0.01).verdict == "undecided"
    assert claim(*[2.0] * 8, level=0.01).verdict == "holds"


def test_what_was_measured_once_decides_nothing() -> None:
    once = claim(2.0, rounds=1)
    assert (once.verdict, once.samples) == ("undecided", "1 round")


def block(**rps: float) -> Block:
    """One block of stamped and unstamped servers."""
    figures = {name: Rate(rps=figure, generator_cpu=0.1) for name, figure in rps.items()}
    return {"it, close": figures, "other, keep-alive": figures}


def test_the_claims_of_a_benchmark_share_its_error() -> None:
    blocks = [block(stamped=99.0 + number % 3, unstamped=100.0) for number in range(12)]
    _, claims = stamp.summary(blocks)
    assert [claim.level for claim in claims] == [0.025, 0.025]
    assert [claim.samples for claim in claims] == ["12 rounds", "12 rounds"]


def test_windows_of_one_start_are_one_sample_of_neighbours() -> None:
    windows = [[{"idle fleet": {kind: Rate(rps=100.0, generator_cpu=0.1) for kind in ("idle", "frozen")}}] * 3] * 5
    [row], claims = neighbours.summary(windows, [0.999] * 5)
    assert row["rounds"] == "5"
    # Fifteen windows agree, in five starts.
    assert [claim.verdict for claim in claims] == ["undecided", "undecided"]
    assert [claim.verdict for claim in neighbours.summary([windows[0]] * 7, [0.999] * 7)[1]] == ["holds", "holds"]


def window(rps: float, cpu_ms: float, others: float = 0.0) -> dict[str, float]:
    return {
        "rps": rps,
        "generator_cpu": 0.1,
        "window_s": 0.2,
        "read_completed": 100.0,
        "read_span_s": 0.25,
        "cpu_ms": 100 * cpu_ms,
        "server_others": others,
    }


def test_the_noise_of_a_recording_is_told_by_length_and_beside_what() -> None:
    """Four rounds of twins of which one is alternately 4 % slower than the other, and costs 2 % more."""
    blocks: list[dict[str, Any]] = []
    for number in range(4):
        slow = 1 + 0.04 * (number % 2)
        quiet = {"twin-1": window(1000.0, 0.3), "twin-2": window(1000.0 / slow, 0.3 * (1 + 0.02 * (number % 2)))}
        blocks += [
            {f"interleaved {number}": {**quiet, "slower-5": window(950.0, 0.3)}},
            {f"length {number}": {f"{name} #1.4": window(1000.0, 0.3) for name in quiet}},
            {f"off {number}": {**quiet, "gunicorn-gevent": window(900.0, 0.4)}},
            {
                f"on {number}": {
                    "twin-1": window(500.0, 0.33, 0.5),
                    "twin-2": window(500.0, 0.33, 0.5),
                    "gunicorn-gevent": window(500.0, 0.42, 0.5),
                }
            },
        ]
    settings = {"window_s": 0.2, "run_s": 1.0, "neighbours": ["server", "generator", "server", "generator"]}

    rows = noise.summary({"settings": settings, "blocks": blocks})

    assert [(row["neighbour"], row["window, s"], row["pairs"]) for row in rows] == [
        ("none", 0.2, "8"),
        ("none", 1.4, "4"),
        ("server", 0.2, "2"),
        ("generator", 0.2, "2"),
    ]
    none, long, server, _ = rows
    assert none["sd of ln ratio: throughput"] == pytest.approx(0.021, abs=0.001)
    assert none["cost"] == pytest.approx(0.0106, abs=0.0005)
    assert none["plain"] == pytest.approx(0.0317, abs=0.001), "what the throughput adds to it"
    assert (long["cost"], long["30 s of windows"]) == (0.0, "0.0%")
    assert server["others on the server's core"] == "50.0%"
    assert server["cost raised"] == "twins 1.100, gunicorn-gevent 1.050"
    assert [row["unlike servers, wrong"] for row in (none, long)] == ["–", "–"]
    with pytest.raises(StoreError, match="make it anew"):
        noise.summary({"settings": {"window_s": 0.2}, "blocks": []})

    (first, *_) = protocols.recorded({"settings": settings, "blocks": blocks})
    assert first.interleaved.keys() == {"twin-1", "twin-2", "slower-5"}
    assert first.sequential == {}


def test_no_two_unlike_servers_of_the_recording_have_a_wrong_verdict_on_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    document = read("recording")

    def wrong() -> str:
        (found,) = (row for row in noise.summary(document) if row["neighbour"] == "server")
        return str(found["unlike servers, wrong"])

    pairs, _, runs = wrong().partition(", ")
    assert pairs == "0 of 5 pairs"
    assert float(runs.partition("%")[0]) <= 5
    monkeypatch.setattr("wsgilab.analysis.pairs.cost.RAISED_UNLIKE", 0.0)
    assert wrong() > "1 of 5", "the margin is what it takes"


def test_the_page_is_what_the_results_say() -> None:
    assert (commands.PROJECT / document.TARGET).read_text() == document.page(), "run python -m benchmarks.document"


def test_every_section_of_the_page_says_rounds_modes_and_machine() -> None:
    sections = document.page().split("\n## ")[1:]
    assert [section.partition("`")[2].partition("`")[0] for section in sections] == list(document.NAMES)
    for section in sections:
        for words in ("\n- Rounds: ", "\n- Modes: ", "\n- Left out: ", "usable cores"):
            assert words in section
