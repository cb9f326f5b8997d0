"""A user's own application: where it is, what it needs, and the requests that it is measured with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from wsgilab.model.limits import Must, Range

STRICT = {"extra": "forbid", "allow_inf_nan": False}

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Json = object
"""Whatever JSON can spell: null, booleans, numbers, texts, lists and mappings of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a right answer is like. All that is given must hold."""

    __pydantic_config__: ClassVar = STRICT

    status: Annotated[int, Range(100, 599)] | None = None
    """Its status; None: any below 400."""
    contains: str | None = None
    """A text within its body."""
    matches: str | None = None
    """A regular expression that finds something in its body."""
    json: Json | None = None
    """What its body, read as JSON, has: of a mapping these keys with these values, of anything else the same."""
    body: str | None = None
    """Its body, to the byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, the same each time."""

    __pydantic_config__: ClassVar = STRICT

    method: Method
    path: Annotated[str, Must("begin with /")]
    """Path and query, as they are sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """What is sent, as UTF-8."""
    body_file: str | None = None
    """A file with what is sent, relative to the application's source."""
    expect: Expected = field(default_factory=Expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Requests in shares: of 9 requests, `{orders: 8, buy: 1}` sends 8 and 1."""

    __pydantic_config__: ClassVar = STRICT

    shares: Mapping[str, float]
    """Name of another request of the application -> its share; one at least is more than 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnUsers:
    """Users of a Locust file of the user's own."""

    __pydantic_config__: ClassVar = STRICT

    locustfile: str
    """Relative to the application's source."""
    user: str | None = None
    """The class of it; None: all that it defines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A WSGI application of the user's own, and what it is measured with."""

    __pydantic_config__: ClassVar = STRICT

    entry: str
    """`module:callable`, with dots, or a factory's call with literal arguments, as Gunicorn takes them: `shop:create_app('prod')`."""
    source: str
    """The folder that it is imported from, relative to where the lab was called."""
    requirements: str | None = None
    """A file of `source`: requirements.txt, pyproject.toml or uv.lock. None: the first of these that is there, or nothing."""
    extras: tuple[str, ...] = ()
    """Of a pyproject.toml."""
    python: str | None = None
    """Such as `3.12`; None: the lab's own."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables. `{LAB_DATA}` in a value is the folder that is each server's own."""
    env_file: str | None = None
    """A file of `source` with more of them; their values are recorded nowhere."""
    writable: tuple[str, ...] = ()
    """Folders of `source` that each server has a copy of, of its own."""
    prepare: tuple[str, ...] = ()
    """A command that runs once for each server before it starts, in its environment."""
    ready: str | None = None
    """A path that is answered with a status below 500 once a server can be used; None: that of the first GET in `requests`."""
    start_s: Annotated[float, Range(0, 3600, above=True)] | None = None
    """How long a server may take until then; None: as long as the lab's own."""
    memory_mb: Annotated[int, Range(16, 10**7)] | None = None
    """What a server may take of memory, in a container; None: as the catalogue has it."""
    backends: tuple[str, ...] = ()
    """The lab's backends that its requests wait for."""
    requests: Mapping[str, Request | Mix | OwnUsers] = field(default_factory=dict)
    """By name. Each is a workload."""
