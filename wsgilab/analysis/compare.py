"""From observations to a comparison: figures by cell, why each is what it is, and ratios paired by block. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from wsgilab.analysis import stats
from wsgilab.analysis.advice import advise
from wsgilab.analysis.bottleneck import GENERATOR_LIMIT
from wsgilab.analysis.disturbance import LIMIT as NEIGHBOUR_LIMIT
from wsgilab.analysis.disturbance import is_disturbed
from wsgilab.analysis.drift import drift
from wsgilab.analysis.family import blocks_needed, family
from wsgilab.analysis.figures import cell_result, median_alone, reports
from wsgilab.analysis.machines import machine_effects
from wsgilab.analysis.pairs import grouped
from wsgilab.analysis.scaling import scaling
from wsgilab.model import Cell, CellResult, Comparison, Observation, Run, Wish

__all__ = [
    "GENERATOR_LIMIT",
    "NEIGHBOUR_LIMIT",
    "advise",
    "compare",
    "is_disturbed",
    "order",
    "so_far",
    "survey",
    "unsettled",
]


def compare(run: Run, observations: Iterable[Observation]) -> Comparison:
    """Everything that `observations` say about `run`. A cell without a measured block has warnings but no figures."""
    given = list(observations)
    by_cell = grouped(given)
    cells = sorted(run.experiment.cells, key=lambda cell: order(run, cell))
    results = [_planned(run, cell, by_cell[cell]) for cell in cells]
    broken = {result.cell: result.broken_gates for result in results}
    pairs = family(run, by_cell, broken)
    places = pairs.places([each.cell for each in results if each.figures is not None and not each.broken_gates])
    ranked = tuple(replace(result, rank=places.get(result.cell)) for result in results)
    return replace(
        _summed_up(run, given, ranked),
        pairs=tuple(pairs.against_reference(cells)),
        scaling=tuple(scaling(run, cells, by_cell, broken)),
        drift=tuple(drift(given)),
        machines=tuple(machine_effects(run, by_cell, broken)),
        advice=tuple(advise(run, given, results, Wish())),
    )


def so_far(run: Run, observations: Iterable[Observation]) -> Comparison:
    """`compare` for a run that is under way: figures of what was measured by now, and no word of what is still to come.

    Nothing is compared before the run has ended. Whoever looks after every trial finds some difference sooner or later,
    where there is none (Armitage, McPherson, Rowe 1969, doi:10.2307/2343787).
    """
    given = list(observations)
    by_cell = grouped(given)
    cells = sorted(run.experiment.cells, key=lambda cell: order(run, cell))
    results = (cell_result(run, cell, by_cell[cell], planned=0, summary=stats.median_interval) for cell in cells)
    return _summed_up(run, given, tuple(results))


def _summed_up(run: Run, given: Sequence[Observation], results: tuple[CellResult, ...]) -> Comparison:
    """A run's cells, each by itself, and what there was of it in all."""
    measured = reports(given)
    return Comparison(
        run=run,
        trials=_trials(run, given),
        measured=len(measured),
        failed=len(given) - len(measured),
        window_s=math.fsum(each.window_s for each in measured),
        cells=results,
        pairs=(),
        confidence=stats.confidence(min((result.blocks for result in results if result.blocks), default=0)),
        blocks_needed=blocks_needed(run),
    )


def survey(run: Run, observations: Iterable[Observation]) -> Comparison:
    """What `observations` say of each cell by itself: those of an interactive session, one load test after another.

    The cells are those of the observations, each of one window of a load test; `run.experiment` need not have any, but
    `run` has all of their servers and cores. Nothing is compared, because what changed from one test to the next may
    have been the machine; and no interval is claimed, because the windows of one test are not independent.
    """
    given = list(observations)
    by_cell = grouped(given)
    cells = sorted(by_cell, key=lambda cell: order(run, cell))
    measured = reports(given)
    return Comparison(
        run=run,
        trials=len(measured),
        measured=len(measured),
        failed=len(given) - len(measured),
        window_s=math.fsum(each.window_s for each in measured),
        cells=tuple(
            cell_result(run, cell, by_cell[cell], planned=0, summary=median_alone, unit="seconds") for cell in cells
        ),
        pairs=(),
        confidence=0.0,
        blocks_needed=0,
        interleaved=False,
    )


def unsettled(run: Run, observations: Iterable[Observation], blocks: int) -> frozenset[Cell]:
    """The cells that need more than the first `blocks` blocks, for a run with `precision`.

    A comparison of two servers is settled once it is decided, or its interval is as tight as `precision` asks. A cell is
    unsettled as long as a comparison that it takes part in is: so ranks and advice are settled with the verdicts. A cell with a broken gate, or that fails, is not worth more blocks.
    """
    precision = run.experiment.precision
    if precision is None:
        return frozenset()
    by_cell = grouped(each for each in observations if each.block < blocks)
    broken = {cell: _planned(run, cell, by_cell[cell]).broken_gates for cell in run.experiment.cells}
    pairs = family(run, by_cell, broken)
    return frozenset(
        cell
        for pair, (_, ratio) in pairs.measured.items()
        if pairs.verdicts.get(pair) == "undecided" and not stats.is_within(ratio, precision)
        for cell in pair
    )


def order(run: Run, cell: Cell) -> tuple[object, ...]:
    """What cells are sorted by: workload, cores, load, connection and server. Workloads that the run does not name come
    last."""
    workloads, servers = list(run.experiment.parameters), list(run.servers)
    workload = workloads.index(cell.workload) if cell.workload in workloads else len(workloads)
    load = (cell.rate is not None, cell.users or 0, cell.rate or 0.0, cell.arrivals or "")
    return workload, cell.workload, cell.cores, load, cell.connection, servers.index(cell.server)


def _planned(run: Run, cell: Cell, observations: Sequence[Observation]) -> CellResult:
    """The result of a cell of the experiment."""
    return cell_result(run, cell, observations, planned=run.experiment.blocks, summary=stats.median_interval)


def _trials(run: Run, given: Sequence[Observation]) -> int:
    """How many trials there were to be: with `precision`, beyond the first blocks, as many as there were."""
    later = sum(each.block >= run.experiment.blocks for each in given)
    return len(run.experiment.cells) * run.experiment.blocks + later
