"""Files that people edit: YAML read strictly, and what is wrong with one in a line. Pure.

A dataclass says which keys a file has, and pydantic holds the file against it. The JSON Schemas of `wsgilab.commands.schemas`
follow from the same dataclasses.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from wsgilab.model.errors import SpecError

_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")

Parsed = TypeVar("Parsed")

Place = tuple[int | str, ...]
"""Where in a document something stands: its keys and indices."""


def load_yaml(text: str, source: str) -> Any:
    """Parse YAML, refusing what PyYAML would pass over: a key given twice.

    Raises SpecError naming `source` and the line.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        # Before construction: merge keys then copy keys into the nodes that name them.
        _refuse_repeated_keys(node, source)
        document = loader.construct_document(node) if node else None
        strings(document)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SpecError(f"{source}{line}: {error.problem or 'not valid YAML'}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise SpecError(f"{source}: a value is not what it claims to be: {error}") from None
    except RecursionError:
        raise SpecError(f"{source}: is nested too deeply, or within itself") from None
    return document


def _refuse_repeated_keys(root: yaml.Node | None, source: str) -> None:
    waiting, visited = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in visited:
            continue  # an alias leads to the same node again
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, value in node.value:
                if (key.tag, str(key.value)) in seen:
                    raise SpecError(f"{source}:{key.start_mark.line + 1}: the key {key.value!r} is given twice")
                seen.add((key.tag, str(key.value)))
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def strings(value: Any) -> list[str]:
    """Every string value inside `value`, keys left out. Raises RecursionError where it is within itself."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def read(
    text: str,
    source: str,
    adapter: TypeAdapter[Parsed],
    what: str,
    shape: Callable[[Place], type],
    begins: str = "name and cells",
) -> Parsed:
    """A file that is `what`, as `adapter` reads it; `shape` is the dataclass whose key stands, or should, at a place.
    It `begins` with these keys.

    Raises SpecError naming `source`, the key and what would be right.
    """
    document = load_yaml(text, source)
    if not isinstance(document, dict):
        raise SpecError(f"{source}: is not {what}; it must begin with keys such as {begins}")
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        raise SpecError(f"{source}: {_first(error, shape)}") from None


def told(message: str) -> WrapValidator:
    """Whatever pydantic has against a value, the complaint is `message`: one where a type is a choice of several."""

    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(message) from None

    return WrapValidator(validate)


def complaint(message: str) -> str:
    """What pydantic says is wrong with a value, to go on with in the middle of a sentence."""
    plain = message.removeprefix("Value error, ")
    return f"{plain[0].lower()}{plain[1:]}"


def check_known(
    given: Sequence[str] | Mapping[str, object], known: Mapping[str, object], where: str, what: str
) -> None:
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
    told = f"unknown {what} {name!r}"
    if (meant := alternatives(name, {each: each for each in known})) is not None:
        return f"{told}; {meant}"
    if len(known) <= _FEW:
        return f"{told}; known are {', '.join(known) or 'none'}"
    return f"{told}; known are {', '.join([*known][:_SOME])} and {len(known) - _SOME} more"


def alternatives(name: str, known: Mapping[str, str]) -> str | None:
    """Which of `known` was meant by `name`, as a question that shows it as its value; None where it is like none of them."""
    close = get_close_matches(name, known, n=_SOME, cutoff=_LIKE)
    if not close and len(name) >= _SOME:
        close = [each for each in known if name in each][:_SOME]
    if not close:
        return None
    *some, last = (known[each] for each in close)
    return f"did you mean {', '.join(some)} or {last}?" if some else f"did you mean {last}?"


def _first(error: ValidationError, shape: Callable[[Place], type]) -> str:
    """The first of pydantic's complaints as one line: the key, what is wrong, and what was given.

    An unknown key comes before a missing one: it is most often that one, misspelt.
    """
    first = min(error.errors(include_url=False), key=lambda each: each["type"] not in _UNKNOWN_KEY)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    if first["type"] in _UNKNOWN_KEY:
        return f"unknown key {key!r}; known are {', '.join(_keys(shape(first['loc'])))}"
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"lacks the key {key!r}"
    if first["type"].startswith("dataclass"):
        *some, last = _keys(shape(first["loc"]))[:3]
        return f"{key}: must be a mapping with keys such as {', '.join(some)} and {last}, not {first['input']!r}"
    return f"{key}: {complaint(first['msg'])}, not {first['input']!r}"


def _keys(shape: type) -> Sequence[str]:
    return [each.name for each in fields(shape)]
