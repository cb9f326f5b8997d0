"""Two runs beside each other: the cells that both have are compared, and what differs between the runs is listed. Pure.

Blocks of two runs are not paired: they are two independent samples, whose intervals show the scatter of blocks within
each run. They cannot show whether a server changed from one run to the other, or the machine that it ran on. What all
cells have in common, `CommonShift`, is the only hint that figures alone can give.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import stats
from wsgilab.analysis.ab import context, requests
from wsgilab.analysis.capacity import outcome as capacity
from wsgilab.analysis.cell import disturbance
from wsgilab.analysis.cell.figures import cell_result
from wsgilab.analysis.cell.readings import compared_figure, metric_of
from wsgilab.analysis.pairs import cost
from wsgilab.analysis.pairs.family import SPEED_SHARE
from wsgilab.analysis.pairs.ratios import ByCell, by_block, grouped
from wsgilab.model import (
    Cell,
    CellOfRuns,
    CellSide,
    CommonShift,
    CostOfRuns,
    Interval,
    Observation,
    Run,
    RunsComparison,
    Verdict,
)
from wsgilab.model.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunSide:
    """One of the two runs."""

    name: str
    run: Run
    every: ByCell
    by_cell: ByCell
    """Without disturbed windows, where enough others are left."""

    def figures(self, cell: Cell) -> Sequence[float]:
        """Throughput or latency, whichever is compared, of each block that has it."""
        return list(by_block(self.by_cell[cell], compared_figure).values())


def _side(name: str, run: Run, given: Sequence[Observation]) -> _RunSide:
    kept = disturbance.undisturbed(run, given)
    return _RunSide(name=name, run=run, every=grouped(given), by_cell=grouped(kept))


def runs(
    a: Run, a_observations: Iterable[Observation], b: Run, b_observations: Iterable[Observation]
) -> RunsComparison:
    """B as against A: every ratio is B's figure over A's.

    Raises SpecError, saying why, where they have no cell in common that can be compared.
    """
    given_a, given_b = list(a_observations), list(b_observations)
    of_a, of_b = _side("A", a, given_a), _side("B", b, given_b)
    common = [cell for cell in b.experiment.cells if cell in a.experiment.cells]
    other_work = {cell: requests.refusal(a, b, cell) for cell in common}
    refused = {cell: other_work[cell] or _unmeasured(of_a, of_b, cell) for cell in common}
    compared = [cell for cell, reason in refused.items() if not reason]
    works = {cell: requests.work(a, b, cell) for cell, reason in other_work.items() if not reason}
    costs = _costs(of_a, of_b, list(works))
    capacities = tuple(capacity.of_runs(a, given_a, b, given_b, works))
    if not compared and not costs and all(each.refused for each in capacities):
        raise SpecError(_nothing(a, b, refused))
    level = SPEED_SHARE * stats.ERROR_RATE / max(1, len(compared))
    reaches = _reaches({cell: (of_a.figures(cell), of_b.figures(cell)) for cell in compared})
    cells = [
        replace(_cell(of_a, of_b, cell, reason, level=level, reach=reaches.get(cell, 0.0)), cost=costs.get(cell))
        for cell, reason in refused.items()
    ]
    same = a == b and given_a == given_b
    return RunsComparison(
        a=a,
        b=b,
        same=same,
        cells=tuple(_beside_others(cells)),
        only_a=tuple(cell for cell in a.experiment.cells if cell not in refused),
        only_b=tuple(cell for cell in b.experiment.cells if cell not in refused),
        differences=tuple(context.differences(a, b, common)),
        shift=_shift(cells),
        core_speed=requests.speed_of_core(a, b),
        blocks_needed=next(blocks for blocks in range(1, 1000) if stats.orders_suffice(blocks, blocks, level)),
        capacities=capacities,
    )


def _unmeasured(a: _RunSide, b: _RunSide, cell: Cell) -> str:
    """The run that has no figure of the cell, or one that others disturbed; empty where both have a sound one."""
    for side in (a, b):
        if disturbed := disturbance.disturbance(side.run, cell, side.by_cell[cell]):
            return f"in {side.name}, {disturbed}"
    lacking = [side.name for side in (a, b) if not any(side.figures(cell))]
    return f"it has no figure in {' and in '.join(lacking)}" if lacking else ""


def _nothing(a: Run, b: Run, refused: Mapping[Cell, str]) -> str:
    """Why the two cannot be compared."""
    where = f"{a.id} and {b.id}"
    if not refused:
        both = ", while ".join(f"{each.id} measured {_extent(each)}" for each in (a, b))
        return f"{where}: no cell in common: {both}; compare runs of the same experiment"
    reasons = _first(refused.values(), "; ")
    return f"{where}: nothing to be compared: {reasons}; compare runs of the same experiment, both measured"


_NAMED = 3


def _extent(run: Run) -> str:
    """The first few of its servers, and of the conditions that they were measured under."""
    cells = run.experiment.cells
    servers = _first([cell.server for cell in cells], ", ")
    spelt = [f"{cell.workload}, {cell.load}, {cell.on}, {cell.connection}" for cell in cells]
    return f"{servers} with {_first(spelt, '; ')}" if cells else "nothing"


def _first(names: Iterable[str], between: str) -> str:
    """The first few, each once, and how many more there are."""
    each = list(dict.fromkeys(names))
    return between.join(each[:_NAMED]) + (f" and {len(each) - _NAMED} more" if len(each) > _NAMED else "")


# --- a cell


def _reaches(compared: Mapping[Cell, tuple[Sequence[float], Sequence[float]]]) -> Mapping[Cell, float]:
    """How far blocks of either run are from the others of their cell: by workload, or in the cell by itself where that is
    further; see `stats.reach`."""
    strayed: dict[Cell, list[float]] = {}
    for cell, of_runs in compared.items():
        logs = ([math.log(figure) for figure in figures if figure] for figures in of_runs)
        strayed[cell] = [away for each in logs for away in stats.departures(each)]
    together: dict[str, list[float]] = {}
    for cell, away in strayed.items():
        together.setdefault(cell.workload, []).extend(away)
    of_workload = {workload: stats.reach(away) for workload, away in together.items()}
    return {cell: max(stats.reach(away), of_workload[cell.workload]) for cell, away in strayed.items()}


def _cell(a: _RunSide, b: _RunSide, cell: Cell, refused: str, *, level: float, reach: float) -> CellOfRuns:
    of_a, of_b = (side_of(each.run, cell, each.every, each.by_cell) for each in (a, b))
    found = not_compared(cell, of_a, of_b, refused)
    return found if refused else _judged(found, a, b, level=level, reach=reach)


def side_of(run: Run, cell: Cell, every: ByCell, by_cell: ByCell) -> CellSide:
    """What one of the two has of a cell; `by_cell` without disturbed windows, where enough others are left."""
    result = cell_result(run, cell, every[cell], planned=run.experiment.blocks)
    figures = list(by_block(by_cell[cell], compared_figure).values())
    return CellSide(
        blocks=result.blocks,
        figure=stats.median_interval(figures) if figures else None,
        bound_by=None if result.figures is None else result.figures.bound_by,
        broken_gates=result.broken_gates,
        warnings=tuple(each.text for each in result.warnings),
    )


def not_compared(cell: Cell, a: CellSide, b: CellSide, refused: str) -> CellOfRuns:
    """A cell of both, before it is compared. `refused`: why it must not be; empty where it may."""
    return CellOfRuns(
        cell=cell,
        metric=metric_of(cell),
        a=a,
        b=b,
        work=1.0,
        ratio=None,
        exact=False,
        beside_others=None,
        verdict="undecided",
        same=False,
        detectable=None,
        refused=refused or None,
        warnings=(),
    )


def _judged(found: CellOfRuns, a: _RunSide, b: _RunSide, *, level: float, reach: float) -> CellOfRuns:
    cell = found.cell
    work = requests.work(a.run, b.run, cell)
    # A block without a single answer has no ratio, as in paired comparisons; a warning says that it is left out.
    of_a, of_b = ([figure for figure in side.figures(cell) if figure] for side in (a, b))
    ratio = stats.unpaired_ratio([figure * work for figure in of_b], of_a, level, reach)
    verdict = stats.verdict(ratio)
    broken = found.a.broken_gates or found.b.broken_gates
    return replace(
        found,
        work=work,
        ratio=ratio,
        exact=ratio.low is not None and stats.orders_suffice(len(of_a), len(of_b), level),
        # A ratio that a broken gate has spoilt is shown, but nothing is concluded from it.
        verdict="undecided" if broken else stats.OPPOSITE[verdict] if found.metric == "latency" else verdict,
        same=not broken and verdict == "undecided" and stats.is_same(ratio),
        detectable=None if broken else stats.detectable(ratio),
        warnings=tuple(_warnings(found, a, b)),
    )


def _warnings(found: CellOfRuns, a: _RunSide, b: _RunSide) -> Iterable[str]:
    for side, result in ((a, found.a), (b, found.b)):
        if result.broken_gates:
            yield f"nothing is concluded, because of {side.name}: {', '.join(result.broken_gates)}"
        if empty := sum(not figure for figure in side.figures(found.cell)):
            yield f"{empty} of {result.blocks} blocks of {side.name} had no answer, and are left out of the ratio"
        if result.blocks - empty < stats.FEWEST_BLOCKS:
            needed = f"{stats.FEWEST_BLOCKS} that a comparison needs at least"
            yield f"undecided, because {side.name} has {result.blocks - empty} blocks of the {needed}"
    if uneven := requests.uneven_work(a.run, b.run, found.cell):
        yield uneven


def _costs(a: _RunSide, b: _RunSide, cells: Iterable[Cell]) -> Mapping[Cell, CostOfRuns]:
    """The cost of each of `cells` in which nothing but others on the server's cores keeps the two from being compared."""
    windows: dict[Cell, tuple[cost.Windows, cost.Windows]] = {}
    figures: dict[Cell, tuple[Sequence[float], Sequence[float]]] = {}
    for cell in cells:
        of_a, of_b = (cost.windows(side.run, cell, side.every[cell]) for side in (a, b))
        if of_a is not None and of_b is not None:
            windows[cell], figures[cell] = (of_a, of_b), (of_a.cpu_ms, of_b.cpu_ms)
    reaches = _reaches(figures)
    level = (1 - SPEED_SHARE) * stats.ERROR_RATE / max(1, len(figures))
    found = {}
    for cell, (of_a, of_b) in windows.items():
        work = requests.work(a.run, b.run, cell, at_any_rate=True)
        ratio = stats.unpaired_ratio([each / work for each in of_b.cpu_ms], of_a.cpu_ms, level, reaches[cell])
        found[cell] = cost.of_runs(of_a, of_b, ratio)
    return found


# --- what all cells have in common


def _speed(cell: CellOfRuns) -> float | None:
    """The speed of B over that of A; None where nothing may be concluded from it."""
    if cell.ratio is None or cell.a.broken_gates or cell.b.broken_gates:
        return None
    return 1 / cell.ratio.median if cell.metric == "latency" else cell.ratio.median


def _beside_others(cells: Sequence[CellOfRuns]) -> Iterable[CellOfRuns]:
    """Each cell with its ratio over the median of all others."""
    speeds = [_speed(cell) for cell in cells]
    for at, cell in enumerate(cells):
        others = [speed for speed in (*speeds[:at], *speeds[at + 1 :]) if speed is not None]
        if cell.ratio is None or not others:
            yield cell
        else:
            middle = statistics.median(others)
            yield replace(cell, beside_others=cell.ratio.median * (middle if cell.metric == "latency" else 1 / middle))


_FEWEST_IN_COMMON = 2


def _shift(cells: Iterable[CellOfRuns]) -> CommonShift | None:
    speeds = [speed for cell in cells if (speed := _speed(cell)) is not None]
    if not speeds:
        return None
    moved = [stats.verdict(Interval(median=speed, low=speed, high=speed)) for speed in speeds]
    ways: Sequence[Verdict] = ("faster", "slower")
    most = [way for way in ways if len(speeds) >= _FEWEST_IN_COMMON and 2 * moved.count(way) > len(speeds)]
    return CommonShift(
        cells=len(speeds),
        speed=statistics.median(speeds),
        faster=moved.count("faster"),
        slower=moved.count("slower"),
        direction=most[0] if most else "undecided",
    )
