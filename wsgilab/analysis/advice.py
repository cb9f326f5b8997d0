"""Which of the servers that were measured to run, why, what the next one costs, and when it would be another."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wsgilab.analysis import stats
from wsgilab.analysis.choice import NEAR, Choice, choose, p95_at_most_ms
from wsgilab.analysis.groups import groups
from wsgilab.analysis.overall import Overall, overall
from wsgilab.analysis.wording import costs, costs_overall, faster_by, names, rounded_up, why, why_overall
from wsgilab.model import Advice, Cell, CellResult, Conditions, Observation, Run, Wish
from wsgilab.model.errors import SpecError

MOST_CHANGES = 5
"""So many changes of the advice are told at most."""

_CONDITIONS = ("workload", "cores", "load", "connection")


def advise(
    run: Run, observations: Sequence[Observation], results: Sequence[CellResult], wish: Wish
) -> Sequence[Advice]:
    """The server to run as far as the blocks can tell: for each group of conditions in which two servers at least were
    measured, of `wish.workload` alone where that is given, and before them for several workloads at once.

    `results` are those of `observations`. Raises SpecError for a workload that was not measured, and for limits that
    are no positive numbers.
    """
    _check(wish, results)
    choices = {conditions: choose(group, wish) for conditions, group in groups(run, observations, results).items()}
    asked = [each for each in choices.values() if wish.workload in (None, each.group.cell.workload)]
    return [*_overall(asked, wish), *(_advice(each, choices) for each in asked)]


def _check(wish: Wish, results: Sequence[CellResult]) -> None:
    for limit, unit in ((wish.p95_ms, "p95-ms"), (wish.memory_mb, "memory-mb")):
        if limit is not None and not 0 < limit < math.inf:
            raise SpecError(f"--{unit} {limit:g}: must be a number above 0")
    measured = list(dict.fromkeys(result.cell.workload for result in results if result.figures is not None))
    if wish.workload is not None and wish.workload not in measured:
        known = ", ".join(measured) or "none"
        raise SpecError(f"--workload {wish.workload}: not measured in this run; those that were: {known}")


def _advice(choice: Choice, choices: Mapping[Conditions, Choice]) -> Advice:
    group, server = choice.group, choice.server
    best = server or next(iter(choice.tied), None)
    others = (name for name in choice.candidates if name != best and (server is not None or name not in choice.tied))
    runner_up = next(others, None)
    return Advice(
        group=group.cell,
        workloads=(group.cell.workload,),
        wish=choice.wish,
        server=server,
        tied=choice.tied,
        why=why(choice),
        runner_up=runner_up,
        costs="" if best is None or runner_up is None else costs(group, best, runner_up),
        changes=tuple(_changes(choice, choices))[:MOST_CHANGES],
        left_out=choice.left_out,
    )


# --- when it would be another


def _changes(choice: Choice, choices: Mapping[Conditions, Choice]) -> Iterable[str]:
    """What decides otherwise first, then limits, then what leaves it open."""
    neighbours = [
        (kind, other)
        for other in choices.values()
        if (kind := _difference(choice.group.cell, other.group.cell)) is not None and choice.server != other.server
    ]
    neighbours.sort(key=lambda each: _CONDITIONS.index(each[0]))
    told = [(other.server is not None, _elsewhere(choice, kind, other)) for kind, other in neighbours]
    yield from (sentence for decided, sentence in told if decided and sentence)
    yield from _without_a_limit(choice)
    yield from _within_tighter_limits(choice)
    yield from (sentence for decided, sentence in told if not decided and sentence)


def _difference(cell: Cell, other: Cell) -> str | None:
    """The one condition in which they differ; None where it is none or several."""
    pairs = zip(_conditions(cell), _conditions(other), strict=True)
    different = [name for name, (ours, theirs) in zip(_CONDITIONS, pairs, strict=True) if ours != theirs]
    return different[0] if len(different) == 1 else None


def _conditions(cell: Cell) -> tuple[object, ...]:
    return cell.workload, cell.cores, (cell.users, cell.rate, cell.arrivals), cell.connection


def _elsewhere(choice: Choice, kind: str, other: Choice) -> str:
    """What is advised under other conditions; empty where nothing is, and the server was not measured there."""
    when = _when(kind, other.group.cell)
    unknown = choice.server is not None and choice.server not in other.group.results
    if other.server is not None:
        beside = "" if other.server in choice.group.results else " (not measured here)"
        return f"{when}: {other.server}" + (f" ({choice.server} was not measured there)" if unknown else beside)
    if unknown:
        return ""
    if len(other.tied) > 1 and choice.server in other.tied:
        return f"{when}: undecided, {choice.server} is one of {len(other.tied)} that cannot be told apart"
    return f"{when}: {_outcome(other)}"


def _when(kind: str, cell: Cell) -> str:
    if kind == "workload":
        return f"for {cell.workload}"
    if kind == "cores":
        return f"with {cell.cores} core{'s' * (cell.cores != 1)}"
    if kind == "load":
        return f"with {cell.load}"
    return "with connections kept" if cell.connection == "keep-alive" else "with a connection for each request"


def _outcome(choice: Choice) -> str:
    if choice.server is not None:
        return choice.server
    if not choice.tied:
        return "none may be advised"
    return f"undecided between {names(choice.tied)}" if len(choice.tied) > 1 else "undecided"


def _within_tighter_limits(choice: Choice) -> Iterable[str]:
    """The choice among those that take clearly less memory, or answer clearly sooner, than the server that is advised."""
    group, server = choice.group, choice.server
    if server is None:
        return
    ours = group.figures(server).resident_mb or 0.0
    smaller = [
        memory
        for name in choice.candidates
        if (memory := group.figures(name).resident_mb) is not None and memory <= NEAR * ours
    ]
    if smaller:
        limit = rounded_up(max(smaller))
        yield from _if_another(choice, replace(choice.wish, memory_mb=limit), f"with memory at most {limit:g} MB")
    sooner = [
        upper
        for name, ratio in group.over("p95", server).items()
        if name in choice.candidates and stats.verdict(ratio) == "slower" and (upper := p95_at_most_ms(group, name))
    ]
    if sooner:
        limit = rounded_up(max(sooner))
        yield from _if_another(choice, replace(choice.wish, p95_ms=limit), f"with p95 at most {limit:g} ms")


def _without_a_limit(choice: Choice) -> Iterable[str]:
    if choice.wish.p95_ms is not None:
        yield from _if_another(choice, replace(choice.wish, p95_ms=None), "without the limit of p95")
    if choice.wish.memory_mb is not None:
        yield from _if_another(choice, replace(choice.wish, memory_mb=None), "without the limit of memory")


def _if_another(choice: Choice, wish: Wish, when: str) -> Iterable[str]:
    """What the rule says of the same group for another wish, where that is something else."""
    other = choose(choice.group, wish)
    if (other.server, other.tied) != (choice.server, choice.tied):
        beside = ""
        if other.server is not None and choice.server is not None and other.server != choice.server:
            beside = f", {faster_by(choice.group, other.server, choice.server)}"
        yield f"{when}: {_outcome(other)}{beside}"


# --- several workloads


def _overall(choices: Sequence[Choice], wish: Wish) -> Iterable[Advice]:
    """For each of the conditions but the workload, where several were measured with two servers in common."""
    alike: dict[tuple[object, ...], list[Choice]] = {}
    for choice in choices:
        alike.setdefault(_conditions(choice.group.cell)[1:], []).append(choice)
    for several in alike.values():
        common = set[str].intersection(*(set(each.group.results) for each in several))
        if len(several) > 1 and len(common) > 1:
            yield _overall_advice(overall(several), wish)


def _overall_advice(found: Overall, wish: Wish) -> Advice:
    runner_up = next((name for name in found.worst if name not in found.tied), None)
    return Advice(
        group=found.choices[0].group.cell,
        workloads=tuple(each.group.cell.workload for each in found.choices),
        wish=wish,
        server=found.server,
        tied=found.tied,
        why=why_overall(found),
        runner_up=runner_up,
        costs="" if runner_up is None else costs_overall(found, found.tied[0], runner_up),
        changes=tuple(
            f"for {each.group.cell.workload} alone: {each.server}"
            for each in found.choices
            if each.server not in (None, found.server)
        )[:MOST_CHANGES],
        left_out=found.left_out,
    )
