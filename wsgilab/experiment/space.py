"""Server configurations by the numbers: rows made of one of the catalogue, one for each combination of some values. Pure.

    servers:
      - gunicorn-gevent
      - {like: gunicorn-gthread, workers: [1, 2], threads: [8, 16, 40]}
      - {like: gunicorn-sync-1, options: ["--max-requests={n}"], values: {n: [100, 1000]}}

An experiment's groups may have them among their servers, and `lab.tune` takes a file of them.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from wsgilab.experiment import own_catalogue
from wsgilab.experiment.catalogue import NAME
from wsgilab.experiment.own_catalogue import Bounded, Row, Value
from wsgilab.experiment.parsing import check_known, read, unknown, validated
from wsgilab.model import STRICT, ExecutionModel, Server
from wsgilab.model.application import Line, VariableName
from wsgilab.model.errors import SpecError
from wsgilab.model.limits import Must, Processes, Range, Slots
from wsgilab.model.text import counted

MOST = 500
"""Rows that one entry may come to."""

_Number = Annotated[int, Range(1, 100_000)]
_Value = Annotated[
    Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)] | Line,
    Must("be a number, or text on one line"),
]

OPTIONS: Mapping[str, Mapping[str, str]] = {
    "gunicorn": {"workers": "--workers", "threads": "--threads", "connections": "--worker-connections"},
    "waitress-serve": {"threads": "--threads", "connections": "--connection-limit"},
    "uwsgi": {"workers": "--processes", "threads": "--threads"},
    "granian": {"workers": "--workers", "threads": "--blocking-threads"},
    "cheroot": {"threads": "--threads"},
}
"""Program -> key of an entry -> the option of its command."""
_KEYS = ("workers", "threads", "connections")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """Server configurations made of one of the catalogue: one for each combination of the values of its lists."""

    __pydantic_config__: ClassVar = STRICT

    like: Annotated[str, Must("be the name of a server, or how it begins, such as gunicorn-gthread")]
    """A server of the catalogue, or how its name begins: `gunicorn-gthread` is the first that begins so."""
    workers: list[Processes] = field(default_factory=list)
    """Numbers of its processes."""
    threads: list[_Number] = field(default_factory=list)
    """Numbers of the threads of each process."""
    connections: list[_Number] = field(default_factory=list)
    """How many connections each process takes at most (with Waitress, the server)."""
    options: list[Line] = field(default_factory=list)
    """Options for its command, word by word, with the names of `values` in braces, such as `--max-requests={n}`."""
    values: dict[str, Annotated[list[_Value], Field(min_length=1)]] = field(default_factory=dict)
    """Values for what `options` have in braces, by name."""
    environment: dict[VariableName, Value] = field(default_factory=dict)
    """Environment variables beside those of the server that they are like."""
    slots: Bounded[Slots] | None = None
    """How many requests each of them processes at once, or `unbounded`. By default worked out, of the servers whose options say it."""
    processes: Bounded[Processes] | None = None
    """In how many processes, or `unbounded`. By default worked out."""
    model: ExecutionModel | None = None
    """What runs a request. By default worked out."""
    name: Line | None = None
    """What the rows are called, with names of values in braces, such as `small-{workers}x{threads}`. By default as the server
    that they are like, with their values: `gunicorn-gthread-2x16`."""


ServerEntry = str | dict[str, Any]
"""The name of a server, or what `Variants` has."""
SCHEMA_OF_ENTRIES = list[str | Variants]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceFile:
    """A space of server configurations for `lab.tune`."""

    __pydantic_config__: ClassVar = STRICT

    servers: Annotated[
        list[ServerEntry],
        Field(min_length=1),
        Must("be a list of names of servers, and of entries such as {like: gunicorn-gthread, threads: [8, 16]}"),
        BeforeValidator(lambda given: given, json_schema_input_type=Annotated[SCHEMA_OF_ENTRIES, Field(min_length=1)]),
    ]
    """Names of servers, and entries that stand for many: a server that they are `like`, and lists of values."""


def parse(text: str, source: str, catalogue: Mapping[str, Server]) -> Mapping[str, Server]:
    """The rows of a space file by name, in its order. Raises SpecError naming `source` and the key."""
    file = read(text, source, SpaceFile, "a space of configurations", "servers")
    return rows(file.servers, catalogue, f"{source}: servers")


def rows(entries: Sequence[ServerEntry], catalogue: Mapping[str, Server], where: str) -> Mapping[str, Server]:
    """The rows that `entries` name or stand for, by name, in their order. Raises SpecError."""
    found: dict[str, Server] = {}
    for number, entry in enumerate(entries):
        found |= _named(entry, catalogue, found, where if isinstance(entry, str) else f"{where}[{number}]")
    return found


def row(entry: ServerEntry, catalogue: Mapping[str, Server], where: str) -> Server:
    """The one row that `entry` names or stands for. Raises SpecError, also where it stands for several."""
    found = _named(entry, catalogue, {}, where)
    if len(found) > 1:
        raise SpecError(f"{where}: stands for {len(found)} servers, {', '.join(found)}; give one value of each")
    (server,) = found.values()
    return server


def _named(
    entry: ServerEntry, catalogue: Mapping[str, Server], before: Mapping[str, Server], where: str
) -> Mapping[str, Server]:
    """The rows of one entry, by name; of those that other entries stand for, `before`, none may be another of the same name."""
    if isinstance(entry, str):
        check_known([entry], catalogue, where, "server")
        return {entry: catalogue[entry]}
    found: dict[str, Server] = {}
    for made in _made(validated(entry, Variants, where), catalogue, where):
        same = found.get(made.name) or before.get(made.name) or catalogue.get(made.name)
        if same is not None and not _is_same(same, made, by_command=bool(entry.get("options"))):
            raise SpecError(f"{where}: {made.name} is another configuration already; call these otherwise with name")
        found[made.name] = same or made
    return found


def _made(given: Variants, catalogue: Mapping[str, Server], where: str) -> Iterator[Server]:
    base = _like(given.like, catalogue, where)
    program = next((word for word in base.command if word in OPTIONS), "")
    values: dict[str, Sequence[object]] = {key: each for key in _KEYS if (each := getattr(given, key))}
    if wrong := [key for key in values if key not in OPTIONS.get(program, {})]:
        raise SpecError(
            f"{where}.{wrong[0]}: is not known of {program or base.command[0]}; name its option in options, and the "
            "numbers in values"
        )
    templates = [f"{OPTIONS[program][key]}={{{key}}}" for key in values] + given.options
    for name, each in given.values.items():
        if not any(f"{{{name}}}" in option for option in given.options):
            raise SpecError(f"{where}.values: no option has {{{name}}}")
        values[name] = each
    _check_braces(templates, values, f"{where}.options")
    if not templates and not given.environment:
        raise SpecError(f"{where}: has no lists of values, such as threads: [8, 16]; without them give the name alone")
    if not values and given.name is None:
        raise SpecError(f"{where}: has no values to call it by; give it a name")
    if (count := math.prod(map(len, values.values()))) > MOST:
        raise SpecError(f"{where}: comes to {count:,} configurations, and may come to {MOST}; give fewer values")
    if given.name is not None:
        _check_braces([given.name], values, f"{where}.name")
    for chosen in itertools.product(*values.values()):
        of = dict(zip(values, map(str, chosen), strict=True))
        options = tuple(_filled(each, of) for each in templates)
        name = _filled(given.name, of) if given.name is not None else _name(given.like, of.values())
        if not NAME.fullmatch(name):
            raise SpecError(
                f"{where}: {name!r} is no name of a server, which has lower-case letters, digits and hyphens"
            )
        words = _command(base.command, program, options)
        spelt = ", ".join(
            counted(int(value), key.removesuffix("s")) if key in _KEYS else f"{key} {value}"
            for key, value in of.items()
        )
        variables = [f"{key}={value}" for key, value in given.environment.items()]
        row = Row(
            extends=base.name,
            command=list(words),
            environment=given.environment,
            slots=given.slots,
            processes=given.processes,
            model=given.model,
            summary=f"{base.name} with {spelt or ' '.join((*options, *variables))}",
        )
        made = own_catalogue.server(name, row, base, f"{where}: {name}")
        yield replace(
            made,
            like=base.name,
            options=options,
            variables={key: str(value) for key, value in given.environment.items()},
        )


def _is_same(one: Server, other: Server, *, by_command: bool) -> bool:
    """Whether two rows of one name are the same, even where one spells out what the other has by default."""
    if one.command == other.command:
        return one.environment == other.environment
    declared = ((each.stack, each.environment, each.slots, each.processes, each.model) for each in (one, other))
    return not by_command and len({repr(each) for each in declared}) == 1


def _like(name: str, catalogue: Mapping[str, Server], where: str) -> Server:
    """The server of that name, or the first of the catalogue's own whose name begins so. Raises SpecError."""
    if name in catalogue:
        return catalogue[name]
    begins = (each for each in catalogue.values() if each.name.startswith(f"{name}-") and each.like is None)
    if (found := next(begins, None)) is None:
        raise SpecError(f"{where}.like: {unknown('server', name, catalogue)}")
    return found


_BRACES = re.compile(r"(?<!\$)\{(\w+)\}")


def _check_braces(templates: Sequence[str], values: Mapping[str, object], where: str) -> None:
    for name in itertools.chain.from_iterable(map(_BRACES.findall, templates)):
        if name not in values:
            raise SpecError(f"{where}: there are no values for {{{name}}}; give them in values")


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _BRACES.sub(lambda match: values[match[1]], template)


def _name(like: str, values: Iterable[str]) -> str:
    """`gunicorn-gthread-2x16` of `gunicorn-gthread-8` and of `gunicorn-gthread`."""
    stem = re.sub(r"(?:-\d+(?:x\d+)*)+$", "", like)
    return f"{stem}-{'x'.join(re.sub(r'[^a-z0-9]+', '-', each.lower()).strip('-') for each in values)}"


def _command(command: Sequence[str], program: str, options: Sequence[str]) -> Sequence[str]:
    """`command` with `options` in place of those of the same name, and the others right behind the program: some take none
    behind the application."""
    words = list(command)
    at = words.index(program) + 1 if program in words else len(words)
    for option in options:
        name = option.partition("=")[0]
        same = [place for place, word in enumerate(words) if word.partition("=")[0] == name]
        if same and "=" in words[same[0]]:
            words[same[0]] = option
        else:
            words.insert(at, option)
            at += 1
    return words


# --- where no space is given

_USUAL_USERS = 64
"""At a rate, how many requests at once the space is made for."""
_AT_MOST = 3
"""No configuration of threads takes more than so many times the users at once."""


def rule_of_thumb(cores: int) -> int:
    """How many workers Gunicorn's documentation begins with: `(2 x $num_cores) + 1` (docs.gunicorn.org, "Design", "How Many
    Workers?")."""
    return 2 * cores + 1


def usual(cores: int, users: int | None) -> Sequence[ServerEntry]:
    """The space for servers on so many cores and so many users at a time; None: requests come at a rate.

    Worker classes and servers that differ in what runs a request; processes from one to several for each core, and threads from a
    few to one for each user, since requests that compute want the first and requests that wait the second.
    """
    most = users or _USUAL_USERS
    few, thumb = min(4, most), rule_of_thumb(cores)
    threads = sorted({few, 16 if most >= 16 else most, math.ceil(most / 2), most} - set(range(few)))  # noqa: PLR2004
    sync = sorted({2 * cores, thumb, 4 * cores, 8 * cores, *range(2, cores + 1)} - {1})
    entries: list[ServerEntry] = ["gunicorn-sync-1", {"like": "gunicorn-sync-1", "workers": _spread(sync, 5)}]
    for workers in sorted({1, cores, 2 * cores, thumb if cores == 1 else 1}):
        fitting = [each for each in threads if workers * each <= _AT_MOST * most]
        if fitting:
            entries.append({"like": "gunicorn-gthread-8", "workers": [workers], "threads": fitting})
    several = sorted({cores, 2 * cores} - {1})
    entries += ["gunicorn-gevent", {"like": "gunicorn-gevent", "workers": several}]
    for workers in several:
        # As many connections as make the processes' shares even.
        entries.append(
            {"like": "gunicorn-gevent", "workers": [workers], "connections": [max(1, math.ceil(most / workers))]}
        )
    outer = sorted({threads[0], threads[-1]})
    entries.append({"like": "waitress-8", "threads": sorted({*outer, threads[len(threads) // 2]})})
    entries.append({"like": "granian-2x4", "workers": sorted({1, 2 * cores}), "threads": outer})
    return entries


def _spread(values: Sequence[int], most: int) -> list[int]:
    """At most so many of the values, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return sorted({values[round(at * (len(values) - 1) / (most - 1))] for at in range(most)})


def fewest_processes(servers: Mapping[str, Server], most: int, keep: str) -> Mapping[str, Server]:
    """At most so many of `servers`: `keep`, and those with the fewest processes, in their order."""
    in_order = sorted(servers, key=lambda name: (name != keep, servers[name].processes or math.inf))
    chosen = set(in_order[:most])
    return {name: server for name, server in servers.items() if name in chosen}
