"""Where the time of a budget goes."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from wsgilab import testing
from wsgilab.analysis.budget.allocation import allocate
from wsgilab.analysis.budget.needed import wanted
from wsgilab.analysis.budget.seconds import end_s
from wsgilab.analysis.cell.readings import throughput_rps
from wsgilab.analysis.compare import broken_gates, compare
from wsgilab.analysis.pairs.family import paired_comparisons
from wsgilab.analysis.pairs.ratios import grouped, level_at, paired
from wsgilab.analysis.stats import ERROR_RATE, FEWEST_BLOCKS
from wsgilab.experiment import plan
from wsgilab.model import Cell, Duet, InFlight, Observation, Run

SERVERS = ("reference", "near", "far", "twin")
SPEED = {"reference": 100.0, "near": 125.0, "far": 400.0, "twin": 100.0}
SCATTER = {"reference": 0.02, "near": 0.08, "far": 0.08, "twin": 0.06}
REPORT = testing.trial_report(
    in_flight=InFlight(peak=1, mean=0.99, threads=1, requests_per_process=(600,)), completed=600
)


def run_of(*cells: Cell, budget_s: float = 60.0) -> Run:
    return testing.run(testing.experiment(*cells, blocks=2, budget_s=budget_s, reference="reference"))


def cells_of(workload: str = "sleep", servers: Sequence[str] = SERVERS) -> list[Cell]:
    return [testing.cell(name, workload=workload) for name in servers]


def scattered(cell: Cell, block: int) -> float:
    """A throughput that goes up and down, so that two blocks together are the truth."""
    return SPEED[cell.server] * math.exp(SCATTER[cell.server] * (-1) ** block)


def observed(
    cells: Sequence[Cell], blocks: Sequence[int], look: int = 0, took_s: Mapping[str, float] | None = None
) -> list[Observation]:
    return [
        replace(
            testing.observation(cell, block=block, look=look, took_s=(took_s or {}).get(cell.server, 1.0)),
            swarm=replace(
                REPORT, throughput_rps=scattered(cell, block), latency_mean_ms=32_000 / scattered(cell, block)
            ),
        )
        for block in blocks
        for cell in cells
    ]


def allocated(run: Run, observations: Sequence[Observation], look: int = 2, lanes: int = 1) -> Sequence[set[str]]:
    sound: Mapping[Cell, tuple[()]] = dict.fromkeys(run.experiment.cells, ())
    chosen = allocate(run, observations, sound, look, lanes)
    return [{cell.server for cell in cells} for cells in chosen]


def test_what_differs_most_needs_the_fewest_blocks_and_twins_get_none() -> None:
    run = run_of(*cells_of())
    chosen = allocated(run, observed(cells_of(), range(2)))

    counts = Counter(itertools.chain.from_iterable(chosen))
    assert counts["reference"] == len(chosen), "both cells of a comparison are in a block"
    assert 0 < counts["far"] < counts["near"]
    assert "twin" not in counts
    assert chosen[0] == {"reference", "near", "far"}


def test_it_fits_the_time_until_the_look_on_all_lanes_together() -> None:
    run = run_of(*cells_of(), budget_s=24.0)
    observations = observed(cells_of(), range(2))

    one = sum(map(len, allocated(run, observations)))
    assert end_s(run, observations, 2) == 16
    assert 0 < one <= 8 + len(SERVERS), "the look may be a block late"
    assert one < sum(map(len, allocated(run, observations, lanes=2))) <= 2 * 10 + len(SERVERS)


def test_what_duets_took_is_gone() -> None:
    cells = cells_of()
    observations = observed(cells, range(2))
    one, other = (replace(testing.observation(cell), took_s=5.0) for cell in cells[:2])
    sound: Mapping[Cell, tuple[()]] = dict.fromkeys(cells, ())

    def chosen(budget_s: float, duets: Sequence[Duet]) -> Sequence[object]:
        return allocate(run_of(*cells, budget_s=budget_s), observations, sound, 4, duets=duets)

    assert 0 < len(chosen(16.0, [])) < len(chosen(26.0, []))
    assert chosen(26.0, [Duet(one=one, other=other)] * 2) == chosen(16.0, [])


def test_the_cheaper_of_two_workloads_comes_first() -> None:
    slow, fast = cells_of("sleep"), cells_of("hello")
    run = run_of(*slow, *fast, budget_s=48.0)
    observations = [*observed(slow, range(2), took_s=dict.fromkeys(SERVERS, 4.0)), *observed(fast, range(2))]
    sound: Mapping[Cell, tuple[()]] = dict.fromkeys(run.experiment.cells, ())

    chosen = allocate(run, observations, sound, 2)
    assert {cell.workload for cells in chosen for cell in cells} == {"hello"}


def test_what_the_rest_of_the_budget_cannot_decide_gets_none_of_it() -> None:
    run = run_of(*cells_of(servers=("reference", "near")), budget_s=11.0)
    observations = observed(run.experiment.cells, range(2))

    assert allocated(run, observations) == []
    assert allocated(run_of(*run.experiment.cells, budget_s=600.0), observations)
    assert allocated(run_of(*run.experiment.cells, budget_s=2.0), observations) == [], "two blocks took more"


def test_a_cell_whose_gate_is_broken_gets_none() -> None:
    run = run_of(*cells_of())
    broken = {cell: ("little",) if cell.server == "far" else () for cell in run.experiment.cells}
    chosen = allocate(run, observed(cells_of(), range(2)), broken, 2)  # type: ignore[arg-type]

    assert chosen
    assert all(cell.server != "far" for cells in chosen for cell in cells)


def test_what_a_look_has_decided_gets_no_more() -> None:
    run = run_of(*cells_of(), budget_s=600.0)
    far = cells_of(servers=("reference", "far"))
    before = [*observed(cells_of(), range(2)), *observed(far, range(2, 30), look=2)]

    assert all("far" not in servers for servers in allocated(run, before, look=3))
    assert any("near" in servers for servers in allocated(run, before, look=3))


def test_what_was_measured_for_a_look_already_counts_but_says_nothing() -> None:
    """A run that goes on must not choose by what the coming look is to judge."""
    run = run_of(*cells_of(), budget_s=120.0)
    begun = observed(cells_of(), range(2))
    pair = cells_of(servers=("reference", "near"))
    plain = Counter(itertools.chain.from_iterable(allocated(run, begun)))
    wild = [
        replace(each, swarm=replace(REPORT, throughput_rps=1e6 * each.block)) if each.cell.server == "near" else each
        for each in observed(pair, [2], look=2)
    ]

    going_on = Counter(itertools.chain.from_iterable(allocated(run, [*begun, *wild])))
    assert going_on == plain - Counter(near=1, reference=1)


def test_conditions_without_the_reference_are_compared_every_two() -> None:
    cells = [*cells_of(), *cells_of("hello", ("near", "far"))]

    assert [(one.server, two.server) for one, two in wanted(run_of(*cells))] == [
        ("near", "reference"),
        ("far", "reference"),
        ("twin", "reference"),
        ("near", "far"),
    ]


def test_the_level_of_a_comparison_is_that_of_the_look_it_was_last_measured_for() -> None:
    """So the folder alone gives the verdicts that the run has acted on."""
    run = run_of(*cells_of())
    observations = [
        *observed(cells_of(), range(2)),
        *observed(cells_of(servers=("reference", "near", "far")), range(2, 9), look=2),
        *observed(cells_of(servers=("reference", "near")), range(9, 15), look=4),
    ]
    by_cell = grouped(observations)
    reference, near, far, _ = cells_of()

    def of(cell: Cell) -> int:
        return paired(cell, reference, throughput_rps, ("x",), by_cell).reached

    assert (of(far), of(near)) == (2, 4)
    spent = [level_at(run, look) for look in plan.looks(run.experiment)]
    assert sum(spent) == pytest.approx(ERROR_RATE)
    sound: Mapping[Cell, tuple[()]] = dict.fromkeys(run.experiment.cells, ())
    early = paired_comparisons(run, grouped(each for each in observations if each.look <= 2), sound)
    late = paired_comparisons(run, by_cell, sound)
    assert late.verdict(far, reference) == early.verdict(far, reference) == "faster"


def test_two_blocks_decide_nothing() -> None:
    run = run_of(*cells_of())
    found = compare(run, observed(cells_of(), range(2)))

    assert {pair.verdict for pair in found.pairs} == {"undecided"}


def test_in_the_end_what_is_left_and_what_it_would_take() -> None:
    run = run_of(*cells_of(), budget_s=30.0)
    observations = [
        *observed(cells_of(), range(2)),
        *observed(cells_of(servers=("reference", "far")), range(2, 30), look=2),
    ]
    found = compare(run, observations).budget

    assert found is not None
    assert (found.comparisons, found.decided) == (3, 1)
    assert found.used_s == 2 * 4 + 28 * 2
    near, twin = found.left
    assert (near.cell.server, near.other, twin.cell.server) == ("near", "reference", "twin")
    assert near.more_s is not None
    assert near.more_s % 2 == 0, "blocks of two cells of one second"
    assert twin.more_s is None or twin.more_s > near.more_s


def test_what_a_broken_gate_spoils_is_counted_by_itself() -> None:
    run = run_of(*cells_of(), budget_s=30.0)
    failing = [
        replace(each, swarm=replace(REPORT, failures=600, errors={"status 500": 600}))
        if each.cell.server == "far"
        else each
        for each in observed(cells_of(), range(2))
    ]
    found = compare(run, failing).budget

    assert found is not None
    assert (found.comparisons, found.spoilt) == (2, 1)


def test_without_a_budget_there_is_nothing_to_say_of_it() -> None:
    assert compare(testing.run(testing.experiment(*cells_of(), reference="reference")), []).budget is None


# Beside a neighbour.


def disturbed(observations: Sequence[Observation], *blocks: int, server: str = "") -> list[Observation]:
    """The same, but in these blocks others had half of the core of every server, or of this one."""
    return [
        replace(each, swarm=replace(REPORT, throughput_rps=60.0, server_busy=0.5, generator_others=0.0))
        if each.block in blocks and server in ("", each.cell.server)
        else each
        for each in observations
    ]


def apart(observations: Sequence[Observation]) -> list[Observation]:
    """The same figures, but others had half of every server's core."""
    return [
        replace(each, swarm=replace(each.swarm or REPORT, server_busy=0.5, generator_others=0.0))
        for each in observations
    ]


def allocated_beside(run: Run, observations: Sequence[Observation], look: int = 2) -> Counter[str]:
    """How many blocks each server gets, where gates are as the run finds them."""
    chosen = allocate(run, observations, broken_gates(run, grouped(observations)), look)
    return Counter(cell.server for cells in chosen for cell in cells)


def test_a_comparison_that_only_disturbed_windows_would_settle_gets_more_blocks() -> None:
    run = run_of(*cells_of(servers=("reference", "far")), budget_s=120.0)
    before = [*observed(run.experiment.cells, range(2)), *observed(run.experiment.cells, range(2, 14), look=2)]

    assert not allocated_beside(run, before, look=3), "it is decided"
    three_clean = [*before[:6], *apart(before[6:])]
    assert compare(run, three_clean).pairs[0].broken_gates == ("neighbour",)
    assert allocated_beside(run, three_clean, look=3)["far"] == 4 == math.ceil(1 / ((3 + 1) / (14 + 1))), (
        "a fourth clean one"
    )
    assert not allocated_beside(run, [*before[:8], *apart(before[8:])], look=3), "four are enough"


def test_as_many_blocks_more_as_fewer_of_them_are_clean() -> None:
    run = run_of(*cells_of(), budget_s=2000.0)
    whole = [*observed(cells_of(), range(2)), *observed(cells_of(), range(2, 4), look=2)]
    spoilt, share = (2, 3), (3 * 2 + 1) / (3 * 4 + 1)
    quiet = allocated_beside(run, [each for each in whole if each.block not in spoilt], look=3)

    assert quiet["near"] > 4
    assert allocated_beside(run, disturbed(whole, *spoilt), look=3)["near"] == math.ceil(quiet["near"] / share)


def test_what_has_no_clean_block_yet_is_tried_by_what_it_looks_like() -> None:
    run = run_of(*cells_of(), budget_s=60.0)
    found = allocated_beside(run, disturbed(observed(cells_of(), range(2)), 0, 1, server="far"))

    assert found["far"] >= FEWEST_BLOCKS


def test_where_clean_windows_are_too_rare_all_count_because_the_cost_may_be_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SPEED, "near", 108.0)
    run = run_of(*cells_of(), budget_s=120.0)
    whole = [*observed(cells_of(), range(2)), *observed(cells_of(), range(2, 6), look=2)]

    assert allocated_beside(run, apart(whole), look=3)["near"] == allocated_beside(run, whole, look=3)["near"] > 0


def test_the_few_disturbed_blocks_of_a_small_run_leave_hope() -> None:
    run = run_of(*cells_of(servers=("reference", "far")), budget_s=60.0)
    found = allocated_beside(run, apart(observed(run.experiment.cells, range(2))))

    assert found["far"] == FEWEST_BLOCKS * (2 + 1)


def test_time_that_others_spoilt_is_used_too_and_what_is_left_takes_the_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPEED, "near", 108.0)
    run = run_of(*cells_of(servers=("reference", "near")), budget_s=120.0)
    whole = [*observed(run.experiment.cells, range(2)), *observed(run.experiment.cells, range(2, 12), look=2)]
    spoilt = 2, 3, 6, 7, 10, 11
    quiet = compare(run, [each for each in whole if each.block not in spoilt]).budget
    beside = compare(run, disturbed(whole, *spoilt)).budget

    assert quiet is not None is not beside
    assert (quiet.used_s, beside.used_s) == (12, 24)
    assert quiet.left[0].more_s is not None
    assert beside.left[0].more_s == pytest.approx(quiet.left[0].more_s / ((6 + 1) / (12 + 1)))
