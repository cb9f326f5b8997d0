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

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Annotated, ClassVar, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from wsgilab.catalogue import load_yaml
from wsgilab.errors import SpecError
from wsgilab.model import STRICT, Arrivals, Cell, Connection, Experiment, GeneratorCores, Server, Workload

WORKLOADS: Mapping[str, Workload] = {
    "hello": Workload(parameters={}),
    "sleep": Workload(parameters={"ms": 50.0}),
    "cpu": Workload(parameters={"ms": 5.0}),
    "db": Workload(parameters={"ms": 50.0}, backends=("postgres",)),
    "upstream": Workload(parameters={"ms": 50.0}, backends=("upstream",)),
    "large": Workload(parameters={"kib": 1024.0}),
    "slow-client": Workload(parameters={"send_ms": 100.0, "read_ms": 100.0, "kib": 1024.0}),
    "stall": Workload(parameters={"ms": 300.0}, parts=("sleep", "cpu"), needs_users=True),
    "mixed": Workload(
        parameters={"hello": 50.0, "db": 25.0, "upstream": 15.0, "cpu": 5.0, "large": 5.0},
        backends=("postgres", "upstream"),
        parts=("hello", "db", "upstream", "cpu", "large"),
    ),
}
"""By name. Each is a file in locustfiles/ (with _ for -), and its requests go to routes of services/app."""

_COMPUTING = frozenset({"cpu", "stall"})
"""Workloads whose `ms` is CPU time."""

_ALL = "all"


def _all_or_names(given: object) -> object:
    if given == _ALL:
        return [_ALL]
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ValueError("must be all, or a list of names such as [gunicorn-sync-1, gunicorn-gevent]")
    return given


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Count = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Rate = Annotated[float, Field(gt=0, le=100_000)]
_Seconds = Annotated[float, Field(gt=0, le=3600)]
_Precision = Annotated[float, Field(gt=0, lt=1)]

MAX_BLOCKS = 50
"""Where a run with `precision` ends, unless the experiment says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every file that asks for measurements may say, beside its cells."""

    __pydantic_config__: ClassVar = STRICT

    name: Name
    blocks: Annotated[int, Field(ge=1, le=1000, strict=True)] = 3
    window_s: _Seconds = 1.0
    patience_s: _Seconds = 10.0
    generator: GeneratorCores = "own"
    generator_cores: Count = 1
    workloads: dict[str, dict[str, Annotated[float, Field(gt=0, le=60_000)]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    __pydantic_config__: ClassVar = STRICT

    servers: Annotated[list[str], BeforeValidator(_all_or_names)]
    workloads: list[str]
    users: list[Count] = field(default_factory=list)
    rate: list[Rate] = field(default_factory=list)
    arrivals: Arrivals | None = None
    connections: list[Connection] = field(default_factory=lambda: ["close"])
    cores: list[Count] = field(default_factory=lambda: [1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _File(Settings):
    cells: Annotated[list[_Group], Field(min_length=1)]
    reference: str
    precision: _Precision | None = None
    max_blocks: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None


_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_ADAPTER = TypeAdapter(_File)

Parsed = TypeVar("Parsed")

Place = tuple[int | str, ...]
"""Where in a document something stands: its keys and indices."""


def parse(text: str, source: str, catalogue: Mapping[str, Server]) -> Experiment:
    """Read an experiment file. Raises SpecError naming `source`, the key and what would be right."""
    file = read(text, source, _ADAPTER, "an experiment", lambda place: _Group if place[0] == "cells" else _File)
    check_known([file.reference], catalogue, f"{source}: reference", "server")
    cells: dict[Cell, None] = {}
    for number, group in enumerate(file.cells):
        where = f"{source}: cells[{number}]"
        servers = list(catalogue) if group.servers == [_ALL] else group.servers
        check_known(servers, catalogue, f"{where}.servers", "server")
        check_known(group.workloads, WORKLOADS, f"{where}.workloads", "workload")
        group_loads = loads(group.users, group.rate, group.arrivals, where)
        for server, cores, workload, load, connection in product(
            servers, group.cores, group.workloads, group_loads, group.connections
        ):
            cells[replace(load, server=server, cores=cores, workload=workload, connection=connection)] = None
    if not cells:
        raise SpecError(f"{source}: cells: every group has an empty list, so there is nothing to measure")
    if file.max_blocks is not None and file.precision is None:
        raise SpecError(f"{source}: max_blocks: says where a run with precision ends, but there is no precision")
    return _sequential(
        resolve(file, list(cells), file.reference, source), file.precision, file.max_blocks, f"{source}: max_blocks"
    )


def read(text: str, source: str, adapter: TypeAdapter[Parsed], what: str, shape: Callable[[Place], type]) -> Parsed:
    """A file that is `what`, as `adapter` reads it; `shape` is the dataclass whose key stands, or should, at a place.

    Raises SpecError naming `source`, the key and what would be right.
    """
    document = load_yaml(text, source)
    if not isinstance(document, dict):
        raise SpecError(f"{source}: is not {what}; it must begin with keys such as name and cells")
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        raise SpecError(f"{source}: {_first(error, shape)}") from None


def resolve(settings: Settings, cells: Sequence[Cell], reference: str, source: str) -> Experiment:
    """The experiment of `cells`, with every parameter filled in. Raises SpecError for a workload or a parameter of one
    that there is not."""
    for name, given in settings.workloads.items():
        check_known([name], WORKLOADS, f"{source}: workloads", "workload")
        check_known(given, WORKLOADS[name].parameters, f"{source}: workloads.{name}", "parameter")
    for cell in cells:
        if cell.rate is not None and WORKLOADS[cell.workload].needs_users:
            raise SpecError(f"{source}: workload {cell.workload!r} tells its users apart; give users, not rate")
    return Experiment(
        name=settings.name,
        cells=tuple(cells),
        blocks=settings.blocks,
        window_s=settings.window_s,
        patience_s=settings.patience_s,
        reference=reference,
        generator=settings.generator,
        parameters=parameters({cell.workload for cell in cells}, settings.workloads),
        generator_cores=settings.generator_cores,
    )


def parameters(
    workloads: Collection[str], given: Mapping[str, Mapping[str, float]]
) -> Mapping[str, Mapping[str, float]]:
    """Workload -> parameter -> value, as `given` or else as usual: of `workloads` and of all that they are made of."""
    used = {part for name in workloads for part in (name, *WORKLOADS[name].parts)}
    return {name: {**WORKLOADS[name].parameters, **given.get(name, {})} for name in WORKLOADS if name in used}


def options(
    workload: str, given: Mapping[str, Mapping[str, float]], cpu_iterations: int | None
) -> Mapping[str, float | int]:
    """The options of a workload's Locust file for the parameters `given`: `{"slow_client_kib": 1024.0}`.

    Computing is told in iterations, of which `cpu_iterations` take the time that `cpu` is given; None: not calibrated.
    """
    found: dict[str, float | int] = {}
    for name, value in given[workload].items():
        if workload in _COMPUTING and name == "ms" and cpu_iterations is not None:
            found[f"{workload}_iterations"] = round(cpu_iterations * value / given["cpu"]["ms"])
        else:
            found[f"{workload}_{name}".replace("-", "_")] = value
    return found


def backends(workloads: Iterable[str]) -> Sequence[str]:
    """The names of the backends that requests of `workloads` wait for, in order."""
    return list(dict.fromkeys(backend for name in workloads for backend in WORKLOADS[name].backends))


def loads(users: Sequence[int], rates: Sequence[float], arrivals: Arrivals | None, where: str) -> Sequence[Cell]:
    """The loads of a group, as cells that have nothing else. Raises SpecError where there are both users and rates, or
    neither."""
    blank = Cell(server="", cores=1, workload="", connection="close")
    if bool(users) == bool(rates):
        raise SpecError(
            f"{where}: needs users (a closed loop) or rate (requests a second, on a schedule), and not both"
        )
    if users:
        if arrivals is not None:
            raise SpecError(f"{where}.arrivals: says how a rate is spaced, but there are users")
        return [replace(blank, users=each) for each in users]
    return [replace(blank, rate=rate, arrivals=arrivals or "constant") for rate in rates]


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
        check_known(servers, catalogue, "--servers", "server")
        check_known(
            servers, {cell.server: None for cell in cells}, f"--servers: experiment {experiment.name}", "server"
        )
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


def check_known(
    given: Sequence[str] | Mapping[str, object], known: Mapping[str, object], where: str, what: str
) -> None:
    """Raises SpecError for the first of `given` that is not `known`."""
    for name in given:
        if name not in known:
            raise SpecError(f"{where}: unknown {what} {name!r}; known are {', '.join(known) or 'none'}")


def _first(error: ValidationError, shape: Callable[[Place], type]) -> str:
    """The first of pydantic's complaints as one line: the key, what is wrong, and what was given.

    An unknown key comes before a missing one: it is most often that one, misspelt.
    """
    first = min(error.errors(include_url=False), key=lambda each: each["type"] not in _UNKNOWN_KEY)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    if first["type"] in _UNKNOWN_KEY:
        return f"unknown key {key!r}; known are {', '.join(_keys(shape(first['loc'])))}"
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"lacks the key {key!r}"
    if first["type"].startswith("dataclass"):
        *some, last = _keys(shape(first["loc"]))[:3]
        return f"{key}: must be a mapping with keys such as {', '.join(some)} and {last}, not {first['input']!r}"
    wrong = first["msg"].removeprefix("Value error, ")
    return f"{key}: {wrong[0].lower()}{wrong[1:]}, not {first['input']!r}"


def _keys(shape: type) -> Sequence[str]:
    return [each.name for each in fields(shape)]
