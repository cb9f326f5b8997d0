"""Where in a folder a WSGI application is: its modules are parsed, never imported. Pure.

Several may be found. The best guess is the first by this order, and of the same kind the one nearest the top of the folder:

    1  what is started in production: the Procfile's `web`, a Dockerfile's CMD, `wsgi_app` in gunicorn.conf.py
    2  `WSGI_APPLICATION` in settings of Django
    3  `application` or `app` in a wsgi.py
    4  an object of any module such as `app = Flask(...)`, or else a factory such as `create_app()`

Tests, examples, documentation and environments are not looked at. What is ASGI is no candidate, whoever names it.
"""

import ast
import re
import warnings
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from wsgilab.experiment.application import of_get
from wsgilab.experiment.start_commands import Named, production
from wsgilab.model.errors import SpecError
from wsgilab.model.folder import Folder

MOST_PARSED = 1_000_000
"""Characters of all modules that are parsed, those of usual names and nearest the top first; only those with one of a few words
in them. Python takes ten seconds for the worst that can be written in so many."""
_TELLING = re.compile(
    r"\b(?:\w*app|application|[aw]sgi|start_response|urlpatterns|Flask|Bottle|falcon|[Dd]ash|route)\b"
)
_ASGI = frozenset({"asgi", "asgiref", "fastapi", "starlette", "quart", "litestar", "sanic", "channels", "aiohttp"})
"""In the name of what is called."""
_WSGI = re.compile(
    r"(?:.*\.)?(?:Flask|APIFlask|Eve|Bottle|default_app|get_wsgi_application|WSGIHandler|make_wsgi_app|wsgifunc|ASGIMiddleware)"
    r"|falcon\.A(?:pp|PI)|cherrypy\.Application|(?:.*\.)?(?:create|make|build|get|init)_(?:\w+_)?app(?:lication)?"
)
_MOST_NAMED = 20
"""What files name outright; a folder has one or two."""
_LONGEST = 200
"""Characters of an entry or a path."""
_NOT_ENTERED = re.compile(
    r"\..*|__pycache__|node_modules|site-packages|(virtual|v)?env|tests?|testing|docs?|examples?|migrations|build|dist|benchmarks"
)
_READ = re.compile(
    r"""(?:.*/)?(?: (?!test_|conftest\.)[^/]+\.py | (?:Dockerfile|Containerfile)[^/]* | [^/]*\.sh | pyproject\.toml )
    | Procfile | \.python-version | runtime\.txt""",
    re.VERBOSE,
)


_USUAL = ("application", "app")
"""What servers look for by themselves."""
_USUAL_FILES = ("wsgi.py", "app.py", "application.py", "main.py", "__init__.py")
Kind = Literal["wsgi", "asgi", ""]
"""Empty: the text does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """What a module binds a name to."""

    name: str
    line: int
    kind: Kind
    call: str = ""
    """`()` after the name of a factory."""
    needs: Sequence[str] = ()
    """Parameters of a factory that have no default."""


_Modules = Mapping[str, Mapping[str, _Bound]]
"""By path and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A WSGI application that may be meant."""

    entry: str
    root: str
    """The folder that it is imported from; empty: the folder itself."""
    found: str
    """Where, and what is there."""
    needs: Sequence[str] = ()
    """Parameters of a factory that the entry has no arguments for."""
    is_here: bool = True
    """Whether the folder has its module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """What was found."""

    candidates: Sequence[Candidate]
    """The best guess first."""
    asgi: Sequence[str]
    """Where applications are that are ASGI."""
    unparsed: Sequence[str]
    """Paths of modules that could not be parsed."""


def enters(name: str) -> bool:
    """Whether a folder of this name is looked into."""
    return _NOT_ENTERED.fullmatch(name) is None


def reads(path: str) -> bool:
    """Whether a file may say something of an application."""
    return len(path) <= _LONGEST and _READ.fullmatch(path) is not None


def find(folder: Folder) -> Entries:
    """The WSGI applications of a folder that was looked at with `enters` and `reads`."""
    modules, unparsed = _parsed(folder)
    ranked: list[tuple[tuple[Any, ...], Candidate]] = []
    asgi: list[str] = []
    for number, named in enumerate(islice(production(folder), _MOST_NAMED)):
        candidate = None if named.is_asgi else _named(named, folder.files, modules)
        if candidate is not None:
            ranked.append(((0 if candidate.is_here else 2, number), candidate))
        elif named.is_asgi:
            asgi.append(named.found)
    for path, names in modules.items():
        root, name = _place(path, folder.files)
        lines = (folder.files[path] or "").split("\n")
        for bound in names.values():
            where = f"{path}:{bound.line}: {lines[bound.line - 1].strip()}"
            is_wsgi_py = path.rsplit("/", 1)[-1] == "wsgi.py" and bound.name in _USUAL
            if bound.kind == "asgi":
                asgi.append(where)
            elif bound.kind == "wsgi" or is_wsgi_py:
                rank = (1, not is_wsgi_py, path.count("/"), bool(bound.call), path, bound.line)
                entry = f"{name}:{bound.name}{bound.call}"
                ranked.append((rank, Candidate(entry=entry, root=root, found=where, needs=bound.needs)))
    once: dict[tuple[str, str], Candidate] = {}
    for _, each in sorted(ranked, key=lambda pair: pair[0]):
        if _is_entry(each.entry):
            once.setdefault((each.root, each.entry), each)
    return Entries(candidates=list(once.values()), asgi=asgi, unparsed=unparsed)


def _is_entry(text: str) -> bool:
    try:
        of_get(text, ".", "/")
    except SpecError:
        return False
    return len(text) <= _LONGEST


def _named(named: Named, files: Collection[str], modules: _Modules) -> Candidate | None:
    """What is meant by a name; None: nothing that is known, or an ASGI application of the folder."""
    for word in named.words:
        module, _, call = word.partition(":")
        # Flask takes files too.
        module = module.removesuffix(".py").replace("/", ".").strip(".")
        as_path = module.replace(".", "/")
        found = [each for each in files if f"/{each}".endswith((f"/{as_path}.py", f"/{as_path}/__init__.py"))]
        path = min(found, key=lambda each: (each.count("/"), each), default="")
        # With a callable it may be in a package that is installed.
        if path or call:
            bound = modules.get(path, {})
            usual = [*(each for each in _USUAL if each in bound), *(each.name for each in bound.values() if each.kind)]
            known = bound.get(call or next(iter(usual), _USUAL[0]))
            if known is not None and known.kind == "asgi":
                return None
            entry = f"{module}:{known.name}{known.call}" if known else f"{module}:{call or _USUAL[0]}"
            root = path.removesuffix(".py").removesuffix("/__init__").removesuffix(as_path).rstrip("/")
            needs = known.needs if known else ()
            return Candidate(entry=entry, root=root, found=named.found, needs=needs, is_here=bool(path))
    return None


def _place(path: str, files: Mapping[str, str | None]) -> tuple[str, str]:
    """From which folder a module is imported, and its name: where Django's manage.py is, or else the first that is no package."""
    *folders, file = path.removesuffix(".py").split("/")
    depth = len(folders)
    while depth and "/".join((*folders[:depth], "__init__.py")) in files:
        depth -= 1
    managers = [(each, files.get("/".join((*folders[:each], "manage.py")))) for each in range(len(folders) + 1)]
    depth = max((each for each, text in managers if "DJANGO_SETTINGS_MODULE" in (text or "")), default=depth)
    parts = folders[depth:] if file == "__init__" else [*folders[depth:], file]
    return "/".join(folders[:depth]), ".".join(parts)


# --- modules


def _parsed(folder: Folder) -> tuple[_Modules, Sequence[str]]:
    """The modules of a folder, and the paths of those that could not be parsed."""
    modules: dict[str, Mapping[str, _Bound]] = {}
    unparsed: list[str] = []
    rest = MOST_PARSED
    texts = list(folder.texts(r"[A-Za-z_]\w*\.py"))
    for path, text in sorted(texts, key=lambda each: not each[0].endswith(_USUAL_FILES)):
        if not _TELLING.search(f"{path} {text}"):
            continue
        rest -= len(text)
        with warnings.catch_warnings():
            # What it is written like is its author's concern.
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(text if rest >= 0 else "(")
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                unparsed.append(path)
                continue
        modules[path] = _bound(tree, _imports(tree))
    return modules, unparsed


def _dotted(node: ast.AST | None, imports: Mapping[str, str]) -> str:
    """What an expression such as `flask.Flask` stands for, with dots; empty: something else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join((imports.get(node.id, node.id), *reversed(parts))) if isinstance(node, ast.Name) else ""


def _imports(tree: ast.Module) -> Mapping[str, str]:
    """Also those within functions, as factories import what they make, and what a class of the module is made from."""
    imports: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            before = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            imports |= {each.asname or each.name: f"{before}{each.name}" for each in node.names}
        elif isinstance(node, ast.ClassDef) and len(node.bases) == 1:
            imports[node.name] = _dotted(node.bases[0], imports)
    return imports


def _kind(node: ast.AST | None, imports: Mapping[str, str]) -> Kind:
    """What an expression makes."""
    if isinstance(node, ast.Attribute):
        # Dash has it in an attribute.
        return "wsgi" if node.attr == "server" and not {"dash", "Dash"}.isdisjoint(imports) else ""
    if not isinstance(node, ast.Call):
        return ""
    name = _dotted(node.func, imports)
    if _ASGI & set(name.lower().split(".")):
        return "asgi"
    return "wsgi" if _WSGI.fullmatch(name) or _WSGI.fullmatch(getattr(node.func, "attr", "")) else ""


def _bound(tree: ast.Module, imports: Mapping[str, str]) -> Mapping[str, _Bound]:
    """The names of a module that may be an application: by what makes them, or by their own."""
    bound: dict[str, _Bound] = {}
    for each in _statements(tree):
        if isinstance(each, ast.FunctionDef) and not each.decorator_list:
            function = _function(each, imports)
            bound |= {each.name: function} if function else {}
        elif isinstance(each, ast.ImportFrom):
            names = [alias.asname or alias.name for alias in each.names]
            bound |= {name: _Bound(name=name, line=each.lineno, kind="") for name in names if name in _USUAL}
        elif isinstance(each, ast.Assign | ast.AnnAssign) and not isinstance(each.value, ast.Constant | None):
            for target in each.targets if isinstance(each, ast.Assign) else [each.target]:
                name = target.id if isinstance(target, ast.Name) else ""
                # Another name for it, or something around it as in `app = ProxyFix(app)`.
                before = bound.get(each.value.id if isinstance(each.value, ast.Name) else name)
                kind = _kind(each.value, imports) or (before.kind if before else "wsgi" if name == _USUAL[0] else "")
                if name and (kind or name in _USUAL):
                    bound[name] = _Bound(name=name, line=each.lineno, kind=kind)
    return bound


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that an import carries out: also those in if, try and with, but not what a script does alone."""
    # No recursion: an elif is within the one before it, and there may be thousands.
    waiting = deque(tree.body)
    while waiting:
        each = waiting.popleft()
        yield each
        is_script = isinstance(each, ast.If) and _dotted(getattr(each.test, "left", None), {}) == "__name__"
        if isinstance(each, ast.If | ast.Try | ast.With) and not is_script:
            waiting.extendleft(reversed([*each.body, *getattr(each, "orelse", [])]))


def _function(function: ast.FunctionDef, imports: Mapping[str, str]) -> _Bound | None:
    """A WSGI application that is a function, or a factory; None: neither."""
    arguments = function.args
    plain = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    if plain in (["environ", "start_response"], ["env", "start_response"]):
        return _Bound(name=function.name, line=function.lineno, kind="wsgi")
    nodes = list(ast.walk(function))
    made = {_kind(node, imports) for node in nodes}
    returned = [_kind(node.value, imports) for node in nodes if isinstance(node, ast.Return)]
    names = (function.name, _dotted(function.returns, imports))
    if not any(map(_WSGI.fullmatch, names)) and "wsgi" not in returned:
        return None
    needs = plain[: len(plain) - len(arguments.defaults)]
    needs += [each.arg for each, usual in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not usual]
    kind: Kind = "asgi" if "asgi" in made and "wsgi" not in made else "wsgi"
    return _Bound(name=function.name, line=function.lineno, kind=kind, call="()", needs=needs)
