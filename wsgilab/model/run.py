"""One execution of an experiment, and what it ran on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from wsgilab.model.experiment import Experiment, Server
from wsgilab.model.host import Host
from wsgilab.model.limits import (
    STRICT,
    Count,
    CountFromOne,
    CpuSet,
    Length,
    Moment,
    Must,
    Pattern,
    Range,
    Revision,
    ServerName,
)
from wsgilab.model.site import LaneRecord

RuntimeName = Literal["compose", "local"]

SCHEMA = 1
"""The version of what `results/<run>/` holds."""


_RunId = Annotated[str, Pattern("^[A-Za-z0-9][A-Za-z0-9-]{0,149}$"), Must("be the id of a run")]
_Part = Annotated[str, Pattern("^[A-Za-z][A-Za-z ]{0,49}$"), Must("be a part of what is measured")]
_Path = Annotated[str, Pattern(r"^[^/\s][^\n]{0,299}$"), Must("be a path within the checkout")]
_Digest = Annotated[str, Pattern("^[0-9a-f]{64}$"), Must("be a SHA-256")]
_CpuSetOrNone = Annotated[CpuSet | Literal[""], Must("be a list of cores such as 0,2-3, or empty")]
# One without a word would make a heading of what is before it.
_Note = Annotated[str, Pattern(r"\S"), Must("be a few words")]


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

    files: Mapping[_Part, Mapping[_Path, _Digest]]
    """A part, such as `application` -> path in the checkout -> SHA-256 of the file's content, in hexadecimal."""
    revision: Revision | None = None
    """Of git; None where the checkout is not under git, or there was no git."""
    dirty: bool | None = None
    """Whether files differed from the revision, or were not part of it; None where that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of an experiment: what was asked for, and what it ran on. Its observations are read with it."""

    __pydantic_config__: ClassVar = STRICT

    schema: Count
    """`SCHEMA` of the lab that wrote it."""
    id: _RunId
    """The run's folder under `results/`."""
    lab: str
    """The lab's own version."""
    started: Moment
    """ISO 8601, with the offset from UTC."""
    runtime: RuntimeName
    """Whether servers ran in containers (`compose`) or as processes (`local`)."""
    seed: Annotated[int, Range(-(2**128), 2**128)]
    """What the order of the trials was made from."""
    experiment: Experiment
    server_cpus: Mapping[int, CpuSet]
    """Number of cores -> the list of those that servers with so many were pinned to."""
    generator_cpus: CpuSet
    """The cores of the load generator, as a list."""
    backend_cpus: _CpuSetOrNone = ""
    """Those of database and upstream service; empty where no workload needs them."""
    cpu_iterations: CountFromOne | None
    """Steps of work in the time that `cpu` is given, as calibrated once for this run; null where no cell needs it."""
    servers: Mapping[str, Server]
    host: Host
    """Where it ran; where there are several machines, the first one of targets."""
    stacks: Mapping[str, Stack]
    packages: Mapping[str, str]
    """The lab's own packages and tools, by name."""
    notes: tuple[_Note, ...]
    """What a reader must know of the machine, such as shared physical cores."""
    origin: Origin | None = None
    """None in runs of a lab that did not record it."""
    lanes: Annotated[tuple[LaneRecord, ...], Length(0, 1_000)] = ()
    """One for each machine of targets; empty where all ran on one machine."""
    gil: Mapping[ServerName, bool] = field(default_factory=dict)
    """Server -> whether its GIL was on once the application was imported; empty in runs of a lab that did not ask."""
    left_out: Mapping[ServerName, _Note] = field(default_factory=dict)
    """Of a race: server -> why it was left out before the first trial."""
