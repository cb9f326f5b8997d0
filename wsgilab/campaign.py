"""The loop: each trial loads one target while the fleet is up, and is saved before the next begins."""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence

from wsgilab import host
from wsgilab.errors import SwarmError, TargetError
from wsgilab.model import Cell, Observation, Order, Run, SwarmReport, Trial, Usage
from wsgilab.progress import Reporter
from wsgilab.runtime.protocol import Fleet, Target
from wsgilab.swarm.client import Swarm

Begin = Callable[[Trial], None]
Save = Callable[[Observation], None]


def _unannounced(_: Trial) -> None: ...


def execute(
    trials: Sequence[Trial],
    *,
    run: Run,
    fleets: Mapping[int, Fleet],
    swarm: Swarm,
    save: Save,
    reporter: Reporter,
    begin: Begin = _unannounced,
) -> None:
    """Carry out `trials` in order. A target's failure makes its trial a failed one, and the run goes on.

    `begin` is told of each trial before it, `save` of what it recorded.

    Whatever else fails (the generator, the engine, the disk) ends the run: it is raised, with every trial that was
    finished already saved.
    """
    suspects: set[tuple[str, int]] = set()
    with reporter.bar("Trials", len(trials)) as advance:
        for trial in trials:
            cell = trial.cell
            target = fleets[cell.cores][cell.server]
            begin(trial)
            observation = _observe(trial, run, target, swarm, suspect=(cell.server, cell.cores) in suspects)
            save(observation)
            if observation.status == "failed":
                suspects.add((cell.server, cell.cores))
                reporter.say(f"failed: {describe(cell)}: {observation.reason.splitlines()[0]}")
            else:
                suspects.discard((cell.server, cell.cores))
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
    if cell.workload == "cpu" and run.cpu_iterations is not None:
        options["cpu_iterations"] = run.cpu_iterations
    else:
        parameters = experiment.parameters.get(cell.workload, {})
        options |= {f"{cell.workload}_{name}": value for name, value in parameters.items()}
    if cell.rate is not None:
        # Every server of a block meets the same arrivals, and every block others.
        options |= {"rate": cell.rate, "arrivals": cell.arrivals or "constant"}
        options["arrivals_seed"] = zlib.crc32(f"{run.seed}/{trial.block}".encode())
    return Order(
        locustfile=cell.workload,
        base_url=base_url,
        users=cell.users or 1,
        rate=cell.rate,
        window_s=experiment.window_s,
        patience_s=experiment.patience_s,
        options=options,
    )


def _observe(trial: Trial, run: Run, target: Target, swarm: Swarm, *, suspect: bool) -> Observation:
    started = host.now()

    def failed(reason: str) -> Observation:
        return Observation(
            block=trial.block, position=trial.position, cell=trial.cell, started=started, status="failed", reason=reason
        )

    if (failure := target.failure()) is not None:
        return failed(f"the server {failure} before the trial")
    if suspect and (reason := _unfit(target, swarm)) is not None:
        return failed(reason)

    meter = _Meter(target)
    try:
        report = swarm.load(order(trial, run, target.base_url), meter.begin, meter.end)
    except SwarmError:
        # Where the engine has stopped, that is what to say, not that the generator went with it.
        target.failure()
        raise
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
        swarm=report,
        server_cpu_s=meter.cpu_s,
        server_span_s=meter.span_s,
        resident_bytes=meter.resident_bytes,
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
    """What a target consumed between the window's ends, over the time that really passed between the two readings."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before: tuple[float, Usage] | None = None
        self.cpu_s: float | None = None
        self.span_s: float | None = None
        self.resident_bytes: int | None = None

    def begin(self) -> None:
        self._before = self._read()

    def end(self) -> None:
        after = self._read()
        if self._before is None or after is None:
            return
        self.span_s = after[0] - self._before[0]
        self.cpu_s = max(0.0, after[1].cpu_s - self._before[1].cpu_s)
        self.resident_bytes = after[1].resident_bytes

    def _read(self) -> tuple[float, Usage] | None:
        if self._target.failure() is not None:
            return None
        return time.monotonic(), self._target.usage()
