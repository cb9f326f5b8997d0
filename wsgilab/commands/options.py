"""What a task's options are, and their values: the texts of a command line in, what the task's function takes out.

A parameter of the function is an option of its name, and its type says how its text is read. A parameter that is a dataclass gathers
options: those of its fields that the task's help names. Of two such parameters with a field of one name, the last has the option.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

from wsgilab.experiment.file import spelt_seconds, spelt_share
from wsgilab.model.errors import UsageError

Body = Callable[..., None]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Option:
    """Where the value of an option goes, and how it is read."""

    parameter: str
    field: str | None
    """Of the parameter, where that gathers options."""
    read: Callable[[str, str], Any]
    default: Any
    """As Invoke is to have it, for which an option is a text, or a yes or no. Without one it has to be given."""


class Options:
    """The options of a task's function `body`, whose first parameter is Invoke's context: those of `help_`, in its order, and then
    what it does not name. Raises KeyError for one that there is not, or whose type no text can be read as."""

    def __init__(self, body: Body, help_: Iterable[str]) -> None:
        self._gathered: dict[str, type[Any]] = {}
        own: dict[str, tuple[str, str | None, Any, Any]] = {}
        of_fields: dict[str, tuple[str, str | None, Any, Any]] = {}
        for each in list(inspect.signature(body).parameters.values())[1:]:
            if isinstance(each.annotation, type) and is_dataclass(each.annotation):
                self._gathered[each.name] = each.annotation
                for field in fields(each.annotation):
                    # A time's unit is in the name of its field, and in the text of its option.
                    name = field.name.removesuffix("_s")
                    of_fields[name] = (each.name, field.name, field.type, field.default)
            else:
                own[each.name] = (each.name, None, each.annotation, each.default)
        known = {**of_fields, **own}
        chosen = dict.fromkeys((*(each.replace("-", "_") for each in help_), *own))
        self._options = {name: _option(*known[name]) for name in chosen}

    @property
    def signature(self) -> inspect.Signature:
        """That of a function which takes each option by itself, as Invoke reads it."""
        return inspect.Signature(
            [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default)
                for name, option in self._options.items()
            ]
        )

    def values(self, task: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the function takes, by parameter, from the options that were `given`; None: it was not. What gathers options and has a
        field `task` is told which it is of. Raises UsageError."""
        found: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {
            name: {"task": task} if "task" in kind.__dataclass_fields__ else {} for name, kind in self._gathered.items()
        }
        for name, text in given.items():
            option = self._options[name]
            spelt = ("" if option.default is inspect.Parameter.empty else "--") + name.replace("_", "-")
            if text == "":
                raise UsageError(f"{spelt}: is empty; give a value, or leave it out")
            if text is not None:
                value = option.read(text, spelt)
                if option.field is None:
                    found[option.parameter] = value
                else:
                    parts[option.parameter][option.field] = value
        return found | {name: kind(**parts[name]) for name, kind in self._gathered.items()}


def _option(parameter: str, field: str | None, kind: Any, default: Any) -> _Option:
    is_spelt = default is inspect.Parameter.empty or isinstance(default, str | bool)
    read = _BY_NAME.get(field or parameter) or _BY_TYPE[kind]
    return _Option(parameter, field, read, default if is_spelt else None)


# --- values


def names(text: str, option: str) -> tuple[str, ...]:
    """The names of a list such as `a,b`. Raises UsageError where one is empty."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise UsageError(f"{option} {text}: has an empty name; separate names by single commas, such as a,b")
    return found


def numbers(text: str, option: str) -> tuple[int, ...]:
    """As `names`, of whole numbers from 1."""
    try:
        found = tuple(map(int, names(text, option)))
    except (ValueError, UsageError):
        found = (0,)
    if any(number < 1 for number in found):
        raise UsageError(f"{option} {text}: must be whole numbers from 1, separated by commas")
    return found


def number(text: str, option: str) -> int:
    """A whole number. Raises UsageError."""
    return _converted(int, text, option, "a whole number")


def share(text: str, option: str) -> float:
    """As `number`, of a share."""
    return _converted(float, text, option, "a share such as 0.03")


def percentage(text: str, option: str) -> float:
    """As `number`, of a share that may be spelt as 0.1%."""
    return _converted(spelt_share, text, option, "a share such as 0.1%")


def seconds(text: str, option: str) -> float:
    """As `number`, of a time in seconds, as an experiment file spells it."""
    return _converted(spelt_seconds, text, option, "a time such as 125s or 3min, or a number of seconds")


def amount(text: str, option: str) -> float:
    """As `number`, of any."""
    return _converted(float, text, option, "a number")


def _converted(convert: Callable[[str], Value], text: str, option: str, what: str) -> Value:
    try:
        return convert(text)
    except ValueError:
        raise UsageError(f"{option} {text}: must be {what}") from None


def _as_it_is(text: str, _: str) -> str:
    return text


_BY_TYPE: Mapping[Any, Callable[[str, str], Any]] = {
    str: _as_it_is,
    str | None: _as_it_is,
    bool: _as_it_is,
    int | None: number,
    float | None: amount,
    tuple[str, ...]: names,
    tuple[int, ...]: numbers,
}
"""How the text of an option is read, by the type of its value. A yes is none, and is there alike."""
_BY_NAME: Mapping[str, Callable[[str, str], Any]] = {"budget_s": seconds, "precision": share, "failures": percentage}
"""The same, where a number is spelt in a way of its own."""
