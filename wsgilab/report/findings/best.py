"""Who is best for what and by how much, and what bound whom."""

from collections import Counter
from collections.abc import Mapping, Sequence

from wsgilab.model import Advice, BoundBy, CellResult, Comparison, Interval, by_conditions
from wsgilab.model.text import counted, number
from wsgilab.report import tables
from wsgilab.report.findings.finding import Finding, Findings, figures_of, held_by_silence, median, percent, spread
from wsgilab.report.objections import objections_to
from wsgilab.report.recommendation import names, shares

_TWICE = 1.95
"""From here on, a ratio is in times and not in percent."""
_FEW = 2
"""So many servers are named and not counted."""


def best(comparison: Comparison) -> Findings:
    """Of each advice: those for several workloads first, then those that are decided, then those of most servers. What speaks against a server is said once."""
    said: set[str | None] = set()
    servers = Counter(each.cell.conditions for each in comparison.cells)

    def order(advice: Advice) -> tuple[bool, bool, int]:
        return len(advice.workloads) == 1, not is_decided(advice), -servers[advice.group.conditions]

    for each in sorted(comparison.advice, key=order):
        against = [] if each.server in said else objections_to(comparison.run, each.server)
        although = f", although {names(against)}" if against else ""
        said.add(each.server)
        text = f"For {_where(comparison, each)}: {_of(comparison, each)}{although}."
        yield Finding(kind="best", text=text, part="advice")


def is_decided(advice: Advice) -> bool:
    """Whether it names what to run, or says for sure that there is none."""
    return advice.server is not None or bool(advice.suitable) or not advice.tied


def _where(comparison: Comparison, advice: Advice) -> str:
    together = [tables.workload(comparison.run, name) for name in advice.workloads]
    several = f"{names(together)} together" if len(together) > 1 else ""
    return tables.brief(comparison, advice.group, several)


def _of(comparison: Comparison, advice: Advice) -> str:
    if not advice.tied:
        return "no server qualifies; the advice says why"
    if advice.server is not None:
        return f"{advice.server}, {_why(advice, advice.server)}"
    if len(advice.workloads) > 1:
        few = "they have too few blocks in common" if advice.reason == "blocks" else "the blocks scatter too much"
        return f"undecided between {names(advice.tied)}, because {few}"
    return _undecided(comparison, advice)


def _why(advice: Advice, server: str) -> str:
    """How fast the advised server is, and by how much it is ahead, or what else speaks for it."""
    if len(advice.workloads) > 1:
        return f"which {shares(advice, server)}"
    has = f"with {_speed(advice, median(advice.speed))}"
    beside = next((each for each in advice.contrasts if each.ratio is not None), None)
    if advice.reason == "fastest" and beside is not None and beside.ratio is not None:
        return f"{has}, {_than(beside.ratio, beside.other)}"
    if advice.reason == "cheaper":
        return f"{has}, as fast as {names([each.other for each in advice.contrasts])}, and cheaper"
    return f"{has}, the only one that may be advised"


def _undecided(comparison: Comparison, advice: Advice) -> str:
    """Of one workload."""
    results = [each for each in comparison.cells if each.cell.conditions == advice.group.conditions]
    rates = [
        each.figures.throughput_rps.median
        for each in results
        if each.cell.server in advice.tied and each.figures is not None
    ]
    speeds = _speed(advice, *(rates if advice.group.rate is None and rates else [median(advice.speed)]))
    if advice.suitable:
        return f"any of {names(advice.suitable, 'or')} will do, with {speeds}{_ahead(comparison, advice)}"
    if len(advice.tied) == 1:
        return f"{advice.tied[0]} has {speeds}, and nothing to compare it with"
    few = f", with {counted(advice.blocks, 'block')} in common" if advice.reason == "blocks" else ""
    return f"undecided between {names(advice.tied)} ({speeds}){few}{_ahead(comparison, advice)}"


def _ahead(comparison: Comparison, advice: Advice) -> str:
    """Which are faster than the reference for sure, or else which is next; empty where neither is known."""
    faster = sorted(
        (
            pair
            for pair in comparison.pairs
            if pair.cell.conditions == advice.group.conditions
            and pair.verdict == "faster"
            and pair.metric == "throughput"
        ),
        key=lambda pair: -pair.ratio.median,
    )
    if faster:
        first = f"{faster[0].cell.server} ({number(faster[0].ratio.median)} times)"
        others = f" and {counted(len(faster) - 1, 'other')}" if len(faster) > 1 else ""
        return f"; faster than {faster[0].reference} for sure: {first}{others}"
    behind = advice.runner_up
    if behind is None or behind.ratio is None:
        return ""
    return f"; next is {behind.cell.server}, {_than(behind.ratio, behind.other)}"


def _speed(advice: Advice, *speeds: float) -> str:
    """Throughput or, at a fixed rate, mean latency, with its unit."""
    return f"{spread(speeds, number)} {'requests/s' if advice.group.rate is None else 'ms on average'}"


def _than(ratio: Interval, other: str) -> str:
    """Such as `3.9 times that of one` or `35% more than one`."""
    if ratio.median >= _TWICE or ratio.median <= 1 / _TWICE:
        return f"{number(ratio.median)} times that of {other}"
    return f"{percent(abs(ratio.median - 1))} {'more' if ratio.median > 1 else 'less'} than {other}"


# --- what bound whom

_BINDS: Mapping[BoundBy, str] = {
    "slots": "slots",
    "quota": "their CPU quota",
    "cpu": "their cores",
    "gil": "the GIL",
    "balance": "one busy process",
    "generator": "the generator",
    "backend": "the backends",
    "network": "the network",
    "demand": "nothing but demand",
    "unexplained": "nothing that is known",
}


def what_binds(by: BoundBy, servers: int = 1) -> str:
    """What binds so many servers, in words; empty where it is not known."""
    words = _BINDS.get(by, "")
    return words.replace("their", "its") if servers == 1 else words


def bound(comparison: Comparison) -> Findings:
    """Of the cells under the same conditions, where most servers were measured first."""
    groups = [
        [each for each in group if each.figures is not None] for group in by_conditions(comparison.cells).values()
    ]
    for group in sorted((each for each in groups if each), key=len, reverse=True):
        cell = group[0].cell
        said: list[str] = []
        for by, _ in Counter(figures_of(each).bound_by for each in group).most_common():
            of = [each for each in group if figures_of(each).bound_by == by]
            verb = "" if said else "is bound " if len(of) == 1 else "are bound "
            said.append(f"{_whom(of)} {verb}{_by(by, of)}")
        text = f"For {tables.brief(comparison, cell)}: {'; '.join(said)}."
        yield Finding(kind="bound", text=text, part="load", workload=cell.workload)


def _whom(results: Sequence[CellResult]) -> str:
    few = len(results) <= _FEW
    return names([each.cell.server for each in results]) if few else counted(len(results), "server")


def _by(by: BoundBy, results: Sequence[CellResult]) -> str:
    """What binds these, with the figure that shows it."""
    known = what_binds(by, len(results))
    shown = _shown(by, results) if known else by
    return f"by {known or 'what is not known'}{f' ({shown})' if shown else ''}"


def _shown(by: BoundBy, results: Sequence[CellResult]) -> str:
    figures = [figures_of(each) for each in results]
    if by == "quota":
        stopped = [each.throttled_share.median for each in figures if each.throttled_share is not None]
        return f"stopped for {spread(stopped, percent)} of the time"
    if by in ("cpu", "gil"):
        used = [each.server_cpu.median for each in figures if each.server_cpu is not None]
        return f"{spread(used, percent)} used" if used else ""
    if by == "generator":
        return f"{spread([each.generator_cpu.median for each in figures], percent)} of its core used"
    if by == "backend":
        used = [each.backend_cpu.median for each in figures if each.backend_cpu is not None]
        return f"{spread(used, percent)} of their cores used" if used else ""
    held = [
        (each.mean_in_flight.median, result)
        for each, result in zip(figures, results, strict=True)
        if each.mean_in_flight
    ]
    if by == "demand" and held:
        users = results[0].cell.users
        return f"{spread([mean for mean, _ in held], '{:.1f}'.format)}{f' of {users} users' if users else ''} in flight"
    filled = [mean / result.slots for mean, result in held if result.slots]
    silent = any(held_by_silence(result, figures_of(result)) for result in results)
    others = "; silent connections hold others" if silent else ""
    return f"{spread(filled, percent)} filled{others}" if by in ("slots", "balance") and filled else ""
