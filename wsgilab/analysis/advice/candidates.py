"""The servers that were measured under the same conditions: which may be advised, what they cost, how they compare."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import stats
from wsgilab.analysis.cell.figures import broken
from wsgilab.analysis.cell.generator import RATE_LIMIT, flow
from wsgilab.analysis.cell.readings import compared_figure, metric_of, reports
from wsgilab.analysis.cell.validity import failed_trials, understated
from wsgilab.analysis.pairs.family import Criterion, PairedComparisons
from wsgilab.analysis.pairs.ratios import ByCell, by_block
from wsgilab.model import (
    AdviceReason,
    Cell,
    CellFigures,
    CellResult,
    Cost,
    CostContrast,
    Gate,
    Interval,
    Observation,
    Run,
    Server,
    ServerContrast,
    Wish,
)

NEAR = 0.9
"""A server that has at least this share of another's speed for sure may be preferred to it for its costs."""
NEAR_IN_RACE = 0.97
"""As NEAR, where the best is sought among many."""
LESS = 0.8
"""A server that has at most this share of another's memory, CPU time or latency for sure costs clearly less."""
MEMORY_ALIKE = 0.95
"""From this share of another's memory on, a server is not said to take less: one server varies so much between starts."""
COSTS: Sequence[Cost] = ("memory", "cpu", "p95")
"""In the order in which they are named."""

SLOWED: frozenset[Gate] = frozenset({"neighbour", "throttled", "generator"})
"""Gates that break where a server could have been faster, and never slower."""

DEPLOYING = "https://flask.palletsprojects.com/en/stable/deploying/"
DEVELOPMENT = f"the development server is not made for production ({DEPLOYING})"
NOT_RELIED_ON = "its figures are not to be relied on"
"""Where a gate is broken."""
_DEVELOPMENT_PROGRAMS = frozenset({"flask", "dev_server.py", "wsgilab_door.dev_server"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The servers that were measured under the same conditions, and how they compare."""

    cell: Cell
    """Any of them."""
    results: Mapping[str, CellResult]
    """Those with figures."""
    observations: Mapping[str, Sequence[Observation]]
    sound: tuple[str, ...]
    """Those that may be compared, the fastest first: none before one that is faster for sure."""
    excluded: Mapping[str, str]
    """Those that are not considered for any wish, and why."""
    understated: Mapping[str, str]
    """Those whose latency may be higher than measured, and why."""
    pairs: PairedComparisons
    near: float = NEAR
    """From this share of another's speed on, a server may be preferred to it for its costs."""

    def of(self, server: str) -> Cell:
        """The cell of a server."""
        return replace(self.cell, server=server)

    def figures(self, server: str) -> CellFigures:
        """The figures of a server that was measured."""
        figures = self.results[server].figures
        assert figures is not None, "results has measured servers alone"
        return figures

    # --- speed

    def speed(self, server: str) -> Interval:
        """Throughput in requests/s or, at a fixed rate, mean latency in ms."""
        if self.cell.rate is None:
            return self.figures(server).throughput_rps
        return stats.median_interval([each.latency_mean_ms for each in reports(self.observations[server])])

    def ratio(self, criterion: Criterion | Cost, server: str, other: str) -> Interval | None:
        """Speed or cost of one sound server over that of another; None where that is not known. Memory hardly varies, so
        its peak decides."""
        if criterion == "memory":
            ours, theirs = self.figures(server).resident_mb, self.figures(other).resident_mb
            return Interval(median=ours / theirs, low=ours / theirs, high=ours / theirs) if ours and theirs else None
        unknown = self.understated if criterion == "p95" else {}
        if any(name not in self.sound or name in unknown for name in (server, other)):
            return None
        return self.pairs.ratio(criterion, self.of(server), self.of(other))

    def is_undecided(self, server: str, other: str) -> bool:
        """Whether neither is faster for sure."""
        return self.pairs.verdict(self.of(server), self.of(other)) == "undecided"

    def is_near(self, server: str, other: str) -> bool:
        """Whether a server has at least `near` of another's speed for sure."""
        ratio = self.ratio("speed", server, other)
        return ratio is not None and ratio.low is not None and ratio.low >= self.near

    def is_same(self, server: str, other: str) -> bool:
        """Whether the speeds of two servers are the same within `stats.ALIKE`."""
        ratio = self.ratio("speed", server, other)
        return ratio is not None and stats.is_same(ratio)

    def blocks(self, servers: Iterable[str]) -> int:
        """The number of blocks in which all of the servers, one at least, have a speed."""
        speeds = (by_block(self.observations[name], compared_figure) for name in servers)
        return len(set[int].intersection(*({block for block, speed in each.items() if speed} for each in speeds)))

    # --- costs

    def p95_ms(self, server: str) -> Interval | None:
        """The median p95 latency of the blocks with its interval, or without one that of all requests together."""
        figures = self.figures(server)
        found = figures.latency_blocks_ms.get("p95")
        if (found is None or found.high is None) and "p95" in figures.latency_ms:
            return Interval(median=figures.latency_ms["p95"], low=None, high=None)
        return found

    def cost(self, cost: Cost, server: str) -> float | None:
        """In megabytes, or in milliseconds; None where it is not known."""
        figures = self.figures(server)
        if cost == "memory":
            return figures.resident_mb
        found = figures.cpu_ms_per_request if cost == "cpu" else self.p95_ms(server)
        return None if found is None else found.median

    def costs_at_most(self, cost: Cost, server: str) -> float | None:
        """The memory or the p95 latency that a server keeps to for sure; None where that is not known."""
        if cost != "p95":
            return self.cost(cost, server)
        p95 = self.p95_ms(server)
        if p95 is None or server in self.understated:
            return None
        return p95.median if p95.high is None else p95.high

    def costs_less(self, cost: Cost, server: str, other: str) -> bool:
        """Whether a server costs clearly less than another."""
        ratio = self.ratio(cost, server, other)
        return ratio is not None and ratio.high is not None and ratio.high <= LESS

    def is_preferable(self, server: str, other: str) -> bool:
        """Whether a server may be preferred to one that it cannot be told from by speed."""
        costs_less = any(self.costs_less(cost, server, other) for cost in COSTS)
        costs_more = any(self.costs_less(cost, other, server) for cost in COSTS)
        return self.is_near(server, other) and costs_less and not costs_more

    def cost_differs(self, cost: Cost, server: str, other: str) -> bool:
        """Whether two servers differ in a cost for sure, by however little."""
        ratio = self.ratio(cost, server, other)
        if ratio is None:
            return False
        if cost == "memory":
            return not MEMORY_ALIKE <= ratio.median <= 1 / MEMORY_ALIKE
        return stats.verdict(ratio) != "undecided"

    def contrast(self, server: str, other: str, costs: Iterable[Cost] = ()) -> ServerContrast:
        """One sound server beside another, with these of their costs."""
        both = ((cost, self.cost(cost, server), self.cost(cost, other)) for cost in costs)
        return ServerContrast(
            cell=self.of(server),
            other=other,
            ratio=self.pairs.compared(self.of(server), self.of(other)),
            costs=tuple(
                CostContrast(cost=cost, ours=ours, theirs=theirs)
                for cost, ours, theirs in both
                if ours is not None and theirs is not None
            ),
        )

    def beside(self, runner_up: str, best: str) -> ServerContrast:
        """One sound server beside another, with all costs in which they differ for sure."""
        return self.contrast(runner_up, best, [cost for cost in COSTS if self.cost_differs(cost, runner_up, best)])

    # --- wishes

    def breach(self, server: str, wish: Wish) -> str | None:
        """The limit that a server does not keep to for sure; None where it keeps to all."""
        memory = self.figures(server).resident_mb
        if wish.memory_mb is not None:
            if memory is None:
                return "its memory was not read"
            if memory > wish.memory_mb:
                return f"takes {memory:.1f} MB, more than {wish.memory_mb:g}"
        if wish.p95_ms is None:
            return None
        if server in self.understated:
            return f"its p95 is not known: {self.understated[server]}"
        p95 = self.p95_ms(server)
        if p95 is None:
            return "its p95 is not known: no request that counts for latency was answered"
        lower, upper = (p95.median if end is None else end for end in (p95.low, p95.high))
        if upper <= wish.p95_ms:
            return None
        measured = f"p95 {p95.median:.1f} ms" + ("" if p95.high is None else f" ({lower:.1f} to {upper:.1f})")
        return (
            f"{measured}, more than {wish.p95_ms:g}"
            if lower > wish.p95_ms
            else f"{measured} may exceed {wish.p95_ms:g}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the rule says of the servers under the same conditions."""

    group: Candidates
    wish: Wish
    reason: AdviceReason
    server: str | None
    eligible: tuple[str, ...]
    """Those that are considered, the fastest first."""
    tied: tuple[str, ...]
    left_out: Mapping[str, str]


def candidates(run: Run, results: Sequence[CellResult], by_cell: ByCell, pairs: PairedComparisons) -> Candidates:
    """The servers of `results`, all of which are under the same conditions."""
    cells = {each.cell.server: each.cell for each in results if each.figures is not None and not _spoilt(run, each)}
    places = pairs.places(cells.values())
    excluded = ((result.cell.server, _exclusion(run, result, by_cell)) for result in results)
    return Candidates(
        cell=results[0].cell,
        results={result.cell.server: result for result in results if result.figures is not None},
        observations={result.cell.server: by_cell[result.cell] for result in results},
        sound=tuple(
            sorted(cells, key=lambda name: (places[cells[name]].first, _slowness(cells[name], by_cell[cells[name]])))
        ),
        excluded={name: why for name, why in excluded if why is not None},
        understated={
            name: why for name, cell in cells.items() if (why := _understated(cell, by_cell[cell])) is not None
        },
        pairs=pairs,
        near=NEAR if run.experiment.tune is None else NEAR_IN_RACE,
    )


def _exclusion(run: Run, result: CellResult, by_cell: ByCell) -> str | None:
    """Why a server is not considered for any wish; None where it may be."""
    cell = result.cell
    if is_for_development(run.servers[cell.server]):
        return DEVELOPMENT
    if result.figures is None:
        return f"not measured: {result.warnings[0].text}" if result.warnings else "not measured"
    if gates := _spoilt(run, result):
        warnings = broken(run, cell, by_cell[cell])
        return f"{NOT_RELIED_ON}: {'; '.join(warnings[gate] for gate in gates)}"
    in_order = sorted(by_cell[cell], key=lambda each: each.block)
    if failed := list(failed_trials(in_order, planned=0, unit="trials")):
        return f"{failed[0].text} (--resume {run.id} tries them again)"
    answered, due = flow(reports(by_cell[cell]))
    if not answered:
        return "it answered no request"
    if answered < RATE_LIMIT * due:
        return f"does not keep up with {cell.rate:g} requests/s: it answered {answered} of {due} that were due"
    return None


def _spoilt(run: Run, result: CellResult) -> Sequence[Gate]:
    """The broken gates for which a server is not considered. In a race what only makes servers slower is no reason: such a one is at
    least as fast as it looks, and a slower one must not win because nobody disturbed it."""
    return [gate for gate in result.broken_gates if gate not in SLOWED or run.experiment.tune is None]


def is_for_development(server: Server) -> bool:
    """Whether its command starts the development server of Flask, by whatever path."""
    return any(word.rpartition("/")[2] in _DEVELOPMENT_PROGRAMS for word in server.command)


def _understated(cell: Cell, observations: Sequence[Observation]) -> str | None:
    swarms = reports(observations)
    if any(swarm.cut_off for swarm in swarms):
        return "some requests were given up unanswered"
    return understated(cell, swarms)


def _slowness(cell: Cell, observations: Sequence[Observation]) -> float:
    """Sorts the slower behind the faster, by the median of the blocks that have a speed; last without any."""
    figures = [figure for figure in by_block(observations, compared_figure).values() if figure]
    if not figures:
        return math.inf
    return statistics.median(figures) * (1 if metric_of(cell) == "latency" else -1)
