"""A server by itself: what it is, what it declared, what was measured of it, what bound it, and what to try next. Pure."""

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.model import BoundBy, CellResult, Comparison, ExecutionModel, LatencyParts, Server, by_conditions
from wsgilab.model.text import counted, number
from wsgilab.report import prediction, tables
from wsgilab.report.deploy import Deployment, deployment
from wsgilab.report.findings.best import what_binds
from wsgilab.report.objections import objections
from wsgilab.report.tables import Table

_NAMED = 4
"""So many conditions are named in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPage:
    """What there is to say of one server of a run."""

    name: str
    summary: str
    command: str
    """As the lab starts it; the URL of one that is not the lab's."""
    deployment: Deployment | None
    """How it is started outside the lab; None where it has no command line of its own."""
    facts: tuple[tuple[str, str], ...]
    """What it declared and what it runs on, by name."""
    measured: Table
    latency: tuple[str, ...]
    """What its mean latency consists of, a sentence for each of the conditions; empty where that was not measured."""
    parts: Table | None
    bound: tuple[str, ...]
    """What bound it, a sentence for each of the conditions."""
    next: tuple[str, ...]
    """What to try next, in sentences."""


def server_pages(comparison: Comparison) -> Sequence[ServerPage]:
    """One for each server that has a cell, in the order of the run."""
    results: dict[str, list[CellResult]] = defaultdict(list)
    for each in comparison.cells:
        results[each.cell.server].append(each)
    return [
        _page(comparison, server, results[name]) for name, server in comparison.run.servers.items() if results[name]
    ]


def _page(comparison: Comparison, server: Server, results: Sequence[CellResult]) -> ServerPage:
    return ServerPage(
        name=server.name,
        summary=server.summary,
        command=shlex.join(server.command),
        deployment=deployment(comparison.run, server, results[0].cell.cores) if server.is_started else None,
        facts=tuple(_facts(comparison, server)),
        measured=tables.of_server(comparison, server.name),
        latency=tuple(
            _latency(tables.brief(comparison, each.cell), each.figures.parts)
            for each in results
            if each.figures is not None and each.figures.parts is not None
        ),
        parts=tables.parts(comparison, server=server.name),
        bound=tuple(_bound(comparison, each) for each in results),
        next=tuple(dict.fromkeys([*_advised(comparison, server.name), *_try(comparison, server, results)])),
    )


_RUNS: Mapping[ExecutionModel, str] = {
    "process": "a process for each request at a time",
    "threads": "threads",
    "coroutines": "coroutines, which give way where they wait",
    "event-loop": "an event loop",
}


def _facts(comparison: Comparison, server: Server) -> Iterable[tuple[str, str]]:
    """Of a server that is not the lab's, nothing is known."""
    if not server.is_started:
        yield "declared", "nothing: it is not the lab's"
        return
    slots = "no limit of slots" if server.slots is None else counted(server.slots, "slot")
    count = server.processes
    processes = "a process for each request" if count is None else f"{count} process{'es' * (count != 1)}"
    yield "declared", f"{slots}; {processes}"
    if server.model is not None:
        yield "runs requests in", _RUNS[server.model]
    stack = comparison.run.stacks.get(server.installed_as)
    yield "stack", f"{server.stack}{f', Python {stack.python}' if stack is not None and stack.python else ''}"
    if comparison.run.gil.get(server.name) is False:
        yield "GIL", "off"
    if against := list(objections(comparison.run, server)):
        yield "against it", "; ".join(against)


def _latency(where: str, parts: LatencyParts) -> str:
    rest = parts.connect.mean + parts.back.mean
    return (
        f"{where}: {number(parts.latency_mean)} ms on average = queue {number(parts.queue.mean)} + service "
        f"{number(parts.service.mean)} + the rest {number(rest)} (to connect {number(parts.connect.mean)}, the way back "
        f"{number(parts.back.mean)})."
    )


def _bound(comparison: Comparison, result: CellResult) -> str:
    where, figures = tables.brief(comparison, result.cell), result.figures
    if figures is None:
        why = result.warnings[0].text if result.warnings else "no trial was carried out"
        return f"{where}: not measured: {why}."
    broken = f" Not compared with others: {', '.join(result.broken_gates)}." if result.broken_gates else ""
    by = what_binds(figures.bound_by)
    words = f"bound by {by}" if by else "what binds it is not known"
    return f"{where}: {words}: {figures.because}.{broken}"


# --- what to try next


def _advised(comparison: Comparison, name: str) -> Iterable[str]:
    """What the advice says of it: for what it is the one to run, and where it was left out."""
    of: dict[str, list[str]] = defaultdict(list)
    for advice in comparison.advice:
        if len(advice.workloads) > 1:
            continue
        where = tables.brief(comparison, advice.group)
        if advice.server == name:
            of["It is the one to run for {}."].append(where)
        elif name in advice.suitable:
            of["It is one of those that will do for {}."].append(where)
        elif name in advice.left_out:
            reason = advice.left_out[name].partition(": ")[0].replace("{", "{{").replace("}", "}}")
            of[f"It may not be advised for {{}}: {reason}."].append(where)
    return [sentence.format("; ".join(where)) for sentence, where in of.items()]


def _try(comparison: Comparison, server: Server, results: Sequence[CellResult]) -> Iterable[str]:
    """By what binds it, then by what was faster beside it, then by the law of its cells."""
    by: dict[BoundBy, list[CellResult]] = defaultdict(list)
    for each in results:
        if each.figures is not None:
            by[each.figures.bound_by].append(each)
    for bound_by, found in by.items():
        shown = [tables.brief(comparison, each.cell) for each in found[:_NAMED]]
        more = [f"{len(found) - _NAMED} more"] if len(found) > _NAMED else []
        yield f"For {'; '.join([*shown, *more])}: {_BY[bound_by](server, max(found, key=_load))}."
    yield from _faster(comparison, server.name)
    for law in comparison.laws:
        if law.cell.server == server.name:
            yield prediction.law(comparison.run, law)


def _load(result: CellResult) -> float:
    """Users, or requests a second."""
    return float(result.cell.users or result.cell.rate or 0)


def _more_slots(server: Server, result: CellResult) -> str:
    load = f"{result.cell.users} users" if result.cell.users else f"{result.cell.rate:g} requests/s"
    ways: Mapping[ExecutionModel, str] = {
        "process": "more workers, or threads in them",
        "threads": "more threads",
        "coroutines": "more workers",
        "event-loop": "threads or coroutines, which wait for several requests at once",
    }
    way = ways[server.model] if server.model is not None else "more workers or threads"
    return f"its slots are full: {way} would take more of what {load} send at once"


def _more_load(_: Server, result: CellResult) -> str:
    if result.cell.users is None:
        return "it keeps up: a higher rate would tell where that ends"
    return f"it has room to spare: more than {result.cell.users} users would tell where that ends"


def _balanced(_: Server, result: CellResult) -> str:
    kept = result.cell.connection == "keep-alive"
    ways = "closed connections, " if kept else ""
    return f"one process is busier than the others: {ways}fewer processes, or more threads in each, would even that out"


def _always(sentence: str) -> Callable[[Server, CellResult], str]:
    return lambda _server, _result: sentence


_SPOILT = _always("nothing, before what its warnings name has been mended: its figures are not to be relied on")
_BY: Mapping[BoundBy, Callable[[Server, CellResult], str]] = {
    "slots": _more_slots,
    "demand": _more_load,
    "balance": _balanced,
    "cpu": _always("its cores are full: more cores, or less work in a request; more slots would bring nothing"),
    "gil": _always("its threads share one GIL while cores are idle: more processes would use them"),
    "generator": _always(
        "the generator was busy: more cores for that (--generator-cores 2) would tell more of the server"
    ),
    "backend": _always("the backends were busy: a server changes nothing about that, but what it asks of them does"),
    "network": _always("the network was in the way: a server changes nothing about that, but less to send does"),
    "neighbour": _always("others were on its cores: the same again on a machine with less beside it"),
    "throttled": _always("a CPU quota stopped it: a larger one"),
    "quota": _always("the quota of its cell stopped it: a larger one, or less work in a request"),
    "unexplained": _always("nothing that is measured binds it: its timeline and its latency's parts may say more"),
    "declaration": _always(
        "what it declares is not what it does: correct slots and processes of its row in the catalogue"
    ),
    "failures": _SPOILT,
    "cut-off": _SPOILT,
    "late": _SPOILT,
    "little": _SPOILT,
}
"""By what binds a server, what may bring more."""


def _faster(comparison: Comparison, name: str) -> Iterable[str]:
    """Under each of the conditions, the fastest that is faster for sure and may be advised."""
    left_out = {advice.group.conditions: advice.left_out for advice in comparison.advice if len(advice.workloads) == 1}
    for conditions, group in by_conditions(comparison.cells).items():
        rank = {each.cell.server: each.rank for each in group}.get(name)
        ours = next((each.figures for each in group if each.cell.server == name), None)
        if rank is None or ours is None or group[0].cell.rate is not None:
            continue
        faster = [
            (each.figures.throughput_rps.median, each)
            for each in group
            if each.figures is not None
            and each.rank is not None
            and each.rank.last < rank.first
            and each.cell.server not in left_out.get(conditions, {})
        ]
        if faster:
            most, other = max(faster, key=lambda each: each[0])
            times = number(most / ours.throughput_rps.median)
            slots = "no limit of slots" if other.slots is None else counted(other.slots, "slot")
            yield (
                f"For {tables.brief(comparison, other.cell)}: {other.cell.server} ({slots}) is faster for sure, "
                f"with {times} times its throughput{_others(len(faster) - 1)}."
            )


def _others(count: int) -> str:
    return f"; so are {count} others" if count > 1 else "; so is one other" if count else ""
