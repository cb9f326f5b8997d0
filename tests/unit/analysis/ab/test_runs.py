"""Two runs beside each other: what is compared, what is refused, what differs, and what costs more."""

import functools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wsgilab import testing
from wsgilab.analysis import stats
from wsgilab.analysis.ab.checks import breaches, parse_limit
from wsgilab.analysis.ab.runs import _nothing, runs
from wsgilab.analysis.pairs.family import SPEED_SHARE
from wsgilab.model import (
    Application,
    Cell,
    CellOfRuns,
    Difference,
    Expected,
    Interval,
    Observation,
    Origin,
    Request,
    Run,
    RunsComparison,
    Stack,
)
from wsgilab.model.application import LocustFile
from wsgilab.model.errors import SpecError
from wsgilab.results.store import Store

ONE, TWO, THREE = (testing.cell(name) for name in ("one", "two", "three"))
BLOCKS = 12


def made(of: Sequence[Cell] = (ONE, TWO, THREE), **changes: Any) -> Run:
    """A run of so many cells, of BLOCKS blocks."""
    return testing.run(testing.experiment(*of, blocks=BLOCKS), **changes)


def observed(of: Cell, speed: float = 1.0, *, blocks: int = BLOCKS, seed: int = 0, **swarm: Any) -> list[Observation]:
    """Blocks that scatter by some percent, with a throughput of 20 requests/s and so many times as fast."""
    source = random.Random(f"{of}/{seed}")
    found = []
    for block in range(blocks):
        factor = speed * (1 + source.uniform(-0.02, 0.02))
        report = testing.trial_report(throughput_rps=20 * factor, latency_mean_ms=1600 / factor, **swarm)
        found.append(testing.observation(of, block=block, swarm=report))
    return found


def everything(speeds: Mapping[Cell, float], seed: int, **swarm: Any) -> list[Observation]:
    return [each for cell, speed in speeds.items() for each in observed(cell, speed, seed=seed, **swarm)]


def beside(
    b: Run | None = None,
    speeds: Mapping[Cell, float] | None = None,
    *,
    a: Run | None = None,
    slow: Mapping[Cell, float] | None = None,
) -> RunsComparison:
    """A run of three cells and another that had these speeds; unless they say otherwise both are alike."""
    alike = {ONE: 1.0, TWO: 1.0, THREE: 1.0}
    return runs(
        a or made(),
        everything(slow or alike, seed=1),
        b or made(id="later"),
        everything(speeds or alike, seed=2),
    )


def by_server(comparison: RunsComparison) -> Mapping[str, CellOfRuns]:
    return {each.cell.server: each for each in comparison.cells}


def verdicts(comparison: RunsComparison) -> Mapping[str, str]:
    return {each.cell.server: each.verdict for each in comparison.cells}


def ratio(cell: CellOfRuns) -> Interval:
    assert cell.ratio is not None
    return cell.ratio


# What was recorded.


@functools.cache
def recorded(name: str) -> tuple[Run, list[Observation]]:
    store = Store(Path(__file__).parents[3] / "recorded" / name)
    return store.run(), store.observations()


def test_in_two_real_runs_the_one_server_that_was_made_slower_is_found_and_no_other() -> None:
    found = runs(*recorded("before"), *recorded("after"))
    slower = [cell for cell in found.cells if cell.verdict != "undecided"]

    assert [(cell.cell.server, cell.cell.workload, cell.verdict) for cell in slower] == [
        ("gunicorn-gthread-8", "cpu", "slower")
    ]
    assert len(found.cells) == 5
    assert 0.85 < ratio(slower[0]).median < 0.92
    assert breaches(found, parse_limit("slower=5%")) == slower
    assert not breaches(found, parse_limit("slower=30%"))
    assert [(each.what, each.weight) for each in found.differences] == [
        ("gunicorn-gthread-8: BURDEN_ITERATIONS", "warns")
    ]
    assert found.shift is not None
    assert (found.shift.cells, found.shift.direction) == (5, "undecided")


def test_the_two_turned_round_have_the_faster_one_and_the_reversed_ratio() -> None:
    there = runs(*recorded("before"), *recorded("after"))
    back = runs(*recorded("after"), *recorded("before"))

    assert {cell.cell: cell.verdict for cell in back.cells if cell.verdict != "undecided"} == {
        cell.cell: "faster" for cell in there.cells if cell.verdict == "slower"
    }
    for one in there.cells:
        (other,) = (cell for cell in back.cells if cell.cell == one.cell)
        assert ratio(one).median == pytest.approx(1 / ratio(other).median)


@pytest.mark.parametrize("name", ["before", "answer"])
def test_a_run_beside_itself_has_ratios_of_one_and_nothing_else(name: str) -> None:
    found = runs(*recorded(name), *recorded(name))

    assert found.same
    assert {ratio(cell).median for cell in found.cells} == {1.0}
    assert {cell.beside_others for cell in found.cells if not cell.a.broken_gates} == {1.0}
    assert {cell.verdict for cell in found.cells} == {"undecided"}
    assert (found.differences, found.only_a, found.only_b) == ((), (), ())
    assert not breaches(found, parse_limit("different=0%"))


def test_runs_that_only_look_alike_are_not_the_same() -> None:
    run = made()
    observations = everything({ONE: 1.0, TWO: 1.0, THREE: 1.0}, seed=1)

    assert runs(run, observations, run, list(observations)).same
    assert not runs(run, observations, run, observations[1:]).same
    assert not runs(run, observations, replace(run, id="other"), observations).same


# Ratios and verdicts.


def test_each_cell_is_compared_with_itself_and_judged() -> None:
    found = beside(speeds={ONE: 0.9, TWO: 1.1, THREE: 1.0})

    assert verdicts(found) == {"one": "slower", "two": "faster", "three": "undecided"}
    assert ratio(by_server(found)["one"]).median == pytest.approx(0.9, rel=0.02)
    assert ratio(by_server(found)["two"]).median == pytest.approx(1.1, rel=0.02)
    assert {cell.metric for cell in found.cells} == {"throughput"}
    assert all(cell.exact for cell in found.cells)
    assert found.blocks_needed == 5
    assert stats.orders_suffice(5, 5, stats.ERROR_RATE / 3)
    assert not stats.orders_suffice(4, 4, stats.ERROR_RATE / 3)


def test_equal_runs_are_told_to_be_the_same_where_their_intervals_show_it() -> None:
    found = runs(made(), quiet(1.0), made(id="later"), quiet(1.001))

    for cell in found.cells:
        assert (cell.verdict, cell.same) == ("undecided", True)
        assert cell.detectable == stats.detectable(ratio(cell))
    assert not any(cell.same for cell in beside(speeds={ONE: 0.9, TWO: 1.1, THREE: 1.05}).cells)
    broken = runs(made(), quiet(1.0), made(id="later"), quiet(1.001, generator_cpu=0.9))
    assert {(cell.same, cell.detectable) for cell in broken.cells} == {(False, None)}
    assert not breaches(found, parse_limit("different=0%"))


def quiet(speed: float, **swarm: Any) -> list[Observation]:
    """Blocks that scatter by a tenth of a percent."""
    rates = {block: 20 * speed * (1 + block % 5 / 1000) for block in range(BLOCKS)}
    return [
        testing.observation(
            cell,
            block=block,
            swarm=testing.trial_report(throughput_rps=rps, latency_mean_ms=32_000 / rps, **swarm),
        )
        for cell in (ONE, TWO, THREE)
        for block, rps in rates.items()
    ]


def test_a_cell_that_scatters_more_than_others_of_its_workload_reaches_as_far_as_it_does_itself() -> None:
    """Of many quiet cells in four blocks and a restless one, that one's own scatter is not lost among theirs."""
    cells = [testing.cell(f"quiet-{number}") for number in range(30)]
    restless = testing.cell("restless")

    def measured(times: Mapping[int, float]) -> list[Observation]:
        rates = {(cell, block): 20.0 for cell in cells for block in range(4)}
        rates |= {(restless, block): 20.0 * each for block, each in times.items()}
        return [
            testing.observation(
                cell, block=block, swarm=testing.trial_report(throughput_rps=rps, latency_mean_ms=32_000 / rps)
            )
            for (cell, block), rps in rates.items()
        ]

    every = [*cells, restless]
    before, after = measured({0: 1.0, 1: 0.9, 2: 1.1, 3: 1.0}), measured({0: 1.2, 1: 1.9, 2: 1.4, 3: 1.2})
    found = by_server(runs(made(every), before, made(every, id="later"), after))

    assert found["restless"].verdict == "undecided"
    assert ratio(found["quiet-0"]) == Interval(median=1.0, low=1.0, high=1.0)


def test_the_intervals_are_those_of_unpaired_samples_all_at_once() -> None:
    a, b = observed(ONE, seed=1), observed(ONE, 0.95, seed=2)
    others = [*observed(TWO, seed=1), *observed(THREE, seed=1)]
    found = by_server(runs(made(), [*a, *others], made(id="later"), [*b, *others]))["one"]
    of_a, of_b = ([each.swarm.throughput_rps for each in given if each.swarm] for given in (a, b))

    assert found.ratio == stats.unpaired_ratio(of_b, of_a, SPEED_SHARE * stats.ERROR_RATE / 3, 0.0)
    assert found.a.figure == stats.median_interval(of_a)
    assert found.b.figure == stats.median_interval(of_b)


def test_blocks_are_not_paired() -> None:
    plain = beside(speeds={ONE: 0.9, TWO: 1.0, THREE: 1.0})
    numbers = list(range(BLOCKS))
    random.Random(3).shuffle(numbers)
    later = [replace(each, block=numbers[each.block]) for each in everything({ONE: 0.9, TWO: 1.0, THREE: 1.0}, seed=2)]
    shuffled = runs(made(), everything({ONE: 1.0, TWO: 1.0, THREE: 1.0}, seed=1), made(id="later"), later)

    assert [cell.ratio for cell in shuffled.cells] == [cell.ratio for cell in plain.cells]


def test_at_a_fixed_rate_the_latency_is_compared_and_a_higher_one_is_slower() -> None:
    at_rate = [replace(cell, users=None, rate=20.0, arrivals="poisson") for cell in (ONE, TWO)]
    found = by_server(
        runs(
            made(at_rate),
            everything(dict.fromkeys(at_rate, 1.0), seed=1),
            made(at_rate, id="later"),
            everything(dict(zip(at_rate, (0.8, 1.25), strict=True)), seed=2),
        )
    )

    assert {cell.metric for cell in found.values()} == {"latency"}
    assert ratio(found["one"]).median == pytest.approx(1.25, rel=0.02)
    assert (found["one"].verdict, found["two"].verdict) == ("slower", "faster")


@pytest.mark.parametrize("side", ["A", "B"])
def test_a_broken_gate_in_either_run_is_named_and_nothing_is_concluded(side: str) -> None:
    good = everything({ONE: 1.0, TWO: 1.0, THREE: 1.0}, seed=1)
    bad = observed(ONE, 0.5, seed=2, generator_cpu=0.95) + good[BLOCKS:]
    found = runs(made(), bad if side == "A" else good, made(id="later"), good if side == "A" else bad)
    one = by_server(found)["one"]

    assert one.verdict == "undecided"
    assert ratio(one).median != pytest.approx(1, rel=0.2)
    assert one.warnings == (f"nothing is concluded, because of {side}: generator",)
    assert found.shift is not None
    assert found.shift.cells == 2
    assert not breaches(found, parse_limit("different=1%"))


def test_too_few_blocks_have_a_ratio_and_no_interval() -> None:
    later = [each for each in everything({ONE: 0.5, TWO: 1.0, THREE: 1.0}, seed=2) if each.block < 3]
    found = runs(made(), everything({ONE: 1.0, TWO: 1.0, THREE: 1.0}, seed=1), made(id="later"), later)
    one = by_server(found)["one"]

    assert (ratio(one).low, one.verdict, one.exact) == (None, "undecided", False)
    assert one.warnings == ("undecided, because B has 3 blocks of the 4 that a comparison needs at least",)


def test_few_blocks_are_widened_by_how_far_those_of_their_workload_strayed_in_both_runs() -> None:
    elsewhere = replace(THREE, workload="hello")
    cells = (ONE, TWO, elsewhere)

    def narrowed(strayed: Cell | None) -> Interval:
        """Of the first cell, where one block of another strayed."""
        a, b = ([each for cell in cells for each in observed(cell, blocks=4, seed=seed)] for seed in (1, 2))
        b = [
            replace(each, swarm=replace(each.swarm, throughput_rps=5.0, latency_mean_ms=6400.0))
            if each.cell == strayed and each.block == 0 and each.swarm
            else each
            for each in b
        ]
        return ratio(runs(made(cells), a, made(cells, id="later"), b).cells[0])

    plain = narrowed(None)
    assert narrowed(elsewhere) == plain
    wider = narrowed(TWO)
    assert wider.low is not None
    assert plain.low is not None
    assert wider.median == plain.median
    assert wider.low < 0.5 * plain.low


@pytest.mark.parametrize(("silent", "warned"), [(2, False), (10, True)])
def test_blocks_without_an_answer_are_left_out_and_told(silent: int, warned: bool) -> None:
    before, later = (everything({ONE: 1.0, TWO: 1.0, THREE: 1.0}, seed=seed) for seed in (1, 2))
    gaps = [
        replace(each, swarm=replace(each.swarm, throughput_rps=0.0))
        if each.cell == ONE and each.block < silent
        else each
        for each in later
        if each.swarm is not None
    ]
    found = by_server(runs(made(), before, made(id="later"), gaps))["one"]
    without = [each for each in later if each.cell != ONE or each.block >= silent]

    assert found.ratio == by_server(runs(made(), before, made(id="later"), without))["one"].ratio
    assert f"{silent} of 12 blocks of B had no answer, and are left out of the ratio" in found.warnings
    few = "undecided, because B has 2 blocks of the 4 that a comparison needs at least"
    assert (few in found.warnings) is warned


# Work that is calibrated.

CPU = tuple(replace(cell, workload="cpu") for cell in (ONE, TWO))


def test_computing_is_compared_by_the_work_done() -> None:
    found = runs(
        made(CPU, cpu_iterations=20_000),
        everything(dict.fromkeys(CPU, 1.0), seed=1),
        made(CPU, cpu_iterations=25_000, id="later"),
        everything({CPU[0]: 0.8, CPU[1]: 1.0}, seed=2),
    )

    assert [cell.work for cell in found.cells] == [1.25, 1.25]
    assert [ratio(cell).median for cell in found.cells] == pytest.approx([1.0, 1.25], rel=0.02)
    assert verdicts(found) == {"one": "undecided", "two": "faster"}
    assert found.core_speed == pytest.approx(1.25)
    assert found.cells[0].b.figure is not None
    assert found.cells[0].b.figure.median == pytest.approx(16, rel=0.02), "figures are shown as measured"
    assert found.cells[0].warnings == ()
    (calibration,) = found.differences
    assert calibration == Difference(what="calibration: steps of work a ms", a="10,000", b="12,500", weight="told")


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"workload": "stall"}, True),
        ({"workload": "mixed"}, True),
        ({"workload": "cpu", "users": None, "rate": 20.0, "arrivals": "constant"}, True),
        ({"workload": "cpu"}, False),
        ({"workload": "sleep"}, False),
    ],
)
def test_requests_that_compute_more_and_are_compared_as_they_are_have_a_warning(
    changes: dict[str, Any], warned: bool
) -> None:
    cells = [replace(ONE, **changes), TWO]

    def found(iterations: int) -> RunsComparison:
        later = made(cells, cpu_iterations=iterations, id="later")
        return runs(
            made(cells, cpu_iterations=20_000),
            everything(dict.fromkeys(cells, 1.0), seed=1),
            later,
            everything(dict.fromkeys(cells, 1.0), seed=2),
        )

    more = found(20_300)
    assert any("1.015 times the work" in warning for warning in more.cells[0].warnings) is warned
    assert more.cells[1].warnings == ()
    assert [each.weight for each in more.differences] == (
        ["warns"] if warned else ["told"] if changes["workload"] == "cpu" else []
    )
    assert more.cells[0].work == (1.015 if changes == {"workload": "cpu"} else 1)
    assert not any("times the work" in warning for warning in found(20_100).cells[0].warnings), "within 1 %"


def test_computing_that_was_calibrated_in_one_run_only_is_not_compared() -> None:
    cells = (CPU[0], TWO)
    speeds = dict.fromkeys(cells, 1.0)
    later = made(cells, id="later")
    found = runs(made(cells, cpu_iterations=9), everything(speeds, seed=1), later, everything(speeds, seed=2))

    assert found.cells[0].refused == "a request is not the same: its work is calibrated in only one of the runs"
    assert found.core_speed is None
    a, b = made((ONE, CPU[1]), cpu_iterations=9), made((ONE, CPU[0]), cpu_iterations=11, id="later")
    assert runs(a, observed(ONE, seed=1), b, observed(ONE, seed=2)).differences == (), "no common cell needs it"


def test_a_workload_that_this_lab_does_not_know_is_compared_as_it_is() -> None:
    odd = replace(ONE, workload="of-another-lab")
    a, b = (replace(made([ONE], id=name), experiment=replace(made().experiment, cells=(odd,))) for name in "ab")

    assert verdicts(runs(a, observed(odd, seed=1), b, observed(odd, 0.5, seed=2))) == {"one": "slower"}


# What all have in common.


def test_a_cell_beside_the_others_is_its_ratio_over_what_they_have_in_common() -> None:
    found = by_server(beside(speeds={ONE: 0.8, TWO: 0.8, THREE: 1.0}))
    one, two, three = (ratio(found[name]).median for name in ("one", "two", "three"))

    assert found["one"].beside_others == pytest.approx(one / ((two + three) / 2))
    assert found["three"].beside_others == pytest.approx(three / ((one + two) / 2))


def test_a_latency_beside_others_keeps_its_way() -> None:
    slow = replace(ONE, users=None, rate=20.0, arrivals="poisson")
    cells = (slow, TWO, THREE)
    found = runs(
        made(cells),
        everything(dict.fromkeys(cells, 1.0), seed=1),
        made(cells, id="later"),
        everything(dict.fromkeys(cells, 0.8), seed=2),
    )

    assert ratio(found.cells[0]).median == pytest.approx(1.25, rel=0.02)
    assert [cell.beside_others for cell in found.cells] == pytest.approx([1, 1, 1], rel=0.03)
    assert found.shift is not None
    assert (found.shift.slower, found.shift.direction) == (3, "slower")


@pytest.mark.parametrize(
    ("speeds", "direction", "counts"),
    [
        ((0.9, 0.9, 1.0), "slower", (0, 2)),
        ((1.1, 1.1, 0.8), "faster", (2, 1)),
        ((0.9, 1.0, 1.1), "undecided", (1, 1)),
        ((1.0, 1.0, 0.5), "undecided", (0, 1)),
    ],
)
def test_a_shift_that_most_cells_share_is_told(
    speeds: Sequence[float], direction: str, counts: tuple[int, int]
) -> None:
    # Nothing scatters, so that nothing moves that should not.
    given = [
        [
            testing.observation(cell, block=block, swarm=testing.trial_report(throughput_rps=20 * speed))
            for cell, speed in zip((ONE, TWO, THREE), (factors), strict=True)
            for block in range(BLOCKS)
        ]
        for factors in ((1.0, 1.0, 1.0), speeds)
    ]
    # Little's law would break with other throughputs at the same latency.
    little = [
        replace(each, swarm=replace(each.swarm, latency_mean_ms=32_000 / each.swarm.throughput_rps))
        for each in given[1]
        if each.swarm
    ]
    shift = runs(made(), given[0], made(id="later"), little).shift

    assert shift is not None
    assert (shift.cells, shift.direction) == (3, direction)
    assert (shift.faster, shift.slower) == counts
    assert shift.speed == pytest.approx(sorted(speeds)[1])


def test_one_cell_alone_has_nothing_in_common_with_others() -> None:
    found = runs(made([ONE]), observed(ONE, seed=1), made([ONE], id="later"), observed(ONE, 0.5, seed=2))

    assert found.shift is not None
    assert (found.shift.cells, found.shift.direction) == (1, "undecided")
    assert found.cells[0].beside_others is None
    assert found.cells[0].verdict == "slower"
    busy = observed(ONE, seed=1, generator_cpu=0.9)
    assert runs(made([ONE]), busy, made([ONE], id="later"), observed(ONE, seed=2)).shift is None


# What can be compared at all.


def test_cells_that_only_one_run_has_are_listed() -> None:
    found = beside(b=made((THREE, TWO), id="later"), a=made((ONE, TWO)))

    assert [cell.cell for cell in found.cells] == [TWO]
    assert (found.only_a, found.only_b) == ((ONE,), (THREE,))


def test_runs_without_a_common_cell_are_refused_in_one_line_that_says_what_they_measured() -> None:
    cells = [testing.cell(name, workload="hello", cores=2) for name in ("four", "five", "six", "seven")]
    with pytest.raises(SpecError) as error:
        runs(made([ONE, replace(ONE, users=4)]), observed(ONE), made(cells, id="later"), [])

    assert error.value.message == (
        "20260102-030405-trial-run and later: no cell in common: 20260102-030405-trial-run measured one with "
        "sleep, 32 users, 1 core, close; sleep, 4 users, 1 core, close, while later measured four, five, six and 1 more with "
        "hello, 32 users, 2 cores, close; compare runs of the same experiment"
    )
    with pytest.raises(SpecError, match="later measured nothing; compare"):
        runs(made([ONE]), observed(ONE), changed(made([ONE], id="later"), cells=()), [])


def changed(run: Run, **changes: Any) -> Run:
    """With changes of its experiment."""
    return replace(run, experiment=replace(run.experiment, **changes))


def test_a_workload_with_other_parameters_is_not_compared() -> None:
    cells = (ONE, replace(TWO, workload="hello"))
    speeds = dict.fromkeys(cells, 1.0)
    later = changed(made(cells, id="later"), parameters={"hello": {}, "sleep": {"ms": 60.0}})
    found = runs(made(cells), everything(speeds, seed=1), later, everything(speeds, seed=2))
    one, two = found.cells

    assert one.refused == "a request is not the same: sleep ms is 50 in A and 60 in B"
    assert (one.ratio, one.verdict, one.beside_others) == (None, "undecided", None)
    assert one.a.figure is not None
    assert (two.refused, two.ratio is None) == (None, False)
    assert found.differences[0] == Difference(what="sleep ms", a="50", b="60", weight="refuses")
    # What is refused is no comparison, and takes no share of the error rate.
    assert found.blocks_needed == 4


def test_a_workload_is_refused_for_the_parameters_of_its_parts_and_where_all_are_the_error_says_why() -> None:
    cells = (replace(ONE, workload="stall"), replace(TWO, workload="hello"))
    speeds = dict.fromkeys(cells, 1.0)
    a = made(cells)
    later = changed(replace(a, id="later"), parameters={**a.experiment.parameters, "sleep": {"ms": 60.0}})
    found = runs(a, everything(speeds, seed=1), later, everything(speeds, seed=2))

    assert found.cells[0].refused == "a request is not the same: sleep ms is 50 in A and 60 in B"
    without = changed(made([ONE], id="later"), parameters={"sleep": {}})
    with pytest.raises(
        SpecError, match="nothing to be compared: a request is not the same: sleep ms is 50 in A and none"
    ):
        runs(made([ONE]), observed(ONE), without, observed(ONE))


@pytest.mark.parametrize(("of_a", "of_b", "whose"), [(0, 2, "A"), (2, 0, "B"), (0, 0, "A and in B")])
def test_a_cell_that_a_run_did_not_measure_is_not_compared(of_a: int, of_b: int, whose: str) -> None:
    with pytest.raises(SpecError, match=f"it has no figure in {whose};"):
        runs(made([ONE]), observed(ONE, blocks=of_a), made([ONE], id="later"), observed(ONE, blocks=of_b))


def test_a_cell_without_figures_is_shown_beside_those_with_some() -> None:
    found = runs(made(), everything({ONE: 1.0, TWO: 1.0}, seed=1), made(id="later"), everything({ONE: 1.0}, seed=2))

    assert [cell.refused for cell in found.cells] == [
        None,
        "it has no figure in B",
        "it has no figure in A and in B",
    ]
    assert found.cells[1].b.figure is None
    assert found.cells[1].b.warnings == ("12 of 12 blocks were not run",)


# Applications of the user's own.


def of(application: Application | None, workload: str = "shop", **changes: Any) -> Run:
    cell = replace(ONE, workload=workload)
    asked = testing.experiment(cell, blocks=BLOCKS, application=application)
    return testing.run(asked, testing.server("one"), **changes)


def against(a: Run, b: Run) -> RunsComparison:
    (cell,) = a.experiment.cells
    return runs(a, observed(cell), b, observed(cell, seed=1))


def test_runs_of_the_same_application_are_compared_without_a_word() -> None:
    found = against(of(testing.application()), of(testing.application(), id="later"))

    assert found.cells[0].refused is None
    assert found.differences == ()


@pytest.mark.parametrize(
    ("changes", "what", "a", "b"),
    [
        ({"entry": "other:app"}, "application: entry", "shop.wsgi:app", "other:app"),
        ({"source": "."}, "application: source", "../shop", None),
        ({"env": {"A": "1"}}, "application: env", None, "{'A': '1'}"),
    ],
)
def test_what_differs_between_two_applications_is_a_warning(
    changes: dict[str, Any], what: str, a: str | None, b: str | None
) -> None:
    found = against(of(testing.application()), of(testing.application(**changes), id="later"))

    assert Difference(what=what, a=a, b=b, weight="warns") in found.differences
    assert found.cells[0].refused is None


def test_other_expectations_are_a_warning() -> None:
    requests = testing.application().requests
    other = {**requests, "orders": replace(requests["orders"], expect=Expected(status=200))}
    found = against(of(testing.application()), of(testing.application(requests=other), id="later"))

    assert found.differences == (Difference(what="expected of orders", a=None, b="{'status': 200}", weight="warns"),)


def test_long_bodies_are_told_apart_by_more_than_their_beginning() -> None:
    requests = testing.application().requests

    def of_body(body: str) -> Application:
        return testing.application(requests={**requests, "buy": replace(requests["buy"], body="x" * 1000 + body)})

    with pytest.raises(SpecError) as caught:
        against(of(of_body("1")), of(of_body("2"), id="later"))
    told = re.findall(r"POST /orders, body x+… \((\w{12})\)", caught.value.message)
    assert len(set(told)) == 2
    assert len(caught.value.message) < 500


def test_workloads_of_one_name_that_send_something_else_are_not_compared() -> None:
    requests = testing.application().requests
    for other, why in (
        (
            {"requests": {**requests, "orders": replace(requests["orders"], path="/all")}},
            "shop sends orders is GET /orders",
        ),
        (
            {"requests": {**requests, "buy": replace(requests["buy"], body="x")}},
            "shop sends buy is POST /orders, body ",
        ),
        (
            {"requests": {**requests, "buy": replace(requests["buy"], headers={"A": "b"})}},
            "shop sends buy is POST /orders, ",
        ),
        ({"mixes": {"shop": {"orders": 1.0, "buy": 1.0}}}, "shop share of orders is 3 in A and 1 in B"),
    ):
        with pytest.raises(SpecError, match=f"a request is not the same: {re.escape(why)}"):
            against(of(testing.application()), of(testing.application(**other), id="later"))


def test_workloads_whose_locust_files_differ_are_not_compared() -> None:
    def of_file(text: str) -> Application:
        return testing.application(locust_files={"shop": LocustFile(path="a.py", files={"a.py": text})}, mixes={})

    assert against(of(of_file("1")), of(of_file("1"), id="later")).cells[0].refused is None
    with pytest.raises(
        SpecError, match=r"a request is not the same: shop sends as is the users of a\.py \(\w{12}\) in A"
    ):
        against(of(of_file("1")), of(of_file("2"), id="later"))


def test_an_applications_requests_are_not_those_of_the_lab_that_have_their_name() -> None:
    own = testing.application(requests={"cpu": Request(method="GET", path="/")}, mixes={})
    with pytest.raises(
        SpecError, match=r"a request is not the same: the application is the lab's own in A and shop\.wsgi:app in B"
    ):
        against(of(None, "cpu"), of(own, "cpu", id="later"))
    found = against(of(own, "cpu", cpu_iterations=100), of(own, "cpu", id="later"))
    assert found.cells[0].refused is None, "its requests are not calibrated"
    assert found.cells[0].ratio is not None


# What differs.


def host(**changes: Any) -> Callable[[Run], Run]:
    return lambda run: replace(run, host=replace(run.host, **changes))


def server(**changes: Any) -> Callable[[Run], Run]:
    return lambda run: replace(run, servers={**run.servers, "two": replace(run.servers["two"], **changes)})


def stack(**changes: Any) -> Callable[[Run], Run]:
    return lambda run: replace(run, stacks={"gunicorn": replace(run.stacks["gunicorn"], **changes)})


def asked(**changes: Any) -> Callable[[Run], Run]:
    return lambda run: changed(run, **changes)


def itself(**changes: Any) -> Callable[[Run], Run]:
    return lambda run: replace(run, **changes)


QUIET = {"load": 0.2, "mhz": 2000.0, "governor": "performance", "turbo": False}


@pytest.mark.parametrize(
    ("of_b", "told"),
    [
        ({}, []),
        ({"load": None, "governor": None, "turbo": None, "mhz": None}, []),
        ({"governor": "powersave"}, [("governor", "performance", "powersave", "warns")]),
        ({"turbo": True}, [("turbo", "off", "on", "warns")]),
        ({"turbo": None}, [("turbo", "off", None, "warns")]),
        ({"isolated": "2-3"}, [("isolated cores", None, "2-3", "warns")]),
        ({"virtualization": "xen"}, [("virtual machine", None, "xen", "warns")]),
        ({"quota": 1.5}, [("CPU quota", None, "1.5 cores", "warns")]),
        ({"mhz": 2090.0, "load": 0.6}, []),
        ({"mhz": 3000.0}, [("frequency when it began", "2000 MHz", "3000 MHz", "told")]),
        ({"load": 4.0}, [("load when it began", "0.20", "4.00", "told")]),
    ],
)
def test_how_the_machines_were_set_is_listed_where_both_labs_recorded_it(
    of_b: Mapping[str, Any], told: Sequence[tuple[str, str | None, str | None, str]]
) -> None:
    found = beside(a=host(**QUIET)(made()), b=host(**{**QUIET, **of_b})(made(id="later"))).differences

    assert [(each.what, each.a, each.b, each.weight) for each in found] == told


@pytest.mark.parametrize(
    ("change", "what", "a", "b"),
    [
        (host(cpu="Another"), "processor", "A CPU", "Another"),
        (host(architecture="aarch64"), "architecture", "x86_64", "aarch64"),
        (host(usable_cpus="0-7"), "usable cores", "0-1", "0-7"),
        (host(siblings=("0-1",)), "cores that share a physical one", "0 1", "0-1"),
        (host(memory_bytes=2**34), "memory", "8.0 GiB", "16.0 GiB"),
        (host(kernel="6.2"), "kernel", "6.1", "6.2"),
        (host(python="3.12.1"), "the lab's Python", "3.11.7", "3.12.1"),
        (itself(runtime="compose"), "runtime", "local", "compose"),
        (itself(server_cpus={1: "3"}), "servers with 1 core on", "0", "3"),
        (itself(generator_cpus="2"), "generator on", "1", "2"),
        (itself(backend_cpus="2"), "backends on", None, "2"),
        (itself(lab="0.2.0"), "the lab", "0.1.0", "0.2.0"),
        (itself(notes=("throttled",)), "note of the machine", None, "throttled"),
        (asked(generator="shared"), "generator's cores", "own", "shared"),
        (asked(window_s=2.0), "window", "0.3 s", "2 s"),
        (asked(patience_s=9.0), "patience", "5 s", "9 s"),
        (server(command=("gunicorn", "--name=a b")), "two: command", "gunicorn app:app", "gunicorn '--name=a b'"),
        (server(environment={"MALLOC": "{x}"}), "two: MALLOC", None, "{x}"),
        (server(slots=None), "two: slots", "1", "unbounded"),
        (server(processes=2), "two: processes", "1", "2"),
        (server(stack="other"), "two: stack", "gunicorn", "other"),
        (itself(gil={"two": False}), "two: GIL", "on", "off"),
        (stack(python="3.12.1"), "stack gunicorn: Python", "3.11.7", "3.12.1"),
        (stack(packages={"gunicorn": "28"}), "stack gunicorn: gunicorn", "27.0.1", "28"),
        (stack(digest="sha256:1"), "stack gunicorn: digest", "sha256:0", "sha256:1"),
    ],
)
def test_what_matters_and_differs_is_told_with_both_values(
    change: Callable[[Run], Run], what: str, a: str | None, b: str | None
) -> None:
    # One block tells what differs as well as many do.
    block = [testing.observation(cell) for cell in (ONE, TWO, THREE)]
    there = runs(made(), block, change(made(id="later")), block).differences
    back = runs(change(made()), block, made(id="later"), block).differences

    assert there == (Difference(what=what, a=a, b=b, weight="warns"),)
    assert back == (Difference(what=what, a=b, b=a, weight="warns"),)


def test_packages_that_came_and_went_are_told_each_and_no_digest_beside_them() -> None:
    later = stack(packages={"gevent": "26", "gunicorn": "27.0.1"}, digest="sha256:1")(made(id="later"))
    before = stack(packages={"gunicorn": "27.0.1", "tornado": "6"})(made())

    assert [(each.what, each.a, each.b) for each in beside(a=before, b=later).differences] == [
        ("stack gunicorn: gevent", None, "26"),
        ("stack gunicorn: tornado", "6", None),
    ]


def test_of_a_run_that_recorded_a_few_packages_nobody_knows_the_rest() -> None:
    few = stack(packages={"gunicorn": "27.0.1"})(made())
    more = {"click": "8", "gunicorn": "28"}
    every = stack(packages=more, is_complete=True)(made(id="later"))

    told = [("stack gunicorn: gunicorn", "27.0.1", "28")]
    assert [(each.what, each.a, each.b) for each in beside(a=few, b=every).differences] == told
    there = stack(packages={"gunicorn": "27.0.1"}, is_complete=True)(made())
    assert len(beside(a=there, b=every).differences) == 2, "of two that recorded all, it is known"


APPLICATION = {"services/app/app.py": "a" * 64, "services/app/work.py": "b" * 64}
FILES = Origin(files={"application": APPLICATION, "locks": {"one.txt": "c" * 64}}, revision="d" * 40, dirty=False)


def files(**changes: Any) -> Callable[[Run], Run]:
    return itself(origin=replace(FILES, **changes))


@pytest.mark.parametrize(
    ("of_b", "told"),
    [
        (files(), []),
        (
            files(files={**FILES.files, "application": {**APPLICATION, "services/app/work.py": "9" * 64}}),
            [("application: services/app/work.py", "b" * 12, "9" * 12, "warns")],
        ),
        (
            files(files={**FILES.files, "application": {**APPLICATION, "services/app/new.py": "9" * 64}}),
            [("application: services/app/new.py", None, "9" * 12, "told")],
        ),
        (
            files(files={**FILES.files, "backends": {"two.py": "9" * 64}}),
            [("backends: two.py", None, "9" * 12, "told")],
        ),
        (files(revision="e" * 40), [("git revision", "d" * 12, "e" * 12, "told")]),
        (files(dirty=True), [("git revision", "d" * 12, f"{'d' * 12} with changes", "told")]),
        (files(revision=None, dirty=None), [("git revision", "d" * 12, None, "told")]),
        (itself(), [("application, Locust files and locks", "recorded", "not recorded", "warns")]),
    ],
)
def test_files_that_differ_are_told_and_so_is_that_they_are_not_recorded(
    of_b: Callable[[Run], Run], told: Sequence[tuple[str, str | None, str | None, str]]
) -> None:
    found = beside(a=files()(made()), b=of_b(made(id="later"))).differences

    assert [(each.what, each.a, each.b, each.weight) for each in found] == told


@pytest.mark.parametrize(
    "change",
    [
        itself(seed=9),
        itself(started="2027-01-01T00:00:00+00:00"),
        itself(id="another"),
        itself(stacks={"gunicorn": made().stacks["gunicorn"], "more": Stack(digest="x", packages={})}),
        itself(server_cpus={1: "0", 2: "0-1"}),
        asked(reference="two"),
        asked(blocks=20),
        server(summary="in other words"),
        host(memory_bytes=2**33 + 4096),
    ],
)
def test_what_bears_on_no_figure_is_no_difference(change: Callable[[Run], Run]) -> None:
    assert beside(b=change(made(id="later"))).differences == ()


def test_a_server_that_is_not_compared_may_differ() -> None:
    found = beside(a=made((ONE, TWO)), b=server(slots=9)(made((ONE, TWO), id="later")))
    assert [each.what for each in found.differences] == ["two: slots"]

    left = made((ONE,), id="later")
    left = replace(left, servers={**left.servers, "two": testing.server("two", slots=9)})
    assert beside(a=made((ONE, TWO)), b=left).differences == ()


def test_what_weighs_most_comes_first() -> None:
    cells = (CPU[0], TWO, replace(THREE, workload="hello"))
    before = made(cells, cpu_iterations=20_000)
    later = changed(
        made(cells, cpu_iterations=25_000, id="later", lab="9", packages={"pydantic": "3"}),
        parameters={**before.experiment.parameters, "sleep": {"ms": 60.0}},
    )
    speeds = dict.fromkeys(cells, 1.0)
    found = runs(before, everything(speeds, seed=1), later, everything(speeds, seed=2))

    assert [(each.what, each.weight) for each in found.differences] == [
        ("sleep ms", "refuses"),
        ("the lab", "warns"),
        ("calibration: steps of work a ms", "told"),
        ("the lab's pydantic", "told"),
    ]


# Beside others, and by cost.


def test_a_cell_that_others_disturbed_in_either_run_is_refused_and_says_why() -> None:
    busy: dict[str, Any] = {"server_busy": 0.9, "generator_others": 0.0}
    quiet = everything({TWO: 1.0, THREE: 1.0}, seed=2)
    found = runs(
        made(),
        everything(dict.fromkeys((ONE, TWO, THREE), 1.0), seed=1),
        made(id="later"),
        [*observed(ONE, 0.5, **busy), *quiet],
    )

    one = by_server(found)["one"]
    assert one.refused is not None
    assert one.refused.startswith("in B, others took up to 8")
    assert (one.ratio, one.verdict) == (None, "undecided")
    assert not breaches(found, parse_limit("slower=5%"))
    busy["generator_others"] = 0.5
    with pytest.raises(SpecError, match="nothing to be compared: in A, others took"):
        runs(made([ONE]), observed(ONE, **busy), made([ONE], id="later"), observed(ONE, 0.5))


def costing(cost: float, of: Cell = ONE, seed: int = 1, **swarm: Any) -> list[Observation]:
    """Blocks in which a request takes so many times as much CPU time."""
    return [
        replace(each, server_cpu_s=0.3 * 0.02 * cost * each.swarm.throughput_rps / 20)
        for each in observed(of, seed=seed, **swarm)
        if each.swarm is not None
    ]


@pytest.mark.parametrize(
    ("more", "verdict", "breached"), [(1.3, "more", True), (1.03, "more", False), (0.7, "less", False)]
)
@pytest.mark.parametrize("rate", [None, 20.0], ids=["closed", "scheduled"])
def test_a_limit_of_cost_is_breached_by_more_of_it(
    more: float, verdict: str, breached: bool, rate: float | None
) -> None:
    cell = replace(ONE, users=None, rate=rate, arrivals="constant") if rate else ONE
    found = runs(made([cell]), costing(1.0, cell), made([cell], id="later"), costing(more, cell, seed=2))

    (of_both,) = found.cells
    assert of_both.cost is not None
    assert (of_both.cost.verdict, of_both.cost.margin) == (verdict, 0.01)
    assert of_both.cost.ratio.median == pytest.approx(more, rel=0.01)
    assert bool(breaches(found, parse_limit("cost=5%"))) == breached
    assert not breaches(found, parse_limit("different=5%")), "it is as fast"


def test_a_run_beside_a_neighbour_is_compared_by_cost_with_a_wider_margin() -> None:
    busy: dict[str, Any] = {"server_busy": 0.27, "generator_others": 0.0}
    (found,) = runs(made([ONE]), costing(1.0), made([ONE], id="later"), costing(1.3, seed=2, **busy)).cells

    assert found.refused is not None
    assert found.cost is not None
    assert found.cost.verdict == "more"
    assert found.cost.margin == pytest.approx(0.01 + 0.6 * 0.244, abs=0.001)
    assert found.cost.because.startswith("others used 0% of the server's cores in A and 24% in B")


def test_the_cost_of_work_that_is_calibrated_is_of_as_much_work() -> None:
    cell = testing.cell("one", workload="cpu")
    half = made([cell], cpu_iterations=1000), made([cell], id="later", cpu_iterations=500)
    (found,) = runs(half[0], costing(1.0, cell), half[1], costing(0.5, cell, seed=2)).cells

    assert found.cost is not None
    assert found.cost.ratio.median == pytest.approx(1.0, rel=0.02)


def test_of_many_reasons_why_nothing_is_compared_three_are_named() -> None:
    refused = {testing.cell("one", users=users): f"reason {users}" for users in range(1, 6)}

    message = _nothing(made([ONE], id="a"), made([ONE], id="b"), refused)

    assert message.startswith("a and b: nothing to be compared: reason 1; reason 2; reason 3 and 2 more; ")
