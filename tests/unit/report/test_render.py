"""The comparison as YAML, as Markdown and on a terminal."""

import io
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.unit import lanes
from tests.unit.said import printed
from wsgilab import commands, testing
from wsgilab.analysis import claims
from wsgilab.analysis.compare import compare, survey
from wsgilab.experiment import workloads
from wsgilab.model import (
    Cell,
    Circumstances,
    Claim,
    Comparison,
    Condition,
    CostRatio,
    During,
    IdleReport,
    InFlight,
    Interval,
    Memory,
    Observation,
    RequestReport,
)
from wsgilab.model.text import number
from wsgilab.report import at_once, html, legend, markdown, tables, terminal
from wsgilab.report import claims as rendered
from wsgilab.report.claims import claims_md, claims_yaml
from wsgilab.report.comparison import FiguresEntry, comparison_yaml
from wsgilab.report.formats import FORMATS
from wsgilab.report.markdown import comparison_md
from wsgilab.results.reading import dump_run
from wsgilab.run.workspace import read_catalogue

ONE, TWO = testing.cell("one"), testing.cell("two")


def failed(of: Cell, block: int, reason: str = "the server had ended") -> Observation:
    return testing.observation(of, block=block, status="failed", swarm=None, reason=reason)


def measured(of: Cell, *blocks: int, **swarm: Any) -> list[Observation]:
    return [testing.observation(of, block=block, swarm=testing.trial_report(**swarm)) for block in blocks]


def comparison(*observations: Observation, cells: tuple[Cell, ...] = (ONE, TWO), **run: Any) -> Comparison:
    return compare(testing.run(testing.experiment(*cells), **run), observations)


BLOCKS = tuple(range(6))


def of_blocks(blocks: int, *observations: Observation, cells: tuple[Cell, ...] = (ONE, TWO), **run: Any) -> Comparison:
    """The comparison of an experiment with so many blocks."""
    return compare(testing.run(testing.experiment(*cells, blocks=blocks), **run), observations)


USUAL = of_blocks(6, *measured(ONE, *BLOCKS), *measured(TWO, *BLOCKS, throughput_rps=40.0, latency_mean_ms=800.0))
SPOILT = of_blocks(6, *measured(ONE, *BLOCKS), *measured(TWO, *BLOCKS, throughput_rps=40.0, generator_cpu=0.9))
AT_RATE = tuple(testing.cell(name, users=None, rate=20.0, arrivals="poisson") for name in ("one", "two"))
SCHEDULED = of_blocks(
    6, *measured(AT_RATE[0], *BLOCKS, late=1), *measured(AT_RATE[1], *BLOCKS, latency_mean_ms=800.0), cells=AT_RATE
)
ONE_FAILED = comparison(*measured(ONE, 0, 1, 2), *(failed(TWO, block) for block in range(3)))


def session(*observations: Observation, **run: Any) -> Comparison:
    """Of an interactive session, whose experiment has no cells."""
    asked = testing.experiment(*dict.fromkeys(each.cell for each in observations), window_s=1.0)
    return survey(testing.run(asked, experiment=replace(asked, cells=()), **run), observations)


SESSION = session(
    *measured(ONE, 0, 1, 2, window_s=1.0),
    *measured(TWO, 0, 1, window_s=1.0, throughput_rps=40.0, latency_mean_ms=800.0),
)
WAITING = of_blocks(
    6,
    *(
        replace(each, os_threads=5 + each.block, backend_cpu_s=0.03 + each.block / 100)
        for each in measured(ONE, *BLOCKS)
    ),
    *measured(TWO, *BLOCKS),
    backend_cpus="2",
)
"""Requests that wait for backends, whose figures are known of the first server."""
MET = {
    "reset": 2,
    "refused": 1,
    "pausing": 3.0,
    "abandoned": 30,
    "wasted_work": 0.25,
    "first_event_ms": 12.0,
    "event_gap_ms": 99.0,
    "idle": IdleReport(opened=6, refused=0, closed=4, held_s=2.04, longest_s=2.1, open=4.0),
}
"""What users meet under some circumstances alone."""
KNOWN = {
    **MET,
    "round_trip_ms": 0.21,
    "completed": 640,
    "busiest_user": 30,
    "longest_gap_ms": 120.4,
    "lost_capacity": 0.25,
    "failures": 3,
}
RELOADED = tuple(
    replace(each, circumstances=Circumstances(during=During(at_s=0.1, do="reload"), quota=0.5)) for each in (ONE, TWO)
)
EVERYTHING = of_blocks(
    6,
    *(
        replace(
            each,
            os_threads=8,
            backend_cpu_s=0.03,
            throttled_s=0.03,
            memory_start=Memory(pss_bytes=41_000_000, private_bytes=22_000_000),
            memory=Memory(pss_bytes=55_000_000, private_bytes=22_000_000),
        )
        for each in measured(RELOADED[0], *BLOCKS, **KNOWN)
    ),
    *measured(RELOADED[1], *BLOCKS),
    cells=RELOADED,
    backend_cpus="2",
)
"""Everything that can be known is known of the first server."""
INTERLEAVED_ONLY = {"rank", "interval", "x reference", "its interval", "x cost", "cost interval"}
"""Columns that have nothing to show in an interactive session."""
USUAL_COLUMNS = [each for each in tables.GROUP_COLUMNS if not each.optional or each.heading in INTERLEAVED_ONLY]


def as_yaml(of: Comparison) -> Any:
    ((name, content),) = FORMATS["yaml"](of).items()
    assert name == "comparison.yaml"
    return yaml.safe_load(content)


def as_markdown(of: Comparison) -> str:
    ((name, content),) = FORMATS["markdown"](of).items()
    assert name == "comparison.md"
    return content.decode()


def on_terminal(of: Comparison, width: int = 200) -> str:
    return printed(terminal.comparison(of, width), width=width)


# YAML.


def test_the_document_holds_the_figures_of_the_comparison() -> None:
    document = as_yaml(USUAL)
    first, second = document["cells"]

    assert document["run"]["trials"] == {"planned": 12, "measured": 12, "failed": 0}
    assert document["run"]["window_s"] == 3.6
    assert document["run"]["confidence"] == 0.9688
    assert document["run"]["host"]["siblings"] == ["0", "1"]
    assert document["run"]["server_cpus"] == {1: "0"}
    assert (first["server"], first["slots"], first["bound_by"], first["warnings"]) == ("one", 1, "slots", [])
    assert first["in_flight"] == {"peak": 1, "mean": 0.99, "processes": 1, "threads": 1, "busiest_share": 1.0}
    assert first["process_shares"] == [1.0]
    assert first["throughput_rps"] == {"median": 20.0, "low": 20.0, "high": 20.0}
    assert first["limit_rps"] == 20.0
    assert first["cpu_ms_per_request"] == 1.1
    assert first["latency_ms"]["p50"] == pytest.approx(1600, rel=1e-3)
    assert second["throughput_rps"]["median"] == 40.0
    assert (first["limit_share"], first["rank"], first["rank_last"], second["rank"]) == (1.0, 2, 2, 1)
    assert first["because"] == "1.0 requests were in flight on average, with 1 slot and 32 users"
    (pair,) = document["comparisons"]
    assert pair["ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert (pair["verdict"], pair["metric"], pair["blocks"]) == ("faster", "throughput", 6)
    assert pair["broken_gates"] == first["broken_gates"] == []


def test_every_figure_has_a_key_whether_it_was_measured_or_not() -> None:
    measured_entry, failed_entry = as_yaml(ONE_FAILED)["cells"]

    assert list(measured_entry) == list(failed_entry)
    figures = FiguresEntry.__annotations__.keys()
    assert all(failed_entry[key] is None for key in figures)
    assert {"server", "slots", "blocks", "broken_gates", "warnings"}.isdisjoint(figures)
    assert (failed_entry["server"], failed_entry["blocks"]) == ("two", 0)
    assert failed_entry["warnings"] == ["3 of 3 trials failed: the server had ended"]


def test_medians_have_their_intervals_beside_them() -> None:
    blocks = [
        testing.observation(
            ONE,
            block=block,
            swarm=testing.trial_report(
                generator_cpu=0.01 * (block + 1),
                service_ms=50.0 + block,
                latency_ms=dict.fromkeys(("p50", "p95", "p99", "max"), 1600.0 + block),
                in_flight=InFlight(peak=1, mean=0.9 + block / 100, threads=1, requests_per_process=(6,)),
            ),
            server_cpu_s=0.03 * (block + 1),
        )
        for block in range(3)
    ]

    intervals = as_yaml(comparison(*blocks))["cells"][0]["intervals"]

    assert intervals == {
        "mean_in_flight": {"median": 0.91, "low": 0.9, "high": 0.92},
        **{
            f"latency_{name}_ms": {"median": 1601.0, "low": 1600.0, "high": 1602.0}
            for name in ("p50", "p95", "p99", "max")
        },
        "service_ms": {"median": 51.0, "low": 50.0, "high": 52.0},
        "generator_cpu": {"median": 0.02, "low": 0.01, "high": 0.03},
        "server_cpu": {"median": 0.2, "low": 0.1, "high": 0.3},
        "cpu_ms_per_request": {"median": 10.0, "low": 5.0, "high": 15.0},
    }


IN_PARTS = of_blocks(
    6, *measured(ONE, *BLOCKS, parts=testing.latency_parts(back=0.54321)), *measured(TWO, *BLOCKS, throughput_rps=40.0)
)
"""What latencies consist of is known of the first server."""


def test_the_document_has_the_parts_of_latencies_and_null_where_they_were_not_measured() -> None:
    first, second = as_yaml(IN_PARTS)["cells"]

    assert first["parts"] == {
        "connect": dict.fromkeys(("mean", "p50", "p95", "p99"), 0.1),
        "queue": dict.fromkeys(("mean", "p50", "p95", "p99"), 1549.4),
        "service": dict.fromkeys(("mean", "p50", "p95", "p99"), 50.0),
        "back": dict.fromkeys(("mean", "p50", "p95", "p99"), 0.543),
    }
    assert second["parts"] is None


def test_one_table_has_the_parts_of_each_cells_mean_latency_and_says_what_they_are() -> None:
    with_charts, alone = as_markdown(IN_PARTS), comparison_md(IN_PARTS)["comparison.md"].decode()
    _, _, after = alone.partition("## Where the time of a request goes\n\n")
    lines = after.splitlines()

    assert lines[0] == "| server | conditions | connect ms | queue ms | service ms | back ms | mean latency ms |"
    assert lines[2] == (
        "| one | sleep 50 ms, 32 users, 1 core, connection: close | 0.10 | 1,549 | 50.0 | 0.54 | 1,600 |"
    )
    assert lines[3] == "", "of the other nothing is known"
    assert lines[4] == f"- {tables.PARTS}"
    assert "\n".join(lines[:3]) in with_charts
    assert with_charts.count(tables.PARTS) == 1, "below the chart"
    assert "Where the time" not in as_markdown(USUAL)


def test_broken_gates_are_in_the_document_on_both_sides_of_a_comparison() -> None:
    document = as_yaml(SPOILT)
    first, second = document["cells"]
    (pair,) = document["comparisons"]

    assert (first["rank"], first["broken_gates"]) == (1, [])
    assert (second["rank"], second["broken_gates"]) == (None, ["generator", "little"])
    assert (pair["verdict"], pair["broken_gates"]) == ("undecided", ["generator", "little"])
    assert pair["ratio"]["median"] == 2.0


def test_the_conditions_at_a_rate_are_rate_and_arrivals_and_no_users() -> None:
    document = as_yaml(SCHEDULED)

    for entry in (*document["cells"], *document["comparisons"]):
        assert (entry["rate"], entry["arrivals"]) == (20.0, "poisson")
        assert "users" not in entry
    assert document["comparisons"][0]["metric"] == "latency"
    assert [entry["late"] for entry in document["cells"]] == [6, 0]
    assert "rate" not in as_yaml(USUAL)["cells"][0]


def test_figures_are_rounded_to_what_the_method_can_tell() -> None:
    uneven = InFlight(peak=1, mean=0.98765, threads=1, requests_per_process=(6, 5))
    blocks = [
        testing.observation(
            cell,
            swarm=testing.trial_report(
                throughput_rps=rps, generator_cpu=0.0123456, service_ms=0.1234567, in_flight=uneven
            ),
            server_cpu_s=0.0123,
            resident_bytes=56_789_012,
        )
        for cell, rps in ((ONE, 20.123456), (TWO, 30.987654))
    ]
    servers = {name: testing.server(name, slots=None, processes=2) for name in ("one", "two")}

    document = as_yaml(comparison(*blocks, servers=servers))
    entry = document["cells"][0]

    assert entry["in_flight"]["mean"] == 0.99
    assert entry["in_flight"]["busiest_share"] == 1.09
    assert entry["process_shares"] == [0.545, 0.455]
    assert entry["throughput_rps"]["median"] == 20.1
    assert entry["latency_ms"]["p50"] == round(entry["latency_ms"]["p50"], 1)
    assert entry["service_ms"] == 0.123
    assert entry["limit_rps"] == 490.8
    assert entry["cpu_ms_per_request"] == 2.037
    assert entry["server_cpu"] == 0.041
    assert entry["generator_cpu"] == 0.012
    assert entry["resident_mb"] == 56.8
    assert document["comparisons"][0]["ratio"]["median"] == 1.54


def test_documents_round_what_a_run_records_whole() -> None:
    lane = replace(lanes.run().lanes[0], round_trip_ms=0.123456, bandwidth_mbps=941.2345)
    run = replace(testing.run(), lanes=(lane,))

    (recorded,) = dump_run(run)["lanes"]
    assert (recorded["round_trip_ms"], recorded["bandwidth_mbps"]) == (0.123456, 941.2345)
    for document in (as_yaml(compare(run, [])), yaml.safe_load(claims_yaml(run, [])["claims.yaml"])):
        (written,) = document["run"]["lanes"]
        assert (written["round_trip_ms"], written["bandwidth_mbps"]) == (0.123, 941.2)


def test_a_figure_that_is_not_known_is_null_and_has_no_interval() -> None:
    unread = testing.observation(ONE, server_cpu_s=None, server_span_s=None, resident_bytes=None)
    servers = {name: testing.server(name, slots=None, processes=None) for name in ("one", "two")}

    entry = as_yaml(comparison(unread, servers=servers))["cells"][0]

    assert entry["slots"] == "unbounded"
    for key in ("limit_rps", "cpu_ms_per_request", "server_cpu", "resident_mb"):
        assert entry[key] is None, key
    assert entry["in_flight"]["busiest_share"] is None
    assert entry["process_shares"] == []
    assert entry["throughput_rps"] == {"median": 20.0, "low": None, "high": None}
    assert entry["intervals"].keys().isdisjoint({"server_cpu", "cpu_ms_per_request"})
    assert entry["intervals"]["service_ms"] == {"median": 50.0, "low": None, "high": None}


def test_the_document_of_an_interactive_session_has_figures_without_intervals_and_no_comparisons() -> None:
    document = as_yaml(SESSION)
    first, second = document["cells"]

    assert document["comparisons"] == []
    assert (document["run"]["interleaved"], as_yaml(USUAL)["run"]["interleaved"]) == (False, True)
    assert document["run"]["confidence"] == 0.0
    assert document["run"]["trials"] == {"planned": 5, "measured": 5, "failed": 0}
    assert (first["blocks"], second["blocks"], first["rank"], second["rank"]) == (3, 2, None, None)
    assert second["throughput_rps"] == {"median": 40.0, "low": None, "high": None}
    assert first["intervals"]["latency_p50_ms"] == {"median": 1600.0, "low": None, "high": None}
    assert all((each["low"], each["high"]) == (None, None) for each in first["intervals"].values())


# Markdown.


def cells_of(row: str) -> list[str]:
    """The cells of a table's row, as GitHub splits it: at each `|` that no backslash escapes."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def rows_of(text: str) -> list[list[str]]:
    return [cells_of(line) for line in text.splitlines() if line.startswith("|")]


def test_rows_have_as_many_cells_as_their_table_has_columns() -> None:
    lines = as_markdown(ONE_FAILED).splitlines()
    ruled = [number for number, line in enumerate(lines) if set(line) <= set("|-: ") and line]

    assert len(ruled) == 3, "the answer, its conditions, and the blocks"
    for at in ruled:
        table = [cells_of(lines[at - 1])]
        while lines[at + len(table)].startswith("|"):
            table.append(cells_of(lines[at + len(table)]))
        assert len({len(row) for row in table}) == 1


def test_how_to_read_it_explains_every_column_that_could_be_misread() -> None:
    explained = {word for term, _ in legend.LEGEND for word in term.split(", ")} | {"p50 ms", "p99 ms"}
    headings = {column.heading for column in tables.GROUP_COLUMNS}

    assert headings - explained == {"server", "its interval"}
    assert explained <= headings
    text = as_markdown(EVERYTHING)
    assert all(f"- **{term}**: {meaning}\n" in text for term, meaning in legend.LEGEND)


def test_what_intervals_are_worth_is_told_with_the_number_of_blocks_and_of_ratios_where_there_are_any() -> None:
    six = unescaped(as_markdown(USUAL))
    few = unescaped(as_markdown(of_blocks(2, *measured(ONE, *range(2)), *measured(TWO, *range(2)))))

    assert "hold the true median with a chance of 96.9%" in six
    assert "Those of ratios hold together with a chance of 95 %." in six
    assert "A comparison needs" not in six
    assert "hold the true median with a chance of 50.0%" in few
    assert "A comparison needs 3 blocks at least: some have only 2, and are undecided." in few
    assert "Those of ratios" not in unescaped(as_markdown(of_blocks(6, *measured(ONE, *BLOCKS), cells=(ONE,))))


@pytest.mark.parametrize(
    ("of", "trials"),
    [(ONE_FAILED, "3 trials"), (session(*measured(ONE, 0), *(failed(TWO, block) for block in range(3))), "3 seconds")],
)
def test_failures_are_told_above_and_below_the_tables(of: Comparison, trials: str) -> None:
    text = as_markdown(of)

    assert f"- {trials} failed; see the warnings.\n" in text
    assert f"- two: 3 of {trials} failed: the server had ended\n" in text
    assert f"{trials} failed" not in as_markdown(USUAL)


def test_an_interactive_session_is_told_as_one() -> None:
    text = as_markdown(SESSION)

    assert text.startswith("# trial-run: 5 s of load\n")
    assert f"\n\n{markdown.interactive()}\n" in text
    assert "runtime local, 1 s windows. A CPU" in unescaped(text)
    assert not re.search(r"seed|blocks|true median", text)
    assert markdown.interactive() not in as_markdown(USUAL)


def test_how_to_read_an_interactive_session_explains_the_columns_that_it_has() -> None:
    shown = {term for term, _ in legend.legend(SESSION)}
    every = {term for term, _ in legend.legend(USUAL)}

    of_users = {"lost", "given up", "for nobody", "first event ms, event gap ms", "silent closed, after s"}
    of_servers = {"PSS MB, private MB", "throttled", "failed, longest gap ms, lost capacity"}
    of_some = {"busiest user", "round trip ms", "OS threads", "backends", *of_users, *of_servers}
    assert {term for term, _ in legend.LEGEND} - every == of_some
    assert every - shown == {"rank", "interval", "x reference", "x cost, cost interval"}
    text = as_markdown(SESSION)
    assert all((f"- **{term}**: " in text) == (term in shown) for term in every)


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


# Tables.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.614, "0.61"),
        (9.99, "9.99"),
        (10.0, "10.0"),
        (78.94, "78.9"),
        (100.0, "100"),
        (1534.4, "1,534"),
        (1e7, "10,000,000"),
    ],
)
def test_a_number_has_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_slots_without_bound_are_infinite() -> None:
    assert (tables.slots(None), tables.slots(8)) == ("∞", "8")


def test_the_answer_is_from_one_core_and_the_most_users() -> None:
    cells = tuple(testing.cell("one", users=users, cores=cores) for users in (8, 32) for cores in (1, 2))

    answer = at_once.answer(comparison(cells=cells))

    assert answer is not None
    assert "32 users, 1 core," in answer.title
    assert len(answer.rows) == 1


def test_there_is_no_answer_where_nothing_waits() -> None:
    waitless = comparison(cells=(testing.cell("one", workload="hello"),))

    assert at_once.answer(waitless) is None
    assert "How many requests at once?" not in as_markdown(waitless)


@pytest.mark.parametrize(
    ("workload", "told"),
    [
        ("hello", "hello, "),
        ("sleep", "sleep 50 ms, "),
        ("large", "large 1024 KiB, "),
        ("slow-client", "slow-client send 100 ms read 100 ms 1024 KiB, "),
        ("mixed", "mixed hello 50 db 25 upstream 15 cpu 5 large 5, "),
    ],
)
def test_a_workload_is_described_with_its_parameters(workload: str, told: str) -> None:
    cell = testing.cell(workload=workload)
    asked = replace(testing.experiment(cell), parameters=workloads.parameters({workload}, {}))

    assert tables.conditions(testing.run(asked), cell).startswith(told)


def test_each_of_the_conditions_has_a_table_of_its_own() -> None:
    cells = (ONE, TWO, testing.cell("one", connection="keep-alive"), testing.cell("two", workload="hello"))

    found = list(tables.groups(comparison(cells=cells)))

    assert [[row[1] for row in table.rows] for table in found] == [["two"], ["one", "two"], ["one"]]


def test_a_cell_without_figures_is_a_row_of_dashes_and_a_note() -> None:
    (table,) = tables.groups(ONE_FAILED)

    assert table.rows[1] == (tables.MISSING, "two", *[tables.MISSING] * (len(table.columns) - 2))
    assert table.notes == ("two: 3 of 3 trials failed: the server had ended",)


def column(of: Comparison, name: str) -> list[str]:
    (table,) = tables.groups(of)
    index = [each.heading for each in table.columns].index(name)
    return [row[index] for row in table.rows]


def test_the_reference_is_named_where_something_is_compared_with_it() -> None:
    (compared,) = tables.groups(USUAL)
    (alone,) = tables.groups(comparison(*measured(ONE, 0), cells=(ONE,)))

    assert compared.title == "sleep 50 ms, 32 users, 1 core, connection: close; reference: one"
    assert alone.title == "sleep 50 ms, 32 users, 1 core, connection: close"


def test_one_block_has_no_interval() -> None:
    assert column(comparison(*measured(ONE, 0), cells=(ONE,)), "interval") == [tables.MISSING]
    assert column(comparison(*measured(ONE, 0, 1), cells=(ONE,)), "interval") == ["20.0 to 20.0"]


def test_a_rank_is_shown_as_the_places_that_a_server_may_have() -> None:
    assert column(USUAL, "rank") == ["2", "1"]
    assert column(of_blocks(6, *measured(ONE, *BLOCKS), *measured(TWO, *BLOCKS)), "rank") == ["1 to 2", "1 to 2"]
    assert column(comparison(*measured(ONE, 0), cells=(ONE,)), "rank") == ["1"]


def test_servers_without_a_rank_do_not_share_one() -> None:
    """Both have none, because of a broken gate; and so has the one that failed."""
    broken = comparison(*(each for cell in (ONE, TWO) for each in measured(cell, 0, generator_cpu=0.9)))

    assert column(broken, "rank") == [tables.MISSING] * 2
    assert column(ONE_FAILED, "rank") == ["1", tables.MISSING]


def test_the_share_of_the_limit_is_shown_where_there_is_a_limit() -> None:
    assert column(USUAL, "of limit") == ["100%", "200%"]
    unbounded = {"one": testing.server("one", slots=None)}
    unread = testing.observation(ONE, server_cpu_s=None)
    assert column(comparison(unread, cells=(ONE,), servers=unbounded), "of limit") == [tables.MISSING]


def test_a_cell_without_a_latency_has_none_in_any_format() -> None:
    silent = of_blocks(
        1, *measured(ONE, 0, latency_histogram=testing.histogram(), latency_ms={}, latency_mean_ms=0.0), cells=(ONE,)
    )

    assert column(silent, "p50 ms") == column(silent, "p99 ms") == [tables.MISSING]
    assert as_yaml(silent)["cells"][0]["latency_ms"] == {}
    assert as_markdown(silent)
    assert on_terminal(silent)


def test_a_comparison_that_is_not_drawn_is_noted_with_the_gates_that_are_broken() -> None:
    (table,) = tables.groups(SPOILT)

    assert table.notes[-1] == "two: not compared with one, because of: generator, little"
    assert column(SPOILT, "x reference") == [tables.MISSING, "2.00 undecided"]


def test_beside_a_neighbour_it_is_the_speed_that_is_not_compared_where_the_cost_is() -> None:
    (pair,) = SPOILT.pairs
    ratio = Interval(median=1.2, low=1.1, high=1.3)
    cost = CostRatio(blocks=6, ratio=ratio, verdict="more", margin=0.09, because="by CPU time")

    (result,) = (each for each in SPOILT.cells if each.cell == pair.cell)
    spoilt = replace(pair, broken_gates=("neighbour",), cost=cost)
    assert [(each.kind, each.text) for each in tables.warnings(replace(result, warnings=()), spoilt)] == [
        ("not-compared", "not compared by speed with one, because of: neighbour"),
        ("cost", "cost against one: more, by CPU time"),
    ]


def test_a_comparison_of_too_few_blocks_is_noted_with_how_many_it_needs() -> None:
    (few,) = tables.groups(of_blocks(2, *measured(ONE, *range(2)), *measured(TWO, *range(2))))
    (enough,) = tables.groups(of_blocks(3, *measured(ONE, *range(3)), *measured(TWO, *range(3))))

    assert few.notes == ("two: undecided against one, with 2 of the 3 blocks that a comparison needs at least",)
    assert enough.notes == ()


def test_conditions_at_a_rate_are_described_by_it() -> None:
    (table,) = tables.groups(SCHEDULED)

    assert table.title == "sleep 50 ms, 20 requests/s, poisson, 1 core, connection: close; reference: one"
    assert "one: 6 requests begun late: the generator could not keep to its schedule" in table.notes


def test_the_answer_is_from_users_rather_than_from_a_rate_where_there_are_both() -> None:
    answer = at_once.answer(comparison(cells=(AT_RATE[0], ONE)))
    scheduled = at_once.answer(SCHEDULED)

    assert answer is not None
    assert "32 users" in answer.title
    assert scheduled is not None
    assert "20 requests/s, poisson" in scheduled.title


def test_an_even_share_is_not_worth_a_figure() -> None:
    assert column(USUAL, "busiest") == [tables.MISSING] * 2
    uneven = {"one": testing.server("one", processes=2)}
    assert column(comparison(*measured(ONE, 0), cells=(ONE,), servers=uneven), "busiest") == ["2.00"]


def test_an_interactive_session_has_no_columns_that_compare() -> None:
    (table,) = tables.groups(SESSION)
    (usual,) = tables.groups(USUAL)

    assert list(usual.columns) == USUAL_COLUMNS
    assert [each.heading for each in table.columns] == [
        each.heading for each in USUAL_COLUMNS if each.heading not in INTERLEAVED_ONLY
    ]
    assert table.title == "sleep 50 ms, 32 users, 1 core, connection: close"
    assert table.notes == ()


def test_the_figures_of_an_interactive_session_are_below_their_headings() -> None:
    assert column(SESSION, "server") == ["one", "two"]
    assert column(SESSION, "requests/s") == ["20.0", "40.0"]
    assert column(SESSION, "of limit") == ["100%", "200%"]
    assert column(SESSION, "because") == ["1.0 requests were in flight on average, with 1 slot and 32 users"] * 2


def test_what_is_known_of_few_servers_has_a_column_where_it_is_known_of_any() -> None:
    assert column(WAITING, "OS threads") == ["8", tables.MISSING], "the median, rounded"
    assert column(WAITING, "backends") == ["18%", tables.MISSING]
    assert column(EVERYTHING, "round trip ms") == ["0.21", tables.MISSING]
    assert column(EVERYTHING, "busiest user") == ["1.50", tables.MISSING]
    assert [each.get("busiest_user_share") for each in as_yaml(EVERYTHING)["cells"]] == [1.5, None]
    of_server = ("PSS MB", "private MB", "failed", "longest gap ms", "lost capacity", "throttled")
    assert [column(EVERYTHING, name)[0] for name in of_server] == ["41 to 55", "22", "18", "120", "25%", "10%"]
    entry = as_yaml(EVERYTHING)["cells"][0]
    assert (entry["memory_start_pss_mb"], entry["memory_private_mb"]) == (41.0, 22.0)
    assert (entry["lost_capacity"]["median"], entry["throttled_share"]["median"]) == (0.25, 0.1)
    assert "longest_gap_ms" not in as_yaml(USUAL)["cells"][0], "in runs of a lab that did not look for it"
    (table,) = tables.groups(EVERYTHING)
    assert table.columns == tables.GROUP_COLUMNS
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_what_users_met_is_told_where_they_met_it_and_nowhere_else() -> None:
    of_users = {"lost": "12", "given up": "180", "for nobody": "25%", "silent closed": "24", "after s": "2"}
    for heading, shown in {**of_users, "first event ms": "12.0", "event gap ms": "99.0"}.items():
        assert column(EVERYTHING, heading) == [shown, tables.MISSING]
    known, unknown = as_yaml(EVERYTHING)["cells"]
    assert (known["reset"], known["abandoned"], known["idle_closed"], known["refused"]) == (12, 180, 24, 6)
    assert (known["wasted_work"]["median"], known["idle_held_s"]["median"]) == (0.25, 2.04)
    assert known["idle_longest_s"] == 2.1
    assert not {*MET, "idle_closed", "idle_held_s", "idle_longest_s"} & unknown.keys()


def test_the_document_has_the_figures_of_backends_and_of_connections() -> None:
    slow = of_blocks(1, *measured(ONE, 0, slow_connections=3), cells=(ONE,))
    entry = as_yaml(WAITING)["cells"][0]

    assert (entry["os_threads"], entry["backend_cpu"], entry["slow_connections"]) == (8, 0.183, 0)
    assert entry["intervals"]["backend_cpu"] == {"median": 0.183, "low": 0.1, "high": 0.267}
    assert as_yaml(WAITING)["run"]["backend_cpus"] == "2"
    for reopened in (None, 0, 3):
        counted = of_blocks(1, *measured(ONE, 0, reopened=reopened), cells=(ONE,))
        assert as_yaml(counted)["cells"][0]["reopened"] == reopened
    assert [as_yaml(slow)["cells"][0][key] for key in ("os_threads", "backend_cpu", "slow_connections")] == [
        None,
        None,
        3,
    ]
    assert "backend_cpu" not in as_yaml(slow)["cells"][0]["intervals"]


def test_where_backends_run_is_told() -> None:
    assert "generator on core 1, backends on core 2." in unescaped(as_markdown(WAITING))
    assert "generator on core 1." in unescaped(as_markdown(USUAL))


# The terminal.


def test_the_terminal_shows_an_interactive_session_without_columns_that_compare() -> None:
    lines = [re.split(r"  +", line.strip()) for line in on_terminal(SESSION, WIDE).splitlines()]
    expected = [each.heading for each in USUAL_COLUMNS if each.heading not in INTERLEAVED_ONLY]

    assert expected in lines
    assert ["two", "1 of 1", tables.MISSING, "40.0"] in [line[:4] for line in lines]


def test_the_terminal_shows_markup_as_it_is() -> None:
    servers = {"one": testing.server("one", summary="[red]x[/red] :x:"), "two": testing.server("two")}

    text = on_terminal(comparison(failed(ONE, 0, reason="[bold]no[/bold] [/]"), servers=servers))

    assert "[red]x[/red] :x:" in text
    assert "[bold]no[/bold] [/]" in text


LONG = testing.cell("gunicorn-gthread-2x4")
LONG_NAMED = comparison(*measured(LONG, 0, 1, 2), cells=(LONG,))


WIDE = 300
"""Wide enough for every column of LONG_NAMED."""


def tables_alone(width: int) -> list[str]:
    """The lines of its tables on a terminal of that width."""
    return printed(terminal.every_table(LONG_NAMED, width), width=width).splitlines()


def header(width: int) -> str:
    """The last table's header on a terminal of that width."""
    return next(line for line in reversed(tables_alone(width)) if "requests/s" in line)


def last_row(width: int) -> str:
    """The only row of the last table; an empty line follows it."""
    return tables_alone(width)[-2].rstrip()


def headings(width: int) -> list[str]:
    return re.split(r"  +", header(width).strip())


def test_figures_end_where_their_heading_ends_and_words_begin_where_it_begins() -> None:
    row = last_row(WIDE)

    assert row[: header(WIDE).index("requests/s") + len("requests/s")].endswith("  20.0")
    assert row[header(WIDE).index("bound by") :].startswith("slots  ")
    assert row[header(WIDE).index("because") :].startswith("1.0 requests were in flight")


def test_a_terminal_wide_enough_shows_every_column() -> None:
    every = [column.heading for column in tables.GROUP_COLUMNS if not column.optional]
    just_enough = len(last_row(WIDE))

    assert headings(WIDE) == every
    assert headings(just_enough) == every


def test_a_terminal_a_character_too_narrow_leaves_out_the_column_of_the_last_rank_alone() -> None:
    every = [column.heading for column in tables.GROUP_COLUMNS if not column.optional]
    just_enough = len(last_row(WIDE))

    assert headings(just_enough - 1) == [heading for heading in every if heading != "because"]


def test_columns_of_the_first_rank_are_always_shown() -> None:
    first = [column.heading for column in tables.GROUP_COLUMNS if column.rank == 0]

    assert headings(66) == [*first[:-1], "x reference", first[-1]], "the second rank has room beside the first here"
    assert headings(53) == first


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_terminal_leaves_columns_out_but_cuts_none(width: int) -> None:
    text = on_terminal(LONG_NAMED, width)

    assert "…" not in text
    assert len(re.findall(r"(?:^|  )gunicorn-gthread-2x4 ", text, re.MULTILINE)) == 2
    assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_grid_never_breaks_a_name_or_a_word(width: int) -> None:
    workspace = commands.workspace({})
    lines = printed(commands.catalogue_table(workspace, width), width=width).splitlines()

    assert max(map(len, lines)) <= width
    servers = read_catalogue(workspace)
    assert [line.split()[0] for line in lines[1:] if line[:1].strip()] == list(servers)
    words = {word for server in servers.values() for word in (server.name, server.stack, *server.command)}
    assert words <= set(" ".join(lines).split())


def test_a_grid_has_its_columns_and_its_rows_as_they_are() -> None:
    lines = printed(terminal.grid(["name", "slots"], [["[b]one[/b]", "1"], ["two", "∞"]], 80), width=80).splitlines()

    assert [line.split() for line in lines] == [
        ["name", "slots"],
        ["[b]one[/b]", "1"],
        ["two", "∞"],
    ]


# Claims.

STILL = testing.cell("one", users=8)
CLAIMS = (
    Claim(
        id="single",
        claim="The development server | as it comes | handles one request at a time.",
        met="a <b>book</b>",
        holds=(Condition(figure="peak_in_flight", of=ONE, at_most=1),),
        shows=(Condition(figure="latency_p99_ms", of=ONE),),
        explanation="It does *one* thing.",
        advice="Use another.",
    ),
    Claim(
        id="faster",
        claim="Two is faster.",
        met="nowhere",
        holds=(
            Condition(figure="throughput_rps", of=TWO, over=ONE, at_least=3),
            Condition(figure="throughput_rps", of=TWO, at_least=1, at_most=1000),
        ),
        explanation="It is not.",
        advice="Do not believe it.",
    ),
    Claim(
        id="busy",
        claim="Eight users are enough.",
        met="here and there",
        holds=(
            Condition(figure="server_cpu", of=STILL, at_least=0.5, at_most=0.5),
            Condition(figure="peak_in_flight", of=ONE, at_most=1),
        ),
        explanation="Who knows.",
        advice="Measure it.",
    ),
)
CLAIMED = testing.run(testing.experiment(ONE, TWO, STILL, blocks=6), notes=("a note",))
RESULTS = claims.judge(
    CLAIMED,
    [
        *measured(ONE, *BLOCKS),
        *measured(TWO, *BLOCKS, throughput_rps=40.0, latency_mean_ms=800.0),
        *(failed(STILL, block) for block in BLOCKS),
    ],
    CLAIMS,
)


def claims_as_markdown() -> str:
    ((name, content),) = claims_md(CLAIMED, RESULTS).items()
    assert name == "claims.md"
    return content.decode()


def claims_on_terminal(width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal.verdicts(RESULTS))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_verdicts_come_with_the_figures_that_decided_them() -> None:
    assert rendered.summary(RESULTS) == "1 confirmed, 1 refuted, 1 undecided"
    assert rendered.verdicts(RESULTS) == [
        ("1", CLAIMS[0].claim, "confirmed", ["peak in flight 1 (one)"]),
        ("2", CLAIMS[1].claim, "refuted", ["requests/s x 2.00 (two over one)"]),
        ("3", CLAIMS[2].claim, "undecided", ["CPU (one, 8 users): 6 of 6 trials of one failed: the server had ended"]),
    ]


def test_figures_that_differ_from_block_to_block_are_told_with_both_ends() -> None:
    uneven = [testing.observation(ONE, block=block, server_cpu_s=0.06 + block / 100) for block in BLOCKS]
    holds = (Condition(figure="server_cpu", of=ONE, at_most=0.9),)

    (result,) = claims.judge(CLAIMED, uneven, [replace(CLAIMS[0], holds=holds, shows=())])

    assert rendered.deciding(result) == ["CPU 20% to 37% (one)"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cores": 2}, "one, 2 cores"),
        ({"workload": "cpu"}, "one, cpu"),
        ({"users": 8}, "one, 8 users"),
        ({"connection": "keep-alive"}, "one, keep-alive"),
        ({"server": "other"}, "one"),
    ],
)
def test_a_cell_is_called_by_its_server_and_what_tells_it_from_the_others(change: dict[str, Any], told: str) -> None:
    changed = replace(ONE, **change)

    assert rendered.label(replace(changed, server="one"), [ONE, changed]) == told


def test_each_claim_has_its_evidence_its_explanation_and_what_to_do() -> None:
    text = claims_as_markdown()

    assert (
        "## 2. Two is faster.\n\n**Refuted.** It is not.\n\nWhat to do: Do not believe it.\n\nMet in: nowhere\n" in text
    )
    both = "two, sleep 50 ms, 32 users, 1 core, connection: close, over one, sleep 50 ms, 32 users, 1 core, connection: close"
    rows = rows_of(text)
    assert ["requests/s (ratio)", both, "at least 3", "6", "2.00", "2.00 to 2.00", "refuted"] in rows
    conditions = "one, sleep 50 ms, 32 users, 1 core, connection: close"
    assert ["peak in flight", conditions, "at most 1", "6", "1", "1 to 1", "confirmed"] in rows
    assert ["p99 ms", conditions, tables.MISSING, "6", "1,600", "1,600 to 1,600", "shown"] in rows
    assert any(row[2] == "at least 1 and at most 1000" for row in rows)
    assert any(row[2:] == ["exactly 0.5", "0", tables.MISSING, tables.MISSING, "undecided"] for row in rows)
    assert "- CPU (one, 8 users): 6 of 6 trials of one failed: the server had ended\n" in text


def test_the_document_of_claims_has_every_claim_with_its_conditions() -> None:
    ((name, content),) = claims_yaml(CLAIMED, RESULTS).items()
    found = yaml.safe_load(content)

    assert name == "claims.yaml"
    assert (found["schema"], found["run"]["id"], found["run"]["runtime"]) == (1, CLAIMED.id, "local")
    assert {"started", "host", "server_cpus", "generator_cpus", "blocks", "notes"} <= found["run"].keys()
    assert found["verdicts"] == {"confirmed": 1, "refuted": 1, "undecided": 1, "not tested": 0}
    first, second, third = found["claims"]
    assert list(first) == ["id", "claim", "met", "verdict", "conditions", "shown", "explanation", "advice"]
    assert (first["id"], first["verdict"], first["advice"]) == ("single", "confirmed", "Use another.")
    (condition,) = first["conditions"]
    assert condition == {
        "figure": "peak_in_flight",
        "of": {"server": "one", "workload": "sleep", "cores": 1, "users": 32, "connection": "close"},
        "at_most": 1,
        "blocks": 6,
        "median": 1,
        "low": 1,
        "high": 1,
        "verdict": "confirmed",
        "reason": "",
    }
    (shown,) = first["shown"]
    assert "verdict" not in shown
    assert "at_most" not in shown
    assert shown["median"] == 1600.0
    assert second["conditions"][0]["over"]["server"] == "one"
    assert (second["conditions"][1]["at_least"], second["conditions"][1]["at_most"]) == (1, 1000)
    assert (third["conditions"][0]["median"], third["conditions"][0]["blocks"]) == (None, 0)
    assert third["conditions"][0]["reason"] == "6 of 6 trials of one failed: the server had ended"


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_terminal_folds_claims_and_cuts_none(width: int) -> None:
    text = claims_on_terminal(width)
    lines = text.splitlines()

    assert lines[0].rstrip() == "Claims: 1 confirmed, 1 refuted, 1 undecided"
    assert "…" not in text
    assert all(len(line) <= width for line in lines)
    words = set(re.findall(r"\S+", text))
    for count, claim, verdict, evidence in rendered.verdicts(RESULTS):
        assert {count, verdict, *claim.split(), *" ".join(evidence).split()} <= words


# By request.


def test_a_mix_is_told_by_request_in_yaml_and_markdown_and_nothing_else_is() -> None:
    of_mix = testing.cell("one", workload="shop")

    def report(orders_rps: float) -> dict[str, Any]:
        figures = {"latency_mean_ms": 20.04, "latency_p50_ms": 19.0, "latency_p95_ms": 30.0}
        none = {"latency_mean_ms": None, "latency_p50_ms": None, "latency_p95_ms": None}
        return {
            "by_request": {
                "orders": RequestReport(completed=5, throughput_rps=orders_rps, **figures),
                "buy": RequestReport(completed=0, throughput_rps=0.0, **none),
            }
        }

    asked = testing.experiment(of_mix, application=testing.application())
    observations = [
        testing.observation(of_mix, block=block, swarm=testing.trial_report(**report(15.0 + block)))
        for block in range(3)
    ]
    found = compare(testing.run(asked), observations)
    document = yaml.safe_load(comparison_yaml(found)["comparison.yaml"])
    text = markdown.comparison_md(found)["comparison.md"].decode()

    assert document["cells"][0]["by_request"]["orders"] == {
        "completed": 15,
        "throughput_rps": {"median": 16.0, "low": 15.0, "high": 17.0},
        "latency_mean_ms": {"median": 20.0, "low": 20.0, "high": 20.0},
        "latency_p50_ms": {"median": 19.0, "low": 19.0, "high": 19.0},
        "latency_p95_ms": {"median": 30.0, "low": 30.0, "high": 30.0},
    }
    assert "| one | orders | 16.0 | 20.0 | 19.0 | 30.0 |" in text
    assert "| one | buy | 0.00 | – | – | – |" in text
    assert "by request" in text
    assert "one     orders         16.0" in on_terminal(found)
    assert "<summary>By request</summary>" in html.report(found)["report.html"].decode()
    assert "by_request" not in comparison_yaml(USUAL)["comparison.yaml"].decode()
    assert "by request" not in markdown.comparison_md(USUAL)["comparison.md"].decode()


def test_of_an_application_the_answer_is_that_of_its_first_request() -> None:
    cells = [testing.cell("one", workload=name) for name in ("shop", "buy", "orders")]
    asked = testing.experiment(*cells, application=testing.application())
    found = compare(testing.run(asked), [each for cell in cells for each in measured(cell, 0, 1, 2)])

    answer = at_once.answer(found)

    assert answer is not None
    assert answer.title == "How many requests at once? (orders, 32 users, 1 core, connection: close)"
    assert len(answer.rows) == 1
    of_mix = replace(asked, cells=tuple(cells[:1]))
    assert at_once.answer(compare(testing.run(of_mix), measured(cells[0], 0, 1, 2))) is None
