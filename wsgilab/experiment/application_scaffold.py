"""A new application file to begin with: what a folder says of the application in it, and what it does not, to fill in. Pure.

What is in the folder was written by anybody. It comes into the file as a value in YAML's own spelling, or after `# `, on one
line and cut where it is long.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml

from wsgilab.experiment import start_commands
from wsgilab.experiment.entry_points import Candidate, Entries, find
from wsgilab.experiment.parsing import short, validated
from wsgilab.experiment.routes import Route, routes
from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model.errors import UsageError
from wsgilab.model.folder import Folder
from wsgilab.model.limits import Name
from wsgilab.model.text import called, visible

_MOST_SHOWN = 6
"""Of each kind of thing."""
_LONGEST_NAME = 40
_WIDEST = 140
_PLAIN = re.compile(r"[A-Za-z_./](?:[A-Za-z0-9_./:-]*[A-Za-z0-9_/])?", re.ASCII)
_PYTHON = re.compile(r"3\.\d{1,2}", re.ASCII)
_ENVIRONMENT = re.compile(r"os\.environ\[\s*[\"']([A-Z_][A-Z0-9_]{0,60})[\"']\s*\](?!\s*=[^=])")
_SET_ELSEWHERE = frozenset({"DJANGO_SETTINGS_MODULE", "HOME", "PATH", "PORT"})
_OLDEST = 10
"""Of Python 3, that still has fixes."""
_HEALTH = re.compile(r"(?:/.*)?/-?_?(?:healthz?|health-?check|readyz?|livez?|alive|ping|healthy)/?")
_SERVICES = {
    "psycopg": "PostgreSQL",
    "psycopg2": "PostgreSQL",
    "psycopg2-binary": "PostgreSQL",
    "psycopg-binary": "PostgreSQL",
    "mysqlclient": "MySQL",
    "pymysql": "MySQL",
    "redis": "Redis",
    "django-redis": "Redis",
    "pymongo": "MongoDB",
    "celery": "a broker",
    "pymemcache": "memcached",
    "elasticsearch": "Elasticsearch",
}
"""Package -> what it talks to."""
_PRODUCTION = frozenset({"workers", "threads", "worker_class", "worker_connections", "preload_app"})
_WRITTEN = ("uploads", "media", "var", "data", "storage", "cache")

_HEAD = """\
# yaml-language-server: $schema=@SCHEMA@
#
# An application to measure: what the folder says of it, as text; nothing of it was run.
#
# Run it with: @RUN@ --app @NAME@.yaml
# A line that begins with # and no space after it is an alternative: take the # away, and it counts.

application:"""

_EXAMPLES = """\
  # What else a request may say: what a right answer is (by default any status below 400), what is sent, and which are
  # sent in shares.
  #an-example: {get: "/?page=1", headers: {X-Key: k}, expect: {status: 200, contains: "<html"}}

  #another: {post: /orders, json: {sku: 7}, expect: 201}
  #in-shares: {mix: {@FIRST@: 8, another: 1}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """A key of the file: comments, and its line. Of what was found it counts; else it is an alternative."""

    about: Sequence[str]
    line: str
    counts: bool = True


def new_application(name: str, source: str, folder: Folder, backends: Collection[str], *, schema: str) -> str:
    """The text of an application file for what is in `folder`, which was looked at with `entry_points.enters` and `reads`.

    `source` is the folder, and `schema` leads to the JSON Schema of such files, both relative to the file; `backends` are those
    that the lab has. Raises UsageError where the folder has nothing that looks like a WSGI application, and SpecError where
    `name` can name no file.
    """
    validated(name, Name, "--name")
    entries = find(folder)
    if not entries.candidates:
        raise _nothing(source, entries.asgi, _not_looked_at(folder, entries))
    best, *others = entries.candidates
    inside = best.root.removesuffix("src").rstrip("/") if f"/{best.root}".endswith("/src") else best.root
    keys = (
        _entry(best, others, entries.asgi, _settings(folder), _not_looked_at(folder, entries)),
        _source(source, inside),
        _requirements(folder, inside),
        _python(folder, inside),
        *_environment(folder, inside, best),
        _writable(folder, inside),
        _prepare(entries),
        *_start(entries, best),
        _backends(folder, inside, backends),
    )
    head = _HEAD.replace("@SCHEMA@", schema).replace("@NAME@", name).replace("@RUN@", called("lab.run")).splitlines()
    return "\n".join([*head, *_lines(keys), "requests:", *_requests(folder, entries, best)]) + "\n"


def name_of(folder: str) -> str:
    """A name for the file, from that of the folder."""
    found = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:_LONGEST_NAME].strip("-")
    return found or "application"


def _nothing(source: str, asgi: Sequence[str], not_looked_at: Sequence[str]) -> UsageError:
    besides = f"; what is there is ASGI ({told(asgi[0])}), which no WSGI server serves" if asgi else ""
    besides += f"; {told(not_looked_at[0])}" if not_looked_at else ""
    return UsageError(
        f"--source {source}: nothing in it looks like a WSGI application{besides}; looked for are the commands of Procfile and "
        "Dockerfile, wsgi_app in gunicorn.conf.py, WSGI_APPLICATION, wsgi.py, app = Flask(...) and create_app(), outside of "
        "tests, examples and docs; where there is one, name it: "
        f"{called('lab.run')} --app MODULE:CALLABLE --source FOLDER"
    )


def _not_looked_at(folder: Folder, entries: Entries) -> Sequence[str]:
    """Files and folders that may have said more, and why they did not."""
    unread = [f"{path} {why}" for path, why in sorted(folder.unread.items())]
    return [*unread, *(f"{path} is too much to parse, or no Python of today" for path in entries.unparsed)]


# --- text


def told(text: str) -> str:
    """What somebody else wrote, in a comment: on one line, safe to show, cut where it is long."""
    return short(" ".join(visible(text[: 2 * _WIDEST]).split()), quoted=False, most=_WIDEST)


def scalar(text: str) -> str:
    """As YAML reads a text, in lists and mappings too."""
    if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    spelt = yaml.safe_dump(text, default_style='"', width=10**9, allow_unicode=text.isprintable())
    return spelt.rstrip("\n")


def _flow(values: Iterable[str]) -> str:
    return f"[{', '.join(map(scalar, values))}]"


def _lines(keys: Iterable[_Key]) -> Iterator[str]:
    for key in keys:
        yield from (f"  # {line}" for line in key.about)
        yield f"  {'' if key.counts else '#'}{key.line}"
        yield ""


# --- keys of the application


def _settings(folder: Folder) -> Iterator[str]:
    """How production has it, where Gunicorn's own file says so: the lab's rows have settings of their own."""
    for path, text in sorted(folder.files.items()):
        if text and path.rsplit("/", 1)[-1] == "gunicorn.conf.py":
            for name, (line, value) in start_commands.gunicorn_settings(text).items():
                if name in _PRODUCTION:
                    yield f"Production has {name} = {told(repr(value))} ({told(path)}:{line})"


def _entry(
    best: Candidate,
    others: Sequence[Candidate],
    asgi: Sequence[str],
    settings: Iterable[str],
    not_looked_at: Sequence[str],
) -> _Key:
    about = [
        "What servers load: module:callable, or a factory's call with literal arguments, such as \"shop:create_app('prod')\".",
        *(f"Found in {told(each)}" for each in best.found[:_MOST_SHOWN]),
    ]
    if not best.path:
        about.append("The folder has no such module: it must be in a package that is installed.")
    if best.needs:
        about.append(f"Fill in: it needs {told(', '.join(best.needs))}.")
    about += settings
    if others:
        about.append("Others that were found:")
        about += (f"  {told(each.entry)}   ({told(each.found[0])})" for each in others[:_MOST_SHOWN])
        about += [f"  and {len(others) - _MOST_SHOWN} more"] if len(others) > _MOST_SHOWN else []
    about += (f"This is ASGI, which no WSGI server serves: {told(each)}" for each in asgi[:_MOST_SHOWN])
    about += (f"Not looked at: {told(each)}" for each in not_looked_at[:_MOST_SHOWN])
    return _Key(about=about, line=f"entry: {scalar(best.entry)}")


def _source(source: str, inside: str) -> _Key:
    about = ["The folder that it is imported from, relative to this file. Servers have a copy of it."]
    if inside:
        about.append(f"Its modules are imported from {told(inside)}, not from {told(source)} itself.")
    return _Key(about=about, line=f"source: {scalar(f'{source}/{inside}' if inside else source)}")


def _requirements(folder: Folder, inside: str) -> _Key:
    about = ["What it needs installed: requirements.txt, uv.lock or pyproject.toml, in its folder."]
    files = _beside(folder, inside)
    project = _project(folder, inside)
    found = [name for name in ("uv.lock", "requirements.txt") if name in files]
    found += ["pyproject.toml"] if project else []
    found += sorted((each for each in files if _is_requirements(each)), key=lambda each: ("prod" not in each, each))
    found = list(dict.fromkeys(found))
    if not found:
        where = [path for path in sorted(folder.files) if "/" not in path and _is_requirements(path)]
        about += [f"Fill in: {told(path)} is outside of its folder; put a copy there" for path in where]
        for name, remedy in (
            ("poetry.lock", "poetry export -o requirements.txt"),
            ("Pipfile.lock", "pipenv requirements > requirements.txt"),
        ):
            about += [f"Fill in: there is {name}, which {remedy!r} makes one of."] if name in files else []
        if len(about) == 1:
            about.append("Fill in: none was found, so nothing would be installed but the server.")
        return _Key(about=about, line="requirements: requirements.txt", counts=False)
    if len(found) > 1:
        about.append(f"There are also {told(', '.join(found[1:]))}.")
    extras = project.get("optional-dependencies") if found[0] in ("uv.lock", "pyproject.toml") else None
    if isinstance(extras, dict) and extras:
        about.append(f"pyproject.toml has the extras {told(', '.join(map(str, extras)))}.")
    return _Key(about=about, line=f"requirements: {scalar(found[0])}")


def _is_requirements(path: str) -> bool:
    return re.fullmatch(r"requirements[^/]*\.txt|requirements/[^/]+\.txt", path) is not None and "dev" not in path


def _python(folder: Folder, inside: str) -> _Key:
    about = ["The Python that it runs on, which must be on this machine. Without it: the lab's own."]
    for version, where in _versions(folder, inside):
        if int(version.partition(".")[2]) >= _OLDEST:
            return _Key(about=[*about, f"Found in {told(where)}"], line=f'python: "{version}"')
        about.append(f"{told(where)} says {version}, which nobody supports any more.")
    needs = _project(folder, inside).get("requires-python")
    about += [f"pyproject.toml says {told(needs)}."] if isinstance(needs, str) else []
    return _Key(about=about, line='python: "3.12"', counts=False)


def _versions(folder: Folder, inside: str) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.files, key=lambda each: (each.count("/"), len(each), each)):
        text = folder.files[path]
        if text and re.match(r"(?:Dockerfile|Containerfile)\b", path.rsplit("/", 1)[-1]):
            found = start_commands.docker_python(text)
            if found is not None:
                yield found[1], f"{path}:{found[0]}"
    for name in (".python-version", "runtime.txt"):
        text = _beside(folder, inside).get(name) or folder.files.get(name)
        found_version = re.match(r"(?:c?python-)?(3\.\d{1,2})(?!\d)", (text or "").strip(), re.ASCII)
        if found_version:
            yield found_version[1], name


def _environment(folder: Folder, inside: str, best: Candidate) -> Iterator[_Key]:
    needed: dict[str, str] = {}
    root = f"{best.root}/" if best.root else ""
    package = best.path.removeprefix(root).partition("/")[0]
    for path, text in sorted(folder.files.items()):
        # Of the application's own package, and of modules beside it: what scripts need is no concern of servers.
        within, slash, _ = path.removeprefix(root).partition("/")
        if text and path.endswith(".py") and path.startswith(root) and (within == package or not slash):
            for found in _ENVIRONMENT.finditer(text):
                if found[1] not in _SET_ELSEWHERE and len(needed) < 2 * _MOST_SHOWN:
                    needed.setdefault(found[1], f"{path}:{text.count(chr(10), 0, found.start()) + 1}")
    about = ["Environment variables. {LAB_DATA} is a folder that is each server's own."]
    about += (f"Fill in: {name}, which is read without a default in {told(where)}" for name, where in needed.items())
    line = ", ".join(f'{name}: ""' for name in needed) or 'SHOP_DB: "sqlite:///{LAB_DATA}/shop.db"'
    yield _Key(about=about, line=f"env: {{{line}}}", counts=False)
    about = ["A file of its folder with more of them, whose values go into no result."]
    about += (
        ["There is a .env, which was not read: take it only if it names nothing that a load must not touch."]
        if ".env" in _beside(folder, inside)
        else []
    )
    yield _Key(about=about, line="env_file: .env", counts=False)


def _writable(folder: Folder, inside: str) -> _Key:
    about = ["Folders of it that it writes to: each server has a copy of its own."]
    here = {
        path.removeprefix(f"{inside}/") for path in folder.folders if path.startswith(f"{inside}/" if inside else "")
    }
    if "instance" in here:
        return _Key(about=[*about, "Found in its folder, where Flask has it."], line="writable: [instance]")
    maybe = [name for name in _WRITTEN if name in here]
    about += [f"Perhaps {told(', '.join(maybe))}, which it has."] if maybe else []
    return _Key(about=about, line=f"writable: {_flow(maybe or ['instance'])}", counts=False)


def _prepare(entries: Entries) -> _Key:
    about = ["A command that runs once for each server before it starts, such as one that makes tables."]
    release = entries.commands.get("release")
    words: Sequence[str] = ("python", "-m", "shop.seed")
    if release is not None:
        about.append(f"Procfile:{release.line} has {told(release.shown)}")
        about.append("Take it only if it changes nothing that is not the server's own.")
        if not any(re.search(r"[$&;|<>`]", word) for word in release.words):
            words = release.words
    return _Key(about=about, line=f"prepare: {_flow(words)}", counts=False)


def _start(entries: Entries, best: Candidate) -> Iterator[_Key]:
    about = [
        "A path that is answered with a status below 500 once it can be used. Without it: the first GET of `requests`."
    ]
    health = [each for each in routes(entries.modules, best.root) if _HEALTH.fullmatch(each.path)]
    if health:
        about.append(f"Found in {told(health[0].found)}")
    yield _Key(about=about, line=f"ready: {scalar(health[0].path if health else '/healthz')}", counts=bool(health))
    about = ["How long it may take to start, in seconds, where that is longer than usual."]
    yield _Key(about=about, line="start_s: 60", counts=False)
    about = ["What it may take of memory, in megabytes, where that is more than usual."]
    yield _Key(about=about, line="memory_mb: 1024", counts=False)


def _backends(folder: Folder, inside: str, backends: Collection[str]) -> _Key:
    about = [f"Services that its requests wait for, of those that the lab has: {', '.join(backends)}."]
    needs: dict[str, str] = {}
    for path, package in _packages(folder, inside):
        if (service := _SERVICES.get(package)) is not None:
            needs.setdefault(service, f"{path} names {package}")
    about += (f"It may need {service}: {told(why)}." for service, why in needs.items())
    return _Key(about=about, line=f"backends: {_flow(list(backends)[:1])}", counts=False)


# --- files beside the application


def _beside(folder: Folder, inside: str) -> Mapping[str, str | None]:
    """The files that are in the folder `inside` itself, or one deeper: name -> what they say."""
    before = f"{inside}/" if inside else ""
    return {path.removeprefix(before): text for path, text in folder.files.items() if path.startswith(before)}


def _project(folder: Folder, inside: str) -> Mapping[str, object]:
    """The table `project` of pyproject.toml; empty where there is none."""
    try:
        found = tomllib.loads(_beside(folder, inside).get("pyproject.toml") or "").get("project")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _packages(folder: Folder, inside: str) -> Iterator[tuple[str, str]]:
    """File and name of every package that is required, as they are spelt."""
    for path, text in sorted(_beside(folder, inside).items()):
        if text and _is_requirements(path):
            for line in text.splitlines():
                if found := re.match(r"([A-Za-z0-9][A-Za-z0-9._-]{0,60})", line):
                    yield path, _normal(found[1])
    needed = _project(folder, inside).get("dependencies")
    for each in needed if isinstance(needed, list) else []:
        if found := re.match(r"([A-Za-z0-9][A-Za-z0-9._-]{0,60})", str(each)):
            yield "pyproject.toml", _normal(found[1])


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


# --- requests


def _requests(folder: Folder, entries: Entries, best: Candidate) -> Iterator[str]:
    yield "  # What is measured, each request by its name; it is a workload then."
    found = [each for each in routes(entries.modules, best.root) if not _HEALTH.fullmatch(each.path)]
    found.sort(key=lambda each: (each.path != "/", "." in each.path, each.path.rstrip("/").count("/")))
    names: set[str] = set()
    first = found[0] if found else Route(path="/", found="")
    yield (
        f"  # Found in {told(first.found)}"
        if found
        else "  # Fill in: no path was found that can be sent as it stands."
    )
    used = scalar(_request_name(first.path, names))
    yield f"  {used}: {{get: {scalar(first.path)}}}"
    for each in _django_hosts(folder, best):
        yield f"  # {each}"
    yield ""
    for route in found[1 : _MOST_SHOWN + 1]:
        yield f"  # Found in {told(route.found)}"
        yield f"  #{scalar(_request_name(route.path, names))}: {{get: {scalar(route.path)}}}"
        yield ""
    yield from _EXAMPLES.replace("@FIRST@", used).splitlines()
    for path in sorted(folder.files):
        if path.rsplit("/", 1)[-1] == "locustfile.py":
            yield ""
            yield f"  # There is a Locust file, {told(path)}: what its users send may be worth to stand here."


def _request_name(path: str, taken: set[str]) -> str:
    """A name that no other request and no workload of the lab's has."""
    usual = "index" if path == "/" else name_of(path)
    used = {*taken, *WORKLOADS, "an-example", "another", "in-shares"}
    name = next(each for each in (usual, f"get-{usual}", *(f"{usual}-{n}" for n in range(2, 1000))) if each not in used)
    taken.add(name)
    return name


def _django_hosts(folder: Folder, best: Candidate) -> Iterator[str]:
    """Servers are reached by addresses that Django may not know."""
    for path, text in sorted(folder.files.items()):
        if text and path.endswith(".py") and path.startswith(f"{best.root}/" if best.root else ""):
            found = re.search(r"^ALLOWED_HOSTS\s*=\s*\[([^\]*]*)\]", text, re.MULTILINE)
            if found:
                line = text.count("\n", 0, found.start()) + 1
                yield f"Django answers 400 to hosts that ALLOWED_HOSTS lacks ({told(path)}:{line}): a request may name one,"
                yield "as in headers: {Host: localhost}"
                return
