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


def test_files_are_found_by_their_paths_and_read_where_they_are_to_be(tmp_path: Path) -> None:
    files = {"app.py": "\ufeffa\r\nb\rc\n", "shop/b.py": "b", "uv.lock": "x", "skipped/c.py": "c", "empty/": ""}
    # An environment, whatever it is called.
    files |= {"mine/pyvenv.cfg": "", "mine/lib/app.py": "x"}
    make(tmp_path / "shop", files)
    (tmp_path / os.fsdecode(b"shop/\xff.py")).write_text("x")
    (tmp_path / "shop/a\nb.py").write_text("x")
    (tmp_path / "link").symlink_to("shop")

    found = seen(tmp_path / "link")

    assert found.files == {"app.py": "a\nb\nc\n", "shop/b.py": "b", "uv.lock": None}
    assert found.folders == {"shop", "skipped", "empty", "mine"}
    assert found.unread == {}


def test_no_link_out_of_the_folder_is_followed(tmp_path: Path) -> None:
    make(tmp_path / "other", {"secret.py": "secret"})
    made = make(tmp_path / "shop", {"real.py": "real", "skipped/app.txt": "x"})
    links: dict[str, str | Path] = {
        "out.py": "../other/secret.py",
        "absolute.py": tmp_path / "other/secret.py",
        "folder": "../other",
    }
    links |= {"through.py": "folder/secret.py", "inside.py": "real.py", "loop.py": "loop.py", "dangling.py": "gone.py"}
    for name, target in (links | {"unread.py": "skipped/app.txt"}).items():
        (made / name).symlink_to(target)

    found = seen(made)

    assert {path: text for path, text in found.files.items() if text} == {"real.py": "real", "inside.py": "real"}
    for path in ("out.py", "absolute.py", "through.py"):
        assert found.unread[path] == "is a link that leads out of the folder"
    assert {"loop.py", "dangling.py", "unread.py"} <= set(found.unread)
    assert "folder" not in found.folders


@pytest.mark.timeout(120)
def test_what_is_no_readable_text_blocks_nobody(tmp_path: Path) -> None:
    made = make(tmp_path, {"app.py": "x" * folder.LARGEST_FILE, "large.py": "x" * (folder.LARGEST_FILE + 1)})
    os.mkfifo(made / "pipe.py")
    (made / "latin.py").write_bytes(b"\xe9")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(made / "socket.py"))
        found = seen(made)

    assert [path for path, text in found.files.items() if text is not None] == ["app.py"]
    assert found.unread == {
        "pipe.py": "is no plain file",
        "socket.py": "is no plain file",
        "latin.py": "is not UTF-8 text",
        "large.py": "has more than 100,000 bytes",
    }


def test_a_folder_is_looked_at_to_a_depth(tmp_path: Path) -> None:
    deep = "/".join("d" * (folder.DEEPEST - 1))
    found = seen(make(tmp_path, {f"{deep}/app.py": "x", f"{deep}/d/app.py": "y"}))

    assert list(found.files) == [f"{deep}/app.py"]


@pytest.mark.parametrize(
    ("limit", "words"), [("MOST_ENTRIES", "files and folders"), ("MOST_TEXT", "characters of text")]
)
def test_a_folder_that_is_too_large_is_refused_with_what_to_do(
    tmp_path: Path, limit: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, limit, 10)
    seen(make(tmp_path, {f"{n}/{n}.py": "12" for n in range(5)}))
    make(tmp_path, {"5/5.py": "1"})

    with pytest.raises(UsageError, match=f"more than 10 {words}, .*; name the folder of the application itself"):
        seen(tmp_path)


@pytest.mark.parametrize(("name", "why"), [("gone", "No such file or directory"), ("file", "Not a directory")])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match=why):
        seen(tmp_path / name)


def test_lines_of_a_folder_are_found_nearest_the_top_first() -> None:
    files = {"b/x.py": "a = 1\n", "z.py": "\na = 2\na = 3" + "x" * 2_000, "y.txt": "a = 4\n", "c.py": None}
    found = Folder(files=files, folders=frozenset(), unread={}).lines(r".*\.py", r"a = (\d)")

    assert [(where, match[1]) for where, match in found] == [("z.py:2", "2"), ("b/x.py:1", "1")]
