"""The servers that were measured under the same conditions, which of them may be advised at all, and how they compare."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis.bottleneck import RATE_LIMIT, flow
from wsgilab.analysis.family import Family, Figure, blocks_needed, family
from wsgilab.analysis.figures import broken, reports
from wsgilab.analysis.pairs import ByCell, Read, by_block, grouped
from wsgilab.analysis.validity import failed_trials, unanswered
from wsgilab.model import Cell, CellFigures, CellResult, Conditions, Interval, Observation, Run, Server, Verdict

DEPLOYING = "https://flask.palletsprojects.com/en/stable/deploying/"
DEVELOPMENT = f"the development server is not made for production ({DEPLOYING})"
_DEVELOPMENT_PROGRAMS = frozenset({"flask", "dev_server.py"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionGroup:
    """The servers that were measured under the same conditions, and how they compare."""

    run: Run
    cell: Cell
    """Any of them."""
    results: Mapping[str, CellResult]
    observations: Mapping[str, Sequence[Observation]]
    sound: tuple[str, ...]
    """Those that may be compared, the fastest first: none before one that is faster for sure."""
    excluded: Mapping[str, str]
    """Those that are not considered whatever is wished, and why."""
    understated: Mapping[str, str]
    """Those whose latency may be higher than was seen, and why."""
    family: Family
    """The comparisons of the run, which verdicts and ranks read too."""
    blocks_needed: int
    """From so many blocks on their intervals need no widening."""

    def over(self, figure: Figure, base: str) -> Mapping[str, Interval]:
        """A figure of every other sound server over that of the one named."""
        unknown = self.understated if figure == "p95" else {}
        others = [name for name in self.sound if name != base and name not in unknown and base not in unknown]
        ratios = {name: self.family.ratio(figure, self._cell(name), self._cell(base)) for name in others}
        return {name: ratio for name, ratio in ratios.items() if ratio is not None}

    def verdict(self, server: str, other: str) -> Verdict:
        """On the speed of `server` as against `other`."""
        return self.family.verdict(self._cell(server), self._cell(other))

    def _cell(self, server: str) -> Cell:
        return replace(self.cell, server=server)

    def blocks(self, servers: Iterable[str]) -> int:
        """In how many blocks all of them, one at least, have a speed."""
        speeds = (by_block(self.observations[name], _speed) for name in servers)
        return len(set[int].intersection(*({block for block, speed in each.items() if speed} for each in speeds)))

    def figures(self, server: str) -> CellFigures:
        """Of one that was measured."""
        figures = self.results[server].figures
        assert figures is not None, "a group has measured servers alone"
        return figures


def groups(
    run: Run, observations: Sequence[Observation], results: Sequence[CellResult]
) -> Mapping[Conditions, ConditionGroup]:
    """Every group of conditions under which two servers at least were measured."""
    by_cell = grouped(observations)
    pairs = family(run, by_cell, {result.cell: result.broken_gates for result in results})
    planned: dict[Conditions, list[CellResult]] = {}
    for result in results:
        planned.setdefault(result.cell.conditions, []).append(result)
    return {
        conditions: _group(run, each, by_cell, pairs)
        for conditions, each in planned.items()
        if sum(result.figures is not None for result in each) > 1
    }


def _group(run: Run, results: Sequence[CellResult], by_cell: ByCell, pairs: Family) -> ConditionGroup:
    cells = {each.cell.server: each.cell for each in results if each.figures is not None and not each.broken_gates}
    places = pairs.places(cells.values())
    excluded = ((result.cell.server, _exclusion(run, result, by_cell)) for result in results)
    understated = {name: why for name, cell in cells.items() if (why := _understated(cell, by_cell[cell])) is not None}
    return ConditionGroup(
        run=run,
        cell=results[0].cell,
        results={result.cell.server: result for result in results if result.figures is not None},
        observations={result.cell.server: by_cell[result.cell] for result in results},
        sound=tuple(
            sorted(cells, key=lambda name: (places[cells[name]].first, -_median(by_cell[cells[name]], _speed)))
        ),
        excluded={name: why for name, why in excluded if why is not None},
        understated=understated,
        family=pairs,
        blocks_needed=blocks_needed(run, max((result.blocks for result in results), default=0)),
    )


# --- what is considered


def _exclusion(run: Run, result: CellResult, by_cell: ByCell) -> str | None:
    cell = result.cell
    if is_for_development(run.servers[cell.server]):
        return DEVELOPMENT
    if result.figures is None:
        return f"not measured: {result.warnings[0]}" if result.warnings else "not measured"
    if result.broken_gates:
        return f"its figures are not to be relied on: {'; '.join(broken(run, cell, by_cell[cell]).values())}"
    in_order = sorted(by_cell[cell], key=lambda each: each.block)
    if failed := list(failed_trials(in_order, planned=0, unit="trials")):
        return f"{failed[0]} (--resume {run.id} tries them again)"
    return _behind(cell, by_cell[cell])


def is_for_development(server: Server) -> bool:
    """Whether its command starts the development server of Flask, by whatever path."""
    return any(word.rpartition("/")[2] in _DEVELOPMENT_PROGRAMS for word in server.command)


def _behind(cell: Cell, observations: Sequence[Observation]) -> str | None:
    """What to tell of a server that does not keep up with a schedule; None where it does, or there is none."""
    answered, due = flow(reports(observations))
    if answered >= RATE_LIMIT * due:
        return None
    return f"does not keep up with {cell.rate:g} requests/s: it answered {answered} of {due} that were due"


def _understated(cell: Cell, observations: Sequence[Observation]) -> str | None:
    swarms = reports(observations)
    if any(swarm.cut_off for swarm in swarms):
        return "some requests were given up unanswered"
    return unanswered(cell, swarms)


def _speed(measured: Observation) -> float | None:
    if measured.swarm is None:
        return None
    if measured.cell.rate is None:
        return measured.swarm.throughput_rps
    return 1 / measured.swarm.latency_mean_ms if measured.swarm.latency_mean_ms else None


def _median(observations: Sequence[Observation], read: Read) -> float:
    """Of the blocks in which there is anything; below all others where there is none."""
    figures = [figure for figure in by_block(observations, read).values() if figure]
    return statistics.median(figures) if figures else -math.inf
