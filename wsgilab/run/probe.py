"""One user at one server, before a run of a user's own application begins: whether answers are right, and how long they take."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from wsgilab.analysis.stats import FEWEST_PAIRED
from wsgilab.analysis.tune.bounds import FAR, hopeless
from wsgilab.experiment import sizing, workloads
from wsgilab.experiment.sizing import Size, Taken
from wsgilab.model import Application, Cell, Experiment, Observation, Run, Trial
from wsgilab.model.errors import TargetError
from wsgilab.model.text import counted, number
from wsgilab.run import startup, trial
from wsgilab.run.lane import Lane
from wsgilab.runtime.protocol import Say, Target
from wsgilab.system import process

TOTAL_S = 170.0
"""How long a run that is planned takes, from the start of its servers to its last trial: three minutes with the report."""
PROBE_S = 0.5
"""How long one user sends a request, once it has had an answer."""
CHECK_S = 0.05
"""And where only the answer is looked at."""
ENOUGH = 5
"""With fewer answers it is sent as long again: the first request may have taken longer than others do."""
PATIENCE_S = 60.0


def checked(run: Run, lane: Lane) -> None:
    """Raises TargetError where a server gives no right answer to a request of the user's own application, in either version."""
    for target in filter(None, (_target(run, lane), _counterpart(run, lane))):
        _check(run, lane, target)


def _check(run: Run, lane: Lane, target: Target) -> None:
    for name in _names(run):
        try:
            _probe(run, lane, target, name, CHECK_S)
        except TargetError:
            # Where others are at work, so short a window may have no answer.
            _probe(run, lane, target, name, PROBE_S)


def of_race(run: Run, lane: Lane, say: Say, *, is_bounded: bool) -> Run:
    """`run`, a race, without the servers that take more memory than they may before their first request. With a user's own application it
    has a window that holds several of its requests. With `is_bounded` it is without the servers that cannot be among the best, by
    what one request takes. Raises as `checked`, and where one server alone is up.
    """
    if len(run.experiment.cells) <= 1:
        alone = run.experiment.cells[0].server
        raise TargetError(f"only {alone} starts, and a race needs two; see above why the others are left out")
    if lane.room is not None:
        run = replace(run, left_out=dict(lane.room.left_out))
    run = _without(run, _too_large(run, lane), "take more memory than they may before their first request", say)
    (workload,) = {cell.workload for cell in run.experiment.cells}
    # Users of a Locust file pause as it says, so that fewer slots may do.
    is_bounded = is_bounded and not workloads.of(run.experiment.application)[workload].is_locust_file
    if run.experiment.application is None and not is_bounded:
        return run
    own = run.experiment.application is not None
    requests = {name: _taken(_enough(run, lane, name), is_mean=not own) for name in _names(run)}
    taken = _of_mix(requests, _shares(run.experiment.application, workload))
    words = f"Probe: {_time(workload, taken)}."
    if own:
        window_s = sizing.window_s(taken)
        words += f" Windows of {window_s:g} s."
        run = replace(run, experiment=replace(run.experiment, window_s=window_s))
    say(words)
    out = hopeless(run, taken.service_s * 1e3, taken.cpu_s * 1e3) if is_bounded else {}
    return _without(run, out, f"by the queueing model have less than {FAR:.0%} of what the best may have", say)


def _too_large(run: Run, lane: Lane) -> Mapping[str, str]:
    """Servers that are larger than a race allows, and why; the reference, and all where two are not left, break that limit later."""
    most = run.experiment.tune.memory_mb if run.experiment.tune else None
    if most is None or lane.room is None:
        return {}
    (fleet,) = lane.started.fleets.values()
    taken_mb = {name: taken / 1e6 for name, taken in lane.room.taken(fleet).items() if name in run.servers}
    out = {
        name: f"takes more than {most:g} MB before its first request: {taken:.1f} MB"
        for name, taken in taken_mb.items()
        if taken > most and name != run.experiment.reference
    }
    return out if len(run.servers) - len(out) > 1 else {}


def _without(run: Run, out: Mapping[str, str], why: str, say: Say) -> Run:
    """`run` without these servers, which it records."""
    if not out:
        return run
    say(f"Left out: {len(out)} of {len(run.servers)} configurations, which {why}: {', '.join(out)}.")
    run = startup.narrowed(run, run.servers.keys() - out.keys(), say)
    return replace(run, left_out={**run.left_out, **out})


def _enough(run: Run, lane: Lane, name: str) -> Observation:
    """One user at the first server, with the request `name`; once more where there were few answers."""
    probed = _probe(run, lane, _target(run, lane), name, PROBE_S)
    if probed.swarm is not None and probed.swarm.completed < ENOUGH:
        probed = _probe(run, lane, _target(run, lane), name, PROBE_S)
    return probed


def planned(run: Run, lane: Lane, blocks: int | None, say: Say, named: Collection[str] = ()) -> Run:
    """`run` with users, window and blocks (unless they are given) that fit into TOTAL_S, all told, or into its budget. Raises as
    `checked`.

    Servers may be left out for it, but for the reference, those that the user has `named`, and rows of the user's own.
    """
    experiment, application, target = run.experiment, _application(run), _target(run, lane)
    began_s = time.monotonic()
    requests: dict[str, Taken] = {}
    for name in _names(run):
        probed = _enough(run, lane, name)
        requests[name] = _taken(probed)
    if (there := _counterpart(run, lane)) is not None:
        _check(run, lane, there)
    names = dict.fromkeys(cell.workload for cell in experiment.cells)
    taken = {name: _of_mix(requests, _shares(application, name)) for name in names}
    start_s = lane.started.start_s
    budget_s = experiment.budget_s or TOTAL_S - start_s - (time.monotonic() - began_s)
    own = (name for name, server in run.servers.items() if server.extends is not None and not server.is_against)
    keep = {experiment.reference, *named, *own}
    # Either version takes as long, as far as is known, and what is left out of one is of the other.
    cells = [cell for cell in experiment.cells if not run.servers[cell.server].is_against]
    twice = 2 if experiment.counterparts else 1
    most = sizing.MOST_BLOCKS_OF_VERSIONS if experiment.counterparts else sizing.MOST_BLOCKS
    found = sizing.size(cells, run.servers, taken, budget_s / twice, blocks, keep, most)
    found = replace(found, lasts_s=twice * found.lasts_s)
    what = ", ".join(_time(name, taken[name]) for name in taken)
    memory = f", {target.name} has {(probed.resident_bytes or 0) / 1e6:.0f} MB"
    say(f"Probe: {what}; servers took {start_s:.0f} s to start{memory}.")
    say(f"Planned from it: {_words(experiment, found, budget_s, blocks)}.")
    left_out = {*found.left_out, *(experiment.counterparts.get(name, name) for name in found.left_out)}
    run = startup.narrowed(run, run.servers.keys() - left_out, say)
    return replace(run, experiment=sizing.sized(run.experiment, found))


def _words(experiment: Experiment, found: Size, budget_s: float, blocks: int | None) -> str:
    users = dict.fromkeys(found.users.values())
    by_name = ", ".join(f"{count} for {name}" for name, count in found.users.items())
    size = f"{counted(next(iter(users)), 'user')}" if len(users) == 1 else f"users ({by_name})"
    extent = f"{counted(found.blocks, 'block')}: {_minutes(found.lasts_s)}"
    if experiment.budget_s is not None:
        extent = f"a budget of {_minutes(experiment.budget_s)}"
    text = f"{size}, windows of {found.window_s:g} s, {extent}"
    if found.left_out:
        *others, last = found.left_out
        names, them = (f"{', '.join(others)} and {last}", "them") if others else (last, "it")
        text += f", without {names} for lack of time (--servers measures {them})"
    if blocks is None and found.blocks < FEWEST_PAIRED:
        enough_s = found.lasts_s / found.blocks * sizing.FEWEST_BLOCKS
        text += f", too few blocks to decide anything (--blocks {sizing.FEWEST_BLOCKS} takes {_minutes(enough_s)})"
    if found.lasts_s > budget_s:
        limit = "three minutes" if experiment.budget_s is None else _minutes(experiment.budget_s)
        text += f"; no plan takes less than {limit}: measure fewer with --servers, or a request that takes less time"
    return text


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _time(name: str, taken: Taken) -> str:
    return f"{name} takes {number(taken.service_s * 1e3)} ms, of which {number(taken.cpu_s * 1e3)} ms of CPU time"


# --- one request


def _application(run: Run) -> Application:
    application = run.experiment.application
    assert application is not None, "of the lab's own nothing has to be found out"
    return application


def _shares(application: Application | None, workload: str) -> Mapping[str, float]:
    mix = None if application is None else application.mixes.get(workload)
    return mix or {workload: 1.0}


def _names(run: Run) -> Iterable[str]:
    """Of every request that is to be measured, those of mixes too; of the lab's own application each workload."""
    application = run.experiment.application
    return dict.fromkeys(
        name
        for cell in run.experiment.cells
        for name, share in _shares(application, cell.workload).items()
        if share > 0
    )


def _target(run: Run, lane: Lane) -> Target:
    return startup.first_of(lane.started, run.experiment)


def _counterpart(run: Run, lane: Lane) -> Target | None:
    """That of `_target` with the version that the application is compared with; None where it is measured alone."""
    name = run.experiment.counterparts.get(_target(run, lane).name)
    return None if name is None else lane.started.fleets[min(lane.started.fleets)][name]


def _probe(run: Run, lane: Lane, target: Target, name: str, window_s: float) -> Observation:
    """One user who sends the request `name`. Raises TargetError where no answer is right."""
    started = lane.started
    patience_s = max(PATIENCE_S, run.experiment.patience_s)
    cell = Cell(
        server=target.name,
        cores=min(started.fleets),
        workload=name,
        users=1,
        connection=run.experiment.cells[0].connection,
    )
    with process.pinned(lane.own_cpus):
        found = trial.observe(
            Trial(block=0, position=0, cell=cell),
            replace(run, experiment=replace(run.experiment, window_s=window_s, patience_s=patience_s)),
            target,
            list(started.backends.values()),
            lane.swarm,
        )
    if found.status == "failed":
        raise TargetError(
            f"{name} has no right answer from {target.name}, so nothing is measured: {found.reason.splitlines()[0]}; "
            "correct the request, or what it expects",
            detail=target.log_tail(),
        )
    return found


def _taken(probed: Observation, *, is_mean: bool = False) -> Taken:
    """Of half of the requests at most; with `is_mean`, on average, which is another time where requests of several kinds take turns."""
    assert probed.swarm is not None, "it is measured"
    parts = probed.swarm.parts
    service_s = (parts.service.mean if is_mean and parts is not None else probed.swarm.service_ms) / 1e3
    # In the window there were as many as have left, within one.
    cpu_s = (probed.server_cpu_s or 0.0) / probed.swarm.completed
    return Taken(service_s=max(service_s, 1e-6), cpu_s=min(cpu_s, service_s))


def _of_mix(requests: Mapping[str, Taken], shares: Mapping[str, float]) -> Taken:
    """What a request of a mix takes on average."""
    together = sum(shares.values())
    used = [(requests[name], share / together) for name, share in shares.items() if share > 0]
    return Taken(
        service_s=sum(each.service_s * share for each, share in used),
        cpu_s=sum(each.cpu_s * share for each, share in used),
    )
