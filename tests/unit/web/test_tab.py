"""The web UI's tab as HTML: what it shows, how tests find it, and that nothing from outside becomes markup."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from wsgilab import testing
from wsgilab.analysis.compare import advised_so_far, compare, survey
from wsgilab.model import Cell, CellResult, CellWarning, Comparison, InFlight, Observation, text
from wsgilab.report.tables import MISSING
from wsgilab.web import graphs, tab
from wsgilab.web.view import Now, Phase, Pulse, TargetState, View

UI = Path(tab.__file__).parent
FILES = sorted(path for folder in ("templates", "static") for path in (UI / folder).iterdir())

FOUR = testing.server("gunicorn-sync-4", slots=4, processes=4, command=("gunicorn", "--workers=4", "app:app"))
GEVENT = testing.server("gunicorn-gevent", slots=None, processes=4, model="coroutines")
IDLE = testing.server("flask-single")
SERVERS = (FOUR, GEVENT, IDLE)
SLEEP = testing.cell("gunicorn-sync-4")
NASTY = """<script>alert("1")</script> & <b>'x'"""
ESCAPED = "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; &amp; &lt;b&gt;&#39;x&#39;"


def observation(cell: Cell = SLEEP, *, block: int = 0, peak: int = 4, rps: float = 77.34, **swarm: Any) -> Observation:
    in_flight = InFlight(peak=peak, mean=peak - 0.06, threads=4, requests_per_process=(30, 20, 16, 14))
    latency_ms = (cell.users or 32) / rps * 1000
    steady = {
        "throughput_rps": rps,
        "completed": 80,
        "in_flight": in_flight,
        "latency_mean_ms": latency_ms,
        "latency_histogram": testing.histogram(*[latency_ms] * 80),
    }
    return testing.observation(cell, block=block, swarm=testing.trial_report(**{**steady, **swarm}))


def session(*observations: Observation) -> Comparison:
    """Of an interactive session."""
    experiment = testing.experiment(SLEEP, replace(SLEEP, workload="cpu"))
    return survey(testing.run(experiment, *SERVERS), observations)


def target(name: str, **changes: Any) -> TargetState:
    server = next(each for each in SERVERS if each.name == name)
    return replace(TargetState(server=server, url=f"http://127.0.0.1:8000/{name}"), **changes)


def view(*observations: Observation, **changes: Any) -> View:
    comparison = session(*observations)
    plain = View(
        run=comparison.run,
        watching=False,
        now=None,
        comparison=comparison,
        targets=tuple(target(each.name) for each in SERVERS),
    )
    return replace(plain, **changes)


def now(result: CellResult | None = None, cell: Cell = SLEEP, **changes: Any) -> Now:
    pulses = (
        Pulse(peak=3, mean=2.5, throughput_rps=60.0, p50_ms=50.0, p99_ms=60.0),
        Pulse(peak=4, mean=3.9, throughput_rps=77.0, p50_ms=52.0, p99_ms=61.0),
    )
    plain = Now(cell=cell, phase="measuring", users_wanted=32, pulses=pulses, result=result)
    return replace(plain, **changes)


def watched(*observations: Observation, blocks: int = 6) -> View:
    """A run of two servers, of which the first is the reference."""
    cells = (SLEEP, testing.cell("gunicorn-gevent"))
    comparison = compare(testing.run(testing.experiment(*cells, blocks=blocks), *SERVERS), observations)
    return view(run=comparison.run, comparison=comparison, watching=True, progress="12 of 45 trials")


@dataclass
class Row:
    """One `<tr>`: its attributes, and the text of its cells by `data-figure`."""

    attributes: Mapping[str, str | None]
    figures: dict[str, str] = field(default_factory=dict)
    text: str = ""
    tags: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return "ended" in (self.attributes.get("class") or "").split()


class Reader(HTMLParser):
    """A page as a test looks at it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.now: dict[str, str] = {}
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self._in_now = False
        self._row: Row | None = None
        self._figure: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.attributes.append((tag, given))
        if tag == "section":
            self._in_now = "data-now" in given
        if tag == "tr":
            self._row = Row(given)
            self.rows.append(self._row)
        elif self._row is not None:
            self._row.tags.append(tag)
        if "data-figure" in given:
            self._figure = given["data-figure"]
            assert self._figure
            self._into()[self._figure] = ""

    def handle_endtag(self, tag: str) -> None:
        self._figure = None
        if tag == "tr":
            self._row = None

    def handle_data(self, data: str) -> None:
        if self._figure is not None:
            self._into()[self._figure] += data
        if self._row is not None:
            self._row.text += data

    def _into(self) -> dict[str, str]:
        if self._in_now:
            return self.now
        assert self._row is not None
        return self._row.figures

    def row(self, server: str) -> Row:
        (found,) = (row for row in self.rows if row.attributes.get("data-server") == server)
        return found

    def all(self, attribute: str) -> list[str | None]:
        return [given[attribute] for _, given in self.attributes if attribute in given]


def read(of: View) -> Reader:
    return Reader(tab.fragment(of))


# What has been tried.


def test_a_row_tells_its_cell_and_its_figures() -> None:
    row = read(view(observation())).row("gunicorn-sync-4")

    assert row.attributes["data-workload"] == "sleep"
    assert row.attributes["data-users"] == "32"
    assert row.attributes["data-connection"] == "close"
    assert row.attributes["data-cores"] == "1"
    assert row.figures == {
        "slots": "4",
        "peak": "4",
        "mean": "3.9",
        "processes": "4",
        "threads": "4",
        "busiest": "1.50",
        "rps": "77.3",
        "p50": "414",
        "p95": "414",
        "p99": "414",
        "max": "414",
        "cpu": "2%",
        "generator": "2%",
        "failures": "0",
        "bound": "slots",
    }
    assert not row.ended
    assert '<td data-figure="peak">4</td>' in tab.fragment(view(observation()))


def test_a_cell_on_a_schedule_has_a_rate_and_no_users() -> None:
    cell = testing.cell("gunicorn-sync-4", users=None, rate=200.0, arrivals="poisson")
    row = read(view(observation(cell, due=80))).row("gunicorn-sync-4")

    assert row.attributes["data-rate"] == "200"
    assert "data-users" not in row.attributes


def test_conditions_are_headings_of_their_servers() -> None:
    computing = replace(SLEEP, workload="cpu")
    titles = [row.text.strip() for row in read(view(observation(), observation(computing))).rows[2:]]

    assert titles.index("sleep 50 ms, 32 users, 1 core, connection: close") >= 0
    assert titles.index("cpu 2 ms, 32 users, 1 core, connection: close") >= 0


def test_the_reason_and_warnings_are_below_the_figures() -> None:
    told = "3.9 requests were in flight on average, with 4 slots and 32 users"

    assert told in tab.fragment(view(observation()))
    html = tab.fragment(view(observation(failures=2, errors={"the answer was wrong": 2})))
    assert "2 requests failed: the answer was wrong" in html
    assert told not in html, "that is no reason where requests failed"


def test_unbounded_slots_are_an_infinity_sign() -> None:
    result = session(observation(testing.cell("gunicorn-gevent"), peak=32)).cells[0]
    shown = read(view(observation(result.cell, peak=32), now=now(result, result.cell)))

    assert shown.row("gunicorn-gevent").figures["slots"] == shown.now["slots"] == "∞"


def test_figures_that_there_are_not_are_dashes() -> None:
    failed = view(testing.observation(SLEEP, status="failed", swarm=None, reason="the server had ended"))
    row = read(failed).row("gunicorn-sync-4")
    without_cpu = read(view(replace(observation(), server_cpu_s=None))).row("gunicorn-sync-4")

    assert set(row.figures.values()) == {MISSING, "4"}
    assert row.figures["slots"] == "4"
    assert "1 of 1 seconds failed: the server had ended" in tab.fragment(failed)
    assert (without_cpu.figures["cpu"], without_cpu.figures["rps"]) == (MISSING, "77.3")


@pytest.mark.parametrize(("phase", "marked"), [("measuring", ["gunicorn-sync-4"]), ("stopped", [])])
def test_the_row_under_way_is_marked(phase: Phase, marked: list[str]) -> None:
    other = testing.cell("gunicorn-gevent")
    rows = read(view(observation(), observation(other), now=now(phase=phase))).rows

    assert [row.attributes["data-server"] for row in rows if row.attributes.get("aria-current") == "true"] == marked


def test_an_interactive_session_compares_nothing_and_says_so() -> None:
    assert "Figures of single tests" in tab.fragment(view(observation()))
    assert "Figures of single tests" not in tab.fragment(watched(observation()))
    assert {"rank", "ratio"}.isdisjoint(read(view(observation())).row("gunicorn-sync-4").figures)


def test_downloads_are_offered_once_there_is_something() -> None:
    links = [given["href"] for tag, given in read(view(observation())).attributes if "download" in given]

    assert links == ["lab/comparison.md", "lab/comparison.yaml"]
    assert "comparison.yaml" not in tab.fragment(view())
    assert "comparison.yaml" not in tab.fragment(
        view(targets=(target("flask-single", failure="ended with exit status 1"),))
    )


def test_keys_are_unique_among_siblings() -> None:
    """The script tells by them what has moved."""
    rows = read(view(observation(), observation(testing.cell("gunicorn-gevent")))).rows
    tried = [
        row.attributes["data-key"]
        for row in rows
        if "data-key" in row.attributes and "data-target" not in row.attributes
    ]

    assert len(tried) == 4
    assert len(set(tried)) == 4


# Targets that have ended.


def test_rows_of_a_target_that_ended_are_red_and_say_so() -> None:
    ended = target("gunicorn-sync-4", failure="ended with exit status 3", log="last words")
    shown = view(
        observation(), observation(testing.cell("gunicorn-gevent")), targets=(ended, target("gunicorn-gevent"))
    )
    rows = read(shown).rows
    at = rows.index(read(shown).row("gunicorn-sync-4"))

    assert rows[at].ended
    assert rows[at].figures["peak"] == "4"
    assert rows[at + 1].ended
    assert "ended with exit status 3" in rows[at + 1].text
    assert "last words" in rows[at + 1].text
    assert "pre" in rows[at + 1].tags
    assert not read(shown).row("gunicorn-gevent").ended


def test_it_is_started_again_with_one_button_however_many_rows_it_has() -> None:
    ended = target("gunicorn-sync-4", failure="ended with exit status 3", log="last words")
    shown = view(observation(), observation(replace(SLEEP, workload="cpu")), targets=(ended, target("gunicorn-gevent")))

    assert sum(row.ended and "data-workload" in row.attributes for row in read(shown).rows) == 2
    assert read(shown).all("data-start-again") == ["gunicorn-sync-4"]
    assert tab.fragment(shown).count("last words") == 1


def test_a_target_that_ended_untried_has_a_row_too() -> None:
    shown = view(targets=(target("flask-single", failure="ended with exit status 1", log="no port"),))
    row = read(shown).row("flask-single")

    assert row.ended
    assert set(row.figures.values()) == {MISSING, "1"}
    assert read(shown).all("data-start-again") == ["flask-single"]
    assert "no port" in tab.fragment(shown)


def test_only_a_target_that_has_ended_and_is_not_starting_has_a_button() -> None:
    ended = target("gunicorn-sync-4", failure="ended with exit status 3", log="last words", restarting=True)
    starting, running = view(observation(), targets=(ended,)), read(view(observation()))

    assert "starting again" in tab.fragment(starting)
    assert not read(starting).all("data-start-again")
    assert not running.all("data-start-again")
    assert not any(row.ended for row in running.rows)


# Now.


def test_now_shows_the_figures_of_the_test_under_way() -> None:
    result = session(observation()).cells[0]
    shown = view(observation(), now=now(result))

    assert read(shown).now == {
        "peak": "4",
        "slots": "4",
        "mean": "3.9",
        "rps": "77.3",
        "p50": "414",
        "p99": "414",
        "cpu": "2%",
        "generator": "2%",
        "bound": "slots",
        "because": "3.9 requests were in flight on average, with 4 slots and 32 users",
    }
    assert "sleep 50 ms, 32 users, 1 core, connection: close" in tab.fragment(shown)


def test_before_figures_count_there_are_dashes() -> None:
    shown = read(view(now=now(phase="settling"))).now

    assert shown["peak"] == shown["rps"] == shown["bound"] == MISSING
    assert shown["slots"] == "4"


@pytest.mark.parametrize(
    ("changes", "watching", "title", "phase"),
    [
        ({"phase": "ramping", "cell": replace(SLEEP, users=12)}, False, "Now", "12 of 32 users at work"),
        ({"phase": "settling"}, False, "Now", "waiting until every user has had an answer"),
        ({"phase": "measuring"}, False, "Now", "measuring"),
        ({"phase": "measuring"}, True, "Now", "measuring"),
        ({"phase": "stopping"}, False, "Now", "stopping"),
        ({"phase": "stopped"}, False, "Last test", "stopped"),
        ({"phase": "stopped"}, True, "Last trial", "stopped"),
    ],
)
def test_the_title_and_the_phase_are_in_words(
    changes: Mapping[str, Any], watching: bool, title: str, phase: str
) -> None:
    html = tab.fragment(view(now=now(**changes), watching=watching))

    assert f"<h2>{title}</h2>" in html
    assert f'<span class="lab-phase">{phase}</span>' in html


def test_before_the_first_test_it_says_what_to_do() -> None:
    html = tab.fragment(view())

    assert "press Start" in html
    assert "data-now" in html
    assert "Tried so far" not in html


def test_the_warnings_and_the_end_of_its_target_are_told_there_too() -> None:
    result = replace(
        session(observation()).cells[0], warnings=(CellWarning(kind="short-window", text="the window was short"),)
    )
    ended = target("gunicorn-sync-4", failure="ended with exit status 3")
    html = tab.fragment(view(now=now(result), targets=(ended,)))
    told = html.split("Tried so far")[0]

    assert "the window was short" in told
    assert "gunicorn-sync-4: ended with exit status 3" in told


def test_the_graph_has_the_slots_as_a_dashed_line_where_they_are_bounded() -> None:
    html = tab.fragment(view(now=now()))
    unbounded = tab.fragment(view(now=now(cell=testing.cell("gunicorn-gevent"))))

    # Four of six.
    assert 'class="lab-limit" x1="0" x2="600" y1="33.3" y2="33.3"' in html
    assert ">4 slots</span>" in html
    assert "lab-line" in unbounded
    assert "lab-limit" not in unbounded


def test_the_graph_s_newest_second_is_at_the_right_and_oldest_drop_out() -> None:
    pulses = tuple(Pulse(peak=each, mean=0.0, throughput_rps=0.0) for each in range(1, 101))
    bars = graphs.graphs(pulses, None)[0].bars

    assert bars.count("M") == graphs.SECONDS
    assert bars.startswith("M0,100V72.7h9")  # the 41st of a top of 150
    assert bars.endswith("M590,100V33.3h9V100z")


def test_a_graph_of_a_few_seconds_ends_at_the_right_too_and_has_a_description() -> None:
    html = tab.fragment(view(now=now()))
    labels = [given["aria-label"] or "" for tag, given in Reader(html).attributes if tag == "svg"]

    assert 'd="M580,100V50h9V100zM590,100V33.3h9V100z"' in html
    assert 'points="584.5,58.3 594.5,35"' in html
    assert labels[0].startswith("Requests in flight over the last 2 seconds: at most 4 of 4 slots")
    assert labels[1].startswith("Answers over the last 2 seconds: at most 77.0 a second")
    assert labels[2].startswith("99th percentile of latency over the last 2 seconds: at most 61.0 ms")
    assert "<svg" not in tab.fragment(view(now=now(pulses=())))


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0, ["0", "1", "2"]),
        (4, ["0", "2", "4", "6"]),
        (32, ["0", "10", "20", "30", "40"]),
        (9_500, ["0", "5,000", "10,000", "15,000"]),
    ],
)
def test_an_axis_has_few_round_numbers_up_to_beyond_the_highest_value(highest: int, labels: list[str]) -> None:
    in_flight, *_ = graphs.graphs([Pulse(peak=highest, mean=0.0, throughput_rps=0.0)], None)

    assert [tick.label for tick in in_flight.ticks] == labels
    assert (in_flight.ticks[0].at, in_flight.ticks[-1].at) == (100, 0)


def test_a_second_without_an_answer_has_no_latency() -> None:
    pulses = [
        Pulse(peak=1, mean=1.0, throughput_rps=2.0, p50_ms=3.0, p99_ms=4.0),
        Pulse(peak=1, mean=1.0, throughput_rps=0),
    ]
    *_, latency = graphs.graphs(pulses, None)

    assert latency.last == "no answer"
    assert len(latency.line.split()) == 1
    assert latency.bars.endswith("M590,100V100h9V100z")


def test_each_graph_has_both_axes() -> None:
    html = tab.fragment(view(now=now()))
    ended = tab.fragment(view(now=now(phase="stopped")))

    assert html.count('class="lab-x"') == 3 * 5
    assert html.count(">-60 s</span>") == html.count(">now</span>") == ended.count(">the end</span>") == 3
    assert html.count('class="lab-y"') == 3 * 4


# A run that is watched.


def both(**changes: Any) -> list[Observation]:
    """Six blocks of two servers, the second 2.59 times as fast, with `changes` of their reports."""
    pairs = ((SLEEP, 77.34), (testing.cell("gunicorn-gevent"), 200.0))
    return [observation(cell, block=block, rps=rps, **changes) for block in range(6) for cell, rps in pairs]


def test_a_watched_run_has_its_progress_ranks_and_verdicts() -> None:
    shown = watched(*both())
    html, rows = tab.fragment(shown), read(shown)

    assert "Watching 20260102-030405-trial-run: 12 of 45 trials" in html
    assert "press Start" not in html
    assert rows.row("gunicorn-gevent").figures["rank"] == "1"
    assert rows.row("gunicorn-gevent").figures["ratio"] == "2.59 faster"
    assert rows.row("gunicorn-sync-4").figures["ratio"] == MISSING
    assert "; reference: gunicorn-sync-4" in html


def test_who_watches_a_run_starts_nothing_again() -> None:
    ended = target("gunicorn-sync-4", failure="ended with exit status 3", log="last words")
    shown = replace(watched(observation()), targets=(ended,))

    assert read(shown).row("gunicorn-sync-4").ended
    assert "last words" in tab.fragment(shown)
    assert not read(shown).all("data-start-again")


def test_a_watched_run_says_why_there_is_no_verdict() -> None:
    assert "undecided against gunicorn-sync-4, with 1 of the" in tab.fragment(watched(*both()[:2]))
    spoilt = tab.fragment(watched(*both(generator_cpu=0.9)))
    assert "not compared with gunicorn-sync-4, because of: generator" in spoilt


# Advice.


def advised(*figures: tuple[str, float], watching: bool = False) -> View:
    """After tests of these servers, one after the other, with their requests a second."""
    tests = [observation(testing.cell(server), rps=rps) for server, rps in figures]
    return view(*tests, advised=advised_so_far(session().run, tests), watching=watching)


def words(shown: View) -> str:
    """The advice as text."""
    html = tab.fragment(shown)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", html.partition("data-advice")[2].partition("</section>")[0]))


def test_of_one_server_there_is_no_advice_but_what_to_do() -> None:
    assert "Test two servers at least" in words(advised(("gunicorn-sync-4", 77.3)))
    assert "data-advice" not in tab.fragment(view())


def test_after_one_test_of_each_it_says_how_fast_they_were_and_how_little_is_known() -> None:
    text = words(advised(("gunicorn-sync-4", 77.3), ("gunicorn-gevent", 612.0)))

    assert "1 test of gunicorn-sync-4, 1 test of gunicorn-gevent" in text
    assert "Undecided. So far: gunicorn-gevent 612 requests/s, gunicorn-sync-4 77.3." in text
    assert (
        "gunicorn-gevent and gunicorn-sync-4 have 1 round of tests, and to compare takes 3: test the servers in" in text
    )
    assert "--blocks" not in text
    assert "errs more often than invoke lab.run" in text


def test_after_three_tests_of_each_in_turn_the_rule_of_runs_decides() -> None:
    in_turn = [("gunicorn-sync-4", 77.3), ("gunicorn-gevent", 612.0), ("gunicorn-gevent", 605.0)]
    in_turn += [("gunicorn-sync-4", 77.9), ("gunicorn-sync-4", 76.8), ("gunicorn-gevent", 618.0)]
    text = words(advised(*in_turn))

    assert "Run gunicorn-gevent, although a request that computes holds up all others of its process" in text
    assert "the throughput of gunicorn-sync-4: faster." in text


def test_servers_that_scatter_are_undecided_and_may_be_tested_more() -> None:
    in_turn = [("gunicorn-sync-4", 77.0), ("gunicorn-gevent", 90.0)] * 2
    text = words(advised(*in_turn, ("gunicorn-sync-4", 99.0), ("gunicorn-gevent", 80.0)))

    assert "Undecided." in text
    assert "More tests, in turn, may tell." in text
    assert "blocks" not in text


def test_a_run_that_has_ended_is_advised_on_as_its_report_has_it() -> None:
    run = watched(*both())
    text = words(replace(run, advised=run.comparison))

    assert "What the lab advises sleep 50 ms" in text
    assert "Run gunicorn-gevent" in text
    assert "errs more often" not in text
    assert "round" not in text


# Catalogue and legend.


def test_the_catalogue_has_every_target() -> None:
    html = tab.fragment(
        view(targets=(target("gunicorn-sync-4"), target("gunicorn-gevent", failure="ended with exit status 1")))
    )
    first, second = (row for row in Reader(html).rows if "data-target" in row.attributes)

    assert "gunicorn --workers=4 app:app" in first.text
    assert "http://127.0.0.1:8000/gunicorn-sync-4" in first.text
    assert "running" in first.text
    assert "∞" in second.text
    assert "coroutines" in second.text
    assert "ended with exit status 1" in second.text


def test_the_legend_is_of_what_is_shown() -> None:
    terms = re.findall(r"<dt>([^<]*)</dt><dd>", tab.fragment(view(observation())).split("lab-legend")[1])

    assert {"in flight", "busiest", "requests/s", "p50 ms, p99 ms", "CPU", "generator", "bound by"} <= set(terms)
    assert {"rank", "x reference", "of limit", "MB"}.isdisjoint(terms)


def test_every_term_of_the_legend_that_columns_name_exists() -> None:
    html = tab.fragment(watched(*both()))

    for column in tab.COLUMNS:
        if column.term:
            assert f"<dt>{column.term}</dt>" in html


# What comes from logs and files.


def of_nasty_tests() -> View:
    """Whose workload is such a text, in the title of the advice."""
    tests = [observation(testing.cell(each.name, workload=NASTY)) for each in (FOUR, GEVENT)]
    return view(advised=advised_so_far(session().run, tests))


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(view(targets=(target("flask-single", failure="it ended", log=NASTY),)), id="log"),
        pytest.param(view(targets=(target("flask-single", failure=NASTY),)), id="failure"),
        pytest.param(view(targets=(replace(target("flask-single"), url=NASTY),)), id="url"),
        pytest.param(view(targets=(TargetState(server=replace(IDLE, summary=NASTY), url=""),)), id="summary"),
        pytest.param(view(targets=(TargetState(server=replace(IDLE, name=NASTY), url="", failure="x"),)), id="server"),
        pytest.param(view(observation(failures=1, errors={NASTY: 1})), id="error"),
        pytest.param(view(observation(replace(SLEEP, workload=NASTY))), id="workload"),
        pytest.param(view(watching=True, progress=NASTY), id="progress"),
        pytest.param(view(now=now(cell=replace(SLEEP, workload=NASTY))), id="workload now"),
        pytest.param(view(run=replace(testing.run(), notes=(NASTY,))), id="note"),
        pytest.param(of_nasty_tests(), id="advice"),
    ],
)
def test_nothing_from_outside_becomes_markup(shown: View) -> None:
    for html in (tab.fragment(shown), tab.page(shown)):
        assert ESCAPED in html
        assert "alert(" not in html.replace(ESCAPED, "")


def test_a_command_is_spelt_for_a_shell_and_becomes_no_markup_either() -> None:
    spaced = replace(FOUR, command=("gunicorn", "--name=a b", "<b>"))
    html = tab.fragment(view(targets=(TargetState(server=spaced, url=""),)))

    assert "<span>&#39;--name=a b&#39;</span>" in html
    assert "<span>&#39;&lt;b&gt;&#39;</span>" in html


# The page of its own, and the files.


def test_the_page_holds_the_fragment_what_the_script_needs_and_works_without_it() -> None:
    shown = view(observation())
    html, script = tab.page(shown), (UI / "static" / "lab.js").read_text()

    assert tab.fragment(shown) in html
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in html
    for part in ('<p class="lab-silence" role="status" hidden></p>', '<div class="lab-parts">'):
        assert part in script
        assert part in html
    used = {*Reader(html).all("href"), *Reader(html).all("src")}
    for name in ("lab.css", "lab.js"):
        assert f"./lab/{name}" in used
        assert (UI / "static" / name).is_file()


def test_links_lead_to_the_lab_s_own_folder_and_to_targets() -> None:
    shown = view(observation(), now=now())
    reader = Reader(tab.page(shown))
    links = {*reader.all("href"), *reader.all("src")} - {each.url for each in shown.targets}

    assert links
    for link in links:
        assert re.fullmatch(r"(\./)?(lab|assets)/[\w.-]+|\./\?tab=lab", link or ""), link


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_uses_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert not re.search(r"(https?|wss?|ftp):", text)
    assert not re.search(r"""["'(]\s*//""", text)
    assert not re.search(r"@import|url\(", text)


def test_each_column_is_named_where_there_is_no_room_for_a_table() -> None:
    style = (UI / "static" / "lab.css").read_text()

    for column in tab.COLUMNS:
        assert f'td[data-figure="{column.key}"]::before {{ content:' in style


def test_the_command_that_compares_is_the_one_that_the_lab_is_called_by(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "<code>invoke lab.run</code> compares" in tab.fragment(view(observation()))
    monkeypatch.setitem(text._called, "by", text.WSGILAB)
    assert "<code>wsgilab run</code> compares" in tab.fragment(view(observation()))
