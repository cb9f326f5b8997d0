"""JSON Schemas (draft 2020-12) of the files that people edit and of `comparison.yaml`, for editors and for programs.

They follow from the very types that these files are held against and written with. What describes a key is the
docstring under it. `python -m wsgilab.commands.schemas schemas` writes them into the folder `schemas`; `make schemas` does that.
"""

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from wsgilab.analysis.claims.entries import ClaimsFile
from wsgilab.experiment import catalogue
from wsgilab.experiment.application import ApplicationFile
from wsgilab.experiment.file import ExperimentFile
from wsgilab.experiment.own_catalogue import CatalogueFile
from wsgilab.experiment.site import SiteFile
from wsgilab.experiment.space import SpaceFile
from wsgilab.model import Advice, BudgetOutcome, CapacityGroup, CapacityOutcome, CellFigures, Run, TuneOutcome
from wsgilab.report.ab.yaml import AgainstFile
from wsgilab.report.comparison import (
    AdviceEntry,
    BudgetEntry,
    CapacityEntry,
    CapacityGroupEntry,
    ComparisonFile,
    FiguresEntry,
    InFlightEntry,
    Intervals,
    TuneEntry,
)
from wsgilab.report.yaml import Identity

Json = dict[str, Any]
"""A JSON Schema; what it holds is JSON Schema's affair."""

_VALUES: Mapping[type, type] = {
    Identity: Run,
    FiguresEntry: CellFigures,
    InFlightEntry: CellFigures,
    Intervals: CellFigures,
    TuneEntry: TuneOutcome,
    AdviceEntry: Advice,
    BudgetEntry: BudgetOutcome,
    CapacityEntry: CapacityOutcome,
    CapacityGroupEntry: CapacityGroup,
}
"""A part of a document -> the value whose attributes describe those of its keys that have no docstring."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> Mapping[str, bytes]:
    """File name -> the schema, as JSON."""
    made = {
        "application.json": _of(ApplicationFile),
        "experiment.json": _of(ExperimentFile),
        "catalogue.json": _of(CatalogueFile),
        "space.json": _of(SpaceFile),
        "claims.json": _of(ClaimsFile),
        "site.json": _of(SiteFile),
        "servers.json": _services(
            catalogue.ServerLab, "The catalogue of wsgilab: a Compose file with one service for each server."
        ),
        "backends.json": _services(
            catalogue.BackendLab, "What requests wait for in wsgilab: a Compose file with one service for each backend."
        ),
        "comparison.json": _of(ComparisonFile, "serialization"),
        "against.json": _of(AgainstFile, "serialization"),
    }
    return {name: (json.dumps(schema, indent=2, ensure_ascii=False) + "\n").encode() for name, schema in made.items()}


def write(folder: Path) -> None:
    """Write every schema into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in schemas().items():
        (folder / name).write_bytes(content)


def _of(kind: type, mode: JsonSchemaMode = "validation") -> Json:
    return {"$schema": DIALECT, **TypeAdapter(kind).json_schema(schema_generator=_Described, mode=mode)}


def _services(lab: type, description: str) -> Json:
    """Of a Compose file whose services have a stanza `x-lab`. Compose's own keys are left to Compose."""
    words = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    stanza = _of(lab)
    return {
        "$schema": stanza.pop("$schema"),
        "description": description,
        "type": "object",
        "required": ["services"],
        "properties": {
            "services": {
                "description": "By name: lower-case letters, digits and hyphens.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": f"^(?:{catalogue.NAME.pattern})$"},
                "additionalProperties": {
                    "type": "object",
                    "required": ["command", "x-lab"],
                    "properties": {
                        "command": {"description": "What a user would type, word by word.", **words},
                        "x-lab": stanza,
                    },
                },
            }
        },
    }


class _Described(GenerateJsonSchema):
    """Pydantic's schema with the docstrings of keys, those of base classes too, and without titles that repeat them."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic calls it so
        return False

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        if "default_factory" in schema:
            return schema["default_factory"]()  # type: ignore[call-arg]  # a dataclass' takes nothing
        return super().get_default_value(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        # A document has every key, whatever the default of its value.
        return self.generate_inner(schema["schema"]) if self.mode == "serialization" else super().default_schema(schema)

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        described = _described(super().dataclass_schema(schema), schema["cls"])
        if self.mode == "serialization":
            # A document has every key of a value, and others may be added.
            described["required"] = list(described["properties"])
            described.pop("additionalProperties", None)
        return described

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        # Keys that the pattern does not have are refused, and not left to themselves.
        return {**found, "additionalProperties": False} if "patternProperties" in found else found

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        return _described(super().typed_dict_schema(schema), schema["cls"])


def _described(schema: Json, kind: type) -> Json:
    about = {key: text for base in reversed(_bases(kind)) for key, text in _docstrings(base).items()}
    properties = {
        key: {"description": about[key], **value} if key in about else value
        for key, value in schema["properties"].items()
    }
    return {**schema, "description": _sentence(kind.__doc__ or ""), "properties": properties}


def _bases(kind: type) -> Sequence[type]:
    """The class and those that describe its keys, itself first. A TypedDict has its bases in a place of its own."""
    own = getattr(kind, "__orig_bases__", kind.__bases__)
    further = [each for base in own if isinstance(base, type) and base is not object for each in _bases(base)]
    return [kind, *further, *([_VALUES[kind]] if kind in _VALUES else [])]


def _docstrings(kind: type) -> Mapping[str, str]:
    """Key -> the docstring under it in the class' source."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for key, text in pairwise(definition.body):
        match key, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as description)),
            ):
                found[name] = _sentence(description)
    return found


def _sentence(docstring: str) -> str:
    """A docstring without its line breaks."""
    return " ".join(docstring.split())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
