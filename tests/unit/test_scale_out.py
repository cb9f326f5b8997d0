"""What a hundred machines would take: the simulation against cases worked out by hand, and the page that has the figures."""

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import scale_out
from benchmarks.machines import limits, measured, pages, words
from benchmarks.machines.found import Concluded, Crewed, Found, Gathered, Journaled, Laned, Ran, Sited
from benchmarks.machines.limits import Case, Line
from benchmarks.machines.simulation import Costs, Faults, Machines, Took, Way, Work, dealt, simulate
from wsgilab import host, testing
from wsgilab.errors import HostError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
COSTS = Costs(reach_s=1, build_s=2, start_s=10, stop_s=4, trial_s=1, lab_s=0, conclude_s=0)


class Scripted(random.Random):
    """Lanes fail when it is said here, leg by leg."""

    def __init__(self, *moments_s: float) -> None:
        super().__init__(0)
        self._moments_s = list(moments_s)

    def expovariate(self, _: float = 1.0) -> float:
        return self._moments_s.pop(0)


def ran(work: Work, targets: int, *, source: random.Random | None = None, **changes: Any) -> Took:
    """A run with one machine of the swarm for each of the targets."""
    return simulate(
        work,
        Machines(targets=targets, swarm_each=1),
        changes.get("costs", COSTS),
        changes.get("way", Way()),
        changes.get("faults", Faults()),
        source or random.Random(0),
    )


# --- without faults


def test_one_lane_by_hand() -> None:
    took = ran(Work(cells=3, blocks=2), 1, costs=replace(COSTS, conclude_s=0.5))
    # Two machines, each reached and built; one lane; six trials.
    assert (took.starting_s, took.trials_s, took.stopping_s, took.concluding_s) == (2 * 3 + 10, 6, 4, 3)
    assert (took.wall_s, took.legs, took.queued_s, took.waiting_s) == (29, 1, 0, 0)


def test_lanes_share_the_trials_and_start_one_after_the_other() -> None:
    took = ran(Work(cells=3, blocks=4), 2)
    assert (took.starting_s, took.trials_s, took.stopping_s) == (4 * 3 + 2 * 10, 6, 2 * 4)


def test_a_block_is_whole_on_one_machine() -> None:
    few, many = ran(Work(cells=3, blocks=2), 2), ran(Work(cells=3, blocks=2), 5)
    assert few.trials_s == many.trials_s == 3
    assert many.starting_s == 10 * 3 + 5 * 10


def test_some_start_at_a_time() -> None:
    took = ran(Work(cells=1, blocks=3), 3, way=Way(at_once=2))
    # Six machines are three rounds, three lanes two.
    assert (took.starting_s, took.stopping_s) == (3 * 3 + 2 * 10, 2 * 4)


def test_lanes_queue_for_the_lab_in_the_order_of_coming() -> None:
    costs = replace(COSTS, lab_s=0.5)
    took = ran(Work(cells=2, blocks=2), 2, costs=costs)
    # Served at 1.0 to 1.5 and 1.5 to 2.0, where one waits; then at 2.5 to 3.0 and 3.0 to 3.5, where none does.
    assert (took.trials_s, took.queued_s) == (3.5, 0.5)
    apart = ran(Work(cells=2, blocks=2), 2, costs=costs, way=Way(labs=2))
    assert (apart.trials_s, apart.queued_s) == (3.0, 0)


@pytest.mark.parametrize(("blocks", "lanes"), [(7, 3), (2, 5), (12, 4)])
def test_blocks_are_dealt_evenly(blocks: int, lanes: int) -> None:
    counts = dealt(Work(cells=4, blocks=blocks), lanes)
    assert sum(counts) == 4 * blocks
    assert len(counts) == lanes
    assert max(counts) == 4 * math.ceil(blocks / lanes)
    assert max(counts) - min(counts) <= 4


@given(
    cells=st.integers(1, 5),
    blocks=st.integers(1, 9),
    lanes=st.integers(1, 6),
    labs=st.integers(1, 3),
    lab_s=st.floats(0, 2),
)
def test_neither_the_longest_lane_nor_the_lab_can_be_beaten(
    cells: int, blocks: int, lanes: int, labs: int, lab_s: float
) -> None:
    work = Work(cells=cells, blocks=blocks)
    took = ran(work, lanes, costs=replace(COSTS, lab_s=lab_s), way=Way(labs=labs))
    longest = max(dealt(work, lanes))
    assert took.trials_s >= longest * (1 + lab_s) * 0.999999
    assert took.trials_s >= cells * blocks * lab_s / labs * 0.999999
    # And nobody waits while the lab has nothing to do.
    assert took.trials_s <= longest * 1.000001 + cells * blocks * lab_s * 1.000001


# --- with faults

SOME = Faults(per_machine_hour=1, until_resumed_s=300)
UP_S = 4 * 3 + 2 * 10
"""Until two lanes are up."""


def test_a_lost_lane_leaves_its_trials_to_a_second_leg() -> None:
    source = Scripted(UP_S + 1.5, math.inf, math.inf, math.inf)
    took = ran(Work(cells=2, blocks=2), 2, faults=SOME, source=source, costs=replace(COSTS, conclude_s=1))
    # The first lane did one trial and lost the other; the second did both.
    assert took.legs == 2
    assert took.trials_s == 2 + 1
    assert (took.starting_s, took.stopping_s, took.waiting_s) == (2 * UP_S, 2 * 8, 300)
    assert took.concluding_s == 3 + 4


def test_what_is_left_can_be_dealt_anew() -> None:
    def second_leg_s(way: Way) -> float:
        source = Scripted(UP_S + 0.5, math.inf, math.inf, math.inf)
        return ran(Work(cells=4, blocks=2), 2, faults=SOME, source=source, way=way).trials_s - 4

    assert second_leg_s(Way()) == 4
    assert second_leg_s(Way(redealt=True)) == 2


def test_a_failure_while_lanes_start_ends_the_leg() -> None:
    source = Scripted(math.inf, 5, math.inf, math.inf)
    took = ran(Work(cells=2, blocks=2), 2, faults=SOME, source=source)
    assert (took.legs, took.starting_s, took.trials_s, took.stopping_s) == (2, 5 + UP_S, 2, 2 * 8)


def test_a_lane_that_has_done_its_trials_can_fail() -> None:
    source = Scripted(UP_S + 2.5, math.inf)
    assert ran(Work(cells=2, blocks=2), 2, faults=SOME, source=source).legs == 1


def test_machines_that_fail_all_the_time_never_end() -> None:
    with pytest.raises(ValueError, match="4 are left"):
        ran(Work(cells=2, blocks=2), 2, faults=Faults(per_machine_hour=1e9))


def test_faults_come_from_the_seed() -> None:
    work, faults = Work(cells=20, blocks=20), Faults(per_machine_hour=20)

    def wall_s(seed: int) -> float:
        return ran(work, 4, faults=faults, source=random.Random(seed)).wall_s

    assert wall_s(1) == wall_s(1)
    assert len({wall_s(seed) for seed in range(5)}) > 1


# --- from measurements to limits


def crewed(workers: int, *, processes: bool = False) -> Crewed:
    return Crewed(
        workers=workers,
        processes=processes,
        idle_cpu=(100.0 if processes else 0.01) + 0.001 * workers,
        cpu_ms=20.0 + 3.0 * workers,
        window_cpu_ms=5.0 + workers,
        look_us=2.0 + workers,
        beyond_ms=100.0,
        trials=3,
    )


SITED = Sited(
    reach_s=3.0,
    build_s=1.0,
    fleet_s=2.0,
    few=1,
    more_fleet_s=6.0,
    more=5,
    swarm_s=3.0,
    link_s=0.5,
    stop_s=1.5,
    fleet_stop_s=1.0,
    more_fleet_stop_s=3.0,
    rounds=3,
    trials=20,
    window_s=0.3,
    trial_s=0.5,
    lab_cpu_ms=10.0,
    clients=2,
    clients_cpu_ms=1.5,
    clients_mb=20.0,
)
FOUND = Found(
    date="2026-01-02T03:04:05+00:00",
    host=testing.run().host,
    engine="26.1.5",
    quick=False,
    crews=[crewed(1), crewed(8), crewed(64), crewed(8, processes=True)],
    gathered=[
        Gathered(requests=100, bytes_each=95.0, receive_us=9.0, report_us=9.0, memory_bytes=1.0),
        Gathered(requests=1000, bytes_each=95.0, receive_us=1.0, report_us=9.0, memory_bytes=800.0),
    ],
    journaled=Journaled(bytes_each=1800.0, cpu_ms=1.0, wall_ms=4.0),
    lanes=[Laned(lanes=1, trials=100, cpu_ms=6.0, wall_ms=9.0), Laned(lanes=50, trials=100, cpu_ms=7.0, wall_ms=9.0)],
    sited=SITED,
    concluded=Concluded(date="2026-01-01T00:00:00+00:00", trials=10_000, seconds=8.0, megabytes=250.0),
    ran=Ran(date="2026-01-01T00:00:00+00:00", seconds=150.0, windows_s=120.0),
)
CASES = limits.cases(testing.experiment(testing.cell("gunicorn-sync-1"), testing.cell("gunicorn-sync-4"), blocks=4))
SMALL = [replace(case, work=Work(cells=2, blocks=4)) for case in CASES]
"""Soon simulated."""


def test_lines_go_through_the_workers_of_one_process() -> None:
    idle = limits.idle(FOUND)
    assert idle.alone == pytest.approx(0.01)
    assert idle.each == pytest.approx(0.001)
    assert idle.reaches(1) == pytest.approx(990)
    assert limits.trial_ms(FOUND).each == pytest.approx(3)
    assert Line(alone=10, each=5).reaches(60) == 10


def test_requests_cost_what_they_do_where_there_are_most() -> None:
    assert limits.request_us(FOUND) == 10


def test_the_lab_is_held_by_its_cpu_time_and_by_the_disk() -> None:
    # 7 ms with most lanes, and 3 ms of waiting for the disk.
    assert limits.lab_s(FOUND) == pytest.approx(0.010)


def test_a_lane_costs_more_with_each_server() -> None:
    assert SITED.server_s == 1
    assert SITED.start_s(1) == 2 + 3 + 0.5
    assert SITED.start_s(11) == 2 + 10 + 3 + 0.5
    assert SITED.down_s(11) == 1 + 10 * 0.5 + 1.5


def test_costs_of_a_case() -> None:
    case = Case(name="a", work=Work(cells=1, blocks=1), servers=11, window_s=1.0)
    costs = limits.costs(FOUND, case)
    assert costs.trial_s == pytest.approx(1.0 + 0.2 - 0.010)
    assert (costs.reach_s, costs.build_s, costs.start_s, costs.stop_s) == (3, 1, 15.5, 7.5)
    assert costs.conclude_s == pytest.approx(0.0008)
    assert limits.costs(FOUND, case, 120).build_s == 120
    assert limits.lane_s(costs) == 2 * 4 + 15.5 + 7.5


def test_where_the_gain_ends() -> None:
    case = Case(name="a", work=Work(cells=25, blocks=4), servers=1, window_s=1.0)
    # Each lane adds 2 * 3 + 10 + 4 = 20 s to trials of 100 s: 120 s with one, 90 s with two, 125 s with four.
    assert limits.fastest(case, COSTS, Way()) == (2, 90)
    # All at once, nothing is added, and four blocks keep four lanes busy.
    assert limits.fastest(case, COSTS, Way(at_once=200)) == (4, 25 + 3 + 10 + 4)


def test_faults_are_told_by_the_median_of_seeds() -> None:
    case = Case(name="a", work=Work(cells=25, blocks=4), servers=1, window_s=1.0)
    assert limits.with_faults(case, 2, COSTS, Way(), Faults(), 3) == (90, 1)
    assert limits.with_faults(case, 2, COSTS, Way(), Faults(per_machine_hour=1e9), 3) is None


def test_cases_are_the_experiment_and_two_larger_ones() -> None:
    own, more, large = CASES
    assert (own.work.cells, own.work.blocks, own.servers, own.trials) == (2, 4, 2, 8)
    assert (more.work.blocks, more.trials) == (100, 200)
    assert large.trials == 10_000


# --- the page


def test_the_page_has_a_place_for_every_figure() -> None:
    text, figures = PAGE.read_text(), pages.figures(FOUND, SMALL)
    filled = pages.filled(text, figures)
    for shown in figures.values():
        assert shown in filled
    # What is written by hand stays, and what is filled can be filled again.
    assert filled.startswith(text.partition("<!-- figures:")[0])
    assert pages.filled(filled, figures) == filled


def test_places_and_figures_that_do_not_match_are_refused() -> None:
    text = "before\n<!-- figures:one -->\nold\n<!-- end -->\nafter\n"
    assert pages.filled(text, {"one": "new"}) == "before\n<!-- figures:one -->\nnew\n<!-- end -->\nafter\n"
    with pytest.raises(ValueError, match="has places for one; there are figures for check, ends"):
        pages.check(text)
    page = PAGE.read_text()
    pages.check(page)
    with pytest.raises(ValueError, match="has places for"):
        pages.check(page.replace("figures:lane ", "figures:lanes "))
    with pytest.raises(ValueError, match="has places for"):
        pages.check(page + text.replace("one", "lane"))


def test_figures_say_what_was_measured() -> None:
    figures = pages.figures(FOUND, SMALL)
    assert "| 64 | one process | 74.00 | 212.0 | 69.0 | 66 | 100 |" in figures["master"]
    assert "20.0 ms, and 3.00 ms more for each worker" in figures["master-lines"]
    assert "8 real workers cost the master 1.00 times" in figures["master-lines"]
    assert "1,000,000 requests in a trial: 10 s of the master's core" in figures["request-limits"]
    assert "at most 100 trials a second" in figures["lab-limits"]
    # One lane of two servers: 2 * 4 + 6.5 s, then eight trials of 0.5 s, and 3 s.
    assert "took 2.5 min" in figures["check"]
    assert "the simulation says 21.5 s" in figures["check"]
    assert "windows were 2.0 min, settling included, instead of 2.4 s" in figures["check"]
    assert "quick" not in figures["machine"]
    assert "quick" in pages.figures(replace(FOUND, quick=True), SMALL)["machine"]


def test_the_page_has_the_figures_that_were_measured_last() -> None:
    found, page = scale_out.measured_before(), PAGE.read_text()
    for of in (
        measured.machine,
        measured.master,
        measured.master_lines,
        measured.requests,
        measured.lab,
        measured.lane,
    ):
        assert of(found) in page, "run python -m benchmarks.scale_out --again --write docs/scale.md"


def test_the_page_says_of_how_many_measurements_its_figures_are() -> None:
    told = pages.figures(FOUND, SMALL)["machine"]
    assert f"a trial of it is the median of {FOUND.crews[0].trials} in a row" in told
    assert "medians of 3 rounds" in told
    assert "there are none here, nor of what is extrapolated" in told


def test_figures_of_another_machine_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_out, "RESULTS", tmp_path)
    monkeypatch.setattr(host, "fingerprint", lambda: FOUND.host)
    row = {"trials": "10000", "seconds": {"median": 8.0, "low": 7.0, "high": 9.0}, "MB": 250.0}
    for cpu in (FOUND.host.cpu, "another"):
        told = {"date": "2026-01-01", "machine": {"cpu": cpu}, "summary": [row]}
        (tmp_path / "scale.yaml").write_text(yaml.safe_dump(told))
        if cpu == FOUND.host.cpu:
            assert scale_out.concluded().seconds == 8.0
        else:
            with pytest.raises(HostError, match=r"of another machine \(another, not .*run it here first"):
                scale_out.concluded()


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0"), (0.01234, "0.0123"), (5.678, "5.68"), (99.96, "100"), (123456.0, "123,000")]
)
def test_numbers_have_three_digits(value: float, said: str) -> None:
    assert words.number(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(12.34, "12.3 s"), (130, "2.2 min"), (900, "15 min"), (3599, "1 h 0 min"), (4800, "1 h 20 min")],
)
def test_durations_are_told_in_words(seconds: float, said: str) -> None:
    assert words.lasted(seconds) == said
