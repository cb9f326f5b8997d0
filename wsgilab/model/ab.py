"""What two runs say beside each other: one before (A) and one after (B), or those of two machines.

`against.yaml` is written with these values, as `comparison.yaml` is with those of `wsgilab.model.comparison`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from wsgilab.model.capacity import CapacityOfRuns
from wsgilab.model.comparison import BoundBy, CostVerdict, Gate, Metric, Verdict
from wsgilab.model.experiment import Cell
from wsgilab.model.rounding import Digits, Interval
from wsgilab.model.run import Run

Weight = Literal["refuses", "warns", "told"]
"""What a difference means: its cells are not compared, a reader must know it, or a reader may want to know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that is not the same in the two runs."""

    what: str
    """In words."""
    a: str | None
    """As A has it; null where it has none."""
    b: str | None
    """As B has it; null where it has none."""
    weight: Weight
    """`refuses`: the cells that it is about are not compared. `warns`: it may be the reason for a ratio. `told`: it
    bears on none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSide:
    """A cell in one of the two runs, by itself."""

    blocks: int
    """Measured ones."""
    figure: Annotated[Interval | None, Digits(1)]
    """Requests a second, or at a fixed rate the mean latency in milliseconds; null where none was measured."""
    bound_by: BoundBy | None
    """What held the throughput where it was; null where none was measured."""
    broken_gates: tuple[Gate, ...]
    """Why nothing is concluded from its figures."""
    warnings: tuple[str, ...]
    """What a reader must know beside its figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOfRuns:
    """The cost of a cell, which is the server's CPU time a request, in B over A."""

    a: Annotated[Interval, Digits(3)]
    """Milliseconds, in A."""
    b: Annotated[Interval, Digits(3)]
    """Milliseconds, in B."""
    ratio: Annotated[Interval, Digits(3)]
    """B over A, for as much work, with an interval; those of all cells hold at once, with those of speed, with a chance of 95 %."""
    verdict: CostVerdict
    """Of B, as against A: a request takes less, or more."""
    margin: Annotated[float, Digits(3)]
    """By more than this share of 1 the whole interval must differ for a verdict: 0.01, and more beside a neighbour."""
    detectable: Annotated[float | None, Digits(4)]
    """The smallest difference, as a share, that these blocks with this scatter could have shown. Null where they could show none."""
    because: str
    """Why the margin is what it is; empty where others had no part in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOfRuns:
    """A cell that both runs have."""

    cell: Cell
    """The same in both."""
    metric: Metric
    """What is compared."""
    a: CellSide
    """In A."""
    b: CellSide
    """In B."""
    work: Annotated[float, Digits(4)]
    """The work of a request of B over that of one of A, by the runs' calibrations; the ratio is of work done. 1 where
    requests are alike."""
    ratio: Annotated[Interval | None, Digits(3)]
    """B over A, with an interval; those of all cells hold at once with a chance of 95 %. Null where not compared."""
    exact: bool
    """Whether the interval follows from ranks alone; else it is widened, or there is none."""
    beside_others: Annotated[float | None, Digits(3)]
    """The ratio over what all other cells have in common; null where there are no others."""
    verdict: Verdict
    """Of B, as against A."""
    same: bool
    """Undecided, because the whole interval is within 2 % of 1: whatever the difference is, it is less than that."""
    detectable: Annotated[float | None, Digits(4)]
    """The smallest difference, as a share (0.05: 5 % faster or slower), that these blocks with this scatter could have
    shown. Null where they could show none."""
    refused: str | None
    """Why it is not compared; null where it is."""
    warnings: tuple[str, ...]
    """What a reader must know beside the ratio."""
    cost: CostOfRuns | None = None
    """The same by CPU time a request; null where that was not read, or must not be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonShift:
    """What all cells that are compared have in common: it may be the machine."""

    cells: int
    """So many are compared and have no broken gate."""
    speed: Annotated[float, Digits(3)]
    """The median of their ratios, those of latencies turned round: above 1, B is faster."""
    faster: int
    """Cells whose ratio is beyond 1 %."""
    slower: int
    """The same, the other way."""
    direction: Verdict
    """The way in which more than half of them shifted, two at least; else `undecided`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What the two versions of an application are called that one run has measured in turns."""

    application: str
    """Its entry, as B has it."""
    a: str
    """As the user has named it: a revision of git, or the path of an application file."""
    b: str
    """Such as `HEAD`."""
    a_revision: str | None
    """Of git, in full; null where A is an application file."""
    b_revision: str | None
    """Of git, in full, beside which B may have changes that are not committed; null where its source is under no git."""


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
    versions: Versions | None = None
    """Of what A and B are, where they are parts of one run: then their blocks are paired. None for two runs."""
    capacities: tuple[CapacityOfRuns, ...] = ()
    """Of the servers that both have, where both runs look for capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """From where on a difference is too much."""

    slower: bool
    faster: bool
    """Which way counts."""
    share: float
    """0.05: at least 5 %, beyond doubt. See `analysis.ab.checks.breaches`."""
    cost: bool = False
    """It is of cost, and more of it counts; neither speed does then."""
    capacity: bool = False
    """It is of capacity, and less of it counts; neither speed does then."""


CheckOutcome = Literal["kept", "breached", "inconclusive", "skipped"]
CheckFigure = Metric | Literal["cost", "capacity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCheck:
    """What two runs say of one figure of a cell, where a limit or a need is set: see `analysis.ab.checks`."""

    cell: Cell
    figure: CheckFigure
    of_both: CellOfRuns | None
    """None where only one of the runs has the cell."""
    outcome: CheckOutcome
    because: str
    """Why it is inconclusive or skipped, in words; else empty."""
    capacity: CapacityOfRuns | None = None
    """Where the figure is that, and both runs have looked for it."""
