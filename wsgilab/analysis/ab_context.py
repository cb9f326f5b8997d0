"""What is not the same in two runs, as far as it bears on cells that both have, and what it means for these."""

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence

from wsgilab.analysis.network import three_digits
from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model import Cell, Difference, Host, LaneRecord, Machine, Origin, Run, Server, Stack, Weight

ALIKE = 0.01
"""Up to this share, calibrations that differ are told and not warned about."""

NETWORKS_ALIKE = 1.25
"""Up to this factor, round trips and bandwidths that differ are told and not warned about: they vary from hour to hour."""

COMPUTING = "cpu"
"""The workload whose work is calibrated once a run; those that have it as a part share its calibration."""

NOT_RECORDED = "not recorded"
"""What is said of the files of a run whose lab did not record them."""

_SHOWN = 12
"""So much of a digest or a revision is shown."""

_WEIGHTS: Sequence[Weight] = ("refuses", "warns", "told")

Told = tuple[str, str | None, str | None]
"""What it is, and what each run says of it."""


def differences(a: Run, b: Run, cells: Collection[Cell]) -> Sequence[Difference]:
    """All that bears on `cells`, which both runs have; those that weigh most first."""
    found = [
        *_weighed("refuses", _parameters(a, b, cells)),
        *_calibration(a, b, cells),
        *_weighed("warns", (*_host(a.host, b.host), *_manner(a, b, cells), *_servers(a, b, cells))),
        *_weighed("warns", _machines(a.lanes, b.lanes)),
        *_networks(a.lanes, b.lanes),
        *_weighed("warns", (*_stacks(a, b), *_notes(a, b))),
        *_origins(a, b),
        *_weighed("told", _about(a, b)),
    ]
    return sorted(found, key=lambda each: _WEIGHTS.index(each.weight))


def refusal(a: Run, b: Run, cell: Cell) -> str:
    """Why the two runs' figures of a cell must not be compared; empty where they may be."""
    told = [
        f"{what} is {_or_none(of_a)} in A and {_or_none(of_b)} in B" for what, of_a, of_b in _parameters(a, b, [cell])
    ]
    if told:
        return f"a request is not the same: {', '.join(told)}"
    if cell.workload == COMPUTING and (a.cpu_iterations is None) != (b.cpu_iterations is None):
        return "a request is not the same: its work is calibrated in only one of the runs"
    return ""


def work(a: Run, b: Run, cell: Cell) -> float:
    """How much work a request of B does for each one of A, where the cell's throughput can be told as work done: where
    that is all that requests do, and as many as the server can take. Else 1.

    What a request costs beside its work is spread over more of it where this is above 1: with calibrations that differ
    by a tenth, and a tenth of a request's time for all else, the work done is overrated by one percent.
    """
    if cell.workload != COMPUTING or cell.rate is not None or not a.cpu_iterations or not b.cpu_iterations:
        return 1.0
    return b.cpu_iterations / a.cpu_iterations


def speed_of_core(a: Run, b: Run) -> float | None:
    """How many steps of work a core did for each one that it did in A, in the same time, when each run was calibrated;
    None where one was not."""
    steps = [_steps_per_ms(each) for each in (a, b)]
    return steps[1] / steps[0] if steps[0] and steps[1] else None


def uneven_work(a: Run, b: Run, cell: Cell) -> str:
    """What to tell of a cell whose requests do not do the same work, by more than ALIKE, and are compared as they are;
    empty where they do."""
    speed = speed_of_core(a, b)
    if speed is None or abs(speed - 1) <= ALIKE or work(a, b, cell) != 1 or COMPUTING not in _parts(cell.workload):
        return ""
    return f"where it computes, a request of B does {speed:.3f} times the work of one of A, by the runs' calibrations"


def _weighed(weight: Weight, found: Iterable[Told]) -> Iterable[Difference]:
    """Of what was found, what really differs."""
    for what, of_a, of_b in found:
        if of_a != of_b:
            yield Difference(what=what, a=of_a, b=of_b, weight=weight)


def _mappings(of: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterable[Told]:
    """What two mappings differ in, by key; `of` stands before it."""
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key):
            yield f"{of} {key}", a.get(key), b.get(key)


def _or_none(value: str | None) -> str:
    return "none" if value is None else value


# --- what a request does


def _parts(workload: str) -> Sequence[str]:
    """The workload and all that it is made of; of one that this lab does not know, as in a run of another, itself."""
    known = WORKLOADS.get(workload)
    return (workload, *(known.parts if known else ()))


def _parameters(a: Run, b: Run, cells: Iterable[Cell]) -> Iterable[Told]:
    """The parameters of the cells' workloads, and of what these are made of."""
    for workload in dict.fromkeys(part for cell in cells for part in _parts(cell.workload)):
        of_a, of_b = (
            {name: f"{value:g}" for name, value in run.experiment.parameters.get(workload, {}).items()}
            for run in (a, b)
        )
        yield from _mappings(workload, of_a, of_b)


def _steps_per_ms(run: Run) -> float:
    """How many steps of work take a millisecond, by the run's calibration; 0 where it has none."""
    ms = run.experiment.parameters.get(COMPUTING, {}).get("ms")
    return (run.cpu_iterations or 0) / ms if ms else 0.0


def _calibration(a: Run, b: Run, cells: Iterable[Cell]) -> Iterable[Difference]:
    """Of `cpu`, whose cells are compared by work done, it is told; where requests are compared as they are, it
    matters."""
    computing = [cell for cell in cells if COMPUTING in _parts(cell.workload)]
    told = [f"{steps:,.0f}" if (steps := _steps_per_ms(each)) else None for each in (a, b)]
    weight: Weight = "warns" if any(uneven_work(a, b, cell) for cell in computing) else "told"
    if computing:
        yield from _weighed(weight, [("calibration: steps of work a ms", told[0], told[1])])


# --- where it ran, and how


def _host(a: Host, b: Host) -> Iterable[Told]:
    yield "processor", a.cpu, b.cpu
    yield "architecture", a.architecture, b.architecture
    yield "usable cores", a.usable_cpus, b.usable_cpus
    yield "cores that share a physical one", " ".join(a.siblings), " ".join(b.siblings)
    yield "memory", _gib(a.memory_bytes), _gib(b.memory_bytes)
    yield "kernel", a.kernel, b.kernel
    yield "the lab's Python", a.python, b.python


def _machines(a: Sequence[LaneRecord], b: Sequence[LaneRecord]) -> Iterable[Told]:
    """Whether the users had machines of their own, and what these and further machines of targets were."""
    yield "machines", _shape(a), _shape(b)
    if a and b:
        yield "the users' machines", _spelt(lane.swarm for lane in a), _spelt(lane.swarm for lane in b)
        # The first one is the host.
        yield "further machines of targets", _spelt([_further(a)]), _spelt([_further(b)])


def _shape(lanes: Sequence[LaneRecord]) -> str:
    if not lanes:
        return "one for targets and users"
    users = sum(len(lane.swarm) for lane in lanes)
    return f"{len(lanes)} for targets, {users} for users"


def _further(lanes: Sequence[LaneRecord]) -> Sequence[Machine]:
    return [lane.targets for lane in lanes[1:]]


def _spelt(groups: Iterable[Sequence[Machine]]) -> str | None:
    """What the machines are, whatever their names; None where there are none."""
    told = [f"{each.host.cpu}, cores {each.cpus}" for machines in groups for each in machines]
    return "; ".join(dict.fromkeys(told)) or None


def _networks(a: Sequence[LaneRecord], b: Sequence[LaneRecord]) -> Iterable[Difference]:
    """What lay between targets and users when the runs began, on the first lane of each."""
    if not a or not b:
        # That there is none of it in one of the runs is told as its machines.
        return
    for what, of_a, of_b, unit in (
        ("round trip", a[0].round_trip_ms, b[0].round_trip_ms, "ms"),
        ("bandwidth", a[0].bandwidth_mbps, b[0].bandwidth_mbps, "megabits/s"),
    ):
        low, high = sorted((of_a, of_b))
        weight: Weight = "warns" if high > NETWORKS_ALIKE * low else "told"
        yield from _weighed(weight, [(what, f"{three_digits(of_a)} {unit}", f"{three_digits(of_b)} {unit}")])


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _manner(a: Run, b: Run, cells: Iterable[Cell]) -> Iterable[Told]:
    yield "runtime", a.runtime, b.runtime
    for count in sorted({cell.cores for cell in cells}):
        what = f"servers with {count} core{'s' * (count > 1)} on"
        yield what, a.server_cpus.get(count), b.server_cpus.get(count)
    yield "generator on", a.generator_cpus, b.generator_cpus
    yield "generator's cores", a.experiment.generator, b.experiment.generator
    yield "backends on", a.backend_cpus or None, b.backend_cpus or None
    yield "window", f"{a.experiment.window_s:g} s", f"{b.experiment.window_s:g} s"
    yield "patience", f"{a.experiment.patience_s:g} s", f"{b.experiment.patience_s:g} s"
    yield "the lab", a.lab, b.lab


def _servers(a: Run, b: Run, cells: Iterable[Cell]) -> Iterable[Told]:
    for name in dict.fromkeys(cell.server for cell in cells):
        yield from _server(name, a.servers[name], b.servers[name])


def _server(name: str, a: Server, b: Server) -> Iterable[Told]:
    yield f"{name}: command", shlex.join(a.command), shlex.join(b.command)
    yield from _mappings(f"{name}:", a.environment, b.environment)
    yield f"{name}: slots", _count(a.slots), _count(b.slots)
    yield f"{name}: processes", _count(a.processes), _count(b.processes)
    yield f"{name}: stack", a.stack, b.stack


def _count(count: int | None) -> str:
    return "unbounded" if count is None else str(count)


def _stacks(a: Run, b: Run) -> Iterable[Told]:
    """Those that both have: a stack that a server has only in one of them is a difference of the server."""
    for name in sorted(a.stacks.keys() & b.stacks.keys()):
        yield from _stack(f"stack {name}", a.stacks[name], b.stacks[name])


def _stack(name: str, a: Stack, b: Stack) -> Iterable[Told]:
    yield f"{name}: Python", a.python, b.python
    packages_a, packages_b = a.packages, b.packages
    if a.is_complete != b.is_complete:
        # One of them recorded a few: whether it had the rest, nobody knows.
        packages_a, packages_b = (
            {key: version for key, version in each.items() if key in other}
            for each, other in ((packages_a, packages_b), (packages_b, packages_a))
        )
    yield from _mappings(f"{name}:", packages_a, packages_b)
    if (packages_a, a.python) == (packages_b, b.python):
        # Of equal versions, still another image or another lock file.
        yield f"{name}: digest", a.digest, b.digest


def _origins(a: Run, b: Run) -> Iterable[Difference]:
    """What files measured, and were measured. Where neither run has recorded that, nothing is known to differ."""
    if a.origin is None or b.origin is None:
        told = [NOT_RECORDED if each.origin is None else "recorded" for each in (a, b)]
        yield from _weighed("warns", [("application, Locust files and locks", told[0], told[1])])
        return
    for part in dict.fromkeys((*a.origin.files, *b.origin.files)):
        of_a, of_b = (each.files.get(part, {}) for each in (a.origin, b.origin))
        for path in sorted(of_a.keys() | of_b.keys()):
            # What only one has, nothing that both have knows of: where that matters, something else differs too.
            weight: Weight = "warns" if path in of_a and path in of_b else "told"
            in_a, in_b = (each[path][:_SHOWN] if path in each else None for each in (of_a, of_b))
            yield from _weighed(weight, [(f"{part}: {path}", in_a, in_b)])
    yield from _weighed("told", [("git revision", _revision(a.origin), _revision(b.origin))])


def _revision(origin: Origin) -> str | None:
    if origin.revision is None:
        return None
    return origin.revision[:_SHOWN] + (" with changes" if origin.dirty else "")


def _notes(a: Run, b: Run) -> Iterable[Told]:
    for note in dict.fromkeys((*a.notes, *b.notes)):
        yield "note of the machine", note if note in a.notes else None, note if note in b.notes else None


def _about(a: Run, b: Run) -> Iterable[Told]:
    """What bears on no figure of a cell that both have."""
    yield "experiment", a.experiment.name, b.experiment.name
    yield from _mappings("the lab's", a.packages, b.packages)
