"""`against.yaml`, schema 1: two runs beside each other, for a program. Keys may be added; those that are there stay."""

from collections.abc import Mapping
from typing import Annotated

from typing_extensions import TypedDict  # typing's own tells pydantic too little before Python 3.12

from wsgilab.model import SCHEMA, CapacityOfRuns, CellOfRuns, CommonShift, Difference, Run, RunsComparison, Versions
from wsgilab.model.rounding import Digits
from wsgilab.report.yaml import Flat, Identity, NamedCell, dump, entry, named


class RunOfTwo(Identity):
    """One of the two runs."""

    lab: str
    blocks: int
    """Planned passes over every cell."""
    window_s: float
    """Seconds of each window."""
    cpu_iterations: int | None
    notes: tuple[str, ...]


class BothRuns(TypedDict):
    """A is the one before, or the other machine; ratios are B over A."""

    a: RunOfTwo
    """The first that was named."""
    b: RunOfTwo
    """The second."""


class OnlyIn(TypedDict):
    """Cells that one of the runs does not have."""

    a: list[NamedCell]
    """Only in A."""
    b: list[NamedCell]
    """Only in B."""


class AgainstFile(TypedDict):
    """Two runs of wsgilab beside each other."""

    schema: int
    """The version of this file's shape: 1."""
    same_run: bool
    """Both are one and the same run."""
    runs: BothRuns
    """Which they are."""
    versions: Versions | None
    """Of what A and B are, where one run has measured both in turns, block by block; null for two runs."""
    differences: tuple[Difference, ...]
    """What bears on cells that both have, those that weigh most first."""
    blocks_needed: int
    """With so many blocks of a cell in each run its interval is exact."""
    core_speed: Annotated[float | None, Digits(3)]
    """The work that a core did in B for each unit in A, in the same time, when each was calibrated; null where one was
    not."""
    all_together: CommonShift | None
    """Null where nothing is concluded from any cell."""
    cells: tuple[Annotated[CellOfRuns, Flat(server_first=True)], ...]
    """Those that both have."""
    capacities: tuple[Annotated[CapacityOfRuns, Flat(server_first=True)], ...]
    """Of servers that both have, where both runs look for capacity; else empty."""
    only_in: OnlyIn
    """Those that one has."""


def runs_yaml(comparison: RunsComparison) -> Mapping[str, bytes]:
    """The two as YAML; figures rounded to what the method can tell."""
    document: AgainstFile = {
        "schema": SCHEMA,
        "same_run": comparison.same,
        "runs": {"a": _run(comparison.a), "b": _run(comparison.b)},
        "versions": comparison.versions,
        "differences": comparison.differences,
        "blocks_needed": comparison.blocks_needed,
        "core_speed": comparison.core_speed,
        "all_together": comparison.shift,
        "cells": comparison.cells,
        "capacities": comparison.capacities,
        "only_in": {"a": list(map(named, comparison.only_a)), "b": list(map(named, comparison.only_b))},
    }
    return {"against.yaml": dump(document, AgainstFile)}


def _run(run: Run) -> RunOfTwo:
    planned = run.experiment
    return entry(RunOfTwo, run, experiment=planned.name, blocks=planned.blocks, window_s=planned.window_s)
