"""Which configuration a race of `lab.tune` has found to run, what others cost, who left and why. Pure.

Which of several is run says the rule of `recommend`, for which `NEAR_IN_RACE` of another's speed is near. Where that leaves it
open, it is the one with the least memory of those that are measured as fast, then the one with the fewest processes and threads.
"""

import math
from collections.abc import Sequence

from wsgilab.analysis.advice.candidates import MEMORY_ALIKE, Candidates, candidates
from wsgilab.analysis.budget.seconds import used_s
from wsgilab.analysis.cell.disturbance import undisturbed
from wsgilab.analysis.pairs.family import PairedComparisons
from wsgilab.analysis.pairs.ratios import ByCell, grouped
from wsgilab.analysis.stats import FEWEST_PAIRED
from wsgilab.analysis.tune.race import Round, blocks_of, of_cells, speeds_of
from wsgilab.experiment import plan
from wsgilab.model import (
    Advice,
    AdviceReason,
    CellResult,
    Observation,
    Run,
    ServerContrast,
    TieBreak,
    TuneEnd,
    TuneOutcome,
    Wish,
)

AS_FAST = 0.01
"""Of those that could not be told apart, those within this share of the fastest are taken for as fast: the same server differs by
so much from start to start (`stats.SAME`)."""
_USED_UP = 0.95
"""From this share of the budget on it is used up: between trials there is some time too."""
_RUNNERS_UP = 3
"""So many others are shown beside the one to run."""


def wish(run: Run) -> Wish:
    """The limits that the race has."""
    tune = run.experiment.tune
    return Wish() if tune is None else Wish(p95_ms=tune.p95_ms, memory_mb=tune.memory_mb)


def outcome(
    run: Run,
    observations: Sequence[Observation],
    found: Sequence[Round],
    results: Sequence[CellResult],
    pairs: PairedComparisons,
    advice: Sequence[Advice],
) -> TuneOutcome | None:
    """What a run of `lab.tune` says: which configuration to run, what others cost, who left and why. None of any other run, and
    before its first trial."""
    experiment = run.experiment
    if experiment.tune is None or not found:
        return None
    by_cell = of_cells(run, grouped(undisturbed(run, observations)))
    group = candidates(run, results, by_cell, pairs)
    every = of_cells(run, grouped(observations))
    server, tied, decides = _chosen(group, by_cell, every, next(iter(advice), None))
    left = tuple(cell.server for cell in found[-1].left)
    contrasts, others = dict[str, ServerContrast](), list[str]()
    if server is not None:
        others = [name for name in group.sound if name != server and name not in group.excluded]
        others.sort(key=lambda name: (name not in tied, name not in left))
        thumb = [experiment.reference] if experiment.reference in group.sound and experiment.reference != server else []
        contrasts = {name: group.beside(name, server) for name in (*others[:_RUNNERS_UP], *thumb)}
        others = others[:_RUNNERS_UP]
    used, budget_s = used_s(observations, max(1, len(run.lanes))), experiment.budget_s or 0.0
    return TuneOutcome(
        budget_s=budget_s,
        used_s=used,
        rounds=(len(experiment.cells), *(len(each.left) for each in found)),
        ended=_ended(found, used, budget_s),
        server=server,
        tied=tied,
        decides=decides,
        left=left,
        gone={cell.server: why for each in found for cell, why in each.gone.items()},
        speed=None if server is None else group.speed(server),
        p95_ms=None if server is None else group.p95_ms(server),
        memory_mb=None if server is None else group.figures(server).resident_mb,
        runners_up=tuple(contrasts[name] for name in others),
        rule_of_thumb=contrasts.get(experiment.reference),
    )


def _ended(found: Sequence[Round], used: float, budget_s: float) -> TuneEnd:
    if found[-1].alike:
        return "alike"
    if len(found[-1].left) <= 1:
        return "one"
    return "budget" if used >= _USED_UP * budget_s or len(found) == len(plan.RACE_LOOKS) else "early"


def _chosen(
    group: Candidates, by_cell: ByCell, every: ByCell, advice: Advice | None
) -> tuple[str | None, tuple[str, ...], AdviceReason | TieBreak]:
    """The configuration to run, those that will do as well, and what decides; `every` has what others disturbed too."""
    if advice is None:
        # There are no two to compare.
        measured = [name for name in group.sound if name not in group.excluded]
        return (measured[0], tuple(measured), "alone") if measured else (None, (), "nobody")
    if advice.server is not None or advice.reason in ("limits", "nobody"):
        return advice.server, advice.tied, advice.reason
    # Those that were measured until the end are known best.
    blocks = {name: blocks_of(every[group.of(name)]) for name in advice.tied}
    last = [name for name in advice.tied if blocks[name] >= max(blocks.values()) - 1]
    if max(blocks.values()) < FEWEST_PAIRED:
        return None, advice.tied, "blocks"
    speeds = speeds_of({name: by_cell[group.of(name)] for name in last})
    fastest = max(speeds.values())
    tied = sorted((name for name in speeds if speeds[name] >= fastest * (1 - AS_FAST)), key=lambda name: -speeds[name])
    memory = {name: group.figures(name).resident_mb or math.inf for name in tied}
    light = [name for name in tied if memory[name] * MEMORY_ALIKE <= min(memory.values())]
    servers = group.pairs.run.servers

    def parts(name: str) -> tuple[float, float]:
        processes, slots = servers[name].processes or math.inf, servers[name].slots or math.inf
        return processes, slots / processes if processes < math.inf else math.inf

    simplest = min(light, key=parts)
    return simplest, tuple(tied), "memory" if len(light) == 1 else "simplicity"
