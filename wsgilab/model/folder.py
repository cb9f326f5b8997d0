"""A folder that somebody else made, as far as it was looked at."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Paths are relative to the folder, with slashes."""

    files: Mapping[str, str | None]
    """Path of every file that was seen -> what it says; None: it was not read."""
    folders: frozenset[str]
    """Every folder within that was seen, those that were not entered included."""
    unread: Mapping[str, str]
    """Path of a file that was to be read and could not be -> why, as in `is a link that leads out of the folder`."""
