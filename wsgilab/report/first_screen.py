"""What a reader sees first: the answer in three sentences, and the verdict for each of the conditions. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsgilab.model import Advice, CellFigures, CellResult, Comparison
from wsgilab.model.text import counted, number
from wsgilab.report import at_once, capacity, tables, tune, versions
from wsgilab.report.findings import findings
from wsgilab.report.findings.best import is_decided
from wsgilab.report.findings.finding import spread
from wsgilab.report.objections import objections_to
from wsgilab.report.recommendation import names, recommendation

MOST_VERDICTS = 6
"""So many are shown first; all are below."""
_OUTCOMES = 4
"""So many different outcomes are in the first sentence."""
_FEW = 2
"""So many servers are named and not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is advised under some conditions."""

    where: str
    """The conditions, without those that most cells have."""
    verdict: str
    """Such as `Run gunicorn-gevent,` or `Undecided.`"""
    why: str
    """What speaks against it, unless that was said of it before, and the figures that it rests on."""
    part: str
    """The part of the report that has more of it, as its page names it."""


def answer(comparison: Comparison) -> Sequence[str]:
    """Which server to run, how many requests were in flight at once, and how sure that is: three sentences at most."""
    if (of_two := comparison.versions) is not None:
        *most, sure = (*versions.findings(of_two)[:2], _how_sure(comparison))
        return [*most, sure]
    return list(filter(None, (_which(comparison), _at_once(comparison), _how_sure(comparison))))


# --- which server


def _which(comparison: Comparison) -> str:
    if (raced := tune.tuned(comparison)) is not None:
        return raced.short
    if comparison.capacity is not None:
        return " ".join(capacity.most(comparison))
    advices = comparison.advice
    best = next((each.text for each in findings(comparison) if each.kind == "best"), "")
    if len(advices) == 1 or any(len(each.workloads) > 1 and each.server is not None for each in advices):
        return best
    outcomes: dict[str, list[str]] = {}
    for each in _most_telling(comparison):
        if len(each.workloads) == 1:
            outcomes.setdefault(_outcome(each), []).append(f"for {tables.brief(comparison, each.group)}")
    said = [f"{outcome} {', and '.join(where)}" for outcome, where in outcomes.items()]
    more = [f"{len(said) - _OUTCOMES} more are below"] if len(said) > _OUTCOMES else []
    return f"Which to run: {'; '.join([*said[:_OUTCOMES], *more])}." if said else _alone(comparison)


def _most_telling(comparison: Comparison) -> Sequence[Advice]:
    """Every advice: those for several workloads first, then those that are decided, then those of most servers."""
    servers = Counter(each.cell.conditions for each in comparison.cells)
    return sorted(
        comparison.advice,
        key=lambda each: (len(each.workloads) == 1, not is_decided(each), -servers[each.group.conditions]),
    )


def _outcome(advice: Advice) -> str:
    """Such as `gunicorn-sync-4` or `any of one or two`."""
    if advice.server is not None:
        return advice.server
    if advice.suitable:
        return f"any of {names(advice.suitable, 'or')}"
    if not advice.tied:
        return "none qualifies"
    if len(advice.tied) == 1:
        return f"{advice.tied[0]}, which can be compared with no other,"
    first, *others = advice.tied
    return f"undecided between {first} and {others[0] if len(others) == 1 else counted(len(others), 'other')}"


def _alone(comparison: Comparison) -> str:
    """Where there is nothing to choose: the speed of each server, or of the fastest; empty where none was measured."""
    measured = _measured(at_once.primary(comparison))
    if not measured:
        return "Nothing was measured: the warnings say why."
    result, figures = max(measured, key=lambda each: each[1].throughput_rps.median)
    where = tables.describe(comparison, result.cell)
    ends = tables.ends(figures.throughput_rps, number)
    interval = "" if ends == tables.MISSING else f" ({ends})"
    return f"{result.cell.server} has {number(figures.throughput_rps.median)}{interval} requests/s for {where}."


# --- how many at once


def _measured(results: Iterable[CellResult]) -> Sequence[tuple[CellResult, CellFigures]]:
    return [(each, each.figures) for each in results if each.figures is not None]


def _at_once(comparison: Comparison) -> str:
    """How many requests were in flight beside how many slots, of the servers that are drawn; empty where that is not known."""
    known = [(each, of.peak) for each, of in _measured(at_once.primary(comparison)) if of.peak is not None]
    if not known:
        return ""
    cell = known[0][0].cell
    where = f"{tables.workload(comparison.run, cell.workload)}, {cell.load}"
    if not cell.cores:
        return f"At once ({where}): up to {spread([peak for _, peak in known], str)} requests in flight."
    groups: dict[str, list[tuple[str, int]]] = {}
    for each, peak in known:
        groups.setdefault(_filled(each, peak), []).append((each.cell.server, peak))
    said = []
    for how, servers in groups.items():
        peaks = spread([peak for _, peak in servers], str)
        words = {
            "all": f"all {cell.users}",
            "slots": f"as many as {'its' if len(servers) == 1 else 'their'} slots ({peaks})",
            "more": f"more than declared ({peaks})",
            "fewer": f"{peaks}, with slots to spare",
        }[how]
        said.append(f"{_whom([name for name, _ in servers])} had {words}")
    return f"At once ({where}): {'; '.join(said)}."


def _filled(result: CellResult, peak: int) -> str:
    users, slots = result.cell.users, result.slots
    if slots is not None and peak > slots:
        return "more"
    if slots is not None and peak == slots:
        return "slots"
    return "all" if users is not None and peak >= users else "fewer"


def _whom(servers: Sequence[str]) -> str:
    return names(servers) if len(servers) <= _FEW else counted(len(servers), "server")


# --- how sure


def _how_sure(comparison: Comparison) -> str:
    """How many comparisons are decided, and what stands in the way of more."""
    if comparison.versions is not None:
        return "How sure: all intervals hold together with a chance of 95 %."
    if comparison.capacity is not None:
        first = "each interval holds the true capacity with a chance of 95 %, and so do those of their ratios together"
    elif (counts := _comparisons(comparison)) is None:
        first = f"nothing is compared; an interval holds the true median with a chance of {comparison.confidence:.1%}"
    else:
        decided, sound, spoilt = counts
        right = f"{', right' if decided == 1 else ', all of them right'} with a chance of 95 %" if decided else ""
        first = f"{decided} of {counted(sound, 'comparison')} {'is' if sound == 1 else 'are'} decided{right}"
        first += f"; of {spoilt} more nothing is concluded, because of broken gates" if spoilt else ""
    failed = f"; {counted(comparison.failed, 'trial')} of {comparison.trials} failed" if comparison.failed else ""
    return f"How sure: {first}{failed}."


def _comparisons(comparison: Comparison) -> tuple[int, int, int] | None:
    """How many are decided, of how many of which that can be, and how many broken gates spoil; None without any."""
    if (found := comparison.budget) is not None:
        return (found.decided, found.comparisons, found.spoilt) if found.comparisons + found.spoilt else None
    sound = [pair for pair in comparison.pairs if not pair.broken_gates]
    decided = sum(pair.verdict != "undecided" or pair.same for pair in sound)
    return (decided, len(sound), len(comparison.pairs) - len(sound)) if comparison.pairs else None


# --- verdicts


def verdicts(comparison: Comparison) -> Sequence[Verdict]:
    """One for each advice, the most telling first."""
    if (raced := tune.tuned(comparison)) is not None:
        return [Verdict(where=raced.title, verdict=raced.verdict, why=raced.why, part="tuned")]
    said: set[str | None] = set()
    found = []
    for each in _most_telling(comparison):
        part = f"advice-{comparison.advice.index(each) + 1}"
        found.append(_verdict(comparison, each, part, is_new=each.server not in said))
        said.add(each.server)
    return found


def _verdict(comparison: Comparison, advice: Advice, part: str, *, is_new: bool) -> Verdict:
    together = [tables.workload(comparison.run, name) for name in advice.workloads]
    limits = f"; {advice.wish.limits}" if advice.wish.limits else ""
    words = recommendation(comparison, advice)
    against = objections_to(comparison.run, advice.server) if is_new else []
    although = f"although {names(against)}. " if against else ""
    verdict = words.verdict.removesuffix(".") if advice.server is None else f"Run {advice.server}"
    return Verdict(
        where=tables.brief(comparison, advice.group, f"{names(together)} together" if len(together) > 1 else "")
        + limits,
        verdict=f"{verdict}{',' if although else '.'}",
        why=although + words.short,
        part=part,
    )
