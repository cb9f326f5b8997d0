"""What speaks against a server that is advised: in the same sentence."""

from pathlib import Path

import pytest
import yaml

from wsgilab import testing
from wsgilab.model import Run, Server, Stack
from wsgilab.report.objections import CLAIMED, objections

PROJECT = Path(__file__).parents[3]
MANY = testing.server("many", slots=8, model="threads")


def run(*servers: Server, **versions: str) -> Run:
    stacks = {name: Stack(digest="sha256:0", packages={"gunicorn": version}) for name, version in versions.items()}
    return testing.run(testing.experiment(*(testing.cell(each.name) for each in servers)), *servers, stacks=stacks)


@pytest.mark.parametrize(
    ("own", "other", "older"),
    [("25.3.0", "27.0.1", True), ("27.0.1", "25.3.0", False), ("9.1", "10.0", True), ("1", "1", False)],
)
def test_an_older_release_of_what_was_measured_in_a_newer_one_is_said(own: str, other: str, older: bool) -> None:
    one = testing.server("one", slots=8, model="threads", stack="one", command=("/bin/gunicorn", "app:app"))
    two = testing.server("two", slots=8, model="threads", stack="two")

    assert list(objections(run(one, two, one=own, two=other), one)) == (
        [f"its gunicorn is older ({own}, where {other} was measured too)"] if older else []
    )


def test_one_slot_is_said_and_several_are_not() -> None:
    assert list(objections(run(MANY), MANY)) == []
    assert list(objections(run(MANY), testing.server("one"))) == [
        "it has one slot, so that a request that waits holds up all others"
    ]


def test_what_the_labs_own_claims_say_of_a_kind_of_server_is_said_with_the_claim() -> None:
    gevent = testing.server("gevent", slots=None, model="coroutines")

    assert list(objections(run(gevent), gevent)) == [
        "a request that computes holds up all others of its process (claim coroutines-compute)"
    ]


def test_the_claims_are_the_labs_and_confirmed() -> None:
    verdicts = {
        each["id"]: each["verdict"] for each in yaml.safe_load((PROJECT / "docs" / "claims.yaml").read_text())["claims"]
    }

    assert {verdicts[claim] for claim, _ in CLAIMED.values()} == {"confirmed"}
