"""Servers by the numbers: an entry of a space, or of an experiment, stands for many rows; and what is wrong in a line."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import yaml

from tests.unit.said import refusal, table
from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.experiment import catalogue, resolve, slots, space
from wsgilab.model import Server, Stack
from wsgilab.model.errors import SpecError
from wsgilab.report.experiment import experiment_yaml
from wsgilab.report.reproduce import command
from wsgilab.run.workspace import PROJECT

SERVERS = catalogue.parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
SPACE = """
servers:
  - waitress
  - {like: gunicorn-gthread, workers: [1, 2], threads: [4, 16]}
  - {like: gunicorn-sync-1, options: ["--max-requests={n}"], values: {n: [100, 1000]}, name: "again-{n}"}
"""


def parse(text: str) -> Mapping[str, Server]:
    return space.parse(text, "space.yaml", SERVERS)


def test_an_entry_stands_for_a_row_for_each_combination_of_its_values() -> None:
    found = parse(SPACE)

    assert list(found) == [
        *("waitress", "gunicorn-gthread-1x4", "gunicorn-gthread-1x16", "gunicorn-gthread-2x4", "gunicorn-gthread-2x16"),
        *("again-100", "again-1000"),
    ]
    made = found["gunicorn-gthread-2x16"]
    assert made.command == (
        "gunicorn",
        "--worker-class=gthread",
        "--workers=2",
        "--threads=16",
        "wsgilab_door.wsgi:app",
    )
    assert (made.slots, made.processes, made.model, made.stack) == (32, 2, "threads", "gunicorn")
    assert (made.extends, made.like) == ("gunicorn-gthread-8", "gunicorn-gthread-8")
    assert made.summary == "gunicorn-gthread-8 with 2 workers, 16 threads"
    assert found["gunicorn-gthread-2x4"] is SERVERS["gunicorn-gthread-2x4"], "there already, and the same"
    assert found["again-100"].command == ("gunicorn", "--max-requests=100", "wsgilab_door.wsgi:app")


def test_each_program_has_options_of_its_own() -> None:
    found = parse(
        """
        servers:
          - {like: waitress, threads: [6], connections: [50]}
          - {like: granian, workers: [2], threads: [6]}
          - {like: uwsgi-2x4, workers: [3], threads: [5]}
          - {like: cheroot, threads: [7]}
          - {like: gunicorn-gevent, workers: [2], connections: [32]}
          - {like: gunicorn-sync, workers: [1, 2]}
        """
    )
    assert [each.slots for each in found.values()] == [6, 12, 15, 7, 64, 1, 2]
    assert found["gunicorn-sync-1"] is SERVERS["gunicorn-sync-1"], "which has one worker by default"
    waitress = found["waitress-6x50"].command
    assert waitress.index("--threads=6") < waitress.index("wsgilab_door.wsgi:app"), "it takes no option behind that"


@pytest.mark.parametrize(
    ("entry", "said"),
    table(
        """
        {like: gunicorn-gthread, threds: [1]} | servers[0]: unknown key 'threds'; known are like, workers, threads
        {threads: [1]} | servers[0]: lacks the key 'like'
        {like: gunicorn-gthread} | servers[0]: has no lists of values, such as threads: [8, 16]
        {like: gunicorn-gthred, threads: [1]} | servers[0].like: unknown server 'gunicorn-gthred'; did you mean
        {like: gunicorn-gthread, threads: [0]} | servers[0]: threads[0]: must be a whole number from 1
        {like: bjoern, threads: [1]} | servers[0].threads: is not known of python; name its option in options
        {like: waitress, workers: [1]} | servers[0].workers: is not known of waitress-serve
        {like: waitress, options: [--x={n}]} | servers[0].options: there are no values for {n}; give them in values
        {like: waitress, threads: [1], values: {n: [1]}} | servers[0].values: no option has {n}
        {like: waitress, options: [--x=1]} | servers[0]: has no values to call it by; give it a name
        {like: waitress, threads: [2, 3], name: x} | servers[0]: x is another configuration already
        {like: waitress, threads: [2], name: A} | servers[0]: 'A' is no name of a server
        {like: gunicorn-sync-1, options: [--max-requests={n}], values: {n: [4]}} | gunicorn-sync-4 is another configuration already
        {like: gunicorn-sync-1, options: ["--bind={n}"], values: {n: [4]}} | the lab says where a server listens
        nobody | servers: unknown server 'nobody'
        7 | servers: must be a list of names of servers, and of entries such as
        """
    ),
)
def test_what_is_wrong_is_said_in_a_line(entry: str, said: str) -> None:
    entry = entry.replace("[--x={n}]", '["--x={n}"]').replace("[--max-requests={n}]", '["--max-requests={n}"]')
    message = refusal(SpecError, parse, f"servers:\n  - {entry}\n")

    assert message.startswith("space.yaml: ")
    assert said in message


def test_too_many_are_refused_before_they_are_made() -> None:
    many = list(range(1, 1000))
    message = refusal(SpecError, parse, f"servers: [{{like: gunicorn-gthread, workers: {many}, threads: {many}}}]")
    assert "comes to 998,001 configurations, and may come to 500" in message


# --- in an experiment

EXPERIMENT = """
name: sizes
reference: gunicorn-gthread-2x16
cells:
  - {servers: [gunicorn-sync-1, {like: gunicorn-gthread, workers: [2], threads: [8, 16]}], workloads: [sleep], users: [8]}
  - {servers: all, workloads: [hello], users: [8]}
"""


def test_an_experiment_measures_rows_that_nobody_wrote_and_all_is_still_the_catalogue() -> None:
    made = resolve.rows(EXPERIMENT, "e.yaml", SERVERS)
    # As the lab calls it, with the rows among the servers; and by itself.
    for known in (SERVERS, {**SERVERS, **made}):
        experiment = resolve.parse(EXPERIMENT, "e.yaml", known, cores=2)

        asked = [cell.server for cell in experiment.cells if cell.workload == "sleep"]
        assert asked == ["gunicorn-sync-1", "gunicorn-gthread-2x8", "gunicorn-gthread-2x16"]
        assert [cell.server for cell in experiment.cells if cell.workload == "hello"] == list(SERVERS)
    assert list(made) == ["gunicorn-gthread-2x8", "gunicorn-gthread-2x16"]
    assert "e.yaml: cells[0].servers[1]: unknown key" in refusal(
        SpecError, resolve.rows, EXPERIMENT.replace("threads", "fibres"), "e.yaml", SERVERS
    )


def test_what_a_run_measured_is_an_experiment_again_without_any_other_file() -> None:
    made = resolve.rows(EXPERIMENT, "e.yaml", SERVERS)
    experiment = resolve.parse(
        EXPERIMENT.split("  - {servers: all", maxsplit=1)[0], "e.yaml", {**SERVERS, **made}, cores=2
    )
    run = testing.run(experiment, *({**SERVERS, **made}[cell.server] for cell in experiment.cells))

    text = experiment_yaml(compare(run, []))["experiment.yaml"].decode()

    again = resolve.rows(text, "experiment.yaml", SERVERS)
    assert {name: (each.command, each.slots) for name, each in again.items()} == {
        name: (each.command, each.slots) for name, each in made.items()
    }
    assert resolve.parse(text, "experiment.yaml", SERVERS, cores=2).cells == experiment.cells
    assert "--catalogue" not in command(run)
    assert yaml.safe_load(text)["cells"][0]["servers"][0] == "gunicorn-sync-1"


# --- the usual space


@pytest.mark.parametrize("cores", [1, 2, 4, 16])
@pytest.mark.parametrize("users", [1, 8, 64, 1000, None])
def test_the_usual_space_is_of_all_kinds_and_of_a_size_that_can_be_raced(cores: int, users: int | None) -> None:
    found = space.rows(space.usual(cores, users), SERVERS, "usual")

    assert len(found) <= 40
    if (users or 64) >= 32:
        assert len(found) >= 24
    assert {"gunicorn-sync-1", "gunicorn-gevent"} <= found.keys()
    assert {each.model for each in found.values()} == {"process", "threads", "coroutines"}
    assert max(each.processes or 0 for each in found.values()) <= 8 * cores
    for each in found.values():
        known = slots.work_out(each.command, each.environment)
        assert (each.slots, each.processes) == (known.slots, known.processes)


def test_of_too_many_those_with_the_fewest_processes_stay_and_one_that_is_named() -> None:
    found = space.rows(space.usual(2, 64), SERVERS, "usual")
    fewer = space.fewest_processes(found, 6, "gunicorn-sync-8")

    assert len(fewer) == 6
    assert "gunicorn-sync-8" in fewer
    assert all(each.processes == 1 for each in fewer.values() if each.name != "gunicorn-sync-8")


def test_the_space_in_the_docs_is_one() -> None:
    page = (PROJECT / "docs" / "tune.md").read_text()
    (block,) = (each for each in page.split("\n\n") if each.lstrip().startswith("# yaml-language-server"))

    assert {"gunicorn-gevent", "gunicorn-gthread-4x40", "waitress-16x200", "restarts-5000"} <= parse(block).keys()


# --- what a command does not say


def test_a_row_may_have_variables_of_its_own_and_declare_what_its_command_does_not_say() -> None:
    text = """
name: mine
cells:
  - servers:
      - {like: gunicorn-gthread, threads: [8], environment: {LAB_DB_POOL: 4}, name: few}
      - {like: uvicorn-a2wsgi, options: [--limit-concurrency=5], slots: 10, processes: 1, model: threads, name: limited}
    workloads: [sleep]
    users: [8]
reference: few
"""
    made = resolve.rows(text, "e.yaml", SERVERS)

    assert (made["few"].environment["LAB_DB_POOL"], made["few"].slots) == ("4", 8)
    assert made["few"].summary == "gunicorn-gthread-8 with 8 threads"
    assert (made["limited"].slots, made["limited"].processes, made["limited"].model) == (10, 1, "threads")
    assert made["limited"].command[-1] == "--limit-concurrency=5"

    experiment = resolve.parse(text, "e.yaml", {**SERVERS, **made}, cores=2)
    written = experiment_yaml(compare(testing.run(experiment, *made.values()), []))["experiment.yaml"].decode()
    again = resolve.rows(written, "experiment.yaml", SERVERS)
    assert {name: (each.command, each.environment, each.slots) for name, each in again.items()} == {
        name: (each.command, each.environment, each.slots) for name, each in made.items()
    }


def test_variables_that_are_the_labs_own_are_refused() -> None:
    entry = "{like: gunicorn-sync-1, environment: {LAB_BIND: x}, name: mine}"
    with pytest.raises(SpecError, match="LAB_BIND: variables that begin with LAB_ are the lab's own"):
        parse(f"servers: [{entry}]")


def test_several_releases_of_a_server_are_repeated_by_that_server_and_the_releases() -> None:
    base = SERVERS["gunicorn-sync-1"]
    rows = {
        f"gunicorn-sync-1-{release.replace('.', '-')}": replace(
            base,
            name=f"gunicorn-sync-1-{release.replace('.', '-')}",
            extends=base.name,
            stack=f"gunicorn-at-gunicorn-{release.replace('.', '-')}",
        )
        for release in ("23.0.0", "27.0.1")
    }
    cells = [testing.cell(name) for name in rows]
    stacks = {
        each.stack: Stack(digest="d", packages={"gunicorn": release, "flask": "3.1.3"})
        for each, release in zip(rows.values(), ("23.0.0", "27.0.1"), strict=True)
    }
    run = testing.run(testing.experiment(*cells), *rows.values(), stacks=stacks)

    assert "--servers gunicorn-sync-1 --release gunicorn=23.0.0,27.0.1 " in command(run)
    assert "--catalogue" not in command(run)
    text = experiment_yaml(compare(run, []))["experiment.yaml"].decode()
    again = resolve.parse(text, "experiment.yaml", SERVERS, cores=2)
    assert [cell.server for cell in again.cells] == ["gunicorn-sync-1"]
    assert again.reference == "gunicorn-sync-1"
