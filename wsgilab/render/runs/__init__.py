"""Two runs beside each other as `against.md`, `against.yaml` and `against.html`, and on a terminal."""

from wsgilab.render.runs.document import runs_yaml
from wsgilab.render.runs.markdown import runs_md
from wsgilab.render.runs.page import runs_html
from wsgilab.render.runs.terminal import on_terminal
from wsgilab.render.runs.words import breached, kept, outcome

__all__ = ["breached", "kept", "on_terminal", "outcome", "runs_html", "runs_md", "runs_yaml"]
