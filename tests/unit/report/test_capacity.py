"""Capacity in every format."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.unit.queues import Queue, sought
from wsgilab.model import Comparison
from wsgilab.report import capacity, html, terminal
from wsgilab.report.charts import svg
from wsgilab.report.charts.figures import figures
from wsgilab.report.markdown import comparison_md

EIGHT = Queue(slots=8, held_s=0.05)


@pytest.fixture(scope="module")
def found() -> Comparison:
    queues = {"eight": EIGHT, "four": replace(EIGHT, slots=4), "slow": Queue(slots=1, held_s=0.25)}
    return sought(queues, budget_s=220).comparison()


def test_the_terminal_has_the_capacities_and_what_follows_and_no_verdicts_on_closed_loops(found: Comparison) -> None:
    said = io.StringIO()
    Console(file=said, width=160).print(terminal.comparison(found, 160))
    lines = said.getvalue().splitlines()

    assert lines[0].rstrip() == "Capacity: p95 within 200 ms, poisson arrivals"
    rows = {line.split()[0]: line for line in lines[2:5]}
    assert rows.keys() == {"eight", "four", "slow"}
    assert " less " in rows["four"]
    assert "slots; " in rows["four"]
    assert " none " in rows["slow"]
    words = " ".join(said.getvalue().split())
    assert "eight has the most capacity: 1" in words
    assert (
        "slow does not keep the limit at any rate that was tried: at 1.2 requests/s, the lowest, 95 % took up to "
        in words
    )
    assert "reference" not in "".join(lines[6:])


def test_markdown_and_the_report_begin_with_them(found: Comparison) -> None:
    drawn = figures(found)
    text = comparison_md(found, drawn)["comparison.md"].decode()
    first, *_ = [line for line in text.splitlines() if line.startswith("## ")]
    assert first == "## Capacity: p95 within 200 ms, poisson arrivals"
    assert "](plots/capacity-sleep.svg)" in text
    assert "Which server to run" not in text

    page = html.report(found)["report.html"].decode()
    assert page.index('<section id="answer"') < page.index('<h2 id="capacity">') < page.index('<h2 id="findings">')
    assert '<a href="#capacity">' in page
    assert capacity.sentences(found)[1] in page


def test_a_panel_for_each_server_has_the_limit_and_the_capacity(found: Comparison) -> None:
    figure = next(each for each in figures(found) if each.section == "capacity")
    together, eight, four, slow = figure.panels
    assert [each.title[0] for each in (together, eight, four, slow)] == ["p95 of all servers", "eight", "four", "slow"]
    assert eight.title[1].startswith("capacity 1")
    assert slow.title[1] == "no capacity"
    marks = [layer["mark"]["type"] for layer in eight.chart().to_dict()["layer"] if "mark" in layer]
    assert marks == ["rect", "rule"], "the interval, and the capacity in it"
    assert svg.draw(eight).startswith("<svg")
    assert found.capacity is not None
    assert len(figure.table.rows) == sum(len(each.tried) for each in found.capacity.servers)
    assert {row[-2] for row in figure.table.rows} == {"held", "broken"}


def test_under_several_conditions_each_sentence_names_its_own() -> None:
    queues = {"eight": EIGHT, "four": replace(EIGHT, slots=4)}
    of_two = sought(queues, budget_s=500, workloads=("sleep", "hello")).comparison()
    said = capacity.sentences(of_two)

    assert [line.partition(" has the most capacity")[0] for line in said[1:3]] == [
        "sleep 50 ms, 1 core: eight",
        "hello, 1 core: eight",
    ]
    assert [each.name for each in figures(of_two) if each.section == "capacity"] == ["capacity-sleep", "capacity-hello"]
