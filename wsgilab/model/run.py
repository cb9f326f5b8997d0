"""One execution of an experiment, and what it ran on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from wsgilab.model.experiment import STRICT, Experiment, Server
from wsgilab.model.host import Host
from wsgilab.model.site import LaneRecord

RuntimeName = Literal["compose", "local"]

SCHEMA = 1
"""The version of what `results/<run>/` holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A set of locked packages that servers run on, as it was really installed."""

    __pydantic_config__: ClassVar = STRICT

    digest: str
    """A SHA-256 over the image's layers, or over lock and interpreter; of images, older runs have the id."""
    python: str = ""
    packages: Mapping[str, str]
    is_complete: bool = False
    """Whether `packages` are all that were installed; False in runs of a lab that recorded some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What was measured and what measured it, as it was in the lab's checkout when the run began."""

    __pydantic_config__: ClassVar = STRICT

    files: Mapping[str, Mapping[str, str]]
    """A part, such as `application` -> path in the checkout -> SHA-256 of the file's content, in hexadecimal."""
    revision: str | None = None
    """Of git; None where the checkout is not under git, or there was no git."""
    dirty: bool | None = None
    """Whether files differed from the revision, or were not part of it; None where that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of an experiment: what was asked for, and what it ran on. Its observations are read with it."""

    __pydantic_config__: ClassVar = STRICT

    schema: int
    """`SCHEMA` of the lab that wrote it."""
    id: str
    """The run's folder under `results/`."""
    lab: str
    """The lab's own version."""
    started: str
    """ISO 8601, with the offset from UTC."""
    runtime: RuntimeName
    """Whether servers ran in containers (`compose`) or as processes (`local`)."""
    seed: int
    """What the order of the trials was made from."""
    experiment: Experiment
    server_cpus: Mapping[int, str]
    """Number of cores -> the list of those that servers with so many were pinned to."""
    generator_cpus: str
    """The cores of the load generator, as a list."""
    backend_cpus: str = ""
    """Those of database and upstream service; empty where no workload needs them."""
    cpu_iterations: int | None
    """Steps of work in the time that `cpu` is given, as calibrated once for this run; null where no cell needs it."""
    servers: Mapping[str, Server]
    host: Host
    """Where it ran; where there are several machines, the first one of targets."""
    stacks: Mapping[str, Stack]
    packages: Mapping[str, str]
    """The lab's own packages and tools, by name."""
    notes: tuple[str, ...]
    """What a reader must know of the machine, such as shared physical cores."""
    origin: Origin | None = None
    """None in runs of a lab that did not record it."""
    lanes: tuple[LaneRecord, ...] = ()
    """One for each machine of targets; empty where all ran on one machine."""
