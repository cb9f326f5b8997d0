"""A server by itself: what it declared, what was measured, what bound it, and what to try next; and its place in the page."""

import re
from dataclasses import replace
from typing import get_args

import pytest

from tests.unit.pages import Page
from tests.unit.report.test_findings import ONE, THREE, TWO, of, trials
from tests.unit.runs import compared
from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.model import BoundBy, Comparison, InFlight
from wsgilab.report import servers
from wsgilab.report.html import report
from wsgilab.report.servers import ServerPage, server_pages


def page(comparison: Comparison, name: str) -> ServerPage:
    (found,) = [each for each in server_pages(comparison) if each.name == name]
    return found


def test_it_has_what_was_declared_and_what_was_measured_under_each_of_the_conditions() -> None:
    found = page(compared(), "gunicorn-gthread-2x4")
    facts = dict(found.facts)

    assert facts["declared"] == "8 slots; 2 processes"
    assert facts["runs requests in"] == "threads"
    assert "gthread" in found.command
    assert found.deployment is not None
    assert "--bind=0.0.0.0:8000" in found.deployment.command
    cells = [each for each in compared().cells if each.cell.server == "gunicorn-gthread-2x4"]
    assert len(found.measured.rows) == len(cells) == len(found.bound)
    headings = [column.heading for column in found.measured.columns]
    assert headings[:4] == ["conditions", "rank", "in flight", "requests/s"]
    assert "busiest" not in headings


def test_the_parts_of_its_latency_add_up_in_a_sentence() -> None:
    parts = testing.latency_parts(connect=0.5, queue=100.0, service=50.0, back=2.0)

    assert page(of(trials(ONE, parts=parts)), "one").latency == (
        "sleep 50 ms: 152 ms on average = queue 100 + service 50.0 + the rest 2.50 (to connect 0.50, the way back 2.00).",
    )
    assert page(of(trials(ONE)), "one").latency == ()


def test_what_bound_it_is_said_with_its_figures_and_what_may_bring_more() -> None:
    found = of(
        trials(ONE), trials(TWO, throughput_rps=80.0), trials(THREE, throughput_rps=600.0, in_flight=FREE), servers=OPEN
    )

    assert page(found, "one").bound == (
        "sleep 50 ms: bound by slots: 1.0 requests were in flight on average, with 1 slot and 32 users.",
    )
    assert page(found, "one").next == (
        "For sleep 50 ms: its slots are full: more workers, or threads in them would take more of what 32 users send at once.",
        "For sleep 50 ms: three (no limit of slots) is faster for sure, with 30.0 times its throughput; so is one other.",
    )
    assert page(found, "three").next == (
        "It is the one to run for sleep 50 ms.",
        "For sleep 50 ms: it has room to spare: more than 32 users would tell where that ends.",
    )


FREE = InFlight(peak=32, mean=31.0, threads=32, requests_per_process=(6,))
OPEN = {"three": testing.server("three", slots=None, model="coroutines")}


def test_one_that_may_not_be_advised_says_why_and_is_not_named_as_faster() -> None:
    development = testing.server("two", command=("flask", "run"))
    found = of(
        trials(ONE), trials(TWO, throughput_rps=80.0), trials(THREE, throughput_rps=40.0), servers={"two": development}
    )

    assert (
        "It may not be advised for sleep 50 ms: the development server is not made for production"
        in page(found, "two").next[0]
    )
    assert [each for each in page(found, "one").next if "faster for sure" in each] == [
        "For sleep 50 ms: three (1 slot) is faster for sure, with 2.00 times its throughput."
    ]


def test_of_every_reason_there_is_something_to_try() -> None:
    assert servers._BY.keys() == set(get_args(BoundBy))
    for bound_by in get_args(BoundBy):
        comparison = of(trials(ONE))
        (result,) = comparison.cells
        assert result.figures is not None
        bound = replace(result, figures=replace(result.figures, bound_by=bound_by, because="so it is"))
        found = page(replace(comparison, cells=(bound,)), "one")
        assert found.next[0].startswith("For sleep 50 ms: ")
        assert found.bound[0].endswith(": so it is.")


def test_one_that_was_never_measured_says_so() -> None:
    failed = testing.observation(ONE, status="failed", swarm=None, reason="it ended")
    found = page(compare(testing.run(testing.experiment(ONE, blocks=1)), [failed]), "one")

    assert found.bound == ("sleep 50 ms: not measured: 1 of 1 trials failed: it ended.",)
    assert found.next == ()


def test_one_that_is_not_the_labs_declares_nothing() -> None:
    url = testing.server("one", stack="", command=("http://127.0.0.1:5000",), slots=None, processes=None, model=None)
    found = page(of(trials(ONE), servers={"one": url}), "one")

    assert dict(found.facts) == {"declared": "nothing: it is not the lab's"}
    assert (found.command, found.deployment) == ("http://127.0.0.1:5000", None)


@pytest.fixture(scope="module")
def shown() -> str:
    return report(of(trials(ONE), trials(TWO, throughput_rps=80.0)))["report.html"].decode()


def test_every_table_links_a_servers_name_to_its_place_which_opens_with_it(shown: str) -> None:
    parsed = Page(shown)
    named = list(re.findall(r"<(?:th|td)[^>]*>(?:<a href=\"#(server-\d+)\">)?(one|two)(?:</a>)?</t[hd]>", shown))

    assert {(anchor, name) for anchor, name in named} == {("server-1", "one"), ("server-2", "two")}
    assert len(named) > 8, "the answer, the groups, the charts' tables, the warnings, the commands"
    (within,) = {path for path, attributes in parsed.elements if attributes.get("id") in ("server-1", "server-2")}
    # What leads into closed details opens them; what leads to the details themselves would not.
    assert within.endswith("details/div")
