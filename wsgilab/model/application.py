"""A user's own application: where it is, what it needs, and the requests that it is measured with."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from wsgilab.model.limits import (
    STRICT,
    Check,
    Length,
    Must,
    Name,
    Pattern,
    Range,
    Revision,
    ServiceName,
    encodable,
    one_line,
)

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

Line = Annotated[str, Check(one_line), Must("be text on one line, without characters that do not print")]
Text = Annotated[str, Check(encodable), Must("be text that UTF-8 can spell")]
RequestPath = Annotated[
    str,
    Pattern(r'^/[!"$-~]*$'),
    Must("begin with / and be printable ASCII without spaces and #; spell others as URLs do, such as %20"),
]
"""Path and query, as they are sent."""
HeaderName = Annotated[str, Pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"), Must("be the name of a header")]
HeaderValue = Annotated[str, Pattern("^(?:[!-~](?:[ -~]*[!-~])?)?$"), Must("be printable ASCII, as headers are sent")]
"""RFC 9110, section 5.5, without what is obsolete there."""
VariableName = Annotated[
    str, Pattern("^[A-Za-z_][A-Za-z0-9_]*$"), Must("be the name of an environment variable: letters, digits and _")
]
VariableValue = Annotated[str, Pattern("^[^\x00]*$"), Check(encodable), Must("be text without a NUL; quote a number")]
ImageName = Annotated[
    str,
    Pattern("^[a-z0-9][A-Za-z0-9._/:@-]{0,254}$"),
    Must("be the name of an image, such as shop:latest or registry.example/shop:1.2"),
]
ClassName = Annotated[str, Pattern("^[A-Za-z_][A-Za-z0-9_]*$"), Must("be the name of a class, such as Shopper")]
Digest = Annotated[str, Pattern("^[0-9a-f]{64}$"), Must("be a SHA-256 in hexadecimal, as a run has recorded it")]
PackageNeed = Annotated[
    str,
    Pattern(r"^[A-Za-z0-9][^@\n\r/\\]*$"),
    Check(one_line),
    Must("be a package of an index, such as faker or beautifulsoup4>=4.12"),
]
Status = Annotated[int, Range(100, 599)]
ShareOfMix = Annotated[float, Range(0, 10**6)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a right answer is like. All that is given must hold."""

    __pydantic_config__: ClassVar = STRICT

    status: Status | None = None
    """Its status. By default, any below 400."""
    contains: Text | None = None
    """A text within its body."""
    matches: Text | None = None
    """A regular expression, as Python has them, that finds something in its body."""
    json: Any = None
    """What its body has, read as JSON: of a mapping these keys with such values, of a list as many such values, of anything
    else the same."""
    body: Text | None = None
    """Its body, to the byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, the same each time."""

    __pydantic_config__: ClassVar = STRICT

    method: Method
    path: RequestPath
    headers: Mapping[HeaderName, HeaderValue] = field(default_factory=dict)
    body: Text | None = None
    """What is sent, as UTF-8."""
    body_base64: str | None = None
    """What is sent, where it is no text."""
    expect: Expected = field(default_factory=Expected)


def _not_beside(name: str, *others: str) -> Mapping[str, Any]:
    """That none of the `others` is given where `name` is, as JSON Schema: null is not given, nor is an empty list."""
    given = {"required": [name], "properties": {name: {"type": "string"}}}
    return {"if": given, "then": {"properties": {other: {"enum": [None, []]} for other in others}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeServices:
    """Services of a Compose file of the user's own."""

    __pydantic_config__: ClassVar = STRICT

    compose: Line
    """The Compose file, relative to the file that says so, or else to where the lab is called."""
    services: Annotated[tuple[ServiceName, ...], Length(1, 100), Must("be a list of services such as [redis]")]
    """Those that requests wait for. What they depend on is started with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocustFile:
    """A Locust file of the user's own, whose users send what it says."""

    __pydantic_config__: ClassVar = STRICT

    path: Line
    """Relative to where the lab was called."""
    user: ClassName | None = None
    """The name of a class of it; None: the only one that it has."""
    files: Mapping[Line, Digest]
    """SHA-256 of its text and of the modules that it imports from its folder, by path in that folder. The texts themselves, and
    the passwords in them, are part of no result."""

    @property
    def folder(self) -> str:
        """What is brought along with it."""
        return posixpath.dirname(self.path) or "."

    @property
    def name(self) -> str:
        """In its folder."""
        return posixpath.basename(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSettings:
    """A WSGI application of the user's own: where it is, and what it needs."""

    __pydantic_config__: ClassVar = {
        **STRICT,
        "json_schema_extra": {
            "allOf": [
                _not_beside("image", "build", "requirements", "extras", "python"),
                _not_beside("build", "requirements", "extras", "python"),
            ]
        },
    }

    entry: Line
    """`module:callable`, with dots, or a factory's call with literal arguments, as Gunicorn takes them:
    `shop:create_app('prod')`."""
    source: Line = "."
    """The folder that it is imported from, relative to the file that says so, or else to where the lab is called. With `image`
    or `build`: a folder of the image, relative to its WORKDIR."""
    requirements: Line | None = None
    """A file of `source`: requirements.txt, uv.lock or pyproject.toml. By default the first of these that is there, or nothing."""
    extras: Annotated[tuple[Line, ...], Must("be a list such as [postgres, async]")] = ()
    """Of a pyproject.toml."""
    python: Annotated[str, Pattern(r"^3\.[0-9]{1,2}$"), Must('be a version such as "3.12", in quotes')] | None = None
    """Such as `3.12`; by default, the lab's own."""
    image: ImageName | None = None
    """An image that has the application and its packages; servers are added to it."""
    build: Line | None = None
    """Such an image's build context, a folder with a Dockerfile, relative to the file that says so."""
    env: Mapping[VariableName, VariableValue] = field(default_factory=dict)
    """Environment variables. In a value `{LAB_DATA}` is the folder that is each server's own, and `{LAB_SOURCE}` that of its source."""
    env_file: Line | None = None
    """A file of `source` with more of them; their values are recorded nowhere. With `image` or `build` it is relative to the file
    that says so."""
    writable: Annotated[tuple[Line, ...], Must("be a list of folders such as [instance]")] = ()
    """Folders of `source` that each server has a copy of, of its own."""
    prepare: Annotated[tuple[Line, ...], Must("be a list of words such as [python, -m, shop.seed]")] = ()
    """A command, word by word, that runs once for each server before it starts, in its environment. `{LAB_DATA}` and
    `{LAB_SOURCE}` are filled in."""
    ready: RequestPath | None = None
    """A path that is answered with a status below 500 once a server can be used. By default that of the first GET in
    `requests`."""
    start_s: Annotated[float, Range(0, 3600, above=True)] | None = None
    """How many seconds a server may take until then. By default, as long as the lab's own."""
    memory_mb: Annotated[int, Range(16, 10**7)] | None = None
    """What a server may take of memory, in a container. By default, as the catalogue has it."""
    backends: Annotated[
        tuple[Literal["postgres", "upstream"] | ComposeServices, ...],
        Must("be a list of postgres, upstream and {compose: FILE, services: [NAME]}"),
    ] = ()
    """What its requests wait for: the lab's own backends, and services of a Compose file."""

    locust_requirements: Annotated[
        tuple[PackageNeed, ...], Must("be a list of packages of an index, such as [faker, beautifulsoup4>=4.12]")
    ] = ()
    """Packages that its Locust files import, beside Locust and what that needs."""

    @property
    def has_image(self) -> bool:
        """Whether it comes in an image of the user's own."""
        return self.image is not None or self.build is not None

    @property
    def services(self) -> Mapping[str, str]:
        """Service that its requests wait for -> the Compose file that has it."""
        files = (each for each in self.backends if isinstance(each, ComposeServices))
        return {name: each.compose for each in files for name in each.services}

    @property
    def backend_names(self) -> tuple[str, ...]:
        """All that its requests wait for, by name."""
        return tuple(
            name for each in self.backends for name in (each.services if isinstance(each, ComposeServices) else (each,))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What an application is compared with in the same run: itself at a revision of git, or what another file says."""

    __pydantic_config__: ClassVar = STRICT

    name: Line
    """As the user has named it: a revision such as `v1.2`, or the path of an application file."""
    revision: Revision | None
    """None where it is a file."""
    current: Line
    """What the application itself is called beside it, such as `HEAD`."""
    current_revision: Revision | None
    """Of its own source; None where that is under no git."""
    application: ApplicationSettings
    """Its paths are relative to where the lab was called. Of a revision they are those of the user's own folders, where the files of
    another revision are by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application(ApplicationSettings):
    """A WSGI application, and the requests that it is measured with. Its `source` is relative to where the lab was called."""

    requests: Mapping[Name, Request] = field(default_factory=dict)
    """By name. Each is a workload."""
    mixes: Mapping[Name, Mapping[Name, ShareOfMix]] = field(default_factory=dict)
    """By name. Name of a request -> its share: of 9 requests, `{orders: 8, buy: 1}` sends 8 and 1. Each is a workload."""
    locust_files: Mapping[Name, LocustFile] = field(default_factory=dict)
    """By name. Each is a workload."""
    against: Version | None = None
    """What it is compared with in the same run; None: it is measured alone."""
