"""Reading the catalogue, `compose/servers.yaml`, and `compose/backends.yaml` as Docker Compose reads them. Pure.

As far as the lab needs to. Compose stays the authority: a contract test holds this reading against `docker compose
config`, service by service.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import Field, TypeAdapter, ValidationError

from wsgilab.experiment.parsing import complaint, load_yaml, strings, told
from wsgilab.experiment.workloads import WORKLOADS, backend_variable, backends
from wsgilab.model import STRICT, Backend, ExecutionModel, Server
from wsgilab.model.errors import SpecError
from wsgilab.model.site import HIGHEST_PORT

ADDRESS_VARIABLES = frozenset({"LAB_BIND", "LAB_HOST", "LAB_PORT"})
"""Where to listen: host:port, and each by itself."""

KNOWN_VARIABLES = frozenset(
    {
        *ADDRESS_VARIABLES,
        "LAB_SERVER_CPUS",
        "LAB_PORTS",
        "LAB_PUBLISH",
        "LAB_BASE_IMAGE",
        "LAB_ID",
        "LAB_TAG",
        "LAB_CHECKOUT",
        *map(backend_variable, backends(WORKLOADS)),
    }
)
"""The placeholders that a server's stanza may use; the lab sets each of them."""

BACKEND_VARIABLES = ADDRESS_VARIABLES | {
    "LAB_BACKEND_CPUS",
    "LAB_POSTGRES_IMAGE",
    "LAB_BASE_IMAGE",
    "LAB_ID",
    "LAB_TAG",
    "LAB_CHECKOUT",
}
"""Those of a backend's stanza."""

MODELS: tuple[ExecutionModel, ...] = get_args(ExecutionModel)

# What a stanza may say. Keys that only a container can honour are listed so that a misspelt one is not taken for one.
_READ_KEYS = frozenset({"build", "command", "environment", "healthcheck", "x-lab"})
_CONTAINER_KEYS = frozenset(
    [
        "cap_add",
        "cap_drop",
        "container_name",
        "cpuset",
        "deploy",
        "depends_on",
        "dns",
        "expose",
        "extra_hosts",
        "hostname",
        "image",
        "init",
        "ipc",
        "labels",
        "logging",
        "mem_limit",
        "memswap_limit",
        "networks",
        "oom_score_adj",
        "pids_limit",
        "ports",
        "privileged",
        "profiles",
        "pull_policy",
        "read_only",
        "restart",
        "security_opt",
        "shm_size",
        "stop_grace_period",
        "stop_signal",
        "sysctls",
        "tmpfs",
        "ulimits",
        "user",
        "volumes",
    ]
)
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
"""All of a service's name."""

_LAB = {**STRICT, "regex_engine": "python-re"}
"""As JSON Schema has it, so that both mean the same by a space."""
_Number = Annotated[
    Annotated[int, Field(ge=1, strict=True)] | Literal["unbounded"],
    told("must be a whole number from 1, or unbounded"),
]
_Strings = list[Annotated[str, Field(strict=True)]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLab:
    """What a server's command declares. If more is ever measured, the cell says that the declaration is wrong."""

    __pydantic_config__: ClassVar = _LAB

    slots: _Number
    """How many requests it processes at once, or `unbounded`."""
    processes: _Number
    """In how many processes, or `unbounded` where a request or a connection gets a process of its own."""
    model: ExecutionModel
    """What runs a request."""
    summary: Annotated[str, Field(pattern=r"\S", strict=True), told("must be a few words")]
    """The configuration in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLab:
    """How a backend runs as a local process, and where it listens."""

    __pydantic_config__: ClassVar = _LAB

    stack: Annotated[str, Field(strict=True), told("must name a folder of services/stacks")]
    """A folder of services/stacks, which has what it needs."""
    entrypoint: Annotated[_Strings, Field(strict=True), told("must be a list of strings")]
    """Goes before the words of its command and its health check, as an image's own entrypoint does."""
    port: Annotated[
        int, Field(ge=1, le=HIGHEST_PORT, strict=True), told(f"must be a whole number from 1 to {HIGHEST_PORT}")
    ]
    """Where it listens in a container."""


Lab = TypeVar("Lab", ServerLab, BackendLab)

_PLACEHOLDER = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<operator>:?-)(?P<default>[^${}]*))?\}|(?P<bad>))"
)


def interpolate(template: str, variables: Mapping[str, str]) -> str:
    """Fill in `$NAME`, `${NAME}`, `${NAME-default}` and `${NAME:-default}` as Compose does; `$$` is a `$`.

    Compose specification, "Interpolation". A variable that is not set is empty, as there. Raises ValueError for
    any other use of `$`, one within a default included.
    """

    def fill(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["plain"] or match["braced"]
        if not name:
            raise ValueError(f"{template!r}: a $ that begins no placeholder; write $$ for a $")
        value = variables.get(name)
        if value is None or (match["operator"] == ":-" and not value):
            return match["default"] or ""
        return value

    return _PLACEHOLDER.sub(fill, template)


def placeholders(template: str) -> frozenset[str]:
    """The names of the variables that `template` uses."""
    return frozenset(match["plain"] or match["braced"] for match in _PLACEHOLDER.finditer(template)) - {None}


def parse(text: str, source: str) -> Mapping[str, Server]:
    """Read a catalogue: name -> server, in the file's order. Raises SpecError naming `source`, service and key."""
    services = _services(text, source, "a catalogue is a Compose file with one service for each server")
    return {str(name): _server(str(name), stanza, f"{source}: {name}") for name, stanza in services.items()}


def parse_backends(text: str, source: str) -> Mapping[str, Backend]:
    """Read the backends: name -> backend, in the file's order. Raises SpecError naming `source`, service and key."""
    services = _services(text, source, "it is a Compose file with one service for each backend")
    return {str(name): _backend(str(name), stanza, f"{source}: {name}") for name, stanza in services.items()}


def _services(text: str, source: str, should_be: str) -> Mapping[Any, Any]:
    document = load_yaml(text, source)
    services = document.get("services") if isinstance(document, dict) else None
    if not isinstance(services, dict) or not services:
        raise SpecError(f"{source}: has no services; {should_be}")
    return services


def _server(name: str, stanza: Any, where: str) -> Server:
    lab = _lab(name, stanza, where, "server", ServerLab, KNOWN_VARIABLES)
    return Server(
        name=name,
        stack=_stack(stanza.get("build"), where),
        command=_command(stanza.get("command"), where),
        environment=_environment(stanza.get("environment", {}), where),
        slots=None if lab.slots == "unbounded" else lab.slots,
        processes=None if lab.processes == "unbounded" else lab.processes,
        model=lab.model,
        summary=lab.summary,
    )


def _backend(name: str, stanza: Any, where: str) -> Backend:
    lab = _lab(name, stanza, where, "backend", BackendLab, BACKEND_VARIABLES)
    return Backend(
        name=name,
        stack=lab.stack,
        entrypoint=tuple(lab.entrypoint),
        command=_command(stanza.get("command"), where),
        health=_health(stanza.get("healthcheck"), where),
        environment=_environment(stanza.get("environment", {}), where),
        port=lab.port,
    )


def _lab(name: str, stanza: Any, where: str, what: str, kind: type[Lab], variables: frozenset[str]) -> Lab:
    """The x-lab stanza of a service, after all was looked at that is the same for servers and backends."""
    if not isinstance(stanza, dict):
        raise SpecError(f"{where}: is not a service, but {type(stanza).__name__}")
    if not NAME.fullmatch(name):
        raise SpecError(f"{where}: a {what}'s name has lower-case letters, digits and hyphens only")
    _only(stanza, _READ_KEYS | _CONTAINER_KEYS, where, "a service's keys")
    for template in strings(stanza):
        _check_placeholders(template, where, variables)
    lab, keys = stanza.get("x-lab"), frozenset(each.name for each in fields(kind))
    if not isinstance(lab, dict):
        raise SpecError(f"{where}: has no x-lab stanza; it needs {', '.join(sorted(keys))}")
    _only(lab, keys, f"{where}: x-lab", "its keys")
    if missing := sorted(keys - lab.keys()):
        raise SpecError(f"{where}: x-lab lacks {', '.join(missing)}")
    try:
        read: Lab = _ADAPTERS[kind].validate_python(lab)
    except ValidationError as error:
        raise SpecError(f"{where}: x-lab: {_first(error)}") from None
    return read


_ADAPTERS: Mapping[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (ServerLab, BackendLab)}


def _first(error: ValidationError) -> str:
    """The first of pydantic's complaints about a stanza."""
    first = error.errors(include_url=False)[0]
    key, given = first["loc"][0], first["input"]
    if first["type"] == "literal_error":
        return f"{key} {given!r} is none of {', '.join(MODELS)}"
    return f"{key} {complaint(first['msg'])}, not {given!r}"


def _only(mapping: Mapping[Any, Any], known: frozenset[str], where: str, what: str) -> None:
    for key in mapping:
        if key not in known:
            raise SpecError(f"{where}: unknown key {key!r}; {what} are {', '.join(sorted(known))}")


def _check_placeholders(template: str, where: str, known: frozenset[str]) -> None:
    try:
        interpolate(template, {})
    except ValueError as error:
        raise SpecError(f"{where}: {error}") from None
    if unknown := sorted(placeholders(template) - known):
        raise SpecError(
            f"{where}: unknown placeholder {unknown[0]} in {template!r}; the lab sets {', '.join(sorted(known))}"
        )


def _stack(build: Any, where: str) -> str:
    args = build.get("args") if isinstance(build, dict) else None
    stack = args.get("STACK") if isinstance(args, dict) else None
    if not isinstance(stack, str):
        raise SpecError(f"{where}: build.args.STACK must name a folder of services/stacks")
    return stack


def _command(command: Any, where: str) -> tuple[str, ...]:
    wrong = f"{where}: command must be a list of strings, so that both runtimes run the same words"
    if not command:
        raise SpecError(wrong)
    return _words(command, wrong)


def _health(healthcheck: Any, where: str) -> tuple[str, ...]:
    wrong = f"{where}: healthcheck.test must be a list of CMD and strings, so that both runtimes run the same words"
    first, *words = _words(healthcheck.get("test") if isinstance(healthcheck, dict) else None, wrong) or ("",)
    if first != "CMD" or not words:
        raise SpecError(wrong)
    return tuple(words)


def _words(value: Any, wrong: str) -> tuple[str, ...]:
    """A list of strings, which may be empty. Raises SpecError with `wrong`."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise SpecError(wrong)
    return tuple(value)


def _environment(environment: Any, where: str) -> Mapping[str, str]:
    scalars: Callable[[Any], bool] = lambda value: isinstance(value, str | int | float) and not isinstance(value, bool)  # noqa: E731
    if not isinstance(environment, dict) or not all(scalars(value) for value in environment.values()):
        raise SpecError(f"{where}: environment must map names to strings or numbers")
    return {str(name): str(value) for name, value in environment.items()}
