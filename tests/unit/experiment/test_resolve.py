"""Experiments: from a file to cells."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from tests.unit.said import refusal as refused
from tests.unit.said import table
from wsgilab import testing
from wsgilab.analysis import stats
from wsgilab.commands import measure
from wsgilab.experiment import catalogue, resolve
from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model import Application, CapacityLimit, Cell, Circumstances, During, Experiment, Idle, Request
from wsgilab.model.application import LocustFile
from wsgilab.model.errors import LabError, SpecError
from wsgilab.run.options import RunOptions
from wsgilab.run.testbed import Testbed
from wsgilab.runtime.protocol import Runtime
from wsgilab.system import host

ROOT = Path(__file__).parents[3]
SERVERS = {name: testing.server(name) for name in ("one", "two", "three")}
GROUP = "{servers: all, workloads: [hello], users: [32]}"


def parse(text: str, **machine: Any) -> Experiment:
    return resolve.parse(text, "e.yaml", SERVERS, **{"cores": 2, **machine})


def of_group(group: str, more: str = "", **machine: Any) -> Experiment:
    return parse(f"name: trial-run\nreference: one\ncells: [{group}]\n{more}", **machine)


def refusal(text: str) -> str:
    return refused(SpecError, parse, text)


def refused_group(group: str, more: str = "") -> str:
    return refusal(f"name: trial-run\nreference: one\ncells: [{group}]\n{more}")


# The shipped experiment.


def test_the_default_experiment_measures_each_of_its_servers_under_every_plain_workload() -> None:
    servers = catalogue.parse((ROOT / "compose/servers.yaml").read_text(), "servers.yaml")
    path = ROOT / "experiments/answer.yaml"

    experiment = resolve.parse(path.read_text(), str(path), servers, cores=1)

    assert experiment.name == "answer"
    assert experiment.reference == "gunicorn-sync-1"
    assert experiment.budget_s == 150, "its time is promised"
    asked = list(dict.fromkeys(cell.server for cell in experiment.cells))
    assert len(asked) == 13
    assert asked == [name for name in servers if name in asked], "in the catalogue's order"
    assert {(cell.server, cell.workload) for cell in experiment.cells} == {
        (server, workload) for server in asked for workload in ("hello", "sleep", "cpu")
    }
    assert experiment.parameters["sleep"] == {"ms": 50}


# What a file says.


def test_a_group_is_the_product_of_its_lists() -> None:
    experiment = of_group(
        "{servers: [two, one], workloads: [sleep], users: [1, 32], cores: [1, 2], connections: [close, keep-alive]}"
    )

    assert len(experiment.cells) == len(set(experiment.cells)) == 2 * 2 * 2 * 2
    assert set(experiment.cells) == {
        Cell(server=server, cores=cores, workload="sleep", users=users, connection=connection)
        for server in ("one", "two")
        for cores in (1, 2)
        for users in (1, 32)
        for connection in ("close", "keep-alive")
    }


def test_all_servers_are_those_of_the_catalogue_in_its_order() -> None:
    assert [cell.server for cell in of_group(GROUP).cells] == ["one", "two", "three"]


def test_a_cell_that_stands_in_several_groups_counts_once() -> None:
    assert of_group(f"{GROUP}, {GROUP}").cells == of_group(GROUP).cells


def test_what_a_file_leaves_out_has_a_default() -> None:
    experiment = of_group("{servers: [one], workloads: [sleep, cpu], users: [2]}")

    assert {(cell.cores, cell.connection) for cell in experiment.cells} == {(1, "close")}
    assert (experiment.blocks, experiment.window_s, experiment.patience_s) == (3, 1.0, 10.0)
    assert (experiment.generator, experiment.generator_cores) == ("own", 1)
    assert (experiment.precision, experiment.max_blocks) == (None, None)
    assert experiment.parameters == {"sleep": {"ms": 50.0}, "cpu": {"ms": 5.0}}


def test_what_a_file_says_goes_before_the_defaults() -> None:
    experiment = of_group(
        "{servers: [one], workloads: [sleep], users: [2]}",
        "blocks: 7\nwindow_s: 0.5\npatience_s: 2\ngenerator: shared\nworkloads: {sleep: {ms: 20}}\n",
    )

    assert (experiment.blocks, experiment.window_s, experiment.patience_s) == (7, 0.5, 2)
    assert experiment.generator == "shared"
    assert experiment.parameters == {"sleep": {"ms": 20}}


def test_a_rate_is_a_schedule_for_which_there_are_no_users() -> None:
    experiment = of_group("{servers: [two, one], workloads: [sleep], rate: [0.5, 200], arrivals: poisson}")

    assert set(experiment.cells) == {
        testing.cell(server, users=None, rate=rate, arrivals="poisson")
        for server in ("one", "two")
        for rate in (0.5, 200)
    }


def test_a_schedule_is_evenly_spaced_unless_it_is_asked_otherwise() -> None:
    (cell,) = of_group("{servers: [one], workloads: [sleep], rate: [10]}").cells

    assert (cell.rate, cell.arrivals, cell.users) == (10.0, "constant", None)


def test_a_group_may_say_what_else_holds_while_its_cells_are_measured() -> None:
    (cell,) = of_group(
        "{servers: [one], workloads: [sleep], users: [2], idle: {connections: 4, send: half}, gap_ms: 2100, abandon_ms: 50, "
        "during: {at_s: 0.5, do: reload}, quota: 0.5}"
    ).cells

    assert cell.circumstances == Circumstances(
        idle=Idle(connections=4, send="half"),
        gap_ms=2100,
        abandon_ms=50,
        during=During(at_s=0.5, do="reload"),
        quota=0.5,
    )
    assert (
        cell.load
        == "2 users, 4 silent connections with half of a request, pauses of 2100 ms, users give up after 50 ms"
    )
    assert cell.on == "1 core, quota 0.5 cores, reload after 0.5 s"


def test_a_number_of_idle_connections_is_short_for_those_that_send_nothing() -> None:
    (cell,) = of_group("{servers: [one], workloads: [sleep], users: [2], idle: 4}").cells

    assert cell.circumstances == Circumstances(idle=Idle(connections=4))
    assert cell.load == "2 users, 4 silent connections"


def test_cells_under_other_circumstances_are_not_under_the_same_conditions() -> None:
    quiet, silent = of_group(f"{GROUP}, {GROUP[:-1]}, idle: 1}}").cells[::3]

    assert quiet.circumstances is None
    assert (quiet.server, quiet.load.partition(",")[0]) == (silent.server, silent.load.partition(",")[0])
    assert quiet.conditions != silent.conditions


def test_users_and_rates_may_stand_beside_each_other_in_groups_of_their_own() -> None:
    experiment = of_group(
        "{servers: [one], workloads: [sleep], users: [8]}, {servers: [one], workloads: [sleep], rate: [8]}, "
        "{servers: [one], workloads: [sleep], rate: [8], arrivals: poisson}"
    )

    assert [cell.load for cell in experiment.cells] == ["8 users", "8 requests/s, constant", "8 requests/s, poisson"]
    assert len({cell.conditions for cell in experiment.cells}) == 3, "none is compared with another"


@pytest.mark.parametrize(
    ("more", "blocks", "most"),
    [
        ("precision: 0.03", 3, resolve.MAX_BLOCKS),
        ("precision: 0.03\nblocks: 60", 60, 60),
        ("precision: 0.03\nblocks: 8\nmax_blocks: 8", 8, 8),
        ("precision: 0.03\nmax_blocks: 1000", 3, 1000),
    ],
)
def test_a_run_with_precision_ends_after_so_many_blocks(more: str, blocks: int, most: int) -> None:
    experiment = of_group(GROUP, more)

    assert (experiment.blocks, experiment.precision, experiment.max_blocks) == (blocks, 0.03, most)


def test_the_generator_may_have_several_cores() -> None:
    assert of_group(GROUP, "generator_cores: 2").generator_cores == 2


def test_parameters_of_workloads_that_no_cell_uses_are_left_out() -> None:
    assert of_group(GROUP, "workloads: {sleep: {ms: 20}}\n").parameters == {"hello": {}}


# As many cores as there are.

EVERY_CORE = "{servers: [one], workloads: [hello], users: [1], cores: all}"


def cores_of(experiment: Experiment) -> list[int]:
    return [cell.cores for cell in experiment.cells]


@pytest.mark.parametrize(
    ("most", "numbers"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (4, [1, 2, 4]),
        (5, [1, 2, 4, 5]),
        (7, [1, 2, 4, 7]),
        (8, [1, 2, 4, 8]),
        (12, [1, 2, 4, 8, 12]),
        (64, [1, 2, 4, 8, 16, 32, 64]),
    ],
)
def test_all_cores_are_each_twice_as_many_and_all_that_there_are(most: int, numbers: list[int]) -> None:
    assert resolve.doubling(most) == numbers
    assert cores_of(of_group(EVERY_CORE, "generator: shared\n", cores=most)) == numbers
    assert cores_of(of_group(EVERY_CORE, cores=most + 1)) == numbers, "the generator has one of its own"
    assert cores_of(of_group(EVERY_CORE, "generator_cores: 3\n", cores=most + 3)) == numbers


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_where_the_generator_leaves_no_core_one_is_asked_for_and_the_layout_refuses(cores: int) -> None:
    assert cores_of(of_group(EVERY_CORE, "generator_cores: 3\n", cores=cores)) == [1]


def test_the_command_lines_generator_goes_before_the_files_where_all_cores_are_asked_for() -> None:
    assert cores_of(of_group(EVERY_CORE, cores=4, share_generator=True)) == [1, 2, 4]
    assert cores_of(of_group(EVERY_CORE, cores=4, generator_cores=2)) == [1, 2]
    assert cores_of(of_group(EVERY_CORE, "generator_cores: 3\n", cores=4, generator_cores=1)) == [1, 2, 3]
    assert cores_of(of_group(EVERY_CORE, "generator: shared\n", cores=4, generator_cores=2)) == [1, 2, 4]


def test_all_cores_are_a_list_like_any_other() -> None:
    every = of_group(f"{EVERY_CORE}, {{servers: [two], workloads: [hello], users: [1]}}", cores=5)
    listed = of_group(
        f"{EVERY_CORE.replace('all', '[1, 2, 4]')}, {{servers: [two], workloads: [hello], users: [1]}}", cores=1
    )

    assert every == listed


# What a file must not say.


@pytest.mark.parametrize(
    ("more", "message"),
    table(
        r"""
        block: 3 | unknown key 'block'; known are name, ... cells, ... blocks, ... generator
        blocks: 0 | blocks: must be a whole number from 1 to 1000, not 0
        window_s: 0 | window_s: must be a number above 0 and at most 3600, not 0
        window_s: 1.0e-12 | window_s: must be a number above 0 ... not 1e-12
        patience_s: -1 | patience_s: must be a number above 0 and at most 3600, not -1
        generator: mine | generator ... 'own' or 'shared' ... not 'mine'
        generator_cores: 0 | generator_cores: must be a whole number from 1 to 100000, not 0
        precision: 3% | precision: must be a share such as 0.03, not '3%'
        precision: 0.03\nmax_blocks: 1001 | max_blocks: must be a whole number from 1 to 1000, not 1001
        blocks: 9\nprecision: 0.03\nmax_blocks: 8 | max_blocks: 8 is less than the 9 blocks to begin with
        precision: 0.03\nbudget: 125s | budget: says how long the run goes on, and so does precision; give one of the two
        blocks: 9\nbudget: 125s | budget: says how long the run goes on, and so does blocks; give one of the two
        budget: 2 h | budget: must be a time such as 125s or 3min, or a number of seconds, not '2 h'
        budget: 0 | budget: must be a number from 1 to 86400, not 0
        capacity: {p95_ms: 200} | cells[0].users: does not go with capacity, which looks for a rate by itself; leave it out
        capacity: {p95_ms: -1} | capacity.p95_ms: must be a number above 0 and at most 3600000, not -1
        capacity: {p95_ms: 9, failures: few} | capacity.failures: must be a share such as 0.1%, not 'few'
        capacity: 200 | capacity: must be a mapping with keys such as p95_ms, failures and arrivals, not 200
        max_blocks: 8 | max_blocks: says where a run with precision ends, but there is no precision
        workloads: {nap: {}} | workloads: unknown workload 'nap'; known are hello, sleep, cpu
        workloads: {sleep: {s: 1}} | workloads.sleep: unknown parameter 's'; known are ms
        workloads: {cpu: {ms: 0}} | workloads.cpu.ms must be a number from 0.01 to 10000, not 0
        workloads: {sleep: {ms: 60001}} | workloads.sleep.ms must be a number from 0 to 60000, not 60001
        workloads: {large: {kib: 1.5}} | workloads.large.kib must be a whole number from 0 to 65536, not 1.5
        workloads: {mixed: {hello: 0, db: 0, upstream: 0, cpu: 0, large: 0}} | workloads.mixed: one share at least must be more than 0
        """
    ),
)
def test_a_wrong_key_is_refused_with_its_place_and_what_would_be_right(more: str, message: str) -> None:
    says(refused_group(GROUP, more), message)


def says(message: str, parts: str) -> None:
    """It says all of `parts`, with something between them."""
    assert message.startswith("e.yaml: ")
    for part in parts.split(" ... "):
        assert part in message


@pytest.mark.parametrize(
    ("before", "after", "message"),
    table(
        """
        users: [32] | users: [0] | cells[1].users[0]: must be a whole number from 1 to 100000, not 0
        , users: [32] |  | cells[1]: needs users (a closed loop) or rate ... and not both
        users: [32] | users: [32], rate: [10] | cells[1]: needs users (a closed loop) or rate ... and not both
        users: [32] | users: [32], arrivals: poisson | cells[1].arrivals: says how a rate is spaced, but there are users
        users: [32] | rate: [10], arrivals: bursts | cells[1].arrivals ... 'constant' or 'poisson' ... 'bursts'
        users: [32] | rate: [0] | cells[1].rate[0]: must be a number above 0 and at most 100000, not 0
        users: [32] | rate: [100001] | cells[1].rate[0]: must be a number above 0 and at most 100000, not 100001
        users: [32] | rate: 10 | cells[1].rate ... valid list ... not 10
        users: [32] | users: [32], cores: [0] | cells[1].cores[0]: must be a whole number from 1 to 100000, not 0
        users: [32] | users: [32], cores: 2 | cells[1].cores: must be all, or a list of whole numbers such as [1, 2], not 2
        users: [32] | users: [32], connection: [close] | unknown key 'cells[1].connection' ... servers ... connections
        users: [32] | users: [32], connections: [open] | cells[1].connections[0] ... 'keep-alive' or 'close'
        [hello] | [helo] | cells[1].workloads: unknown workload 'helo'; did you mean hello?
        [hello] | [x] | cells[1].workloads: unknown workload 'x'; known are hello, sleep, cpu and 9 more
        all | [four] | cells[1].servers: unknown server 'four'; known are one, two, three
        users: [32] | users: [32], idle: 0 | cells[1].idle.connections: must be a whole number from 1 to 10000, not 0
        users: [32] | users: [32], idle: {send: half} | cells[1].idle ... connections
        users: [32] | users: [32], idle: {connections: 1, send: all} | cells[1].idle.send ... must be nothing or half
        users: [32] | users: [32], gap_ms: 0 | cells[1].gap_ms: must be a number above 0 and at most 600000, not 0
        users: [32] | rate: [10], gap_ms: 5 | gap_ms: says what users do ... come at a rate; give users
        users: [32] | rate: [10], abandon_ms: 5 | abandon_ms: says what users do ... come at a rate; give users
        users: [32] | users: [32], during: {at_s: 1, do: crash} | cells[1].during.do: must be reload, kill-worker or stop
        users: [32] | users: [32], during: {at_s: 1, do: stop} | during.at_s: 1 s is not within the window of 1 s; give less
        users: [32] | users: [32], quota: 1 | quota: 1 is not below the 1 core that one is pinned to; give less
        """
    ),
)
def test_a_wrong_group_is_refused_with_its_number_and_what_would_be_right(
    before: str, after: str, message: str
) -> None:
    assert before in GROUP
    says(refused_group(f"{GROUP}, {GROUP.replace(before, after)}"), message)


def test_a_reference_that_is_no_server_is_refused() -> None:
    message = refusal(f"name: x\nreference: four\ncells: [{GROUP}]")

    assert message == "e.yaml: reference: unknown server 'four'; known are one, two, three"


def test_users_that_are_told_apart_cannot_come_at_a_rate() -> None:
    group = "{servers: [one], workloads: [stall], rate: [10]}"

    message = refusal(f"name: x\nreference: one\ncells: [{group}]")

    assert message == "e.yaml: requests of the workload 'stall' are not sent at a rate; give users, not rate"


@pytest.mark.parametrize("key", ["name", "reference", "cells"])
def test_a_key_that_must_be_there_is_missed(key: str) -> None:
    lines = {"name": "name: x", "reference": "reference: one", "cells": f"cells: [{GROUP}]"}
    del lines[key]

    assert refusal("\n".join(lines.values())) == f"e.yaml: lacks the key '{key}'"


@pytest.mark.parametrize("name", ["A Name", "../x", "-x", "x" * 65, "''"])
def test_a_name_that_could_not_name_a_folder_is_refused(name: str) -> None:
    assert refusal(f"name: {name}\nreference: one\ncells: [{GROUP}]").startswith("e.yaml: name: ")


@pytest.mark.parametrize("text", ["", "[]", "answer"])
def test_a_file_without_keys_is_no_experiment(text: str) -> None:
    assert refusal(text) == "e.yaml: is not an experiment; it must begin with keys such as name and cells"


def test_groups_with_empty_lists_leave_nothing_to_measure() -> None:
    assert "nothing to measure" in refused_group("{servers: all, workloads: [], users: [32]}")
    assert "nothing to measure" in refused_group("{servers: [], workloads: [hello], rate: [10]}")


def test_no_groups_at_all_are_refused() -> None:
    assert refused_group("").startswith("e.yaml: cells: list should have at least 1 item")


def test_a_key_given_twice_is_refused() -> None:
    assert refused_group(GROUP, "blocks: 1\nblocks: 2\n") == "e.yaml:5: the key 'blocks' is given twice"


# What the command line narrows.

WIDE = testing.experiment(*(testing.cell(name, users=users) for name in ("one", "two") for users in (8, 32)))


def test_servers_that_are_not_asked_for_are_left_out() -> None:
    narrowed = resolve.narrow(WIDE, SERVERS, servers=["one"])

    assert narrowed.cells == WIDE.cells[:2]
    assert narrowed.reference == "one"


def test_the_first_server_asked_for_takes_the_place_of_a_reference_left_out() -> None:
    assert resolve.narrow(WIDE, SERVERS, servers=["two"]).reference == "two"


def test_other_cores_take_the_place_of_the_files() -> None:
    narrowed = resolve.narrow(WIDE, SERVERS, cores=[2, 4])

    assert len(narrowed.cells) == len(WIDE.cells) * 2
    assert {cell.cores for cell in narrowed.cells} == {2, 4}


def test_cells_that_differed_in_cores_alone_count_once() -> None:
    both = testing.experiment(testing.cell(cores=1), testing.cell(cores=2))

    assert resolve.narrow(both, SERVERS, cores=[4]).cells == (testing.cell(cores=4),)


def test_blocks_and_sharing_are_as_asked_for() -> None:
    narrowed = resolve.narrow(WIDE, SERVERS, blocks=1, share_generator=True)

    assert (narrowed.blocks, narrowed.generator) == (1, "shared")


@pytest.mark.parametrize(
    ("option", "count", "most"),
    [
        *((option, count, 1000) for option in ("blocks", "max_blocks") for count in (0, -1, 1001)),
        *(("generator_cores", count, 100_000) for count in (0, -1)),
    ],
)
def test_a_number_that_a_file_may_not_have_is_refused_with_its_option(option: str, count: int, most: int) -> None:
    asked: dict[str, Any] = {"precision": 0.03, option: count}

    told = f"--{option.replace('_', '-')}: must be a whole number from 1 to {most}, not {count}"
    assert refused(SpecError, resolve.narrow, WIDE, SERVERS, **asked) == told
    assert getattr(resolve.narrow(WIDE, SERVERS, **{**asked, option: 1000}), option) == 1000


def test_parameters_of_workloads_that_no_cell_is_left_of_are_left_out() -> None:
    cells = (testing.cell("one", workload="sleep"), testing.cell("two", workload="cpu"))
    both = replace(testing.experiment(*cells), parameters={"sleep": {"ms": 20.0}, "cpu": {"ms": 2.0}})

    assert resolve.narrow(both, SERVERS, servers=["one"]).parameters == {"sleep": {"ms": 20.0}}


def test_precision_its_end_and_the_generators_cores_are_as_asked_for() -> None:
    narrowed = resolve.narrow(WIDE, SERVERS, precision=0.05, max_blocks=20, generator_cores=2)

    assert (narrowed.blocks, narrowed.precision, narrowed.max_blocks) == (WIDE.blocks, 0.05, 20)
    assert narrowed.generator_cores == 2
    assert narrowed.cells == WIDE.cells


def test_a_precision_without_an_end_ends_where_the_files_would() -> None:
    assert resolve.narrow(WIDE, SERVERS, precision=0.05).max_blocks == resolve.MAX_BLOCKS
    assert resolve.narrow(WIDE, SERVERS, precision=0.05, blocks=99).max_blocks == 99


SEQUENTIAL = replace(WIDE, precision=0.03, max_blocks=30)


def test_a_files_precision_and_end_stay_unless_others_are_asked_for() -> None:
    assert resolve.narrow(SEQUENTIAL, SERVERS) == SEQUENTIAL
    assert resolve.narrow(SEQUENTIAL, SERVERS, precision=0.1) == replace(SEQUENTIAL, precision=0.1)
    assert resolve.narrow(SEQUENTIAL, SERVERS, max_blocks=9) == replace(SEQUENTIAL, max_blocks=9)
    assert resolve.narrow(replace(WIDE, generator_cores=2), SERVERS).generator_cores == 2


@pytest.mark.parametrize(
    ("said", "budget_s"), [("125s", 125), ("2m", 120), ("125", 125), ("2min", 120), ("2.5min", 150), ("'60'", 60)]
)
def test_a_budget_is_a_time_and_comes_after_two_blocks(said: str, budget_s: float) -> None:
    experiment = of_group(GROUP, f"budget: {said}")

    assert (experiment.budget_s, experiment.blocks, experiment.precision) == (budget_s, 2, None)


def test_blocks_precision_or_budget_take_the_place_of_what_the_file_has() -> None:
    budgeted = resolve.narrow(SEQUENTIAL, SERVERS, budget_s=60)

    assert budgeted == replace(WIDE, blocks=2, budget_s=60)
    assert resolve.narrow(budgeted, SERVERS) == budgeted
    assert resolve.narrow(budgeted, SERVERS, blocks=7) == replace(WIDE, blocks=7)
    assert resolve.narrow(budgeted, SERVERS, precision=0.03, max_blocks=30) == replace(SEQUENTIAL, blocks=3)


@pytest.mark.parametrize("other", ["blocks", "precision"])
def test_a_budget_beside_what_says_how_long_too_is_refused(other: str) -> None:
    asked: dict[str, Any] = {"budget_s": 60, other: {"blocks": 3, "precision": 0.1}[other]}
    told = f"--budget says how long the run goes on, and so does --{other}; give one of the two"
    assert refused(SpecError, resolve.narrow, WIDE, SERVERS, **asked) == told


@pytest.mark.parametrize("precision", [0.0, -0.1, 1.0, 3.0, float("nan"), float("inf")])
def test_a_precision_that_is_no_share_is_refused(precision: float) -> None:
    told = f"--precision: must be a share such as 0.03, not {precision}"
    assert refused(SpecError, resolve.narrow, WIDE, SERVERS, precision=precision) == told


def test_an_end_without_a_precision_is_refused() -> None:
    told = "--max-blocks says where a run with precision ends; give --precision too"
    assert refused(SpecError, resolve.narrow, WIDE, SERVERS, max_blocks=9) == told


@pytest.mark.parametrize(("asked", "blocks"), [({"max_blocks": 4, "blocks": 5}, 5), ({"max_blocks": 2}, 3)])
def test_an_end_before_the_first_blocks_are_over_is_refused(asked: dict[str, Any], blocks: int) -> None:
    told = f"--max-blocks: {asked['max_blocks']} is less than the {blocks} blocks to begin with"
    assert refused(SpecError, resolve.narrow, SEQUENTIAL, SERVERS, **asked) == told


def test_a_server_that_is_unknown_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(SpecError, match="--servers: unknown server 'four'; known are one, two, three"):
        resolve.narrow(WIDE, SERVERS, servers=["one", "four"])


def test_a_server_that_the_experiment_does_not_name_is_measured_under_each_of_its_conditions() -> None:
    narrowed = resolve.narrow(WIDE, SERVERS, servers=["three", "one"])

    assert [cell for cell in narrowed.cells if cell.server == "one"] == [
        cell for cell in WIDE.cells if cell.server == "one"
    ]
    conditions = {replace(cell, server="three") for cell in WIDE.cells}
    added = [cell for cell in narrowed.cells if cell.server == "three"]
    assert set(added) == conditions
    assert len(added) == len(conditions), "each once"
    assert {cell.server for cell in narrowed.cells} == {"one", "three"}
    assert narrowed.reference == WIDE.reference == "one"
    assert resolve.narrow(WIDE, SERVERS, servers=["three"]).reference == "three"


@pytest.mark.parametrize("servers", ["gunicorn", "[1]", "{a: b}"])
def test_servers_are_all_or_a_list_of_names(servers: str) -> None:
    text = f"name: x\nreference: gunicorn-sync-1\ncells: [{{servers: {servers}, workloads: [hello], users: [1]}}]\n"
    with pytest.raises(SpecError, match=r"cells\[0\].servers: must be all, or a list of names"):
        resolve.parse(text, "x.yaml", {"gunicorn-sync-1": testing.server()}, cores=1)


@pytest.mark.parametrize(
    "wrong", ["blocks: yes", "blocks: '3'", "window_s: yes", "patience_s: '3'", "precision: '0.03'", "cells: [3]"]
)
def test_what_only_looks_like_a_number_or_a_group_is_refused(wrong: str) -> None:
    key = wrong.partition(":")[0]
    document = {
        "name": "name: x",
        "reference": "reference: gunicorn-sync-1",
        "cells": "cells: [{servers: all, workloads: [hello], users: [1]}]",
    } | {key: wrong}
    with pytest.raises(SpecError, match=f"x.yaml: {key}"):
        resolve.parse("\n".join(document.values()), "x.yaml", {"gunicorn-sync-1": testing.server()}, cores=1)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (RunOptions(task="lab.run"), [1, 2, 4, 5]),
        (RunOptions(task="lab.run", share_generator=True), [1, 2, 4, 6]),
        (RunOptions(task="lab.run", generator_cores=2), [1, 2, 4]),
        (RunOptions(task="lab.run", cores=(3,)), [3]),
    ],
)
def test_all_cores_are_those_of_the_machine_beside_the_generators_as_the_command_line_has_it(
    options: RunOptions, numbers: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "usable_cpus", lambda: frozenset(range(6)))
    here = Testbed(runtime=cast("Runtime", None), host=testing.run().host)
    file = tmp_path / "every.yaml"
    file.write_text(f"name: every\nreference: one\ncells: [{EVERY_CORE}]\n")

    experiment = measure._experiment(replace(options, file=str(file)), SERVERS, here)

    assert cores_of(experiment) == numbers


# An application of the user's own.

SHOP = """\
application: {entry: 'shop:app', source: ../shop}
requests:
  orders: {get: /orders}
  buy: {post: /orders, body_file: buy.json}
  shop: {mix: {orders: 8, buy: 1}}
"""
OF_SHOP = "name: x\nreference: one\napplication: {}\ncells: [{{servers: all, workloads: {}, users: [1]}}]\n"


def of_shop(application: str = "apps/shop.yaml", workloads: str = "all", more: str = "") -> Experiment:
    files = {"lab/apps/shop.yaml": SHOP.encode(), "lab/apps/buy.json": b"{}", "buy.json": b"[]"}
    text = OF_SHOP.format(application, workloads) + more
    return resolve.parse(text, "lab/e.yaml", SERVERS, cores=2, folder="lab", read_file=files.__getitem__)


def test_the_path_of_an_application_is_relative_to_the_experiment_and_its_paths_are_relative_to_it() -> None:
    experiment = of_shop()

    assert experiment.application is not None
    assert experiment.application.source == "lab/shop"
    assert experiment.application.requests["buy"].body == "{}"
    assert {cell.workload for cell in experiment.cells} == {"orders", "buy", "shop"}
    assert experiment.parameters == {"orders": {}, "buy": {}, "shop": {}}
    assert parse(f"name: x\nreference: one\ncells: [{GROUP}]").application is None


def test_in_place_an_applications_paths_are_relative_to_where_the_lab_is_called() -> None:
    experiment = of_shop(str(yaml.safe_load(SHOP)))

    assert experiment.application is not None
    assert experiment.application.source == "../shop"
    assert experiment.application.requests["buy"].body == "[]"


def test_an_application_of_the_command_line_is_measured_in_place_of_the_files() -> None:
    own = testing.application()

    experiment = resolve.parse(OF_SHOP.format("nowhere.yaml", "[shop]"), "e.yaml", SERVERS, cores=2, application=own)
    assert experiment.application == own
    assert {cell.workload for cell in experiment.cells} == {"shop"}


def test_all_workloads_are_those_that_there_are() -> None:
    assert {cell.workload for cell in of_group("{servers: [one], workloads: all, users: [1]}").cells} == set(WORKLOADS)
    assert [cell.workload for cell in of_shop(workloads="[orders]").cells] == ["orders"] * 3


@pytest.mark.parametrize(
    ("application", "workloads", "more", "message"),
    table(
        """
        apps/shop.yaml | [order] |  | cells[0].workloads: unknown workload 'order'; did you mean orders?
        apps/shop.yaml | [hello] |  | cells[0].workloads: unknown workload 'hello'; known are orders,
        apps/shop.yaml | all | workloads: {sleep: {ms: 1}} | workloads: are of the lab's own application
        7 | all |  | application: must be the path of an application file, or what it has, not 7
        {entry: 'a:b'} | all |  | unknown key 'application.entry'; known are application, requests
        {application: {entry: a}, requests: {r: {get: /}}} | all |  | application: application.entry: must be module:callable,
        """
    ),
)
def test_what_is_wrong_with_an_experiments_application_is_said_in_one_line(
    application: str, workloads: str, more: str, message: str
) -> None:
    assert refused(SpecError, of_shop, application, workloads, more).startswith(f"lab/e.yaml: {message}")


def test_the_users_of_a_locust_file_keep_their_connections_whatever_is_asked_and_have_no_rate() -> None:
    own = testing.application(mixes={}, locust_files={"browse": LocustFile(path="a.py", files={"a.py": ""})})
    text = "name: x\nreference: one\ncells: [{servers: [one], workloads: all, connections: [close, keep-alive], "

    cells = resolve.parse(f"{text}users: [8]}}]", "e.yaml", SERVERS, cores=2, application=own).cells
    assert [(each.workload, each.connection) for each in cells] == [
        ("orders", "close"),
        ("orders", "keep-alive"),
        ("buy", "close"),
        ("buy", "keep-alive"),
        ("browse", "keep-alive"),
    ]
    with pytest.raises(
        SpecError, match=r"^e\.yaml: workload 'browse' is a Locust file, whose users send when it says; "
    ):
        resolve.parse(f"{text}rate: [8]}}]", "e.yaml", SERVERS, cores=2, application=own)


def test_what_is_wrong_in_the_file_of_an_application_names_that_file() -> None:
    for content, told in ((b"requests: {}", "lacks the key 'application'"), (b"\xff", "is not UTF-8 text")):
        text = OF_SHOP.format("shop.yaml", "all")
        with pytest.raises(SpecError, match=rf"^lab/shop\.yaml: {told}$"):
            resolve.parse(
                text, "e.yaml", SERVERS, cores=2, folder="lab", read_file={"lab/shop.yaml": content}.__getitem__
            )


def test_the_experiment_for_applications_plans_a_verdict_on_what_is_run_in_production() -> None:
    servers = catalogue.parse((ROOT / "compose/servers.yaml").read_text(), "servers.yaml")
    path = ROOT / "experiments/application.yaml"

    experiment = resolve.parse(path.read_text(), str(path), servers, cores=1, application=testing.application(mixes={}))

    assert experiment.application is not None
    assert experiment.blocks >= stats.FEWEST_BLOCKS
    assert {cell.workload for cell in experiment.cells} == {"orders", "buy"}
    assert {(cell.users, cell.cores, cell.connection) for cell in experiment.cells} == {(32, 1, "close")}
    asked = {cell.server for cell in experiment.cells}
    assert len(asked) == 8, "its time is promised"
    assert all(name.startswith("gunicorn-") for name in asked), "nothing that another lab's machine may lack"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an application and its file, beside the one where the lab is called."""
    (tmp_path / "home").mkdir()
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.yaml").write_text(SHOP.replace("../shop", "."))
    (tmp_path / "shop" / "buy.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "shop"


def asked(**options: Any) -> Experiment:
    servers = catalogue.parse((ROOT / "compose/servers.yaml").read_text(), "servers.yaml")
    here = Testbed(runtime=cast("Runtime", None), host=testing.run().host)
    return measure._experiment(RunOptions(task="lab.run", **options), servers, here)


@pytest.mark.usefixtures("shop")
def test_the_command_line_names_an_application_and_the_lab_plans_the_experiment() -> None:
    experiment = asked(app="shop.wsgi:app", source="../shop", get="/orders")

    assert experiment.name == "application"
    assert experiment.application == Application(
        entry="shop.wsgi:app", source="../shop", requests={"orders": Request(method="GET", path="/orders")}
    )
    bare = asked(app="shop.wsgi:app").application
    assert bare == Application(entry="shop.wsgi:app", requests={"root": Request(method="GET", path="/")})


def test_the_command_line_names_an_application_by_its_file(shop: Path) -> None:
    for file in ("../shop/shop.yaml", str(shop / "shop.yaml")):
        experiment = asked(app=file)

        assert experiment.application is not None
        assert experiment.application.source == "../shop"
        assert experiment.application.requests["buy"].body == "{}"


def test_the_command_line_gives_an_experiment_its_application(shop: Path) -> None:
    file = shop / "e.yaml"
    file.write_text(OF_SHOP.format("shop.yaml", "[orders]").replace("one", "gunicorn-sync-1"))

    assert asked(file=str(file), app="shop:app", source=".", get="/orders").application == Application(
        entry="shop:app", requests={"orders": Request(method="GET", path="/orders")}
    )
    own = asked(file=str(file)).application
    assert own is not None
    assert (own.source, list(own.requests)) == ("../shop", ["orders", "buy"])


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("options", "message"),
    table(
        """
        source=../shop | --source: is of an application of your own; name that with --app, such as shop.wsgi:app
        get=/ | --get: is of an application of your own
        app=../shop/shop.yaml get=/ | --get: ../shop/shop.yaml says so already; leave it out, or change it
        app=../shop/shop.yml | application ../shop/shop.yml: cannot be read (No such file or directory); did you
        app=shop | --app: must be module:callable
        app=shop:app get=orders | --get: must begin with /
        app=shop:app source=../shap | source ../shap: is no folder here; it is the one that shop:app is
        """
    ),
)
def test_what_the_command_line_says_wrong_of_an_application_is_told_in_one_line(options: str, message: str) -> None:
    given = dict(each.split("=") for each in options.split())
    assert refused(LabError, asked, **given).startswith(message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("missing.json", "../shop/missing.json: cannot be read (No such file or directory); name a file that is there"),
        (".", "../shop: is no file; name one"),
        ("/dev/zero", "/dev/zero: is no file; name one"),
        ("large", "../shop/large: is larger than the 16 MiB that such a file may have"),
    ],
)
def test_a_file_that_is_sent_must_be_one(shop: Path, body: str, message: str) -> None:
    with (shop / "large").open("wb") as large:
        large.truncate(2**24 + 1)
    (shop / "shop.yaml").write_text(SHOP.replace("../shop", ".").replace("buy.json", body))

    assert refused(LabError, asked, app="../shop/shop.yaml") == message


# Capacity.

SOUGHT = "{servers: [one, two], workloads: [hello], connections: [keep-alive]}"


def test_a_search_for_capacity_has_closed_loops_of_as_many_users_as_fill_every_server() -> None:
    experiment = of_group(SOUGHT, "capacity: {p95_ms: 200, failures: 1%}")

    assert experiment.capacity == CapacityLimit(p95_ms=200, failures=0.01, arrivals="poisson")
    assert (experiment.budget_s, experiment.blocks) == (300, 1)
    assert {(each.users, each.rate, each.connection) for each in experiment.cells} == {(32, None, "keep-alive")}
    many = {**SERVERS, "two": testing.server("two", slots=64)}
    text = f"name: x\nreference: one\ncells: [{SOUGHT}]\ncapacity: {{p95_ms: 200}}"
    assert {each.users for each in resolve.parse(text, "e.yaml", many, cores=2).cells} == {64}
    narrowed = resolve.narrow(experiment, SERVERS, servers=["one"], budget_s=100)
    assert (narrowed.budget_s, [each.server for each in narrowed.cells]) == (100, ["one"])


def test_a_search_for_capacity_goes_on_for_longer_where_servers_are_many_and_for_no_less_than_it_takes() -> None:
    slow = of_group(SOUGHT, "capacity: {p95_ms: 1000}")

    assert slow.budget_s is not None
    assert slow.budget_s > 500
    told = refused_group(SOUGHT, "capacity: {p95_ms: 200}\nbudget: 60s")
    assert told.startswith("e.yaml: budget: 60 s is too short: 2 servers with a limit of 200 ms take ")
    for more in ("blocks: 4", "precision: 0.1"):
        told = refused_group(SOUGHT, f"capacity: {{p95_ms: 200}}\n{more}")
        assert (
            told
            == f"e.yaml: {more.partition(':')[0]}: does not go with capacity, which is looked for until a budget is used"
        )
    told = refused_group(SOUGHT, "capacity: {p95_ms: 200}\ntune: {}\nbudget: 10min")
    assert told == "e.yaml: tune: does not go with capacity; give one of the two"
    with pytest.raises(SpecError, match=r"--blocks: does not go with capacity"):
        resolve.narrow(slow, SERVERS, blocks=3)


def test_a_limit_that_a_request_by_itself_breaks_is_refused() -> None:
    group = "{servers: [one], workloads: [sleep]}"
    told = refused_group(group, "capacity: {p95_ms: 50}")
    assert (
        told
        == "e.yaml: capacity.p95_ms: 50 ms is not more than the 50 ms that a request of sleep takes by itself; give more"
    )
    assert of_group(group, "capacity: {p95_ms: 50}\nworkloads: {sleep: {ms: 20}}").capacity is not None
    # An event each 100 ms is no wait of its own.
    told = refused_group("{servers: [one], workloads: [stream]}", "capacity: {p95_ms: 2000}")
    assert "not more than the 2000 ms that a request of stream takes by itself" in told


@pytest.mark.parametrize("key", ["gap_ms", "abandon_ms"])
def test_a_search_for_capacity_has_no_users_who_could_pause_or_give_up(key: str) -> None:
    told = refused_group(f"{{servers: [one], workloads: [sleep], {key}: 100}}", "capacity: {p95_ms: 200}")

    assert (
        told == f"e.yaml: capacity.p95_ms: does not go with {key}, which says what users do; leave one of the two out"
    )
    assert of_group("{servers: [one], workloads: [sleep], idle: 2}", "capacity: {p95_ms: 200}").capacity is not None
