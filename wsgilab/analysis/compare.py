"""From observations to a comparison: the figures of each cell, why they are what they are, and paired ratios. Pure."""

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from wsgilab.analysis import stats
from wsgilab.analysis.advice.recommend import recommend
from wsgilab.analysis.budget import outcome as budget
from wsgilab.analysis.budget.duets import with_duets
from wsgilab.analysis.budget.needed import wanted
from wsgilab.analysis.capacity import outcome as capacity
from wsgilab.analysis.cell.disturbance import undisturbed
from wsgilab.analysis.cell.figures import cell_result, median_alone
from wsgilab.analysis.cell.readings import reports
from wsgilab.analysis.pairs.cost import with_costs
from wsgilab.analysis.pairs.drift import drift
from wsgilab.analysis.pairs.family import paired_comparisons
from wsgilab.analysis.pairs.machines import machine_effects
from wsgilab.analysis.pairs.ratios import ByCell, Pair, grouped
from wsgilab.analysis.pairs.scaling import scaling
from wsgilab.analysis.prediction.predictions import predictions
from wsgilab.analysis.prediction.scalability import laws
from wsgilab.analysis.tune import outcome as tune
from wsgilab.analysis.tune import race
from wsgilab.model import (
    Cell,
    CellResult,
    Comparison,
    Conditions,
    CostVerdict,
    Duet,
    Gate,
    Observation,
    PairResult,
    Run,
    Wish,
)

ANY = Wish()
"""Any server may be advised."""


def compare(run: Run, observations: Iterable[Observation], wish: Wish = ANY, duets: Sequence[Duet] = ()) -> Comparison:
    """Everything that `observations` say about `run`, and `duets` about costs alone. A cell without a measured block has warnings but
    no figures.

    The advice is for `wish`. Raises SpecError where that names an unmeasured workload or has a limit that is not a
    positive number.
    """
    given = list(observations)
    if run.experiment.capacity is not None:
        return _of_capacity(run, given)
    every, by_cell = grouped(given), grouped(undisturbed(run, given))
    cells = _in_order(run, run.experiment.cells)
    results = [_planned(run, cell, every[cell]) for cell in cells]
    broken = {result.cell: result.broken_gates for result in results}
    rounds = race.rounds(run, given) if run.experiment.tune else ()
    pairs = race.decided(paired_comparisons(run, by_cell, broken), rounds)
    advice = recommend(run, by_cell, results, pairs, tune.wish(run) if wish == ANY else wish)
    places = pairs.places([each.cell for each in results if each.figures is not None and not each.broken_gates])
    ranked = tuple(replace(result, rank=places.get(result.cell)) for result in results)
    compared = tuple(with_duets(run, with_costs(pairs, cells, by_cell, every), duets))
    return replace(
        _uncompared(run, given, ranked),
        pairs=compared,
        scaling=tuple(scaling(run, cells, by_cell, broken)),
        drift=tuple(drift(given)),
        machines=tuple(machine_effects(run, by_cell, broken)),
        advice=tuple(advice),
        budget=budget.outcome(run, by_cell, every, pairs, duets, costs_if_bound_by_cpu(compared, results)),
        predictions=tuple(predictions(run, results)),
        laws=tuple(laws(results)),
        tune=tune.outcome(run, given, rounds, results, pairs, advice),
    )


def costs_if_bound_by_cpu(pairs: Iterable[PairResult], results: Iterable[CellResult]) -> Mapping[Pair, CostVerdict]:
    """What costs say of two servers that are both bound by CPU, as those of a duet are."""
    by_cpu = {each.cell for each in results if each.figures is not None and each.figures.bound_by == "cpu"}
    found = {}
    for pair in pairs:
        both = pair.cell, replace(pair.cell, server=pair.reference)
        if pair.cost is not None and (pair.cost.duet or by_cpu.issuperset(both)):
            found[both] = pair.cost.verdict
    return found


def _of_capacity(run: Run, given: Sequence[Observation]) -> Comparison:
    """Of a run that looks for capacity: nothing else is compared. Its closed loops have one block, and no reference."""
    by_cell = grouped(given)
    cells = _in_order(run, run.experiment.cells)
    found = _uncompared(run, given, [_planned(run, cell, by_cell[cell]) for cell in cells])
    return replace(found, capacity=capacity.outcome(run, given))


def so_far(run: Run, observations: Iterable[Observation]) -> Comparison:
    """The figures of a run that is under way, without warnings about what is still to come.

    Nothing is compared before the run has ended. Whoever looks after every trial finds some difference sooner or later,
    even where there is none (Armitage, McPherson, Rowe 1969, doi:10.2307/2343787).
    """
    given = list(observations)
    by_cell = grouped(given)
    cells = _in_order(run, run.experiment.cells)
    return _uncompared(run, given, [cell_result(run, cell, by_cell[cell]) for cell in cells])


def decided_so_far(run: Run, observations: Iterable[Observation]) -> tuple[int, int]:
    """How many comparisons would be decided if the run ended now, those that are the same within 2 % with them, and of how many.

    Of those that a budget is for, without the ones of which a broken gate lets nothing be concluded. A look before the end: see
    `so_far`. So it is good for a count alone, and nothing may follow from it.
    """
    given = list(observations)
    known = paired_comparisons(run, grouped(undisturbed(run, given)), broken_gates(run, grouped(given)))
    pairs = [pair for pair in wanted(run) if pair in known.verdicts]
    decided = [pair for pair in pairs if known.verdicts[pair] != "undecided" or stats.is_same(known.measured[pair][1])]
    return len(decided), len(pairs)


def survey(run: Run, observations: Iterable[Observation]) -> Comparison:
    """The figures of an interactive session, which is one load test after another.

    The cells are those of the observations, each of which is one window of a load test; `run.experiment` need not have
    any, but `run` has all of their servers and cores. Nothing is compared, because the machine may have changed from one
    test to the next; and no interval is claimed, because the windows of one test are not independent.
    """
    given = list(observations)
    by_cell = grouped(given)
    cells = _in_order(run, by_cell)
    results = [cell_result(run, cell, by_cell[cell], summary=median_alone, unit="seconds") for cell in cells]
    found = _uncompared(run, given, results)
    return replace(found, trials=found.measured, confidence=0.0, interleaved=False)


def advised_so_far(run: Run, tests: Iterable[Observation]) -> Comparison:
    """What an interactive session lets advise by now: the rule of `recommend`, with rounds of tests in the place of blocks.

    `tests` are in the order in which they were made, one window for each. A server that was tested in a round already, under the same
    conditions, begins the next round. So those that are held against each other are neighbours in time, as the trials of a block
    are. It is looked at after every test, which errs more often than a run (see `so_far`): whoever shows it says so.
    """
    found: list[Observation] = []
    rounds: dict[Conditions, int] = defaultdict(int)
    tested: dict[Conditions, set[str]] = defaultdict(set)
    for test in tests:
        conditions, server = test.cell.conditions, test.cell.server
        if server in tested[conditions]:
            rounds[conditions] += 1
            tested[conditions].clear()
        tested[conditions].add(server)
        found.append(replace(test, block=rounds[conditions]))
    by_cell = grouped(found)
    cells = _in_order(run, by_cell)
    results = [cell_result(run, cell, by_cell[cell], unit="tests") for cell in cells]
    broken = {result.cell: result.broken_gates for result in results}
    pairs = paired_comparisons(replace(run, experiment=replace(run.experiment, cells=tuple(cells))), by_cell, broken)
    advice = tuple(recommend(run, by_cell, results, pairs, ANY))
    return replace(_uncompared(run, found, results), interleaved=False, advice=advice)


def figures_alone(run: Run, observations: Iterable[Observation]) -> Sequence[CellResult]:
    """The figures of every cell that was measured, compared with nothing."""
    by_cell = grouped(observations)
    return [cell_result(run, cell, by_cell[cell]) for cell in _in_order(run, by_cell)]


def unsettled(run: Run, observations: Iterable[Observation], blocks: int) -> frozenset[Cell]:
    """The cells that need more than the first `blocks` blocks, for a run with `precision`.

    A comparison of two servers is settled once it is decided, or once its interval is as tight as `precision` requires.
    A cell is unsettled as long as one of its comparisons is, so that ranks and advice are settled with the verdicts. A
    cell that fails or has a broken gate is not worth more blocks.
    """
    precision = run.experiment.precision
    if precision is None:
        return frozenset()
    by_cell = grouped(each for each in observations if each.block < blocks)
    clean = grouped(undisturbed(run, itertools.chain.from_iterable(by_cell.values())))
    pairs = paired_comparisons(run, clean, broken_gates(run, by_cell))
    return frozenset(
        cell
        for pair, (_, ratio) in pairs.measured.items()
        if pairs.verdicts.get(pair) == "undecided" and not stats.is_within(ratio, precision)
        for cell in pair
    )


def broken_gates(run: Run, by_cell: ByCell) -> Mapping[Cell, Collection[Gate]]:
    """Why nothing may be concluded from a cell's figures, for each cell of the run."""
    return {cell: _planned(run, cell, by_cell[cell]).broken_gates for cell in run.experiment.cells}


def order(run: Run, cell: Cell) -> tuple[object, ...]:
    """The key by which cells are sorted: workload, cores, load, connection, circumstances and server. Workloads that the run does not
    name come last."""
    workloads, servers = list(run.experiment.parameters), list(run.servers)
    workload = workloads.index(cell.workload) if cell.workload in workloads else len(workloads)
    load = (cell.rate is not None, cell.users or 0, cell.rate or 0.0, cell.arrivals or "")
    others = repr(cell.circumstances or "")
    return workload, cell.workload, cell.cores, load, cell.connection, others, servers.index(cell.server)


def _in_order(run: Run, cells: Iterable[Cell]) -> Sequence[Cell]:
    return sorted(cells, key=lambda cell: order(run, cell))


def _planned(run: Run, cell: Cell, observations: Sequence[Observation]) -> CellResult:
    return cell_result(run, cell, observations, planned=run.experiment.blocks)


def _uncompared(run: Run, given: Sequence[Observation], results: Sequence[CellResult]) -> Comparison:
    """The cells of a run, each by itself, and how much was measured.

    With `precision` or a budget, the trials of later blocks are those that were run.
    """
    measured = reports(given)
    later = sum(each.block >= run.experiment.blocks for each in given)
    return Comparison(
        run=run,
        trials=len(run.experiment.cells) * run.experiment.blocks + later,
        measured=len(measured),
        failed=len(given) - len(measured),
        window_s=math.fsum(each.window_s for each in measured),
        cells=tuple(results),
        pairs=(),
        confidence=stats.confidence(
            min((result.blocks - result.left_out for result in results if result.blocks), default=0)
        ),
    )
