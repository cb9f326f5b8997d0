"""`lab.capacity`: from options to a search for the highest rate at which servers keep a limit, and to what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console

from wsgilab.commands import stored
from wsgilab.commands.measure import named_application, usual_servers
from wsgilab.experiment import resolve, workloads
from wsgilab.experiment.file import CapacityEntry, CellGroup, ExperimentFile
from wsgilab.experiment.parsing import check_known, validated
from wsgilab.model import Application, Arrivals, Comparison, Connection, Experiment, Server
from wsgilab.model.errors import UsageError
from wsgilab.model.limits import Budget, Failures, LatencyLimit, Must
from wsgilab.run import runner
from wsgilab.run.options import RunOptions
from wsgilab.run.prepare import chosen_before
from wsgilab.run.testbed import Testbed
from wsgilab.run.workspace import Workspace, with_catalogue

NAME = "capacity"
"""Of the experiment."""
_ARRIVALS = Annotated[Arrivals, Must("be poisson or constant")]
_CONNECTION = Annotated[Connection, Must("be close or keep-alive")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """What is looked for. None: as an experiment file has it by default."""

    workload: str | None = None
    """None: the only one that the application has."""
    p95_ms: float | None = None
    """It must be given, but for a run that goes on."""
    failures: float | None = None
    arrivals: str | None = None
    connection: str | None = None


def capacity(options: RunOptions, sought: Sought, console: Console, workspace: Workspace) -> Comparison:
    """Look for the capacity of servers, or go on with it; write what comes of it, and print it.

    Whatever ends it early, what was measured by then is concluded. Raises LabError or Interrupted.
    """
    there = with_catalogue(workspace, options.catalogue)
    options.check_resumed("limit and its servers", others=sought != Sought())
    if options.resume is not None:
        return runner.run(options, chosen_before, stored.conclude, console, workspace)
    file = _file(options, sought)
    application = named_application(options.app, options.source, options.get)
    servers = options.servers or usual_servers(application, there)
    if not servers:
        raise UsageError("lab.capacity: needs --servers, such as --servers gunicorn-gthread-8,gunicorn-gevent")

    def choose(catalogue: Mapping[str, Server], testbed: Testbed) -> Experiment:
        return _experiment(file, servers, sought, application, options, catalogue, testbed)

    return runner.run(options, choose, stored.conclude, console, there)


def _file(options: RunOptions, sought: Sought) -> CapacityEntry:
    """The limit. Raises UsageError or SpecError."""
    if sought.p95_ms is None:
        raise UsageError("lab.capacity: needs --p95-ms, the limit on latency in milliseconds, such as --p95-ms 200")
    validated(sought.p95_ms, LatencyLimit, "--p95-ms")
    validated(sought.failures, Failures | None, "--failures")
    validated(sought.arrivals, _ARRIVALS | None, "--arrivals")
    validated(sought.connection, _CONNECTION | None, "--connection")
    validated(options.budget_s, Budget | None, "--budget")
    given = {"failures": sought.failures, "arrivals": sought.arrivals}
    entry: CapacityEntry = validated(
        {"p95_ms": sought.p95_ms, **{key: value for key, value in given.items() if value is not None}},
        CapacityEntry,
        "lab.capacity",
    )
    return entry


def _experiment(
    entry: CapacityEntry,
    servers: tuple[str, ...],
    sought: Sought,
    application: Application | None,
    options: RunOptions,
    catalogue: Mapping[str, Server],
    testbed: Testbed,
) -> Experiment:
    check_known(servers, catalogue, "--servers", "server")
    known = list(workloads.of(application))
    if sought.workload is None and len(known) > 1:
        raise UsageError(f"lab.capacity: needs --workload, one of {', '.join(known)}")
    workload = sought.workload or known[0]
    check_known([workload], known, "--workload", "workload")
    cores = {} if not options.cores else {"cores": list(options.cores)}
    connection = {} if sought.connection is None else {"connections": [sought.connection]}
    group: CellGroup = validated(
        {"servers": list(servers), "workloads": [workload], **cores, **connection}, CellGroup, "lab.capacity"
    )
    return resolve.of_file(
        ExperimentFile(
            name=NAME,
            cells=[group],
            reference=servers[0],
            capacity=entry,
            budget=options.budget_s,
            generator="shared" if options.share_generator else "own",
            generator_cores=options.generator_cores or 1,
        ),
        "lab.capacity",
        catalogue,
        cores=len(testbed.usable),
        apart=testbed.remote is not None,
        application=application,
        limit_at="--p95-ms",
        budget_at="--budget",
    )
