"""Two runs beside each other as Markdown, as YAML, as a page and on a terminal."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.unit.pages import Page
from tests.unit.runs import before_and_after
from tests.unit.said import printed
from wsgilab import testing
from wsgilab.analysis.ab.checks import breaches, parse_limit
from wsgilab.analysis.ab.runs import runs
from wsgilab.model import Cell, CellOfRuns, CommonShift, Interval, Observation, Origin, Run, RunsComparison
from wsgilab.report.ab import breached, first_screen, kept, on_terminal, outcome, runs_html, runs_md, runs_yaml, words
from wsgilab.report.ab.ratios import ratios
from wsgilab.report.ab.yaml import AgainstFile
from wsgilab.report.charts import svg
from wsgilab.report.yaml import CircumstancesKeys, NamedCell

ROOT = Path(__file__).parents[3]
NASTY = 'a | b <script>alert(1)</script> "q" `rm` *x* [y](z)\n# heading\r\n\x1b[31m| cell |'
ONE, TWO = testing.cell("one"), testing.cell("two")


def made(of: Sequence[Cell] = (ONE, TWO), blocks: int = 8, **changes: Any) -> Run:
    return testing.run(testing.experiment(*of, blocks=blocks), **changes)


def observed(of: Cell, speed: float = 1.0, blocks: int = 8, **swarm: Any) -> list[Observation]:
    """Blocks that scatter by a percent around 20 requests/s, so many times as fast."""
    factors = [speed * (1 + (block % 5 - 2) / 200) for block in range(blocks)]
    reports = [
        testing.trial_report(**{"throughput_rps": 20 * each, "latency_mean_ms": 1600 / each, **swarm})
        for each in factors
    ]
    return [testing.observation(of, block=block, swarm=report) for block, report in enumerate(reports)]


def beside(
    first: float = 0.8,
    second: float = 1.0,
    *,
    a: Run | None = None,
    b: Run | None = None,
    blocks: int = 8,
    **swarm: Any,
) -> RunsComparison:
    """Two runs of two cells, which were so many times as fast in the later one."""
    return runs(
        a or made(blocks=blocks),
        [*observed(ONE, blocks=blocks), *observed(TWO, blocks=blocks)],
        b or made(id="later", blocks=blocks),
        [*observed(ONE, first, blocks, **swarm), *observed(TWO, second, blocks)],
    )


def as_markdown(of: RunsComparison) -> str:
    ((name, content),) = runs_md(of).items()
    assert name == "against.md"
    return content.decode()


def as_yaml(of: RunsComparison) -> Any:
    ((name, content),) = runs_yaml(of).items()
    assert name == "against.yaml"
    return yaml.safe_load(content)


def as_page(of: RunsComparison) -> str:
    ((name, content),) = runs_html(of).items()
    assert name == "against.html"
    return content.decode()


def as_terminal(of: RunsComparison, width: int = 160, *, colours: bool = False) -> str:
    return printed(on_terminal(of, width), width=width, force_terminal=colours)


def drawn(of: RunsComparison, mark: str) -> list[dict[str, Any]]:
    """The rows of the chart's layers with that mark."""
    figure = ratios(of)
    assert figure is not None
    made: dict[str, Any] = svg.specification(figure.panels[0])
    layers = [layer for layer in made["layer"] if layer["mark"]["type"] == mark]
    return [row for layer in layers for row in made["datasets"][layer["data"]["name"]]]


READERS: Mapping[str, Callable[[RunsComparison], str]] = {
    "markdown": lambda of: as_markdown(of).replace("\\", ""),
    "page": lambda of: "\n".join(Page(as_page(of)).words()),
    "terminal": lambda of: " ".join(as_terminal(of, 400).split()),
}
reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())


# What every reader is told.


@reader
def test_the_same_run_is_said_to_be_the_same(read: Callable[[RunsComparison], str]) -> None:
    run, observations = made(), [*observed(ONE), *observed(TWO)]
    text = read(runs(run, observations, run, observations))

    assert "A and B are the same run: every ratio is 1." in text
    assert "0 slower, 0 faster, 2 same within 2 %, 0 undecided" in text
    assert "may matter" not in text
    assert "over all pairs" not in text
    assert "over all pairs" in read(beside())


@reader
def test_a_shift_that_all_share_is_said_to_be_perhaps_the_machines(read: Callable[[RunsComparison], str]) -> None:
    text = read(beside(0.8, 0.8))

    assert "2 of 2 cells are slower in B by more than 1 %, and all together are 0.800 times as fast." in text
    assert "may be the machine" in text
    assert "calibrated" not in text
    assert "may be the machine" not in read(beside(0.8, 1.0))


@reader
def test_what_a_reader_must_know_of_a_cell_stands_beside_it(read: Callable[[RunsComparison], str]) -> None:
    text = read(beside(generator_cpu=0.9))

    assert "one: nothing is concluded, because of B: generator" in text
    assert "one in B: the generator used 90% of its core: it may be what is measured" in text


@reader
def test_what_is_not_compared_is_shown_with_the_reason(read: Callable[[RunsComparison], str]) -> None:
    other = replace(TWO, workload="hello")
    later = made((ONE, other), id="later")
    later = replace(later, experiment=replace(later.experiment, parameters={"hello": {}, "sleep": {"ms": 60.0}}))
    both = [*observed(ONE), *observed(other)]
    found = runs(made((ONE, other)), both, later, both)
    text = read(found)
    verdicts = {row[0]: row[6] for group, _ in words.groups(found) for row in group.rows}

    assert verdicts == {"one": "not compared", "two": "same within 2 %"}
    assert "0 slower, 0 faster, 1 same within 2 %, 0 undecided, 1 not compared" in text
    assert "one: not compared: a request is not the same: sleep ms is 50 in A and 60 in B" in text


@reader
def test_cells_of_one_run_only_are_listed(read: Callable[[RunsComparison], str]) -> None:
    three = testing.cell("three")
    text = read(beside(a=made((ONE, TWO, three)), b=made((ONE,), id="later")))

    assert "Only in A" in text
    assert "three: sleep 50 ms, 32 users, 1 core, connection: close" in text
    assert "Only in B" not in text


@reader
def test_where_nothing_that_matters_differs_it_is_said(read: Callable[[RunsComparison], str]) -> None:
    told = "Machine, cores, windows, servers and stacks are the same in both"

    assert told in read(beside())
    only_told = read(beside(b=made(id="later", packages={"pydantic": "3"})))
    assert told in only_told
    assert "may matter" not in only_told
    assert "the lab's pydantic" in only_told
    assert told not in read(beside(b=made(id="later", lab="9")))


@reader
def test_of_files_that_were_not_recorded_it_is_never_said_that_they_are_the_same(
    read: Callable[[RunsComparison], str],
) -> None:
    files = Origin(files={"application": {"services/app/app.py": "a" * 64}})
    same, unknown = (
        "application and Locust files are the same in both",
        "application and Locust files are too is not known",
    )
    before, later = made(origin=files), made(id="later", origin=files)
    edited = replace(later, origin=Origin(files={"application": {"services/app/app.py": "b" * 64}}))

    assert same in read(beside(a=before, b=later))
    neither = read(beside())
    assert same not in neither
    assert unknown in neither
    for other in (replace(later, origin=None), edited):
        found = read(beside(a=before, b=other))
        assert "the same in both" not in found
        assert "may matter" in found
    assert "not recorded" in read(beside(a=before, b=replace(later, origin=None)))
    assert "application: services/app/app.py" in read(beside(a=before, b=edited))


@reader
def test_work_done_is_said_to_be_what_is_compared(read: Callable[[RunsComparison], str]) -> None:
    cells = tuple(replace(cell, workload="cpu") for cell in (ONE, TWO))
    both = [*observed(cells[0]), *observed(cells[1])]
    text = read(runs(made(cells, cpu_iterations=1000), both, made(cells, cpu_iterations=1500, id="later"), both))

    assert "a request of B does 1.500 times the work of one of A" in text
    assert "a core did 1.500 times as much work in B as in A" in text
    assert "calibration: steps of work a ms" in text


def test_what_bound_a_figure_is_told_of_both_where_it_changed() -> None:
    assert "slots, then cpu" in as_terminal(
        runs(
            made(),
            [*observed(ONE), *observed(TWO)],
            made(id="later"),
            [replace(each, server_cpu_s=0.3) for each in observed(ONE)] + observed(TWO),
        )
    )


# Sentences.


def told(of: RunsComparison) -> str:
    return "\n".join(words.notes(of))


def test_two_states_of_one_run_are_told() -> None:
    run, observations = made(), [*observed(ONE), *observed(TWO)]
    part = [each for each in observations if each.block < 6]

    assert "the same run in two states" in told(runs(run, part, run, observations))
    assert "in two states" not in told(beside())


def test_few_blocks_are_said_to_be_widened() -> None:
    assert "by ranks alone" in told(beside())
    assert "where each run has 5 blocks of a cell; with fewer they are widened" in told(beside(blocks=4))


def test_one_cell_alone_cannot_tell_server_from_machine() -> None:
    one = runs(made((ONE,)), observed(ONE), made((ONE,), id="later"), observed(ONE, 0.5))

    assert "Only one cell is compared" in told(one)
    assert "Only one cell" not in told(beside())


def test_broken_gates_everywhere_are_said_to_conclude_nothing() -> None:
    one = runs(made((ONE,)), observed(ONE), made((ONE,), id="later"), observed(ONE, generator_cpu=0.9))

    assert "Every cell that could be compared has a broken gate" in told(one)


@pytest.mark.parametrize(("of_a", "of_b", "who"), [(0.02, None, "A"), (None, 0.02, "B"), (0.02, 0.02, "A and B")])
def test_a_run_that_measured_until_it_was_settled_is_told(of_a: float | None, of_b: float | None, who: str) -> None:
    a, b = (
        replace(run, experiment=replace(run.experiment, precision=precision, max_blocks=50))
        for run, precision in ((made(), of_a), (made(id="later"), of_b))
    )

    assert f"\n{who} measured until its own comparisons were settled" in told(beside(a=a, b=b))
    assert "settled" not in told(beside())


def test_the_first_of_many_differences_are_named() -> None:
    changed = {f"package-{number}": "1" for number in range(7)}
    stack = testing.run().stacks["gunicorn"]
    later = made(id="later", stacks={"gunicorn": replace(stack, packages={**stack.packages, **changed})})

    assert "package-4 and 2 more." in told(beside(b=later))


SLOWER, COST = parse_limit("slower=5%"), parse_limit("cost=5%")


def test_lines_for_what_breaches_a_limit_say_the_median_and_the_interval() -> None:
    found = before_and_after()

    assert breached(found, breaches(found, SLOWER), SLOWER) == [
        (
            "gunicorn-gthread-8: cpu 2 ms, 16 users, 1 core, connection: close: slower, requests/s 0.881 times A's "
            "(0.853 to 0.912)"
        )
    ]
    assert breached(found, [], SLOWER) == []
    assert outcome(found) == "1 slower, 0 faster, 1 same within 2 %, 3 undecided"


def test_where_no_cell_breaches_a_limit_it_is_told_what_would_have() -> None:
    assert kept(before_and_after(), parse_limit("faster=5%")) == (
        "a difference of 5.5 % to 10.8 %, as each cell's blocks scatter, would have breached it"
    )
    few = kept(beside(blocks=3), parse_limit("slower=5%"))
    assert few == "2 of 2 cells could not have breached it, whatever the difference"
    spoilt = kept(beside(generator_cpu=0.9), parse_limit("slower=5%"))
    assert spoilt.endswith("would have breached it; 1 of 2 cells could not have breached it, whatever the difference")


def test_what_is_said_of_a_limit_of_cost_is_of_cost() -> None:
    """Of the one server that was made to compute more for each request."""
    found = before_and_after()

    (line,) = breached(found, breaches(found, COST), COST)
    assert line.startswith("gunicorn-gthread-8: cpu 2 ms, 16 users, 1 core, connection: close: cost 1.")
    assert kept(found, COST) != kept(found, SLOWER)
    assert kept(beside(blocks=3), COST) == "2 of 2 cells could not have breached it, whatever the difference"


def test_a_breach_by_work_done_says_so() -> None:
    cells = tuple(replace(cell, workload="cpu") for cell in (ONE, TWO))
    both = [*observed(cells[0]), *observed(cells[1])]
    found = runs(made(cells, cpu_iterations=1500), both, made(cells, cpu_iterations=1000, id="later"), both)

    assert all(": slower, work done 0.667 times A's" in line for line in breached(found, found.cells, SLOWER))


# YAML.


def test_the_document_is_valid_and_has_every_key() -> None:
    schema = json.loads((ROOT / "schemas" / "against.json").read_text())
    of_a_cell = {each.name for each in fields(CellOfRuns)} - {"cell"} | NamedCell.__annotations__.keys()
    for found in (before_and_after(), beside(generator_cpu=0.9), beside(blocks=3)):
        document = as_yaml(found)
        Draft202012Validator(schema).validate(document)
        assert document.keys() == AgainstFile.__annotations__.keys()
        for entry in document["cells"]:
            assert of_a_cell - entry.keys() <= {"rate", "arrivals", *CircumstancesKeys.__annotations__}
            assert entry.keys() <= of_a_cell


def test_the_document_has_null_where_there_is_nothing() -> None:
    one = runs(made((ONE,)), observed(ONE), made((ONE,), id="later"), observed(ONE, generator_cpu=0.9, blocks=3))
    document = as_yaml(one)
    (cell,) = document["cells"]

    assert (document["all_together"], document["core_speed"]) == (None, None)
    assert (cell["ratio"]["low"], cell["beside_others"], cell["refused"]) == (None, None, None)
    assert cell["b"]["broken_gates"] == ["generator"]


# Markdown.


# The page.


def test_the_page_needs_no_other_file_and_runs_nothing() -> None:
    text = as_page(before_and_after())
    page = Page(text)

    assert "Content-Security-Policy" in text
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert page.tags().keys().isdisjoint({"script", "link", "iframe", "img", "object", "a", "form"})
    assert not any(name.startswith("on") or name in ("src", "href") for _, given in page.elements for name in given)
    assert "url(" not in text
    assert "<p></p>" not in text
    assert "@import" not in text


def test_the_page_begins_with_the_question_and_a_chart_of_every_ratio_those_first_that_are_decided() -> None:
    found = before_and_after()
    page = Page(as_page(found))
    points = drawn(found, "point")

    assert page.words()[1] == "Is 20261123-045937-after (B) faster or slower than 20261123-045936-before (A)?"
    assert len(points) == len(found.cells)
    assert (points[0]["server"], points[0]["verdict"], points[0]["fill"]) == (
        "gunicorn-gthread-8 (cpu 2 ms)",
        "slower",
        1,
    )
    assert {row["fill"] for row in points[1:]} == {0}
    assert all(row["low"] <= row["value"] <= row["high"] for row in points)
    said = drawn(found, "rect")[-len(points) :][0]["says"].splitlines()
    assert said[1] == "B over A: 0.881 (0.853 to 0.912), slower"
    labels = {each["aria-label"] for each in page.of("g") if each.get("tabindex") == "0"}
    assert len(labels) == len(points), "the Tab key goes through them"
    assert not page.tags().keys() & {"script", "img"}


@pytest.mark.parametrize(
    "ratio",
    [
        Interval(median=1.0, low=1.0, high=1.0),
        Interval(median=1.0, low=None, high=None),
        Interval(median=1e-6, low=1e-9, high=1e-3),
        Interval(median=1e6, low=1e3, high=1e9),
    ],
)
def test_the_axis_holds_whatever_there_is(ratio: Interval) -> None:
    found = beside()
    odd = replace(found, cells=(replace(found.cells[0], ratio=ratio), *found.cells[1:]))
    figure = ratios(odd)
    assert figure is not None
    made: Any = svg.specification(figure.panels[0])
    low, high = made["layer"][-1]["encoding"]["x"]["scale"]["domain"]

    assert low <= (ratio.low or ratio.median) <= (ratio.high or ratio.median) <= high
    assert low < 1 < high
    assert ">1</text>" in svg.draw(figure.panels[0]), "a tick says where 1 is"


def test_of_two_runs_the_answer_is_what_changed_how_much_of_it_and_how_sure_that_is() -> None:
    most, counts, sure = first_screen.answer(before_and_after())

    assert most == "gunicorn-gthread-8 (cpu 2 ms) is slower in B: 0.881 times A's requests/s (0.853 to 0.912)."
    assert counts == "Of 5 cells in both: 1 slower, 0 faster, 1 same within 2 %, 3 undecided."
    assert sure == (
        "How sure: all intervals hold together with a chance of 95 %; a difference of 1.4 % to 6.6 % would have been found; "
        "what else differs and may be the reason: gunicorn-gthread-8: BURDEN_ITERATIONS."
    )
    several = beside(0.8, 0.5)
    assert [
        first_screen.answer(several)[0].split()[0],
        *(each.split()[0] for each in first_screen.verdicts(several)),
    ] == [
        "two",
        "one",
    ], "the furthest from 1 first, and each once"


def test_where_nothing_is_decided_or_compared_the_answer_says_so() -> None:
    nothing, _, sure = first_screen.answer(beside(0.8, blocks=3))
    assert nothing == "No cell is slower or faster beyond doubt."
    assert sure == "How sure: 2 of 2 cells could show no difference, whatever it was."
    run, observations = made(), [*observed(ONE), *observed(TWO)]
    assert first_screen.answer(runs(run, observations, run, observations))[0] == "A and B are the same run."
    refused = replace(beside(), cells=tuple(replace(each, ratio=None, refused="why") for each in beside().cells))
    assert ratios(refused) is None
    assert Page(as_page(refused)).tags()["svg"] == 0


def test_a_page_on_which_a_lower_ratio_is_faster_says_so() -> None:
    cells = tuple(replace(cell, users=None, rate=20.0, arrivals="poisson") for cell in (ONE, TWO))
    both = [*observed(cells[0]), *observed(cells[1])]
    text = as_page(runs(made(cells), both, made(cells, id="later"), both))

    assert "A mean ms" in text
    assert "a ratio below 1 is faster" in text
    assert "a ratio below 1 is faster" not in as_page(before_and_after())


# What comes from a run is text, whatever it says.


def nasty(word: str = NASTY) -> RunsComparison:
    later = made(id=word, started=word, lab=word, notes=(word,))
    two = replace(later.servers["two"], environment={word: word, "{0}": "{x"})
    later = replace(
        later,
        stacks={"gunicorn": replace(later.stacks["gunicorn"], packages={word: word})},
        host=replace(later.host, cpu=word),
        experiment=replace(later.experiment, name=word),
        servers={**later.servers, "two": two},
    )
    return beside(b=later, failures=1, errors={word: 1})


@pytest.mark.parametrize("word", [NASTY, "<script>alert(1)</script>"])
def test_markup_from_a_run_is_no_markup_in_the_page(word: str) -> None:
    text = as_page(nasty(word))
    page = Page(text)

    assert page.tags().keys().isdisjoint({"script", "b"})
    assert "<script>alert(1)</script>" in page.text()
    assert page.tags()["table"] == Page(as_page(beside(b=made(id="later", lab="9")))).tags()["table"]
    assert "\x1b" not in text


def test_markup_from_a_run_is_no_markup_in_markdown() -> None:
    text = as_markdown(nasty())

    assert "<script>" not in text
    assert "\x1b" not in text
    assert not [line for line in text.splitlines() if line.startswith("# heading")]
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in table.splitlines()}) == 1


def test_markup_and_control_characters_from_a_run_are_text_on_a_terminal() -> None:
    found = replace(nasty(), shift=CommonShift(cells=2, speed=1.0, faster=0, slower=0, direction="undecided"))
    plain = made(id="[red]later[/red]", lab="[bold]")

    assert "\x1b[31m" not in as_terminal(found, 400)
    assert "[red]later[/red]" in as_terminal(beside(b=plain), 400)
    assert "[bold]" in as_terminal(beside(b=plain), 400)


def test_yaml_gives_back_what_a_run_said() -> None:
    document = as_yaml(nasty())

    assert document["runs"]["b"]["id"] == NASTY
    assert document["runs"]["b"]["host"]["cpu"] == NASTY


# A terminal.


def test_a_narrow_terminal_has_every_server_ratio_and_verdict_and_no_line_too_long() -> None:
    text = as_terminal(before_and_after(), 80)

    assert max(map(len, text.splitlines())) <= 80
    for told in ("gunicorn-gthread-8", "0.881", "0.853 to 0.912", "slower", "undecided"):
        assert told in text
    assert "beside others" not in text
    assert "beside others" in as_terminal(before_and_after(), 120)


def test_a_terminal_colours_the_verdicts() -> None:
    text = as_terminal(beside(0.8, 1.2), colours=True)

    assert re.search(r"\x1b\[31mslower", text)
    assert re.search(r"\x1b\[32mfaster", text)
