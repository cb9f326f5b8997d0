"""Where in a folder a WSGI application is: the modules are parsed, never imported. Pure.

Several may be found. The best guess is the first by this order of evidence, and of the same evidence the one nearest the top of
the folder, then by file (app, application, main, server, run, a package's __init__, any other), then by name:

    1  Procfile             the command of `web` names it: Gunicorn, uWSGI, waitress, Granian, `flask run`, `python FILE`
    2  Dockerfile           CMD or ENTRYPOINT of the last stage names it, or a shell script that they name
    3  gunicorn.conf.py     `wsgi_app`
    4  settings of Django   `WSGI_APPLICATION`
    5  wsgi.py              an application or a name for one: `application`, `app`, also imported ones
    6  any module           an object: `app = Flask(...)`, `app = create_app()`, `def application(environ, start_response)`
    7  any module           a factory that needs no arguments: `create_app()`, or a function that returns a `Flask(...)`
    8  any module           `application = ...`, of which the text does not say what it is
    9  any module           a factory that needs arguments
    10 1 to 3               a module that they name, but which is not in the folder: perhaps an installed package

What names an application outright names the one that production has, and everything else is a guess; an object needs no
arguments, so it comes before a factory. Tests, examples, documentation and environments are not looked at. What is ASGI is no
candidate, whoever names it.
"""

import ast
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from wsgilab.experiment import start_commands
from wsgilab.experiment.start_commands import Command, Started, tree_of
from wsgilab.model.folder import Folder

MOST_PARSED = 1_000_000
"""Characters of all modules that are parsed, those of usual names first, then nearest the top first. Only those with one of
a few words in them are. Python takes ten seconds for the worst that can be written in so many."""

Kind = Literal["wsgi", "asgi", "unknown"]

_NOT_ENTERED = frozenset(
    {
        "__pycache__",
        "node_modules",
        "site-packages",
        "venv",
        "env",
        "virtualenv",
        "tests",
        "test",
        "testing",
        "docs",
        "doc",
    }
    | {"examples", "example", "migrations", "build", "dist", "benchmarks"}
)
_READ = re.compile(
    r"""(?:.*/)?(?: [^/]+\.py | (?:Dockerfile|Containerfile)(?:\.[^/]*)? | [^/]*\.sh )
    | Procfile | \.python-version | runtime\.txt
    | (?:.*/)?(?: requirements[^/]*\.txt | requirements/[^/]+\.txt | pyproject\.toml )""",
    re.VERBOSE,
)
_TELLING = re.compile(
    r"""\b(?: [aw]sgi | [AW]SGI | application | start_response | urlpatterns | Bottle | [Dd]ash | [Ff]lask | falcon | pecan )
    | \b(?: cherrypy | Eve | FastAPI | Starlette | Quart | Litestar | Sanic )\b | _app\b | @\w{1,50}\.(?:route|get)\(
    | \bimport\b [^\n]{0,100} \bapp\b""",
    re.VERBOSE,
)
"""In the path or the text of a module that may say something."""
_MODULE = re.compile(r"(?:.*/)?[A-Za-z_]\w*\.py", re.ASCII)

_WSGI = frozenset(
    {
        "flask.Flask",
        "flask.app.Flask",
        "apiflask.APIFlask",
        "flask_openapi3.OpenAPI",
        "eve.Eve",
        "bottle.Bottle",
        "bottle.default_app",
        "bottle.app",
        "falcon.App",
        "falcon.API",
        "falcon.app.App",
        "django.core.wsgi.get_wsgi_application",
        "django.core.handlers.wsgi.WSGIHandler",
        "configurations.wsgi.get_wsgi_application",
        "cherrypy.Application",
        "cherrypy.tree.mount",
        "pecan.make_app",
        "paste.deploy.loadapp",
        "pyramid.paster.get_app",
        "web.application",
        "werkzeug.middleware.dispatcher.DispatcherMiddleware",
        "a2wsgi.ASGIMiddleware",
    }
)
_ASGI = frozenset(
    {
        "fastapi.FastAPI",
        "starlette.applications.Starlette",
        "quart.Quart",
        "litestar.Litestar",
        "sanic.Sanic",
        "falcon.asgi.App",
        "django.core.asgi.get_asgi_application",
        "channels.routing.ProtocolTypeRouter",
        "aiohttp.web.Application",
        "asgiref.wsgi.WsgiToAsgi",
        "a2wsgi.WSGIMiddleware",
        "blacksheep.Application",
        "robyn.Robyn",
        "connexion.AsyncApp",
    }
)
_MAKES_WSGI = frozenset({"make_wsgi_app", "wsgifunc"})
"""Methods, of Pyramid and web.py."""
_IS_WSGI = frozenset({"server", "wsgi_app"})
"""Attributes, of Dash and Flask."""
_FACTORIES = frozenset(
    f"{verb}_{noun}" for verb in ("create", "make", "build", "get") for noun in ("app", "application", "wsgi_app")
) | {"app_factory", "application_factory", "get_wsgi_application"}
_TYPES = frozenset({"Flask", "Bottle"})
"""That a function says to return, wherever it has them from."""
_NAMES = ("application", "app", "wsgi_app", "wsgi", "server", "api")
_FILES = ("app", "application", "main", "server", "run", "__init__")
_WSGI_FILES = frozenset({"wsgi", "passenger_wsgi"})
_USUAL = _WSGI_FILES.union(_FILES, ("settings", "urls", "routes", "views"))
"""Names of modules that most often say something."""


def enters(name: str) -> bool:
    """Whether a folder of this name is looked into."""
    return not name.startswith(".") and name not in _NOT_ENTERED


def reads(path: str) -> bool:
    """Whether a file may say something of an application: what `look` is to read."""
    name = path.rsplit("/", 1)[-1]
    return _READ.fullmatch(path) is not None and not name.startswith(("test_", "conftest.")) and len(path) < 300  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a module binds a name to."""

    name: str
    line: int
    kind: Kind
    is_factory: bool = False
    is_imported: bool = False
    needs: tuple[str, ...] = ()
    """Parameters of a factory that have no default."""
    framework: str = ""
    """What makes it, such as `flask.Flask`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module of the folder."""

    path: str
    root: str
    """The folder that it is imported from; empty: the folder itself."""
    name: str
    """With dots."""
    tree: ast.Module
    imports: Mapping[str, str]
    """Name -> what it stands for, with dots."""
    bound: Mapping[str, Bound] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A WSGI application that may be meant."""

    entry: str
    root: str
    """The folder that it is imported from; empty: the folder itself."""
    path: str = ""
    """Of its module; empty: it is not in the folder."""
    found: tuple[str, ...]
    """Where, and what stands there; the strongest evidence first."""
    needs: tuple[str, ...] = ()
    """Parameters of a factory without a default, which the entry has no arguments for."""
    rank: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """What was found."""

    candidates: Sequence[Candidate]
    """The best guess first."""
    asgi: Sequence[str]
    """Where applications are that are ASGI."""
    modules: Mapping[str, Module]
    """Those that were parsed, by path."""
    unparsed: Sequence[str]
    """Paths of modules that were not, nor could be."""
    commands: Mapping[str, Command]
    """Kind of process of the Procfile -> its command."""


def find(folder: Folder) -> Entries:
    """The WSGI applications of a folder that was looked at with `enters` and `reads`."""
    modules, unparsed = _parsed(folder)
    search = _Search(folder, modules)
    search.commands()
    search.settings()
    search.modules()
    return Entries(
        candidates=search.candidates(),
        asgi=search.asgi,
        modules=modules,
        unparsed=unparsed,
        commands=search.processes,
    )


# --- modules


def _parsed(folder: Folder) -> tuple[dict[str, Module], list[str]]:
    modules: dict[str, Module] = {}
    unparsed: list[str] = []
    rest = MOST_PARSED

    def order(path: str) -> tuple[bool, int, str]:
        return path.rsplit("/", 1)[-1].removesuffix(".py") not in _USUAL, path.count("/"), path

    for path in sorted(folder.files, key=order):
        text = folder.files[path]
        if text is None or not _MODULE.fullmatch(path) or not _TELLING.search(f"{path} {text}"):
            continue
        rest -= len(text)
        tree = tree_of(text) if rest >= 0 else None
        if tree is None:
            unparsed.append(path)
            continue
        root, name = place(path, folder.files)
        module = Module(path=path, root=root, name=name, tree=tree, imports=dict(_imports(tree, name, path)))
        modules[path] = replace(module, bound=_bound(module))
    return modules, unparsed


def place(path: str, files: Collection[str]) -> tuple[str, str]:
    """From which folder a module is imported, and its name: the first folder upwards that is no package."""
    *folders, file = path.split("/")
    parts = [] if file == "__init__.py" else [file.removesuffix(".py")]
    while folders and "/".join((*folders, "__init__.py")) in files:
        parts.insert(0, folders.pop())
    return "/".join(folders), ".".join(parts)


def _imports(tree: ast.Module, name: str, path: str) -> Iterator[tuple[str, str]]:
    """Also those within functions: factories import what they make."""
    package = name.split(".") if path.endswith("__init__.py") else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield each.asname or each.name.split(".")[0], each.name if each.asname else each.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join((*above, *filter(None, [node.module])))
            for each in node.names:
                yield each.asname or each.name, f"{module}.{each.name}"


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that an import carries out: also those in if, try and with, but not what a script does alone."""
    # No recursion: an elif is within the one before it, and there may be thousands.
    waiting = deque(body)
    while waiting:
        each = waiting.popleft()
        yield each
        inner: list[ast.stmt] = []
        if isinstance(each, ast.If) and not _is_script(each.test):
            inner = [*each.body, *each.orelse]
        elif isinstance(each, ast.Try):
            handled = [statement for handler in each.handlers for statement in handler.body]
            inner = [*each.body, *handled, *each.orelse, *each.finalbody]
        elif isinstance(each, ast.With):
            inner = each.body
        waiting.extendleft(reversed(inner))


def _is_script(test: ast.expr) -> bool:
    """`__name__ == "__main__"`"""
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def dotted(node: ast.expr, imports: Mapping[str, str]) -> str:
    """What an expression such as `flask.Flask` stands for, with dots; empty: something else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join((imports.get(node.id, node.id), *reversed(parts)))


def _bound(module: Module) -> dict[str, Bound]:
    bound: dict[str, Bound] = {}
    kinds: dict[str, tuple[Kind, str]] = {}
    """Of classes of the module itself."""
    for each in statements(module.tree.body):
        if isinstance(each, ast.ClassDef):
            for base in each.bases:
                if (kind := _kind_of_name(dotted(base, module.imports), kinds))[0] != "unknown":
                    kinds[each.name] = kind
        elif isinstance(each, ast.FunctionDef):
            if (function := _function(each, module.imports, kinds)) is not None:
                bound[each.name] = function
        elif isinstance(each, ast.Assign | ast.AnnAssign) and each.value is not None:
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            for target in targets:
                if isinstance(target, ast.Name) and not isinstance(each.value, ast.Constant | ast.Lambda):
                    bound[target.id] = _assigned(target.id, each.value, each.lineno, module.imports, kinds, bound)
        elif isinstance(each, ast.ImportFrom):
            for alias in each.names:
                name = alias.asname or alias.name
                if name in _NAMES:
                    bound[name] = Bound(name=name, line=each.lineno, kind="unknown", is_imported=True)
    return bound


def _assigned(
    name: str,
    value: ast.expr,
    line: int,
    imports: Mapping[str, str],
    kinds: Mapping[str, tuple[Kind, str]],
    bound: Mapping[str, Bound],
) -> Bound:
    kind, framework = _kind(value, imports, kinds)
    other = bound.get(value.id if isinstance(value, ast.Name) else name)
    if kind == "unknown" and other is not None and not other.is_factory:
        # Another name for it, or something around it, as in `app = ProxyFix(app)`.
        kind, framework = other.kind, other.framework
    return Bound(name=name, line=line, kind=kind, framework=framework)


def _kind(value: ast.expr, imports: Mapping[str, str], kinds: Mapping[str, tuple[Kind, str]]) -> tuple[Kind, str]:
    """What an expression makes."""
    if isinstance(value, ast.Attribute) and value.attr in _IS_WSGI:
        return "wsgi", value.attr
    if not isinstance(value, ast.Call):
        return "unknown", ""
    if isinstance(value.func, ast.Attribute) and value.func.attr in _MAKES_WSGI:
        return "wsgi", value.func.attr
    name = dotted(value.func, imports)
    found = _kind_of_name(name, kinds)
    if found[0] == "unknown" and name.rsplit(".", 1)[-1] in _FACTORIES:
        return "wsgi", "factory"
    return found


def _kind_of_name(name: str, kinds: Mapping[str, tuple[Kind, str]]) -> tuple[Kind, str]:
    if name in kinds:
        return kinds[name]
    return ("wsgi", name) if name in _WSGI else ("asgi", name) if name in _ASGI else ("unknown", "")


def _function(
    function: ast.FunctionDef, imports: Mapping[str, str], kinds: Mapping[str, tuple[Kind, str]]
) -> Bound | None:
    """A WSGI application that is a function, or a factory; None: neither."""
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    if [each.arg.strip("_") for each in plain] in (["environ", "start_response"], ["env", "start_response"]):
        return Bound(name=function.name, line=function.lineno, kind="wsgi", framework="function")
    if any(dotted(each, imports) not in ("functools.cache",) for each in function.decorator_list):
        return None
    made = _returned(function, imports, kinds)
    if made[0] == "unknown" and function.returns is not None:
        told = dotted(function.returns, imports).rsplit(".", 1)[-1]
        made = ("wsgi", told) if told in _TYPES else made
    if made[0] == "unknown" and function.name not in _FACTORIES:
        return None
    needs = [each.arg for each in plain[: len(plain) - len(arguments.defaults)]]
    needs += [
        each.arg for each, usual in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if usual is None
    ]
    return Bound(
        name=function.name,
        line=function.lineno,
        kind="asgi" if made[0] == "asgi" else "wsgi",
        is_factory=True,
        needs=tuple(needs),
        framework=made[1],
    )


def _returned(
    function: ast.FunctionDef, imports: Mapping[str, str], kinds: Mapping[str, tuple[Kind, str]]
) -> tuple[Kind, str]:
    """What a function returns, as far as its assignments say."""
    made: dict[str, tuple[Kind, str]] = {}
    returned: tuple[Kind, str] = ("unknown", "")
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            kind = _kind(node.value, imports, kinds)
            if kind[0] != "unknown":
                made[node.targets[0].id] = kind
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            name = node.value.id if isinstance(node.value, ast.Name) else ""
            kind = made.get(name, _kind(node.value, imports, kinds))
            returned = kind if kind[0] != "unknown" else returned
    return returned


# --- evidence


class _Search:
    """Candidates, as evidence of each kind is added."""

    def __init__(self, folder: Folder, modules: Mapping[str, Module]) -> None:
        self._folder, self._modules = folder, modules
        self._found: dict[tuple[str, str], Candidate] = {}
        """(root, entry) -> it."""
        self.asgi: list[str] = []
        self.processes: Mapping[str, Command] = {}

    def candidates(self) -> Sequence[Candidate]:
        return sorted(self._found.values(), key=lambda each: (each.rank, each.path, each.entry))

    def _add(self, candidate: Candidate) -> None:
        key = candidate.root, candidate.entry
        if (known := self._found.get(key)) is None:
            self._found[key] = candidate
        else:
            first, second = sorted((known, candidate), key=lambda each: each.rank)
            self._found[key] = replace(first, found=tuple(dict.fromkeys((*first.found, *second.found))))

    def commands(self) -> None:
        """Evidence 1 to 3."""
        files = self._folder.files
        if (text := files.get("Procfile")) is not None:
            self.processes = start_commands.procfile(text)
            if (web := self.processes.get("web")) is not None:
                self._command(1, "Procfile", web)
        for path in sorted(files, key=lambda each: (each.count("/"), len(each), each)):
            text, name = files[path], path.rsplit("/", 1)[-1]
            if text is None:
                continue
            if re.match(r"(?:Dockerfile|Containerfile)\b", name):
                if (started := start_commands.dockerfile(text)) is not None:
                    self._command(2, path, started)
            elif name == "gunicorn.conf.py":
                settings = start_commands.gunicorn_settings(text)
                if (named := start_commands.of_gunicorn_settings(settings)) is not None:
                    self._started(3, named[1], f"{path}:{named[0]}: wsgi_app")

    def _command(self, rank: int, path: str, command: Command) -> None:
        if (started := start_commands.started(command)) is not None:
            self._started(rank, started, f"{path}:{command.line}: {command.shown}")
            return
        for named in start_commands.scripts_of(command):
            for file, text in self._folder.files.items():
                if text is None or not (file == named or named.endswith(f"/{file}")):
                    continue
                for each in start_commands.script(text):
                    if (started := start_commands.started(each)) is not None:
                        self._started(rank, started, f"{file}:{each.line}: {each.shown}")
                        return

    def _started(self, rank: int, started: Started, found: str) -> None:
        """What a command or a setting names outright."""
        if not started.is_wsgi:
            self.asgi.append(found)
            return
        root, name, path = self._file(started.file) if started.file else self._resolved(started.module, started.folder)
        if not name:
            return
        module = self._modules.get(path)
        call = (
            started.call or self._usual(module, is_python=bool(started.file)) or ("" if started.file else "application")
        )
        bound = module.bound.get(call.partition("(")[0].strip()) if module else None
        if bound is not None and bound.kind == "asgi":
            self.asgi.append(found)
            return
        if bound is not None and bound.is_factory and "(" not in call:
            call = f"{call}()"
        if (text := start_commands.entry(name, call)) is not None:
            depth = path.count("/")
            needs = bound.needs if bound is not None and call.endswith("()") else ()
            self._add(
                Candidate(
                    entry=text,
                    root=root,
                    path=path,
                    found=(found,),
                    needs=needs,
                    rank=(rank if path else 10, rank, depth),
                )
            )

    def _usual(self, module: Module | None, *, is_python: bool) -> str:
        """What a server takes of a module by itself, where the module has it."""
        if module is None:
            return ""
        known = [each for each in module.bound.values() if each.kind != "unknown" or (each.is_imported and is_python)]
        known.sort(key=lambda each: (each.is_factory, each.name not in _NAMES, each.line))
        named = [name for name in ("application", "app") if name in module.bound and not module.bound[name].is_factory]
        return named[0] if named else known[0].name if known else ""

    def _resolved(self, module: str, folder: str) -> tuple[str, str, str]:
        """Root, name and path of a module that a command names; its path is empty where it is not in the folder."""
        ends = [f"{module.replace('.', '/')}{end}" for end in (".py", "/__init__.py")]
        found = [path for path in self._folder.files if any(path == end or path.endswith(f"/{end}") for end in ends)]
        if not found:
            return "", module, ""
        inside = folder.strip("./")
        path = min(found, key=lambda each: (not (inside and each.startswith(f"{inside}/")), each.count("/"), each))
        root = next(path.removesuffix(end).rstrip("/") for end in ends if path == end or path.endswith(f"/{end}"))
        return root, module, path

    def _file(self, named: str) -> tuple[str, str, str]:
        """As `_resolved`, of a file; nothing where it is not there: an absolute path is one of a container."""
        named = named.removeprefix("./")
        found = [
            path
            for path in self._folder.files
            if _MODULE.fullmatch(path)
            and (path == named or path.endswith(f"/{named}") or (named.startswith("/") and named.endswith(f"/{path}")))
        ]
        if not found:
            return "", "", ""
        path = min(found, key=lambda each: (each != named, each.count("/"), each))
        return *place(path, self._folder.files), path

    def settings(self) -> None:
        """Evidence 4."""
        for path, module in self._modules.items():
            for line, value in literals(module, "WSGI_APPLICATION"):
                named, _, call = value.rpartition(".")
                if re.fullmatch(r"[A-Za-z_][\w.]*", named, re.ASCII):
                    started = Started(module=named, call=call)
                    self._started(4, started, f"{path}:{line}: WSGI_APPLICATION = {value!r}")

    def modules(self) -> None:
        """Evidence 5 to 9."""
        for path, module in self._modules.items():
            file = path.rsplit("/", 1)[-1].removesuffix(".py")
            for bound in module.bound.values():
                if bound.kind == "asgi":
                    if not bound.is_factory or bound.name in _FACTORIES:
                        self.asgi.append(f"{path}:{bound.line}: {bound.framework}")
                    continue
                if (rank := self._rank(module, bound, file)) is None:
                    continue
                root, name = self._root(module)
                text = start_commands.entry(name, f"{bound.name}()" if bound.is_factory else bound.name)
                if text is None:
                    continue
                order = (_place_in(_FILES, file), _place_in(_NAMES, bound.name), bound.line)
                self._add(
                    Candidate(
                        entry=text,
                        root=root,
                        path=path,
                        found=(f"{path}:{bound.line}: {self._line(path, bound.line)}",),
                        needs=bound.needs,
                        rank=(rank, path.count("/"), *order),
                    )
                )

    def _rank(self, module: Module, bound: Bound, file: str) -> int | None:
        if bound.is_factory:
            return 9 if bound.needs else 7
        if file in _WSGI_FILES and (bound.kind == "wsgi" or bound.name in _NAMES):
            return None if bound.is_imported and self._is_module(module.imports.get(bound.name, "")) else 5
        if bound.kind == "wsgi":
            return 6
        return 8 if bound.name == "application" and not bound.is_imported else None

    def _is_module(self, name: str) -> bool:
        """Whether what is imported is a module of the folder, and no name of one."""
        _, _, path = self._resolved(name, "") if name else ("", "", "")
        if not path:
            return False
        package = self._modules.get(f"{path.rsplit('/', 1)[0]}/__init__.py") if "/" in path else None
        return package is None or name.rsplit(".", 1)[-1] not in package.bound

    def _root(self, module: Module) -> tuple[str, str]:
        """The folder that a module is imported from, and its name: where Django's settings are, else as its packages are."""
        text = self._folder.files.get(module.path) or ""
        named = re.search(r"""["']DJANGO_SETTINGS_MODULE["']\s*(?:,|\]\s*=)\s*["']([A-Za-z_][\w.]{0,100})["']""", text)
        if named is not None:
            root, _, path = self._resolved(named[1], "")
            inside = module.path.removeprefix(f"{root}/" if root else "")
            if path and (not root or inside != module.path):
                return root, inside.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return module.root, module.name

    def _line(self, path: str, line: int) -> str:
        lines = (self._folder.files.get(path) or "").splitlines()
        return lines[line - 1].strip() if 0 < line <= len(lines) else ""


def _place_in(known: Sequence[str], name: str) -> int:
    return known.index(name) if name in known else len(known)


def literals(module: Module, name: str) -> Iterator[tuple[int, str]]:
    """Line and value of every assignment of a text to a name of the module."""
    for each in statements(module.tree.body):
        if isinstance(each, ast.Assign | ast.AnnAssign) and isinstance(each.value, ast.Constant):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            if isinstance(each.value.value, str) and any(isinstance(it, ast.Name) and it.id == name for it in targets):
                yield each.lineno, each.value.value
