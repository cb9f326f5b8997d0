"""A folder of files that somebody else made, looked at with care: its files are read as text, so many and so large at most.

Nothing in it is imported or executed. No link to a folder is followed, and no link to a file outside. Pipes, sockets and devices,
which can block whoever opens them, are left alone.
"""

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from wsgilab.model.errors import UsageError
from wsgilab.model.folder import Folder

MOST_ENTRIES = 20_000
"""Files and folders; a large project, its environment apart, has fewer."""
DEEPEST = 8
"""Levels of folders."""
LARGEST_FILE = 100_000
"""Bytes. Python takes a second to parse the worst file of that size."""
MOST_TEXT = 32_000_000
"""Characters of all files together."""


def look(path: Path, enters: Callable[[str], bool], reads: Callable[[str], bool]) -> Folder:
    """What is in the folder `path`: the folders that `enters` says by their names, and the text of the files that `reads`
    says by their paths. What has a name that does not print is passed over.

    Raises UsageError where it is no folder, or too large to look at.
    """
    root = os.path.realpath(path)
    files: dict[str, str | None] = {}
    folders: set[str] = set()
    unread: dict[str, str] = {}
    rest, text = MOST_ENTRIES, MOST_TEXT
    waiting = [""]
    while waiting:
        before = waiting.pop()
        try:
            with os.scandir(f"{root}/{before}") as entries:
                found = sorted(islice(entries, rest + 1), key=lambda each: each.name)
        except OSError as error:
            why = f"cannot be read ({error.strerror})"
            if not before:
                raise UsageError(f"--source {path}: {why}; name the folder of your application") from None
            unread[before.rstrip("/")] = why
            continue
        rest -= len(found)
        # An environment of Python's, whatever it is called, has that file.
        if any(each.name == "pyvenv.cfg" for each in found):
            continue
        for entry in found:
            name = f"{before}{entry.name}"
            if not entry.name.isprintable():
                pass
            elif entry.is_dir(follow_symlinks=False):
                folders.add(name)
                if name.count("/") < DEEPEST - 1 and enters(entry.name):
                    waiting.append(f"{name}/")
            elif not Path(entry).is_dir():
                files[name] = None
                try:
                    files[name] = said = _text(root, name, reads) if reads(name) else None
                    text -= len(said or "")
                except (OSError, ValueError) as error:
                    unread[name] = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
            if rest < 0 or text < 0:
                much = f"{MOST_ENTRIES:,} files and folders" if rest < 0 else f"{MOST_TEXT:,} characters of text"
                raise UsageError(
                    f"--source {path}: has more than {much}, too many to look at; "
                    "name the folder of the application itself"
                )
    return Folder(files=files, folders=frozenset(folders), unread=unread)


def _text(root: str, name: str, reads: Callable[[str], bool]) -> str:
    """What a file says. Raises OSError, or ValueError with what is wrong with it."""
    real = os.path.realpath(f"{root}/{name}")
    if not real.startswith(f"{root.rstrip('/')}/"):
        raise ValueError("is a link that leads out of the folder")
    if not reads(os.path.relpath(real, root)):
        raise ValueError("is a link to what is not looked at")
    if not Path(real).is_file():
        raise ValueError("is no plain file")
    with Path(real).open("rb") as opened:
        content = opened.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"has more than {LARGEST_FILE:,} bytes")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
