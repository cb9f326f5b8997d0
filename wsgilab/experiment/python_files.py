"""A Python file with the modules beside it that it imports: found by parsing, and never executed. Pure."""

import ast
import posixpath
import sys
from collections.abc import Iterator, Mapping

from wsgilab.experiment.parsing import ReadFile, read_text
from wsgilab.model.errors import LabError, SpecError


def read(path: str, folder: str, where: str, most_bytes: int, read_file: ReadFile) -> Mapping[str, str]:
    """The texts of the file at `path` in `folder`, of what it imports from there, and of what those import: path in it -> text.

    Raises SpecError, of the place `where`, for one that is no Python or has more than `most_bytes`, and what `read_file` does.
    """
    files: dict[str, str] = {}
    waiting = [path]
    while waiting:
        each = waiting.pop()
        if each in files:
            continue
        try:
            files[each] = read_text(posixpath.join(folder, each), where, most_bytes, read_file)
        except SpecError:
            raise
        except LabError:
            if each == path:
                raise
            # A package that is installed, or the standard library's.
            continue
        beside = (
            name
            for module in _imported(files[each], each, folder, where)
            for name in (f"{module}.py", f"{module}/__init__.py")
        )
        waiting += [name for name in dict.fromkeys(beside) if name not in files]
    return files


def _imported(text: str, path: str, folder: str, where: str) -> Iterator[str]:
    """The modules that may be in `folder`, as paths without `.py`: those that the file at `path` names, and their packages."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        what = error.msg if isinstance(error, SyntaxError) else error
        raise SpecError(f"{where}: {posixpath.join(folder, path)}{line}: {what}") from None
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            # Of a module at `a/b.py`, one dot is the package `a`.
            parents = path.split("/")[: -node.level] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            names = [*([module] if module else []), *(f"{module}.{each.name}".lstrip(".") for each in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] not in sys.stdlib_module_names and "*" not in parts:
                yield from ("/".join(parts[: count + 1]) for count in range(len(parts)))
