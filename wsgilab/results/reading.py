"""What a results folder says, as values: text in, a `Run` or an `Observation` out, and nothing that is unsound. Pure.

A results folder may come from a stranger. The types of the values say what each may be (`wsgilab.model.limits`), and pydantic
holds a file against them; `checks` has what goes with what; `histogram` and the reader of YAML see that what is decoded stays
small. So code that computes with a `Run` and its observations may rely on them: names are names, cores are cores, every number
is one that arithmetic can take, and no text holds characters that do not print.
"""

import functools
import json
from collections.abc import Callable
from typing import Any, TypeVar

from wsgilab.experiment.parsing import adapter, complaint, load_yaml, short
from wsgilab.model import SCHEMA, Duet, Observation, Run
from wsgilab.model.errors import SpecError, StoreError
from wsgilab.model.text import visible
from wsgilab.results.checks import check_duet, check_observation, check_run, machines

DAMAGED = "the file was changed or damaged; get it again from where it was measured"
"""What to do about a file that cannot be relied on."""

_Record = TypeVar("_Record")


def dump_run(run: Run) -> Any:
    """`run` as a document of plain values."""
    return adapter(Run).dump_python(run, mode="json")


def dump_observation(observation: Observation) -> bytes:
    """`observation` as a line, without its end. Raises ValueError where it holds what no line can."""
    return adapter(Observation).dump_json(observation)


def dump_duet(duet: Duet) -> bytes:
    """The same of a duet."""
    return adapter(Duet).dump_json(duet)


@functools.lru_cache(maxsize=2)
def run(content: bytes, source: str, remedy: str = DAMAGED) -> Run:
    """What `run.yaml` says. Raises StoreError naming `source`, the line or the key, and `remedy`.

    The last two are kept: a run reads its own ten times, and one of 1,000 cells takes a second to parse.
    """
    try:
        given = load_yaml(content, source, aliases=False)
    except SpecError as error:
        raise StoreError(f"{error.message}; {remedy}") from None
    schema = given.get("schema") if isinstance(given, dict) else None
    if schema != SCHEMA:
        raise StoreError(
            f"{source}: has results of schema {short(schema)}, but this lab reads schema {SCHEMA}; "
            "use the version of the lab that wrote it"
        )
    try:
        found = adapter(Run).validate_python(_visible_but_for_application(given))
        check_run(found)
    except ValueError as error:
        raise StoreError(f"{source}: {complaint(error, Run)}; {remedy}") from None
    return found


def observations(of: Run, remedy: str = DAMAGED) -> Callable[[bytes, str], Observation]:
    """What reads the lines of the run's `observations.jsonl`, each without its end and with the name of its place.

    It raises StoreError with that name, what is wrong, and `remedy`.
    """
    known = frozenset(of.experiment.cells), machines(of)
    return _reader(Observation, lambda each: check_observation(each, of, *known), "is no observation", remedy)


def duets(of: Run, remedy: str = DAMAGED) -> Callable[[bytes, str], Duet]:
    """The same for `duets.jsonl`."""
    known = frozenset(of.experiment.cells), machines(of)
    return _reader(Duet, lambda each: check_duet(each, of, *known), "is no duet", remedy)


def _reader(
    kind: type[_Record], check: Callable[[_Record], None], problem: str, remedy: str
) -> Callable[[bytes, str], _Record]:
    def read(line: bytes, source: str) -> _Record:
        try:
            record = adapter(kind).validate_python(_visible(_from_json(line)))
            check(record)
        except ValueError as error:
            raise StoreError(f"{source}: {problem}: {complaint(error, kind)}; {remedy}") from None
        return record

    return read


def _from_json(line: bytes) -> Any:
    try:
        return json.loads(line.decode(), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("cannot be read as JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"cannot be read as JSON ({short(error, quoted=False, most=120)})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {short(next(key for key in keys if keys.count(key) > 1))} is given twice")
    return found


def _visible_but_for_application(given: dict[Any, Any]) -> Any:
    """As `_visible`; but what users send must stay as it is. Their types say which of an application's texts print."""
    experiment = given.get("experiment")
    if not isinstance(experiment, dict) or "application" not in experiment:
        return _visible(given)
    others = {key: value for key, value in experiment.items() if key != "application"}
    found = _visible({**given, "experiment": others})
    found["experiment"]["application"] = experiment["application"]
    return found


def _visible(value: Any) -> Any:
    """A document of plain values, with all that does not print spelt out in its texts."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_visible(each) for each in value]
    if isinstance(value, dict):
        return {_visible(key): _visible(each) for key, each in value.items()}
    return value
