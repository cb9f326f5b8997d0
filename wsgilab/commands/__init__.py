"""The facade: one function a task. What the module `tasks` calls, and any program may."""

from wsgilab.commands.installation import build, catalogue_table, clean, console, doctor, down, new_app, new_experiment
from wsgilab.commands.interactive import logs, open_browser, status, up
from wsgilab.commands.measure import (
    APPLICATION_EXPERIMENT,
    CLAIM_GROUPS,
    DEFAULT_EXPERIMENT,
    claims,
    named_application,
    run,
    usual_servers,
)
from wsgilab.commands.predict import Asked, predict
from wsgilab.commands.stored import compare_runs, recommend, report
from wsgilab.model import Comparison, RunsComparison, Wish
from wsgilab.run.options import RunOptions
from wsgilab.run.workspace import PROJECT, Workspace, with_catalogue, workspace
from wsgilab.session.spec import SessionOptions

__all__ = [
    "APPLICATION_EXPERIMENT",
    "CLAIM_GROUPS",
    "DEFAULT_EXPERIMENT",
    "PROJECT",
    "Asked",
    "Comparison",
    "RunOptions",
    "RunsComparison",
    "SessionOptions",
    "Wish",
    "Workspace",
    "build",
    "catalogue_table",
    "claims",
    "clean",
    "compare_runs",
    "console",
    "doctor",
    "down",
    "logs",
    "named_application",
    "new_app",
    "new_experiment",
    "open_browser",
    "predict",
    "recommend",
    "report",
    "run",
    "status",
    "up",
    "usual_servers",
    "with_catalogue",
    "workspace",
]
