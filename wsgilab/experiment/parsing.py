"""YAML read strictly, values held against their types, and what is wrong in a line. Pure.

A dataclass says which keys a file has and what its values may be, and pydantic holds the file against it. The JSON Schemas
of `wsgilab.commands.schemas` follow from the same dataclasses. Files that people edit are read here, and runs that are stored.
"""

import functools
import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError
from yaml.composer import Composer, ComposerError

try:
    from yaml import CSafeLoader
except ImportError:  # built without libyaml
    from yaml import SafeLoader as CSafeLoader  # type: ignore[assignment]

from wsgilab.model.errors import SpecError

MOST_VALUES = 250_000
"""Keys and values of a document, those that aliases stand for included; a run of 10,000 cells has fewer."""
DEEPEST = 30
"""Levels of a document; a run has six."""
LONGEST_NUMBER = 100
"""Characters. Python takes a long time to read a number of a million digits."""

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_NUMBERS = frozenset({f"{_TAG}int", f"{_TAG}float"})
_PLAIN = _NUMBERS | {f"{_TAG}{name}" for name in ("str", "bool", "null", "map", "seq")}

Parsed = TypeVar("Parsed")

ReadFile = Callable[[str], bytes]
"""The content of a file, whose path is relative to where the lab was called. Raises LabError with the path and a remedy."""


class _PlainComposer(Composer):
    """Composes nodes of plain values alone, each key once, of the events of whatever parser it is mixed with.

    With a few aliases a page becomes more values than there are atoms ("billion laughs"), so each counts for all that it
    stands for. The constructors of explicit tags raise whatever comes to them, so there are none.
    """

    def __init__(self, *, aliases: bool) -> None:
        Composer.__init__(self)
        self._aliases = aliases
        self._values = self._level = self._deepest = 0
        self._anchored: dict[str, tuple[int, int]] = {}
        """Anchor -> how many values it stands for, on how many levels."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[attr-defined]
        anchor: Any = getattr(event, "anchor", None)
        problem = self._problem(event, anchor)
        is_alias = isinstance(event, yaml.AliasEvent)
        values, levels = self._anchored.get(anchor, (1, 1)) if is_alias else (1, 1)
        before, deepest = self._values, self._deepest
        self._values += values
        self._level += 1
        self._deepest = self._level + levels - 1
        if self._values > MOST_VALUES:
            problem = f"has more than {MOST_VALUES:,} values"
        if self._deepest > DEEPEST:
            problem = f"is nested more than {DEEPEST} deep"
        if problem:
            raise ComposerError(None, None, problem, event.start_mark)
        node = super().compose_node(parent, index)
        if node is not None and not is_alias:
            self._check(node)
        if anchor is not None and not is_alias:
            self._anchored[anchor] = self._values - before, self._deepest - self._level + 1
        self._deepest = max(deepest, self._deepest)
        self._level -= 1
        return node

    def _problem(self, event: Any, anchor: str | None) -> str:
        """What a node must not be that begins with `event`; empty: nothing."""
        if anchor is not None and not self._aliases:
            return "has an anchor or an alias, which no run of the lab has"
        if isinstance(event, yaml.AliasEvent) and anchor in self.anchors and anchor not in self._anchored:
            return f"the alias {short(anchor)} is within what it stands for"
        if getattr(event, "tag", None) is not None:
            return f"has the tag {short(event.tag)}, and only plain values are read"
        return ""

    def _check(self, node: yaml.Node) -> None:
        """Raises ComposerError for a node that is no plain value, or a mapping with a key that is none or is there twice."""
        if node.tag not in _PLAIN and not (self._aliases and node.tag == _MERGE):
            raise ComposerError(None, None, f"{short(node.value)} must be in quotes", node.start_mark)
        if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
            raise ComposerError(None, None, f"{short(node.value)} is too long a number", node.start_mark)
        if isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise ComposerError(None, None, "has a key that is neither text nor number", key.start_mark)
                if (key.tag, key.value) in seen:
                    raise ComposerError(None, None, f"the key {short(key.value)} is given twice", key.start_mark)
                seen.add((key.tag, key.value))


class _Loader(_PlainComposer, yaml.SafeLoader):
    """Says best what is wrong, and where."""

    def __init__(self, text: str, *, aliases: bool) -> None:
        yaml.SafeLoader.__init__(self, text)
        _PlainComposer.__init__(self, aliases=aliases)


class _FastLoader(_PlainComposer, CSafeLoader):
    """By libyaml: several times as fast."""

    def __init__(self, text: str, *, aliases: bool) -> None:
        CSafeLoader.__init__(self, text)
        _PlainComposer.__init__(self, aliases=aliases)


def load_yaml(content: str | bytes, source: str, *, aliases: bool = True) -> Any:
    """The document as plain values: no tags, each key once, of a size and a depth that can be held; `aliases` and merge
    keys only where they may be.

    Raises SpecError naming `source` and the line.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        try:
            return _loaded(_FastLoader(text, aliases=aliases))
        except (yaml.YAMLError, ValueError):
            return _loaded(_Loader(text, aliases=aliases))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SpecError(f"{source}{line}: {short(error.problem or 'not valid YAML', quoted=False, most=120)}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{source}: is not UTF-8 text") from None
    except (yaml.YAMLError, ValueError) as error:
        problem = short(" ".join(str(error).split()), quoted=False, most=120)
        raise SpecError(f"{source}: not valid YAML: {problem}") from None


def _loaded(loader: _Loader | _FastLoader) -> Any:
    node = loader.get_single_node()
    return loader.construct_document(node) if node else None


def read(text: str, source: str, kind: type[Parsed], what: str, begins: str = "name and cells") -> Parsed:
    """A file that is `what`, as `kind` has its keys. It `begins` with some of them.

    Raises SpecError naming `source`, the key and what would be right.
    """
    document = load_yaml(text, source)
    if not isinstance(document, dict):
        raise SpecError(f"{source}: is not {what}; it must begin with keys such as {begins}")
    found: Parsed = validated(document, kind, source)
    return found


def validated(value: object, kind: Any, where: str) -> Any:
    """`value` as the type `kind` has it. Raises SpecError naming `where`, the key and what would be right."""
    try:
        return adapter(kind).validate_python(value)
    except ValidationError as error:
        raise SpecError(f"{where}: {complaint(error, kind)}") from None


def adapter(kind: type[Parsed]) -> TypeAdapter[Parsed]:
    """What holds values against the type `kind`. Made when it is first asked for: that takes up to 20 ms."""
    made: TypeAdapter[Parsed] = _adapter(kind)
    return made


_adapter: Callable[[Any], TypeAdapter[Any]] = functools.cache(TypeAdapter)


def complaint(error: ValueError, kind: Any) -> str:
    """Why a value is no `kind`, in a line. Of pydantic's complaints it is the first one, with the key and what was given.

    An unknown key comes before a missing one: it is most often that one, misspelt.
    """
    if not isinstance(error, ValidationError):
        return short(error, quoted=False, most=200)
    unknown_key = ("extra_forbidden", "unexpected_keyword_argument")
    first = min(error.errors(include_url=False), key=lambda each: each["type"] not in unknown_key)
    place, what, given = first["loc"], first["type"], short(first["input"])
    spelt = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    key = short(spelt, quoted=False)
    if what in unknown_key:
        known = ", ".join(_keys(kind, place[:-1]))
        return f"unknown key {short(spelt)}; known are {short(known, quoted=False, most=120)}"
    if what in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"lacks the key {key!r}"
    if what.startswith("dataclass"):
        *some, last = _keys(kind, place)[:3]
        return f"{key}: must be a mapping with keys such as {', '.join(some)} and {last}, not {given}"
    message = first["msg"].removeprefix("Value error, ")
    message = f"{message[0].lower()}{message[1:]}"
    # These end with how many there are.
    message = message if what in ("too_short", "too_long") else f"{message}, not {given}"
    return f"{key}: {message}" if key else message


def _keys(kind: Any, place: Sequence[Any]) -> Sequence[str]:
    """The keys of the dataclass that is at `place` in a value of the type `kind`."""
    for part in place:
        # Of a list, a tuple or a mapping it is the type of the values.
        kind = (
            get_type_hints(kind)[part] if is_dataclass(kind) else [each for each in get_args(kind) if each != ...][-1]
        )
        if get_origin(kind) in (Union, UnionType):
            kind = get_args(kind)[0]
    return [each.name for each in fields(kind)] if is_dataclass(kind) else list(get_type_hints(kind))


def short(value: object, *, quoted: bool = True, most: int = 60) -> str:
    """`value` as Python spells it, or a text as it is, cut where it is long: it may be anything."""
    text = repr(value) if quoted else str(value)
    return text if len(text) <= most else f"{text[:most]}…"


def strings(value: Any) -> list[str]:
    """Every string value inside `value`, keys left out."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def check_known(given: Sequence[str] | Mapping[str, object], known: Collection[str], where: str, what: str) -> None:
    """Raises SpecError for the first of `given` that is not `known`."""
    for name in given:
        if name not in known:
            raise SpecError(f"{where}: {unknown(what, name, known)}")


_FEW = 8
_SOME = 3
_LIKE = 0.7
"""As difflib counts it: one letter too many, too few or wrong in four or more."""


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """That there is no such thing, and which was meant, or which there are: all where they are few, or else the first."""
    problem = f"unknown {what} {name!r}"
    if (meant := alternatives(name, {each: each for each in known})) is not None:
        return f"{problem}; {meant}"
    if len(known) <= _FEW:
        return f"{problem}; known are {', '.join(known) or 'none'}"
    return f"{problem}; known are {', '.join([*known][:_SOME])} and {len(known) - _SOME} more"


def alternatives(name: str, known: Mapping[str, str]) -> str | None:
    """Which of `known` was meant by `name`, as a question that shows it as its value; None where it is like none of them."""
    close = get_close_matches(name, known, n=_SOME, cutoff=_LIKE)
    if not close and len(name) >= _SOME:
        close = [each for each in known if name in each][:_SOME]
    if not close:
        return None
    *some, last = (known[each] for each in close)
    return f"did you mean {', '.join(some)} or {last}?" if some else f"did you mean {last}?"


def plain(kind: type[Any], value: Any) -> Mapping[str, Any]:
    """The fields that `kind` has of `value`, as plain values, without those that are as by default."""
    kept = kind(**{each.name: getattr(value, each.name) for each in fields(kind)})
    found: Mapping[str, Any] = adapter(kind).dump_python(kept, mode="json", exclude_defaults=True)
    return found


# --- files that the one at hand names


def no_file(path: str) -> bytes:
    """Reads nothing, where there are no files. Raises SpecError."""
    raise SpecError(f"{path}: no files can be read from here; give what it has in place")


def joined(folder: str, path: str) -> str:
    """`path`, which is relative to `folder`, relative to what `folder` is."""
    return posixpath.normpath(posixpath.join(folder, path))


def read_text(path: str, where: str, most_bytes: int, read_file: ReadFile) -> str:
    """The text of a file. Raises SpecError where it is none, or too large, and what `read_file` does."""
    content = read_file(path)
    if len(content) > most_bytes:
        raise SpecError(f"{where}: {path}: has {len(content):,} bytes, and may have {most_bytes:,}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SpecError(f"{where}: {path}: is not UTF-8 text") from None
