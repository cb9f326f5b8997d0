"""What a file of claims may say: its keys, and what their values may be. The JSON Schema follows from it. Pure."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from wsgilab.analysis.claims.figures import FIGURES
from wsgilab.analysis.stats import FEWEST_BLOCKS
from wsgilab.experiment.file import CircumstancesEntry, Settings, WorkloadName, users_or_rate
from wsgilab.experiment.space import Variants
from wsgilab.model import STRICT, Arrivals, Connection, Thread
from wsgilab.model.limits import MOST_BLOCKS, Cores, Must, Name, Range, Rate, Users

_Limit = Annotated[float, Range(0, 10**12)]
_Text = Annotated[str, Field(min_length=1)]
_Figure = Annotated[str, Field(json_schema_extra={"enum": list(FIGURES)})]
_Server = Annotated[
    str | dict[str, Any],
    Must("be the name of a server, or an entry such as {like: gunicorn-sync-1, workers: [9]}"),
    BeforeValidator(lambda given: given, json_schema_input_type=str | Variants),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Combination:
    """A cell without what else holds."""

    __pydantic_config__: ClassVar = {
        **STRICT,
        "json_schema_extra": users_or_rate(users={"type": "integer"}, rate={"type": "number"}, none={"type": "null"}),
    }

    server: _Server
    """One of the catalogue's, or one that is made of it: `{like: gunicorn-sync-1, workers: [9]}`, as in an experiment."""
    workload: WorkloadName
    """What a request does."""
    users: Users | None = None
    """A closed loop: so many users at a time, each waiting for its answer before it asks again."""
    rate: Rate | None = None
    """An open loop, in place of users: so many requests a second, due on a schedule whether or not the server keeps
    up."""
    arrivals: Arrivals | None = None
    """How a rate is spaced: evenly (`constant`, the default), or at random (`poisson`)."""
    connection: Connection = "close"
    """`close`: a connection for each request. `keep-alive`: one for each user, kept."""
    cores: Cores = 1
    """To how many cores the server is pinned."""


@dataclass(frozen=True, kw_only=True)
class ClaimCell(CircumstancesEntry, _Combination):
    """One combination that is measured. The conditions of claims call it by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What must hold of one figure of a cell, or of its ratio to another cell's."""

    __pydantic_config__: ClassVar = STRICT

    figure: _Figure
    """Times are in milliseconds, throughput in requests a second, `server_cpu` is a share of the server's cores."""
    of: str
    """The name of a cell of this file."""
    over: str | None = None
    """The name of another cell: the figure is then the ratio of the first to it, paired by block."""
    at_least: _Limit | None = None
    """The figure, or the ratio, is at least this."""
    at_most: _Limit | None = None
    """The figure, or the ratio, is at most this."""


# `parse` checks this.
_Deciding = Annotated[
    Limits, Field(json_schema_extra={"anyOf": [{"required": ["at_least"]}, {"required": ["at_most"]}]})
]
_Shown = Annotated[
    Limits, Field(json_schema_extra={"properties": {"at_least": {"type": "null"}, "at_most": {"type": "null"}}})
]
_MET: dict[str, object] = {
    "required": ["met"],
    "properties": {"met": {"type": "string"}, **{key: {"type": "null"} for key in ("thread", "reported", "package")}},
}
_REPORTED: dict[str, object] = {
    "required": ["thread", "reported"],
    "properties": {"met": {"type": "null"}, "thread": {"type": "object"}, "reported": {"type": "string"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimEntry:
    """A sentence about servers, and what would make it true. With a thread it is a report: what a user or a maintainer saw."""

    __pydantic_config__: ClassVar = {**STRICT, "json_schema_extra": {"oneOf": [_MET, _REPORTED]}}

    id: Name
    """Its short name, for --only: lower-case letters, digits and hyphens."""
    claim: _Text
    """The sentence, which says what is tested."""
    met: _Text | None = None
    """Where it is met. A report has a thread in its place."""
    holds: Annotated[list[_Deciding], Field(min_length=1)]
    """It is true if all of these are, and false if any is false."""
    shows: list[_Shown] = field(default_factory=list)
    """Figures that are shown beside the verdict, and decide nothing."""
    explanation: _Text
    """Why it is so."""
    advice: _Text
    """What a reader should do about it."""
    thread: Thread | None = None
    """Where it was reported: `{project: benoitc/gunicorn, number: 3433}`."""
    reported: _Text | None = None
    """What was reported there, in few words. Goes with a thread."""
    package: _Text | None = None
    """The package whose release it is about; by default it is called as the project. Goes with a thread."""
    releases: list[_Server] = field(default_factory=list)
    """Servers with earlier releases, the oldest first. Each takes the place of the first condition's server, and the conditions are
    tested again."""
    picture: str | None = None
    """The name of a cell of this file: who of it served which request, and when, is drawn beside the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsFile(Settings):
    """Claims of wsgilab: sentences about servers, and the cells that are measured to test them."""

    __pydantic_config__: ClassVar = STRICT

    blocks: Annotated[int, Range(FEWEST_BLOCKS, MOST_BLOCKS)] = 6
    """Passes over every cell, each in an order of its own."""
    cells: Annotated[dict[str, ClaimCell], Field(min_length=1)]
    """What is measured: a name, and a cell. Each is one that a claim uses."""
    claims: Annotated[list[ClaimEntry], Field(min_length=1)]
    """What is tested."""
    groups: dict[Name, Annotated[list[str], Field(min_length=1)]] = field(default_factory=dict)
    """Claims that are tested together, with --group: a group's name, and their ids. Each claim is in one group."""
    reference: str | None = None
    """The server that the comparison beside the verdicts is with; by default the first cell's."""
