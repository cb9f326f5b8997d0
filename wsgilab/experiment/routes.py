"""Paths that an application answers a GET for, as far as its modules say so in plain text. Pure.

Of Flask and Bottle those are routes of the application itself, and of blueprints that are registered at a prefix that stands
there. Of Django they are the paths of ROOT_URLCONF, and of what that includes by name.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.experiment.entry_points import Module, dotted, literals, statements

_PATH = re.compile(r"/[A-Za-z0-9._~/+@-]{0,99}", re.ASCII)
"""One that is sent as it stands. Those with parameters need values that only its author knows."""
_MOST = 100
_MOST_INCLUDED = 20
"""Modules of Django's URLs."""
_APPLICATIONS = frozenset({"app", "application"})
_BLUEPRINTS = frozenset({"flask.Blueprint", "apiflask.APIBlueprint", "flask_openapi3.APIBlueprint"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path, and where it stands."""

    path: str
    found: str


def routes(modules: Mapping[str, Module], root: str) -> Sequence[Route]:
    """Those of all modules that are imported from the folder `root`, each path once."""
    found: dict[str, Route] = {}
    ours = [each for each in modules.values() if each.root == root or each.path.startswith(f"{root}/" if root else "")]
    blueprints = _registered(ours)
    for module in ours:
        for route in (*_decorated(module, blueprints), *_django(module, ours)):
            if _PATH.fullmatch(route.path) and "//" not in route.path and len(found) < _MOST:
                found.setdefault(route.path, route)
    return list(found.values())


def _registered(modules: Sequence[Module]) -> Mapping[str, str]:
    """Name of each blueprint, with dots -> the prefix that it is registered at."""
    own: dict[str, str | None] = {}
    for module in modules:
        for each in statements(module.tree.body):
            if not isinstance(each, ast.Assign) or not isinstance(each.value, ast.Call):
                continue
            if dotted(each.value.func, module.imports) in _BLUEPRINTS:
                own[_full_name(each.targets[0], module)] = _prefix(each.value, "")
    found: dict[str, str] = {}
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            name = _full_name(node.args[0], module)
            # One within another has the prefix of both.
            is_outermost = name in own and _full_name(node.func.value, module) not in own
            if node.func.attr == "register_blueprint" and is_outermost:
                prefix = _prefix(node, own[name])
                if prefix is not None:
                    found[name] = prefix
    return found


def _prefix(call: ast.Call, usual: str | None) -> str | None:
    """`url_prefix`, or what it is without; None where it cannot be told."""
    given = [keyword.value for keyword in call.keywords if keyword.arg in ("url_prefix", None)]
    return _text(given[0]) if given else usual


def _full_name(node: ast.expr, module: Module) -> str:
    """The name of what an expression stands for, with its module's; empty: something else."""
    written = dotted(node, {})
    if not written or written.partition(".")[0] in module.imports:
        return dotted(node, module.imports)
    return f"{module.name}.{written}"


def _decorated(module: Module, blueprints: Mapping[str, str]) -> Iterator[Route]:
    for node in ast.walk(module.tree):
        calls: list[ast.expr] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            calls = node.decorator_list
        elif isinstance(node, ast.Expr):
            calls = [node.value]
        for call in calls:
            if isinstance(call, ast.Call) and call.args and (before := _before(call, module, blueprints)) is not None:
                path = _text(call.args[0])
                if path is not None and _takes_get(call):
                    path = f"{before.rstrip('/')}{path}" if path.startswith("/") or not before else f"{before}{path}"
                    yield Route(path=path, found=f"{module.path}:{call.lineno}")


def _before(call: ast.Call, module: Module, blueprints: Mapping[str, str]) -> str | None:
    """What goes before the path of a route; None: the call makes none."""
    function = call.func
    if isinstance(function, ast.Name):
        return "" if module.imports.get(function.id) in ("bottle.route", "bottle.get") else None
    if not isinstance(function, ast.Attribute) or function.attr not in ("route", "get", "add_url_rule"):
        return None
    if (prefix := blueprints.get(_full_name(function.value, module))) is not None:
        return prefix
    name = function.value.id if isinstance(function.value, ast.Name) else ""
    bound = module.bound.get(name)
    is_application = name in _APPLICATIONS if bound is None else bound.kind == "wsgi" or bound.is_imported
    return "" if is_application else None


def _takes_get(call: ast.Call) -> bool:
    for keyword in call.keywords:
        if keyword.arg in ("methods", "method"):
            told = [each.value for each in ast.walk(keyword.value) if isinstance(each, ast.Constant)]
            return any(isinstance(each, str) and each.upper() == "GET" for each in told)
    return True


# --- Django


def _django(module: Module, modules: Sequence[Module]) -> Iterator[Route]:
    for _, urls in literals(module, "ROOT_URLCONF"):
        yield from _included(urls, "/", modules, set())


def _included(urls: str, before: str, modules: Sequence[Module], seen: set[str]) -> Iterator[Route]:
    """The paths of a module of URLs, and of those that it includes; each module once, whoever includes it."""
    ends = f"{urls.replace('.', '/')}.py"
    module = next((each for each in modules if each.path == ends or each.path.endswith(f"/{ends}")), None)
    if module is None or urls in seen or len(seen) >= _MOST_INCLUDED:
        return
    seen.add(urls)
    for pattern in _patterns(module):
        path, view = pattern.args[:2]
        if dotted(pattern.func, module.imports) != "django.urls.path" or (text := _text(path)) is None:
            continue
        if isinstance(view, ast.Call) and dotted(view.func, module.imports) == "django.urls.include":
            if view.args and (inner := _text(view.args[0])) is not None:
                yield from _included(inner, f"{before}{text}", modules, seen)
        elif not (isinstance(view, ast.Attribute) and view.attr == "urls"):
            yield Route(path=f"{before}{text}", found=f"{module.path}:{pattern.lineno}")


def _patterns(module: Module) -> Iterator[ast.Call]:
    """The calls in `urlpatterns` that have a path and a view."""
    for each in statements(module.tree.body):
        if isinstance(each, ast.Assign | ast.AugAssign) and isinstance(each.value, ast.List):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            if any(isinstance(target, ast.Name) and target.id == "urlpatterns" for target in targets):
                for pattern in each.value.elts:
                    if isinstance(pattern, ast.Call) and len(pattern.args) > 1:
                        yield pattern


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
