"""The comparison as YAML, as Markdown and on a terminal."""

import io
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from wsgilab import testing
from wsgilab.compare import compare
from wsgilab.model import Cell, Comparison, InFlight, Observation
from wsgilab.render import FORMATS, markdown, tables, terminal

ONE, TWO = testing.cell("one"), testing.cell("two")
NASTY = "a | b <script>alert(1)</script> `rm` *x* [y](z)\n# heading\r\n| cell |"


def failed(of: Cell, block: int, reason: str = "the server had ended") -> Observation:
    return testing.observation(of, block=block, status="failed", swarm=None, reason=reason)


def measured(of: Cell, *blocks: int, **swarm: Any) -> list[Observation]:
    return [testing.observation(of, block=block, swarm=testing.swarm_report(**swarm)) for block in blocks]


def comparison(*observations: Observation, cells: tuple[Cell, ...] = (ONE, TWO), **run: Any) -> Comparison:
    return compare(testing.run(testing.experiment(*cells), **run), observations)


USUAL = comparison(*measured(ONE, 0, 1, 2), *measured(TWO, 0, 1, 2, throughput_rps=40.0, latency_mean_ms=800.0))
ONE_FAILED = comparison(*measured(ONE, 0, 1, 2), *(failed(TWO, block) for block in range(3)))


def as_yaml(of: Comparison) -> Any:
    ((name, content),) = FORMATS["yaml"](of).items()
    assert name == "comparison.yaml"
    return yaml.safe_load(content)


def as_markdown(of: Comparison) -> str:
    ((name, content),) = FORMATS["markdown"](of).items()
    assert name == "comparison.md"
    return content.decode()


def on_terminal(of: Comparison, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal.comparison(of, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# YAML.


def test_the_document_has_the_keys_of_schema_1() -> None:
    document = as_yaml(USUAL)

    assert document["schema"] == 1
    assert {"id", "experiment", "runtime", "seed", "started", "host"} <= document["run"].keys()
    for entry in document["cells"]:
        assert {
            "server",
            "cores",
            "workload",
            "users",
            "connection",
            "slots",
            "in_flight",
            "throughput_rps",
            "latency_ms",
            "limit_rps",
            "cpu_ms_per_request",
            "server_cpu",
            "generator_cpu",
            "failures",
            "cut_off",
            "blocks",
            "bound_by",
            "warnings",
        } <= entry.keys()
        assert {"peak", "mean", "processes", "threads"} <= entry["in_flight"].keys()
        assert {"median", "low", "high"} <= entry["throughput_rps"].keys()
        assert {"p50", "p95", "p99", "max"} <= entry["latency_ms"].keys()
    (pair,) = document["comparisons"]
    assert {"workload", "cores", "users", "connection", "server", "reference", "ratio", "verdict"} <= pair.keys()
    assert {"median", "low", "high"} <= pair["ratio"].keys()


def test_the_document_holds_the_figures_of_the_comparison() -> None:
    document = as_yaml(USUAL)
    first, second = document["cells"]

    assert document["run"]["trials"] == {"planned": 6, "measured": 6, "failed": 0}
    assert document["run"]["host"]["siblings"] == ["0", "1"]
    assert document["run"]["server_cpus"] == {1: "0"}
    assert (first["server"], first["slots"], first["bound_by"], first["warnings"]) == ("one", 1, "slots", [])
    assert first["in_flight"] == {"peak": 1, "mean": 0.99, "processes": 1, "threads": 1, "busiest_share": 1.0}
    assert first["throughput_rps"] == {"median": 20.0, "low": 20.0, "high": 20.0}
    assert first["limit_rps"] == 20.0
    assert first["cpu_ms_per_request"] == 1.1
    assert first["latency_ms"]["p50"] == pytest.approx(1600, rel=1e-3)
    assert second["throughput_rps"]["median"] == 40.0
    assert document["comparisons"][0]["ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert document["comparisons"][0]["verdict"] == "faster"


def test_figures_are_rounded_to_what_the_method_can_tell() -> None:
    uneven = InFlight(peak=1, mean=0.98765, threads=1, requests_per_process=(6, 5))
    blocks = [
        testing.observation(
            cell,
            swarm=testing.swarm_report(
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
    assert entry["throughput_rps"]["median"] == 20.1
    assert entry["latency_ms"]["p50"] == round(entry["latency_ms"]["p50"], 1)
    assert entry["service_ms"] == 0.123
    assert entry["limit_rps"] == 490.8
    assert entry["cpu_ms_per_request"] == 2.037
    assert entry["server_cpu"] == 0.041
    assert entry["generator_cpu"] == 0.012
    assert entry["resident_mb"] == 56.8
    assert document["comparisons"][0]["ratio"]["median"] == 1.54


def test_the_document_begins_with_its_schema_and_can_be_read_by_people() -> None:
    text = FORMATS["yaml"](comparison(notes=("été",)))["comparison.yaml"].decode()

    assert text.startswith("schema: 1\nrun:\n  id: 20260102-030405-trial-run\n  experiment: trial-run\n")
    assert "  server_cpus: {1: '0'}\n" in text
    assert "  notes: [été]\n" in text


def test_a_figure_that_is_not_known_is_null() -> None:
    unread = testing.observation(ONE, server_cpu_s=None, server_span_s=None, resident_bytes=None)
    servers = {name: testing.server(name, slots=None, processes=None) for name in ("one", "two")}

    entry = as_yaml(comparison(unread, servers=servers))["cells"][0]

    assert entry["slots"] == "unbounded"
    for key in ("limit_rps", "cpu_ms_per_request", "server_cpu", "resident_mb"):
        assert entry[key] is None, key
    assert entry["in_flight"]["busiest_share"] is None
    assert entry["throughput_rps"] == {"median": 20.0, "low": None, "high": None}


def test_a_cell_without_a_measured_block_has_warnings_and_no_figure() -> None:
    entry = as_yaml(ONE_FAILED)["cells"][1]

    assert (entry["server"], entry["blocks"]) == ("two", 0)
    assert entry["warnings"] == ["3 of 3 trials failed: the server had ended"]
    assert entry.get("throughput_rps") is None
    assert entry.get("bound_by") is None


def test_any_text_survives_the_document() -> None:
    document = as_yaml(comparison(failed(ONE, 0, reason="été ∞ \x1b[31m: - 'x'"), notes=(NASTY,)))

    assert document["run"]["notes"] == [NASTY]
    assert "été ∞ \x1b[31m: - 'x'" in document["cells"][0]["warnings"][0]


# Markdown.


def cells_of(row: str) -> list[str]:
    """The cells of a table's row, as GitHub splits it: at each `|` that no backslash escapes."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def rows_of(text: str) -> list[list[str]]:
    return [cells_of(line) for line in text.splitlines() if line.startswith("|")]


def test_the_readers_answer_shows_every_server_with_its_figures() -> None:
    text = as_markdown(USUAL)

    assert text.startswith("# trial-run: 6 of 6 trials measured\n")
    assert "## How many requests at once? (sleep 50 ms, 32 users, 1 core, connection: close)\n" in text
    assert ["one", "one in a few words", "1", "1", "1.0", "1", "20.0", "slots"] in rows_of(text)
    assert "2.00 faster" in next(row for row in rows_of(text) if row[0] == "two" and "1 of 1" in row)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_rows_have_as_many_cells_as_their_table_has_columns() -> None:
    lines = as_markdown(ONE_FAILED).splitlines()
    ruled = [number for number, line in enumerate(lines) if set(line) <= set("|-: ") and line]

    assert len(ruled) == 2
    for number in ruled:
        table = [cells_of(lines[number - 1])]
        while lines[number + len(table)].startswith("|"):
            table.append(cells_of(lines[number + len(table)]))
        assert len({len(row) for row in table}) == 1


def test_names_and_words_are_aligned_left_and_figures_right() -> None:
    left, right = " --- ", " ---: "
    rules = [line.strip("|").split("|") for line in as_markdown(USUAL).splitlines() if line.startswith("| ---")]

    assert rules == [[left, left, *[right] * 5, left], [left, *[right] * 11, left]]


def test_failures_are_told_above_and_below_the_tables() -> None:
    text = as_markdown(ONE_FAILED)

    assert "- 3 trials failed; see the warnings.\n" in text
    assert "- two: 3 of 3 trials failed: the server had ended\n" in text
    assert "trials failed" not in as_markdown(USUAL)


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def test_markup_in_names_reasons_and_notes_is_escaped() -> None:
    servers = {name: testing.server(name, summary=NASTY) for name in ("one", "two")}
    broken = comparison(
        *measured(ONE, 0, failures=1, errors={NASTY: 1}), failed(TWO, 0, reason=NASTY), servers=servers, notes=(NASTY,)
    )

    text = as_markdown(broken)

    assert "<script>" not in text
    assert "`rm`" not in text
    assert "\n# heading" not in text
    assert "[y](z)" not in text
    assert len([row for row in rows_of(text) if row[0] == "one"]) == 2
    assert {len(row) for row in rows_of(text)} == {8, 13}
    flat = " ".join(NASTY.split())
    assert unescaped(next(row for row in rows_of(text) if row[0] == "two")[1]) == flat
    assert text.count(markdown.escape(NASTY)) == 4, "two summaries, a note and an error"


@given(st.text())
def test_an_escaped_text_has_one_line_and_no_markup_and_loses_nothing(text: str) -> None:
    escaped = markdown.escape(text)

    assert escaped.splitlines() in ([], [escaped])
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|#]", escaped)
    assert unescaped(escaped) == " ".join(text.split())


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
    assert tables.number(value) == text


def test_slots_without_bound_are_infinite() -> None:
    assert (tables.slots(None), tables.slots(8)) == ("∞", "8")


def test_conditions_are_described_in_words() -> None:
    cell = testing.cell("one", workload="hello", cores=2, users=8, connection="keep-alive")

    assert tables.describe(comparison(cells=(cell,)), cell) == "hello, 8 users, 2 cores, connection: keep-alive"


def test_the_answer_is_from_one_core_and_the_most_users() -> None:
    cells = tuple(testing.cell("one", users=users, cores=cores) for users in (8, 32) for cores in (1, 2))

    answer = tables.answer(comparison(cells=cells))

    assert answer is not None
    assert "32 users, 1 core," in answer.title
    assert len(answer.rows) == 1


def test_there_is_no_answer_where_nothing_waits() -> None:
    waitless = comparison(cells=(testing.cell("one", workload="hello"),))

    assert tables.answer(waitless) is None
    assert "How many requests at once?" not in as_markdown(waitless)


def test_each_of_the_conditions_has_a_table_of_its_own() -> None:
    cells = (ONE, TWO, testing.cell("one", connection="keep-alive"), testing.cell("two", workload="hello"))

    found = list(tables.groups(comparison(cells=cells)))

    assert [[row[0] for row in table.rows] for table in found] == [["one", "two"], ["one"], ["two"]]


def test_a_cell_without_figures_is_a_row_of_dashes_and_a_note() -> None:
    (table,) = tables.groups(ONE_FAILED)

    assert table.rows[1] == ("two", *[tables.MISSING] * (len(table.columns) - 1))
    assert table.notes == ("two: 3 of 3 trials failed: the server had ended",)


def column(of: Comparison, name: str) -> list[str]:
    (table,) = tables.groups(of)
    index = [each.heading for each in table.columns].index(name)
    return [row[index] for row in table.rows]


def test_the_ratio_is_shown_with_its_verdict_and_the_reference_has_none() -> None:
    assert column(USUAL, "x reference") == [tables.MISSING, "2.00 faster"]


def test_the_reference_is_named_where_something_is_compared_with_it() -> None:
    (compared,) = tables.groups(USUAL)
    (alone,) = tables.groups(comparison(*measured(ONE, 0), cells=(ONE,)))

    assert compared.title == "sleep 50 ms, 32 users, 1 core, connection: close; reference: one"
    assert alone.title == "sleep 50 ms, 32 users, 1 core, connection: close"


def test_one_block_has_no_range() -> None:
    assert column(comparison(*measured(ONE, 0), cells=(ONE,)), "blocks") == [tables.MISSING]
    assert column(comparison(*measured(ONE, 0, 1), cells=(ONE,)), "blocks") == ["20.0 to 20.0"]


def test_an_even_share_is_not_worth_a_figure() -> None:
    assert column(USUAL, "busiest") == [tables.MISSING] * 2
    uneven = {"one": testing.server("one", processes=2)}
    assert column(comparison(*measured(ONE, 0), cells=(ONE,), servers=uneven), "busiest") == ["2.00"]


# The terminal.


def test_the_terminal_shows_answer_table_and_warnings() -> None:
    text = on_terminal(ONE_FAILED)

    assert "How many requests at once?" in text
    assert "one in a few words" in text
    assert "  ! two: 3 of 3 trials failed: the server had ended" in text


def test_the_terminal_shows_markup_as_it_is() -> None:
    servers = {"one": testing.server("one", summary="[red]x[/red] :x:"), "two": testing.server("two")}

    text = on_terminal(comparison(failed(ONE, 0, reason="[bold]no[/bold] [/]"), servers=servers))

    assert "[red]x[/red] :x:" in text
    assert "[bold]no[/bold] [/]" in text


LONG = testing.cell("gunicorn-gthread-2x4")
LONG_NAMED = comparison(*measured(LONG, 0, 1, 2), cells=(LONG,))


def header(width: int) -> str:
    """The last table's header on a terminal of that width."""
    return next(line for line in reversed(on_terminal(LONG_NAMED, width).splitlines()) if "in flight" in line)


def headings(width: int) -> list[str]:
    return re.split(r"  +", header(width).strip())


def test_figures_end_where_their_heading_ends_and_words_begin_where_it_begins() -> None:
    row = next(line for line in on_terminal(LONG_NAMED).splitlines() if "1 of 1" in line)

    assert row[: header(200).index("requests/s") + len("requests/s")].endswith("  20.0")
    assert row[header(200).index("bound by") :].rstrip() == "slots"


def test_a_terminal_wide_enough_shows_every_column() -> None:
    every = [column.heading for column in tables.GROUP_COLUMNS]
    just_enough = len(header(200).rstrip())

    assert headings(200) == every
    assert headings(just_enough) == every


def test_a_terminal_a_character_too_narrow_leaves_out_the_column_of_the_last_rank_alone() -> None:
    every = [column.heading for column in tables.GROUP_COLUMNS]
    just_enough = len(header(200).rstrip())

    assert headings(just_enough - 1) == [heading for heading in every if heading != "generator"]


def test_columns_of_the_first_rank_are_always_shown() -> None:
    first = [column.heading for column in tables.GROUP_COLUMNS if column.rank == 0]

    assert headings(66) == [*first[:-1], "x reference", first[-1]], "the second rank has room beside the first here"
    assert headings(53) == first


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_terminal_leaves_columns_out_but_cuts_none(width: int) -> None:
    text = on_terminal(LONG_NAMED, width)

    assert "…" not in text
    assert len(re.findall(r"^gunicorn-gthread-2x4 ", text, re.MULTILINE)) == 2
    assert all(len(line) <= width for line in text.splitlines())


def test_a_grid_has_its_columns_and_its_rows_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(terminal.grid(["name", "slots"], [["[b]one[/b]", "1"], ["two", "∞"]]))

    assert isinstance(console.file, io.StringIO)
    assert [line.split() for line in console.file.getvalue().splitlines()] == [
        ["name", "slots"],
        ["[b]one[/b]", "1"],
        ["two", "∞"],
    ]


@pytest.mark.parametrize("text", ["- a", "+ a", "1. a", "2) a"])
def test_a_text_that_would_begin_a_list_does_not(text: str) -> None:
    assert "\\" in markdown.escape(text)
    assert markdown.escape("3.5 ms") == "3.5 ms"
