"""A folder of files that somebody else made, looked at with care: its files are read as text, so many and so large at most.

Nothing in it is imported or executed. No link is followed: what a link within the folder leads to is seen at its own place,
and one that leads out of it is told. Pipes, sockets and devices, which can block whoever opens them, are left alone.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from wsgilab.model.errors import UsageError
from wsgilab.model.folder import Folder

MOST_ENTRIES = 20_000
"""Files and folders; a large project, its environment apart, has fewer."""
DEEPEST = 8
"""Levels of folders."""
LARGEST_FILE = 100_000
"""Bytes. Python takes a second to parse the worst file of that size."""
MOST_BYTES = 32_000_000
"""Of all files together."""
_OUT = "is a link that leads out of the folder"


def look(path: Path, enters: Callable[[str], bool], reads: Callable[[str], bool]) -> Folder:
    """What is in the folder `path`: the folders that `enters` says by their names, and the text of the files that `reads`
    says by their paths.

    Raises UsageError where it is no folder, or too large to look at.
    """
    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except ValueError:
        raise UsageError("--source: is no path of a folder; name the folder of your application") from None
    except OSError as error:
        cause = "there is no such folder" if error.errno == errno.ENOENT else f"cannot be read ({error.strerror})"
        cause = "is no folder" if error.errno == errno.ENOTDIR else cause
        raise UsageError(f"--source {path}: {cause}; name the folder of your application") from None
    try:
        seen = _Seen(path, enters, reads)
        seen.visit(root, "", 1)
    finally:
        os.close(root)
    seen.follow_links()
    return Folder(files=seen.files, folders=frozenset(seen.folders), unread=seen.unread)


class _Seen:
    def __init__(self, path: Path, enters: Callable[[str], bool], reads: Callable[[str], bool]) -> None:
        self._path, self._enters, self._reads = path, enters, reads
        self.files: dict[str, str | None] = {}
        self.folders: set[str] = set()
        self.unread: dict[str, str] = {}
        self._links: list[str] = []
        self._entries = self._bytes = 0

    def visit(self, folder: int, before: str, level: int) -> None:
        """`folder` is open; `before` goes before the names in it."""
        names: list[tuple[str, bool]] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self._entries += 1
                if self._entries > MOST_ENTRIES:
                    raise self._too_large(f"has more than {MOST_ENTRIES:,} files and folders")
                if _is_text(entry.name):
                    names.append((entry.name, entry.is_dir(follow_symlinks=False)))
                    if entry.is_symlink() and self._reads(f"{before}{entry.name}"):
                        self._links.append(f"{before}{entry.name}")
        for name, is_folder in sorted(names):
            path = f"{before}{name}"
            if is_folder:
                self.folders.add(path)
                if level < DEEPEST and self._enters(name):
                    self._enter(folder, name, path, level)
            elif path not in self._links:
                self.files[path] = self._text(folder, name, path) if self._reads(path) else None

    def _enter(self, folder: int, name: str, path: str, level: int) -> None:
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        except OSError as error:
            self.unread[path] = f"cannot be read ({error.strerror})"
            return
        try:
            # An environment of Python's, whatever it is called, has that file.
            with contextlib.suppress(FileNotFoundError):
                os.stat("pyvenv.cfg", dir_fd=inner, follow_symlinks=False)
                return
            self.visit(inner, f"{path}/", level + 1)
        except OSError as error:
            self.unread[path] = f"cannot be read ({error.strerror})"
        finally:
            os.close(inner)

    def _text(self, folder: int, name: str, path: str) -> str | None:
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=folder)
        except OSError as error:
            self.unread[path] = f"cannot be read ({error.strerror})"
            return None
        with os.fdopen(file, "rb", buffering=0) as opened:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                self.unread[path] = "is no plain file"
                return None
            # In one go: a larger file is not needed, and what is read of a regular file comes whole.
            content = opened.read(LARGEST_FILE + 1) or b""
        if len(content) > LARGEST_FILE:
            self.unread[path] = f"has more than {LARGEST_FILE:,} bytes"
            return None
        self._bytes += len(content)
        if self._bytes > MOST_BYTES:
            raise self._too_large(f"has more than {MOST_BYTES:,} bytes of text")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            self.unread[path] = "is not UTF-8 text"
            return None

    def follow_links(self) -> None:
        """A link has the text of the file that it leads to, where that was read at its own place."""
        root = os.path.realpath(self._path)
        for path in self._links:
            target = os.path.relpath(os.path.realpath(f"{root}/{path}"), root)
            if target == os.pardir or target.startswith(os.pardir + os.sep):
                self.unread[path] = _OUT
            elif (text := self.files.get(target)) is not None:
                self.files[path] = text
            else:
                self.unread[path] = "is a link to what is not looked at"

    def _too_large(self, why: str) -> UsageError:
        return UsageError(
            f"--source {self._path}: {why}, too many to look at; name the folder of the application itself"
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
