"""What the lab advises so far, in words: those of a run's advice, and what is different where somebody tests by hand. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from wsgilab.analysis.stats import FEWEST_PAIRED
from wsgilab.model import Advice, Comparison
from wsgilab.model.text import counted, number
from wsgilab.report.recommendation import names, recommendation

NOT_YET = "Test two servers at least with the same workload, connection and number of users."


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceSoFar:
    """One advice in sentences."""

    title: str
    """The conditions."""
    verdict: str
    why: str
    points: Sequence[tuple[str, Sequence[str]]]
    """Headings, each with one sentence at least."""
    tests: str
    """How much it is made from; empty for a run."""


def advice_so_far(comparison: Comparison) -> Sequence[AdviceSoFar]:
    """Every advice of a session, or of a run that has ended."""
    return [_in_words(comparison, each) for each in comparison.advice]


def _in_words(comparison: Comparison, advice: Advice) -> AdviceSoFar:
    words = recommendation(comparison, advice)
    by_hand = not comparison.interleaved
    return AdviceSoFar(
        title=words.title,
        verdict=words.verdict,
        why=_why_by_hand(comparison, advice, words.why) if by_hand else words.why,
        points=words.points,
        tests=_tests(comparison, advice) if by_hand else "",
    )


def _why_by_hand(comparison: Comparison, advice: Advice, why: str) -> str:
    """Where more would have to be known: of tests, which nobody makes with --blocks."""
    if advice.reason == "scatter" and len(advice.workloads) == 1:
        return f"{why.partition(' More than these ')[0]} More tests, in turn, may tell."
    if advice.reason != "blocks":
        return why
    has = "have" if len(advice.tied) > 1 else "has"
    takes = (
        f"{names(advice.tied)} {has} {counted(advice.blocks, 'round')} of tests, and to compare takes {FEWEST_PAIRED}: "
        "test the servers in turn."
    )
    return f"{_speeds(comparison, advice)} {takes}" if len(advice.workloads) == 1 else takes


def _speeds(comparison: Comparison, advice: Advice) -> str:
    """Of those that cannot be told apart, the fastest first: `So far: gunicorn-gevent 612 requests/s, gunicorn-sync-4 78.1.`"""
    speeds = {
        each.cell.server: each.figures.throughput_rps.median
        for each in comparison.cells
        if each.cell.conditions == advice.group.conditions and each.figures is not None
    }
    shown = [f"{name} {number(speeds[name])}" for name in advice.tied]
    return f"So far: {shown[0]} requests/s{''.join(f', {each}' for each in shown[1:])}."


def _tests(comparison: Comparison, advice: Advice) -> str:
    """Such as `2 tests of gunicorn-gevent, 1 test of gunicorn-sync-4`."""
    found = [
        f"{counted(each.blocks, 'test')} of {each.cell.server}"
        for each in comparison.cells
        if each.cell.conditions == advice.group.conditions
    ]
    return ", ".join(found) if len(advice.workloads) == 1 else ""
