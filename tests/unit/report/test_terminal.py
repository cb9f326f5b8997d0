"""What a run prints at its end: the answer, what was found, what is open, and each kind of warning once."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.unit.runs import compared
from tests.unit.said import printed, refusal
from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.model import CellWarning, Comparison, WarningKind
from wsgilab.model.errors import SpecError
from wsgilab.report import at_once, markdown, terminal
from wsgilab.report.findings import findings, question

CELLS = tuple(testing.cell(f"server-{number}") for number in range(12))


def comparison(warnings: Mapping[int, tuple[CellWarning, ...]]) -> Comparison:
    """Of twelve cells, some of which have warnings."""
    made = compare(testing.run(testing.experiment(*CELLS)), [testing.observation(each) for each in CELLS])

    cells = tuple(replace(each, warnings=warnings.get(at, ())) for at, each in enumerate(made.cells))
    return replace(made, cells=cells, pairs=())


def warning(kind: WarningKind, text: str, amount: float = 0.0) -> CellWarning:
    return CellWarning(kind=kind, text=text, amount=amount)


def took(share: int, *, of: str = "server's core 0") -> CellWarning:
    return warning("neighbour", f"others took up to {share}% of the {of}", share / 100)


# Warnings.


def test_warnings_of_a_kind_are_one_line_with_their_number_and_the_worst_of_them() -> None:
    found = {at: (took(at + 4),) for at in range(10)}
    found[2] = (took(38),)

    assert list(terminal.warnings(comparison(found))) == [
        "neighbour, 10 of 12 cells, most at server-2 (sleep 50 ms): others took up to 38% of the server's core 0"
    ]
    assert list(terminal.warnings(comparison({}))) == []


def test_kinds_stay_apart_whatever_their_words_and_the_most_frequent_comes_first() -> None:
    shared = warning("shared-core", "server and generator share a core: both are slower for it")
    found = {
        0: (warning("failures", "1,200 requests failed: timeout", 1200), took(5)),
        1: (warning("failures", "7 requests failed: status 500", 7), shared),
        2: (took(9, of="generator's core 1"),),
        3: (shared,),
        4: (shared, warning("not-compared", "not compared with server-1, because of: failures")),
    }

    assert list(terminal.warnings(comparison(found))) == [
        f"shared-core, 3 of 12 cells: {shared.text}",
        "failures, 2 of 12 cells, most at server-0 (sleep 50 ms): 1,200 requests failed: timeout",
        "neighbour, 2 of 12 cells, most at server-2 (sleep 50 ms): others took up to 9% of the generator's core 1",
        "not-compared, 1 of 12 cells, server-4 (sleep 50 ms): not compared with server-1, because of: failures",
    ]


def test_the_list_cell_by_cell_is_in_markdown() -> None:
    found = comparison({at: (took(at + 4),) for at in range(10)})
    ((_, content),) = markdown.comparison_md(found).items()
    assert content.decode().count("others took up to ") == 10


# The summary.


@pytest.mark.parametrize("width", [80, 200])
def test_the_summary_has_question_answer_findings_and_what_is_open_in_lines_that_fit(width: int) -> None:
    found = compared()
    text = printed(terminal.summary(found, width), width=width)
    words = " ".join(text.split())

    assert all(len(line) <= width for line in text.splitlines())
    assert words.startswith(question(found))
    assert "How many requests at once? (sleep 50 ms, 32 users, 1 core, connection: close)" in words
    assert all(" ".join(each.text.split()) in words for each in findings(found))
    assert "comparisons are decided" in words
    assert "x reference" not in text, "the other tables are for --verbose"
    assert "x reference" in printed(terminal.comparison(found, 200), width=200)


def test_the_answer_is_sorted_by_rank_and_of_one_rank_the_faster_comes_first() -> None:
    answer = at_once.answer(compared())

    assert answer is not None
    assert [row[:2] for row in answer.rows] == [
        ("1 to 2", "gunicorn-gevent"),
        ("1 to 2", "flask-threaded"),
        ("3", "gunicorn-gthread-2x4"),
        ("4", "gunicorn-sync-4"),
        ("5", "flask-processes-3"),
        ("6", "gunicorn-sync-1"),
    ]


def test_at_80_columns_the_answer_has_rank_server_slots_peak_throughput_and_what_binds() -> None:
    answer = at_once.answer(compared())

    assert answer is not None
    heading = printed(terminal.titled(answer, 80), width=80).splitlines()[1]
    headings = ["rank", "server", "slots", "peak in flight", "mean", "requests/s", "bound by"]
    assert re.split("  +", heading.strip()) == headings


def test_where_nothing_waits_the_summary_has_the_conditions_with_most_servers_by_rank() -> None:
    cells = [
        *(testing.cell(name, workload="hello") for name in "ab"),
        *(testing.cell(name, workload="cpu") for name in "abc"),
    ]
    speeds = dict(zip(cells, (20.0, 30.0, 20.0, 40.0, 30.0), strict=True))
    observations = [
        testing.observation(
            cell,
            block=block,
            swarm=testing.trial_report(throughput_rps=rps, latency_mean_ms=32 / rps * 1000),
        )
        for block in range(6)
        for cell, rps in speeds.items()
    ]
    found = compare(testing.run(testing.experiment(*cells, blocks=6)), observations)
    lines = printed(terminal.summary(found, 80), width=80).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("cpu 2 ms, 32 users"))

    assert lines[at + 1].split()[:2] == ["rank", "server"]
    assert [line.split()[:2] for line in lines[at + 2 : at + 5]] == [["1", "b"], ["2", "c"], ["3", "a"]]


# Columns of one's own choice.


def test_columns_are_those_that_are_named_in_their_order() -> None:
    text = printed(terminal.chosen(compared(), ["requests/s", "server"], 80), width=80)

    assert [line.split() for line in text.splitlines()].count(["requests/s", "server"]) == 6, "of each group"
    assert text.count("gunicorn-gevent-4") == 1
    assert markdown.printed(compared(), ["requests/s", "server"]).splitlines()[2] == "| requests/s | server |"


def test_a_column_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    told = refusal(SpecError, terminal.chosen, compared(), ["request/s"], 80)

    assert told.startswith(
        "--columns request/s: there is no such column; there are rank, server, in flight, busiest, requests/s, "
    )
