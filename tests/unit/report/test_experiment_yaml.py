"""A run's experiment as a file: whoever runs it measures the same again."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runs import TESTS, stored
from wsgilab import testing
from wsgilab.analysis.compare import compare, survey
from wsgilab.experiment import catalogue, resolve, workloads
from wsgilab.model import CapacityLimit, Cell, Circumstances, During, Experiment, Idle, Run
from wsgilab.report.experiment import experiment_yaml

NAMES = ("one", "two", "404", "null")
SERVERS = {name: testing.server(name) for name in NAMES}


def written(run: Run) -> str:
    ((name, content),) = experiment_yaml(compare(run, [])).items()
    assert name == "experiment.yaml"
    return content.decode()


def again(experiment: Experiment) -> Experiment:
    return resolve.parse(written(testing.run(experiment)), "experiment.yaml", SERVERS, cores=1)


def groups(experiment: Experiment) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(written(testing.run(experiment)))["cells"]
    return found


# Real runs.


@pytest.mark.parametrize(
    ("folder", "most"), [("recorded/answer", 3), ("recorded/before", 2), ("unit/recorded/claims", 14)]
)
def test_a_recorded_run_gives_its_experiment_again_in_few_groups(folder: str, most: int) -> None:
    servers = catalogue.parse((TESTS.parent / "compose" / "servers.yaml").read_text(), "servers.yaml")
    run = stored(folder).run()
    text = written(run)

    assert resolve.parse(text, "experiment.yaml", servers, cores=1) == run.experiment
    assert len(yaml.safe_load(text)["cells"]) == most


def test_a_run_of_an_application_holds_it_whole() -> None:
    own = testing.application(env={"A": "b: c\x85d"}, backends=("postgres",))
    cells = [testing.cell("one", workload=name) for name in ("orders", "shop")]
    experiment = testing.experiment(*cells, application=own)

    assert again(experiment) == experiment
    assert yaml.safe_load(written(testing.run(experiment)))["application"]["application"]["source"] == "../shop"


def test_a_budget_is_said_in_place_of_blocks() -> None:
    experiment = testing.experiment(testing.cell("one"), blocks=2, budget_s=125.0)

    assert again(experiment) == experiment
    assert yaml.safe_load(written(testing.run(experiment)))["budget"] == 125


def test_a_search_for_capacity_is_said_without_the_users_that_it_begins_with() -> None:
    limit = CapacityLimit(p95_ms=200.0, failures=0.01, arrivals="constant")
    cells = [testing.cell(name, users=32) for name in ("one", "two")]
    experiment = testing.experiment(*cells, blocks=1, budget_s=125.0, window_s=1.0, capacity=limit)

    assert again(experiment) == experiment
    document = yaml.safe_load(written(testing.run(experiment)))
    assert document["capacity"] == {"p95_ms": 200, "failures": 0.01, "arrivals": "constant"}
    assert document["cells"] == [
        {"servers": ["one", "two"], "workloads": ["sleep"], "connections": ["close"], "cores": [1]}
    ]


# Any run.

SECONDS = st.one_of(st.integers(1, 3600).map(float), st.floats(1e-9, 3600))
LOADS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(dict, users=st.sampled_from([1, 10, 32])),
    st.builds(
        dict,
        users=st.none(),
        rate=st.one_of(st.sampled_from([1.0, 10.0, 32.0]), st.floats(1e-6, 1e5)),
        arrivals=st.sampled_from(["constant", "poisson"]),
    ),
)
CIRCUMSTANCES = st.sampled_from(
    [
        None,
        Circumstances(idle=Idle(connections=4, send="half")),
        Circumstances(during=During(at_s=0.5, do="kill-worker"), quota=0.25),
    ]
)
CELLS = st.builds(
    lambda server, cores, workload, load, connection, circumstances: replace(
        testing.cell(server, cores=cores, workload=workload, connection=connection),
        circumstances=circumstances,
        **load,
    ),
    st.sampled_from(NAMES),
    st.integers(1, 3),
    st.sampled_from(["hello", "sleep", "mixed", "slow-client"]),
    LOADS,
    st.sampled_from(["close", "keep-alive"]),
    CIRCUMSTANCES,
)
GROUPS = st.fixed_dictionaries(
    {
        "servers": st.one_of(st.just("all"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)),
        "workloads": st.lists(st.sampled_from(list(workloads.WORKLOADS)), min_size=1, max_size=3),
        "users": st.lists(st.integers(1, 100), min_size=1, max_size=3),
        "connections": st.lists(st.sampled_from(["close", "keep-alive"]), min_size=1),
        "cores": st.one_of(st.just("all"), st.lists(st.integers(1, 4), min_size=1, max_size=2)),
    }
)


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    """Of cells in any order, as no file would have them."""
    cells = draw(st.lists(CELLS, min_size=1, max_size=24, unique=True))
    blocks = draw(st.integers(1, 1000))
    precision = draw(st.one_of(st.none(), st.floats(1e-6, 0.999)))
    parameters = workloads.parameters({cell.workload for cell in cells}, {"sleep": {"ms": draw(SECONDS)}})
    return testing.experiment(
        *cells,
        name=draw(st.from_regex(r"[a-z0-9][a-z0-9-]{0,63}", fullmatch=True)),
        blocks=blocks,
        # The circumstances need so much.
        window_s=min(3600.0, draw(SECONDS) + 1.0),
        patience_s=draw(SECONDS),
        reference=draw(st.sampled_from(NAMES)),
        generator=draw(st.sampled_from(["own", "shared"])),
        generator_cores=draw(st.integers(1, 8)),
        parameters=parameters,
        precision=precision,
        max_blocks=None if precision is None else draw(st.integers(blocks, 1000)),
    )


@given(experiments())
def test_any_experiment_comes_back_as_it_was(experiment: Experiment) -> None:
    assert again(experiment) == experiment


@given(st.lists(GROUPS, min_size=1, max_size=4), st.integers(1, 6))
def test_what_a_file_asks_for_is_asked_for_again_whatever_machine_it_is(
    asked: list[dict[str, Any]], cores: int
) -> None:
    text = yaml.safe_dump({"name": "x", "reference": "one", "cells": asked})
    experiment = resolve.parse(text, "x.yaml", SERVERS, cores=cores)

    assert again(experiment) == experiment


@given(experiments(), st.sets(st.sampled_from(NAMES), min_size=1), st.sets(st.integers(1, 4)))
def test_what_the_command_line_narrowed_is_asked_for_again(
    experiment: Experiment, servers: set[str], cores: set[int]
) -> None:
    there = [name for name in servers if any(cell.server == name for cell in experiment.cells)]
    narrowed = resolve.narrow(experiment, SERVERS, servers=there, cores=sorted(cores))

    assert again(narrowed) == narrowed


# How it reads.


def product_of(**lists: Any) -> tuple[Cell, ...]:
    """Cells as a file with one group of these lists has them."""
    usual = {"servers": "all", "workloads": ["hello"], "users": [1]}
    asked = {**{key: value for key, value in usual.items() if not (key == "users" and "rate" in lists)}, **lists}
    text = yaml.safe_dump({"name": "x", "reference": "one", "cells": [asked]})
    return resolve.parse(text, "x.yaml", SERVERS, cores=4).cells


@pytest.mark.parametrize(
    "lists",
    [
        {},
        {"users": [1, 8, 32]},
        {"rate": [0.5, 20], "arrivals": "poisson"},
        {"workloads": ["hello", "sleep", "cpu"], "users": [1, 8], "connections": ["close", "keep-alive"]},
        {"cores": "all", "workloads": ["cpu", "sleep"]},
        {"servers": ["two", "one"], "cores": [2, 1], "connections": ["keep-alive", "close"]},
    ],
)
def test_the_cells_of_one_group_are_one_group_again(lists: dict[str, Any]) -> None:
    (group,) = groups(testing.experiment(*product_of(**lists)))

    assert group["servers"] == (lists.get("servers") or list(NAMES))
    assert group.get("rate") == lists.get("rate")
    assert group["connections"] == lists.get("connections", ["close"])
    assert group["cores"] == ([1, 2, 3] if lists.get("cores") == "all" else lists.get("cores", [1]))


def test_users_and_rates_and_rates_that_are_spaced_otherwise_are_in_groups_of_their_own() -> None:
    cell = testing.cell("one", workload="hello", users=None)
    found = groups(
        testing.experiment(
            replace(cell, users=8),
            replace(cell, rate=8.0, arrivals="constant"),
            replace(cell, rate=8.0, arrivals="poisson"),
            replace(cell, rate=9.5, arrivals="poisson"),
        )
    )

    assert [(each.get("users"), each.get("rate"), each.get("arrivals")) for each in found] == [
        ([8], None, None),
        (None, [8], "constant"),
        (None, [8, 9.5], "poisson"),
    ]


def test_what_is_there_by_default_is_spelled_out_all_the_same() -> None:
    cells = [testing.cell("one", workload=workload) for workload in ("cpu", "hello")]
    text = written(testing.run(testing.experiment(*cells)))

    assert yaml.safe_load(text) == {
        "name": "trial-run",
        "blocks": 3,
        "window_s": 0.3,
        "patience_s": 5,
        "generator": "own",
        "generator_cores": 1,
        "reference": "one",
        "workloads": {"cpu": {"ms": 2}},
        "cells": [
            {"servers": ["one"], "workloads": ["cpu", "hello"], "users": [32], "connections": ["close"], "cores": [1]},
        ],
    }
    assert "\n- servers: [one]\n  workloads: [cpu, hello]\n  users: [32]\n" in text


def test_it_says_which_run_it_is_from_and_how_to_have_it_again() -> None:
    run = testing.run(testing.experiment(testing.cell("one")), seed=17)

    assert written(run).startswith(
        "# What the run 20260102-030405-trial-run measured, every cell and every parameter spelled out.\n"
        "# The same again, in the same order, where FILE is this one:\n"
        "#   invoke lab.run --experiment FILE --runtime local --seed 17\n"
        "name: trial-run\n"
    )


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x85", "\u2028", "\u2029", "\x00", "\ud800", "\ufffe", "\x1b"])
def test_a_runs_id_stays_within_its_comment(end: str) -> None:
    run = testing.run(testing.experiment(testing.cell("one")), id=f"été{end}blocks: 999 #")
    text = written(run)

    assert text.splitlines()[0].startswith("# What the run été?")
    assert resolve.parse(text, "experiment.yaml", SERVERS, cores=1) == run.experiment


def test_an_interactive_session_has_no_experiment_to_repeat() -> None:
    asked = testing.experiment(testing.cell("one"))
    run = testing.run(asked, experiment=replace(asked, cells=()))

    assert experiment_yaml(survey(run, [testing.observation(testing.cell("one"))])) == {}
