"""A new experiment file: it parses as it is, and with each of its alternatives."""

import json
import re
from dataclasses import fields
from itertools import groupby

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.unit.said import refusal
from wsgilab import commands, testing
from wsgilab.experiment import catalogue, resolve
from wsgilab.experiment.file import CellGroup, ExperimentFile
from wsgilab.experiment.parsing import short
from wsgilab.experiment.scaffold import new_experiment
from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model import Experiment
from wsgilab.model.errors import SpecError
from wsgilab.run.workspace import PROJECT

SERVERS = catalogue.parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
SCHEMA = json.loads((commands.PROJECT / "schemas" / "experiment.json").read_text())
TEXT = new_experiment("mine", SERVERS)
LINES = TEXT.splitlines()
SOME = "gunicorn-sync-1, gunicorn-gthread-8, gunicorn-gevent"
ALTERNATIVE = re.compile(r"( *)#(?=[^ #])")
"""How an alternative begins, and what is taken away to have it."""


def parse(text: str) -> Experiment:
    return resolve.parse(text, "experiments/mine.yaml", SERVERS, cores=4)


def alternatives() -> list[list[int]]:
    """The numbers of lines that belong together."""
    runs = groupby(enumerate(LINES), lambda numbered: bool(ALTERNATIVE.match(numbered[1])))
    return [[number for number, _ in run] for is_alternative, run in runs if is_alternative]


ALTERNATIVES = alternatives()


def chosen(*numbers: int) -> str:
    """The file with these lines in place of comments."""
    return "\n".join(ALTERNATIVE.sub(r"\1", line) if at in numbers else line for at, line in enumerate(LINES))


def test_it_is_an_experiment_as_it_is() -> None:
    experiment = parse(TEXT)

    assert experiment.name == "mine"
    assert {cell.server for cell in experiment.cells} == {"gunicorn-sync-1", "gunicorn-gthread-8", "gunicorn-gevent"}
    assert {cell.workload for cell in experiment.cells} == {"sleep", "cpu"}
    assert {(cell.users, cell.cores, cell.connection) for cell in experiment.cells} == {(16, 1, "close")}
    assert experiment.reference == "gunicorn-sync-1"
    assert Draft202012Validator(SCHEMA).is_valid(yaml.safe_load(TEXT))


def test_there_is_an_alternative_for_everything_that_is_left_out() -> None:
    told = ["\n".join(ALTERNATIVE.sub("", LINES[number]) for number in numbers) for numbers in ALTERNATIVES]

    assert told == [
        "precision: 0.03\nmax_blocks: 50",
        "patience_s: 10",
        "generator: shared",
        "generator_cores: 2",
        "connections: [close, keep-alive]",
        "cores: [1, 2]",
        "cores: all",
        "idle: 4",
        "gap_ms: 2100",
        "abandon_ms: 500",
        "during: {at_s: 0.2, do: reload}",
        "quota: 0.5",
        "- {servers: all, workloads: [sleep], users: [16]}",
        f"- {{servers: [{SOME}], workloads: [sleep], rate: [10], arrivals: poisson}}",
    ]


@pytest.mark.parametrize("numbers", ALTERNATIVES, ids=lambda numbers: LINES[numbers[0]].strip())
def test_with_each_of_its_alternatives_it_is_another_experiment(numbers: list[int]) -> None:
    document = yaml.safe_load(chosen(*numbers))

    parse(chosen(*numbers))
    assert document != yaml.safe_load(TEXT)
    assert Draft202012Validator(SCHEMA).is_valid(document)


def test_with_all_of_its_alternatives_that_go_together_it_is_an_experiment() -> None:
    (every_core,) = [number for number, line in enumerate(LINES) if line.strip() == "#cores: all"]
    experiment = parse(chosen(*(number for run in ALTERNATIVES for number in run if number != every_core)))

    assert {cell.connection for cell in experiment.cells} == {"close", "keep-alive"}
    assert {cell.cores for cell in experiment.cells} == {1, 2}
    assert {cell.rate for cell in experiment.cells} == {None, 10}
    assert {cell.server for cell in experiment.cells} == set(SERVERS)
    assert (experiment.precision, experiment.generator, experiment.generator_cores) == (0.03, "shared", 2)


def test_what_is_said_of_defaults_is_so() -> None:
    said = new_experiment("mine", SERVERS)
    bare = parse("name: x\nreference: gunicorn-sync-1\ncells: [{servers: all, workloads: [sleep], rate: [1]}]")

    assert f"#patience_s: {bare.patience_s:g}\n" in said
    assert f"#max_blocks: {resolve.MAX_BLOCKS}\n" in said
    assert {(cell.connection, cell.cores, cell.arrivals) for cell in bare.cells} == {("close", 1, "constant")}
    for name, each in WORKLOADS.items():
        if each.parameters:
            parameters = ", ".join(f"{key}: {parameter.usual:g}" for key, parameter in each.parameters.items())
            assert f"\n#   {name}: {{{parameters}}}\n" in said


def test_every_key_is_there_after_a_line_that_explains_it() -> None:
    keys = {each.name for shape in (ExperimentFile, CellGroup) for each in fields(shape)}
    explained: set[str] = set()
    told = False
    for line in LINES:
        plain = ALTERNATIVE.sub("", line).strip(" -")
        if plain.startswith("# "):
            told = True
        elif not plain:
            told = False
        elif told:
            explained |= set(re.findall(r"(?:^|[{ ])([a-z_]+):", plain))
    assert keys - explained == {"budget", "capacity", "tune"}, "which do not go with blocks"
    assert "`budget: 120s`" in TEXT
    assert "`capacity: {p95_ms: 200}`" in TEXT
    assert parse(TEXT.replace("\nblocks: 11\n", "\nbudget: 120s\n")).budget_s == 120


@pytest.mark.parametrize("name", ["404", "null", "1e3", "on", "0x1", "2026-01-02", "a", "x" * 64])
def test_a_name_that_yaml_would_take_for_something_else_is_quoted(name: str) -> None:
    assert parse(new_experiment(name, SERVERS)).name == name


@pytest.mark.parametrize("name", ["", "A Name", "../x", "-x", "x" * 65, "x\n", "x: y", "x.yaml", "é"])
def test_a_name_that_could_not_name_an_experiment_is_refused_with_what_could(name: str) -> None:
    message = refusal(SpecError, new_experiment, name, SERVERS)

    assert message.startswith("the name of an experiment: must be lower-case letters, digits and hyphens, 64 ")
    assert message.endswith(f", not {short(name)}")


def test_a_catalogue_without_the_usual_servers_gives_its_first_three() -> None:
    servers = {name: testing.server(name) for name in ("404", "two", "three", "four")}
    experiment = resolve.parse(new_experiment("mine", servers), "e.yaml", servers, cores=1)

    assert list(dict.fromkeys(cell.server for cell in experiment.cells)) == ["404", "two", "three"]
    assert experiment.reference == "404"
    one = {"only": testing.server("only")}
    assert resolve.parse(new_experiment("mine", one), "e.yaml", one, cores=1).reference == "only"
