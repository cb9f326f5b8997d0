"""`comparison.yaml`: the machine's answer, schema 1. Keys may be added; those that are there stay."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from wsgilab.model import Cell, CellFigures, CellResult, Comparison, Interval, PairResult, Run


def comparison_yaml(comparison: Comparison) -> Mapping[str, bytes]:
    """The comparison as YAML; figures rounded to what the method can tell."""
    run = comparison.run
    document = {
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
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return {"comparison.yaml": text.encode()}


def identity(run: Run) -> dict[str, Any]:
    """Which run it was, and on what machine."""
    return {
        "id": run.id,
        "experiment": run.experiment.name,
        "runtime": run.runtime,
        "seed": run.seed,
        "started": run.started,
        "host": {**asdict(run.host), "siblings": list(run.host.siblings)},
        "server_cpus": dict(run.server_cpus),
        "generator_cpus": run.generator_cpus,
        "backend_cpus": run.backend_cpus,
    }


FIGURE_KEYS = [
    "rank",
    "in_flight",
    "throughput_rps",
    "latency_ms",
    "service_ms",
    "limit_rps",
    "limit_share",
    "cpu_ms_per_request",
    "server_cpu",
    "generator_cpu",
    "backend_cpu",
    "resident_mb",
    "os_threads",
    "failures",
    "cut_off",
    "late",
    "slow_connections",
    "bound_by",
    "because",
    "intervals",
]


def conditions(cell: Cell) -> dict[str, Any]:
    """A cell without its server."""
    load = {"users": cell.users} if cell.rate is None else {"rate": cell.rate, "arrivals": cell.arrivals}
    return {"workload": cell.workload, "cores": cell.cores, **load, "connection": cell.connection}


def _cell(result: CellResult) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "server": result.cell.server,
        **conditions(result.cell),
        "slots": "unbounded" if result.slots is None else result.slots,
    }
    figures = result.figures
    # Not measured: every key is there, and says so.
    entry |= dict.fromkeys(FIGURE_KEYS) if figures is None else {"rank": result.rank, **_figures(figures)}
    return {
        **entry,
        "blocks": result.blocks,
        "broken_gates": list(result.broken_gates),
        "warnings": list(result.warnings),
    }


def _figures(figures: CellFigures) -> dict[str, Any]:
    """The medians, and the intervals that they have beside them."""
    intervals = {
        "mean_in_flight": interval(figures.mean_in_flight, 2),
        **{f"latency_{name}_ms": interval(each, 1) for name, each in figures.latency_blocks_ms.items()},
        "service_ms": interval(figures.service_ms, 3),
        "generator_cpu": interval(figures.generator_cpu, 3),
    }
    read = {
        "server_cpu": figures.server_cpu,
        "backend_cpu": figures.backend_cpu,
        "cpu_ms_per_request": figures.cpu_ms_per_request,
    }
    intervals |= {name: interval(each, 3) for name, each in read.items() if each is not None}
    return {
        "in_flight": {
            "peak": figures.peak,
            "mean": round(figures.mean_in_flight.median, 2),
            "processes": figures.processes,
            "threads": figures.threads,
            "busiest_share": _rounded(figures.busiest_share, 2),
        },
        "throughput_rps": interval(figures.throughput_rps, 1),
        "latency_ms": {name: round(value, 1) for name, value in figures.latency_ms.items()},
        "service_ms": round(figures.service_ms.median, 3),
        "limit_rps": _rounded(figures.limit_rps, 1),
        "limit_share": _rounded(figures.limit_share, 3),
        "cpu_ms_per_request": _rounded(_median(figures.cpu_ms_per_request), 3),
        "server_cpu": _rounded(_median(figures.server_cpu), 3),
        "generator_cpu": round(figures.generator_cpu.median, 3),
        "backend_cpu": _rounded(_median(figures.backend_cpu), 3),
        "resident_mb": _rounded(figures.resident_mb, 1),
        "os_threads": figures.os_threads,
        "failures": figures.failures,
        "cut_off": figures.cut_off,
        "late": figures.late,
        "slow_connections": figures.slow_connections,
        "bound_by": figures.bound_by,
        "because": figures.because,
        "intervals": intervals,
    }


def _pair(pair: PairResult) -> dict[str, Any]:
    return {
        **conditions(pair.cell),
        "server": pair.cell.server,
        "reference": pair.reference,
        "metric": pair.metric,
        "blocks": pair.blocks,
        "ratio": interval(pair.ratio, 3),
        "verdict": pair.verdict,
        "broken_gates": list(pair.broken_gates),
    }


def _median(interval: Interval | None) -> float | None:
    return None if interval is None else interval.median


def interval(of: Interval, digits: int) -> dict[str, float | None]:
    return {
        "median": round(of.median, digits),
        "low": _rounded(of.low, digits),
        "high": _rounded(of.high, digits),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
