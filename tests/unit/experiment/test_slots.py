"""How many requests a command processes at once: worked out as Gunicorn and the development server have it."""

import argparse
import contextlib
import json
from pathlib import Path

import pytest

from wsgilab.experiment import catalogue
from wsgilab.experiment.slots import GUNICORN_SETTINGS, NotKnown, work_out
from wsgilab_door.dev_server import parser as dev_server_parser

REAL = Path(__file__).parents[3] / "compose" / "servers.yaml"
SERVERS = catalogue.parse(REAL.read_text(), str(REAL))


def test_of_every_row_of_the_catalogue_it_is_what_the_row_declares() -> None:
    """And what they declare is held against what is measured, in tests/e2e."""
    found = {}
    for name, server in SERVERS.items():
        # A row may be one of another server.
        with contextlib.suppress(NotKnown):
            found[name] = work_out(server.command, server.environment)

    assert {name: (each.slots, each.processes, each.model) for name, each in found.items()} == {
        name: (each.slots, each.processes, each.model) for name, each in SERVERS.items() if name in found
    }
    assert {each.model for each in found.values()} == {"process", "threads", "coroutines", "event-loop"}


def gunicorn(words: str, settings: str | None = None, **environment: str) -> tuple[int | None, int | None, str]:
    given = environment if settings is None else {**environment, GUNICORN_SETTINGS: json.dumps(settings)}
    found = work_out(["gunicorn", *words.split(), "app:app"], given)
    return found.slots, found.processes, found.model


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("-w4", (4, 4, "process")),
        ("-w 4 --workers 0x3", (3, 3, "process")),
        ("--threads 2 --workers=3", (6, 3, "threads")),
        ("-kgthread", (1, 1, "threads")),
        ("-k gunicorn.workers.sync.SyncWorker --threads=2", (2, 1, "threads")),
        ("-k gthread --threads=8 --worker-connections=5", (5, 1, "threads")),
        ("-k gevent -w 2", (None, 2, "coroutines")),
        ("-k gevent -w 2 --worker-connections 10", (20, 2, "coroutines")),
        ("-k tornado -w 2", (2, 2, "event-loop")),
        ("--bind 0.0.0.0:1 --preload --timeout 3 --thr=2", (2, 1, "threads")),
    ],
)
def test_options_are_read_as_gunicorn_reads_them(words: str, told: tuple[int | None, int | None, str]) -> None:
    assert gunicorn(words) == told


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("waitress-serve --listen=*:80 app:app", (4, 1, "threads")),
        ("waitress-serve --threads 6 app:app", (6, 1, "threads")),
        ("cheroot --bind=:80 app:app", (10, 1, "threads")),
        ("granian --interface=wsgi app:app", (512, 1, "threads")),
        ("granian --workers=2 --backlog=2048 app:app", (1024, 2, "threads")),
        ("granian --workers 2 --backpressure 50 app:app", (50, 2, "threads")),
        ("granian --workers 3 --blocking-threads=1 app:app", (3, 3, "threads")),
        ("uwsgi --http :80 -w app:app", (1, 1, "process")),
        ("uwsgi --workers=2 --threads=3", (6, 2, "threads")),
        ("uwsgi -p 2 --gevent 100", (200, 2, "coroutines")),
        ("python -m wsgilab_door.pywsgi", (None, 1, "coroutines")),
    ],
)
def test_other_servers_have_what_their_options_say(command: str, told: tuple[int | None, int | None, str]) -> None:
    found = work_out(command.split(), {})

    assert (found.slots, found.processes, found.model) == told


def test_variables_that_are_options_too_are_not_guessed() -> None:
    with pytest.raises(NotKnown, match="GRANIAN_BLOCKING_THREADS is not read"):
        work_out(["granian", "app:app"], {"GRANIAN_BLOCKING_THREADS": "2"})


def test_what_says_more_wins_as_with_gunicorn() -> None:
    """Variable, file, GUNICORN_CMD_ARGS, command: docs.gunicorn.org, "Configuration Overview"."""
    assert gunicorn("", WEB_CONCURRENCY="2") == (2, 2, "process")
    assert gunicorn("", "workers = 3", WEB_CONCURRENCY="2") == (3, 3, "process")
    assert gunicorn("", "workers = 3", GUNICORN_CMD_ARGS="--log-level=info -w '4'") == (4, 4, "process")
    assert gunicorn("-w 5", "workers = 3", GUNICORN_CMD_ARGS="-w 4") == (5, 5, "process")


def test_a_configuration_file_is_read_and_never_executed(tmp_path: Path) -> None:
    there = tmp_path / "executed"
    text = (
        f"import os\nbind = os.environ.get('X')\nopen({str(there)!r}, 'w')\n"
        "workers: int = 2\nworker_class = 'gthread'\nthreads = '3'\n"
        "def post_fork(server, worker):\n    count = 4\n"
    )

    assert gunicorn("", text) == (6, 2, "threads")
    assert not there.exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import multiprocessing\nworkers = multiprocessing.cpu_count() * 2 + 1\n", "computes workers in line 2"),
        ("workers = 2\nif True:\n    workers = 3\n", "computes workers in line 3"),
        ("workers = 2\nworkers += 1\n", "computes workers in line 2"),
        ("workers, threads = 2, 3", "computes workers in line 1"),
        ("from base import *", "imports * in line 1"),
        ("from base import THREADS as threads", "imports THREADS in line 1"),
        ("workers =", "is no Python"),
        ("workers = None", "no whole number"),
    ],
)
def test_what_a_configuration_file_computes_is_not_guessed(text: str, told: str) -> None:
    with pytest.raises(NotKnown, match=told.replace("*", r"\*")):
        gunicorn("", text)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            ["hypercorn", "app:app"],
            "hypercorn is none of gunicorn, waitress-serve, cheroot, granian, uwsgi and the dev",
        ),
        (["uwsgi", "--ini=site.ini"], "--ini=site.ini is not read"),
        (["uwsgi", "site.ini"], "site.ini is not read"),
        (["gunicorn", "-k", "uvicorn.workers.UvicornWorker"], "worker class uvicorn.workers.UvicornWorker"),
        (["gunicorn", "-c", "python:mine"], "python:mine is not read"),
        (["gunicorn", "-w"], "expected one argument"),
        (["gunicorn", "-w", "many"], "no whole number"),
        (["python", "-m", "wsgilab_door.dev_server", "--processes=x"], "invalid int value"),
        (["python", "-m"], "is none of"),
    ],
)
def test_what_is_not_known_is_told_why(command: list[str], told: str) -> None:
    with pytest.raises(NotKnown, match=told):
        work_out(command, {})


def test_options_of_the_development_server_are_those_that_it_has() -> None:
    """Its own parser is the door's, which is not there where the catalogue is read."""
    for words in ([], ["--no-threaded"], ["--threaded"], ["--processes=2"], ["--no-threaded", "--processes", "4"]):
        given = dev_server_parser.parse_args(words)
        found = work_out(["python", "-m", "wsgilab_door.dev_server", *words], {})

        assert (found.slots, found.processes) == (
            (given.processes, None) if given.processes > 1 else (None if given.threaded else 1, 1)
        )
    names = {option for action in dev_server_parser._actions for option in action.option_strings}
    assert isinstance(dev_server_parser, argparse.ArgumentParser)
    assert names == {"-h", "--help", "--threaded", "--no-threaded", "--processes"}
