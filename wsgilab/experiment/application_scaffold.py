"""A new application file to begin with: what a folder says of the application in it, and what it does not, to fill in. Pure.

What is in the folder was written by anybody. It comes into the file as a value in YAML's own spelling, or after `# `, on one
line and cut where it is long.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.experiment import locust_scaffold
from wsgilab.experiment.entry_points import Entries, find
from wsgilab.experiment.parsing import validated
from wsgilab.experiment.scaffold import safe, scalar
from wsgilab.experiment.start_commands import DOCKERFILE, hidden, last_stage, words_of
from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model.errors import UsageError
from wsgilab.model.folder import Folder
from wsgilab.model.limits import Name
from wsgilab.model.text import called

_MOST_SHOWN = 6
"""Of each kind of thing."""
_LONGEST_NAME = 40
_ENVIRONMENT = r".*?os\.environ\[\s*[\"']([A-Z_][A-Z0-9_]{0,60})[\"']\s*\](?!\s*=[^=])"
_SET_ELSEWHERE = frozenset({"DJANGO_SETTINGS_MODULE", "HOME", "PATH", "PORT"})
_PYTHON = r"(?:(?:--\S+\s+)*(?:\S+/)?c?python[:-])?3\.(1\d)(?!\d)"
"""One that still has fixes, in an image's name, a .python-version or a runtime.txt."""
_ROUTE = r"""\s*@(?:(\w+)\.)?(?:route|get)\(\s*["']([^"']+)["'](?!.*methods?=(?!.*GET))"""
_DJANGO_PATH = r"""\s*path\(\s*["']([^"']*)["'],(?!.*\b(?:include\(|admin\.))"""
_PATH = re.compile(r"/(?!/)[A-Za-z0-9._~/+@-]{0,99}", re.ASCII)
"""One that is sent as it is. Those with parameters need values that only its author knows."""
_HEALTH = re.compile(r"(?:/.*)?/-?_?(?:healthz?|health-?check|readyz?|livez?|alive|ping|healthy)/?")

_FILE = """\
# yaml-language-server: $schema=@SCHEMA@
#
# An application to measure: what the folder says of it, as text; nothing of it was run.
#
# Run it with: @RUN@ --app @NAME@.yaml
# A line that begins with # and no space after it is an alternative: take the # away, and it counts.

application:
  # What servers load: module:callable, or a factory's call with literal arguments, such as "shop:create_app('prod')".
  @ENTRY@

  # The folder that it is imported from, relative to this file. Servers have a copy of it.
  @SOURCE@

  # What it needs installed: requirements.txt, uv.lock or pyproject.toml, in its folder.
  @REQUIREMENTS@

  # The Python that it runs on, which must be on this machine. Without it: the lab's own.
  @PYTHON@

  # Environment variables. {LAB_DATA} is a folder that is each server's own.
  @ENV@

  # A file of its folder with more of them, whose values go into no result.
  #env_file: .env

  # Folders of it that it writes to: each server has a copy of its own.
  @WRITABLE@

  # A command that runs once for each server before it starts, such as one that makes tables. Take one only if it changes
  # nothing that is not the server's own.
  @PREPARE@

  # A path that is answered with a status below 500 once it can be used. Without it: the first GET of `requests`.
  @READY@

  # How long it may take to start, in seconds, where that is longer than usual.
  #start_s: 60

  # What it may take of memory, in megabytes, where that is more than usual.
  #memory_mb: 1024

  # Services that its requests wait for, of those that the lab has: @LAB_BACKENDS@. Those of your own Compose file are
  # {compose: docker-compose.yml, services: [redis]}.
  #backends: [@BACKEND@]

  # Packages that its Locust files import, beside Locust and what that needs.
  @PACKAGES@

requests:
  # What is measured, each request by its name; it is a workload then.
  @REQUESTS@

  # What else a request may say: what a right answer is (by default any status below 400), what is sent, and which are
  # sent in shares.
  #an-example: {get: "/?page=1", headers: {X-Key: k}, expect: {status: 200, contains: "<html"}}

  #another: {post: /orders, json: {sku: 7}, expect: 201}
  #in-shares: {mix: {@FIRST@: 8, another: 1}}

  @LOCUST@
"""


def new_application(
    name: str, source: str, folder: Folder, backends: Collection[str], *, schema: str, around: Folder | None = None
) -> str:
    """The text of an application file for what is in `folder`, which was looked at with `entry_points.enters` and `reads`.

    `around` is the folder that it is in, looked at with `locust_scaffold.enters_beside` and `reads_beside`; None: it was not.
    `source` is the folder, and `schema` leads to the JSON Schema of such files, both relative to the file; `backends` are those
    that the lab has. Raises UsageError where the folder has nothing that looks like a WSGI application, and SpecError where
    `name` can name no file.
    """
    validated(name, Name, "--name")
    entries = find(folder)
    unread = [f"{path} {why}" for path, why in sorted(folder.unread.items())]
    unread += [f"{path} is too much to parse, or no Python of today" for path in entries.unparsed]
    if not entries.candidates:
        besides = (
            f"; what is there is ASGI ({safe(entries.asgi[0])}), which no WSGI server serves" if entries.asgi else ""
        )
        besides += f"; {safe(unread[0])}" if unread else ""
        raise UsageError(
            f"--source {source}: nothing in it looks like a WSGI application{besides}; looked for are the commands of Procfile "
            "and Dockerfile, wsgi_app in gunicorn.conf.py, WSGI_APPLICATION, wsgi.py, app = Flask(...) and create_app(), "
            "outside of tests, examples and docs; where there is one, name it: "
            f"{called('lab.run')} --app MODULE:CALLABLE --source FOLDER"
        )
    root = entries.candidates[0].root
    inside = re.sub(r"(?:^|/)src$", "", root)
    beside = f"{inside}/" if inside else ""
    within = {path.removeprefix(beside): text for path, text in folder.files.items() if path.startswith(beside)}
    paths = _routes(folder, f"{root}/" if root else "")
    ready = [each for each in paths if each.is_whole and _HEALTH.fullmatch(each.path)]
    first, requests, names = _requests([each for each in paths if not _HEALTH.fullmatch(each.path)], folder)
    locust_files = locust_scaffold.find(folder, around)
    filled = {
        "SCHEMA": [schema],
        "RUN": [called("lab.run")],
        "NAME": [name],
        "ENTRY": _entry(entries, unread),
        "SOURCE": [f"source: {scalar(f'{source}/{inside}' if inside else source)}"],
        "REQUIREMENTS": _requirements(within, folder.files),
        "PYTHON": _python(within, folder),
        "ENV": _environment(folder, beside),
        "WRITABLE": [f"{'' if f'{beside}instance' in folder.folders else '#'}writable: [instance]"],
        "PREPARE": _prepare(folder),
        "READY": [f"# Found in {safe(ready[0].found)}", f"ready: {ready[0].path}"] if ready else ["#ready: /healthz"],
        "LAB_BACKENDS": [", ".join(backends)],
        "BACKEND": list(backends)[:1],
        "REQUESTS": requests,
        "FIRST": [first],
        "PACKAGES": locust_scaffold.packages(locust_files),
        "LOCUST": locust_scaffold.entries(
            locust_files,
            source,
            lambda: _request_name("browse", names),
            "in the folder or beside it" if around else "in the folder",
        ),
    }
    text = re.sub("@([A-Z_]+)@", lambda place: "\n  ".join(filled[place[1]]), _FILE)
    return text.replace("\n  \n", "\n\n")


def name_of(folder: str) -> str:
    """A name for the file, from that of the folder."""
    found = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:_LONGEST_NAME].strip("-")
    return found or "application"


# --- keys of the application: comments, and the key's own line


def _entry(entries: Entries, unread: Sequence[str]) -> Iterator[str]:
    best, *others = entries.candidates
    yield f"# Found in {safe(best.found)}"
    if not best.is_here:
        yield "# The folder has no such module: it must be in a package that is installed."
    if best.needs:
        yield f"# Fill in: it needs {safe(', '.join(best.needs))}."
    yield from (f"# Another that was found: {safe(each.entry)}   ({safe(each.found)})" for each in others[:_MOST_SHOWN])
    if len(others) > _MOST_SHOWN:
        yield f"# and {len(others) - _MOST_SHOWN} more"
    yield from (f"# This is ASGI, which no WSGI server serves: {safe(each)}" for each in entries.asgi[:_MOST_SHOWN])
    yield from (f"# Not looked at: {safe(each)}" for each in unread[:_MOST_SHOWN])
    yield f"entry: {scalar(best.entry)}"


def _requirements(within: Mapping[str, str | None], files: Collection[str]) -> Iterator[str]:
    lists = re.compile(r"requirements(?!.*dev)(?:[^/]*|/[^/]+)\.txt")
    try:
        project = tomllib.loads(within.get("pyproject.toml") or "").get("project")
    except (ValueError, RecursionError):
        project = None
    found = [name for name in ("requirements.txt", "uv.lock") if name in within]
    found += ["pyproject.toml"] if isinstance(project, dict) else []
    found += sorted(set(filter(lists.fullmatch, within)) - set(found), key=lambda each: ("prod" not in each, each))
    if found[1:]:
        yield f"# There are also {safe(', '.join(found[1:]))}."
    if found:
        yield f"requirements: {scalar(found[0])}"
        return
    for each in list(filter(lists.fullmatch, files))[:_MOST_SHOWN]:
        yield f"# Fill in: {safe(each)} is outside of its folder; put a copy there."
    for name, command in (("poetry.lock", "poetry export"), ("Pipfile.lock", "pipenv requirements")):
        if name in within:
            yield f"# Fill in: there is {name}, of which `{command} > requirements.txt` makes one."
    yield "# Fill in: none was found, so nothing would be installed but the server."
    yield "#requirements: requirements.txt"


def _python(within: Mapping[str, str | None], folder: Folder) -> Iterator[str]:
    stages = ((path, last_stage(text).get("FROM", (0, ""))) for path, text in folder.texts(DOCKERFILE))
    said = [(f"{path}:{line}", image) for path, (line, image) in stages]
    said += [(name, within.get(name) or folder.files.get(name) or "") for name in (".python-version", "runtime.txt")]
    for where, text in said:
        if found := re.match(_PYTHON, text, re.ASCII):
            yield f"# Found in {safe(where)}"
            yield f'python: "3.{found[1]}"'
            return
    yield '#python: "3.12"'


def _environment(folder: Folder, beside: str) -> Iterator[str]:
    needed: dict[str, str] = {}
    for where, found in folder.lines(r".*\.py", _ENVIRONMENT):
        if where.startswith(beside) and found[1] not in _SET_ELSEWHERE and len(needed) < _MOST_SHOWN:
            needed.setdefault(found[1], where)
    yield from (f"# Fill in: {name}, which is read without a default in {safe(at)}" for name, at in needed.items())
    line = ", ".join(f'{name}: ""' for name in needed) or 'SHOP_DB: "sqlite:///{LAB_DATA}/shop.db"'
    yield f"#env: {{{line}}}"


def _prepare(folder: Folder) -> Iterator[str]:
    words: Sequence[str] = ("python", "-m", "shop.seed")
    for where, found in folder.lines("Procfile", r"release:\s*(\S.*)"):
        yield f"# {where} has {safe(hidden(found[1]))}"
        said = words_of(found[1])
        is_plain = (
            said and all(map(str.strip, said)) and found[1].isprintable() and not re.search(r"[$&;|<>`=]", found[1])
        )
        words = said if is_plain else words
    yield f"#prepare: [{', '.join(map(scalar, words))}]"


# --- requests


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    path: str
    found: str
    """Where."""
    is_whole: bool
    """False: it may be a blueprint's, and a prefix may go before it."""


def _routes(folder: Folder, root: str) -> Sequence[_Route]:
    """Paths that a GET is answered for, as far as decorators and Django's urls.py say so on one line: each once, `/` and short
    ones first, and last those that may not be whole."""
    found: list[_Route] = []
    for where, match in folder.lines(r".*\.py", _ROUTE):
        is_whole = re.search("app|server", match[1] or "app") is not None
        found.append(_Route(path=match[2], found=where, is_whole=is_whole))
    urls = [
        match[1].replace(".", "/") for _, match in folder.lines(r".*\.py", r"""ROOT_URLCONF\s*=\s*["']([\w.]+)["']""")
    ]
    for where, match in folder.lines(r"urls\.py", _DJANGO_PATH):
        is_whole = any(f"/{where}".rpartition(".py:")[0].endswith(f"/{each}") for each in urls)
        found.append(_Route(path=f"/{match[1]}", found=where, is_whole=is_whole))
    found.sort(key=lambda each: (not each.is_whole, each.path != "/", "." in each.path, each.path.count("/")))
    once: dict[str, _Route] = {}
    for each in found:
        if each.found.startswith(root) and _PATH.fullmatch(each.path):
            once.setdefault(each.path, each)
    return list(once.values())


def _requests(paths: Sequence[_Route], folder: Folder) -> tuple[str, Sequence[str], list[str]]:
    """The name of the first, the lines of all, and the names of all."""
    names: list[str] = []
    lines: list[str] = []
    if not paths or not paths[0].is_whole:
        lines += ["# Fill in: no path was found that can be sent as it is.", f"{_request_name('/', names)}: {{get: /}}"]
    for route in paths[: _MOST_SHOWN + 1]:
        lines += [""] if names else []
        lines.append(f"# Found in {safe(route.found)}{'' if route.is_whole else ', where a prefix may go before it'}")
        lines.append(f"{'#' if names else ''}{_request_name(route.path, names)}: {{get: {route.path}}}")
    for where, _ in folder.lines(r".*\.py", r"ALLOWED_HOSTS\s*="):
        lines += [
            "",
            f"# Django answers 400 to hosts that are not in ALLOWED_HOSTS ({safe(where)}): a request may name one,",
        ]
        return scalar(names[0]), [*lines, "# as in headers: {Host: localhost}"], names
    return scalar(names[0]), lines, names


def _request_name(path: str, taken: list[str]) -> str:
    """A name that no other request and no workload of the lab's has."""
    name = "index" if path == "/" else name_of(path)
    name = f"{name}-{len(taken) + 1}" if name in {*taken, *WORKLOADS, "an-example", "another", "in-shares"} else name
    taken.append(name)
    return scalar(name)
