"""What the YAML documents of results have in common: how they are written, which run they are of, and their cells.

A document consists of the values of `wsgilab.model`, and of a typed dictionary where its keys are not those of a value.
The JSON Schemas that `make schemas` writes follow from both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NotRequired, TypeVar, cast

import yaml
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict  # typing's own tells pydantic too little before Python 3.12

from wsgilab.model import Arrivals, Cell, Circumstances, Connection, During, Host, Idle, LaneRecord, RuntimeName
from wsgilab.model.rounding import ROUNDED

Entry = TypeVar("Entry")


def plain(document: object, kind: Any = object) -> Any:
    """A document as mappings, lists and texts, its numbers rounded as `kind`, its type, says."""
    return TypeAdapter(kind).dump_python(document, context=ROUNDED)


def dump(document: object, kind: Any = object, *, ascii_only: bool = False) -> bytes:
    """A document as YAML, its numbers rounded as `kind`, its type, says.

    With `ascii_only` every text comes back as it was when it is read; else PyYAML folds some rare line ends.
    """
    return yaml.safe_dump(
        plain(document, kind), sort_keys=False, allow_unicode=not ascii_only, width=120, default_flow_style=None
    ).encode()


def entry(kind: type[Entry], value: object, **others: object) -> Entry:
    """A typed dictionary of all the keys of `kind`: the attributes of `value` that have their names, but for `others`."""
    keys = kind.__annotations__
    return cast("Entry", {key: others[key] if key in others else getattr(value, key) for key in keys})


class Identity(TypedDict):
    """Which run it was, and on what machine."""

    id: str
    experiment: str
    """The experiment's name."""
    runtime: RuntimeName
    seed: int
    started: str
    host: Host
    server_cpus: Mapping[int, str]
    generator_cpus: str
    backend_cpus: str
    lanes: tuple[LaneRecord, ...]


class LoadConditions(TypedDict):
    """Users, or a rate with its arrivals."""

    users: NotRequired[int | None]
    """A closed loop: so many users at a time, each waiting for its answer. Absent where there is a rate."""
    rate: NotRequired[float | None]
    """An open loop: so many requests a second, due on a schedule. Absent where there are users."""
    arrivals: NotRequired[Arrivals | None]
    """How a rate is spaced. Absent where there are users."""


class CircumstancesKeys(TypedDict):
    """What else holds, as an experiment file has it; keys that do not hold are absent."""

    idle: NotRequired[Idle]
    """Connections that are opened and ask for nothing."""
    gap_ms: NotRequired[float]
    """How long a user pauses between an answer and its next request."""
    abandon_ms: NotRequired[float]
    """How long a user waits for an answer before it gives up."""
    during: NotRequired[During]
    """What is done to the server in the middle of each trial."""
    quota: NotRequired[float]
    """How much CPU time the server gets a second, in CPU seconds."""


class Conditions(LoadConditions, CircumstancesKeys):
    """All of a cell but its server: cells under the same conditions can be compared."""

    workload: str
    """What one request does."""
    cores: int | None
    """To how many cores the server was pinned. Null where it is not the lab's."""
    connection: Connection
    """A connection for each request (`close`), or for each user (`keep-alive`)."""


class NamedCell(Conditions):
    """A cell."""

    server: str
    """The server's name in the catalogue."""


def conditions(cell: Cell) -> Conditions:
    """A cell without its server."""
    load: LoadConditions = (
        {"users": cell.users} if cell.rate is None else {"rate": cell.rate, "arrivals": cell.arrivals}
    )
    return {
        "workload": cell.workload,
        "cores": cell.cores or None,
        **load,
        "connection": cell.connection,
        **circumstances(cell.circumstances),
    }


def circumstances(given: Circumstances | None) -> CircumstancesKeys:
    """What else holds, key by key."""
    known = {} if given is None else {each.name: getattr(given, each.name) for each in fields(given)}
    return cast("CircumstancesKeys", {key: value for key, value in known.items() if value is not None})


def named(cell: Cell) -> NamedCell:
    """A cell, its server first."""
    return {"server": cell.server, **conditions(cell)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """A value with a cell is written with the keys of that cell before its own, and without the cell. The server comes
    first, or last of them."""

    server_first: bool = False

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.wrap_serializer_function_ser_schema(self._written)
        return cast("CoreSchema", {**handler(source), "serialization": written})

    def _written(self, value: Any, handler: Callable[[object], dict[str, object]]) -> Mapping[str, object]:
        cell: Cell = value.cell
        keys = named(cell) if self.server_first else {**conditions(cell), "server": cell.server}
        return {**keys, **{key: each for key, each in handler(value).items() if key != "cell"}}

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        own = handler.resolve_ref_schema(handler(schema))
        cell = handler.resolve_ref_schema(handler(TypeAdapter(NamedCell).core_schema))
        properties = {**cell["properties"], **own["properties"]}
        del properties["cell"]
        required = [*cell["required"], *(key for key in own["required"] if key != "cell")]
        return {**own, "properties": properties, "required": required}
