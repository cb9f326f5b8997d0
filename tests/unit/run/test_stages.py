"""What a run with a budget measures next, on a machine that is made up; an interruption at every moment."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from wsgilab import testing
from wsgilab.analysis.budget import duets
from wsgilab.analysis.budget.seconds import used_s
from wsgilab.analysis.cell.disturbance import is_disturbed
from wsgilab.experiment import plan
from wsgilab.model import Cell, Duet, Gate, InFlight, Observation, Run, Trial
from wsgilab.run.stages import Stage, stages

SPEED = {"reference": 100.0, "near": 107.0, "far": 400.0, "twin": 100.5}
CELLS = [testing.cell(name, workload=workload) for workload in ("hello", "cpu") for name in SPEED]
BUDGET_S = 100.0
RUN = testing.run(testing.experiment(*CELLS, blocks=2, budget_s=BUDGET_S, reference="reference"))
REPORT = testing.trial_report(
    completed=600, in_flight=InFlight(peak=1, mean=0.99, threads=1, requests_per_process=(600,))
)


@pytest.fixture(autouse=True)
def gates(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Gate, ...]]:
    """Server -> its broken gates; none, which takes the time to work out of the tests."""
    found: dict[str, tuple[Gate, ...]] = {}
    monkeypatch.setattr(
        "wsgilab.run.stages.broken_gates",
        lambda run, _: {cell: found.get(cell.server, ()) for cell in run.experiment.cells},
    )
    return found


class Stopped(Exception):
    """The run was interrupted."""


@dataclass(kw_only=True)
class Machine:
    """A store, a clock, and trials that take a second each on every lane."""

    run: Run = RUN
    lanes: int = 1
    found: dict[tuple[int, Cell], Observation] = field(default_factory=dict)
    clock_s: float = 1000.0
    stops: Callable[[int], bool] = lambda _: False
    """Of the number of trials so far."""
    disturbed: frozenset[tuple[int, Cell]] = frozenset()
    carried_out: list[tuple[int, Cell]] = field(default_factory=list)
    at_once: dict[tuple[int, Cell], Duet] = field(default_factory=dict)
    bound_by_cpu: frozenset[str] = frozenset()
    """Servers that fill their core; alone a request of `near` costs a fifth more than one of the others, and hardly more at once."""

    def duets(self) -> list[Duet]:
        return list(self.at_once.values())

    def done_duets(self) -> frozenset[tuple[int, Cell]]:
        return frozenset(self.at_once)

    def observations(self) -> list[Observation]:
        return list(self.found.values())

    def done(self, *, disturbed: bool = False) -> frozenset[tuple[int, Cell]]:
        return frozenset(at for at, each in self.found.items() if disturbed or not is_disturbed(self.run, each))

    def measure(self) -> list[Stage]:
        gone = []
        for stage in stages(self.run, self, self.lanes, repeats=True, clock=lambda: self.clock_s):  # type: ignore[arg-type]
            gone.append(stage)
            self._carry_out(stage)
        return gone

    def _carry_out(self, stage: Stage) -> None:
        for number, trial in enumerate(stage.trials):
            begins = not number or stage.trials[number - 1].block != trial.block
            if begins and stage.until_s is not None and self.clock_s >= stage.until_s:
                return
            if self.stops(len(self.carried_out)):
                raise Stopped
            self.clock_s += 1 / self.lanes
            self._keep(trial)

    def _keep(self, trial: Trial) -> None:
        at = trial.block, trial.cell
        if trial.beside is not None:
            halves = [self._half(cell, trial.block, share=0.5) for cell in (trial.cell, trial.beside)]
            self.carried_out.append(at)
            self.at_once[at] = Duet(one=halves[0], other=halves[1])
            return
        # A scatter with no end that comes back.
        phase = math.sin(12.9898 * (trial.block + 1) * (1 + CELLS.index(trial.cell)))
        rate = SPEED[trial.cell.server] * math.exp(0.04 * phase)
        swarm = replace(REPORT, throughput_rps=rate, latency_mean_ms=32_000 / rate)
        if at in self.disturbed and at not in self.found:
            swarm = replace(swarm, generator_others=9.0, server_busy=1.0)
        elif trial.cell.server in self.bound_by_cpu:
            self.carried_out.append(at)
            alone = replace(self._half(trial.cell, trial.block, rate), position=trial.position, look=trial.look)
            self.found[at] = alone
            return
        self.carried_out.append(at)
        self.found[at] = replace(
            testing.observation(trial.cell, block=trial.block, position=trial.position, look=trial.look, took_s=1.0),
            swarm=swarm,
        )

    def _half(self, cell: Cell, number: int, rate: float = 100.0, share: float = 1.0) -> Observation:
        """A server that had such a share of a full core."""
        cost = 1.0 if cell.server != "near" else 1.2 if share == 1 else 1.005
        swarm = replace(
            REPORT,
            throughput_rps=rate,
            latency_mean_ms=32_000 / rate,
            read_completed=round(10_000 * share / cost * math.exp(0.01 * math.sin(number * cost))),
            read_span_s=0.3,
            server_busy=1.0,
            generator_others=0.0,
        )
        return testing.observation(
            cell, block=number, swarm=swarm, server_cpu_s=0.3 * share, server_span_s=0.3, took_s=1.0
        )


def test_two_whole_blocks_come_first_and_then_look_by_look_what_is_worth_it() -> None:
    machine = Machine()
    first, *later = machine.measure()

    assert first.trials == plan.schedule(RUN.experiment, RUN.seed)
    assert [{trial.look for trial in stage.trials} - {at} for stage, at in zip(later, (2, 3, 4), strict=True)] == [
        set()
    ] * 3
    assert first.words == f"Run {RUN.id}: 16 trials, seed 1."
    assert (
        later[0].words
        == f"{len({each.cell for each in later[0].trials})} cells may still be decided: {len(later[0].trials)} trials more."
    )
    blocks = Counter(each.cell.server for each in machine.observations())
    assert blocks["near"] > blocks["far"] > 4, "two blocks decide nothing"
    assert used_s(machine.observations()) <= BUDGET_S


def test_blocks_are_numbered_on_and_each_has_both_cells_of_a_comparison() -> None:
    machine = Machine()
    machine.measure()

    by_block = {block: {cell for at, cell in machine.found if at == block} for block, _ in machine.found}
    assert sorted(by_block) == list(range(len(by_block)))
    assert len(machine.carried_out) == len(set(machine.carried_out))
    for cells in by_block.values():
        for cell in cells:
            assert replace(cell, server="reference") in cells


def test_beside_a_neighbour_it_goes_on_but_not_where_a_server_itself_fails(gates: dict[str, tuple[Gate, ...]]) -> None:
    gates |= {"near": ("neighbour", "generator"), "far": ("failures",)}
    machine = Machine()
    machine.measure()

    later = Counter(cell.server for block, cell in machine.carried_out if block >= 2)
    assert later["near"] > 0 == later["far"]


def test_on_two_lanes_more_fits_into_the_same_time() -> None:
    run = replace(RUN, experiment=replace(RUN.experiment, budget_s=40.0))
    one, two = Machine(run=run), Machine(run=run, lanes=2)
    one.measure()
    two.measure()

    assert len(one.carried_out) <= 40 < len(two.carried_out) <= 80
    assert two.clock_s <= 1040


def test_a_run_that_is_interrupted_goes_on_wherever_it_was_and_keeps_to_its_budget() -> None:
    whole = Machine()
    whole.measure()
    for stop in (5, 16, 19, len(whole.carried_out) - 1):
        machine = Machine(stops=lambda count, stop=stop: count == stop)  # type: ignore[misc]
        with pytest.raises(Stopped):
            machine.measure()
        machine.stops = lambda _: False
        before = list(machine.carried_out)
        machine.measure()

        assert machine.carried_out[: len(before)] == before == whole.carried_out[: len(before)]
        assert len(machine.carried_out) == len(set(machine.carried_out)), "nothing is measured twice"
        assert used_s(machine.observations()) <= BUDGET_S
        ended = list(machine.carried_out)
        machine.measure()
        assert machine.carried_out == ended, "what is over is over"


def test_what_others_disturbed_is_measured_again_for_the_look_that_it_was_for() -> None:
    whole = Machine()
    whole.measure()
    one, other = whole.carried_out[3], whole.carried_out[20]
    machine = Machine(disturbed=frozenset({one, other}))
    machine.measure()
    looks = {at: each.look for at, each in machine.found.items()}
    before = len(machine.carried_out)
    machine.measure()

    assert machine.carried_out[before : before + 2] == [one, other]
    assert {at: machine.found[at].look for at in looks} == looks
    assert machine.done() == machine.done(disturbed=True)


def test_with_precision_what_is_settled_takes_part_in_no_more_blocks_also_after_an_interruption() -> None:
    cells = CELLS[:4]
    # No four blocks of twins agree to a ten-thousandth.
    sequential = testing.experiment(*cells, blocks=4, precision=0.0001, max_blocks=6, reference="reference")
    machine = Machine(run=replace(RUN, experiment=sequential), stops=lambda count: count == 17)
    with pytest.raises(Stopped):
        machine.measure()
    machine.stops = lambda _: False
    *_, last = machine.measure()

    assert machine.carried_out[:16] == [(trial.block, trial.cell) for trial in plan.schedule(sequential, RUN.seed)]
    assert len(machine.carried_out) == len(set(machine.carried_out))
    assert {block for block, cell in machine.carried_out if cell.server == "twin"} == set(range(6))
    assert {block for block, cell in machine.carried_out if cell.server == "far"} == set(range(4))
    assert last.words == "3 cells are not settled by 4 blocks: 5 trials more."


# Servers at once.

AT_ONCE = frozenset({"reference", "near"})


def test_servers_that_are_bound_by_cpu_are_loaded_at_once_after_the_whole_blocks_on_the_same_budget() -> None:
    machine = Machine(bound_by_cpu=AT_ONCE)
    first, second, third, *later = machine.measure()

    assert first.trials == plan.schedule(RUN.experiment, RUN.seed)
    assert {(trial.cell.server, trial.beside and trial.beside.server) for trial in second.trials} == {
        ("near", "reference")
    }
    assert second.words == "1 comparison may be decided by CPU time a request: 4 windows with both servers at once."
    # They are not decided by the first ones, and hardly scatter.
    assert third.words.startswith("1 comparison may be decided by CPU time a request: ")
    assert all(trial.beside is None for stage in later for trial in stage.trials)
    assert len(machine.duets()) == len(second.trials) + len(third.trials) > duets.FIRST
    assert used_s([*machine.observations(), *machine.duets()]) <= BUDGET_S
    assert used_s(machine.duets()) <= duets.SHARE * (BUDGET_S - 16)
    assert len(later) == len(plan.BUDGET_LOOKS)


def test_without_such_servers_or_without_a_budget_none_are() -> None:
    whole = replace(RUN, experiment=replace(RUN.experiment, blocks=4, budget_s=None))
    for machine in (Machine(), Machine(run=whole, bound_by_cpu=AT_ONCE)):
        machine.measure()
        assert machine.duets() == []


def test_a_run_that_is_interrupted_among_duets_goes_on_with_the_rest_and_after_a_look_makes_no_more() -> None:
    whole = Machine(bound_by_cpu=AT_ONCE)
    whole.measure()
    for stop in (17, 19, 24):
        machine = Machine(bound_by_cpu=AT_ONCE, stops=lambda count, stop=stop: count == stop)  # type: ignore[misc]
        with pytest.raises(Stopped):
            machine.measure()
        machine.stops = lambda _: False
        machine.measure()

        assert machine.at_once.keys() == whole.at_once.keys()
        assert len(machine.carried_out) == len(machine.found) + len(machine.at_once), "nothing is measured twice"
    # A run of a lab that had no duets.
    machine.at_once.clear()
    machine.measure()
    assert machine.duets() == []
