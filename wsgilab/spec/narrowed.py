"""An experiment as the command line narrows it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from wsgilab.errors import SpecError
from wsgilab.model import Cell, Experiment, Server
from wsgilab.parsing import check_known
from wsgilab.spec.file import MOST_BLOCKS
from wsgilab.spec.resolved import sequential
from wsgilab.workloads import parameters


def narrow(
    experiment: Experiment,
    catalogue: Mapping[str, Server],
    *,
    servers: Sequence[str] = (),
    cores: Sequence[int] = (),
    blocks: int | None = None,
    precision: float | None = None,
    max_blocks: int | None = None,
    share_generator: bool = False,
    generator_cores: int | None = None,
) -> Experiment:
    """The experiment with other servers, cores, blocks, or another generator, as the command line asks.

    `servers` are any of the catalogue: one that the experiment does not name is measured under each of its conditions.
    Where the reference is not among them, the first takes its place. Raises SpecError for a server that is unknown.
    """
    cells: Sequence[Cell] = experiment.cells
    reference = experiment.reference
    if servers:
        check_known(servers, catalogue, "--servers", "server")
        cells = _of_servers(cells, servers)
        reference = reference if reference in servers else servers[0]
    if any(count < 1 for count in cores):
        raise SpecError(f"--cores must be whole numbers from 1, not {', '.join(map(str, cores))}")
    if cores:
        cells = list(dict.fromkeys(replace(cell, cores=count) for cell in cells for count in cores))
    for option, count in (("blocks", blocks), ("max-blocks", max_blocks), ("generator-cores", generator_cores)):
        if count is not None and count < 1:
            raise SpecError(f"--{option} must be a whole number from 1, not {count}")
    for option, count in (("blocks", blocks), ("max-blocks", max_blocks)):
        if count is not None and count > MOST_BLOCKS:
            raise SpecError(f"--{option} must be {MOST_BLOCKS} at most, not {count}")
    if precision is not None and not 0 < precision < 1:
        raise SpecError(f"--precision must be a share such as 0.03, not {precision:g}")
    if max_blocks is not None and precision is None and experiment.precision is None:
        raise SpecError("--max-blocks says where a run with precision ends; give --precision too")
    narrowed = replace(
        experiment,
        cells=tuple(cells),
        reference=reference,
        blocks=blocks or experiment.blocks,
        generator="shared" if share_generator else experiment.generator,
        # Only of what is left, so that it is the same experiment when it is read from a file again.
        parameters=parameters({cell.workload for cell in cells}, experiment.parameters),
        generator_cores=generator_cores or experiment.generator_cores,
    )
    most = max_blocks or (experiment.max_blocks and max(experiment.max_blocks, narrowed.blocks))
    return sequential(narrowed, precision or experiment.precision, most, "--max-blocks")


def _of_servers(cells: Sequence[Cell], servers: Sequence[str]) -> list[Cell]:
    """The cells of `servers`; of one that has none, a cell for each condition there is."""
    named = {cell.server for cell in cells}
    conditions = dict.fromkeys(replace(cell, server="") for cell in cells)
    added = [replace(each, server=name) for name in servers if name not in named for each in conditions]
    return list(dict.fromkeys([cell for cell in cells if cell.server in servers] + added))
