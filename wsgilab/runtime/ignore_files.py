"""What ignore files name: the patterns that .gitignore and .dockerignore have in common."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path


class Rules:
    """What an ignore file names, in the patterns that .gitignore and .dockerignore have in common."""

    def __init__(self, file: Path) -> None:
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        # In .dockerignore, each is of the folder itself.
        self._rules = [_Rule(line.strip(), file.name == ".dockerignore") for line in lines if _says_something(line)]

    def name(self, path: str, is_folder: bool) -> bool:
        """Whether they name `path`: the last one that fits decides."""
        fitting = [each for each in self._rules if each.fits(path, is_folder)]
        return bool(fitting) and not fitting[-1].is_exception


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


class _Rule:
    def __init__(self, line: str, of_the_root: bool) -> None:
        self.is_exception = line.startswith("!")
        line = line.removeprefix("!")
        self._only_folders = line.endswith("/")
        anchored = of_the_root or "/" in line.rstrip("/")
        self._parts = [part for part in line.split("/") if part not in ("", ".")]
        if not anchored:
            self._parts.insert(0, "**")

    def fits(self, path: str, is_folder: bool) -> bool:
        return (is_folder or not self._only_folders) and bool(self._parts) and _fits(self._parts, path.split("/"))


def _fits(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether all of `pattern` fits all of `parts`; `**` stands for any number of them."""
    if not pattern:
        return not parts
    first, *rest = pattern
    if first == "**":
        return any(_fits(rest, parts[at:]) for at in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], first) and _fits(rest, parts[1:])
