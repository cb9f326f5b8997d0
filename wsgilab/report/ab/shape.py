"""What `against.yaml` says, schema 1: its keys and their units. Keys may be added; those that are there stay."""

from typing_extensions import TypedDict  # typing's own tells pydantic too little before Python 3.12

from wsgilab.model import BoundBy, Gate, Metric, Verdict, Weight
from wsgilab.report.identity import Identity
from wsgilab.report.shape import Conditions, IntervalEntry


class RunOfTwo(Identity):
    """One of the two runs."""

    lab: str
    """The lab's own version."""
    blocks: int
    """Planned passes over every cell."""
    window_s: float
    """Seconds of each window."""
    cpu_iterations: int | None
    """Steps of work in the time that `cpu` is given, as calibrated once; null where no cell needs it."""
    notes: list[str]
    """What a reader must know of the machine."""


class BothRuns(TypedDict):
    """A is the one before, or the other machine; ratios are B over A."""

    a: RunOfTwo
    """The first that was named."""
    b: RunOfTwo
    """The second."""


class DifferenceEntry(TypedDict):
    """Something that is not the same in the two."""

    what: str
    """In words."""
    a: str | None
    """As A has it; null where it has none."""
    b: str | None
    """As B has it; null where it has none."""
    weight: Weight
    """`refuses`: the cells that it is about are not compared. `warns`: it may be the reason for a ratio. `told`: it
    bears on none."""


class ShiftEntry(TypedDict):
    """What all cells that are compared have in common: it may be the machine."""

    cells: int
    """So many are compared and have no broken gate."""
    speed: float
    """The median of their ratios, those of latencies turned round: above 1, B is faster."""
    faster: int
    """Cells whose ratio is beyond 1 %."""
    slower: int
    """The same, the other way."""
    direction: Verdict
    """The way in which more than half of them shifted, two at least; else `undecided`."""


class SideEntry(TypedDict):
    """The cell in one of the runs."""

    blocks: int
    """Measured ones."""
    figure: IntervalEntry | None
    """Requests a second, or at a fixed rate the mean latency in milliseconds; null where none was measured."""
    bound_by: BoundBy | None
    """What held the throughput where it was."""
    broken_gates: list[Gate]
    """Why nothing is concluded from its figures."""
    warnings: list[str]
    """What a reader must know beside its figures."""


class NamedCell(Conditions):
    """A cell."""

    server: str
    """The server's name in the catalogue."""


class CellOfRunsEntry(NamedCell):
    """A cell that both runs have."""

    metric: Metric
    """What is compared."""
    a: SideEntry
    """In A."""
    b: SideEntry
    """In B."""
    work: float
    """The work of a request of B over that of one of A, by the runs' calibrations; the ratio is of work done."""
    ratio: IntervalEntry | None
    """B over A, with an interval; those of all cells hold at once with a chance of 95 %. Null where not compared."""
    exact: bool
    """Whether the interval follows from ranks alone; else it is widened, or there is none."""
    beside_others: float | None
    """The ratio over what all other cells have in common."""
    verdict: Verdict
    """Of B, as against A."""
    same: bool
    """Undecided, because the whole interval is within 2 % of 1: whatever the difference is, it is less than that."""
    detectable: float | None
    """The smallest difference, as a share (0.05: 5 % faster or slower), that these blocks with this scatter could have
    shown. Null where they could show none."""
    refused: str | None
    """Why it is not compared; null where it is."""
    warnings: list[str]
    """What a reader must know beside the ratio."""


class OnlyIn(TypedDict):
    """Cells that one of the runs does not have."""

    a: list[NamedCell]
    """Only in A."""
    b: list[NamedCell]
    """Only in B."""


class AgainstFile(TypedDict):
    """Two runs of wsgilab beside each other."""

    schema: int
    """The version of this file's shape: 1."""
    same_run: bool
    """Both are one and the same run."""
    runs: BothRuns
    """Which they are."""
    differences: list[DifferenceEntry]
    """What bears on cells that both have, those that weigh most first."""
    blocks_needed: int
    """With so many blocks of a cell in each run its interval is exact."""
    core_speed: float | None
    """The work that a core did in B for each unit in A, in the same time, when each was calibrated; null where one was
    not."""
    all_together: ShiftEntry | None
    """Null where nothing is concluded from any cell."""
    cells: list[CellOfRunsEntry]
    """Those that both have."""
    only_in: OnlyIn
    """Those that one has."""
