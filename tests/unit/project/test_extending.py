"""What docs/extending.md says, done in a copy of the checkout: all that is added is taken, and nothing else has to change."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
COPIED = ("compose", "experiments", "locustfiles", "requirements", "schemas", "services", "tests/unit", "wsgilab")
TESTS = (
    "commands/test_schemas",
    "experiment/test_catalogue",
    "experiment/test_scaffold",
    "experiment/test_workloads",
    "locustfiles/test_locustfiles",
    "project/test_layers",
    "web/test_master",
)
"""Those that know servers, stacks or workloads."""
LAUNCHER = """\
import a_package_of_the_stack_alone

from wsgilab_door.wsgi import app

if __name__ == "__main__":
    a_package_of_the_stack_alone.serve(app)
"""
RENEWS = """
from pathlib import Path

from wsgilab import commands
from wsgilab.commands import schemas

schemas.write(Path("schemas"))
commands.new_experiment("my-question", commands.workspace())
"""
USES_ALL = """
from pathlib import Path

from wsgilab import testing
from wsgilab.experiment import catalogue, resolve
from wsgilab.model import Trial
from wsgilab.run.trial import trial_spec
from wsgilab.web.form import LIMITS

servers = catalogue.parse(Path("compose/servers.yaml").read_text(), "servers.yaml")
experiment = resolve.parse('''
name: added
reference: gunicorn-sync-1
workloads: {echo-back: {kib: 8}}
cells: [{servers: [gunicorn-gthread-4x4, aiohttp-wsgi], workloads: [echo-back], users: [4]}]
''', "added.yaml", servers, cores=1)
order = trial_spec(Trial(block=0, position=0, cell=experiment.cells[1]), testing.run(experiment), "")
print(servers["aiohttp-wsgi"].stack, order.locustfile, order.options["echo_back_kib"], *LIMITS["echo_back_kib"][1:])
"""


def blocks(section: str) -> list[str]:
    """The blocks of code of a section of docs/extending.md."""
    text = (PROJECT / "docs" / "extending.md").read_text()
    (found,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```\w+\n(.*?)^```$", found, re.MULTILINE | re.DOTALL)


def insert(file: Path, before: str, text: str) -> None:
    content = file.read_text()
    assert content.count(before) == 1
    file.write_text(content.replace(before, text + before))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with a server, a stack, an experiment and a workload more, as docs/extending.md has them."""
    copy = tmp_path_factory.mktemp("extended")
    # What is compiled goes along, but for what another process is writing: none of the processes below compiles it again.
    left_out = shutil.ignore_patterns("recorded", "*.pyc.*", "*-pytest-*")
    for folder in COPIED:
        shutil.copytree(PROJECT / folder, copy / folder, ignore=left_out)
    for file in ("pyproject.toml", "tasks.py", "tests/__init__.py", "tests/conftest.py"):
        shutil.copy(PROJECT / file, copy / file)
    for recorded in ("tests/recorded", "tests/unit/recorded"):
        (copy / recorded).symlink_to(PROJECT / recorded)
    catalogue, stacks = copy / "compose" / "servers.yaml", copy / "services" / "stacks"

    (server,) = blocks("A server")
    requirements, anchor, on_stack = blocks("A stack")
    insert(catalogue, "\nservices:\n", f"\n{anchor}")
    insert(catalogue, "  flask-default:\n", f"{server}\n{on_stack}\n")
    (stacks / "aiohttp-wsgi").mkdir()
    (stacks / "aiohttp-wsgi" / "requirements.in").write_text(requirements)
    # In place of `make lock`, which needs a package index.
    shutil.copy(stacks / "gunicorn" / "requirements.txt", stacks / "aiohttp-wsgi")
    (copy / "services" / "door" / "wsgilab_door" / "serve.py").write_text(LAUNCHER)

    stanza, route, locustfile = blocks("A workload")
    insert(copy / "wsgilab" / "experiment" / "workloads.py", '    "mixed": Workload(\n', stanza)
    insert(copy / "services" / "app" / "app.py", '@app.get("/calibrate")\n', f"{route}\n\n")
    (copy / "locustfiles" / "echo_back.py").write_text(locustfile)
    run(copy, "-c", RENEWS)
    return copy


def run(copy: Path, *words: str) -> str:
    """What a command in the copy says, which succeeds."""
    finished = subprocess.run([sys.executable, *words], check=False, cwd=copy, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    return finished.stdout


def test_what_is_added_can_be_measured_and_is_offered(extended: Path) -> None:
    assert run(extended, "-c", USES_ALL).split() == ["aiohttp-wsgi", "echo_back", "8.0", "0.0", "1024.0"]


def test_the_tests_take_what_is_added(extended: Path) -> None:
    # Those about all that there is, not about examples that are made up.
    which = "(real or every or stack or workload or folder or usual or lock) and not comparison and not two_runs and not most"
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--assert=plain", "-k", which]
    told = run(extended, *words, *(f"tests/unit/{name}.py" for name in TESTS))

    assert " passed" in told


def test_the_checks_take_what_is_added(extended: Path) -> None:
    folders = ("locustfiles", "services", "wsgilab")
    run(extended, "-m", "ruff", "check", "--no-cache", *folders)
    run(extended, "-m", "ruff", "format", "--no-cache", "--check", *folders)
    run(extended, "-m", "mypy", "--cache-dir", str(PROJECT / ".mypy_cache"), "services/door/wsgilab_door/serve.py")
