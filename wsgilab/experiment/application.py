"""What an application file may say: a WSGI application of the user's own, and the requests that it is measured with. Pure.

    application:
      entry: shop.wsgi:app
      source: ../shop
    requests:
      orders: {get: "/orders?page=1", expect: {status: 200, contains: '"orders"'}}
      buy: {post: /orders, json: {sku: 7}, expect: 201}
      shop: {mix: {orders: 8, buy: 1}}
      browse: {locustfile: locustfile.py, user: Shopper}

The JSON Schema that editors help with follows from it, descriptions included. An experiment file has the path of such a file,
or the same in place.
"""

import ast
import base64
import binascii
import json
import posixpath
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, TypeAdapter

from wsgilab.experiment.parsing import check_known, read, validated
from wsgilab.experiment.workloads import deck_size
from wsgilab.model import STRICT, Application, ApplicationSettings, Expected, Request
from wsgilab.model.application import (
    ClassName,
    ComposeServices,
    HeaderName,
    HeaderValue,
    Line,
    LocustFile,
    Method,
    RequestPath,
    ShareOfMix,
    Status,
    Text,
)
from wsgilab.model.errors import LabError, SpecError
from wsgilab.model.limits import Name

ReadFile = Callable[[str], bytes]
"""The content of a file, whose path is relative to where the lab was called. Raises LabError with the path and a remedy."""

MOST_BODY_BYTES = 2**20
"""Of a request."""
MOST_BODIES_BYTES = 3 * 2**20
"""Of all requests together, which a run holds."""
MOST_CARDS = 1000
"""So many requests, at most, until a mix has each in its share."""
_GENERATORS_OWN = frozenset(
    {"connection", "content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer", "lab-void-after"}
)
_JSON = "application/json"
_METHODS: Mapping[str, Method] = {
    "get": "GET",
    "post": "POST",
    "put": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "head": "HEAD",
    "options": "OPTIONS",
}
_KINDS = (*_METHODS, "mix", "locustfile")
"""What an entry has one of."""
_BODIES = ("json", "body", "body_file", "body_base64")


def _status_or_more(given: object) -> object:
    return {"status": given} if isinstance(given, int) else given


def _one_of(*names: str) -> Mapping[str, object]:
    """That exactly one of these keys is given, as JSON Schema: null is not given."""
    return {
        "oneOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEntry:
    """One request, the same each time: its method with its path, what is sent, and what the answer must be like. Or, with
    `mix`, others in shares; or, with `locustfile`, whatever users of that file send."""

    __pydantic_config__: ClassVar = {**STRICT, "json_schema_extra": _one_of(*_KINDS)}

    get: RequestPath | None = None
    """Path and query of a GET."""
    post: RequestPath | None = None
    """Path and query of a POST."""
    put: RequestPath | None = None
    """Path and query of a PUT."""
    patch: RequestPath | None = None
    """Path and query of a PATCH."""
    delete: RequestPath | None = None
    """Path and query of a DELETE."""
    head: RequestPath | None = None
    """Path and query of a HEAD."""
    options: RequestPath | None = None
    """Path and query of an OPTIONS."""
    headers: dict[HeaderName, HeaderValue] = field(default_factory=dict)
    """What is sent beside what every request has. A `Host` takes the place of the usual one."""
    json: Any = None
    """A body as JSON, with its Content-Type."""
    body: Text | None = None
    """A body as text, sent as UTF-8."""
    body_file: Line | None = None
    """A body as a file has it, whose path is relative to this file; 1 MiB at most."""
    body_base64: Annotated[str, Field(pattern="^[A-Za-z0-9+/]*={0,2}$")] | None = None
    """A body that is no text, in base64, as results record it."""
    expect: Annotated[
        Expected | None, BeforeValidator(_status_or_more, json_schema_input_type=Status | Expected | None)
    ] = None
    """What a right answer is like: its status, or several things that must all hold. By default, a status below 400."""
    mix: dict[Name, ShareOfMix] | None = None
    """Other requests in shares, by their names: `{orders: 8, buy: 1}` sends 8 and 1 of 9. Figures are told by name too."""
    locustfile: Line | None = None
    """A Locust file of your own, as a path relative to this file. Its users send what it says, over kept connections. It is not
    changed, and neither are the modules of its folder that it imports."""
    user: ClassName | None = None
    """Of the Locust file's user classes, the one to run; not needed where it has one alone."""
    files: dict[Line, Text] | None = None
    """The texts of the Locust file and of what it imports from its folder, as results record them: path in the folder -> text.
    Then nothing is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationFile:
    """A WSGI application of the user's own, and the requests that wsgilab measures it with."""

    __pydantic_config__: ClassVar = STRICT

    application: ApplicationSettings
    """Where it is, and what it needs."""
    requests: Annotated[dict[Name, RequestEntry], Field(min_length=1)]
    """What its users send, by name: lower-case letters, digits and hyphens. Each is a workload of experiments."""


def parse(text: str, source: str, *, folder: str, read_file: ReadFile) -> Application:
    """Read an application file. Raises SpecError naming `source`, the key and what would be right, and what `read_file` does.

    `folder` is what its paths are relative to, itself relative to where the lab was called.
    """
    file = read(text, source, ApplicationFile, "an application", "application and requests")
    return resolve(file, source, folder=folder, read_file=read_file)


def resolve(file: ApplicationFile, where: str, *, folder: str, read_file: ReadFile) -> Application:
    """The application, with every path relative to where the lab was called, and every body in place. Raises as `parse`."""
    settings = file.application
    _check_entry(settings.entry, f"{where}: application.entry")
    _check_settings(settings, f"{where}: application")
    requests: dict[str, Request] = {}
    locust_files: dict[str, LocustFile] = {}
    for name, entry in file.requests.items():
        at = f"{where}: requests.{name}"
        given = [key for key in _KINDS if getattr(entry, key) is not None]
        if len(given) != 1:
            what = " and ".join(given) if given else "neither"
            raise SpecError(
                f"{at}: needs one of {', '.join(_METHODS)} with a path, or mix, or locustfile; there is {what}"
            )
        if entry.locustfile is not None:
            locust_files[name] = _locust_file(entry, entry.locustfile, at, folder, read_file)
        elif entry.mix is None:
            requests[name] = _request(entry, given[0], at, folder, read_file)
    texts = sum(len(text.encode()) for each in locust_files.values() for text in each.files.values())
    if (together := texts + sum(map(_body_bytes, requests.values()))) > MOST_BODIES_BYTES:
        raise SpecError(
            f"{where}: requests: their bodies and Locust files have {together:,} bytes together, and may have "
            f"{MOST_BODIES_BYTES:,}; send smaller ones"
        )
    mixes = {
        name: _mix(entry, requests, f"{where}: requests.{name}")
        for name, entry in file.requests.items()
        if entry.mix is not None
    }
    kept = {each.name: getattr(settings, each.name) for each in fields(ApplicationSettings)}
    return Application(
        **{**kept, **_located(settings, folder)}, requests=requests, mixes=mixes, locust_files=locust_files
    )


def of_get(entry: str, source: str, path: str) -> Application:
    """The application that the command line names, with one GET as its only request. Raises SpecError."""
    _check_entry(validated(entry, Line, "--app"), "--app")
    request = Request(method="GET", path=validated(path, RequestPath, "--get"))
    name = re.sub("[^a-z0-9]+", "-", path.lower()).strip("-")[:64].rstrip("-")
    source = posixpath.normpath(validated(source, Line, "--source"))
    return Application(entry=entry, source=source, requests={name or "root": request})


def document(application: Application) -> Mapping[str, Any]:
    """The application as a file with everything in place, for `resolve` with the folder where the lab was called."""
    plain = _plain(ApplicationSettings, application)
    requests = {name: _entry(each) for name, each in application.requests.items()}
    mixes = {name: {"mix": dict(shares)} for name, shares in application.mixes.items()}
    files = {
        name: {
            "locustfile": each.path,
            **({} if each.user is None else {"user": each.user}),
            "files": dict(each.files),
        }
        for name, each in application.locust_files.items()
    }
    return {"application": plain, "requests": {**requests, **mixes, **files}}


def requests_of(application: Application, workload: str) -> Mapping[str, Request]:
    """The request of a workload, or those of a mix, by name; none of a Locust file, which has its own."""
    if workload in application.locust_files:
        return {}
    names = application.mixes.get(workload, (workload,))
    return {name: application.requests[name] for name in names}


def users_option(application: Application, workload: str) -> str:
    """What locustfiles/application.py sends for a workload, as JSON: `requests` by name, and `shares` by name where it is a
    mix."""
    requests = requests_of(application, workload)
    plain = {name: TypeAdapter(Request).dump_python(each, mode="json") for name, each in requests.items()}
    return json.dumps({"requests": plain, "shares": application.mixes.get(workload)})


def located(application: Application, folder: str) -> Application:
    """The application with absolute paths, where those that it has are relative to `folder`, which is absolute."""
    return replace(application, **_located(application, folder))


def _located(settings: ApplicationSettings, folder: str) -> Mapping[str, Any]:
    """Its paths of this machine, relative to where the lab was called."""
    backends = [
        replace(each, compose=_joined(folder, each.compose)) if isinstance(each, ComposeServices) else each
        for each in settings.backends
    ]
    found: dict[str, Any] = {"backends": tuple(backends)}
    if not settings.has_image:
        return {**found, "source": _joined(folder, settings.source)}
    beside = {key: getattr(settings, key) for key in ("build", "env_file")}
    return {**found, **{key: _joined(folder, path) for key, path in beside.items() if path is not None}}


def _joined(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))


def _check_entry(entry: str, where: str) -> None:
    """Raises SpecError unless it is one that Gunicorn takes."""
    module, colon, wanted = entry.partition(":")
    remedy = f"{where}: must be module:callable, such as shop.wsgi:app or \"shop:create_app('prod')\", not {entry!r}"
    if not colon or not all(part.isidentifier() for part in module.split(".")):
        raise SpecError(remedy)
    try:
        named = ast.parse(wanted, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise SpecError(remedy) from None
    if isinstance(named, ast.Call):
        try:
            for value in (*named.args, *(each.value for each in named.keywords)):
                ast.literal_eval(value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise SpecError(
                f"{where}: a factory takes literal arguments alone, such as 'prod' or debug=False, not {entry!r}"
            ) from None
        if any(each.arg is None for each in named.keywords):
            raise SpecError(f"{where}: a factory's arguments are spelled out, without ** and *, not {entry!r}")
        named = named.func
    while isinstance(named, ast.Attribute):
        named = named.value
    if not isinstance(named, ast.Name):
        raise SpecError(remedy)


def _check_settings(settings: ApplicationSettings, where: str) -> None:
    inside = {
        "requirements": settings.requirements,
        "env_file": None if settings.has_image else settings.env_file,
        **{f"writable[{number}]": path for number, path in enumerate(settings.writable)},
    }
    for key, path in inside.items():
        if path is not None and (path.startswith("/") or posixpath.normpath(path).split("/")[0] in ("..", ".")):
            raise SpecError(f"{where}.{key}: must be within source, and relative to it, not {path!r}")
    if settings.has_image:
        _check_image(settings, where)
    if len(files := set(settings.services.values())) > 1:
        raise SpecError(
            f"{where}.backends: has services of {' and '.join(sorted(files))}; name one Compose file, which may include others"
        )
    for name in settings.services:
        if settings.backend_names.count(name) > 1:
            raise SpecError(
                f"{where}.backends: {name} is there twice, and servers reach each by its name; leave one out"
            )
    if settings.extras and settings.requirements not in (None, "pyproject.toml", "uv.lock"):
        raise SpecError(f"{where}.extras: are those of a pyproject.toml, but requirements is {settings.requirements!r}")
    for name in settings.env:
        if name.startswith("LAB_"):
            raise SpecError(f"{where}.env: {name}: variables that begin with LAB_ are the lab's own; name it otherwise")


def _check_image(settings: ApplicationSettings, where: str) -> None:
    if settings.image is not None and settings.build is not None:
        raise SpecError(f"{where}: has image and build; give the one or the other")
    key = "build" if settings.image is None else "image"
    for name in ("requirements", "extras", "python"):
        if getattr(settings, name):
            raise SpecError(f"{where}.{name}: comes with the image that {key} names; leave the one or the other out")


def _request(entry: RequestEntry, key: str, where: str, folder: str, read_file: ReadFile) -> Request:
    if more := [each for each in ("user", "files") if _is_given(entry, each)]:
        raise SpecError(f"{where}.{more[0]}: is of a Locust file; leave it out, or name that with locustfile")
    headers = dict(entry.headers)
    for name in headers:
        if name.lower() in _GENERATORS_OWN:
            raise SpecError(f"{where}.headers: {name}: is the load generator's own; leave it out")
    if len({name.lower() for name in headers}) < len(headers):
        raise SpecError(f"{where}.headers: has a header twice; give it once")
    given = [each for each in _BODIES if getattr(entry, each) is not None]
    if len(given) > 1:
        raise SpecError(f"{where}: has {' and '.join(given)}, but a request has one body; give one of them")
    if given and key == "head":
        raise SpecError(f"{where}.{given[0]}: a HEAD has no body; leave it out, or send another method")
    if entry.json is not None and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = _JSON
    body = _body(entry, where, folder, read_file)
    if body is not None and len(body) > MOST_BODY_BYTES:
        raise SpecError(
            f"{where}.{given[0]}: has {len(body):,} bytes, and a body may have {MOST_BODY_BYTES:,}; send a smaller one"
        )
    expect = entry.expect or Expected()
    _check_expected(expect, key, f"{where}.expect")
    text = None if body is None else _text(body)
    return Request(
        method=_METHODS[key],
        path=getattr(entry, key),
        headers=headers,
        body=text,
        body_base64=base64.b64encode(body).decode() if body is not None and text is None else None,
        expect=expect,
    )


def _body(entry: RequestEntry, where: str, folder: str, read_file: ReadFile) -> bytes | None:
    if entry.json is not None:
        return _json(entry.json, f"{where}.json").encode()
    if entry.body is not None:
        return entry.body.encode()
    if entry.body_file is not None:
        return read_file(_joined(folder, entry.body_file))
    if entry.body_base64 is not None:
        try:
            return base64.b64decode(entry.body_base64, validate=True)
        except binascii.Error as error:
            raise SpecError(f"{where}.body_base64: is no base64 ({error}); give the bytes with body_file") from None
    return None


def _body_bytes(request: Request) -> int:
    return len((request.body or request.body_base64 or "").encode())


def _text(body: bytes) -> str | None:
    """As text; None where it is none."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _json(value: object, where: str) -> str:
    """As JSON spells it. Raises SpecError where it cannot."""
    try:
        found = json.dumps(value, ensure_ascii=False, allow_nan=False)
        found.encode()
        if json.loads(found) != value:
            raise ValueError("a key that is no text")
    except (TypeError, ValueError) as error:
        raise SpecError(f"{where}: JSON cannot spell it ({error}); put what is meant as text in quotes") from None
    return found


def _check_expected(expect: Expected, key: str, where: str) -> None:
    if expect.json is not None:
        _json(expect.json, f"{where}.json")
    if expect.matches is not None:
        try:
            re.compile(expect.matches)
        except (re.error, RecursionError, OverflowError) as error:
            raise SpecError(f"{where}.matches: is no regular expression ({error})") from None
    of_body = [each for each in ("contains", "matches", "json", "body") if getattr(expect, each) is not None]
    if key == "head" and of_body:
        raise SpecError(f"{where}.{of_body[0]}: the answer to a HEAD has no body; expect a status alone")


def _is_given(entry: RequestEntry, key: str) -> bool:
    return bool(getattr(entry, key) != getattr(RequestEntry(), key))


def _locust_file(entry: RequestEntry, path: str, where: str, folder: str, read_file: ReadFile) -> LocustFile:
    of_it = ("locustfile", "user", "files")
    if more := [each.name for each in fields(entry) if each.name not in of_it and _is_given(entry, each.name)]:
        raise SpecError(f"{where}.{more[0]}: a Locust file has its own requests; leave it out, or change that file")
    if entry.files is not None:
        if path not in entry.files:
            raise SpecError(f"{where}.files: has no {path}, which locustfile names; add it")
        return LocustFile(path=path, user=entry.user, files=entry.files)
    own_folder, name = posixpath.split(_joined(folder, path))
    files = {name: _code(posixpath.join(own_folder, name), f"{where}.locustfile", read_file)}
    _add_imported(files, name, own_folder, f"{where}.locustfile", read_file)
    return LocustFile(path=name, user=entry.user, files=files)


def _code(path: str, where: str, read_file: ReadFile) -> str:
    """The text of a Python file. Raises SpecError where it is none, and what `read_file` does."""
    content = read_file(path)
    if len(content) > MOST_BODY_BYTES:
        raise SpecError(f"{where}: {path}: has {len(content):,} bytes, and may have {MOST_BODY_BYTES:,}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SpecError(f"{where}: {path}: is not UTF-8 text") from None


def _add_imported(files: dict[str, str], path: str, folder: str, where: str, read_file: ReadFile) -> None:
    """Add to `files` what the one at `path` imports from `folder`, and what those import. It is parsed, and not executed."""
    try:
        tree = ast.parse(files[path])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        what = error.msg if isinstance(error, SyntaxError) else error
        raise SpecError(f"{where}: {posixpath.join(folder, path)}{line}: {what}") from None
    for module in _imported(tree, path):
        for each in (f"{module}.py", f"{module}/__init__.py"):
            if each in files:
                continue
            try:
                files[each] = _code(posixpath.join(folder, each), where, read_file)
            except SpecError:
                raise
            except LabError:
                # A package that is installed, or the standard library's.
                continue
            _add_imported(files, each, folder, where, read_file)


def _imported(tree: ast.Module, path: str) -> Iterator[str]:
    """The modules that may be beside the Locust file, as paths without `.py`: those that a file names, and their packages."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            # Of a module at `a/b.py`, one dot is the package `a`.
            parents = path.split("/")[: -node.level] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            names = [*([module] if module else []), *(f"{module}.{each.name}".lstrip(".") for each in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] not in sys.stdlib_module_names and "*" not in parts:
                yield from ("/".join(parts[: count + 1]) for count in range(len(parts)))


def _mix(entry: RequestEntry, requests: Mapping[str, Request], where: str) -> Mapping[str, float]:
    shares = entry.mix or {}
    if more := [each.name for each in fields(entry) if each.name != "mix" and _is_given(entry, each.name)]:
        raise SpecError(f"{where}.{more[0]}: a mix has nothing but its shares; give it to the requests that it names")
    check_known(shares, requests, f"{where}.mix", "request")
    try:
        size = deck_size(shares)
    except ValueError:
        raise SpecError(f"{where}.mix: one share at least must be more than 0") from None
    if size > MOST_CARDS:
        raise SpecError(
            f"{where}.mix: comes to its shares after {size:,} requests, and may take {MOST_CARDS:,}; give rounder shares"
        )
    return shares


def _entry(request: Request) -> Mapping[str, Any]:
    plain = dict(_plain(Request, request))
    del plain["method"], plain["path"]
    (key,) = (key for key, method in _METHODS.items() if method == request.method)
    return {key: request.path, **plain}


def _plain(kind: type[Any], value: Any) -> Mapping[str, Any]:
    """The fields that `kind` has of `value`, as plain values, without those that are as by default."""
    kept = kind(**{each.name: getattr(value, each.name) for each in fields(kind)})
    found: Mapping[str, Any] = TypeAdapter(kind).dump_python(kept, mode="json", exclude_defaults=True)
    return found
