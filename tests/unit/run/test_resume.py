"""A run goes on with the files that it began with, and with no others."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.checkout import CHANGED, edit, project, read
from wsgilab import commands, testing
from wsgilab.commands import Workspace
from wsgilab.experiment import catalogue
from wsgilab.model import Comparison, Experiment, Origin, Run
from wsgilab.model.errors import StoreError
from wsgilab.results.reading import dump_run
from wsgilab.results.store import Store
from wsgilab.run import runner, startup
from wsgilab.run.options import RunOptions
from wsgilab.system import host

__all__ = ["project"]


class Began(Exception):
    """All was well, and something would have been started next."""


@pytest.fixture
def workspace(project: Path, tmp_path: Path) -> Workspace:
    made = commands.workspace({"LAB_STATE": str(tmp_path / "state"), "LAB_RESULTS": str(tmp_path / "results")})
    return replace(made, project=project, catalogue=project / "compose" / "servers.yaml")


def store(workspace: Workspace, origin: Origin | None) -> Run:
    servers = catalogue.parse((workspace.project / "compose" / "servers.yaml").read_text(), "servers.yaml")
    run = replace(testing.run(testing.experiment(), servers["gunicorn-sync-1"]), host=host.fingerprint(), origin=origin)
    Store.create(workspace.results, run)
    return run


def go_on(workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    """What was said until something would have been started. Raises StoreError."""

    def begin(*_: object) -> None:
        raise Began

    def choose(*_: object) -> Experiment:
        raise AssertionError("it is the run's own")

    def conclude(*_: object) -> Comparison:
        raise AssertionError("nothing was measured")

    monkeypatch.setattr(startup, "sweep", begin)
    said = io.StringIO()
    options = RunOptions(task="lab.run", runtime="local", resume=run.id)
    with pytest.raises(Began):
        runner.run(options, choose, conclude, Console(file=said, width=200), workspace)
    return said.getvalue()


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_goes_on_with_the_files_that_it_began_with_or_that_were_not_recorded(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    run = store(workspace, read(workspace.project) if recorded else None)
    # A new file, which nothing of then knows of.
    (workspace.project / "locustfiles" / "mine.py").write_text("import lab_user\n")

    note = f"the files that {run.id} began with are not recorded"
    assert (note in go_on(workspace, run, monkeypatch)) is not recorded


@pytest.mark.parametrize(("path", "part"), CHANGED)
def test_a_run_does_not_go_on_with_files_that_were_changed_or_removed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, path: str, part: str
) -> None:
    run = store(workspace, read(workspace.project))
    for change in (edit, Path.unlink):
        change(workspace.project / path)
        with pytest.raises(StoreError) as caught:
            go_on(workspace, run, monkeypatch)
        assert caught.value.message == (
            f"--resume {run.id}: {part}: {path} changed since it began; put it back, or start a new run"
        )


def test_of_several_files_that_were_changed_one_is_named_and_the_others_are_counted(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store(workspace, read(workspace.project))
    for name in ("app", "waits", "work"):
        edit(workspace.project / "services" / "app" / f"{name}.py")
    with pytest.raises(StoreError, match=r"application: services/app/app\.py and 2 more changed since it began"):
        go_on(workspace, run, monkeypatch)


def test_what_is_recorded_is_read_again(workspace: Workspace) -> None:
    found = read(workspace.project, backends=True)
    run = store(workspace, found)

    assert Store.find(workspace.results, run.id).run().origin == found
    assert dump_run(run)["origin"]["files"]["application"]["services/app/app.py"]
