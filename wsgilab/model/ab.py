"""What two runs say beside each other: one before (A) and one after (B), or those of two machines."""

from dataclasses import dataclass
from typing import Literal

from wsgilab.model.comparison import CellResult, Interval, Metric, Verdict
from wsgilab.model.experiment import Cell
from wsgilab.model.run import Run

Weight = Literal["refuses", "warns", "told"]
"""What a difference does: cells that it is about are not compared; a reader must know it; a reader may want to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that is not the same in two runs."""

    what: str
    a: str | None
    b: str | None
    """As each run has it; None where it has none."""
    weight: Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOfRuns:
    """A cell that both runs have."""

    cell: Cell
    metric: Metric
    """What is compared, as in a `PairResult`."""
    a: CellResult
    b: CellResult
    """Each by itself, as its own run has it, without a rank."""
    figure_a: Interval | None
    figure_b: Interval | None
    """Throughput in requests a second, or mean latency in milliseconds; None where no block has it."""
    work: float
    """How much work a request of B does for each one of A, where that is fixed by a calibration of each run: the ratio
    is of work done. 1 where requests are alike."""
    ratio: Interval | None
    """B's figure over A's; None where they are not compared."""
    exact: bool
    """Whether the blocks suffice for an interval without widening."""
    beside_others: float | None
    """The median ratio over what all other cells have in common; None where there are no others."""
    verdict: Verdict
    """Of B, as against A."""
    same: bool
    """Undecided, because they are the same within `stats.ALIKE`: the whole interval is."""
    detectable: float | None
    """The smallest difference, as a share, that these blocks with this scatter could have shown; None where they could
    show none."""
    refused: str
    """Why they are not compared; empty where they are."""
    warnings: tuple[str, ...]
    """What a reader must know beside the ratio. Those of either run by itself are in `a` and `b`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonShift:
    """What cells that are compared, and have no broken gate, have in common."""

    cells: int
    speed: float
    """The median of their ratios, those of latencies turned round: above 1, B is faster."""
    faster: int
    slower: int
    """How many of them have a ratio further than `stats.SAME` on that side of 1."""
    direction: Verdict
    """The way in which more than half of them, and two at least, shifted; `undecided` where they did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsComparison:
    """Two runs beside each other: the source of every rendering."""

    a: Run
    b: Run
    same: bool
    """They are one and the same, with the same observations."""
    cells: tuple[CellOfRuns, ...]
    only_a: tuple[Cell, ...]
    only_b: tuple[Cell, ...]
    differences: tuple[Difference, ...]
    """Of what bears on the cells that both have; those that weigh most first."""
    shift: CommonShift | None
    """None where every cell that is compared has a broken gate."""
    core_speed: float | None
    """How much work a core did for each unit that it did in A, in the same time, when each run was calibrated."""
    blocks_needed: int
    """With so many blocks of a cell in each of the runs its interval is exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """From where on a difference is too much."""

    slower: bool
    faster: bool
    """Which way counts."""
    share: float
    """0.05: at least 5 %, beyond doubt. See `compare.breaches`."""
