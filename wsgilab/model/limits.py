"""What a value may be: constraints on the fields of dataclasses, which pydantic applies where it reads a file.

They are far wider than what is ever measured. They are there so that code that computes with a stored run may rely on it:
nothing overflows, divides by zero or fills the memory, names are names, and cores are cores.

This module needs only the standard library. pydantic calls `__get_pydantic_core_schema__` where it reads a type; the
generator's image and the clock server's, which read none, do not have it.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import Annotated, Any

MOST_BLOCKS = 1000
"""More are never measured."""

STRICT = {"extra": "forbid", "allow_inf_nan": False}
"""Of a dataclass. Read by pydantic where files are parsed: a key that is not a field is an error, and so is a number that is
none."""

_SMALLEST = 1e-9
"""What is closer to 0 was not measured, in no unit of the lab; and ratios of it are beyond what a float holds."""
_MOST_CORES = 10_000


@dataclass(frozen=True, slots=True)
class Must:
    """Whatever is wrong with a value, the message is that it must `be` so: `Must("be a few words")`."""

    be: str

    def of(self, schema: Any) -> Any:
        """The core schema with this message in place of its own."""
        from pydantic_core import core_schema

        return core_schema.custom_error_schema(schema, custom_error_type="must", custom_error_message=f"must {self.be}")

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return self.of(handler(source))


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from `least` to `most`. A text or a yes is no number, and a number with a fraction is no whole one."""

    least: float
    most: float
    _: KW_ONLY
    above: bool = False
    """Without `least` itself."""
    below: bool = False
    """Without `most` itself; goes with `above`."""

    def __get_pydantic_core_schema__(self, source: type[int | float], handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        most = f"{'below' if self.below else 'at most'} {self.most:.15g}"
        ends = f"above {self.least:.15g} and {most}" if self.above else f"from {self.least:.15g} to {self.most:.15g}"
        if source is int:
            number: Any = core_schema.int_schema(strict=True, ge=int(self.least), le=int(self.most))
            return Must(f"be a whole number {ends}").of(number)
        limits: Any = {"gt" if self.above else "ge": self.least, "lt" if self.below else "le": self.most}
        number = core_schema.float_schema(strict=True, allow_inf_nan=False, **limits)
        return Must(f"be a number {ends}").of(core_schema.no_info_after_validator_function(_measurable, number))


@dataclass(frozen=True, slots=True)
class Length:
    """A tuple of so many values."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return {**handler(source), "min_length": self.least, "max_length": self.most}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with this regular expression in it, as the Rust crate `regex` has them: `$` is the very end."""

    expression: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.str_schema(strict=True, pattern=self.expression)


@dataclass(frozen=True, slots=True)
class Check:
    """A value that `function` returns. It raises ValueError for any other."""

    function: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.function, handler(source))


def _measurable(number: float) -> float:
    if 0 < abs(number) < _SMALLEST:
        raise ValueError
    return number


def _cpuset(text: str) -> str:
    """A list of ranges that begin with their lower end, of no more cores than any machine has."""
    ranges = [part.partition("-") for part in text.split(",")]
    sizes = [int(last or first) - int(first) + 1 for first, _, last in ranges]
    if min(sizes) < 1 or sum(sizes) > _MOST_CORES:
        raise ValueError
    return text


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).utcoffset() is None:
        raise ValueError
    return text


def one_line(text: str) -> str:
    """`text`, which is printed as it is. Raises ValueError where it is empty, or has characters that do not print."""
    if not text.isprintable() or not text.strip():
        raise ValueError
    return text


def encodable(text: str) -> str:
    """`text`, which UTF-8 can spell. Raises ValueError for lone surrogates."""
    text.encode()
    return text


# Numbers.
Count = Annotated[int, Range(0, 10**12)]
CountFromOne = Annotated[int, Range(1, 10**12)]
Blocks = Annotated[int, Range(1, MOST_BLOCKS)]
Slots = Annotated[int, Range(1, 10**9)]
Processes = Annotated[int, Range(1, 100_000)]
Users = Annotated[int, Range(1, 100_000)]
Cores = Annotated[int, Range(1, 100_000)]
Rate = Annotated[float, Range(0, 100_000, above=True)]
Precision = Annotated[float, Range(0, 1, above=True, below=True), Must("be a share such as 0.03")]
Duration = Annotated[float, Range(0, 3600, above=True)]
"""Seconds that an experiment asks for."""
Budget = Annotated[float, Range(1, 86_400)]
"""Seconds of trials, a day at most."""
LatencyLimit = Annotated[float, Range(0, 3_600_000, above=True)]
"""Milliseconds that an answer may take."""
Failures = Annotated[float, Range(0, 0.5)]
"""The share of requests that may fail."""
Seconds = Annotated[float, Range(0, 10**6)]
Milliseconds = Annotated[float, Range(0, 10**9)]
Microseconds = Annotated[int, Range(-(10**12), 10**12)]
Bytes = Annotated[int, Range(0, 2**60)]
Share = Annotated[float, Range(0, 10**6)]
"""CPU seconds a second, or a part of all cores."""

# Texts.
Name = Annotated[
    str,
    Pattern("^[a-z0-9][a-z0-9-]{0,63}$"),
    Must("be lower-case letters, digits and hyphens, 64 at most, and begin with a letter or a digit"),
]
"""Of an experiment, a claim or a machine."""
RequestName = Annotated[str, Check(one_line), Pattern("^.{1,200}$"), Must("be the name of a request, on one line")]
"""Of a mix, or as a Locust file has it."""
ServerName = Annotated[str, Pattern("^[a-z0-9][a-z0-9-]{0,99}$"), Must("be the name of a server or a backend")]
ServiceName = Annotated[str, Pattern("^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$"), Must("be the name of a server or a backend")]
CpuSet = Annotated[
    str,
    Pattern("^[0-9]{1,4}(?:-[0-9]{1,4})?(?:,[0-9]{1,4}(?:-[0-9]{1,4})?)*$"),
    Check(_cpuset),
    Must("be a list of cores such as 0,2-3"),
]
"""cpuset(7), "List format"."""
Revision = Annotated[str, Pattern("^(?:[0-9a-f]{40}|[0-9a-f]{64})$"), Must("be a revision of git")]
"""In full."""
Moment = Annotated[str, Check(_moment), Must("be a time, in ISO 8601, with its offset from UTC")]
