"""Experiments: from what a file asks for to an `Experiment` with every cell spelled out. Pure.

An experiment file lists groups of cells; each group is the product of its lists, and a cell that stands in several
groups counts once:

    name: answer
    blocks: 3
    window_s: 0.5
    reference: gunicorn-sync-1
    workloads: {sleep: {ms: 50}, cpu: {ms: 2}}
    cells:
      - {servers: all, workloads: [hello, sleep, cpu], users: [32], connections: [close]}
      - {servers: [gunicorn-gthread-2x4], workloads: [sleep], users: [32], connections: [keep-alive]}
      - {servers: all, workloads: [sleep], rate: [10], arrivals: poisson}

`users` is a closed loop: so many users, each waiting for its answer. `rate` is an open one: so many requests a second,
due on a schedule whether or not the server keeps up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from wsgilab.catalogue import load_yaml
from wsgilab.errors import SpecError
from wsgilab.model import STRICT, Arrivals, Cell, Connection, Experiment, GeneratorCores, Server

WORKLOADS: Mapping[str, Mapping[str, float]] = {"hello": {}, "sleep": {"ms": 50.0}, "cpu": {"ms": 5.0}}
"""Workload -> its parameters and their defaults. Each is a route of services/app and a file in locustfiles/."""

_ALL = "all"


def _all_or_names(given: object) -> object:
    if given == _ALL:
        return [_ALL]
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ValueError("must be all, or a list of names such as [gunicorn-sync-1, gunicorn-gevent]")
    return given


_Count = Annotated[int, Field(ge=1, le=100_000, strict=True)]
_Seconds = Annotated[float, Field(gt=0, le=3600)]
_Rate = Annotated[float, Field(gt=0, le=100_000)]
_Precision = Annotated[float, Field(gt=0, lt=1)]

MAX_BLOCKS = 50
"""Where a run with `precision` ends, unless the experiment says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    __pydantic_config__: ClassVar = STRICT

    servers: Annotated[list[str], BeforeValidator(_all_or_names)]
    workloads: list[str]
    users: list[_Count] = field(default_factory=list)
    rate: list[_Rate] = field(default_factory=list)
    arrivals: Arrivals | None = None
    connections: list[Connection] = field(default_factory=lambda: ["close"])
    cores: list[_Count] = field(default_factory=lambda: [1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    __pydantic_config__: ClassVar = STRICT

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    cells: Annotated[list[_Group], Field(min_length=1)]
    blocks: Annotated[int, Field(ge=1, le=1000, strict=True)] = 3
    window_s: _Seconds = 1.0
    patience_s: _Seconds = 10.0
    reference: str
    generator: GeneratorCores = "own"
    generator_cores: _Count = 1
    precision: _Precision | None = None
    max_blocks: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None
    workloads: dict[str, dict[str, Annotated[float, Field(gt=0, le=60_000)]]] = field(default_factory=dict)


_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_ADAPTER = TypeAdapter(_File)


def parse(text: str, source: str, catalogue: Mapping[str, Server]) -> Experiment:
    """Read an experiment file. Raises SpecError naming `source`, the key and what would be right."""
    document = load_yaml(text, source)
    if not isinstance(document, dict):
        raise SpecError(f"{source}: is not an experiment; it must begin with keys such as name and cells")
    try:
        file = _ADAPTER.validate_python(document)
    except ValidationError as error:
        raise SpecError(f"{source}: {_first(error)}") from None

    _known([file.reference], catalogue, f"{source}: reference", "server")
    for name, given in file.workloads.items():
        _known([name], WORKLOADS, f"{source}: workloads", "workload")
        _known(given, WORKLOADS[name], f"{source}: workloads.{name}", "parameter")
    cells: dict[Cell, None] = {}
    for number, group in enumerate(file.cells):
        where = f"{source}: cells[{number}]"
        servers = list(catalogue) if group.servers == [_ALL] else group.servers
        _known(servers, catalogue, f"{where}.servers", "server")
        _known(group.workloads, WORKLOADS, f"{where}.workloads", "workload")
        loads = _loads(group, where)
        for server, cores, workload, load, connection in product(
            servers, group.cores, group.workloads, loads, group.connections
        ):
            cells[replace(load, server=server, cores=cores, workload=workload, connection=connection)] = None
    if not cells:
        raise SpecError(f"{source}: cells: every group has an empty list, so there is nothing to measure")
    if file.max_blocks is not None and file.precision is None:
        raise SpecError(f"{source}: max_blocks: says where a run with precision ends, but there is no precision")
    used = {cell.workload for cell in cells}
    experiment = Experiment(
        name=file.name,
        cells=tuple(cells),
        blocks=file.blocks,
        window_s=file.window_s,
        patience_s=file.patience_s,
        reference=file.reference,
        generator=file.generator,
        parameters={name: {**WORKLOADS[name], **file.workloads.get(name, {})} for name in WORKLOADS if name in used},
        generator_cores=file.generator_cores,
    )
    return _sequential(experiment, file.precision, file.max_blocks, f"{source}: max_blocks")


def _loads(group: _Group, where: str) -> Sequence[Cell]:
    """The group's loads, as cells that have nothing else."""
    blank = Cell(server="", cores=1, workload="", connection="close")
    if bool(group.users) == bool(group.rate):
        raise SpecError(
            f"{where}: needs users (a closed loop) or rate (requests a second, on a schedule), and not both"
        )
    if group.users:
        if group.arrivals is not None:
            raise SpecError(f"{where}.arrivals: says how a rate is spaced, but the group has users")
        return [replace(blank, users=users) for users in group.users]
    return [replace(blank, rate=rate, arrivals=group.arrivals or "constant") for rate in group.rate]


def _sequential(experiment: Experiment, precision: float | None, max_blocks: int | None, where: str) -> Experiment:
    """The experiment with sequential stopping, where a precision is asked for. Raises SpecError."""
    if precision is None:
        return experiment
    most = max_blocks or max(MAX_BLOCKS, experiment.blocks)
    if most < experiment.blocks:
        raise SpecError(f"{where}: {most} is less than the {experiment.blocks} blocks to begin with")
    return replace(experiment, precision=precision, max_blocks=most)


def narrow(
    experiment: Experiment,
    catalogue: Mapping[str, Server],
    *,
    servers: Sequence[str] = (),
    cores: Sequence[int] = (),
    blocks: int | None = None,
    precision: float | None = None,
    max_blocks: int | None = None,
    share_generator: bool = False,
    generator_cores: int | None = None,
) -> Experiment:
    """The experiment with fewer servers, other cores, other blocks, or another generator, as the command line asks.

    Where the reference is not among `servers`, the first of them takes its place. Raises SpecError for a server
    that is unknown or not in the experiment.
    """
    cells: Sequence[Cell] = experiment.cells
    reference = experiment.reference
    if servers:
        _known(servers, catalogue, "--servers", "server")
        _known(servers, {cell.server: None for cell in cells}, f"--servers: experiment {experiment.name}", "server")
        cells = [cell for cell in cells if cell.server in servers]
        reference = reference if reference in servers else servers[0]
    if any(count < 1 for count in cores):
        raise SpecError(f"--cores must be whole numbers from 1, not {', '.join(map(str, cores))}")
    if cores:
        cells = list(dict.fromkeys(replace(cell, cores=count) for cell in cells for count in cores))
    for option, count in (("blocks", blocks), ("max-blocks", max_blocks), ("generator-cores", generator_cores)):
        if count is not None and count < 1:
            raise SpecError(f"--{option} must be a whole number from 1, not {count}")
    if precision is not None and not 0 < precision < 1:
        raise SpecError(f"--precision must be a share such as 0.03, not {precision:g}")
    if max_blocks is not None and precision is None and experiment.precision is None:
        raise SpecError("--max-blocks says where a run with precision ends; give --precision too")
    narrowed = replace(
        experiment,
        cells=tuple(cells),
        reference=reference,
        blocks=blocks or experiment.blocks,
        generator="shared" if share_generator else experiment.generator,
        generator_cores=generator_cores or experiment.generator_cores,
    )
    most = max_blocks or (experiment.max_blocks and max(experiment.max_blocks, narrowed.blocks))
    return _sequential(narrowed, precision or experiment.precision, most, "--max-blocks")


def _known(given: Sequence[str] | Mapping[str, object], known: Mapping[str, object], where: str, what: str) -> None:
    for name in given:
        if name not in known:
            raise SpecError(f"{where}: unknown {what} {name!r}; known are {', '.join(known) or 'none'}")


def _first(error: ValidationError) -> str:
    """The first of pydantic's complaints as one line: the key, what is wrong, and what was given.

    An unknown key comes before a missing one: it is most often that one, misspelt.
    """
    first = min(error.errors(include_url=False), key=lambda each: each["type"] not in _UNKNOWN_KEY)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    if first["type"] in _UNKNOWN_KEY:
        known = fields(_Group if first["loc"][0] == "cells" else _File)
        return f"unknown key {key!r}; known are {', '.join(each.name for each in known)}"
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"lacks the key {key!r}"
    if first["type"].startswith("dataclass"):
        return f"{key}: must be a mapping with keys such as servers, workloads and users, not {first['input']!r}"
    wrong = first["msg"].removeprefix("Value error, ")
    return f"{key}: {wrong[0].lower()}{wrong[1:]}, not {first['input']!r}"
