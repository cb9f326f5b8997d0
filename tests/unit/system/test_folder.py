"""A folder of somebody else's: looked at as text, within limits, and nowhere else."""

import os
import socket
from pathlib import Path

import pytest

from tests.unit.folders import make
from wsgilab.model.errors import UsageError
from wsgilab.model.folder import Folder
from wsgilab.system import folder
from wsgilab.system.folder import look


def seen(path: Path) -> Folder:
    return look(path, lambda name: name != "skipped", lambda path: path.endswith(".py"))


def test_files_are_seen_by_their_paths_and_read_where_they_are_to_be(tmp_path: Path) -> None:
    made = make(
        tmp_path, {"app.py": "a = 1\n", "shop/b.py": "\ufeffb", "uv.lock": "x", "skipped/c.py": "c", "empty/": ""}
    )

    found = seen(made)

    assert found.files == {"app.py": "a = 1\n", "shop/b.py": "b", "uv.lock": None}
    assert found.folders == {"shop", "skipped", "empty"}
    assert found.unread == {}


def test_an_environment_is_not_looked_into_whatever_it_is_called(tmp_path: Path) -> None:
    found = seen(make(tmp_path, {"mine/pyvenv.cfg": "", "mine/lib/app.py": "x"}))

    assert found.files == {}
    assert found.folders == {"mine"}


def test_a_link_out_of_the_folder_is_told_and_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "other", {"secret.py": "secret"})
    made = make(tmp_path / "shop", {"real.py": "real"})
    (made / "out.py").symlink_to("../other/secret.py")
    (made / "absolute.py").symlink_to(tmp_path / "other" / "secret.py")
    (made / "folder").symlink_to("../other")
    (made / "through.py").symlink_to("folder/secret.py")
    (made / "inside.py").symlink_to("real.py")
    (made / "loop.py").symlink_to("loop.py")
    (made / "dangling.py").symlink_to("gone.py")

    found = seen(made)

    assert {path: text for path, text in found.files.items() if text} == {"real.py": "real", "inside.py": "real"}
    for path in ("out.py", "absolute.py", "through.py"):
        assert found.unread[path] == "is a link that leads out of the folder"
    assert {"loop.py", "dangling.py"} <= set(found.unread)
    assert "folder" not in found.folders


def test_a_folder_may_itself_be_named_by_a_link(tmp_path: Path) -> None:
    make(tmp_path / "shop", {"app.py": "x"})
    (tmp_path / "link").symlink_to("shop")
    (tmp_path / "shop" / "inside.py").symlink_to("app.py")

    assert seen(tmp_path / "link").files == {"app.py": "x", "inside.py": "x"}


@pytest.mark.timeout(20)
def test_pipes_sockets_and_what_cannot_be_read_are_told_and_block_nobody(tmp_path: Path) -> None:
    made = make(tmp_path, {"app.py": "x", "latin.py": ""})
    os.mkfifo(made / "pipe.py")
    (made / "latin.py").write_bytes(b"\xe9")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(made / "socket.py"))
        found = seen(made)

    assert found.files["app.py"] == "x"
    assert found.unread["pipe.py"] == "is no plain file"
    assert found.unread["latin.py"] == "is not UTF-8 text"
    assert "cannot be read" in found.unread["socket.py"]


def test_names_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.py")).write_text("x")

    assert seen(tmp_path).files == {}


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    made = make(tmp_path, {"just.py": "x" * folder.LARGEST_FILE, "large.py": "x" * (folder.LARGEST_FILE + 1)})

    found = seen(made)

    assert len(found.files["just.py"] or "") == folder.LARGEST_FILE
    assert found.files["large.py"] is None
    assert found.unread["large.py"] == "has more than 100,000 bytes"


def test_a_folder_is_looked_at_to_a_depth(tmp_path: Path) -> None:
    deep = "/".join("d" * (folder.DEEPEST - 1))
    found = seen(make(tmp_path, {f"{deep}/app.py": "x", f"{deep}/d/app.py": "y"}))

    assert list(found.files) == [f"{deep}/app.py"]


def test_a_folder_with_too_many_files_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MOST_ENTRIES", 10)
    seen(make(tmp_path, {f"{n}.txt": "" for n in range(10)}))
    make(tmp_path, {"one-more.txt": ""})

    with pytest.raises(UsageError) as caught:
        seen(tmp_path)
    assert "more than 10 files and folders" in caught.value.message
    assert "name the folder of the application itself" in caught.value.message


def test_a_folder_with_too_much_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MOST_BYTES", 10)
    seen(make(tmp_path, {"a.py": "12345", "b.py": "12345"}))
    make(tmp_path, {"c.py": "1"})

    with pytest.raises(UsageError, match="more than 10 bytes of text"):
        seen(tmp_path)


@pytest.mark.parametrize(
    ("name", "why"), [("gone", "there is no such folder"), ("file", "is no folder"), ("a\0b", "no path")]
)
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match=why):
        seen(tmp_path / name)
