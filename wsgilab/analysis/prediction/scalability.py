"""The universal scalability law: what contention and coherency make of more users, or of more cores. Pure."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wsgilab.model import Cell, CellResult, ScalabilityLaw

FEWEST_POINTS = 4
"""Three coefficients go through three points, whatever these are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """Of the law; see `ScalabilityLaw`."""

    one: float
    contention: float
    coherency: float

    def at(self, count: float) -> float:
        """The throughput with so many."""
        return count * self.one / (1 + self.contention * (count - 1) + self.coherency * count * (count - 1))

    @property
    def most_at(self) -> float | None:
        """Where throughput is highest; None where it does not fall again."""
        if not self.coherency:
            return None
        return math.sqrt(max(0.0, 1 - self.contention) / self.coherency)


def fit(points: Mapping[float, float]) -> Coefficients:
    """The law through throughputs by how many users or cores there are, at least FEWEST_POINTS, all positive.

    n over throughput is linear in three numbers, 1 / one and the other two coefficients over it (Gunther 2007, Guerrilla Capacity
    Planning, chapter 5). They are found by least squares of the relative errors; none is negative.
    """
    best, least = Coefficients(one=max(x / n for n, x in points.items()), contention=0.0, coherency=0.0), math.inf
    for chosen in ((True, True), (True, False), (False, True), (False, False)):
        terms = [
            [term * x / n for term, is_in in ((1.0, True), (n - 1, chosen[0]), (n * (n - 1), chosen[1])) if is_in]
            for n, x in points.items()
        ]
        solved = _least_squares(terms)
        if solved is None or min(solved) < 0 or not solved[0]:
            continue
        rest = iter(solved[1:])
        sigma, kappa = (next(rest) if is_in else 0.0 for is_in in chosen)
        found = Coefficients(one=1 / solved[0], contention=sigma / solved[0], coherency=kappa / solved[0])
        error = math.fsum((x / found.at(n) - 1) ** 2 for n, x in points.items())
        if error < least - 1e-12:
            best, least = found, error
    return best


def _least_squares(rows: Sequence[Sequence[float]]) -> Sequence[float] | None:
    """The numbers whose sums with each row's are nearest to 1; None where the rows do not tell. By Gauss' elimination."""
    size = len(rows[0])
    matrix = [
        [math.fsum(row[i] * row[j] for row in rows) for j in range(size)] + [math.fsum(row[i] for row in rows)]
        for i in range(size)
    ]
    for at in range(size):
        pivot = max(range(at, size), key=lambda each: abs(matrix[each][at]))
        matrix[at], matrix[pivot] = matrix[pivot], matrix[at]
        if abs(matrix[at][at]) < 1e-12 * abs(matrix[0][0]):
            return None
        for other in range(size):
            if other != at:
                ratio = matrix[other][at] / matrix[at][at]
                matrix[other] = [a - ratio * b for a, b in zip(matrix[other], matrix[at], strict=True)]
    return [matrix[at][size] / matrix[at][at] for at in range(size)]


def laws(results: Iterable[CellResult]) -> Iterable[ScalabilityLaw]:
    """The law over users and the one over cores, of all cells that differ in these alone and have no broken gate."""
    sound = [
        each
        for each in results
        if each.figures is not None and each.figures.throughput_rps.median and not each.broken_gates and each.cell.users
    ]
    for over in ("users", "cores"):
        series: dict[Cell, dict[float, CellResult]] = {}
        for each in sound:
            cell = each.cell
            alike = replace(cell, users=1) if over == "users" else replace(cell, cores=1)
            series.setdefault(alike, {})[(cell.users or 0) if over == "users" else cell.cores] = each
        for found in series.values():
            if len(found) >= FEWEST_POINTS:
                yield _law(over, found)


def _law(over: Literal["users", "cores"], found: Mapping[float, CellResult]) -> ScalabilityLaw:
    points = {count: each.figures.throughput_rps.median for count, each in found.items() if each.figures is not None}
    law = fit(points)
    return ScalabilityLaw(
        cell=found[min(found)].cell,
        over=over,
        points=len(points),
        one_rps=law.one,
        contention=law.contention,
        coherency=law.coherency,
        most_at=law.most_at,
        error=statistics.median(abs(law.at(count) / rps - 1) for count, rps in points.items()),
    )
