"""What others than the lab took of the cores that a trial ran on, when that was too much, and which windows are left then. Pure."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsgilab.analysis.stats import FEWEST_BLOCKS
from wsgilab.model import Cell, Observation, Run
from wsgilab.system import cpus

NEIGHBOUR_LIMIT = 0.03
"""Above this share of the server's or of the generator's cores, others disturb what is measured."""
SLIGHT_LIMIT = 0.1
"""Up to this share, what others take bounds how far a figure that a claim is about may be from what it would be without them."""
RESOLUTION_S = 0.01
"""The kernel counts idle time in such steps, so that the time between two readings is wrong by as much at most."""
_NAMED = 3
"""How many of the others a warning names."""
AMONG = ", among them "
"""What their names follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Shares of cores that others used, or that a hypervisor took away. None: not measured."""

    server: float | None
    generator: float | None


def taken(run: Run, measured: Observation) -> Taken:
    """What others used of a trial's cores: how busy these were, less what the lab's own processes used."""
    swarm, cell = measured.swarm, measured.cell
    # Where the server's own cores are not known, it may be what used the generator's.
    if not cell.cores or swarm is None or swarm.server_busy is None or swarm.generator_others is None:
        return Taken(server=None, generator=None)
    servers, generator = cpus.parse(run.server_cpus[cell.cores]), cpus.parse(run.generator_cpus)
    span_s = measured.server_span_s or 0.0
    # Usage is read around the window's ends, so it is compared by its rate. Cores' worth each.
    server = measured.server_cpu_s / span_s if measured.server_cpu_s is not None and span_s else None
    backend = measured.backend_cpu_s / span_s if measured.backend_cpu_s is not None and span_s else 0.0
    lab = measured.lab_cpu or 0.0
    if not run.lanes and servers & generator:
        # Who used the core that they share is not known, so both get the share of all that are not the lab's.
        ours = None if server is None else server + swarm.generator_cpu + lab
        both = _left(swarm.server_busy, ours, len(servers))
        return Taken(server=both, generator=both)
    shares_backend = not run.lanes and run.backend_cpus and cpus.parse(run.backend_cpus) & generator
    beside = lab + (backend if shares_backend else 0.0)
    return Taken(
        server=_left(swarm.server_busy, server, len(servers)),
        generator=_left(swarm.generator_others, beside, len(generator)),
    )


def _left(busy: float, ours: float | None, count: int) -> float | None:
    """The share of so many cores that is not `ours` (cores' worth)."""
    return None if ours is None else max(0.0, busy - ours / count)


def is_disturbed(run: Run, observation: Observation) -> bool:
    """Whether others took more than NEIGHBOUR_LIMIT in a window, by more than the kernel's counting error."""
    found, swarm = taken(run, observation), observation.swarm
    return swarm is not None and any(
        share is not None and is_beyond(share, swarm.window_s) for share in (found.server, found.generator)
    )


def clean(run: Run, observations: Iterable[Observation]) -> Sequence[Observation]:
    """The observations that nobody disturbed, and failed trials: beside a neighbour, a verdict on speed comes from these
    alone."""
    return [each for each in observations if not is_disturbed(run, each)]


def undisturbed(run: Run, observations: Iterable[Observation]) -> Sequence[Observation]:
    """The observations to conclude from: of a cell with FEWEST_BLOCKS windows that nobody disturbed or more, without the
    disturbed ones; of any other cell all.

    What others took decides alone, and never how fast the server was in a window or how much CPU time it used. Failed trials stay.
    """
    of_cells: dict[Cell, list[Observation]] = defaultdict(list)
    for each in observations:
        of_cells[each.cell].append(each)
    kept: list[Observation] = []
    for of_cell in of_cells.values():
        left = clean(run, of_cell)
        kept += left if sum(each.swarm is not None for each in left) >= FEWEST_BLOCKS else of_cell
    return kept


def beside(run: Run, observations: Iterable[Observation]) -> Sequence[Observation]:
    """The measured ones without those in which others disturbed the generator: their CPU time can be compared, whatever others
    took of the server's cores. None where others disturbed it on average all the same."""
    kept, shares = [], []
    for each in observations:
        share = taken(run, each).generator
        if each.swarm is not None and (share is None or not is_beyond(share, each.swarm.window_s)):
            kept.append(each)
            shares.append(share)
    return [] if any(_too_much(shares, kept)) else kept


def mean_share(run: Run, observations: Iterable[Observation]) -> float:
    """What others took of the server's cores in these windows, on average; 0 where it was not measured."""
    return statistics.fmean([taken(run, each).server or 0.0 for each in observations] or [0.0])


def most_taken(run: Run, observations: Iterable[Observation]) -> tuple[float, float]:
    """The most that others took of the server's and of the generator's cores in any of these windows, as shares of one."""
    every = [taken(run, each) for each in observations]
    server, generator = (
        [share or 0.0 for share in each] for each in zip(*((of.server, of.generator) for of in every), strict=True)
    )
    return max(server), max(generator)


def disturbance(run: Run, cell: Cell, measured: Sequence[Observation]) -> str:
    """A warning about what others took of a cell's cores, in a window or on average; empty where that was no more than
    NEIGHBOUR_LIMIT."""
    disturbed = [each for each in measured if is_disturbed(run, each)]
    every = [taken(run, each) for each in measured]
    taken_from = [
        f"{share} of the {whose} {cpus.named(cpuset)} ({when})"
        for shares, whose, cpuset in (
            ([each.server for each in every], "server's", run.server_cpus.get(cell.cores, "")),
            ([each.generator for each in every], "generator's", run.generator_cpus),
        )
        for share, when in _too_much(shares, measured)
    ]
    if not taken_from:
        return ""
    names = list(dict.fromkeys(name for each in disturbed for name in each.neighbours))
    who = f"{AMONG}{', '.join(names[:_NAMED])}" if names else ""
    return f"others took {' and '.join(taken_from)}{who}"


def throttling(run: Run, measured: Sequence[Observation]) -> str:
    """A warning about the windows in which a CPU quota stopped the server that its cell does not have, with the remedy; empty where none
    did."""
    stopped = sum(bool(each.throttled) for each in measured if each.cell.quota is None)
    if not stopped:
        return ""
    whose = "the server's container" if run.runtime == "compose" else "the lab, which its servers are under"
    return (
        f"a CPU quota stopped the server in {stopped} of {len(measured)} windows: take it from {whose} (--cpus, cpu.max), or raise "
        "it to all cores that are used; the lab pins servers to cores instead"
    )


def _too_much(shares: Sequence[float | None], measured: Sequence[Observation]) -> Iterable[tuple[str, str]]:
    """How much of one side's cores others took, and when; nothing where it was no more than NEIGHBOUR_LIMIT."""
    known = [
        (share, each.swarm.window_s)
        for share, each in zip(shares, measured, strict=True)
        if share is not None and each.swarm is not None
    ]
    beyond = [share for share, window_s in known if is_beyond(share, window_s)]
    if beyond:
        yield f"up to {max(beyond):.0%}", f"in {len(beyond)} of {len(measured)} windows"
    elif known:
        together_s = math.fsum(window_s for _, window_s in known)
        average = math.fsum(share * window_s for share, window_s in known) / together_s
        if is_beyond(average, together_s):
            yield f"{average:.1%}", "on average"


def is_beyond(share: float, seconds: float) -> bool:
    """Whether a share of cores over so many seconds exceeds NEIGHBOUR_LIMIT by more than the kernel's counting error."""
    return share > NEIGHBOUR_LIMIT + RESOLUTION_S / seconds
