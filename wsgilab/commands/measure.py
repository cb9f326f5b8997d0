"""`lab.run` and `lab.claims`: from a file and options to an experiment, and to what its observations say."""

import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from wsgilab.analysis import claims as claims_under_test
from wsgilab.analysis.claims import ClaimSet
from wsgilab.commands import stored
from wsgilab.experiment import application as applications
from wsgilab.experiment import resolve
from wsgilab.model import Application, Comparison, Experiment, Server
from wsgilab.model.errors import UsageError
from wsgilab.report import terminal
from wsgilab.report.claims import claims_md, claims_yaml
from wsgilab.results.store import Store
from wsgilab.run import runner
from wsgilab.run.options import RunOptions
from wsgilab.run.testbed import Testbed
from wsgilab.run.workspace import PROJECT, Workspace, given, read_catalogue, read_text, shown

DEFAULT_EXPERIMENT = "experiments/answer.yaml"
APPLICATION_EXPERIMENT = "experiments/application.yaml"
"""The default where there is a user's own application."""
DEFAULT_CLAIMS = "experiments/claims.yaml"

_OF_THE_MACHINE = ("resume", "runtime", "site", "watch", "port")
"""Options that a resumed run may be given: where it runs, and how it is watched."""

_LARGEST_FILE = 2**24
"""Bytes of an application file, or of what a request sends."""


def run(options: RunOptions, console: Console, workspace: Workspace) -> Comparison:
    """Carry out an experiment, or go on with one; write its comparison, and print it.

    Whatever ends it early, what was measured by then is compared. Raises LabError or Interrupted.
    """
    if options.resume is not None and options.others(_OF_THE_MACHINE):
        raise UsageError(
            f"--resume {options.resume}: a resumed run keeps its experiment, application and seed; give no other option"
        )
    return runner.run(
        options,
        lambda catalogue, testbed: _experiment(options, catalogue, testbed),
        stored.conclude,
        console,
        workspace,
    )


def _experiment(options: RunOptions, catalogue: Mapping[str, Server], testbed: Testbed) -> Experiment:
    default = DEFAULT_EXPERIMENT if options.app is None else APPLICATION_EXPERIMENT
    path = PROJECT / default if options.file is None else given(options.file)
    experiment = resolve.parse(
        read_text(path, "experiment"),
        shown(path),
        catalogue,
        cores=len(testbed.usable),
        share_generator=options.share_generator,
        generator_cores=options.generator_cores,
        apart=testbed.remote is not None,
        application=_application(options),
        folder=os.path.relpath(path.parent),
        read_file=_read_file,
    )
    application = experiment.application
    if application is not None and not Path(application.source).is_dir():
        raise UsageError(
            f"source {application.source}: is no folder here; it is the one that {application.entry} is imported from, "
            f"relative to {Path.cwd()}"
        )
    return resolve.narrow(
        experiment,
        catalogue,
        servers=options.servers,
        cores=options.cores,
        blocks=options.blocks,
        precision=options.precision,
        max_blocks=options.max_blocks,
        share_generator=options.share_generator,
        generator_cores=options.generator_cores,
    )


def _application(options: RunOptions) -> Application | None:
    """The user's own that the command line names; None where it names none. Raises LabError."""
    more = [f"--{name}" for name in ("source", "get") if getattr(options, name) is not None]
    if options.app is None:
        if more:
            raise UsageError(
                f"{more[0]}: is of an application of your own; name that with --app, such as shop.wsgi:app"
            )
        return None
    path = Path(options.app)
    if path.suffix not in (".yaml", ".yml"):
        return applications.of_get(options.app, options.source or ".", options.get or "/")
    if more:
        raise UsageError(f"{more[0]}: {options.app} says so already; leave it out, or change it there")
    text = read_text(path, "application")
    return applications.parse(text, shown(path), folder=os.path.relpath(path.parent), read_file=_read_file)


def _read_file(path: str) -> bytes:
    """A file that an application or an experiment names. Raises UsageError."""
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise UsageError(f"{path}: is no file; name one")
        if file.stat().st_size > _LARGEST_FILE:
            raise UsageError(f"{path}: is larger than the {_LARGEST_FILE >> 20} MiB that such a file may have")
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a file that is there") from None


def claims(options: RunOptions, console: Console, workspace: Workspace) -> Comparison:
    """Test claims; write their verdicts beside the run's comparison, and print them.

    Whatever ends it early, what was measured by then is judged. Raises LabError or Interrupted.
    """
    path = PROJECT / DEFAULT_CLAIMS if options.file is None else given(options.file)
    under_test = claims_under_test.parse(read_text(path, "claims"), shown(path), read_catalogue(workspace))
    under_test = claims_under_test.only(under_test, options.only)

    def conclude(store: Store, console: Console) -> Comparison:
        return _judge(store, under_test, console)

    if options.run is not None:
        if options.others(("run", "file", "only")):
            raise UsageError(f"--run {options.run}: judges what is stored, and measures nothing; give no other option")
        return conclude(Store.find(workspace.results, options.run), console)
    if options.resume is not None and options.others((*_OF_THE_MACHINE, "file", "only")):
        raise UsageError(f"--resume {options.resume}: a resumed run keeps its blocks and seed; give no other option")

    def choose(catalogue: Mapping[str, Server], testbed: Testbed) -> Experiment:
        # On a site the generator takes none of the targets' cores.
        elsewhere = 0 if testbed.remote is None else under_test.experiment.generator_cores
        feasible = claims_under_test.feasible(under_test, len(testbed.usable) + elsewhere)
        return resolve.narrow(feasible, catalogue, blocks=options.blocks)

    return runner.run(options, choose, conclude, console, workspace)


def _judge(store: Store, under_test: ClaimSet, console: Console) -> Comparison:
    """Write comparison and verdicts, and print the verdicts."""
    comparison = stored.write(store)
    results = claims_under_test.judge(comparison.run, store.observations(), under_test.claims)
    store.write({**claims_md(comparison.run, results), **claims_yaml(comparison.run, results)})
    console.print(terminal.verdicts(results))
    stored.say(console, f"The evidence, and what to do about it: {shown(store.folder)}/claims.md")
    return comparison
