"""What files a run began with, and that it does not go on with others."""

import io
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from wsgilab import commands, testing
from wsgilab.commands import Workspace
from wsgilab.experiment import catalogue
from wsgilab.model import Comparison, Experiment, Origin, Run
from wsgilab.model.errors import LabError, StoreError
from wsgilab.results.reading import dump_run
from wsgilab.results.store import Store
from wsgilab.run import runner, startup
from wsgilab.run.options import RunOptions
from wsgilab.runtime import origin
from wsgilab.system import host

FOLDERS = ("services", "locustfiles", "compose", "wsgilab/load")
CHANGED = (
    ("services/app/work.py", "application"),
    ("locustfiles/lab_user.py", "Locust files"),
    ("wsgilab/load/samples.py", "generator"),
    ("wsgilab/analysis/inflight.py", "generator"),
    ("services/stacks/gunicorn/requirements.txt", "locks"),
    ("services/stacks/swarm/requirements.txt", "locks"),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the checkout measures, without git."""
    made = tmp_path / "project"
    for folder in FOLDERS:
        shutil.copytree(commands.PROJECT / folder, made / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (made / "wsgilab" / "analysis").mkdir()
    shutil.copy(commands.PROJECT / "wsgilab" / "analysis" / "inflight.py", made / "wsgilab" / "analysis")
    return made


def read(project: Path, stacks: Iterable[str] = ("gunicorn", "swarm"), *, backends: bool = False) -> Origin:
    return origin.read(project, stacks, backends=backends)


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "# once more\n")


@pytest.mark.parametrize(("path", "part"), CHANGED)
def test_a_file_that_is_edited_and_no_other_has_another_digest(project: Path, path: str, part: str) -> None:
    before = read(project)
    edit(project / path)
    after = read(project)

    differing = [
        (part, path) for part, files in before.files.items() for path in files if files[path] != after.files[part][path]
    ]
    assert differing == [(part, path)]


def test_the_same_files_in_another_place_are_the_same(project: Path) -> None:
    files = read(project).files

    (project / "services" / "app" / "__pycache__").mkdir()
    (project / "services" / "app" / "__pycache__" / "app.cpython-311.pyc").touch()
    (project / "services" / "app" / ".app.py.swp").touch()
    # Of a stack that does not take part.
    edit(project / "services" / "stacks" / "gunicorn-nginx" / "requirements.txt")

    assert read(project).files == files
    assert read(project.rename(project.with_name("moved"))).files == files


def test_backends_count_where_they_take_part(project: Path) -> None:
    assert "backends" not in read(project).files
    before = read(project, backends=True)
    edit(project / "compose" / "backends.yaml")
    after = read(project, backends=True)

    assert before.files["backends"].keys() >= {"services/backends/upstream.py", "compose/backends.yaml"}
    assert before.files["backends"] != after.files["backends"]


def test_a_file_that_cannot_be_read_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be read") as caught:
        origin.digest(tmp_path / "gone")
    assert "\n" not in caught.value.message


# The revision.


def git(folder: Path, *words: str) -> None:
    named = ["-c", "user.name=lab", "-c", "user.email=lab@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *named, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def committed(project: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "--message", "all")
    return project


def test_without_git_there_is_no_revision(project: Path, monkeypatch: pytest.MonkeyPatch, committed: Path) -> None:
    monkeypatch.setenv("PATH", str(project))
    found = read(committed)

    assert (found.revision, found.dirty) == (None, None)
    assert found.files


def test_a_folder_that_is_no_checkout_has_no_revision_not_even_that_of_a_checkout_around_it(committed: Path) -> None:
    inside = committed / "unpacked"
    shutil.copytree(committed / "services", inside / "services")

    for each in (inside, committed.parent):
        assert read(each).revision is None


@pytest.mark.usefixtures("committed")
def test_the_revision_says_whether_files_differ_from_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The user's own, of something else.
    monkeypatch.setenv("GIT_DIR", str(project / "nowhere"))
    clean = read(project)
    edit(project / "services" / "app" / "work.py")
    edited = read(project)

    assert clean.revision is not None
    assert len(clean.revision) == 40
    assert (clean.dirty, edited.dirty) == (False, True)
    assert edited.revision == clean.revision


# Going on with a run.


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
    manner = RunOptions(task="lab.run", runtime="local", resume=run.id)
    with pytest.raises(Began):
        runner.run(manner, choose, conclude, Console(file=said, width=200), workspace)
    return said.getvalue()


def test_a_run_goes_on_with_the_files_that_it_began_with(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = store(workspace, read(workspace.project))
    # Which nothing knows of that was there then.
    (workspace.project / "locustfiles" / "mine.py").write_text("import lab_user\n")

    assert "not recorded" not in go_on(workspace, run, monkeypatch)


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
    for name in ("app", "stamp", "work"):
        edit(workspace.project / "services" / "app" / f"{name}.py")
    with pytest.raises(StoreError, match=r"application: services/app/app\.py and 2 more changed since it began"):
        go_on(workspace, run, monkeypatch)


def test_a_run_of_a_lab_that_did_not_record_its_files_goes_on_and_that_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store(workspace, None)

    assert f"the files that {run.id} began with are not recorded" in go_on(workspace, run, monkeypatch)


def test_what_is_recorded_is_read_again(workspace: Workspace) -> None:
    found = read(workspace.project, backends=True)
    run = store(workspace, found)

    assert Store.find(workspace.results, run.id).run().origin == found
    assert dump_run(run)["origin"]["files"]["application"]["services/app/app.py"]
