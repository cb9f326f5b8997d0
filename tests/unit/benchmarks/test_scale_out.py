"""What many machines would take: the formulas against cases worked out by hand, and the page that has the figures."""

from collections import defaultdict
from typing import Any

import pytest
import yaml

from benchmarks import document, outcome, scale_out, scale_page
from benchmarks.outcome import read
from benchmarks.scale_page import Case
from wsgilab import commands, testing
from wsgilab.experiment import resolve
from wsgilab.model.errors import HostError, StoreError
from wsgilab.run.workspace import read_catalogue, workspace
from wsgilab.system import host

FOUND = {
    scale_page.IDLE: {1: 3.0, 8: 10.0},
    scale_page.TRIAL: {1: 23.0, 8: 44.0, 64: 212.0},
    scale_page.REAL_WORKERS: {8: 66.0},
    scale_page.REPORT: {10: 0.1, 100: 1.0},
    scale_page.MEMORY: {10: 10.0, 100: 100.0},
    scale_page.SENT: {10: 0.9, 100: 9.0},
    scale_page.LAB: {1: 10.0},
    scale_page.NO_LOAD: {1: 6.0, 100: 16.0},
    scale_page.CLIENTS: {1: 20.0},
    scale_page.RECORDED: {1: 2**28 / 150_000},
    scale_page.UP: {1: 6.0, 5: 10.0},
    scale_page.DOWN: {1: 1.0, 5: 3.0},
    scale_page.BEYOND: {1: 0.5},
    scale_page.COMPARED: {10: 10.0},
    scale_page.RAN: {1: 150.0},
}
CASE = Case("small", cells=10, blocks=4, servers=3, window_s=0.5)
"""A lane of it takes 8 + 2 s to be brought up and down, a trial 1 s, and all trials together 0.04 s to be compared."""


def results(**changes: Any) -> dict[str, Any]:
    rows = [{"what": what, "of": str(n), "figure": value} for what, of in FOUND.items() for n, value in of.items()]
    return {**read("scale_out"), "summary": rows, **changes}


# A block is whole on one lane: one of three has two of the four blocks, and the fifth of five has none.
@pytest.mark.parametrize(("lanes", "seconds"), [(1, 10 + 40), (2, 20 + 20), (3, 30 + 20), (5, 50 + 10)])
def test_a_run_takes_its_lanes_one_after_the_other_and_its_longest_lanes_blocks(lanes: int, seconds: float) -> None:
    assert scale_page.run_s(FOUND, CASE, lanes) == pytest.approx(seconds + 0.04)
    assert scale_page.run_s(FOUND, CASE, lanes, at_once=True) == pytest.approx(seconds + 0.04 - 10 * (lanes - 1))


def test_more_lanes_than_the_lab_process_can_serve_wait_for_it() -> None:
    # A trial takes 10 ms of it, and 16 - 6 more among a hundred lanes.
    assert scale_page.lab_s(FOUND) == pytest.approx(0.02)
    many = CASE._replace(blocks=100)
    assert scale_page.run_s(FOUND, many, 100, at_once=True) == pytest.approx(10 + 1000 * 0.02 + 1)


def test_the_fastest_number_of_lanes_is_that_of_the_formula_on_the_page() -> None:
    # sqrt(B C T / L), here exactly 8.
    even = CASE._replace(blocks=64)
    assert scale_page.fastest(FOUND, even) == 8
    assert scale_page.fastest(FOUND, CASE, at_once=True) == CASE.blocks


def test_figures_say_what_was_measured() -> None:
    figures = scale_page.figures(results())
    assert f"| {scale_page.TRIAL} | 1: 23, 8: 44, 64: 212 | 20 | 3 |" in figures["measured"]
    assert f"| {scale_page.NO_LOAD} | 1: 6, 100: 16 |  |  |" in figures["measured"]
    limits = figures["limits"]
    assert "10 s of the master's core after the window, 1.0 GB of its memory, 90 MB" in limits
    # 2 + 1 ms a second for each worker, and 20 + 3 ms a trial.
    assert "at about 1,000, and a trial would take 1 s of it at about 330" in limits
    assert "each of 8 workers is a process, a trial takes 1.50 times what the line says" in limits
    assert "at most 50 trials a second" in limits
    assert "which are 150,000" in limits
    assert "`answer` took 2.5 min" in figures["extrapolated"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(12.34, "12 s"), (130, "2.2 min"), (900, "15 min"), (3599, "1 h 0 min"), (4800, "1 h 20 min")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert scale_page.duration(seconds) == words


def test_the_page_has_the_figures_that_were_measured_last() -> None:
    page = (commands.PROJECT / document.SCALE).read_text()
    assert page == scale_page.filled(page, read("scale_out")), "run python -m benchmarks.document"
    assert all(f"<!-- figures:{name} -->" in page for name in scale_page.figures(results()))
    assert scale_page.filled(page, results()) != page


def test_the_cases_of_the_page_are_the_experiment_that_they_name() -> None:
    file = commands.PROJECT / "experiments" / "answer.yaml"
    answer = resolve.parse(file.read_text(), file.name, read_catalogue(workspace()), cores=1)
    first, second, _ = scale_page.CASES
    servers = {cell.server for cell in answer.cells}
    # It has a budget, so that the page names the blocks.
    assert first[1:] == (len(answer.cells), first.blocks, len(servers), answer.window_s)
    assert first[1:] == second._replace(blocks=first.blocks)[1:]
    assert f"{len(answer.cells)} cells, {first.blocks} blocks" in first.name


def test_requests_are_made_up_so_that_each_is_counted() -> None:
    found: scale_out.Found = defaultdict(list)
    scale_out.measure_report(1, 0, found)
    [used_s], [sent_mb] = found[scale_page.REPORT, 1], found[scale_page.SENT, 1]
    assert used_s > 0
    # A sample takes about a hundred bytes.
    assert 0.05 < sent_mb < 0.2


def test_figures_of_another_machine_are_not_mixed_in(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "RESULTS", tmp_path)
    monkeypatch.setattr(host, "fingerprint", lambda: testing.run().host)
    with pytest.raises(
        StoreError, match=r"scale.yaml: there are no results yet; make them with python -m benchmarks.scale"
    ):
        scale_out.measure(1)
    (tmp_path / "scale.yaml").write_text(yaml.safe_dump({"machine": {"cpu": "another"}}))
    with pytest.raises(
        HostError, match=r"scale.yaml: is of another machine; run python -m benchmarks.scale on this one"
    ):
        scale_out.measure(1)
