"""Loading the application under test as Gunicorn does, and saying in one line why it cannot be served.

An entry is `module:callable`, `module:factory(arguments)` with literal arguments, or `module` alone, which means
`module:application`. Module and callable may have dots.
"""

import ast
import importlib
import inspect
import os
import sys
import traceback
from typing import Any

TOLD = "wsgilab_door: "
"""How the line on standard error begins."""
_FRAMES = 5
"""Of a traceback, the last, where the fault is."""
_LONGEST = 400


class NotServed(Exception):
    """Why the application cannot be served, in one line."""


def opened(source: str, entry: str) -> Any:
    """The WSGI application `entry`, imported from the folder `source` or its `src/`, which are first on sys.path from now on;
    `source` becomes the working folder.

    Raises NotServed, after the same line was written to standard error, with the last lines of a traceback above it.
    """
    try:
        return load(entry, enter(source))
    except NotServed as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__, limit=-_FRAMES, chain=False)
        print(f"{TOLD}{error}", file=sys.stderr, flush=True)  # noqa: T201 - it is told to whoever reads the log
        # Without the cause, which has been told.
        raise error from None


def enter(source: str) -> str:
    """Make `source` the working folder, and put it and its `src/` first on sys.path. Its absolute path. Raises NotServed."""
    folder = os.path.abspath(source)  # noqa: PTH100 - strings throughout, as on sys.path
    try:
        os.chdir(folder)
    except OSError as error:
        raise NotServed(f"LAB_SOURCE: {source}: {error.strerror}; name the folder that holds the application") from None
    below = os.path.join(folder, "src")  # noqa: PTH118
    sys.path[:0] = [folder, below] if os.path.isdir(below) else [folder]  # noqa: PTH112
    return folder


def load(entry: str, source: str) -> Any:
    """The WSGI application that `entry` names. Raises NotServed; its cause is what the application itself has raised."""
    module, colon, name = entry.partition(":")
    path, call = _parsed(entry, name if colon else "application")
    try:
        found: Any = importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    # SystemExit too: Gunicorn would start a worker that exits so again and again.
    except BaseException as error:
        known = f"; looked for in {source}" if _is_absent(error, module) else ""
        raise NotServed(f"{entry} does not import: {_told(error, source)}{known}") from error
    for part in path:
        if not hasattr(found, part):
            raise NotServed(f"{entry}: {_named(found)} has no {part!r}")
        found = getattr(found, part)
    if call is not None:
        if not callable(found):
            raise NotServed(f"{entry}: {'.'.join(path)} is called, but is {_kind(found)}")
        arguments, keywords = call
        try:
            found = found(*arguments, **keywords)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise NotServed(f"{entry} raised {_told(error, source)}") from error
    if (reason := unfit(found)) is not None:
        hint = f"; write {entry}() if it makes the application" if call is None and callable(found) else ""
        raise NotServed(f"{entry} {reason}{'' if is_asgi(found) else hint}")
    return found


def unfit(found: object) -> str | None:
    """Why an object is no WSGI application, as the predicate of a sentence; None where it may be one."""
    if not callable(found):
        return f"is no WSGI callable, but {_kind(found)}"
    if is_asgi(found):
        return f"is an ASGI application ({_kind(found)}), and these servers serve WSGI"
    try:
        # Not of what it wraps: that may take other arguments.
        signature = inspect.signature(found, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind({}, None)
    except TypeError:
        return f"is no WSGI callable: it does not take (environ, start_response), but {signature}"
    return None


def is_asgi(found: object) -> bool:
    """Whether it is a coroutine function, or an object that is called as one."""
    # `iscoroutinefunction` of an object, such as FastAPI's application, is False: what is called is a method of its type.
    return inspect.iscoroutinefunction(found) or (callable(found) and inspect.iscoroutinefunction(type(found).__call__))


def _parsed(entry: str, name: str) -> tuple[list[str], tuple[list[Any], dict[str, Any]] | None]:
    """The attributes that lead to the callable, and the arguments of a call, or None where it is not called."""
    wrong = NotServed(f"{entry!r} is neither module:callable nor module:factory(literal arguments)")
    if not all(part.isidentifier() for part in entry.partition(":")[0].split(".")):
        raise wrong
    try:
        node, call = ast.parse(name.strip(), mode="eval").body, None
        if isinstance(node, ast.Call):
            keywords = {each.arg: ast.literal_eval(each.value) for each in node.keywords if each.arg is not None}
            if len(keywords) < len(node.keywords):
                raise wrong
            call, node = ([ast.literal_eval(each) for each in node.args], keywords), node.func
    except (SyntaxError, ValueError):
        raise wrong from None
    path: list[str] = []
    while isinstance(node, ast.Attribute):
        path.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise wrong
    return [node.id, *path], call


def _is_absent(error: BaseException, module: str) -> bool:
    """Whether it is the module itself that is not there, or a package that it is in."""
    return isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")


def _told(error: BaseException, source: str) -> str:
    """An exception in one line: its type, what it says, and where in `source`, if it was there."""
    text = " ".join(str(error).split())[:_LONGEST]
    said = type(error).__name__ + (f": {text}" if text else "")
    frames = [
        f"{os.path.relpath(frame.filename, source)}, line {frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(f"{source}{os.sep}")
    ]
    return f"{said} ({frames[-1]})" if frames else said


def _kind(found: object) -> str:
    kind = found if isinstance(found, type) else type(found)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _named(found: object) -> str:
    return getattr(found, "__name__", None) or _kind(found)
