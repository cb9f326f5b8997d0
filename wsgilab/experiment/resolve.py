"""From what an experiment file asks for to an `Experiment` with every cell spelled out."""

import math
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import product

from wsgilab.experiment import application as applications
from wsgilab.experiment import plan, sizing, space, workloads
from wsgilab.experiment.file import ALL, CellGroup, ExperimentFile, Settings
from wsgilab.experiment.parsing import ReadFile, check_known, joined, no_file, read, validated
from wsgilab.experiment.plan import RACE_BLOCKS
from wsgilab.model import Application, Arrivals, CapacityLimit, Cell, Connection, Experiment, Server, Tune
from wsgilab.model.errors import SpecError
from wsgilab.model.limits import Blocks, Budget, Cores, Precision
from wsgilab.model.text import counted

USUAL_BLOCKS = 3
"""Unless the file says otherwise."""
MAX_BLOCKS = 50
"""Where a run with `precision` ends, unless the experiment says otherwise."""


_EXTENT = ("blocks", "precision")
"""Keys of a file, and options, that say how long a run goes on, beside a budget."""
_FIXED = (*_EXTENT, "max_blocks")
"""And those that do not go with a search for capacity."""
CAPACITY_BUDGET_S = 300.0
"""Of such a search, unless it says otherwise, or that would be too short."""
MOST_CAPACITY_USERS = 1000
"""Of the closed loop that shows where a search begins."""
_BLANK = Cell(server="", cores=1, workload="", connection="close")


def parse(
    text: str,
    source: str,
    catalogue: Mapping[str, Server],
    *,
    cores: int,
    share_generator: bool = False,
    generator_cores: int | None = None,
    apart: bool = False,
    application: Application | None = None,
    folder: str = ".",
    read_file: ReadFile = no_file,
) -> Experiment:
    """Read an experiment file. Raises SpecError naming `source`, the key and what would be right.

    `application` is measured in place of the file's; where that is a path, it is relative to `folder`, itself relative to
    where the lab was called, and `read_file` reads it.

    A machine on which the lab may use so many `cores` resolves `cores: all`: what the generator leaves of them, as the
    file says or else as `share_generator` and `generator_cores` do, which the command line may give (see `narrow`). All of
    them where the generator is `apart`, on other machines.
    """
    return of_file(
        read(text, source, ExperimentFile, "an experiment"),
        source,
        catalogue,
        cores=cores,
        share_generator=share_generator,
        generator_cores=generator_cores,
        apart=apart,
        application=application,
        folder=folder,
        read_file=read_file,
    )


def of_file(
    file: ExperimentFile,
    source: str,
    catalogue: Mapping[str, Server],
    *,
    cores: int,
    share_generator: bool = False,
    generator_cores: int | None = None,
    apart: bool = False,
    application: Application | None = None,
    folder: str = ".",
    read_file: ReadFile = no_file,
    limit_at: str = "",
    budget_at: str = "",
) -> Experiment:
    """As `parse`, of what the file says; messages about its limit and its budget name `limit_at` and `budget_at`, unless they are empty."""
    catalogue = {**catalogue, **_rows(file, source, catalogue)}
    check_known([file.reference], catalogue, f"{source}: reference", "server")
    shared = share_generator or file.generator == "shared"
    most = cores if shared or apart else cores - (generator_cores or file.generator_cores)
    used = application or _application(file, source, folder, read_file)
    cells: dict[Cell, None] = {}
    for number, group in enumerate(file.cells):
        where = f"{source}: cells[{number}]"
        found = _cells(group, where, catalogue, used, doubling(most), is_sought=file.capacity is not None)
        cells |= dict.fromkeys(found)
    if not cells:
        raise SpecError(f"{source}: cells: every group has an empty list, so there is nothing to measure")
    if file.max_blocks is not None and file.precision is None:
        raise SpecError(f"{source}: max_blocks: says where a run with precision ends, but there is no precision")
    if file.budget is not None and (others := [key for key in _EXTENT if getattr(file, key) is not None]):
        raise SpecError(
            f"{source}: budget: says how long the run goes on, and so does {others[0]}; give one of the two"
        )
    resolved = resolve(file, list(cells), file.reference, source, used)
    if file.capacity is not None:
        if others := [key for key in _FIXED if getattr(file, key) is not None]:
            raise SpecError(
                f"{source}: {others[0]}: does not go with capacity, which is looked for until a budget is used"
            )
        limit = CapacityLimit(**{each.name: getattr(file.capacity, each.name) for each in fields(CapacityLimit)})
        places = limit_at or f"{source}: capacity.p95_ms", budget_at or f"{source}: budget"
        if file.tune is not None:
            raise SpecError(f"{source}: tune: does not go with capacity; give one of the two")
        return sought(resolved, catalogue, limit, file.budget, *places)
    if file.tune is not None:
        if file.budget is None:
            raise SpecError(f"{source}: tune: a race needs a budget, such as budget: 5min")
        return raced(resolved, file.budget, file.tune, f"{source}: tune")
    if file.budget is not None:
        return budgeted(resolved, file.budget)
    return sequential(resolved, file.precision, file.max_blocks, f"{source}: max_blocks")


def rows(text: str, source: str, catalogue: Mapping[str, Server]) -> Mapping[str, Server]:
    """The servers that an experiment file makes of others: name -> server. Raises SpecError."""
    return _rows(read(text, source, ExperimentFile, "an experiment"), source, catalogue)


def _rows(file: ExperimentFile, source: str, catalogue: Mapping[str, Server]) -> Mapping[str, Server]:
    found: dict[str, Server] = {}
    for number, group in enumerate(file.cells):
        if group.servers not in (ALL, [ALL]):
            named = space.rows(group.servers, {**catalogue, **found}, f"{source}: cells[{number}].servers")
            found |= {name: server for name, server in named.items() if server.like is not None}
    return found


def _application(file: ExperimentFile, source: str, folder: str, read_file: ReadFile) -> Application | None:
    """The file's, if it has one. Raises SpecError."""
    if isinstance(file.application, str):
        path = joined(folder, file.application)
        try:
            text = read_file(path).decode()
        except UnicodeDecodeError:
            raise SpecError(f"{path}: is not UTF-8 text") from None
        return applications.parse(text, path, folder=posixpath.dirname(path), read_file=read_file)
    if file.application is None:
        return None
    return applications.resolve(file.application, f"{source}: application", folder="", read_file=read_file)


def _cells(
    group: CellGroup,
    where: str,
    catalogue: Mapping[str, Server],
    application: Application | None,
    every: Sequence[int],
    *,
    is_sought: bool,
) -> Iterator[Cell]:
    """The cells of a group, those with `every` number of cores where it asks for all. Raises SpecError.

    Where a rate `is_sought`, their users are not known yet.
    """
    every_server = [name for name, server in catalogue.items() if server.like is None]
    servers = (
        every_server
        if group.servers in (ALL, [ALL])
        else list(space.rows(group.servers, catalogue, f"{where}.servers"))
    )
    known = workloads.of(application)
    names = list(known) if group.workloads in (ALL, [ALL]) else group.workloads
    check_known(names, known, f"{where}.workloads", "workload")
    if is_sought:
        for key in ("users", "rate", "arrivals"):
            if getattr(group, key):
                raise SpecError(
                    f"{where}.{key}: does not go with capacity, which looks for a rate by itself; leave it out"
                )
        group_loads: Sequence[Cell] = [replace(_BLANK, users=1)]
    else:
        group_loads = loads(group.users, group.rate, group.arrivals, where)
    numbers = every if group.cores is None else group.cores
    for server, cores, workload, load, connection in product(servers, numbers, names, group_loads, group.connections):
        kept: Connection = "keep-alive" if known[workload].is_locust_file else connection
        yield replace(
            load, server=server, cores=cores, workload=workload, connection=kept, circumstances=group.circumstances()
        )


def doubling(most: int) -> Sequence[int]:
    """1, 2, 4 and so on below `most`, and `most` itself; 1 at least, which is for the layout of cores to refuse."""
    below = [2**power for power in range(max(0, most).bit_length()) if 2**power < most]
    return [*below, max(1, most)]


def resolve(
    settings: Settings, cells: Sequence[Cell], reference: str, source: str, application: Application | None = None
) -> Experiment:
    """The experiment of `cells`, with every parameter filled in. Raises SpecError for a workload or a parameter of one
    that there is not, and for a value beyond the parameter's limits."""
    known = workloads.of(application)
    if application is not None and settings.workloads:
        raise SpecError(
            f"{source}: workloads: are of the lab's own application; requests of another have no parameters"
        )
    for name, given in settings.workloads.items():
        check_known([name], known, f"{source}: workloads", "workload")
        check_known(given, known[name].parameters, f"{source}: workloads.{name}", "parameter")
        if (wrong := workloads.complaint(known[name], given)) is not None:
            raise SpecError(f"{source}: workloads.{name}{wrong}")
    for cell in cells:
        if cell.rate is not None and known[cell.workload].needs_users:
            raise SpecError(
                f"{source}: requests of the workload {cell.workload!r} are not sent at a rate; give users, not rate"
            )
        if cell.rate is not None and known[cell.workload].is_locust_file:
            raise SpecError(
                f"{source}: workload {cell.workload!r} is a Locust file, whose users send when it says; give users, not rate"
            )
        if (wrong := _unfit(cell, is_locust_file=known[cell.workload].is_locust_file)) is not None:
            raise SpecError(f"{source}: {wrong}")
        if (wrong := _too_short(cell, settings.window_s)) is not None:
            raise SpecError(f"{source}: {wrong}")
    return Experiment(
        name=settings.name,
        cells=tuple(cells),
        blocks=settings.blocks or USUAL_BLOCKS,
        window_s=settings.window_s,
        patience_s=settings.patience_s,
        reference=reference,
        generator=settings.generator,
        parameters=workloads.parameters({cell.workload for cell in cells}, settings.workloads, application),
        generator_cores=settings.generator_cores,
        application=application,
    )


def _unfit(cell: Cell, *, is_locust_file: bool) -> str | None:
    """What is wrong with the circumstances of a cell; None: nothing."""
    given = cell.circumstances
    if given is None:
        return None
    for name in ("gap_ms", "abandon_ms"):
        if getattr(given, name) is not None and cell.rate is not None:
            return f"{name}: says what users do, but requests of {cell.workload} come at a rate; give users"
        if getattr(given, name) is not None and is_locust_file:
            return f"{name}: says what users do, but those of {cell.workload} are of a Locust file, which says it; leave it out"
    if given.quota is not None and given.quota >= cell.cores:
        return f"quota: {given.quota:g} is not below the {counted(cell.cores, 'core')} that {cell.server} is pinned to; give less"
    return None


def _too_short(cell: Cell, window_s: float) -> str | None:
    """What the circumstances of a cell need a longer window for; None: nothing."""
    if cell.during is not None and cell.during.at_s >= window_s:
        return f"during.at_s: {cell.during.at_s:g} s is not within the window of {window_s:g} s; give less, or a longer window_s"
    return None


def loads(users: Sequence[int], rates: Sequence[float], arrivals: Arrivals | None, where: str) -> Sequence[Cell]:
    """The loads of a group, as cells that have nothing else. Raises SpecError where there are both users and rates, or
    neither."""
    if bool(users) == bool(rates):
        raise SpecError(
            f"{where}: needs users (a closed loop) or rate (requests a second, on a schedule), and not both"
        )
    if users:
        if arrivals is not None:
            raise SpecError(f"{where}.arrivals: says how a rate is spaced, but there are users")
        return [replace(_BLANK, users=each) for each in users]
    return [replace(_BLANK, rate=rate, arrivals=arrivals or "constant") for rate in rates]


def sequential(experiment: Experiment, precision: float | None, max_blocks: int | None, where: str) -> Experiment:
    """The experiment with sequential stopping, where there is a precision. Raises SpecError."""
    if precision is None:
        return experiment
    most = max_blocks or max(MAX_BLOCKS, experiment.blocks)
    if most < experiment.blocks:
        raise SpecError(f"{where}: {most} is less than the {experiment.blocks} blocks to begin with")
    return replace(experiment, precision=precision, max_blocks=most)


def raced(experiment: Experiment, budget_s: float, tune: Tune, where: str) -> Experiment:
    """The experiment as a race for the best. Raises SpecError unless there are two cells at least, all under the same conditions."""
    if len(experiment.cells) <= 1:
        raise SpecError(f"{where}: has {experiment.cells[0].server} alone; a race needs two configurations at least")
    if (count := len({cell.conditions for cell in experiment.cells})) > 1:
        raise SpecError(
            f"{where}: a race is under one workload, load, connection and number of cores, and the cells have {count} of these"
        )
    return replace(budgeted(experiment, budget_s), blocks=RACE_BLOCKS[0], tune=tune)


def budgeted(experiment: Experiment, budget_s: float) -> Experiment:
    """The experiment with a budget, in place of what it had."""
    return replace(experiment, blocks=plan.WHOLE_BLOCKS, budget_s=budget_s, precision=None, max_blocks=None)


def sought(
    experiment: Experiment,
    catalogue: Mapping[str, Server],
    limit: CapacityLimit,
    budget_s: float | None,
    limit_at: str,
    budget_at: str,
) -> Experiment:
    """The experiment as a search for the highest rate at which each of its servers keeps `limit`.

    Its cells become closed loops of as many users as any server of them has slots. Raises SpecError, which names `limit_at` or
    `budget_at`, for a limit that no request can keep, a workload that cannot come at a rate, and a budget that is too short.
    """
    known = workloads.of(experiment.application)
    for key in ("gap_ms", "abandon_ms"):
        if any(getattr(cell.circumstances, key, None) is not None for cell in experiment.cells):
            raise SpecError(f"{limit_at}: does not go with {key}, which says what users do; leave one of the two out")
    for name in dict.fromkeys(cell.workload for cell in experiment.cells):
        if known[name].needs_users or known[name].is_locust_file:
            raise SpecError(
                f"{limit_at}: requests of the workload {name!r} are not sent at a rate; name another workload"
            )
        alone_ms = workloads.alone_ms(name, experiment.parameters)
        if limit.p95_ms <= alone_ms:
            raise SpecError(
                f"{limit_at}: {limit.p95_ms:g} ms is not more than the {alone_ms:g} ms that a request of {name} takes by itself; "
                "give more"
            )
    users = min(
        MOST_CAPACITY_USERS, max(sizing.USERS, sizing.slots(catalogue[cell.server] for cell in experiment.cells))
    )
    cells = tuple(dict.fromkeys(replace(cell, users=users) for cell in experiment.cells))
    least_s = math.ceil(plan.capacity_least_s(limit, len(cells)))
    if budget_s is None:
        budget_s = float(max(CAPACITY_BUDGET_S, 1.5 * least_s))
    if budget_s < least_s:
        raise SpecError(
            f"{budget_at}: {budget_s:g} s is too short: {counted(len(cells), 'server')} with a limit of {limit.p95_ms:g} ms "
            f"take {least_s} s at least; give more, or fewer servers"
        )
    return replace(
        experiment, cells=cells, blocks=1, precision=None, max_blocks=None, budget_s=budget_s, capacity=limit
    )


def narrow(
    experiment: Experiment,
    catalogue: Mapping[str, Server],
    *,
    servers: Sequence[str] = (),
    cores: Sequence[int] = (),
    blocks: int | None = None,
    precision: float | None = None,
    max_blocks: int | None = None,
    budget_s: float | None = None,
    share_generator: bool = False,
    generator_cores: int | None = None,
) -> Experiment:
    """The experiment with other servers, cores, blocks, or another generator, as the command line asks.

    Blocks, a precision or a budget take the place of another of these that the file has.
    `servers` are any of the catalogue: one that the experiment does not name is measured under each of its conditions.
    Where the reference is not among them, the first takes its place. Raises SpecError for a server that is unknown.
    """
    cells: Sequence[Cell] = experiment.cells
    reference = experiment.reference
    if servers:
        check_known(servers, catalogue, "--servers", "server")
        cells = _of_servers(cells, servers)
        reference = reference if reference in servers else servers[0]
    for count in cores:
        validated(count, Cores, "--cores")
    if cores:
        cells = list(dict.fromkeys(replace(cell, cores=count) for cell in cells for count in cores))
    validated(blocks, Blocks | None, "--blocks")
    validated(max_blocks, Blocks | None, "--max-blocks")
    validated(generator_cores, Cores | None, "--generator-cores")
    validated(precision, Precision | None, "--precision")
    if max_blocks is not None and precision is None and experiment.precision is None:
        raise SpecError("--max-blocks says where a run with precision ends; give --precision too")
    validated(budget_s, Budget | None, "--budget")
    if budget_s is not None and (blocks is not None or precision is not None):
        other = "--blocks" if precision is None else "--precision"
        raise SpecError(f"--budget says how long the run goes on, and so does {other}; give one of the two")
    usual = experiment.blocks if experiment.budget_s is None else USUAL_BLOCKS
    if experiment.capacity is not None and (blocks or precision or max_blocks):
        option = "--blocks" if blocks else "--precision"
        raise SpecError(
            f"{option}: does not go with capacity, which is looked for until a budget is used; give --budget"
        )
    narrowed = replace(
        experiment,
        cells=tuple(cells),
        reference=reference,
        blocks=blocks or usual,
        budget_s=None,
        generator="shared" if share_generator else experiment.generator,
        # Only of what is left, so that it is the same experiment when it is read from a file again.
        parameters=workloads.parameters(
            {cell.workload for cell in cells}, experiment.parameters, experiment.application
        ),
        generator_cores=generator_cores or experiment.generator_cores,
    )
    budget_s = budget_s or (experiment.budget_s if blocks is None and precision is None else None)
    if narrowed.capacity is not None:
        return sought(narrowed, catalogue, narrowed.capacity, budget_s, "capacity", "--budget")
    if budget_s is not None and experiment.tune is not None:
        return raced(narrowed, budget_s, experiment.tune, "--servers")
    narrowed = replace(narrowed, tune=None)
    if budget_s is not None:
        return budgeted(narrowed, budget_s)
    most = max_blocks or (experiment.max_blocks and max(experiment.max_blocks, narrowed.blocks))
    return sequential(narrowed, precision or experiment.precision, most, "--max-blocks")


def _of_servers(cells: Sequence[Cell], servers: Sequence[str]) -> list[Cell]:
    """The cells of `servers`; of one that has none, a cell for each condition there is."""
    named = {cell.server for cell in cells}
    conditions = dict.fromkeys(replace(cell, server="") for cell in cells)
    added = [replace(each, server=name) for name in servers if name not in named for each in conditions]
    return list(dict.fromkeys([cell for cell in cells if cell.server in servers] + added))
