"""How long a run will go on: on a clock of the test's own."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from wsgilab import testing
from wsgilab.experiment import plan
from wsgilab.model import Cell, Trial
from wsgilab.run.forecast import Forecast

QUICK, SLOW = testing.cell("one", workload="hello"), testing.cell("one", workload="sleep")
RUN = testing.run(testing.experiment(QUICK, SLOW))


def trials(*cells: object, look: int = 0) -> list[Trial]:
    return [Trial(block=at, position=at, cell=cell, look=look) for at, cell in enumerate(cells)]  # type: ignore[arg-type]


def test_a_trial_is_expected_to_take_as_long_as_those_of_its_cell_have_with_what_lies_between() -> None:
    forecast = Forecast(RUN, began_s=100.0)
    assert forecast.left_s(101.0, trials(QUICK, SLOW)) is None, "nothing is known yet"
    forecast.learn(QUICK, 1.0)
    forecast.learn(SLOW, 4.0)

    # 5 s of trials took 10 s in all.
    assert forecast.left_s(110.0, trials(QUICK, QUICK, SLOW)) == pytest.approx(12.0)
    assert forecast.share(110.0, trials(QUICK, QUICK, SLOW)) == pytest.approx(10 / 22)


def test_of_a_cell_that_was_not_measured_its_workload_tells_or_else_all() -> None:
    forecast = Forecast(RUN, began_s=0.0)
    forecast.learn(QUICK, 1.0)
    forecast.learn(SLOW, 3.0)
    other = testing.cell("two", workload="sleep")

    assert forecast.left_s(4.0, trials(other)) == pytest.approx(3.0)
    assert forecast.left_s(4.0, trials(testing.cell("two", workload="cpu"))) == pytest.approx(2.0)


def test_what_an_earlier_command_measured_says_how_long_trials_take_and_not_how_much_time_is_over() -> None:
    forecast = Forecast(RUN, began_s=0.0)
    forecast.learn(SLOW, 9.0, own=False)
    forecast.learn(QUICK, 1.0)

    assert forecast.left_s(2.0, trials(SLOW)) == pytest.approx(18.0)


def test_lanes_side_by_side_are_as_fast_as_they_have_been() -> None:
    forecast = Forecast(RUN, began_s=0.0)
    for _ in range(8):
        forecast.learn(QUICK, 1.0)

    assert forecast.left_s(2.0, trials(*[QUICK] * 8)) == pytest.approx(2.0), "four were measured at a time"


def test_a_budget_says_when_it_ends_but_whole_blocks_come_first_and_the_last_part_may_end_before() -> None:
    forecast = Forecast(testing.run(testing.experiment(QUICK, SLOW, blocks=2, budget_s=60.0)), began_s=0.0, used_s=10.0)
    assert forecast.left_s(5.0, trials(QUICK)) == 45.0, "known before the first trial"
    forecast.learn(QUICK, 10.0)

    assert forecast.left_s(10.0, trials(*[QUICK] * 9)) == pytest.approx(90.0)
    assert forecast.left_s(10.0, trials(QUICK, look=plan.BUDGET_LOOKS[0])) == 40.0
    assert forecast.left_s(10.0, trials(QUICK, look=plan.BUDGET_LOOKS[-1])) == pytest.approx(10.0)
    assert forecast.left_s(55.0, trials(QUICK, look=plan.BUDGET_LOOKS[0])) == pytest.approx(55.0), "its block is begun"
    assert forecast.left_s(70.0, []) == 0.0


RECORDED = Path(__file__).parents[2] / "recorded" / "answer" / "observations.jsonl"


def recorded() -> Iterator[tuple[float, Trial, float]]:
    """When each trial of the recorded run ended, which it was, and how long it took: from its begin to that of the next."""
    rows: Sequence[dict[str, object]] = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    moments = [datetime.fromisoformat(str(row["started"])).timestamp() for row in rows]
    for row, began_s, ended_s in zip(rows, moments, moments[1:], strict=False):
        cell = row["cell"]
        assert isinstance(cell, dict)
        trial = Trial(block=int(str(row["block"])), position=int(str(row["position"])), cell=Cell(**cell))
        yield ended_s - moments[0], trial, ended_s - began_s


def test_of_a_recorded_run_the_time_left_is_right_within_a_fifth_after_the_first_minute() -> None:
    measured = list(recorded())
    ahead = [trial for _, trial, _ in measured]
    forecast, looked, ended_s = Forecast(RUN, began_s=0.0), 0, measured[-1][0]
    for at, (now_s, trial, took_s) in enumerate(measured, start=1):
        forecast.learn(trial.cell, took_s)
        left_s = forecast.left_s(now_s, ahead[at:])
        if now_s > 60 and ended_s - now_s > 10:
            looked += 1
            assert left_s == pytest.approx(ended_s - now_s, rel=0.2)
    assert looked > 10
