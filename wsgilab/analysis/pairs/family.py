"""The comparisons of a run: every two servers under the same conditions, block by block, with one interval and one verdict each.

Verdicts against the reference, ranks, advice, claims and the looks of a run with `precision` all read the same
comparisons. So these are one family, corrected once (Dunn 1961, doi:10.1080/01621459.1961.10482090): all of its
intervals hold together with a chance of 95 %. How many there are is known before the run begins.

Most of the error rate is for speed, where any difference decides. Costs decide by a fifth, which takes fewer blocks. Half
of each is for the few comparisons with the reference, which is what a run is asked for; the many others share the rest
(weights that are chosen beforehand keep the error rate: Roeder and Wasserman 2009, doi:10.1214/09-STS289).
"""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wsgilab.analysis import stats
from wsgilab.analysis.cell.readings import Read, compared_figure, cpu_ms_per_request, metric_of, p95_ms
from wsgilab.analysis.pairs.ratios import ByCell, Pair, Paired, Share, by_conditions, intervals, paired
from wsgilab.model import Cell, Gate, Interval, PairResult, Place, Run, Verdict
from wsgilab.system import cpus

Criterion = Literal["speed", "p95", "cpu"]
"""What two servers are compared by. Verdicts and ranks need their speed alone, advice also what they cost. Speed is
throughput; at a fixed rate, where all servers that keep up have the same throughput, it is one over the mean latency."""

SPEED_SHARE = 0.8
"""The share of the error rate that is split over the comparisons by speed. The comparisons by cost have the rest."""

REFERENCE_SHARE = 0.5
"""The share of it that the comparisons with the reference have, where there are others too."""

_COSTS: Mapping[Criterion, Read] = {"p95": p95_ms, "cpu": cpu_ms_per_request}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparisons:
    """The comparisons of a run."""

    run: Run
    measured: Mapping[Pair, tuple[Paired, Interval]]
    """Each pair with a block in common, once, by throughput or, at a fixed rate, by mean latency."""
    verdicts: Mapping[Pair, Verdict]
    """Both ways round, of every pair with a block in common and no broken gate."""
    costs: Callable[[Criterion], Mapping[Pair, Interval]]
    """By `p95` or `cpu`, of every pair without a broken gate that has it."""
    broken: Mapping[Cell, Collection[Gate]]

    def ratio(self, criterion: Criterion, cell: Cell, other: Cell) -> Interval | None:
        """Speed or cost of `cell` over that of `other`; None where no block has both."""
        if criterion != "speed":
            found = self.costs(criterion)
            return _either_way(found.get((cell, other)), found.get((other, cell)))
        ratio = self.compared(cell, other)
        return stats.turned(ratio) if ratio is not None and metric_of(cell) == "latency" else ratio

    def compared(self, cell: Cell, other: Cell) -> Interval | None:
        """Throughput or, at a fixed rate, mean latency of `cell` over that of `other`; None where no block has both."""
        there, back = self.measured.get((cell, other)), self.measured.get((other, cell))
        return _either_way(there and there[1], back and back[1])

    def verdict(self, cell: Cell, other: Cell) -> Verdict:
        """On the speed of `cell` against `other`."""
        return self.verdicts.get((cell, other), "undecided")

    def against_reference(self, cells: Iterable[Cell]) -> Iterable[PairResult]:
        """Each of `cells` over the reference under the same conditions, or over the other version under the same server, where the
        two have a block in common."""
        for cell in cells:
            experiment = self.run.experiment
            other = replace(cell, server=experiment.counterparts.get(cell.server, experiment.reference))
            if (cell, other) in self.measured:
                pair, ratio = self.measured[cell, other]
                verdict = self.verdict(cell, other)
                gates = tuple(dict.fromkeys((*self.broken[cell], *self.broken[other])))
                yield PairResult(
                    cell=cell,
                    reference=other.server,
                    metric=metric_of(cell),
                    blocks=len(pair.ratios),
                    ratio=ratio,
                    # A ratio that a broken gate has spoilt is shown, but nothing is concluded from it.
                    verdict=verdict,
                    same=verdict == "undecided" and not gates and stats.is_same(ratio),
                    broken_gates=gates,
                )

    def places(self, cells: Collection[Cell]) -> Mapping[Cell, Place]:
        """The places that each of `cells`, none of them with a broken gate, may have under its conditions.

        A cell comes behind those that are faster and before those that are slower (intervals for ranks that hold
        together: Al Mohamad, Goeman and van Zwet 2022, doi:10.1111/biom.13419). Two that are undecided have a place in
        common, even where a third server is slower than one of them and faster than the other.
        """
        found: dict[Cell, Place] = {}
        for group in by_conditions(cells).values():
            above = _above(group, self.verdicts)
            below = Counter(itertools.chain.from_iterable(above.values()))
            first = {cell: 1 + len(above[cell]) for cell in group}
            for cell in group:
                alike = [first[other] for other in group if self.verdict(cell, other) == "undecided"]
                found[cell] = Place(first=first[cell], last=max(len(group) - below[cell], *alike))
        return found


def paired_comparisons(run: Run, by_cell: ByCell, broken: Mapping[Cell, Collection[Gate]]) -> PairedComparisons:
    """The comparisons of a run's cells, whose broken gates are given."""
    pairs = list(_every_two(run))
    spoilt = {cell for cell in run.experiment.cells if broken[cell]}
    sound = [pair for pair in pairs if spoilt.isdisjoint(pair)]

    def ratios(chosen: Sequence[Pair], read: Read, criterion: Criterion) -> Mapping[Pair, tuple[Paired, Interval]]:
        found = [paired(cell, other, read, (cell.workload, criterion), by_cell) for cell, other in chosen]
        known = zip(chosen, found, intervals(run, found, shares(run, criterion), spoilt), strict=True)
        return {pair: (each, interval) for pair, each, interval in known if interval is not None}

    @functools.cache
    def costs(criterion: Criterion) -> Mapping[Pair, Interval]:
        found = ratios(sound, _COSTS[criterion], criterion)
        return {pair: interval for pair, (_, interval) in found.items()}

    measured = ratios(pairs, compared_figure, "speed")
    return PairedComparisons(
        run=run,
        measured=measured,
        verdicts=_verdicts({pair: measured[pair][1] for pair in sound if pair in measured}),
        costs=costs,
        broken=broken,
    )


def shares(run: Run, criterion: Criterion) -> Share:
    """What each comparison by `criterion` may spend, so that those of every two servers under the same conditions hold
    together, by speed and by costs."""
    whole = SPEED_SHARE if criterion == "speed" else cost_share(run)
    reference = run.experiment.reference

    def is_with_reference(one: Cell, other: Cell) -> bool:
        return not run.experiment.counterparts and reference in (one.server, other.server)

    counts = Counter(is_with_reference(one, other) for one, other in _every_two(run))
    parts = {True: REFERENCE_SHARE, False: 1 - REFERENCE_SHARE} if len(counts) > 1 else dict.fromkeys(counts, 1.0)
    each = {kind: whole * part / counts[kind] for kind, part in parts.items()}
    return lambda one, other: each[is_with_reference(one, other)]


def cost_share(run: Run) -> float:
    """What all comparisons by one kind of cost may spend together. Where servers may be loaded at once, that is a kind of its own."""
    return (1 - SPEED_SHARE) / (len(_COSTS) + can_have_duets(run))


def can_have_duets(run: Run) -> bool:
    """Whether servers can be loaded at once: there is a budget, and the generator is one process on a core of its own."""
    generator = cpus.parse(run.generator_cpus)
    experiment = run.experiment
    if experiment.counterparts or experiment.tune is not None or experiment.capacity is not None:
        # Nothing is compared with a reference.
        return False
    if any(cell.circumstances is not None for cell in experiment.cells):
        # They were tried under load alone.
        return False
    if experiment.budget_s is None or len(generator) > 1 or any(len(lane.swarm) > 1 for lane in run.lanes):
        return False
    return bool(run.lanes) or not any(generator & cpus.parse(each) for each in run.server_cpus.values())


def of_versions(run: Run) -> Sequence[Pair]:
    """Each cell with that under the same server and the other version; none where the run has one version."""
    there = frozenset(run.experiment.cells)
    named = run.experiment.counterparts
    pairs = [(cell, replace(cell, server=named[cell.server])) for cell in run.experiment.cells if cell.server in named]
    return [pair for pair in pairs if pair[1] in there]


def _every_two(run: Run) -> Iterable[Pair]:
    if run.experiment.counterparts:
        yield from of_versions(run)
        return
    for group in by_conditions(run.experiment.cells).values():
        for one, two in itertools.combinations(group, 2):
            yield (two, one) if one.server == run.experiment.reference else (one, two)


def _either_way(there: Interval | None, back: Interval | None) -> Interval | None:
    return stats.turned(back) if there is None and back is not None else there


def _verdicts(ratios: Mapping[Pair, Interval]) -> Mapping[Pair, Verdict]:
    """The verdicts both ways round. Pairs in a circle (A faster than B, B than C, and C than A) are undecided: one of
    them at least is wrong."""
    found: dict[Pair, Verdict] = {}
    for (cell, other), interval in ratios.items():
        verdict = stats.verdict(interval)
        on_speed = stats.OPPOSITE[verdict] if metric_of(cell) == "latency" else verdict
        found |= {(cell, other): on_speed, (other, cell): stats.OPPOSITE[on_speed]}
    above = _above({cell for cell, _ in found}, found)
    circular = [(cell, other) for cell, other in found if other in above[cell] and cell in above[other]]
    return {**found, **dict.fromkeys(circular, "undecided")}


def _above(cells: Collection[Cell], verdicts: Mapping[Pair, Verdict]) -> Mapping[Cell, set[Cell]]:
    """The cells that are faster than each, by their own verdict or through others in between (Warshall 1962,
    doi:10.1145/321105.321107)."""
    above = {cell: {other for other in cells if verdicts.get((cell, other)) == "slower"} for cell in cells}
    for between in cells:
        for cell in cells:
            if between in above[cell]:
                above[cell] |= above[between]
    return above
