"""Two versions of an application in one run: what is compared, and what the run says of one of them alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tests.unit.two_versions import BLOCKS, made, observed
from wsgilab import testing
from wsgilab.analysis.ab import versions
from wsgilab.analysis.ab.checks import breaches, parse_limit
from wsgilab.analysis.budget.needed import wanted
from wsgilab.analysis.compare import compare, unsettled
from wsgilab.analysis.pairs.family import of_versions
from wsgilab.model import CellOfRuns, Observation, Run


def cells(run: Run, observations: Sequence[Observation]) -> Mapping[str, CellOfRuns]:
    return {each.cell.server: each for each in versions.beside(run, observations).cells}


def test_each_server_is_compared_with_itself_block_by_block_and_the_machine_has_no_part_in_it() -> None:
    run = made()
    found = cells(run, observed(run, {"one": 1.1, "two": 3.0, "two-against": 3.0}))

    assert found.keys() == {"one", "two"}
    one, two = found["one"], found["two"]
    assert one.ratio is not None
    assert one.ratio.low is not None
    assert one.ratio.median == pytest.approx(1 / 1.1, rel=0.01)
    assert 0.9 < one.ratio.low < 1 / 1.1
    assert (one.verdict, two.verdict, two.same) == ("slower", "undecided", True)
    assert one.cost is not None
    assert one.cost.ratio.median == pytest.approx(1.1, rel=0.01)
    assert one.cost.verdict == "more"
    assert one.cost.b.median / one.cost.a.median == pytest.approx(1.1, rel=0.05)
    assert (one.a.blocks, one.b.blocks) == (BLOCKS, BLOCKS)


def test_limits_judge_it_as_they_judge_two_runs() -> None:
    run = made()
    found = versions.beside(run, observed(run, {"one": 1.1}))

    for limit, breached in (("slower=5%", ["one"]), ("cost=5%", ["one"]), ("slower=20%", []), ("faster=5%", [])):
        assert [each.cell.server for each in breaches(found, parse_limit(limit))] == breached


def test_what_differs_is_that_of_the_versions_and_nothing_else() -> None:
    found = versions.beside(run := made(), observed(run, {}))

    assert {each.what: (each.a, each.b) for each in found.differences} == {
        "application: env": ("{'FAST': '1'}", None),
        "stack gunicorn: flask": ("3.0", "3.1"),
        "your application: shop.py": ("2" * 12, "1" * 12),
    }
    assert found.versions is not None
    assert (found.versions.a, found.versions.b) == ("v1", "HEAD")
    assert (found.b.id, found.a.id) == (run.id, f"{run.id}-against")


def test_without_a_block_of_both_a_server_is_not_compared() -> None:
    run = made()
    given = [each for each in observed(run, {}) if each.cell.server != "one-against"]
    found = cells(run, given)

    assert found["one"].refused == "no block has a figure of both"
    assert found["one"].a.figure is None
    assert found["two"].same


def test_beside_others_on_the_core_the_versions_are_told_apart_by_cost_as_the_same_program() -> None:
    run = made()
    one = cells(run, observed(run, {"one": 1.1}, others=0.45))["one"]

    assert one.cost is not None
    assert (one.verdict, one.a.broken_gates, one.detectable) == ("undecided", ("neighbour",), None)
    assert one.cost.verdict == "more"
    assert one.cost.margin == pytest.approx(0.01, abs=1e-6), "others tell alike on both"
    assert "others used 45% of the cores of one and 45% of those of one-against" in one.cost.because


def test_beside_others_on_the_generators_core_too_it_is_the_cost_in_all_windows() -> None:
    run = made()
    busy = {"one": 0.9, "one-against": 0.9}
    one = cells(run, observed(run, {"one": 1.1}, others=0.45, generator=busy))["one"]
    assert one.a.broken_gates == ("neighbour", "generator")
    assert one.cost is not None
    assert (one.verdict, one.cost.verdict) == ("undecided", "more")
    assert "used 45% of the server's cores and 90% of the generator's in A" in one.cost.because

    # Blocks in which others had gone by the second window say nothing of either.
    given = [
        replace(each, server_cpu_s=25_000.0, swarm=replace(each.swarm, generator_others=0.1))
        if each.cell.server == "one" and each.block in (2, 5, 8) and each.swarm is not None
        else each
        for each in observed(run, {"one": 1.1}, others=0.45, generator=busy)
    ]
    uneven = cells(run, given)["one"].cost
    assert uneven is not None
    assert uneven.ratio.high is not None
    assert uneven.ratio.high < 1.15

    # What one of the versions had more of it on average might be the cause.
    one = cells(run, observed(run, {"one": 1.1}, others=0.45, generator=busy | {"one": 0.6}))["one"]
    assert one.cost is not None
    assert one.cost.verdict == "undecided"
    assert one.cost.margin == pytest.approx(0.01 + 0.6 * 0.3)


def test_the_family_is_the_comparisons_of_versions_alone() -> None:
    run = made()
    assert [(one.server, other.server) for one, other in of_versions(run)] == [
        ("one", "one-against"),
        ("two", "two-against"),
    ]
    assert wanted(run) == of_versions(run)
    assert of_versions(testing.run()) == []
    # A run that compared its four rows with each other would need wider intervals.
    given = observed(run, {"one": 1.1})
    plain = replace(run, experiment=replace(run.experiment, counterparts={}))
    ours = cells(run, given)["one"].ratio
    (theirs,) = [each.ratio for each in compare(plain, given).pairs if each.cell.server == "one-against"]
    assert ours is not None
    assert ours.low is not None
    assert ours.high is not None
    assert theirs.low is not None
    assert theirs.high is not None
    assert ours.high / ours.low < theirs.high / theirs.low


def test_a_run_with_precision_goes_on_with_both_versions_of_what_is_not_settled() -> None:
    run = made(precision=0.001, max_blocks=50)
    assert {each.server for each in unsettled(run, observed(run, {"one": 1.1}), BLOCKS)} == {"two", "two-against"}


def test_all_else_is_said_of_the_application_as_it_is() -> None:
    run = made()
    given = observed(run, {"one": 1.1})
    alone, own = versions.current(run, given)

    assert [each.server for each in alone.experiment.cells] == ["one", "two"]
    assert alone.servers.keys() == {"one", "two"}
    assert alone.stacks.keys() == {"gunicorn", "waitress", "swarm"}
    assert alone.stacks["gunicorn"].digest == "sha256:0"
    assert alone.origin is not None
    assert alone.origin.files.keys() == {"locks", "your application"}
    assert {each.cell.server for each in own} == {"one", "two"}
    found = versions.whole(run, given)
    assert [each.cell.server for each in found.cells] == ["one", "two"]
    assert (found.trials, found.measured) == (4 * BLOCKS, 4 * BLOCKS)
    assert found.versions == versions.beside(run, given)
    plain = testing.run()
    assert versions.current(plain, []) == (plain, [])
    assert versions.whole(plain, [testing.observation()]).versions is None
