"""`lab.tune`: from a workload and a load to the configuration to run, by a race of a whole space of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from wsgilab.commands import stored
from wsgilab.commands.measure import named_application
from wsgilab.experiment import resolve, space, workloads
from wsgilab.experiment.file import Settings
from wsgilab.experiment.parsing import check_known, validated
from wsgilab.model import Application, Cell, Comparison, Experiment, Server, Tune
from wsgilab.model.errors import UsageError
from wsgilab.model.limits import Budget, Cores, Rate, Users
from wsgilab.run import runner
from wsgilab.run.options import RunOptions
from wsgilab.run.prepare import chosen_before
from wsgilab.run.workspace import Workspace, read_catalogue, read_text, shown, with_catalogue
from wsgilab.system import host

BUDGET_S = 600.0
"""Unless the user says otherwise."""
WINDOW_S = 0.4
"""How long a trial of the lab's own workloads is observed. With an application of the user's own it follows from what a request
takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """What is sought, and of which configurations. None: the default, or no limit."""

    workload: str | None = None
    """None: the only one that there is."""
    users: int | None = None
    """So many at a time; None where requests come at a rate."""
    rate: float | None = None
    """Requests a second, on a schedule."""
    cores: int | None = None
    """How many the servers have; None: all but the generator's."""
    p95_ms: float | None = None
    memory_mb: float | None = None
    space: str | None = None
    """A file of configurations; None: `space.usual`."""
    most: int | None = None
    """At most so many configurations: those with the fewest processes."""


def tune(options: RunOptions, wanted: TuneOptions, console: Console, workspace: Workspace) -> Comparison:
    """Race a space of configurations, or go on with a race; write what it says, and print it.

    Whatever ends it early, what was measured by then is concluded. Raises LabError or Interrupted.
    """
    there = with_catalogue(workspace, options.catalogue)
    options.check_resumed("space, load, limits and seed", others=wanted != TuneOptions())
    if options.resume is not None:
        return runner.run(options, chosen_before, stored.conclude, console, there)
    servers, experiment = planned(options, wanted, read_catalogue(there))
    # What somebody has named is measured.
    options = replace(options, is_bounded=wanted.space is None)
    return runner.run(options, lambda *_: experiment, stored.conclude, console, replace(there, rows=servers))


def planned(
    options: RunOptions, wanted: TuneOptions, catalogue: Mapping[str, Server]
) -> tuple[Mapping[str, Server], Experiment]:
    """The configurations that are `wanted`, and their race. Raises LabError."""
    application = named_application(options.app, options.source, options.get)
    workload = _workload(wanted.workload, application)
    load = _load(wanted, keep_alive=workloads.of(application)[workload].is_locust_file)
    limits = {"p95_ms": wanted.p95_ms, "memory_mb": wanted.memory_mb}
    given = {f"--{name.replace('_', '-')}": limit for name, limit in limits.items() if limit is not None}
    for option, limit in given.items():
        if not limit > 0:
            raise UsageError(f"{option} {limit:g}: must be a number above 0")
    generator_cores = options.generator_cores or 1
    cores = validated(wanted.cores, Cores, "--cores") if wanted.cores is not None else _cores(options, generator_cores)
    servers = _servers(wanted, catalogue, cores)
    thumb = f"gunicorn-sync-{space.rule_of_thumb(cores)}"
    asked = resolve.resolve(
        Settings(
            name="tune",
            window_s=WINDOW_S,
            generator="shared" if options.share_generator else "own",
            generator_cores=generator_cores,
        ),
        [replace(load, server=name, cores=cores, workload=workload) for name in servers],
        thumb,
        "--workload",
        application,
    )
    budget_s = BUDGET_S if options.budget_s is None else validated(options.budget_s, Budget, "--budget")
    tuned = Tune(p95_ms=wanted.p95_ms, memory_mb=wanted.memory_mb)
    return servers, resolve.raced(asked, budget_s, tuned, "--most" if wanted.most else "--space")


def _cores(options: RunOptions, generator_cores: int) -> int:
    """As many as servers may have; of machines that are not looked at yet, one."""
    if options.site is not None or host.cannot_pin():
        return 1
    usable = len(host.usable_cpus())
    return usable if options.share_generator else max(1, usable - generator_cores)


def _workload(named: str | None, application: Application | None) -> str:
    """Raises SpecError for one that there is not, and UsageError where it must be named."""
    known = workloads.of(application)
    if named is not None:
        check_known([named], known, "--workload", "workload")
        return named
    if application is None or len(known) > 1:
        raise UsageError(f"--workload: say which to tune for; there are {', '.join(known)}")
    return next(iter(known))


def _load(wanted: TuneOptions, *, keep_alive: bool) -> Cell:
    """A cell that has nothing but the load. Raises LabError."""
    users, rate = wanted.users, wanted.rate
    if users is not None and rate is None:
        (load,) = resolve.loads([validated(users, Users, "--users")], [], None, "--users")
    elif rate is not None and users is None:
        (load,) = resolve.loads([], [validated(rate, Rate, "--rate")], None, "--rate")
    else:
        raise UsageError(
            "--users or --rate: say how many users there are at a time, or requests a second; one of the two"
        )
    return replace(load, connection="keep-alive" if keep_alive else "close")


def _servers(wanted: TuneOptions, catalogue: Mapping[str, Server], cores: int) -> Mapping[str, Server]:
    """The space, with the configuration of the rule of thumb."""
    entries: list[space.ServerEntry] = [{"like": "gunicorn-sync-1", "workers": [space.rule_of_thumb(cores)]}]
    thumb = space.rows(entries, catalogue, "rule of thumb")
    if wanted.space is not None:
        file = Path(wanted.space)
        found = space.parse(read_text(file, "space"), shown(file), catalogue)
    else:
        found = space.rows(space.usual(cores, wanted.users), catalogue, "usual space")
    servers = {**found, **thumb}
    return servers if wanted.most is None else space.fewest_processes(servers, wanted.most, next(iter(thumb)))
