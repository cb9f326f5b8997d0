"""What files name as the application outright: the commands of Procfile and Dockerfile, Gunicorn's own file, Django's settings. Pure.

They are read as text and never run. What the text alone does not say, such as a variable, is left out.
"""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, takewhile

from wsgilab.model.folder import LONGEST_LINE, Folder

DOCKERFILE = r"(?:Dockerfile|Containerfile)\b.*"
_MOST_DOCKERFILES = 10
_WSGI = frozenset({"gunicorn", "waitress-serve", "waitress", "uwsgi", "granian", "flask"})
_ASGI = frozenset({"uvicorn", "daphne", "hypercorn"})
_OPERATORS = "&;|"
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_ENTRY = re.compile(r"(?!python:|file:)[A-Za-z_][\w.]*:[A-Za-z_].*", re.ASCII)
"""A module and what to call of it. Gunicorn's `-c` has the exceptions."""
_INSTRUCTION = re.compile(r"^[ \t]*(FROM|CMD|ENTRYPOINT)[ \t]+((?:.*\\\n)*.*)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a file names as the application."""

    words: Sequence[str]
    """Which may be it, the likeliest first: `shop:app`, or a module alone."""
    found: str
    """Where, and what is there."""
    is_asgi: bool = False


def production(folder: Folder) -> Iterator[Named]:
    """What the Procfile's `web`, Dockerfiles, gunicorn.conf.py and settings of Django name, in this order."""
    for where, found in islice(folder.lines("Procfile", r"web:\s*(\S.*)"), 1):
        yield from _of_command(found[1], where, folder)
    for path, text in islice(folder.texts(DOCKERFILE), _MOST_DOCKERFILES):
        stage = last_stage(text)
        # CMD has the arguments of ENTRYPOINT.
        words = [stage[name] for name in ("ENTRYPOINT", "CMD") if name in stage]
        if words:
            command = " ".join(_exec_form(rest) for _, rest in words)
            yield from _of_command(command, f"{path}:{words[-1][0]}", folder)
    for where, found in folder.lines(r"gunicorn\.conf\.py", r"""wsgi_app\s*=\s*(["'])(.+)\1\s*(?:#.*)?$"""):
        yield Named(words=[found[2]], found=f"{where}: {found[0]}")
    for where, found in folder.lines(r".*\.py", r"""WSGI_APPLICATION\s*=\s*["']([\w.]+)\.(\w+)["']"""):
        yield Named(words=[f"{found[1]}:{found[2]}"], found=f"{where}: {found[0]}")


def last_stage(text: str) -> dict[str, tuple[int, str]]:
    """The FROM, CMD and ENTRYPOINT that count of a Dockerfile: line, and what follows."""
    found: dict[str, tuple[int, str]] = {}
    for match in _INSTRUCTION.finditer(text):
        name = match[1].upper()
        found = {} if name == "FROM" else found
        found[name] = text.count("\n", 0, match.start()) + 1, match[2].replace("\\\n", " ").strip()
    return found


def words_of(command: str) -> Sequence[str]:
    """As a shell splits it; none where it cannot, or where it is too long to be a command."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer) if len(command) <= LONGEST_LINE else []
    except ValueError:
        return []


def hidden(command: str) -> str:
    """The command without the values of environment variables, which may be secrets."""
    return re.sub(r"(?<![\w-])([A-Za-z_]\w*)=(?:'[^']*'|\"[^\"]*\"|[^\s\"']+)", r"\1=...", command)


def _exec_form(text: str) -> str:
    """`["gunicorn", "shop:app"]` as a shell has it, and any other text as it is."""
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return shlex.join(map(str, words)) if isinstance(words, list) else ""


def _of_command(command: str, where: str, folder: Folder) -> Iterator[Named]:
    """What the first server serves in a command, in one that it gives to `sh -c`, or in a shell script that it starts."""
    words = words_of(command)
    inner = [word for before, word in pairwise(words) if re.fullmatch("-[a-z]*c", before)]
    commands = [(where, each) for each in (command, *inner)]
    scripts = {word.rsplit("/", 1)[-1] for word in words if word.endswith(".sh")}
    for path, text in folder.texts("|".join(map(re.escape, scripts))) if scripts else ():
        lines = text.replace("\\\n", " ").split("\n")
        commands += [(f"{path}:{number}", line) for number, line in enumerate(lines, 1)]
    for at_line, each in commands:
        words = words_of(each)
        for at, word in enumerate(words):
            if (server := word.rsplit("/", 1)[-1]) in _WSGI | _ASGI:
                rest = takewhile(lambda each: not set(each) <= set(_OPERATORS), words[at + 1 :])
                parts = [part for it in rest for part in (it.split("=", 1) if it.startswith("--") else [it])]
                if named := _entries(server, parts):
                    is_asgi = server in _ASGI or any("uvicorn" in part or "asgi" in part.lower() for part in parts)
                    is_asgi = is_asgi or (server == "granian" and "wsgi" not in parts)
                    yield Named(words=named, found=f"{at_line}: {hidden(each)}", is_asgi=is_asgi)
                    return


def _entries(server: str, rest: Sequence[str]) -> Sequence[str]:
    """The words after a server that may name the application, the likeliest first."""
    if server == "flask":
        return [value for option, value in pairwise(rest) if option in ("--app", "-A")]
    if entries := [each for each in rest if _ENTRY.fullmatch(each)]:
        return entries[-1:]
    modules = [(before, each) for before, each in pairwise(["", *rest]) if _MODULE.fullmatch(each)]
    # What follows an option is more likely its value.
    return [each for _, each in sorted(modules, key=lambda pair: pair[0].startswith("-"))]
