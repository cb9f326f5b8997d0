"""`report.html` and `plots/*.svg`, and what Markdown has of them."""

import html
import itertools
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.pages import Page
from tests.unit.runs import TESTS, compared
from wsgilab import testing
from wsgilab.analysis.compare import compare, survey
from wsgilab.model import (
    Advice,
    Alternative,
    Cell,
    Comparison,
    InFlight,
    Interval,
    Observation,
    RequestSpan,
    Run,
    ServerContrast,
    Stack,
    Timeline,
    Wish,
)
from wsgilab.report import reproduce
from wsgilab.report.charts import svg
from wsgilab.report.charts.figure import one_line
from wsgilab.report.charts.figures import figures
from wsgilab.report.findings import MOST
from wsgilab.report.formats import FORMATS
from wsgilab.report.html import report
from wsgilab.report.markdown import comparison_md

MOST_BYTES = 3_000_000


def everything(one: str, two: str, words: str) -> Comparison:
    """A run with something in every section, in which names and texts are as given."""
    cells = [
        testing.cell(name, users=users, cores=cores) for name in (one, two) for users in (4, 32) for cores in (1, 2)
    ]
    cells += [testing.cell(name, workload=f"{words} work") for name in (one, two)]
    failing = testing.cell(two, workload="hello")
    asked = testing.experiment(*cells[:1], blocks=2, window_s=0.3)
    parameters = {**asked.parameters, f"{words} work": {f"{words}_ms": 5.0}, "hello": {}}
    experiment = replace(asked, name=words, cells=(*cells, failing), parameters=parameters, reference=one)
    servers = [
        testing.server(
            name, summary=words, command=("serve", words), environment={words: words}, stack=words, slots=2, processes=2
        )
        for name in (one, two)
    ]
    plain = testing.run(testing.experiment(*(replace(cell, workload="sleep") for cell in cells)), *servers)
    run = replace(
        plain,
        experiment=experiment,
        id=words,
        lab=words,
        started=words,
        host=replace(plain.host, cpu=words, kernel=words, siblings=(words,)),
        stacks={words: Stack(digest=words, python=words, packages={words: words})},
        packages={words: words},
        notes=(words,),
    )
    timeline = Timeline(span_us=100_000, stays=(RequestSpan(0, 0, 0, 0, 50_000), RequestSpan(1, 0, 0, 10_000, 60_000)))
    observations = [
        testing.observation(
            cell,
            block=block,
            position=block,
            started=words,
            swarm=testing.trial_report(
                timeline=timeline,
                failures=1,
                errors={words: 1},
                in_flight=InFlight(peak=2, mean=1.5, threads=2, requests_per_process=(4, 2)),
            ),
        )
        for block in range(2)
        for cell in cells
    ]
    failed = testing.observation(failing, status="failed", swarm=None, reason=words)
    comparison = compare(run, [*observations, failed])
    advice = Advice(
        group=cells[0],
        workloads=("sleep",),
        reason="alone",
        server=one,
        tied=(one,),
        speed=Interval(median=20.0, low=None, high=None),
        runner_up=ServerContrast(cell=replace(cells[0], server=two), other=one, ratio=None),
        changes=(Alternative(group=replace(cells[0], workload=words), wish=Wish(), server=None, tied=()),),
        left_out={two: words},
    )
    return replace(comparison, advice=(advice,))


HARMLESS = everything("one", "two", "some words")


def page(comparison: Comparison) -> str:
    return report(comparison)["report.html"].decode()


@pytest.fixture(scope="module")
def harmless() -> Page:
    return Page(page(HARMLESS))


@pytest.fixture(scope="module")
def files() -> Mapping[str, bytes]:
    """The report of the recorded run; test_golden holds that it is made so."""
    folder = TESTS / "golden" / "answer"
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in (*folder.glob("*.html"), *folder.rglob("*.svg"))
    }


# One file that needs no other.


def test_a_session_has_no_report() -> None:
    cell = testing.cell("one")
    session = survey(testing.run(testing.experiment(cell)), [testing.observation(cell)])

    assert report(session) == {}
    assert FORMATS["report"](session) == {}


def test_the_page_runs_nothing_and_loads_nothing(files: Mapping[str, bytes]) -> None:
    text = files["report.html"].decode()
    parsed = Page(text)

    (policy,) = [meta["content"] for meta in parsed.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert parsed.tags().keys().isdisjoint({"script", "iframe", "object", "img", "form", "image", "use"})
    # The name of SVG's namespace is no address, and a browser ignores it within a page.
    tags = re.sub(r' xmlns(:xlink)?="http://www.w3.org/[a-z0-9/]+"', "", re.sub(r">[^<]*<", "><", text))
    assert not re.search(r"https?://|url\(|@import", tags)
    for _, attributes in parsed.elements:
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes)
        href = attributes.get("href") or "#"
        assert href.startswith("#") or href == "data:,"
    assert "no scripts and loads nothing" in text


def test_links_lead_to_parts_that_are_there(files: Mapping[str, bytes]) -> None:
    text = files["report.html"].decode()
    parsed = Page(text)
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    links = [(attributes["href"] or "")[1:] for attributes in parsed.of("a")]

    assert len(set(ids)) == len(ids)
    assert set(links) <= set(ids)
    (nav,) = re.findall("<nav.*?</nav>", text, re.DOTALL)
    parts = re.findall('href="#([^"]+)"', nav)
    assert parts == [each for each in ids if each in parts]
    (found,) = re.findall('<h2 id="findings">.*?</ul>', text, re.DOTALL)
    evidence = re.findall('href="#([^"]+)"', found)
    assert len(evidence) == MOST, "each finding leads to its evidence"
    assert {"advice", "load-1", "load-2", "balance", "scaling", "cost"} == set(evidence)


def test_no_rank_of_headings_is_skipped(files: Mapping[str, bytes], harmless: Page) -> None:
    for parsed in (Page(files["report.html"].decode()), harmless):
        ranks = [int(tag[1]) for path, _ in parsed.elements if re.fullmatch("h[1-6]", tag := path.split("/")[-1])]
        assert ranks[0] == 1
        assert ranks.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(ranks))


def test_every_heading_of_a_table_says_of_what_it_is(harmless: Page) -> None:
    scopes = Counter(attributes.get("scope") for attributes in harmless.of("th"))

    assert scopes.keys() == {"col", "row"}
    rows = sum(path.endswith("tbody/tr") for path, _ in harmless.elements)
    assert scopes["row"] == rows


def test_every_chart_says_what_it_shows_and_has_a_table_behind_it(files: Mapping[str, bytes]) -> None:
    text = files["report.html"].decode()
    shown = re.findall(r"<figure>.*?</figure>", text, re.DOTALL)

    assert len(shown) == len(files) - 1
    for each in shown:
        parsed = Page(each)
        assert parsed.tags()["svg"] >= 1
        # One whose marks can have the focus is no image.
        assert all(
            drawing["role"] == ("group" if 'class="says" tabindex="0"' in each else "img")
            for drawing in parsed.of("svg")
        )
        assert any(path.endswith("details/div/table/tbody/tr") for path, _ in parsed.elements)
    names = [(drawing["aria-label"], drawing["width"]) for drawing in Page(text).of("svg")]
    assert len(set(names)) == len(names)
    assert (
        "Cost: CPU time and memory against throughput. memory: cpu 2 ms, 32 users, 2 cores, connection: close. "
        "The table below has its figures."
    ) in dict(names)


def test_charts_have_the_colours_of_the_page_and_words_as_large(files: Mapping[str, bytes]) -> None:
    for drawing in re.findall(r"<svg.*?</svg>", files["report.html"].decode(), re.DOTALL):
        assert {"#000", "#000000", "black", "white", "#fff", "#ffffff"}.isdisjoint(
            re.findall(r'(?:fill|stroke)="([^"]+)"', drawing)
        )
        *_, said = re.findall(r'<g fill="currentColor" font-size="12px"><g class="says".*', drawing) or [""]
        for tag in re.findall(r"<text[^>]*>", drawing.removesuffix(said)):
            assert 'fill="currentColor"' in tag
            assert float(re.findall(r'font-size="([\d.]+)px"', tag)[0]) >= 11
        assert re.match(r'<svg [^>]*width="(376|596|1216)"', drawing)


# What it says.


def test_the_page_begins_with_what_was_run_and_how_much_of_it(harmless: Page) -> None:
    text = harmless.text()

    assert text.index("How many requests at once, and which of 2 servers") < text.index("20 of 22 trials measured")
    assert "runtime local, seed 1, 2 blocks of 0.3 s windows" in text
    assert "1 failed" in text


def test_broken_gates_and_failed_trials_are_told_with_their_cells(harmless: Page) -> None:
    broken = harmless.text()

    assert "1 of 1 trials failed: some words" in broken
    assert "Trials that failed: 1." in broken
    assert re.search(r"two sleep 50 ms, 4 users, 1 core, connection: close failures", broken)


def clean() -> Comparison:
    """Of a single cell with which nothing went wrong."""
    cell = testing.cell("one", users=1)
    swarm = testing.trial_report(latency_mean_ms=50.0)
    observations = [testing.observation(cell, block=block, swarm=swarm) for block in range(3)]
    return compare(testing.run(testing.experiment(cell)), observations)


def test_where_nothing_went_wrong_it_says_so() -> None:
    assert "None: every trial was measured, and no gate is broken." in page(clean())


def test_advice_is_shown_where_there_is_any(harmless: Page) -> None:
    text = harmless.text()

    assert "Run one." in text
    assert "Runner-up: two: no block in common with one." in text
    assert "Changes: for some words: none may be advised" in text
    assert "Left out: two: some words" in text
    small = clean()
    without = page(replace(small, advice=()))
    assert "Which server to run" not in without
    assert 'href="#advice"' not in without
    undecided = replace(
        HARMLESS.advice[0], reason="blocks", server=None, tied=("one", "two"), runner_up=None, changes=()
    )
    assert "Undecided." in page(replace(HARMLESS, cells=small.cells, advice=(undecided,)))


def test_without_anything_that_waits_there_is_no_answer() -> None:
    cell = testing.cell("one", workload="hello")
    observations = [testing.observation(cell, block=block) for block in range(3)]

    parsed = Page(page(compare(testing.run(testing.experiment(cell)), observations)))

    assert "How many requests at once" not in parsed.text()


def test_a_run_of_which_nothing_was_measured_has_a_page_all_the_same() -> None:
    failed = testing.observation(testing.cell("one"), status="failed", swarm=None, reason="it ended")
    made = report(compare(testing.run(testing.experiment(testing.cell("one"))), [failed]))

    assert list(made) == ["report.html"]
    parsed = Page(made["report.html"].decode())
    assert "1 of 1 trials failed: it ended" in parsed.text()
    assert parsed.tags()["svg"] == 0


# How to reproduce it.


def run(**changes: Any) -> Run:
    return testing.run(testing.experiment(testing.cell("one"), testing.cell("two")), **changes)


def test_the_command_repeats_the_run() -> None:
    assert reproduce.command(run(seed=7)) == (
        "invoke lab.run --experiment results/20260102-030405-trial-run/experiment.yaml --runtime local --seed 7"
    )
    assert "--experiment 'results/a; rm -rf b/experiment.yaml' --runtime" in reproduce.command(run(id="a; rm -rf b"))


def test_what_all_servers_have_alike_is_told_once() -> None:
    servers = {
        "one": testing.server("one", environment={"A": "1", "B": "x y"}),
        "two": testing.server("two", environment={"A": "1", "B": "z", "C": ""}),
    }
    facts = dict(reproduce.facts(run(servers=servers)))
    environments = [row[-1] for row in reproduce.servers(run(servers=servers)).rows]

    assert facts["environment of all servers"] == "A=1"
    assert environments == ["B='x y'", "B=z C=''"]
    assert "environment of all servers" not in dict(reproduce.facts(run()))
    alone = run(servers={"one": servers["one"]})
    assert [row[-1] for row in reproduce.servers(alone).rows] == ["A=1 B='x y'"]


def test_machine_cores_and_packages_are_told() -> None:
    facts = dict(reproduce.facts(run(backend_cpus="3", cpu_iterations=1000)))

    assert facts["machine"] == "A CPU (x86_64), 8.0 GiB, Linux 6.1"
    assert facts["cores"] == (
        "usable: 0-1; a server with 1 core: 0; generator: 1; backends: 3; logical cores by physical core: 0, 1"
    )
    assert facts["packages of the lab"] == "pydantic 2"
    assert facts["work of a cpu request"].startswith("1000 iterations")
    assert reproduce.stacks(run()).rows == (("gunicorn", "3.11.7", "gunicorn 27.0.1", "sha256:0"),)
    assert "work of a cpu request" not in dict(reproduce.facts(run()))
    assert dict(reproduce.facts(run(gil={"one": True, "two": False})))["servers without a GIL"] == "two"
    assert "servers without a GIL" not in dict(reproduce.facts(run(gil={"one": True})))


# Whatever comes from a run is text.

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "[x](javascript:alert(1)) ![y](z)",
    "</svg></style></title></pre><h1>",
    "{{ 7 * 7 }} {% raw %}",
    "a\nb\r\n\r\nc",
    "\u202eevil\u2066\u200b",
    "<!-- & &amp; ]]> <![CDATA[",
    '{"signal": "1 + 1"}',
]


@pytest.mark.parametrize("nasty", ["".join(HOSTILE[at::2]) for at in range(2)])
def test_a_hostile_run_has_the_structure_of_a_harmless_one(nasty: str, harmless: Page) -> None:
    made = report(everything(f"one {nasty}", f"two {nasty}", nasty))
    text = made["report.html"].decode()
    parsed = Page(text)

    assert [(path, sorted(attributes)) for path, attributes in parsed.elements] == [
        (path, sorted(attributes)) for path, attributes in harmless.elements
    ]
    ours = {(name, value) for _, attributes in harmless.elements for name, value in attributes.items()}
    theirs = {(name, value) for _, attributes in parsed.elements for name, value in attributes.items()} - ours
    # Labels tell the conditions; where things lie, and how much room words get, follows from their length.
    assert {name for name, _ in theirs} <= {"aria-label", "class", "transform", "d", "x2", "y2", "height", "viewbox"}
    assert {value for name, value in theirs if name == "class"} <= {"number", "words", "long"}
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", text)
    for name, content in made.items():
        if name.endswith(".svg"):
            assert re.fullmatch(r"plots/[a-z0-9-]+\.svg", name)
            found = {each.tag.rpartition("}")[2] for each in ET.fromstring(content).iter()}
            assert found <= {"svg", "title", "style", "rect", "g", "path", "line", "circle", "text", "tspan"}


def keys_of(part: object, text: str, key: str = "") -> set[str]:
    """The keys under which a specification has strings with this text in them."""
    if isinstance(part, Mapping):
        return {found for name, value in part.items() for found in keys_of(value, text, name)}
    if isinstance(part, list | tuple):
        return {found for each in part for found in keys_of(each, text, key)}
    return {key} if isinstance(part, str) and text in part else set()


def test_names_are_data_to_vega_and_long_ones_are_cut_with_the_whole_in_the_table() -> None:
    name = "".join(HOSTILE) * 3
    found = figures(everything(name, "two", "words"))

    keys = set()
    for panel in (each.panels[0] for each in found):
        keys |= keys_of(svg.specification(panel), one_line(name))
        assert all(len(html.unescape(text)) < 80 for text in re.findall(r"<text[^>]*>([^<]*)<", svg.draw(panel)))
    assert keys == {"server", "domain", "values", "text"}, "in the data, in scales and legends, and in titles"
    assert all(any(name in row for row in each.table.rows) for each in found if each.name != "drift")


# Size.


def test_a_page_of_very_many_cells_stays_small() -> None:
    """25 servers under 10 conditions, each with a timeline of hundreds of requests."""
    cells = [testing.cell(f"server-{server}", users=users + 1) for users in range(10) for server in range(25)]
    stays = tuple(RequestSpan(0, at % 30, 0, at * 1000, at * 1000 + 29_000) for at in range(300))
    swarm = testing.trial_report(timeline=Timeline(span_us=330_000, stays=stays))
    made = report(
        compare(
            testing.run(testing.experiment(*cells, blocks=1)),
            [
                testing.observation(cell, swarm=replace(swarm, latency_mean_ms=(cell.users or 0) * 50.0))
                for cell in cells
            ],
        )
    )

    assert len(made["report.html"]) < MOST_BYTES
    assert all(len(content) < MOST_BYTES / 4 for name, content in made.items() if name != "report.html")
    assert "Not drawn for want of room: 7 of 25 servers" in made["report.html"].decode()


# Markdown.


def in_markdown(comparison: Comparison) -> str:
    return FORMATS["markdown"](comparison)["comparison.md"].decode()


def test_markdown_without_figures_has_no_image() -> None:
    text = comparison_md(compared())["comparison.md"].decode()

    assert "![" not in text
    assert "plots/" not in text
    assert "throughput, latency, and who ran when" not in text
    assert "## How to reproduce it" in text


def test_the_markdown_of_a_session_has_nothing_to_reproduce() -> None:
    cell = testing.cell("one")
    text = in_markdown(survey(testing.run(testing.experiment(cell)), [testing.observation(cell)]))

    assert "![" not in text
    assert "How to reproduce it" not in text


def test_the_command_in_markdown_is_code_on_one_line() -> None:
    hostile = replace(HARMLESS, run=replace(HARMLESS.run, id="a\n\n# b\n```"))
    lines = in_markdown(hostile).splitlines()
    at = lines.index("## How to reproduce it")

    assert lines[at + 2] == (
        "    invoke lab.run --experiment 'results/a # b ```/experiment.yaml' --runtime local --seed 1"
    )
    assert (lines[at + 1], lines[at + 3]) == ("", "")


def of(cell: Cell, observations: Sequence[Observation]) -> Comparison:
    return compare(testing.run(testing.experiment(cell)), observations)


def test_markdown_is_plain_where_there_is_little_to_show() -> None:
    cell = testing.cell("one", workload="hello")
    text = in_markdown(of(cell, [testing.observation(cell)]))

    assert "## Scaling" not in text
    assert "## Balance" not in text
    assert "## Cost" not in text
    assert "## Drift" not in text
    assert "How many requests at once" not in text
    assert "plots/throughput-hello.svg" in text
