"""A catalogue file of the user's own: rows from those of the lab, and what is wrong in a line."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.said import refusal, table
from wsgilab.commands import Workspace
from wsgilab.commands.measure import with_own_rows
from wsgilab.experiment import catalogue, own_catalogue
from wsgilab.experiment.slots import GUNICORN_SETTINGS
from wsgilab.model import Server
from wsgilab.model.errors import LabError, SpecError, UsageError
from wsgilab.run.workspace import PROJECT, choose_servers, with_catalogue
from wsgilab.testing import cell, experiment

SERVERS = catalogue.parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
GTHREAD, SYNC = SERVERS["gunicorn-gthread-8"], SERVERS["gunicorn-sync-1"]


def read_file(path: str) -> bytes:
    files = {"mine/conf.py": b"threads = 6\n# $5\n", "mine/large.py": b"#" * 2**15, "mine/latin.py": b"\xe9"}
    if path not in files:
        raise UsageError(f"{path}: cannot be read")
    return files[path]


def parse(text: str) -> Mapping[str, Server]:
    return own_catalogue.parse(text, "mine.yaml", SERVERS, folder="mine", read_file=read_file)


def row(text: str) -> Server:
    (found,) = parse(f"servers: {{mine: {{{text}}}}}").values()
    return found


def test_a_row_is_another_one_with_what_differs() -> None:
    found = row("extends: gunicorn-gthread-8, options: [--threads=16, --timeout=5], environment: {A: 1, B: x}")

    assert found.command == (
        *("gunicorn", "--worker-class=gthread", "--workers=1", "--threads=16", "wsgilab_door.wsgi:app"),
        "--timeout=5",
    )
    assert found.environment == {**GTHREAD.environment, "A": "1", "B": "x"}
    assert (found.name, found.extends, found.stack) == ("mine", "gunicorn-gthread-8", "gunicorn")
    assert (found.slots, found.processes, found.model) == (16, 1, "threads")
    assert found.summary == "gunicorn-gthread-8 with --threads=16 --timeout=5 A=1 B=x"


def test_a_row_may_extend_one_above_it_and_a_whole_command_takes_the_place_of_anothers() -> None:
    found = parse(
        """
        servers:
          more: {extends: gunicorn-gthread-8, options: [--workers=2], summary: two of them}
          most: {extends: more, options: [--threads=1]}
          flask: {extends: gunicorn-sync-1, command: [python, -m, wsgilab_door.dev_server]}
        """
    )

    assert [(each.slots, each.processes) for each in found.values()] == [(16, 2), (2, 2), (None, 1)]
    assert {each.extends for each in found.values()} == {"gunicorn-gthread-8", "gunicorn-sync-1"}, "rows of the lab's"
    assert found["more"].summary == "two of them"


def test_words_for_gunicorn_come_after_the_labs_and_a_file_reaches_the_server_as_text() -> None:
    found = row("extends: gunicorn-sync-1, environment: {GUNICORN_CMD_ARGS: --workers=3}, config: conf.py")

    assert found.environment["GUNICORN_CMD_ARGS"] == f"{SYNC.environment['GUNICORN_CMD_ARGS']} --workers=3"
    text = catalogue.interpolate(found.environment[GUNICORN_SETTINGS], {})
    assert text.isprintable(), "results can record it"
    assert json.loads(text) == "threads = 6\n# $5\n"
    assert (found.slots, found.processes, found.model) == (18, 3, "threads")


def test_what_a_row_says_itself_is_not_worked_out() -> None:
    serve = "extends: gunicorn-sync-1, command: [waitress-serve, '--listen=${LAB_BIND}', 'wsgilab_door.wsgi:app']"

    found = row(f"{serve}, slots: 4, processes: unbounded, model: threads")

    assert (found.slots, found.processes, found.model) == (4, None, "threads")
    assert row("extends: gunicorn-gthread-8, options: [--threads=3], slots: 2").slots == 2


def test_of_a_row_with_nothing_but_a_variable_slots_are_those_that_it_extends() -> None:
    unknown = {"custom": replace(SYNC, name="custom", command=("uwsgi",), slots=7)}
    found = own_catalogue.parse(
        "servers: {mine: {extends: custom, environment: {A: b}}}", "m", unknown, folder=".", read_file=read_file
    )

    assert found["mine"].slots == 7


@pytest.mark.parametrize(
    ("text", "told"),
    table(
        r"""
        [] | mine.yaml: is not a catalogue of your own; it must begin with keys such as servers
        servers: {} | mine.yaml: servers: dictionary should have at least 1 item
        servers: {gunicorn-sync-1: {extends: gunicorn-sync-4}} | is the name of a server of the lab's; choose anoth
        servers: {mine: {extends: gunicorn-sync-9}} | servers.mine.extends: unknown server 'gunicorn-sync-9'; did y
        servers: {b: {extends: a}, a: {extends: gunicorn-sync-1}} | servers.b.extends: unknown server 'a'
        servers: {mine: {options: [-w 2]}} | mine.yaml: lacks the key 'servers.mine.extends'
        servers: {mine: {SYNC, optoins: []}} | unknown key 'servers.mine.optoins'; known are ext
        servers: {mine: {SYNC, options: --threads=2}} | must be a list of words such as [--thr
        servers: {mine: {SYNC, command: []}} | command: must be a list of words
        servers: {mine: {SYNC, slots: 0}} | slots: must be a whole number from 1, or unbounded
        servers: {mine: {SYNC, options: [--workers=0]}} | come to 0 slots; it needs 1 at least
        servers: {"a b": {SYNC}} | must be lower-case letters, digits and hyphens
        servers: {"a\u000a": {SYNC}} | must be lower-case letters, digits and hyphens
        servers: {"../up": {SYNC}} | must be lower-case letters, digits and hyphens
        servers: {mine: {SYNC, options: ["-w\u000a2"]}} | must be a list of words
        servers: {mine: {SYNC, environment: {A: "\e[1m"}}} | must be a number, or text on one
        servers: {mine: {SYNC, environment: {A: yes}}} | must be a number, or text on one line
        servers: {mine: {SYNC, environment: {LAB_APP: x}}} | begin with LAB_ are the lab's own
        servers: {mine: {SYNC, environment: {A: $HOME}}} | environment: unknown placeholder HOME
        servers: {mine: {SYNC, options: [$]}} | options: '$': a $ that begins no placeholder
        servers: {mine: {SYNC, options: [-c, x.py]}} | names a file with -c or --config; give it
        servers: {mine: {SYNC, environment: {GUNICORN_CMD_ARGS: --config=x.py}}} | environment.GUNICORN_CMD_ARGS: names a file with -c or --config; give it as config: x.py
        servers: {mine: {SYNC, environment: {GUNICORN_CMD_ARGS: "'"}}} | environment.GUNICORN_CMD_ARGS: no closing quotation; quote it as a shell does
        servers: {mine: {SYNC, options: [-b, ':1']}} | -b: the lab says where a server listens
        servers: {mine: {SYNC, options: [--workers]}} | options: argument -w/--workers: expected
        servers: {mine: {SYNC, config: none.py}} | mine/none.py: cannot be read
        servers: {mine: {SYNC, config: large.py}} | large.py: has 32,768 bytes, and may have 16,384
        servers: {mine: {SYNC, config: latin.py}} | latin.py: is not UTF-8 text
        servers: {mine: {extends: flask-default, config: conf.py}} | is a file for Gunicorn, which python is not
        servers: {mine: {SYNC, command: [hypercorn], slots: 4}} | cannot be worked out, because hypercorn is none of gunicorn, waitress-serve, cheroot, granian, uwsgi and the development server; give slots, processes and
        """
    ),
)
def test_what_is_wrong_is_told_in_a_line(text: str, told: str) -> None:
    message = refusal(LabError, parse, text.replace("SYNC", "extends: gunicorn-sync-1"))

    assert told in message
    assert message.isprintable()


def test_it_is_read_beside_the_labs_catalogue_with_paths_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "gunicorn.conf.py").write_text("workers = 2\n")
    (tmp_path / "mine.yaml").write_text("servers: {mine: {extends: gunicorn-sync-1, config: conf/gunicorn.conf.py}}\n")
    monkeypatch.chdir(tmp_path)
    plain = Workspace(
        project=PROJECT, catalogue=PROJECT / "compose/servers.yaml", results=tmp_path, state=tmp_path, ports=""
    )

    there = with_catalogue(plain, "mine.yaml")
    monkeypatch.chdir("/")

    found = choose_servers(there, ["mine", "gunicorn-sync-4"])
    assert {name: each.slots for name, each in found.items()} == {"gunicorn-sync-4": 4, "mine": 2}
    assert list(choose_servers(there, ())) == [*SERVERS, "mine"]
    with pytest.raises(SpecError, match="unknown server 'mine'"):
        choose_servers(with_catalogue(there, None), ["mine"])


def test_its_rows_are_measured_beside_the_experiments_servers_unless_it_names_some_itself() -> None:
    known = {**SERVERS, **parse("servers: {a: {extends: gunicorn-sync-1}, b: {extends: gunicorn-sync-1}}")}

    plain = experiment(cell("gunicorn-sync-1"), cell("flask-default"))
    assert with_own_rows(plain, known) == ["gunicorn-sync-1", "flask-default", "a", "b"]
    assert with_own_rows(plain, SERVERS) == []
    assert with_own_rows(experiment(cell("gunicorn-sync-1"), cell("b")), known) == []
