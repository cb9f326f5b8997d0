"""What counts as an option that was given."""

import pytest

from wsgilab import testing
from wsgilab.run.options import RunOptions


@pytest.mark.parametrize(
    ("given", "others"),
    [
        ({}, []),
        ({"resume": "latest", "runtime": "local"}, []),
        ({"resume": "latest", "seed": 0, "blocks": 0}, ["blocks", "seed"]),
        ({"cores": (1,), "share_generator": True, "file": "mine.yaml"}, ["file", "cores", "share_generator"]),
    ],
)
def test_an_option_is_given_where_it_differs_from_its_default(given: dict[str, object], others: list[str]) -> None:
    options = RunOptions(task="lab.run", **given)  # type: ignore[arg-type]

    assert options.others(("resume", "runtime")) == others


def test_a_search_for_capacity_has_users_of_its_own_and_is_written_again_as_any_run() -> None:
    options = RunOptions(task="lab.capacity", app="shop.wsgi:app")
    assert not options.is_planned
    assert options.resume_command(testing.run()) == f"invoke lab.capacity --resume {testing.run().id}"
    assert options.report_command(testing.run()) == f"invoke lab.report --run {testing.run().id}"
