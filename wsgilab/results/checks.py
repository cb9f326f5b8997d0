"""Checks of what goes with what in a stored run; the types check each value by itself. Pure."""

import math
from collections.abc import Collection
from dataclasses import replace

from wsgilab.experiment import plan, workloads
from wsgilab.model import Cell, Duet, Experiment, Observation, Run, TrialReport
from wsgilab.model.limits import MOST_BLOCKS
from wsgilab.results import histogram
from wsgilab.system import cpus

PERCENTILES = frozenset({"p50", "p95", "p99", "max"})


def check_run(run: Run) -> None:
    """Raises ValueError, with the key, for what no run of the lab has."""
    _check_experiment(run)
    _check_capacity(run)
    names: set[str] = set()
    for number, lane in enumerate(run.lanes):
        for machine in (lane.targets, *lane.swarm):
            if machine.name in names:
                raise ValueError(f"lanes[{number}]: {machine.name!r} is another machine's name too")
            names.add(machine.name)
    for count, cores in run.server_cpus.items():
        if len(cpus.parse(cores)) != count:
            raise ValueError(f"server_cpus[{count}]: {cores!r} is not so many cores")
    for name, server in run.servers.items():
        if server.name != name:
            raise ValueError(f"servers.{name}.name: is {server.name!r}, not its key in servers")
        if not server.is_started and len(server.command) != 1:
            raise ValueError(f"servers.{name}.command: must be a URL alone, for it is no server of the lab's")
    if unknown := run.gil.keys() - run.servers.keys():
        raise ValueError(f"gil.{min(unknown)}: is none of servers")


def _check_experiment(run: Run) -> None:
    experiment = run.experiment
    there = workloads.of(experiment.application)
    if experiment.application is not None:
        for name, shares in experiment.application.mixes.items():
            if unknown := shares.keys() - experiment.application.requests.keys():
                raise ValueError(f"experiment.application.mixes.{name}: {min(unknown)!r} is none of its requests")
    for workload, parameters in experiment.parameters.items():
        key = f"experiment.parameters.{workload}"
        if workload not in there:
            what = "of this lab; a newer one may have it" if experiment.application is None else "of its application"
            raise ValueError(f"{key}: is no workload {what}")
        for name in parameters:
            if name not in there[workload].parameters:
                raise ValueError(f"{key}.{name}: is no parameter of {workload}")
    if (experiment.precision is None) != (experiment.max_blocks is None):
        raise ValueError("experiment.max_blocks: goes with precision; one of the two is missing")
    if experiment.max_blocks is not None and experiment.max_blocks < experiment.blocks:
        raise ValueError(f"experiment.max_blocks: is less than the {experiment.blocks} blocks to begin with")
    if experiment.budget_s is not None and experiment.precision is not None:
        raise ValueError("experiment.budget_s: does not go with precision; a run has one of the two")
    _check_race(experiment)
    # Only the interactive lab, which stores nothing, has neither.
    for key, value in (("cells", experiment.cells), ("reference", experiment.reference)):
        if not value:
            raise ValueError(f"experiment.{key}: is empty")
    known: set[Cell] = set()
    for number, cell in enumerate(experiment.cells):
        _check_cell(run, cell, f"experiment.cells[{number}]")
        if cell in known:
            raise ValueError(f"experiment.cells[{number}]: is there twice")
        known.add(cell)
    _check_versions(run)


def _check_versions(run: Run) -> None:
    experiment, named = run.experiment, run.experiment.counterparts
    if not named:
        return
    if experiment.application is None or experiment.application.against is None:
        raise ValueError("experiment.counterparts: goes with application.against, which is missing")
    for name, there in named.items():
        for each, is_against in ((name, False), (there, True)):
            if each not in run.servers or run.servers[each].is_against != is_against:
                raise ValueError(f"experiment.counterparts.{name}: {each!r} is none of servers with that version")
    cells = frozenset(experiment.cells)
    expected = {
        each for cell in cells if cell.server in named for each in (cell, replace(cell, server=named[cell.server]))
    }
    if cells != expected:
        raise ValueError("experiment.counterparts: not every cell is there with both versions")


def _check_capacity(run: Run) -> None:
    experiment = run.experiment
    if experiment.capacity is None:
        return
    if experiment.budget_s is None:
        raise ValueError("experiment.capacity: goes with budget_s, which is missing")
    for number, cell in enumerate(experiment.cells):
        if cell.users is None:
            raise ValueError(f"experiment.cells[{number}].users: is missing; capacity is looked for from closed loops")


def _check_race(experiment: Experiment) -> None:
    if experiment.tune is None:
        return
    if experiment.budget_s is None or len({cell.conditions for cell in experiment.cells}) > 1:
        raise ValueError("experiment.tune: needs a budget, and cells under the same conditions")


def _check_cell(run: Run, cell: Cell, key: str) -> None:
    if cell.server not in run.servers:
        raise ValueError(f"{key}.server: {cell.server!r} is none of servers")
    if cell.workload not in run.experiment.parameters:
        raise ValueError(f"{key}.workload: {cell.workload!r} is none of experiment.parameters")
    if bool(cell.cores) != run.servers[cell.server].is_started:
        whose = "no server of the lab's" if cell.cores else "a server of the lab's"
        raise ValueError(f"{key}.cores: {cell.cores} does not go with {cell.server!r}, which is {whose}")
    if cell.cores and cell.cores not in run.server_cpus:
        raise ValueError(f"{key}.cores: {cell.cores} is none of server_cpus")
    if (cell.users is None) == (cell.rate is None):
        raise ValueError(f"{key}.users: needs users or rate, and not both")
    if (cell.rate is None) != (cell.arrivals is None):
        raise ValueError(f"{key}.arrivals: goes with rate")


def machines(run: Run) -> frozenset[str]:
    """Those that its trials can be on; one without a name where all is on one machine."""
    return frozenset(lane.targets.name for lane in run.lanes) or frozenset({""})


def check_observation(observation: Observation, run: Run, cells: Collection[Cell], machines: Collection[str]) -> None:
    """Raises ValueError, with the key, for what no trial of `run`, which has `cells` on `machines`, can have left."""
    if observation.cell not in cells and plan.closed_loop(run.experiment, observation.cell) is None:
        raise ValueError(f"cell: {observation.cell.server!r} so is no cell of the experiment")
    most = run.experiment.max_blocks or run.experiment.blocks
    if run.experiment.budget_s is not None:
        most = MOST_BLOCKS
    elif observation.look:
        raise ValueError(f"look: is {observation.look}, but the run has no budget")
    if observation.look > plan.looks(run.experiment)[-1] and run.experiment.budget_s is not None:
        raise ValueError(f"look: is {observation.look}, and the run's last is {plan.looks(run.experiment)[-1]}")
    if observation.block >= most:
        raise ValueError(f"block: {observation.block} is none of the run's {most}, counted from 0")
    if observation.position >= most * len(cells):
        raise ValueError(f"position: {observation.position} is beyond the run's {most * len(cells)} trials")
    if observation.machine not in machines:
        problem = "is no lane's machine of targets" if run.lanes else "is named, but the run has no lanes"
        raise ValueError(f"machine: {observation.machine!r} {problem}")
    if (observation.status == "measured") != (observation.swarm is not None):
        raise ValueError(f"status: is {observation.status}, {'with' if observation.swarm else 'without'} figures")
    if observation.swarm is not None:
        _check_report(observation.swarm, observation.cell)


def check_duet(duet: Duet, run: Run, cells: Collection[Cell], machines: Collection[str]) -> None:
    """The same of a duet."""
    for key, each in (("one", duet.one), ("other", duet.other)):
        try:
            check_observation(each, run, cells, machines)
        except ValueError as error:
            raise ValueError(f"{key}.{error}") from None
    one, other = duet.one, duet.other
    if one.cell == other.cell or one.cell.conditions != other.cell.conditions:
        raise ValueError(f"other.cell: {other.cell.server!r} so cannot be compared with {one.cell.server!r}")
    if (one.block, one.machine) != (other.block, other.machine):
        raise ValueError("other.block: is of another duet")


def _check_report(swarm: TrialReport, cell: Cell) -> None:
    if cell.users is not None and swarm.unanswered > cell.users:
        raise ValueError(f"swarm.unanswered: {swarm.unanswered} is more than the {cell.users} users")
    if (swarm.sent_segments is None) != (swarm.resent_segments is None):
        raise ValueError("swarm.resent_segments: goes with sent_segments; one of the two is missing")
    if swarm.latency_ms and swarm.latency_ms.keys() != PERCENTILES:
        raise ValueError(f"swarm.latency_ms: must have {', '.join(sorted(PERCENTILES))}, or nothing")
    if swarm.busiest_user is not None and swarm.busiest_user > swarm.completed:
        raise ValueError(f"swarm.busiest_user: {swarm.busiest_user} is more than the {swarm.completed} completed")
    histogram.check(swarm.latency_histogram, "swarm.latency_histogram")
    # Either is rounded to the nanosecond.
    if swarm.parts is not None and not math.isclose(swarm.parts.latency_mean, swarm.latency_mean_ms, abs_tol=1e-3):
        raise ValueError(f"swarm.parts: add up to {swarm.parts.latency_mean:g} ms, not to latency_mean_ms")
    if list(swarm.in_flight.requests_per_process) != sorted(swarm.in_flight.requests_per_process, reverse=True):
        raise ValueError("swarm.in_flight.requests_per_process: does not begin with the most")
    for number, stay in enumerate(swarm.timeline.stays if swarm.timeline else ()):
        if stay.left_us < stay.entered_us:
            raise ValueError(f"swarm.timeline.stays[{number}]: left before it entered")
    if swarm.timeline is not None and (swarm.timeline.acted_us or 0) > swarm.timeline.span_us:
        raise ValueError("swarm.timeline.acted_us: is after the timeline's end")
