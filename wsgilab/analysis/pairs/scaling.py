"""What more cores bring: each cell against the same cell with the fewest cores that it was measured with."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from wsgilab.analysis.cell.readings import throughput_rps
from wsgilab.analysis.pairs.ratios import ByCell, intervals, paired
from wsgilab.model import Cell, Gate, Run, Scaling


def scaling(
    run: Run, cells: Sequence[Cell], by_cell: ByCell, broken: Mapping[Cell, Collection[Gate]]
) -> Iterable[Scaling]:
    """The throughput of each cell over that with the fewest cores; the intervals hold together, at 95 %.

    A cell at a fixed rate has the throughput that it is given, so it does not scale. It is left out, and so is a cell
    with a broken gate.
    """
    sound = [cell for cell in cells if cell.rate is None and not broken[cell]]
    fewest: dict[Cell, Cell] = {}
    for cell in sorted(sound, key=lambda cell: cell.cores):
        fewest.setdefault(replace(cell, cores=1), cell)
    pairs = [
        paired(cell, least, throughput_rps, (cell.workload,), by_cell)
        for cell in sound
        if (least := fewest[replace(cell, cores=1)]) is not cell
    ]
    for pair, interval in zip(pairs, intervals(run, pairs, lambda _, __: 1 / len(pairs)), strict=True):
        if interval is not None:
            yield Scaling(cell=pair.cell, over_cores=pair.other.cores, blocks=len(pair.ratios), ratio=interval)
