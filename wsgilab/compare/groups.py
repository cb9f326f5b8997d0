"""The servers that were measured under the same conditions, which of them may be advised at all, and how they compare."""

import functools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wsgilab import stats
from wsgilab.compare.figures import broken, cpu_ms_per_request, reports
from wsgilab.compare.gates import failed_trials, unanswered
from wsgilab.compare.pairs import ByCell, Read, by_block, every_pair, grouped, intervals, level_at, paired, sound
from wsgilab.compare.reasons import RATE_LIMIT, flow
from wsgilab.model import Cell, CellFigures, CellResult, Conditions, Interval, Observation, Run, Server

Figure = Literal["speed", "p95", "cpu"]

DEPLOYING = "https://flask.palletsprojects.com/en/stable/deploying/"
DEVELOPMENT = f"the development server is not made for production ({DEPLOYING})"
_DEVELOPMENT_PROGRAMS = frozenset({"flask", "dev_server.py"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The servers that were measured under the same conditions, and how they compare."""

    run: Run
    cell: Cell
    """Any of them."""
    results: Mapping[str, CellResult]
    observations: Mapping[str, Sequence[Observation]]
    sound: tuple[str, ...]
    """Those that may be compared, the fastest first."""
    excluded: Mapping[str, str]
    """Those that are not considered whatever is wished, and why."""
    understated: Mapping[str, str]
    """Those whose latency may be higher than was seen, and why."""
    over: Callable[[Figure, str], Mapping[str, Interval]]
    """A figure of every other sound server over that of the one named. Those of speed hold all at once over the whole
    run, as ranks do; those of what servers cost are a family of their own."""
    blocks_needed: int
    """From so many blocks on the intervals of speed need no widening."""

    def blocks(self, servers: Iterable[str]) -> int:
        """In how many blocks all of them, one at least, have a speed."""
        speeds = (by_block(self.observations[name], _speed) for name in servers)
        return len(set[int].intersection(*({block for block, speed in each.items() if speed} for each in speeds)))

    def figures(self, server: str) -> CellFigures:
        """Of one that was measured."""
        figures = self.results[server].figures
        assert figures is not None, "a group has measured servers alone"
        return figures


def groups(run: Run, observations: Sequence[Observation], results: Sequence[CellResult]) -> Mapping[Conditions, Group]:
    """Every group of conditions under which two servers at least were measured."""
    by_cell = grouped(observations)
    comparable = sound(results)
    comparisons = every_pair(comparable)
    planned: dict[Conditions, list[CellResult]] = {}
    for result in results:
        planned.setdefault(result.cell.conditions, []).append(result)
    return {
        conditions: _group(run, each, comparable.get(conditions, ()), by_cell, comparisons)
        for conditions, each in planned.items()
        if sum(result.figures is not None for result in each) > 1
    }


def _group(
    run: Run, results: Sequence[CellResult], comparable: Sequence[CellResult], by_cell: ByCell, comparisons: int
) -> Group:
    cells = {result.cell.server: result.cell for result in comparable}
    excluded = ((result.cell.server, _exclusion(run, result, by_cell)) for result in results)
    understated = {name: why for name, cell in cells.items() if (why := _understated(cell, by_cell[cell])) is not None}
    level = level_at(run, max((result.blocks for result in comparable), default=0))
    return Group(
        run=run,
        cell=results[0].cell,
        results={result.cell.server: result for result in results if result.figures is not None},
        observations={result.cell.server: by_cell[result.cell] for result in results},
        sound=tuple(sorted(cells, key=lambda name: -_median(by_cell[cells[name]], _speed))),
        excluded={name: why for name, why in excluded if why is not None},
        understated=understated,
        over=_over(run, cells, by_cell, comparisons, frozenset(understated)),
        blocks_needed=stats.blocks_needed(level / max(1, comparisons)),
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


# --- figures, paired by block


def _over(
    run: Run, cells: Mapping[str, Cell], by_cell: ByCell, comparisons: int, understated: frozenset[str]
) -> Callable[[Figure, str], Mapping[str, Interval]]:
    @functools.cache
    def over(figure: Figure, base: str) -> Mapping[str, Interval]:
        unknown = understated if figure == "p95" else frozenset[str]()
        others = [name for name in cells if name != base and not unknown & {name, base}]
        cell = cells[base]
        kin = (cell.workload, figure)
        pairs = [paired(cells[name], cell, _READS[figure], kin, by_cell) for name in others]
        # p95 and CPU time make one family together.
        ratios = intervals(run, pairs, comparisons if figure == "speed" else 2 * comparisons)
        return {name: ratio for name, ratio in zip(others, ratios, strict=True) if ratio is not None}

    return over


def _speed(measured: Observation) -> float | None:
    if measured.swarm is None:
        return None
    if measured.cell.rate is None:
        return measured.swarm.throughput_rps
    return 1 / measured.swarm.latency_mean_ms if measured.swarm.latency_mean_ms else None


def _p95_ms(measured: Observation) -> float | None:
    return None if measured.swarm is None else measured.swarm.latency_ms.get("p95")


_READS: Mapping[Figure, Read] = {"speed": _speed, "p95": _p95_ms, "cpu": cpu_ms_per_request}


def _median(observations: Sequence[Observation], read: Read) -> float:
    """Of the blocks in which there is anything; below all others where there is none."""
    figures = [figure for figure in by_block(observations, read).values() if figure]
    return statistics.median(figures) if figures else -math.inf
