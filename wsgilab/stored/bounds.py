"""What the shape of a stored run does not tell: names, cores, and how large its numbers can be. Pure.

The bounds are far from what is ever measured. They are there so that nobody's arithmetic overflows, divides by nothing
or fills the memory.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from wsgilab import cpus
from wsgilab.model import (
    Cell,
    Experiment,
    Host,
    InFlight,
    Observation,
    Run,
    Server,
    Stay,
    SwarmReport,
    Timeline,
)
from wsgilab.stored import histogram
from wsgilab.stored.unsound import Unsound, short
from wsgilab.workloads import WORKLOADS

MOST_CELLS = 10_000
MOST_CORES = 100_000
MOST_BLOCKS = 100_000
MOST_STAYS = 200_000

PERCENTILES = frozenset({"p50", "p95", "p99", "max"})

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,149}")
_CPUSET = re.compile(r"[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?){0,9999}")


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from `least` to `most`. 0 is one of them only where `least` is 0; what is closer to it is none."""

    least: float
    most: float

    def has(self, value: float) -> bool:
        return self.least <= value <= self.most and (value == 0 or abs(value) >= _TINY)


_TINY = 1e-9
"""Of nanoseconds and rates alike: less is not measured, and ratios of less are beyond what floats hold."""
_COUNT = Range(0, 10**12)
_FROM_ONE = Range(1, 10**12)
_SECONDS = Range(0, 10**6)
_SOME_SECONDS = Range(1e-6, 10**6)
_MS = Range(0, 10**9)
_US = Range(-(10**12), 10**12)
_BYTES = Range(0, 2**60)
_SHARE = Range(0, 10**6)

RANGES: Mapping[type, Mapping[str, Range]] = {
    Cell: {"cores": Range(1, MOST_CORES), "users": Range(1, 100_000), "rate": Range(1e-6, 100_000)},
    Experiment: {
        "blocks": Range(1, MOST_BLOCKS),
        "window_s": _SOME_SECONDS,
        "patience_s": _SECONDS,
        "precision": Range(1e-6, 1),
        "max_blocks": Range(1, MOST_BLOCKS),
        "generator_cores": Range(1, MOST_CORES),
    },
    Server: {"slots": Range(1, 10**9), "processes": Range(1, MOST_CORES)},
    Host: {"memory_bytes": _BYTES},
    Run: {"schema": Range(1, 1), "seed": Range(-(2**128), 2**128), "cpu_iterations": _FROM_ONE},
    Observation: {
        "block": Range(0, MOST_BLOCKS),
        "position": _COUNT,
        "server_cpu_s": _SECONDS,
        "server_span_s": _SECONDS,
        "resident_bytes": _BYTES,
        "os_threads": _COUNT,
        "backend_cpu_s": _SECONDS,
    },
    SwarmReport: {
        "window_s": _SOME_SECONDS,
        **dict.fromkeys(("warmup_s", "settling_s", "drain_s"), _SECONDS),
        **dict.fromkeys(("unanswered", "completed", "failures", "cut_off", "due", "late", "slow_connections"), _COUNT),
        "throughput_rps": Range(0, 10**9),
        **dict.fromkeys(("client_ms", "reading_ms", "latency_mean_ms", "service_ms"), _MS),
        "generator_cpu": _SHARE,
    },
    InFlight: {"peak": _COUNT, "mean": _COUNT, "threads": _COUNT},
    Timeline: {"span_us": _FROM_ONE},
    Stay: {**dict.fromkeys(("process", "thread", "lane"), _COUNT), **dict.fromkeys(("entered_us", "left_us"), _US)},
}
"""Every number of what is stored, with the unit that its name says."""


def check_run(run: Run) -> None:
    """Raises Unsound, with the key, for what no run of the lab has."""
    _numbers(run, "")
    _matches(_RUN_ID, run.id, "id", "the id of a run")
    _moment(run.started, "started")
    _check_experiment(run)
    _numbers(run.host, "host.")
    _cores(run.host.usable_cpus, "host.usable_cpus")
    for number, group in enumerate(run.host.siblings):
        _cores(group, f"host.siblings.{number}")
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
        _numbers(server, f"{key}.")
    for number, note in enumerate(run.notes):
        # An empty one would make a heading of what stands before it.
        if not note.strip():
            raise Unsound(f"notes.{number}", "is empty")


def _check_experiment(run: Run) -> None:
    experiment = run.experiment
    _numbers(experiment, "experiment.")
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
            _check_number(value, _MS, f"{key}.{name}")
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
    _numbers(cell, f"{key}.")
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


def check_observation(observation: Observation, run: Run, cells: Collection[Cell]) -> None:
    """Raises Unsound, with the key, for what no trial of `run`, which has `cells`, can have left."""
    _numbers(observation, "")
    if observation.cell not in cells:
        raise Unsound("cell", f"{short(observation.cell.server)} so is no cell of the experiment")
    most = run.experiment.max_blocks or run.experiment.blocks
    if observation.block >= most:
        raise Unsound("block", f"{observation.block} is none of the run's {most}, counted from 0")
    if observation.position >= most * len(cells):
        raise Unsound("position", f"{observation.position} is beyond the run's {most * len(cells)} trials")
    _moment(observation.started, "started")
    swarm = observation.swarm
    if (observation.status == "measured") != (swarm is not None):
        raise Unsound("status", f"is {observation.status}, {'with' if swarm else 'without'} figures")
    if swarm is not None:
        _check_report(swarm, observation.cell)


def _check_report(swarm: SwarmReport, cell: Cell) -> None:
    _numbers(swarm, "swarm.")
    if cell.users is not None and swarm.unanswered > cell.users:
        raise Unsound("swarm.unanswered", f"{swarm.unanswered} is more than the {cell.users} users")
    for error, count in swarm.errors.items():
        _check_number(count, _COUNT, f"swarm.errors.{short(error, quoted=False)}")
    if swarm.latency_ms and swarm.latency_ms.keys() != PERCENTILES:
        raise Unsound("swarm.latency_ms", f"must have {', '.join(sorted(PERCENTILES))}, or nothing")
    for name, value in swarm.latency_ms.items():
        _check_number(value, _MS, f"swarm.latency_ms.{name}")
    histogram.check(swarm.latency_histogram, "swarm.latency_histogram")
    _numbers(swarm.in_flight, "swarm.in_flight.")
    for number, requests in enumerate(swarm.in_flight.requests_per_process):
        _check_number(requests, _FROM_ONE, f"swarm.in_flight.requests_per_process.{number}")
    if list(swarm.in_flight.requests_per_process) != sorted(swarm.in_flight.requests_per_process, reverse=True):
        raise Unsound("swarm.in_flight.requests_per_process", "does not begin with the most")
    if swarm.timeline is not None:
        _check_timeline(swarm.timeline)


def _check_timeline(timeline: Timeline) -> None:
    _numbers(timeline, "swarm.timeline.")
    if len(timeline.stays) > MOST_STAYS:
        raise Unsound("swarm.timeline.stays", f"has more than {MOST_STAYS:,}")
    for number, stay in enumerate(timeline.stays):
        key = f"swarm.timeline.stays.{number}"
        _numbers(stay, f"{key}.")
        if stay.left_us < stay.entered_us:
            raise Unsound(key, "left before it entered")


# --- single values


def _numbers(value: object, within: str) -> None:
    """Holds every number of `value` against its range; None is no number."""
    for name, bounds in RANGES[type(value)].items():
        if (number := getattr(value, name)) is not None:
            _check_number(number, bounds, within + name)


def _check_number(value: float, bounds: Range, key: str) -> None:
    if not bounds.has(value):
        raise Unsound(key, f"{short(value)} is not from {bounds.least:g} to {bounds.most:g}")


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
