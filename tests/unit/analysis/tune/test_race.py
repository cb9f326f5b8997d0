"""A race of configurations on a machine that is made up: who leaves, who stays, how often the best is lost."""

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from wsgilab import testing
from wsgilab.analysis.budget.seconds import used_s
from wsgilab.analysis.compare import compare
from wsgilab.analysis.tune import race
from wsgilab.experiment import plan
from wsgilab.model import Cell, Experiment, InFlight, Observation, Run, Trial, Tune, TuneOutcome
from wsgilab.model.errors import HostError
from wsgilab.results import reading
from wsgilab.run.stages import Stage, stages

REPORT = testing.trial_report(
    completed=600, in_flight=InFlight(peak=1, mean=0.99, threads=1, requests_per_process=(600,))
)
BUDGET_S = 300.0


@pytest.fixture(autouse=True)
def percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of all requests together decide nothing, and take most of the time."""
    found = dict.fromkeys(("p50", "p95", "p99", "max"), 320.0)
    monkeypatch.setattr("wsgilab.analysis.stats.merged_latency_ms", lambda _: found)


class Stopped(Exception):
    """The run was interrupted."""


@dataclass(kw_only=True)
class Machine:
    """A store, a clock, and trials of a second each; `speed` is in requests a second, `memory` in MB."""

    speed: dict[str, float]
    memory: dict[str, float] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)
    scatter: float = 0.03
    budget_s: float = BUDGET_S
    tune: Tune = field(default_factory=Tune)
    fails: Callable[[Trial], bool] = lambda _: False
    stops_after: int | None = None
    holds: int = 1000
    """So many servers are up at once at most."""
    seed: int = 1
    rate: float | None = None
    """In place of users; then they have the same throughput, and the mean latency decides."""
    clock_s: float = 1000.0
    beside: bool = False
    """Other programs take the cores all the time."""
    beside_for: str = ""
    """They do so whenever this server is measured."""
    disturbed: set[tuple[int, Cell]] = field(default_factory=set)
    """Trials that others have disturbed, until they are carried out again."""
    found: dict[tuple[int, Cell], Observation] = field(default_factory=dict)
    carried_out: list[tuple[int, str]] = field(default_factory=list)

    @property
    def run(self) -> Run:
        cells = [testing.cell(name) for name in self.speed]
        if self.rate is not None:
            cells = [replace(each, users=None, rate=self.rate, arrivals="constant") for each in cells]
        experiment: Experiment = testing.experiment(
            *cells, blocks=plan.RACE_BLOCKS[0], budget_s=self.budget_s, tune=self.tune
        )
        servers = [testing.server(name, processes=self.processes.get(name, 1)) for name in self.speed]
        return testing.run(experiment, *servers, seed=self.seed)

    def observations(self) -> list[Observation]:
        return list(self.found.values())

    def done(self, *, disturbed: bool = False) -> frozenset[tuple[int, Cell]]:
        measured = {at for at, each in self.found.items() if each.status == "measured"}
        return frozenset(measured if disturbed else measured - self.disturbed)

    def measure(self) -> list[Stage]:
        gone = []
        held = {"clock": lambda: self.clock_s, "fitting": lambda cells: cells[: self.holds]}
        for stage in stages(self.run, self, 1, repeats=True, **held):  # type: ignore[arg-type]
            gone.append(stage)
            for number, trial in enumerate(stage.trials):
                begins = not number or stage.trials[number - 1].block != trial.block
                if begins and stage.until_s is not None and self.clock_s >= stage.until_s:
                    break
                if len(self.carried_out) == self.stops_after:
                    raise Stopped
                self._keep(trial)
        return gone

    def _keep(self, trial: Trial) -> None:
        name = trial.cell.server
        source = random.Random(f"{self.seed}/{trial.block}/{name}")
        rate = self.speed[name] * math.exp(source.gauss(0, self.scatter))
        latency = 32_000 / rate
        swarm = replace(
            REPORT,
            throughput_rps=rate if self.rate is None else self.rate,
            latency_mean_ms=latency,
            latency_ms=dict.fromkeys(("p50", "p95", "p99", "max"), latency),
        )
        if self.beside or name == self.beside_for:
            swarm = replace(swarm, generator_others=9.0, server_busy=1.0)
        self.clock_s += 1
        self.carried_out.append((trial.block, name))
        self.disturbed.discard((trial.block, trial.cell))
        made = testing.observation(
            trial.cell,
            block=trial.block,
            position=trial.position,
            look=trial.look,
            took_s=1.0,
            resident_bytes=int(self.memory.get(name, 50.0) * 1e6),
        )
        failed = {"swarm": None, "status": "failed", "reason": "no correct answer in the window"}
        self.found[trial.block, trial.cell] = replace(made, **(failed if self.fails(trial) else {"swarm": swarm}))

    def outcome(self) -> TuneOutcome:
        found = compare(self.run, self.observations()).tune
        assert found is not None
        return found


def blocks_of(machine: Machine, name: str) -> int:
    return sum(server == name for _, server in machine.carried_out)


def test_those_that_cannot_be_the_best_leave_and_the_time_goes_to_the_rest() -> None:
    machine = Machine(speed={"slow": 20.0, "half": 50.0, "near": 93.0, "best": 100.0})
    first, *later = machine.measure()

    assert len(first.trials) == 4 * plan.RACE_BLOCKS[0]
    assert first.words == f"Run {machine.run.id}: 12 trials, seed 1."
    assert later[0].words == "Round 2: 2 of 4 may be the best (near, best): 4 trials more."
    assert blocks_of(machine, "slow") == blocks_of(machine, "half") == 3 < blocks_of(machine, "near")
    found = machine.outcome()
    assert (found.server, found.ended, found.left) == ("best", "one", ("best",))
    assert found.rounds[:2] == (4, 2)
    assert found.gone["slow"].startswith("slower than best for sure: x0.2")
    assert found.used_s == len(machine.carried_out) < BUDGET_S
    assert [each.cell.server for each in found.runners_up] == ["near", "half", "slow"]


def test_of_those_that_are_alike_the_one_with_the_least_memory_is_run_and_then_the_simplest() -> None:
    alike = dict.fromkeys(("large", "two", "one"), 100.0)
    machine = Machine(speed=alike, memory={"large": 90.0}, processes={"two": 2}, scatter=0.002)
    machine.measure()

    found = machine.outcome()
    assert (found.server, found.decides, found.ended) == ("one", "simplicity", "alike")
    assert set(found.tied) == set(alike)
    assert len(machine.carried_out) < BUDGET_S / 2, "it ends once they are alike for sure"


def test_memory_does_not_outweigh_speed_that_may_be_lost() -> None:
    machine = Machine(speed={"best": 100.0, "small": 90.0}, memory={"small": 20.0}, scatter=0.08, budget_s=20.0)
    machine.measure()

    found = machine.outcome()
    assert found.left == ("best", "small"), "not told apart for sure"
    assert (found.server, found.ended) == ("best", "budget")


@pytest.mark.parametrize(
    ("tune", "server", "gone"),
    [
        (Tune(memory_mb=60.0), "middle", {"best": "takes 80.0 MB, more than 60"}),
        (Tune(p95_ms=400.0), "best", {"slow": "p95 1,"}),
        (Tune(p95_ms=400.0, memory_mb=60.0), "middle", {"best": "takes", "slow": "p95"}),
        (Tune(p95_ms=1.0), None, {"best": "p95 3", "middle": "p95", "slow": "p95"}),
    ],
)
def test_limits_drop_those_that_break_them_for_sure(tune: Tune, server: str | None, gone: dict[str, str]) -> None:
    machine = Machine(
        speed={"slow": 20.0, "middle": 85.0, "best": 100.0}, memory={"best": 80.0}, tune=tune, scatter=0.01
    )
    machine.measure()

    found = machine.outcome()
    assert found.server == server
    for name, why in gone.items():
        assert found.gone[name].startswith(why), found.gone


def test_one_that_may_break_a_limit_drops_nobody() -> None:
    machine = Machine(speed={"near": 95.0, "best": 100.0}, tune=Tune(p95_ms=320.0), scatter=0.03, budget_s=60.0)
    machine.measure()

    # 320 ms is what `best` has on average, and `near` has more.
    assert "near" not in machine.outcome().gone or machine.outcome().gone["near"].startswith("p95")


def test_one_that_fails_or_is_made_for_development_leaves_after_the_first_round() -> None:
    machine = Machine(
        speed={"fails": 500.0, "best": 100.0, "other": 20.0}, fails=lambda each: each.cell.server == "fails"
    )
    machine.measure()

    found = machine.outcome()
    assert found.server == "best"
    assert found.gone["fails"].startswith("not measured: 3 of 3 trials failed: no correct answer")


def test_twins_are_told_apart_no_more_often_than_a_run_may_err() -> None:
    wrong = 0
    for seed in range(10):
        machine = Machine(speed={f"twin-{at}": 100.0 for at in range(8)}, seed=seed, scatter=0.04, budget_s=90.0)
        machine.measure()
        wrong += any(each.slower for each in race.rounds(machine.run, machine.observations()))
    assert wrong <= 1


@pytest.mark.parametrize("stop", [2, 7, 12, 14, 19])
def test_a_race_that_is_interrupted_goes_on_where_it_was(stop: int) -> None:
    speed = {"slow": 20.0, "half": 50.0, "near": 96.0, "best": 100.0}
    whole, machine = Machine(speed=speed), Machine(speed=speed, stops_after=stop)
    whole.measure()
    with pytest.raises(Stopped):
        machine.measure()
    early = machine.outcome()
    machine.stops_after = None
    machine.measure()

    assert early.ended in ("early", "one")
    assert sorted(machine.carried_out) == sorted(whole.carried_out), "nothing twice, and nothing left out"
    assert machine.outcome() == whole.outcome()


def test_what_others_have_disturbed_is_measured_again_when_it_goes_on_though_its_time_is_used_up() -> None:
    machine = Machine(speed=dict.fromkeys("abcdef", 100.0), scatter=0.05, budget_s=40.0)
    machine.measure()
    before = len(machine.carried_out)
    machine.disturbed = {at for at in machine.found if at[0] == 1}
    machine.measure()

    assert machine.carried_out[before:] == [at for at in machine.carried_out[before:] if at[0] == 1]
    assert len(machine.carried_out) == before + 6


def test_no_block_begins_after_the_budget() -> None:
    machine = Machine(speed=dict.fromkeys("abcdef", 100.0), scatter=0.05, budget_s=40.0)
    machine.measure()

    assert used_s(machine.observations()) <= 40 + 6
    found = machine.outcome()
    assert (found.ended, len(found.left)) == ("budget", 6)


def test_every_round_can_be_recorded_and_is_read_again() -> None:
    machine = Machine(speed={"near": 99.0, "best": 100.0}, scatter=0.1, budget_s=1000.0)
    machine.measure()
    read = reading.observations(machine.run)

    assert {each.look for each in machine.observations()} == set(plan.RACE_LOOKS), "it is not decided before"
    assert [read(reading.dump_observation(each), "here") for each in machine.observations()] == machine.observations()


def test_at_a_rate_the_mean_latency_decides() -> None:
    machine = Machine(speed={"slow": 50.0, "best": 100.0, "near": 97.0}, rate=20.0)
    machine.measure()

    found = machine.outcome()
    assert found.server == "best"
    assert re.match("slower than (best|near) for sure: x[12]", found.gone["slow"])
    assert found.gone["slow"].endswith("its mean latency")
    assert found.speed is not None
    assert found.speed.median == pytest.approx(320, rel=0.05)


def test_what_has_decided_stays_decided_in_ranks_and_advice() -> None:
    machine = Machine(speed={"slow": 80.0, "near": 97.0, "best": 100.0})
    machine.measure()
    comparison = compare(machine.run, machine.observations())
    gone: Sequence[race.Round] = race.rounds(machine.run, machine.observations())

    slower = {cell.server for each in gone for cell in each.slower}
    assert "slow" in slower
    assert slower.isdisjoint(comparison.advice[0].tied)
    assert comparison.budget is None


# --- where memory does not hold all at once

SPEEDS = {"slow": 20.0, "half": 50.0, "other": 60.0, "near": 96.0, "best": 100.0, "third": 30.0, "last": 40.0}


def heats(machine: Machine) -> list[set[str]]:
    """Who was measured together, one group after the other."""
    by_block: dict[int, set[str]] = {}
    for block, name in machine.carried_out:
        by_block.setdefault(block, set()).add(name)
    found = list(by_block.values())
    return [each for at, each in enumerate(found) if not at or each != found[at - 1]]


def test_those_that_memory_does_not_hold_at_once_take_turns_each_beside_the_fastest_so_far() -> None:
    machine = Machine(speed=SPEEDS, holds=3)
    first, second, third, *_ = machine.measure()

    assert heats(machine)[:3] == [{"slow", "half", "other"}, {"other", "near", "best"}, {"best", "third", "last"}]
    assert [len(each.trials) for each in (first, second, third)] == [3 * plan.RACE_BLOCKS[0]] * 3
    assert first.words.endswith("9 trials, seed 1. Memory holds 3 of 7 at once, so they take turns.")
    assert second.words == "Round 1, the next 2, beside the fastest so far: 9 trials."
    assert (set(second.servers), second.next) == ({"other", "near", "best"}, ["third", "last"])
    found = machine.outcome()
    assert (found.server, found.left) == ("best", ("best",))
    # By those of them that were measured beside each other.
    assert found.gone["slow"].startswith("slower than other for sure")
    assert found.gone["last"].startswith("slower than best for sure")


def test_those_that_have_left_need_not_be_up() -> None:
    machine = Machine(speed=SPEEDS, scatter=0.01)
    first, *later = machine.measure()
    assert (set(first.servers), set(first.gone)) == (set(SPEEDS), set())
    assert set(later[0].gone) == {"slow", "half", "other", "third", "last"}
    assert set(later[0].servers) == {"near", "best"}


def test_nor_need_those_that_have_no_part_in_a_round_and_may_yet_be_the_best() -> None:
    alike = {f"server-{at:02}": 100.0 for at in range(12)}
    *_, last = Machine(speed=alike, budget_s=80.0).measure()

    assert len(last.servers) < len(alike)
    assert set(last.gone) == alike.keys() - set(last.servers)


@pytest.mark.parametrize("stop", [1, 4, 9, 10, 13, 18, 22, 28])
def test_a_race_in_turns_that_is_interrupted_goes_on_and_leaves_nobody_out(stop: int) -> None:
    machine = Machine(speed=SPEEDS, holds=3, stops_after=stop)
    with pytest.raises(Stopped):
        machine.measure()
    machine.outcome()
    machine.stops_after = None
    machine.measure()

    assert machine.outcome().server == "best"
    assert all(blocks_of(machine, name) >= plan.RACE_BLOCKS[0] for name in SPEEDS)
    assert len(set(machine.carried_out)) == len(machine.carried_out), "nothing twice"
    assert all(len(each) <= 3 for each in heats(machine))


def test_who_was_measured_in_more_blocks_for_others_sake_is_not_known_better() -> None:
    alike = {f"twin-{at}": 100.0 for at in range(7)}
    machine = Machine(speed=alike, holds=3, scatter=0.05, budget_s=27.0)
    machine.measure()

    assert {
        race.blocks_of([each for each in machine.observations() if each.cell.server == name]) for name in alike
    } == {3}
    assert len(machine.outcome().left) == 7


def test_memory_that_is_gone_by_then_ends_the_race_in_a_line() -> None:
    machine = Machine(speed=SPEEDS, holds=1)
    with pytest.raises(
        HostError, match=r"^memory no longer holds slow beside another configuration; free memory, and go"
    ):
        machine.measure()


@pytest.mark.parametrize(("speed", "server"), [(150.0, "spoilt"), (60.0, "best")])
def test_the_fastest_is_run_even_if_others_disturb_it_whenever_it_is_measured(speed: float, server: str) -> None:
    machine = Machine(speed={"spoilt": speed, **SPEEDS}, scatter=0.01, beside_for="spoilt", budget_s=60.0)
    machine.measure()

    found = machine.outcome()
    assert found.server == server
    assert "spoilt" in found.left, "nothing is sure of it"
    assert "best" in found.left, "and it makes nobody leave"
