"""What a stack takes beside the packages of its lock: the file stack.toml of its folder."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import TypeAdapter, ValidationError

from wsgilab.model import STRICT, RuntimeName
from wsgilab.model.errors import BuildError

FILE = "stack.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a stack takes beside packages of the index. Where a machine does not have that, its servers are left out."""

    __pydantic_config__: ClassVar = STRICT

    debian: tuple[str, ...] = ()
    """Debian's packages with which it is compiled, and on which it runs."""
    runtime: RuntimeName | None = None
    """The only runtime in which it runs; None: in each."""

    @property
    def are_usual(self) -> bool:
        """Whether every machine of the lab's has them."""
        return self == Needs()

    @property
    def words(self) -> str:
        """What it asks of a machine, such as `needs Debian's gcc, libev-dev`; empty where that is nothing."""
        debian = f"needs Debian's {', '.join(self.debian)}" if self.debian else ""
        where = {None: "", "compose": "runs in containers only", "local": "runs as processes only"}[self.runtime]
        return " and ".join(filter(None, (debian, where)))


def needs(stack: Path) -> Needs:
    """Of the stack in the folder `stack`. Raises BuildError where its file is wrong."""
    file = stack / FILE
    if not file.is_file():
        return Needs()
    try:
        return TypeAdapter(Needs).validate_python(tomllib.loads(file.read_text()))
    except (ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildError(f"services/stacks/{stack.name}/{FILE}: {str(error).splitlines()[-1].strip()}") from None
