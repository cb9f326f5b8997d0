"""How an application is started where it runs today: what Procfile, Dockerfile and gunicorn.conf.py say of its entry. Pure.

These are read as text and never run, and what cannot be told from the text alone (a variable, a script of Python's) is no
evidence.
"""

import ast
import json
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

LONGEST_LINE = 4_000
"""Characters. A longer one is no command that somebody wrote."""

_ENTRY = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?::(?P<call>.+))?", re.ASCII)
_LONGEST_ENTRY = 200
_OPERATORS = "&;|"
_SHELLS = frozenset({"sh", "bash", "ash", "dash"})
_ASGI = frozenset({"uvicorn", "daphne", "hypercorn"})
_FLAGS = {
    "gunicorn": frozenset(
        {
            "-D",
            "--daemon",
            "-R",
            "--enable-stdio-inheritance",
            "--reload",
            "--spew",
            "--check-config",
            "--print-config",
            "--preload",
            "--no-sendfile",
            "--reuse-port",
            "--capture-output",
            "--log-syslog",
            "--proxy-protocol",
            "--initgroups",
            "--suppress-ragged-eofs",
            "--strip-header-spaces",
            "--do-handshake-on-connect",
            "--disable-redirect-access-to-syslog",
            "--permit-obsolete-folding",
            "--no-control-socket",
            "--permit-unconventional-http-method",
            "--permit-unconventional-http-version",
            "--casefold-http-method",
            "--forwarder-headers-dangerous",
        }
    ),
    "waitress-serve": frozenset(
        {
            "--call",
            "--expose-tracebacks",
            "--no-expose-tracebacks",
            "--log-socket-errors",
            "--no-log-socket-errors",
            "--ipv4",
            "--no-ipv4",
            "--ipv6",
            "--no-ipv6",
            "--asyncore-use-poll",
            "--no-asyncore-use-poll",
            "--clear-untrusted-proxy-headers",
            "--log-untrusted-proxy-headers",
        }
    ),
    "granian": frozenset(
        {
            "--factory",
            "--reload",
            "--no-reload",
            "--access-log",
            "--no-access-log",
            "--log",
            "--no-log",
            "--respawn-failed-workers",
            "--ws",
            "--no-ws",
            "--no-respawn-failed-workers",
        }
    ),
}
"""Options without a value. After any other, the next word is its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What a command starts."""

    module: str = ""
    """With dots; empty: that of `file`."""
    file: str = ""
    """A path of a file of Python's, such as `shop/app.py`, or where it is in a container."""
    call: str | None = None
    """What it calls of the module, or the factory's call; None: what the server looks for by itself."""
    is_wsgi: bool = True
    folder: str = ""
    """Where the server changes to before it imports the module; empty: nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, and where it stands."""

    line: int
    words: tuple[str, ...]
    text: str
    environment: Mapping[str, str]

    @property
    def shown(self) -> str:
        """`text` without the values of environment variables, which may be secrets."""
        return re.sub(r"(?<![\w-])([A-Za-z_]\w*)=(?:'[^']*'|\"[^\"]*\"|[^\s\"']+)", r"\1=...", self.text)


def entry(module: str, call: str) -> str | None:
    """The entry as an application file has it; None where it is none that the lab or Gunicorn takes."""
    text = f"{module}:{call}"
    return (
        text
        if len(text) <= _LONGEST_ENTRY and text.isprintable() and _ENTRY.fullmatch(text) and _is_call(call)
        else None
    )


def _is_call(text: str) -> bool:
    """A name, with dots or without, or a call of one with literal arguments, as Gunicorn's `import_app` has it."""
    parsed = tree_of(text.strip())
    if parsed is None or len(parsed.body) != 1 or not isinstance(parsed.body[0], ast.Expr):
        return False
    tree = parsed.body[0].value
    if isinstance(tree, ast.Call):
        try:
            for argument in (*tree.args, *(keyword.value for keyword in tree.keywords)):
                ast.literal_eval(argument)
        except (ValueError, TypeError, MemoryError, RecursionError, SyntaxError):
            return False
        if any(keyword.arg is None for keyword in tree.keywords):
            return False
        tree = tree.func
    while isinstance(tree, ast.Attribute):
        tree = tree.value
    return isinstance(tree, ast.Name)


def tree_of(text: str) -> ast.Module | None:
    """The syntax of a module; None where it is none that this Python can read."""
    with warnings.catch_warnings():
        # What it is written like is its author's concern.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return None


# --- files of commands


def procfile(text: str) -> Mapping[str, Command]:
    """Kind of process, such as `web` or `release` -> its command."""
    found: dict[str, Command] = {}
    for number, line in enumerate(text.splitlines(), 1):
        kind, colon, command = line.partition(":")
        if colon and re.fullmatch(r"[A-Za-z0-9_-]{1,50}", kind) and kind not in found:
            words = _split(command)
            if words:
                found[kind] = Command(line=number, words=words, text=command.strip(), environment={})
    return found


def dockerfile(text: str) -> Command | None:
    """What a container of the last stage starts: ENTRYPOINT, with CMD as its arguments."""
    entrypoint: tuple[int, tuple[str, ...], str] | None = None
    command = entrypoint
    environment: dict[str, str] = {}
    for number, instruction, rest in _instructions(text):
        if instruction == "FROM":
            entrypoint = command = None
            environment = {}
        elif instruction == "ENV":
            environment |= _assignments(_split(rest))
        elif instruction in ("CMD", "ENTRYPOINT"):
            words = _exec_form(rest) if rest.startswith("[") else _split(rest)
            if instruction == "CMD":
                command = (number, words, rest)
            else:
                # An ENTRYPOINT puts an end to the CMD of what it builds upon.
                entrypoint, command = (number, words, rest), None
    told = [each for each in (entrypoint, command) if each is not None and each[1]]
    if not told:
        return None
    return Command(
        line=told[-1][0],
        words=tuple(word for each in told for word in each[1]),
        text=" ".join(each[2] for each in told),
        environment=environment,
    )


def docker_python(text: str) -> tuple[int, str] | None:
    """The line of the last stage that begins with an official Python image, and its version such as `3.12`."""
    found: tuple[int, str] | None = None
    for number, instruction, rest in _instructions(text):
        if instruction == "FROM":
            image = re.match(r"(?:--\S+\s+)*(?:\S+/)?python:(3\.\d{1,2})(?![\d])", rest)
            found = (number, image[1]) if image else None
    return found


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Number of its first line, instruction and what follows of each, lines that go on put together."""
    begun, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        first = first or number
        goes_on = line.rstrip().endswith("\\")
        if len(begun) <= LONGEST_LINE:
            begun += line.strip().removesuffix("\\") + " "
        if goes_on:
            continue
        instruction, *rest = begun.split(None, 1)[:2] or [""]
        if len(begun) <= LONGEST_LINE and instruction:
            yield first, instruction.upper(), rest[0].strip() if rest else ""
        begun, first = "", 0


def _exec_form(text: str) -> tuple[str, ...]:
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return tuple(words) if isinstance(words, list) and all(isinstance(word, str) for word in words) else ()


def script(text: str) -> Sequence[Command]:
    """The commands of a shell script, those that only set something left out."""
    lines = re.sub(r"\\\n", " ", text[: LONGEST_LINE * 10]).splitlines()
    found = [
        Command(line=number, words=_split(line), text=line.strip(), environment={})
        for number, line in enumerate(lines, 1)
    ]
    return [each for each in found if each.words]


def _split(text: str) -> tuple[str, ...]:
    """As a shell splits it; none where it cannot."""
    if len(text) > LONGEST_LINE:
        return ()
    lexer = shlex.shlex(text.strip(), posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        return tuple(lexer)
    except ValueError:
        return ()


def _assignments(words: Sequence[str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in words)
    return {name: value for name, sign, value in pairs if sign and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)}


# --- commands


def started(command: Command) -> Started | None:
    """What a command starts; None where that is no server known here."""
    return _started(command.words, command.environment, 0)


def scripts_of(command: Command) -> Sequence[str]:
    """The shell scripts that a command names."""
    return [word.removeprefix("./").lstrip("/") for word in command.words if word.endswith(".sh")]


def _started(words: Sequence[str], environment: Mapping[str, str], level: int) -> Started | None:
    for part in _parts(words):
        if "install" in part:
            continue
        environment = {**environment, **_assignments(part)}
        for at, word in enumerate(part):
            name, rest = word.rsplit("/", 1)[-1], part[at + 1 :]
            if name in _SHELLS and len(rest) > 1 and re.fullmatch(r"-[a-z]*c", rest[0]) and not level:
                found = _started(_split(rest[1]), environment, level + 1)
            else:
                found = _server(name, rest, environment)
            if found is not None:
                return found
    return None


def _parts(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Words between operators, `exec a && b` in two."""
    part: list[str] = []
    for word in (*words, ";"):
        if word and set(word) <= set(_OPERATORS):
            if part:
                yield part
            part = []
        else:
            part.append(word)


def _server(name: str, rest: Sequence[str], environment: Mapping[str, str]) -> Started | None:
    """What a word starts with those that follow it."""
    # After `python -m` a module stands for the command.
    name = {"waitress": "waitress-serve"}.get(name, name)
    options, positional = _options(rest, _FLAGS.get(name, frozenset()))
    folder = options.get("--chdir", options.get("--pythonpath", ""))
    given = next((each for each in reversed(positional) if _ENTRY.fullmatch(each)), "")
    if name in _ASGI:
        return _found(given, is_wsgi=False)
    if name == "gunicorn":
        worker = options.get("-k", options.get("--worker-class", ""))
        return _found(given, is_wsgi="uvicorn" not in worker and "asgi" not in worker.lower(), folder=folder)
    if name == "waitress-serve":
        return _found(f"{given}()" if "--call" in options and given and "(" not in given else given)
    if name == "granian":
        factory = "()" if "--factory" in options and given and "(" not in given else ""
        return _found(
            f"{given}{factory}", is_wsgi=options.get("--interface") == "wsgi", folder=options.get("--working-dir", "")
        )
    if name == "uwsgi":
        return _uwsgi(options)
    if name == "flask" and "run" in rest:
        told = options.get("--app", options.get("-A", environment.get("FLASK_APP", "app")))
        path, _, call = told.partition(":")
        return _of_file(path, call) if path.endswith(".py") or "/" in path else _found(told)
    if re.fullmatch(r"python[\d.]*", name) and rest:
        return _python(rest)
    return None


def _uwsgi(options: Mapping[str, str]) -> Started | None:
    module = options.get("--module", options.get("-w", ""))
    file = options.get("--wsgi-file", options.get("--file", ""))
    call = options.get("--callable", "")
    if not module and file:
        return _of_file(file, call)
    return _found(f"{module}:{call}" if call and ":" not in module else module, folder=options.get("--chdir", ""))


def _python(rest: Sequence[str]) -> Started | None:
    """`python app.py` and `python -m shop`: an application of that module, where there is one."""
    words = [word for word in rest if word not in ("-u", "-O", "-B", "-I", "-s", "-E")]
    if words[:1] == ["-m"] and len(words) > 1 and words[1] not in {*_FLAGS, *_ASGI, "flask", "waitress", "uwsgi"}:
        return _found(words[1]) if ":" not in words[1] else None
    if words and words[0].endswith(".py") and not words[0].endswith("manage.py"):
        return _of_file(words[0], "")
    return None


def _of_file(path: str, call: str) -> Started | None:
    """Of a file such as `shop/app.py`, or `shop/app` as Flask takes it."""
    if call and not _is_call(call):
        return None
    return Started(file=f"{path.removesuffix('.py')}.py", call=call or None)


def _options(words: Sequence[str], flags: frozenset[str]) -> tuple[Mapping[str, str], Sequence[str]]:
    """Options with their values, empty for those that have none, and the other words."""
    options: dict[str, str] = {}
    positional: list[str] = []
    waiting = ""
    for word in words:
        if waiting and not word.startswith("-"):
            options[waiting] = word
            waiting = ""
        elif word.startswith("--"):
            name, sign, value = word.partition("=")
            options[name] = value
            waiting = "" if sign or name in flags else name
        elif word.startswith("-") and word != "-":
            options[word[:2]] = word[2:]
            waiting = "" if word[2:] or word in flags else word
        else:
            positional.append(word)
    return options, positional


def _found(given: str, *, is_wsgi: bool = True, folder: str = "") -> Started | None:
    parts = _ENTRY.fullmatch(given)
    if parts is None or len(given) > _LONGEST_ENTRY:
        return None
    call = parts["call"]
    if call is not None and entry(parts["module"], call) is None:
        return None
    return Started(module=parts["module"], call=call, is_wsgi=is_wsgi, folder=folder)


# --- Gunicorn's own file


def gunicorn_settings(text: str) -> Mapping[str, tuple[int, object]]:
    """Settings of a gunicorn.conf.py that are literals: name -> line and value."""
    tree = tree_of(text)
    found: dict[str, tuple[int, object]] = {}
    for each in tree.body if tree else ():
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            try:
                found[each.targets[0].id] = each.lineno, ast.literal_eval(each.value)
            except (ValueError, TypeError, MemoryError, RecursionError, SyntaxError):
                continue
    return found


def of_gunicorn_settings(settings: Mapping[str, tuple[int, object]]) -> tuple[int, Started] | None:
    """The line of `wsgi_app`, and what it starts."""
    line, value = settings.get("wsgi_app", (0, None))
    if not isinstance(value, str) or (found := _found(value)) is None:
        return None
    folder = settings.get("chdir", (0, ""))[1]
    return line, Started(module=found.module, call=found.call, folder=folder if isinstance(folder, str) else "")
