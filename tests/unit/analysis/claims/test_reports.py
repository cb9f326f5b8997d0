"""Reports: claims with a thread, earlier releases, rows of their own, a picture and groups."""

from dataclasses import replace

import pytest

from wsgilab import testing
from wsgilab.analysis import claims
from wsgilab.analysis.claims.file import cells_of
from wsgilab.model import ClaimResult, ClaimVerdict, Run, Server, Stack, Thread
from wsgilab.model.errors import SpecError

SERVERS = {
    name: testing.server(name, slots=4, command=("gunicorn", "--threads=4", "app:app"), stack=stack, model="threads")
    for name, stack in (("today", "gunicorn"), ("before", "gunicorn23"), ("other", "gunicorn"))
}
FILE = """
name: mine
cells:
  silent: {server: today, workload: sleep, users: 32}
  quiet: {server: other, workload: sleep, users: 32}
  nine: {server: {like: today, options: [--max-requests=9], name: today-9}, workload: hello, users: 4}
claims:
  - id: gunicorn-7
    claim: Silence halves it.
    thread: {project: benoitc/gunicorn, number: 7}
    reported: It is slow.
    holds:
      - {figure: throughput_rps, of: silent, over: quiet, at_most: 0.5}
    releases: [before]
    picture: quiet
    explanation: Because.
    advice: Do so.
  - id: met
    claim: It fails.
    met: everywhere
    holds: [{figure: failures, of: nine, at_least: 1}]
    explanation: Because.
    advice: Do so.
groups:
  one: [gunicorn-7]
  two: [met]
"""


def parse(text: str = FILE) -> claims.ClaimSet:
    return claims.parse(text, "r.yaml", SERVERS)


def test_a_report_has_its_thread_and_the_conditions_of_each_release() -> None:
    found = parse()
    report, claim = found.claims

    assert report.thread == Thread(project="benoitc/gunicorn", number=7)
    assert report.met == "https://github.com/benoitc/gunicorn/issues/7"
    assert (report.reported, report.package) == ("It is slow.", "gunicorn")
    (release,), (today,) = report.releases, report.holds
    assert release.server == "before"
    assert release.holds == (replace(today, of=replace(today.of, server="before")),), "the other cell stays"
    assert report.picture == testing.cell("other")
    assert (claim.met, claim.thread, claim.package, claim.releases) == ("everywhere", None, "", ())
    assert found.groups == {"one": ("gunicorn-7",), "two": ("met",)}


def test_what_releases_and_rows_need_is_measured_too() -> None:
    found = parse()

    assert [cell.server for cell in found.experiment.cells] == ["today", "other", "today-9", "before"]
    assert found.rows["today-9"].command == ("gunicorn", "--max-requests=9", "--threads=4", "app:app")
    assert {cell.server for cell in cells_of(found.claims[0])} == {"today", "other", "before"}
    some = claims.only(found, ["met"], "report")
    assert [cell.server for cell in some.experiment.cells] == ["today-9"]
    with pytest.raises(SpecError, match="--only: unknown report 'gunicorn-8'"):
        claims.only(found, ["gunicorn-8"], "report")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("    reported: It is slow.\n", "", "claims[0]: has a thread, and not what was reported there; give reported"),
        ("    met: everywhere\n", "", "claims[1]: needs met (where it is said) or thread and reported"),
        ("    met: everywhere\n", "    met: here\n    reported: It is.\n", "claims[1].reported: goes with a thread"),
        ("    met: everywhere\n", "    met: here\n    package: flask\n", "claims[1].package: goes with a thread"),
        (
            "project: benoitc/gunicorn",
            "project: https://example.org",
            "claims[0].thread.project: must be the name of a project on GitHub",
        ),
        ("number: 7", "number: 0", "claims[0].thread.number: must be a whole number from 1"),
        ("[before]", "[after]", "claims[0].releases[0]: unknown server 'after'"),
        ("[before]", "[today]", "claims[0].releases[0]: today is what the first condition is about"),
        ("picture: quiet", "picture: loud", "claims[0].picture: unknown cell 'loud'"),
        ("two: [met]", "two: [mat]", "groups.two: unknown claim 'mat'"),
        ("two: [met]", "two: [gunicorn-7]", "groups: gunicorn-7 is in 2 groups; each claim is in one"),
        ("  two: [met]\n", "", "groups: met is in no group; each claim is in one"),
        (
            "options: [--max-requests=9], name: today-9",
            "threads: [1, 2]",
            "cells.nine.server: stands for 2 servers, today-1, today-2; give one value of each",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_what_would_be_right(before: str, after: str, told: str) -> None:
    assert FILE.count(before) == 1
    with pytest.raises(SpecError) as caught:
        parse(FILE.replace(before, after))
    assert caught.value.message.startswith(f"r.yaml: {told}")


# --- verdicts


def judged(today: float, before: float, left_out: tuple[str, ...] = ()) -> ClaimResult:
    """Where `quiet` answers 100 requests a second, and the others so many."""
    asked = parse()
    rates = {"today": today, "before": before, "other": 100.0, "today-9": 10.0}
    cells = tuple(cell for cell in asked.experiment.cells if cell.server not in left_out)
    servers: tuple[Server, ...] = tuple({**SERVERS, **asked.rows}.values())
    stacks = {
        "gunicorn": Stack(digest="a", packages={"gunicorn": "27.0.1"}),
        "gunicorn23": Stack(digest="b", packages={"gunicorn": "23.0.0"}),
    }
    run: Run = testing.run(replace(asked.experiment, cells=cells, blocks=6), *servers, stacks=stacks)
    observations = [
        testing.observation(
            cell,
            block=block,
            swarm=testing.trial_report(
                completed=600,
                throughput_rps=rates[cell.server],
                latency_mean_ms=(cell.users or 0) / rates[cell.server] * 1000,
            ),
        )
        for cell in cells
        for block in range(6)
    ]
    return claims.judge(run, observations, asked.claims)[0]


@pytest.mark.parametrize(
    ("today", "before", "verdicts"),
    [
        (40.0, 40.0, ("confirmed", "confirmed")),
        (90.0, 40.0, ("refuted", "confirmed")),
        (40.0, 90.0, ("confirmed", "refuted")),
    ],
)
def test_each_release_has_a_verdict_of_its_own(
    today: float, before: float, verdicts: tuple[ClaimVerdict, ClaimVerdict]
) -> None:
    found = judged(today, before)

    (release,) = found.releases
    assert (found.verdict, release.verdict) == verdicts
    assert (found.version, release.version) == ("27.0.1", "23.0.0")


def test_a_release_that_is_not_there_leaves_the_verdict_on_todays() -> None:
    found = judged(40.0, 40.0, left_out=("before",))

    assert found.verdict == "confirmed"
    assert [each.verdict for each in found.releases] == ["not tested"]


def test_a_cell_that_needs_a_quota_is_left_out_where_there_are_none_and_says_so() -> None:
    limited = FILE.replace("users: 4}", "users: 4, quota: 0.5}")
    asked = parse(limited)

    experiment = claims.feasible(asked, 4, quotas=False)
    run = testing.run(experiment, *SERVERS.values())
    (_, found) = claims.judge(run, [], asked.claims)

    assert all(cell.quota is None for cell in experiment.cells)
    assert found.verdict == "not tested"
    assert found.evidence[0].reason == "today-9 could not be given a quota there (local); containers can"
    assert claims.feasible(asked, 4).cells == asked.experiment.cells
