"""YAML from strangers: only what the lab itself writes, and no more of it than can be held. Pure."""

from typing import Any

import yaml
from yaml.composer import ComposerError

from wsgilab.results.unsound import Unsound, short

MOST_VALUES = 250_000
"""Keys and values of a document; an experiment of 10,000 cells has fewer."""
DEEPEST = 30
"""Levels of a document; a run has six."""
LONGEST_NUMBER = 100
"""Characters. Python takes a long time to read a number of a million digits."""

_PREFIX = "tag:yaml.org,2002:"
_NUMBERS = frozenset({f"{_PREFIX}int", f"{_PREFIX}float"})
_PLAIN = _NUMBERS | {f"{_PREFIX}{name}" for name in ("str", "bool", "null", "map", "seq")}


class _Loader(yaml.SafeLoader):
    """Composes nodes of plain values alone.

    An alias stands for a value without being one: with a few of them a page becomes more values than there are atoms
    ("billion laughs"). The constructors of explicit tags raise whatever comes to them.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        # An alias has the anchor that it stands for.
        if getattr(event, "anchor", None) is not None:
            raise ComposerError(None, None, "has an anchor or an alias, which no run of the lab has", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise ComposerError(None, None, "has a tag, which no run of the lab has", event.start_mark)
        self._values += 1
        if self._values > MOST_VALUES:
            raise ComposerError(None, None, f"has more than {MOST_VALUES:,} values", event.start_mark)
        self._depth += 1
        if self._depth > DEEPEST:
            raise ComposerError(None, None, f"is nested more than {DEEPEST} deep", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None:
            _check(node)
        return node


def _check(node: yaml.Node) -> None:
    """Raises ComposerError for a node that is no plain value, or a mapping with keys that are none."""
    if node.tag not in _PLAIN:
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


def load(content: bytes) -> Any:
    """The document as plain values, without aliases and with each key once. Raises Unsound with the line."""
    try:
        loader = _Loader(content.decode())
        node = loader.get_single_node()
        return loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        told = short(error.problem or "not valid", quoted=False, most=120)
        raise Unsound(line, f"cannot be read as YAML ({told})") from None
    except UnicodeDecodeError:
        raise Unsound("", "cannot be read as YAML (it is not UTF-8 text)") from None
    except (yaml.YAMLError, ValueError) as error:
        told = short(" ".join(str(error).split()), quoted=False, most=120)
        raise Unsound("", f"cannot be read as YAML ({told})") from None
