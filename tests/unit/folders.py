"""Folders as somebody else's project has them, made and looked at."""

from collections.abc import Mapping
from pathlib import Path

from wsgilab.experiment import entry_points
from wsgilab.model.folder import Folder
from wsgilab.system.folder import look


def make(folder: Path, files: Mapping[str, str]) -> Path:
    """The files, by their paths; a path that ends with a slash is an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        file = folder / path
        if path.endswith("/"):
            file.mkdir(parents=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return folder


def seen(folder: Path) -> Folder:
    """What the lab sees of it."""
    return look(folder, entry_points.enters, entry_points.reads)
