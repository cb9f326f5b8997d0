"""Which run it was, and on what machines, as every document of results has it."""

from typing_extensions import TypedDict  # typing's own tells pydantic too little before Python 3.12

from wsgilab.model import Host, LaneRecord, Machine, Run, RuntimeName


class HostEntry(TypedDict):
    """The machine, as far as it matters for a comparison."""

    cpu: str
    """The processor's name."""
    architecture: str
    """Such as x86_64."""
    usable_cpus: str
    """The cores that the lab might use, as a list such as `0,2-3`."""
    siblings: list[str]
    """Lists of logical cores that share one physical core."""
    memory_bytes: int
    """Main memory, in bytes."""
    kernel: str
    """The operating system's release."""
    python: str
    """The lab's own Python."""


class MachineEntry(TypedDict):
    """A machine of several."""

    name: str
    """As the site file had it."""
    host: HostEntry
    """What it is."""
    cpus: str
    """The cores that the lab could use there, as a list."""


class LaneEntry(TypedDict):
    """A machine of targets, those that loaded it, and what lay between them when the run began."""

    targets: MachineEntry
    """Where the servers ran, and the backends."""
    swarm: list[MachineEntry]
    """Where the users were."""
    round_trip_ms: float
    """Milliseconds for a small message and its answer, both machines idle: the median."""
    bandwidth_mbps: float
    """Megabits a second that one connection brought from the targets' machine to the first of the users'."""


class Identity(TypedDict):
    """Which run it was, and on what machine."""

    id: str
    """The run's folder under `results/`."""
    experiment: str
    """The experiment's name."""
    runtime: RuntimeName
    """Whether servers ran in containers (`compose`) or as processes (`local`)."""
    seed: int
    """What the order of the trials was made from."""
    started: str
    """ISO 8601, with the offset from UTC."""
    host: HostEntry
    """Where it ran; where there are several machines, the first one of targets."""
    server_cpus: dict[int, str]
    """Number of cores -> the list of those that servers with so many were pinned to."""
    generator_cpus: str
    """The cores of the load generator, as a list."""
    backend_cpus: str
    """Those of database and upstream service; empty where no workload needs them."""
    lanes: list[LaneEntry]
    """One for each machine of targets; empty where all ran on one machine."""


def identity(run: Run) -> Identity:
    return {
        "id": run.id,
        "experiment": run.experiment.name,
        "runtime": run.runtime,
        "seed": run.seed,
        "started": run.started,
        "host": _host(run.host),
        "server_cpus": dict(run.server_cpus),
        "generator_cpus": run.generator_cpus,
        "backend_cpus": run.backend_cpus,
        "lanes": [_lane(lane) for lane in run.lanes],
    }


def _host(host: Host) -> HostEntry:
    return {
        "cpu": host.cpu,
        "architecture": host.architecture,
        "usable_cpus": host.usable_cpus,
        "siblings": list(host.siblings),
        "memory_bytes": host.memory_bytes,
        "kernel": host.kernel,
        "python": host.python,
    }


def _machine(machine: Machine) -> MachineEntry:
    return {"name": machine.name, "host": _host(machine.host), "cpus": machine.cpus}


def _lane(lane: LaneRecord) -> LaneEntry:
    return {
        "targets": _machine(lane.targets),
        "swarm": [_machine(each) for each in lane.swarm],
        "round_trip_ms": round(lane.round_trip_ms, 3),
        "bandwidth_mbps": round(lane.bandwidth_mbps, 1),
    }
