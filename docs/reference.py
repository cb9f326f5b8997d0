"""Write the pages that follow from the code: `docs/tasks.md` from the tasks' options, `docs/files.md` and `docs/results.md` from
the JSON Schemas, and the table of columns in `docs/reading.md` from the report's legend. `make schemas` does that.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from invoke.tasks import Task

from wsgilab.commands import schemas
from wsgilab.commands.tasks import lab
from wsgilab.report.legend import LEGEND

DOCS = Path(__file__).resolve().parent
Json = Mapping[str, Any]
"""A JSON Schema, or a part of one."""


class Kind(NamedTuple):
    """A kind of file."""

    schema: str
    title: str
    about: str


WRITTEN = (
    Kind("application.json", "An application file", "for `--app`: [what it is for](applications.md#the-file)"),
    Kind("experiment.json", "An experiment file", "for `--experiment`: [what it is for](experiments.md#writing-one)"),
    Kind(
        "catalogue.json",
        "A catalogue file",
        "for `--catalogue`: [what it is for](applications.md#server-configurations-of-your-own)",
    ),
    Kind("space.json", "A space file", "for `--space`: [what it is for](tune.md#a-space-of-your-own)"),
    Kind("claims.json", "A claims file", "for `--claims`: [what it is for](extending.md#a-claim)"),
    Kind("site.json", "A site file", "for `--site`: [what it is for](cloud.md#the-site-file)"),
    Kind("servers.json", "The catalogue", "`compose/servers.yaml`: [how to add a server](extending.md#a-server)"),
    Kind("backends.json", "Backends", "`compose/backends.yaml`: [how to add one](extending.md#a-workload)"),
)
RESULTS = (
    Kind("comparison.json", "comparison.yaml", "the comparison of a run"),
    Kind("against.json", "against-RUN.yaml", "a run compared with another"),
)
_COLUMNS = re.compile(r"(<!-- columns -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> Mapping[str, str]:
    """The name of each page -> its text."""
    reading = (DOCS / "reading.md").read_text()
    return {
        "tasks.md": _text(_tasks()),
        "files.md": _text(_files()),
        "results.md": _text(_results()),
        "reading.md": _COLUMNS.sub(lambda found: found[1] + _text(_columns()) + found[2], reading),
    }


def _text(lines: Iterator[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def _table(headings: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"| {' | '.join('---' for _ in headings)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _words(text: str) -> str:
    """Text with `code` in it, for a cell of a table: the rest is no markup."""
    code_or_not = re.split(r"(`[^`]*`)", text)
    return "".join(
        each.replace("|", "\\|") if each.startswith("`") else re.sub(r"([\\|<*_\[\]])", r"\\\1", each)
        for each in code_or_not
    )


def _columns() -> Iterator[str]:
    yield from _table(("column", "what it is"), ((f"**{term}**", _words(meaning)) for term, meaning in LEGEND))


# --- tasks


def _tasks() -> Iterator[str]:
    yield "# All tasks\n"
    yield "Each task and all of its options, as `invoke lab.run --help` shows them of one. In an installed lab `wsgilab run` is"
    yield "`invoke lab.run`. Its [exit code](ci.md#exit-codes) says how a task ended. This page is made from the code.\n"
    tasks: Mapping[str, Task[Any]] = lab.tasks
    yield from _table(
        ("task", "what it does"),
        ((f"[`lab.{name}`](#lab{name})", _words(_first(task))) for name, task in tasks.items()),
    )
    for name, task in tasks.items():
        arguments = task.get_arguments()
        needed = [str(each.name).upper().replace("_", "-") for each in arguments if each.positional]
        yield f"## lab.{name}\n"
        yield f"    {' '.join(['invoke', f'lab.{name}', *needed])}\n"
        yield f"{_words(' '.join((inspect.getdoc(task) or '').split()))}\n"
        if arguments:
            yield from _table(
                ("option", "what it is"),
                (
                    (
                        f"`{str(each.name).upper() if each.positional else '--' + str(each.name)}`".replace("_", "-"),
                        re.sub(r"docs/(\w+\.md)", r"[\1](\1)", _words(each.help or "")),
                    )
                    for each in arguments
                ),
            )


def _first(task: Task[Any]) -> str:
    """The first sentence of what a task says of itself."""
    return re.split(r"(?<=\.) ", " ".join((inspect.getdoc(task) or "").split()))[0]


# --- schemas


def _files() -> Iterator[str]:
    yield "# Keys of all files\n"
    yield "Every key of the files that you write, which are YAML. An editor that knows YAML language servers checks them while you type, by"
    yield "the same schemas, in `schemas/`. This page is made from the code. It has\n"
    for kind in WRITTEN:
        yield f"- [{kind.title[0].lower()}{kind.title[1:]}](#{_slug(kind.title)}), {kind.about}"
    yield ""
    yield from _Pages(WRITTEN, required=True).lines()


def _results() -> Iterator[str]:
    yield "# Keys of the results\n"
    yield "What programs find in a run's folder: every key of `comparison.yaml`, and of what `lab.compare` writes. [Reading a"
    yield "report](reading.md) explains the words. This page is made from the code.\n"
    yield from _Pages(RESULTS, required=False).lines()


def _slug(title: str) -> str:
    """The name of a section, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


class _Pages:
    """Schemas as tables: a section for each kind of file, and within it one for each object that it is made of."""

    def __init__(self, kinds: Sequence[Kind], *, required: bool) -> None:
        self._kinds = kinds
        self._required = required
        self._shown: dict[str, Json] = {}
        """The title of each part that has a section -> its schema."""

    def lines(self) -> Iterator[str]:
        made = schemas.schemas()
        for kind in self._kinds:
            schema = json.loads(made[kind.schema])
            self._kind = kind.title
            self._parts: Json = schema.get("$defs", {})
            self._waiting: list[tuple[str, Json]] = []
            yield f"## {kind.title}\n"
            yield f"{_words(schema.get('description', ''))} ([`schemas/{kind.schema}`](../schemas/{kind.schema}))\n"
            yield from self._object(schema)
            while self._waiting:
                title, part = self._waiting.pop(0)
                yield f"### {title}\n"
                if part.get("description"):
                    yield f"{_words(part['description'])}\n"
                yield from self._object(part)

    def _object(self, schema: Json) -> Iterator[str]:
        headings = ("key", "value", "default", "what it is") if self._required else ("key", "value", "what it is")
        needed = schema.get("required", ())
        rows = []
        for key, value in schema.get("properties", {}).items():
            default = "required" if key in needed else _default(value.get("default"))
            middle = (self._value(value, key), default) if self._required else (self._value(value, key),)
            rows.append((f"`{key}`", *middle, _words(value.get("description", ""))))
        yield from _table(headings, iter(rows))

    def _value(self, schema: Json, key: str) -> str:  # noqa: PLR0911 - one for each kind of value
        """What may be there, in words."""
        if "$ref" in schema:
            return self._part(schema["$ref"].rpartition("/")[2])
        if "const" in schema or "enum" in schema:
            return ", ".join(f"`{json.dumps(each)}`" for each in schema.get("enum", [schema.get("const")]))
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                found = [self._value(each, key) for each in schema[choice]]
                # A file that is written leaves out what it does not have.
                return " or ".join(dict.fromkeys(each for each in found if each != "null" or not self._required))
        match schema.get("type"):
            case "array" if "items" in schema:
                return f"list of: {self._value(schema['items'], key)}"
            case "object" if "properties" in schema:
                return self._linked(key, schema)
            case "object":
                patterned = list(schema.get("patternProperties", {}).values())
                further = schema.get("additionalProperties")
                each = (patterned or [further])[0]
                return f"by name: {self._value(each, key)}" if isinstance(each, Mapping) else "mapping"
            case "integer" | "number" as number:
                return f"{'whole number' if number == 'integer' else 'number'}{_limits(schema)}"
            case str() as kind:
                return {"string": "text", "boolean": "`true` or `false`", "array": "list"}.get(kind, kind)
        return "anything"

    def _part(self, name: str) -> str:
        part = self._parts[name]
        if "properties" not in part:
            return self._value(part, name)
        title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()
        return self._linked(title, part)

    def _linked(self, title: str, part: Json) -> str:
        if self._shown.get(title, part) != part:
            # Another part of the same name.
            title += f" of {self._kind[0].lower()}{self._kind[1:]}"
        if title not in self._shown:
            self._shown[title] = part
            self._waiting.append((title, part))
        return f"[{title[0].lower()}{title[1:]}](#{_slug(title)})"


def _default(value: Any) -> str:
    return "–" if value in (None, [], {}, "") else f"`{json.dumps(value)}`"


def _limits(schema: Json) -> str:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    if least is not None and most is not None:
        return f", {least} to {most:,}"
    if least is not None:
        return f", {'more than' if 'exclusiveMinimum' in schema else 'from'} {least}"
    return "" if most is None else f", up to {most:,}"


if __name__ == "__main__":
    for page, text in pages().items():
        (DOCS / page).write_text(text)
