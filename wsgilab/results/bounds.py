"""What the shape of a stored run does not tell: names, cores, and what goes with what. Pure."""

import re
from collections.abc import Collection
from datetime import datetime

from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model import Cell, Host, Machine, Observation, Origin, Run, Timeline, TrialReport
from wsgilab.results import histogram
from wsgilab.results.ranges import COUNT, FROM_ONE, MS, check_number, check_numbers
from wsgilab.results.unsound import Unsound, short
from wsgilab.system import cpus

MOST_CELLS = 10_000
MOST_STAYS = 200_000
MOST_LANES = 1_000
MOST_MACHINES = 10_000
"""Of all lanes together."""

PERCENTILES = frozenset({"p50", "p95", "p99", "max"})

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,149}")
_PART = re.compile(r"[A-Za-z][A-Za-z ]{0,49}")
_PATH = re.compile(r"[^/\s][^\n]{0,299}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CPUSET = re.compile(r"[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?){0,9999}")


def check_run(run: Run) -> None:
    """Raises Unsound, with the key, for what no run of the lab has."""
    check_numbers(run, "")
    _matches(_RUN_ID, run.id, "id", "the id of a run")
    _moment(run.started, "started")
    _check_experiment(run)
    _check_host(run.host, "host.")
    _check_lanes(run)
    for count, given in run.server_cpus.items():
        if len(_cores(given, f"server_cpus.{count}")) != count:
            raise Unsound(f"server_cpus.{count}", f"{short(given)} is not so many cores")
    _cores(run.generator_cpus, "generator_cpus")
    if run.backend_cpus:
        _cores(run.backend_cpus, "backend_cpus")
    for name, server in run.servers.items():
        key = f"servers.{short(name, quoted=False)}"
        _matches(_NAME, name, key, "a server's name")
        if server.name != name:
            raise Unsound(f"{key}.name", f"is {short(server.name)}, not the name that it stands under")
        check_numbers(server, f"{key}.")
    _check_origin(run.origin)
    for number, note in enumerate(run.notes):
        # An empty one would make a heading of what stands before it.
        if not note.strip():
            raise Unsound(f"notes.{number}", "is empty")


def _check_origin(origin: Origin | None) -> None:
    if origin is None:
        return
    for part, files in origin.files.items():
        key = f"origin.files.{short(part, quoted=False)}"
        _matches(_PART, part, key, "a part of what is measured")
        for path, digest in files.items():
            key = f"{key}.{short(path, quoted=False)}"
            _matches(_PATH, path, key, "a path")
            _matches(_DIGEST, digest, key, "a SHA-256")
    if origin.revision is not None:
        _matches(_REVISION, origin.revision, "origin.revision", "a revision of git")


def _check_host(host: Host, within: str) -> None:
    check_numbers(host, within)
    _cores(host.usable_cpus, f"{within}usable_cpus")
    for number, group in enumerate(host.siblings):
        _cores(group, f"{within}siblings.{number}")


def _check_lanes(run: Run) -> None:
    if len(run.lanes) > MOST_LANES:
        raise Unsound("lanes", f"has more than {MOST_LANES:,}")
    if sum(1 + len(lane.swarm) for lane in run.lanes) > MOST_MACHINES:
        raise Unsound("lanes", f"has more than {MOST_MACHINES:,} machines")
    seen: set[str] = set()
    for number, lane in enumerate(run.lanes):
        key = f"lanes.{number}"
        check_numbers(lane, f"{key}.")
        if not lane.swarm:
            raise Unsound(f"{key}.swarm", "is empty")
        named = (("targets", lane.targets), *((f"swarm.{place}", each) for place, each in enumerate(lane.swarm)))
        for place, machine in named:
            _check_machine(machine, f"{key}.{place}")
            if machine.name in seen:
                raise Unsound(f"{key}.{place}.name", f"{short(machine.name)} is another machine's too")
            seen.add(machine.name)


def _check_machine(machine: Machine, key: str) -> None:
    _matches(_NAME, machine.name, f"{key}.name", "a machine's name")
    _cores(machine.cpus, f"{key}.cpus")
    _check_host(machine.host, f"{key}.host.")


def _check_experiment(run: Run) -> None:
    experiment = run.experiment
    check_numbers(experiment, "experiment.")
    _matches(_NAME, experiment.name, "experiment.name", "an experiment's name")
    # It need not be one of the run's: then nothing is compared.
    _matches(_NAME, experiment.reference, "experiment.reference", "a server's name")
    for workload, parameters in experiment.parameters.items():
        key = f"experiment.parameters.{short(workload, quoted=False)}"
        if workload not in WORKLOADS:
            raise Unsound(key, "is no workload of this lab; a newer one may have it")
        for name, value in parameters.items():
            if name not in WORKLOADS[workload].parameters:
                raise Unsound(f"{key}.{short(name, quoted=False)}", f"is no parameter of {workload}")
            check_number(value, MS, f"{key}.{name}")
    if (experiment.precision is None) != (experiment.max_blocks is None):
        raise Unsound("experiment.max_blocks", "goes with precision; one of the two is missing")
    if experiment.max_blocks is not None and experiment.max_blocks < experiment.blocks:
        raise Unsound("experiment.max_blocks", f"is less than the {experiment.blocks} blocks to begin with")
    if not experiment.cells:
        raise Unsound("experiment.cells", "is empty")
    if len(experiment.cells) > MOST_CELLS:
        raise Unsound("experiment.cells", f"has more than {MOST_CELLS:,}")
    seen: set[Cell] = set()
    for number, cell in enumerate(experiment.cells):
        key = f"experiment.cells.{number}"
        _check_cell(run, cell, key)
        if cell in seen:
            raise Unsound(key, "stands there twice")
        seen.add(cell)


def _check_cell(run: Run, cell: Cell, key: str) -> None:
    check_numbers(cell, f"{key}.")
    if cell.server not in run.servers:
        raise Unsound(f"{key}.server", f"{short(cell.server)} is none of servers")
    if cell.workload not in run.experiment.parameters:
        raise Unsound(f"{key}.workload", f"{short(cell.workload)} is none of experiment.parameters")
    if cell.cores not in run.server_cpus:
        raise Unsound(f"{key}.cores", f"{cell.cores} is none of server_cpus")
    if (cell.users is None) == (cell.rate is None):
        raise Unsound(f"{key}.users", "needs users or rate, and not both")
    if (cell.rate is None) != (cell.arrivals is None):
        raise Unsound(f"{key}.arrivals", "goes with rate")


def machines(run: Run) -> frozenset[str]:
    """Those that its trials can be on; one without a name where all is on one machine."""
    return frozenset(lane.targets.name for lane in run.lanes) or frozenset({""})


def check_observation(observation: Observation, run: Run, cells: Collection[Cell], machines: Collection[str]) -> None:
    """Raises Unsound, with the key, for what no trial of `run`, which has `cells` on `machines`, can have left."""
    check_numbers(observation, "")
    if observation.cell not in cells:
        raise Unsound("cell", f"{short(observation.cell.server)} so is no cell of the experiment")
    most = run.experiment.max_blocks or run.experiment.blocks
    if observation.block >= most:
        raise Unsound("block", f"{observation.block} is none of the run's {most}, counted from 0")
    if observation.position >= most * len(cells):
        raise Unsound("position", f"{observation.position} is beyond the run's {most * len(cells)} trials")
    _moment(observation.started, "started")
    if observation.machine not in machines:
        told = "is none of the lanes' machines of targets" if run.lanes else "is named, but the run has no lanes"
        raise Unsound("machine", f"{short(observation.machine)} {told}")
    for number, name in enumerate(observation.restarted):
        _matches(_NAME, name, f"restarted.{number}", "a server's or a backend's name")
    swarm = observation.swarm
    if (observation.status == "measured") != (swarm is not None):
        raise Unsound("status", f"is {observation.status}, {'with' if swarm else 'without'} figures")
    if swarm is not None:
        _check_report(swarm, observation.cell)


def _check_report(swarm: TrialReport, cell: Cell) -> None:
    check_numbers(swarm, "swarm.")
    if cell.users is not None and swarm.unanswered > cell.users:
        raise Unsound("swarm.unanswered", f"{swarm.unanswered} is more than the {cell.users} users")
    if (swarm.sent_segments is None) != (swarm.resent_segments is None):
        raise Unsound("swarm.resent_segments", "goes with sent_segments; one of the two is missing")
    for error, count in swarm.errors.items():
        check_number(count, COUNT, f"swarm.errors.{short(error, quoted=False)}")
    if swarm.latency_ms and swarm.latency_ms.keys() != PERCENTILES:
        raise Unsound("swarm.latency_ms", f"must have {', '.join(sorted(PERCENTILES))}, or nothing")
    for name, value in swarm.latency_ms.items():
        check_number(value, MS, f"swarm.latency_ms.{name}")
    histogram.check(swarm.latency_histogram, "swarm.latency_histogram")
    check_numbers(swarm.in_flight, "swarm.in_flight.")
    for number, requests in enumerate(swarm.in_flight.requests_per_process):
        check_number(requests, FROM_ONE, f"swarm.in_flight.requests_per_process.{number}")
    if list(swarm.in_flight.requests_per_process) != sorted(swarm.in_flight.requests_per_process, reverse=True):
        raise Unsound("swarm.in_flight.requests_per_process", "does not begin with the most")
    if swarm.timeline is not None:
        _check_timeline(swarm.timeline)


def _check_timeline(timeline: Timeline) -> None:
    check_numbers(timeline, "swarm.timeline.")
    if len(timeline.stays) > MOST_STAYS:
        raise Unsound("swarm.timeline.stays", f"has more than {MOST_STAYS:,}")
    for number, stay in enumerate(timeline.stays):
        key = f"swarm.timeline.stays.{number}"
        check_numbers(stay, f"{key}.")
        if stay.left_us < stay.entered_us:
            raise Unsound(key, "left before it entered")


# --- single values


def _matches(pattern: re.Pattern[str], text: str, key: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise Unsound(key, f"{short(text)} is not {what}")


def _moment(text: str, key: str) -> None:
    """ISO 8601, with the offset from UTC."""
    try:
        offset = datetime.fromisoformat(text).utcoffset()
    except ValueError:
        offset = None
    if offset is None:
        raise Unsound(key, f"{short(text)} is no time with its offset from UTC")


def _cores(text: str, key: str) -> frozenset[int]:
    """The cores of a cpuset list; of numbers that no machine has, none is made."""
    try:
        if _CPUSET.fullmatch(text):
            return cpus.parse(text)
    except ValueError:
        pass
    raise Unsound(key, f"{short(text)} is not a list of cores such as 0,2-3")
