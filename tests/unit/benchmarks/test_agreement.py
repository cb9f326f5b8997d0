"""Whether runs of reports agree, on runs that are made up."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchmarks import agreement
from wsgilab import testing
from wsgilab.analysis import claims
from wsgilab.model import InFlight, Observation, Run, RuntimeName

FILE = """
name: reports
workloads: {sleep: {ms: 50}}
cells: {single: {server: one, workload: sleep, users: 32}}
claims:
  - id: one-1
    thread: {project: some/one, number: 1}
    reported: It handles one request at a time.
    claim: It handles two requests at once.
    holds: [{figure: peak_in_flight, of: single, at_least: 2}]
    explanation: Because.
    advice: Do so.
"""
ASKED = claims.parse(FILE, "reports.yaml", {"one": testing.server("one", slots=64)})
CELL = ASKED.experiment.cells[0]


def run(*peaks: int, runtime: RuntimeName = "local") -> tuple[Run, Sequence[Observation]]:
    made = testing.run(ASKED.experiment, testing.server("one", slots=64))
    reports = (
        testing.trial_report(in_flight=InFlight(peak=peak, mean=0.99, threads=1, requests_per_process=(6,)))
        for peak in peaks
    )
    found = [testing.observation(CELL, block=block, swarm=report) for block, report in enumerate(reports)]
    return replace(made, runtime=runtime), found


MET, MISSED, BOTH = (4, 4, 4, 4), (1, 1, 1, 1), (4, 1, 4, 1)


@pytest.mark.parametrize(
    ("peaks", "words", "agree"),
    [
        ([MET, MET], "holds, holds", "yes"),
        ([MET, BOTH, MET], "holds, undecided, holds", "yes"),
        ([MISSED, MISSED], "not so, not so", "yes"),
        ([MET, BOTH, MISSED], "holds, undecided, not so", "no"),
        ([BOTH, BOTH], "undecided, undecided", "–"),
    ],
)
def test_runs_disagree_where_one_confirms_what_another_refutes(
    peaks: Sequence[Sequence[int]], words: str, agree: str
) -> None:
    found = agreement.summary(ASKED, [run(*each) for each in peaks])

    assert found.rows == [{"report": "one-1", "as processes": words, "agree": agree}]
    assert found.claims[0].verdict == ("fails" if agree == "no" else "holds")


def test_reports_that_a_run_of_a_runtime_decides_are_counted() -> None:
    runs = [run(*MET), run(*BOTH), run(*MET, runtime="compose"), run(*MISSED, runtime="compose")]
    found = agreement.summary(ASKED, runs)

    assert found.rows == [
        {"report": "one-1", "as processes": "holds, undecided", "in containers": "holds, not so", "agree": "no"}
    ]
    counted = {claim.what.partition(":")[0]: claim.ratio.median * agreement.MUST for claim in found.claims[1:]}
    assert counted == {"as processes": 1, "in containers": 1}
    assert agreement.summary(ASKED, [run(*BOTH)]).claims[1].verdict == "fails"
