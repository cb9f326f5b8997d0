"""`lab.run`: from a file and options to an experiment, and to what its observations say."""

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from wsgilab.analysis.ab.checks import parse_limit, parse_need
from wsgilab.commands import against, compared, releases, stored
from wsgilab.experiment import application as applications
from wsgilab.experiment import resolve, running
from wsgilab.experiment.parsing import check_known
from wsgilab.model import Application, Comparison, Experiment, Server
from wsgilab.model.errors import LabError, UsageError
from wsgilab.model.text import called
from wsgilab.results.store import Store
from wsgilab.run import runner
from wsgilab.run.options import RunOptions
from wsgilab.run.testbed import Testbed
from wsgilab.run.workspace import (
    PROJECT,
    Workspace,
    alone,
    given,
    read_catalogue,
    read_file,
    read_text,
    shown,
    signals_raise,
    with_catalogue,
)

DEFAULT_EXPERIMENT = "experiments/answer.yaml"
APPLICATION_EXPERIMENT = "experiments/application.yaml"
"""The default where there is a user's own application."""


def run(
    options: RunOptions,
    console: Console,
    workspace: Workspace,
    fail_on: str | None = None,
    need: str | None = None,
    *,
    form: str = compared.TERMINAL,
    environment: Mapping[str, str] = os.environ,
) -> Comparison:
    """Carry out an experiment, or go on with one; write its comparison, and print it.

    Whatever ends it early, what was measured by then is compared. Raises LabError or Interrupted; of two versions of an application
    LimitBreached, where `fail_on`, such as `slower=5%`, is, and Inconclusive, where a cell could not have shown `need`, such as `5%`.
    These are printed as `form`, one of `compared.FORMATS`; with another than the first, all else goes to the standard error.
    """
    check_known([form], compared.FORMATS, "--format", "format")
    options.check_resumed("experiment, application and seed")
    limit = None if fail_on is None else parse_limit(fail_on)
    if limit is not None and limit.capacity:
        raise UsageError(
            f"--fail-on {fail_on}: is for two runs that look for capacity; have {called('lab.compare')} judge them"
        )
    least = None if need is None else parse_need(need)
    other = None if form == compared.TERMINAL else form
    of_versions = (("fail-on", fail_on), ("need", need), ("format", other))
    asked = [f"--{name} {text}" for name, text in of_versions if text is not None]
    if asked and not _has_versions(options, workspace):
        raise UsageError(
            f"{asked[0]}: is for two versions of an application; name the other with --against, or have "
            f"{called('lab.compare')} judge two runs"
        )
    if options.url is not None:
        return _run_url(options, console, workspace)
    printed = console
    if other is not None:
        console = Console(stderr=True, width=console.width)

    def choose(catalogue: Mapping[str, Server], testbed: Testbed) -> Experiment:
        experiment = _experiment(options, catalogue, testbed)
        return against.compared(experiment, options, catalogue, lambda text: stored.say(console, text))

    conclude = functools.partial(stored.conclude, verbose=options.verbose)
    there = with_catalogue(workspace, options.catalogue)
    try:
        if options.release is not None:
            with signals_raise(), alone(workspace):
                of_releases = releases.rows(options, there, lambda text: stored.say(console, text))
            options = replace(options, servers=tuple(of_releases))
            there = replace(there, rows=of_releases)
        found = runner.run(options, choose, conclude, console, _with_rows(options, there))
    except LabError as error:
        compared.print_nothing(error.message, form, printed, environment, task="lab.run")
        raise compared.as_printed(error, form) from None
    if found.versions is not None and asked:
        measured = {cell.cell.server for cell in found.versions.cells}
        absent = [name for name in options.servers if name not in measured]
        compared.judge(found.versions, limit, least, printed, form=form, environment=environment, absent=absent)
    return found


def _has_versions(options: RunOptions, workspace: Workspace) -> bool:
    if options.resume is None:
        return options.against is not None
    return bool(Store.find(workspace.results, options.resume).run().experiment.counterparts)


_OF_A_URL = (
    "url",
    "get",
    "runtime",
    "blocks",
    "precision",
    "max_blocks",
    "budget_s",
    "seed",
    "generator_cores",
    "verbose",
)


def _run_url(options: RunOptions, console: Console, workspace: Workspace) -> Comparison:
    """Measure a server that runs already. Raises LabError or Interrupted."""
    if others := options.others(_OF_A_URL):
        option = min(others).replace("file", "experiment").replace("_", "-")
        raise UsageError(
            f"--{option}: goes with servers that the lab starts, and --url is one that runs already; leave it out"
        )
    if options.runtime not in (None, "local"):
        raise UsageError(
            f"--runtime {options.runtime}: with --url the generator is a process of this machine; leave it out"
        )
    address, path = running.split(options.url or "", options.get)
    asked = running.experiment(running.application(address, path))

    def choose(catalogue: Mapping[str, Server], _: Testbed) -> Experiment:
        return resolve.narrow(
            asked,
            catalogue,
            blocks=options.blocks,
            precision=options.precision,
            max_blocks=options.max_blocks,
            budget_s=options.budget_s,
            generator_cores=options.generator_cores,
        )

    conclude = functools.partial(stored.conclude, verbose=options.verbose)
    return runner.run(replace(options, runtime="local"), choose, conclude, console, workspace)


def _experiment_file(options: RunOptions) -> Path:
    default = DEFAULT_EXPERIMENT if options.app is None else APPLICATION_EXPERIMENT
    return PROJECT / default if options.file is None else given(options.file)


def _with_rows(options: RunOptions, workspace: Workspace) -> Workspace:
    """`workspace` with the servers that the experiment makes of others. A run that goes on has those that it began with."""
    if options.resume is not None:
        return workspace
    path = _experiment_file(options)
    found = resolve.rows(read_text(path, "experiment"), shown(path), read_catalogue(workspace))
    return replace(workspace, rows={**workspace.rows, **found})


def _experiment(options: RunOptions, catalogue: Mapping[str, Server], testbed: Testbed) -> Experiment:
    path = _experiment_file(options)
    experiment = resolve.parse(
        read_text(path, "experiment"),
        shown(path),
        catalogue,
        cores=len(testbed.usable),
        share_generator=options.share_generator,
        generator_cores=options.generator_cores,
        apart=testbed.remote is not None,
        application=named_application(options.app, options.source, options.get),
        folder=os.path.relpath(path.parent),
        read_file=read_file,
    )
    _check_source(experiment.application)
    return resolve.narrow(
        experiment,
        catalogue,
        servers=options.servers or with_own_rows(experiment, catalogue),
        cores=options.cores,
        blocks=options.blocks,
        precision=options.precision,
        max_blocks=options.max_blocks,
        budget_s=options.budget_s,
        share_generator=options.share_generator,
        generator_cores=options.generator_cores,
    )


def with_own_rows(experiment: Experiment, catalogue: Mapping[str, Server]) -> Sequence[str]:
    """The experiment's servers and the rows of the user's own catalogue file; none where the experiment says itself which of these
    it measures, or there are no such rows."""
    own = [name for name, server in catalogue.items() if server.extends is not None and server.like is None]
    named = list(dict.fromkeys(cell.server for cell in experiment.cells))
    return [*named, *own] if own and not set(own) & set(named) else []


def named_application(app: str | None, source: str | None, get: str | None) -> Application | None:
    """The user's own that the options `--app`, `--source` and `--get` name; None where they name none. Raises LabError."""
    more = [f"--{name}" for name, given in (("source", source), ("get", get)) if given is not None]
    if app is None:
        if more:
            raise UsageError(
                f"{more[0]}: is of an application of your own; name that with --app, such as shop.wsgi:app"
            )
        return None
    path = Path(app)
    if path.suffix not in (".yaml", ".yml"):
        named = applications.of_get(app, source or ".", get or "/")
    elif more:
        raise UsageError(f"{more[0]}: {app} says so already; leave it out, or change it there")
    else:
        text = read_text(path, "application")
        named = applications.parse(text, shown(path), folder=os.path.relpath(path.parent), read_file=read_file)
    _check_source(named)
    return named


def _check_source(application: Application | None) -> None:
    """Raises UsageError where there is no folder to import it from."""
    if application is not None and not application.has_image and not Path(application.source).is_dir():
        raise UsageError(
            f"source {application.source}: is no folder here; it is the one that {application.entry} is imported from, "
            f"relative to {Path.cwd()}"
        )


def usual_servers(application: Application | None, workspace: Workspace) -> tuple[str, ...]:
    """Those that `lab.run` measures a user's own application under; empty for the lab's, which all are for. Raises LabError."""
    if application is None:
        return ()
    path = PROJECT / APPLICATION_EXPERIMENT
    catalogue, text = read_catalogue(workspace), read_text(path, "experiment")
    experiment = resolve.parse(text, shown(path), catalogue, cores=1, application=application)
    return tuple(with_own_rows(experiment, catalogue) or dict.fromkeys(cell.server for cell in experiment.cells))
