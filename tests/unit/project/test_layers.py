"""What import-linter does not see: the folders beside the package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]


def imported(file: Path) -> set[str]:
    """The modules that a file imports, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", ["services/app", "services/backends", "services/door/wsgilab_door"])
def test_what_runs_in_a_target_never_imports_the_package(folder: str) -> None:
    files = sorted((PROJECT / folder).glob("*.py"))
    assert len(files) >= 2
    for file in files:
        assert not any(name.split(".")[0] == "wsgilab" for name in imported(file)), file


def test_locust_files_import_the_workloads_alone_which_need_only_the_standard_library() -> None:
    for file in sorted((PROJECT / "locustfiles").glob("*.py")):
        ours = {name for name in imported(file) if name.split(".")[0] == "wsgilab"}
        assert all(name.startswith("wsgilab.experiment.workloads.") for name in ours), file
    # -S: without installed packages.
    argv = [sys.executable, "-S", "-E", "-c", "import wsgilab.experiment.workloads"]
    assert subprocess.run(argv, check=False, cwd=PROJECT, capture_output=True, text=True).stderr == ""


def test_the_tasks_know_the_facade_the_front_the_errors_and_how_they_are_called_alone() -> None:
    ours = {name for name in imported(PROJECT / "wsgilab" / "commands" / "tasks.py") if name.split(".")[0] == "wsgilab"}
    assert "wsgilab.commands" in ours
    assert all(
        name == "wsgilab.commands"
        or name.startswith(("wsgilab.model.errors.", "wsgilab.model.text.called", "wsgilab.commands.front."))
        for name in ours
    )
