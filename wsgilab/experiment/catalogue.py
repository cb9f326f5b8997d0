"""Reading the catalogue, `compose/servers.yaml`, and `compose/backends.yaml` as Docker Compose reads them. Pure.

As far as the lab needs to. Compose stays the authority: a contract test holds this reading against `docker compose
config`, service by service.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field

from wsgilab.experiment.parsing import check_known, load_yaml, strings, validated
from wsgilab.experiment.workloads import WORKLOADS, backend_variable, backends
from wsgilab.model import STRICT, Backend, ExecutionModel, Server
from wsgilab.model.errors import SpecError
from wsgilab.model.limits import Must, Processes, Range, Slots
from wsgilab.model.site import HIGHEST_PORT

ADDRESS_VARIABLES = frozenset({"LAB_BIND", "LAB_HOST", "LAB_PORT"})
"""Where to listen: host:port, and each by itself."""

_EVERYWHERE = ADDRESS_VARIABLES | {"LAB_BASE_IMAGE", "LAB_CHECKOUT", "LAB_ID", "LAB_TAG"}

KNOWN_VARIABLES = _EVERYWHERE | {
    "LAB_SERVER_CPUS",
    "LAB_PORTS",
    "LAB_PUBLISH",
    *map(backend_variable, backends(WORKLOADS)),
}
"""The placeholders that a server's stanza may use; the lab sets each of them."""

BACKEND_VARIABLES = _EVERYWHERE | {"LAB_BACKEND_CPUS", "LAB_POSTGRES_IMAGE"}
"""Those of a backend's stanza."""

# What a stanza may say. Keys that only a container can honour are listed so that a misspelt one is not taken for one.
_KEYS = (
    "build",
    "command",
    "environment",
    "healthcheck",
    "x-lab",
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
)
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
"""All of a service's name."""

_LAB = {**STRICT, "regex_engine": "python-re"}
"""As JSON Schema has it, so that both mean the same by a space."""
_OR_UNBOUNDED = Must("be a whole number from 1, or unbounded")
_Stack = Annotated[str, Must("name a folder of services/stacks")]
_SAME_WORDS = "so that both runtimes run the same words"
_Command = Annotated[list[str], Field(min_length=1), Must(f"be a list of strings, {_SAME_WORDS}")]
_Environment = Annotated[
    dict[str, str | Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)]],
    Must("map names to strings or numbers"),
]


def _words_of_check(test: list[str]) -> list[str]:
    """The words of a health check, without the `CMD` before them."""
    first, *words = test
    if first != "CMD" or not words:
        raise ValueError
    return words


_Health = Annotated[_Command, AfterValidator(_words_of_check), Must(f"be a list of CMD and strings, {_SAME_WORDS}")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLab:
    """What a server's command declares. If more is ever measured, the cell says that the declaration is wrong."""

    __pydantic_config__: ClassVar = _LAB

    slots: Annotated[Slots | Literal["unbounded"], _OR_UNBOUNDED]
    """How many requests it processes at once, or `unbounded`."""
    processes: Annotated[Processes | Literal["unbounded"], _OR_UNBOUNDED]
    """In how many processes, or `unbounded` where a request or a connection gets a process of its own."""
    model: ExecutionModel
    """What runs a request."""
    summary: Annotated[str, Field(pattern=r"\S"), Must("be a few words")]
    """The configuration in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLab:
    """How a backend runs as a local process, and where it listens."""

    __pydantic_config__: ClassVar = _LAB

    stack: _Stack
    """A folder of services/stacks, which has what it needs."""
    entrypoint: Annotated[list[str], Must("be a list of strings")]
    """Goes before the words of its command and its health check, as an image's own entrypoint does."""
    port: Annotated[int, Range(1, HIGHEST_PORT)]
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
        stack=validated(_inside(stanza, "build", "args", "STACK"), _Stack, f"{where}: build.args.STACK"),
        slots=None if lab.slots == "unbounded" else lab.slots,
        processes=None if lab.processes == "unbounded" else lab.processes,
        model=lab.model,
        summary=lab.summary,
        command=_command(stanza, where),
        environment=_environment(stanza, where),
    )


def _backend(name: str, stanza: Any, where: str) -> Backend:
    lab = _lab(name, stanza, where, "backend", BackendLab, BACKEND_VARIABLES)
    return Backend(
        name=name,
        stack=lab.stack,
        entrypoint=tuple(lab.entrypoint),
        health=tuple(validated(_inside(stanza, "healthcheck", "test"), _Health, f"{where}: healthcheck.test")),
        port=lab.port,
        command=_command(stanza, where),
        environment=_environment(stanza, where),
    )


def _lab(name: str, stanza: Any, where: str, what: str, kind: type[Lab], variables: frozenset[str]) -> Lab:
    """The x-lab stanza of a service, after all was looked at that is the same for servers and backends."""
    if not isinstance(stanza, dict):
        raise SpecError(f"{where}: is not a service, but {type(stanza).__name__}")
    if not NAME.fullmatch(name):
        raise SpecError(f"{where}: a {what}'s name has lower-case letters, digits and hyphens only, 100 at most")
    check_known(stanza, _KEYS, where, "key")
    for template in strings(stanza):
        check_placeholders(template, where, variables)
    if not isinstance(stanza.get("x-lab"), dict):
        raise SpecError(f"{where}: has no x-lab stanza; it needs {', '.join(each.name for each in fields(kind))}")
    lab: Lab = validated(stanza["x-lab"], kind, f"{where}: x-lab")
    return lab


def check_placeholders(template: str, where: str, known: frozenset[str] = KNOWN_VARIABLES) -> None:
    """Raises SpecError for a placeholder that is none, or that the lab does not set."""
    try:
        interpolate(template, {})
    except ValueError as error:
        raise SpecError(f"{where}: {error}") from None
    if unknown := sorted(placeholders(template) - known):
        raise SpecError(
            f"{where}: unknown placeholder {unknown[0]} in {template!r}; the lab sets {', '.join(sorted(known))}"
        )


def _inside(value: Any, *keys: str) -> Any:
    """What is under `keys`, one within the other; None where there is nothing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _command(stanza: Any, where: str) -> tuple[str, ...]:
    return tuple(validated(stanza.get("command"), _Command, f"{where}: command"))


def _environment(stanza: Any, where: str) -> Mapping[str, str]:
    given = validated(stanza.get("environment", {}), _Environment, f"{where}: environment")
    return {name: str(value) for name, value in given.items()}
