"""What an entry of an application file's `requests` may say, and the request, mix or Locust file that it comes to. Pure."""

import base64
import binascii
import hashlib
import json
import posixpath
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BeforeValidator, Field

from wsgilab.experiment import python_files
from wsgilab.experiment.parsing import ReadFile, check_known, joined, plain
from wsgilab.experiment.workloads import deck_size
from wsgilab.model import STRICT, Application, Expected, Request
from wsgilab.model.application import (
    ClassName,
    Digest,
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
from wsgilab.model.errors import SpecError
from wsgilab.model.limits import Name

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
    """Other requests in shares, by their names: `{orders: 8, buy: 1}` sends 8 and 1 of 9. Each of them has figures of its own too."""
    locustfile: Line | None = None
    """A Locust file of your own, as a path relative to this file. Its users send what it says, over kept connections. It runs
    unchanged, in a copy of its folder."""
    user: ClassName | None = None
    """Of the Locust file's user classes, the one to run; not needed where it has one alone."""
    files: dict[Line, Digest] | None = None
    """SHA-256 of the Locust file and of what it imports from its folder, as results record them: path in the folder -> digest.
    Where they are other files by now, they are not measured."""


class Resolved(NamedTuple):
    """What the entries of a file come to, by name."""

    requests: Mapping[str, Request]
    mixes: Mapping[str, Mapping[str, float]]
    locust_files: Mapping[str, LocustFile]


def resolve(entries: Mapping[str, RequestEntry], where: str, *, folder: str, read_file: ReadFile) -> Resolved:
    """Every body in place. Raises SpecError naming the place in `where` and what would be right, and what `read_file` does."""
    requests: dict[str, Request] = {}
    locust_files: dict[str, LocustFile] = {}
    for name, entry in entries.items():
        at = f"{where}.{name}"
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
    if (together := sum(map(_body_bytes, requests.values()))) > MOST_BODIES_BYTES:
        raise SpecError(
            f"{where}: their bodies have {together:,} bytes together, and may have {MOST_BODIES_BYTES:,}; send smaller ones"
        )
    mixes = {name: _mix(entry, requests, f"{where}.{name}") for name, entry in entries.items() if entry.mix is not None}
    return Resolved(requests, mixes, locust_files)


def _request(entry: RequestEntry, key: str, where: str, folder: str, read_file: ReadFile) -> Request:
    others = [each.name for each in fields(entry) if each.name not in ("user", "files")]
    _check_alone(entry, others, where, "is of a Locust file; leave it out, or name that with locustfile")
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
        return read_file(joined(folder, entry.body_file))
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


def _check_alone(entry: RequestEntry, keys: Collection[str], where: str, why: str) -> None:
    """Raises SpecError where it has others than `keys`."""
    unset = RequestEntry()
    for each in fields(entry):
        if each.name not in keys and getattr(entry, each.name) != getattr(unset, each.name):
            raise SpecError(f"{where}.{each.name}: {why}")


def _locust_file(entry: RequestEntry, path: str, where: str, folder: str, read_file: ReadFile) -> LocustFile:
    _check_alone(
        entry,
        ("locustfile", "user", "files"),
        where,
        "a Locust file has its own requests; leave it out, or change that file",
    )
    whole = joined(folder, path)
    own_folder, name = posixpath.split(whole)
    if entry.files is not None:
        if name not in entry.files:
            raise SpecError(f"{where}.files: has no {name}, which locustfile names; leave files out")
        return LocustFile(path=whole, user=entry.user, files=entry.files)
    texts = python_files.read(name, own_folder, f"{where}.locustfile", MOST_BODY_BYTES, read_file)
    digests = {each: hashlib.sha256(text.encode()).hexdigest() for each, text in texts.items()}
    return LocustFile(path=whole, user=entry.user, files=digests)


def _mix(entry: RequestEntry, requests: Mapping[str, Request], where: str) -> Mapping[str, float]:
    shares = entry.mix or {}
    _check_alone(entry, ("mix",), where, "a mix has nothing but its shares; give it to the requests that it names")
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


def document(application: Application) -> Mapping[str, Any]:
    """The entries of an application, with everything in place."""
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
    return {**requests, **mixes, **files}


def _entry(request: Request) -> Mapping[str, Any]:
    found = dict(plain(Request, request))
    del found["method"], found["path"]
    (key,) = (key for key, method in _METHODS.items() if method == request.method)
    return {key: request.path, **found}
