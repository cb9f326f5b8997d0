"""What a catalogue file of the user's own may say: rows beside those of the lab's catalogue, each from one of them. Pure.

    servers:
      gthread-16:
        extends: gunicorn-gthread-8
        options: [--threads=16]

The JSON Schema that editors help with follows from it, descriptions included.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field

from wsgilab.experiment import slots
from wsgilab.experiment.catalogue import NAME, check_placeholders
from wsgilab.experiment.parsing import ReadFile, check_known, joined, no_file, read, read_text
from wsgilab.experiment.slots import GUNICORN_SETTINGS, NotKnown
from wsgilab.model import STRICT, ExecutionModel, Server
from wsgilab.model.application import Line, VariableName
from wsgilab.model.errors import SpecError
from wsgilab.model.limits import Must, Pattern, Processes, Slots

MOST_CONFIG_BYTES = 2**14
"""Of a configuration file: it reaches the server as an environment variable."""

_GUNICORN_WORDS = "GUNICORN_CMD_ARGS"
_CONCURRENCY = (_GUNICORN_WORDS, "WEB_CONCURRENCY", GUNICORN_SETTINGS)
"""Environment variables of Gunicorn's that say how many requests it processes at once."""
_RowName = Annotated[
    str,
    Pattern(f"^(?:{NAME.pattern})$"),
    Must("be lower-case letters, digits and hyphens, 100 at most, and begin with a letter or a digit"),
]
OF_THE_APPLICATION = ("LAB_DB_POOL",)
"""Environment variables that begin with LAB_ and are the user's to set: what the lab's own application is told by them."""
_Number = TypeVar("_Number")
Bounded = Annotated[_Number | Literal["unbounded"], Must("be a whole number from 1, or unbounded")]
Value = Annotated[
    Line | Literal[""] | Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)],
    Must("be a number, or text on one line"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A server configuration: another one, and what differs. What is not given is as there."""

    __pydantic_config__: ClassVar = STRICT

    extends: Annotated[str, Must("be the name of a server")]
    """The server that it is made from: one of the lab's, or of this file above it. Its packages are this one's too."""
    options: Annotated[list[Line], Must("be a list of words such as [--threads=16]")] = field(default_factory=list)
    """Options for its command, word by word, such as `--threads=16`. Of the same name they take the place of those that are there."""
    command: Annotated[list[Line], Field(min_length=1), Must("be a list of words, as a command has them")] | None = None
    """The whole command, word by word, in place of that one's. It serves `wsgilab_door.wsgi:app` at ${LAB_BIND}; Gunicorn is told
    where by the lab."""
    environment: dict[VariableName, Value] = field(default_factory=dict)
    """Environment variables beside that one's. GUNICORN_CMD_ARGS has words that come after the lab's."""
    config: Line | None = None
    """A configuration file of Gunicorn's, such as gunicorn.conf.py, relative to this file. Where it listens, and what it serves,
    is the lab's to say."""
    slots: Bounded[Slots] | None = None
    """How many requests it processes at once, or `unbounded`. By default worked out, for Gunicorn and the development server."""
    processes: Bounded[Processes] | None = None
    """In how many processes, or `unbounded` where a request or a connection gets a process of its own. By default worked out."""
    model: ExecutionModel | None = None
    """What runs a request. By default worked out."""
    summary: Annotated[Line, Must("be a few words")] | None = None
    """The configuration in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueFile:
    """Servers of the user's own, which wsgilab measures beside those of its catalogue."""

    __pydantic_config__: ClassVar = STRICT

    servers: Annotated[dict[_RowName, Row], Field(min_length=1)]
    """By name: lower-case letters, digits and hyphens, and no name of the lab's own servers."""


def parse(
    text: str, source: str, catalogue: Mapping[str, Server], *, folder: str, read_file: ReadFile
) -> Mapping[str, Server]:
    """Read a catalogue file: name -> server, without those of `catalogue`, which they are made from.

    `folder` is what its paths are relative to. Raises SpecError naming `source` and the key, and what `read_file` does.
    """
    file = read(text, source, CatalogueFile, "a catalogue of your own", "servers")
    found: dict[str, Server] = {}
    for name, row in file.servers.items():
        where = f"{source}: servers.{name}"
        if name in catalogue:
            raise SpecError(f"{where}: is the name of a server of the lab's; choose another")
        check_known([row.extends], {**catalogue, **found}, f"{where}.extends", "server")
        found[name] = server(name, row, {**catalogue, **found}[row.extends], where, folder, read_file)
    return found


def server(name: str, row: Row, base: Server, where: str, folder: str = ".", read_file: ReadFile = no_file) -> Server:
    """The server that `row` is. Raises SpecError naming `where` and the key."""
    command = _with_options(tuple(row.command or base.command), row.options)
    environment = {**base.environment, **{key: str(value) for key, value in row.environment.items()}}
    _check(row, command, where)
    if _GUNICORN_WORDS in row.environment:
        environment[_GUNICORN_WORDS] = (
            f"{base.environment.get(_GUNICORN_WORDS, '')} {environment[_GUNICORN_WORDS]}".strip()
        )
    if row.config is not None:
        # A $ begins a placeholder.
        config = read_text(joined(folder, row.config), f"{where}.config", MOST_CONFIG_BYTES, read_file)
        environment[GUNICORN_SETTINGS] = json.dumps(config).replace("$", "$$")
    made = replace(
        base,
        name=name,
        extends=base.extends or base.name,
        command=command,
        environment=environment,
        summary=row.summary or _summary(row),
    )
    return _declared(made, row, base, where)


def _with_options(command: tuple[str, ...], options: Sequence[str]) -> tuple[str, ...]:
    """`command` with `options` in place of those of the same name, and the others at its end."""
    words = list(command)
    for option in options:
        name = option.partition("=")[0]
        same = [at for at, word in enumerate(words) if name.startswith("--") and word.partition("=")[0] == name]
        if same and "=" in words[same[0]] and "=" in option:
            words[same[0]] = option
        else:
            words.append(option)
    return tuple(words)


def _check(row: Row, command: Sequence[str], where: str) -> None:
    """What a row says that only the lab can, or that could not be measured. Raises SpecError."""
    for name in row.environment:
        if name.startswith("LAB_") and name not in OF_THE_APPLICATION:
            raise SpecError(
                f"{where}.environment: {name}: variables that begin with LAB_ are the lab's own; name it otherwise"
            )
    for key, texts in (
        ("options", row.options),
        ("command", row.command or ()),
        ("environment", row.environment.values()),
    ):
        for text in texts:
            check_placeholders(str(text), f"{where}.{key}")
    is_gunicorn = "gunicorn" in command
    if row.config is not None and not is_gunicorn:
        raise SpecError(f"{where}.config: is a file for Gunicorn, which {command[0]} is not; leave it out")
    given = {
        "options": row.options,
        "command": row.command or () if is_gunicorn else (),
        f"environment.{_GUNICORN_WORDS}": _words(row, where),
    }
    for key, words in given.items():
        try:
            config = slots.named_config(words) if is_gunicorn else None
        except NotKnown as error:
            raise SpecError(f"{where}.{key}: {error}") from None
        if config is not None:
            raise SpecError(f"{where}.{key}: names a file with -c or --config; give it as config: {config}")
        bound = [word for word in words if word.partition("=")[0] in ("-b", "--bind")]
        if is_gunicorn and bound:
            raise SpecError(f"{where}.{key}: {bound[0]}: the lab says where a server listens; leave it out")


def _words(row: Row, where: str) -> Sequence[str]:
    try:
        return shlex.split(str(row.environment.get(_GUNICORN_WORDS, "")))
    except ValueError as error:
        raise SpecError(
            f"{where}.environment.{_GUNICORN_WORDS}: {str(error).lower()}; quote it as a shell does"
        ) from None


def _summary(row: Row) -> str:
    words = [
        *row.options,
        *([f"config={row.config}"] if row.config else []),
        *(f"{name}={value}" for name, value in row.environment.items()),
    ]
    with_ = "another command" if row.command else shlex.join(words)
    return f"{row.extends} with {with_}" if with_ else f"{row.extends} by another name"


def _declared(server: Server, row: Row, base: Server, where: str) -> Server:
    """`server` with slots, processes and model as the row says, else worked out. Raises SpecError where neither does."""
    changed = server.command != base.command or any(
        server.environment.get(name) != base.environment.get(name) for name in _CONCURRENCY
    )
    if changed and None in (row.slots, row.processes, row.model):
        try:
            known = slots.work_out(server.command, server.environment)
        except NotKnown as error:
            raise SpecError(
                f"{where}: how many requests it processes at once cannot be worked out, because {error}; give slots, "
                "processes and model"
            ) from None
        server = replace(server, slots=known.slots, processes=known.processes, model=known.model)
        for key, value in (("slots", known.slots), ("processes", known.processes)):
            if getattr(row, key) is None and value is not None and value < 1:
                raise SpecError(f"{where}: its options come to {value} {key}; it needs 1 at least")
    return replace(
        server,
        slots=server.slots if row.slots is None else _bounded(row.slots),
        processes=server.processes if row.processes is None else _bounded(row.processes),
        model=row.model or server.model,
    )


def _bounded(given: int | Literal["unbounded"]) -> int | None:
    return None if given == "unbounded" else given
