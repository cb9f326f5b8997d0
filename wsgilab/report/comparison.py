"""`comparison.yaml`, schema 1: what a run says, for a program. Keys may be added; those that are there stay."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, cast

from typing_extensions import TypedDict  # typing's own tells pydantic too little before Python 3.12

from wsgilab.model import (
    AdviceReason,
    Arrivals,
    BoundBy,
    CapacityRatio,
    CellFigures,
    CellResult,
    Comparison,
    Drift,
    Gate,
    Interval,
    LatencyParts,
    MachineEffect,
    OpenComparison,
    PairResult,
    Place,
    Prediction,
    RequestFigures,
    ScalabilityLaw,
    Scaling,
    ServerCapacity,
    ServerContrast,
    TieBreak,
    TuneEnd,
    WarningKind,
    Wish,
)
from wsgilab.model.rounding import Digits, Median
from wsgilab.report import tune
from wsgilab.report.findings import FindingKind, findings
from wsgilab.report.recommendation import Recommendation, recommendations
from wsgilab.report.tables import check_columns
from wsgilab.report.yaml import Conditions, Flat, Identity, NamedCell, conditions, dump, entry, named, plain


class TrialCounts(TypedDict):
    """How many trials there were: one cell in one block each."""

    planned: int
    """As far as it is known: with `precision` or a budget, those of the blocks that were begun."""
    measured: int
    """Those that have figures."""
    failed: int
    """Those that have none; the cells' warnings say why."""


class RunEntry(Identity):
    """The run, and what its intervals are worth."""

    interleaved: bool
    """False for an interactive session, one test after the other: figures, but no comparison."""
    trials: TrialCounts
    """How many were planned, measured and failed."""
    window_s: Annotated[float, Digits(1)]
    """Seconds of windows, over all measured trials."""
    confidence: Annotated[float, Digits(4)]
    """The chance that the interval of a cell's figure holds its true median: less than 0.95 with few blocks."""
    notes: tuple[str, ...]


class InFlightEntry(TypedDict):
    """Requests inside the application at one moment, and who served them."""

    peak: int
    mean: Annotated[Interval, Median(2)]
    """Weighted by time."""
    processes: int
    threads: int
    busiest_share: Annotated[float | None, Digits(2)]


class LatencyEntry(TypedDict, total=False):
    """Milliseconds from a request's begin, or when it was due, to its whole answer, over all blocks together."""

    p50: float
    """Half of the requests took so many milliseconds at most."""
    p95: float
    """95 % of the requests did."""
    p99: float
    """99 % of the requests did."""
    max: float
    """The longest."""


class Intervals(TypedDict):
    """The intervals of figures that stand beside them as medians alone; one that was not read has none."""

    mean_in_flight: Annotated[Interval, Digits(2)]
    latency_p50_ms: NotRequired[Annotated[Interval, Digits(1)]]
    """Of each block's own median."""
    latency_p95_ms: NotRequired[Annotated[Interval, Digits(1)]]
    """Of each block's own 95th percentile."""
    latency_p99_ms: NotRequired[Annotated[Interval, Digits(1)]]
    """Of each block's own 99th percentile."""
    latency_max_ms: NotRequired[Annotated[Interval, Digits(1)]]
    """Of each block's longest."""
    service_ms: Annotated[Interval, Digits(3)]
    generator_cpu: Annotated[Interval, Digits(3)]
    server_cpu: NotRequired[Annotated[Interval, Digits(3)]]
    backend_cpu: NotRequired[Annotated[Interval, Digits(3)]]
    """Share of the backends' cores that they used; absent where the workload has none."""
    cpu_ms_per_request: NotRequired[Annotated[Interval, Digits(3)]]
    round_trip_ms: NotRequired[Annotated[Interval, Digits(3)]]
    """Milliseconds; absent where users and targets share a machine."""
    received_mbps: NotRequired[Annotated[Interval, Digits(1)]]
    """Megabits a second; absent where they were not counted."""


class FiguresEntry(TypedDict):
    """What was measured of a cell; each is null where no block could be measured."""

    rank: int | None
    """The first place that it may have under its conditions, 1 being that of the fastest: as many servers before it as
    are faster for sure. Null where the cell is not compared."""
    rank_last: int | None
    """The last place that it may have. Servers that cannot be told apart have a place in common, from `rank` to here."""
    in_flight: InFlightEntry | None
    """Measured concurrency. Null where answers have no stamps."""
    process_shares: Annotated[tuple[float, ...] | None, Digits(3)]
    throughput_rps: Annotated[Interval | None, Digits(1)]
    latency_ms: Annotated[LatencyEntry | None, Digits(1)]
    """Milliseconds."""
    service_ms: Annotated[Interval | None, Median(3)]
    parts: Annotated[LatencyParts | None, Digits(3)]
    limit_rps: Annotated[float | None, Digits(1)]
    limit_share: Annotated[float | None, Digits(3)]
    cpu_ms_per_request: Annotated[Interval | None, Median(3)]
    server_cpu: Annotated[Interval | None, Median(3)]
    generator_cpu: Annotated[Interval | None, Median(3)]
    server_others: Annotated[Interval | None, Median(3)]
    generator_others: Annotated[Interval | None, Median(3)]
    backend_cpu: Annotated[Interval | None, Median(3)]
    resident_mb: Annotated[float | None, Digits(1)]
    os_threads: int | None
    failures: int | None
    cut_off: int | None
    late: int | None
    slow_connections: int | None
    reopened: int | None
    round_trip_ms: Annotated[Interval | None, Median(3)]
    received_mbps: Annotated[Interval | None, Median(1)]
    resent_share: Annotated[float | None, Digits(4)]
    bound_by: BoundBy | None
    because: str | None
    intervals: Intervals | None
    """Of the figures that are single numbers here."""


class FurtherFigures(TypedDict, total=False):
    """Figures that only some cells have; each is absent where it was not counted, or where nothing of its kind can happen."""

    busiest_user_share: Annotated[float, Digits(2)]
    reset: int
    refused: int
    pausing: Annotated[Interval, Digits(2)]
    abandoned: int
    wasted_work: Annotated[Interval, Digits(3)]
    first_event_ms: Annotated[Interval, Digits(1)]
    event_gap_ms: Annotated[Interval, Digits(1)]
    idle_closed: int
    idle_held_s: Annotated[Interval, Digits(2)]
    idle_longest_s: Annotated[float, Digits(2)]
    by_request: Mapping[str, RequestFigures]
    throttled_share: Annotated[Interval, Digits(3)]
    longest_gap_ms: Annotated[Interval, Digits(1)]
    lost_capacity: Annotated[Interval, Digits(3)]
    memory_pss_mb: Annotated[float, Digits(1)]
    memory_private_mb: Annotated[float, Digits(1)]
    memory_start_pss_mb: Annotated[float, Digits(1)]
    memory_start_private_mb: Annotated[float, Digits(1)]


class CellEntry(NamedCell, FiguresEntry, FurtherFigures):
    """A server under some conditions: what it declares, what was measured, and what a reader must know beside it."""

    slots: int | Literal["unbounded"] | None
    """How many requests it declares to process at once. Null where it is not the lab's."""
    blocks: int
    """In how many blocks it was measured."""
    broken_gates: tuple[Gate, ...]
    """Why no comparison is drawn from these figures; each has a warning too."""
    left_out: NotRequired[int]
    """So many of the blocks take no part in the figures, because others disturbed them; absent where none did."""
    warnings: tuple[str, ...]
    """What a reader must know beside the figures."""
    warning_kinds: NotRequired[tuple[WarningKind, ...]]
    """What each of `warnings` is about, in their order; absent in files of a lab that did not say."""


class AdviceEntry(Conditions):
    """Which of the servers that were measured under these conditions to run."""

    workloads: tuple[str, ...]
    """The `workload` alone; or several, where one server is sought for all of them under otherwise equal conditions."""
    wish: Wish
    server: str | None
    """The one to run. Null where it is undecided and, where none is `tied`, where none may be advised."""
    tied: tuple[str, ...]
    verdict: NotRequired[str]
    """In words, with what speaks against the server."""
    why: str
    """Why this one."""
    runner_up: str | None
    """The fastest other one that may be advised; where it is undecided, of those that were not tied."""
    costs: str
    """What the runner-up costs, and saves; empty without one."""
    changes: tuple[str, ...]
    """When the advice would be another, the most telling first."""
    left_out: Mapping[str, str]


class BudgetEntry(TypedDict):
    """What a run with a budget has decided, of the comparisons that its time is for: with the reference or, under conditions
    without it, of every two servers."""

    budget_s: float
    used_s: Annotated[float, Digits(1)]
    comparisons: int
    spoilt: int
    decided: int
    left: tuple[Annotated[OpenComparison, Flat()], ...]
    by_cost: int


class CapacityGroupEntry(Conditions):
    """Servers under the same conditions, in a closed loop to begin with."""

    best: tuple[str, ...]


class CapacityEntry(TypedDict):
    """The highest rate of requests at which each server keeps a limit."""

    p95_ms: float
    failures: float
    arrivals: Arrivals
    budget_s: float
    used_s: Annotated[float, Digits(1)]
    servers: tuple[Annotated[ServerCapacity, Flat(server_first=True)], ...]
    """The capacity of each, with every window that was measured."""
    ratios: tuple[Annotated[CapacityRatio, Flat()], ...]
    groups: list[CapacityGroupEntry]
    """Which server has the most capacity, for each of the conditions."""


class FindingEntry(TypedDict):
    """Something that the run found."""

    kind: FindingKind
    """What it is about."""
    text: str
    """A sentence, with its figure. Conditions that most cells have are not named."""


class ContrastEntry(TypedDict):
    """A configuration beside the one to run."""

    server: str
    """Which it is."""
    ratio: Annotated[Interval | None, Digits(3)]
    """Its throughput over that of the one to run or, at a fixed rate, its mean latency; null where no block has both."""
    costs: str
    """What it costs more and less, in words."""


class TuneEntry(TypedDict):
    """What a race of `lab.tune` says."""

    budget_s: float
    used_s: Annotated[float, Digits(1)]
    rounds: tuple[int, ...]
    ended: TuneEnd
    server: str | None
    tied: tuple[str, ...]
    decides: AdviceReason | TieBreak
    why: str
    """The same in words."""
    left: tuple[str, ...]
    gone: Mapping[str, str]
    speed: Annotated[Interval | None, Digits(1)]
    p95_ms: Annotated[Interval | None, Digits(1)]
    memory_mb: Annotated[float | None, Digits(1)]
    command: str | None
    """What starts it outside the lab, as a line for a shell; null where there is no server, or it has no command line of its own."""
    packages: str
    """What it was measured with, as pip takes it; empty where that is not known."""
    files: Mapping[str, str]
    """The same for files that name a command: which file, and what it says."""
    runners_up: list[ContrastEntry]
    """Others beside it."""
    rule_of_thumb: ContrastEntry | None
    """The reference, which is the configuration of the rule of thumb, beside it; null where it is that one."""
    changes: tuple[str, ...]
    """What would change it."""


class ComparisonFile(TypedDict):
    """What a run of wsgilab says: the figures of every cell, and the comparisons that follow from them."""

    schema: int
    """The version of this file's shape: 1."""
    run: RunEntry
    """Which run it was, and on what machine."""
    cells: list[CellEntry]
    """Every combination that was measured."""
    comparisons: tuple[Annotated[PairResult, Flat()], ...]
    """Every server against the reference, under each of the conditions."""
    scaling: tuple[Annotated[Scaling, Flat()], ...]
    """What more cores brought, for every cell that was measured with fewer cores too."""
    drift: tuple[Drift, ...]
    """How the machine changed from block to block."""
    machines: tuple[MachineEffect, ...]
    """What difference the machines of targets make; empty unless two of them have blocks."""
    advice: list[AdviceEntry]
    """Which server to run, for each of the conditions under which servers were compared."""
    findings: NotRequired[list[FindingEntry]]
    """What the run found, in at most twelve sentences: who is best for what, what binds whom, what was surprising."""
    budget: NotRequired[BudgetEntry]
    """What the budget has decided, and what it left; absent without one."""
    predictions: NotRequired[tuple[Annotated[Prediction, Flat()], ...]]
    """Every cell as the queueing model predicts it from others of the same kind of server; absent where there are none."""
    laws: NotRequired[tuple[Annotated[ScalabilityLaw, Flat()], ...]]
    """What more users, or more cores, bring by the universal scalability law; absent where no four cells differ in that alone."""
    capacity: NotRequired[CapacityEntry]
    """The capacity of servers; absent where it was not looked for."""
    tune: NotRequired[TuneEntry]
    """Which configuration to run, by a race; absent of any run but one of `lab.tune`."""


def comparison_yaml(comparison: Comparison) -> Mapping[str, bytes]:
    """The comparison as YAML; figures rounded to what the method can tell."""
    return {"comparison.yaml": dump(_document(comparison), ComparisonFile)}


def comparison_json(comparison: Comparison, keys: Sequence[str] = ()) -> str:
    """The same as JSON; with `keys` the list of its cells, each with these alone. Raises SpecError for a key that cells have not."""
    document: Any = plain(_document(comparison), ComparisonFile)
    if keys:
        known = dict.fromkeys(key for cell in document["cells"] for key in cell)
        check_columns(keys, known)
        document = [{key: cell.get(key) for key in keys} for cell in document["cells"]]
    return json.dumps(document, indent=2)


def _document(comparison: Comparison) -> ComparisonFile:
    run = comparison.run
    document: ComparisonFile = {
        "schema": run.schema,
        "run": entry(
            RunEntry,
            run,
            experiment=run.experiment.name,
            interleaved=comparison.interleaved,
            trials=entry(TrialCounts, comparison, planned=comparison.trials),
            window_s=comparison.window_s,
            confidence=comparison.confidence,
        ),
        "cells": [_cell(result) for result in comparison.cells],
        "comparisons": comparison.pairs,
        "scaling": comparison.scaling,
        "drift": comparison.drift,
        "machines": comparison.machines,
        "advice": [_advice(each) for each in recommendations(comparison)],
        "findings": [{"kind": each.kind, "text": each.text} for each in findings(comparison)],
    }
    if comparison.budget is not None:
        document["budget"] = entry(BudgetEntry, comparison.budget)
    if comparison.predictions:
        document["predictions"] = comparison.predictions
    if comparison.laws:
        document["laws"] = comparison.laws
    if (found := comparison.capacity) is not None:
        groups: list[CapacityGroupEntry] = [{**conditions(each.cells[0]), "best": each.best} for each in found.groups]
        document["capacity"] = entry(CapacityEntry, found, groups=groups)
    if (words := tune.tuned(comparison)) is not None:
        document["tune"] = _tune(words)
    return document


def _tune(words: tune.Tuned) -> TuneEntry:
    found, deployed = words.outcome, words.deployment
    thumb = found.rule_of_thumb
    return entry(
        TuneEntry,
        found,
        why=words.why,
        command=None if deployed is None else deployed.command,
        packages="" if deployed is None else deployed.packages,
        files={} if deployed is None else dict(deployed.files),
        runners_up=[_contrast(each) for each in found.runners_up],
        rule_of_thumb=None if thumb is None else _contrast(thumb),
        changes=dict(words.points).get(tune.CHANGES, ()),
    )


def _contrast(of: ServerContrast) -> ContrastEntry:
    return {"server": of.cell.server, "ratio": of.ratio, "costs": tune.costs(of)}


def _cell(result: CellResult) -> CellEntry:
    # Not measured: every key is there, and says so.
    unmeasured = cast("FiguresEntry", dict.fromkeys(FiguresEntry.__annotations__))
    further = {key: getattr(result.figures, key, None) for key in FurtherFigures.__annotations__}
    found = {
        **named(result.cell),
        "slots": ("unbounded" if result.slots is None else result.slots) if result.cell.cores else None,
        **(unmeasured if result.figures is None else _figures(result.figures, result.rank)),
        "blocks": result.blocks,
        **({"left_out": result.left_out} if result.left_out else {}),
        "broken_gates": result.broken_gates,
        "warnings": tuple(each.text for each in result.warnings),
        "warning_kinds": tuple(each.kind for each in result.warnings),
        **{key: each for key, each in further.items() if each not in (None, {})},
    }
    return cast("CellEntry", found)


def _figures(figures: CellFigures, rank: Place | None) -> FiguresEntry:
    latency = {f"latency_{name}_ms": each for name, each in figures.latency_blocks_ms.items()}
    intervals = {key: latency.get(key) or getattr(figures, key, None) for key in Intervals.__annotations__}
    return entry(
        FiguresEntry,
        figures,
        rank=None if rank is None else rank.first,
        rank_last=None if rank is None else rank.last,
        in_flight=None if figures.peak is None else entry(InFlightEntry, figures, mean=figures.mean_in_flight),
        intervals={key: each for key, each in intervals.items() if each is not None},
    )


def _advice(words: Recommendation) -> AdviceEntry:
    advice = words.advice
    return {
        **conditions(advice.group),
        "workloads": advice.workloads,
        "wish": advice.wish,
        "server": advice.server,
        "tied": advice.tied,
        "verdict": words.verdict,
        "why": words.why,
        "runner_up": None if advice.runner_up is None else advice.runner_up.cell.server,
        "costs": words.costs,
        "changes": tuple(words.changes),
        "left_out": advice.left_out,
    }
