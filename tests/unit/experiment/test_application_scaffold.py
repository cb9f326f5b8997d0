"""A new application file: what is found in a folder is in it, strictly valid YAML, whatever the folder says."""

import json
import re
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.experiment.test_entry_points import FLASK
from tests.unit.folders import make, seen
from tests.unit.said import refusal
from wsgilab.experiment.application import parse
from wsgilab.experiment.application_scaffold import name_of, new_application
from wsgilab.experiment.parsing import load_yaml
from wsgilab.experiment.scaffold import safe, scalar
from wsgilab.model.application import ApplicationSettings
from wsgilab.model.errors import SpecError, UsageError

KEYS = {each.name for each in fields(ApplicationSettings)} - {"extras", "image", "build"}
"""Of the mapping `application`, but for what another way of having one takes."""
ALTERNATIVE = re.compile(r"^( *)#(?=[^ #])", re.MULTILINE)
"""How an alternative begins, and what is taken away to have it."""
SHOP = {
    "shop/__init__.py": """\
import os
from flask import Flask

def create_app(config=None):
    app = Flask(__name__)
    app.secret_key = os.environ["SECRET_KEY"]
    os.environ["TZ"] = "UTC"

    @app.route("/orders/<int:number>")
    def order(number): ...

    @app.route("/orders", methods=["GET", "POST"])
    def orders(): ...

    @app.route("/buy", methods=["POST"])
    def buy(): ...

    @app.route("/")
    def index(): ...

    @app.get("/hello")
    def hello(): ...

    @app.get("/healthz")
    def healthy(): ...

    return app
""",
    "shop/admin.py": "from flask import Blueprint\nbp = Blueprint('a', __name__)\n@bp.route('/users')\ndef users(): ...\n",
    "Procfile": "web: gunicorn \"shop:create_app('prod')\"\nrelease: python -m shop.seed --all\n",
    "Dockerfile": 'FROM python:3.12-slim\nCMD ["gunicorn", "shop.wsgi"]\n',
    "shop/wsgi.py": "from shop import create_app\napplication = create_app()\n",
    "requirements.txt": "flask==3.1\n",
    ".env": "SECRET_KEY=s3cret\n",
    "instance/": "",
}
DJANGO = {
    "manage.py": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")\n',
    "config/settings.py": 'ROOT_URLCONF = "config.urls"\nWSGI_APPLICATION = "config.wsgi.application"\nALLOWED_HOSTS = []\n',
    "config/wsgi.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "config/asgi.py": "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n",
    "config/urls.py": """\
urlpatterns = [
    path("admin/", admin.site.urls),
    path("orders/", include("orders.urls")),
    path("about/", views.about),
    path("items/<int:pk>/", views.item),
]
""",
    "orders/urls.py": "urlpatterns = [\n    path('new/', new),\n]\n",
}
HTTPBIN = {
    "httpbin/__init__.py": "from .core import *\n",
    "httpbin/core.py": FLASK + "@app.route('/legacy')\ndef a(): ...\n@app.route('/delay/<delay>')\ndef b(): ...\n",
    "Dockerfile": 'FROM ubuntu:18.04\nCMD ["gunicorn", "-b", "0.0.0.0:80", "httpbin:app", "-k", "gevent"]\n',
    "pyproject.toml": '[project]\nname = "httpbin"\n',
}
PYPISERVER = {
    "pypiserver/__init__.py": "from .bottle import Bottle\ndef app(**kwargs: t.Any) -> Bottle:\n    ...\n",
    "pypiserver/_app.py": "app = Bottle()\n@app.route('/')\ndef root(): ...\n@app.route('/simple/')\ndef simple(): ...\n",
    "docker/Dockerfile": 'FROM python:3.12-slim AS base\nENTRYPOINT ["/entrypoint.sh"]\n',
    "docker/entrypoint.sh": 'exec gosu pypiserver pypi-server "$@"\n',
    "pypiserver/manage.py": "",
}


def text_of(folder: Path, source: str = "../shop") -> str:
    return new_application("shop", source, seen(folder), ("postgres", "upstream"), schema="schemas/application.json")


def checked(text: str) -> dict[str, Any]:
    """The document, which the reader of application files takes."""
    parse(text, "shop.yaml", folder=".", read_file=lambda _: b"")
    return dict(load_yaml(text, "shop.yaml"))


def made(tmp_path: Path, files: dict[str, str]) -> tuple[str, dict[str, Any]]:
    text = text_of(make(tmp_path / "shop", files))
    return text, checked(text)


def whole(text: str) -> dict[str, Any]:
    """The file with all of its alternatives."""
    return checked(ALTERNATIVE.sub(r"\1", text))


def about(text: str, key: str) -> str:
    """The comments before a key, alternative or not."""
    found = re.search(rf"((?:^ *# .*\n)*) *#?{key}:", text, re.MULTILINE)
    assert found is not None
    return found[1]


def test_what_is_found_is_in_it_with_where_it_was_found(tmp_path: Path) -> None:
    text, document = made(tmp_path, SHOP)

    assert document == {
        "application": {
            "entry": "shop:create_app('prod')",
            "source": "../shop",
            "requirements": "requirements.txt",
            "python": "3.12",
            "writable": ["instance"],
            "ready": "/healthz",
        },
        "requests": {"index": {"get": "/"}},
    }
    assert "Found in Procfile:1: gunicorn \"shop:create_app('prod')\"" in about(text, "entry")
    assert "shop.wsgi:application   (Dockerfile:2: gunicorn shop.wsgi)" in about(text, "entry")
    assert "shop:create_app()   (shop/__init__.py:4: def create_app(config=None):)" in about(text, "entry")
    assert "Found in Dockerfile:1" in about(text, "python")
    assert "SECRET_KEY, which is read without a default in shop/__init__.py:6" in about(text, "env")
    assert "TZ" not in text
    assert "s3cret" not in text
    assert "Procfile:2 has python -m shop.seed --all" in about(text, "prepare")
    assert "Found in shop/__init__.py:24" in about(text, "ready")
    assert "invoke lab.run --app shop.yaml\n" in text
    assert text.startswith("# yaml-language-server: $schema=schemas/application.json\n")


def test_requests_are_routes_that_can_be_sent_as_they_are(tmp_path: Path) -> None:
    text, _ = made(tmp_path, SHOP)
    paths = {name: request.get("get") for name, request in whole(text)["requests"].items()}

    # The lab has a workload `hello`.
    assert {key: path for key, path in paths.items() if path and path != "/?page=1"} == {
        "index": "/",
        "orders": "/orders",
        "hello-3": "/hello",
        "users": "/users",
    }
    assert "shop/admin.py:3, where a prefix may go before it" in about(text, "users")


@pytest.mark.parametrize("files", [SHOP, {"app.py": FLASK}, DJANGO], ids=["shop", "bare", "django"])
def test_every_key_is_explained_and_every_alternative_is_valid(tmp_path: Path, files: dict[str, str]) -> None:
    text, _ = made(tmp_path, files)

    assert set(whole(text)["application"]) == KEYS
    assert all(about(text, key) for key in KEYS)
    assert len(ALTERNATIVE.findall(text)) >= 8
    for each in ALTERNATIVE.finditer(text):
        if not text[each.end() :].startswith("in-shares"):
            checked(f"{text[: each.start()]}{each[1]}{text[each.end() :]}")


def test_what_is_not_found_is_to_be_filled_in(tmp_path: Path) -> None:
    text, document = made(tmp_path, {"app.py": "def create_app(config, *, debug): ...\n"})

    assert document == {
        "application": {"entry": "app:create_app()", "source": "../shop"},
        "requests": {"index": {"get": "/"}},
    }
    assert "Fill in: it needs config, debug." in about(text, "entry")
    assert "Fill in: none was found" in about(text, "requirements")
    assert "Fill in: no path was found" in about(text, "index")


@pytest.mark.parametrize(
    ("files", "application", "requests"),
    [
        (HTTPBIN, {"entry": "httpbin:app", "requirements": "pyproject.toml"}, {"legacy": {"get": "/legacy"}}),
        (PYPISERVER, {"entry": "pypiserver._app:app", "python": "3.12"}, {"index": {"get": "/"}}),
        (DJANGO, {"entry": "config.wsgi:application"}, {"about": {"get": "/about/"}}),
        (
            {f"backend/{path}": text for path, text in DJANGO.items()} | {"requirements.txt": "django\n"},
            {"entry": "config.wsgi:application", "source": "../shop/backend"},
            {"about": {"get": "/about/"}},
        ),
        (
            {"web/src/shop/__init__.py": FLASK, "web/requirements.txt": ""},
            {"entry": "shop:app", "source": "../shop/web", "requirements": "requirements.txt"},
            {"index": {"get": "/"}},
        ),
    ],
    ids=["httpbin", "pypiserver", "django", "django-within", "src"],
)
def test_folders_as_they_are_in_the_world(
    tmp_path: Path, files: dict[str, str], application: dict[str, str], requests: dict[str, object]
) -> None:
    text, document = made(tmp_path, files)

    assert document == {"application": {"source": "../shop"} | application, "requests": requests}
    whole(text)
    if "config.wsgi" in application["entry"]:
        assert "where a prefix may go before it" in about(text, "new")
        assert "config/settings.py:3): a request may name one" in text
        assert "This is ASGI, which no WSGI server serves: " in about(text, "entry")
    if files.get("requirements.txt"):
        assert "requirements.txt is outside of its folder" in about(text, "requirements")


@pytest.mark.parametrize(
    ("files", "key", "value"),
    [
        ({"uv.lock": "", "requirements.txt": ""}, "requirements", "requirements.txt"),
        ({"uv.lock": "", "pyproject.toml": "[project]\n"}, "requirements", "uv.lock"),
        ({"pyproject.toml": "[project]\n"}, "requirements", "pyproject.toml"),
        *(
            ({"pyproject.toml": text}, "requirements", None)
            for text in ("[tool.x]", "project = 3", "a = " + "[" * 50_000)
        ),
        ({"requirements/prod.txt": "", "requirements/base.txt": ""}, "requirements", "requirements/prod.txt"),
        ({"requirements-dev.txt": "", "poetry.lock": ""}, "requirements", None),
        ({"Dockerfile": "FROM python:3.11-slim\n", ".python-version": "3.12\n"}, "python", "3.11"),
        ({".python-version": "3.10.4\n"}, "python", "3.10"),
        ({"runtime.txt": "python-3.12.1\n"}, "python", "3.12"),
        *(({".python-version": text}, "python", None) for text in ("pypy3.10\n", "3.6\n", "3.123\n")),
    ],
)
def test_requirements_and_python(tmp_path: Path, files: dict[str, str], key: str, value: str | None) -> None:
    assert made(tmp_path, {"app.py": FLASK} | files)[1]["application"].get(key) == value


# --- what it refuses


def test_a_folder_with_nothing_is_refused_with_what_is_looked_for(tmp_path: Path) -> None:
    folder = make(tmp_path / "shop", {"main.py": "from fastapi import FastAPI\napp = FastAPI()\n"})
    (folder / "app.py").symlink_to("/etc/hostname")

    message = refusal(UsageError, text_of, folder)
    assert message.startswith("--source ../shop: nothing in it looks like a WSGI application")
    for words in (
        "Procfile",
        "Dockerfile",
        "gunicorn.conf.py",
        "WSGI_APPLICATION",
        "wsgi.py",
        "Flask(",
        "create_app()",
    ):
        assert words in message
    assert "what is there is ASGI (main.py:2: app = FastAPI())" in message
    assert "app.py is a link that leads out of the folder" in message
    assert "invoke lab.run --app MODULE:CALLABLE --source FOLDER" in message
    text = text_of(make(folder, {"wsgi.py": FLASK}))
    assert "This is ASGI, which no WSGI server serves: main.py:2" in about(text, "entry")
    assert "Not looked at: app.py is a link that leads out of the folder" in about(text, "entry")


def test_the_name_is_that_of_the_folder_or_one_that_can_name_a_file(tmp_path: Path) -> None:
    for folder, name in (
        ("My Shop_2", "my-shop-2"),
        ("---", "application"),
        ("é", "application"),
        ("a" * 99, "a" * 40),
    ):
        assert name_of(folder) == name
    for name in ("", "A Name", "../x", "x.yaml", "-x"):
        with pytest.raises(SpecError, match="--name: must be lower-case letters"):
            new_application(name, "../shop", seen(make(tmp_path, {"app.py": FLASK})), ("postgres",), schema="x")


# --- hostile


LINES = [
    "\n  entry: evil:app",
    "\r  entry: evil:app",
    "\x1b[2J",
    "\u202e",
    "\x85  entry: evil:app",
    "\u2028x",
    "\ud800",
]
WORDS = [*LINES, "'\"#{}[],&*!|>%@`", "null", "404", "1e3", "2026-01-02", "~", "x: y", "x #y", "<<", "é", "a" * 500]
EVIL = st.lists(st.sampled_from(WORDS) | st.text(max_size=8), min_size=1, max_size=3).map("".join)


@settings(max_examples=50, deadline=None)
@given(EVIL)
def test_a_value_is_read_as_it_was_written_and_a_comment_is_one_line(text: str) -> None:
    assert safe(text).isprintable()
    assert len(safe(text)) <= 141
    if text.isprintable():
        for line in (f"a: {scalar(text)}", f"a: {{b: {scalar(text)}}}", f"a: [{scalar(text)}]"):
            found = load_yaml(line, "x")["a"]
            assert text in (found, *(found.values() if isinstance(found, dict) else found))


@settings(max_examples=25, deadline=None)
@example(" ", " ")
@given(EVIL, EVIL)
def test_a_hostile_folder_gives_a_file_that_the_lab_takes(evil: str, other: str) -> None:
    name = re.sub("[/\0\ud800-\udfff]", "", evil)[:60] or "x"
    text = evil.encode("utf-8", "replace").decode()
    files = {
        "main.py": f"import os\nos.environ['A']\n@app.route({json.dumps('/' + other)})\ndef a(): ...\n@app.get('/{text}')\n",
        "app.py": f"{FLASK}@app.route({json.dumps('/' + evil)})\ndef a(): ...\nx = {json.dumps(other)}\n",
        f"web{name}/app.py": FLASK,
        f"Dockerfile.{name}": f"FROM python:3.12{text}\nCMD gunicorn app:app{text} -b '{text}'\n",
        "Procfile": f"web: gunicorn app:app{text} --name '{text}'\nrelease: echo '{text}'\n",
        "gunicorn.conf.py": f"wsgi_app = {json.dumps(f'app:{evil}')}\nwsgi_app = 'app:f({text.encode()!r})'\n",
        "pyproject.toml": f"[project]\nrequires-python = {json.dumps(other)}\n",
        f"requirements-{name}.txt": "redis\n",
        "settings.py": f"WSGI_APPLICATION = '{text}.app'\n",
    }
    with TemporaryDirectory() as folder:
        made_text = text_of(make(Path(folder) / "shop", files))
    assert all(line.isprintable() for line in made_text.split("\n"))
    whole(made_text)
    application = checked(made_text)["application"]
    assert application["entry"].partition(":")[0] in ("app", "main")
    assert set(application) <= {"entry", "source", "requirements", "python"}
