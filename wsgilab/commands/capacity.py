"""`lab.capacity`: from options to a search for the highest rate at which servers keep a limit, and to what comes of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console

from wsgilab.analysis.capacity.server import takes
from wsgilab.commands import stored
from wsgilab.commands.measure import named_application, usual_servers
from wsgilab.experiment import resolve, workloads
from wsgilab.experiment.file import CapacityEntry, CellGroup, ExperimentFile
from wsgilab.experiment.parsing import check_known, validated
from wsgilab.model import Application, Arrivals, Comparison, Connection, Experiment, Server
from wsgilab.model.errors import Inconclusive, LimitBreached, UsageError
from wsgilab.model.limits import Budget, Failures, LatencyLimit, Must, Rate
from wsgilab.model.text import counted
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


def capacity(
    options: RunOptions, sought: Sought, console: Console, workspace: Workspace, need: float | None = None
) -> Comparison:
    """Look for the capacity of servers, or go on with it; write what comes of it, and print it.

    Whatever ends it early, what was measured by then is concluded. Raises LabError or Interrupted; LimitBreached where a server does
    not keep the limit at `need` requests/s for sure, and Inconclusive where one may or may not.
    """
    validated(need, Rate | None, "--need")
    there = with_catalogue(workspace, options.catalogue)
    options.check_resumed("limit and its servers", others=sought != Sought())
    if options.resume is not None:
        found = runner.run(options, chosen_before, stored.conclude, console, workspace)
        judge(found, need, console)
        return found
    file = _file(options, sought)
    application = named_application(options.app, options.source, options.get)
    servers = options.servers or usual_servers(application, there)
    if not servers:
        raise UsageError("lab.capacity: needs --servers, such as --servers gunicorn-gthread-8,gunicorn-gevent")

    def choose(catalogue: Mapping[str, Server], testbed: Testbed) -> Experiment:
        return _experiment(file, servers, sought, application, options, catalogue, testbed)

    found = runner.run(options, choose, stored.conclude, console, there)
    judge(found, need, console, options.servers)
    return found


def judge(found: Comparison, need: float | None, console: Console, servers: Collection[str] = ()) -> None:
    """Say that each server keeps the limit at `need` requests/s. Raises LimitBreached or Inconclusive where one does not for sure.
    `servers` were asked for: one of which nothing was measured may or may not.
    """
    from wsgilab.report import capacity as words

    if need is None or found.capacity is None:
        return
    outcomes = [(takes(each, need), each) for each in found.capacity.servers]
    absent = [name for name in servers if name not in {each.cell.server for _, each in outcomes}]
    lines = [
        words.beside_need(found, each, outcome)
        for kind in ("breached", "inconclusive")
        for outcome, each in outcomes
        if outcome == kind
    ]
    lines += [f"{name}: it was not measured; see above why it was left out" for name in absent]
    short = sum(outcome == "breached" for outcome, _ in outcomes)
    asked, unsure = counted(len(outcomes) + len(absent), "server"), len(lines) - short
    if not lines:
        stored.say(console, f"--need {need:g}: {'each of ' if len(outcomes) > 1 else ''}{asked} can take as much")
        return
    told = [f"{short} of {asked} cannot take as much"] if short else []
    told += [f"of {unsure} of {asked} that is not known"] if unsure else []
    kind_of_error = LimitBreached if short else Inconclusive
    raise kind_of_error(f"--need {need:g}: {'; '.join(told)}", detail="\n".join(lines))


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
