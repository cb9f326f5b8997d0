"""What a repository has at a revision, checked out without touching it."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.checkout import git
from wsgilab import testing
from wsgilab.experiment.versions import settings_of
from wsgilab.model.application import Application, Version
from wsgilab.model.errors import BuildError, UsageError
from wsgilab.runtime import own_images, source, versions
from wsgilab.runtime.application import Installed, read_secrets

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A repository with an application in its folder `src`, changed twice since the tag v1: committed, and not."""
    folder = tmp_path / "shop"
    write(folder / "src" / "app.py", "one")
    write(folder / "src" / "forced.log", "tracked, though ignored")
    write(folder / "src" / "gone.py", "gone")
    write(folder / "docs" / "big.md", "not the application's")
    write(folder / "shop.yaml", "as of v1")
    write(folder / ".gitignore", "*.log\n.env\n")
    git(folder, "init", "-q")
    git(folder, "add", "--force", ".")
    git(folder, "commit", "-q", "-m", "one")
    git(folder, "tag", "v1")
    write(folder / "src" / "app.py", "two")
    git(folder, "rm", "-q", "src/gone.py")
    git(folder, "commit", "-q", "-a", "-m", "two")
    write(folder / "src" / "app.py", "three")
    return folder


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def application(source: Path, against: Application | None = None, revision: str | None = "v1") -> Application:
    own = Application(entry="app:app", source=str(source))
    version = Version(
        name="v1",
        revision=None if revision is None else versions.find(own, revision).commit,
        current="HEAD",
        current_revision=None,
        application=settings_of(against or own),
    )
    return replace(own, against=version)


def state(repository: Path) -> str:
    """All that git knows of it, and of its working tree."""
    words = ["git", "-C", str(repository), "status", "--porcelain=v2", "--branch", "--ignored"]
    status = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    inside = {
        f"{path.relative_to(repository)} {path.stat().st_mtime_ns}"
        for path in repository.rglob("*")
        if path.is_file() or path.parent.name != ".git"
    }
    return "\n".join([status, *sorted(inside)])


def test_a_revision_has_the_files_that_a_checkout_of_it_would_and_the_repository_is_as_it_was(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")
    of = application(shop / "src")
    before = state(shop)
    with versions.checked_out(of, tmp_path / "revision") as found:
        assert found.against is not None
        there = Path(found.against.application.source)
        files = {path: (there / path).read_text() for path in source.read(testing.application(source=str(there))).files}
        assert files == {"app.py": "one", "forced.log": "tracked, though ignored", "gone.py": "gone"}
        assert not (tmp_path / "revision" / "docs").exists(), "only what the application needs"
    assert not (tmp_path / "revision").exists()
    assert state(shop) == before
    assert found.source == of.source


def test_what_is_no_revision_has_files_of_its_own(shop: Path, tmp_path: Path) -> None:
    of = application(shop / "src", revision=None)
    with versions.checked_out(of, tmp_path / "revision") as found:
        assert found == of


def test_what_the_application_is_now_is_named_by_its_own_files_alone(shop: Path) -> None:
    assert versions.current(Application(entry="a:b", source=str(shop / "src")))[0] == "HEAD with uncommitted changes"
    name, revision = versions.current(Application(entry="a:b", source=str(shop / "docs")))
    assert (name, revision) == ("HEAD", versions.find(application(shop / "src"), "HEAD").commit)


def test_a_file_is_read_as_of_a_revision_wherever_the_lab_was_called(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(shop / "shop.yaml", "as of now")
    monkeypatch.chdir(shop / "docs")
    found = versions.find(Application(entry="a:b", source="../src"), "v1")
    assert versions.text(found, Path("../shop.yaml")) == "as of v1"
    assert versions.text(found, Path("../other.yaml")) is None
    assert versions.text(found, Path("/etc/hostname")) is None


def test_secrets_that_nobody_commits_are_those_of_now(shop: Path, tmp_path: Path) -> None:
    write(shop / "src" / ".env", "KEY=now")
    own = Application(entry="app:app", source=str(shop / "src"), env_file=".env")
    for committed, expected in ((False, {"KEY": "now"}), (True, {"KEY": "then"})):
        if committed:
            write(shop / "src" / ".env", "KEY=then")
            git(shop, "add", "--force", "src/.env")
            git(shop, "commit", "-q", "-m", "secrets")
            write(shop / "src" / ".env", "KEY=now")
        with versions.checked_out(application(shop / "src", own, "HEAD"), tmp_path / "revision") as found:
            assert found.against is not None
            then = found.against.application
            there = replace(own, source=then.source, env_file=then.env_file)
            assert read_secrets(there, Path(there.source)) == expected


def refused(of: Application, into: Path) -> str:
    with pytest.raises(UsageError) as caught, versions.checked_out(of, into):
        pass
    assert not into.exists()
    return str(caught.value)


def test_what_a_checkout_would_lack_of_what_the_application_has_is_said(shop: Path, tmp_path: Path) -> None:
    into = tmp_path / "revision"
    library = tmp_path / "library"
    write(library / "lib.py", "lib")
    git(library, "init", "-q")
    git(library, "add", ".")
    git(library, "commit", "-q", "-m", "x")
    git(shop, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "src/library")
    write(shop / "src" / "model.bin", POINTER)
    git(shop, "add", ".")
    git(shop, "commit", "-q", "-m", "more")
    of = application(shop / "src", revision="HEAD")
    told = refused(of, into)
    assert told.startswith(
        "--against v1: src/library is a submodule, and none is checked out with a revision; check it out"
    )

    for each in ("lib.py", ".git"):
        (shop / "src" / "library" / each).unlink()
    with versions.checked_out(of, into):
        "Neither version has what is not there."
    write(shop / "src" / "model.bin", "content")
    assert "src/model.bin is kept in Git LFS, and its content is not fetched" in refused(of, into)


def test_what_is_not_there_at_the_revision_is_said(shop: Path, tmp_path: Path) -> None:
    into = tmp_path / "revision"
    write(shop / "new" / "app.py", "new")
    assert refused(application(shop / "new"), into).startswith(
        f"--against v1: source {shop / 'new'} is no folder at that revision; check it out yourself"
    )
    outside = application(shop / "src", Application(entry="app:app", source=str(tmp_path)))
    assert f"source {tmp_path} is not in the repository {shop}" in refused(outside, into)


@pytest.mark.parametrize("name", ["v2", "-v1", "v1:src", "--all", ""])
def test_what_is_no_revision_is_said(shop: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"--against {name}: is no revision of the repository {shop}; name one that"):
        versions.find(Application(entry="a:b", source=str(shop / "src")), name)


def test_a_history_that_is_not_all_here_is_said(shop: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{shop}", "shallow")
    with pytest.raises(UsageError, match="its history is not all here: fetch the revision first"):
        versions.find(Application(entry="a:b", source=str(tmp_path / "shallow" / "src")), "v1")


def test_what_has_no_revisions_is_said(tmp_path: Path, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "plain" / "app.py", "x")
    plain = Application(entry="a:b", source=str(tmp_path / "plain"))
    with pytest.raises(UsageError, match=f"--against v1: {tmp_path / 'plain'} is in no git repository: not a git repo"):
        versions.find(plain, "v1")
    assert versions.current(plain) == (str(tmp_path / "plain"), None)
    with pytest.raises(UsageError, match="--against: image shop:1 is the same at every revision; name another appl"):
        versions.find(Application(entry="a:b", image="shop:1"), "v1")
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(UsageError, match="is in no git repository: there is no git here; install it"):
        versions.find(Application(entry="a:b", source=str(shop / "src")), "v1")


# What either version is installed with.


def test_servers_are_kept_where_both_versions_are() -> None:
    one, two = testing.server("one"), testing.server("two")
    others = [replace(each, name=f"{each.name}-against", is_against=True) for each in (one, two)]
    every = [one, two, *others]
    assert versions.with_both(every, ["one", "two", "two-against"]) == [two, others[1]]
    assert versions.of_either(every) == ([one, two], others)


def test_locks_of_both_versions_are_told_from_each_other() -> None:
    both = versions.beside({"gunicorn": "a", "locust": "l"}, {"gunicorn": "b"})
    assert both == {"gunicorn": "a", "locust": "l", "gunicorn-against": "b"}
    assert versions.known_locks(both, is_against=True) == {"gunicorn": "b"}
    assert versions.known_locks(both, is_against=False) == {"gunicorn": "a", "locust": "l"}


def test_errors_and_lines_of_the_other_version_name_it() -> None:
    said: list[str] = []
    of = replace(
        testing.application(backends=("postgres",)),
        against=Version(
            name="v1",
            revision=None,
            current="HEAD",
            current_revision=None,
            application=settings_of(testing.application(entry="old:app", locust_requirements=("faker",))),
        ),
    )
    with versions.the_other(of, said.append) as (other, tell):
        tell("Locking ...")
    assert said == ["v1: Locking ..."]
    assert (other.entry, other.requests, other.against) == ("old:app", of.requests, None)
    assert (other.backends, other.locust_requirements) == (("postgres",), ())
    with pytest.raises(BuildError, match=r"^v1: no index$") as caught, versions.the_other(of, said.append):
        raise BuildError("no index", detail="its log")
    assert caught.value.detail == "its log"


def test_secrets_of_either_version_have_variables_of_their_own() -> None:
    own = Installed(
        application=testing.application(), source=source.Source(folder=Path(), files={}), locks={}, secrets={"KEY": "x"}
    )
    there = replace(own, prefix="LAB_AGAINST_SECRET_")
    found = [
        own_images.service(each, testing.server(), own_images.PLACE)["environment"]["KEY"] for each in (own, there)
    ]
    assert found == ["${LAB_SECRET_0}", "${LAB_AGAINST_SECRET_0}"]
