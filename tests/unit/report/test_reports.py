"""Reports under test, in words: the verdict with its release, since when it is so, and what a terminal and a page show."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import yaml

from tests.unit.said import printed
from wsgilab import testing
from wsgilab.model import Claim, ClaimResult, ClaimVerdict, Condition, Evidence, Interval, ReleaseResult, Thread
from wsgilab.report import reports

OF = Condition(figure="peak_in_flight", of=testing.cell("gthread-4"), at_most=2)
CLAIM = Claim(
    id="gunicorn-3518",
    claim="Two silent connections leave two of four threads.",
    met="https://github.com/benoitc/gunicorn/issues/3518",
    holds=(OF,),
    explanation="A thread waits for the first bytes.",
    advice="Have more threads.",
    thread=Thread(project="benoitc/gunicorn", number=3518),
    reported="Slow clients take <all> threads.",
    package="gunicorn",
)


def evidence(verdict: ClaimVerdict, value: float = 2.0, reason: str = "", server: str = "gthread-4") -> Evidence:
    condition = replace(OF, of=testing.cell(server))
    return Evidence(
        condition=condition,
        blocks=6,
        value=Interval(median=value, low=value, high=value),
        verdict=verdict,
        reason=reason,
    )


def result(verdict: ClaimVerdict, releases: Sequence[tuple[str, ClaimVerdict]] = (), reason: str = "") -> ClaimResult:
    return ClaimResult(
        claim=CLAIM,
        verdict=verdict,
        evidence=(evidence(verdict, reason=reason),),
        shown=(),
        version="27.0.1",
        releases=tuple(
            ReleaseResult(
                server=f"row-{version}",
                version=version,
                verdict=each,
                evidence=(evidence(each, 4.0, server=f"row-{version[:2]}"),),
            )
            for version, each in releases
        ),
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (result("confirmed"), "holds today, with gunicorn 27.0.1"),
        (result("refuted"), "not so with today's release, gunicorn 27.0.1"),
        (replace(result("confirmed"), version=""), "holds today"),
        (replace(result("refuted"), version=""), "not so today"),
        (result("undecided"), "undecided"),
    ],
)
def test_a_verdict_names_the_release_that_it_is_about(found: ClaimResult, words: str) -> None:
    assert reports.verdict(found) == words


@pytest.mark.parametrize(
    ("today", "releases", "words"),
    [
        ("confirmed", (), ""),
        (
            "confirmed",
            (("20.1.0", "confirmed"), ("23.0.0", "refuted"), ("25.3.0", "confirmed")),
            "Of the releases measured: with 20.1.0 it holds, with 23.0.0 it does not hold, with 25.3.0 it holds; from 25.3.0 on it is as today.",
        ),
        (
            "refuted",
            (("20.1.0", "confirmed"), ("23.0.0", "confirmed")),
            "Of the releases measured: with 20.1.0 it holds, with 23.0.0 it holds; from 27.0.1 on it is as today.",
        ),
        ("refuted", (("20.1.0", "refuted"),), "Of the releases measured: with 20.1.0 it does not hold."),
        ("confirmed", (("20.1.0", "undecided"),), "With 20.1.0 it is undecided."),
    ],
)
def test_its_history_says_from_which_release_on_it_is_as_today(
    today: ClaimVerdict, releases: Sequence[tuple[str, ClaimVerdict]], words: str
) -> None:
    assert reports.history(result(today, releases)) == words


def test_a_terminal_shows_sentence_figures_verdict_and_advice() -> None:
    shown = printed(reports.on_terminal([result("refuted", [("23.0.0", "confirmed")])]), width=160)

    assert shown.splitlines() == [
        "Reports: 0 hold today, 1 do not, 0 undecided",
        "",
        "gunicorn-3518  not so with today's release, gunicorn 27.0.1",
        "  thread: https://github.com/benoitc/gunicorn/issues/3518",
        "  reported: Slow clients take <all> threads.",
        "  tested: Two silent connections leave two of four threads.",
        "  figure: peak in flight 2 (gthread-4), at most 2: refuted",
        "  figure: peak in flight 4 (row-23), at most 2: confirmed",
        "  releases: Of the releases measured: with 23.0.0 it holds; from 27.0.1 on it is as today.",
        "  why: A thread waits for the first bytes.",
        "  what to do: Have more threads.",
    ]


def test_what_is_undecided_says_why_once() -> None:
    found = result("undecided", reason="others took half of the core")
    twice = replace(found, evidence=found.evidence * 2)

    assert printed(reports.on_terminal([twice]), width=160).count("others took half of the core") == 1


def test_a_page_links_the_thread_and_escapes_what_was_reported() -> None:
    run = testing.run(testing.experiment(testing.cell("gthread-4")))
    page = reports.reports_md(run, [result("confirmed", [("23.0.0", "refuted")])], {})["reports.md"].decode()

    assert (
        "[benoitc/gunicorn 3518](https://github.com/benoitc/gunicorn/issues/3518): Slow clients take \\<all\\> threads."
        in page
    )
    assert "## gunicorn-3518: holds today, with gunicorn 27.0.1" in page
    assert "| with gunicorn 23.0.0: row-23, " in page


def test_a_program_reads_thread_version_and_releases() -> None:
    run = testing.run(testing.experiment(testing.cell("gthread-4")))
    document = yaml.safe_load(reports.reports_yaml(run, [result("confirmed", [("23.0.0", "refuted")])])["reports.yaml"])

    (found,) = document["claims"]
    assert found["thread"] == {"project": "benoitc/gunicorn", "number": 3518}
    assert (found["reported"], found["version"]) == ("Slow clients take <all> threads.", "27.0.1")
    (release,) = found["releases"]
    assert (release["version"], release["verdict"], release["conditions"][0]["median"]) == ("23.0.0", "refuted", 4.0)
