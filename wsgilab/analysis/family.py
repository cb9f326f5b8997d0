"""Every two servers under the same conditions: one interval and one verdict a pair, which all that compares them reads.

Verdicts against the reference, ranks, advice, claims and the looks of a run with `precision` are different readings of
the same comparisons. So these are one family, corrected once (Dunn 1961, doi:10.1080/01621459.1961.10482090): all of
its intervals hold at once with a chance of 95 %, whoever reads which. Its size is known before the run begins.

Most of the error rate is for speed, which decides by any difference; costs decide by a fifth, which takes fewer blocks.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wsgilab.analysis import stats
from wsgilab.analysis.figures import cpu_ms_per_request
from wsgilab.analysis.pairs import ByCell, Paired, Read, compared_figure, intervals, level_at, metric_of, paired
from wsgilab.experiment import plan
from wsgilab.model import Cell, Conditions, Gate, Interval, Observation, PairResult, Place, Run, Verdict

Figure = Literal["speed", "p95", "cpu"]
"""What two servers are compared by: verdicts and ranks by their speed alone, advice also by what they cost. Speed is
throughput; at a fixed rate, where all that keep up have the same, it is one over the mean latency."""

SPEED_SHARE = 0.8
"""Of the error rate, to be split over all pairs; the rest is for what servers cost."""

Pair = tuple[Cell, Cell]
"""The second is what the first is over: the reference, where it is one of the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The comparisons of a run."""

    run: Run
    measured: Mapping[Pair, tuple[Paired, Interval]]
    """Every pair with a block in common, each once: the figure that they are compared by, which is throughput or, at a
    fixed rate, the mean latency."""
    verdicts: Mapping[Pair, Verdict]
    """Both ways round, of every pair with a block in common and no broken gate."""
    costs: Callable[[Figure], Mapping[Pair, Interval]]
    """`p95` or `cpu`, of every pair without a broken gate that has it."""
    broken: Mapping[Cell, Collection[Gate]]

    def ratio(self, figure: Figure, cell: Cell, other: Cell) -> Interval | None:
        """A figure of one cell over that of another; None where no block has both."""
        if figure != "speed":
            found = self.costs(figure)
            return _either_way(found.get((cell, other)), found.get((other, cell)))
        ratio = self.compared(cell, other)
        return stats.turned(ratio) if ratio is not None and metric_of(cell) == "latency" else ratio

    def compared(self, cell: Cell, other: Cell) -> Interval | None:
        """What they are compared by, of one over the other; None where no block has both."""
        there, back = self.measured.get((cell, other)), self.measured.get((other, cell))
        return _either_way(there and there[1], back and back[1])

    def verdict(self, cell: Cell, other: Cell) -> Verdict:
        """Of `cell` as against `other`."""
        return self.verdicts.get((cell, other), "undecided")

    def against_reference(self, cells: Iterable[Cell]) -> Iterable[PairResult]:
        """Each of `cells` over the reference's under the same conditions, where the two have a block in common."""
        for cell in cells:
            other = replace(cell, server=self.run.experiment.reference)
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
                    # What a broken gate has spoilt is shown, but nothing is concluded from it.
                    verdict=verdict,
                    same=verdict == "undecided" and not gates and stats.is_same(ratio),
                    broken_gates=gates,
                )

    def places(self, cells: Collection[Cell]) -> Mapping[Cell, Place]:
        """Which places each of `cells`, none of them with a broken gate, may have under its conditions.

        Not before those that are faster, and not behind those that are slower (intervals for ranks that hold at once:
        Al Mohamad, Goeman and van Zwet 2022, doi:10.1111/biom.13419). Those that are not told apart have a place in common,
        even where a third server is slower than one of them and faster than the other.
        """
        found: dict[Cell, Place] = {}
        for group in _by_conditions(cells).values():
            above = _above(group, self.verdicts)
            below = Counter(itertools.chain.from_iterable(above.values()))
            first = {cell: 1 + len(above[cell]) for cell in group}
            for cell in group:
                alike = [first[other] for other in group if self.verdict(cell, other) == "undecided"]
                found[cell] = Place(first=first[cell], last=max(len(group) - below[cell], *alike))
        return found


def family(run: Run, by_cell: ByCell, broken: Mapping[Cell, Collection[Gate]]) -> Family:
    """The comparisons of a run's cells, whose broken gates are given."""
    pairs = list(_every_two(run))
    spoilt = {cell for cell in run.experiment.cells if broken[cell]}
    sound = [pair for pair in pairs if spoilt.isdisjoint(pair)]

    def ratios(wanted: Sequence[Pair], read: Read, figure: Figure) -> Mapping[Pair, tuple[Paired, Interval]]:
        found = [paired(cell, other, read, (cell.workload, figure), by_cell) for cell, other in wanted]
        told = zip(wanted, found, intervals(run, found, splits(run, figure), spoilt), strict=True)
        return {pair: (each, interval) for pair, each, interval in told if interval is not None}

    @functools.cache
    def costs(figure: Figure) -> Mapping[Pair, Interval]:
        return {pair: interval for pair, (_, interval) in ratios(sound, _COSTS[figure], figure).items()}

    measured = ratios(pairs, compared_figure, "speed")
    return Family(
        run=run,
        measured=measured,
        verdicts=_verdicts({pair: measured[pair][1] for pair in sound if pair in measured}),
        costs=costs,
        broken=broken,
    )


def splits(run: Run, figure: Figure) -> float:
    """By how much the error rate is divided for the comparison of two servers by a figure: by so much that all hold at
    once of every server with every other under the same conditions, by speed and by costs."""
    pairs = max(1, sum(math.comb(len(group), 2) for group in _by_conditions(run.experiment.cells).values()))
    return pairs / SPEED_SHARE if figure == "speed" else len(_COSTS) * pairs / (1 - SPEED_SHARE)


def blocks_needed(run: Run, blocks: int | None = None) -> int:
    """From how many blocks on intervals of speed are exact: at the look after `blocks`, or at whichever look."""
    looks = plan.looks(run.experiment) if blocks is None else (blocks,)
    return max(stats.blocks_needed(level_at(run, look) / splits(run, "speed")) for look in looks)


def _every_two(run: Run) -> Iterable[Pair]:
    for group in _by_conditions(run.experiment.cells).values():
        for one, two in itertools.combinations(group, 2):
            yield (two, one) if one.server == run.experiment.reference else (one, two)


def _by_conditions(cells: Iterable[Cell]) -> Mapping[Conditions, Sequence[Cell]]:
    groups: dict[Conditions, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.conditions, []).append(cell)
    return groups


def _either_way(there: Interval | None, back: Interval | None) -> Interval | None:
    return stats.turned(back) if there is None and back is not None else there


def _p95_ms(measured: Observation) -> float | None:
    return None if measured.swarm is None else measured.swarm.latency_ms.get("p95")


_COSTS: Mapping[Figure, Read] = {"p95": _p95_ms, "cpu": cpu_ms_per_request}


# --- verdicts

_TURNED: Mapping[Verdict, Verdict] = {"faster": "slower", "slower": "faster", "undecided": "undecided"}


def _verdicts(ratios: Mapping[Pair, Interval]) -> Mapping[Pair, Verdict]:
    """Both ways round. Pairs that go round in a circle (A faster than B, B than C, and C than A) are undecided: one of
    them at least is wrong."""
    found: dict[Pair, Verdict] = {}
    for (cell, other), interval in ratios.items():
        verdict = stats.verdict(interval)
        told = _TURNED[verdict] if metric_of(cell) == "latency" else verdict
        found |= {(cell, other): told, (other, cell): _TURNED[told]}
    above = _above({cell for cell, _ in found}, found)
    circular = [(cell, other) for cell, other in found if other in above[cell] and cell in above[other]]
    return {**found, **dict.fromkeys(circular, "undecided")}


def _above(cells: Collection[Cell], verdicts: Mapping[Pair, Verdict]) -> Mapping[Cell, set[Cell]]:
    """Those that are faster than each, by their own verdict or by that of others in between (Warshall 1962,
    doi:10.1145/321105.321107)."""
    above = {cell: {other for other in cells if verdicts.get((cell, other)) == "slower"} for cell in cells}
    for between in cells:
        for cell in cells:
            if between in above[cell]:
                above[cell] |= above[between]
    return above
