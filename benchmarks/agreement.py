"""Whether runs of `lab.reports` say the same of every report.

`python -m benchmarks.agreement RUN...`, with the folders of as many runs as there are, in either runtime. Each is judged by
`experiments/reports.yaml` as it is now; a run of some reports (`--group`, `--only`) counts for these. A report agrees where no run confirms what another one refutes; a run that leaves it undecided
contradicts nothing, and its reasons are on its own page. Must show: no report on which two runs disagree; and in each runtime at least
twenty that have a verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.bench import of_runs
from benchmarks.outcome import Claim, Outcome, Row, Scope
from wsgilab import commands
from wsgilab.analysis.claims import ClaimSet, judge, parse
from wsgilab.commands.claims import REPORTS
from wsgilab.model import ClaimVerdict, Interval, Observation, Run
from wsgilab.results.store import Store
from wsgilab.run.workspace import PROJECT, read_catalogue, read_text

MUST = 20
"""So many reports have a verdict in a runtime."""
_WORDS: Mapping[ClaimVerdict, str] = {"confirmed": "holds", "refuted": "not so"}
_WHERE: Mapping[str, str] = {"compose": "in containers", "local": "as processes"}

Verdicts = Mapping[str, Sequence[ClaimVerdict]]
"""Report -> its verdict in each run of one runtime."""


def verdicts(asked: ClaimSet, runs: Iterable[tuple[Run, Sequence[Observation]]]) -> Mapping[str, Verdicts]:
    """By runtime; without the reports that a run did not test."""
    found: dict[str, dict[str, list[ClaimVerdict]]] = {}
    for run, observations in runs:
        there = found.setdefault(run.runtime, {claim.id: [] for claim in asked.claims})
        for result in judge(run, observations, asked.claims):
            if result.verdict != "not tested":
                there[result.claim.id].append(result.verdict)
    return found


def disagree(found: Iterable[ClaimVerdict]) -> bool:
    """Whether one run confirms what another one refutes."""
    return {*found} >= {"confirmed", "refuted"}


def summary(asked: ClaimSet, runs: Sequence[tuple[Run, Sequence[Observation]]]) -> Outcome:
    """A row for each report, and the claims."""
    by_runtime = verdicts(asked, runs)
    every = {claim.id: [each for of in by_runtime.values() for each in of[claim.id]] for claim in asked.claims}
    rows: list[Row] = [
        {
            "report": name,
            **{
                _WHERE[runtime]: ", ".join(_WORDS.get(each, each) for each in of[name])
                for runtime, of in by_runtime.items()
            },
            "agree": "no" if disagree(of_all) else "yes" if _WORDS.keys() & {*of_all} else "–",
        }
        for name, of_all in every.items()
    ]
    agreeing = sum(not disagree(each) for each in every.values())
    claims = [_counted("reports on which no two runs disagree, over all", agreeing / len(every), 1.0)]
    for runtime, of in by_runtime.items():
        decided = sum(not _WORDS.keys().isdisjoint(each) for each in of.values())
        claims.append(
            _counted(f"{_WHERE[runtime]}: reports with a verdict ({decided}), over {MUST}", decided / MUST, 1.0)
        )
    counts = "; ".join(
        f"{_WHERE[runtime]}: {min(map(len, of.values()))} to {max(map(len, of.values()))}"
        for runtime, of in by_runtime.items()
    )
    scope = Scope(
        rounds=f"runs of each report, {counts}; each a new start of its servers",
        modes="the cells and conditions of experiments/reports.yaml",
        left_out="other machines, and other releases than those that the runs had",
    )
    return Outcome(settings={"runs": [run.id for run, _ in runs]}, rows=rows, claims=claims, scope=scope)


def _counted(what: str, ratio: float, at_least: float) -> Claim:
    return Claim(what=what, ratio=Interval(median=ratio, low=ratio, high=ratio), at_least=at_least)


def measure(folders: Sequence[Path]) -> Outcome:
    """Judge the runs. No load is made."""
    path = PROJECT / REPORTS
    asked = parse(read_text(path, "reports"), REPORTS, read_catalogue(commands.workspace()))
    stores = [Store(folder) for folder in folders]
    return summary(asked, [(store.run(), store.observations()) for store in stores])


if __name__ == "__main__":
    of_runs("agreement", __doc__, measure)
