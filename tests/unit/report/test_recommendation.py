"""The advice in Markdown and on a terminal: the same sentences, with nothing in them taken for markup.

`tests/unit/analysis/advice/test_recommend.py` has the sentences of every case.
"""

import re
from dataclasses import replace

import pytest

from tests.unit.said import printed
from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.model import Advice, Alternative, Comparison, CostContrast, Interval, ServerContrast, Wish
from wsgilab.report import markdown, recommendation, terminal
from wsgilab.report.recommendation import NOTHING, RULE

ONE = testing.cell("one")
LIMITS = Wish(p95_ms=60.0, memory_mb=70.5)
HALF = Interval(median=0.5, low=0.49, high=0.51)

DECIDED = Advice(
    group=ONE,
    workloads=("sleep",),
    wish=LIMITS,
    reason="alone",
    server="two",
    tied=("two",),
    speed=Interval(median=40.0, low=39.0, high=41.0),
    runner_up=ServerContrast(
        cell=ONE, other="two", ratio=HALF, costs=(CostContrast(cost="memory", ours=50.0, theirs=90.0),)
    ),
    changes=(
        Alternative(group=replace(ONE, workload="cpu"), wish=LIMITS, server="two", tied=("two",)),
        Alternative(group=ONE, wish=replace(LIMITS, memory_mb=None), server=None, tied=()),
    ),
    left_out={"three": "takes 90.0 MB, more than 70.5", "dev": "not for production", "four": "not for production"},
)
UNDECIDED = replace(
    DECIDED, wish=Wish(), reason="blocks", server=None, tied=("one", "two"), blocks=2, runner_up=None, changes=()
)
NONE = replace(UNDECIDED, reason="nobody", tied=(), left_out={})
OVERALL = replace(DECIDED, workloads=("hello", "sleep", "cpu"), wish=Wish(), shares={"two": {"cpu": HALF}})


def comparison(*advice: Advice) -> Comparison:
    """A run of three workloads, with this advice."""
    cells = [replace(ONE, workload=workload) for workload in ("sleep", "cpu", "hello")]
    cells.append(replace(ONE, server="two"))
    run = testing.run(testing.experiment(*cells))
    return replace(compare(run, [testing.observation(cells[0]), testing.observation(cells[3])]), advice=advice)


def in_markdown(*advice: Advice) -> list[str]:
    return list(markdown.advice(comparison(*advice)))


def on_terminal(*advice: Advice, width: int = 200) -> str:
    return printed(terminal.advice(comparison(*advice)), width=width)


def unescaped(line: str) -> str:
    return re.sub(r"\\(.)", r"\1", line)


def test_markdown_has_a_heading_the_rule_and_a_section_for_each() -> None:
    lines = [unescaped(line) for line in in_markdown(DECIDED, UNDECIDED)]

    assert lines[:4] == ["## Which server to run", "", RULE, ""]
    assert [line for line in lines if line.startswith("### ")] == [
        "### sleep 50 ms, 32 users, 1 core, connection: close; p95 at most 60 ms and memory at most 70.5 MB",
        "### sleep 50 ms, 32 users, 1 core, connection: close",
    ]


def test_a_section_has_verdict_reason_and_points() -> None:
    lines = [unescaped(line) for line in in_markdown(DECIDED)]

    assert lines[6].startswith(
        "**Run two, although it has one slot, so that a request that waits holds up all others.** 40.0 (39.0 to 41.0) requests/s; it is the only one that keeps to p95 at most 60 ms and memory at "
        "most 70.5 MB. Up to 1 in flight, of 1 slot; bound by slots: "
    )
    assert lines[7:] == [
        "",
        "- Runner-up: one: x0.50 (0.49 to 0.51) the throughput of two. Costs less: 50.0 MB instead of 90.0.",
        "- Changes: for cpu: two (two was not measured there)",
        "- Changes: without the limit of memory: none may be advised",
        "- Left out: three: takes 90.0 MB, more than 70.5",
        "- Left out: dev, four: not for production",
        "",
    ]


def test_the_undecided_and_the_empty_advice_differ() -> None:
    few = "one and two have 2 blocks in common, and to compare takes 3 (--blocks)."
    assert f"**Undecided.** {few}" in map(unescaped, in_markdown(UNDECIDED))
    assert in_markdown(NONE)[6:] == ["**No server qualifies.** None of those measured may be advised.", ""], (
        "and no empty list follows"
    )


@pytest.mark.parametrize(
    ("advice", "title"),
    [
        (OVERALL, "hello, sleep 50 ms and cpu 2 ms, 32 users, 1 core, connection: close"),
        (
            replace(UNDECIDED, group=replace(ONE, users=None, rate=20.0, arrivals="poisson", cores=2)),
            "sleep 50 ms, 20 requests/s, poisson, 2 cores, connection: close",
        ),
    ],
)
def test_the_title_names_every_workload_and_the_load(advice: Advice, title: str) -> None:
    assert recommendation.recommendation(comparison(), advice).title == title


def test_where_there_is_no_advice_it_is_said_why() -> None:
    assert [unescaped(line) for line in in_markdown()] == ["## Which server to run", "", NOTHING, ""]
    assert " ".join(on_terminal().split()) == NOTHING


def test_the_terminal_says_what_markdown_says() -> None:
    words = " ".join(on_terminal(DECIDED, UNDECIDED, NONE, OVERALL).split())

    for each in recommendation.recommendations(comparison(DECIDED, UNDECIDED, NONE, OVERALL)):
        assert f"{each.title} {each.verdict} {each.why}" in words
        for heading, sentences in each.points:
            assert all(f"{heading}: {sentence}" in words for sentence in sentences)
    assert RULE in words


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_folds_sentences_and_cuts_none(width: int) -> None:
    text = on_terminal(DECIDED, width=width)

    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert set(" ".join(on_terminal(DECIDED).split()).split()) <= set(text.split())


def test_a_decided_advice_stands_out_in_another_colour_than_an_undecided_one() -> None:
    def styles(*advice: Advice) -> set[str]:
        shown = terminal.advice(comparison(*advice))
        text = printed(shown, width=200, force_terminal=True, color_system="standard")
        return set(re.findall(r"\x1b\[(?:1;)?(3[23])m", text))

    assert styles(DECIDED) == {"32"}
    assert styles(UNDECIDED) == styles(NONE) == {"33"}


HOSTILE = "[bold]x[/bold] <b> | `y` \x1b[2J :smile:"


def test_nothing_in_the_sentences_is_taken_for_markup() -> None:
    found = comparison()
    measured = next(each for each in found.cells if each.figures is not None)
    group = replace(measured.cell, server=HOSTILE, workload="<w>")
    hostile = replace(
        DECIDED,
        group=group,
        workloads=("<w>",),
        server=HOSTILE,
        runner_up=ServerContrast(cell=group, other=HOSTILE, ratio=None),
        changes=(Alternative(group=group, wish=Wish(), server=HOSTILE, tied=()),),
        left_out={HOSTILE: HOSTILE},
    )
    found = replace(found, cells=(replace(measured, cell=group),), advice=(hostile,))
    lines = list(markdown.advice(found))
    text = printed(terminal.advice(found), width=400)

    assert "\x1b" not in text
    shown = "[bold]x[/bold] <b> | `y` \\x1b[2J :smile:"
    assert text.count(shown) == 6, "verdict, runner-up and its contrast, a change, a server left out and its reason"
    assert not any("\x1b" in line for line in lines)
    assert all(re.search(r"(?<!\\)[\[<|`]", line) is None for line in lines)
    assert sum(line.count("smile") for line in lines) == 6
