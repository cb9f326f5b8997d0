"""The report, and what else is made of stored runs, as somebody reads them: from the folder alone, in a real browser
without a network."""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import launched, new_page
from tests.e2e.conftest import Cli, make_cli
from wsgilab import commands

RECORDED = commands.PROJECT / "tests" / "recorded"
WIDTHS = (1280, 400)
MOST_BYTES = 3_000_000
SMALLEST_TEXT_PX = 10


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


def recorded(cli: Cli) -> Cli:
    """The recorded runs become stored ones."""
    cli.charts = True
    for folder in RECORDED.iterdir():
        shutil.copytree(folder, cli.workspace.results / folder.name)
    return cli


@pytest.fixture
def stored(local: Cli) -> Cli:
    """The recorded runs, as stored ones."""
    return recorded(local)


@pytest.fixture(scope="module")
def reported(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The same, and the report of `answer` beside it, for all who only look at it."""
    cli = recorded(make_cli("local", state, tmp_path_factory.mktemp("reported") / "results"))
    report(cli, "answer")
    yield cli
    cli.assert_nothing_left()


@pytest.fixture
def answer(reported: Cli) -> Path:
    """The report of the recorded run `answer`."""
    return reported.workspace.results / "answer" / "report.html"


class Offline:
    """A page of a browser that has no network, and what went on there."""

    def __init__(self, browser: Browser, file: Path, *, width: int, theme: str = "light") -> None:
        self.context = browser.new_context(
            offline=True,
            color_scheme=theme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 900},
        )
        self.page: Page = new_page(self.context)
        self.asked_for: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked_for.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.goto(file.as_uri())

    def assert_self_contained(self, file: Path) -> None:
        assert self.asked_for == [file.as_uri()]
        assert self.complaints == []
        assert self.page.locator("script").count() == 0

    def assert_fits(self, width: int) -> None:
        """Nothing but the inside of a table has to be moved sideways."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width


def report(stored: Cli, run: str) -> Path:
    ended = stored("lab.report", "--run", run)
    assert ended.code == 0, ended.output
    return stored.workspace.results / run / "report.html"


def verdicts(stored: Cli, run: str, against: str) -> Mapping[tuple[str, str], str]:
    """What differs: (server, workload) -> faster or slower."""
    told = yaml.safe_load((stored.workspace.results / run / f"against-{against}.yaml").read_text())
    found = {(each["server"], each["workload"]): each["verdict"] for each in told["cells"]}
    return {cell: verdict for cell, verdict in found.items() if verdict != "undecided"}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_is_one_file_that_a_browser_shows_without_a_network(
    answer: Path, browser: Browser, width: int, theme: str
) -> None:
    seen = Offline(browser, answer, width=width, theme=theme)

    seen.assert_self_contained(answer)
    seen.assert_fits(width)
    assert answer.stat().st_size <= MOST_BYTES
    assert len(seen.page.locator("h1").all()) == 1


def test_every_chart_is_drawn_and_has_a_name_and_a_table_behind_it(answer: Path, browser: Browser) -> None:
    seen = Offline(browser, answer, width=1280)
    figures = seen.page.locator("figure").all()

    assert len(figures) >= 6
    for figure in figures:
        # One that is drawn for another width is not in sight.
        charts = figure.locator("svg[aria-label]:visible").all()
        assert charts
        for chart in charts:
            box = chart.bounding_box()
            assert box is not None
            assert box["width"] > 100
            assert box["height"] > 50
            assert chart.get_attribute("aria-label")
            assert chart.locator("text").count() > 0
            assert chart.locator(".mark-rect path, .mark-symbol path, .mark-line path, .mark-rule line").count() > 0
        assert figure.locator("details table tbody tr").count() > 0


@pytest.mark.parametrize("width", WIDTHS)
def test_the_words_in_the_charts_can_be_read(answer: Path, browser: Browser, width: int) -> None:
    seen = Offline(browser, answer, width=width)
    heights = seen.page.evaluate(
        """() => [...document.querySelectorAll('figure svg text')].filter(text => text.getCTM() && text.textContent.trim()).map(
            text => parseFloat(getComputedStyle(text).fontSize) * text.getCTM().a)"""
    )

    assert len(heights) > 100
    assert min(heights) >= SMALLEST_TEXT_PX


@pytest.mark.parametrize("width", WIDTHS)
def test_a_point_says_its_figures_while_the_pointer_or_the_focus_is_on_it(
    answer: Path, browser: Browser, width: int
) -> None:
    seen = Offline(browser, answer, width=width)
    first = seen.page.locator("#answer .says:visible").first
    said = first.locator(".tip")

    expect(said).to_be_hidden()
    seen.page.keyboard.press("Tab")
    expect(said).to_be_visible()
    seen.page.keyboard.press("Tab")
    expect(said).to_be_hidden()
    first.locator(".hit").hover()
    expect(said).to_be_visible()
    assert "in flight: 32 at most" in str(said.text_content())
    seen.assert_fits(width)


def test_a_servers_name_leads_to_its_place_which_opens(answer: Path, browser: Browser) -> None:
    seen = Offline(browser, answer, width=1280)
    place = seen.page.locator("[id^=server-]", has_text="gunicorn --bind").first

    expect(place).to_be_hidden()
    seen.page.locator(f"table:visible a[href='#{place.get_attribute('id')}']").first.click()
    expect(place).to_be_visible()
    expect(place.get_by_text("What to try next")).to_be_visible()


def test_the_report_is_made_from_stored_results_alone_and_the_same_to_the_byte(reported: Cli) -> None:
    folder = reported.workspace.results / "answer"
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report(reported, "answer")

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first
    assert {path.suffix for path in first} == {".yaml", ".jsonl", ".md", ".html", ".svg"}
    told = (folder / "comparison.md").read_text()
    shown = re.findall(r"!\[[^\]]+\]\((plots/[a-z0-9-]+\.svg)\)", told)
    assert sorted(shown) == sorted(str(path.relative_to(folder)) for path in folder.glob("plots/*.svg"))


def test_two_runs_with_a_tenth_less_at_one_server_differ_in_just_that(stored: Cli, browser: Browser) -> None:
    ended = stored("lab.compare", "before", "after")

    assert ended.code == 0, ended.output
    assert verdicts(stored, "after", "before") == {("gunicorn-gthread-8", "cpu"): "slower"}
    folder = stored.workspace.results / "after"
    assert {path.name for path in folder.glob("against-before.*")} == {
        f"against-before.{kind}" for kind in ("md", "yaml", "html")
    }
    for width in WIDTHS:
        seen = Offline(browser, folder / "against-before.html", width=width)
        seen.assert_self_contained(folder / "against-before.html")
        seen.assert_fits(width)


def test_advice_names_a_server_of_those_measured_and_says_why(stored: Cli) -> None:
    ended = stored("lab.recommend", "--run", "answer", "--workload", "sleep")

    assert ended.code == 0, ended.output
    assert "gunicorn-gevent" in ended.output


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--workload", "db"], "db"),
        (["--p95-ms", "fast"], "--p95-ms"),
        (["--memory-mb", "0"], "--memory-mb"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_in_one_line(stored: Cli, words: list[str], part: str) -> None:
    ended = stored("lab.recommend", "--run", "answer", *words)

    assert ended.code == 2
    assert len(ended.lines) == 1
    assert ended.lines[0].startswith("error: ")
    assert part in ended.lines[0]


def test_a_new_experiment_is_written_once(stored: Cli) -> None:
    name = f"made-by-a-test-{stored.workspace.lab_id}"
    file = commands.PROJECT / "experiments" / f"{name}.yaml"
    try:
        ended = stored("lab.new-experiment", name)
        assert ended.code == 0, ended.output
        assert file.exists()
        file.write_text(file.read_text() + "# mine\n")
        again = stored("lab.new-experiment", name)
        assert again.code == 2
        assert again.lines[0].startswith("error: ")
        assert file.read_text().endswith("# mine\n")
    finally:
        file.unlink(missing_ok=True)


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_names_and_log_lines_with_markup_in_them_do_no_harm(stored: Cli, browser: Browser) -> None:
    folder = stored.workspace.results / "before"
    text = (folder / "run.yaml").read_text()
    for old in ("4 sync workers", "Intel(R) Xeon(R) Processor"):
        assert old in text
        text = text.replace(old, f"'{HOSTILE}'")
    (folder / "run.yaml").write_text(text)
    lines = (folder / "observations.jsonl").read_text().splitlines()
    # A failed trial, whose reason is the last lines that a server wrote.
    head, _, rest = lines[0].partition('"status":"measured"')
    assert rest
    log = HOSTILE.replace('"', '\\"')
    failed = f'{head}"status":"failed","reason":"the server ended\\n{log} \\u001b[31mred"}}'
    (folder / "observations.jsonl").write_text("\n".join([failed, *lines[1:]]) + "\n")

    file = report(stored, "before")
    seen = Offline(browser, file, width=1280)

    seen.assert_self_contained(file)
    assert seen.page.locator("img, script, iframe, object, embed, form").count() == 0
    assert all(str(link.get_attribute("href")).startswith("#") for link in seen.page.locator("a").all())
    assert "alert(1)" in seen.page.inner_text("body")
    assert "\x1b" not in (folder / "comparison.md").read_text()
