"""What a run asked, and what it found: at most MOST sentences, each with its figure. Pure; every format has the same.

Who is best for what and by how much; what bound whom; and what was surprising. A new kind of finding is a name of `FindingKind` and
a function in `KINDS`.
"""

from collections.abc import Callable, Sequence

from wsgilab.model import Comparison
from wsgilab.report import at_once, tables, versions
from wsgilab.report.findings import surprises
from wsgilab.report.findings.best import best, bound
from wsgilab.report.findings.finding import Finding, FindingKind, Findings, Part
from wsgilab.report.recommendation import names

__all__ = ["KINDS", "MOST", "Finding", "FindingKind", "Part", "findings", "question", "unless"]

MOST = 12
"""So many findings at most."""
KINDS: Sequence[Callable[[Comparison], Findings]] = (
    best,
    bound,
    surprises.silence,
    surprises.given_up,
    surprises.lost,
    surprises.during,
    surprises.declaration,
    surprises.slots_not_filled,
    surprises.uneven_processes,
    surprises.backlog,
    surprises.stall,
    surprises.held_back,
    surprises.uneven_users,
    surprises.scaling,
    surprises.cost,
)
"""Each makes the findings of a kind, the most telling first."""


def question(comparison: Comparison) -> str:
    """What the run asked, such as `How many requests at once, and which of 13 servers to run for hello and sleep 50 ms?`."""
    if comparison.versions is not None and (named := comparison.versions.versions) is not None:
        return versions.question(named)
    run = comparison.run
    servers = list(dict.fromkeys(each.cell.server for each in comparison.cells))
    workloads = dict.fromkeys(each.cell.workload for each in comparison.cells)
    if not comparison.interleaved or not workloads:
        return run.experiment.name
    under = names([tables.workload(run, name) for name in workloads])
    if len(servers) == 1:
        return f"What does {servers[0]} do with {under}?"
    asked = "How many requests at once, and which" if at_once.waiting(comparison) else "Which"
    return f"{asked} of {len(servers)} servers to run for {under}?"


def unless(comparison: Comparison) -> str:
    """Which conditions findings do not name, such as `32 users, 1 core, connection: close, unless it says otherwise`."""
    return f"{', '.join(tables.usual(comparison))}, unless it says otherwise"


def findings(comparison: Comparison) -> Sequence[Finding]:
    """MOST at most: of every kind the first, then of every kind the second, until there is no more room."""
    found = [list(kind(comparison)) for kind in KINDS]
    every = [(at, of, each) for of, kind in enumerate(found) for at, each in enumerate(kind)]
    kept = sorted(every, key=lambda each: each[:2])[:MOST]
    return [each for _, _, each in sorted(kept, key=lambda each: (each[1], each[0]))]
