"""Two runs as a JUnit report, and as annotations and a summary for GitHub Actions."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tests.unit.queues import Queue, sought
from tests.unit.report.test_ab import NASTY, ONE, TWO, beside, made, observed
from tests.unit.runs import before_and_after
from wsgilab import testing
from wsgilab.analysis.ab.checks import checks, parse_limit
from wsgilab.analysis.ab.runs import runs
from wsgilab.model import Limit, RunsComparison
from wsgilab.report.ab.github import MOST_ANNOTATIONS, annotations, harmless, nothing_annotated, summary
from wsgilab.report.ab.junit import nothing_junit, runs_junit

SLOWER = parse_limit("slower=5%")


def parsed(text: str) -> ET.Element:
    assert text.isascii()
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    return root


def junit(comparison: RunsComparison, need: float | None = 0.07, limit: Limit | None = SLOWER) -> ET.Element:
    return parsed(runs_junit(comparison, checks(comparison, limit, need), limit, need))


def annotated(comparison: RunsComparison, need: float | None = 0.07, limit: Limit | None = SLOWER) -> Sequence[str]:
    return annotations(comparison, checks(comparison, limit, need), limit, need)


def summarized(comparison: RunsComparison, need: float | None = 0.07, limit: Limit | None = SLOWER) -> str:
    return summary(comparison, checks(comparison, limit, need), limit, need)


def hostile() -> RunsComparison:
    """Whose runs differ in what is written to be taken for markup, for XML and for a workflow command; in a reason too."""
    other = replace(TWO, workload="hello")
    before, later = made((ONE, other)), made((ONE, other), id="later", packages={NASTY: NASTY}, notes=(NASTY, COMMANDS))
    parameters = {"hello": {}, "sleep": {"ms": 50.0, f"{NASTY} {COMMANDS}": 60.0}}
    later = replace(later, experiment=replace(later.experiment, parameters=parameters))
    both = [*observed(ONE), *observed(other)]
    return runs(before, both, later, both)


COMMANDS = "::error ::no ##[error]no ##[stop-commands]x %0A::error ::no ]]> <failure/> \x00\x0b\ufffe\ud800 &amp; 🐌"


# JUnit.

STATES: Mapping[str, str | None] = {"breached": "failure", "inconclusive": "error", "skipped": "skipped", "kept": None}


def test_each_figure_of_each_cell_is_a_case_and_the_counts_are_those_of_the_cases() -> None:
    for comparison, need, limit in (
        (before_and_after(), 0.07, SLOWER),
        (before_and_after(), None, parse_limit("cost=5%")),
        (beside(0.5, generator_cpu=0.9), 0.05, SLOWER),
        (hostile(), None, None),
    ):
        made_of = checks(comparison, limit, need)
        root = junit(comparison, need, limit)
        (suite,) = root
        cases = suite.findall("testcase")

        assert len(cases) == len(made_of) >= len(comparison.cells)
        for case, check in zip(cases, made_of, strict=True):
            assert case.get("classname") == f"wsgilab.{check.cell.server}"
            assert str(case.get("name")).endswith(f", connection: close: {check.figure}")
            (*states,) = [each.tag for each in case if each.tag != "system-out"]
            expected = STATES[check.outcome]
            assert states == ([] if expected is None else [expected])
        for attribute, tag in (("tests", "."), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(attribute) == str(sum(case.find(tag) is not None for case in cases))
        assert (root.get("tests"), root.get("failures")) == (suite.get("tests"), suite.get("failures"))


def test_names_of_cases_are_unique_and_have_nothing_that_was_measured() -> None:
    """Both GitLab and Jenkins follow a test by its names, and take the first of several with the same ones."""

    def names(comparison: RunsComparison) -> Sequence[tuple[str | None, str | None, str | None]]:
        (suite,) = junit(comparison)
        return [(suite.get("name"), case.get("classname"), case.get("name")) for case in suite.findall("testcase")]

    several = [
        testing.cell("one"),
        testing.cell("one", users=8),
        testing.cell("one", cores=2),
        testing.cell("one", connection="keep-alive"),
        testing.cell("one", workload="hello"),
        testing.cell("one", users=None, rate=5.0, arrivals="constant"),
        testing.cell("one", users=None, rate=5.0, arrivals="poisson"),
    ]
    both = [each for cell in several for each in observed(cell)]
    found = names(runs(made(several), both, made(several, id="later"), both))

    assert len(set(found)) == len(found) >= len(several)
    assert names(beside(0.5)) == names(beside(1.0, b=made(id="another")))


def test_a_failure_says_by_how_much_and_a_case_what_was_measured() -> None:
    (suite,) = junit(before_and_after())
    (failure,) = suite.findall("testcase/failure")

    assert failure.get("message") == failure.text == "slower, requests/s 0.881 times A's (0.853 to 0.912)"
    # A `type` is that of a value to GitLab's reader.
    assert failure.get("type") is None
    measured = [case.findtext("system-out") for case in suite.findall("testcase")]
    assert "B/A 0.881 (0.853 to 0.912), slower; could have shown 4.6 %" in measured
    properties = {each.get("name"): each.get("value") for each in suite.findall("properties/property")}
    assert properties == {
        "A": before_and_after().a.id,
        "B": before_and_after().b.id,
        "limit": "--fail-on slower=5%",
        "need": "--need 7%",
    }


def test_what_a_results_folder_says_is_text_in_the_report_and_nothing_else() -> None:
    (suite,) = junit(hostile(), need=None)
    (skipped,) = [
        each
        for case in suite.findall("testcase")
        for each in case.findall("skipped")
        if each.text != "no limit is of cost"
    ]

    assert "<failure/>" in str(skipped.text)
    assert "\\x00\\x0b\\ufffe\\ud800 &amp; 🐌" in str(skipped.text)
    assert skipped.get("message") == skipped.text


def test_where_nothing_can_be_compared_the_report_has_one_error() -> None:
    root = parsed(nothing_junit(f"no cell in common: {COMMANDS}"))
    (suite,) = root
    (case,) = suite

    assert [each.tag for each in case] == ["error"]
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    assert "no cell in common" in str(case.findtext("error"))


# GitHub.


def command(line: str) -> tuple[str, str, str]:
    """Name, title and message of a workflow command, as the runner decodes them."""
    found = re.fullmatch(r"::(error|notice) title=([^:,\r\n]*)::([^\r\n]*)", line)
    assert found, line
    name, title, message = found.groups()
    for sign, code in ((":", "%3A"), (",", "%2C"), ("\n", "%0A"), ("\r", "%0D"), ("%", "%25")):
        title = title.replace(code, sign)
        if sign not in ":,":
            message = message.replace(code, sign)
    return name, title, message


def test_a_breach_is_an_error_with_its_figures() -> None:
    (line,) = annotated(before_and_after())

    assert command(line) == (
        "error",
        "gunicorn-gthread-8: throughput breaches the limit",
        (
            "gunicorn-gthread-8: cpu 2 ms, 16 users, 1 core, connection: close: slower, requests/s 0.881 times A's "
            "(0.853 to 0.912)"
        ),
    )


def test_what_could_not_tell_is_an_error_after_the_breaches() -> None:
    found = [command(line)[:2] for line in annotated(beside(0.5), need=0.011)]

    assert found == [("error", "one: throughput breaches the limit"), ("error", "two: throughput could not tell")]


def test_where_all_is_kept_a_notice_says_so() -> None:
    (line,) = annotated(beside(1.0))
    name, title, message = command(line)

    assert (name, title) == ("notice", "20260102-030405-trial-run (A) and later (B)")
    assert "0 slower, 0 faster" in message
    assert "--fail-on slower=5%: a difference of " in message
    assert "--need 7%: each of 2 cells could have shown it" in message


def test_no_more_annotations_are_printed_than_are_shown() -> None:
    for count in (MOST_ANNOTATIONS, MOST_ANNOTATIONS + 5):
        cells = [testing.cell(f"server-{number}") for number in range(count)]
        before, later = ([each for cell in cells for each in observed(cell, speed)] for speed in (1.0, 0.5))
        found = annotated(runs(made(cells), before, made(cells, id="later"), later))
        assert len(found) == MOST_ANNOTATIONS
    _, title, message = command(found[-1])
    assert (title, message) == ("6 more", "--fail-on slower=5%: breached by 15 of 15 cells: the summary names all")


def is_command(line: str) -> bool:
    """As the runner finds one: at the beginning of a line, and the older kind anywhere."""
    return line.lstrip().startswith("::") or "##[" in line


@pytest.mark.parametrize("need", [None, 0.07])
def test_what_a_results_folder_says_is_never_a_command(need: float | None) -> None:
    for line in (*annotated(hostile(), need), nothing_annotated(COMMANDS)):
        name, title, _ = command(line)
        assert name in ("error", "notice")
        assert "no" not in title.split()
    text = summarized(hostile(), need)
    assert "stop" in text
    assert not any(map(is_command, text.splitlines()))
    assert not is_command(f"  | {harmless(COMMANDS)}")


def test_a_percent_sign_in_a_text_is_not_taken_for_a_line_end() -> None:
    _, _, message = command(nothing_annotated("50 %0A of\nall"))

    assert message == "50 %0A of\nall"


def test_the_summary_says_first_what_failed_and_has_every_cell() -> None:
    text = summarized(before_and_after())
    begin, _, tables = text.partition("\n## ")

    assert begin.startswith("# before-after: 1 slower, 0 faster")
    assert "**Failed.** --fail-on slower=5%: breached by 1 of 5 cells" in begin
    assert "- gunicorn-gthread-8: cpu 2 ms" in begin
    for cell in before_and_after().cells:
        assert f"| {cell.cell.server} |" in tables
    assert text.count("<details>") == text.count("</details>") == 1


@pytest.mark.parametrize(
    ("comparison", "need", "limit", "said"),
    [
        (beside(1.0), 0.07, SLOWER, "**Passed.**"),
        (beside(1.0), None, None, "No limit was asked for."),
        (beside(1.0, blocks=3), 0.07, None, r"**Failed.** --need 7%: 2 of 2 cells could not have shown it"),
    ],
)
def test_the_summary_says_what_came_of_it(
    comparison: RunsComparison, need: float | None, limit: Limit | None, said: str
) -> None:
    assert said in summarized(comparison, need, limit).splitlines()


def test_a_summary_that_github_would_refuse_has_what_failed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = summarized(before_and_after())
    monkeypatch.setattr("wsgilab.report.ab.github.LARGEST_SUMMARY", len(whole.encode()) - 1)
    cut = summarized(before_and_after())

    assert cut != whole
    assert whole.startswith(cut.rstrip())
    assert "**Failed.**" in cut


# Capacity.


def test_a_capacity_that_fell_is_a_failure_and_an_error_with_its_figures() -> None:
    eight = Queue(slots=8, held_s=0.05)
    searches = [
        sought({"eight": each}, budget_s=120)
        for each in (eight, replace(eight, held_s=0.08), replace(eight, held_s=0.3))
    ]
    for each in searches:
        each.measure()
    a, *later = [(replace(each.run, id=f"run-{at}"), each.observations()) for at, each in enumerate(searches)]
    fell, gone = (runs(*a, *b) for b in later)
    limit = parse_limit("capacity=5%")

    (line,) = annotated(fell, 0.5, limit)
    _, title, message = command(line)
    assert title == "eight: capacity breaches the limit"
    assert re.search(r"close: capacity 0\.\d{3} times A's \(0\.\d{3} to 0\.\d{3}\)$", message)
    (suite,) = junit(fell, 0.5, limit)
    assert [case.get("name") for case in suite.findall("testcase[failure]")] == [
        "sleep 50 ms, 32 users, 1 core, connection: close: capacity"
    ]
    assert any(str(each.text).endswith(" %") for each in suite.findall("testcase[failure]/system-out"))
    assert "; by capacity 1 less, 0 more" in summarized(fell, 0.5, limit)
    assert command(annotated(gone, 0.5, limit)[0])[2].endswith(
        "requests/s in A, and in B it keeps the limit at no rate that was tried"
    )
    kept = runs(*a, replace(a[0], id="again"), a[1])
    assert "as each cell's windows scatter, would have breached it" in annotated(kept, None, limit)[0]
