"""A copy of the files that a checkout measures, for tests that change them."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from wsgilab import commands
from wsgilab.model import Origin
from wsgilab.runtime import origin

FOLDERS = ("services", "locustfiles", "compose", "wsgilab/load")
CHANGED = (
    ("services/app/work.py", "application"),
    ("services/door/wsgilab_door/stamp.py", "application"),
    ("locustfiles/lab_user.py", "Locust files"),
    ("wsgilab/load/samples.py", "generator"),
    ("wsgilab/analysis/inflight.py", "generator"),
    ("services/stacks/gunicorn/requirements.txt", "locks"),
    ("services/stacks/swarm/requirements.txt", "locks"),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the checkout measures, without git."""
    made = tmp_path / "project"
    for folder in FOLDERS:
        shutil.copytree(commands.PROJECT / folder, made / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (made / "wsgilab" / "analysis").mkdir()
    shutil.copy(commands.PROJECT / "wsgilab" / "analysis" / "inflight.py", made / "wsgilab" / "analysis")
    return made


def read(project: Path, stacks: Iterable[str] = ("gunicorn", "swarm"), *, backends: bool = False) -> Origin:
    return origin.read(project, stacks, backends=backends)


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "# once more\n")


def git(folder: Path, *words: str) -> None:
    """Carry a command of git's out, whatever the user has set."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ["-c", "user.name=lab", "-c", "user.email=lab@example.com"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, env=environment, capture_output=True)
