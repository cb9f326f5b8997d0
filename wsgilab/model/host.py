"""The machine that a run ran on."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from wsgilab.model.limits import STRICT, Bytes, CpuSet, Share
from wsgilab.model.rounding import Digits


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
    governor: str | None = None
    """How the kernel chooses the usable cores' frequency, such as `performance`; null where it does not, or does not say."""
    turbo: bool | None = None
    """Whether cores may run faster than rated for a while; null where that is not known."""
    mhz: Annotated[Share | None, Digits(0)] = None
    """The usable cores' frequency when the run began, in megahertz: the median; null where the kernel does not say."""
    load: Annotated[Share | None, Digits(2)] = None
    """Programs that ran or wanted to when the run began, on average over a minute; null in runs of a lab that did not record it."""
    isolated: CpuSet | None = None
    """Cores that the kernel gives to no program by itself; null where there are none."""
    virtualization: str | None = None
    """What the machine is, where it is a virtual one; null where it is none, or does not say."""
    quota: Annotated[Share | None, Digits(2)] = None
    """To so many cores' worth of CPU time a quota limits the lab itself, and what it starts as processes; null where none does."""
