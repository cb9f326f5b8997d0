"""What the benchmark `pairs` makes of its windows, on made-up ones."""

import random
from collections.abc import Sequence

import pytest

from benchmarks import pair_readings
from benchmarks.outcome import Block
from benchmarks.pair_readings import Pair, Window

ALTERNATION, CLEAN, DUET, DUET_COST, COST = pair_readings.READINGS


def window(rps: float, cost_ms: float = 0.3, others: float = 0.0, disturbed: bool = False) -> Window:
    return Window(rps=rps, generator_cpu=0.3, took_s=0.3, cost_ms=cost_ms, others=others, disturbed=disturbed)


def some(count: int, slower: float = 1.0, scatter: float = 0.01, seed: int = 1, others: float = 0.0) -> Sequence[Pair]:
    """Pairs of which the second is slower by a factor, and costs as much more."""
    source = random.Random(seed)
    return [
        (
            window(1000 * source.lognormvariate(0, scatter), 0.3 * source.lognormvariate(0, scatter), others),
            window(1000 / slower * source.lognormvariate(0, scatter), 0.3 * slower, others),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("reading", pair_readings.READINGS, ids=lambda reading: reading.name)
def test_a_difference_is_found_on_its_side_and_twins_are_left_undecided(reading: pair_readings.Reading) -> None:
    assert reading.verdict(some(25, slower=1.05)) == reading.found
    assert reading.verdict([(two, one) for one, two in some(25, slower=1.05)]) not in (reading.found, "undecided")
    assert reading.verdict(some(25)) == "undecided"
    # Too few for an interval.
    assert reading.verdict(some(2, slower=2.0)) == "undecided"


def test_a_scaled_twin_is_as_one_that_differs() -> None:
    assert ALTERNATION.ratios(some(5), 1 / 1.05) == pytest.approx(ALTERNATION.ratios(some(5, slower=1.05)))
    assert COST.ratios(some(5), 1.05) == pytest.approx(COST.ratios(some(5, slower=1.05)))


def test_disturbed_windows_do_not_count_where_clean_ones_are_asked_for() -> None:
    quiet = some(4)
    spoilt = [(window(1000), window(500, disturbed=True)), (window(500, disturbed=True), window(1000))]
    assert CLEAN.kept([*spoilt, *quiet]) == quiet
    assert len(ALTERNATION.kept([*spoilt, *quiet])) == 6
    assert CLEAN.kept([*spoilt, *quiet[:3]]) == [], "too few of them"


def test_costs_are_compared_where_others_took_as_much_and_need_more_where_they_did_not() -> None:
    alike = some(4, slower=1.05, others=0.3)
    unlike = [(window(1000, 0.3, 0.0), window(1000, 0.4, 0.5))] * 20
    assert COST.kept([*unlike, *alike]) == alike
    assert COST.kept([*unlike, *alike[:3]]) == [*unlike, *alike[:3]], "too few of the others"
    assert pair_readings.cost_margin(alike) == pytest.approx(0.01)
    # What others took half of the core for raises the cost by more than a third.
    assert COST.verdict(unlike) == "more"
    assert COST.verdict([(window(1000, 0.3, 0.0), window(1000, 0.38, 0.5))] * 20) == "undecided"


def test_tries_are_made_of_whole_rounds_in_order_and_twins_change_places() -> None:
    rounds = [some(3, seed=1), some(3, seed=2)]
    whole = {tuple(each) for each in rounds}
    turned = {tuple((two, one) for one, two in each) for each in rounds}

    drawn = list(pair_readings.tries(rounds, 7, random.Random(1), alike=True))

    assert [len(each) for each in drawn] == [7] * pair_readings.TRIES
    assert {tuple(each[at : at + 3]) for each in drawn for at in (0, 3)} == whole | turned
    assert {tuple(each[:3]) for each in pair_readings.tries(rounds, 7, random.Random(1), alike=False)} == whole


def blocks(rounds: int, of_round: int) -> Sequence[Block]:
    """Twins of which one is always 2 % faster in even rounds and the other in odd ones; and pairs that differ by 5 %."""
    found: list[Block] = []
    for number in range(rounds):
        for block in range(of_round):
            groups: dict[str, dict[str, Window]] = {}
            for kind in (pair_readings.HELLO, pair_readings.CPU, pair_readings.MORE):
                slower = 1.05 if kind == pair_readings.MORE else 1.02 if number % 2 else 1 / 1.02
                for way in (pair_readings.ALTERNATION, pair_readings.DUET):
                    for condition in (pair_readings.QUIET, pair_readings.NEIGHBOUR):
                        seed = len(found) * 100 + len(groups)
                        ((one, two),) = some(1, slower=slower, scatter=0.005, seed=seed)
                        # In the order in which they were measured.
                        both = {"two": two, "one": one} if block % 2 else {"one": one, "two": two}
                        groups[f"{kind}, {way}, {condition} {number}"] = both
            found.append(groups)
    return found


def test_the_summary_has_a_row_for_each_workload_condition_and_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_readings, "TRIES", 20)
    rows = pair_readings.summary(blocks(rounds=10, of_round=5), window_s=0.2)

    assert len(rows) == 20
    assert all(row.keys() == rows[0].keys() for row in rows)
    by_name = {(row["workload"], row["beside"], row["measured by"]): row for row in rows}
    assert len(by_name) == 20
    hello, cpu = by_name["hello", "nothing", "duet"], by_name["cpu", "a neighbour", "alternation"]
    assert cpu["pairs that count"] == "50 of 50"
    assert cpu["5 % found in 10, 30, 60 s"] == "100%, 100%, 100%"
    for row in (hello, cpu):
        assert float(str(row["ratio at 5 %"])) == pytest.approx(1 / 1.05, abs=0.01)
    assert cpu["took"] == pytest.approx(1.5)
    low, high = (float(each) for each in str(cpu["twins apart"]).split(" to "))
    assert low == pytest.approx(0.98, abs=0.015)
    assert high == pytest.approx(1.02, abs=0.015)
