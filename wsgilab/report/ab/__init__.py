"""Two runs beside each other as `against.md`, `against.yaml` and `against.html`, and on a terminal."""

from wsgilab.report.ab.markdown import runs_md
from wsgilab.report.ab.page import runs_html
from wsgilab.report.ab.terminal import on_terminal
from wsgilab.report.ab.words import breached, kept, outcome
from wsgilab.report.ab.yaml import runs_yaml

__all__ = ["breached", "kept", "on_terminal", "outcome", "runs_html", "runs_md", "runs_yaml"]
