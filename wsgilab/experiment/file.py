"""What an experiment file may say. The JSON Schema that editors help with follows from it, descriptions included.

An experiment file lists groups of cells; each group is the product of its lists, and a cell that is in several
groups counts once:

    name: answer
    blocks: 3
    window_s: 0.5
    reference: gunicorn-sync-1
    workloads: {sleep: {ms: 50}, cpu: {ms: 2}}
    cells:
      - {servers: all, workloads: [hello, sleep, cpu], users: [32], connections: [close]}
      - {servers: [gunicorn-gthread-2x4], workloads: [sleep], users: [32], connections: [keep-alive]}
      - {servers: all, workloads: [sleep], rate: [10], arrivals: poisson}
      - {servers: all, workloads: [cpu], users: [32], cores: all}

`users` is a closed loop: so many users, each waiting for its answer. `rate` is an open one: so many requests a second,
due on a schedule whether or not the server keeps up.
"""

import re
from dataclasses import dataclass, field, fields
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
)
from pydantic_core import CoreSchema

from wsgilab.experiment.application import ApplicationFile
from wsgilab.experiment.space import SCHEMA_OF_ENTRIES, ServerEntry
from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model import (
    STRICT,
    Arrivals,
    Circumstances,
    Connection,
    During,
    GeneratorCores,
    Idle,
    Parameter,
    Tune,
)
from wsgilab.model.circumstances import IdleConnections, Pause, Quota
from wsgilab.model.limits import (
    Blocks,
    Budget,
    Cores,
    Duration,
    Failures,
    LatencyLimit,
    Must,
    Name,
    Precision,
    Rate,
    Users,
)

ALL = "all"

WorkloadName = Annotated[str, Field(json_schema_extra={"enum": list(WORKLOADS)})]


class _KnownParameters:
    """Says in the schema which workloads there are, and which parameters they have. `resolve` checks this."""

    @staticmethod
    def __get_pydantic_json_schema__(core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        value = handler(core_schema)["additionalProperties"]["additionalProperties"]
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        key: {**value, **_described(parameter)} for key, parameter in each.parameters.items()
                    },
                }
                for name, each in WORKLOADS.items()
            },
        }


def _described(parameter: Parameter) -> dict[str, object]:
    about = parameter.about
    return {
        "type": "integer" if parameter.is_whole else "number",
        "default": parameter.usual,
        "minimum": parameter.least,
        "maximum": parameter.most,
        "description": f"{about[0].upper()}{about[1:]}.",
    }


def users_or_rate(*, users: dict[str, object], rate: dict[str, object], none: dict[str, object]) -> dict[str, object]:
    """What `loads` checks, as JSON Schema: users or a rate, and not both. `none` is what either is without a value."""
    closed = {"users": users, "rate": none, "arrivals": {"type": "null"}}
    return {
        "oneOf": [
            {"required": ["users"], "properties": closed},
            {"required": ["rate"], "properties": {"rate": rate, "users": none}},
        ]
    }


_NONE: dict[str, object] = {"maxItems": 0}
_LOADS = {"cells": {"items": users_or_rate(users={"minItems": 1}, rate={"minItems": 1}, none=_NONE)}}
"""Every group has users or rates. `resolve` checks this, and the next."""
_NO_LOADS = {"cells": {"items": {"properties": {"users": _NONE, "rate": _NONE, "arrivals": {"type": "null"}}}}}
"""No group has any."""
_LABS_OWN = {"cells": {"items": {"properties": {"workloads": {"items": {"enum": [ALL, *WORKLOADS]}}}}}}
"""Without an application, groups name the lab's workloads, and no others; `resolve` checks this."""


def _path_or_content(given: object) -> object:
    if given is None or isinstance(given, str):
        return given
    if not isinstance(given, dict):
        raise ValueError("must be the path of an application file, or what it has")
    # As the file has it, so that a complaint is about its keys.
    return _APPLICATION_FILE.validate_python(given)


_APPLICATION_FILE = TypeAdapter(ApplicationFile)

_TIME = r"^([0-9]{1,9}(?:\.[0-9]{1,3})?)(s|m|min)?$"
_Spelt = Annotated[str, Field(pattern=_TIME)]


def _seconds(given: object) -> object:
    return spelt_seconds(given) if isinstance(given, str) else given


def spelt_seconds(text: str) -> float:
    """Seconds, of a text such as `125s`, `3min`, `3m` or `125`. Raises ValueError."""
    if (found := re.match(_TIME, text)) is None:
        raise ValueError("must be a time such as 125s or 3min, or a number of seconds")
    return float(found[1]) * (60 if found[2] in ("m", "min") else 1)


_SHARE = r"^([0-9]{1,3}(?:\.[0-9]{1,6})?)(%)?$"


def _share(given: object) -> object:
    return spelt_share(given) if isinstance(given, str) else given


def spelt_share(text: str) -> float:
    """The share that a text such as `0.1%` or `0.001` spells. Raises ValueError."""
    if (found := re.match(_SHARE, text)) is None:
        raise ValueError("must be a share such as 0.1%")
    return float(found[1]) / (100 if found[2] else 1)


def _all_or_numbers(given: object) -> object:
    if given == ALL:
        return None
    if not isinstance(given, list):
        raise ValueError("must be all, or a list of whole numbers such as [1, 2]")
    return given


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every file that asks for measurements may say, beside its cells."""

    __pydantic_config__: ClassVar = STRICT

    name: Name
    """What its runs are called: lower-case letters, digits and hyphens."""
    blocks: Blocks | None = None
    """Passes over every cell, each in an order of its own; by default 3. A verdict needs 3, and one on a small difference
    more."""
    window_s: Duration = 1.0
    """How long one trial is observed, in seconds, once every user has had an answer."""
    patience_s: Duration = 10.0
    """How long to wait, in seconds and at most, until every user has had an answer, and after the window until the
    requests under way are answered."""
    generator: GeneratorCores = "own"
    """`own`: servers and generator never share a core. `shared`: they may, where there are no others, and every number
    says so."""
    generator_cores: Cores = 1
    """How many cores the generator has, a Locust worker on each."""
    workloads: Annotated[dict[str, dict[str, Annotated[float, Field(strict=True)]]], _KnownParameters] = field(
        default_factory=dict
    )
    """What a request does, where it is not as usual: workload, parameter and value. Times are in milliseconds, sizes in
    KiB; those of `mixed` are weights, of which some may be 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityEntry:
    """What must hold at a server's capacity, which is the highest rate of requests at which it does."""

    __pydantic_config__: ClassVar = STRICT

    p95_ms: LatencyLimit
    """95 of 100 requests are answered within so many milliseconds of when they were due."""
    failures: Annotated[
        Failures,
        BeforeValidator(_share, json_schema_input_type=Failures | Annotated[str, Field(pattern=_SHARE)]),
    ] = 0.001
    """The share of requests that may fail, such as 0.1%, which is 0.001."""
    arrivals: Arrivals = "poisson"
    """How requests are spaced: at random (`poisson`), or evenly (`constant`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    """A group without what else holds."""

    __pydantic_config__: ClassVar = STRICT

    servers: Annotated[
        Literal["all"] | list[ServerEntry],
        Must("be all, or a list of names such as [gunicorn-sync-1, gunicorn-gevent]"),
        BeforeValidator(lambda given: given, json_schema_input_type=Literal["all"] | SCHEMA_OF_ENTRIES),
    ]
    """`all` those of the catalogue, or a list of their names, and of entries that stand for many: `{like: gunicorn-gthread,
    workers: [1, 2], threads: [8, 16]}`."""
    workloads: Annotated[Literal["all"] | list[str], Must("be all, or a list of names such as [hello, sleep]")]
    """What a request does: workloads of the lab or, with `application`, its requests. `all` that there are."""
    users: list[Users] = field(default_factory=list)
    """A closed loop: so many users at a time, each waiting for its answer before it asks again."""
    rate: list[Rate] = field(default_factory=list)
    """An open loop, in place of users: so many requests a second, due on a schedule whether or not the server keeps
    up."""
    arrivals: Arrivals | None = None
    """How a rate is spaced: evenly (`constant`, the default), or at random (`poisson`)."""
    connections: list[Connection] = field(default_factory=lambda: ["close"])
    """`close`: a connection for each request. `keep-alive`: one for each user, kept."""
    cores: Annotated[
        list[Cores] | None, BeforeValidator(_all_or_numbers, json_schema_input_type=Literal["all"] | list[Cores])
    ] = field(default_factory=lambda: [1])
    """To how many cores servers are pinned; `all`: to 1, 2, 4 and so on, up to as many as they may have."""


def _idle(given: object) -> object:
    # A number, which is no yes.
    return {"connections": given} if type(given) is int else given


@dataclass(frozen=True, kw_only=True)
class CircumstancesEntry:
    """What else holds while cells are measured, beside their load; by default nothing does."""

    idle: Annotated[Idle | None, BeforeValidator(_idle, json_schema_input_type=Idle | IdleConnections | None)] = None
    """So many connections beside those of the users that are opened and then ask for nothing, such as 4; or `{connections: 4,
    send: half}`, which sends half of a request."""
    gap_ms: Pause | None = None
    """How long a user pauses between an answer and its next request, in milliseconds."""
    abandon_ms: Pause | None = None
    """How long a user waits for an answer before it gives up and closes its connection, in milliseconds."""
    during: During | None = None
    """What is done to the server in the middle of each trial: `{at_s: 2, do: reload}`."""
    quota: Quota | None = None
    """How much CPU time the server gets a second, in CPU seconds, beside being pinned to cores. Windows last a second at least then."""

    def circumstances(self) -> Circumstances | None:
        """None where nothing else holds."""
        found = Circumstances(**{each.name: getattr(self, each.name) for each in fields(Circumstances)})
        return None if found == Circumstances() else found


@dataclass(frozen=True, kw_only=True)
class CellGroup(CircumstancesEntry, _Product):
    """Cells: every combination of what its lists hold. A cell that is in several groups counts once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFile(Settings):
    """An experiment of wsgilab: which servers are measured, under what load, and how often."""

    __pydantic_config__: ClassVar = {
        **STRICT,
        # `parse` checks this.
        "json_schema_extra": {
            "allOf": [
                {
                    "if": {"required": ["max_blocks"], "properties": {"max_blocks": {"type": "integer"}}},
                    "then": {"required": ["precision"], "properties": {"precision": {"type": "number"}}},
                },
                {
                    "if": {"required": ["budget"], "properties": {"budget": {"not": {"type": "null"}}}},
                    "then": {"properties": {"blocks": {"type": "null"}, "precision": {"type": "null"}}},
                },
                {
                    "if": {"required": ["capacity"], "properties": {"capacity": {"not": {"type": "null"}}}},
                    "then": {
                        "properties": {
                            **{key: {"type": "null"} for key in ("blocks", "precision", "max_blocks")},
                            **_NO_LOADS,
                        }
                    },
                    "else": {"properties": _LOADS},
                },
                {
                    "if": {"required": ["tune"], "properties": {"tune": {"not": {"type": "null"}}}},
                    "then": {"required": ["budget"], "properties": {"budget": {"not": {"type": "null"}}}},
                },
                {
                    "if": {"properties": {"application": {"type": "null"}}},
                    "then": {"properties": _LABS_OWN},
                    "else": {"properties": {"workloads": {"maxProperties": 0}}},
                },
            ]
        },
    }

    application: Annotated[
        ApplicationFile | str | None,
        BeforeValidator(_path_or_content, json_schema_input_type=ApplicationFile | str | None),
    ] = None
    """An application of your own: the path of its file, relative to this one; or what that file would have, with paths
    relative to where the lab is called. By default, the lab's own application."""

    cells: Annotated[list[CellGroup], Field(min_length=1)]
    """What is measured, group by group."""
    reference: str
    """The server that the others are compared with."""
    precision: Precision | None = None
    """Go on beyond `blocks` until each comparison is decided, or its interval within so much of its median: a share
    such as 0.03."""
    max_blocks: Blocks | None = None
    """Where a run with precision ends all the same; by default 50, or `blocks` if those are more."""
    budget: Annotated[Budget | None, BeforeValidator(_seconds, json_schema_input_type=Budget | _Spelt | None)] = None
    """In place of blocks: how long trials go on once all is up, such as 125s or 3min; a plain number is of seconds. After
    two blocks the time goes where it decides most comparisons with the reference."""
    capacity: CapacityEntry | None = None
    """In place of users and rates: look for the highest rate at which each server keeps this limit, until the budget is used; by
    default 5min, or more where servers are many."""
    tune: Tune | None = None
    """The time of `budget` is for a race for the best server, all under the same conditions, in place of a comparison of all:
    those leave that cannot be the best any more. The limits that it must keep to, or {}."""
