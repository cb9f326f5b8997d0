"""Files that people edit: YAML, read strictly."""

import pytest

from wsgilab.experiment import parsing
from wsgilab.model.errors import SpecError


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parsing.load_yaml(text, "servers.yaml")
    return caught.value.message


def test_a_key_given_twice_is_refused_with_its_line() -> None:
    assert refusal("services:\n  one: {}\n  two: {}\n  one: {}\n") == "servers.yaml:4: the key 'one' is given twice"


def test_a_key_given_twice_inside_a_list_is_refused_too() -> None:
    assert refusal("services:\n- a: 1\n  a: 2\n") == "servers.yaml:3: the key 'a' is given twice"


def test_a_key_that_overrides_a_merged_one_is_not_given_twice() -> None:
    assert parsing.load_yaml("a: &a {x: 1}\nb: {<<: *a, x: 2}\n", "f.yaml")["b"] == {"x": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "f.yaml:1: mapping values are not allowed here"),
        ("a: 1\nb: [1", "f.yaml:2: expected ',' or ']'"),
        ("a: 1\n---\nb: 2", "f.yaml:2: but found another document"),
        ("a: *nowhere", "f.yaml:1: found undefined alias 'nowhere'"),
        ("a: 1\nb: !!python/name:os.system x", "f.yaml:2: could not determine a constructor"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parsing.load_yaml(text, "f.yaml")

    assert caught.value.message.startswith(message)


def test_an_empty_file_is_nothing() -> None:
    assert parsing.load_yaml("", "f.yaml") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: \x00", "not valid YAML"),
        ("a: 2026-13-45", "not what it claims to be"),
        ("[" * 5000, "nested too deeply"),
        ("a: &a [*a]", "nested too deeply, or within itself"),
    ],
)
def test_yaml_that_breaks_its_parser_is_an_error_like_any_other(text: str, told: str) -> None:
    with pytest.raises(SpecError, match=r"here\.yaml") as caught:
        parsing.load_yaml(text, "here.yaml")
    assert told in caught.value.message
