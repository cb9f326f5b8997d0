"""The advice in Markdown and on a terminal: the same sentences, with nothing in them taken for markup."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.model import Advice, Comparison, Observation, Wish
from wsgilab.report import advice as rendered

ONE = testing.cell("one")
BLOCKS = range(6)

DECIDED = Advice(
    group=ONE,
    workloads=("sleep",),
    wish=Wish(p95_ms=60.0, memory_mb=70.5),
    server="two",
    tied=("two",),
    why="40.0 (39.0 to 41.0) requests/s: faster.",
    runner_up="one",
    costs="x0.50 (0.49 to 0.51) the throughput of two.",
    changes=("for cpu: one", "with 2 cores: three"),
    left_out={"three": "takes 90.0 MB, more than 70.5", "dev": "not for production", "four": "not for production"},
)
UNDECIDED = replace(
    DECIDED, wish=Wish(), server=None, tied=("one", "two"), why="They are alike.", runner_up=None, costs="", changes=()
)
NONE = replace(UNDECIDED, tied=(), why="None keeps to it.", left_out={})
OVERALL = replace(DECIDED, workloads=("hello", "sleep", "cpu"), wish=Wish())


def comparison(*advice: Advice) -> Comparison:
    """A run of three workloads, with this advice."""
    cells = [replace(ONE, workload=workload) for workload in ("sleep", "cpu", "hello")]
    run = testing.run(testing.experiment(*cells))
    return replace(compare(run, [testing.observation(cells[0])]), advice=advice)


def markdown(*advice: Advice) -> list[str]:
    return list(rendered.lines(comparison(*advice)))


def terminal(*advice: Advice, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(rendered.renderable(comparison(*advice)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def unescaped(line: str) -> str:
    return re.sub(r"\\(.)", r"\1", line)


def test_markdown_has_a_heading_the_rule_and_a_section_for_each() -> None:
    lines = markdown(DECIDED, UNDECIDED)

    assert lines[:4] == ["## Which server to run", "", unescaped(lines[2]), ""]
    assert unescaped(lines[2]) == rendered.RULE
    assert [line for line in lines if line.startswith("### ")] == [
        "### sleep 50 ms, 32 users, 1 core, connection: close; p95 at most 60 ms and memory at most 70.5 MB",
        "### sleep 50 ms, 32 users, 1 core, connection: close",
    ]


def test_a_section_has_verdict_reason_and_points() -> None:
    lines = [unescaped(line) for line in markdown(DECIDED)]

    assert lines[6:] == [
        "**Run two.** 40.0 (39.0 to 41.0) requests/s: faster.",
        "",
        "- Runner-up: one: x0.50 (0.49 to 0.51) the throughput of two.",
        "- Changes: for cpu: one",
        "- Changes: with 2 cores: three",
        "- Left out: three: takes 90.0 MB, more than 70.5",
        "- Left out: dev, four: not for production",
        "",
    ]


def test_what_is_undecided_and_what_is_none_are_told_apart() -> None:
    assert "**Undecided.** They are alike." in markdown(UNDECIDED)
    assert markdown(NONE)[6:] == ["**None.** None keeps to it.", ""], "and no empty list follows"


def test_advice_for_several_workloads_names_them_all() -> None:
    (title,) = (line for line in markdown(OVERALL) if line.startswith("### "))

    assert title == "### hello, sleep 50 ms and cpu 2 ms, 32 users, 1 core, connection: close"


def test_advice_at_a_rate_names_it() -> None:
    at_rate = replace(UNDECIDED, group=replace(ONE, users=None, rate=20.0, arrivals="poisson", cores=2))

    assert rendered.title(comparison().run, at_rate) == (
        "sleep 50 ms, 20 requests/s, poisson, 2 cores, connection: close"
    )


def test_where_there_is_no_advice_it_is_said_why() -> None:
    assert [unescaped(line) for line in markdown()] == ["## Which server to run", "", rendered.NOTHING, ""]
    assert " ".join(terminal().split()) == rendered.NOTHING


def test_the_terminal_says_what_markdown_says() -> None:
    words = " ".join(terminal(DECIDED, UNDECIDED, NONE, OVERALL).split())

    for each in rendered.told(comparison(DECIDED, UNDECIDED, NONE, OVERALL)):
        assert f"{each.title} {each.verdict} {each.why}" in words
        for heading, sentences in each.points:
            assert all(f"{heading}: {sentence}" in words for sentence in sentences)
    assert rendered.RULE in words


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_folds_sentences_and_cuts_none(width: int) -> None:
    text = terminal(DECIDED, width=width)

    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert set(" ".join(terminal(DECIDED).split()).split()) <= set(text.split())


def test_a_decided_advice_stands_out_in_another_colour_than_an_undecided_one() -> None:
    def styles(*advice: Advice) -> set[str]:
        console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
        console.print(rendered.renderable(comparison(*advice)))
        assert isinstance(console.file, io.StringIO)
        return set(re.findall(r"\x1b\[(?:1;)?(3[23])m", console.file.getvalue()))

    assert styles(DECIDED) == {"32"}
    assert styles(UNDECIDED) == styles(NONE) == {"33"}


HOSTILE = "[bold]x[/bold] <b> | `y` \x1b[2J :smile:"


def test_nothing_in_the_sentences_is_taken_for_markup() -> None:
    hostile = replace(
        DECIDED,
        why=HOSTILE,
        server=HOSTILE,
        runner_up=HOSTILE,
        costs=HOSTILE,
        changes=(HOSTILE,),
        left_out={HOSTILE: HOSTILE},
    )
    shown = "[bold]x[/bold] <b> | `y` \\x1b[2J :smile:"
    hostile = replace(hostile, group=replace(ONE, workload="<w>"), workloads=("<w>",))
    lines = markdown(hostile)

    text = terminal(hostile)

    assert "\x1b" not in text
    assert text.count(shown) == 7, "verdict, why, runner-up and its costs, a change, a server left out and its reason"
    assert not any("\x1b" in line for line in lines)
    assert all(re.search(r"(?<!\\)[\[<|`]", line) is None for line in lines)
    assert sum(line.count("smile") for line in lines) == 7


def measured(of: str, rps: float) -> list[Observation]:
    return [
        testing.observation(
            testing.cell(of),
            block=block,
            swarm=testing.swarm_report(throughput_rps=rps, latency_mean_ms=32_000 / rps),
        )
        for block in BLOCKS
    ]


def test_the_advice_of_a_run_is_told() -> None:
    observations = [*measured("one", 20.0), *measured("two", 40.0)]
    run = testing.run(testing.experiment(ONE, replace(ONE, server="two"), blocks=len(BLOCKS)))

    (told,) = rendered.told(compare(run, observations))

    assert (told.verdict, told.runner_up.partition(":")[0]) == ("Run two.", "one")
    assert told.why.startswith("40.0 (40.0 to 40.0) requests/s, x2.00")
