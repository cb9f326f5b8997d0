"""What a budget has decided, in words, in every format."""

import io
from dataclasses import replace

import pytest
import yaml
from rich.console import Console

from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.model import BudgetOutcome, Comparison, Interval, OpenComparison, Verdict
from wsgilab.report import budget, html, terminal
from wsgilab.report.comparison import comparison_yaml
from wsgilab.report.markdown import comparison_md

ONE, TWO = testing.cell("one"), testing.cell("two")
RUN = testing.run(testing.experiment(ONE, TWO, blocks=2, budget_s=125.0))


def comparison(*more_s: float | None, spoilt: int = 0, used_s: float = 124.0) -> Comparison:
    left = tuple(OpenComparison(cell=TWO, other="one", more_s=each) for each in more_s)
    found = BudgetOutcome(budget_s=125.0, used_s=used_s, comparisons=9, spoilt=spoilt, decided=9 - len(left), left=left)
    observations = [testing.observation(cell, block=block, took_s=1.0) for block in range(2) for cell in (ONE, TWO)]
    return replace(compare(RUN, observations), budget=found)


@pytest.mark.parametrize(
    ("more_s", "words"),
    [
        (1.0, "about 5 s more for two against one"),
        (41.7, "about 40 s more for two against one"),
        (94.0, "about 95 s more for two against one"),
        (200.0, "about 3 min more for two against one"),
        (4000.0, "two against one (too close for any reasonable time)"),
        (None, "two against one (too close for any reasonable time)"),
    ],
)
def test_what_is_left_is_said_with_the_time_that_it_would_take(more_s: float | None, words: str) -> None:
    first, left = budget.sentences(comparison(more_s))

    assert first == "The budget of 125 s has decided 8 of 9 comparisons."
    assert left == f"Left open: sleep 50 ms, 32 users, 1 core, connection: close: {words}."


def test_of_many_the_nearest_are_named() -> None:
    _, left = budget.sentences(comparison(10.0, 20.0, 30.0, 40.0, 50.0, 60.0))

    assert left.count("two against one") == 4
    assert left.endswith("about 40 s more for two against one; and 2 more.")


def test_a_cost_that_is_decided_is_said_apart_from_speed() -> None:
    found = comparison(41.7, None)
    assert found.budget is not None
    one, other = found.budget.left
    left = replace(one, cost="less"), replace(other, cost="more")
    first, second = budget.sentences(replace(found, budget=replace(found.budget, left=left, by_cost=2)))

    assert first == (
        "The budget of 125 s has decided 7 of 9 comparisons. 2 of the others are decided by CPU time a request, though not by "
        "speed: both servers are bound by CPU."
    )
    assert "about 40 s more for two against one (a request takes less CPU time); two against one (too close" in second
    assert second.endswith("(too close for any reasonable time; a request takes more CPU time).")


def test_gates_and_a_budget_that_two_blocks_exceed_are_said() -> None:
    assert budget.sentences(comparison(spoilt=2)) == (
        "The budget of 125 s has decided 9 of 9 comparisons. Of 2 more nothing is concluded, because of broken gates.",
    )
    assert budget.sentences(comparison(used_s=140.0)) == (
        "The budget of 125 s has decided 9 of 9 comparisons. Two whole blocks come first in any case; all trials took 140 s.",
    )


def test_every_format_says_it() -> None:
    found = comparison(41.7)
    document = yaml.safe_load(comparison_yaml(found)["comparison.yaml"])

    assert document["budget"] | {"left": []} == {
        "budget_s": 125.0,
        "used_s": 124.0,
        "comparisons": 9,
        "spoilt": 0,
        "decided": 8,
        "left": [],
        "by_cost": 0,
    }
    (left,) = document["budget"]["left"]
    assert (left["workload"], left["server"], left["other"], left["more_s"]) == ("sleep", "two", "one", 42.0)
    assert left["cost"] == "undecided"
    written = comparison_md(found)["comparison.md"].decode(), html.report(found)["report.html"].decode()
    shown = io.StringIO()
    Console(file=shown, width=300).print(terminal.comparison(found, 300))
    for text in (*written, shown.getvalue()):
        assert "about 40 s more for two against one" in text
    assert all("a budget of 125 s, 0.3 s windows" in text for text in written)


# In short.


def test_in_short_it_is_how_many_are_open_what_would_settle_them_and_which_is_nearest() -> None:
    assert budget.open_questions(comparison(30.0, 100.0, None)) == (
        "The budget of 125 s has decided 6 of 9 comparisons.",
        "Open: 3. About 2 min more may settle 2 (--budget 5min); the nearest is two against one (sleep 50 ms): 30 s.",
        "Too close to tell in any reasonable time: 1.",
    )
    assert budget.open_questions(comparison()) == ("The budget of 125 s has decided 9 of 9 comparisons.",)


def without_budget(ratio: Interval, *, blocks: int = 8, verdict: Verdict = "undecided") -> Comparison:
    asked = testing.experiment(ONE, TWO, blocks=blocks)
    observations = [testing.observation(cell, block=block) for block in range(blocks) for cell in (ONE, TWO)]
    found = compare(testing.run(asked), observations)
    (pair,) = found.pairs
    return replace(found, pairs=(replace(pair, ratio=ratio, verdict=verdict, same=False),))


def test_without_a_budget_it_is_in_blocks_and_in_how_much_longer_a_run_would_take() -> None:
    near = without_budget(Interval(median=1.1, low=0.98, high=1.235))
    first, more = budget.open_questions(near)

    assert first == "0 of 1 comparisons are decided."
    assert more == (
        "Open: 1. With --blocks 15, 1.9 times as long, a run may settle it; the nearest is two against one (sleep 50 ms): 15 blocks."
    )
    assert budget.open_questions(without_budget(Interval(median=1.001, low=0.9, high=1.1)))[1:] == (
        "Too close to tell in any reasonable time: 1.",
    )
    decided = without_budget(Interval(median=2.0, low=1.9, high=2.1), verdict="faster")
    assert budget.open_questions(decided) == ("1 of 1 comparisons are decided.",)


def test_with_too_few_blocks_for_an_interval_twice_as_many_may_settle_it() -> None:
    few = without_budget(Interval(median=2.0, low=None, high=None), blocks=2)

    assert "With --blocks 4, 2 times as long, a run may settle it" in budget.open_questions(few)[1]
