"""`comparison.yaml`: the machine's answer, schema 1. Keys may be added; those that are there stay."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from wsgilab.model import CellResult, Comparison, Interval, PairResult


def comparison_yaml(comparison: Comparison) -> Mapping[str, bytes]:
    """The comparison as YAML; figures rounded to what the method can tell."""
    run = comparison.run
    document = {
        "schema": run.schema,
        "run": {
            "id": run.id,
            "experiment": run.experiment.name,
            "runtime": run.runtime,
            "seed": run.seed,
            "started": run.started,
            "host": {**asdict(run.host), "siblings": list(run.host.siblings)},
            "server_cpus": dict(run.server_cpus),
            "generator_cpus": run.generator_cpus,
            "trials": {"planned": comparison.trials, "measured": comparison.measured, "failed": comparison.failed},
            "notes": list(run.notes),
        },
        "cells": [_cell(result) for result in comparison.cells],
        "comparisons": [_pair(pair) for pair in comparison.pairs],
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return {"comparison.yaml": text.encode()}


FIGURE_KEYS = [
    "in_flight",
    "throughput_rps",
    "latency_ms",
    "service_ms",
    "limit_rps",
    "cpu_ms_per_request",
    "server_cpu",
    "generator_cpu",
    "resident_mb",
    "failures",
    "cut_off",
    "bound_by",
]


def _cell(result: CellResult) -> dict[str, Any]:
    cell = result.cell
    entry: dict[str, Any] = {
        "server": cell.server,
        "cores": cell.cores,
        "workload": cell.workload,
        "users": cell.users,
        "connection": cell.connection,
        "slots": "unbounded" if result.slots is None else result.slots,
    }
    figures = result.figures
    if figures is None:
        # Not measured: every key is there, and says so.
        entry |= dict.fromkeys(FIGURE_KEYS)
    else:
        entry |= {
            "in_flight": {
                "peak": figures.peak,
                "mean": round(figures.mean_in_flight, 2),
                "processes": figures.processes,
                "threads": figures.threads,
                "busiest_share": _rounded(figures.busiest_share, 2),
            },
            "throughput_rps": _interval(figures.throughput_rps, 1),
            "latency_ms": {name: round(value, 1) for name, value in figures.latency_ms.items()},
            "service_ms": round(figures.service_ms, 3),
            "limit_rps": _rounded(figures.limit_rps, 1),
            "cpu_ms_per_request": _rounded(figures.cpu_ms_per_request, 3),
            "server_cpu": _rounded(figures.server_cpu, 3),
            "generator_cpu": round(figures.generator_cpu, 3),
            "resident_mb": _rounded(figures.resident_mb, 1),
            "failures": figures.failures,
            "cut_off": figures.cut_off,
            "bound_by": figures.bound_by,
        }
    return {**entry, "blocks": result.blocks, "warnings": list(result.warnings)}


def _pair(pair: PairResult) -> dict[str, Any]:
    return {
        "workload": pair.workload,
        "cores": pair.cores,
        "users": pair.users,
        "connection": pair.connection,
        "server": pair.server,
        "reference": pair.reference,
        "ratio": _interval(pair.ratio, 3),
        "verdict": pair.verdict,
    }


def _interval(interval: Interval, digits: int) -> dict[str, float | None]:
    return {
        "median": round(interval.median, digits),
        "low": _rounded(interval.low, digits),
        "high": _rounded(interval.high, digits),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
