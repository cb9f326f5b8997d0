"""Several machines of targets: what difference they make, and what every format says of it."""

import functools
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.unit import lanes
from wsgilab import testing
from wsgilab.analysis import stats
from wsgilab.analysis.ab.runs import runs
from wsgilab.analysis.compare import compare, so_far, survey
from wsgilab.model import Cell, Comparison, Interval, LaneRecord, MachineEffect, Observation, Run
from wsgilab.report import machines, reproduce
from wsgilab.report.ab import runs_html, runs_md, runs_yaml
from wsgilab.report.comparison import comparison_yaml
from wsgilab.report.experiment import experiment_yaml
from wsgilab.report.recommendation import recommendations
from wsgilab.results.store import Journal, Store

ONE, TWO = testing.cell("one"), testing.cell("two")
GOLDEN = Path(__file__).parents[3] / "golden"
AT_RATE = replace(ONE, users=None, rate=20.0, arrivals="constant")

Speeds = Sequence[tuple[str, Mapping[Cell, float]]]
"""Of each block its machine, and throughput by cell."""


def observed(speeds: Speeds) -> list[Observation]:
    return [
        testing.observation(
            cell,
            block=block,
            position=2 * block + place,
            machine=machine,
            swarm=testing.trial_report(throughput_rps=rps, latency_mean_ms=32_000 / rps if rps else 0.0),
        )
        for block, (machine, figures) in enumerate(speeds)
        for place, (cell, rps) in enumerate(figures.items())
    ]


def compared(speeds: Speeds, *of_lanes: LaneRecord, cells: Sequence[Cell] = (ONE, TWO)) -> Comparison:
    """On alpha and gamma, unless there are other lanes."""
    known = of_lanes or (lanes.lane("alpha"), lanes.lane("gamma"))
    run = testing.run(testing.experiment(*cells, blocks=len(speeds)), lanes=known)
    return compare(run, observed(speeds))


def effects(*of: Any, **more: Any) -> Mapping[str, MachineEffect]:
    return {each.machine: each for each in compared(*of, **more).machines}


# What difference they make.


def test_a_blocks_speed_is_the_geometric_mean_of_its_cells_over_their_medians() -> None:
    """Worked out by hand: the medians of the cells are 10 and 200.

    So alpha's blocks have the speeds sqrt(1.2 x 1.2), sqrt(1 x 1.21) and sqrt(1.44 x 1), which are 1.2, 1.1 and 1.2; those of
    gamma sqrt(0.8 x 0.8), sqrt(0.9 x 0.9) and sqrt(1 x 0.81), which are 0.8, 0.9 and 0.9, and 1 of the one that has a single
    cell. The block in which nothing was answered has none.
    """
    found = effects(
        [
            ("alpha", {ONE: 12.0, TWO: 240.0}),
            ("gamma", {ONE: 8.0, TWO: 160.0}),
            ("alpha", {ONE: 10.0, TWO: 242.0}),
            ("gamma", {ONE: 9.0, TWO: 180.0}),
            ("alpha", {ONE: 14.4, TWO: 200.0}),
            ("gamma", {ONE: 10.0, TWO: 162.0}),
            ("gamma", {TWO: 200.0}),
            ("gamma", {ONE: 0.0}),
        ],
    )

    assert [each.machine for each in found.values()] == ["alpha", "gamma"]
    assert {name: each.blocks for name, each in found.items()} == {"alpha": 3, "gamma": 4}
    ratios = sorted([1.2 / 0.8, 1.1 / 0.8, 1.2 / 0.8, *[1.2 / 0.9, 1.1 / 0.9, 1.2 / 0.9] * 2, 1.2, 1.1, 1.2])
    assert found["alpha"].throughput.median == pytest.approx((ratios[5] + ratios[6]) / 2)
    assert found["gamma"].throughput.median == pytest.approx((1 / ratios[5] + 1 / ratios[6]) / 2)
    assert (found["alpha"].throughput.low, found["alpha"].throughput.high) == (None, None), "three blocks are too few"


def test_with_enough_blocks_the_interval_is_that_of_two_samples_and_of_one_comparison_for_two_machines() -> None:
    source = random.Random(3)
    speeds = [("alpha" if block % 2 else "gamma", {ONE: 10 * source.uniform(0.9, 1.1)}) for block in range(10)]
    median = sorted(each[ONE] for _, each in speeds)
    middle = (median[4] + median[5]) / 2
    alpha, gamma = ([each[ONE] / middle for of, each in speeds if of == name] for name in ("alpha", "gamma"))

    found = effects(speeds, cells=(ONE,))

    assert stats.orders_suffice(5, 5, 0.05)
    assert near(found["alpha"].throughput, stats.unpaired_ratio(alpha, gamma, 0.05, 0.0))
    assert near(found["gamma"].throughput, stats.unpaired_ratio(gamma, alpha, 0.05, 0.0))


def near(found: Interval, expected: Interval) -> bool:
    ends = (found.median, found.low, found.high)
    return bool(ends == pytest.approx((expected.median, expected.low, expected.high)))


def test_of_three_machines_each_is_held_against_both_others_and_all_intervals_hold_at_once() -> None:
    three = (lanes.lane("alpha"), lanes.lane("gamma"), lanes.lane("eta"))
    source = random.Random(5)
    speeds = [(("alpha", "gamma", "eta")[block % 3], {ONE: 10 * source.uniform(0.9, 1.1)}) for block in range(18)]

    found = effects(speeds, *three, cells=(ONE,))

    of = {name: [each[ONE] for where, each in speeds if where == name] for name in ("alpha", "gamma", "eta")}
    expected = stats.unpaired_ratio(of["eta"], [*of["alpha"], *of["gamma"]], 0.05 / 3, 0.0)
    assert list(found) == ["alpha", "gamma", "eta"]
    assert near(found["eta"].throughput, expected)


def test_in_simulated_runs_the_interval_holds_the_true_effect_about_as_often_as_it_says() -> None:
    """60 runs of 12 blocks on two machines, which scatter by 3 %; 95 % of 60 is 57, and one in 800 such trials has
    fewer than 51."""
    source, effect = random.Random(11), 1.1
    held = 0
    for _ in range(60):
        speeds = [
            (
                name,
                {cell: rps * source.gauss(1, 0.03) * (effect if name == "alpha" else 1) for cell, rps in PLAIN.items()},
            )
            for name in ("alpha", "gamma") * 6
        ]
        interval = effects(speeds)["alpha"].throughput
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= effect <= interval.high

    assert held >= 51


PLAIN = {ONE: 20.0, TWO: 300.0}


def test_a_difference_between_machines_is_no_difference_between_servers() -> None:
    source = random.Random(2)
    speeds = [
        (name, {cell: 100 * source.gauss(1, 0.002) * (2 if name == "alpha" else 1) for cell in (ONE, TWO)})
        for name in ("alpha", "gamma") * 6
    ]

    found = compared(speeds)

    assert found.pairs[0].ratio.median == pytest.approx(1, abs=0.01)
    assert found.pairs[0].verdict == "undecided"
    assert found.machines[0].throughput.median == pytest.approx(2, abs=0.02)


def test_what_tells_nothing_of_a_machine_takes_no_part() -> None:
    """Cells at a fixed rate, with a broken gate, or that only one of the machines has."""
    both = [("alpha", {ONE: 20.0}), ("gamma", {ONE: 10.0})] * 4
    plain = effects(both, cells=(ONE,))

    rate = [(name, {**figures, AT_RATE: 20.0}) for name, figures in both]
    alone = [(name, {**figures, **({TWO: 7.0} if name == "alpha" else {})}) for name, figures in both]
    assert effects(rate, cells=(ONE, AT_RATE)) == plain
    assert effects(alone) == plain

    run = testing.run(testing.experiment(ONE, TWO, blocks=8), lanes=(lanes.lane("alpha"), lanes.lane("gamma")))
    spoilt = [
        replace(each, swarm=replace(each.swarm, generator_cpu=0.9)) if each.cell == TWO and each.swarm else each
        for each in observed([(name, {**figures, TWO: 20.0}) for name, figures in both])
    ]
    assert {each.machine: each for each in compare(run, spoilt).machines} == plain


def test_there_is_no_effect_of_a_single_machine() -> None:
    single = [("alpha", {ONE: 20.0 + block}) for block in range(8)]

    assert compared(single).machines == ()
    assert compared(single, lanes.lane("alpha")).machines == ()
    assert compared([("", {ONE: 20.0})] * 8).machines == ()
    assert compared([("alpha", {AT_RATE: 20.0}), ("gamma", {AT_RATE: 20.0})] * 4, cells=(AT_RATE,)).machines == ()


def test_a_run_under_way_and_a_session_have_no_effects() -> None:
    run, given = apart().run, observed([("alpha", {ONE: 20.0}), ("gamma", {ONE: 10.0})] * 4)
    under_way = testing.run(testing.experiment(ONE, blocks=8), lanes=run.lanes)

    assert so_far(under_way, given).machines == ()
    assert survey(under_way, given).machines == ()


# How it is shown; tests/golden/apart has every format of `apart`.


@functools.cache
def apart() -> Comparison:
    run = lanes.run()
    return compare(run, lanes.observations(run))


@functools.cache
def together() -> Comparison:
    """The same on one machine."""
    run = replace(lanes.run(), lanes=())
    return compare(run, [without_lane(each) for each in lanes.observations(lanes.run())])


def without_lane(observation: Observation) -> Observation:
    assert observation.swarm is not None
    swarm = replace(observation.swarm, round_trip_ms=None, sent_segments=None, resent_segments=None)
    return replace(observation, machine="", swarm=swarm)


def document(comparison: Comparison) -> Any:
    return yaml.safe_load(comparison_yaml(comparison)["comparison.yaml"])


def test_on_one_machine_the_document_says_nothing_of_others() -> None:
    told = document(together())

    assert (told["run"]["lanes"], told["machines"]) == ([], [])
    for cell in told["cells"]:
        assert (cell["round_trip_ms"], cell["resent_share"]) == (None, None)
        assert "round_trip_ms" not in cell["intervals"]
        assert cell["received_mbps"] is not None


def test_the_document_is_as_its_schema_says() -> None:
    schema = json.loads((Path(__file__).parents[4] / "schemas" / "comparison.json").read_text())

    Draft202012Validator(schema).validate(document(apart()))


def test_nothing_about_machines_is_said_of_a_run_on_one() -> None:
    # test_golden holds that every format is as in these files; those of `apart` have the words.
    of_answer, of_apart = (
        b"".join(file.read_bytes() for file in (GOLDEN / name).rglob("*") if file.suffix != ".yaml" and file.is_file())
        for name in ("answer", "apart")
    )

    for word in (b"round trip", b"Machines", b"--site"):
        assert word not in of_answer
        assert word in of_apart


LANES = (
    "Targets on alpha (A CPU, cores 0-3), users on beta (Another CPU, cores 0-1), and between them a round trip of 20.0 ms "
    "and 940 megabits/s. Targets on gamma (A CPU, cores 0-3), users on delta (Another CPU, cores 0-1) and epsilon (Another "
    "CPU, cores 0-1), and between them a round trip of 21.0 ms and 940 megabits/s. Servers on core 0 of theirs."
)


def test_the_machines_of_a_run_are_named_with_what_is_between_them() -> None:
    assert machines.machine(lanes.run()) == LANES
    assert "backends on core 3 of theirs." in machines.machine(lanes.run(backend_cpus="3"))


@pytest.mark.parametrize(
    ("blocks", "factor", "told"),
    [
        (3, 2.0, ["Whether the machines are alike cannot be told with fewer than 4 blocks on one or on the others."]),
        (4, 2.0, None),
        (6, 1.0, []),
    ],
)
def test_machines_are_warned_about_where_it_is_sure_that_they_differ(
    blocks: int, factor: float, told: Sequence[str] | None
) -> None:
    speeds = [
        pair
        for block in range(blocks)
        for pair in (("alpha", {ONE: factor * (20 + block)}), ("gamma", {ONE: 20.5 + (block * 5) % 7 / 2}))
    ]

    found = list(machines.warnings(compared(speeds, cells=(ONE,))))

    if told is None:
        assert re.match(
            r"The machines are not alike: alpha had [12]\.\d+ times .*, gamma had 0\.\d+ times", found.pop()
        )
    assert found == (told or [])


def test_what_repeats_the_run_names_a_site() -> None:
    run = lanes.run()

    assert reproduce.command(run) == (
        "invoke lab.run --experiment results/20260102-030405-trial-run/experiment.yaml --site sites.yaml --seed 1"
    )
    assert dict(reproduce.facts(run))["machines"] == LANES.removesuffix(". Servers on core 0 of theirs.")
    assert "machines" not in dict(reproduce.facts(replace(run, lanes=())))
    assert (
        "#   invoke lab.run --experiment FILE --site sites.yaml --seed 1\n"
        in experiment_yaml(apart())["experiment.yaml"].decode()
    )


def test_what_is_bound_by_the_network_is_no_servers_own_speed() -> None:
    blocks = [
        replace(
            testing.observation(
                cell,
                block=block,
                swarm=testing.trial_report(
                    throughput_rps=1500.0, latency_mean_ms=21.3, round_trip_ms=20.0, in_flight=IDLE, service_ms=0.1
                ),
            ),
            machine="alpha",
        )
        for cell in (replace(ONE, connection="keep-alive"), replace(TWO, connection="keep-alive"))
        for block in range(6)
    ]
    run = testing.run(testing.experiment(*dict.fromkeys(each.cell for each in blocks), blocks=6), lanes=(lanes.lane(),))

    (advice,) = recommendations(compare(run, blocks))

    assert "All are bound by the network: their own speed is not what was measured." in advice.why


IDLE = replace(testing.trial_report().in_flight, mean=0.2)


def test_a_run_on_lanes_is_stored_and_read_again(tmp_path: Path) -> None:
    run = lanes.run()
    store = Store.create(tmp_path, run)
    given = lanes.observations(run)
    with Journal(store) as journal:
        for each in given:
            journal.append(each)

    assert store.run() == run
    assert store.observations() == list(given)


# Two runs.


def both(a: Run, b: Run, *, differ: str = "") -> Mapping[str, tuple[str | None, str | None, str]]:
    """What differs between two runs with the same figures."""
    of = [
        lanes.observations(lanes.run())
        if run.lanes
        else [without_lane(each) for each in lanes.observations(lanes.run())]
        for run in (a, b)
    ]
    found = runs(a, of[0], replace(b, id="later"), of[1])
    for rendered in (runs_md(found), runs_html(found), runs_yaml(found)):
        assert all(differ in content.decode() for content in rendered.values())
    return {each.what: (each.a, each.b, each.weight) for each in found.differences}


def test_one_machine_beside_several_is_warned_about() -> None:
    found = both(replace(lanes.run(), lanes=()), lanes.run(), differ="2 for targets, 3 for users")

    assert found == {"machines": ("one for targets and users", "2 for targets, 3 for users", "warns")}


def lane_with(**changes: Any) -> Run:
    """The usual run, its first lane with changes."""
    first, second = lanes.run().lanes
    return replace(lanes.run(), lanes=(replace(first, **changes), second))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"targets": lanes.machine("other")}, {}),
        ({"round_trip_ms": 24.9}, {"round trip": ("20.0 ms", "24.9 ms", "told")}),
        ({"round_trip_ms": 25.1}, {"round trip": ("20.0 ms", "25.1 ms", "warns")}),
        ({"round_trip_ms": 15.9}, {"round trip": ("20.0 ms", "15.9 ms", "warns")}),
        ({"bandwidth_mbps": 1170.0}, {"bandwidth": ("940 megabits/s", "1,170 megabits/s", "told")}),
        ({"bandwidth_mbps": 12345.0}, {"bandwidth": ("940 megabits/s", "12,345 megabits/s", "warns")}),
        (
            {"swarm": (lanes.machine("beta", "A third CPU", "0"),)},
            {
                "the users' machines": (
                    "Another CPU, cores 0-1",
                    "A third CPU, cores 0; Another CPU, cores 0-1",
                    "warns",
                )
            },
        ),
    ],
)
def test_what_differs_between_sites_is_told(changes: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    # The names are whoever rents them.
    given = lanes.observations(lanes.run())
    b = replace(lane_with(**changes), id="later")
    renamed = [replace(each, machine=b.lanes[0].targets.name) if each.machine == "alpha" else each for each in given]

    found = runs(lanes.run(), given, b, renamed)

    assert {each.what: (each.a, each.b, each.weight) for each in found.differences} == expected


def test_a_further_machine_of_targets_is_told() -> None:
    first, second = lanes.run().lanes
    other = replace(second, targets=lanes.machine("gamma", "A third CPU"))

    found = both(lanes.run(), replace(lanes.run(), lanes=(first, other)))
    fewer = both(lanes.run(), replace(lanes.run(), lanes=(first,)))

    assert found == {"further machines of targets": ("A CPU, cores 0-3", "A third CPU, cores 0-3", "warns")}
    assert fewer["machines"] == ("2 for targets, 3 for users", "1 for targets, 1 for users", "warns")
    assert fewer["further machines of targets"] == ("A CPU, cores 0-3", None, "warns")
