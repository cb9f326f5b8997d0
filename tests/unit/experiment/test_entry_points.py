"""Where a WSGI application is in a folder: each kind of evidence, their order, and what must not be taken for one."""

import sys
from pathlib import Path

import pytest

from tests.unit.folders import make, seen
from wsgilab.experiment import entry_points
from wsgilab.experiment.entry_points import Entries, find

FLASK = "from flask import Flask\napp = Flask(__name__)\n"
DJANGO_WSGI = """\
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
"""
DJANGO = {
    "manage.py": 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")\n',
    "config/__init__.py": "",
    "config/settings.py": 'ROOT_URLCONF = "config.urls"\nWSGI_APPLICATION = "config.wsgi.application"\n',
    "config/wsgi.py": DJANGO_WSGI,
    "config/asgi.py": "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n",
}


def entries(tmp_path: Path, files: dict[str, str]) -> Entries:
    return find(seen(make(tmp_path / "shop", files)))


def found(tmp_path: Path, files: dict[str, str]) -> list[str]:
    return [each.entry for each in entries(tmp_path, files).candidates]


@pytest.mark.parametrize(
    ("path", "text", "entry"),
    [
        ("app.py", FLASK, "app:app"),
        ("main.py", "import flask as f\nserver = f.Flask('x')\n", "main:server"),
        ("shop/__init__.py", FLASK, "shop:app"),
        ("hello.py", "from bottle import Bottle\nb = Bottle()\n", "hello:b"),
        ("api.py", "import falcon\napi: falcon.App = falcon.App()\n", "api:api"),
        ("a.py", "class Shop(Flask):\n    pass\nfrom flask import Flask\n", None),
        ("a.py", "from flask import Flask\nclass Shop(Flask):\n    pass\nshop = Shop()\n", "a:shop"),
        ("a.py", "from flask import Flask\ntry:\n    app = Flask('x')\nexcept OSError:\n    raise\n", "a:app"),
        ("a.py", f"{FLASK}from x import ProxyFix\napp = ProxyFix(app)\n", "a:app"),
        ("a.py", "import dash\nd = dash.Dash()\nserver = d.server\n", "a:server"),
        ("a.py", "from shop import create_app\napp = create_app('prod')\n", "a:app"),
        ("a.py", "def hello(environ, start_response):\n    return []\n", "a:hello"),
        ("a.py", "class App:\n    pass\napplication = App()\n", "a:application"),
        ("wsgi.py", "from shop import app\n", "wsgi:app"),
        ("wsgi.py", "from shop import app as application\n", "wsgi:application"),
        ("shop/wsgi.py", "from x import something\napplication = something()\n", "wsgi:application"),
        ("a.py", "def create_app(config=None):\n    ...\n", "a:create_app()"),
        ("a.py", "from flask import Flask\ndef new():\n    it = Flask('x')\n    return it\n", "a:new()"),
        ("a.py", "def create_app():\n    from flask import Flask\n    return Flask('x')\n", "a:create_app()"),
        (
            "a.py",
            "from pyramid.config import Configurator\ndef main(settings, **rest):\n    return Configurator().make_wsgi_app()\n",
            "a:main()",
        ),
        (
            "a.py",
            "from .vendored import Bottle\ndef app(**settings) -> Bottle:\n    return made(settings)\n",
            "a:app()",
        ),
        ("src/shop/app.py", FLASK, "app:app"),
    ],
)
def test_what_is_a_wsgi_application(tmp_path: Path, path: str, text: str, entry: str | None) -> None:
    assert found(tmp_path, {path: text}) == ([entry] if entry else [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("main.py", "from fastapi import FastAPI\napp = FastAPI()\n"),
        ("main.py", f"{FLASK}from asgiref.wsgi import WsgiToAsgi\napp = WsgiToAsgi(app)\n"),
        ("main.py", "def create_app():\n    from fastapi import FastAPI\n    return FastAPI()\n"),
        ("Procfile", "web: uvicorn main:app\n"),
        ("Dockerfile", 'FROM x\nCMD ["gunicorn", "-k", "uvicorn.workers.UvicornWorker", "main:app"]\n'),
    ],
)
def test_what_is_asgi_is_told_and_is_no_candidate(tmp_path: Path, path: str, text: str) -> None:
    told = entries(tmp_path, {path: text})

    assert told.candidates == []
    assert len(told.asgi) == 1
    assert told.asgi[0].startswith(f"{path}:")


def test_a_command_that_names_what_is_asgi_names_no_candidate(tmp_path: Path) -> None:
    told = entries(
        tmp_path, {"Procfile": "web: gunicorn main:app\n", "main.py": "import quart\napp = quart.Quart('x')\n"}
    )

    assert told.candidates == []
    assert [each.split(":")[0] for each in told.asgi] == ["Procfile", "main.py"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app.py", "if __name__ == '__main__':\n    from flask import Flask\n    app = Flask('x')\n"),
        ("app.py", "async def create_app():\n    ...\n"),
        ("app.py", "import pytest\n@pytest.fixture\ndef create_app():\n    ...\n"),
        ("app.py", "application = 'shop'\n"),
        ("app.py", "app = make()\n"),
        ("app.py", "# app = Flask(__name__)\n"),
        ("wsgi.py", "from flask import Flask\n"),
        ("tests/app.py", FLASK),
        ("examples/app.py", FLASK),
        ("test_app.py", FLASK),
        ("conftest.py", FLASK),
        (".hidden/app.py", FLASK),
        ("node_modules/x/app.py", FLASK),
        ("venv/lib/app.py", FLASK),
        ("my-app.py", FLASK),
        ("app.txt", FLASK),
        ("Procfile", "web: node server.js\n"),
        ("gunicorn.conf.py", "workers = 2\n"),
    ],
)
def test_what_is_none(tmp_path: Path, path: str, text: str) -> None:
    told = entries(tmp_path, {path: text})

    assert (told.candidates, told.asgi) == ([], [])


def test_a_name_that_wsgi_py_imports_may_be_a_module(tmp_path: Path) -> None:
    wsgi = {"wsgi.py": "from shop import app\n", "shop/__init__.py": ""}

    assert found(tmp_path / "a", wsgi | {"shop/app.py": "x = 1\n"}) == []
    assert found(tmp_path / "b", wsgi | {"shop/app.py": "", "shop/__init__.py": FLASK})[0] == "wsgi:app"


# --- order


ORDER = {
    "Procfile": ("web: gunicorn a:app\n", "a:app"),
    "Dockerfile": ("FROM x\nCMD gunicorn b:app\n", "b:app"),
    "gunicorn.conf.py": ("wsgi_app = 'c:app'\n", "c:app"),
    "settings.py": ("WSGI_APPLICATION = 'd.app'\n", "d:app"),
    "wsgi.py": ("from somewhere import app\n", "wsgi:app"),
    "zzz.py": (FLASK, "zzz:app"),
    "factory.py": ("def create_app(): ...\n", "factory:create_app()"),
    "thing.py": ("from x import thing\napplication = thing()\n", "thing:application"),
    "needs.py": ("def create_app(config): ...\n", "needs:create_app()"),
}
"""Evidence, strongest first."""


def test_the_order_of_evidence_is_the_one_that_is_documented(tmp_path: Path) -> None:
    named = {f"{module}.py": "from somewhere import app\n" for module in "abcd"}
    files = {path: text for path, (text, _) in ORDER.items()}

    assert found(tmp_path, files | named) == [entry for _, entry in ORDER.values()]
    assert entry_points.__doc__ is not None
    rows = [line for line in entry_points.__doc__.splitlines() if line.startswith("    ") and line.strip()[0].isdigit()]
    assert len(rows) == len(ORDER) + 1


def test_a_module_that_is_named_and_not_there_comes_last(tmp_path: Path) -> None:
    files = {"Procfile": "web: gunicorn httpbin:app\n"}

    (alone,) = entries(tmp_path / "a", files).candidates
    assert (alone.entry, alone.path) == ("httpbin:app", "")
    assert found(tmp_path / "b", files | {"app.py": FLASK}) == ["app:app", "httpbin:app"]


def test_of_the_same_evidence_the_nearest_and_most_usual_comes_first(tmp_path: Path) -> None:
    files = dict.fromkeys(("zzz.py", "main.py", "app.py", "web/__init__.py"), FLASK) | {
        "server.py": f"{FLASK}admin = Flask('y')\napplication = app\n"
    }

    assert found(tmp_path, files) == [
        "app:app",
        "main:app",
        "server:application",
        "server:app",
        "server:admin",
        "zzz:app",
        "web:app",
    ]


def test_evidence_of_the_same_entry_is_put_together(tmp_path: Path) -> None:
    files = {"app.py": FLASK, "Procfile": "web: gunicorn app:app\n", "Dockerfile": "FROM x\nCMD gunicorn app:app"}
    (only,) = entries(tmp_path, files).candidates

    assert only.found == (
        "Procfile:1: gunicorn app:app",
        "Dockerfile:2: gunicorn app:app",
        "app.py:2: app = Flask(__name__)",
    )


# --- what commands and settings name


def test_a_server_that_is_told_a_module_alone_takes_what_it_has(tmp_path: Path) -> None:
    assert found(tmp_path / "a", {"Procfile": "web: gunicorn shop\n", "shop.py": FLASK})[0] == "shop:app"
    assert found(tmp_path / "b", {"Procfile": "web: gunicorn shop\n", "shop.py": "from x import *\n"}) == [
        "shop:application"
    ]
    assert found(tmp_path / "c", {"Procfile": "web: flask --app shop run\n", "shop.py": ORDER["factory.py"][0]}) == [
        "shop:create_app()"
    ]
    assert found(
        tmp_path / "d", {"Procfile": "web: python run.py\n", "run.py": "from shop import app\napp.run()\n"}
    ) == ["run:app"]


def test_a_factory_that_is_named_without_its_call_is_called(tmp_path: Path) -> None:
    files = {"Procfile": "web: gunicorn shop:create_app\n", "shop.py": "def create_app(config): ...\n"}
    (only,) = entries(tmp_path, files).candidates

    assert (only.entry, only.needs) == ("shop:create_app()", ("config",))


def test_a_path_in_a_container_is_found_here(tmp_path: Path) -> None:
    files = {"Dockerfile": 'FROM x\nCMD ["python", "/srv/shop/web/run.py"]\n', "web/run.py": FLASK}
    (only,) = entries(tmp_path, files).candidates

    assert (only.entry, only.root) == ("run:app", "web")


def test_a_script_that_a_container_starts_is_read(tmp_path: Path) -> None:
    files = {
        "docker/Dockerfile": 'FROM x\nENTRYPOINT ["/docker/start.sh"]\n',
        "docker/start.sh": "#!/bin/sh\nset -e\npython manage.py migrate\nexec gunicorn \\\n  shop:app\n",
        "shop.py": FLASK,
    }
    (only,) = entries(tmp_path, files).candidates

    assert only.entry == "shop:app"
    assert only.found[0].startswith("docker/start.sh:4: ")


def test_a_django_project(tmp_path: Path) -> None:
    told = entries(tmp_path, DJANGO)
    (only,) = told.candidates

    assert (only.entry, only.root) == ("config.wsgi:application", "")
    assert [each.split(":")[0] for each in only.found] == ["config/settings.py", "config/wsgi.py"]
    assert len(told.asgi) == 1


@pytest.mark.parametrize("without", ["", "config/__init__.py", "config/settings.py"])
def test_a_django_project_within_the_folder_is_imported_from_there(tmp_path: Path, without: str) -> None:
    files = {f"backend/{path}": text for path, text in DJANGO.items() if path != without}
    if without == "config/settings.py":
        files |= {"backend/config/settings/__init__.py": "", "backend/config/settings/base.py": DJANGO[without]}
    (only,) = entries(tmp_path, files).candidates

    assert (only.entry, only.root) == ("config.wsgi:application", "backend")


def test_chdir_says_which_of_two_is_meant(tmp_path: Path) -> None:
    files = {"Procfile": "web: gunicorn --chdir two shop:app\n", "one/shop.py": FLASK, "two/shop.py": FLASK}

    assert entries(tmp_path, files).candidates[0].root == "two"


def test_a_package_under_src_is_imported_from_src(tmp_path: Path) -> None:
    (only,) = entries(tmp_path, {"src/shop/__init__.py": "", "src/shop/web.py": FLASK}).candidates

    assert (only.entry, only.root) == ("shop.web:app", "src")


# --- hostile


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    [
        "-" * 90_000 + "1",
        "(" * 90_000,
        "a" + ".b" * 40_000,
        "1+" * 45_000 + "1",
        "a\0b",
        "x = " + "1" * 9_000,
        "def " * 9,
        "\\",
    ],
    ids=lambda text: text[:8],
)
def test_what_cannot_be_parsed_is_told(tmp_path: Path, text: str) -> None:
    told = entries(tmp_path, {"wsgi.py": text, "app.py": FLASK})

    assert [each.entry for each in told.candidates] == ["app:app"]
    assert told.unparsed == ["wsgi.py"]


@pytest.mark.timeout(30)
def test_what_is_nested_as_deep_as_can_be_parsed_is_no_harm(tmp_path: Path) -> None:
    for count in (200, 500, 900, 1000, 2000, 3000):
        branches = "if 1:\n x\n" + "elif 1:\n x\n" * count
        assert found(tmp_path / str(count), {"wsgi.py": branches, "app.py": FLASK}) == ["app:app"]
    assert found(tmp_path / "calls", {"wsgi.py": f"application = a{'.b' * 500}()\n"}) == ["wsgi:application"]


def test_a_module_that_would_warn_of_its_style_is_read_in_silence(tmp_path: Path) -> None:
    assert found(tmp_path, {"app.py": FLASK + 'x = "\\d"\n'}) == ["app:app"]


def test_no_more_is_parsed_than_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_points, "MOST_PARSED", 3 * len(FLASK))
    told = entries(
        tmp_path, {"a.py": FLASK, "b.py": FLASK, "c/d.py": FLASK, "z/z/app.py": FLASK, "e.py": "x = 1\n" * 100}
    )

    assert [each.entry for each in told.candidates] == ["a:app", "b:app", "app:app"]
    assert told.unparsed == ["c/d.py"]


def test_nothing_of_the_folder_is_imported_or_executed(tmp_path: Path) -> None:
    harm = f"open({str(tmp_path / 'harm')!r}, 'w').close()\n"
    files = dict.fromkeys(
        ("app.py", "wsgi.py", "shop/__init__.py", "gunicorn.conf.py", "setup.py", "sitecustomize.py"), harm + FLASK
    )
    before = set(sys.modules)

    assert found(tmp_path, files | {"Procfile": f"web: touch {tmp_path / 'harm'}; gunicorn app:app\n"})[0] == "app:app"
    assert not (tmp_path / "harm").exists()
    assert set(sys.modules) - before == set()
