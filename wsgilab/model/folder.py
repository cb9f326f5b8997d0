"""A folder that somebody else made, as far as it was looked at."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LONGEST_LINE = 1_000
"""Characters. A longer one is nothing that somebody wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Paths are relative to the folder, with slashes."""

    files: Mapping[str, str | None]
    """Path of every file that was found -> what it says; None: it was not read, as it says nothing or could not be."""
    folders: frozenset[str]
    """Every folder within that was found, those that were not entered included."""
    unread: Mapping[str, str]
    """Path of what was to be read and could not be -> why, as in `is a link that leads out of the folder`."""

    def texts(self, name: str) -> Iterator[tuple[str, str]]:
        """Path and text of the files whose names are like the regular expression `name`, nearest the top first."""
        for path in sorted(self.files, key=lambda each: (each.count("/"), each)):
            if re.fullmatch(name, path.rsplit("/", 1)[-1]) and (text := self.files[path]):
                yield path, text

    def lines(self, name: str, pattern: str) -> Iterator[tuple[str, re.Match[str]]]:
        """`path:line` and the match of their lines that begin with what is like the regular expression `pattern`."""
        begins = re.compile(pattern, re.ASCII)
        for path, text in self.texts(name):
            for number, line in enumerate(text.split("\n"), 1):
                if 0 < len(line) <= LONGEST_LINE and (found := begins.match(line)):
                    yield f"{path}:{number}", found
