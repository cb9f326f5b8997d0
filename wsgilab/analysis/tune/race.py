"""`lab.tune`: which of the configurations of a space may still be the best, round by round. Pure.

All configurations begin. After each round those leave that cannot be the best any more: one that is slower for sure than
another which keeps to the limits, one that breaks a limit for sure, and one that cannot be measured. The rounds are looks at
the same comparisons, and with the same intervals, as the verdicts of any run of the lab: `plan.looks` says how many there may
be, and `ratios.level_at` what each may spend, so that all of them together are wrong with a chance of 5 % at most
(a race as of Maron and Moore 1997, doi:10.1023/A:1006556606079, on blocks, with a spending function in place of a union bound).

A comparison that has decided stays decided, whatever later rounds lend it of their scatter.

Where the blocks of a round would take all that are left more than half of the time that is left, they are of the fastest so far
alone, as in successive halving (Karnin, Koren and Somekh 2013). The others do not leave for it, since nothing is sure of them; but
they are not advised either.

The race ends when one is left, when all that are left are within TIE of each other for sure, or when the time is used up. Which
of several is run: `outcome`.
"""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wsgilab.analysis import paired_ratio
from wsgilab.analysis.advice.candidates import (
    DEVELOPMENT,
    NOT_RELIED_ON,
    is_for_development,
)
from wsgilab.analysis.budget.seconds import trial_s, used_s
from wsgilab.analysis.cell.disturbance import undisturbed
from wsgilab.analysis.cell.figures import broken, cell_result
from wsgilab.analysis.cell.readings import compared_figure, metric_of, p95_ms, reports
from wsgilab.analysis.cell.validity import understated
from wsgilab.analysis.pairs.family import SPEED_SHARE, PairedComparisons, paired_comparisons
from wsgilab.analysis.pairs.ratios import ByCell, by_block, grouped, level_at
from wsgilab.experiment import plan
from wsgilab.model import (
    Cell,
    CellResult,
    Gate,
    Interval,
    Observation,
    Run,
)
from wsgilab.model.text import number

TIE = 0.03
"""Configurations within this share of each other for sure are equally fast."""
OWN_GATES: Collection[Gate] = ("failures", "cut-off", "slots", "processes")
"""Those that a server breaks by itself, so that more blocks are no cure."""
SPENT = 0.5
"""Of the time that is left, what blocks of all that are left may take; else they are of the fastest so far."""
_ROUNDS = {
    look: after - before for look, (before, after) in enumerate(itertools.pairwise((0, *plan.RACE_BLOCKS)), start=1)
}
"""How many blocks each round has."""
_FEWEST = 2
"""So many are measured in any block, where there are as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What is known after a round."""

    left: tuple[Cell, ...]
    """Those that may still be the best."""
    gone: Mapping[Cell, str] = field(default_factory=dict)
    """Those that have left after this round, and why."""
    slower: Mapping[Cell, Cell] = field(default_factory=dict)
    """Of these, those that are slower for sure than another: than which."""
    alike: bool = False
    """All that are left are within TIE of each other for sure, and keep to the limits."""

    @property
    def is_last(self) -> bool:
        """Whether more rounds would change nothing."""
        return self.alike or len(self.left) <= 1


def rounds(run: Run, observations: Sequence[Observation]) -> Sequence[Round]:
    """Those that a run of `lab.tune` has carried out, the last one perhaps in part."""
    left, found = run.experiment.cells, list[Round]()
    for look in plan.RACE_LOOKS:
        if all(each.look != look for each in observations):
            break
        found.append(after(run, left, [each for each in observations if each.look <= look], look))
        left = found[-1].left
    return found


def after(run: Run, running: Sequence[Cell], observations: Sequence[Observation], look: int) -> Round:
    """What is known of those that were `running` in the round `look`, by all the `observations` until then."""
    every = {cell: each if cell in running else () for cell, each in of_cells(run, grouped(observations)).items()}
    clean = of_cells(run, grouped(undisturbed(run, [each for of in every.values() for each in of])))
    results = {cell: cell_result(run, cell, every[cell]) for cell in running}
    gates = {cell: results[cell].broken_gates if cell in results else () for cell in run.experiment.cells}
    pairs = paired_comparisons(run, clean, gates)
    gone = dict(_unfit(run, results, every))
    keeps = _keeps(run, [cell for cell in running if cell not in gone], clean, look)
    gone |= {cell: _breach(run, clean[cell]) for cell, kept in keeps.items() if kept is False}
    slower: dict[Cell, Cell] = {}
    sure = [cell for cell, kept in keeps.items() if kept]
    for cell in running:
        faster = [other for other in sure if cell not in gone and pairs.verdict(cell, other) == "slower"]
        if faster:
            slower[cell] = max(faster, key=lambda other: _times(pairs, other, cell))
    gone |= {cell: _slower(pairs, cell, other) for cell, other in slower.items()}
    left = tuple(cell for cell in running if cell not in gone)
    return Round(left=left, gone=gone, slower=slower, alike=set(left) <= set(sure) and _alike(pairs, left))


def runners(
    run: Run, left: Sequence[Cell], observations: Sequence[Observation], blocks: int, lanes: int = 1
) -> Sequence[Cell]:
    """Those of `left` that are measured in the next blocks, so many of them, by the `observations` before.

    All, where that takes no more than SPENT of the time that is left; else as many of the fastest so far, two at least.
    """
    if not observations:
        return left
    every = grouped(observations)
    capacity_s = SPENT * lanes * ((run.experiment.budget_s or 0.0) - used_s(observations, lanes))
    costs, measured = trial_s(every), [cell for cell in left if by_block(every[cell], compared_figure)]
    speeds = speeds_of({cell.server: every[cell] for cell in measured})
    in_order = sorted(measured, key=lambda cell: -speeds[cell.server])
    sums_s = itertools.accumulate(costs[cell] * blocks for cell in in_order)
    chosen = in_order[: max(_FEWEST, sum(each <= capacity_s for each in sums_s))]
    return [cell for cell in left if cell in chosen]


def fastest(cells: Iterable[Cell], observations: Sequence[Observation]) -> Sequence[Cell]:
    """The one of `cells` that is the fastest so far by what was measured; none before anything was."""
    every = grouped(observations)
    measured = {cell.server: cell for cell in cells if any(by_block(every[cell], compared_figure).values())}
    if not measured:
        return ()
    speeds = speeds_of({name: every[cell] for name, cell in measured.items()})
    return (measured[max(speeds, key=lambda name: speeds[name])],)


def blocks_of(observations: Iterable[Observation]) -> int:
    """How many blocks a cell was measured in, without those in which it was there for others to be compared with, while memory did not
    hold all at once: of a round, as many as the round has."""
    found = Counter(each.look for each in observations if each.swarm is not None)
    return sum(min(count, _ROUNDS.get(look, count)) for look, count in found.items())


def decided(pairs: PairedComparisons, found: Iterable[Round]) -> PairedComparisons:
    """The comparisons with what the rounds have decided."""
    verdicts = dict(pairs.verdicts)
    for each in found:
        for cell, other in each.slower.items():
            if not pairs.broken[cell] and not pairs.broken[other]:
                verdicts |= {(cell, other): "slower", (other, cell): "faster"}
    return replace(pairs, verdicts=verdicts)


def of_cells(run: Run, by_cell: ByCell) -> ByCell:
    """With every cell of the run."""
    return {cell: by_cell[cell] for cell in run.experiment.cells}


# --- who leaves


def _unfit(run: Run, results: Mapping[Cell, CellResult], every: ByCell) -> Iterable[tuple[Cell, str]]:
    """Those of which nothing better will be known, or that are run by nobody, and why."""
    for cell, result in results.items():
        spoilt = [gate for gate in result.broken_gates if gate in OWN_GATES]
        if is_for_development(run.servers[cell.server]):
            yield cell, DEVELOPMENT
        elif any(each.swarm is None for each in every[cell]):
            yield cell, f"not measured: {result.warnings[0].text}"
        elif spoilt:
            yield cell, f"{NOT_RELIED_ON}: {broken(run, cell, every[cell])[spoilt[0]]}"
        elif (memory := _too_large(run, result)) is not None:
            yield cell, memory


def _too_large(run: Run, result: CellResult) -> str | None:
    most = run.experiment.tune.memory_mb if run.experiment.tune else None
    memory = result.figures.resident_mb if result.figures else None
    if most is None or memory is None or memory <= most:
        return None
    return f"takes {memory:.1f} MB, more than {most:g}"


def _keeps(run: Run, cells: Sequence[Cell], by_cell: ByCell, look: int) -> Mapping[Cell, bool | None]:
    """Whether each keeps to the limit of p95 for sure; None where that is open. True without a limit."""
    limit = run.experiment.tune.p95_ms if run.experiment.tune else None
    if limit is None:
        return dict.fromkeys(cells, True)
    shares = {cell: [each / limit for each in by_block(by_cell[cell], p95_ms).values() if each] for cell in cells}
    scatter = paired_ratio.scatter(shares.values())
    # What pairs by p95 may spend decides nothing here.
    level = level_at(run, look) * (1 - SPEED_SHARE) / 2 / len(run.experiment.cells)
    found = {cell: paired_ratio.interval(each, level, scatter) for cell, each in shares.items() if each}
    kept = {cell: _below(found[cell]) if cell in found else None for cell in cells}
    # Where some were not answered, it is higher than what was measured.
    return {cell: None if each and _is_understated(cell, by_cell[cell]) else each for cell, each in kept.items()}


def _is_understated(cell: Cell, observations: Sequence[Observation]) -> bool:
    swarms = reports(observations)
    return any(swarm.cut_off for swarm in swarms) or understated(cell, swarms) is not None


def _below(share: Interval) -> bool | None:
    """Whether a share is at most 1 for sure, or more than 1 for sure."""
    if share.low is None or share.high is None or share.low <= 1 < share.high:
        return None
    return share.high <= 1


def _breach(run: Run, observations: Sequence[Observation]) -> str:
    middle = statistics.median(by_block(observations, p95_ms).values())
    limit = run.experiment.tune.p95_ms if run.experiment.tune else None
    return f"p95 {number(middle)} ms, more than {limit:g} for sure"


def _times(pairs: PairedComparisons, cell: Cell, other: Cell) -> float:
    """How many times as fast `cell` is as `other`."""
    ratio = pairs.ratio("speed", cell, other)
    return 0.0 if ratio is None else ratio.median


def _slower(pairs: PairedComparisons, cell: Cell, other: Cell) -> str:
    ratio = pairs.compared(cell, other)
    assert ratio is not None, "it has decided"
    ends = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    what = "throughput" if metric_of(cell) == "throughput" else "mean latency"
    return f"slower than {other.server} for sure: x{ratio.median:.2f}{ends} its {what}"


def _alike(pairs: PairedComparisons, left: Sequence[Cell]) -> bool:
    if len(left) < 2:  # noqa: PLR2004 - one is like itself
        return False
    ratios = (pairs.compared(cell, other) for at, cell in enumerate(left) for other in left[at + 1 :])
    return all(
        each is not None
        and each.low is not None
        and each.high is not None
        and each.low >= 1 / (1 + TIE)
        and each.high <= 1 + TIE
        for each in ratios
    )


# --- how fast they are


def speeds_of(of: Mapping[str, Sequence[Observation]]) -> Mapping[str, float]:
    """How fast servers are beside each other, by trimmed means of the logarithms of the blocks that all have; by those that each
    has where there are none."""
    found = {name: by_block(each, compared_figure) for name, each in of.items()}
    common = set.intersection(*(set(each) for each in found.values()))
    sign = {name: -1 if metric_of(each[0].cell) == "latency" else 1 for name, each in of.items()}
    return {
        name: math.exp(
            sign[name] * _trimmed_mean([math.log(each[block]) for block in common or each if each.get(block)])
        )
        for name, each in found.items()
    }


def _trimmed_mean(values: Sequence[float]) -> float:
    out = math.floor(paired_ratio.TRIMMED * len(values))
    return statistics.fmean(sorted(values)[out : len(values) - out])
