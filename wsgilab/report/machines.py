"""The machines that a run ran on, in words, and the difference that they made."""

from collections.abc import Iterable

from wsgilab.analysis.stats import FEWEST_BLOCKS
from wsgilab.model import Comparison, Host, LaneRecord, Machine, MachineEffect, Run
from wsgilab.model.text import number
from wsgilab.report import tables
from wsgilab.report.tables import Column, Table
from wsgilab.system import cpus

_COLUMNS = (
    Column("machine", 0, numeric=False),
    Column("blocks", 0),
    Column("x throughput", 0),
    Column("its interval", 0),
)

WHOLE = (
    "Each block is whole on one machine, so ratios between servers are free of what the machines differ in. Absolute figures "
    "are over the blocks of all of them."
)


def machine(run: Run) -> str:
    """What it ran on, and who had which cores."""
    pinned = ", or ".join(map(cpus.named, run.server_cpus.values()))
    backends = f", backends on core {run.backend_cpus}" if run.backend_cpus else ""
    if run.lanes:
        return f"{between(run)}. Servers on {pinned}{backends} of theirs."
    servers = f"servers on {pinned}, " if pinned else ""
    return (
        f"{run.host.cpu}, usable cores {run.host.usable_cpus}; "
        f"{servers}generator on core {run.generator_cpus}{backends}."
    )


def state(host: Host) -> str:
    """What about the machine makes figures scatter or differ, as far as it was recorded."""
    known = (
        (host.virtualization, f"virtual: {host.virtualization}"),
        (host.governor, f"governor {host.governor}"),
        (host.turbo is not None, f"turbo {'on' if host.turbo else 'off'}"),
        (host.mhz, f"{host.mhz or 0:.0f} MHz"),
        (host.isolated, f"isolated cores {host.isolated}"),
        (host.quota, f"a CPU quota of {host.quota or 0:g} cores"),
        (host.load is not None, f"load {host.load or 0:.2f} when it began"),
    )
    return ", ".join(words for is_known, words in known if is_known)


def between(run: Run) -> str:
    """Each machine of targets, those that loaded it, and what lay between."""
    return ". ".join(map(_lane, run.lanes))


def _lane(lane: LaneRecord) -> str:
    return (
        f"Targets on {_named(lane.targets)}, users on {' and '.join(map(_named, lane.swarm))}, and between them a round trip "
        f"of {number(lane.round_trip_ms)} ms and {number(lane.bandwidth_mbps)} megabits/s"
    )


def _named(of: Machine) -> str:
    return f"{of.name} ({of.host.cpu}, cores {of.cpus})"


def effects(comparison: Comparison) -> Table | None:
    """Each machine of targets against the others; None where there are no others."""
    if not comparison.machines:
        return None
    return Table(
        title="Machines: the blocks of each against those of the others",
        columns=_COLUMNS,
        rows=tuple(map(_row, comparison.machines)),
        notes=(WHOLE, *warnings(comparison)),
    )


def _row(effect: MachineEffect) -> tuple[str, ...]:
    return (
        effect.machine,
        str(effect.blocks),
        f"{effect.throughput.median:.3f}",
        tables.ends(effect.throughput, "{:.3f}".format),
    )


def warnings(comparison: Comparison) -> Iterable[str]:
    """What a reader must know where machines are not alike, or where that is unknown."""
    unlike = [each for each in comparison.machines if _differs(each)]
    if unlike:
        effects = ", ".join(
            f"{each.machine} had {each.throughput.median:.3f} times the throughput of the others"
            f" ({tables.ends(each.throughput, '{:.3f}'.format)})"
            for each in unlike
        )
        yield f"The machines are not alike: {effects}. Absolute figures mix them."
    elif any(each.throughput.low is None for each in comparison.machines):
        yield f"Whether the machines are alike cannot be told with fewer than {FEWEST_BLOCKS} blocks on one or on the others."


def _differs(effect: MachineEffect) -> bool:
    low, high = effect.throughput.low, effect.throughput.high
    return low is not None and high is not None and not low <= 1 <= high
