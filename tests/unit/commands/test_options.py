"""What a task's options are, and what its function takes of their texts."""

from dataclasses import dataclass
from inspect import Parameter

import pytest
from invoke.context import Context

from tests.unit.said import refusal
from wsgilab.commands.options import Options
from wsgilab.model.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Asked:
    task: str
    servers: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    budget_s: float | None = None
    precision: float | None = None
    is_loud: bool = False
    inner: int = 7


@dataclass(frozen=True, kw_only=True)
class Wanted:
    cores: int | None = None
    rate: float | None = None


def body(
    _: Context, asked: Asked, wanted: Wanted, *, name: str, form: str = "terminal", users: int | None = None
) -> None:
    pass


OPTIONS = Options(body, ["servers", "budget", "form", "cores", "is-loud", "precision", "rate"])
ABSENT = dict.fromkeys(("servers", "budget", "cores", "precision", "rate", "users"))


def test_options_are_the_fields_that_help_names_in_its_order_and_every_other_parameter() -> None:
    parameters = OPTIONS.signature.parameters

    assert list(parameters) == ["servers", "budget", "form", "cores", "is_loud", "precision", "rate", "name", "users"]
    assert {name: each.default for name, each in parameters.items()} == {
        **ABSENT,
        "is_loud": False,
        "form": "terminal",
        "name": Parameter.empty,
    }


def test_what_is_not_given_is_as_the_function_has_it() -> None:
    given = {**ABSENT, "is_loud": False, "form": "terminal", "name": "a"}

    assert OPTIONS.values("lab.x", given) == {
        "asked": Asked(task="lab.x"),
        "wanted": Wanted(),
        "form": "terminal",
        "name": "a",
    }


def test_a_text_is_read_as_the_type_of_its_parameter_or_field_says_and_the_last_has_what_two_have() -> None:
    given = {"servers": "a,b", "budget": "3min", "cores": "2", "is_loud": True, "precision": "0.5", "rate": "2.5"}

    assert OPTIONS.values("lab.x", {**given, "users": "8", "name": "a"}) == {
        "asked": Asked(task="lab.x", servers=("a", "b"), budget_s=180, precision=0.5, is_loud=True),
        "wanted": Wanted(cores=2, rate=2.5),
        "users": 8,
        "name": "a",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"servers": "a,,b"}, "--servers a,,b: has an empty name"),
        ({"budget": "3h"}, "--budget 3h: must be a time"),
        ({"rate": ""}, "--rate: is empty"),
        ({"name": ""}, "name: is empty"),
    ],
)
def test_a_text_that_is_no_such_value_is_wrong_usage(given: dict[str, str], said: str) -> None:
    assert refusal(UsageError, OPTIONS.values, "lab.x", given).startswith(said)


def test_help_for_an_option_that_there_is_not_is_noticed() -> None:
    with pytest.raises(KeyError, match="usres"):
        Options(body, ["usres"])
