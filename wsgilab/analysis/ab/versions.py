"""Two versions of an application in one run: the comparison of the two, and the run as if it had measured one of them. Pure.

The versions are compared as servers of one run are, block by block: in each block either was measured right beside the other.
"""

import re
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace

from wsgilab.analysis import stats
from wsgilab.analysis.ab import context
from wsgilab.analysis.ab.runs import not_compared, side_of
from wsgilab.analysis.budget import outcome as budget
from wsgilab.analysis.cell import disturbance
from wsgilab.analysis.cell.readings import cpu_ms_per_request
from wsgilab.analysis.compare import ANY, broken_gates, compare, order, so_far
from wsgilab.analysis.paired_ratio import MANY_BLOCKS
from wsgilab.analysis.pairs.cost import RAISED, margin, verdict, with_costs
from wsgilab.analysis.pairs.family import of_versions, paired_comparisons, shares
from wsgilab.analysis.pairs.ratios import ByCell, Paired, by_block, grouped, intervals, paired
from wsgilab.experiment import versions
from wsgilab.model import (
    Application,
    Cell,
    CellOfRuns,
    CellSide,
    Comparison,
    CostOfRuns,
    CostRatio,
    Difference,
    Duet,
    Gate,
    Observation,
    Origin,
    PairResult,
    Run,
    RunsComparison,
    Server,
    Stack,
    Versions,
    Wish,
)
from wsgilab.model.experiment import AGAINST


def current(run: Run, observations: Iterable[Observation]) -> tuple[Run, Sequence[Observation]]:
    """A run as if it had measured the application alone, without what that is compared with. One of one version is as it was."""
    given = list(observations)
    if not run.experiment.counterparts:
        return run, given
    alone = _of_version(run, {name: name for name in run.experiment.counterparts}, run.experiment.application)
    return alone, [each for each in given if each.cell.server in alone.servers]


def whole(run: Run, observations: Iterable[Observation], wish: Wish = ANY, duets: Sequence[Duet] = ()) -> Comparison:
    """What a run says, as `compare.compare` has it. Of two versions: what it says of the two, and all else of the application as it
    is, but for how much was measured."""
    given = list(observations)
    found = compare(*current(run, given), wish, duets)
    if not run.experiment.counterparts:
        return found
    counts = so_far(run, given)
    every, by_cell = grouped(given), grouped(disturbance.undisturbed(run, given))
    return replace(
        found,
        trials=counts.trials,
        measured=counts.measured,
        failed=counts.failed,
        window_s=counts.window_s,
        budget=budget.outcome(run, by_cell, every, paired_comparisons(run, by_cell, broken_gates(run, every))),
        versions=beside(run, given),
    )


def beside(run: Run, observations: Iterable[Observation]) -> RunsComparison:
    """The application (B) as against what it is compared with (A): every ratio is B's figure over A's, in the blocks that both
    have. `run` has two versions."""
    application, named = run.experiment.application, run.experiment.counterparts
    assert application is not None, "it has two versions of one"
    assert application.against is not None, "it has two versions"
    given = list(observations)
    every, by_cell = grouped(given), grouped(disturbance.undisturbed(run, given))
    comparisons = paired_comparisons(run, by_cell, broken_gates(run, every))
    pairs = sorted(of_versions(run), key=lambda pair: order(run, pair[0]))
    found = {each.cell: each for each in with_costs(comparisons, [cell for cell, _ in pairs], by_cell, every)}
    costs = _costs_in_turns(run, found.values(), every)
    b = _of_version(run, {name: name for name in named}, application)
    there = _of_version(run, {there: name for name, there in named.items()}, versions.other(application))
    # Whoever sees the two as runs takes those with one id for one run.
    a = replace(there, id=f"{run.id}{AGAINST}")

    cells = []
    for cell, counterpart in pairs:
        of_cell = _cell(cell, found.get(cell), *(side_of(run, each, every, by_cell) for each in (counterpart, cell)))
        if cell in found and (cost := found[cell].cost) is not None:
            beside_others = {each: disturbance.beside(run, every[each]) for each in (counterpart, cell)}
            of_cell = replace(of_cell, cost=_cost(cell, counterpart, cost, beside_others if cost.because else by_cell))
        elif cell in costs:
            of_cell = replace(of_cell, cost=_cost(cell, counterpart, costs[cell], every))
        cells.append(of_cell)
    return RunsComparison(
        a=a,
        b=b,
        same=False,
        cells=tuple(cells),
        only_a=(),
        only_b=(),
        differences=_differences(a, b),
        # It is no matter of the machine here.
        shift=None,
        core_speed=None,
        blocks_needed=MANY_BLOCKS,
        versions=Versions(
            application=application.entry,
            a=application.against.name,
            b=application.against.current,
            a_revision=application.against.revision,
            b_revision=application.against.current_revision,
        ),
    )


def _differences(a: Run, b: Run) -> tuple[Difference, ...]:
    """Without the digests of images that have the same packages: what else an image has of an application is its files."""
    found = context.differences(a, b, b.experiment.cells)
    return tuple(each for each in found if not _DIGEST.fullmatch(each.what))


_DIGEST = re.compile(r"stack \S+: digest")


# --- a cell


def _cell(cell: Cell, pair: PairResult | None, a: CellSide, b: CellSide) -> CellOfRuns:
    found = not_compared(cell, a, b, "no block has a figure of both")
    if pair is None:
        return found
    return replace(
        found,
        ratio=pair.ratio,
        exact=pair.blocks >= MANY_BLOCKS,
        verdict=pair.verdict,
        same=pair.same,
        detectable=None if pair.broken_gates else stats.detectable(pair.ratio),
        refused=None,
        warnings=tuple(_warnings(pair, a, b)),
    )


def _warnings(pair: PairResult, a: CellSide, b: CellSide) -> Iterable[str]:
    for name, side in (("A", a), ("B", b)):
        if side.broken_gates:
            yield f"nothing is concluded of its speed, because of {name}: {', '.join(side.broken_gates)}"
    if pair.blocks < stats.FEWEST_PAIRED:
        yield f"undecided, because {pair.blocks} blocks have both, of the {stats.FEWEST_PAIRED} that a comparison needs at least"


_OF_SPEED: Set[Gate] = frozenset({"neighbour", "generator"})
"""Gates of what others, or the generator, took: it holds requests up, and hardly changes what one of them costs."""


_UNLIKE = 0.3
"""By so much together may what others took of the server's and of the generator's core differ in two windows of a block."""


def _costs_in_turns(run: Run, pairs: Collection[PairResult], every: ByCell) -> Mapping[Cell, CostRatio]:
    """The costs of those pairs that others, or the generator, keep from being compared in any other way, from all of their windows.

    Two servers might suffer unlike from a generator that is held up. Two versions under one server hardly do, and what one window has
    more of it than the next one, chance deals to both alike: it widens the interval. What is left of it on average counts as others on
    the servers' core do.
    """
    left = [each for each in pairs if each.cost is None and each.broken_gates and set(each.broken_gates) <= _OF_SPEED]
    both = [(each.cell, replace(each.cell, server=each.reference)) for each in left]
    kin = "cpu, in turns"
    found = [
        _matched(run, paired(cell, there, cpu_ms_per_request, (cell.workload, kin), every), every)
        for cell, there in both
    ]
    costs = {}
    for pair, ratio in zip(found, intervals(run, found, shares(run, "cpu")), strict=True):
        if ratio is None or ratio.low is None:
            continue
        (server, generator), (server_there, generator_there) = (
            _taken(run, [each for each in every[cell] if each.block in pair.ratios]) for cell in (pair.cell, pair.other)
        )
        least = margin(server, server_there, alike=True) + RAISED * abs(generator - generator_there)
        costs[pair.cell] = CostRatio(
            blocks=len(pair.ratios),
            ratio=ratio,
            verdict=verdict(ratio, least),
            margin=least,
            because=f"by CPU time, because others used {server_there:.0%} of the server's cores and {generator_there:.0%} of the "
            f"generator's in A, and {server:.0%} and {generator:.0%} in B; only more than {least:.1%} counts",
        )
    return costs


def _matched(run: Run, pair: Paired, every: ByCell) -> Paired:
    """The pair without the blocks in which others came or went between one window and the other, where enough are left."""
    ours, theirs = (
        {each.block: _taken(run, [each]) for each in every[cell] if each.block in pair.ratios}
        for cell in (pair.cell, pair.other)
    )
    kept = {
        block: ratio
        for block, ratio in pair.ratios.items()
        if sum(abs(one - other) for one, other in zip(ours[block], theirs[block], strict=True)) <= _UNLIKE
    }
    return replace(pair, ratios=kept) if len(kept) >= stats.FEWEST_BLOCKS else pair


def _taken(run: Run, windows: Sequence[Observation]) -> tuple[float, float]:
    """What others took of the server's and of the generator's cores, on average."""
    found = [disturbance.taken(run, each) for each in windows]
    server, generator = ([getattr(each, name) or 0.0 for each in found] for name in ("server", "generator"))
    return statistics.fmean(server), statistics.fmean(generator)


def _cost(cell: Cell, counterpart: Cell, cost: CostRatio, windows: ByCell) -> CostOfRuns:
    """The cost of a cell and of its counterpart, which follows from `windows`."""
    a, b = (
        [each for each in by_block(windows[one], cpu_ms_per_request).values() if each] for one in (counterpart, cell)
    )
    return CostOfRuns(
        a=stats.median_interval(a),
        b=stats.median_interval(b),
        ratio=cost.ratio,
        verdict=cost.verdict,
        margin=cost.margin,
        detectable=stats.detectable(cost.ratio, cost.margin),
        because=cost.because,
    )


# --- a version


def _of_version(run: Run, names: Mapping[str, str], application: Application | None) -> Run:
    """The run with `names` of its servers alone, each by the name that it is given."""
    cells = tuple(replace(cell, server=names[cell.server]) for cell in run.experiment.cells if cell.server in names)
    return replace(
        run,
        experiment=replace(run.experiment, cells=cells, application=application, counterparts={}),
        servers={new: _renamed(run, run.servers[old], new) for old, new in names.items() if old in run.servers},
        stacks=_stacks(run, [run.servers[old].installed_as for old in names if old in run.servers]),
        gil={names[old]: is_on for old, is_on in run.gil.items() if old in names},
        origin=None if run.origin is None else _origin(run.origin, is_other=any(old != names[old] for old in names)),
    )


def _renamed(run: Run, server: Server, name: str) -> Server:
    """As the server `name` of the run, which it is or is the counterpart of."""
    return replace(server, name=name, is_against=False, extends=run.servers[name].extends)


def _stacks(run: Run, own: Collection[str]) -> Mapping[str, Stack]:
    """The stacks `own` by their plain names, with those that are no servers'."""
    others = {each.installed_as for each in run.servers.values()} - set(own)
    return {name.removesuffix(AGAINST): stack for name, stack in run.stacks.items() if name not in others}


def _origin(origin: Origin, *, is_other: bool) -> Origin:
    """With the files of one of the versions by the same names."""
    own = {name: files for name, files in origin.files.items() if not name.endswith(versions.PART)}
    there = {
        name.removesuffix(versions.PART): files for name, files in origin.files.items() if name.endswith(versions.PART)
    }
    return replace(origin, files={**own, **there} if is_other else own)
