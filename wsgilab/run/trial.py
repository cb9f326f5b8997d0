"""The loop: each trial loads one target while the fleet is up, and is saved before the next begins."""

import contextlib
import itertools
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from wsgilab.analysis.compare import is_disturbed
from wsgilab.experiment import workloads
from wsgilab.load.client import Swarm
from wsgilab.model import Cell, Observation, Run, Trial, TrialReport, TrialSpec, Usage
from wsgilab.model.errors import SwarmError, TargetError
from wsgilab.run.observer import Observer
from wsgilab.runtime.protocol import Backends, Fleet, Running, RunningBackend, Target
from wsgilab.runtime.restarts import Restarts
from wsgilab.system import cpus, host, neighbours

REPEATED_SHARE = 0.2
"""Of the time that a run takes, what repeating disturbed trials may have at most."""
WARM_UP_S = 0.1
"""How long a server is loaded, for nothing, before its first trial with a workload that needs backends."""


def _nothing() -> None: ...


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
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Carry out `trials` in order. A target's or a backend's failure makes a trial a failed one, and the run goes on.

    What has ended is started again before its next trial, as often as `restarts`, which is one run's, allow. A trial that
    others disturbed is repeated at the end of its block, as long as that takes no more than REPEATED_SHARE of the time.

    `machine` is that of the targets; empty where all is on one. `owns` says which processes of this machine are the lab's, so
    that others can be named; None: it all runs elsewhere. `repeats`: whether disturbed trials are repeated.

    Whatever else fails (the generator, the engine, the disk) ends the run: it is raised, with every trial that was
    finished already saved.
    """
    known = restarts or Restarts()
    suspects: set[tuple[str, int]] = set()
    warm: set[tuple[str, int, str]] = set()

    def carry_out(trial: Trial) -> Observation:
        cell = trial.cell
        target = fleets[cell.cores][cell.server]
        waits_for = [backends[name] for name in workloads.backends([cell.workload])]
        observer.begin(trial)
        revived = known.revive(run, cell.cores, target, waits_for, swarm.get, observer.say)
        if revived.names:
            # What they had opened to each other is gone.
            warm.clear()
        observation = _observe(
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
        observer.save(replace(observation, machine=machine, restarted=revived.names))
        if observation.status == "failed":
            suspects.add((cell.server, cell.cores))
            observer.say(f"failed: {describe(cell)}: {observation.reason.splitlines()[0]}")
        else:
            suspects.discard((cell.server, cell.cores))
            warm.add((cell.server, cell.cores, cell.workload))
        return observation

    began_s, repeated_s = clock(), 0.0
    for block, of_block in itertools.groupby(trials, key=lambda trial: trial.block):
        disturbed = []
        for trial in of_block:
            trial_began_s = clock()
            observation = carry_out(trial)
            if is_disturbed(run, observation):
                disturbed.append((trial, clock() - trial_began_s))
            observer.advance(f"block {block + 1}, {describe(trial.cell)}")
        mended = 0
        for trial, took_s in disturbed if repeats else ():
            repeat_began_s = clock()
            if repeated_s + took_s <= REPEATED_SHARE * (repeat_began_s - began_s + took_s):
                mended += not is_disturbed(run, carry_out(trial))
                repeated_s += clock() - repeat_began_s
        if disturbed and repeats:
            observer.say(
                f"others disturbed {_trials(len(disturbed))} of block {block + 1}; repeated undisturbed: {mended}"
            )


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def describe(cell: Cell) -> str:
    """A cell in one line, such as `gunicorn-sync-4, sleep, 32 users, close, 1 core`."""
    cores = "1 core" if cell.cores == 1 else f"{cell.cores} cores"
    return f"{cell.server}, {cell.workload}, {cell.load}, {cell.connection}, {cores}"


def trial_spec(trial: Trial, run: Run, base_url: str) -> TrialSpec:
    """A trial in the generator's terms: its Locust file, and that file's command-line options."""
    cell, experiment = trial.cell, run.experiment
    options: dict[str, str | float | int] = {
        "connection": cell.connection,
        # A request is given up when the drain ends, not before.
        "request_timeout": 0,
    }
    for workload in (cell.workload, *workloads.WORKLOADS[cell.workload].parts):
        options |= workloads.options(workload, experiment.parameters, run.cpu_iterations)
    if cell.rate is not None:
        # Every server of a block meets the same arrivals, and every block others.
        options |= {"rate": cell.rate, "arrivals": cell.arrivals or "constant"}
        options["arrivals_seed"] = zlib.crc32(f"{run.seed}/{trial.block}".encode())
    return TrialSpec(
        locustfile=cell.workload.replace("-", "_"),
        base_url=base_url,
        server_cpus=run.server_cpus[cell.cores],
        users=cell.users or 1,
        rate=cell.rate,
        window_s=experiment.window_s,
        patience_s=experiment.patience_s,
        options=options,
    )


def _observe(
    trial: Trial,
    run: Run,
    target: Target,
    backends: Sequence[RunningBackend],
    swarm: Swarm,
    *,
    unfit: str | None,
    suspect: bool,
    warm: bool,
    owns: neighbours.Owns | None,
) -> Observation:
    started = host.now()

    def failed(reason: str) -> Observation:
        return Observation(
            block=trial.block, position=trial.position, cell=trial.cell, started=started, status="failed", reason=reason
        )

    if unfit is not None:
        return failed(unfit)
    if suspect and (reason := _unfit(target, swarm)) is not None:
        return failed(reason)

    meter = _Meter(run, trial.cell, target, backends, owns)
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
        meter = _Meter(run, trial.cell, target, backends, owns)
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
        lab_cpu=meter.lab_cpu,
    )
    return replace(measured, neighbours=tuple(meter.programs())) if is_disturbed(run, measured) else measured


def _unfit(target: Target, swarm: Swarm) -> str | None:
    """Why a target that has just failed cannot be loaded again; None where it answers, its queue worked off."""
    if (failure := target.failure()) is not None:
        return f"the server {failure}"
    try:
        swarm.get(f"{target.base_url}/hello")
    except TargetError as error:
        return f"the server does not answer: {error.message}"
    return None


def _no_answer(report: TrialReport) -> str:
    if report.errors:
        return f"no correct answer in the window: {next(iter(report.errors))}"
    return f"no answer within the window of {report.window_s:.2g} s; a longer window_s may hold one"


class _Meter:
    """What a target, and its backends, consumed between the window's ends, over the time between the two readings; and what
    else ran on this machine, where `owns` is given."""

    def __init__(
        self,
        run: Run,
        cell: Cell,
        target: Target,
        backends: Sequence[RunningBackend],
        owns: neighbours.Owns | None,
    ) -> None:
        self._servers = cpus.parse(run.server_cpus[cell.cores])
        self._generator = cpus.parse(run.generator_cpus)
        self._parts: Sequence[Running] = (target, *backends)
        self._owns = owns
        self._before: list[Usage] | None = None
        self._first: neighbours.Snapshot | None = None
        self._last: neighbours.Snapshot | None = None
        self.cpu_s: float | None = None
        self.span_s: float | None = None
        self.resident_bytes: int | None = None
        self.os_threads: int | None = None
        self.backend_cpu_s: float | None = None

    def begin(self) -> None:
        self._before = self._read()
        self._first = self._look()

    def end(self) -> None:
        self._last = self._look()
        after = self._read()
        if self._before is None or after is None:
            return
        self.span_s = after[0].at_s - self._before[0].at_s
        pairs = zip(self._before, after, strict=True)
        self.cpu_s, *backends_s = (max(0.0, later.cpu_s - earlier.cpu_s) for earlier, later in pairs)
        self.backend_cpu_s = sum(backends_s) if backends_s else None
        self.resident_bytes = after[0].resident_bytes
        self.os_threads = max(after[0].os_threads, self._before[0].os_threads)

    @property
    def lab_cpu(self) -> float | None:
        """What this process used meanwhile, in CPU seconds a second."""
        if self._first is None or self._last is None:
            return None
        used_s = self._last.own_s - self._first.own_s
        return round(used_s / (self._last.at_s - self._first.at_s), 6)

    def programs(self) -> Sequence[str]:
        """Programs of others that ran on the cores meanwhile, as far as they are known."""
        if self._owns is None or self._first is None or self._last is None:
            return ()
        return neighbours.programs(self._first, self._last, self._servers | self._generator, self._owns)

    def refined(self, report: TrialReport) -> TrialReport:
        """The report, with what was used of the cores to the nanosecond where the kernel counts that for this process alone: the
        generator may be in a container, and then has 10 ms to count in."""
        if self._first is None or self._last is None:
            return report
        servers, generator = neighbours.busy(self._first, self._last)
        if servers is None or generator is None or report.generator_used is None:
            return report
        return replace(
            report,
            server_busy=round(max(0.0, servers / len(self._servers)), 6),
            generator_others=round(max(0.0, (generator - report.generator_used) / len(self._generator)), 6),
        )

    def _look(self) -> neighbours.Snapshot | None:
        return None if self._owns is None else neighbours.snapshot(self._servers, self._generator)

    def _read(self) -> list[Usage] | None:
        """What each has consumed by now, the target first; None where one has ended."""
        if any(part.failure() is not None for part in self._parts):
            return None
        # One that ends at this very moment is found to have ended after the trial.
        with contextlib.suppress(TargetError):
            return [part.usage() for part in self._parts]
        return None
