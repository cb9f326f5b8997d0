"""Two versions of an application in one experiment: each server twice, side by side in every block."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import pytest

from wsgilab import testing
from wsgilab.experiment import plan, versions
from wsgilab.model import Cell, Experiment
from wsgilab.model.errors import SpecError

NAMES = ("one", "two", "three")
CATALOGUE = {name: testing.server(name) for name in NAMES}


def doubled(*names: str) -> Experiment:
    cells = [testing.cell(name, users=users) for name in names for users in (4, 8)]
    return versions.doubled(testing.experiment(*cells, blocks=6), testing.application(), CATALOGUE)


def in_pairs(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    return list(zip(cells[::2], cells[1::2], strict=True))


def test_each_cell_is_there_with_both_versions_and_its_server_is_as_in_the_catalogue() -> None:
    found = doubled("one", "two")

    assert found.counterparts == {"one": "one-against", "two": "two-against"}
    for cell, there in in_pairs(found.cells):
        assert there == replace(cell, server=f"{cell.server}-against")
    own = CATALOGUE | {"one": testing.server("one", extends="gunicorn-sync-1", slots=7)}
    rows = versions.rows(found, own)
    assert rows["one-against"] == replace(own["one"], name="one-against", is_against=True)
    assert rows["two-against"].extends == "two"
    assert (rows["two-against"].installed_as, own["two"].installed_as) == ("gunicorn-against", "gunicorn")
    assert versions.rows(found, {}) == {}, "what is gone from the catalogue is for others to say"


def test_versions_are_measured_right_after_each_other_and_take_turns_to_be_first() -> None:
    experiment = doubled(*NAMES)
    first: Counter[tuple[str, bool]] = Counter()
    orders = set()
    for _, block in groupby(plan.schedule(experiment, seed=3), key=lambda trial: trial.block):
        cells = [trial.cell for trial in block]
        orders.add(tuple(cells))
        for one, other in in_pairs(cells):
            assert {one.server, other.server} in [{name, f"{name}-against"} for name in NAMES]
            assert one.conditions == other.conditions
            first[one.server.removesuffix("-against"), one.server in NAMES] += 1
        assert 0 < sum(one.server in NAMES for one, _ in in_pairs(cells)) < 6, "never all of one version first"
    assert set(first.values()) == {6}
    assert len(orders) == 6


@pytest.mark.parametrize(
    ("name", "there", "told"),
    [
        (
            "one",
            "one-against",
            "--against: one-against is a server of the catalogue, and what one is compared with has",
        ),
        ("a" * 93, "", "--against: must be the name of a server"),
    ],
)
def test_a_name_that_leaves_no_room_for_the_other_versions_is_said(name: str, there: str, told: str) -> None:
    catalogue = {each: testing.server(each) for each in (name, there) if each}
    with pytest.raises(SpecError) as caught:
        versions.doubled(testing.experiment(testing.cell(name)), testing.application(), catalogue)
    assert str(caught.value).startswith(told)
