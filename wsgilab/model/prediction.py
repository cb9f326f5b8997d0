"""What a run lets expect of conditions that it did not measure, and how far such predictions are off where it did."""

from dataclasses import dataclass
from typing import Annotated, Literal

from wsgilab.model.experiment import Cell
from wsgilab.model.rounding import Digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A cell as the model predicts it from the run's other cells of the same kind of server, beside what was measured."""

    cell: Cell
    others: int
    """From so many other cells."""
    throughput_rps: Annotated[float, Digits(1)]
    """Requests a second, predicted."""
    measured_rps: Annotated[float, Digits(1)]
    """Requests a second, measured."""
    throughput_error: Annotated[float, Digits(3)]
    """The predicted one over the measured one, less 1."""
    p95_ms: Annotated[float | None, Digits(1)]
    """Milliseconds, predicted; null where the rate is predicted to be more than the server takes."""
    measured_p95_ms: Annotated[float, Digits(1)]
    """Milliseconds: the median of the blocks' own 95th percentiles."""
    p95_error: Annotated[float | None, Digits(3)]
    """The predicted one over the measured one, less 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalabilityLaw:
    """The universal scalability law of some cells that differ in their users, or in their cores, alone: with n of them the
    throughput is n * one_rps / (1 + contention * (n - 1) + coherency * n * (n - 1))."""

    cell: Cell
    """The one with the fewest."""
    over: Literal["users", "cores"]
    """What they differ in."""
    points: int
    """So many cells."""
    one_rps: Annotated[float, Digits(1)]
    """Requests a second of one user, or of one core."""
    contention: Annotated[float, Digits(4)]
    """The share of the work that only one at a time can do."""
    coherency: Annotated[float, Digits(6)]
    """What each two cost each other."""
    most_at: Annotated[float | None, Digits(0)]
    """Where throughput is highest; null where it does not fall again."""
    error: Annotated[float, Digits(3)]
    """The median of the relative errors of the curve at its own cells."""
