"""The loop: each trial loads one target while the fleet is up, and is saved before the next begins."""

import contextlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from wsgilab import host, workloads
from wsgilab.errors import SwarmError, TargetError
from wsgilab.model import Cell, Observation, Order, Run, SwarmReport, Trial, Usage
from wsgilab.progress import Advance
from wsgilab.runtime.protocol import Backends, Fleet, Running, RunningBackend, Say, Target
from wsgilab.swarm.client import Swarm

Begin = Callable[[Trial], None]
Save = Callable[[Observation], None]

WARM_UP_S = 0.1
"""How long a server is loaded, for nothing, before its first trial with a workload that needs backends."""


def _unannounced(_: Trial) -> None: ...


def _unheard() -> None: ...


def execute(
    trials: Sequence[Trial],
    *,
    run: Run,
    fleets: Mapping[int, Fleet],
    backends: Backends,
    swarm: Swarm,
    save: Save,
    say: Say,
    advance: Advance,
    begin: Begin = _unannounced,
) -> None:
    """Carry out `trials` in order. A target's or a backend's failure makes a trial a failed one, and the run goes on.

    `begin` is told of each trial before it, `save` of what it recorded, and then `advance` that it is done.

    Whatever else fails (the generator, the engine, the disk) ends the run: it is raised, with every trial that was
    finished already saved.
    """
    suspects: set[tuple[str, int]] = set()
    warm: set[tuple[str, int, str]] = set()
    for trial in trials:
        cell = trial.cell
        target = fleets[cell.cores][cell.server]
        waits_for = [backends[name] for name in workloads.backends([cell.workload])]
        begin(trial)
        observation = _observe(
            trial,
            run,
            target,
            waits_for,
            swarm,
            suspect=(cell.server, cell.cores) in suspects,
            warm=not waits_for or (cell.server, cell.cores, cell.workload) in warm,
        )
        save(observation)
        if observation.status == "failed":
            suspects.add((cell.server, cell.cores))
            say(f"failed: {describe(cell)}: {observation.reason.splitlines()[0]}")
        else:
            suspects.discard((cell.server, cell.cores))
            warm.add((cell.server, cell.cores, cell.workload))
        advance(f"block {trial.block + 1}, {describe(cell)}")


def describe(cell: Cell) -> str:
    """A cell in one line, such as `gunicorn-sync-4, sleep, 32 users, close, 1 core`."""
    cores = "1 core" if cell.cores == 1 else f"{cell.cores} cores"
    return f"{cell.server}, {cell.workload}, {cell.load}, {cell.connection}, {cores}"


def order(trial: Trial, run: Run, base_url: str) -> Order:
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
    return Order(
        locustfile=cell.workload.replace("-", "_"),
        base_url=base_url,
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
    suspect: bool,
    warm: bool,
) -> Observation:
    started = host.now()

    def failed(reason: str) -> Observation:
        return Observation(
            block=trial.block, position=trial.position, cell=trial.cell, started=started, status="failed", reason=reason
        )

    for backend in backends:
        if (failure := backend.failure()) is not None:
            return failed(f"the backend {backend.name} {failure} before the trial")
    if (failure := target.failure()) is not None:
        return failed(f"the server {failure} before the trial")
    if suspect and (reason := _unfit(target, swarm)) is not None:
        return failed(reason)

    meter = _Meter(target, backends)
    ordered = order(trial, run, target.base_url)
    try:
        if not warm:
            # A server opens its connections to a backend when they are first needed, and requests that wait for that
            # are in flight at once even where nothing else would let them.
            swarm.load(replace(ordered, window_s=WARM_UP_S), _unheard, _unheard)
        report = swarm.load(ordered, meter.begin, meter.end)
    except SwarmError:
        # Where the engine has stopped, that is what to say, not that the generator went with it.
        target.failure()
        raise
    if report.read_late:
        # Of a time in which the users had left.
        meter = _Meter(target, backends)
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
    return Observation(
        block=trial.block,
        position=trial.position,
        cell=trial.cell,
        started=started,
        status="measured",
        # Of every block it would be most of what is recorded.
        swarm=report if trial.block == 0 else replace(report, timeline=None),
        server_cpu_s=meter.cpu_s,
        server_span_s=meter.span_s,
        resident_bytes=meter.resident_bytes,
        os_threads=meter.os_threads,
        backend_cpu_s=meter.backend_cpu_s,
    )


def _unfit(target: Target, swarm: Swarm) -> str | None:
    """Why a target that has just failed cannot be loaded again; None where it answers, its queue worked off."""
    if (failure := target.failure()) is not None:
        return f"the server {failure}"
    try:
        swarm.get(f"{target.base_url}/hello")
    except TargetError as error:
        return f"the server does not answer: {error.message}"
    return None


def _no_answer(report: SwarmReport) -> str:
    if report.errors:
        return f"no correct answer in the window: {next(iter(report.errors))}"
    return f"no answer within the window of {report.window_s:.2g} s; a longer window_s may hold one"


class _Meter:
    """What a target, and its backends, consumed between the window's ends, over the time between the two readings."""

    def __init__(self, target: Target, backends: Sequence[RunningBackend]) -> None:
        self._parts: Sequence[Running] = (target, *backends)
        self._before: list[Usage] | None = None
        self.cpu_s: float | None = None
        self.span_s: float | None = None
        self.resident_bytes: int | None = None
        self.os_threads: int | None = None
        self.backend_cpu_s: float | None = None

    def begin(self) -> None:
        self._before = self._read()

    def end(self) -> None:
        after = self._read()
        if self._before is None or after is None:
            return
        self.span_s = after[0].at_s - self._before[0].at_s
        pairs = zip(self._before, after, strict=True)
        self.cpu_s, *backends_s = (max(0.0, later.cpu_s - earlier.cpu_s) for earlier, later in pairs)
        self.backend_cpu_s = sum(backends_s) if backends_s else None
        self.resident_bytes = after[0].resident_bytes
        self.os_threads = max(after[0].os_threads, self._before[0].os_threads)

    def _read(self) -> list[Usage] | None:
        """What each has consumed by now, the target first; None where one has ended."""
        if any(part.failure() is not None for part in self._parts):
            return None
        # One that ends at this very moment is found to have ended after the trial.
        with contextlib.suppress(TargetError):
            return [part.usage() for part in self._parts]
        return None
