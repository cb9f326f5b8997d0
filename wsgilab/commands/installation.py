"""What the lab has installed and can install: the catalogue, stacks and images, what a machine lacks, new files to edit."""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from wsgilab.doctor import Finding, examine, examine_site
from wsgilab.experiment import application_scaffold, entry_points, locust_scaffold, scaffold
from wsgilab.experiment.workloads import of
from wsgilab.model import Application
from wsgilab.model.errors import LabError, UsageError
from wsgilab.report import terminal
from wsgilab.report.tables import MISSING, slots
from wsgilab.run import layout
from wsgilab.run.testbed import all_runtimes, compose_runtime, on_each, open_testbeds, read_site
from wsgilab.run.workspace import (
    Workspace,
    alone,
    choose_backends,
    choose_servers,
    read_backends,
    read_catalogue,
    shown,
    signals_raise,
    versions,
)
from wsgilab.runtime import releases
from wsgilab.runtime.protocol import Say
from wsgilab.session import control
from wsgilab.system.folder import look
from wsgilab.system.progress import reporter_for


def console() -> Console:
    """The standard output. In a pipe or a log there is no width to fold tables to."""
    found = Console(soft_wrap=False)
    return found if found.is_terminal else Console(width=200)


def catalogue_table(workspace: Workspace, width: int) -> RenderableType:
    """The servers as a table."""
    rows = (
        (each.name, slots(each.slots), each.model or MISSING, each.stack, " ".join(each.command))
        for each in read_catalogue(workspace).values()
    )
    return terminal.grid(("server", "slots", "model", "stack", "command"), rows, width)


def new_experiment(name: str, workspace: Workspace) -> str:
    """Write an experiment to begin with: NAME.yaml, among those of the checkout, or by an installed lab into the current
    folder. Its path, as a user would type it. Raises LabError where it is there, or cannot be."""
    if layout.is_installed():
        file, schema = Path(f"{name}.yaml").absolute(), f"{workspace.project}/schemas/experiment.json"
    else:
        file, schema = workspace.project / "experiments" / f"{name}.yaml", "../schemas/experiment.json"
    text = scaffold.new_experiment(name, read_catalogue(workspace), file=shown(file), schema=schema)
    return _write_new(file, text)


def new_app(source: str, name: str | None, workspace: Workspace) -> str:
    """Write `NAME.yaml` into the current folder, an application file for what the folder `source` has; its name is that of the
    folder where none is given. Its path, as a user would type it. Nothing of the folder is imported or executed.

    Raises LabError where it is there, cannot be, or has nothing that looks like a WSGI application.
    """
    folder = Path(source)
    if not source.isprintable():
        raise UsageError(f"--source {source}: has characters that do not print; rename the folder")
    seen = look(folder, entry_points.enters, entry_points.reads)
    around = None
    with contextlib.suppress(UsageError):
        # It may be any folder, such as one with too much in it.
        there = Path(os.path.normpath(folder.absolute())).parent
        around = look(there, locust_scaffold.enters_beside, locust_scaffold.reads_beside)
    # Relative to the file, whatever way it was given.
    near = os.path.relpath(folder) if folder.is_absolute() else str(folder)
    name = application_scaffold.name_of(Path(os.path.normpath(folder.absolute())).name) if name is None else name
    schema = str(workspace.project / "schemas" / "application.json")
    schema = schema if layout.is_installed() else os.path.relpath(schema)
    text = application_scaffold.new_application(
        name, near, seen, read_backends(workspace), schema=schema, around=around
    )
    file = Path.cwd() / f"{name}.yaml"
    return _write_new(file, text)


def _write_new(file: Path, text: str) -> str:
    """Write a file that is not there yet. Its path, as a user would type it. Raises LabError."""
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise UsageError(f"{shown(file)}: is there already; choose another name, or edit it") from None
    except OSError as error:
        raise LabError(f"{shown(file)}: cannot be written ({error.strerror})") from None
    return shown(file)


def build(
    servers: Sequence[str],
    runtime: str | None,
    site: str | None,
    console: Console,
    workspace: Workspace,
    application: Application | None = None,
) -> None:
    """Install the stacks or build the images of all servers, or of those asked for, and of the backends. Of a site: on each
    machine what it needs. Of a user's own `application`: with its packages, and of the backends those that it waits for."""
    reporter = reporter_for(console)
    chosen = choose_servers(workspace, servers).values()
    every = application is None
    backends = read_backends(workspace).values() if every else choose_backends(workspace, of(application), application)
    with (
        signals_raise(),
        alone(workspace),
        open_testbeds(workspace, runtime, _file(site), reporter.say) as testbeds,
    ):
        for testbed in testbeds:
            digests = testbed.runtime.prepare(chosen, backends, reporter.say, application)
            for stack, digest in digests.items():
                reporter.say(f"{stack}: {digest}")


def down(workspace: Workspace, site: str | None, say: Say) -> int:
    """End every process and container of this checkout's lab, on this machine and on those of a site. How many that were.

    Raises LabError, at the end, where a machine of the site cannot be reached.
    """
    with signals_raise():
        file = _file(site) or control.site_of(workspace)
        ended = control.end(workspace) + sum(runtime.sweep() for runtime in all_runtimes(workspace))
        return ended + (0 if file is None else sum(on_each(workspace, file, lambda each: each.sweep(), say)))


def clean(workspace: Workspace, site: str | None, say: Say) -> None:
    """End the interactive lab and what is left of others, and remove images and virtual environments; of a site too, where
    one is named. Of an installed lab, those of its earlier versions too, and what was laid out. Results stay.

    Raises LabError where another lab is at work.
    """
    with signals_raise():
        control.end(workspace)
        with alone(workspace):
            for version in versions(workspace):
                for runtime in all_runtimes(version):
                    runtime.sweep()
                    runtime.clean()
                releases.removed(version.project)
                if (file := _file(site)) is not None:
                    on_each(version, file, lambda each: each.sweep(), say)
                    on_each(version, file, lambda each: each.clean(), say)
                if layout.is_installed():
                    shutil.rmtree(version.project, ignore_errors=True)
        shutil.rmtree(workspace.state, ignore_errors=True)


def doctor(workspace: Workspace, site: str | None = None) -> Sequence[Finding]:
    """Whether this machine, or those of a site, can run the lab, and what to do where they cannot. Raises LabError."""
    servers = len(read_catalogue(workspace))
    if (file := _file(site)) is None:
        with signals_raise():
            return examine(
                servers=servers,
                results=workspace.results,
                ports=workspace.ports,
                runtime=lambda engine: compose_runtime(workspace, engine),
            )
    with signals_raise(), alone(workspace):
        return examine_site(
            read_site(file),
            project=workspace.project,
            state=workspace.state,
            lab_id=workspace.lab_id,
            servers=servers,
        )


def _file(site: str | None) -> Path | None:
    return None if site is None else Path(site)
