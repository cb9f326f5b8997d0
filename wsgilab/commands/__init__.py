"""The facade: one function a task. What the module `tasks` calls, and any program may."""

from wsgilab.commands.capacity import Sought, capacity
from wsgilab.commands.claims import CLAIM_GROUPS, REPORTS, claims, reports
from wsgilab.commands.compared import FORMATS as COMPARED_FORMATS
from wsgilab.commands.compared import compare_runs
from wsgilab.commands.installation import build, catalogue_table, clean, console, doctor, down, new_app, new_experiment
from wsgilab.commands.interactive import logs, open_browser, status, up
from wsgilab.commands.listing import FORMATS as LISTED_FORMATS
from wsgilab.commands.listing import runs
from wsgilab.commands.measure import (
    APPLICATION_EXPERIMENT,
    DEFAULT_EXPERIMENT,
    named_application,
    run,
    usual_servers,
)
from wsgilab.commands.predict import Asked, predict
from wsgilab.commands.stored import FORMATS, recommend, report
from wsgilab.commands.tune import TuneOptions, tune
from wsgilab.model import Comparison, RunsComparison, Wish
from wsgilab.run.options import RunOptions
from wsgilab.run.workspace import PROJECT, Workspace, with_catalogue, workspace
from wsgilab.session.spec import SessionOptions

__all__ = [
    "APPLICATION_EXPERIMENT",
    "CLAIM_GROUPS",
    "COMPARED_FORMATS",
    "DEFAULT_EXPERIMENT",
    "FORMATS",
    "LISTED_FORMATS",
    "PROJECT",
    "REPORTS",
    "Asked",
    "Comparison",
    "RunOptions",
    "RunsComparison",
    "SessionOptions",
    "Sought",
    "TuneOptions",
    "Wish",
    "Workspace",
    "build",
    "capacity",
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
    "reports",
    "run",
    "runs",
    "status",
    "tune",
    "up",
    "usual_servers",
    "with_catalogue",
    "workspace",
]
