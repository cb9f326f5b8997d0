"""What a stack takes beside the packages of its lock: the file stack.toml of its folder."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from wsgilab.experiment.parsing import validated
from wsgilab.model import STRICT
from wsgilab.model.errors import BuildError, SpecError
from wsgilab.model.limits import Must, Pattern

FILE = "stack.toml"
ASK = (
    "import json,sys,platform as p;"
    "print(json.dumps({'python':p.python_version(),'machine':p.machine(),'libc':p.libc_ver(),"
    "'implementation':p.python_implementation(),'abi':getattr(sys,'abiflags',''),'build':sys.version}))"
)
"""What a Python runs to say which one it is, as JSON."""

_Python = Annotated[
    str,
    Pattern(r"^(3\.[0-9]{1,2}t?|pypy)$"),
    Must('be a version such as "3.13", "3.14t" for a free-threaded one, or "pypy"'),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a stack takes beside packages of the index. Where a machine does not have that, its servers are left out."""

    __pydantic_config__: ClassVar = STRICT

    debian: tuple[str, ...] = ()
    """Debian's packages with which it is compiled, and on which it runs."""
    python: _Python | None = None
    """The Python that it is for; None: the lab's own, or that of the images."""
    root: bool = True
    """Whether it runs among processes of root's, and not only of other users' and in containers."""

    @property
    def are_usual(self) -> bool:
        """Whether every machine of the lab's has them."""
        return self == Needs()

    @property
    def words(self) -> str:
        """What it asks of a machine, such as `needs Debian's gcc, libev-dev`; empty where that is nothing."""
        debian = f"needs Debian's {', '.join(self.debian)}" if self.debian else ""
        python = f"needs {spelt(self.python)}" if self.python else ""
        user = "" if self.root else "does not run as root, but in containers"
        return " and ".join(filter(None, (debian, python, user)))


def needs(stack: Path) -> Needs:
    """Of the stack in the folder `stack`. Raises BuildError where its file is wrong."""
    file = stack / FILE
    if not file.is_file():
        return Needs()
    where = f"services/stacks/{stack.name}/{FILE}"
    try:
        found: Needs = validated(tomllib.loads(file.read_text()), Needs, where)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildError(f"{where}: {error}") from None
    except SpecError as error:
        raise BuildError(error.message) from None
    return found


def spelt(python: str) -> str:
    """A stack's `python` in words."""
    return "PyPy" if python == "pypy" else f"Python {python}"


def named(found: Mapping[str, Any]) -> str:
    """A Python that was asked by ASK, in words: `Python 3.13.5`, `Python 3.14.2t` where it is free-threaded, `PyPy 3.11.13`."""
    implementation = found["implementation"]
    name = "Python" if implementation == "CPython" else implementation
    return f"{name} {found['python']}{'t' if _is_free_threaded(found) else ''}"


def is_wanted(python: str, found: Mapping[str, Any]) -> bool:
    """Whether what a Python said when it was asked by ASK is what a stack names as its `python`."""
    if python == "pypy":
        return bool(found["implementation"] == "PyPy")
    return (
        found["implementation"] == "CPython"
        and f"{found['python']}.".startswith(f"{python.removesuffix('t')}.")
        and _is_free_threaded(found) == python.endswith("t")
    )


def _is_free_threaded(found: Mapping[str, Any]) -> bool:
    return bool("t" in found["abi"])
