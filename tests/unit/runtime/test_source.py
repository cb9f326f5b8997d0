"""Which files of an application's source are copied, and that a copy is what was read."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.unit.checkout import git
from wsgilab import testing
from wsgilab.model.application import Application, LocustFile
from wsgilab.model.errors import TargetError, UsageError
from wsgilab.runtime import source

KEPT = ("app.py", "pkg/__init__.py", "static/logo.svg")
NEVER = (".env", ".env.local", "pkg/.env")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shop"
    for path in (*KEPT, *NEVER):
        write(made / path)
    return made


def write(file: Path, text: str = "x") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def read(folder: Path) -> source.Source:
    return source.read(Application(entry="app:app", source=str(folder)))


def test_of_a_git_checkout_it_is_what_git_lists_but_never_a_secret(folder: Path) -> None:
    git(folder, "init", "-q")
    write(folder / ".gitignore", "ignored/\n*.log\n")
    write(folder / "ignored" / "big.bin")
    write(folder / "run.log")
    write(folder / "gone.py")
    git(folder, "add", "--force", ".env", "gone.py", "app.py", ".gitignore")
    git(folder, "commit", "-q", "-m", "x")
    (folder / "gone.py").unlink()
    # Not ignored, but nobody's source.
    write(folder / "env" / "pyvenv.cfg")
    write(folder / "env" / "lib" / "flask.py")

    assert set(read(folder).files) == {*KEPT, ".gitignore"}
    # A folder of a checkout too, which knows the ignore files above it.
    write(folder / "pkg" / "run.log")
    assert set(read(folder / "pkg").files) == {"__init__.py"}


def test_a_repository_within_is_copied_as_files(folder: Path) -> None:
    git(folder, "init", "-q")
    write(folder / "plugins" / "more.py")
    write(folder / "plugins" / ".env")
    git(folder / "plugins", "init", "-q")
    git(folder / "plugins", "add", "more.py")
    git(folder / "plugins", "commit", "-q", "-m", "x")
    git(folder, "-c", "advice.addEmbeddedRepo=false", "add", "plugins")
    assert set(read(folder).files) == {*KEPT, "plugins/more.py"}


def test_without_git_it_is_all_but_what_hardly_anybody_wants_and_what_ignore_files_name(folder: Path) -> None:
    for path in ("node_modules/x.js", "pkg/__pycache__/a.pyc", ".venv/pyvenv.cfg", ".venv/bin/python", ".git/config"):
        write(folder / path)
    write(folder / ".gitignore", "# comment\n*.log\n/build\ndata/\n!data/kept.log\n\nkept/*\n!kept/this\n")
    write(folder / ".dockerignore", "docs\n**/secret-*\n")
    ignored = ("a.log", "pkg/b.log", "build/x", "data/y", "pkg/data/z", "kept/other", "docs/x.md", "pkg/secret-key")
    kept = ("pkg/build/x", "kept/this", "pkg/docs/y")
    for path in (*ignored, *kept):
        write(folder / path)
    assert set(read(folder).files) == {*KEPT, *kept, ".gitignore", ".dockerignore"}


def test_links_within_the_source_are_kept_and_those_that_lead_out_of_it_are_not(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "credentials")
    (folder / "current.py").symlink_to("app.py")
    (folder / "assets").symlink_to("static")
    (folder / "out").symlink_to("../credentials")
    (folder / "absolute").symlink_to(folder / "app.py")
    (folder / "nowhere").symlink_to("nothing")
    os.mkfifo(folder / "pipe")
    found = read(folder)
    assert set(found.files) == {*KEPT, "current.py", "assets"}
    found.copy(tmp_path / "copy")
    assert (tmp_path / "copy" / "current.py").readlink() == Path("app.py")
    assert (tmp_path / "copy" / "assets" / "logo.svg").read_text() == "x"


def test_the_digest_is_of_names_and_contents_and_whether_a_file_can_be_run(folder: Path) -> None:
    seen = {read(folder).digest}
    (folder / "app.py").write_text("y")
    seen.add(read(folder).digest)
    (folder / "app.py").rename(folder / "web.py")
    seen.add(read(folder).digest)
    (folder / "web.py").chmod(0o755)
    seen.add(read(folder).digest)
    assert len(seen) == 4
    assert read(folder.rename(folder.with_name("moved"))).digest in seen


def test_what_is_recorded_is_every_file_of_a_few_and_one_digest_of_many(folder: Path) -> None:
    few = source.recorded(read(folder))
    assert few.keys() == {*KEPT, "(all files)"}
    for number in range(200):
        write(folder / "many" / str(number))
    many = source.recorded(read(folder))
    assert many.keys() == {"(all files)"}
    assert many["(all files)"] != few["(all files)"]


def test_a_source_that_is_too_large_is_told_at_once_with_its_largest_file(folder: Path) -> None:
    with (folder / "static" / "film.mp4").open("wb") as sparse:
        sparse.truncate(5 * 10**9)
    told = (
        rf"^source {folder}: 4 files of 5,000 MB, and 200 MB at most are copied; the largest is static/film.mp4 \(5,000 MB\): "
        r"have .gitignore or .dockerignore name what the application does not need$"
    )
    with pytest.raises(UsageError, match=told):
        read(folder)
    write(folder / ".dockerignore", "**/*.mp4")
    assert "static/film.mp4" not in read(folder).files


def test_a_source_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder; name the one that app:app is in"):
        read(tmp_path / "nothing")
    with pytest.raises(UsageError, match="has no files"):
        read(tmp_path)


def test_a_file_that_changes_between_reading_and_copying_is_told(folder: Path, tmp_path: Path) -> None:
    found = read(folder)
    (folder / "app.py").write_text("edited")
    with pytest.raises(TargetError, match=r"app\.py: has changed while the lab started; let it rest"):
        found.copy(tmp_path / "copy")


def test_a_copy_is_closed_but_for_what_is_writable_and_can_be_removed(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    read(folder).copy(copy)
    source.closed(copy, ["static"])
    modes = {path.relative_to(copy).as_posix(): path.stat().st_mode & 0o222 for path in copy.rglob("*")}
    assert modes["app.py"] == modes["pkg"] == modes["pkg/__init__.py"] == 0
    assert modes["static"] & 0o200
    assert modes["static/logo.svg"] & 0o200
    source.removed(copy)
    assert not copy.exists()
    source.removed(copy)


# The folders of Locust files.


def with_locust(folder: Path, *paths: str) -> Application:
    """An application with a Locust file in a folder, as it is now, for each of these."""
    files = {
        f"w{number}": LocustFile(
            path=str(folder / path), files={path: hashlib.sha256((folder / path).read_bytes()).hexdigest()}
        )
        for number, path in enumerate(paths)
    }
    return testing.application(locust_files=files)


def test_a_locust_file_brings_what_is_beside_it_but_never_a_secret(folder: Path) -> None:
    git(folder, "init", "-q")
    write(folder / ".gitignore", "ignored.csv\nlocal_*.py\n")
    for path in ("users.csv", "ignored.csv", "local_shop.py"):
        write(folder / path)

    # Also one that git ignores.
    (found,) = source.locust_folders(with_locust(folder, "app.py", "local_shop.py")).items()
    assert found[0] == str(folder)
    assert set(found[1].files) == {*KEPT, ".gitignore", "users.csv", "local_shop.py"}
    with tarfile.open(fileobj=io.BytesIO(found[1].archive())) as packed:
        assert set(packed.getnames()) == set(found[1].files)
    assert source.locust_folders(None) == source.locust_folders(testing.application()) == {}


def test_a_locust_file_that_is_not_the_one_of_the_application_is_refused_unless_a_run_has_recorded_it(
    folder: Path,
) -> None:
    application = with_locust(folder, "app.py")
    recorded = source.recorded_locust(source.locust_folders(application))
    assert recorded.keys() == {f"shop/{path}" for path in KEPT}

    write(folder / "app.py", "changed")
    with pytest.raises(
        UsageError, match=r"^locustfile .*/app\.py: is not as it was when its digest was recorded; put it"
    ):
        source.locust_folders(application)
    now = source.recorded_locust(source.locust_folders(application, is_known=False))
    assert {path for path in recorded if recorded[path] != now[path]} == {"shop/app.py"}
    (folder / "app.py").unlink()
    with pytest.raises(UsageError, match=r"^locustfile .*/app\.py: cannot be read \(No such file or directory\)"):
        source.locust_folders(application)
    assert "shop/app.py" not in source.recorded_locust(source.locust_folders(application, is_known=False))


def test_a_folder_with_too_much_beside_a_locust_file_is_told(folder: Path) -> None:
    application = with_locust(folder, "app.py")
    with (folder / "film.mp4").open("wb") as sparse:
        sparse.truncate(source.LARGEST_LOCUST_MB * 10**6 + 1)
    with pytest.raises(
        UsageError, match=r"^locustfile: the folder .*, and 50 MB at most are copied; the largest is film\."
    ):
        source.locust_folders(application)


def test_folders_of_one_name_are_told_apart_in_what_is_recorded(tmp_path: Path) -> None:
    folders: dict[str, source.Source] = {}
    for parent in ("a", "b"):
        write(tmp_path / parent / "load" / "shop.py", parent)
        folders |= source.locust_folders(with_locust(tmp_path / parent / "load", "shop.py"))
    assert source.recorded_locust(folders).keys() == {"load/shop.py", "load 2/shop.py"}


def test_of_many_files_beside_locust_files_a_digest_of_each_folder_is_recorded(folder: Path) -> None:
    application = with_locust(folder, "app.py")
    for number in range(201):
        write(folder / f"{number}.csv")
    assert source.recorded_locust(source.locust_folders(application)).keys() == {"(all files) of folder 1"}


def test_a_file_that_changes_between_reading_and_packing_is_told(folder: Path) -> None:
    (found,) = source.locust_folders(with_locust(folder, "app.py")).values()
    write(folder / "app.py", "changed")
    with pytest.raises(TargetError, match=r"app\.py: has changed while the lab started"):
        found.archive()
