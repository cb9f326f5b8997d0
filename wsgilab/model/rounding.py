"""Intervals, and how documents such as `comparison.yaml` write numbers: rounded to what the method can tell.

The marks are for `Annotated`. Pydantic reads them where it writes a document; without pydantic they do nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

ROUNDED: Final = "rounded"
"""The context of a dump that rounds. Without it numbers are written whole, as `run.yaml` records them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The median of the blocks, and an interval that holds the true one."""

    median: float
    """In the unit of the figure."""
    low: float | None
    """The lower end; null where there are too few blocks to say."""
    high: float | None
    """The upper end; null where there are too few blocks to say."""


@dataclass(frozen=True, slots=True)
class Digits:
    """A number, or every number within a value, is written with so many digits after the point."""

    after_point: int

    def __get_pydantic_core_schema__(self, source: object, handler: Callable[[object], Any]) -> Any:
        from pydantic_core import core_schema

        written = core_schema.wrap_serializer_function_ser_schema(self._written, info_arg=True)
        return {**handler(source), "serialization": written}

    def _written(self, value: object, handler: Callable[[object], object], info: Any) -> object:
        plain = handler(value)
        return self.rounded(plain) if info.context == ROUNDED else plain

    def rounded(self, plain: object) -> object:
        """`plain`, which has no other containers than dictionaries, lists and tuples, with its floats rounded."""
        if isinstance(plain, float):
            return round(plain, self.after_point)
        if isinstance(plain, dict):
            return {key: self.rounded(value) for key, value in plain.items()}
        if isinstance(plain, list | tuple):
            return [self.rounded(value) for value in plain]
        return plain


@dataclass(frozen=True, slots=True)
class Median:
    """An `Interval` is written as its median alone, with so many digits after the point; None stays None."""

    after_point: int

    def __get_pydantic_core_schema__(self, source: object, handler: Callable[[object], Any]) -> Any:
        from pydantic_core import core_schema

        schema, number = handler(source), core_schema.float_schema()
        shape = core_schema.nullable_schema(number) if schema["type"] == "nullable" else number
        written = core_schema.plain_serializer_function_ser_schema(self._written, return_schema=shape)
        return {**schema, "serialization": written}

    def _written(self, value: Any) -> float | None:
        return None if value is None else round(value.median, self.after_point)
