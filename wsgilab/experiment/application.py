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
import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field, TypeAdapter

from wsgilab.experiment import request_entries
from wsgilab.experiment.parsing import ReadFile, joined, plain, read, validated
from wsgilab.experiment.request_entries import RequestEntry
from wsgilab.model import STRICT, Application, ApplicationSettings, Request
from wsgilab.model.application import ComposeServices, Line, RequestPath
from wsgilab.model.errors import SpecError
from wsgilab.model.limits import Name


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
    settings = _settled(file.application, where, folder)
    found = request_entries.resolve(file.requests, f"{where}: requests", folder=folder, read_file=read_file)
    return Application(
        **{each.name: getattr(settings, each.name) for each in fields(ApplicationSettings)}, **found._asdict()
    )


def _settled(settings: ApplicationSettings, where: str, folder: str) -> ApplicationSettings:
    _check_entry(settings.entry, f"{where}: application.entry")
    _check_settings(settings, f"{where}: application")
    return replace(settings, **_located(settings, folder))


def parse_settings(text: str, source: str, *, folder: str) -> ApplicationSettings:
    """What an application file says beside its requests, with every path relative to where the lab was called. Raises SpecError."""
    settings = read(text, source, ApplicationFile, "an application", "application and requests").application
    return _settled(settings, source, folder)


def of_get(entry: str, source: str, path: str) -> Application:
    """The application that the command line names, with one GET as its only request. Raises SpecError."""
    _check_entry(validated(entry, Line, "--app"), "--app")
    request = Request(method="GET", path=validated(path, RequestPath, "--get"))
    name = re.sub("[^a-z0-9]+", "-", path.lower()).strip("-")[:64].rstrip("-")
    source = posixpath.normpath(validated(source, Line, "--source"))
    return Application(entry=entry, source=source, requests={name or "root": request})


def document(application: Application) -> Mapping[str, Any]:
    """The application as a file with everything in place, for `resolve` with the folder where the lab was called."""
    settings = plain(ApplicationSettings, application)
    return {"application": settings, "requests": request_entries.document(application)}


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
    files = {name: replace(each, path=joined(folder, each.path)) for name, each in application.locust_files.items()}
    return replace(application, **_located(application, folder), locust_files=files)


def _located(settings: ApplicationSettings, folder: str) -> Mapping[str, Any]:
    """Its paths of this machine, relative to where the lab was called."""
    backends = [
        replace(each, compose=joined(folder, each.compose)) if isinstance(each, ComposeServices) else each
        for each in settings.backends
    ]
    found: dict[str, Any] = {"backends": tuple(backends)}
    if not settings.has_image:
        return {**found, "source": joined(folder, settings.source)}
    beside = {key: getattr(settings, key) for key in ("build", "env_file")}
    return {**found, **{key: joined(folder, path) for key, path in beside.items() if path is not None}}


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
