"""Warnings at the end of a run: each kind once, whatever it is of."""

from collections.abc import Mapping
from dataclasses import replace

from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.model import Comparison
from wsgilab.report import markdown, terminal

CELLS = tuple(testing.cell(f"server-{number}") for number in range(12))


def comparison(warnings: Mapping[int, tuple[str, ...]]) -> Comparison:
    """Of twelve cells, some of which have warnings."""
    made = compare(testing.run(testing.experiment(*CELLS)), [testing.observation(each) for each in CELLS])

    cells = tuple(replace(each, warnings=warnings.get(at, ())) for at, each in enumerate(made.cells))
    return replace(made, cells=cells, pairs=())


def took(share: int, *, of: str = "server's core 0", names: str = "") -> str:
    return f"others took up to {share}% of the {of} (in {share} of 6 windows){names}"


GENERATORS = took(9, of="generator's core 1")
CONDITIONS = "(sleep 50 ms, 32 users, 1 core, connection: close)"


def test_warnings_of_a_kind_are_one_line_with_their_number_and_the_worst_of_them() -> None:
    found = {at: (took(at + 4, names=f", among them make-{at}"),) for at in range(10)}
    found[2] = (took(38, names=", among them cc1"),)

    assert list(terminal.warnings(comparison(found))) == [
        f"10 of 12 cells, most at server-2 {CONDITIONS}: {took(38, names=', among them cc1')}"
    ]
    assert list(terminal.warnings(comparison({}))) == []


def test_kinds_stay_apart_and_the_most_frequent_comes_first() -> None:
    shared = "server and generator share a core: both are slower for it"
    found = {
        0: ("1,200 requests failed: timeout", took(5)),
        1: ("7 requests failed: status 500", shared),
        2: ("not compared with server-1, because of: neighbour", GENERATORS),
        3: ("not compared with server-1, because of: failures", shared),
        4: (shared,),
    }

    assert list(terminal.warnings(comparison(found))) == [
        f"3 of 12 cells: {shared}",
        f"2 of 12 cells, most at server-0 {CONDITIONS}: 1,200 requests failed: timeout",
        f"2 of 12 cells, most at server-2 {CONDITIONS}: {GENERATORS}",
        f"server-2 {CONDITIONS}: not compared with server-1, because of: neighbour",
        f"server-3 {CONDITIONS}: not compared with server-1, because of: failures",
    ]


def test_the_list_cell_by_cell_is_in_markdown() -> None:
    found = comparison({at: (took(at + 4),) for at in range(10)})
    ((_, content),) = markdown.comparison_md(found).items()
    assert content.decode().count("others took up to ") == 10
