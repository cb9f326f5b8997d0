"""What a reader of two runs sees first: the question, the answer in three sentences, and the other verdicts. Pure."""

import math
from collections.abc import Iterable, Sequence

from wsgilab.analysis.stats import ERROR_RATE
from wsgilab.model import CellOfRuns, RunsComparison
from wsgilab.model.text import counted, percent
from wsgilab.report import tables, versions
from wsgilab.report.ab import words
from wsgilab.report.findings.finding import spread

MOST_VERDICTS = 6
"""So many are shown first; the tables have all."""
_NAMED = 3
"""So many differences between the runs are named."""


def question(comparison: RunsComparison) -> str:
    """Such as `Is later (B) faster or slower than earlier (A)?`."""
    if (named := comparison.versions) is not None:
        return versions.question(named)
    return f"Is {comparison.b.id} (B) faster or slower than {comparison.a.id} (A)?"


def answer(comparison: RunsComparison) -> Sequence[str]:
    """What is slower or faster, how many are what, and how sure that is: three sentences at most."""
    return [*_most(comparison), _counts(comparison), _how_sure(comparison)]


def _most(comparison: RunsComparison) -> Iterable[str]:
    if comparison.versions is not None:
        yield from versions.findings(comparison)[:1]
        return
    if comparison.same:
        yield "A and B are the same run."
        return
    decided = _decided(comparison)
    if not decided:
        nothing = "No cell is slower or faster beyond doubt"
        yield f"{nothing}." if comparison.cells else f"{nothing}: the two have no cell in common."
        return
    yield f"{_verdict(comparison, decided[0])}."


def _decided(comparison: RunsComparison) -> Sequence[CellOfRuns]:
    """The cells that are slower or faster in B, those first that are furthest from 1."""
    found = [each for each in comparison.cells if each.verdict != "undecided" and each.ratio is not None]
    return sorted(found, key=lambda each: -abs(math.log(each.ratio.median or 1.0)) if each.ratio is not None else 0.0)


def _verdict(comparison: RunsComparison, cell: CellOfRuns) -> str:
    """Such as `gunicorn-gthread-8 (cpu 2 ms) is slower in B: 0.881 times A's requests/s (0.853 to 0.912)`."""
    assert cell.ratio is not None, "a verdict rests on a ratio"
    unit = words.UNITS[cell.metric] if cell.work == 1 else "work done"
    ratio = f"{words.times(cell.ratio.median)} times A's {unit} ({tables.ends(cell.ratio, words.times)})"
    return f"{words.short_names(comparison)[cell.cell]} is {cell.verdict} in B: {ratio}"


def _counts(comparison: RunsComparison) -> str:
    cells = counted(len(comparison.cells), "cell")
    return f"Of {cells} in both: {words.outcome(comparison)}."


def _how_sure(comparison: RunsComparison) -> str:
    told = sorted(each.detectable for each in comparison.cells if each.detectable is not None)
    sure = [f"all intervals hold together with a chance of {100 * (1 - ERROR_RATE):g} %"] if told else []
    blind = len(comparison.cells) - len(told)
    if blind:
        sure.append(f"{blind} of {counted(len(comparison.cells), 'cell')} could show no difference, whatever it was")
    if told:
        span = spread(told, percent)
        sure.append(f"{'of the others ' if blind else ''}a difference of {span} would have been found")
    heavy = [each.what for each in comparison.differences if each.weight != "told"]
    if heavy and comparison.versions is None:
        others = f" and {len(heavy) - _NAMED} more" if len(heavy) > _NAMED else ""
        sure.append(f"what else differs and may be the reason: {', '.join(heavy[:_NAMED])}{others}")
    return f"How sure: {'; '.join(sure) if sure else 'nothing can be concluded'}."


def verdicts(comparison: RunsComparison) -> Sequence[str]:
    """The other cells that are slower or faster in B, a sentence for each, those first that are furthest from 1; of versions, every
    other cell."""
    if comparison.versions is not None:
        return versions.findings(comparison)[1:]
    return [f"{_verdict(comparison, each)}." for each in _decided(comparison)[1:]]
