"""`against.yaml`: two runs beside each other, for a machine. What its keys mean stands in `wsgilab.report.ab.shape`."""

from collections.abc import Mapping

import yaml

from wsgilab.model import SCHEMA, Cell, CellOfRuns, CellResult, CommonShift, Interval, Run, RunsComparison
from wsgilab.report.ab.shape import AgainstFile, CellOfRunsEntry, NamedCell, RunOfTwo, ShiftEntry, SideEntry
from wsgilab.report.document import conditions, interval
from wsgilab.report.identity import identity


def runs_yaml(comparison: RunsComparison) -> Mapping[str, bytes]:
    """The two as YAML; figures rounded to what the method can tell."""
    shift, core_speed = comparison.shift, comparison.core_speed
    document: AgainstFile = {
        "schema": SCHEMA,
        "same_run": comparison.same,
        "runs": {"a": _run(comparison.a), "b": _run(comparison.b)},
        "differences": [
            {"what": each.what, "a": each.a, "b": each.b, "weight": each.weight} for each in comparison.differences
        ],
        "blocks_needed": comparison.blocks_needed,
        "core_speed": None if core_speed is None else round(core_speed, 3),
        "all_together": None if shift is None else _shift(shift),
        "cells": [_cell(cell) for cell in comparison.cells],
        "only_in": {"a": list(map(_named, comparison.only_a)), "b": list(map(_named, comparison.only_b))},
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return {"against.yaml": text.encode()}


def _run(run: Run) -> RunOfTwo:
    return {
        **identity(run),
        "lab": run.lab,
        "blocks": run.experiment.blocks,
        "window_s": run.experiment.window_s,
        "cpu_iterations": run.cpu_iterations,
        "notes": list(run.notes),
    }


def _shift(shift: CommonShift) -> ShiftEntry:
    return {
        "cells": shift.cells,
        "speed": round(shift.speed, 3),
        "faster": shift.faster,
        "slower": shift.slower,
        "direction": shift.direction,
    }


def _named(cell: Cell) -> NamedCell:
    return {"server": cell.server, **conditions(cell)}


def _cell(cell: CellOfRuns) -> CellOfRunsEntry:
    return {
        **_named(cell.cell),
        "metric": cell.metric,
        "a": _side(cell.a, cell.figure_a),
        "b": _side(cell.b, cell.figure_b),
        "work": round(cell.work, 4),
        "ratio": None if cell.ratio is None else interval(cell.ratio, 3),
        "exact": cell.exact,
        "beside_others": None if cell.beside_others is None else round(cell.beside_others, 3),
        "verdict": cell.verdict,
        "same": cell.same,
        "detectable": None if cell.detectable is None else round(cell.detectable, 4),
        "refused": cell.refused or None,
        "warnings": list(cell.warnings),
    }


def _side(result: CellResult, figure: Interval | None) -> SideEntry:
    return {
        "blocks": result.blocks,
        "figure": None if figure is None else interval(figure, 1),
        "bound_by": None if result.figures is None else result.figures.bound_by,
        "broken_gates": list(result.broken_gates),
        "warnings": list(result.warnings),
    }
