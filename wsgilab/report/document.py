"""`comparison.yaml`: the machine's answer. What its keys mean stands in `wsgilab.report.shape`."""

from collections.abc import Mapping
from typing import cast

import yaml

from wsgilab.model import (
    Advice,
    Cell,
    CellFigures,
    CellResult,
    Comparison,
    Drift,
    Interval,
    MachineEffect,
    PairResult,
    Place,
    Scaling,
)
from wsgilab.report.identity import identity
from wsgilab.report.shape import (
    AdviceEntry,
    CellEntry,
    ComparisonFile,
    Conditions,
    DriftEntry,
    Figures,
    IntervalEntry,
    Intervals,
    LatencyEntry,
    MachineEffectEntry,
    PairEntry,
    ScalingEntry,
)

FIGURE_KEYS = list(Figures.__annotations__)


def comparison_yaml(comparison: Comparison) -> Mapping[str, bytes]:
    """The comparison as YAML; figures rounded to what the method can tell."""
    run = comparison.run
    document: ComparisonFile = {
        "schema": run.schema,
        "run": {
            **identity(run),
            "interleaved": comparison.interleaved,
            "trials": {"planned": comparison.trials, "measured": comparison.measured, "failed": comparison.failed},
            "window_s": round(comparison.window_s, 1),
            "confidence": round(comparison.confidence, 4),
            "blocks_needed": comparison.blocks_needed,
            "notes": list(run.notes),
        },
        "cells": [_cell(result) for result in comparison.cells],
        "comparisons": [_pair(pair) for pair in comparison.pairs],
        "scaling": [_scaling(each) for each in comparison.scaling],
        "drift": [_drift(each) for each in comparison.drift],
        "machines": [_effect(each) for each in comparison.machines],
        "advice": [_advice(each) for each in comparison.advice],
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return {"comparison.yaml": text.encode()}


def conditions(cell: Cell) -> Conditions:
    """A cell without its server."""
    if cell.rate is None:
        return {
            "workload": cell.workload,
            "cores": cell.cores,
            "users": cell.users,
            "connection": cell.connection,
        }
    return {
        "workload": cell.workload,
        "cores": cell.cores,
        "rate": cell.rate,
        "arrivals": cell.arrivals,
        "connection": cell.connection,
    }


def _cell(result: CellResult) -> CellEntry:
    # Not measured: every key is there, and says so.
    unmeasured = cast("Figures", dict.fromkeys(FIGURE_KEYS))
    return {
        "server": result.cell.server,
        **conditions(result.cell),
        "slots": "unbounded" if result.slots is None else result.slots,
        **(unmeasured if result.figures is None else _figures(result.figures, result.rank)),
        "blocks": result.blocks,
        "broken_gates": list(result.broken_gates),
        "warnings": list(result.warnings),
    }


def _figures(figures: CellFigures, rank: Place | None) -> Figures:
    """The medians, and the intervals that they have beside them."""
    return {
        "rank": None if rank is None else rank.first,
        "rank_last": None if rank is None else rank.last,
        "in_flight": {
            "peak": figures.peak,
            "mean": round(figures.mean_in_flight.median, 2),
            "processes": figures.processes,
            "threads": figures.threads,
            "busiest_share": _rounded(figures.busiest_share, 2),
        },
        "process_shares": [round(share, 3) for share in figures.process_shares],
        "throughput_rps": interval(figures.throughput_rps, 1),
        "latency_ms": cast("LatencyEntry", {name: round(value, 1) for name, value in figures.latency_ms.items()}),
        "service_ms": round(figures.service_ms.median, 3),
        "limit_rps": _rounded(figures.limit_rps, 1),
        "limit_share": _rounded(figures.limit_share, 3),
        "cpu_ms_per_request": _rounded(_median(figures.cpu_ms_per_request), 3),
        "server_cpu": _rounded(_median(figures.server_cpu), 3),
        "generator_cpu": round(figures.generator_cpu.median, 3),
        "server_others": _rounded(_median(figures.server_others), 3),
        "generator_others": _rounded(_median(figures.generator_others), 3),
        "backend_cpu": _rounded(_median(figures.backend_cpu), 3),
        "resident_mb": _rounded(figures.resident_mb, 1),
        "os_threads": figures.os_threads,
        "failures": figures.failures,
        "cut_off": figures.cut_off,
        "late": figures.late,
        "slow_connections": figures.slow_connections,
        "reopened": figures.reopened,
        "round_trip_ms": _rounded(_median(figures.round_trip_ms), 3),
        "received_mbps": _rounded(_median(figures.received_mbps), 1),
        "resent_share": _rounded(figures.resent_share, 4),
        "bound_by": figures.bound_by,
        "because": figures.because,
        "intervals": _intervals(figures),
    }


def _intervals(figures: CellFigures) -> Intervals:
    latency = {f"latency_{name}_ms": interval(each, 1) for name, each in figures.latency_blocks_ms.items()}
    found: Intervals = {
        "mean_in_flight": interval(figures.mean_in_flight, 2),
        **cast("Intervals", latency),
        "service_ms": interval(figures.service_ms, 3),
        "generator_cpu": interval(figures.generator_cpu, 3),
    }
    if figures.server_cpu is not None:
        found["server_cpu"] = interval(figures.server_cpu, 3)
    if figures.backend_cpu is not None:
        found["backend_cpu"] = interval(figures.backend_cpu, 3)
    if figures.cpu_ms_per_request is not None:
        found["cpu_ms_per_request"] = interval(figures.cpu_ms_per_request, 3)
    if figures.round_trip_ms is not None:
        found["round_trip_ms"] = interval(figures.round_trip_ms, 3)
    if figures.received_mbps is not None:
        found["received_mbps"] = interval(figures.received_mbps, 1)
    return found


def _pair(pair: PairResult) -> PairEntry:
    return {
        **conditions(pair.cell),
        "server": pair.cell.server,
        "reference": pair.reference,
        "metric": pair.metric,
        "blocks": pair.blocks,
        "ratio": interval(pair.ratio, 3),
        "verdict": pair.verdict,
        "same": pair.same,
        "broken_gates": list(pair.broken_gates),
    }


def _scaling(scaling: Scaling) -> ScalingEntry:
    return {
        **conditions(scaling.cell),
        "server": scaling.cell.server,
        "over_cores": scaling.over_cores,
        "blocks": scaling.blocks,
        "ratio": interval(scaling.ratio, 3),
    }


def _drift(drift: Drift) -> DriftEntry:
    return {
        "block": drift.block,
        "started": drift.started,
        "trials": drift.trials,
        "throughput": interval(drift.throughput, 3),
        "cpu_time": None if drift.cpu_time is None else interval(drift.cpu_time, 3),
    }


def _effect(effect: MachineEffect) -> MachineEffectEntry:
    return {"machine": effect.machine, "blocks": effect.blocks, "throughput": interval(effect.throughput, 3)}


def _advice(advice: Advice) -> AdviceEntry:
    wish = advice.wish
    return {
        **conditions(advice.group),
        "workloads": list(advice.workloads),
        "wish": {"workload": wish.workload, "p95_ms": wish.p95_ms, "memory_mb": wish.memory_mb},
        "server": advice.server,
        "tied": list(advice.tied),
        "why": advice.why,
        "runner_up": advice.runner_up,
        "costs": advice.costs,
        "changes": list(advice.changes),
        "left_out": dict(advice.left_out),
    }


def _median(interval: Interval | None) -> float | None:
    return None if interval is None else interval.median


def interval(of: Interval, digits: int) -> IntervalEntry:
    return {
        "median": round(of.median, digits),
        "low": _rounded(of.low, digits),
        "high": _rounded(of.high, digits),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
