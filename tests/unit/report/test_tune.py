"""What a race says, in every format; and the command line to copy, for every file that has one."""

import io
import json
import shlex
from dataclasses import replace
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.unit.analysis.tune.test_race import Machine
from tests.unit.said import printed, table
from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.experiment import catalogue, own_catalogue, space
from wsgilab.model import Comparison, Stack, Tune
from wsgilab.report import terminal, tune
from wsgilab.report.comparison import comparison_yaml
from wsgilab.report.deploy import Deployment, deployment
from wsgilab.report.experiment import experiment_yaml
from wsgilab.report.html import report
from wsgilab.report.markdown import comparison_md
from wsgilab.run.workspace import PROJECT

SERVERS = catalogue.parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")


def raced(**machine: Any) -> Comparison:
    made = Machine(**machine)
    made.measure()
    return compare(made.run, made.observations())


def said(comparison: Comparison) -> dict[str, Any]:
    words = tune.tuned(comparison)
    assert words is not None
    return {"verdict": words.verdict, "why": words.why, **{heading: list(each) for heading, each in words.points}}


NAMES = {"gunicorn-sync-3": 60.0, "gunicorn-gthread-8": 100.0, "gunicorn-gevent": 97.0}


def test_it_says_what_to_run_what_others_cost_and_what_would_change_it() -> None:
    found = said(raced(speed=NAMES, memory={"gunicorn-sync-3": 120.0}))

    assert found["verdict"] == "Run gunicorn-gthread-8."
    assert found["why"].endswith("50.0 MB of memory. It is faster than every other that may be advised, for sure.")
    assert found["Runner-up"][0].startswith("gunicorn-gevent: x0.9")
    assert found["Rule of thumb, 2n + 1 workers"][0].startswith("gunicorn-sync-3: x0.")
    assert "Costs more: 120 MB instead of 50.0" in found["Rule of thumb, 2n + 1 workers"][0]
    assert (
        found["Would change it"][-1] == "another load: this holds for 32 users, and invoke lab.tune with others tells"
    )
    assert found["Race"][0].startswith("3 configurations began, and 2, ")
    assert "one was left." in found["Race"][0]
    assert any(each.startswith("slower than gunicorn-gthread-8 for sure: gunicorn-") for each in found["Left the race"])


def test_any_of_several_is_an_answer_and_memory_or_simplicity_picks_one() -> None:
    speed = dict.fromkeys(("one", "two", "large"), 100.0)
    found = said(raced(speed=speed, memory={"large": 90.0}, processes={"two": 2}, scatter=0.002))

    assert found["verdict"] == "Run one."
    assert "the fewest processes and threads" in found["why"]
    assert sorted(found["Will do as well"][0].removesuffix(".").split(" and ")) == ["large", "two"]
    assert "within 3% of each other for sure" in found["Race"][0]


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"speed": NAMES, "tune": Tune(p95_ms=1.0)}, "None of those measured keeps to p95 at most 1 ms."),
        ({"speed": NAMES, "budget_s": 5.0}, "Too little was measured: to compare takes 3 blocks."),
        ({"speed": NAMES, "fails": lambda _: True}, "None of those measured may be advised."),
    ],
)
def test_where_there_is_none_to_run_it_says_why(machine: dict[str, Any], words: str) -> None:
    comparison = raced(**machine)
    found = said(comparison)

    assert found["verdict"] == "None."
    assert found["why"].startswith(words)
    assert list(tune.lines(tune.tuned(comparison))) == []  # type: ignore[arg-type]


def test_of_one_that_others_disturbed_it_says_so() -> None:
    found = said(raced(speed=NAMES, beside=True, budget_s=20.0))

    assert found["verdict"].startswith("Run gunicorn-g")
    assert "Others took some of the cores while it was measured, so it is at least as fast as that;" in found["why"]
    assert "Others" not in said(raced(speed=NAMES))["why"]


def test_of_one_that_the_generator_limited_it_says_so() -> None:
    comparison = raced(speed=NAMES)
    cells = tuple(replace(each, broken_gates=("generator",)) for each in comparison.cells)

    why = said(replace(comparison, cells=cells))["why"]
    assert "Something other than itself limited it (see the warnings), so it is at least as fast as that." in why


def test_every_format_has_it() -> None:
    comparison = raced(speed=NAMES)
    words = tune.tuned(comparison)
    assert words is not None
    in_markdown = comparison_md(comparison)["comparison.md"].decode()
    in_html = report(comparison)["report.html"].decode()
    on_terminal = printed(terminal.tuned(words), width=200)
    in_yaml = yaml.safe_load(comparison_yaml(comparison)["comparison.yaml"])["tune"]

    assert "## What to run" in in_markdown
    assert "    gunicorn --bind=0.0.0.0:8000 app:app" in in_markdown
    assert '<h2 id="tuned">What to run</h2>' in in_html
    for text in (in_html, on_terminal):
        assert "Run gunicorn-gthread-8." in text
        assert "gunicorn --bind=0.0.0.0:8000 app:app" in text
    assert in_yaml["server"] == "gunicorn-gthread-8"
    assert in_yaml["command"] == "gunicorn --bind=0.0.0.0:8000 app:app"
    assert in_yaml["files"]["Procfile"] == "web: gunicorn --bind=0.0.0.0:$PORT app:app\n"
    assert in_yaml["runners_up"][0]["server"] == "gunicorn-gevent"
    assert in_yaml["rule_of_thumb"]["server"] == "gunicorn-sync-3"
    assert yaml.safe_load(experiment_yaml(comparison)["experiment.yaml"])["tune"] == {}


def test_on_a_narrow_terminal_sentences_are_folded_and_the_command_is_one_line() -> None:
    words = tune.tuned(raced(speed=NAMES))
    assert words is not None
    assert words.deployment is not None
    command = f"{words.deployment.command} {80 * 'x'}"
    long = replace(words, deployment=replace(words.deployment, command=command))
    console = Console(file=io.StringIO(), width=60)
    console.print(terminal.tuned(long), crop=False)

    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert f"    {command}" in lines
    assert "another load: this holds for 32 users, and invoke lab.tune with others tells" in " ".join(
        map(str.strip, lines)
    )


def test_other_runs_say_nothing_of_it() -> None:
    comparison = compare(testing.run(), [testing.observation(block=at) for at in range(3)])

    assert tune.tuned(comparison) is None
    assert "tune" not in yaml.safe_load(comparison_yaml(comparison)["comparison.yaml"])


# --- the command line


def deployed(name: str, **application: Any) -> Deployment | None:
    of_app = testing.experiment(testing.cell(workload="orders"), application=testing.application(**application))
    run = testing.run(of_app if application else None)
    server = space.rows([{"like": "gunicorn-gthread-8", "workers": [2], "threads": [16]}], SERVERS, "").get(name)
    stack = Stack(digest="0", python="3.13", packages={"gunicorn": "26.0.0", "gevent": "25.9.1", "Flask": "3"})
    stacks = dict.fromkeys(("gunicorn", "gunicorn-gevent"), stack)
    return deployment(replace(run, stacks=stacks), server or SERVERS[name], 2)


@pytest.mark.parametrize(
    ("name", "command"),
    table(
        """
        gunicorn-gthread-2x16 | gunicorn --bind=0.0.0.0:8000 --worker-class=gthread --workers=2 --threads=16 app:app
        waitress-8 | waitress-serve --listen=0.0.0.0:8000 --threads=8 app:app
        granian-2x4 | granian --interface=wsgi --host=0.0.0.0 --port=8000 --no-ws --workers=2 --blocking-threads=4 app:app
        uwsgi | uwsgi --http-socket=0.0.0.0:8000 --module=app:app --need-app --die-on-term --disable-logging
        """
    ),
)
def test_the_command_is_the_servers_own_without_what_is_the_labs(name: str, command: str) -> None:
    found = deployed(name)
    assert found is not None
    assert found.command == command


@pytest.mark.parametrize("name", ["gevent-pywsgi", "bjoern", "flask-default", "nginx-gunicorn-sync-1", "mod-wsgi"])
def test_what_only_the_lab_starts_so_has_no_command(name: str) -> None:
    assert deployed(name) is None


def test_the_same_is_said_in_the_words_of_every_file() -> None:
    found = deployed("gunicorn-gthread-2x16", entry="shop:create_app()")
    assert found is not None
    files = dict(found.files)
    words = shlex.split(found.command)

    assert words[-1] == "shop:create_app()"
    assert found.packages == "gunicorn==26.0.0 gevent==25.9.1"
    settings: dict[str, Any] = {}
    exec(files["gunicorn.conf.py"], settings)
    assert {name: value for name, value in settings.items() if name != "__builtins__"} == {
        "bind": "0.0.0.0:8000",
        "worker_class": "gthread",
        "workers": 2,
        "threads": 16,
        "wsgi_app": "shop:create_app()",
    }
    assert json.loads(files["Dockerfile"].removeprefix("CMD ")) == words
    compose = yaml.safe_load(files["compose.yaml"])["services"]["web"]
    assert (compose["command"], compose["cpus"]) == (words, 2)
    assert shlex.split(files["Procfile"].removeprefix("web: "))[1] == "--bind=0.0.0.0:$PORT"


def test_a_configuration_file_and_words_of_the_users_own_are_part_of_it() -> None:
    text = """
        servers:
          mine:
            extends: gunicorn-sync-2
            config: conf.py
            environment: {GUNICORN_CMD_ARGS: --keep-alive=5 --preload}
    """
    row = own_catalogue.parse(text, "mine.yaml", SERVERS, folder="", read_file=lambda _: b"timeout = 90  # $5\n")
    found = deployment(testing.run(), row["mine"], 1)
    assert found is not None

    assert found.command == "gunicorn --bind=0.0.0.0:8000 --keep-alive=5 --preload --workers=2 app:app"
    assert dict(found.files)["gunicorn.conf.py"].startswith("timeout = 90  # $5\nbind = ")
    assert "preload_app = True" in dict(found.files)["gunicorn.conf.py"]


def test_what_was_left_out_before_the_race_is_named_with_its_reason() -> None:
    made = Machine(speed=NAMES)
    made.measure()
    why = (
        "too few slots for requests of 50.0 ms, by the queueing model, where gunicorn-gevent may have 630 requests/s: "
    )
    out = {"gunicorn-sync-1": f"{why}20.0 requests/s", "gunicorn-sync-2": f"{why}40.0 requests/s"}
    comparison = compare(replace(made.run, left_out=out), made.observations())

    assert said(comparison)["Left out"] == [f"{why}gunicorn-sync-1 20.0 requests/s; gunicorn-sync-2 40.0 requests/s"]
    assert "gunicorn-sync-2 40.0 requests/s" in comparison_md(comparison)["comparison.md"].decode()
