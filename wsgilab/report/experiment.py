"""`experiment.yaml`: what a run measured, as an experiment file that measures it again."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from wsgilab.experiment import application as applications
from wsgilab.experiment import slots
from wsgilab.model import Arrivals, Cell, Circumstances, Comparison, Connection, Run, Server
from wsgilab.model.text import called
from wsgilab.report.reproduce import against, releases, where
from wsgilab.report.yaml import circumstances, dump


class _Load(NamedTuple):
    """Users, or a rate with its arrivals. Loads of the same kind have the last two in common."""

    amount: float
    arrivals: Arrivals | None
    scheduled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _CellGroup:
    """A product of lists, the first the slowest to change: the order in which an experiment file spells cells out."""

    servers: tuple[str, ...]
    cores: tuple[int, ...]
    workloads: tuple[str, ...]
    loads: tuple[_Load, ...]
    connections: tuple[Connection, ...]
    circumstances: Circumstances | None


_FASTEST_FIRST = ("connections", "loads", "workloads", "cores", "servers")


def experiment_yaml(comparison: Comparison) -> Mapping[str, bytes]:
    """The run's experiment, resolved, as an experiment file: it gives the same cells in the same order.

    So the run's seed gives the same order of trials too. No file for an interactive session, which has no cells, and
    for a server that runs already: `--url` has all that there is to say.
    """
    run = comparison.run
    if not run.experiment.cells or not all(each.is_started for each in run.servers.values()):
        return {}
    return {"experiment.yaml": _comment(run).encode() + dump(_document(run), ascii_only=True)}


def _comment(run: Run) -> str:
    """Whose experiment it is. A run can come from anywhere: its id must not end the line, or be taken for a command."""
    named = "".join(letter if letter.isprintable() else "?" for letter in run.id)
    return (
        f"# What the run {named} measured, every cell and every parameter spelled out.\n"
        "# The same again, in the same order, where FILE is this one:\n"
        f"#   {called('lab.run')} --experiment FILE {shlex.join([*releases(run), *against(run), *where(run)])} --seed {run.seed}\n"
    )


def _document(run: Run) -> Mapping[str, object]:
    experiment = run.experiment
    extent: dict[str, object] = {"blocks": experiment.blocks}
    if experiment.precision is not None and experiment.max_blocks is not None:
        extent |= {"precision": experiment.precision, "max_blocks": experiment.max_blocks}
    if experiment.budget_s is not None:
        extent = {"budget": _short(experiment.budget_s)}
    limit = experiment.capacity
    if (tune := experiment.tune) is not None:
        limits = {"p95_ms": tune.p95_ms, "memory_mb": tune.memory_mb}
        extent |= {"tune": {name: _short(limit) for name, limit in limits.items() if limit is not None}}
    application = experiment.application
    return {
        "name": experiment.name,
        **({} if application is None else {"application": applications.document(application)}),
        **extent,
        **({} if limit is None else {"capacity": asdict(replace(limit, p95_ms=_short(limit.p95_ms)))}),
        "window_s": _short(experiment.window_s),
        "patience_s": _short(experiment.patience_s),
        "generator": experiment.generator,
        "generator_cores": experiment.generator_cores,
        "reference": _reference(run),
        "workloads": {
            name: {key: _short(value) for key, value in given.items()}
            for name, given in experiment.parameters.items()
            if given
        },
        "cells": [
            {key: each for key, each in _entry(group, run.servers).items() if limit is None or key != "users"}
            for group in _groups(experiment.cells)
        ],
    }


def _server(server: Server) -> object:
    """Its name, or how it is made of another. One that is there for its release is the one that it was made from."""
    if server.like is None:
        return server.extends if server.has_release else server.name
    return {
        "like": server.like,
        "options": list(server.options),
        **({"environment": dict(server.variables)} if server.variables else {}),
        **_declared(server),
        "name": server.name,
    }


def _declared(server: Server) -> Mapping[str, object]:
    """What a row must declare by itself; nothing where its command says it."""
    try:
        known = slots.work_out(server.command, server.environment)
    except slots.NotKnown:
        known = None
    if known is not None and (known.slots, known.processes, known.model) == (
        server.slots,
        server.processes,
        server.model,
    ):
        return {}
    return {
        "slots": server.slots or "unbounded",
        "processes": server.processes or "unbounded",
        "model": server.model,
    }


def _servers(names: Sequence[str], servers: Mapping[str, Server]) -> Sequence[object]:
    """Each once: several releases of one are one server."""
    found: list[object] = []
    for name in names:
        entry = _server(servers[name]) if name in servers else name
        if entry not in found:
            found.append(entry)
    return found


def _reference(run: Run) -> str:
    server = run.servers.get(run.experiment.reference)
    return run.experiment.reference if server is None or not server.has_release else server.extends or server.name


def _entry(group: _CellGroup, servers: Mapping[str, Server]) -> Mapping[str, object]:
    first, amounts = group.loads[0], [_short(load.amount) for load in group.loads]
    return {
        "servers": _servers(group.servers, servers),
        "workloads": list(group.workloads),
        **({"rate": amounts, "arrivals": first.arrivals} if first.scheduled else {"users": amounts}),
        "connections": list(group.connections),
        "cores": list(group.cores),
        **circumstances(group.circumstances),
    }


def _groups(cells: Sequence[Cell]) -> Sequence[_CellGroup]:
    """The cells in their order, as the few products that are left when neighbours are joined list by list."""
    groups = [_single(cell) for cell in cells]
    for name in _FASTEST_FIRST:
        joined: list[_CellGroup] = []
        for group in groups:
            both = _joined(joined[-1], group, name) if joined else None
            if both is None:
                joined.append(group)
            else:
                joined[-1] = both
        groups = joined
    return groups


def _single(cell: Cell) -> _CellGroup:
    load = (
        _Load(amount=cell.users or 0, arrivals=None, scheduled=False)
        if cell.rate is None
        else _Load(amount=cell.rate, arrivals=cell.arrivals, scheduled=True)
    )
    return _CellGroup(
        servers=(cell.server,),
        cores=(cell.cores,),
        workloads=(cell.workload,),
        loads=(load,),
        connections=(cell.connection,),
        circumstances=cell.circumstances,
    )


def _joined(first: _CellGroup, second: _CellGroup, name: str) -> _CellGroup | None:
    """One group with the list `name` of both; None if the two differ in anything else."""
    values = (*getattr(first, name), *getattr(second, name))
    if name == "loads" and len({load[1:] for load in values}) > 1:
        return None  # a group has users or a rate, and all its rates are spaced alike
    change: dict[str, Any] = {name: values}
    both = replace(first, **change)
    return both if replace(second, **change) == both else None


def _short(value: float) -> float:
    """50 for 50.0: the file means the same, and is shorter."""
    return int(value) if value == int(value) else value
