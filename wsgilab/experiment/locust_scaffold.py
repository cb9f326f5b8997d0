"""The Locust files that a folder has, as far as their text says: which classes of users, and which packages they import. Pure.

They are parsed, and never imported or executed.
"""

import ast
import posixpath
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.experiment.scaffold import safe, scalar
from wsgilab.model.folder import Folder

_FILE = re.compile(r"(?:.*/)?(?:locustfile\.py|locustfiles/[^/]+\.py)")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}", re.ASCII)
_MOST_SHOWN = 6
"""Of each kind of thing."""
_USERS = ("HttpUser", "FastHttpUser")
_OF_LOCUST = frozenset(
    [
        "locust",
        "gevent",
        "geventhttpclient",
        "requests",
        "urllib3",
        "flask",
        "werkzeug",
        "jinja2",
        "psutil",
        "zmq",
        "msgpack",
        "configargparse",
        "certifi",
    ]
)
"""Modules that Locust brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLocustFile:
    """A Locust file, and what its text says of it."""

    path: str
    """Relative to the application's folder; that of a file beside it begins with `../`."""
    users: Sequence[str]
    """Its classes of users, in their order; empty where it has none, or gets them from another module."""
    packages: Sequence[str]
    """Modules that it imports and that are neither Python's, nor Locust's, nor beside it."""
    parsed: bool = True
    """False: it is no Python of today, or was not read."""


def enters_beside(name: str) -> bool:
    """Whether a folder of this name, beside the application's, is looked into."""
    return name == "locustfiles"


def reads_beside(path: str) -> bool:
    """Whether a file of the folder that the application's is in may be a Locust file, or what one imports."""
    return path == "locustfile.py" or path.startswith("locustfiles/")


def find(folder: Folder, around: Folder | None) -> Sequence[FoundLocustFile]:
    """Those of a folder, nearest its top first, and those beside it, of the folder `around` it."""
    found = list(_of(folder, ""))
    if around is not None:
        found += _of(around, "../")
    # In `locustfiles`, what has no users is what the others import.
    return [each for each in found if each.users or "locustfiles/" not in each.path]


def packages(files: Sequence[FoundLocustFile]) -> Iterator[str]:
    """The lines of what they import."""
    found = {name: each.path for each in files for name in each.packages if _MODULE.fullmatch(name)}
    for name in list(found)[:_MOST_SHOWN]:
        yield f"# Fill in: the package that has {safe(name)}, which {safe(found[name])} imports; often it is called the same."
    yield f"#locust_requirements: [{', '.join(map(scalar, list(found)[:_MOST_SHOWN])) or 'faker'}]"


def entries(files: Sequence[FoundLocustFile], source: str, name: Callable[[], str], where: str) -> Iterator[str]:
    """The lines of an entry for each class of users, with a new `name` each; `source` is the application's folder, and `where` says
    where they were looked for.

    They are alternatives: what their users need first, such as a login, no text says, and they may change what they meet.
    """
    yield "# A Locust file of your own: its users send what it says. Look first what they need, such as a login, and what they change."
    if not files:
        yield f"# None was found: neither locustfile.py nor locustfiles/*.py, {where}."
        yield f"#{name()}: {{locustfile: locustfile.py, user: Shopper}}"
    for number, each in enumerate(files[:_MOST_SHOWN]):
        if number:
            yield ""
        users = [name for name in each.users if _MODULE.fullmatch(name)]
        if not each.parsed:
            yield f"# Found {safe(each.path)}, which could not be read as Python of today."
        elif not users:
            yield f"# Found {safe(each.path)}, but no class of HttpUser or FastHttpUser in it; fill in which one of its users to run."
        else:
            yield f"# Found in {safe(each.path)}: {safe(', '.join(users))}"
        path = scalar(posixpath.normpath(posixpath.join(source, each.path)))
        for user in users[:_MOST_SHOWN] or ["Shopper"]:
            yield f"#{name()}: {{locustfile: {path}, user: {scalar(user)}}}"


# --- what their text says


def _of(folder: Folder, prefix: str) -> Iterator[FoundLocustFile]:
    paths = (path for path in folder.files if _FILE.fullmatch(path) and (not prefix or reads_beside(path)))
    for path in sorted(paths, key=lambda each: (each.count("/"), each)):
        text = folder.files[path]
        try:
            tree = ast.parse(text or "")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree, text = ast.Module(body=[], type_ignores=[]), None
        yield FoundLocustFile(
            path=f"{prefix}{path}",
            users=_users(tree),
            packages=_imported(tree, posixpath.dirname(path), folder),
            parsed=text is not None,
        )


def _users(tree: ast.Module) -> Sequence[str]:
    """Classes derived from Locust's HttpUser or FastHttpUser, also through others of the file, that are not abstract."""
    known = _names_of_locust(tree)
    users: set[str] = set()
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(_is_user(base, known, users) for base in node.bases):
            users.add(node.name)
            if not any(_sets_abstract(each) for each in node.body):
                found.append(node.name)
    return found


def _names_of_locust(tree: ast.Module) -> Mapping[str, str]:
    """What the module calls a name of Locust's -> the name; of the module itself, an empty one."""
    names: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "locust":
            names |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.Import):
            names |= {each.asname or each.name: "" for each in node.names if each.name == "locust"}
    return names


def _is_user(base: ast.expr, known: Mapping[str, str], users: Collection[str]) -> bool:
    if isinstance(base, ast.Name):
        return base.id in users or known.get(base.id) in _USERS
    is_of_module = (
        isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and known.get(base.value.id) == ""
    )
    return is_of_module and isinstance(base, ast.Attribute) and base.attr in _USERS


def _sets_abstract(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant) or node.value.value is not True:
        return False
    return any(isinstance(each, ast.Name) and each.id == "abstract" for each in node.targets)


def _imported(tree: ast.Module, here: str, folder: Folder) -> Sequence[str]:
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add((node.module or "").partition(".")[0])

    def is_beside(name: str) -> bool:
        path = posixpath.join(here, name)
        return f"{path}.py" in folder.files or path in folder.folders

    others = modules - _OF_LOCUST - sys.stdlib_module_names
    return sorted(each for each in others if not is_beside(each))
