"""A new application file: what is found in a folder stands in it, strictly valid YAML, whatever the folder says."""

import json
import re
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.unit.experiment.test_entry_points import DJANGO, FLASK
from tests.unit.folders import make, seen
from wsgilab.experiment.application import parse
from wsgilab.experiment.application_scaffold import name_of, new_application, scalar, told
from wsgilab.experiment.parsing import load_yaml, validated
from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model.application import ApplicationSettings
from wsgilab.model.errors import SpecError, UsageError
from wsgilab.model.limits import Name

KEYS = {each.name for each in fields(ApplicationSettings)} - {"extras"}
"""Of the mapping `application`; extras are told."""
ALTERNATIVE = re.compile(r"( *)#(?=[^ #])")
"""How an alternative begins, and what is taken away to have it."""
SHOP = {
    "shop/__init__.py": """\
import os
from flask import Blueprint, Flask

admin = Blueprint("admin", __name__)


def create_app(config=None):
    app = Flask(__name__)
    app.secret_key = os.environ["SECRET_KEY"]
    os.environ["TZ"] = "UTC"

    @app.route("/orders/<int:number>")
    def order(number): ...

    @app.route("/orders")
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


@admin.route("/admin")
def administrate(): ...
""",
    "Procfile": "web: gunicorn \"shop:create_app('prod')\"\nrelease: python -m shop.seed --all\n",
    "Dockerfile": 'FROM python:3.12-slim\nCMD ["gunicorn", "shop.wsgi"]\n',
    "shop/wsgi.py": "from shop import create_app\napplication = create_app()\n",
    "gunicorn.conf.py": "workers = 4\nbind = ':80'\n",
    "requirements.txt": "flask==3.1\nPsycopg2_Binary>=2\n# redis\n",
    "requirements-dev.txt": "pytest\n",
    "locustfile.py": "x = 1\n",
    ".env": "SECRET_KEY=s3cret\n",
    "instance/": "",
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


def application(tmp_path: Path, files: dict[str, str]) -> dict[str, Any]:
    return dict(made(tmp_path, files)[1]["application"])


def about(text: str, key: str) -> str:
    """The comments before a key, alternative or not."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if re.match(rf" *#?{key}:", line))
    first = next(number for number in range(at, -1, -1) if not lines[number - 1].startswith("  # "))
    return "\n".join(lines[first:at])


def test_what_is_found_stands_in_it_with_where_it_was_found(tmp_path: Path) -> None:
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
    entry = about(text, "entry")
    assert "Found in Procfile:1: gunicorn \"shop:create_app('prod')\"" in entry
    assert "shop.wsgi:application   (Dockerfile:2: " in entry
    assert "shop:create_app()   (shop/__init__.py:7: def create_app(config=None):)" in entry
    assert "Production has workers = 4 (gunicorn.conf.py:1)" in entry
    assert "Found in Dockerfile:1" in about(text, "python")
    assert "SECRET_KEY, which is read without a default in shop/__init__.py:9" in about(text, "env")
    assert "TZ" not in text
    assert "s3cret" not in text
    assert "There is a .env, which was not read" in about(text, "env_file")
    assert "Procfile:2 has python -m shop.seed --all" in about(text, "prepare")
    assert "Found in shop/__init__.py:27" in about(text, "ready")
    assert "It may need PostgreSQL: requirements.txt names psycopg2-binary" in about(text, "backends")
    assert "Redis" not in text
    assert "Found in shop/__init__.py:21" in about(text, "index")
    assert "invoke lab.run --app shop.yaml\n" in text
    assert text.startswith("# yaml-language-server: $schema=schemas/application.json\n")


def alternatives(text: str) -> list[list[int]]:
    """The numbers of lines that belong together."""
    runs = groupby(enumerate(text.splitlines()), lambda numbered: bool(ALTERNATIVE.match(numbered[1])))
    return [[number for number, _ in run] for is_alternative, run in runs if is_alternative]


def chosen(text: str, numbers: list[int]) -> str:
    """The file with these lines in place of comments."""
    return "\n".join(
        ALTERNATIVE.sub(r"\1", line) if at in numbers else line for at, line in enumerate(text.splitlines())
    )


@pytest.mark.parametrize("files", [SHOP, {"app.py": FLASK}, DJANGO], ids=["shop", "bare", "django"])
def test_it_is_valid_with_each_of_its_alternatives_and_with_all(tmp_path: Path, files: dict[str, str]) -> None:
    text, document = made(tmp_path, files)
    runs = alternatives(text)

    assert len(runs) >= 8
    for numbers in runs:
        assert checked(chosen(text, numbers)) != document
    whole = checked(chosen(text, [number for run in runs for number in run]))
    assert set(whole["application"]) == KEYS


def test_every_key_has_a_line_that_explains_it(tmp_path: Path) -> None:
    text, _ = made(tmp_path, {"app.py": FLASK})

    for key in KEYS:
        assert about(text, key).startswith("  # "), key


def test_what_is_not_found_is_to_be_filled_in(tmp_path: Path) -> None:
    text, document = made(tmp_path, {"app.py": FLASK})

    assert document == {
        "application": {"entry": "app:app", "source": "../shop"},
        "requests": {"index": {"get": "/"}},
    }
    assert "Fill in: none was found" in about(text, "requirements")
    assert "Fill in: no path was found" in about(text, "index")


def test_what_a_factory_needs_is_to_be_filled_in(tmp_path: Path) -> None:
    text, document = made(tmp_path, {"app.py": "def create_app(config, debug): ...\n"})

    assert document["application"]["entry"] == "app:create_app()"
    assert "Fill in: it needs config, debug." in about(text, "entry")


def test_requests_are_routes_that_can_be_sent_as_they_stand(tmp_path: Path) -> None:
    text, _ = made(tmp_path, SHOP)
    whole = checked(chosen(text, [number for run in alternatives(text) for number in run]))
    paths = {name: request.get("get") for name, request in whole["requests"].items()}

    assert paths["index"] == "/"
    assert paths["orders"] == "/orders"
    # The lab has a workload of that name.
    assert paths["get-hello"] == "/hello"
    assert "/buy" not in paths.values()
    assert "/admin" not in paths.values()
    assert "There is a Locust file, locustfile.py" in text
    assert not set(whole["requests"]) & set(WORKLOADS)


def test_without_a_first_page_the_shortest_route_is_the_first_request(tmp_path: Path) -> None:
    _, document = made(tmp_path, {"app.py": FLASK + "@app.get('/a/b')\ndef b(): ...\n@app.get('/404')\ndef a(): ...\n"})

    assert document["requests"] == {"404": {"get": "/404"}}


def test_blueprints_have_the_prefix_that_they_are_registered_at(tmp_path: Path) -> None:
    files = {
        "shop/__init__.py": """\
from flask import Flask
from shop.orders import orders
from . import buy, admin, nested

def create_app(at):
    app = Flask(__name__)
    app.register_blueprint(orders)
    app.register_blueprint(buy.pages, url_prefix="/buy")
    app.register_blueprint(admin.pages, url_prefix=at)
    buy.pages.register_blueprint(nested.pages)
    return app
""",
        "shop/orders.py": "from flask import Blueprint\norders = Blueprint('o', __name__, url_prefix='/orders/')\n"
        "@orders.route('/new')\ndef new(): ...\n@orders.route('')\ndef all(): ...\n",
        **{
            f"shop/{name}.py": f"from flask import Blueprint\npages = Blueprint('{name}', __name__)\n"
            f"@pages.route('/{name}')\ndef page(): ...\n@pages.post('/post')\ndef post(): ...\n"
            for name in ("buy", "admin", "nested", "forgotten")
        },
        "run.py": "from shop import create_app\napp = create_app('/x')\n",
    }
    text, _ = made(tmp_path, files)
    whole = checked(chosen(text, [number for run in alternatives(text) for number in run]))
    paths = {each.get("get") for each in whole["requests"].values()}

    assert paths - {None, "/?page=1"} == {"/orders/", "/orders/new", "/buy/buy"}


def test_what_only_scripts_need_of_the_environment_is_not_asked_for(tmp_path: Path) -> None:
    read = "import os\nx = os.environ['{}']\n"
    files = {
        "shop/__init__.py": FLASK + read.format("PACKAGE"),
        "shop/inner/a.py": read.format("INNER") + "os.environ['SET'] = '1'\nif os.environ['COMPARED'] == 'x': ...\n",
        "settings.py": read.format("BESIDE"),
        "bin/release.py": read.format("SCRIPT"),
    }
    text, _ = made(tmp_path, files)

    assert set(re.findall(r"Fill in: ([A-Z]+),", text)) == {"PACKAGE", "INNER", "COMPARED", "BESIDE"}


def test_a_django_project_has_the_paths_of_its_urls(tmp_path: Path) -> None:
    urls = """\
from django.contrib import admin
from django.urls import include, path
from . import views
urlpatterns = [
    path("admin/", admin.site.urls),
    path("orders/", include("orders.urls")),
    path("about/", views.about),
    path("items/<int:pk>/", views.item),
]
"""
    inner = 'from django.urls import path, include\nurlpatterns = [path("", x), path("new/", y), path("", include("config.urls"))]\n'
    files = {f"backend/{path}": text for path, text in DJANGO.items()}
    files["backend/config/settings.py"] += 'ALLOWED_HOSTS = ["shop.example"]\n'
    files |= {"backend/config/urls.py": urls, "backend/orders/__init__.py": "", "backend/orders/urls.py": inner}
    text, document = made(tmp_path, files | {"requirements.txt": "django\n"})

    assert document["application"]["source"] == "../shop/backend"
    assert document["application"]["entry"] == "config.wsgi:application"
    assert document["requests"] == {"orders": {"get": "/orders/"}}
    whole = checked(chosen(text, [number for run in alternatives(text) for number in run]))
    assert {"/orders/", "/orders/new/", "/about/"} <= {each.get("get") for each in whole["requests"].values()}
    assert "/admin/" not in text
    assert "Django answers 400 to hosts that ALLOWED_HOSTS lacks (backend/config/settings.py:3)" in text
    assert "requirements.txt is outside of its folder" in about(text, "requirements")


@pytest.mark.parametrize(
    ("files", "requirements"),
    [
        ({"uv.lock": "", "pyproject.toml": "[project]\nname = 'x'\n", "requirements.txt": ""}, "uv.lock"),
        ({"pyproject.toml": "[project]\nname = 'x'\n", "requirements.txt": ""}, "requirements.txt"),
        ({"pyproject.toml": "[project]\nname = 'x'\n"}, "pyproject.toml"),
        ({"pyproject.toml": "[tool.ruff]\n"}, None),
        ({"pyproject.toml": "project = 3\n"}, None),
        ({"pyproject.toml": "["}, None),
        ({"pyproject.toml": "a = " + "[" * 50_000}, None),
        (
            {"requirements/prod.txt": "", "requirements/base.txt": "", "requirements/dev.txt": ""},
            "requirements/prod.txt",
        ),
        ({"requirements-dev.txt": ""}, None),
        ({"poetry.lock": ""}, None),
    ],
)
def test_requirements(tmp_path: Path, files: dict[str, str], requirements: str | None) -> None:
    assert application(tmp_path, {"app.py": FLASK} | files).get("requirements") == requirements


def test_extras_and_other_tools_are_told(tmp_path: Path) -> None:
    project = "[project]\nname = 'x'\nrequires-python = '>=3.10'\ndependencies = ['redis>=5', 'flask']\n[project.optional-dependencies]\nprod = []\n"
    text, _ = made(tmp_path / "a", {"app.py": FLASK, "pyproject.toml": project})

    assert "pyproject.toml has the extras prod." in about(text, "requirements")
    assert "pyproject.toml says >=3.10." in about(text, "python")
    assert "It may need Redis: pyproject.toml names redis." in about(text, "backends")
    text, _ = made(tmp_path / "b", {"app.py": FLASK, "poetry.lock": ""})
    assert "poetry export" in about(text, "requirements")


@pytest.mark.parametrize(
    ("files", "python"),
    [
        ({"Dockerfile": "FROM python:3.11-slim\n", ".python-version": "3.12\n"}, "3.11"),
        ({".python-version": "3.10.4\n"}, "3.10"),
        ({"runtime.txt": "python-3.12.1\n"}, "3.12"),
        ({".python-version": "pypy3.10\n"}, None),
        ({"runtime.txt": "python-3.6.5\n"}, None),
        ({"Dockerfile": "FROM python:3.6\n", "runtime.txt": "python-3.11\n"}, "3.11"),
        ({"Dockerfile": "FROM debian\n"}, None),
    ],
)
def test_python(tmp_path: Path, files: dict[str, str], python: str | None) -> None:
    assert application(tmp_path, {"app.py": FLASK} | files).get("python") == python


def test_a_package_under_src_leaves_the_source_as_it_is(tmp_path: Path) -> None:
    found = application(tmp_path / "a", {"src/shop/__init__.py": FLASK, "requirements.txt": ""})
    assert (found["entry"], found["source"], found["requirements"]) == ("shop:app", "../shop", "requirements.txt")
    found = application(tmp_path / "b", {"web/src/shop/__init__.py": FLASK, "web/requirements.txt": ""})
    assert (found["source"], found["requirements"]) == ("../shop/web", "requirements.txt")


# --- what it refuses


def test_a_folder_with_nothing_is_refused_with_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        text_of(make(tmp_path / "shop", {"readme.txt": "x"}))

    assert caught.value.message.startswith(
        "--source ../shop: nothing in it looks like a WSGI application; looked for are"
    )
    for word in ("Procfile", "Dockerfile", "gunicorn.conf.py", "WSGI_APPLICATION", "wsgi.py", "Flask(", "create_app()"):
        assert word in caught.value.message
    assert "invoke lab.run --app MODULE:CALLABLE --source FOLDER" in caught.value.message


def test_an_asgi_application_is_told_as_such(tmp_path: Path) -> None:
    files = {"main.py": "from fastapi import FastAPI\napp = FastAPI()\n"}

    with pytest.raises(UsageError, match=r"what is there is ASGI \(main\.py:2: fastapi\.FastAPI\)"):
        text_of(make(tmp_path / "a", files))
    text, _ = made(tmp_path / "b", files | {"app.py": FLASK})
    assert "This is ASGI, which no WSGI server serves: main.py:2" in about(text, "entry")


def test_what_could_not_be_looked_at_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path / "shop", {})
    (folder / "app.py").symlink_to("/etc/hostname")

    with pytest.raises(UsageError, match=r"app\.py is a link that leads out of the folder"):
        text_of(folder)
    make(folder, {"wsgi.py": FLASK})
    text = text_of(folder)
    checked(text)
    assert "Not looked at: app.py is a link that leads out of the folder" in about(text, "entry")


@pytest.mark.parametrize("name", ["", "A Name", "../x", "x.yaml", "-x"])
def test_a_name_that_can_name_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match="--name: must be lower-case letters"):
        new_application(name, "../shop", seen(make(tmp_path / "shop", {"app.py": FLASK})), ("postgres",), schema="x")


@pytest.mark.parametrize(
    ("folder", "name"),
    [("shop", "shop"), ("My Shop_2", "my-shop-2"), ("---", "application"), ("é", "application"), ("a" * 99, "a" * 40)],
)
def test_a_name_from_that_of_the_folder(folder: str, name: str) -> None:
    assert name_of(folder) == name
    validated(name, Name, "name")


# --- hostile


EVIL = [
    "x\n  entry: evil:app",
    "x: y",
    "'\"#{}[],&*!|>%@`",
    "\x1b[31mred",
    "\u202eesrever",
    "\u2028next",
    "-",
    "null",
    "404",
    "1e3",
    "2026-01-02",
    "~",
    "a" * 500,
    "é",
    "x #y",
    "{x: y}",
    "\t",
    "\x85",
    "${HOME}",
    "<<",
]


@pytest.mark.parametrize("text", EVIL)
def test_a_value_is_read_as_it_was_written(text: str) -> None:
    for line in (f"a: {scalar(text)}", f"a: {{b: {scalar(text)}}}", f"a: [{scalar(text)}]"):
        found = load_yaml(line, "x")["a"]
        assert text in (found, *(found.values() if isinstance(found, dict) else found))
        assert line.isprintable()


@pytest.mark.parametrize("text", EVIL)
def test_what_is_told_is_one_printable_line(text: str) -> None:
    assert told(text).isprintable()
    assert len(told(text)) <= 141


@pytest.mark.parametrize(
    "evil", ["\n  entry: evil:app", "\r  entry: evil:app", "\x1b[2J", "\u202e", "#", "\x85  entry: evil:app", "\u2028x"]
)
def test_what_a_folder_says_adds_nothing_to_the_file(tmp_path: Path, evil: str) -> None:
    route = json.dumps(f"/{evil}")
    files = {
        "app.py": f"{FLASK}@app.route({route})\ndef a(): ...\n",
        f"web{evil}/app.py": FLASK,
        f"Dockerfile.{evil}": f"FROM python:3.12\nCMD gunicorn app:app -b '{evil}'\n",
        "Procfile": f"web: gunicorn app:app --name '{evil}'\nrelease: echo '{evil}'\n",
        "gunicorn.conf.py": f"worker_class = {json.dumps(evil)}\nwsgi_app = {json.dumps(f'app:{evil}')}\n",
        "pyproject.toml": f"[project]\nrequires-python = {json.dumps(evil)}\n[project.optional-dependencies]\n{json.dumps(evil)} = []\n",
        "requirements.txt": f"psycopg2{evil}\n",
        f"requirements-{evil}.txt": "redis\n",
        f"{evil}/locustfile.py": "x = 1\n",
    }
    text, document = made(tmp_path, files)

    assert all(line.isprintable() for line in text.splitlines())
    assert text.isascii() or "…" in text
    assert document["application"] == {
        "entry": "app:app",
        "source": "../shop",
        "requirements": "requirements.txt",
        **({"python": "3.12"} if "python" in document["application"] else {}),
    }
    assert set(document["requests"]) <= {"index", "application"}


def test_a_source_with_a_name_of_any_kind(tmp_path: Path) -> None:
    folder = make(tmp_path / "shop", {"a b: {c}/app.py": FLASK})
    text = text_of(folder, "../x: y #z")

    assert checked(text)["application"]["source"] == "../x: y #z/a b: {c}"
