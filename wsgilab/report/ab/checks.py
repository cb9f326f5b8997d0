"""Limits and needs in words: what was asked, what came of it, and a line for each check."""

from collections import Counter
from collections.abc import Iterable, Sequence

from wsgilab.analysis import stats
from wsgilab.model import Limit, LimitCheck, RunsComparison
from wsgilab.model.text import counted, percent
from wsgilab.report import tables
from wsgilab.report.ab import capacities, words


def option(limit: Limit) -> str:
    """As a command line has it, such as `--fail-on slower=5%`."""
    way = (
        "cost"
        if limit.cost
        else "capacity"
        if limit.capacity
        else "different"
        if limit.slower and limit.faster
        else "slower"
        if limit.slower
        else "faster"
    )
    return f"--fail-on {way}={100 * limit.share:g}%"


def need_option(need: float) -> str:
    """As a command line has it, such as `--need 5%`."""
    return f"--need {100 * need:g}%"


def failure(checks: Iterable[LimitCheck], limit: Limit | None, need: float | None) -> str:
    """What was not kept: limit, need or both; empty where all was."""
    counts = Counter(check.outcome for check in checks)
    asked = sum(counts.values()) - counts["skipped"]
    parts = []
    if limit is not None and counts["breached"]:
        parts.append(f"{option(limit)}: breached by {counts['breached']} of {counted(asked, 'cell')}")
    if need is not None and counts["inconclusive"]:
        parts.append(
            f"{need_option(need)}: {counts['inconclusive']} of {counted(asked, 'cell')} could not have shown it"
        )
    return "; ".join(parts)


def kept(
    comparison: RunsComparison, checks: Iterable[LimitCheck], limit: Limit | None, need: float | None
) -> Sequence[str]:
    """A line for the limit and one for the need, where both are kept."""
    lines = []
    if limit is not None:
        lines.append(f"{option(limit)}: {words.kept(comparison, limit)}")
    if need is not None:
        able = sum(check.outcome == "kept" for check in checks)
        lines.append(f"{need_option(need)}: each of {counted(able, 'cell')} could have shown it")
    return lines


def line(comparison: RunsComparison, check: LimitCheck, limit: Limit | None) -> str:
    """What a check says, after the server and the conditions: the figures of a breach, or why nothing can be told."""
    return f"{check.cell.server}: {conditions(comparison, check)}: {said(check, limit)}"


def lines(comparison: RunsComparison, checks: Iterable[LimitCheck], limit: Limit | None) -> Sequence[str]:
    """A line for each check that is breached, and then for each that is inconclusive."""
    found = list(checks)
    failed = [check for outcome in ("breached", "inconclusive") for check in found if check.outcome == outcome]
    return [line(comparison, check, limit) for check in failed]


def conditions(comparison: RunsComparison, check: LimitCheck) -> str:
    """Those of the cell, as the run has them that has it."""
    run = comparison.a if check.cell in comparison.only_a else comparison.b
    return tables.conditions(run, check.cell)


def said(check: LimitCheck, limit: Limit | None) -> str:
    """What a check says by itself."""
    if check.outcome == "breached" and check.capacity is not None:
        return capacities.fallen(check.capacity)
    if check.outcome == "breached" and check.of_both is not None and limit is not None:
        return words.breach(check.of_both, limit)
    return check.because


def figures(check: LimitCheck) -> str:
    """What was measured of the figure: the ratio, its interval, and what it could have shown; empty where it was not compared."""
    cell = check.of_both
    if cell is None:
        return ""
    if check.figure == "capacity":
        ratio, verdict = (None, "") if check.capacity is None else (check.capacity.ratio, check.capacity.verdict)
        detectable = None if ratio is None else stats.detectable(ratio)
    elif check.figure == "cost":
        ratio, verdict = (None, "") if cell.cost is None else (cell.cost.ratio, cell.cost.verdict)
        detectable = None if cell.cost is None else cell.cost.detectable
    else:
        ratio, verdict, detectable = cell.ratio, tables.verdict(cell), cell.detectable
    if ratio is None:
        return ""
    could = "" if detectable is None else f"; could have shown {percent(detectable)}"
    return f"B/A {words.times(ratio.median)} ({tables.ends(ratio, words.times)}), {verdict}{could}"
