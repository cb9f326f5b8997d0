"""Runs that look for capacity, on servers that are queues: what they find, how sure they are of it, and what they say."""

import math
from dataclasses import replace

import pytest
import yaml

from benchmarks.capacity import rate_that_keeps, theory, waits, waits_at_most
from tests.unit.queues import Machine, Queue, Stopped, rates, sought
from wsgilab import testing
from wsgilab.analysis.ab.runs import runs
from wsgilab.analysis.compare import compare
from wsgilab.model import CapacityOutcome, RunsComparison, ServerCapacity
from wsgilab.report import capacity as words
from wsgilab.report.ab import words as words_of_two
from wsgilab.report.ab.yaml import runs_yaml

ONE, EIGHT = Queue(slots=1, held_s=0.02), Queue(slots=8, held_s=0.05)
LIMIT_S = 0.2


def outcome(machine: Machine) -> CapacityOutcome:
    machine.measure()
    found = compare(machine.run, machine.observations()).capacity
    assert found is not None
    return found


def of(found: CapacityOutcome, server: str) -> ServerCapacity:
    return next(each for each in found.servers if each.cell.server == server)


def said(machine: Machine) -> str:
    return "\n".join(words.sentences(compare(machine.run, machine.observations())))


# --- theory, as the benchmark has it


@pytest.mark.parametrize(("load", "wait"), [(0.5, 1.5), (0.8, 4.0), (0.85, 9.0)])
def test_the_queue_that_is_simulated_waits_as_erlangs_formula_has_it(load: float, wait: float) -> None:
    found = waits(load, 1.0, 1, 200_000)
    assert sum(each <= wait for each in found) / len(found) == pytest.approx(waits_at_most(load, 1.0, wait), abs=0.006)


def test_the_formula_has_the_values_of_crommelins_tables() -> None:
    """No wait: 1 - load. And one service time or less, at half load: (1 - 0.5) e^0.5."""
    assert waits_at_most(0.5, 1.0, 0.0) == pytest.approx(0.5)
    assert waits_at_most(0.5, 1.0, 0.999999) == pytest.approx(0.5 * math.exp(0.5), abs=1e-4)
    assert rate_that_keeps(lambda rate: 1.0 if rate <= 3 else 0.0, 10) == pytest.approx(3, abs=2e-3)


# --- what is found


RUNS = 3


def test_the_capacity_of_one_slot_and_of_eight_is_found_within_its_interval() -> None:
    true = {"one": theory(ONE.held_s, 1, LIMIT_S), "eight": theory(EIGHT.held_s, 8, LIMIT_S, 50_000)}
    errors: dict[str, list[float]] = {name: [] for name in true}
    held = 0
    for seed in range(RUNS):
        found = outcome(sought({"one": ONE, "eight": EIGHT}, budget_s=900, seed=seed))
        for name, rate in true.items():
            rps = of(found, name).rps
            assert rps is not None
            assert rps.low is not None
            assert rps.high is not None
            errors[name].append(rps.median / rate - 1)
            held += rps.low <= rate <= rps.high
            assert rps.high / rps.low < 1.35, "known to some percent"
    for name, of_runs in errors.items():
        assert abs(sum(of_runs) / RUNS) < 0.02, f"{name}: no bias to speak of"
        assert max(map(abs, of_runs)) < 0.08, name
        assert sum(abs(each) < 0.05 for each in of_runs) >= RUNS - 1, name
    assert held >= 2 * RUNS - 1


# --- what else comes of it


def test_servers_are_compared_by_capacity_and_twins_are_not_told_apart() -> None:
    machine = sought(
        {"eight": EIGHT, "four": replace(EIGHT, slots=4), "twin": replace(EIGHT, held_s=0.0501)}, budget_s=400
    )
    found = outcome(machine)

    verdicts = {(each.cell.server, each.other): each.verdict for each in found.ratios}
    assert verdicts == {("four", "eight"): "less", ("twin", "eight"): "undecided", ("four", "twin"): "less"}
    twin = next(each.ratio for each in found.ratios if each.cell.server == "twin")
    assert twin.low is not None
    assert twin.high is not None
    assert twin.high / twin.low < 1.05, "all have the same arrivals"
    (group,) = found.groups
    assert sorted(group.best) == ["eight", "twin"]
    assert "Any of these: eight with 1" in said(machine)


def test_a_server_with_more_capacity_than_the_others_is_named() -> None:
    machine = sought({"eight": EIGHT, "four": replace(EIGHT, slots=4)})
    assert outcome(machine).groups[0].best == ("eight",)
    assert "\neight has the most capacity: 1" in said(machine)
    assert " that of four.\n" in said(machine)
    assert of(outcome(machine), "eight").limited_by.startswith("slots; ")
    half = of(outcome(machine), "eight").half_p95_ms
    assert half is not None
    assert 50 <= half < 80


@pytest.mark.parametrize("queue", [Queue(slots=1, held_s=0.25), replace(EIGHT, fails_from=0.0)])
def test_a_server_that_keeps_the_limit_at_no_rate_says_so(queue: Queue) -> None:
    machine = sought({"slow": queue, "eight": EIGHT}, budget_s=200)
    found = of(outcome(machine), "slow")

    assert (found.status, found.rps) == ("none", None)
    assert found.lowest_rps == min(rates(machine, "slow"))
    assert (
        f"slow does not keep the limit at any rate that was tried: at {found.lowest_rps:g} requests/s, the lowest"
        in said(machine)
    )
    if queue.held_s > LIMIT_S:
        assert len(rates(machine, "slow")) == 1, "no rate would do"
    else:
        assert found.lowest_rps == 16, "a tenth of its closed loop"
        assert " failed." in said(machine)
    assert "eight with 1" in said(machine)


def test_what_the_generator_can_make_no_more_of_is_at_least_so_much() -> None:
    machine = sought({"eight": replace(EIGHT, generator_from=120.0), "four": replace(EIGHT, slots=4)})
    found = outcome(machine)

    eight = of(found, "eight")
    assert eight.status == "at-least"
    assert eight.rps is not None
    assert 80 < eight.rps.median < 120
    assert eight.rps.high is None
    assert f"eight keeps the limit at {eight.rps.median:.0f} requests/s" in said(machine).replace(",", "")
    (ratio,) = found.ratios
    assert (ratio.cell.server, ratio.verdict, ratio.ratio.low) == ("four", "less", None)


def test_a_server_whose_users_are_too_few_is_looked_for_above_its_closed_loop() -> None:
    wide = Queue(slots=30, held_s=0.05, users_bound=True)
    found = of(outcome(sought({"wide": wide}, budget_s=200)), "wide")

    assert found.status == "found"
    assert found.rps is not None
    assert found.rps.median == pytest.approx(theory(0.05, 30, LIMIT_S, 50_000), rel=0.05)


def test_a_closed_loop_that_shows_too_much_leads_to_the_capacity_all_the_same() -> None:
    """Where the first rate overloads a server, requests take longer inside it than the limit, but not by themselves."""
    eager = replace(EIGHT, boasts=2.0, computes=True)
    found = of(outcome(sought({"eager": eager}, budget_s=250, seed=2)), "eager")

    assert found.status == "found"
    assert found.rps is not None
    assert found.rps.median == pytest.approx(150.8, rel=0.08)


def test_failures_limit_a_server_too() -> None:
    machine = sought({"eight": replace(EIGHT, fails_from=100.0)}, budget_s=200)
    found = of(outcome(machine), "eight")

    assert found.rps is not None
    assert found.rps.median == pytest.approx(100, rel=0.07)
    assert found.limited_by == "failed requests"


def test_a_server_whose_trials_all_fail_is_given_up_and_its_reason_said() -> None:
    machine = sought({"eight": EIGHT, "gone": replace(EIGHT, failed=True)}, budget_s=100)
    found = outcome(machine)

    assert of(found, "gone").status == "unknown"
    assert "gone: no capacity, because none of its windows can be used." in said(machine)
    assert not rates(machine, "gone")
    assert of(found, "eight").status == "found"


def test_a_run_keeps_to_its_budget_and_goes_on_wherever_it_was_interrupted() -> None:
    whole = sought({"eight": EIGHT, "one": ONE}, budget_s=100)
    whole.measure()
    trials = list(whole.found)
    assert 85 < sum(each.took_s or 0 for each in whole.observations()) <= 100
    for stop in (1, 2, 3, 6, len(trials) - 1):
        machine = sought({"eight": EIGHT, "one": ONE}, budget_s=100)
        machine.stops = lambda count, stop=stop: count == stop  # type: ignore[misc]
        with pytest.raises(Stopped):
            machine.measure()
        machine.stops = lambda _: False
        machine.measure()
        assert list(machine.found) == trials, stop


def test_on_two_lanes_two_blocks_are_measured_side_by_side() -> None:
    machine = sought({"eight": EIGHT, "one": ONE}, budget_s=100)
    first, second, *_ = machine.measure(lanes=2)
    assert [each.block for each in first.trials] == [0, 0]
    assert sorted(each.block for each in second.trials) == [1, 1, 2, 2]
    assert len(machine.found) > 20


def test_windows_that_others_disturbed_count_only_where_there_is_no_other_and_then_nothing_is_compared() -> None:
    def disturbed(machine: Machine, blocks: range) -> CapacityOutcome:
        machine.measure()
        for at, each in machine.found.items():
            if each.block in blocks and each.swarm is not None:
                # As if nobody kept to the limit then, and the generator to its schedule.
                late = replace(
                    each.swarm,
                    server_busy=1.0,
                    generator_others=0.9,
                    late=99,
                    latency_histogram=testing.histogram(999.0),
                )
                machine.found[at] = replace(each, swarm=late)
        found = compare(machine.run, machine.observations()).capacity
        assert found is not None
        return found

    some = disturbed(sought({"eight": EIGHT, "four": replace(EIGHT, slots=4)}), range(3, 6))
    assert [each.broken for each in some.servers] == [False, False]
    assert getattr(of(some, "eight").rps, "median", 0) == pytest.approx(150, rel=0.07)
    assert len(some.ratios) == 1
    every = disturbed(sought({"eight": EIGHT, "four": replace(EIGHT, slots=4)}), range(2, 99))
    assert [each.broken for each in every.servers] == [True, True]
    assert every.ratios == ()
    assert every.groups[0].best == ()


# --- two runs


def against(a: Machine, b: Machine) -> RunsComparison:
    for each in (a, b):
        each.measure()
    return runs(a.run, a.observations(), b.run, b.observations())


def test_two_runs_are_compared_by_capacity_with_a_verdict_for_each_server() -> None:
    before = {"same": EIGHT, "slower": EIGHT, "slow": replace(EIGHT, held_s=0.3)}
    after = {**before, "slower": replace(EIGHT, held_s=0.06)}
    found = against(sought(before, budget_s=240, seed=1), sought(after, budget_s=240, seed=2))

    assert {each.cell.server: each.verdict for each in found.capacities} == {
        "same": "undecided",
        "slower": "less",
        "slow": "undecided",
    }
    by_server = {each.cell.server: each for each in found.capacities}
    ratio = by_server["slower"].ratio
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low <= 0.78 <= ratio.high
    assert by_server["slow"].refused == "in A, it keeps the limit at no rate that was tried"
    notes = list(words_of_two.notes(found))
    slower = next(
        each for each in notes if each.startswith("Capacity of slower (sleep 50 ms, 1 core, connection: close): ")
    )
    assert slower.endswith(": less.")
    assert any(
        each.endswith("none in A, none in B; not compared: in A, it keeps the limit at no rate that was tried.")
        for each in notes
    )
    document = yaml.safe_load(runs_yaml(found)["against.yaml"])
    assert [each["verdict"] for each in document["capacities"]] == ["undecided", "less", "undecided"]


def test_capacities_under_other_limits_and_of_runs_that_do_not_look_for_it_are_not_compared() -> None:
    one = sought({"eight": EIGHT}, budget_s=60)
    found = against(one, sought({"eight": EIGHT}, budget_s=60, p95_ms=150))
    assert [each.refused for each in found.capacities] == ["its limits or arrivals are others in A and in B"]
    plain = testing.run(testing.experiment(testing.cell("eight")), *one.run.servers.values())
    closed = [each for each in one.observations() if each.block == 0]
    assert runs(one.run, one.observations(), plain, closed).capacities == ()
