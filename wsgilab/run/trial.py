"""One trial, or two at once: one target is loaded while the whole fleet is up, and what comes of that is an observation."""

import zlib
from collections.abc import Sequence
from dataclasses import replace

from wsgilab.analysis.cell.disturbance import is_disturbed
from wsgilab.experiment import plan, workloads
from wsgilab.experiment.application import users_option
from wsgilab.load.client import Swarm
from wsgilab.model import Cell, Circumstances, Duet, Observation, Run, Trial, TrialReport, TrialSpec
from wsgilab.model.errors import SwarmError, TargetError
from wsgilab.run import circumstances
from wsgilab.run.meter import TrialMeter
from wsgilab.runtime.pages import READY
from wsgilab.runtime.protocol import RunningBackend, Target
from wsgilab.system import host, neighbours

WARM_UP_S = 0.1
"""How long a server is loaded, for nothing, before its first trial with a workload that needs backends."""
DUET_WINDOWS = 2
"""A duet takes so many times the window of a trial: either server has half of the cores or so."""


def _nothing() -> None:
    """Nothing is read."""


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
    given = cell.circumstances or Circumstances()
    options |= {key: value for key in ("gap_ms", "abandon_ms") if (value := getattr(given, key)) is not None}
    return TrialSpec(
        locustfile=locustfile,
        base_url=base_url,
        server_cpus=run.server_cpus.get(cell.cores, ""),
        users=cell.users or 1,
        rate=cell.rate,
        window_s=plan.window_s(experiment, cell),
        patience_s=experiment.patience_s,
        options=options,
        is_stamped=run.servers[cell.server].is_started,
        own=own,
        acts_at_s=None if cell.during is None else cell.during.at_s,
        idle=given.idle,
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
    if unfit is not None:
        return _failed(trial, started, unfit)
    if suspect and (reason := why_unfit(target, swarm)) is not None:
        return _failed(trial, started, reason)

    if not target.server.is_started:
        # It may be what runs beside the generator.
        owns = None
    meter = TrialMeter(run, trial.cell, target, backends, owns)
    spec = trial_spec(trial, run, target.base_url)
    try:
        if not warm:
            # A server opens its connections to a backend when they are first needed, and requests that wait for that
            # are in flight at once even where nothing else would let them.
            swarm.load(replace(spec, window_s=WARM_UP_S, acts_at_s=None), _nothing, _nothing)
        with circumstances.of_server(trial.cell, run, target, swarm.get) as deed:
            report = swarm.load(spec, deed.opening(meter.begin), deed.closing(meter.end))
    except TargetError as error:
        return _failed(trial, started, error.message)
    except SwarmError:
        # Where the engine has stopped, that is what to say, not that the generator went with it.
        target.failure()
        raise
    if report.read_late:
        # Of a time in which the users had left.
        meter = TrialMeter(run, trial.cell, target, backends, owns)
    # Of every block it would be most of what is recorded.
    report = report if trial.block == 0 else replace(report, timeline=None)
    if (missed := deed.missed()) is not None:
        return _failed(trial, started, missed)
    measured = _observed(trial, started, target, backends, swarm, report, meter, deed.acted_s)
    if measured.acted_s is not None and (moved := circumstances.moved(trial.cell, run, target)) is not None:
        return _failed(trial, started, moved)
    return replace(measured, neighbours=tuple(meter.programs())) if is_disturbed(run, measured) else measured


def observe_both(
    trial: Trial,
    run: Run,
    targets: Sequence[Target],
    swarm: Swarm,
    *,
    unfit: Sequence[str | None] = (None, None),
    owns: neighbours.Owns | None = None,
) -> Duet:
    """What comes of a duet of the trial's cell and the one beside it, of which `targets` are the servers, in this order. `unfit`: why
    there can be none. Raises LabError where anything but a target fails."""
    assert trial.beside is not None
    started = host.now()
    trials = [trial, replace(trial, cell=trial.beside, beside=None)]
    if any(unfit):
        failed = [
            _failed(each, started, reason or "the other server of the duet cannot be loaded")
            for each, reason in zip(trials, unfit, strict=True)
        ]
        return Duet(one=failed[0], other=failed[1])
    specs = [trial_spec(each, run, target.base_url) for each, target in zip(trials, targets, strict=True)]

    def meters() -> Sequence[TrialMeter]:
        # What others use is looked at by the second alone, between the readings: that takes a while.
        return [TrialMeter(run, trial.cell, each, (), own) for each, own in zip(targets, (None, owns), strict=True)]

    first, second = meters()

    def begin() -> Sequence[int | None]:
        return [first.begin(), second.begin()]

    def end() -> Sequence[int | None]:
        last_ns = second.end()
        return [first.end(), last_ns]

    try:
        reports = swarm.load_both([replace(each, window_s=DUET_WINDOWS * each.window_s) for each in specs], begin, end)
    except SwarmError:
        # Where the engine has stopped, that is what to say, not that the generator went with it.
        for target in targets:
            target.failure()
        raise
    if reports[0].read_late:
        # Of a time in which the users had left.
        first, second = meters()
    one, other = (
        _observed(each, started, target, (), swarm, second.refined(replace(report, timeline=None)), meter)
        for each, target, report, meter in zip(trials, targets, reports, (first, second), strict=True)
    )
    # As `server_busy`, it is of both.
    return Duet(one=replace(one, lab_cpu=second.lab_cpu) if one.swarm else one, other=other)


def _failed(trial: Trial, started: str, reason: str) -> Observation:
    return Observation(
        block=trial.block, position=trial.position, cell=trial.cell, started=started, status="failed", reason=reason
    )


def _observed(
    trial: Trial,
    started: str,
    target: Target,
    backends: Sequence[RunningBackend],
    swarm: Swarm,
    report: TrialReport,
    meter: TrialMeter,
    acted_s: float | None = None,
) -> Observation:
    """What a trial recorded that was carried out; `acted_s`: when in its window something was done to the target."""
    # First, because it may be why the server fared ill.
    for backend in backends:
        if (failure := backend.failure()) is not None:
            died = f"the backend {backend.name} {failure} during the trial\n{backend.log_tail()}"
            return _failed(trial, started, died.strip())
    failure = target.failure()
    if failure is not None and acted_s is None:
        return _failed(trial, started, f"the server {failure} during the trial\n{target.log_tail()}".strip())
    if report.completed == 0 and not _may_starve(trial.cell):
        return _failed(trial, started, _no_answer(report))
    if acted_s is None and report.cut_off and (reason := why_unfit(target, swarm)) is not None:
        return _failed(trial, started, f"{report.cut_off} requests were cut off, and then {reason}")
    return Observation(
        block=trial.block,
        position=trial.position,
        cell=trial.cell,
        started=started,
        status="measured",
        swarm=meter.refined(report),
        server_cpu_s=meter.cpu_s,
        server_span_s=meter.span_s,
        resident_bytes=meter.resident_bytes,
        os_threads=meter.os_threads,
        backend_cpu_s=meter.backend_cpu_s,
        throttled=meter.throttled,
        throttled_s=meter.throttled_s,
        acted_s=acted_s,
        ended=failure is not None,
        memory=target.memory(),
        lab_cpu=meter.lab_cpu,
    )


def why_unfit(target: Target, swarm: Swarm) -> str | None:
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


def _may_starve(cell: Cell) -> bool:
    """Whether it is a result, too, that no request is answered, because silence or work for nobody takes all that the server has."""
    given = cell.circumstances
    return given is not None and (given.idle is not None or given.abandon_ms is not None)


def _no_answer(report: TrialReport) -> str:
    if report.errors:
        return f"no correct answer in the window: {next(iter(report.errors))}"
    return f"no answer within the window of {report.window_s:.2g} s; a longer window_s may hold one"
