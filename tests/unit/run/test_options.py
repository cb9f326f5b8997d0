"""What counts as an option that was given."""

import pytest

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
