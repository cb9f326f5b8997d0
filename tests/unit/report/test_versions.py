"""What a run of two versions says, in every format."""

from dataclasses import replace

import pytest
import yaml

from tests.unit.pages import Page
from tests.unit.said import printed
from tests.unit.two_versions import made, observed
from wsgilab.analysis.ab import versions
from wsgilab.model import CellOfRuns, Comparison, CostOfRuns, Interval, RunsComparison
from wsgilab.report.ab import on_terminal, runs_html, runs_md, runs_yaml
from wsgilab.report.experiment import experiment_yaml
from wsgilab.report.html import report
from wsgilab.report.markdown import comparison_md
from wsgilab.report.versions import findings

UNDER = " under one (orders, 32 users, 1 core, connection: close)"


def said() -> Comparison:
    run = made()
    return versions.whole(run, observed(run, {"one": 1.1}))


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return said()


@pytest.fixture(scope="module")
def found(comparison: Comparison) -> RunsComparison:
    assert comparison.versions is not None
    return comparison.versions


def test_each_server_has_a_sentence_that_says_which_version_is_slower_and_by_how_much(found: RunsComparison) -> None:
    one, two = findings(found)

    assert one.startswith("shop.wsgi:app at HEAD is 1.10 (1.")
    assert f"times slower than at v1{UNDER}; a request takes 1.10 (" in one
    assert one.endswith(") times the CPU time, beyond doubt.")
    assert two == (
        "shop.wsgi:app at HEAD is as fast as at v1, within 2 %, under two (orders, 32 users, 1 core, connection: close); "
        "a request takes the same CPU time, within 2 %."
    )


@pytest.mark.parametrize(
    ("changes", "cost", "told"),
    [
        (
            {"verdict": "faster", "ratio": Interval(median=1.2, low=1.1, high=1.3)},
            "less",
            "is 1.20 (1.10 to 1.30) times faster than at v1",
        ),
        (
            {"ratio": Interval(median=1.0, low=0.9, high=1.1)},
            None,
            "is 1.00 (0.90 to 1.10) times as fast as at v1, which decides nothing,",
        ),
        (
            {"ratio": Interval(median=1.0, low=None, high=None)},
            None,
            "is not decided against that at v1: there are too few blocks",
        ),
        ({"ratio": None, "refused": "no block has both"}, None, "is not compared with that at v1 (no block has both)"),
        # Of a latency the lower is the faster.
        (
            {"verdict": "slower", "metric": "latency", "ratio": Interval(median=1.2, low=1.1, high=1.3)},
            "undecided",
            "is 1.20 (1.10 to 1.30) times slower than at v1",
        ),
    ],
)
def test_whatever_was_found_has_words(
    found: RunsComparison, changes: dict[str, object], cost: str | None, told: str
) -> None:
    plain = replace(found.cells[0], verdict="undecided", same=False, cost=None)
    costs = Interval(median=1.0, low=0.9, high=1.1)
    ends = {
        "less": "; a request takes 1.00 (0.90 to 1.10) times the CPU time, beyond doubt",
        "undecided": ("; a request takes 1.00 (0.90 to 1.10) times the CPU time, which decides nothing"),
    }
    of = replace(plain, **changes, cost=None if cost is None else costed(costs, cost))  # type: ignore[arg-type]
    assert findings(replace(found, cells=(of,))) == [f"shop.wsgi:app at HEAD {told}{UNDER}{ends.get(cost or '', '')}."]


def costed(ratio: Interval, verdict: str) -> CostOfRuns:
    return CostOfRuns(a=ratio, b=ratio, ratio=ratio, verdict=verdict, margin=0.01, detectable=0.1, because="")  # type: ignore[arg-type]


def test_a_broken_gate_is_said_in_place_of_the_speed(found: RunsComparison) -> None:
    one: CellOfRuns = found.cells[0]
    spoilt = replace(one, a=replace(one.a, broken_gates=("neighbour", "generator")), verdict="undecided")
    (told,) = findings(replace(found, cells=(spoilt,)))
    assert told.startswith("shop.wsgi:app at HEAD takes 1.10 (1.")
    assert told.endswith(
        f") times as much CPU time a request as at v1, beyond doubt,{UNDER}; its speed is not compared: neighbour, generator."
    )
    (told,) = findings(replace(found, cells=(replace(spoilt, cost=None),)))
    assert told == (
        f"shop.wsgi:app at HEAD is compared with that at v1 neither by speed nor by CPU time{UNDER}: neighbour, generator."
    )


def test_an_application_file_is_named_as_one(found: RunsComparison) -> None:
    assert found.versions is not None
    of = replace(found.versions, a="old.yaml", a_revision=None, b="shop.yaml", b_revision=None)
    told = findings(replace(found, versions=of))[0]
    assert told.startswith("shop.wsgi:app as shop.yaml has it is 1.10 (")
    assert "times slower than as old.yaml has it under" in told


def words(page: bytes) -> str:
    return "\n".join(text for _, text in Page(page.decode()).texts)


def test_every_format_begins_with_what_was_found(comparison: Comparison, found: RunsComparison) -> None:
    first = findings(found)[0]
    by_format = {
        "terminal": printed(on_terminal(found, 300), width=300),
        "against.md": runs_md(found)["against.md"].decode().replace("\\", ""),
        "against.html": words(runs_html(found)["against.html"]),
        "report.html": words(report(comparison)["report.html"]),
        "comparison.md": comparison_md(comparison)["comparison.md"].decode().replace("\\", ""),
    }
    for name, text in by_format.items():
        assert first in text, name
    assert (
        "(B): 1 slower, 0 faster, 1 same within 2 %, 0 undecided; by CPU time 1 more, 0 less" in by_format["terminal"]
    )
    for name in ("terminal", "against.md", "against.html"):
        assert "What differs: application: env, stack gunicorn: flask, your application: shop.py." in by_format[name]
        assert "beside others" not in by_format[name]
        assert "two runs" not in by_format[name].lower()
    document = yaml.safe_load(runs_yaml(found)["against.yaml"])
    assert document["versions"] == {
        "application": "shop.wsgi:app",
        "a": "v1",
        "b": "HEAD",
        "a_revision": "1" * 40,
        "b_revision": "2" * 40,
    }
    assert [each["verdict"] for each in document["cells"]] == ["slower", "undecided"]


def test_it_is_repeated_against_the_same_revision(comparison: Comparison) -> None:
    assert (
        f"--experiment FILE --against {'1' * 40} --runtime local"
        in experiment_yaml(comparison)["experiment.yaml"].decode()
    )
    text = comparison_md(comparison)["comparison.md"].decode()
    assert f"experiment.yaml --against {'1' * 40} --runtime local --seed 1" in text


def test_the_question_is_whether_one_version_is_faster_than_the_other(
    comparison: Comparison, found: RunsComparison
) -> None:
    asked = "Is shop.wsgi:app at HEAD (B) faster or slower than at v1 (A)?"

    for page in (report(comparison)["report.html"], runs_html(found)["against.html"]):
        assert f"<h1>{asked}</h1>" in page.decode()
    assert comparison_md(comparison)["comparison.md"].decode().startswith("# Is shop.wsgi:app at HEAD ")
