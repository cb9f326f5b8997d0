"""The files that a checkout measures, and their revision."""

import shutil
from pathlib import Path

import pytest

from tests.unit.checkout import CHANGED, edit, git, project, read
from tests.unit.said import refusal
from wsgilab.model.errors import LabError
from wsgilab.runtime import origin

__all__ = ["project"]


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


def test_an_own_application_is_a_part_of_its_own(project: Path) -> None:
    plain = read(project)
    own = origin.read(project, ("gunicorn", "swarm"), backends=False, own={origin.OWN: {"app.py": "a" * 64}})
    assert own.files == {**plain.files, "your application": {"app.py": "a" * 64}}


def test_a_file_that_cannot_be_read_is_told_in_a_line(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(LabError, origin.digest, tmp_path / "gone")


# The revision.


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
