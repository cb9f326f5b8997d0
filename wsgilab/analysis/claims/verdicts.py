"""The verdicts on claims, from recorded observations alone.

A condition on a figure must be met in every block, or missed in every block; a condition on a ratio by its whole
interval. Where others took a little of the cores, that must be so wherever the figure may have been without them. Where the
load, the gates or the number of blocks do not suffice, it is undecided; where the run lacks what it is about, it is not tested.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import stats
from wsgilab.analysis.cell.disturbance import AMONG, undisturbed
from wsgilab.analysis.cell.figures import broken
from wsgilab.analysis.cell.readings import Read, metric_of, reports
from wsgilab.analysis.cell.validity import first_line, understated
from wsgilab.analysis.claims.decision import Block, by_blocks, by_interval, limits_of
from wsgilab.analysis.claims.figures import FIGURES, ClaimFigure, busy_users
from wsgilab.analysis.claims.file import cores_needed
from wsgilab.analysis.claims.others import Others, factors, others_in, widened
from wsgilab.analysis.pairs.family import PairedComparisons, paired_comparisons, shares
from wsgilab.analysis.pairs.ratios import ByCell, Paired, by_block, grouped, intervals, paired
from wsgilab.model import (
    Cell,
    Claim,
    ClaimResult,
    ClaimVerdict,
    Condition,
    Evidence,
    Gate,
    Interval,
    Observation,
    Release,
    ReleaseResult,
    Run,
)
from wsgilab.system import cpus

_Ratio = tuple[str, Cell, Cell]
"""Figure, cell, and the cell that it is over."""
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What all conditions are judged by."""

    run: Run
    trials: ByCell
    broken: Mapping[Cell, Mapping[Gate, str]]
    """Cell -> its broken gates, with their warnings."""
    ratios: Mapping[_Ratio, tuple[Paired, Interval | None]]
    left_out: Mapping[str, str]
    """Server -> why the machine cannot have it."""


def judge(
    run: Run,
    observations: Iterable[Observation],
    claims: Sequence[Claim],
    left_out: Mapping[str, str] = _NOTHING,
) -> tuple[ClaimResult, ...]:
    """The verdict of `observations` of `run` on each of `claims`.

    Claims about cells that the run does not have are not tested; those about cells that it could not measure are undecided. Both
    say why. `left_out`: server -> why the machine cannot have it.
    """
    trials = grouped(undisturbed(run, observations))
    named = (cell for claim in claims for each in (*_deciding(claim), *claim.shows) for cell in _cells(each))
    cells = dict.fromkeys((*run.experiment.cells, *named))
    gates = {cell: broken(run, cell, trials[cell]) for cell in cells}
    ratios = _ratios(run, trials, claims, gates)
    known = _Known(run=run, trials=trials, broken=gates, ratios=ratios, left_out=left_out)
    return tuple(_result(claim, known) for claim in claims)


def _result(claim: Claim, known: _Known) -> ClaimResult:
    evidence = tuple(_evidence(condition, known) for condition in claim.holds)
    return ClaimResult(
        claim=claim,
        verdict=_together(evidence),
        evidence=evidence,
        shown=tuple(_evidence(condition, known) for condition in claim.shows),
        version=_version(known.run, claim.package, claim.holds[0].of.server),
        releases=tuple(_of_release(claim.package, release, known) for release in claim.releases),
    )


def _of_release(package: str, release: Release, known: _Known) -> ReleaseResult:
    evidence = tuple(_evidence(condition, known) for condition in release.holds)
    return ReleaseResult(
        server=release.server,
        version=_version(known.run, package, release.server),
        verdict=_together(evidence),
        evidence=evidence,
    )


def _together(evidence: Collection[Evidence]) -> ClaimVerdict:
    """The verdict of all conditions together."""
    verdicts = {each.verdict for each in evidence}
    if "refuted" in verdicts:
        return "refuted"
    if verdicts == {"confirmed"}:
        return "confirmed"
    return "not tested" if "not tested" in verdicts else "undecided"


def _version(run: Run, package: str, server: str) -> str:
    """Of the package that a server of the run ran on; empty where that is not known."""
    row = run.servers.get(server)
    stack = None if row is None else run.stacks.get(row.stack)
    return "" if stack is None else stack.packages.get(package, "")


def _cells(condition: Condition) -> Sequence[Cell]:
    return [condition.of] if condition.over is None else [condition.of, condition.over]


def _deciding(claim: Claim) -> Sequence[Condition]:
    """Its conditions, and those of earlier releases."""
    return [*claim.holds, *(each for release in claim.releases for each in release.holds)]


def _ratios(
    run: Run, trials: ByCell, claims: Sequence[Claim], gates: Mapping[Cell, Collection[Gate]]
) -> Mapping[_Ratio, tuple[Paired, Interval | None]]:
    """Every ratio that a condition names, with an interval such that those that decide something hold together.

    A ratio that is one of the run's own comparisons has the interval of that. The others have what these leave of the
    error rate.
    """
    deciding = {ratio for claim in claims for ratio in map(_ratio, _deciding(claim)) if ratio is not None}
    named = {
        ratio: None for claim in claims for ratio in map(_ratio, (*_deciding(claim), *claim.shows)) if ratio is not None
    }
    # Ratios of the same figure under the same workloads scatter alike.
    pairs = {
        (figure, of, over): paired(of, over, _reader(run, figure), (figure, of.workload, over.workload), trials)
        for figure, of, over in named
    }
    own = paired_comparisons(run, trials, gates)
    compared = {ratio: interval for ratio in named if (interval := _compared(own, ratio)) is not None}
    others = [pair for ratio, pair in pairs.items() if ratio not in compared]
    share = shares(run, "speed")
    spent = {frozenset((of, over)): share(of, over) for _, of, over in deciding & compared.keys()}
    left = (1 - math.fsum(spent.values())) / max(1, len(deciding - compared.keys()))
    alone = intervals(run, others, lambda _, __: left)
    found = {(pair.kin[0], pair.cell, pair.other): interval for pair, interval in zip(others, alone, strict=True)}
    return {ratio: (pair, compared.get(ratio, found.get(ratio))) for ratio, pair in pairs.items()}


def _compared(own: PairedComparisons, ratio: _Ratio) -> Interval | None:
    """The interval of the run's own comparison of the two; None where there is none."""
    figure, of, over = ratio
    alike = figure == "throughput_rps" and metric_of(of) == "throughput" and of.conditions == over.conditions
    return own.compared(of, over) if alike else None


def _ratio(condition: Condition) -> _Ratio | None:
    return None if condition.over is None else (condition.figure, condition.of, condition.over)


def _reader(run: Run, figure: str) -> Read:
    return lambda observation: FIGURES[figure].read(run.servers[observation.cell.server], observation)


def _evidence(condition: Condition, known: _Known) -> Evidence:
    blocks, value = _measured(condition, known)
    verdict: ClaimVerdict = "undecided"
    reason = _doubt(condition, known, len(blocks))
    if absent := [why for cell in _cells(condition) if (why := _absent(cell, known))]:
        verdict, reason = "not tested", absent[0]
    if not reason and limits_of(condition):
        assert value is not None
        decide = _by_blocks if condition.over is None else _by_interval
        verdict, reason = decide(condition, blocks, value, known)
    return Evidence(condition=condition, blocks=len(blocks), value=value, verdict=verdict, reason=reason)


# --- what was measured


def _measured(condition: Condition, known: _Known) -> tuple[Sequence[Block], Interval | None]:
    """The blocks that have the condition's figure, and the interval of all of them."""
    figure, read = FIGURES[condition.figure], _reader(known.run, condition.figure)
    ours = by_block(known.trials[condition.of], read)
    our_most = _most(figure, known.trials[condition.of], ours)
    ratio = _ratio(condition)
    if ratio is None:
        values = list(ours.values())
        blocks = [Block(value=ours[at], low=-math.inf, high=our_most[at]) for at in ours]
        return blocks, _range(values) if values else None
    pair, interval = known.ratios[ratio]
    theirs = by_block(known.trials[pair.other], read)
    their_most = _most(figure, known.trials[pair.other], theirs)
    return [
        Block(value=value, low=ours[at] / their_most[at], high=our_most[at] / theirs[at])
        for at, value in pair.ratios.items()
    ], interval


def _range(values: Sequence[float]) -> Interval:
    """The median of the blocks and their range, which is stricter than an interval of the median."""
    median = stats.median_interval(values)
    return median if len(values) == 1 else Interval(median=median.median, low=min(values), high=max(values))


def _most(figure: ClaimFigure, trials: Sequence[Observation], values: Mapping[int, float]) -> Mapping[int, float]:
    """Block -> the most that the figure could have been with the requests that were under way."""
    if not figure.of_load:
        return dict.fromkeys(values, math.inf)
    return {each.block: max(values[each.block], busy_users(each)) for each in trials if each.block in values}


# --- beside others


def _others(cell: Cell, known: _Known) -> Others | None:
    """Those that took of a cell's cores; None where that was no more than is usual."""
    return others_in(known.run, known.trials[cell]) if "neighbour" in known.broken[cell] else None


def _by_blocks(
    condition: Condition, blocks: Sequence[Block], value: Interval, known: _Known
) -> tuple[ClaimVerdict, str]:
    """The verdict of the blocks, if it is the same at either end of where they may have been without the others."""
    without, others = FIGURES[condition.figure].without, _others(condition.of, known)
    if without is None or others is None:
        return by_blocks(condition, blocks, value)
    ends = list(zip(*(without(block.value, others) for block in blocks), strict=True))
    at_low, at_high = (
        by_blocks(condition, [replace(block, value=end) for block, end in zip(blocks, each, strict=True)], value)
        for each in ends
    )
    if at_low == at_high:
        return at_low
    low, high = min(ends[0]), max(ends[1])
    return "undecided", f"without the others it may have been from {low:.4g} to {high:.4g} over the blocks"


def _by_interval(
    condition: Condition, blocks: Sequence[Block], value: Interval, known: _Known
) -> tuple[ClaimVerdict, str]:
    """The verdict of the interval, as wide as it may have been without the others."""
    ours, theirs = (_factors(condition.figure, cell, known) for cell in _cells(condition))
    return by_interval(condition, blocks, widened(value, ours, theirs))


def _factors(figure: str, cell: Cell, known: _Known) -> tuple[float, float]:
    without, others = FIGURES[figure].without, _others(cell, known)
    if without is None or others is None:
        return 1.0, 1.0
    return factors(without, by_block(known.trials[cell], _reader(known.run, figure)).values(), others)


# --- why there is no verdict


def _doubt(condition: Condition, known: _Known, blocks: int) -> str:
    """Why nothing can be concluded from the figure at all; empty where something can."""
    run, cells = known.run, _cells(condition)
    for cell in cells:
        if (failed := _failed(run, cell, known.trials[cell])) is not None:
            return failed
    if blocks < stats.FEWEST_BLOCKS:
        return _too_few(run, [each for cell in cells for each in known.trials[cell]], blocks)
    for cell in cells:
        if (spoilt := _spoilt(condition, cell, known)) is not None:
            return spoilt if condition.over is None else f"{cell.server}: {spoilt}"
    return ""


def _absent(cell: Cell, known: _Known) -> str:
    """Why a cell is not one of the run's; empty where it is."""
    run = known.run
    if cell in run.experiment.cells:
        return ""
    if cell.server in known.left_out:
        return f"{cell.server} was left out, {known.left_out[cell.server]}"
    if cell.quota is not None and not any(each.quota is not None for each in run.experiment.cells):
        return f"{cell.server} could not be given a quota there ({run.runtime}); containers can"
    needed, usable = cores_needed(cell, run.experiment), len(cpus.parse(run.host.usable_cpus))
    if needed <= usable:
        return f"{cell.server} was not measured so in this run"
    with_it = ", the generator's included" if needed > cell.cores else ""
    return f"needs {needed} cores{with_it}, and this machine has {usable} that can be used"


def _failed(run: Run, cell: Cell, trials: Sequence[Observation]) -> str | None:
    """Why a cell was hardly measured; None where it was."""
    failed, planned = [each for each in trials if each.swarm is None], run.experiment.blocks
    if 2 * len(failed) > planned:
        return f"{len(failed)} of {planned} trials of {cell.server} failed: {first_line(failed[-1].reason)}"
    return None


def _too_few(run: Run, trials: Sequence[Observation], blocks: int) -> str:
    few = f"only {blocks} of {run.experiment.blocks} blocks have it, and a verdict needs {stats.FEWEST_BLOCKS}"
    failed = [each for each in trials if each.swarm is None]
    return f"{few}: {first_line(failed[-1].reason)}" if failed else few


def _spoilt(condition: Condition, cell: Cell, known: _Known) -> str | None:
    """The warning for which the figure of a cell cannot be relied on; None where it can."""
    figure = FIGURES[condition.figure]
    for gate, warning in known.broken[cell].items():
        if gate == "neighbour" and figure.without is not None and others_in(known.run, known.trials[cell]).is_slight:
            continue
        if gate in figure.spoilt_by:
            # Who the others were is for who has the machine: the comparison beside it says so.
            return warning.partition(AMONG)[0]
    return understated(cell, reports(known.trials[cell])) if figure.of_answers else None
