"""How an application is started: what Procfile, Dockerfile and gunicorn.conf.py name."""

import pytest

from wsgilab.experiment import start_commands
from wsgilab.experiment.start_commands import Started, dockerfile, entry, gunicorn_settings, procfile, started


def of(command: str) -> Started | None:
    return started(procfile(f"web: {command}\n")["web"])


@pytest.mark.parametrize(
    ("command", "module", "call"),
    [
        ("gunicorn shop:app", "shop", "app"),
        ("gunicorn shop.wsgi", "shop.wsgi", None),
        (
            "gunicorn -w 4 -k gthread --threads=8 -b 0.0.0.0:$PORT shop.wsgi:application --log-file -",
            "shop.wsgi",
            "application",
        ),
        ("gunicorn --preload shop:app", "shop", "app"),
        ("gunicorn shop:app -b unix:run -k gevent", "shop", "app"),
        ("gunicorn -b unix:run shop:app", "shop", "app"),
        ("gunicorn -k shop.workers:Mine shop:app", "shop", "app"),
        ("gunicorn --no-such-flag --workers 2 shop:app", "shop", "app"),
        ("gunicorn \"shop:create_app('prod', debug=False)\"", "shop", "create_app('prod', debug=False)"),
        ("exec /venv/bin/gunicorn shop:app", "shop", "app"),
        ("newrelic-admin run-program gunicorn shop:app", "shop", "app"),
        ("python -m gunicorn shop:app", "shop", "app"),
        ("pip install gunicorn flask && gunicorn shop:app", "shop", "app"),
        ("python manage.py migrate && gunicorn shop.wsgi:application", "shop.wsgi", "application"),
        ("sh -c 'gunicorn shop:app --bind :$PORT'", "shop", "app"),
        ('bash -lc "exec gunicorn shop:app"', "shop", "app"),
        ("waitress-serve --port=80 shop:app", "shop", "app"),
        ("waitress-serve --call shop:create_app", "shop", "create_app()"),
        ("uwsgi --http :80 --master --module shop.wsgi:application", "shop.wsgi", "application"),
        ("uwsgi -w shop --callable app", "shop", "app"),
        ("granian --interface wsgi --workers 2 shop:app", "shop", "app"),
        ("granian --interface=wsgi --factory shop:make", "shop", "make()"),
        ("flask --app shop run -h 0.0.0.0", "shop", None),
        ("FLASK_APP=shop:make_app flask run", "shop", "make_app"),
        ("python -m flask run", "app", None),
        ("python -m shop", "shop", None),
    ],
)
def test_what_a_command_starts(command: str, module: str, call: str | None) -> None:
    found = of(command)

    assert found is not None
    assert (found.module, found.call, found.is_wsgi) == (module, call, True)


@pytest.mark.parametrize(
    ("command", "file", "call"),
    [
        ("python shop/run.py --port 80", "shop/run.py", None),
        ("python3.12 -u app.py", "app.py", None),
        ("flask --app shop/app.py:make run", "shop/app.py", "make"),
        ("uwsgi --wsgi-file shop/wsgi.py --callable app", "shop/wsgi.py", "app"),
    ],
)
def test_a_file_that_a_command_starts(command: str, file: str, call: str | None) -> None:
    found = of(command)

    assert found is not None
    assert (found.module, found.file, found.call) == ("", file, call)


@pytest.mark.parametrize(
    "command",
    [
        "uvicorn shop:app",
        "gunicorn -k uvicorn.workers.UvicornWorker shop:app",
        "gunicorn --worker-class=asgi shop:app",
        "hypercorn shop:app",
        "granian shop:app",
    ],
)
def test_what_serves_asgi_is_told(command: str) -> None:
    found = of(command)

    assert found is not None
    assert not found.is_wsgi


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn $APP",
        "gunicorn",
        "gunicorn 'shop:app",
        "gunicorn shop:os.system",
        "gunicorn 'shop:create_app(open(1))'",
        "gunicorn 'shop:a; b'",
        "python manage.py runserver",
        "node server.js",
        "pip install gunicorn flask",
        "gunicorn shop:" + "a" * 300,
        "gunicorn shop:app " + "x" * start_commands.LONGEST_LINE,
    ],
)
def test_what_names_nothing_that_can_be_told(command: str) -> None:
    found = procfile(f"web: {command}\n").get("web")
    named = started(found) if found else None

    # A name with dots is one: whether the module has it is not known here.
    assert named is None or named.call == "os.system"


def test_where_gunicorn_changes_to() -> None:
    found = of("gunicorn --chdir backend config.wsgi")

    assert found is not None
    assert (found.module, found.folder) == ("config.wsgi", "backend")


def test_a_procfile_has_a_command_for_each_kind_of_process() -> None:
    found = procfile(
        "# web: gunicorn no:no\n\nweb: gunicorn a:b\nweb: gunicorn c:d\nrelease: python manage.py migrate\nx y: z\n"
    )

    assert {kind: (each.line, each.text) for kind, each in found.items()} == {
        "web": (3, "gunicorn a:b"),
        "release": (5, "python manage.py migrate"),
    }


def test_values_of_the_environment_are_not_shown() -> None:
    shown = procfile("web: KEY=s3cret DB='s3cret x' gunicorn --env=K=s3cret --bind=:80 shop:app")["web"].shown

    assert "s3cret" not in shown
    assert "--bind=:80 shop:app" in shown


@pytest.mark.parametrize(
    ("text", "line", "module"),
    [
        ('FROM python:3\nCMD ["gunicorn", "shop:app"]', 2, "shop"),
        ("FROM python:3\nCMD gunicorn shop:app", 2, "shop"),
        ("FROM python:3\n# a\nCMD gunicorn \\\n  # why\n  -w 4 \\\n  shop:app", 3, "shop"),
        ('FROM a AS x\nCMD ["gunicorn", "wrong:app"]\nFROM b\nENTRYPOINT ["gunicorn"]\nCMD ["shop:app"]', 5, "shop"),
        ('FROM a\nENTRYPOINT ["./entrypoint.sh"]\nCMD ["gunicorn", "shop:app"]', 3, "shop"),
        ("FROM a\nENV FLASK_APP=shop\ncmd flask run", 3, "shop"),
        ('FROM a\nCMD ["sh", "-c", "gunicorn shop:app"]', 2, "shop"),
    ],
)
def test_what_a_container_starts(text: str, line: int, module: str) -> None:
    found = dockerfile(text)

    assert found is not None
    assert found.line == line
    named = started(found)
    assert named is not None
    assert named.module == module


def test_a_dockerfile_without_a_command_starts_nothing() -> None:
    assert dockerfile('FROM a\nCMD ["x"]\nFROM b\n') is None
    assert dockerfile("FROM a\nCMD [" + "[" * 3000) is None


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("python:3.12", "3.12"),
        ("python:3.12-slim", "3.12"),
        ("docker.io/library/python:3.11.4-bookworm AS x", "3.11"),
        ("--platform=linux/amd64 python:3.13", "3.13"),
        ("python:3", None),
        ("mypython:3.12", None),
        ("debian", None),
    ],
)
def test_the_python_of_an_image(image: str, version: str | None) -> None:
    found = start_commands.docker_python(f"FROM node:20\nFROM {image}\n")

    assert found == (None if version is None else (2, version))


def test_settings_of_gunicorn_are_those_that_are_literals() -> None:
    found = gunicorn_settings('import os\nworkers = 4\nbind = os.environ["X"]\nwsgi_app = "shop:app"\nchdir = "web"\n')

    assert found == {"workers": (2, 4), "wsgi_app": (4, "shop:app"), "chdir": (5, "web")}
    assert start_commands.of_gunicorn_settings(found) == (4, Started(module="shop", call="app", folder="web"))
    assert start_commands.of_gunicorn_settings({"wsgi_app": (1, 4)}) is None
    assert gunicorn_settings("wsgi_app = ") == {}


@pytest.mark.parametrize("call", ["app", "a.b.c", "create_app()", "create_app('x', [1, {'a': None}], debug=True)"])
def test_an_entry_is_as_gunicorn_takes_it(call: str) -> None:
    assert entry("shop.wsgi", call) == f"shop.wsgi:{call}"


@pytest.mark.parametrize(
    "call",
    [
        "",
        "a b",
        "create_app(x)",
        "create_app(**{})",
        "f()()",
        "f().g",
        "1",
        "(" * 190,
        "a\nb",
        "f(f())",
        "a)('b'",
        "\u2028a",
        "f('\u202e')",
    ],
)
def test_anything_else_is_no_entry(call: str) -> None:
    assert entry("shop", call) is None


@pytest.mark.timeout(20)
def test_a_line_that_goes_on_for_ever_is_no_command() -> None:
    assert dockerfile("CMD x\\\n" + "y\\\n" * 30_000) is None
