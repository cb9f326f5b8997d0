"""Where a WSGI application is in a folder: each source, their order, and what must not be taken for one."""

import sys
from pathlib import Path

import pytest

from tests.unit.folders import make, seen
from wsgilab.experiment import entry_points
from wsgilab.experiment.entry_points import Entries, find

FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FACTORY = "def create_app(config=None):\n    return Flask(__name__)\n"


def entries(tmp_path: Path, files: dict[str, str]) -> Entries:
    return find(seen(make(tmp_path / "shop", files)))


def found(tmp_path: Path, files: dict[str, str]) -> list[str]:
    return [each.entry for each in entries(tmp_path, files).candidates]


@pytest.mark.parametrize(
    ("path", "text", "entry"),
    [
        ("shop/__init__.py", FLASK, "shop:app"),
        ("a.py", "import flask as f\nfrom x import ProxyFix\nshop = f.Flask('x')\nshop = ProxyFix(shop)\n", "a:shop"),
        ("a.py", "from flask import Flask\nclass Shop(Flask):\n    pass\nshop = Shop()\n", "a:shop"),
        ("a.py", "import falcon\ntry:\n    api: falcon.App = falcon.App()\nfinally:\n    pass\n", "a:api"),
        ("a.py", "import dash\nd = dash.Dash()\nserver = d.server\n", "a:server"),
        ("a.py", "from shop import create_app\napp = create_app('prod')\n", "a:app"),
        ("a.py", "def hello(environ, start_response):\n    return []\n", "a:hello"),
        ("wsgi.py", "from shop import app\n", "wsgi:app"),
        ("a.py", FACTORY, "a:create_app()"),
        ("a.py", "def main(settings, **rest):\n    return Configurator().make_wsgi_app()\n", "a:main()"),
        ("a.py", "from .bottle import Bottle\ndef app(**kwargs) -> Bottle:\n    return made(kwargs)\n", "a:app()"),
    ],
)
def test_what_is_a_wsgi_application(tmp_path: Path, path: str, text: str, entry: str) -> None:
    assert found(tmp_path, {path: text}) == [entry]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("main.py", f"{FLASK}from asgiref.wsgi import WsgiToAsgi\napp = WsgiToAsgi(app)\n"),
        ("main.py", "def create_app():\n    from fastapi import FastAPI\n    return FastAPI()\n"),
        ("main.py", "import falcon.asgi\napp = falcon.asgi.App()\n"),
        ("Procfile", "web: uvicorn main:app\n"),
        ("Dockerfile", 'FROM x\nCMD ["gunicorn", "-k", "uvicorn.workers.UvicornWorker", "main:app"]\n'),
    ],
)
def test_what_is_asgi_is_no_candidate(tmp_path: Path, path: str, text: str) -> None:
    result = entries(tmp_path, {path: text})

    assert result.candidates == []
    assert [each.split(":")[0] for each in result.asgi] == [path]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app.py", "if __name__ == '__main__':\n    from flask import Flask\n    app = Flask('x')\n"),
        ("app.py", "import pytest\n@pytest.fixture\ndef create_app():\n    ...\n"),
        ("app.py", "application: Flask\napplication = 'shop'\napp = make()\n"),
        *((path, FLASK) for path in ("tests/app.py", "test_app.py", ".hidden/app.py", "venv/app.py", "my-app.py")),
        *(
            ("Procfile", f"web: {text}\n")
            for text in ("gunicorn 'shop:app", "gunicorn $APP", "gunicorn a:b" + " x" * 500)
        ),
        ("Dockerfile", "FROM x\nCMD gunicorn a:b" + " x" * 500),
        ("Dockerfile", "FROM x\nCMD gunicorn shop:app\nFROM y\nRUN gunicorn shop:app\n# CMD gunicorn shop:app\n"),
    ],
)
def test_what_is_none(tmp_path: Path, path: str, text: str) -> None:
    result = entries(tmp_path, {path: text})

    assert (result.candidates, result.asgi) == ([], [])


@pytest.mark.parametrize(
    ("command", "entry"),
    [
        ("gunicorn shop.wsgi --log-file - -c python:shop.conf", "shop.wsgi:application"),
        ("gunicorn --preload --bind localhost:8000 --name shop shop.wsgi", "shop.wsgi:application"),
        ("PORT=1 exec poetry run gunicorn -c python:shop.conf \"shop:create_app('a;b')\"", "shop:create_app('a;b')"),
        ("/venv/bin/python -m gunicorn --bind=:$PORT shop:create_app", "shop:create_app()"),
        ("waitress-serve --port=80 --call shop:create_app", "shop:create_app()"),
        ("flask --app shop run --port 80", "shop:create_app()"),
        ("flask --app=shop/web.py run", "shop.web:application"),
        ("python manage.py migrate && sh -c 'gunicorn shop.wsgi:app'", "shop.wsgi:app"),
        ("sh -c 'pip install gunicorn && gunicorn shop.wsgi:app'", "shop.wsgi:app"),
    ],
)
@pytest.mark.parametrize(("file", "before"), [("Procfile", "web: "), ("Dockerfile", "FROM x\nCMD exec \\\n  ")])
def test_a_command_names_the_application(tmp_path: Path, file: str, before: str, command: str, entry: str) -> None:
    shop = {"shop/__init__.py": FACTORY, "shop/wsgi.py": "application = app = 1 + 1\n", "shop/web.py": "pass\n"}

    assert found(tmp_path, {**shop, file: before + command})[0] == entry


def test_a_dockerfile_has_its_command_in_words_or_in_a_script(tmp_path: Path) -> None:
    words = 'FROM a\nCMD gunicorn other:app\nFROM b\nENTRYPOINT ["gunicorn", "-w", "4"]\nCMD ["shop:app"]\n'
    (first,) = entries(tmp_path / "a", {"docker/Dockerfile": words, "shop.py": FLASK}).candidates
    script = {"Dockerfile": 'FROM x\nENTRYPOINT ["/srv/start.sh"]\n', "start.sh": "set -e\nKEY=x gunicorn shop:app\n"}
    (second,) = entries(tmp_path / "b", {**script, "shop.py": FLASK}).candidates

    assert (first.entry, first.found.split(": ")[0]) == ("shop:app", "docker/Dockerfile:5")
    # What variables are set to may be a secret.
    assert (second.entry, second.found) == ("shop:app", "start.sh:2: KEY=... gunicorn shop:app")


def test_the_best_guess_is_what_production_has_then_djangos_then_wsgi_py_then_the_nearest(tmp_path: Path) -> None:
    order = {
        "Procfile": ("web: gunicorn a:app\n", "a:app"),
        "Dockerfile": ("FROM x\nCMD gunicorn b:app\n", "b:app"),
        "gunicorn.conf.py": ("wsgi_app = 'c:app'\n", "c:app"),
        "settings.py": ("WSGI_APPLICATION = 'd.app'\n", "d:app"),
        "wsgi.py": ("from somewhere import app\n", "wsgi:app"),
        "zzz.py": (FLASK, "zzz:app"),
        "factory.py": (FACTORY, "factory:create_app()"),
        "deep/app.py": (FLASK, "app:app"),
    }
    named = {f"{module}.py": "from somewhere import app\n" for module in "abcd"}
    files = {path: text for path, (text, _) in order.items()}

    assert found(tmp_path / "a", files | named) == [entry for _, entry in order.values()]
    # A module that is not there may be an installed package's.
    del named["a.py"]
    assert found(tmp_path / "b", files | named) == [*(entry for _, entry in [*order.values()][1:]), "a:app"]


def test_a_command_that_names_what_is_asgi_names_no_candidate(tmp_path: Path) -> None:
    files = {"Procfile": "web: gunicorn main:app\n", "main.py": "import quart\napp = quart.Quart('x')\n"}

    assert found(tmp_path, files) == []


# --- hostile


@pytest.mark.timeout(200)
@pytest.mark.parametrize("text", ["-" * 90_000 + "1", "a" + ".b" * 40_000, "a\0b", "x = " + "1" * 9_000, "\\"])
def test_what_cannot_be_parsed_is_left_out(tmp_path: Path, text: str) -> None:
    result = entries(tmp_path, {"wsgi.py": text, "app.py": FLASK})

    assert [each.entry for each in result.candidates] == ["app:app"]
    assert result.unparsed == ["wsgi.py"]


@pytest.mark.timeout(200)
def test_what_is_as_deep_or_as_many_as_can_be_is_no_harm(tmp_path: Path) -> None:
    for count in (200, 1000, 3000):
        branches = "if 1:\n x\n" + "elif 1:\n x\n" * count
        assert found(tmp_path / str(count), {"wsgi.py": branches, "app.py": FLASK}) == ["app:app"]
    many = {
        "Procfile": "web: flask run\n" * 6_000,
        "Dockerfile": "FROM x\n" * 5_000 + "CMD" + " gunicorn" * 10_000,
        "app.py": FLASK + "b = Flask()\n" * 5_000,
    }
    assert found(tmp_path / "many", many) == ["app:app", "app:b"]


def test_no_more_is_parsed_than_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_points, "MOST_PARSED", 2 * len(FLASK))
    result = entries(tmp_path, {"a.py": "x = 1\n" * 100, "c/d.py": FLASK, "e/app.py": FLASK, "b.py": FLASK})

    assert [each.entry for each in result.candidates] == ["b:app", "app:app"]
    assert result.unparsed == ["c/d.py"]


def test_nothing_of_the_folder_is_imported_or_executed(tmp_path: Path) -> None:
    harm = f"open({str(tmp_path / 'harm')!r}, 'w').close()\n"
    files = dict.fromkeys(("app.py", "wsgi.py", "gunicorn.conf.py", "setup.py", "sitecustomize.py"), harm + FLASK)
    before = set(sys.modules)

    assert found(tmp_path, files | {"Procfile": f"web: touch {tmp_path / 'harm'}; gunicorn app:app\n"})[0] == "app:app"
    assert not (tmp_path / "harm").exists()
    assert set(sys.modules) - before == set()
