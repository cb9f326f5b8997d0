"""YAML, read strictly; and what is wrong with a file, in a line."""

import time
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.unit import said
from wsgilab.experiment import parsing
from wsgilab.model import STRICT
from wsgilab.model.errors import SpecError
from wsgilab.model.limits import CpuSet, Length, Moment, Must, Name, Range


def refusal(text: str) -> str:
    return said.refusal(SpecError, parsing.load_yaml, text, "f.yaml")


def test_a_key_given_twice_is_refused_with_its_line_inside_a_list_too() -> None:
    assert refusal("services:\n  one: {}\n  two: {}\n  one: {}\n") == "f.yaml:4: the key 'one' is given twice"
    assert refusal("services:\n- a: 1\n  a: 2\n") == "f.yaml:3: the key 'a' is given twice"


def test_a_key_that_overrides_a_merged_one_is_not_given_twice() -> None:
    assert parsing.load_yaml("a: &a {x: 1}\nb: {<<: *a, x: 2}\n", "f.yaml")["b"] == {"x": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "f.yaml:1: mapping values are not allowed here"),
        ("a: 1\nb: [1", "f.yaml:2: expected ',' or ']'"),
        ("a: 1\n---\nb: 2", "f.yaml:2: but found another document"),
        ("a: *nowhere", "f.yaml:1: found undefined alias 'nowhere'"),
        (
            "a: 1\nb: !!python/name:os.system x",
            "f.yaml:2: has the tag 'tag:yaml.org,2002:python/name:os.system', and only",
        ),
        ("a: !!set {1}", "f.yaml:1: has the tag 'tag:yaml.org,2002:set', and only plain values are read"),
        ("a: ! b", "f.yaml:1: has the tag '!', and only plain values are read"),
        ("a: \x00", "f.yaml: not valid YAML: unacceptable character #x0000"),
        ("a: 2026-13-45", "f.yaml:1: '2026-13-45' must be in quotes"),
        ("a: 2026-01-02", "f.yaml:1: '2026-01-02' must be in quotes"),
        ("a: 1\n? [b]\n: 2", "f.yaml:2: has a key that is neither text nor number"),
        ("a: " + "9" * 101, f"f.yaml:1: '{'9' * 59}… is too long a number"),
        ("[" * 5000, "f.yaml:1: is nested more than 30 deep"),
        ("- " * 5000, "f.yaml:1: is nested more than 30 deep"),
        ("a: &a [*a]", "f.yaml:1: the alias 'a' is within what it stands for"),
        ("a: &a {b: &b [*a]}", "f.yaml:1: the alias 'a' is within what it stands for"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_line(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


def test_a_file_of_more_values_than_can_be_held_is_refused_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MOST_VALUES", 100)

    # The mapping, its key and the list are values too.
    assert parsing.load_yaml("x:\n" + "- y\n" * 97, "f.yaml")
    assert refusal("x:\n" + "- y\n" * 98) == "f.yaml:99: has more than 100 values"


def test_an_empty_file_is_nothing() -> None:
    assert parsing.load_yaml("", "f.yaml") is None


def test_what_is_no_utf_8_is_no_text() -> None:
    with pytest.raises(SpecError, match=r"^f\.yaml: is not UTF-8 text$"):
        parsing.load_yaml("é".encode("latin-1"), "f.yaml")


# Aliases: each counts for all that it stands for.


def lists(levels: int, width: int) -> str:
    """A list of lists of lists, each of the one before, `width` times."""
    begun = "a0: &a0 [x]\n"
    return begun + "".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * width)}]\n" for at in range(1, levels))


def test_a_page_of_aliases_is_not_more_values_than_can_be_held() -> None:
    began = time.process_time()

    assert refusal(lists(12, 9)) == "f.yaml:7: has more than 250,000 values"
    assert time.process_time() - began < 10


def test_aliases_do_not_nest_deeper_than_lists_do() -> None:
    # The document is a level, and the inner list has one inside.
    parsing.load_yaml(lists(28, 1), "f.yaml")

    assert refusal(lists(29, 1)) == "f.yaml:29: is nested more than 30 deep"


def test_merge_keys_count_too() -> None:
    keys = ", ".join(f"k{number}: 1" for number in range(1000))
    merged = "\n".join(f"b{number}: {{<<: *a}}" for number in range(200))

    assert "has more than 250,000 values" in refusal(f"a: &a {{{keys}}}\n{merged}\n")


@pytest.mark.parametrize("text", ["a: &a 1", "a: &a 1\nb: *a", "a: {<<: {b: 1}}"])
def test_where_there_are_to_be_none_they_are_refused(text: str) -> None:
    assert parsing.load_yaml(text, "f.yaml")
    with pytest.raises(SpecError, match=r"f\.yaml:1: (has an anchor or an alias|'<<' must be in quotes)"):
        parsing.load_yaml(text, "f.yaml", aliases=False)


# What is wrong with a value.


class Pair(NamedTuple):
    first: Annotated[int, Range(0, 9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    __pydantic_config__: ClassVar = STRICT

    whole: Annotated[int, Range(1, 5)]
    share: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    __pydantic_config__: ClassVar = STRICT

    by_name: dict[str, Inner] | None = None
    several: Annotated[tuple[Inner, ...], Length(0, 2)] = ()
    pairs: tuple[Pair, ...] = ()
    choice: Annotated[int | list[int], Must("be a number, or a list of numbers")] = 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"bye_name": {}}, "unknown key 'bye_name'; known are by_name, several, pairs, choice"),
        ({"by_name": {"a": {"hole": 1}}}, "unknown key 'by_name.a.hole'; known are whole, share"),
        ({"several": [{"whole": 1}, {"whole": 1, "more": 1}]}, "unknown key 'several[1].more'; known are whole, share"),
        ({"pairs": [{"first": 1, "last": 1}]}, "unknown key 'pairs[0].last'; known are first"),
        ({"several": [{}]}, "lacks the key 'several[0].whole'"),
        ({"several": ["x"]}, "several[0]: must be a mapping with keys such as whole and share, not 'x'"),
        ({"several": [{"whole": 1}] * 3}, "several: tuple should have at most 2 items after validation, not 3"),
        ({"several": [{"whole": 6}]}, "several[0].whole: must be a whole number from 1 to 5, not 6"),
        ({"several": [{"whole": "2"}]}, "several[0].whole: must be a whole number from 1 to 5, not '2'"),
        ({"several": [{"whole": 2.0}]}, "several[0].whole: must be a whole number from 1 to 5, not 2.0"),
        ({"several": [{"whole": True}]}, "several[0].whole: must be a whole number from 1 to 5, not True"),
        ({"several": [{"whole": 1, "share": 0}]}, "several[0].share: must be a number above 0 and below 1, not 0"),
        ({"several": [{"whole": 1, "share": 1}]}, "several[0].share: must be a number above 0 and below 1, not 1"),
        (
            {"several": [{"whole": 1, "share": 1e-10}]},
            "several[0].share: must be a number above 0 and below 1, not 1e-10",
        ),
        (
            {"several": [{"whole": 1, "share": float("nan")}]},
            "several[0].share: must be a number above 0 and below 1, not nan",
        ),
        ({"choice": ["x"]}, "choice: must be a number, or a list of numbers, not ['x']"),
        ({"choice": "x" * 1000}, f"choice: must be a number, or a list of numbers, not '{'x' * 59}…"),
    ],
)
def test_what_is_wrong_is_said_with_its_key_and_what_would_be_right(given: object, told: str) -> None:
    assert said.refusal(SpecError, parsing.validated, given, Outer, "f.yaml") == f"f.yaml: {told}"


def takes(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (Annotated[float, Range(0, 10)], [0, 0.0, -0.0, 10, 1e-9], [-1e-9, 10.1, 1e-10, 5e-324, float("inf"), False]),
        (Annotated[int, Range(-(2**128), 2**128)], [2**128, -(2**128)], [2**128 + 1, -(2**128) - 1, 0.5]),
        (Name, ["a", "0-9", "x" * 64], ["", "A", "-a", "a\n", "x" * 65, "é", 1]),
        (
            CpuSet,
            ["0", "0-3", "1,3-4", "0-9999"],
            ["", "3-1", "0-", ",", "0,", "10000", "0-9999,0", "0-9,a", " 0", "0\n"],
        ),
        (Moment, ["2026-01-02T03:04:05+00:00"], ["", "2026-01-02", "2026-01-02T03:04:05", "yesterday", 1]),
    ],
)
def test_limits_are_where_they_are_said_to_be(kind: Any, right: list[object], wrong: list[object]) -> None:
    assert [value for value in right if not takes(kind, value)] == []
    assert [value for value in wrong if takes(kind, value)] == []
