"""The machine that a run ran on."""

from dataclasses import dataclass
from typing import ClassVar

from wsgilab.model.limits import STRICT, Bytes, CpuSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine, as far as it matters for a comparison."""

    __pydantic_config__: ClassVar = STRICT

    cpu: str
    """The processor's name."""
    architecture: str
    """Such as x86_64."""
    usable_cpus: CpuSet
    """The cores that the lab might use, as a list such as `0,2-3`."""
    siblings: tuple[CpuSet, ...]
    """Lists of logical cores that share one physical core."""
    memory_bytes: Bytes
    """Main memory, in bytes."""
    kernel: str
    """The operating system's release."""
    python: str
    """The lab's own Python."""
