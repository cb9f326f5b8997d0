"""Trials in order: each loads one target while the fleet is up, and is saved before the next begins."""

import itertools
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from wsgilab.analysis.disturbance import is_disturbed
from wsgilab.experiment import workloads
from wsgilab.experiment.application import users_option
from wsgilab.load.client import Swarm
from wsgilab.model import Cell, Observation, Run, Trial, TrialReport, TrialSpec
from wsgilab.model.errors import SwarmError, TargetError
from wsgilab.model.text import counted
from wsgilab.run.meter import TrialMeter
from wsgilab.run.observer import Observer
from wsgilab.runtime.pages import READY
from wsgilab.runtime.protocol import Backends, Fleet, RunningBackend, Target
from wsgilab.runtime.restarts import Restarts
from wsgilab.system import host, neighbours

REPEATED_SHARE = 0.2
"""Of the time that a run takes, what repeating disturbed trials may have at most."""
MOST_REPEATS = 3
"""How often a disturbed trial is repeated at most."""
WARM_UP_S = 0.1
"""How long a server is loaded, for nothing, before its first trial with a workload that needs backends."""


def _nothing() -> None:
    """Nothing is read."""


def execute(
    trials: Sequence[Trial],
    *,
    run: Run,
    fleets: Mapping[int, Fleet],
    backends: Backends,
    swarm: Swarm,
    observer: Observer,
    machine: str = "",
    restarts: Restarts | None = None,
    owns: neighbours.Owns | None = None,
    repeats: bool = True,
    until_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Carry out `trials` in order. A target's or a backend's failure makes a trial a failed one, and the run goes on.

    What has ended is started again before its next trial, as often as `restarts`, which is one run's, allow. A trial that
    others disturbed is repeated at the end of its block, MOST_REPEATS times at most, as long as that takes no more than
    REPEATED_SHARE of the time.

    `machine` is that of the targets; empty where all is on one. `owns` says which processes of this machine are the lab's, so
    that others can be named; None: it all runs elsewhere. `repeats`: whether disturbed trials are repeated.
    `until_s`: a moment of `clock` after which no block begins.

    Whatever else fails (the generator, the engine, the disk) ends the run: it is raised, with every trial that was
    finished already saved.
    """
    known = restarts or Restarts()
    suspects: set[tuple[str, int]] = set()
    warm: set[tuple[str, int, str]] = set()

    def carry_out(trial: Trial) -> Observation:
        cell = trial.cell
        target = fleets[cell.cores][cell.server]
        waits_for = [backends[name] for name in workloads.backends([cell.workload], run.experiment.application)]
        observer.begin(trial)
        revived = known.revive(run, cell.cores, target, waits_for, swarm.get, observer.say)
        if revived.names:
            # What they had opened to each other is gone.
            warm.clear()
        ordered_s = clock()
        observation = observe(
            trial,
            run,
            target,
            waits_for,
            swarm,
            unfit=revived.reason,
            suspect=(cell.server, cell.cores) in suspects,
            warm=not waits_for or (cell.server, cell.cores, cell.workload) in warm,
            owns=owns,
        )
        took_s = clock() - ordered_s
        kept = replace(observation, machine=machine, restarted=revived.names, took_s=round(took_s, 3), look=trial.look)
        observer.save(kept)
        if observation.status == "failed":
            suspects.add((cell.server, cell.cores))
            observer.say(f"failed: {describe(cell)}: {observation.reason.splitlines()[0]}")
        else:
            suspects.discard((cell.server, cell.cores))
            warm.add((cell.server, cell.cores, cell.workload))
        return observation

    began_s, repeated_s = clock(), 0.0
    for block, of_block in itertools.groupby(trials, key=lambda trial: trial.block):
        if until_s is not None and clock() >= until_s:
            break
        disturbed = []
        for trial in of_block:
            trial_began_s = clock()
            observation = carry_out(trial)
            if is_disturbed(run, observation):
                disturbed.append((trial, clock() - trial_began_s))
            observer.advance(f"block {block + 1}, {describe(trial.cell)}")
        left = disturbed if repeats else []
        for _ in range(MOST_REPEATS):
            # A neighbour that comes and goes may be back for a repeated trial.
            again = []
            for trial, took_s in left:
                repeat_began_s = clock()
                if repeated_s + took_s <= REPEATED_SHARE * (repeat_began_s - began_s + took_s):
                    if is_disturbed(run, carry_out(trial)):
                        again.append((trial, took_s))
                    repeated_s += clock() - repeat_began_s
                else:
                    again.append((trial, took_s))
            left = again
        mended = len(disturbed) - len(left)
        if disturbed and repeats:
            observer.say(
                f"others disturbed {counted(len(disturbed), 'trial')} of block {block + 1}; repeated undisturbed: {mended}"
            )


def describe(cell: Cell) -> str:
    """A cell in one line, such as `gunicorn-sync-4, sleep, 32 users, close, 1 core`."""
    return f"{cell.server}, {cell.workload}, {cell.load}, {cell.connection}, {cell.on}"


def trial_spec(trial: Trial, run: Run, base_url: str) -> TrialSpec:
    """A trial in the generator's terms: its Locust file, and that file's command-line options."""
    cell, experiment = trial.cell, run.experiment
    options: dict[str, str | float | int] = {
        "connection": cell.connection,
        # A request is given up when the drain ends, not before.
        "request_timeout": 0,
    }
    own = experiment.application.locust_files.get(cell.workload) if experiment.application else None
    if own is not None:
        locustfile, options = "", {}
    elif experiment.application is None:
        locustfile = cell.workload.replace("-", "_")
        for workload in (cell.workload, *workloads.WORKLOADS[cell.workload].parts):
            options |= workloads.options(workload, experiment.parameters, run.cpu_iterations)
    else:
        locustfile = "application"
        options["application"] = users_option(experiment.application, cell.workload)
    if cell.rate is not None:
        # Every server of a block meets the same arrivals, and every block others.
        options |= {"rate": cell.rate, "arrivals": cell.arrivals or "constant"}
        options["arrivals_seed"] = zlib.crc32(f"{run.seed}/{trial.block}".encode())
    return TrialSpec(
        locustfile=locustfile,
        base_url=base_url,
        server_cpus=run.server_cpus.get(cell.cores, ""),
        users=cell.users or 1,
        rate=cell.rate,
        window_s=experiment.window_s,
        patience_s=experiment.patience_s,
        options=options,
        is_stamped=run.servers[cell.server].is_started,
        own=own,
    )


def observe(
    trial: Trial,
    run: Run,
    target: Target,
    backends: Sequence[RunningBackend],
    swarm: Swarm,
    *,
    unfit: str | None = None,
    suspect: bool = False,
    warm: bool = True,
    owns: neighbours.Owns | None = None,
) -> Observation:
    """What comes of one trial. `unfit`: why there can be none; `suspect`: look first whether the target answers at all;
    `warm`: it need not be loaded for nothing before. Raises LabError where anything but a target or a backend fails."""
    started = host.now()

    def failed(reason: str) -> Observation:
        return Observation(
            block=trial.block, position=trial.position, cell=trial.cell, started=started, status="failed", reason=reason
        )

    if unfit is not None:
        return failed(unfit)
    if suspect and (reason := _unfit(target, swarm)) is not None:
        return failed(reason)

    if not target.server.is_started:
        # It may be what runs beside the generator.
        owns = None
    meter = TrialMeter(run, trial.cell, target, backends, owns)
    spec = trial_spec(trial, run, target.base_url)
    try:
        if not warm:
            # A server opens its connections to a backend when they are first needed, and requests that wait for that
            # are in flight at once even where nothing else would let them.
            swarm.load(replace(spec, window_s=WARM_UP_S), _nothing, _nothing)
        report = swarm.load(spec, meter.begin, meter.end)
    except SwarmError:
        # Where the engine has stopped, that is what to say, not that the generator went with it.
        target.failure()
        raise
    if report.read_late:
        # Of a time in which the users had left.
        meter = TrialMeter(run, trial.cell, target, backends, owns)
    # First, because it may be why the server fared ill.
    for backend in backends:
        if (failure := backend.failure()) is not None:
            return failed(f"the backend {backend.name} {failure} during the trial\n{backend.log_tail()}".strip())
    if (failure := target.failure()) is not None:
        return failed(f"the server {failure} during the trial\n{target.log_tail()}".strip())
    if report.completed == 0:
        return failed(_no_answer(report))
    if report.cut_off and (reason := _unfit(target, swarm)) is not None:
        return failed(f"{report.cut_off} requests were cut off, and then {reason}")
    measured = Observation(
        block=trial.block,
        position=trial.position,
        cell=trial.cell,
        started=started,
        status="measured",
        # Of every block it would be most of what is recorded.
        swarm=meter.refined(report if trial.block == 0 else replace(report, timeline=None)),
        server_cpu_s=meter.cpu_s,
        server_span_s=meter.span_s,
        resident_bytes=meter.resident_bytes,
        os_threads=meter.os_threads,
        backend_cpu_s=meter.backend_cpu_s,
        throttled=meter.throttled,
        lab_cpu=meter.lab_cpu,
    )
    return replace(measured, neighbours=tuple(meter.programs())) if is_disturbed(run, measured) else measured


def _unfit(target: Target, swarm: Swarm) -> str | None:
    """Why a target that has just failed cannot be loaded again; None where it answers, its queue worked off."""
    if (failure := target.failure()) is not None:
        return f"the server {failure}"
    if not target.server.is_started:
        return None
    try:
        swarm.get(target.base_url + READY)
    except TargetError as error:
        return f"the server does not answer: {error.message}"
    return None


def _no_answer(report: TrialReport) -> str:
    if report.errors:
        return f"no correct answer in the window: {next(iter(report.errors))}"
    return f"no answer within the window of {report.window_s:.2g} s; a longer window_s may hold one"
