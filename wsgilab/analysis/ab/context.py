"""What differs between two runs, where that matters to the cells that both have."""

import shlex
from collections.abc import Collection, Iterable, Sequence

from wsgilab.analysis.ab import requests
from wsgilab.analysis.ab.requests import SHOWN, Recorded, mappings
from wsgilab.model import Cell, Difference, Host, LaneRecord, Machine, Origin, Run, Stack, Weight
from wsgilab.model.text import counted, number

NETWORKS_ALIKE = 1.25
"""Round trips and bandwidths that differ by up to this factor are listed without a warning: they vary from hour to hour."""

FREQUENCIES_ALIKE = 1.05
"""Frequencies that differ by up to this factor are not listed: they vary from moment to moment."""

LOADS_ALIKE = 0.5
"""Nor are loads that differ by so many programs."""

NOT_RECORDED = "not recorded"
"""In place of the files of a run whose lab did not record them."""

_WEIGHTS: Sequence[Weight] = ("refuses", "warns", "told")


def differences(a: Run, b: Run, cells: Collection[Cell]) -> Sequence[Difference]:
    """All that matters to `cells`, which both runs have; those that weigh most first."""
    found = [
        *_weighed("refuses", requests.parameters(a, b, cells)),
        *_calibration(a, b, cells),
        *_weighed("warns", requests.applications(a, b, cells)),
        *_weighed("warns", (*_host(a.host, b.host), *_settings(a, b, cells), *_servers(a, b, cells))),
        *_host_states(a.host, b.host),
        *_weighed("warns", _machines(a.lanes, b.lanes)),
        *_networks(a.lanes, b.lanes),
        *_weighed("warns", (*_stacks(a, b), *_notes(a, b))),
        *_origins(a, b),
        *_weighed("told", _about(a, b)),
    ]
    return sorted(found, key=lambda each: _WEIGHTS.index(each.weight))


def _weighed(weight: Weight, found: Iterable[Recorded]) -> Iterable[Difference]:
    """Those of `found` that really differ."""
    for what, of_a, of_b in found:
        if of_a != of_b:
            yield Difference(what=what, a=of_a, b=of_b, weight=weight)


def _calibration(a: Run, b: Run, cells: Iterable[Cell]) -> Iterable[Difference]:
    """The calibration of `cpu`. A warning where requests are compared as they are; cells of `cpu` are compared by work."""
    computing = [cell for cell in cells if requests.computes(a, cell.workload)]
    in_a, in_b = (f"{steps:,.0f}" if (steps := requests.steps_per_ms(each)) else None for each in (a, b))
    weight: Weight = "warns" if any(requests.uneven_work(a, b, cell) for cell in computing) else "told"
    if computing:
        yield from _weighed(weight, [("calibration: steps of work a ms", in_a, in_b)])


# --- where it ran, and how


def _host(a: Host, b: Host) -> Iterable[Recorded]:
    yield "processor", a.cpu, b.cpu
    yield "architecture", a.architecture, b.architecture
    yield "usable cores", a.usable_cpus, b.usable_cpus
    yield "cores that share a physical one", " ".join(a.siblings), " ".join(b.siblings)
    yield "memory", f"{a.memory_bytes / 2**30:.1f} GiB", f"{b.memory_bytes / 2**30:.1f} GiB"
    yield "kernel", a.kernel, b.kernel
    yield "the lab's Python", a.python, b.python


def _host_states(a: Host, b: Host) -> Iterable[Difference]:
    """How the machines were set, and what they were doing. Nothing where one of the labs did not record that."""
    if a.load is None or b.load is None:
        return
    turbo_a, turbo_b = (None if each.turbo is None else "on" if each.turbo else "off" for each in (a, b))
    quota_a, quota_b = (None if each.quota is None else f"{each.quota:g} cores" for each in (a, b))
    settings = [
        ("virtual machine", a.virtualization, b.virtualization),
        ("governor", a.governor, b.governor),
        ("turbo", turbo_a, turbo_b),
        ("isolated cores", a.isolated, b.isolated),
        ("CPU quota", quota_a, quota_b),
    ]
    yield from _weighed("warns", settings)
    if a.mhz and b.mhz and max(a.mhz, b.mhz) > FREQUENCIES_ALIKE * min(a.mhz, b.mhz):
        yield from _weighed("told", [("frequency when it began", f"{a.mhz:.0f} MHz", f"{b.mhz:.0f} MHz")])
    if abs(a.load - b.load) > LOADS_ALIKE:
        yield from _weighed("told", [("load when it began", f"{a.load:.2f}", f"{b.load:.2f}")])


def _machines(a: Sequence[LaneRecord], b: Sequence[LaneRecord]) -> Iterable[Recorded]:
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
    spelt = [f"{each.host.cpu}, cores {each.cpus}" for machines in groups for each in machines]
    return "; ".join(dict.fromkeys(spelt)) or None


def _networks(a: Sequence[LaneRecord], b: Sequence[LaneRecord]) -> Iterable[Difference]:
    """The network between targets and users when the runs began, on the first lane of each."""
    if not a or not b:
        # A run without such a network differs in its machines.
        return
    for what, of_a, of_b, unit in (
        ("round trip", a[0].round_trip_ms, b[0].round_trip_ms, "ms"),
        ("bandwidth", a[0].bandwidth_mbps, b[0].bandwidth_mbps, "megabits/s"),
    ):
        low, high = sorted((of_a, of_b))
        weight: Weight = "warns" if high > NETWORKS_ALIKE * low else "told"
        yield from _weighed(weight, [(what, f"{number(of_a)} {unit}", f"{number(of_b)} {unit}")])


def _settings(a: Run, b: Run, cells: Iterable[Cell]) -> Iterable[Recorded]:
    yield "runtime", a.runtime, b.runtime
    for count in sorted({cell.cores for cell in cells}):
        yield f"servers with {counted(count, 'core')} on", a.server_cpus.get(count), b.server_cpus.get(count)
    yield "generator on", a.generator_cpus, b.generator_cpus
    yield "generator's cores", a.experiment.generator, b.experiment.generator
    yield "backends on", a.backend_cpus or None, b.backend_cpus or None
    yield "window", f"{a.experiment.window_s:g} s", f"{b.experiment.window_s:g} s"
    yield "patience", f"{a.experiment.patience_s:g} s", f"{b.experiment.patience_s:g} s"
    yield "the lab", a.lab, b.lab


def _servers(a: Run, b: Run, cells: Iterable[Cell]) -> Iterable[Recorded]:
    for name in dict.fromkeys(cell.server for cell in cells):
        of_a, of_b = a.servers[name], b.servers[name]
        yield f"{name}: command", shlex.join(of_a.command), shlex.join(of_b.command)
        yield from mappings(f"{name}:", of_a.environment, of_b.environment)
        yield f"{name}: slots", _count(of_a.slots), _count(of_b.slots)
        yield f"{name}: processes", _count(of_a.processes), _count(of_b.processes)
        yield f"{name}: stack", of_a.stack, of_b.stack
        gil_a, gil_b = ("on" if each.gil.get(name, True) else "off" for each in (a, b))
        yield f"{name}: GIL", gil_a, gil_b


def _count(count: int | None) -> str:
    return "unbounded" if count is None else str(count)


def _stacks(a: Run, b: Run) -> Iterable[Recorded]:
    """The stacks that both runs have: where a server has another stack, that is a difference of the server."""
    for name in sorted(a.stacks.keys() & b.stacks.keys()):
        yield from _stack(f"stack {name}", a.stacks[name], b.stacks[name])


def _stack(name: str, a: Stack, b: Stack) -> Iterable[Recorded]:
    yield f"{name}: Python", a.python, b.python
    packages_a, packages_b = a.packages, b.packages
    if a.is_complete != b.is_complete:
        # One of them recorded only a few, and nothing is known of the rest.
        packages_a, packages_b = (
            {key: version for key, version in each.items() if key in other}
            for each, other in ((packages_a, packages_b), (packages_b, packages_a))
        )
    yield from mappings(f"{name}:", packages_a, packages_b)
    if (packages_a, a.python) == (packages_b, b.python):
        # With equal versions, it may still be another image or lock file.
        yield f"{name}: digest", a.digest, b.digest


def _origins(a: Run, b: Run) -> Iterable[Difference]:
    """The files of the application and of the lab. Where neither run has recorded them, nothing is known to differ."""
    if a.origin is None or b.origin is None:
        files_a, files_b = (NOT_RECORDED if each.origin is None else "recorded" for each in (a, b))
        yield from _weighed("warns", [("application, Locust files and locks", files_a, files_b)])
        return
    for part in dict.fromkeys((*a.origin.files, *b.origin.files)):
        of_a, of_b = (each.files.get(part, {}) for each in (a.origin, b.origin))
        for path in sorted(of_a.keys() | of_b.keys()):
            # No file that both have refers to one that only one has: where that matters, another file differs too.
            weight: Weight = "warns" if path in of_a and path in of_b else "told"
            in_a, in_b = (each[path][:SHOWN] if path in each else None for each in (of_a, of_b))
            yield from _weighed(weight, [(f"{part}: {path}", in_a, in_b)])
    yield from _weighed("told", [("git revision", _revision(a.origin), _revision(b.origin))])


def _revision(origin: Origin) -> str | None:
    if origin.revision is None:
        return None
    return origin.revision[:SHOWN] + (" with changes" if origin.dirty else "")


def _notes(a: Run, b: Run) -> Iterable[Recorded]:
    for note in dict.fromkeys((*a.notes, *b.notes)):
        yield "note of the machine", note if note in a.notes else None, note if note in b.notes else None


def _about(a: Run, b: Run) -> Iterable[Recorded]:
    """What matters to no figure of a cell that both have."""
    yield "experiment", a.experiment.name, b.experiment.name
    yield from mappings("the lab's", a.packages, b.packages)
