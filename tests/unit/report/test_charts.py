"""What the figures of a comparison show, and how they are drawn."""

import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgilab import testing
from wsgilab.analysis.compare import compare, survey
from wsgilab.model import Cell, Comparison, InFlight, Observation, RequestSpan, Scaling, Timeline
from wsgilab.model.comparison import Interval
from wsgilab.report import charts
from wsgilab.report.charts import style
from wsgilab.report.charts.svg import Drawn, specification
from wsgilab.report.figures import Figure, Panel, figures
from wsgilab.report.figures.cost import frontier
from wsgilab.report.figures.load import MOST_LABELLED
from wsgilab.report.figures.timeline import MOST_BARS, MOST_REQUESTS, MOST_WORKERS, common_span, packed
from wsgilab.report.figures.values import (
    LONGEST_NAME,
    MOST_PANELS,
    MOST_ROWS,
    Axis,
    Gantt,
    Line,
    Lines,
    Mark,
    Rows,
    Scatter,
    Stacks,
    short,
    slug,
)
from wsgilab.results.store import Store

RECORDED = Path(__file__).resolve().parents[2] / "recorded" / "answer"
BLOCKS = tuple(range(6))


@pytest.fixture(scope="module")
def recorded() -> Mapping[str, Figure]:
    """The figures of a real run, by name."""
    store = Store(RECORDED)
    return {each.name: each for each in figures(compare(store.run(), store.observations()))}


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


def figure(comparison: Comparison, name: str) -> Figure:
    return next(each for each in figures(comparison) if each.name == name)


def names(comparison: Comparison) -> list[str]:
    return [each.name for each in figures(comparison)]


# Which figures there are.


def test_a_real_run_has_every_figure_in_the_order_of_the_report(recorded: Mapping[str, Figure]) -> None:
    assert list(recorded) == [
        "answer",
        "throughput-sleep",
        "latency-sleep",
        "throughput-cpu",
        "latency-cpu",
        "timeline-sleep",
        "timeline-cpu",
        "balance",
        "scaling",
        "cost",
        "drift",
    ]
    for each in recorded.values():
        assert each.panels
        assert each.table.rows
        assert all(len(row) == len(each.table.columns) for row in each.table.rows)
        assert each.caption.endswith(".")


def test_a_session_has_no_figure() -> None:
    observations = measured(testing.cell("one"), 0, 1)
    run = testing.run(testing.experiment(testing.cell("one")))

    assert figures(survey(run, observations)) == ()
    assert figures(compare(run, observations))


def test_where_nothing_was_measured_there_is_no_figure() -> None:
    failed = testing.observation(testing.cell("one"), status="failed", swarm=None, reason="it ended")

    assert names(of([failed])) == []


def test_files_have_names_of_their_own_that_are_ours() -> None:
    cells = [testing.cell("one", workload=name) for name in ("../Über x", "../über-X", "hello")]
    plain = testing.experiment(testing.cell("one"), blocks=6)
    experiment = replace(plain, cells=tuple(cells), parameters={cell.workload: {} for cell in cells})
    found = figures(compare(testing.run(experiment), [each for cell in cells for each in measured(cell)]))

    assert [each.name for each in found if each.section == "load"] == [
        "throughput-ber-x",
        "latency-ber-x",
        "throughput-ber-x-2",
        "latency-ber-x-2",
        "throughput-hello",
        "latency-hello",
    ]
    assert all(re.fullmatch("[a-z0-9-]+", each.name) for each in found)


@given(st.text())
def test_a_slug_is_safe_in_a_file_name(text: str) -> None:
    assert re.fullmatch("[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", slug(text))


@given(st.lists(st.text(max_size=60), unique_by=lambda name: name))
def test_names_are_shortened_and_stay_apart(given_names: list[str]) -> None:
    cut = short(given_names)

    assert all(len(name) <= LONGEST_NAME + 4 for name in cut)
    assert len(set(cut)) == len(cut)
    assert all(name.isprintable() for name in cut)


def test_names_that_look_alike_are_numbered() -> None:
    assert short(["a b", "a\nb", "a b #1"]) == ["a b #1", "a b #2", "a b #1 #3"]


def test_a_name_that_fits_is_shown_as_it_is() -> None:
    assert short(["gunicorn-gthread-2x4"]) == ["gunicorn-gthread-2x4"]
    assert short(["a" * 20 + "-with-a-long-tail"]) == ["aaaaaaaaaaaa…a-long-tail"]


# The answer.


def test_the_answer_shows_peak_and_mean_against_slots(recorded: Mapping[str, Figure]) -> None:
    (panel,) = recorded["answer"].panels
    drawing = panel.drawing
    assert isinstance(drawing, Rows)
    by_name = dict(zip(drawing.names, drawing.texts, strict=True))

    assert by_name["gunicorn-gthread-2x4"] == "8 of 8"
    assert by_name["gunicorn-gevent"] == "32 of ∞"
    row = drawing.names.index("gunicorn-gevent")
    assert drawing.extents[row].end is None
    assert drawing.extents[drawing.names.index("gunicorn-sync-4")].end == 4
    peak, mean = (mark for mark in drawing.marks if mark.row == row)
    assert (peak.value, peak.series, mean.series) == (32, 0, 1)
    assert mean.value == pytest.approx(30.8, abs=0.05)
    assert mean.low is not None
    assert drawing.axis.low == 0
    assert drawing.axis.high > 32


def test_the_axis_of_the_answer_has_room_for_slots_that_were_never_filled() -> None:
    comparison = of(measured(testing.cell("one")), testing.server("one", slots=64))
    drawing = figure(comparison, "answer").panels[0].drawing

    assert isinstance(drawing, Rows)
    assert drawing.axis.high >= 64


def test_servers_beyond_what_there_is_room_for_are_counted() -> None:
    cells = [testing.cell(f"server-{number}") for number in range(MOST_ROWS + 3)]
    comparison = of([each for cell in cells for each in measured(cell, 0)])
    found = figure(comparison, "answer")
    drawing = found.panels[0].drawing

    assert isinstance(drawing, Rows)
    assert len(drawing.names) == MOST_ROWS
    assert f"Not drawn for want of room: 3 of {MOST_ROWS + 3} servers" in found.caption
    assert len(found.table.rows) == MOST_ROWS + 3
    assert f"({MOST_ROWS} of {MOST_ROWS + 3} servers)" in figure(comparison, "throughput-sleep").panels[0].title


# Throughput and latency.


def loads(*users: int, server: str = "one", **changes: Any) -> list[Observation]:
    return [
        each
        for count in users
        for each in measured(testing.cell(server, users=count, **changes), throughput_rps=20.0 + count)
    ]


def courses(drawing: Lines) -> list[list[tuple[float, float]]]:
    return [[(mark.x, mark.value) for mark in line.marks] for line in drawing.lines]


def test_a_server_with_several_loads_is_a_line_and_others_are_dots() -> None:
    lines, dots = figure(of([*loads(4, 32), *loads(8, server="two")]), "throughput-sleep").panels

    assert isinstance(lines.drawing, Lines)
    assert courses(lines.drawing)[0] == [(4.0, 24.0), (32.0, 52.0)]
    assert lines.drawing.x.ticks == (4.0, 32.0)
    assert lines.drawing.y.low == 0
    assert isinstance(dots.drawing, Rows)
    assert dots.drawing.names == ("two",)
    assert dots.title == "8 users, 1 core, connection: close"


def test_dots_show_every_server_under_the_conditions_of_the_lone_one() -> None:
    _, dots = figure(of([*loads(4, 32), *loads(32, server="two")]), "throughput-sleep").panels

    assert isinstance(dots.drawing, Rows)
    assert dots.drawing.names == ("one", "two")


def test_cores_and_connections_have_panels_of_their_own() -> None:
    found = figure(
        of([*loads(4, 32), *loads(4, 32, cores=2), *loads(4, 32, connection="keep-alive")]), "throughput-sleep"
    )

    assert [panel.title for panel in found.panels] == [
        "throughput by users, 1 core, connection: close",
        "throughput by users, 2 cores, connection: close",
        "throughput by users, 1 core, connection: keep-alive",
    ]


def test_latencies_have_their_intervals_on_a_logarithmic_axis() -> None:
    observations = [
        testing.observation(
            testing.cell("one"),
            block=block,
            swarm=testing.trial_report(latency_ms={"p50": 50.0 + block, "p95": 90.0, "p99": 100.0, "max": 1000.0}),
        )
        for block in BLOCKS
    ]
    found = figure(of(observations), "latency-sleep")
    (panel,) = found.panels
    drawing = panel.drawing

    assert isinstance(drawing, Rows)
    assert drawing.series == ("p50", "p95", "p99")
    assert [(mark.value, mark.low, mark.high) for mark in drawing.marks] == [
        (52.5, 50.0, 55.0),
        (90.0, 90.0, 90.0),
        (100.0, 100.0, 100.0),
    ]
    assert drawing.axis.log
    assert 0 < drawing.axis.low < 50
    assert "does not begin at 0" in found.caption


def test_each_percentile_by_users_has_its_panel(recorded: Mapping[str, Figure]) -> None:
    titles = [panel.title for panel in recorded["latency-sleep"].panels]

    assert titles == [
        "p50 by users, 1 core, connection: close",
        "p95 by users, 1 core, connection: close",
        "p99 by users, 1 core, connection: close",
        "32 users, 1 core, connection: keep-alive",
    ]


def test_without_a_latency_there_is_no_figure_of_it() -> None:
    silent = measured(testing.cell("one"), latency_ms={}, latency_mean_ms=0.0, latency_histogram=testing.histogram())

    assert "latency-sleep" not in names(of(silent))
    assert "throughput-sleep" in names(of(silent))


def test_at_rates_throughput_is_held_against_what_was_asked_for() -> None:
    observations = [
        each
        for rate in (20.0, 80.0)
        for each in measured(testing.cell("one", users=None, rate=rate, arrivals="poisson"), throughput_rps=rate * 0.9)
    ]
    found = figure(of(observations), "throughput-sleep")
    (panel,) = found.panels

    assert isinstance(panel.drawing, Lines)
    assert panel.drawing.guide == ((20.0, 20.0), (80.0, 80.0))
    assert panel.drawing.y.high > 80
    assert panel.title == "throughput by rate, 1 core, connection: close, poisson arrivals"
    assert "the dashed line is what was asked for" in found.caption
    latency = figure(of(observations), "latency-sleep").panels[0].drawing
    assert isinstance(latency, Lines)
    assert latency.guide == ()


def test_of_many_lines_the_reference_and_the_best_have_names() -> None:
    observations = [
        each
        for number in range(MOST_LABELLED + 4)
        for users in (4, 32)
        for each in measured(testing.cell(f"s{number}", users=users), throughput_rps=100.0 + 50 * number)
    ]
    found = figure(of(observations), "throughput-sleep")
    (panel,) = found.panels

    assert isinstance(panel.drawing, Lines)
    assert len(panel.drawing.lines) == MOST_LABELLED + 4
    labelled = [line.name for line in panel.drawing.lines if line.labelled]
    assert labelled == ["s0", *(f"s{number}" for number in range(5, MOST_LABELLED + 4))]
    assert "the 4 other servers are grey" in found.caption
    assert len(found.table.rows) == 2 * (MOST_LABELLED + 4)


def test_panels_beyond_what_there_is_room_for_are_counted() -> None:
    found = figure(
        of([each for cores in range(1, MOST_PANELS + 3) for each in loads(4, cores=cores)]), "throughput-sleep"
    )

    assert len(found.panels) == MOST_PANELS
    assert f"Not drawn for want of room: 2 of {MOST_PANELS + 2} panels; see the tables." in found.caption
    assert "Not drawn" not in figure(of(loads(4)), "throughput-sleep").caption


def test_what_must_not_be_compared_is_hollow() -> None:
    observations = [*loads(32), *measured(testing.cell("two"), generator_cpu=0.9)]
    found = figure(of(observations), "throughput-sleep")
    drawing = found.panels[0].drawing

    assert isinstance(drawing, Rows)
    assert [mark.open for mark in drawing.marks] == [False, True]
    assert "Hollow: not to be compared" in found.caption
    assert "Hollow" not in figure(of(loads(32)), "throughput-sleep").caption
    elements = charts.draw(found.panels[0]).elements
    assert elements.count('fill-opacity="0"') == 1


# Who ran when.


def gantt(recorded: Mapping[str, Figure], workload: str, server: str) -> Gantt:
    drawing = next(
        each.drawing for each in recorded[f"timeline-{workload}"].panels if each.title.split(" ")[0] == server
    )
    assert isinstance(drawing, Gantt)
    return drawing


def in_rows(drawing: Gantt) -> Mapping[int, list[tuple[float, float]]]:
    rows: dict[int, list[tuple[float, float]]] = {}
    for bar in drawing.bars:
        rows.setdefault(bar.row, []).append((bar.entered_ms, bar.left_ms))
    return rows


@pytest.mark.parametrize(
    ("workload", "server", "groups"),
    [
        ("sleep", "gunicorn-sync-1", [(1, ("process 1",))]),
        ("sleep", "gunicorn-sync-4", [(1, (f"process {number}",)) for number in range(1, 5)]),
        (
            "sleep",
            "gunicorn-gthread-2x4",
            [(4, tuple(f"process {process}, thread {thread}" for thread in range(1, 5))) for process in (1, 2)],
        ),
        ("sleep", "flask-processes-3", [(3, ("12 processes,", "3 at once"))]),
        ("sleep", "flask-threaded", [(32, ("process 1:", "160 threads"))]),
        ("sleep", "gunicorn-gevent", [(32, ("process 1:", "110 coroutines", "of one thread"))]),
        ("cpu", "gunicorn-gevent", [(1, ("process 1:", "86 coroutines", "of one thread"))]),
        ("cpu", "flask-threaded", [(1, ("process 1:", "136 threads"))]),
    ],
)
def test_rows_are_what_runs_at_once(
    recorded: Mapping[str, Figure], workload: str, server: str, groups: list[tuple[int, tuple[str, ...]]]
) -> None:
    drawing = gantt(recorded, workload, server)

    assert [(group.rows, group.labels) for group in drawing.groups] == groups


def test_requests_of_a_row_follow_each_other_and_stay_in_the_picture(recorded: Mapping[str, Figure]) -> None:
    for workload in ("sleep", "cpu"):
        spans = set()
        for panel in recorded[f"timeline-{workload}"].panels:
            assert isinstance(panel.drawing, Gantt)
            spans.add(panel.drawing.span_ms)
            assert 0 < len(panel.drawing.bars) <= MOST_BARS
            assert sum(group.rows for group in panel.drawing.groups) == len(in_rows(panel.drawing))
            for bars in in_rows(panel.drawing).values():
                assert bars == sorted(bars)
                assert all(one[1] <= two[0] for one, two in itertools.pairwise(bars))
                assert bars[0][0] >= 0
                assert bars[-1][1] <= panel.drawing.span_ms
        assert len(spans) == 1, "all panels of a workload show the same time"


def timed(server: str, *stays: RequestSpan, span_us: int = 100_000, **changes: Any) -> list[Observation]:
    timeline = Timeline(span_us=span_us, stays=stays)
    return measured(testing.cell(server, **changes), 0, 1, timeline=timeline)


def stay(entered_ms: float, left_ms: float, process: int = 0, thread: int = 0, lane: int = 0) -> RequestSpan:
    return RequestSpan(process, thread, lane, round(entered_ms * 1000), round(left_ms * 1000))


def test_processes_that_did_nothing_are_shown_as_idle() -> None:
    comparison = of(timed("one", stay(0, 50), stay(10, 60, process=1)), testing.server("one", processes=4))
    drawing = figure(comparison, "timeline-sleep").panels[0].drawing

    assert isinstance(drawing, Gantt)
    assert [group.labels[0] for group in drawing.groups] == [
        "process 1",
        "process 2",
        "process 3: idle",
        "process 4: idle",
    ]
    assert len(drawing.bars) == 2


def test_what_began_before_the_picture_or_ended_after_it_is_cut() -> None:
    drawing = figure(of(timed("one", stay(-30, 50), stay(60, 140))), "timeline-sleep").panels[0].drawing

    assert isinstance(drawing, Gantt)
    assert [(bar.entered_ms, bar.left_ms) for bar in drawing.bars] == [(0, 50), (60, 100)]


def test_a_server_is_shown_under_the_conditions_that_most_share_and_once() -> None:
    found = figure(
        of(
            [
                *timed("one", stay(0, 50), users=4),
                *timed("two", stay(0, 50), users=4),
                *timed("two", stay(0, 50)),
                *timed("three", stay(0, 50), connection="keep-alive"),
            ]
        ),
        "timeline-sleep",
    )

    assert [panel.title for panel in found.panels] == [
        "one",
        "two",
        "three (32 users, 1 core, connection: keep-alive)",
    ]
    assert "with 4 users, 1 core, connection: close, unless a panel says otherwise." in found.caption


def test_many_threads_share_a_label() -> None:
    crowd = [stay(0, 50, process=process, thread=thread) for process in range(2) for thread in range(8)]
    comparison = of(timed("one", *crowd), testing.server("one", slots=16, processes=2))
    drawing = figure(comparison, "timeline-sleep").panels[0].drawing

    assert isinstance(drawing, Gantt)
    assert [(group.rows, group.each, group.labels) for group in drawing.groups] == [
        (8, False, (f"process {number}:", "8 threads")) for number in (1, 2)
    ]


def test_the_common_span_is_as_long_as_the_shortest_and_as_the_most_bars_allow() -> None:
    few = of(timed("one", stay(0, 50), span_us=80_000)).cells
    many = of(timed("two", *(stay(at / 10, at / 10 + 0.1) for at in range(1000)))).cells

    assert common_span(few) == 80_000
    span_us = common_span([*few, *many])
    (crowd,) = many
    assert crowd.timeline is not None
    drawn = [each for each in crowd.timeline.stays if each.left_us > 100_000 - span_us]
    assert len(drawn) == MOST_BARS


def test_rows_beyond_what_there_is_room_for_are_told() -> None:
    crowd = [stay(0, 50, thread=number) for number in range(MOST_WORKERS + 5)]
    found = figure(of(timed("one", *crowd)), "timeline-sleep")
    drawing = found.panels[0].drawing

    assert isinstance(drawing, Gantt)
    assert sum(group.rows for group in drawing.groups) == MOST_WORKERS
    assert max(bar.row for bar in drawing.bars) == MOST_WORKERS - 1
    assert f"{MOST_WORKERS} rows at most are drawn" in found.caption
    assert len(found.table.rows) == MOST_WORKERS + 5
    assert "are looked at" not in found.caption


@pytest.mark.parametrize("left_ms", [50, 100, 400])
def test_many_that_leave_together_or_stay_to_the_end_do_not_make_the_picture_empty(left_ms: int) -> None:
    together = [stay(0, left_ms, thread=number) for number in range(MOST_BARS + 5)]
    observations = timed("one", *together)
    (result,) = of(observations).cells

    span_us = common_span([result])

    assert result.timeline is not None
    assert len([each for each in together if each.left_us > 100_000 - span_us]) == MOST_BARS + 5
    # What left together is in sight for no longer than it takes to leave; what is there to the end, all along.
    assert span_us == (100_000 if left_ms > 100 else 100_000 - left_ms * 1000 + 1)


def test_of_a_multitude_that_is_inside_at_once_the_first_are_looked_at() -> None:
    multitude = [stay(0, 50, thread=number) for number in range(MOST_REQUESTS + 5)]
    found = figure(of(timed("one", *multitude)), "timeline-sleep")

    assert len(found.table.rows) == MOST_REQUESTS
    assert f"Only the first {MOST_REQUESTS:,} requests of a server are looked at" in found.caption


def test_the_table_of_who_ran_when_has_every_bar(recorded: Mapping[str, Figure]) -> None:
    found = recorded["timeline-sleep"]
    bars = sum(len(panel.drawing.bars) for panel in found.panels if isinstance(panel.drawing, Gantt))

    assert sum(int(row[3]) for row in found.table.rows) == bars
    assert sum(row[4].count(" to ") for row in found.table.rows) == bars


STAYS = st.lists(
    st.builds(
        lambda thread, entered, length: RequestSpan(0, thread, 0, entered, entered + length),
        st.integers(0, 5),
        st.integers(0, 50),
        st.integers(1, 20),
    ),
    max_size=30,
    unique=True,
)


@given(STAYS)
def test_stays_are_packed_into_as_few_rows_as_overlap_at_once(stays: list[RequestSpan]) -> None:
    rows = packed(stays, lambda each: each)
    peak = max((sum(one.entered_us <= at < one.left_us for one in stays) for at in range(71)), default=0)

    assert len(rows) == peak
    assert sorted(each for row in rows for each in row) == sorted(stays)
    for row in rows:
        assert all(one.left_us <= two.entered_us for one, two in itertools.pairwise(row))


@given(STAYS)
def test_stays_of_a_key_share_a_row_and_no_other_key_comes_between(stays: list[RequestSpan]) -> None:
    for row in packed(stays, lambda each: each.thread):
        threads = [each.thread for each in row]
        assert threads == [thread for thread in dict.fromkeys(threads) for _ in range(threads.count(thread))]
    rows = packed(stays, lambda each: each.thread)
    assert all(sum(any(each.thread == thread for each in row) for row in rows) <= 1 for thread in range(6))


# Balance, scaling, cost and drift.


def test_balance_is_of_servers_with_several_processes() -> None:
    shared = InFlight(peak=2, mean=1.9, threads=2, requests_per_process=(6, 2))
    observations = [*loads(32), *measured(testing.cell("two"), in_flight=shared)]
    comparison = of(observations, testing.server("one"), testing.server("two", slots=2, processes=2))
    found = figure(comparison, "balance")
    (panel,) = found.panels

    assert panel.drawing == Stacks(names=("two",), shares=((0.75, 0.25),))
    assert found.table.rows == (("two", panel.title, "2", "50%", "75%, 25%"),)
    assert "balance" not in names(of(loads(32)))


def test_of_many_conditions_every_workload_has_its_balance() -> None:
    shared = InFlight(peak=2, mean=1.9, threads=2, requests_per_process=(6, 2))
    cells = [testing.cell("two", users=users) for users in range(1, 20)] + [testing.cell("two", workload="cpu")]
    observations = [each for cell in cells for each in measured(cell, 0, in_flight=shared)]
    found = figure(of(observations, testing.server("two", slots=2, processes=2)), "balance")

    assert len(found.panels) == MOST_PANELS
    assert any(panel.title.startswith("cpu") for panel in found.panels)
    assert "8 of 20 panels; see the table below" in found.caption
    assert len(found.table.rows) == 20


def test_scaling_is_held_against_the_ideal() -> None:
    cells = [testing.cell("one", cores=cores) for cores in (1, 2, 4)]
    comparison = of(
        [
            each
            for cell, rps in zip(cells, (20, 38, 60), strict=True)
            for each in measured(cell, throughput_rps=float(rps))
        ]
    )
    found = figure(comparison, "scaling")
    (panel,) = found.panels

    assert isinstance(panel.drawing, Lines)
    assert courses(panel.drawing)[0] == [(1.0, 1.0), (2.0, 1.9), (4.0, 3.0)]
    assert panel.drawing.guide == ((1.0, 1.0), (4.0, 4.0))
    assert panel.drawing.y.low == 0
    assert panel.drawing.y.high > 4
    assert [row[4:7] + row[8:] for row in found.table.rows] == [("2", "1", "1.90", "2.00"), ("4", "1", "3.00", "4.00")]


def test_scaling_from_other_numbers_of_cores_has_a_panel_of_its_own() -> None:
    comparison = of(loads(32))
    one, two = (
        Scaling(
            cell=testing.cell("one", cores=4),
            over_cores=fewest,
            blocks=6,
            ratio=Interval(median=2.0, low=None, high=None),
        )
        for fewest in (1, 2)
    )

    panels = figure(replace(comparison, scaling=(one, two)), "scaling").panels

    assert [panel.drawing.guide[-1] for panel in panels if isinstance(panel.drawing, Lines)] == [(4, 4.0), (4, 2.0)]
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
        ([(30.0, 5.0), (20.0, 5.0), (10.0, 1.0), (10.0, 1.0), (5.0, 1.0)], [2, 3, 0]),
    ],
)
def test_the_frontier_is_what_no_other_beats_in_both(points: list[tuple[float, float]], best: list[int]) -> None:
    assert sorted(frontier(points)) == sorted(best)
    assert [points[index][0] for index in frontier(points)] == sorted(points[index][0] for index in best)


@given(st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=12))
def test_a_point_is_on_the_frontier_exactly_where_none_dominates_it(points: list[tuple[float, float]]) -> None:
    def beaten(point: tuple[float, float]) -> bool:
        return any(other[0] >= point[0] and other[1] <= point[1] and other != point for other in points)

    assert sorted(frontier(points)) == [index for index, point in enumerate(points) if not beaten(point)]


def test_cost_shows_what_may_be_compared_under_the_most_users() -> None:
    observations = [
        *measured(testing.cell("one"), throughput_rps=100.0),
        *measured(testing.cell("two"), throughput_rps=200.0, memory=100_000_000),
        *measured(testing.cell("three"), throughput_rps=50.0, memory=70_000_000),
        *measured(testing.cell("broken"), throughput_rps=900.0, generator_cpu=0.9),
        *measured(testing.cell("one", users=4)),
        *measured(testing.cell("two", users=4)),
        *measured(testing.cell("one", users=None, rate=20.0, arrivals="constant")),
        *measured(testing.cell("two", users=None, rate=20.0, arrivals="constant")),
    ]
    found = figure(of(observations), "cost")
    cpu, memory = found.panels

    assert isinstance(cpu.drawing, Scatter)
    assert isinstance(memory.drawing, Scatter)
    assert cpu.title == "CPU time: sleep 50 ms, 32 users, 1 core, connection: close"
    assert {dot.name: dot.best for dot in memory.drawing.dots} == {"one": True, "two": True, "three": False}
    assert {dot.name: dot.best for dot in cpu.drawing.dots} == {"one": False, "two": True, "three": False}
    assert (memory.drawing.x.low, memory.drawing.y.low) == (0, 0)
    assert [row[0] for row in found.table.rows] == ["one", "two", "three"]
    assert [row[-1] for row in found.table.rows] == ["yes", "yes", "no"]


def test_memory_that_was_not_read_is_missing_and_its_panel_with_it() -> None:
    observations = [*measured(testing.cell("one")), *measured(testing.cell("two"), memory=None)]
    found = figure(of(observations), "cost")

    (cpu,) = found.panels
    assert isinstance(cpu.drawing, Scatter)
    assert cpu.drawing.y.title == "CPU ms a request"
    assert [row[-2:] for row in found.table.rows] == [("56", "yes"), ("–", "–")]


def test_at_a_rate_throughput_is_given_and_there_is_no_cost() -> None:
    cells = [testing.cell(name, users=None, rate=20.0, arrivals="constant") for name in ("one", "two")]

    assert "cost" not in names(of([each for cell in cells for each in measured(cell)]))


def test_where_there_is_no_choice_there_is_no_cost() -> None:
    assert "cost" not in names(of(loads(32)))


def test_of_many_servers_those_on_the_frontier_and_the_reference_have_names() -> None:
    observations = [
        each for number in range(20) for each in measured(testing.cell(f"s{number}"), throughput_rps=100.0 + number)
    ]
    cpu = figure(of(observations), "cost").panels[0]

    assert isinstance(cpu.drawing, Scatter)
    assert [dot.name for dot in cpu.drawing.dots if dot.labelled] == ["s0", "s19"]
    assert "(18 of 20 without a name; see the table)" in cpu.title


def test_drift_shows_each_block_about_1_and_says_that_the_axis_does_not_begin_at_0() -> None:
    observations = [
        testing.observation(
            testing.cell("one"), block=block, swarm=testing.trial_report(throughput_rps=20.0 if block else 10.0)
        )
        for block in BLOCKS
    ]
    found = figure(of(observations), "drift")
    throughput, cpu = (panel.drawing for panel in found.panels)

    assert isinstance(throughput, Lines)
    assert isinstance(cpu, Lines)
    assert courses(throughput)[0] == [
        (1.0, 0.5),
        *((float(x), 1.0) for x in range(2, 7)),
    ]
    assert cpu.lines[0].marks[0].value == 2.0
    assert throughput.y.low < 0.5
    assert throughput.y.high >= 1.1
    assert throughput.guide == ((1.0, 1.0), (6.0, 1.0))
    assert "The axes do not begin at 0." in found.caption
    assert "drift" not in names(of(measured(testing.cell("one"), 0)))


def test_drift_of_cpu_time_that_was_not_read_is_not_drawn() -> None:
    unread = [replace(each, server_cpu_s=None) for each in loads(32)]

    assert [panel.title for panel in figure(of(unread), "drift").panels] == ["Throughput of each block"]


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
    for paper in style.PAPER:
        for colour in style.COLOURS:
            assert contrast(colour, paper) >= 3, (colour, paper)


def test_no_two_of_many_servers_look_alike_and_neighbours_differ_in_all() -> None:
    looks = [(style.colour(at), style.shape(at), tuple(style.dash(at))) for at in range(105)]

    assert len(set(looks)) == 105
    assert all(a != b for one, two in itertools.pairwise(looks) for a, b in zip(one, two, strict=True))


@given(
    st.lists(st.floats(-50, 300), max_size=30),
    st.floats(1, 40),
)
def test_names_are_put_apart_in_order_and_inside(wanted: list[float], gap: float) -> None:
    workspace = style.apart(wanted, gap=gap, low=0.0, high=210.0)
    order = sorted(range(len(wanted)), key=lambda at: (wanted[at], at))
    room = min(gap, 210.0 / max(1, len(wanted) - 1))

    assert all(-1e-6 <= place <= 210 + 1e-6 for place in workspace)
    assert all(workspace[b] - workspace[a] >= room - 1e-6 for a, b in itertools.pairwise(order))


def test_names_that_are_apart_already_stay_where_they_are() -> None:
    assert style.apart([100.0, 20.0, 60.0], gap=14, low=0.0, high=210.0) == [100.0, 20.0, 60.0]


def test_places_along_an_axis() -> None:
    assert style.along(Axis(title="", low=0.0, high=10.0), 2.5) == 0.25
    assert style.along(Axis(title="", low=1.0, high=100.0, log=True), 10.0) == pytest.approx(0.5)
    assert style.along(Axis(title="", low=4.0, high=4.0, log=True), 4.0) == 0.5


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.5), (16.2, 25.4), (40.0, 2000.0), (30.0, 220.0), (0.01, 90_000.0)])
def test_a_logarithmic_axis_has_ticks_to_read_by(low: float, high: float) -> None:
    ticks = style.x_axis(Axis(title="", low=low, high=high, log=True)).to_dict()["values"]

    assert 3 <= len(ticks) <= 12
    assert all(low <= tick <= high for tick in ticks)


def test_ticks_of_a_logarithmic_axis_have_their_labels(recorded: Mapping[str, Figure]) -> None:
    elements = charts.draw(recorded["latency-sleep"].panels[0]).elements

    assert re.findall(r">([\d,]+)</text>", elements)[-6:] == ["50", "100", "200", "500", "1,000", "2,000"]


def test_every_chart_is_one_that_vega_lite_knows(recorded: Mapping[str, Figure]) -> None:
    """Drawing leaves Altair's own checks out, which take longer than all the rest."""
    for each in recorded.values():
        # One after another is of the same kind.
        for panel in {type(panel.drawing): panel for panel in each.panels}.values():
            made = specification(panel)
            alt.LayerChart.from_dict(made)
            assert made["config"]["aria"] is False
            assert made["width"] + made["padding"]["left"] + made["padding"]["right"] == style.WIDTH


NASTY = [
    "</text><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "datum.value + signal('width')",
    '{"signal": "width"}',
    "a.b[0]['c']",
    "\u202egnp.exe",
    "line\nbreak",
]


def all_kinds(nasty: str) -> list[Panel]:
    marks = (Mark(value=1.0, low=0.5, high=2.0, x=1.0), Mark(value=2.0, x=2.0, open=True))
    axis, across = Axis(title="y", low=0.0, high=3.0), Axis(title="x", low=1.0, high=2.0)
    comparison = of([*loads(4, 32), *loads(4, 32, server="two")])
    found = figure(comparison, "cost").panels[0].drawing
    assert isinstance(found, Scatter)
    return [
        Panel(
            title=nasty,
            drawing=Rows(
                names=tuple(short([nasty, "b"])), axis=axis, series=("p50", "p95"), marks=marks, texts=(nasty, "")
            ),
        ),
        Panel(
            title=nasty,
            drawing=Lines(x=across, y=axis, lines=(Line(name=short([nasty])[0], style=1, marks=marks),)),
        ),
        Panel(title=nasty, drawing=Stacks(names=tuple(short([nasty])), shares=((0.7, 0.3),))),
        Panel(
            title=nasty,
            drawing=replace(found, dots=tuple(replace(dot, name=short([nasty])[0]) for dot in found.dots)),
        ),
    ]


@pytest.mark.parametrize("nasty", NASTY)
def test_names_are_data_and_nothing_else(nasty: str) -> None:
    for hostile, harmless in zip(all_kinds(nasty), all_kinds("x" * 10), strict=True):
        made, usual = specification(hostile), specification(harmless)
        told = {key: value for key, value in made.items() if key not in ("datasets", "width", "padding", "layer")}
        assert told == {key: value for key, value in usual.items() if key in told}
        shown = short([nasty])[0]
        assert shown not in json.dumps([layer["encoding"] | {"mark": layer["mark"]} for layer in made["layer"]])
        drawn = charts.draw(hostile)
        tree = ET.fromstring(f"<svg>{drawn.elements}</svg>")
        assert shown in [text.text for text in tree.iter("text")]
        assert {each.tag for each in tree.iter()} <= {"svg", "g", "path", "line", "text", "rect"}


def test_a_file_is_an_image_of_its_own_on_white_with_every_panel(recorded: Mapping[str, Figure]) -> None:
    found = recorded["balance"]
    content = charts.as_file(found, [charts.draw(panel) for panel in found.panels])
    root = ET.fromstring(content)
    space = "{http://www.w3.org/2000/svg}"
    texts = " ".join(text.text or "" for text in root.iter(f"{space}text"))

    assert root.attrib["role"] == "img"
    assert root.find(f"{space}title") is not None
    assert root.find(f"{space}title").text == found.title  # type: ignore[union-attr]
    backdrop = root.find(f"{space}rect")
    assert backdrop is not None
    assert backdrop.attrib["fill"] == "#ffffff"
    assert root.attrib["color"] != "#ffffff"
    assert all(word in texts for panel in found.panels for word in panel.title.split())
    assert float(root.attrib["width"]) <= 3 * style.WIDTH + 4 * 28
    assert b"href" not in content.replace(b"xmlns:xlink", b"")


def test_a_drawing_is_the_same_every_time_and_says_nothing_twice(recorded: Mapping[str, Figure]) -> None:
    panel = recorded["cost"].panels[0]
    once, again = charts.draw(panel), charts.draw(panel)

    assert once == again
    assert once.width == style.WIDTH
    assert "aria-" not in once.elements
    assert "font-family" not in once.elements
    assert 'class="mark-symbol"' in once.elements
    assert not re.search(r"\d\.\d{3,}", once.elements)


def test_ids_of_a_drawing_are_no_other_drawings_and_texts_stay() -> None:
    text = '<text>id="clip0" url(#clip0)</text>'
    drawn = Drawn(
        title="t", width=1.0, height=1.0, elements=f'<clipPath id="clip0"/><g clip-path="url(#clip0)">{text}</g>'
    )

    first, second = charts.inline(drawn, 1, "<a> & b"), charts.inline(drawn, 2, "x")

    assert 'id="panel-1-clip0"' in first
    assert "url(#panel-1-clip0)" in first
    assert 'id="panel-2-clip0"' in second
    assert text in first
    assert 'role="img" aria-label="&lt;a&gt; &amp; b"' in first


def test_lines_at_the_same_place_lie_side_by_side_and_never_reach_the_next_place() -> None:
    marks = tuple(Mark(x=float(x), value=1.0, low=0.5, high=1.5) for x in range(1, 11))
    lines = tuple(Line(name=f"s{at}", style=at, marks=marks) for at in range(8))
    across, upward = Axis(title="x", low=1.0, high=10.0, log=True), Axis(title="y", low=0.0, high=2.0)
    made = specification(Panel(title="t", drawing=Lines(x=across, y=upward, lines=lines)))
    points = next(rows for rows in made["datasets"].values() if rows and "fill" in rows[0])
    workspace = [[row["x"] for row in points if row["line"] == at] for at in range(8)]

    assert all(len({workspace[at][x] for at in range(8)}) == 8 for x in range(10))
    assert all(workspace[7][x] < workspace[0][x + 1] for x in range(9))
    assert all(0 < x < made["width"] for row in workspace for x in row)


def test_bars_of_requests_end_where_they_ended() -> None:
    drawing = figure(of(timed("one", stay(0, 50), stay(50, 100))), "timeline-sleep").panels[0]
    made = specification(drawing)
    bars = next(rows for rows in made["datasets"].values() if rows and "end" in rows[0])
    width = made["width"]

    # A pixel early, so that one is told from the next.
    assert [(bar["x"], bar["end"]) for bar in bars] == [(0, width / 2 - 1), (width / 2, width - 1)]
