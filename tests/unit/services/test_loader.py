"""Loading an application as Gunicorn does, and saying why it cannot be served."""

import importlib
import json
import runpy
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from wsgilab_door import loader
from wsgilab_door.loader import NotServed

DOOR = Path(__file__).parents[3] / "services" / "door"
SHOP = """\
import os

HERE = os.getcwd()

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"plain"]

class Site:
    wsgi = staticmethod(app)

def create_app(name="none", *, roots=(), **more):
    def made(environ, start_response):
        start_response("200 OK", [])
        return [repr((name, roots, more)).encode()]
    return made

def positional(one, two):
    return app

def broken():
    return os.environ["SHOP_DB"]

def ends():
    raise SystemExit("no\\nlicence")

def nothing():
    return None

async def coroutine(scope, receive, send): ...

class Asgi:
    async def __call__(self, scope, receive, send): ...

asgi = Asgi()
number = 7
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module `door_shop`, and a package; all that is changed by importing is put back."""
    (tmp_path / "door_shop.py").write_text(SHOP)
    package = tmp_path / "door_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "wsgi.py").write_text("from door_shop import app as application\n")
    (package / "lacking.py").write_text("import os\n\nimport no_such_package.at_all\n")
    (package / "failing.py").write_text("def fail():\n    raise ValueError('first line\\n  second')\n\nfail()\n")
    (package / "misspelt.py").write_text("def x(:\n")
    (package / "ending.py").write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(Path.cwd())
    before = set(sys.modules)
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def answer(application: Any) -> bytes:
    return b"".join(application({}, lambda *_: None))


def load(source: Path, entry: str) -> Any:
    return loader.load(entry, loader.enter(str(source)))


def refusal(source: Path, entry: str) -> str:
    with pytest.raises(NotServed) as caught:
        load(source, entry)
    return str(caught.value)


@pytest.mark.parametrize(
    ("entry", "body"),
    [
        ("door_shop:app", "plain"),
        ("door_package.wsgi", "plain"),
        ("door_package.wsgi:application", "plain"),
        ("door_shop:Site.wsgi", "plain"),
        ("door_shop:create_app()", "('none', (), {})"),
        ("door_shop:create_app('prod')", "('prod', (), {})"),
        ('door_shop:create_app(roots=["/data", "a:b"])', "('none', ['/data', 'a:b'], {})"),
        ("door_shop:create_app('x', n=-1, d={'k': (1, None)})", "('x', (), {'n': -1, 'd': {'k': (1, None)}})"),
        ("door_shop:positional(1, 2)", "plain"),
    ],
)
def test_an_entry_is_loaded(source: Path, entry: str, body: str) -> None:
    assert answer(load(source, entry)).decode() == body


@pytest.mark.parametrize(
    "entry",
    [
        "",
        ":app",
        "door_shop:",
        "door shop:app",
        "door_shop.py:app.",
        "door_shop:app[0]",
        "door_shop:app; 1",
        "door_shop:create_app(os)",
        "door_shop:create_app(name=1 + os)",
        "door_shop:create_app(**{'name': 1})",
        "door_shop:create_app()()",
        "door_shop:create_app(",
        "../door_shop:app",
    ],
)
def test_what_is_no_entry_is_told_with_what_would_be_one(source: Path, entry: str) -> None:
    assert refusal(source, entry) == f"{entry!r} is neither module:callable nor module:factory(literal arguments)"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (
            "nowhere:app",
            "nowhere:app does not import: ModuleNotFoundError: No module named 'nowhere'; looked for in SOURCE",
        ),
        (
            "door_package.nowhere:app",
            (
                "door_package.nowhere:app does not import: ModuleNotFoundError: No module named 'door_package.nowhere'; "
                "looked for in SOURCE"
            ),
        ),
        (
            "door_package.lacking:app",
            (
                "door_package.lacking:app does not import: ModuleNotFoundError: No module named 'no_such_package' "
                "(door_package/lacking.py, line 3)"
            ),
        ),
        (
            "door_package.failing:app",
            "door_package.failing:app does not import: ValueError: first line second (door_package/failing.py, line 2)",
        ),
        (
            "door_package.misspelt:app",
            "door_package.misspelt:app does not import: SyntaxError: invalid syntax (misspelt.py, line 1)",
        ),
        (
            "door_package.ending:app",
            "door_package.ending:app does not import: SystemExit: 3 (door_package/ending.py, line 1)",
        ),
        ("door_shop:apq", "door_shop:apq: door_shop has no 'apq'"),
        ("door_shop:Site.apq", "door_shop:Site.apq: Site has no 'apq'"),
        ("door_shop:number", "door_shop:number is no WSGI callable, but int"),
        ("door_shop:number()", "door_shop:number(): number is called, but is int"),
        ("door_shop:nothing()", "door_shop:nothing() is no WSGI callable, but NoneType"),
        (
            "door_shop:nothing",
            (
                "door_shop:nothing is no WSGI callable: it does not take (environ, start_response), but (); "
                "write door_shop:nothing() if it makes the application"
            ),
        ),
        (
            "door_shop:asgi",
            "door_shop:asgi is an ASGI application (door_shop.Asgi), and these servers serve WSGI",
        ),
        (
            "door_shop:coroutine",
            "door_shop:coroutine is an ASGI application (function), and these servers serve WSGI",
        ),
        ("door_shop:broken()", "door_shop:broken() raised KeyError: 'SHOP_DB' (door_shop.py, line 22)"),
        ("door_shop:ends()", "door_shop:ends() raised SystemExit: no licence (door_shop.py, line 25)"),
        (
            "door_shop:positional()",
            "door_shop:positional() raised TypeError: positional() missing 2 required positional arguments: 'one' and 'two'",
        ),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(source: Path, entry: str, told: str) -> None:
    assert refusal(source, entry) == told.replace("SOURCE", str(source))


class Callable2:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


class MadeOfIt:
    def __init__(self, environ: Any, start_response: Any) -> None: ...


def two(environ: Any, start_response: Any) -> Any: ...


def three(_one: Any, _two: Any, _three: Any) -> Any: ...


@wraps(three)
def disguised(environ: Any, start_response: Any) -> Any: ...


@wraps(two)
def undisguised(*_: Any) -> Any: ...


@pytest.mark.parametrize(
    "found",
    [
        Callable2(),
        MadeOfIt,
        two,
        disguised,
        undisguised,
        partial(lambda *_: None, 1),
        lambda *_: None,
        Callable2().__call__,
        dict,
    ],
)
def test_what_may_be_called_with_environment_and_start_response_is_an_application(found: object) -> None:
    assert loader.unfit(found) is None


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    "found", [asgi, partial(asgi, None), lambda: None, lambda _: None, lambda _a, _b, _c: None, "x"]
)
def test_anything_else_is_none(found: object) -> None:
    assert loader.unfit(found) is not None


def test_source_and_its_src_are_first_on_the_path_and_the_source_is_the_working_folder(source: Path) -> None:
    (source / "src").mkdir()
    (source / "src" / "door_within.py").write_text("from door_shop import HERE, app\n")

    application = load(source, "door_within:app")

    assert answer(application) == b"plain"
    assert sys.path[:2] == [str(source), str(source / "src")]
    assert sys.modules["door_within"].HERE == str(Path.cwd()) == str(source), "while it is imported, too"


def test_a_source_that_is_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotServed, match=r"^LAB_SOURCE: /no/where: No such file or directory; name the folder"):
        loader.enter("/no/where")


# As servers have it.


def served(source: Path, code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What a process that begins as a server does, in the door's folder, has to say."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=False,
        cwd=DOOR,
        env={"PATH": "/usr/bin:/bin", "LAB_SOURCE": str(source), **environment},
        capture_output=True,
        text=True,
    )


def test_a_module_may_have_the_name_of_one_of_the_doors_or_of_a_module_that_it_needs(tmp_path: Path) -> None:
    for name in ("app", "stamp", "late", "pages", "loader", "wsgi", "work", "json", "email", "wsgilab"):
        (tmp_path / f"{name}.py").write_text(f"NAME = {name!r}\n")
    (tmp_path / "app.py").write_text(
        "import email, late, loader, pages, stamp, wsgi, wsgilab, work\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [' '.join(each.NAME for each in (stamp, late, pages, loader, wsgi, work, wsgilab)).encode()]\n"
    )
    code = """
        from wsgilab_door.wsgi import app
        begun = lambda *given: print(given[0])
        print(b"".join(app({"PATH_INFO": "/"}, begun)).decode())
        print(b"".join(app({"PATH_INFO": "/__lab__/facts"}, begun)).decode()[:6])
    """
    told = served(tmp_path, code)

    assert told.stderr == ""
    assert told.stdout.split("\n") == ["200 OK", "stamp late pages loader wsgi work wsgilab", "200 OK", '{"pid"', ""]


def test_the_door_itself_imports_nothing_but_the_standard_library() -> None:
    told = served(Path(), "import wsgilab_door; print(*(name for name in vars(wsgilab_door) if name[0] != '_'))")
    assert told.stdout == "\n", "and its __init__ nothing at all"
    for name in ("late", "loader", "pages", "stamp", "behind_nginx", "gunicorn_settings"):
        found = subprocess.run(
            [sys.executable, "-S", "-E", "-c", f"import wsgilab_door.{name}"],
            check=False,
            cwd=DOOR,
            capture_output=True,
        )
        assert found.stderr == b""


@pytest.mark.parametrize("words", [["-c", "import wsgilab_door.wsgi"], ["-m", "wsgilab_door.dev_server"]])
def test_a_server_says_why_in_one_line_after_the_last_lines_of_the_traceback_and_fails(
    tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "app.py").write_text("def fail():\n    raise ValueError('no database')\n\nfail()\n")
    told = subprocess.run(
        [sys.executable, *words],
        check=False,
        cwd=DOOR,
        env={"PATH": "/usr/bin:/bin", "LAB_SOURCE": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    line = "wsgilab_door: app:app does not import: ValueError: no database (app.py, line 2)"
    lines = told.stderr.splitlines()
    assert told.returncode != 0
    assert lines.count(line) == 1
    assert lines[lines.index(line) - 1] == "ValueError: no database"
    assert "    raise ValueError('no database')" in lines[: lines.index(line)]
    if "-m" in words:
        assert lines[-1] == line, "the development server says no more"


def test_without_any_variable_it_is_the_module_app_of_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def app(environ, start_response): ...\n")
    told = subprocess.run(
        [sys.executable, "-c", "import wsgilab_door.wsgi; print(wsgilab_door.wsgi.late)"],
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(DOOR)},
        capture_output=True,
        text=True,
    )

    assert (told.stdout, told.stderr) == ("None\n", "")


def test_a_configuration_file_of_the_users_own_is_taken_by_gunicorn_beside_the_labs_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "threads = 6\nraw_env = ['PRICE=$5']\n\ndef post_fork(server, worker):\n    return worker\n"
    monkeypatch.setenv("LAB_GUNICORN_CONF", json.dumps(text))
    found = runpy.run_module("wsgilab_door.gunicorn_settings")

    assert (found["control_socket_disable"], found["threads"], found["raw_env"]) == (True, 6, ["PRICE=$5"])
    assert found["post_fork"](None, "worker") == "worker"
