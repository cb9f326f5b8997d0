"""Limits and needs: which figure of two runs breaches, which could not have told, and which is not asked about."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.queues import Machine, Queue, sought
from tests.unit.report.test_ab import ONE, TWO, beside, made, observed
from tests.unit.runs import before_and_after
from tests.unit.said import refusal
from wsgilab import testing
from wsgilab.analysis.ab.checks import breaches, checks, parse_limit, parse_need
from wsgilab.analysis.ab.runs import runs
from wsgilab.model import CellOfRuns, Interval, Limit, LimitCheck, RunsComparison
from wsgilab.model.errors import SpecError

SLOWER, COST = parse_limit("slower=5%"), parse_limit("cost=5%")


def found(comparison: RunsComparison, figure: str = "throughput", **asked: Any) -> Mapping[str, LimitCheck]:
    """The checks of a figure, by server."""
    made = checks(comparison, asked.get("limit", SLOWER), asked.get("need"))
    return {check.cell.server: check for check in made if check.figure == figure}


def outcomes(comparison: RunsComparison, figure: str = "throughput", **asked: Any) -> Mapping[str, str]:
    return {server: check.outcome for server, check in found(comparison, figure, **asked).items()}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("slower=5%", Limit(slower=True, faster=False, share=0.05)),
        ("slower=0.05", Limit(slower=True, faster=False, share=0.05)),
        (" slower = 5 % ", Limit(slower=True, faster=False, share=0.05)),
        ("slower=.5", Limit(slower=True, faster=False, share=0.5)),
        ("slower=2.5%", Limit(slower=True, faster=False, share=0.025)),
        ("slower=0", Limit(slower=True, faster=False, share=0.0)),
        ("faster=10%", Limit(slower=False, faster=True, share=0.1)),
        ("different=3%", Limit(slower=True, faster=True, share=0.03)),
        ("cost=5%", Limit(slower=False, faster=False, share=0.05, cost=True)),
        ("capacity=5%", Limit(slower=False, faster=False, share=0.05, capacity=True)),
    ],
)
def test_a_limit_is_a_way_and_a_share(text: str, limit: Limit) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        *("", "slower", "slower=", "slower=%", "5%", "slow=5%", "slower=5%%", "slower=5% faster=5%"),
        *("slower=5", "slower=100%", "slower=-1%", "slower=nan", "slower=1e-2", "slower=٥%", "slower=5%\nx"),
    ],
)
def test_what_is_no_limit_is_an_error_that_says_what_would_be(text: str) -> None:
    assert refusal(SpecError, parse_limit, text) == (
        f"--fail-on {text!r}: must be slower, faster, different, cost or capacity, and a share, such as slower=5%"
    )


def judged(low: float | None, high: float | None, *, metric: str = "throughput", verdict: str = "slower") -> Any:
    """A comparison whose first cell has such an interval."""
    found = beside(1.0)
    cell = replace(
        found.cells[0],
        metric=metric,  # type: ignore[arg-type]
        verdict=verdict,  # type: ignore[arg-type]
        ratio=Interval(median=1.0, low=low, high=high),
    )
    return replace(found, cells=(cell, *found.cells[1:]))


@pytest.mark.parametrize(
    ("low", "high", "metric", "verdict", "limit", "breached"),
    [
        (0.8, 1 / 1.05 - 1e-9, "throughput", "slower", "slower=5%", True),
        (0.8, 1 / 1.05 + 1e-9, "throughput", "slower", "slower=5%", False),
        (0.8, 0.9, "throughput", "slower", "faster=5%", False),
        (0.8, 0.9, "throughput", "slower", "different=5%", True),
        (0.8, 0.9, "throughput", "undecided", "slower=5%", False),
        (1.05 + 1e-9, 1.2, "throughput", "faster", "faster=5%", True),
        (1.05 - 1e-9, 1.2, "throughput", "faster", "faster=5%", False),
        (1.1, 1.2, "throughput", "faster", "slower=5%", False),
        (1.05 + 1e-9, 1.2, "latency", "slower", "slower=5%", True),
        (1.05 - 1e-9, 1.2, "latency", "slower", "slower=5%", False),
        (0.8, 0.9, "latency", "faster", "different=5%", True),
        (None, None, "throughput", "undecided", "slower=0%", False),
    ],
)
def test_a_limit_is_breached_where_the_whole_interval_is_beyond_it(
    low: float | None, high: float | None, metric: str, verdict: str, limit: str, breached: bool
) -> None:
    found = judged(low, high, metric=metric, verdict=verdict)

    assert list(breaches(found, parse_limit(limit))) == ([found.cells[0]] if breached else [])


@pytest.mark.parametrize(
    ("text", "need"), [("5%", 0.05), ("0.05", 0.05), (" 2.5 % ", 0.025), (".5", 0.5), ("1.1%", 0.011)]
)
def test_a_need_is_a_share(text: str, need: float) -> None:
    assert parse_need(text) == pytest.approx(need)


@pytest.mark.parametrize("text", ["", "%", "5", "100%", "-1%", "five", "slower=5%", "5%%", "٥%", "nan"])
def test_what_is_no_share_is_refused(text: str) -> None:
    assert refusal(SpecError, parse_need, text) == f"--need {text!r}: must be a share, such as 5%"


@pytest.mark.parametrize("text", ["0", "1%", "0.5%"])
def test_a_need_that_no_comparison_can_meet_is_refused(text: str) -> None:
    assert "must be more than 1 %" in refusal(SpecError, parse_need, text)


def test_of_two_real_runs_the_slower_server_breaches_and_the_others_keep_the_limit() -> None:
    comparison = before_and_after()
    speeds = {check.cell: check.outcome for check in checks(comparison, SLOWER, None) if check.figure != "cost"}

    assert [cell.server for cell, outcome in speeds.items() if outcome == "breached"] == ["gunicorn-gthread-8"]
    assert set(speeds.values()) == {"breached", "kept"}


def detectable(cell: CellOfRuns) -> float:
    assert cell.detectable is not None
    return cell.detectable


def test_a_need_is_met_by_what_could_have_shown_as_much_and_by_nothing_coarser() -> None:
    comparison = beside(1.0)
    (least,) = {detectable(cell) for cell in comparison.cells}

    assert set(outcomes(comparison, need=least).values()) == {"kept"}
    too_coarse = found(comparison, need=least - 1e-6)
    assert {check.outcome for check in too_coarse.values()} == {"inconclusive"}
    assert too_coarse["one"].because.startswith("its blocks scatter too much to show less than ")


def test_a_breach_is_one_however_coarse_the_cell_is() -> None:
    assert outcomes(beside(0.5), need=0.011) == {"one": "breached", "two": "inconclusive"}


@pytest.mark.parametrize(("need", "outcome"), [(0.05, "inconclusive"), (None, "skipped")])
def test_what_could_show_nothing_is_no_success(need: float | None, outcome: str) -> None:
    spoilt = found(beside(1.0, generator_cpu=0.9), need=need)
    assert (spoilt["one"].outcome, spoilt["two"].outcome) == (outcome, "kept")
    assert spoilt["one"].because == "nothing is concluded, because of B: generator"

    few = found(beside(1.0, blocks=3), need=need)["one"]
    assert few.outcome == outcome
    assert few.because == "a comparison needs 4 blocks of each run at least, and A has 3 and B has 3"

    other = replace(TWO, workload="hello")
    cells, later = (ONE, other), made((ONE, other), id="later")
    later = replace(later, experiment=replace(later.experiment, parameters={"hello": {}, "sleep": {"ms": 60.0}}))
    both = [*observed(ONE), *observed(other)]
    refused = found(runs(made(cells), both, later, both), need=need)
    assert (refused["one"].outcome, refused["two"].outcome) == (outcome, "kept")
    assert refused["one"].because == "a request is not the same: sleep ms is 50 in A and 60 in B"

    unmeasured = found(runs(made(), [*observed(ONE), *observed(TWO)], made(id="later"), observed(ONE)), need=need)
    assert (unmeasured["two"].outcome, unmeasured["two"].because) == (outcome, "it has no figure in B")


@pytest.mark.parametrize(("need", "outcome"), [(0.05, "inconclusive"), (None, "skipped")])
def test_a_cell_of_one_run_alone_is_no_success(need: float | None, outcome: str) -> None:
    three = testing.cell("three", users=None, rate=5.0, arrivals="constant")
    comparison = beside(1.0, a=made((ONE, TWO, three)), b=made((ONE, TWO), id="later"))

    (check,) = [each for each in checks(comparison, SLOWER, need) if each.cell == three]
    assert (check.figure, check.outcome, check.because) == ("latency", outcome, "only A has it")
    turned = beside(1.0, a=made((ONE, TWO)), b=made((ONE, TWO, three), id="later"))
    assert [each.because for each in checks(turned, SLOWER, need) if each.cell == three] == ["only B has it"]


def test_a_run_beside_itself_measures_nothing() -> None:
    run, observations = made(), [*observed(ONE), *observed(TWO)]
    part = [each for each in observations if each.block < 6]

    for earlier in (observations, part):
        for figure, limit in (("throughput", SLOWER), ("cost", COST)):
            itself = found(runs(run, earlier, run, observations), figure, limit=limit, need=0.5)
            assert {check.outcome for check in itself.values()} == {"inconclusive"}
            assert {check.because for check in itself.values()} == {"A and B are the same run"}


def test_a_limit_of_one_figure_is_not_of_the_other() -> None:
    comparison = before_and_after()

    assert set(outcomes(comparison, "cost", need=0.5).values()) == {"skipped"}
    assert set(outcomes(comparison, "throughput", limit=COST, need=0.5).values()) == {"skipped"}
    of_cost = outcomes(comparison, "cost", limit=COST, need=0.5)
    assert of_cost["gunicorn-gthread-8"] == "breached"


def test_a_limit_of_cost_needs_costs() -> None:
    """Which were not read where the lab has no figure of CPU time."""
    unread = [replace(each, server_cpu_s=None) for each in (*observed(ONE), *observed(TWO))]
    comparison = runs(made(), unread, made(id="later"), unread)

    assert set(outcomes(comparison, "cost", limit=COST, need=0.5).values()) == {"inconclusive"}
    coarse = found(before_and_after(), "cost", limit=COST, need=0.011)
    assert "inconclusive" in {check.outcome for check in coarse.values()}


def test_without_a_limit_a_need_is_of_speed() -> None:
    assert set(outcomes(beside(0.5), limit=None, need=0.5).values()) == {"kept"}
    assert set(outcomes(beside(0.5, blocks=3), limit=None, need=0.5).values()) == {"inconclusive"}


@pytest.mark.parametrize(("blocks", "guessed"), [(8, True), (7, False)])
def test_how_many_blocks_would_do_is_guessed_where_there_are_some_to_guess_by(blocks: int, guessed: bool) -> None:
    comparison = beside(1.0, blocks=blocks)
    (could,) = {detectable(cell) for cell in comparison.cells}
    # Above 1 % by half as much: an interval half as wide, of four times the blocks.
    half = 1.01 * ((1 + could) / 1.01) ** 0.5 - 1
    because = found(comparison, need=half)["one"].because

    assert because.endswith(f"; about {4 * blocks} blocks of each run might") is guessed
    assert "might" not in found(comparison, need=0.0101)["one"].because


# --- capacity

EIGHT = Queue(slots=8, held_s=0.05)
CAPACITY = parse_limit("capacity=5%")


@pytest.fixture(scope="module")
def machines() -> tuple[Machine, Machine]:
    """Two runs that look for capacity: in the later one a server of three is as before, one is slower, and one keeps the limit no more."""
    before = {"same": EIGHT, "slower": EIGHT, "gone": EIGHT}
    after = {**before, "slower": replace(EIGHT, held_s=0.065), "gone": replace(EIGHT, held_s=0.3)}
    a, b = (sought(queues, budget_s=240, seed=seed) for seed, queues in enumerate((before, after), start=1))
    for each in (a, b):
        each.measure()
    return a, b


def against(a: Machine, b: Machine) -> RunsComparison:
    later = a.run if a is b else replace(b.run, id="later")
    return runs(a.run, a.observations(), later, b.observations())


def test_a_capacity_that_fell_breaches_and_so_does_one_that_is_none(machines: tuple[Machine, Machine]) -> None:
    comparison = against(*machines)
    assert outcomes(comparison, "capacity", limit=CAPACITY) == {
        "same": "kept",
        "slower": "breached",
        "gone": "breached",
    }
    assert found(comparison, limit=CAPACITY)["same"].because == "the limit is of capacity"
    more_than_half = outcomes(comparison, "capacity", limit=parse_limit("capacity=50%"))
    assert more_than_half == {"same": "kept", "slower": "kept", "gone": "breached"}
    rose = against(*reversed(machines))
    assert {each.cell.server: each.verdict for each in rose.capacities}["gone"] == "more"
    assert set(outcomes(rose, "capacity", limit=CAPACITY, need=0.5).values()) == {"kept"}


def test_of_runs_that_look_for_capacity_a_need_is_of_that(machines: tuple[Machine, Machine]) -> None:
    comparison = against(*machines)
    assert set(outcomes(comparison, "capacity", limit=None, need=0.5).values()) == {"kept"}
    assert found(comparison, limit=None, need=0.5)["same"].because == "these runs look for capacity"
    coarse = found(comparison, "capacity", limit=CAPACITY, need=0.011)
    assert {name: each.outcome for name, each in coarse.items()} == {
        "same": "inconclusive",
        "slower": "breached",
        "gone": "breached",
    }
    assert coarse["same"].because.startswith("its windows scatter too much to show less than ")
    assert coarse["same"].because.endswith("; a longer --budget might")


def test_speed_is_not_compared_where_capacity_is_looked_for(machines: tuple[Machine, Machine]) -> None:
    speeds = found(against(*machines), limit=SLOWER, need=0.5)
    assert {each.outcome for each in speeds.values()} == {"inconclusive"}
    assert {each.because for each in speeds.values()} == {
        "where capacity is looked for, nothing but that is compared: --fail-on capacity=5%"
    }
    of_capacity = found(against(*machines), "capacity", limit=SLOWER, need=0.5)
    assert {each.because for each in of_capacity.values()} == {"no limit is of capacity"}


@pytest.mark.parametrize(("need", "outcome"), [(0.5, "inconclusive"), (None, "skipped")])
def test_capacities_that_could_not_have_shown_a_fall_are_no_success(
    machines: tuple[Machine, Machine], need: float | None, outcome: str
) -> None:
    def only(comparison: RunsComparison, server: str) -> tuple[str, str]:
        check = found(comparison, "capacity", limit=CAPACITY, need=need)[server]
        return check.outcome, check.because

    run, _ = machines
    assert only(against(run, run), "gone") == (outcome, "A and B are the same run")
    plain = beside(0.5)
    assert only(plain, "one") == (outcome, "its capacity was not looked for in A and in B")
    other = sought({"same": EIGHT}, budget_s=60, p95_ms=150)
    other.measure()
    assert only(against(run, other), "same") == (outcome, "its limits or arrivals are others in A and in B")
    short = sought({"same": EIGHT}, budget_s=30, seed=5)
    short.measure()
    few = only(against(run, short), "same")
    assert few == (
        outcome,
        "too few windows of A or B are near it, or a higher rate was not tried; a longer --budget may tell",
    )
    # Only one of its rates was tried: how far it fell is not known.
    hasty = sought({"same": replace(EIGHT, held_s=0.11)}, budget_s=10, p95_ms=200)
    hasty.measure()
    assert only(against(run, hasty), "same")[0] == outcome
