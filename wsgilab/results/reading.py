"""What a results folder says, as values: text in, a `Run` or an `Observation` out, and nothing that is unsound. Pure.

A results folder may come from a stranger. Shape is the dataclasses' (pydantic holds a file against them); `bounds` and
`ranges` have what shape does not tell; `histogram` and `document` see that what is decoded stays small. So whoever
computes with a `Run` and its observations may rely on them: names are names, cores are cores, every number is one that
arithmetic stands, and no text holds characters that do not print.
"""

import json
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from wsgilab.model import SCHEMA, Observation, Run
from wsgilab.model.errors import StoreError
from wsgilab.model.text import visible
from wsgilab.results import bounds, document
from wsgilab.results.unsound import Unsound, short

__all__ = ["DAMAGED", "dump_observation", "dump_run", "observations", "run"]

_RUN = TypeAdapter(Run)
_OBSERVATION = TypeAdapter(Observation)

DAMAGED = "the file was changed or damaged; get it again from where it was measured"
"""What to do about a file that cannot be relied on."""


def dump_run(run: Run) -> Any:
    """`run` as a document of plain values."""
    return _RUN.dump_python(run, mode="json")


def dump_observation(observation: Observation) -> bytes:
    """`observation` as a line, without its end. Raises ValueError where it holds what no line can."""
    return _OBSERVATION.dump_json(observation)


def run(content: bytes, source: str, remedy: str = DAMAGED) -> Run:
    """What `run.yaml` says. Raises StoreError naming `source`, the line or the key, and `remedy`."""
    try:
        given = document.load(content)
    except Unsound as error:
        raise StoreError(f"{source}{error.where}: {error}; {remedy}") from None
    schema = given.get("schema") if isinstance(given, dict) else None
    if schema != SCHEMA:
        raise StoreError(
            f"{source}: has results of schema {short(schema)}, but this lab reads schema {SCHEMA}; "
            "use the version of the lab that wrote it"
        )
    try:
        found = _RUN.validate_python(_visible(given))
        bounds.check_run(found)
    except ValidationError as error:
        raise StoreError(f"{source}: {_first(error)}; {remedy}") from None
    except Unsound as error:
        raise StoreError(f"{source}: {error.where}: {error}; {remedy}") from None
    return found


def observations(of: Run, remedy: str = DAMAGED) -> Callable[[bytes, str], Observation]:
    """What reads the lines of the run's `observations.jsonl`, each without its end and with the name of its place.

    It raises StoreError with that name, what is wrong, and `remedy`.
    """
    cells, machines = frozenset(of.experiment.cells), bounds.machines(of)

    def read(line: bytes, source: str) -> Observation:
        try:
            given = json.loads(line.decode(), object_pairs_hook=_unique)
            observation = _OBSERVATION.validate_python(_visible(given))
            bounds.check_observation(observation, of, cells, machines)
        except ValidationError as error:
            raise StoreError(f"{source}: is no observation: {_first(error)}; {remedy}") from None
        except Unsound as error:
            raise StoreError(f"{source}: is no observation: {error.where}: {error}; {remedy}") from None
        except (ValueError, RecursionError) as error:
            told = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            why = short(told, quoted=False, most=120)
            raise StoreError(f"{source}: is no observation: cannot be read as JSON ({why}); {remedy}") from None
        return observation

    return read


def _first(error: ValidationError) -> str:
    """The first of pydantic's complaints: the key, and what is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"]))
    return f"{short(key, quoted=False)}: {first['msg'][:1].lower()}{first['msg'][1:]}" if key else first["msg"].lower()


def _visible(value: Any) -> Any:
    """A document of plain values, its texts with every character to be seen."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_visible(each) for each in value]
    if isinstance(value, dict):
        return {_visible(key): _visible(each) for key, each in value.items()}
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {short(next(key for key in keys if keys.count(key) > 1))} is given twice")
    return found
