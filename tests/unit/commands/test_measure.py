"""`lab.claims` on a stored run: which claims it judges, and what it says of a server that the run does not have."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from wsgilab import commands, testing
from wsgilab.analysis.compare import compare
from wsgilab.commands import RunOptions, Workspace, stored
from wsgilab.model.errors import SpecError, UsageError
from wsgilab.results.store import Journal, Store
from wsgilab.runtime.stacks import Needs

WAITRESS = testing.cell("waitress", users=6)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Of which the comparison of a run is not written."""
    monkeypatch.setattr(stored, "write", lambda store: compare(store.run(), store.observations()))
    return commands.workspace({"LAB_RESULTS": str(tmp_path)})


def judged(workspace: Workspace, experiment: str, **options: Any) -> Mapping[str, Mapping[str, Any]]:
    """What is said of a stored run of Waitress, whose experiment is called so: a claim's id -> its entry."""
    run = testing.run(testing.experiment(WAITRESS, name=experiment, blocks=4), testing.server("waitress", slots=4))
    store = Store.create(workspace.results, run)
    swarm = testing.trial_report(throughput_rps=80.0, latency_mean_ms=75.0)
    with Journal(store) as journal:
        for block in range(4):
            journal.append(testing.observation(WAITRESS, block=block, position=block, swarm=swarm))
    commands.claims(
        RunOptions(task="lab.claims", run="latest", **options), Console(file=io.StringIO(), width=200), workspace
    )
    return {each["id"]: each for each in yaml.safe_load((store.folder / "claims.yaml").read_text())["claims"]}


@pytest.mark.parametrize(
    ("experiment", "options", "first"),
    [
        ("claims", {}, "development-server-single"),
        ("claims-servers", {}, "waitress-as-it-comes"),
        ("mine", {}, "development-server-single"),
        ("mine", {"group": "servers"}, "waitress-as-it-comes"),
        ("claims-servers", {"group": "flask"}, "development-server-single"),
    ],
)
def test_a_stored_run_is_judged_by_the_claims_that_it_was_of_unless_others_are_named(
    workspace: Workspace, experiment: str, options: Mapping[str, Any], first: str
) -> None:
    assert next(iter(judged(workspace, experiment, **options))) == first


def test_a_server_that_is_not_in_the_run_is_named_with_what_its_stack_needs(workspace: Workspace) -> None:
    found = judged(workspace, "claims-servers")

    assert found["waitress-as-it-comes"]["verdict"] == "refuted", "with one request in flight"
    assert found["bjoern-fastest"]["verdict"] == "not tested"
    assert found["bjoern-fastest"]["conditions"][0]["reason"] == (
        "bjoern was left out, as its stack needs Debian's gcc, libev-dev, python3-dev"
    )
    reason = "uwsgi was not measured so in this run"
    assert (found["uwsgi-as-it-comes"]["verdict"], found["uwsgi-as-it-comes"]["conditions"][0]["reason"]) == (
        "not tested",
        reason,
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"group": "severs"}, "--group: unknown group 'severs'; did you mean servers?"),
        ({"group": "nginx"}, "--group: unknown group 'nginx'; known are flask, servers"),
        (
            {"group": "servers", "file": "mine.yaml"},
            "--group servers: is of the lab's own claims, and --claims mine.yaml names others; give one of them",
        ),
        (
            {"group": "servers", "run": "latest", "blocks": 4},
            "--run latest: judges what is stored, and measures nothing",
        ),
        ({"group": "servers", "only": ("gil",)}, "--only: unknown claim 'gil'; known are waitress-as-it-comes"),
    ],
)
def test_what_is_wrong_with_a_group_is_said_before_anything_is_measured(
    workspace: Workspace, options: Mapping[str, Any], told: str
) -> None:
    with pytest.raises((SpecError, UsageError)) as caught:
        commands.claims(RunOptions(task="lab.claims", **options), Console(file=io.StringIO()), workspace)

    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (Needs(), ""),
        (Needs(debian=("gcc", "libev-dev")), "needs Debian's gcc, libev-dev"),
        (Needs(python="3.14t"), "needs Python 3.14t"),
        (Needs(root=False), "does not run as root, but in containers"),
        (Needs(debian=("apache2",), root=False), "needs Debian's apache2 and does not run as root, but in containers"),
    ],
)
def test_what_a_stack_needs_has_words(needs: Needs, words: str) -> None:
    assert needs.words == words
