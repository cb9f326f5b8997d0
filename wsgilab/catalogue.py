"""Reading the catalogue, `compose/servers.yaml`, and `compose/backends.yaml` as Docker Compose reads them. Pure.

As far as the lab needs to. Compose stays the authority: a contract test holds this reading against `docker compose
config`, service by service.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from wsgilab.errors import SpecError
from wsgilab.model import Backend, ExecutionModel, Server

KNOWN_VARIABLES = frozenset(
    {"LAB_BIND", "LAB_SERVER_CPUS", "LAB_PORTS", "LAB_BASE_IMAGE", "LAB_ID", "LAB_POSTGRES", "LAB_UPSTREAM"}
)
"""The placeholders that a server's stanza may use; the lab sets each of them."""

BACKEND_VARIABLES = frozenset({"LAB_BIND", "LAB_BACKEND_CPUS", "LAB_POSTGRES_IMAGE", "LAB_BASE_IMAGE", "LAB_ID"})
"""Those of a backend's stanza."""

MODELS: tuple[ExecutionModel, ...] = ("process", "threads", "coroutines", "event-loop")

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
_LAB_KEYS = frozenset({"slots", "processes", "model", "summary"})
_BACKEND_LAB_KEYS = frozenset({"stack", "entrypoint", "port"})
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_HIGHEST_PORT = 65535

_PLACEHOLDER = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<operator>:?-)(?P<default>[^${}]*))?\}|(?P<bad>))"
)


def load_yaml(text: str, source: str) -> Any:
    """Parse YAML, refusing what PyYAML would pass over: a key given twice.

    Raises SpecError naming `source` and the line.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        # Before construction: merge keys then copy keys into the nodes that name them.
        _refuse_repeated_keys(node, source)
        document = loader.construct_document(node) if node else None
        _strings(document)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SpecError(f"{source}{line}: {error.problem or 'not valid YAML'}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise SpecError(f"{source}: a value is not what it claims to be: {error}") from None
    except RecursionError:
        raise SpecError(f"{source}: is nested too deeply, or within itself") from None
    return document


def _refuse_repeated_keys(root: yaml.Node | None, source: str) -> None:
    waiting, visited = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in visited:
            continue  # an alias leads to the same node again
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, value in node.value:
                if (key.tag, str(key.value)) in seen:
                    raise SpecError(f"{source}:{key.start_mark.line + 1}: the key {key.value!r} is given twice")
                seen.add((key.tag, str(key.value)))
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


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
    lab = _lab(name, stanza, where, "server", _LAB_KEYS, KNOWN_VARIABLES)
    if lab["model"] not in MODELS:
        raise SpecError(f"{where}: x-lab: model {lab['model']!r} is none of {', '.join(MODELS)}")
    return Server(
        name=name,
        stack=_stack(stanza.get("build"), where),
        command=_command(stanza.get("command"), where),
        environment=_environment(stanza.get("environment", {}), where),
        slots=_count(lab["slots"], f"{where}: x-lab: slots"),
        processes=_count(lab["processes"], f"{where}: x-lab: processes"),
        model=lab["model"],
        summary=_text(lab["summary"], f"{where}: x-lab: summary"),
    )


def _backend(name: str, stanza: Any, where: str) -> Backend:
    lab = _lab(name, stanza, where, "backend", _BACKEND_LAB_KEYS, BACKEND_VARIABLES)
    if not isinstance(lab["stack"], str):
        raise SpecError(f"{where}: x-lab: stack must name a folder of services/stacks")
    return Backend(
        name=name,
        stack=lab["stack"],
        entrypoint=_words(lab["entrypoint"], f"{where}: x-lab: entrypoint must be a list of strings"),
        command=_command(stanza.get("command"), where),
        health=_health(stanza.get("healthcheck"), where),
        environment=_environment(stanza.get("environment", {}), where),
        port=_port(lab["port"], f"{where}: x-lab: port"),
    )


def _lab(
    name: str, stanza: Any, where: str, what: str, keys: frozenset[str], variables: frozenset[str]
) -> Mapping[str, Any]:
    """The x-lab stanza of a service, after all was looked at that is the same for servers and backends."""
    if not isinstance(stanza, dict):
        raise SpecError(f"{where}: is not a service, but {type(stanza).__name__}")
    if not _NAME.fullmatch(name):
        raise SpecError(f"{where}: a {what}'s name has lower-case letters, digits and hyphens only")
    _only(stanza, _READ_KEYS | _CONTAINER_KEYS, where, "a service's keys")
    for template in _strings(stanza):
        _check_placeholders(template, where, variables)
    lab = stanza.get("x-lab")
    if not isinstance(lab, dict):
        raise SpecError(f"{where}: has no x-lab stanza; it needs {', '.join(sorted(keys))}")
    _only(lab, keys, f"{where}: x-lab", "its keys")
    if missing := sorted(keys - lab.keys()):
        raise SpecError(f"{where}: x-lab lacks {', '.join(missing)}")
    return lab


def _only(mapping: Mapping[Any, Any], known: frozenset[str], where: str, what: str) -> None:
    for key in mapping:
        if key not in known:
            raise SpecError(f"{where}: unknown key {key!r}; {what} are {', '.join(sorted(known))}")


def _strings(value: Any) -> list[str]:
    """Every string value inside `value`. Compose interpolates values, not keys."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


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


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SpecError(f"{where} must be a few words, not {value!r}")
    return value


def _count(value: Any, where: str) -> int | None:
    if value == "unbounded":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise SpecError(f"{where} must be a whole number from 1, or unbounded, not {value!r}")


def _port(value: Any, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _HIGHEST_PORT:
        return value
    raise SpecError(f"{where} must be a whole number from 1 to {_HIGHEST_PORT}, not {value!r}")
