"""What the figures of a comparison show, and how they are drawn."""

import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import altair as alt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runs import compared
from wsgilab import testing
from wsgilab.analysis.compare import compare, survey
from wsgilab.model import (
    Action,
    Cell,
    Circumstances,
    Comparison,
    During,
    InFlight,
    Observation,
    RequestSpan,
    Scaling,
    Timeline,
)
from wsgilab.model.rounding import Interval
from wsgilab.report import tables
from wsgilab.report.charts import marks, svg, theme
from wsgilab.report.charts.cost import frontier
from wsgilab.report.charts.cost_ratio import MOST
from wsgilab.report.charts.figure import MOST_PANELS, MOST_ROWS, Figure, Panel, labels, slug
from wsgilab.report.charts.figures import figures
from wsgilab.report.charts.load import MOST_NAMED
from wsgilab.report.charts.timeline import MOST_BARS, MOST_REQUESTS, MOST_WORKERS, common_span, packed, timeline_of

BLOCKS = tuple(range(6))


@pytest.fixture(scope="module")
def recorded() -> Mapping[str, Figure]:
    """The figures of a real run, by name."""
    return {each.name: each for each in figures(compared())}


def measured(of: Cell, *blocks: int, memory: int | None = 56_000_000, **swarm: Any) -> list[Observation]:
    """With a response time that fits the users and the throughput."""
    rps = swarm.get("throughput_rps", 20.0)
    swarm.setdefault("latency_mean_ms", (of.users or 32) / rps * 1000)
    return [
        testing.observation(of, block=block, swarm=testing.trial_report(**swarm), resident_bytes=memory)
        for block in blocks or BLOCKS
    ]


def of(observations: Sequence[Observation], *servers: Any, **experiment: Any) -> Comparison:
    cells = tuple(dict.fromkeys(each.cell for each in observations))
    return compare(testing.run(testing.experiment(*cells, blocks=6, **experiment), *servers), observations)


def loads(*users: int, server: str = "one", **changes: Any) -> list[Observation]:
    return [
        each
        for count in users
        for each in measured(testing.cell(server, users=count, **changes), throughput_rps=20.0 + count)
    ]


def at(throughput: Mapping[Cell, float]) -> Comparison:
    """Of cells with such a throughput."""
    return of([each for cell, rps in throughput.items() for each in measured(cell, throughput_rps=rps)])


def figure(comparison: Comparison, name: str) -> Figure:
    return next(each for each in figures(comparison) if each.name == name)


def names(comparison: Comparison) -> list[str]:
    return [each.name for each in figures(comparison)]


def drawn(panel: Panel, mark: str, *fields: str) -> list[Any]:
    """What the layers with that mark show: the rows of their data, or of each row these fields."""
    made: dict[str, Any] = svg.specification(panel)
    layers = [layer for layer in made["layer"] if layer["mark"]["type"] == mark]
    rows = [row for layer in layers for row in made["datasets"][layer.get("data", made.get("data"))["name"]]]
    return [tuple(row[field] for field in fields) for row in rows] if fields else rows


def channel(panel: Panel, mark: str, name: str) -> dict[str, Any]:
    """How the last layer with that mark encodes its data, such as its `y`."""
    made: dict[str, Any] = svg.specification(panel)
    found: dict[str, Any] = [layer for layer in made["layer"] if layer["mark"]["type"] == mark][-1]["encoding"][name]
    return found


def titles(figure: Figure) -> list[str]:
    return [", ".join(panel.title) for panel in figure.panels]


# What latencies consist of.


def with_parts(*queues_ms: float, server: str = "one", **swarm: Any) -> list[Observation]:
    """A cell for each mean time in the queue, by users."""
    return [
        each
        for users, queue_ms in enumerate(queues_ms, start=1)
        for each in measured(
            testing.cell(server, users=users),
            latency_mean_ms=50 * users,
            parts=testing.latency_parts(connect=0.5, queue=queue_ms, service=50.0, back=2.0),
            **swarm,
        )
    ]


def test_the_parts_of_a_latency_are_bars_one_after_the_other_with_their_sum() -> None:
    found = figure(of(with_parts(0.0, 100.0) + measured(testing.cell("two", users=1))), "parts-sleep")

    # Much load first, and no row of a server whose parts were not measured.
    assert titles(found) == ["2 users, 1 core, connection: close", "1 users, 1 core, connection: close"]
    assert drawn(found.panels[0], "bar", "server", "part", "begin", "end") == [
        ("one", "connect", 0.0, 0.5),
        ("one", "queue", 0.5, 100.5),
        ("one", "service", 100.5, 150.5),
        ("one", "back", 150.5, 152.5),
    ]
    assert drawn(found.panels[0], "text", "server", "end", "text") == [("one", 152.5, "152")]
    assert [row[-5:] for row in found.table.rows] == [
        ("0.50", "0.00", "50.0", "2.00", "52.5"),
        ("0.50", "100", "50.0", "2.00", "152"),
    ]
    assert (found.section, found.workload) == ("load", "sleep")
    assert found.caption == tables.PARTS


def test_each_workload_has_its_parts_and_runs_that_did_not_measure_them_have_none() -> None:
    hello = testing.cell("one", workload="hello")
    of_hello = measured(hello, parts=testing.latency_parts())

    assert [name for name in names(of(with_parts(1.0) + of_hello)) if "parts" in name] == ["parts-hello", "parts-sleep"]
    assert not [name for name in names(of(loads(1, 2))) if "parts" in name]


def test_parts_that_must_not_be_compared_are_pale_and_panels_without_room_are_counted() -> None:
    spoilt = figure(of(with_parts(1.0) + with_parts(1.0, server="two", generator_cpu=0.9)), "parts-sleep")

    assert set(drawn(spoilt.panels[0], "bar", "server", "fill")) == {("one", 1), ("two", 0.35)}
    assert spoilt.caption.endswith("Pale: not to be compared, see the warnings.")
    many = figure(of(with_parts(*[1.0] * (MOST_PANELS + 2))), "parts-sleep")
    assert len(many.panels) == MOST_PANELS
    assert f"Not drawn for want of room: 2 of {MOST_PANELS + 2} panels; see the table below." in many.caption


# Which figures there are.


def test_where_nothing_is_compared_or_measured_there_is_no_figure() -> None:
    observations = measured(testing.cell("one"), 0, 1)
    run = testing.run(testing.experiment(testing.cell("one")))
    failed = testing.observation(testing.cell("one"), status="failed", swarm=None, reason="it ended")
    silent = measured(testing.cell("one"), latency_ms={}, latency_mean_ms=0.0, latency_histogram=testing.histogram())

    assert figures(survey(run, observations)) == ()
    assert figures(compare(run, observations))
    assert names(of([failed])) == []
    assert names(of(silent)) == ["answer", "throughput-sleep", "drift"]


def test_files_have_names_of_their_own_that_are_ours() -> None:
    cells = [testing.cell("one", workload=name) for name in ("../Über x", "../über-X", "hello")]
    plain = testing.experiment(testing.cell("one"), blocks=6)
    experiment = replace(plain, cells=tuple(cells), parameters={cell.workload: {} for cell in cells})
    found = figures(compare(testing.run(experiment), [each for cell in cells for each in measured(cell)]))

    stems = ("ber-x", "ber-x-2", "hello")
    assert [each.name for each in found if each.section == "load"] == [
        f"{what}-{stem}" for stem in stems for what in ("throughput", "latency")
    ]
    assert all(re.fullmatch("[a-z0-9-]+", each.name) for each in found)


@given(st.text())
def test_a_slug_is_safe_in_a_file_name(text: str) -> None:
    assert re.fullmatch("[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", slug(text))


@given(st.lists(st.text(max_size=60), unique_by=lambda name: name))
def test_labels_print_on_one_line_and_stay_apart(servers: list[str]) -> None:
    shown = labels(servers)

    assert list(shown) == servers
    assert len(set(shown.values())) == len(servers)
    assert all(label.isprintable() for label in shown.values())
    assert list(labels(["a b", "a\nb"]).values()) == ["#1 a b", "#2 a b"]


# The answer.


def column(panel: Panel, at: int, *, wide: bool = False) -> dict[str, Any]:
    """One of the plots of the answer, below or beside each other."""
    made: dict[str, Any] = svg.specification(panel, theme.PAGE if wide else theme.WIDTH)
    plots = made["hconcat"] if wide else made["vconcat"]
    assert wide or len(plots) <= 2, "on a phone, of one workload alone"
    return {**plots[at], "datasets": made["datasets"]}


def rows_of(plot: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    layers = [layer for layer in plot["layer"] if layer["mark"]["type"] == mark]
    return [row for layer in layers for row in plot["datasets"][layer["data"]["name"]]]


def test_the_answer_shows_peak_and_mean_against_slots_and_throughput_beside_that(
    recorded: Mapping[str, Figure],
) -> None:
    (panel,) = recorded["answer"].panels
    plot = column(panel, 0)
    texts = {row["server"]: row["text"] for row in rows_of(plot, "text")}
    ends = {row["server"]: row["end"] for row in rows_of(plot, "bar")}
    low, high = plot["layer"][-1]["encoding"]["x"]["scale"]["domain"]

    assert texts["gunicorn-gthread-2x4"] == "8 of 8"
    assert texts["gunicorn-gevent"] == "32 of ∞"
    assert ends["gunicorn-sync-4"] == 4
    assert ends["gunicorn-gevent"] == pytest.approx(high)
    peak, mean = (row for row in rows_of(plot, "point") if row["server"] == "gunicorn-gevent")
    assert (peak["series"], peak["value"], mean["series"]) == ("peak", 32, "mean")
    assert mean["value"] == pytest.approx(30.8, abs=0.05)
    assert mean["low"] <= mean["value"] <= mean["high"]
    assert low == 0
    assert high > 32
    said = {row["server"]: row["says"].splitlines() for row in rows_of(plot, "rect")}
    assert said["gunicorn-sync-4"][:3] == ["gunicorn-sync-4", "declares 4 slots", "in flight: 4 at most"]
    rps = {row["server"]: row["text"] for row in rows_of(column(panel, 1), "text")}
    assert rps["gunicorn-gevent"] == "598"
    # There is room for slots that were never filled.
    (panel,) = figure(of(measured(testing.cell("one")), testing.server("one", slots=64)), "answer").panels
    assert column(panel, 0)["layer"][-1]["encoding"]["x"]["scale"]["domain"][1] >= 64


def test_on_a_desk_the_answer_has_the_throughput_for_other_workloads_in_the_same_rows(
    recorded: Mapping[str, Figure],
) -> None:
    (panel,) = recorded["answer"].panels
    plots = [column(panel, at, wide=True) for at in range(3)]
    rows = [plot["layer"][0]["encoding"]["y"]["scale"]["domain"] for plot in plots]

    assert [plot["title"]["text"] for plot in plots] == [
        "in flight: sleep 50 ms",
        "sleep 50 ms, 32 users",
        "cpu 2 ms, 32 users",
    ]
    assert rows[0] == rows[1] == rows[2]
    assert {row["server"] for row in rows_of(plots[2], "point")} <= set(rows[0])
    assert len({plot["width"] for plot in plots}) == 1
    assert re.match(rf'<svg [^>]*width="{theme.PAGE}"', svg.draw(panel, theme.PAGE))


def test_where_nothing_waits_the_answer_is_of_the_conditions_with_most_servers() -> None:
    cells = [testing.cell(name, workload="hello") for name in ("one", "two")]
    found = figure(of([each for cell in cells for each in measured(cell)]), "answer")

    assert found.table.title == "Requests in flight and throughput (hello, 32 users, 1 core, connection: close)"
    assert [row["server"] for row in rows_of(column(found.panels[0], 1), "text")] == ["one", "two"]


def test_long_names_on_a_phone_lose_their_middle_unless_they_would_look_alike() -> None:
    def names(*servers: str) -> list[str]:
        found = figure(of([each for name in servers for each in measured(testing.cell(name))]), "answer")
        return [row["server"] for row in rows_of(column(found.panels[0], 1), "text")]

    assert names("gunicorn-gthread-4-freethreaded-gil", "one") == [
        "gunicorn-gt…readed-gil"[:11] + "…" + "hreaded-gil",
        "one",
    ]
    alike = [f"gunicorn-gth{at}read-4-freethreaded" for at in range(2)]
    assert names(*alike) == alike


def test_servers_beyond_what_there_is_room_for_are_counted() -> None:
    cells = [testing.cell(f"server-{number}") for number in range(MOST_ROWS + 3)]
    comparison = of([each for cell in cells for each in measured(cell, 0)])
    found = figure(comparison, "answer")

    assert len(rows_of(column(found.panels[0], 1), "text")) == MOST_ROWS
    assert f"Not drawn for want of room: 3 of {MOST_ROWS + 3} servers" in found.caption
    assert len(found.table.rows) == MOST_ROWS + 3
    assert f"({MOST_ROWS} of {MOST_ROWS + 3} servers)" in titles(figure(comparison, "throughput-sleep"))[0]


# Throughput and latency.


def test_a_server_with_several_loads_is_a_line_and_others_are_dots() -> None:
    lines, dots = figure(of([*loads(4, 32), *loads(8, server="two")]), "throughput-sleep").panels
    _, beside = figure(of([*loads(4, 32), *loads(32, server="two")]), "throughput-sleep").panels

    assert drawn(lines, "point", "server", "x", "value") == [("one", 4, 24), ("one", 32, 52)]
    assert channel(lines, "point", "x")["axis"]["values"] == [4, 32]
    assert channel(lines, "point", "y")["scale"]["domain"][0] == 0
    assert drawn(dots, "point", "server") == [("two",)]
    assert dots.title == ("8 users", "1 core, connection: close")
    assert drawn(beside, "point", "server") == [("one",), ("two",)], "every server under the same conditions"


def test_cores_connections_and_percentiles_have_panels_of_their_own(recorded: Mapping[str, Figure]) -> None:
    observations = [*loads(4, 32), *loads(4, 32, cores=2), *loads(4, 32, connection="keep-alive")]
    places = ("1 core, connection: close", "2 cores, connection: close", "1 core, connection: keep-alive")

    assert titles(figure(of(observations), "throughput-sleep")) == [f"throughput by users, {where}" for where in places]
    assert titles(recorded["latency-sleep"]) == [
        *(f"{name} by users, 1 core, connection: close" for name in ("p50", "p95", "p99")),
        "32 users, 1 core, connection: keep-alive",
    ]


def test_latencies_have_their_intervals_on_a_logarithmic_axis() -> None:
    latencies = [{"p50": 50.0 + block, "p95": 90.0, "p99": 100.0, "max": 1000.0} for block in BLOCKS]
    swarms = [testing.trial_report(latency_ms=each) for each in latencies]
    observations = [
        testing.observation(testing.cell("one"), block=block, swarm=swarm) for block, swarm in enumerate(swarms)
    ]
    found = figure(of(observations), "latency-sleep")
    (panel,) = found.panels
    scale = channel(panel, "point", "x")["scale"]

    assert drawn(panel, "rule", "series", "value", "low", "high") == [
        ("p50", 52.5, 50, 55),
        ("p95", 90, 90, 90),
        ("p99", 100, 100, 100),
    ]
    assert scale["type"] == "log"
    assert 0 < scale["domain"][0] < 50
    assert "does not begin at 0" in found.caption


def test_at_rates_throughput_is_held_against_what_was_asked_for() -> None:
    cells = {rate: testing.cell("one", users=None, rate=rate, arrivals="poisson") for rate in (20.0, 80.0)}
    observations = [each for rate, cell in cells.items() for each in measured(cell, throughput_rps=rate * 0.9)]
    found = figure(of(observations), "throughput-sleep")
    (panel,) = found.panels

    assert [row for row in drawn(panel, "line", "x", "value") if row[0] == row[1]] == [(20, 20), (80, 80)]
    assert channel(panel, "point", "y")["scale"]["domain"][1] > 80
    assert titles(found) == ["throughput by rate, 1 core, connection: close, poisson arrivals"]
    assert "the dashed line is what was asked for" in found.caption
    latency = figure(of(observations), "latency-sleep").panels[0]
    assert {row["server"] for row in drawn(latency, "line")} == {"one"}


def test_of_many_lines_the_reference_and_the_best_have_names() -> None:
    numbers = range(MOST_NAMED + 4)
    cells = {testing.cell(f"s{at}", users=users): 100.0 + 50 * at for at in numbers for users in (4, 32)}
    found = figure(at(cells), "throughput-sleep")
    (panel,) = found.panels

    named = [*(f"s{number}" for number in reversed(numbers[5:])), "s0"]
    assert channel(panel, "point", "stroke")["legend"]["values"] == named, "from the top of the chart down"
    assert {row["server"] for row in drawn(panel, "point")} == set(named)
    assert {row["server"] for row in drawn(panel, "line")} == {f"s{number}" for number in numbers}
    assert "the 4 other servers are grey" in found.caption
    assert len(found.table.rows) == 2 * (MOST_NAMED + 4)


def test_panels_beyond_what_there_is_room_for_are_counted() -> None:
    observations = [each for cores in range(1, MOST_PANELS + 3) for each in loads(4, cores=cores)]
    found = figure(of(observations), "throughput-sleep")

    assert len(found.panels) == MOST_PANELS
    assert f"Not drawn for want of room: 2 of {MOST_PANELS + 2} panels; see the tables." in found.caption
    assert "Not drawn" not in figure(of(loads(4)), "throughput-sleep").caption


def test_what_must_not_be_compared_is_hollow() -> None:
    found = figure(of([*loads(32), *measured(testing.cell("two"), generator_cpu=0.9)]), "throughput-sleep")

    assert drawn(found.panels[0], "point", "server", "fill") == [("one", 1), ("two", 0)]
    assert svg.draw(found.panels[0]).count('fill-opacity="0"') == 1
    assert "Hollow: not to be compared" in found.caption
    assert "Hollow" not in figure(of(loads(32)), "throughput-sleep").caption


# Who ran when.


@pytest.mark.parametrize(
    ("workload", "server", "rows", "shown"),
    [
        ("sleep", "gunicorn-sync-1", 1, ["process 1"]),
        ("sleep", "gunicorn-sync-4", 4, [f"process {number}" for number in range(1, 5)]),
        (
            "sleep",
            "gunicorn-gthread-2x4",
            8,
            [f"process {process}, thread {thread}" for process in (1, 2) for thread in range(1, 5)],
        ),
        ("sleep", "flask-processes-3", 3, ["12 processes, 3 at once"]),
        ("sleep", "flask-threaded", 32, ["process 1: 160 threads"]),
        ("sleep", "gunicorn-gevent", 32, ["process 1: 110 coroutines"]),
        ("cpu", "gunicorn-gevent", 1, ["process 1: 86 coroutines"]),
        ("cpu", "flask-threaded", 1, ["process 1: 136 threads"]),
    ],
)
def test_rows_are_what_runs_at_once(
    recorded: Mapping[str, Figure], workload: str, server: str, rows: int, shown: list[str]
) -> None:
    panel = next(each for each in recorded[f"timeline-{workload}"].panels if each.title[0] == server)
    labels_of = [label for (label,) in drawn(panel, "text", "label")]

    assert len(labels_of) == rows
    assert [label for label in labels_of if label] == shown


def timed(server: str, *requests: RequestSpan, span_us: int = 100_000, **changes: Any) -> list[Observation]:
    timeline = Timeline(span_us=span_us, stays=requests)
    return measured(testing.cell(server, **changes), 0, 1, timeline=timeline)


def request(entered_ms: float, left_ms: float, process: int = 0, thread: int = 0, lane: int = 0) -> RequestSpan:
    return RequestSpan(process, thread, lane, round(entered_ms * 1000), round(left_ms * 1000))


def acted(
    server: str, do: Action, acted_ms: int | None, *requests: RequestSpan, span_ms: int = 100
) -> list[Observation]:
    """A cell in which something was done so long after its timeline's begin; None: it is not known when."""
    timeline = Timeline(span_us=span_ms * 1000, stays=requests, acted_us=None if acted_ms is None else acted_ms * 1000)
    cell = testing.cell(server, circumstances=Circumstances(during=During(at_s=0.1, do=do)))
    return measured(cell, 0, 1, timeline=timeline)


def test_what_was_done_to_servers_has_a_figure_of_its_own_with_a_named_line_from_which_times_count() -> None:
    comparison = of(
        [
            *timed("one", request(0, 50)),
            *acted("one", "reload", 40, request(-5, 35), request(20, 45), request(70, 95, process=1)),
            *acted("two", "kill-worker", 30, request(0, 20), request(80, 120), span_ms=120),
        ],
        *(testing.server(name) for name in ("one", "two")),
    )
    usual, around = (figure(comparison, name) for name in ("timeline-sleep", "timeline-sleep-during"))

    assert titles(usual) == ["one"]
    assert "after" not in usual.caption
    assert around.title == "Who ran when, around the kill of a worker and a reload: sleep 50 ms"
    assert "All panels show 30 ms before and 60 ms after it, of the first measured block" in around.caption
    assert titles(around) == ["two", "one, 32 users, 1 core, reload after 0.1 s, connection: close"]
    killed, reloaded = around.panels
    assert drawn(reloaded, "rect", "begin", "end") == [(-30, -5), (-20, 5), (30, 55)]
    assert drawn(killed, "rect", "begin", "end") == [(-30, -10), (50, 60)]
    assert [row[2:] for row in around.table.rows if row[0] == "one"] == [
        ("process 1", "2", "-30.0 to -5.0, -20.0 to 5.0"),
        ("process 2", "1", "30.0 to 55.0"),
    ]
    for panel, do in zip(around.panels, ("kill-worker", "reload"), strict=True):
        (line,) = [row for row in drawn(panel, "rule") if "deed" in row]
        assert (line["at"], line["top"], line["deed"]) == (0, 0, do)
        assert line["bottom"] >= max(row["bottom"] for row in drawn(panel, "rect"))
        assert min(row["top"] for row in drawn(panel, "rect")) > line["middle"], "its name is above the bars"
        assert f">{do}</text>" in svg.draw(panel)


def test_where_it_is_not_known_when_something_was_done_the_end_of_the_window_is_shown_as_of_others() -> None:
    comparison = of(acted("one", "reload", None, request(0, 50)), testing.server("one"))

    assert [name for name in names(comparison) if "timeline" in name] == ["timeline-sleep"]
    (panel,) = figure(comparison, "timeline-sleep").panels
    assert [row for row in drawn(panel, "rule") if "deed" in row] == []


def test_one_cell_alone_is_drawn_around_what_was_done_to_its_server() -> None:
    comparison = of([*timed("one", request(0, 50)), *acted("one", "stop", 40, request(0, 35))], testing.server("one"))
    plain, stopped = (timeline_of(comparison, each.cell, "report-x") for each in comparison.cells)

    assert plain is not None
    assert stopped is not None
    assert (plain.name, stopped.name) == ("report-x", "report-x")
    assert (plain.title, stopped.title) == ("Who ran when: sleep 50 ms", "Who ran when, around a stop: sleep 50 ms")


def test_processes_that_did_nothing_are_shown_as_idle() -> None:
    comparison = of(timed("one", request(0, 50), request(10, 60, process=1)), testing.server("one", processes=4))
    (panel,) = figure(comparison, "timeline-sleep").panels

    shown = [label for (label,) in drawn(panel, "text", "label")]
    assert shown == ["process 1", "process 2", "process 3: idle", "process 4: idle"]
    assert len(drawn(panel, "rect")) == 2


def test_a_server_without_processes_that_served_nothing_has_an_empty_row() -> None:
    comparison = of([*timed("one"), *timed("two", request(0, 50))], *(testing.server(name) for name in ("one", "two")))
    servers = {name: replace(server, processes=None) for name, server in comparison.run.servers.items()}
    found = figure(replace(comparison, run=replace(comparison.run, servers=servers)), "timeline-sleep")

    assert drawn(found.panels[0], "text", "label") == [("0 processes, 0 at once",)]
    assert drawn(found.panels[0], "rect") == []
    assert svg.draw(found.panels[0]).startswith("<svg")


def test_what_began_before_the_picture_or_ended_after_it_is_cut() -> None:
    (panel,) = figure(of(timed("one", request(-30, 50), request(60, 140))), "timeline-sleep").panels

    assert drawn(panel, "rect", "begin", "end") == [(0, 50), (60, 100)]


def test_a_server_is_shown_under_the_conditions_that_most_share_and_once() -> None:
    cells: list[tuple[str, dict[str, Any]]] = [
        ("one", {"users": 4}),
        ("two", {"users": 4}),
        ("two", {}),
        ("three", {"connection": "keep-alive"}),
    ]
    found = figure(
        of([each for server, changes in cells for each in timed(server, request(0, 50), **changes)]), "timeline-sleep"
    )

    assert titles(found) == ["one", "two", "three, 32 users, 1 core, connection: keep-alive"]
    assert "with 4 users, 1 core, connection: close, unless a panel says otherwise." in found.caption


def test_many_threads_share_a_label() -> None:
    crowd = [request(0, 50, process=process, thread=thread) for process in range(2) for thread in range(8)]
    comparison = of(timed("one", *crowd), testing.server("one", slots=16, processes=2))
    (panel,) = figure(comparison, "timeline-sleep").panels

    shown = [label for (label,) in drawn(panel, "text", "label")]
    assert shown == ["process 1: 8 threads", *[""] * 7, "process 2: 8 threads", *[""] * 7]


def test_the_common_span_is_as_long_as_the_shortest_and_as_the_most_bars_allow() -> None:
    few = of(timed("one", request(0, 50), span_us=80_000)).cells
    crowd = [request(at / 10, at / 10 + 0.1) for at in range(1000)]

    assert common_span(few) == 80_000
    span_us = common_span([*few, *of(timed("two", *crowd)).cells])
    assert len([each for each in crowd if each.left_us > 100_000 - span_us]) == MOST_BARS


def test_rows_beyond_what_there_is_room_for_are_told() -> None:
    crowd = [request(0, 50, thread=number) for number in range(MOST_WORKERS + 5)]
    found = figure(of(timed("one", *crowd)), "timeline-sleep")

    assert len(drawn(found.panels[0], "rect")) == len(drawn(found.panels[0], "text")) == MOST_WORKERS
    assert f"{MOST_WORKERS} rows at most are drawn" in found.caption
    assert len(found.table.rows) == MOST_WORKERS + 5
    assert "are looked at" not in found.caption


@pytest.mark.parametrize("left_ms", [50, 100, 400])
def test_many_that_leave_together_or_stay_to_the_end_do_not_make_the_picture_empty(left_ms: int) -> None:
    together = [request(0, left_ms, thread=number) for number in range(MOST_BARS + 5)]

    span_us = common_span(of(timed("one", *together)).cells)

    assert len([each for each in together if each.left_us > 100_000 - span_us]) == MOST_BARS + 5
    # What left together is in sight for no longer than it takes to leave; what is there to the end, all along.
    assert span_us == (100_000 if left_ms > 100 else 100_000 - left_ms * 1000 + 1)


def test_of_a_multitude_that_is_inside_at_once_the_first_are_looked_at() -> None:
    multitude = [request(0, 50, thread=number) for number in range(MOST_REQUESTS + 5)]
    found = figure(of(timed("one", *multitude)), "timeline-sleep")

    assert len(found.table.rows) == MOST_REQUESTS
    assert f"Only the first {MOST_REQUESTS:,} requests of a server are looked at" in found.caption


REQUESTS = st.lists(
    st.builds(
        lambda thread, entered, length: RequestSpan(0, thread, 0, entered, entered + length),
        st.integers(0, 5),
        st.integers(0, 50),
        st.integers(1, 20),
    ),
    max_size=30,
    unique=True,
)


@given(REQUESTS)
def test_requests_are_packed_into_as_few_rows_as_overlap_at_once(requests: list[RequestSpan]) -> None:
    rows = packed(requests, lambda each: each)
    peak = max((sum(one.entered_us <= at < one.left_us for one in requests) for at in range(71)), default=0)

    assert len(rows) == peak
    assert sorted(each for row in rows for each in row) == sorted(requests)
    for row in rows:
        assert all(one.left_us <= two.entered_us for one, two in itertools.pairwise(row))


@given(REQUESTS)
def test_requests_of_a_key_share_a_row_and_no_other_key_comes_between(requests: list[RequestSpan]) -> None:
    rows = packed(requests, lambda each: each.thread)
    for row in rows:
        threads = [each.thread for each in row]
        assert threads == [thread for thread in dict.fromkeys(threads) for _ in range(threads.count(thread))]
    assert all(sum(any(each.thread == thread for each in row) for row in rows) <= 1 for thread in range(6))


# Balance, scaling, cost and drift.

SHARED = InFlight(peak=2, mean=1.9, threads=2, requests_per_process=(6, 2))


def test_balance_is_of_servers_with_several_processes() -> None:
    observations = [*loads(32), *measured(testing.cell("two"), in_flight=SHARED)]
    found = figure(of(observations, testing.server("one"), testing.server("two", slots=2, processes=2)), "balance")
    (panel,) = found.panels

    assert drawn(panel, "bar", "server", "begin", "end", "text") == [
        ("two", 0, 0.75, "75%"),
        ("two", 0.75, 1, "25%"),
    ]
    assert drawn(panel, "tick", "server", "even") == [("two", 0.5)]
    assert found.table.rows == (("two", "sleep 50 ms, 32 users, 1 core, connection: close", "2", "50%", "75%, 25%"),)
    assert "balance" not in names(of(loads(32)))


def test_of_many_conditions_every_workload_has_its_balance() -> None:
    cells = [testing.cell("two", users=users) for users in range(1, 20)] + [testing.cell("two", workload="cpu")]
    observations = [each for cell in cells for each in measured(cell, 0, in_flight=SHARED)]
    found = figure(of(observations, testing.server("two", slots=2, processes=2)), "balance")

    assert len(found.panels) == MOST_PANELS
    assert any(title.startswith("cpu") for title in titles(found))
    assert "8 of 20 panels; see the table below" in found.caption
    assert len(found.table.rows) == 20


def test_scaling_is_held_against_the_ideal() -> None:
    cells = {testing.cell("one", cores=cores): rps for cores, rps in ((1, 20.0), (2, 38.0), (4, 60.0))}
    found = figure(at(cells), "scaling")
    (panel,) = found.panels
    low, high = channel(panel, "point", "y")["scale"]["domain"]

    assert drawn(panel, "point", "x", "value") == [(1, 1), (2, 1.9), (4, 3)]
    assert drawn(panel, "line", "x", "value")[:2] == [(1, 1), (4, 4)]
    assert low == 0
    assert high > 4
    assert [row[4:7] + row[8:] for row in found.table.rows] == [("2", "1", "1.90", "2.00"), ("4", "1", "3.00", "4.00")]


def test_scaling_from_other_numbers_of_cores_has_a_panel_of_its_own() -> None:
    comparison, ratio = of(loads(32)), Interval(median=2.0, low=None, high=None)
    cell = testing.cell("one", cores=4)
    both = tuple(Scaling(cell=cell, over_cores=fewest, blocks=6, ratio=ratio) for fewest in (1, 2))

    panels = figure(replace(comparison, scaling=both), "scaling").panels

    assert [drawn(panel, "line", "x", "value")[1] for panel in panels] == [(4, 4), (4, 2)]
    assert "scaling" not in names(comparison)


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([], []),
        ([(10.0, 1.0)], [0]),
        ([(10.0, 1.0), (20.0, 2.0)], [0, 1]),
        ([(10.0, 2.0), (20.0, 1.0)], [1]),
        ([(10.0, 1.0), (10.0, 1.0)], [0, 1]),
        ([(10.0, 1.0), (10.0, 2.0)], [0]),
        ([(10.0, 1.0), (20.0, 1.0)], [1]),
        ([(30.0, 5.0), (20.0, 5.0), (10.0, 1.0), (10.0, 1.0), (5.0, 1.0)], [0, 2, 3]),
    ],
)
def test_the_frontier_is_what_no_other_beats_in_both(points: list[tuple[float, float]], best: list[int]) -> None:
    assert [index for index, on_it in enumerate(frontier(points)) if on_it] == best


def test_cost_shows_what_may_be_compared_under_the_most_users() -> None:
    constant: dict[str, Any] = {"users": None, "rate": 20.0, "arrivals": "constant"}
    observations = [
        *measured(testing.cell("one"), throughput_rps=100.0),
        *measured(testing.cell("two"), throughput_rps=200.0, memory=100_000_000),
        *measured(testing.cell("three"), throughput_rps=50.0, memory=70_000_000),
        *measured(testing.cell("broken"), throughput_rps=900.0, generator_cpu=0.9),
        *(each for server in ("one", "two") for each in measured(testing.cell(server, users=4))),
        *(each for server in ("one", "two") for each in measured(testing.cell(server, **constant))),
    ]
    found = figure(of(observations), "cost")
    cpu, memory = found.panels

    assert titles(found)[0] == "CPU time: sleep 50 ms, 32 users, 1 core, connection: close"
    assert drawn(memory, "point", "server", "rps", "cost") == [("one", 100, 56), ("two", 200, 100), ("three", 50, 70)]
    assert drawn(memory, "line", "server") == [("one",), ("two",)]
    assert drawn(cpu, "line", "server") == [("two",)]
    assert channel(memory, "point", "y")["scale"]["domain"][0] == 0
    assert [(row[0], row[-1]) for row in found.table.rows] == [("one", "yes"), ("two", "yes"), ("three", "no")]


def test_of_memory_that_was_not_read_there_is_no_panel_and_without_a_choice_no_cost() -> None:
    found = figure(of([*measured(testing.cell("one")), *measured(testing.cell("two"), memory=None)]), "cost")
    (cpu,) = found.panels

    assert channel(cpu, "point", "y")["axis"]["title"] == "CPU ms a request"
    assert [row[-2:] for row in found.table.rows] == [("56", "yes"), ("–", "–")]
    cells = [testing.cell(name, users=None, rate=20.0, arrivals="constant") for name in ("one", "two")]
    assert "cost" not in names(of(loads(32)))
    assert "cost" not in names(of([each for cell in cells for each in measured(cell)])), "throughput is given"


def test_of_many_servers_those_on_the_frontier_and_the_reference_have_names() -> None:
    cells = {testing.cell(f"s{number}"): 100.0 + number for number in range(20)}
    found = figure(at(cells), "cost")

    assert sorted(channel(found.panels[0], "point", "stroke")["legend"]["values"]) == ["s0", "s19"]
    assert "18 of 20 without a name; see the table" in titles(found)[0]


def costing(server: str, cpu_ms: float, others: float = 0.0) -> list[Observation]:
    """A request takes so much CPU time, while others have such a share of the server's core."""
    used = 20.0 * cpu_ms / 1000
    swarm = testing.trial_report(server_busy=used + others, generator_others=0.0)
    return [
        testing.observation(testing.cell(server), block=block, swarm=swarm, server_cpu_s=used * 0.3) for block in BLOCKS
    ]


def test_cost_over_the_references_is_shown_where_it_decides_something_or_others_were_there() -> None:
    found = figure(of(costing("one", 10.0) + costing("two", 12.0) + costing("three", 10.02)), "cost-ratio")
    (panel,) = found.panels

    assert drawn(panel, "point", "server", "value", "fill") == [("two", 1.2, 1), ("three", 1.002, 0)]
    assert drawn(panel, "bar", "server", "end") == [("two", 1.01), ("three", 1.01)]
    assert [row[0:1] + row[2:] for row in found.table.rows] == [
        ("two", "1.20", "1.20 to 1.20", "more", "1.0%", "6"),
        ("three", "1.00", "1.00 to 1.00", "undecided", "1.0%", "6"),
    ]
    alike = costing("one", 10.0), costing("two", 10.02)
    assert "cost-ratio" not in names(of([*alike[0], *alike[1]]))
    beside = of(costing("one", 10.0, 0.25) + costing("two", 10.02, 0.5))
    assert drawn(figure(beside, "cost-ratio").panels[0], "bar", "end") == [(1.16,)], (
        "others had more of one than of the other"
    )


def test_a_cost_by_windows_with_both_at_once_is_shown_as_that() -> None:
    alike = of(costing("one", 10.0) + costing("two", 10.02))
    (pair,) = alike.pairs
    assert pair.cost is not None
    cost = replace(pair.cost, blocks=5, duet=True, because="by 5 windows with both at once")
    found = figure(replace(alike, pairs=(replace(pair, cost=cost),)), "cost-ratio")

    assert [row[-1] for row in found.table.rows] == ["5 windows with both at once"]


def test_an_interval_without_end_is_cut_where_the_axis_of_costs_ends() -> None:
    wild = [costing("two", 5.0 * 4 ** ((-1) ** block), 0.5)[block] for block in BLOCKS]
    (panel,) = figure(of(costing("one", 5.0, 0.5) + wild), "cost-ratio").panels
    low, high = channel(panel, "point", "x")["scale"]["domain"]
    ((begin, end),) = drawn(panel, "point", "low", "high")

    assert (low, high) == (pytest.approx(1 / high), pytest.approx(MOST * 1.02))
    assert (begin, end) == pytest.approx((low, high)), "to the edges"


def test_drift_shows_each_block_about_1_and_says_that_the_axis_does_not_begin_at_0() -> None:
    swarms = [testing.trial_report(throughput_rps=20.0 if block else 10.0) for block in BLOCKS]
    observations = [
        testing.observation(testing.cell("one"), block=block, swarm=swarm) for block, swarm in enumerate(swarms)
    ]
    found = figure(of(observations), "drift")
    throughput, cpu = found.panels
    low, high = channel(throughput, "area", "y")["scale"]["domain"]

    assert drawn(throughput, "area", "x", "value") == [(1, 0.5), *((block, 1) for block in range(2, 7))]
    assert drawn(throughput, "line", "x", "value")[:2] == [(1, 1), (6, 1)]
    assert drawn(cpu, "area", "value")[0] == (2,)
    assert low < 0.5
    assert high >= 1.1
    assert "The axes do not begin at 0." in found.caption
    assert "drift" not in names(of(measured(testing.cell("one"), 0)))
    unread = [replace(each, server_cpu_s=None) for each in loads(32)]
    assert titles(figure(of(unread), "drift")) == ["Throughput of each block"]


# How they are drawn.


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.1 (relative luminance of sRGB)."""

    def luminance(colour: str) -> float:
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_are_told_from_white_and_from_near_black() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for paper in theme.PAPER:
        for colour in theme.COLOURS:
            assert contrast(colour, paper) >= 3, (colour, paper)


def test_no_two_of_many_servers_look_alike() -> None:
    servers = {f"s{number}": number for number in range(105)}
    lines = [marks.Line(name=name, style=at, points={1.0: marks.point(INTERVAL)}) for name, at in servers.items()]
    made = marks.lines(lines, AXIS, AXIS).to_dict()["layer"]
    stroke, dash = (made[-2]["encoding"][name]["scale"] for name in ("stroke", "strokeDash"))
    shape = made[-1]["encoding"]["shape"]["scale"]
    looks = [
        tuple(str(scale["range"][scale["domain"].index(name)]) for scale in (stroke, dash, shape)) for name in servers
    ]

    assert len(set(looks)) == 105
    assert all(a != b for one, two in itertools.pairwise(looks) for a, b in zip(one, two, strict=True))


INTERVAL = Interval(median=1.0, low=0.5, high=1.5)
AXIS = theme.NumberAxis(title="x", low=1.0, high=10.0, log=True)


def test_lines_at_the_same_place_lie_side_by_side_and_never_reach_the_next_place() -> None:
    points = {float(x): marks.point(INTERVAL) for x in range(1, 11)}
    lines = [marks.Line(name=f"s{at}", style=at, points=points) for at in range(8)]
    panel = Panel(title=("t",), chart=lambda: marks.lines(lines, AXIS, AXIS))
    rows = drawn(panel, "point", "server", "x")
    places = [[x for server, x in rows if server == f"s{at}"] for at in range(8)]

    assert all(len({places[at][x] for at in range(8)}) == 8 for x in range(10))
    assert all(places[7][x] < places[0][x + 1] for x in range(9))


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.5), (16.2, 25.4), (40.0, 2000.0), (30.0, 220.0), (0.01, 90_000.0)])
def test_a_logarithmic_axis_has_ticks_to_read_by(low: float, high: float) -> None:
    ticks = theme.log_ticks(low, high)

    assert 3 <= len(ticks) <= 12
    assert all(low <= tick <= high for tick in ticks)


@pytest.mark.parametrize(
    "name", ["throughput-sleep", "latency-cpu", "timeline-cpu", "balance", "scaling", "cost", "drift"]
)
def test_every_chart_is_one_that_altair_knows_and_fits_into_its_panel(
    recorded: Mapping[str, Figure], name: str
) -> None:
    """Drawing leaves Altair's checks out; here they are on."""
    panel = recorded[name].panels[-1]

    panel.chart().to_dict(validate=True)
    assert re.match(rf'<svg [^>]*width="{theme.WIDTH}"', svg.draw(panel))


def test_the_answer_is_one_that_altair_knows_and_fits(recorded: Mapping[str, Figure]) -> None:
    (panel,) = recorded["answer"].panels
    assert panel.wide is not None
    for make, width in ((panel.chart, theme.WIDTH), (panel.wide, theme.PAGE)):
        make().to_dict(validate=True)
        assert re.match(rf'<svg [^>]*width="{width}"', svg.draw(panel, width))


def test_every_point_says_its_figures_on_hover_or_focus_and_lies_over_all_others(
    recorded: Mapping[str, Figure],
) -> None:
    for name in ("throughput-sleep", "latency-cpu", "balance", "scaling", "cost", "drift"):
        panel = recorded[name].panels[0]
        shown = svg.draw(panel)
        said = re.findall(r'<g class="says" tabindex="-1">.*?</g></g>', shown)
        rows = drawn(panel, "point") or drawn(panel, "bar")
        assert len(said) >= len({json.dumps(row.get("server", row.get("x"))) for row in rows}) > 0
        assert shown.endswith(f"{''.join(said)}</g></svg>"), name
        assert "aria-label" not in shown
    (answer,) = recorded["answer"].panels
    assert svg.draw(answer).count(svg.FOCUSABLE) == len(recorded["answer"].table.rows), "one for each row"
    requests = svg.draw(recorded["timeline-sleep"].panels[0])
    assert re.search(r"><title>[\d.]+ to [\d.]+ ms</title></path>", requests)


def test_what_a_mark_says_lies_within_its_drawing() -> None:
    long = testing.cell("a-server-with-a-name-that-is-far-too-long-for-any-chart", users=4)
    (panel, *_) = figure(of(measured(long) + loads(4, 32)), "throughput-sleep").panels
    for left, width in re.findall(
        r'class="tip" transform="translate\(([\d.]+),[\d.]+\)"><path d="M0,0h(\d+)', svg.draw(panel)
    ):
        assert 0 <= float(left) <= float(left) + float(width) <= theme.WIDTH + 1


def test_the_look_of_all_charts_is_one_that_vega_lite_knows(recorded: Mapping[str, Figure]) -> None:
    made = svg.specification(recorded["balance"].panels[0])

    alt.LayerChart.from_dict(json.loads(json.dumps(made)))


def test_a_file_is_an_image_of_its_own_on_white_with_every_panel(recorded: Mapping[str, Figure]) -> None:
    found = recorded["balance"]
    content = svg.as_file(found, [svg.draw(panel) for panel in found.panels])
    root = ET.fromstring(content)
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{space}text")]
    title, backdrop = root.find(f"{space}title"), root.find(f"{space}rect")

    assert root.attrib["role"] == "img"
    assert title is not None
    assert title.text == found.title
    assert backdrop is not None
    assert backdrop.attrib["fill"] == "#ffffff"
    assert root.attrib["color"] != "#ffffff"
    assert all(line in texts for panel in found.panels for line in panel.title)
    assert b"href" not in content
