"""The machine, as results tell of it."""

from dataclasses import dataclass
from typing import ClassVar

from wsgilab.model.experiment import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine, as far as it matters for a comparison."""

    __pydantic_config__: ClassVar = STRICT

    cpu: str
    architecture: str
    usable_cpus: str
    """A cpuset list such as `0-3`."""
    siblings: tuple[str, ...]
    """Cpuset lists of the logical cores that share one physical core."""
    memory_bytes: int
    kernel: str
    python: str
